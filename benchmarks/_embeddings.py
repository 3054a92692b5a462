"""What decoders read from the embeddings of held-out trials, beside what others give them."""

from __future__ import annotations

import time
import warnings

import numpy as np
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jedi_sklearn.datasets import make_initial_states
from jedi_sklearn.evaluation._comparison import corrected_error
from jedi_sklearn.metrics import r2_by
from jedi_sklearn.preprocessing import (
    TrialScaler,
    cut_epochs,
    pad_trials,
    resample_time,
    smooth_counts,
)

from ._common import estimator, fit, log, make, split
from ._recordings import BIN_WIDTH, N_FOLDS, WINDOW, load
from ._report import Result, Table
from ._simulated import NOISE, multitask_trials, noisy_trials

TAU = 0.1  # s
N_PCS = 16  # principal components of whole trials
REPEATED_NOISE = 0.3  # SD of the noise of repeated trials, as a share of that of the data
MAX_ITER = 5000  # of logistic regressions

COLUMNS = [
    "r2",
    "train_r2",
    ("embedding_lr", "LR", ".3f"),
    ("embedding_lda", "LDA", ".3f"),
    ("embedding_knn", "5-NN", ".3f"),
    ("counts_lr", "counts LR", ".3f"),
    ("counts_lda", "counts LDA", ".3f"),
    ("counts_shrunken", "counts shrunken LDA", ".3f"),
    ("pca_lr", "PCA LR", ".3f"),
    ("pca_lda", "PCA LDA", ".3f"),
    ("run_lr", "free runs LR", ".3f"),
    ("run_lda", "free runs LDA", ".3f"),
    ("n_components", "components", "d"),
    ("rank", "rank", "d"),
    ("sd", "SD of embeddings", ".3f"),
    "fit_seconds",
    "transform_seconds",
]
D2 = ("d2", "D2", ".3f")
NOTE = (
    "Default parameters but for `dt` and `tau`. Decoders learn from the embeddings of training "
    f"trials and are scored on held-out ones; beside them the same of {N_PCS} principal "
    "components of whole trials (*PCA*) and of *free runs*."
)
COUNTS_NOTE = " *Counts*: summed over the window; *shrunken*: Ledoit-Wolf shrinkage."


def measure(options, est, X, labels, train, test, *, counts=None, smoothed=None, known=True):
    """Fit the training trials and decode the held-out ones from all there is to decode from.

    `smoothed` trials are those of which principal components are taken, X by default; `known` is
    whether the fit gets the labels.
    """
    known = known and options.labels != "none"
    y, y_new = labels[train], labels[test]
    row = {"fit_seconds": fit(est, X[train], y if known else None)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.perf_counter()
        E_new = est.transform(X[test])
        row["transform_seconds"] = time.perf_counter() - start
        run_new = est.predict(X[test])
        run = None if options.no_train_runs else est.predict(X[train])
    E = est.embedding_
    row |= decode("embedding", E, y, E_new, y_new)
    row["embedding_knn"] = float(KNeighborsClassifier(5).fit(E, y).score(E_new, y_new))
    if counts is not None:
        row |= decode("counts", counts[train], y, counts[test], y_new, standardise=True)
        shrunken = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        shrunken.fit(counts[train], y)
        row["counts_shrunken"] = float(shrunken.score(counts[test], y_new))
    Z = X if smoothed is None else smoothed
    row |= decode("pca", *components(Z[train], Z[test], y, y_new), standardise=True)
    row["r2"] = r2_by(X[test], run_new)
    if run is not None:
        row["train_r2"] = r2_by(X[train], run)
        row |= decode("run", *components(run, run_new, y, y_new), standardise=True)
    row["sd"] = float((E_new.std(axis=0) / E.std(axis=0)).mean())
    return row | {"n_components": est.n_components_, "rank": est.rank_}


def decode(name, Z, y, Z_new, y_new, standardise=False):
    """Accuracy of logistic regression and LDA."""
    lr = LogisticRegression(max_iter=MAX_ITER)
    lr = make_pipeline(StandardScaler(), lr) if standardise else lr
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # collinear counts; LR that does not converge
        return {
            f"{name}_{short}": float(decoder.fit(Z, y).score(Z_new, y_new))
            for short, decoder in (("lr", lr), ("lda", LinearDiscriminantAnalysis()))
        }


def components(X, X_new, y, y_new):
    """Principal components of whole trials, as `decode` takes them."""
    mean = np.nanmean(X, axis=(0, 1))
    flat, flat_new = (np.where(np.isnan(Z), mean, Z).reshape(len(Z), -1) for Z in (X, X_new))
    pca = PCA(min(N_PCS, len(X) - 1), random_state=0).fit(flat)
    return pca.transform(flat), y, pca.transform(flat_new), y_new


def folds(options, X, labels):
    """Number, training and test trials of the splits asked for: folds, again and again."""
    parts = []
    while len(parts) < options.splits:
        seed = len(parts) // N_FOLDS
        parts += StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed).split(X, labels)
    n = 1 if options.quick else options.splits
    return [(i, train, test) for i, (train, test) in enumerate(parts[:n])]


def cross_validate(options, name, X, labels, counts, dt, raw=None):
    """A table of splits; neurons of X are z-scored by the training trials.

    Where `raw` spike counts are given they are fitted, and X is for principal components alone.
    """
    rows = []
    if options.quick:
        X, labels, counts = X[::3, :, :12], labels[::3], counts[::3, :12]
        raw = None if raw is None else raw[::3, :, :12]
    for i, train, test in folds(options, X, labels):
        scaled = TrialScaler().fit(X[train]).transform(X)
        est = estimator(options, dt=dt, tau=TAU)
        fitted, rest = (scaled, {}) if raw is None else (raw, {"smoothed": scaled})
        row = measure(options, est, fitted, labels, train, test, counts=counts, **rest)
        if raw is not None:
            row["d2"] = est.score(raw[test])
        rows.append({"split": i, **row})
        say(f"{name}, split {i}", row)
    columns = COLUMNS if raw is None else [D2, *COLUMNS]
    return Table([("split", "split", "d"), *columns], rows, name)


def say(what, row):
    log(
        f"{what}: R2 {row['r2']:.4f}, LR {row['embedding_lr']:.3f}, "
        f"LDA {row['embedding_lda']:.3f}, fit {row['fit_seconds']:.1f} s"
    )


def at_least(result, text, value, low, spec=".3f"):
    """Target of a number that is to be large."""
    result.target(text, value, value >= low, spec)


def near_the_best(result, tables):
    """Targets: what is read from embeddings is hardly less than from counts and PCA."""
    for table in tables:
        s = table.summary()
        others = ("counts_lr", "counts_lda", "pca_lr", "pca_lda")
        gain = s["embedding_lda"]["mean"] - max(s[key]["mean"] for key in others)
        text = f"{table.title}: LDA on embeddings within 0.03 of LR and LDA on counts and PCA"
        at_least(result, text, gain, -0.03, "+.3f")
        best = max((*others, "counts_shrunken"), key=lambda key: s[key]["mean"])
        gains = [row["embedding_lda"] - row[best] for row in table.rows]
        error = corrected_error(gains, 1 / (N_FOLDS - 1)) if len(gains) > 1 else 0.0
        if error > 0:
            name = next(column[1] for column in COLUMNS if column[0] == best)
            text = f"{table.title}: LDA on embeddings less {name}, in its standard errors"
            at_least(result, text, np.mean(gains) / error, -1.0, "+.1f")


# Recordings


def centre_out_window(recording, smooth):
    """Epochs of smoothed trials, their summed counts and their directions."""
    trials = np.split(recording["spike_counts"], np.cumsum(recording["trial_length"])[:-1])
    window = {"start": round(WINDOW[0] / BIN_WIDTH), "stop": round(WINDOW[1] / BIN_WIDTH)}
    onset = recording["idx_movement_on"]
    X, kept = cut_epochs([smooth(t) for t in trials], onset, **window, drop=True)
    counts = cut_epochs(trials, onset, **window, drop=True)[0].sum(axis=1, dtype=float)
    return X, counts, recording["direction_deg"][kept].astype(int)


def reach_50ms(options):
    """Reaches of a macaque in bins of 50 ms."""
    recording = load(options, "center_out_m1_trials.npz")
    X, counts, direction = centre_out_window(
        recording, lambda t: smooth_counts(t, bin_width=BIN_WIDTH, sigma=0.1)
    )
    table = cross_validate(options, "reach_50ms", X, direction, counts, BIN_WIDTH)
    result = Result(
        "Macaque M1, centre-out reaches, 50 ms",
        [table],
        [
            f"{len(X)} trials of {X.shape[1]} samples and {X.shape[2]} neurons, {WINDOW[0]:+g} to "
            f"{WINDOW[1]:+g} s around movement onset; counts are smoothed (SD 100 ms) before the "
            "trials are cut, and z-scored by the training trials. Eight directions. "
            + NOTE
            + COUNTS_NOTE
        ],
        settings(options, dt=BIN_WIDTH),
    )
    s = table.summary()
    at_least(result, "LR on embeddings >= 0.95", s["embedding_lr"]["mean"], 0.95)
    at_least(result, "LDA on embeddings >= 0.98", s["embedding_lda"]["mean"], 0.98)
    return result


def reach_10ms(options):
    """The same reaches on a grid of 10 ms."""
    recording = load(options, "center_out_m1_trials.npz")
    X, counts, direction = centre_out_window(
        recording, lambda t: np.sqrt(smooth_counts(t, bin_width=BIN_WIDTH, sigma=0.075))
    )
    X = resample_time(X, dt=BIN_WIDTH, new_dt=0.01)
    table = cross_validate(options, "reach_10ms", X, direction, counts, 0.01)
    result = Result(
        "Macaque M1, centre-out reaches, 10 ms",
        [table],
        [
            "The reaches above, square roots of rates (SD 75 ms) interpolated to "
            f"{X.shape[1]} samples. " + NOTE + COUNTS_NOTE
        ],
        settings(options, dt=0.01),
    )
    at_least(result, "LR on embeddings >= 0.93", table.summary()["embedding_lr"]["mean"], 0.93)
    return result


def visual(options):
    """Contrasts before the eyes of mice."""
    tables = []
    for session in (1, 2, 3):
        recording = load(options, f"visual_mouse_steinmetz2019_s{session}.npz")
        counts = recording["spike_counts"].astype(float)
        counts = counts[:, : counts.shape[1] // 2 * 2]
        counts = counts[:, ::2] + counts[:, 1::2]  # 20 ms
        counts = counts[:, :, counts.mean(axis=(0, 1)) >= 0.02]  # 1 spike/s
        X = smooth_counts(counts, bin_width=0.02, sigma=0.05)
        side = np.sign(recording["contrast_left"] - recording["contrast_right"]).astype(int)
        name = f"visual, session {session}"
        tables.append(cross_validate(options, name, X, side, counts.sum(axis=1), 0.02))
    result = Result(
        "Mouse visual cortex, contrast discrimination",
        tables,
        [
            f"Three sessions, {X.shape[1]} samples of 20 ms from stimulus onset, neurons of at "
            "least 1 spike/s, smoothed (SD 50 ms) and z-scored by the training trials. Decoded "
            "is the side of the higher contrast, or neither. " + NOTE + COUNTS_NOTE
        ],
        settings(options, dt=0.02),
    )
    near_the_best(result, tables)
    return result


def reach_days(options):
    """Short reaches of unequal length, two days."""
    recording = load(options, "reach_sessions_chewie.npz")
    tables = []
    for day in (0, 1):
        ends = np.cumsum(recording[f"trial_length_{day}"])[:-1]
        trials = np.split(recording[f"spike_counts_{day}"], ends)
        roots = [np.sqrt(t.astype(float)) for t in trials]
        X = pad_trials([resample_time(t, dt=0.1, new_dt=0.05, kind="pchip") for t in roots])
        counts = np.stack([t.sum(axis=0, dtype=float) for t in trials])
        direction = recording[f"direction_deg_{day}"].astype(int)
        tables.append(
            cross_validate(options, f"reach_days, day {day}", X, direction, counts, 0.05)
        )
    result = Result(
        "Macaque M1, reaches of unequal length, two days",
        tables,
        [
            "Square roots of counts in 3 to 9 bins of 100 ms, not smoothed, interpolated to "
            "50 ms, z-scored by the training trials and padded with NaN. Each day by itself; "
            "eight directions. *Free runs* go on over the padding. " + NOTE + COUNTS_NOTE
        ],
        settings(options, dt=0.05),
    )
    for table in tables:
        mean = table.summary()["embedding_lda"]["mean"]
        at_least(result, f"{table.title}: LDA on embeddings >= 0.92", mean, 0.92)
    return result


# Simulated


def start_trials(options, seed, **arguments):
    """Trials that differ in their start, and indices of training and test trials."""
    data = make(options, make_initial_states, seed, n_trials=200, **arguments)
    return data, data.condition, *split(data.condition, 0.2, seed)


def teachers(options, name, trials, known=True):
    """A table of teachers."""
    rows = []
    for seed in options.seeds:
        data, labels, train, test = trials(options, seed)
        est = estimator(options, tau=TAU)
        row = measure(options, est, data.X, labels, train, test, known=known)
        teacher_r2 = r2_by(data.X[test], data.free_run[test])
        rows.append({"seed": seed, "teacher_r2": teacher_r2, **row})
        say(f"{name}, seed {seed}", row)
    columns = [c for c in COLUMNS if "counts" not in c[0]]
    return Table(["seed", "teacher_r2", *columns], rows, name)


def starts(options):
    """One autonomous RNN, eight initial states."""
    table = teachers(options, "starts", start_trials, known=False)
    result = Result(
        "Conditions that differ in the start alone",
        [table],
        [
            "`make_initial_states`: one RNN without inputs, eight conditions, each with an "
            "initial state of its own; 160 trials to fit, 40 held out, and the fit gets no "
            "labels. *Teacher* is the free run of the true weights from true initial states. "
            + NOTE
        ],
        settings(options),
    )
    at_least(result, "LR on embeddings >= 0.99", table.summary()["embedding_lr"]["mean"], 0.99)
    return result


def multitask(options):
    """Several tasks of several teachers."""
    table = teachers(options, "multitask", multitask_trials)
    result = Result(
        "Several tasks",
        [table],
        [
            "`make_multitask`, 160 trials to fit, 40 held out. Four tasks. "
            "*Teacher* is the free run of the true weights from true initial states with the true "
            "inputs. " + NOTE
        ],
        settings(options),
    )
    s = table.summary()
    at_least(result, "held-out R2 >= 0.989 on average", s["r2"]["mean"], 0.989, ".4f")
    at_least(result, "LR on embeddings 1.00 for each teacher", s["embedding_lr"]["min"], 1)
    return result


def noisy(options):
    """Noisy rates, sixteen conditions."""
    table = teachers(options, "noisy", noisy_trials)
    result = Result(
        "Noisy rates, several conditions per task",
        [table],
        [
            "`make_multitask` with four conditions a task, the noisy tanh of the state as data, "
            "300 trials to fit, 100 held out. Sixteen conditions. " + NOTE
        ],
        settings(options, **NOISE),
    )
    s = table.summary()
    at_least(result, "held-out R2 >= 0.961 on average", s["r2"]["mean"], 0.961, ".4f")
    at_least(result, "LR on embeddings >= 0.995", s["embedding_lr"]["mean"], 0.995)
    return result


def error_bars(options):
    """Whether embeddings of repeated trials differ by what their error bars say."""
    sets = {  # trials, and whether the fit gets the labels
        "multitask": (multitask_trials, options.labels != "none"),
        "starts": (start_trials, False),
    }
    tables = []
    for name, (trials, known) in sets.items():
        rows = []
        for seed in options.seeds:
            data, labels, train, test = trials(options, seed, observation_noise=0.0)
            rng, noise = np.random.default_rng(seed), REPEATED_NOISE * data.X.std()
            first, second = (data.X + noise * rng.standard_normal(data.X.shape) for _ in range(2))
            est = estimator(options, tau=TAU)
            seconds = fit(est, first[train], labels[train] if known else None)
            z2 = squared_z(est, first[test], second[test])
            row = {"median": float(np.median(z2)), "z2": float(z2.mean())}
            rows.append({"seed": seed, **row, "fit_seconds": seconds})
            log(f"error_bars, {name}, seed {seed}: median {row['median']:.2f}")
        columns = [("median", "median z^2", ".3f"), ("z2", "mean z^2", ".3f"), "fit_seconds"]
        tables.append(Table(["seed", *columns], rows, f"error_bars, {name}"))
    result = Result(
        "Error bars of embeddings",
        tables,
        [
            "Held-out trials with two draws of observation noise (the same states; its SD is "
            f"{REPEATED_NOISE:g} times that of the data: residuals are noise). The squared "
            "difference of their two embeddings in units of the covariance that `posterior` gives "
            "the two, divided by the number of components, over trials. Both are expected near 1."
        ],
        settings(options),
    )
    for table in tables:
        values = [row["median"] for row in table.rows]
        met = 0.7 <= min(values) and max(values) <= 1.4
        reached = f"{min(values):.3f} to {max(values):.3f}"
        result.target(f"{table.title}: median z^2 from 0.7 to 1.4", reached, met)
    return result


def squared_z(est, X, again):
    """Squared z-score, mean over components, of each trial's difference of two embeddings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        a, b = est.posterior(X), est.posterior(again)
    difference = a.mean - b.mean
    solved = np.linalg.solve(a.covariance + b.covariance, difference[:, :, np.newaxis])
    return np.einsum("ki,ki->k", difference, solved[:, :, 0]) / difference.shape[1]


def settings(options, **arguments):
    """What a section was run with, for the record."""
    return {"tau": TAU, **arguments, "labels": options.labels, **options.params}
