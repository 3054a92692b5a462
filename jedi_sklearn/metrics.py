"""How well a fitted model predicts activity it has not seen: forecasts and held-out neurons.

``JEDIEstimator.score`` infers an embedding from a trial and draws that trial. Here a part of each
trial is hidden, the embedding is inferred from the rest, and only the hidden part is scored.
"""

from __future__ import annotations

from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import UNUSED

from ._trials import as_plain_array, check_number, check_option, check_trials

__all__ = ["CoSmoothingScorer", "ForecastScorer", "hidden_r2", "r2_by"]

OVER = ("all", "neuron", "trial")


def r2_by(X, prediction, over="all", counted=None):
    """R2 of predicted activity, over everything, or of each neuron or trial.

    Parameters
    ----------
    X, prediction : array-like of shape (n_trials, n_timesteps, n_neurons)
        Observed (NaN where missing) and predicted activity.
    over : {"all", "neuron", "trial"}, default="all"
        "all": one number, the variance-weighted R2 of scikit-learn.
    counted : array-like of bool of the shape of `X`, optional
        Which values count; all that were observed by default.

    Returns
    -------
    float, or ndarray of shape (n_neurons,) or (n_trials,)
        ``1 - SSE / SST``, SST about each neuron's mean over the values that count. NaN for a
        neuron or trial of which none counts, or which does not vary.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn.metrics import r2_by
    >>> X = np.random.default_rng(0).normal(size=(4, 20, 3))
    >>> r2_by(X, X, over="neuron")
    array([1., 1., 1.])
    """
    X = check_trials(X, missing=True, min_timesteps=1)
    prediction = check_trials(prediction, name="prediction", min_timesteps=1)
    if prediction.shape != X.shape:
        got = prediction.shape
        raise ValueError(f"prediction must have the shape of X, {X.shape}, got {got}.")
    check_option(over, "over", OVER)
    counted = ~np.isnan(X) & (True if counted is None else _as_mask(counted, X, "counted"))
    if not counted.any():
        raise ValueError("No observed value counts: there is nothing to score.")
    n = np.maximum(counted.sum(axis=(0, 1)), 1)
    mean = np.where(counted, X, 0).sum(axis=(0, 1)) / n
    error = np.where(counted, X - prediction, 0) ** 2
    total = np.where(counted, X - mean, 0) ** 2
    axes = {"all": None, "neuron": (0, 1), "trial": (1, 2)}[over]
    error, total = error.sum(axis=axes), total.sum(axis=axes)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(total > 0, 1 - error / total, np.nan)
    return float(r2) if over == "all" else r2


def hidden_r2(estimator, X, hidden, *, over="all", inputs=None):
    """R2 on values that the inference of the embeddings did not see.

    Parameters
    ----------
    estimator : JEDIEstimator or Pipeline that ends in one
        Fitted.
    X : array-like of shape (n_trials, n_timesteps, n_neurons)
    hidden : array-like of bool, broadcast to the shape of `X`
        Values to hide, and to score: e.g. ``np.arange(n_timesteps)[:, np.newaxis] >= 50``, or a
        mask over neurons. At least the first sample of some neurons must remain.
    over : {"all", "neuron", "trial"}, default="all"
        As in :func:`r2_by`.
    inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
        Known inputs, if the fit had them. They are not hidden.

    Returns
    -------
    float, or ndarray of shape (n_neurons,) or (n_trials,)

    Raises
    ------
    ValueError
        If nothing is hidden, or nothing is left of some trial.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn import JEDIEstimator
    >>> from jedi_sklearn.datasets import make_multitask
    >>> from jedi_sklearn.metrics import hidden_r2
    >>> X = make_multitask(40, n_neurons=50, random_state=0).X
    >>> est = JEDIEstimator(4, 12, max_iter=100, tol=0.1, random_state=0).fit(X[:30])
    >>> neurons = np.arange(50) < 12                      # co-smoothing: a quarter held out
    >>> hidden_r2(est, X[30:], neurons) > 0.8
    True
    """
    X, estimator = _unwrap(estimator, X)
    hidden = _as_mask(hidden, X, "hidden")
    if not hidden.any():
        raise ValueError("hidden is False everywhere: there is nothing to predict.")
    seen = np.where(hidden, np.nan, X)
    gone = np.isnan(seen).all(axis=(1, 2))
    if gone.any():
        raise ValueError(
            f"hidden leaves nothing of {gone.sum()} trial(s), first of trial {np.argmax(gone)}: "
            "an embedding needs some activity."
        )
    arguments = {} if inputs is None else {"inputs": inputs}
    return r2_by(X, estimator.predict(seen, **arguments), over, hidden)


class _HidingScorer(BaseEstimator):
    """Callable as scikit-learn asks of a scorer; a `score` method is what it routes inputs by."""

    __metadata_request__score = {"estimator": UNUSED}  # noqa: RUF012

    def __call__(self, estimator, X, y=None, *, inputs=None):
        """What `score` returns."""
        return self.score(estimator, X, y, inputs=inputs)


class ForecastScorer(_HidingScorer):
    """Score by the R2 of the end of each trial, forecast from its beginning.

    A scorer for ``cross_val_score``, ``GridSearchCV(scoring=...)`` and the like. With metadata
    routing, ``set_score_request(inputs=True)`` asks for the known inputs of the test trials.

    Parameters
    ----------
    fraction : float, default=0.5
        Share of the samples that the embedding (and initial state) is inferred from.
    start : {"first", "last"}, default="first"
        Where the forecast sets out: on the free run from the beginning of the trial, or at the
        last sample seen, which keeps small errors from growing for so long but brings in the
        noise of that sample.

    Examples
    --------
    >>> from jedi_sklearn.metrics import ForecastScorer
    >>> ForecastScorer(fraction=0.8)
    ForecastScorer(fraction=0.8)
    """

    def __init__(self, fraction=0.5, start="first"):
        self.fraction = fraction
        self.start = start

    def score(self, estimator, X, y=None, *, inputs=None):
        """R2 of the forecast; `y` is ignored."""
        check_number(self.fraction, "fraction", low=0, closed=False, high=1)
        check_option(self.start, "start", ("first", "last"))
        n_timesteps = np.shape(X)[1]
        n_seen = min(max(1, round(self.fraction * n_timesteps)), n_timesteps - 1)
        if self.start == "last":
            return self._from_last(estimator, X, n_seen, inputs)
        later = np.arange(n_timesteps)[:, np.newaxis] >= n_seen
        return hidden_r2(estimator, X, later, inputs=inputs)

    def _from_last(self, estimator, X, n_seen, inputs):
        X, estimator = _unwrap(estimator, X)
        begin, rest = {}, {}
        if inputs is not None:
            u = as_plain_array(inputs, "inputs")
            begin, rest = {"inputs": u[:, :n_seen]}, {"inputs": u[:, n_seen - 1 :]}
        found = estimator.posterior(X[:, :n_seen], **begin)
        last = X[:, n_seen - 1]
        if np.isnan(last).any():
            run = estimator.inverse_transform(found.mean, found.initial_state, n_seen, **begin)
            last = np.where(np.isnan(last), run[:, -1], last)
        n_timesteps = X.shape[1] - n_seen + 1
        forecast = estimator.inverse_transform(found.mean, last, n_timesteps, **rest)
        return r2_by(X[:, n_seen:], forecast[:, 1:])


class CoSmoothingScorer(_HidingScorer):
    """Score by the R2 of neurons held out, predicted from the others of the same trial.

    A scorer for ``cross_val_score``, ``GridSearchCV(scoring=...)`` and the like. The fit knows
    the neurons; the embedding of a test trial does not. With metadata routing,
    ``set_score_request(inputs=True)`` asks for the known inputs of the test trials.

    Parameters
    ----------
    fraction : float, default=0.25
        Share of the neurons held out.
    n_repeats : int, default=1
        Random choices of neurons to average over.
    random_state : int or RandomState, default=0
        Of the choice.

    Examples
    --------
    >>> from jedi_sklearn.metrics import CoSmoothingScorer
    >>> CoSmoothingScorer(n_repeats=4)
    CoSmoothingScorer(n_repeats=4)
    """

    def __init__(self, fraction=0.25, n_repeats=1, random_state=0):
        self.fraction = fraction
        self.n_repeats = n_repeats
        self.random_state = random_state

    def score(self, estimator, X, y=None, *, inputs=None):
        """R2 of the neurons held out; `y` is ignored."""
        check_number(self.fraction, "fraction", low=0, closed=False, high=1)
        check_number(self.n_repeats, "n_repeats", Integral, low=1)
        rng = check_random_state(self.random_state)
        n_neurons = np.shape(X)[2]
        if n_neurons < 2:
            raise ValueError("Co-smoothing needs at least 2 neurons in X, got 1.")
        n_hidden = min(max(1, round(self.fraction * n_neurons)), n_neurons - 1)
        scores = []
        for _ in range(self.n_repeats):
            neurons = np.zeros(n_neurons, dtype=bool)
            neurons[rng.permutation(n_neurons)[:n_hidden]] = True
            scores.append(hidden_r2(estimator, X, neurons, inputs=inputs))
        return float(np.mean(scores))


def _unwrap(estimator, X):
    """Trials as the last step of a pipeline sees them, and that step."""
    if isinstance(estimator, Pipeline):
        X, estimator = estimator[:-1].transform(X), estimator[-1]
    return check_trials(X, missing=True), estimator


def _as_mask(mask, X, name):
    mask = as_plain_array(mask, name)
    if mask.dtype != bool:
        raise TypeError(f"{name} must be boolean, got dtype {mask.dtype}.")
    try:
        return np.broadcast_to(mask, X.shape)
    except ValueError:
        raise ValueError(
            f"{name} must have a shape that broadcasts to that of X, {X.shape}, got {mask.shape}."
        ) from None
