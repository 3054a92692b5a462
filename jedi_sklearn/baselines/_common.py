"""Share code among the baselines: checks, units, readout of counts, and scores."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from .._fit import free_run_r2
from .._missing import Imputer
from .._observation import OBSERVATIONS
from .._parameters import MAX_COMPONENTS, choose_labels, choose_observation, option_of
from .._plausible import warn_of_axes, warn_of_zeros
from .._torch import isolated
from .._trials import Trials, as_trials, one_less
from .._validation import (
    as_numbers,
    check_conditions,
    check_number,
    check_option,
    check_trials,
    warn_user,
)

__all__ = [
    "Baseline",
    "ConditionBaseline",
    "Data",
    "EmbeddingBaseline",
    "Readout",
    "check_embeddings",
    "choose_components",
]

NEWTON_STEPS, LARGEST_STEP = 30, 2.0  # of the readout; steps in units of the log expected count


@dataclass
class Data:
    """Trials as they were given, and estimates of their states."""

    X: np.ndarray
    observation: torch.nn.Module
    trials: Trials

    @property
    def counts(self):
        """Whether X holds spike counts."""
        return not self.observation.squared

    @property
    def mean(self):
        """Mean of each neuron, (neurons,); above 0 for spike counts."""
        return (self.observation.baseline if self.counts else self.observation.mean).numpy()

    @property
    def states(self):
        """Estimates of states (trials, time, neurons), imputed where nothing was observed."""
        return self.trials.guide.transpose(0, 1).numpy()

    @property
    def seen(self):
        """Which values were observed, (trials, time, neurons); None for all."""
        weight = self.trials.weight
        return None if weight is None else weight.transpose(0, 1).numpy() > 0

    @property
    def recorded(self):
        """Whether any neuron was observed, (trials, time); None for always."""
        return None if self.seen is None or self.seen.any(axis=2).all() else self.seen.any(axis=2)


@dataclass
class Readout:
    """Readout from a model's least-squares states to activity: ``gain * state + offset``.

    Log rates estimated from single trials are biased towards the mean, and the mean of logarithms
    is less than the logarithm of the mean. For spike counts, the counts of each neuron are
    therefore regressed on its own state (Poisson regression). The prior of the gain has mean 1
    and SD 1.
    """

    gain: np.ndarray | float = 1.0
    offset: np.ndarray | float = 0.0

    @classmethod
    def learn(cls, data, states):
        """Learn the readout from a model's states (trials, time, neurons) of the trials `data`."""
        if not data.counts:
            return cls()
        observation, n_neurons = data.observation, states.shape[2]
        mean, scale = observation.mean.numpy(), observation.scale.numpy()
        seen = np.isfinite(data.X)
        x = np.where(seen, states * scale, 0.0)  # log expected counts relative to their mean
        # a neuron without a spike counts as half a spike in X, as everywhere in the package
        counts = np.where(seen, data.X, 0.0)
        counts = np.where(counts.any(axis=(0, 1)), counts, data.mean * seen)
        centre = x.sum(axis=(0, 1)) / seen.sum(axis=(0, 1))
        x = np.where(seen, x - centre, 0.0)
        total, along = counts.sum(axis=(0, 1)), (counts * x).sum(axis=(0, 1))
        gain, level = np.ones(n_neurons), np.log(data.mean)
        for _ in range(NEWTON_STEPS):
            rate = np.where(seen, np.exp(gain * x + level), 0.0)
            first = rate.sum(axis=(0, 1)), (rate * x).sum(axis=(0, 1))
            second = (rate * np.square(x)).sum(axis=(0, 1)) + 1
            off = total - first[0], along - first[1] - (gain - 1)
            determinant = first[0] * second - np.square(first[1])
            steps = np.stack(
                [
                    (second * off[0] - first[1] * off[1]) / determinant,
                    (first[0] * off[1] - first[1] * off[0]) / determinant,
                ]
            )
            steps /= np.maximum(np.abs(steps).max(axis=0) / LARGEST_STEP, 1.0)
            level, gain = level + steps[0], gain + steps[1]
            if np.abs(steps).max() < 1e-8:
                break
        return cls(gain, (level - gain * centre - mean) / scale)

    def __call__(self, states):
        """Correct states (..., neurons) so that their activity is as likely as possible."""
        return self.gain * states + self.offset


class Baseline(BaseEstimator):
    """Base class of the baselines.

    A subclass has a parameter `observation` and the methods ``_check_parameters()``,
    ``_learn(data, y)``, which returns the fitted attributes, and ``_expected(X, y)``, the
    prediction in the units of X.
    """

    _fixed_length = True  # whether trials must have as many samples as in the fit
    _least_timesteps = 1
    _two_d = False  # read by `choose_observation`

    def __sklearn_tags__(self):
        """Mark the input as trials (3-D), with NaN where a sample is missing."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = tags.input_tags.allow_nan = True
        return tags

    @property
    def observation_(self):
        """Name of the observation that X was taken as."""
        if "_observation" not in vars(self):
            raise AttributeError("observation_ is known after a fit.")
        return option_of(self._observation, OBSERVATIONS)

    @isolated
    def fit(self, X, y=None):
        """Fit the model to trials.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Spike counts, rates, or any continuous signal; NaN where a sample is missing.
        y : array-like of shape (n_trials,), optional
            Labels of the trials.

        Returns
        -------
        self
            The fitted model.
        """
        check_option(self.observation, "observation", ("auto", *OBSERVATIONS))
        self._check_parameters()
        X = check_trials(X, min_trials=2, min_timesteps=self._least_timesteps, missing=True)
        codes = self._codes(y, len(X))
        warn_of_axes(X)
        warn_of_zeros(X)
        observation = OBSERVATIONS[choose_observation(self, X)].learn(X, "global")
        imputer = Imputer.learn(X, observation.estimate, codes)
        found = self._learn(Data(X, observation, _as_trials(X, observation, imputer)), y)
        # nothing above changed self: a fit that fails leaves the estimator as it was
        vars(self).update(found)
        self._observation, self._imputer = observation, imputer
        self.n_features_in_, self.n_timesteps_ = X.shape[2], X.shape[1]
        if complaint := self._complaint():
            warn_user(complaint, ConvergenceWarning)
        return self

    def _codes(self, y, n_trials):
        """Get the conditions of trials, which align neurons never recorded together; or None."""
        return choose_labels(Bunch(embedding="trial"), y, None, n_trials)[1]

    def _complaint(self):
        """Text of the warning for a fit that has not converged, or None."""

    def _check_X(self, X):
        check_is_fitted(self)
        how = {"fitted": type(self).__name__, "missing": True}
        X = check_trials(X, n_neurons=self.n_features_in_, min_timesteps=1, **how)
        if self._fixed_length and X.shape[1] != self.n_timesteps_:
            raise ValueError(
                f"X has {X.shape[1]} samples per trial, but {type(self).__name__} was fitted to "
                f"trials of {self.n_timesteps_}: it has no dynamics and knows only these samples. "
                "Cut the same window, or pad shorter trials with NaN (preprocessing.pad_trials)."
            )
        self._observation.check(X)
        return X

    def _check_units(self, values, name):
        """Check an array whose last axis is neurons."""
        check_is_fitted(self)
        values = as_numbers(values, name)
        if not values.ndim or values.shape[-1] != self.n_features_in_:
            raise ValueError(
                f"{name} must have shape (..., n_neurons = {self.n_features_in_}), got "
                f"{values.shape}."
            )
        return values

    def _data(self, X):
        """Convert checked trials to `Data`."""
        return Data(X, self._observation, _as_trials(X, self._observation, self._imputer))

    @isolated
    def score(self, X, y=None):
        """Compute R2 (D2 for spike counts) of the prediction over all trials, samples and neurons.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Trials, as in ``predict``.
        y : array-like of shape (n_trials,), optional
            Labels, for baselines that need them to predict; otherwise ignored.

        Returns
        -------
        float
            R2 or D2, defined as in :meth:`JEDIEstimator.score`.
        """
        X = self._check_X(X)
        return free_run_r2(X, self._deviance(X, y), self._observation)

    @isolated
    def score_samples(self, X, y=None):
        """Compute R2 (D2 for spike counts) of the prediction of each trial.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Trials, as in ``predict``.
        y : array-like of shape (n_trials,), optional
            Labels, for baselines that need them to predict; otherwise ignored.

        Returns
        -------
        ndarray of shape (n_trials,)
            R2 or D2 relative to the neurons' means in the training data, as in
            :meth:`JEDIEstimator.score_samples`.
        """
        X = self._check_X(X)
        total = [self._observation.null_deviance_of(trial) for trial in X]
        pairs = zip(self._deviance(X, y), total, strict=True)
        return np.array([one_less(*pair) for pair in pairs])

    def _deviance(self, X, y):
        """Compute the deviance of each trial from its prediction."""
        pairs = zip(X, self._expected(X, y), strict=True)
        return np.array([self._observation.deviance_of(*pair) for pair in pairs])


class EmbeddingBaseline(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Baseline):
    """Base class of the baselines that describe each trial by a few numbers, without labels.

    A subclass has the methods ``_embed(data)``, which returns (trials, n_components), and
    ``_describe(data)``, which returns the states of its prediction. Its readout is ``_readout``.
    """

    @property
    def _n_features_out(self):
        return self.n_components_

    @isolated
    def transform(self, X):
        """Describe each trial by a few numbers.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Trials, NaN where a sample is missing.

        Returns
        -------
        ndarray of shape (n_trials, n_components)
            Embeddings. Each row depends only on its own trial.
        """
        return self._embed(self._data(self._check_X(X)))

    @isolated
    def predict(self, X):
        """Reconstruct trials, including their missing samples.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Trials, as in ``transform``.

        Returns
        -------
        ndarray of shape (n_trials, n_timesteps, n_neurons)
            Reconstruction in the units of `X`; for spike counts, the expected counts in each bin.
        """
        return self._expected(self._check_X(X), None)

    def _expected(self, X, y):
        return self._activity(self._describe(self._data(X)))

    def _activity(self, states):
        return self._observation.activity(self._readout(states))


class ConditionBaseline(Baseline):
    """Base class of the baselines that predict a trial from its label alone.

    A subclass has the method ``_of_conditions(n_timesteps)``, which returns the expected activity
    in each condition, (conditions, n_timesteps, neurons).
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def _codes(self, y, n_trials):
        return self._labels(y, n_trials)[1]

    def _labels(self, y, n_trials):
        """Check labels; return the sorted labels and the index of each trial's label."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} needs the condition of each trial: fit(X, conditions), "
                "predict(X, conditions) and score(X, conditions). It uses nothing else about a "
                "trial. For trials without labels use PCATrajectories."
            )
        return check_conditions(y, n_trials, "y (the conditions)")

    @isolated
    def predict(self, X, y=None):
        """Predict the expected activity in the conditions of trials.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Trials, of which only the shape is used.
        y : array-like of shape (n_trials,)
            Condition of each trial, one of `conditions_`.

        Returns
        -------
        ndarray of shape (n_trials, n_timesteps, n_neurons)
            Prediction in the units of `X`; for spike counts, the expected counts in each bin.
        """
        return self._expected(self._check_X(X), y)

    def _expected(self, X, y):
        which = self._which(y, len(X))
        return self._of_conditions(X.shape[1])[which]

    def _which(self, y, n_trials):
        """Find the index of each trial's condition in `conditions_`."""
        labels, codes = self._labels(y, n_trials)
        known = self.conditions_.tolist()
        new = [label for label in labels.tolist() if label not in known]
        if new:
            raise ValueError(
                f"y holds {new[0]!r}, which is no condition of the fit "
                f"({', '.join(map(repr, known))}). {type(self).__name__} cannot predict "
                "conditions it has not seen."
            )
        return np.array([known.index(label) for label in labels.tolist()])[codes]


def check_embeddings(E, n_components):
    """Check rows of as many finite numbers as there are components."""
    E = as_numbers(E, "Embeddings")
    if E.ndim != 2 or E.shape[1] != n_components:
        raise ValueError(
            f"Embeddings must have shape (n_trials, n_components = {n_components}), got {E.shape}."
        )
    if not np.isfinite(E).all():
        raise ValueError("Embeddings hold NaN or infinite values.")
    return E


def choose_components(value, n_trials, curve):
    """Choose the number of components: the given one, or that of JEDIEstimator for "auto".

    `curve` returns the `SizeCurve` of the trials, or None if they are too few to tell.
    """
    most = n_trials - 1
    if not isinstance(value, str):
        check_number(value, "n_components", Integral, low=1)
        if value > most:
            raise ValueError(
                f"n_components={value} is too many for {n_trials} training trials, which have at "
                f'most {most} components. Lower it, or use n_components="auto".'
            )
        return int(value)
    check_option(value, "n_components", ("auto",), ", or an integer")
    found = curve()
    return min(MAX_COMPONENTS, most, *([] if found is None else [found.best]))


def _as_trials(X, observation, imputer):
    none = np.zeros((*X.shape[:2], 0))
    return as_trials(X, none, observation, imputer, torch.float64, torch.device("cpu"))
