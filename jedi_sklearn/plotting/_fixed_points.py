"""Where activity settles and where it turns away: fixed points among trajectories."""

from __future__ import annotations

import numpy as np

from .._reduced import check_rnns, own_runs
from .._validation import check_number
from ..fixed_points import FixedPoints, find_fixed_points
from ..flow import principal_axes
from ..preprocessing._recording import time_axis
from ..rnn import warn_if_far
from ._colours import LINES, Colours
from ._common import label_axes, make_axes
from ._trajectories import (
    as_trajectories,
    draw_fixed_points,
    draw_trajectories,
    place_events,
    runs_of_mean,
    samples_of,
    state_labels,
)

__all__ = ["FixedPointDisplay"]

MAX_STARTS = 512  # samples of trajectories from which the search starts


class FixedPointDisplay:
    """Fixed points of one RNN and trajectories, in two or three principal components.

    It is recommended to use :meth:`from_estimator` or :meth:`from_rnns`.

    Parameters
    ----------
    fixed_points : FixedPoints
        Of one RNN, from :func:`~jedi_sklearn.find_fixed_points`.
    trajectories : array-like of shape (n_trajectories, n_timesteps, n_neurons), optional
        States in the units of the RNN, NaN after the end of a shorter one.
    conditions : array-like of shape (n_trajectories,), optional
        Colour of each trajectory: labels, or a continuous quantity.
    unit : str, default="state units"
        Unit of the states.
    time : array-like of shape (n_timesteps,), optional
        Times of the states, s.
    events : mapping of str to float or array-like of shape (n_trajectories,), optional
        Times of events, s on this axis, marked on the trajectories; NaN where there is none.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was drawn on.
    figure_ : matplotlib Figure
        Its figure.
    mean_ : ndarray of shape (n_neurons,)
        State at the origin of the axes.
    components_ : ndarray of shape (n_dims, n_neurons)
        Principal axes drawn; ``(states - mean_) @ components_.T`` are the coordinates.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn import RNNBatch
    >>> from jedi_sklearn.plotting import FixedPointDisplay
    >>> rng = np.random.default_rng(0)
    >>> U, V = rng.normal(size=(2, 30, 2))
    >>> rnn = RNNBatch(U, V + U, dt=0.02, initial_states=U[:, 0], n_timesteps=60)
    >>> display = FixedPointDisplay.from_rnns(rnn)
    >>> display.ax_.get_xlabel()
    'PC 1 (state units), 99 % of variance'
    """

    def __init__(
        self,
        fixed_points,
        trajectories=None,
        conditions=None,
        *,
        unit="state units",
        time=None,
        events=None,
    ):
        self.fixed_points = fixed_points
        self.trajectories = trajectories
        self.conditions = conditions
        self.unit = unit
        self.time = time
        self.events = events

    @classmethod
    def from_estimator(
        cls,
        est,
        X,
        conditions=None,
        *,
        trial=None,
        time=None,
        events=None,
        inputs=None,
        ax=None,
        **plot_options,
    ):
        """Draw the fixed points of one RNN of a fitted estimator.

        Every trial has an RNN of its own. With `trial` it is the RNN of that trial, with its
        free run. Otherwise it is the RNN of the mean embedding of `X`, with the runs of this
        RNN from where each trial starts; give trials that belong together, such as those of one
        condition, because the mean of embeddings far apart need not resemble any trial.

        Parameters
        ----------
        est : JEDIEstimator
            Fitted.
        X : array-like of shape (n_trials, n_timesteps, n_neurons), or Recording
        conditions : array-like of shape (n_trials,), optional
            Colour of each trajectory: labels, or a continuous quantity. Default: the
            labels of a recording.
        trial : int, optional
            Index of the trial in `X`.
        time : array-like of shape (n_timesteps,), optional
            Times of the samples, s. Default: those of a recording, or from 0.
        events : mapping of str to float or array-like of shape (n_trials,), optional
            Times of events in the trials, s, marked on the trajectories. Default: those of a
            recording.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs, if and only if the fit had them. The trajectories are driven by
            them; the fixed points are those without input.
        ax : matplotlib Axes, optional
            Default: those of a new figure.
        **plot_options :
            As in :meth:`plot`.

        Returns
        -------
        FixedPointDisplay
            In units of the RNN's states, ``est.to_states(X)``.
        """
        how = (conditions, trial, time, events, inputs)
        rnn, runs, options = runs_of_mean(est, X, *how)
        return cls.from_rnns(rnn, runs, ax=ax, **options, **plot_options)

    @classmethod
    def from_rnns(
        cls,
        rnns,
        trajectories=None,
        *,
        fixed_points=None,
        conditions=None,
        unit="state units",
        time=None,
        events=None,
        ax=None,
        **plot_options,
    ):
        """Draw the fixed points of an RNN.

        Parameters
        ----------
        rnns : RNNBatch
            A batch of one RNN; select one, e.g. ``rnns[0]``.
        trajectories : array-like of shape (n_trajectories, n_timesteps, n_neurons), optional
            States in the units of the RNN, NaN after the end of a shorter one. Default: its free
            run to the end of its trial, where it knows where to start, else none.
        fixed_points : FixedPoints, optional
            Default: what :func:`~jedi_sklearn.find_fixed_points` finds, starting also from the
            trajectories. Search yourself for slow points or with other settings.
        conditions : array-like of shape (n_trajectories,), optional
            Colour of each trajectory: labels, or a continuous quantity.
        unit : str, default="state units"
            Unit of the states.
        time : array-like of shape (n_timesteps,), optional
            Times of the states, s. Default: from 0, a step apart.
        events : mapping of str to float or array-like of shape (n_trajectories,), optional
            Times of events, s, marked on the trajectories; NaN where there is none.
        ax : matplotlib Axes, optional
            Default: those of a new figure.
        **plot_options :
            As in :meth:`plot`.

        Returns
        -------
        FixedPointDisplay
        """
        rnns = check_rnns(rnns)
        if len(rnns) != 1:
            raise ValueError(
                f"FixedPointDisplay draws one RNN, got {len(rnns)}: select one, e.g. rnns[0]."
            )
        trajectories = as_trajectories(trajectories, rnns.n_neurons)
        if trajectories is None and rnns.has_free_run:
            trajectories = own_runs(rnns)[0][np.newaxis]
        if trajectories is not None:
            time = time_axis(time, rnns.dt, trajectories.shape[1])[0]
        if fixed_points is None:
            starts = None
            if trajectories is not None:
                starts = samples_of(trajectories)
                chosen = np.linspace(0, len(starts) - 1, min(MAX_STARTS, len(starts)))
                starts = starts[np.newaxis, chosen.astype(int)]
            fixed_points = find_fixed_points(rnns, starts)[0]
        elif not isinstance(fixed_points, FixedPoints):
            raise TypeError(
                "fixed_points must be the FixedPoints of one RNN (find_fixed_points(rnns)[0]), "
                f"got {type(fixed_points).__name__}."
            )
        elif trajectories is not None:
            warn_if_far(rnns, trajectories)
        axis = {"unit": unit, "time": time, "events": events}
        display = cls(fixed_points, trajectories, conditions, **axis)
        return display.plot(ax=ax, **plot_options)

    def plot(
        self,
        n_dims=2,
        ax=None,
        *,
        cyclic="auto",
        order=None,
        palette=None,
        conditions_label=None,
        margin=None,
        legend=True,
    ):
        """Draw fixed points and trajectories.

        Squares are where trajectories start, arrows say which way time goes. Of more than 24
        trajectories that belong to a few labels the means are drawn, over all of them in faint.

        Parameters
        ----------
        n_dims : {2, 3}, default=2
            Number of principal components, of the trajectories, or of the fixed points where
            there are no trajectories. Three need axes made with ``projection="3d"``.
        ax : matplotlib Axes, optional
            Default: those of a new figure, in two dimensions with equal scales.
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
        margin : float, optional
            Leave out fixed points that lie outside the range of the trajectories by more than
            this, as a share of that range in each component shown. Default: all are drawn.
        legend : bool, default=True
            Draw the legend, and the colour bar of continuous conditions.

        Returns
        -------
        FixedPointDisplay

        Notes
        -----
        Points that are far from the plane are drawn on it like those that lie in it.
        """
        if n_dims not in (2, 3):
            raise ValueError(f"n_dims must be 2 or 3, got {n_dims!r}.")
        points = self.fixed_points
        if not isinstance(points, FixedPoints):
            raise TypeError(
                "FixedPointDisplay draws the FixedPoints of one RNN (find_fixed_points(rnns)[0]), "
                f"got {type(points).__name__}."
            )
        n_neurons = points.points.shape[1]
        trajectories = as_trajectories(self.trajectories, n_neurons)
        n_lines = 0 if trajectories is None else len(trajectories)
        if trajectories is None and self.conditions is not None:
            raise ValueError("conditions colour trajectories, and there are none.")
        if trajectories is None and margin is not None:
            raise ValueError("margin is about trajectories, and there are none.")
        if trajectories is None and len(points) < n_dims:
            raise ValueError(
                f"{len(points)} fixed point(s) do not span {n_dims} dimensions: give trajectories."
            )
        states = points.points if trajectories is None else samples_of(trajectories)
        mean, axes = principal_axes(states, n_dims)
        how = {"order": order, "palette": palette}
        colours = Colours(self.conditions, n_lines, cyclic, LINES, **how)
        marks = {}
        if self.events:
            if trajectories is None or self.time is None:
                raise ValueError("events need trajectories, and time, the times of their states.")
            time = time_axis(self.time, None, trajectories.shape[1])[0]
            marks = place_events(self.events, time, n_lines)
        own_axes = ax is None
        ax = make_axes(ax, n_dims, figsize=(6.2, 4.4))
        if own_axes and n_dims == 2:  # a ring is to look like one
            ax.set_aspect("equal", adjustable="datalim")
        handles = []
        coordinates = (points.points - mean) @ axes.T
        if trajectories is not None:
            lines = (trajectories - mean) @ axes.T
            handles += draw_trajectories(ax, lines, colours, marks)
            if margin is not None:
                check_number(margin, "margin", low=0)
                low, high = np.nanmin(lines, axis=(0, 1)), np.nanmax(lines, axis=(0, 1))
                room = margin * (high - low)
                near = (coordinates >= low - room) & (coordinates <= high + room)
                points, coordinates = points[near.all(axis=1)], coordinates[near.all(axis=1)]
        handles += draw_fixed_points(ax, coordinates, points)
        label_axes(ax, state_labels("PC", self.unit, states, mean, axes))
        if legend:
            colours.explain(ax, conditions_label, handles, grow=own_axes)
        self.ax_, self.figure_ = ax, ax.figure
        self.mean_, self.components_ = mean, axes
        return self
