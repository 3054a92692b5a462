"""Predict each trial by the mean trial of its condition: what a label alone says of a trial."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.special import xlogy

from .._counts import WIDTHS
from ._common import ConditionBaseline

__all__ = ["ConditionMean", "means_of_conditions"]

PRIORS = tuple(2.0**k for k in range(-6, 4))  # weight of the neuron's mean, trials
ROUNDING = 1e-12  # relative to a likelihood
N_FOLDS = 4


class ConditionMean(ConditionBaseline):
    """The mean trial of each condition.

    This is what is left if everything that distinguishes single trials of a condition is ignored.
    The model sees only the label of each trial. It therefore cannot describe a trial without a
    label or of a condition it has not seen, cannot forecast the end of a trial from its
    beginning, and has no ``transform``. A model without labels that explains more has found
    structure in single trials, or this one had too few trials per condition.

    For spike counts, the means are smoothed in time and shrunk towards the neuron's mean count,
    by the amounts that best predict other trials of the condition. No expected count is 0.

    Parameters
    ----------
    observation : {"auto", "gaussian", "poisson"}, default="auto"
        What `X` holds, as in :class:`~jedi_sklearn.JEDIEstimator`.

    Attributes
    ----------
    conditions_ : ndarray of shape (n_conditions,)
        Sorted labels.
    condition_means_ : ndarray of shape (n_conditions, n_timesteps, n_neurons)
        Expected activity in each condition, in the units of `X`.
    observation_ : {"gaussian", "poisson"}
        What `X` was taken as.
    n_features_in_ : int
        Number of neurons.
    n_timesteps_ : int
        Samples per trial.

    Raises
    ------
    ValueError, TypeError
        If data or labels cannot be used, or (in ``predict`` and ``score``) if a label was not in
        the fit. The text says what to try.

    Examples
    --------
    >>> from jedi_sklearn.baselines import ConditionMean
    >>> from jedi_sklearn.datasets import make_multitask
    >>> data = make_multitask(n_trials=60, n_neurons=40, n_timesteps=60, random_state=0)
    >>> mean = ConditionMean().fit(data.X[:45], data.task[:45])
    >>> mean.predict(data.X[45:], data.task[45:]).shape
    (15, 60, 40)
    >>> mean.score(data.X[45:], data.task[45:]) > 0.3
    True
    """

    def __init__(self, *, observation="auto"):
        self.observation = observation

    def _check_parameters(self):
        pass

    def _learn(self, data, y):
        labels, codes = self._labels(y, len(data.X))
        means = means_of_conditions(data.X, codes, data.mean, data.counts)
        return {"conditions_": labels, "condition_means_": means}

    def _of_conditions(self, n_timesteps):
        return self.condition_means_


def means_of_conditions(X, codes, mean, counts):
    """Compute the expected activity in each condition, (conditions, time, neurons), as X has it.

    If a neuron was never observed at some time in a condition, its average at that time in the
    other conditions is used; if it was observed in none, its `mean`. Spike `counts` are smoothed
    and shrunk towards that mean, which must be above 0.
    """
    if counts:
        return _smoothed_means(X, codes, mean)
    total, count = _sums(X, codes)
    n = count.sum(axis=0)
    others = np.where(n > 0, total.sum(axis=0) / np.maximum(n, 1), mean)
    return np.where(count > 0, total / np.maximum(count, 1), others)


def _smoothed_means(X, codes, baseline):
    """Compute expected counts, with the width and prior that best predict left-out trials."""
    order = np.argsort(codes, kind="stable")  # spread each condition evenly over the folds
    fold = np.empty(len(X), dtype=int)
    first = np.searchsorted(codes[order], np.arange(codes.max() + 1))
    fold[order] = (np.arange(len(X)) - first[codes[order]]) % N_FOLDS
    sums = [_sums(X[fold == k], codes[fold == k], codes.max() + 1) for k in range(N_FOLDS)]
    total, count = (sum(some) for some in zip(*sums, strict=True))
    # start with the smoothest: ties, e.g. with one trial of each condition, favour the mean
    best = None
    for width in (*sorted((w for w in WIDTHS if w <= X.shape[1] / 2), reverse=True), 0.0):
        smooth = [
            (_smooth(total - spikes, width), _smooth(count - n, width)) for spikes, n in sums
        ]
        for prior in sorted(PRIORS, reverse=True):
            score = 0.0
            for (spikes, n), (others, n_others) in zip(sums, smooth, strict=True):
                rate = (others + prior * baseline) / (n_others + prior)
                score += (xlogy(spikes, rate) - n * rate).sum()
            if best is None or score > best[0] + ROUNDING * abs(best[0]):
                best = score, width, prior
    _, width, prior = best
    return (_smooth(total, width) + prior * baseline) / (_smooth(count, width) + prior)


def _sums(X, codes, n_conditions=None):
    """Sum and count values over trials, each (conditions, time, neurons)."""
    n_conditions = codes.max() + 1 if n_conditions is None else n_conditions
    total, count = np.zeros((2, n_conditions, *X.shape[1:]))
    for trial, code in zip(X, codes, strict=True):
        seen = np.isfinite(trial)
        count[code] += seen
        total[code] += np.where(seen, trial, 0.0)
    return total, count


def _smooth(a, width):
    """Smooth (conditions, time, neurons) in time, with nothing beyond the ends."""
    if not width:
        return a
    return np.maximum(gaussian_filter1d(a, width, axis=1, mode="constant"), 0.0)
