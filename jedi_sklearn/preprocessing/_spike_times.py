"""Read spike times and events in the forms in which labs keep them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._validation import (
    as_labels,
    as_list_of_trials,
    as_numbers,
    as_plain_array,
    listed,
)
from ._foreign import is_from, per_neuron, per_trial, times_of

__all__ = ["BLOCK", "SpikeTimes", "read_events"]

BLOCK = 2**20  # spikes processed at a time: about 50 MB
MAX_TABLE = 2**24  # range of integer ids up to which columns are looked up in a table


class SpikeTimes:
    """Spike times in sorted blocks, with the column of the neuron that fired each spike."""

    def __init__(self, spikes: Any, neurons: Sequence[Any] | None) -> None:
        self.column: Callable[[NDArray], NDArray] | None = None
        if isinstance(spikes, tuple):
            self._read_pairs(spikes, neurons)
        else:
            self._read_lists(spikes, neurons)

    def _read_pairs(self, spikes: tuple[Any, ...], neurons: Any) -> None:
        if len(spikes) != 2:
            raise TypeError(
                f"A tuple of spikes must be (times, ids), got {len(spikes)} entries. For one "
                "array of times per neuron pass a list."
            )
        times = _flat(spikes[0], "times")
        ids = np.ravel(as_labels(spikes[1], "ids"))
        if len(times) != len(ids):
            raise ValueError(
                f"(times, ids) must have one id per spike, got {len(times)} times and "
                f"{len(ids)} ids. For one array of times per neuron pass a list, not a tuple."
            )
        if ids.dtype.kind == "f":
            if not (ids % 1 == 0).all():
                raise ValueError(
                    "ids must be whole numbers or names of neurons, got "
                    f"{ids[ids % 1 != 0][0]:g}. The order is (times, ids): are they swapped?"
                )
            ids = ids.astype(int)
        names = None if neurons is None else _distinct(neurons)
        self.names, self.column = _columns(ids, names)
        self.times, self.ids = [times], ids

    def _read_lists(self, spikes: Any, neurons: Any) -> None:
        named = per_neuron(spikes)
        if named is None:
            spikes = as_list_of_trials(spikes)
            flat = isinstance(spikes, (np.ndarray, str)) or not isinstance(spikes, Iterable)
            if flat or (len(spikes) and all(isinstance(train, Real) for train in spikes)):
                got = f"{type(spikes).__name__} of shape {np.shape(spikes)}"
                raise TypeError(
                    "spikes must be a list with one array of times per neuron, or a tuple "
                    f"(times, ids), got {got}. For a single neuron pass [times]. If you have "
                    "counts, make a Recording of them."
                )
            trains = list(spikes)
            names = np.arange(len(trains))
            if neurons is not None:
                names = _distinct(neurons)
                if len(names) != len(trains):
                    raise ValueError(
                        f"neurons must name each of the {len(trains)} neurons in spikes, got "
                        f"{len(names)} names."
                    )
        else:
            given, trains = named
            names = _distinct(given) if given else np.arange(0)
            if neurons is not None:
                names = _distinct(neurons)
                where = {name: i for i, name in enumerate(given)}
                missing = [name for name in names.tolist() if name not in where]
                if missing:
                    raise ValueError(
                        f"neurons names {listed(missing)}, but spikes has no such neuron. It has "
                        f"{listed(given)}."
                    )
                trains = [trains[where[name]] for name in names.tolist()]
        if not trains:
            raise ValueError("spikes must hold at least 1 neuron, got 0.")
        self.names = names
        if named is None:
            self.times = [_flat(train, f"spikes[{i}]") for i, train in enumerate(trains)]
        else:
            pairs = zip(names.tolist(), trains, strict=True)
            self.times = [_flat_of_name(train, name) for name, train in pairs]
        if named is None and len(trains) == 2 and _are_ids(*self.times[::-1]):
            raise ValueError(
                f"spikes is a list of {len(self.times[0])} times and as many whole numbers, which "
                "look like ids: pass a tuple (times, ids). If they are the times of a second "
                "neuron, pass a mapping of names to times."
            )

    def scan(self) -> None:
        """Find the number of spikes, the first and last one, and the resolution of the times."""
        self.n, self.first, self.last = 0, math.inf, -math.inf
        self.resolution, self.precision = 0.0, ""
        for i, times in enumerate(self.times):
            self.n += len(times)
            for block in in_blocks(times):
                low, high = float(block.min()), float(block.max())
                if not math.isfinite(high - low):
                    of = "" if self.column else f" of neuron {self.names[i]}"
                    raise ValueError(
                        f"Spike times{of} must not hold NaN or infinity. Remove these entries."
                    )
                self.first, self.last = min(self.first, low), max(self.last, high)
                if block.dtype.kind == "f":
                    step = float(np.spacing(block.dtype.type(max(-low, high))))
                    if step > self.resolution:
                        self.resolution, self.precision = step, str(block.dtype)
        if not self.n:
            raise ValueError("spikes holds no spike at all.")
        self.whole = all(times.dtype.kind in "iu" for times in self.times if len(times))

    @property
    def farthest(self) -> float:
        """Largest distance of a spike from time 0, s."""
        return max(abs(self.first), abs(self.last))

    def blocks(self) -> Iterator[tuple[NDArray, Any]]:
        for i, times in enumerate(self.times):
            for k, block in enumerate(in_blocks(times)):
                block = block.astype(float, copy=False)
                codes: Any = i
                if self.column is not None:
                    codes = self.column(self.ids[k * BLOCK : (k + 1) * BLOCK])
                    if (codes < 0).any():  # neurons that were not selected
                        block, codes = block[codes >= 0], codes[codes >= 0]
                if (block[1:] < block[:-1]).any():
                    order = np.argsort(block)
                    block, codes = block[order], codes if np.ndim(codes) == 0 else codes[order]
                yield block, codes


def in_blocks(times: NDArray) -> Iterator[NDArray]:
    return (times[i : i + BLOCK] for i in range(0, len(times), BLOCK))


def _flat(times: Any, name: str) -> NDArray:
    """Check spike times and return them as a 1-D array in their own dtype."""
    array = as_plain_array(
        times_of(times), name, "Pass one array of times for the whole recording."
    )
    if array.dtype == object or not array.size:
        array = as_numbers(array, name)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold times in s, real numbers, got dtype {array.dtype}.")
    if array.size != max(array.shape, default=1):
        raise ValueError(
            f"{name} must hold the times of one neuron in a 1-D array, got shape {array.shape}."
        )
    return array.reshape(-1)


def _flat_of_name(times: Any, name: Any) -> NDArray:
    """Check the times under a name, which may be that of something else in the same file."""
    try:
        return _flat(times, f"spikes[{name!r}]")
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{error} If {name!r} is not a neuron, select the neurons: neurons=[...] with their "
            "names."
        ) from error


def _are_ids(values: NDArray, times: NDArray) -> bool:
    """Tell whether values are the ids of the spikes at `times`, not times of a second neuron."""
    if len(values) != len(times) or len(values) < 2:
        return False
    if values.dtype.kind in "iu" and times.dtype.kind == "f":
        return True
    with np.errstate(invalid="ignore"):  # infinite times raise an error later
        whole = bool((values % 1 == 0).all())
    # a neuron cannot fire twice at the same time, let alone at most times
    return whole and len(np.unique(values)) <= len(values) / 2


def _distinct(neurons: Any) -> NDArray:
    names = as_labels(list(neurons), "neurons")
    if names.ndim != 1 or not len(names) or len(set(names.tolist())) < len(names):
        raise ValueError(f"neurons must be different names, got {listed(names.tolist())}.")
    return names


def _columns(ids: NDArray, names: NDArray | None) -> tuple[NDArray, Callable[[NDArray], NDArray]]:
    """Find the neuron names, and a function from ids to their columns (-1 where none)."""
    if names is None and not len(ids):
        raise ValueError("spikes holds no spike at all.")
    numbers = ids.dtype.kind in "iu"
    if names is not None and len(ids) and numbers != (names.dtype.kind in "iu"):
        raise ValueError(
            f"neurons must be ids as in spikes, such as {ids[0]!r}, got {listed(names.tolist())}."
        )
    low, high = (int(ids.min()), int(ids.max())) if numbers and len(ids) else (0, 0)
    if numbers and high - low < MAX_TABLE:
        table = np.full(high - low + 1, -1)
        if names is None:
            for block in in_blocks(ids):
                table[block.astype(int) - low] = 0
            names = np.flatnonzero(table == 0) + low
        there = (names >= low) & (names <= high)
        table[names[there] - low] = np.flatnonzero(there)
        return names, lambda some: table[some.astype(int) - low]
    names = np.unique(ids) if names is None else names
    order = np.argsort(names)

    def column(some: NDArray) -> NDArray:
        at = order[np.minimum(np.searchsorted(names, some, sorter=order), len(names) - 1)]
        return np.where(names[at] == some, at, -1)

    return names, column


def read_events(events: Any, align: Any) -> tuple[dict[str, NDArray], str, str]:
    """Read all event times by name, and the names of the events that begin and end the epochs."""
    named = per_trial(events)
    pair = is_from(events, "pynapple", "IntervalSet")
    if named is None:
        values = as_numbers(times_of(events), "events")
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        if values.ndim == 1:
            named = {"event": values}
        elif values.ndim == 2 and values.shape[1] == 2:
            named, pair = {"start": values[:, 0], "end": values[:, 1]}, True
        else:
            raise ValueError(
                "events must hold one or two times per trial, shape (n_trials,) or "
                f"(n_trials, 2), got {values.shape}."
            )
    times = {name: _event_times(values, name) for name, values in named.items()}
    if align is None and (pair or len(times) == 1):
        align = list(times)
    ends = [align] if isinstance(align, str) else list(align or ())
    if len(ends) not in (1, 2) or any(name not in times for name in ends):
        raise ValueError(
            "align must be the event at time 0, or the two events between which trials lie, out "
            f"of {', '.join(map(repr, times))}, got {align!r}."
        )
    n_trials = len(times[ends[0]])
    for name, values in times.items():
        if len(values) != n_trials or not n_trials:
            raise ValueError(
                f"events must hold one time per trial and at least one trial, got {len(values)} "
                f"of {name!r} and {n_trials} of {ends[0]!r}."
            )
        if np.isinf(values).any():
            raise ValueError(
                f"{name!r} of trial {np.argmax(np.isinf(values))} is infinite. Use NaN where a "
                "trial has no such event."
            )
    return times, ends[0], ends[-1]


def _event_times(values: Any, name: str) -> NDArray:
    try:
        array = as_labels(times_of(values), "events")
        if array.dtype == bool:
            raise TypeError("events must be times, got dtype bool.")
        times = np.atleast_1d(as_numbers(array, "events"))
    except TypeError as error:
        raise TypeError(
            f"{name!r} is not an event: {error} Select the columns that are, e.g. "
            'table[["go", "end"]].'
        ) from error
    if times.ndim > 1 and times.shape[1:] != (1,):
        raise ValueError(
            f"{name!r} must hold one time per trial, shape (n_trials,), got {times.shape}. "
            "Two columns are two events: give each its own name."
        )
    return times.reshape(-1)
