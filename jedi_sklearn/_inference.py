"""Which parameters trials have under a frozen model, and their error bars.

Trial k's parameters are p = [c, q]: its embedding and, when the initial state is inferred, its
coordinates along shared directions. By Levenberg-Marquardt (Fisher scoring, where the deviance is
not a squared error) they minimise (docs/model.md, eq. 9)

    weight * deviance of the free run(p) + (p - mean)' precision (p - mean).

For forecasts the run is corrected by the data as it goes, as under teacher forcing.

Damping, acceptance and stopping belong to each trial, so that its answer does not depend on the
batch it came in; everything is float64. What is run here is known by its deviance, gradient and
curvature alone (`_linearised.py`).
"""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["GaussianPrior", "error_bars", "infer"]

START_FORCING = (0.3, 0.1, 0.03)  # continuation from the prior mean
SCREEN_FORCING = 0.05  # under which cluster centres are compared
RACE_STEPS = 6  # iterations of every start before the best one goes on alone


class GaussianPrior(nn.Module):
    """Prior of p: mean (m,), precision (m, m); candidate starts of c, (n_centres, d)."""

    def __init__(self, mean, precision, centres):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("precision", precision)
        self.register_buffer("centres", centres)

    def cost(self, p):
        """Minus twice the log density of parameters (problems, m), up to a constant."""
        away = p - self.mean
        return torch.einsum("ki,ij,kj->k", away, self.precision, away)


class _Fit:
    """Levenberg-Marquardt of many (start, trial) problems; state lives in per-problem arrays."""

    def __init__(self, runs, prior, weight, trials, p, trial, forcing=0.0):
        self.runs, self.prior, self.weight, self.trials = runs, prior, weight, trials
        self.p, self.trial, self.forcing = p.clone(), trial, forcing
        n, m = p.shape
        self.damping = p.new_full((n,), -1.0)  # set at the first step
        self.cost = p.new_full((n,), torch.inf)
        self.H = p.new_zeros(n, m, m)
        self.gradient = p.new_zeros(n, m)
        self.converged = torch.zeros(n, dtype=torch.bool, device=p.device)
        self.size = runs.chunk(trials)

    def linearise(self, index, p):
        """Cost, gradient and curvature at p."""
        trials = self.trials[self.trial[index]]
        deviance, kept = self.runs.run(p, trials, self.forcing, keep=True)
        curvature, gradient = self.runs.system(p, trials, kept, self.forcing)
        cost = self.weight * deviance + self.prior.cost(p)
        H = self.weight * curvature + self.prior.precision
        gradient = self.weight * gradient + (p - self.prior.mean) @ self.prior.precision
        return cost, H, gradient

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
        one = torch.ones_like(gain, dtype=torch.float32)  # numbers alone take the default dtype
        factor = torch.where(gain > 0.75, 0.2 * one, torch.where(gain > 0.25, one, 4 * one))
        self.damping[i] *= torch.where(better, factor, 8 * one)
        # no step lowers the cost any more: rounding
        self.converged[i[self.damping[i] > 1e12 * (1 + self.H[i].amax((1, 2)))]] = True


@torch.no_grad()
def infer(runs, trials, prior, weight, *, forcing=0.0, max_iter=200, tol=1e-4, n_starts=2):
    """Parameters of trials: embeddings, and coordinates of the initial states.

    Parameters
    ----------
    runs : DenseRuns
        Of a frozen model, float64.
    trials : Trials, float64
    prior : GaussianPrior
    weight : float
        1 / what the deviance is divided by in the likelihood.
    forcing : float
        Share of the guide mixed into the state of the run whose deviance is minimised.
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
    deviance : Tensor (trials,)
        Of that run.
    converged : Tensor (trials,), bool
    """
    n_trials = len(trials)
    everyone = torch.arange(n_trials, device=prior.mean.device)
    p = first = runs.first_guess(trials, prior.mean)
    for strength in START_FORCING:
        if strength > forcing:
            p = _Fit(runs, prior, weight, trials, p, everyone, strength).gauss_newton()
    starts = [p]
    if n_starts > 1 and len(prior.centres):
        order = _screen(runs, trials, prior.centres, first, max(SCREEN_FORCING, forcing))
        for best in order[: n_starts - 1]:
            starts.append(runs.with_embedding(first, prior.centres[best]))
    n = len(starts)
    fit = _Fit(runs, prior, weight, trials, torch.cat(starts), everyone.repeat(n), forcing)
    if n > 1:
        fit.steps(RACE_STEPS, tol)
    best = fit.cost.reshape(n, n_trials).argmin(0) if n > 1 else torch.zeros_like(everyone)
    winner = best * n_trials + everyone
    only = torch.zeros(n * n_trials, dtype=torch.bool, device=everyone.device)
    only[winner] = True
    fit.steps(max_iter, tol, only)
    deviance = (fit.cost - prior.cost(fit.p))[winner] / weight
    return fit.p[winner], fit.H[winner], deviance, fit.converged[winner]


def _screen(runs, trials, centres, first, forcing):
    """Centres of each trial by falling promise, (n_centres, trials)."""
    index, screened = torch.arange(len(first), device=first.device), []
    for centre in centres:
        p = runs.with_embedding(first, centre)
        each = [runs.run(p[i], trials[i], forcing)[0] for i in index.split(runs.chunk(trials))]
        screened.append(torch.cat(each))
    return torch.stack(screened).nan_to_num(nan=torch.inf).argsort(dim=0, stable=True)


@torch.no_grad()
def error_bars(runs, trials, p, H, prior, weight, inflation):
    """Covariance of the estimates p under the noise of the data (docs/model.md, eq. 11).

    The sandwich H^-1 M H^-1: H is the curvature that the fit used, with one noise variance for
    all neurons; M takes each neuron's own, and the noise of the first sample where free runs
    start there.

    Parameters
    ----------
    runs, trials, prior, weight :
        As in `infer`.
    p, H : Tensor (trials, m), (trials, m, m)
        What `infer` returned.
    inflation : float
        Samples in time per independent residual.

    Returns
    -------
    Tensor (trials, m, m)
    """
    parts = torch.arange(len(p), device=p.device).split(runs.chunk_of_variance(trials))
    variance = torch.cat([runs.gradient_variance(p[i], trials[i], inflation) for i in parts])
    inverse = torch.linalg.inv(H)
    return inverse @ (weight**2 * variance + prior.precision) @ inverse
