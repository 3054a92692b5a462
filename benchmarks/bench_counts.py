"""Fits to spike counts with default parameters: decoding, predictions, true rates, cost.

    python benchmarks/bench_counts.py --output counts.json --markdown counts.md
    python benchmarks/bench_counts.py --sections reach_counts --splits 1

The package must be installed, or the repository root be on PYTHONPATH. Real recordings come from
``--data-dir`` or the folder that JEDI_DATA_DIR names; their sections are skipped without it.
"""

from __future__ import annotations

import sys

from _counts import (
    cost,
    reach_cosmoothing,
    reach_counts,
    reach_forecasts,
    simulated_counts,
    visual_counts,
)
from _embeddings import add_options
from _run import make_parser, run_sections

SECTIONS = {
    section.__name__: section
    for section in (
        reach_counts,
        reach_cosmoothing,
        reach_forecasts,
        visual_counts,
        simulated_counts,
        cost,
    )
}


def main():
    parser = add_options(make_parser(__doc__, SECTIONS))
    return run_sections("bench_counts.py", "What spike counts give", SECTIONS, parser)


if __name__ == "__main__":
    sys.exit(main())
