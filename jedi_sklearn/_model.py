"""The model: it is trained, then frozen, and then infers embeddings and generates activity.

One object holds the hypernetwork (with its connectivity), the observation model, the initial
state and the prior of the parameters p = [c, q] of trials. During training it is float32 on the
device of the fit; from `settle` on it is float64 on the CPU. It does not know how it is trained,
nor how the embeddings of trials are inferred (`_blockwise.py`).
"""

from __future__ import annotations

import copy
from itertools import zip_longest

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import nn

from ._blockwise import Wanted, infer_trials
from ._distributed import ALONE
from ._expectation import learn_reliance, some_of
from ._inference import GaussianPrior
from ._observation import residual_autocorrelation_time
from ._replay import can_replay, replayed
from ._rollout import read_out_loss, simulate, split_run
from ._torch import as_tensor
from ._trials import SessionTrials, block_size, blocks, by_session, n_steps_of

__all__ = ["Model"]

N_KNOWN = 256  # training trials that represent all in predictions
N_CENTRES = 32  # cluster centres of the training embeddings, which are candidate starts
N_TOGETHER = 64  # free runs that are simulated together
LEAST_EFFECT = 1e-8  # least effect of a component, as a share of the largest
NOISE_FLOOR = 1e-8  # share of the data's variance; noise-free data would give a singular system


class Model(nn.Module):
    """Hypernetwork, initial state, observation model and prior, with time steps and units.

    Parameters
    ----------
    hypernetwork : Hypernetwork
    initial_state : InitialState
    observation : Observation
    imputer : Imputer
        Imputes missing samples.
    input_scale : ndarray (inputs,)
        RMS of each channel of known input.
    dt, tau : float
        Sampling interval and time constant, s.
    n_init : int
        Number of starts in the inference of a trial.
    prior : GaussianPrior, optional
        Prior of the parameters of trials. It, the noise of the observation model and
        `autocorrelation_time` are known from `settle` on.
    autocorrelation_time : float
        Number of consecutive samples per independent residual.
    steps_per_sample : int
        Time steps of the RNN per sample, each of length dt / steps_per_sample.
    temperature : float
        Temperature of the likelihood of the seen part of a trial in forecasts.
    largest : float
        Mean square over neurons of the largest state that is plausible in predictions.
    hidden_temperature : float
        Temperature of the likelihood of what was seen beside missing values.
    disturbances : Disturbances, optional
        What trials have beyond the runs of their embeddings. Older files have none.
    earlier : Model, optional
        Model that this one extends. It describes the trials that it makes more likely than this
        one does; their further components are 0.
    """

    def __init__(
        self,
        hypernetwork,
        initial_state,
        observation,
        imputer,
        input_scale,
        dt,
        tau,
        n_init,
        prior=None,
        autocorrelation_time=1.0,
        steps_per_sample=1,
        temperature=1.0,
        largest=np.inf,
        hidden_temperature=1.0,
        disturbances=None,
        earlier=None,
    ):
        super().__init__()
        self.hypernetwork, self.initial_state = hypernetwork, initial_state
        self.observation, self.prior = observation, prior
        self.imputer, self.input_scale = imputer, input_scale
        self.dt, self.tau, self.n_init, self.autocorrelation_time = (
            dt,
            tau,
            n_init,
            autocorrelation_time,
        )
        self.steps_per_sample = steps_per_sample
        self.temperature, self.largest = temperature, largest
        self.hidden_temperature, self.disturbances = hidden_temperature, disturbances
        self.earlier = earlier

    @property
    def step(self):
        """Duration of a time step of the RNN, s."""
        return self.dt / self.steps_per_sample

    @property
    def alpha(self):
        """Time step of the RNN over tau."""
        return self.step / self.tau

    @property
    def connectivity(self):
        """Connectivity of the hypernetwork."""
        return self.hypernetwork.connectivity

    def start(self, c, q, trials):
        """Compute weights, first states and observation model of the runs of trials."""
        weights, initial, observation = self.hypernetwork(c), self.initial_state, self.observation
        if trials.neurons is not None:
            weights = self.connectivity.of_neurons(weights, trials.neurons)
            initial = initial.take(trials.neurons)
            observation = observation.take(trials.neurons)
        generated = self.connectivity.generated(weights)
        return weights, initial(q, trials.guide[0], generated), observation

    def loss(self, c, q, trials, teacher_forcing=0.0, workspace=None):
        """Compute the deviance of the runs of trials with teacher forcing, with gradients."""
        if isinstance(trials, SessionTrials):
            return self._loss_of_sessions(c, q, trials, teacher_forcing, workspace)
        weights, x0, observation = self.start(c, q, trials)
        rest = (weights, x0, trials, self.alpha, teacher_forcing, observation)
        if workspace is not None and can_replay(trials.device):
            return replayed(self.connectivity.loss, *rest, workspace)
        return self.connectivity.loss(*rest, workspace)

    def _loss_of_sessions(self, c, q, trials, teacher_forcing, workspace):
        """Run the neurons that drive others once for all sessions; read out those of each."""
        pulls = trials.pulls_of_training(teacher_forcing)
        weights, x0, observation = self.start(c, q, trials.driving)
        how = (trials.driving, self.alpha, pulls, observation, workspace)
        total, latent = split_run(weights, x0, *how)
        for i, some in trials.read_out:
            weights, x0, observation = self.start(c[i], q[i], some)
            own = [g[i] if torch.is_tensor(g) else g for g in pulls]
            how = (some, self.alpha, own, observation)
            total = total + read_out_loss(weights, x0, latent[:, i], *how)
        return total

    @torch.no_grad()
    def residual(self, c, q, trials):
        """Compute the residuals of the free runs of trials, (time, trials, neurons).

        For sessions with different neurons, the residuals of all trials are side by side, (time,
        residuals).
        """
        if isinstance(trials, SessionTrials):
            each = (self.residual(c[i], q[i], some) for i, some in trials.parts)
            return torch.cat([error.flatten(1) for error in each], 1)
        weights, x0, observation = self.start(c, q, trials)
        how = (trials.n_steps, self.alpha, trials.inputs)
        states = simulate(self.connectivity, weights, x0, *how)
        return observation.residual(states, trials.y, trials.weight)

    def runs(self):
        """Make runs with derivatives, for inference."""
        parts = (self.hypernetwork, self.initial_state, self.observation)
        return self.connectivity.Runs(*parts, self.alpha)

    # From training to the fitted model, and back

    def settle(self, c, q, trials, embedding_index, *, variance, seed, processes=ALONE):
        """Make a frozen copy, float64 on the CPU, with the prior and noise of training trials.

        Parameters
        ----------
        c, q : Tensor
            Trained embeddings (embeddings, d) and initial-state coordinates (trials, size).
        trials : Trials or LazyTrials
            Training trials.
        embedding_index : Tensor or None
            Embedding of each trial.
        variance : float
            Variance of the trials.
        seed : int or RandomState
            Seed of the clustering that provides starts.
        processes : Processes
            Processes that share the trials.
        """
        each = c if embedding_index is None else c[embedding_index]
        squares = c.new_zeros(len(self.observation.scale), dtype=torch.float64)
        count, autocorrelation_time = torch.zeros_like(squares), torch.zeros_like(squares[:1])
        for i in processes.share(blocks(trials)):
            some = trials[i]
            error = self.residual(each[i], q[i], some)
            neurons = slice(None) if some.neurons is None else some.neurons
            squares[neurons] += error.square().sum((0, 1), dtype=torch.float64)
            seen = some.n_steps * len(i) if some.weight is None else some.weight.sum((0, 1))
            count[neurons] += seen
            autocorrelation_time += (
                residual_autocorrelation_time(error, some.every) * len(i) / len(trials)
            )
        processes.sum_(squares, count, autocorrelation_time)
        if not torch.isfinite(squares).all():
            raise FloatingPointError(
                "Training diverged: the free run of the trained model is not finite. Try a "
                "smaller learning_rate_init, a smaller rank, or more steps (max_iter)."
            )
        frozen = copy.deepcopy(self).double().cpu().requires_grad_(False)
        frozen.observation.learn_noise(squares.cpu(), count.cpu(), NOISE_FLOOR * variance)
        frozen.autocorrelation_time = float(autocorrelation_time)
        c, each, q = (a.detach().double().cpu() for a in (c, each, q))
        frozen.prior = _learn_prior(c, each, q, seed)
        if embedding_index is None:
            frozen._widen_prior(torch.cat([c, q], 1), trials)
        return frozen

    @torch.no_grad()
    def _widen_prior(self, p, trials):
        """Add the posterior covariances of parameters p to the prior's covariance, as EM does.

        The covariances of at most `block_size` trials represent all.
        """
        order = torch.randperm(len(p), generator=torch.Generator().manual_seed(0))
        n_steps, _, n_neurons = trials.shape
        index = order[: block_size(n_steps, n_neurons)].sort().values
        weight = 1 / (self.observation.dispersion * self.autocorrelation_time)
        covariance, prior = torch.zeros_like(self.prior.precision), self.prior
        for where, some in by_session(trials[index.to(trials.device)]):
            some, own = some.to(torch.float64, torch.device("cpu")), p[index[where]]
            runs = (self if some.neurons is None else self.of_neurons(some.neurons)).runs()
            for i in torch.arange(len(some)).split(runs.chunk(some)):
                target = runs.target(some[i])
                _, kept = runs.run(own[i], target, keep=True)
                _, curvature, _ = runs.system(own[i], target, kept)
                covariance += torch.linalg.inv(weight * curvature + prior.precision).sum(0)
        covariance = torch.linalg.inv(prior.precision) + covariance / len(index)
        self.prior = GaussianPrior(prior.mean, torch.linalg.inv(covariance), prior.centres)

    def thaw(self, X, inputs, embedding_index, device, dtype, processes=ALONE):
        """Make a copy to train on X, with embeddings and initial-state coordinates.

        `infer` finds the embeddings: one for each trial or, with `embedding_index`, the mean over
        the trials that share one.
        """
        d = self.hypernetwork.n_components
        found = self.infer(X, device, inputs, processes=processes)
        p = torch.as_tensor(found.p, device=device)
        c, q = p[:, :d], p[:, d:].to(dtype)
        if embedding_index is not None:
            total = c.new_zeros(int(embedding_index.max()) + 1, d).index_add_(
                0, embedding_index, c
            )
            c = total / torch.bincount(embedding_index)[:, None]
        return copy.deepcopy(self).to_train(device, dtype), c.to(dtype), q

    def to_train(self, device, dtype):
        """Move to a device in the precision of training, with gradients."""
        self.hypernetwork.to(device, dtype).requires_grad_(True)
        self.initial_state.to(device, dtype).requires_grad_(True)
        self.observation.to(device).requires_grad_(True)  # its units stay float64
        self.prior = None  # it belongs to an earlier state of the weights
        return self

    # Trials

    def infer(self, X, device, inputs=None, *, n_jobs=None, processes=ALONE, **wanted):
        """Infer the posterior modes of trials X, and what else is `Wanted`, by name."""
        return infer_trials(self, X, device, inputs, Wanted(**wanted), n_jobs, processes)

    def of_neurons(self, neurons):
        """Select some of the neurons, which must not need any of the others."""
        return self.with_parts(
            self.hypernetwork.take(neurons),
            self.initial_state.take(neurons),
            self.observation.take(neurons),
            self.imputer.take(neurons),
            None if self.disturbances is None else self.disturbances.take(neurons),
        )

    def with_parts(self, hypernetwork, initial_state, observation, imputer, disturbances):
        """Make a frozen model with these parts and the rest of this one, except `earlier`."""
        parts = (hypernetwork, initial_state, observation, imputer, self.input_scale)
        rest = (self.dt, self.tau, self.n_init, self.prior, self.autocorrelation_time)
        rest += (self.steps_per_sample, self.temperature, self.largest)
        rest += (self.hidden_temperature, disturbances)
        return Model(*parts, *rest).requires_grad_(False)

    def scale_inputs(self, inputs, shape):
        """Scale inputs for the RNNs; for None, return inputs of `shape` without channels."""
        if inputs is None:
            return np.empty((*shape, 0))
        return inputs / self.input_scale

    def fix_gauge(self, found):
        """Change coordinates so that the embeddings found are canonical; return them.

        The components then have zero mean and are uncorrelated, in decreasing order of their
        effect on the generated activity (the mean Gauss-Newton matrix). Their variances are the
        square roots of the effects, relative to the last. The largest entry of each component is
        positive. RNNs, prior and posterior do not change.
        """
        d, prior = self.hypernetwork.n_components, self.prior
        c = torch.as_tensor(found.p[:, :d])
        shift = c.mean(0)
        spread, axes = torch.linalg.eigh(torch.cov(c.t(), correction=0).reshape(d, d))
        varied = int((spread > 1e-8 * spread.max().clamp_min(1e-12)).sum())
        if varied < d:
            advice = f"leave out repeated trials, or set n_components={varied} or less"
            if not varied:
                advice = "all trials are alike, so there is nothing to embed"
            raise ValueError(
                f"Only {varied} of the {d} dimensions of the embedding vary between trials: "
                f"{advice}."
            )
        white = axes * spread.sqrt()
        curvature = torch.as_tensor(found.H[:d, :d]) - prior.precision[:d, :d]
        effect, order = torch.linalg.eigh(white.t() @ curvature @ white)
        effect = effect.flip(-1).clamp_min(LEAST_EFFECT * effect.max().clamp_min(1e-300))
        matrix = white @ order.flip(-1) / (effect / effect[-1]) ** 0.25
        new = torch.linalg.solve(matrix, (c - shift).t()).t()
        sign = torch.sign(new.gather(0, new.abs().argmax(0, keepdim=True)))[0]
        sign[sign == 0] = 1
        matrix, new = matrix * sign, new * sign
        self.hypernetwork.change_coordinates(shift, matrix)
        everything = torch.block_diag(matrix, torch.eye(self.initial_state.size, dtype=c.dtype))
        mean = prior.mean.clone()
        mean[:d] = torch.linalg.solve(matrix, mean[:d] - shift)
        precision = everything.t() @ prior.precision @ everything
        centres = torch.linalg.solve(matrix, (prior.centres - shift).t()).t()
        known = torch.cat([new, torch.as_tensor(found.p[:, d:])], 1)
        known = known[some_of(len(known), N_KNOWN)]
        self.prior = GaussianPrior(mean, precision, centres, known)
        return new.numpy()

    def learn_reliance(self, X, inputs):
        """Learn from training trials how far predictions should rely on what was seen."""
        learned = learn_reliance(self, X, inputs)
        self.temperature, self.largest, self.hidden_temperature, self.disturbances = learned

    @torch.no_grad()
    def first_states(self, E):
        """Compute the initial states of embeddings, if the hypernetwork generates them."""
        generated = self.connectivity.generated(self.hypernetwork(as_tensor(E)))
        x0 = self.initial_state(None, generated, generated).numpy()
        own, known = self._of_earlier(E)
        if own.any():
            x0[own] = self.earlier.first_states(known)[own]
        return x0

    def _of_earlier(self, E):
        """Find embeddings that are those of the earlier model, whose runs are then identical.

        Returns which embeddings they are, and the components of the earlier model (of all).
        """
        if self.earlier is None:
            return np.zeros(len(E), dtype=bool), E[:, :0]
        d = self.earlier.hypernetwork.n_components
        return (E[:, d:] == 0).all(axis=1), np.ascontiguousarray(E[:, :d])

    @torch.no_grad()
    def generate(self, E, x0, n_timesteps, inputs=None):
        """Generate free runs in the units of the data, (trials, time, neurons), from states x0."""
        out = np.empty((len(E), n_timesteps, x0.shape[1]))
        for i, run in self.free_runs(E, x0, n_timesteps, inputs):
            out[i] = self.observation.activity(run)
        return out

    @torch.no_grad()
    def free_runs(self, E, x0, n_timesteps, inputs=None):
        """Yield slices of the trials and their free runs (trials, time, neurons), in states."""
        own, known = self._of_earlier(E)
        runs = () if own.all() and len(own) else self._free_runs(E, x0, n_timesteps, inputs)
        if not own.any():
            yield from runs
            return
        # of all trials, because rounding errors depend on how many are simulated together
        before = self.earlier.free_runs(known, x0, n_timesteps, inputs)
        for (i, run), (_, later) in zip_longest(before, runs, fillvalue=(None, None)):
            if later is not None:
                run[~own[i]] = later[~own[i]]
            yield i, run

    def _free_runs(self, E, x0, n_timesteps, inputs):
        """Yield free runs of this model alone, like `free_runs`."""
        u = torch.as_tensor(self.scale_inputs(inputs, (len(E), n_timesteps))).transpose(0, 1)
        for first in range(0, len(E), N_TOGETHER):
            i = slice(first, first + N_TOGETHER)
            weights, start = self.hypernetwork(as_tensor(E[i])), torch.tensor(x0[i])
            every = self.steps_per_sample
            n_steps = n_steps_of(n_timesteps, every)
            held = u[:, i].repeat_interleave(every, 0)[:n_steps]
            run = simulate(self.connectivity, weights, start, n_steps, self.alpha, held)
            yield i, run[::every].transpose(0, 1).numpy()

    @torch.no_grad()
    def rnns(self, E, initial_states=None, n_timesteps=None, inputs=None, lengths=None):
        """Make the RNNs of embeddings, in scaled states, with start and length of free runs."""
        w = {name: a.numpy() for name, a in self.hypernetwork(as_tensor(E)).items()}
        if n_timesteps is not None:
            n_timesteps = n_steps_of(n_timesteps, self.steps_per_sample)
        if lengths is not None:
            lengths = n_steps_of(lengths, self.steps_per_sample)
        if inputs is not None:
            inputs = np.repeat(inputs, self.steps_per_sample, axis=1)[:, :n_timesteps]
        rest = {"initial_states": initial_states, "n_timesteps": n_timesteps, "inputs": inputs}
        rest |= {"lengths": lengths, "dt": self.step, "tau": self.tau}
        if len(self.input_scale):  # an RNN without inputs has no input weights
            rest["input_weights"] = w["B"] / self.input_scale
        return self.connectivity.rnns(w, **rest)


def _learn_prior(c, each, q, seed):
    """Learn the prior of p from embeddings, those of each trial, and initial coordinates."""
    n_centres = min(N_CENTRES, len(np.unique(c.numpy(), axis=0)))
    centres = KMeans(n_centres, n_init=1, random_state=seed).fit(c.numpy())
    return GaussianPrior(
        torch.cat([each.mean(0), q.mean(0)]),
        torch.block_diag(_precision(c), _precision(q)),
        torch.as_tensor(centres.cluster_centers_),
    )


def _precision(values):
    """Compute the inverse covariance of (few) rows, regularised towards its mean variance."""
    d = values.shape[1]
    if not d:
        return values.new_zeros(0, 0)
    cov = torch.cov(values.t(), correction=0).reshape(d, d)
    size = cov.diagonal().mean().clamp_min(1e-12)
    return torch.linalg.inv(cov + 1e-3 * size * torch.eye(d, dtype=cov.dtype))
