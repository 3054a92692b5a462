"""Facts about the baselines, where the truth is known, and their side of the contract."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import block_diag
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import mean_poisson_deviance
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from jedi_sklearn import JEDIEstimator
from jedi_sklearn.baselines import (
    ConditionMean,
    ConditionRNN,
    LinearDynamicalSystem,
    PCATrajectories,
    RNNVAEBaseline,
    VAEBaseline,
)
from jedi_sklearn.baselines._common import Readout
from jedi_sklearn.baselines._kalman import LinearGaussian
from jedi_sklearn.datasets import make_initial_states, make_multitask, make_spike_counts
from jedi_sklearn.metrics import r2_by


def rows(X):
    return X.reshape(len(X), -1)


def gaps(X, seed=0):
    """Trials of unequal length, some samples missing."""
    X = np.where(np.random.RandomState(seed).uniform(size=X.shape) < 0.2, np.nan, X)
    X[::3, -10:] = np.nan
    return X


silent = pytest.mark.filterwarnings("ignore:1 of 30 neurons never fire")


@pytest.fixture(scope="module")
def counts(multitask):
    """40 trials of spike counts in bins of 20 ms; a neuron of the last third is silent."""
    data = make_spike_counts(multitask, rate=10.0, random_state=0)
    data.X[:, :, 25] = 0
    return data


# Principal components of trials


def test_pca_is_that_of_scikit_learn(multitask):
    X, Y = multitask.X[:30], multitask.X[30:]
    ours = PCATrajectories(5, random_state=0).fit(X)
    theirs = PCA(5, svd_solver="full").fit(rows(X))
    expected = theirs.inverse_transform(theirs.transform(rows(Y)))
    assert_allclose(rows(ours.predict(Y)), expected, atol=1e-5)  # PCA chose its randomised solver
    unit = X.reshape(-1, X.shape[2]).var(axis=0).mean() ** 0.5
    assert_allclose(np.abs(ours.transform(Y) * unit), np.abs(theirs.transform(rows(Y))), atol=1e-4)
    assert_allclose(ours.explained_variance_ratio_, theirs.explained_variance_ratio_, rtol=1e-5)
    assert_allclose(ours.inverse_transform(ours.transform(Y)), ours.predict(Y))
    assert ours.score(Y) == pytest.approx(r2_by(Y, ours.predict(Y)))


def test_as_many_components_as_jedi_takes(multitask):
    X = multitask.X[:, ::5]
    jedi = JEDIEstimator(max_iter=1, tol=1.0, dt=0.1, tau=0.3, random_state=0).fit(X)
    assert PCATrajectories(random_state=0).fit(X).n_components_ == jedi.n_components_


def few_numbers(n_trials=80, n_timesteps=30, n_neurons=12, noise=0.1):
    """Trials that three numbers determine, but for noise."""
    rng = np.random.RandomState(0)
    axes = rng.standard_normal((3, n_timesteps, n_neurons)).cumsum(axis=1) / 4
    X = 1 + np.tensordot(rng.standard_normal((n_trials, 3)), axes, 1)
    return X, X + noise * rng.standard_normal(X.shape)


def test_pca_knows_what_is_missing_from_the_rest_of_a_trial():
    """Trials that three numbers determine are known from half of their samples and neurons."""
    clean, X = few_numbers()
    pca = PCATrajectories(3, random_state=0).fit(X[:60])
    holed = gaps(X[60:])
    holed[:, 15:] = np.nan
    hidden = np.isnan(holed)
    assert r2_by(clean[60:], pca.predict(holed), counted=hidden) > 0.99
    whole = pca.transform(X[60:])
    assert_allclose(pca.transform(holed), whole, atol=0.12 * whole.std())
    # trials with gaps to learn from
    pca = PCATrajectories(3, random_state=0).fit(gaps(X[:60]))
    assert_array_equal(pca.embedding_, pca.transform(gaps(X[:60])))
    assert pca.score(X[60:]) > 0.97


# Condition means


def test_condition_means_of_continuous_activity(multitask):
    X, task = multitask.X.copy(), multitask.task
    X[task == task[0], 3, 4] = np.nan
    X[5, 7:] = np.nan
    mean = ConditionMean().fit(X, task)
    for code, label in enumerate(mean.conditions_):
        expected = np.full(X.shape[1:], np.nan)
        these = X[task == label]
        seen = np.isfinite(these).any(axis=0)
        expected[seen] = np.nanmean(these[:, seen], axis=0)
        if label == task[0]:
            assert np.isnan(expected[3, 4])
            expected[3, 4] = np.nanmean(X[:, 3, 4])  # of the other conditions
        assert_allclose(mean.condition_means_[code], expected)
    assert_array_equal(
        mean.predict(X[:3], task[:3])[2],
        mean.condition_means_[list(mean.conditions_).index(task[2])],
    )


def test_condition_means_of_counts_are_smooth_where_that_predicts():
    """Beside the rates behind the counts they are far better than plain means."""
    data = make_initial_states(60, n_conditions=4, n_neurons=20, n_timesteps=40, random_state=0)
    counts = make_spike_counts(data, random_state=0)
    X, y, train = counts.X, np.asarray(counts.condition), np.arange(60) < 40
    mean = ConditionMean().fit(X[train], y[train])
    assert mean.observation_ == "poisson" and (mean.condition_means_ > 0).all()
    plain = np.stack([X[train & (y == label)].mean(axis=0) for label in mean.conditions_])
    rough = plain[np.searchsorted(mean.conditions_, y[~train])]
    expected = mean.predict(X[~train], y[~train])
    assert r2_by(counts.rates[~train], expected) > 0.7 > 0.5 > r2_by(counts.rates[~train], rough)
    assert mean.score(X[~train], y[~train]) > 0.05
    with pytest.raises(ValueError, match="whole numbers from 0"):
        mean.predict(X[~train] + 0.5, y[~train])


def test_lone_trials_of_conditions_are_drawn_to_the_mean():
    X = np.random.default_rng(0).poisson(2.0, size=(6, 30, 5)).astype(float)
    lone = np.arange(6)  # conditions of one trial each: nothing tells how rough their means are
    assert ConditionMean().fit(X, lone).score(X, lone) < 0.5


def test_condition_means_know_nothing_else(multitask):
    X, task = multitask.X, multitask.task
    mean = ConditionMean().fit(X, task)
    for call in (lambda: mean.predict(X), lambda: mean.score(X), lambda: clone(mean).fit(X)):
        with pytest.raises(ValueError, match=r"needs the condition of each trial: fit\(X, cond"):
            call()
    with pytest.raises(ValueError, match=r"y holds 'rest', which is no condition of the fit \("):
        mean.predict(X[:2], ["rest", task[0]])
    with pytest.raises(ValueError, match="49 samples per trial, but ConditionMean was fitted to"):
        mean.predict(X[:, :49], task)
    assert not hasattr(mean, "transform")
    scores = cross_val_score(ConditionMean(), X, task, cv=[(np.arange(30), np.arange(30, 40))])
    expected = np.stack([X[:30][task[:30] == label].mean(axis=0) for label in task[30:]])
    assert scores[0] == pytest.approx(r2_by(X[30:], expected))


# Linear dynamical system


def rotations(n_trials=70, n_timesteps=40, n_neurons=15, seed=0):
    """Trials of a linear system of two rotations, and the system."""
    rng = np.random.RandomState(seed)
    turns = [(0.98, 0.25), (0.93, 0.6)]
    A = block_diag(
        *(r * np.array([[np.cos(w), -np.sin(w)], [np.sin(w), np.cos(w)]]) for r, w in turns)
    )
    C, d = rng.standard_normal((n_neurons, 4)), 2 + rng.standard_normal(n_neurons)
    x, X = rng.standard_normal((n_trials, 4)), []
    for _ in range(n_timesteps):
        X.append(x @ C.T + d)
        x = x @ A.T + 0.15 * rng.standard_normal(x.shape)
    X = np.stack(X, axis=1) + 0.5 * rng.standard_normal((n_trials, n_timesteps, n_neurons))
    true = LinearGaussian(
        A, 0.15**2 * np.eye(4), C, d, np.full(n_neurons, 0.25), np.zeros(4), np.eye(4)
    )
    return X, true


@pytest.fixture(scope="module")
def linear():
    X, true = rotations()
    return X, true, LinearDynamicalSystem(4).fit(X[:50])


def test_kalman_smoother_is_the_conditional_of_the_joint_gaussian():
    rng = np.random.RandomState(0)
    n, n_neurons, n_timesteps = 2, 3, 4
    A, Q = np.array([[0.9, -0.3], [0.3, 0.8]]), np.array([[0.3, 0.1], [0.1, 0.2]])
    C, d, R = (
        rng.standard_normal((n_neurons, n)),
        rng.standard_normal(n_neurons),
        rng.uniform(size=3),
    )
    model = LinearGaussian(A, Q, C, d, R, rng.standard_normal(n), np.array([[1, 0.2], [0.2, 0.6]]))
    Y = rng.standard_normal((3, n_timesteps, n_neurons))
    seen = rng.uniform(size=Y.shape) < 0.6
    seen[1] = True
    seen[2, 2:] = False
    # states are a linear function of the first state and of all noise
    power = [np.linalg.matrix_power(A, k) for k in range(n_timesteps)]
    maps = np.block(
        [
            [power[t - s] if s <= t else 0 * A for s in range(n_timesteps)]
            for t in range(n_timesteps)
        ]
    )
    prior = maps @ block_diag(model.P0, *[Q] * (n_timesteps - 1)) @ maps.T
    mean = np.concatenate([power[t] @ model.m0 for t in range(n_timesteps)])
    found = model.smooth(Y, seen)
    for k in range(3):
        rows = seen[k].ravel()
        H = np.kron(np.eye(n_timesteps), C)[rows]
        S = H @ prior @ H.T + np.diag(np.tile(R, n_timesteps)[rows])
        error = Y[k].ravel()[rows] - H @ mean - np.tile(d, n_timesteps)[rows]
        gain = prior @ H.T @ np.linalg.inv(S)
        assert_allclose(found.mean[k].ravel(), mean + gain @ error, atol=1e-12)
        covariance = (prior - gain @ H @ prior).reshape(n_timesteps, n, n_timesteps, n)
        at = found.pattern[k]
        for t in range(n_timesteps):
            assert_allclose(found.covariance[at, t], covariance[t, :, t], atol=1e-12)
        for t in range(n_timesteps - 1):
            assert_allclose(found.lagged[at, t], covariance[t + 1, :, t], atol=1e-12)
        expected = multivariate_normal(np.zeros(len(S)), S).logpdf(error)
        assert found.log_likelihood[k] == pytest.approx(expected)


@pytest.mark.parametrize("missing", [False, True])
def test_a_linear_system_recovers_a_linear_system(linear, missing, same_spectrum):
    X, true, lds = linear
    if missing:
        lds = LinearDynamicalSystem(4).fit(gaps(X[:50]))
    assert lds.converged_ and (np.diff(lds.log_likelihood_) > 0).all()
    same_spectrum(np.linalg.eigvals(lds.A_), np.linalg.eigvals(true.A), atol=0.02)
    noise = lds.R_ * lds._observation.scale.numpy() ** 2
    assert_allclose(noise, 0.25, rtol=0.1)
    # forecasts are nearly those of the true system
    seen, later = X[50:, :25], X[50:, 25:]
    last = true.smooth(seen, None).mean[:, -1]
    best = r2_by(later, true.observe(true.run(last, 16)[:, 1:]))
    assert best > 0.5
    assert r2_by(later, lds.forecast(seen, 15)) > best - 0.03


def test_states_have_principal_axes(linear):
    X, _, lds = linear
    assert_allclose(lds.C_.T @ lds.C_, np.eye(4), atol=1e-10)
    states = lds._model.smooth(lds._data(lds._check_X(X[:50])).states, None).mean
    covariance = np.cov(states.reshape(-1, 4).T)
    assert_allclose(covariance, np.diag(np.diag(covariance)), atol=0.01 * covariance.max())
    assert (np.diff(np.diag(covariance)) < 0).all()
    assert_array_equal(lds.embedding_, lds.transform(X[:50]))


def test_dimensions_of_a_linear_system_are_found(linear):
    assert LinearDynamicalSystem(max_iter=50).fit(linear[0][:50]).n_components_ == 4


def test_free_reconstruction_goes_on_from_the_first_state(linear):
    X, _, lds = linear
    free = clone(lds).set_params(reconstruction="free").fit(X[:50])
    assert_allclose(free.predict(X[50:]), lds.inverse_transform(lds.transform(X[50:])))
    assert 0.2 < free.score(X[50:]) < lds.score(X[50:])
    assert free.inverse_transform(free.embedding_, 7).shape == (50, 7, 15)


def test_short_of_convergence_is_said(linear):
    with pytest.warns(ConvergenceWarning, match="EM has not converged in max_iter=2 steps"):
        LinearDynamicalSystem(4, max_iter=2).fit(linear[0])


# An RNN a condition


@pytest.fixture(scope="module")
def driven_by_one(networks):
    """Runs of two known RNNs of rank 2, each a condition, with a little noise on each trial."""
    rnns = networks.random("low_rank", 2, n_neurons=12, rank=2, gain=4.0, seed=3)
    rng = np.random.RandomState(0)
    runs = rnns.simulate(2 * rng.standard_normal((2, 12)), 40)
    y = np.repeat(["left", "right"], 6)
    return runs, np.repeat(runs, 6, axis=0) + 0.02 * rng.standard_normal((12, 40, 12)), y


@pytest.mark.parametrize("method", ["force", "gradient"])
@pytest.mark.slow
def test_rnns_draw_the_trajectories_of_known_rnns(driven_by_one, method):
    runs, X, y = driven_by_one
    model = ConditionRNN(method, rank=3, dt=0.02, max_iter=60, random_state=0).fit(X, y)
    assert model.converged_ and model.condition_r2_.min() > 0.98
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    expected = model.predict(X[[0, 6]], ["left", "right"])
    assert r2_by(runs, expected) > 0.98
    rnns = model.dynamics()
    assert rnns.connectivity == {"force": "full_rank", "gradient": "low_rank"}[method]
    assert_allclose(model.to_activity(rnns.free_run()), expected)
    assert_allclose(model.to_states(expected), rnns.free_run())
    assert_array_equal(model.dynamics(["right"]).initial_states, rnns[1].initial_states)
    # what follows is the same run, further on
    later = model.forecast(X[:, :30], 10, y)
    assert_allclose(later[[0, 6]], expected[:, 30:])
    again = clone(model).fit(X, y)
    assert_array_equal(again.predict(X, y), model.predict(X, y))
    assert pickle.loads(pickle.dumps(model)).score(X, y) == model.score(X, y) > 0.97


def test_rnns_of_counts_generate_log_rates():
    data = make_initial_states(40, n_conditions=2, n_neurons=12, n_timesteps=30, random_state=0)
    counts = make_spike_counts(data, rate=30.0, random_state=0)
    y = np.asarray(counts.condition)
    model = ConditionRNN(max_iter=30, random_state=0).fit(counts.X, y)
    assert model.observation_ == "poisson" and model.condition_r2_.min() > 0.9
    log_rates = model.mean_ + model.scale_ * model.dynamics().free_run()
    assert_allclose(
        model.predict(counts.X, y)[0],
        np.exp(log_rates[list(model.conditions_).index(y[0])]),
    )
    assert 0 < model.score(counts.X, y)


def test_rnns_short_of_convergence_say_so(driven_by_one):
    _, X, y = driven_by_one
    with pytest.warns(ConvergenceWarning, match=r"not converged in max_iter=1 .* condition '"):
        ConditionRNN(dt=0.02, max_iter=1).fit(X, y)


# Autoencoders


AUTOENCODERS = {
    VAEBaseline: {"max_iter": 150, "learning_rate_init": 0.01},
    RNNVAEBaseline: {"max_iter": 100, "learning_rate_init": 0.03},
}


@pytest.fixture(scope="module", params=AUTOENCODERS)
def vae(request):
    clean, X = few_numbers(60, n_timesteps=10, n_neurons=8)
    how = AUTOENCODERS[request.param] | {"hidden_size": 24, "batch_size": 50}
    model = request.param(3, **how, n_iter_no_change=150, device="cpu", random_state=0)
    with pytest.warns(ConvergenceWarning, match="still rises after max_iter=1.0 epochs"):
        return clean, X, model.fit(X[:50])


def test_autoencoders_find_the_numbers_that_make_trials(vae):
    clean, X, model = vae
    assert r2_by(clean[50:], model.predict(X[50:])) > 0.8
    assert model.elbo_curve_[-1] > model.elbo_curve_[0] + 0.5
    assert max(model.validation_curve_) > model.validation_curve_[0] + 0.5
    E = model.transform(X[50:])
    assert E.shape == (10, 3)
    assert_allclose(model.inverse_transform(E), model.predict(X[50:]))
    assert_array_equal(model.embedding_, model.transform(X[:50]))
    scores = PCA(3).fit(rows(clean)).transform(rows(clean))
    told = LinearRegression().fit(model.embedding_, scores[:50])
    assert told.score(E, scores[50:]) > 0.9
    assert_allclose(model.transform(X[55:56])[0], E[5], atol=1e-10)


@pytest.mark.slow
def test_early_stopping_returns_to_the_best_state(vae):
    _, X, fitted = vae
    model = clone(fitted).set_params(max_iter=500, n_iter_no_change=2, batch_size=10)
    state = torch.get_rng_state()
    model.fit(X[:50])
    assert torch.equal(torch.get_rng_state(), state)
    best = int(np.argmax(model.validation_curve_)) + 1
    assert model.converged_ and model.n_iter_ == best + 2
    short = clone(model).set_params(max_iter=best, n_iter_no_change=500)
    with pytest.warns(ConvergenceWarning):
        short.fit(X[:50])
    assert_array_equal(short.transform(X), model.transform(X))


@silent
def test_autoencoders_of_counts(counts):
    for make in (VAEBaseline, RNNVAEBaseline):
        model = make(2, max_iter=15, hidden_size=16, learning_rate_init=0.02, random_state=0)
        with pytest.warns(ConvergenceWarning):
            model.fit(counts.X[:, ::5])
        assert model.observation_ == "poisson" and (model.predict(counts.X[:, ::5]) > 0).all()
        assert model.score(counts.X[:, ::5]) > 0 and model.noise_variance_ == 1


def test_divergence_of_an_autoencoder_names_the_epoch():
    model = VAEBaseline(2, learning_rate_init=1e30, random_state=0)
    with pytest.raises(FloatingPointError, match=r"in epoch \d+\. Lower learning_rate"):
        model.fit(few_numbers(20)[1])
    assert not hasattr(model, "embedding_")


def test_the_end_of_a_trial_from_the_run_of_a_recurrent_autoencoder(vae):
    _, X, model = vae
    if isinstance(model, RNNVAEBaseline):
        whole = model.inverse_transform(model.transform(X[50:, :6]))
        assert_allclose(model.forecast(X[50:, :6], 4), whole[:, 6:], atol=1e-10)
    else:
        with pytest.raises(ValueError, match="6 samples per trial, but VAEBaseline was fitted"):
            model.transform(X[50:, :6])


# What all have in common


@silent
def test_counts_are_read_out_by_poisson_regressions(counts):
    """States that are half of the log rates: the readout finds gain, level, and silent neurons."""
    X = counts.X.astype(float)
    X[0, :4] = np.nan
    pca = PCATrajectories(2, random_state=0).fit(X)
    given = pca._data(X)
    scale, mean = (getattr(given.observation, name).numpy() for name in ("scale", "mean"))
    log_rates = (np.log(counts.rates) - mean) / scale
    readout = Readout.learn(given, 0.5 * log_rates + 0.3)
    firing = np.arange(30) != 25
    assert_allclose(readout.gain[firing], 2, atol=0.5)
    assert readout.gain[firing].mean() == pytest.approx(2, abs=0.1)
    expected = given.observation.activity(readout(0.5 * log_rates + 0.3))
    expected = np.where(np.isnan(X), 0, expected).sum(axis=(0, 1))
    assert_allclose(expected[firing], np.nansum(X, axis=(0, 1))[firing])
    assert expected[25] == pytest.approx(0.5)


@silent
@pytest.mark.parametrize("make", [PCATrajectories, LinearDynamicalSystem])
@pytest.mark.slow
def test_counts_have_expected_counts_and_d2(counts, make):
    model = make(4).fit(counts.X[:30])
    assert model.observation_ == "poisson"
    expected = model.predict(counts.X[30:])
    assert (expected > 0).all()
    y, firing = counts.X[30:], counts.X[30:].any(axis=(0, 1))
    null = np.broadcast_to(y.mean(axis=(0, 1)), y.shape)[..., firing]
    deviance = mean_poisson_deviance(y.ravel(), expected.ravel()) * y.size
    d2 = 1 - deviance / (mean_poisson_deviance(y[..., firing].ravel(), null.ravel()) * null.size)
    assert model.score(y) == pytest.approx(d2) and d2 > 0.1
    assert r2_by(counts.rates[30:, :, :25], expected[:, :, :25]) > 0.4
    with pytest.raises(ValueError, match="whole numbers from 0"):
        model.transform(y + 0.5)


def test_scores_are_those_of_jedi(multitask):
    """Both measure a prediction in the same way."""
    X = multitask.X[:, :15, :10]
    est = JEDIEstimator(2, 4, max_iter=5, tol=1.0, random_state=0).fit(X[:30])
    pca = PCATrajectories(3).fit(X[:30])
    pca._expected = lambda X, y: est.predict(X)
    assert pca.score(X[30:]) == pytest.approx(est.score(X[30:]))
    assert_allclose(pca.score_samples(X[30:]), est.score_samples(X[30:]))


@pytest.mark.slow
def test_baselines_stand_in_pipelines_and_in_cross_validation(multitask):
    X, task = multitask.X[:, ::5, :10], multitask.task
    for make in (PCATrajectories, LinearDynamicalSystem):
        model = make(4).set_output(transform="pandas")
        frame = model.fit(X).transform(X[:3])
        assert isinstance(frame, pd.DataFrame)
        assert list(frame) == [f"{make.__name__.lower()}{i}" for i in range(4)]
        pipeline = make_pipeline(make(4), LogisticRegression(max_iter=1000))
        for model in (pipeline, make(4)):
            scores = cross_val_score(model, X, task, cv=2, error_score="raise")
            assert np.isfinite(scores).all()


def test_sessions_without_common_neurons_are_aligned_by_labels():
    data = make_multitask(120, n_neurons=20, n_timesteps=50, dt=0.02, random_state=0)
    X, task = data.X.copy(), data.task
    X[:60, :, :10], X[60:, :, 10:] = np.nan, np.nan
    with pytest.raises(ValueError, match="never recorded in the same trial"):
        PCATrajectories(3).fit(X)
    pca = PCATrajectories(3).fit(X, task)
    hidden = np.isnan(X)
    assert r2_by(data.X, pca.predict(X), counted=hidden) > 0.3
    assert pickle.loads(pickle.dumps(pca)).score(X) == pca.score(X)
