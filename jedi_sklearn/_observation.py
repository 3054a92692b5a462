"""What observed values say about states: units, deviance, its derivatives, and noise.

An observation is chosen by its name in `OBSERVATIONS`. States are what the RNNs generate; here
each neuron has one state, compared with its activity or, of spike counts, with their logarithm.
"""

from __future__ import annotations

import math
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

SMALLEST = 1e-150  # whose square is still a number
SMALLEST_UNSCALED, LARGEST_UNSCALED = 1e-6, 1e6
LEAST_RATE = 1e-2  # of a neuron's mean: by less no residual is divided
LEAST_SHARE = 0.05  # of the mean count of all neurons: no neuron has larger units than it has
MAX_LOG_RATE = 14.0  # a million spikes a bin: far from any count, and nothing overflows
MAX_DISPERSION = 20.0
ENOUGH_SPIKES = 100  # to compare their number with what is expected, within a tenth
CONSTANT = (
    "X is constant: no neuron changes over time or trials, so there are no dynamics to fit. Check "
    "the time axis and the preprocessing."
)


class Observation(nn.Module):
    """Base of the observations: the noise that they have in common.

    ``noise`` divides the deviance in the likelihood, ``noise_of_neuron`` is the same of each.
    """

    share = "R2"  # what the explained share of the deviance is called
    by_neuron: tuple[str, ...] = ("mean", "scale", "noise_of_neuron")  # all that is
    common: tuple[str, ...] = ("noise",)
    squared = False  # whether the deviance is the squared error, but for missing values
    _trained: tuple | None = None

    def take(self, neurons):
        """The same for some of the neurons, as it is now."""
        made = self._of({name: getattr(self, name)[neurons] for name in self.by_neuron})
        made._trained = tuple(p[neurons] for p in self.parameters())
        return made

    @property
    def trained(self):
        """What `gradients` are for: its parameters, or parts of those that it was taken of."""
        return tuple(self.parameters()) if self._trained is None else self._trained

    def joined(self, other):
        """The same for these neurons and those of another one."""
        both = ((name, (getattr(self, name), getattr(other, name))) for name in self.by_neuron)
        return self._of({name: torch.cat(pair) for name, pair in both})

    def _of(self, arrays):
        return type(self)(**arrays, **{name: getattr(self, name) for name in self.common})

    def shifted(self, states):
        """The same with means for which states are less by these, (neurons,)."""
        arrays = {name: getattr(self, name) for name in self.by_neuron}
        return self._of(arrays | {"mean": self.mean + self.scale * states})

    @property
    def dispersion(self):
        """What the deviance is divided by in the likelihood."""
        return float(self.noise)

    def learn_noise(self, squares, count, floor):
        """Noise from sums of squared residuals and numbers of values, both by neuron."""
        overall = squares.sum() / count.sum()
        # a neuron that only trials left out have is taken as noisy as all together
        each = torch.where(count > 0, squares / count, overall).clamp_min(floor)
        self.noise.copy_(overall.clamp_min(floor))
        self.noise_of_neuron.copy_(each)


class Gaussian(Observation):
    """Activity is the state, in other units, plus Gaussian noise.

    The deviance is the squared error in the units of the states. Where `weight` is 0 a value was
    not observed and counts for nothing; None stands for ones.

    Parameters
    ----------
    mean, scale : array-like of shape (neurons,)
        ``(X - mean) / scale`` is the state.
    noise : float
        Variance of the residuals, in the units of the states.
    noise_of_neuron : array-like of shape (neurons,), optional
        The same of each neuron.
    """

    # of the curve that gives the rank: noise that neurons have in common, as units with the same
    # spikes, is predicted a little better with each dimension, which is not worth one
    tolerance = 0.02
    dimensions = 1  # of the state, for each that this curve shows
    correction = 0.1  # of forecasts under known inputs, by the guide
    basis_has_prior = False
    squared = True

    def __init__(self, mean, scale, noise=1.0, noise_of_neuron=None):
        super().__init__()
        if noise_of_neuron is None:
            noise_of_neuron = np.full(len(mean), noise)
        # float64 also where float32 is trained: they are the units of the data
        for name, value in (
            ("mean", mean),
            ("scale", scale),
            ("noise", noise),
            ("noise_of_neuron", noise_of_neuron),
        ):
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float64).clone())

    @classmethod
    def learn(cls, X, scale, processes=ALONE, like=None):
        """Units for trials X: mean of each neuron, and scale by that option of the estimator.

        `like` is that of the neurons before these, which they are to join.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            mean, variance, _ = trial_moments(X, processes)
        _refuse_unobserved(mean, like)
        if not np.isfinite(variance).all():
            largest = max(np.nanmax(np.abs(trial)) for trial in X)
            raise ValueError(
                f"X is too large for its variance to be computed (up to {largest:.1e}). "
                "Divide it by a constant."
            )
        sd = np.sqrt(variance)
        constant = constant_neurons(mean, sd, X.dtype)
        if constant.all():
            largest = max(np.nanmax(np.abs(trial)) for trial in X)
            if 0 < largest < SMALLEST:
                raise ValueError(
                    f"X is too small for its variance to be computed (up to {largest:.1e}). "
                    "Multiply it by a constant."
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
                    "scale=None, but X hardly varies for states of tanh neurons (SD "
                    f'{sd.max():.1e}). Use scale="global", or multiply X by a constant.'
                )
            if (rms := np.hypot(sd, mean).max()) > LARGEST_UNSCALED:
                raise ValueError(
                    f"scale=None, but X is large for states of tanh neurons (RMS {rms:.1e}). "
                    'Use scale="global", or divide X by a constant.'
                )
            return cls(np.zeros(n_neurons), np.ones(n_neurons))
        if scale == "global":
            return cls(mean, np.full(n_neurons, np.sqrt(variance.mean())))
        return cls(mean, np.where(constant, 1.0, sd))

    def check(self, X):
        """Raise where trials X cannot have been observed; numbers all can."""

    # Units, in numpy: any leading axes, then neurons

    def states(self, X):
        """States of activity; NaN passes through."""
        return (X - self.mean.cpu().numpy()) / self.scale.cpu().numpy()

    def activity(self, states):
        """Activity of states: the inverse of `states`."""
        return states * self.scale.cpu().numpy() + self.mean.cpu().numpy()

    def relative_size(self, X):
        """RMS of trials X about 0, in RMS of the training data; not of unscaled ones."""
        mean, scale = self.mean.cpu().numpy(), self.scale.cpu().numpy()
        expected = np.square(mean / scale) + 1
        total, typical = 0.0, 0.0
        for trial in X:
            total += np.nansum(np.square(trial / scale))
            typical += (np.isfinite(trial) * expected).sum()
        return math.sqrt(total / typical)

    def estimate(self, trial):
        """An estimate of the states of a trial (time, neurons), NaN where it is."""
        return self.states(trial)

    def observe(self, trial, imputer):
        """Values to score, whether they were observed (None: all) and guide of a trial.

        Each is (time, neurons); the guide is an estimate of the state without gaps.
        """
        z = self.states(trial)
        if not np.isnan(z.sum()):
            return z, None, z
        imputed = imputer(z)
        return imputed, np.isfinite(z), imputed

    def null_deviance(self, X, processes=ALONE):
        """Deviance of each neuron's mean in X, over all of its trials, and number of values."""
        _, variance, count = trial_moments(X, processes)
        deviance = np.nansum(variance / np.square(self.scale.cpu().numpy()) * count)
        return float(deviance), float(count.sum())

    def deviance_of(self, trial, expected):
        """Deviance of a trial from expected activity, both (time, neurons), as far as observed."""
        return np.nansum(np.square((trial - expected) / self.scale.cpu().numpy()))

    def null_deviance_of(self, trial):
        """Deviance of a trial (time, neurons) about the means of the training data."""
        return self.deviance_of(trial, self.mean.cpu().numpy())

    # Training

    def constant(self, y):
        """Part of the deviance of trials (time, trials, neurons) that `y` alone makes: none."""

    def begin(self):
        """Forget the gradients of parameters of its own; there are none here."""

    def gradients(self):
        """Half the derivatives by `trained` of the deviance since `begin`."""
        return ()

    def step(self, x, y, weight, out):
        """Deviance at states x, summed; writes half its derivative by x into `out`."""
        torch.sub(x, y, out=out)
        if weight is not None:
            out.mul_(weight)
        flat = out.view(-1)
        return torch.dot(flat, flat)

    def deviance(self, x, y, weight):
        """The deviance of `step`, for automatic differentiation."""
        error = x - y
        return (error if weight is None else error * weight).square().sum()

    # Inference

    def score(self, x, y, weight):
        """Half the first and second derivative of the deviance by x, and the deviance by trial.

        Of shape (trials, neurons), twice, and (trials,); None stands for a second derivative
        of 1.
        """
        error = x - y
        if weight is not None:
            error *= weight
        return error, weight, error.square().sum(1)

    def score_variance(self, curvature):
        """Variance of the scores under the noise, given the second derivative of `score`."""
        noise = self.noise_of_neuron
        return noise if curvature is None else curvature * noise

    @property
    def guide_variance(self):
        """Variance of the guide about the state, by neuron."""
        return self.noise_of_neuron

    # Noise

    def residual(self, x, y, weight):
        """What is left of the values, 0 where they were not observed; x is overwritten."""
        x.sub_(y)
        return x if weight is None else x.mul_(weight)

    def estimate_dispersion(self, residual, n_observed, most):
        """The dispersion that residuals show, `most` at most."""
        # NaN never compares as smaller
        return min(most, float(residual.square().sum()) / n_observed)


class Poisson(Observation):
    """Spike counts, whose expectation is exp(mean + scale * state), a bin.

    The deviance is that of the Poisson distribution; counts may vary more than that says
    (`noise`, the overdispersion, divides the deviance in the likelihood). The mean is fitted with
    the rest of the model. The guide is the logarithm of smoothed counts. Where a count is missing
    it has to be 0, as `observe` makes it.

    Parameters
    ----------
    mean, scale : array-like of shape (neurons,)
        ``(log(expected counts) - mean) / scale`` is the state.
    baseline : array-like of shape (neurons,)
        Mean counts a bin.
    width, prior : float
        Of the `CountSmoother` that makes the guide.
    noise : float
        Variance of counts about their expectation, in units of the expectation.
    noise_of_neuron : array-like of shape (neurons,), optional
        The same of each neuron.
    centre : array-like of shape (neurons,), optional
        What the mean was before it was fitted: the guide stays as it is.
    """

    share = "D2"
    by_neuron = (*Observation.by_neuron, "baseline", "centre")
    common = (*Observation.common, "width", "prior")
    tolerance = 0.001  # in units in which noise is alike the curve of the rank falls by itself
    dimensions = 2  # the fit to all trials tells more of them than smoothed single ones
    correction = 0.0  # the guide leans to the mean
    basis_has_prior = True  # neurons of few spikes would be fitted to their noise

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
        """Units for counts X: log rates less their means, by the option `scale`.

        Counts are smoothed as by `like`, that of the neurons before these, which they are to join.
        """
        with processes.together():
            check_counts(X)
        baseline, variance, count = trial_moments(X, processes)
        _refuse_unobserved(baseline, like)
        if not baseline.any():
            raise ValueError(
                "X is constant: it holds no spike, so there are no dynamics to fit. Check the "
                "time axis and the preprocessing."
            )
        if not variance.max() > 0:
            raise ValueError(CONSTANT)
        silent = baseline == 0
        if silent.any():
            which = listed(np.flatnonzero(silent) + _n_before(like))
            warn_user(
                f"{silent.sum()} of {len(baseline)} neurons never fire in X (neuron {which}). "
                "They tell nothing: leave them out, as X[:, :, np.nansum(X, (0, 1)) > 0]."
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
            # smoothed at the ends of trials, what is silent varies too
            unit = np.sqrt(np.where((variance > 0) & ~silent, variance, 1.0))
        return cls(mean, unit, baseline, smooth.width, smooth.prior)

    def check(self, X):
        """Raise where trials X are no counts."""
        check_counts(X)

    # Units, in numpy: any leading axes, then neurons

    def states(self, rates):
        """States of expected counts, more than 0; NaN passes through."""
        if (np.asarray(rates) <= 0).any():
            raise ValueError(
                "States stand for expected counts a bin, which are more than 0, as those of "
                "predict. Counts themselves have no states: the free runs of dynamics(X) and "
                "to_states(predict(X)) do."
            )
        return (np.log(rates) - self.mean.cpu().numpy()) / self.scale.cpu().numpy()

    def activity(self, states):
        """Expected counts of states: the inverse of `states`."""
        return np.exp(states * self.scale.cpu().numpy() + self.mean.cpu().numpy())

    def relative_size(self, X):
        """Spikes of trials X over those expected; 1 where too few are for a word."""
        baseline, total, expected = self.baseline.cpu().numpy(), 0.0, 0.0
        for trial in X:
            total += np.nansum(trial)
            expected += (np.isfinite(trial) * baseline).sum()
        return total / expected if expected >= ENOUGH_SPIKES * self.dispersion else 1.0

    def estimate(self, trial):
        """An estimate of the states of a trial (time, neurons), NaN where it is."""
        smooth = CountSmoother(self.baseline.cpu().numpy(), self.width, self.prior)
        return (_log_rates(smooth, trial) - self.centre.cpu().numpy()) / self.scale.cpu().numpy()

    def observe(self, trial, imputer):
        """Values to score, whether they were observed (None: all) and guide of a trial."""
        z = self.estimate(trial)
        if not np.isnan(z.sum()):
            return trial, None, z
        seen = np.isfinite(trial)
        return np.where(seen, trial, 0.0), seen, imputer(z)

    def null_deviance(self, X, processes=ALONE):
        """Deviance of each neuron's mean in X, over all of its trials, and number of values."""
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
        """Deviance of a trial from expected counts, both (time, neurons), as far as observed."""
        trial = np.asarray(trial, dtype=float)
        return 2 * np.nansum(xlogy(trial, trial / expected) - trial + expected)

    def null_deviance_of(self, trial):
        """Deviance of a trial (time, neurons) about the means of the training data."""
        return self.deviance_of(trial, self.baseline.cpu().numpy())

    # Training

    def constant(self, y):
        """Part of the deviance of trials (time, trials, neurons) that `y` alone makes."""
        return 2 * (xlogy(y, y) - y).sum(axis=(0, 2), dtype=np.float64)

    def begin(self):
        """Forget the gradient of the mean."""
        self._own = torch.zeros_like(self.mean)

    def gradients(self):
        """Half the derivatives by `trained` of the deviance since `begin`."""
        return (self._own,)

    def step(self, x, y, weight, out):
        """Deviance at states x but for `constant`, summed; writes half its derivative to `out`."""
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
        """The deviance of `step`, for automatic differentiation."""
        scale, mean = self.scale.to(x.dtype), self.mean.to(x.dtype)
        log_rate = (mean + scale * x).clamp_max(MAX_LOG_RATE)
        rate = log_rate.exp() if weight is None else log_rate.exp() * weight
        return 2 * (rate - y * log_rate).sum()

    def _units(self, x):
        return (a.detach().to(x.dtype) for a in (self.scale, self.mean))

    # Inference

    def score(self, x, y, weight):
        """Half the first and second derivative of the deviance by x, and the deviance by trial.

        Of shape (trials, neurons), twice, and (trials,).
        """
        scale, mean = self._units(x)
        log_rate = (mean + scale * x).clamp_max(MAX_LOG_RATE)
        rate = log_rate.exp() if weight is None else log_rate.exp() * weight
        each = 2 * (rate - y * log_rate).sum(1)
        return scale * (rate - y), scale.square() * rate, each

    def score_variance(self, curvature):
        """Variance of the scores under the noise, given the second derivative of `score`."""
        return curvature * self.noise_of_neuron

    @property
    def guide_variance(self):
        """Variance of the guide about the state, by neuron."""
        n_bins = self.prior + self.width * (2 * math.pi) ** 0.5
        return self.noise_of_neuron / (self.scale.square() * self.baseline * n_bins)

    # Noise

    def residual(self, x, y, weight):
        """Residuals of the values, in SDs of Poisson counts; 0 where they were not observed."""
        scale, mean = self._units(x)
        rate = (mean + scale * x).clamp_max(MAX_LOG_RATE).exp()
        least = LEAST_RATE * self.baseline.to(x.dtype)
        residual = (y - rate) / torch.maximum(rate, least).sqrt()
        return residual if weight is None else residual.mul_(weight)

    def estimate_dispersion(self, residual, n_observed, most):
        """The dispersion that residuals show; `most` is in other units."""
        # NaN never compares as smaller
        return min(MAX_DISPERSION, float(residual.square().sum()) / n_observed)


OBSERVATIONS = {"gaussian": Gaussian, "poisson": Poisson}


def _n_before(like):
    """How many neurons stand in X before those that join them."""
    return 0 if like is None else len(like.scale)


def _refuse_unobserved(mean, like):
    """Raise where a neuron has no mean."""
    if np.isnan(mean).any():
        first = int(np.argmax(np.isnan(mean))) + _n_before(like)
        raise ValueError(
            f"Neuron {first} is NaN in all of X. Leave out neurons that were never observed."
        )


def _log_rates(smooth, trial):
    """Logarithms of smoothed counts of a trial, NaN where it is."""
    return np.where(np.isnan(trial), np.nan, np.log(smooth(trial)))


def residual_autocorrelation_time(error, every=1):
    """How many samples in time carry the information of one independent residual (>= 1).

    There is a sample at each `every` step.

    The integrated autocorrelation time of the residuals (time, trials, neurons), summed to the
    first lag below 0.05 (Sokal 1997, "Monte Carlo methods in statistical mechanics").
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
