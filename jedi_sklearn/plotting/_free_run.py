"""How well the free runs of the RNNs reproduce the trials: observed beside generated activity."""

from __future__ import annotations

import numpy as np

from .._trials import trial_moments
from .._validation import (
    as_plain_array,
    check_conditions,
    check_inputs_of_trials,
    check_option,
    check_trials,
)
from ..preprocessing import Recording
from ..preprocessing._recording import check_events, time_axis
from ._colours import LINES, PALETTE
from ._common import (
    as_text,
    check_jedi,
    handle,
    labels_of,
    make_panels,
    note,
    robust_range,
    time_of,
)

__all__ = ["FreeRunDisplay"]

MAX_COLUMNS = 4
SHOWN = 4  # trials, and neurons, by default
MOST_TITLE = 24  # characters in a line of a panel's title
GAP = 0.1  # between neurons, as a share of the largest range of any neuron
BRIEF = 0.001  # share of samples that may be an artefact; even brief responses last longer
SCORES = {"R2": "$R^2$", "D2": "$D^2$"}
OBSERVED, EVENT = "0.7", "0.35"


class FreeRunDisplay:
    r"""Observed and generated activity of some neurons over time, one panel for each trial.

    Create it with :meth:`from_estimator` or :meth:`from_activity`.

    Parameters
    ----------
    observed, generated : array-like of shape (n_trials, n_timesteps, n_neurons)
        Activity of the trials, and the free runs of their RNNs.
    dt : float
        Sampling interval, s.
    neurons : sequence of int, optional
        Indices of the neurons to draw, from top to bottom. Default: the four neurons for which
        the free runs explain the most variance of `observed`.
    r2 : array-like of shape (n_trials,), optional
        Score of each trial (R2 or D2), for the titles.
    names : sequence of str, optional
        Names of the trials, for the titles. Default: "trial 0", ...
    time : array-like of shape (n_timesteps,), optional
        Times of the samples, s. Default: starting at 0, `dt` apart.
    events : mapping of str to float or array-like of shape (n_trials,), optional
        Times of events in each trial on the time axis, s. NaN where a trial lacks the event. An
        event at 0 in all trials names the time axis.
    neuron_names : sequence of length n_neurons, optional
        Names of all neurons, including those not drawn. Default: their indices.
    unit : str, default="a.u."
        Unit of the activity, for the scale bar.
    score_name : {"R2", "D2"}, default="R2"
        Name of the score in `r2`; D2 for spike counts.

    Attributes
    ----------
    ax_ : ndarray of matplotlib Axes, of shape (n_trials,)
        Axes that hold the panels; an array even for a single trial.
    figure_ : matplotlib Figure
        Figure that holds the axes.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn.plotting import FreeRunDisplay
    >>> wave = np.sin(np.linspace(0, 6, 50))[np.newaxis, :, np.newaxis] * np.arange(1, 4)
    >>> display = FreeRunDisplay.from_activity(wave, 0.9 * wave, dt=0.01, r2=[0.99])
    >>> display.ax_[0].get_title(), display.ax_[0].get_xlabel()
    ('trial 0\n$R^2$ = 0.99', 'time (s)')
    """

    def __init__(
        self,
        observed,
        generated,
        dt,
        *,
        neurons=None,
        r2=None,
        names=None,
        time=None,
        events=None,
        neuron_names=None,
        unit="a.u.",
        score_name="R2",
    ):
        self.observed = observed
        self.generated = generated
        self.dt = dt
        self.neurons = neurons
        self.r2 = r2
        self.names = names
        self.time = time
        self.events = events
        self.neuron_names = neuron_names
        self.unit = unit
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls,
        est,
        X,
        trials=None,
        neurons=None,
        *,
        conditions=None,
        time=None,
        events=None,
        inputs=None,
        ax=None,
        **plot_options,
    ):
        """Draw trials beside their free runs.

        Parameters
        ----------
        est : JEDIEstimator
            Fitted estimator.
        X : array-like of shape (n_trials, n_timesteps, n_neurons), or Recording
            Activity of the trials, with NaN for missing samples. A recording provides labels,
            time axis, events, names of trials and neurons, and unit; other arguments override
            these.
        trials : int or sequence of int, optional
            Indices of the trials of `X` to draw. Default: the first four trials or, with
            conditions, the first trial of each of the first four conditions.
        neurons : sequence of int, optional
            Indices of the neurons to draw. Default: the four whose means over trials differ most
            between conditions, beyond what noise explains. Without conditions, the default is
            that of the constructor.
        conditions : array-like of shape (n_trials,), optional
            Labels of the trials in `X`, for the titles.
        time : array-like of shape (n_timesteps,), optional
            Times of the samples, s. Default: starting at 0.
        events : mapping of str to float or array-like of shape (n_trials,), optional
            Times of events in the trials of `X` on the time axis, s. NaN where a trial lacks the
            event.
        inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
            Known inputs; required if, and only if, the model was fitted with inputs.
        ax : matplotlib Axes or array-like of them, optional
            Axes to draw on, as in :meth:`plot`.
        **plot_options :
            Options of :meth:`plot`.

        Returns
        -------
        FreeRunDisplay
            The display. Its scores are those of ``est.score_samples``, over all neurons and not
            only those drawn.
        """
        check_jedi(est)
        conditions, own = labels_of(X, conditions), {}
        called = None
        if isinstance(X, Recording):
            called = X.trials
            own = {"neuron_names": X.neurons, "unit": X.unit}
        time, events = time_of(X, time, events)
        X = check_trials(X, missing=True)
        events = check_events(events, len(X))
        inputs = check_inputs_of_trials(inputs, X, est.n_inputs_)
        labels = None
        if conditions is not None:
            labels, codes = check_conditions(conditions, len(X))
        if trials is None:
            first = np.arange(len(X))
            if labels is not None:
                first = np.unique(codes, return_index=True)[1]
            trials = first[:SHOWN]
        trials = _check_indices(trials, "trials", len(X))
        names = [f"trial {k if called is None else called[k]}" for k in trials]
        if labels is not None:
            names = [
                _titled(name, labels[codes[k]]) for name, k in zip(names, trials, strict=True)
            ]
            if neurons is None and 1 < len(labels) <= len(X) / 2:
                neurons = _tuned(X, codes)[:SHOWN]
        inputs = None if inputs is None else inputs[trials]
        found = est.posterior(X[trials], inputs=inputs)
        run = est.inverse_transform(found.mean, found.initial_state, X.shape[1], inputs=inputs)
        own["events"] = {name: at[trials] for name, at in events.items()}
        own |= {"time": time, "neurons": neurons, "r2": found.r2, "names": names}
        own["score_name"] = "D2" if est.observation_ == "poisson" else "R2"
        display = cls(X[trials], run, float(est.dt), **own)
        return display.plot(ax=ax, **plot_options)

    @classmethod
    def from_activity(
        cls,
        observed,
        generated,
        dt,
        *,
        neurons=None,
        r2=None,
        names=None,
        time=None,
        events=None,
        neuron_names=None,
        ax=None,
        **plot_options,
    ):
        """Draw given activity.

        Parameters
        ----------
        observed, generated : array-like of shape (n_trials, n_timesteps, n_neurons)
            Activity of the trials, and the free runs of their RNNs.
        dt : float
            Sampling interval, s.
        neurons, r2, names, time, events, neuron_names : optional
            As in the constructor.
        ax : matplotlib Axes or array-like of them, optional
            Axes to draw on, as in :meth:`plot`.
        **plot_options :
            Options of :meth:`plot`.

        Returns
        -------
        FreeRunDisplay
            The display, with `ax_` and `figure_` set.
        """
        axis = {"time": time, "events": events, "neuron_names": neuron_names}
        display = cls(observed, generated, dt, neurons=neurons, r2=r2, names=names, **axis)
        return display.plot(ax=ax, **plot_options)

    def plot(self, ax=None, *, unit=None, legend=True, line_kwargs=None):
        """Draw the trials.

        The neurons of a trial are stacked, with the same offsets in all panels. The scale bar on
        the right holds for all neurons and panels.

        Parameters
        ----------
        ax : matplotlib Axes or array-like of them, optional
            As many axes as trials, in an array of any shape, or a single one for a single trial.
            Default: a grid of at most four columns in a new figure.
        unit : str, optional
            Unit of the activity, such as "spikes/s", for the scale bar. Default: that of the
            display.
        legend : bool, default=True
            Draw the legend: above the panels, or on the right of the last of the given axes.
        line_kwargs : dict, optional
            Options of ``Axes.plot`` for the free runs.

        Returns
        -------
        FreeRunDisplay
            The display, with `ax_` and `figure_` set.
        """
        observed = check_trials(self.observed, name="observed", missing=True)
        generated = check_trials(self.generated, name="generated")
        if observed.shape != generated.shape:
            raise ValueError(
                "observed and generated must have the same shape, got "
                f"{observed.shape} and {generated.shape}."
            )
        n_trials, n_timesteps, n_neurons = observed.shape
        time, _ = time_axis(self.time, self.dt, n_timesteps)
        events = check_events(self.events, n_trials)
        neuron_names = self.neuron_names
        if neuron_names is None:
            neuron_names = range(n_neurons)
        elif len(neuron_names) != n_neurons:
            raise ValueError(
                f"neuron_names must name all {n_neurons} neurons, got {len(neuron_names)} names."
            )
        for name in ("r2", "names"):
            values = getattr(self, name)
            if values is not None and len(values) != n_trials:
                raise ValueError(
                    f"{name} must have one entry per trial ({n_trials}), got {len(values)}."
                )
        check_option(self.score_name, "score_name", list(SCORES))
        neurons = self.neurons
        if neurons is None:
            _, variance, count = trial_moments(observed)
            missed = np.nansum(np.square(observed - generated), axis=(0, 1))
            explained = np.nan_to_num(variance * count) - missed
            neurons = np.argsort(-explained, kind="stable")[:SHOWN]
        neurons = _check_indices(neurons, "neurons", n_neurons)
        size = (2.5, 1.0 + 0.45 * len(neurons))
        shared = {"sharex": True, "sharey": True}
        axes = make_panels(ax, n_trials, "trial", MAX_COLUMNS, size, **shared)
        from matplotlib.cbook import normalize_kwargs
        from matplotlib.lines import Line2D

        observed, generated = observed[:, :, neurons], generated[:, :, neurons]
        both = np.stack([observed, generated])
        ranges = np.array([robust_range(both[..., i], BRIEF) for i in range(len(neurons))])
        n_cut = int(((both < ranges[:, 0]) | (both > ranges[:, 1])).sum())
        seen, _, count = trial_moments(np.clip(observed, *ranges.T))
        centre = np.where(count > 0, seen, generated.mean(axis=(0, 1)))
        both, ranges = both - centre, ranges - centre[:, np.newaxis]
        spread = np.ptp(ranges, axis=1).max()
        spread = spread if spread > 0 else 1.0
        gap = GAP * spread
        # stacked so that no neuron overlaps another
        offsets = -np.cumsum(np.append(0, ranges[1:, 1] - ranges[:-1, 0] + gap))
        both = np.clip(both, ranges[:, 0] - gap / 2, ranges[:, 1] + gap / 2) + offsets
        line = {"color": PALETTE[0], "linewidth": 1.2, "linestyle": "-", "gid": "free run"}
        line |= normalize_kwargs(line_kwargs, Line2D)
        label = line.pop("label", "free run")
        low, high = np.nanmin(both) - gap / 2, np.nanmax(both) + gap / 2
        for k, panel in enumerate(axes):
            panel.plot(time, both[0, k], color=OBSERVED, lw=2.6, gid="observed")
            panel.plot(time, both[1, k], **line)
            title = f"trial {k}" if self.names is None else _lines(self.names[k])
            if self.r2 is not None:
                title += f"\n{SCORES[self.score_name]} = {self.r2[k]:.2f}"
            panel.set_title(title, fontsize="medium")
            panel.set(xlim=(time[0], time[-1]), ylim=(low, high))
            panel.set_yticks(offsets, [as_text(neuron_names[i]) for i in neurons])
            panel.tick_params(axis="y", length=0)
        marks = _mark_events(axes, events, time)
        zero = [name for name, at in events.items() if (at == 0).all()]
        label_of_time = f"time from {as_text(zero[0])} (s)" if zero else "time (s)"
        columns = min(n_trials, MAX_COLUMNS) if ax is None else n_trials
        for k, panel in enumerate(axes):
            if ax is not None or k + columns >= n_trials:  # nothing below
                panel.set_xlabel(label_of_time)
                panel.tick_params(labelbottom=True)
            if k % columns == 0:
                panel.set_ylabel("neuron")
        _scale_bar(axes[columns - 1], spread, self.unit if unit is None else unit)
        if legend:
            handles = [
                handle("observed", color=OBSERVED, lw=2.6, linestyle="-"),
                handle(label, **line),
                *marks,
            ]
            if n_cut:
                handles.append(note(f"{n_cut} far value{'s' * (n_cut > 1)} cut off"))
            if ax is None:
                place = {"loc": "outside upper center", "ncols": min(len(handles), n_trials + 1)}
                axes[0].figure.legend(handles=handles, frameon=False, **place)
            else:  # the rest of the figure is the user's
                place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1)}
                axes[-1].legend(handles=handles, frameon=False, borderaxespad=0, **place)
        self.ax_, self.figure_ = axes, axes[0].figure
        return self


def _check_indices(values, name, n):
    """Check indices of trials or neurons, and return them as a list."""
    a = np.atleast_1d(as_plain_array(values, name))
    if a.ndim != 1 or not a.size or a.dtype.kind not in "iu":
        raise ValueError(f"{name} must be one or more integers, got {values!r}.")
    if a.min() < 0 or a.max() >= n:
        raise ValueError(f"{name} must lie in 0 to {n - 1}, got {a.tolist()}.")
    return a.tolist()


def _titled(name, label):
    """Join the name of a trial and its label, on two lines if one is too short."""
    return f"{name}, {label}" if len(f"{name}, {label}") <= MOST_TITLE else f"{name}\n{label}"


def _lines(name):
    """Shorten the lines of a title that are too long."""
    return "\n".join(as_text(line, MOST_TITLE) for line in str(name).split("\n"))


def _tuned(X, codes):
    """Sort neurons by how much their means differ between conditions, beyond noise."""
    means, noise = [], []
    for code in np.unique(codes):
        trials = X[codes == code]
        seen = np.isfinite(trials)
        count = np.maximum(seen.sum(axis=0), 1)
        mean = np.where(seen, trials, 0).sum(axis=0) / count
        missed = np.where(seen, np.square(trials - mean), 0).sum(axis=0)
        means.append(np.where(seen.any(axis=0), mean, np.nan))
        noise.append(missed / np.maximum(count - 1, 1) / count)
    means = np.array(means)  # (conditions, time, neurons)
    seen = np.isfinite(means)
    count = np.maximum(seen.sum(axis=0), 1)
    centre = np.where(seen, means, 0).sum(axis=0) / count
    between = np.where(seen, np.square(means - centre), 0).sum(axis=0) / np.maximum(count - 1, 1)
    return np.argsort(-(between - np.mean(noise, axis=0)).sum(axis=0), kind="stable")


def _mark_events(axes, events, time):
    """Draw lines at events within the time axis; return legend handles."""
    handles = []
    for i, (name, at) in enumerate(events.items()):
        style = {"color": EVENT, "lw": 1, "linestyle": LINES[1 + i % (len(LINES) - 1)]}
        shown = (time[0] <= at) & (at <= time[-1])  # False for NaN
        for k in np.flatnonzero(shown):
            axes[k].axvline(at[k], **style, zorder=0, gid="event")
        if shown.any():
            handles.append(handle(as_text(name), **style))
    return handles


def _scale_bar(ax, spread, unit):
    """Draw a vertical scale bar of round length at the right of the axes."""
    power = 10.0 ** np.floor(np.log10(0.5 * spread))
    length = power * max(f for f in (1, 2, 5) if f * power <= 0.5 * spread * (1 + 1e-9))
    bottom = ax.get_ylim()[0]
    transform = ax.get_yaxis_transform()
    ax.plot(
        [1.04, 1.04],
        [bottom, bottom + length],
        transform=transform,
        color="black",
        lw=1.5,
        clip_on=False,
        solid_capstyle="butt",
        gid="scale bar",
    )
    ax.text(
        1.07,
        bottom + length / 2,
        f"{length:g} {unit}",
        transform=transform,
        rotation=90,
        va="center",
        ha="left",
        fontsize="small",
    )
