"""Describe the structures of a condition's RNN, and find them in the RNN of another fit."""

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

# Share of the SD of the activity: states this close have 99 % of its variance in common. Spurious
# attractors between two of the network's, as in fits to few neurons, move farther than that
SAME = 0.1
N_STARTS = 256  # random starts for fixed points: saddles need more than attractors do
MAX_STATES = 512  # states of the runs from which searches start
LASTING = 2.0  # time constants that a mode must outlast: faster ones are fitted to noise
N_PERMUTATIONS = 20  # of trials, to estimate how well embeddings agree by chance


@dataclass(frozen=True)
class Dynamics:
    """Structures of the RNN of one condition.

    Attributes
    ----------
    points : FixedPoints
        Exact fixed points; with known inputs, those under a constant input.
    positions : ndarray of shape (n_points, n_neurons)
        The same points as activity, in the units of X.
    modes : ndarray of shape (n_modes,), complex
        Growth rate (1/s) + 2 pi i frequency (Hz) of the equivalent eigenvalues, slowest first.
        Complex-conjugate pairs are listed once.
    exponent : float
        Leading Lyapunov exponent, 1/s, mean over the runs.
    """

    points: FixedPoints
    positions: np.ndarray
    modes: np.ndarray
    exponent: float


def dynamics_of(rnns, to_activity, inputs=None):
    """Describe the structures of one RNN, given as a batch of copies with different starts.

    Each copy runs with its own inputs, if there are any. The fixed points are those under the
    constant `inputs` of shape (n_inputs,).
    """
    runs = own_runs(rnns)
    states = np.concatenate(runs)
    with warnings.catch_warnings():  # the report itself covers what these warnings would say
        warnings.filterwarnings("ignore", "No fixed point was found", UserWarning)
        warnings.filterwarnings("ignore", "The largest exponent", UserWarning)
        starts = states[:: -(-len(states) // MAX_STATES)]
        points = find_fixed_points(rnns[0], starts, inputs=inputs, n_random_starts=N_STARTS)[0]
        warnings.filterwarnings("ignore", "These states are", UserWarning)
        positions = to_activity(points.points)
        exponent = float(lyapunov_exponents(rnns, n_exponents=1).mean())
    return Dynamics(points, positions, modes_of(rnns, states), exponent)


def modes_of(rnns, states):
    """Compute equivalent eigenvalues of a batch's first RNN over states (n_states, n_neurons)."""
    weights = ReducedRNN(rnns, 0).effective_weights(equivalent_gains(states)[np.newaxis])[0]
    multipliers = 1 + rnns.alpha * (np.linalg.eigvals(weights).astype(complex) - 1)
    modes = growth_rates(multipliers, rnns.dt) + 2j * np.pi * frequencies(multipliers, rnns.dt)
    modes = modes[modes.imag >= 0]
    return modes[np.lexsort((modes.imag, -modes.real))]


def lasting(modes, tau):
    """Keep modes that outlast a few time constants, and are therefore not fitted to noise."""
    return modes[modes.real >= -1 / (LASTING * tau)]


def point_distances(a, b, spread):
    """Compute RMS distances over neurons of points (n, neurons) and (m, neurons), per spread."""
    return cdist(a, b) / np.sqrt(a.shape[1]) / spread


def tolerances(positions, spread):
    """Compute how far each point may move and still be closer to itself than to any other."""
    distance = point_distances(positions, positions, spread)
    np.fill_diagonal(distance, np.inf)
    return np.minimum(SAME, distance.min(axis=1, initial=np.inf) / 2)


def match_points(distance, n_unstable, other_n_unstable, tolerance):
    """Match points of two fits one to one.

    Parameters
    ----------
    distance : ndarray of shape (n_points, n_others)
        Distances, in SDs of the activity.
    n_unstable, other_n_unstable : ndarray of shape (n_points,) and (n_others,)
        Numbers of unstable directions in the two fits.
    tolerance : ndarray of shape (n_points,)
        Largest distance at which a point counts as the same.

    Returns
    -------
    index : ndarray of int of shape (n_points,)
        Point of the other fit within the tolerance, -1 if there is none. Of two candidates, the
        one with the same stability is chosen.
    """
    index = np.full(len(distance), -1)
    away = distance > tolerance[:, np.newaxis]
    unlike = n_unstable[:, np.newaxis] != other_n_unstable
    # first maximise the number of matches, then those of equal stability, then minimise distances
    cost = np.where(away, 2.0 * len(distance) + 1, unlike + distance / SAME)
    i, j = linear_sum_assignment(cost)
    found = ~away[i, j]
    index[i[found]] = j[found]
    return index


def match_modes(modes, others, duration):
    """Match modes of two fits one to one.

    Two modes are the same if a run of this duration hardly distinguishes them: they grow or decay
    by factors that differ by less than e, and stay within half a cycle of each other.

    Returns
    -------
    nearest : ndarray of shape (n_modes,), complex
        Mode of the other fit assigned to each, NaN if there are too few.
    same : ndarray of bool of shape (n_modes,)
        Whether the two are the same.
    """
    nearest = np.full(len(modes), np.nan, dtype=complex)
    i, j = linear_sum_assignment(np.abs(modes[:, np.newaxis] - others))
    nearest[i] = others[j]
    difference = np.abs((nearest - modes).real), np.abs((nearest - modes).imag)
    same = (difference[0] <= 1 / duration) & (difference[1] <= np.pi / duration)
    return nearest, same


def embedding_agreement(a, b, rng):
    """Compute R2 of embeddings of the same trials after the best orthogonal map, and by chance.

    Embeddings are also scaled by the best common factor, because in each fit the last component
    has an SD of 1 whatever its effect.

    Parameters
    ----------
    a, b : ndarray of shape (n_trials, n_components) and (n_trials, n_other_components)
        Embeddings.
    rng : RandomState
        Generator that permutes the trials of one fit, to estimate the agreement by chance.

    Returns
    -------
    r2, chance : float
        R2 of the embeddings, and its mean over permuted trials.
    """
    width = max(a.shape[1], b.shape[1])
    a, b = (np.pad(e, ((0, 0), (0, width - e.shape[1]))) for e in (a, b))
    shuffled = [b[rng.permutation(len(b))] for _ in range(N_PERMUTATIONS)]
    r2, *chance = (1 - procrustes(a, e)[2] for e in (b, *shuffled))
    return float(r2), float(np.mean(chance))
