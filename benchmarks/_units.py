"""Hidden units with a readout in place of one unit per neuron: a prototype, and what it gives.

The activity's leading principal components are mixed at random into many units, whose dynamics the
estimator fits as if they were neurons; the readout is the inverse of the mixture. Each unit's tanh
bends another direction, so that few neurons do not limit what the dynamics can be, and a fit costs
what the units cost.
"""

from __future__ import annotations

import time

import numpy as np
from _common import estimator, fit, log, r2
from _report import Result, Table
from _structures import MEMORY_COLUMNS, SEED, flip_flop_row, predict
from sklearn.decomposition import PCA

from jedi_sklearn.datasets import make_flip_flop, make_multitask

N_FEW, N_MANY = (6, 64), (24, 200)  # components, and units that they are mixed into
N_TRIALS, N_TRAIN = 90, 60  # of many neurons


class Units:
    """Units from activity X, and activity from units.

    Parameters
    ----------
    X : ndarray (trials, time, neurons)
    n_components, n_units : int
    """

    def __init__(self, X, n_components, n_units):
        n_components = min(n_components, X.shape[2])
        self.pca = PCA(n_components, svd_solver="full").fit(X.reshape(-1, X.shape[2]))
        mixture = np.random.default_rng(0).normal(size=(n_components, n_units))
        mixture /= np.linalg.norm(mixture, axis=0) * self.pca.explained_variance_[0] ** 0.5
        self.mixture, self.readout = mixture, np.linalg.pinv(mixture)

    def states(self, X):
        """Units of activity, any leading axes."""
        return (X - self.pca.mean_) @ self.pca.components_.T @ self.mixture

    def activity(self, units):
        """Activity of units."""
        return units @ self.readout @ self.pca.components_ + self.pca.mean_


def hidden_units(options):
    """Memories of a flip-flop few neurons of which are seen, and a recording of many neurons."""
    few, many = [], []
    for seed in options.seeds:
        for n in (16, 8):
            n_trials = 8 if options.quick else 40
            data = make_flip_flop(n_trials, n_neurons=n, random_state=seed)
            for name, units in (("neurons", None), ("units", Units(data.X, *N_FEW))):
                row = flip_flop_row(options, data, units)
                few.append({"observed": n, "seed": seed, "states": name, **row})
                log(f"hidden_units: {few[-1]}")
    for seed in options.seeds[:2]:
        many += large_rows(options, seed)
    which = ("states", "states", "s")
    columns = [("observed", "observed neurons", "d"), SEED, which]
    columns += [c for c in MEMORY_COLUMNS if c[0] != "lyapunov_error"]
    tables = [
        Table(columns, sorted(few, key=lambda r: -r["observed"]), "Flip-flop:", summarise=False),
        Table(
            [SEED, which, ("r2", "R2", ".4f"), "fit_seconds", ("seconds", "predict s", ".1f")],
            many,
            "Many neurons:",
            summarise=False,
        ),
    ]
    return Result(
        "Hidden units",
        tables,
        [
            f"A prototype, not in the package: {N_FEW[0]} principal components are mixed at random "
            f"into {N_FEW[1]} units (many neurons: {N_MANY[0]} into {N_MANY[1]}), which the "
            "estimator takes for neurons. *Flip-flop*: the noisy data and fits of the subsampling section; "
            f"points are compared in the observed neurons. *Many neurons*: `make_multitask` with "
            f"4,000 neurons and noise of 0.1, {N_TRAIN} trials to fit, R2 of the neurons in "
            f"{N_TRIALS - N_TRAIN} held out; default parameters."
        ],
        options.params,
    )


def large_rows(options, seed):
    """One recording of many neurons, fitted as it is and by units."""
    size = {"n_neurons": 200, "n_timesteps": 60} if options.quick else {"n_neurons": 4000}
    data = make_multitask(N_TRIALS, **size, observation_noise=0.1, random_state=seed)
    train, test = data.X[:N_TRAIN], data.X[N_TRAIN:]
    rows = []
    for name, units in (("neurons", None), ("units", Units(train, *N_MANY))):
        est = estimator(options)
        seconds = fit(est, train if units is None else units.states(train))
        begin = time.perf_counter()
        if units is None:
            run = predict(est, test)
        else:
            run = units.activity(predict(est, units.states(test)))
        row = {"seed": seed, "states": name, "r2": r2(test, run), "fit_seconds": seconds}
        rows.append(row | {"seconds": time.perf_counter() - begin})
        log(f"hidden_units, many neurons: {rows[-1]}")
    return rows
