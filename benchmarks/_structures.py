"""Memories, rings and choices of known networks: the points of fitted RNNs beside the truth."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch

from jedi_sklearn import find_fixed_points
from jedi_sklearn.datasets import (
    make_bistable_decision,
    make_flip_flop,
    make_ring_attractor,
)

from ._common import estimator, few, fit, log, quiet, r2, scaled
from ._points import (
    cross,
    growth_error,
    lyapunov_error,
    nearest,
    pick,
    rnn_of,
    search,
    select,
    thin,
)
from ._report import Result, Table

NOISE = {"noise-free": {"process_noise": 0.0, "observation_noise": 0.0}, "noisy": {}}
SLOW = 0.1  # a slow point moves less than this, in SDs of the data, within the time of a trial
N_MATCHED = 16  # trials whose Lyapunov exponents are compared
SPURIOUS = 0.25  # of the spacing: a stable point farther than this from every true one

SEED = ("seed", "seed of trials", "d")
R2 = ("r2", "training R2", ".4f")
PER_CONDITION = {"embedding": "condition"}


def flip_flop(options):
    """The eight memories of the three-bit flip-flop."""
    rows = []
    for noise, arguments in few(options, NOISE.items()):
        for seed in options.seeds:
            data = make_flip_flop(8 if options.quick else 40, random_state=seed, **arguments)
            rows.append({"noise": noise, "seed": seed, **flip_flop_row(options, data)})
            log(f"flip-flop, {noise}, seed {seed}: {rows[-1]}")
    result = Result(
        "Flip-flop: eight memories",
        [Table([("noise", "noise", "s"), SEED, *MEMORY_COLUMNS], rows, by=("noise",))],
        [
            "`make_flip_flop`, 40 trials cut into 280 segments of constant input; "
            '`JEDIEstimator(embedding="condition")`, all else by default, and the RNN of the '
            "condition *hold* (no input). Distances are from each of the teacher's eight stable "
            "points to the nearest stable point of the RNN, over the distance to the teacher's "
            f"nearest other; *spurious* points are farther than {SPURIOUS} of it from all eight. "
            "*Saddles* have one unstable direction. *Growth rate error*: of the leading "
            "eigenvalue, at stable points matched one to one, mean absolute difference. "
            "*Lyapunov error*: the same of the leading exponent along trials."
        ],
        {**PER_CONDITION, **options.params},
    )
    found = min(r["found"] for r in rows)
    result.target("all 8 found, each seed", found, found == 8, ".0f")
    spurious = max(r["spurious"] for r in rows)
    result.target("none spurious, each seed", spurious, spurious == 0, ".0f")
    distance = max(r["distance"] for r in rows)
    result.target("median distance <= 0.1 of the spacing, each seed", distance, distance <= 0.1)
    return result


MEMORY_COLUMNS = [
    R2,
    ("teacher_stable", "stable, teacher", "d"),
    ("stable", "stable, RNN", "d"),
    ("found", "found", "d"),
    ("spurious", "spurious", "d"),
    ("distance", "median distance / spacing", ".3f"),
    ("teacher_saddles", "saddles, teacher", "d"),
    ("saddles", "saddles, RNN", "d"),
    ("growth_error", "growth rate error 1/s", ".3f"),
    ("lyapunov_error", "Lyapunov error 1/s", ".3f"),
    "fit_seconds",
]


def flip_flop_row(options, data, units=None):
    """One fit: the stable points of the hold condition beside the teacher's.

    With `units`, fitted `HiddenUnits`, the fit is one to units, not to the neurons.
    """
    est = estimator(options, **PER_CONDITION)
    X = data.X if units is None else units.transform(data.X)
    seconds = fit(est, X, data.condition)
    hold = data.condition == "hold"
    full = len(data.observed) == data.teacher.n_neurons
    model, run = search(est, rnn_of(est, "hold"), X[hold]), quiet(est.predict, X)
    if units is not None:
        model.points, run = (units.inverse_transform(a) for a in (model.points, run))
    teacher = find_fixed_points(
        data.teacher, thin(data.free_run[hold]) if full else None, n_random_starts=1024
    )[0]
    true = Bunch(points=teacher.points[:, data.observed], found=teacher)
    stable, true_stable = select(model, 0), select(true, 0)
    spacing = nearest(true_stable.points, true_stable.points, skip_self=True)
    distance = cross(true_stable.points, stable.points)
    near = distance.min(axis=1, initial=np.inf)
    away = distance.min(axis=0, initial=np.inf) / spacing[distance.argmin(axis=0)]
    row = {
        "r2": r2(data.X, run),
        "teacher_stable": len(true_stable.points),
        "stable": len(stable.points),
        "found": len(set(distance[:, away <= SPURIOUS].argmin(axis=0))) if len(away) else 0,
        "spurious": int((away > SPURIOUS).sum()),
        "distance": float(np.median(near / spacing)),
        "teacher_saddles": len(select(true, 1).points),
        "saddles": len(select(model, 1).points),
        "growth_error": growth_error(true_stable, stable, distance),
        "fit_seconds": seconds,
    }
    if full:
        row["lyapunov_error"] = lyapunov_error(est, data, np.flatnonzero(hold)[:N_MATCHED])
    return row


def analytic(options):
    """The ring attractor and the bistable decision network, whose points are known exactly."""
    rows = []
    for name, maker in (("ring", make_ring_attractor), ("decision", make_bistable_decision)):
        for noise, arguments in few(options, NOISE.items()):
            for seed in options.seeds:
                data = maker(random_state=seed, **arguments)
                if name == "decision":  # after the evidence all trials follow one system
                    for key in ("X", "free_run"):
                        data[key] = data[key][:, 30:]
                row = analytic_row(options, name, data)
                rows.append({"network": name, "noise": noise, "seed": seed, **row})
                log(f"{name}, {noise}, seed {seed}: {row}")
    columns = [("network", "network", "s"), ("noise", "noise", "s"), SEED, R2]
    columns += ANALYTIC_COLUMNS
    return Result(
        "Ring attractor and bistable decision",
        [Table(columns, rows, by=("network", "noise"))],
        [
            "`make_ring_attractor` and `make_bistable_decision` (after the pulse); all trials "
            "follow one autonomous system. They are given as two conditions of random halves, "
            "and the RNN of the first is taken. Stable or slow points are compared with the known "
            "fixed points (the ring: one at each of 100 angles; decision: the two choices), "
            "distances over the radius. *Spurious*: stable points farther than "
            f"{SPURIOUS} of the radius from all of them. *Growth rate error*: of the leading "
            "eigenvalue against the known one (0 along the ring), mean absolute difference over "
            "the points."
        ],
        {**PER_CONDITION, **options.params},
    )


ANALYTIC_COLUMNS = [
    ("points", "points, RNN", "d"),
    ("spurious", "spurious", "d"),
    ("forth", "RNN to truth / radius", ".3f"),
    ("back", "truth to RNN / radius", ".3f"),
    ("growth_error", "growth rate error 1/s", ".3f"),
    "fit_seconds",
]


def analytic_row(options, name, data, observed=slice(None)):
    """One fit: stable and slow points beside the known ones."""
    est = estimator(options, **PER_CONDITION)
    X = data.X[..., observed]
    half = np.random.default_rng(0).permutation(len(X)) % 2
    seconds = fit(est, X, half)
    rnn = rnn_of(est, 0)
    slow = {"slow_speed": SLOW / (X.shape[1] * est.dt)} if name == "ring" else {}
    model = search(est, rnn, X, **slow)
    stable = pick(model, model.found.stable | ~model.found.exact)
    true = data.fixed_points if name == "ring" else data.fixed_points[[0, 2]]
    true = true[:, observed]
    radius = float(np.linalg.norm(true, axis=1).mean())
    distance = cross(true, stable.points) / radius
    alpha, dt = data.teacher.alpha, data.teacher.dt
    leading = 1.0 if name == "ring" else data.leading_eigenvalues[0]
    rate = np.log(1 + alpha * (leading - 1)) / dt
    growth = np.max(stable.found.growth_rates, axis=1, initial=np.log(1 - alpha) / dt)
    return {
        "r2": r2(scaled(est, X), scaled(est, quiet(est.predict, X))),
        "points": len(stable.points),
        "spurious": int((distance.min(axis=0, initial=np.inf) > SPURIOUS).sum()),
        "forth": float(distance.min(axis=0, initial=np.inf).mean()) if distance.size else None,
        "back": float(distance.min(axis=1, initial=np.inf).mean()),
        "growth_error": float(np.abs(growth - rate).mean()) if len(growth) else None,
        "fit_seconds": seconds,
    }


def subsampling(options):
    """The same with fewer and fewer of the neurons observed."""
    ring_rows, memory_rows = [], []
    for seed in options.seeds:
        ring = make_ring_attractor(n_neurons=200, random_state=seed)
        for n in few(options, (200, 100, 50, 20)):
            observed = np.random.default_rng(seed).permutation(200)[:n]
            row = analytic_row(options, "ring", ring, observed)
            ring_rows.append({"observed": n, "seed": seed, **row})
            log(f"ring, {n} of 200 neurons, seed {seed}: {row}")
        for n in few(options, (64, 32, 16, 8)):
            data = make_flip_flop(
                8 if options.quick else 40, n_neurons=None if n == 64 else n, random_state=seed
            )
            memory_rows.append({"observed": n, "seed": seed, **flip_flop_row(options, data)})
            log(f"flip-flop, {n} of 64 neurons, seed {seed}: {memory_rows[-1]}")
    columns = [("observed", "observed neurons", "d"), SEED]
    tables = [
        Table(
            [*columns, R2, *ANALYTIC_COLUMNS],
            sorted(ring_rows, key=lambda r: -r["observed"]),
            title="Ring attractor of 200 neurons:",
            by=("observed",),
        ),
        Table(
            [*columns, *(c for c in MEMORY_COLUMNS if c[0] != "lyapunov_error")],
            sorted(memory_rows, key=lambda r: -r["observed"]),
            title="Flip-flop of 64 neurons:",
            by=("observed",),
        ),
    ]
    return Result(
        "Subsampling: a random part of the neurons observed",
        tables,
        [
            "The noisy data and fits of the sections above, with only some of the neurons. "
            "Truth is restricted to the observed neurons. The r2 is that of the observed "
            "activity: it says nothing of the structure."
        ],
        options.params,
    )
