"""Recognise spike counts, and make a first estimate of the rates behind them.

The estimate is a smoothed count. The expected count of a bin is a weighted mean of the bin and
its neighbours (Gaussian weights in time) and of the neuron's mean, which is weighted like a
number of bins. This is the posterior mean under a Gamma prior around the neuron's mean. Width and
weight are those that best predict bins left out of their own estimate, so nothing is set by hand
(docs/model.md, eq. 18).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.special import xlogy

from ._stored import part
from ._validation import describe_index, warn_user

__all__ = ["CountSmoother", "check_counts", "looks_like_counts", "warn_of_disguised"]

MAX_COUNT = 100  # spikes in a bin; larger integers come from a camera or converter
WIDTHS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0)  # bins
PRIORS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # weight of the neuron's mean, bins
SAMPLE = 2**22  # number of counts by which both are chosen
ROUNDED = 1e-3  # of a step: how far float32 values may miss it
LOOK = 2**18  # number of values in which transformed counts are looked for
LEAST_PER_BIN = 5  # spikes/s of one spike in a bin of 0.2 s; few bins are longer
RARE = 0.01  # share of numbers that are no counts among whole numbers, at most
NEVER = 0.5  # number of spikes in X assumed for a neuron without any


def looks_like_counts(X):
    """Tell whether trials hold nothing but small whole numbers."""
    for trial in X:
        seen = trial[np.isfinite(trial)]
        if (_outside(seen) | (seen != np.round(seen))).any():
            return False
    return True


def _outside(values):
    """Tell which values no small count has."""
    return (values < 0) | (values > MAX_COUNT)


def _odd_counts(X):
    """Find numbers outside the range of counts among whole numbers.

    Returns how many there are, and which is the first in words; 0 and None unless all values are
    whole and few of them lie outside.
    """
    n_odd, n, first = 0, 0, None
    for k, trial in enumerate(X):
        seen = np.isfinite(trial)
        if (trial[seen] != np.round(trial[seen])).any():
            return 0, None
        odd = seen & _outside(trial)
        if first is None and odd.any():
            at = tuple(np.argwhere(odd)[0])
            first = f"{trial[at]:g}, at {describe_index((k, *at))}"
        n, n_odd = n + seen.sum(), n_odd + odd.sum()
    return (n_odd, first) if n_odd <= RARE * n else (0, None)


def warn_of_disguised(X):
    """Warn if data taken as continuous look like counts: in other units, or but for a few."""
    n_odd, first = _odd_counts(X)
    if n_odd:
        verb = "is" if n_odd == 1 else "are"
        warn_user(
            f"X holds whole numbers like spike counts, but {n_odd} {verb} not from 0 to "
            f"{MAX_COUNT} (the first is {first}), so X was taken as continuous "
            '(observation="gaussian"). Put NaN where a sample is missing, or set '
            'observation="poisson" if all are counts.'
        )
        return
    n = max(1, LOOK // (X.shape[1] * X.shape[2]))
    Y = np.asarray(part(X, slice(0, n)), dtype=float).reshape(-1, X.shape[2])
    with np.errstate(over="ignore"):
        squares = np.square(Y)
    if _evenly_spaced(Y):
        signs = (
            "each neuron has few values, evenly spaced, like counts that were divided or z-scored"
        )
        undo = "the original counts"
    elif np.nanmin(Y) >= 0 and _evenly_spaced(squares):
        signs, undo = "it holds square roots of whole numbers", "np.square(X)"
    else:
        return
    warn_user(
        f"X looks like spike counts in other units, not smoothed: {signs}. Fit {undo} with "
        'observation="poisson", or smooth X along time. If X is something else, set '
        'observation="gaussian".'
    )


def _evenly_spaced(Y):
    """Tell whether most columns have three or more values, separated by a few whole steps."""
    told = 0
    for column in Y.T:
        values = np.unique(column[np.isfinite(column)])
        if len(values) < 3:  # two always are
            continue
        with np.errstate(over="ignore"):
            steps = (values - values[0]) / np.diff(values).min()
        if steps[-1] > MAX_COUNT or np.abs(steps - np.round(steps)).max() > ROUNDED:
            return False
        told += 1
    return 2 * told > Y.shape[1]


def check_counts(X):
    """Check that trials hold counts (NaN where missing); warn of bins with very many."""
    largest, unit = 0.0, 0
    for k, trial in enumerate(X):
        with np.errstate(invalid="ignore"):
            bad = (trial < 0) | (trial != np.round(trial)) & ~np.isnan(trial)
        if bad.any():
            t, n = np.argwhere(bad)[0]
            raise ValueError(
                'X must hold spike counts for observation="poisson": whole numbers from 0, '
                f"NaN where missing. Got {trial[t, n]:g}, first at {describe_index((k, t, n))}. "
                "Pass spikes per bin, neither smoothed nor divided by the bin width, or use "
                'observation="gaussian" for rates and other continuous signals.'
            )
        largest = max(largest, np.nanmax(trial, initial=0.0))
        if unit != 1 and largest < 2**53:
            unit = math.gcd(unit, *np.unique(np.nan_to_num(trial)).astype(int).tolist())
    if unit >= LEAST_PER_BIN:
        warn_user(
            f"All counts in X are multiples of {unit}, as if whole spikes per bin had been "
            f"converted to spikes/s. Pass spikes per bin: X / {unit}."
        )
    if largest > MAX_COUNT:
        warn_user(
            f"X has up to {largest:.0f} spikes in a bin. Are the bins as long as dt says, "
            'and are these spikes? Use observation="gaussian" for signals of a camera or '
            "converter."
        )


@dataclass
class CountSmoother:
    """Expected counts of each bin, from the bins around it.

    Parameters
    ----------
    baseline : ndarray (neurons,)
        Mean counts per bin.
    width : float
        SD of the Gaussian, bins.
    prior : float
        Weight of the baseline, bins.
    """

    baseline: np.ndarray
    width: float
    prior: float

    @classmethod
    def learn(cls, X, baseline):
        """Learn the width and prior that best predict bins of X left out of their estimates."""
        n_steps, n_neurons = X.shape[1:]
        n = max(1, min(len(X), SAMPLE // (n_steps * n_neurons)))
        chosen = np.sort(np.random.RandomState(0).permutation(len(X))[:n])
        trials = [np.asarray(trial, dtype=float) for trial in part(X, chosen)]
        spikes = [np.nonzero(trial > 0) for trial in trials]
        best = None
        for width in [w for w in WIDTHS if w <= n_steps / 2] or WIDTHS[:1]:
            scores = np.zeros(len(PRIORS))
            for trial, where in zip(trials, spikes, strict=True):
                scores += _log_likelihoods(trial, where, *_neighbours(trial, width), baseline)
            if best is None or scores.max() > best[0]:
                best = scores.max(), width, PRIORS[scores.argmax()]
        return cls(baseline, *best[1:])

    def __call__(self, trial):
        """Estimate expected counts (time, neurons), above 0, of a trial with NaN where missing."""
        total, count = _neighbours(trial, self.width)
        known = ~np.isnan(trial)
        total, count = total + np.where(known, trial, 0.0), count + known
        return (total + self.prior * self.baseline) / (count + self.prior)


def _neighbours(trial, width):
    """Sum the weighted counts around each bin, and the weights, both without the bin itself.

    Where nothing is missing the weights are those of all neurons, (time, 1).
    """
    known = ~np.isnan(trial)
    counts = np.where(known, trial, 0.0).astype(float)  # also where X is float32
    weights = np.ones((len(trial), 1)) if known.all() else known.astype(float)
    centre = _at_centre(width)
    sums = [
        gaussian_filter1d(a, width, axis=0, mode="constant") / centre - a
        for a in (counts, weights)
    ]
    return [np.maximum(a, 0.0) for a in sums]  # rounding may make them negative


def _log_likelihoods(trial, spikes, total, count, baseline):
    """Sum the log likelihoods of a trial's bins, each estimated from the others, for each prior.

    `spikes` are the indices of counts above 0; what no estimate changes is left out.
    """
    known, of_time, of_neuron = ~np.isnan(trial), total, baseline
    if count.shape[1] == 1:  # sums over neurons are enough
        known, of_time, of_neuron = ..., total.sum(1, keepdims=True), baseline.sum()
    weight = np.broadcast_to(count, total.shape)[spikes]
    scores = []
    for prior in PRIORS:
        rate = (total[spikes] + prior * baseline[spikes[1]]) / (weight + prior)
        expected = (of_time + prior * of_neuron) / (count + prior)
        scores.append(xlogy(trial[spikes], rate).sum() - expected[known].sum())
    return np.array(scores)


def _at_centre(width):
    """Compute the largest weight of the normalised Gaussian of `gaussian_filter1d`."""
    n = int(4 * width + 0.5)
    return 1 / np.exp(-0.5 * np.square(np.arange(-n, n + 1) / width)).sum()
