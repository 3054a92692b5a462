"""What to expect of values not seen in trials, averaged over all parameters that these may have.

The prior is that of a Dirichlet process (docs/model.md, eq. 20): a new trial is like one of the
training trials, or a draw from their Gaussian, each with the same probability. What is expected
later, or of other neurons, is the mean over these alternatives, weighted by how likely each makes
the values seen.
"""

from __future__ import annotations

import numpy as np
import torch

from ._disturbance import Disturbances
from ._linearised import deviances, runs_of_known
from ._missing import sessions_of
from ._rollout import follow, simulate
from ._trials import Trials, as_trials, n_steps_of

__all__ = ["Alternatives", "learn_reliance", "some_of"]

# of likelihoods; above 16 forecasts got worse on all data, but some were as good at 8 and 16
TEMPERATURES = (1.0, 2.0, 4.0, 8.0, 16.0)
SEEN = (0.25, 0.5, 0.75)  # shares of training trials seen when choosing the temperature
MIN_JUDGES, MAX_JUDGES = 8, 64  # number of trials for choosing the temperature
HIDDEN, N_HIDING = 0.5, 32  # share of neurons hidden from training trials, and their number
SHARES = (0.0, 0.01, 0.03, 0.1, 0.3)  # of the variance of runs, for disturbances about them
HELD_VALUES = 2**23  # in runs held together, also those for choosing it: 64 MB of float64
# values of trials from which disturbances are learned; however large a trial, samples and neurons
COPIED, LEAST_SAMPLES, LEAST_NEURONS = 2**20, 128, 64
JUDGED = 2**22  # values in the runs by which forecasts are scored: 32 MB
LEAST_SHARE = 1e-4  # probability below which an alternative is left out
IMPOSSIBLE = 1e200  # deviance of a run that overflows
MOST = 1e100  # activity of a run that explodes
LARGEST = 4.0  # times the largest mean square state of training trials: beyond, a run explodes


def some_of(n, most):
    """Choose at most `most` of n indices, sorted; the choice is fixed."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    return order[:most].sort().values


class Alternatives:
    """Alternative parameters of trials that are seen in part, with probabilities.

    Parameters
    ----------
    model : Model
        Frozen model.
    trials : Trials
        The part of the trials that is seen.
    p, H : Tensor (trials, m), (trials, m, m)
        Posterior modes under the Gaussian, and the precisions there.
    weight : float
        Inverse of the divisor of the deviance in the likelihood.
    correction : float
        Share of the guide mixed into the state at each sample seen.
    runs, seen : DenseRuns, Trials
        Runs and trials of the neurons on which embeddings depend.

    Attributes
    ----------
    p : Tensor (trials, alternatives, m)
        Parameters: the modes, and those of training trials.
    log_share : Tensor (trials, alternatives)
        Logarithm of the probability of each alternative, up to a constant for each trial. Runs
        that explode have none, as soon as `forecast` or `expect` has made them.
    """

    def __init__(self, model, trials, p, H, weight, correction, runs, seen):
        self.model, self.trials, self.correction = model, trials, correction
        prior = model.prior
        self.p = torch.cat([p[:, None], prior.known.expand(len(p), -1, -1)], 1)
        # without inputs, an embedding has a single free run, whatever the trial
        alike = model.initial_state.generated and not trials.n_inputs and not correction
        self.alike = alike and len(prior.known) > 0
        self.n_own = 1 if self.alike else self.p.shape[1]
        deviance = self._deviance_of_own(runs, seen)
        if self.alike:
            samples, some = seen.samples(), [deviance]
            for known in prior.known.split(self._held(seen.n_steps)):
                states = runs_of_known(runs, known, seen.n_steps)[:: seen.every]
                some.append(deviances(states, samples, runs.observation))
            deviance = torch.cat(some, 1)
        self.log_share = -weight / 2 * _finite(deviance)
        # an integral that does not exist must not rule out the other alternatives
        integral = prior.log_integral(p, H)
        self.log_share[:, 0] += torch.where(integral.isnan(), -torch.inf, integral)

    def _held(self, n_steps):
        """Compute how many runs to hold together."""
        return max(1, HELD_VALUES // (n_steps * self.trials.shape[2]))

    def _deviance_of_own(self, runs, trials):
        """Compute the deviance of runs made for each trial, (trials, alternatives)."""
        target, n = runs.target(trials, self.correction), len(trials)
        p = self.p[:, : self.n_own].flatten(0, 1)
        k = torch.arange(n, device=p.device).repeat_interleave(self.n_own)
        parts = torch.arange(len(p), device=p.device).split(runs.chunk(target))
        return torch.cat([runs.run(p[i], target[k[i]])[0] for i in parts]).view(n, -1)

    def forecast(self, n_samples, inputs):
        """Compute the mean activity (trials, samples, neurons) in the samples after those seen.

        `inputs` (trials, samples + 1, inputs), scaled, start at the last sample seen.
        """
        every = self.trials.every
        u = torch.as_tensor(inputs, device=self.trials.device).transpose(0, 1)
        u = u.repeat_interleave(every, 0)[: n_steps_of(n_samples + 1, every)]
        return self._mean(u, after=True)

    def expect(self, disturbances, weight):
        """Compute the activity (trials, samples, neurons) expected during the trials.

        Disturbances of the mean are inferred under the likelihood with this `weight`.
        """
        samples, observation = self.trials.samples(), self.model.observation
        mean = self._mean(self.trials.inputs, after=False)
        if disturbances is None:
            return mean
        runs = observation.states(mean.transpose(0, 1).cpu().numpy())
        runs = torch.as_tensor(runs, device=mean.device)
        states = disturbances.expect(runs, samples, observation, weight)
        return self._activity(states, 1, 0)

    def _mean(self, inputs, after):
        """Compute the mean activity over the alternatives, during the trials or after them.

        `inputs` (steps, trials, inputs) are those of the steps wanted. After the trials, the first
        step is the last one seen, and is left out.
        """
        model, trials, n_steps = self.model, self.trials, len(inputs)
        every = trials.every
        first = every if after else 0
        everyone = torch.arange(len(trials), device=trials.device)
        modes = self._states(everyone, self.p[:, 0], inputs, after)
        exploded = ~(modes.square().mean(2).amax(0) <= LARGEST * model.largest)
        if self.p.shape[1] > 1:
            self.log_share[exploded, 0] = -torch.inf
        share = self.log_share.softmax(1).nan_to_num(1.0)  # of a single alternative
        share = torch.where(share < LEAST_SHARE, 0.0, share)
        share /= share.sum(1, keepdim=True)
        mean = share[:, 0, None, None] * self._activity(modes, every, first)
        if self.alike:
            begin = trials.n_steps - 1 if after else 0
            whole = begin + n_steps
            parts = torch.arange(1, self.p.shape[1], device=trials.device).split(self._held(whole))
            for j in parts:
                states = runs_of_known(model, model.prior.known[j - 1], whole)[begin:]
                activity = self._activity(states, every, first)
                mean += (share[:, j] @ activity.flatten(1)).view(mean.shape)
            return mean
        for i in share[:, 1:].nonzero().split(self._held(n_steps)):
            k, j = i[:, 0], i[:, 1] + 1
            activity = self._activity(self._states(k, self.p[k, j], inputs, after), every, first)
            mean.index_add_(0, k, share[k, j, None, None] * activity)
        return mean

    def _states(self, k, p, inputs, after):
        """Simulate states (steps, runs, neurons) of parameters p of trials k, with their inputs.

        The first state is that of the first sample or, `after` the trials, of the last one.
        """
        model, some = self.model, self.trials[k]
        d = model.hypernetwork.n_components
        weights, first, _ = model.start(p[:, :d], p[:, d:], some)
        how = (model.connectivity, weights)
        if after:
            first = follow(*how, first, some, model.alpha, self.correction)
        return simulate(*how, first, len(inputs), model.alpha, inputs[:, k])

    def _activity(self, states, every, first):
        """Convert states (steps, runs, neurons) from `first` on to activity, runs first."""
        states = states[first::every].transpose(0, 1)
        with np.errstate(over="ignore"):  # runs may explode
            activity = self.model.observation.activity(states.cpu().numpy())
        return torch.as_tensor(activity, device=states.device).nan_to_num()


def _finite(deviance):
    return deviance.nan_to_num(nan=IMPOSSIBLE, posinf=IMPOSSIBLE)


@torch.no_grad()
def learn_reliance(model, X, inputs):
    """Learn from training trials X how far to rely on parts of trials.

    What is hidden of some trials is predicted by the mean of the free runs of others, weighted by
    their likelihoods: the rest of trials from their beginnings, and neurons from the others. Each
    temperature is the highest one within one standard error of the best one, because the weights
    were fitted to these trials and describe them better than new ones.

    Parameters
    ----------
    model : Model
        Frozen model on the CPU, with the parameters of training trials.
    X : ndarray or StoredTrials (trials, time, neurons)
        Training trials.
    inputs : ndarray (trials, time, inputs) or None
        Their known inputs.

    Returns
    -------
    temperature : float
        Temperature of the likelihood of beginnings.
    largest : float
        Mean square over neurons of the largest state of a training trial.
    hidden_temperature : float
        Temperature of the likelihood of some of the neurons.
    disturbances : Disturbances
        What trials have beyond their runs.
    """
    observation, n_samples = model.observation, X.shape[1]
    alike = model.initial_state.generated and inputs is None
    n_values = n_samples * X.shape[2]
    index = some_of(len(X), len(model.prior.known))
    some = some_of(len(index), min(len(index), max(HELD_VALUES // n_values, MIN_JUDGES)))
    known, index = model.prior.known[some], index[some].numpy()
    n_judges = MAX_JUDGES if alike else MIN_JUDGES
    judges = some_of(len(known), max(min(n_judges, HELD_VALUES // n_values), MIN_JUDGES)).numpy()
    # for disturbances: trials, samples of each, and neurons, which tell most
    n_trials = min(max(COPIED // n_values, MIN_JUDGES), len(judges))
    n_each = min(max(COPIED // (n_trials * X.shape[2]), LEAST_SAMPLES), n_samples)
    most_learned = max(COPIED // (n_trials * n_each), LEAST_NEURONS)
    most_judged = max(JUDGED // (len(known) * n_samples), LEAST_NEURONS)
    every = -(-n_trials * n_values // COPIED)  # samples of runs, of which one tells the axes
    learning = some_of(len(judges), n_trials).tolist()
    hiding = some_of(len(judges), min(N_HIDING, n_trials)).tolist()
    begin = np.zeros(len(judges), dtype=int)  # of the pieces: first and last samples count, too
    begin[sorted(learning)] = np.linspace(0, n_samples - n_each, n_trials).round()
    ends = sorted({round(part * n_samples) for part in SEEN} - {0, n_samples})
    weight = 1 / (observation.dispersion * model.autocorrelation_time)
    how = (observation, model.imputer, torch.float64, known.device, model.steps_per_sample)
    losses, run, largest = np.zeros((len(judges), len(TEMPERATURES))), None, 0.0
    sessions, own = [], []
    for members, neurons in sessions_of(X[index[k]] for k in judges):
        session, rates = _Session(observation, neurons, most_learned, most_judged, weight), None
        sessions.append(session)
        for i, k in zip(members, judges[members], strict=True):
            x = np.asarray(X[index[k]], dtype=float)
            u = model.scale_inputs(None if inputs is None else inputs[index[[k]]], (1, n_samples))
            if run is None or not alike:
                trial = None if alike else as_trials(x[None], u, *how)
                n_steps = n_steps_of(n_samples, model.steps_per_sample)
                run = runs_of_known(model, known, n_steps, trial)
                largest = max([largest, *(float(now.square().mean(1).max()) for now in run)])
                states = run[:: model.steps_per_sample]
            if rates is None or not alike:
                rates = _activity(session.judging, states[..., session.judged])
            seen, piece = session.trial(x), slice(begin[i], begin[i] + n_each)
            if i in learning and states[:, k].isfinite().all():
                own.append(states[::every, k].clone())  # no view, which would keep other runs
                session.learn_from(states[piece, k], seen, piece)
            rows = [seen, session.hide(x, seen, piece, hiding.index(i))] if i in hiding else [seen]
            deviance = session.deviances(states, _together(rows), [*ends, n_samples])
            deviance[..., k] = torch.inf
            for n, so_far in zip(ends, deviance, strict=False):
                for j, mean in enumerate(_means(so_far[0], rates[n:], weight)):
                    losses[i, j] += session.deviance_of(x[n:], mean)
            if i in hiding:
                hidden = session.rates_of_hidden(states, rates, piece)
                session.means.append(_means(deviance[-1, 1], hidden, weight))
    if not own:  # every run explodes, so there is nothing to depart from
        return _highest_good(losses), largest, 1.0, None
    del run, states, rates, x, seen, rows  # frees memory
    own = torch.stack(own, 1).numpy()
    decay = (1 - model.alpha) ** model.steps_per_sample
    disturbances = Disturbances.of_runs(own, decay)
    return _highest_good(losses), largest, *_learn_hidden(disturbances, sessions, weight)


def _activity(observation, states):
    """Compute the activity of states, limited so that deviances can be summed."""
    with np.errstate(over="ignore"):
        activity = observation.activity(states.numpy())
    return np.nan_to_num(activity).clip(-MOST, MOST)


def _means(deviance, rates, weight):
    """Compute mean rates (T, time, neurons) of runs, weighted by likelihoods at temperatures T."""
    return (_shares(deviance, weight) @ rates).swapaxes(0, 1)


def _shares(deviance, weight):
    """Compute the weights (T, runs) of runs at temperatures T."""
    temperatures = deviance.new_tensor(TEMPERATURES)[:, None]
    return (-weight / (2 * temperatures) * deviance).softmax(1).numpy()


def _highest_good(losses):
    """Find the highest temperature within one standard error of the best, (judges, T).

    It is 1 if no temperature makes a difference, as with a single alternative.
    """
    if np.allclose(losses, losses[:, :1], rtol=1e-9, atol=0.0):
        return 1.0
    away = losses - losses[:, [losses.sum(axis=0).argmin()]]
    error = away.std(axis=0) / len(away) ** 0.5
    return TEMPERATURES[np.flatnonzero(away.mean(axis=0) <= error).max()]


def _together(trials):
    """Put trials side by side, with a weight for each value."""
    weight = None
    if any(t.weight is not None for t in trials):
        # ones are not copied out before they are joined
        weights = [
            t.y.new_ones(()).expand_as(t.y) if t.weight is None else t.weight for t in trials
        ]
        weight = torch.cat(weights, 1)
    return Trials(torch.cat([t.y for t in trials], 1), weight)


def _spread(n, most):
    """Choose at most `most` of n indices, evenly spaced; a slice if they are all."""
    return slice(None) if n <= most else np.linspace(0, n - 1, most).round().astype(int)


def _as_slice(index):
    """Convert consecutive indices to a slice, which selects without a copy."""
    consecutive = len(index) and index[-1] - index[0] == len(index) - 1
    return slice(int(index[0]), int(index[-1]) + 1) if consecutive else index


class _Session:
    """Training trials of a session: how well runs describe them, and neurons that are hidden.

    Only the neurons of the session are compared with runs.

    Parameters
    ----------
    observation : Observation
    own : ndarray of int
        Neurons of the session among all. The likelihoods of runs are those of all of these.
    most_learned, most_judged : int
        Numbers of neurons to learn disturbances from, and by which to judge forecasts.
    weight : float
        Inverse of the divisor of the deviance in the likelihood.

    Attributes
    ----------
    neurons, judged : slice or ndarray of int
        Neurons to learn disturbances from, and by which to judge forecasts.
    """

    def __init__(self, observation, own, most_learned, most_judged, weight):
        among = _spread(len(own), most_learned)
        self.own, self.neurons, self.among = _as_slice(own), _as_slice(own[among]), among
        self.judged = _as_slice(own[_spread(len(own), most_judged)])
        self.takes_all = min(most_learned, most_judged) >= len(own)
        all_of_these = (self.own, self.neurons, self.judged)
        self.all, self.observation, self.judging = map(observation.take, all_of_these)
        self.weight = weight
        self.runs, self.trials = [], []  # to learn disturbances from
        self.hidden, self.seen, self.means = [], [], []

    def trial(self, x):
        """Make a trial, without a guide, of what x (time, all neurons) has of the session."""
        values = self.all.values(x[:, None, self.own])
        seen = np.isfinite(values)
        weight = None if seen.all() else torch.from_numpy(seen.astype(float))
        return Trials(torch.from_numpy(np.where(seen, values, 0.0)), weight)

    def deviances(self, states, trials, ends):
        """Compute deviances of trials from runs up to some samples, (ends, trials, runs)."""
        found = []
        for t, x in enumerate(states[..., self.own]):
            (a, b), y, weight = self.all.expand(x), trials.y[t], trials.weight_at(t)
            weight = torch.ones_like(y) if weight is None else weight
            of_values = (weight * self.all.of_values(y)).sum(1, keepdim=True)
            found.append(weight @ a.t() - (weight * y) @ b.t() + of_values)
        return _finite(torch.stack(found).cumsum(0)[np.subtract(ends, 1)])

    def deviance_of(self, x, mean):
        """Compute the deviance of x (time, all neurons) from the activity expected."""
        return self.judging.deviance_of(x[:, self.judged], mean)

    def rates_of_hidden(self, states, rates, piece):
        """Compute the activity of runs in a piece, in `neurons`, given rates of those `judged`."""
        if self.takes_all:
            return rates[piece]
        return _activity(self.observation, states[piece][..., self.neurons])

    def learn_from(self, run, trial, piece):
        """Keep a piece of a trial and of its own run, to learn disturbances from."""
        self.runs.append(run[:, self.neurons].clone())
        self.trials.append(self._chosen(trial, piece))

    def hide(self, x, trial, piece, seed):
        """Hide neurons of a trial x, to be predicted in a piece; return all that is seen."""
        hide = np.random.default_rng(seed).random(x.shape[1]) < HIDDEN
        seen = torch.ones_like(trial.y) if trial.weight is None else trial.weight.clone()
        seen[..., torch.from_numpy(hide[self.own])] = 0
        trial = Trials(trial.y * seen, seen)
        self.hidden.append(np.where(hide, x, np.nan)[piece, self.neurons])
        self.seen.append(self._chosen(trial, piece))
        return trial

    def _chosen(self, trial, piece):
        weight = None if trial.weight is None else trial.weight[piece][..., self.among].clone()
        return Trials(trial.y[piece][..., self.among].clone(), weight)

    def losses(self, j, disturbances):
        """Compute the deviance of the hidden neurons of each trial, at a temperature."""
        if not self.hidden:
            return []
        means = np.stack([each[j] for each in self.means], axis=1)
        runs = torch.from_numpy(self.observation.states(means))
        how = (runs, _together(self.seen), self.observation, self.weight)
        states = disturbances.take(self.neurons).expect(*how).transpose(0, 1)
        mean = _activity(self.observation, states)
        pairs = zip(self.hidden, mean, strict=True)
        return [self.observation.deviance_of(*pair) for pair in pairs]


def _learn_hidden(disturbances, sessions, weight):
    """Choose the size of disturbances at the highest temperature, then the temperature.

    `disturbances` are as large as runs.
    """

    def losses(j, disturbances):
        return [loss for session in sessions for loss in session.losses(j, disturbances)]

    tried = [disturbances.scaled(share) for share in SHARES]
    highest = [losses(-1, some) for some in tried]
    best = int(np.argmin(np.sum(highest, axis=1)))
    parts = [
        (torch.stack(s.runs, 1), _together(s.trials), s.observation, s.neurons)
        for s in sessions
        if s.runs
    ]
    refined = tried[best].refined(parts, weight)
    again = losses(-1, refined)
    if np.sum(again) < np.sum(highest[best]):
        tried[best], highest[best] = refined, again
    each = [losses(j, tried[best]) for j in range(len(TEMPERATURES) - 1)] + [highest[best]]
    return _highest_good(np.stack(each, axis=1)), tried[best]
