"""What did a permutation test find? p, effects and their intervals, as table, frame and words."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import ncf

from ._exchange import NO_SPREAD, statistics_of, surprise

__all__ = ["PermutationTest", "judge"]

ROUNDING = 1e-9  # share by which statistics that are the same may differ
SHOWN = 0.05  # level of the words of `summary`
UNITS = {"distance": "SD", "share": "of the variance"}  # of effects that have none of their own


@dataclass(frozen=True, eq=False, repr=False)
class PermutationTest:
    """Result of :func:`permutation_test`; printed, it is a table.

    Attributes
    ----------
    names : list of str
        Of the quantities.
    labels : list
        Labels that were compared, sorted.
    means : ndarray of shape (n_quantities, n_labels)
        Of each label; NaN for vectors.
    kinds : list of {"difference", "distance", "share"}
        What `effects` are: of two labels, the difference of the means of the second and the first
        (numbers, in their units), or the Mahalanobis distance of the means (vectors); of more
        labels the share of the variance that they explain.
    effects : ndarray of shape (n_quantities,)
    intervals : ndarray of shape (n_quantities, 2)
        Of the effects, with confidence `confidence`; NaN where the fit was repeated.
    statistics : ndarray of shape (n_quantities,)
        F, which is t squared for the difference of two means.
    p_values, corrected_p_values : ndarray of shape (n_quantities,)
        Of each quantity alone, and corrected for the number of quantities.
    null : ndarray of shape (n_permutations, n_quantities)
        The statistics under permuted labels.
    exchange : {"free", "within", "between"}
        Whether labels were exchanged among all trials, within groups, or between whole groups.
    n_trials : int
        That count.
    n_groups : int or None
    refit : bool
        Whether the fit was repeated for each permutation.
    confidence : float
    """

    names: list
    labels: list
    means: np.ndarray
    kinds: list
    effects: np.ndarray
    intervals: np.ndarray
    statistics: np.ndarray
    p_values: np.ndarray
    corrected_p_values: np.ndarray
    null: np.ndarray
    exchange: str
    n_trials: int
    n_groups: int | None
    refit: bool
    confidence: float

    @property
    def n_permutations(self):
        """Number of permutations."""
        return len(self.null)

    def to_frame(self):
        """Table of all numbers as a pandas DataFrame, a row for each quantity.

        Returns
        -------
        DataFrame
            With the columns mean_<label>, effect, kind, low, high, statistic, p_value and
            corrected_p_value.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_frame needs pandas: pip install pandas.") from error
        columns = {f"mean_{label}": self.means[:, k] for k, label in enumerate(self.labels)}
        columns |= {"effect": self.effects, "kind": self.kinds}
        columns |= {"low": self.intervals[:, 0], "high": self.intervals[:, 1]}
        columns |= {"statistic": self.statistics, "p_value": self.p_values}
        columns |= {"corrected_p_value": self.corrected_p_values}
        return pd.DataFrame(columns, index=pd.Index(self.names, name="quantity"))

    def summary(self):
        """What was found, in words: a sentence for each quantity, and how it was tested.

        Returns
        -------
        str
        """
        lines = [self._sentence(k) for k in range(len(self.names))]
        if self.refit:
            lines.append(
                "The fit was given the labels, and pulls them apart: p take that into account, "
                "sizes of differences do not."
            )
        elif len(self.names) > 1:
            lines.append("Intervals are those of each quantity alone: they are not corrected.")
        return "\n".join([*lines, f"{self._how()}."])

    def _sentence(self, k):
        name, unit = _name_and_unit(self.names[k])
        p = self.corrected_p_values[k]
        word = "differs" if p <= SHOWN else "is not shown to differ"
        first, second = self.labels[0], self.labels[-1]
        what, unit = {
            "difference": (f"{second} minus {first}", unit),
            "distance": (f"distance of {first} and {second}", UNITS["distance"]),
            "share": ("share that labels explain", UNITS["share"]),
        }[self.kinds[k]]
        size = _number(self.effects[k])
        if not self.refit:
            size += " [{}, {}]".format(*map(_number, self.intervals[k]))
        corrected = "corrected p" if len(self.names) > 1 else "p"
        return f"{name} {word}; {what}: {size}{f' {unit}' * bool(unit)}, {corrected} = {p:.2g}."

    def _how(self):
        trials = f"{self.n_trials} trials"
        times = f"labels were exchanged {self.n_permutations} times"
        if self.refit:
            times += ", each with a fit of its own"
        if self.exchange == "free":
            return f"{trials}; {times}"
        if self.exchange == "within":
            return f"{trials} in {self.n_groups} groups, within which {times}"
        return f"{trials} in {self.n_groups} groups, between which {times}"

    def __str__(self):
        interval = f"{100 * self.confidence:.4g} % interval"
        heads = ["", *map(str, self.labels), "effect", "", interval, "p", "corrected p"]
        rows = []
        for k, name in enumerate(self.names):
            kind = self.kinds[k]
            word = UNITS.get(kind, "difference")
            low, high = map(_number, self.intervals[k])
            p = [f"{p[k]:.2g}" for p in (self.p_values, self.corrected_p_values)]
            means = map(_number, self.means[k])
            rows.append([name, *means, _number(self.effects[k]), word, f"[{low}, {high}]", *p])
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        left = (0, len(heads) - 4)  # columns of words
        lines = [
            "  ".join(
                cell.ljust(w) if i in left else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in (heads, *rows)
        ]
        return "\n".join([*lines, f"{self._how()}."])

    __repr__ = __str__


def judge(quantities, design, prepared, null, confidence, refit=False):
    """The result of a test, of the statistics under permuted labels (m, n_quantities)."""
    F, slopes, variance = statistics_of(design, design.codes[np.newaxis], prepared)
    p, corrected = p_values(F[0], null, prepared.freedom)
    kinds = ["share"] * len(quantities)
    if len(design.labels) == 2:
        kinds = ["difference" if number else "distance" for number in prepared.is_number]
    effects, intervals = np.empty(len(quantities)), np.empty((len(quantities), 2))
    unit = design.basis[1, 0] - design.basis[0, 0]  # of two labels: difference for a slope of 1
    for k, kind in enumerate(kinds):
        first = prepared.first[k]
        if kind == "difference":
            scale = prepared.scale[k] * unit
            effects[k] = scale * slopes[0, first, 0]
            error = scale * math.sqrt(variance[0, first])
            width = error * _quantile(np.sqrt(null[:, k]), confidence)
            intervals[k] = effects[k] - width, effects[k] + width
            continue
        columns = slopes[0, first : first + prepared.n_axes[k]]
        trace = np.square(columns).sum() / len(design.codes)
        effects[k], *intervals[k] = _explained(trace, len(columns), kind, design, confidence)
    if refit:
        intervals[:] = np.nan
    return PermutationTest(
        names=list(quantities),
        labels=design.labels.tolist(),
        means=_means(quantities, design),
        kinds=kinds,
        effects=effects,
        intervals=intervals,
        statistics=F[0],
        p_values=p,
        corrected_p_values=corrected,
        null=null,
        exchange=design.exchange,
        n_trials=design.n_trials,
        n_groups=design.n_groups,
        refit=bool(refit),
        confidence=confidence,
    )


def p_values(F, null, freedom):
    """p of each quantity, and corrected by the step-down maxima of Westfall and Young."""
    m = len(null)
    p = (1 + (null >= F * (1 - ROUNDING)).sum(axis=0)) / (1 + m)
    observed, permuted = surprise(F, freedom), surprise(null, freedom)
    order = np.argsort(observed)  # the largest of each and all less surprising ones
    largest = np.maximum.accumulate(permuted[:, order], axis=1)
    reached = largest >= observed[order] * (1 - ROUNDING)
    stepped = (1 + reached.sum(axis=0)) / (1 + m)
    corrected = np.empty_like(p)
    corrected[order] = np.maximum.accumulate(stepped[::-1])[::-1]
    return p, np.maximum(p, corrected)


def _explained(trace, n_axes, kind, design, confidence):
    """Distance of means, or share of the variance, by Pillai's trace: unbiased, and its interval.

    Pillai's trace of normal quantities has about an F distribution, exactly of two labels, that is
    noncentral where means differ.
    """
    n_contrasts = design.basis.shape[1]
    rank = min(n_contrasts, n_axes)
    low = rank * max(n_contrasts, n_axes)
    high = rank * (design.freedom - n_axes + rank)
    F = trace / max(rank - trace, NO_SPREAD) * high / low

    def bound(share):
        def excess(noncentrality):
            return ncf.cdf(F, low, high, noncentrality) - share

        if excess(0.0) <= 0:
            return 0.0
        above = 10 * (1 + low * F)
        while excess(above) > 0:
            above *= 2
        return brentq(excess, 0.0, above, rtol=1e-4)

    tail = (1 - confidence) / 2
    estimate = max(0.0, low * (max(high - 2, 0) * F / high - 1))
    noncentrality = np.array([estimate, bound(1 - tail), bound(tail)])
    if kind == "distance":
        return (design.basis[1, 0] - design.basis[0, 0]) * np.sqrt(noncentrality)
    total = len(design.codes) - len(design.sizes)
    return noncentrality / (noncentrality + rank * total)


def _quantile(null, confidence):
    """|t| above which p is at most 1 - confidence; infinite with too few permutations."""
    rank = math.floor((1 - confidence) * (len(null) + 1) + ROUNDING)
    return np.sort(null)[-rank] if rank else np.inf


def _means(quantities, design):
    """Mean of each label, (n_quantities, n_labels); NaN of vectors."""
    means = np.full((len(quantities), len(design.labels)), np.nan)
    for row, values in zip(means, quantities.values(), strict=True):
        if values.ndim == 1:
            units = design.reduce(values)
            row[:] = [units[design.codes == k].mean() for k in range(len(row))]
    return means


def _name_and_unit(name):
    """Turn "growth rate (1/s)" into "growth rate" and "1/s"."""
    head, bracket, tail = name.rpartition(" (")
    return (head, tail[:-1]) if bracket and tail.endswith(")") else (name, "")


def _number(value):
    """Three digits, without an exponent where the number is of common size."""
    if np.isnan(value):
        return "-"
    if not np.isfinite(value) or value == 0:
        return f"{value:.3g}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{max(0, digits)}f}" if -3 <= digits <= 6 else f"{value:.3g}"
