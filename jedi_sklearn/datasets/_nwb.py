"""Load units and trials of an NWB file as counts, in a recording."""

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
    """Count the spikes of each trial, bin and neuron in an NWB file.

    The spikes of the units are counted around an event in each trial, or between two events, by
    :func:`jedi_sklearn.preprocessing.bin_spikes`. Only the tables and the spike times of the
    chosen units are read, so large files are no problem.

    Parameters
    ----------
    path : path or NWBFile
        NWB file (HDF5), or an NWBFile that pynwb has opened, for example from a server.
    bin_width : float
        Bin width, s.
    align : str or pair of str, default="start_time"
        Column of the trials with the event at time 0, or two columns with the events between
        which the trials lie, e.g. ``("start_time", "stop_time")``.
    start : float, default=0.0
        Beginning of the epochs relative to the event (the first of two), s.
    stop : float, optional
        End of the epochs relative to the event, s, a whole number of bins after `start`. With
        two events it is relative to the second and 0 by default.
    conditions : str or sequence of str, optional
        Column of the trials that becomes ``labels``. Values of several columns are joined, as in
        "left 0.5".
    trials : mapping or array-like, optional
        Which trials to use. A mapping selects by column: to a value, a list of values, or a
        function that takes the column and returns a mask, e.g.
        ``{"success": True, "rt": lambda t: t > 0.2}``. Otherwise trial ids or a mask.
        Default: all.
    units : mapping or array-like, optional
        Which units to use, in the same forms: ``{"quality": "good", "location": ["M1", "PMd"]}``.
        Columns of the electrodes table may be used too. Default: all.
    neurons : str, optional
        Column of the units, or of their electrodes, with neuron names, e.g. "location". If
        several units have the same name, ids are appended, as in "M1 12". Default: the ids of the
        units.
    events : sequence of str, optional
        Columns of the trials with event times to keep in ``events``, in addition to `align`.
        Default: all columns whose names end in "time" or "times" and whose times lie within the
        trials.
    recorded : (start, stop) or array-like of shape (n_intervals, 2), optional
        When the recording ran, s. Default: when all of the units were observed, if the file says
        so (``obs_intervals``); otherwise the default of `bin_spikes`.
    incomplete : {"drop", "nan"}, default="drop"
        Whether to drop trials that were not recorded in full, or to set their bins that were not
        recorded to NaN.
    min_rate : float, default=0.0
        Leave out neurons that fire less than this over all epochs, spikes/s.
    table : str, default="trials"
        Name of the table of intervals that holds the trials. Some files have one for each kind of
        stimulus.

    Returns
    -------
    Recording
        As from `bin_spikes`. ``trials`` are the trial ids in the file, or the rows of the table
        if ids repeat.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged or not in the NWB format; if it has no units, no trials, or lacks a
        column; if no unit or trial is selected; or for any reason given by `bin_spikes`.
    TypeError
        If an argument or a column has the wrong type.
    ImportError
        If pynwb is not installed.

    Warns
    -----
    UserWarning
        In the same cases as `bin_spikes`.

    See Also
    --------
    fetch_mc_maze : Downloads such a file.
    jedi_sklearn.preprocessing.bin_spikes : Bins spike times and events given as arrays.

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
                f"{did_you_mean(table, tables)} If the events are in another file, pass them "
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
    """Open the NWBFile of a path and close it at the end; reading errors name the file."""
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
        "If it was downloaded or copied, compare its size and checksum with those of the source. "
        "If it has another format, read its spike times and events with the reader for that "
        "format and pass them to bin_spikes."
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
    """List tables of intervals by name."""
    tables = {"trials": nwb.trials, "epochs": nwb.epochs, **dict(nwb.intervals or {})}
    return {name: table for name, table in tables.items() if table is not None}


class _Table:
    """Columns of a table by name, as arrays, including those of a table its rows point to."""

    def __init__(
        self, table: Any, name: str, linked: Mapping[str, Callable[[], NDArray]] | None = None
    ) -> None:
        self.table, self.name = table, name
        self.linked = linked or {}
        self.ids = np.asarray(table.id[:])
        if repeated(self.ids.tolist()):  # e.g. after tables were joined: ids identify no row
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
        """Find the indices of the selected rows."""
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
                        f"are {listed(self.ids.tolist())}. To select by a column pass a mapping, "
                        'e.g. {"quality": "good"}.'
                    )
                wanted = np.array([where[name] for name in wanted.tolist()], dtype=int)
            elif len(wanted) != len(self.ids):
                raise ValueError(
                    f"A mask for {what} must hold True or False for each of the {len(self.ids)} "
                    f"rows of {self.name}, got {len(wanted)}."
                )
        rows = np.arange(len(self.ids)) if wanted is None else wanted
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        if not len(rows):
            raise ValueError(f"{what} selects none of the {len(self.ids)} rows of {self.name}.")
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
            raise ValueError(f"{what} asks for {name} {allowed!r}, but the file has {there}.")
        return mask


def _values(column: Any, name: str) -> NDArray:
    """Read a column as an array, one value per row."""
    if is_from(column, "hdmf", "VectorIndex"):
        raise TypeError(f"The column {name!r} holds a list in each row; one value is needed.")
    if is_from(column, "hdmf", "DynamicTableRegion"):
        raise TypeError(
            f"The column {name!r} points to rows of another table; name a column of that table."
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
    """Decode bytes, name electrode groups; return anything else unchanged."""
    return value.decode() if isinstance(value, bytes) else getattr(value, "name", value)


def _electrodes(units: Any) -> dict[str, Callable[[], NDArray]]:
    """Map columns of the electrodes table to functions that read them for each unit."""
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
    """List event columns; by default all whose times are on the clock of the trials."""
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
        # a duration such as a reaction time lies within the trials only by chance
        if len(times) and np.mean((times >= low) & (times <= high)) > 0.5:
            found.append(name)
    return list(dict.fromkeys([*ends, *found]))


def _columns(value: Any, name: str) -> list[str]:
    """Check one or several column names; return a list."""
    names = list(value) if isinstance(value, (list, tuple)) else [value]
    if not names or not all(isinstance(column, str) for column in names):
        raise TypeError(f"{name} must be a column name or a list of them, got {value!r}.")
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
    """Find when all units were observed, (n_intervals, 2), s; None if the file does not say."""
    if "obs_intervals" not in units.colnames:
        return None
    each = [np.reshape(units["obs_intervals"][int(i)], (-1, 2)) for i in chosen]
    if not all(len(intervals) for intervals in each):
        return None
    starts, stops = np.concatenate([merge_intervals(some) for some in each]).T
    times = np.concatenate([starts, stops])
    opens = np.repeat([1, -1], len(starts))
    order = np.lexsort((-opens, times))  # if two intervals touch, the second opens first
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
