"""How the parameters of trials, and their error bars, are inferred under a frozen model.

The parameters of a trial are p = [c, q]: its embedding and, if the initial state is inferred, its
coordinates along shared directions. They minimise (docs/model.md, eq. 9)

    weight * deviance of the free run(p) + (p - mean)' precision (p - mean)

by Newton's method, starting from the result of lifted Gauss-Newton steps or from several starts.
For forecasts, the data correct the run along the way, as under teacher forcing.

Damping, acceptance and stopping are separate for each trial, so that its result does not depend on
its batch. Everything is float64, but for neurons in lifted steps. This module knows runs only by
their deviance, gradient and curvature (`_linearised.py`).
"""

from __future__ import annotations

import torch
from torch import nn

from ._linearised import deviances, runs_of_known

__all__ = ["GaussianPrior", "error_bars", "infer"]

# teacher forcing of lifted steps, from the data to a free run: gradually, or at once, which
# sometimes leads to a lower minimum
WAYS = ((1.0, 0.3, 0.1, 0.03, 0.01, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0))
COMPARED = 2  # last lifted steps of a way whose parameters are compared by their runs
QUASI_STEPS, LAST_STEPS = 10, 30  # with gradients alone, then with curvature
SUSPECT = 4.0  # times the deviance of noise, above which other starts may do better
START_TEACHER_FORCING = (0.3, 0.1, 0.03)  # continuation from the prior mean
PATIENCE, LEAST_GAIN = 50, 0.01  # give up if this many steps gain less than this share of the cost
SCREEN_TEACHER_FORCING = 0.05  # for comparing cluster centres
RACE_STEPS = 6  # iterations of every start before only the best one continues
FIRST_DAMPING = 1e-3  # share of the mean curvature
NEAR = 1.0  # predicted fall of the cost, one posterior SD from the mode, for exact curvature
LEAST_CURVATURE = 1e-3  # share of the prior's curvature below which curvature counts as 0


class GaussianPrior(nn.Module):
    """Prior of p: mean (m,) and precision (m, m), with candidate starts of c, (n_centres, d).

    `known` are parameters of training trials (n_known, m), for forecasts. Older files have none.
    """

    def __init__(self, mean, precision, centres, known=None):
        super().__init__()
        known = mean.new_zeros(0, len(mean)) if known is None else known
        self.register_buffer("mean", mean)
        self.register_buffer("precision", precision)
        self.register_buffer("centres", centres)
        self.register_buffer("known", known)

    def cost(self, p):
        """Compute minus twice the log density of parameters (problems, m), up to a constant."""
        away = p - self.mean
        return torch.einsum("ki,ij,kj->k", away, self.precision, away)

    def log_integral(self, p, H):
        """Compute the log integral of posteriors over that at their modes, by Laplace.

        The likelihood is 1 at the modes p (problems, m); H is the precision there.
        """
        ratio = torch.logdet(self.precision) - torch.logdet(H) - self.cost(p)
        return ratio / 2


class _Fit:
    """Newton's method for many (start, trial) problems, with the state in per-problem arrays.

    The curvature `H` of the steps is the Gauss-Newton matrix far from the mode, where it makes
    better steps, and the exact curvature near it. If `H` is given, only gradients update it (BFGS,
    damped after Powell: Nocedal & Wright 2006, procedure 18.2) until `quasi` is unset.
    """

    def __init__(self, runs, prior, weight, target, p, trial, H=None):
        self.runs, self.prior, self.weight, self.target = runs, prior, weight, target
        self.p, self.trial = p.clone(), trial
        n, m = p.shape
        self.damping = p.new_full((n,), -1.0)  # set at the first step
        self.cost = p.new_full((n,), torch.inf)
        self.far = H is None  # perhaps far from the mode
        self.quasi = not self.far
        self.H = H if self.quasi else prior.precision.expand(n, m, m).clone()
        self.promised = p.new_full((n,), torch.inf)  # fall of the cost by a full step
        self.gradient = p.new_zeros(n, m)
        self.converged, self.lost = torch.zeros(2, n, dtype=torch.bool, device=p.device)
        self.size = runs.chunk(target)
        # e = (p - mean) white^-1 has the identity for its prior precision
        self.white = torch.linalg.inv(torch.linalg.cholesky(prior.precision))

    def move_to(self, i, p, exact=False):
        """Move problems i to p, and linearise them there, if that does not raise their cost.

        Returns the costs at p, and which problems moved.
        """
        target = self.target[self.trial[i]]
        deviance, kept = self.runs.run(p, target, keep=True)
        cost = self.weight * deviance + self.prior.cost(p)
        better = torch.isfinite(cost) & (cost <= self.cost[i])
        k = better.nonzero()[:, 0]
        if len(k):
            i, p = i[k], p[k]
            if len(k) < len(better):
                target, kept = target[k], _of_problems(kept, k)
            away = (p - self.prior.mean) @ self.prior.precision
            if self.quasi:
                gradient = self.weight * self.runs.gradient(p, target, kept) + away
                moved = self.damping[i] >= 0
                self.H[i[moved]] = _updated(
                    self.H[i[moved]], (p - self.p[i])[moved], (gradient - self.gradient[i])[moved]
                )
            else:
                gradient, H, more = self.runs.system(p, target, kept, exact)
                gradient, H = self.weight * gradient + away, H if more is None else H + more
                self.H[i] = self.weight * H + self.prior.precision
            self.p[i], self.cost[i], self.gradient[i] = p, cost[k], gradient
        return cost, better

    def gauss_newton(self):
        """Make one undamped step of every problem."""
        for i in torch.arange(len(self.p), device=self.p.device).split(self.size):
            self.move_to(i, self.p[i])
            self.p[i] -= torch.linalg.solve_ex(self.H[i], self.gradient[i]).result
        return self.p

    def steps(self, n_steps, tol=0.0, only=None):
        """Make up to n_steps iterations; a problem stops for good when it has converged."""
        for _ in range(n_steps):
            active = ~(self.converged | self.lost)
            if only is not None:
                active &= only
            index = active.nonzero()[:, 0]
            if not len(index):
                break
            near = (self.promised[index] < NEAR) & (not self.quasi)
            for exact in (False, True):
                for part in index[near == exact].split(self.size):
                    if len(part):
                        self._step(part, tol, exact)
        return self

    def _step(self, i, tol, exact):
        fresh = i[self.damping[i] < 0]
        if len(fresh):
            self.cost[fresh] = torch.inf
            _, finite = self.move_to(fresh, self.p[fresh])
            self.lost[fresh[~finite]] = True
            relative = torch.linalg.solve(self.prior.precision, self.H[fresh])
            size = relative.diagonal(dim1=1, dim2=2).mean(1)
            self.damping[fresh] = FIRST_DAMPING * size if self.far else 0.0
            i = i[~self.lost[i]]
            if not len(i):
                return
        known = self.H[i].isfinite().flatten(1).all(1) & self.gradient[i].isfinite().all(1)
        self.lost[i[~known]] = True  # derivatives of very unstable runs overflow
        i = i[known]
        if not len(i):
            return
        H, gradient = self.white @ self.H[i] @ self.white.t(), self.gradient[i] @ self.white.t()
        values, axes = torch.linalg.eigh(H)
        along = (gradient.unsqueeze(1) @ axes)[:, 0]
        # predicted fall of the cost by an undamped step: the distance to the mode
        promised = (along.square() / values.clamp_min(LEAST_CURVATURE)).sum(1)
        self.promised[i] = promised = torch.where(values[:, 0] > 0, promised, torch.inf)
        done = promised < tol
        # rounding keeps any step from lowering the cost
        done |= self.damping[i] > 1e12 * (1 + values[:, -1])
        self.converged[i[done]] = True
        i, values, axes, along = i[~done], values[~done], axes[~done], along[~done]
        if not len(i):
            return
        uphill = torch.where(values[:, 0] > LEAST_CURVATURE, 0.0, 1.0 - 1.5 * values[:, 0])
        damping = torch.maximum(self.damping[i], uphill)
        move = along / (values + damping[:, None])  # downhill, in coordinates of the axes
        predicted = (move * (2 * along - values * move)).sum(1)
        before = self.cost[i]
        new = self.p[i] - (axes @ move.unsqueeze(-1))[..., 0] @ self.white
        cost, better = self.move_to(i, new, exact)
        gain = (before - cost) / predicted.clamp_min(1e-300)
        less = 4 * damping
        less[gain > 0.25] = damping[gain > 0.25]
        less[gain > 0.75] = 0.2 * damping[gain > 0.75]
        more = torch.maximum(8 * damping, FIRST_DAMPING * values.abs().mean(1))
        damping = torch.where(better, less, more)
        self.damping[i] = torch.where(damping < LEAST_CURVATURE, 0.0, damping)


def _updated(H, s, y):
    """Update curvatures H after moves s that changed the gradients by y."""
    Hs = (H @ s.unsqueeze(-1))[..., 0]
    expected, found = (s * Hs).sum(1), (s * y).sum(1)
    share = 0.8 * expected / (expected - found).clamp_min(1e-300)
    share = torch.where(found < 0.2 * expected, share, 1.0)[:, None]
    y = share * y + (1 - share) * Hs
    gained = y.unsqueeze(2) * y.unsqueeze(1) / (s * y).sum(1)[:, None, None]
    new = H + gained - Hs.unsqueeze(2) * Hs.unsqueeze(1) / expected[:, None, None]
    return torch.where((expected > 0)[:, None, None], new, H)  # a move may round to 0


def _of_problems(kept, k):
    """Select what `run` kept for problems k."""
    if torch.is_tensor(kept):
        return kept[k]
    return kept if kept is None else tuple(_of_problems(part, k) for part in kept)


class _Search:
    """Search for the parameters of trials: starts, and the result of the best one."""

    def __init__(self, runs, trials, prior, weight, teacher_forcing):
        self.runs, self.trials, self.prior, self.weight = runs, trials, prior, weight
        self.teacher_forcing, self.target = teacher_forcing, runs.target(trials, teacher_forcing)
        self.first = runs.first_guess(trials, prior.mean)
        self.everyone = torch.arange(len(trials), device=self.first.device)
        self.parts = self.everyone.split(runs.chunk(self.target))

    def cost(self, p, deviance):
        """Compute the cost, which is minimised."""
        return self.weight * deviance + self.prior.cost(p)

    def unlikely(self, deviance, noise):
        """Return whether trials have a much larger deviance than noise explains."""
        trials = self.trials
        if trials.constant is not None:
            deviance = deviance + trials.constant
        n_values = trials.n_steps * trials.shape[2]
        if trials.weight is not None:
            n_values = trials.weight.sum((0, 2))
        return ~(deviance <= SUSPECT * noise * n_values)

    def lifted(self, i, ways):
        """Make lifted steps of trials i; return the best results and the curvatures there."""
        target, first = self.target[i], self.first[i]
        best, lowest = first.clone(), first.new_full((len(i),), torch.inf)
        curvature = self.prior.precision.expand(len(i), -1, -1).clone()
        for way in ways:
            p, z = first, target.guide
            for k, pull in enumerate(way):
                p, z, H = self.runs.lift(p, z, target, self.prior, self.weight, pull)
                failed = ~(p.isfinite().all(1) & z.isfinite().flatten(1).all(1))
                failed |= ~H.isfinite().flatten(1).all(1)
                p[failed], z[failed], H[failed] = (
                    best[failed],
                    target.guide[failed],
                    curvature[failed],
                )
                if k >= len(way) - COMPARED:
                    cost = self.cost(p, self.runs.run(p, target)[0])
                    lower = cost < lowest
                    best[lower], lowest[lower], curvature[lower] = p[lower], cost[lower], H[lower]
        return best, curvature

    def from_lifted(self, ways, tol):
        """Find parameters, deviance and convergence, starting from lifted steps."""
        ends = [self.lifted(i, ways) for i in self.parts]
        p, H = (torch.cat(each) for each in zip(*ends, strict=True))
        fit = _Fit(self.runs, self.prior, self.weight, self.target, p, self.everyone, H)
        fit.steps(QUASI_STEPS, tol)
        fit.quasi = False
        fit.damping[~fit.converged] = -1.0  # linearise anew
        fit.steps(LAST_STEPS, tol)
        return self._result(fit, self.everyone, tol)

    def continued(self):
        """Make Gauss-Newton steps from the prior mean under declining teacher forcing."""
        p = self.first
        for teacher_forcing in START_TEACHER_FORCING:
            if teacher_forcing > self.teacher_forcing:
                target = self.runs.target(self.trials, teacher_forcing)
                fit = _Fit(self.runs, self.prior, self.weight, target, p, self.everyone)
                p = fit.gauss_newton()
        return p

    def centres(self, n):
        """Make starts from the n cluster centres with the best runs under teacher forcing."""
        centres, runs = self.prior.centres, self.runs
        if n < 1 or not len(centres):
            return []
        target = runs.target(self.trials, max(SCREEN_TEACHER_FORCING, self.teacher_forcing))
        deviance = []
        for centre in centres:
            p = runs.with_embedding(self.first, centre)
            deviance.append(torch.cat([runs.run(p[i], target[i])[0] for i in self.parts]))
        order = torch.stack(deviance).nan_to_num(nan=torch.inf).argsort(dim=0, stable=True)
        return [runs.with_embedding(self.first, centres[best]) for best in order[:n]]

    def starts(self, n_init):
        """Return the starts that need no lifted steps."""
        return [self.continued(), *self.centres(n_init - 1)]

    def likelier(self, cost, tol):
        """Find the trials for which a cluster centre costs less, and the cheapest centre of each.

        Without inputs, a centre has the same free run for all trials, so each is run once.
        """
        runs, prior, samples = self.runs, self.prior, self.trials.samples()
        depends = self.teacher_forcing or samples.n_inputs or not runs.initial_state.generated
        if depends or not len(prior.centres):
            return self.everyone[:0], prior.centres[:0]
        states = runs_of_known(runs, prior.centres, self.trials.n_steps)[:: self.trials.every]
        deviance = deviances(states, samples, runs.observation).nan_to_num(nan=torch.inf)
        lowest, centre = (self.weight * deviance + prior.cost(prior.centres)).min(1)
        trial = (lowest < cost - tol).nonzero()[:, 0]
        return trial, prior.centres[centre[trial]]

    def from_starts(self, starts, max_iter, tol):
        """Find parameters, deviance and convergence from the start ahead after a few steps."""
        n = len(starts)
        trial = self.everyone.repeat(n)
        fit = _Fit(self.runs, self.prior, self.weight, self.target, torch.cat(starts), trial)
        winner = self.everyone
        if n > 1:
            fit.steps(RACE_STEPS, tol)
            best = fit.cost.reshape(n, -1).argmin(0)
            winner = best * len(winner) + winner
        only = torch.zeros_like(fit.converged)
        only[winner] = True
        constant = 0.0 if self.trials.constant is None else self.trials.constant.repeat(n)
        for done in range(0, max_iter, PATIENCE):
            before = fit.cost + self.weight * constant
            fit.steps(min(PATIENCE, max_iter - done), tol, only)
            only &= fit.cost + self.weight * constant < (1 - LEAST_GAIN) * before
        return self._result(fit, winner, tol)

    def _result(self, fit, k, tol):
        """Collect the results of problems k, after a last undamped step if they converged."""
        move, _ = torch.linalg.solve_ex(fit.H[k], fit.gradient[k])
        p = torch.where(fit.converged[k, None], fit.p[k] - move, fit.p[k])
        deviance = torch.cat([self.runs.run(p[i], self.target[i])[0] for i in self.parts])
        # a smaller difference may be due to rounding, which must not decide
        worse = ~(self.cost(p, deviance) <= fit.cost[k] + tol)
        p[worse] = fit.p[k[worse]]
        before = (fit.cost[k] - self.prior.cost(fit.p[k])) / self.weight
        return p, torch.where(worse, before, deviance), fit.converged[k]

    def curvature(self, p):
        """Compute the Gauss-Newton curvature of the cost at p."""
        G = []
        for i in self.parts:
            target = self.target[i]
            _, kept = self.runs.run(p[i], target, keep=True)
            G.append(self.runs.system(p[i], target, kept)[1])
        return self.weight * torch.cat(G) + self.prior.precision


@torch.no_grad()
def infer(
    runs,
    trials,
    prior,
    weight,
    *,
    teacher_forcing=0.0,
    max_iter=200,
    tol=1e-4,
    n_init=2,
    noise=None,
    curvature=True,
):
    """Infer the parameters of trials: embeddings, and coordinates of the initial states.

    Parameters
    ----------
    runs : DenseRuns
        Runs of a frozen model, float64.
    trials : Trials
        Trials, float64.
    prior : GaussianPrior
        Prior of the parameters.
    weight : float
        Inverse of the divisor of the deviance in the likelihood.
    teacher_forcing : float
        Share of the guide mixed into the state of the run whose deviance is minimised.
    max_iter, tol : int, float
        Iterations of the final stage. A trial has converged when an undamped step would lower its
        cost by less than `tol`, that is, within sqrt(tol) posterior SDs of the mode. It is given
        up, not converged, when `PATIENCE` steps lower its cost by less than the share
        `LEAST_GAIN`.
    n_init : int
        Number of starts of each trial: the continuation from the prior mean, then cluster
        centres. If runs can be lifted, inference begins with at most two ways of lifted steps,
        and only trials for which these fail use the starts.
    noise : float, optional
        Deviance of a value that noise causes. Default: 1 / weight.
    curvature : bool
        Whether to compute H.

    Returns
    -------
    p : Tensor (trials, m)
    H : Tensor (trials, m, m) or None
        Posterior precision of the Laplace approximation, with Gauss-Newton curvature.
    deviance : Tensor (trials,)
        Deviance of the run.
    converged : Tensor (trials,), bool
    """
    search = _Search(runs, trials, prior, weight, teacher_forcing)
    if not runs.lifts:
        p, deviance, converged = search.from_starts(search.starts(n_init), max_iter, tol)
    else:
        p, deviance, converged = search.from_lifted(WAYS[:n_init], tol)
        unlikely = search.unlikely(deviance, 1 / weight if noise is None else noise)
        suspect = (~converged | unlikely).nonzero()[:, 0]
        if len(suspect):
            other = _Search(runs, trials[suspect], prior, weight, teacher_forcing)
            starts = [*other.starts(n_init + 2), p[suspect]]
            again = other.from_starts(starts, max_iter, tol)
            for now, new in zip((p, deviance, converged), again, strict=True):
                now[suspect] = new
        trial, centre = search.likelier(search.cost(p, deviance), tol)
        if len(trial):
            other = _Search(runs, trials[trial], prior, weight, teacher_forcing)
            again = other.from_starts([centre], max_iter, tol)
            lower = other.cost(*again[:2]) < other.cost(p[trial], deviance[trial])
            for now, new in zip((p, deviance, converged), again, strict=True):
                now[trial[lower]] = new[lower]
    return p, search.curvature(p) if curvature else None, deviance, converged


@torch.no_grad()
def error_bars(runs, trials, p, H, prior, weight, autocorrelation_time):
    """Compute the covariance of estimates p under the noise of the data (docs/model.md, eq. 11).

    It is the sandwich H^-1 M H^-1. H is the Gauss-Newton curvature with one noise variance for
    all neurons. M uses the noise variance of each neuron and, if free runs start at the first
    sample, the noise of that sample.

    Parameters
    ----------
    runs, trials, prior, weight :
        As in `infer`.
    p, H : Tensor (trials, m), (trials, m, m)
        Results of `infer`.
    autocorrelation_time : float
        Number of consecutive samples per independent residual.

    Returns
    -------
    Tensor (trials, m, m)
    """
    parts = torch.arange(len(p), device=p.device).split(runs.chunk_of_variance(trials))
    variance = torch.cat(
        [runs.gradient_variance(p[i], trials[i], autocorrelation_time) for i in parts]
    )
    inverse = torch.linalg.inv(H)
    return inverse @ (weight**2 * variance + prior.precision) @ inverse
