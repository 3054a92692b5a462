"""Which way states in a plane move, and how fast: a plot of a flow field."""

from __future__ import annotations

import numpy as np

from .._reduced import own_runs
from .._validation import check_option
from ..fixed_points import FixedPoints, find_fixed_points
from ..flow import flow_field
from ..preprocessing._recording import time_axis
from ..rnn import warn_if_far
from ._colours import LINES, Colours
from ._common import add_colorbar, add_legend, label_axes, make_axes
from ._trajectories import (
    as_trajectories,
    draw_fixed_points,
    draw_trajectories,
    place_events,
    runs_of_mean,
    samples_of,
    state_labels,
)

__all__ = ["FlowFieldDisplay"]

KINDS = ("stream", "quiver")
DECADES = 2  # range of the colour bar below the highest speed
MAX_ARROWS = 18  # along each axis, for kind="quiver"


class FlowFieldDisplay:
    """Flow of one RNN in a plane: directions drawn over the speed.

    Create it with :meth:`from_estimator` or :meth:`from_rnns`.

    Parameters
    ----------
    field : FlowField
        Flow from :func:`~jedi_sklearn.flow_field`.
    trajectories : array-like of shape (n_trajectories, n_timesteps, n_neurons), optional
        States in the units of the RNN; their projections onto the plane are drawn.
    fixed_points : FixedPoints, optional
        Fixed points of this RNN; their projections onto the plane are drawn.
    unit : str, default="state units"
        Unit of the states.
    time : array-like of shape (n_timesteps,), optional
        Times of the states of the trajectories, s.
    events : mapping of str to float or array-like of shape (n_trajectories,), optional
        Times of events on this time axis, s, marked on the trajectories. NaN where a trajectory
        lacks the event.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that hold the plot.
    figure_ : matplotlib Figure
        Figure that holds the axes.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn import RNNBatch
    >>> from jedi_sklearn.plotting import FlowFieldDisplay
    >>> rnn = RNNBatch.from_dense([[1.5, -1.0], [1.0, 1.5]])
    >>> display = FlowFieldDisplay.from_rnns(rnn, axes=np.eye(2), extent=2.0, fixed_points=True)
    >>> display.ax_.get_xlabel()
    'axis 1 (state units)'
    """

    def __init__(
        self,
        field,
        trajectories=None,
        fixed_points=None,
        *,
        unit="state units",
        time=None,
        events=None,
    ):
        self.field = field
        self.trajectories = trajectories
        self.fixed_points = fixed_points
        self.unit = unit
        self.time = time
        self.events = events

    @classmethod
    def from_estimator(
        cls,
        est,
        X,
        *,
        trial=None,
        fixed_points=None,
        time=None,
        events=None,
        inputs=None,
        ax=None,
        **plot_options,
    ):
        """Draw the flow of one RNN of a fitted estimator.

        The RNN and the trajectories are chosen as in :meth:`FixedPointDisplay.from_estimator`:
        those of one trial, or of the mean embedding of trials that belong together. The flow is
        that without input.

        Parameters
        ----------
        est : JEDIEstimator
            Fitted estimator.
        X : array-like of shape (n_trials, n_timesteps, n_neurons), or Recording
            Activity of the trials, with NaN for missing samples.
        trial : int, optional
            Index of the trial in `X`.
        fixed_points : FixedPoints or bool, optional
            Fixed points to draw. True searches for them, starting also from the trajectories.
        time : array-like of shape (n_timesteps,), optional
            Times of the samples, s. Default: those of a recording, or starting at 0.
        events : mapping of str to float or array-like of shape (n_trials,), optional
            Times of events in the trials, s, marked on the trajectories. Default: those of a
            recording.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs; required if, and only if, the model was fitted with inputs. They drive
            the trajectories.
        ax : matplotlib Axes, optional
            Axes to draw on. Default: axes of a new figure.
        **plot_options :
            Options of :meth:`plot`.

        Returns
        -------
        FlowFieldDisplay
            The display, with states in the units of ``est.to_states(X)``.
        """
        rnn, runs, options = runs_of_mean(est, X, None, trial, time, events, inputs)
        del options["conditions"]
        how = {"trajectories": runs, "fixed_points": fixed_points, "ax": ax}
        return cls.from_rnns(rnn, samples_of(runs), **how, **options, **plot_options)

    @classmethod
    def from_rnns(
        cls,
        rnns,
        states=None,
        *,
        axes=None,
        origin=None,
        extent=None,
        n_grid=41,
        inputs=None,
        trajectories=None,
        fixed_points=None,
        unit="state units",
        time=None,
        events=None,
        ax=None,
        **plot_options,
    ):
        """Draw the flow of an RNN.

        Parameters
        ----------
        rnns : RNNBatch
            A batch of one RNN; select it with, for example, ``rnns[0]``.
        states : array-like of shape (..., n_neurons), optional
            States whose first two principal components span the plane, unless `axes` is given.
            Default: `trajectories`, or the free run of the RNN.
        axes, origin, extent, n_grid, inputs : optional
            Plane, grid and constant input, as in :func:`~jedi_sklearn.flow_field`.
        trajectories : array-like of shape (n_trajectories, n_timesteps, n_neurons), optional
            Trajectories to draw. Default: `states` if they have this shape, or the free run of
            the RNN to the end of its trial.
        fixed_points : FixedPoints or bool, optional
            Fixed points to draw. True searches for them, starting also from the trajectories.
        unit : str, default="state units"
            Unit of the states; "SD" for RNNs of a JEDIEstimator that scales.
        time : array-like of shape (n_timesteps,), optional
            Times of the states of the trajectories, s. Default: starting at 0, one step of the
            RNN apart.
        events : mapping of str to float or array-like of shape (n_trajectories,), optional
            Times of events, s, marked on the trajectories. NaN where a trajectory lacks the
            event.
        ax : matplotlib Axes, optional
            Axes to draw on. Default: axes of a new figure.
        **plot_options :
            Options of :meth:`plot`.

        Returns
        -------
        FlowFieldDisplay
            The display, with `ax_` and `figure_` set.
        """
        if states is None and axes is None:
            states = trajectories
        elif trajectories is not None:
            warn_if_far(rnns, as_trajectories(trajectories, rnns.n_neurons))
        if states is None and trajectories is None and rnns.has_free_run:
            trajectories = own_runs(rnns)[0][np.newaxis]
        field = flow_field(
            rnns, states, axes=axes, origin=origin, extent=extent, n_grid=n_grid, inputs=inputs
        )
        if trajectories is None and states is not None and np.ndim(states) == 3:
            trajectories = states
        if fixed_points is True:
            starts = as_trajectories(trajectories, field.axes.shape[1])
            if starts is not None:
                starts = samples_of(starts)
                starts = starts[:: max(1, len(starts) // 512)]
            fixed_points = find_fixed_points(rnns, starts, inputs=inputs)[0]
        elif fixed_points is False:
            fixed_points = None
        elif fixed_points is not None and not isinstance(fixed_points, FixedPoints):
            raise TypeError(
                "fixed_points must be a bool, or the FixedPoints of one RNN "
                f"(find_fixed_points(rnns)[0]), got {type(fixed_points).__name__}."
            )
        if trajectories is not None:
            trajectories = as_trajectories(trajectories, field.axes.shape[1])
            time = time_axis(time, rnns.dt, trajectories.shape[1])[0]
        axis = {"unit": unit, "time": time, "events": events}
        display = cls(field, trajectories, fixed_points, **axis)
        # unless axes are given, principal components span the plane
        name = "PC" if axes is None else "axis"
        return display.plot(ax=ax, **({"axis_name": name} | plot_options))

    def plot(
        self,
        kind="stream",
        ax=None,
        *,
        axis_name="PC",
        cmap="viridis",
        legend=True,
        colorbar=True,
    ):
        """Draw the flow.

        Parameters
        ----------
        kind : {"stream", "quiver"}, default="stream"
            Streamlines, or arrows of equal length. Both show the direction within the plane.
        ax : matplotlib Axes, optional
            Axes to draw on. Default: axes of a new figure.
        axis_name : str, default="PC"
            Name of the axes in their labels.
        cmap : str or matplotlib Colormap, default="viridis"
            Colours of the speed, on a logarithmic scale of at most two decades.
        legend : bool, default=True
            Draw the legend of fixed points and trajectories.
        colorbar : bool, default=True
            Draw the colour bar of the speed.

        Returns
        -------
        FlowFieldDisplay
            The display, with `ax_` and `figure_` set.

        Notes
        -----
        The speed is that of the whole state, including the part that leaves the plane. Fixed
        points and trajectories are projections: if a fixed point lies off the plane, the speed
        under its marker need not be small.
        """
        check_option(kind, "kind", KINDS)
        field = self.field
        trajectories = as_trajectories(self.trajectories, field.axes.shape[1])
        marks = {}
        if self.events:
            if trajectories is None or self.time is None:
                raise ValueError("events need trajectories, and time: the times of their states.")
            time = time_axis(self.time, None, trajectories.shape[1])[0]
            marks = place_events(self.events, time, len(trajectories))
        ax = make_axes(ax, figsize=(6.4, 4.4))
        from matplotlib.colors import LogNorm
        from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

        fastest = field.speed.max()
        fastest = fastest if fastest > 0 else 1.0
        slowest = max(field.speed.min(), fastest / 10**DECADES)
        cut = field.speed.min() < slowest
        mesh = ax.pcolormesh(
            field.x,
            field.y,
            np.maximum(field.speed, np.finfo(float).tiny),
            norm=LogNorm(min(slowest, 0.99 * fastest), fastest),
            cmap=cmap,
            shading="gouraud",
            zorder=0,
        )
        u, v = field.velocity[..., 0], field.velocity[..., 1]
        size = np.hypot(u, v)
        if kind == "stream":
            ax.streamplot(
                field.x,
                field.y,
                u,
                v,
                color=(1, 1, 1, 0.75),
                linewidth=0.7,
                arrowsize=0.8,
                density=1.1,
                zorder=1,
            )
        else:
            step = max(1, -(-len(field.x) // MAX_ARROWS))
            each = (slice(step // 2, None, step),) * 2
            unit_length = np.where(size > 0, size, 1)
            ax.quiver(
                field.x[each[1]],
                field.y[each[0]],
                (u / unit_length)[each],
                (v / unit_length)[each],
                color="white",
                alpha=0.9,
                pivot="mid",
                angles="xy",
                scale=1.3 * len(field.x) / step,
                width=0.004,
                zorder=1,
            )
        handles = []
        if trajectories is not None:
            colours = Colours(None, len(trajectories), looks=LINES, colour="black")
            handles += draw_trajectories(ax, field.project(trajectories), colours, marks)
        if self.fixed_points is not None and len(self.fixed_points):
            points = self.fixed_points
            handles += draw_fixed_points(ax, field.project(points.points), points)
        ax.set(xlim=field.x[[0, -1]], ylim=field.y[[0, -1]])
        labels = [f"{axis_name} {i} ({self.unit})" for i in (1, 2)]
        if trajectories is not None:
            states = samples_of(trajectories)
            how = (states, states.mean(axis=0), field.axes)
            labels = state_labels(axis_name, self.unit, *how)
        label_axes(ax, labels)
        if colorbar:
            unit = "1/s" if self.unit == "state units" else f"{self.unit}/s"
            extend = "min" if cut else "neither"
            bar = add_colorbar(ax, mesh, f"speed ({unit})", extend=extend)
            bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            bar.ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            bar.ax.yaxis.set_minor_formatter(NullFormatter())
        if legend:
            add_legend(ax, handles, below=True)
        self.ax_, self.figure_ = ax, ax.figure
        return self
