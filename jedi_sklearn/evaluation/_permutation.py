"""Test whether embeddings and RNNs differ between labels or epochs, by permutation."""

from __future__ import annotations

import warnings
from numbers import Integral

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from .._validation import as_labels, check_conditions, check_number, check_seed
from ._exchange import Design, Prepared, statistics_of
from ._permutation_result import judge
from ._quantities import NAMES, as_quantities, quantities_of

__all__ = ["permutation_test", "permutation_test_features"]

PERMUTATIONS = {False: 9999, True: 99}  # by `refit`: smallest p 0.0001, 0.01


def permutation_test(
    estimator,
    X,
    y,
    *,
    features=tuple(NAMES),
    groups=None,
    conditions=None,
    inputs=None,
    refit=False,
    held_out=False,
    n_permutations="auto",
    confidence=0.95,
    random_state=0,
    n_jobs=None,
):
    """Test whether embeddings and RNNs of trials differ between labels or epochs.

    Labels are exchanged at random between trials. A quantity differs if exchanged labels hardly
    ever produce a difference as large as the observed one.

    Parameters
    ----------
    estimator : JEDIEstimator, or Pipeline or search that ends in one
        Fitted estimator (with `refit` it need not be fitted).
    X : array-like of shape (n_trials, n_timesteps, n_neurons)
        Trials to compare, those of the fit or others.
    y : array-like of shape (n_trials,)
        Labels to compare: conditions, or the epoch of its trial that each row of `X` holds.
    features : str, analyzer, callable, or list or dict of these, default=all names
        Quantities to compare. Names: "embedding"; "growth_rate" of the leading eigenvalue, mean
        along the free run (1/s); "frequency" of the fastest lasting rhythm (equivalent
        linearisation, Hz); "lyapunov", the largest exponent (1/s); "speed" of the free run (RMS,
        units of the states per s). Each column of an analyzer is a quantity. A function takes
        the :class:`~jedi_sklearn.RNNBatch` of the trials and returns scalars (n_trials,), vectors
        (n_trials, d) that are compared as a whole, or a dict of these. The keys of a dict name
        its values, which may also be arrays of these shapes. Each column of a DataFrame is a
        quantity.
    groups : array-like of shape (n_trials,), optional
        What makes trials similar besides their label. If labels differ within groups, they are
        exchanged only within each group: the trial from which several epochs come (a paired
        test), the session, or the animal. If all trials of each group have one label (animals of
        two genotypes), the means of groups are compared and labels of whole groups exchanged.
    conditions : array-like of shape (n_trials,), optional
        Labels that the fit was given, if they differ from `y`. `y` is then exchanged only within
        conditions (with `groups`, within the conditions of each group). If all trials of each
        group have one label, groups are compared as wholes and keep their conditions. If `X`
        holds all trials of the fit, the conditions are checked; for a subset this is not
        possible.
    inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
        Known inputs, if the fit had them.
    refit : bool, default=False
        If False, labels are permuted under one fit. This is correct if the fit did not see the
        labels of these trials. If True, `estimator` is fitted again to `X` with each permutation
        of `y` as its labels. This is needed if labels shape the fit, as with
        ``embedding="condition"``: a fit with labels pulls them apart, whatever they are.
    held_out : bool, default=False
        Set to True to confirm that no part of `X` comes from trials of the fit. A fit with labels
        and ``embedding="condition"`` requires this unless `conditions` are given, because trials
        of the fit are recognised only if they are whole and unchanged, not from a window of their
        samples.
    n_permutations : int or "auto", default="auto"
        Number of permutations. "auto" is 9999, or 99 with `refit`. No p is smaller than
        1 / (1 + n_permutations).
    confidence : float, default=0.95
        Confidence level of the intervals of effects.
    random_state : int, RandomState or None, default=0
        Seed of the permutations.
    n_jobs : int, optional
        Number of joblib workers that share the fits, or the trials of one fit. The result does
        not depend on it.

    Returns
    -------
    PermutationTest
        Result, printed as a table. ``summary()`` describes it in words, and ``to_frame()``
        (needs pandas) returns the numbers.

    Raises
    ------
    ValueError, TypeError
        If the fit knew the labels of these trials, or may have known them (see `held_out`), and
        `refit` is False; if `conditions` are not those of the fit, or determine `y` because each
        holds only one of its labels; if there are fewer than two labels, or fewer than two trials
        (or groups) of a label; if quantities are not finite.

    Warns
    -----
    UserWarning
        If trials do not count because their group has one label and others have more, or if
        labels can be exchanged in too few ways for a p of 0.05.

    See Also
    --------
    permutation_test_features : Tests quantities that are already known.

    Notes
    -----
    Under the null hypothesis, trials have the same distribution whatever their label (within
    groups). If b of m permutations reach the observed statistic, p = (1 + b) / (1 + m) (Phipson
    and Smyth). Statistics allow each label its own variance. With many trials, a label with more
    variance but the same mean is therefore not mistaken for a difference (Chung and Romano). The
    statistics are Welch's t for scalars with two labels, the paired t if groups are pairs, and F*
    of Brown and Forsythe for more labels. For vectors, numerator and denominator of F* are summed
    over principal axes scaled to the same length (Brunner, Dette and Munk). The axes are the
    leading ones of all trials, at most one for every five residual degrees of freedom.

    Corrected p-values control the error over all quantities of the call. They use the step-down
    maxima of Westfall and Young over the same permutations, which account for correlations
    between quantities. Statistics are compared as the logarithms of the p-values that normal
    quantities would have.

    For two labels, the effect on a scalar is the mean of the second label (in sorted order) minus
    that of the first, with the constants of groups removed. Its interval is the effect plus and
    minus its standard error times the quantile of its absolute t over the permutations; it
    excludes 0 if the uncorrected p is small enough. The effect on a vector is the Mahalanobis
    distance of the means, in SDs within labels. For more labels, the effect is the share of the
    variance that they explain. Distance and share are corrected for bias, and their intervals
    come from the noncentral F distribution, which assumes normal quantities of equal variance.
    With `refit`, effects are those of a fit that pulls labels apart, and have no intervals.

    If a recording drifts, neighbouring trials resemble each other for reasons other than their
    label. Labels that came in blocks of time can then not be exchanged (docs/how_to/drift.md).

    References
    ----------
    Brunner, Dette and Munk (1997). J. Am. Stat. Assoc. 92:1494-1502. Chung and Romano (2013).
    Annals of Statistics 41:484-507. MacKinnon and White (1985). J. Econometrics 29:305-325.
    Phipson and Smyth (2010). Stat. Appl. Genet. Mol. Biol. 9:39. Westfall and Young (1993).
    Resampling-Based Multiple Testing, Wiley. Winkler et al. (2014), on groups. NeuroImage
    92:381-397.

    Examples
    --------
    >>> from jedi_sklearn import JEDIEstimator
    >>> from jedi_sklearn.datasets import make_multitask
    >>> from jedi_sklearn.evaluation import permutation_test
    >>> tasks = ("memory", "oscillation")
    >>> data = make_multitask(40, tasks=tasks, n_neurons=30, n_timesteps=50, dt=0.02)
    >>> est = JEDIEstimator(4, 8, dt=0.02, max_iter=40, tol=1, random_state=0).fit(data.X)
    >>> test = permutation_test(est, data.X, data.task, features=["embedding", "speed"])
    >>> test.names, bool(test.corrected_p_values.max() < 0.01)
    (['embedding', 'speed (1/s)'], True)
    """
    y = as_labels(y, "y")
    how = {"features": features, "inputs": inputs}
    m, rng = _check(n_permutations, confidence, random_state, refit, held_out)
    if not refit:
        how |= {"conditions": conditions, "held_out": held_out}
        found = quantities_of(estimator, X, **how, n_jobs=n_jobs)
        n_trials = len(next(iter(found.values())))
        design = Design(y, _refined(y, groups, conditions, n_trials), n_trials)
        return _test(found, design, m, confidence, rng)
    if conditions is not None:
        raise ValueError(
            "With refit=True the fit uses the labels y, so conditions have no role. If the fit "
            "had other labels than y, it need not be repeated: pass them as conditions, with "
            "refit=False."
        )
    design = Design(y, groups, len(X))
    found = _refitted(estimator, X, y, how)
    null = Parallel(n_jobs=n_jobs)(
        delayed(_null_of_refit)(estimator, X, y, how, design, codes)
        for codes in design.permute(m, rng)
    )
    return judge(found, design, Prepared(found, design), np.stack(null), confidence, refit=True)


def permutation_test_features(
    values, y, *, groups=None, n_permutations="auto", confidence=0.95, random_state=0
):
    """Test whether given values of trials differ between labels or epochs.

    This is :func:`permutation_test` for quantities that are already known, such as features of
    RNNs with known weights, or quantities that need no model. They must have been computed
    without the labels `y`.

    Parameters
    ----------
    values : dict or DataFrame of columns, or array-like of shape (n_trials,) or (n_trials, d)
        Quantities. A dict holds, by name, scalars (n_trials,) or vectors (n_trials, d), which are
        compared as a whole. An array is one quantity, and so is a Series, which keeps its name.
        Each column of a DataFrame is a quantity, also inside a dict.
    y : array-like of shape (n_trials,)
        Labels to compare.
    groups : array-like of shape (n_trials,), optional
        What makes trials similar besides their label, as in :func:`permutation_test`.
    n_permutations : int or "auto", default="auto"
        Number of permutations. "auto" is 9999.
    confidence : float, default=0.95
        Confidence level of the intervals of effects.
    random_state : int, RandomState or None, default=0
        Seed of the permutations.

    Returns
    -------
    PermutationTest
        Result, printed as a table.

    Raises
    ------
    ValueError, TypeError
        In the same cases as :func:`permutation_test`.

    Warns
    -----
    UserWarning
        In the same cases as :func:`permutation_test`.

    Examples
    --------
    Two epochs of 30 trials, the second of which is faster:

    >>> import numpy as np
    >>> from jedi_sklearn.evaluation import permutation_test_features
    >>> rng = np.random.default_rng(0)
    >>> trial, epoch = np.tile(np.arange(30), 2), np.repeat(["delay", "reach"], 30)
    >>> speed = rng.normal(size=30)[trial] + 0.2 * rng.normal(size=60) + 0.3 * (epoch == "reach")
    >>> test = permutation_test_features({"speed (1/s)": speed}, epoch, groups=trial)
    >>> print(test.summary())
    speed differs; reach minus delay: 0.280 [0.177, 0.382] 1/s, p = 0.0001.
    60 trials in 30 groups, within which labels were exchanged 9999 times.
    """
    m, rng = _check(n_permutations, confidence, random_state)
    n_trials = len(as_labels(y, "y").reshape(-1))
    found = as_quantities(values, n_trials, "values")
    return _test(found, Design(y, groups, n_trials), m, confidence, rng)


def _check(n_permutations, confidence, random_state, refit=False, held_out=False):
    """Check arguments; return the number of permutations and a random number generator."""
    for name, value in (("refit", refit), ("held_out", held_out)):
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{name} must be True or False, got {value!r}.")
    check_number(confidence, "confidence", low=0, closed=False, high=0.9999)
    if isinstance(n_permutations, str) and n_permutations == "auto":
        return PERMUTATIONS[bool(refit)], check_seed(random_state)
    if isinstance(n_permutations, str):
        raise ValueError(
            f'n_permutations must be an integer >= 1 or "auto", got {n_permutations!r}.'
        )
    check_number(n_permutations, "n_permutations", Integral, low=1)
    return n_permutations, check_seed(random_state)


def _refined(y, groups, conditions, n_trials):
    """Divide groups by the conditions of the fit, if labels are exchanged within groups."""
    if conditions is None:
        return groups
    _, codes = check_conditions(y, n_trials, "y")
    names, cell = check_conditions(conditions, n_trials)
    if groups is not None:
        _, by = check_conditions(groups, n_trials, "groups")
        if not _mixed(codes, by).any():  # whole groups are the units, whatever their conditions
            telling = ~_mixed(codes, cell)
            if telling.any():
                raise ValueError(
                    f"{telling.sum()} of {n_trials} trials belong to conditions that each hold "
                    "only one label of y. All trials of a group have one label, so groups are "
                    "compared as wholes, and what the fit knew of these trials gives away the "
                    "labels of their groups. Leave these trials out, or fit without labels."
                )
            return groups
        cell = by * len(names) + cell
    if not _mixed(codes, cell).any():
        where = "condition" if groups is None else "condition of a group"
        raise ValueError(
            f"conditions determine y: each {where} holds only one label of y, so no labels can be "
            "exchanged within it. A fit that was given these conditions also pulls the labels of "
            "y apart. Fit without labels (the cheapest option), or fit with y and set refit=True."
        )
    return cell


def _mixed(codes, cell):
    """Tell for each trial whether its cell holds more than one label."""
    occupied = np.unique(np.stack([cell, codes]), axis=1)[0]
    return np.bincount(occupied)[cell] > 1


def _test(quantities, design, m, confidence, rng):
    """Run the permutations under one fit."""
    prepared = Prepared(quantities, design)
    null = [
        statistics_of(design, design.permute(n, rng), prepared)[0]
        for n in design.parts(m, prepared.columns.shape[1])
    ]
    return judge(quantities, design, prepared, np.concatenate(null), confidence)


def _refitted(estimator, X, labels, how):
    """Compute quantities of trials under a fit with these labels."""
    known = {} if how["inputs"] is None else {"inputs": how["inputs"]}
    return quantities_of(clone(estimator).fit(X, labels, **known), X, **how, check=False)


def _null_of_refit(estimator, X, y, how, design, codes):
    """Compute statistics of a fit with permuted labels, without repeating convergence warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        quantities = _refitted(estimator, X, design.labels_of(codes, y), how)
    return statistics_of(design, codes[np.newaxis], Prepared(quantities, design))[0][0]
