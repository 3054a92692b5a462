"""Which colour and marker each condition gets, and the legend or colour bar that shows it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from .._validation import (
    as_plain_array,
    check_conditions,
    check_number,
    did_you_mean,
    listed,
    warn_user,
)
from ._common import add_colorbar, add_legend, as_text, handle, import_pyplot, robust_range

__all__ = ["LINES", "PALETTE", "Colours", "colour_points", "scatter"]

# Okabe & Ito: distinguishable with every common colour blindness; the pale ones come last
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#F0E442",
)  # without black, which marks fixed points
# conditions beyond the palette reuse its colours with the next marker or line style
MARKERS = ("o", "s", "^", "D", "v")
LINES = ("-", "--", ":", "-.", (0, (7, 1.5, 1, 1.5, 1, 1.5)))
KINDS = ("qualitative", "sequential", "cyclic")  # palettes by how labels relate to each other
# Hues around the colour circle: those of PALETTE, and one more to close the gap
CIRCLE = (0, 5, 2, 6, 4, 1, 3, "#7B5AA6")
MAX_NUMBERS = 8  # distinct whole numbers that still count as labels, such as reach targets
MOST_TEXT = 36  # characters of a legend label before it is shortened


class Colours:
    """Colour and marker of each row, and the legend or colour bar that shows them.

    Strings, booleans and up to eight distinct whole numbers are labels. Other numbers are values
    of a continuous quantity. Numbers that divide a circle evenly, such as 0, 45, ..., 315, are
    angles.

    Parameters
    ----------
    conditions : array-like of shape (n,) or None
    n : int
        Number of rows that need a colour.
    cyclic : bool, float or "auto"
        Whether values are angles. A number is their period; True means 2 pi.
    looks : sequence
        Markers or line styles that distinguish labels of the same colour.
    colour : matplotlib colour, or one for each row
        Colour of the rows when there are no conditions.
    order : sequence of labels or None
        Order in which labels take their colours and appear in the legend.
    palette : str, mapping, sequence of colours or None
        One of `KINDS`, a colormap, or the colours themselves.

    Attributes
    ----------
    rgba : ndarray of shape (n, 4)
    look : ndarray of int of shape (n,)
        Index of each row's marker or line style in `looks`.
    codes : ndarray of int of shape (n,)
        Index of each row's label; zeros if there are no labels.
    of_labels : Colours
        The same with one row per label, in order; with one row if there are no labels.
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
                raise ValueError("order and palette need conditions: give conditions as well.")
            self.rgba = _as_colours(colour, n)
            return
        labels, codes = check_conditions(conditions, n)
        number = labels.dtype.kind in "fiu"
        period = _period(labels, cyclic)
        if cyclic not in ("auto", False) and not number:
            raise ValueError(
                f"cyclic conditions must be numbers, got labels such as {labels[0]}. Give "
                "angles, or leave cyclic out."
            )
        few = len(labels) <= MAX_NUMBERS and (not number or (labels % 1 == 0).all())
        chosen = isinstance(palette, (Mapping, list, tuple, np.ndarray))  # a colour for each
        chosen = chosen or order is not None or (isinstance(palette, str) and palette == KINDS[0])
        if number and not few and not chosen:
            self._continuous(labels[codes].astype(float), period, palette)
            return
        labels, codes = _in_order(labels, codes, order)
        rgba, look = _colours_of(labels, looks, period, palette)
        self.rgba, self.look, self.codes, self.labels = rgba[codes], look[codes], codes, labels
        # whole numbers stored as floats, as MATLAB does, are shown without ".0"
        texts = [str(v).removesuffix(".0") if labels.dtype.kind == "f" else v for v in labels]
        for text, colour_, i in zip(texts, rgba, look, strict=True):
            style = {"linestyle": looks[i]}
            if looks is not LINES:
                style = {"marker": looks[i], "markeredgewidth": _edge(looks[i])}
            self.handles.append(handle(as_text(text, MOST_TEXT), color=colour_, **style))
        self._each = rgba, look

    @property
    def of_labels(self):
        """Colours with one row for each label."""
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
                'palette="cyclic" needs the period of the conditions: pass cyclic=360 for '
                "degrees or cyclic=True for radians."
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
        """Draw the colour bar or legend of the conditions, and the legend of other handles."""
        if self.mappable is None:
            # a title for conditions does not fit a legend of other things
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
    """Return the period of angles, or None if the labels are not angles."""
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
    """Sort labels in natural order ("s2" before "s10") or as given; recode the rows."""
    if order is None:
        if labels.dtype.kind in "fiub":
            return labels, codes
        # text and digits alternate, so that numbers are compared with numbers
        parts = [re.split(r"([0-9]+)", str(label)) for label in labels]
        keys = [[int(p) if i % 2 else p for i, p in enumerate(split)] for split in parts]
        rank = sorted(range(len(labels)), key=keys.__getitem__)
    else:
        wanted = as_plain_array(order, "order").tolist()
        have = labels.tolist()
        missing = [label for label in have if label not in wanted]
        if missing or len(set(map(str, wanted))) < len(wanted):
            raise ValueError(
                f"order must name every label once, but leaves out {listed(missing)}."
                if missing
                else "order must name every label once, but it repeats a label."
            )
        rank = [have.index(label) for label in wanted if label in have]
    place = np.empty(len(labels), dtype=int)
    place[rank] = np.arange(len(labels))
    return labels[rank], place[codes]


def _colours_of(labels, looks, period, palette):
    """Choose colours (n, 4) and indices of looks (n,) for n labels."""
    from matplotlib.colors import to_rgba_array

    n = len(labels)
    alike = np.zeros(n, dtype=int)
    if isinstance(palette, Mapping):
        missing = [label for label in labels.tolist() if label not in palette]
        if missing:
            raise ValueError(
                f"palette must have a colour for every label, but has none for {listed(missing)}."
            )
        return to_rgba_array([palette[label] for label in labels.tolist()]), alike
    if isinstance(palette, (list, tuple, np.ndarray)):
        if len(palette) < n:
            raise ValueError(
                f"palette must have a colour for each of the {n} labels, got {len(palette)}."
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
    """Return the colormap of a named palette; angles default to the colour circle."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import Colormap, LinearSegmentedColormap

    if palette in (None, "cyclic"):
        hues = [PALETTE[c] if isinstance(c, int) else c for c in (*CIRCLE, CIRCLE[0])]
        return LinearSegmentedColormap.from_list("circle", hues)
    if isinstance(palette, Colormap):
        return palette
    if palette == "sequential":  # without the yellow, which fades on paper
        return LinearSegmentedColormap.from_list(
            "", plt.get_cmap("viridis")(np.linspace(0, 0.93, 64))
        )
    if palette in plt.colormaps():
        return plt.get_cmap(palette)
    raise ValueError(
        f"palette must be one of {', '.join(map(repr, KINDS))}, a matplotlib colormap, a "
        f"mapping from labels to colours, or a list of colours, got {palette!r}"
        f"{did_you_mean(palette, [*KINDS, *plt.colormaps()])}"
    )


def _tell_apart(n, looks):
    """Choose colours (n, 4) and indices of looks (n,) such that no two labels look alike."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import LinearSegmentedColormap, to_rgba_array

    code, n_colours = np.arange(n), len(PALETTE)
    if n <= n_colours * len(looks):
        return to_rgba_array(PALETTE)[code % n_colours], code // n_colours
    warn_user(
        f"Colours and {'line styles' if looks is LINES else 'markers'} can distinguish "
        f"{n_colours * len(looks)} conditions, but there are {n}: some will look alike. Draw a "
        "few conditions at a time, or group them."
    )
    table = plt.get_cmap("turbo")(np.linspace(0, 1, 256))
    return LinearSegmentedColormap.from_list("labels", table, N=n)(code), code % len(looks)


def _as_colours(given, n):
    """Convert one colour, or one for each of n rows, to an array (n, 4)."""
    from matplotlib.colors import is_color_like, to_rgba, to_rgba_array

    try:
        rgba = np.array([to_rgba(given)]) if is_color_like(given) else to_rgba_array(given)
        return np.broadcast_to(rgba, (n, 4))
    except (TypeError, ValueError) as error:
        got = repr(given) if isinstance(given, str) else f"an array of shape {np.shape(given)}"
        raise ValueError(
            "The colour in scatter_kwargs must be a matplotlib colour, or one for each of the "
            f"{n} rows, got {got}. To colour points by value, pass the values as conditions."
        ) from error


def _edge(marker):
    """Return the edge width of a marker: 0 if the marker can be filled."""
    from matplotlib.markers import MarkerStyle

    return 0.0 if MarkerStyle(marker).is_filled() else 1.0


def colour_points(conditions, n, options, **how):
    """Choose the colours of points, some of which options of ``Axes.scatter`` may set.

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
                    f'scatter_kwargs sets "{name}", but conditions already set the colours. Leave '
                    "out one of the two."
                )
            given["colour"] = options.pop(name)
            options.setdefault("alpha", None)  # keep the opacity of the given colour
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
