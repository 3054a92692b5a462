"""Facts about where free runs start by default if embeddings do not say it."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from jedi_sklearn import JEDIEstimator, RNNBatch
from jedi_sklearn._distributed import ALONE
from jedi_sklearn._fit import prepare, start
from jedi_sklearn._initial_state import Generated, Inferred, Observed

DT, N_TRIALS, N_NEURONS = 0.02, 80, 24


def runs_of_one_network(seed=0):
    """Free runs of a rank-2 network from anywhere, of 24 dimensions."""
    rng = np.random.RandomState(seed)
    V = np.linalg.qr(rng.standard_normal((N_NEURONS, 2)))[0]
    teacher = RNNBatch(V @ np.array([[1.2, -2.4], [2.4, 1.2]]), V, dt=DT, tau=0.1)
    return teacher.simulate(rng.standard_normal((N_TRIALS, N_NEURONS)), 40)


def chosen(X, y=None, inputs=None, **how):
    """The class of the initial state of a fit, before training."""
    est = JEDIEstimator(1, 4, dt=DT, random_state=0, **how)
    model, _, _ = start(*prepare(est, X, y, None, inputs, None, ALONE))
    return type(model.initial_state)


def noise(shape, seed=1):
    return np.random.RandomState(seed).standard_normal(shape)


def in_four_ways(X):
    """The same trials in 24 neurons that read out four dimensions."""
    return X[..., :4] @ np.random.RandomState(2).standard_normal((4, N_NEURONS))


def slow(shape):
    """Noise of SD 1 that lasts as long as the starts, and longer."""
    smooth = gaussian_filter1d(noise((shape[0], 3 * shape[1], shape[2])), 8, axis=1)
    return (smooth / smooth.std())[:, shape[1] : 2 * shape[1]]


RECORDINGS = {
    "clean": (lambda X: X + 0.05 * noise(X.shape), Observed),
    "noisy": (lambda X: X + 0.3 * noise(X.shape), Inferred),
    "nothing but noise": (lambda X: noise(X.shape), Inferred),
    "slow noise": (lambda X: slow(X.shape), Inferred),
    "few ways": (lambda X: in_four_ways(X) + 0.05 * noise(X.shape), Inferred),
    "few ways, noise-free": (in_four_ways, Inferred),
    "two samples": (lambda X: X[:, :2], Inferred),
    "counts": (
        lambda X: np.random.RandomState(3).poisson(np.exp(0.5 * X + 1)).astype(float),
        Inferred,
    ),
}


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize(("record", "expected"), RECORDINGS.values(), ids=RECORDINGS)
def test_first_samples_are_starts_only_if_they_are_clean_and_vary_in_many_ways(
    record, expected, steps
):
    X = record(runs_of_one_network())
    assert chosen(X, inputs=np.ones((*X.shape[:2], 1)), steps_per_sample=steps) is expected


@pytest.mark.parametrize("unit", [1e-3, 1, 1e4])
def test_units_do_not_matter(unit):
    X, y = runs_of_one_network(), np.arange(N_TRIALS) % 2
    how = {"scale": None, "embedding": "condition"}
    assert chosen(unit * (X + 0.05 * noise(X.shape)), y, **how) is Observed
    assert chosen(unit * (X + 0.3 * noise(X.shape)), y, **how) is Inferred


def test_embeddings_of_trials_generate_starts():
    assert chosen(runs_of_one_network()) is Generated


@pytest.mark.slow
def test_noisy_trials_with_known_inputs_are_described_better_than_from_first_samples():
    rng = np.random.RandomState(4)
    V = np.linalg.qr(rng.standard_normal((N_NEURONS, 2)))[0]
    B = 2 * rng.standard_normal((N_NEURONS, 1))
    teacher = RNNBatch(V @ np.array([[1.2, -2.4], [2.4, 1.2]]), V, input_weights=B, dt=DT, tau=0.1)
    u = np.sin(rng.uniform(0, 6, (N_TRIALS, 1, 1)) + DT * 6 * np.arange(40)[:, np.newaxis])
    true = teacher.simulate(0.1 * rng.standard_normal((N_TRIALS, N_NEURONS)), 40, u)
    X = true + 0.5 * noise(true.shape)
    error = {}
    for option in ("auto", "observed"):
        est = JEDIEstimator(2, 4, dt=DT, initial_state=option, max_iter=100, random_state=0)
        est.fit(X[:60], inputs=u[:60])
        run = est.predict(X[60:], inputs=u[60:])
        error[option] = np.square(run - true[60:]).mean()
    assert error["auto"] < 0.5 * error["observed"]
