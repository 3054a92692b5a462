"""What decoders read from embeddings of held-out trials, with default parameters.

    python benchmarks/bench_embeddings.py --output embeddings.json --markdown embeddings.md
    python benchmarks/bench_embeddings.py --sections reach_50ms visual --splits 1

The package must be installed, or the repository root be on PYTHONPATH. Real recordings come from
``--data-dir`` or the folder that JEDI_DATA_DIR names; their sections are skipped without it.
"""

from __future__ import annotations

import sys

from _embeddings import (
    error_bars,
    multitask,
    noisy,
    reach_10ms,
    reach_50ms,
    reach_days,
    starts,
    visual,
)
from _recordings import N_SPLITS
from _run import make_parser, run_sections

SECTIONS = {
    section.__name__: section
    for section in (
        reach_50ms,
        reach_10ms,
        visual,
        reach_days,
        starts,
        multitask,
        noisy,
        error_bars,
    )
}


def main():
    parser = make_parser(__doc__, SECTIONS)
    add = parser.add_argument
    add("--splits", type=int, default=N_SPLITS, help="how many of the splits of a recording")
    add("--labels", choices=("given", "none"), default="given", help="whether fits get labels")
    add(
        "--no-train-runs",
        action="store_true",
        help="do not infer training trials again: no training R2, no decoding of free runs",
    )
    return run_sections("bench_embeddings.py", "What embeddings hold", SECTIONS, parser)


if __name__ == "__main__":
    sys.exit(main())
