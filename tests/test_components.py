"""Facts about how many components trials need, and about components of free runs."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.utils import Bunch

from jedi_sklearn import JEDIEstimator
from jedi_sklearn._components import (
    ENOUGH_TRIALS,
    RunComponents,
    SizeCurve,
    axes_of_samples,
    components_of_trials,
)
from jedi_sklearn._frozen import fix_gauge
from jedi_sklearn._missing import Imputer
from jedi_sklearn._observation import Gaussian
from jedi_sklearn._parameters import choose_sizes
from jedi_sklearn._trials import Trials
from jedi_sklearn._trials import as_trials as as_tensors

# short fits leave a few trials of the inference, or the training, short of convergence
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SIGNALS = (1, 2, 3, 5, 8)


def as_trials(X, seen=None):
    """Trials (trials, time, neurons) as the fit has them."""
    X, seen = (None if a is None else np.moveaxis(a, 0, 1) for a in (X, seen))
    weight = None if seen is None else torch.as_tensor(seen, dtype=torch.float32)
    return Trials(torch.as_tensor(X.copy(), dtype=torch.float32), weight)


def of_trials(k, noise=0.0, n_trials=60, n_steps=30, n_neurons=40, seed=0):
    """Trials that k coordinates of each tell apart, and the same with private noise."""
    rng = np.random.RandomState(seed)
    maps = rng.standard_normal((k, n_steps, n_neurons))
    S = np.einsum("kd,dtn->ktn", rng.standard_normal((n_trials, k)), maps)
    return S, S + noise * rng.standard_normal(S.shape)


def of_samples(k, noise=0.0, n_trials=60, n_steps=30, n_neurons=40, seed=0):
    """Activity in k dimensions that no two samples share, and the same with private noise."""
    rng = np.random.RandomState(seed)
    S = rng.standard_normal((n_trials, n_steps, k)) @ rng.standard_normal((k, n_neurons))
    return S, S + noise * rng.standard_normal(S.shape)


CURVES = {
    "trials": (of_trials, components_of_trials),
    "samples": (of_samples, axes_of_samples),
}
each_curve = pytest.mark.parametrize("kind", CURVES)


# How many


@each_curve
@pytest.mark.parametrize("seed", range(3))
def test_noise_of_independent_neurons_has_nothing_in_common(kind, seed):
    X = np.random.RandomState(seed).standard_normal((60, 30, 40))
    curve = CURVES[kind][1](as_trials(X))
    assert curve.best == 1
    assert curve.explained.max() < 0.01
    assert not curve.still_rises


@each_curve
@pytest.mark.parametrize("k", SIGNALS)
def test_strong_private_noise_hides_no_component_and_adds_few(kind, k):
    make, curve_of = CURVES[kind]
    X = make(k, 3 if kind == "trials" else 1)[1]  # trials are told from more values
    curve = curve_of(as_trials(X))
    assert k <= curve.best <= max(2 * k, 1)
    assert np.argmax(curve.explained) <= curve.sizes.index(curve.best) + 2


@each_curve
@pytest.mark.parametrize("k", SIGNALS)
@pytest.mark.slow
def test_without_noise_no_component_is_missed(kind, k):
    make, curve_of = CURVES[kind]
    curve = curve_of(as_trials(make(k)[0]))
    assert curve.best >= k
    assert curve.explained[curve.sizes.index(curve.best)] > 0.99


@each_curve
def test_what_is_predicted_is_the_share_of_the_signal(kind):
    S, X = CURVES[kind][0](3, 1.0)
    curve = CURVES[kind][1](as_trials(X))
    share = S.var() / X.var()
    assert share - 0.05 < curve.explained.max() < share + 0.01


@each_curve
def test_the_same_trials_have_the_same_curve(kind):
    trials = as_trials(CURVES[kind][0](3, 3)[1])
    first, again = (CURVES[kind][1](trials) for _ in range(2))
    assert first.sizes == again.sizes
    assert_array_equal(first.explained, again.explained)
    np.random.seed(1)  # noqa: NPY002
    assert_array_equal(CURVES[kind][1](trials).explained, first.explained)


def with_ends(X, shortest):
    """Trials without their ends, and what is seen of them."""
    end = np.random.RandomState(0).randint(shortest, X.shape[1] + 1, len(X))
    seen = np.broadcast_to(np.arange(X.shape[1]) < end[:, None], X.shape[:2])[:, :, None]
    seen = np.repeat(seen, X.shape[2], axis=2).astype(float)
    return as_trials(X * seen, seen)


@each_curve
@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.slow
def test_missing_ends_do_not_change_the_answer(kind, k):
    make, curve_of = CURVES[kind]
    X = make(k, 3 if kind == "trials" else 1)[1]
    whole, cut = curve_of(as_trials(X)), curve_of(with_ends(X, 20))
    assert cut.best == whole.best
    assert_allclose(cut.explained.max(), whole.explained.max(), atol=0.05)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.slow
def test_missing_ends_of_trials_with_little_noise_add_few_components(k):
    X = of_trials(k, 1)[1]  # neurons have their missing ends, too, in common
    assert k <= components_of_trials(with_ends(X, 25)).best <= 2 * k


def without_neurons(X, n_trials, n_neurons):
    """Trials of which some lack neurons, other ones each, as the fit has them."""
    rng, X = np.random.RandomState(0), X.copy()
    for k in range(n_trials):
        X[k, :, rng.permutation(X.shape[2])[:n_neurons]] = np.nan
    observation = Gaussian(np.zeros(X.shape[2]), np.ones(X.shape[2]))
    imputer = Imputer.learn(X, observation.states)
    how = (observation, imputer, torch.float32, torch.device("cpu"))
    return as_tensors(X, np.zeros((*X.shape[:2], 0)), *how)


@each_curve
@pytest.mark.parametrize("k", [3, 8])
@pytest.mark.slow
def test_neurons_missing_from_trials_do_not_change_the_answer(kind, k):
    make, curve_of = CURVES[kind]
    X = make(k, 2 if kind == "trials" else 0.5)[1]
    whole, cut = curve_of(as_trials(X)), curve_of(without_neurons(X, 30, 20))
    assert abs(whole.sizes.index(cut.best) - whole.sizes.index(whole.best)) <= 1
    assert_allclose(cut.explained.max(), whole.explained.max(), atol=0.05)


def test_imputed_values_is_never_to_be_predicted():
    _, X = of_trials(3, 1)
    seen = np.ones(X.shape)
    seen[:, :, 20:] = 0
    curve = components_of_trials(as_trials(seen * X, seen))
    other = components_of_trials(as_trials(X[:, :, :20]))
    assert_allclose(curve.explained, other.explained[: len(curve.sizes)], atol=0.05)


@each_curve
@pytest.mark.parametrize(("n_trials", "n_neurons"), [(16, 40), (60, 5), (16, 4), (60, 4)])
def test_sizes_are_capped_by_trials_and_neurons(kind, n_trials, n_neurons):
    X = CURVES[kind][0](8, n_trials=n_trials, n_neurons=n_neurons)[0]
    curve = CURVES[kind][1](as_trials(X))
    assert np.isfinite(curve.explained).all()
    most = max(1, n_neurons // 2) if kind == "samples" else n_trials - n_trials // 8 - 1
    assert curve.sizes[-1] <= most
    assert curve.sizes[0] == 1 and curve.best in curve.sizes


def test_few_trials_or_neurons_tell_nothing_of_components():
    X = of_trials(2, n_trials=ENOUGH_TRIALS)[0]
    assert components_of_trials(as_trials(X[1:])) is None
    assert components_of_trials(as_trials(X[:, :, :3])) is None
    assert components_of_trials(as_trials(X)) is not None


def test_the_best_size_is_the_smallest_that_predicts_the_most():
    def best(*explained):
        return SizeCurve(tuple(range(1, len(explained) + 1)), np.array(explained)).best

    assert best(0.1, 0.3, 0.3, 0.2) == 2
    assert best(0.3, 0.2, 0.25, 0.4, 0.1) == 4  # beyond a dip
    assert best(-0.3, -0.2) == 2
    assert best(0.1, 0.2, 0.3, 0.4) == 4
    assert best(0.5, 0.5002) == 1 and best(0.5, 0.502) == 2
    assert best(0.4, 0.5002, 0.5005) == 2


def test_a_curve_rises_to_its_end_whatever_the_tolerance():
    sizes = 1, 2, 3
    assert SizeCurve(sizes, np.array([0.1, 0.4, 0.4001])).still_rises
    assert not SizeCurve(sizes, np.array([0.1, 0.4, 0.4])).still_rises


def sizes(X, n_embeddings=None, lines=None, **changes):
    """What `choose_sizes` makes of trials."""
    est = Bunch(**({"n_components": "auto", "rank": "auto", "embedding": "trial"} | changes))
    trials = as_trials(X)
    how = {"curve": components_of_trials(trials), "say": None if lines is None else lines.append}
    return choose_sizes(est, n_embeddings or len(X), trials, Gaussian, **how)


@pytest.mark.slow
def test_auto_sizes_are_those_of_the_curves():
    _, X = of_trials(3, 3)
    assert sizes(X)[0] == components_of_trials(as_trials(X)).best
    _, X = of_samples(8, 1)
    d, rank = sizes(X)
    assert rank == max(d, axes_of_samples(as_trials(X)).best)
    assert sizes(X, n_components=2)[0] == 2 and sizes(X, rank=5)[1] == 5


@pytest.mark.parametrize("n_components", [1, 2, 3, 6, 7, 13])
@pytest.mark.slow
def test_auto_rank_has_the_weights_for_the_components_asked_for(n_components):
    noise = np.random.RandomState(0).standard_normal((60, 30, 40))
    d, rank = sizes(noise, n_components=n_components)
    assert d == n_components <= rank * (rank + 1)
    assert (rank - 1) * rank < d  # and no more, for noise


def test_dimensions_of_little_variance_count():
    rng = np.random.RandomState(0)
    scales = np.repeat([1.0, 0.07], 6)  # the last six have 0.5 % of the variance
    Z = rng.standard_normal((60, 30, 12)) * scales
    X = Z @ np.linalg.qr(rng.standard_normal((40, 12)))[0].T
    assert axes_of_samples(as_trials(X)).best == 12
    assert axes_of_samples(as_trials(X + 0.01 * rng.standard_normal(X.shape))).best == 12


@pytest.mark.parametrize("n_neurons", [2, 4, 10])
def test_all_dimensions_are_there_where_half_of_the_neurons_tell_of_no_more(n_neurons):
    assert sizes(of_trials(20, n_neurons=n_neurons)[0])[1] == n_neurons
    assert sizes(of_samples(1, 1, n_neurons=40)[1], n_components=1)[1] < 40


def test_auto_sizes_of_noise_are_small():
    assert sizes(np.random.RandomState(0).standard_normal((60, 30, 40))) == (1, 1)


def test_embeddings_of_conditions_are_as_many_as_there_can_be():
    _, X = of_trials(3, 3)
    assert sizes(X, 7, embedding="condition")[0] == 6


def test_lines_say_why_sizes_were_chosen_or_are_too_large():
    X, lines = of_trials(2, 3)[1], []
    sizes(X, lines=lines)
    assert [line.split("=")[0] for line in lines] == ["n_components", "rank"]
    lines.clear()
    sizes(X, lines=lines, n_components=2, rank=4)
    assert lines == [None]  # as many as help
    lines.clear()
    sizes(X, lines=lines, n_components=9, rank=9)
    assert lines[0].startswith("n_components=9 exceeds the 2 that help")


WORDS = "^{} the largest size{} .* needs at least 16 trials, got 10.*small numbers.$"


def test_a_fit_of_few_trials_warns_that_sizes_are_not_chosen(make_model):
    X = make_model(16, 15, n_neurons=8, rank=2, noise=0.1).X
    est = JEDIEstimator(max_iter=3, tol=1.0, random_state=0)
    with pytest.warns(UserWarning, match=WORDS.format("n_components=9 and rank=8 are", "s")):
        est.fit(X[:10])
    assert (est.n_components_, est.rank_) == (9, 8)
    with pytest.warns(UserWarning, match=WORDS.format("rank=8 is", "")):
        est.set_params(n_components=2).fit(X[:10])
    est.set_params(rank=2).fit(X[:10])  # the user has chosen
    est.set_params(n_components="auto", rank="auto").fit(X)


def test_a_verbose_fit_says_why_its_sizes(capsys, make_model):
    model = make_model(20, 20, n_neurons=12, noise=0.3)
    est = JEDIEstimator(dt=model.dt, max_iter=2, tol=1.0, random_state=0)
    est.fit(model.X)
    assert "[JEDI]" not in capsys.readouterr().out
    est.set_params(verbose=True).fit(model.X)
    lines = capsys.readouterr().out.splitlines()
    for name, size in (("n_components", est.n_components_), ("rank", est.rank_)):
        start = f"[JEDI] {name}={size} (share of unseen neurons' variance predicted, by size: 1: "
        assert sum(line.startswith(start) for line in lines) == 1


# Components of free runs


def test_components_of_runs_are_principal_components():
    S, _ = of_trials(4, n_steps=20)
    E = np.random.default_rng(0).standard_normal((len(S), 3))
    found = RunComponents.learn([S[:20], S[20:]], E)
    rows = S.reshape(len(S), -1)
    pca = PCA(4).fit(rows)
    n = 1 + int((pca.explained_variance_ratio_.cumsum() < 0.99).sum())
    assert len(found.axes) == n
    signs = np.sign((found.axes * pca.components_[:n]).sum(axis=1))
    assert_allclose(found([S[:1], S[1:]]), signs * pca.transform(rows)[:, :n], atol=1e-8)
    assert (np.take_along_axis(found.axes, np.abs(found.axes).argmax(1)[:, None], 1) > 0).all()


@pytest.fixture(scope="module")
def runs(make_model):
    """A fit that compares free runs, of 20 samples, and its trials."""
    model = make_model(30, 20, n_neurons=12, noise=0.1)
    est = JEDIEstimator(3, 4, dt=model.dt, max_iter=10, tol=1.0, output="trajectory")
    return Bunch(est=est.set_params(random_state=0).fit(model.X[:20]), X=model.X)


def test_trajectories_are_principal_components_of_the_prediction(runs):
    est, X = runs.est, runs.X
    training, unseen = (
        est.to_states(est.predict(some)).reshape(len(some), -1) for some in (X[:20], X[20:])
    )
    scores = est.transform(X[20:])
    pca = PCA(scores.shape[1]).fit(training)
    expected = pca.transform(unseen)
    signs = np.sign((scores * expected).sum(axis=0))
    assert_allclose(scores, signs * expected, atol=1e-6 * np.abs(expected).max())
    ratio = PCA().fit(training).explained_variance_ratio_.cumsum()
    n = scores.shape[1]
    assert ratio[n - 1] >= 0.99 and (n == 1 or ratio[n - 2] < 0.99)


def test_trajectories_are_columns_with_names(runs):
    est = runs.est
    scores, names = est.transform(runs.X[20:]), est.get_feature_names_out()
    assert scores.shape == (10, len(names))
    assert names.tolist() == [f"jediestimator{i}" for i in range(len(names))]
    frame = est.set_output(transform="pandas").transform(runs.X[20:])
    est.set_output(transform="default")
    assert frame.columns.tolist() == names.tolist()
    assert_array_equal(frame.to_numpy(), scores)


def test_trajectories_are_deterministic_and_survive_a_file(runs, tmp_path):
    est, X = runs.est, runs.X[20:]
    scores = est.transform(X)
    assert_array_equal(est.transform(X), scores)
    est.save(tmp_path / "model.npz")
    assert_array_equal(JEDIEstimator.load(tmp_path / "model.npz").transform(X), scores)
    again = JEDIEstimator(**est.get_params()).fit_transform(runs.X[:20])
    assert_allclose(again, est.transform(runs.X[:20]), atol=1e-6)


@pytest.mark.slow
def test_trajectories_do_not_depend_on_the_coordinates_of_embeddings(runs, tmp_path):
    runs.est.save(tmp_path / "model.npz")
    other = JEDIEstimator.load(tmp_path / "model.npz")
    some = other._model.infer(runs.X[20:], torch.device("cpu"), curvature=True)
    fix_gauge(other._model, some)  # canonical in other trials
    scores = other.transform(runs.X[20:])
    assert_allclose(scores, runs.est.transform(runs.X[20:]), atol=1e-3 * np.abs(scores).max())
    moved, before = (
        est.set_params(output="embedding").transform(runs.X) for est in (other, runs.est)
    )
    runs.est.set_params(output="trajectory")
    assert np.abs(moved - before).max() > 0.1


def test_trajectories_of_shorter_trials_are_of_runs_as_long_as_in_the_fit(runs):
    est, X = runs.est, runs.X[20:]
    scores = est.transform(X[:, :12])
    run = est.inverse_transform(est.posterior(X[:, :12]).mean)
    assert_allclose(scores, est._trajectory([est.to_states(run)]), atol=1e-9)
    assert scores.shape == est.transform(X).shape


def test_trajectories_may_be_asked_for_after_the_fit(runs):
    later = JEDIEstimator(**(runs.est.get_params() | {"output": "embedding"}))
    later.fit(runs.X[:20]).set_params(output="trajectory")
    scores = runs.est.transform(runs.X[20:])
    assert later.get_feature_names_out().shape == (scores.shape[1],)
    assert_allclose(later.transform(runs.X[20:]), scores, atol=1e-6 * np.abs(scores).max())


def test_both_are_the_embedding_and_the_trajectory_side_by_side(runs, tmp_path):
    X, est = runs.X, JEDIEstimator(**(runs.est.get_params() | {"output": "both"}))
    first = est.fit_transform(X[:20])
    found, d = est.transform(X[20:]), est.n_components_
    assert est.get_feature_names_out().shape == (found.shape[1],)
    assert_array_equal(first[:, :d], est.embedding_)
    assert_array_equal(found[:, :d], est.posterior(X[20:]).mean)
    # the same columns as "trajectory", in other units; learned with the fit or after it
    scores = est.set_params(output="trajectory").transform(X[20:])
    unit = found[:, d:] / scores
    assert_allclose(unit, np.broadcast_to(unit[0], unit.shape), rtol=1e-9)
    later = JEDIEstimator(**(runs.est.get_params() | {"output": "embedding"})).fit(X[:20])
    later.set_params(output="both")
    assert_allclose(later.transform(X[20:]), found, atol=1e-6 * np.abs(found).max())
    later.save(tmp_path / "model.npz")
    loaded = JEDIEstimator.load(tmp_path / "model.npz")
    assert_array_equal(loaded.transform(X[20:]), later.transform(X[20:]))


def test_in_both_the_parts_have_the_same_total_variance_and_sds_are_roots(runs):
    est, X = copy.deepcopy(runs.est), runs.X[:20]
    activity = est._trajectory(_runs_of(est))
    features = est.set_params(output="both").transform(X)
    d = est.n_components_
    embedding, scores = est.embedding_, activity * est._trajectory.unit
    assert_allclose(scores.var(axis=0).sum(), embedding.var(axis=0).sum(), rtol=1e-6)
    ratio = scores.std(axis=0) / np.sqrt(activity.std(axis=0))
    assert_allclose(ratio, ratio[0], rtol=1e-6)
    assert_allclose(features[:, d:], scores, atol=1e-6 * np.abs(scores).max())
    with pytest.raises(ValueError, match=f'output="both" they are the first {d} columns'):
        est.inverse_transform(features)
    assert_allclose(est.inverse_transform(features[:, :d]), est.inverse_transform(embedding))


def test_files_from_before_both_existed_learn_the_units(runs):
    est = copy.deepcopy(runs.est)
    est._trajectory = RunComponents(est._trajectory.mean, est._trajectory.axes)
    scores = est.transform(runs.X[20:])
    assert_array_equal(scores, runs.est.transform(runs.X[20:]))
    found = est.set_params(output="both").transform(runs.X[20:])
    d = est.n_components_
    assert_allclose(found[:, d:], scores * runs.est._trajectory.unit, rtol=1e-6, atol=1e-9)


def _runs_of(est):
    return [est.to_states(est.inverse_transform(est.embedding_))]


@pytest.mark.slow
def test_trajectories_need_the_starts_and_inputs_of_the_training_trials(runs):
    observed = runs.est.get_params() | {"initial_state": "observed"}
    X, u = runs.X, runs.X[:, :, :1]
    words = r"output=\"trajectory\" needs the free runs of the training trials.*Fit with output"
    est = JEDIEstimator(**(observed | {"output": "embedding"})).fit(X[:20])
    with pytest.raises(ValueError, match=words):
        est.set_params(output="trajectory").transform(X[20:])
    with pytest.raises(ValueError, match=words.replace("trajectory", "both")):
        est.set_params(output="both").transform(X[20:])
    est = JEDIEstimator(**observed).fit(X[:20])  # asked for in time
    assert est.transform(X[20:]).shape == (10, len(est.get_feature_names_out()))
    driven = JEDIEstimator(**(runs.est.get_params() | {"output": "embedding"}))
    driven.fit(X[:20], inputs=u[:20]).set_params(output="trajectory")
    with pytest.raises(ValueError, match=words):
        driven.transform(X[20:], inputs=u[20:])
    driven.fit(X[:20], inputs=u[:20])
    assert len(driven.transform(X[20:], inputs=u[20:])) == 10
    with pytest.raises(ValueError, match=r"free runs of 20 samples.* got 12"):
        driven.transform(X[20:, :12], inputs=u[20:, :12])
