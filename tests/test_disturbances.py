"""Disturbances of states about their runs, and the values that they tell of neurons not seen."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from jedi_sklearn import JEDIEstimator, _expectation
from jedi_sklearn._disturbance import Disturbances, _linearised, _mode
from jedi_sklearn._observation import Gaussian, Poisson
from jedi_sklearn._trials import Trials
from jedi_sklearn.metrics import hidden_bits_per_spike, hidden_r2, r2_by

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

T, K, N = 9, 3, 5
NEURONS = np.arange(12) < 4  # to hide


def some(seed=0, n=N):
    rng = np.random.default_rng(seed)
    seen = rng.random((T, K, n)) < 0.7
    seen[4] = False
    runs, axes = 0.3 * rng.normal(size=(T, K, n)), rng.normal(size=(n, 2))
    return rng, seen, runs, Disturbances(0.5**0.5 * axes, decay=0.6)


def trials(y, seen):
    return Trials(torch.from_numpy(y * seen), torch.from_numpy(seen.astype(float)))


def test_gaussian_disturbances_are_conditional_means():
    rng, seen, runs, disturbances = some()
    y = runs + rng.normal(size=runs.shape)
    observation = Gaussian(np.zeros(N), np.ones(N))
    how = (torch.from_numpy(runs), trials(y, seen), observation, 2.0)
    found = disturbances.expect(*how).numpy()
    lag = np.abs(np.subtract.outer(np.arange(T), np.arange(T)))
    prior = np.kron(0.6**lag, disturbances.axes @ disturbances.axes.T)
    for k in range(K):
        i = np.flatnonzero(seen[:, k])
        error = (y - runs)[:, k].ravel()[i]
        gain = prior[:, i] @ np.linalg.inv(prior[np.ix_(i, i)] + np.eye(len(i)) / 2)
        assert_allclose(found[:, k].ravel(), runs[:, k].ravel() + gain @ error, rtol=1e-6)


def test_the_covariance_of_disturbances_is_learned():
    rng, T, K = np.random.default_rng(0), 40, 60
    axes = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
    z = rng.normal(size=(T, K, 2))
    for t in range(1, T):
        z[t] = 0.6 * z[t - 1] + 0.8 * z[t]
    y = z @ np.diag([1.0, 0.3]) @ axes.T + 0.5 * rng.normal(size=(T, K, 4))
    observation, runs = Gaussian(np.zeros(4), np.ones(4)), torch.zeros(T, K, 4).double()
    how = (runs, trials(y, np.ones(y.shape)), observation, slice(None))
    W = Disturbances(0.6 * axes, 0.6).refined([how], 4.0).axes
    assert_allclose(W @ W.T, axes @ np.diag([1.0, 0.09]) @ axes.T, atol=0.12)


def test_the_covariance_is_learned_from_some_neurons_for_all():
    rng, seen, runs, disturbances = some()
    y = torch.from_numpy(runs + rng.normal(size=runs.shape))
    some_, kept = Gaussian(np.zeros(3), np.ones(3)), np.array([0, 2, 4])
    how = (torch.from_numpy(runs)[..., kept], Trials(y[..., kept]), some_)
    found = disturbances.refined([(*how, kept)], 2.0)
    part = disturbances.take(kept).refined([(*how, slice(None))], 2.0)
    assert_allclose(found.take(kept).axes, part.axes, rtol=1e-9)
    mixed = np.linalg.lstsq(disturbances.axes, found.axes, rcond=None)[0]
    assert_allclose(disturbances.axes @ mixed, found.axes, rtol=1e-9)


def test_the_covariance_is_learned_from_sessions_as_from_their_block():
    rng, _, runs, disturbances = some()
    own = [np.array([0, 2]), np.array([1, 3, 4])]
    seen = np.zeros((T, K, N))
    seen[:, 0, own[0]] = seen[:, 1:, own[1]] = 1
    y = runs + rng.normal(size=runs.shape)
    runs, block = torch.from_numpy(runs), trials(y, seen)
    found = disturbances.refined([(runs, block, counting(), slice(None))], 2.0)
    parts = []
    for i, neurons in zip((slice(0, 1), slice(1, K)), own, strict=True):
        values = block.y[:, i][..., neurons]
        how = (runs[:, i][..., neurons], Trials(values), counting().take(neurons), neurons)
        parts.append(how)
    assert_allclose(disturbances.refined(parts, 2.0).axes, found.axes, rtol=1e-6)


def counting(n=N):
    return Poisson(np.zeros(n), np.linspace(0.5, 1.5, n), np.ones(n), width=1.0, prior=1.0)


def test_where_nothing_was_seen_the_runs_are_expected():
    *_, runs, disturbances = some()
    runs, nothing = torch.from_numpy(runs), np.zeros((T, K, N))
    for observation in (Gaussian(np.zeros(N), np.ones(N)), counting()):
        found = disturbances.expect(runs, trials(nothing, nothing), observation, 1.0)
        assert_allclose(found, runs, atol=1e-12)
        assert disturbances.scaled(0).expect(runs, None, observation, 1.0) is runs


@pytest.mark.parametrize("size", [1.0, 30.0])
def test_expected_counts_are_those_of_the_posterior(size):
    # one neuron, one sample and one direction, so that the integral over z is a sum
    observation, scale = counting(1), 0.5
    axes = np.array([[1.2]])
    run, y = np.log(size) / scale, 2 * size
    disturbances = Disturbances(axes, decay=0.5).scaled(0.25)
    data = trials(np.full((1, 1, 1), y), np.ones((1, 1, 1)))
    state = disturbances.expect(torch.full((1, 1, 1), run).double(), data, observation, 1.0)
    z = np.linspace(-6, 6, 4001)
    rate = size * np.exp(scale * 0.6 * z - (scale * 0.6) ** 2 / 2)
    log = y * np.log(rate) - rate - z**2 / 2
    posterior = np.exp(log - log.max())
    expected = (posterior * rate).sum() / posterior.sum()
    assert np.exp(scale * float(state)) == pytest.approx(expected, rel=0.01)
    assert size < expected < y


@pytest.mark.parametrize("outliers", [1.0, 0.1])  # share of the values
def test_huge_counts_end_in_the_mode(outliers):
    rng, seen, runs, disturbances = some(1)
    y = np.where(rng.random(runs.shape) < outliers, 1000.0, 1.0)
    W = torch.from_numpy(disturbances.axes)
    how = (torch.from_numpy(runs), trials(y, seen), W, 0.6, counting(), 1.0)
    z, _ = _mode(*how)
    assert z.abs().max() > 10
    assert_allclose(_linearised(z, *how)[0], 0, atol=1e-6 * y.max())


def test_what_is_expected_of_a_trial_does_not_depend_on_the_others():
    rng, seen, runs, disturbances = some(1)
    y = rng.poisson(1.0, size=runs.shape).astype(float)
    y[:, 0] = 1000.0  # takes many more steps
    runs, data = torch.from_numpy(runs), trials(y, seen)
    found = disturbances.expect(runs, data, counting(), 1.0)
    alone = disturbances.expect(runs[:, 1:2], data[1:2], counting(), 1.0)
    assert_allclose(alone[:, 0], found[:, 1], rtol=1e-9)


def test_neurons_that_join_keep_the_axes_in_terms_of_what_they_read():
    rng = np.random.default_rng(0)
    before, new, weights = (rng.normal(size=s) for s in ((8, 3), (2, 3), (3, 2)))
    axes = Disturbances(before @ weights, 0.5).joined(before, new).axes
    assert_allclose(axes, np.concatenate([before, new]) @ weights)


def waves(noise, seed=0):
    """Log rates of waves, with fluctuations that 12 neurons share and that last."""
    rng = np.random.default_rng(seed)
    phase = rng.choice([0.0, 2.0, 4.0], size=(120, 1, 1)) + 0.15 * np.arange(30)[:, np.newaxis]
    walk = np.zeros((120, 30))
    for t in range(1, 30):
        walk[:, t] = 0.9 * walk[:, t - 1] + noise * rng.normal(size=120)
    pattern = np.cos(1.0 + np.arange(12))
    return rng, 0.8 * np.cos(phase + np.arange(12)) + walk[..., np.newaxis] * pattern


def fitted(X):
    return JEDIEstimator(3, 6, max_iter=60, tol=1, random_state=0).fit(X[:80])


@pytest.fixture(scope="module")
def spiking():
    rng, log_rates = waves(0.3)
    X = rng.poisson(np.exp(log_rates)).astype(float)
    return fitted(X), X[80:]


@pytest.mark.slow
@pytest.mark.parametrize("with_inputs", [False, True])
def test_of_large_trials_pieces_are_hidden(with_inputs, monkeypatch):
    rng, X = waves(0.2, seed=1)
    X, inputs = X[:20], rng.normal(size=(20, 30, 1)) if with_inputs else None
    X = X + 0.3 * rng.normal(size=X.shape)
    est = JEDIEstimator(3, 6, max_iter=5, tol=1, random_state=0).fit(X, inputs=inputs)
    expect, shapes = Disturbances.expect, []

    def watched(self, runs, *how):
        shapes.append(runs.shape)
        return expect(self, runs, *how)

    monkeypatch.setattr(Disturbances, "expect", watched)
    monkeypatch.setattr(_expectation, "COPIED", 8 * 20 * 6)
    monkeypatch.setattr(_expectation, "LEAST_SAMPLES", 20)
    monkeypatch.setattr(_expectation, "LEAST_NEURONS", 6)
    *_, disturbances = _expectation.learn_reliance(est._model, X, inputs)
    assert set(shapes) == {(20, 8, 6)}  # of 30 samples and 12 neurons
    assert len(disturbances.axes) == 12


def hide(X):
    return np.where(NEURONS, np.nan, X)


@pytest.mark.slow
def test_what_neurons_share_beyond_runs_tells_of_those_not_seen(spiking):
    est, X = spiking
    assert est._model.disturbances.axes.any()
    without = copy.deepcopy(est)
    without._model.disturbances = None  # as in older files
    bits = [hidden_bits_per_spike(e, X, NEURONS) for e in (est, without)]
    assert bits[0] > bits[1] + 0.02
    run = est.predict(hide(X))
    assert hidden_r2(est, X, NEURONS) > r2_by(X[:, :, NEURONS], run[:, :, NEURONS]) + 0.02


@pytest.mark.slow
def test_imputed_values_belong_to_trials_and_leave_the_others(spiking, tmp_path):
    est, X = spiking
    seen, embeddings = hide(X), est.transform(X)
    filled = est.impute(seen)
    assert_array_equal(filled[:, :, ~NEURONS], X[:, :, ~NEURONS])
    assert (filled > 0)[:, :, NEURONS].all()
    assert_array_equal(est.impute(X), X)
    assert_allclose(est.impute(seen[5:6]), filled[5:6], rtol=1e-6)
    est.save(tmp_path / "est.npz")
    assert_array_equal(JEDIEstimator.load(tmp_path / "est.npz").impute(seen), filled)
    assert_array_equal(est.transform(X), embeddings)
    late = X.copy()
    late[:, 20:] = np.nan  # far from what was seen, only the runs are left
    far = est.impute(late)[:, 29]
    still = copy.deepcopy(est)
    still._model.disturbances = est._model.disturbances.scaled(0)
    near = np.abs(est.impute(late) - still.impute(late))[:, 20].mean()
    assert np.abs(far - still.impute(late)[:, 29]).mean() < 0.6 * near


@pytest.mark.slow
def test_continuous_activity_is_imputed_too():
    rng, X = waves(0.2, seed=1)
    X = X + 0.3 * rng.normal(size=X.shape)
    est = fitted(X)
    run = r2_by(X[80:][..., NEURONS], est.predict(hide(X[80:]))[..., NEURONS])
    assert hidden_r2(est, X[80:], NEURONS) > run + 0.02


@pytest.mark.slow
def test_independent_noise_is_not_taken_for_a_disturbance():
    rng, log_rates = waves(0.0)
    X = rng.poisson(np.exp(log_rates)).astype(float)
    est = fitted(X)
    runs = est.to_states(est.predict(X))
    assert np.square(est._model.disturbances.axes).sum() < 0.05 * runs.var(axis=(0, 1)).sum()
