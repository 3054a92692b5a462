"""Facts about the transformers from RNNs to features, and about pipelines that hold them."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from jedi_sklearn import (
    DynamicsAnalyzer,
    EigenspectrumAnalyzer,
    FixedPointAnalyzer,
    LyapunovAnalyzer,
    RNNBatch,
    eigenspectrum,
    find_fixed_points,
    lyapunov_exponents,
)

# short fits leave a few trials of the inference, or the training, short of convergence
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_RNNS, N = 5, 12
KINDS = ("shared", "low_rank", "full_rank")
NAMES = {
    EigenspectrumAnalyzer: "growth_rate0 frequency0 growth_rate1 frequency1 growth_rate2 "
    "frequency2 max_frequency spectral_radius n_unstable",
    FixedPointAnalyzer: "n_stable n_unstable n_slow distance norm growth_rate frequency "
    "n_unstable_directions speed",
    LyapunovAnalyzer: "lyapunov0 lyapunov1 lyapunov2",
}
ANALYZERS = tuple(NAMES)
each_analyzer = pytest.mark.parametrize("make", ANALYZERS)


def rms(x):
    return np.sqrt(np.square(x).mean(axis=-1))


def named(analyzer, rnns):
    """Features by name."""
    features = analyzer.fit_transform(rnns)
    return dict(zip(analyzer.get_feature_names_out(), features.T, strict=True))


def all_three():
    return FeatureUnion(
        [
            ("spectrum", EigenspectrumAnalyzer()),
            ("points", FixedPointAnalyzer(n_random_starts=8)),
            ("lyapunov", LyapunovAnalyzer(n_exponents=2)),
        ]
    )


@pytest.fixture(params=KINDS)
def rnns(request, networks):
    x0 = np.random.RandomState(3).standard_normal((N_RNNS, N))
    return networks.random(request.param, N_RNNS, N, initial_states=x0, n_timesteps=40)


@pytest.fixture(scope="module")
def prefit(fitted):
    """The shared fit, with RNNs as its output."""
    return pickle.loads(pickle.dumps(fitted)).set_params(output="dynamics")


@pytest.fixture(scope="module")
def cycles(networks):
    """Trials of two networks on cycles of unlike frequency, and which network it was."""
    rng = np.random.RandomState(0)
    label = np.tile(["slow", "fast"], 12)
    X = np.empty((24, 40, 16))
    for k, name in enumerate(label):
        net = networks.ring(turn={"slow": 0.2, "fast": 0.8}[name], n_neurons=16, dt=0.02)
        start = rng.uniform(1, 3) * np.cos(net.theta - rng.uniform(0, 2 * np.pi))
        X[k] = net.rnn.simulate(start, 40)[0]
    return X + 0.05 * rng.standard_normal(X.shape), label


@pytest.fixture
def jedi(small):
    """A model for `cycles` that gives RNNs; phase and size of a cycle are no embedding's."""
    how = {"initial_state": "observed", "output": "dynamics"}
    return small(n_components=2, rank=2, max_iter=5, **how)


# Every analyzer


@each_analyzer
def test_features_are_real_finite_and_named(make, rnns):
    analyzer = make().fit(rnns)
    features = analyzer.transform(rnns)
    assert features.dtype == float
    assert np.isfinite(features).all()
    assert analyzer.get_feature_names_out().tolist() == NAMES[make].split()
    assert features.shape == (N_RNNS, len(NAMES[make].split()))
    assert isinstance(analyzer, DynamicsAnalyzer)


@each_analyzer
def test_a_row_does_not_depend_on_the_batch(make, rnns):
    analyzer = make().fit(rnns)
    together = analyzer.transform(rnns)
    assert_allclose(analyzer.transform(rnns[::-1])[::-1], together, rtol=1e-7, atol=1e-7)
    for k in range(N_RNNS):
        assert_allclose(analyzer.transform(rnns[k])[0], together[k], rtol=1e-7, atol=1e-7)


@each_analyzer
def test_nothing_is_learned_from_the_rnns_but_their_size(make, rnns):
    first, other = make().fit(rnns[:1], [1]), make().fit(rnns[1:])
    assert first.n_features_in_ == N
    assert_array_equal(first.transform(rnns), other.transform(rnns))
    assert_array_equal(first.fit_transform(rnns), other.transform(rnns))


@each_analyzer
def test_a_list_of_batches_is_one_batch(make, rnns):
    analyzer = make().fit(rnns)
    parts = [rnns[:2], rnns[2], rnns[3:]]
    assert_allclose(analyzer.transform(parts), analyzer.transform(rnns), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("make", [EigenspectrumAnalyzer, FixedPointAnalyzer])
def test_dense_weights_have_the_features_of_their_factors(make, networks):
    x0 = np.random.RandomState(3).standard_normal((N_RNNS, N))
    rest = {"initial_states": x0, "n_timesteps": 40}
    low = networks.random("low_rank", N_RNNS, N, **rest)
    dense = RNNBatch.from_dense(low.to_dense(), bias=low.bias, dt=low.dt, **rest)
    analyzer = make().fit(low)
    assert_allclose(analyzer.transform(dense), analyzer.transform(low), rtol=1e-6, atol=1e-6)


@each_analyzer
def test_data_frames_have_the_names_as_columns(make, rnns):
    analyzer = make().set_output(transform="pandas").fit(rnns)
    frame = analyzer.transform(rnns)
    assert frame.columns.tolist() == NAMES[make].split()
    assert_array_equal(frame.to_numpy(), make().fit(rnns).transform(rnns))


@each_analyzer
def test_a_clone_has_the_parameters_and_is_not_fitted(make, rnns):
    analyzer = make().fit(rnns)
    parameters = analyzer.get_params()
    copy = clone(analyzer)
    assert copy.get_params() == parameters == make().get_params()
    assert vars(copy).keys() == parameters.keys()
    for call in (lambda: copy.transform(rnns), copy.get_feature_names_out):
        with pytest.raises(NotFittedError):
            call()


@each_analyzer
def test_a_pickled_analyzer_gives_the_same_features(make, rnns):
    analyzer = make().fit(rnns)
    again = pickle.loads(pickle.dumps(analyzer))
    assert_array_equal(again.transform(rnns), analyzer.transform(rnns))


@each_analyzer
def test_transform_changes_neither_the_analyzer_nor_the_rnns(make, rnns):
    analyzer = make().fit(rnns)
    before = pickle.dumps(analyzer), pickle.dumps(rnns)
    analyzer.transform(rnns)
    assert (pickle.dumps(analyzer), pickle.dumps(rnns)) == before


@each_analyzer
def test_an_analyzer_prints_its_parameters(make):
    assert repr(make()) == f"{make.__name__}()"


def test_weights_of_full_rank_have_no_eigenvalue_of_the_leak():
    rnn = RNNBatch.from_dense(-0.5 * np.eye(4))  # four multipliers of 0.85, the leak is 0.9
    features = named(EigenspectrumAnalyzer(), rnn)
    assert_allclose(features["spectral_radius"], 0.85)
    assert_allclose(features["growth_rate0"], np.log(0.85) / 0.01)


def test_a_point_of_full_rank_weights_has_no_eigenvalue_of_the_leak():
    features = named(FixedPointAnalyzer(), RNNBatch.from_dense(-0.5 * np.eye(4)))
    assert_allclose(features["growth_rate"], np.log(0.85) / 0.01)


def test_a_gauge_change_changes_no_exponent_of_a_short_run(networks):
    x0 = np.random.RandomState(3).standard_normal((3, N))
    rest = {"initial_states": x0, "n_timesteps": 100}
    rnns = networks.random("low_rank", **rest)
    A = np.random.RandomState(7).standard_normal((3, 3))
    other = RNNBatch(rnns.U @ A, rnns.V @ np.linalg.inv(A).T, bias=rnns.bias, dt=rnns.dt, **rest)
    expected = LyapunovAnalyzer().fit_transform(rnns)
    assert_allclose(LyapunovAnalyzer().fit_transform(other), expected, atol=0.01)


# Eigenspectra


def test_only_as_many_leaks_count_as_there_are_directions_left_out():
    Q, _ = np.linalg.qr(np.random.RandomState(0).standard_normal((3, 2)))
    rnn = RNNBatch(Q, Q @ np.diag([-1.0, -2.0]), dt=0.02)  # multipliers 0.8 (leak), 0.6, 0.4
    features = named(EigenspectrumAnalyzer(n_eigenvalues=3), rnn)
    for i, size in enumerate((0.8, 0.6, 0.4)):
        assert_allclose(features[f"growth_rate{i}"], np.log(size) / 0.02)


def test_a_multiplier_of_zero_is_not_taken_for_the_leak():
    rnn = RNNBatch.from_dense([[-1.0]], dt=0.05)
    features = named(EigenspectrumAnalyzer(n_eigenvalues=1), rnn)
    assert features["growth_rate0"] < -1e4


def test_the_largest_frequency_is_a_mean_over_samples_that_have_one():
    start = {"initial_states": [2.5, 0.0], "n_timesteps": 200}
    rnn = RNNBatch.from_dense([[1.0, -6.0], [6.0, 1.0]], dt=0.005, **start)
    spectrum = eigenspectrum(rnn, "trajectory")
    slow = spectrum.growth_rates[0, :, 0] >= -5
    assert 0 < slow.sum() < 200
    features = named(EigenspectrumAnalyzer("trajectory", min_growth_rate=-5), rnn)
    assert_allclose(features["max_frequency"], spectrum.frequencies[0, slow, 0].mean())


def test_leading_eigenvalues_are_those_of_the_spectrum_pairs_once(rnns):
    features = named(EigenspectrumAnalyzer(n_eigenvalues=2), rnns)
    spectrum = eigenspectrum(rnns)
    for k in range(N_RNNS):
        values = spectrum.multipliers[k]
        values = np.append(values[values.imag >= 0], 1 - rnns.alpha)
        values = values[np.argsort(-np.abs(values), kind="stable")]
        for i in range(2):
            growth = np.log(np.abs(values[i])) / rnns.dt
            assert_allclose(features[f"growth_rate{i}"][k], growth)
            frequency = np.abs(np.angle(values[i])) / (2 * np.pi * rnns.dt)
            assert_allclose(features[f"frequency{i}"][k], frequency, atol=1e-9)


def test_summaries_are_over_all_eigenvalues(rnns):
    features = named(EigenspectrumAnalyzer(n_eigenvalues=0), rnns)
    spectrum = eigenspectrum(rnns)
    assert list(features) == ["max_frequency", "spectral_radius", "n_unstable"]
    assert_allclose(features["max_frequency"], spectrum.frequencies.max(axis=1))
    dense = np.abs(np.linalg.eigvals(rnns.jacobian()))
    assert_allclose(features["spectral_radius"], dense.max(axis=1), rtol=1e-8)
    assert_array_equal(features["n_unstable"], (dense > 1).sum(axis=1))


def test_a_rotation_is_one_growth_rate_and_one_frequency():
    multiplier = np.exp(0.01 * (0.5 + 2j * np.pi * 3))
    value = 1 + (multiplier - 1) * 10
    J = [[value.real, -value.imag], [value.imag, value.real]]
    features = named(EigenspectrumAnalyzer(n_eigenvalues=1), RNNBatch.from_dense(J))
    assert_allclose([features["growth_rate0"][0], features["frequency0"][0]], [0.5, 3.0])
    assert_allclose(features["max_frequency"], 3.0)
    assert_allclose(features["spectral_radius"], np.exp(0.005))
    assert_array_equal(features["n_unstable"], [2])


def test_missing_eigenvalues_are_those_of_the_leak(networks):
    features = named(EigenspectrumAnalyzer(n_eigenvalues=4), networks.bistable(2.0).rnn)
    leak = np.log(0.9) / 0.01
    growth = [features[f"growth_rate{i}"][0] for i in range(4)]
    assert_allclose(growth, [np.log(1.1) / 0.01, leak, leak, leak])
    assert_array_equal([features[f"frequency{i}"][0] for i in range(4)], 0)


def test_weights_are_what_is_linearised_at_the_origin(rnns):
    at = [EigenspectrumAnalyzer(at).fit_transform(rnns) for at in ("origin", "weights")]
    assert_array_equal(*at)


def test_along_a_trajectory_features_are_means_over_its_samples(rnns):
    analyzer = EigenspectrumAnalyzer("trajectory").fit(rnns)
    run, k = rnns.free_run(), 1
    still = EigenspectrumAnalyzer("trajectory")
    rows = []
    for x in run[k]:  # an RNN whose free run is one sample
        one = rnns[k]
        one.initial_states, one.n_timesteps = x, 1
        rows.append(still.fit_transform(one)[0])
    assert_allclose(analyzer.transform(rnns)[k], np.mean(rows, axis=0), rtol=1e-8, atol=1e-8)


def test_a_run_that_stays_at_the_origin_has_the_spectrum_of_the_origin(networks):
    net = networks.bistable(initial_states=np.zeros(20), n_timesteps=9)
    origin = EigenspectrumAnalyzer("origin").fit_transform(net.rnn)
    for at in ("trajectory", "equivalent"):
        assert_allclose(EigenspectrumAnalyzer(at).fit_transform(net.rnn), origin)


def test_the_equivalent_frequency_is_the_one_seen_in_the_free_run(networks):
    net = networks.ring(turn=0.9, gain=3.0)
    x0 = net.radius * net.plane[:, 0]
    rnn = networks.ring(turn=0.9, gain=3.0, initial_states=x0, n_timesteps=4096).rnn
    power = np.square(np.abs(np.fft.rfft(rnn.free_run()[0, :, 0])))
    seen = power.argmax() / (4096 * rnn.dt)
    features = named(EigenspectrumAnalyzer("equivalent", min_growth_rate=-1), rnn)
    assert_allclose(features["max_frequency"], seen, rtol=0.01)


# Fixed points


def test_counts_and_the_nearest_point_are_those_found(rnns):
    features = named(FixedPointAnalyzer(), rnns)
    end = rnns.free_run()[:, -1]
    for k, found in enumerate(find_fixed_points(rnns, n_random_starts=64)):
        i = rms(found.points - end[k]).argmin()
        leading = max(found.multipliers[i, 0], 1 - rnns.alpha, key=abs)
        expected = {
            "n_stable": found.stable.sum(),
            "n_unstable": (~found.stable).sum(),
            "n_slow": 0,
            "distance": rms(found.points[i] - end[k]),
            "norm": rms(found.points[i]),
            "growth_rate": np.log(np.abs(leading)) / rnns.dt,
            "frequency": np.abs(np.angle(leading)) / (2 * np.pi * rnns.dt),
            "n_unstable_directions": found.n_unstable[i],
            "speed": found.speeds[i],
        }
        assert_allclose([features[n][k] for n in expected], list(expected.values()), atol=1e-8)


def test_a_decision_ends_at_its_stable_point(networks):
    m = networks.bistable().m
    net = networks.bistable(initial_states=0.1 * m, n_timesteps=1000)
    features = named(FixedPointAnalyzer(), net.rnn)
    assert [features[n][0] for n in ("n_stable", "n_unstable", "n_slow")] == [2, 1, 0]
    assert_allclose(features["distance"], 0, atol=1e-6)
    assert_allclose(features["norm"], net.kappa, atol=1e-6)
    growth = np.log(1 + 0.1 * (net.at_points - 1)) / 0.01
    assert_allclose(features["growth_rate"], max(growth, np.log(0.9) / 0.01), atol=1e-5)
    assert features["n_unstable_directions"][0] == 0


def test_without_a_free_run_the_point_nearest_to_the_origin_is_described(networks):
    features = named(FixedPointAnalyzer(), networks.bistable(2.0).rnn)
    assert_allclose([features[n][0] for n in ("distance", "norm", "speed")], 0, atol=1e-8)
    assert features["n_unstable_directions"][0] == 1
    assert_allclose(features["growth_rate"], np.log(1.1) / 0.01, rtol=1e-6)


def test_slow_points_are_counted(networks):
    net = networks.ring()
    noise = 0.01 * np.random.RandomState(0).standard_normal(net.rnn.V.shape)
    rnn = RNNBatch(net.rnn.U, net.rnn.V + noise)
    assert named(FixedPointAnalyzer(), rnn)["n_slow"] == 0
    assert named(FixedPointAnalyzer(slow_speed=0.25), rnn)["n_slow"] > 20


@pytest.fixture
def lost(networks):
    """An RNN on a cycle, of which no start gets to the point inside in one step."""
    plane = networks.ring().plane
    rest = {"bias": plane[:, 1], "initial_states": 2.0 * plane[:, 0], "n_timesteps": 5}
    return networks.ring(turn=0.4, **rest).rnn


@pytest.mark.parametrize("fill", [{}, {"fill_value": np.nan}, {"fill_value": -1}])
def test_features_of_a_missing_point_are_the_fill_value(lost, fill):
    analyzer = FixedPointAnalyzer(max_iter=1, n_random_starts=2, **fill)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the counts say it
        features = analyzer.fit_transform(lost)
    assert_array_equal(features, [[0, 0, 0] + [fill.get("fill_value", 0.0)] * 6])


def test_an_rnn_without_a_point_leaves_the_others_alone(networks):
    rest = {"n_neurons": 32, "n_timesteps": 5}
    lost = networks.ring(
        turn=0.4, initial_states=2.0 * networks.ring(n_neurons=32).plane[:, 0], **rest
    ).rnn
    net = networks.hadamard(n_neurons=32)
    found = networks.hadamard(initial_states=net.points[0], **rest).rnn
    analyzer = FixedPointAnalyzer(max_iter=1, n_random_starts=2).fit(lost)
    alone = analyzer.transform(found)
    assert alone[0, 0] > 0
    assert_allclose(analyzer.transform([lost, found])[1], alone[0], atol=1e-7)


# Lyapunov exponents


@pytest.mark.parametrize(
    "changes", [{}, {"n_exponents": 5}, {"n_timesteps": 70}, {"burn_in": 20, "n_exponents": 1}]
)
def test_exponents_are_those_of_the_free_runs(rnns, changes):
    analyzer = LyapunovAnalyzer(**changes).fit(rnns)
    expected = lyapunov_exponents(rnns, **({"n_exponents": 3} | changes))
    assert_array_equal(analyzer.transform(rnns), expected)
    n = expected.shape[1]
    assert analyzer.get_feature_names_out().tolist() == [f"lyapunov{i}" for i in range(n)]


@each_analyzer
def test_rnns_of_two_neurons_have_the_default_features(make):
    rnn = RNNBatch.from_dense(np.diag([0.5, -2.0]), initial_states=[0.1, 0.1], n_timesteps=20)
    assert np.isfinite(make().fit_transform(rnn)).all()


def test_missing_exponents_are_those_of_the_leak():
    rnn = RNNBatch.from_dense(np.diag([0.5, -2.0]), initial_states=[0.0, 0.0], n_timesteps=20)
    features = LyapunovAnalyzer(n_exponents=4).fit_transform(rnn)
    expected = np.log(np.abs([0.95, 0.7, 0.9, 0.9])) / 0.01
    assert_allclose(features, [expected], rtol=1e-9)


# Pipelines


def test_a_union_holds_all_features_under_their_names(rnns):
    union = all_three().fit(rnns)
    names = union.get_feature_names_out().tolist()
    features = union.transform(rnns)
    assert features.shape == (N_RNNS, len(names)) == (N_RNNS, 9 + 9 + 2)
    assert names[0] == "spectrum__growth_rate0" and names[-1] == "lyapunov__lyapunov1"
    assert_array_equal(features[:, :9], EigenspectrumAnalyzer().fit_transform(rnns))
    frame = all_three().set_output(transform="pandas").fit_transform(rnns)
    assert_array_equal(frame.to_numpy(), features)


@pytest.mark.parametrize("classifier", [LogisticRegression(max_iter=500), SVC()])
def test_a_pipeline_tells_networks_apart_in_trials_it_has_not_seen(jedi, cycles, classifier):
    X, y = cycles
    pipeline = make_pipeline(jedi, all_three(), StandardScaler(), clone(classifier))
    pipeline.fit(X[:16], y[:16])
    assert_array_equal(pipeline.predict(X[16:]), y[16:])


def test_cross_validation_fits_the_whole_pipeline(jedi, cycles):
    pipeline = make_pipeline(jedi, EigenspectrumAnalyzer(), StandardScaler(), SVC())
    assert_array_equal(cross_val_score(pipeline, *cycles, cv=2), [1.0, 1.0])
    shuffled = np.random.RandomState(1).permutation(cycles[1])
    assert cross_val_score(pipeline, cycles[0], shuffled, cv=2).mean() < 0.8
    assert not hasattr(jedi, "embedding_")  # clones were fitted


def test_a_pipeline_trains_on_what_it_transforms(jedi, cycles):
    X, y = cycles
    pipeline = make_pipeline(jedi, all_three())
    trained = pipeline.fit_transform(X[:12], y[:12])
    assert_allclose(pipeline.transform(X[:12]), trained, rtol=1e-5, atol=1e-5)


def test_a_prediction_does_not_depend_on_the_other_trials(prefit, multitask):
    features = make_pipeline(FrozenEstimator(prefit), all_three()).fit(multitask.X[:4])
    together = features.transform(multitask.X[30:])
    for k in (0, 7):
        alone = features.transform(multitask.X[30 + k : 31 + k])[0]
        assert_allclose(alone, together[k], rtol=1e-4, atol=1e-4)


def test_a_frozen_model_is_not_fitted_again(prefit, multitask):
    X, y = multitask.X[:20], multitask.task[:20]
    before = pickle.dumps(prefit)
    ends = (EigenspectrumAnalyzer(), StandardScaler(), LogisticRegression(max_iter=500))
    whole = make_pipeline(FrozenEstimator(prefit), *ends)
    accuracy = cross_val_score(whole, X, y, cv=2, error_score="raise")
    once = cross_val_score(make_pipeline(*ends), prefit.transform(X), y, cv=2, error_score="raise")
    assert_array_equal(accuracy, once)
    assert pickle.dumps(prefit) == before
    assert whole.fit(X, y)[0].estimator is prefit


@pytest.mark.slow
def test_a_grid_search_turns_the_model_and_the_analyzer(jedi, cycles):
    pipeline = Pipeline([("jedi", jedi), ("spectrum", EigenspectrumAnalyzer()), ("svc", SVC())])
    grid = {"jedi__n_components": [1, 2], "spectrum__n_eigenvalues": [0, 2]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(*cycles)
    assert len(search.cv_results_["params"]) == 4
    best, chosen = search.best_estimator_, search.best_params_
    assert best["jedi"].embedding_.shape == (24, chosen["jedi__n_components"])
    assert best["svc"].n_features_in_ == 2 * chosen["spectrum__n_eigenvalues"] + 3
    assert search.best_score_ == 1


def test_a_grid_search_chooses_among_analyzers(jedi, cycles):
    X, y = cycles
    frozen = FrozenEstimator(clone(jedi).fit(X[:8]))
    pipeline = Pipeline([("jedi", frozen), ("analyzer", None), ("svc", SVC())])
    analyzers = [LyapunovAnalyzer(1), EigenspectrumAnalyzer(n_eigenvalues=0)]
    search = GridSearchCV(pipeline, {"analyzer": analyzers}, cv=2, error_score="raise")
    search.fit(X[8:], y[8:])
    assert isinstance(search.best_estimator_["analyzer"], EigenspectrumAnalyzer)  # frequencies
    assert search.best_score_ == 1


def test_data_frames_come_out_of_a_whole_pipeline(jedi, cycles):
    X, y = cycles
    pipeline = make_pipeline(jedi, EigenspectrumAnalyzer(), StandardScaler())
    frame = pipeline.set_output(transform="pandas").fit_transform(X[:12], y[:12])
    assert frame.columns.tolist() == NAMES[EigenspectrumAnalyzer].split()
    assert pipeline.transform(X[12:]).columns.tolist() == frame.columns.tolist()
    assert isinstance(pipeline[0].transform(X[12:]), RNNBatch)
    assert pipeline[1:].get_feature_names_out().tolist() == frame.columns.tolist()


def test_data_frames_come_out_behind_a_frozen_model(prefit, multitask):
    pipeline = make_pipeline(FrozenEstimator(prefit), all_three())
    frame = pipeline.set_output(transform="pandas").fit_transform(multitask.X[:6])
    assert frame.shape == (6, 20)
    assert frame.columns[9] == "points__n_stable"


# Refusals

M = np.ones((N, 1))
RNN = RNNBatch(M, M)
RUNNING = RNNBatch(M, M, initial_states=np.ones(N), n_timesteps=9)
OTHER = RNNBatch(M[:5], M[:5], initial_states=np.ones(5), n_timesteps=9)


@each_analyzer
@pytest.mark.parametrize(
    ("X", "error", "words"),
    [
        (np.ones((3, 9, 5)), TypeError, ["RNNBatch", "ndarray of shape (3, 9, 5)", "Pipeline"]),
        ([[1.0, 2.0]], TypeError, ["RNNBatch", "list of list", 'output="dynamics"']),
        ([RUNNING, OTHER], ValueError, ["agree on n_neurons", "[5, 12]", "separate batches"]),
        (RUNNING[:0], ValueError, ["at least one RNN", "empty batch"]),
    ],
)
def test_only_rnns_of_one_size_are_analysed(make, X, error, words):
    for call in (make().fit, make().fit(RUNNING).transform, make().fit_transform):
        with pytest.raises(error) as refusal:
            call(X)
        for word in words:
            assert word in str(refusal.value)


@each_analyzer
def test_rnns_of_another_size_are_refused(make):
    text = rf"{make.__name__} was fitted to RNNs of 12 neurons, got RNNs of 5"
    with pytest.raises(ValueError, match=text):
        make().fit(RUNNING).transform(OTHER)


@each_analyzer
def test_embeddings_in_place_of_rnns_are_explained(make, small, multitask):
    pipeline = make_pipeline(small(max_iter=3), make())
    with pytest.raises(TypeError, match=r'ndarray of shape \(8, 4\).*output="dynamics"'):
        pipeline.fit(multitask.X[:8])


@pytest.mark.parametrize(
    ("analyzer", "rnns", "error", "words"),
    [
        (
            EigenspectrumAnalyzer("fixed_points"),
            RUNNING,
            ValueError,
            ["at", "'origin', 'weights', 'trajectory'", "'fixed_points'"],
        ),
        (EigenspectrumAnalyzer(np.zeros((1, N))), RUNNING, ValueError, ["at must be one of"]),
        (
            EigenspectrumAnalyzer(n_eigenvalues=-1),
            RUNNING,
            ValueError,
            ["n_eigenvalues", "integer >= 0", "-1"],
        ),
        (
            EigenspectrumAnalyzer(n_eigenvalues=1.5),
            RUNNING,
            TypeError,
            ["n_eigenvalues", "integer", "1.5"],
        ),
        (
            EigenspectrumAnalyzer("trajectory"),
            RNN,
            ValueError,
            ["no initial_states", "JEDIEstimator.dynamics"],
        ),
        (
            FixedPointAnalyzer(fill_value="nan"),
            RUNNING,
            TypeError,
            ["fill_value must be a number", "'nan'"],
        ),
        (
            FixedPointAnalyzer(n_random_starts=-1),
            RUNNING,
            ValueError,
            ["n_random_starts", "integer >= 0", "-1"],
        ),
        (FixedPointAnalyzer(slow_speed=0), RUNNING, ValueError, ["slow_speed", "> 0", "0"]),
        (
            FixedPointAnalyzer(n_random_starts=0),
            RNN,
            ValueError,
            ["no start", "n_random_starts of at least 1"],
        ),
        (
            LyapunovAnalyzer(n_exponents=0),
            RUNNING,
            ValueError,
            ["n_exponents", ">= 1", "0"],
        ),
        (
            LyapunovAnalyzer(),
            RNN,
            ValueError,
            ["no initial_states", "JEDIEstimator.dynamics"],
        ),
        (
            LyapunovAnalyzer(burn_in=8),
            RUNNING,
            ValueError,
            ["9 samples", "burn_in=8", "Lower burn_in"],
        ),
        (
            LyapunovAnalyzer(n_timesteps=1),
            RUNNING,
            ValueError,
            ["n_timesteps", ">= 2", "1"],
        ),
    ],
)
def test_refusals_say_what_was_expected_and_what_came(analyzer, rnns, error, words):
    with pytest.raises(error) as refusal:
        analyzer.fit_transform(rnns)
    for word in words:
        assert word in str(refusal.value)


@each_analyzer
def test_a_refused_fit_leaves_an_analyzer_unfitted(make):
    analyzer = make()
    with pytest.raises(TypeError):
        analyzer.fit(np.ones((3, 4)))
    assert vars(analyzer).keys() == analyzer.get_params().keys()
