"""Find fixed points and slow points of RNNs, and their stability."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np

from ._reduced import (
    ReducedRNN,
    check_inputs,
    check_rnns,
    check_states,
    own_runs,
    sort_by_size,
)
from ._validation import as_plain_array, check_number, check_seed, warn_user
from .rnn import warn_if_far

__all__ = ["FixedPoints", "find_fixed_points"]

DAMPING = 1e-2  # of the first step; each success divides it by ten
PATIENCE = 12  # steps without progress, after which the speed has reached a nonzero minimum
PROGRESS = 1e-3  # relative decrease of the speed that counts as progress
SLOW_STEPS = 8  # damped steps that take a slow point to where only slow directions remain
SLOW_DAMPING = 1e-2  # in these steps, which correct what relaxes in under ten time constants
MARGIN = 1e-6  # a multiplier less than this outside the unit circle is marginal, not unstable
RELAXATION = 20  # time constants for which half of the random starts run freely beforehand


@dataclass(frozen=True)
class FixedPoints:
    """Fixed points and slow points of one RNN.

    Exact points come before slow ones. Among them, points with fewer unstable directions come
    first, then those nearer to the origin.

    Attributes
    ----------
    points : ndarray of shape (n_points, n_neurons)
        States of the points.
    exact : ndarray of bool of shape (n_points,)
        Whether a point is a fixed point to within the tolerance; otherwise it is slow.
    speeds : ndarray of shape (n_points,)
        RMS over neurons of the change of state per second, 1/s in the units of the state.
    multipliers : ndarray of shape (n_points, rank), complex
        Eigenvalues of one time step at each point, by decreasing modulus. The other
        ``n_neurons - rank`` all equal ``1 - alpha``.
    n_starts_each : ndarray of shape (n_points,)
        Number of starts that ended at each point.
    n_starts, n_failed : int
        Number of starts, and of those that ended neither at a fixed point nor at a slow point (at
        a local minimum of the speed, at a state that is not finite, or without convergence in
        `max_iter` steps).
    merge_distance : float
        RMS distance over neurons below which points count as one.
    dt, tau : float
        Time step and time constant of the RNN, s.
    """

    points: np.ndarray
    exact: np.ndarray
    speeds: np.ndarray
    multipliers: np.ndarray
    n_starts_each: np.ndarray
    n_starts: int
    n_failed: int
    merge_distance: float
    dt: float
    tau: float

    @property
    def n_unstable(self):
        """Number of unstable directions of each point (multipliers outside the unit circle).

        Only multipliers more than 1e-6 outside count, so that marginal ones (along a continuous
        attractor) do not.
        """
        return (np.abs(self.multipliers) > 1 + MARGIN).sum(axis=1)

    @property
    def stable(self):
        """Whether each point has no unstable direction."""
        return self.n_unstable == 0

    @property
    def eigenvalues(self):
        """Eigenvalues of the effective weights ``J diag(tanh'(x))``, as from RNNBatch."""
        return 1 + (self.multipliers - 1) * self.tau / self.dt

    @property
    def growth_rates(self):
        """Growth rates log|multiplier| / dt, 1/s."""
        return growth_rates(self.multipliers, self.dt)

    @property
    def frequencies(self):
        """Frequencies, Hz: angle of the multiplier over 2 pi dt."""
        return frequencies(self.multipliers, self.dt)

    def __len__(self):
        return len(self.points)

    def __getitem__(self, index):
        """Select points by an integer, slice, mask or integer array."""
        index = np.atleast_1d(np.arange(len(self))[index])
        names = ("points", "exact", "speeds", "multipliers", "n_starts_each")
        return replace(self, **{name: getattr(self, name)[index] for name in names})

    def __repr__(self):
        exact, stable = self.exact, self.stable
        return (
            f"FixedPoints({(exact & stable).sum()} stable, {(exact & ~stable).sum()} unstable, "
            f"{(~exact).sum()} slow; {self.n_failed} of {self.n_starts} starts failed)"
        )


def growth_rates(multipliers, dt):
    """Compute log|multiplier| / dt, 1/s; 0 is replaced by the smallest positive number."""
    return np.log(np.maximum(np.abs(multipliers), np.finfo(float).tiny)) / dt


def frequencies(multipliers, dt):
    """Compute the angle of the multiplier over 2 pi dt, Hz."""
    return np.angle(multipliers) / (2 * np.pi * dt)


def find_fixed_points(
    rnns,
    states=None,
    *,
    inputs=None,
    n_random_starts=128,
    tol=1e-9,
    slow_speed=None,
    merge_distance=0.01,
    max_iter=200,
    random_state=0,
):
    r"""Find the fixed points, and on request the slow points, of RNNs under constant input.

    Damped Newton steps (Levenberg-Marquardt) run from many starts at once, in the coordinates of
    the space that the weights write to: `rank` dimensions instead of `n_neurons`.

    Parameters
    ----------
    rnns : RNNBatch
        RNNs from ``JEDIEstimator.dynamics``, or with known weights.
    states : array-like of shape (n_rnns, n_states, n_neurons) or (n_rnns, n_neurons), optional
        States to start from, for example ``est.to_states(X)``. For a batch of one RNN any shape
        (..., n_neurons) will do. Default: the free runs of the RNNs up to the ends of their
        trials, at most 64 samples of each, if the batch has initial states.
    inputs : array-like of shape (n_inputs,) or (n_rnns, n_inputs), optional
        Constant input.
    n_random_starts : int, default=128
        Number of additional starts. One is h = bias + input, the state that zero rates drive the
        RNN to. The others lie in random directions at RMS distances of 0.1 to 3 from it. Half of
        the starts first run freely for 20 time constants, which leads to the attractors.
    tol : float, default=1e-9
        A fixed point is exact if the RMS over neurons of :math:`-x + J\tanh(x) + h` is at most
        this (in units of the state).
    slow_speed : float, optional
        States that change by less than this per second are slow points (RMS over neurons, 1/s in
        units of the state). The first such state on the path from each start is kept, after a few
        steps that correct its fast directions; a set of them traces a continuous attractor.
        Default: exact fixed points only.
    merge_distance : float, default=0.01
        Points closer to each other than this (RMS over neurons) count as one. The exact or, if
        none is exact, the slowest one is kept.
    max_iter : int, default=200
        Maximum number of Newton steps.
    random_state : int, RandomState or None, default=0
        Seed of the random starts.

    Returns
    -------
    list of FixedPoints
        Points of each RNN.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, if RNNs without input weights get an input, or if there is nothing
        to start from.

    Warns
    -----
    UserWarning
        If `states` lie far outside the RNNs' free runs, which suggests activity in the units of
        the data rather than states. Also if no point was found for some RNN, whose result is then
        empty.

    See Also
    --------
    FixedPointAnalyzer : Turns fixed points into features for a pipeline.

    Notes
    -----
    A finite search may miss points; more starts may find more, above all saddles. See
    docs/dynamics/fixed_points.md on when to believe them. Sussillo & Barak (2013), Neural
    Computation 25, minimise the speed of the state by gradient descent in all neurons instead.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn import RNNBatch, find_fixed_points
    >>> m = np.ones((10, 1))
    >>> found = find_fixed_points(RNNBatch(m, 0.15 * m))[0]         # x = 1.5 tanh(x)
    >>> found
    FixedPoints(2 stable, 1 unstable, 0 slow; 0 of 128 starts failed)
    >>> found.points[found.stable, 0].round(4)
    array([ 1.2878, -1.2878])
    """
    rnns = check_rnns(rnns)
    inputs = check_inputs(inputs, rnns)
    check_search(n_random_starts, slow_speed, merge_distance, max_iter, tol)
    if states is not None:
        if len(rnns) == 1:  # all states belong to it
            states = as_plain_array(states, "states")
            if states.ndim > 1 and states.shape[-1] == rnns.n_neurons:
                states = states.reshape(1, -1, rnns.n_neurons)
        states = check_states(states, rnns)
        states = states[:, np.newaxis] if states.ndim == 2 else states
        warn_if_far(rnns, states)
    elif rnns.has_free_run and inputs is None:
        runs = own_runs(rnns)
        states = [x[np.linspace(0, len(x) - 1, min(64, len(x))).astype(int)] for x in runs]
    elif not n_random_starts:
        raise ValueError("There is no start: pass states, or n_random_starts of at least 1.")

    random_state = check_seed(random_state)
    # same directions for each RNN, so that results do not depend on the place in the batch
    size = 10.0 ** random_state.uniform(-1, np.log10(3), (n_random_starts, 1))
    directions = random_state.standard_normal((n_random_starts, rnns.rank))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True) + np.finfo(float).tiny
    found = []
    for k in range(len(rnns)):
        rnn = ReducedRNN(rnns, k, None if inputs is None else inputs[k])
        y = directions[:, : rnn.rank] * size * np.sqrt(rnn.n_neurons)
        y[::2] = _relax(rnn, y[::2])
        y[:1] = 0
        if states is not None:
            y = np.concatenate([rnn.project(states[k]), y])
        found.append(_search(rnn, y, tol, slow_speed, merge_distance, max_iter))
    empty = [k for k, points in enumerate(found) if not len(points)]
    if empty:
        warn_user(
            f"No fixed point was found for {len(empty)} of {len(found)} RNNs, first for RNN "
            f"{empty[0]}. It may have none (though a limit cycle has one inside). Otherwise pass "
            "states near the suspected point, more n_random_starts, or a slow_speed."
        )
    return found


def check_search(n_random_starts, slow_speed, merge_distance, max_iter, tol=1e-9):
    """Raise an error if a parameter of the search cannot be used."""
    check_number(n_random_starts, "n_random_starts", Integral, low=0)
    check_number(tol, "tol", low=0, closed=False)
    check_number(merge_distance, "merge_distance", low=0)
    check_number(max_iter, "max_iter", Integral, low=1)
    if slow_speed is not None:
        check_number(slow_speed, "slow_speed", low=0, closed=False, unit="1/s")


def _relax(rnn, y):
    """Run coordinates freely for RELAXATION time constants."""
    for _ in range(int(RELAXATION / rnn.alpha)):
        y = y + rnn.alpha * (rnn.target(rnn.lift(y)) - y)
    return y


def _search(rnn, starts, tol, slow_speed, merge_distance, max_iter):
    """Find the points of one RNN from starts in its coordinates."""
    unit = np.sqrt(rnn.n_neurons)  # norm of y -> RMS over neurons
    threshold = -np.inf if slow_speed is None else slow_speed * rnn.tau * unit
    parts = [
        _newton(rnn, starts[block], tol * unit, threshold, max_iter)
        for block in rnn.blocks(len(starts))
    ]
    y, norm, slow = (np.concatenate(p) for p in zip(*parts, strict=True))
    exact = norm <= tol * unit
    centres, counts = _merge(y[exact], norm[exact], merge_distance * unit)
    is_exact = np.ones(len(centres), dtype=bool)
    n_failed = int((~exact).sum())
    if slow_speed is not None:
        reached = np.isfinite(slow).all(axis=1)
        n_failed = int((~exact & ~reached).sum())
        y, norm = _settle(rnn, slow[reached])
        y, norm = y[norm <= threshold], norm[norm <= threshold]
        for centre in centres:
            away = np.linalg.norm(y - centre, axis=1) > merge_distance * unit
            y, norm = y[away], norm[away]
        more, more_counts = _merge(y, norm, merge_distance * unit)
        centres, counts = np.concatenate([centres, more]), np.concatenate([counts, more_counts])
        is_exact = np.concatenate([is_exact, np.zeros(len(more), dtype=bool)])

    points = rnn.lift(centres)
    multipliers = np.empty((len(points), rnn.rank), dtype=complex)
    for block in rnn.blocks(len(points)):
        multipliers[block] = np.linalg.eigvals(rnn.weights_at(points[block]))
    multipliers = sort_by_size(1 + rnn.alpha * (multipliers - 1))
    speeds = np.linalg.norm(rnn.target(points) - centres, axis=1) / (rnn.tau * unit)
    result = FixedPoints(
        points,
        is_exact,
        speeds,
        multipliers,
        counts,
        len(starts),
        n_failed,
        merge_distance,
        rnn.dt,
        rnn.tau,
    )
    distance = np.round(np.linalg.norm(points, axis=1) / unit, 6)
    first = -points[:, 0] if len(points) else distance
    return result[np.lexsort((first, distance, result.n_unstable, ~is_exact))]


def _newton(rnn, y, tol, threshold, max_iter):
    """Run Levenberg-Marquardt from all starts to |F| <= tol, F = P^T tanh(h + Q y) - y.

    Returns
    -------
    y, norm : ndarray
        End of each start, and |F| there.
    slow : ndarray
        First state from each start with |F| <= threshold, NaN if there is none.
    """
    F, slope = _residual(rnn, y)
    norm = np.linalg.norm(F, axis=1)
    slow = np.where((norm <= threshold)[:, np.newaxis], y, np.nan)
    damping, waited = np.full(len(y), DAMPING), np.zeros(len(y), dtype=int)
    active = np.flatnonzero(norm > tol)
    for _ in range(max_iter):
        if not len(active):
            break
        new_y = y[active] + _damped_step(rnn, slope[active], F[active], damping[active])
        new_F, new_slope = _residual(rnn, new_y)
        new_norm = np.linalg.norm(new_F, axis=1)
        better = new_norm < norm[active]
        waited[active] += 1
        waited[active[new_norm < (1 - PROGRESS) * norm[active]]] = 0
        moved = active[better]
        y[moved], F[moved], norm[moved] = new_y[better], new_F[better], new_norm[better]
        slope[moved] = new_slope[better]
        arrived = moved[(norm[moved] <= threshold) & np.isnan(slow[moved, 0])]
        slow[arrived] = y[arrived]
        damping[active] *= np.where(better, 0.1, 10.0)
        damping = np.maximum(damping, 1e-15)
        active = active[(norm[active] > tol) & (waited[active] < PATIENCE)]
    return y, norm, slow


def _residual(rnn, y):
    """Compute F at coordinates (n, rank), and tanh' of their states."""
    rates = np.tanh(rnn.lift(y))
    return rates @ rnn.P - y, 1 - rates**2


def _damped_step(rnn, slope, F, damping):
    """Solve (A^T A + damping) step = -A^T F, where A is the derivative of F."""
    A = rnn.effective_weights(slope)
    diagonal = np.arange(rnn.rank)
    A[:, diagonal, diagonal] -= 1
    At = np.swapaxes(A, 1, 2)
    H = At @ A
    H[:, diagonal, diagonal] += damping[:, np.newaxis]
    return -np.linalg.solve(H, At @ F[..., np.newaxis])[..., 0]


def _settle(rnn, y):
    """Correct the fast directions of slow points but not the slow ones; return y and |F|."""
    F, slope = _residual(rnn, y)
    for _ in range(SLOW_STEPS):
        new = y + _damped_step(rnn, slope, F, np.full(len(y), SLOW_DAMPING))
        new_F, new_slope = _residual(rnn, new)
        better = (np.linalg.norm(new_F, axis=1) < np.linalg.norm(F, axis=1))[:, np.newaxis]
        y, F = np.where(better, new, y), np.where(better, new_F, F)
        slope = np.where(better, new_slope, slope)
    return y, np.linalg.norm(F, axis=1)


def _merge(y, norm, distance):
    """Merge points closer than `distance`, keeping the smallest |F|; return points and counts."""
    order = np.argsort(norm, kind="stable")
    y = y[order]
    kept, counts = [], []
    while len(y):
        near = np.linalg.norm(y - y[0], axis=1) <= distance
        near[0] = True
        kept.append(y[0])
        counts.append(int(near.sum()))
        y = y[~near]
    shape = (len(kept), y.shape[1])
    return np.array(kept).reshape(shape), np.array(counts, dtype=int)
