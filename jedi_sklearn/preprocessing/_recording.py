"""Keep a time axis, events, labels and neuron names together with trials."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._plausible import warn_of_axes
from .._validation import as_labels, check_number, listed, warn_user
from ._common import check
from ._foreign import seconds_of, unpack

__all__ = ["Recording", "as_names", "check_events", "time_axis"]

UNEVEN = 1e-3  # of a step: far above rounding (float32 included), far below one lost sample


class Recording:
    """Trials with their time axis, event times, labels and neuron names.

    The array is ``rec.X``. ``np.asarray(rec)`` returns it too, so you can pass a recording
    wherever `X` is expected. Selecting trials, with ``rec[mask]`` or ``train_test_split(rec)``,
    selects their events, labels and names along with them. Displays take the time axis, event
    lines, labels and names from the recording. Estimators use labels only if you pass them, as in
    ``est.fit(rec, rec.labels)``.

    Parameters
    ----------
    X : array-like of shape (n_trials, n_timesteps, n_neurons)
        Counts, rates or another measure of activity; NaN where a sample is missing. An xarray
        DataArray works too, with dims named trial, time and neuron in any order, as does a pandas
        DataFrame with one row per (trial, time) and one column per neuron. Names and times are
        taken from them.
    time : array-like of shape (n_timesteps,), optional
        Times of the samples (bin centres), s, evenly spaced. Default: from 0 in steps of `dt`.
    dt : float, optional
        Time between samples, s. Required without `time`.
    events : mapping of str to array-like of shape (n_trials,) or float, optional
        Event times on the time axis of each trial, s; NaN where a trial has no such event.
    labels : array-like of shape (n_trials,), optional
        Condition of each trial.
    neurons : array-like of shape (n_neurons,), optional
        Names of the neurons. Default: 0, 1, ...
    trials : array-like of shape (n_trials,), optional
        Trial names, or their indices in the data they were selected from. Default: 0, 1, ...
    align : str, optional
        Event at time 0.
    unit : str, default="a.u."
        Unit of `X`, for axis labels.

    Attributes
    ----------
    X : ndarray of shape (n_trials, n_timesteps, n_neurons)
        Activity; float32 if the input was float32, float64 otherwise.
    time : ndarray of shape (n_timesteps,)
        Sample times, s.
    dt : float
        Time between samples, s.
    events : dict of str to ndarray of shape (n_trials,)
        Event times, s.
    labels : ndarray of shape (n_trials,) or None
        Condition of each trial.
    neurons : ndarray of shape (n_neurons,)
        Neuron names.
    trials : ndarray of shape (n_trials,)
        Trial names or indices.
    align : str or None
        Event at time 0.
    unit : str
        Unit of `X`.
    dropped_trials, dropped_neurons : dict
        Trials and neurons that :func:`bin_spikes` or :func:`cut_epochs` left out, with the reason.

    Raises
    ------
    ValueError
        If shapes do not match, a table has a row without a trial or time, times are not evenly
        spaced, or the axes cannot be identified. Also if sorting a table changed the order of its
        trials, because labels and other values given in the old order might then go to the wrong
        trials.
    TypeError
        If an argument has the wrong type.

    Warns
    -----
    UserWarning
        If times in a DataArray or a table are 1 s or more apart and have no unit, or if the axes
        of an array seem to be in another order.

    See Also
    --------
    bin_spikes : Makes a recording from spike times and events.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn.preprocessing import Recording
    >>> X = np.random.default_rng(0).normal(size=(4, 50, 3))
    >>> rec = Recording(X, dt=0.02, labels=["left", "right"] * 2, events={"go": [0.2, 0.3] * 2})
    >>> left = rec[rec.labels == "left"]
    >>> left
    Recording(2 trials x 50 samples x 3 neurons, 0 to 0.98 s, dt=0.02 s)
    >>> left.events["go"], left.trials
    (array([0.2, 0.2]), array([0, 2]))
    """

    ndim = 3
    in_memory = True  # unlike other array containers, which read blocks from disk

    def __init__(
        self,
        X: ArrayLike,
        *,
        time: ArrayLike | None = None,
        dt: float | None = None,
        events: Mapping[str, ArrayLike] | None = None,
        labels: ArrayLike | None = None,
        neurons: ArrayLike | None = None,
        trials: ArrayLike | None = None,
        align: str | None = None,
        unit: str = "a.u.",
    ) -> None:
        X, named = unpack(X)
        self.X: NDArray = check(X, missing=True)
        if not named:  # containers name their axes
            warn_of_axes(self.X)
        n_trials, n_timesteps, n_neurons = self.X.shape
        untold = time is None and dt is None and not named.get("unit", True)
        time = named.get("time") if time is None else time
        self.time, self.dt = time_axis(time, dt, n_timesteps)
        if untold and self.dt >= 1:
            warn_user(
                f"Times of X have no unit and are taken as s: {self.dt:g} s from sample to "
                "sample. If they are in ms or frames, pass times in s with time=. "
                f"If they are in s, confirm it with dt={self.dt:g}."
            )
        self.events = check_events(events, n_trials)
        if named.get("moved"):
            each: dict[str, Any] = {"labels": labels, "trials": trials, **(events or {})}
            _refuse_positions([k for k, v in each.items() if np.ndim(v) > 0], named["trials"])
        if labels is not None:
            labels = as_names(labels, "labels", n_trials, "trial")
        self.labels: NDArray | None = labels
        neurons = named.get("neurons") if neurons is None else neurons
        neurons = np.arange(n_neurons) if neurons is None else neurons
        self.neurons = as_names(neurons, "neurons", n_neurons, "neuron")
        trials = named.get("trials") if trials is None else trials
        trials = np.arange(n_trials) if trials is None else trials
        self.trials = as_names(trials, "trials", n_trials, "trial")
        if align is not None and align not in self.events:
            listed_events = ", ".join(map(repr, self.events)) or "but no events were given"
            raise ValueError(f"align must be one of the events, {listed_events}, got {align!r}.")
        self.align, self.unit = align, unit
        self.dropped_trials: dict[Any, str] = {}
        self.dropped_neurons: dict[Any, str] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of trials, samples and neurons."""
        return self.X.shape

    @property
    def dtype(self) -> np.dtype:
        """Data type of `X`."""
        return self.X.dtype

    def __len__(self) -> int:
        return len(self.X)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        X = self.X if dtype is None else self.X.astype(dtype, copy=False)
        return X.copy() if copy and X is self.X else X

    def __getitem__(self, index: Any) -> Self:
        """Select trials by slice, mask, indices or a single index; returns a recording."""
        if isinstance(index, tuple):  # scikit-learn asks for [index, ...]
            index, *rest = index
            if any(part is not Ellipsis for part in rest):
                raise TypeError(
                    "A recording is indexed by trials alone, as in rec[mask]. To select times or "
                    "neurons, index its array: rec.X[:, start:stop]."
                )
        which = np.atleast_1d(np.arange(len(self))[index])
        return self._changed(
            X=self.X[index] if isinstance(index, slice) else self.X[which],
            events={name: times[which] for name, times in self.events.items()},
            labels=None if self.labels is None else self.labels[which],
            trials=self.trials[which],
        )

    def _changed(self, **changes: Any) -> Self:
        """Copy the recording with some attributes replaced."""
        other = object.__new__(type(self))
        vars(other).update(vars(self) | changes)
        return other

    def __repr__(self) -> str:
        n_trials, n_timesteps, n_neurons = self.shape
        text = f"{n_trials} trials x {n_timesteps} samples x {n_neurons} neurons"
        around = "" if self.align is None else f' from "{self.align}"'
        text += f", {self.time[0]:g} to {self.time[-1]:g} s{around}, dt={self.dt:g} s"
        for what, out in (("trials", self.dropped_trials), ("neurons", self.dropped_neurons)):
            text += f", {what} left out: {len(out)}" if out else ""
        return f"Recording({text})"


def _refuse_positions(given: list[str], trials: NDArray) -> None:
    """Raise if values are given by trial position and sorting a table changed that order."""
    if given:
        raise ValueError(
            f"The trials of the table are taken in sorted order, {listed(trials.tolist())}, but "
            f"appear in another order, so that {', '.join(given)} might go to the wrong trials. "
            "Sort the table first with table.sort_index(), then pass values in that order; "
            "Recording(table).trials shows it."
        )


def check_events(events: Any, n_trials: int) -> dict[str, NDArray]:
    """Check event times; return them by name, one time per trial (n_trials,)."""
    if events is None:
        return {}
    if not isinstance(events, Mapping):
        raise TypeError(
            'events must be a mapping of names to times, e.g. {"go": times} with one time per '
            f"trial, got {type(events).__name__}."
        )
    checked = {}
    for name, times in events.items():
        values = seconds_of(times)
        if values.shape not in ((), (n_trials,)):
            raise ValueError(
                f"events[{name!r}] must be one time, or one for each of the {n_trials} trials, "
                f"got shape {values.shape}."
            )
        checked[str(name)] = np.broadcast_to(values, (n_trials,)).copy()
    return checked


def time_axis(time: Any, dt: Any, n_timesteps: int) -> tuple[NDArray, float]:
    """Check the sample times and the step between them; each can be derived from the other."""
    if dt is not None:
        check_number(dt, "dt", Real, low=0, closed=False, unit="s")
    if time is None:
        if dt is None:
            raise TypeError("Pass the time between samples (dt, in s) or all times (time, in s).")
        return float(dt) * np.arange(n_timesteps), float(dt)
    time = seconds_of(time)
    if time.shape != (n_timesteps,):
        raise ValueError(
            f"time must hold one time for each of the {n_timesteps} samples, got shape "
            f"{time.shape}."
        )
    if dt is None:
        if n_timesteps < 2:
            raise TypeError("dt cannot be derived from a single sample: pass dt, in s.")
        dt = (time[-1] - time[0]) / (n_timesteps - 1)
    step = np.diff(time)
    if not np.isfinite(time).all() or not dt > 0 or (np.abs(step - dt) > UNEVEN * dt).any():
        got = f"from {step.min():g} to {step.max():g} s" if step.size else f"at {time[0]} s"
        raise ValueError(
            f"time must increase in even steps (of dt={dt:g} s), got steps {got}. Interpolate "
            "onto an even grid first."
        )
    return time, float(dt)


def as_names(values: Any, name: str, n: int, word: str) -> NDArray:
    """Check labels or names, one per item (n,)."""
    array = as_labels(values, name)
    if array.shape != (n,):
        raise ValueError(
            f"{name} must hold one entry for each of the {n} {word}s, got shape {array.shape}."
        )
    return array
