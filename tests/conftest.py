"""Small data with known answers, and estimators fitted to them once per session."""

import contextlib
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of every thread, when its libraries are loaded

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import hadamard as scipy_hadamard
from scipy.optimize import brentq, linear_sum_assignment
from sklearn.utils import Bunch

from jedi_sklearn import JEDIEstimator, RNNBatch
from jedi_sklearn._hypernetwork import Hypernetwork
from jedi_sklearn._rollout import simulate
from jedi_sklearn._schedule import Progress
from jedi_sklearn.datasets import make_multitask

torch.set_num_threads(1)

TAU = 0.1


def population_model(
    n_trials=40,
    n_timesteps=50,
    *,
    n_neurons=24,
    rank=4,
    n_components=2,
    variation=0.3,
    turning=2.0,
    alpha=0.2,
    conditions=None,
    noise=0.0,
    seed=0,
):
    """Free runs of a shared-basis model whose bases the data reveal exactly.

    Neurons come in `rank` populations of identical cells, so states and rates both stay in the
    span of the population indicators P: J(c) = P G(c) P', and U = V = P can be read off the data.
    """
    rng = np.random.RandomState(seed)
    size = n_neurons // rank
    P = np.kron(np.eye(rank), np.ones((size, 1))) / np.sqrt(size)
    cores = variation * rng.standard_normal((n_components + 1, rank, rank))
    cores[0] = 1.3 * np.eye(rank)
    for i in range(0, rank - 1, 2):
        cores[0, i, i + 1], cores[0, i + 1, i] = -turning, turning
    bias = 0.3 * rng.standard_normal((n_components + 1, rank))
    maps = np.concatenate([cores.transpose(0, 2, 1), bias[:, None]], axis=1)
    hyper = Hypernetwork(n_components, n_neurons, rank).double().requires_grad_(False)
    hyper.start_from(*(torch.as_tensor(a) for a in (P, P, maps)))

    n_rows = n_trials if conditions is None else max(conditions) + 1
    c = rng.standard_normal((n_rows, n_components))
    each = c if conditions is None else c[conditions]
    x0 = np.sqrt(size) * rng.standard_normal((n_trials, rank)) @ P.T
    weights = hyper(torch.as_tensor(each))
    run = simulate(hyper.connectivity, weights, torch.as_tensor(x0), n_timesteps, alpha)
    run = run.transpose(0, 1).numpy()
    w = {name: a.numpy() for name, a in weights.items()}
    rnns = RNNBatch(w["U"], w["V"], w["core"], bias=w["bias"] @ w["U"].T, dt=alpha * TAU, tau=TAU)
    return Bunch(
        X=run + noise * rng.standard_normal(run.shape),
        free_run=run,
        c=each,
        rnns=rnns,
        hyper=hyper,
        maps=maps,
        P=P,
        alpha=alpha,
        dt=alpha * TAU,
        rank=rank,
    )


def small_estimator(**changes):
    """An estimator that fits in a second; tol=1 keeps the judgement of convergence silent."""
    parameters = {
        "n_components": 4,
        "rank": 8,
        "dt": 0.02,
        "max_iter": 40,
        "tol": 1.0,
        "random_state": 0,
    }
    return JEDIEstimator(**(parameters | changes))


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    """Close what a test drew, which is no business of the next one."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


@pytest.fixture(scope="session")
def make_model():
    return population_model


@pytest.fixture(scope="session")
def small():
    return small_estimator


class Stop(Exception):
    """Ends a fit from within."""


@pytest.fixture
def stopped_at(monkeypatch):
    """Context in which a fit meets an exception at a step, and raises it."""

    @contextlib.contextmanager
    def stop(step, exception=Stop):
        class Stopping(Progress):
            def __call__(self, now, loss, teacher_forcing):
                if now == step:
                    raise exception

        with monkeypatch.context() as patch, pytest.raises(exception):
            patch.setattr("jedi_sklearn._fit.Progress", Stopping)
            yield

    return stop


@pytest.fixture(scope="session")
def known():
    """30 training and 10 held-out noise-free trials of a known model."""
    return population_model(40, rank=2, turning=1.5)


@pytest.fixture(scope="session")
def recovered(known):
    """Default recipe on the 30 training trials of `known`, in the units of its RNNs."""
    est = JEDIEstimator(2, 2, scale=None, dt=known.dt, random_state=0)
    return est.fit(known.X[:30])


@pytest.fixture(scope="session")
def multitask():
    return make_multitask(40, n_neurons=30, n_timesteps=50, dt=0.02, random_state=0)


@pytest.fixture(scope="session")
def fitted(multitask):
    """A short fit to 30 trials of `multitask`; tests do not change it."""
    return small_estimator().fit(multitask.X[:30], multitask.task[:30])


@pytest.fixture(scope="session")
def recording():
    """Load a real recording by name, from the folder named in JEDI_DATA_DIR."""

    def load(name):
        folder = os.environ.get("JEDI_DATA_DIR")
        if not folder:
            pytest.skip("JEDI_DATA_DIR does not name a folder with the real recordings")
        path = Path(folder) / name
        if not path.exists():
            pytest.skip(f"{name} is not in JEDI_DATA_DIR")
        return np.load(path, allow_pickle=False)

    return load


# RNNs whose fixed points, spectra and cycles are known in closed form


def root(drive, low, high):
    """The kappa in (low, high) with drive(kappa) = kappa, to machine precision."""
    return brentq(lambda k: drive(k) - k, low, high, xtol=1e-15, rtol=1e-15)


def bistable(gain=2.0, n_neurons=20, seed=0, **rest):
    """J = gain m m' / N with m of +-1: three points, 0 and +-kappa m, kappa = gain tanh kappa."""
    m = np.random.RandomState(seed).choice([-1.0, 1.0], n_neurons)
    rnn = RNNBatch(gain / n_neurons * m[:, None], m[:, None], **rest)
    kappa = root(lambda k: gain * np.tanh(k), 0.1, gain)
    return Bunch(rnn=rnn, m=m, gain=gain, kappa=kappa, at_points=gain * (1 - np.tanh(kappa) ** 2))


def hadamard(gain=1.6, n_neurons=16, **rest):
    """J = gain (m1 m1' + m2 m2') / N with orthogonal m of +-1: nine points.

    In a = k1 + k2 and b = k1 - k2 (x = k1 m1 + k2 m2) it is two independent bistable networks,
    of the neurons where m1 = m2 and of those where m1 = -m2.
    """
    m = scipy_hadamard(n_neurons)[:, 1:3].astype(float)
    rnn = RNNBatch(gain / n_neurons * m, m, **rest)
    kappa = root(lambda k: gain * np.tanh(k), 0.1, gain)
    a, b = np.array(list(product((-kappa, 0, kappa), repeat=2))).T
    points = np.stack([(a + b) / 2, (a - b) / 2], axis=1) @ m.T
    values = gain * (1 - np.tanh(np.stack([a, b], axis=1)) ** 2)
    return Bunch(rnn=rnn, points=points, eigenvalues=-np.sort(-values, axis=1), m=m)


def ring(gain=2.0, turn=0.0, n_neurons=60, **rest):
    """Evenly spaced cosines: a ring of fixed points, or with `turn` (rad) a circular cycle.

    By symmetry one step takes a state of radius r in the plane to one of radius f(r), turned by
    an angle; `across` is f' at f(radius) = radius, `angle` the turn of a step there.
    """
    theta = 2 * np.pi * np.arange(n_neurons) / n_neurons
    plane = np.stack([np.cos(theta), np.sin(theta)], axis=1)
    c, s = np.cos(turn), np.sin(turn)
    rnn = RNNBatch(2 * gain / n_neurons * plane @ np.array([[c, -s], [s, c]]), plane, **rest)
    cos, alpha = plane[:, 0], rnn.alpha

    def drive(r):
        return 2 * gain * np.mean(cos * np.tanh(r * cos))

    def radial(r):
        return np.hypot((1 - alpha) * r + alpha * c * drive(r), alpha * s * drive(r))

    radius = root(radial, 0.1, 2 * gain)
    h, slope = drive(radius), 2 * gain * np.mean(cos**2 * (1 - np.tanh(radius * cos) ** 2))
    along, aside = (1 - alpha) * radius + alpha * c * h, alpha * s * h
    across = (along * (1 - alpha + alpha * c * slope) + aside * alpha * s * slope) / radius
    return Bunch(
        rnn=rnn,
        theta=theta,
        plane=plane,
        radius=radius,
        across=across,
        angle=np.arctan2(aside, along),
    )


def random_rnns(kind, n_rnns=3, n_neurons=12, rank=3, gain=3.0, seed=0, **rest):
    """A batch of one connectivity with random weights and biases, O(1) eigenvalues."""
    rng = np.random.RandomState(seed)
    rest = {"bias": 0.3 * rng.standard_normal((n_rnns, n_neurons)), "dt": 0.02} | rest
    size = gain / np.sqrt(n_neurons)
    if kind == "full_rank":
        return RNNBatch.from_dense(
            size * rng.standard_normal((n_rnns, n_neurons, n_neurons)), **rest
        )
    shape = (2, n_neurons, rank) if kind == "shared" else (2, n_rnns, n_neurons, rank)
    U, V = rng.standard_normal(shape) * np.sqrt(size)
    core = None if kind == "low_rank" else rng.standard_normal((n_rnns, rank, rank))
    return RNNBatch(U, V, core, **rest)


def assert_same_points(found, expected, atol=1e-6):
    """Two sets of points are one, in any order."""
    found, expected = np.atleast_2d(found), np.atleast_2d(expected)
    assert len(found) == len(expected)
    distance = np.abs(found[:, np.newaxis] - expected).max(axis=2)
    assert distance.min(axis=0).max() < atol
    assert distance.min(axis=1).max() < atol


def assert_same_spectrum(found, expected, atol=1e-6):
    """Two sets of complex numbers are one, in any order."""
    found, expected = np.ravel(found), np.ravel(expected)
    assert found.shape == expected.shape
    distance = np.abs(found[:, np.newaxis] - expected)
    rows, columns = linear_sum_assignment(distance)
    assert distance[rows, columns].max() < atol


@pytest.fixture(scope="session")
def networks():
    """Builders of RNNs with known answers."""
    return Bunch(bistable=bistable, hadamard=hadamard, ring=ring, random=random_rnns)


@pytest.fixture(scope="session")
def same_points():
    return assert_same_points


@pytest.fixture(scope="session")
def same_spectrum():
    return assert_same_spectrum
