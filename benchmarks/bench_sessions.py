"""Sessions with different neurons in one fit: alignment, and decoders that cross.

    python benchmarks/bench_sessions.py --output sessions.json --markdown sessions.md

The package must be installed, or the repository root be on PYTHONPATH. Real recordings come from
``--data-dir`` or the folder that JEDI_DATA_DIR names; their sections are skipped without it.
"""

from __future__ import annotations

import sys

from _embeddings import add_options
from _run import make_parser, run_sections
from _sessions import (
    growth,
    joined_session,
    reach_sessions,
    shared_neurons,
    simulated_sessions,
)

SECTIONS = {
    section.__name__: section
    for section in (reach_sessions, simulated_sessions, joined_session, shared_neurons, growth)
}


def main():
    parser = add_options(make_parser(__doc__, SECTIONS))
    return run_sections("bench_sessions.py", "Sessions in one space", SECTIONS, parser)


if __name__ == "__main__":
    sys.exit(main())
