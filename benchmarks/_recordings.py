"""How well real recordings are fitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold

from jedi_sklearn.preprocessing import TrialScaler, cut_epochs, smooth_counts

from ._common import estimator, evaluate, fit, infer, log, scaled
from ._report import Result, Skipped, Table

# Estimator of the M1 single trials: the defaults for bins of 50 ms.
CENTER_OUT = {"dt": 0.05, "tau": 0.1}
BIN_WIDTH = 0.05  # s
WINDOW = (-0.8, 0.6)  # s around movement onset
N_FOLDS, N_SPLITS = 5, 20  # the splits are the folds of several cross-validations

# Estimator of the trial-averaged M1 rates, a sample every 10 ms: the defaults.
SURESH = {}


def load(options, name):
    """Arrays of a recording."""
    if not options.data_dir:
        raise Skipped(f"{name} needs --data-dir or the environment variable JEDI_DATA_DIR")
    path = Path(options.data_dir) / name
    if not path.exists():
        raise Skipped(f"there is no {name} in the data folder")
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def center_out(options):
    """Single trials of macaque M1 reaching to eight targets."""
    recording = load(options, "center_out_m1_trials.npz")
    trials = np.split(recording["spike_counts"], np.cumsum(recording["trial_length"])[:-1])
    rates = [smooth_counts(t, bin_width=BIN_WIDTH, sigma=options.smoothing) for t in trials]
    window = {"start": round(WINDOW[0] / BIN_WIDTH), "stop": round(WINDOW[1] / BIN_WIDTH)}
    onset = recording["idx_movement_on"]
    X, kept = cut_epochs(rates, onset, **window, drop=True)
    counts = cut_epochs(trials, onset, **window, drop=True)[0].sum(axis=1, dtype=float)
    direction = recording["direction_deg"][kept].astype(int)
    decoders = {
        "lda": LinearDiscriminantAnalysis(),
        "shrunken_lda": LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
    }
    rows = []
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=0).split(X, direction)
    for i, (train, test) in enumerate(folds):
        if options.quick and i == 2:
            break
        scaler = TrialScaler().fit(X[train])
        est = estimator(options, **CENTER_OUT)
        row, found = evaluate(
            est,
            scaler.transform(X[train]),
            direction[train],
            scaler.transform(X[test]),
            direction[test],
        )
        row["difference"] = row["r2"] - row["condition_mean_r2"]
        decoder = LinearDiscriminantAnalysis().fit(est.embedding_, direction[train])
        row["embedding_lda"] = float(decoder.score(found.embedding, direction[test]))
        for name, decoder in decoders.items():
            decoder.fit(counts[train], direction[train])
            row[name] = float(decoder.score(counts[test], direction[test]))
        rows.append({"split": i, **row})
        log(f"center_out, split {i}: R2 {row['r2']:.4f}, LDA {row['embedding_lda']:.3f}")
    table = Table(
        [
            ("split", "split", "d"),
            "train_r2",
            "r2",
            "condition_mean_r2",
            ("difference", "difference", "+.4f"),
            "trial_pca_r2",
            "sample_pca_r2",
            ("accuracy", "logistic regression", ".3f"),
            ("embedding_lda", "LDA", ".3f"),
            ("lda", "LDA on counts", ".3f"),
            ("shrunken_lda", "shrunken LDA on counts", ".3f"),
            ("n_components", "components", "d"),
            "fit_seconds",
            "transform_seconds",
            "converged",
            "unconverged",
        ],
        rows,
    )
    result = Result(
        "Macaque M1, single trials of centre-out reaches",
        [table],
        [
            f"{len(X)} trials of {X.shape[1]} bins of {1e3 * BIN_WIDTH:g} ms and {X.shape[2]} "
            f"neurons, {WINDOW[0]:+g} to {WINDOW[1]:+g} s around movement onset; whole trials are "
            "smoothed before they are cut, and z-scored by the training trials. The embedding "
            "(and initial state) of a held-out trial are inferred from that trial without its "
            "label; the condition mean gets the label and nothing else; *PCA of trials* describes "
            "the trial by as many numbers as the model. Direction is "
            "decoded from the embeddings by `LogisticRegression()` and by LDA, and from the "
            "spikes counted in the same window by LDA, plain and with Ledoit-Wolf shrinkage."
        ],
        {**CENTER_OUT, "smoothing_sd": options.smoothing, **options.params},
    )
    s = table.summary()
    mean = s["difference"]["mean"]
    result.target("R2 at least 0.12 above the condition mean's", mean, mean >= 0.12, "+.4f")
    mean = s["embedding_lda"]["mean"]
    result.target("direction accuracy of LDA on embeddings >= 0.95", mean, mean >= 0.95, ".3f")
    return result


def suresh(options):
    """Trial-averaged rates of macaque M1."""
    recording = load(options, "reach_m1_suresh2020.npz")
    X = recording["firing_rate"].astype(float)
    est = estimator(options, **SURESH)
    seconds = fit(est, X)
    found = infer(est, X)
    rows = [
        {
            "direction": int(direction),
            "r2": float(1 - np.square(z - run).sum() / np.square(z).sum()),
        }
        for direction, z, run in zip(
            recording["direction_deg"], scaled(est, X), found.free_run, strict=True
        )
    ]
    log(f"suresh: R2 {found.r2:.4f}")
    table = Table([("direction", "direction, deg", "d"), ("r2", "R2", ".4f")], rows)
    result = Result(
        "Macaque M1, trial-averaged rates of delayed reaches",
        [table],
        [
            f"All {len(X)} directions ({X.shape[1]} samples, {X.shape[2]} neurons, spikes/s as "
            f"recorded) are fitted and scored, nothing is held out: training R2 {found.r2:.4f} "
            f"with {est.n_components_} numbers a direction and rank {est.rank_}; the fit took "
            f"{seconds:.1f} s. R2 of a direction is about the neurons' means over all of them."
        ],
        {**SURESH, **options.params},
    )
    result.target("training R2 >= 0.97", found.r2, found.r2 >= 0.97)
    return result
