"""Facts about `compare`: honest folds, opponents that do what they say, intervals that cover."""

import pickle
import sys
from dataclasses import replace

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binomtest, norm
from sklearn.base import clone
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import mean_poisson_deviance
from sklearn.model_selection import GridSearchCV, LeaveOneGroupOut, RepeatedKFold, StratifiedKFold

from jedi_sklearn import JEDIEstimator, baselines
from jedi_sklearn.evaluation import Comparison, _answers, compare
from jedi_sklearn.evaluation._answers import OURS, Plan, _Answers, _d2
from jedi_sklearn.evaluation._comparison import (
    accuracy_interval,
    corrected_interval,
    difference_interval,
)
from jedi_sklearn.evaluation._comparison import (
    row_of as numbers_of_row,
)
from jedi_sklearn.evaluation._folds import Data, Fold, Target, inner_splits, make_splits
from jedi_sklearn.evaluation._simple import (
    ConditionMean,
    FactorCoSmoothing,
    Factors,
    LaterRegression,
    MeanRate,
    NeuronRegression,
    Posed,
    TrialPCA,
    predict_tuned,
)
from jedi_sklearn.metrics import ForecastScorer, bits_per_spike
from jedi_sklearn.preprocessing import Recording

LABELS = np.arange(40) % 2
EST = JEDIEstimator(3, 4, dt=0.05, max_iter=10, tol=1.0, device="cpu")
EASY = {"estimator": EST, "cv": 2, "random_state": 0}


def waves(n_trials=40, seed=0):
    """Waves of two conditions that run through 10 neurons either way, with noise."""
    rng = np.random.default_rng(seed)
    phase = 0.4 * np.arange(16)[:, np.newaxis]
    way = np.where(np.arange(n_trials) % 2, 1, -1)[:, np.newaxis, np.newaxis]
    size = rng.uniform(0.5, 1.5, size=(n_trials, 1, 1))
    return size * np.cos(phase + 0.6 * way * np.arange(10)), rng


@pytest.fixture(scope="module", autouse=True)
def two_widths():
    """Simple methods have two widths to choose from, for speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_answers, "WIDTHS", (0.0, 1.0))
        yield


@pytest.fixture(scope="module")
def activity():
    clean, rng = waves()
    return clean + 0.3 * rng.standard_normal(clean.shape)


@pytest.fixture(scope="module")
def spikes():
    clean, rng = waves()
    return rng.poisson(np.exp(clean - 0.5)).astype(float)


@pytest.fixture(scope="module")
def result(activity):
    return compare(activity, LABELS, **EASY)


@pytest.fixture(scope="module")
def counted(spikes):
    return compare(
        spikes, LABELS, **EASY, questions=["reconstruction", "forecast", "co_smoothing"]
    )


def row_of(result, question, method):
    return next(r for r in result.rows if (r["question"], r["method"]) == (question, method))


# What is in a result


def test_rows_are_means_of_the_folds(result):
    assert [q for q in result.folds] == [
        "reconstruction",
        "forecast",
        "co_smoothing",
        "decoding",
        "embedding",
    ]
    for row in result.rows:
        values = result.folds[row["question"]][row["method"]]
        assert values.shape == (2,)
        assert_allclose(row["value"], values.mean())
        assert row["low"] <= row["value"] <= row["high"]
        if not row["method"].startswith(OURS):
            ours = next(iter(result.folds[row["question"]].values()))
            assert_allclose(row["difference"], (ours - values).mean())
            assert row["difference_low"] <= row["difference"] <= row["difference_high"]
        else:
            assert np.isnan(row["difference"])


@pytest.mark.parametrize(("of", "which"), [("activity", "result"), ("spikes", "counted")])
@pytest.mark.slow
def test_our_values_are_those_of_the_estimator(request, of, which):
    X, found = request.getfixturevalue(of), request.getfixturevalue(which)
    train, test = found.splits[1]
    # the seed of a fit does not matter here: it starts in closed form, with one batch
    est = clone(EST).set_params(random_state=0).fit(X[train], LABELS[train])
    scores = {
        ("reconstruction", "free runs"): est.score(X[test]),
        ("forecast", "forecast"): ForecastScorer()(est, X[test]),
    }
    for (question, name), score in scores.items():
        assert_allclose(found.folds[question][f"{OURS} {name}"][1], score, rtol=1e-6)


@pytest.mark.parametrize(("of", "which"), [("activity", "result"), ("spikes", "counted")])
def test_opponents_are_the_baselines(request, of, which):
    X, found = request.getfixturevalue(of), request.getfixturevalue(which)
    train, test = found.splits[1]
    lds = baselines.LinearDynamicalSystem(3, reconstruction="free")  # as the components of EST
    expected = {("reconstruction", "linear dynamical system"): lds.fit(X[train]).score(X[test])}
    if of == "spikes":  # others may be smoothed further
        mean = baselines.ConditionMean().fit(X[train], LABELS[train])
        expected["reconstruction", "condition mean"] = mean.score(X[test], LABELS[test])
        run = lds.forecast(X[test, :8], 8)
        bits = bits_per_spike(X[test, 8:], run)
        expected["forecast", "linear dynamical system"] = bits
    for (question, name), score in expected.items():
        assert_allclose(found.folds[question][name][1], score, rtol=1e-6)


def test_share_of_the_deviance(spikes):
    rates = np.broadcast_to(np.exp(waves()[0] - 0.5), spikes.shape)
    n = spikes.shape[2]
    y, mu = spikes.reshape(-1, n), rates.reshape(-1, n)
    of_model = sum(mean_poisson_deviance(y[:, i], mu[:, i]) for i in range(n))
    of_mean = sum(
        mean_poisson_deviance(y[:, i], np.full(len(y), y[:, i].mean())) for i in range(n)
    )
    assert_allclose(_d2(spikes, rates), 1 - of_model / of_mean, rtol=1e-6)


def test_table_and_frame(result):
    lines = str(result).splitlines()
    assert len(lines) == 1 + len(result.rows)
    assert len({line.index("R2") for line in lines[1:15]}) == 1  # aligned
    assert "PCA of trials" in str(result) and repr(result) == str(result)
    frame = result.to_frame()
    assert frame.shape == (len(result.rows), 9)
    assert_array_equal(frame["value"], [row["value"] for row in result.rows])
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ImportError, match="needs pandas"):
        patch.setitem(sys.modules, "pandas", None)
        result.to_frame()
    assert str(pickle.loads(pickle.dumps(result))) == str(result)


def made_up(*differences):
    """A comparison of one question with such intervals of differences."""
    rows = []
    numbers = {"question": "forecast", "metric": "R2", "value": 0.5, "low": 0.4, "high": 0.6}
    for i, (low, high) in enumerate([(np.nan, np.nan), *differences]):
        more = {"difference": (low + high) / 2, "difference_low": low, "difference_high": high}
        rows.append({**numbers, "method": f"method {i}" if i else f"{OURS} forecast", **more})
    return Comparison(rows, {"forecast": {}})


def test_the_summary_says_who_wins():
    text = made_up((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1)).summary()
    assert (
        "held-out trials is forecast with an R2 of 0.500 [0.400, 0.600]. That is more than" in text
    )
    assert "more than method 1 0.500 [0.400, 0.600]." in text
    assert "It is less than method 2 0.500" in text
    assert "No difference that these folds can show: method 3 0.500" in text
    assert text.endswith("Simple methods do better in forecast (method 2).")
    assert made_up((0.1, 0.2)).summary().endswith("No simple method is shown to do better here.")


def test_the_summary_of_embeddings(result):
    values = {f"{OURS} {n}": v for n, v in (("components", [3, 5]), ("rank", [4, 4]))}
    folds = {k: np.array(v) for k, v in values.items()} | {f"{OURS} SD": np.array([1.5, 1.5])}
    rows = [{"question": "embedding", "method": m, "value": v.mean()} for m, v in folds.items()]
    text = Comparison(rows, {"embedding": folds}).summary()
    assert "Embeddings have 3 to 5 components, and the RNNs rank 4." in text
    assert text.endswith(
        "1.5 of its SD between trials (median): noise moves it as much as trials differ."
    )
    assert "of its SD between trials (median)." in result.summary()


# Nothing of held-out trials is seen


@pytest.mark.parametrize("kind", ["activity", "spikes"])
@pytest.mark.slow
def test_held_out_trials_change_no_method(request, kind, monkeypatch):
    """What is said of the first held-out trials does not depend on the other held-out trials."""
    X = request.getfixturevalue(kind)
    train, test = np.arange(24), np.arange(24, 40)
    observation = "poisson" if kind == "spikes" else "gaussian"
    est = clone(EST).set_params(observation=observation, random_state=0)
    questions = ("reconstruction", "forecast", "co_smoothing")
    questions += ("decoding",) if kind == "activity" else ()
    said = []

    def spy(methods, *rest):
        run = predict_tuned(methods, *rest)
        said.append(run[:4])
        return run

    monkeypatch.setattr(_answers, "predict_tuned", spy)

    def answers(changed):
        Z, labels = X.copy(), LABELS.copy()
        if changed:
            Z[test[4:]] = np.random.default_rng(1).permuted(Z[test[4:]], axis=0)[:, ::-1, ::-1]
            labels[test[4:]] = 1 - labels[test[4:]]
        data = Data(Z, None, Target(labels, labels), (np.unique(labels), labels), None)
        neurons = np.arange(10) < 3
        plan = Plan(est, questions, None, 8, 0.5)
        said.clear()
        found = _Answers(plan, data, Fold(train, test, inner_splits(train, data, 0), neurons))
        found.collect()
        hits = [of_method[:4] for of_method in found.hits.values()]
        linear = (found.linear.A_, found.linear.predict(Z[test])[:4])
        return [found.est.embedding_, found.found.mean[:4], *linear, *said, *hits]

    before, after = answers(False), answers(True)
    assert len(before) == 2 + 2 + 11 + 4 * (kind == "activity")
    for one, other in zip(before, after, strict=True):
        assert_allclose(one, other, rtol=1e-6, atol=1e-8)


def test_what_is_to_be_predicted_is_hidden(activity):
    posed = Posed(activity[:, :8], activity[:, 8:], LABELS)
    assert posed.hide().scored is None
    assert posed[:4].hide().codes.tolist() == [0, 1, 0, 1]


@pytest.mark.slow
def test_shuffled_labels_are_decoded_by_chance(activity):
    shuffled = np.random.default_rng(3).permutation(LABELS)
    found = compare(activity, shuffled, **EASY, questions="decoding")
    for row in found.rows:
        assert row["low"] <= 0.5 <= row["high"] and 0.25 < row["value"] < 0.75
    assert all(not row["difference_low"] > 0 for row in found.rows)
    assert "is more than" not in found.summary()


# Facts


@pytest.fixture(scope="module")
def condition_means():
    rng = np.random.default_rng(0)
    means = np.cumsum(rng.standard_normal((4, 20, 8)), axis=1)
    y = np.arange(80) % 4
    return means[y], rng.standard_normal((80, 20, 8)), y


@pytest.mark.slow
def test_trials_that_are_their_condition_mean(condition_means):
    mean, noise, y = condition_means
    X = mean + noise
    found = compare(X, y, **EASY, questions=["reconstruction", "forecast", "decoding"])
    n = 10  # training trials of a condition
    for question, part in (("reconstruction", slice(None)), ("forecast", slice(10, None))):
        total = X[:, part].var(axis=(0, 1)).mean()
        value = row_of(found, question, "condition mean")["value"]
        assert 1 - (1 + 1 / n) / total < value + 0.01
        assert value < 1 - 1 / total + 0.02  # no better than the noise allows
        assert abs(row_of(found, question, "mean rate")["value"]) < 0.05
    ridge = row_of(found, "forecast", "ridge regression")["value"]
    assert ridge > value - 0.05  # the first part tells the condition
    for method in ("mean rates", "PCA of trials", f"{OURS} embeddings"):
        assert row_of(found, "decoding", method)["value"] > 0.95
    assert row_of(found, "decoding", "most frequent label")["value"] == 0.25


@pytest.mark.slow
def test_missing_samples_are_not_scored(condition_means):
    mean, noise, y = condition_means
    X = mean + noise
    rng = np.random.default_rng(1)
    X[rng.random(X.shape) < 0.1] = np.nan
    X[::5, 14:] = np.nan
    X[7, :, 3] = np.nan
    found = compare(X, y, **EASY)
    for row in found.rows:
        assert np.isfinite([row["value"], row["low"], row["high"]]).all()
    train, test = found.splits[0]
    # by hand: mean trials of observed values, unsmoothed or smoothed a little
    by_hand = np.stack([np.nanmean(X[train][y[train] == c], axis=0) for c in range(4)])[y[test]]
    seen = ~np.isnan(X[test])
    total = np.nansum(np.square(X[test] - np.nanmean(X[test], axis=(0, 1))))
    expected = 1 - np.square(np.where(seen, X[test] - by_hand, 0)).sum() / total
    assert abs(found.folds["reconstruction"]["condition mean"][0] - expected) < 0.02


def test_counts_are_compared_as_counts(counted):
    metrics = {row["question"]: row["metric"] for row in counted.rows}
    assert metrics["reconstruction"] == "D2"
    assert metrics["forecast"] == metrics["co_smoothing"] == "bits per spike"
    assert row_of(counted, "co_smoothing", "Poisson regression")["value"] > 0.05
    assert row_of(counted, "reconstruction", "PCA of trials")["value"] > 0.05
    for question in ("reconstruction", "forecast", "co_smoothing"):
        value = row_of(counted, question, "mean rate")["value"]
        assert -0.05 < value <= 0  # the means of the held-out trials are the best of constants


def test_neurons_without_a_training_spike(spikes):
    """A spike of theirs in held-out trials is unlikely, not impossible."""
    trials = Posed(spikes, spikes, LABELS)
    trials.scored[:30, :, 0] = 0
    rates = MeanRate(counts=True).fit(trials[:30]).predict(trials[30:].hide())
    assert_allclose(rates[..., 0], 0.5 / (30 * 16))


@pytest.mark.slow
def test_a_continuous_target(activity):
    size = np.linalg.norm(activity, axis=(1, 2))
    found = compare(activity, size, **EASY, questions=["reconstruction", "decoding"])
    methods = [r["method"] for r in found.rows]
    assert "condition mean" not in methods and "mean of y" in methods
    assert row_of(found, "decoding", f"{OURS} embeddings")["metric"] == "R2"
    assert row_of(found, "decoding", f"{OURS} embeddings")["value"] > 0.3
    assert row_of(found, "decoding", "mean of y")["value"] < 0.01
    known = compare(activity, size, conditions=LABELS, **EASY, questions="reconstruction")
    assert row_of(known, "reconstruction", "condition mean")["value"] > 0.3


def test_decoders_of_the_user(activity, result):
    assert row_of(result, "decoding", f"{OURS} embeddings")["value"] > 0.8
    found = compare(activity, LABELS, **EASY, questions="decoding", decoder=DummyClassifier())
    assert {row["value"] for row in found.rows} == {0.5}


@pytest.mark.slow
def test_decoding_is_scored_by_what_the_table_says(activity):
    search = GridSearchCV(LogisticRegression(), {"C": [1.0]}, scoring="neg_log_loss", cv=2)
    found = compare(activity, LABELS, **EASY, questions="decoding", decoder=search)
    assert all(row["low"] <= row["value"] <= row["high"] for row in found.rows)
    assert {row["metric"] for row in found.rows} == {"accuracy"}


@pytest.mark.slow
def test_three_training_trials_of_many_labels_are_enough_to_decode(activity):
    labels, how = np.arange(40) % 10, {**EASY, "cv": 4, "questions": "decoding"}
    found = compare(activity, labels, **how)
    assert all(0 <= row["value"] <= 1 for row in found.rows)
    with pytest.raises(ValueError, match=r"label \d only twice: .*at least 3\)\. .* merge rare"):
        compare(activity, labels, **how | {"cv": 2})


@pytest.mark.slow
def test_blocks_that_hold_conditions_are_pointed_out(activity):
    blocks, how = np.arange(40) // 10, {**EASY, "cv": 4, "questions": "reconstruction"}
    with pytest.warns(
        UserWarning, match=r"40 of 40 held-out trials have a condition without any training"
    ):
        compare(activity, conditions=blocks, groups=blocks, **how)


@pytest.mark.slow
def test_known_inputs(multitask):
    size = np.random.default_rng(0).standard_normal((24, 1))
    inputs, drive = np.zeros((2, 24, 25, 1))
    inputs[:, 15], drive[:, 16:] = size, size[:, np.newaxis]
    X = 0.1 * multitask.X[:24, ::2, :10] + drive * np.linspace(-1, 1, 10)
    est = JEDIEstimator(2, 4, dt=0.04, max_iter=10, tol=1.0)
    how = {**EASY, "estimator": est, "questions": ["reconstruction", "forecast"]}
    found = compare(X, inputs=inputs, **how)
    # told what drives the second part, of which the first says nothing
    assert row_of(found, "forecast", "ridge regression")["value"] > 0.8
    assert row_of(found, "reconstruction", "PCA of trials")["value"] > 0.8


@pytest.mark.slow
def test_scale_neuron_counts_neurons_alike(activity):
    """Units of neurons do not matter."""
    units = np.logspace(0, 3, 10)
    est = clone(EST).set_params(scale="neuron", random_state=0)
    how = {**EASY, "estimator": est, "questions": "reconstruction"}
    one, other = (compare(X, LABELS, **how) for X in (activity, activity * units))
    for row, same in zip(one.rows, other.rows, strict=True):
        assert_allclose(row["value"], same["value"], rtol=1e-3, atol=1e-4)


# Simple methods


def test_pca_of_trials_is_that_of_scikit_learn(activity):
    trials = Posed(activity, activity)
    run = TrialPCA(3, 0.0).fit(trials[:30]).predict(trials[30:].hide())
    pca = PCA(3).fit(activity[:30].reshape(30, -1))
    flat = pca.inverse_transform(pca.transform(activity[30:].reshape(10, -1)))
    assert_allclose(run, flat.reshape(10, 16, 10), atol=1e-10)


def test_pca_of_trials_knows_what_is_missing_from_the_rest():
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((40, 2)) @ rng.standard_normal((2, 60))).reshape(40, 12, 5)
    holed = X.copy()
    holed[30:, 7:] = np.nan
    trials = Posed(holed, X)
    run = TrialPCA(2, 0.0).fit(trials[:30]).predict(trials[30:].hide())
    assert_allclose(run, X[30:], atol=1e-3)


def test_the_decay_of_first_samples_is_given():
    rng = np.random.default_rng(0)
    decay = 0.9 ** np.arange(12)
    X = 2 + decay[:, np.newaxis] * rng.standard_normal((30, 1, 5))
    trials = Posed(X, X)
    error = np.square(TrialPCA(1, 0.0, decay).fit(trials).predict(trials.hide()) - X).mean()
    assert error < 0.05 * np.square(TrialPCA(1, 0.0).fit(trials).predict(trials.hide()) - X).mean()


def test_factors_are_those_of_all_samples():
    rng = np.random.default_rng(0)
    W = rng.standard_normal((2, 8))
    noise = np.linspace(0.2, 1, 8)
    X = rng.standard_normal((3000, 2)) @ W + noise * rng.standard_normal((3000, 8)) + 5
    factors = Factors(X.reshape(30, 100, 8), 2)
    fa = FactorAnalysis(2, random_state=0, tol=1e-8, max_iter=5000).fit(X)
    assert_allclose(
        factors.loadings.T @ factors.loadings, fa.components_.T @ fa.components_, atol=0.05
    )
    assert_allclose(factors.noise, noise**2, atol=0.08)
    assert_allclose(factors.infer(X)[:5] ** 2, fa.transform(X)[:5] ** 2, atol=0.1)


def test_neurons_from_factors_are_their_conditional_mean():
    rng = np.random.default_rng(0)
    W = rng.standard_normal((2, 8))
    X = rng.standard_normal((60, 50, 2)) @ W + 0.5 * rng.standard_normal((60, 50, 8))
    trials = Posed(X[..., :6], X[..., 6:])
    run = FactorCoSmoothing(2, 0.0).fit(trials).predict(trials.hide())
    S = W.T @ W + 0.25 * np.eye(8)
    expected = X[..., :6] @ np.linalg.solve(S[:6, :6], S[:6, 6:])
    assert np.square(run - expected).mean() < 0.01 * np.square(expected).mean()


@pytest.mark.parametrize("counts", [False, True])
def test_neuron_regressions_find_the_weights(counts):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 50, 4))
    log = X @ (0.5 * rng.standard_normal((4, 2)))
    y = rng.poisson(np.exp(log)) if counts else log + 0.1 * rng.standard_normal(log.shape)
    trials = Posed(X, y.astype(float))
    run = NeuronRegression(0.0, 1.0, counts).fit(trials).predict(trials.hide())
    expected = np.exp(log) if counts else log
    assert np.square(run - expected).mean() < 0.02 * expected.var()


def test_forecasts_are_conditional_means_of_gaussian_trials():
    rng = np.random.default_rng(0)
    A = rng.standard_normal((6, 6)) / 2
    X = (rng.standard_normal((4000, 6)) @ A).reshape(4000, 6, 1)
    trials = Posed(X[:, :4], X[:, 4:])
    run = LaterRegression(0.0).fit(trials).predict(trials[:9].hide())
    S = A.T @ A
    expected = X[:9, :4, 0] @ np.linalg.solve(S[:4, :4], S[:4, 4:])
    assert_allclose(run[..., 0], expected, atol=0.15)


def test_a_condition_that_was_not_seen_has_the_mean_of_all(activity):
    trials = Posed(activity, activity, LABELS)
    model = ConditionMean(0.0, counts=False).fit(trials[:20])
    new = Posed(activity[:1], None, np.array([7]))
    assert_allclose(model.predict(new)[0], activity[:20].mean(axis=0))
    assert_allclose(model.predict(trials[20:22].hide())[1], activity[1:20:2].mean(axis=0))


def test_settings_are_those_that_predict_best(activity):
    """A quarter of the training trials chooses; mean rates mix with counts alone."""
    clean = waves()[0]

    class Fake:
        def __init__(self, size):
            self.size = size

        def fit(self, trials):
            return self

        def predict(self, trials):
            return self.size * np.ones_like(trials.shown)

    X = np.ones_like(clean)
    trials = Posed(X, X)
    inner = (np.arange(15), np.arange(15, 20))

    def measure(scored, run):
        return -np.square(scored - run).mean()

    how = (trials[:20], trials[20:], inner, measure)
    assert_allclose(predict_tuned([Fake(3.0), Fake(0.9), Fake(-1.0)], *how, False), 0.9)
    # nothing is expected: mean rates help most
    assert_allclose(predict_tuned([Fake(-1.0), Fake(-2.0)], *how, True), 0.8)
    assert_allclose(predict_tuned([Fake(0.5)], *how, True), 0.5)  # alone it chose its settings


# Intervals


def test_intervals_cover():
    """Two thresholds on one number each; truth is their accuracy after so many trials."""
    rng = np.random.default_rng(0)
    n, n_folds, shift = 40, 5, np.array([1.0, 1.4])
    y = np.arange(n) % 2
    found, truths = [], []
    for _ in range(300):
        x = rng.standard_normal((n, 2)) + np.outer(y - 0.5, shift)
        order = rng.permutation(n)
        folds, hits = [], []
        for test in np.array_split(order[np.argsort(y[order], kind="stable")].reshape(2, -1).T, 5):
            test = test.ravel()
            train = np.setdiff1d(order, test)
            cut = (x[train][y[train] == 0].mean(axis=0) + x[train][y[train] == 1].mean(axis=0)) / 2
            hits.append((x[test] > cut) == y[test][:, np.newaxis])
            folds.append(hits[-1].mean(axis=0))
            below, above = norm.cdf(cut + shift / 2), norm.sf(cut - shift / 2)
            truths.append((below + above) / 2)
        found.append((np.array(folds), np.concatenate(hits)))
    truth = np.mean(truths, axis=0)
    inside = np.zeros((4, len(found)), dtype=bool)
    for i, (folds, hits) in enumerate(found):
        gain = truth[1] - truth[0]
        intervals = [
            (corrected_interval(folds[:, 0], 1 / (n_folds - 1), 0.95), truth[0]),
            (accuracy_interval(hits[:, 0], n, 0.95), truth[0]),
            (corrected_interval(folds[:, 1] - folds[:, 0], 1 / (n_folds - 1), 0.95), gain),
            (difference_interval(hits[:, 1], hits[:, 0], n, 0.95), gain),
        ]
        for j, ((low, high), value) in enumerate(intervals):
            inside[j, i] = low <= value <= high
    # each by itself about 95 %, within what 300 draws tell; the wider of both no less
    assert (inside.mean(axis=1) > 0.9).all()
    assert (inside[0] | inside[1]).mean() > 0.95 and (inside[2] | inside[3]).mean() > 0.95


def test_intervals_of_accuracies_are_those_of_the_books():
    hits = np.arange(30) < 24
    expected = binomtest(24, 30).proportion_ci(method="wilson")
    assert_allclose(accuracy_interval(hits, 30, 0.95), (expected.low, expected.high))
    assert_allclose(accuracy_interval(np.tile(hits, 3), 30, 0.95), (expected.low, expected.high))
    other = np.arange(30) < 20
    b, c, n, z = 4 + 0.5, 0 + 0.5, 32, norm.ppf(0.975)
    half = z * np.sqrt((b + c) - (b - c) ** 2 / n) / n
    assert_allclose(
        difference_interval(hits, other, 30, 0.95), ((b - c) / n - half, (b - c) / n + half)
    )


def test_a_decoder_without_an_error_is_not_certain():
    splits = [(np.arange(20), np.arange(20, 40)), (np.arange(20, 40), np.arange(20))]
    right = {name: np.ones(40, dtype=bool) for name in ("ours", "theirs")}
    folds = {name: np.ones(2) for name in right}
    row = numbers_of_row(folds, right, "theirs", "ours", "accuracy", splits, 0.95)
    assert row["value"] == row["high"] == 1
    assert row["low"] < 1 - 3 / 40  # rule of three
    assert row["difference_low"] < 0 < row["difference_high"]


# Folds


@pytest.mark.slow
def test_results_do_not_depend_on_workers(activity, monkeypatch):
    how = {**EASY, "questions": "reconstruction"}
    one = compare(activity, LABELS, **how)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        threads = compare(activity, LABELS, **how)
    answer = _answers.answer_fold

    def elsewhere(*arguments):  # as a process of joblib does
        *arguments, process = pickle.loads(pickle.dumps(arguments))
        return answer(*arguments, process=process + 1)

    monkeypatch.setattr("jedi_sklearn.evaluation._compare.answer_fold", elsewhere)
    others = compare(activity, LABELS, **how)
    for found in (threads, others):
        for question, values in one.folds.items():
            for method, of_folds in values.items():
                assert_array_equal(of_folds, found.folds[question][method])
        assert str(found) == str(one)


def test_comparisons_are_compared_by_identity(result):
    assert result == result and result != replace(result)


def test_seeds_draw_folds(activity, result):
    found = compare(activity, LABELS, **{**EASY, "random_state": 1}, questions="embedding")
    assert found.splits[0][0].tolist() != result.splits[0][0].tolist()


def test_folds_are_stratified_and_grouped(activity):
    groups = np.arange(40) // 4
    data = Data(activity, None, None, (np.unique(LABELS), LABELS), None)
    for train, test in make_splits(5, data, np.random.RandomState(0)):
        assert LABELS[test].sum() == 4 and len(train) == 32
    for codes in (None, LABELS):
        labels = None if codes is None else (np.unique(codes), codes)
        data = Data(activity, None, None, labels, groups)
        for train, test in make_splits(5, data, np.random.RandomState(0)):
            assert not np.intersect1d(groups[train], groups[test]).size
            for fit, judge in inner_splits(train, data, 0):
                assert not np.intersect1d(groups[train][fit], groups[train][judge]).size


def test_settings_are_chosen_where_all_labels_are_known(activity):
    labels = (np.unique(LABELS), LABELS)
    data = Data(activity, None, None, labels, LABELS)  # a group has one label
    train = np.arange(20)
    splits = inner_splits(train, data, 0)
    assert all(len(np.unique(LABELS[train][fit])) == 2 for fit, _ in splits)
    rare = np.where(np.arange(40) == 3, 5, LABELS)  # of which no two trials can be parted
    data = Data(
        activity, None, None, (np.unique(rare), np.unique(rare, return_inverse=True)[1]), None
    )
    assert len(inner_splits(train, data, 0)) == 4


def test_splitters_and_trials_of_folds_are_taken(activity):
    groups, rng = np.arange(40) // 20, np.random.RandomState(0)
    data = Data(activity, None, None, (np.unique(LABELS), LABELS), groups)
    splits = list(StratifiedKFold(2).split(LABELS, LABELS))
    masks = [(np.isin(np.arange(40), a), np.isin(np.arange(40), b)) for a, b in splits]
    for cv in (StratifiedKFold(2), splits, masks):
        alone = replace(data, groups=None)
        for fold, expected in zip(make_splits(cv, alone, rng), splits, strict=True):
            assert_array_equal(fold, expected)
    for train, test in make_splits(LeaveOneGroupOut(), data, rng):
        assert len(set(groups[test])) == 1 and not set(groups[test]) & set(groups[train])


def test_repeated_folds_count_their_trials_once(activity):
    data = Data(activity, None, None, None, None)
    repeated = RepeatedKFold(n_splits=2, n_repeats=3, random_state=0)
    splits = make_splits(repeated, data, np.random.RandomState(0))
    assert len(splits) == 6
    hits = {"theirs": np.tile(LABELS, 3) == 0}
    row = numbers_of_row(
        {"theirs": np.full(6, 0.5)}, hits, "theirs", None, "accuracy", splits, 0.95
    )
    assert_allclose((row["low"], row["high"]), accuracy_interval(LABELS, 40, 0.95))


def test_fits_that_do_not_converge_are_counted(activity):
    est = clone(EST).set_params(solver="paper")
    how = {**EASY, "estimator": est, "questions": "embedding"}
    with pytest.warns(ConvergenceWarning, match="2 of 2 fits of the estimator did not converge"):
        found = compare(activity, **how)
    assert found.converged.tolist() == [False, False]


# What is refused

SPLITS = [(np.arange(20), np.arange(20, 40)), (np.arange(20, 40), np.arange(20))]
MISSING = np.zeros((40, 16, 10))
MISSING[3, :8] = np.nan


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"estimator": PCA()}, TypeError, ["JEDIEstimator, got PCA", "last step"]),
        ({"questions": "forecasts"}, ValueError, ["'forecasts'", '"all"', 'mean "forecast"']),
        ({"questions": []}, ValueError, ["questions is empty", "reconstruction"]),
        ({"questions": ["decoding"], "y": None}, ValueError, ["no y to decode"]),
        ({"y": LABELS[:9]}, ValueError, ["one label per trial", "(40,)", "(9,)"]),
        ({"y": np.random.RandomState(0).rand(40, 2)}, ValueError, ["(40, 2)", "each column"]),
        ({"cv": 1}, ValueError, ["cv", ">= 2"]),
        ({"cv": 21}, ValueError, ["40 trials in cv=21", "Set cv=20"]),
        ({"cv": "five"}, ValueError, ["cv"]),
        ({"cv": 2.5}, TypeError, ["cv must be a number of folds", "2.5"]),
        ({"cv": SPLITS[:1]}, ValueError, ["at least 2 folds, got 1"]),
        ({"cv": [(np.arange(21), SPLITS[0][1])] * 2}, ValueError, ["trial 20 in both parts"]),
        ({"cv": [(np.arange(5), np.arange(6, 9))] * 2}, ValueError, ["5 training", "8 and 2"]),
        ({"y": np.arange(40) < 3}, ValueError, ["rarest label has 3", "cv=5", "lower"]),
        ({"groups": np.arange(40) % 3}, ValueError, ["3 groups", "Set cv=3"]),
        ({"y": np.arange(40) // 20, "cv": SPLITS}, ValueError, ["all have the label 0", "groups"]),
        (
            {"y": np.where(np.arange(40) == 25, 2, LABELS), "cv": SPLITS},
            ValueError,
            ["Held-out trials of fold 0 have the label 2", "none of its training"],
        ),
        (
            {"y": np.where(np.isin(np.arange(40), (5, 25)), 2, LABELS), "cv": SPLITS},
            ValueError,
            ["have the label 2 only once"],
        ),
        ({"forecast_from": 0}, ValueError, ["forecast_from", "> 0"]),
        ({"hidden_neurons": "all"}, TypeError, ["hidden_neurons", "'all'"]),
        ({"confidence": 1}, ValueError, ["confidence", "less than 1"]),
        ({"confidence": 95}, ValueError, ["confidence", "<= 1", "95"]),
        ({"decoder": "lda"}, TypeError, ["decoder", "scikit-learn classifier", "labels", "str"]),
        (
            {"decoder": RidgeCV()},
            TypeError,
            ["decoder", "scikit-learn classifier", "labels", "RidgeCV"],
        ),
        ({"random_state": "x"}, ValueError, ["random_state", "'x'"]),
        ({"groups": np.zeros(3)}, ValueError, ["groups", "(40,)"]),
        ({"conditions": np.zeros(3)}, ValueError, ["conditions", "(40,)"]),
        (
            {"X": MISSING},
            ValueError,
            ["the first 8 samples hold no value in 1", "first in trial 3"],
        ),
    ],
    ids=lambda value: None,
)
def test_what_cannot_be_compared(activity, monkeypatch, arguments, error, words):
    monkeypatch.setattr("jedi_sklearn.evaluation._compare.answer_fold", None)  # refused before
    arguments = {"X": activity, "y": LABELS, "estimator": EST, "random_state": 0} | arguments
    with pytest.raises(error) as refusal:
        compare(arguments.pop("X"), arguments.pop("y"), **arguments)
    for word in words:
        assert word in str(refusal.value)


def test_a_recording_gives_the_sampling_interval(activity, monkeypatch):
    class Seen(Exception):
        pass

    def look(plan, *rest):
        raise Seen(plan.estimator.dt)

    monkeypatch.setattr("jedi_sklearn.evaluation._compare.answer_fold", look)
    rec = Recording(activity, dt=0.02)
    with pytest.raises(Seen, match=r"^0\.02$"):
        compare(rec, LABELS)
    with pytest.raises(Seen, match=r"^0\.01$"):  # of an array nothing is known
        compare(activity, LABELS)
    with pytest.raises(ValueError, match=r"0\.02 s apart, .* dt=0\.05.*JEDIEstimator\(dt=0\.02\)"):
        compare(rec, LABELS, estimator=EST)


def test_the_estimator_is_not_touched(activity, tmp_path):
    est = clone(EST).set_params(checkpoint=tmp_path / "fit.npz")
    compare(activity, **{**EASY, "estimator": est}, questions="embedding")
    assert not hasattr(est, "embedding_") and est.observation == "auto"
    assert est.random_state is None and not list(tmp_path.iterdir())


def test_means_of_neurons_never_seen_are_defined():
    X = np.full((3, 4, 2), np.nan)
    X[..., 0] = 2
    assert MeanRate(counts=False).fit(Posed(X, X)).mean.tolist() == [2, 0]
