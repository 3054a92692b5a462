"""Small odd data either fit and give finite numbers, or are refused in words of this package."""

import pickle
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.exceptions import ConvergenceWarning

from jedi_sklearn import JEDIEstimator

DOCUMENTED = (ValueError, TypeError, FloatingPointError)
quick = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

PARAMETERS = st.fixed_dictionaries(
    {
        "n_components": st.sampled_from(["auto", 1, 2]),
        "rank": st.sampled_from(["auto", 1, 2]),
        "connectivity": st.sampled_from(["shared", "low_rank", "full_rank"]),
        "hypernetwork": st.sampled_from(["linear", "mlp"]),
        "embedding": st.sampled_from(["trial", "condition"]),
        "initial_state": st.sampled_from(["auto", "generated", "inferred", "observed"]),
        "scale": st.sampled_from(["global", "neuron", None]),
        "solver": st.sampled_from(["annealed", "paper"]),
        "early_stopping": st.booleans(),
        "batch_size": st.sampled_from(["auto", 1, 3]),
    }
)
DTYPES = st.one_of(
    arrays.boolean_dtypes(),
    arrays.integer_dtypes(),
    arrays.unsigned_integer_dtypes(),
    arrays.floating_dtypes(sizes=(16, 32, 64)),  # of either byte order
    arrays.complex_number_dtypes(),
    arrays.unicode_string_dtypes(max_len=3),
    arrays.datetime64_dtypes(),
)


def of_dtype(dtypes, shapes):
    return dtypes.flatmap(lambda dtype: arrays.arrays(dtype, shapes))


ANYTHING = of_dtype(DTYPES, arrays.array_shapes(min_dims=0, max_dims=4, max_side=4))
SOUND = st.one_of(st.floats(-10, 10, width=32), st.integers(-2, 2).map(float))
TINY = st.tuples(st.integers(2, 6), st.integers(2, 4), st.integers(1, 3))
UNITS = st.sampled_from([1.0, 1e5, 1e-8, 1e-150, 1e150, 1e-300])
OFFSETS = st.sampled_from([0.0, 0.0, 3.0, 1e6])


def make(**parameters):
    return JEDIEstimator(
        hidden_layer_sizes=(2,), max_iter=2, tol=1.0, device="cpu", random_state=0, **parameters
    )


def finite(*results):
    return all(np.isfinite(result).all() for result in results)


def fit_and_use(X, y, parameters):
    """Whether `X` and `y` could be fitted; then everything that comes out is finite."""
    est = make(**parameters)
    unchanged = pickle.dumps(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of data that look odd, and are
        try:
            E = est.fit_transform(X, y)
        except DOCUMENTED as error:
            assert str(error)
            assert vars(est).keys() == est.get_params().keys()  # nothing was half fitted
            return False
        assert finite(E, est.transform(X), est.predict(X), est.score_samples(X), est.score(X))
        assert E.shape == (len(X), est.n_components_)
    assert pickle.dumps(X) == unchanged
    return True


@pytest.mark.slow
def test_tiny_trials_in_any_unit():
    fitted = []

    @quick
    @given(arrays.arrays(float, TINY, elements=SOUND), UNITS, OFFSETS, PARAMETERS, st.booleans())
    def fit(X, unit, offset, parameters, labelled):
        y = ["a", "b", "a", "b", "a", "b"][: len(X)] if labelled else None
        fitted.append(fit_and_use(unit * (X + offset), y, parameters))

    fit()
    assert np.mean(fitted) > 0.15  # not everything was refused


@pytest.mark.slow
def test_any_dtype():
    fitted = []

    @quick
    @given(of_dtype(DTYPES, st.tuples(*[st.integers(0, 4)] * 3)), st.booleans())
    def fit(X, labelled):
        fitted.append(fit_and_use(X, np.arange(len(X)) % 2 if labelled else None, {}))

    fit()
    assert np.mean(fitted) > 0.05


@pytest.fixture(scope="module")
def fitted():
    X = np.random.RandomState(0).standard_normal((6, 4, 2))
    return make(n_components=1, rank=2).fit(X)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:.*same units, with the same preprocessing:UserWarning")
@quick
@given(
    st.one_of(
        ANYTHING,
        of_dtype(DTYPES, st.tuples(st.integers(0, 3), st.integers(1, 3), st.just(2))),
        st.lists(st.lists(st.lists(st.integers(-3, 3), max_size=3), max_size=3), max_size=3),
        st.text(max_size=3),
        st.none(),
    )
)
@pytest.mark.slow
def test_anything_to_transform(fitted, X):
    before = pickle.dumps(fitted)
    for method in ("transform", "score", "score_samples", "predict"):
        try:
            result = getattr(fitted, method)(X)
        except DOCUMENTED as error:
            assert str(error)
        else:
            assert finite(result)
    assert pickle.dumps(fitted) == before


def test_a_trial_that_does_not_vary_has_a_score():
    X = np.zeros((3, 4, 1))
    X[2, 2] = 1e5
    est = make(n_components=1, rank=1, scale=None, embedding="condition")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        est.fit(X, ["a", "b", "a"])
        assert est.score_samples(X)[:2].tolist() == [0.0, 0.0]  # as r2_score has it
