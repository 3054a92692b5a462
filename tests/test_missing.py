"""Facts about NaN in X: it is a sample that is missing, and nothing else changes."""

import numpy as np
import pytest
from sklearn.metrics import r2_score
from sklearn.utils import Bunch, get_tags

from jedi_sklearn import (
    EigenspectrumAnalyzer,
    FixedPointAnalyzer,
    JEDIEstimator,
    LyapunovAnalyzer,
    _missing,
    find_fixed_points,
    flow_field,
)
from jedi_sklearn._missing import Imputer, interpolate
from jedi_sklearn._observation import Gaussian
from jedi_sklearn._trials import trial_moments
from jedi_sklearn.preprocessing import pad_trials

LENGTHS = np.array([50, 30, 41, 26, 50, 35, 22, 47, 33, 28])


def cut_short(X, lengths):
    """The same trials with NaN from the end of each on."""
    return pad_trials([x[:n] for x, n in zip(X, lengths, strict=True)], length=X.shape[1])


def without_neurons(X, share, seed=0, keep=0):
    """Each trial without a random share of its neurons (the first `keep` trials have all)."""
    gone = np.random.RandomState(seed).uniform(size=(len(X), X.shape[2])) < share
    gone[:keep] = False
    X = X.copy()
    X[np.broadcast_to(gone[:, np.newaxis], X.shape)] = np.nan
    return X, gone


def scattered(X, share, seed=0):
    """X without a random share of its samples."""
    X = X.copy()
    X[np.random.RandomState(seed).uniform(size=X.shape) < share] = np.nan
    return X


def missing_r2(truth, predicted, gone):
    """R2 of the neurons that were missing from trials."""
    t, p = (np.moveaxis(a, 2, 1)[gone] for a in (truth, predicted))
    return 1 - np.square(t - p).sum() / np.square(t - t.mean()).sum()


def known_estimator(model, **changes):
    parameters = {"scale": None, "dt": model.dt, "max_iter": 60, "tol": 1.0, "random_state": 0}
    parameters["initial_state"] = model.initial_state
    return JEDIEstimator(2, 2, **(parameters | changes))


def spectra(est, X):
    return np.sort_complex(est.dynamics(X).eigenvalues())


@pytest.fixture(scope="module", params=["generated", "observed"])
def known(request, known):
    """Noise-free trials of a known model that start where the embeddings say, or anywhere."""
    X = known.X
    if request.param == "generated":
        maps = np.random.RandomState(0).standard_normal((2, known.rank))
        x0 = np.sqrt(len(known.P) / known.rank) * known.c @ maps @ known.P.T
        X = known.rnns.simulate(x0, X.shape[1])
    return Bunch(**(known | {"X": X, "initial_state": request.param}))


@pytest.fixture(scope="module")
def recovered(known):
    return known_estimator(known, max_iter=400, tol=1e-3).fit(known.X[:30])


# What is imputed


def test_gaps_are_bridged_by_straight_lines_and_ends_are_held():
    t = np.arange(8.0)
    z = np.column_stack([2 * t - 3, np.full(8, 4.0), t**2])
    expected = z.copy()
    expected[:2, 2], expected[6:, 2] = z[2, 2], z[5, 2]
    gappy = z.copy()
    gappy[[2, 3, 6], 0] = np.nan
    gappy[[0, 1, 6, 7], 2] = np.nan
    np.testing.assert_allclose(interpolate(gappy), expected)
    assert interpolate(z) is z


def test_one_value_imputes_a_trial_and_none_stays_missing():
    z = np.full((5, 2), np.nan)
    z[3, 0] = 1.5
    filled = interpolate(z)
    np.testing.assert_array_equal(filled[:, 0], np.full(5, 1.5))
    assert np.isnan(filled[:, 1]).all()


def test_neurons_that_were_never_recorded_are_not_interpolated(monkeypatch):
    z, own, widths = np.full((9, 6), np.nan), [1, 4], []
    z[::2, own] = np.random.default_rng(0).normal(size=(5, 2))

    def watched(z):
        widths.append(z.shape[1])
        return interpolate(z)

    monkeypatch.setattr(_missing, "interpolate", watched)
    filled = watched(z)
    assert widths == [6, 2]
    np.testing.assert_allclose(filled[1::2, own], (z[:-1:2, own] + z[2::2, own]) / 2)
    assert np.isnan(filled).sum() == 9 * 4


@pytest.mark.parametrize("share", [0.2, 0.35])
def test_missing_neurons_of_low_rank_data_are_found_from_the_others(share):
    rng = np.random.RandomState(0)
    latent = rng.standard_normal((40, 30, 3)).cumsum(axis=1)
    X = latent @ rng.standard_normal((3, 20)) + 2
    gappy, gone = without_neurons(X, share)
    mean, variance, count = trial_moments(gappy)
    np.testing.assert_allclose(count, 30 * (~gone).sum(axis=0))
    scale = np.sqrt(variance)
    imputer = Imputer.learn(gappy, Gaussian(mean, scale).states)
    filled = np.stack([imputer((x - mean) / scale) for x in gappy]) * scale + mean
    np.testing.assert_allclose(filled[~np.isnan(gappy)], X[~np.isnan(gappy)])
    assert missing_r2(X, filled, gone) > 0.99


def test_an_imputer_of_whole_data_predicts_exactly_and_touches_no_whole_trial():
    rng = np.random.RandomState(0)
    X = rng.standard_normal((20, 30, 3)) @ rng.standard_normal((3, 20))
    imputer = Imputer.learn(X, lambda trial: trial)
    trial = X[0]
    assert imputer(trial) is trial
    gappy = trial.copy()
    gappy[:, 5:9] = np.nan
    np.testing.assert_allclose(imputer(gappy), X[0], atol=1e-3)


def test_neurons_that_come_late_or_are_lost_are_predicted_while_others_are_there():
    rng = np.random.RandomState(0)
    X = rng.standard_normal((20, 30, 3)) @ rng.standard_normal((3, 20))
    imputer = Imputer.learn(X, lambda trial: trial)
    gappy = X[0].copy()
    gappy[:7, 4] = gappy[12:, :3] = gappy[25:] = np.nan
    filled = imputer(gappy)
    np.testing.assert_allclose(filled[:25], X[0, :25], atol=1e-3)
    np.testing.assert_array_equal(filled[25:, 5], X[0, 24, 5].repeat(5))  # held: nobody is left


def low_rank(codes=None, n_neurons=30, rank=3, noise=0.3, seed=0):
    """60 trials of that rank and noise, of which two halves lack 8 neurons each, and all of it."""
    rng = np.random.default_rng(seed)
    curves = rng.normal(size=(60, 20, rank)).cumsum(axis=1)
    if codes is not None:
        curves = curves[codes] + 0.3 * rng.normal(size=curves.shape)
    whole = curves @ rng.normal(size=(rank, n_neurons))
    X = whole + noise * rng.normal(size=whole.shape)
    X[::2, :, :8], X[1::2, :, 8:16] = np.nan, np.nan
    return X, whole


def never_r2(X, whole, codes=None):
    """R2 of what was never recorded."""
    imputer = Imputer.learn(X, lambda x: x, codes)
    predicted = np.stack([imputer(x) for x in X])
    return r2_score(whole[np.isnan(X)], predicted[np.isnan(X)])


@pytest.mark.parametrize("lost", [0.0, 0.1, 0.4])
@pytest.mark.slow
def test_neurons_never_recorded_together_are_linked_by_others(lost):
    """Also where links have gaps of their own."""
    X, whole = low_rank()
    X = without_neurons(X, lost)[0]
    assert never_r2(X, whole) > (0.97 if lost < 0.3 else 0.8)
    assert never_r2(X[:, :, :18], whole[:, :, :18]) < 0.9  # by two neurons three axes are not


def test_a_silent_link_links_nothing():
    X, whole = low_rank()
    X = np.concatenate([X[:, :, :16], np.zeros((60, 20, 1))], axis=2)
    imputer = Imputer.learn(X, lambda x: x)
    assert np.isfinite(imputer(X[0])).all()


def test_links_of_noise_explain_nothing():
    """With as many of them as samples a regression explains all, by chance."""
    codes = np.arange(60) // 2 % 6
    X, whole = low_rank(codes)
    X, whole = X[:, ::5, :16], whole[:, ::5, :16]
    noise = np.random.default_rng(4).normal(size=(60, 4, 130))
    X, whole = (np.concatenate([x, noise], axis=2) for x in (X, whole))
    assert never_r2(X, whole, codes) > 0.3


def test_links_reach_over_several_groups():
    """The first session shares neurons with the second, and that one with the third."""
    _, whole = low_rank()
    X, session = whole.copy(), np.arange(60) % 3
    for i, (first, last) in enumerate([(0, 12), (8, 22), (18, 30)]):
        gone = np.r_[0:first, last:30]
        X[np.ix_(session == i, np.arange(20), gone)] = np.nan
    assert never_r2(X, whole) > 0.97


@pytest.mark.parametrize(("n_links", "enough"), [(2, False), (14, True)])
@pytest.mark.slow
def test_links_or_conditions_align_whichever_say_more(n_links, enough):
    """Labels help where links are few, and labels that say nothing do no harm."""
    codes = np.arange(60) // 2 % 6
    X, whole = (x[:, :, : 16 + n_links] for x in low_rank(codes))
    shuffled = np.random.default_rng(3).permutation(codes)
    alone, helped, misled = (never_r2(X, whole, y) for y in (None, codes, shuffled))
    assert (alone > 0.95) == enough
    assert helped > 0.95
    assert misled == alone


def test_moments_are_those_of_what_was_observed(known):
    X = cut_short(scattered(known.X[:10], 0.2), LENGTHS)
    mean, variance, count = trial_moments(X)
    flat = X.reshape(-1, X.shape[2])
    np.testing.assert_allclose(mean, np.nanmean(flat, axis=0))
    np.testing.assert_allclose(variance, np.nanvar(flat, axis=0))
    np.testing.assert_array_equal(count, np.isfinite(flat).sum(axis=0))


# Trials that end early, under a known model


@pytest.mark.slow
def test_a_padded_trial_is_the_trial_that_was_cut(known, recovered):
    X = cut_short(known.X[30:], LENGTHS)
    together = recovered.posterior(X)
    scores, runs = recovered.score_samples(X), recovered.predict(X)
    for k, n in enumerate(LENGTHS):
        cut = known.X[30 + k : 31 + k, :n]
        for alone in (recovered.posterior(cut), recovered.posterior(X[k : k + 1])):
            for name in ("mean", "covariance", "initial_state", "r2"):
                np.testing.assert_allclose(together[name][k], alone[name][0], atol=1e-6)
        assert scores[k] == pytest.approx(recovered.score_samples(cut)[0], abs=1e-9)
        np.testing.assert_allclose(runs[k, :n], recovered.predict(cut)[0], atol=1e-6)
    np.testing.assert_allclose(recovered.transform(X), together.mean, atol=1e-9)
    assert np.isfinite(runs).all()  # a free run goes on beyond the end of the trial


@pytest.mark.slow
def test_the_score_is_that_of_the_samples_observed(known, recovered):
    rng = np.random.RandomState(0)
    noisy = known.X[30:] + 0.3 * rng.standard_normal(known.X[30:].shape)
    X = cut_short(noisy, LENGTHS)
    np.testing.assert_allclose(
        recovered.score(np.concatenate([X[:1, :26], X[3:4, :26]])),
        recovered.score(np.concatenate([X[3:4], cut_short(X[:1], [26])])),
    )
    seen = ~np.isnan(X)
    X[:, 0] = noisy[:, 0]
    run = recovered.predict(X)
    mean = np.nanmean(X, axis=(0, 1))
    total = np.square(X - mean)[seen].sum()
    expected = 1 - np.square(X - run)[seen].sum() / total
    assert recovered.score(X) == pytest.approx(expected, abs=1e-9)


def test_error_bars_grow_with_what_is_missing(known, recovered):
    X = known.X[30:]
    variance = {}
    for name, trials in {
        "none": X,
        "some": scattered(X, 0.5),
        "end": cut_short(X, [15] * 10),
    }.items():
        trials = trials.copy()
        trials[:, 0] = X[:, 0]
        covariance = recovered.posterior(trials).covariance
        variance[name] = np.trace(covariance, axis1=1, axis2=2)
    assert (variance["some"] > variance["none"]).all()
    assert variance["some"].mean() > 1.3 * variance["none"].mean()
    assert (variance["end"] > variance["none"]).all()


def test_a_trial_of_one_sample_says_where_it_starts_at_most(known, recovered):
    X = cut_short(known.X[30:32], [1, 50])
    found = recovered.posterior(X)
    prior = recovered._model.prior
    assert np.abs(found.mean[1] - prior.mean.numpy()).max() > 1e-2
    if known.initial_state == "observed":  # which no embedding explains
        np.testing.assert_allclose(found.mean[0], prior.mean, atol=1e-6)
        return
    assert np.abs(found.mean[0] - prior.mean.numpy()).max() > 1e-2
    np.testing.assert_allclose(recovered.predict(X)[0, 0], X[0, 0], atol=0.05)
    whole, one = (np.trace(covariance) for covariance in found.covariance[::-1])
    assert whole < one < np.trace(np.linalg.inv(prior.precision))


def test_a_missing_neuron_is_predicted_from_the_others(known, recovered):
    X, gone = without_neurons(known.X[30:], 0.3, seed=1)
    assert missing_r2(known.X[30:], recovered.predict(X), gone) > 0.9
    np.testing.assert_allclose(recovered.transform(X), recovered.transform(known.X[30:]), atol=0.3)


# Fits


@pytest.mark.long
def test_a_fit_of_padded_trials_is_the_fit_of_the_trials(known):
    train, test = known.X[:30, :40], known.X[30:]
    cut = known_estimator(known).fit(train)
    padded = known_estimator(known).fit(cut_short(known.X[:30], [40] * 30))
    assert padded.score(test) == pytest.approx(cut.score(test), abs=1e-3)
    assert padded.loss_curve_[0] == pytest.approx(cut.loss_curve_[0], rel=1e-3)
    np.testing.assert_allclose(padded.embedding_, cut.embedding_, atol=0.05)
    np.testing.assert_allclose(spectra(padded, test), spectra(cut, test), atol=0.05)
    assert padded.n_timesteps_ == 50 and cut.n_timesteps_ == 40
    assert padded.noise_variance_ == pytest.approx(cut.noise_variance_, rel=0.2)


GAPS = {
    "unequal lengths": lambda X: cut_short(X, np.where(np.arange(len(X)) // 4 % 2, 50, 25)),
    "scattered samples": lambda X: scattered(X, 0.1),
    "neurons": lambda X: without_neurons(X, 0.2)[0],
}


@pytest.fixture(scope="module")
def whole(multitask, small):
    """Held-out R2 of a fit to trials without gaps."""
    return small(max_iter=60).fit(multitask.X[:30]).score(multitask.X[30:])


@pytest.mark.parametrize("kind", GAPS)
@pytest.mark.long
def test_gaps_cost_little(multitask, small, whole, kind):
    train, test = multitask.X[:30], multitask.X[30:]
    X = GAPS[kind](train)
    est = small(max_iter=60).fit(X)
    assert est.score(test) > whole - 0.05
    if kind == "unequal lengths":  # and short trials are worth having
        assert est.score(test) > small(max_iter=60).fit(X[~np.isnan(X[:, -1, 0])]).score(test)
    assert 1 - est.loss_curve_[-1] == pytest.approx(est.score(X), abs=0.03)
    np.testing.assert_allclose(est.embedding_, est.transform(X), atol=1e-6)


@pytest.mark.long
def test_neurons_missing_from_trials_of_the_fit_are_predicted(known):
    X, gone = without_neurons(known.X[:30], 0.25, seed=2)
    est = known_estimator(known).fit(X)
    assert missing_r2(known.X[:30], est.predict(X), gone) > 0.9
    assert est.score(known.X[30:]) > 0.95


VARIANTS = [
    {"connectivity": "low_rank"},
    {"connectivity": "full_rank"},
    {"initial_state": "inferred"},
    {"embedding": "condition", "n_components": 3},
    {"early_stopping": True},
    {"hypernetwork": "mlp", "hidden_layer_sizes": (4,)},
    {"batch_size": 8},
    {"scale": "neuron"},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=lambda c: "-".join(map(str, c.values())))
@pytest.mark.long
def test_every_kind_of_fit_takes_gaps(multitask, small, changes):
    X = cut_short(scattered(multitask.X[:30], 0.1), np.where(np.arange(30) % 3, 50, 30))
    X[4, :, 7] = np.nan
    est = small(max_iter=40, **changes).fit(X, multitask.task[:30])
    assert np.isfinite(est.embedding_).all()
    assert est.score(X) > 0.75
    assert est.score(multitask.X[30:]) > 0.6
    found = est.posterior(X[:5])
    assert (np.linalg.eigvalsh(found.covariance) > 0).all()
    np.testing.assert_allclose(
        est.to_activity(est.dynamics(X[:5]).free_run()), est.predict(X[:5]), atol=1e-8
    )


@pytest.mark.slow
def test_an_inferred_start_needs_no_first_sample(known):
    X = known.X.copy()
    X[30:, :5] = np.nan
    est = known_estimator(known, initial_state="inferred").fit(known.X[:30])
    run = est.predict(X[30:])
    r2 = r2_score(
        known.X[30:].reshape(-1, 24), run.reshape(-1, 24), multioutput="variance_weighted"
    )
    assert r2 > 0.9


@pytest.mark.slow
def test_a_neuron_that_only_validation_trials_have_does_no_harm(multitask, small, monkeypatch):
    left_out = np.array([4, 9, 25])
    monkeypatch.setattr("jedi_sklearn._fit.choose_validation", lambda *_: left_out)
    est = small(early_stopping=True, max_iter=20)
    X = multitask.X[:30].copy()
    X[np.setdiff1d(np.arange(30), left_out), :, 3] = np.nan
    est.fit(X)
    assert np.isfinite(est.posterior(X).covariance).all()


def test_imputed_starts_make_the_mean_start(known):
    X = known.X[:30].copy()
    X[:10, 0, :5] = np.nan
    est = known_estimator(known, max_iter=5).fit(X)
    if known.initial_state == "generated":  # the mean start, without what an embedding adds
        start = est._model.initial_state.mean.numpy()
    else:
        start = est.inverse_transform(np.zeros((1, 2)), n_timesteps=1)[0, 0]
    assert np.isfinite(start).all()
    np.testing.assert_allclose(start[5:], X[:, 0, 5:].mean(axis=0))


def test_the_estimator_says_that_it_takes_nan(small):
    assert get_tags(small()).input_tags.allow_nan


# RNNs of padded trials


def padding(X, n):
    """X with n more samples that nobody recorded."""
    return np.pad(X, ((0, 0), (0, n), (0, 0)), constant_values=np.nan)


@pytest.mark.parametrize(
    "analyzer",
    [
        EigenspectrumAnalyzer("trajectory", min_growth_rate=-5),
        EigenspectrumAnalyzer("equivalent"),
        FixedPointAnalyzer(n_random_starts=4),
        LyapunovAnalyzer(2),
    ],
    ids=lambda analyzer: getattr(analyzer, "at", type(analyzer).__name__),
)
@pytest.mark.slow
def test_features_of_a_padded_trial_are_those_of_the_trial(fitted, multitask, analyzer):
    X = cut_short(multitask.X[:10], LENGTHS)
    alone = [fitted.dynamics(X[[k], :n]) for k, n in enumerate(LENGTHS)]
    expected = np.concatenate([analyzer.fit_transform(rnn) for rnn in alone])
    for rnns in (fitted.dynamics(padding(X, 25)), alone):
        features = analyzer.fit_transform(rnns)
        np.testing.assert_allclose(features, expected, rtol=1e-6, atol=1e-6)


def test_the_search_and_the_plane_end_with_the_trial(fitted, multitask):
    short = fitted.dynamics(multitask.X[:1, :20])
    padded = fitted.dynamics(padding(multitask.X[:1, :20], 50))
    assert padded.n_timesteps == 70
    starts = [find_fixed_points(r, n_random_starts=2)[0].n_starts for r in (short, padded)]
    assert starts == [22, 22]
    np.testing.assert_allclose(flow_field(padded).x, flow_field(short).x, atol=1e-6)


def test_gaps_within_a_trial_are_no_padding(multitask, small):
    X = cut_short(multitask.X[:10], LENGTHS)
    X[0, 20:45] = np.nan  # nobody
    X[1, 25:, 1:] = np.nan  # but neuron 0
    X[2, :5] = np.nan
    est = small(max_iter=5, output="dynamics")
    assert est.fit_transform(X).lengths.tolist() == LENGTHS.tolist()
    assert est.transform(X[1:4]).lengths.tolist() == LENGTHS[1:4].tolist()


# Refusals


def test_what_cannot_be_missing(known, recovered, small):
    X = known.X[:6].copy()
    X[2] = np.nan
    for call in (small().fit, recovered.transform, recovered.score, recovered.predict):
        with pytest.raises(ValueError, match=r"X has no value in trial 2.*Leave it out"):
            call(X)
    X = known.X[:6].copy()
    X[..., 4] = np.nan
    with pytest.raises(ValueError, match=r"Neuron 4 is NaN in all of X\. Leave out"):
        small().fit(X)
    assert np.isfinite(recovered.transform(X)).all()  # but a fitted model does without it
    X[3, 2, 4] = np.inf
    for call in (small().fit, recovered.transform):
        with pytest.raises(ValueError, match="infinity, first at trial 3, time step 2, neuron 4"):
            call(X)
