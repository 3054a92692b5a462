"""The mean trial of each condition: what a label alone says of a trial."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.special import xlogy

from .._counts import WIDTHS
from ._common import ConditionBaseline

__all__ = ["ConditionMean", "means_of_conditions"]

PRIORS = tuple(2.0**k for k in range(-6, 4))  # trials that the neuron's mean counts for
ROUNDING = 1e-12  # of a likelihood
N_FOLDS = 4


class ConditionMean(ConditionBaseline):
    """The mean trial of each condition.

    What is left when everything that tells single trials of a condition apart is ignored. It is
    told the label of each trial and predicts from that alone: it cannot describe a trial without
    a label or of a condition it has not seen, knows nothing of the end of a trial from its
    beginning, and has no ``transform``. A model without labels that explains more has found
    something in single trials, or had to do with fewer trials of a condition.

    Of spike counts the means are smoothed in time and drawn towards the neuron's mean count, by as
    much as predicts other trials of the condition best; so no expected count is 0.

    Parameters
    ----------
    observation : {"auto", "gaussian", "poisson"}, default="auto"
        What X holds, as in :class:`~jedi_sklearn.JEDIEstimator`.

    Attributes
    ----------
    conditions_ : ndarray of shape (n_conditions,)
        Sorted labels.
    condition_means_ : ndarray of shape (n_conditions, n_timesteps, n_neurons)
        What is expected in each condition, in the units of `X`.
    observation_ : {"gaussian", "poisson"}
        What X was taken as.
    n_features_in_ : int
        Number of neurons.
    n_timesteps_ : int
        Samples per trial.

    Raises
    ------
    ValueError, TypeError
        For data or labels that cannot be used, and in ``predict`` and ``score`` for a label that
        the fit has not seen; the text says what to try.

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
    """What is expected in each condition, (conditions, time, neurons), in the units of X.

    Where a neuron was never observed at that time in a condition, what it does on average in the
    others, and where it was in none the `mean` of the neuron. Spike `counts` are smoothed, and
    drawn towards that mean, which must be more than 0.
    """
    if counts:
        return _smoothed_means(X, codes, mean)
    total, count = _sums(X, codes)
    n = count.sum(axis=0)
    others = np.where(n > 0, total.sum(axis=0) / np.maximum(n, 1), mean)
    return np.where(count > 0, total / np.maximum(count, 1), others)


def _smoothed_means(X, codes, baseline):
    """Expected counts, smoothed by the width and prior that predict trials left out best."""
    order = np.argsort(codes, kind="stable")  # the trials of a condition take turns
    fold = np.empty(len(X), dtype=int)
    first = np.searchsorted(codes[order], np.arange(codes.max() + 1))
    fold[order] = (np.arange(len(X)) - first[codes[order]]) % N_FOLDS
    sums = [_sums(X[fold == k], codes[fold == k], codes.max() + 1) for k in range(N_FOLDS)]
    total, count = (sum(some) for some in zip(*sums, strict=True))
    # from the smoothest on: what trials left out do not tell, such as one trial of each
    # condition, is drawn to the mean
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
    """Sums and numbers of values over trials, each (conditions, time, neurons)."""
    n_conditions = codes.max() + 1 if n_conditions is None else n_conditions
    total, count = np.zeros((2, n_conditions, *X.shape[1:]))
    for trial, code in zip(X, codes, strict=True):
        seen = np.isfinite(trial)
        count[code] += seen
        total[code] += np.where(seen, trial, 0.0)
    return total, count


def _smooth(a, width):
    """(conditions, time, neurons) smoothed in time; beyond the ends is nothing."""
    if not width:
        return a
    return np.maximum(gaussian_filter1d(a, width, axis=1, mode="constant"), 0.0)
