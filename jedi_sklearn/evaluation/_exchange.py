"""Define which labels may be exchanged (designs), and how far apart they lie (statistics).

Quantities are regressed on labels, with a constant for each block of trials within which labels
are exchanged. The statistic of a scalar is the sum of squares that labels explain, divided by its
expectation under chance if each label has its own variance (HC2 of MacKinnon and White). For two
labels this is the square of Welch's t, for pairs that of the paired t, for more labels the F* of
Brown and Forsythe. For a vector, numerator and denominator are summed over its principal axes,
scaled to the same length (the ANOVA-type statistic of Brunner, Dette and Munk).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import fdtrc, gammaln

from .._validation import check_conditions, warn_user

__all__ = ["Design", "Prepared", "statistics_of", "surprise"]

WORK = 4_000_000  # numbers in the largest temporary array
PER_AXIS = 5  # residual degrees of freedom: tests lose power long before axes outnumber trials
ROUNDING = 1e-12  # relative to the largest value: a quantity with a smaller SD is constant
NO_SPREAD = 1e-12  # variance within a label that replaces 0, for a quantity of variance 1
ENOUGH = 20  # ways to exchange labels below which no p can be under 0.05


class Design:
    """Labels of units (trials or groups of trials), and the blocks within which they change.

    Parameters
    ----------
    y : array-like of shape (n_trials,)
        Labels of the trials.
    groups : array-like of shape (n_trials,) or None
        If labels differ within groups, they are exchanged there. If each group has one label, it
        is one unit, and labels of groups are exchanged.
    n_trials : int
        Number of trials.

    Attributes
    ----------
    labels : ndarray of shape (n_labels,)
        Sorted labels.
    exchange : {"free", "within", "between"}
        Whether labels are exchanged among all trials, within groups or between groups.
    codes, block : ndarray of int of shape (n_units,)
        Label and block of each unit.
    basis : ndarray of shape (n_labels, n_contrasts)
        Contrasts of the labels of units, orthonormal once block means are removed.
    freedom : int
        Residual degrees of freedom.
    n_trials : int
        Number of trials that count.
    n_groups : int or None
        Number of groups.
    """

    def __init__(self, y, groups, n_trials):
        self.labels, codes = check_conditions(y, n_trials, "y")
        n_labels = len(self.labels)
        if n_labels < 2:
            raise ValueError(f"y must hold at least 2 labels to compare, got {n_labels}.")
        self.n_groups = None
        self._group = np.zeros(n_trials, dtype=int)
        if groups is not None:
            names, self._group = check_conditions(groups, n_trials, "groups")
            self.n_groups = len(names)
        counts = np.zeros((self._group.max() + 1, n_labels), dtype=int)
        np.add.at(counts, (self._group, codes), 1)
        mixed = (counts > 0).sum(axis=1) > 1  # groups with more than one label
        self.trials = np.arange(n_trials)
        if mixed.any():
            self.exchange = "free" if groups is None else "within"
            self._take(mixed, codes)
        else:
            self.exchange = "between"
            self.codes = counts.argmax(axis=1)
            self.block = np.zeros(len(counts), dtype=int)
        self.n_trials = len(self.trials)
        self._solve()

    def _take(self, mixed, codes):
        """Leave out trials of groups with a single label, which carry no information on labels."""
        kept = mixed[self._group]
        if not kept.all():
            warn_user(
                f"{np.sum(~kept)} of {len(kept)} trials do not count: all trials of their group "
                "have one label, and labels are exchanged within groups."
            )
        self.trials = np.flatnonzero(kept)
        self.codes = codes[kept]
        _, self.block = np.unique(self._group[kept], return_inverse=True)
        if self.exchange == "within":
            self.n_groups = int(mixed.sum())

    def _solve(self):
        n_labels = len(self.labels)
        each = np.bincount(self.codes, minlength=n_labels)
        if self.exchange == "between" and each.min() < 2:
            raise ValueError(
                "All trials of a group have one label, so groups are compared rather than "
                f"trials, and at least 2 groups of each label are needed: {self._few(each)}. "
                "If trials of one group may be exchanged, leave groups out."
            )
        if each.min() < 2:
            advice = ""
            if self.labels.dtype.kind == "f":
                advice = " For a continuous quantity compare its halves, y > np.median(y)."
            raise ValueError(
                f"At least 2 trials of each label are needed: {self._few(each)}. Leave out labels "
                f"as rare as that, or merge them.{advice}"
            )
        self.sizes = np.bincount(self.block)
        in_block = np.zeros((len(self.sizes), n_labels))
        np.add.at(in_block, (self.block, self.codes), 1)
        self.shares = in_block / self.sizes[:, np.newaxis]
        cross = np.diag(each) - in_block.T @ self.shares  # of labels, without block means
        size, axes = np.linalg.eigh(cross)
        kept = size > 1e-9 * size[-1]
        self.basis = axes[:, kept] / np.sqrt(size[kept])
        if n_labels == 2:  # the second minus the first
            self.basis *= np.sign(self.basis[1] - self.basis[0])
        self.freedom = len(self.codes) - len(self.sizes) - self.basis.shape[1]
        self._warn_of_few(in_block)

    def _few(self, each):
        k = int(np.argmin(each))
        return f"{each[k]} of label {self.labels[k]!s}"

    def _warn_of_few(self, in_block):
        """Warn if there are too few exchanges for a small p."""
        ways = gammaln(self.sizes + 1).sum() - gammaln(in_block + 1).sum()
        # exchanging whole labels changes nothing if they are balanced in all blocks
        if (in_block == in_block[:, :1]).all():
            ways -= gammaln(len(self.labels) + 1)
        if ways < math.log(ENOUGH) - 1e-9:
            n = round(math.exp(ways))
            warn_user(
                f"Labels can be exchanged in only {n} distinct ways, so no p can be smaller than "
                f"1/{n}."
            )

    def reduce(self, values):
        """Convert values of trials to values of units."""
        if self.exchange != "between":
            return values[self.trials]
        sums = np.zeros((len(self.codes), *values.shape[1:]))
        np.add.at(sums, self._group, values)
        sizes = np.bincount(self._group)
        return sums / sizes.reshape(-1, *[1] * (values.ndim - 1))

    def centred(self, values):
        """Remove the block means from values of units (n_units, ...)."""
        sums = np.zeros((len(self.sizes), *values.shape[1:]))
        np.add.at(sums, self.block, values)
        sizes = self.sizes.reshape(-1, *[1] * (values.ndim - 1))
        return values - (sums / sizes)[self.block]

    def permute(self, n, rng):
        """Draw codes of n permutations, (n, n_units)."""
        order = np.argsort(self.block, kind="stable")
        keys = self.block[order] + rng.random_sample((n, len(order)))
        codes = np.empty((n, len(order)), dtype=int)
        codes[:, order] = self.codes[order][np.argsort(keys, axis=1)]
        return codes

    def contrasts(self, codes):
        """Compute orthonormal contrasts of labels (n, n_units), with block means removed."""
        return self.basis[codes] - (self.shares @ self.basis)[self.block]

    def labels_of(self, codes, y):
        """Convert codes of units back to labels of trials y."""
        permuted = np.array(y)
        if self.exchange == "between":
            permuted[:] = self.labels[codes][self._group]
        else:
            permuted[self.trials] = self.labels[codes]
        return permuted

    def parts(self, n, n_columns):
        """Divide n permutations into blocks that fit into memory."""
        most = max(1, WORK // (len(self.codes) * max(n_columns, len(self.labels))))
        return [min(most, n - first) for first in range(0, n, most)]


class Prepared:
    """Quantities of units, prepared for the statistics of any labels.

    Parameters
    ----------
    quantities : dict of ndarray of shape (n_trials,) or (n_trials, d)
        Scalars and vectors by name.
    design : Design
        Units and blocks.

    Attributes
    ----------
    is_number : ndarray of bool of shape (n_quantities,)
        Whether a quantity is a scalar.
    columns : ndarray of shape (n_units, n_columns)
        Scalars, and principal axes of vectors: without block means, and with variance 1, or 0 if
        a quantity is constant.
    scale : ndarray of shape (n_quantities,)
        SD by which scalars were divided.
    first, n_axes : ndarray of int of shape (n_quantities,)
        First column of each quantity, and number of its columns.
    freedom : ndarray of shape (n_quantities, 2)
        Assumed degrees of freedom of F, to put statistics on one scale.
    """

    def __init__(self, quantities, design):
        self.is_number = np.array([values.ndim == 1 for values in quantities.values()])
        columns, self.scale = [], np.zeros(len(quantities))
        for k, values in enumerate(map(design.reduce, quantities.values())):
            least = ROUNDING * np.abs(values).max()
            values = design.centred(values).reshape(len(values), -1)
            axes, size, _ = np.linalg.svd(values / math.sqrt(len(values)), full_matrices=False)
            n_varying = int((size > least).sum())
            if self.is_number[k]:
                axes, self.scale[k] = values, size[0] if n_varying else 0.0
                columns.append(axes / self.scale[k] if n_varying else 0 * axes)
                continue
            n_axes = max(1, min(n_varying, design.freedom // PER_AXIS))
            columns.append(math.sqrt(len(axes)) * axes[:, :n_axes] * (n_varying > 0))
        self.columns = np.concatenate(columns, axis=1)
        self.n_axes = np.array([c.shape[1] for c in columns])
        self.first = np.cumsum(self.n_axes) - self.n_axes
        r = design.basis.shape[1]
        self.freedom = self.n_axes[:, np.newaxis] * [r, design.freedom]


def statistics_of(design, codes, prepared):
    """Compute F of all quantities for labels `codes` (n, n_units), and its parts.

    Returns
    -------
    F : ndarray of shape (n, n_quantities)
        Statistics.
    slopes : ndarray of shape (n, n_columns, n_contrasts)
        Slopes of columns on orthonormal contrasts of the labels.
    variance : ndarray of shape (n, n_columns)
        Variance of the slopes expected by chance, summed over contrasts.
    """
    contrasts = design.contrasts(codes)
    columns = prepared.columns.T
    slopes = columns @ contrasts
    squares = np.square(contrasts).sum(axis=2)  # (n, n_units)
    free = 1 - 1 / design.sizes[design.block] - squares  # 1 - leverage
    weight = np.divide(squares, free, out=np.zeros_like(free), where=free > 1e-9)  # no residual
    rest = np.square(columns - slopes @ contrasts.transpose(0, 2, 1))
    variance = (rest @ weight[..., np.newaxis])[..., 0] + NO_SPREAD
    explained = np.square(slopes).sum(axis=2)
    F = np.add.reduceat(explained, prepared.first, axis=1)
    return F / np.add.reduceat(variance, prepared.first, axis=1), slopes, variance


def surprise(F, freedom):
    """Put F of all quantities on one scale: -log of the p that normal quantities would have."""
    with np.errstate(divide="ignore"):  # infinite if p is 0
        return -np.log(fdtrc(*freedom.T, F))
