"""Read pynapple, xarray and pandas containers without importing these packages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._validation import TIME, as_numbers, listed

__all__ = [
    "intervals_of",
    "is_from",
    "per_neuron",
    "per_trial",
    "seconds_of",
    "times_of",
    "unpack",
]

TRIAL = ("trial", "epoch", "event", "repeat", "repetition", "presentation")
NEURON = ("neuron", "unit", "cell", "channel", "electrode", "cluster", "roi", "feature")
PER_SECOND = dict.fromkeys(("s", "sec", "second", "seconds"), 1.0) | dict.fromkeys(
    ("ms", "msec", "millisecond", "milliseconds"), 1000.0
)


def is_from(value: Any, package: str, name: str | None = None) -> bool:
    """Tell whether an object is an instance of a class of this package (and of this name)."""
    return any(
        kind.__module__.partition(".")[0] == package and name in (None, kind.__name__)
        for kind in type(value).__mro__
    )


def per_neuron(spikes: Any) -> tuple[list[Any], list[Any]] | None:
    """Read neuron names and spike times from a container that has names; otherwise None."""
    if is_from(spikes, "pandas", "DataFrame"):
        if "spike_times" not in spikes.columns:
            raise TypeError(
                "A table of spikes must have a column spike_times with one array per neuron, "
                f"got the columns {listed(list(spikes.columns))}. If each row is one spike, pass "
                'two columns: (table["time"], table["unit"]).'
            )
        spikes = spikes["spike_times"]
    if is_from(spikes, "pandas", "Series"):
        if spikes.dtype != object:
            raise TypeError(
                f"A Series of spikes must hold one array per neuron, got dtype "
                f"{spikes.dtype}. Pass (times, ids), or [times] for a single neuron."
            )
        return list(spikes.index), list(spikes)
    if isinstance(spikes, Mapping) or is_from(spikes, "pynapple", "TsGroup"):
        names = list(spikes.keys())
        return names, [spikes[name] for name in names]
    return None


def per_trial(events: Any) -> dict[str, Any] | None:
    """Read event times by name from a container that has names; otherwise None."""
    if is_from(events, "pynapple", "IntervalSet"):
        return {"start": events.start, "end": events.end}
    if isinstance(events, Mapping) or is_from(events, "pandas", "DataFrame"):
        return {str(name): events[name] for name in events.keys()}
    return None


def intervals_of(recorded: Any) -> Any:
    """Convert a pynapple IntervalSet to an array (n, 2); return anything else unchanged."""
    if is_from(recorded, "pynapple", "IntervalSet"):
        return np.stack([recorded.start, recorded.end], axis=1)
    return recorded


def times_of(values: Any) -> Any:
    """Extract the times (s) of a pynapple time series; return anything else unchanged."""
    return values.times() if is_from(values, "pynapple") else values


def unpack(X: Any) -> tuple[Any, dict[str, Any]]:
    """Convert an xarray or pandas container to (trials, time, neurons), with its axis names.

    Returns
    -------
    X : ndarray, or the input
    names : dict
        Keys "trials", "time" and "neurons" where the container names them; "unit", whether the
        unit of time is known; "moved", for a table, whether sorting changed the order of trials.
    """
    if is_from(X, "xarray", "Dataset"):
        raise TypeError(
            "X must be one array, got an xarray Dataset with the variables "
            f"{listed(list(X.data_vars))}: choose one of them."
        )
    if is_from(X, "xarray", "DataArray"):
        return _of_xarray(X)
    if is_from(X, "pandas", "DataFrame"):
        return _of_pandas(X)
    return X, {}


def _of_xarray(array: Any) -> tuple[NDArray, dict[str, Any]]:
    dims = _roles(list(array.dims))
    array = array.transpose(*dims)
    found = {}
    for name, dim in zip(("trials", "time", "neurons"), dims, strict=True):
        if dim in array.coords:
            coordinate = array.coords[dim]
            found[name] = coordinate.values
            if name == "time":
                unit = coordinate.attrs.get("units")
                found["unit"] = unit is not None or is_duration(coordinate.values)
                found[name] = seconds_of(coordinate.values, "s" if unit is None else unit)
    return array.values, found


def _roles(dims: list[Any]) -> list[Any]:
    """Find the dims of trials, time and neurons; that of time or neurons may have any name."""
    roles: list[Any] = [None] * 3
    rest = []
    second = False  # two dims name the same role, such as unit and channel
    for dim in dims:
        word = str(dim).lower().removesuffix("_id").removesuffix("s")
        known = [i for i, names in enumerate((TRIAL, TIME, NEURON)) if word in names]
        if known and roles[known[0]] is None:
            roles[known[0]] = dim
        else:
            rest.append(dim)
            second |= bool(known)
    if len(dims) != 3 or len(rest) > 1 or second or roles[0] is None:
        raise ValueError(
            f"X has the dims {tuple(dims)}; expected three, named trial, time and neuron in any "
            "order. Rename yours, e.g. X.rename({'dim_0': 'trial', 'dim_1': 'time'})."
        )
    return [rest[0] if dim is None else dim for dim in roles]


def _of_pandas(table: Any) -> tuple[NDArray, dict[str, Any]]:
    if table.index.nlevels != 2:
        raise ValueError(
            "A table of activity must have one row per trial and time, with an index of two "
            f"levels (trial, time), and one column per neuron; got {table.index.nlevels} "
            'level(s). Try table.set_index(["trial", "time"]).'
        )
    index = table.index.remove_unused_levels()
    words = [str(name).lower().removesuffix("s") for name in index.names]
    time = 0 if words[0] in TIME and words[1] not in TIME else 1
    if not index.is_unique:
        raise ValueError(
            f"A table of activity must have one row per trial and time, got {index.names} "
            f"{index[index.duplicated()][0]} more than once. Remove or average the duplicates."
        )
    trial_codes, time_codes = (np.asarray(index.codes[level]) for level in (1 - time, time))
    if min(trial_codes.min(initial=0), time_codes.min(initial=0)) < 0:
        row = np.argmax((trial_codes < 0) | (time_codes < 0))
        raise ValueError(
            f"A table of activity must name trial and time of each row, got {index.names} "
            f"{index[row]} in row {row}. Drop rows without a trial or a time."
        )
    trials, times = index.levels[1 - time], index.levels[time]
    X = np.full((len(trials), len(times), table.shape[1]), np.nan)
    X[trial_codes, time_codes] = table.to_numpy(float)
    first = np.unique(trial_codes, return_index=True)[1]
    found = {
        "trials": trials.to_numpy(),
        "time": seconds_of(times.to_numpy()),
        "unit": is_duration(times),
        "neurons": list(table.columns),
        "moved": bool((np.diff(first) < 0).any()),
    }
    return X, found


def is_duration(time: Any) -> bool:
    """Tell whether times are numpy durations (timedelta64), which carry their unit."""
    return np.asarray(time).dtype.kind == "m"


def seconds_of(time: Any, unit: str = "s") -> NDArray:
    """Convert numpy durations, or numbers in `unit`, to seconds as floats."""
    if is_duration(time):
        return np.asarray(time) / np.timedelta64(1, "s")
    if str(unit).lower() not in PER_SECOND:
        raise ValueError(f"time must be in s or ms, got the unit {unit!r}. Convert it to s.")
    return as_numbers(time, "time") / PER_SECOND[str(unit).lower()]
