"""What arrays, labels and numbers are accepted, and what the user reads of those that are not."""

from __future__ import annotations

import difflib
import math
import numbers
import sys
import warnings

import numpy as np
from sklearn.utils import check_random_state

from ._distributed import ALONE
from ._stored import FILL, StoredTrials, is_stored, loaded, part, refuse_masked

__all__ = [
    "OLD_NAMES",
    "as_labels",
    "as_list_of_trials",
    "as_numbers",
    "as_plain_array",
    "check_conditions",
    "check_inputs_of_trials",
    "check_number",
    "check_option",
    "check_seed",
    "check_trials",
    "describe_index",
    "did_you_mean",
    "listed",
    "setting",
    "warn_of_milliseconds",
    "warn_of_old_names",
    "warn_user",
]

MISSING_AS_TEXT = ("nan", "NaN", "NaT", "<NA>")  # what numpy and pandas make of them
TIME = ("time", "t", "timestep", "time_step", "bin", "time_bin", "sample", "frame")
TOO_SLOW = 10.0  # s: membranes take 10 ms or more, blood, the slowest signal recorded, about 5 s
FASTEST = 5  # of signals that are sampled once a second or less: samples per time constant
OURS = ("jedi_sklearn", "sklearn", "joblib", "torch")  # packages whose frames are not the user's

UNSET = "deprecated"  # the default of parameters that have a new name
OLD_NAMES = {  # they go in 0.2
    "teacher_forcing": "forcing",
    "final_teacher_forcing": "final_forcing",
    "n_init": "n_starts",
}


def check_trials(
    X,
    *,
    name="X",
    ndim=(3,),
    n_neurons=None,
    fitted="the model",
    min_trials=1,
    min_timesteps=2,
    objects=False,
    missing=False,
    stored=False,
    processes=ALONE,
    advice="Drop or interpolate these samples first, or drop their trials or neurons.",
):
    """Check an array of trials and convert it to floats.

    Parameters
    ----------
    X : array-like of shape (n_trials, n_timesteps, n_neurons) or (n_timesteps, n_neurons)
    name : str
        What the error texts call it.
    ndim : tuple of int
        Numbers of axes accepted: 3, or 2 for a single trial.
    n_neurons : int, optional
        Number of neurons required, because `fitted` has seen that many.
    fitted : str
        What the error texts call it.
    min_trials, min_timesteps : int
        Fewest trials and samples accepted.
    objects : bool
        Read numbers out of an array of objects instead of refusing it.
    missing : bool
        Take NaN as missing samples instead of refusing them. Every trial needs one that is not.
    stored : bool
        Leave large arrays that are not in memory where they are.
    processes : Processes
        Each looks at the values of its share of the trials.
    advice : str
        What to try where NaN is refused.

    Returns
    -------
    ndarray, or StoredTrials, of the shape of `X`, float32 or float64
        float32 and float64 input is not copied.

    Raises
    ------
    ValueError, TypeError
        Text says what was expected, what came and what to try.
    """
    expected = f"{name} must have shape {' or '.join(_shape_text(n) for n in ndim)}"
    _refuse_labelled(X, name)
    X = as_list_of_trials(X)
    if isinstance(X, (list, tuple)):
        _refuse_unequal(X, name, f"{expected}, got a list of trials")
        for trial in X:
            refuse_masked(trial, f"A trial of {name}", FILL.format("each trial"))
    cure = FILL if missing else "Interpolate them, or drop their trials or neurons."
    if stored and is_stored(X):
        X = StoredTrials(X)
    else:
        X = loaded(X) if hasattr(X, "__array__") else X
        refuse_masked(X, name, cure)
        X = as_plain_array(X, name, _UNEQUAL)
    if X.dtype == object:
        X = _read_objects(X, name, expected, objects)
    if X.dtype.kind not in "fiub":
        raise TypeError(
            f"{name} must hold real numbers, got dtype {X.dtype}. Convert it, e.g. "
            f"{name}.astype(float)"
            + (", or take its real part or magnitude." if X.dtype.kind == "c" else ".")
        )
    if X.ndim not in ndim:
        reshape = {
            2: f"Reshape your data, e.g. {name}[np.newaxis] for a single trial."
            if min_trials < 2
            else f"Reshape your data: {name}[:, :, np.newaxis] if these are trials of one neuron. "
            "Cut one long recording into trials at its events: "
            f"preprocessing.cut_epochs({name}, events, start=..., stop=...), or "
            f"{name}.reshape(n_trials, -1, n_neurons) where they have one length.",
            1: f"Reshape your data, e.g. {name}[np.newaxis, :, np.newaxis] for a single trial "
            "of one neuron.",
            0: "Pass one array of all trials.",
        }.get(
            X.ndim,
            f"Merge or drop axes: {name}.reshape(-1, n_timesteps, n_neurons) makes one axis of "
            f"those before time, {name}.reshape(n_trials, n_timesteps, -1) of those after it.",
        )
        raise ValueError(f"{expected}, got {X.shape}. {reshape}")
    least = (min_trials, min_timesteps, 1)[-X.ndim :]
    for n, few, axis, word in zip(
        X.shape, least, _AXES[-X.ndim :], _WORDS[-X.ndim :], strict=True
    ):
        if n < few:
            raise ValueError(
                f"{name} has {n} {word}(s) ({axis}={n}) in its shape {X.shape}; at least {few} "
                f"are needed. Are the axes in the order {_shape_text(X.ndim)}?"
                + " A long recording is cut at its events by preprocessing.cut_epochs."
                * (word == "trial" and n == 1)
            )
    if n_neurons is not None and X.shape[-1] != n_neurons:
        raise ValueError(
            f"{name} has {X.shape[-1]} neurons, but {fitted} was fitted to {n_neurons}. "
            "Give the same neurons in the same order."
        )
    if X.dtype not in (np.float32, np.float64):
        X = X.astype(np.float64)
    if missing:
        with processes.together():
            _refuse_unseen(X, name, processes)
    else:
        _refuse_non_finite(X, name, advice)
    return X


def as_list_of_trials(X):
    """The trials of an array that holds one object each, as of a MATLAB cell; else X as it is."""
    if not isinstance(X, np.ndarray) or X.dtype != object or not X.size:
        return X
    if X.size != max(X.shape, default=0):  # neither (n,), (n, 1) nor (1, n)
        return X
    trials = list(X.flat)
    return trials if all(isinstance(t, (np.ndarray, list, tuple)) for t in trials) else X


def _refuse_labelled(X, name):
    """Raise where the labels of axes say that trials, time and neurons lie otherwise."""
    dims = getattr(X, "dims", None)  # of xarray
    if isinstance(dims, tuple) and len(dims) == 3:
        time = [d for d in dims if str(d).lower().rstrip("s") in TIME]
        if len(time) == 1 and dims[1] != time[0]:
            trial, neuron = (d for d in dims if d != time[0])
            raise ValueError(
                f"{name} has the dims {dims}, but time must be the second: {name}.transpose("
                f"{trial!r}, {time[0]!r}, {neuron!r}), with trials first and neurons last."
            )
    if getattr(getattr(X, "index", None), "nlevels", 1) > 1:  # of pandas
        raise ValueError(
            f"{name} is a table with an index of {X.index.nlevels} levels, not an array of shape "
            "(n_trials, n_timesteps, n_neurons). Where the first level is the trial, and a column "
            "a neuron: preprocessing.pad_trials([trial.to_numpy() for _, trial in "
            f"{name}.groupby(level=0)])."
        )


def as_plain_array(values, name, advice=""):
    """np.asarray; ragged nesting raises with the name of the argument."""
    try:
        return np.asarray(values)
    except ValueError as error:
        text = f"{name} is ragged: its rows differ in length. {advice}".rstrip()
        raise ValueError(text) from error


def as_numbers(values, name):
    """Real numbers as float64; what is none raises with the name of the argument."""
    array = as_plain_array(values, name)
    if array.dtype == object and array.ndim:
        try:
            array = array.astype(float)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name} must be real numbers, got objects: {error}.") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be real numbers, got dtype {array.dtype}.")
    return array.astype(float, copy=False)


def describe_index(index):
    """An index of an array of trials, or of a single trial, in words."""
    words = _WORDS[-len(index) :]
    return ", ".join(f"{word} {i}" for word, i in zip(words, index, strict=True))


_AXES = ("n_trials", "n_timesteps", "n_neurons")
_WORDS = ("trial", "time step", "neuron")
_UNEQUAL = (
    "Trials must share one length: cut the same window around an event from each "
    "(jedi_sklearn.preprocessing.cut_epochs), or pad the shorter ones with NaN at their ends "
    "(jedi_sklearn.preprocessing.pad_trials)."
)


def _shape_text(ndim):
    return f"({', '.join(_AXES[-ndim:])})"


def _refuse_unequal(trials, name, got):
    """Raise where trials of a list differ in shape, and say in what."""
    shapes = [as_plain_array(trial, name, _UNEQUAL).shape for trial in trials]
    odd = next((k for k, shape in enumerate(shapes) if len(shape) != len(shapes[0])), None)
    if odd is not None:
        raise ValueError(
            f"{got} with different numbers of axes: {shapes[0]} is the shape of trial 0, "
            f"{shapes[odd]} of trial {odd}. Each trial must have shape (n_timesteps, n_neurons)."
        )
    odd = next((k for k, shape in enumerate(shapes) if shape[1:] != shapes[0][1:]), None)
    if odd is not None and len(shapes[0]) == 2:
        turned = len({shape[0] for shape in shapes}) == 1
        hint = " Or are the axes of each trial in another order?" if turned else ""
        raise ValueError(
            f"{got} with different numbers of neurons: {shapes[0][1]} in trial 0, "
            f"{shapes[odd][1]} in trial {odd}. Every trial needs the same neurons in the same "
            "order: give each a column of its own, with NaN in trials where it was not recorded."
            + hint
        )
    lengths = {shape[0] for shape in shapes if shape}
    if len(lengths) > 1:
        raise ValueError(
            f"{got} of {len(lengths)} different lengths, from {min(lengths)} to {max(lengths)}. "
            + _UNEQUAL
        )


def _read_objects(X, name, expected, convert):
    """Numbers out of an array of objects, where they are wanted and there are any."""
    got = f"{expected} of numbers, got objects of shape {X.shape}."
    if X.ndim == 0:
        raise ValueError(f"{got} Pass one array of all trials.")
    if X.ndim == 1:
        what = f", the first a {type(X[0]).__name__}" if len(X) else ""
        raise ValueError(
            f"{expected} of numbers, got an array of {len(X)} objects{what}. Pass one array of "
            "all trials."
        )
    advice = f"Convert it, e.g. np.array({name}.tolist(), float)."
    if not convert:
        raise ValueError(f"{got} {advice}")
    try:
        return X.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{got} Reading them as numbers failed: {error}. {advice}") from error


def _refuse_non_finite(X, name, advice):
    """Raise with the first trial, time and neuron that is NaN or infinite; no copy of X."""
    first, count = None, 0
    for k, trial in enumerate(X if X.ndim == 3 else X[np.newaxis]):
        # one sum tells whether anything is wrong
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(trial.sum(dtype=np.float64)):
                continue
        bad = ~np.isfinite(trial)  # nothing, if finite values have a sum that overflows
        count += np.count_nonzero(bad)
        if first is None and bad.any():
            first = (k, *np.argwhere(bad)[0])[-X.ndim :]
    if first is not None:
        raise ValueError(
            f"{name} contains {'NaN' if np.isnan(X[first]) else 'infinity'}, first at "
            f"{describe_index(first)} ({count} of {X.size} values are not finite). {advice}"
        )


def _refuse_unseen(X, name, processes):
    """Raise where a value is infinite, or a trial has no value at all."""
    rows = processes.slice(len(X))
    for k, trial in enumerate(part(X, rows), rows.start):
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(trial.sum(dtype=np.float64)):
                continue
        if np.isinf(trial).any():
            t, n = np.argwhere(np.isinf(trial))[0]
            raise ValueError(
                f"{name} contains infinity, first at {describe_index((k, t, n))}. NaN stands for "
                "a missing sample; infinity is an error of an earlier step."
            )
        if np.isnan(trial).all():
            raise ValueError(
                f"{name} has no value in trial {k}: all of its samples are NaN. Leave it out."
            )


def check_inputs_of_trials(inputs, X, n_inputs=None, name="inputs"):
    """Known inputs of trials X, (n_trials, n_timesteps, n_inputs), as float64, or None.

    `n_inputs` is what a model was fitted with: None for anything, 0 for no inputs.
    """
    if inputs is None:
        if n_inputs:
            raise ValueError(
                f"The model was fitted with {name} of {n_inputs} channels and cannot do without "
                f"them: give {name}, of shape ({len(X)}, {X.shape[1]}, {n_inputs}). In a Pipeline "
                "they are routed, see the user guide."
            )
        return None
    if n_inputs == 0:
        raise ValueError(f"{name} were given, but the model was fitted without {name}.")
    inputs = as_plain_array(inputs, name)
    if inputs.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be real numbers, got dtype {inputs.dtype}.")
    n = "n_inputs" if n_inputs is None else n_inputs
    fits = inputs.ndim == 3 and inputs.shape[:2] == X.shape[:2] and inputs.shape[2] > 0
    if not fits or (n_inputs is not None and inputs.shape[2] != n_inputs):
        raise ValueError(
            f"{name} must have shape (n_trials, n_timesteps, {n}) = "
            f"({len(X)}, {X.shape[1]}, {n}), got {inputs.shape}."
        )
    if not np.isfinite(inputs).all():
        raise ValueError(f"{name} hold NaN or infinite values; where a trial is padded, pad by 0.")
    return inputs.astype(np.float64)


def check_conditions(conditions, n_trials, name="conditions"):
    """Labels of the trials as (sorted unique labels, codes).

    Raises
    ------
    ValueError
        For a wrong length, more than one dimension, or missing labels.
    TypeError
        For labels of several kinds.
    """
    labels = as_labels(conditions, name)
    if labels.ndim != 1 or len(labels) != n_trials:
        raise ValueError(
            f"{name} must hold one label per trial, shape ({n_trials},), got {labels.shape}."
        )
    if labels.dtype.kind in "fcmM":  # numbers and times
        missing = ~np.isfinite(labels)
    else:
        missing = np.array([_is_missing(v) for v in labels], dtype=bool)
    if missing.any():
        raise ValueError(
            f"{name} has missing labels (NaN, infinity or None), first for trial "
            f"{int(np.argmax(missing))} ({np.count_nonzero(missing)} of {n_trials} trials). "
            "Label every trial, or leave those trials out."
        )
    try:
        values, codes = np.unique(labels, return_inverse=True)
    except TypeError:
        raise TypeError(
            f"{name} mixes labels that cannot be sorted, e.g. numbers and strings. "
            "Use one kind of label."
        ) from None
    for code, value in enumerate(values):
        if isinstance(value, str) and value in MISSING_AS_TEXT:
            warn_user(
                f'{name} holds the text "{value}" as the label of {np.sum(codes == code)} of '
                f"{n_trials} trials. Arrays of strings hold missing labels so. If these trials "
                "have no label, leave them out; if this is a condition, rename it."
            )
    return values, codes


def as_labels(values, name):
    """np.asarray of labels, where numbers in objects become numbers, and strings alone strings."""
    if np.ma.is_masked(values):
        raise ValueError(
            f"{name} has masked labels. Label every trial, or leave those trials out."
        )
    labels = as_plain_array(values, name)
    if labels.dtype.kind in "US" and not hasattr(values, "dtype"):
        given = np.array(values, dtype=object)
        if not all(isinstance(v, (str, bytes)) for v in given.flat):
            labels = given  # numpy made strings of numbers, NaN among them
    if labels.dtype == object and all(isinstance(v, numbers.Real) for v in labels.flat):
        labels = np.array(labels.tolist())
    return labels


def _is_missing(label):
    """None, NaN, infinity, or a missing value of pandas, which is not imported for this."""
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(label, (numbers.Number, np.datetime64, np.timedelta64)):
        return bool(label != label) or (isinstance(label, numbers.Real) and abs(label) == math.inf)
    return False


def check_number(value, name, kind=numbers.Real, *, low=None, high=None, closed=True, unit=None):
    """Raise unless `value` is a number of this kind within the bounds (low open if not closed)."""
    word = "an integer" if kind is numbers.Integral else "a finite number"
    bounds = []
    if low is not None:
        bounds.append(f"{'>=' if closed else '>'} {low}")
    if high is not None:
        bounds.append(f"<= {high}")
    text = f"{name} must be {word} {' and '.join(bounds)}".rstrip()
    if unit is not None:
        text += f" (in {unit})"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, kind):
        raise TypeError(f"{text}, got {value!r}.")
    too_low = low is not None and (value < low if closed else value <= low)
    if too_low or (high is not None and value > high) or value != value or abs(value) == math.inf:
        raise ValueError(f"{text}, got {value!r}.")


def check_option(value, name, options, more=""):
    """Raise unless `value` is one of the options; a misspelt one is answered with its neighbour.

    `more` says what else is accepted, e.g. ", or an array of states".
    """
    for option in options:
        if value is option or (isinstance(value, str) and value == option):
            return
    listed = ", ".join(map(repr, options))
    raise ValueError(
        f"{name} must be one of {listed}{more}, got {value!r}{did_you_mean(value, options)}"
    )


def did_you_mean(value, options):
    """End of a text that refuses `value`: the option nearest to it in spelling, or a full stop."""
    near = []
    if isinstance(value, str):
        words = [option for option in options if isinstance(option, str)]
        near = difflib.get_close_matches(value.strip().lower().replace("-", "_"), words, n=1)
    return f': did you mean "{near[0]}"?' if near else "."


def check_seed(random_state, name="random_state"):
    """scikit-learn's check_random_state; what is no seed raises with the name of the argument."""
    try:
        return check_random_state(random_state)
    except ValueError as error:
        raise ValueError(
            f"{name} must be None, an integer from 0 to 2**32 - 1 or a "
            f"numpy.random.RandomState, got {random_state!r}."
        ) from error


def listed(values, most=5):
    """The first few of some values, for a text."""
    return ", ".join(map(str, values[:most])) + ", ..." * (len(values) > most)


def warn_of_milliseconds(dt, tau):
    """Warn where a time constant, or beside it the sampling interval, is hardly in seconds."""
    if tau >= TOO_SLOW:
        warn_user(
            f"tau={tau:g} and dt={dt:g} are in s, and no signal of neurons is that slow. If they "
            f"are ms, give tau={tau / 1000:g} and dt={dt / 1000:g}; frequencies (Hz) and growth "
            "rates (1/s) are a thousand times too small otherwise."
        )
    elif dt >= 1 and dt >= FASTEST * tau:
        warn_user(
            f"dt={dt:g} s is {dt / tau:.3g} times tau={tau:g} s. If dt is in ms, give "
            f"dt={dt / 1000:g}; if samples are so far apart, raise tau to the time constant of "
            "what was recorded, e.g. of a calcium indicator."
        )


def warn_user(text, category=UserWarning):
    """Warn at the line of the user's call, whatever lies between, as wrappers and pipelines."""
    level, frame = 1, sys._getframe()
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in OURS:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)


def setting(est, name):
    """The value of a parameter, which may still be set under its old name."""
    old = getattr(est, OLD_NAMES.get(name, ""), UNSET)
    return old if _is_set(old) else getattr(est, name)


def warn_of_old_names(est):
    """Warn of each parameter that is set under its old name."""
    for name, old in OLD_NAMES.items():
        if _is_set(getattr(est, old, UNSET)):
            warn_user(f"{old} is now called {name}. The old name goes in 0.2.", FutureWarning)


def _is_set(value):
    return not (isinstance(value, str) and value == UNSET)
