"""How trajectories and fixed points are drawn in state space."""

from __future__ import annotations

from numbers import Integral

import numpy as np

from .._trials import lengths_of, n_steps_of
from .._validation import (
    as_numbers,
    check_conditions,
    check_inputs_of_trials,
    check_number,
    check_trials,
)
from ..preprocessing._recording import check_events, time_axis
from ._common import as_text, check_jedi, fade, handle, labels_of, share_text, state_unit, time_of

__all__ = [
    "as_trajectories",
    "draw_fixed_points",
    "draw_trajectories",
    "place_events",
    "runs_of_mean",
    "samples_of",
    "state_labels",
]

MANY_LINES, ARROWS = 24, 12  # most distinguishable trajectories; arrows if there are more
STABLE, UNSTABLE, SLOW = "black", "black", "0.45"
ABOVE = 5  # zorder of fixed points: above trajectories and axes


def as_trajectories(states, n_neurons, name="trajectories"):
    """Check states of trajectories, (n_trajectories, n_timesteps, n_neurons), or None."""
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


def runs_of_mean(est, X, conditions, trial, time, events, inputs):
    """Generate the RNN of the mean embedding of trials, and its runs from their initial states.

    Returns
    -------
    rnn : RNNBatch
    trajectories : ndarray of shape (n_trials, n_steps, n_neurons)
        NaN after the end of a shorter trial.
    options : dict
        Conditions, times of the steps, events and unit, for a display.
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
    """Collect the states of trajectories, (n_states, n_neurons), up to the end of each."""
    return trajectories[~np.isnan(trajectories).any(axis=2)]


def state_labels(name, unit, states, mean, axes):
    """Label axes in state space with their unit and share of the states' variance."""
    total = np.square(states - mean).sum()
    shares = [np.square((states - mean) @ axis).sum() / total if total else None for axis in axes]
    what = "" if len(axes) > 2 else " of variance"  # 3-D axes have little room
    return [
        f"{name} {i + 1} ({unit})" + ("" if s is None else f", {share_text(s)}{what}")
        for i, s in enumerate(shares)
    ]


def draw_trajectories(ax, coordinates, colours, marks=None):
    """Draw lines (n_trajectories, n_timesteps, n_dims) with their starts and directions.

    If many lines share a few labels, the lines are faint and only the mean of each label is
    marked. Of many lines without labels, only some are marked. Conditions that share a colour
    differ in line style, so `colours` must have been made with ``looks=LINES``. `marks` maps the
    names of events to their samples in each line, NaN where there is none.

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
    """Average lines (n, n_timesteps, n_dims), up to where half of them have ended."""
    seen = np.isfinite(lines).all(axis=2)
    count = seen.sum(axis=0)[:, np.newaxis]
    total = np.where(seen[..., np.newaxis], lines, 0).sum(axis=0)
    return np.where(2 * count >= len(lines), total / np.maximum(count, 1), np.nan)


def _median(values):
    values = values[np.isfinite(values)]
    return np.median(values) if len(values) else np.nan


def _at(line, sample):
    """Interpolate a line (n_timesteps, n_dims) at a sample."""
    return np.array([np.interp(sample, np.arange(len(line)), x) for x in line.T])


def _draw_arrow(ax, line, colour, extent):
    """Draw an arrow halfway along a line (n_timesteps, n_dims), in the direction of time."""
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
    """Convert times of events (name to (n,), s) to samples of a time axis, NaN outside it."""
    marks = {}
    for name, at in check_events(events, n).items():
        sample = (at - time[0]) / (time[1] - time[0]) if len(time) > 1 else np.full(n, np.nan)
        marks[name] = np.where((sample >= 0) & (sample <= len(time) - 1), sample, np.nan)
    return marks


def draw_fixed_points(ax, coordinates, points):
    """Draw fixed points, filled if stable, else open.

    Points with more than one unstable direction show their number. Slow points are small dots
    below both. The artists have the gids "stable", "unstable" and "slow".

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
            if points.n_unstable[k] == 1:  # a saddle; too many numbers would overlap
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
