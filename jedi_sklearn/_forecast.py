"""What follows the seen part of trials, over all parameters that they may have.

The prior is that of a Dirichlet process (docs/model.md, eq. 20): a new trial is like one of the
training trials, or a draw from their Gaussian, each with the same probability. A forecast is the
mean of what follows under each of these, weighted by how likely it makes what was seen.
"""

from __future__ import annotations

import numpy as np
import torch

from ._rollout import follow, simulate
from ._trials import as_trials, n_steps_of

__all__ = ["Alternatives", "learn_temperature", "some_of"]

# of likelihoods: above 16 forecasts got worse on all data, but some were as good at 8 and 16
TEMPERATURES = (1.0, 2.0, 4.0, 8.0, 16.0)
SEEN = (0.25, 0.5, 0.75)  # parts of training trials from which the rest is forecast to choose one
# of such trials, and as many in between as this number of values in their runs allows
MIN_JUDGES, MAX_JUDGES, MAX_VALUES = 8, 64, 2**27
LEAST_SHARE = 1e-4  # of what a trial may be: less likely parameters are left out
LARGEST = 4.0  # mean square of states, in those of training trials: beyond it a run explodes
MAX_RUNS = 64  # that are made at a time


def some_of(n, most):
    """Sorted indices of at most so many of n, a fixed choice."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    return order[:most].sort().values


class Alternatives:
    """What trials may be of which only the beginning is seen, and how likely that is.

    Parameters
    ----------
    model : Model
        Frozen.
    trials : Trials
        What is seen.
    p, H : Tensor (trials, m), (trials, m, m)
        Posterior modes under the Gaussian, and the precisions there.
    weight : float
        1 / what the deviance is divided by in the likelihood.
    correction : float
        Share of the guide mixed into the state on the way.
    runs, seen : DenseRuns, Trials
        Of the neurons that embeddings depend on.

    Attributes
    ----------
    p : Tensor (trials, alternatives, m)
        Parameters: the modes, and those of training trials.
    log_share : Tensor (trials, alternatives)
        Logarithm of the probability of each, up to a constant of each trial.
    """

    def __init__(self, model, trials, p, H, weight, correction, runs, seen):
        self.model, self.trials, self.correction = model, trials, correction
        prior = model.prior
        self.p = torch.cat([p[:, None], prior.known.expand(len(p), -1, -1)], 1)
        # without inputs a training trial's embedding has one free run, whatever the trial
        alike = model.initial_state.generated and not trials.n_inputs and not correction
        self.alike = alike and len(prior.known) > 0
        self.n_own = 1 if self.alike else self.p.shape[1]
        deviance = self._deviance_of_own(runs, seen)
        if self.alike:
            states = runs_of_known(runs, prior.known, seen.n_steps)[:: seen.every]
            samples, each = seen.samples(), []
            for k in range(len(seen)):
                along = deviance_along(states, samples[[k]], runs.observation)
                each.append(along[-1])
            deviance = torch.cat([deviance, torch.stack(each)], 1)
        log_share = -weight / 2 * deviance
        # Laplace's approximation of the integral over the Gaussian
        ratio = torch.logdet(prior.precision) - torch.logdet(H) - prior.cost(p)
        log_share[:, 0] += ratio / 2
        self.log_share = log_share.nan_to_num(nan=-torch.inf, posinf=-torch.inf)

    def _deviance_of_own(self, runs, trials):
        """Deviance of runs that are made for each trial, (trials, alternatives)."""
        target, n = runs.target(trials, self.correction), len(trials)
        p = self.p[:, : self.n_own].flatten(0, 1)
        k = torch.arange(n, device=p.device).repeat_interleave(self.n_own)
        parts = torch.arange(len(p), device=p.device).split(runs.chunk(target))
        return torch.cat([runs.run(p[i], target[k[i]])[0] for i in parts]).view(n, -1)

    def forecast(self, n_samples, inputs):
        """Mean activity (trials, samples, neurons) in as many samples after those seen.

        `inputs` (trials, samples + 1, inputs), scaled, begin at the last sample seen.
        """
        model, trials, every = self.model, self.trials, self.trials.every
        n_steps = n_steps_of(n_samples + 1, every)
        u = torch.as_tensor(inputs, device=trials.device).transpose(0, 1)
        u = u.repeat_interleave(every, 0)[:n_steps]
        everyone = torch.arange(len(trials), device=trials.device)
        modes, log_share = self._states_after(everyone, self.p[:, 0], u), self.log_share.clone()
        if self.alike:
            known = runs_of_known(model, model.prior.known, trials.n_steps + n_steps - 1)
            size = modes.square().mean(2).amax(0)
            exploded = ~(size <= LARGEST * known.square().mean(2).amax())
            log_share[exploded, 0] = -torch.inf
        share = log_share.softmax(1)
        share = torch.where(share < LEAST_SHARE, 0.0, share)
        share /= share.sum(1, keepdim=True)
        mean = share[:, 0, None, None] * self._activity(modes, every).nan_to_num()
        if self.alike:
            activity = self._activity(known[trials.n_steps - 1 :], every)
            return mean + (share[:, 1:] @ activity.flatten(1)).view(mean.shape)
        for i in share[:, 1:].nonzero().split(MAX_RUNS):
            k, j = i[:, 0], i[:, 1] + 1
            activity = self._activity(self._states_after(k, self.p[k, j], u), every)
            mean.index_add_(0, k, share[k, j, None, None] * activity)
        return mean

    def _states_after(self, k, p, inputs):
        """States (steps, runs, neurons) of parameters p of trials k, from the last sample on."""
        model, some = self.model, self.trials[k]
        d = model.hypernetwork.n_components
        weights, x0 = model.start(p[:, :d], p[:, d:], some)
        how = (model.connectivity, weights)
        last = follow(*how, x0, some, model.alpha, self.correction)
        return simulate(*how, last, len(inputs), model.alpha, inputs[:, k])

    def _activity(self, states, every):
        """Activity (runs, samples, neurons) after the first of states (steps, runs, neurons)."""
        states = states[every::every].transpose(0, 1)
        activity = self.model.observation.activity(states.cpu().numpy())
        return torch.as_tensor(activity, device=states.device)


def runs_of_known(parts, known, n_steps, trial=None):
    """Free runs (time, known, neurons) of parameters, in states.

    `parts` has hypernetwork, connectivity, initial state and alpha; where runs depend on more than
    that, they begin where a `trial` does and have its inputs.
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


def deviance_along(states, trial, observation):
    """Deviance of a trial from runs (time, runs, neurons), up to each sample: (time, runs)."""
    each = zip(states, trial.y, [trial.weight_at(t) for t in range(len(states))], strict=True)
    return torch.stack([observation.score(x, *seen)[2] for x, *seen in each]).cumsum(0)


@torch.no_grad()
def learn_temperature(model, X, inputs):
    """The temperature at which the rest of training trials X is foreseen.

    It is forecast as the mean of the free runs of other trials, weighted by their likelihoods. Of
    the temperatures within one standard error of the best one the highest is taken: the weights
    were fitted to these trials, and know them better than they will know new ones.

    Parameters
    ----------
    model : Model
        Frozen, on the CPU; it knows the parameters of training trials.
    X : ndarray or StoredTrials (trials, time, neurons)
    inputs : ndarray (trials, time, inputs) or None

    Returns
    -------
    float
    """
    observation, known, n_samples = model.observation, model.prior.known, X.shape[1]
    alike = model.initial_state.generated and inputs is None
    index = some_of(len(X), len(known)).numpy()
    n_judges = MAX_VALUES // (len(known) * n_samples * X.shape[2])
    n_judges = min(max(n_judges, MIN_JUDGES), MAX_JUDGES if alike else MIN_JUDGES, len(known))
    judges = some_of(len(known), n_judges).numpy()
    weight = 1 / (observation.dispersion * model.autocorrelation_time)
    losses, states = np.zeros((n_judges, len(TEMPERATURES))), None
    for i, k in enumerate(judges):
        x = np.asarray(X[index[k]], dtype=float)
        u = model.scale_inputs(None if inputs is None else inputs[index[[k]]], (1, n_samples))
        kind = (torch.float64, known.device, model.steps_per_sample)
        trial = as_trials(x[None], u, observation, model.imputer, *kind)
        if states is None or not alike:
            run = runs_of_known(model, known, trial.n_steps, None if alike else trial)
            states = run[:: trial.every]
            rates = observation.activity(states.numpy())
        deviance = deviance_along(states, trial.samples(), observation)
        deviance[:, k] = torch.inf
        for n in {round(part * n_samples) for part in SEEN} - {0, n_samples}:
            for j, temperature in enumerate(TEMPERATURES):
                share = (-weight / (2 * temperature) * deviance[n - 1]).softmax(0).numpy()
                mean = np.einsum("k,tkn->tn", share, rates[n:])
                losses[i, j] += observation.deviance_of(x[n:], mean)
    away = losses - losses[:, [losses.sum(axis=0).argmin()]]
    error = away.std(axis=0) / len(away) ** 0.5
    return TEMPERATURES[np.flatnonzero(away.mean(axis=0) <= error).max()]
