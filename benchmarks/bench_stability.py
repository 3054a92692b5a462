"""How often the verdicts of a stability report are right, on teachers whose structures are known.

    python benchmarks/bench_stability.py --output stability.json --markdown stability.md
    python benchmarks/bench_stability.py --sections flip_flop --seeds 0 1 --observed 16 8

The package must be installed, or the repository root be on PYTHONPATH.
"""

from __future__ import annotations

import sys

from _run import make_parser, run_sections
from _stability import decision, flip_flop, initial_states, ring

SECTIONS = {section.__name__: section for section in (flip_flop, ring, decision, initial_states)}


def main():
    parser = make_parser(__doc__, SECTIONS)
    add = parser.add_argument
    add("--refits", type=int, default=10, help="of each kind")
    add("--observed", nargs="+", type=int, default=[64, 32, 16, 8], help="of the flip-flop's 64")
    add("--jobs", type=int, default=None, help="processes that share the refits")
    return run_sections("bench_stability.py", "Benchmarks of stability reports", SECTIONS, parser)


if __name__ == "__main__":
    sys.exit(main())
