"""Read trials from where they are stored: memory maps and arrays that return slices on request.

An array in memory is used as it is. A larger one (more than `LARGE` values) that is not in memory
is read a few trials at a time and never held as a whole: an ``np.memmap``, or anything with a
shape, a dtype and slices (HDF5, Zarr, Dask).
"""

from __future__ import annotations

import mmap

import numpy as np

__all__ = ["FILL", "StoredTrials", "is_large", "is_stored", "loaded", "part", "refuse_masked"]

LARGE = 2**25  # values: 256 MB of float64
BLOCK = 2**20  # values read at a time when going through all trials: 4 MB of float32
FILL = (
    "NaN stands for a missing sample: pass {0}.filled(np.nan), or "
    "dask.array.ma.filled({0}, np.nan) for a Dask array."
)


class StoredTrials:
    """Array (n_trials, n_timesteps, n_neurons) whose trials are read when indexed.

    Parameters
    ----------
    source : array-like with shape, dtype and slices
        Stored trials.
    rows : ndarray of int, optional
        Indices of the trials, in order. Default: all.
    """

    ndim = 3

    def __init__(self, source, rows=None):
        self.source = source
        self.rows = np.arange(source.shape[0]) if rows is None else rows
        self.dtype = np.dtype(np.float32 if source.dtype == np.float32 else np.float64)

    @property
    def shape(self):
        return (len(self.rows), *self.source.shape[1:])

    def __len__(self):
        return len(self.rows)

    def __iter__(self):
        each = max(1, BLOCK // (self.source.shape[1] * self.source.shape[2]))
        for first in range(0, len(self), each):
            yield from self[first : first + each]

    def __getitem__(self, index):
        """Read one trial by its number, or several by a slice or an array, as new floats."""
        rows = self.rows[index]
        if rows.ndim == 0:
            return self._read(rows[np.newaxis])[0]
        return self._read(rows)

    def _read(self, rows):
        out = np.empty((len(rows), *self.source.shape[1:]), self.dtype)
        order = np.argsort(rows)
        runs = np.split(order, 1 + np.flatnonzero(np.diff(rows[order]) != 1)) if len(rows) else []
        for run in runs:  # of consecutive trials
            values = loaded(self.source[int(rows[run[0]]) : int(rows[run[-1]]) + 1])
            refuse_masked(values)
            out[run] = values
        _release(self.source)
        return out


def is_stored(X):
    """Tell whether X is an array of trials that should stay where it is stored."""
    if isinstance(X, np.ma.MaskedArray) or (isinstance(X, np.ndarray) and _mapped(X) is None):
        return False
    if getattr(X, "in_memory", False):  # a Recording
        return False
    if not all(hasattr(X, name) for name in ("shape", "dtype", "__getitem__", "__len__")):
        return False
    if len(X.shape) != 3 or getattr(X.dtype, "kind", None) not in ("f", "i", "u", "b"):
        return False
    if any(n != n for n in X.shape):
        raise ValueError(
            f"X has the shape {X.shape}, part of which is unknown until it is computed. Call "
            "X.compute_chunk_sizes() first."
        )
    return is_large(int(np.prod([int(n) for n in X.shape])))


def is_large(n_values):
    """Return whether so many values, if stored, are left where they are."""
    return n_values > LARGE


def part(X, index):
    """Select some trials by a slice or an array, without reading them if they are stored."""
    return StoredTrials(X.source, X.rows[index]) if isinstance(X, StoredTrials) else X[index]


def loaded(X):
    """Load an array into memory with its mask, which Dask otherwise drops in the conversion."""
    return np.asanyarray(X.compute() if hasattr(X, "compute") else X)


def refuse_masked(X, name="X", cure=FILL):
    """Raise an error if values are masked."""
    if np.ma.is_masked(X):
        raise ValueError(
            f"{name} has masked values, which would be taken as data. {cure.format(name)}"
        )


def _mapped(array):
    """Find the file behind an ``np.memmap`` (or a view of one) that holds all of its data.

    Other mappings, and memmaps of mode "c", may hold data that exists nowhere else.
    """
    in_file = False
    while array is not None and not isinstance(array, mmap.mmap):
        in_file |= isinstance(array, np.memmap) and array.mode in ("r", "r+", "w+")
        array = getattr(array, "base", None)
    return array if in_file else None


def _release(array):
    """Release the pages that were read: they stay in the file but count as memory in use."""
    mapped = _mapped(array) if isinstance(array, np.ndarray) else None
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
