"""Run the benchmarks, and make the pages of docs/benchmarks from what they found.

    python -m benchmarks                                     # all, a night on two cores
    python -m benchmarks --sections fit.multitask            # one section
    python -m benchmarks --sections dynamics --seeds 0 1     # those of a group, two seeds
    python -m benchmarks --quick --output quick              # that all run; minutes
    python -m benchmarks --report                            # pages and figures, from JSON

In the root of a clone, with the package's dependencies installed. Each section writes its own JSON
file as it ends. Recordings are read from ``--data-dir`` or the folder that JEDI_DATA_DIR names;
without them their sections are skipped.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ._pages import PAGES, RESULTS, write_report
from ._run import add_common_options, make_parser, run_sections
from ._sections import GROUPS, add_options, choose


def main():
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--sections", nargs="+", default=list(GROUPS), metavar="NAME", help="sections or groups")
    add("--output", type=Path, default=RESULTS, help="folder of the JSON files")
    add("--report", action="store_true", help="run nothing: make pages and figures")
    add("--pages", type=Path, default=PAGES, help="folder that --report writes to")
    add_common_options(parser)
    add_options(parser)
    options = parser.parse_args()
    if options.report:
        return write_report(options.output, options.pages)
    if options.quick and options.output == RESULTS:
        parser.error("--quick measures nothing: say where its files go with --output FOLDER")
    if options.quick and options.seeds == parser.get_default("seeds"):
        options.seeds = options.seeds[:1]
    try:
        sections = choose(options.sections)
    except ValueError as error:
        parser.error(str(error))
    failed = run_sections(sections, options, parser)
    return f"failed: {', '.join(failed)}" if failed else None


if __name__ == "__main__":
    sys.exit(main())
