"""How observed values relate to states: units, deviance, its derivatives, and noise.

An observation model is chosen by its name in `OBSERVATIONS`. RNNs generate states. Each neuron
has one state, which is compared with its activity or, for spike counts, with their logarithm.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from scipy.special import xlogy
from torch import nn

from ._counts import NEVER, CountSmoother, check_counts
from ._distributed import ALONE
from ._plausible import constant_neurons, warn_of_constant, warn_of_dominant
from ._stored import part
from ._trials import trial_moments
from ._validation import listed, warn_user

__all__ = ["OBSERVATIONS", "Gaussian", "Poisson", "residual_autocorrelation_time"]

SMALLEST = 1e-150  # its square does not vanish
SMALLEST_UNSCALED, LARGEST_UNSCALED = 1e-6, 1e6
LEAST_RATE = 1e-2  # share of a neuron's mean count: smallest divisor of its residuals
LEAST_SHARE = 0.05  # share of the mean count of all neurons below which units stop growing
MAX_LOG_RATE = 14.0  # a million spikes per bin: beyond any count, and nothing overflows
LEAST_LOG_RATE = -700.0  # an expected count below its exponential would round to 0
MAX_DISPERSION = 20.0
ENOUGH_SPIKES = 100  # to compare their number with the expected number to within a tenth
CONSTANT = (
    "X is constant: no neuron changes over time or trials, so there are no dynamics to fit. Check "
    "the time axis and the preprocessing."
)


class Observation(nn.Module):
    """Base class of the observation models, with the noise that they share.

    ``noise`` divides the deviance in the likelihood; ``noise_of_neuron`` does so for each neuron.
    """

    share = "R2"  # name of the explained share of the deviance
    by_neuron: tuple[str, ...] = ("mean", "scale", "noise_of_neuron")  # attributes by neuron
    common: tuple[str, ...] = ("noise",)
    squared = False  # whether the deviance is the squared error, apart from missing values
    complete = None  # method that fills gaps of the values to score, unless these are the guide
    _trained: tuple | None = None

    def take(self, neurons):
        """Select some of the neurons, with their current parameters."""
        made = self._of({name: getattr(self, name)[neurons] for name in self.by_neuron})
        made._trained = tuple(p[neurons] for p in self.parameters())
        return made

    @property
    def trained(self):
        """Tensors that `gradients` are for: parameters, or parts of those it was taken from."""
        return tuple(self.parameters()) if self._trained is None else self._trained

    def joined(self, other):
        """Append the neurons of another observation model."""
        both = ((name, (getattr(self, name), getattr(other, name))) for name in self.by_neuron)
        return self._of({name: torch.cat(pair) for name, pair in both})

    def _of(self, arrays):
        return type(self)(**arrays, **{name: getattr(self, name) for name in self.common})

    def shifted(self, states):
        """Shift the means so that the same activity has smaller states, by (neurons,)."""
        arrays = {name: getattr(self, name) for name in self.by_neuron}
        return self._of(arrays | {"mean": self.mean + self.scale * states})

    @property
    def dispersion(self):
        """Divisor of the deviance in the likelihood."""
        return float(self.noise)

    def learn_noise(self, squares, count, floor):
        """Estimate the noise from sums of squared residuals and numbers of values by neuron."""
        overall = squares.sum() / count.sum()
        # a neuron that only held-out trials have gets the noise of all neurons together
        each = torch.where(count > 0, squares / count, overall).clamp_min(floor)
        self.noise.copy_(overall.clamp_min(floor))
        self.noise_of_neuron.copy_(each)


class Gaussian(Observation):
    """Gaussian observation: activity is the state, in other units, plus Gaussian noise.

    The deviance is the squared error in the units of the states. A `weight` of 0 marks a missing
    value, which does not count; None means that all are 1.

    Parameters
    ----------
    mean, scale : array-like of shape (neurons,)
        ``(X - mean) / scale`` is the state.
    noise : float
        Variance of the residuals, in the units of the states.
    noise_of_neuron : array-like of shape (neurons,), optional
        Variance of the residuals of each neuron.
    """

    dimensions = 1  # of the state, for each that single samples show
    correction = 0.1  # of forecasts under known inputs, by the guide
    squared = True

    def __init__(self, mean, scale, noise=1.0, noise_of_neuron=None):
        super().__init__()
        if noise_of_neuron is None:
            noise_of_neuron = np.full(len(mean), noise)
        # float64 even if training uses float32, because they are the units of the data
        for name, value in (
            ("mean", mean),
            ("scale", scale),
            ("noise", noise),
            ("noise_of_neuron", noise_of_neuron),
        ):
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float64).clone())

    @classmethod
    def learn(cls, X, scale, processes=ALONE, like=None):
        """Learn units from trials X: mean of each neuron, and scale by the estimator's option.

        `like`, if given, is the observation model of the earlier neurons that these will join.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            mean, variance, _ = trial_moments(X, processes)
        _refuse_unobserved(mean, like)
        if not np.isfinite(variance).all():
            largest = max(np.nanmax(np.abs(trial)) for trial in X)
            raise ValueError(
                f"X is too large to compute its variance (up to {largest:.1e}). Divide it by a "
                "constant."
            )
        sd = np.sqrt(variance)
        constant = constant_neurons(mean, sd, X.dtype)
        if constant.all():
            largest = max(np.nanmax(np.abs(trial)) for trial in X)
            if 0 < largest < SMALLEST:
                raise ValueError(
                    f"X is too small to compute its variance (up to {largest:.1e}). Multiply it "
                    "by a constant."
                )
            raise ValueError(CONSTANT)
        n_neurons, first = len(mean), _n_before(like)
        warn_of_constant(constant, sd, first)
        if scale != "neuron":
            remedy = 'scale="neuron" gives all neurons the same weight.'
            warn_of_dominant(np.where(constant, 0.0, variance), remedy, first)
        if scale is None:
            if sd.max() < SMALLEST_UNSCALED:
                raise ValueError(
                    "scale=None, but X hardly varies compared with the states of tanh units (SD "
                    f'{sd.max():.1e}). Use scale="global", or multiply X by a constant.'
                )
            if (rms := np.hypot(sd, mean).max()) > LARGEST_UNSCALED:
                raise ValueError(
                    f"scale=None, but X is large compared with the states of tanh units (RMS "
                    f'{rms:.1e}). Use scale="global", or divide X by a constant.'
                )
            return cls(np.zeros(n_neurons), np.ones(n_neurons))
        if scale == "global":
            return cls(mean, np.full(n_neurons, np.sqrt(variance.mean())))
        return cls(mean, np.where(constant, 1.0, sd))

    def check(self, X):
        """Raise an error if trials X are impossible values; here all numbers are possible."""

    # Units, in numpy: any leading axes, then neurons

    def states(self, X):
        """Convert activity to states; NaN stays NaN."""
        return (X - self.mean.cpu().numpy()) / self.scale.cpu().numpy()

    def activity(self, states):
        """Convert states to activity: the inverse of `states`."""
        return states * self.scale.cpu().numpy() + self.mean.cpu().numpy()

    def relative_size(self, X):
        """Compute the RMS of trials X about 0 over that of the (scaled) training data."""
        mean, scale = self.mean.cpu().numpy(), self.scale.cpu().numpy()
        expected = np.square(mean / scale) + 1
        total, typical = 0.0, 0.0
        for trial in X:
            total += np.nansum(np.square(trial / scale))
            typical += (np.isfinite(trial) * expected).sum()
        return math.sqrt(total / typical)

    def shift_of_mean(self, variance):
        """Compute the shift of states that vary by `variance` for which activity has one mean."""
        return torch.zeros_like(variance)

    def estimate(self, trial):
        """Estimate the states of a trial (time, neurons); NaN stays NaN."""
        return self.states(trial)

    def values(self, trial):
        """Compute the values to score of a trial (..., neurons); NaN stays NaN."""
        return self.states(trial)

    def observe(self, trial, imputer):
        """Return the values to score, whether they were observed (None: all), and the guide.

        Each is (time, neurons). The guide is an estimate of the state without gaps.
        """
        z = self.states(trial)
        if not np.isnan(z.sum()):
            return z, None, z
        imputed = imputer(z)
        return imputed, np.isfinite(z), imputed

    def null_deviance(self, X, processes=ALONE):
        """Compute the deviance of all trials of X about each neuron's mean, and its values."""
        _, variance, count = trial_moments(X, processes)
        deviance = np.nansum(variance / np.square(self.scale.cpu().numpy()) * count)
        return float(deviance), float(count.sum())

    def deviance_of(self, trial, expected):
        """Compute the deviance of a trial from expected activity, (time, neurons), where seen."""
        return np.nansum(np.square((trial - expected) / self.scale.cpu().numpy()))

    def null_deviance_of(self, trial):
        """Compute the deviance of a trial (time, neurons) about the means of the training data."""
        return self.deviance_of(trial, self.mean.cpu().numpy())

    # Training

    def constant(self, y):
        """Return the part of the deviance of trials that depends on `y` alone: there is none."""

    def denoised(self, trials, guide, values):
        """Replace guide and values of `Trials`; the deviance from their own values stays known."""
        error = trials.y - values
        if trials.weight is not None:
            error *= trials.weight
        constant = error.square().sum((0, 2), dtype=torch.float64)
        return replace(trials, y=values, guide=guide, constant=constant)

    def begin(self):
        """Reset the gradients of the model's own parameters; here there are none."""

    def gradients(self):
        """Return half the derivatives by `trained` of the deviance since `begin`."""
        return ()

    def step(self, x, y, weight, out):
        """Compute the summed deviance at states x; write half its derivative by x to `out`."""
        torch.sub(x, y, out=out)
        if weight is not None:
            out.mul_(weight)
        flat = out.view(-1)
        return torch.dot(flat, flat)

    def deviance(self, x, y, weight):
        """Compute the deviance of `step`, for automatic differentiation."""
        error = x - y
        return (error if weight is None else error * weight).square().sum()

    # Inference

    def score(self, x, y, weight):
        """Compute half the first and second derivative of the deviance by x, and the deviance.

        The shapes are (trials, neurons), (trials, neurons) and (trials,). None means a second
        derivative of 1.
        """
        error = x - y
        if weight is not None:
            error *= weight
        return error, weight, error.square().sum(1)

    def expand(self, x):
        """Compute a and b of states, such that a - b y + `of_values` is the deviance of y."""
        return x.square(), 2 * x

    def of_values(self, y):
        """Compute the part of this deviance that depends on the values alone."""
        return y.square()

    def score_variance(self, curvature):
        """Compute the variance of scores under the noise from their second derivative."""
        noise = self.noise_of_neuron
        return noise if curvature is None else curvature * noise

    @property
    def guide_variance(self):
        """Variance of the guide about the state, by neuron."""
        return self.noise_of_neuron

    def guide_autocorrelation_time(self, of_values):
        """Compute consecutive samples per independent error of the guide, from that of values."""
        return of_values

    # Noise

    def residual(self, x, y, weight):
        """Compute residuals of the values, 0 where these are missing; x is overwritten."""
        x.sub_(y)
        return x if weight is None else x.mul_(weight)

    def estimate_dispersion(self, residual, n_observed, most):
        """Estimate the dispersion from residuals, at most `most`."""
        # min returns its first argument if the second is NaN
        return min(most, float(residual.square().sum()) / n_observed)


class Poisson(Observation):
    """Poisson observation: spike counts with expectation exp(mean + scale * state) per bin.

    The deviance is that of the Poisson distribution. Counts may vary more than this predicts:
    `noise`, the overdispersion, divides the deviance in the likelihood. The mean is trained with
    the rest of the model. The guide is the logarithm of smoothed counts. Missing counts must be
    0, as `observe` returns them.

    Parameters
    ----------
    mean, scale : array-like of shape (neurons,)
        ``(log(expected counts) - mean) / scale`` is the state.
    baseline : array-like of shape (neurons,)
        Mean count per bin.
    width, prior : float
        Parameters of the `CountSmoother` that makes the guide.
    noise : float
        Variance of counts about their expectation, relative to the expectation.
    noise_of_neuron : array-like of shape (neurons,), optional
        The same for each neuron.
    centre : array-like of shape (neurons,), optional
        Mean before training, which the guide keeps using. Default: `mean`.
    """

    share = "D2"
    by_neuron = (*Observation.by_neuron, "baseline", "centre")
    common = (*Observation.common, "width", "prior")
    dimensions = 2  # the fit to all trials finds more of them than smoothed single trials show
    correction = 0.0  # the guide is biased towards the mean

    def __init__(
        self, mean, scale, baseline, width, prior, noise=1.0, noise_of_neuron=None, centre=None
    ):
        super().__init__()
        if noise_of_neuron is None:
            noise_of_neuron = np.full(len(scale), noise)
        mean = torch.as_tensor(mean, dtype=torch.float64).clone()
        self.mean = nn.Parameter(mean, requires_grad=False)
        for name, value in (
            ("scale", scale),
            ("baseline", baseline),
            ("noise", noise),
            ("noise_of_neuron", noise_of_neuron),
            ("centre", mean if centre is None else centre),
        ):
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float64).clone())
        self.width, self.prior = float(width), float(prior)
        self._own = None

    @classmethod
    def learn(cls, X, scale, processes=ALONE, like=None):
        """Learn units from counts X: means and scales of log rates, by the option `scale`.

        `like`, if given, is the observation model of the earlier neurons that these will join;
        counts are then smoothed as it does.
        """
        with processes.together():
            check_counts(X)
        baseline, variance, count = trial_moments(X, processes)
        _refuse_unobserved(baseline, like)
        if not baseline.any():
            raise ValueError(
                "X is constant: it holds no spikes, so there are no dynamics to fit. Check the "
                "time axis and the preprocessing."
            )
        if not variance.max() > 0:
            raise ValueError(CONSTANT)
        silent = baseline == 0
        if silent.any():
            which = listed(np.flatnonzero(silent) + _n_before(like))
            warn_user(
                f"{silent.sum()} of {len(baseline)} neurons never fire in X (neuron {which}). "
                "They carry no information, and a spike of theirs in a later trial would cost "
                "much of its score: leave them out with X[:, :, np.nansum(X, (0, 1)) > 0]."
            )
        baseline = np.maximum(baseline, NEVER / count)
        if like is None:
            smooth = CountSmoother.learn(X, baseline)
        else:
            smooth = CountSmoother(baseline, like.width, like.prior)
        mean, variance, _ = trial_moments(X, processes, of=partial(_log_rates, smooth))
        if scale is None:
            mean, unit = np.zeros_like(mean), np.ones_like(mean)
        elif scale == "global":  # units in which the noise of all neurons is alike
            size = np.maximum(baseline, LEAST_SHARE * baseline.mean())
            unit = np.sqrt((variance * size).mean() / size)
        else:
            # smoothing at the ends of trials makes even silent neurons vary
            unit = np.sqrt(np.where((variance > 0) & ~silent, variance, 1.0))
        return cls(mean, unit, baseline, smooth.width, smooth.prior)

    def check(self, X):
        """Raise an error if trials X are not counts."""
        check_counts(X)

    # Units, in numpy: any leading axes, then neurons

    def states(self, rates):
        """Convert expected counts, which must be positive, to states; NaN stays NaN."""
        if (np.asarray(rates) <= 0).any():
            raise ValueError(
                "States represent expected counts per bin, which must be positive, like those "
                "that predict returns. Spike counts themselves have no states: use the free runs "
                "of dynamics(X), or to_states(predict(X))."
            )
        return (np.log(rates) - self.mean.cpu().numpy()) / self.scale.cpu().numpy()

    def activity(self, states):
        """Convert states to expected counts: the inverse of `states`."""
        log = states * self.scale.cpu().numpy() + self.mean.cpu().numpy()
        return np.exp(np.maximum(log, LEAST_LOG_RATE))  # positive, so that it has a state

    def shift_of_mean(self, variance):
        """Compute the shift of states that vary by `variance` for which activity has one mean."""
        return -self.scale * variance / 2

    def relative_size(self, X):
        """Compute the spikes of trials X over the expected number; 1 if too few are expected."""
        baseline, total, expected = self.baseline.cpu().numpy(), 0.0, 0.0
        for trial in X:
            total += np.nansum(trial)
            expected += (np.isfinite(trial) * baseline).sum()
        return total / expected if expected >= ENOUGH_SPIKES * self.dispersion else 1.0

    def estimate(self, trial):
        """Estimate the states of a trial (time, neurons); NaN stays NaN."""
        smooth = CountSmoother(self.baseline.cpu().numpy(), self.width, self.prior)
        return (_log_rates(smooth, trial) - self.centre.cpu().numpy()) / self.scale.cpu().numpy()

    def values(self, trial):
        """Return the counts of a trial themselves, which are scored; NaN stays NaN."""
        return trial

    def observe(self, trial, imputer):
        """Return the values to score, whether they were observed (None: all), and the guide."""
        z = self.estimate(trial)
        if not np.isnan(z.sum()):
            return trial, None, z
        seen = np.isfinite(trial)
        return np.where(seen, trial, 0.0), seen, imputer(z)

    def null_deviance(self, X, processes=ALONE):
        """Compute the deviance of all trials of X about each neuron's mean, and its values."""
        count, total, whole = np.zeros((3, X.shape[2]))
        for trial in part(X, processes.slice(len(X))):
            trial = np.asarray(trial, dtype=float)
            count += np.isfinite(trial).sum(axis=0)
            total += np.nansum(trial, axis=0)
            whole += np.nansum(xlogy(trial, trial), axis=0)
        processes.sum_(count, total, whole)
        deviance = 2 * (whole - xlogy(total, total / np.maximum(count, 1))).sum()
        return float(deviance), float(count.sum())

    def deviance_of(self, trial, expected):
        """Compute the deviance of a trial from expected counts, (time, neurons), where seen."""
        trial = np.asarray(trial, dtype=float)
        return 2 * np.nansum(xlogy(trial, trial / expected) - trial + expected)

    def null_deviance_of(self, trial):
        """Compute the deviance of a trial (time, neurons) about the means of the training data."""
        return self.deviance_of(trial, self.baseline.cpu().numpy())

    # Training

    def constant(self, y):
        """Compute the part of the deviance of trials that depends on `y` alone, (trials,)."""
        return 2 * (xlogy(y, y) - y).sum(axis=(0, 2), dtype=np.float64)

    def complete(self, trials):
        """Return the counts of `Trials`; those expected by the guide where counts are missing."""
        if trials.weight is None:
            return trials.y
        scale, mean = self.scale.to(trials.y), self.centre.to(trials.y)
        expected = torch.addcmul(mean, trials.guide, scale).clamp_max(MAX_LOG_RATE).exp()
        return torch.where(trials.weight > 0, trials.y, expected)

    def denoised(self, trials, guide, values):
        """Replace guide and counts of `Trials`, whose deviance from a good run hardly changes."""
        y = values.clamp_min(0.0)
        return replace(trials, y=y if trials.weight is None else y * trials.weight, guide=guide)

    def begin(self):
        """Reset the gradient of the mean."""
        self._own = torch.zeros_like(self.mean)

    def gradients(self):
        """Return half the derivatives by `trained` of the deviance since `begin`."""
        return (self._own,)

    def step(self, x, y, weight, out):
        """Compute the summed deviance without `constant`; write half its derivative to `out`."""
        scale, mean = self._units(x)
        torch.addcmul(mean, x, scale, out=out).clamp_max_(MAX_LOG_RATE)
        explained = torch.dot(y.reshape(-1), out.view(-1))
        out.exp_()
        if weight is not None:
            out.mul_(weight)
        expected = out.sum()
        out.sub_(y)
        self._own += out.sum(0)
        out.mul_(scale)
        return 2 * (expected - explained)

    def deviance(self, x, y, weight):
        """Compute the deviance of `step`, for automatic differentiation."""
        scale, mean = self.scale.to(x.dtype), self.mean.to(x.dtype)
        log_rate = (mean + scale * x).clamp_max(MAX_LOG_RATE)
        rate = log_rate.exp() if weight is None else log_rate.exp() * weight
        return 2 * (rate - y * log_rate).sum()

    def _units(self, x):
        return (a.detach().to(x.dtype) for a in (self.scale, self.mean))

    # Inference

    def score(self, x, y, weight):
        """Compute half the first and second derivative of the deviance by x, and the deviance.

        The shapes are (trials, neurons), (trials, neurons) and (trials,).
        """
        scale, mean = self._units(x)
        log_rate = (mean + scale * x).clamp_max(MAX_LOG_RATE)
        rate = log_rate.exp() if weight is None else log_rate.exp() * weight
        each = 2 * (rate - y * log_rate).sum(1)
        return scale * (rate - y), scale.square() * rate, each

    def expand(self, x):
        """Compute a and b of states, such that a - b y + `of_values` is the deviance of y."""
        scale, mean = self._units(x)
        log_rate = (mean + scale * x).clamp_max(MAX_LOG_RATE)
        return 2 * log_rate.exp(), 2 * log_rate

    def of_values(self, y):
        """Return 0, because the deviance is computed without `constant`."""
        return torch.zeros_like(y)

    def score_variance(self, curvature):
        """Compute the variance of scores under the noise from their second derivative."""
        return curvature * self.noise_of_neuron

    @property
    def guide_variance(self):
        """Variance of the guide about the state, by neuron."""
        n_bins = self.prior + self.width * (2 * math.pi) ** 0.5
        return self.noise_of_neuron / (self.scale.square() * self.baseline * n_bins)

    def guide_autocorrelation_time(self, of_values):
        """Compute consecutive samples per independent error of the guide, from that of values."""
        return max(of_values, 2 * self.width * math.pi**0.5)  # of the Gaussian that smooths them

    # Noise

    def residual(self, x, y, weight):
        """Compute residuals in SDs of Poisson counts, 0 where values are missing."""
        scale, mean = self._units(x)
        rate = (mean + scale * x).clamp_max(MAX_LOG_RATE).exp()
        least = LEAST_RATE * self.baseline.to(x.dtype)
        residual = (y - rate) / torch.maximum(rate, least).sqrt()
        return residual if weight is None else residual.mul_(weight)

    def estimate_dispersion(self, residual, n_observed, most):
        """Estimate the dispersion from residuals; `most` is in other units and ignored."""
        # min returns its first argument if the second is NaN
        return min(MAX_DISPERSION, float(residual.square().sum()) / n_observed)


OBSERVATIONS = {"gaussian": Gaussian, "poisson": Poisson}


def _n_before(like):
    """Count the neurons of X before those that join them."""
    return 0 if like is None else len(like.scale)


def _refuse_unobserved(mean, like):
    """Raise an error if a neuron was never observed."""
    if np.isnan(mean).any():
        first = int(np.argmax(np.isnan(mean))) + _n_before(like)
        raise ValueError(
            f"Neuron {first} is NaN in all of X. Leave out neurons that were never observed."
        )


def _log_rates(smooth, trial):
    """Compute logarithms of the smoothed counts of a trial; NaN stays NaN."""
    return np.where(np.isnan(trial), np.nan, np.log(smooth(trial)))


def residual_autocorrelation_time(error, every=1):
    """Compute how many consecutive samples carry the information of one independent residual.

    This is the integrated autocorrelation time (>= 1) of the residuals (time, trials, neurons),
    summed up to the first lag below 0.05 (Sokal 1997, "Monte Carlo methods in statistical
    mechanics"). Samples are `every` steps apart.
    """
    error = error[::every]
    power = float(error.square().sum())
    if not math.isfinite(power) or power == 0:
        return 1.0
    total = 1.0
    for lag in range(1, len(error)):
        rho = float((error[lag:] * error[:-lag]).sum()) / power
        if rho < 0.05:
            break
        total += 2 * rho
    return total
