"""What all displays share: axes, colours of conditions, legends, points, trajectories, units."""

from __future__ import annotations

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._validation import as_numbers, check_conditions, check_number, warn_user
from ..preprocessing import Recording

__all__ = [
    "LINES",
    "PALETTE",
    "Colours",
    "add_colorbar",
    "add_legend",
    "as_text",
    "as_trajectories",
    "check_axes",
    "check_jedi",
    "colour_points",
    "draw_fixed_points",
    "draw_trajectories",
    "fade",
    "handle",
    "import_pyplot",
    "label_axes",
    "labels_of",
    "make_axes",
    "make_panels",
    "scatter",
    "state_unit",
]

# Okabe & Ito, told apart with every common colour blindness; the pale ones come last
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#F0E442",
)  # without black, which fixed points have
# conditions beyond the palette: its colours again, with the next marker, or style of line
MARKERS = ("o", "s", "^", "D", "v")
LINES = ("-", "--", ":", "-.", (0, (7, 1.5, 1, 1.5, 1, 1.5)))
MAX_NUMBERS = 8  # different whole numbers that are labels, as of the targets of a reach
WIDEST, MAX_COLUMNS = 0.22, 3  # share of a figure's width that a legend has, and its columns
STABLE, UNSTABLE, SLOW = "black", "black", "0.45"
ABOVE = 5  # zorder of fixed points, above trajectories and axes


def import_pyplot():
    """matplotlib.pyplot, or an ImportError that says how to get it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Displays need matplotlib, which cannot be imported. Install it with "
            'pip install "jedi-sklearn[plot]".'
        ) from error
    return plt


# ---------------------------------------------------------------------------- checks


def check_jedi(est):
    """Raise unless `est` infers and generates as a JEDIEstimator does, and is fitted."""
    if not (hasattr(est, "posterior") and hasattr(est, "generate_rnns")):
        advice = ""
        if hasattr(est, "named_steps"):
            advice = " Of a Pipeline pass the JEDIEstimator, with X as its steps before leave it."
        raise TypeError(f"Expected a fitted JEDIEstimator, got {type(est).__name__}.{advice}")
    check_is_fitted(est, "hypernetwork_")


def as_trajectories(states, n_neurons, name="trajectories"):
    """States of trajectories, (n_trajectories, n_timesteps, n_neurons), or None."""
    if states is None:
        return None
    a = as_numbers(states, name)
    a = a[np.newaxis] if a.ndim == 2 else a
    if a.ndim != 3 or a.shape[2] != n_neurons or not a.size:
        raise ValueError(
            f"{name} must have shape (n_trajectories, n_timesteps, n_neurons = {n_neurons}) or "
            f"(n_timesteps, {n_neurons}), got {np.shape(states)}."
        )
    return a


def labels_of(X, conditions):
    """`conditions`, or without them the labels of a Recording."""
    return X.labels if conditions is None and isinstance(X, Recording) else conditions


def state_unit(est):
    """Unit of the states of an estimator's RNNs."""
    return "units of X" if est.scale is None else "SD"


# ------------------------------------------------------------------------------ axes


def make_axes(ax, n_dims=2, figsize=None):
    """`ax` if it is given and has so many dimensions, else the axes of a new figure."""
    plt = import_pyplot()
    if ax is None:
        if n_dims == 3:  # whose labels no layout engine knows
            figure = plt.figure(figsize=(7.6, 4.6))
            return figure.add_axes((0.0, 0.06, 0.6, 0.92), projection="3d")
        ax = plt.figure(figsize=figsize, layout="constrained").add_subplot()
        ax.spines[["top", "right"]].set_visible(False)
    elif hasattr(check_axes(ax), "get_zlim") != (n_dims == 3):
        need = 'made with projection="3d"' if n_dims == 3 else "two-dimensional"
        raise ValueError(f"A plot of {n_dims} dimensions needs axes that are {need}.")
    return ax


def check_axes(ax):
    """`ax` if it is axes of matplotlib."""
    from matplotlib.axes import Axes

    if isinstance(ax, Axes):
        return ax
    advice = "make them with figure, ax = plt.subplots()"
    if isinstance(ax, np.ndarray):
        advice = "choose one of them, e.g. ax.flat[0]"
    elif hasattr(ax, "gca"):  # pyplot, or a figure
        advice = "take its current ones, ax.gca()"
    raise TypeError(f"ax must be axes of matplotlib, got {type(ax).__name__}: {advice}.")


def make_panels(ax, n, what, max_columns, size, **shared):
    """Axes for n panels, (n,): those given, or a grid of panels of this size in a new figure."""
    plt = import_pyplot()
    if ax is not None:
        axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
        for panel in axes:
            check_axes(panel)
        if len(axes) != n:
            raise ValueError(f"ax must hold one axes per {what} ({n}), got {len(axes)}.")
        return axes
    columns = min(n, max_columns)
    rows = -(-n // columns)
    size = (max(3.6, size[0] * columns + 0.4), size[1] * rows + 0.4)
    figure = plt.figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **shared).ravel()
    for panel in axes:
        panel.spines[["top", "right", "left"]].set_visible(False)
    for panel in axes[n:]:
        panel.remove()
    return axes[:n]


def label_axes(ax, labels):
    """Label two or three axes."""
    for name, label in zip("xyz", labels, strict=False):
        getattr(ax, f"set_{name}label")(label)


def add_legend(ax, handles, title=None, below=False, others=(), grow=False):
    """Legend outside of the axes, where no data are: on their right, or below their label.

    One that is too high for the figure gets columns, and leaves out the last of `handles` where
    these are not enough, but none of `others`. With `grow` the figure gets the width for it.
    """
    if not handles and not others:
        return
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}
    if below:  # the title above is the user's
        from matplotlib.transforms import ScaledTranslation

        shift = ScaledTranslation(0, -40 / 72, ax.figure.dpi_scale_trans)
        place = {"loc": "upper left", "bbox_to_anchor": (0, 0), "ncols": 2}
        place["bbox_transform"] = ax.transAxes + shift
    elif hasattr(ax, "get_zlim"):
        place["bbox_to_anchor"] = (1.13, 0.9)

    def draw(shown, **options):
        legend = ax.legend(
            handles=[*shown, *others],
            title=title,
            frameon=False,
            alignment="left",
            borderaxespad=0,
            handletextpad=0.5,
            **(place | options),
        )
        return legend.get_window_extent()

    size, n = draw(handles), len(handles) + len(others)
    room = 0.93 * (size.y1 - ax.figure.bbox.y0)  # from its top down
    if size.height > room and not below:
        n_rows = int(n * room / draw(handles, fontsize="small").height)
        n_columns = min(-(-n // n_rows), MAX_COLUMNS)
        n_more = n - n_rows * n_columns
        if n_more > 0:
            last = handle(f"and {n_more + 1} more", marker="")
            handles = [*handles[: -n_more - 1], last]
        size = draw(handles, fontsize="small", ncols=n_columns, columnspacing=1)
    free = ax.figure.bbox.x1 - size.x0  # in three dimensions, of which no layout engine knows
    if ax.figure.get_layout_engine() is not None:
        free = WIDEST * ax.figure.bbox.width
    wider = size.width - free
    if grow and wider > 0:
        _widen(ax, wider / ax.figure.dpi)


def _widen(ax, inches):
    """Room at the right of the axes of a figure of our own."""
    width, height = ax.figure.get_size_inches()
    box = ax.get_position(original=True)
    ax.figure.set_size_inches(width + inches, height)
    if ax.figure.get_layout_engine() is None:  # places are shares of the figure
        ax.set_position((box.x0, box.y0, box.width * width / (width + inches), box.height))


def add_colorbar(ax, mappable, label, **options):
    """Colour bar at the right of the axes."""
    if hasattr(ax, "get_zlim"):
        options |= {"ax": ax, "pad": 0.12, "shrink": 0.7}
    elif ax.figure.get_layout_engine() is None:
        options |= {"ax": ax, "pad": 0.03}
    else:  # stays beside its axes, whatever room the legends of other axes take
        options |= {"cax": ax.inset_axes((1.03, 0, 0.045, 1))}
    bar = ax.figure.colorbar(mappable, **options)
    bar.outline.set_visible(False)
    bar.set_label(label)
    return bar


# --------------------------------------------------------------------------- colours


class Colours:
    """Colour and look of each row, and the legend or the colour bar that explains them.

    Strings, booleans and at most eight different whole numbers are labels; other numbers are
    values of a continuous quantity.

    Parameters
    ----------
    conditions : array-like of shape (n,) or None
    n : int
        Number of rows that need a colour.
    cyclic : bool or float
        Whether values are angles, and their period; True stands for 2 pi.
    looks : sequence
        What tells labels of one colour apart: markers, or styles of lines.
    colour : colour of matplotlib, or one for each row
        What to draw in without conditions.

    Attributes
    ----------
    rgba : ndarray of shape (n, 4)
    look : ndarray of int of shape (n,)
        Which of `looks`.
    """

    def __init__(self, conditions, n, cyclic=False, looks=MARKERS, colour=PALETTE[0]):
        import_pyplot()
        self.handles, self.mappable, self.looks = [], None, looks
        self.look = np.zeros(n, dtype=int)
        if conditions is None:
            self.rgba = _as_colours(colour, n)
            return
        labels, codes = check_conditions(conditions, n)
        number = labels.dtype.kind in "fiu"
        if cyclic and not number:
            raise ValueError(f"cyclic conditions must be numbers, got labels such as {labels[0]}.")
        if cyclic or (number and (len(labels) > MAX_NUMBERS or (labels % 1 != 0).any())):
            self._continuous(labels[codes].astype(float), cyclic)
            return
        rgba, look = _tell_apart(len(labels), looks)
        self.rgba, self.look = rgba[codes], look[codes]
        # whole numbers that are floats as in MATLAB read without their ".0"
        texts = [str(v).removesuffix(".0") if labels.dtype.kind == "f" else v for v in labels]
        for text, colour_, i in zip(texts, rgba, look, strict=True):
            style = {"linestyle": looks[i]}
            if looks is not LINES:
                style = {"marker": looks[i], "markeredgewidth": _edge(looks[i])}
            self.handles.append(handle(as_text(text), color=colour_, **style))

    def _continuous(self, values, cyclic):
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import ListedColormap, Normalize

        plt = import_pyplot()
        self.period = None
        if cyclic:
            self.period = 2 * np.pi if cyclic is True else cyclic
            check_number(self.period, "cyclic", low=0, closed=False)
            values = values % self.period
            table = plt.get_cmap("twilight")(np.linspace(0, 1, 256))
            table[:, :3] *= 1 - 0.25 * table[:, :3].min(axis=1, keepdims=True) ** 2  # not white
            self.mappable = ScalarMappable(Normalize(0, self.period), ListedColormap(table))
        else:
            self.mappable = ScalarMappable(Normalize(values.min(), values.max()), "viridis")
        self.rgba = self.mappable.to_rgba(values)

    def explain(self, ax, title=None, others=(), grow=False):
        """Draw the colour bar, or the legend of conditions, and the legend of other handles."""
        if self.mappable is None:
            # a title of conditions does not suit what else there is in the same legend
            title = title if self.handles else None
            add_legend(ax, self.handles, title, others=others, grow=grow)
            return
        bar = add_colorbar(ax, self.mappable, title or "condition")
        if self.period is not None:
            bar.set_ticks(np.linspace(0, self.period, 5))
            if np.isclose(self.period, 2 * np.pi):
                bar.set_ticklabels(["0", r"$\pi/2$", r"$\pi$", r"$3\pi/2$", r"$2\pi$"])
                bar.set_label(title or "condition (rad)")
        add_legend(ax, others, below=True)


def _tell_apart(n, looks):
    """Colour, (n, 4), and look, (n,), of each of n labels, no two of them alike."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import LinearSegmentedColormap, to_rgba_array

    code, n_colours = np.arange(n), len(PALETTE)
    if n <= n_colours * len(looks):
        return to_rgba_array(PALETTE)[code % n_colours], code // n_colours
    warn_user(
        f"{n} conditions are more than the {n_colours * len(looks)} that colours and "
        f"{'styles of lines' if looks is LINES else 'markers'} tell apart: some look much alike. "
        "Draw a few of them at a time, or what they have in common."
    )
    table = plt.get_cmap("turbo")(np.linspace(0, 1, 256))
    return LinearSegmentedColormap.from_list("labels", table, N=n)(code), code % len(looks)


def _as_colours(given, n):
    """One colour, or one for each of n rows, as (n, 4)."""
    from matplotlib.colors import is_color_like, to_rgba, to_rgba_array

    try:
        rgba = np.array([to_rgba(given)]) if is_color_like(given) else to_rgba_array(given)
        return np.broadcast_to(rgba, (n, 4))
    except (TypeError, ValueError) as error:
        got = repr(given) if isinstance(given, str) else f"an array of shape {np.shape(given)}"
        raise ValueError(
            f"scatter_kwargs must have a colour of matplotlib, or one for each of the {n} rows, "
            f"got {got}. Give values that colours are to show as conditions."
        ) from error


def _edge(marker):
    """Width of the edge of a marker: none, if there is something to fill."""
    from matplotlib.markers import MarkerStyle

    return 0.0 if MarkerStyle(marker).is_filled() else 1.0


def as_text(label):
    """A label as text of matplotlib, in which a dollar sign begins no formula."""
    return str(label).replace("$", r"\$")


def handle(label, **style):
    """Entry of a legend: a marker, or a line where a linestyle is given."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **({"linestyle": "none", "markeredgewidth": 0} | style))


def fade(n, low=0.08, high=0.85):
    """Opacity at which n overlapping points can still be told apart."""
    return float(np.clip(np.sqrt(150 / max(n, 1)), low, high))


# ------------------------------------------------------------------- drawing of data


def colour_points(conditions, n, cyclic, options):
    """Colours of points, of which options of ``Axes.scatter`` may say some, and the others.

    Returns
    -------
    colours : Colours
    options : dict
    """
    options = {name: value for name, value in (options or {}).items() if value is not None}
    given = {}
    if "marker" in options:
        given["looks"] = (options.pop("marker"),)
    for name in ("c", "color", "facecolors", "facecolor"):
        if name in options:
            if conditions is not None:
                raise ValueError(
                    f'scatter_kwargs has "{name}", but conditions say the colours. Leave out one '
                    "of them."
                )
            given["colour"] = options.pop(name)
            options.setdefault("alpha", None)  # as it was given
    if any(name in options for name in ("edgecolors", "edgecolor")):
        options = {"linewidths": 1.0} | options
    return Colours(conditions, n, cyclic, **given), options


def scatter(ax, coordinates, colours, rows=None, **options):
    """Scatter coordinates (n, n_dims), point i in the colour of row ``rows[i]``."""
    rows = np.arange(len(coordinates)) if rows is None else rows
    drawn = []
    for i in dict.fromkeys(colours.look[rows].tolist()):
        chosen = colours.look[rows] == i
        marker = colours.looks[i]
        drawn.append(
            ax.scatter(
                *coordinates[chosen].T,
                c=colours.rgba[rows[chosen]],
                marker=marker,
                **({"s": 22, "linewidths": _edge(marker)} | options),
            )
        )
    return drawn


def draw_trajectories(ax, coordinates, colours):
    """Thin lines (n_trajectories, n_timesteps, n_dims), each with a marker at its start.

    Conditions that share a colour differ in `LINES`, which the colours need as their looks.

    Returns
    -------
    list of legend handles
    """
    alpha = fade(15 * len(coordinates))
    for line, colour, i in zip(coordinates, colours.rgba, colours.look, strict=True):
        style = {"color": colour, "linestyle": colours.looks[i], "lw": 1}
        ax.plot(*line.T, alpha=alpha, zorder=3, **style)
    start = {"marker": "s", "ms": 4, "linestyle": "none", "markeredgewidth": 0.6}
    for x0, colour in zip(coordinates[:, 0], colours.rgba, strict=True):
        ax.plot(*x0[:, np.newaxis], **start, color=colour, markeredgecolor="white", zorder=4)
    colour = "0.4" if colours.handles or colours.mappable else colours.rgba[0]
    return [handle("start of a trajectory", **(start | {"markeredgewidth": 0}), color=colour)]


def draw_fixed_points(ax, coordinates, points):
    """Fixed points: filled where stable, else open.

    The number of unstable directions stands in those that have more than one. Slow points are
    small dots below both. The artists have the gids "stable", "unstable" and "slow".

    Returns
    -------
    list of legend handles
    """
    stable = points.exact & points.stable
    unstable = points.exact & ~points.stable
    styles = {
        "slow": {"marker": "o", "ms": 3.2, "color": SLOW, "markeredgewidth": 0},
        "unstable": {
            "marker": "o",
            "ms": 9.5,
            "markerfacecolor": "white",
            "markeredgecolor": UNSTABLE,
            "markeredgewidth": 1.2,
        },
        "stable": {
            "marker": "o",
            "ms": 8,
            "markerfacecolor": STABLE,
            "markeredgecolor": "white",
            "markeredgewidth": 0.7,
        },
    }
    texts = {
        "slow": "slow point",
        "unstable": "unstable (number of unstable\ndirections, if more than one)",
        "stable": "stable fixed point",
    }
    handles = []
    chosen = {"slow": ~points.exact, "unstable": unstable, "stable": stable}
    for i, (name, rows) in enumerate(chosen.items()):
        if not rows.any():
            continue
        style = styles[name]
        handles.insert(0, handle(texts[name], **style))
        if name != "unstable":
            ax.plot(*coordinates[rows].T, linestyle="none", gid=name, zorder=ABOVE + i, **style)
            continue
        # the marker and its number together, so that a point above hides both
        order = np.argsort(-points.n_unstable[rows], kind="stable")
        step = 0.5 / len(order)
        for j, k in enumerate(np.flatnonzero(rows)[order]):
            z = ABOVE + i + j * step
            ax.plot(*coordinates[k, :, np.newaxis], linestyle="none", gid=name, zorder=z, **style)
            if points.n_unstable[k] == 1:  # a saddle; many numbers would cut each other
                continue
            ax.text(
                *coordinates[k],
                str(points.n_unstable[k]),
                ha="center",
                va="center_baseline",
                fontsize=6.5,
                zorder=z + step / 2,
                clip_on=True,
            )
    return handles
