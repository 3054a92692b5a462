"""Which points and exponents a fitted RNN has, and how far they are from those of a teacher."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.utils import Bunch

from jedi_sklearn import RNNBatch, find_fixed_points, lyapunov_exponents

from ._common import quiet, scaled

MAX_STARTS = 1500  # states of the data that searches start from


def rnn_of(est, condition):
    """The RNN of a condition."""
    index = list(est.conditions_).index(condition)
    return est.generate_rnns(est.condition_embeddings_[index : index + 1])


def search(est, rnn, X, **arguments):
    """Fixed (and slow) points of a fitted RNN, in the units of the data.

    From activity X and random starts, or from more random starts alone.
    """
    rnn = RNNBatch.concatenate([rnn])  # a copy
    rnn.initial_states = None  # its own free run is no start
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        starts, n = (None, 2048) if X is None else (thin(scaled(est, X)), 512)
        found = find_fixed_points(rnn, starts, n_random_starts=n, **arguments)[0]
    return Bunch(points=found.points * est.scale_ + est.mean_, found=found)


def thin(X):
    """States of trials, not more than MAX_STARTS."""
    states = X.reshape(-1, X.shape[-1])
    return states[:: -(-len(states) // MAX_STARTS)]


def pick(points, index):
    """Some of the points."""
    return Bunch(points=points.points[index], found=points.found[index])


def select(points, n_unstable):
    """The exact fixed points with so many unstable directions."""
    return pick(points, points.found.exact & (points.found.n_unstable == n_unstable))


def cross(a, b):
    """Distances of all pairs, (len(a), len(b))."""
    return np.linalg.norm(a[:, np.newaxis] - b[np.newaxis], axis=2)


def nearest(a, b, skip_self=False):
    """Distance of each point of a to the nearest of b."""
    distance = cross(a, b)
    if skip_self:
        np.fill_diagonal(distance, np.inf)
    return distance.min(axis=1)


def growth_error(true, model, distance):
    """Mean absolute difference of the leading growth rates at points matched one to one."""
    if not distance.size:
        return None
    i, j = linear_sum_assignment(distance)
    rates = [p.found.growth_rates[:, 0] for p in (true, model)]
    return float(np.abs(rates[0][i] - rates[1][j]).mean())


def lyapunov_error(est, data, trials):
    """Mean absolute difference of the leading exponent along the noise-free trials."""
    states = data.free_run[trials]
    exact = lyapunov_exponents(
        data.teacher[np.zeros(len(trials), dtype=int)], states, n_exponents=1
    )
    ours = lyapunov_exponents(quiet(est.dynamics, data.X[trials]), n_exponents=1)
    return float(np.abs(exact - ours).mean())
