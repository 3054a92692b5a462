"""The frame of a benchmark: options, sections one after the other, and the record of the run."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import traceback
from pathlib import Path

import torch
from _common import warm_up
from _report import environment
from threadpoolctl import threadpool_limits


def make_parser(doc, sections):
    """Options that every benchmark has."""
    parser = argparse.ArgumentParser(
        description=doc.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--sections", nargs="+", choices=sections, default=list(sections), help="what to run")
    add(
        "--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4], help="seeds of teachers or trials"
    )
    add("--threads", type=int, default=1, help="threads of torch and BLAS")
    add("--params", type=json.loads, default={}, help="estimator arguments on top, as JSON")
    add("--data-dir", default=os.environ.get("JEDI_DATA_DIR"), help="folder of the recordings")
    add("--output", type=Path, help="write JSON here, after every section")
    add("--markdown", type=Path, help="write the tables as Markdown here")
    add("--quick", action="store_true", help="tiny sizes: shows that it runs, measures nothing")
    return parser


def run_sections(script, title, sections, parser):
    """Run the sections asked for; return what ``sys.exit`` takes."""
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    threadpool_limits(options.threads)
    run = {
        "command": _command_line(script, options, parser),
        **environment(),
        "seeds": options.seeds,
        "quick": options.quick,
        "sections": {},
    }
    print(f"{run['command']}\n{_heading(run)}\n")
    pages = [
        f"# {title}\n\n```bash\n{run['command']}\n```\n\n{_heading(run)}\n\n"
        "Below a table stand mean, minimum and standard deviation over its rows. A tiny fit comes "
        "first: torch imports much (seconds) when a process makes its first optimiser.\n"
    ]
    warm_up()
    for name in options.sections:
        record, page = _run_section(sections[name], options)
        run["sections"][name] = record
        pages.append(page)
        if options.output:
            options.output.write_text(json.dumps(run, indent=1) + "\n")
        if options.markdown:
            options.markdown.write_text("\n".join(pages))
    failed = [name for name, record in run["sections"].items() if "error" in record]
    return f"failed: {', '.join(failed)}" if failed else None


def _command_line(script, options, parser):
    """The command that makes this run, without folders of this machine."""
    words = ["python", f"benchmarks/{script}"]
    for name, value in vars(options).items():
        if value == parser.get_default(name):
            continue
        words.append("--" + name.replace("_", "-"))
        if name == "data_dir":
            words.append("$JEDI_DATA_DIR")
        elif isinstance(value, dict):
            words.append(shlex.quote(json.dumps(value)))
        elif isinstance(value, list):
            words += map(str, value)
        elif isinstance(value, Path):
            words.append(shlex.quote(value.name if value.is_absolute() else str(value)))
        elif value is not True:
            words.append(str(value))
    return " ".join(words)


def _heading(run):
    """When, on what and with what a run was made."""
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    text = (
        f"{run['date']}, commit {run['commit']}. {run['system']}, {run['cpu']}, "
        f"{run['cpu_count']} cores; device {run['device']}, {run['threads']} thread(s). "
        f"{versions}."
    )
    if run["quick"]:
        text += "\n\nA quick run: tiny sizes, few steps. Its numbers and targets mean nothing."
    return text


def _run_section(section, options):
    """Record and Markdown of a section, printed as it ends; a failure is recorded, not raised."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    try:
        result = section(options)
    except Exception as error:  # a long run keeps its other sections
        traceback.print_exc()
        return {"error": repr(error)}, f"## {section.__name__}\n\nFailed: {error!r}\n"
    if result is None:
        reason = "the recording was not found"
        return {"skipped": reason}, f"## {section.__name__}\n\nSkipped: {reason}.\n"
    print(result.text(), flush=True)
    return result.record() | {"load_before": load}, result.markdown()
