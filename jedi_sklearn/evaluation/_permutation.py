"""Do embeddings and RNNs differ between labels or epochs? Permutation tests."""

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

    Labels are exchanged at random between trials. A quantity differs where exchanged labels hardly
    ever make as large a difference as those that were observed.

    Parameters
    ----------
    estimator : JEDIEstimator, or Pipeline or search that ends in one
        Fitted (with `refit` it need not be).
    X : array-like of shape (n_trials, n_timesteps, n_neurons)
        Trials to compare, those of the fit or others.
    y : array-like of shape (n_trials,)
        Labels to compare: conditions, or which epoch of its trial each row of `X` is.
    features : str, analyzer, callable, or list or dict of these, default=all names
        What is compared. Names: "embedding"; "growth_rate" of the leading eigenvalue, mean along
        the free run (1/s); "frequency" of the fastest lasting rhythm (equivalent linearisation,
        Hz); "lyapunov", the largest exponent (1/s); "speed" of the free run (RMS, units of the
        states per s). Of an analyzer each column is a quantity. A function takes the
        :class:`~jedi_sklearn.RNNBatch` of the trials and returns numbers (n_trials,), vectors
        (n_trials, d) that are compared as a whole, or a dict of them. The keys of a dict name
        what it holds, which may also be arrays of these shapes. Of a DataFrame each column is a
        quantity.
    groups : array-like of shape (n_trials,), optional
        What makes trials alike beside their label. Where labels differ within groups, they are
        exchanged within each alone: the trial from which several epochs come (a paired test),
        or session or animal. Where all trials of each group have one label (animals of two
        genotypes), the means of groups are compared, and labels of whole groups exchanged.
    conditions : array-like of shape (n_trials,), optional
        Labels that the fit was given, where these are others than `y`: `y` is exchanged within
        them alone (with `groups`, within the conditions of each group). Where all trials of each
        group have one label, groups are compared as wholes, and keep their conditions. If `X`
        holds all trials of the fit, their conditions are checked; those of only some cannot be.
    inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
        Known inputs, if the fit had them.
    refit : bool, default=False
        False: one fit, whose features get other labels. Right where the fit did not see the
        labels of these trials. True: `estimator` is fitted anew to `X` with each permutation of
        `y` as its labels. Needed where labels make the fit, as with ``embedding="condition"``:
        a fit with labels pulls them apart, whatever they are.
    held_out : bool, default=False
        True says that no part of `X` is from trials of the fit, which a fit that had labels and
        ``embedding="condition"`` needs to hear, unless `conditions` are given: trials of the fit
        are recognised only where they are whole and unchanged, not by a window of their samples.
    n_permutations : int or "auto", default="auto"
        9999, or with `refit` 99. No p is smaller than 1 / (1 + n_permutations).
    confidence : float, default=0.95
        Of the intervals of effects.
    random_state : int, RandomState or None, default=0
        Of the permutations.
    n_jobs : int, optional
        Workers of joblib that share the fits, or the trials of one fit. The result does not
        depend on it.

    Returns
    -------
    PermutationTest
        Its ``str`` is a table, ``summary()`` says it in words, ``to_frame()`` needs pandas.

    Raises
    ------
    ValueError, TypeError
        If the fit knew the labels of these trials, or may have (see `held_out`), and `refit` is
        False; for `conditions` that are not those of the fit, or that tell `y`, because they hold
        one label of it each; for fewer than two labels, or fewer than two trials (or groups) of
        one; for quantities that are not finite.

    Warns
    -----
    UserWarning
        Where trials do not count, because their group has one label and others have more, or
        labels can be exchanged in too few ways for a p of 0.05.

    Notes
    -----
    Under the null hypothesis trials have the same distribution whatever their label (within
    groups), and p = (1 + b) / (1 + m) for b of m permutations that reach the statistic observed
    (Phipson and Smyth). Statistics allow labels a spread of their own, so that with many trials
    a label with more spread, but the same mean, is not taken for a difference (Chung and Romano):
    Welch's t of numbers with two labels, the paired t where groups are pairs, F* of Brown and
    Forsythe with more labels, and of vectors the sums of its numerator and denominator over
    principal axes of one length (Brunner, Dette and Munk). These axes are those of all trials, at
    most one for five residual degrees of freedom, the largest first.

    Corrected p control the error over all quantities of the call: step-down maxima of Westfall and
    Young over the same permutations, which know how quantities are correlated. Statistics are
    compared as the logarithms of the p that normal quantities would give them.

    Of two labels the effect of a number is the difference of the second (in sorted order) and the
    first, the constants of groups taken out. Its interval is the effect plus and minus its
    standard error times the quantile of its absolute t over the permutations: it leaves out 0
    where the uncorrected p is small enough. The effect of a vector is the Mahalanobis distance of
    the means, in SDs within labels, and with more labels it is the share of the variance that they
    explain. Both are corrected for their bias, with intervals from the noncentral F distribution,
    which take quantities as normal and equally spread. With `refit` effects are those of a fit
    that pulls labels apart, and have no intervals.

    Trials in a row resemble each other in other ways than by their label, where a recording
    drifts: labels that came in blocks of time cannot be exchanged (docs/user_guide.md).

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
            "With refit=True labels y are those of the fit, and conditions have no part in it. "
            "Where the fit had other labels than y it need not be repeated: give them as "
            "conditions, with refit=False."
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

    As :func:`permutation_test`, for quantities that are known: features of RNNs from known
    weights, or what needs no model. They must not have been made with the labels `y`.

    Parameters
    ----------
    values : dict or DataFrame of columns, or array-like of shape (n_trials,) or (n_trials, d)
        A dict has numbers (n_trials,) or vectors (n_trials, d), compared as a whole, by name. An
        array is one quantity, and so is a Series, which keeps its name. Of a DataFrame each
        column is one, also in a dict.
    y, groups, n_permutations, confidence, random_state :
        As in :func:`permutation_test`.

    Returns
    -------
    PermutationTest

    Raises
    ------
    ValueError, TypeError
        As :func:`permutation_test` does.

    Examples
    --------
    Two epochs of 30 trials, of which the second is faster:

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
    """Number of permutations, and a generator of random numbers."""
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
    """Groups, divided by the conditions of the fit where labels are exchanged within groups."""
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
                    f"{telling.sum()} of {n_trials} trials are of conditions that hold one label "
                    "of y each. All trials of a group have one label, so that groups are "
                    "compared as wholes, and what the fit knew of these trials tells the labels "
                    "of their groups. Leave these trials out, or fit without labels."
                )
            return groups
        cell = by * len(names) + cell
    if not _mixed(codes, cell).any():
        where = "condition" if groups is None else "condition of a group"
        raise ValueError(
            f"conditions tell y: each {where} holds one label of y, so that none can be "
            "exchanged within it. A fit that was given these conditions pulls the labels of y "
            "apart, too. Fit without labels (the cheapest); or give the fit y and refit=True."
        )
    return cell


def _mixed(codes, cell):
    """Whether the cell of each trial holds more than one label."""
    occupied = np.unique(np.stack([cell, codes]), axis=1)[0]
    return np.bincount(occupied)[cell] > 1


def _test(quantities, design, m, confidence, rng):
    """Permutations under one fit."""
    prepared = Prepared(quantities, design)
    null = [
        statistics_of(design, design.permute(n, rng), prepared)[0]
        for n in design.parts(m, prepared.columns.shape[1])
    ]
    return judge(quantities, design, prepared, np.concatenate(null), confidence)


def _refitted(estimator, X, labels, how):
    """Quantities of trials under a fit with these labels."""
    known = {} if how["inputs"] is None else {"inputs": how["inputs"]}
    return quantities_of(clone(estimator).fit(X, labels, **known), X, **how, check=False)


def _null_of_refit(estimator, X, y, how, design, codes):
    """Statistics of a fit with permuted labels; of convergence that to `y` has warned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        quantities = _refitted(estimator, X, design.labels_of(codes, y), how)
    return statistics_of(design, codes[np.newaxis], Prepared(quantities, design))[0][0]
