"""How well a fitted model predicts activity it has not seen: forecasts and held-out neurons.

``JEDIEstimator.score`` infers an embedding from a trial and draws that trial. Here a part of each
trial is hidden, the embedding is inferred from the rest, and only the hidden part is scored.
"""

from __future__ import annotations

from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from ._estimator import JEDIEstimator
from ._validation import as_plain_array, check_number, check_option, check_seed, check_trials

__all__ = ["CoSmoothingScorer", "ForecastScorer", "hidden_r2", "r2_by"]

OVER = ("all", "neuron", "trial")
PART = 2**23  # values of which copies are made at a time: 64 MB of float64
NO_VARIATION = 1e-24  # sum of squares about the mean, as a share of that about 0: rounding


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
    X = check_trials(X, missing=True, min_timesteps=1, stored=True)
    prediction = check_trials(prediction, name="prediction", min_timesteps=1, stored=True)
    if prediction.shape != X.shape:
        got = prediction.shape
        raise ValueError(f"prediction must have the shape of X, {X.shape}, got {got}.")
    check_option(over, "over", OVER)
    counted = None if counted is None else _as_mask(counted, X, "counted")
    return _r2(X, lambda i: prediction[i], counted, over)


def _r2(X, predict, counted=None, over="all"):
    """What `r2_by` returns, of predictions that ``predict(slice)`` makes of some trials."""
    counted = np.broadcast_to(True if counted is None else counted, X.shape)
    n, total = np.zeros((2, X.shape[2]))
    for i in _parts(X):
        x = np.asarray(X[i], dtype=np.float64)
        counts = ~np.isnan(x) & counted[i]
        n += counts.sum(axis=(0, 1))
        total += np.where(counts, x, 0.0).sum(axis=(0, 1))
    if not n.any():
        raise ValueError("No observed value counts: there is nothing to score.")
    mean = total / np.maximum(n, 1)
    sums = []  # error, variation and size of each trial and neuron, added up as asked for
    for i in _parts(X):
        x = np.asarray(X[i], dtype=np.float64)
        counts = ~np.isnan(x) & counted[i]
        parts = (x - predict(i), x - mean, x)
        each = np.stack([np.square(np.where(counts, a, 0.0)).sum(axis=1) for a in parts])
        sums.append(each.sum(axis=2) if over == "trial" else each.sum(axis=1))
    error, variation, size = np.concatenate(sums, 1) if over == "trial" else np.sum(sums, axis=0)
    if over == "all":
        error, variation, size = error.sum(), variation.sum(), size.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(variation > NO_VARIATION * size, 1 - error / variation, np.nan)
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
    >>> est = JEDIEstimator(6, 12, max_iter=100, tol=0.1, random_state=0).fit(X[:30])
    >>> neurons = np.arange(50) < 12                      # co-smoothing: a quarter held out
    >>> hidden_r2(est, X[30:], neurons) > 0.8
    True
    """
    X, estimator = _unwrap(estimator, X)
    hidden = _as_mask(hidden, X, "hidden")
    if not hidden.any():
        raise ValueError("hidden is False everywhere: there is nothing to predict.")
    check_option(over, "over", OVER)
    seen = _Shown(X, hidden)
    _refuse_gone(seen, "hidden leaves nothing")
    _, inputs, found = estimator._infer(seen, inputs, starts=True)
    embedding = found.p[:, : estimator.n_components_]

    def predict(i):
        u = None if inputs is None else inputs[i]
        return estimator._model.generate(embedding[i], found.x0[i], X.shape[1], u)

    return _r2(X, predict, hidden, over)


class _HidingScorer(BaseEstimator):
    """Callable as scikit-learn asks of a scorer; a `score` method is what it routes inputs by."""

    __metadata_request__score = {"estimator": UNUSED}  # noqa: RUF012

    def __call__(self, estimator, X, y=None, *, inputs=None):
        """What `score` returns."""
        return self.score(estimator, X, y, inputs=inputs)


class ForecastScorer(_HidingScorer):
    """Score by the R2 of the end of each trial, forecast from its beginning.

    Of the activity in its own units, whatever the estimator's `scale`. A scorer for
    ``cross_val_score``, ``GridSearchCV(scoring=...)`` and the like. With metadata routing,
    ``set_score_request(inputs=True)`` asks for the known inputs of the test trials.

    Parameters
    ----------
    fraction : float, default=0.5
        Share of the samples that are seen: embedding and state are inferred from them.
    correction : float, default=0.1
        How much the state follows the samples seen, as in ``JEDIEstimator.forecast``.

    Examples
    --------
    >>> from jedi_sklearn.metrics import ForecastScorer
    >>> ForecastScorer(fraction=0.8)
    ForecastScorer(fraction=0.8)
    """

    def __init__(self, fraction=0.5, correction=0.1):
        self.fraction = fraction
        self.correction = correction

    def score(self, estimator, X, y=None, *, inputs=None):
        """R2 of the forecast; `y` is ignored."""
        check_number(self.fraction, "fraction", low=0, closed=False, high=1)
        check_number(self.correction, "correction", low=0, high=1)
        X, estimator = _unwrap(estimator, X)
        n_timesteps = X.shape[1]
        if n_timesteps < 3:
            raise ValueError(f"A forecast needs at least 3 samples a trial, got {n_timesteps}.")
        n_seen = min(max(2, round(self.fraction * n_timesteps)), n_timesteps - 1)
        n_later = n_timesteps - n_seen
        seen = _Shown(X, time=slice(n_seen))
        _refuse_gone(seen, f"there is nothing in the first {n_seen} samples")
        how = (seen, n_later, inputs, self.correction)
        embedding, last, inputs = estimator._follow(*how)

        def predict(i):
            u = None if inputs is None else inputs[i]
            return estimator._model.generate(embedding[i], last[i], n_later + 1, u)[:, 1:]

        return _r2(_Shown(X, time=slice(n_seen, None)), predict)


class CoSmoothingScorer(_HidingScorer):
    """Score by the R2 of neurons held out, predicted from the others of the same trial.

    Of the activity in its own units, whatever the estimator's `scale`. A scorer for
    ``cross_val_score``, ``GridSearchCV(scoring=...)`` and the like. The fit knows the neurons;
    the embedding of a test trial does not. With metadata routing,
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
        rng = check_seed(self.random_state)
        X, estimator = _unwrap(estimator, X)
        n_neurons = X.shape[2]
        if n_neurons < 2:
            raise ValueError("Co-smoothing needs at least 2 neurons in X, got 1.")
        n_hidden = min(max(1, round(self.fraction * n_neurons)), n_neurons - 1)
        scores = []
        for _ in range(self.n_repeats):
            neurons = np.zeros(n_neurons, dtype=bool)
            neurons[rng.permutation(n_neurons)[:n_hidden]] = True
            scores.append(hidden_r2(estimator, X, neurons, inputs=inputs))
        return float(np.mean(scores))


class _Shown:
    """Trials of which values are hidden or samples cut off; made when some are asked for."""

    ndim = 3

    def __init__(self, X, hidden=None, time=slice(None)):
        self.X, self.hidden, self.time = X, hidden, time
        n_timesteps = len(range(X.shape[1])[time])
        self.shape, self.dtype = (len(X), n_timesteps, X.shape[2]), X.dtype

    def __len__(self):
        return len(self.X)

    def __getitem__(self, index):
        """One trial by its number, or several by a slice."""
        x = self.X[index]
        if self.hidden is not None:
            x = np.where(self.hidden[index], np.nan, x).astype(x.dtype, copy=False)
        return x[..., self.time, :]

    def __array__(self, dtype=None, copy=None):
        return self[:].astype(dtype or self.dtype, copy=False)


def _parts(X):
    """Slices of trials of which a copy may be made."""
    each = max(1, PART // (X.shape[1] * X.shape[2]))
    return [slice(first, first + each) for first in range(0, len(X), each)]


def _refuse_gone(X, what):
    gone = np.concatenate([np.isnan(X[i]).all(axis=(1, 2)) for i in _parts(X)])
    if gone.any():
        raise ValueError(
            f"An embedding needs some activity, but {what} of {gone.sum()} trial(s), first of "
            f"trial {np.argmax(gone)}."
        )


def _unwrap(estimator, X):
    """Trials as the estimator in a pipeline or a search sees them, and that estimator."""
    if hasattr(estimator, "best_estimator_"):
        return _unwrap(estimator.best_estimator_, X)
    if isinstance(estimator, Pipeline):
        return _unwrap(estimator[-1], estimator[:-1].transform(X) if len(estimator) > 1 else X)
    if not isinstance(estimator, JEDIEstimator):
        raise TypeError(
            "estimator must be a JEDIEstimator, or a Pipeline or search that ends in one, got "
            f"{type(estimator).__name__}."
        )
    check_is_fitted(estimator, "hypernetwork_")
    return check_trials(X, missing=True, stored=True), estimator


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
