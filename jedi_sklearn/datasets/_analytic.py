"""Simulate low-rank networks whose fixed points are known in closed form."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral

import numpy as np
from scipy.optimize import brentq
from sklearn.utils import Bunch

from .._validation import check_number, check_seed
from ..rnn import RNNBatch
from ._recording import check_sizes, record


def make_ring_attractor(
    n_trials=80,
    *,
    n_bins=8,
    n_neurons=100,
    n_timesteps=100,
    gain=2.0,
    dt=0.01,
    tau=0.1,
    initial_jitter=0.1,
    process_noise=0.01,
    observation_noise=0.05,
    random_state=0,
):
    r"""Simulate trials that relax to a ring of fixed points, in a rank-2 network.

    Neuron i prefers the angle :math:`\theta_i = 2 \pi i / N`, and the weights are
    :math:`J_{ij} = (2 g / N) \cos(\theta_i - \theta_j)`. Every state
    :math:`x_i = \kappa \cos(\theta_i - \psi)` with

    .. math:: \kappa = \frac{2 g}{N} \sum_i \cos(\theta_i) \tanh(\kappa \cos \theta_i)

    is a fixed point: exactly so at the preferred angles :math:`\psi = \theta_k`, and to machine
    precision in between if there are a hundred neurons. Nothing else is attracting; the origin
    is unstable. Trials start at random angles inside, near and outside the ring.

    Parameters
    ----------
    n_trials : int, default=80
        Number of trials.
    n_bins : int, default=8
        Number of angle bins, which are the conditions.
    n_neurons : int, default=100
        Number of neurons in the network (N), at least 8.
    n_timesteps : int, default=100
        Samples per trial.
    gain : float, default=2.0
        Scale g of the weights. It must exceed 1; otherwise there is no ring.
    dt, tau : float
        Time step and time constant, s.
    initial_jitter : float, default=0.1
        SD of each trial's initial state around the plane of the ring.
    process_noise : float, default=0.01
        SD of the noise added to each state at each step.
    observation_noise : float, default=0.05
        SD of the noise added to each observed sample.
    random_state : int or RandomState, default=0
        Seed of the trials (initial states, jitter, noise); the network is not random.

    Returns
    -------
    Bunch
        The recording and its ground truth:

        - ``X`` (n_trials, n_timesteps, n_neurons): recorded activity,
        - ``angle`` (n_trials,): where on the ring the noise-free run ends, rad in [0, 2 pi),
        - ``condition`` (n_trials,) str: the bin of that angle, e.g. "45 deg",
        - ``free_run`` (n_trials, n_timesteps, n_neurons): the trials without noise, from the true
          initial states,
        - ``time`` (n_timesteps,): sample times, s,
        - ``teacher``: the network, an :class:`~jedi_sklearn.RNNBatch` of one RNN,
        - ``radius``: :math:`\kappa`,
        - ``preferred_angles`` (n_neurons,): preferred angle of each neuron, rad,
        - ``fixed_points`` (n_neurons, n_neurons): row k is the fixed point at
          ``preferred_angles[k]``,
        - ``leading_eigenvalues`` (2,): eigenvalues of the effective weights at each fixed point,
          along the ring (1: neutral) and across it (below 1: stable). At the origin both equal
          `gain`.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range or not a number.

    References
    ----------
    Mastrogiuseppe and Ostojic (2018). Linking connectivity, dynamics, and computations in
    low-rank recurrent neural networks. Neuron 99:609-623.

    Beiran, Dubreuil, Valente, Mastrogiuseppe and Ostojic (2021). Shaping dynamics with multiple
    populations in low-rank recurrent networks. Neural Computation 33:1572-1615.

    Examples
    --------
    >>> from jedi_sklearn.datasets import make_ring_attractor
    >>> data = make_ring_attractor(8)
    >>> data.X.shape, round(data.radius, 3)
    ((8, 100, 100), 2.316)
    >>> point = data.fixed_points[:1]
    >>> bool(abs(data.teacher.step(point) - point).max() < 1e-12)
    True
    """
    check_sizes(
        n_trials,
        n_timesteps,
        initial_jitter=initial_jitter,
        process_noise=process_noise,
        observation_noise=observation_noise,
    )
    check_number(n_bins, "n_bins", Integral, low=1)
    check_number(n_neurons, "n_neurons", Integral, low=8)
    check_number(gain, "gain", low=1, closed=False)
    rng = check_seed(random_state)

    preferred = 2 * np.pi * np.arange(n_neurons) / n_neurons
    plane = np.stack([np.cos(preferred), np.sin(preferred)], axis=1)  # (neurons, 2)
    teacher = RNNBatch(2 * gain / n_neurons * plane, plane, dt=dt, tau=tau)
    cos, sin = plane.T
    radius = _nonzero_root(lambda k: 2 * gain * np.mean(cos * np.tanh(k * cos)), gain)
    slope = 1 - np.tanh(radius * cos) ** 2

    angle = rng.uniform(0, 2 * np.pi, n_trials)
    distance = radius * rng.uniform(0.2, 1.8, n_trials)
    start = distance[:, None] * np.cos(preferred - angle[:, None])
    data = record(
        teacher,
        start,
        None,
        dt * np.arange(n_timesteps),
        initial_jitter,
        process_noise,
        observation_noise,
        rng,
    )
    del data["inputs"]
    end = data.free_run[:, -1] @ plane
    angle = np.arctan2(end[:, 1], end[:, 0]) % (2 * np.pi)
    bins = np.round(angle / (2 * np.pi) * n_bins).astype(int) % n_bins
    return Bunch(
        **data,
        angle=angle,
        condition=np.array([f"{360 * i / n_bins:g} deg" for i in bins]),
        radius=radius,
        preferred_angles=preferred,
        fixed_points=radius * np.cos(preferred - preferred[:, None]),
        leading_eigenvalues=2 * gain * np.mean([sin**2 * slope, cos**2 * slope], axis=1),
    )


def make_bistable_decision(
    n_trials=60,
    *,
    strengths=(0.25, 0.5, 1.0),
    pulse_duration=0.3,
    n_neurons=100,
    n_timesteps=100,
    gain=2.0,
    dt=0.01,
    tau=0.1,
    initial_jitter=0.1,
    process_noise=0.01,
    observation_noise=0.05,
    teacher_seed=0,
    random_state=0,
):
    r"""Simulate trials in which a pulse decides between two fixed points, in a rank-1 network.

    The weights are :math:`J = g\, m m^T / N`, where m has N entries of +1 and -1, and evidence
    enters along m. The network has three fixed points, :math:`x = 0` and :math:`x = \pm \kappa m`
    with :math:`\kappa = g \tanh \kappa`. A trial starts near the unstable point 0. A pulse of
    evidence of either sign arrives, and the network holds the choice after the pulse has ended.

    Parameters
    ----------
    n_trials : int, default=60
        Number of trials, spread evenly over the signs and strengths of the evidence.
    strengths : tuple of float, default=(0.25, 0.5, 1.0)
        Strengths of the evidence, above 0; each occurs with both signs.
    pulse_duration : float, default=0.3
        Duration of the evidence from the start of a trial, s; shorter than the trial.
    n_neurons : int, default=100
        Number of neurons in the network (N).
    n_timesteps : int, default=100
        Samples per trial.
    gain : float, default=2.0
        Scale g of the weights. It must exceed 1; otherwise 0 is the only fixed point.
    dt, tau : float
        Time step and time constant, s.
    initial_jitter : float, default=0.1
        SD of each trial's initial state around 0.
    process_noise : float, default=0.01
        SD of the noise added to each state at each step.
    observation_noise : float, default=0.05
        SD of the noise added to each observed sample.
    teacher_seed : int, default=0
        Seed of the network (the signs m).
    random_state : int or RandomState, default=0
        Seed of the trials (jitter, noise).

    Returns
    -------
    Bunch
        The recording and its ground truth:

        - ``X`` (n_trials, n_timesteps, n_neurons): recorded activity,
        - ``choice`` (n_trials,) int: -1 or 1, the side on which the recorded trial ends,
        - ``evidence`` (n_trials,): signed strength,
        - ``condition`` (n_trials,) str: the same as text, e.g. "evidence +0.5",
        - ``inputs`` (n_trials, n_timesteps, 1): evidence over time,
        - ``free_run`` (n_trials, n_timesteps, n_neurons): the trials without noise, from the true
          initial states,
        - ``time`` (n_timesteps,): sample times, s,
        - ``teacher``: the network, an :class:`~jedi_sklearn.RNNBatch` of one RNN,
        - ``fixed_points`` (3, n_neurons): :math:`-\kappa m`, 0 and :math:`\kappa m`,
        - ``leading_eigenvalues`` (3,): the nonzero eigenvalue of the effective weights at each
          fixed point: :math:`g (1 - \tanh^2 \kappa)`, below 1 (stable); g (unstable); and the
          first one again.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range or not a number.

    References
    ----------
    Mastrogiuseppe and Ostojic (2018). Linking connectivity, dynamics, and computations in
    low-rank recurrent neural networks. Neuron 99:609-623.

    Examples
    --------
    >>> from jedi_sklearn.datasets import make_bistable_decision
    >>> data = make_bistable_decision(6)
    >>> data.evidence.tolist(), data.choice.tolist()
    ([-0.25, 0.25, -0.5, 0.5, -1.0, 1.0], [-1, 1, -1, 1, -1, 1])
    >>> data.leading_eigenvalues.round(3).tolist()
    [0.166, 2.0, 0.166]
    """
    check_sizes(
        n_trials,
        n_timesteps,
        initial_jitter=initial_jitter,
        process_noise=process_noise,
        observation_noise=observation_noise,
    )
    check_number(n_neurons, "n_neurons", Integral, low=1)
    check_number(gain, "gain", low=1, closed=False)
    if not isinstance(strengths, Iterable) or not len(tuple(strengths)):
        raise ValueError(f"strengths must hold at least one strength, got {strengths!r}.")
    for strength in strengths:
        check_number(strength, "each of strengths", low=0, closed=False)
    rng = check_seed(random_state)

    signs = check_seed(teacher_seed, "teacher_seed").choice([-1.0, 1.0], n_neurons)[:, None]
    teacher = RNNBatch(gain / n_neurons * signs, signs, input_weights=signs, dt=dt, tau=tau)
    end = dt * (n_timesteps - 1)
    check_number(pulse_duration, "pulse_duration", low=0, high=end, closed=False, unit="s")
    kappa = _nonzero_root(lambda k: gain * np.tanh(k), gain)

    levels = np.outer(strengths, (-1.0, 1.0)).ravel()
    evidence = levels[np.arange(n_trials) % len(levels)]
    time = dt * np.arange(n_timesteps)
    inputs = (evidence[:, None] * (time < pulse_duration))[:, :, None]
    data = record(
        teacher,
        np.zeros(n_neurons),
        inputs,
        time,
        initial_jitter,
        process_noise,
        observation_noise,
        rng,
    )
    at_point = gain * (1 - np.tanh(kappa) ** 2)
    return Bunch(
        **data,
        choice=np.where(data.X[:, -1] @ signs[:, 0] > 0, 1, -1),
        evidence=evidence,
        condition=np.array([f"evidence {e:+g}" for e in evidence]),
        fixed_points=kappa * np.array([[-1.0], [0.0], [1.0]]) * signs[:, 0],
        leading_eigenvalues=np.array([at_point, gain, at_point]),
    )


def _nonzero_root(drive, gain):
    """Solve drive(kappa) = kappa for kappa > 0.

    Since tanh(x) >= x - x^3 / 3, the drive exceeds kappa at the lower bound of the bracket; it is
    always below 2 gain.
    """
    return brentq(lambda k: drive(k) - k, np.sqrt(1 - 1 / gain), 2 * gain, xtol=1e-15)
