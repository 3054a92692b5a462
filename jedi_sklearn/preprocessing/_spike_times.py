"""Spike times and events in the forms in which labs have them, as arrays."""

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

BLOCK = 2**20  # spikes worked on at a time: some 50 MB
MAX_TABLE = 2**24  # span of whole-number ids that are looked up in a table


class SpikeTimes:
    """Spike times in blocks, each sorted, with the column of the neuron that fired them."""

    def __init__(self, spikes: Any, neurons: Sequence[Any] | None) -> None:
        self.column: Callable[[NDArray], NDArray] | None = None
        if isinstance(spikes, tuple):
            self._read_pairs(spikes, neurons)
        else:
            self._read_lists(spikes, neurons)

    def _read_pairs(self, spikes: tuple[Any, ...], neurons: Any) -> None:
        if len(spikes) != 2:
            raise TypeError(
                f"A tuple of spikes must be (times, ids), got {len(spikes)} entries. Give a list "
                "with one array of times for each neuron."
            )
        times = _flat(spikes[0], "times")
        ids = np.ravel(as_labels(spikes[1], "ids"))
        if len(times) != len(ids):
            raise ValueError(
                f"(times, ids) must have one id for each spike, got {len(times)} times and "
                f"{len(ids)} ids. Give a list, not a tuple, of one array for each of two neurons."
            )
        if ids.dtype.kind == "f":
            if not (ids % 1 == 0).all():
                raise ValueError(
                    "ids must be whole numbers or names of neurons, got "
                    f"{ids[ids % 1 != 0][0]:g}. Are times and ids in this order?"
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
                    "spikes must be a list with one array of times for each neuron, or the tuple "
                    f"(times, ids), got {got}. Give [times] of a single neuron, and counts to a "
                    "Recording."
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
                        f"neurons names {listed(missing)}, which spikes does not hold. It holds "
                        f"{listed(given)}."
                    )
                trains = [trains[where[name]] for name in names.tolist()]
        if not trains:
            raise ValueError("spikes must hold at least 1 neuron, got 0.")
        self.names = names
        self.times = [_flat(train, f"spikes[{i}]") for i, train in enumerate(trains)]
        if named is None and len(trains) == 2 and _are_ids(*self.times[::-1]):
            raise ValueError(
                f"spikes is a list of {len(self.times[0])} times and as many whole numbers, which "
                "look like ids: give a tuple (times, ids). If they are times of a second neuron, "
                "give a mapping of names to times."
            )

    def scan(self) -> None:
        """Learn the number of spikes, the first and last one, and how finely they are told."""
        self.n, self.first, self.last = 0, math.inf, -math.inf
        self.resolution, self.precision = 0.0, ""
        for i, times in enumerate(self.times):
            self.n += len(times)
            for block in in_blocks(times):
                low, high = float(block.min()), float(block.max())
                if not math.isfinite(high - low):
                    of = "" if self.column else f" of neuron {self.names[i]}"
                    raise ValueError(
                        f"Spike times{of} must not hold NaN or infinity. Leave these out."
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
                    if (codes < 0).any():  # neurons that were not asked for
                        block, codes = block[codes >= 0], codes[codes >= 0]
                if (block[1:] < block[:-1]).any():
                    order = np.argsort(block)
                    block, codes = block[order], codes if np.ndim(codes) == 0 else codes[order]
                yield block, codes


def in_blocks(times: NDArray) -> Iterator[NDArray]:
    return (times[i : i + BLOCK] for i in range(0, len(times), BLOCK))


def _flat(times: Any, name: str) -> NDArray:
    """Spike times as one axis of real numbers in their own dtype."""
    array = as_plain_array(
        times_of(times), name, "Give one array of times, over the whole recording."
    )
    if array.dtype == object or not array.size:
        array = as_numbers(array, name)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold times in s, real numbers, got dtype {array.dtype}.")
    if array.size != max(array.shape, default=1):
        raise ValueError(
            f"{name} must hold the times of one neuron, on one axis, got shape {array.shape}."
        )
    return array.reshape(-1)


def _are_ids(values: NDArray, times: NDArray) -> bool:
    """Whether these are ids of the neurons that fired at `times`, not times of another one."""
    if len(values) != len(times) or len(values) < 2:
        return False
    if values.dtype.kind in "iu" and times.dtype.kind == "f":
        return True
    with np.errstate(invalid="ignore"):  # infinite times are refused later
        whole = bool((values % 1 == 0).all())
    # a neuron does not fire twice at one time, let alone at most of them
    return whole and len(np.unique(values)) <= len(values) / 2


def _distinct(neurons: Any) -> NDArray:
    names = as_labels(list(neurons), "neurons")
    if names.ndim != 1 or not len(names) or len(set(names.tolist())) < len(names):
        raise ValueError(f"neurons must be different names, got {listed(names.tolist())}.")
    return names


def _columns(ids: NDArray, names: NDArray | None) -> tuple[NDArray, Callable[[NDArray], NDArray]]:
    """Names of neurons, and what turns ids into their columns, -1 where they have none."""
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
    """Times of all events by name, and the names of those that begin and end the epochs."""
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
                "events must hold one time for each trial, or two, shape (n_trials,) or "
                f"(n_trials, 2), got {values.shape}."
            )
    times = {name: _event_times(values, name) for name, values in named.items()}
    if align is None and (pair or len(times) == 1):
        align = list(times)
    ends = [align] if isinstance(align, str) else list(align or ())
    if len(ends) not in (1, 2) or any(name not in times for name in ends):
        raise ValueError(
            "align must be the event at time 0, or the two between which trials lie, of "
            f"{', '.join(map(repr, times))}, got {align!r}."
        )
    n_trials = len(times[ends[0]])
    for name, values in times.items():
        if len(values) != n_trials or not n_trials:
            raise ValueError(
                f"events must hold one time for each trial (at least one), got {len(values)} of "
                f"{name!r} and {n_trials} of {ends[0]!r}."
            )
        if np.isinf(values).any():
            raise ValueError(f"{name!r} of trial {np.argmax(np.isinf(values))} is infinite.")
    return times, ends[0], ends[-1]


def _event_times(values: Any, name: str) -> NDArray:
    try:
        array = as_labels(times_of(values), "events")
        if array.dtype == bool:
            raise TypeError("events must be times, got dtype bool.")
        times = np.atleast_1d(as_numbers(array, "events"))
    except TypeError as error:
        raise TypeError(
            f"{name!r} is no event: {error} Choose the columns that are, e.g. "
            'table[["go", "end"]].'
        ) from error
    if times.ndim > 1 and times.shape[1:] != (1,):
        raise ValueError(
            f"{name!r} must hold one time for each trial, shape (n_trials,), got {times.shape}. "
            "Two columns are two events: give each a name."
        )
    return times.reshape(-1)
