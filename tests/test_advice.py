"""Facts about what a verbose fit says: each line where it should, and only there."""

import numpy as np
import pytest

from jedi_sklearn import JEDIEstimator, _fit
from jedi_sklearn._advice import (
    describe_gap,
    describe_size,
    describe_spread,
    describe_starts,
)
from jedi_sklearn._components import SizeCurve

# short fits leave a few trials of the inference, or the training, short of convergence
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CURVE = SizeCurve((1, 2, 3, 4), np.array([0.1, 0.25, 0.5, 0.4]))
CODES = np.arange(40) % 4


def clusters(distance, n_dims=6, seed=0):
    """Trials near one of four points, by condition."""
    rng = np.random.RandomState(seed)
    return distance * rng.standard_normal((4, n_dims))[CODES] + rng.standard_normal((40, n_dims))


def test_a_size_that_was_chosen_is_explained():
    line = describe_size("rank", 3, CURVE, chosen=True)
    assert line.startswith("rank=3 (share of unseen neurons' variance predicted, by size: ")
    assert "1: 0.100, 2: 0.250, 3: 0.500, 4: 0.400" in line
    assert "more than" not in describe_size("rank", 9, CURVE, chosen=True)


def test_a_size_that_was_given_is_a_word_only_if_it_is_too_large():
    assert describe_size("n_components", 3, CURVE, chosen=False) is None
    assert describe_size("n_components", 1, CURVE, chosen=False) is None
    line = describe_size("n_components", 4, CURVE, chosen=False)
    assert line.startswith("n_components=4 exceeds the 3 that help to predict unseen neurons")


def test_a_gap_to_the_training_trials_is_a_word_from_a_tenth_or_a_quarter_of_r2():
    line = describe_gap(0.4, 0.9)
    assert "R2 is 0.400, but 0.900 on the training trials" in line
    assert describe_gap(0.79, 0.9)
    assert describe_gap(0.85, 0.9) is None
    assert describe_gap(0.95, 0.9) is None  # better than in training
    assert "D2 is 0.083, but 0.121 on" in describe_gap(0.083, 0.121, "D2")
    assert describe_gap(0.095, 0.121) is None
    assert describe_gap(-0.05, -0.01) is None  # of a fit that explains nothing
    assert describe_gap(-5.0, None) is None  # of a fit that was not verbose


def test_a_narrow_spread_of_unseen_trials_is_a_word():
    training = np.random.RandomState(0).standard_normal((50, 3)) * [3, 2, 1]
    assert describe_spread(training[:20], training) is None
    line = describe_spread(0.5 * training, training)
    assert "0.50 times the SD of those of the training trials" in line
    assert describe_spread(0.85 * training, training) is None
    assert describe_spread(0.75 * training, training)
    assert describe_spread(2.0 * training, training) is None  # wider is another story
    assert describe_spread(training[:9] * 0, training) is None  # too few to tell
    assert describe_spread(training[:10] * 0, training)
    assert describe_spread(training * [0.1, 1, 1], training) is None  # of most components


def test_starts_that_decode_better_than_embeddings_are_a_word():
    near, far = clusters(0.0), clusters(5.0, seed=1)
    line = describe_starts(far, near, CODES)
    assert line.startswith("The initial states distinguish the conditions better")
    assert "accuracy 1.00 against 0." in line and 'initial_state="generated"' in line
    assert describe_starts(near, far, CODES) is None
    assert describe_starts(far, far, CODES) is None
    assert describe_starts(near, clusters(0.0, seed=2), CODES) is None


def test_starts_are_no_word_without_conditions_enough():
    near, far = clusters(0.0), clusters(5.0, seed=1)
    assert describe_starts(far, near, None) is None
    assert describe_starts(far, near, np.zeros(40, int)) is None
    assert describe_starts(far[:15], near[:15], CODES[:15]) is None  # three of the last
    assert describe_starts(far[:16], near[:16], CODES[:16])


def test_a_verbose_fit_compares_starts_that_are_no_part_of_the_embedding(
    capsys, monkeypatch, make_model
):
    model, seen = make_model(16, 15, n_neurons=8, rank=2, noise=0.1), []
    names = np.array(["a", "b"])[np.arange(16) % 2]
    monkeypatch.setattr(_fit, "describe_starts", lambda *a: seen.append(a) or "said of starts")
    est = JEDIEstimator(2, 2, dt=model.dt, max_iter=3, tol=1.0, random_state=0)
    est.set_params(initial_state="observed").fit(model.X, names)
    est.set_params(initial_state="generated", verbose=True).fit(model.X, names)
    assert not seen and "said of starts" not in capsys.readouterr().out
    est.set_params(initial_state="observed").fit(model.X, names)
    ((starts, embedding, codes),) = seen
    np.testing.assert_allclose(starts, est.to_states(model.X[:, 0]), atol=1e-9)
    np.testing.assert_array_equal(embedding, est.embedding_)
    np.testing.assert_array_equal(codes, np.arange(16) % 2)
    assert "[JEDI] said of starts\n" in capsys.readouterr().out


def test_a_verbose_model_names_trials_that_it_describes_much_worse(capsys, make_model):
    model = make_model(24, 20, n_neurons=12, noise=0.1)
    est = JEDIEstimator(2, 4, dt=model.dt, max_iter=5, tol=1.0, random_state=0)
    other = np.random.RandomState(0).permutation(model.X[0].T).T[np.newaxis] * -1
    est.fit(model.X).score(other)
    assert "[JEDI]" not in capsys.readouterr().out
    est.set_params(verbose=True).score(other)
    assert "R2 is" not in capsys.readouterr().out  # the fit did not ask how well it does
    est.fit(model.X)
    capsys.readouterr()
    est.score(model.X)
    assert "R2 is" not in capsys.readouterr().out
    est.score(other)
    assert "on the training trials: either the model has learned" in capsys.readouterr().out
    est.set_params(verbose=False).score(other)
    assert "R2 is" not in capsys.readouterr().out


def test_a_verbose_model_names_embeddings_that_vary_too_little(capsys, make_model):
    model = make_model(24, 20, n_neurons=12, noise=0.1)
    est = JEDIEstimator(2, 4, dt=model.dt, max_iter=5, tol=1.0, random_state=0).fit(model.X)
    same = np.repeat(model.X[:1], 12, axis=0)
    est.transform(same)
    assert "[JEDI]" not in capsys.readouterr().out
    est.set_params(verbose=True).transform(model.X)
    assert "times the SD" not in capsys.readouterr().out
    est.transform(same)
    assert "Embeddings of these trials have 0.00 times the SD" in capsys.readouterr().out
