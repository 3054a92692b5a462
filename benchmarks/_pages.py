"""Pages from results: templates of ``benchmarks/pages`` with tables, figures and numbers put in.

In a template stand

- ``{{section NAME}}``: command, notes, tables, figures and targets of a section, and when and on
  what it was run;
- ``{{NAME KEY STATISTIC FORMAT [table=1] [COLUMN=VALUE ...]}}``: one number, such as
  ``{{fit.multitask r2 mean .3f}}``. Where it was not measured, the row of the table, the item of
  the list or the paragraph that wants it is left out;
- ``{{figure NAME FIGURE}}``: a figure of another page's section;
- ``{{results}}``: the table of README.md, from ``_results.md``.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from ._report import Result

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "benchmarks" / "pages"
RESULTS = ROOT / "benchmarks" / "results"
PAGES = ROOT / "docs" / "benchmarks"
README = ROOT / "README.md"
MARKS = "<!-- results: python -m benchmarks --report -->\n", "<!-- end of results -->"
QUICK = "**A quick run: tiny sizes, few steps. Its numbers and targets mean nothing.**"


class Missing(Exception):
    """What a template wants was not measured."""


def load_results(folder):
    """Records of sections and what they found, by name."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    return {r["section"]: (r, Result.from_record(r)) for r in records}


def make_pages(results):
    """Text of each page, by its file name."""
    templates = {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted(TEMPLATES.glob("*.md"))
        if not path.name.startswith("_")
    }
    rows = results_rows(results)
    return {
        name: fill(text.replace("{{results}}", rows), results) for name, text in templates.items()
    }


def results_rows(results):
    """The table of README.md."""
    return fill((TEMPLATES / "_results.md").read_text(encoding="utf-8"), results).strip()


def put_into_readme(text, rows):
    """README.md with these rows between its marks."""
    before, rest = text.split(MARKS[0])
    return f"{before}{MARKS[0]}\n{rows}\n\n{MARKS[1]}{rest.split(MARKS[1])[1]}"


def fill(text, results):
    """A template with what it wants; items that want what is missing are left out."""
    out = []
    for item in re.split(r"(?m)(?=^\| |^- |^\n)", text):
        try:
            out.append(re.sub(r"\{\{(.+?)\}\}", lambda m: _wanted(m[1], results), item))
        except Missing:
            continue
    return re.sub(r"\n{3,}", "\n\n", "".join(out))


def _wanted(words, results):
    """What a placeholder stands for."""
    kind, *rest = shlex.split(words)
    if kind == "section":
        return _section(rest[0], results)
    if kind == "figure":
        result = _find(rest[0], results)[1]
        figure = next((f for f in result.figures if f.name == rest[1]), None)
        if figure is None:
            raise ValueError(f"Section {rest[0]} has no figure {rest[1]!r}.")
        return _figure(rest[0], figure)
    key, statistic, spec, *filters = rest
    where = dict(f.split("=", 1) for f in filters)
    table = _find(kind, results)[1].tables[int(where.pop("table", 0))]
    summary = table.summary(**where)
    if key not in summary or summary[key][statistic] is None:
        raise Missing
    return format(summary[key][statistic], spec)


def _find(name, results):
    if name not in results:
        raise Missing
    return results[name]


def _section(name, results):
    """A section for a page."""
    if name not in results:
        return f"Not run yet:\n\n```bash\npython -m benchmarks --sections {name}\n```"
    record, result = results[name]
    parts = [f"```bash\n{record['command']}\n```", result.markdown()]
    parts += [_figure(name, figure) for figure in result.figures]
    versions = record["versions"]
    parts.append(
        f"*{record['date']}, commit {record['commit']}; seeds "
        f"{', '.join(map(str, record['seeds']))}; {record['cpu']}, {record['threads']} thread(s); "
        f"torch {versions['torch']}, scikit-learn {versions['sklearn']}; "
        f"{record['seconds']:.0f} s in all.*"
    )
    return "\n\n".join([QUICK] * record["quick"] + parts)


def _figure(section, figure):
    return f"![{figure.caption or figure.name}](images/{image_name(section, figure)})"


def image_name(section, figure):
    """File of a figure."""
    return f"{section}.{figure.name}.png"


def write_report(results_folder, pages_folder):
    """Write all pages and figures, and the table of README.md where these are its pages."""
    from ._draw import draw

    results = load_results(results_folder)
    images = pages_folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    for name, text in make_pages(results).items():
        (pages_folder / name).write_text(text, encoding="utf-8")
    for name, (_, result) in results.items():
        for figure in result.figures:
            draw(figure, result.tables[figure.table]).savefig(images / image_name(name, figure))
    if pages_folder.resolve() == PAGES:
        text = put_into_readme(README.read_text(encoding="utf-8"), results_rows(results))
        README.write_text(text, encoding="utf-8")
