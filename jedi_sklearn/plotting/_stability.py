"""What survives refits: a plot of the share of refits that reproduce each structure."""

from __future__ import annotations

import numpy as np

from ..evaluation import StabilityReport
from ..evaluation._stability_report import KINDS, MOST
from ._colours import PALETTE
from ._common import add_legend, as_text, handle, make_axes

__all__ = ["StabilityDisplay"]

MARKERS = dict(zip(KINDS, ("o", "s", "^"), strict=True))
VERDICTS = {"stable": PALETTE[2], "undecided": "0.5", "unstable": PALETTE[1]}
APART = 0.22  # distance between the kinds of refits of one structure, in rows
MOST_ROWS = 60  # more would be unreadable


class StabilityDisplay:
    """Share of refits that reproduce each structure, for each kind of refit.

    Create it with :meth:`from_report`.

    Parameters
    ----------
    report : StabilityReport
        Result of :func:`~jedi_sklearn.evaluation.stability_report`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that hold the plot.
    figure_ : matplotlib Figure
        Figure that holds the axes.

    Examples
    --------
    >>> from jedi_sklearn.evaluation import StabilityReport, Structure
    >>> from jedi_sklearn.plotting import StabilityDisplay
    >>> point = Structure("fixed point", "saddle", "go", {"seeds": (9, 10)}, {}, from_trials=0.1)
    >>> display = StabilityDisplay.from_report(StabilityReport([point], ["go"], {"seeds": 10}))
    >>> [text.get_text() for text in display.ax_.get_yticklabels()]
    ['go: saddle']
    """

    def __init__(self, report):
        self.report = report

    @classmethod
    def from_report(cls, report, *, ax=None, **plot_options):
        """Draw a report.

        Parameters
        ----------
        report : StabilityReport
            Result of :func:`~jedi_sklearn.evaluation.stability_report`.
        ax : matplotlib Axes, optional
            Axes to draw on. Default: axes of a new figure.
        **plot_options :
            Options of :meth:`plot`.

        Returns
        -------
        StabilityDisplay
            The display, with `ax_` and `figure_` set.
        """
        if not isinstance(report, StabilityReport):
            raise TypeError(
                "report must be a StabilityReport, as evaluation.stability_report returns it, got "
                f"{type(report).__name__}."
            )
        return cls(report).plot(ax=ax, **plot_options)

    def plot(self, ax=None, *, condition=None, legend=True):
        """Draw a row for each structure, coloured by its verdict.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw on. Default: axes of a new figure.
        condition : label, optional
            Draw only the structures of this condition. Default: all, including the embeddings.
        legend : bool, default=True
            Draw the legend.

        Returns
        -------
        StabilityDisplay
            The display, with `ax_` and `figure_` set.

        Raises
        ------
        ValueError
            If the report has no such condition, or too many structures for one figure.
        """
        structures = self.report.structures
        if condition is not None:
            structures = [s for s in structures if s.condition == condition]
            if condition not in self.report.conditions:
                raise ValueError(
                    f"condition must be one of {self.report.conditions}, got {condition!r}."
                )
        if len(structures) > MOST_ROWS:
            raise ValueError(
                f"A figure can show at most {MOST_ROWS} structures, got {len(structures)}. Draw "
                f"one condition at a time: condition={self.report.conditions[0]!r}."
            )
        make_figure = ax is None
        ax = make_axes(ax, figsize=(7.5, 1.6 + 0.27 * len(structures)))
        kinds = list(structures[0].found)
        shifts = APART * (np.arange(len(kinds)) - (len(kinds) - 1) / 2)
        for row, s in enumerate(structures):
            for kind, shift in zip(kinds, shifts, strict=True):
                k, n = s.found[kind]
                colour = VERDICTS[s.verdict]
                style = {"marker": MARKERS[kind], "ms": 5, "color": colour}
                if kind in s.fails:
                    style["markerfacecolor"] = "white"
                ax.plot([k / n], [row + shift], linestyle="none", gid=s.verdict, **style)
        style = {"color": "0.5", "lw": 1, "linestyle": "--"}
        ax.axvline(MOST, **style, zorder=1)
        ax.set_yticks(range(len(structures)), [_label(s) for s in structures])
        for text, s in zip(ax.get_yticklabels(), structures, strict=True):
            text.set_color(VERDICTS[s.verdict])
        ax.set(xlim=(-0.03, 1.03), ylim=(len(structures) - 0.5, -0.5))
        ax.set_xlabel("share of the refits that have it")
        if legend:
            handles = [handle(KINDS[k], marker=MARKERS[k], color="0.3") for k in kinds]
            present = {s.verdict for s in structures}
            handles += [
                handle(v, marker="s", color=c) for v, c in VERDICTS.items() if v in present
            ]
            open_ = {"marker": "o", "markerfacecolor": "white", "markeredgewidth": 1}
            if any(s.fails for s in structures):
                handles.append(handle("too few", color="0.3", **open_))
            handles.append(handle("half of the refits", **style))
            add_legend(ax, handles, grow=make_figure)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _label(structure):
    """Return the label of a structure's row."""
    name = structure.name
    if structure.kind == "exponent":
        name = name.replace("leading Lyapunov exponent, ", "exponent ")
    if not structure.visited:
        name += f", {structure.from_trials:.2f} SD from trials"
    return as_text(name if structure.condition is None else f"{structure.condition}: {name}")
