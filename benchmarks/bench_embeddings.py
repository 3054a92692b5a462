"""What decoders read from embeddings of held-out trials, with default parameters.

    python benchmarks/bench_embeddings.py --output embeddings.json --markdown embeddings.md
    python benchmarks/bench_embeddings.py --sections reach_50ms visual --splits 1

The package must be installed, or the repository root be on PYTHONPATH. Real recordings come from
``--data-dir`` or the folder that JEDI_DATA_DIR names; their sections are skipped without it.
"""

from __future__ import annotations

import sys

from _embeddings import (
    add_options,
    error_bars,
    multitask,
    noisy,
    reach_10ms,
    reach_50ms,
    reach_days,
    starts,
    visual,
)
from _permutation import shuffled_labels
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
        shuffled_labels,
    )
}


def main():
    parser = add_options(make_parser(__doc__, SECTIONS))
    return run_sections("bench_embeddings.py", "What embeddings hold", SECTIONS, parser)


if __name__ == "__main__":
    sys.exit(main())
