"""Trials in time: rates from counts, another time grid, epochs around an event, one length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from numbers import Integral
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator, make_interp_spline
from scipy.ndimage import gaussian_filter1d

from .._plausible import warn_of_zeros
from .._trials import lengths_of
from .._validation import (
    as_list_of_trials,
    as_numbers,
    as_plain_array,
    check_number,
    check_option,
    describe_index,
    warn_user,
)
from ._common import SLIVER, check, whole_bins
from ._recording import Recording

__all__ = ["cut_epochs", "pad_trials", "resample_time", "smooth_counts"]

MILLI = 1000  # how many times too long a time in ms is beside one in s
_NO_GAPS = (
    "This step needs every sample up to the end of a trial: interpolate gaps, or leave out their "
    "trials or neurons. NaN may only follow the end, as pad_trials has it."
)


def smooth_counts(
    counts: ArrayLike | Sequence[ArrayLike] | Recording,
    *,
    sigma: float,
    bin_width: float | None = None,
    sqrt: bool = False,
) -> Any:
    """Smooth spike counts along time with a Gaussian and turn them into rates.

    Beyond its ends a trial is continued with its first and last bin. Smooth whole trials before
    cutting epochs from them (:func:`cut_epochs`), so that this touches as few samples as possible.

    Parameters
    ----------
    counts : array-like of shape (n_trials, n_timesteps, n_neurons) or (n_timesteps, n_neurons), \
            list of arrays of shape (n_timesteps_k, n_neurons), or Recording
        Spikes per bin. Trials of an array may end in NaN, as :func:`pad_trials` makes them.
    sigma : float
        Standard deviation of the Gaussian, s; cut off at four standard deviations. 0 does not
        smooth.
    bin_width : float, optional
        Width of a bin, s. A recording knows its own; else it is needed.
    sqrt : bool, default=False
        Smooth the square roots of the counts, whose variance hardly depends on the rate (about
        1/4 per bin for Poisson spikes), as in [1]_.

    Returns
    -------
    rates : ndarray of the shape of `counts`, list of arrays, or Recording
        Spikes/s; with ``sqrt=True`` square roots of spikes per bin, not divided by `bin_width`.
        float32 if `counts` is float32, float64 otherwise. A list where trials of a list have
        unequal lengths, a recording of a recording.

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
    bin_width = _own_step(counts, bin_width, "bin_width")
    check_number(sigma, "sigma", low=0, unit="s")
    if isinstance(counts, Recording):
        X = smooth_counts(counts.X, sigma=sigma, bin_width=bin_width, sqrt=sqrt)
        return counts._changed(X=X, unit="sqrt(spikes per bin)" if sqrt else "spikes/s")
    smooth = partial(_smooth, bin_width=bin_width, sigma=sigma, sqrt=sqrt)
    rates = _each_length(smooth, counts, "counts")
    n_timesteps = max(map(len, rates)) if isinstance(rates, list) else rates.shape[-2]
    duration = n_timesteps * bin_width
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
    return rates


def _smooth(
    counts: ArrayLike, name: str, *, bin_width: float, sigma: float, sqrt: bool
) -> NDArray:
    rates = check(counts, name, ndim=(2, 3), advice=_NO_GAPS)
    if rates.min() < 0:
        where = describe_index(np.argwhere(rates < 0)[0])
        raise ValueError(
            f"{name} must not be negative, got {rates.min():g} (first at {where}). For activity "
            "that is no longer counts use scipy.ndimage.gaussian_filter1d(X, sigma, axis=-2)."
        )
    if rates.ndim == 3:
        warn_of_zeros(rates, name)
    rates = np.sqrt(rates) if sqrt else rates / bin_width
    if sigma == 0:
        return rates
    return gaussian_filter1d(rates, sigma / bin_width, axis=-2, mode="nearest")


def resample_time(
    X: ArrayLike | Sequence[ArrayLike] | Recording,
    *,
    new_dt: float,
    dt: float | None = None,
    kind: Literal["cubic", "linear", "pchip"] = "cubic",
) -> Any:
    """Interpolate activity onto a finer grid along time.

    Sample i of the result lies ``i * new_dt`` after the first sample of `X`, which is kept; the
    last one lies at or before the last sample of `X`, so that nothing is extrapolated. (The first
    sample of binned counts stands for the middle of the first bin.)

    Parameters
    ----------
    X : array-like of shape (n_trials, n_timesteps, n_neurons) or (n_timesteps, n_neurons), \
            list of arrays of shape (n_timesteps_k, n_neurons), or Recording
        Activity. Trials of an array may end in NaN, as :func:`pad_trials` makes them.
    new_dt : float
        Time between samples of the result, s; at most `dt`.
    dt : float, optional
        Time between samples of `X`, s. A recording knows its own; else it is needed.
    kind : {"cubic", "linear", "pchip"}, default="cubic"
        Cubic spline, straight lines, or the monotone cubic that never leaves the range of two
        neighbouring samples (rates stay non-negative). A cubic spline through fewer than four
        samples is the polynomial through them.

    Returns
    -------
    X_new : ndarray of shape (..., n_new_timesteps, n_neurons), list of arrays, or Recording
        Activity on the new grid, ``n_new_timesteps = floor((n_timesteps - 1) * dt / new_dt) + 1``.
        float32 if `X` is float32, float64 otherwise. A list where trials of a list have unequal
        lengths, a recording of a recording.

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
    dt = _own_step(X, dt, "dt")
    check_number(new_dt, "new_dt", low=0, closed=False, unit="s")
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
    if not isinstance(X, Recording):
        return _each_length(partial(_resample, dt=dt, new_dt=new_dt, kind=kind), X, "X")
    new = _each_length(partial(_resample, dt=dt, new_dt=new_dt, kind=kind), X.X, "X")
    time = X.time[0] + new_dt * np.arange(new.shape[1])
    return X._changed(X=new, time=time, dt=float(new_dt))


def _resample(X: ArrayLike, name: str, *, dt: float, new_dt: float, kind: str) -> NDArray:
    X = check(X, name, ndim=(2, 3), min_timesteps=2, advice=_NO_GAPS)
    n_timesteps = X.shape[-2]
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
    signal: ArrayLike | Sequence[ArrayLike] | Recording,
    event: ArrayLike | str | Sequence[str],
    *,
    start: float = 0,
    stop: float = 0,
    bin_width: float | None = None,
    trial_length: ArrayLike | None = None,
    drop: bool = False,
) -> Any:
    """Cut the same window around an event from trials, or around each event of one recording.

    With `bin_width` events and window are in seconds, without it in bins. Epoch k holds bins
    ``event[k] + start, ..., event[k] + stop - 1`` of trial k, or of the recording, values and
    dtype as they are (NaN too). Between two events it holds ``event[k, 0] + start, ...,
    event[k, 1] + stop - 1``, and ends in NaN where others are longer.

    Parameters
    ----------
    signal : sequence of n_trials arrays of shape (n_timesteps_k, n_channels), one array of \
            shape (sum of trial_length, n_channels) or (n_timesteps, n_channels), or Recording
        Spike counts, rates or behaviour: trials one by one, one after another in one array, or
        one continuous recording, without `trial_length`.
    event : array-like of shape (n_trials,) or (n_trials, 2)
        Time of the event from the beginning of its trial, s, or its bin, from 0; of one recording
        within it, each after the one before. Two columns are events between which to cut. A
        negative or NaN entry means that there is no such event. Of a ``Recording`` its times on
        the time axis (NaN where there is none), or the name of one of its events, or of two.
    start, stop : float or int, default=0
        Beginning and end of the window relative to the event (of two the first, and the
        second): for -0.8 s to +0.6 s in bins of 50 ms ``start=-0.8, stop=0.6, bin_width=0.05``,
        or ``start=-16, stop=12``.
    bin_width : float, optional
        Width of a bin, s: says that `event`, `start` and `stop` are in seconds. A ``Recording``
        knows its own, and always takes seconds.
    trial_length : array-like of int of shape (n_trials,), optional
        Bins of each trial, when `signal` is one array of trials.
    drop : bool, default=False
        Leave out trials that have no event or do not hold the whole window, instead of raising.

    Returns
    -------
    epochs : ndarray of shape (n_trials, stop - start, n_channels), or Recording
        One epoch per (kept) trial; of a ``Recording`` one whose time axis counts from the
        event (by its mean place in a bin), with its other events, labels and names.
    kept : ndarray of int of shape (n_kept,)
        Indices of the trials that `epochs` holds. Only with ``drop=True``, and not of a
        ``Recording``, whose ``trials`` say so.

    Raises
    ------
    ValueError
        If a trial has no event or does not hold the window (with ``drop=True``: if none does),
        if events of one recording do not follow each other, or if shapes do not agree.
    TypeError
        If `start` or `stop` is not an integer without `bin_width`.

    See Also
    --------
    bin_spikes : The same for spike times.

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

    One recording in bins of 0.1 s, and three events in it, in seconds:

    >>> cut_epochs(signal, [0.1, 0.4, 0.6], start=-0.1, stop=0.2, bin_width=0.1)[:, :, 0]
    array([[0, 1, 2],
           [3, 4, 5],
           [5, 6, 7]])

    Smooth whole trials first, then cut:

    >>> from jedi_sklearn.preprocessing import smooth_counts
    >>> trials = np.split(signal, np.cumsum([5, 3])[:-1])
    >>> rates = smooth_counts(trials, bin_width=0.05, sigma=0.05)
    >>> cut_epochs(rates, [0.1, 0], start=0, stop=0.1, bin_width=0.05).shape
    (2, 2, 1)
    """
    if isinstance(signal, Recording):
        return _cut_recording(signal, event, start, stop, bin_width, trial_length, drop)
    return _cut(signal, event, start, stop, bin_width, trial_length, drop)


def _cut(
    signal: Any,
    event: Any,
    start: Any,
    stop: Any,
    bin_width: Any,
    trial_length: Any,
    drop: bool,
    earliest: float = 0,
) -> Any:
    """Epochs of arrays; an event before bin `earliest` is none."""
    bins, first, last = _window(event, start, stop, bin_width)
    pair = bins.ndim == 2 and bins.shape[1] == 2
    if last <= first and not pair:
        raise ValueError(f"stop must be greater than start, got start={start}, stop={stop}.")
    # the event at which an epoch begins and that at which it ends, in general the same
    ends = bins if pair else np.stack([bins, bins], axis=-1)
    if trial_length is None and _is_one_array(signal) and ends.ndim == 2:
        recording = np.asarray(signal)
        _refuse_disorder(ends[:, 0], recording.shape)
        trials = [recording] * len(ends)
    else:
        trials = _split_trials(signal, trial_length)
    if ends.shape != (len(trials), 2):
        raise ValueError(
            f"event must hold one bin for each of the {len(trials)} trials, "
            f"got shape {bins.shape}."
        )
    has_event = ends.min(axis=1) >= earliest  # False for NaN
    fractional = np.flatnonzero(has_event & (ends != np.floor(ends)).any(axis=1))
    if len(fractional):
        k = fractional[0]
        raise ValueError(
            f"event must be whole bins within the trial, got {_spoken(ends[k])} for trial {k}. "
            "For seconds give bin_width, too."
        )
    length = np.array([len(trial) for trial in trials])
    begin, end = ends[:, 0] + first, ends[:, 1] + last
    inside = has_event & (begin >= 0) & (end <= length) & (begin < end)
    kept = np.flatnonzero(inside)
    window = "the window between the events"
    if not pair:
        window = f"the window from {start:g} to {stop:g} {'bins' if bin_width is None else 's'}"
        window += " around the event"
    advice = "start, stop and event count bins, neither ms nor s"
    if bin_width is not None:
        advice = f"start, stop and event are in s, and a bin is {bin_width:g} s"
    if len(kept) < len(trials) and not drop:
        k = np.flatnonzero(~inside)[0]
        problem = (
            f"needs bins {begin[k]:g} to {end[k] - 1:g}, but it has bins 0 to {length[k] - 1}"
            if has_event[k]
            else f"has no event (event is {_spoken(ends[k])})"
        )
        raise ValueError(
            f"{window.capitalize()} must lie within each trial: trial {k} {problem} (the first of "
            f"{len(trials) - len(kept)} such trials out of {len(trials)}). {advice}. Choose a "
            "smaller window, or drop=True to leave such trials out."
        )
    if len(kept) == 0:
        raise ValueError(
            f"None of the {len(trials)} trials holds {window}. {advice}. Choose a smaller window."
        )
    cuts = [trials[k][int(begin[k]) : int(end[k])] for k in kept]
    epochs = pad_trials(cuts) if pair else np.stack(cuts)
    return (epochs, kept) if drop else epochs


def _window(event: Any, start: Any, stop: Any, bin_width: Any) -> tuple[NDArray, int, int]:
    """Events and window in bins; events may have fractions, where they were given in bins."""
    bins = as_numbers(event, "event")
    window = {"start": start, "stop": stop}
    if bin_width is None:
        for name, value in window.items():
            if not isinstance(value, Integral) or isinstance(value, bool):
                raise TypeError(
                    f"{name} must be an int, a number of bins relative to the event, got "
                    f"{value!r}. For seconds give bin_width, too."
                )
        return bins, start, stop
    check_number(bin_width, "bin_width", low=0, closed=False, unit="s")
    for name, value in window.items():
        check_number(value, name, unit="s")
        window[name] = whole_bins(value, bin_width, name)
    return np.floor(bins / bin_width + SLIVER), window["start"], window["stop"]


def _spoken(bins: NDArray) -> str:
    """The bin of an event, or those of two."""
    return " and ".join(dict.fromkeys(f"{b:g}" for b in bins))


def _cut_recording(
    rec: Recording,
    event: Any,
    start: float,
    stop: float,
    bin_width: Any,
    trial_length: Any,
    drop: bool,
) -> Recording:
    """Epochs of a recording, as a recording."""
    if bin_width is not None or trial_length is not None:
        raise TypeError(
            "A Recording knows its bins and trials: leave out bin_width, trial_length."
        )
    names = [event] if isinstance(event, str) else event
    named = all(isinstance(name, str) for name in np.ravel(np.asarray(names, dtype=object)))
    if named:
        for name in names:
            check_option(name, "event", tuple(rec.events))
        times = np.stack([rec.events[name] for name in names], axis=-1)
    else:
        times = as_numbers(event, "event")
    if times.ndim == 2 and times.shape[1] == 1:
        times = times[:, 0]
    zero = times if times.ndim == 1 else times[:, 0]
    trials = [x[:n] for x, n in zip(rec.X, lengths_of(rec.X), strict=True)]
    # from the beginning of the first bin, in whose middle time[0] is
    since = times - rec.time[0] + rec.dt / 2
    # an event may lie before the first bin, and the window behind
    cut_of = _cut(trials, since, start, stop, rec.dt, None, drop, earliest=-np.inf)
    X, kept = cut_of if drop else (cut_of, np.arange(len(rec)))
    out = np.setdiff1d(np.arange(len(rec)), kept)
    # the event lies anywhere in its bin: the mean says where samples are
    since = since if since.ndim == 1 else since[:, 0]
    first = np.floor(since / rec.dt + SLIVER) + whole_bins(start, rec.dt, "start")
    offset = np.mean((rec.time[0] + rec.dt * first - zero)[kept])
    cut = rec[kept]._changed(
        X=X,
        time=offset + rec.dt * np.arange(X.shape[1]),
        events={name: t[kept] - zero[kept] for name, t in rec.events.items()},
        align=names[0] if named else None,
    )
    reason = "does not hold the window"
    cut.dropped_trials = rec.dropped_trials | dict.fromkeys(rec.trials[out].tolist(), reason)
    return cut


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


def _own_step(X: Any, step: float | None, name: str) -> float:
    """Time between samples: that of a recording, or the one given."""
    if isinstance(X, Recording):
        if step is not None and not np.isclose(step, X.dt):
            raise ValueError(f"{name}={step:g} s, but the Recording has samples every {X.dt:g} s.")
        return X.dt
    if step is None:
        raise TypeError(f"Give {name}, the time between samples in s; only a Recording knows it.")
    check_number(step, name, low=0, closed=False, unit="s")
    return step


def _each_length(step: Callable[[Any, str], NDArray], X: Any, name: str) -> Any:
    """Apply a step to all trials of one length at once, or to each as long as it is."""
    X = as_list_of_trials(X)
    if isinstance(X, (list, tuple)):
        arrays = [as_plain_array(trial, f"{name}[{k}]") for k, trial in enumerate(X)]
        if all(trial.ndim == 2 for trial in arrays) and len(set(map(len, arrays))) > 1:
            trials = _split_trials(arrays, None, name)
            return [step(trial, f"{name}[{k}]") for k, trial in enumerate(trials)]
    elif isinstance(X, np.ndarray) and X.ndim == 3 and X.dtype.kind == "f" and X.size:
        if np.isnan(X[:, -1]).all(axis=1).any():
            ends = lengths_of(check(X, name, missing=True))
            cuts = [step(X[k, :end], f"{name}[{k}]") for k, end in enumerate(ends)]
            return pad_trials(cuts)
    return step(X, name)


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
