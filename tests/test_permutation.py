"""Permutation tests keep their level, find what is there, and say it in the right units."""

import dataclasses
import re
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.stats import ortho_group
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from jedi_sklearn import EigenspectrumAnalyzer, LyapunovAnalyzer, lyapunov_exponents
from jedi_sklearn.datasets import make_multitask
from jedi_sklearn.evaluation import _exchange, permutation_test, permutation_test_features
from jedi_sklearn.evaluation._exchange import Design, Prepared, statistics_of
from jedi_sklearn.evaluation._permutation import _refined
from jedi_sklearn.evaluation._permutation_result import p_values
from jedi_sklearn.preprocessing import TrialScaler

MIXED = np.array([[1.0, 0.8, 0.5], [0.0, 0.6, 0.5], [0.0, 0.0, 0.7]])  # correlates quantities


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# ------------------------------------------------------------------- statistics and effects


def test_the_statistic_of_two_labels_is_that_of_welch(rng):
    y = np.repeat(["a", "b"], [12, 20])
    values = rng.standard_normal(32) * np.where(y == "a", 1, 3) + (y == "b")
    test = permutation_test_features(values, y)
    welch = stats.ttest_ind(values[y == "b"], values[y == "a"], equal_var=False)
    np.testing.assert_allclose(test.statistics, welch.statistic**2, rtol=1e-9)
    np.testing.assert_allclose(test.effects, values[y == "b"].mean() - values[y == "a"].mean())
    np.testing.assert_allclose(test.intervals[0], welch.confidence_interval(), atol=0.1)
    np.testing.assert_allclose(test.p_values, welch.pvalue, atol=0.01)
    assert test.exchange == "free" and test.n_groups is None and test.n_trials == 32


def test_pairs_are_compared_by_the_paired_t(rng):
    trial, epoch = np.tile(np.arange(9), 2), np.repeat([0, 1], 9)
    values = 5 * rng.standard_normal(9)[trial] + rng.standard_normal(18) + 0.8 * epoch
    test = permutation_test_features(values, epoch, groups=trial, n_permutations=20_000)
    paired = stats.ttest_rel(values[9:], values[:9])
    np.testing.assert_allclose(test.statistics, paired.statistic**2, rtol=1e-9)
    exact = stats.permutation_test(
        (values[9:] - values[:9],), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    np.testing.assert_allclose(test.p_values, exact.pvalue, atol=0.005)
    assert test.exchange == "within" and test.n_groups == 9


def test_more_labels_are_compared_by_the_statistic_of_brown_and_forsythe(rng):
    y = np.repeat([0, 1, 2], [8, 10, 14])
    values = rng.standard_normal(32) * (1 + y)
    each = [values[y == k] for k in range(3)]
    between = sum(len(v) * (v.mean() - values.mean()) ** 2 for v in each)
    within = sum((1 - len(v) / 32) * v.var(ddof=1) for v in each)
    np.testing.assert_allclose(permutation_test_features(values, y).statistics, between / within)


def test_groups_of_one_label_are_compared_as_wholes(rng):
    animal = np.repeat(np.arange(9), [3, 4, 5, 6, 3, 4, 5, 6, 7])
    genotype = np.where(animal < 4, "mutant", "wild")
    values = rng.standard_normal((43, 2)) + rng.standard_normal((9, 2))[animal]
    by_trial = permutation_test_features({"a": values[:, 0], "v": values}, genotype, groups=animal)
    means = np.stack([values[animal == k].mean(axis=0) for k in range(9)])
    label = np.where(np.arange(9) < 4, "mutant", "wild")
    by_animal = permutation_test_features({"a": means[:, 0], "v": means}, label)
    for name in ("statistics", "effects", "intervals", "p_values", "corrected_p_values"):
        np.testing.assert_allclose(getattr(by_trial, name), getattr(by_animal, name))
    assert by_trial.exchange == "between" and by_trial.n_groups == 9 and by_trial.n_trials == 43
    assert "9 groups, between which" in by_trial.summary()


def test_labels_are_exchanged_within_groups_alone(rng):
    session = np.repeat([0, 1, 2], [10, 6, 8])
    y = rng.permuted(np.arange(24) % 2)
    design = Design(y, session, 24)
    permuted = design.permute(200, np.random.RandomState(0))
    for k in range(3):
        inside = permuted[:, session == k]
        assert (inside.sum(axis=1) == y[session == k].sum()).all()
        assert (inside != y[session == k]).any(axis=0).all()
    # a difference between sessions is none between labels, however unequal these are in them
    values = {"a": rng.standard_normal(24)}
    moved = {"a": values["a"] + 100.0 * session}
    tests = [permutation_test_features(v, y, groups=session) for v in (values, moved)]
    np.testing.assert_allclose(tests[0].statistics, tests[1].statistics)
    np.testing.assert_allclose(tests[0].effects, tests[1].effects)
    assert tests[0].p_values == tests[1].p_values


def test_units_and_axes_do_not_matter(rng):
    y = np.repeat(["a", "b", "c"], 10)
    v = rng.standard_normal((30, 4))
    mixed = 1e-3 * v @ rng.standard_normal((4, 4)) + 7
    turned = 1e6 * v @ ortho_group.rvs(4, random_state=0)
    found = [
        permutation_test_features({"n": a[:, 0] * 0 + v[:, 0], "v": a}, y).__dict__
        for a in (v, mixed, turned)
    ]
    for other in found[1:]:
        for name in ("statistics", "effects", "intervals", "p_values", "corrected_p_values"):
            np.testing.assert_allclose(other[name], found[0][name], rtol=1e-6)


def test_the_order_of_labels_gives_the_sign(rng):
    v, y = rng.standard_normal((20, 2)), np.arange(20) % 2
    one = permutation_test_features({"n": v[:, 0], "v": v}, y)
    other = permutation_test_features({"n": v[:, 0], "v": v}, 1 - y)
    np.testing.assert_allclose(one.effects, other.effects * [-1, 1])
    np.testing.assert_allclose(one.intervals[0], -other.intervals[0, ::-1], rtol=0.1)
    np.testing.assert_allclose(one.p_values, other.p_values, atol=0.02)
    np.testing.assert_allclose(one.means[:, ::-1], other.means)


def test_a_constant_quantity_differs_nowhere(rng):
    values = {"n": np.full(20, 1 / 3), "v": np.full((20, 3), 0.1), "r": rng.standard_normal(20)}
    test = permutation_test_features(values, np.arange(20) % 2)
    assert (test.p_values[:2] == 1).all() and (test.corrected_p_values[:2] == 1).all()
    np.testing.assert_array_equal(test.effects[:2], 0)
    np.testing.assert_array_equal(test.intervals[:2], 0)


def test_labels_without_any_spread_differ():
    test = permutation_test_features(np.repeat([0.0, 1.0], 10), np.repeat([0, 1], 10))
    assert test.p_values[0] == 1e-4 and test.effects[0] == pytest.approx(1.0)


def test_vectors_of_more_numbers_than_trials_are_compared(rng):
    y = np.arange(24) % 2
    v = rng.standard_normal((24, 100))
    assert permutation_test_features(v, y).p_values[0] > 0.05
    v[:, 0] += 20 * y  # one of the few leading axes
    assert permutation_test_features(v, y).p_values[0] == 1e-4


# --------------------------------------------------------------------------- error rates


def free(rng):
    return rng.permutation(np.repeat([0, 1], [9, 18])), None


def paired(rng):
    return np.repeat([0, 1], 12), np.tile(np.arange(12), 2)


def blocked(rng):
    session = np.repeat([0, 1, 2], 10)
    y = (rng.random(30) < np.array([0.3, 0.5, 0.7])[session]).astype(int)
    y[::10], y[1::10] = 0, 1
    return y, session


def between(rng):
    return np.repeat(np.arange(10) % 2, 3), np.repeat(np.arange(10), 3)


def four_labels(rng):
    return np.repeat(np.arange(4), [5, 6, 7, 9]), None


def judged(rng, design, make, n_repeats=20, n_sets=50, m=199):
    """Uncorrected and corrected p of `n_repeats * n_sets` sets of quantities under a design."""
    p, corrected = [], []
    for seed in range(n_repeats):
        y, groups = design(rng)
        n = len(y)
        values = [make(n, y, groups) for _ in range(n_sets)]
        names = [(k, name) for k in range(n_sets) for name in values[k]]
        chosen = Design(y, groups, n)
        prepared = Prepared({key: values[key[0]][key[1]] for key in names}, chosen)
        observed = statistics_of(chosen, chosen.codes[np.newaxis], prepared)[0][0]
        permuted = chosen.permute(m, np.random.RandomState(seed))
        null = statistics_of(chosen, permuted, prepared)[0]
        size = len(values[0])
        for k in range(0, len(names), size):
            of = slice(k, k + size)
            found = p_values(observed[of], null[:, of], prepared.freedom[of])
            p.append(found[0])
            corrected.append(found[1])
    return np.array(p), np.array(corrected)


def shared_by(groups, rng, *shape):
    """What trials of a group have in common."""
    return 0 if groups is None else 2 * rng.standard_normal((groups.max() + 1, *shape))[groups]


@pytest.mark.parametrize("design", [free, paired, blocked, between, four_labels])
@pytest.mark.slow
def test_shuffled_labels_differ_in_one_of_twenty_tests(rng, design):
    """For numbers, normal and skewed, for vectors, and for the family of all of them."""

    def make(n, y, groups):
        z = rng.standard_normal((n, 3)) @ MIXED
        both = {"a": z[:, 0], "b": np.exp(z[:, 1]), "v": z}
        return {k: x + shared_by(groups, rng, *x.shape[1:]) for k, x in both.items()}

    p, corrected = judged(rng, design, make)
    assert p.shape == (1000, 3)
    np.testing.assert_allclose((p <= 0.05).mean(axis=0), 0.05, atol=0.015)
    assert (p <= 0.05).mean() == pytest.approx(0.05, abs=0.01)
    # correlated quantities: exact, not only below
    assert (corrected.min(axis=1) <= 0.05).mean() == pytest.approx(0.05, abs=0.015)
    assert (p <= 0.05).any(axis=1).mean() > 0.08  # what the correction is for


@pytest.mark.slow
def test_a_label_with_more_spread_is_no_difference_of_means(rng):
    """Hotelling's T2 and the pooled t reject in a third and a sixth of such tests."""

    def make(n, y, groups):
        z = rng.standard_normal((n, 3)) * np.where(y == 0, 3.0, 1.0)[:, np.newaxis]
        return {"n": z[:, 0], "v": z}

    p, _ = judged(rng, lambda rng: (np.repeat([0, 1], [12, 36]), None), make)
    assert ((p <= 0.05).mean(axis=0) < 0.08).all()


@pytest.mark.slow
def test_animals_that_differ_are_not_taken_for_genotypes(rng):
    """Without groups trials of few animals count as independent: here is what that costs."""
    animal = np.repeat(np.arange(8), 10)
    y = animal % 2

    def make(n, y, groups):
        return {"n": rng.standard_normal(80) + rng.standard_normal(8)[animal]}

    wrong, _ = judged(rng, lambda rng: (y, None), make, n_repeats=5)
    right, _ = judged(rng, lambda rng: (y, animal), make, n_repeats=5)
    assert (wrong <= 0.05).mean() > 0.3
    assert (right <= 0.05).mean() < 0.08


@pytest.mark.slow
def test_animals_stay_the_units_where_the_fit_had_conditions(rng):
    """Conditions divide groups where labels differ within them, not animals of two genotypes."""
    animal, direction = np.repeat(np.arange(8), 10), np.tile(np.arange(5), 16)

    def make(n, y, groups):
        v = rng.standard_normal((8, 2))[animal] + rng.standard_normal((5, 2))[direction]
        return {"n": rng.standard_normal(80) + v[:, 0], "v": v + rng.standard_normal((80, 2))}

    for y, n_groups in ((animal % 2, 8), (np.repeat([0, 1] * 8, 5), 40)):
        groups = _refined(y, animal, direction, 80)
        assert len(np.unique(groups)) == n_groups
        p, _ = judged(rng, lambda rng, y=y, groups=groups: (y, groups), make, n_repeats=5)
        np.testing.assert_allclose((p <= 0.05).mean(), 0.05, atol=0.03)


def test_conditions_of_the_fit_must_not_tell_the_labels():
    direction, session = np.tile(np.arange(6), 8), np.repeat(np.arange(4), 12)
    for groups, where in ((None, "condition holds"), (session, "condition of a group holds")):
        with pytest.raises(
            ValueError, match=f"conditions determine y: each {where} only one label of y"
        ):
            _refined(direction < 3, groups, direction, 48)
    mutant = session < 2
    told = np.where(mutant & (direction == 0), "rare", "common")
    with pytest.raises(
        ValueError, match="4 of 48 trials belong to conditions that each hold only one label"
    ):
        _refined(mutant, session, told, 48)
    assert _refined(mutant, session, direction, 48) is session


@pytest.mark.slow
def test_what_differs_is_found_and_nothing_else(rng):
    """Power of one in three quantities that is an SD apart, beside the level of the others."""

    def make(n, y, groups):
        z = rng.standard_normal((n, 3)) @ MIXED
        return {"a": z[:, 0] + 1.2 * y, "b": z[:, 1] - z[:, 0], "c": z[:, 2]}

    p, corrected = judged(rng, free, make)
    t = 1.2 / np.sqrt(1 / 9 + 1 / 18)
    expected = stats.nct.sf(stats.t.isf(0.025, 25), 25, t)  # of the pooled t
    assert (p[:, 0] <= 0.05).mean() == pytest.approx(expected, abs=0.05)
    assert (corrected[:, 0] <= 0.05).mean() > expected - 0.2
    # strong control: of those that do not differ, with one that does
    assert (corrected[:, 1:] <= 0.05).any(axis=1).mean() < 0.065


@pytest.mark.slow
def test_intervals_cover_and_agree_with_p(rng):
    trial, epoch = np.tile(np.arange(15), 2), np.repeat([0, 1], 15)
    covered, tests = [], []
    for seed in range(200):
        shared = rng.standard_normal(15)[trial]
        n = shared + rng.standard_normal(30) + 1.0 * epoch
        v = rng.standard_normal((30, 2)) + np.outer(epoch, [1.0, 0]) + shared[:, np.newaxis]
        test = permutation_test_features(
            {"n": n, "v": v}, epoch, groups=trial, n_permutations=199, random_state=seed
        )
        covered.append((test.intervals[:, 0] <= 1) & (test.intervals[:, 1] >= 1))
        tests.append((test.intervals[0, 0] > 0) == (test.p_values[0] <= 0.05))
    np.testing.assert_allclose(np.mean(covered, axis=0), 0.95, atol=0.035)
    assert all(tests)


# ---------------------------------------------------------------------------- corrections


def test_the_correction_knows_that_quantities_are_the_same(rng):
    y, v = np.arange(30) % 2, rng.standard_normal(30)
    v += 0.8 * y
    alone = permutation_test_features(v, y)
    copies = permutation_test_features({f"{k}": 2.0**k * v for k in range(6)}, y)
    assert (copies.corrected_p_values == alone.p_values).all()
    many = permutation_test_features(
        {"v": v} | {f"{k}": rng.standard_normal(30) for k in range(5)}, y
    )
    assert alone.p_values[0] < many.corrected_p_values[0] <= 6 * alone.p_values[0]


def test_corrected_p_follow_the_definition(rng):
    """Maxima over the quantities that are left once those more surprising are out."""
    F, null = np.array([9.0, 1.0, 5.0]), rng.chisquare(1, size=(99, 3))
    p, corrected = p_values(F, null, np.full((3, 2), [1, 50]))
    np.testing.assert_array_equal(p, (1 + (null >= F).sum(axis=0)) / 100)
    largest = (1 + (null.max(axis=1) >= 9).sum()) / 100
    second = max(largest, (1 + (null[:, 1:].max(axis=1) >= 5).sum()) / 100)
    third = max(second, (1 + (null[:, 1] >= 1).sum()) / 100)
    np.testing.assert_array_equal(corrected, [largest, third, second])


def test_blocks_of_permutations_change_nothing(rng, monkeypatch):
    v, y = rng.standard_normal((30, 2)), np.arange(30) % 3
    whole = permutation_test_features(v, y, n_permutations=500)
    monkeypatch.setattr(_exchange, "WORK", 1000)
    parts = permutation_test_features(v, y, n_permutations=500)
    np.testing.assert_allclose(parts.null, whole.null, rtol=1e-10)


# ----------------------------------------------------------------------- fits and labels


@pytest.fixture(scope="module")
def two_tasks():
    return make_multitask(
        24, tasks=("oscillation", "reach"), n_neurons=16, n_timesteps=40, dt=0.02, random_state=0
    )


@pytest.fixture(scope="module")
def unlabelled(two_tasks, small):
    return small(rank=6, max_iter=20).fit(two_tasks.X)


@pytest.mark.slow
def test_features_of_a_fit_without_labels(unlabelled, two_tasks):
    X, y = two_tasks.X, two_tasks.task
    test = permutation_test(unlabelled, X, y)
    names = [
        "embedding",
        "growth rate (1/s)",
        "frequency (Hz)",
        "Lyapunov exponent (1/s)",
        "speed (1/s)",
    ]
    assert test.names == names and test.labels == ["oscillation", "reach"]
    assert test.corrected_p_values[0] < 0.05 and test.n_permutations == 9999
    rnns = unlabelled.dynamics(X)
    steps = np.diff(rnns.free_run(), axis=1) / 0.02
    speed = np.sqrt(np.square(steps).mean(axis=(1, 2)))
    analyzer = EigenspectrumAnalyzer("trajectory")
    growth = analyzer.fit_transform(rnns)[:, 0]
    rhythm = EigenspectrumAnalyzer("equivalent", 0, min_growth_rate=-2.0).fit_transform(rnns)[:, 0]
    exponents = lyapunov_exponents(rnns, n_exponents=1)[:, 0]
    for k, values in enumerate((growth, rhythm, exponents, speed), 1):
        means = [values[y == label].mean() for label in test.labels]
        np.testing.assert_allclose(test.means[k], means, rtol=1e-6)
    again = permutation_test_features({"embedding": unlabelled.transform(X)}, y)
    np.testing.assert_allclose(again.statistics[0], test.statistics[0], rtol=1e-6)
    scaled = make_pipeline(TrialScaler(), clone(unlabelled)).fit(X)
    assert permutation_test(scaled, X, y, features="embedding").p_values[0] < 0.05


def test_what_features_may_be(unlabelled, two_tasks):
    X, y = two_tasks.X, two_tasks.task

    def radius(rnns):
        return np.abs(rnns.eigenvalues()).max(axis=1)

    def both(rnns):
        return {"two": radius(rnns), "three": rnns.eigenvalues().real}

    features = [
        radius,
        both,
        {"given": np.arange(24.0)},
        LyapunovAnalyzer(n_exponents=2),
        EigenspectrumAnalyzer(n_eigenvalues=0),
    ]
    test = permutation_test(unlabelled, X, y, features=features, n_permutations=19)
    assert test.names == [
        "radius",
        "two",
        "three",
        "given",
        "lyapunov0",
        "lyapunov1",
        "max_frequency",
        "spectral_radius",
        "n_unstable",
    ]
    assert np.isnan(test.means[2]).all()  # a vector
    np.testing.assert_array_equal(test.null[:, 0], test.null[:, 1])
    named = {place: EigenspectrumAnalyzer(place, 0) for place in ("origin", "equivalent")}
    test = permutation_test(unlabelled, X, y, features=named | {"r": radius}, n_permutations=19)
    assert test.names[::3] == ["origin: max_frequency", "equivalent: max_frequency", "r"]


@pytest.mark.slow
def test_a_fit_that_knew_the_labels_is_refused_for_the_trials_it_knew(two_tasks, small):
    X, y = two_tasks.X, two_tasks.task
    est = small(rank=6, max_iter=40).fit(X[:14], y[:14])
    how = {"features": "embedding", "n_permutations": 99}
    with pytest.raises(ValueError, match=r"14 of the 24 trials were fitted with labels.*refit"):
        permutation_test(est, X, y, **how)
    with pytest.raises(ValueError, match="1 of the 11 trials were fitted with labels"):
        permutation_test(est, X[13:], y[13:], **how)
    assert permutation_test(est, X[14:], y[14:], **how).p_values[0] <= 0.05
    # labels of the fit that are kept by the permutations
    other = np.arange(24) % 4 // 2
    test = permutation_test(est, X, other, conditions=y, **how)
    assert test.exchange == "within" and test.n_groups == 2
    block = np.arange(24) // 12
    test = permutation_test(est, X, other, conditions=y, groups=block, **how)
    assert test.n_groups == 4
    with pytest.raises(ValueError, match="conditions must be the labels that the fit was given"):
        permutation_test(est, X, other, conditions=block, **how)
    with pytest.raises(ValueError, match="conditions determine y"):
        permutation_test(est, X, y, conditions=y, **how)


@pytest.mark.slow
def test_conditions_of_a_fit_are_checked_where_it_knows_the_trials(two_tasks, small):
    X, y = two_tasks.X, two_tasks.task
    est, other = small(rank=6, max_iter=20).fit(X, y), np.arange(24) % 4 // 2
    how = {"features": "embedding", "n_permutations": 19}
    swapped = y.copy()
    swapped[[np.argmax(y == "reach"), np.argmax(y != "reach")]] = "oscillation", "reach"
    for wrong in (np.full(24, "reach"), y[::-1], swapped):
        with pytest.raises(ValueError, match=r"these assign '[a-z]*' to other trials"):
            permutation_test(est, X, other, conditions=wrong, **how)
    order = np.r_[np.arange(24)[::-1], 3]  # all trials, one of them twice
    permutation_test(est, X[order], other[order], conditions=y[order], **how)


def test_a_fit_of_conditions_is_told_that_trials_are_not_its_own(two_tasks, small):
    """Windows of its trials are no trials that it has not seen, and are not recognised."""
    X, y = two_tasks.X, two_tasks.task
    est = small(n_components=1, rank=6, max_iter=20, embedding="condition").fit(X[:14], y[:14])
    how = {"features": "embedding", "n_permutations": 19}
    for trials, labels in ((X[:14, :30], y[:14]), (X[14:], y[14:])):
        with pytest.raises(ValueError, match=r"held_out=True\. Otherwise: Fit without"):
            permutation_test(est, trials, labels, **how)
    other = np.arange(10) // 2 % 2
    permutation_test(est, X[14:], other, conditions=y[14:], **how)
    assert permutation_test(est, X[14:], y[14:], held_out=True, **how).n_trials == 10
    with pytest.raises(ValueError, match="14 of the 24 trials were fitted with labels"):
        permutation_test(est, X, y, held_out=True, **how)


@pytest.mark.slow
def test_a_fit_pulls_random_labels_apart_and_refits_know_it(small):
    """Embeddings of conditions: shuffled labels look different under the fit that they made."""
    X = make_multitask(16, tasks=("reach",), n_neurons=10, n_timesteps=20, dt=0.05).X
    est = small(n_components=1, rank=3, dt=0.05, embedding="condition", max_iter=10)
    y = np.random.RandomState(0).permutation(16) % 2
    how = {"features": "embedding", "refit": True}
    test = permutation_test(est, X, y, n_permutations=9, **how)
    under_one = permutation_test_features(est.fit(X, y).embedding_, y)
    np.testing.assert_allclose(under_one.statistics, test.statistics, rtol=1e-3)
    assert np.median(test.null) > 2 * np.median(under_one.null)
    assert test.p_values[0] > under_one.p_values[0]
    assert test.refit and np.isnan(test.intervals).all()
    assert "pulls them apart" in test.summary() and "a fit of its own" in str(test)
    with joblib.parallel_config(backend="threading"):
        again = permutation_test(est, X, y, n_permutations=2, n_jobs=2, **how)
    np.testing.assert_array_equal(again.null, test.null[:2])
    with pytest.raises(ValueError, match="conditions have no role"):
        permutation_test(est, X, y, conditions=y, **how)


@pytest.mark.filterwarnings("ignore:Labels can be exchanged")
def test_refits_give_trials_the_labels_that_were_drawn():
    y = np.array(["a", "b", "a", "b", "b", "b", "a", "a"])
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    with pytest.warns(UserWarning, match="4 of 8 trials do not count"):
        design = Design(y, groups, 8)
    assert design.labels_of(design.codes, y).tolist() == y.tolist()
    swapped = 1 - design.codes
    assert design.labels_of(swapped, y).tolist() == ["b", "a", "b", "a", "b", "b", "a", "a"]
    whole = Design(np.repeat([5, 7], 4), np.repeat(np.arange(4), 2), 8)
    drawn = whole.labels_of(np.array([1, 0, 1, 0]), np.repeat([5, 7], 4))
    assert drawn.tolist() == [7, 7, 5, 5, 7, 7, 5, 5]


# ------------------------------------------------------------------------ words and tables


@pytest.fixture(scope="module")
def three():
    """A number that differs, one that does not, and a vector, in 20 pairs."""
    rng = np.random.default_rng(2)
    epoch = np.repeat(["delay", "reach"], 20)
    values = {
        "growth rate (1/s)": rng.standard_normal(40) + 2.0 * (epoch == "reach"),
        "n_stable": rng.standard_normal(40),
        "embedding": rng.standard_normal((40, 3)),
    }
    return permutation_test_features(values, epoch, groups=np.tile(np.arange(20), 2))


def test_the_summary_says_what_differs_by_how_much(three):
    first, second, third, note, how = three.summary().splitlines()
    match = re.fullmatch(
        r"growth rate differs; reach minus delay: (.*) \[(.*), (.*)\] 1/s, corrected p = (.*)\.",
        first,
    )
    expected = [three.effects[0], *three.intervals[0], three.corrected_p_values[0]]
    np.testing.assert_allclose([float(g) for g in match.groups()], expected, rtol=0.01)
    assert second.startswith("n_stable is not shown to differ; reach minus delay: ")
    assert note == "Intervals are those of each quantity alone: they are not corrected."
    assert re.search(r"distance of delay and reach: .* \[.*\] SD, corrected p = ", third)
    assert how == "40 trials in 20 groups, within which labels were exchanged 9999 times."
    values, y = np.arange(12.0), np.arange(12) % 3
    alone = permutation_test_features(values, y).summary().splitlines()
    assert len(alone) == 2 and "; share that labels explain: " in alone[0]


def test_the_table_has_a_row_for_each_quantity(three):
    rows = str(three).splitlines()
    assert rows[0].split() == "delay reach effect 95 % interval p corrected p".split()
    assert [row.split("  ")[0] for row in rows[1:4]] == three.names
    assert repr(three) == str(three)  # not 9999 permutations
    assert three == three and three != dataclasses.replace(three)  # no ambiguous arrays


def test_the_frame_has_all_numbers(three):
    frame = three.to_frame()
    assert isinstance(frame, pd.DataFrame) and frame.index.tolist() == three.names
    assert frame.columns.tolist() == [
        "mean_delay",
        "mean_reach",
        "effect",
        "kind",
        "low",
        "high",
        "statistic",
        "p_value",
        "corrected_p_value",
    ]
    np.testing.assert_array_equal(frame[["low", "high"]], three.intervals)
    assert frame["kind"].tolist() == ["difference", "difference", "distance"]


def test_a_frame_without_pandas_says_what_to_install(three, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        three.to_frame()


def test_few_permutations_leave_intervals_open(rng):
    test = permutation_test_features(rng.standard_normal(20), np.arange(20) % 2, n_permutations=18)
    np.testing.assert_array_equal(test.intervals, [[-np.inf, np.inf]])
    assert "[-inf, inf]" in str(test) and "[-inf, inf]" in test.summary()


def test_shares_of_the_variance_are_unbiased(rng):
    """Of four labels, with 40 % and with none of the variance between them."""
    y = np.repeat(np.arange(4), 25)
    means = np.array([-1.0, -0.5, 0.5, 1.0])
    means *= np.sqrt(0.4 / 0.6 / np.square(means).mean())
    found = []
    for seed in range(60):
        v = rng.standard_normal((100, 2))
        test = permutation_test_features(
            {"n": v[:, 0] + means[y], "none": v[:, 1]}, y, n_permutations=19, random_state=seed
        )
        found.append([*test.effects, test.intervals[0, 0] <= 0.4 <= test.intervals[0, 1]])
    assert test.kinds == ["share", "share"]
    share, none, covered = np.mean(found, axis=0)
    assert share == pytest.approx(0.4, abs=0.02) and none < 0.02 and covered > 0.88


def test_the_same_seed_gives_the_same_test(rng):
    v, y = rng.standard_normal(20), np.arange(20) % 2
    one, same, other = (permutation_test_features(v, y, random_state=s).null for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_values_come_as_arrays_dicts_or_tables(rng):
    v, y = rng.standard_normal((20, 2)), np.arange(20) % 2
    table = pd.DataFrame(v, columns=["a", "b"])
    found = [
        permutation_test_features(x, y).p_values.tolist()
        for x in (table, dict(table), {"a": v[:, [0]], "b": v[:, 1].tolist()})
    ]
    assert found[0] == found[1] == found[2]


@pytest.mark.slow
def test_a_column_of_a_table_is_one_quantity(unlabelled, two_tasks, rng):
    table = pd.DataFrame(
        rng.standard_normal((24, 2)), columns=["speed (1/s)", "x"], index=[*"ab"] * 12
    )
    column, y = table["speed (1/s)"], two_tasks.task
    test = permutation_test_features(column, y)
    assert test.names == ["speed (1/s)"]
    bare = permutation_test_features(column.to_numpy(), y)
    np.testing.assert_array_equal(test.null, bare.null)
    assert permutation_test_features(column.rename(None), y).names == bare.names == ["values"]
    within = {"t": table, "n": column}
    test = permutation_test_features(within, y)
    assert test.names == ["t: speed (1/s)", "t: x", "n"]
    same = permutation_test(unlabelled, two_tasks.X, y, features=within)
    assert same.names == test.names
    np.testing.assert_array_equal(same.statistics, test.statistics)
    features = [table, lambda rnns: table[["x"]].add_suffix("2"), {"named": column}]
    test = permutation_test(unlabelled, two_tasks.X, y, features=features, n_permutations=19)
    assert test.names == ["speed (1/s)", "x", "x2", "named"] and set(test.kinds) == {"difference"}
    alone = permutation_test(unlabelled, two_tasks.X, y, features=column, n_permutations=19)
    assert alone.names == ["speed (1/s)"]


def test_few_ways_to_exchange_labels_are_pointed_out(rng):
    y = np.repeat([0, 1], 3)
    with pytest.warns(UserWarning, match=r"in only 10 distinct ways.*smaller than 1/10"):
        test = permutation_test_features(np.arange(6.0), y)
    assert test.p_values[0] == pytest.approx(0.1, abs=0.02)
