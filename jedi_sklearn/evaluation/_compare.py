"""Compare JEDI with simple methods on held-out trials: `compare`, cross-validated."""

from __future__ import annotations

import os
import warnings

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import ConvergenceWarning

from .._estimator import JEDIEstimator
from .._parameters import check_parameters, check_sampling, choose_labels, choose_observation
from .._validation import (
    as_numbers,
    check_conditions,
    check_inputs_of_trials,
    check_number,
    check_option,
    check_seed,
    check_trials,
    warn_user,
)
from ..metrics import _choose_neurons, _count_seen
from ._answers import OURS, Plan, answer_fold
from ._comparison import QUESTIONS, Comparison, row_of
from ._folds import (
    Data,
    Fold,
    Target,
    check_splits,
    inner_splits,
    make_splits,
    warn_of_new_conditions,
)

__all__ = ["compare"]


def compare(
    X,
    y=None,
    *,
    estimator=None,
    questions="all",
    conditions=None,
    groups=None,
    inputs=None,
    cv=5,
    decoder=None,
    forecast_from=0.5,
    hidden_neurons=0.25,
    confidence=0.95,
    n_jobs=None,
    random_state=0,
):
    """Compare JEDI with simple methods on the same held-out trials.

    In each fold, the estimator and the simple methods are fitted to the training trials.
    Everything else is learned or chosen there too: scalers, means that impute missing samples,
    principal components, penalties and settings. Of a held-out trial, a method sees only what the
    question shows.

    Parameters
    ----------
    X : array-like of shape (n_trials, n_timesteps, n_neurons)
        Spike counts in bins, rates, or another continuous signal, as for ``JEDIEstimator.fit``;
        NaN where a sample is missing.
    y : array-like of shape (n_trials,), optional
        What to decode: labels, or values of a continuous quantity. ``JEDIEstimator.fit`` says
        what counts as labels.
    estimator : JEDIEstimator, optional
        Estimator whose parameters are used (copies are fitted). Its `dt` must match your bins.
        Default: ``JEDIEstimator()``, with the `dt` of `X` if that is a ``Recording``.
    questions : "all" or sequence of str, default="all"
        Any of "reconstruction", "forecast", "co_smoothing", "decoding" and "embedding". "all"
        omits decoding if there is no `y`.
    conditions : array-like of shape (n_trials,), optional
        Labels for the fits and for condition means. Default: `y`, if it holds labels.
    groups : array-like of shape (n_trials,), optional
        Groups of trials, such as blocks or days, that are held out together.
    inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
        Known inputs. Regressions get them too.
    cv : int, splitter or iterable of (training, held-out) trials, default=5
        An int is a number of folds with trials in random order, stratified by labels and grouped
        by `groups`.
    decoder : classifier or regressor, optional
        Decoder of `y`, the same for all features, which are standardised. Default: LDA with
        shrinkage (Ledoit-Wolf); for a continuous `y`, ridge regression with the penalty that
        minimises the error on left-out training trials. It needs a ``score`` method of its own.
    forecast_from : float, default=0.5
        Share of the samples of a trial from which the others are forecast.
    hidden_neurons : float, default=0.25
        Share of the neurons that co-smoothing holds out. They are drawn anew in each fold, so
        values vary with the neurons; look at the differences between methods.
    confidence : float, default=0.95
        Confidence level of each interval.
    n_jobs : int, optional
        Number of joblib workers that share the folds. None means 1, or the setting of an
        enclosing ``joblib.parallel_config``. The result does not depend on it, except for
        rounding if workers use different numbers of threads.
    random_state : int, RandomState or None, default=0
        Seed of the folds and held-out neurons, and of the fits if `estimator` has none.

    Returns
    -------
    Comparison
        Results, printed as a table. ``summary()`` describes them in words, ``rows`` and
        ``to_frame()`` hold the numbers, and ``folds`` the values of each fold.

    Raises
    ------
    ValueError, TypeError
        If data or arguments cannot be used, or if folds leave nothing to learn from. The text
        says what to try.

    Warns
    -----
    ConvergenceWarning
        If fits of the estimator did not converge.

    See Also
    --------
    jedi_sklearn.plotting.ComparisonDisplay : Draws the result.
    jedi_sklearn.baselines : Holds simple models to fit and inspect by themselves.

    Notes
    -----
    *Reconstruction* (R2, or for spike counts D2, the share of the deviance explained): free runs
    from embeddings inferred from the whole trial. They are compared with each neuron's mean rate;
    the mean of the trial's condition, which the free runs are not told; principal components of
    whole trials, as many as the model has numbers per trial; factor analysis of single samples
    (with as many factors as the rank), whose trajectories are described by as many principal
    components; and the noise-free runs of a linear dynamical system from as many numbers.

    *Forecast* (R2, or bits per spike): :class:`~jedi_sklearn.metrics.ForecastScorer`. It is
    compared with the mean rate, the condition mean, ridge regression of the later part of trials
    on all of the first part (the conditional mean of Gaussian trials), and the same linear
    dynamical system.

    *Co-smoothing* (R2, or bits per spike): held-out neurons, predicted from the other neurons of
    the trial by ``JEDIEstimator.impute``. It is compared with the mean rate, the condition mean,
    a regression for each neuron on the smoothed others (Poisson regression for spike counts), and
    factor analysis of samples with as many factors as the rank.

    *Decoding* (accuracy, or R2 of a continuous `y`): from embeddings. It is compared with the
    most frequent label (or the mean of `y`), mean rates (summed counts, if trials have one
    length), and principal components of whole trials. Inner cross-validation chooses half as many
    components as the embedding has, as many, or twice as many.

    *Embedding*: the chosen sizes, and the posterior SD of the components of held-out embeddings
    relative to their SD between training trials (median over components and trials).

    Simple methods may smooth what they see by a Gaussian with an SD of 0, 1/2, 1 or 2 times the
    `tau` of the estimator, and their expected counts are mixed with mean rates. The widths,
    shares and regression penalties are those that predict best in a quarter of the training
    trials. Two methods are used as they are: the condition mean of spike counts, which is
    :class:`~jedi_sklearn.baselines.ConditionMean` and chooses its own smoothing, and
    :class:`~jedi_sklearn.baselines.LinearDynamicalSystem`. The latter does not use inputs; one
    fit of it serves both questions and takes 10 to 20 % of the time of the estimator's fit.

    Simple methods impute missing values by the mean of the training trials at that time. There
    are two exceptions: the linear dynamical system skips missing values, and the components of a
    held-out trial are those expected given the rest of the trial. Only observed values are
    scored.

    With ``scale="neuron"``, neurons are first divided by their SD in the training trials. R2, D2
    and bits per spike are relative to the means of the held-out trials, so training means may
    score below 0.

    Intervals are t intervals over folds after Nadeau and Bengio. Because folds share training
    trials, the variance is multiplied by ``1 / n_folds + n_held_out / n_training``. Intervals of
    differences are based on paired differences. Intervals of accuracies are no narrower than
    those of the same number of single trials that are correct or not (Wilson; Agresti and Min for
    differences), so decoders without an error have an interval too. Each interval holds by
    itself: of many intervals, some exclude the truth.

    References
    ----------
    Nadeau and Bengio (2003), "Inference for the generalization error", Mach. Learn. 52:239-281.

    Wilson (1927), J. Am. Stat. Assoc. 22:209-212, and Agresti and Min (2005), Stat. Med.
    24:729-740, for proportions and their paired differences.

    Examples
    --------
    >>> from jedi_sklearn import JEDIEstimator
    >>> from jedi_sklearn.datasets import make_multitask
    >>> from jedi_sklearn.evaluation import compare
    >>> data = make_multitask(32, n_neurons=15, n_timesteps=30, dt=0.02, random_state=0)
    >>> est = JEDIEstimator(4, 8, dt=0.02, max_iter=20, tol=1.0)
    >>> result = compare(data.X, data.task, estimator=est, cv=2, random_state=0,
    ...                  questions=["reconstruction", "decoding"])
    >>> [row["method"] for row in result.rows if row["question"] == "decoding"]
    ['JEDI embeddings', 'most frequent label', 'mean rates', 'PCA of trials']
    >>> result.rows[0]["value"] > 0.8                     # R2 of the free runs
    True
    """
    estimator = _check_estimator(estimator, X)
    X = check_trials(X, missing=True, min_trials=2)
    rng = check_seed(random_state)
    target = _read_target(y, len(X))
    labels = _read_conditions(estimator, target, conditions, len(X))
    inputs = check_inputs_of_trials(inputs, X)
    asked = _check_questions(questions, target)
    check_number(forecast_from, "forecast_from", low=0, closed=False, high=1)
    check_number(hidden_neurons, "hidden_neurons", low=0, closed=False, high=1)
    _check_confidence(confidence)
    _check_decoder(decoder, target)
    if groups is not None:
        groups = check_conditions(groups, len(X), "groups")[1]
    data = Data(X, inputs, target, labels, groups)
    splits = make_splits(cv, data, rng)
    check_splits(splits, data, asked)
    if labels is not None:
        warn_of_new_conditions(splits, labels[1])
    estimator.set_params(observation=choose_observation(estimator, X))
    if estimator.random_state is None:
        estimator.set_params(random_state=rng.randint(2**31 - 1))

    plan = Plan(estimator, asked, decoder)
    if "forecast" in asked:
        plan.n_seen = _count_seen(forecast_from, X.shape[1])
        plan.forecast_from = forecast_from
        _refuse_unseen(X[:, : plan.n_seen], f"the first {plan.n_seen} samples", "forecast")
    folds = []
    for train, test in splits:
        inner = inner_splits(train, data, rng.randint(2**31 - 1))
        neurons = None
        if "co_smoothing" in asked:
            neurons = _choose_neurons(X, hidden_neurons, rng)
            what = "the neurons that are not held out"
            _refuse_unseen(X[:, :, ~neurons], what, "co_smoothing")
        folds.append(Fold(train, test, inner, neurons))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # one warning below covers all folds
        found = Parallel(n_jobs=n_jobs)(
            delayed(answer_fold)(plan, data, fold, os.getpid()) for fold in folds
        )
    converged = np.array([fold.converged for fold in found])
    if not converged.all():
        warn_user(
            f"{np.sum(~converged)} of {len(converged)} fits of the estimator did not converge. "
            "Raise its max_iter; or its tol, if a little less R2 does not matter.",
            ConvergenceWarning,
        )
    return _collect(found, splits, converged, plan, data, confidence)


def _check_estimator(estimator, X):
    if estimator is None:
        recorded = getattr(X, "in_memory", False)  # a Recording
        return JEDIEstimator(dt=X.dt) if recorded else JEDIEstimator()
    if not isinstance(estimator, JEDIEstimator):
        raise TypeError(
            f"estimator must be a JEDIEstimator, got {type(estimator).__name__}. Pass the last "
            'step of a Pipeline. Instead of TrialScaler set scale="neuron". Smooth and cut trials '
            "beforehand, because this uses no other trials."
        )
    check_parameters(estimator)
    check_sampling(estimator, X)
    # parallel fits of folds would share a checkpoint
    return clone(estimator).set_params(checkpoint=None, warm_start=False)


def _read_target(y, n_trials):
    if y is None:
        return None
    labels, codes = choose_labels(JEDIEstimator(), y, None, n_trials)
    if labels is not None:
        return Target(labels[codes], codes)
    values = as_numbers(y, "y")
    if values.size != n_trials:
        raise ValueError(
            f"y must hold one number or label per trial, ({n_trials},), got shape "
            f"{values.shape}. Call compare once for each column."
        )
    return Target(values.ravel(), None)


def _read_conditions(estimator, target, conditions, n_trials):
    """Get labels and codes of the trials for fits and condition means, or None."""
    if conditions is not None:
        return choose_labels(estimator, None, conditions, n_trials)
    if target is not None and target.codes is not None:
        return np.unique(target.values), target.codes
    return None


def _check_questions(questions, target):
    if isinstance(questions, str) and questions == "all":
        return tuple(q for q in QUESTIONS if q != "decoding" or target is not None)
    given = [questions] if isinstance(questions, str) else list(questions)
    for question in given:
        check_option(question, "questions", QUESTIONS, ', or "all"')
    if not given:
        raise ValueError(f"questions is empty: pass some of {', '.join(QUESTIONS)}.")
    if "decoding" in given and target is None:
        raise ValueError('questions has "decoding", but there is no y to decode: pass y.')
    return tuple(q for q in QUESTIONS if q in given)


def _check_confidence(confidence):
    check_number(confidence, "confidence", low=0, closed=False, high=1)
    if confidence == 1:
        raise ValueError("confidence must be less than 1: that interval would be infinite.")


def _check_decoder(decoder, target):
    if decoder is None or target is None:
        return
    labels = target.codes is not None
    suits = is_classifier if labels else is_regressor
    if not hasattr(decoder, "fit") or not suits(decoder):
        kinds = ("classifier", "labels") if labels else ("regressor", "a continuous quantity")
        raise TypeError(
            f"decoder must be a scikit-learn {kinds[0]}, because y holds {kinds[1]}, got "
            f"{type(decoder).__name__}."
        )


def _refuse_unseen(X, what, question):
    gone = np.isnan(X).all(axis=(1, 2))
    if gone.any():
        raise ValueError(
            f"{what} hold no value in {gone.sum()} trial(s), first in trial {np.argmax(gone)}. "
            f'Leave these trials out, or "{question}" out of questions.'
        )


def _collect(found, splits, converged, plan, data, confidence):
    """Combine the folds into a comparison."""
    rows, folds = [], {}
    hits = {name: np.concatenate([f.hits[name] for f in found]) for name in found[0].hits}
    for question in plan.questions:
        names = list(found[0].scores[question])
        values = {m: np.array([f.scores[question][m] for f in found], float) for m in names}
        folds[question] = values
        for name in names:
            metric = _metric(question, name, plan, data)
            ours = None if name.startswith(OURS) else names[0]
            of_trials = hits if metric == "accuracy" else {}
            found_ = row_of(values, of_trials, name, ours, metric, splits, confidence)
            rows.append({"question": question, "method": name, "metric": metric, **found_})
    return Comparison(rows, folds, splits, converged, confidence)


def _metric(question, name, plan, data):
    if question == "embedding":
        return "share of SD" if name.endswith("SD") else "number"
    if question == "decoding":
        return "R2" if data.target.codes is None else "accuracy"
    return plan.measure(question)[0]
