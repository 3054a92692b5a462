"""Facts about a few trials of a new task that extend the shared bases of a fitted model."""

import copy
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch

from jedi_sklearn import JEDIEstimator
from jedi_sklearn._blockwise import _likelier
from jedi_sklearn._warm_start import largest_of_noise
from jedi_sklearn.datasets import make_multitask, make_spike_counts
from jedi_sklearn.metrics import r2_by
from jedi_sklearn.preprocessing import place_neurons

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_OLD, N_NEW = 42, 8  # trials fitted, and those that extend; what follows is kept for tests
SMALL = {"dt": 0.025, "max_iter": 120, "tol": 1, "random_state": 0}
SIZES = {"n_neurons": 24, "n_timesteps": 40, "dt": 0.025, "random_state": 0}
N, D = 24, 5  # neurons, and components of the fit


def split(X, task, left_out="reach"):
    """Trials of the fit, of the same tasks to test, of the new task, and of it to test."""
    new = task == left_out
    return Bunch(
        old=X[~new][:N_OLD],
        old_test=X[~new][N_OLD:],
        new=X[new][:N_NEW],
        test=X[new][N_NEW:],
        y=task[~new][:N_OLD],
        y_new=task[new][:N_NEW],
    )


def used(est, X, fitted):
    """Whether trials use components that the extension added."""
    return (est.transform(X)[:, fitted.n_components_ :] != 0).any(axis=1)


@pytest.fixture(scope="module")
def task():
    data = make_multitask(80, **SIZES)
    parts = split(data.X, data.task)
    est = JEDIEstimator(D, 8, **SMALL).fit(parts.old, parts.y)
    return Bunch(**parts, est=est, more=est.extend(parts.new, parts.y_new))


def found(evidence, **rest):
    return Bunch(evidence=np.array([evidence]), **rest)


def test_trials_that_are_not_possible_are_those_of_the_earlier_model():
    expected = np.ones((1, 2, 3))
    for none in (np.nan, -np.inf):
        before, after = found(none, expected=expected), found(none, expected=2 * expected)
        assert_array_equal(_likelier(before, after).expected, expected)


def test_the_evidence_is_that_of_both_models():
    for rest in ({}, {"expected": np.ones((1, 2, 3))}):
        chosen = _likelier(found(-1.0, **rest), found(-2.0, **rest))
        assert_allclose(chosen.evidence, np.logaddexp(-1, -2))


# What is new


@pytest.mark.slow
def test_the_new_task_is_described_as_by_a_fit_to_it(task):
    whole = np.concatenate([task.old, task.new])
    trained = JEDIEstimator(D, 8, **SMALL).fit(whole)
    before, after = task.est.score(task.test), task.more.score(task.test)
    assert after > before + 0.05
    assert after > trained.score(task.test) - 0.01
    assert used(task.more, task.test, task.est).mean() > 0.6  # the fit knows some of them


def test_sizes_come_from_the_trials(task):
    n, d = task.more.rank_ - task.est.rank_, task.more.n_components_
    assert 1 <= n <= 4  # the teacher adds few directions
    assert D + 1 < d <= D + N_NEW
    assert len(task.more.get_feature_names_out()) == d
    assert task.more.embedding_.shape == (N_OLD + N_NEW, d)
    assert_array_equal(task.more.embedding_[N_OLD:], task.more.transform(task.new))


def test_conditions_are_appended(task):
    assert task.more.conditions_.tolist() == ["decision", "memory", "oscillation", "reach"]
    means = task.more.condition_embeddings_
    assert_array_equal(means[:3, :D], task.est.condition_embeddings_)
    assert not means[:3, D:].any()
    assert_allclose(means[3], task.more.embedding_[N_OLD:].mean(axis=0))


def test_a_known_condition_keeps_its_embedding(task):
    more = copy.deepcopy(task.more)
    more._add_conditions(np.array(["reach"]), [np.zeros((1, more.n_components_))])
    assert_array_equal(more.condition_embeddings_, task.more.condition_embeddings_)
    more._add_conditions(np.array([7]), [np.zeros((1, more.n_components_))])
    assert more.conditions_.tolist() == ["decision", "memory", "oscillation", "reach", 7]


@pytest.mark.slow
def test_many_noisy_trials(task):
    """From 16 trials on the guide is denoised; the number of components is that of raw trials."""
    data = make_multitask(120, observation_noise=0.5, **SIZES)
    parts = split(data.X, data.task)
    est = JEDIEstimator(D, 8, **SMALL).fit(parts.old)
    X = data.X[data.task == "reach"]
    more = est.extend(X[:20])
    assert more.score(X[20:]) > est.score(X[20:]) + 0.02


def test_labels_are_not_needed_after_a_fit_to_conditions(task):
    how = SMALL | {"max_iter": 4, "embedding": "condition", "initial_state": "generated"}
    est = JEDIEstimator(2, 4, **how).fit(task.old, task.y)
    with pytest.warns(UserWarning, match="keep the estimator that extend was called on"):
        more = est.extend(task.new[:2])
    assert more.conditions_.tolist() == est.conditions_.tolist()


@pytest.mark.slow
def test_neurons_that_no_new_trial_has_are_named(task):
    X = task.new[:2].copy()
    X[:, :, [3, 7]] = np.nan
    with pytest.warns(UserWarning, match=r"2 of 24 neurons were not recorded.*\(neuron 3, 7\)"):
        task.est.extend(X)


@pytest.mark.slow
def test_one_trial_is_enough(task):
    more = task.est.extend(task.new[:1])
    assert more.n_components_ == D + 1
    assert more.score(task.new[:1]) > task.est.score(task.new[:1])
    assert more.score(task.test) > task.est.score(task.test)
    assert more.conditions_.tolist() == task.est.conditions_.tolist()


@pytest.mark.slow
def test_more_trials_of_old_tasks_add_no_columns():
    """Where their noise lies is not a direction of activity."""
    data = make_multitask(80, **SIZES, observation_noise=0.3)
    est = JEDIEstimator(4, 8, **{**SMALL, "max_iter": 30}).fit(data.X[:64])
    with pytest.warns(UserWarning, match="describes . of these 8 trials as well"):
        more = est.set_params(max_iter=5).extend(data.X[64:72])
    assert more.rank_ == est.rank_


def test_noise_adds_no_components(task):
    """Copies of a trial that differ in noise alone say no more than one."""
    est = copy.deepcopy(task.est).set_params(max_iter=1)
    sd = task.est._model.observation.guide_variance.numpy() ** 0.5 * task.est.scale_
    X = np.repeat(task.new[:1], 6, axis=0)
    X += 0.9 * sd * np.random.default_rng(0).standard_normal(X.shape)
    assert est.extend(X).n_components_ == D + 1
    assert est.extend(task.new[:6]).n_components_ > D + 1


@pytest.mark.parametrize(("n", "p"), [(200, 40), (50, 50), (30, 90)])
def test_noise_exceeds_its_edge_in_one_case_of_a_hundred(n, p):
    rng = np.random.default_rng(0)
    draws = [np.linalg.norm(rng.standard_normal((n, p)), 2) ** 2 for _ in range(400)]
    assert 1 <= (np.array(draws) > largest_of_noise(n, p)).sum() <= 12


def test_forecasts_of_the_new_task(task):
    seen, later = task.test[:, :28], task.test[:, 28:]
    before, after = (r2_by(later, e.forecast(seen, 12)) for e in (task.est, task.more))
    assert after > before + 0.3
    seen, later = task.old_test[:, :28], task.old_test[:, 28:]
    before, after = (r2_by(later, e.forecast(seen, 12)) for e in (task.est, task.more))
    assert after > before - 0.02
    assert task.more.forecast(seen, 12, average=False).shape == later.shape


def test_neurons_not_seen_of_the_new_task(task):
    hidden = task.test.copy()
    hidden[:, :, ::3] = np.nan
    before, after = (
        r2_by(task.test[:, :, ::3], e.impute(hidden)[:, :, ::3]) for e in (task.est, task.more)
    )
    assert after > before + 0.05


# What stays


def test_old_answers_stay_bit_for_bit(task):
    X, d = task.old_test, task.est.n_components_
    assert not used(task.more, X, task.est).any()
    assert_array_equal(task.more.transform(X)[:, :d], task.est.transform(X))
    for name in ("score", "score_samples", "predict"):
        assert_array_equal(getattr(task.more, name)(X), getattr(task.est, name)(X))
    before, after = task.est.posterior(X), task.more.posterior(X)
    assert_array_equal(after.covariance[:, :d, :d], before.covariance)
    assert not after.covariance[:, d:].any()
    for name in ("initial_state", "r2", "converged"):
        assert_array_equal(after[name], before[name])


@pytest.mark.slow
def test_old_answers_stay_beside_new_trials(task):
    X = np.concatenate([task.test[:3], task.old_test, task.test[3:]])
    own = ~used(task.more, X, task.est)
    assert own[3:-9].all() and not own.all()
    assert_array_equal(task.more.predict(X)[own], task.est.predict(X)[own])
    assert_array_equal(task.more.score_samples(X)[own], task.est.score_samples(X)[own])


def test_old_embeddings_have_the_same_rnns_and_runs(task):
    E = task.more.embedding_[:5]
    assert_array_equal(task.more.inverse_transform(E), task.est.inverse_transform(E[:, :D]))
    now, before = task.more.generate_rnns(E), task.est.generate_rnns(E[:, :D])
    assert_allclose(now.to_dense(), before.to_dense(), atol=1e-12)
    assert_allclose(now.free_run(), before.free_run(), atol=1e-9)


def test_the_estimator_and_the_generators_of_the_user_stay(task):
    before, state = torch.random.get_rng_state(), copy.deepcopy(task.est._model.state_dict())
    est = copy.deepcopy(task.est).set_params(max_iter=3)
    kept = copy.deepcopy(vars(est))
    est.extend(task.new[:2])
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, value in est._model.state_dict().items():
        assert_array_equal(value, state[name])
    assert vars(est).keys() == kept.keys()
    assert_array_equal(est.embedding_, kept["embedding_"])


def test_free_runs_of_the_fit_have_the_same_components(task):
    est = copy.deepcopy(task.est).set_params(output="both", max_iter=3)
    more, X = est.extend(task.new[:2]), task.old[:3]
    before, found, d = est.transform(X), more.transform(X), est.n_components_
    assert_array_equal(found[:, :d], before[:, :d])
    assert_array_equal(found[:, more.n_components_ :], before[:, d:])
    for each in (est, more):
        each.set_params(output="trajectory")
    assert_array_equal(more.transform(X), est.transform(X))


@pytest.mark.slow
def test_files_and_pickles(task, tmp_path):
    task.more.save(tmp_path / "more.npz")
    X = np.concatenate([task.test[:3], task.old_test[:3]])
    for loaded in (
        JEDIEstimator.load(tmp_path / "more.npz"),
        pickle.loads(pickle.dumps(task.more)),
    ):
        assert_array_equal(loaded.transform(X), task.more.transform(X))
        assert_array_equal(loaded.predict(X), task.more.predict(X))
        assert_array_equal(loaded.forecast(X, 3), task.more.forecast(X, 3))


# Other fits


@pytest.mark.slow
@pytest.mark.parametrize("hypernetwork", ["linear", "mlp"])
def test_known_inputs(hypernetwork):
    data = make_multitask(80, **SIZES)
    new = data.task == "oscillation"
    parts, u = split(data.X, data.task, "oscillation"), data.inputs
    rest = {"initial_state": "generated", "hypernetwork": hypernetwork, "hidden_layer_sizes": (8,)}
    est = JEDIEstimator(4, 8, **SMALL, **rest).fit(parts.old, inputs=u[~new][:N_OLD])
    more = est.extend(parts.new, inputs=u[new][:N_NEW])
    before, after = (e.score(parts.test, inputs=u[new][N_NEW:]) for e in (est, more))
    assert after > before + 0.02
    how = {"inputs": u[~new][N_OLD:]}
    kept = ~(more.transform(parts.old_test, **how)[:, est.n_components_ :] != 0).any(axis=1)
    assert (~kept).sum() <= 1  # of 18, whose evidence speaks for the extension
    before, after = (e.predict(parts.old_test, **how)[kept] for e in (est, more))
    assert_array_equal(after, before)


@pytest.mark.slow
def test_counts():
    data = make_multitask(80, **SIZES)
    spikes = make_spike_counts(data, rate=25.0)
    parts, rates = split(spikes.X, data.task), split(spikes.rates, data.task)
    est = JEDIEstimator(5, 8, **SMALL).fit(parts.old)
    more = est.extend(parts.new)
    assert more.observation_ == "poisson"
    before, after = (r2_by(rates.test, e.predict(parts.test)) for e in (est, more))
    assert after > before + 0.02
    own = ~used(more, parts.old_test, est)
    assert own.mean() > 0.9
    assert_array_equal(more.predict(parts.old_test)[own], est.predict(parts.old_test)[own])


@pytest.mark.slow
def test_missing_samples(task):
    X = task.new.copy()
    X[np.random.default_rng(0).random(X.shape) < 0.2] = np.nan
    X[::2, 35:] = np.nan
    assert task.est.extend(X).score(task.test) > task.est.score(task.test) + 0.05


@pytest.mark.slow
def test_tasks_and_neurons_join_one_after_the_other(task):
    est = copy.deepcopy(task.more).set_params(max_iter=30)
    again = est.extend(task.test[:2] * 0.5)
    assert again.n_components_ > est.n_components_
    old = task.old_test[:4]
    assert_array_equal(again.predict(old), task.est.predict(old))
    twins = np.concatenate([task.new, task.new[:, :, :4]], axis=2)  # that do what others do
    joined = est.adapt(twins)
    X = place_neurons(np.concatenate([old, task.test[:4]]), slice(0, N), N + 4)
    assert_array_equal(joined.transform(X[:4])[:, :D], task.est.transform(old))
    assert_allclose(joined.transform(X[4:]), est.transform(task.test[:4]), atol=1e-6)
    run = joined.predict(X)
    assert r2_by(X[4:, :, :4], run[4:, :, N:]) > 0.8
    more = task.est.adapt(
        np.concatenate([task.old[:20], task.old[:20, :, :4]], axis=2), task.y[:20]
    )
    assert more.extend(twins).score(X[4:]) > more.score(X[4:])


# What is refused


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda X: (X[:, :, :20], None), "20 neurons"),
        (lambda X: (X, np.zeros(3)), "one label per trial"),
        (lambda X: (np.ones_like(X), None), "X is constant"),
    ],
)
def test_what_tells_nothing_is_refused(task, change, words):
    with pytest.raises(ValueError, match=words):
        task.est.extend(*change(task.new))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"connectivity": "low_rank"}, "can only extend a fit with connectivity='shared'"),
        ({"initial_state": "inferred"}, "initial_state='generated', but this one has 'inferred'"),
        ({"solver": "paper", "hypernetwork": "mlp"}, "perceptron with an affine path"),
    ],
)
def test_other_models_are_refused(task, how, words):
    how = {"initial_state": "generated", **how, "max_iter": 2}
    est = JEDIEstimator(2, 4, **{**SMALL, **how}).fit(task.old[:12])
    with pytest.raises(ValueError, match=words):
        est.extend(task.new)


def test_a_warm_start_is_refused(task):
    est = copy.deepcopy(task.more).set_params(warm_start=True)
    with pytest.raises(ValueError, match="cannot continue from a fit that was extended"):
        est.fit(task.old)


def test_training_that_diverges_is_reported(task):
    est = copy.deepcopy(task.est).set_params(learning_rate_init=1e3, max_iter=3)
    with pytest.warns(ConvergenceWarning, match="diverged"):
        more = est.extend(task.new)
    assert not used(more, task.new, task.est).any()
    with pytest.raises(FloatingPointError, match="Training diverged"):
        est.set_params(learning_rate_init=1e200).extend(task.new)


def test_training_that_still_gains_warns(task):
    est = copy.deepcopy(task.est).set_params(tol=0, max_iter=10)
    with pytest.warns(ConvergenceWarning, match="Raise max_iter") as warned:
        est.extend(task.new)
    assert {w.filename for w in warned} == {__file__}
