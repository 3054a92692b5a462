"""Figures of results: each repetition as a point, their mean as a line."""

from __future__ import annotations

import numpy as np

from jedi_sklearn.plotting._colours import MARKERS, PALETTE
from jedi_sklearn.plotting._common import import_pyplot


def draw(figure, table):
    """The figure of a table, a panel for each quantity."""
    plt = import_pyplot()
    if figure.points:
        return draw_points(plt, figure, table)
    rows = [row for row in table.rows if row.get(figure.x) is not None]
    series = list(dict.fromkeys(row[figure.by] for row in rows)) if figure.by else [None]
    places = list(dict.fromkeys(row[figure.x] for row in rows))
    numeric = all(isinstance(place, (int, float)) for place in places)
    wide = 0.9 if numeric else max(0.9, 0.16 * len(places) * max(1.5, len(series)))
    fig = plt.figure(
        figsize=(2.4 * len(figure.y) * wide + 1.9, 3.0), layout="constrained", dpi=110
    )
    axes = fig.subplots(1, len(figure.y), squeeze=False)[0]
    for ax, (key, label) in zip(axes, figure.y, strict=True):
        for i, name in enumerate(series):
            mine = [row for row in rows if name is None or row[figure.by] == name]
            mine = [row for row in mine if isinstance(row.get(key), (int, float))]
            own = [p for p in places if any(row[figure.x] == p for row in mine)]
            at = own if numeric else [places.index(p) for p in own]
            values = [[row[key] for row in mine if row[figure.x] == p] for p in own]
            how = {"color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i % len(MARKERS)]}
            shift = 0.0 if numeric else 0.16 * (i - (len(series) - 1) / 2)
            for x, some in zip(at, values, strict=True):
                ax.plot(
                    np.full(len(some), x + shift), some, ls="", alpha=0.35, ms=3.5, mew=0, **how
                )
            means = [np.mean(some) for some in values]
            line = "-" if numeric else ""
            ax.plot(np.array(at) + shift, means, ls=line, lw=1.3, ms=6, label=name, **how)
        if figure.identity:
            ends = [min(places), max(places)]
            ax.plot(ends, ends, color="0.6", lw=1, zorder=0)
        if figure.log:
            ax.set_xscale("log", base=2)
        if numeric:
            names = [f"{place:g}" for place in places]
            ax.set_xticks(places, names)
            gap = min(np.diff(places), default=np.inf) / (np.ptp(places) or 1.0)
            if not figure.log and gap < 0.045 * max(map(len, names)):
                ax.tick_params("x", rotation=45)  # neighbours would overlap
            ax.minorticks_off()
            ax.set_xlabel(figure.x_label)
        else:
            ax.set_xticks(range(len(places)), places, rotation=30, ha="right")
            ax.set_xlim(-0.6, len(places) - 0.4)
        ax.set_ylabel(label)
        ax.spines[["top", "right"]].set_visible(False)
    if figure.by:
        handles, labels = axes[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside right upper", frameon=False, fontsize="small")
    return fig


def draw_points(plt, figure, table):
    """Points of several kinds in a plane."""
    fig = plt.figure(figsize=(5.2, 3.6), layout="constrained", dpi=110)
    ax, (key, label) = fig.subplots(), figure.y[0]
    for i, name in enumerate(dict.fromkeys(row[figure.by] for row in table.rows)):
        mine = [row for row in table.rows if row[figure.by] == name]
        how = {"color": PALETTE[i], "marker": MARKERS[i], "mfc": "none" if i else None}
        x, y = ([row[k] for row in mine] for k in (figure.x, key))
        ax.plot(x, y, ls="", ms=5, label=name, **how)
    ax.set(xlabel=figure.x_label, ylabel=label, aspect="equal")
    ax.spines[["top", "right"]].set_visible(False)
    fig.legend(loc="outside right upper", frameon=False, fontsize="small")
    return fig
