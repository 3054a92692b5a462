"""What simple methods make of trials: the opponents of `compare`, with settings chosen honestly.

All have ``fit(trials)`` and ``predict(trials)`` of `Posed` trials. What they learn, means that
stand in for missing samples too, comes from the trials of ``fit`` alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d
from sklearn.base import clone
from sklearn.decomposition import FactorAnalysis
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from .._counts import NEVER
from ..baselines._condition_mean import means_of_conditions
from ..baselines._pca import RowComponents
from ..metrics import _axes, _Readout

__all__ = [
    "RIDGES",
    "ConditionMean",
    "FactorCoSmoothing",
    "FactorTrajectories",
    "LaterRegression",
    "MeanRate",
    "NeuronRegression",
    "Posed",
    "TrialPCA",
    "TunedComponents",
    "predict_tuned",
]

# mean rates in expected counts, as a share: without any a spike may be taken as impossible
MEAN_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
RIDGES = np.logspace(-6, 6, 25)  # penalties from hardly any to nothing but the mean
NO_NOISE = 1e-9  # variance of a neuron beside its factors, as a share of that of all: rounding


@dataclass
class Posed:
    """Trials as a question poses them.

    Attributes
    ----------
    shown : ndarray (trials, samples, neurons)
        What may be seen of a trial whose rest is to be predicted; NaN where missing.
    scored : ndarray (trials, samples, neurons) or None
        What is to be predicted; None where it must not be seen.
    codes : ndarray (trials,) or None
        Condition of each trial.
    inputs : ndarray (trials, all samples, inputs) or None
    """

    shown: np.ndarray
    scored: np.ndarray | None
    codes: np.ndarray | None = None
    inputs: np.ndarray | None = None

    def __getitem__(self, i):
        parts = (self.shown, self.scored, self.codes, self.inputs)
        return Posed(*(None if a is None else a[i] for a in parts))

    def hide(self):
        """The same without what is to be predicted."""
        return replace(self, scored=None)


def predict_tuned(methods, train, test, inner, measure, counts):
    """Predictions of `test` by the best of some methods, or settings of one, fitted to `train`.

    The best one predicts most of the trials ``inner[1]`` of `train` after a fit to ``inner[0]``.
    Expected counts are mixed with mean rates, whose share is chosen alike. One method alone has
    nothing to choose, and predicts by itself.
    """
    if len(methods) == 1:
        return methods[0].fit(train).predict(test.hide())
    shares = MEAN_SHARES if counts else (0.0,)
    choices = [(method, share) for method in methods for share in shares]
    fit, judge = train[inner[0]], train[inner[1]]
    mean = MeanRate(counts).fit(fit).predict(judge.hide())
    scores = []
    for method in methods:
        run = method.fit(fit).predict(judge.hide())
        scores += [measure(judge.scored, _mix(run, mean, share)) for share in shares]
    method, share = choices[int(np.argmax(np.nan_to_num(scores, nan=-np.inf)))]
    mean = MeanRate(counts).fit(train).predict(test.hide())
    return _mix(method.fit(train).predict(test.hide()), mean, share)


def _mix(run, mean, share):
    return (1 - share) * np.maximum(run, 0) + share * mean if share else run


def smooth(X, sigma):
    """Trials (..., time, neurons) smoothed by a Gaussian of this SD, in samples."""
    return gaussian_filter1d(X, sigma, axis=-2, mode="nearest") if sigma else X


def mean_of_neurons(X, counts=False):
    """Mean of each neuron; of spike counts more than 0."""
    n, total = np.maximum(np.isfinite(X).sum(axis=(0, 1)), 1), np.nansum(X, axis=(0, 1))
    return (np.maximum(total, NEVER) if counts else total) / n


class Smoother:
    """Trials without gaps, which become means of the trials learned from, and smoothed."""

    def __init__(self, X, sigma):
        everyone, mean = np.zeros(len(X), dtype=int), mean_of_neurons(X)
        self.imputer = means_of_conditions(X, everyone, mean, counts=False)[0]
        self.sigma = sigma

    def __call__(self, X):
        return smooth(np.where(np.isnan(X), self.imputer, X), self.sigma)


class MeanRate:
    """Each neuron's mean."""

    def __init__(self, counts):
        self.counts = counts

    def fit(self, trials):
        """Learn the means."""
        self.mean = mean_of_neurons(trials.scored, self.counts)
        self.n_samples = trials.scored.shape[1]
        return self

    def predict(self, trials):
        """The same for all samples."""
        shape = (len(trials.shown), self.n_samples, len(self.mean))
        return np.broadcast_to(self.mean, shape)


class ConditionMean:
    """What ``baselines.ConditionMean`` expects, smoothed; the mean of it for a condition not seen.

    Of spike counts nothing more need be smoothed.
    """

    def __init__(self, sigma, counts):
        self.sigma, self.counts = sigma, counts

    def fit(self, trials):
        """Learn the mean trials."""
        mean = mean_of_neurons(trials.scored, self.counts)
        codes, which = np.unique(trials.codes, return_inverse=True)
        means = means_of_conditions(trials.scored, which, mean, self.counts)
        means = smooth(means, self.sigma)
        self.means = dict(zip(codes, means, strict=True))
        self.other = np.average(means, axis=0, weights=np.bincount(which))
        return self

    def predict(self, trials):
        """Look up the condition of each trial."""
        return np.stack([self.means.get(code, self.other) for code in trials.codes])


class TrialComponents:
    """Principal components of whole trials, smoothed, as ``baselines.PCATrajectories`` has them.

    Gaps of the trials of ``fit`` are imputed by means.

    Parameters
    ----------
    n_components : int
        At most; there are no more than trials less one.
    sigma : float
        SD of the Gaussian, in samples.
    """

    def __init__(self, n_components, sigma=0.0):
        self.n_components, self.sigma = n_components, sigma

    def fit(self, X):
        """Learn them of trials (trials, time, neurons)."""
        self.smoother = Smoother(X, self.sigma)
        n = min(self.n_components, len(X) - 1, X.shape[1] * X.shape[2])
        self.components = RowComponents.learn(self._rows(X), n, rng=0)
        return self

    def _rows(self, X):
        return self.smoother(X).reshape(len(X), -1)

    def transform(self, X):
        """Components (trials, components), expected ones where something is missing."""
        seen = np.isfinite(X).reshape(len(X), -1)
        return self.components.scores(self._rows(X), None if seen.all() else seen)

    def inverse_transform(self, Z):
        """Trials (trials, time, neurons) of their components."""
        return self.components.runs(Z).reshape(len(Z), *self.smoother.imputer.shape)


class TunedComponents:
    """A decoder of components of whole trials: as many, and as smooth, as serve it best.

    Parameters
    ----------
    decoder : classifier or regressor
    sizes : sequence of int
    sigmas : sequence of float
    inner : list of (fit, judge)
        Folds of the trials of ``fit``, over which the mean score decides.
    """

    def __init__(self, decoder, sizes, sigmas, inner):
        self.decoder, self.sizes, self.sigmas, self.inner = decoder, sizes, sigmas, inner

    def fit(self, X, y):
        """Choose both, and learn components and decoder of all trials."""
        scores = np.zeros((len(self.sigmas), len(self.sizes)))
        for i, sigma in enumerate(self.sigmas):
            for fit, judge in self.inner:
                components = TrialComponents(max(self.sizes), sigma).fit(X[fit])
                known, new = components.transform(X[fit]), components.transform(X[judge])
                for j, n in enumerate(self.sizes):
                    decoder = clone(self.decoder).fit(known[:, :n], y[fit])
                    scores[i, j] += decoder.score(new[:, :n], y[judge])
        i, j = np.unravel_index(np.argmax(scores), scores.shape)
        self.components = TrialComponents(self.sizes[j], self.sigmas[i]).fit(X)
        self.fitted = clone(self.decoder).fit(self.components.transform(X), y)
        return self

    def predict(self, X):
        """Decode trials."""
        return self.fitted.predict(self.components.transform(X))


class TrialPCA:
    """Whole trials from as many numbers as the model has.

    Where its free runs start at the first sample, they have the decay of that sample for nothing;
    so have these: `decay` (time,), and else None.
    """

    def __init__(self, n_numbers, sigma, decay=None):
        self.components = TrialComponents(n_numbers, sigma)
        self.decay = decay

    def _start(self, X):
        """The part of trials that the first sample gives."""
        if self.decay is None:
            return 0.0
        first = smooth(np.where(np.isnan(X), self.mean, X), self.components.sigma)[:, :1]
        return self.decay[:, np.newaxis] * (first - self.mean)

    def fit(self, trials):
        """Learn the components."""
        X = trials.shown
        self.mean = mean_of_neurons(X)
        self.components.fit(X - self._start(X))
        return self

    def predict(self, trials):
        """Reconstruct trials that are shown."""
        start = self._start(trials.shown)
        numbers = self.components.transform(trials.shown - start)
        return self.components.inverse_transform(numbers) + start


class Factors:
    """Factor analysis of samples (..., neurons): means, loadings, noise, and posterior means."""

    def __init__(self, X, n_factors):
        X = X.reshape(-1, X.shape[-1])
        self.mean = X.mean(axis=0)
        # few rows with the covariance of all samples: all that the likelihood sees of them
        root = np.linalg.qr(X - self.mean, mode="r") * np.sqrt(X.shape[1] / len(X))
        n_factors = min(n_factors, X.shape[1])
        found = FactorAnalysis(n_factors, random_state=0).fit(np.concatenate([root, -root]))
        self.loadings, noise = found.components_, found.noise_variance_
        self.noise = np.maximum(noise, NO_NOISE * max(noise.mean(), np.finfo(float).tiny))

    def infer(self, X, neurons=slice(None)):
        """Posterior means of the factors from some of the neurons."""
        W = self.loadings[:, neurons]
        weighted = W / self.noise[neurons]
        precision = np.eye(len(W)) + weighted @ W.T
        return (X - self.mean[neurons]) @ np.linalg.solve(precision, weighted).T

    def generate(self, Z, neurons=slice(None)):
        """Activity of some of the neurons that factors stand for."""
        return Z @ self.loadings[:, neurons] + self.mean[neurons]


class FactorTrajectories:
    """Trajectories of factors, and of these whole trials from as many numbers as the model has."""

    def __init__(self, n_factors, n_numbers, sigma):
        self.n_factors, self.sigma = n_factors, sigma
        self.components = TrialComponents(n_numbers)

    def fit(self, trials):
        """Learn factors of samples, and components of their trajectories."""
        self.smoother = Smoother(trials.shown, self.sigma)
        X = self.smoother(trials.shown)
        self.factors = Factors(X, self.n_factors)
        self.components.fit(self.factors.infer(X))
        return self

    def predict(self, trials):
        """Reconstruct trials that are shown."""
        Z = self.factors.infer(self.smoother(trials.shown))
        Z = self.components.inverse_transform(self.components.transform(Z))
        return self.factors.generate(Z)


class FactorCoSmoothing:
    """Neurons held out, from the factors that the others show."""

    def __init__(self, n_factors, sigma):
        self.n_factors, self.sigma = n_factors, sigma

    def fit(self, trials):
        """Learn factors of all neurons."""
        self.smoother = Smoother(trials.shown, self.sigma)
        held_out = Smoother(trials.scored, self.sigma)(trials.scored)
        X = np.concatenate([self.smoother(trials.shown), held_out], axis=2)
        self.factors, self.n_shown = Factors(X, self.n_factors), trials.shown.shape[2]
        return self

    def predict(self, trials):
        """Predict the neurons held out."""
        Z = self.factors.infer(self.smoother(trials.shown), slice(self.n_shown))
        return self.factors.generate(Z, slice(self.n_shown, None))


class NeuronRegression:
    """Neurons held out, by ridge regressions on the smoothed others (and on inputs).

    Of spike counts Poisson regressions; `penalty` is as that of ``metrics._Readout``.
    """

    def __init__(self, sigma, penalty, counts):
        self.sigma, self.penalty, self.counts = sigma, penalty, counts

    def _features(self, trials):
        X = self.smoother(trials.shown)
        return X if trials.inputs is None else np.concatenate([X, trials.inputs], axis=2)

    def fit(self, trials):
        """Learn a regression for each neuron."""
        self.smoother = Smoother(trials.shown, self.sigma)
        X = self._features(trials)
        self.scaler = StandardScaler().fit(X.reshape(-1, X.shape[2]))
        X = self._scale(X)
        self.readout = _Readout(_axes(X, lambda i: X[i]), self.counts, self.penalty)
        self.readout.fit(X, trials.scored)
        return self

    def _scale(self, X):
        return self.scaler.transform(X.reshape(-1, X.shape[2])).reshape(X.shape)

    def predict(self, trials):
        """Predict the neurons held out."""
        return self.readout(self._scale(self._features(trials)))


class LaterRegression:
    """The later part of trials, by ridge regression on all of the first (and on inputs).

    The mean of the later part given the first under Gaussian trials whose covariance is that of
    the trials learned from, with a ridge; its penalty minimises the error of trials left out.
    """

    def __init__(self, sigma):
        self.sigma = sigma

    def _features(self, trials):
        X = self.seen(trials.shown).reshape(len(trials.shown), -1)
        if trials.inputs is None:
            return X
        # neurons keep their units; inputs have none in common with them
        U = trials.inputs.reshape(len(X), -1) / self.input_rms * self.size
        return np.concatenate([X, U], axis=1)

    def fit(self, trials):
        """Learn the regression; both parts are smoothed by themselves."""
        self.seen = Smoother(trials.shown, self.sigma)
        later = Smoother(trials.scored, self.sigma)(trials.scored)
        self.shape = later.shape[1:]
        self.size = np.nanstd(trials.shown)
        if trials.inputs is not None:
            rms = np.sqrt(np.square(trials.inputs).mean())
            self.input_rms = rms if rms > 0 else 1.0
        X = self._features(trials)
        variance = max(X.var(axis=0).sum(), np.finfo(float).tiny)
        self.ridge = RidgeCV(RIDGES * variance).fit(X, later.reshape(len(X), -1))
        return self

    def predict(self, trials):
        """Forecast trials."""
        return self.ridge.predict(self._features(trials)).reshape(-1, *self.shape)
