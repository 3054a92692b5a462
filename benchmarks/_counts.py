"""Fits to spike counts as they were recorded, beside what others make of them."""

from __future__ import annotations

import time
import warnings
from functools import partial

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import PoissonRegressor

from jedi_sklearn.datasets import make_multitask, make_spike_counts
from jedi_sklearn.evaluation import compare
from jedi_sklearn.metrics import bits_per_spike, hidden_bits_per_spike, r2_by
from jedi_sklearn.preprocessing import smooth_counts

from ._common import estimator, fit, log, make, split
from ._embeddings import (
    COLUMNS,
    COUNTS_NOTE,
    D2,
    NOTE,
    at_least,
    centre_out_window,
    cross_validate,
    folds,
    measure,
    near_the_best,
    say,
    settings,
)
from ._recordings import BIN_WIDTH, N_FOLDS, load
from ._report import Result, Table

HELD_OUT = 0.25  # of the neurons
SIGMAS = (0.05, 0.1, 0.15)  # s, of which the regression takes what predicts best
ALPHAS = (1e-3, 1e-2, 1e-1, 1.0)  # the same of its ridge
TEACHER = {"n_conditions_per_task": 4, "process_noise": 0.003, "observation_noise": 0.0}


def smoothed_window(recording, sigma):
    """Epochs of trials smoothed with a Gaussian of this SD, s."""
    smooth = partial(smooth_counts, bin_width=BIN_WIDTH, sigma=sigma)
    return centre_out_window(recording, smooth)[0]


def reach_counts(options):
    """Reaches of a macaque, raw counts in bins of 50 ms."""
    recording = load(options, "center_out_m1_trials.npz")
    X, counts, direction = centre_out_window(recording, np.asarray)
    how = (smoothed_window(recording, 0.1), direction, counts, BIN_WIDTH)
    table = cross_validate(options, "reach_counts", *how, raw=X.astype(float))
    result = Result(
        "Macaque M1, centre-out reaches, raw counts in 50 ms",
        [table],
        [
            f"{len(X)} trials of {X.shape[1]} bins and {X.shape[2]} neurons, fitted as they were "
            "recorded; PCA of counts smoothed with SD 100 ms. *D2*: share of the deviance "
            "explained. " + NOTE + COUNTS_NOTE
        ],
        settings(options, dt=BIN_WIDTH),
    )
    s = table.summary()
    at_least(result, "LR on embeddings >= 0.95", s["embedding_lr"]["mean"], 0.95)
    at_least(result, "LDA on embeddings >= 0.98", s["embedding_lda"]["mean"], 0.98)
    return result


def visual_counts(options):
    """Contrasts before the eyes of mice, raw counts in bins of 10 ms."""
    tables = []
    for session in (1, 2, 3):
        recording = load(options, f"visual_mouse_steinmetz2019_s{session}.npz")
        X = recording["spike_counts"].astype(float)
        X = X[:, :, X.sum(axis=(0, 1)) > 0]
        smoothed = smooth_counts(X, bin_width=0.01, sigma=0.05)
        side = np.sign(recording["contrast_left"] - recording["contrast_right"]).astype(int)
        name = f"visual, session {session}"
        how = (smoothed, side, X.sum(axis=1), 0.01)
        tables.append(cross_validate(options, name, *how, raw=X))
    result = Result(
        "Mouse visual cortex, raw counts in 10 ms",
        tables,
        [
            f"Three sessions, {X.shape[1]} bins from stimulus onset, all neurons that fire, "
            "fitted as they were recorded; PCA of counts smoothed with SD 50 ms. Decoded is the "
            "side of the higher contrast, or neither. " + NOTE + COUNTS_NOTE
        ],
        settings(options, dt=0.01),
    )
    near_the_best(result, tables)
    return result


def reach_cosmoothing(options):
    """Neurons held out, predicted from the others of the same trial."""
    recording = load(options, "center_out_m1_trials.npz")
    X, _, direction = centre_out_window(recording, np.asarray)
    rates = {sigma: smoothed_window(recording, sigma) for sigma in SIGMAS}
    if options.quick:
        X, direction = X[::2, :, :20], direction[::2]
        rates = {sigma: Z[::2, :, :20] for sigma, Z in rates.items()}
    order = np.random.default_rng(0).permutation(X.shape[2])
    hidden = np.zeros(X.shape[2], dtype=bool)
    hidden[order[: round(HELD_OUT * len(order))]] = True
    rows = []
    for i, train, test in folds(options, X, direction):
        est = estimator(options, dt=BIN_WIDTH)
        row = {"split": i, "fit_seconds": fit(est, X[train], direction[train])}
        row["jedi"] = hidden_bits_per_spike(est, X[test], hidden)
        # of smoothed counts: one without a spike in 25 trials is not impossible
        means = rates[SIGMAS[1]][train] * BIN_WIDTH
        means = [means[direction[train] == d].mean(axis=0) for d in direction[test]]
        means = np.stack(means)[:, :, hidden]
        row["condition"] = bits_per_spike(X[test][:, :, hidden], means)
        row["regression"] = regressed(X, rates, hidden, train, test)
        row |= {"n_components": est.n_components_, "rank": est.rank_}
        rows.append(row)
        scores = ", ".join(
            f"{name} {row[name]:.4f}" for name in ("jedi", "regression", "condition")
        )
        log(f"reach_cosmoothing, split {i}: {scores}")
    table = Table(
        [
            ("split", "split", "d"),
            ("jedi", "JEDI", ".3f"),
            ("regression", "smoothing and Poisson regression", ".3f"),
            ("condition", "condition mean", ".3f"),
            ("n_components", "components", "d"),
            ("rank", "rank", "d"),
            "fit_seconds",
        ],
        rows,
        "reach_cosmoothing",
    )
    result = Result(
        "Macaque M1, neurons held out: bits per spike",
        [table],
        [
            f"{HELD_OUT:.0%} of the neurons, the same in each split, are hidden in the held-out "
            "trials. *JEDI*: default parameters, raw counts. *Smoothing and Poisson regression*: "
            "one regression a neuron on the smoothed rates of the others, width and ridge those "
            "that predict best in a quarter of the training trials. *Condition mean*: of the "
            "smoothed training trials (SD 100 ms) of the same direction, which JEDI is not told."
        ],
        settings(options, dt=BIN_WIDTH),
    )
    s = table.summary()
    gain = s["jedi"]["mean"] - s["regression"]["mean"]
    at_least(result, "as much as smoothing and Poisson regression", gain, 0.0, "+.3f")
    return result


def compared(options):
    """What `compare` says of raw counts, as a user gets it."""
    recording = load(options, "center_out_m1_trials.npz")
    X, _, direction = centre_out_window(recording, np.asarray)
    recordings = {"macaque M1, 50 ms": (X.astype(float), direction, BIN_WIDTH)}
    recording = load(options, "visual_mouse_steinmetz2019_s1.npz")
    X = recording["spike_counts"].astype(float)
    side = np.sign(recording["contrast_left"] - recording["contrast_right"]).astype(int)
    recordings["mouse visual cortex, 10 ms"] = X[:, :, X.sum(axis=(0, 1)) > 0], side, 0.01
    if options.quick:
        name, (X, y, bin_width) = recordings.popitem()
        recordings = {name: (X[::3, :, :20], y[::3], bin_width)}
    tables = []
    for name, (X, y, bin_width) in recordings.items():
        n_splits = 2 if options.quick else N_FOLDS
        found = compare(
            X, y, estimator=estimator(options, dt=bin_width), cv=n_splits, random_state=0
        )
        log(f"compared, {name}: {found.summary()}")
        rows = [row | {"interval": "{low:.3f} to {high:.3f}".format(**row)} for row in found.rows]
        for row in rows:
            row["difference"] = None if np.isnan(row["difference"]) else row["difference"]
        columns = [
            ("question", "question", "s"),
            ("method", "method", "s"),
            ("metric", "metric", "s"),
            ("value", "value", ".3f"),
            ("interval", "95 % interval", "s"),
            ("difference", "JEDI less this", "+.3f"),
        ]
        tables.append(Table(columns, rows, name, summarise=False))
    return Result(
        "compare on raw counts",
        tables,
        [
            "`compare(X, y)`, default parameters. Forecasts: the second half of held-out trials, "
            "from the first. The condition mean is told the condition, which JEDI is not."
        ],
        settings(options),
    )


def regressed(X, rates, hidden, train, test):
    """Bits per spike of Poisson regressions from smoothed rates of the neurons shown."""
    some = np.arange(len(train)) % 4 == 0
    inner, judge = train[~some], train[some]

    def score(sigma, alpha, train, test):
        return bits_per_spike(X[test][:, :, hidden], predict(sigma, alpha, train, test))

    def predict(sigma, alpha, train, test):
        Z = rates[sigma][:, :, ~hidden]
        mean, sd = Z[train].mean(axis=(0, 1)), Z[train].std(axis=(0, 1)) + 1e-9
        A, B = (((Z[i] - mean) / sd).reshape(-1, Z.shape[2]) for i in (train, test))
        each = [one(A, X[train][:, :, n].ravel(), B, alpha) for n in np.flatnonzero(hidden)]
        return np.stack(each, axis=1).reshape(len(test), X.shape[1], -1)

    def one(A, y, B, alpha):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return PoissonRegressor(alpha=alpha, max_iter=300).fit(A, y).predict(B)

    grid = [(sigma, alpha) for sigma in SIGMAS for alpha in ALPHAS]
    best = max(grid, key=lambda pair: score(*pair, inner, judge))
    return score(*best, train, test)


def count_trials(options, seed):
    """Spikes of a teacher with 16 conditions in bins of 20 ms, and the trials to fit."""
    data = make(options, make_multitask, seed, n_trials=400, **TEACHER)
    data = make_spike_counts(data, bin_steps=2, random_state=200 + seed)
    return data, *split(data.condition, 0.25, seed)


def simulated_counts(options):
    """Spikes of teachers with 16 noisy conditions."""
    rows = []
    for seed in options.seeds:
        data, train, test = count_trials(options, seed)
        est = estimator(options, dt=data.bin_width)
        row = measure(options, est, data.X, data.condition, train, test)
        row["d2"] = est.score(data.X[test])
        row["rate_r2"] = r2_by(data.rates[test], est.predict(data.X[test]))
        rows.append({"seed": seed, **row})
        say(f"simulated_counts, seed {seed}, R2 of rates {row['rate_r2']:.4f}", row)
    rate_r2 = ("rate_r2", "R2 of the true rates", ".3f")
    columns = [c for c in COLUMNS if "counts" not in c[0]]
    table = Table(["seed", rate_r2, D2, *columns], rows, "simulated_counts")
    result = Result(
        "Simulated spike counts, several conditions per task",
        [table],
        [
            "`make_multitask` with four conditions a task and `make_spike_counts`: 200 neurons of "
            "5 to 10 spikes/s, SD of log rates 1, bins of 20 ms; 300 trials to fit, 100 held out. "
            "Sixteen conditions. " + NOTE
        ],
        settings(options, **TEACHER),
    )
    s = table.summary()
    at_least(result, "R2 of the true rates >= 0.90", s["rate_r2"]["mean"], 0.90)
    at_least(result, "LR on embeddings >= 0.97", s["embedding_lr"]["mean"], 0.97)
    return result


def cost(options):
    """Seconds of a Poisson and of a Gaussian fit of the same size."""
    rows = []
    for seed in options.seeds[:2]:
        data, train, test = count_trials(options, seed)
        row = {"seed": seed}
        for observation in ("poisson", "gaussian"):
            sizes = {"n_components": 12, "rank": 24, "observation": observation}
            est = estimator(options, dt=data.bin_width, **sizes)
            row[f"{observation}_fit"] = fit(est, data.X[train], data.condition[train])
            start = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                est.transform(data.X[test])
            row[f"{observation}_transform"] = time.perf_counter() - start
        for what in ("fit", "transform"):
            row[f"{what}_ratio"] = row[f"poisson_{what}"] / row[f"gaussian_{what}"]
        rows.append(row)
        log(f"cost, seed {seed}: {row}")
    names = ["poisson_fit", "gaussian_fit", "fit_ratio"]
    names += ["poisson_transform", "gaussian_transform", "transform_ratio"]
    columns = [(name, name.replace("_", " "), ".2f") for name in names]
    table = Table(["seed", *columns], rows, "cost")
    result = Result(
        "Cost of counts",
        [table],
        ["The trials above, 12 components and rank 24, as counts and as a continuous signal; s."],
        settings(options),
    )
    for what in ("fit", "transform"):
        ratio = table.summary()[f"{what}_ratio"]["mean"]
        result.target(f"{what}: within 2 times", ratio, ratio <= 2, ".2f")
    return result
