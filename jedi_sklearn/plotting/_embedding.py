"""Which trials have similar dynamics: a plot of their embeddings, coloured by condition."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from scipy.special import ndtri

from .._validation import as_numbers
from ._colours import colour_points, scatter
from ._common import (
    check_jedi,
    fade,
    import_pyplot,
    label_axes,
    labels_of,
    make_axes,
    share_text,
    view_points,
)
from ._html import as_svg

__all__ = ["EmbeddingDisplay"]


class EmbeddingDisplay:
    """Embeddings of trials along one, two or three of their components.

    Create it with :meth:`from_estimator` or :meth:`from_embedding`.

    Parameters
    ----------
    embedding : array-like of shape (n_trials, n_components)
        Embedding of each trial.
    conditions : array-like of shape (n_trials,), optional
        Labels, or values of a continuous quantity, that set the colour of each trial.
    covariance : array-like of shape (n_trials, n_components, n_components), optional
        Posterior covariance of each embedding.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that hold the plot.
    figure_ : matplotlib Figure
        Figure that holds the axes.
    coordinates_ : ndarray of shape (n_trials, n_dims)
        Position of each trial on the axes.
    ellipses_ : list of matplotlib Ellipse
        One for each trial; empty if uncertainty is not drawn, or for one component.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn.plotting import EmbeddingDisplay
    >>> E = np.random.default_rng(0).normal(size=(20, 4))
    >>> display = EmbeddingDisplay.from_embedding(E, ["left", "right"] * 10, components=(0, 2))
    >>> display.ax_.get_ylabel()
    'embedding, component 3 (SD), 30 %'
    """

    def __init__(self, embedding, conditions=None, covariance=None):
        self.embedding = embedding
        self.conditions = conditions
        self.covariance = covariance

    @classmethod
    def from_estimator(
        cls, est, X, conditions=None, *, uncertainty=False, inputs=None, ax=None, **plot_options
    ):
        """Draw the embeddings of trials, inferred from their activity.

        Parameters
        ----------
        est : JEDIEstimator
            Fitted estimator.
        X : array-like of shape (n_trials, n_timesteps, n_neurons), or Recording
            Activity of the trials, with NaN for missing samples.
        conditions : array-like of shape (n_trials,), optional
            Labels, or values of a continuous quantity, that set the colour of each trial.
            Default: the labels of a recording.
        uncertainty : bool, default=False
            Draw the posterior of each embedding as an ellipse or, for one component, an interval.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs; required if, and only if, the model was fitted with inputs.
        ax : matplotlib Axes, optional
            Axes to draw on. Default: axes of a new figure.
        **plot_options :
            Options of :meth:`plot`.

        Returns
        -------
        EmbeddingDisplay
            The display, with `ax_` and `figure_` set.
        """
        check_jedi(est)
        conditions = labels_of(X, conditions)
        found = est.posterior(X, inputs=inputs)
        display = cls(found.mean, conditions, found.covariance)
        return display.plot(ax=ax, uncertainty=uncertainty, **plot_options)

    @classmethod
    def from_embedding(cls, embedding, conditions=None, *, ax=None, **plot_options):
        """Draw given embeddings.

        Parameters
        ----------
        embedding : array-like of shape (n_trials, n_components)
            Embeddings, as ``transform`` returns them, or ``embedding_`` of the training trials.
        conditions : array-like of shape (n_trials,), optional
            Labels, or values of a continuous quantity, that set the colour of each trial.
        ax : matplotlib Axes, optional
            Axes to draw on. Default: axes of a new figure.
        **plot_options :
            Options of :meth:`plot`.

        Returns
        -------
        EmbeddingDisplay
            The display, with `ax_` and `figure_` set.
        """
        return cls(embedding, conditions).plot(ax=ax, **plot_options)

    def plot(
        self,
        components=None,
        ax=None,
        *,
        uncertainty=False,
        confidence=0.95,
        cyclic="auto",
        order=None,
        palette=None,
        conditions_label=None,
        unit="SD",
        legend=True,
        scatter_kwargs=None,
    ):
        """Draw the embeddings.

        Each axis label gives the component's share of the total variance of these embeddings. A
        few trials that lie far from all others may be out of view; the legend says how many.

        Parameters
        ----------
        components : tuple of one to three int, optional
            Components to draw, counted from 0; axis labels count from 1. A single component is
            drawn against the index of the trial. Three components need axes made with
            ``projection="3d"``. Default: the first two, or the only one.
        ax : matplotlib Axes, optional
            Axes to draw on. Default: axes of a new figure.
        uncertainty : bool, default=False
            Draw the posterior of each embedding as an ellipse or, for one component, an interval.
            Not available for three components.
        confidence : float, default=0.95
            Posterior probability that an ellipse or interval holds.
        cyclic : bool, float or "auto", default="auto"
            Whether numeric conditions are angles. A number is their period; True means 2 pi.
            "auto" treats values that divide a circle of 360 or 2 pi evenly as angles.
        order : sequence of labels, optional
            Order in which labels appear in the legend and take their colours. Default: sorted,
            with "s2" before "s10".
        palette : str, mapping or sequence of colours, optional
            "qualitative", "sequential" or "cyclic", the name of a matplotlib colormap, a mapping
            from labels to colours, or a sequence of colours in the order of the labels. Default:
            "qualitative" for labels, "sequential" for other numbers, "cyclic" for angles.
        conditions_label : str, optional
            Title of the legend, or label of the colour bar, such as "direction (rad)".
        unit : str, default="SD"
            Unit of the components, for the axis labels: the SD over the training trials of the
            last component, which is 1.
        legend : bool, default=True
            Draw the legend, or the colour bar if conditions are continuous.
        scatter_kwargs : dict, optional
            Options of ``Axes.scatter``. A colour, or one for each trial, is possible only without
            conditions. A marker replaces those that distinguish labels of the same colour.

        Returns
        -------
        EmbeddingDisplay
            The display, with `ax_` and `figure_` set.
        """
        E = as_numbers(self.embedding, "embedding")
        if E.ndim != 2 or not E.size:
            raise ValueError(f"embedding must have shape (n_trials, n_components), got {E.shape}.")
        if not np.isfinite(E).all():
            raise ValueError("embedding holds NaN or infinite values.")
        components = _check_components(components, E.shape[1])
        if uncertainty:
            covariance = self._covariance_of(components, E)
            if not isinstance(confidence, Real) or not 0 < confidence < 1:
                raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}.")
        how = {"cyclic": cyclic, "order": order, "palette": palette}
        colours, given = colour_points(self.conditions, len(E), scatter_kwargs, **how)
        make_figure = ax is None
        ax = make_axes(ax, max(2, len(components)), figsize=(5.6, 4.2))
        shown = E[:, components]
        name = "component" if len(components) == 3 else "embedding, component"
        labels = [f"{name} {i + 1} ({unit})" for i in components]
        variance = E.var(axis=0)
        if E.shape[1] > 1 and variance.sum() > 0:
            shares = variance[components] / variance.sum()
            labels = [f"{a}, {share_text(s)}" for a, s in zip(labels, shares, strict=True)]
        if len(components) == 1:
            shown, labels = np.column_stack([np.arange(len(E)), shown]), ["trial", *labels]
        self.ellipses_ = []
        if uncertainty:
            draw = _draw_intervals if len(components) == 1 else _draw_ellipses
            self.ellipses_ = draw(ax, shown, covariance, confidence, colours)
        scatter(ax, shown, colours, **({"alpha": fade(len(E), 0.4)} | given))
        label_axes(ax, labels)
        self.coordinates_ = shown
        notes = view_points(ax, shown) if shown.shape[1] == 2 else []
        if legend:
            colours.explain(ax, conditions_label, notes, grow=make_figure)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def to_svg(self, names=None, **plot_options):
        """Draw the embeddings as SVG that names the trial under the mouse pointer.

        Parameters
        ----------
        names : sequence of str of length n_trials, optional
            Text to show for each trial. Default: its index and its condition.
        **plot_options :
            Options of :meth:`plot` other than `ax`, with one or two components.

        Returns
        -------
        str
            SVG to embed in an HTML page, or to show with ``IPython.display.HTML``.

        Examples
        --------
        >>> from jedi_sklearn.plotting import EmbeddingDisplay
        >>> svg = EmbeddingDisplay([[0, 1], [1, 0]], ["left", "right"]).to_svg()
        >>> "<title>trial 1, right</title>" in svg
        True
        """
        plt = import_pyplot()
        if names is None:
            names = [f"trial {k}" for k in range(len(self.embedding))]
            if self.conditions is not None:
                named = zip(names, self.conditions, strict=True)
                names = [f"{name}, {condition}" for name, condition in named]
        elif len(names) != len(self.embedding):
            raise ValueError(
                f"names must name all {len(self.embedding)} trials, got {len(names)}."
            )
        with plt.ioff():
            self.plot(**plot_options)
        if hasattr(self.ax_, "get_zlim"):
            plt.close(self.figure_)
            raise ValueError("to_svg draws one or two components, got three. Select at most two.")
        self.figure_.set_dpi(72)  # the resolution of SVG
        self.figure_.draw_without_rendering()
        places = self.ax_.transData.transform(self.coordinates_)
        seen = self.ax_.bbox.contains
        shown = [i for i, place in enumerate(places) if seen(*place)]
        return as_svg(self.figure_, places[shown], [names[i] for i in shown])

    def _covariance_of(self, components, E):
        if len(components) == 3:
            raise ValueError("uncertainty needs one or two components, got three.")
        if self.covariance is None:
            raise ValueError(
                "uncertainty needs the covariance of each embedding: use from_estimator, or pass "
                "est.posterior(X).covariance to the constructor."
            )
        covariance = as_numbers(self.covariance, "covariance")
        if covariance.shape != (*E.shape, E.shape[1]):
            raise ValueError(
                f"covariance must have shape {(*E.shape, E.shape[1])}, got {covariance.shape}."
            )
        return covariance[:, components][:, :, components]


def _check_components(components, n):
    """Check one to three distinct components; the default is the first two, or the only one."""
    if components is None:
        components = range(min(2, n))
    given = tuple(np.atleast_1d(components).tolist())
    whole = all(isinstance(i, Integral) for i in given)
    if not 1 <= len(given) <= 3 or not whole or len(set(given)) < len(given):
        raise ValueError(f"components must be one to three distinct integers, got {components!r}.")
    if min(given) < 0 or max(given) >= n:
        raise ValueError(
            f"components must lie in 0 to {n - 1}, for an embedding of {n} component(s), got "
            f"{components!r}."
        )
    return list(given)


def _draw_intervals(ax, points, covariance, confidence, colours):
    """Draw intervals that hold a given share of normal distributions; return no ellipses."""
    half = ndtri((1 + confidence) / 2) * np.sqrt(np.maximum(covariance[:, 0, 0], 0))
    trial, mean = points.T
    opacity = 0.7 * fade(5 * len(points))
    style = {"colors": colours.rgba, "alpha": opacity, "lw": 0.7, "zorder": 1, "gid": "interval"}
    ax.vlines(trial, mean - half, mean + half, **style)
    return []


def _draw_ellipses(ax, centres, covariance, confidence, colours):
    """Draw ellipses that hold a given share of normal distributions."""
    import_pyplot()
    from matplotlib.patches import Ellipse

    variance, directions = np.linalg.eigh(covariance)
    # quantile of chi-squared with two degrees of freedom
    widths = 2 * np.sqrt(-2 * np.log(1 - confidence) * np.maximum(variance, 0))
    angles = np.degrees(np.arctan2(directions[:, 1, 1], directions[:, 0, 1]))
    opacity = fade(5 * len(centres))
    ellipses = []
    for centre, (minor, major), angle, colour in zip(
        centres, widths, angles, colours.rgba, strict=True
    ):
        face, edge = (*colour[:3], 0.15 * opacity), (*colour[:3], 0.7 * opacity)
        ellipse = Ellipse(centre, major, minor, angle=angle, fc=face, ec=edge, lw=0.7, zorder=1)
        ellipses.append(ax.add_patch(ellipse))
    return ellipses
