"""What observed values say about states: units, deviance, its derivatives, and noise.

An observation is chosen by its name in `OBSERVATIONS`. States are what the RNNs generate; here
each neuron has one state, compared with its activity.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

__all__ = ["OBSERVATIONS", "Gaussian", "residual_inflation"]


class Gaussian(nn.Module):
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

    # Units, in numpy: any leading axes, then neurons

    def states(self, X):
        """States of activity; NaN passes through."""
        return (X - self.mean.cpu().numpy()) / self.scale.cpu().numpy()

    def activity(self, states):
        """Activity of states: the inverse of `states`."""
        return states * self.scale.cpu().numpy() + self.mean.cpu().numpy()

    def observe(self, trial, filler):
        """Values to score, whether they were observed (None: all) and guide of a trial.

        Each is (time, neurons); the guide is an estimate of the state without gaps.
        """
        z = self.states(trial)
        if not np.isnan(z.sum()):
            return z, None, z
        filled = filler(z)
        return filled, np.isfinite(z), filled

    def null_deviance(self, mean, variance, count):
        """Deviance of each neuron's mean in X, from `trial_moments` of X."""
        return float(np.nansum(variance / np.square(self.scale.cpu().numpy()) * count))

    def null_deviance_of(self, trial):
        """Deviance of a trial (time, neurons) about the means of the training data."""
        return np.nansum(np.square(self.states(trial)))

    # Training

    def begin(self):
        """Forget the gradients of parameters of its own; there are none here."""

    def gradients(self):
        """Half the derivatives by `parameters()` of the deviance since `begin`."""
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

    @property
    def dispersion(self):
        """What the deviance is divided by in the likelihood."""
        return float(self.noise)

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

    def learn_noise(self, squares, count, floor):
        """Noise from sums of squared residuals and numbers of values, both by neuron."""
        overall = squares.sum() / count.sum()
        # a neuron that only trials left out have is taken as noisy as all together
        each = torch.where(count > 0, squares / count, overall).clamp_min(floor)
        self.noise.copy_(overall.clamp_min(floor))
        self.noise_of_neuron.copy_(each)


OBSERVATIONS = {"gaussian": Gaussian}


def residual_inflation(error):
    """How many samples in time carry the information of one independent residual (>= 1).

    The integrated autocorrelation time of the residuals (time, trials, neurons), summed to the
    first lag below 0.05 (Sokal 1997, "Monte Carlo methods in statistical mechanics").
    """
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
