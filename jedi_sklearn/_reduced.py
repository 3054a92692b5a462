"""Reduce an RNN to coordinates of the space that its recurrent weights write to.

The weights of an RNN of rank r write to an r-dimensional space, J = Q P^T with orthonormal
columns of Q (n_neurons, r). With the constant drive h = b + B u, every state decays at the rate
of the leak to the affine space h + span(Q), and that space maps to itself: in its coordinates y,

    x = h + Q y,    y[t+1] = (1 - alpha) y[t] + alpha P^T tanh(h + Q y[t]).

All fixed points lie in it, all nonzero eigenvalues of J diag(tanh'(x)) are those of the r x r
matrix P^T diag(tanh'(x)) Q, and distances in y are distances in x (docs/model.md, eq. 12-14).
"""

from __future__ import annotations

import numpy as np

from ._validation import as_numbers
from .rnn import RNNBatch

__all__ = [
    "ReducedRNN",
    "check_inputs",
    "check_rnns",
    "check_states",
    "own_runs",
    "sort_by_size",
]

WORK = 4_000_000  # numbers in the largest temporary array


class ReducedRNN:
    """RNN `k` of a batch under a constant input, in the coordinates of the module docstring.

    Parameters
    ----------
    rnns : RNNBatch
        Batch of RNNs.
    k : int
        Index of the RNN.
    inputs : ndarray of shape (n_inputs,), optional
        Constant input.
    """

    def __init__(self, rnns, k, inputs=None):
        rnn = rnns[k]
        self.alpha, self.dt, self.tau = rnn.alpha, rnn.dt, rnn.tau
        self.h = rnn.bias if rnn.bias.ndim == 1 else rnn.bias[0]
        if inputs is not None:
            weights = rnn.input_weights
            self.h = self.h + (weights if weights.ndim == 2 else weights[0]) @ inputs
        if rnn.J is not None:  # full rank: y = x - h
            self.Q, self.P = None, rnn.J[0].T
        else:
            U = rnn.U if rnn.U.ndim == 2 else rnn.U[0]
            V = rnn.V if rnn.V.ndim == 2 else rnn.V[0]
            self.Q, T = np.linalg.qr(U if rnn.core is None else U @ rnn.core[0])
            self.P = V @ T.T
        self.n_neurons, self.rank = self.P.shape
        # P_i Q_i^T of each neuron i: Jacobians at many states are one product with it
        self._outer = None
        if self.Q is not None:
            outer = self.P[:, :, np.newaxis] * self.Q[:, np.newaxis, :]
            self._outer = outer.reshape(self.n_neurons, -1)

    def lift(self, y):
        """Convert coordinates (n, rank) to states."""
        return self.h + (y if self.Q is None else y @ self.Q.T)

    def project(self, x):
        """Convert states (n, n_neurons) to coordinates (of the nearest point of the space)."""
        return (x - self.h) @ self.Q if self.Q is not None else x - self.h

    def target(self, x):
        """Compute the coordinates that the state moves towards, P^T tanh(x)."""
        return np.tanh(x) @ self.P

    def weights_at(self, x):
        """Compute effective weights P^T diag(tanh'(x)) Q, (n, rank, rank), at n states."""
        return self.effective_weights(1 - np.tanh(x) ** 2)

    def effective_weights(self, slope):
        """Compute P^T diag(slope) Q for slopes (n, n_neurons)."""
        if self._outer is None:
            return self.P.T * slope[:, np.newaxis, :]
        return (slope @ self._outer).reshape(-1, self.rank, self.rank)

    def blocks(self, n):
        """Divide n states into slices whose temporary arrays stay small."""
        size = max(1, WORK // max(self.n_neurons, self.rank**2))
        return [slice(i, i + size) for i in range(0, n, size)]


def sort_by_size(values):
    """Sort multipliers by decreasing modulus; of a pair, positive imaginary part comes first."""
    order = np.lexsort((-values.imag, -values.real, -np.round(np.abs(values), 12)), axis=-1)
    return np.take_along_axis(values, order, axis=-1)


def check_rnns(rnns):
    """Check a batch of RNNs, or join a sequence of batches of one size."""
    if isinstance(rnns, RNNBatch):
        batch = rnns
    elif isinstance(rnns, (list, tuple)) and rnns and all(isinstance(r, RNNBatch) for r in rnns):
        batch = RNNBatch.concatenate(rnns)
    else:
        got = type(rnns).__name__
        if isinstance(rnns, (list, tuple)) and rnns:
            got += f" of {type(rnns[0]).__name__}"
        elif hasattr(rnns, "shape"):
            got += f" of shape {rnns.shape}"
        raise TypeError(
            f"Expected a batch of RNNs (RNNBatch), got {got}. Get one from "
            'JEDIEstimator.dynamics(X), in a Pipeline from JEDIEstimator(output="dynamics"), '
            "or for known weights from RNNBatch(U, V) or RNNBatch.from_dense(J)."
        )
    if not len(batch):
        raise ValueError("Expected at least one RNN, got an empty batch.")
    return batch


def own_runs(rnns):
    """List the free run of each RNN up to the end of its own trial, (length, n_neurons)."""
    return [run[:n] for run, n in zip(rnns.free_run(), rnns.lengths, strict=True)]


def check_inputs(inputs, rnns):
    """Check constant inputs; return that of each RNN, (n_rnns, n_inputs), or None."""
    if inputs is None:
        return None
    if not rnns.n_inputs:
        raise ValueError(
            "inputs were given, but these RNNs have no input_weights. Leave inputs out; the "
            "RNNs of a fitted JEDIEstimator hold constant inputs in their bias."
        )
    inputs = as_numbers(inputs, "inputs")
    if inputs.shape not in ((rnns.n_inputs,), (len(rnns), rnns.n_inputs)):
        raise ValueError(
            f"inputs must be constant, of shape (n_inputs = {rnns.n_inputs},) or "
            f"(n_rnns = {len(rnns)}, {rnns.n_inputs}), got {inputs.shape}."
        )
    if not np.isfinite(inputs).all():
        raise ValueError("inputs hold NaN or infinite values.")
    return np.broadcast_to(inputs, (len(rnns), rnns.n_inputs))


def check_states(states, rnns, ndim=(2, 3), name="states"):
    """Check states of each RNN, (n_rnns, n_neurons) or (n_rnns, n_states, n_neurons)."""
    states = as_numbers(states, name)
    shapes = {
        2: f"(n_rnns = {len(rnns)}, n_neurons = {rnns.n_neurons})",
        3: f"(n_rnns = {len(rnns)}, n_states, n_neurons = {rnns.n_neurons})",
    }
    expected = f"{name} must have shape {' or '.join(shapes[n] for n in ndim)}"
    if len(rnns) == 1 and states.ndim == 2 and len(states) > 1:  # states of the one RNN
        states = states[np.newaxis]
    if states.ndim not in ndim or states.shape[-1] != rnns.n_neurons or 0 in states.shape:
        raise ValueError(f"{expected}, got {states.shape}.")
    if len(states) != len(rnns):
        raise ValueError(
            f"{expected}, got {states.shape}: {len(states)} rows for {len(rnns)} RNNs. For many "
            "states of one RNN select it and add an axis, e.g. rnns[0] with states[np.newaxis]."
        )
    if not np.isfinite(states).all():
        raise ValueError(f"{name} hold NaN or infinite values.")
    return states
