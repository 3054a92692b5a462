"""How JEDI compares with simple methods on held-out trials, as a figure."""

from __future__ import annotations

import numpy as np

from .._validation import check_option
from ..evaluation import Comparison
from ._colours import PALETTE
from ._common import as_text, handle, make_panels

__all__ = ["ComparisonDisplay"]

OTHER = "0.35"
MAX_COLUMNS, SIZE = 2, (4.4, 2.1)  # of panels, inches
TITLES = {
    "reconstruction": "reconstruction",
    "forecast": "forecast",
    "co_smoothing": "co-smoothing",
    "decoding": "decoding",
}
FAR, FEWEST = 10, 3  # multiple of the range of the other methods, and how many these must be
ROOM = 0.06  # margin beside an interval, as a share of the range of values in a panel


class ComparisonDisplay:
    """Scores of methods with their intervals, one panel for each question.

    Create it with :meth:`from_comparison`. The rows of JEDI are coloured. An open dot marks a
    method whose paired difference from JEDI has an interval that includes 0; the intervals drawn
    do not show this.

    Parameters
    ----------
    comparison : Comparison
        From :func:`~jedi_sklearn.evaluation.compare`.

    Attributes
    ----------
    ax_ : ndarray of matplotlib Axes, of shape (n_questions,)
        Axes that hold the panels; an array even for a single question.
    figure_ : matplotlib Figure
        Figure that holds the axes.

    Examples
    --------
    >>> from jedi_sklearn import JEDIEstimator
    >>> from jedi_sklearn.datasets import make_multitask
    >>> from jedi_sklearn.evaluation import compare
    >>> from jedi_sklearn.plotting import ComparisonDisplay
    >>> X = make_multitask(30, n_neurons=15, n_timesteps=30, dt=0.02, random_state=0).X
    >>> est = JEDIEstimator(4, 8, dt=0.02, max_iter=20, tol=1.0)
    >>> result = compare(X, estimator=est, cv=2, questions="reconstruction", random_state=0)
    >>> display = ComparisonDisplay.from_comparison(result)
    >>> display.ax_[0].get_title(), display.ax_[0].get_xlabel()
    ('reconstruction', 'R2')
    """

    def __init__(self, comparison):
        self.comparison = comparison

    @classmethod
    def from_comparison(cls, comparison, questions=None, *, ax=None, **plot_options):
        """Draw a comparison.

        Parameters
        ----------
        comparison : Comparison
            From :func:`~jedi_sklearn.evaluation.compare`.
        questions : sequence of str, optional
            Questions to draw, as in :meth:`plot`.
        ax : matplotlib Axes or array-like of them, optional
            Axes to draw on, as in :meth:`plot`.
        **plot_options :
            Options of :meth:`plot`.

        Returns
        -------
        ComparisonDisplay
            The display, with `ax_` and `figure_` set.
        """
        return cls(comparison).plot(questions, ax=ax, **plot_options)

    def plot(self, questions=None, ax=None, *, legend=True):
        """Draw the questions.

        Intervals much wider than the differences between methods are cut at the edges of the
        panel. A method far worse than all others is drawn at the edge, with its value.

        Parameters
        ----------
        questions : sequence of str, optional
            Questions to draw. Default: all that were asked, except "embedding", whose numbers are
            not scores.
        ax : matplotlib Axes or array-like of them, optional
            One for each question. Default: a grid of panels in a new figure.
        legend : bool, default=True
            Draw the legend: below the panels, or on the right of the last of the given axes.

        Returns
        -------
        ComparisonDisplay
            The display, with `ax_` and `figure_` set.
        """
        if not isinstance(self.comparison, Comparison):
            raise TypeError(
                "comparison must be a Comparison, as jedi_sklearn.evaluation.compare returns it, "
                f"got {type(self.comparison).__name__}."
            )
        asked = [q for q in TITLES if q in self.comparison.folds]
        if questions is not None:
            questions = [questions] if isinstance(questions, str) else list(questions)
            for question in questions:
                check_option(question, "questions", asked)
        questions = questions or asked
        if not questions:
            raise ValueError(
                "There is nothing to draw: the comparison has none of the questions "
                f"{', '.join(map(repr, TITLES))}. Pass at least one of them to compare."
            )
        axes = make_panels(ax, len(questions), "question", MAX_COLUMNS, SIZE)
        for panel, question in zip(axes, questions, strict=True):
            rows = [row for row in self.comparison.rows if row["question"] == question]
            self._draw(panel, rows, TITLES[question])
        if legend:
            level = f"{100 * self.comparison.confidence:g} % interval"
            handles = [
                handle(f"JEDI, with {level}", **_style(PALETTE[0], True)),
                handle("differs from JEDI", **_style(OTHER, True)),
                handle("no difference shown", **_style(OTHER, False)),
            ]
            if ax is None:
                place = {"loc": "outside lower center", "ncols": 3}
                axes[0].figure.legend(handles=handles, frameon=False, **place)
            else:
                place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}
                axes[-1].legend(handles=handles, frameon=False, borderaxespad=0, **place)
        self.ax_, self.figure_ = axes, axes[0].figure
        return self

    def _draw(self, ax, rows, title):
        for i, row in enumerate(rows):
            ours = i == 0
            told = ours or row["difference_low"] > 0 or row["difference_high"] < 0
            style = _style(PALETTE[0] if ours else OTHER, told)
            ax.plot([row["low"], row["high"]], [i, i], color=style["color"], lw=1.6, zorder=2)
            ax.plot([row["value"]], [i], linestyle="none", gid=row["method"], zorder=3, **style)
        ax.axvline(rows[0]["value"], color=PALETTE[0], lw=0.8, alpha=0.5, zorder=1)
        ax.set_yticks(range(len(rows)), [as_text(row["method"]) for row in rows])
        ax.get_yticklabels()[0].set_color(PALETTE[0])
        ax.set_ylim(len(rows) - 0.5, -0.5)  # JEDI on top
        low, high = _view(rows)
        ax.set_xlim(low, high)
        edge = low + 0.04 * (high - low)
        for i, row in enumerate(rows):
            if row["value"] < low:
                style = {"marker": "<", "ms": 7, "color": OTHER, "gid": "far"}
                ax.plot([edge], [i], linestyle="none", **style)
                where = {"textcoords": "offset points", "va": "center"}
                ax.annotate(f"{row['value']:.2g}", (edge, i), (8, 0), **where)
        ax.tick_params(axis="y", length=0)
        ax.set_title(title, fontsize="medium")
        ax.set_xlabel(rows[0]["metric"])


def _view(rows):
    """Choose limits that show all but far values, and intervals up to twice their range."""
    values = sorted(row["value"] for row in rows)
    while len(values) > FEWEST and values[-1] - values[0] > FAR * (values[-1] - values[1]):
        values = values[1:]
    low, high = values[0], values[-1]
    room = max(high - low, np.abs(values).max() / 100, np.finfo(float).tiny)
    low = max(min(row["low"] for row in rows), low - room)
    high = min(max(row["high"] for row in rows), high + room)
    return low - ROOM * room, high + ROOM * room


def _style(colour, told):
    return {
        "marker": "o",
        "ms": 6.5,
        "color": colour,
        "markerfacecolor": colour if told else "white",
        "markeredgecolor": colour,
        "markeredgewidth": 1.3,
    }
