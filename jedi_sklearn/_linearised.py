"""Runs of parameters, their deviance from trials, and its derivatives, for inference.

The parameters of a run are p = [c, q]: the embedding and the coordinates of the initial state.
`run` computes the deviance of each run, `system` its gradient and the Gauss-Newton (Fisher)
curvature. `DenseRuns` propagates the tangents of all neurons and works for any connectivity.
`SplitRuns` (`_split_runs.py`) propagates those of the coordinates in which shared bases move the
state. Each connectivity names the class that it uses.

A problem, here and in `_split_runs.py`, is one (parameters, trial) pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ._rollout import drive, simulate
from ._torch import temporary_bytes
from ._trials import Trials

__all__ = ["DenseRuns", "deviances", "runs_of_known"]

CHUNK_BYTES = 16e6  # of a large temporary, for the problems processed together on the CPU


class DenseRuns:
    """Runs with tangents of every neuron.

    `run` and `system` expect trials as `target` makes them from `Trials` and a strength of
    teacher forcing.

    Parameters
    ----------
    hypernetwork : Hypernetwork
    initial_state : InitialState
    observation : Observation
    alpha : float
        Time step of the RNN over tau.
    """

    lifts = False  # whether coordinates can be unknowns as well, as in `SplitRuns.lift`

    def __init__(self, hypernetwork, initial_state, observation, alpha):
        self.hypernetwork, self.initial_state = hypernetwork, initial_state
        self.observation, self.alpha = observation, alpha
        self.connectivity = hypernetwork.connectivity
        self.d = hypernetwork.n_components
        self.size = self.d + initial_state.size

    def target(self, trials, teacher_forcing=0.0):
        """Prepare trials for runs with this teacher forcing."""
        return DenseTarget(trials, teacher_forcing)

    @property
    def chunk_bytes(self):
        """Size of a large temporary, for the problems processed together."""
        return temporary_bytes(self.hypernetwork.B.device, CHUNK_BYTES)

    def chunk(self, target):
        """Compute how many problems to process together."""
        n_steps, _, n_neurons = target.shape
        each = max(n_neurons * max(n_steps, 2 * self.d), self.d * self.connectivity.n_values)
        return max(1, int(self.chunk_bytes / 8 / each))

    def first_guess(self, trials, mean):
        """Make initial parameters (trials, m) from the mean of their prior."""
        c = mean[: self.d].expand(len(trials), -1)
        q = self.initial_state.guess(trials.guide[0])
        return torch.cat([c, q], 1)

    def with_embedding(self, p, c):
        """Replace the embedding in parameters p with another, (d,) or (problems, d)."""
        return torch.cat([c.expand(len(p), self.d), p[:, self.d :]], 1)

    def start(self, p, trials):
        """Compute weights and first states of the runs."""
        return self._start(self.hypernetwork.features(p[:, : self.d]), p, trials)

    def start_linearised(self, p, trials):
        """Compute weights, their tangents by the embedding, and first states of the runs."""
        f, slopes = self.hypernetwork.linearise(p[:, : self.d])
        weights, x0 = self._start(f, p, trials)
        return weights, self.connectivity.tangents(slopes), x0

    def _start(self, f, p, trials):
        weights = self.hypernetwork.weights(f)
        generated = self.connectivity.generated(weights)
        return weights, self.initial_state(p[:, self.d :], trials.guide[0], generated)

    @torch.no_grad()
    def run(self, p, target, keep=False):
        """Compute the deviance of each problem's run and, with `keep`, what `system` needs."""
        trials, teacher_forcing = target.trials, target.teacher_forcing
        weights, x = self.start(p, trials)
        deviance, pulls = x.new_zeros(len(x)), trials.pulls(teacher_forcing)
        for t, guide in enumerate(trials.guide):
            deviance += self.observation.score(x, trials.y[t], trials.weight_at(t))[2]
            x = x - pulls[t] * (x - guide)
            driven = drive(self.connectivity, weights, torch.tanh(x), trials.inputs[t])
            x = (1 - self.alpha) * x + self.alpha * driven
        return deviance, None

    @torch.no_grad()
    def system(self, p, target, kept, exact=False):
        """Compute gradient and Gauss-Newton curvature of half the deviance, and the remainder.

        The shapes are (problems, m), (problems, m, m) and (problems, m, m). The last is what the
        exact curvature adds; it is None unless `exact`, and always None in this class.
        """
        curvature, gradient = 0.0, 0.0
        for score, h, dx, _ in self.tangent_run(p, target.trials, target.teacher_forcing):
            seen = dx if h is None else dx * h.unsqueeze(1)
            curvature = curvature + torch.bmm(seen, dx.transpose(1, 2))
            gradient = gradient + torch.bmm(dx, score.unsqueeze(-1))[..., 0]
        return gradient, curvature, None

    @torch.no_grad()
    def tangent_run(self, p, trials, teacher_forcing=0.0):
        """Yield score and curvature, tangents of x (problems, m, neurons) and tanh'(x~)."""
        weights, tangents, x = self.start_linearised(p, trials)
        a, pulls = self.alpha, trials.pulls(teacher_forcing)
        dx = x.new_zeros(len(p), self.size, x.shape[1])
        dx[:, self.d :] = self.initial_state.directions.t()
        if self.initial_state.generated:
            start = tangents["start"].transpose(0, 1)  # (problems, d, coordinates)
            dx[:, : self.d] = self.connectivity.first_state(weights, start)
        for t, target in enumerate(trials.guide):
            score, h, _ = self.observation.score(x, trials.y[t], trials.weight_at(t))
            x = x - pulls[t] * (x - target)
            phi = torch.tanh(x)
            slope = 1 - phi.square()
            yield score, h, dx, slope
            left = _of_matrices(1 - pulls[t])
            dphi = slope.unsqueeze(1) * left * dx
            ddrive = self.connectivity.drive_tangent(weights, tangents, phi, dphi)
            dx = (1 - a) * left * dx + a * ddrive
            x = (1 - a) * x + a * drive(self.connectivity, weights, phi, trials.inputs[t])

    @torch.no_grad()
    def gradient_variance(self, p, trials, autocorrelation_time):
        """Compute the variance of the gradient under the noise of the data, (problems, m, m).

        `autocorrelation_time` consecutive samples carry the information of one. If free runs
        start at a measured sample, its noise affects all later states (docs/model.md, eq. 11).
        """
        observation, tangents, slopes = self.observation, [], []
        total = p.new_zeros(len(p), self.size, self.size)
        for _, h, dx, slope in self.tangent_run(p, trials):
            noise = observation.score_variance(h)
            noise = noise if h is None else noise.unsqueeze(1)
            total += autocorrelation_time * torch.bmm(dx * noise, dx.transpose(1, 2))
            tangents.append(dx if h is None else dx * h.unsqueeze(1))
            slopes.append(slope)
        if self.initial_state.measured:
            weights, _ = self.start(p, trials)
            back, a = tangents[-1], self.alpha
            for dx, slope in zip(tangents[-2::-1], slopes[-2::-1], strict=True):
                pulled = self.connectivity.pullback(weights, back)
                back = dx + (1 - a) * back + a * slope.unsqueeze(1) * pulled
            total += torch.bmm(back * observation.guide_variance, back.transpose(1, 2))
        return total

    def chunk_of_variance(self, trials):
        """Compute how many problems `gradient_variance` processes together."""
        n_steps, _, n_neurons = trials.shape
        return max(1, int(self.chunk_bytes / 8 / (n_steps * self.size * n_neurons)))


@dataclass
class DenseTarget:
    """Trials with the strength of teacher forcing of their runs."""

    trials: Trials
    teacher_forcing: float

    @property
    def shape(self):
        """Shape of the trials, (time, trials, neurons)."""
        return self.trials.shape

    def __len__(self):
        return len(self.trials)

    def __getitem__(self, index):
        """Select some of the trials."""
        return DenseTarget(self.trials[index], self.teacher_forcing)


def _of_matrices(factor):
    """Make a number, or one for each problem, a factor of matrices."""
    return factor.unsqueeze(-1) if torch.is_tensor(factor) else factor


def runs_of_known(parts, known, n_steps, trial=None):
    """Simulate free runs (time, known, neurons) of known parameters, in states.

    `parts` has hypernetwork, connectivity, initial state and alpha. If runs depend on a `trial`,
    they start at its initial state and have its inputs.
    """
    d = parts.hypernetwork.n_components
    weights = parts.hypernetwork(known[:, :d])
    generated = parts.connectivity.generated(weights)
    first, u = generated, None
    if trial is not None:
        first = trial.guide[0].expand(len(known), -1)
        u = trial.inputs.expand(-1, len(known), -1)
    x0 = parts.initial_state(known[:, d:], first, generated)
    return simulate(parts.connectivity, weights, x0, n_steps, parts.alpha, u)


def deviances(states, trials, observation):
    """Compute the deviance of each trial from each of several runs (time, runs, neurons).

    The result has the shape (trials, runs). Each trial is computed by itself, so that it does not
    depend on the others.
    """
    n_steps, n_runs, n_neurons = states.shape
    size = int(temporary_bytes(states.device, CHUNK_BYTES) / 8 / (n_steps * n_neurons))
    found = states.new_empty(len(trials), n_runs)
    for j in torch.arange(n_runs, device=states.device).split(max(1, size)):
        a, b = (each.transpose(0, 1).flatten(1) for each in observation.expand(states[:, j]))
        for k in range(len(trials)):
            y = trials.y[:, k].flatten()
            weight = torch.ones_like(y) if trials.weight is None else trials.weight[:, k].flatten()
            found[k, j] = a @ weight - b @ (weight * y) + weight @ observation.of_values(y)
    return found
