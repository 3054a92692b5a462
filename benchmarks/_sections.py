"""All sections, by the question that they belong to, and the options that some of them have."""

from __future__ import annotations

from . import _counts, _dynamics_speed, _embeddings, _paper, _scaling, _simulated, _stability
from ._cost import memory, speed
from ._device import device
from ._engine import WORK, commits
from ._frequency import frequency
from ._generalisation import new_conditions, unseen_tasks
from ._low_rank import low_rank
from ._memory_pro import memory_pro
from ._permutation import shuffled_labels
from ._preparation import preparation
from ._recordings import N_SPLITS, center_out, suresh
from ._sessions import growth, joined_session, reach_sessions, shared_neurons, simulated_sessions
from ._structures import analytic, flip_flop, subsampling
from ._units import hidden_units

GROUPS = {
    "paper": (
        _paper.reconstruction,
        unseen_tasks,
        new_conditions,
        low_rank,
        _paper.sizes,
        preparation,
    ),
    "fit": (
        _simulated.multitask,
        _simulated.driven,
        _simulated.noisy,
        _simulated.unseen,
        center_out,
        suresh,
        speed,
        memory,
    ),
    "embeddings": (
        _embeddings.reach_50ms,
        _embeddings.reach_10ms,
        _embeddings.visual,
        _embeddings.reach_days,
        _embeddings.starts,
        _embeddings.multitask,
        _embeddings.noisy,
        _embeddings.error_bars,
        shuffled_labels,
    ),
    "counts": (
        _counts.reach_counts,
        _counts.reach_cosmoothing,
        _counts.compared,
        _counts.visual_counts,
        _counts.simulated_counts,
        _counts.cost,
    ),
    "sessions": (reach_sessions, simulated_sessions, joined_session, shared_neurons, growth),
    "dynamics": (
        frequency,
        flip_flop,
        memory_pro,
        analytic,
        subsampling,
        hidden_units,
        _dynamics_speed.fixed_points_speed,
        _dynamics_speed.spectra_speed,
        _dynamics_speed.scaling,
    ),
    "stability": (
        _stability.flip_flop,
        _stability.ring,
        _stability.decision,
        _stability.initial_states,
    ),
    "engine": (commits, device),
    "scaling": (
        _scaling.cost,
        _scaling.large,
        _scaling.workers,
        _scaling.processes,
        _scaling.file,
    ),
}
SECTIONS = {f"{group}.{s.__name__}": s for group, some in GROUPS.items() for s in some}


def choose(names):
    """Sections by their names, or those of a group by its name."""
    chosen = {}
    for name in names:
        some = {k: s for k, s in SECTIONS.items() if name in (k, k.split(".")[0])}
        if not some:
            raise ValueError(
                f"There is no section or group {name!r}. Groups are {', '.join(GROUPS)}; "
                f"sections are {', '.join(SECTIONS)}."
            )
        chosen |= some
    return chosen


def add_options(parser):
    """Options that some sections have."""

    def options_of(group):
        return parser.add_argument_group(f"sections of {group}").add_argument

    add = options_of("embeddings, counts, sessions and recordings")
    add("--splits", type=int, default=N_SPLITS, help="of a recording: folds of cross-validations")
    add("--labels", choices=("given", "none"), default="given", help="whether fits get labels")
    add(
        "--no-train-runs",
        action="store_true",
        help="do not infer training trials again: no training R2, no decoding of free runs",
    )
    add = options_of("fit")
    add("--smoothing", type=float, default=0.1, help="SD for the M1 single trials, s")
    add("--speed-seeds", nargs="+", type=int, default=[0], help="teacher seeds of speed")
    add("--paper-iter", type=int, default=1500, help="steps of the paper solver")
    add("--memory-trials", type=int, default=2000, help="trials of memory")
    add("--memory-iter", type=int, default=10, help="steps of the fit that measures memory")
    add("--memory-full", action="store_true", help="then fit them with the default steps, too")
    add = options_of("stability")
    add("--refits", type=int, default=10, help="of each kind")
    add("--observed", nargs="+", type=int, default=[64, 32, 16, 8], help="of the flip-flop's 64")
    add("--jobs", type=int, default=None, help="processes that share the refits")
    add = options_of("engine")
    add("--old", default="6422c21", help="the earlier commit")
    add("--work", nargs="+", choices=WORK, default=list(WORK), help="what is timed")
    add = options_of("scaling")
    add("--file-gb", type=float, default=8.0, help="size of the file of section file, 10^9 bytes")
    add("--folder", help="where that file is written; a temporary folder by default")
