"""Facts about spike counts: fitted as they were recorded, with true rates and honest noise."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import xlogy
from scipy.stats import chi2
from sklearn.base import clone
from sklearn.metrics import mean_poisson_deviance, r2_score
from sklearn.utils import Bunch
from torch.testing import assert_close

from jedi_sklearn import JEDIEstimator, RNNBatch, _stored
from jedi_sklearn._connectivity import Shared
from jedi_sklearn._counts import (
    PRIORS,
    WIDTHS,
    CountSmoother,
    _neighbours,
    check_counts,
    looks_like_counts,
)
from jedi_sklearn._observation import MAX_DISPERSION, Poisson
from jedi_sklearn._rollout import plain_loss, split_loss
from jedi_sklearn._trials import Trials
from jedi_sklearn.preprocessing import pad_trials

DATA = Path(__file__).parent / "data"
TRAIN, TEST, FEW, NEW = slice(30), slice(30, None), slice(18), slice(18, 24)
CODES = np.arange(18) % 4
# short fits leave a few trials of the inference, or the training, short of convergence
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def deviance(y, rate):
    """Poisson deviance of counts, NaN left out."""
    return 2 * np.nansum(xlogy(y, y / rate) - y + rate)


def d2(y, rate):
    """Share of the deviance about each neuron's mean that rates explain."""
    return 1 - deviance(y, rate) / deviance(y, np.nanmean(y, axis=(0, 1)))


def r2(truth, rate):
    flat = (np.reshape(a, (-1, a.shape[-1])) for a in (truth, rate))
    return r2_score(*flat, multioutput="variance_weighted")


def squares(a, b, covariance):
    """Squared difference of embeddings in units of a covariance, by trial."""
    return np.einsum("ki,kij,kj->k", a - b, np.linalg.inv(covariance), a - b)


def doubled(rates, rng):
    """Counts of twice the variance of Poisson counts: spikes come in pairs."""
    return 2 * rng.poisson(rates / 2)


@pytest.fixture(scope="module")
def spiking(make_model):
    """40 trials of counts, whose log rates are 0.7 times free runs that embeddings start."""
    model = make_model(40, 40, n_neurons=16, rank=2, turning=1.5)
    maps = np.random.RandomState(1).standard_normal((2, 2))
    x0 = np.sqrt(8) * model.c @ maps @ model.P.T
    rates = np.exp(0.7 * model.rnns.simulate(x0, 40))
    X = np.random.RandomState(0).poisson(rates)
    return Bunch(X=X, rates=rates, c=model.c, dt=model.dt)


@pytest.fixture(scope="module")
def few(spiking):
    """24 short trials of half of the neurons."""
    return Bunch(X=spiking.X[:24, :20, ::2], rates=spiking.rates[:24, :20, ::2])


@pytest.fixture(scope="module")
def short(small, spiking):
    """An estimator of the right size that makes a few steps."""

    def make(**changes):
        parameters = {"n_components": 2, "rank": 2, "dt": spiking.dt, "max_iter": 8}
        return small(**(parameters | {"n_init": 1} | changes))

    return make


@pytest.fixture(scope="module")
def est(small, spiking):
    """A fit to 30 trials; tests do not change it."""
    est = small(n_components=2, rank=2, dt=spiking.dt, max_iter=60)
    return est.fit(spiking.X[TRAIN])


# What passes as counts


@pytest.mark.parametrize(
    ("value", "answer"),
    [(0, True), (100, True), (np.nan, True), (101, False), (-1, False), (0.5, False)],
)
def test_counts_are_small_whole_numbers(value, answer):
    X = np.ones((3, 4, 2))
    X[1, 2, 0] = value
    assert looks_like_counts(X) is answer


@pytest.mark.parametrize("value", [-1.0, 0.25])
def test_what_is_no_count_is_named(value):
    X = np.ones((3, 4, 2))
    X[1, 2, 0] = value
    words = rf"spike counts .*Got {value:g}, first at trial 1, time step 2, neuron 0\..*gaussian"
    with pytest.raises(ValueError, match=words):
        check_counts(X)


def test_missing_counts_pass_and_very_many_are_told():
    X = np.ones((3, 4, 2))
    X[1, 2, 0], X[0, 0, 1] = np.nan, 100
    check_counts(X)  # warnings are errors
    X[2, 0, 0] = 101
    with pytest.warns(UserWarning, match="X has up to 101 spikes in a bin.*gaussian"):
        check_counts(X)


# Smoothed counts


@pytest.mark.parametrize("width", [0.5, 2.0, 16.0])
def test_neighbours_are_weighted_by_a_gaussian_and_leave_out_the_bin(width):
    rng = np.random.RandomState(0)
    trial = rng.poisson(2.0, (30, 3)).astype(float)
    trial[rng.uniform(size=trial.shape) < 0.2] = np.nan
    away = np.subtract.outer(np.arange(30), np.arange(30))
    weight = np.exp(-0.5 * np.square(away / width)) * (abs(away) <= int(4 * width + 0.5))
    weight *= away != 0
    total, count = _neighbours(trial, width)
    assert_allclose(total, weight @ np.nan_to_num(trial), atol=1e-9)
    assert_allclose(count, weight @ ~np.isnan(trial), atol=1e-9)
    own = weight + np.eye(30)  # an estimate counts it too
    smoothed = (own @ np.nan_to_num(trial) + 3 * 0.7) / (own @ ~np.isnan(trial) + 3)
    assert_allclose(CountSmoother(np.full(3, 0.7), width, 3.0)(trial), smoothed)


def test_smoothed_counts_are_positive_and_gaps_are_no_zeros():
    smooth = CountSmoother(np.full(3, 0.7), width=2.0, prior=4.0)
    assert (smooth(np.zeros((25, 3))) > 0).all()
    level = np.full((25, 3), 0.7)
    level[3:17, 1] = level[:, 2] = np.nan
    assert_allclose(smooth(level), 0.7)


def test_a_rate_that_never_changes_is_estimated_by_the_mean():
    X = np.random.RandomState(0).poisson(0.5, (30, 60, 5)).astype(float)
    mean = X.mean((0, 1))
    smooth = CountSmoother.learn(X, mean)
    assert smooth.prior == PRIORS[-1]
    assert np.std(smooth(X[0]) / mean) < 0.1


def test_the_kernel_is_as_wide_as_rates_are_steady():
    rng, time = np.random.RandomState(0), np.arange(60)[:, np.newaxis]
    phase = rng.uniform(0, 2 * np.pi, (30, 1, 5))
    width = {}
    for period in (6, 40):
        rates = 40 * (1 + 0.9 * np.sin(2 * np.pi * time / period + phase))
        X = rng.poisson(rates).astype(float)
        width[period] = CountSmoother.learn(X, X.mean((0, 1))).width
    level = rng.gamma(4.0, 0.25, (30, 1, 5))  # another one in each trial
    X = rng.poisson(np.broadcast_to(level, (30, 60, 5))).astype(float)
    width["steady"] = CountSmoother.learn(X, X.mean((0, 1))).width
    assert width[6] <= 1 < width[40] < 10 < width["steady"]


@pytest.mark.parametrize("level", [0.3, 3.0])
def test_the_kernel_chosen_is_the_best_one_for_counts_drawn_anew(level):
    rng, time = np.random.RandomState(0), np.arange(60)[:, np.newaxis]
    phase = rng.uniform(0, 2 * np.pi, (30, 1, 8))
    rates = level * np.exp(np.sin(2 * np.pi * time / 40 + phase))
    X, new = (rng.poisson(rates).astype(float) for _ in range(2))
    mean = X.mean((0, 1))

    def gain(width, prior):
        smooth = CountSmoother(mean, width, prior)
        return deviance(new, mean) - sum(
            deviance(y, smooth(trial)) for trial, y in zip(X, new, strict=True)
        )

    chosen = CountSmoother.learn(X, mean)
    mine = gain(chosen.width, chosen.prior)
    i, j = WIDTHS.index(chosen.width), PRIORS.index(chosen.prior)
    for width in WIDTHS[i - 1 : i + 2]:
        for prior in PRIORS[max(j - 1, 0) : j + 2]:
            assert mine > 0.98 * gain(width, prior)
    assert mine > 1.2 * gain(0.5, chosen.prior)
    assert mine > 1.5 * gain(16.0, chosen.prior)


def test_the_kernel_is_found_in_trials_with_gaps_and_in_very_short_ones():
    rng = np.random.RandomState(0)
    rates = np.exp(np.sin(2 * np.pi * np.arange(60) / 40 + rng.uniform(0, 6, 30)[:, None]))
    X = rng.poisson(rates[..., np.newaxis], (30, 60, 8)).astype(float)
    gappy = X.copy()
    gappy[rng.uniform(size=X.shape) < 0.3] = np.nan
    gappy[::2, 45:] = np.nan
    mean = X.mean((0, 1))
    whole, some = CountSmoother.learn(X, mean), CountSmoother.learn(gappy, mean)
    assert WIDTHS.index(some.width) in range(*np.add(WIDTHS.index(whole.width), (-1, 3)))
    assert CountSmoother.learn(X[:, :3], mean).width <= 1.5


# The observation


def observation(n=6, **changes):
    g = torch.Generator().manual_seed(1)

    def some(scale):
        return scale * torch.randn(n, generator=g, dtype=torch.float64)

    parameters = {"mean": some(0.3), "scale": some(0.3).exp(), "baseline": some(0.3).exp()}
    return Poisson(**(parameters | {"width": 2.0, "prior": 4.0} | changes))


@pytest.fixture
def drawn():
    """States, counts and weights (0 where a count is missing, which is 0 then)."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(7, 6, generator=g, dtype=torch.float64)
    y = torch.poisson(x.exp(), generator=g)
    weight = (torch.rand(7, 6, generator=g) < 0.7).double()
    return Bunch(x=x, y=y, seen=y * weight, weight=weight)


def test_the_deviance_is_that_of_poisson_counts(drawn):
    obs = observation()

    def deviance(x, y, weight):
        return float(obs.deviance(x, y, weight)) + obs.constant(y.numpy()[np.newaxis]).sum()

    rate = obs.activity(drawn.x.numpy())
    expected = mean_poisson_deviance(drawn.y.numpy().ravel(), rate.ravel()) * rate.size
    assert_allclose(deviance(drawn.x, drawn.y, None), expected)
    seen = drawn.weight.numpy() > 0
    expected = mean_poisson_deviance(drawn.y.numpy()[seen], rate[seen]) * seen.sum()
    assert_allclose(deviance(drawn.x, drawn.seen, drawn.weight), expected)
    exact = torch.as_tensor(obs.states(drawn.y.numpy() + 1))
    assert abs(deviance(exact, drawn.y + 1, None)) < 1e-9


@pytest.mark.parametrize("gaps", [False, True])
def test_a_step_gives_the_derivatives_of_the_deviance(drawn, gaps):
    obs = observation().requires_grad_(True)
    y, weight = (drawn.seen, drawn.weight) if gaps else (drawn.y, None)
    x = drawn.x.clone().requires_grad_()
    expected = obs.deviance(x, y, weight)
    by_x, by_mean = torch.autograd.grad(expected, (x, obs.mean))
    out = torch.empty_like(drawn.x)
    obs.begin()
    for _ in range(2):  # sums up from `begin` on
        assert_close(obs.step(drawn.x, y, weight, out), expected.detach())
    assert_close(2 * out, by_x)
    assert_close(2 * obs.gradients()[0], 2 * by_mean)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("teacher_forcing", [0.0, 0.3])
def test_the_backward_pass_by_hand_is_that_of_autograd(teacher_forcing, gaps):
    g = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    weights = {"U": normal(6, 3), "V": normal(6, 3), "core": normal(4, 3, 3)}
    weights |= {"bias": normal(4, 3), "B": normal(6, 2), "x0": normal(4, 6)}
    y = torch.poisson(torch.ones(9, 4, 6, dtype=torch.float64), generator=g)
    weight = (torch.rand(9, 4, 6, generator=g) < 0.7).double() if gaps else None
    y = y * weight if gaps else y
    trials, found = Trials(y, weight, normal(9, 4, 6), normal(9, 4, 2)), []
    for loss_of in (split_loss, lambda *a: plain_loss(Shared, *a)):
        obs = observation(scale=torch.full((6,), 0.3)).requires_grad_(True)
        leaves = {k: w.clone().requires_grad_() for k, w in weights.items()}
        given = [*leaves.values(), obs.mean]
        loss = loss_of(leaves, leaves.pop("x0"), trials, 0.2, teacher_forcing, obs)
        found.append((loss.detach(), *torch.autograd.grad(loss, given)))
    for got, expected in zip(*found, strict=True):
        assert_close(got, expected, rtol=1e-9, atol=1e-9)
        assert got.abs().max() > 1e-3


@pytest.mark.parametrize("gaps", [False, True])
def test_scores_are_derivatives_of_the_deviance(drawn, gaps):
    obs, eps = observation(), 1e-4
    y, weight = (drawn.seen, drawn.weight) if gaps else (drawn.y, None)
    first, second, each = obs.score(drawn.x, y, weight)
    assert_close(each.sum(), obs.deviance(drawn.x, y, weight).detach())
    for k in range(6):
        move = eps * torch.eye(6, dtype=torch.float64)[k]
        above, below = (obs.score(drawn.x + sign * move, y, weight)[2] for sign in (1, -1))
        assert_close(first[:, k], (above - below) / (4 * eps), rtol=1e-6, atol=1e-6)
        curved = (above - 2 * each + below) / (2 * eps**2)
        assert_close(second[:, k], curved, rtol=1e-4, atol=1e-4)


def test_scores_vary_as_much_as_they_are_said_to():
    """Fisher: with the noise the variance of the score is that of its slope."""
    obs = observation(noise=2.0)
    rng, x = np.random.RandomState(0), torch.linspace(-1, 1, 6, dtype=torch.float64)
    y = doubled(np.tile(obs.activity(x.numpy()), (40000, 1)), rng)
    first, second, _ = obs.score(x.expand(40000, 6), torch.as_tensor(y, dtype=x.dtype), None)
    assert_close(first.var(0), obs.score_variance(second)[0], rtol=0.05, atol=0)
    spread = (second[0] / 2e4).sqrt()  # of the mean score
    assert (first.mean(0).abs() < 4 * spread).all()


@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 5, 6)])
def test_activity_and_states_are_inverse(shape):
    obs = observation()
    x = np.random.RandomState(0).standard_normal(shape)
    x[..., 2] = np.nan
    assert_allclose(obs.states(obs.activity(x)), x)
    assert_allclose(obs.activity(x), np.exp(obs.mean.numpy() + obs.scale.numpy() * x))


def test_null_deviances_are_those_of_means():
    obs, rng = observation(n=4), np.random.RandomState(0)
    X = rng.poisson([0.3, 1.0, 2.0, 0.0], (5, 9, 4)).astype(float)  # one never fires
    expected = deviance(X, np.maximum(X.mean((0, 1)), 1e-300)), X.size
    assert_allclose(obs.null_deviance(X), expected)
    X[1, 5:] = X[2, :, 1] = np.nan
    mean = np.maximum(np.nanmean(X, axis=(0, 1)), 1e-300)
    expected = deviance(X, mean), np.isfinite(X).sum()
    assert_allclose(obs.null_deviance(X), expected)
    assert_allclose(obs.null_deviance(X.astype(np.float32)), obs.null_deviance(X))
    of_training = obs.baseline.numpy()
    assert_allclose([obs.null_deviance_of(x) for x in X], [deviance(x, of_training) for x in X])


def test_residuals_show_the_dispersion():
    rng, x = np.random.RandomState(0), np.random.RandomState(1).standard_normal((400, 30, 3))
    obs = Poisson(np.full(3, 0.5), np.full(3, 0.5), np.exp([0.5] * 3), 2.0, 4.0)
    y = torch.as_tensor(doubled(obs.activity(x), rng), dtype=torch.float64)
    weight = torch.ones_like(y)
    weight[:, ::2, 1] = weight[:, :, 2] = 0
    residual = obs.residual(torch.as_tensor(x), y * weight, weight)
    assert (residual[weight == 0] == 0).all()
    n, total = weight.sum((0, 1)), residual.square().sum((0, 1))
    assert obs.estimate_dispersion(residual, float(n.sum()), 1e-9) == pytest.approx(2, rel=0.05)
    assert obs.estimate_dispersion(residual * 1e9, float(n.sum()), 1.0) == MAX_DISPERSION
    assert obs.estimate_dispersion(residual * np.nan, float(n.sum()), 1.0) == MAX_DISPERSION
    obs.learn_noise(total, n, 1e-8)
    assert obs.dispersion == pytest.approx(2, rel=0.05)
    assert_allclose(obs.noise_of_neuron, [2, 2, obs.dispersion], rtol=0.05)
    assert obs.noise_of_neuron[2] == obs.noise  # of a neuron that nobody saw


@pytest.mark.slow
def test_states_have_units_in_which_all_neurons_are_as_noisy():
    level = np.array([0.2, 0.4, 1.0, 3.0, 10.0])
    X = np.random.RandomState(0).poisson(np.broadcast_to(level, (60, 60, 5))).astype(float)
    variance = {}
    for scale in ("global", "neuron", None):
        obs = Poisson.learn(X, scale)
        z = np.stack([obs.estimate(trial) for trial in X])
        variance[scale] = z.var(axis=(0, 1))
        if scale is not None:
            assert_allclose(z.mean((0, 1)), 0, atol=1e-9)
    assert variance["global"].max() < 1.4 * variance["global"].min()
    assert variance["global"].mean() == pytest.approx(1)
    assert_allclose(variance["neuron"], 1)
    assert variance[None][0] > 30 * variance[None][-1]
    assert_array_equal(obs.scale, 1)
    assert_array_equal(obs.mean, 0)
    said = Poisson.learn(X, "global").guide_variance
    assert_close(said, said.mean().expand(5))


@pytest.mark.parametrize("level", [0.3, 1.0])
def test_the_guide_is_as_far_from_the_state_as_it_says(level):
    rng, time = np.random.RandomState(0), np.arange(60)[:, np.newaxis]
    phase = rng.uniform(0, 2 * np.pi, (30, 1, 8))
    rates = level * np.exp(np.sin(2 * np.pi * time / 40 + phase))
    X = rng.poisson(rates).astype(float)
    obs = Poisson.learn(X, "global")
    error = np.stack([obs.estimate(trial) for trial in X]) - obs.states(rates)
    ratio = np.square(error).mean((0, 1)) / obs.guide_variance.numpy()
    assert (ratio > 0.7).all() and (ratio < 2).all()


# Which observation


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.slow
def test_counts_are_recognised_and_their_type_does_not_matter(short, few, kind):
    est, other = (short().fit(X[FEW]) for X in (few.X.astype(float), few.X.astype(kind)))
    assert other.observation == "auto" and other.observation_ == "poisson"
    assert_array_equal(other.embedding_, est.embedding_)
    assert other.loss_curve_ == est.loss_curve_
    assert_array_equal(other.predict(few.X[NEW].astype(kind)), est.predict(few.X[NEW]))


@pytest.mark.slow
def test_rates_and_what_is_called_rates_are_not_taken_as_counts(short, few):
    assert short(max_iter=2).fit(few.rates).observation_ == "gaussian"
    assert short(max_iter=2, observation="gaussian").fit(few.X).observation_ == "gaussian"
    X = few.X.astype(float)
    X[3, 12:] = X[5, :, 2] = np.nan
    assert short(max_iter=2).fit(X).observation_ == "poisson"
    with pytest.raises(
        ValueError, match=r"X must hold spike counts .*first at trial 0, time step"
    ):
        short(observation="poisson").fit(few.rates)
    with pytest.raises(ValueError, match=r'observation must be one of .* did you mean "poisson"'):
        short(observation="poison").fit(few.X)


def test_counts_beyond_a_hundred_are_fitted_where_asked_for(short, few):
    X = few.X.copy()
    X[3, 4, 5] = 101
    with pytest.warns(
        UserWarning, match=r"1 is not .*101, at trial 3, time step 4, neuron 5.*Put NaN"
    ):
        assert short(max_iter=2).fit(X).observation_ == "gaussian"
    with pytest.warns(UserWarning, match="up to 101 spikes in a bin") as caught:
        est = short(max_iter=2, observation="poisson").fit(X)
    assert caught[0].filename == __file__
    assert est.observation_ == "poisson"


def test_a_fitted_model_takes_no_other_data(est, spiking):
    X = spiking.X[TEST].astype(float)
    X[2, 3, 4] = 0.5
    for call in (est.transform, est.score, est.predict, est.posterior, est.dynamics):
        with pytest.raises(ValueError, match=r"0\.5, first at trial 2, time step 3, neuron 4"):
            call(X)


def test_trials_that_hold_nothing_are_refused(short, few):
    X = np.zeros((24, 20, 5), dtype=int)
    with pytest.raises(ValueError, match=r"X is constant: it holds no spike.*time axis"):
        short().fit(X)
    with pytest.raises(ValueError, match="X is constant: no neuron changes"):
        short().fit(X + 1)
    gone = few.X.astype(float)
    gone[..., 3] = np.nan
    with pytest.raises(ValueError, match=r"Neuron 3 is NaN in all of X\. Leave out"):
        short().fit(gone)


@pytest.mark.slow
def test_neurons_that_never_fire_are_named_and_do_no_harm(short, spiking):
    silent = [3, 11]
    X, keep = spiking.X.copy(), np.setdiff1d(np.arange(16), silent)
    X[..., silent] = 0
    words = r"2 of 16 neurons never fire in X \(neuron 3, 11\).*X\[:, :, np.nansum\(X"
    with pytest.warns(UserWarning, match=words) as caught:
        est = short(max_iter=30).fit(X[TRAIN])
    assert caught[0].filename == __file__
    run = est.predict(X[TEST])
    assert run[..., silent].max() < 0.05
    assert r2(spiking.rates[TEST][..., keep], run[..., keep]) > 0.93
    X[TEST, ::5, 3] = 1  # and then one does
    assert r2(spiking.rates[TEST][..., keep], est.predict(X[TEST])[..., keep]) > 0.9


@pytest.mark.slow
def test_neurons_of_few_spikes_cost_no_others(short, spiking):
    X, rng = spiking.X.copy(), np.random.RandomState(0)
    X[..., :4] *= rng.uniform(size=X[..., :4].shape) < 0.01
    run = short(max_iter=150).fit(X[TRAIN]).predict(X[TEST])
    assert r2(spiking.rates[TEST][..., 4:], run[..., 4:]) > 0.93
    assert run[..., :4].mean() == pytest.approx(X[..., :4].mean(), rel=0.4)


# What comes out


def test_predictions_are_expected_counts(est, spiking):
    run = est.predict(spiking.X[TEST])
    assert (run > 0).all()
    assert_allclose(run.mean((0, 1)), spiking.X[TEST].mean((0, 1)), rtol=0.2)
    assert_array_equal(est.predict(spiking.X[TEST], per_second=True), run / spiking.dt)
    found = est.posterior(spiking.X[TEST])
    assert_allclose(found.initial_state, run[:, 0])
    assert_allclose(est.inverse_transform(found.mean), run)
    ahead = est.forecast(spiking.X[TEST, :30], 10)
    assert ahead.shape == (10, 10, 16) and (ahead > 0).all()
    assert deviance(spiking.X[TEST, 30:], ahead) < deviance(
        spiking.X[TEST, 30:], spiking.X[TRAIN].mean((0, 1))
    )


def test_rates_per_second_are_those_of_counts_only(fitted, multitask):
    with pytest.raises(ValueError, match="per_second=True needs spike counts"):
        fitted.predict(multitask.X[30:], per_second=True)


def test_a_model_of_an_older_file_is_one_of_rates():
    old = JEDIEstimator.load(DATA / "model_format_2.npz")
    assert old.observation_ == "gaussian"
    with pytest.raises(ValueError, match="per_second=True needs spike counts"):
        old.predict(np.zeros((2, 5, old.n_features_in_)), per_second=True)


def test_the_score_is_the_share_of_the_deviance(est, spiking):
    X = spiking.X[TEST].astype(float)
    assert est.score(X) == pytest.approx(d2(X, est.predict(X)), abs=1e-9)
    X[0, 25:] = X[3, :, 5] = np.nan
    run = est.predict(X)
    assert est.score(X) == pytest.approx(d2(X, run), abs=1e-9)
    mean = spiking.X[TRAIN].mean((0, 1))
    each = [1 - deviance(x, r) / deviance(x, mean) for x, r in zip(X, run, strict=True)]
    assert_allclose(est.score_samples(X), each, atol=1e-9)
    assert_allclose(est.posterior(X).r2, each, atol=1e-9)


def test_states_stand_for_rates_and_not_for_counts(est, spiking):
    X = spiking.X[TEST]
    with pytest.raises(
        ValueError, match=r"must be positive, like those that predict returns.*dynamics\(X\)"
    ):
        est.to_states(X)
    run = est.dynamics(X).free_run()
    assert_allclose(est.to_states(est.predict(X)), run, atol=1e-9)
    assert_allclose(est.to_activity(run), np.exp(est.mean_ + est.scale_ * run))


def test_a_run_from_a_start_of_ones_own_is_one_of_rates(est, spiking):
    E, start = est.transform(spiking.X[TEST]), spiking.rates[TEST, 0]
    assert_allclose(est.inverse_transform(E, start)[:, 0], start)
    with pytest.raises(ValueError, match="must be positive"):
        est.inverse_transform(E, 0 * start)


def test_trajectories_are_those_of_states(short, few):
    est = short(output="trajectory").fit(few.X[FEW])
    found, states = est.transform(few.X[FEW]), est.dynamics(few.X[FEW]).free_run()
    assert_allclose(found.mean(0), 0, atol=1e-5)
    share = np.square(found).sum() / np.square(states - states.mean(0)).sum()
    assert 0.99 <= share <= 1 + 1e-9


# The contract


@pytest.mark.parametrize("changes", [{}, {"batch_size": 7, "hypernetwork": "mlp"}])
@pytest.mark.slow
def test_two_fits_are_one(short, few, changes):
    first, second = (short(**changes).fit(few.X[FEW], CODES) for _ in "ab")
    assert_array_equal(first.embedding_, second.embedding_)
    assert_array_equal(first.mean_, second.mean_)
    assert first.loss_curve_ == second.loss_curve_


def test_an_embedding_does_not_depend_on_its_company(est, spiking):
    X = spiking.X[TEST].astype(float)
    X[4, 25:] = X[6, :, 1] = np.nan
    together = est.transform(X)
    for k in (0, 4):
        assert_allclose(est.transform(X[k : k + 1])[0], together[k], atol=1e-7)
    assert_allclose(est.transform(X[::-1])[::-1], together, atol=1e-7)
    assert_allclose(est.transform(spiking.X[TRAIN]), est.embedding_, atol=1e-6)


FORMS = {
    "shared": {},
    "low rank": {"connectivity": "low_rank", "initial_state": "inferred", "scale": "neuron"},
    "full rank": {"connectivity": "full_rank", "initial_state": "observed"},
    "mlp": {"hypernetwork": "mlp", "hidden_layer_sizes": (4,), "scale": None},
    "conditions": {"embedding": "condition"},
    "paper": {"hypernetwork": "mlp", "solver": "paper", "early_stopping": True},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.slow
def test_models_of_every_form_are_kept_bit_by_bit(short, few, tmp_path, form):
    est, X = short(**FORMS[form]).fit(few.X[FEW], CODES), few.X[NEW]
    est.save(tmp_path / "model.npz")
    for other in (JEDIEstimator.load(tmp_path / "model.npz"), pickle.loads(pickle.dumps(est))):
        assert other.observation_ == "poisson"
        mine, its = est._model.observation, other._model.observation
        assert (mine.width, mine.prior) == (its.width, its.prior)
        for name, value in mine.state_dict().items():
            assert_array_equal(its.state_dict()[name], value)
        found, expected = other.posterior(X), est.posterior(X)
        for name in expected:
            assert_array_equal(found[name], expected[name])
    assert_array_equal(other.predict(X), est.predict(X))
    assert (np.linalg.eigvalsh(expected.covariance) > 0).all()


def test_a_clone_is_one_that_has_seen_nothing(short, few):
    est = short(observation="poisson").fit(few.X[FEW])
    other = clone(est)
    assert other.observation == "poisson" and not hasattr(other, "observation_")
    assert_array_equal(other.fit(few.X[FEW]).embedding_, est.embedding_)


DESCRIBING = {
    "low rank": ({"connectivity": "low_rank", "initial_state": "inferred"}, 0.9),
    "full rank": ({"connectivity": "full_rank", "initial_state": "observed"}, 0.8),
    "mlp": ({"hypernetwork": "mlp", "hidden_layer_sizes": (4,), "scale": None}, 0.93),
    "neuron": ({"scale": "neuron", "batch_size": 10}, 0.93),
}


@pytest.mark.parametrize("form", DESCRIBING)
@pytest.mark.slow
def test_every_form_finds_the_rates(short, spiking, form):
    changes, least = DESCRIBING[form]
    est, X = short(max_iter=30, **changes).fit(spiking.X[TRAIN]), spiking.X[TEST]
    run = est.predict(X)
    assert r2(spiking.rates[TEST], run) > least
    assert_allclose(est.to_activity(est.dynamics(X).free_run()), run, rtol=1e-6)
    assert est.noise_variance_ == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("hypernetwork", ["linear", "mlp"])
@pytest.mark.slow
def test_a_random_start_learns(short, few, hypernetwork):
    est = short(solver="paper", hypernetwork=hypernetwork, max_iter=60, learning_rate_init=0.02)
    est.fit(few.X[FEW])
    assert est.loss_curve_[-1] < est.loss_curve_[0] - 0.2


@pytest.mark.slow
def test_a_warm_start_goes_on(short, few, tmp_path):
    est = short(max_iter=20).fit(few.X[FEW])
    est.save(tmp_path / "model.npz")
    warm, again = pickle.loads(pickle.dumps(est)), JEDIEstimator.load(tmp_path / "model.npz")
    for each in (warm, again):
        each.set_params(warm_start=True).fit(few.X)
    assert warm.score(few.X) > est.score(few.X)
    assert_array_equal(again.embedding_, warm.embedding_)
    assert_array_equal(warm.scale_, est.scale_)
    assert warm.observation_ == "poisson"
    with pytest.raises(ValueError, match=r"observation='poisson', got 'gaussian'.*warm_start"):
        warm.set_params(observation="gaussian").fit(few.X)
    with pytest.raises(ValueError, match="X must hold spike counts"):
        warm.set_params(observation="auto").fit(few.rates)
    rates = short(max_iter=2, warm_start=True).fit(few.rates)
    with pytest.raises(ValueError, match="with observation='gaussian', got 'poisson'"):
        rates.set_params(observation="poisson").fit(few.X)
    assert rates.set_params(observation="auto").fit(few.X).observation_ == "gaussian"


@pytest.fixture
def left_out(monkeypatch):
    """Trials that every fit with early stopping leaves out."""
    index = np.arange(0, 18, 3)
    monkeypatch.setattr("jedi_sklearn._fit.choose_validation", lambda *_: index)
    return index


def test_validation_is_the_score_of_trials_left_out(short, few, left_out):
    est = short(early_stopping=True, max_iter=20, n_init=2).fit(few.X[FEW])
    best = max(score for _, score in est.validation_curve_)
    assert best == pytest.approx(est.score(few.X[left_out]), abs=0.01)
    assert best > 0.2


@pytest.mark.slow
def test_forecasts_of_counts_go_on_with_the_free_run(spiking, short):
    est, X = short().fit(spiking.X[TRAIN]), spiking.X[TEST]
    for average in (True, False):
        free = est.forecast(X[:, :20], 5, average=average)
        assert_array_equal(free, est.forecast(X[:, :20], 5, correction=0, average=average))
        corrected = est.forecast(X[:, :20], 5, correction=0.1, average=average)
        assert np.abs(corrected - free).max() > 0
    with pytest.raises(ValueError, match="one of 'auto', or a number from 0 to 1"):
        est.forecast(X, 5, correction="atuo")


@pytest.mark.slow
def test_a_neuron_that_only_trials_left_out_have_does_no_harm(short, few, left_out):
    X = few.X[FEW].astype(float)
    X[np.setdiff1d(np.arange(18), left_out), :, 3] = np.nan
    est = short(early_stopping=True, max_iter=20).fit(X)
    found = est.posterior(X)
    assert np.isfinite(found.covariance).all() and np.isfinite(est.predict(X)).all()
    assert est.score(X) > 0.2


@pytest.mark.parametrize("changes", [{}, {"batch_size": 7, "early_stopping": True, "tol": 0.0}])
@pytest.mark.slow
def test_a_resumed_fit_is_the_uninterrupted_one(short, few, stopped_at, tmp_path, changes):
    X = few.X[FEW]
    expected = short(max_iter=20, **changes).fit(X)
    est = short(max_iter=20, checkpoint=tmp_path / "fit.npz", **changes)
    with stopped_at(13):
        est.fit(X)
    with pytest.raises(ValueError, match="observation: auto there, poisson here"):
        clone(est).set_params(observation="poisson").fit(X)
    est.fit(X)
    assert not est.checkpoint.exists()
    assert est.loss_curve_ == expected.loss_curve_
    assert_array_equal(est.mean_, expected.mean_)
    assert_array_equal(est.embedding_, expected.embedding_)
    assert_array_equal(est.predict(few.X[NEW]), expected.predict(few.X[NEW]))


# Where trials are, and what is missing of them


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.slow
def test_a_memory_map_is_fitted_as_the_array(short, few, monkeypatch, tmp_path, kind):
    monkeypatch.setattr(_stored, "LARGE", 100)
    monkeypatch.setattr(_stored, "BLOCK", 10 * 20 * 8)
    X, changes = few.X.astype(kind), {}
    if kind == np.float32:
        X[3, 15:] = X[7, :, 5] = np.nan
        changes = {"initial_state": "observed", "batch_size": 7, "early_stopping": True}
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert _stored.is_stored(mapped[FEW])
    est, other = (short(**changes).fit(source[FEW]) for source in (X, mapped))
    assert other.loss_curve_ == est.loss_curve_
    assert_array_equal(other.embedding_, est.embedding_)
    assert other.score(mapped) == est.score(X)
    assert_array_equal(other.predict(mapped[NEW]), est.predict(X[NEW]))


def test_a_guide_does_not_change_while_the_mean_is_fitted(short, few):
    """Free runs that start at samples start there in training and in inference."""
    X = few.X[FEW]
    est = short(initial_state="observed").fit(X)
    obs, fresh = est._model.observation, Poisson.learn(X, "global")
    assert np.abs(est.mean_ - fresh.mean.numpy()).max() > 1e-3  # it was fitted
    for trial in X[:3]:
        assert_array_equal(obs.estimate(trial), fresh.estimate(trial))
    starts = est.to_states(est.posterior(X[:3]).initial_state)
    assert_allclose(starts, [obs.estimate(trial)[0] for trial in X[:3]])


def test_a_padded_trial_is_the_trial_that_was_cut(est, spiking):
    lengths, X = np.array([40, 18]), spiking.X[30:32].astype(float)
    padded = pad_trials([x[:n] for x, n in zip(X, lengths, strict=True)], length=40)
    together, runs = est.posterior(padded), est.predict(padded)
    for k, n in enumerate(lengths):
        cut = X[k : k + 1, :n]
        alone = est.posterior(cut)
        for name in ("mean", "covariance", "initial_state", "r2"):
            assert_allclose(together[name][k], alone[name][0], atol=1e-6)
        assert_allclose(runs[k, :n], est.predict(cut)[0], rtol=1e-5)
    assert np.isfinite(runs).all()


def gappy(X, seed=0):
    """Counts with trials that end early, single bins that are lost, and a neuron missing."""
    X, rng = X.astype(float), np.random.RandomState(seed)
    X[rng.uniform(size=X.shape) < 0.1] = np.nan
    X[::3, 28:] = np.nan
    X[np.arange(len(X)), :, rng.randint(16, size=len(X))] = np.nan
    return X


@pytest.mark.parametrize(
    ("initial_state", "least"), [("generated", 0.94), ("inferred", 0.9), ("observed", 0.6)]
)
@pytest.mark.slow
def test_gaps_cost_little(short, spiking, initial_state, least):
    X = gappy(spiking.X[TRAIN])
    est = short(initial_state=initial_state, max_iter=40).fit(X)
    assert r2(spiking.rates[TEST], est.predict(spiking.X[TEST])) > least
    run, gone = est.predict(X), np.isnan(X).all(axis=1)
    truth, guess = (np.moveaxis(a, 2, 1)[gone] for a in (spiking.rates[TRAIN], run))
    assert r2_score(truth.ravel(), guess.ravel()) > least - 0.1  # of neurons not recorded
    assert est.noise_variance_ == pytest.approx(1, abs=0.08)


@pytest.mark.slow
def test_known_inputs_drive_log_rates(short):
    rng, n = np.random.RandomState(0), 12
    U = np.sqrt(n) * np.linalg.qr(rng.standard_normal((n, 2)))[0]
    core = np.array([[1.2, -2.4], [2.4, 1.2]]) / n
    B = rng.standard_normal((n, 2))
    teacher = RNNBatch(U @ core, U, input_weights=B, dt=0.02, tau=0.1)
    phase = rng.uniform(0, 2 * np.pi, (40, 1, 2))
    inputs = 1.5 * np.sin(2 * np.pi * 0.03 * np.arange(40)[:, np.newaxis] + phase)
    rates = np.exp(0.7 * teacher.simulate(0.5 * rng.standard_normal((40, n)), 40, inputs))
    X = rng.poisson(rates)
    est = short(n_components=1, max_iter=60).fit(X[TRAIN], inputs=inputs[TRAIN])
    assert r2(rates[TEST], est.predict(X[TEST], inputs=inputs[TEST])) > 0.88
    best = d2(X[TEST], rates[TEST])
    assert best - 0.04 < est.score(X[TEST], inputs=inputs[TEST]) < best
    other = rng.permutation(inputs[TEST])
    assert est.score(X[TEST], inputs=other) < best - 0.2
    with pytest.raises(ValueError, match="fitted with inputs of 2 channels"):
        est.predict(X[TEST])


# Recovery, and how sure it is


def test_true_rates_and_embeddings_are_recovered(est, spiking):
    X, rates = spiking.X[TEST], spiking.rates[TEST]
    assert r2(rates, est.predict(X)) > 0.95
    best = d2(X, rates)
    assert best - 0.02 < est.score(X) < best + 0.01
    assert est.noise_variance_ == pytest.approx(1, abs=0.04)
    assert est.autocorrelation_time_ == pytest.approx(1, abs=0.05)
    design = np.column_stack([np.ones(10), est.transform(X)])
    mapped = design @ np.linalg.lstsq(design, spiking.c[TEST], rcond=None)[0]
    assert r2(spiking.c[TEST], mapped) > 0.95


@pytest.mark.slow
def test_counts_as_they_are_tell_more_than_their_squared_error(est, spiking):
    X, rates = spiking.X, spiking.rates[TEST]
    other = clone(est).set_params(observation="gaussian").fit(X[TRAIN])
    assert r2(rates, est.predict(X[TEST])) > r2(rates, other.predict(X[TEST])) + 0.1


@pytest.mark.slow
def test_counts_without_dynamics_are_not_explained(short):
    X = np.random.RandomState(0).poisson(np.linspace(0.2, 2.0, 10), (40, 30, 10))
    est = short(max_iter=60).fit(X[TRAIN])
    assert est.score(X[TEST]) == pytest.approx(0, abs=0.02)
    assert np.square(est.predict(X[TEST]) / X[TRAIN].mean((0, 1)) - 1).mean() < 0.02


@pytest.fixture(scope="module")
def noisy(est, spiking):
    """A fit to counts of twice the variance."""
    return clone(est).fit(doubled(spiking.rates[TRAIN], np.random.RandomState(0)))


def test_overdispersion_is_found(noisy, spiking):
    assert noisy.noise_variance_ == pytest.approx(2, abs=0.1)
    assert_allclose(noisy._model.observation.noise_of_neuron, 2, rtol=0.3)
    X = doubled(spiking.rates[TEST], np.random.RandomState(1))
    assert r2(spiking.rates[TEST], noisy.predict(X)) > 0.9


@pytest.mark.parametrize("draw", ["poisson", "doubled"])
@pytest.mark.slow
def test_error_bars_cover_the_difference_of_two_repeats(request, draw):
    rng = np.random.RandomState(1)
    noise = {"poisson": rng.poisson, "doubled": lambda rates: doubled(rates, rng)}[draw]
    est = request.getfixturevalue({"poisson": "est", "doubled": "noisy"}[draw])
    run = est.inverse_transform(est.embedding_[rng.randint(30, size=80)])
    a, b = (est.posterior(noise(run)) for _ in range(2))
    z2 = squares(a.mean, b.mean, a.covariance + b.covariance)
    assert 0.7 < np.median(z2) / chi2(2).median() < 1.4


def test_counts_of_twice_the_variance_mean_error_bars_of_twice_the_variance(est, spiking):
    wider = pickle.loads(pickle.dumps(est))
    wider._model.observation.noise *= 2
    wider._model.observation.noise_of_neuron *= 2
    sizes = [
        np.sqrt(np.einsum("kii->ki", each.posterior(spiking.X[TEST]).covariance))
        for each in (est, wider)
    ]
    assert_allclose(sizes[1] / sizes[0], np.sqrt(2), rtol=0.05)


def test_noisier_counts_mean_wider_error_bars(est, noisy, spiking):
    X = doubled(spiking.rates[TEST], np.random.RandomState(1))
    size = {}
    for name, each, trials in (("once", est, spiking.X[TEST]), ("twice", noisy, X)):
        spread = np.linalg.det(np.cov(each.embedding_.T))  # both have units of their own
        size[name] = (np.linalg.det(each.posterior(trials).covariance) / spread) ** 0.25
    assert 1.15 < np.median(size["twice"] / size["once"]) < 1.7
