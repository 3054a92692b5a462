"""Forecasts: averages over what trials may be of which the beginning was seen."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from jedi_sklearn import JEDIEstimator, _expectation, _linearised
from jedi_sklearn._inference import GaussianPrior
from jedi_sklearn._observation import Gaussian, Poisson
from jedi_sklearn._trials import Trials
from jedi_sklearn.metrics import ForecastScorer, bits_per_spike

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_TRAINING, N_SEEN, N_LATER = 60, 15, 15


@pytest.fixture(scope="module")
def spikes():
    """Waves of 20 neurons that start anywhere, in few spikes; expected counts, and counts."""
    rng = np.random.default_rng(0)
    phase = rng.uniform(0, 2 * np.pi, size=(100, 1, 1))
    time = 0.2 * np.arange(N_SEEN + N_LATER)[:, np.newaxis]
    rates = np.exp(np.cos(phase + time + np.arange(20)) - 1.7)
    return rates, rng.poisson(rates).astype(float)


@pytest.fixture(scope="module")
def est(spikes):
    est = JEDIEstimator(4, 6, max_iter=60, tol=1, random_state=0)
    return est.fit(spikes[1][:N_TRAINING])


def seen(spikes):
    return spikes[1][N_TRAINING:, :N_SEEN]


def test_averages_foresee_more_of_few_spikes_than_the_most_likely_run(est, spikes):
    X = spikes[1][N_TRAINING:]
    bits = [
        ForecastScorer(N_SEEN / X.shape[1], average=average)(est, X) for average in (True, False)
    ]
    assert bits[0] > bits[1] + 0.015
    average = est.forecast(seen(spikes), N_LATER)
    assert bits[0] == pytest.approx(bits_per_spike(X[:, N_SEEN:], average))


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
@pytest.mark.parametrize("missing", [False, True])
def test_deviances_of_all_pairs_are_those_of_each(kind, missing, monkeypatch):
    rng = np.random.default_rng(0)
    observation = {
        "gaussian": Gaussian(np.zeros(4), np.ones(4)),
        "poisson": Poisson(rng.normal(size=4), rng.uniform(0.5, 2, size=4), np.ones(4), 1.0, 1.0),
    }[kind]
    y = torch.from_numpy(rng.poisson(1.0, size=(6, 3, 4)).astype(float))
    weight = torch.from_numpy((rng.random((6, 3, 4)) < 0.7).astype(float)) if missing else None
    if missing and kind == "poisson":
        y = y * weight  # as `observe` gives missing counts
    states = torch.from_numpy(rng.normal(size=(6, 5, 4)))
    monkeypatch.setattr(_linearised, "CHUNK_BYTES", 2 * 8 * 6 * 4)  # two runs at a time
    found = _linearised.deviances(states, Trials(y, weight), observation)
    for k, j in np.ndindex(3, 5):
        w = None if weight is None else weight[:, k]
        alone = observation.score(states[:, j].clone(), y[:, k], w)[2].sum()
        assert_allclose(found[k, j], alone, rtol=1e-12)


def test_where_hardly_anything_was_seen_the_forecast_is_what_training_trials_do(est, spikes):
    X = seen(spikes)[:3].copy()
    X[:, :, 1:], X[:, 1:] = np.nan, np.nan
    mean = est.forecast(X, N_LATER)
    runs = est.inverse_transform(est.embedding_, n_timesteps=N_SEEN + N_LATER)[:, N_SEEN:]
    assert_allclose(mean, np.broadcast_to(runs.mean(axis=0), mean.shape), rtol=0.2, atol=0.02)


def test_forecasts_belong_to_trials_and_are_the_same_each_time(est, spikes, tmp_path):
    X = seen(spikes)
    whole = est.forecast(X, 5)
    assert_array_equal(est.forecast(X, 5), whole)
    assert_allclose(est.forecast(X[7:8], 5), whole[7:8], rtol=1e-9)
    assert_allclose(est.forecast(X, 3), whole[:, :3], rtol=1e-9)
    est.save(tmp_path / "est.npz")
    assert_array_equal(JEDIEstimator.load(tmp_path / "est.npz").forecast(X, 5), whole)


def test_runs_that_trials_have_in_common_are_not_made_for_each(est, spikes, monkeypatch):
    X = seen(spikes)[:4].copy()
    X[0, 3:5], X[1, :, :10] = np.nan, np.nan
    together = est.forecast(X, 5)
    monkeypatch.setattr(_expectation, "deviances", None)  # is not called
    monkeypatch.setattr(Trials, "n_inputs", 1)
    assert_allclose(est.forecast(X, 5), together, rtol=1e-6, atol=1e-9)


def test_a_file_without_training_trials_follows_the_likeliest_run(est, spikes):
    without = copy.deepcopy(est)
    assert len(without._model.prior.known) == N_TRAINING
    without._model.prior.known = torch.zeros(0, 4, dtype=torch.float64)
    without._model.temperature = 1.0
    X = seen(spikes)
    assert_allclose(without.forecast(X, 5), est.forecast(X, 5, average=False), rtol=1e-6)


def test_the_temperature_is_what_residuals_ask_for(est, spikes):
    # each spike counted eight times over: the same rates, and misleading evidence
    assert est._model.temperature <= 2
    counted = copy.deepcopy(est._model)
    counted.observation.noise /= 8
    counted.learn_reliance(spikes[1][:N_TRAINING], None)
    assert counted.temperature >= 4


def test_a_run_that_explodes_is_not_believed(est, spikes):
    wild = copy.deepcopy(est)
    prior = wild._model.prior
    prior.mean += 100.0  # modes are pulled far from all training trials
    prior.precision *= 1e6
    runs = est.inverse_transform(est.embedding_, n_timesteps=N_SEEN + N_LATER)
    assert wild.forecast(seen(spikes), N_LATER).max() <= runs.max()


def without_gaussian(monkeypatch, log_integral):
    """Give the Gaussian this log integral."""
    monkeypatch.setattr(
        GaussianPrior, "log_integral", lambda self, p, H: p.new_full(p.shape[:1], log_integral)
    )


def test_an_integral_that_does_not_exist_leaves_the_training_trials(est, spikes, monkeypatch):
    without_gaussian(monkeypatch, -np.inf)
    expected = est.forecast(seen(spikes)[:3], 5)
    without_gaussian(monkeypatch, np.nan)
    assert np.isfinite(expected).all()
    assert_array_equal(est.forecast(seen(spikes)[:3], 5), expected)
    alone = copy.deepcopy(est)
    alone._model.prior.known = torch.zeros(0, 4, dtype=torch.float64)
    assert np.isfinite(alone.forecast(seen(spikes)[:3], 5)).all()


def test_evidence_leaves_out_a_run_that_explodes(est, spikes, monkeypatch):
    wild = copy.deepcopy(est._model)
    wild.largest = 0.0  # any mode
    how = (seen(spikes)[:3], torch.device("cpu"))
    evidence = wild.infer(*how, ahead=5, correction=0.0, weigh=True).evidence
    without_gaussian(monkeypatch, -np.inf)
    expected = wild.infer(*how, ahead=5, correction=0.0, weigh=True).evidence
    assert_allclose(evidence, expected, rtol=1e-12)


def test_a_temperature_that_makes_no_difference_is_1():
    losses = np.random.default_rng(0).uniform(1, 2, size=(8, 1)) * np.ones(5)
    assert _expectation._highest_good(losses) == 1.0
    assert _expectation._highest_good(losses - 0.1 * np.arange(5)) == 16.0


def test_very_many_trials_are_stood_for_by_some():
    few = _expectation.some_of(1000, 256)
    assert len(few) == len(set(few.tolist())) == 256
    assert_array_equal(few, np.sort(few))
    assert_array_equal(_expectation.some_of(5, 256), np.arange(5))
