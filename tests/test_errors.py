"""Bad input gets what was expected, what came and what to try; the estimator stays as it was."""

import pickle
import sys
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch

from jedi_sklearn import (
    EigenspectrumAnalyzer,
    FixedPointAnalyzer,
    JEDIEstimator,
    LyapunovAnalyzer,
    RNNBatch,
    eigenspectrum,
    find_fixed_points,
    flow_field,
    lyapunov_exponents,
)
from jedi_sklearn import baselines as base
from jedi_sklearn import datasets as ds
from jedi_sklearn import evaluation as judge
from jedi_sklearn import plotting as show
from jedi_sklearn import preprocessing as pre
from jedi_sklearn.evaluation import stability_report

GOOD = np.random.RandomState(0).standard_normal((6, 12, 5)).cumsum(axis=1)
N = len(GOOD)


def changed(value, where):
    X = GOOD.copy()
    X[where] = value
    return X


def objects(*trials):
    X = np.empty(len(trials), dtype=object)
    for i, trial in enumerate(trials):
        X[i] = trial
    return X


# Data, wherever they come in

TRIALS = {
    "2-D": (
        GOOD[0],
        ValueError,
        ["X must have shape (n_trials, n_timesteps, n_neurons), got (12, 5). Reshape your data"],
    ),
    "1-D": (GOOD[0, :, 0], ValueError, ["(n_trials, n_timesteps, n_neurons)", "(12,)", "Reshape"]),
    "4-D": (GOOD[None], ValueError, ["(n_trials, n_timesteps, n_neurons)", "(1, 6, 12, 5)"]),
    "a number": (3.0, ValueError, ["(n_trials, n_timesteps, n_neurons)", "()"]),
    "None": (None, ValueError, ["(n_trials, n_timesteps, n_neurons)"]),
    "a trial of NaN": (
        changed(np.nan, 2),
        ValueError,
        ["X has no value in trial 2", "all of its samples are NaN", "Leave it out"],
    ),
    "infinity": (
        changed(-np.inf, (slice(4, 6), 0, 1)),
        ValueError,
        ["infinity", "trial 4, time step 0, neuron 1", "NaN stands for a missing sample"],
    ),
    "one time step": (GOOD[:, :1], ValueError, ["1 time step", "at least 2", "order"]),
    "no neurons": (GOOD[:, :, :0], ValueError, ["0 neuron", "at least 1"]),
    "unequal trials in a list": (
        [GOOD[0], GOOD[1, :7]],
        ValueError,
        ["2 different lengths", "from 7 to 12", "pad_trials", "cut_epochs"],
    ),
    "unequal trials in an object array": (
        objects(GOOD[0], GOOD[1, :7]),
        ValueError,
        ["2 different lengths", "one length", "pad_trials"],
    ),
    "words": (objects("a", "b"), ValueError, ["2 objects", "the first a str"]),
    "trials of other neurons": (
        [GOOD[0], GOOD[1, :, :4]],
        ValueError,
        ["numbers of neurons", "5 in trial 0, 4 in trial 1", "NaN"],
    ),
    "a trial of one axis": (
        [GOOD[0], GOOD[1, :, 0]],
        ValueError,
        ["(12, 5)", "(12,) of trial 1", "(n_timesteps, n_neurons)"],
    ),
    "ragged rows": ([[[1, 2], [3]], [[1, 2], [3, 4]]], ValueError, ["X", "ragged", "length"]),
    "numbers as objects": (GOOD.astype(object), ValueError, ["object", "(6, 12, 5)", "float"]),
    "masked values": (
        np.ma.masked_array(GOOD, GOOD > 2),
        ValueError,
        ["mask", "X.filled(np.nan)"],
    ),
    "a masked trial": (
        [*GOOD[:5], np.ma.masked_array(GOOD[5], GOOD[5] > 0)],
        ValueError,
        ["A trial of X", "mask", "NaN"],
    ),
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
@pytest.mark.slow
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
        (None, 1e-9, ["scale=None", "hardly varies", "e-09", 'scale="global"', "multiply"]),
        ("global", 1e200, ["X is too large", "e+200", "Divide"]),
        ("global", 1e-200, ["X is too small", "e-200", "Multiply"]),
    ],
)
def test_huge_and_tiny_activity(scale, factor, words):
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
    (["left", "right", np.nan] * 2, ValueError, ["missing", "trial 2 (2 of 6 trials)"]),
    (("a", "b", np.float32("nan")) * 2, ValueError, ["missing", "trial 2"]),
    (["a", "b", -np.inf] * 2, ValueError, ["infinity", "trial 2"]),
    (["a", pd.NA, "b"] * 2, ValueError, ["missing", "trial 1"]),
    (objects(1, 2, np.float32("nan"), 1, 2, 1), ValueError, ["missing", "trial 2 (1 of 6"]),
    (objects("a", np.float16("nan"), "b", "a", "b", "a"), ValueError, ["missing", "trial 1"]),
    (objects(*np.array(["2026", "NaT"] * 3, "M8[Y]")), ValueError, ["missing", "trial 1"]),
    (objects(*[Decimal(1), Decimal("nan")] * 3), ValueError, ["missing", "trial 1"]),
    (objects(1.0, np.inf, 1, 2, 1, 2), ValueError, ["infinity", "trial 1"]),
    (np.array([1, np.nan, 1j] * 2), ValueError, ["missing", "trial 1"]),
    (pd.Series([1, None, 2] * 2, dtype="Int64"), ValueError, ["missing", "trial 1"]),
    (["a", 1, "b"] * 2, TypeError, ["cannot be sorted", "one kind"]),
    ([[1], [1, 2]] * 3, ValueError, ["ragged"]),
    (np.ma.masked_array([0, 1] * 3, [0, 0, 1, 0, 0, 0]), ValueError, ["masked", "Label every"]),
    (np.ma.masked_array(np.linspace(0, 1, 6), [0] * 5 + [1]), ValueError, ["masked"]),
]


@pytest.mark.parametrize(("labels", "error", "words"), LABELS)
def test_bad_conditions(refuses, labels, error, words):
    refuses(lambda est: est.fit(GOOD, conditions=labels), error, ["conditions", *words])


@pytest.mark.parametrize(("labels", "error", "words"), [x for i, x in enumerate(LABELS) if i != 1])
def test_bad_y(refuses, labels, error, words):
    refuses(lambda est: est.fit(GOOD, labels), error, ["y", *words])


def test_missing_labels_in_a_column():
    with pytest.raises(ValueError, match=r"y .*has missing labels .*trial 2"):
        JEDIEstimator().fit(GOOD, [["left"], ["right"], [np.nan]] * 2)


@pytest.mark.parametrize("draw", range(4))
@pytest.mark.parametrize("labels", [["a", "b", np.nan], objects(1, np.float32("nan"), 2)])
def test_missing_labels_in_pictures(est, labels, draw):
    X = GOOD[:3]
    display = (
        show.EmbeddingDisplay,
        show.EigenspectrumDisplay,
        show.FixedPointDisplay,
        show.FreeRunDisplay,
    )[draw]
    with pytest.raises(ValueError, match=r"conditions has missing labels .*\(1 of 3 trials\)"):
        display.from_estimator(est, X, conditions=labels)


def test_text_that_stands_for_a_missing_label_is_pointed_out(est):
    labels = np.array(["left", "right", np.nan] * 2)  # numpy makes strings of all
    copy = pickle.loads(pickle.dumps(est))
    calls = (
        lambda: copy.adapt(np.dstack([GOOD, GOOD]), labels),
        lambda: copy.fit(GOOD, conditions=labels),
        lambda: show.EmbeddingDisplay.from_embedding(FACTOR[[0, 1, 2, 3, 4, 0]], labels),
    )
    for call, others in zip(calls, (["that the fit did not have"], [], []), strict=True):
        with pytest.warns(UserWarning) as caught:
            call()
        words = ['holds the text "nan" as the label of 2 of 6 trials', *others]
        for warned, part in zip(caught, words, strict=True):
            assert part in str(warned.message)


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
    (
        {"dt": 0.1, "steps_per_sample": 1},
        ValueError,
        ["dt=0.1 is too long for tau=0.1", "with steps_per_sample=1", "set steps_per_sample=2."],
    ),
    ({"dt": 10, "tau": 0.1}, ValueError, ["too long", "0.01", "set steps_per_sample=200."]),
    ({"steps_per_sample": 0}, ValueError, ["steps_per_sample", "0"]),
    ({"steps_per_sample": "all"}, ValueError, ["steps_per_sample", '"auto"', "all"]),
    ({"steps_per_sample": 2.0}, TypeError, ["steps_per_sample", "2.0"]),
    ({"dt": 0.0}, ValueError, ["dt", "> 0", "0.0"]),
    ({"dt": "10 ms"}, TypeError, ["dt", "number > 0", "'10 ms'"]),
    ({"tau": -0.1}, ValueError, ["tau", "> 0", "-0.1"]),
    ({"tau": np.inf}, ValueError, ["tau", "> 0", "inf"]),
    ({"tau": np.nan}, ValueError, ["tau", "> 0", "nan"]),
    ({"max_iter": 0}, ValueError, ["max_iter", "integer >= 1"]),
    ({"max_iter": 10.5}, TypeError, ["max_iter", "integer >= 1", "10.5"]),
    ({"n_init": 0}, ValueError, ["n_init", ">= 1"]),
    ({"n_iter_no_change": 0}, ValueError, ["n_iter_no_change", ">= 1"]),
    ({"learning_rate_init": 0.0}, ValueError, ["learning_rate_init", "> 0"]),
    ({"learning_rate_init": np.inf}, ValueError, ["learning_rate_init", "> 0", "inf"]),
    ({"tol": -1e-3}, ValueError, ["tol", ">= 0", "-0.001"]),
    ({"teacher_forcing": 1.5}, ValueError, ["teacher_forcing", ">= 0", "<= 1", "1.5"]),
    ({"final_teacher_forcing": -0.1}, ValueError, ["final_teacher_forcing", ">= 0", "-0.1"]),
    (
        {"final_teacher_forcing": "atuo"},
        ValueError,
        ["final_teacher_forcing", "'atuo'", 'did you mean "auto"'],
    ),
    ({"validation_fraction": 0.0}, ValueError, ["validation_fraction", "> 0", "<= 0.9"]),
    ({"validation_fraction": 1.0}, ValueError, ["validation_fraction", "<= 0.9", "1.0"]),
    (
        {"early_stopping": True, "validation_fraction": 0.9, "n_components": 1},
        ValueError,
        ["early_stopping", "at least 2", "more trials"],
    ),
    (
        {"early_stopping": True, "max_iter": 1, "n_components": 1},
        ValueError,
        ["early_stopping", "max_iter=1", "Raise max_iter"],
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
    "initial_state": ("auto", "generated", "inferred", "observed"),
    "scale": ("global", "neuron", None),
    "solver": ("annealed", "paper"),
    "output": ("embedding", "trajectory", "both", "dynamics"),
}


@pytest.mark.parametrize(("parameters", "error", "words"), PARAMETERS, ids=str)
@pytest.mark.slow
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
        ("initial_state", "generate", "generated"),
        ("initial_state", "Auto", "auto"),
        ("scale", "neurons", "neuron"),
        ("solver", "anneal", "annealed"),
        ("output", "embeddig", "embedding"),
        ("output", "trajectories", "trajectory"),
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


def test_condition_embeddings_need_more_than_one_condition(refuses, est, monkeypatch):
    copy = pickle.loads(pickle.dumps(est)).set_params(embedding="condition")
    monkeypatch.setattr("jedi_sklearn._fit.train", None)  # refused before that
    words = ["at least 2 conditions", "holds only 'go'", 'embedding="trial"']
    for n_components in ("auto", 1):
        copy.set_params(n_components=n_components)
        refuses(lambda est: est.fit(GOOD, ["go"] * N), ValueError, ["y (the", *words], who=copy)
        refuses(lambda est: est.fit(GOOD, conditions=["go"] * N), ValueError, words, who=copy)


def test_what_is_no_label_of_a_trial_is_not_taken_for_y(refuses):
    words = ["y must hold one label per trial", "inputs="]
    refuses(lambda est: est.fit(GOOD, GOOD), ValueError, words)
    labels = np.full(GOOD.shape[:2], "go")
    refuses(lambda est: est.fit(GOOD, labels), ValueError, ["y (the", str(labels.shape)])


def test_every_condition_needs_a_training_trial(refuses, est):
    copy = pickle.loads(pickle.dumps(est))
    copy.set_params(embedding="condition", early_stopping=True, validation_fraction=0.5)
    words = ["early_stopping", "some condition without training trials", "validation_fraction"]
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


# All other public functions and classes: the argument is named, with what was expected and came

FACTOR = np.random.RandomState(0).standard_normal((5, 2))
RNNS = RNNBatch(FACTOR, FACTOR, np.ones((3, 2, 2)), initial_states=np.ones((3, 5)), n_timesteps=6)
DRIVEN = RNNBatch(FACTOR, FACTOR, input_weights=np.ones((5, 2)))
RAGGED = [[1, 2], [3]]
COUNTS = np.ones((4, 6, 5))

SIMULATED = ds.make_multitask(4, n_neurons=5, n_timesteps=12)
CALLS = [
    # RNNBatch
    (lambda: RNNBatch("a", "b"), TypeError, ["U", "real numbers", "<U1"]),
    (lambda: RNNBatch(RAGGED, RAGGED), ValueError, ["U", "ragged"]),
    (lambda: RNNBatch(FACTOR + 1j, FACTOR), TypeError, ["U", "real numbers", "complex128"]),
    (lambda: RNNBatch(FACTOR, FACTOR, core="x"), TypeError, ["core", "real numbers", "<U1"]),
    (lambda: RNNBatch(FACTOR, FACTOR, dt="x"), TypeError, ["dt", "number", "in s", "'x'"]),
    (lambda: RNNBatch(FACTOR, FACTOR, tau=None), TypeError, ["tau", "number", "in s", "None"]),
    (lambda: RNNBatch(FACTOR, FACTOR, dt=[0.01]), TypeError, ["dt", "number", "[0.01]"]),
    (lambda: RNNBatch.from_dense([["a"]]), TypeError, ["J", "real numbers", "<U1"]),
    (lambda: RNNBatch.concatenate([1, 2]), TypeError, ["batches", "RNNBatch", "[1, 2]"]),
    (lambda: RNNBatch.concatenate(None), TypeError, ["batches", "RNNBatch", "None"]),
    (lambda: RNNS.step("a"), TypeError, ["States", "real numbers", "<U1"]),
    (lambda: RNNS.step(RAGGED), ValueError, ["States", "ragged"]),
    (lambda: RNNS.step(None), TypeError, ["States", "real numbers", "object"]),
    (lambda: DRIVEN.step(np.ones(5), "a"), TypeError, ["inputs", "real numbers", "<U1"]),
    (lambda: DRIVEN.step(np.ones(5), [np.nan, 0]), ValueError, ["inputs", "NaN"]),
    (
        lambda: RNNS.simulate(np.ones((3, 5)), 5, noise=1.0, random_state="x"),
        ValueError,
        ["random_state", "integer", "RandomState", "'x'"],
    ),
    (lambda: RNNS.eigenvalues("x"), TypeError, ["States", "real numbers", "<U1"]),
    # analyses
    (lambda: eigenspectrum(RNNS, "trajektory"), ValueError, ["at", 'mean "trajectory"?']),
    (lambda: eigenspectrum(COUNTS), TypeError, ["RNNBatch", "ndarray of shape (4, 6, 5)"]),
    (lambda: find_fixed_points(RNNS, tol="x"), TypeError, ["tol", "number > 0", "'x'"]),
    (
        lambda: find_fixed_points(RNNS, random_state=-1),
        ValueError,
        ["random_state", "from 0 to 2**32", "-1"],
    ),
    (lambda: find_fixed_points(DRIVEN, inputs="a"), TypeError, ["inputs", "real numbers", "<U1"]),
    (lambda: find_fixed_points(RNNS, [[["a"]]]), TypeError, ["states", "real numbers", "<U1"]),
    (lambda: lyapunov_exponents(RNNS, burn_in=-1), ValueError, ["burn_in", ">= 0", "-1"]),
    (lambda: lyapunov_exponents(DRIVEN, inputs="x"), ValueError, ["initial_states"]),
    (lambda: flow_field(RNNS[0], axes="xy"), TypeError, ["axes", "real numbers", "<U2"]),
    (lambda: flow_field(RNNS[0], RAGGED), ValueError, ["states", "ragged"]),
    (lambda: flow_field(RNNS[0], extent="x"), TypeError, ["extent", "real numbers", "<U1"]),
    (lambda: flow_field(RNNS[0], extent=np.inf), ValueError, ["extent", "positive", "inf"]),
    (
        lambda: flow_field(RNNS[0], extent=(0, np.inf, 0, 1)),
        ValueError,
        ["extent", "x_low", "(0, inf, 0, 1)"],
    ),
    (lambda: flow_field(RNNS[0], extent=[[1, 2]]), ValueError, ["extent", "[[1, 2]]"]),
    # baselines
    (
        lambda: base.PCATrajectories(6).fit(GOOD),
        ValueError,
        ["n_components=6", "6 training trials", "at most 5", '"auto"'],
    ),
    (
        lambda: base.PCATrajectories("atuo").fit(GOOD),
        ValueError,
        ["n_components", "or an integer", 'mean "auto"?'],
    ),
    (
        lambda: base.PCATrajectories(observation="poison").fit(GOOD),
        ValueError,
        ["observation", 'mean "poisson"?'],
    ),
    (
        lambda: base.PCATrajectories(2).fit(GOOD).inverse_transform([[1, 2, 3]]),
        ValueError,
        ["(n_trials, n_components = 2)", "(1, 3)"],
    ),
    (
        lambda: base.PCATrajectories(2).fit(GOOD).inverse_transform([[1, np.nan]]),
        ValueError,
        ["Embeddings", "NaN"],
    ),
    (lambda: base.ConditionMean().fit(GOOD), ValueError, ["fit(X, conditions)"]),
    (
        lambda: base.ConditionMean().fit(GOOD, [0, 1]),
        ValueError,
        ["one label per trial", "(6,)", "(2,)"],
    ),
    (
        lambda: base.LinearDynamicalSystem(6).fit(GOOD),
        ValueError,
        ["n_components=6", "5 neurons", "Lower it"],
    ),
    (
        lambda: base.LinearDynamicalSystem(reconstruction="fre").fit(GOOD),
        ValueError,
        ["reconstruction", 'mean "free"?'],
    ),
    (
        lambda: base.LinearDynamicalSystem(2, tol=1).fit(GOOD).forecast(GOOD, 0),
        ValueError,
        ["n_timesteps", ">= 1", "0"],
    ),
    (
        lambda: base.ConditionRNN("forcee").fit(GOOD, [0, 1] * 3),
        ValueError,
        ["method", 'mean "force"?'],
    ),
    (
        lambda: base.ConditionRNN("gradient").fit(GOOD, [0, 1] * 3),
        ValueError,
        ["rank=8", "number of neurons, 5"],
    ),
    (
        lambda: base.ConditionRNN(dt=0.2).fit(GOOD, [0, 1] * 3),
        ValueError,
        ["dt=0.2", "tau=0.1", "Raise tau"],
    ),
    (
        lambda: base.ConditionRNN(tol=1).fit(GOOD, [0, 1] * 3).to_states(np.ones(4)),
        ValueError,
        ["(..., n_neurons = 5)", "(4,)"],
    ),
    (
        lambda: base.VAEBaseline(validation_fraction=0.9).fit(GOOD),
        ValueError,
        ["validation_fraction=0.9", "6 trials", "at least 2"],
    ),
    (
        lambda: base.RNNVAEBaseline(hidden_size=0).fit(GOOD),
        ValueError,
        ["hidden_size", ">= 1", "0"],
    ),
    # analyzers
    (lambda: EigenspectrumAnalyzer("oriign").fit(RNNS), ValueError, ["at", 'mean "origin"?']),
    (
        lambda: EigenspectrumAnalyzer(n_eigenvalues=1.5).fit(RNNS),
        TypeError,
        ["n_eigenvalues", "integer >= 0", "1.5"],
    ),
    (
        lambda: FixedPointAnalyzer(random_state="x").fit(RNNS),
        ValueError,
        ["random_state", "integer", "'x'"],
    ),
    (lambda: FixedPointAnalyzer(max_iter=0).fit(RNNS), ValueError, ["max_iter", ">= 1", "0"]),
    (lambda: LyapunovAnalyzer(burn_in="a").fit(RNNS), TypeError, ["burn_in", "integer", "'a'"]),
    (lambda: LyapunovAnalyzer(burn_in=-1).fit(RNNS), ValueError, ["burn_in", ">= 0", "-1"]),
    (lambda: LyapunovAnalyzer(n_timesteps=1).fit(RNNS), ValueError, ["n_timesteps", ">= 2", "1"]),
    (lambda: LyapunovAnalyzer(0).fit(RNNS), ValueError, ["n_exponents", ">= 1", "0"]),
    # preprocessing
    (
        lambda: pre.smooth_counts("x", bin_width=1, sigma=1),
        TypeError,
        ["counts", "real numbers", "<U1"],
    ),
    (
        lambda: pre.smooth_counts(COUNTS, bin_width="x", sigma=1),
        TypeError,
        ["bin_width", "> 0 (in s)", "'x'"],
    ),
    (
        lambda: pre.resample_time(COUNTS, dt=2, new_dt=1, kind="qubic"),
        ValueError,
        ["kind", "'pchip'", "'qubic'", 'mean "cubic"?'],
    ),
    (
        lambda: pre.bin_spikes([[0.1], [0.2]], "go", stop=1, bin_width=0.1),
        TypeError,
        ["events", "real numbers", "<U2"],
    ),
    (lambda: pre.bin_spikes("ab", [1], stop=1, bin_width=0.1), TypeError, ["spikes", "str"]),
    (lambda: pre.bin_spikes([[1.0]], [1], stop=1, bin_width="x"), TypeError, ["bin_width", "'x'"]),
    (lambda: pre.Recording("x", dt=0.1), TypeError, ["X", "real numbers", "<U1"]),
    (lambda: pre.Recording(COUNTS, dt="x"), TypeError, ["dt", "> 0 (in s)", "'x'"]),
    (
        lambda: pre.cut_epochs(COUNTS, ["a"] * 4, start=0, stop=2),
        TypeError,
        ["event", "real numbers", "<U1"],
    ),
    (lambda: pre.cut_epochs(COUNTS, RAGGED, start=0, stop=2), ValueError, ["event", "ragged"]),
    (lambda: pre.cut_epochs(3, [1], start=0, stop=2), TypeError, ["signal", "sequence", "3"]),
    (lambda: pre.cut_epochs("ab", [1], start=0, stop=2), TypeError, ["signal", "arrays", "'ab'"]),
    (
        lambda: pre.cut_epochs([RAGGED, RAGGED], [1, 1], start=0, stop=2),
        ValueError,
        ["signal[0]", "ragged"],
    ),
    (
        lambda: pre.cut_epochs(COUNTS[0], [1], start=0, stop=2, trial_length=RAGGED),
        ValueError,
        ["trial_length", "ragged"],
    ),
    (lambda: pre.pad_trials("ab"), TypeError, ["trials", "sequence", "'ab'"]),
    (lambda: pre.pad_trials([COUNTS[0]], length=0), ValueError, ["length", "0"]),
    (
        lambda: pre.SoftNormalizer(center="Mean").fit(COUNTS),
        ValueError,
        ["center", "'mean', None", 'mean "mean"?'],
    ),
    (
        lambda: pre.SoftNormalizer("5").fit(COUNTS),
        TypeError,
        ["soft_constant", "number >= 0", "'5'"],
    ),
    (lambda: pre.HiddenUnits("all").fit(GOOD), ValueError, ["n_components", '"auto"', "'all'"]),
    (lambda: pre.HiddenUnits(3, n_units=2).fit(GOOD), ValueError, ["n_units", ">= 3", "2"]),
    (lambda: pre.HiddenUnits(n_units="a").fit(GOOD), TypeError, ["n_units", "'a'"]),
    (lambda: pre.HiddenUnits(random_state="x").fit(GOOD), ValueError, ["'x'"]),
    (lambda: pre.TrialScaler().fit(COUNTS[0]), ValueError, ["X must have shape", "(6, 5)"]),
    # datasets
    (lambda: ds.load_nwb(3, bin_width=0.1), TypeError, ["path", "NWB file", "3"]),
    (lambda: ds.load_nwb("no.nwb", bin_width=0.1), FileNotFoundError, ["no.nwb", "folder"]),
    (
        lambda: ds.fetch_mc_maze("tiny"),
        ValueError,
        ["session", "'small', 'medium', 'large'", "'tiny'"],
    ),
    (lambda: ds.fetch_mc_maze(delay=-1), ValueError, ["delay", ">= 0", "in s", "-1"]),
    (lambda: ds.fetch_center_out(data_home=3), TypeError, ["data_home", "folder", "3"]),
    (lambda: ds.fetch_center_out(n_retries=1.5), TypeError, ["n_retries", "integer", "1.5"]),
    (lambda: ds.make_multitask(0), ValueError, ["n_trials", "integer >= 1", "0"]),
    (lambda: ds.make_multitask("x"), TypeError, ["n_trials", "integer >= 1", "'x'"]),
    (lambda: ds.make_multitask(tasks="reach"), ValueError, ["tasks", "'oscillation'", "'reach'"]),
    (lambda: ds.make_multitask(tasks=None), ValueError, ["tasks", "'oscillation'", "None"]),
    (lambda: ds.make_multitask(tasks=["reech"]), ValueError, ["tasks", 'mean "reach"?']),
    (lambda: ds.make_multitask(n_neurons=2), ValueError, ["n_neurons", ">= 5", "2"]),
    (lambda: ds.make_multitask(n_neurons=9.5), TypeError, ["n_neurons", "integer", "9.5"]),
    (lambda: ds.make_multitask(n_timesteps=1), ValueError, ["n_timesteps", ">= 2", "1"]),
    (lambda: ds.make_multitask(rank=0), ValueError, ["rank", ">= 1", "0"]),
    (lambda: ds.make_multitask(gain=np.nan), ValueError, ["gain", "finite", "nan"]),
    (lambda: ds.make_multitask(process_noise=-1), ValueError, ["process_noise", ">= 0", "-1"]),
    (lambda: ds.make_multitask(observation_noise=-1), ValueError, ["observation_noise", "-1"]),
    (lambda: ds.make_multitask(initial_jitter="x"), TypeError, ["initial_jitter", "'x'"]),
    (
        lambda: ds.make_multitask(n_conditions_per_task=0),
        ValueError,
        ["n_conditions_per_task", ">= 1", "0"],
    ),
    (lambda: ds.make_multitask(observe="stat"), ValueError, ["observe", 'mean "state"?']),
    (lambda: ds.make_multitask(teacher_seed="x"), ValueError, ["teacher_seed", "'x'"]),
    (lambda: ds.make_multitask(random_state="x"), ValueError, ["random_state", "'x'"]),
    (lambda: ds.make_spike_counts(SIMULATED, rate=-1), ValueError, ["rate", "spikes/s", "-1"]),
    (lambda: ds.make_spike_counts(SIMULATED, rate="x"), TypeError, ["rate", "real numbers"]),
    (lambda: ds.make_spike_counts(SIMULATED, modulation=-1), ValueError, ["modulation", ">= 0"]),
    (lambda: ds.make_spike_counts(SIMULATED, bin_steps=0), ValueError, ["bin_steps", ">= 1", "0"]),
    (lambda: pre.stack_sessions("ab"), TypeError, ["sessions", "list of arrays"]),
    (
        lambda: pre.place_neurons(np.zeros((2, 3, 4)), [0], 9),
        ValueError,
        ["X has", "columns has 1"],
    ),
    (lambda: pre.StackedSessions([GOOD], 12).place(GOOD, 1), ValueError, ["session", "<= 0"]),
    (lambda: ds.make_initial_states(0), ValueError, ["n_trials", "integer >= 1", "0"]),
    (lambda: ds.make_initial_states(n_conditions=0), ValueError, ["n_conditions", ">= 1", "0"]),
    (lambda: ds.make_initial_states(n_conditions="x"), TypeError, ["n_conditions", "'x'"]),
    (lambda: ds.make_initial_states(observe="stat"), ValueError, ["observe", 'mean "state"?']),
    (lambda: ds.make_initial_states(rank=0), ValueError, ["rank", ">= 1", "0"]),
    (lambda: ds.make_initial_states(observation_noise=-1), ValueError, ["observation_noise"]),
    (lambda: ds.make_multifrequency(0), ValueError, ["n_trials_per_frequency", ">= 1", "0"]),
    (lambda: ds.make_multifrequency(frequencies=()), ValueError, ["frequencies", "Hz", "()"]),
    (lambda: ds.make_multifrequency(frequencies="x"), TypeError, ["frequencies", "<U1"]),
    (lambda: ds.make_multifrequency(frequencies=[np.nan]), ValueError, ["frequencies", "nan"]),
    (lambda: ds.make_multifrequency(amplitude="x"), TypeError, ["amplitude", "number", "'x'"]),
    (lambda: ds.make_bistable_decision(strengths=3), ValueError, ["strengths", "one", "3"]),
    (lambda: ds.make_bistable_decision(teacher_seed="x"), ValueError, ["teacher_seed", "'x'"]),
    (lambda: ds.make_ring_attractor(n_bins=0), ValueError, ["n_bins", ">= 1", "0"]),
    (lambda: ds.make_flip_flop(n_pulses=0), ValueError, ["n_pulses", ">= 1", "0"]),
    (lambda: ds.make_memory_pro(random_state="x"), ValueError, ["random_state", "'x'"]),
    # evaluation
    (lambda: judge.compare(GOOD[0]), ValueError, ["X must have shape", "(12, 5)"]),
    (lambda: judge.compare(GOOD, cv=4), ValueError, ["6 trials in cv=4", "Set cv=3"]),
    (lambda: judge.compare(GOOD, confidence="x"), TypeError, ["confidence", "number", "'x'"]),
    (lambda: judge.Comparison([]), TypeError, ["folds"]),
    (
        lambda: judge.permutation_test(RNNS, GOOD, np.arange(N) % 2),
        TypeError,
        ["estimator", "JEDIEstimator", "RNNBatch"],
    ),
    (
        lambda: judge.permutation_test(None, GOOD, np.arange(N) % 2, refit="yes"),
        TypeError,
        ["refit", "True or False", "'yes'"],
    ),
    (
        lambda: judge.permutation_test(None, GOOD, np.arange(N) % 2, held_out="yes"),
        TypeError,
        ["held_out", "True or False", "'yes'"],
    ),
    (
        lambda: judge.permutation_test_features(np.ones(N), np.arange(N)),
        ValueError,
        ["At least 2 trials of each label", "1 of label 0", "merge"],
    ),
    (
        lambda: judge.permutation_test_features(np.ones(N), np.linspace(0.1, 1, N)),
        ValueError,
        ["At least 2 trials", "y > np.median(y)"],
    ),
    (
        lambda: judge.permutation_test_features(np.ones(N), np.zeros(N)),
        ValueError,
        ["y must hold at least 2 labels", "got 1"],
    ),
    (
        lambda: judge.permutation_test_features(np.ones(N), ["a", None] * 3),
        ValueError,
        ["y has missing labels", "trial 1"],
    ),
    (
        lambda: judge.permutation_test_features(np.ones(N), [0, 1] * 3, groups=[0, 1] * 3),
        ValueError,
        ["All trials of a group have one label", "at least 2 groups", "1 of label 0"],
    ),
    (
        lambda: judge.permutation_test_features(np.ones(N), [0, 1] * 3, groups=[0, 1]),
        ValueError,
        ["groups must hold one label per trial", "(6,)", "(2,)"],
    ),
    (
        lambda: judge.permutation_test_features({"r": np.ones(5)}, [0, 1] * 3),
        ValueError,
        ['values["r"]', "one row for each of the 6 trials", "(5,)"],
    ),
    (
        lambda: judge.permutation_test_features({"r": [1, np.nan, 2] * 2}, [0, 1] * 3),
        ValueError,
        ['values["r"]', "NaN or infinite in 2 of 6 trials", "first in trial 1"],
    ),
    (lambda: judge.permutation_test_features({}, [0, 1] * 3), ValueError, ["values is empty"]),
    (
        lambda: judge.permutation_test_features({1: np.ones(N), "1": np.ones(N)}, [0, 1] * 3),
        ValueError,
        ['values has two quantities with the name "1"', "rename"],
    ),
    (
        lambda: judge.permutation_test_features({"r": ["a"] * 6}, [0, 1] * 3),
        TypeError,
        ['values["r"]', "real numbers", "<U1"],
    ),
    (
        lambda: judge.permutation_test_features(np.ones(N), [0, 1] * 3, n_permutations=0),
        ValueError,
        ["n_permutations", ">= 1", "0"],
    ),
    (
        lambda: judge.permutation_test_features(np.ones(N), [0, 1] * 3, n_permutations="all"),
        ValueError,
        ["n_permutations", '"auto"', "'all'"],
    ),
    (
        lambda: judge.permutation_test_features(np.ones(N), [0, 1] * 3, confidence=95),
        ValueError,
        ["confidence", "> 0", "95"],
    ),
    (
        lambda: judge.permutation_test_features(np.ones(N), [0, 1] * 3, random_state="x"),
        ValueError,
        ["random_state", "integer", "'x'"],
    ),
    (
        lambda: judge.PermutationTest(names=["a"]),
        TypeError,
        ["missing", "labels"],
    ),
    (lambda: stability_report("x", GOOD), TypeError, ["est", "JEDIEstimator", "str"]),
    (lambda: judge.StabilityReport([]), TypeError, ["missing", "conditions"]),
    (lambda: judge.Structure("eigenvalue"), TypeError, ["missing", "name"]),
    (
        lambda: stability_report(JEDIEstimator(), GOOD[0]),
        ValueError,
        ["X must have shape", "(12, 5)"],
    ),
    (
        lambda: stability_report(JEDIEstimator(), GOOD, n_halves="x"),
        TypeError,
        ["n_halves", "integer >= 0", "'x'"],
    ),
    (
        lambda: stability_report(JEDIEstimator(), GOOD, inputs=np.ones((N, 3))),
        ValueError,
        ["inputs must have shape", "(6, 3)"],
    ),
    (
        lambda: stability_report(JEDIEstimator(), GOOD, random_state="x"),
        ValueError,
        ["random_state", "integer", "'x'"],
    ),
    # plotting
    (
        lambda: show.ComparisonDisplay.from_comparison("x"),
        TypeError,
        ["comparison", "jedi_sklearn.evaluation.compare", "str"],
    ),
    (
        lambda: show.PermutationDisplay.from_test(0.05),
        TypeError,
        ["test", "PermutationTest", "float"],
    ),
    (
        lambda: show.StabilityDisplay.from_report("x"),
        TypeError,
        ["report", "StabilityReport", "str"],
    ),
    (
        lambda: show.EmbeddingDisplay.from_embedding("x"),
        TypeError,
        ["embedding", "real numbers", "<U1"],
    ),
    (
        lambda: show.EmbeddingDisplay.from_embedding(np.full((3, 2), np.nan)),
        ValueError,
        ["embedding", "NaN"],
    ),
    (
        lambda: show.EmbeddingDisplay(FACTOR, covariance=np.ones((5, 2, 2))).plot(
            uncertainty=True, confidence="x"
        ),
        ValueError,
        ["confidence", "between 0 and 1", "'x'"],
    ),
    (
        lambda: show.EigenspectrumDisplay.from_rnns(RNNS, kind="rate"),
        ValueError,
        ["kind", "'multipliers', 'rates'", 'mean "rates"?'],
    ),
    (
        lambda: show.FlowFieldDisplay.from_rnns(RNNS[0], kind="streams"),
        ValueError,
        ["kind", "'quiver'", 'mean "stream"?'],
    ),
    (
        lambda: show.FixedPointDisplay.from_rnns(RNNS[0], fixed_points=3),
        TypeError,
        ["fixed_points", "FixedPoints", "int"],
    ),
    (
        lambda: show.FixedPointDisplay.from_rnns(RNNS[0], trajectories="x"),
        TypeError,
        ["trajectories", "real numbers", "<U1"],
    ),
    (
        lambda: show.EmbeddingDisplay.from_embedding(FACTOR, list("abcab"), palette="viridi"),
        ValueError,
        ["palette", "'qualitative'", 'mean "viridis"?'],
    ),
    (
        lambda: show.EmbeddingDisplay(FACTOR).to_svg(names="ab"),
        ValueError,
        ["names", "trials", "got 2"],
    ),
    (
        lambda: show.Report.from_estimator("x", GOOD),
        TypeError,
        ["JEDIEstimator", "str"],
    ),
    (
        lambda: show.FreeRunDisplay.from_activity(COUNTS, COUNTS, dt="x"),
        TypeError,
        ["dt", "number > 0", "'x'"],
    ),
]


@pytest.mark.parametrize("i", range(len(CALLS)))
def test_bad_arguments_are_named(i):
    call, error, words = CALLS[i]
    with pytest.raises(error) as refusal:
        call()
    assert type(refusal.value) is error
    for word in words:
        assert word in str(refusal.value)


@pytest.mark.parametrize(
    ("module", "extra", "call"),
    [
        ("pynwb", "nwb", lambda: ds.load_nwb(__file__, bin_width=0.1)),
        ("pooch", "data", ds.fetch_center_out),
    ],
)
def test_a_missing_extra_is_named(monkeypatch, module, extra, call):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'need.* {module}.*"jedi-sklearn\[{extra}\]"'):
        call()


def test_every_public_name_refuses_something():
    code = " ".join(name for call, *_ in CALLS for name in call.__code__.co_names)
    for module in (base, ds, judge, show, pre):
        for name in module.__all__:
            assert name in code, name


@pytest.mark.parametrize(
    ("features", "error", "words"),
    [
        ("growthrate", ValueError, ["features", "'embedding'", 'mean "growth_rate"?']),
        (EigenspectrumAnalyzer, TypeError, ["features", "EigenspectrumAnalyzer()", "class"]),
        (["speed", "speed"], ValueError, ['two quantities with the name "speed', "dict"]),
        ([], ValueError, ["features is empty"]),
        (lambda rnns: np.full(N, np.nan), ValueError, ["NaN or infinite in 6 of 6"]),
        (lambda rnns: np.ones(3), ValueError, ["one row for each of the 6 trials", "(3,)"]),
    ],
)
def test_bad_features_of_a_permutation_test(refuses, features, error, words):
    groups = np.arange(N) // 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")

        def call(est):
            return judge.permutation_test(
                est, GOOD, groups % 2, conditions=np.arange(N) % 2, features=features
            )

        refuses(call, error, words)


@pytest.mark.parametrize(
    ("initial_state", "words"),
    [
        ("x", ["real numbers", "<U1"]),
        (np.ones(5) + 1j, ["real numbers", "complex128"]),
        ([None] * 4 + ["a"], ["real numbers", "objects"]),
    ],
)
def test_initial_states_that_are_no_numbers(refuses, initial_state, words):
    words = ["initial_state", *words]
    refuses(lambda est: est.inverse_transform([[1, 2]], initial_state), TypeError, words)


def test_seeds_that_are_none(refuses, est):
    for seed in (-1, 1.5, "x", np.random.default_rng(0)):
        copy = pickle.loads(pickle.dumps(est)).set_params(random_state=seed)
        words = ["random_state", "integer from 0", "numpy.random.RandomState", repr(seed)]
        refuses(lambda est: est.fit(GOOD), ValueError, words, who=copy)
