"""How well and how fast JEDIEstimator fits, on simulated and on real recordings.

    python benchmarks/bench_fit.py --output fit.json --markdown docs/benchmarks.md
    python benchmarks/bench_fit.py --sections multitask unseen --seeds 0 1 --quick

The package must be installed, or the repository root be on PYTHONPATH. Real recordings come from
``--data-dir`` or the folder that JEDI_DATA_DIR names; their sections are skipped without it.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import traceback
from pathlib import Path

import torch
from _common import warm_up
from _cost import memory, speed
from _recordings import center_out, suresh
from _report import environment
from _simulated import frequency, multitask, noisy, unseen
from threadpoolctl import threadpool_limits

SECTIONS = {
    section.__name__: section
    for section in (multitask, noisy, unseen, frequency, center_out, suresh, speed, memory)
}


def make_parser():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="what to run")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4], help="teacher seeds")
    add("--threads", type=int, default=1, help="threads of torch and BLAS")
    add("--params", type=json.loads, default={}, help="estimator arguments on top, as JSON")
    add("--data-dir", default=os.environ.get("JEDI_DATA_DIR"), help="folder of the recordings")
    add("--smoothing", type=float, default=0.1, help="SD for the M1 single trials, s")
    add("--speed-seeds", nargs="+", type=int, default=[0], help="teacher seeds of speed")
    add("--paper-iter", type=int, default=600, help="steps of the paper solver")
    add("--memory-trials", type=int, default=2000, help="trials of memory")
    add("--memory-iter", type=int, default=10, help="steps of the fit that measures memory")
    add("--memory-full", action="store_true", help="then fit them with the default steps, too")
    add("--output", type=Path, help="write JSON here, after every section")
    add("--markdown", type=Path, help="write the tables as Markdown here")
    add("--quick", action="store_true", help="tiny sizes: shows that it runs, measures nothing")
    return parser


def command_line(options, parser):
    """The command that makes this run, without folders of this machine."""
    words = ["python", "benchmarks/bench_fit.py"]
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


def heading(run):
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


def run_section(name, options):
    """Record and Markdown of a section, printed as it ends; a failure is recorded, not raised."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    try:
        result = SECTIONS[name](options)
    except Exception as error:  # a long run keeps its other sections
        traceback.print_exc()
        return {"error": repr(error)}, f"## {name}\n\nFailed: {error!r}\n"
    if result is None:
        reason = "the recording was not found"
        return {"skipped": reason}, f"## {name}\n\nSkipped: {reason}.\n"
    print(result.text(), flush=True)
    return result.record() | {"load_before": load}, result.markdown()


def main():
    parser = make_parser()
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    threadpool_limits(options.threads)
    run = {
        "command": command_line(options, parser),
        **environment(),
        "seeds": options.seeds,
        "quick": options.quick,
        "sections": {},
    }
    print(f"{run['command']}\n{heading(run)}\n")
    pages = [
        f"# Benchmarks of the fit\n\n```bash\n{run['command']}\n```\n\n{heading(run)}\n\n"
        "Below a table stand mean, minimum and standard deviation over its rows. A tiny fit comes "
        "first: torch imports much (seconds) when a process makes its first optimiser.\n"
    ]
    warm_up()
    for name in options.sections:
        record, page = run_section(name, options)
        run["sections"][name] = record
        pages.append(page)
        if options.output:
            options.output.write_text(json.dumps(run, indent=1) + "\n")
        if options.markdown:
            options.markdown.write_text("\n".join(pages))
    failed = [name for name, record in run["sections"].items() if "error" in record]
    return f"failed: {', '.join(failed)}" if failed else None


if __name__ == "__main__":
    sys.exit(main())
