"""Bin spike times around events into counts of trials x time x neurons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._plausible import IMPROBABLE
from .._validation import as_numbers, check_number, check_option, listed, warn_user
from ._common import SLIVER, merge_intervals, repeated, whole_bins
from ._foreign import intervals_of, is_from
from ._recording import Recording, as_names
from ._spike_times import BLOCK, SpikeTimes, read_events

__all__ = ["bin_spikes"]

TOO_LONG = 1e5  # s: no session lasts 28 hours, but one of 100 s seems to if its times are in ms
COARSE = 0.1  # of a bin: times of this resolution put many spikes in the wrong bin
SLOWEST = 0.1  # spikes/s, mean of all neurons: times in ms would need 100 spikes/s to reach it
FAR = 100  # ratio of event to spike times beyond which one of them seems to have another unit
TOO_MANY = 100  # overlapping epochs: a window of ms taken as s makes a thousand
LONG_WINDOW = 50  # s: windows in s hardly reach so far, those in ms do
MANY = 5  # overlapping epochs of this length
NOT_RECORDED, BEYOND = "not recorded", "beyond the spikes"


def bin_spikes(
    spikes: Any,
    events: Any,
    *,
    bin_width: float,
    start: float = 0.0,
    stop: float | None = None,
    align: str | Sequence[str] | None = None,
    labels: ArrayLike | None = None,
    trials: ArrayLike | None = None,
    neurons: Sequence[Any] | None = None,
    recorded: ArrayLike | None = None,
    incomplete: Literal["drop", "nan"] = "drop",
    min_rate: float = 0.0,
) -> Recording:
    """Count the spikes of each trial, bin and neuron around an event, or between two.

    All times are in seconds on one clock. A bin includes its beginning and excludes its end;
    spikes within rounding of an edge belong to the later bin. Epochs may overlap.

    Parameters
    ----------
    spikes : list of arrays, (times, ids), mapping, or table
        Spike times of the whole recording, s, in any order. Either a list with one array per
        neuron; a mapping of neuron names to arrays; a tuple of all times and the id of the neuron
        that fired each spike; a pynapple ``TsGroup``; a pandas Series of arrays; or a pandas
        DataFrame with a column ``spike_times`` of arrays.
    events : array-like of shape (n_trials,) or (n_trials, 2), mapping, or table
        Event times, s, in order; NaN where a trial has no such event. With two columns, each
        trial lies between the first and the second event. Or several events: a mapping of names
        to times, a DataFrame whose columns are all event times, or a pynapple ``IntervalSet``
        (events "start" and "end"). Choose among them with `align`; the result keeps all of them
        in ``events``.
    bin_width : float
        Width of a bin, s.
    start : float, default=0.0
        Beginning of the epochs relative to the event (the first of two), s.
    stop : float, optional
        End of the epochs relative to the event, s, a whole number of bins after `start`. With
        two events it is relative to the second and 0 by default; each epoch then has as many
        whole bins as fit and ends in NaN, as :func:`pad_trials` does.
    align : str or pair of str, optional
        Event at time 0, or the two events between which the trials lie. Default: the only event,
        or the two columns.
    labels : array-like of shape (n_trials,), optional
        Condition of each trial. Trials that are left out lose their label too.
    trials : array-like of shape (n_trials,), optional
        Trial names, used in messages and in the result. Default: the indices.
    neurons : sequence, optional
        For a list of arrays, the names of the neurons. For input with ids or names, the neurons
        to count, in this order; with (times, ids) these may include neurons without a spike.
        Default: all.
    recorded : (start, stop) or array-like of shape (n_intervals, 2), optional
        When the recording ran, s. Default: the time support of a ``TsGroup``; otherwise from the
        first to the last spike, extended on both sides by the longest silence that is still
        plausible at the mean rate of all neurons together (probability above 1e-6).
    incomplete : {"drop", "nan"}, default="drop"
        Whether to drop trials that were not recorded in full, or to set their bins that were not
        recorded to NaN.
    min_rate : float, default=0.0
        Leave out neurons that fire less than this over all epochs, spikes/s.

    Returns
    -------
    Recording
        Counts (float32) in ``X``, bin centres in ``time``, names of the trials and neurons that
        were kept in ``trials`` and ``neurons``. ``dropped_trials`` and ``dropped_neurons`` say
        what was left out and why.

    Raises
    ------
    ValueError
        If there are no spikes, no trial is left, most trials lie beyond the spikes, events are
        not in order, a spike time is NaN, a time is infinite, the window is not a whole number of
        bins, or lengths do not match.
    TypeError
        If spikes or events come in none of these forms.

    Warns
    -----
    UserWarning
        If trials are left out, neurons are silent in all epochs, or times do not look like
        seconds. Also if all neurons are silent in a trial and chance hardly explains it
        (probability below 1e-6): without `recorded`, a pause in the recording is not known, and
        its counts are 0.
        If spikes or events are none of the above.

    See Also
    --------
    cut_epochs : Cuts counts or other signals that are already sampled.
    smooth_counts : Makes rates from counts.

    Examples
    --------
    Two neurons, three trials:

    >>> from jedi_sklearn.preprocessing import bin_spikes
    >>> spikes = [[0.11, 0.31, 1.12, 2.3, 3.1], [0.2, 1.29, 1.3, 2.35]]  # s
    >>> rec = bin_spikes(spikes, [0.1, 1.1, 2.1], start=0, stop=0.3, bin_width=0.1)
    >>> rec.X[:, :, 1]
    array([[0., 1., 0.],
           [0., 1., 1.],
           [0., 0., 1.]], dtype=float32)
    >>> rec.time.round(3)
    array([0.05, 0.15, 0.25])

    Between two events; the trials keep the times of all events:

    >>> events = {"cue": [0.1, 1.1, 2.1], "go": [0.2, 1.3, 2.2], "end": [0.4, 1.4, 2.4]}
    >>> rec = bin_spikes(spikes, events, align=("cue", "end"), bin_width=0.1, labels=list("aba"))
    >>> rec
    Recording(3 trials x 3 samples x 2 neurons, 0.05 to 0.25 s from "cue", dt=0.1 s)
    >>> rec[rec.labels == "a"].events["go"].round(3)
    array([0.1, 0.1])
    """
    check_number(bin_width, "bin_width", Real, low=0, closed=False, unit="s")
    check_number(start, "start", unit="s")
    check_number(min_rate, "min_rate", low=0, unit="spikes/s")
    check_option(incomplete, "incomplete", ("drop", "nan"))
    source = SpikeTimes(spikes, neurons)
    times, zero, end = read_events(events, align)
    n_trials = len(times[zero])
    if labels is not None:
        labels = as_names(labels, "labels", n_trials, "trial")
    trials = np.arange(n_trials) if trials is None else trials
    trials = as_names(trials, "trials", n_trials, "trial")
    twice = repeated(trials.tolist())
    if twice:
        raise ValueError(
            f"trials must be different names, got {listed(twice)} more than once. Add something "
            "that tells these trials apart, such as the block number."
        )
    _refuse_disorder(times[zero], zero, trials)

    source.scan()
    # a bin sets the tolerance, unless the clock is far from 0 and rounding is larger: four
    # roundings add up, those of an event, its epoch, a bin edge and a spike
    farthest = max(source.farthest, *(_farthest(times[name]) for name in (zero, end)))
    sliver = max(SLIVER * bin_width, 4 * float(np.spacing(farthest)))
    begin, n_bins = _epochs(times[zero], times[end], start, stop, bin_width, sliver, zero == end)
    why: dict[int, str] = {}
    for name in dict.fromkeys((zero, end)):
        _note(why, np.isnan(times[name]), f'no "{name}"')
    _note(why, n_bins < 1, f'"{end}" is not a bin after "{zero}"')
    intervals, known = _intervals(recorded, source, spikes, sliver)
    if incomplete == "drop":
        lacking = ~_inside(begin, n_bins * bin_width, sliver, intervals)
    else:
        lows = (b + bin_width * np.arange(n) for b, n in zip(begin, n_bins, strict=True))
        lacking = np.array([not _inside(low, bin_width, sliver, intervals).any() for low in lows])
    _note(why, lacking, NOT_RECORDED if known else BEYOND)
    kept = np.setdiff1d(np.arange(n_trials), list(why))
    there = _inside(times[zero][~np.isnan(times[zero])], 0.0, sliver, intervals)
    window = (start, stop or 0.0) if there.sum() > len(there) / 2 else None
    _refuse_loss(why, trials, window, times[zero], source)
    begin, n_bins = begin[kept], n_bins[kept]
    doubted = _warn_of_units(times[zero], source, n_bins, bin_width, begin)

    n_longest = int(n_bins.max())
    X = np.zeros((len(kept), n_longest, len(source.names)), dtype=np.float32)
    for t, codes in source.blocks():
        _count(X, t, codes, begin, n_bins, bin_width, sliver)
    total = X.sum(axis=(0, 1), dtype=float)
    if not total.any():
        where = _units(times[zero], source)
        raise ValueError(f"No spike lies in any of the {len(kept)} epochs. {where}")
    if why:
        _warn_of_loss(why, trials)
    if not known and not doubted:
        _warn_of_pauses(X, n_bins * bin_width, begin, trials[kept])
    seen = np.arange(n_longest) < n_bins[:, np.newaxis]  # (trials, bins)
    if incomplete == "nan":
        low = begin[:, np.newaxis] + bin_width * np.arange(n_longest)
        seen &= _inside(low, bin_width, sliver, intervals)
    X[~seen] = np.nan
    rate = total / (seen.sum() * bin_width)
    fires = rate >= min_rate
    if not fires.any():
        raise ValueError(
            f"No neuron reaches min_rate={min_rate:g} spikes/s in the epochs; the most active one "
            f"fires {rate.max():.3g} spikes/s. Lower min_rate."
        )
    if not doubted:  # silence is what wrong units look like
        _warn_of_silent(source.names[fires & (total == 0)], len(source.names))
    rec = Recording(
        X if fires.all() else X[:, :, fires],
        time=start + bin_width * (np.arange(n_longest) + 0.5),
        dt=bin_width,
        events={name: (t - times[zero])[kept] for name, t in times.items()},
        labels=None if labels is None else labels[kept],
        neurons=source.names[fires],
        trials=trials[kept],
        align=zero,
        unit="spikes per bin",
    )
    names = trials.tolist()
    rec.dropped_trials = {names[k]: reason for k, reason in sorted(why.items())}
    rec.dropped_neurons = {
        name: f"{r:.3g} spikes/s"
        for name, r in zip(source.names[~fires].tolist(), rate[~fires], strict=True)
    }
    return rec


# ---------------------------------------------------------------------------- counting


def _epochs(
    first: NDArray,
    second: NDArray,
    start: float,
    stop: Any,
    width: float,
    sliver: float,
    around_one: bool,
) -> tuple[NDArray, NDArray]:
    """Find when epochs begin and how many whole bins each has (0 if an event is missing)."""
    if stop is None and around_one:
        raise TypeError("Pass stop, the end of the epochs relative to the event, in s.")
    stop = 0.0 if stop is None else stop
    check_number(stop, "stop", unit="s")
    begin = first + start
    if around_one:
        if stop <= start:
            raise ValueError(f"stop must be greater than start, got start={start}, stop={stop}.")
        return begin, np.full(len(begin), whole_bins(stop - start, width, "stop - start"))
    n_bins = np.floor((second + stop - begin + sliver) / width)
    return begin, np.where(n_bins > 0, n_bins, 0).astype(int)


def _count(
    X: NDArray,
    t: NDArray,
    codes: Any,
    begin: NDArray,
    n_bins: NDArray,
    width: float,
    sliver: float,
) -> None:
    """Add sorted spike times of the neurons `codes` to the counts `X` of the epochs."""
    # shift the edges back by the tolerance, so that rounding moves no spike to an earlier bin
    begin = begin - sliver
    first = np.searchsorted(t, begin)
    each = np.searchsorted(t, begin + n_bins * width) - first
    hit = np.flatnonzero(each)
    _, n_timesteps, n_neurons = X.shape
    counts = X.reshape(-1)
    # overlapping epochs may hold many times the spikes of the block
    parts = np.split(hit, np.flatnonzero(np.diff(each[hit].cumsum() // BLOCK)) + 1)
    for trials in parts:
        n = each[trials]
        trial = np.repeat(trials, n)
        at = np.arange(len(trial)) + np.repeat(first[trials] - (n.cumsum() - n), n)
        index = ((t[at] - begin[trial]) / width).astype(np.intp)
        np.minimum(index, n_bins[trial] - 1, out=index)  # where the division rounds up
        index += trial * n_timesteps
        index *= n_neurons
        index += codes if np.ndim(codes) == 0 else codes[at]
        np.add.at(counts, index, np.float32(1))


def _inside(low: NDArray, duration: Any, sliver: float, intervals: NDArray) -> NDArray:
    """Tell which stretches of time lie within an interval, up to rounding."""
    i = np.searchsorted(intervals[:, 0], low + sliver, side="right") - 1
    return (i >= 0) & (low + duration - sliver <= intervals[np.maximum(i, 0), 1])


def _farthest(times: NDArray) -> float:
    """Largest distance of an event from time 0, s."""
    return float(np.fmax.reduce(np.abs(times), initial=0.0))


def _intervals(
    recorded: Any, source: SpikeTimes, spikes: Any, sliver: float
) -> tuple[NDArray, bool]:
    """Find when the recording ran (n, 2), and whether this is known or guessed."""
    if recorded is None and is_from(spikes, "pynapple", "TsGroup"):
        recorded = spikes.time_support
    if recorded is None:
        rate = source.n / (source.last - source.first) if source.last > source.first else 0.0
        silence = -math.log(IMPROBABLE) / rate if rate else math.inf
        return np.array([[source.first - silence, source.last + silence]]), False
    intervals = np.atleast_2d(as_numbers(intervals_of(recorded), "recorded"))
    flat = intervals.ravel()
    if intervals.shape[1:] != (2,) or not len(flat) or not (np.diff(flat) >= -sliver).all():
        raise ValueError(
            "recorded must be (start, stop) in s, or one such row per interval, in order, "
            f"got {recorded!r}."
        )
    return merge_intervals(intervals, sliver), True


# ------------------------------------------------------------------------------- texts


def _note(why: dict[int, str], out: Any, reason: str) -> None:
    """Note the reason for leaving out trials that have no reason yet."""
    for k in np.flatnonzero(out).tolist():
        why.setdefault(k, reason)


def _reasons(why: dict[int, str], trials: NDArray) -> str:
    by = {
        reason: [trials[k] for k, r in sorted(why.items()) if r == reason]
        for reason in why.values()
    }
    return "; ".join(f"{reason} (trial {listed(trials)})" for reason, trials in by.items())


def _refuse_disorder(times: NDArray, name: str, trials: NDArray) -> None:
    there = np.flatnonzero(~np.isnan(times))
    late = np.flatnonzero(np.diff(times[there]) < 0)
    if len(late):
        k, j = there[late[0]], there[late[0] + 1]
        raise ValueError(
            f'"{name}" of trial {trials[j]} ({times[j]:g} s) is before that of trial {trials[k]} '
            f"({times[k]:g} s). Events must be in order, on the clock of the spikes. If these are "
            "times within trials, add the start time of each trial; otherwise sort the trials "
            "and their labels."
        )


def _units(times: NDArray, source: SpikeTimes) -> str:
    """Describe where events and spikes lie, and which of them may be in the wrong unit."""
    text = (
        f"Spikes lie between {source.first:.6g} and {source.last:.6g} s, events between "
        f"{np.nanmin(times):.6g} and {np.nanmax(times):.6g} s."
    )
    ratio = _ratio(times, source)
    what = "events" if ratio > FAR else "spikes" if ratio < 1 / FAR else None
    if what is None:
        return f"{text} Both must be on one clock."
    return (
        f"{text} Are the {what} in ms or samples? Divide by 1000, or by the sampling rate in Hz."
    )


def _ratio(times: NDArray, source: SpikeTimes) -> float:
    """Ratio of the largest event time to the largest spike time (distances from 0)."""
    return _farthest(times) / source.farthest if source.farthest else math.inf


def _refuse_loss(
    why: dict[int, str],
    trials: NDArray,
    window: tuple[float, float] | None,
    times: NDArray,
    source: SpikeTimes,
) -> None:
    """Raise if no trial is left, or if most of them lie where there are no spikes.

    `window` is given if most events lie within the recording, so that it may be to blame.
    """
    lost = sum(reason == BEYOND for reason in why.values())
    if len(why) < len(trials) and lost <= len(trials) / 2:
        return
    text = f"{len(why)} of {len(trials)} trials would be left out: {_reasons(why, trials)}."
    if not {NOT_RECORDED, BEYOND}.isdisjoint(why.values()):
        if window and (far := max(map(abs, window))) >= LONG_WINDOW:
            raise ValueError(
                f"{text} The events lie within the recording, but not the epochs from "
                f"{window[0]:g} to {window[1]:g} s around them. start, stop and bin_width are in "
                f"s: {far:g} ms are {far / 1000:g}."
            )
        text += f" {_units(times, source)}"
    if lost:
        text += " If the times are right, say when the recording ran: recorded=(start, stop)."
    raise ValueError(text)


def _warn_of_units(
    times: NDArray, source: SpikeTimes, n_bins: NDArray, bin_width: float, begin: NDArray
) -> bool:
    """Warn if times do not look like seconds; return whether it is those of spikes."""
    span = source.last - source.first
    rate = source.n / max(span, bin_width) / len(source.names)
    odd = source.whole or span > TOO_LONG
    slow = rate < SLOWEST and _ratio(times, source) < 1 / FAR
    if odd:
        what = "are all whole numbers" if source.whole else f"span {span:.4g} s"
        warn_user(
            f"Spike times {what}, but are taken as seconds. If they are in ms, divide them by "
            "1000; if they are samples, divide them by the sampling rate in Hz."
        )
    elif slow:
        warn_user(f"{_units(times, source)} Neurons fire {rate:.2g} spikes/s on average.")
    if source.resolution > COARSE * bin_width:
        remedy = "Measure times, including those of events, from the beginning of the session."
        if source.precision != "float64":
            remedy = "Store them as float64."
        warn_user(
            f"Spike times of {source.precision} near {source.last:.5g} s are no finer than "
            f"{source.resolution:.1g} s, which is coarse for bins of {bin_width:g} s. {remedy}"
        )
    if bin_width >= 1:
        warn_user(f"bin_width={bin_width:g} is in s. For bins of 20 ms pass bin_width=0.02.")
    duration = n_bins * bin_width
    overlap = np.searchsorted(begin, begin + duration) - np.arange(1, len(begin) + 1)
    if np.median(overlap) > (TOO_MANY if np.median(duration) < LONG_WINDOW else MANY):
        warn_user(
            f"Epochs of {np.median(duration):g} s overlap with {np.median(overlap):.0f} others. "
            "start and stop are in s: 500 ms are 0.5."
        )
    return odd or slow


def _warn_of_loss(why: dict[int, str], trials: NDArray) -> None:
    text = f"{len(why)} of {len(trials)} trials are left out: {_reasons(why, trials)}."
    if BEYOND in why.values():
        text += " If the neurons were merely silent there, say when the recording ran: recorded=."
    warn_user(f"{text} See trials and dropped_trials of the result.")


def _warn_of_pauses(X: NDArray, duration: NDArray, begin: NDArray, trials: NDArray) -> None:
    """Warn of epochs without any spike if chance does not explain the silence."""
    n_spikes = X.sum(axis=(1, 2), dtype=float)
    expected = n_spikes.sum() / duration.sum() * duration
    silent = np.flatnonzero((n_spikes == 0) & (expected > -math.log(IMPROBABLE)))
    if len(silent):
        warn_user(
            f"No neuron fires in {len(silent)} of {len(trials)} trials (trial "
            f"{listed(trials[silent].tolist())}; the first begins at {begin[silent[0]]:.6g} s), "
            f"where {expected[silent[0]]:.3g} spikes are expected. Did the recording pause? Then "
            "say when it ran: recorded=[(start, stop), ...]. If not, pass recorded=(start, stop)."
        )


def _warn_of_silent(names: NDArray, n_neurons: int) -> None:
    if len(names):
        warn_user(
            f"No spike in any epoch of {len(names)} of {n_neurons} neurons (neuron "
            f"{listed(names.tolist())}). Leave them out, e.g. with min_rate=0.1."
        )
