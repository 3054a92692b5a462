"""Verdicts of stability reports beside the structures of the teacher that made the data."""

from __future__ import annotations

import time
import warnings

import numpy as np
from scipy.stats import beta

from jedi_sklearn import find_fixed_points, lyapunov_exponents
from jedi_sklearn.datasets import (
    make_bistable_decision,
    make_flip_flop,
    make_initial_states,
    make_ring_attractor,
)
from jedi_sklearn.evaluation import stability_report
from jedi_sklearn.evaluation._matching import match_modes, modes_of

from ._common import estimator, few, log
from ._points import cross, nearest
from ._report import Result, Table
from ._structures import SPURIOUS

PER_CONDITION = {"embedding": "condition", "max_iter": 60}
LONGER = {"embedding": "condition", "max_iter": 200}  # short fits to few neurons invent less
TESTS = ("seeds", "trials", "neurons", "visited")
COLUMNS = [
    ("seed", "seed", "d"),
    ("observed", "observed neurons", "d"),
    ("structure", "structure", "s"),
    ("true", "true", "d"),
    ("true_stable", "true, stable", "d"),
    ("false", "spurious", "d"),
    ("false_stable", "spurious, stable", "d"),
    *((f"{test}_alone", f"spurious, pass {test}", "d") for test in TESTS),
]


def flip_flop(options):
    """The fixed points of the three-bit flip-flop, from some of its neurons."""
    rows = []
    for seed in options.seeds:
        for n in few(options, options.observed):
            data = make_flip_flop(8 if options.quick else 40, n_neurons=n, random_state=seed)
            est = estimator(options, **LONGER)
            report, seconds = judge(options, est, data.X, data.condition)
            teacher = find_fixed_points(data.teacher, n_random_starts=1024)[0]
            memories = data.fixed_points[:, data.observed]
            near = SPURIOUS * nearest(memories, memories, skip_self=True).min()

            def true(s, teacher=teacher, data=data, near=near):
                same = teacher.points[teacher.n_unstable == s.n_unstable]
                return is_near(s.position, same[:, data.observed], near)

            points = [s for s in report.structures if s.condition == "hold"]
            points = [s for s in points if s.kind == "fixed point"]
            more = {"seed": seed, "observed": n}
            rows += table_rows(points, true, more)
            log(f"flip-flop, {n} neurons, seed {seed}, {seconds:.0f} s")
            log(details(points, true))
    note = (
        f"`make_flip_flop`, 40 trials, some of the 64 neurons. A point of the condition *hold* is "
        "true if the teacher has one of as many unstable directions no farther away (in the "
        f"observed neurons) than {SPURIOUS} of the spacing of its eight memories."
    )
    return result_of("Flip-flop: fixed points", rows, note, LONGER | options.params)


def ring(options):
    """Points of the ring attractor, which has none but on the ring."""
    rows = []
    for seed in options.seeds:
        for n in few(options, (60, 20)):
            data = make_ring_attractor(
                20 if options.quick else 40, n_neurons=60, n_timesteps=60, random_state=seed
            )
            some = np.sort(np.random.default_rng(seed).permutation(60)[:n])
            half = np.random.default_rng(0).permutation(len(data.X)) % 2
            est = estimator(options, **PER_CONDITION)
            report, seconds = judge(options, est, data.X[..., some], half)
            true_points = np.concatenate([data.fixed_points, np.zeros((1, 60))])[:, some]
            radius = np.linalg.norm(data.fixed_points[:, some], axis=1).mean()
            points = [s for s in report.structures if s.kind == "fixed point"]

            def true(s, true_points=true_points, radius=radius):
                return is_near(s.position, true_points, SPURIOUS * radius)

            rows += table_rows(points, true, {"seed": seed, "observed": n})
            log(f"ring, {n} neurons, seed {seed}, {seconds:.0f} s")
            log(details(points, true))
    note = (
        "`make_ring_attractor`, 60 neurons, 40 trials, two conditions of random "
        f"halves. A point is true within {SPURIOUS} of the radius of the ring, or the origin. "
        "(Fits break the ring into few fixed points, and which few is an accident: none of them "
        "should be stable.)"
    )
    return result_of("Ring attractor: fixed points", rows, note, PER_CONDITION | options.params)


def decision(options):
    """The two choices of the bistable network, and the exponents of its trials."""
    rows = []
    for seed in options.seeds:
        data = make_bistable_decision(20 if options.quick else 40, random_state=seed)
        X, run = data.X[:, 30:, :40], data.free_run[:, 30:]  # after the evidence
        half = np.random.default_rng(0).permutation(len(X)) % 2
        est = estimator(options, **PER_CONDITION)
        report, seconds = judge(options, est, X, half)
        spacing = np.linalg.norm(data.fixed_points[1, :40] - data.fixed_points[0, :40])

        def true(s, data=data, spacing=spacing):
            index = [[0, 2], [1]]
            n = s.n_unstable
            same = data.fixed_points[index[n] if n < 2 else []][:, :40]
            return is_near(s.position, same, SPURIOUS * spacing)

        points = [s for s in report.structures if s.kind == "fixed point"]
        rows += table_rows(points, true, {"seed": seed, "observed": 40})
        rows += exponent_rows(report, data, run, half, {"seed": seed, "observed": 40})
        log(f"decision, seed {seed}, {seconds:.0f} s")
        log(details(points, true))
    note = (
        "`make_bistable_decision`, 40 trials after the pulse, 40 of 100 neurons, two conditions "
        "of random halves. Points: the two choices, and the saddle. Exponents: of the sign "
        "that the teacher's has along the same trials without noise."
    )
    return result_of("Decision network", rows, note, PER_CONDITION | options.params)


def initial_states(options):
    """Eigenvalues and exponents of a random network without input."""
    rows = []
    for seed in options.seeds:
        for n in few(options, (60, 15)):
            data = make_initial_states(
                32 if options.quick else 64,
                n_neurons=60,
                n_conditions=4,
                observation_noise=0.1,
                teacher_seed=seed,
                random_state=seed,
            )
            est = estimator(options, max_iter=60)
            report, seconds = judge(options, est, data.X[..., :n], data.condition)
            more = {"seed": seed, "observed": n}
            duration = data.X.shape[1] * data.teacher.dt
            modes = {}
            for c in report.conditions:
                states = np.concatenate(data.free_run[data.condition == c])
                found = modes_of(data.teacher, states)
                own = [s for s in report.structures if s.condition == c and s.kind == "eigenvalue"]
                ours = np.array([as_mode(s) for s in own])
                same = match_modes(ours, found, duration)[1] if len(own) else []
                modes |= dict(zip(map(id, own), same, strict=True))
            own = [s for s in report.structures if s.kind == "eigenvalue"]
            rows += table_rows(own, lambda s, modes=modes: modes[id(s)], more)
            rows += exponent_rows(report, data, data.free_run, data.condition, more)
            log(f"initial states, {n} neurons, seed {seed}, {seconds:.0f} s")
            log(details(own, lambda s, modes=modes: modes[id(s)]))
    note = (
        "`make_initial_states`, 60 neurons, noise 0.1, four conditions of 16 trials. An "
        "eigenvalue is true if the teacher's equivalent linearisation along the same trials "
        "without noise has the same, by the rule by which the report matches those of fits."
    )
    return result_of("Random network: eigenvalues", rows, note, {"max_iter": 60} | options.params)


# ---------------------------------------------------------------------------------- helpers


def judge(options, est, X, labels):
    """A report and its seconds."""
    n = 2 if options.quick else options.refits
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = stability_report(
            est, X, conditions=labels, n_seeds=n, n_resamples=n, n_halves=n, n_jobs=options.jobs
        )
    return report, time.perf_counter() - start


def details(structures, true):
    """A line for each structure."""
    return "\n".join(
        f"  {'true' if true(s) else 'SPURIOUS'}, {s.verdict}: {s.condition}, {s.name}, {s.found}, "
        f"{s.from_trials:.2f} SD from trials"
        for s in structures
    )


def is_near(point, others, distance):
    """Whether a point is near one of others."""
    return bool(len(others) and cross(point[np.newaxis], others).min() <= distance)


def as_mode(structure):
    """Growth rate + 2 pi i frequency of an eigenvalue."""
    frequency = structure.quantities["frequency (Hz)"][0]
    return structure.quantities["growth rate (1/s)"][0] + 2j * np.pi * frequency


def exponent_rows(report, data, run, labels, more):
    """Rows of the exponents, true if they have the teacher's sign."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        teacher = data.teacher[np.zeros(len(run), dtype=int)]
        each = lyapunov_exponents(teacher, run, n_exponents=1)[:, 0]
    sign = {c: np.sign(each[labels == c].mean()) for c in report.conditions}
    exponents = [s for s in report.structures if s.kind == "exponent"]

    def true(s):
        return np.sign(s.quantities["exponent (1/s)"][0]) == sign[s.condition]

    return table_rows(exponents, true, more)


def table_rows(structures, true, more):
    """Counts of true and of spurious structures of each name, and what was said of them."""
    groups = {}
    for s in structures:
        sort = s.kind if s.kind != "fixed point" else "attractor"
        sort = "other fixed point" if s.kind == "fixed point" and s.n_unstable else sort
        groups.setdefault(sort, []).append((s, bool(true(s))))
    rows = []
    for sort, some in groups.items():
        right, wrong = ([s for s, t in some if t == wanted] for wanted in (True, False))
        rows.append(
            {
                **more,
                "structure": sort,
                "true": len(right),
                "true_stable": sum(s.verdict == "stable" for s in right),
                "false": len(wrong),
                "false_stable": sum(s.verdict == "stable" for s in wrong),
                **{f"{t}_alone": sum(t not in s.fails for s in wrong) for t in TESTS},
            }
        )
    return rows


def result_of(title, rows, note, settings):
    """Table and targets of a section."""
    total = {k: sum(r[k] for r in rows) for k in ("true_stable", "false", "false_stable")}
    result = Result(title, [Table(COLUMNS, rows, by=("observed", "structure"))], [note], settings)
    n_stable = total["true_stable"] + total["false_stable"]
    for text, k, n, least in (
        ("true, of those called stable: at least 0.95", total["true_stable"], n_stable, 0.95),
        (
            "not called stable, of the spurious: at least 0.9",
            total["false"] - total["false_stable"],
            total["false"],
            0.9,
        ),
    ):
        if n:
            low = beta.ppf(0.05, k, n - k + 1) if k else 0.0
            reached = f"{k} of {n} (above {low:.2f} with 95 % confidence)"
            result.target(text, reached, k >= least * n)
    return result
