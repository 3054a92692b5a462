"""What a stability report holds, which verdict a structure gets, and how that reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from textwrap import fill

import numpy as np
from scipy.stats import beta

__all__ = ["KINDS", "MOST", "SAMPLING", "StabilityReport", "Structure"]

# What refits differ in, and how the texts call it
KINDS = {
    "seeds": "with other seeds",
    "trials": "to halves of the trials",
    "neurons": "to halves of the neurons",
}
SAMPLING = "trials"  # the kind whose spread is the standard error of an estimate
MOST = 0.5  # more refits have a structure than lack it
ERROR = 0.05  # probability with which a structure that half of the refits have passes nevertheless
WIDTH = 99  # of the page
COVERED = (5, 95)  # percentiles of refits between which an interval reaches


@dataclass(frozen=True, eq=False)
class Structure:
    """A structure of a fit, and what other fits say of it.

    Attributes
    ----------
    kind : {"embedding", "fixed point", "eigenvalue", "exponent"}
    name : str
        What it is, in words.
    condition : label or None
        Whose RNN has it; None for embeddings.
    found : dict of str to (int, int)
        For each kind of refit ("seeds", "trials", "neurons") how many have it, and how many there
        are.
    quantities : dict of str to (float, float, float)
        By name and unit: the value in the fit (of what compares it with refits, the median), and
        the 5th and 95th percentile of the values of what it is matched with in the refits to
        halves of the trials, or, where no such refits were made, in all; NaN where there is none.
        R2 of embeddings has an interval for each kind of refit. A fixed point is matched within
        the tolerance alone: its values are those of the refits that have it, perhaps with another
        stability, and it cannot have moved farther than that.
    visited : bool
        Whether trials came near, of a fixed point; what else is in the trials themselves.
    from_trials : float
        Distance from the nearest state of a trial, of a fixed point, in SDs of the activity.
    n_unstable : int or None
        Unstable directions of a fixed point.
    n_other_stability : int
        Refits that have a fixed point here with another number of unstable directions.
    position : ndarray of shape (n_neurons,) or None
        A fixed point, in the units of X.
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
        """Kinds of refits that lack it too often, and "visited" where no trial came near."""
        lacking = [kind for kind, (k, n) in self.found.items() if k < min(enough(n), n)]
        return lacking if self.visited else [*lacking, "visited"]

    @property
    def verdict(self):
        """What to think of it: "stable", "unstable", or "undecided" for want of refits.

        Each kind of refit must have been tried: seeds alone do not tell an invented attractor.
        """
        if self.fails:
            return "unstable"
        numbers = [self.found.get(kind, (0, 0))[1] for kind in KINDS]
        return "stable" if all(enough(n) <= n for n in numbers) else "undecided"


@dataclass(frozen=True, eq=False)
class StabilityReport:
    """What :func:`stability_report` found.

    ``print(report)`` is a page to read; ``report.summary()`` its sentences.

    Attributes
    ----------
    structures : list of Structure
        Embeddings, then fixed points, eigenvalues and exponents of each condition.
    conditions : list
        Labels of the conditions.
    n_refits : dict of str to int
        How many refits of each kind were made.
    n_unconverged : int
        Refits that did not converge.
    n_failed : int
        Refits that could not be made; they do not count.
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
            f"{self._rule()} {self._intervals()} Stable is not the same as true: "
            "what data of this kind make every fit invent looks stable, too "
            "(docs/how_to/stability.md)."
        )
        return "\n".join(
            [*lines, "", *sentences, "", *_table(self.structures), "", fill(notes, WIDTH)]
        )

    def _rule(self):
        """What it takes to be called stable, in words."""
        numbers = sorted({self.n_refits.get(kind, 0) for kind in KINDS})
        if numbers[0] < least_refits():
            least = least_refits()
            return f"Nothing can be called stable: it takes at least {least} refits of each kind."
        needed = " or ".join(f"{enough(n)} of {n}" for n in numbers)
        return (
            f"Stable: in at least {needed} refits of each kind; fixed points lie where trials "
            "were, too."
        )

    def _intervals(self):
        """What the intervals of the table are, in words."""
        text = "In brackets: 90 % of the refits to halves of the trials, the sampling uncertainty"
        if not self.n_refits.get(SAMPLING):
            text = (
                "In brackets: 90 % of the refits; this is no sampling uncertainty, which takes "
                "halves of the trials"
            )
        if any(s.kind == "embedding" for s in self.structures):
            text += "; of R2 90 % of each kind"
        if any(s.kind == "fixed point" for s in self.structures):
            text += (
                ". Fixed points are matched within a tolerance, so that they cannot have moved "
                "farther, and their values are from refits that have them"
            )
        return f"{text}."

    def summary(self):
        """What to report and what not, a sentence for each sort of structure."""
        groups = {}
        for s in self.structures:
            groups.setdefault((s.condition, s.name, s.verdict), []).append(s)
        order = ("stable", "undecided", "unstable")
        keys = sorted(groups, key=lambda key: order.index(key[2]))
        return "\n".join(_sentence(*key, groups[key]) for key in keys)

    def to_frame(self):
        """A table of the structures.

        Returns
        -------
        pandas.DataFrame
            One row for each structure: shares of each kind of refit, and of each quantity the
            value in the fit and the ends of the interval.

        Raises
        ------
        ImportError
            Without pandas.
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
    """How many of n refits must have a structure; more than n where n are too few to tell.

    So many that a structure that no more than a half of the refits have gets there with a
    probability of at most ERROR: the one-sided bound of Clopper and Pearson is above a half then.
    """
    k = np.arange(1, n + 1)
    sure = beta.ppf(ERROR, k, n - k + 1) > MOST
    return int(k[sure][0]) if sure.any() else n + 1


def interval(values, own=None):
    """The fit's own value, by default the median, and where most of refits' values lie."""
    values = values[~np.isnan(values)]
    if not len(values):
        return np.nan if own is None else float(own), np.nan, np.nan
    # of ten values numpy's default would leave out more than 10 %
    low, high = np.percentile(values, COVERED, method="median_unbiased")
    return float(np.median(values) if own is None else own), float(low), float(high)


def name_of_point(n_unstable):
    """What a fixed point with so many unstable directions is called."""
    if n_unstable < 2:
        return "saddle" if n_unstable else "stable fixed point"
    return f"fixed point with {n_unstable} unstable directions"


def name_of_mode(mode):
    """What an eigenvalue, growth rate + 2 pi i frequency, is called."""
    if mode.imag:
        return f"oscillation of {mode.imag / (2 * np.pi):.2g} Hz"
    return f"real eigenvalue of {mode.real:+.2g}/s"


def _sentence(condition, name, verdict, structures):
    """What is said of structures of one name, condition and verdict."""
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
    """In how many refits of each kind structures are."""
    words = []
    for kind in kinds:
        counts, n = [s.found[kind][0] for s in structures], structures[0].found[kind][1]
        number = " to ".join(map(str, sorted({min(counts), max(counts)})))
        words.append(f"{number} of {n} {'fits ' * (not words)}{KINDS[kind]}")
    return ", ".join(words)


def least_refits():
    """Fewest refits of a kind that can tell."""
    return next(n for n in range(1, 1000) if enough(n) <= n)


def _quantity(name, value, low, high):
    """A quantity with its unit and interval, as far as there are any."""
    # the frequency of what does not turn goes without saying
    if np.isnan(value) or not np.nan_to_num((value, low, high)).any():
        return ""
    name, _, unit = name.partition(" (")
    ends = "" if np.isnan(low) else f" [{low:.3g}, {high:.3g}]"
    return f"{name} {value:.3g}{ends} {unit.rstrip(')')}"


def _table(structures):
    """Lines of text, one for each structure, in columns."""
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
