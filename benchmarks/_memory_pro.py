"""The ring of slow points of MemoryPro: that of fitted RNNs beside the teacher's."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.utils import Bunch

from jedi_sklearn import find_fixed_points
from jedi_sklearn.datasets import make_memory_pro

from ._common import estimator, few, fit, log, quiet, r2, scaled
from ._points import cross, lyapunov_error, nearest, pick, rnn_of, search, thin
from ._report import Figure, Result, Table
from ._structures import N_MATCHED, NOISE, PER_CONDITION, R2, SEED, SLOW

PHASES = ("context", "memory")  # which have the same input


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
        "r2": r2(scaled(est, data.X), scaled(est, quiet(est.predict, data.X))),
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


def ring_of(points):
    """The fixed and slow points with at most one unstable direction."""
    return pick(points, points.found.n_unstable <= 1)


def chamfer(a, b):
    """Symmetric Chamfer distance: mean distance to the nearest point of the other set."""
    if not len(a) or not len(b):
        return np.inf
    return float(nearest(a, b).mean() + nearest(b, a).mean()) / 2


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
