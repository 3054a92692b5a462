"""Which trials have similar dynamics: their embeddings, coloured by condition."""

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
    """Embeddings of trials in one, two or three of their components.

    It is recommended to use :meth:`from_estimator` or :meth:`from_embedding`.

    Parameters
    ----------
    embedding : array-like of shape (n_trials, n_components)
    conditions : array-like of shape (n_trials,), optional
        Colour of each trial: labels, or a continuous quantity.
    covariance : array-like of shape (n_trials, n_components, n_components), optional
        Posterior covariance of each embedding.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on.
    figure_ : matplotlib Figure
        Its figure.
    coordinates_ : ndarray of shape (n_trials, n_dims)
        Where each trial is in the axes.
    ellipses_ : list of matplotlib Ellipse
        One for each trial; empty without uncertainty, or with one component.

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
            Fitted.
        X : array-like of shape (n_trials, n_timesteps, n_neurons), or Recording
        conditions : array-like of shape (n_trials,), optional
            Colour of each trial: labels, or a continuous quantity. Default: the
            labels of a recording.
        uncertainty : bool, default=False
            Draw the posterior of each embedding as an ellipse, or an interval.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs, if and only if the fit had them.
        ax : matplotlib Axes, optional
            Default: those of a new figure.
        **plot_options :
            As in :meth:`plot`.

        Returns
        -------
        EmbeddingDisplay
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
            As from ``transform``, or the attribute ``embedding_`` of the training trials.
        conditions : array-like of shape (n_trials,), optional
            Colour of each trial: labels, or a continuous quantity.
        ax : matplotlib Axes, optional
            Default: those of a new figure.
        **plot_options :
            As in :meth:`plot`.

        Returns
        -------
        EmbeddingDisplay
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

        The axes say which share of the variance of the embeddings drawn, over all components,
        each of them has. A few trials that lie far from all others are out of view, and counted
        in the legend.

        Parameters
        ----------
        components : tuple of one to three int, optional
            Which components, counted from 0; the axes are labelled from 1. One is drawn over the
            trials, in the order of the rows; three need axes made with ``projection="3d"``.
            Default: the first two, or the only one.
        ax : matplotlib Axes, optional
            Default: those of a new figure.
        uncertainty : bool, default=False
            Draw the posterior covariance of each embedding as an ellipse, of one component as an
            interval; not of three.
        confidence : float, default=0.95
            Posterior probability inside an ellipse or interval.
        cyclic : bool, float or "auto", default="auto"
            Whether numbers are angles, and their period; True stands for 2 pi. "auto": those that
            divide a circle of 360 or 2 pi evenly.
        order : sequence of labels, optional
            Order of the labels in the legend and in the colours. Default: sorted, "s2" before
            "s10".
        palette : str, mapping or sequence of colours, optional
            "qualitative", "sequential" or "cyclic", the name of a colormap of matplotlib, a
            colour for each label, or colours in the order of labels. Default: colours that are
            told apart for labels, "sequential" for other numbers, "cyclic" for angles.
        conditions_label : str, optional
            Title of the legend or label of the colour bar, e.g. "direction (rad)".
        unit : str, default="SD"
            Unit of the components: embeddings have SD 1 over the training trials.
        legend : bool, default=True
            Draw the legend, or the colour bar of continuous conditions.
        scatter_kwargs : dict, optional
            Passed to ``Axes.scatter``. A colour, or one for each trial, takes the place
            of conditions; a marker that of those by which labels of one colour differ.

        Returns
        -------
        EmbeddingDisplay
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
        """Draw the embeddings as SVG in which pointing at a trial shows what it is.

        Parameters
        ----------
        names : sequence of str of length n_trials, optional
            What to show of each trial. Default: its index, and its condition.
        **plot_options :
            As in :meth:`plot`, but for `ax`, of one or two components.

        Returns
        -------
        str
            To be put into a page of HTML, or shown by ``IPython.display.HTML``.

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
            raise ValueError("to_svg draws one or two components, got three.")
        self.figure_.set_dpi(72)  # as SVG is drawn
        self.figure_.draw_without_rendering()
        places = self.ax_.transData.transform(self.coordinates_)
        seen = self.ax_.bbox.contains
        shown = [i for i, place in enumerate(places) if seen(*place)]
        return as_svg(self.figure_, places[shown], [names[i] for i in shown])

    def _covariance_of(self, components, E):
        if len(components) == 3:
            raise ValueError("Ellipses of uncertainty need two components, got three.")
        if self.covariance is None:
            raise ValueError(
                "uncertainty needs the covariance of each embedding: use from_estimator, or give "
                "est.posterior(X).covariance to the constructor."
            )
        covariance = as_numbers(self.covariance, "covariance")
        if covariance.shape != (*E.shape, E.shape[1]):
            raise ValueError(
                f"covariance must have shape {(*E.shape, E.shape[1])}, got {covariance.shape}."
            )
        return covariance[:, components][:, :, components]


def _check_components(components, n):
    """One to three different components that exist; by default two, if there are two."""
    if components is None:
        components = range(min(2, n))
    given = tuple(np.atleast_1d(components).tolist())
    whole = all(isinstance(i, Integral) for i in given)
    if not 1 <= len(given) <= 3 or not whole or len(set(given)) < len(given):
        raise ValueError(
            f"components must be one, two or three different integers, got {components!r}."
        )
    if min(given) < 0 or max(given) >= n:
        raise ValueError(
            f"components must lie in 0 to {n - 1}, for an embedding of {n} component(s), got "
            f"{components!r}."
        )
    return list(given)


def _draw_intervals(ax, points, covariance, confidence, colours):
    """Intervals that hold a given share of normal distributions; no ellipses."""
    half = ndtri((1 + confidence) / 2) * np.sqrt(np.maximum(covariance[:, 0, 0], 0))
    trial, mean = points.T
    opacity = 0.7 * fade(5 * len(points))
    style = {"colors": colours.rgba, "alpha": opacity, "lw": 0.7, "zorder": 1, "gid": "interval"}
    ax.vlines(trial, mean - half, mean + half, **style)
    return []


def _draw_ellipses(ax, centres, covariance, confidence, colours):
    """Ellipses that hold a given share of normal distributions."""
    import_pyplot()
    from matplotlib.patches import Ellipse

    variance, directions = np.linalg.eigh(covariance)
    # chi-squared of two degrees of freedom
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
