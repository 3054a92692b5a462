"""How statistics under the observed labels compare with those under permuted labels."""

from __future__ import annotations

import numpy as np

from .._validation import check_number
from ..evaluation import PermutationTest
from ._colours import PALETTE
from ._common import add_legend, as_text, handle, make_axes

__all__ = ["PermutationDisplay"]

HEIGHT = 0.75  # of a distribution; rows are 1 apart
N_BINS = 40
MOST_LABEL, MOST_TITLE = 20, 30  # characters


class PermutationDisplay:
    """Statistics of a permutation test beside their distributions under permuted labels.

    Create it with :meth:`from_test`.

    Parameters
    ----------
    test : PermutationTest
        Result of :func:`~jedi_sklearn.evaluation.permutation_test`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that hold the plot.
    figure_ : matplotlib Figure
        Figure that holds the axes.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn.evaluation import permutation_test_features
    >>> from jedi_sklearn.plotting import PermutationDisplay
    >>> speed = np.random.default_rng(0).normal(size=40) + np.repeat([0, 1], 20)
    >>> test = permutation_test_features({"speed": speed}, np.repeat(["memory", "reach"], 20))
    >>> PermutationDisplay.from_test(test).ax_.get_title()
    'memory, reach: 40 trials'
    """

    def __init__(self, test):
        self.test = test

    @classmethod
    def from_test(cls, test, *, ax=None, **plot_options):
        """Draw a test.

        Parameters
        ----------
        test : PermutationTest
            Result of :func:`~jedi_sklearn.evaluation.permutation_test` or
            :func:`~jedi_sklearn.evaluation.permutation_test_features`.
        ax : matplotlib Axes, optional
            Axes to draw on. Default: axes of a new figure.
        **plot_options :
            Options of :meth:`plot`.

        Returns
        -------
        PermutationDisplay
            The display, with `ax_` and `figure_` set.
        """
        if not isinstance(test, PermutationTest):
            raise TypeError(
                "test must be a PermutationTest, as permutation_test returns it, got "
                f"{type(test).__name__}."
            )
        return cls(test).plot(ax=ax, **plot_options)

    def plot(self, ax=None, *, level=0.05, legend=True):
        """Draw the test.

        Each quantity has a row: the distribution of its statistic under permuted labels (grey),
        and the statistic under the observed labels (a dot). The square root of the statistic is
        drawn, which for two labels is the absolute t. It is divided by the value that a share
        `level` of the permutations reaches, so that all rows have the same scale.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw on. Default: axes of a new figure.
        level : float, default=0.05
            Significance level: dots are filled where the corrected p value is at most this.
        legend : bool, default=True
            Draw the legend.

        Returns
        -------
        PermutationDisplay
            The display, with `ax_` and `figure_` set.
        """
        check_number(level, "level", low=0, closed=False, high=0.5)
        test, n = self.test, len(self.test.names)
        ax = make_axes(ax, figsize=(6.4, 1.6 + 0.42 * n))
        scale = np.quantile(np.sqrt(test.null), 1 - level, axis=0)
        scale = np.where(scale > 0, scale, 1.0)  # 0 for a constant
        null, observed = np.sqrt(test.null) / scale, np.sqrt(test.statistics) / scale
        right = 1.06 * max(1.6, observed.max(), np.quantile(null, 0.999))
        for k, row in enumerate(range(n)[::-1]):
            heights, edges = np.histogram(
                null[:, k], bins=N_BINS, range=(0, null[:, k].max() + 1e-9)
            )
            top = row + HEIGHT * heights / heights.max()
            ax.stairs(top, edges, baseline=row, fill=True, color="0.75", gid="null")
            known = test.corrected_p_values[k] <= level
            style = {"markerfacecolor": PALETTE[0] if known else "white"}
            ax.plot(observed[k], row, **(_dot(**style)), gid="observed", clip_on=False)
            text = f"{test.corrected_p_values[k]:.2g}"
            ax.annotate(text, (1.02, row), xycoords=ax.get_yaxis_transform(), va="center")
        what = "corrected p" if n > 1 else "p"
        ax.annotate(what, (1.02, n - 0.2), xycoords=ax.get_yaxis_transform(), color="0.4")
        ax.axvline(1, color="0.4", lw=1, linestyle="--", zorder=1)
        ax.set(xlim=(0, right), ylim=(-0.35, n), yticks=range(n)[::-1])
        ax.set_yticklabels([as_text(name) for name in test.names])
        ax.tick_params(axis="y", length=0, pad=8)
        ax.set_xlabel(f"root of the statistic (1: {100 * level:g} % of the permutations reach it)")
        labels = ", ".join(as_text(label, MOST_LABEL) for label in test.labels)
        between = " " if len(labels) <= MOST_TITLE else "\n"
        ax.set_title(f"{labels}:{between}{test.n_trials} trials")
        if legend:
            handles = [
                handle("observed, differs", **_dot(markerfacecolor=PALETTE[0])),
                handle("observed, not shown to differ", **_dot(markerfacecolor="white")),
                handle("labels permuted", marker="s", ms=8, color="0.75"),
            ]
            add_legend(ax, handles, below=True)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _dot(**style):
    """Return the style of the marker of an observed statistic."""
    line = {"marker": "o", "linestyle": "none", "color": PALETTE[0], "markeredgewidth": 1.2}
    return {"ms": 7, "zorder": 4, "markeredgecolor": PALETTE[0]} | line | style
