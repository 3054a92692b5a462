"""What all displays share: axes, colours of conditions, legends, points, trajectories, units."""

from __future__ import annotations

import re
from collections.abc import Mapping
from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._trials import lengths_of, n_steps_of
from .._validation import (
    as_numbers,
    as_plain_array,
    check_conditions,
    check_inputs_of_trials,
    check_number,
    check_trials,
    did_you_mean,
    listed,
    warn_user,
)
from ..preprocessing import Recording
from ..preprocessing._recording import check_events, time_axis

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
    "note",
    "place_events",
    "robust_range",
    "runs_of_mean",
    "samples_of",
    "scatter",
    "share_text",
    "state_labels",
    "state_unit",
    "time_of",
    "view_points",
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
KINDS = ("qualitative", "sequential", "cyclic")  # palettes by what they say of labels
# Hues in the order of the rainbow, which close a circle; the colours of PALETTE and one between
CIRCLE = (0, 5, 2, 6, 4, 1, 3, "#7B5AA6")
MAX_NUMBERS = 8  # different whole numbers that are labels, as of the targets of a reach
# Values farther from the quartiles than five times the distance between these (7.4 SDs of a normal
# distribution, 1 in 1,000 of an exponential one) set no axes and no colours, where they are few
# of enough
FENCE, FEW, ENOUGH = 5.0, 0.02, 20
MANY_LINES, ARROWS = 24, 12  # trajectories that can be told apart; arrows, of more
MOST_TEXT = 36  # characters of a label in a legend, before it is shortened
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


def time_of(X, time, events):
    """`time` and `events`, or those of a Recording."""
    if isinstance(X, Recording):
        time = X.time if time is None else time
        events = X.events if events is None else events
    return time, events


def runs_of_mean(est, X, conditions, trial, time, events, inputs):
    """The RNN of the mean embedding of trials, with its runs from where each trial starts.

    Returns
    -------
    rnn : RNNBatch
    trajectories : ndarray of shape (n_trials, n_steps, n_neurons)
        NaN after the end of a shorter trial.
    options : dict
        Conditions, time axis in steps, events and unit, for a display.
    """
    check_jedi(est)
    conditions = labels_of(X, conditions)
    time, events = time_of(X, time, events)
    X = check_trials(X, missing=True)
    inputs = check_inputs_of_trials(inputs, X, est.n_inputs_)
    events = check_events(events, len(X))
    every = est.steps_per_sample_
    time = time_axis(time, float(est.dt), X.shape[1])[0]
    time = time[0] + float(est.dt) / every * np.arange(n_steps_of(X.shape[1], every))
    if conditions is not None:
        labels, codes = check_conditions(conditions, len(X))
        conditions = labels[codes]
    if trial is not None:
        check_number(trial, "trial", Integral, low=0, high=len(X) - 1)
        X, inputs = X[[trial]], None if inputs is None else inputs[[trial]]
        conditions = None if conditions is None else conditions[[trial]]
        events = {name: at[[trial]] for name, at in events.items()}
    found = est.posterior(X, inputs=inputs)
    rnn = est.generate_rnns(found.mean.mean(axis=0, keepdims=True))
    own = est.generate_rnns(found.mean, found.initial_state, X.shape[1], inputs=inputs)
    runs = rnn.simulate(own.initial_states, own.n_timesteps, own.inputs)
    after = np.arange(runs.shape[1]) >= n_steps_of(lengths_of(X), every)[:, np.newaxis]
    runs = np.where(after[..., np.newaxis], np.nan, runs)
    unit = state_unit(est)
    return rnn, runs, {"conditions": conditions, "time": time, "events": events, "unit": unit}


def samples_of(trajectories):
    """The states of trajectories, (n_states, n_neurons), without those after their ends."""
    return trajectories[~np.isnan(trajectories).any(axis=2)]


def state_labels(name, unit, states, mean, axes):
    """Labels of axes through states: their unit, and their share of the states' variance."""
    total = np.square(states - mean).sum()
    shares = [np.square((states - mean) @ axis).sum() / total if total else None for axis in axes]
    what = "" if len(axes) > 2 else " of variance"  # axes in three dimensions are short
    return [
        f"{name} {i + 1} ({unit})" + ("" if s is None else f", {share_text(s)}{what}")
        for i, s in enumerate(shares)
    ]


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


def robust_range(values, few=FEW):
    """Lowest and highest of values, but for a few that lie far from all others; NaN left out.

    Where more than a share `few` of them (or one) lie there, all count.
    """
    values = np.sort(values[np.isfinite(values)], axis=None)
    if len(values) >= ENOUGH:
        for share in (0.25, 0.05, 0.01):  # most spike counts may be 0
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
    """Leave a few points (n, 2) that lie far from all others out of the view.

    Returns
    -------
    list of legend handles
        That say so.
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
    """A share in percent."""
    return "<1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


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
    if below:
        if ax.figure.get_layout_engine() is not None:
            ax.figure.draw_without_rendering()  # the axes are as wide as they come out
        if size.width > ax.figure.bbox.x1 - ax.bbox.x0:
            draw(handles, ncols=1)
        return
    room = 0.93 * (size.y1 - ax.figure.bbox.y0)  # from its top down
    if size.height > room:
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
    values of a continuous quantity. Numbers that divide a circle evenly, as 0, 45, ..., 315, are
    angles.

    Parameters
    ----------
    conditions : array-like of shape (n,) or None
    n : int
        Number of rows that need a colour.
    cyclic : bool, float or "auto"
        Whether values are angles, and their period; True stands for 2 pi.
    looks : sequence
        What tells labels of one colour apart: markers, or styles of lines.
    colour : colour of matplotlib, or one for each row
        What to draw in without conditions.
    order : sequence of labels or None
        In which order labels take their colours and stand in the legend.
    palette : str, mapping, sequence of colours or None
        What colours to take: one of `KINDS`, a colormap, or the colours themselves.

    Attributes
    ----------
    rgba : ndarray of shape (n, 4)
    look : ndarray of int of shape (n,)
        Which of `looks`.
    codes : ndarray of int of shape (n,)
        Which label each row has; zeros without labels.
    of_labels : Colours
        Of one row for each label, in order; of one row without labels.
    """

    def __init__(
        self,
        conditions,
        n,
        cyclic="auto",
        looks=MARKERS,
        colour=PALETTE[0],
        order=None,
        palette=None,
    ):
        import_pyplot()
        self.handles, self.mappable, self.looks, self.labels = [], None, looks, None
        self.look, self.codes = np.zeros(n, dtype=int), np.zeros(n, dtype=int)
        if conditions is None:
            if order is not None or palette is not None:
                raise ValueError("order and palette are about conditions, and there are none.")
            self.rgba = _as_colours(colour, n)
            return
        labels, codes = check_conditions(conditions, n)
        number = labels.dtype.kind in "fiu"
        period = _period(labels, cyclic)
        if cyclic not in ("auto", False) and not number:
            raise ValueError(f"cyclic conditions must be numbers, got labels such as {labels[0]}.")
        few = len(labels) <= MAX_NUMBERS and (not number or (labels % 1 == 0).all())
        chosen = isinstance(palette, (Mapping, list, tuple, np.ndarray))  # a colour for each
        chosen = chosen or order is not None or (isinstance(palette, str) and palette == KINDS[0])
        if number and not few and not chosen:
            self._continuous(labels[codes].astype(float), period, palette)
            return
        labels, codes = _in_order(labels, codes, order)
        rgba, look = _colours_of(labels, looks, period, palette)
        self.rgba, self.look, self.codes, self.labels = rgba[codes], look[codes], codes, labels
        # whole numbers that are floats as in MATLAB read without their ".0"
        texts = [str(v).removesuffix(".0") if labels.dtype.kind == "f" else v for v in labels]
        for text, colour_, i in zip(texts, rgba, look, strict=True):
            style = {"linestyle": looks[i]}
            if looks is not LINES:
                style = {"marker": looks[i], "markeredgewidth": _edge(looks[i])}
            self.handles.append(handle(as_text(text, MOST_TEXT), color=colour_, **style))
        self._each = rgba, look

    @property
    def of_labels(self):
        """The same with one row for each label."""
        other = object.__new__(Colours)
        vars(other).update(vars(self))
        if self.labels is None:
            other.rgba, other.look, other.codes = self.rgba[:1], self.look[:1], self.codes[:1]
        else:
            (other.rgba, other.look), other.codes = self._each, np.arange(len(self.labels))
        return other

    def _continuous(self, values, period, palette):
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        if palette == "cyclic" and not period:
            raise ValueError(
                'palette="cyclic" needs the period of the conditions: cyclic=360 for degrees, '
                "cyclic=True for radians."
            )
        self.period, self.extend = period, "neither"
        cmap = _colormap("sequential" if palette is None and not period else palette, period)
        if period:
            values, limits = values % period, (0, period)
        else:
            limits = robust_range(values)
            below, above = values.min() < limits[0], values.max() > limits[1]
            self.extend = ("neither", "min", "max", "both")[below + 2 * above]
        self.mappable = ScalarMappable(Normalize(*limits), cmap)
        self.rgba = self.mappable.to_rgba(values)

    def explain(self, ax, title=None, others=(), grow=False):
        """Draw the colour bar, or the legend of conditions, and the legend of other handles."""
        if self.mappable is None:
            # a title of conditions does not suit what else there is in the same legend
            title = title if self.handles else None
            add_legend(ax, self.handles, title, others=others, grow=grow)
            return
        bar = add_colorbar(ax, self.mappable, title or "condition", extend=self.extend)
        if self.period:
            bar.set_ticks(np.linspace(0, self.period, 5))
            if np.isclose(self.period, 2 * np.pi):
                bar.set_ticklabels(["0", r"$\pi/2$", r"$\pi$", r"$3\pi/2$", r"$2\pi$"])
                bar.set_label(title or "condition (rad)")
        add_legend(ax, others, below=True)


def _period(labels, cyclic):
    """Period of angles, or None where numbers are no angles."""
    if isinstance(cyclic, str) and cyclic != "auto":
        raise ValueError(f'cyclic must be True, False, a period or "auto", got {cyclic!r}.')
    if cyclic is False or labels.dtype.kind not in "fiu":
        return None
    if cyclic == "auto":
        steps = np.diff(labels.astype(float))
        if len(steps) < 2 or not np.allclose(steps, steps[0], rtol=1e-3):
            return None
        around = [
            p for p in (360.0, 2 * np.pi) if np.isclose(steps[0] * len(labels), p, rtol=1e-3)
        ]
        return around[0] if around else None
    period = 2 * np.pi if cyclic is True else cyclic
    check_number(period, "cyclic", low=0, closed=False)
    return float(period)


def _in_order(labels, codes, order):
    """Labels as a reader counts them ("s2" before "s10"), or as given, and the codes of rows."""
    if order is None:
        if labels.dtype.kind in "fiub":
            return labels, codes
        # text and digits in turn, so that like is compared with like
        parts = [re.split(r"([0-9]+)", str(label)) for label in labels]
        keys = [[int(p) if i % 2 else p for i, p in enumerate(split)] for split in parts]
        rank = sorted(range(len(labels)), key=keys.__getitem__)
    else:
        wanted = as_plain_array(order, "order").tolist()
        have = labels.tolist()
        missing = [label for label in have if label not in wanted]
        if missing or len(set(map(str, wanted))) < len(wanted):
            raise ValueError(
                f"order must name every label once, got no place for {listed(missing)}."
                if missing
                else "order must name every label once."
            )
        rank = [have.index(label) for label in wanted if label in have]
    place = np.empty(len(labels), dtype=int)
    place[rank] = np.arange(len(labels))
    return labels[rank], place[codes]


def _colours_of(labels, looks, period, palette):
    """Colour, (n, 4), and look, (n,), of each of n labels."""
    from matplotlib.colors import to_rgba_array

    n = len(labels)
    alike = np.zeros(n, dtype=int)
    if isinstance(palette, Mapping):
        missing = [label for label in labels.tolist() if label not in palette]
        if missing:
            raise ValueError(f"palette has no colour for {listed(missing)}.")
        return to_rgba_array([palette[label] for label in labels.tolist()]), alike
    if isinstance(palette, (list, tuple, np.ndarray)):
        if len(palette) < n:
            raise ValueError(
                f"palette must have a colour for each of {n} labels, got {len(palette)}."
            )
        return to_rgba_array(palette)[:n], alike
    if palette == "qualitative" or (palette is None and not period):
        return _tell_apart(n, looks)
    cmap = _colormap(palette, period)
    if period:
        return cmap(labels.astype(float) % period / period), alike
    if palette == "cyclic":
        return cmap(np.arange(n) / n), alike
    return cmap(np.linspace(0.0, 1.0, n) if n > 1 else [0.5]), alike


def _colormap(palette, period):
    """The colormap of a palette by name; of angles the circle, unless another is asked for."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import Colormap, LinearSegmentedColormap

    if palette in (None, "cyclic"):
        hues = [PALETTE[c] if isinstance(c, int) else c for c in (*CIRCLE, CIRCLE[0])]
        return LinearSegmentedColormap.from_list("circle", hues)
    if isinstance(palette, Colormap):
        return palette
    if palette == "sequential":  # without the yellow, which paper swallows
        return LinearSegmentedColormap.from_list(
            "", plt.get_cmap("viridis")(np.linspace(0, 0.93, 64))
        )
    if palette in plt.colormaps():
        return plt.get_cmap(palette)
    raise ValueError(
        f"palette must be one of {', '.join(map(repr, KINDS))}, a colormap of matplotlib, a "
        f"mapping from labels to colours, or a list of colours, got {palette!r}"
        f"{did_you_mean(palette, [*KINDS, *plt.colormaps()])}"
    )


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


def as_text(label, most=None):
    """A label as text of matplotlib, in which a dollar sign begins no formula, cut if too long."""
    text = str(label)
    if most is not None and len(text) > most:  # names often differ at their ends
        start = text[: 2 * most // 3 - 1].rstrip()
        text = f"{start}\N{HORIZONTAL ELLIPSIS}{text[-(most // 3) :].lstrip()}"
    return text.replace("$", r"\$")


def handle(label, **style):
    """Entry of a legend: a marker, or a line where a linestyle is given."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **({"linestyle": "none", "markeredgewidth": 0} | style))


def note(text):
    """Entry of a legend that is text alone; inside the axes it would cover data."""
    return handle(text, marker="")


def fade(n, low=0.08, high=0.85):
    """Opacity at which n overlapping points can still be told apart."""
    return float(np.clip(np.sqrt(150 / max(n, 1)), low, high))


# ------------------------------------------------------------------- drawing of data


def colour_points(conditions, n, options, **how):
    """Colours of points, of which options of ``Axes.scatter`` may say some, and the others.

    `how` are arguments of :class:`Colours`.

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
    return Colours(conditions, n, **how, **given), options


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


def draw_trajectories(ax, coordinates, colours, marks=None):
    """Thin lines (n_trajectories, n_timesteps, n_dims), marked at their start, with an arrow.

    Where many lines belong to a few labels, their means have the marks, and the lines are faint.
    Of many lines without labels only some are marked. Conditions that share a colour differ in
    `LINES`, which the colours need as their looks. `marks` are the samples of events in each
    line, by name, NaN where there is none.

    Returns
    -------
    list of legend handles
    """
    n, marks = len(coordinates), marks or {}
    many = n > MANY_LINES
    means = many and colours.labels is not None and 2 * len(colours.labels) <= n
    alpha = fade((40 if means else 15) * n)
    for line, colour, i in zip(coordinates, colours.rgba, colours.look, strict=True):
        style = {"color": colour, "linestyle": colours.looks[i], "lw": 0.6 if means else 1}
        ax.plot(*line.T, alpha=alpha, zorder=3, **style)
    shown, rows = coordinates, np.arange(n)
    if means:
        of_rows, colours = colours.codes, colours.of_labels
        shown = np.stack([_mean_line(coordinates[of_rows == k]) for k in colours.codes])
        marks = {
            name: np.array([_median(at[of_rows == k]) for k in colours.codes])
            for name, at in marks.items()
        }
        rows = colours.codes
        from matplotlib.patheffects import withStroke

        for k in rows:
            style = {
                "color": colours.rgba[k],
                "linestyle": colours.looks[colours.look[k]],
                "lw": 2,
            }
            halo = [withStroke(linewidth=3.4, foreground="white")]
            ax.plot(*shown[k].T, zorder=3.5, gid="mean", path_effects=halo, **style)
    elif many:
        rows = np.linspace(0, n - 1, ARROWS).astype(int)
    start = {"marker": "s", "ms": 4.5, "linestyle": "none", "markeredgewidth": 0.6}
    extent = np.nanmax(shown, axis=(0, 1)) - np.nanmin(shown, axis=(0, 1))
    for k in rows:
        colour = colours.rgba[k]
        style = {"color": colour, "markeredgecolor": "white"}
        ax.plot(*shown[k, :1].T, **start, **style, zorder=4, gid="start")
        _draw_arrow(ax, shown[k], colour, extent)
    colour = "0.4" if colours.handles or colours.mappable else colours.rgba[0]
    text = "start of a mean" if means else "start of a trajectory"
    handles = [handle(text, **(start | {"markeredgewidth": 0}), color=colour)]
    for (name, at), marker in zip(marks.items(), "DPXv^" * len(marks), strict=False):
        where = [(k, _at(shown[k], at[k])) for k in rows if np.isfinite(at[k])]
        style = {"marker": marker, "ms": 6, "markeredgewidth": 0.6}
        for k, x in where:
            edge = {"color": colours.rgba[k], "markeredgecolor": "white", "gid": "event"}
            ax.plot(*x[:, np.newaxis], linestyle="none", zorder=4.5, **style, **edge)
        if where:
            handles.append(handle(as_text(name), **style, color=colour))
    return handles


def _mean_line(lines):
    """Mean of lines (n, n_timesteps, n_dims), to where half of them end."""
    seen = np.isfinite(lines).all(axis=2)
    count = seen.sum(axis=0)[:, np.newaxis]
    total = np.where(seen[..., np.newaxis], lines, 0).sum(axis=0)
    return np.where(2 * count >= len(lines), total / np.maximum(count, 1), np.nan)


def _median(values):
    values = values[np.isfinite(values)]
    return np.median(values) if len(values) else np.nan


def _at(line, sample):
    """Point of a line (n_timesteps, n_dims) at a sample, between two of them too."""
    return np.array([np.interp(sample, np.arange(len(line)), x) for x in line.T])


def _draw_arrow(ax, line, colour, extent):
    """Arrow half way along a line (n_timesteps, n_dims): which way time goes."""
    line = line[np.isfinite(line).all(axis=1)]
    scale = np.where(extent > 0, extent, 1.0)
    gone = np.append(0, np.cumsum(np.linalg.norm(np.diff(line / scale, axis=0), axis=1)))
    if not gone[-1] > 0:  # it stands still
        return
    along = [np.interp([0.5, 0.52], gone / gone[-1], x) for x in line.T]
    tail, head = np.transpose(along)
    if (tail == head).all():  # it turns back at once
        return
    if len(tail) == 3:
        step = (head - tail) / np.linalg.norm((head - tail) / scale)
        ax.quiver(*head, *(0.06 * step), color=colour, arrow_length_ratio=1, gid="arrow")
        return
    from matplotlib.patches import FancyArrowPatch

    look = {"fc": colour, "ec": "white", "lw": 0.5, "mutation_scale": 16, "zorder": 4}
    gap = {"shrinkA": 0, "shrinkB": 0, "gid": "arrow"}
    ax.add_patch(FancyArrowPatch(tail, head, arrowstyle="-|>", **look, **gap))


def place_events(events, time, n):
    """Samples of events (name to (n,) times, s) on a time axis; NaN off its ends."""
    marks = {}
    for name, at in check_events(events, n).items():
        sample = (at - time[0]) / (time[1] - time[0]) if len(time) > 1 else np.full(n, np.nan)
        marks[name] = np.where((sample >= 0) & (sample <= len(time) - 1), sample, np.nan)
    return marks


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
