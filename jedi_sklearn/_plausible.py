"""Warn of trials that do not look like what they are taken for."""

from __future__ import annotations

import math

import numpy as np

from ._stored import part
from ._validation import listed, warn_user

__all__ = [
    "constant_neurons",
    "warn_of_axes",
    "warn_of_constant",
    "warn_of_dominant",
    "warn_of_zeros",
]

# Rounding as a share of the rounded value: filters leave up to 1e-13 (float64), 1e-7 (float32)
ROUNDING = {4: 5e-7, 8: 1e-10}
UNSEEN = 1e-3  # share of the variance equal to the default `tol`: less does not affect a fit
IMPROBABLE = 1e-6
WEAK = 0.25  # share of samples weaker than the one next to a silence; chance would give 1/2
SMOOTH, ENOUGH_STEPS = 0.25, 8  # ratio for counts smoothed by one bin (SD); samples per axis
SAMPLE, FEW_TRIALS = 2**22, 16  # number of values that judge axes, from at least these trials


def constant_neurons(mean, sd, dtype):
    """Find neurons that change by no more than rounding of their mean or of other neurons.

    A channel that was constant is not quite constant after filtering, or after the mean of all
    channels was subtracted.
    """
    return sd <= ROUNDING[np.dtype(dtype).itemsize] * np.maximum(np.abs(mean), sd.max())


def warn_of_constant(constant, sd, first=0, instead="They carry no information: leave them out"):
    """Warn of neurons that do not change, numbered from `first`; `instead` ends the text."""
    if not constant.any() or constant.all():
        return
    but = ""
    if sd[constant].any():
        but = f", except by rounding: SD up to {sd[constant].max():.1e}, of others {sd.max():.1e}"
    warn_user(
        f"{constant.sum()} of {len(constant)} neurons do not change in X "
        f"(neuron {listed(np.flatnonzero(constant) + first)}{but}). {instead}."
    )


def warn_of_dominant(variance, remedy, first=0):
    """Warn of a neuron whose variance makes that of all other neurons negligible.

    Principal components, whose variances fall from column to column, may look like this.
    """
    if len(variance) < 2 or not (np.diff(variance) > 0).any():
        return
    share = variance / variance.sum()
    i = int(share.argmax())
    second = np.delete(share, i).max()
    if share[i] > 0.5 and 0 < second < UNSEEN:
        warn_user(
            f"Neuron {i + first} has {_percent(share[i])} of the variance of X, and no "
            f"other has more than {100 * second:.1g} %. The fit hardly sees the others, and R2 "
            f"does not show it. Does neuron {i + first} have other units, or artefacts? {remedy}"
        )


def warn_of_zeros(X, name="X"):
    """Warn of trials that begin or end in zeros of all neurons unlike any other silence."""
    if X.shape[2] < 2:
        return
    level = np.empty(X.shape[:2])
    for k, trial in enumerate(X):
        seen = ~np.isnan(trial).all(axis=1)
        level[k] = np.where(seen, np.nansum(np.abs(trial), axis=1, dtype=float), np.nan)
    for verb, turn in (("end", slice(None, None, -1)), ("begin", slice(None))):
        length = _padding(level[:, turn])
        if length.any():
            k, n = int(length.argmax()), int(length.max())
            at = f"{X.shape[1] - n}:" if verb == "end" else f":{n}"
            warn_user(
                f"{np.count_nonzero(length)} of {len(X)} trials of {name} {verb} in samples that "
                f"are exactly 0 in all neurons (trial {k}: {n} of {X.shape[1]}), longer than any "
                "silence elsewhere. This looks like padding, and would be taken as activity. Put "
                f"NaN where nothing was recorded, e.g. {name}[{k}, {at}] = np.nan, "
                "as preprocessing.pad_trials does."
            )


def _padding(level):
    """Measure how long trials are silent at their beginning; 0 if chance may explain it.

    In a recording that is mostly silent, nothing is unusual. Each silence counts as many times as
    the longest silence elsewhere fits into it. Its probability is the share of silent samples at
    these times in trials that are active before and after. Activity that dies away, as smoothed
    rates do, is weak next to its silence, whereas padding cuts activity at any level.

    `level` (trials, time) is the summed activity, NaN where nothing was recorded.
    """
    seen, silent, n = ~np.isnan(level), level == 0, len(level)
    first = np.logical_and.accumulate(silent | ~seen, axis=1)
    length, nothing = first.sum(axis=1), np.zeros(n, dtype=int)
    last = np.logical_and.accumulate((silent | ~seen)[:, ::-1], axis=1)[:, ::-1]
    inner = seen & ~first & ~last
    between = silent & inner
    longest = run = nothing
    for now in between.T:
        run = (run + 1) * now
        longest = np.maximum(longest, run)
    # times at which all trials are silent are not unusual
    active = (seen & ~silent).any(axis=0)
    times = (first & silent & active).sum(axis=1) // max(longest.max() + 1, 2)
    odd = np.flatnonzero((times > 0) & (length < level.shape[1]))
    if not len(odd) or silent.sum() > seen.sum() / 2:
        return nothing
    beside = (first & active)[odd].any(axis=0)
    likely = max(
        (between[:, at].sum() + 1) / (among[:, at].sum() + 2)
        for among, at in ((inner | last, beside), (inner, ...))
    )
    ways = math.lgamma(n + 1) - math.lgamma(len(odd) + 1) - math.lgamma(n - len(odd) + 1)
    if ways + times[odd].sum() * math.log(likely) > math.log(IMPROBABLE):
        return nothing
    levels = np.sort(level[seen & ~silent])
    weaker = np.searchsorted(levels, level[odd, length[odd]]) / len(levels)
    return np.where(times > 0, length, 0) if weaker.mean() > WEAK else nothing


def warn_of_axes(X, name="X"):
    """Warn if time seems to be an axis other than the second.

    Neighbours in time are similar; neighbouring trials or neurons are not. The mean square
    difference of neighbours over that of any two values (von Neumann's ratio) is near 0 or 1.
    """
    each = X.shape[1] * X.shape[2]
    n = min(len(X), max(FEW_TRIALS, SAMPLE // each))
    Y = np.array(part(X, slice(0, n)), dtype=float)
    known = np.isfinite(Y)
    missing = ~known.any(axis=2)
    ends = missing.sum(axis=1)
    if ends.min() < ends.max() and not (missing[:, :-1] & ~missing[:, 1:]).any():
        return  # trials end early along axis 1, so it is time
    Y[~known] = 0
    # offsets of whole trials, such as drifts over the session, are not smoothness
    Y -= Y.sum(axis=1, keepdims=True) / np.maximum(known.sum(axis=1, keepdims=True), 1)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        ratios = [_neighbours_apart(Y, known, axis) for axis in range(3)]
    axis = 0 if ratios[0] < ratios[2] else 2
    ratio, second = ratios[axis], ratios[1]
    if Y.shape[axis] < ENOUGH_STEPS or not ratio < SMOOTH < second or second < 2 * ratio:
        return
    order = "(1, 0, 2)" if axis == 0 else "(0, 2, 1)"
    warn_user(
        f"{name} of shape {X.shape} changes smoothly along axis {axis} but not along axis 1, "
        "which must be time: axes are (n_trials, n_timesteps, n_neurons). Try "
        f"{name}.transpose{order}. If the order is right, ignore this."
    )


def _percent(share):
    """Format a share near 1 with enough digits to tell it from 1."""
    digits = max(0, math.ceil(-math.log10(max(1 - share, 1e-12))) - 2)
    return f"{100 * share:.{digits}f} %"


def _neighbours_apart(Y, known, axis):
    """Compute von Neumann's ratio along an axis, halved: near 0 if smooth, near 1 if random."""
    Y, known = np.moveaxis(Y, axis, 0), np.moveaxis(known, axis, 0)
    count = known.sum(axis=0)
    away = np.where(known, Y - Y.sum(axis=0) / np.maximum(count, 1), 0.0)
    variance = np.square(away).sum() / np.maximum(count - 1, 0).sum()
    both = known[1:] & known[:-1]
    return (np.square(np.diff(Y, axis=0)) * both).sum() / both.sum() / (2 * variance)
