"""Present what a comparison found: values with intervals over folds, as a table and in words."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

__all__ = [
    "MEAN",
    "QUESTIONS",
    "Comparison",
    "accuracy_interval",
    "corrected_interval",
    "difference_interval",
    "row_of",
]

# sentences of the summary about JEDI's value
SENTENCES = {
    "reconstruction": "Free runs explain {value} of held-out trials ({metric}).",
    "forecast": "The second part of held-out trials is forecast with {score}.",
    "co_smoothing": "Neurons held out are predicted from the others with {score}.",
    "decoding": "From embeddings of held-out trials y is decoded with {score}.",
}
QUESTIONS = (*SENTENCES, "embedding")
MEAN = "condition mean"
BOUNDS = {
    "R2": (-np.inf, 1.0),
    "D2": (-np.inf, 1.0),
    "accuracy": (0.0, 1.0),
    "share of SD": (0.0, np.inf),
}


def corrected_error(values, test_share):
    """Compute the standard error of the mean over folds after Nadeau and Bengio (2003).

    `test_share` is the number of held-out trials divided by that of training trials, which folds
    have in common.
    """
    return np.sqrt((1 / len(values) + test_share) * np.var(values, ddof=1))


def corrected_interval(values, test_share, confidence):
    """Compute the interval (low, high) that belongs to `corrected_error`."""
    mean, error = np.mean(values), corrected_error(values, test_share)
    half = student.ppf((1 + confidence) / 2, len(values) - 1) * error
    return mean - half, mean + half


def accuracy_interval(hits, n_trials, confidence):
    """Compute the interval of an accuracy, as if folds shared no training trials (Wilson 1927).

    `hits` may contain trials several times; `n_trials` counts each once.
    """
    p, z2 = hits.mean(), norm.ppf((1 + confidence) / 2) ** 2
    half = np.sqrt(z2 * (p * (1 - p) / n_trials + z2 / (4 * n_trials**2)))
    return tuple((p + z2 / (2 * n_trials) + sign * half) / (1 + z2 / n_trials) for sign in (-1, 1))


def difference_interval(hits, other, n_trials, confidence):
    """Compute the same for the difference between two decoders (Agresti and Min 2005)."""
    d = hits.astype(float) - other
    n = n_trials + 2  # half a trial is added to each cell of their joint table
    centre = d.mean() * n_trials / n
    variance = (np.square(d).mean() * n_trials + 1) / n - np.square(centre)
    half = norm.ppf((1 + confidence) / 2) * np.sqrt(variance / n)
    return centre - half, centre + half


def row_of(values, hits, name, ours, metric, splits, confidence):
    """Compute one row: a method's value, and its difference to that of `ours` if given.

    `values` of the folds and `hits` (whether held-out trials were decoded correctly) contain all
    methods; `hits` may be empty.
    """
    test_share = np.mean([len(test) / len(train) for train, test in splits])
    n_trials = len(np.unique(np.concatenate([test for _, test in splits])))
    found = [corrected_interval(values[name], test_share, confidence)]
    if hits:
        found.append(accuracy_interval(hits[name], n_trials, confidence))
    low, high = np.clip(_hull(found), *BOUNDS.get(metric, (-np.inf, np.inf)))
    row = {"value": values[name].mean(), "low": low, "high": high}
    row |= dict.fromkeys(("difference", "difference_low", "difference_high"), np.nan)
    if ours is not None:
        paired = values[ours] - values[name]
        found = [corrected_interval(paired, test_share, confidence)]
        if hits:
            found.append(difference_interval(hits[ours], hits[name], n_trials, confidence))
        low, high = np.clip(_hull(found), *(-1.0, 1.0) if hits else (-np.inf, np.inf))
        row |= {"difference": paired.mean(), "difference_low": low, "difference_high": high}
    return {key: float(number) for key, number in row.items()}


def _hull(intervals):
    """Find the smallest interval that contains all given intervals."""
    low, high = zip(*intervals, strict=True)
    return min(low), max(high)


@dataclass(repr=False, eq=False)
class Comparison:
    """Result of :func:`compare`, printed as a table.

    The parameters are attributes of the same names.

    Parameters
    ----------
    rows : list of dict
        One entry per question and method: "question", "method", "metric", "value" (mean over
        folds) with its interval from "low" to "high", and "difference", JEDI's value minus that
        of the method, with its interval from "difference_low" to "difference_high" (NaN in JEDI's
        own rows).
    folds : dict of dict of ndarray of shape (n_folds,)
        Values of each fold, ``folds[question][method]``.
    splits : list of tuple of ndarray
        Training and held-out trials of each fold.
    converged : ndarray of bool of shape (n_folds,)
        Whether the estimator's fit converged in each fold.
    confidence : float, default=0.95
        Confidence level of each interval by itself.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn.datasets import make_initial_states
    >>> from jedi_sklearn.evaluation import compare
    >>> from jedi_sklearn import JEDIEstimator
    >>> data = make_initial_states(24, n_conditions=2, n_neurons=12, n_timesteps=20, dt=0.02)
    >>> est = JEDIEstimator(2, 4, dt=0.02, max_iter=20, tol=1, random_state=0)
    >>> found = compare(data.X, data.condition, estimator=est, questions=["reconstruction"], cv=2)
    >>> [row["method"] for row in found.rows][:3]
    ['JEDI free runs', 'mean rate', 'condition mean']
    >>> found.folds["reconstruction"]["JEDI free runs"].shape
    (2,)
    """

    rows: list
    folds: dict
    splits: list = field(default_factory=list)
    converged: np.ndarray = field(default_factory=lambda: np.ones(0, dtype=bool))
    confidence: float = 0.95

    def to_frame(self):
        """Convert the rows to a pandas DataFrame.

        Returns
        -------
        pandas.DataFrame
            One row per question and method.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "to_frame needs pandas, which cannot be imported. Install it with pip install "
                "pandas, or use rows, a list of dictionaries."
            ) from error
        return pd.DataFrame(self.rows)

    def __str__(self):
        percent = f"{100 * self.confidence:g} %"
        table = [("question", "method", "metric", "value", percent, "JEDI - it", percent)]
        shown = None
        for row in self.rows:
            question = row["question"].replace("_", "-")
            line = ["" if question == shown else question, row["method"], row["metric"]]
            shown = question
            line += [f"{row['value']:.3f}", _interval(row, "low", "high", "")]
            if np.isnan(row["difference"]):
                line += ["", ""]
            else:
                names = ("difference_low", "difference_high")
                line += [f"{row['difference']:+.3f}", _interval(row, *names, "+")]
            table.append(tuple(line))
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        right = (False, False, False, True, False, True, False)
        lines = []
        for line in table:
            cells = zip(line, widths, right, strict=True)
            cells = (text.rjust(w) if to_right else text.ljust(w) for text, w, to_right in cells)
            lines.append("  ".join(cells).rstrip())
        return "\n".join(lines)

    __repr__ = __str__

    def summary(self):
        """Describe the table in sentences.

        Returns
        -------
        str
            One paragraph per question: JEDI's value, which methods it exceeds or falls short of
            (by intervals of the paired difference that exclude 0), and from which methods these
            folds cannot distinguish it.
        """
        questions = dict.fromkeys(row["question"] for row in self.rows)
        parts, lost = [], []
        for question in questions:
            rows = [row for row in self.rows if row["question"] == question]
            if question == "embedding":
                parts.append(self._describe_embedding(rows))
                continue
            ours, *others = rows
            words = {"value": _value(ours), "metric": ours["metric"], "score": _score(ours)}
            text = SENTENCES[question].format(**words)
            better = [row for row in others if row["difference_low"] > 0]
            worse = [row for row in others if row["difference_high"] < 0]
            open_ = [row for row in others if row not in better and row not in worse]
            if better:
                text += f" That is more than {_list(better)}."
            if worse:
                text += f" It is less than {_list(worse)}."
                lost.append(
                    f"{question.replace('_', '-')} ({', '.join(r['method'] for r in worse)})"
                )
            if open_:
                text += f" No difference that these folds can show: {_list(open_)}."
            parts.append(text)
        if any(question != "embedding" for question in questions):
            verdict = "No simple method is shown to do better here."
            if lost:
                verdict = f"Simple methods do better in {', '.join(lost)}."
            parts.append(verdict)
        return "\n".join(parts)

    def _describe_embedding(self, rows):
        size, rank, sd = (self.folds["embedding"][row["method"]] for row in rows)
        share = rows[2]["value"]
        text = (
            f"Embeddings have {_range(size)} components, and the RNNs rank {_range(rank)}. The "
            f"posterior SD of a held-out component is {share:.2g} of its SD between trials "
            "(median)"
        )
        return text + (": noise moves it as much as trials differ." if share >= 1 else ".")


def _interval(row, low, high, sign):
    return f"[{row[low]:{sign}.3f}, {row[high]:{sign}.3f}]"


def _value(row):
    return f"{row['value']:.3f} {_interval(row, 'low', 'high', '')}"


def _score(row):
    if row["metric"] == "bits per spike":
        return f"{_value(row)} bits per spike"
    return f"an {row['metric']} of {_value(row)}"


def _list(rows):
    return "; ".join(f"{_name(row)} {_value(row)}" for row in rows)


def _name(row):
    told = " (which is told the condition)" * (row["method"] == MEAN)
    return row["method"] + told


def _range(values):
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"
