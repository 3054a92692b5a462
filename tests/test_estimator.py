"""Facts about JEDIEstimator: known dynamics recovered, and the scikit-learn contract kept."""

import pickle
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest
import sklearn
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import Bunch

from jedi_sklearn import JEDIEstimator, RNNBatch
from jedi_sklearn._model import Model
from jedi_sklearn._rollout import simulate
from jedi_sklearn.datasets import make_initial_states, make_multitask
from jedi_sklearn.preprocessing import cut_epochs, resample_time, smooth_counts

# short fits leave a few trials of the inference, or the training, short of convergence
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def r2(X, run):
    """scikit-learn's R2 over all trials and samples."""
    n = X.shape[-1]
    return r2_score(X.reshape(-1, n), run.reshape(-1, n), multioutput="variance_weighted")


def numpy_global_state():
    return np.random.get_state()[1].copy()  # noqa: NPY002


def classify(X, y, **changes):
    """Mean accuracy of logistic regression, 3 folds."""
    return cross_val_score(LogisticRegression(), X, y, cv=3, **changes).mean()


def run_of(model, x0, n_timesteps):
    """Free runs of the RNNs of a known model."""
    weights = model.hyper(torch.as_tensor(model.c))
    run = simulate(
        model.hyper.connectivity, weights, torch.as_tensor(x0), n_timesteps, model.alpha
    )
    return run.transpose(0, 1).numpy()


def started(model, seed=1):
    """Where a known model starts if its embeddings say so, by an affine map."""
    maps = np.random.RandomState(seed).standard_normal((model.c.shape[1], model.rank))
    return np.sqrt(len(model.P) / model.rank) * model.c @ maps @ model.P.T


# A known model is recovered


@pytest.fixture(scope="module", params=["generated", "observed"])
def known(request, known):
    """Noise-free trials of a known model that start where the embeddings say, or anywhere."""
    X = known.X
    if request.param == "generated":
        X = run_of(known, started(known), X.shape[1])
    return Bunch(**(known | {"X": X, "initial_state": request.param}))


@pytest.fixture(scope="module")
def recovered(known):
    """Default recipe on the 30 training trials of `known`, in the units of its RNNs."""
    est = JEDIEstimator(2, 2, initial_state=known.initial_state, scale=None, dt=known.dt)
    return est.set_params(random_state=0).fit(known.X[:30])


@pytest.mark.long
def test_noise_free_trials_of_a_model_are_reproduced(known, recovered):
    assert recovered.score(known.X[:30]) > 0.999
    assert recovered.score(known.X[30:]) > 0.999  # never seen
    assert recovered.score_samples(known.X[30:]).min() > 0.99


def test_the_spectrum_of_a_known_model_is_recovered(known, recovered):
    values = recovered.dynamics(known.X).eigenvalues()
    assert_allclose(values, known.rnns.eigenvalues(), atol=0.03)


def test_the_weights_of_a_known_model_are_recovered_where_activity_goes(known, recovered):
    J = recovered.dynamics(known.X[30:]).to_dense()
    assert_allclose(
        known.P.T @ J @ known.P, known.P.T @ known.rnns.to_dense()[30:] @ known.P, atol=0.05
    )


def test_embeddings_are_an_affine_image_of_the_true_ones(known, recovered):
    design = np.column_stack([np.ones(40), recovered.transform(known.X)])
    fit = design @ np.linalg.lstsq(design, known.c, rcond=None)[0]
    assert r2_score(known.c, fit) > 0.99


def test_a_recovered_model_extrapolates_in_time(known, recovered):
    longer = run_of(known, known.X[:, 0], 120)  # the same trials, run on
    assert_allclose(longer[:, :50], known.X)
    E = recovered.transform(known.X[30:])
    x0 = None if known.initial_state == "generated" else known.X[30:, 0]
    run = recovered.inverse_transform(E, x0, n_timesteps=120)
    assert r2(longer[30:, 50:], run[:, 50:]) > 0.99


@pytest.mark.long
def test_the_paper_solver_gets_nowhere_near_in_more_steps(known, recovered):
    paper = clone(recovered).set_params(solver="paper", max_iter=400).fit(known.X[:30])
    least = {"observed": 0.2, "generated": 0.1}[known.initial_state]
    assert least < paper.score(known.X[:30]) < recovered.score(known.X[:30]) - 0.1
    assert paper.loss_curve_[0] > 0.5 > recovered.loss_curve_[0]


# Gauge


def canonical(E, **tolerance):
    """Whether embeddings have zero mean and no correlations, falling SDs and 1 for the last."""
    cov = np.cov(E.T, bias=True)
    assert_allclose(E.mean(axis=0), 0, atol=1e-9)
    assert_allclose(cov, np.diag(np.diag(cov)), **tolerance)
    assert_allclose(cov[-1, -1], 1, **tolerance)
    return (np.diff(np.diag(cov)) <= 0).all()


def test_embeddings_have_zero_mean_no_correlations_and_a_last_sd_of_1(fitted, recovered):
    for est in (fitted, recovered):
        assert canonical(est.embedding_, atol=1e-8)


def test_signs_make_the_largest_entry_positive(fitted):
    E = fitted.embedding_
    assert (E[np.abs(E).argmax(axis=0), np.arange(E.shape[1])] > 0).all()


def effects_of(est, x0=None):
    """How much an SD of each component moves the activity, (n_components, n_components)."""
    E, eps, moves = est.embedding_, 1e-4, []
    for step in eps * np.diag(E.std(axis=0)):
        above, below = (est.inverse_transform(E + way * step, x0) for way in (1, -1))
        moves.append((above - below).ravel() / (2 * eps))
    return np.stack(moves) @ np.stack(moves).T


@pytest.mark.parametrize("name", ["fitted", "observing"])
def test_components_are_ordered_by_how_much_they_move_the_activity(request, multitask, name):
    est = request.getfixturevalue(name)
    effect = effects_of(est, None if name == "fitted" else multitask.X[:15, 0])
    assert (np.diff(np.diag(effect)) < 0).all()
    size = np.sqrt(np.diag(effect))
    assert_allclose(effect / np.outer(size, size), np.eye(len(size)), atol=1e-3)


@pytest.mark.parametrize("name", ["fitted", "observing"])
def test_the_sd_of_a_component_is_the_fourth_root_of_its_effect(request, multitask, name):
    est = request.getfixturevalue(name)
    effect = np.diag(effects_of(est, None if name == "fitted" else multitask.X[:15, 0]))
    assert_allclose(est.embedding_.std(axis=0), (effect / effect[-1]) ** 0.25, rtol=1e-3)
    assert est.embedding_.std(axis=0)[0] > 1.1  # some move more than others


@pytest.mark.parametrize("changes", [{"batch_size": 10}, {"hypernetwork": "mlp"}], ids=str)
@pytest.mark.long
def test_seeds_agree_on_what_can_be_known(known, changes):
    first, other = (
        JEDIEstimator(
            2,
            2,
            scale=None,
            initial_state=known.initial_state,
            dt=known.dt,
            max_iter=150,
            hidden_layer_sizes=(4,),
            tol=1.0,
            random_state=seed,
            **changes,
        ).fit(known.X[:30])
        for seed in (0, 1)
    )
    assert np.abs(first.embedding_ - other.embedding_).max() > 0  # the seed did something
    values = first.dynamics(known.X[30:]).eigenvalues()
    assert_allclose(values, other.dynamics(known.X[30:]).eigenvalues(), atol=0.15)
    for a, b in zip(first.embedding_.T, other.embedding_.T, strict=True):
        assert np.corrcoef(a, b)[0, 1] > 0.98  # sign and order included


# Every combination fits


@pytest.mark.parametrize("initial_state", ["generated", "observed"])
@pytest.mark.parametrize("embedding", ["trial", "condition"])
@pytest.mark.parametrize("hypernetwork", ["linear", "mlp"])
@pytest.mark.parametrize("connectivity", ["shared", "low_rank", "full_rank"])
@pytest.mark.slow
def test_every_form_of_the_model_fits(
    make_model, connectivity, hypernetwork, embedding, initial_state
):
    codes = np.arange(24) % 6
    model = make_model(24, 40, n_neurons=12, rank=3, conditions=codes, noise=0.05)
    if initial_state == "generated":  # by the embeddings, with the same noise
        model.X += run_of(model, started(model), 40) - model.free_run
    est = JEDIEstimator(
        2,
        3,
        connectivity=connectivity,
        hypernetwork=hypernetwork,
        hidden_layer_sizes=(5,),
        embedding=embedding,
        initial_state=initial_state,
        dt=model.dt,
        max_iter=40,
        random_state=0,
    ).fit(model.X[:18], codes[:18])
    assert est.score(model.X[18:]) > 0.9  # new trials of the same conditions
    rnns = est.dynamics(model.X[18:])
    assert rnns.connectivity == connectivity
    assert est.rank_ == rnns.rank == (12 if connectivity == "full_rank" else 3)
    assert est.condition_embeddings_.shape == (6, 2)
    assert canonical(est.embedding_, atol=1e-6)


# The contract of transform


def test_transform_of_the_training_trials_is_embedding_(known, recovered):
    assert_allclose(recovered.transform(known.X[:30]), recovered.embedding_, atol=1e-4)


@pytest.mark.slow
def test_a_trial_alone_among_others_and_reordered(fitted, multitask):
    X = multitask.X
    together = fitted.transform(X)
    assert_allclose(fitted.transform(X[::-1])[::-1], together, atol=1e-6)
    for k in (0, 17, 39):
        assert_allclose(fitted.transform(X[k : k + 1])[0], together[k], atol=1e-6)
    assert_array_equal(fitted.transform(X), together)


@pytest.mark.slow
def test_fit_transform_is_fit_then_transform(small, multitask):
    X, y = multitask.X[:20], multitask.task[:20]
    est = small(max_iter=15)
    expected = small(max_iter=15).fit(X, y).transform(X)
    assert_allclose(est.fit_transform(X, y), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "changes", [{}, {"hypernetwork": "mlp", "batch_size": 6, "early_stopping": True}], ids=str
)
@pytest.mark.long
def test_two_fits_with_one_seed_are_bit_identical(small, multitask, changes):
    X = multitask.X[:20, :25]
    torch_state, numpy_state = torch.random.get_rng_state(), numpy_global_state()
    first, again = (small(max_iter=20, **changes).fit(X) for _ in range(2))
    assert_array_equal(first.embedding_, again.embedding_)
    assert_array_equal(first.transform(multitask.X[30:]), again.transform(multitask.X[30:]))
    assert first.loss_curve_ == again.loss_curve_
    assert first.validation_curve_ == again.validation_curve_
    # and the global generators were not touched
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert_array_equal(numpy_global_state(), numpy_state)


@pytest.mark.slow
def test_a_noise_free_fit_is_deterministic_without_a_seed(small, known):
    first, again = (
        small(n_components=2, rank=2, max_iter=15, random_state=None).fit(known.X[:15])
        for _ in range(2)
    )
    assert_allclose(first.embedding_, again.embedding_, atol=1e-5)


# Labels


@pytest.fixture(scope="module")
def more_trials():
    return make_multitask(80, n_neurons=30, n_timesteps=50, dt=0.02, random_state=0)


@pytest.mark.slow
def test_labels_leave_no_trace_in_the_embeddings(small, more_trials):
    fake = np.random.RandomState(0).permutation(np.arange(80) % 4)
    E = small(n_components=8).fit_transform(more_trials.X, fake)
    assert classify(E, more_trials.task) > 0.65
    assert classify(E, fake) < 0.45  # chance is 0.25


@pytest.mark.slow
def test_a_pipeline_classifies_trials_it_has_not_seen(small, more_trials):
    pipeline = make_pipeline(small(n_components=8, max_iter=25), LogisticRegression())
    assert cross_val_score(pipeline, more_trials.X, more_trials.task, cv=2).mean() > 0.55


@pytest.mark.slow
def test_labels_are_taken_from_y_or_conditions_and_conditions_win(small, multitask):
    X, task = multitask.X[:20], multitask.task[:20]
    other = np.arange(20) % 3
    by_y, by_name = small(max_iter=10).fit(X, task), small(max_iter=10).fit(X, conditions=task)
    both = small(max_iter=10).fit(X, other, conditions=task)
    for est in (by_y, by_name, both):
        assert_array_equal(est.conditions_, np.unique(task))
        assert_array_equal(est.embedding_, by_y.embedding_)
    for i, label in enumerate(by_y.conditions_):
        assert_allclose(by_y.condition_embeddings_[i], by_y.embedding_[task == label].mean(axis=0))


@pytest.mark.slow
def test_a_continuous_y_is_ignored(small, multitask):
    X = multitask.X[:20]
    target = np.linspace(0.05, 1, 20) ** 2
    est, plain = small(max_iter=10).fit(X, target), small(max_iter=10).fit(X)
    assert_array_equal(est.embedding_, plain.embedding_)
    assert not hasattr(est, "conditions_") and not hasattr(est, "condition_embeddings_")


def test_one_hot_labels_are_no_conditions(small):
    X = np.random.RandomState(0).standard_normal((12, 15, 10)).cumsum(axis=1)
    y = np.arange(12) % 3
    with pytest.warns(UserWarning, match=r"y of shape \(12, 3\) looks like one-hot .*argmax"):
        est = small(max_iter=2).fit(X, np.eye(3)[y])
    assert not hasattr(est, "conditions_")


@pytest.mark.parametrize(
    ("n_timesteps", "times", "advice"),
    [
        (3000, {}, r"3000 samples, 300 times tau .*cut_epochs.* X\[:, :2880\]\.reshape\(-1, 240"),
        (970, {}, r"raise tau"),
        (960, {}, None),  # 24 stretches of four time constants
        (3000, {"tau": 0.4}, None),
        (190, {"dt": 0.2}, None),  # of long bins it is their number that counts
        (970, {"inputs": True}, None),  # they tell the runs more as they go
    ],
)
@pytest.mark.slow
def test_trials_too_long_for_one_embedding(small, stopped_at, n_timesteps, times, advice):
    X = np.random.RandomState(0).standard_normal((3, n_timesteps, 3)).cumsum(axis=1)
    inputs = X[:, :, :1] if times.get("inputs") else None
    times = {"dt": 0.01} | {name: value for name, value in times.items() if name != "inputs"}
    warned = pytest.warns(UserWarning, match=advice) if advice else nullcontext()
    with warned, stopped_at(0):  # before the first step is judged
        small(n_components=1, rank=1, **times).fit(X, inputs=inputs)


@pytest.mark.parametrize("kind", [float, int, object])
@pytest.mark.slow
def test_a_y_of_many_whole_numbers_is_ignored_with_a_warning(small, multitask, kind):
    X = multitask.X[:30, :20]
    times = np.random.RandomState(0).permutation(np.arange(231, 291, 2)).astype(kind)
    plain = small(max_iter=5).fit(X)
    with pytest.warns(UserWarning, match=r"y holds 30 different numbers.*pass conditions=y"):
        est = small(max_iter=5).fit(X, times)
    assert_array_equal(est.embedding_, plain.embedding_)
    assert not hasattr(est, "conditions_")
    assert_array_equal(small(max_iter=5).fit(X, conditions=times).conditions_, np.sort(times))
    with pytest.raises(ValueError, match="y was treated as many numbers: pass conditions=y"):
        small(embedding="condition").fit(X, times)


@pytest.mark.parametrize("kind", [float, object])
@pytest.mark.slow
def test_conditions_that_are_values_of_a_quantity_are_pointed_out(small, multitask, kind):
    X = multitask.X[:24, :20]
    times = (0.2 + np.arange(24) / 70).astype(kind)
    times[:3] = times[3]
    with pytest.warns(UserWarning, match=r"conditions holds 21 different numbers for 24 trials"):
        est = small(max_iter=5).fit(X, conditions=times)
    assert len(est.conditions_) == 21  # as asked for
    for few in (np.round(times.astype(float), 1), times.astype(str), 1000 + np.arange(24)):
        small(max_iter=5).fit(X, conditions=few)  # without a word
    small(max_iter=5).fit(X[:20], conditions=np.arange(20) / 7)  # angles of averages, say


@pytest.mark.parametrize(
    "y",
    [
        np.arange(20),
        np.arange(30) // 2,
        np.arange(30).astype(str),
        np.pi * (np.arange(30) % 15),
        np.array(np.arange(30) % 4, dtype=object),
    ],
    ids=["few trials", "pairs", "names", "angles", "objects"],
)
@pytest.mark.slow
def test_labels_that_are_no_quantity_are_taken(small, multitask, y):
    est = small(max_iter=5).fit(multitask.X[: len(y), :20], y)
    assert est.conditions_.tolist() == np.unique(y).tolist()


def test_a_continuous_y_in_an_object_column_is_ignored(small, multitask):
    target = (np.linspace(0.05, 1, 30) ** 2).astype(object)
    assert not hasattr(small(max_iter=5).fit(multitask.X[:30], target), "conditions_")


@pytest.mark.slow
def test_a_refit_without_labels_forgets_the_old_ones(small, multitask):
    est = small(max_iter=10).fit(multitask.X[:20], multitask.task[:20])
    est.fit(multitask.X[:20])
    assert not hasattr(est, "conditions_") and not hasattr(est, "condition_embeddings_")


@pytest.mark.slow
def test_conditions_are_routed_through_a_pipeline(small, multitask):
    X, task = multitask.X[:20], multitask.task[:20]
    with sklearn.config_context(enable_metadata_routing=True):
        est = small(max_iter=10).set_fit_request(conditions=True)
        pipeline = make_pipeline(est, LogisticRegression())
        pipeline.fit(X, np.arange(20) % 2, conditions=task)
    assert_array_equal(pipeline[0].conditions_, np.unique(task))
    assert_array_equal(pipeline[1].classes_, [0, 1])


# Units


@pytest.mark.parametrize("scale", ["global", "neuron"])
@pytest.mark.long
def test_units_and_offsets_of_the_data_do_not_matter(small, multitask, scale):
    X = multitask.X[:12, :30]
    offsets = 50 * np.random.RandomState(0).standard_normal(30)
    plain = small(max_iter=15, scale=scale).fit(X)
    moved = small(max_iter=15, scale=scale).fit(100 * X + offsets)
    assert moved.score(100 * X + offsets) == pytest.approx(plain.score(X), abs=1e-3)
    assert_allclose(moved.predict(100 * X + offsets), 100 * plain.predict(X) + offsets, atol=5.0)
    assert_allclose(moved.scale_, 100 * plain.scale_)
    assert_allclose(moved.mean_, 100 * plain.mean_ + offsets)


@pytest.mark.long
def test_each_neuron_can_have_its_own_unit(small, multitask):
    X = multitask.X[:12, :30]
    units = np.geomspace(0.01, 100, 30)
    plain = small(max_iter=15, scale="neuron").fit(X)
    scaled = small(max_iter=15, scale="neuron").fit(units * X)
    assert scaled.score(units * X) == pytest.approx(plain.score(X), abs=1e-3)
    assert_allclose(scaled.scale_, units * X.std(axis=(0, 1)))


def test_without_scaling_the_rnns_live_in_the_units_of_the_data(known, recovered):
    assert_array_equal(recovered.mean_, 0)
    assert_array_equal(recovered.scale_, 1)
    x0 = recovered.posterior(known.X[:5]).initial_state
    run = recovered.dynamics(known.X[:5]).simulate(x0, 50)
    assert_allclose(run, recovered.predict(known.X[:5]), rtol=1e-9)


@pytest.mark.slow
def test_a_silent_neuron_stays_silent(small, multitask):
    X = multitask.X[:20].copy()
    X[:, :, 7] = 3.5
    for scale in ("global", "neuron"):
        with pytest.warns(UserWarning, match=r"1 of 30 neurons do not change in X \(neuron 7\)"):
            est = small(max_iter=10, scale=scale).fit(X)
        assert np.isfinite(est.scale_).all() and (est.scale_ > 0).all()
        assert_allclose(est.predict(X)[:, :, 7], 3.5, atol=0.3)


# Scores and free runs


@pytest.mark.parametrize("scale", ["global", None])
@pytest.mark.slow
def test_the_score_is_scikit_learns(small, multitask, scale):
    X = multitask.X
    est = small(max_iter=10, scale=scale).fit(X[:30])
    assert est.score(X[30:]) == pytest.approx(r2(X[30:], est.predict(X[30:])), abs=1e-9)


@pytest.mark.slow
def test_the_score_counts_scaled_neurons_alike(small, multitask):
    X = multitask.X * np.geomspace(0.1, 10, 30)
    est = small(max_iter=10, scale="neuron").fit(X[:30])
    scaled = [est.to_states(a) for a in (X[30:], est.predict(X[30:]))]
    assert est.score(X[30:]) == pytest.approx(r2(*scaled), abs=1e-9)


def test_scores_of_trials_pool_to_the_score(fitted, multitask):
    X = multitask.X[:30]
    weight = np.square(X - fitted.mean_).sum(axis=(1, 2))
    pooled = 1 - ((1 - fitted.score_samples(X)) * weight).sum() / weight.sum()
    assert pooled == pytest.approx(fitted.score(X), abs=1e-9)


def test_a_scrambled_trial_scores_worse(fitted, multitask):
    X = multitask.X[30:].copy()
    before = fitted.score_samples(X)
    X[3] = np.random.RandomState(0).permutation(X[3])
    after = fitted.score_samples(X)
    assert after[3] < before[3] - 0.1
    assert_allclose(np.delete(after, 3), np.delete(before, 3), atol=1e-9)


@pytest.fixture(scope="module")
def observing(small, multitask):
    """As `fitted`, with initial states that are the first samples."""
    return small(max_iter=8, initial_state="observed").fit(multitask.X[:15])


@pytest.mark.parametrize("hypernetwork", ["linear", "mlp"])
@pytest.mark.parametrize("connectivity", ["shared", "low_rank", "full_rank"])
@pytest.mark.slow
def test_predict_is_the_inverse_of_transform(make_model, tmp_path, connectivity, hypernetwork):
    model = make_model(24, 15, n_neurons=8, rank=2)
    trials = run_of(model, started(model), 15)
    est = JEDIEstimator(
        2,
        2,
        connectivity=connectivity,
        hypernetwork=hypernetwork,
        hidden_layer_sizes=(5,),
        warm_start=True,
        dt=model.dt,
        max_iter=5,
        tol=1.0,
        random_state=0,
    ).fit(trials[:12])
    est.save(tmp_path / "model.npz")
    load = JEDIEstimator.load
    for make in (lambda: est, lambda: load(tmp_path / "model.npz"), lambda: est.fit(trials[6:18])):
        one = make()
        for X in (trials[18:], trials[18:, 4:11]):
            E = one.transform(X)
            run = one.inverse_transform(E, n_timesteps=X.shape[1])
            assert_allclose(run, one.predict(X), atol=1e-9)
            assert_allclose(run[:, 0], one.posterior(X).initial_state, atol=1e-9)
            states = one.generate_rnns(E, n_timesteps=X.shape[1]).free_run()
            assert_allclose(states, one.to_states(run), atol=1e-9)
        assert one.inverse_transform(E).shape == (6, 15, 8)
    assert np.ptp(run[:, 0], axis=0).min() > 1e-3  # each trial has its own start


def test_a_given_start_wins_over_a_generated_one(fitted, multitask):
    E = fitted.transform(multitask.X[30:])
    x0 = multitask.X[30:, 0]
    assert_allclose(fitted.inverse_transform(E, x0)[:, 0], x0, atol=1e-12)
    assert_allclose(fitted.inverse_transform(E, x0[3])[:, 0], np.tile(x0[3], (10, 1)), atol=1e-12)


@pytest.mark.slow
def test_observed_starts_are_the_first_samples(observing, multitask):
    X = multitask.X[30:]
    E = observing.transform(X)
    assert_allclose(observing.inverse_transform(E, X[:, 0]), observing.predict(X), atol=1e-9)
    assert_allclose(observing.predict(X)[:, 0], X[:, 0], atol=1e-12)
    assert_allclose(observing.posterior(X).initial_state, X[:, 0], atol=1e-12)
    one = observing.inverse_transform(E, X[0, 0], n_timesteps=7)
    assert one.shape == (10, 7, 30)
    assert_allclose(one[0], observing.predict(X)[0, :7], atol=1e-9)
    default = observing.inverse_transform(E)  # from the mean initial state
    assert default.shape == (10, observing.n_timesteps_, 30)
    assert_allclose(default[:, 0], np.tile(multitask.X[:15, 0].mean(axis=0), (10, 1)))


@pytest.mark.parametrize(
    ("changes", "generated"),
    [
        ({}, True),
        ({"embedding": "condition"}, False),
        ({"inputs": True}, False),
        ({"inputs": True, "initial_state": "generated"}, True),
        ({"embedding": "condition", "initial_state": "generated"}, True),
    ],
    ids=str,
)
@pytest.mark.slow
def test_starts_are_generated_unless_inputs_or_conditions_are_to_say(
    small, multitask, changes, generated
):
    X, task, changes = multitask.X[:12, :20], multitask.task[:12], dict(changes)
    inputs = X[:, :, :2] if changes.pop("inputs", False) else None
    est = small(n_components=2, max_iter=2, **changes).fit(X, task, inputs=inputs)
    own = est.predict(X, inputs=inputs)
    from_embeddings = est.inverse_transform(est.transform(X, inputs=inputs), inputs=inputs)
    assert np.allclose(from_embeddings, own, atol=1e-9) == generated
    assert not np.allclose(own[:, 0], X[:, 0], atol=1e-3)  # noisy


@pytest.mark.slow
def test_conditions_that_differ_in_nothing_but_their_start_are_decoded():
    data = make_initial_states(
        60, n_conditions=2, n_neurons=30, n_timesteps=40, dt=0.02, observation_noise=0.5
    )
    est = JEDIEstimator(2, 5, dt=0.02, max_iter=20, tol=1.0, random_state=0).fit(data.X[:30])
    classifier = LogisticRegression().fit(est.embedding_, data.condition[:30])
    assert classifier.score(est.transform(data.X[30:]), data.condition[30:]) == 1
    # and runs start where trials do, better than their first samples know
    starts, truth = est.posterior(data.X[30:]).initial_state, data.free_run[30:, 0]
    error = np.square(starts - truth).mean()
    assert error < 0.3 * np.square(data.X[30:, 0] - truth).mean()
    assert error < 0.5 * truth.var(axis=0).mean()


@pytest.mark.slow
def test_the_rnns_run_as_the_estimator_predicts(fitted, multitask):
    X = multitask.X[30:]
    rnns = fitted.dynamics(X)
    assert isinstance(rnns, RNNBatch) and len(rnns) == 10
    assert (rnns.dt, rnns.tau) == (fitted.dt, fitted.tau)
    run = rnns.simulate(fitted.to_states(fitted.posterior(X).initial_state), 50)
    assert_allclose(fitted.to_activity(run), fitted.predict(X), atol=1e-9)
    again = fitted.generate_rnns(fitted.transform(X))
    assert_array_equal(again.to_dense(), rnns.to_dense())


def test_output_dynamics_makes_transform_return_the_rnns(fitted, multitask):
    est = pickle.loads(pickle.dumps(fitted)).set_params(output="dynamics")
    rnns = est.transform(multitask.X[30:])
    assert_array_equal(rnns.to_dense(), fitted.dynamics(multitask.X[30:]).to_dense())


@pytest.fixture(scope="module")
def inferring(small, multitask):
    """As `fitted`, with initial states that are inferred too."""
    est = small(max_iter=8, initial_state="inferred", scale="neuron")
    return est.fit(multitask.X[:15])


@pytest.mark.parametrize("name", ["fitted", "inferring", "observing"])
@pytest.mark.slow
def test_free_runs_of_the_rnns_are_the_prediction(request, multitask, name):
    est, X = request.getfixturevalue(name), multitask.X[30:]
    rnns = est.dynamics(X)
    assert rnns.n_timesteps == 50
    assert_allclose(est.to_activity(rnns.free_run()), est.predict(X), atol=1e-9)


def test_rnns_know_the_initial_states_that_were_inferred(inferring, multitask):
    X = multitask.X[30:]
    rnns, x0 = inferring.dynamics(X), inferring.posterior(X).initial_state
    assert_allclose(inferring.to_activity(rnns.initial_states), x0, atol=1e-9)
    assert np.abs(x0 - X[:, 0]).max() > 0.01


def test_rnns_of_shorter_trials_run_as_long_as_these(fitted, multitask):
    X = multitask.X[30:, :35]
    rnns = fitted.dynamics(X)
    assert rnns.n_timesteps == 35
    assert_allclose(fitted.to_activity(rnns.free_run()), fitted.predict(X), atol=1e-9)


@pytest.mark.parametrize("name", ["fitted", "observing"])
@pytest.mark.parametrize("start", ["default", "common", "each"])
@pytest.mark.slow
def test_generated_rnns_run_as_the_inverse_transform(request, multitask, name, start):
    est, X = request.getfixturevalue(name), multitask.X[30:]
    x0 = {"default": None, "common": X[0, 0], "each": X[:, 0]}[start]
    n_timesteps = None if start == "default" else 20
    E = est.transform(X)
    rnns = est.generate_rnns(E, x0, n_timesteps)
    assert rnns.n_timesteps == (20 if n_timesteps else 50)
    run = est.to_activity(rnns.free_run())
    assert_allclose(run, est.inverse_transform(E, x0, n_timesteps), atol=1e-9)


def test_rnns_can_be_changed_without_changing_the_model(fitted, multitask):
    before = fitted.predict(multitask.X[:2])
    rnns = fitted.dynamics(multitask.X[:2])
    for a in (rnns.U, rnns.V, rnns.core, rnns.bias):
        a[:] = 0
    assert_array_equal(fitted.predict(multitask.X[:2]), before)


def test_embeddings_are_read_from_any_view(fitted):
    E = np.random.RandomState(0).standard_normal((6, 4))
    fixed = E.copy()
    fixed.flags.writeable = False
    for view in (E[::-1], E[:, ::-1], fixed, np.broadcast_to(E[0], E.shape)):
        same = view.tolist()
        assert_array_equal(fitted.inverse_transform(view), fitted.inverse_transform(same))
        rnns, expected = fitted.generate_rnns(view), fitted.generate_rnns(same)
        assert_array_equal(rnns.to_dense(), expected.to_dense())


@pytest.mark.parametrize(
    ("connectivity", "initial_state"),
    [
        ("shared", "observed"),
        ("shared", "generated"),
        ("low_rank", "inferred"),
        ("low_rank", "generated"),
        ("full_rank", "observed"),
    ],
)
@pytest.mark.slow
def test_fit_transform_gives_the_rnns_of_fit_then_transform(
    small, multitask, connectivity, initial_state
):
    X, y = multitask.X[:12, :20], multitask.task[:12]
    changes = {"connectivity": connectivity, "initial_state": initial_state, "max_iter": 6}
    est, other = (small(output="dynamics", **changes) for _ in range(2))
    rnns, expected = est.fit_transform(X, y), other.fit(X, y).transform(X)
    assert isinstance(rnns, RNNBatch) and rnns.n_timesteps == 20
    assert_allclose(rnns.to_dense(), expected.to_dense(), atol=1e-8)
    assert_allclose(rnns.initial_states, expected.initial_states, atol=1e-8)
    assert_allclose(rnns.free_run(), expected.free_run(), atol=1e-6)
    assert_allclose(est.to_activity(rnns.free_run()), est.predict(X), atol=1e-6)


@pytest.mark.slow
def test_fit_transform_takes_conditions_by_name(small, multitask):
    X, task = multitask.X[:20], multitask.task[:20]
    est = small(max_iter=10)
    E = est.fit_transform(X, np.arange(20) % 3, conditions=task)
    assert_array_equal(est.conditions_, np.unique(task))
    assert_allclose(E, small(max_iter=10).fit(X, task).embedding_)


@pytest.mark.parametrize("container", ["pandas", "default", None])
@pytest.mark.slow
def test_rnns_stay_rnns_whatever_container_is_asked_for(small, multitask, container):
    est = small(max_iter=4, output="dynamics")
    assert est.set_output(transform=container) is est
    assert isinstance(est.fit_transform(multitask.X[:10]), RNNBatch)
    assert isinstance(est.transform(multitask.X[30:]), RNNBatch)


def test_fit_transform_makes_data_frames_too(small, multitask):
    est = small(max_iter=4).set_output(transform="pandas")
    frame = est.fit_transform(multitask.X[:10])
    assert frame.columns.tolist() == est.get_feature_names_out().tolist()
    assert_array_equal(frame.to_numpy(), est.embedding_)


def test_trials_of_another_length_are_welcome(known, recovered):
    short = recovered.transform(known.X[30:, :35])
    assert_allclose(short, recovered.transform(known.X[30:]), atol=0.05)  # same dynamics
    assert recovered.predict(known.X[30:, :35]).shape == (10, 35, 24)
    assert recovered.score(known.X[30:, :35]) > 0.999


@pytest.mark.slow
def test_the_posterior_is_about_transform(fitted, multitask):
    X = multitask.X[30:]
    posterior = fitted.posterior(X)
    assert_array_equal(posterior.mean, fitted.transform(X))
    assert posterior.covariance.shape == (10, 4, 4)
    assert (np.linalg.eigvalsh(posterior.covariance) > 0).all()
    assert_allclose(posterior.initial_state, fitted.predict(X)[:, 0], atol=1e-12)
    less = fitted.posterior(X[:, :10]).covariance  # a fifth of the data
    assert np.trace(less.mean(axis=0)) > np.trace(posterior.covariance.mean(axis=0))


# Sizes


def test_states_are_scaled_activity_and_back(fitted, multitask):
    X = multitask.X.copy()
    X[3, 4:] = np.nan
    states = fitted.to_states(X)
    np.testing.assert_array_equal(states, (X - fitted.mean_) / fitted.scale_)
    assert_allclose(fitted.to_activity(states), X, atol=1e-12)  # NaN stays NaN
    for some in (X[0, 0], X[0], X[:, np.newaxis]):  # any leading axes
        assert fitted.to_states(some.tolist()).shape == some.shape
    for convert, name in ((fitted.to_states, "X"), (fitted.to_activity, "states")):
        with pytest.raises(ValueError, match=rf"{name} must have shape .*= 30\), got \(40, 50\)"):
            convert(X[:, :, 0])
        with pytest.raises(ValueError, match=r"got \(\)"):
            convert(0.5)


def test_auto_sizes_adapt_to_few_trials_and_neurons(make_model):
    model = make_model(12, 30, n_neurons=6, rank=3)
    est = JEDIEstimator(dt=model.dt, max_iter=3, tol=1.0, random_state=0)
    with pytest.warns(UserWarning, match="at least 16 trials, got 5"):
        est.fit(model.X[:5])
    assert (est.n_components_, est.rank_) == (4, 6)  # too few to tell: all neurons
    with pytest.warns(UserWarning, match=r"^rank=6 is the largest .* at least 16 trials, got 12"):
        est.set_params(embedding="condition").fit(model.X, np.arange(12) % 3)
    assert (est.n_components_, est.rank_) == (2, 6)
    many = make_model(20, 30, n_neurons=6, rank=3)
    est.fit(many.X, np.arange(20) % 3)
    assert est.n_components_ == 2 and est.rank_ >= 3  # three populations


@pytest.mark.parametrize("n_trials", [2, 5, 12, 30])
@pytest.mark.parametrize("n_neurons", [1, 2, 6])
@pytest.mark.slow
def test_auto_sizes_know_how_many_weights_there_are(multitask, n_trials, n_neurons):
    X = multitask.X[:n_trials, :, :n_neurons]
    est = JEDIEstimator(dt=0.02, max_iter=3, tol=1.0, random_state=0)
    few = pytest.warns(UserWarning, match="at least 16 trials") if n_trials < 16 else nullcontext()
    with few:
        est.fit(X)
    assert est.rank_ <= n_neurons
    assert est.n_components_ <= min(n_trials - 1, est.rank_ * (est.rank_ + 1))
    if n_trials < 16:  # too few to tell: as many as there can be
        assert est.n_components_ == min(n_trials - 1, est.rank_ * (est.rank_ + 1))
    assert np.isfinite(est.predict(X)).all()


@pytest.mark.slow
def test_auto_sizes_count_the_trials_left_to_train_on(multitask):
    est = JEDIEstimator(dt=0.02, max_iter=4, tol=1.0, early_stopping=True, random_state=0)
    with pytest.warns(UserWarning, match="at least 16 trials, got 7"):
        est.set_params(validation_fraction=0.5).fit(multitask.X[:14])
    assert est.n_components_ == 6  # of 7 training trials


# Warnings


@pytest.mark.parametrize(
    "call",
    [
        *(
            f"fitted.{name}(X[:2, :10] + 50)"
            for name in ("transform", "score", "score_samples", "predict", "posterior", "dynamics")
        ),
        "est.fit(X)",
        "est.fit_transform(X)",
        "make_pipeline(est).fit(X)",
        "cross_val_score(est, X, cv=2)",
    ],
)
@pytest.mark.slow
def test_warnings_point_at_the_line_of_the_user(small, fitted, multitask, monkeypatch, call):
    infer = Model.infer

    def unconverged(*args, **how):
        found = infer(*args, **how)
        return Bunch(**(found | {"converged": np.zeros_like(found.converged)}))

    monkeypatch.setattr(Model, "infer", unconverged)
    names = {"fitted": fitted, "est": small(max_iter=4, tol=0.0), "X": multitask.X[:12, :20]}
    names |= {"make_pipeline": make_pipeline, "cross_val_score": cross_val_score}
    script = compile(f"\n\n{call}", "script_of_a_user.py", "exec")
    with pytest.warns(Warning) as warned:
        exec(script, names)
    texts = " ".join(str(w.message) for w in warned)
    assert ("SDs from the training data" if "fitted" in call else "R2 still rose") in texts
    assert "did not converge" in texts
    assert {(w.filename, w.lineno) for w in warned} == {("script_of_a_user.py", 3)}


@pytest.mark.parametrize(
    "changes",
    [{"max_iter": 2}, {"max_iter": 1, "teacher_forcing": 0.0}, {"max_iter": 1, "solver": "paper"}],
)
@pytest.mark.slow
def test_the_shortest_fits_that_stop_early_look_once(small, multitask, changes):
    est = small(early_stopping=True, **changes).fit(multitask.X[:10])
    assert [step for step, _ in est.validation_curve_] == [changes["max_iter"]]


# scikit-learn


def test_parameters_are_stored_as_given_and_cloned():
    sizes = [8, 4]
    est = JEDIEstimator(3, 5, hidden_layer_sizes=sizes, random_state=np.random.RandomState(0))
    assert est.hidden_layer_sizes is sizes
    copy = clone(est)
    assert copy.get_params().keys() == est.get_params().keys()
    assert copy.n_components == 3 and copy.rank == 5 and copy.hidden_layer_sizes == sizes
    assert not [name for name in vars(est) if name.endswith("_")]


def test_fitting_changes_no_parameter(fitted, small):
    assert fitted.get_params() == small().get_params()
    assert clone(fitted).get_params() == fitted.get_params()
    assert not hasattr(clone(fitted), "embedding_")


def test_nothing_works_before_fit():
    X, E = np.zeros((2, 5, 3)), np.zeros((2, 1))
    est = JEDIEstimator()
    for name, argument in (
        ("transform", X),
        ("predict", X),
        ("score", X),
        ("score_samples", X),
        ("dynamics", X),
        ("posterior", X),
        ("inverse_transform", E),
        ("generate_rnns", E),
    ):
        with pytest.raises(NotFittedError):
            getattr(est, name)(argument)


@pytest.mark.slow
def test_a_pickled_estimator_gives_the_same_numbers(fitted, multitask):
    again = pickle.loads(pickle.dumps(fitted))
    X = multitask.X[30:]
    assert_array_equal(again.transform(X), fitted.transform(X))
    assert_array_equal(again.predict(X), fitted.predict(X))
    assert_array_equal(again.embedding_, fitted.embedding_)
    assert all(p.device.type == "cpu" for p in again.hypernetwork_.parameters())


def test_transform_leaves_the_estimator_as_it_was(fitted, multitask):
    before = pickle.dumps(fitted)
    fitted.transform(multitask.X[30:35])
    fitted.score(multitask.X[30:35])
    fitted.dynamics(multitask.X[30:35])
    assert pickle.dumps(fitted) == before


def test_features_have_names(fitted):
    names = fitted.get_feature_names_out()
    assert names.tolist() == [f"jediestimator{i}" for i in range(4)]
    assert fitted.n_features_in_ == 30


def test_set_output_makes_data_frames_where_pandas_is(fitted, multitask):
    est = pickle.loads(pickle.dumps(fitted))
    frame = est.set_output(transform="pandas").transform(multitask.X[30:])
    assert frame.columns.tolist() == est.get_feature_names_out().tolist()
    assert_array_equal(frame.to_numpy(), fitted.transform(multitask.X[30:]))
    rnns = est.set_params(output="dynamics").transform(multitask.X[30:])  # no columns: left alone
    assert isinstance(rnns, RNNBatch)


# Kinds of input


@pytest.mark.slow
def test_lists_and_single_precision_are_the_same_data(small, multitask):
    X = multitask.X[:8].astype(np.float32)
    est = small(max_iter=4).fit(X.astype(np.float64))
    for same in (X, X.tolist(), list(X)):
        assert_allclose(small(max_iter=4).fit(same).embedding_, est.embedding_, atol=1e-2)
        assert_allclose(est.transform(same), est.transform(X.astype(np.float64)), atol=1e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16])
@pytest.mark.slow
def test_narrow_types_do_not_overflow(small, multitask, dtype):
    X = np.round(200 / (1 + np.exp(-multitask.X[:12])))
    narrow = X.astype(dtype)
    est, expected = small(max_iter=8).fit(narrow), small(max_iter=8).fit(narrow.astype(float))
    assert_array_equal(est.embedding_, expected.embedding_)
    assert est.score(narrow) == expected.score(narrow.astype(float))


def test_the_data_are_left_as_they_are(small, multitask):
    X = multitask.X[:12].copy()
    est = small(max_iter=5).fit(X)
    est.predict(X)
    assert_array_equal(X, multitask.X[:12])


@pytest.mark.slow
def test_a_read_only_memory_map_is_data_too(small, multitask, tmp_path):
    np.save(tmp_path / "X.npy", multitask.X[:12])
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    est, expected = small(max_iter=5).fit(mapped), small(max_iter=5).fit(multitask.X[:12])
    assert_array_equal(est.embedding_, expected.embedding_)
    assert_array_equal(est.transform(mapped), expected.transform(multitask.X[:12]))


def test_the_memory_layout_does_not_matter(small, multitask):
    X = multitask.X[:12]
    fortran = np.asfortranarray(X)
    est, expected = small(max_iter=5).fit(fortran), small(max_iter=5).fit(X)
    assert_allclose(est.embedding_, expected.embedding_, atol=1e-4)


@pytest.mark.slow
def test_importing_the_package_asks_for_no_extra_and_loads_nothing_slow():
    code = (
        "import sys, torch, sklearn\n"
        "extras = ('dask', 'distributed', 'matplotlib', 'pandas', 'polars', 'pooch', 'tqdm')\n"
        "for name in extras: sys.modules[name] = None\n"
        "import jedi_sklearn\n"
        "from jedi_sklearn import datasets, metrics, plotting, preprocessing\n"
        "slow = {'sympy', 'torch._dynamo', 'torch._inductor', 'torch.onnx'}\n"
        "sys.exit(', '.join(slow & set(sys.modules)) or None)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# Real recordings


@pytest.mark.long
def test_condition_averaged_reaches_are_reproduced(recording):
    rates = recording("reach_m1_suresh2020.npz")["firing_rate"]
    est = JEDIEstimator(max_iter=60, tol=1.0, random_state=0)
    with pytest.warns(UserWarning, match="at least 16 trials, got 8. Unless these are averages"):
        est.fit(rates)
    assert est.n_components_ == 7
    assert est.score(rates) > 0.85


@pytest.mark.long
def test_single_trials_of_reaches_beat_the_condition_mean(recording):
    file = recording("center_out_m1_trials.npz")
    trials = np.split(file["spike_counts"], np.cumsum(file["trial_length"])[:-1])
    chosen = np.arange(0, len(trials), 2)
    rates = [smooth_counts(trials[i], bin_width=0.05, sigma=0.05) for i in chosen]
    X = cut_epochs(rates, file["idx_movement_on"][chosen], start=-8, stop=12)
    X = resample_time(X, dt=0.05, new_dt=0.025)
    direction = file["direction_deg"][chosen]
    train = np.arange(len(X)) % 3 > 0
    est = JEDIEstimator(8, 12, dt=0.025, scale="neuron", max_iter=80, tol=1.0, random_state=0)
    est.fit(X[train], direction[train])
    Z = est.to_states(X)
    mean = np.stack([Z[train & (direction == d)].mean(axis=0) for d in direction[~train]])
    assert est.score(X[~train]) > r2(Z[~train], mean) + 0.03
    classifier = LogisticRegression().fit(est.transform(X[train]), direction[train])
    assert classifier.score(est.transform(X[~train]), direction[~train]) > 0.6  # chance 0.125


@pytest.mark.long
def test_error_bars_cover_the_difference_of_two_recordings_of_the_same_trials(multitask):
    rng, noise = np.random.RandomState(0), 0.3 * multitask.X.std()
    gain = np.exp(0.8 * rng.standard_normal(30))  # neurons of unequal noise
    first, second = (
        gain * (multitask.X + noise * rng.standard_normal(multitask.X.shape)) for _ in range(2)
    )
    for initial_state in ("generated", "observed", "inferred"):
        est = JEDIEstimator(4, 8, dt=0.02, initial_state=initial_state, max_iter=80, tol=1.0)
        est.fit(first[:30])
        a, b = (est.posterior(X[30:]) for X in (first, second))
        difference = a.mean - b.mean
        inverse = np.linalg.inv(a.covariance + b.covariance)
        z2 = np.einsum("ki,kij,kj->k", difference, inverse, difference) / 4
        assert 0.1 < np.median(z2) < 4  # 20 to 200 for a curvature that trusts the first sample


def test_labels_in_a_column_and_repeated_angles_are_conditions(small, multitask):
    X, task = multitask.X[:24], multitask.task[:24]
    column = small(max_iter=3).fit(X, task[:, np.newaxis])
    assert column.conditions_.tolist() == sorted(set(task))
    angle = np.pi / 4 * (np.arange(24) % 8)
    assert_allclose(small(max_iter=3).fit(X, angle).conditions_, np.unique(angle))


@pytest.mark.slow
def test_repeated_trials_leave_no_quiet_nonsense(small, multitask):
    X = np.repeat(multitask.X[:3], 10, axis=0)
    few = np.repeat(multitask.X[:3], 5, axis=0)  # too few to tell
    too_few = pytest.warns(UserWarning, match="n_components=14 is the largest size .* got 15")
    for X_, n_components, d, warned in ((X, 4, 4, nullcontext()), (few, "auto", 14, too_few)):
        words = (
            rf"Only 2 of the {d} dimensions .* leave out repeated .* set n_components=2 or less"
        )
        with warned, pytest.raises(ValueError, match=words):
            small(max_iter=3, n_components=n_components).fit(X_)
    for n_components in (2, "auto"):  # as advised, and as neurons not seen tell
        assert small(max_iter=3, n_components=n_components).fit(X).n_components_ == 2
    with pytest.raises(ValueError, match=r"Only 0 of the 2 dimensions .* all trials are alike"):
        small(max_iter=3, n_components=2).fit(X[:10])


@pytest.mark.slow
def test_data_in_other_units_are_noticed(fitted, multitask):
    with pytest.warns(UserWarning, match="same units"):
        fitted.transform(100 * multitask.X[30:])


# Old names


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        ("forcing", "teacher_forcing", 0.3),
        ("final_forcing", "final_teacher_forcing", 0.05),
        ("n_starts", "n_init", 1),
    ],
)
@pytest.mark.slow
def test_an_old_name_warns_and_does_what_the_new_one_does(
    small, multitask, tmp_path, old, new, value
):
    X = multitask.X[:15]
    with pytest.warns(FutureWarning, match=f"{old} is now called {new}"):
        est = small(max_iter=4, **{old: value}).fit(X)
    wanted = small(max_iter=4, **{new: value}).fit(X)
    assert est.loss_curve_ == wanted.loss_curve_
    assert_array_equal(est.transform(X), wanted.transform(X))
    est.save(tmp_path / "model.npz")
    read = JEDIEstimator.load(tmp_path / "model.npz")
    assert getattr(read, new) == value and getattr(read, old) == "deprecated"


def test_a_bad_value_under_an_old_name_is_refused_under_the_new_one(small, multitask):
    X = multitask.X[:15]
    with (
        pytest.warns(FutureWarning),
        pytest.raises(ValueError, match="n_init must be an integer >= 1"),
    ):
        small(n_starts=0).fit(X)


def test_the_old_name_of_the_autocorrelation_time_warns(small, multitask):
    X = multitask.X[:15]
    est = small(max_iter=4).fit(X)
    with pytest.warns(FutureWarning, match="now called autocorrelation_time_"):
        assert est.noise_inflation_ == est.autocorrelation_time_
    assert not hasattr(small(), "noise_inflation_")
