"""By how much do the states of trials depart from the runs of their embeddings, and which way.

Trials also differ in what no embedding holds. The state x of a trial is its run plus a disturbance
that neurons share and that decays as the RNN forgets (docs/model.md, eq. 21):

    x[t] = run[t] + W z[t],      z[t+1] = rho z[t] + noise,      z[t] ~ N(0, I)

The neurons seen tell the z of a trial, and with it the neurons that were not seen. For spike
counts, z is the posterior mode, and its covariance that of Laplace's approximation there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.utils.extmath import randomized_svd

__all__ = ["Disturbances"]

MAX_AXES, LEAST_AXIS = 16, 1e-4  # axes of the runs: number, and least share of their variance
HELD_VALUES = 2**21  # of the precisions, or states, held together: 16 MB of float64
MAX_STEPS, TOL = 50, 1e-3  # of Newton's method; SDs of z
N_ROUNDS, COARSE = 10, 0.1  # of expectation-maximisation; SDs of z
LONGEST_STEP = 2.0  # of a sample; SDs of z


@dataclass
class Disturbances:
    """Disturbances of the states of trials about their runs.

    Parameters
    ----------
    axes : ndarray (neurons, k)
        W: independent directions of the disturbances, with the length of their SDs.
    decay : float
        rho: correlation of disturbances from one sample to the next.
    """

    axes: np.ndarray
    decay: float

    @classmethod
    def of_runs(cls, states, decay):
        """Make disturbances as large as runs (..., neurons), in states, along their main axes."""
        rows = states.reshape(-1, states.shape[-1])
        rows = rows - rows.mean(axis=0)
        n_axes = min(MAX_AXES, *rows.shape)
        _, size, axes = randomized_svd(rows, n_axes, random_state=0)
        kept = np.square(size) > LEAST_AXIS * np.square(rows).sum()
        return cls((axes[kept].T * size[kept]) / np.sqrt(len(rows)), decay)

    def scaled(self, share):
        """Copy with this share of the variance."""
        return replace(self, axes=self.axes * share**0.5)

    def take(self, neurons):
        """Select some of the neurons."""
        return replace(self, axes=self.axes[neurons])

    def joined(self, before, new):
        """Append neurons, given rows of which states are linear: of the neurons before, and new.

        The axes keep what they are in terms of these rows.
        """
        weights = np.linalg.lstsq(before, self.axes, rcond=None)[0]
        return replace(self, axes=np.concatenate([self.axes, new @ weights]))

    def expect(self, runs, samples, observation, weight):
        """Compute expected states (time, trials, neurons) of trials, from what was seen of them.

        Parameters
        ----------
        runs : Tensor (time, trials, neurons)
            States of which the activity is that expected without knowing the disturbance.
        samples : Trials
            Trials without steps between samples.
        observation : Observation
        weight : float
            Inverse of the divisor of the deviance in the likelihood.

        Returns
        -------
        Tensor (time, trials, neurons)
            States of which the activity is the expected one, given what was seen.
        """
        if not self.axes.any():
            return runs
        W, found = torch.as_tensor(self.axes, device=runs.device), []
        for i in self._parts(runs):
            # states that vary have the activity of the run if they lie lower, for counts
            x0 = runs[:, i] + observation.shift_of_mean(W.square().sum(1))
            z, inverses = _mode(x0, samples[i], W, self.decay, observation, weight)
            each = _covariances(inverses, self.decay)
            variance = torch.stack([((W @ covariance) * W).sum(2) for covariance in each])
            found.append(x0 + z @ W.t() - observation.shift_of_mean(variance))
        return torch.cat(found, 1)

    def refined(self, parts, weight):
        """Learn the covariance along the axes from trials, by expectation-maximisation.

        Each of the `parts` has runs, samples and observation as in `expect`, and which neurons
        these are among those of the axes. Few rounds keep what trials do not tell as it is.
        """
        axes = torch.as_tensor(self.axes, device=parts[0][0].device)
        mixed = torch.eye(axes.shape[1], dtype=axes.dtype, device=axes.device)
        blocks = [(i, *part) for part in parts for i in self._parts(part[0])]
        n, z = sum(runs[..., 0].numel() for runs, *_ in parts), [None] * len(blocks)
        for _ in range(N_ROUNDS if self.axes.any() else 0):
            total, modes = 0.0, []
            for (i, runs, samples, observation, neurons), start in zip(blocks, z, strict=True):
                W = axes[neurons] @ mixed
                x0 = runs[:, i] + observation.shift_of_mean(W.square().sum(1))
                how = (samples[i], W, self.decay, observation, weight)
                now, inverses = _mode(x0, *how, start, COARSE)
                total = total + _second_moment(now, inverses, self.decay)
                modes.append(now)
            if not total.isfinite().all():
                break
            root = torch.linalg.cholesky(total / n)
            z = [
                torch.linalg.solve_triangular(root.t(), now, upper=True, left=False)
                for now in modes
            ]
            mixed = mixed @ root
        return replace(self, axes=(axes @ mixed).cpu().numpy())

    def _parts(self, runs):
        """Divide trials into parts whose precisions and states are held together."""
        n_each = len(runs) * max(self.axes.shape[1] ** 2, runs.shape[2])
        everyone = torch.arange(runs.shape[1], device=runs.device)
        return everyone.split(max(1, HELD_VALUES // n_each))


def _mode(x0, samples, W, decay, observation, weight, start=None, tol=TOL):
    """Find z (time, trials, k) by Newton's method, and inverses as `_solve` returns them there.

    `x0` are the states of z = 0. The answer of a trial does not depend on the others.
    """
    z = x0.new_zeros(*x0.shape[:2], W.shape[1]) if start is None else start
    how = (x0, samples, W, decay, observation, weight)
    if observation.squared:  # a squared error has its mode one step away, and one curvature
        move, inverses = _solve(*_linearised(z, *how)[:2], decay)
        return z + move, inverses
    at, lowest = z, z.new_full(z.shape[1:2], torch.inf)
    active = torch.ones_like(lowest, dtype=torch.bool)
    for _ in range(MAX_STEPS):
        gradient, precision, cost = _linearised(z, *how)
        lower = cost <= lowest
        move, _ = _solve(gradient, precision, decay)
        size = move.abs().amax(2, keepdim=True)
        # an outlier must not slow down the rest of its trial
        move = move * (LONGEST_STEP / size).clamp_max(1.0)
        # half of a step that raised the cost, or the next one
        after = torch.where(lower[:, None], z + move, (z + at) / 2)
        at = torch.where((active & lower)[:, None], z, at)
        lowest = torch.where(active & lower, cost, lowest)
        z = torch.where(active[:, None], after, z)
        active &= ~(lower & (size.amax((0, 2)) < tol))
        if not active.any():
            break
    z = torch.where(active[:, None], at, z)  # the best that was found
    return z, _solve(*_linearised(z, *how)[:2], decay)[1]


def _linearised(z, x0, samples, W, decay, observation, weight):
    """Compute half the gradient and curvature of the deviance by z, and the cost of each trial."""
    pairs = (W[:, :, None] * W[:, None, :]).flatten(1)
    k, gradients, precisions, cost = W.shape[1], [], [], 0.0
    for t, now in enumerate(z):
        seen = samples.weight_at(t)
        x = torch.addmm(x0[t], now, W.t())
        score, h, deviance = observation.score(x, samples.y[t], seen)
        h = torch.ones_like(x) if h is None else h
        gradients.append(weight * score @ W)
        precisions.append((weight * h @ pairs).view(-1, k, k))
        cost = cost + weight * deviance
    ends = z[0].square().sum(1) + (z[1:] - decay * z[:-1]).square().sum((0, 2)) / (1 - decay**2)
    return torch.stack(gradients) + _prior_gradient(z, decay), precisions, cost + ends


def _prior_gradient(z, decay):
    """Compute half the gradient of minus twice the log prior of z (time, trials, k)."""
    step = (z[1:] - decay * z[:-1]) / (1 - decay**2)
    gradient = torch.zeros_like(z)
    gradient[0] = z[0]
    gradient[1:] += step
    gradient[:-1] -= decay * step
    return gradient


def _solve(gradient, precision, decay):
    """Compute a full step, and inverses (trials, k, k) of what elimination leaves by sample.

    The precision is block tridiagonal in time. It is eliminated forwards and solved backwards.
    """
    n, k = len(gradient), gradient.shape[2]
    eye = torch.eye(k, dtype=gradient.dtype, device=gradient.device)
    link, left, right = decay / (1 - decay**2), [], []
    for t, own in enumerate(precision):
        inside = (t > 0) + (t < n - 1)
        P = own + (1 + (inside - 1) * decay**2 if inside else 1 - decay**2) / (1 - decay**2) * eye
        b = -gradient[t]
        if t:
            P = P - link**2 * left[-1]
            b = b + link * (left[-1] @ right[-1].unsqueeze(-1))[..., 0]
        left.append(torch.linalg.inv(P))
        right.append(b)
    move = [(left[-1] @ right[-1].unsqueeze(-1))[..., 0]]
    for inverse, b in zip(left[-2::-1], right[-2::-1], strict=True):
        move.append((inverse @ (b + link * move[-1]).unsqueeze(-1))[..., 0])
    return torch.stack(move[::-1]), left


def _covariances(inverses, decay):
    """Compute the posterior covariances (trials, k, k) of each sample from those of `_solve`."""
    link, found = decay / (1 - decay**2), [inverses[-1]]
    for inverse in inverses[-2::-1]:
        found.append(inverse + link**2 * inverse @ found[-1] @ inverse)
    return found[::-1]


def _second_moment(z, inverses, decay):
    """Sum the expected z z' of a stationary process with this decay, over time and trials."""
    each = torch.stack(_covariances(inverses, decay))
    moment = z.transpose(1, 2) @ z + each.sum(1)  # (time, k, k)
    link = decay / (1 - decay**2)
    later = (
        link * (torch.stack(inverses[:-1]) @ each[1:]).sum(1) if len(z) > 1 else each[:0].sum(1)
    )
    across = (z[:-1].transpose(1, 2) @ z[1:] + later).sum(0)
    within = moment[1:].sum(0) + decay**2 * moment[:-1].sum(0)
    return moment[0] + (within - decay * (across + across.t())) / (1 - decay**2)
