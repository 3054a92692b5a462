"""Facts about samples that several steps of the dynamics lie between."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from jedi_sklearn import JEDIEstimator
from jedi_sklearn._observation import residual_autocorrelation_time
from jedi_sklearn._trials import Trials
from jedi_sklearn.datasets import make_multitask, make_spike_counts
from jedi_sklearn.metrics import r2_by

EVERY = 3
DATA = make_multitask(40, n_neurons=20, n_timesteps=61, dt=0.02, random_state=0)
COARSE = DATA.X[:, ::EVERY]
INPUTS = DATA.inputs[:, ::EVERY]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def coarse(**parameters):
    common = {"dt": 0.06, "tau": 0.1, "max_iter": 40, "tol": 1.0, "random_state": 0}
    return JEDIEstimator(4, 8, **common | {"steps_per_sample": EVERY} | parameters)


@pytest.fixture(scope="module")
def est():
    return coarse(max_iter=200).fit(COARSE[:30])


# What the fit makes of them


@pytest.mark.slow
def test_the_dynamics_between_samples_are_found(est):
    """What was never seen, the samples in between, is what the RNNs say."""
    rnns = est.dynamics(COARSE[30:])
    assert rnns.dt == pytest.approx(0.02) and rnns.n_timesteps == 61
    run = est.to_activity(rnns.free_run())
    between = np.arange(61) % EVERY != 0
    assert r2_by(DATA.X[30:, between], run[:, between]) > 0.85
    assert_allclose(run[:, ::EVERY], est.predict(COARSE[30:]), rtol=1e-9, atol=1e-9)


def test_rnns_of_padded_trials_count_their_own_steps(est):
    padded = np.concatenate([COARSE[30:], np.full((10, 4, 20), np.nan)], axis=1)
    rnns = est.dynamics(padded)
    assert (rnns.n_timesteps, *set(rnns.lengths)) == (73, 61)


@pytest.mark.slow
def test_several_steps_explain_bins_as_long_as_tau():
    """At 0.8 of tau a step is no small one."""
    X = DATA.X[:, ::4]
    scores = [
        coarse(dt=0.08, steps_per_sample=n, max_iter=150).fit(X[:30]).score(X[30:]) for n in (1, 4)
    ]
    assert scores[1] > scores[0]


@pytest.mark.parametrize(("dt", "enough"), [(0.01, 1), (0.05, 1), (0.06, 2), (0.1, 2), (0.3, 6)])
def test_auto_makes_steps_of_half_of_tau_or_less(dt, enough):
    est = coarse(dt=dt, steps_per_sample="auto", max_iter=2).fit(COARSE[:8, :6])
    assert est.steps_per_sample_ == enough


def test_one_step_is_what_it_was():
    X, expected = COARSE[:20], coarse(dt=0.04, steps_per_sample=1, max_iter=5)
    other = clone(expected).set_params(steps_per_sample="auto")
    assert_array_equal(expected.fit(X).embedding_, other.fit(X).embedding_)


# With everything else


def test_forecasts_go_on_from_the_last_sample(est):
    X = COARSE[30:]
    for correction in (0.0, 0.3):
        after = est.forecast(X[:, :15], 6, correction=correction)
        assert after.shape == (10, 6, 20)
        assert r2_by(X[:, 15:], after) > 0.7


@pytest.mark.slow
def test_inputs_are_held_between_samples():
    est = coarse(initial_state="generated").fit(COARSE, inputs=INPUTS)
    rnns = est.dynamics(COARSE, inputs=INPUTS)
    assert_array_equal(rnns.inputs[:, :3], np.repeat(INPUTS[:, :1], 3, axis=1))
    assert rnns.inputs.shape == (40, 61, DATA.inputs.shape[2])
    run = est.to_activity(rnns.free_run())[:, ::EVERY]
    assert_allclose(run, est.predict(COARSE, inputs=INPUTS), rtol=1e-9, atol=1e-9)
    E, n = est.embedding_, COARSE.shape[1]
    assert_allclose(est.inverse_transform(E, n_timesteps=n, inputs=INPUTS), run, atol=1e-9)


@pytest.mark.slow
def test_missing_samples_and_files(monkeypatch, tmp_path):
    X = COARSE.copy()
    X[3, 12:], X[5, 4:6], X[7, :, 2] = np.nan, np.nan, np.nan
    est = coarse(batch_size=10, max_iter=12).fit(X)
    assert_allclose(est.transform(X[3:4, :12]), est.embedding_[3:4], atol=1e-6)
    np.save(tmp_path / "X.npy", X)
    monkeypatch.setattr("jedi_sklearn._stored.LARGE", 1000)
    stored = coarse(batch_size=10, max_iter=12).fit(np.load(tmp_path / "X.npy", mmap_mode="r"))
    assert_array_equal(stored.embedding_, est.embedding_)


@pytest.mark.parametrize("changes", [{"connectivity": "low_rank"}, {"initial_state": "observed"}])
@pytest.mark.slow
def test_other_forms(changes):
    est = coarse(max_iter=60, **changes).fit(COARSE[:30])
    assert est.score(COARSE[30:]) > 0.7
    assert np.isfinite(est.posterior(COARSE[30:]).covariance).all()


@pytest.mark.slow
def test_rates_are_those_of_the_bin():
    X = make_spike_counts(DATA, rate=20.0, random_state=0).X
    bins = X[:, :60].reshape(40, 20, 3, -1).sum(axis=2)
    est = coarse(observation="auto").fit(bins)
    assert est.observation_ == "poisson"
    counts, rates = est.predict(bins), est.predict(bins, per_second=True)
    assert_allclose(rates, counts / 0.06)
    assert rates.mean() == pytest.approx(bins.mean() / 0.06, rel=0.1)


@pytest.mark.slow
def test_neurons_join(est):
    """Five that do what five of the fit do; later they are predicted from these."""
    joined = est.adapt(np.concatenate([COARSE[:30], COARSE[:30, :, :5]], axis=2))
    later = np.concatenate([COARSE[30:], np.full((10, 21, 5), np.nan)], axis=2)
    run = joined.predict(later)
    assert_allclose(run[:, :, :20], est.predict(COARSE[30:]))
    assert r2_by(COARSE[30:, :, :5], run[:, :, 20:]) > 0.8


@pytest.mark.slow
def test_files_and_warm_starts_know_the_steps(est, tmp_path):
    est.save(tmp_path / "model.npz")
    again = JEDIEstimator.load(tmp_path / "model.npz")
    assert_array_equal(again.predict(COARSE[30:]), est.predict(COARSE[30:]))
    again.set_params(warm_start=True, max_iter=3, steps_per_sample=2)
    with pytest.raises(ValueError, match="steps_per_sample=3, got 2"):
        again.fit(COARSE[:30])
    before = again.score(COARSE[:30])
    again.set_params(steps_per_sample="auto", max_iter=20).fit(COARSE[:30])
    assert again.steps_per_sample_ == EVERY
    assert again.score(COARSE[:30]) > before - 0.01


# Their parts


def test_between_samples_nothing_was_observed():
    y = torch.arange(12.0).reshape(3, 2, 2)
    weight = torch.ones_like(y)
    weight[1, 0] = 0
    u = torch.arange(6.0).reshape(3, 2, 1)
    trials = Trials(y, weight, y.clone(), u).spread(2)
    assert trials.shape == (5, 2, 2) and trials.n_observed == 10
    assert_array_equal(trials.weight.amax(2), [[1, 1], [0, 0], [0, 1], [0, 0], [1, 1]])
    recorded = [[True, True], [False, True], [False, True], [False, True], [True, True]]
    assert trials.recorded().tolist() == recorded
    assert_array_equal(trials.guide[:, 0, 0], [0, 2, 4, 6, 8])
    assert_array_equal(trials.inputs[:, 0, 0], [0, 0, 2, 2, 4])
    samples = trials[[1]].to(torch.float64, torch.device("cpu")).samples()
    assert samples.every == 1
    assert_array_equal(samples.y, y[:, [1]])
    assert Trials(y).spread(1).weight is None


def test_residuals_are_correlated_from_sample_to_sample():
    rng = np.random.default_rng(0)
    noise = torch.as_tensor(np.cumsum(rng.normal(size=(50, 4, 3)), axis=0))
    between = torch.zeros(148, 4, 3, dtype=noise.dtype)
    between[::EVERY] = noise
    assert (
        residual_autocorrelation_time(between, EVERY) == residual_autocorrelation_time(noise) > 2
    )
