"""Trial arrays: what shapes are accepted, how they are checked, and the texts of refusal."""

from __future__ import annotations

import numbers

import numpy as np

__all__ = ["as_plain_array", "check_conditions", "check_number", "check_trials", "trial_moments"]


def check_trials(X, *, name="X", n_neurons=None, min_trials=1, min_timesteps=2):
    """Check an array of trials and convert it to floats.

    Parameters
    ----------
    X : array-like of shape (n_trials, n_timesteps, n_neurons)
    name : str
        What the error texts call it.
    n_neurons : int, optional
        Number of neurons required.
    min_trials, min_timesteps : int
        Fewest trials and samples accepted.

    Returns
    -------
    ndarray of shape (n_trials, n_timesteps, n_neurons), float32 or float64
        float32 and float64 input is not copied.

    Raises
    ------
    ValueError, TypeError
        Text says what was expected, what came and what to try.
    """
    expected = f"{name} must have shape (n_trials, n_timesteps, n_neurons)"
    if isinstance(X, (list, tuple)):
        shapes = {as_plain_array(trial, name, _UNEQUAL).shape for trial in X}
        if len(shapes) > 1:
            raise ValueError(
                f"{expected}, got a list of trials of {len(shapes)} different shapes, e.g. "
                f"{' and '.join(map(str, sorted(shapes)[:2]))}. {_UNEQUAL}"
            )
    if np.ma.is_masked(X):
        raise ValueError(
            f"{name} has masked values, which would be taken as data. Interpolate them, or drop "
            "their trials or neurons."
        )
    X = as_plain_array(X, name, _UNEQUAL)
    if X.dtype == object:
        advice = _UNEQUAL if X.ndim == 1 else f"Convert it, e.g. np.array({name}.tolist(), float)."
        raise ValueError(f"{expected} of numbers, got objects of shape {X.shape}. {advice}")
    if X.dtype.kind not in "fiub":
        raise TypeError(
            f"{name} must hold real numbers, got dtype {X.dtype}. Convert it, e.g. "
            f"{name}.astype(float)"
            + (", or take its real part or magnitude." if X.dtype.kind == "c" else ".")
        )
    if X.ndim != 3:
        advice = {
            2: f"Reshape your data, e.g. {name}[np.newaxis] for a single trial.",
            1: f"Reshape your data, e.g. {name}[np.newaxis, :, np.newaxis] for a single trial "
            "of one neuron.",
        }.get(X.ndim, f"Merge or drop axes, e.g. {name}.reshape(-1, n_timesteps, n_neurons).")
        raise ValueError(f"{expected}, got {X.shape}. {advice}".rstrip())
    for axis, (least, word, what) in enumerate(
        (
            (min_trials, "trial", "n_trials"),
            (min_timesteps, "time step", "n_timesteps"),
            (1, "neuron", "n_neurons"),
        )
    ):
        if X.shape[axis] < least:
            raise ValueError(
                f"{name} has {X.shape[axis]} {word}(s) ({what}={X.shape[axis]}) in its shape "
                f"{X.shape}; at least {least} are needed. Are the axes in the order "
                "(n_trials, n_timesteps, n_neurons)?"
            )
    if n_neurons is not None and X.shape[2] != n_neurons:
        raise ValueError(
            f"{name} has {X.shape[2]} neurons, but the model was fitted to {n_neurons}. "
            "Give the same neurons in the same order."
        )
    if X.dtype not in (np.float32, np.float64):
        X = X.astype(np.float64)
    _refuse_non_finite(X, name)
    return X


def as_plain_array(values, name, advice=""):
    """np.asarray; ragged nesting raises with the name of the argument."""
    try:
        return np.asarray(values)
    except ValueError as error:
        text = f"{name} is ragged: its rows differ in length. {advice}".rstrip()
        raise ValueError(text) from error


_UNEQUAL = (
    "Trials must share one length: cut them around an event "
    "(jedi_sklearn.preprocessing.cut_epochs) or resample them to a common length."
)


def _refuse_non_finite(X, name):
    """Raise with the first trial, time and neuron that is NaN or infinite; no copy of X."""
    for k, trial in enumerate(X):
        # one sum tells whether anything is wrong
        if np.isfinite(trial.sum(dtype=np.float64)):
            continue
        bad = ~np.isfinite(trial)
        if not bad.any():  # finite values whose sum overflows
            continue
        t, n = np.argwhere(bad)[0]
        raise ValueError(
            f"{name} contains {'NaN' if np.isnan(trial[t, n]) else 'infinity'}, first at trial "
            f"{k}, time step {t}, neuron {n}. Drop or interpolate these samples first."
        )


def check_conditions(conditions, n_trials, name="conditions"):
    """Labels of the trials as (sorted unique labels, codes).

    Raises
    ------
    ValueError
        For a wrong length, more than one dimension, or missing labels.
    """
    labels = as_plain_array(conditions, name)
    if labels.ndim != 1 or len(labels) != n_trials:
        raise ValueError(
            f"{name} must hold one label per trial, shape ({n_trials},), got {labels.shape}."
        )
    missing = (
        ~np.isfinite(labels)
        if labels.dtype.kind == "f"
        else np.array([v is None or (isinstance(v, float) and v != v) for v in labels])
    )
    if missing.any():
        raise ValueError(
            f"{name} has missing labels (NaN, infinity or None), first for trial "
            f"{int(np.argmax(missing))}. "
            "Label every trial, or leave those trials out."
        )
    if labels.dtype == object:
        try:
            return np.unique(labels, return_inverse=True)
        except TypeError:
            raise TypeError(
                f"{name} mixes labels that cannot be sorted, e.g. numbers and strings. "
                "Use one kind of label."
            ) from None
    return np.unique(labels, return_inverse=True)


def check_number(value, name, kind=numbers.Real, *, low=None, high=None, closed=True):
    """Raise unless `value` is a number of this kind within the bounds (low open if not closed)."""
    word = "an integer" if kind is numbers.Integral else "a number"
    bounds = []
    if low is not None:
        bounds.append(f"{'>=' if closed else '>'} {low}")
    if high is not None:
        bounds.append(f"<= {high}")
    text = f"{name} must be {word} {' and '.join(bounds)}".rstrip()
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, kind):
        raise TypeError(f"{text}, got {value!r}.")
    too_low = low is not None and (value < low if closed else value <= low)
    if too_low or (high is not None and value > high) or not np.isfinite(value):
        raise ValueError(f"{text}, got {value!r}.")


def trial_moments(X):
    """Mean and variance of each neuron over trials and time, without a copy of X."""
    mean = X.mean(axis=(0, 1), dtype=np.float64)
    variance = np.zeros_like(mean)
    for trial in X:
        variance += np.square(trial - mean).sum(axis=0)
    return mean, variance / (X.shape[0] * X.shape[1])
