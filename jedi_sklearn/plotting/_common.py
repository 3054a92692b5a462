"""Helpers that all displays share: checks, axes, ranges, legends and texts."""

from __future__ import annotations

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..preprocessing import Recording

__all__ = [
    "add_colorbar",
    "add_legend",
    "as_text",
    "check_axes",
    "check_jedi",
    "fade",
    "handle",
    "import_pyplot",
    "label_axes",
    "labels_of",
    "make_axes",
    "make_panels",
    "note",
    "robust_range",
    "share_text",
    "state_unit",
    "time_of",
    "view_points",
]

# A few values that lie more than five interquartile ranges beyond the quartiles (7.4 SDs of a
# normal distribution, 1 in 1,000 of an exponential one) do not set axis or colour limits, provided
# that there are enough values
FENCE, FEW, ENOUGH = 5.0, 0.02, 20
WIDEST, MAX_COLUMNS = 0.22, 3  # largest share of a figure's width for a legend, and its columns


def import_pyplot():
    """Import matplotlib.pyplot, or raise an ImportError that says how to install it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Displays need matplotlib, which could not be imported. Install it with "
            'pip install "jedi-sklearn[plot]".'
        ) from error
    return plt


# ---------------------------------------------------------------------------- checks


def check_jedi(est):
    """Raise an error unless `est` is fitted and has the methods of a JEDIEstimator."""
    if not (hasattr(est, "posterior") and hasattr(est, "generate_rnns")):
        advice = ""
        if hasattr(est, "named_steps"):
            advice = (
                " Pass the JEDIEstimator of the Pipeline, and X as the earlier steps transform it."
            )
        raise TypeError(f"Expected a fitted JEDIEstimator, got {type(est).__name__}.{advice}")
    check_is_fitted(est, "hypernetwork_")


def labels_of(X, conditions):
    """Return `conditions` if given, else the labels of a Recording."""
    return X.labels if conditions is None and isinstance(X, Recording) else conditions


def time_of(X, time, events):
    """Return `time` and `events` if given, else those of a Recording."""
    if isinstance(X, Recording):
        time = X.time if time is None else time
        events = X.events if events is None else events
    return time, events


def state_unit(est):
    """Return the unit of the states of an estimator's RNNs."""
    return "units of X" if est.scale is None else "SD"


# ------------------------------------------------------------------------------ axes


def make_axes(ax, n_dims=2, figsize=None):
    """Return `ax` after checking its number of dimensions, or axes of a new figure."""
    plt = import_pyplot()
    if ax is None:
        if n_dims == 3:  # layout engines ignore the labels of 3-D axes
            figure = plt.figure(figsize=(7.6, 4.6))
            return figure.add_axes((0.0, 0.06, 0.6, 0.92), projection="3d")
        ax = plt.figure(figsize=figsize, layout="constrained").add_subplot()
        ax.spines[["top", "right"]].set_visible(False)
    elif hasattr(check_axes(ax), "get_zlim") != (n_dims == 3):
        need = '3-D axes, made with projection="3d"' if n_dims == 3 else "two-dimensional axes"
        raise ValueError(f"A plot in {n_dims} dimensions needs {need}.")
    return ax


def check_axes(ax):
    """Return `ax` if it is a matplotlib Axes, else raise an error."""
    from matplotlib.axes import Axes

    if isinstance(ax, Axes):
        return ax
    advice = "Create one with figure, ax = plt.subplots()"
    if isinstance(ax, np.ndarray):
        advice = "Pass one of its elements, e.g. ax.flat[0]"
    elif hasattr(ax, "gca"):  # pyplot, or a figure
        advice = "Pass its current axes, ax.gca()"
    raise TypeError(f"ax must be a matplotlib Axes, got {type(ax).__name__}. {advice}.")


def make_panels(ax, n, what, max_columns, size, **shared):
    """Return axes for n panels, (n,): those given, or a grid of this size in a new figure."""
    plt = import_pyplot()
    if ax is not None:
        axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
        for panel in axes:
            check_axes(panel)
        if len(axes) != n:
            raise ValueError(f"ax must hold one Axes per {what} ({n}), got {len(axes)}.")
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


def robust_range(values, few=FEW):
    """Return the range of values, without NaN and without a few that lie far from all others.

    If more than a share `few` of the values (and more than one) lie that far out, all count.
    """
    values = np.sort(values[np.isfinite(values)], axis=None)
    if len(values) >= ENOUGH:
        for share in (0.25, 0.05, 0.01):  # the quartiles of spike counts may both be 0
            low, high = np.quantile(values, [share, 1 - share])
            if high > low:
                room = FENCE * (high - low)
                near = values[(values >= low - room) & (values <= high + room)]
                n_far = len(values) - len(near)
                if n_far <= max(1, few * len(values)) and near[-1] > near[0]:
                    values = near
                break
    return float(values[0]), float(values[-1])


def view_points(ax, points):
    """Limit the view so that a few points (n, 2) far from all others lie outside.

    Returns
    -------
    list of legend handles
        A note with the number of points out of view, if there are any.
    """
    ranges = np.array([robust_range(x) for x in points.T])
    far = ((points < ranges[:, 0]) | (points > ranges[:, 1])).any(axis=1)
    if not far.any():
        return []
    for name, (low, high) in zip("xy", ranges, strict=True):
        room = 0.05 * (high - low)
        getattr(ax, f"set_{name}lim")(low - room, high + room)
    return [note(f"{far.sum()} of {len(points)} points\nfar out of view")]


def share_text(share):
    """Format a share as a percentage."""
    return "<1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def add_legend(ax, handles, title=None, below=False, others=(), grow=False):
    """Draw a legend outside the axes: on their right, or below the axis label.

    A legend that is too tall for the figure gets several columns. If these are not enough, it
    leaves out the last `handles`, but never any of `others`. With `grow`, the figure is widened
    to make room.
    """
    if not handles and not others:
        return
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}
    if below:  # the space above is for the user's title
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
    if below:
        if ax.figure.get_layout_engine() is not None:
            ax.figure.draw_without_rendering()  # gives the axes their final width
        if size.width > ax.figure.bbox.x1 - ax.bbox.x0:
            draw(handles, ncols=1)
        return
    room = 0.93 * (size.y1 - ax.figure.bbox.y0)  # from the top of the legend down
    if size.height > room:
        n_rows = int(n * room / draw(handles, fontsize="small").height)
        n_columns = min(-(-n // n_rows), MAX_COLUMNS)
        n_more = n - n_rows * n_columns
        if n_more > 0:
            last = handle(f"and {n_more + 1} more", marker="")
            handles = [*handles[: -n_more - 1], last]
        size = draw(handles, fontsize="small", ncols=n_columns, columnspacing=1)
    free = ax.figure.bbox.x1 - size.x0  # for 3-D axes, which have no layout engine
    if ax.figure.get_layout_engine() is not None:
        free = WIDEST * ax.figure.bbox.width
    wider = size.width - free
    if grow and wider > 0:
        _widen(ax, wider / ax.figure.dpi)


def _widen(ax, inches):
    """Widen a figure that we made, to leave room at the right of its axes."""
    width, height = ax.figure.get_size_inches()
    box = ax.get_position(original=True)
    ax.figure.set_size_inches(width + inches, height)
    if ax.figure.get_layout_engine() is None:  # positions are fractions of the figure
        ax.set_position((box.x0, box.y0, box.width * width / (width + inches), box.height))


def add_colorbar(ax, mappable, label, **options):
    """Add a colour bar at the right of the axes."""
    if hasattr(ax, "get_zlim"):
        options |= {"ax": ax, "pad": 0.12, "shrink": 0.7}
    elif ax.figure.get_layout_engine() is None:
        options |= {"ax": ax, "pad": 0.03}
    else:  # stays beside its axes, however much room the legends of other axes take
        options |= {"cax": ax.inset_axes((1.03, 0, 0.045, 1))}
    bar = ax.figure.colorbar(mappable, **options)
    bar.outline.set_visible(False)
    bar.set_label(label)
    return bar


# --------------------------------------------------------------------------- legends


def as_text(label, most=None):
    """Convert a label to matplotlib text: escape dollar signs, and shorten it if too long."""
    text = str(label)
    if most is not None and len(text) > most:  # names often differ at their ends
        start = text[: 2 * most // 3 - 1].rstrip()
        text = f"{start}\N{HORIZONTAL ELLIPSIS}{text[-(most // 3) :].lstrip()}"
    return text.replace("$", r"\$")


def handle(label, **style):
    """Make a legend entry: a marker, or a line if a linestyle is given."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **({"linestyle": "none", "markeredgewidth": 0} | style))


def note(text):
    """Make a legend entry of text alone; inside the axes, the text would cover data."""
    return handle(text, marker="")


def fade(n, low=0.08, high=0.85):
    """Choose the opacity at which n overlapping points remain distinguishable."""
    return float(np.clip(np.sqrt(150 / max(n, 1)), low, high))
