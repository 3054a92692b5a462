"""How fast fit and transform are: beside an earlier commit, which is checked out, and on a GPU.

    python benchmarks/bench_engine.py --old 6422c21 --output engine.json --markdown engine.md
    python benchmarks/bench_engine.py --sections commits --work multitask --seeds 3 4
    python benchmarks/bench_engine.py --sections device

In a clone of the repository, with the package's dependencies installed.
"""

from __future__ import annotations

import sys

from _device import device
from _engine import WORK, commits
from _run import make_parser, run_sections

SECTIONS = {"commits": commits, "device": device}


def main():
    parser = make_parser(__doc__, SECTIONS)
    add = parser.add_argument
    add("--old", default="6422c21", help="the earlier commit")
    add("--work", nargs="+", choices=WORK, default=list(WORK), help="what is timed")
    return run_sections("bench_engine.py", "Engine", SECTIONS, parser)


if __name__ == "__main__":
    sys.exit(main())
