"""Scores of activity that the inference did not see."""

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose
from scipy.stats import poisson
from sklearn.base import clone
from sklearn.linear_model import PoissonRegressor, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from jedi_sklearn import JEDIEstimator, _scores, _stored
from jedi_sklearn.datasets import make_multitask
from jedi_sklearn.metrics import (
    CoSmoothingScorer,
    FewShotCoSmoothingScorer,
    ForecastScorer,
    _axes,
    _Readout,
    bits_per_spike,
    hidden_bits_per_spike,
    hidden_r2,
    r2_by,
)
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


def waves(rng, n_trials=60, n_timesteps=40, n_neurons=20):
    """Expected counts of neurons along which a wave travels from where the trial says."""
    phase = rng.uniform(0, 2 * np.pi, size=(n_trials, 1, 1))
    time, neuron = 0.2 * np.arange(n_timesteps)[:, np.newaxis], np.arange(n_neurons)
    return np.exp(np.cos(phase + time + neuron) - 0.7)


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(0)
    return rng.poisson(waves(rng)).astype(float)


@pytest.fixture(scope="module")
def spiking(counts):
    return JEDIEstimator(2, 4, max_iter=20, tol=1, random_state=0).fit(counts[:40])


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_forecast_without_correction_goes_on_with_the_free_run(either, trials):
    X, est = trials[30:], either
    E = est.transform(X[:, :60])
    run = est.inverse_transform(E, start_of(est, E, X), n_timesteps=80)
    assert_allclose(run[:, :60], est.predict(X[:, :60]), atol=1e-9)
    how = {"correction": 0, "average": False}
    assert_allclose(est.forecast(X[:, :60], 20, **how), run[:, 60:])
    assert_allclose(ForecastScorer(0.75, **how)(est, X), r2_by(X[:, 60:], run[:, 60:]))


def test_a_forecast_with_full_correction_sets_out_at_the_last_sample(est, trials):
    X = trials[30:, :60]
    embedding, last, _ = est._follow(X, 20, None, 1.0)
    assert_allclose(est.to_activity(last), X[:, -1])
    run = est.inverse_transform(embedding, X[:, -1], n_timesteps=21)[:, 1:]
    assert_allclose(est.forecast(X, 20, correction=1, average=False), run)


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


@pytest.mark.slow
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
@pytest.mark.slow
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


@pytest.mark.slow
def test_parts_of_trials_give_the_same_scores(est, trials, monkeypatch):
    X, neurons = trials[30:], np.arange(30) < 5

    def scores():
        few_shot = FewShotCoSmoothingScorer(n_trials=4)(est, X)
        return [ForecastScorer()(est, X), few_shot, *hidden_r2(est, X, neurons, over="trial")]

    whole = scores()
    monkeypatch.setattr(_scores, "PART", 3 * 80 * 30)
    monkeypatch.setattr(_stored, "LARGE", 100)
    parts = scores()
    assert_allclose(parts, whole)


def test_constant_neurons_have_no_r2():
    X = np.full((3, 7, 2), 0.1)
    assert np.isnan(r2_by(X, X + 0.01))
    X[..., 1] = np.random.default_rng(0).normal(size=(3, 7))
    r2 = r2_by(X, X, over="neuron")
    assert np.isnan(r2[0]) and r2[1] == 1


@pytest.mark.slow
def test_scores_of_a_search_and_a_pipeline_of_one_step(est, trials):
    X = trials[:16]
    search = GridSearchCV(est, {"max_iter": [5]}, cv=2).fit(X)
    for scorer in (ForecastScorer(), CoSmoothingScorer(), FewShotCoSmoothingScorer(n_trials=5)):
        assert scorer(search, X) == scorer(search.best_estimator_, X)
        assert scorer(make_pipeline(est), X) == scorer(est, X)


def test_scores_of_neurons_have_none_where_nothing_was_hidden(est, trials):
    neurons = np.arange(30) < 5
    r2 = hidden_r2(est, trials[30:], neurons, over="neuron")
    assert np.isfinite(r2[:5]).all() and np.isnan(r2[5:]).all()


@pytest.mark.parametrize(
    "scorer",
    [
        ForecastScorer(0.7),
        CoSmoothingScorer(n_repeats=2),
        FewShotCoSmoothingScorer(n_trials=4),
    ],
)
@pytest.mark.slow
def test_scorers_work_in_model_selection(scorer, trials):
    jedi = JEDIEstimator(3, 6, max_iter=10, tol=1, random_state=0)
    X = trials[:16, :40]
    scores = cross_val_score(make_pipeline(TrialScaler(), jedi), X, cv=2, scoring=scorer)
    assert np.isfinite(scores).all()
    search = GridSearchCV(jedi, {"rank": [4, 8]}, cv=2, scoring=scorer, refit=False).fit(X)
    assert search.best_params_["rank"] in (4, 8)
    assert clone(scorer).get_params() == scorer.get_params()


@pytest.mark.parametrize(
    "scorer",
    [
        ForecastScorer(),
        ForecastScorer(correction=0),
        CoSmoothingScorer(),
        FewShotCoSmoothingScorer(n_trials=4),
    ],
)
@pytest.mark.slow
def test_inputs_are_routed_to_scorers(scorer):
    data = make_multitask(16, n_neurons=20, n_timesteps=20, random_state=0)
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


def counts_and_rates(n_neurons=3):
    rng = np.random.default_rng(0)
    rates = np.exp(rng.normal(size=(6, 20, n_neurons)))
    return rng.poisson(rates).astype(float), rates


def test_bits_per_spike_are_those_of_the_likelihood():
    y, rates = counts_and_rates()
    mean = np.broadcast_to(y.mean(axis=(0, 1)), y.shape)
    gain = poisson.logpmf(y, rates) - poisson.logpmf(y, mean)
    assert_allclose(bits_per_spike(y, rates), gain.sum() / y.sum() / np.log(2))
    each = gain.sum(axis=(0, 1)) / y.sum(axis=(0, 1)) / np.log(2)
    assert_allclose(bits_per_spike(y, rates, "neuron"), each)
    each = gain.sum(axis=(1, 2)) / y.sum(axis=(1, 2)) / np.log(2)
    assert_allclose(bits_per_spike(y, rates, "trial"), each)


@pytest.mark.parametrize(
    ("counts", "rates", "bits"),
    [
        ([0, 2], [0.5, 1.5], np.log2(1.5)),
        ([0, 1], [0, 1], 1.0),  # ln 2 for the spike; and 1 spike is expected, as on average
        ([1, 1], [0, 1], (np.log(1e-9) + 1 - 1e-9) / np.log(2) / 2),  # 0 stands for 1e-9
        ([0, 3, 0], [1, 3, 1], np.log2(3) - 2 / 3 / np.log(2)),
    ],
)
def test_bits_per_spike_by_hand(counts, rates, bits):
    counts, rates = (np.array(a, dtype=float)[np.newaxis, :, np.newaxis] for a in (counts, rates))
    assert bits_per_spike(counts, rates) == pytest.approx(bits, abs=1e-8)


def test_means_give_no_bits_and_nothing_gives_more_than_the_true_rates():
    rng = np.random.default_rng(0)
    rates = waves(rng)
    y = rng.poisson(rates)
    mean = np.broadcast_to(y.mean(axis=(0, 1)), y.shape)
    assert_allclose(bits_per_spike(y, mean, "neuron"), 0, atol=1e-12)
    true = bits_per_spike(y, rates)
    for other in (mean, 0.8 * rates, 1.2 * rates, rates**0.5, rates[::-1]):
        assert bits_per_spike(y, other) < true
    assert bits_per_spike(y, rates[::-1]) < 0 < true


def test_bits_are_weighed_by_spikes_and_do_not_know_the_order_of_trials():
    y, rates = counts_and_rates()
    bits = bits_per_spike(y, rates)
    for over, axes in (("neuron", (0, 1)), ("trial", (1, 2))):
        each = bits_per_spike(y, rates, over)
        assert_allclose(np.average(each, weights=y.sum(axis=axes)), bits)
    assert bits_per_spike(y[::-1], rates[::-1]) == pytest.approx(bits, abs=1e-12)


def test_missing_and_other_counts_do_not_count():
    y, rates = counts_and_rates()
    holes = y.copy()
    holes[:, 10:] = np.nan
    cut = bits_per_spike(y[:, :10], rates[:, :10], "neuron")
    assert_allclose(bits_per_spike(holes, rates, "neuron"), cut)
    first = np.arange(20)[:, np.newaxis] < 10
    assert_allclose(bits_per_spike(y, rates, "neuron", counted=first), cut)


def test_a_neuron_without_spikes_has_no_bits_but_what_is_expected_of_it_costs():
    y, rates = counts_and_rates()
    y[..., 1] = 0
    each = bits_per_spike(y, rates, "neuron")
    assert np.isnan(each[1]) and np.isfinite(each[[0, 2]]).all()
    others = bits_per_spike(y[..., [0, 2]], rates[..., [0, 2]])
    cost = (rates[..., 1] - 1e-9).sum() / y.sum() / np.log(2)
    assert_allclose(bits_per_spike(y, rates), others - cost)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y, r: (y + 0.5, r), ["counts", "whole numbers", "got", "trial 0"]),
        (lambda y, r: (np.where(np.arange(3) == 2, -1, y), r), ["-1", "neuron 2"]),
        (lambda y, r: (y, np.log(r)), ["rates", "expected counts", "logarithms"]),
        (lambda y, r: (y, np.where(y == 1, np.nan, r)), ["rates", "NaN", "predicts a number"]),
        (lambda y, r: (y, r[:, :-1]), ["rates", "shape of counts", "(6, 19, 3)"]),
        (lambda y, r: (0 * y, r), ["spike"]),
        (lambda y, r: (y, r, "neurons"), ["over", 'did you mean "neuron"']),
        (lambda y, r: (y, r, "all", np.zeros(3, bool)), ["nothing to score"]),
    ],
)
def test_bits_of_what_are_no_counts_or_rates_are_refused(change, words):
    with pytest.raises(ValueError) as refusal:
        bits_per_spike(*change(*counts_and_rates()))
    for word in words:
        assert word in str(refusal.value)


def test_hidden_counts_are_scored_by_what_the_rest_predicts(spiking, counts):
    X = counts[40:]
    hidden = np.broadcast_to(np.arange(20) < 5, X.shape)
    rates = spiking.impute(np.where(hidden, np.nan, X))
    for over in ("all", "neuron", "trial"):
        bits = hidden_bits_per_spike(spiking, X, hidden, over=over)
        assert_allclose(bits, bits_per_spike(X, rates, over, hidden))
    assert hidden_r2(spiking, X, hidden) == pytest.approx(r2_by(X, rates, counted=hidden))
    run = spiking.predict(np.where(hidden, np.nan, X))  # of the likeliest embedding
    bits = hidden_bits_per_spike(spiking, X, hidden, average=False)
    assert bits == pytest.approx(bits_per_spike(X, run, counted=hidden))
    assert bits < bits_per_spike(X, rates, counted=hidden)
    assert 0.2 < bits_per_spike(X, rates, counted=hidden)


@pytest.mark.slow
def test_scorers_of_counts_give_bits_unless_told_otherwise(spiking, counts):
    X = counts[40:]
    neurons = np.isin(np.arange(20), np.random.RandomState(0).permutation(20)[:5])
    bits, r2 = (f(spiking, X, neurons) for f in (hidden_bits_per_spike, hidden_r2))
    scores = {m: CoSmoothingScorer(metric=m)(spiking, X) for m in ("auto", "bits_per_spike", "r2")}
    assert scores == pytest.approx({"auto": bits, "bits_per_spike": bits, "r2": r2})
    later, forecast = X[:, 20:], spiking.forecast(X[:, :20], 20)
    bits, r2 = bits_per_spike(later, forecast), r2_by(later, forecast)
    scores = {m: ForecastScorer(metric=m)(spiking, X) for m in ("auto", "bits_per_spike", "r2")}
    assert scores == pytest.approx({"auto": bits, "bits_per_spike": bits, "r2": r2})


def test_a_hidden_value_that_is_no_count_is_refused(spiking, counts):
    X = counts[40:].copy()
    X[1, 2, 3] = 0.5
    with pytest.raises(ValueError, match=r"spike counts.*0\.5.*trial 1, time step 2, neuron 3"):
        hidden_bits_per_spike(spiking, X, np.arange(20) == 3)


def read_out(est, X, neurons, few, read=None):
    """Predictions of held-out neurons (or those to `read`) from the states of the others."""
    states = est.to_states(est.predict(np.where(neurons, np.nan, X)))[..., ~neurons]
    observed = states[~np.isnan(X).all(axis=2)]
    features = (states - observed.mean(axis=0)) / np.sqrt(observed.var(axis=0).sum())
    read = np.flatnonzero(neurons) if read is None else read
    out = np.empty((*X.shape[:2], len(read)))
    for k, n in enumerate(read):
        seen = ~np.isnan(X[few, :, n])
        x, y = features[few][seen], X[few, :, n][seen]
        if est.observation_ == "poisson":
            regression = PoissonRegressor(alpha=1 / len(y), max_iter=1000, tol=1e-8)
        else:
            regression = Ridge(alpha=1)
        regression.fit(x, y)
        out[..., k] = regression.predict(features.reshape(-1, x.shape[1])).reshape(X.shape[:2])
    return out


def first_choice(X, n_trials):
    """Neurons and trials that random_state=0 and fraction=0.25 choose."""
    rng = np.random.RandomState(0)
    neurons = rng.permutation(X.shape[2])[: round(0.25 * X.shape[2])]
    return np.isin(np.arange(X.shape[2]), neurons), rng.permutation(len(X))[:n_trials]


def test_few_shot_counts_are_read_by_poisson_regression_from_the_states_of_others(spiking, counts):
    X = counts[40:].copy()
    neurons, few = first_choice(X, 5)
    X[few[0], 25:] = np.nan  # a shorter trial
    X[few[1], 5:9, neurons] = np.nan
    rest = np.delete(np.arange(20), few)
    rates = read_out(spiking, X, neurons, few)
    score = FewShotCoSmoothingScorer(n_trials=5)
    expected = bits_per_spike(X[rest][..., neurons], rates[rest])
    assert score(spiking, X) == pytest.approx(expected, abs=1e-5)
    # what held-out neurons do in trials that are scored is not known to the prediction of it
    X[np.ix_(rest, np.arange(40), np.flatnonzero(neurons))] = 1.0
    X[rest[0], 0, np.argmax(neurons)] = 5.0
    expected = bits_per_spike(X[rest][..., neurons], rates[rest])
    assert score(spiking, X) == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_few_shot_activity_is_read_by_ridge_regression_from_the_states_of_others(est, trials):
    neurons, few = first_choice(trials, 10)
    rest = np.delete(np.arange(40), few)
    predicted = read_out(est, trials, neurons, few)[rest]
    score = FewShotCoSmoothingScorer(n_trials=10)(est, trials)
    assert score == pytest.approx(r2_by(trials[rest][..., neurons], predicted), abs=1e-6)
    assert score > 0.9


@pytest.mark.slow
def test_few_shot_choices_are_those_of_the_seed_and_averaged(spiking, counts):
    X = counts[40:]
    one, again, mean = (
        FewShotCoSmoothingScorer(n_trials=5, n_repeats=n)(spiking, X) for n in (1, 1, 2)
    )
    rng = np.random.RandomState(0)
    alone = [FewShotCoSmoothingScorer(n_trials=5, random_state=rng)(spiking, X) for _ in range(2)]
    assert one == again == alone[0] != alone[1]
    assert mean == pytest.approx(np.mean(alone))


@pytest.mark.slow
def test_few_trials_tell_of_waves_but_make_nothing_of_noise(spiking, counts):
    noise = np.random.default_rng(0).poisson(0.5, size=counts.shape)
    est = clone(spiking).fit(noise[:40])
    fewest, few, more = (
        FewShotCoSmoothingScorer(n_trials=n, n_repeats=2)(spiking, counts[40:]) for n in (1, 4, 12)
    )
    assert 0 < fewest < few < more < 0.4
    fewest, more = (
        FewShotCoSmoothingScorer(n_trials=n, n_repeats=2)(est, noise[40:]) for n in (1, 12)
    )
    assert fewest < more < 0


def test_states_of_no_use_cost_where_trials_are_few():
    rng = np.random.default_rng(0)
    z, other = rng.normal(size=(220, 30, 2)), rng.normal(size=(220, 30, 20))
    y = rng.poisson(0.5 * np.exp(0.7 * z @ rng.normal(size=(2, 6)))).astype(float)

    def cost(n):
        bits = []
        for states in (z, np.concatenate([z, other], axis=2)):
            readout = _Readout(_axes(states, lambda i, s=states: s[i]), counts=True)
            readout.fit(states[:n], y[:n])
            bits.append(bits_per_spike(y[120:], readout(states[120:])))
        return bits[0] - bits[1]

    assert cost(3) > 0.1 > 0.02 > cost(100) > 0


def test_few_trials_may_not_know_a_neuron(spiking, counts):
    X = counts[40:].copy()
    neurons, few = first_choice(X, 5)
    silent, missing, *others = np.flatnonzero(neurons)
    rest = np.delete(np.arange(20), few)
    X[few, :, missing] = np.nan  # not scored
    X[few, :, silent] = 0
    rates = np.empty((15, 40, 4))
    rates[..., 0] = 0.5 / (5 * 40)  # half a spike in as many bins
    rates[..., 1:] = read_out(spiking, X, neurons, few, others)[rest]
    expected = bits_per_spike(X[rest][..., [silent, *others]], rates)
    assert FewShotCoSmoothingScorer(n_trials=5)(spiking, X) == pytest.approx(expected, abs=1e-5)


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
        (lambda e, X: CoSmoothingScorer(metric="bits")(e, X), ValueError, ["metric", "'r2'"]),
        (
            lambda e, X: CoSmoothingScorer(metric="bits_per_spike")(e, X),
            ValueError,
            ["spike counts", '"gaussian"', 'metric="r2"'],
        ),
        (
            lambda e, X: ForecastScorer(metric="bits_per_spike")(e, X),
            ValueError,
            ["spike counts", '"gaussian"', 'metric="r2"'],
        ),
        (
            lambda e, X: hidden_bits_per_spike(e, X, np.arange(30) < 5),
            ValueError,
            ["spike counts", '"gaussian"', "hidden_r2"],
        ),
        (
            lambda e, X: FewShotCoSmoothingScorer(n_trials=10)(e, X),
            ValueError,
            ["n_trials=10", "at least 11", "got 10"],
        ),
        (lambda e, X: FewShotCoSmoothingScorer(n_trials=0)(e, X), ValueError, ["n_trials", ">="]),
        (lambda e, X: bits_per_spike(X, X), ValueError, ["counts", "whole numbers", "trial 0"]),
    ],
)
def test_refusals_say_what_was_expected_and_what_came(est, trials, call, error, words):
    with pytest.raises(error) as refusal:
        call(est, trials[30:])
    for word in words:
        assert word in str(refusal.value)
