"""Checks of the estimator's parameters against each other and the data; what "auto" becomes."""

from __future__ import annotations

import math
import numbers

import numpy as np
import torch

from ._advice import describe_size
from ._components import ENOUGH_TRIALS, axes_of_samples
from ._connectivity import CONNECTIVITIES
from ._counts import looks_like_counts, warn_of_disguised
from ._initial_state import INITIAL_STATES
from ._observation import OBSERVATIONS
from ._plausible import constant_neurons
from ._solvers import SOLVERS
from ._validation import (
    as_labels,
    check_conditions,
    check_number,
    check_option,
    did_you_mean,
    setting,
    warn_of_milliseconds,
    warn_of_old_names,
    warn_user,
)

__all__ = [
    "check_parameters",
    "check_processes",
    "check_sampling",
    "choose_drive",
    "choose_embedding_index",
    "choose_initial_state",
    "choose_input_scale",
    "choose_labels",
    "choose_observation",
    "choose_sizes",
    "choose_steps",
    "choose_validation",
    "option_of",
    "warn_of_long_trials",
]

OPTIONS = {
    "connectivity": CONNECTIVITIES,
    "hypernetwork": ("linear", "mlp"),
    "embedding": ("trial", "condition"),
    "initial_state": ("auto", *INITIAL_STATES),
    "observation": ("auto", *OBSERVATIONS),
    "scale": ("global", "neuron", None),
    "solver": SOLVERS,
    "output": ("embedding", "trajectory", "both", "dynamics"),
}
MAX_LABELS, MANY = 20, "many numbers"  # up to 20 numbers are labels, however few the trials
MAX_COMPONENTS, MAX_RANK = 24, 40
# longest trial, in time constants: after four of them a unit has forgotten all but 2 % of its
# state, and an embedding has no more than MAX_COMPONENTS numbers to set it anew
LONG = 4 * MAX_COMPONENTS
ENOUGH_UNITS = 100  # neurons that drive others, if sessions have fewer
MAX_STEPS = 20  # of the RNN from one sample to the next; more suggest wrong units


def check_parameters(est):
    """Raise an error if a parameter of the estimator is unusable; warn of doubtful units."""
    warn_of_old_names(est)
    for name, options in OPTIONS.items():
        check_option(getattr(est, name), name, options)
    for name in ("n_components", "rank", "batch_size", "steps_per_sample"):
        value = getattr(est, name)
        if isinstance(value, str):
            if value != "auto":
                raise ValueError(
                    f'{name} must be an integer or "auto", got {value!r}'
                    f"{did_you_mean(value, ['auto'])}"
                )
        else:
            check_number(value, name, numbers.Integral, low=1)
    for name in ("distributed", "early_stopping", "verbose", "warm_start"):
        value = getattr(est, name)
        if not isinstance(value, (bool, np.bool_, numbers.Integral)):
            raise TypeError(f"{name} must be True or False, got {value!r}.")
    check_number(est.dt, "dt", low=0, closed=False)
    check_number(est.tau, "tau", low=0, closed=False)
    for name in ("max_iter", "n_init", "n_iter_no_change"):
        check_number(setting(est, name), name, numbers.Integral, low=1)
    if est.dt >= est.tau * choose_steps(est):
        raise ValueError(
            f"dt={est.dt} is too long for tau={est.tau} (both in seconds, 10 ms is 0.01) with "
            f"steps_per_sample={est.steps_per_sample!r}: a time step of the RNN must be shorter "
            f"than tau. If both are right, set steps_per_sample={_enough_steps(est)}."
        )
    check_number(est.learning_rate_init, "learning_rate_init", low=0, closed=False)
    check_number(est.tol, "tol", low=0)
    check_number(setting(est, "teacher_forcing"), "teacher_forcing", low=0, high=1)
    last = setting(est, "final_teacher_forcing")
    if not isinstance(last, (str, numbers.Number)) or (isinstance(last, str) and last != "auto"):
        hint = did_you_mean(last, ["auto"]) if isinstance(last, str) else ""
        raise ValueError(f'final_teacher_forcing must be a number or "auto", got {last!r}{hint}')
    if last != "auto":
        check_number(last, "final_teacher_forcing", low=0, high=1)
    check_number(est.validation_fraction, "validation_fraction", low=0, high=0.9, closed=False)
    first, last = SOLVERS[est.solver].teacher_forcing(est, 0)
    if est.early_stopping and est.max_iter < 2 and first != last:
        raise ValueError(
            "early_stopping needs at least one step after teacher forcing has ended, which "
            f"happens after half of the steps, but max_iter={est.max_iter}. Raise max_iter."
        )
    sizes = est.hidden_layer_sizes
    if est.hypernetwork == "mlp":
        if not isinstance(sizes, (tuple, list)) or not sizes:
            raise ValueError(
                "hidden_layer_sizes must be a tuple of integers with at least one layer, "
                f"got {sizes!r}."
            )
        for size in sizes:
            check_number(size, "hidden_layer_sizes", numbers.Integral, low=1)
    warn_of_milliseconds(est.dt, est.tau)


def check_sampling(est, X):
    """Raise an error if X is a recording whose sampling interval is not the estimator's."""
    if getattr(X, "in_memory", False) and not np.isclose(X.dt, est.dt, rtol=1e-6):
        raise ValueError(
            f"X is a recording with samples {X.dt:g} s apart, but the estimator has "
            f"dt={est.dt:g}. Set dt=rec.dt, here JEDIEstimator(dt={X.dt:g})."
        )


def option_of(part, table):
    """Return the name of an option, given a part of a model and the table of options."""
    return next(name for name, option in table.items() if option is type(part))


def check_processes(batch_size, n_trials, processes):
    """Raise an error if a mini-batch has fewer training trials than there are processes."""
    batch = min(batch_size, n_trials)
    if batch < processes.size:
        raise ValueError(
            f"A mini-batch of {batch} of {n_trials} training trials (batch_size={batch_size}) is "
            f"too small for {processes.size} processes, each of which needs at least one trial. "
            "Raise batch_size, or start fewer processes."
        )


def choose_labels(est, y, conditions, n_trials):
    """Return labels and codes from `conditions`, else from a discrete `y`, else None."""
    ignored = ""
    if conditions is None and y is not None:
        y = as_labels(y, "y (the conditions)")
        if y.ndim and len(y) != n_trials:
            raise ValueError(
                f"y must hold one label per trial, ({n_trials},), got shape {y.shape}."
            )
        if y.ndim > 2:
            raise ValueError(
                f"y must hold one label per trial, ({n_trials},), got shape {y.shape}. Pass "
                "known inputs as fit(X, inputs=...)."
            )
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim == 2 and y.dtype.kind not in "fiub":
            check_conditions(y, n_trials, "y (the conditions)")
        kind = "continuous" if y.ndim > 1 else _kind(y)
        one_hot = y.ndim > 1 and np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all()
        if one_hot and est.embedding == "trial":
            warn_user(
                f"y of shape {y.shape} looks like one-hot labels and was treated as quantities to "
                "predict, not as conditions. If they are conditions, pass one label per trial, "
                "e.g. y.argmax(axis=1). If not, leave y out, or ignore this warning if a "
                "Pipeline passes y on."
            )
        if kind == "labels":
            return _check_labels(est, y, n_trials, "y (the conditions)")
        ignored = f" (y was treated as {kind}: pass conditions=y)"
        if kind == MANY and est.embedding == "trial":
            warn_user(
                f"y holds {len(set(y.tolist()))} different numbers for {n_trials} trials and was "
                "treated as a quantity to predict, not as conditions. If they are conditions, "
                "pass conditions=y. If not, leave y out, or ignore this warning if a Pipeline "
                "passes y on."
            )
    if conditions is None:
        if est.embedding == "condition":
            raise ValueError(
                'embedding="condition" needs the condition of each trial: '
                f'fit(X, conditions){ignored}. Or use embedding="trial".'
            )
        return None, None
    labels, codes = _check_labels(est, conditions, n_trials, "conditions")
    if len(labels) > MAX_LABELS and _kind(labels[codes]) == "continuous":
        warn_user(
            f"conditions holds {len(labels)} different numbers for {n_trials} trials, and each "
            "became a condition of its own, which is almost useless to the fit. If they are "
            "values of a quantity, such as reaction times, leave them out, or bin them into a few "
            "classes, e.g. np.digitize(times, np.quantile(times, [0.25, 0.5, 0.75])). If they are "
            "names, pass them as strings."
        )
    return labels, codes


def choose_embedding_index(est, labels, codes, kept, device):
    """Find the embedding of each trial, the condition of each embedding, and their number."""
    if est.embedding == "trial":
        condition_index = None if codes is None else torch.as_tensor(codes[kept], device=device)
        return None, condition_index, len(kept)
    if len(np.unique(codes[kept])) < len(labels):
        raise ValueError(
            "early_stopping left some condition without training trials. Lower "
            'validation_fraction, or use embedding="trial".'
        )
    return torch.as_tensor(codes[kept], device=device), None, len(labels)


def choose_initial_state(est, inputs):
    """Return the name of the initial state option, resolving "auto".

    An embedding shared by a condition cannot hold where each of its trials starts. With known
    inputs a few components suffice, which leave no room for the start (docs/design_notes.md).
    """
    if est.initial_state != "auto":
        return est.initial_state
    return "generated" if est.embedding == "trial" and inputs is None else "inferred"


def choose_steps(est):
    """Choose the steps of the RNN per sample: as many as needed, or 1 if these are too many."""
    if est.steps_per_sample != "auto":
        return int(est.steps_per_sample)
    enough = _enough_steps(est)
    return enough if enough <= MAX_STEPS else 1


def _enough_steps(est):
    """Compute the smallest number of steps that are at most half of tau long."""
    return max(1, math.ceil(2 * est.dt / est.tau - 1e-9))


def warn_of_long_trials(est, n_timesteps, inputs):
    """Warn if trials are longer than one embedding can describe.

    With known inputs there is no limit, since these keep informing the run.
    """
    step = est.dt / choose_steps(est) / est.tau  # bins longer than half of tau are divided
    if inputs is not None or n_timesteps * step <= LONG:
        return
    window = int(MAX_COMPONENTS / step)
    whole = n_timesteps // window * window
    warn_user(
        f"Trials of X have {n_timesteps} samples, {n_timesteps * est.dt / est.tau:.0f} times tau "
        f"(dt={est.dt:g} s, tau={est.tau:g} s), and one embedding must describe the whole trial. "
        "The fit will be slow, and free runs may depart from the data. Cut trials into windows: "
        "around events with preprocessing.cut_epochs, or one after the other, e.g. "
        f"X[:, :{whole}].reshape(-1, {window}, X.shape[2]). Or raise tau, if nothing changes "
        "that fast."
    )


def choose_sizes(est, n_embeddings, trials, observation, curve=None, continued=False, say=None):
    """Choose the number of components and the rank for trials.

    `observation` is the observation model and `curve` the curve of `components_of_trials`. `say`,
    if given, is called with lines that explain the choice. Too few trials for one get a warning.
    """
    d, rank, n_neurons = est.n_components, est.rank, trials.shape[2]
    auto = [name for name, size in (("n_components", d), ("rank", rank)) if size == "auto"]
    curves, enough = {}, min(MAX_COMPONENTS, n_embeddings - 1)
    if curve is not None and est.embedding == "trial":
        curves["n_components"] = curve
        enough = min(enough, curve.best)
    if rank == "auto":
        rank = MAX_RANK  # a few trials, such as averages, cannot tell how many are needed
        if curve is not None:
            axes = curves["rank"] = axes_of_samples(trials)
            if axes.best < axes.sizes[-1]:  # else the neurons are too few to tell
                best = min(observation.dimensions * axes.best, MAX_RANK)
                rank = max(best, min(curve.best, MAX_COMPONENTS))
        if d != "auto":  # enough weights for the components
            rank = max(rank, math.ceil((d + 0.25) ** 0.5 - 0.5))
        rank = min(rank, n_neurons)
    elif rank > n_neurons:
        raise ValueError(
            f"rank={rank} is larger than the number of neurons, {n_neurons}. "
            'Lower it, or use rank="auto".'
        )
    n_weights = rank * (rank + 1)  # number that the embedding can change in the shared basis
    if d == "auto":
        d = min(enough, n_weights)
    elif d > n_weights:
        raise ValueError(
            f"n_components={d} is more than the {n_weights} weights of an RNN of rank {rank}. "
            'Lower it, raise rank, or use n_components="auto".'
        )
    elif d > n_embeddings - 1:
        what = "training trials" if est.embedding == "trial" else "conditions"
        advice = 'Lower it, or use n_components="auto".'
        if continued:
            advice = f"Continue with at least {d + 1} {what}, or use warm_start=False to refit."
        raise ValueError(
            f"n_components={d} is too many for {n_embeddings} {what}: embeddings with "
            f"independent components need n_components <= {n_embeddings - 1}. {advice}"
        )
    if say:
        for name, size in (("n_components", d), ("rank", rank)):
            if name in curves:
                say(describe_size(name, int(size), curves[name], name in auto))
    if len(trials) < ENOUGH_TRIALS:
        sizes = {"n_components": d, "rank": rank}
        if est.embedding == "condition":  # as many as conditions allow, however many trials
            del sizes["n_components"]
        _warn_of_few_trials({name: sizes[name] for name in auto if name in sizes}, len(trials))
    return int(d), int(rank)


def _warn_of_few_trials(sizes, n_trials):
    """Warn if trials are too few to choose sizes, given by name, from the data."""
    if not sizes:
        return
    given = " and ".join(f"{name}={size}" for name, size in sizes.items())
    verb, noun = ("is", "size") if len(sizes) == 1 else ("are", "sizes")
    warn_user(
        f'{given} {verb} the largest {noun} that "auto" takes: choosing from the data needs at '
        f"least {ENOUGH_TRIALS} trials, got {n_trials}. Unless these are averages of many trials, "
        "the fit may follow their noise and describe other trials much worse. Set "
        f"{' and '.join(sizes)} yourself, to small numbers."
    )


def choose_input_scale(inputs):
    """Compute the RMS of each channel, without overflow, underflow or rounding of the scale."""
    if inputs is None:
        return np.ones(0)
    _, power = np.frexp(np.abs(inputs).max(axis=(0, 1)))
    rms = np.ldexp(np.sqrt(np.square(np.ldexp(inputs, -power)).mean(axis=(0, 1))), power)
    return np.where(constant_neurons(np.zeros_like(rms), rms, float), 1.0, rms)


def choose_observation(est, X):
    """Return the name of the observation model, resolving "auto"."""
    if est.observation != "auto":
        return est.observation
    if est._two_d:
        return "gaussian"
    if looks_like_counts(X):
        return "poisson"
    warn_of_disguised(X)
    return "gaussian"


def choose_validation(est, n_trials, random_state):
    """Draw the indices of the trials held out for early stopping."""
    if not est.early_stopping:
        return np.empty(0, dtype=int)
    n = max(1, round(est.validation_fraction * n_trials))
    if n_trials - n < 2:
        raise ValueError(
            f"early_stopping leaves {n_trials - n} trials for training, but at least 2 are "
            "needed. Use more trials or early_stopping=False."
        )
    return np.sort(random_state.permutation(n_trials)[:n])


def _check_labels(est, labels, n_trials, name):
    """Check labels and return them with their codes; one shared embedding would be useless."""
    labels, codes = check_conditions(labels, n_trials, name)
    if est.embedding == "condition" and len(labels) < 2:
        raise ValueError(
            f'embedding="condition" needs at least 2 conditions, but {name} holds only '
            f'{labels.tolist()[0]!r}. Use embedding="trial".'
        )
    return labels, codes


def _kind(y):
    """Tell what a column holds: "labels", "continuous" values, or `MANY` different numbers."""
    # NaN and infinity are left to the check of conditions, which names them
    if y.dtype.kind not in "fiu" or not np.isfinite(y).all():
        return "labels"
    n = len(np.unique(y))
    if n <= y.size / 2:  # values that repeat, such as the angles of eight targets
        return "labels"
    if (y != np.round(y)).any():
        return "continuous"
    return MANY if n > MAX_LABELS else "labels"


def choose_drive(est, sessions, previous):
    """Choose which neurons drive others (boolean), if some are only read out; None if all do.

    With sessions of different neurons, as many drive others as the largest session has.
    """
    if previous is not None:
        drive = previous.connectivity.drive_others
        return None if drive is None or drive.all() else drive.cpu().numpy()
    sizes = [len(own) for _, own in sessions]
    n = max([ENOUGH_UNITS, *sizes])
    able = est.connectivity == "shared" and SOLVERS[est.solver].silences
    if not able or len(sessions) < 2 or n >= sum(sizes):
        return None
    drive = np.zeros(sum(sizes), dtype=bool)
    for _, own in sessions:  # each provides its share, spread over its neurons
        share = round(n * len(own) / len(drive))
        drive[own[np.linspace(0, len(own) - 1, share).round().astype(int)]] = True
    return drive
