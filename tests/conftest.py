"""Small data with known answers, and estimators fitted to them once per session."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.utils import Bunch

from jedi_sklearn import JEDIEstimator, RNNBatch
from jedi_sklearn._hypernetwork import Hypernetwork
from jedi_sklearn._rollout import simulate
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
    run = simulate(weights, torch.as_tensor(x0), n_timesteps, alpha).transpose(0, 1).numpy()
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


@pytest.fixture(scope="session")
def make_model():
    return population_model


@pytest.fixture(scope="session")
def small():
    return small_estimator


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
