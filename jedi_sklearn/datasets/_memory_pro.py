"""Simulate a trained network that sees, remembers and reports an angle."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from sklearn.utils import Bunch

from .._validation import check_number, check_seed
from ._recording import check_sizes, load_teacher, observe_some, record

PHASES = ("context", "stimulus", "memory", "response")


def make_memory_pro(
    n_trials=64,
    *,
    n_angles=8,
    n_timesteps=50,
    n_neurons=None,
    initial_jitter=0.1,
    process_noise=0.01,
    observation_noise=0.05,
    random_state=0,
):
    """Simulate trials of MemoryPro, a delayed report of an angle held by a ring of slow points.

    A trained leaky tanh RNN of 128 neurons (rank 12, dt = 0.02 s, tau = 0.1 s) has the inputs
    (fixation, cos, sin) and the outputs (fixation, cos, sin). A trial has four phases:

    - ``"context"``: the fixation input is 1,
    - ``"stimulus"``: fixation stays 1, and cos and sin of an angle are shown,
    - ``"memory"``: inputs are as in the context, and the angle must be remembered,
    - ``"response"``: all inputs are 0, and the outputs cos and sin must report the angle.

    In the first three phases the outputs are (1, 0, 0). Each phase is a segment of its own in
    `X`: its input is constant, so an autonomous RNN can describe it.

    Parameters
    ----------
    n_trials : int, default=64
        Number of trials. Each gives four segments.
    n_angles : int or None, default=8
        Number of evenly spaced angles, to which the trials are assigned evenly. With None, each
        trial has a random angle.
    n_timesteps : int, default=50
        Samples per segment, that is, per phase. The network was trained on stimuli of 20 to 60
        samples and delays of up to 150.
    n_neurons : int, optional
        Observe a random subset of this many neurons. Default: all 128.
    initial_jitter : float, default=0.1
        SD of each trial's initial state around 0.
    process_noise : float, default=0.01
        SD of the noise added to each state at each step.
    observation_noise : float, default=0.05
        SD of the noise added to each observed sample.
    random_state : int or RandomState, default=0
        Seed of the trials (angles, jitter, noise, neurons); the network is always the same.

    Returns
    -------
    Bunch
        The recording and its ground truth:

        - ``X`` (4 * n_trials, n_timesteps, n_neurons): recorded activity, with the phases of a
          trial in order,
        - ``phase`` (4 * n_trials,) str: "context", "stimulus", "memory" or "response",
        - ``condition`` (4 * n_trials,) str: the phase. Stimulus phases of different angles have
          different inputs and are different conditions, e.g. "stimulus 45 deg" (all "stimulus"
          if the angles are random),
        - ``angle`` (4 * n_trials,): the angle of the trial, rad in [0, 2 pi),
        - ``trial`` (4 * n_trials,) int: the trial of each segment, for grouped splits,
        - ``inputs`` (4 * n_trials, n_timesteps, 3): inputs, constant in each segment,
        - ``phase_inputs``: dict with the input (3,) of each phase whose input is always the
          same: "context", "memory" and "response",
        - ``free_run`` (4 * n_trials, n_timesteps, n_neurons): each segment without noise, from
          its true initial state,
        - ``time`` (n_timesteps,): sample times, s,
        - ``teacher``: the whole network, an :class:`~jedi_sklearn.RNNBatch` of one RNN with
          input weights,
        - ``output_weights`` (3, 128): outputs are ``tanh(states) @ output_weights.T``,
        - ``observed`` (n_neurons,) int: indices of the observed neurons.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range or not a number.

    Notes
    -----
    ``benchmarks/train_teachers.py`` trained the network, once.

    References
    ----------
    Driscoll, Shenoy and Sussillo (2024). Flexible multitask computation in recurrent networks
    utilizes shared dynamical motifs. Nature Neuroscience 27:1349-1363.

    Examples
    --------
    >>> from jedi_sklearn.datasets import make_memory_pro
    >>> data = make_memory_pro(8)
    >>> data.X.shape
    (32, 50, 128)
    >>> data.condition[4:8].tolist()
    ['context', 'stimulus 45 deg', 'memory', 'response']
    """
    check_sizes(
        n_trials,
        n_timesteps,
        initial_jitter=initial_jitter,
        process_noise=process_noise,
        observation_noise=observation_noise,
    )
    if n_angles is not None:
        check_number(n_angles, "n_angles", Integral, low=1)
    stored = load_teacher("memory_pro", n_neurons)
    teacher = stored.teacher
    rng = check_seed(random_state)

    if n_angles is None:
        angle = rng.uniform(0, 2 * np.pi, n_trials)
        stimulus = np.full(n_trials, "stimulus")
    else:
        index = np.arange(n_trials) % n_angles
        angle = 2 * np.pi * index / n_angles
        stimulus = np.array([f"stimulus {360 * i / n_angles:g} deg" for i in index])
    epochs = np.zeros((n_trials, 4, 3))
    epochs[:, :3, 0] = 1
    epochs[:, 1, 1:] = np.stack([np.cos(angle), np.sin(angle)], axis=1)

    data = record(
        teacher,
        np.zeros(teacher.n_neurons),
        np.repeat(epochs, n_timesteps, axis=1),
        teacher.dt * np.arange(n_timesteps),
        initial_jitter,
        process_noise,
        observation_noise,
        rng,
    )
    phase = np.tile(PHASES, n_trials)
    return Bunch(
        **observe_some(data, n_neurons, rng),
        phase=phase,
        condition=np.where(phase == "stimulus", np.repeat(stimulus, 4), phase),
        angle=np.repeat(angle, 4),
        trial=np.repeat(np.arange(n_trials), 4),
        phase_inputs={PHASES[i]: epochs[0, i] for i in (0, 2, 3)},
        output_weights=stored.output_weights,
    )
