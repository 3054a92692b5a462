"""What embeddings of low-rank and of full-rank RNNs stand: noise, lost neurons, few trials."""

from __future__ import annotations

import numpy as np

from jedi_sklearn.metrics import r2_by

from ._common import estimator, few, fit, log, quiet, split
from ._paper import CONDITION, MADE, SMALL, decoded, parts, trials
from ._report import Figure, Result, Table

CONNECTIVITIES = {"shared": "shared bases", "low_rank": "low rank", "full_rank": "full rank"}
CONNECTIVITY_SIZES = {"n_components": 8, "rank": 8}
N_SMALL = 96, 32  # trials to fit, and held out
NOISES = (0.0, 0.5, 1.0, 2.0)  # SD of what is added, in SDs of the data
LOST = (0.0, 0.5, 0.75, 0.9)  # share of the neurons
FEW = (32, 64, 96)  # trials fitted


def low_rank(options):
    """How embeddings of low-rank and of full-rank RNNs stand noise, lost neurons, few trials."""
    noisy, lost, fewer = [], [], []
    for seed in options.seeds:
        data = trials(options, seed, sum(N_SMALL), 4, SMALL)
        train, test = split(data.condition, N_SMALL[1] / sum(N_SMALL), seed)
        X, y, X_new, y_new = parts(data, train, test)
        rng = np.random.default_rng(seed)
        noise = X.std() * rng.standard_normal(X_new.shape)
        order = rng.permutation(X.shape[2])
        # of each condition as many, so that any number of trials has all conditions
        turn = np.empty(len(y), dtype=int)
        for label in np.unique(y):
            turn[y == label] = np.arange((y == label).sum())
        how = dict.fromkeys(CONNECTIVITY_SIZES, 2) if options.quick else CONNECTIVITY_SIZES
        for connectivity, name in CONNECTIVITIES.items():
            est = estimator(options, connectivity=connectivity, **how)
            seconds = fit(est, X)
            clean = quiet(est.transform, X_new)
            row = {"seed": seed, "connectivity": name}
            for size in few(options, NOISES):
                found = stood(est, y, X_new + size * noise, X_new, y_new, clean)
                noisy.append({**row, "noise": size, **found, "fit_seconds": seconds})
            for share in few(options, LOST):
                seen = X_new.copy()
                seen[:, :, order[: round(share * len(order))]] = np.nan
                lost.append({**row, "lost": share, **stood(est, y, seen, X_new, y_new, clean)})
            for n in few(options, FEW):
                some = np.sort(np.argsort(turn, kind="stable")[:n])
                less = est
                if len(some) < len(X):
                    less = estimator(options, connectivity=connectivity, **how)
                    fit(less, X[some])
                found = stood(less, y[some], X_new, X_new, y_new, None)
                fewer.append({**row, "n_trials": len(some), **found})
            log(f"paper.low_rank: {noisy[-1]}, {lost[-1]}, {fewer[-1]}")
    which = ("connectivity", "weights", "s")
    columns = [CONDITION, ("moved", "embedding moved", ".3f"), ("r2", "R2 of clean trials", ".3f")]
    tables, figures = [], []
    for key, heading, rows in (
        ("noise", "noise added, SD of the data", noisy),
        ("lost", "share of neurons lost", lost),
        ("n_trials", "trials fitted", fewer),
    ):
        spec = "d" if key == "n_trials" else "g"
        measured = columns if key != "n_trials" else [columns[0], columns[2]]
        more = ["fit_seconds"] * (key == "noise")
        by = (key, "connectivity")
        tables.append(Table(["seed", (key, heading, spec), which, *measured, *more], rows, by=by))
        tables[-1].rows = sorted(rows, key=lambda row, key=key: row[key])
        y = [c[:2] for c in measured]
        figure = Figure(key, key, y, "connectivity", len(tables) - 1, heading)
        figure.caption = f"Low and full rank against {heading}"
        figures.append(figure)
    return Result(
        "Low rank against full rank",
        tables,
        [
            f"{MADE.format(**SMALL)}, four tasks with four conditions each, "
            f"{len(train)} trials to fit, {len(test)} held out. *Shared bases* is the default, "
            "`U G(c) V'`; *low rank* `U(c) V(c)'`, as in the paper; *full rank* `J(c)`. The "
            "same trials, steps, embedding (8) and rank (8) for all. The decoder of 16 conditions "
            "learns from embeddings of clean training trials. *Embedding moved*: RMS distance to "
            "the embedding of the clean trial, over the RMS of all embeddings. *R2 of clean "
            "trials*: of free runs from what was shown, against the same trials with all neurons "
            "and no noise added."
        ],
        CONNECTIVITY_SIZES | options.params,
        figures=figures,
    )


def stood(est, y, shown, X_new, y_new, clean):
    """Decoding, shift of the embedding, and R2 for trials of which less is seen."""
    found = quiet(est.posterior, shown)
    run = est.inverse_transform(found.mean, found.initial_state, X_new.shape[1])
    row = {
        "condition_accuracy": decoded(est.embedding_, y, found.mean, y_new),
        "r2": r2_by(X_new, run),
    }
    if clean is not None:
        moved = np.square(found.mean - clean).sum() / np.square(clean - clean.mean(axis=0)).sum()
        row["moved"] = float(np.sqrt(moved))
    return row
