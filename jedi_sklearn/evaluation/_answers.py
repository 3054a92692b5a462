"""Compute the answers of all methods in one fold."""

from __future__ import annotations

import os
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch

from .._estimator import JEDIEstimator
from .._parameters import choose_steps
from .._scores import bits_of, r2_of
from .._trials import trial_moments
from ..baselines import LinearDynamicalSystem
from ..metrics import ForecastScorer, hidden_bits_per_spike, hidden_r2
from ._comparison import MEAN
from ._simple import (
    RIDGES,
    ConditionMean,
    FactorCoSmoothing,
    FactorTrajectories,
    LaterRegression,
    MeanRate,
    NeuronRegression,
    Posed,
    TrialPCA,
    TunedComponents,
    predict_tuned,
)

__all__ = ["OURS", "Plan", "answer_fold", "mean_rates"]

OURS = "JEDI"  # names of JEDI's rows begin with this
WIDTHS = (0.0, 0.5, 1.0, 2.0)  # SDs with which simple methods may smooth, in units of tau
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)  # weight of a neuron's ridge penalty, in samples
RATE, PCA, FACTORS = "mean rate", "PCA of trials", "factor analysis"
LINEAR = "linear dynamical system"


@dataclass
class Plan:
    """What is asked, and of which estimator and decoder."""

    estimator: JEDIEstimator
    questions: tuple
    decoder: BaseEstimator | None
    n_seen: int = 0
    forecast_from: float = 0.5

    @property
    def counts(self):
        """Whether X holds spike counts."""
        return self.estimator.observation == "poisson"

    @property
    def sigmas(self):
        """SDs of the Gaussians, in samples."""
        return [width * self.estimator.tau / self.estimator.dt for width in WIDTHS]

    def measure(self, question):
        """Name and function of the metric for a question about activity."""
        if not self.counts:
            return "R2", lambda X, run: r2_of(X, lambda i: run[i])
        if question == "reconstruction":
            return "D2", _d2
        return "bits per spike", lambda X, run: bits_of(X, lambda i: run[i])


def _d2(counts, rates):
    """Share of the Poisson deviance from each neuron's mean that expected counts explain."""
    best = bits_of(counts, lambda i: counts[i])
    return bits_of(counts, lambda i: rates[i]) / best if best > 0 else np.nan


def answer_fold(plan, data, fold, process):
    """Compute the values of all questions and methods in one fold.

    Fits that do not converge are counted without a warning; the caller warns once. `process` is
    the caller's process number: its threads share the caller's warning filters, so only workers
    in other processes set their own.
    """
    with warnings.catch_warnings() if os.getpid() != process else nullcontext():
        if os.getpid() != process:
            warnings.simplefilter("ignore", ConvergenceWarning)
        return _Answers(plan, data, fold).collect()


class _Answers:
    """Answers of the estimator (fitted once) and of all other methods; one method per question."""

    def __init__(self, plan, data, fold):
        self.plan, self.data, self.fold = plan, data, fold
        self.train, self.test = fold.train, fold.test
        self.X = data.X
        if plan.estimator.scale == "neuron" and not plan.counts:
            sd = np.sqrt(trial_moments(self.X[self.train])[1])
            self.X = self.X / np.where(sd > 0, sd, 1.0)
        self.labels = None
        if data.labels is not None:
            self.labels = data.labels[0][data.codes[self.train]]
        known = {"conditions": self.labels, **self._inputs(self.train)}
        self.est = clone(plan.estimator).fit(self.X[self.train], **known)
        self.found = self.est.posterior(self.X[self.test], **self._inputs(self.test))
        self.hits = {}

    def collect(self):
        """Collect the scores, which trials were decoded correctly, and if the fit converged."""
        scores = {question: getattr(self, question)() for question in self.plan.questions}
        return Bunch(scores=scores, hits=self.hits, converged=self.est.converged_)

    def _inputs(self, i):
        return {} if self.data.inputs is None else {"inputs": self.data.inputs[i]}

    @property
    def n_numbers(self):
        """How many numbers describe a trial in the estimator, without a measured first sample."""
        return self.est.n_components_ + self.est._model.initial_state.size

    @cached_property
    def linear(self):
        """Linear dynamical system whose first state has as many numbers, fitted once."""
        n = min(self.n_numbers, self.X.shape[2])
        how = {"reconstruction": "free", "observation": self.plan.estimator.observation}
        return LinearDynamicalSystem(n, **how).fit(self.X[self.train], self.labels)

    def _pose(self, shown, scored, inputs):
        """Split the trials of a question about activity into training and held-out trials."""
        posed = Posed(shown, scored, self.data.codes, inputs)
        return posed[self.train], posed[self.test]

    def _answer(self, question, ours, posed, methods, linear=None):
        """Score ours and the other methods, each of which may have several settings.

        `linear` holds predictions of the linear dynamical system, if it takes part.
        """
        (train, test), counts = posed, self.plan.counts
        _, measure = self.plan.measure(question)
        simple = {RATE: [MeanRate(counts)]}
        if self.data.labels is not None:
            sigmas = [0.0] if counts else self.plan.sigmas
            simple[MEAN] = [ConditionMean(sigma, counts) for sigma in sigmas]
        values = dict([ours])
        for name, settings in (simple | methods).items():
            how = (train, test, self.fold.inner[0], measure, counts)
            values[name] = measure(test.scored, predict_tuned(settings, *how))
        if linear is not None:
            values[LINEAR] = measure(test.scored, linear)
        return values

    def reconstruction(self):
        """Reconstruct held-out trials from few numbers."""
        est, sigmas = self.est, self.plan.sigmas
        test = self.X[self.test]
        start, n_timesteps = est._model.initial_state, test.shape[1]
        run = (self.found.mean, self.found.initial_state, n_timesteps)
        run = est.inverse_transform(*run, **self._inputs(self.test))
        n, decay = self.n_numbers, None
        if start.measured:
            every = choose_steps(est)
            decay = (1 - est.dt / (every * est.tau)) ** (every * np.arange(n_timesteps))
        return self._answer(
            "reconstruction",
            (f"{OURS} free runs", self.plan.measure("reconstruction")[1](test, run)),
            self._pose(self.X, self.X, None),
            {
                PCA: [TrialPCA(n, s, decay) for s in sigmas],
                FACTORS: [FactorTrajectories(est.rank_, n, s) for s in sigmas],
            },
            self.linear.predict(test),
        )

    def forecast(self):
        """Forecast the later part of held-out trials from the first part."""
        n, sigmas = self.plan.n_seen, self.plan.sigmas
        scorer = ForecastScorer(self.plan.forecast_from)
        score = scorer.score(self.est, self.X[self.test], **self._inputs(self.test))
        return self._answer(
            "forecast",
            (f"{OURS} forecast", score),
            self._pose(self.X[:, :n], self.X[:, n:], self.data.inputs),
            {"ridge regression": [LaterRegression(s) for s in sigmas]},
            self.linear.forecast(self.X[self.test][:, :n], self.X.shape[1] - n),
        )

    def co_smoothing(self):
        """Predict held-out neurons from the others."""
        neurons, counts, sigmas = self.fold.neurons, self.plan.counts, self.plan.sigmas
        score = hidden_bits_per_spike if counts else hidden_r2
        value = score(self.est, self.X[self.test], neurons, **self._inputs(self.test))
        regressions = [NeuronRegression(s, p, counts) for s in sigmas for p in PENALTIES]
        return self._answer(
            "co_smoothing",
            (f"{OURS} imputation", value),
            self._pose(self.X[..., ~neurons], self.X[..., neurons], self.data.inputs),
            {
                f"{'Poisson' if counts else 'ridge'} regression": regressions,
                FACTORS: [FactorCoSmoothing(self.est.rank_, s) for s in sigmas],
            },
        )

    def decoding(self):
        """Decode the target in held-out trials."""
        target, X = self.data.target, self.X
        y, labels = target.values[self.train], target.codes is not None
        decoder = self.plan.decoder
        if decoder is None:
            decoder = RidgeCV(RIDGES)
            if labels:
                decoder = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
        plain = make_pipeline(StandardScaler(), clone(decoder))
        rates = mean_rates(X)
        n = self.est.n_components_
        sizes = sorted({max(1, n // 2), n, 2 * n})
        components = TunedComponents(plain, sizes, self.plan.sigmas, self.fold.inner)
        imputer = SimpleImputer(keep_empty_features=True)
        nothing = DummyClassifier() if labels else DummyRegressor()
        embeddings = (self.est.embedding_, self.found.mean)
        rates = (rates[self.train], rates[self.test])
        trials = (X[self.train], X[self.test])
        sources = {
            f"{OURS} embeddings": (plain, embeddings),
            "most frequent label" if labels else "mean of y": (nothing, rates),
            "mean rates": (make_pipeline(imputer, clone(plain)), rates),
            PCA: (components, trials),
        }
        values = {}
        for name, (method, (features, new)) in sources.items():
            found, true = method.fit(features, y).predict(new), target.values[self.test]
            if labels:
                self.hits[name] = found == true
            values[name] = np.mean(found == true) if labels else r2_score(true, found)
        return values

    def embedding(self):
        """Report the sizes of the embedding, and how certain held-out embeddings are."""
        sd = np.sqrt(np.diagonal(self.found.covariance, axis1=1, axis2=2))
        share = float(np.median(sd / self.est.embedding_.std(axis=0)))
        names = ("components", "rank", "posterior SD")
        values = (self.est.n_components_, self.est.rank_, share)
        return {f"{OURS} {name}": value for name, value in zip(names, values, strict=True)}


def mean_rates(X):
    """Average over the samples of each neuron and trial; NaN if there are none."""
    n = np.isfinite(X).sum(axis=1)
    return np.where(n > 0, np.nansum(X, axis=1) / np.maximum(n, 1), np.nan)
