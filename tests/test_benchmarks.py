"""The pages of docs/benchmarks are what the committed results and templates make."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

if not (ROOT / "benchmarks" / "__main__.py").exists():
    pytest.skip("benchmarks are not installed", allow_module_level=True)

sys.path.insert(0, str(ROOT))

from benchmarks import _pages  # noqa: E402
from benchmarks._report import Result, Table  # noqa: E402

MAX_WORDS = 2000


@pytest.fixture(scope="module")
def results():
    return _pages.load_results(_pages.RESULTS)


def test_the_pages_are_made_of_results(results):
    pages = _pages.make_pages(results)
    committed = {path.name: path.read_text(encoding="utf-8") for path in _pages.PAGES.glob("*.md")}
    assert committed == pages
    readme = _pages.README.read_text(encoding="utf-8")
    assert readme == _pages.put_into_readme(readme, _pages.results_rows(results))


def test_figures_of_pages_are_there(results):
    names = {
        _pages.image_name(name, figure)
        for name, (_, result) in results.items()
        for figure in result.figures
    }
    assert {path.name for path in (_pages.PAGES / "images").glob("*.png")} == names


def test_a_number_is_found_in_a_minute(results):
    pages = _pages.make_pages(results)
    linked = set(re.findall(r"\]\((\w+\.md)\)", pages["index.md"]))
    assert linked == set(pages) - {"index.md"}
    assert max(len(text.split()) for text in pages.values()) < MAX_WORDS


def test_every_section_has_its_place_on_one_page():
    from benchmarks._sections import SECTIONS

    text = "".join(path.read_text(encoding="utf-8") for path in _pages.TEMPLATES.glob("*.md"))
    assert sorted(re.findall(r"\{\{section (\S+)\}\}", text)) == sorted(SECTIONS)


def test_committed_results_are_no_quick_runs(results):
    assert not [name for name, (record, _) in results.items() if record["quick"]]


def table(**arguments):
    rows = [
        {"seed": 0, "kind": "a", "r2": 0.5, "fine": True},
        {"seed": 1, "kind": "a", "r2": 0.7, "fine": False},
        {"seed": 0, "kind": "b", "r2": 0.9, "fine": True},
    ]
    columns = ["seed", ("kind", "kind", "s"), "r2", ("fine", "fine", "s")]
    return Table(columns, rows, **arguments)


def test_repetitions_are_summarised_by_kind():
    assert table(by=("kind",)).markdown().splitlines()[2:] == [
        "| a | 0.6000 (0.1414) | 1 of 2 |",
        "| b | 0.9000 | 1 of 1 |",
    ]


def test_a_result_survives_its_file():
    result = Result("Title", [table(by=("kind",))], ["A note."], {"tau": 0.1})
    result.target("R2 >= 0.5", 0.6, True)
    assert Result.from_record(result.record()).markdown() == result.markdown()


def test_templates_leave_out_what_was_not_measured():
    found = {"fit.x": ({"seeds": [0, 1]}, Result("Title", [table(by=("kind",))]))}
    text = "| A | {{fit.x r2 mean .2f kind=a}} |\n| B | {{fit.y r2 mean .2f}} |\n\nend\n"
    assert _pages.fill(text, found) == "| A | 0.60 |\n\nend\n"
    assert _pages.fill("- {{fit.x r2 max .1f kind=b}}\n- {{fit.x r2 sd .1f kind=b}}\n", found) == (
        "- 0.9\n"
    )


def test_unknown_sections_are_refused():
    from benchmarks._sections import choose

    with pytest.raises(ValueError, match=r"no section or group 'fit\.many'"):
        choose(["fit.many"])
    assert list(choose(["stability"])) == [
        f"stability.{name}" for name in ("flip_flop", "ring", "decision", "initial_states")
    ]
