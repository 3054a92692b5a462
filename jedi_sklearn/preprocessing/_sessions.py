"""Sessions with different neurons side by side, without holding the array that they make."""

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
    """Trials of several sessions as one array, NaN where a session has no such neuron.

    The array is never held: it has a shape, a dtype and slices, and what is asked for is made from
    the sessions, as :class:`~jedi_sklearn.JEDIEstimator` does with a memory map. ``np.asarray``
    makes all of it. Made by :func:`stack_sessions`.

    Attributes
    ----------
    shape : tuple
        (trials of all sessions, samples of the longest, neurons of all sessions).
    session : ndarray of int of shape (n_trials,)
        Session of each trial, counted from 0.
    columns : list of slice
        Neurons of each session: ``X[:, :, columns[i]]``.
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
        """Trials by a number, a slice, or an array, and then whatever else numpy takes."""
        index, rest = (index[0], index[1:]) if isinstance(index, tuple) else (index, ())
        which = np.arange(len(self))[index]
        out = self._make(np.atleast_1d(which))
        out = out if np.ndim(which) else out[0]
        return out[(slice(None),) * np.ndim(which) + rest] if rest else out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        return self._make(np.arange(len(self))).astype(dtype or self.dtype, copy=False)

    def place(self, X: ArrayLike, session: int) -> NDArray:
        """Trials of one of the sessions, in its columns, NaN in all others.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons of the session)
            New trials of the same neurons; or a list of trials of unequal length.
        session : int
            Its number.

        Returns
        -------
        ndarray of shape (n_trials, n_timesteps, n_neurons of all sessions)
            In the units of `X`.

        Raises
        ------
        ValueError, TypeError
            If there is no such session, or `X` has other neurons or is no array of trials.
        """
        last = len(self.columns) - 1
        check_number(session, "session", Integral, low=0, high=last)
        columns = self.columns[session]
        trials = _as_trials(X, "X")
        n_neurons = columns.stop - columns.start
        if trials.shape[2] != n_neurons:
            raise ValueError(
                f"Session {session} has {n_neurons} neurons, but X has {trials.shape[2]}. Give "
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
    """Put sessions with different neurons side by side, for one fit to all of them.

    Each session gets columns of its own, in which trials of the others are NaN: neurons that were
    not recorded are missing. A fit aligns the sessions by the conditions that they share, so it
    needs labels: ``fit(X, conditions)``.

    Parameters
    ----------
    sessions : sequence of arrays of shape (n_trials_i, n_timesteps_i, n_neurons_i)
        NaN where a sample is missing. A session may be a list of trials of unequal length, or a
        memory map. Bins and the event at which trials begin are the same in all.

    Returns
    -------
    StackedSessions
        Takes the place of X; it knows which trials and columns belong to which session.

    Raises
    ------
    ValueError, TypeError
        If there are no sessions, or one is no array of trials.

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
        got = type(sessions).__name__ if wrong else "an empty one"
        raise TypeError(
            "sessions must be a list of arrays of trials, one array of (n_trials, n_timesteps, "
            f"n_neurons) for each session, got {got}."
        )
    arrays = [_as_trials(x, f"session {i}") for i, x in enumerate(sessions)]
    return StackedSessions(arrays, max(x.shape[1] for x in arrays))


def place_neurons(X: ArrayLike, columns: slice | ArrayLike, n_neurons: int) -> NDArray:
    """Put the neurons of trials into their columns among all neurons, NaN in all others.

    Parameters
    ----------
    X : array-like of shape (n_trials, n_timesteps, n_columns)
        Or a list of trials of unequal length.
    columns : slice, or array-like of int of shape (n_columns,)
        Where they are to stand.
    n_neurons : int
        All neurons.

    Returns
    -------
    ndarray of shape (n_trials, n_timesteps, n_neurons)
        In the units of `X`.

    Raises
    ------
    ValueError, TypeError
        If the columns are not as many as `X` has neurons, or there are no such columns.

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
                "columns must be a slice or the number of the column of each neuron of X, got "
                f"{columns!r}."
            )
    if len(index) != trials.shape[2]:
        raise ValueError(
            f"X has {trials.shape[2]} neurons, but columns has {len(index)} of the {n_neurons} "
            "columns. Give each neuron of X one."
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
    """An array of trials, padded where they are a list of unequal ones."""
    X = as_list_of_trials(X)
    if isinstance(X, (list, tuple)) and len({np.shape(trial)[:1] for trial in X}) > 1:
        X = pad_trials(X)
    return check_trials(X, name=name, missing=True, stored=True, min_timesteps=1)
