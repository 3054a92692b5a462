"""How true and how fast the analyses of the generated RNNs are, against known structure.

    python benchmarks/bench_dynamics.py --output dynamics.json --markdown dynamics.md
    python benchmarks/bench_dynamics.py --sections spectra_speed --seeds 0 1 --quick

The package must be installed, or the repository root be on PYTHONPATH.
"""

from __future__ import annotations

import sys

from _dynamics_speed import fixed_points_speed, scaling, spectra_speed
from _frequency import STEPS, frequency
from _run import make_parser, run_sections
from _structures import analytic, flip_flop, memory_pro, subsampling
from _units import hidden_units

SECTIONS = {
    section.__name__: section
    for section in (
        frequency,
        flip_flop,
        memory_pro,
        analytic,
        subsampling,
        hidden_units,
        fixed_points_speed,
        spectra_speed,
        scaling,
    )
}


def main():
    parser = make_parser(__doc__, SECTIONS)
    add = parser.add_argument
    add("--amplitudes", nargs="+", type=float, choices=STEPS, default=list(STEPS), help="of input")
    add("--gain", type=float, default=1.8, help="of the teachers driven at several frequencies")
    return run_sections("bench_dynamics.py", "Benchmarks of the dynamics", SECTIONS, parser)


if __name__ == "__main__":
    sys.exit(main())
