"""Compute Lyapunov exponents of RNNs: how perturbations grow along a trajectory."""

from __future__ import annotations

from numbers import Integral

import numpy as np

from ._reduced import ReducedRNN, check_rnns, check_states
from ._validation import check_number, warn_user
from .fixed_points import growth_rates
from .rnn import warn_if_far

__all__ = ["lyapunov_exponents"]

MAX_CONDITION = 1e6  # of eigenvectors, up to which they serve as coordinates
N_BLOCKS = 8  # consecutive parts of a trajectory whose spread gives the standard error
SURE = 4  # standard errors by which the halves must differ for the exponent to be changing
MATTERS = 0.25  # and by this share of the exponent, or of 1 / duration


def lyapunov_exponents(
    rnns,
    states=None,
    *,
    n_timesteps=None,
    inputs=None,
    burn_in=0,
    n_exponents=None,
    return_error=False,
):
    """Compute Lyapunov exponents, the mean growth rates of perturbations along a trajectory.

    This is the QR method (Benettin et al. 1980) applied to the tangent dynamics in the space that
    the weights write to, of dimension `rank`. The other ``n_neurons - rank`` exponents are
    exactly that of the leak, ``log(1 - alpha) / dt``. Lengths are measured along the eigenvectors
    of the mean Jacobian. At a fixed point the exponents therefore equal its growth rates from the
    first step on, even if perturbations rotate, and the exponents of a short trajectory do not
    depend on how the weights are factored. (Those of long trajectories do not depend on how
    lengths are measured.)

    Parameters
    ----------
    rnns : RNNBatch
        RNNs from ``JEDIEstimator.dynamics``, or with known weights.
    states : array-like of shape (n_rnns, n_timesteps, n_neurons) or (n_rnns, n_neurons), optional
        Trajectories, or initial states of free runs of `n_timesteps`. Default: the free runs of
        the RNNs up to the ends of their trials (``rnns.lengths``), if the batch has initial
        states. RNNs from ``generate_rnns`` without `initial_state` start where their embeddings
        say, or, if embeddings do not determine the start, at the mean first sample, which may not
        be near any trial.
    n_timesteps : int, optional
        Number of samples of the free run. Default: as many as the batch has for each RNN. Not
        allowed with trajectories.
    inputs : array-like of shape (n_rnns, n_timesteps, n_inputs), optional
        Inputs during the free run. With given trajectories they have no effect.
    burn_in : int, default=0
        Number of steps at the start that rotate the tangent vectors but do not count.
    n_exponents : int, optional
        Number of exponents to return, largest first. Default: all `n_neurons`.
    return_error : bool, default=False
        Whether to return standard errors too.

    Returns
    -------
    exponents : ndarray of shape (n_rnns, n_exponents)
        Exponents in decreasing order, 1/s. For a finite trajectory these are finite-time
        exponents.
    error : ndarray of shape (n_rnns, n_exponents)
        Standard errors from eight consecutive parts of the trajectory (0 for the exponents of the
        leak). Only with ``return_error=True``.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, or if the trajectory is shorter than `burn_in` plus one step
        (eight steps with ``return_error=True``).

    Warns
    -----
    UserWarning
        If `states` lie far outside the RNNs' free runs, which suggests activity in the units of
        the data rather than states. Also if the largest exponent still changes along the
        trajectory, as in a transient. With ``return_error=True`` it warns if this holds for any
        RNN, because the standard error then does not say how far the exponent is from its final
        value; otherwise if it holds for more than half of the RNNs.

    See Also
    --------
    LyapunovAnalyzer : Turns exponents into features for a pipeline.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn import RNNBatch, lyapunov_exponents
    >>> rnn = RNNBatch.from_dense(np.zeros((3, 3)), dt=0.01, tau=0.1)     # leak only
    >>> lyapunov_exponents(rnn, np.ones((1, 3)), n_timesteps=50).round(2)
    array([[-10.54, -10.54, -10.54]])
    """
    rnns = check_rnns(rnns)
    check_number(burn_in, "burn_in", Integral, low=0)
    n = rnns.n_neurons
    if n_exponents is not None:
        check_number(n_exponents, "n_exponents", Integral, low=1, high=n)
    if n_timesteps is not None:
        check_number(n_timesteps, "n_timesteps", Integral, low=2)
    states, lengths = _trajectories(rnns, states, n_timesteps, inputs)
    n_steps = lengths - 1 - burn_in
    least = N_BLOCKS if return_error else 1
    if n_steps.min() < least:
        k = int(n_steps.argmin())
        raise ValueError(
            f"A trajectory of {lengths[k]} samples (RNN {k}) leaves {n_steps[k]} steps after "
            f"burn_in={burn_in}; at least {least} are needed. Lower burn_in, or use a longer one."
        )

    rank = rnns.rank
    leak = growth_rates(1 - rnns.alpha, rnns.dt)
    exponents, errors = np.full((2, len(rnns), n), leak)
    errors[:] = 0
    leading = np.zeros((N_BLOCKS, len(rnns)))  # largest exponent in each part
    for rows in _blocks(lengths, rank):
        x = states[rows, : lengths[rows[0]]]
        growth = _stretching(_tangent_steps(rnns[rows], x))[:, burn_in:]
        order = np.argsort(-growth.mean(axis=1), axis=1)[:, np.newaxis]
        growth = np.take_along_axis(growth, order, axis=2) / rnns.dt
        exponents[rows, :rank] = growth.mean(axis=1)
        if growth.shape[1] >= N_BLOCKS:
            parts = np.stack([p.mean(axis=1) for p in np.array_split(growth, N_BLOCKS, axis=1)])
            errors[rows, :rank] = parts.std(axis=0, ddof=1) / np.sqrt(N_BLOCKS)
            leading[:, rows] = parts[..., 0]
    _warn_of_change(leading, n_steps * rnns.dt, return_error)
    order = np.argsort(-exponents, axis=1, kind="stable")[:, :n_exponents]
    exponents = np.take_along_axis(exponents, order, axis=1)
    return (exponents, np.take_along_axis(errors, order, axis=1)) if return_error else exponents


def _trajectories(rnns, states, n_timesteps, inputs):
    """Get trajectories (n_rnns, n_timesteps, n_neurons) and how many samples of each count."""
    whole = n_timesteps is not None
    if states is None:
        states = rnns.free_run(n_timesteps, inputs)
    else:
        states = check_states(states, rnns)
        if states.ndim == 3:
            if whole:
                raise ValueError(
                    "n_timesteps is for free runs; the trajectories passed have their own length."
                )
            warn_if_far(rnns, states)
            whole = True
        else:
            n_timesteps = rnns.n_timesteps if n_timesteps is None else n_timesteps
            if n_timesteps is None:
                raise ValueError(
                    "states of shape (n_rnns, n_neurons) are initial states: pass n_timesteps, "
                    "the number of samples of the free run. A trajectory has shape (n_rnns, "
                    "n_timesteps, n_neurons)."
                )
            states = rnns.simulate(states, n_timesteps, inputs)
    return states, np.full(len(states), states.shape[1]) if whole else rnns.lengths


def _blocks(lengths, rank):
    """Group trajectories of one length whose tangent dynamics fit into memory together."""
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        size = max(1, 4 * 10**6 // (length * rank**2))
        yield from (rows[i : i + size] for i in range(0, len(rows), size))


def _warn_of_change(parts, duration, with_error):
    """Warn if the two halves of parts (N_BLOCKS, n_rnns) differ clearly and by much.

    Trials are short, and some are transients by nature. Without errors, which transients would
    invalidate, the warning appears only if most of them are. The noise is estimated from the
    steps from part to part, which are small if the parts rise or fall together.
    """
    first, second = parts.reshape(2, -1, parts.shape[1]).mean(axis=1)
    difference = np.abs(first - second)
    noise = np.sqrt(np.square(np.diff(parts, axis=0)).mean(axis=0) * 2 / N_BLOCKS)
    size = np.maximum(np.abs(parts.mean(axis=0)), 1 / duration)
    changes = np.flatnonzero((difference > SURE * noise) & (difference > MATTERS * size))
    if len(changes) > (0 if with_error else len(size) / 2):
        k = changes[0]
        so = "it is that of a transient, not the one the run settles on"
        if with_error:
            so = "its standard error does not say how far it is from where it settles"
        warn_user(
            f"The largest exponent of {len(changes)} of {len(size)} RNNs still changes along the "
            f"run (RNN {k}: {first[k]:.2f} 1/s in its first half, {second[k]:.2f} in the second), "
            f"so that {so}. For an attractor, raise n_timesteps and burn_in, and pass states of "
            "trials to start from."
        )


def _tangent_steps(rnns, states):
    """Compute Jacobians of the steps in weight coordinates, (n_rnns, n_steps, rank, rank)."""
    reduced = (ReducedRNN(rnns, k) for k in range(len(rnns)))
    steps = np.stack([r.weights_at(x[:-1]) for r, x in zip(reduced, states, strict=True)])
    steps *= rnns.alpha
    diagonal = np.arange(rnns.rank)
    steps[..., diagonal, diagonal] += 1 - rnns.alpha
    return steps


def _stretching(steps):
    """Compute the log growth of each tangent direction at each step (n_rnns, n_steps, rank).

    Steps (n_rnns, n_steps, rank, rank) are transformed to coordinates in which the mean step
    scales axes, and scales and rotates planes. The length of a perturbation that rotates as it
    decays then does not oscillate.
    """
    coordinates = _eigenspaces(steps.mean(axis=1))[:, np.newaxis]
    steps = np.linalg.solve(coordinates, steps @ coordinates)
    n_rnns, n_steps, rank, _ = steps.shape
    growth = np.empty((n_rnns, n_steps, rank))
    directions = np.broadcast_to(np.eye(rank), (n_rnns, rank, rank))
    for t in range(n_steps):
        directions, R = np.linalg.qr(steps[:, t] @ directions)
        size = np.abs(np.diagonal(R, axis1=1, axis2=2))
        growth[:, t] = np.log(np.maximum(size, np.finfo(float).tiny))
    return growth


def _eigenspaces(matrices):
    """Compute real eigenvectors of real matrices, as unit columns by decreasing modulus.

    A complex pair gives the two axes of its ellipse, which do not depend on the coordinates. If
    eigenvectors are nearly dependent, an orthonormal basis of the same nested spaces is used.
    """
    values, vectors = np.linalg.eig(matrices)
    values, vectors = values.astype(complex), vectors.astype(complex)
    order = np.lexsort((-values.imag, -values.real, -np.round(np.abs(values), 12)), axis=-1)
    values = np.take_along_axis(values, order, axis=-1)
    vectors = np.take_along_axis(vectors, order[:, np.newaxis], axis=-1)
    turn = np.exp(-0.5j * np.angle((vectors**2).sum(axis=1, keepdims=True)))
    vectors = vectors * turn
    second = values.imag[:, np.newaxis] < 0  # second of a pair: the shorter axis
    bases = np.where(second, vectors.imag, vectors.real)
    poor = np.linalg.cond(bases) > MAX_CONDITION
    bases[poor] = np.linalg.qr(bases[poor])[0]
    return bases
