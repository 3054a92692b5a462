"""Fixed points and exponents of fitted RNNs beside those of the teacher that made the data."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch

from jedi_sklearn import RNNBatch, find_fixed_points, lyapunov_exponents
from jedi_sklearn.datasets import (
    make_bistable_decision,
    make_flip_flop,
    make_memory_pro,
    make_ring_attractor,
)

from ._common import estimator, few, fit, log, r2, scaled
from ._report import Figure, Result, Table

NOISE = {"noise-free": {"process_noise": 0.0, "observation_noise": 0.0}, "noisy": {}}
MAX_STARTS = 1500  # states of the data that searches start from
SLOW = 0.1  # a slow point moves less than this, in SDs of the data, within the time of a trial
N_MATCHED = 16  # trials whose Lyapunov exponents are compared
SPURIOUS = 0.25  # of the spacing: a stable point farther than this from every true one

SEED = ("seed", "seed of trials", "d")
R2 = ("r2", "training R2", ".4f")
PHASES = ("context", "memory")  # of MemoryPro, which have the same input
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
    model, run = search(est, rnn_of(est, "hold"), X[hold]), predict(est, X)
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


def memory_pro(options):
    """The ring of slow points of the memory phase of MemoryPro."""
    rows, points = [], []
    for noise, arguments in few(options, NOISE.items()):
        for seed in options.seeds:
            data = make_memory_pro(16 if options.quick else 64, random_state=seed, **arguments)
            row, rings = memory_pro_row(options, data)
            rows.append({"noise": noise, "seed": seed, **row})
            if noise == "noisy" and seed == options.seeds[0]:
                for name, ring in rings.items():
                    points += [{"points": name, "x": x, "y": y} for x, y in ring]
            log(f"MemoryPro, {noise}, seed {seed}: {rows[-1]}")
    columns = [
        ("noise", "noise", "s"),
        SEED,
        R2,
        ("teacher_points", "points, teacher", "d"),
        ("points", "points, RNN", "d"),
        ("forth", "RNN to teacher / radius", ".3f"),
        ("back", "teacher to RNN / radius", ".3f"),
        ("chamfer", "symmetric Chamfer / radius", ".3f"),
        ("blind", "from random starts alone", ".3f"),
        ("ends", "of the data's last samples", ".3f"),
        ("order", "neighbours in order", ".3f"),
        ("angle_error", "median angle error deg", ".1f"),
        ("same_type", "same stability", ".2f"),
        *((f"{p}_{w}", f"{p}, {w} RNN", ".3f") for p in PHASES for w in ("own", "other")),
        ("lyapunov_error", "Lyapunov error 1/s", ".3f"),
        "fit_seconds",
    ]
    result = Result(
        "MemoryPro: the ring of slow points",
        [
            Table(columns, rows, by=("noise",)),
            Table([(k, k, "g") for k in ("points", "x", "y")], points, shown=False),
        ],
        [
            "`make_memory_pro`, 64 trials cut into 256 segments of constant input; "
            '`JEDIEstimator(embedding="condition")`, all else by default, and the RNN of the '
            f"condition *memory*. Points are fixed, or so slow that they move less than {SLOW} SD "
            "of the data (RMS over neurons) within the time of a segment, with at most one "
            "unstable direction, for teacher and RNN alike. Distances are means over points of "
            "the distance to the nearest point of the other set; the symmetric Chamfer distance "
            "is the mean of the two directions; beside it that of the points found from random "
            "starts alone, and that of the last samples of the memory segments, which need no "
            "model (the activity itself comes to rest near the ring). "
            "The angle of a point is what the teacher answers when it goes on to the response "
            "from there. *In order*: neighbours on the ring "
            "in its plane whose angles rise. *Same stability*: RNN points whose nearest teacher "
            "point has as many unstable directions. Context and memory have the same input, so "
            "one RNN should do for both: the RMS distance over the radius between trials of one "
            "phase and their free runs, under the RNN of that phase (*own*) and of the other."
        ],
        {**PER_CONDITION, **options.params},
    )
    figure = Figure("ring", "x", [("y", "PC 2 of the ring / radius")], "points", 1)
    figure.x_label, figure.points = "PC 1 of the ring / radius", True
    figure.caption = "Slow points of teacher and RNN, and where trials rest (noisy, first seed)"
    result.figures.append(figure)
    worst = max(r["chamfer"] for r in rows)
    result.target("symmetric Chamfer <= 0.2, each seed", worst, worst <= 0.2, ".3f")
    worst = max(r["blind"] - r["ends"] for r in rows)
    text = "random starts: nearer to the ring than the data, each seed"
    result.target(text, worst, worst < 0, "+.3f")
    order = min(r["order"] for r in rows)
    result.target("angle order kept, each seed", order, order >= 0.95, ".3f")
    return result


def memory_pro_row(options, data):
    """One fit: the slow points of the memory phase beside the teacher's, and both in a plane."""
    est = estimator(options, **PER_CONDITION)
    seconds = fit(est, data.X, data.condition)
    memory = data.phase == "memory"
    slow_speed = SLOW / (data.X.shape[1] * est.dt)
    model = search(est, rnn_of(est, "memory"), data.X[memory], slow_speed=slow_speed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        teacher = find_fixed_points(
            data.teacher,
            thin(data.free_run[memory]),
            inputs=data.phase_inputs["memory"],
            n_random_starts=512,
            slow_speed=slow_speed * est.scale_.mean(),
        )[0]
    true = ring_of(Bunch(points=teacher.points, found=teacher))
    model = ring_of(model)
    blind = ring_of(search(est, rnn_of(est, "memory"), None, slow_speed=slow_speed))
    centre = true.points.mean(axis=0)
    radius = float(np.median(np.linalg.norm(true.points - centre, axis=1)))
    resting = data.X[memory][:, -1]
    plane = np.linalg.svd(true.points - centre, full_matrices=False)[2][:2].T / radius
    sets = {"teacher": true.points, "RNN": model.points, "activity at rest": resting}
    rings = {name: ((some - centre) @ plane).tolist() for name, some in sets.items()}
    distance = cross(true.points, model.points)
    angle, true_angle = (decode(p.points, data) for p in (model, true))
    matched = distance.argmin(axis=0)
    forth, back = (float(distance.min(axis=i).mean()) / radius for i in (0, 1))
    types = model.found.n_unstable == true.found.n_unstable[matched]
    row = {
        "r2": r2(scaled(est, data.X), scaled(est, predict(est, data.X))),
        "teacher_points": len(true.points),
        "points": len(model.points),
        "forth": forth,
        "back": back,
        "chamfer": (forth + back) / 2,
        "blind": chamfer(true.points, blind.points) / radius,
        "ends": chamfer(true.points, resting) / radius,
        "order": in_order(model.points, angle),
        "angle_error": float(np.degrees(np.median(np.abs(wrap(angle - true_angle[matched]))))),
        "same_type": float(types.mean()),
        "context_own": run_error(est, data, "context", "context") / radius,
        "context_other": run_error(est, data, "context", "memory") / radius,
        "memory_own": run_error(est, data, "memory", "memory") / radius,
        "memory_other": run_error(est, data, "memory", "context") / radius,
        "lyapunov_error": lyapunov_error(est, data, np.flatnonzero(memory)[:N_MATCHED]),
        "fit_seconds": seconds,
    }
    return row, rings


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
        "r2": r2(scaled(est, X), scaled(est, predict(est, X))),
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


# -------------------------------------------------------------------------------- searching


def rnn_of(est, condition):
    """The RNN of a condition."""
    index = list(est.conditions_).index(condition)
    return est.generate_rnns(est.condition_embeddings_[index : index + 1])


def search(est, rnn, X, **arguments):
    """Fixed (and slow) points of a fitted RNN, in the units of the data.

    From activity X and random starts, or from more random starts alone.
    """
    rnn = RNNBatch.concatenate([rnn])  # a copy
    rnn.initial_states = None  # its own free run is no start
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        starts, n = (None, 2048) if X is None else (thin(scaled(est, X)), 512)
        found = find_fixed_points(rnn, starts, n_random_starts=n, **arguments)[0]
    return Bunch(points=found.points * est.scale_ + est.mean_, found=found)


def thin(X):
    """States of trials, not more than MAX_STARTS."""
    states = X.reshape(-1, X.shape[-1])
    return states[:: -(-len(states) // MAX_STARTS)]


def predict(est, X):
    """Free runs, convergence not reported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return est.predict(X)


def pick(points, index):
    """Some of the points."""
    return Bunch(points=points.points[index], found=points.found[index])


def select(points, n_unstable):
    """The exact fixed points with so many unstable directions."""
    return pick(points, points.found.exact & (points.found.n_unstable == n_unstable))


def ring_of(points):
    """The fixed and slow points with at most one unstable direction."""
    return pick(points, points.found.n_unstable <= 1)


# ------------------------------------------------------------------------------- comparing


def cross(a, b):
    """Distances of all pairs, (len(a), len(b))."""
    return np.linalg.norm(a[:, np.newaxis] - b[np.newaxis], axis=2)


def nearest(a, b, skip_self=False):
    """Distance of each point of a to the nearest of b."""
    distance = cross(a, b)
    if skip_self:
        np.fill_diagonal(distance, np.inf)
    return distance.min(axis=1)


def chamfer(a, b):
    """Symmetric Chamfer distance: mean distance to the nearest point of the other set."""
    if not len(a) or not len(b):
        return np.inf
    return float(nearest(a, b).mean() + nearest(b, a).mean()) / 2


def growth_error(true, model, distance):
    """Mean absolute difference of the leading growth rates at points matched one to one."""
    if not distance.size:
        return None
    i, j = linear_sum_assignment(distance)
    rates = [p.found.growth_rates[:, 0] for p in (true, model)]
    return float(np.abs(rates[0][i] - rates[1][j]).mean())


def lyapunov_error(est, data, trials):
    """Mean absolute difference of the leading exponent along the noise-free trials."""
    states = data.free_run[trials]
    exact = lyapunov_exponents(
        data.teacher[np.zeros(len(trials), dtype=int)], states, n_exponents=1
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ours = lyapunov_exponents(est.dynamics(data.X[trials]), n_exponents=1)
    return float(np.abs(exact - ours).mean())


def run_error(est, data, phase, condition):
    """RMS distance between trials of a phase and their free runs under a condition's RNN."""
    X = data.X[data.phase == phase]
    index = list(est.conditions_).index(condition)
    E = np.repeat(est.condition_embeddings_[index : index + 1], len(X), axis=0)
    run = est.inverse_transform(E, X[:, 0], X.shape[1])
    return float(np.sqrt(np.square(run - X).sum(axis=2).mean()))


def decode(points, data):
    """Angle that the teacher answers when it goes on to the response from states, rad."""
    response = np.tile(data.phase_inputs["response"], (len(points), 50, 1))
    output = np.tanh(data.teacher.simulate(points, 50, response)[:, -1]) @ data.output_weights.T
    return np.arctan2(output[:, 2], output[:, 1])


def in_order(points, angle):
    """Share of neighbours, going round in the plane of the points, whose angles rise."""
    centred = points - points.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    x, y = (centred @ axes[:2].T).T
    step = np.diff(angle[np.argsort(np.arctan2(y, x))], append=np.nan)
    step[-1] = -np.nansum(step)  # back to the first
    rising = float((wrap(step) >= 0).mean())
    return max(rising, 1 - rising)  # either way round


def wrap(angle):
    """Angles between -pi and pi."""
    return (angle + np.pi) % (2 * np.pi) - np.pi
