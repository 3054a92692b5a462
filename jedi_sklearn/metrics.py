"""Score how well a fitted model predicts activity it has not seen: forecasts, held-out neurons.

``JEDIEstimator.score`` infers an embedding from a whole trial and scores the free run of that
trial. Here, part of each trial is hidden, what is hidden is predicted from the rest
(``JEDIEstimator.forecast``, ``impute``), and only the hidden part is scored.
"""

from __future__ import annotations

from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.linear_model import PoissonRegressor, Ridge
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted

from ._counts import NEVER
from ._estimator import JEDIEstimator
from ._scores import OVER, as_mask, bits_of, bits_per_spike, parts, r2_by, r2_of
from ._validation import (
    check_inputs_of_trials,
    check_number,
    check_option,
    check_seed,
    check_trials,
)

__all__ = [
    "CoSmoothingScorer",
    "FewShotCoSmoothingScorer",
    "ForecastScorer",
    "bits_per_spike",
    "hidden_bits_per_spike",
    "hidden_r2",
    "r2_by",
]

MEASURES = {"r2": r2_of, "bits_per_spike": bits_of}
NO_VARIANCE = 1e-10  # share of the variance below which a ridge regression ignores a component


def hidden_r2(estimator, X, hidden, *, over="all", inputs=None, average=True):
    """Compute R2 on values that are hidden, as ``JEDIEstimator.impute`` predicts them.

    Parameters
    ----------
    estimator : JEDIEstimator or Pipeline that ends in one
        Fitted estimator.
    X : array-like of shape (n_trials, n_timesteps, n_neurons)
        Trials in the same units as in ``fit``.
    hidden : array-like of bool, broadcast to the shape of `X`
        Values to hide and to score, e.g. ``np.arange(n_timesteps)[:, np.newaxis] >= 50`` or a
        mask over neurons. The first sample of at least some neurons must remain.
    over : {"all", "neuron", "trial"}, default="all"
        Whether to return one R2, or one per neuron or trial, as in :func:`r2_by`.
    inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
        Known inputs, if the fit had them. They are not hidden.
    average : bool, default=True
        Whether predictions are averages, as in ``JEDIEstimator.impute``.

    Returns
    -------
    float, or ndarray of shape (n_neurons,) or (n_trials,)
        R2 of the hidden values.

    Raises
    ------
    ValueError
        If nothing is hidden, or if nothing is left of some trial.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn import JEDIEstimator
    >>> from jedi_sklearn.datasets import make_initial_states
    >>> from jedi_sklearn.metrics import hidden_r2
    >>> X = make_initial_states(40, n_conditions=4, n_neurons=50, dt=0.02, random_state=0).X
    >>> est = JEDIEstimator(6, 12, dt=0.02, max_iter=60, tol=0.1, random_state=0).fit(X[:30])
    >>> neurons = np.arange(50) < 12                      # co-smoothing: a quarter held out
    >>> hidden_r2(est, X[30:], neurons) > 0.8
    True
    """
    return _score_hidden("r2", estimator, X, hidden, over, inputs, average)


def hidden_bits_per_spike(estimator, X, hidden, *, over="all", inputs=None, average=True):
    """Compute bits per spike on counts that are hidden, as ``JEDIEstimator.impute`` predicts them.

    Parameters
    ----------
    estimator : JEDIEstimator or Pipeline that ends in one
        Estimator fitted to spike counts.
    X : array-like of shape (n_trials, n_timesteps, n_neurons)
        Spike counts.
    hidden : array-like of bool, broadcast to the shape of `X`
        Values to hide and to score, as in :func:`hidden_r2`.
    over : {"all", "neuron", "trial"}, default="all"
        Whether to return one number, or one per neuron or trial, as in :func:`bits_per_spike`.
        The expected counts are compared with the means of the hidden values.
    inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
        Known inputs, if the fit had them. They are not hidden.
    average : bool, default=True
        Whether predictions are averages, as in ``JEDIEstimator.impute``.

    Returns
    -------
    float, or ndarray of shape (n_neurons,) or (n_trials,)
        Bits per spike of the hidden counts.

    Raises
    ------
    ValueError
        If the estimator was not fitted to spike counts, if `X` holds no counts, if nothing is
        hidden, or if nothing is left of some trial.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn import JEDIEstimator
    >>> from jedi_sklearn.metrics import hidden_bits_per_spike
    >>> rng = np.random.default_rng(0)
    >>> phase = rng.uniform(0, 2 * np.pi, size=(60, 1, 1)) + 0.2 * np.arange(40)[:, np.newaxis]
    >>> X = rng.poisson(np.exp(np.cos(phase + np.arange(20)) - 0.7))      # waves, 20 neurons
    >>> est = JEDIEstimator(2, 4, max_iter=10, tol=1, random_state=0).fit(X[:40])
    >>> est.observation_
    'poisson'
    >>> neurons = np.arange(20) < 5                       # co-smoothing: a quarter held out
    >>> hidden_bits_per_spike(est, X[40:], neurons) > 0.2
    True
    """
    return _score_hidden("bits_per_spike", estimator, X, hidden, over, inputs, average)


def _score_hidden(metric, estimator, X, hidden, over="all", inputs=None, average=True):
    """Score the hidden values with a metric."""
    X, estimator = _unwrap(estimator, X)
    measure = _measure(metric, estimator, X)
    hidden = as_mask(hidden, X, "hidden")
    if not hidden.any():
        raise ValueError("hidden is False everywhere: there is nothing to predict.")
    check_option(over, "over", OVER)
    seen = _Shown(X, hidden)
    _refuse_gone(seen, "hidden leaves nothing")
    inputs = check_inputs_of_trials(inputs, X, estimator.n_inputs_)

    def predict(i):
        u = None if inputs is None else inputs[i]
        return estimator.impute(seen[i], inputs=u, average=average)

    return measure(X, predict, hidden, over)


def _measure(metric, estimator, X):
    """Choose the function in `MEASURES` that scores predictions of the trials `X`."""
    check_option(metric, "metric", ("auto", *MEASURES))
    counts = estimator.observation_ == "poisson"
    if metric == "auto":
        metric = "bits_per_spike" if counts else "r2"
    if metric == "bits_per_spike":
        if not counts:
            raise ValueError(
                "Bits per spike need an estimator that was fitted to spike counts "
                f'(observation_ "poisson"), but this one has "{estimator.observation_}". Use R2: '
                'hidden_r2, or metric="r2".'
            )
        estimator._model.observation.check(X)
    return MEASURES[metric]


def _infer_runs(estimator, X, hidden, inputs):
    """Infer embeddings without hidden values; return a function from trials to free runs."""
    seen = _Shown(X, hidden)
    _refuse_gone(seen, "hidden leaves nothing")
    _, inputs, found = estimator._infer(seen, inputs, starts=True)
    embedding = found.p[:, : estimator.n_components_]

    def predict(i):
        u = None if inputs is None else inputs[i]
        return estimator._model.generate(embedding[i], found.x0[i], X.shape[1], u)

    return predict


class _HidingScorer(BaseEstimator):
    """Base of the scorers: callable, with a `score` method for metadata routing of inputs."""

    __metadata_request__score = {"estimator": UNUSED}  # noqa: RUF012

    def __call__(self, estimator, X, y=None, *, inputs=None):
        """Return the result of `score`."""
        return self.score(estimator, X, y, inputs=inputs)


class ForecastScorer(_HidingScorer):
    """Scorer of forecasts: the end of each trial, predicted from its beginning.

    Use it as a scorer in ``cross_val_score``, ``GridSearchCV(scoring=...)`` and the like. The
    score refers to the activity in its own units, whatever the `scale` of the estimator. With
    metadata routing, ``set_score_request(inputs=True)`` requests the known inputs of the test
    trials.

    Parameters
    ----------
    fraction : float, default=0.5
        Share of the samples that are seen. Embedding and state are inferred from them.
    correction : float or "auto", default="auto"
        How strongly the state follows the samples that are seen, as in
        ``JEDIEstimator.forecast``.
    metric : {"auto", "r2", "bits_per_spike"}, default="auto"
        Score of the forecast samples: R2 (:func:`r2_by`) or bits per spike
        (:func:`bits_per_spike`). "auto" is bits per spike if the estimator was fitted to spike
        counts, and R2 otherwise.
    average : bool, default=True
        Whether forecasts are averages over the embeddings that a trial may have, as in
        ``JEDIEstimator.forecast``.

    Examples
    --------
    >>> from jedi_sklearn.metrics import ForecastScorer
    >>> ForecastScorer(fraction=0.8)
    ForecastScorer(fraction=0.8)
    """

    def __init__(self, fraction=0.5, correction="auto", *, metric="auto", average=True):
        self.fraction = fraction
        self.correction = correction
        self.metric = metric
        self.average = average

    def score(self, estimator, X, y=None, *, inputs=None):
        """Score the forecast of each trial.

        Parameters
        ----------
        estimator : JEDIEstimator, or Pipeline or search that ends in one
            Fitted estimator.
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Test trials.
        y : None
            Ignored.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs, if the fit had them.

        Returns
        -------
        float
            R2 or bits per spike of the forecast samples.
        """
        check_number(self.fraction, "fraction", low=0, closed=False, high=1)
        X, estimator = _unwrap(estimator, X)
        measure = _measure(self.metric, estimator, X)
        n_timesteps = X.shape[1]
        n_seen = _count_seen(self.fraction, n_timesteps)
        seen = _Shown(X, time=slice(n_seen))
        _refuse_gone(seen, f"there is nothing in the first {n_seen} samples")
        inputs = check_inputs_of_trials(inputs, X, estimator.n_inputs_)
        how = {"correction": self.correction, "average": self.average}

        def predict(i):
            u = None if inputs is None else inputs[i]
            return estimator.forecast(seen[i], n_timesteps - n_seen, inputs=u, **how)

        return measure(_Shown(X, time=slice(n_seen, None)), predict)


class CoSmoothingScorer(_HidingScorer):
    """Scorer of co-smoothing: held-out neurons, predicted from the other neurons.

    Use it as a scorer in ``cross_val_score``, ``GridSearchCV(scoring=...)`` and the like. The
    fit has seen the held-out neurons, but ``JEDIEstimator.impute`` predicts those of a test trial
    without them. The score refers to the activity in its own units, whatever the `scale` of the
    estimator. With metadata routing, ``set_score_request(inputs=True)`` requests the known inputs
    of the test trials.

    Parameters
    ----------
    fraction : float, default=0.25
        Share of the neurons that are held out.
    n_repeats : int, default=1
        Number of random choices of neurons to average over.
    random_state : int or RandomState, default=0
        Seed of these choices.
    metric : {"auto", "r2", "bits_per_spike"}, default="auto"
        Score of the held-out neurons: R2 (:func:`r2_by`) or bits per spike
        (:func:`bits_per_spike`). "auto" is bits per spike if the estimator was fitted to spike
        counts, and R2 otherwise.
    average : bool, default=True
        Whether predictions are averages over what a trial may be, with what its neurons share
        beyond that, as in ``JEDIEstimator.impute``. False scores the free runs of embeddings
        alone: use it to choose sizes.

    Examples
    --------
    >>> from jedi_sklearn.metrics import CoSmoothingScorer
    >>> CoSmoothingScorer(n_repeats=4)
    CoSmoothingScorer(n_repeats=4)
    """

    def __init__(self, fraction=0.25, n_repeats=1, random_state=0, *, metric="auto", average=True):
        self.fraction = fraction
        self.n_repeats = n_repeats
        self.random_state = random_state
        self.metric = metric
        self.average = average

    def score(self, estimator, X, y=None, *, inputs=None):
        """Score the held-out neurons.

        Parameters
        ----------
        estimator : JEDIEstimator, or Pipeline or search that ends in one
            Fitted estimator.
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Test trials.
        y : None
            Ignored.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs, if the fit had them.

        Returns
        -------
        float
            R2 or bits per spike of the held-out neurons, mean over `n_repeats`.
        """
        check_number(self.fraction, "fraction", low=0, closed=False, high=1)
        check_number(self.n_repeats, "n_repeats", Integral, low=1)
        rng = check_seed(self.random_state)
        X, estimator = _unwrap(estimator, X)
        scores, how = [], {"inputs": inputs, "average": self.average}
        for _ in range(self.n_repeats):
            neurons = _choose_neurons(X, self.fraction, rng)
            scores.append(_score_hidden(self.metric, estimator, X, neurons, **how))
        return float(np.mean(scores))


class FewShotCoSmoothingScorer(_HidingScorer):
    """Scorer of few-shot co-smoothing: held-out neurons, read out by regression on few trials.

    Some neurons are hidden from inference in all trials of `X`: embeddings and free runs are
    inferred from the other neurons. In `n_trials` trials, the counts of the hidden neurons are
    regressed on the states of the other neurons in these free runs. The score is the bits per
    spike (:func:`bits_per_spike`) of that regression in all other trials. If the estimator treats
    the activity as continuous rather than as counts, the regression is linear and the score is R2
    (:func:`r2_by`).

    The fit has seen all neurons in its own trials, so the hidden neurons took part in learning
    bases, maps and embeddings. What the model predicts for them, however, is not used; the
    readout is learned anew. The score therefore does not tell whether a model works for neurons
    it has never seen. It tells how plainly the states of some neurons speak of the others. Models
    with dynamics beyond those that the neurons share can do equally well in co-smoothing, where
    all training data determine how to read the states. With few trials the readout is harder to
    find the more of the states it must ignore (Dabholkar and Barak). Use this score to compare
    models that do equally well in :class:`CoSmoothingScorer`, with the same `X`, `n_trials` and
    `random_state`.

    Use it as a scorer in ``cross_val_score``, ``GridSearchCV(scoring=...)`` and the like, if the
    test sets are larger than `n_trials`. With metadata routing,
    ``set_score_request(inputs=True)`` requests the known inputs of the test trials.

    Parameters
    ----------
    fraction : float, default=0.25
        Share of the neurons that are held out.
    n_trials : int, default=20
        Number of trials of `X` for the regression; `X` must have more.
    n_repeats : int, default=1
        Number of random choices of neurons and trials to average over.
    random_state : int or RandomState, default=0
        Seed of these choices.

    Notes
    -----
    The states are log expected counts (or activity), in the units of the estimator's `scale`,
    divided by one number so that their variances in `X` add up to 1. (If neurons outnumber
    dimensions, their principal components are used instead; the regression is the same.) The
    ridge penalty weighs as much as one sample: ``PoissonRegressor`` with ``alpha=1 / n_samples``,
    for which log expected counts have a prior SD of about 1, or ``Ridge`` with ``alpha=1``. A
    hidden neuron without a spike in the few trials is expected to fire half a spike in as many
    bins. Hidden neurons that were not observed in these trials are not scored.

    References
    ----------
    Dabholkar and Barak (2025), "When predict can also explain: few-shot prediction to select
    better neural latents", PLoS Comput. Biol. 21:e1013789, doi:10.1371/journal.pcbi.1013789.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn import JEDIEstimator
    >>> from jedi_sklearn.metrics import FewShotCoSmoothingScorer
    >>> rng = np.random.default_rng(0)
    >>> phase = rng.uniform(0, 2 * np.pi, size=(60, 1, 1)) + 0.2 * np.arange(40)[:, np.newaxis]
    >>> X = rng.poisson(np.exp(np.cos(phase + np.arange(20)) - 0.7))      # waves, 20 neurons
    >>> est = JEDIEstimator(2, 4, max_iter=10, tol=1, random_state=0).fit(X[:40])
    >>> FewShotCoSmoothingScorer(n_trials=5)(est, X[40:]) > 0.2
    True
    """

    def __init__(self, fraction=0.25, n_trials=20, n_repeats=1, random_state=0):
        self.fraction = fraction
        self.n_trials = n_trials
        self.n_repeats = n_repeats
        self.random_state = random_state

    def score(self, estimator, X, y=None, *, inputs=None):
        """Score the held-out neurons in the trials that are not used for the regression.

        Parameters
        ----------
        estimator : JEDIEstimator, or Pipeline or search that ends in one
            Fitted estimator.
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Test trials, more than ``self.n_trials``.
        y : None
            Ignored.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs, if the fit had them.

        Returns
        -------
        float
            Bits per spike or R2 of the held-out neurons, mean over `n_repeats`.
        """
        check_number(self.fraction, "fraction", low=0, closed=False, high=1)
        check_number(self.n_trials, "n_trials", Integral, low=1)
        check_number(self.n_repeats, "n_repeats", Integral, low=1)
        rng = check_seed(self.random_state)
        X, estimator = _unwrap(estimator, X)
        measure = _measure("auto", estimator, X)
        if len(X) <= self.n_trials:
            raise ValueError(
                f"Few-shot co-smoothing with n_trials={self.n_trials} needs at least "
                f"{self.n_trials + 1} trials in X, so that some are left to score, got {len(X)}. "
                "Lower n_trials, or use fewer folds to make test sets larger."
            )
        scores = []
        for _ in range(self.n_repeats):
            neurons = _choose_neurons(X, self.fraction, rng)
            few = rng.permutation(len(X))[: self.n_trials]
            scores.append(_score_few_shot(measure, estimator, X, neurons, few, inputs))
        return float(np.mean(scores))


def _count_seen(fraction, n_timesteps):
    """Choose how many samples of a trial are seen; the others are forecast."""
    if n_timesteps < 3:
        raise ValueError(f"A forecast needs at least 3 samples per trial, got {n_timesteps}.")
    return min(max(2, round(fraction * n_timesteps)), n_timesteps - 1)


def _choose_neurons(X, fraction, rng):
    """Choose the neurons to hold out, some but not all; returns a mask."""
    n_neurons = X.shape[2]
    if n_neurons < 2:
        raise ValueError("Co-smoothing needs at least 2 neurons in X, got 1.")
    n_hidden = min(max(1, round(fraction * n_neurons)), n_neurons - 1)
    neurons = np.zeros(n_neurons, dtype=bool)
    neurons[rng.permutation(n_neurons)[:n_hidden]] = True
    return neurons


def _score_few_shot(measure, estimator, X, neurons, few, inputs):
    """Learn to read neurons from the others in the trials `few`; score them in all others."""
    runs = _infer_runs(estimator, X, np.broadcast_to(neurons, X.shape), inputs)

    def states(i):
        return estimator.to_states(runs(i))[..., ~neurons]

    few = np.sort(few)
    values = np.asarray(X[few], dtype=np.float64)[..., neurons]
    readout = _Readout(_axes(X, states), counts=estimator.observation_ == "poisson")
    readout.fit(states(few), values)
    scored = ~np.isin(np.arange(len(X)), few)[:, np.newaxis, np.newaxis]
    held_out = _Shown(X, neurons=neurons)
    return measure(held_out, lambda i: readout(states(i)), scored & readout.known)


def _axes(X, states):
    """Find axes (neurons, components) along which variances of the states of `X` add up to 1.

    They are principal axes and leave nothing out. Samples without observed neurons do not count.
    """
    shift = states(slice(1))[0].mean(axis=0)
    n, total, power = 0, 0.0, 0.0
    for i in parts(X):
        x = states(i)[~np.isnan(X[i]).all(axis=2)] - shift  # (samples, neurons)
        n, total, power = n + len(x), total + x.sum(axis=0), power + x.T @ x
    power, axes = np.linalg.eigh(power / n - np.outer(total, total) / n**2)
    axes = axes[:, power >= NO_VARIANCE * power[-1]]
    return axes / np.sqrt(power.sum() if power[-1] > 0 else 1.0)


class _Readout:
    """Ridge regression from states of some neurons to values of others.

    Parameters
    ----------
    axes : ndarray (neurons, components)
        Axes of the states to regress on.
    counts : bool
        Whether values are spike counts, whose logarithms are then linear in the states.
    penalty : float
        Number of samples that the ridge penalty weighs as much as.
    """

    def __init__(self, axes, counts, penalty=1.0):
        self.axes, self.counts, self.penalty = axes, counts, penalty

    def fit(self, states, values):
        """Learn from states and values (trials, time, neurons), NaN where a value is missing."""
        features, seen = states @ self.axes, ~np.isnan(values)
        self.known = seen.any(axis=(0, 1))
        self.weights = np.zeros((self.axes.shape[1], len(self.known)))
        self.offset = np.zeros(len(self.known))
        for n in np.flatnonzero(self.known):
            x, y = features[seen[..., n]], values[seen[..., n], n]
            if self.counts and not y.any():
                self.offset[n] = np.log(NEVER / len(y))
            else:
                found = self._regression(len(y)).fit(x, y)
                self.weights[:, n], self.offset[n] = found.coef_, found.intercept_

    def __call__(self, states):
        """Predict values from states (trials, time, neurons)."""
        linear = states @ self.axes @ self.weights + self.offset
        return np.exp(linear) if self.counts else linear

    def _regression(self, n_samples):
        if not self.counts:
            return Ridge(alpha=self.penalty)
        return PoissonRegressor(alpha=self.penalty / n_samples, solver="newton-cholesky", tol=1e-6)


class _Shown:
    """Trials with some values hidden, or samples or neurons cut off; assembled when indexed."""

    ndim = 3

    def __init__(self, X, hidden=None, time=slice(None), neurons=slice(None)):
        self.X, self.hidden, self.time, self.neurons = X, hidden, time, neurons
        n_timesteps = len(range(X.shape[1])[time])
        n_neurons = len(np.arange(X.shape[2])[neurons])
        self.shape, self.dtype = (len(X), n_timesteps, n_neurons), X.dtype

    def __len__(self):
        return len(self.X)

    def __getitem__(self, index):
        """Return one trial by its number, or several by a slice."""
        x = self.X[index]
        if self.hidden is not None:
            x = np.where(self.hidden[index], np.nan, x).astype(x.dtype, copy=False)
        return x[..., self.time, :][..., self.neurons]

    def __array__(self, dtype=None, copy=None):
        return self[:].astype(dtype or self.dtype, copy=False)


def _refuse_gone(X, what):
    gone = np.concatenate([np.isnan(X[i]).all(axis=(1, 2)) for i in parts(X)])
    if gone.any():
        raise ValueError(
            f"An embedding needs some activity, but {what} of {gone.sum()} trial(s), the first of "
            f"which is trial {np.argmax(gone)}."
        )


def _unwrap(estimator, X):
    """Find the estimator in a pipeline or search, and transform trials as it sees them."""
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
