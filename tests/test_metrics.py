"""Scores of activity that the inference did not see."""

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from jedi_sklearn import JEDIEstimator, _stored, metrics
from jedi_sklearn.datasets import make_multitask
from jedi_sklearn.metrics import CoSmoothingScorer, ForecastScorer, hidden_r2, r2_by
from jedi_sklearn.preprocessing import TrialScaler

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


HALF = (np.arange(80) < 40)[:, np.newaxis]


@pytest.fixture(scope="module")
def trials():
    small = {"n_neurons": 30, "n_timesteps": 80, "tasks": ("oscillation", "decision")}
    return make_multitask(40, **small, random_state=0).X


@pytest.fixture(scope="module")
def est(trials):
    return JEDIEstimator(6, 12, max_iter=150, tol=0.1, random_state=0).fit(trials[:30])


@pytest.fixture(scope="module", params=["generated", "observed"])
def either(request, est, trials):
    """Fits with both kinds of start."""
    if request.param == "generated":  # the default
        return est
    observing = JEDIEstimator(6, 12, initial_state="observed", max_iter=50, tol=1, random_state=0)
    return observing.fit(trials[:30])


def start_of(est, embedding, X):
    """Where free runs start (activity)."""
    observed = est.initial_state == "observed"
    return X[:, 0] if observed else est.inverse_transform(embedding, n_timesteps=1)[:, 0]


def test_r2_over_everything_is_that_of_scikit_learn():
    X, other = np.random.default_rng(0).normal(size=(2, 5, 20, 3))
    flat = [a.reshape(-1, 3) for a in (X, X + 0.3 * other)]
    expected = r2_score(*flat, multioutput="variance_weighted")
    assert_allclose(r2_by(X, X + 0.3 * other), expected)
    each = r2_score(*flat, multioutput="raw_values")
    assert_allclose(r2_by(X, X + 0.3 * other, "neuron"), each)


def test_r2_of_trials_is_about_the_means_of_all_trials():
    X = np.random.default_rng(0).normal(size=(5, 20, 3))
    mean = np.broadcast_to(X.mean(axis=(0, 1)), X.shape)
    assert_allclose(r2_by(X, mean, "trial"), 0, atol=1e-12)


def test_missing_values_do_not_count():
    X, other = np.random.default_rng(0).normal(size=(2, 5, 20, 3))
    holes = X.copy()
    holes[:, 10:] = np.nan
    assert_allclose(r2_by(holes, 0.5 * X), r2_by(X[:, :10], 0.5 * X[:, :10]))


def test_a_neuron_of_which_nothing_counts_has_no_r2():
    X = np.random.default_rng(0).normal(size=(5, 20, 3))
    r2 = r2_by(X, X, "neuron", counted=np.array([True, False, True]))
    assert np.isnan(r2[1]) and (r2[[0, 2]] == 1).all()


def test_what_is_hidden_does_not_matter_to_the_prediction(est, trials):
    X = trials[30:]
    hidden = np.arange(80)[:, np.newaxis] >= 40
    garbage = np.where(hidden, 1e3 * np.random.default_rng(0).normal(size=X.shape), X)
    seen = [np.where(hidden, np.nan, a) for a in (X, garbage)]
    assert_allclose(est.predict(seen[0]), est.predict(seen[1]))
    assert hidden_r2(est, X, hidden) > 0 > hidden_r2(est, garbage, hidden)


def test_neurons_held_out_are_predicted_from_the_others(est, trials):
    assert CoSmoothingScorer()(est, trials[30:]) > 0.9


def test_hiding_everything_but_noise_is_worse_than_hiding_little(est, trials):
    X = trials[30:]
    forecast = [ForecastScorer(fraction)(est, X) for fraction in (0.1, 0.9)]
    assert forecast[0] < forecast[1]


def test_a_forecast_without_correction_goes_on_with_the_free_run(either, trials):
    X, est = trials[30:], either
    E = est.transform(X[:, :60])
    run = est.inverse_transform(E, start_of(est, E, X), n_timesteps=80)
    assert_allclose(run[:, :60], est.predict(X[:, :60]), atol=1e-9)
    assert_allclose(est.forecast(X[:, :60], 20, correction=0), run[:, 60:])
    assert_allclose(ForecastScorer(0.75, correction=0)(est, X), r2_by(X[:, 60:], run[:, 60:]))


def test_a_forecast_with_full_correction_sets_out_at_the_last_sample(est, trials):
    X = trials[30:, :60]
    embedding, last, _ = est._follow(X, 20, None, 1.0)
    assert_allclose(est.to_activity(last), X[:, -1])
    run = est.inverse_transform(embedding, X[:, -1], n_timesteps=21)[:, 1:]
    assert_allclose(est.forecast(X, 20, correction=1), run)


def test_the_state_takes_in_its_share_of_each_sample_that_was_seen(either, trials):
    X, est = trials[30:, :60].copy(), either
    X[0, 40:] = np.nan  # a shorter trial: nothing pulls after its end
    X[1, 20] = np.nan
    embedding, last, _ = est._follow(X, 1, None, 0.2)
    J, bias = (est.generate_rnns(embedding).to_dense(), est.generate_rnns(embedding).bias)
    x, z = est.to_states(start_of(est, embedding, X)), est.to_states(X)
    for t in range(60):
        if t:
            x = 0.9 * x + 0.1 * (np.einsum("kij,kj->ki", J, np.tanh(x)) + bias)
        x += 0.2 * np.nan_to_num(z[:, t] - x)
    assert_allclose(last, x)


def test_a_correction_helps_where_small_errors_grow():
    data = make_multitask(60, n_neurons=40, n_timesteps=80, teacher_seed=4, random_state=0)
    X, u = data.X, data.inputs
    est = JEDIEstimator(1, 8, scale=None, max_iter=150, tol=1, random_state=0)
    est.fit(X[:50], inputs=u[:50])
    r2 = {c: ForecastScorer(correction=c)(est, X[50:], inputs=u[50:]) for c in (0.0, 0.1, 1.0)}
    assert r2[0.1] > max(r2[0.0], r2[1.0])


@pytest.mark.parametrize(
    "lost", [np.s_[:, 15:60, :2], np.s_[:, 10:50]], ids=["two neurons", "a gap"]
)
def test_what_is_missing_does_not_pull_a_forecast(est, trials, lost):
    X, later = trials[30:], trials[30:, 60:]
    gappy = X[:, :60].copy()
    gappy[lost] = np.nan
    with_all, with_gaps = (r2_by(later, est.forecast(a, 20)) for a in (X[:, :60], gappy))
    free = r2_by(later, est.forecast(gappy, 20, correction=0))
    assert with_gaps > min(with_all, free) - 0.03


def test_single_precision_is_summed_in_double():
    X = (1e3 + np.random.default_rng(0).normal(size=(500, 1000, 3))).astype(np.float32)
    off = X + np.float32(0.5)
    assert r2_by(X, off) == pytest.approx(r2_by(X.astype(float), off.astype(float)), abs=1e-9)
    assert r2_by(X * np.float32(1e20), X * np.float32(1e20)) == 1.0


def test_trials_that_end_before_the_forecast_do_not_count(est, trials):
    X = trials[30:].copy()
    X[0, 40:] = np.nan
    assert ForecastScorer(0.75)(est, X) == pytest.approx(ForecastScorer(0.75)(est, X[1:]))


def test_parts_of_trials_give_the_same_scores(est, trials, monkeypatch):
    X, neurons = trials[30:], np.arange(30) < 5
    whole = [ForecastScorer()(est, X), *hidden_r2(est, X, neurons, over="trial")]
    monkeypatch.setattr(metrics, "PART", 3 * 80 * 30)
    monkeypatch.setattr(_stored, "LARGE", 100)
    parts = [ForecastScorer()(est, X), *hidden_r2(est, X, neurons, over="trial")]
    assert_allclose(parts, whole)


def test_constant_neurons_have_no_r2():
    X = np.full((3, 7, 2), 0.1)
    assert np.isnan(r2_by(X, X + 0.01))
    X[..., 1] = np.random.default_rng(0).normal(size=(3, 7))
    r2 = r2_by(X, X, over="neuron")
    assert np.isnan(r2[0]) and r2[1] == 1


def test_scores_of_a_search_and_a_pipeline_of_one_step(est, trials):
    X = trials[:16]
    search = GridSearchCV(est, {"max_iter": [5]}, cv=2).fit(X)
    for scorer in (ForecastScorer(), CoSmoothingScorer()):
        assert scorer(search, X) == scorer(search.best_estimator_, X)
        assert scorer(make_pipeline(est), X) == scorer(est, X)


def test_scores_of_neurons_have_none_where_nothing_was_hidden(est, trials):
    neurons = np.arange(30) < 5
    r2 = hidden_r2(est, trials[30:], neurons, over="neuron")
    assert np.isfinite(r2[:5]).all() and np.isnan(r2[5:]).all()


@pytest.mark.parametrize("scorer", [ForecastScorer(0.7), CoSmoothingScorer(n_repeats=2)])
def test_scorers_work_in_model_selection(scorer, trials):
    jedi = JEDIEstimator(3, 6, max_iter=10, tol=1, random_state=0)
    X = trials[:16]
    scores = cross_val_score(make_pipeline(TrialScaler(), jedi), X, cv=2, scoring=scorer)
    assert np.isfinite(scores).all()
    search = GridSearchCV(jedi, {"rank": [4, 8]}, cv=2, scoring=scorer, refit=False).fit(X)
    assert search.best_params_["rank"] in (4, 8)
    assert clone(scorer).get_params() == scorer.get_params()


@pytest.mark.parametrize(
    "scorer", [ForecastScorer(), ForecastScorer(correction=0), CoSmoothingScorer()]
)
def test_inputs_are_routed_to_scorers(scorer):
    data = make_multitask(16, n_neurons=20, n_timesteps=40, random_state=0)
    X, u = data.X, data.inputs
    jedi = JEDIEstimator(1, 4, max_iter=10, tol=1, random_state=0)
    with sklearn.config_context(enable_metadata_routing=True):
        jedi.set_fit_request(inputs=True)
        asked = clone(scorer.set_score_request(inputs=True))
        scores = cross_val_score(jedi, X, cv=2, scoring=asked, params={"inputs": u})
        search = GridSearchCV(jedi, {"rank": [4]}, cv=2, scoring=asked, refit=False)
        found = search.fit(X, inputs=u).cv_results_["mean_test_score"][0]
    jedi.fit(X[8:], inputs=u[8:])
    assert scores[0] == pytest.approx(scorer(jedi, X[:8], inputs=u[:8]), abs=1e-9)
    assert found == pytest.approx(scores.mean(), abs=1e-9)


def test_a_pipeline_scores_in_the_units_of_its_last_step(est, trials):
    scaler = TrialScaler().fit(trials)
    pipe = make_pipeline(scaler, est)
    expected = ForecastScorer()(est, scaler.transform(trials[30:]))
    assert_allclose(ForecastScorer()(pipe, trials[30:]), expected)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda e, X: hidden_r2(e, X, np.zeros(30, bool)), ValueError, ["hidden", "everywhere"]),
        (lambda e, X: hidden_r2(e, X, np.ones(30, bool)), ValueError, ["nothing of 10"]),
        (lambda e, X: hidden_r2(e, X, np.ones(29, bool)), ValueError, ["hidden", "(29,)"]),
        (lambda e, X: hidden_r2(e, X, np.ones(30)), TypeError, ["hidden", "boolean", "float64"]),
        (lambda e, X: r2_by(X, X[:1]), ValueError, ["prediction", "shape of X"]),
        (lambda e, X: r2_by(X, X, over="neurons"), ValueError, ["over", 'did you mean "neuron"']),
        (lambda e, X: ForecastScorer(0)(e, X), ValueError, ["fraction", "> 0", "0"]),
        (lambda e, X: ForecastScorer(correction=2)(e, X), ValueError, ["correction", "<= 1", "2"]),
        (lambda e, X: ForecastScorer()(e, X[:, :2]), ValueError, ["at least 3 samples", "got 2"]),
        (lambda e, X: ForecastScorer()(e, np.where(HALF, np.nan, X)), ValueError, ["first 40"]),
        (lambda e, X: ForecastScorer()(TrialScaler(), X), TypeError, ["JEDIEstimator", "TrialSc"]),
        (lambda e, X: CoSmoothingScorer()(e, X[0]), ValueError, ["X", "3"]),
        (lambda e, X: CoSmoothingScorer(random_state=-1)(e, X), ValueError, ["random_state"]),
        (lambda e, X: e.forecast(X, 0), ValueError, ["n_timesteps", ">= 1"]),
        (lambda e, X: e.forecast(X, 5, correction=-1), ValueError, ["correction", ">= 0"]),
        (lambda e, X: e.forecast(X, 5, inputs=X), ValueError, ["inputs", "without"]),
        (lambda e, X: CoSmoothingScorer(n_repeats=0)(e, X), ValueError, ["n_repeats", ">= 1"]),
    ],
)
def test_refusals_say_what_was_expected_and_what_came(est, trials, call, error, words):
    with pytest.raises(error) as refusal:
        call(est, trials[30:])
    for word in words:
        assert word in str(refusal.value)
