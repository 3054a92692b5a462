"""Trials in time: rates from counts, another time grid, epochs around an event, one length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator, make_interp_spline
from scipy.ndimage import gaussian_filter1d

from .._plausible import warn_of_zeros
from .._validation import (
    as_list_of_trials,
    as_numbers,
    as_plain_array,
    check_number,
    check_option,
    describe_index,
    warn_user,
)
from ._common import check

__all__ = ["cut_epochs", "pad_trials", "resample_time", "smooth_counts"]

MILLI = 1000  # how many times too long a time in ms is beside one in s
_NO_GAPS = (
    "This step needs every sample: pad trials of unequal length after it, not before, and "
    "interpolate gaps or leave out their trials or neurons."
)


def smooth_counts(
    counts: ArrayLike, *, bin_width: float, sigma: float, sqrt: bool = False
) -> NDArray:
    """Smooth spike counts along time with a Gaussian and turn them into rates.

    Beyond its ends a trial is continued with its first and last bin. Smooth whole trials before
    cutting epochs from them (:func:`cut_epochs`), so that this touches as few samples as possible.

    Parameters
    ----------
    counts : array-like of shape (n_trials, n_timesteps, n_neurons) or (n_timesteps, n_neurons)
        Spikes per bin.
    bin_width : float
        Width of a bin, s.
    sigma : float
        Standard deviation of the Gaussian, s; cut off at four standard deviations. 0 does not
        smooth.
    sqrt : bool, default=False
        Smooth the square roots of the counts, whose variance hardly depends on the rate (about
        1/4 per bin for Poisson spikes), as in [1]_.

    Returns
    -------
    rates : ndarray of the shape of `counts`
        Spikes/s; with ``sqrt=True`` square roots of spikes per bin, not divided by `bin_width`.
        float32 if `counts` is float32, float64 otherwise.

    Warns
    -----
    UserWarning
        If bins are 1 s or more, or the Gaussian is wider than the trial or 1000 bins: probably
        milliseconds.

    Raises
    ------
    ValueError
        If counts are negative, NaN or infinite, or have another number of axes, or if
        `bin_width` or `sigma` is out of range.

    References
    ----------
    .. [1] Yu et al. (2009). Gaussian-process factor analysis for low-dimensional single-trial
       analysis of neural population activity. J Neurophysiol 102:614-635.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn.preprocessing import smooth_counts
    >>> counts = np.zeros((1, 9, 2), dtype=np.uint8)
    >>> counts[0, 4] = 1, 2
    >>> rates = smooth_counts(counts, bin_width=0.05, sigma=0.05)
    >>> rates[0, 3:6].round(2)  # spikes/s
    array([[ 4.84,  9.68],
           [ 7.98, 15.96],
           [ 4.84,  9.68]])
    """
    check_number(bin_width, "bin_width", low=0, closed=False, unit="s")
    check_number(sigma, "sigma", low=0, unit="s")
    rates = check(counts, "counts", ndim=(2, 3), advice=_NO_GAPS)
    if rates.min() < 0:
        where = describe_index(np.argwhere(rates < 0)[0])
        raise ValueError(
            f"counts must not be negative, got {rates.min():g} (first at {where}). For activity "
            "that is no longer counts use scipy.ndimage.gaussian_filter1d(X, sigma, axis=-2)."
        )
    duration = rates.shape[-2] * bin_width
    if bin_width >= 1:
        warn_user(
            f"bin_width={bin_width:g} is in s, and rates are counts divided by it. For bins of "
            "20 ms give bin_width=0.02; sigma is in s too."
        )
    elif sigma > duration or sigma >= MILLI * bin_width:
        longer = f"longer than the trial, {duration:g} s, and smooths all of it away"
        wide = f"{sigma / bin_width:.0f} bins of {bin_width:g} s, and smooths nearly all away"
        warn_user(
            f"sigma={sigma:g} s is {longer if sigma > duration else wide}. It is in s: 50 ms are "
            "sigma=0.05."
        )
    if rates.ndim == 3:
        warn_of_zeros(rates, "counts")
    rates = np.sqrt(rates) if sqrt else rates / bin_width
    if sigma == 0:
        return rates
    return gaussian_filter1d(rates, sigma / bin_width, axis=-2, mode="nearest")


def resample_time(
    X: ArrayLike, *, dt: float, new_dt: float, kind: Literal["cubic", "linear", "pchip"] = "cubic"
) -> NDArray:
    """Interpolate activity onto a finer grid along time.

    Sample i of the result lies ``i * new_dt`` after the first sample of `X`, which is kept; the
    last one lies at or before the last sample of `X`, so that nothing is extrapolated. (The first
    sample of binned counts stands for the middle of the first bin.)

    Parameters
    ----------
    X : array-like of shape (n_trials, n_timesteps, n_neurons) or (n_timesteps, n_neurons)
        Activity.
    dt : float
        Time between samples of `X`, s.
    new_dt : float
        Time between samples of the result, s; at most `dt`.
    kind : {"cubic", "linear", "pchip"}, default="cubic"
        Cubic spline, straight lines, or the monotone cubic that never leaves the range of two
        neighbouring samples (rates stay non-negative). A cubic spline through fewer than four
        samples is the polynomial through them.

    Returns
    -------
    X_new : ndarray of shape (..., n_new_timesteps, n_neurons)
        Activity on the new grid, ``n_new_timesteps = floor((n_timesteps - 1) * dt / new_dt) + 1``.
        float32 if `X` is float32, float64 otherwise.

    Warns
    -----
    UserWarning
        If `dt` is 1000 times `new_dt` or more: probably one of them in milliseconds.

    Raises
    ------
    ValueError
        If `new_dt` exceeds `dt`, there are fewer than two time steps, `kind` is unknown, or `X`
        holds NaN or infinity.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn.preprocessing import resample_time
    >>> X = np.array([0.0, 1.0, 4.0, 9.0]).reshape(1, 4, 1)  # t ** 2 at t = 0, 1, 2, 3 s
    >>> resample_time(X, dt=1.0, new_dt=0.5).ravel()
    array([0.  , 0.25, 1.  , 2.25, 4.  , 6.25, 9.  ])
    """
    check_number(dt, "dt", low=0, closed=False, unit="s")
    check_number(new_dt, "new_dt", low=0, closed=False, unit="s")
    X = check(X, ndim=(2, 3), min_timesteps=2, advice=_NO_GAPS)
    n_timesteps = X.shape[-2]
    check_option(kind, "kind", ("cubic", "linear", "pchip"))
    if new_dt > dt:
        raise ValueError(
            f"new_dt must be at most dt={dt:g} s, got {new_dt:g} s. For a coarser grid sum counts "
            "over wider bins, or smooth and take every k-th sample, e.g. X[:, ::2]."
        )
    if dt >= MILLI * new_dt:
        warn_user(
            f"dt={dt:g} and new_dt={new_dt:g} make {dt / new_dt:.4g} samples of each. Both must "
            "have one unit: with dt=0.02 s a grid of 10 ms is new_dt=0.01."
        )
    # The small constant keeps the last sample when dt / new_dt is whole but for rounding.
    n_new = int(np.floor((n_timesteps - 1) * dt / new_dt + 1e-9)) + 1
    time = np.arange(n_timesteps) * dt
    new_time = np.arange(n_new) * new_dt
    if kind == "pchip":
        interpolate = PchipInterpolator(time, X, axis=-2)
    else:
        degree = 1 if kind == "linear" else min(3, n_timesteps - 1)
        interpolate = make_interp_spline(time, X, k=degree, axis=-2)
    return interpolate(new_time).astype(X.dtype, copy=False)


def cut_epochs(
    signal: ArrayLike | Sequence[ArrayLike],
    event: ArrayLike,
    *,
    start: int,
    stop: int,
    trial_length: ArrayLike | None = None,
    drop: bool = False,
) -> Any:
    """Cut the same window around an event from trials, or around each event of one recording.

    Epoch k holds bins ``event[k] + start, ..., event[k] + stop - 1`` of trial k, or of the
    recording, values and dtype as they are (NaN too).

    Parameters
    ----------
    signal : sequence of n_trials arrays of shape (n_timesteps_k, n_channels), or one array of \
            shape (sum of trial_length, n_channels) or (n_timesteps, n_channels)
        Spike counts, rates or behaviour: trials one by one, one after another in one array, or
        one continuous recording, without `trial_length`.
    event : array-like of shape (n_trials,)
        Bin of the event within its trial, from 0; of one recording bins within it, each after
        the one before. A negative or NaN entry means that there is no such event.
    start, stop : int
        First bin of the window, and the bin after its last one, relative to the event: for
        -0.8 s to +0.6 s in bins of 50 ms ``start=-16, stop=12``.
    trial_length : array-like of int of shape (n_trials,), optional
        Bins of each trial, when `signal` is one array of trials.
    drop : bool, default=False
        Leave out trials that have no event or do not hold the whole window, instead of raising.

    Returns
    -------
    epochs : ndarray of shape (n_trials, stop - start, n_channels)
        One epoch per (kept) trial.
    kept : ndarray of int of shape (n_kept,)
        Indices of the trials that `epochs` holds. Only with ``drop=True``.

    Raises
    ------
    ValueError
        If a trial has no event or does not hold the window (with ``drop=True``: if none does),
        if events of one recording do not follow each other, or if shapes do not agree.
    TypeError
        If `start` or `stop` is not an integer.

    Examples
    --------
    Two trials of five and three bins, an event in bin 2 of the first and bin 0 of the second:

    >>> import numpy as np
    >>> from jedi_sklearn.preprocessing import cut_epochs
    >>> signal = np.arange(8)[:, np.newaxis]
    >>> epochs, kept = cut_epochs(
    ...     signal, [2, 0], start=-1, stop=2, trial_length=[5, 3], drop=True
    ... )
    >>> epochs[:, :, 0], kept
    (array([[1, 2, 3]]), array([0]))

    One recording, and three events in it:

    >>> cut_epochs(signal, [1, 4, 6], start=-1, stop=2)[:, :, 0]
    array([[0, 1, 2],
           [3, 4, 5],
           [5, 6, 7]])

    Smooth whole trials first, then cut:

    >>> from jedi_sklearn.preprocessing import smooth_counts
    >>> trials = np.split(signal, np.cumsum([5, 3])[:-1])
    >>> rates = [smooth_counts(trial, bin_width=0.05, sigma=0.05) for trial in trials]
    >>> cut_epochs(rates, [2, 0], start=0, stop=2).shape
    (2, 2, 1)
    """
    for name, value in (("start", start), ("stop", stop)):
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise TypeError(
                f"{name} must be an int, a number of bins relative to the event, got {value!r}. "
                "From seconds: round(seconds / bin_width)."
            )
    if stop <= start:
        raise ValueError(f"stop must be greater than start, got start={start}, stop={stop}.")
    bins = as_numbers(event, "event")
    if trial_length is None and _is_one_array(signal) and bins.ndim == 1:
        recording = np.asarray(signal)
        _refuse_disorder(bins, recording.shape)
        trials = [recording] * len(bins)
    else:
        trials = _split_trials(signal, trial_length)
    if bins.shape != (len(trials),):
        raise ValueError(
            f"event must hold one bin for each of the {len(trials)} trials, "
            f"got shape {bins.shape}."
        )
    has_event = bins >= 0  # False for NaN
    fractional = np.flatnonzero(has_event & (bins != np.floor(bins)))
    if len(fractional):
        k = fractional[0]
        raise ValueError(
            f"event must be whole bins within the trial, got {bins[k]:g} for trial {k}. From "
            "seconds: np.floor(seconds / bin_width)."
        )
    length = np.array([len(trial) for trial in trials])
    inside = has_event & (bins + start >= 0) & (bins + stop <= length)
    kept = np.flatnonzero(inside)
    if len(kept) < len(trials) and not drop:
        k = np.flatnonzero(~inside)[0]
        problem = (
            f"needs bins {bins[k] + start:g} to {bins[k] + stop - 1:g}, "
            f"but it has bins 0 to {length[k] - 1}"
            if has_event[k]
            else f"has no event (event is {bins[k]:g})"
        )
        raise ValueError(
            f"The window from {start} to {stop} bins around the event must lie within each trial: "
            f"trial {k} {problem} (the first of {len(trials) - len(kept)} such trials out of "
            f"{len(trials)}). start, stop and event count bins, neither ms nor s. Choose a "
            "smaller window, or drop=True to leave such trials out."
        )
    if len(kept) == 0:
        raise ValueError(
            f"None of the {len(trials)} trials holds the window from {start} to {stop} bins "
            "around its event. start, stop and event count bins, neither ms nor s. Choose a "
            "smaller window."
        )
    first = bins[kept].astype(int) + start
    width = stop - start
    epochs = np.stack([trials[k][i : i + width] for k, i in zip(kept, first, strict=True)])
    return (epochs, kept) if drop else epochs


def pad_trials(trials: Sequence[ArrayLike], length: int | None = None) -> NDArray:
    """Make one array of trials of unequal length, NaN after the end of each.

    :class:`~jedi_sklearn.JEDIEstimator` takes NaN as samples that are missing. Smooth and resample
    the trials before.

    Parameters
    ----------
    trials : sequence of n_trials arrays of shape (n_timesteps_k, n_neurons)
        Trials that begin at the same event.
    length : int, optional
        Samples of each padded trial, at least those of the longest; by default that many.

    Returns
    -------
    X : ndarray of shape (n_trials, length, n_neurons)
        float32 if all trials are, float64 otherwise.

    Raises
    ------
    ValueError
        If a trial is longer than `length`, is not 2-D, or has other neurons than the first.
    TypeError
        If trials do not hold real numbers, or `length` is not an integer.

    See Also
    --------
    cut_epochs : The same window around an event, where all trials hold it.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn.preprocessing import pad_trials
    >>> pad_trials([np.ones((3, 1)), np.ones((1, 1))])[:, :, 0]
    array([[ 1.,  1.,  1.],
           [ 1., nan, nan]])
    """
    arrays = _split_trials(trials, None, "trials")
    for k, trial in enumerate(arrays):
        if trial.dtype.kind not in "fiub":
            raise TypeError(
                f"Trials must hold real numbers, got dtype {trial.dtype} in trial {k}. Convert "
                "it, e.g. trial.astype(float)."
            )
    longest = max(len(trial) for trial in arrays)
    if length is None:
        length = longest
    check_number(length, "length", Integral, low=1)
    if longest > length:
        k = next(k for k, trial in enumerate(arrays) if len(trial) > length)
        raise ValueError(
            f"length={length} is less than the {len(arrays[k])} samples of trial {k}. Raise it "
            f"to {longest}, or cut the trials first, e.g. [trial[:{length}] for trial in trials]."
        )
    single = all(trial.dtype == np.float32 for trial in arrays)
    shape = (len(arrays), length, arrays[0].shape[1])
    X = np.full(shape, np.nan, dtype=np.float32 if single else np.float64)
    for padded, trial in zip(X, arrays, strict=True):
        padded[: len(trial)] = trial
    return X


def _is_one_array(signal: Any) -> bool:
    return getattr(as_list_of_trials(signal), "ndim", None) == 2


def _refuse_disorder(bins: NDArray, shape: tuple[int, ...]) -> None:
    """Raise where events of one recording do not follow each other: they may be of trials."""
    there = np.flatnonzero(bins >= 0)
    late = np.flatnonzero(np.diff(bins[there]) <= 0)
    if len(late):
        k, j = there[late[0]], there[late[0] + 1]
        raise ValueError(
            f"signal of shape {shape} without trial_length is one recording, in which each event "
            f"must come after the one before, but event {j} is in bin {bins[j]:g} and event {k} "
            f"in bin {bins[k]:g}. If these are bins within trials, pass trial_length; if not, "
            "sort them."
        )


def _split_trials(
    signal: Any, trial_length: ArrayLike | None, name: str = "signal"
) -> list[NDArray]:
    """Trials as a list of 2-D arrays with the same channels."""
    signal = as_list_of_trials(signal)
    one_array = _is_one_array(signal)
    if trial_length is not None:
        length = as_plain_array(trial_length, "trial_length")
        if not one_array:
            raise ValueError(
                "signal must be an array of shape (sum of trial_length, n_channels) when "
                f"trial_length is given, got {getattr(signal, 'shape', type(signal))}. Leave "
                "trial_length out for a list of trials."
            )
        if length.ndim != 1 or length.dtype.kind not in "iu" or (length < 1).any():
            raise ValueError(
                f"trial_length must be a 1-D array of positive integers, got {trial_length!r}."
            )
        if length.sum() != len(signal):
            raise ValueError(
                f"trial_length must add up to the {len(signal)} bins of signal, "
                f"got {length.sum()}."
            )
        return np.split(signal, np.cumsum(length)[:-1])
    if one_array:
        raise ValueError(
            f"{name} of shape {signal.shape} is one array: pass a list of trials, e.g. "
            f"np.split({name}, where_trials_begin)."
        )
    if isinstance(signal, np.ndarray) and signal.ndim == 1 and signal.dtype != object:
        raise ValueError(
            f"{name} of shape {signal.shape} has one axis. One channel is {name}[:, np.newaxis]."
        )
    if isinstance(signal, str) or not isinstance(signal, Iterable):
        raise TypeError(f"{name} must be a sequence of arrays, one per trial, got {signal!r}.")
    trials = [as_plain_array(trial, f"{name}[{k}]") for k, trial in enumerate(signal)]
    if not trials:
        raise ValueError(f"{name} must hold at least 1 trial, got 0.")
    for k, trial in enumerate(trials):
        if trial.ndim != 2 or trial.shape[1] != trials[0].shape[1]:
            raise ValueError(
                f"Each trial of {name} must have shape (n_timesteps, n_channels) with the same "
                f"channels: trial {k} has shape {trial.shape}, trial 0 {trials[0].shape}."
            )
    return trials
