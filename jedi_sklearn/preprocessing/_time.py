"""Change trials in time: smooth counts, resample, cut epochs around events, pad."""

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

MILLI = 1000  # the factor by which a time in ms looks too long if taken as s
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
    """Smooth spike counts along time with a Gaussian and convert them to rates.

    Each trial is extended beyond its ends with its first and last bin. Smooth whole trials before
    you cut epochs from them (:func:`cut_epochs`), so that this affects as few samples as possible.

    Parameters
    ----------
    counts : array-like of shape (n_trials, n_timesteps, n_neurons) or (n_timesteps, n_neurons), \
            list of arrays of shape (n_timesteps_k, n_neurons), or Recording
        Spikes per bin. Trials of an array may end in NaN, as :func:`pad_trials` makes them.
    sigma : float
        Standard deviation of the Gaussian, s. The kernel is truncated at four standard
        deviations; 0 means no smoothing.
    bin_width : float, optional
        Bin width, s. Required unless `counts` is a recording, which has its own.
    sqrt : bool, default=False
        Smooth the square roots of the counts, whose variance hardly depends on the rate (about
        1/4 per bin for Poisson spikes), as in [1]_.

    Returns
    -------
    ndarray of the shape of `counts`, list of arrays, or Recording
        Rates in spikes/s; with ``sqrt=True`` square roots of spikes per bin, not divided by
        `bin_width`. float32 if `counts` is float32, float64 otherwise. A recording gives a
        recording, and a list of trials of unequal length gives a list.

    Raises
    ------
    ValueError
        If counts are negative, NaN or infinite, or have the wrong number of axes, or if
        `bin_width` or `sigma` is out of range.

    Warns
    -----
    UserWarning
        If bins are 1 s or more, or if the Gaussian is wider than the trial or 1000 bins, which
        suggests milliseconds.

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
            "20 ms pass bin_width=0.02; sigma is in s too."
        )
    elif sigma > duration or sigma >= MILLI * bin_width:
        longer = f"longer than the trial, {duration:g} s, and smooths all of it away"
        wide = f"{sigma / bin_width:.0f} bins of {bin_width:g} s, and smooths nearly all away"
        warn_user(
            f"sigma={sigma:g} s is {longer if sigma > duration else wide}. It is in s: for 50 ms "
            "pass sigma=0.05."
        )
    return rates


def _smooth(
    counts: ArrayLike, name: str, *, bin_width: float, sigma: float, sqrt: bool
) -> NDArray:
    rates = check(counts, name, ndim=(2, 3), advice=_NO_GAPS)
    if rates.min() < 0:
        where = describe_index(np.argwhere(rates < 0)[0])
        raise ValueError(
            f"{name} must not be negative, got {rates.min():g} (first at {where}). To smooth "
            "other activity use scipy.ndimage.gaussian_filter1d(X, sigma, axis=-2)."
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

    Sample i of the result lies ``i * new_dt`` after the first sample of `X`, which is kept. The
    last sample lies at or before the last sample of `X`, so nothing is extrapolated. (For binned
    counts, the first sample stands for the middle of the first bin.)

    Parameters
    ----------
    X : array-like of shape (n_trials, n_timesteps, n_neurons) or (n_timesteps, n_neurons), \
            list of arrays of shape (n_timesteps_k, n_neurons), or Recording
        Activity. Trials of an array may end in NaN, as :func:`pad_trials` makes them.
    new_dt : float
        Time between samples of the result, s, at most `dt`.
    dt : float, optional
        Time between samples of `X`, s. Required unless `X` is a recording, which has its own.
    kind : {"cubic", "linear", "pchip"}, default="cubic"
        Cubic spline, straight lines, or the monotone cubic interpolant, which never leaves the
        range of two neighbouring samples (rates stay non-negative). With fewer than four samples
        the cubic spline is the polynomial through them.

    Returns
    -------
    ndarray of shape (..., n_new_timesteps, n_neurons), list of arrays, or Recording
        Activity on the new grid, ``n_new_timesteps = floor((n_timesteps - 1) * dt / new_dt) + 1``.
        float32 if `X` is float32, float64 otherwise. A recording gives a recording, and a list of
        trials of unequal length gives a list.

    Raises
    ------
    ValueError
        If `new_dt` exceeds `dt`, there are fewer than two time steps, `kind` is unknown, or `X`
        holds NaN or infinity.

    Warns
    -----
    UserWarning
        If `dt` is at least 1000 times `new_dt`, which suggests that one of them is in
        milliseconds.

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
            f"dt={dt:g} and new_dt={new_dt:g} make {dt / new_dt:.4g} samples of each one. Both "
            "are in s: with dt=0.02, a grid of 10 ms is new_dt=0.01."
        )
    if not isinstance(X, Recording):
        return _each_length(partial(_resample, dt=dt, new_dt=new_dt, kind=kind), X, "X")
    new = _each_length(partial(_resample, dt=dt, new_dt=new_dt, kind=kind), X.X, "X")
    time = X.time[0] + new_dt * np.arange(new.shape[1])
    return X._changed(X=new, time=time, dt=float(new_dt))


def _resample(X: ArrayLike, name: str, *, dt: float, new_dt: float, kind: str) -> NDArray:
    X = check(X, name, ndim=(2, 3), min_timesteps=2, advice=_NO_GAPS)
    n_timesteps = X.shape[-2]
    # The small constant keeps the last sample if dt / new_dt is whole up to rounding.
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
    """Cut the same window around an event from each trial, or around each event of a recording.

    With `bin_width`, events and window are in seconds; without it, in bins. Epoch k holds bins
    ``event[k] + start, ..., event[k] + stop - 1`` of trial k, or of the continuous recording.
    Values (NaN included) and dtype do not change. Between two events it holds bins
    ``event[k, 0] + start, ..., event[k, 1] + stop - 1``, and shorter epochs end in NaN.

    Parameters
    ----------
    signal : sequence of n_trials arrays of shape (n_timesteps_k, n_channels), one array of \
            shape (sum of trial_length, n_channels) or (n_timesteps, n_channels), or Recording
        Spike counts, rates or behaviour: a sequence of trials, all trials one after another in
        one array, or (without `trial_length`) one continuous recording.
    event : array-like of shape (n_trials,) or (n_trials, 2), or str or sequence of str
        Time of the event from the beginning of its trial, s, or its bin, from 0. In one
        continuous recording: times or bins from its beginning, in increasing order. With two
        columns, epochs lie between two events. A negative or NaN entry means that a trial has no
        such event. For a ``Recording``: times on its time axis (NaN for none), or the name of one
        or two of its events.
    start, stop : float or int, default=0
        Beginning and end of the window. With two events, `start` is relative to the first and
        `stop` to the second. For -0.8 s to +0.6 s in bins of 50 ms, pass
        ``start=-0.8, stop=0.6, bin_width=0.05``, or ``start=-16, stop=12``.
    bin_width : float, optional
        Bin width, s. Says that `event`, `start` and `stop` are in seconds. A ``Recording`` has
        its own bin width and always takes seconds.
    trial_length : array-like of int of shape (n_trials,), optional
        Number of bins of each trial, if `signal` is one array of trials.
    drop : bool, default=False
        Leave out trials that have no event or do not contain the whole window, instead of raising
        an error.

    Returns
    -------
    epochs : ndarray of shape (n_trials, stop - start, n_channels), or Recording
        One epoch per trial that was kept. A ``Recording`` gives a recording with the same events,
        labels and names. Its time axis counts from the event; because events lie anywhere within
        their bins, it uses their mean position within the bin.
    kept : ndarray of int of shape (n_kept,)
        Indices of the trials in `epochs`. Only with ``drop=True``, and not for a ``Recording``,
        which keeps them in ``trials``.

    Raises
    ------
    ValueError
        If a trial has no event or does not contain the window (with ``drop=True``: if none does),
        if the events of one recording are not in increasing order, or if shapes do not match.
    TypeError
        If `start` or `stop` is not an integer and `bin_width` is not given.

    See Also
    --------
    bin_spikes : Bins spike times around events.

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

    One recording in bins of 0.1 s with three events, in seconds:

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
    """Cut epochs from arrays; bins before `earliest` mean that there is no event."""
    bins, first, last = _window(event, start, stop, bin_width)
    pair = bins.ndim == 2 and bins.shape[1] == 2
    if last <= first and not pair:
        raise ValueError(f"stop must be greater than start, got start={start}, stop={stop}.")
    # first and last event of each epoch, usually the same
    ends = bins if pair else np.stack([bins, bins], axis=-1)
    if trial_length is None and _is_one_array(signal) and ends.ndim == 2:
        recording = np.asarray(signal)
        _refuse_disorder(ends[:, 0], recording.shape)
        trials = [recording] * len(ends)
    else:
        trials = _split_trials(signal, trial_length)
    if ends.shape != (len(trials), 2):
        raise ValueError(
            f"event must hold one entry for each of the {len(trials)} trials, "
            f"got shape {bins.shape}."
        )
    has_event = ends.min(axis=1) >= earliest  # False for NaN
    fractional = np.flatnonzero(has_event & (ends != np.floor(ends)).any(axis=1))
    if len(fractional):
        k = fractional[0]
        raise ValueError(
            f"event must be whole bins within the trial, got {_spoken(ends[k])} for trial {k}. "
            "For seconds pass bin_width too."
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
            "smaller window, or pass drop=True to leave such trials out."
        )
    if len(kept) == 0:
        raise ValueError(
            f"None of the {len(trials)} trials holds {window}. {advice}. Choose a smaller window."
        )
    cuts = [trials[k][int(begin[k]) : int(end[k])] for k in kept]
    epochs = pad_trials(cuts) if pair else np.stack(cuts)
    return (epochs, kept) if drop else epochs


def _window(event: Any, start: Any, stop: Any, bin_width: Any) -> tuple[NDArray, int, int]:
    """Convert events and window to bins; events given in bins may still be fractional."""
    bins = as_numbers(event, "event")
    window = {"start": start, "stop": stop}
    if bin_width is None:
        for name, value in window.items():
            if not isinstance(value, Integral) or isinstance(value, bool):
                raise TypeError(
                    f"{name} must be an int, a number of bins relative to the event, got "
                    f"{value!r}. For seconds pass bin_width too."
                )
        return bins, start, stop
    check_number(bin_width, "bin_width", low=0, closed=False, unit="s")
    for name, value in window.items():
        check_number(value, name, unit="s")
        window[name] = whole_bins(value, bin_width, name)
    return np.floor(bins / bin_width + SLIVER), window["start"], window["stop"]


def _spoken(bins: NDArray) -> str:
    """Write the bin of an event, or the bins of two, for a message."""
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
    """Cut epochs from a recording; returns a recording."""
    if bin_width is not None or trial_length is not None:
        raise TypeError(
            "A Recording knows its bins and trials: leave out bin_width and trial_length."
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
    # time from the beginning of the first bin; time[0] is its middle
    since = times - rec.time[0] + rec.dt / 2
    # an event may lie before the first bin while its window lies within the trial
    cut_of = _cut(trials, since, start, stop, rec.dt, None, drop, earliest=-np.inf)
    X, kept = cut_of if drop else (cut_of, np.arange(len(rec)))
    out = np.setdiff1d(np.arange(len(rec)), kept)
    # events lie anywhere within their bins: the mean offset sets the time axis
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
    """Pad trials of unequal length with NaN to make one array.

    :class:`~jedi_sklearn.JEDIEstimator` treats NaN as missing samples. Smooth and resample the
    trials before you pad them.

    Parameters
    ----------
    trials : sequence of n_trials arrays of shape (n_timesteps_k, n_neurons)
        Trials that begin at the same event.
    length : int, optional
        Number of samples of each padded trial. Default: that of the longest trial, which is also
        the minimum.

    Returns
    -------
    ndarray of shape (n_trials, length, n_neurons)
        Padded trials. The dtype is float32 if that of all trials is, float64 otherwise.

    Raises
    ------
    ValueError
        If a trial is longer than `length`, is not 2-D, or has other neurons than the first one.
    TypeError
        If trials do not hold real numbers, or `length` is not an integer.

    See Also
    --------
    cut_epochs : Cuts the same window around an event from all trials.

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
    """Return the time between samples: that of the recording, or the one passed."""
    if isinstance(X, Recording):
        if step is not None and not np.isclose(step, X.dt):
            raise ValueError(f"{name}={step:g} s, but the Recording has samples every {X.dt:g} s.")
        return X.dt
    if step is None:
        raise TypeError(f"Pass {name}, the time between samples in s; only a Recording knows it.")
    check_number(step, name, low=0, closed=False, unit="s")
    return step


def _each_length(step: Callable[[Any, str], NDArray], X: Any, name: str) -> Any:
    """Apply a step to all trials at once if they have one length, otherwise to each of them."""
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
    """Raise if events of one recording are not in order: they may count from trial starts."""
    there = np.flatnonzero(bins >= 0)
    late = np.flatnonzero(np.diff(bins[there]) <= 0)
    if len(late):
        k, j = there[late[0]], there[late[0] + 1]
        raise ValueError(
            f"signal of shape {shape} without trial_length is one recording, in which each event "
            f"must come after the one before, but event {j} is in bin {bins[j]:g} and event {k} "
            f"in bin {bins[k]:g}. If these are bins within trials, pass trial_length; otherwise "
            "sort them."
        )


def _split_trials(
    signal: Any, trial_length: ArrayLike | None, name: str = "signal"
) -> list[NDArray]:
    """Split the signal into a list of 2-D arrays (one per trial) with the same channels."""
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
