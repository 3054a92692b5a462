"""scikit-learn's contract: its common checks on rows, and their twins on trials and RNNs."""

import inspect
import pickle
import unittest
from functools import partial

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    LeaveOneGroupOut,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from sklearn.utils.validation import check_is_fitted, validate_data

from jedi_sklearn import (
    EigenspectrumAnalyzer,
    FixedPointAnalyzer,
    JEDIEstimator,
    LyapunovAnalyzer,
    RNNBatch,
)
from jedi_sklearn._model import Model
from jedi_sklearn.baselines import LinearDynamicalSystem, PCATrajectories, VAEBaseline
from jedi_sklearn.preprocessing import HiddenUnits, SoftNormalizer, TrialScaler

# two steps of training are short of convergence
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# The common checks. They know arrays of two axes: below, a row stands for a trial or an RNN


class RowsJEDI(JEDIEstimator):
    """Each row a trial of one step from zero."""

    _two_d = True


class _Rows:
    """Each row a trial of one sample (scalers) or the diagonal of an RNN's weights (analyzers)."""

    least_samples = 1

    def fit(self, X, y=None):
        least = self.least_samples
        X = validate_data(self, X, dtype=(np.float64, np.float32), ensure_min_samples=least)
        return super().fit(self._from_rows(X))

    def transform(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return self._to_rows(super().transform(self._from_rows(X)))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = True, False
        tags.input_tags.allow_nan = False  # the rows are checked before they become trials
        return tags


class _RowsOfTrials(_Rows):
    def _from_rows(self, X):
        return X[:, np.newaxis]

    def _to_rows(self, X):
        return X[:, 0]

    def inverse_transform(self, X):
        return self._to_rows(super().inverse_transform(self._from_rows(np.asarray(X))))


class _RowsOfRNNs(_Rows):
    def _from_rows(self, X):
        J = np.tanh(X)[:, :, np.newaxis] * np.eye(X.shape[1])
        return RNNBatch.from_dense(J, initial_states=np.tanh(X), n_timesteps=4)

    def _to_rows(self, features):
        return features


class _RowsOfBaselines(_Rows):
    """Each row a trial of one sample."""

    least_samples = 2

    def _from_rows(self, X):
        return X[:, np.newaxis]

    def _check_X(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return super()._check_X(self._from_rows(X))

    def transform(self, X):
        return super(_Rows, self).transform(X)


class RowsPCA(_RowsOfBaselines, PCATrajectories):
    pass


class RowsVAE(_RowsOfBaselines, VAEBaseline):
    pass


class RowsTrialScaler(_RowsOfTrials, TrialScaler):
    pass


class RowsHiddenUnits(_RowsOfTrials, HiddenUnits):
    pass


class RowsSoftNormalizer(_RowsOfTrials, SoftNormalizer):
    pass


class RowsEigenspectrum(_RowsOfRNNs, EigenspectrumAnalyzer):
    pass


class RowsFixedPoints(_RowsOfRNNs, FixedPointAnalyzer):
    pass


class RowsLyapunov(_RowsOfRNNs, LyapunovAnalyzer):
    pass


ROWS = [
    RowsJEDI(1, 1, max_iter=2, tol=1.0, random_state=0),
    RowsPCA(1, observation="gaussian", random_state=0),
    RowsVAE(1, hidden_size=2, max_iter=2, observation="gaussian", random_state=0),
    RowsTrialScaler(),
    RowsSoftNormalizer(0.1),  # the ranges of rows are small
    RowsHiddenUnits(1, 3),
    RowsEigenspectrum(),
    RowsFixedPoints(n_random_starts=4, max_iter=20),
    RowsLyapunov(n_exponents=1),
]
EXCLUDED = {
    "RowsFixedPoints": {
        "check_transformer_n_iter": "max_iter bounds the search in transform; fit iterates nothing"
    },
}


def excluded(estimator):
    return EXCLUDED.get(type(estimator).__name__, {})


@parametrize_with_checks(ROWS, expected_failed_checks=excluded)
@pytest.mark.slow
def test_common_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
def test_the_common_checks_of_jedi_really_run(monkeypatch):
    seen, check_X = [], JEDIEstimator._check_X

    def counting(est, X, fit=False, **rest):
        seen.append(X)
        return check_X(est, X, fit, **rest)

    monkeypatch.setattr(JEDIEstimator, "_check_X", counting)
    ran, with_data = [], []
    for estimator, check in estimator_checks_generator(ROWS[0]):
        seen.clear()
        try:
            check(estimator)
        except unittest.SkipTest:
            continue
        ran.append(check.func.__name__)
        if seen:
            with_data.append(check.func.__name__)
    assert len(ran) > 40
    assert len(with_data) > 30  # the others are about parameters, tags and texts
    assert not EXCLUDED.get("RowsJEDI")
    assert "check_methods_subset_invariance" in with_data
    assert "check_dict_unchanged" in with_data


def test_tags_say_what_the_input_is():
    for est in (JEDIEstimator(), TrialScaler(), SoftNormalizer(), HiddenUnits()):
        tags = est.__sklearn_tags__().input_tags
        assert (tags.two_d_array, tags.three_d_array) == (False, True)
    assert not EigenspectrumAnalyzer().__sklearn_tags__().input_tags.two_d_array
    assert RowsJEDI().__sklearn_tags__().input_tags.two_d_array


# Their twins on trials and on RNNs

X = np.random.RandomState(0).standard_normal((12, 9, 5)).cumsum(axis=1)
Y = np.random.RandomState(1).standard_normal((7, 9, 5)).cumsum(axis=1)
TASK = np.array(["reach", "hold", "reach"] * 4)


def with_gaps(trials):
    """Trials of unequal length, one without a neuron, one without some samples in between."""
    trials = trials.copy()
    trials[::3, 6:] = np.nan
    trials[1, :, 2] = np.nan
    trials[2, 3:5, :3] = np.nan
    return trials


X_GAPS, Y_GAPS = with_gaps(X), with_gaps(Y)


def rnns(seed, n_rnns=8):
    """A batch of RNNs of rank 2 that know their free runs."""
    rng = np.random.RandomState(seed)
    U, V = rng.standard_normal((2, 5, 2))
    start = rng.standard_normal((n_rnns, 5))
    core = rng.standard_normal((n_rnns, 2, 2))
    return RNNBatch(U, V, core, initial_states=start, n_timesteps=6)


class Case:
    """An estimator, data to fit it to, and other data."""

    def __init__(self, make, X, other, methods):
        self.make, self.X, self.other, self.methods = make, X, other, methods

    def fit(self):
        return self.make().fit(self.X)


def make_jedi(**changes):
    parameters = {"max_iter": 3, "tol": 1.0, "device": "cpu", "random_state": 0}
    return JEDIEstimator(3, 3, **(parameters | changes))


DESCRIBE = ("transform", "predict", "score_samples")
SCALERS = ("transform", "inverse_transform")
CASES = {
    "JEDIEstimator": Case(make_jedi, X, Y, ("transform", "predict", "score_samples")),
    "inferred start": Case(
        partial(make_jedi, initial_state="inferred"), X, Y, ("transform", "predict")
    ),
    "gaps": Case(make_jedi, X_GAPS, Y_GAPS, ("transform", "predict", "score_samples")),
    "gaps, inferred start": Case(
        partial(make_jedi, initial_state="inferred"), X_GAPS, Y_GAPS, ("transform", "predict")
    ),
    "PCATrajectories": Case(partial(PCATrajectories, 3, random_state=0), X, Y, DESCRIBE),
    "PCATrajectories, gaps": Case(
        partial(PCATrajectories, 3, random_state=0), X_GAPS, Y_GAPS, DESCRIBE
    ),
    "LinearDynamicalSystem": Case(partial(LinearDynamicalSystem, 2, max_iter=3), X, Y, DESCRIBE),
    "LinearDynamicalSystem, gaps": Case(
        partial(LinearDynamicalSystem, 2, max_iter=3), X_GAPS, Y_GAPS, DESCRIBE
    ),
    "VAEBaseline, gaps": Case(
        partial(VAEBaseline, 2, hidden_size=4, max_iter=2, device="cpu", random_state=0),
        X_GAPS,
        Y_GAPS,
        DESCRIBE,
    ),
    "TrialScaler": Case(TrialScaler, X, Y, SCALERS),
    "TrialScaler, gaps": Case(TrialScaler, X_GAPS, Y_GAPS, SCALERS),
    "SoftNormalizer": Case(SoftNormalizer, X, Y, SCALERS),
    "SoftNormalizer, gaps": Case(SoftNormalizer, X_GAPS, Y_GAPS, SCALERS),
    "HiddenUnits": Case(partial(HiddenUnits, n_units=9), X, Y, ("transform",)),
    "EigenspectrumAnalyzer": Case(EigenspectrumAnalyzer, rnns(0), rnns(1), ("transform",)),
    "FixedPointAnalyzer": Case(
        partial(FixedPointAnalyzer, n_random_starts=8), rnns(0), rnns(1), ("transform",)
    ),
    "LyapunovAnalyzer": Case(LyapunovAnalyzer, rnns(0), rnns(1), ("transform",)),
}
OF_TRIALS = [name for name, case in CASES.items() if isinstance(case.X, np.ndarray)]
OF_RNNS = [name for name in CASES if name not in OF_TRIALS]


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


@pytest.fixture(params=OF_TRIALS)
def trials_case(request):
    return CASES[request.param]


@pytest.fixture(params=OF_RNNS)
def rnns_case(request):
    return CASES[request.param]


def state(est):
    """All that an estimator holds, by value."""
    return {name: pickle.dumps(value) for name, value in vars(est).items()}


def test_init_stores_the_parameters_and_nothing_else(case):
    est = case.make()
    assert vars(est).keys() == est.get_params(deep=False).keys()
    for name, value in inspect.signature(type(est)).parameters.items():
        assert getattr(type(est)(), name) is value.default
    with pytest.raises(NotFittedError):
        check_is_fitted(est)


def test_fit_returns_self_and_changes_neither_parameters_nor_data(case):
    est, data = case.make(), pickle.dumps(case.X)
    parameters = pickle.dumps(est.get_params())
    assert est.fit(case.X) is est
    assert pickle.dumps(est.get_params()) == parameters
    assert pickle.dumps(case.X) == data
    new = vars(est).keys() - est.get_params().keys()
    assert all(name.startswith("_") or name.endswith("_") for name in new)


def test_n_features_in_is_the_number_of_neurons(case):
    est = case.make()
    assert not hasattr(est, "n_features_in_")
    assert est.fit(case.X).n_features_in_ == 5
    fewer = RNNBatch.from_dense(np.eye(4))
    if isinstance(case.X, np.ndarray):
        fewer = case.other[:, :, :4]
    for method in case.methods:
        with pytest.raises(ValueError, match=r"(?s)(4 .*5|5 .*4)"):
            getattr(est, method)(fewer)


def test_methods_refuse_before_fit(case):
    for method in case.methods:
        with pytest.raises(NotFittedError, match=f"{type(case.make()).__name__} instance"):
            getattr(case.make(), method)(case.other)


@pytest.mark.slow
def test_a_second_fit_is_the_first(case):
    est = case.fit()
    before = [getattr(est, method)(case.other) for method in case.methods]
    est.fit(case.X)
    for method, expected in zip(case.methods, before, strict=True):
        assert_array_equal(getattr(est, method)(case.other), expected)


@pytest.mark.slow
def test_a_fit_to_other_data_leaves_no_trace(case):
    est = case.make().fit(case.other).fit(case.X)
    assert vars(est).keys() == vars(case.fit()).keys()
    for method in case.methods:
        assert_array_equal(
            getattr(est, method)(case.other), getattr(case.fit(), method)(case.other)
        )


@pytest.mark.slow
def test_methods_leave_the_estimator_and_the_data_as_they_were(case):
    est, data = case.fit(), pickle.dumps(case.other)
    before = state(est)
    for method in case.methods:
        getattr(est, method)(case.other)
    if hasattr(est, "score"):
        est.score(case.other)
    assert state(est) == before
    assert pickle.dumps(case.other) == data


@pytest.mark.slow
def test_a_row_does_not_depend_on_the_others_or_on_their_order(case):
    est, n = case.fit(), len(case.other)
    order = np.random.RandomState(0).permutation(n)
    for method in case.methods:
        call = getattr(est, method)
        together = call(case.other)
        alone = np.concatenate([call(case.other[i : i + 1]) for i in range(n)])
        assert_allclose(alone, together, atol=1e-7)
        assert_allclose(call(case.other[order]), together[order], atol=1e-7)


@pytest.mark.slow
def test_fit_transform_is_fit_then_transform(case):
    expected = case.fit().transform(case.X)
    for again in (
        case.make().fit_transform(case.X),
        make_pipeline(case.make()).fit_transform(case.X),
        make_pipeline(case.make()).fit(case.X, y=None).transform(case.X),
    ):
        assert_allclose(again, expected, atol=1e-10)


@pytest.mark.slow
def test_clones_and_pickles(case):
    est = case.fit()
    copy = clone(est)
    assert copy.get_params() == est.get_params()
    assert vars(copy).keys() == copy.get_params().keys()
    again = pickle.loads(pickle.dumps(est))
    for method in case.methods:
        expected = getattr(est, method)(case.other)
        assert_array_equal(getattr(again, method)(case.other), expected)
        assert_array_equal(getattr(copy.fit(case.X), method)(case.other), expected)


@pytest.mark.slow
def test_a_failed_fit_leaves_a_fitted_estimator_as_it_was(case):
    est = case.fit()
    before = state(est)
    for bad in (None, "X", 3.0, np.zeros((2, 2)), [], np.full((4, 6, 5), np.nan), [case.X, 1]):
        with pytest.raises((ValueError, TypeError)):
            est.fit(bad)
    assert state(est) == before


# Trials only


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtypes_of_results(dtype):
    est = make_jedi().fit(X.astype(dtype))
    for method in ("transform", "predict", "score_samples"):
        result = getattr(est, method)(Y.astype(dtype))
        assert result.dtype == np.float64 and np.isfinite(result).all()
    for scaler in (TrialScaler(), SoftNormalizer()):
        result = scaler.fit(X.astype(dtype)).transform(Y.astype(dtype))
        assert result.dtype == dtype
        assert scaler.inverse_transform(result).dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.slow
def test_read_only_memory_maps_lists_and_views_are_data_too(trials_case, tmp_path, dtype):
    data = trials_case.X.astype(dtype)
    np.save(tmp_path / "X.npy", data)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    expected = trials_case.make().fit(data).transform(data)
    strided = np.repeat(data, 2, axis=2)[:, :, ::2]
    for same in (mapped, list(data), strided, np.asfortranarray(data)):
        est = trials_case.make().fit(same)
        assert_allclose(est.transform(same), expected, atol=1e-4)
    as_numbers = trials_case.make().fit(data.tolist()).transform(data.tolist())
    assert_allclose(as_numbers, expected, atol=1e-4)


@pytest.mark.slow
def test_set_output(rnns_case):
    frame = make_jedi().set_output(transform="pandas").fit(X).transform(Y)
    assert frame.columns.tolist() == [f"jediestimator{i}" for i in range(3)]
    assert_array_equal(frame.to_numpy(), make_jedi().fit(X).transform(Y))
    features = rnns_case.make().set_output(transform="pandas").fit(rnns_case.X)
    frame = features.transform(rnns_case.other)
    assert frame.columns.tolist() == features.get_feature_names_out().tolist()
    assert_array_equal(frame.to_numpy(), rnns_case.fit().transform(rnns_case.other))
    features.set_output(transform="default")
    assert isinstance(features.transform(rnns_case.other), np.ndarray)


@pytest.mark.parametrize("container", ["pandas", "polars"])
@pytest.mark.parametrize("name", ["TrialScaler", "SoftNormalizer", "HiddenUnits"])
@pytest.mark.slow
def test_set_output_of_a_pipeline_is_for_the_steps_behind_the_trials(name, container):
    if container == "polars":
        pytest.importorskip("polars")
    first = CASES[name].make()
    assert first.set_output(transform=container) is first
    assert isinstance(first.fit_transform(X), np.ndarray)
    expected = make_jedi().fit(first.transform(X)).transform(first.transform(Y))
    pipeline = make_pipeline(CASES[name].make(), make_jedi()).set_output(transform=container)
    frame = pipeline.fit(X).transform(Y)
    assert list(frame.columns) == [f"jediestimator{i}" for i in range(3)]
    assert_array_equal(frame.to_numpy(), expected)
    assert_array_equal(clone(pipeline).fit(X).transform(Y).to_numpy(), expected)
    rnn = make_jedi(output="dynamics")
    pipeline = make_pipeline(CASES[name].make(), rnn, EigenspectrumAnalyzer())
    frame = pipeline.set_output(transform=container).fit(X).transform(Y)
    assert list(frame.columns) == pipeline[-1].get_feature_names_out().tolist()


@pytest.mark.slow
def test_set_output_for_all_leaves_trials_arrays(trials_case):
    with sklearn.config_context(transform_output="pandas"):
        result = trials_case.fit().transform(Y)
    assert isinstance(result, np.ndarray) == (result.ndim == 3)


# Known inputs: the same again, with one more argument in each call

U = np.random.RandomState(2).standard_normal((12, 9, 2))
U_OTHER = np.random.RandomState(3).standard_normal((7, 9, 2))
DRIVEN = ("transform", "predict", "score_samples")


@pytest.fixture(params=[(X, Y), (X_GAPS, Y_GAPS)], ids=["whole", "gaps"])
def driven(request):
    """Trials to fit to and others, for U and U_OTHER."""
    return request.param


@pytest.mark.slow
def test_a_second_fit_with_inputs_is_the_first(driven):
    train, other = driven
    est = make_jedi().fit(train, inputs=U)
    before = [getattr(est, method)(other, inputs=U_OTHER) for method in DRIVEN]
    est.fit(other, inputs=U_OTHER).fit(train, inputs=U)
    for method, expected in zip(DRIVEN, before, strict=True):
        assert_array_equal(getattr(est, method)(other, inputs=U_OTHER), expected)


@pytest.mark.slow
def test_a_driven_trial_does_not_depend_on_the_others_or_on_their_order(driven):
    train, other = driven
    est, order = make_jedi().fit(train, inputs=U), np.random.RandomState(0).permutation(7)
    for method in DRIVEN:
        call = getattr(est, method)
        together = call(other, inputs=U_OTHER)
        one = [call(other[i : i + 1], inputs=U_OTHER[i : i + 1]) for i in range(7)]
        assert_allclose(np.concatenate(one), together, atol=1e-7)
        assert_allclose(call(other[order], inputs=U_OTHER[order]), together[order], atol=1e-7)


@pytest.mark.slow
def test_fit_transform_with_inputs_is_fit_then_transform(driven):
    expected = make_jedi().fit(driven[0], inputs=U).transform(driven[0], inputs=U)
    again = make_jedi().fit_transform(driven[0], inputs=U)
    assert_allclose(again, expected, atol=1e-10)


@pytest.mark.slow
def test_clones_and_pickles_of_a_driven_fit(driven):
    train, other = driven
    est = make_jedi().fit(train, inputs=U)
    before, data = state(est), pickle.dumps((train, other, U, U_OTHER))
    for same in (pickle.loads(pickle.dumps(est)), clone(est).fit(train, inputs=U)):
        for method in DRIVEN:
            assert_array_equal(
                getattr(same, method)(other, inputs=U_OTHER),
                getattr(est, method)(other, inputs=U_OTHER),
            )
    assert state(est) == before
    assert pickle.dumps((train, other, U, U_OTHER)) == data


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.slow
def test_inputs_are_read_from_memory_maps_lists_and_views(driven, tmp_path, dtype):
    train, inputs = driven[0].astype(dtype), U.astype(dtype)
    np.save(tmp_path / "X.npy", train)
    np.save(tmp_path / "U.npy", inputs)
    mapped = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "XU")
    expected = make_jedi().fit(train, inputs=inputs).transform(train, inputs=inputs)
    for trials, u in (
        tuple(mapped),
        (train.tolist(), inputs.tolist()),
        (np.asfortranarray(train), np.repeat(inputs, 2, axis=2)[:, :, ::2]),
    ):
        est = make_jedi().fit(trials, inputs=u)
        assert_allclose(est.transform(trials, inputs=u), expected, atol=1e-4)


# Analyzers


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        (X, "ndarray of shape (12, 9, 5)"),
        (X[0], "ndarray of shape (9, 5)"),
        (X.tolist(), "list of list"),
        (list(X), "list of ndarray"),
        (JEDIEstimator(), "JEDIEstimator"),
        (None, "NoneType"),
    ],
    ids=str,
)
def test_analyzers_say_that_they_take_rnns(rnns_case, wrong, got):
    fitted = rnns_case.fit()
    for call in (rnns_case.make().fit, rnns_case.make().fit_transform, fitted.transform):
        with pytest.raises(TypeError) as refusal:
            call(wrong)
        for words in (f"(RNNBatch), got {got}.", "JEDIEstimator.dynamics(X)", 'output="dynamics"'):
            assert words in str(refusal.value)


# Conditions and metadata


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


LABELS = {
    "strings": TASK.astype(str),
    "objects": TASK.astype(object),
    "ints": np.arange(12) % 3,
    "bools": np.arange(12) % 2 == 0,
    "list": TASK.tolist(),
    "tuple": tuple(TASK),
    "Series": pd.Series(TASK, index=np.arange(12)[::-1]),
    "strings of pandas": pd.Series(TASK, dtype="string"),
    "categorical": pd.Categorical(TASK, categories=["hold", "rest", "reach"]),
    "categorical Series": pd.Series(pd.Categorical(TASK)),
    "nullable ints": pd.Series(np.arange(12) % 3, dtype="Int64"),
    "floats": np.arange(12) % 3 / 4,
    "column": TASK[:, np.newaxis],
}


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.slow
def test_kinds_of_labels(name):
    labels = LABELS[name]
    plain = np.asarray(labels).ravel()
    values, codes = np.unique(plain, return_inverse=True)
    plain_fit = make_jedi().fit(X, conditions=codes)
    fits = [make_jedi().fit(X, labels)]
    if name != "column":
        fits.append(make_jedi().fit(X, conditions=labels))
    for est in fits:
        assert est.conditions_.tolist() == values.tolist()  # those that occur, sorted
        assert_array_equal(est.embedding_, plain_fit.embedding_)
        assert_array_equal(est.condition_embeddings_, plain_fit.condition_embeddings_)


def test_conditions_never_seen_do_not_matter_to_the_score():
    est = make_jedi().fit(X, TASK)
    expected = est.score(Y)
    for y in (None, ["new"] * 7, np.arange(7) * 100, [None] * 7, np.full(7, np.nan)):
        assert est.score(Y, y) == expected


def test_conditions_are_not_asked_for_unless_requested(routing):
    pipeline = make_pipeline(make_jedi(), LogisticRegression())
    with pytest.raises(UnsetMetadataPassedError, match="conditions"):
        pipeline.fit(X, TASK, conditions=TASK)


def test_conditions_are_routed_through_a_pipeline(routing):
    jedi = make_jedi().set_fit_request(conditions=True)
    conditions = np.arange(12) % 3
    for steps in ([jedi], [TrialScaler(), jedi]):
        pipeline = make_pipeline(*steps, LogisticRegression())
        pipeline.fit(X, TASK, conditions=conditions)
        assert pipeline[-2].conditions_.tolist() == [0, 1, 2]
        assert pipeline[-1].classes_.tolist() == ["hold", "reach"]
        assert pipeline.predict(Y).shape == (7,)
    alone = make_pipeline(TrialScaler(), jedi)
    E = alone.fit_transform(X, conditions=conditions)
    assert alone[-1].conditions_.tolist() == [0, 1, 2]
    assert_allclose(E, alone.transform(X), atol=1e-10)


@pytest.mark.parametrize("kind", [np.asarray, pd.Series, pd.Categorical, list])
@pytest.mark.slow
def test_conditions_are_routed_through_cross_validation(routing, kind):
    conditions = kind(TASK)
    jedi = make_jedi().set_fit_request(conditions=True)
    found = cross_validate(
        jedi,
        X,
        cv=3,
        params={"conditions": conditions},
        return_estimator=True,
        return_indices=True,
        error_score="raise",
    )
    for est, rows in zip(found["estimator"], found["indices"]["train"], strict=True):
        expected = make_jedi().fit(X[rows], conditions=TASK[rows])
        assert est.conditions_.tolist() == ["hold", "reach"]
        assert_array_equal(est.embedding_, expected.embedding_)
    assert np.isfinite(found["test_score"]).all()


@pytest.mark.slow
def test_conditions_are_routed_through_a_grid_search(routing):
    jedi = make_jedi().set_fit_request(conditions=True)
    search = GridSearchCV(jedi, {"n_components": [1, 2]}, cv=2, error_score="raise")
    search.fit(X, conditions=TASK)
    assert search.best_estimator_.conditions_.tolist() == ["hold", "reach"]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    pipeline = Pipeline([("jedi", jedi), ("classifier", LogisticRegression())])
    grid = {"jedi__n_components": [1, 2], "jedi__embedding": ["trial", "condition"]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise")
    search.fit(X, TASK, conditions=np.arange(12) % 3)
    assert search.best_estimator_["jedi"].conditions_.tolist() == [0, 1, 2]


@pytest.mark.parametrize("splitter", [GroupKFold(3), LeaveOneGroupOut()], ids=str)
@pytest.mark.slow
def test_groups_left_out_are_conditions_never_seen(splitter):
    groups = np.repeat(["a", "b", "c"], 4)
    scores = cross_val_score(
        make_jedi(), X, groups, groups=groups, cv=splitter, error_score="raise"
    )
    for train, test in splitter.split(X, groups, groups):
        assert not set(groups[train]) & set(groups[test])
        assert make_jedi().fit(X[train], groups[train]).score(X[test]) in scores


def test_groups_and_conditions_are_routed_together(routing):
    groups = np.repeat(["a", "b", "c"], 4)
    jedi = make_jedi().set_fit_request(conditions=True)
    found = cross_validate(
        jedi,
        X,
        params={"conditions": TASK, "groups": groups},
        cv=GroupKFold(3),
        return_estimator=True,
        error_score="raise",
    )
    assert [est.conditions_.tolist() for est in found["estimator"]] == [["hold", "reach"]] * 3


# Texts

# since scikit-learn 1.7 the page lists all parameters, before it those that were changed
LISTS_ALL = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 7)


def test_repr_names_what_differs_from_the_defaults():
    assert repr(JEDIEstimator()) == "JEDIEstimator()"
    est = JEDIEstimator(4, tau=0.05, hidden_layer_sizes=(8, 8), random_state=0)
    for words in ("n_components=4", "tau=0.05", "hidden_layer_sizes=(8, 8)", "random_state=0"):
        assert words in repr(est)
    assert repr(est).count("=") == 4
    assert eval(repr(est), {"JEDIEstimator": JEDIEstimator}).get_params() == est.get_params()


@pytest.mark.slow
def test_html_repr_names_the_parameters_and_neither_computes_nor_lists_data(case, monkeypatch):
    est, calls = case.fit(), []
    for owner, name in (
        (Model, "infer"),
        (Model, "generate"),
        (Model, "rnns"),
        (RNNBatch, "step"),
        (RNNBatch, "eigenvalues"),
    ):
        monkeypatch.setattr(owner, name, lambda *args, name=name, **rest: calls.append(name))
    html = est._repr_html_()
    assert not calls
    assert len(html) < len(case.make()._repr_html_()) + 20_000  # of short values, since 1.9
    assert type(est).__name__ in html
    for name, value in est.get_params().items():
        if LISTS_ALL or repr(value) != repr(getattr(type(est)(), name)):
            assert name in html


def test_html_repr_of_a_pipeline():
    jedi = JEDIEstimator(output="dynamics")
    pipeline = make_pipeline(TrialScaler(), jedi, EigenspectrumAnalyzer(), LogisticRegression())
    html = pipeline._repr_html_()
    for words in ("TrialScaler", "JEDIEstimator", "EigenspectrumAnalyzer", "dynamics"):
        assert words in html
