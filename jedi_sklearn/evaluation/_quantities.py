"""Compute the quantities of trials to compare: embeddings, and features of their RNNs."""

from __future__ import annotations

import numpy as np
from sklearn.base import clone
from sklearn.metrics import pairwise_distances_argmin_min

from .._reduced import own_runs
from .._validation import as_numbers, check_conditions, check_option
from ..analyzers import EigenspectrumAnalyzer, LyapunovAnalyzer
from ..metrics import _unwrap

__all__ = ["NAMES", "as_quantities", "quantities_of"]

SAME = 1e-6  # of the SD of the embeddings: two inferences of one trial differ only by rounding


def quantities_of(
    fitted, X, features, inputs=None, n_jobs=None, conditions=None, held_out=False, check=True
):
    """Compute quantities of trials under a fitted model, a dict of (n_trials[, d]) arrays.

    With `check`, it refuses trials whose labels the fit knew, unless these are `conditions`, and
    trials whose labels it may have known, unless they are said to be `held_out`.
    """
    X, est = _unwrap(fitted, X)
    X, inputs, found = est._infer(X, inputs, starts=True, n_jobs=n_jobs)
    embedding = found.p[:, : est.n_components_]
    if check:
        _refuse_labelled_fit(est, embedding, conditions, held_out)
    rnns = est._rnns(embedding, found, X.shape[1], inputs)
    quantities = {}
    for name, values in _evaluate_all(features, embedding, rnns):
        if name in quantities:
            raise ValueError(
                f'features has two quantities with the name "{name}". Use a dict to give them '
                'different names, e.g. features={"origin": EigenspectrumAnalyzer(), '
                '"trajectory": EigenspectrumAnalyzer("trajectory")}.'
            )
        quantities[name] = values
    return as_quantities(quantities, len(X))


def as_quantities(values, n_trials, name="features"):
    """Check quantities; return a dict of finite (n_trials,) or (n_trials, d) arrays."""
    items = [
        item for key, value in _named(values, "values") for item in _under(key, _named(value, key))
    ]
    if not items:
        raise ValueError(f"{name} is empty: there is nothing to compare.")
    quantities = {}
    for key, value in items:
        if str(key) in quantities:
            raise ValueError(f'{name} has two quantities with the name "{key}": rename one.')
        array = as_numbers(value, f'{name}["{key}"]')
        if array.ndim not in (1, 2) or not array.size or len(array) != n_trials:
            raise ValueError(
                f'{name}["{key}"] must have one row for each of the {n_trials} trials, shape '
                f"({n_trials},) or ({n_trials}, d), got {array.shape}."
            )
        bad = ~np.isfinite(array.reshape(n_trials, -1)).all(axis=1)
        if bad.any():
            raise ValueError(
                f'{name}["{key}"] is NaN or infinite in {bad.sum()} of {n_trials} trials, first '
                f"in trial {np.argmax(bad)}. Leave these trials out, or use a quantity that "
                "every trial has."
            )
        quantities[str(key)] = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    return quantities


def _named(values, name):
    """List names and values: columns of a dict or DataFrame, a named Series, or one value."""
    if getattr(values, "ndim", None) == 1:  # a Series also has items, its rows
        own = getattr(values, "name", None)
        return [(name if own is None else own, values)]
    return list(values.items()) if hasattr(values, "items") else [(name, values)]


def _under(label, found):
    """List names and values of quantities under one dict key."""
    return [(label if len(found) == 1 else f"{label}: {name}", value) for name, value in found]


def _refuse_labelled_fit(est, embedding, conditions, held_out):
    """Raise an error if the fit knew labels of these trials that permutations would break."""
    if not hasattr(est, "conditions_"):
        return
    nearest, distance = pairwise_distances_argmin_min(embedding, est.embedding_)
    same = SAME * est.embedding_.std(axis=0).max()
    seen = distance <= same
    if conditions is not None:
        _refuse_other_conditions(est, conditions, nearest, seen, same)
        return
    ways = (
        "Fit without labels (the cheapest option), test trials that the fit has not seen, pass "
        "the labels of the fit as conditions= if they differ from those compared, or set "
        "refit=True, which repeats the fit for every permutation."
    )
    if seen.any():
        raise ValueError(
            f"{seen.sum()} of the {len(embedding)} trials were fitted with labels. The fit itself "
            "pulls labels apart, so permuting labels under the same fit finds differences that "
            f"do not exist. {ways}"
        )
    if est.embedding == "condition" and not held_out:
        raise ValueError(
            'The fit had labels and embedding="condition", which pulls trials of one label '
            "together, whatever the labels are. None of these trials is recognised as one of the "
            "fit, but windows cut from its trials would not be recognised either. If no part of "
            f"X comes from trials of the fit, confirm it with held_out=True. Otherwise: {ways}"
        )


def _refuse_other_conditions(est, conditions, nearest, seen, same):
    """Raise an error if `conditions` are not those of the fit."""
    given, codes = check_conditions(conditions, len(nearest))
    known = est.conditions_.tolist()
    unknown = set(given.tolist()) - set(known)
    if unknown:
        raise ValueError(
            "conditions must be the labels that the fit was given, but it was not given "
            f"{sorted(unknown, key=str)[0]!r}."
        )
    trials, first = np.unique(nearest[seen], return_index=True)
    if len(trials) < len(est.embedding_):  # a fit keeps the mean of each label, not its trials
        return
    label = given[codes[seen][first]]
    for value, mean in zip(known, est.condition_embeddings_, strict=True):
        own = est.embedding_[trials[label == value]]
        if not len(own) or np.abs(own.mean(axis=0) - mean).max() > same:
            raise ValueError(
                "conditions must be the labels that the fit was given, in the order of X, but "
                f"these assign {value!r} to other trials than in the fit."
            )


def _evaluate_all(features, embedding, rnns):
    """Yield the name and values of every quantity."""
    if isinstance(features, dict):
        for label, feature in features.items():
            yield from _under(label, _evaluate(feature, embedding, rnns))
    elif isinstance(features, (list, tuple)):
        for feature in features:
            yield from _evaluate_all(feature, embedding, rnns)
    else:
        yield from _evaluate(features, embedding, rnns)


def _evaluate(feature, embedding, rnns):
    """Compute one feature; return names and values."""
    if isinstance(feature, str):
        more = ", an analyzer, a function of the RNNs, or a list or dict of these"
        check_option(feature, "features", tuple(NAMES), more)
        name, compute = NAMES[feature]
        return [(name, compute(embedding, rnns))]
    if isinstance(feature, type):
        raise TypeError(f"features needs an object, {feature.__name__}(), not the class itself.")
    if hasattr(feature, "fit_transform"):
        analyzer = clone(feature)
        columns = np.asarray(analyzer.fit_transform(rnns)).T
        return list(zip(analyzer.get_feature_names_out(), columns, strict=True))
    name, values = "values", feature
    if callable(feature):
        name = getattr(feature, "__name__", type(feature).__name__)
        values = feature(rnns)
    return _named(values, name)


def _growth_rate(embedding, rnns):
    """Growth rate of the leading eigenvalue along the free run, mean over its samples."""
    return EigenspectrumAnalyzer("trajectory", n_eigenvalues=1).fit_transform(rnns)[:, 0]


def _frequency(embedding, rnns):
    """Frequency of the fastest lasting rhythm; docs/dynamics/spectra.md explains the bound."""
    analyzer = EigenspectrumAnalyzer(
        "equivalent", n_eigenvalues=0, min_growth_rate=-1 / (5 * rnns.tau)
    )
    return analyzer.fit_transform(rnns)[:, 0]


def _speed(embedding, rnns):
    """Speed of the free run, RMS over samples and neurons, in units of the states per s."""
    steps = (np.diff(run, axis=0) / rnns.dt for run in own_runs(rnns))
    return np.array([np.sqrt(np.square(step).mean()) for step in steps])


# option of `features`: name of the quantity in tables, and function that computes it
NAMES = {
    "embedding": ("embedding", lambda embedding, rnns: embedding),
    "growth_rate": ("growth rate (1/s)", _growth_rate),
    "frequency": ("frequency (Hz)", _frequency),
    "lyapunov": (
        "Lyapunov exponent (1/s)",
        lambda embedding, rnns: LyapunovAnalyzer(n_exponents=1).fit_transform(rnns)[:, 0],
    ),
    "speed": ("speed (1/s)", _speed),
}
