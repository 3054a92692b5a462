"""What a fit costs as the recording grows, and what more cores, processes and files on disk give.

    python benchmarks/bench_scaling.py --output scaling.json --markdown scaling.md
    python benchmarks/bench_scaling.py --sections cost processes --quick

The package must be installed, or the repository root be on PYTHONPATH.
"""

from __future__ import annotations

import sys

from _run import make_parser, run_sections
from _scaling import cost, file, large, processes, workers

SECTIONS = {section.__name__: section for section in (cost, large, workers, processes, file)}


def main():
    parser = make_parser(__doc__, SECTIONS)
    add = parser.add_argument
    add("--file-gb", type=float, default=8.0, help="size of the file of section file, 10^9 bytes")
    add("--folder", help="where that file is written; a temporary folder by default")
    return run_sections("bench_scaling.py", "Scaling", SECTIONS, parser)


if __name__ == "__main__":
    sys.exit(main())
