"""Hold the results of a stability report, reach a verdict on each structure, and describe them."""

from __future__ import annotations

from dataclasses import dataclass, field
from textwrap import fill

import numpy as np
from scipy.stats import beta

__all__ = ["KINDS", "MOST", "SAMPLING", "StabilityReport", "Structure"]

# Kinds of refits, and how texts describe them
KINDS = {
    "seeds": "with other seeds",
    "trials": "to halves of the trials",
    "neurons": "to halves of the neurons",
}
SAMPLING = "trials"  # the kind whose spread is the standard error of an estimate
MOST = 0.5  # a structure must be in more than this share of refits
ERROR = 0.05  # probability that a structure present in half of the refits passes nevertheless
WIDTH = 99  # of the page, characters
COVERED = (5, 95)  # percentiles of the refits between which intervals reach


@dataclass(frozen=True, eq=False)
class Structure:
    """A structure of a fit, and its presence in refits.

    The parameters are attributes of the same names.

    Parameters
    ----------
    kind : {"embedding", "fixed point", "eigenvalue", "exponent"}
        Kind of structure.
    name : str
        Description in words.
    condition : label or None
        Condition whose RNN has it; None for embeddings.
    found : dict of str to (int, int)
        For each kind of refit ("seeds", "trials", "neurons"), the number that have it and the
        number made.
    quantities : dict of str to (float, float, float)
        By name and unit: the value in the fit (for comparisons with refits, the median), and the
        5th and 95th percentile of the matched values in the refits to halves of the trials, or in
        all refits if there were no halves; NaN if there are none. R2 of embeddings has an
        interval for each kind of refit. Fixed points are matched only within the tolerance. Their
        values come from refits that have them, perhaps with another stability, and they cannot
        have moved farther than the tolerance.
    visited : bool, default=True
        For a fixed point, whether trials came near it. Other structures are in the trials
        themselves.
    from_trials : float, default=nan
        For a fixed point, its distance from the nearest state of a trial, in SDs of the activity.
    n_unstable : int or None, default=None
        Number of unstable directions of a fixed point.
    n_other_stability : int, default=0
        Number of refits that have a fixed point here with a different number of unstable
        directions.
    position : ndarray of shape (n_neurons,) or None, default=None
        Fixed point, in the units of `X`.

    Examples
    --------
    >>> from jedi_sklearn.evaluation import Structure
    >>> found = {"seeds": (10, 10), "trials": (10, 10), "neurons": (4, 10)}
    >>> point = Structure("fixed point", "stable point", "hold", found, {}, n_unstable=0)
    >>> point.verdict, point.fails
    ('unstable', ['neurons'])
    """

    kind: str
    name: str
    condition: object
    found: dict
    quantities: dict
    visited: bool = True
    from_trials: float = np.nan
    n_unstable: int | None = None
    n_other_stability: int = 0
    position: np.ndarray | None = field(default=None, repr=False)

    @property
    def fails(self):
        """Kinds of refits that lack it too often; also "visited" if no trial came near."""
        lacking = [kind for kind, (k, n) in self.found.items() if k < min(enough(n), n)]
        return lacking if self.visited else [*lacking, "visited"]

    @property
    def verdict(self):
        """Verdict: "stable", "unstable", or "undecided" if there are too few refits.

        "stable" requires each kind of refit, because seeds alone do not reveal an attractor that
        the fit invents.
        """
        if self.fails:
            return "unstable"
        numbers = [self.found.get(kind, (0, 0))[1] for kind in KINDS]
        return "stable" if all(enough(n) <= n for n in numbers) else "undecided"


@dataclass(frozen=True, eq=False)
class StabilityReport:
    """Result of :func:`stability_report`.

    ``print(report)`` is a page to read, and ``report.summary()`` returns its sentences. The
    parameters are attributes of the same names.

    Parameters
    ----------
    structures : list of Structure
        Embeddings, then fixed points, eigenvalues and exponents of each condition.
    conditions : list
        Labels of the conditions.
    n_refits : dict of str to int
        Number of refits of each kind.
    n_unconverged : int, default=0
        Number of refits that did not converge.
    n_failed : int, default=0
        Number of refits that could not be made; they do not count.

    Examples
    --------
    >>> from jedi_sklearn.evaluation import StabilityReport, Structure
    >>> found = {"seeds": (10, 10), "trials": (10, 10), "neurons": (10, 10)}
    >>> mode = Structure("eigenvalue", "2 Hz", "reach", found, quantities={})
    >>> StabilityReport([mode], ["reach"], {"seeds": 10, "trials": 10, "neurons": 10})
    StabilityReport(1 stable; 30 refits)
    """

    structures: list
    conditions: list
    n_refits: dict
    n_unconverged: int = 0
    n_failed: int = 0

    def __repr__(self):
        verdicts = [s.verdict for s in self.structures]
        counts = {v: verdicts.count(v) for v in ("stable", "unstable", "undecided")}
        words = ", ".join(f"{n} {v}" for v, n in counts.items() if n)
        return f"StabilityReport({words}; {sum(self.n_refits.values())} refits)"

    def __str__(self):
        kinds = [(kind, n) for kind, n in self.n_refits.items() if n]
        refits = ", ".join(f"{n} {KINDS[kind]}" for kind, n in kinds)
        lines = [f"Stability over {sum(self.n_refits.values())} refits: {refits}"]
        if self.n_failed:
            lines.append(f"{self.n_failed} more could not be made, and do not count.")
        if self.n_unconverged:
            lines.append(f"{self.n_unconverged} of those made did not converge: raise max_iter.")
        sentences = (fill(s, WIDTH, subsequent_indent="  ") for s in self.summary().splitlines())
        notes = (
            f"{self._rule()} {self._intervals()} Stable is not the same as true: an artefact that "
            "data of this kind produce in every fit looks stable, too "
            "(docs/how_to/stability.md)."
        )
        return "\n".join(
            [*lines, "", *sentences, "", *_table(self.structures), "", fill(notes, WIDTH)]
        )

    def _rule(self):
        """Describe in words what it takes to be called stable."""
        numbers = sorted({self.n_refits.get(kind, 0) for kind in KINDS})
        if numbers[0] < least_refits():
            least = least_refits()
            return f"Nothing can be called stable: it takes at least {least} refits of each kind."
        needed = " or ".join(f"{enough(n)} of {n}" for n in numbers)
        return (
            f"Stable: in at least {needed} refits of each kind; fixed points must also lie where "
            "trials were."
        )

    def _intervals(self):
        """Describe in words what the intervals of the table are."""
        text = "In brackets: 90 % of the refits to halves of the trials, the sampling uncertainty"
        if not self.n_refits.get(SAMPLING):
            text = (
                "In brackets: 90 % of the refits; this is not the sampling uncertainty, which "
                "takes halves of the trials"
            )
        if any(s.kind == "embedding" for s in self.structures):
            text += "; for R2, 90 % of each kind"
        if any(s.kind == "fixed point" for s in self.structures):
            text += (
                ". Fixed points are matched within a tolerance, so they cannot have moved "
                "farther, and their values are from refits that have them"
            )
        return f"{text}."

    def summary(self):
        """Describe what to report and what not, in one sentence per sort of structure.

        Returns
        -------
        str
            One line per sentence.
        """
        groups = {}
        for s in self.structures:
            groups.setdefault((s.condition, s.name, s.verdict), []).append(s)
        order = ("stable", "undecided", "unstable")
        keys = sorted(groups, key=lambda key: order.index(key[2]))
        return "\n".join(_sentence(*key, groups[key]) for key in keys)

    def to_frame(self):
        """Convert the structures to a pandas DataFrame.

        Returns
        -------
        pandas.DataFrame
            One row per structure: its share of each kind of refit, and for each quantity the
            value in the fit and the ends of the interval.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "to_frame needs pandas, which cannot be imported. Install it with "
                "pip install pandas, or use report.structures."
            ) from error
        rows = []
        for s in self.structures:
            row = {"condition": s.condition, "kind": s.kind, "name": s.name, "verdict": s.verdict}
            row |= {kind: k / n for kind, (k, n) in s.found.items()}
            row["from trials (SD)"] = s.from_trials
            for name, values in s.quantities.items():
                names = (name, f"{name}, low", f"{name}, high")
                row |= dict(zip(names, values, strict=True))
            rows.append(row)
        return pd.DataFrame(rows)


def enough(n):
    """Compute how many of n refits must have a structure; more than n if n are too few to tell.

    A structure that at most half of the refits have reaches this number with a probability of at
    most ERROR: the one-sided bound of Clopper and Pearson is then above one half.
    """
    k = np.arange(1, n + 1)
    sure = beta.ppf(ERROR, k, n - k + 1) > MOST
    return int(k[sure][0]) if sure.any() else n + 1


def interval(values, own=None):
    """Compute the value in the fit (default: the median), and where most of the refits lie."""
    values = values[~np.isnan(values)]
    if not len(values):
        return np.nan if own is None else float(own), np.nan, np.nan
    # numpy's default percentiles would leave out more than 10 % of ten values
    low, high = np.percentile(values, COVERED, method="median_unbiased")
    return float(np.median(values) if own is None else own), float(low), float(high)


def name_of_point(n_unstable):
    """Name a fixed point by its number of unstable directions."""
    if n_unstable < 2:
        return "saddle" if n_unstable else "stable fixed point"
    return f"fixed point with {n_unstable} unstable directions"


def name_of_mode(mode):
    """Name an eigenvalue, growth rate + 2 pi i frequency."""
    if mode.imag:
        return f"oscillation of {mode.imag / (2 * np.pi):.2g} Hz"
    return f"real eigenvalue of {mode.real:+.2g}/s"


def _sentence(condition, name, verdict, structures):
    """Describe structures that share name, condition and verdict."""
    n, first = len(structures), structures[0]
    what = f"{name} alike" if first.kind == "embedding" else name
    if first.kind == "fixed point":
        noun, *rest = name.split(" with ")
        what = " with ".join([f"{n} {noun}{'s' * (n > 1)}", *rest])
    kinds = [
        k for k in first.found if verdict != "unstable" or any(k in s.fails for s in structures)
    ]
    reasons = [f"in {_shares(kinds, structures)}"] * bool(kinds)
    away = [s.from_trials for s in structures if not s.visited]
    if away:
        which = f" to {len(away)} of them" if len(away) < n else ""
        reasons.append(f"no trial comes nearer than {min(away):.2f} SD{which}")
    them = "it" if n == 1 and first.kind != "embedding" else "them"
    advice = {
        "stable": f"report {them}",
        "undecided": f"too few fits to tell, at least {least_refits()} of each kind are needed",
        "unstable": f"do not report {them}",
    }[verdict]
    text = f"{what} {'; '.join(reasons)}: {advice}."
    return f"Condition {condition}: {text}" if condition is not None else text.capitalize()


def _shares(kinds, structures):
    """Describe in how many refits of each kind structures are."""
    words = []
    for kind in kinds:
        counts, n = [s.found[kind][0] for s in structures], structures[0].found[kind][1]
        number = " to ".join(map(str, sorted({min(counts), max(counts)})))
        words.append(f"{number} of {n} {'fits ' * (not words)}{KINDS[kind]}")
    return ", ".join(words)


def least_refits():
    """Compute the fewest refits of a kind that can decide."""
    return next(n for n in range(1, 1000) if enough(n) <= n)


def _quantity(name, value, low, high):
    """Format a quantity with its unit and interval, as far as there are any."""
    # the frequency of something that does not oscillate needs no mention
    if np.isnan(value) or not np.nan_to_num((value, low, high)).any():
        return ""
    name, _, unit = name.partition(" (")
    ends = "" if np.isnan(low) else f" [{low:.3g}, {high:.3g}]"
    return f"{name} {value:.3g}{ends} {unit.rstrip(')')}"


def _table(structures):
    """Format the structures as lines of a table."""
    kinds = list(structures[0].found)
    rows = [["", "condition", "structure", *kinds, "in the fit [in the refits]"]]
    for s in structures:
        values = [_quantity(name, *each) for name, each in s.quantities.items()]
        if s.n_other_stability:
            values.append(f"another stability in {s.n_other_stability}")
        shares = ["{}/{}".format(*s.found[kind]) for kind in kinds]
        condition = "" if s.condition is None else str(s.condition)
        rows.append([s.verdict, condition, s.name, *shares, ", ".join(filter(None, values))])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    return [line.rstrip() for line in lines]
