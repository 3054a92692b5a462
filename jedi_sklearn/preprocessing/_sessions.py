"""Stack sessions with different neurons into one array, without holding it in memory."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._validation import as_list_of_trials, check_number, check_trials
from ._time import pad_trials


class StackedSessions:
    """Trials of several sessions as one array, NaN for neurons that a session did not record.

    The array is never held in memory. It has a shape and a dtype and can be indexed; the part
    asked for is assembled from the sessions, just as :class:`~jedi_sklearn.JEDIEstimator` reads a
    memory map. ``np.asarray`` assembles all of it. :func:`stack_sessions` makes one.

    Parameters
    ----------
    sessions : list of arrays of shape (n_trials_i, n_timesteps_i, n_neurons_i)
        Trials of each session.
    n_timesteps : int
        Samples per trial, at least those of the longest session.

    Attributes
    ----------
    shape : tuple
        Shape of the array: (trials of all sessions, `n_timesteps`, neurons of all sessions).
    session : ndarray of int of shape (n_trials,)
        Session of each trial, counted from 0.
    columns : list of slice
        Neurons of each session: ``X[:, :, columns[i]]``.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn.preprocessing import StackedSessions
    >>> X = StackedSessions([np.ones((3, 20, 5)), np.ones((2, 25, 4))], n_timesteps=25)
    >>> X
    StackedSessions((5, 25, 9): 3 trials x 5 neurons, 2 trials x 4 neurons)
    >>> X[0, 0]                                    # the first session lacks the last four
    array([ 1.,  1.,  1.,  1.,  1., nan, nan, nan, nan])
    """

    ndim = 3

    def __init__(self, sessions: list[Any], n_timesteps: int) -> None:
        self._sessions = sessions
        ends = np.cumsum([0] + [x.shape[2] for x in sessions])
        self.columns = [slice(int(a), int(b)) for a, b in itertools.pairwise(ends)]
        self.session = np.repeat(np.arange(len(sessions)), [len(x) for x in sessions])
        self._row = np.concatenate([np.arange(len(x)) for x in sessions])
        self.shape = (len(self.session), n_timesteps, int(ends[-1]))
        single = all(x.dtype == np.float32 for x in sessions)
        self.dtype = np.dtype(np.float32 if single else np.float64)

    def __len__(self) -> int:
        return len(self.session)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(x)} trials x {x.shape[2]} neurons" for x in self._sessions)
        return f"StackedSessions({self.shape}: {sizes})"

    def __getitem__(self, index: Any) -> NDArray:
        """Select trials by number, slice or array, then apply any further numpy index."""
        index, rest = (index[0], index[1:]) if isinstance(index, tuple) else (index, ())
        which = np.arange(len(self))[index]
        out = self._make(np.atleast_1d(which))
        out = out if np.ndim(which) else out[0]
        return out[(slice(None),) * np.ndim(which) + rest] if rest else out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        return self._make(np.arange(len(self))).astype(dtype or self.dtype, copy=False)

    def place(self, X: ArrayLike, session: int) -> NDArray:
        """Place trials of one session in its columns, with NaN in all others.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons of the session)
            New trials of the same neurons, or a list of trials of unequal length.
        session : int
            Number of the session, from 0.

        Returns
        -------
        ndarray of shape (n_trials, n_timesteps, n_neurons of all sessions)
            Trials, in the units of `X`.

        Raises
        ------
        ValueError, TypeError
            If there is no such session, `X` has other neurons, or `X` does not hold trials.
        """
        last = len(self.columns) - 1
        check_number(session, "session", Integral, low=0, high=last)
        columns = self.columns[session]
        trials = _as_trials(X, "X")
        n_neurons = columns.stop - columns.start
        if trials.shape[2] != n_neurons:
            raise ValueError(
                f"Session {session} has {n_neurons} neurons, but X has {trials.shape[2]}. Pass "
                "the same neurons in the same order."
            )
        return place_neurons(trials, columns, self.shape[2]).astype(self.dtype, copy=False)

    def _make(self, trials: NDArray) -> NDArray:
        out = np.full((len(trials), *self.shape[1:]), np.nan, dtype=self.dtype)
        for i in np.unique(self.session[trials]):
            here = np.flatnonzero(self.session[trials] == i)
            some = self._sessions[i][self._row[trials[here]]]
            out[here, : some.shape[1], self.columns[i]] = some
        return out


def stack_sessions(sessions: Sequence[Any]) -> StackedSessions:
    """Put sessions with different neurons side by side, to fit one model to all of them.

    Each session gets its own columns. They are NaN in the trials of all other sessions: neurons
    that were not recorded are missing. The fit aligns the sessions through the conditions they
    share, so it needs labels: ``fit(X, conditions)``.

    Parameters
    ----------
    sessions : sequence of arrays of shape (n_trials_i, n_timesteps_i, n_neurons_i)
        Trials of each session, NaN where a sample is missing. A session may also be a list of
        trials of unequal length or a memory map. All sessions must use the same bin width and
        start their trials at the same event.

    Returns
    -------
    StackedSessions
        Use it in place of `X`; it knows which trials and columns belong to which session.

    Raises
    ------
    ValueError, TypeError
        If there are no sessions, or one does not hold trials.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn.preprocessing import stack_sessions
    >>> monday, friday = np.ones((3, 20, 5)), np.ones((2, 25, 4))
    >>> X = stack_sessions([monday, friday])
    >>> X.shape, X.session.tolist(), X.columns[1]
    ((5, 25, 9), [0, 0, 0, 1, 1], slice(5, 9, None))
    >>> int(np.isnan(X[4]).all(axis=0).sum())
    5
    """
    sessions = as_list_of_trials(sessions)
    wrong = isinstance(sessions, (np.ndarray, str)) or not isinstance(sessions, Sequence)
    if wrong or not len(sessions):
        got = type(sessions).__name__ if wrong else "an empty list"
        raise TypeError(
            "sessions must be a list of arrays of trials, one array (n_trials, n_timesteps, "
            f"n_neurons) per session, got {got}."
        )
    arrays = [_as_trials(x, f"session {i}") for i, x in enumerate(sessions)]
    return StackedSessions(arrays, max(x.shape[1] for x in arrays))


def place_neurons(X: ArrayLike, columns: slice | ArrayLike, n_neurons: int) -> NDArray:
    """Place neurons in their columns among all neurons, with NaN in all other columns.

    Parameters
    ----------
    X : array-like of shape (n_trials, n_timesteps, n_columns)
        Trials, or a list of trials of unequal length.
    columns : slice, or array-like of int of shape (n_columns,)
        Column of each neuron.
    n_neurons : int
        Number of columns of the result.

    Returns
    -------
    ndarray of shape (n_trials, n_timesteps, n_neurons)
        Trials, in the units of `X`.

    Raises
    ------
    ValueError, TypeError
        If `columns` and the neurons of `X` differ in number, or a column does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn.preprocessing import place_neurons
    >>> place_neurons(np.ones((2, 30, 3)), columns=[5, 0, 1], n_neurons=6)[0, 0]
    array([ 1.,  1., nan, nan, nan,  1.])
    """
    check_number(n_neurons, "n_neurons", Integral, low=1)
    trials = _as_trials(X, "X")
    if isinstance(columns, slice):
        index = np.arange(n_neurons)[columns]
    else:
        index = np.asarray(columns)
        if index.ndim != 1 or index.dtype.kind not in "iu":
            raise TypeError(
                f"columns must be a slice or one column number per neuron of X, got {columns!r}."
            )
    if len(index) != trials.shape[2]:
        raise ValueError(
            f"X has {trials.shape[2]} neurons, but columns has {len(index)} of the "
            f"{n_neurons} columns. Give each neuron of X one column."
        )
    if len(np.unique(index)) < len(index) or not 0 <= index.min() <= index.max() < n_neurons:
        raise ValueError(
            f"columns must be different numbers from 0 to n_neurons - 1 = {n_neurons - 1}, got "
            f"{index.min()} to {index.max()}, {len(np.unique(index))} of them different."
        )
    kind = np.float32 if trials.dtype == np.float32 else np.float64
    out = np.full((*trials.shape[:2], n_neurons), np.nan, dtype=kind)
    out[:, :, index] = trials
    return out


def _as_trials(X: Any, name: str) -> Any:
    """Check trials; pad them if they are a list of unequal length."""
    X = as_list_of_trials(X)
    if isinstance(X, (list, tuple)) and len({np.shape(trial)[:1] for trial in X}) > 1:
        X = pad_trials(X)
    return check_trials(X, name=name, missing=True, stored=True, min_timesteps=1)
