"""Structures of the RNN of a condition, and whether the RNN of another fit has the same."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import procrustes
from scipy.spatial.distance import cdist

from .._reduced import ReducedRNN, own_runs
from ..fixed_points import FixedPoints, find_fixed_points, frequencies, growth_rates
from ..lyapunov import lyapunov_exponents
from ..spectra import equivalent_gains

__all__ = [
    "Dynamics",
    "dynamics_of",
    "embedding_agreement",
    "lasting",
    "match_modes",
    "match_points",
    "modes_of",
    "point_distances",
    "tolerances",
]

# Of the SD of the activity: states as near as that have 99 % of its variance in common. Attractors
# that lie between two of the network's, as fits to few neurons have them, move farther than that
SAME = 0.1
N_STARTS = 256  # random starts for fixed points: saddles need more than attractors do
MAX_STATES = 512  # states of the runs that searches start from
LASTING = 2.0  # time constants that a mode outlasts: what decays faster is fitted to noise
N_PERMUTATIONS = 20  # of trials, for how well embeddings agree by chance


@dataclass(frozen=True)
class Dynamics:
    """Structures of the RNN of one condition.

    Attributes
    ----------
    points : FixedPoints
        Exact ones, with known inputs under a constant one.
    positions : ndarray of shape (n_points, n_neurons)
        Those points as activity, in the units of X.
    modes : ndarray of shape (n_modes,), complex
        Growth rate (1/s) + 2 pi i frequency (Hz) of the equivalent eigenvalues, of a pair once,
        the slowest first.
    exponent : float
        Leading Lyapunov exponent, 1/s, mean over the runs.
    """

    points: FixedPoints
    positions: np.ndarray
    modes: np.ndarray
    exponent: float


def dynamics_of(rnns, to_activity, inputs=None):
    """Structures of one RNN, of which the batch holds copies started in different states.

    Each copy runs with inputs of its own, if there are any; the fixed points are those under the
    constant `inputs` of shape (n_inputs,).
    """
    runs = own_runs(rnns)
    states = np.concatenate(runs)
    with warnings.catch_warnings():  # no fixed point, one far away, a transient: this is said
        warnings.filterwarnings("ignore", "No fixed point was found", UserWarning)
        warnings.filterwarnings("ignore", "The largest exponent", UserWarning)
        starts = states[:: -(-len(states) // MAX_STATES)]
        points = find_fixed_points(rnns[0], starts, inputs=inputs, n_random_starts=N_STARTS)[0]
        warnings.filterwarnings("ignore", "These states are", UserWarning)
        positions = to_activity(points.points)
        exponent = float(lyapunov_exponents(rnns, n_exponents=1).mean())
    return Dynamics(points, positions, modes_of(rnns, states), exponent)


def modes_of(rnns, states):
    """Equivalent eigenvalues of the first RNN of a batch over its states (n_states, n_neurons)."""
    weights = ReducedRNN(rnns, 0).effective_weights(equivalent_gains(states)[np.newaxis])[0]
    multipliers = 1 + rnns.alpha * (np.linalg.eigvals(weights).astype(complex) - 1)
    modes = growth_rates(multipliers, rnns.dt) + 2j * np.pi * frequencies(multipliers, rnns.dt)
    modes = modes[modes.imag >= 0]
    return modes[np.lexsort((modes.imag, -modes.real))]


def lasting(modes, tau):
    """Modes that outlast some time constants, and are no fit to noise."""
    return modes[modes.real >= -1 / (LASTING * tau)]


def point_distances(a, b, spread):
    """RMS distances over neurons of points (n, neurons) and (m, neurons), over a spread."""
    return cdist(a, b) / np.sqrt(a.shape[1]) / spread


def tolerances(positions, spread):
    """How far each point may move and still be itself: nearer than any other is to it."""
    distance = point_distances(positions, positions, spread)
    np.fill_diagonal(distance, np.inf)
    return np.minimum(SAME, distance.min(axis=1, initial=np.inf) / 2)


def match_points(distance, n_unstable, other_n_unstable, tolerance):
    """Match points of two fits one to one.

    Parameters
    ----------
    distance : ndarray of shape (n_points, n_others)
        In SDs of the activity.
    n_unstable, other_n_unstable : ndarray of shape (n_points,) and (n_others,)
        Unstable directions of the points of either fit.
    tolerance : ndarray of shape (n_points,)

    Returns
    -------
    index : ndarray of int of shape (n_points,)
        The point of the other fit within the tolerance, -1 where there is none; of two the one of
        the same stability.
    """
    index = np.full(len(distance), -1)
    away = distance > tolerance[:, np.newaxis]
    unlike = n_unstable[:, np.newaxis] != other_n_unstable
    # first as many matches as can be, then as many of one stability, then short distances
    cost = np.where(away, 2.0 * len(distance) + 1, unlike + distance / SAME)
    i, j = linear_sum_assignment(cost)
    found = ~away[i, j]
    index[i[found]] = j[found]
    return index


def match_modes(modes, others, duration):
    """Match modes of two fits one to one.

    Two modes are the same where a run of this duration hardly tells them apart: they grow or decay
    by factors that differ by less than e, and stay within half a cycle of each other.

    Returns
    -------
    nearest : ndarray of shape (n_modes,), complex
        The mode that each is assigned to, NaN where there are too few.
    same : ndarray of bool of shape (n_modes,)
    """
    nearest = np.full(len(modes), np.nan, dtype=complex)
    i, j = linear_sum_assignment(np.abs(modes[:, np.newaxis] - others))
    nearest[i] = others[j]
    difference = np.abs((nearest - modes).real), np.abs((nearest - modes).imag)
    same = (difference[0] <= 1 / duration) & (difference[1] <= np.pi / duration)
    return nearest, same


def embedding_agreement(a, b, rng):
    """R2 of embeddings of the same trials after the best orthogonal map, and that by chance.

    Also after the best common scale: in each fit the last component has an SD of 1, whatever it
    does.

    Parameters
    ----------
    a, b : ndarray of shape (n_trials, n_components) and (n_trials, n_other_components)
    rng : RandomState
        Permutes the trials of one, for what is expected by chance.

    Returns
    -------
    r2, chance : float
    """
    width = max(a.shape[1], b.shape[1])
    a, b = (np.pad(e, ((0, 0), (0, width - e.shape[1]))) for e in (a, b))
    shuffled = [b[rng.permutation(len(b))] for _ in range(N_PERMUTATIONS)]
    r2, *chance = (1 - procrustes(a, e)[2] for e in (b, *shuffled))
    return float(r2), float(np.mean(chance))
