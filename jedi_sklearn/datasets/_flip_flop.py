"""Simulate a trained network that remembers three bits."""

from __future__ import annotations

from itertools import product
from numbers import Integral

import numpy as np
from sklearn.utils import Bunch

from .._validation import check_number, check_seed
from ._recording import check_sizes, load_teacher, observe_some, record


def make_flip_flop(
    n_trials=40,
    *,
    n_pulses=3,
    n_timesteps=40,
    include_pulses=True,
    n_neurons=None,
    initial_jitter=0.1,
    process_noise=0.01,
    observation_noise=0.05,
    random_state=0,
):
    """Simulate trials of the 3-bit flip-flop, a memory task with eight attractors.

    A trained leaky tanh RNN of 64 neurons (rank 6, dt = 0.01 s, tau = 0.1 s) has three input
    channels, which receive pulses of +1 and -1, and three outputs, each of which holds the sign
    of the last pulse on its channel. Without input the network has exactly eight stable fixed
    points, one for each state of the three bits.

    A trial starts near one of them. Epochs without input ("hold") alternate with pulses on one
    channel; the first and last epochs are holds. Each epoch is a segment of its own in `X`: its
    input is constant, so an autonomous RNN can describe it.

    Parameters
    ----------
    n_trials : int, default=40
        Number of trials. Each gives ``2 * n_pulses + 1`` segments, or ``n_pulses + 1`` without
        the pulses.
    n_pulses : int, default=3
        Pulses per trial, each on a random channel with a random sign.
    n_timesteps : int, default=40
        Samples per segment. With fewer than 20, a bit may flip only after its pulse; with fewer
        than 15, not at all.
    include_pulses : bool, default=True
        Return the pulse segments as well as the holds.
    n_neurons : int, optional
        Observe a random subset of this many neurons. Default: all 64.
    initial_jitter : float, default=0.1
        SD of each trial's initial state around its fixed point.
    process_noise : float, default=0.01
        SD of the noise added to each state at each step.
    observation_noise : float, default=0.05
        SD of the noise added to each observed sample.
    random_state : int or RandomState, default=0
        Seed of the trials (pulses, jitter, noise, neurons); the network is always the same.

    Returns
    -------
    Bunch
        The recording and its ground truth:

        - ``X`` (n_segments, n_timesteps, n_neurons): recorded activity, with the segments of a
          trial in order,
        - ``condition`` (n_segments,) str: "hold", "bit 1 up", "bit 1 down", ... "bit 3 down",
        - ``trial`` (n_segments,) int: the trial of each segment, for grouped splits,
        - ``memory`` (n_segments, 3) int: the bits (-1 or 1) at the end of the segment,
        - ``inputs`` (n_segments, n_timesteps, 3): input pulses, constant in each segment,
        - ``free_run`` (n_segments, n_timesteps, n_neurons): each segment without noise, from its
          true initial state,
        - ``time`` (n_timesteps,): sample times, s,
        - ``teacher``: the whole network, an :class:`~jedi_sklearn.RNNBatch` of one RNN with
          input weights,
        - ``output_weights`` (3, 64): outputs are ``tanh(states) @ output_weights.T``,
        - ``observed`` (n_neurons,) int: indices of the observed neurons,
        - ``fixed_points`` (8, 64): the stable fixed points without input,
        - ``fixed_point_memory`` (8, 3) int: their bits, in the order (-1, -1, -1),
          (-1, -1, 1), ... (1, 1, 1).

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range or not a number.

    Notes
    -----
    ``benchmarks/train_teachers.py`` trained the network, once.

    References
    ----------
    Sussillo and Barak (2013). Opening the black box: low-dimensional dynamics in
    high-dimensional recurrent neural networks. Neural Computation 25:626-649.

    Examples
    --------
    >>> from jedi_sklearn.datasets import make_flip_flop
    >>> data = make_flip_flop(4)
    >>> data.X.shape, data.fixed_points.shape
    ((28, 40, 64), (8, 64))
    >>> data.condition[:3].tolist()
    ['hold', 'bit 2 down', 'hold']
    """
    check_sizes(
        n_trials,
        n_timesteps,
        initial_jitter=initial_jitter,
        process_noise=process_noise,
        observation_noise=observation_noise,
    )
    check_number(n_pulses, "n_pulses", Integral, low=1)
    stored = load_teacher("flip_flop", n_neurons)
    teacher = stored.teacher
    rng = check_seed(random_state)

    points = _polish(teacher, stored.fixed_points)
    bits = np.array(list(product((-1, 1), repeat=3)))
    first = rng.randint(8, size=n_trials)
    channel = rng.randint(3, size=(n_trials, n_pulses))
    sign = rng.choice([-1, 1], size=(n_trials, n_pulses))
    pulses = sign[:, :, None] * np.eye(3, dtype=int)[channel]  # (trials, pulses, channels)
    epochs = np.zeros((n_trials, 2 * n_pulses + 1, 3), dtype=int)
    epochs[:, 1::2] = pulses
    memory = np.empty_like(epochs)
    held = bits[first]
    for i in range(epochs.shape[1]):
        held = np.where(epochs[:, i] == 0, held, epochs[:, i])
        memory[:, i] = held

    data = record(
        teacher,
        points[first],
        np.repeat(epochs, n_timesteps, axis=1).astype(float),
        teacher.dt * np.arange(n_timesteps),
        initial_jitter,
        process_noise,
        observation_noise,
        rng,
    )
    condition = np.full(epochs.shape[:2], "hold", dtype="U10")
    condition[:, 1::2] = np.char.add(
        np.array(["bit 1", "bit 2", "bit 3"])[channel], np.where(sign > 0, " up", " down")
    )
    trial = np.repeat(np.arange(n_trials), epochs.shape[1])
    data.update(condition=condition.ravel(), trial=trial, memory=memory.reshape(-1, 3))
    if not include_pulses:
        hold = data.condition == "hold"
        for name in ("X", "free_run", "inputs", "condition", "trial", "memory"):
            data[name] = data[name][hold]
    return Bunch(
        **observe_some(data, n_neurons, rng),
        output_weights=stored.output_weights,
        fixed_points=points,
        fixed_point_memory=bits,
    )


def _polish(teacher, points, n_iter=5):
    """Refine fixed points stored in single precision to machine precision (Newton's method)."""
    points = points.astype(float)
    for _ in range(n_iter):
        slope = teacher.jacobian(points) - np.eye(teacher.n_neurons)
        residual = teacher.step(points) - points
        points = points - np.linalg.solve(slope, residual[:, :, None])[:, :, 0]
    return points
