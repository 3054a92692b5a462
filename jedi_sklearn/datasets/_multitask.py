"""Simulate a random low-rank teacher RNN that performs several tasks."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral

import numpy as np
from sklearn.utils import Bunch

from .._validation import as_numbers, check_number, check_option, check_seed
from ..rnn import RNNBatch
from ._recording import check_sizes, record

TASKS = ("oscillation", "decision", "memory", "reach")
CHANNELS = ("oscillation", "evidence", "cue", "go", "reach x", "reach y")


def make_multitask(
    n_trials=160,
    *,
    tasks=TASKS,
    n_conditions_per_task=None,
    n_neurons=200,
    n_timesteps=150,
    rank=5,
    gain=1.8,
    dt=0.01,
    tau=0.1,
    observe="state",
    initial_jitter=0.1,
    process_noise=0.01,
    observation_noise=0.05,
    teacher_seed=0,
    random_state=0,
):
    """Simulate trials of several tasks, all performed by one random low-rank teacher RNN.

    The teacher has weights ``gain * U V^T / sqrt(n_neurons)`` and input weights with standard
    normal entries, as in the synthetic data of the JEDI paper. Six input channels drive it. The
    four task families vary from trial to trial:

    - ``"oscillation"``: a sinusoid of 1 to 4 Hz with a random phase,
    - ``"decision"``: a step of either sign and varying strength,
    - ``"memory"``: a pulse of either sign, a delay of varying length, and a go cue,
    - ``"reach"``: a ramp to a held target in a random direction (two channels).

    Parameters
    ----------
    n_trials : int, default=160
        Number of trials, spread evenly over the tasks (and conditions).
    tasks : tuple of str
        Task families to simulate.
    n_conditions_per_task : int, optional
        Draw each trial near one of this many prototypes per task (frequencies, strengths,
        delays, directions) instead of from a continuum.
    n_neurons, n_timesteps : int
        Number of neurons, and of samples per trial.
    rank : int, default=5
        Rank of the teacher's weights.
    gain : float, default=1.8
        Scale of the teacher's weights.
    dt, tau : float
        Time step and time constant, s.
    observe : {"state", "rate"}, default="state"
        Whether to record the state x or the rate tanh(x).
    initial_jitter : float, default=0.1
        SD of each trial's initial state around the common one (whose SD over neurons is 0.5).
    process_noise : float, default=0.01
        SD of the noise added to each state at each step.
    observation_noise : float, default=0.05
        SD of the noise added to each observed sample.
    teacher_seed : int, default=0
        Seed of the teacher (weights, common initial state).
    random_state : int or RandomState, default=0
        Seed of the trials (task parameters, jitter, noise).

    Returns
    -------
    Bunch
        The recording and its ground truth:

        - ``X`` (n_trials, n_timesteps, n_neurons): recorded activity,
        - ``task`` (n_trials,) str, ``condition`` (n_trials,) str: labels,
        - ``inputs`` (n_trials, n_timesteps, 6): inputs, with their names in ``input_names``,
        - ``time`` (n_timesteps,): sample times, s,
        - ``free_run`` (n_trials, n_timesteps, n_neurons): runs of the teacher from the true
          initial states with the true inputs, without process or observation noise; their R2 on
          `X` is the ceiling for any model,
        - ``teacher``: the teacher, an :class:`~jedi_sklearn.RNNBatch` of one RNN.

    Raises
    ------
    ValueError, TypeError
        If a task is unknown, or an argument is out of range or not a number.

    See Also
    --------
    make_spike_counts : Draws spikes from the activity.

    Examples
    --------
    >>> from jedi_sklearn.datasets import make_multitask
    >>> data = make_multitask(n_trials=8, n_neurons=30, random_state=1)
    >>> data.X.shape, sorted(set(data.task.tolist()))
    ((8, 150, 30), ['decision', 'memory', 'oscillation', 'reach'])
    """
    if isinstance(tasks, str) or not isinstance(tasks, Iterable) or not len(tuple(tasks)):
        raise ValueError(f"tasks must be a tuple of names among {TASKS}, got {tasks!r}.")
    for name in tasks:
        check_option(name, "each of tasks", TASKS)
    check_sizes(
        n_trials,
        n_timesteps,
        initial_jitter=initial_jitter,
        process_noise=process_noise,
        observation_noise=observation_noise,
    )
    if n_conditions_per_task is not None:
        check_number(n_conditions_per_task, "n_conditions_per_task", Integral, low=1)
    rng = check_seed(random_state)
    teacher, x0 = make_teacher(teacher_seed, n_neurons, rank, gain, len(CHANNELS), dt, tau)
    time = np.arange(n_timesteps) * dt

    task = np.array([tasks[i % len(tasks)] for i in range(n_trials)])
    n_cond = n_conditions_per_task or 1
    prototype = np.arange(n_trials) // len(tasks) % n_cond
    draw = {"oscillation": _oscillation, "decision": _decision, "memory": _memory, "reach": _reach}
    inputs = np.zeros((n_trials, n_timesteps, len(CHANNELS)))
    for k in range(n_trials):
        level = None if n_conditions_per_task is None else (prototype[k], n_cond)
        inputs[k] = draw[task[k]](time, level, rng)
    condition = task.copy()
    if n_conditions_per_task is not None:
        condition = np.array([f"{t}-{p}" for t, p in zip(task, prototype, strict=True)])
    data = record(
        teacher, x0, inputs, time, initial_jitter, process_noise, observation_noise, rng, observe
    )
    return Bunch(**data, task=task, condition=condition, input_names=CHANNELS)


def make_multifrequency(
    n_trials_per_frequency=8,
    *,
    frequencies=tuple(range(1, 11)),
    amplitude=1.0,
    n_neurons=200,
    n_timesteps=200,
    rank=5,
    gain=1.8,
    dt=0.01,
    tau=0.1,
    observe="state",
    initial_jitter=0.1,
    process_noise=0.01,
    observation_noise=0.05,
    teacher_seed=0,
    random_state=0,
):
    """Simulate trials of the :func:`make_multitask` teacher driven by sinusoids of 1 to 10 Hz.

    Parameters
    ----------
    n_trials_per_frequency : int, default=8
        Number of trials per frequency, with random phases.
    frequencies : tuple of float, default=(1, 2, ..., 10)
        Input frequencies, Hz.
    amplitude : float, default=1.0
        Amplitude of the input. The response falls with frequency. For a teacher with activity of
        its own, an amplitude of 1 at 10 Hz contributes less than 1 % of the variance, and an
        amplitude of 3 a few per cent.
    n_neurons, n_timesteps : int
        Number of neurons, and of samples per trial.
    rank : int, default=5
        Rank of the teacher's weights.
    gain : float, default=1.8
        Scale of the teacher's weights.
    dt, tau : float
        Time step and time constant, s.
    observe : {"state", "rate"}, default="state"
        Whether to record the state x or the rate tanh(x).
    initial_jitter : float, default=0.1
        SD of each trial's initial state around the common one (whose SD over neurons is 0.5).
    process_noise : float, default=0.01
        SD of the noise added to each state at each step.
    observation_noise : float, default=0.05
        SD of the noise added to each observed sample.
    teacher_seed : int, default=0
        Seed of the teacher (weights, common initial state).
    random_state : int or RandomState, default=0
        Seed of the trials (phases, jitter, noise).

    Returns
    -------
    Bunch
        As from :func:`make_multitask`, plus ``frequency`` (n_trials,) in Hz; ``condition`` is the
        same as text. ``inputs`` has one channel.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range or not a number.

    Examples
    --------
    >>> from jedi_sklearn.datasets import make_multifrequency
    >>> data = make_multifrequency(2, frequencies=(1, 4), n_neurons=30)
    >>> data.frequency
    array([1., 1., 4., 4.])
    """
    check_number(n_trials_per_frequency, "n_trials_per_frequency", Integral, low=1)
    check_number(amplitude, "amplitude")
    hertz = np.atleast_1d(as_numbers(frequencies, "frequencies"))
    if hertz.ndim != 1 or not hertz.size or not np.isfinite(hertz).all():
        raise ValueError(f"frequencies must be finite numbers (in Hz), got {frequencies!r}.")
    check_sizes(
        len(hertz) * n_trials_per_frequency,
        n_timesteps,
        initial_jitter=initial_jitter,
        process_noise=process_noise,
        observation_noise=observation_noise,
    )
    rng = check_seed(random_state)
    teacher, x0 = make_teacher(teacher_seed, n_neurons, rank, gain, 1, dt, tau)
    time = np.arange(n_timesteps) * dt
    frequency = np.repeat(hertz, n_trials_per_frequency)
    phase = rng.uniform(0, 2 * np.pi, len(frequency))
    inputs = np.sin(2 * np.pi * frequency[:, None] * time + phase[:, None])[:, :, None]
    inputs *= amplitude
    condition = np.array([f"{f:g} Hz" for f in frequency])
    data = record(
        teacher, x0, inputs, time, initial_jitter, process_noise, observation_noise, rng, observe
    )
    return Bunch(
        **data,
        task=np.full(len(frequency), "oscillation"),
        condition=condition,
        frequency=frequency,
        input_names=("oscillation",),
    )


def make_teacher(seed, n_neurons, rank, gain, n_inputs, dt, tau, n_starts=None):
    """Draw a random low-rank RNN and an initial state, or `n_starts` of them (one per row)."""
    check_number(rank, "rank", Integral, low=1)
    check_number(n_neurons, "n_neurons", Integral, low=rank)
    check_number(gain, "gain")
    rng = check_seed(seed, "teacher_seed")
    U, V = rng.standard_normal((2, n_neurons, rank))
    B = rng.standard_normal((n_neurons, n_inputs)) if n_inputs else None
    teacher = RNNBatch(gain / np.sqrt(n_neurons) * U, V, input_weights=B, dt=dt, tau=tau)
    shape = n_neurons if n_starts is None else (n_starts, n_neurons)
    return teacher, 0.5 * rng.standard_normal(shape)


# Inputs of one trial of each task, (n_timesteps, channels). `level` is None (draw from a
# continuum) or (prototype, number of prototypes): draw near that prototype.


def _between(low, high, level, rng):
    """Draw a value in [low, high]: uniformly, or near one of evenly spaced prototypes."""
    if level is None:
        return rng.uniform(low, high)
    index, n = level
    return low + (high - low) * (index + 0.5 + 0.05 * rng.standard_normal()) / n


def _sign(level, rng):
    return rng.choice([-1.0, 1.0]) if level is None else 1.0 - 2.0 * (level[0] % 2)


def _oscillation(time, level, rng):
    u = np.zeros((len(time), len(CHANNELS)))
    phase = rng.uniform(0, 2 * np.pi) if level is None else 0.2 * rng.standard_normal()
    u[:, 0] = np.sin(2 * np.pi * _between(1.0, 4.0, level, rng) * time + phase)
    return u


def _decision(time, level, rng):
    u = np.zeros((len(time), len(CHANNELS)))
    strength = _sign(level, rng) * _between(0.3, 1.2, level, rng)
    u[time >= 0.2 * time[-1], 1] = strength
    return u


def _memory(time, level, rng):
    u = np.zeros((len(time), len(CHANNELS)))
    end = time[-1]
    go = _between(0.5, 0.75, level, rng) * end
    u[(time >= 0.1 * end) & (time < 0.25 * end), 2] = _sign(level, rng) * rng.uniform(0.8, 1.2)
    u[(time >= go) & (time < go + 0.15 * end), 3] = 1.0
    return u


def _reach(time, level, rng):
    u = np.zeros((len(time), len(CHANNELS)))
    angle = _between(0.0, 2 * np.pi, level, rng)
    ramp = np.clip((time / time[-1] - 0.2) / 0.4, 0.0, 1.0)
    u[:, 4:] = ramp[:, None] * np.array([np.cos(angle), np.sin(angle)])
    return u
