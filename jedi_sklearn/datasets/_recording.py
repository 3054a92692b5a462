"""Record trials of a teacher RNN, load the stored teachers, and choose the observed neurons."""

from __future__ import annotations

from importlib.resources import files
from numbers import Integral

import numpy as np
from sklearn.utils import Bunch

from .._validation import check_number, check_option
from ..rnn import RNNBatch


def record(
    teacher,
    x0,
    inputs,
    time,
    initial_jitter,
    process_noise,
    observation_noise,
    rng,
    observe="state",
):
    """Simulate noisy recordings and noise-free runs of a teacher, in segments of ``len(time)``.

    `x0` has one row for all trials, or one per trial (required without `inputs`). If the inputs
    are longer than `time`, each trial makes several segments, in order. The free run of a segment
    starts from the true state at its beginning.
    """
    check_option(observe, "observe", ("state", "rate"))
    n_trials, duration = (len(x0), len(time)) if inputs is None else inputs.shape[:2]
    start = x0 + initial_jitter * rng.standard_normal((n_trials, teacher.n_neurons))
    X = teacher.simulate(start, duration, inputs, noise=process_noise, random_state=rng)
    X = X.reshape(-1, len(time), teacher.n_neurons)  # (segments, time, neurons)
    if inputs is not None:
        inputs = inputs.reshape(len(X), len(time), -1)
    free_run = teacher.simulate(X[:, 0], len(time), inputs)
    if observe == "rate":
        X, free_run = np.tanh(X), np.tanh(free_run)
    X += observation_noise * rng.standard_normal(X.shape)
    return Bunch(X=X, free_run=free_run, inputs=inputs, time=time, teacher=teacher)


def observe_some(data, n_neurons, rng):
    """Keep the activity of a random subset of neurons, and their indices as ``observed``."""
    n_total = data.teacher.n_neurons
    if n_neurons is None:
        data.observed = np.arange(n_total)
        return data
    data.observed = np.sort(rng.choice(n_total, n_neurons, replace=False))
    for name in ("X", "free_run"):
        data[name] = np.ascontiguousarray(data[name][:, :, data.observed])
    return data


def load_teacher(name, n_neurons=None):
    """Load the arrays of a stored teacher, with the network itself as ``teacher``.

    Raises an error if `n_neurons` is neither None nor possible for this teacher.
    """
    with (files(__package__) / f"{name}.npz").open("rb") as file, np.load(file) as stored:
        arrays = Bunch(**stored)
    weights = {key: arrays.pop(key) for key in ("U", "V", "bias", "input_weights")}
    teacher = RNNBatch(**weights, dt=arrays.dt, tau=arrays.tau)
    if n_neurons is not None:
        check_number(n_neurons, "n_neurons", Integral, low=1, high=teacher.n_neurons)
    arrays.output_weights = arrays.output_weights.astype(float)
    return Bunch(**arrays | {"teacher": teacher})


def check_sizes(n_trials, n_timesteps, **noise):
    """Check numbers of trials and time steps, and the SDs of noise."""
    check_number(n_trials, "n_trials", Integral, low=1)
    check_number(n_timesteps, "n_timesteps", Integral, low=2)
    for name, value in noise.items():
        check_number(value, name, low=0)
