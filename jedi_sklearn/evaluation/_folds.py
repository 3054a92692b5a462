"""Choose which trials are held out together, and check that enough are left to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    check_cv,
)

from .._validation import check_number, warn_user

__all__ = ["Data", "Fold", "Target", "check_splits", "inner_splits", "make_splits"]

N_INNER = 4  # parts of the training trials, one of which judges settings
FEWEST = 2 * N_INNER  # training trials, so that each part has two
LEAST_OF_LABEL = 3  # training trials, so that inner folds leave two: one trial has no spread


@dataclass
class Target:
    """What to decode: labels, or values of a continuous quantity."""

    values: np.ndarray  # (trials,)
    codes: np.ndarray | None  # (trials,), for labels


@dataclass
class Data:
    """Trials, and everything known about them."""

    X: np.ndarray
    inputs: np.ndarray | None
    target: Target | None
    labels: tuple | None  # labels of conditions, and codes of the trials
    groups: np.ndarray | None

    @property
    def codes(self):
        """Condition of each trial, or None."""
        return None if self.labels is None else self.labels[1]

    @property
    def strata(self):
        """Labels that folds should contain in equal shares, or None."""
        if self.target is not None and self.target.codes is not None:
            return self.target.codes
        return self.codes


@dataclass
class Fold:
    """Trials of a fold, and what is drawn for it."""

    train: np.ndarray
    test: np.ndarray
    inner: list  # folds of the training trials that choose settings
    neurons: np.ndarray | None = None  # mask of held-out neurons


def make_splits(cv, data, rng):
    """Make the training and held-out trials of each fold."""
    n = len(data.X)
    if isinstance(cv, Integral) and not isinstance(cv, bool):
        check_number(cv, "cv", Integral, low=2)
        if n < 2 * cv:
            raise ValueError(
                f"{n} trials in cv={cv} folds leave folds with fewer than 2 held-out trials. "
                f"{_fewer(n // 2)}"
            )
        _check_folds(cv, data)
        cv = _splitter(cv, data.strata, data.groups, rng.randint(2**31 - 1))
    elif not hasattr(cv, "split") and not np.iterable(cv):
        raise TypeError(
            "cv must be a number of folds, a scikit-learn splitter, or the (training, held-out) "
            f"trials of each fold, got {cv!r}."
        )
    strata = np.zeros(n) if data.strata is None else data.strata
    everyone = np.arange(n)
    parts = check_cv(cv).split(everyone, strata, data.groups)
    splits = [(everyone[train], everyone[test]) for train, test in parts]
    if len(splits) < 2:
        raise ValueError(f"Intervals over folds need at least 2 folds, got {len(splits)}.")
    return splits


def _splitter(n_splits, strata, groups, seed):
    """Make folds in random order: stratified, grouped, or both."""
    how = {"n_splits": n_splits, "shuffle": True, "random_state": seed}
    if groups is not None:
        return GroupKFold(**how) if strata is None else StratifiedGroupKFold(**how)
    return KFold(**how) if strata is None else StratifiedKFold(**how)


def _times(n):
    return {1: "once", 2: "twice"}.get(int(n), f"{n} times")


def _fewer(n):
    """Advise what to try if there are too few of something for the folds."""
    return f"Set cv={n}, or record more." if n >= 2 else "Record more."


def _check_folds(cv, data):
    """Raise an error if there are too few labels or groups for so many folds."""
    if data.groups is not None:
        n = len(np.unique(data.groups))
        if n < cv:
            raise ValueError(f"groups holds {n} groups, too few for cv={cv} folds. {_fewer(n)}")
    elif data.strata is not None:
        sizes = np.bincount(data.strata)
        if sizes.min() < cv:
            raise ValueError(
                f"The rarest label has {sizes.min()} trial(s), fewer than the cv={cv} folds, each "
                "of which needs one. Leave its trials out, merge it with another label, or lower "
                "cv."
            )


def check_splits(splits, data, asked):
    """Raise an error if a fold leaves too little to learn from, or if its parts share trials."""
    for k, (train, test) in enumerate(splits):
        if len(train) < FEWEST or len(test) < 2:
            raise ValueError(
                f"Fold {k} has {len(train)} training and {len(test)} held-out trials; at least "
                f"{FEWEST} and 2 are needed. Use more trials, or another number of folds (cv)."
            )
        both = np.intersect1d(train, test)
        if both.size:
            raise ValueError(f"cv has trial {both[0]} in both parts of fold {k}.")
        if "decoding" not in asked or data.target.codes is None:
            continue
        codes = data.target.codes
        advice = (
            "Pass groups or a cv that leave training trials of every label, merge rare labels, "
            'or leave "decoding" out of questions.'
        )
        known, sizes = np.unique(codes[train], return_counts=True)
        if len(known) < 2 or sizes.min() < LEAST_OF_LABEL:
            rare = data.target.values[codes == known[sizes.argmin()]][0]
            what = f"all have the label {rare!s}"
            if len(known) > 1:
                what = f"have the label {rare!s} only {_times(sizes.min())}"
            raise ValueError(
                f"The training trials of fold {k} {what}: too few to learn to decode and to "
                f"choose settings (at least {LEAST_OF_LABEL}). {advice}"
            )
        new = ~np.isin(codes[test], known)
        if new.any():
            raise ValueError(
                f"Held-out trials of fold {k} have the label "
                f"{data.target.values[test][new][0]!s}, which none of its training trials has. "
                f"{advice}"
            )


def warn_of_new_conditions(splits, codes):
    """Warn of held-out trials whose condition has no training trials."""
    new = sum((~np.isin(codes[test], codes[train])).sum() for train, test in splits)
    if new:
        n = sum(len(test) for _, test in splits)
        warn_user(
            f"{new} of {n} held-out trials have a condition without any training trials. "
            "For these, the condition mean is the mean of all trials."
        )


def inner_splits(train, data, seed):
    """Make folds of the training trials to choose settings by: indices within `train`.

    They are grouped like the outer folds if this leaves all labels in each fit; otherwise they
    are only stratified.
    """
    strata = None if data.strata is None else data.strata[train]
    trials, n = np.zeros(len(train)), N_INNER
    if strata is not None:
        rarest = np.unique(strata, return_counts=True)[1].min()
        strata, n = (strata, min(n, rarest)) if rarest >= LEAST_OF_LABEL else (None, N_INNER)
    if data.groups is not None:
        groups = data.groups[train]
        n_groups = len(np.unique(groups))
        if n_groups > 1:
            splitter = _splitter(min(n, n_groups), strata, groups, seed)
            splits = list(splitter.split(trials, strata, groups))
            if all(_has_all(strata, fit) and len(judge) for fit, judge in splits):
                return splits
    return list(_splitter(n, strata, None, seed).split(trials, strata))


def _has_all(strata, i):
    return strata is None or len(np.unique(strata[i])) == len(np.unique(strata))
