"""How well and how fast JEDIEstimator fits, on simulated and on real recordings.

    python benchmarks/bench_fit.py --output fit.json --markdown fit.md
    python benchmarks/bench_fit.py --sections multitask unseen --seeds 0 1 --quick

The package must be installed, or the repository root be on PYTHONPATH. Real recordings come from
``--data-dir`` or the folder that JEDI_DATA_DIR names; their sections are skipped without it.
"""

from __future__ import annotations

import sys

from _cost import memory, speed
from _recordings import center_out, suresh
from _run import make_parser, run_sections
from _simulated import driven, multitask, noisy, unseen

SECTIONS = {
    section.__name__: section
    for section in (multitask, driven, noisy, unseen, center_out, suresh, speed, memory)
}


def main():
    parser = make_parser(__doc__, SECTIONS)
    add = parser.add_argument
    add("--smoothing", type=float, default=0.1, help="SD for the M1 single trials, s")
    add("--speed-seeds", nargs="+", type=int, default=[0], help="teacher seeds of speed")
    add("--paper-iter", type=int, default=600, help="steps of the paper solver")
    add("--memory-trials", type=int, default=2000, help="trials of memory")
    add("--memory-iter", type=int, default=10, help="steps of the fit that measures memory")
    add("--memory-full", action="store_true", help="then fit them with the default steps, too")
    return run_sections("bench_fit.py", "Benchmarks of the fit", SECTIONS, parser)


if __name__ == "__main__":
    sys.exit(main())
