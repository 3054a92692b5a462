"""Do trials look like what they are taken for? Warnings of what would otherwise stay unseen."""

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

# Rounding as a share of what was rounded: filters leave up to 1e-13 of float64, 1e-7 of float32
ROUNDING = {4: 5e-7, 8: 1e-10}
UNSEEN = 1e-3  # of the variance: the default `tol` of a fit, which less does not move
IMPROBABLE = 1e-6
WEAK = 0.25  # share of samples that are weaker than the one beside a silence: 1/2 by chance
SMOOTH, ENOUGH_STEPS = 0.25, 8  # counts smoothed by an SD of one bin; samples of an axis to tell
SAMPLE, FEW_TRIALS = 2**22, 16  # values by which axes are judged, but at least of these trials


def constant_neurons(mean, sd, dtype):
    """Which neurons change by no more than rounding, of their own mean or of other neurons.

    A channel that was constant is not quite so after a filter, or after the mean of all channels
    was subtracted.
    """
    return sd <= ROUNDING[np.dtype(dtype).itemsize] * np.maximum(np.abs(mean), sd.max())


def warn_of_constant(constant, sd, first=0, instead="They tell nothing: leave them out"):
    """Name neurons that do not change, counted from `first`; `instead` ends the text."""
    if not constant.any() or constant.all():
        return
    but = ""
    if sd[constant].any():
        but = f", but by rounding: SD up to {sd[constant].max():.1e}, of others {sd.max():.1e}"
    warn_user(
        f"{constant.sum()} of {len(constant)} neurons do not change in X "
        f"(neuron {listed(np.flatnonzero(constant) + first)}{but}). {instead}."
    )


def warn_of_dominant(variance, remedy, first=0):
    """Name a neuron beside whose variance that of every other is nothing.

    Principal components, whose variances fall from column to column, are meant to be so.
    """
    if len(variance) < 2 or not (np.diff(variance) > 0).any():
        return
    share = variance / variance.sum()
    i = int(share.argmax())
    second = np.delete(share, i).max()
    if share[i] > 0.5 and 0 < second < UNSEEN:
        warn_user(
            f"Neuron {i + first} has {_percent(share[i])} of the variance of X, and no "
            f"other more than {100 * second:.1g} %. The fit hardly sees the others, and R2 does "
            f"not tell. Is neuron {i + first} in other units, or does it have artefacts? {remedy}"
        )


def warn_of_zeros(X, name="X"):
    """Name trials that end, or begin, in zeros of all neurons which no other silence explains."""
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
                f"NaN where nothing was recorded, as {name}[{k}, {at}] = np.nan; "
                "preprocessing.pad_trials pads so."
            )


def _padding(level):
    """How long trials are silent at first, 0 where that may be chance.

    Where a recording is silent anyway nothing is odd. A silence counts once for each time that it
    is as long as the longest elsewhere, and how likely it is says the share of silent samples at
    these times in trials that are active before and after. Activity that dies away, as smoothed
    rates do, is weak beside its silence; padding cuts it anywhere.

    `level` (trials, time) is the summed activity, NaN where nobody was recorded.
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
    # where all trials are silent, none is odd
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
    """Warn where time seems to be another axis than the second.

    Neighbours in time are alike, neighbours among trials or neurons are not: the mean square of
    the differences of neighbours over that of any two (von Neumann's ratio) is near 0 or near 1.
    """
    each = X.shape[1] * X.shape[2]
    n = min(len(X), max(FEW_TRIALS, SAMPLE // each))
    Y = np.array(part(X, slice(0, n)), dtype=float)
    known = np.isfinite(Y)
    Y[~known] = 0
    # what is common to a trial, as drifts over the session, is not smoothness
    Y -= Y.sum(axis=1, keepdims=True) / np.maximum(known.sum(axis=1, keepdims=True), 1)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        ratios = [_neighbours_apart(Y, known, axis) for axis in range(3)]
    axis = 0 if ratios[0] < ratios[2] else 2
    ratio, second = ratios[axis], ratios[1]
    if Y.shape[axis] < ENOUGH_STEPS or not ratio < SMOOTH < second or second < 2 * ratio:
        return
    order = "(1, 0, 2)" if axis == 0 else "(0, 2, 1)"
    warn_user(
        f"{name} of shape {X.shape} changes smoothly along axis {axis}, and not along axis 1, "
        "which must be time: axes are (n_trials, n_timesteps, n_neurons). Try "
        f"{name}.transpose{order}. If they are right, ignore this."
    )


def _percent(share):
    """A share near 1, with as many digits as tell it from 1."""
    digits = max(0, math.ceil(-math.log10(max(1 - share, 1e-12))) - 2)
    return f"{100 * share:.{digits}f} %"


def _neighbours_apart(Y, known, axis):
    """Mean square of differences of neighbours along an axis over twice the variance along it."""
    Y, known = np.moveaxis(Y, axis, 0), np.moveaxis(known, axis, 0)
    count = known.sum(axis=0)
    away = np.where(known, Y - Y.sum(axis=0) / np.maximum(count, 1), 0.0)
    variance = np.square(away).sum() / np.maximum(count - 1, 0).sum()
    both = known[1:] & known[:-1]
    return (np.square(np.diff(Y, axis=0)) * both).sum() / both.sum() / (2 * variance)
