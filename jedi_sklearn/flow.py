"""Compute where states on a plane through the state space of an RNN move."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np

from ._reduced import check_inputs, check_rnns, own_runs
from ._validation import as_numbers, check_number

__all__ = ["FlowField", "flow_field", "principal_axes"]


@dataclass(frozen=True)
class FlowField:
    """Flow of one RNN on a plane.

    Attributes
    ----------
    x, y : ndarray of shape (n_grid,)
        Coordinates of the grid along the two axes.
    velocity : ndarray of shape (n_grid, n_grid, 2)
        Change of the two coordinates per second at ``(y[i], x[j])``, in units of the state.
    speed : ndarray of shape (n_grid, n_grid)
        RMS over neurons of the change of the whole state per second, including the part that
        leaves the plane: the speed of :func:`find_fixed_points`.
    axes : ndarray of shape (2, n_neurons)
        Orthonormal axes of the plane.
    origin : ndarray of shape (n_neurons,)
        State at coordinates (0, 0).
    """

    x: np.ndarray
    y: np.ndarray
    velocity: np.ndarray
    speed: np.ndarray
    axes: np.ndarray
    origin: np.ndarray

    def project(self, states):
        """Project states (..., n_neurons) onto the plane; returns coordinates (..., 2)."""
        return (np.asarray(states) - self.origin) @ self.axes.T


def flow_field(rnns, states=None, *, axes=None, origin=None, extent=None, n_grid=21, inputs=None):
    """Compute the flow of one RNN on a plane: where each state moves, and how fast.

    Parameters
    ----------
    rnns : RNNBatch
        A batch of one RNN; select one with e.g. ``rnns[0]``.
    states : array-like of shape (..., n_neurons), optional
        States, for example ``est.to_states(X)``. Unless given separately, their first two
        principal components span the plane, their mean is its origin and their range its extent.
        Default: the RNN's free run up to the end of its trial, if the batch has initial states.
    axes : array-like of shape (2, n_neurons), optional
        Two directions that span the plane. They are orthonormalised, keeping the first.
    origin : array-like of shape (n_neurons,), optional
        State at the origin of the plane.
    extent : float or tuple (x_low, x_high, y_low, y_high), optional
        Range of the grid, in units of the state. A single number is used for both signs of both
        axes.
    n_grid : int, default=21
        Number of grid points along each axis.
    inputs : array-like of shape (n_inputs,), optional
        Constant input.

    Returns
    -------
    FlowField
        Velocity and speed on the grid.

    Raises
    ------
    ValueError, TypeError
        If there is more than one RNN, if shapes do not match, or if the plane is not determined.

    Warns
    -----
    UserWarning
        If the plane lies far outside the RNN's free run, which suggests activity in the units of
        the data rather than states.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn import RNNBatch, flow_field
    >>> rnn = RNNBatch.from_dense([[0.0, -2.0], [2.0, 0.0]])
    >>> field = flow_field(rnn, axes=np.eye(2), extent=1.0, n_grid=3)
    >>> field.velocity[1, 2].round(2)                 # at (1, 0): inwards and upwards
    array([-10.  ,  15.23])
    """
    rnns = check_rnns(rnns)
    if len(rnns) != 1:
        raise ValueError(f"flow_field draws one RNN, got {len(rnns)}: select one, e.g. rnns[0].")
    n = rnns.n_neurons
    inputs = check_inputs(inputs, rnns)
    check_number(n_grid, "n_grid", Integral, low=2)
    if states is not None:
        states = _vectors(states, "states", n, None)
    elif rnns.has_free_run:
        states = own_runs(rnns)[0]
    if axes is None:
        if states is None:
            raise ValueError("The plane is not determined: pass states or axes.")
        mean, axes = principal_axes(states)
        origin = mean if origin is None else origin
    axes = _vectors(axes, "axes", n, 2)
    q, r = np.linalg.qr(axes.T)
    if np.abs(np.diag(r)).min() <= 1e-12 * np.abs(r).max():
        raise ValueError("axes must be two linearly independent directions.")
    axes = (q * np.sign(np.diag(r))).T
    if origin is None:
        origin = np.zeros(n) if states is None else states.mean(axis=0)
    origin = _vectors(origin, "origin", n, 1)[0]
    x, y = _grid(extent, None if states is None else (states - origin) @ axes.T, n_grid)

    grid = origin + x[np.newaxis, :, np.newaxis] * axes[0] + y[:, np.newaxis, np.newaxis] * axes[1]
    grid = grid.reshape(-1, n)
    change = (rnns.step(grid, inputs) - grid) / rnns.dt
    return FlowField(
        x,
        y,
        (change @ axes.T).reshape(n_grid, n_grid, 2),
        np.sqrt(np.square(change).mean(axis=1)).reshape(n_grid, n_grid),
        axes,
        origin,
    )


def principal_axes(states, n_axes=2):
    """Compute the mean and leading principal axes of states (n, n_neurons), with fixed signs.

    Returns
    -------
    mean : ndarray of shape (n_neurons,)
    axes : ndarray of shape (n_axes, n_neurons)
    """
    mean = states.mean(axis=0)
    _, _, axes = np.linalg.svd(states - mean, full_matrices=False)
    if len(axes) < n_axes:
        raise ValueError(
            f"{n_axes} principal axes need at least {n_axes} states of {n_axes} neurons, "
            f"got {states.shape[0]} states of {states.shape[1]}."
        )
    axes = axes[:n_axes]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, np.newaxis], axis=1)
    return mean, axes * np.where(largest < 0, -1.0, 1.0)


def _vectors(values, name, n, rows):
    """Check vectors over neurons and return them as rows: any number, or exactly `rows`."""
    a = as_numbers(values, name)
    shape = f"(..., n_neurons = {n})" if rows is None else f"({rows}, n_neurons = {n})"
    fits = a.ndim >= 1 and a.shape[-1] == n and a.size
    a = a.reshape(-1, n) if fits else a
    if not fits or (rows is not None and len(a) != rows):
        raise ValueError(f"{name} must have shape {shape}, got {np.shape(values)}.")
    if not np.isfinite(a).all():
        raise ValueError(f"{name} hold NaN or infinite values.")
    return a


def _grid(extent, coordinates, n_grid):
    if extent is None:
        if coordinates is None:
            raise ValueError("The range of the grid is not determined: pass states or extent.")
        low, high = coordinates.min(axis=0), coordinates.max(axis=0)
        margin = 0.2 * max((high - low).max(), 1e-12)
        bounds = (low[0] - margin, high[0] + margin, low[1] - margin, high[1] + margin)
    else:
        values = as_numbers(extent, "extent")
        bounds = (-values, values, -values, values) if values.ndim == 0 else tuple(values)
        fits = np.shape(bounds) == (4,) and np.isfinite(bounds).all()
        if not fits or not (bounds[0] < bounds[1] and bounds[2] < bounds[3]):
            raise ValueError(
                "extent must be a positive number or (x_low, x_high, y_low, y_high), "
                f"got {extent!r}."
            )
    return np.linspace(*bounds[:2], n_grid), np.linspace(*bounds[2:], n_grid)
