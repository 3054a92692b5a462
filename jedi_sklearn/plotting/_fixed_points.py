"""Where activity settles and where it turns away: fixed points drawn among trajectories."""

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
    """Fixed points and trajectories of one RNN in two or three principal components.

    Create it with :meth:`from_estimator` or :meth:`from_rnns`.

    Parameters
    ----------
    fixed_points : FixedPoints
        Fixed points of one RNN, from :func:`~jedi_sklearn.find_fixed_points`.
    trajectories : array-like of shape (n_trajectories, n_timesteps, n_neurons), optional
        States in the units of the RNN, with NaN after the end of a shorter one.
    conditions : array-like of shape (n_trajectories,), optional
        Labels, or values of a continuous quantity, that set the colour of each trajectory.
    unit : str, default="state units"
        Unit of the states.
    time : array-like of shape (n_timesteps,), optional
        Times of the states, s.
    events : mapping of str to float or array-like of shape (n_trajectories,), optional
        Times of events on this time axis, s, marked on the trajectories. NaN where a trajectory
        lacks the event.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that hold the plot.
    figure_ : matplotlib Figure
        Figure that holds the axes.
    mean_ : ndarray of shape (n_neurons,)
        State at the origin of the plot.
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

        Every trial has its own RNN. With `trial`, the RNN of that trial is drawn with its free
        run. Otherwise the RNN of the mean embedding of `X` is drawn, with its runs from the
        initial state of each trial. Pass trials that belong together, such as those of one
        condition, because the mean of distant embeddings need not resemble any trial.

        Parameters
        ----------
        est : JEDIEstimator
            Fitted estimator.
        X : array-like of shape (n_trials, n_timesteps, n_neurons), or Recording
            Activity of the trials, with NaN for missing samples.
        conditions : array-like of shape (n_trials,), optional
            Labels, or values of a continuous quantity, that set the colour of each trajectory.
            Default: the labels of a recording.
        trial : int, optional
            Index of the trial in `X`.
        time : array-like of shape (n_timesteps,), optional
            Times of the samples, s. Default: those of a recording, or starting at 0.
        events : mapping of str to float or array-like of shape (n_trials,), optional
            Times of events in the trials, s, marked on the trajectories. Default: those of a
            recording.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs; required if, and only if, the model was fitted with inputs. They drive
            the trajectories; the fixed points are those without input.
        ax : matplotlib Axes, optional
            Axes to draw on. Default: axes of a new figure.
        **plot_options :
            Options of :meth:`plot`.

        Returns
        -------
        FixedPointDisplay
            The display, with states in the units of ``est.to_states(X)``.
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
            A batch of one RNN; select it with, for example, ``rnns[0]``.
        trajectories : array-like of shape (n_trajectories, n_timesteps, n_neurons), optional
            States in the units of the RNN, with NaN after the end of a shorter one. Default:
            the free run of the RNN to the end of its trial if it has an initial state, else none.
        fixed_points : FixedPoints, optional
            Points to draw. Default: those that :func:`~jedi_sklearn.find_fixed_points` finds when
            it also starts from the trajectories. Run the search yourself to get slow points or to
            change its settings.
        conditions : array-like of shape (n_trajectories,), optional
            Labels, or values of a continuous quantity, that set the colour of each trajectory.
        unit : str, default="state units"
            Unit of the states.
        time : array-like of shape (n_timesteps,), optional
            Times of the states, s. Default: starting at 0, one step of the RNN apart.
        events : mapping of str to float or array-like of shape (n_trajectories,), optional
            Times of events, s, marked on the trajectories. NaN where a trajectory lacks the
            event.
        ax : matplotlib Axes, optional
            Axes to draw on. Default: axes of a new figure.
        **plot_options :
            Options of :meth:`plot`.

        Returns
        -------
        FixedPointDisplay
            The display, with `ax_` and `figure_` set.
        """
        rnns = check_rnns(rnns)
        if len(rnns) != 1:
            raise ValueError(
                f"FixedPointDisplay draws one RNN, got {len(rnns)}. Select one, e.g. rnns[0]."
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

        Squares mark where trajectories start, and arrows give the direction of time. If more than
        24 trajectories share a few labels, the mean of each label is drawn over faint
        trajectories.

        Parameters
        ----------
        n_dims : {2, 3}, default=2
            Number of principal components. They are those of the trajectories, or of the fixed
            points if there are no trajectories. Three need axes made with ``projection="3d"``.
        ax : matplotlib Axes, optional
            Axes to draw on. Default: axes of a new figure; two-dimensional ones have equal
            scales.
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
        margin : float, optional
            Leave out fixed points that lie outside the range of the trajectories by more than
            this share of the range, in any component shown. Default: draw all.
        legend : bool, default=True
            Draw the legend, and the colour bar if conditions are continuous.

        Returns
        -------
        FixedPointDisplay
            The display, with `ax_` and `figure_` set.

        Notes
        -----
        Points far from the plane are projected onto it and look the same as points in it.
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
            raise ValueError(
                "conditions need trajectories: pass trajectories, or leave conditions out."
            )
        if trajectories is None and margin is not None:
            raise ValueError("margin needs trajectories: pass trajectories, or leave margin out.")
        if trajectories is None and len(points) < n_dims:
            raise ValueError(
                f"{len(points)} fixed point(s) cannot span {n_dims} dimensions: pass trajectories."
            )
        states = points.points if trajectories is None else samples_of(trajectories)
        mean, axes = principal_axes(states, n_dims)
        how = {"order": order, "palette": palette}
        colours = Colours(self.conditions, n_lines, cyclic, LINES, **how)
        marks = {}
        if self.events:
            if trajectories is None or self.time is None:
                raise ValueError("events need trajectories, and time: the times of their states.")
            time = time_axis(self.time, None, trajectories.shape[1])[0]
            marks = place_events(self.events, time, n_lines)
        own_axes = ax is None
        ax = make_axes(ax, n_dims, figsize=(6.2, 4.4))
        if own_axes and n_dims == 2:  # a ring should look like a ring
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
