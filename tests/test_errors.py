"""Bad input gets what was expected, what came and what to try; the estimator stays as it was."""

import pickle

import numpy as np
import pytest
import torch

from jedi_sklearn import JEDIEstimator

GOOD = np.random.RandomState(0).standard_normal((6, 12, 5)).cumsum(axis=1)
N = len(GOOD)


def changed(value, where):
    X = GOOD.copy()
    X[where] = value
    return X


def ragged():
    X = np.empty(2, dtype=object)
    X[:] = [GOOD[0], GOOD[1, :7]]
    return X


# Data, wherever they come in

TRIALS = {
    "2-D": (
        GOOD[0],
        ValueError,
        [
            "X must have shape (n_trials, n_timesteps, n_neurons), got (12, 5). Reshape your "
            "data, e.g. X[np.newaxis] for a single trial."
        ],
    ),
    "1-D": (GOOD[0, :, 0], ValueError, ["(n_trials, n_timesteps, n_neurons)", "(12,)", "Reshape"]),
    "4-D": (GOOD[None], ValueError, ["(n_trials, n_timesteps, n_neurons)", "(1, 6, 12, 5)"]),
    "a number": (3.0, ValueError, ["(n_trials, n_timesteps, n_neurons)", "()"]),
    "None": (None, ValueError, ["(n_trials, n_timesteps, n_neurons)"]),
    "NaN": (
        changed(np.nan, (2, 3, 4)),
        ValueError,
        ["NaN", "trial 2, time step 3, neuron 4", "Drop or interpolate"],
    ),
    "infinity": (
        changed(-np.inf, (slice(4, 6), 0, 1)),
        ValueError,
        ["infinity", "trial 4, time step 0, neuron 1"],
    ),
    "one time step": (GOOD[:, :1], ValueError, ["1 time step", "at least 2", "order"]),
    "no neurons": (GOOD[:, :, :0], ValueError, ["0 neuron", "at least 1"]),
    "unequal trials in a list": (
        [GOOD[0], GOOD[1, :7]],
        ValueError,
        ["different shapes", "(12, 5)", "(7, 5)", "cut", "cut_epochs"],
    ),
    "unequal trials in an object array": (
        ragged(),
        ValueError,
        ["object", "one length", "cut_epochs"],
    ),
    "ragged rows": ([[[1, 2], [3]], [[1, 2], [3, 4]]], ValueError, ["X", "ragged", "length"]),
    "numbers as objects": (GOOD.astype(object), ValueError, ["object", "(6, 12, 5)", "float"]),
    "masked values": (np.ma.masked_array(GOOD, GOOD > 2), ValueError, ["mask", "Interpolate"]),
    "complex numbers": (GOOD + 1j, TypeError, ["real numbers", "complex128"]),
    "strings": (GOOD.astype(str), TypeError, ["real numbers", "dtype <U"]),
}


@pytest.fixture(scope="module")
def est():
    return JEDIEstimator(2, 4, max_iter=5, tol=1.0, random_state=0).fit(GOOD, np.arange(N) % 2)


@pytest.fixture
def refuses(est):
    """Check type and words of a refusal, and that the fitted estimator is what it was."""

    def check(call, error, words, who=est):
        before = {name: pickle.dumps(value) for name, value in vars(who).items()}
        with pytest.raises(error) as refusal:
            call(who)
        for word in words:
            assert word in str(refusal.value)
        assert {name: pickle.dumps(value) for name, value in vars(who).items()} == before

    return check


@pytest.mark.parametrize("method", ["fit", "transform", "score", "predict"])
@pytest.mark.parametrize("name", TRIALS)
def test_bad_trials(refuses, method, name):
    X, error, words = TRIALS[name]
    refuses(lambda est: getattr(est, method)(X), error, words)


def test_trials_to_fit(refuses):
    refuses(lambda est: est.fit(GOOD[:1]), ValueError, ["1 trial", "at least 2"])
    refuses(lambda est: est.fit(GOOD[:0]), ValueError, ["0 trial", "at least 2"])
    for constant in (np.zeros((4, 9, 5)), np.full((4, 9, 5), 1e6), np.ones((4, 9, 5), dtype=int)):
        refuses(lambda est, X=constant: est.fit(X), ValueError, ["constant", "preprocessing"])


def test_trials_of_other_neurons(refuses):
    for method in ("transform", "score", "score_samples", "predict", "dynamics", "posterior"):
        refuses(
            lambda est, m=method: getattr(est, m)(GOOD[:, :, :3]),
            ValueError,
            ["3 neurons", "fitted to 5", "same neurons"],
        )


def test_no_trials_to_transform(refuses):
    refuses(lambda est: est.transform(GOOD[:0]), ValueError, ["0 trial", "at least 1"])


@pytest.mark.parametrize(
    ("scale", "factor", "words"),
    [
        (None, 1e30, ["scale=None", "large", 'scale="global"', "divide"]),
        ("global", 1e200, ["X is too large", "e+200", "Divide"]),
    ],
)
def test_huge_activity(scale, factor, words):
    est = JEDIEstimator(2, 4, max_iter=3, scale=scale)
    with pytest.raises(ValueError) as refusal:
        est.fit(factor * GOOD)
    for word in words:
        assert word in str(refusal.value)


def test_a_constant_trial_has_a_score(est):
    assert est.score(np.zeros((2, 9, 5))) == 0.0  # as r2_score has it


# Labels

LABELS = [
    (np.arange(N - 1), ValueError, ["one label per trial", "(6,)", "(5,)"]),
    (np.zeros((N, 2), dtype=int).tolist(), ValueError, ["one label per trial", "(6,)", "(6, 2)"]),
    ("reach", ValueError, ["one label per trial", "()"]),
    ([0.0, 1.0, np.nan, 0.0, 1.0, 0.0], ValueError, ["NaN", "trial 2", "leave those trials out"]),
    ([0.0, 1.0, 0.0, np.inf, 1.0, 0.0], ValueError, ["infinity", "trial 3"]),
    (["a", "b", "a", None, "b", "a"], ValueError, ["None", "trial 3"]),
    (np.array(["a", 1] * 3, dtype=object), TypeError, ["cannot be sorted", "one kind"]),
    ([[1], [1, 2]] * 3, ValueError, ["ragged"]),
]


@pytest.mark.parametrize(("labels", "error", "words"), LABELS)
def test_bad_conditions(refuses, labels, error, words):
    refuses(lambda est: est.fit(GOOD, conditions=labels), error, ["conditions", *words])


@pytest.mark.parametrize(("labels", "error", "words"), [x for i, x in enumerate(LABELS) if i != 1])
def test_bad_y(refuses, labels, error, words):
    refuses(lambda est: est.fit(GOOD, labels), error, ["y", *words])


def test_a_continuous_y_of_another_length(refuses):
    refuses(lambda est: est.fit(GOOD, np.array([0.1, 0.25])), ValueError, ["y", "(6,)", "(2,)"])


# Embeddings and initial states


@pytest.mark.parametrize(
    ("E", "error", "words"),
    [
        (np.zeros(2), ValueError, ["(n_trials, n_components = 2)", "(2,)"]),
        (np.zeros((4, 3)), ValueError, ["(n_trials, n_components = 2)", "(4, 3)"]),
        ([[0.0, np.nan]], ValueError, ["NaN or infinite"]),
        ([["a", "b"]], TypeError, ["real numbers", "<U1"]),
        (np.zeros((2, 2)) + 1j, TypeError, ["real numbers", "complex128"]),
    ],
)
def test_bad_embeddings(refuses, E, error, words):
    words = ["Embeddings", *words]
    refuses(lambda est: est.inverse_transform(E), error, words)
    refuses(lambda est: est.generate_rnns(E), error, words)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"initial_state": np.zeros(4)}, ValueError, ["initial_state", "(5,) or (3, 5)", "(4,)"]),
        ({"initial_state": np.zeros((2, 5))}, ValueError, ["(5,) or (3, 5)", "(2, 5)"]),
        ({"initial_state": np.full(5, np.nan)}, ValueError, ["initial_state", "NaN"]),
        ({"n_timesteps": 0}, ValueError, ["n_timesteps", "integer >= 1", "0"]),
        ({"n_timesteps": 2.5}, TypeError, ["n_timesteps", "integer >= 1", "2.5"]),
    ],
)
def test_bad_arguments_of_inverse_transform(refuses, arguments, error, words):
    refuses(lambda est: est.inverse_transform(np.zeros((3, 2)), **arguments), error, words)


# Parameters

PARAMETERS = [
    ({"n_components": 0}, ValueError, ["n_components", "integer >= 1", "0"]),
    ({"n_components": -2}, ValueError, ["n_components", ">= 1", "-2"]),
    ({"n_components": 2.0}, TypeError, ["n_components", "integer", "2.0"]),
    ({"n_components": True}, TypeError, ["n_components", "integer", "True"]),
    ({"n_components": None}, TypeError, ["n_components", "integer", "None"]),
    ({"n_components": "many"}, ValueError, ["n_components", '"auto"', "'many'"]),
    (
        {"n_components": 6},
        ValueError,
        ["n_components=6", "6 training trials", "n_components <= 5", '"auto"'],
    ),
    (
        {"n_components": 3, "rank": 1},
        ValueError,
        ["n_components=3", "2 weights", "rank 1", '"auto"'],
    ),
    (
        {"n_components": 2, "embedding": "condition"},
        ValueError,
        ["n_components=2", "2 conditions", "n_components <= 1"],
    ),
    (
        {"n_components": 4, "early_stopping": True, "validation_fraction": 0.4},
        ValueError,
        ["n_components=4", "4 training trials", "n_components <= 3"],
    ),
    ({"rank": 6}, ValueError, ["rank=6", "number of neurons, 5", '"auto"']),
    ({"rank": 0}, ValueError, ["rank", ">= 1", "0"]),
    ({"rank": "full"}, ValueError, ["rank", '"auto"', "'full'"]),
    ({"batch_size": 0}, ValueError, ["batch_size", ">= 1"]),
    ({"batch_size": "all"}, ValueError, ["batch_size", '"auto"', "'all'"]),
    ({"dt": 0.1}, ValueError, ["dt must be smaller than tau", "dt=0.1", "tau=0.1", "resample"]),
    ({"dt": 0.3}, ValueError, ["dt must be smaller than tau", "Raise tau"]),
    ({"dt": 0.0}, ValueError, ["dt", "> 0", "0.0"]),
    ({"dt": "10 ms"}, TypeError, ["dt", "number > 0", "'10 ms'"]),
    ({"tau": -0.1}, ValueError, ["tau", "> 0", "-0.1"]),
    ({"tau": np.inf}, ValueError, ["tau", "> 0", "inf"]),
    ({"tau": np.nan}, ValueError, ["tau", "> 0", "nan"]),
    ({"max_iter": 0}, ValueError, ["max_iter", "integer >= 1"]),
    ({"max_iter": 10.5}, TypeError, ["max_iter", "integer >= 1", "10.5"]),
    ({"n_starts": 0}, ValueError, ["n_starts", ">= 1"]),
    ({"n_iter_no_change": 0}, ValueError, ["n_iter_no_change", ">= 1"]),
    ({"learning_rate_init": 0.0}, ValueError, ["learning_rate_init", "> 0"]),
    ({"learning_rate_init": np.inf}, ValueError, ["learning_rate_init", "> 0", "inf"]),
    ({"tol": -1e-3}, ValueError, ["tol", ">= 0", "-0.001"]),
    ({"forcing": 1.5}, ValueError, ["forcing", ">= 0", "<= 1", "1.5"]),
    ({"validation_fraction": 0.0}, ValueError, ["validation_fraction", "> 0", "<= 0.9"]),
    ({"validation_fraction": 1.0}, ValueError, ["validation_fraction", "<= 0.9", "1.0"]),
    (
        {"early_stopping": True, "validation_fraction": 0.9, "n_components": 1},
        ValueError,
        ["early_stopping", "at least 2", "more trials"],
    ),
    (
        {"hypernetwork": "mlp", "hidden_layer_sizes": 8},
        ValueError,
        ["hidden_layer_sizes", "tuple", "8"],
    ),
    ({"hypernetwork": "mlp", "hidden_layer_sizes": ()}, ValueError, ["at least one layer", "()"]),
    ({"hypernetwork": "mlp", "hidden_layer_sizes": (0,)}, ValueError, ["hidden_layer_sizes", "0"]),
    ({"device": "gpu"}, ValueError, ["device", '"auto", "cpu", "cuda"', "'gpu'"]),
    ({"device": "meta"}, ValueError, ["device", '"auto", "cpu", "cuda"', "'meta'"]),
    ({"device": None}, ValueError, ["device", '"auto"', "None"]),
    ({"random_state": "seed"}, ValueError, ["'seed'", "seed"]),
]
OPTIONS = {
    "connectivity": ("shared", "low_rank", "full_rank"),
    "hypernetwork": ("linear", "mlp"),
    "embedding": ("trial", "condition"),
    "initial_state": ("observed", "inferred"),
    "scale": ("global", "neuron", None),
    "solver": ("annealed", "paper"),
    "output": ("embedding", "dynamics"),
}


@pytest.mark.parametrize(("parameters", "error", "words"), PARAMETERS, ids=str)
def test_bad_parameters(refuses, est, parameters, error, words):
    copy = pickle.loads(pickle.dumps(est)).set_params(**parameters)
    refuses(lambda est: est.fit(GOOD, np.arange(N) % 2), error, words, who=copy)


@pytest.mark.parametrize("wrong", ["low-rank", 3, None, ["shared"], np.array(["a", "b"])], ids=str)
@pytest.mark.parametrize("name", OPTIONS)
def test_unknown_options_are_answered_with_the_known_ones(refuses, est, name, wrong):
    if wrong is None and None in OPTIONS[name]:
        wrong = "none"  # None itself is an option here
    copy = pickle.loads(pickle.dumps(est)).set_params(**{name: wrong})
    words = [name, repr(wrong), *(repr(option) for option in OPTIONS[name])]
    refuses(lambda est: est.fit(GOOD), ValueError, words, who=copy)


@pytest.mark.parametrize(
    ("name", "wrong", "meant"),
    [
        ("connectivity", "sharde", "shared"),
        ("connectivity", "low-rank", "low_rank"),
        ("connectivity", "Full rank", "full_rank"),
        ("hypernetwork", "MLP", "mlp"),
        ("hypernetwork", "linera", "linear"),
        ("embedding", "trials", "trial"),
        ("initial_state", "inferrd", "inferred"),
        ("scale", "neurons", "neuron"),
        ("solver", "anneal", "annealed"),
        ("output", "embeddig", "embedding"),
        ("n_components", "Auto", "auto"),
        ("rank", "atuo", "auto"),
        ("batch_size", "auto ", "auto"),
        ("device", "CPU:", "cpu"),
        ("device", "gpu", "cuda"),
    ],
)
def test_a_misspelt_option_is_answered_with_the_right_one(refuses, est, name, wrong, meant):
    copy = pickle.loads(pickle.dumps(est)).set_params(**{name: wrong})
    words = [name, f'got {wrong!r}: did you mean "{meant}"?']
    refuses(lambda est: est.fit(GOOD), ValueError, words, who=copy)


def test_an_absent_gpu(refuses, est):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    copy = pickle.loads(pickle.dumps(est)).set_params(device="cuda")
    words = ["'cuda'", "no CUDA device", 'device="cpu"']
    refuses(lambda est: est.fit(GOOD), ValueError, words, who=copy)
    refuses(lambda est: est.transform(GOOD), ValueError, words, who=copy)


def test_condition_embeddings_need_conditions(refuses, est):
    copy = pickle.loads(pickle.dumps(est)).set_params(embedding="condition", n_components=1)
    words = ['embedding="condition"', "fit(X, conditions)", '"trial"']
    refuses(lambda est: est.fit(GOOD), ValueError, words, who=copy)


def test_every_condition_needs_a_training_trial(refuses, est):
    copy = pickle.loads(pickle.dumps(est))
    copy.set_params(embedding="condition", early_stopping=True, validation_fraction=0.5)
    words = ["early_stopping", "no trial of some condition", "validation_fraction"]
    refuses(lambda est: est.fit(GOOD, np.arange(N)), ValueError, words, who=copy)


def test_an_unfitted_estimator_stays_unfitted():
    est = JEDIEstimator(rank=50)
    with pytest.raises(ValueError):
        est.fit(GOOD)
    assert set(vars(est)) == set(est.get_params())


def test_an_unknown_parameter_is_named():
    with pytest.raises(TypeError, match="n_dims"):
        JEDIEstimator(n_dims=3)
    with pytest.raises(ValueError, match="n_dims"):
        JEDIEstimator().set_params(n_dims=3)
