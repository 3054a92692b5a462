"""Simulate one RNN without inputs whose conditions differ only in their initial states."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from sklearn.utils import Bunch

from .._validation import check_number, check_seed
from ._multitask import make_teacher
from ._recording import check_sizes, record


def make_initial_states(
    n_trials=160,
    *,
    n_conditions=8,
    n_neurons=200,
    n_timesteps=150,
    rank=5,
    gain=1.8,
    dt=0.01,
    tau=0.1,
    observe="state",
    initial_jitter=0.05,
    process_noise=0.003,
    observation_noise=0.3,
    teacher_seed=0,
    random_state=0,
):
    """Simulate trials of one RNN without inputs that differ only in their initial states.

    The teacher is that of :func:`make_multitask` without its inputs. Each condition has its own
    initial state, each trial starts near that of its condition, and the same weights govern all
    trials, just as movements have been proposed to unfold from preparatory states [1]_. All that
    distinguishes the conditions is the initial state and what follows from it.

    Parameters
    ----------
    n_trials : int, default=160
        Number of trials, spread evenly over the conditions.
    n_conditions : int, default=8
        Number of initial states, whose SD over neurons is 0.5.
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
    initial_jitter : float, default=0.05
        SD of each trial's initial state around that of its condition.
    process_noise : float, default=0.003
        SD of the noise added to each state at each step.
    observation_noise : float, default=0.3
        SD of the noise added to each observed sample.
    teacher_seed : int, default=0
        Seed of the teacher (weights, initial states of the conditions).
    random_state : int or RandomState, default=0
        Seed of the trials (jitter, noise).

    Returns
    -------
    Bunch
        The recording and its ground truth:

        - ``X`` (n_trials, n_timesteps, n_neurons): recorded activity,
        - ``condition`` (n_trials,) int: index of the trial's initial state,
        - ``initial_states`` (n_conditions, n_neurons): initial states of the conditions,
        - ``inputs``: None, because there are no inputs,
        - ``time`` (n_timesteps,): sample times, s,
        - ``free_run`` (n_trials, n_timesteps, n_neurons): runs of the teacher from the true
          initial states, without process or observation noise,
        - ``teacher``: the teacher, an :class:`~jedi_sklearn.RNNBatch` of one RNN.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range or not a number.

    References
    ----------
    .. [1] Churchland et al. (2010). Cortical preparatory activity: representation of movement or
       first cog in a dynamical machine? Neuron 68:387-400.

    Examples
    --------
    >>> from jedi_sklearn.datasets import make_initial_states
    >>> data = make_initial_states(n_trials=6, n_conditions=3, n_neurons=30)
    >>> data.X.shape, data.condition.tolist()
    ((6, 150, 30), [0, 1, 2, 0, 1, 2])
    """
    check_sizes(
        n_trials,
        n_timesteps,
        initial_jitter=initial_jitter,
        process_noise=process_noise,
        observation_noise=observation_noise,
    )
    check_number(n_conditions, "n_conditions", Integral, low=1)
    rng = check_seed(random_state)
    teacher, starts = make_teacher(
        teacher_seed, n_neurons, rank, gain, 0, dt, tau, n_starts=n_conditions
    )
    time = np.arange(n_timesteps) * dt
    condition = np.arange(n_trials) % n_conditions
    data = record(
        teacher,
        starts[condition],
        None,
        time,
        initial_jitter,
        process_noise,
        observation_noise,
        rng,
        observe,
    )
    return Bunch(**data, condition=condition, initial_states=starts)
