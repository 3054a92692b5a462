"""From spike times and events to counts of trials x time x neurons."""

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

TOO_LONG = 1e5  # s: no session lasts 28 hours, but 100 s in ms look as if it did
COARSE = 0.1  # of a bin: the resolution of times that moves many spikes to the next
SLOWEST = 0.1  # spikes/s of all neurons on average: no more than 100 spikes/s, if that is in ms
FAR = 100  # of events and spikes, where one is taken for another unit
TOO_MANY = 100  # epochs that overlap at a time: a window of ms taken as s makes a thousand
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

    All times are in seconds on one clock. A bin holds the spikes from its beginning on to before
    its end; what lies on the border to within rounding belongs to the later bin. Epochs may
    overlap.

    Parameters
    ----------
    spikes : list of arrays, (times, ids), mapping, or table
        Spike times of the whole recording, s, in any order: a list with one array for each
        neuron; a mapping of their names to arrays; a tuple of all times and the id of the neuron
        that fired each; a ``TsGroup`` of pynapple; a Series of pandas that holds arrays, or a
        DataFrame with such a column ``spike_times``.
    events : array-like of shape (n_trials,) or (n_trials, 2), mapping, or table
        Times of an event, s, in order; NaN where a trial has none. Two columns are the first and
        the second event between which a trial lies. A mapping of names to times, a DataFrame
        whose columns are all event times, or an ``IntervalSet`` of pynapple (events "start"
        and "end"): see `align`; all of its events are kept in ``events`` of the result.
    bin_width : float
        Width of a bin, s.
    start : float, default=0.0
        Beginning of the epochs relative to the event (of two the first), s.
    stop : float, optional
        Their end relative to the event, a whole number of bins after `start`; of two events
        relative to the second, 0 by default. An epoch between two events has as many whole bins
        as it holds, and NaN after its end, as :func:`pad_trials` has it.
    align : str or pair of str, optional
        Event at time 0, or the two between which the trials lie. Default: the only one, or the two
        columns.
    labels : array-like of shape (n_trials,), optional
        Condition of each trial, kept in step.
    trials : array-like of shape (n_trials,), optional
        Name of each trial, for messages and the result. Default: their indices.
    neurons : sequence, optional
        Of a list of arrays the names of the neurons. Of anything with ids or names those to count,
        in this order: of (times, ids) also neurons that fired no spike. Default: all.
    recorded : (start, stop) or array-like of shape (n_intervals, 2), optional
        When the recording ran, s. Default: the time support of a ``TsGroup``, else from the first
        to the last spike, and a silence beyond these that is no surprise at the mean rate of
        all neurons together (probability above 1e-6).
    incomplete : {"drop", "nan"}, default="drop"
        Trials that were not recorded as a whole are left out, or are NaN in the bins that were
        not recorded.
    min_rate : float, default=0.0
        Neurons that fire less in all epochs together are left out, spikes/s.

    Returns
    -------
    Recording
        ``X`` are the counts, float32, ``time`` the centres of the bins, ``trials`` the names of
        the trials that are kept, ``neurons`` the names of the neurons. ``dropped_trials`` and
        ``dropped_neurons`` say what was left out, and why.

    Warns
    -----
    UserWarning
        If trials are left out, neurons are silent in all epochs, times do not look like seconds,
        or all neurons are silent in a trial as they hardly are by chance (probability below
        1e-6): without `recorded` a pause of the recording is not known, and its counts are 0.

    Raises
    ------
    ValueError
        If no spike or no trial is left, most trials lie beyond the spikes, events are not in
        order, times are NaN (of spikes) or infinite, the window does not hold whole bins, or
        lengths do not agree.
    TypeError
        If spikes or events are none of the above.

    See Also
    --------
    cut_epochs : The same for counts or other signals that are already sampled.
    smooth_counts : Rates from counts.

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

    Between two events, of which the trials keep others, too:

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
            f"trials must be different names, got {listed(twice)} more than once. Add what tells "
            "these trials apart, such as the number of their block."
        )
    _refuse_disorder(times[zero], zero, trials)

    source.scan()
    # of a bin, but on a clock that counts from afar rounding is more; 4 steps are those of an
    # event, its epoch, a border and a spike
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
    _refuse_loss(why, trials, known, times[zero], source)
    begin, n_bins = begin[kept], n_bins[kept]
    _warn_of_units(times[zero], source, n_bins, bin_width, begin)

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
    if not known:
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
            f"No neuron fires {min_rate:g} spikes/s in the epochs; the most active one fires "
            f"{rate.max():.3g}. Lower min_rate."
        )
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
    """When epochs begin, and how many whole bins each has; none where an event is missing."""
    if stop is None and around_one:
        raise TypeError("Give stop, the end of the epochs relative to the event, in s.")
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
    """Add sorted spike times of the neurons `codes` to the counts X of epochs."""
    # borders lie a little earlier than they say, so that rounding moves no spike before them
    begin = begin - sliver
    first = np.searchsorted(t, begin)
    each = np.searchsorted(t, begin + n_bins * width) - first
    hit = np.flatnonzero(each)
    _, n_timesteps, n_neurons = X.shape
    counts = X.reshape(-1)
    # epochs that overlap may hold many times the spikes of the block
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
    """Which stretches of time lie within an interval, to within rounding."""
    i = np.searchsorted(intervals[:, 0], low + sliver, side="right") - 1
    return (i >= 0) & (low + duration - sliver <= intervals[np.maximum(i, 0), 1])


def _farthest(times: NDArray) -> float:
    """Largest distance of an event from time 0, s."""
    return float(np.fmax.reduce(np.abs(times), initial=0.0))


def _intervals(
    recorded: Any, source: SpikeTimes, spikes: Any, sliver: float
) -> tuple[NDArray, bool]:
    """When the recording ran, (n, 2), and whether that is known."""
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
            "recorded must be (start, stop), or a row of these for each interval, one after the "
            f"other, in s, got {recorded!r}."
        )
    return merge_intervals(intervals, sliver), True


# ------------------------------------------------------------------------------- texts


def _note(why: dict[int, str], out: Any, reason: str) -> None:
    """Note the reason of trials that have none yet."""
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
            "times within trials, add where each trial begins; if not, sort the trials and their "
            "labels."
        )


def _units(times: NDArray, source: SpikeTimes) -> str:
    """Where events and spikes lie, and what their units may be."""
    text = (
        f"Spikes lie from {source.first:.6g} to {source.last:.6g} s, events from "
        f"{np.nanmin(times):.6g} to {np.nanmax(times):.6g} s."
    )
    ratio = _ratio(times, source)
    what = "events" if ratio > FAR else "spikes" if ratio < 1 / FAR else None
    if what is None:
        return f"{text} Both must be on one clock."
    return (
        f"{text} Are the {what} in ms or samples? Divide by 1000, or by the sampling rate in Hz."
    )


def _ratio(times: NDArray, source: SpikeTimes) -> float:
    """How much farther from 0 events lie than spikes."""
    return _farthest(times) / source.farthest if source.farthest else math.inf


def _refuse_loss(
    why: dict[int, str], trials: NDArray, known: bool, times: NDArray, source: SpikeTimes
) -> None:
    """Raise where no trial is left, or where most lie where no spike is."""
    lost = sum(reason == BEYOND for reason in why.values())
    if len(why) < len(trials) and lost <= len(trials) / 2:
        return
    text = f"{len(why)} of {len(trials)} trials would be left out: {_reasons(why, trials)}."
    if not {NOT_RECORDED, BEYOND}.isdisjoint(why.values()):
        text += f" {_units(times, source)}"
    if lost:
        text += " If they are right, say when the recording ran: recorded=(start, stop)."
    raise ValueError(text)


def _warn_of_units(
    times: NDArray, source: SpikeTimes, n_bins: NDArray, bin_width: float, begin: NDArray
) -> None:
    """Warn of times that are hardly in seconds, but give counts."""
    span = source.last - source.first
    rate = source.n / max(span, bin_width) / len(source.names)
    if source.whole or span > TOO_LONG:
        what = "are all whole numbers" if source.whole else f"span {span:.4g} s"
        warn_user(
            f"Spike times {what}, but are taken as seconds. If they are ms, divide them by 1000; "
            "if they are samples, divide them by the sampling rate in Hz."
        )
    elif rate < SLOWEST and _ratio(times, source) < 1 / FAR:
        warn_user(f"{_units(times, source)} Neurons fire {rate:.2g} spikes/s on average.")
    if source.resolution > COARSE * bin_width:
        remedy = "Count time from the beginning of the session, also that of events."
        if source.precision != "float64":
            remedy = "Store them as float64."
        warn_user(
            f"Spike times of {source.precision} near {source.last:.5g} s are no finer than "
            f"{source.resolution:.1g} s, with bins of {bin_width:g} s. {remedy}"
        )
    if bin_width >= 1:
        warn_user(f"bin_width={bin_width:g} is in s. For bins of 20 ms give bin_width=0.02.")
    duration = n_bins * bin_width
    overlap = np.searchsorted(begin, begin + duration) - np.arange(1, len(begin) + 1)
    if np.median(overlap) > TOO_MANY:
        warn_user(
            f"Epochs of {np.median(duration):g} s overlap with {np.median(overlap):.0f} others. "
            "start and stop are in s: 500 ms are 0.5."
        )


def _warn_of_loss(why: dict[int, str], trials: NDArray) -> None:
    text = f"{len(why)} of {len(trials)} trials are left out: {_reasons(why, trials)}."
    if BEYOND in why.values():
        text += " Where nobody fired to the end, say when the recording ran: recorded=."
    warn_user(f"{text} The attributes trials and dropped_trials of the result say which.")


def _warn_of_pauses(X: NDArray, duration: NDArray, begin: NDArray, trials: NDArray) -> None:
    """Warn of epochs without any spike, where chance does not explain the silence."""
    n_spikes = X.sum(axis=(1, 2), dtype=float)
    expected = n_spikes.sum() / duration.sum() * duration
    silent = np.flatnonzero((n_spikes == 0) & (expected > -math.log(IMPROBABLE)))
    if len(silent):
        warn_user(
            f"No neuron fires in {len(silent)} of {len(trials)} trials (trial "
            f"{listed(trials[silent].tolist())}; the first begins at {begin[silent[0]]:.6g} s), "
            f"where {expected[silent[0]]:.3g} spikes are expected. Did the recording pause? Then "
            "say when it ran: recorded=[(start, stop), ...]. If not, recorded=(start, stop)."
        )


def _warn_of_silent(names: NDArray, n_neurons: int) -> None:
    if len(names):
        warn_user(
            f"No spike in any epoch of {len(names)} of {n_neurons} neurons (neuron "
            f"{listed(names.tolist())}). Leave them out, e.g. with min_rate=0.1."
        )
