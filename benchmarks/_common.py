"""Fits, inference and baselines, timed and scored alike in every section."""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.utils import Bunch

from jedi_sklearn import JEDIEstimator

QUICK_STEPS = 5
QUICK_SIZES = {"n_components": 2, "rank": 3}


def log(text):
    """Say on stderr what was just done; stdout holds the tables."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def warm_up():
    """One tiny fit: the first optimiser of a process imports much of torch (seconds)."""
    fit(JEDIEstimator(max_iter=2), np.random.default_rng(0).standard_normal((8, 10, 5)))


def make(options, maker, seed, **arguments):
    """Simulated data of one teacher; small with --quick."""
    if options.quick:
        small = {"n_trials": 4, "n_trials_per_frequency": 2}
        arguments = {k: v // small.get(k, 1) if k in small else v for k, v in arguments.items()}
        arguments |= {"n_neurons": 24, "n_timesteps": 40}
    return maker(**arguments, teacher_seed=seed, random_state=100 + seed)


def few(options, values):
    """What is varied, with --quick the second value alone."""
    return list(values)[1:2] if options.quick else values


def split(labels, test_size, seed):
    """Indices of training and test trials, stratified."""
    everyone = np.arange(len(labels))
    return train_test_split(everyone, test_size=test_size, stratify=labels, random_state=seed)


def estimator(options, **arguments):
    """Estimator with these arguments, and those of --params on top."""
    if options.quick:
        sizes = {} if arguments.get("embedding") == "condition" else QUICK_SIZES
        arguments = sizes | arguments | {"max_iter": QUICK_STEPS}
    return JEDIEstimator(**{"random_state": 0, **arguments, **options.params})


def fit(est, X, labels=None, **known):
    """Fit, `known` inputs too; return seconds. Whether it converged is in ``est.converged_``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.perf_counter()
        est.fit(X, labels, **known)
        return time.perf_counter() - start


def quiet(function, *arguments, **named):
    """What a function returns, convergence not reported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return function(*arguments, **named)


def infer(est, X):
    """Embeddings and free runs of trials from one inference, scored and timed.

    ``posterior`` does what ``transform`` does and inverts one small matrix a trial.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.perf_counter()
        found = est.posterior(X)
        seconds = time.perf_counter() - start
    run = scaled(est, est.inverse_transform(found.mean, found.initial_state, X.shape[1]))
    return Bunch(
        embedding=found.mean,
        free_run=run,
        r2=r2(scaled(est, X), run),
        seconds=seconds,
        unconverged=int((~found.converged).sum()),
    )


def evaluate(est, X, labels, X_new, new_labels):
    """Fit trials with their labels as conditions, and score trials held out.

    Returns
    -------
    row : dict
        Scores, seconds and baselines.
    found : Bunch
        What `infer` returns for the trials held out.
    """
    seconds = fit(est, X, labels)
    found = infer(est, X_new)
    Z, Z_new = scaled(est, X), scaled(est, X_new)
    decoder = LogisticRegression().fit(est.embedding_, labels)
    row = {
        "train_r2": training_r2(est, X),
        "r2": found.r2,
        "accuracy": float(decoder.score(found.embedding, new_labels)),
        "trial_pca_r2": r2(Z_new, trial_pca(est, Z, Z_new)),
        "sample_pca_r2": r2(Z_new, sample_pca(est, Z, Z_new)),
        "condition_mean_r2": r2(Z_new, condition_mean(Z, labels, new_labels)),
        "fit_seconds": seconds,
        "transform_seconds": found.seconds,
        "converged": est.converged_,
        "unconverged": found.unconverged,
        "n_components": est.n_components_,
        "rank": est.rank_,
    }
    return row, found


def training_r2(est, X):
    """R2 of the free runs of the training trials, from the embeddings that the fit inferred."""
    start = est._model.initial_state
    if not start.generated and not start.measured:  # the fit does not keep what it inferred
        return infer(est, X).r2
    x0 = None if start.generated else X[:, 0]
    run = est.inverse_transform(est.embedding_, x0, X.shape[1])
    return r2(scaled(est, X), scaled(est, run))


def scaled(est, X):
    """Activity in the units of the RNNs."""
    return (X - est.mean_) / est.scale_


def r2(Z, prediction):
    """Variance-weighted R2 about the neurons' means over `Z`, as ``JEDIEstimator.score``."""
    total = np.square(Z - Z.mean(axis=(0, 1))).sum()
    return float(1 - np.square(Z - prediction).sum() / total)


def condition_mean(Z, labels, new_labels):
    """Mean training trial of the condition of each new trial."""
    means = {c: Z[labels == c].mean(axis=0) for c in np.unique(labels)}
    return np.stack([means[c] for c in new_labels])


def decay(est, Z):
    """Decay (1 - alpha)^t of the part of the start that takes no number of a trial.

    The observed first sample, or else the mean of those of the training trials.
    """
    start = est._model.initial_state
    x0 = Z[:, :1] if start.measured else start.mean.numpy()
    return (1 - est.dt / est.tau) ** np.arange(Z.shape[1])[:, None] * x0


def trial_pca(est, Z, Z_new):
    """Reconstruction of new trials from principal components of whole trials.

    As many numbers a trial as the model has: those of the embedding, which hold a generated start
    too, and as many as an inferred one has coordinates. The decay of an observed first sample is
    left out of the components and added back.
    """
    start = est._model.initial_state
    n = est.n_components_ + start.size
    rest, rest_new = (decay(est, Z), decay(est, Z_new)) if start.measured else (0.0, 0.0)
    pca = PCA(min(n, len(Z) - 1), random_state=0).fit((Z - rest).reshape(len(Z), -1))
    flat = pca.inverse_transform(pca.transform((Z_new - rest_new).reshape(len(Z_new), -1)))
    return flat.reshape(Z_new.shape) + rest_new


def sample_pca(est, Z, Z_new):
    """Reconstruction of new samples one by one, from `rank_` numbers a sample."""
    pca = PCA(est.rank_, random_state=0).fit(Z.reshape(-1, Z.shape[2]))
    return pca.inverse_transform(pca.transform(Z_new.reshape(-1, Z.shape[2]))).reshape(Z_new.shape)
