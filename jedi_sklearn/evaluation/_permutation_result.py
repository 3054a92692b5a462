"""Present what a permutation test found: p-values, effects and intervals, as table and words."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import ncf

from ._exchange import NO_SPREAD, statistics_of, surprise

__all__ = ["PermutationTest", "judge"]

ROUNDING = 1e-9  # relative difference up to which statistics count as equal
SHOWN = 0.05  # significance level in the words of `summary`
UNITS = {"distance": "SD", "share": "of the variance"}  # of effects without a unit of their own


@dataclass(frozen=True, eq=False, repr=False)
class PermutationTest:
    """Result of :func:`permutation_test`, printed as a table.

    The parameters are attributes of the same names.

    Parameters
    ----------
    names : list of str
        Names of the quantities.
    labels : list
        Labels that were compared, sorted.
    means : ndarray of shape (n_quantities, n_labels)
        Mean of each label; NaN for vectors.
    kinds : list of {"difference", "distance", "share"}
        Kinds of `effects`. For two labels: the mean of the second minus that of the first
        (scalars, in their units), or the Mahalanobis distance of the means (vectors). For more
        labels: the share of the variance that they explain.
    effects : ndarray of shape (n_quantities,)
        Effect sizes.
    intervals : ndarray of shape (n_quantities, 2)
        Intervals of the effects at level `confidence`; NaN if the fit was repeated.
    statistics : ndarray of shape (n_quantities,)
        F; for the difference of two means, t squared.
    p_values : ndarray of shape (n_quantities,)
        P-value of each quantity by itself.
    corrected_p_values : ndarray of shape (n_quantities,)
        P-values corrected for the number of quantities.
    null : ndarray of shape (n_permutations, n_quantities)
        Statistics under permuted labels.
    exchange : {"free", "within", "between"}
        Whether labels were exchanged among all trials, within groups, or between whole groups.
    n_trials : int
        Number of trials that count.
    n_groups : int or None
        Number of groups.
    refit : bool
        Whether the fit was repeated for each permutation.
    confidence : float
        Confidence level of the intervals.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn.evaluation import permutation_test_features
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["left", "right"], 20)
    >>> test = permutation_test_features({"speed": rng.normal(size=40) + (y == "right")}, y)
    >>> test.names, test.kinds, test.effects.shape
    (['speed'], ['difference'], (1,))
    >>> bool(test.p_values[0] < 0.05)
    True
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
        """Convert all numbers to a pandas DataFrame, one row per quantity.

        Returns
        -------
        pandas.DataFrame
            Columns mean_<label>, effect, kind, low, high, statistic, p_value and
            corrected_p_value.

        Raises
        ------
        ImportError
            If pandas is not installed.
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
        """Describe in words what was found: one sentence per quantity, and how it was tested.

        Returns
        -------
        str
            One line per sentence.
        """
        lines = [self._sentence(k) for k in range(len(self.names))]
        if self.refit:
            lines.append(
                "The fit was given the labels, and pulls them apart: p-values take that into "
                "account, effect sizes do not."
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
    """Compute the result of a test from the statistics under permuted labels."""
    F, slopes, variance = statistics_of(design, design.codes[np.newaxis], prepared)
    p, corrected = p_values(F[0], null, prepared.freedom)
    kinds = ["share"] * len(quantities)
    if len(design.labels) == 2:
        kinds = ["difference" if number else "distance" for number in prepared.is_number]
    effects, intervals = np.empty(len(quantities)), np.empty((len(quantities), 2))
    unit = design.basis[1, 0] - design.basis[0, 0]  # difference of two labels for a slope of 1
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
    """Compute p of each quantity, also corrected by step-down maxima (Westfall and Young)."""
    m = len(null)
    p = (1 + (null >= F * (1 - ROUNDING)).sum(axis=0)) / (1 + m)
    observed, permuted = surprise(F, freedom), surprise(null, freedom)
    order = np.argsort(observed)  # maximum over each quantity and all less surprising ones
    largest = np.maximum.accumulate(permuted[:, order], axis=1)
    reached = largest >= observed[order] * (1 - ROUNDING)
    stepped = (1 + reached.sum(axis=0)) / (1 + m)
    corrected = np.empty_like(p)
    corrected[order] = np.maximum.accumulate(stepped[::-1])[::-1]
    return p, np.maximum(p, corrected)


def _explained(trace, n_axes, kind, design, confidence):
    """Estimate the distance of means or share of variance without bias, and its interval.

    Both follow from Pillai's trace. For normal quantities it has approximately an F distribution
    (exactly so for two labels), which is noncentral if means differ.
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
    """Find the |t| above which p is at most 1 - confidence; infinite with few permutations."""
    rank = math.floor((1 - confidence) * (len(null) + 1) + ROUNDING)
    return np.sort(null)[-rank] if rank else np.inf


def _means(quantities, design):
    """Compute the mean of each label, (n_quantities, n_labels); NaN for vectors."""
    means = np.full((len(quantities), len(design.labels)), np.nan)
    for row, values in zip(means, quantities.values(), strict=True):
        if values.ndim == 1:
            units = design.reduce(values)
            row[:] = [units[design.codes == k].mean() for k in range(len(row))]
    return means


def _name_and_unit(name):
    """Split "growth rate (1/s)" into "growth rate" and "1/s"."""
    head, bracket, tail = name.rpartition(" (")
    return (head, tail[:-1]) if bracket and tail.endswith(")") else (name, "")


def _number(value):
    """Format three digits, without an exponent for numbers of common size."""
    if np.isnan(value):
        return "-"
    if not np.isfinite(value) or value == 0:
        return f"{value:.3g}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{max(0, digits)}f}" if -3 <= digits <= 6 else f"{value:.3g}"
