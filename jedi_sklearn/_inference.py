"""Embeddings of given trials under a frozen hypernetwork, and their error bars.

Trial k's parameters are p = [c, q]: its embedding and, when the initial state is inferred, its
coordinates along shared directions. By Levenberg-Marquardt they minimise (docs/model.md, eq. 9)

    weight * |free run(p) - data|^2 + (p - mean)' precision (p - mean).

For forecasts the run is corrected by the data as it goes, as under teacher forcing.

Damping, acceptance and stopping belong to each trial, so that its answer does not depend on the
batch it came in; everything is float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ._rollout import drive, matvec, tanh_

__all__ = ["GaussianPrior", "InitialState", "error_bars", "infer"]

CHUNK_BYTES = 16e6  # working memory of one chunk of problems, per large temporary
START_FORCING = (0.3, 0.1, 0.03)  # continuation from the prior mean
SCREEN_FORCING = 0.05  # under which cluster centres are compared
RACE_STEPS = 6  # iterations of every start before the best one goes on alone


@dataclass
class GaussianPrior:
    """Prior of p: mean (m,), precision (m, m); candidate starts of c, (n_centres, d)."""

    mean: torch.Tensor
    precision: torch.Tensor
    centres: torch.Tensor


@dataclass
class InitialState:
    """x0 = data[0] without directions, else mean + directions @ q."""

    mean: torch.Tensor | None = None  # (neurons,)
    directions: torch.Tensor | None = None  # (neurons, n_directions)

    @property
    def size(self):
        return 0 if self.directions is None else self.directions.shape[1]

    def __call__(self, q, first):
        return first if self.directions is None else self.mean + q @ self.directions.t()


class _Problem:
    """Runs and Gauss-Newton systems of (parameters, data) pairs under one hypernetwork."""

    def __init__(self, hyper, initial, alpha):
        self.hyper, self.initial, self.alpha = hyper, initial, alpha
        self.d = hyper.n_components
        self.shared = hyper.connectivity == "shared"
        if self.shared:
            U, V = hyper.U.detach(), hyper.V.detach()
            basis = U if not initial.size else torch.cat([U, initial.directions], 1)
            self.basis = basis
            self.gram = basis.t() @ basis
            self.gram_basis = (basis[:, :, None] * basis[:, None, :]).flatten(1)
            self.read_basis = (V[:, :, None] * basis[:, None, :]).flatten(1)  # (n, r * (r + q))

    def chunk(self, n_steps, n_neurons):
        """How many problems are worked on at a time."""
        if self.shared:
            r, b = self.hyper.U.shape[1], self.basis.shape[1]
            each = n_steps * max(n_neurons, r * b, b * (self.d + self.initial.size))
        else:
            each = n_neurons * max(n_steps, self.d * 2)
            if self.hyper.connectivity == "full_rank":
                each = max(each, self.d * n_neurons**2)
            else:
                each = max(each, 2 * self.d * n_neurons * self.hyper.left.shape[-1])
        return max(1, int(CHUNK_BYTES / 8 / each))

    def start(self, p, trials):
        return self.initial(p[:, self.d :], trials.data[0])

    def driven(self, trials, t):
        """B u[t] of each problem, or None."""
        return None if trials.inputs is None else trials.inputs[t] @ self.hyper.B.t()

    @torch.no_grad()
    def run(self, p, trials, forcing=0.0, keep=False):
        """Squared error of each problem's run; with `keep` also what `system` needs."""
        weights, x0 = self.hyper(p[:, : self.d]), self.start(p, trials)
        if not self.shared:
            return self._run_dense(weights, x0, trials, forcing), None
        data, mask = trials.data, trials.mask
        a, pulls = self.alpha, trials.pulls(forcing)
        U, V = self.hyper.U, self.hyper.V
        coreT = weights["core"].transpose(1, 2).contiguous()
        n_steps = len(data)
        y, h = x0.clone(), x0.new_zeros(len(p), U.shape[1])
        sse = x0.new_zeros(len(p))
        slopes, reads, errors = [], [], []
        for t in range(n_steps):
            x = torch.addmm(y, h, U.t())
            error = x - data[t]
            g = pulls[t]
            if forcing:
                x.sub_(g * error)
                y.lerp_(data[t], g)
            if mask is not None:  # the forcing also pulls to what was filled in for some neurons
                error *= mask[t]
            sse += error.square().sum(1)
            if keep:
                errors.append(error @ self.basis)
            if t == n_steps - 1:
                break
            y.mul_(1 - a)
            if trials.inputs is not None:
                y.add_(self.driven(trials, t), alpha=a)
            phi = tanh_(x)
            z = phi @ V
            h = (1 - a) * (1 - g) * h + a * (weights["bias"] + matvec(weights["core"], coreT, z))
            if keep:
                slopes.append(phi.square_().neg_().add_(1))
                reads.append(z)
        return sse, (
            torch.stack(slopes),
            torch.stack(reads),
            torch.stack(errors),
        ) if keep else None

    def _run_dense(self, weights, x0, trials, forcing):
        x, sse, pulls = x0, x0.new_zeros(len(x0)), trials.pulls(forcing)
        for t, target in enumerate(trials.data):
            error = x - target
            x = x - pulls[t] * error
            if trials.mask is not None:
                error = error * trials.mask[t]
            sse += error.square().sum(1)
            u = None if trials.inputs is None else trials.inputs[t]
            x = (1 - self.alpha) * x + self.alpha * drive(weights, torch.tanh(x), u)
        return sse

    @torch.no_grad()
    def system(self, p, trials, kept, forcing=0.0):
        """J'J and J'error of each problem's residuals, (problems, m, m) and (problems, m)."""
        if not self.shared:
            return self._system_dense(p, trials, forcing)
        slopes, reads, errors = kept
        weights, tangents = self.hyper.tangents(p[:, : self.d])
        a, d, m = self.alpha, self.d, p.shape[1]
        pulls = trials.pulls(forcing)
        n_steps, n, b = errors.shape
        r = reads.shape[2]
        # V' diag(slope) [U, directions] of every step: one large product
        through = (slopes.flatten(0, 1) @ self.read_basis).reshape(n_steps - 1, n, r, b)
        # drive by the change of the weights, (problems, rank * d, time)
        direct = torch.einsum("dkrs,tks->tkrd", tangents["core"], reads)
        direct += tangents["bias"].permute(1, 2, 0)
        H = p.new_zeros(n_steps, n, b, m)
        H[0, :, r:, d:] = torch.eye(b - r, dtype=p.dtype, device=p.device)
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
        if trials.mask is not None:  # basis' diag(mask) basis of every step
            gram = (trials.mask.flatten(0, 1) @ self.gram_basis).reshape(n_steps, n, b, b)
        weighted = (H.transpose(2, 3) @ gram).transpose(2, 3).transpose(0, 1).flatten(1, 2)
        JtJ = torch.bmm(stacked.transpose(1, 2), weighted)
        Jte = torch.bmm(stacked.transpose(1, 2), errors.transpose(0, 1).flatten(1).unsqueeze(-1))
        return JtJ, Jte[..., 0]

    def _system_dense(self, p, trials, g):
        JtJ, Jte = 0.0, 0.0
        for t, (error, dx, _) in enumerate(self.tangent_run(p, trials, g)):
            seen = dx if trials.mask is None else dx * trials.mask[t].unsqueeze(1)
            JtJ = JtJ + torch.bmm(seen, dx.transpose(1, 2))
            Jte = Jte + torch.bmm(seen, error.unsqueeze(-1))[..., 0]
        return JtJ, Jte

    def per_trial(self, c):
        """Weights and tangents with nothing shared between trials."""
        weights, tangents = self.hyper.tangents(c)
        if self.shared:
            U, V = self.hyper.U.detach(), self.hyper.V.detach()
            weights = {
                "U": U @ weights["core"],
                "V": V.expand(len(c), -1, -1),
                "bias": weights["bias"] @ U.t(),
            }
            tangents = {"U": U @ tangents["core"], "bias": tangents["bias"] @ U.t()}
        return weights, tangents

    @torch.no_grad()
    def tangent_run(self, p, trials, forcing=0.0):
        """Yield error (problems, neurons), tangents of x (problems, m, neurons) and tanh'(x~)."""
        weights, tangents = self.per_trial(p[:, : self.d])
        a, d, n = self.alpha, self.d, len(p)
        x = self.start(p, trials)
        dx = x.new_zeros(n, p.shape[1], x.shape[1])
        if self.initial.size:
            dx[:, d:] = self.initial.directions.t()
        dbias = tangents["bias"].transpose(0, 1)  # (problems, d, neurons)
        pulls = trials.pulls(forcing)
        for t, target in enumerate(trials.data):
            error = x - target
            x = x - pulls[t] * error
            phi = torch.tanh(x)
            slope = 1 - phi.square()
            yield error, dx, slope
            left = _of_matrices(1 - pulls[t])
            dphi = slope.unsqueeze(1) * left * dx
            if "J" in weights:
                ddrive = torch.bmm(dphi, weights["J"].transpose(1, 2))
                ddrive[:, :d] += torch.einsum("dkij,kj->kdi", tangents["J"], phi) + dbias
            else:
                U, V = weights["U"], weights["V"]
                z = torch.bmm(phi.unsqueeze(1), V)[:, 0]
                dz = torch.bmm(dphi, V)
                if "V" in tangents:
                    dz[:, :d] += torch.einsum("dkir,ki->kdr", tangents["V"], phi)
                ddrive = torch.bmm(dz, U.transpose(1, 2))
                ddrive[:, :d] += torch.einsum("dkir,kr->kdi", tangents["U"], z) + dbias
            dx = (1 - a) * left * dx + a * ddrive
            x = (1 - a) * x + a * drive(weights, phi)
            if trials.inputs is not None:
                x = x + a * self.driven(trials, t)


def _of_matrices(factor):
    """A number, or one of each problem, to multiply matrices by."""
    return factor.unsqueeze(-1) if torch.is_tensor(factor) else factor


class _Fit:
    """Levenberg-Marquardt of many (start, trial) problems; state lives in per-problem arrays."""

    def __init__(self, problem, prior, weight, trials, p, trial, forcing=0.0):
        self.problem, self.prior, self.weight, self.trials = problem, prior, weight, trials
        self.p, self.trial, self.forcing = p.clone(), trial, forcing
        n, m = p.shape
        self.damping = p.new_full((n,), -1.0)  # set at the first step
        self.cost = p.new_full((n,), torch.inf)
        self.H = p.new_zeros(n, m, m)
        self.gradient = p.new_zeros(n, m)
        self.converged = torch.zeros(n, dtype=torch.bool, device=p.device)
        self.size = problem.chunk(trials.n_steps, trials.data.shape[2])

    def linearise(self, index, p):
        """Cost, gradient and curvature at p."""
        trials = self.trials[self.trial[index]]
        sse, kept = self.problem.run(p, trials, self.forcing, keep=True)
        JtJ, Jte = self.problem.system(p, trials, kept, self.forcing)
        away = p - self.prior.mean
        cost = self.weight * sse + torch.einsum("ki,ij,kj->k", away, self.prior.precision, away)
        H = self.weight * JtJ + self.prior.precision
        return cost, H, self.weight * Jte + away @ self.prior.precision

    def gauss_newton(self):
        """One undamped step of every problem."""
        for i in torch.arange(len(self.p), device=self.p.device).split(self.size):
            _, H, gradient = self.linearise(i, self.p[i])
            self.p[i] -= torch.linalg.solve(H, gradient)
        return self.p

    def steps(self, n_steps, tol=0.0, only=None):
        """Up to n_steps iterations; a problem stops for good when it has converged."""
        for _ in range(n_steps):
            active = ~self.converged if only is None else ~self.converged & only
            index = active.nonzero()[:, 0]
            if not len(index):
                break
            for part in index.split(self.size):
                self._step(part, tol)
        return self

    def _step(self, i, tol):
        fresh = i[self.damping[i] < 0]
        if len(fresh):
            self.cost[fresh], self.H[fresh], self.gradient[fresh] = self.linearise(
                fresh, self.p[fresh]
            )
            relative = torch.linalg.solve(self.prior.precision, self.H[fresh])
            self.damping[fresh] = 1e-3 * relative.diagonal(dim1=1, dim2=2).mean(1)
        # an undamped step would lower the cost by this: the distance to the mode
        newton = torch.linalg.solve(self.H[i], self.gradient[i])
        done = (self.gradient[i] * newton).sum(1) < tol
        self.converged[i[done]] = True
        i = i[~done]
        if not len(i):
            return
        H = self.H[i] + self.damping[i, None, None] * self.prior.precision
        move = -torch.linalg.solve(H, self.gradient[i])
        new = self.p[i] + move
        cost, newH, gradient = self.linearise(i, new)
        curved = (self.H[i] @ move[..., None])[..., 0]
        predicted = -(move * (2 * self.gradient[i] + curved)).sum(1)
        gain = (self.cost[i] - cost) / predicted.clamp_min(1e-300)
        better = torch.isfinite(cost) & (cost <= self.cost[i])
        accepted = i[better]
        self.p[accepted], self.cost[accepted] = new[better], cost[better]
        self.H[accepted], self.gradient[accepted] = newH[better], gradient[better]
        factor = torch.where(gain > 0.75, 0.2, torch.where(gain > 0.25, 1.0, 4.0))
        self.damping[i] *= torch.where(better, factor, torch.full_like(factor, 8.0))
        # no step lowers the cost any more: rounding
        self.converged[i[self.damping[i] > 1e12 * (1 + self.H[i].amax((1, 2)))]] = True


@torch.no_grad()
def infer(
    hyper,
    trials,
    prior,
    weight,
    alpha,
    initial,
    *,
    forcing=0.0,
    max_iter=200,
    tol=1e-4,
    n_starts=2,
):
    """Embeddings (and initial-state coordinates) of trials.

    Parameters
    ----------
    hyper : Hypernetwork, float64
    trials : Trials, float64
    prior : GaussianPrior
    weight : float
        1 / variance of the residuals.
    alpha : float
        dt / tau.
    initial : InitialState
    forcing : float
        Share of the data mixed into the state of the run whose error is minimised.
    max_iter, tol : int, float
        Iterations of the final stage; a trial stops when an undamped step promises to lower its
        cost by less than `tol`, that is, sqrt(tol) posterior SDs from the mode.
    n_starts : int
        Starts of each trial: the continuation from the prior mean, then cluster centres.

    Returns
    -------
    p : Tensor (trials, m)
    H : Tensor (trials, m, m)
        Posterior precision of the Laplace approximation.
    sse : Tensor (trials,)
        Squared error of that run.
    converged : Tensor (trials,), bool
    """
    problem = _Problem(hyper, initial, alpha)
    n_trials, m = len(trials), len(prior.mean)
    everyone = torch.arange(n_trials, device=prior.mean.device)
    first = prior.mean.expand(n_trials, m)
    if initial.size:
        shift = (trials.data[0] - initial.mean) @ torch.linalg.pinv(initial.directions).t()
        first = torch.cat([first[:, : problem.d], shift], 1)
    p = first
    for strength in START_FORCING:
        if strength > forcing:
            p = _Fit(problem, prior, weight, trials, p, everyone, strength).gauss_newton()
    starts = [p]
    if n_starts > 1 and len(prior.centres):
        screened, screen = [], max(SCREEN_FORCING, forcing)
        for centre in prior.centres:
            q = torch.cat([centre.expand(n_trials, -1), first[:, problem.d :]], 1)
            size = problem.chunk(trials.n_steps, trials.data.shape[2])
            screened.append(
                torch.cat([problem.run(q[i], trials[i], screen)[0] for i in everyone.split(size)])
            )
        order = torch.stack(screened).nan_to_num(nan=torch.inf).argsort(dim=0, stable=True)
        for best in order[: n_starts - 1]:
            starts.append(torch.cat([prior.centres[best], first[:, problem.d :]], 1))
    n = len(starts)
    fit = _Fit(problem, prior, weight, trials, torch.cat(starts), everyone.repeat(n), forcing)
    if n > 1:
        fit.steps(RACE_STEPS, tol)
    best = fit.cost.reshape(n, n_trials).argmin(0) if n > 1 else torch.zeros_like(everyone)
    winner = best * n_trials + everyone
    only = torch.zeros(n * n_trials, dtype=torch.bool, device=everyone.device)
    only[winner] = True
    fit.steps(max_iter, tol, only)
    away = fit.p - prior.mean
    sse = fit.cost - torch.einsum("ki,ij,kj->k", away, prior.precision, away)
    return (
        fit.p[winner],
        fit.H[winner],
        sse[winner] / weight,
        fit.converged[winner],
    )


@torch.no_grad()
def error_bars(hyper, trials, p, H, prior, weight, alpha, initial, noise, inflation):
    """Covariance of the estimates p under the noise of the data (docs/model.md, eq. 11).

    The sandwich H^-1 M H^-1: H is the curvature that the fit used, with one noise variance for
    all neurons; M takes each neuron's own, and the noise of the first sample where free runs
    start there.

    Parameters
    ----------
    hyper, trials, prior, weight, alpha, initial :
        As in `infer`.
    p, H : Tensor (trials, m), (trials, m, m)
        What `infer` returned.
    noise : Tensor (neurons,)
        Variance of the residuals of each neuron.
    inflation : float
        Samples in time per independent residual.

    Returns
    -------
    Tensor (trials, m, m)
    """
    problem = _Problem(hyper, initial, alpha)
    n_steps, n_trials, n_neurons = trials.data.shape
    size = max(1, int(CHUNK_BYTES / 8 / (n_steps * p.shape[1] * n_neurons)))
    middles = []
    for i in torch.arange(n_trials, device=p.device).split(size):
        tangents, slopes = [], []
        middle = torch.zeros_like(H[i])
        some = trials[i]
        for t, (_, dx, slope) in enumerate(problem.tangent_run(p[i], some)):
            seen = dx if some.mask is None else dx * some.mask[t].unsqueeze(1)
            middle += inflation * torch.bmm(seen * noise, dx.transpose(1, 2))
            tangents.append(seen)
            slopes.append(slope)
        if not initial.size:
            weights, _ = problem.per_trial(p[i])
            back = tangents[-1]
            for dx, slope in zip(tangents[-2::-1], slopes[-2::-1], strict=True):
                if "J" in weights:
                    pulled = torch.bmm(back, weights["J"])
                else:
                    pulled = torch.bmm(back @ weights["U"], weights["V"].transpose(1, 2))
                back = dx + (1 - alpha) * back + alpha * slope.unsqueeze(1) * pulled
            middle += torch.bmm(back * noise, back.transpose(1, 2))
        middles.append(weight**2 * middle + prior.precision)
    inverse = torch.linalg.inv(H)
    return inverse @ torch.cat(middles) @ inverse
