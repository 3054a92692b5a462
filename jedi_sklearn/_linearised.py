"""Runs of (parameters, trial) pairs with their derivatives by the parameters, for inference.

The parameters of a run are p = [c, q]: embedding and coordinates of the initial state. `run`
gives the deviance of each run, `system` its gradient and the Gauss-Newton (Fisher) curvature.
`DenseRuns` follows the tangents of all neurons, for any connectivity; `SplitRuns` those of the
coordinates in which shared bases move the state. Each connectivity names the one that it has.
"""

from __future__ import annotations

import torch

from ._rollout import drive, matvec, tanh_

__all__ = ["DenseRuns", "SplitRuns"]

CHUNK_BYTES = 16e6  # working memory of one chunk of problems, per large temporary


class DenseRuns:
    """Runs whose tangents are followed neuron by neuron.

    Parameters
    ----------
    hypernetwork : Hypernetwork
    initial_state : InitialState
    observation : Observation
    alpha : float
        A step of the dynamics over tau.
    """

    def __init__(self, hypernetwork, initial_state, observation, alpha):
        self.hypernetwork, self.initial_state = hypernetwork, initial_state
        self.observation, self.alpha = observation, alpha
        self.connectivity = hypernetwork.connectivity
        self.d = hypernetwork.n_components
        self.size = self.d + initial_state.size

    def chunk(self, trials):
        """How many problems are worked on at a time."""
        n_steps, _, n_neurons = trials.shape
        each = max(n_neurons * max(n_steps, 2 * self.d), self.d * self.connectivity.n_values)
        return max(1, int(CHUNK_BYTES / 8 / each))

    def first_guess(self, trials, mean):
        """Parameters (trials, m) to begin with, from the mean of their prior."""
        c = mean[: self.d].expand(len(trials), -1)
        q = self.initial_state.guess(trials.guide[0])
        return torch.cat([c, q], 1)

    def with_embedding(self, p, c):
        """Parameters p with another embedding, (d,) or (problems, d)."""
        return torch.cat([c.expand(len(p), self.d), p[:, self.d :]], 1)

    def start(self, p, trials):
        """Weights and first states of the runs."""
        return self._start(self.hypernetwork.features(p[:, : self.d]), p, trials)

    def start_linearised(self, p, trials):
        """The same, and between them the tangents of the weights by the embedding."""
        f, slopes = self.hypernetwork.linearise(p[:, : self.d])
        weights, x0 = self._start(f, p, trials)
        return weights, self.connectivity.tangents(slopes), x0

    def _start(self, f, p, trials):
        weights = self.hypernetwork.weights(f)
        generated = self.connectivity.generated(weights)
        return weights, self.initial_state(p[:, self.d :], trials.guide[0], generated)

    @torch.no_grad()
    def run(self, p, trials, forcing=0.0, keep=False):
        """Deviance of each problem's run, and what `system` needs (with `keep`)."""
        weights, x = self.start(p, trials)
        deviance, pulls = x.new_zeros(len(x)), trials.pulls(forcing)
        for t, target in enumerate(trials.guide):
            deviance += self.observation.score(x, trials.y[t], trials.weight_at(t))[2]
            x = x - pulls[t] * (x - target)
            driven = drive(self.connectivity, weights, torch.tanh(x), trials.inputs[t])
            x = (1 - self.alpha) * x + self.alpha * driven
        return deviance, None

    @torch.no_grad()
    def system(self, p, trials, kept, forcing=0.0):
        """Curvature and gradient of half the deviance, (problems, m, m) and (problems, m)."""
        curvature, gradient = 0.0, 0.0
        for score, h, dx, _ in self.tangent_run(p, trials, forcing):
            seen = dx if h is None else dx * h.unsqueeze(1)
            curvature = curvature + torch.bmm(seen, dx.transpose(1, 2))
            gradient = gradient + torch.bmm(dx, score.unsqueeze(-1))[..., 0]
        return curvature, gradient

    @torch.no_grad()
    def tangent_run(self, p, trials, forcing=0.0):
        """Yield score and curvature, tangents of x (problems, m, neurons) and tanh'(x~)."""
        weights, tangents, x = self.start_linearised(p, trials)
        a, pulls = self.alpha, trials.pulls(forcing)
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
    def gradient_variance(self, p, trials, inflation):
        """Variance of the gradient under the noise of the data, (problems, m, m).

        `inflation` samples in time have the information of one. Where free runs start at a
        measured sample its noise is in all that follows (docs/model.md, eq. 11).
        """
        observation, tangents, slopes = self.observation, [], []
        total = p.new_zeros(len(p), self.size, self.size)
        for _, h, dx, slope in self.tangent_run(p, trials):
            noise = observation.score_variance(h)
            noise = noise if h is None else noise.unsqueeze(1)
            total += inflation * torch.bmm(dx * noise, dx.transpose(1, 2))
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
        """How many problems `gradient_variance` works on at a time."""
        n_steps, _, n_neurons = trials.shape
        return max(1, int(CHUNK_BYTES / 8 / (n_steps * self.size * n_neurons)))


class SplitRuns(DenseRuns):
    """Runs whose state moves in the span of U and of the directions of the initial state."""

    def __init__(self, hypernetwork, initial_state, observation, alpha):
        super().__init__(hypernetwork, initial_state, observation, alpha)
        self.U, self.V = self.connectivity.U.detach(), self.connectivity.V.detach()
        basis = torch.cat([self.U, initial_state.directions], 1)
        self.basis = basis
        self.gram = basis.t() @ basis
        self.gram_basis = (basis[:, :, None] * basis[:, None, :]).flatten(1)
        self.read_basis = (self.V[:, :, None] * basis[:, None, :]).flatten(1)  # (n, r * (r + q))

    def chunk(self, trials):
        """How many problems are worked on at a time."""
        n_steps, _, n_neurons = trials.shape
        r, b = self.U.shape[1], self.basis.shape[1]
        each = n_steps * max(n_neurons, r * b, b * self.size)
        return max(1, int(CHUNK_BYTES / 8 / each))

    @torch.no_grad()
    def run(self, p, trials, forcing=0.0, keep=False):
        """Deviance of each problem's run, and what `system` needs (with `keep`)."""
        weights, x0 = self.start(p, trials)
        a, pulls, guide = self.alpha, trials.pulls(forcing), trials.guide
        core, coreT = weights["core"], weights["core"].transpose(1, 2).contiguous()
        y, h = x0.clone(), x0.new_zeros(len(p), self.U.shape[1])
        deviance = x0.new_zeros(len(p))
        slopes, reads, scores, curvatures = [], [], [], []
        for t, target in enumerate(guide):
            x = torch.addmm(y, h, self.U.t())
            score, curvature, each = self.observation.score(x, trials.y[t], trials.weight_at(t))
            deviance += each
            g = pulls[t]
            if keep:
                scores.append(score @ self.basis)
                curvatures.append(curvature)
            if t == trials.n_steps - 1:
                break
            if forcing:
                x.lerp_(target, g)
                y.lerp_(target, g)
            y.mul_(1 - a)
            if trials.n_inputs:
                y.add_(trials.inputs[t] @ weights["B"].t(), alpha=a)
            phi = tanh_(x)
            z = phi @ self.V
            h = (1 - a) * (1 - g) * h + a * (weights["bias"] + matvec(core, coreT, z))
            if keep:
                slopes.append(phi.square_().neg_().add_(1))
                reads.append(z)
        if not keep:
            return deviance, None
        return deviance, (torch.stack(slopes), torch.stack(reads), torch.stack(scores), curvatures)

    @torch.no_grad()
    def system(self, p, trials, kept, forcing=0.0):
        """Curvature and gradient of half the deviance, (problems, m, m) and (problems, m)."""
        slopes, reads, scores, curvatures = kept
        weights, tangents, _ = self.start_linearised(p, trials)
        a, d, m = self.alpha, self.d, p.shape[1]
        pulls = trials.pulls(forcing)
        n_steps, n, b = scores.shape
        r = reads.shape[2]
        # V' diag(slope) [U, directions] of every step: one large product
        through = (slopes.flatten(0, 1) @ self.read_basis).reshape(n_steps - 1, n, r, b)
        # drive by the change of the weights, (problems, rank * d, time)
        direct = torch.einsum("dkrs,tks->tkrd", tangents["core"], reads)
        direct += tangents["bias"].permute(1, 2, 0)
        H = p.new_zeros(n_steps, n, b, m)
        H[0, :, r:, d:] = torch.eye(b - r, dtype=p.dtype, device=p.device)
        if self.initial_state.generated:  # along U, as all that follows
            H[0, :, :r, :d] = tangents["start"].permute(1, 2, 0)
        for t in range(n_steps - 1):
            left = _of_matrices(1 - pulls[t])
            hold = (1 - a) * left
            dz = torch.bmm(through[t], H[t]).mul_(left)
            change = torch.bmm(weights["core"], dz)
            change[:, :, :d] += direct[t]
            torch.add(a * change, hold * H[t, :, :r], out=H[t + 1, :, :r])
            H[t + 1, :, r:] = hold * H[t, :, r:]
        stacked = H.transpose(0, 1).flatten(1, 2)  # (problems, time * b, m)
        gram = self.gram
        if curvatures[0] is not None:  # basis' diag(curvature) basis of every step
            gram = (torch.cat(curvatures) @ self.gram_basis).reshape(n_steps, n, b, b)
        weighted = (H.transpose(2, 3) @ gram).transpose(2, 3).transpose(0, 1).flatten(1, 2)
        curvature = torch.bmm(stacked.transpose(1, 2), weighted)
        flat = scores.transpose(0, 1).flatten(1).unsqueeze(-1)
        return curvature, torch.bmm(stacked.transpose(1, 2), flat)[..., 0]


def _of_matrices(factor):
    """A number, or one of each problem, to multiply matrices by."""
    return factor.unsqueeze(-1) if torch.is_tensor(factor) else factor
