"""What all baselines share: checks, units, readout of counts, and scores as of JEDIEstimator."""

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

NEWTON_STEPS, LARGEST_STEP = 30, 2.0  # of a readout; in units of the log of the expected count


@dataclass
class Data:
    """Trials as they were given, and what is known of their states."""

    X: np.ndarray
    observation: torch.nn.Module
    trials: Trials

    @property
    def counts(self):
        """Whether X holds spike counts."""
        return not self.observation.squared

    @property
    def mean(self):
        """Mean of each neuron, (neurons,); of spike counts more than 0."""
        return (self.observation.baseline if self.counts else self.observation.mean).numpy()

    @property
    def states(self):
        """Estimates of states (trials, time, neurons); what was not observed is imputed."""
        return self.trials.guide.transpose(0, 1).numpy()

    @property
    def seen(self):
        """Which values were observed, (trials, time, neurons), or None for all."""
        weight = self.trials.weight
        return None if weight is None else weight.transpose(0, 1).numpy() > 0

    @property
    def recorded(self):
        """Whether some neuron was observed, (trials, time), or None for all."""
        return None if self.seen is None or self.seen.any(axis=2).all() else self.seen.any(axis=2)


@dataclass
class Readout:
    """Activity of states that a model of least squares gives: ``gain * state + offset``.

    Log rates estimated from single trials lean towards the mean, and the mean of logarithms is
    less than the logarithm of the mean. So for spike counts each neuron has a Poisson regression
    of its counts on its own state. Its gain is 1 with an SD of 1 a priori.
    """

    gain: np.ndarray | float = 1.0
    offset: np.ndarray | float = 0.0

    @classmethod
    def learn(cls, data, states):
        """Of a model's states (trials, time, neurons) of the trials in `data`."""
        if not data.counts:
            return cls()
        observation, n_neurons = data.observation, states.shape[2]
        mean, scale = observation.mean.numpy(), observation.scale.numpy()
        seen = np.isfinite(data.X)
        x = np.where(seen, states * scale, 0.0)  # log expected counts about the mean
        # a neuron without a spike has half a spike in all of X, as everywhere in the package
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
        """States (..., neurons) whose activity is as likely as can be."""
        return self.gain * states + self.offset


class Baseline(BaseEstimator):
    """Base of the baselines.

    A subclass has a parameter `observation` and the methods ``_check_parameters()``,
    ``_learn(data, y)``, which returns its fitted attributes, and ``_expected(X, y)``, the
    prediction in the units of X.
    """

    _fixed_length = True  # whether trials need as many samples as those of the fit
    _least_timesteps = 1
    _two_d = False  # asked for by `choose_observation`

    def __sklearn_tags__(self):
        """Input has three axes, and NaN where a sample is missing."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = tags.input_tags.allow_nan = True
        return tags

    @property
    def observation_(self):
        """What X was taken as: a name of an observation."""
        if "_observation" not in vars(self):
            raise AttributeError("observation_ is known after a fit.")
        return option_of(self._observation, OBSERVATIONS)

    @isolated
    def fit(self, X, y=None):
        """Fit to trials.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Spike counts, or rates or any continuous signal. NaN where a sample is missing.
        y : array-like of shape (n_trials,), optional
            Labels of the trials.

        Returns
        -------
        self
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
        # nothing above touched self: a fit that fails leaves the estimator as it was
        vars(self).update(found)
        self._observation, self._imputer = observation, imputer
        self.n_features_in_, self.n_timesteps_ = X.shape[2], X.shape[1]
        if complaint := self._complaint():
            warn_user(complaint, ConvergenceWarning)
        return self

    def _codes(self, y, n_trials):
        """Conditions of trials, or None, by which neurons that never meet may be aligned."""
        return choose_labels(Bunch(embedding="trial"), y, None, n_trials)[1]

    def _complaint(self):
        """What a user should hear of a fit that has not converged."""

    def _check_X(self, X):
        check_is_fitted(self)
        how = {"fitted": type(self).__name__, "missing": True}
        X = check_trials(X, n_neurons=self.n_features_in_, min_timesteps=1, **how)
        if self._fixed_length and X.shape[1] != self.n_timesteps_:
            raise ValueError(
                f"X has {X.shape[1]} samples a trial, but {type(self).__name__} was fitted to "
                f"trials of {self.n_timesteps_}: it knows no dynamics, only these samples. Cut "
                "the same window, or pad shorter trials with NaN (preprocessing.pad_trials)."
            )
        self._observation.check(X)
        return X

    def _check_units(self, values, name):
        """Numbers with one neuron in each place of the last axis."""
        check_is_fitted(self)
        values = as_numbers(values, name)
        if not values.ndim or values.shape[-1] != self.n_features_in_:
            raise ValueError(
                f"{name} must have shape (..., n_neurons = {self.n_features_in_}), got "
                f"{values.shape}."
            )
        return values

    def _data(self, X):
        """Trials to be described, which were checked."""
        return Data(X, self._observation, _as_trials(X, self._observation, self._imputer))

    @isolated
    def score(self, X, y=None):
        """R2 of the prediction, or D2 of spike counts, over all trials, samples and neurons.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            As in ``predict``.
        y : array-like of shape (n_trials,), optional
            Labels, for baselines that need them to predict; otherwise ignored.

        Returns
        -------
        float
            As from :meth:`JEDIEstimator.score`.
        """
        X = self._check_X(X)
        return free_run_r2(X, self._deviance(X, y), self._observation)

    @isolated
    def score_samples(self, X, y=None):
        """R2, or D2 of spike counts, of the prediction of each trial.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            As in ``predict``.
        y : array-like of shape (n_trials,), optional
            Labels, for baselines that need them to predict; otherwise ignored.

        Returns
        -------
        ndarray of shape (n_trials,)
            About the neurons' means in the training data, as from
            :meth:`JEDIEstimator.score_samples`.
        """
        X = self._check_X(X)
        total = [self._observation.null_deviance_of(trial) for trial in X]
        pairs = zip(self._deviance(X, y), total, strict=True)
        return np.array([one_less(*pair) for pair in pairs])

    def _deviance(self, X, y):
        """Deviance of each trial from its prediction."""
        pairs = zip(X, self._expected(X, y), strict=True)
        return np.array([self._observation.deviance_of(*pair) for pair in pairs])


class EmbeddingBaseline(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Baseline):
    """Base of the baselines that describe each trial by a few numbers, without labels.

    A subclass has the methods ``_embed(data)``, (trials, n_components), and ``_describe(data)``,
    the states of its prediction; its readout is in ``_readout``.
    """

    @property
    def _n_features_out(self):
        return self.n_components_

    @isolated
    def transform(self, X):
        """Numbers that describe each trial.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            NaN where a sample is missing. Each row depends on its own trial only.

        Returns
        -------
        ndarray of shape (n_trials, n_components)
        """
        return self._embed(self._data(self._check_X(X)))

    @isolated
    def predict(self, X):
        """Reconstruction of trials, which also says what to expect where a sample is missing.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            As in ``transform``.

        Returns
        -------
        ndarray of shape (n_trials, n_timesteps, n_neurons)
            In the units of `X`; of spike counts what is expected in each bin.
        """
        return self._expected(self._check_X(X), None)

    def _expected(self, X, y):
        return self._activity(self._describe(self._data(X)))

    def _activity(self, states):
        return self._observation.activity(self._readout(states))


class ConditionBaseline(Baseline):
    """Base of the baselines that know of a trial its label, and nothing else.

    A subclass has the method ``_of_conditions(n_timesteps)``: what is expected
    in each condition, (conditions, n_timesteps, neurons).
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def _codes(self, y, n_trials):
        return self._labels(y, n_trials)[1]

    def _labels(self, y, n_trials):
        """Sorted labels, and the number of that of each trial."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} needs the condition of each trial: fit(X, conditions), "
                "predict(X, conditions) and score(X, conditions). It is told nothing else of a "
                "trial. For trials without labels take PCATrajectories."
            )
        return check_conditions(y, n_trials, "y (the conditions)")

    @isolated
    def predict(self, X, y=None):
        """What is expected in the conditions of trials.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Only its shape matters.
        y : array-like of shape (n_trials,)
            Condition of each trial, one of `conditions_`.

        Returns
        -------
        ndarray of shape (n_trials, n_timesteps, n_neurons)
            In the units of `X`; of spike counts what is expected in each bin.
        """
        return self._expected(self._check_X(X), y)

    def _expected(self, X, y):
        which = self._which(y, len(X))
        return self._of_conditions(X.shape[1])[which]

    def _which(self, y, n_trials):
        """Number of the condition of each trial."""
        labels, codes = self._labels(y, n_trials)
        known = self.conditions_.tolist()
        new = [label for label in labels.tolist() if label not in known]
        if new:
            raise ValueError(
                f"y holds {new[0]!r}, which is no condition of the fit "
                f"({', '.join(map(repr, known))}). {type(self).__name__} knows nothing of "
                "conditions it has not seen."
            )
        return np.array([known.index(label) for label in labels.tolist()])[codes]


def check_embeddings(E, n_components):
    """Rows of as many finite numbers as there are components."""
    E = as_numbers(E, "Embeddings")
    if E.ndim != 2 or E.shape[1] != n_components:
        raise ValueError(
            f"Embeddings must have shape (n_trials, n_components = {n_components}), got {E.shape}."
        )
    if not np.isfinite(E).all():
        raise ValueError("Embeddings hold NaN or infinite values.")
    return E


def choose_components(value, n_trials, curve):
    """Numbers a trial: what is asked for, or as many as JEDIEstimator takes by "auto".

    `curve` makes the `SizeCurve` of the trials, or None where they are too few to tell.
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
