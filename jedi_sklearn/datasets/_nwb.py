"""What does an NWB file hold of units and trials? Their counts, as a recording."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._validation import as_labels, did_you_mean, listed
from ..preprocessing import Recording, bin_spikes
from ..preprocessing._common import merge_intervals, repeated
from ..preprocessing._foreign import is_from

__all__ = ["load_nwb"]


def load_nwb(
    path: Any,
    *,
    bin_width: float,
    align: str | Sequence[str] = "start_time",
    start: float = 0.0,
    stop: float | None = None,
    conditions: str | Sequence[str] | None = None,
    trials: Mapping[str, Any] | ArrayLike | None = None,
    units: Mapping[str, Any] | ArrayLike | None = None,
    neurons: str | None = None,
    events: Sequence[str] | None = None,
    recorded: ArrayLike | None = None,
    incomplete: Literal["drop", "nan"] = "drop",
    min_rate: float = 0.0,
    table: str = "trials",
) -> Recording:
    """Count the spikes of each trial, bin and neuron of a file in the NWB format.

    Units are counted around an event of the trials, or between two, by
    :func:`jedi_sklearn.preprocessing.bin_spikes`. Of a large file only the tables are read, and
    the spike times of the chosen units.

    Parameters
    ----------
    path : path or NWBFile
        File in the NWB format (HDF5), or one that pynwb has opened, from a server, say.
    bin_width : float
        Width of a bin, s.
    align : str or pair of str, default="start_time"
        Column of the trials with the event at time 0, or two columns with the events between
        which the trials lie, as ``("start_time", "stop_time")``.
    start : float, default=0.0
        Beginning of the epochs relative to the event (of two the first), s.
    stop : float, optional
        Their end relative to the event, a whole number of bins after `start`; of two events
        relative to the second, 0 by default.
    conditions : str or sequence of str, optional
        Column of the trials that becomes ``labels``. Of several columns the values are joined, as
        "left 0.5".
    trials : mapping or array-like, optional
        Which trials: a mapping of columns to a value, a list of values, or a function of the
        column that says which are true, e.g. ``{"success": True, "rt": lambda t: t > 0.2}``. Or
        their ids, or a mask. Default: all.
    units : mapping or array-like, optional
        Which units, alike: ``{"quality": "good", "location": ["M1", "PMd"]}``. Columns of the
        electrodes count, too. Default: all.
    neurons : str, optional
        Column of the units, or of their electrodes, with names of the neurons, as "location".
        Where several have the same the id follows, as "M1 12". Default: the ids of the units.
    events : sequence of str, optional
        Columns of the trials with times of events, to be kept in ``events`` beside `align`.
        Default: all whose names end in "time" or "times", and whose times lie in the trials.
    recorded : (start, stop) or array-like of shape (n_intervals, 2), optional
        When the recording ran, s. Default: where all of the units were observed, if the file says
        so (``obs_intervals``); if not, as `bin_spikes` has it.
    incomplete : {"drop", "nan"}, default="drop"
        Trials that were not recorded as a whole are left out, or are NaN in the bins that were
        not recorded.
    min_rate : float, default=0.0
        Neurons that fire less in all epochs together are left out, spikes/s.
    table : str, default="trials"
        Table of intervals that are the trials; some files have one for each kind of stimulus.

    Returns
    -------
    Recording
        As of `bin_spikes`. ``trials`` are the ids of the trials in the file, or their rows where
        ids repeat.

    Warns
    -----
    UserWarning
        As `bin_spikes`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, or not in the NWB format; if it lacks units, trials, or a column;
        if no unit or trial is chosen; or for any reason that `bin_spikes` has.
    TypeError
        If an argument or a column is not what it should be.
    ImportError
        If pynwb is not installed.

    See Also
    --------
    fetch_mc_maze : Downloads such a file.
    jedi_sklearn.preprocessing.bin_spikes : The same for spike times and events as arrays.

    References
    ----------
    O. Rübel et al. (2022), "The Neurodata Without Borders ecosystem for neurophysiological data
    science", eLife 11:e78362.

    Examples
    --------
    A file with two units and three trials, not written to disk:

    >>> from datetime import datetime, timezone
    >>> from pynwb import NWBFile
    >>> from jedi_sklearn.datasets import load_nwb
    >>> nwb = NWBFile("reaching", "session 1", datetime(2020, 1, 1, tzinfo=timezone.utc))
    >>> nwb.add_unit(spike_times=[0.11, 0.31, 1.12, 2.3, 3.1])
    >>> nwb.add_unit(spike_times=[0.2, 1.29, 1.3, 2.35])
    >>> nwb.add_trial_column(name="target", description="where to")
    >>> for k, target in enumerate(["left", "right", "left"]):
    ...     nwb.add_trial(start_time=k + 0.1, stop_time=k + 0.9, target=target)
    >>> rec = load_nwb(nwb, bin_width=0.1, stop=0.3, conditions="target")
    >>> rec
    Recording(3 trials x 3 samples x 2 neurons, 0.05 to 0.25 s from "start_time", dt=0.1 s)
    >>> rec.labels
    array(['left', 'right', 'left'], dtype='<U5')
    """
    with _opened(path) as nwb:
        tables = _intervals(nwb)
        if table not in tables:
            there = ", ".join(map(repr, tables)) or "none"
            raise ValueError(
                f"The file has no table of intervals {table!r}, but {there}"
                f"{did_you_mean(table, tables)} Where the events are in another file, give them "
                "and the spike times to bin_spikes."
            )
        rows = _Table(tables[table], f"the table {table!r}")
        if nwb.units is None or "spike_times" not in nwb.units.colnames:
            raise ValueError(
                "The file has no spike times of units. Sort the spikes first, or choose another "
                "file of the session."
            )
        cells = _Table(nwb.units, "the table of units", _electrodes(nwb.units))
        kept, chosen = rows.choose(trials, "trials"), cells.choose(units, "units")
        times = {name: rows[name][kept] for name in _events(rows, align, events)}
        labels = None if conditions is None else _labels(rows, conditions)[kept]
        if recorded is None:
            recorded = _observed(nwb.units, chosen)
        names = _names(cells, neurons, chosen)
        spikes = [nwb.units["spike_times"][int(i)] for i in chosen]
    return bin_spikes(
        spikes,
        times,
        bin_width=bin_width,
        start=start,
        stop=stop,
        align=align,
        labels=labels,
        trials=rows.ids[kept],
        neurons=names.tolist(),
        recorded=recorded,
        incomplete=incomplete,
        min_rate=min_rate,
    )


@contextmanager
def _opened(path: Any) -> Iterator[Any]:
    """NWBFile of a path, closed at the end; whatever cannot be read says which file it is of."""
    if is_from(path, "pynwb", "NWBFile"):
        yield path
        return
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be that of an NWB file, or an NWBFile of pynwb, got {path!r}.")
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}. The current folder is {Path.cwd()}.")
    try:
        import pynwb
    except ImportError as error:
        raise ImportError(
            "load_nwb needs pynwb, which cannot be imported. Install it with "
            'pip install "jedi-sklearn[nwb]".'
        ) from error
    advice = (
        "If it was downloaded or copied, compare its size and checksum with those of the source; "
        "of a file in another format take spike times and events with its own reader, and give "
        "them to bin_spikes."
    )
    try:
        io = pynwb.NWBHDF5IO(os.fspath(path), "r", load_namespaces=True)
    except OSError as error:
        raise ValueError(f"{path} is damaged, or not HDF5: {error}. {advice}") from error
    with io:
        try:
            nwb = io.read()
        except Exception as error:  # of any kind, depending on what pynwb stumbles over
            raise ValueError(f"{path} is damaged, or not NWB: {error} {advice}") from error
        try:
            yield nwb
        except OSError as error:
            raise ValueError(f"{path} is damaged: {error}. {advice}") from error


def _intervals(nwb: Any) -> dict[str, Any]:
    """Tables of intervals by name."""
    tables = {"trials": nwb.trials, "epochs": nwb.epochs, **dict(nwb.intervals or {})}
    return {name: table for name, table in tables.items() if table is not None}


class _Table:
    """Columns of a table by name, as arrays, and of another one that its rows point to."""

    def __init__(
        self, table: Any, name: str, linked: Mapping[str, Callable[[], NDArray]] | None = None
    ) -> None:
        self.table, self.name = table, name
        self.linked = linked or {}
        self.ids = np.asarray(table.id[:])
        if repeated(self.ids.tolist()):  # as where tables were joined: they name no rows
            self.ids = np.arange(len(self.ids))

    @property
    def columns(self) -> list[str]:
        return ["id", *self.table.colnames, *self.linked]

    def __getitem__(self, name: str) -> NDArray:
        if name in self.table.colnames:
            return _values(self.table[name], name)
        if name == "id":
            return self.ids
        if name in self.linked:
            return self.linked[name]()
        raise ValueError(
            f"There is no column {name!r} in {self.name}, but {', '.join(map(repr, self.columns))}"
            f"{did_you_mean(name, self.columns)}"
        )

    def choose(self, wanted: Any, what: str) -> NDArray:
        """Indices of the rows that are asked for."""
        if isinstance(wanted, Mapping):
            mask = np.ones(len(self.ids), dtype=bool)
            for name, allowed in wanted.items():
                mask &= self._mask(name, allowed, what)
            wanted = mask
        elif wanted is not None:
            wanted = np.ravel(as_labels(wanted, what))
            if wanted.dtype != bool:
                twice = repeated(wanted.tolist())
                if twice:
                    raise ValueError(f"{what} names {listed(twice)} more than once.")
                where = {name: i for i, name in enumerate(self.ids.tolist())}
                missing = [name for name in wanted.tolist() if name not in where]
                if missing:
                    raise ValueError(
                        f"{what} names {listed(missing)}, which are no ids in {self.name}: these "
                        f"are {listed(self.ids.tolist())}. To choose by a column give a mapping, "
                        'as {"quality": "good"}.'
                    )
                wanted = np.array([where[name] for name in wanted.tolist()], dtype=int)
            elif len(wanted) != len(self.ids):
                raise ValueError(
                    f"{what} as a mask must say yes or no for each of the {len(self.ids)} rows of "
                    f"{self.name}, got {len(wanted)}."
                )
        rows = np.arange(len(self.ids)) if wanted is None else wanted
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        if not len(rows):
            raise ValueError(f"{what} leaves none of the {len(self.ids)} rows of {self.name}.")
        return rows

    def _mask(self, name: str, allowed: Any, what: str) -> NDArray:
        values = self[name]
        if callable(allowed):
            mask = np.asarray(allowed(values))
            if mask.dtype != bool or mask.shape != values.shape:
                raise TypeError(
                    f"The function for {name!r} in {what} must return True or False for each of "
                    f"{len(values)} rows, got {mask.dtype} of shape {mask.shape}."
                )
            return mask
        several = isinstance(allowed, (list, tuple, set, np.ndarray))
        options = list(allowed) if several else [allowed]
        mask = np.array([value in options for value in values.tolist()], dtype=bool)
        if not mask.any():
            there = listed(list(dict.fromkeys(values.tolist())))
            raise ValueError(f"{what} asks for {name} {allowed!r}, but in the file are {there}.")
        return mask


def _values(column: Any, name: str) -> NDArray:
    """Values of a column, one for each row."""
    if is_from(column, "hdmf", "VectorIndex"):
        raise TypeError(f"The column {name!r} holds a list in each row; one value is needed.")
    if is_from(column, "hdmf", "DynamicTableRegion"):
        raise TypeError(
            f"The column {name!r} points to rows of another table; name a column of that one."
        )
    values = column[:]
    if not isinstance(values, np.ndarray) or values.dtype == object:
        values = [_plain(value) for value in values]
    values = as_labels(values, name)
    if values.ndim != 1:
        raise TypeError(
            f"The column {name!r} holds {values.shape[1:]} values in each row; one is needed."
        )
    return values


def _plain(value: Any) -> Any:
    """Text of bytes, name of an electrode group; anything else as it is."""
    return value.decode() if isinstance(value, bytes) else getattr(value, "name", value)


def _electrodes(units: Any) -> dict[str, Callable[[], NDArray]]:
    """Columns of the electrodes, as functions that read them for each unit."""
    if "electrodes" not in units.colnames:
        return {}
    region = units["electrodes"]
    if is_from(region, "hdmf", "VectorIndex"):
        ends, region = np.asarray(region.data[:]), region.target
    else:
        ends = np.arange(len(units)) + 1
    each = np.split(np.asarray(region.data[:], dtype=int), ends[:-1])

    def read(name: str) -> NDArray:
        values = _values(region.table[name], name)
        found = [list(dict.fromkeys(values[rows].tolist())) for rows in each]
        if all(len(some) == 1 for some in found):
            return as_labels([some[0] for some in found], name)
        return np.array(["/".join(map(str, some)) for some in found])

    names = [name for name in region.table.colnames if name not in units.colnames]
    return {name: partial(read, name) for name in names}


def _events(rows: _Table, align: Any, events: Any) -> list[str]:
    """Columns with times of events; of those that nobody named, all on the clock of the trials."""
    ends = _columns(align, "align")
    if events is not None:
        return list(dict.fromkeys([*ends, *_columns(events, "events")]))
    first, last = rows["start_time"], rows["stop_time"]
    found = []
    for name in rows.table.colnames:
        if not name.lower().endswith(("time", "times")):
            continue
        if is_from(rows.table[name], "hdmf", "VectorIndex"):
            continue
        times = rows[name]
        if times.dtype.kind != "f" or np.isinf(times).any():
            continue
        times, low, high = (some[~np.isnan(times)] for some in (times, first, last))
        # a duration, such as a reaction time, is on the clock of the session only by chance
        if len(times) and np.mean((times >= low) & (times <= high)) > 0.5:
            found.append(name)
    return list(dict.fromkeys([*ends, *found]))


def _columns(value: Any, name: str) -> list[str]:
    """Names of columns, where one or several may be given."""
    names = list(value) if isinstance(value, (list, tuple)) else [value]
    if not names or not all(isinstance(column, str) for column in names):
        raise TypeError(f"{name} must be the name of a column, or a list of some, got {value!r}.")
    return names


def _labels(rows: _Table, conditions: Any) -> NDArray:
    if isinstance(conditions, str):
        return rows[conditions]
    columns = [rows[name].tolist() for name in _columns(conditions, "conditions")]
    return np.array([" ".join(map(str, values)) for values in zip(*columns, strict=True)])


def _names(cells: _Table, neurons: Any, chosen: NDArray) -> NDArray:
    ids = cells.ids[chosen]
    if neurons is None:
        return ids
    names = cells[neurons][chosen]
    if len(set(names.tolist())) == len(names):
        return names
    return np.array([f"{name} {i}" for name, i in zip(names.tolist(), ids, strict=True)])


def _observed(units: Any, chosen: NDArray) -> NDArray | None:
    """When all of the units were observed, (n_intervals, 2), s; None where that is not told."""
    if "obs_intervals" not in units.colnames:
        return None
    each = [np.reshape(units["obs_intervals"][int(i)], (-1, 2)) for i in chosen]
    if not all(len(intervals) for intervals in each):
        return None
    starts, stops = np.concatenate([merge_intervals(some) for some in each]).T
    times = np.concatenate([starts, stops])
    opens = np.repeat([1, -1], len(starts))
    order = np.lexsort((-opens, times))  # of two intervals that touch the second opens first
    times, count = times[order], np.cumsum(opens[order])
    full = count >= len(each)
    begins = np.flatnonzero(full & ~np.r_[False, full[:-1]])
    common = np.stack([times[begins], times[np.flatnonzero(~full & np.r_[False, full[:-1]])]], 1)
    common = common[common[:, 1] > common[:, 0]]
    if not len(common):
        raise ValueError(
            f"At no time were all {len(each)} units observed (obs_intervals of the file). Choose "
            "units that were, or say when the recording ran: recorded=(start, stop)."
        )
    return common
