"""The model: what is trained, then frozen, and then infers embeddings and generates activity.

One object holds hypernetwork (with its connectivity), observation, initial state and the prior of
the parameters p = [c, q] of trials. It is float32 on the device of the fit while it is trained,
float64 on the CPU from `settle` on, and knows nothing of how it is trained.
"""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.utils import Bunch
from torch import nn

from ._distributed import ALONE
from ._forecast import Alternatives, learn_reliance, some_of
from ._inference import GaussianPrior, error_bars, infer
from ._missing import needed, sessions_of
from ._observation import residual_autocorrelation_time
from ._replay import can_replay, replayed
from ._rollout import follow, simulate
from ._torch import as_tensor, in_parallel, isolated, temporary_bytes
from ._trials import (
    SessionTrials,
    as_trials,
    block_size,
    blocks,
    by_session,
    lengths_of,
    n_steps_of,
)

__all__ = ["Model"]

N_KNOWN = 256  # training trials that stand for all in forecasts
N_CENTRES = 32  # cluster centres of the training embeddings, candidates for starts
BLOCK_BYTES, MAX_BLOCK = 2**26, 64  # inferred at a time on the CPU: 64 MB of float64
MEANS = ("H", "first", "distance")  # of what is inferred, kept as a mean over trials
LEAST_EFFECT = 1e-8  # of a component, as a share of the largest
NOISE_FLOOR = 1e-8  # of the data's variance, so that noise-free data leave a regular system


class Model(nn.Module):
    """Hypernetwork, initial state, observation and prior, with time steps and units.

    Parameters
    ----------
    hypernetwork : Hypernetwork
    initial_state : InitialState
    observation : Observation
    imputer : Imputer
        What stands in for missing samples.
    input_scale : ndarray (inputs,)
        RMS of each channel of known input.
    dt, tau : float
    n_init : int
        Of the inference of each trial.
    prior : GaussianPrior, optional
        Known from `settle` on, as are the noise of the observation and
    autocorrelation_time : float
        Samples in time per independent residual.
    steps_per_sample : int
        Of the dynamics, so that each takes dt / steps_per_sample.
    temperature : float
        By which the likelihood of a part of a trial is tempered in forecasts, and
    largest : float
        Mean square over neurons of the largest state that these believe in.
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

    @property
    def step(self):
        """Time that a step of the dynamics takes, s."""
        return self.dt / self.steps_per_sample

    @property
    def alpha(self):
        """A step over tau."""
        return self.step / self.tau

    @property
    def connectivity(self):
        """That of the hypernetwork."""
        return self.hypernetwork.connectivity

    def start(self, c, q, trials):
        """Weights, first states and observation of the runs of trials, of their neurons."""
        weights, initial, observation = self.hypernetwork(c), self.initial_state, self.observation
        if trials.neurons is not None:
            weights = self.connectivity.of_neurons(weights, trials.neurons)
            initial = initial.take(trials.neurons)
            observation = observation.take(trials.neurons)
        generated = self.connectivity.generated(weights)
        return weights, initial(q, trials.guide[0], generated), observation

    def loss(self, c, q, trials, teacher_forcing=0.0, workspace=None):
        """Deviance of the (teacher-forced) runs of trials, with gradients."""
        if isinstance(trials, SessionTrials):
            total = 0.0
            for k, (i, some) in enumerate(trials.parts):
                space = None if workspace is None else workspace.setdefault(k, {})
                total = total + self.loss(c[i], q[i], some, teacher_forcing, space)
            return total
        weights, x0, observation = self.start(c, q, trials)
        rest = (weights, x0, trials, self.alpha, teacher_forcing, observation)
        if workspace is not None and can_replay(trials.device):
            return replayed(self.connectivity.loss, *rest, workspace)
        return self.connectivity.loss(*rest, workspace)

    @torch.no_grad()
    def residual(self, c, q, trials):
        """What the free runs leave of trials, (time, trials, neurons).

        Of sessions with different neurons those of all trials side by side, (time, residuals).
        """
        if isinstance(trials, SessionTrials):
            each = (self.residual(c[i], q[i], some) for i, some in trials.parts)
            return torch.cat([error.flatten(1) for error in each], 1)
        weights, x0, observation = self.start(c, q, trials)
        how = (trials.n_steps, self.alpha, trials.inputs)
        states = simulate(self.connectivity, weights, x0, *how)
        return observation.residual(states, trials.y, trials.weight)

    def runs(self):
        """Runs with derivatives, for inference."""
        parts = (self.hypernetwork, self.initial_state, self.observation)
        return self.connectivity.Runs(*parts, self.alpha)

    # From training to the fitted model, and back

    def settle(self, c, q, trials, embedding_index, *, variance, seed, processes=ALONE):
        """A frozen copy, float64 on the CPU, that knows prior and noise of its training trials.

        Parameters
        ----------
        c, q : Tensor
            Trained embeddings (embeddings, d) and initial-state coordinates (trials, size).
        trials : Trials or LazyTrials
        embedding_index : Tensor or None
            Embedding of each trial.
        variance : float
            Of the trials.
        seed : int or RandomState
            Of the clustering that gives the starts.
        processes : Processes
            Each goes through its share of the trials.
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
        """Count the posterior covariances of parameters p in the prior's, as EM does.

        Those of at most `block_size` trials stand for all.
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
        """A copy to train on X, with embeddings and initial-state coordinates.

        The embeddings are those that `infer` finds, one for each trial or, with
        `embedding_index`, the mean of the trials that share it.
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
        """The same on a device, in the precision of training, with gradients."""
        self.hypernetwork.to(device, dtype).requires_grad_(True)
        self.initial_state.to(device, dtype).requires_grad_(True)
        self.observation.to(device).requires_grad_(True)  # but its units stay float64
        self.prior = None  # that of another state of the weights
        return self

    # Trials

    def infer(
        self,
        X,
        device,
        inputs=None,
        *,
        starts=False,
        errors=False,
        curvature=False,
        correction=None,
        ahead=None,
        n_init=None,
        n_jobs=None,
        processes=ALONE,
    ):
        """Posterior modes of trials (NaN where missing), block by block, as arrays.

        The blocks do not depend on how many work on them, nor does the answer.

        Returns
        -------
        Bunch
            ``p`` (trials, m), ``deviance`` and ``converged`` (trials,), and
            means over the trials: ``first`` (neurons,) of the first samples (of where runs start,
            where not all neurons are looked at) and ``distance`` of their mean square, both
            scaled; with `curvature` also ``H`` (m, m) of the curvatures.
            With `starts` also ``x0`` (trials, neurons), scaled, and ``lengths`` (trials,), samples
            without padding; with `errors` also ``covariance`` (trials, m, m) of p. With a
            `correction` the errors are those of runs that take in this share of them as they go,
            and ``last`` (trials, neurons) is where these end, scaled. With `ahead`, a number of
            samples, there is ``ahead`` (trials, samples, neurons) instead, the activity to be
            expected after X, over what the trials may be; `inputs` then go on to its end.
        """
        parts, order = self._blocks(X, device)
        how = {"device": device, "starts": starts, "errors": errors, "curvature": curvature}
        how |= {"correction": correction, "ahead": ahead, "n_init": n_init or self.n_init}
        block = partial(self._infer_block, **how)
        with processes.together():
            mine = processes.share(parts)
            calls = ((X[i], None if inputs is None else inputs[i], own) for i, own in mine)
            found = in_parallel(block, calls, len(mine), device, n_jobs)
        found = processes.gather(found)
        out = {}
        for name in found[0]:
            each = [block[name] for block in found]
            if name in MEANS:
                out[name] = np.stack(each).sum(0) / len(X)
            else:
                out[name] = np.concatenate(each)[order]
        return Bunch(**out)

    def _blocks(self, X, device):
        """Trials that are inferred at a time with the neurons needed, and how to order them back.

        Neurons that drive no others are read out only, and those of them that a session lacks
        tell nothing of its trials, which do not depend on them then, to the last bit.
        """
        drive, parts = self.connectivity.drive_others, []
        if drive is None or drive.all():
            sessions = [(np.arange(len(X)), None)]
        else:
            drive = drive.cpu().numpy()
            sessions = [(i, needed(drive, own)) for i, own in sessions_of(X)]
        for index, neurons in sessions:
            if neurons is not None and len(neurons) == X.shape[2]:
                neurons = None
            n_neurons = X.shape[2] if neurons is None else len(neurons)
            values = n_steps_of(X.shape[1], self.steps_per_sample) * n_neurons
            size = max(int(temporary_bytes(device, BLOCK_BYTES) / 8 / values), 1)
            size = min(size, MAX_BLOCK) if device.type == "cpu" else size
            parts += [(index[k : k + size], neurons) for k in range(0, len(index), size)]
        return parts, np.argsort(np.concatenate([i for i, _ in parts]))

    def of_neurons(self, neurons):
        """The same for some of the neurons, which need none of the others."""
        return self.with_parts(
            self.hypernetwork.take(neurons),
            self.initial_state.take(neurons),
            self.observation.take(neurons),
            self.imputer.take(neurons),
        )

    def with_parts(self, hypernetwork, initial_state, observation, imputer):
        """A frozen model that has these parts, and the rest of this one."""
        parts = (hypernetwork, initial_state, observation, imputer, self.input_scale)
        rest = (self.dt, self.tau, self.n_init, self.prior, self.autocorrelation_time)
        rest += (self.steps_per_sample, self.temperature, self.largest)
        return Model(*parts, *rest).requires_grad_(False)

    @isolated  # workers have a state of their own
    @torch.no_grad()
    def _infer_block(
        self, X, inputs, neurons, *, device, starts, errors, curvature, correction, ahead, n_init
    ):
        """What `infer` returns of a block of trials, but sums for means.

        `neurons` are those that their runs need.
        """
        # the CPU needs no copy: nothing is written to
        model = self if device.type == "cpu" else copy.deepcopy(self).to(device)
        u = self.scale_inputs(None if inputs is None else inputs[:, : X.shape[1]], X.shape[:2])
        kind = (torch.float64, device, self.steps_per_sample)
        inner = model if neurons is None else model.of_neurons(neurons)
        how = (u, inner.observation, inner.imputer, *kind, neurons)
        some = trials = as_trials(X, *how)
        if neurons is not None and (self.initial_state.measured or correction is not None):
            trials = as_trials(X, u, self.observation, self.imputer, *kind)
        runs, d = inner.runs(), self.hypernetwork.n_components
        weight = 1 / (model.observation.dispersion * self.autocorrelation_time)
        weight /= self.temperature if ahead else 1.0
        how = {"teacher_forcing": correction or 0.0, "n_init": n_init}
        how |= {"noise": model.observation.dispersion, "curvature": curvature or errors or ahead}
        p, H, deviance, converged = infer(runs, some, model.prior, weight, **how)
        if some.constant is not None:
            deviance = deviance + some.constant
        weights, first = model.hypernetwork(p[:, :d]), trials.guide[0]
        generated = model.connectivity.generated(weights)
        like = generated if model.initial_state.generated else first  # of all neurons
        x0 = model.initial_state(p[:, d:], like, generated)
        found = {"p": p, "deviance": deviance, "converged": converged}
        if curvature:
            found["H"] = H.sum(0)
        found["distance"] = first.square().mean(1).sum(0)
        found["first"] = (first if first.shape == x0.shape else x0).sum(0)
        if starts:
            found["x0"] = x0
        if ahead:
            likely = Alternatives(model, trials, p, H, weight, correction, runs, some)
            later = None if inputs is None else inputs[:, X.shape[1] - 1 :]
            found["ahead"] = likely.forecast(ahead, self.scale_inputs(later, (len(X), ahead + 1)))
        elif correction is not None:
            run = (self.connectivity, weights, x0, trials, self.alpha)
            found["last"] = follow(*run, correction)
        if errors:
            bars = (p, H, model.prior, weight, self.autocorrelation_time)
            found["covariance"] = error_bars(runs, some, *bars)
        found = {name: a.cpu().numpy() for name, a in found.items()}
        return found | ({"lengths": lengths_of(X)} if starts else {})

    def scale_inputs(self, inputs, shape):
        """Inputs of `shape` (trials, time) as the RNNs take them, without channels if None."""
        if inputs is None:
            return np.empty((*shape, 0))
        return inputs / self.input_scale

    def fix_gauge(self, found):
        """Change coordinates so that the embeddings found are canonical; return them.

        Zero mean, uncorrelated components by falling effect on the generated activity (the mean
        Gauss-Newton matrix), with variances that are the roots of their effects, 1 for the last;
        the largest entry of each component positive. RNNs, prior and posterior stay what they are.
        """
        d, prior = self.hypernetwork.n_components, self.prior
        c = torch.as_tensor(found.p[:, :d])
        shift = c.mean(0)
        spread, axes = torch.linalg.eigh(torch.cov(c.t(), correction=0).reshape(d, d))
        varied = int((spread > 1e-8 * spread.max().clamp_min(1e-12)).sum())
        if varied < d:
            advice = f"leave out repeated trials, or set n_components={varied} or less"
            if not varied:
                advice = "all trials are alike, so that there is nothing to embed"
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
        """How far forecasts are to rely on what was seen, from training trials."""
        self.temperature, self.largest = learn_reliance(self, X, inputs)

    @torch.no_grad()
    def first_states(self, E):
        """Where the free runs of embeddings start, if the hypernetwork generates that."""
        generated = self.connectivity.generated(self.hypernetwork(as_tensor(E)))
        return self.initial_state(None, generated, generated).numpy()

    @torch.no_grad()
    def generate(self, E, x0, n_timesteps, inputs=None):
        """Free runs in the units of the data, (trials, time, neurons); x0 are states."""
        out = np.empty((len(E), n_timesteps, x0.shape[1]))
        for i, run in self.free_runs(E, x0, n_timesteps, inputs):
            out[i] = self.observation.activity(run)
        return out

    @torch.no_grad()
    def free_runs(self, E, x0, n_timesteps, inputs=None):
        """Yield slices of the trials and their free runs (trials, time, neurons), in states."""
        u = torch.as_tensor(self.scale_inputs(inputs, (len(E), n_timesteps))).transpose(0, 1)
        for first in range(0, len(E), MAX_BLOCK):
            i = slice(first, first + MAX_BLOCK)
            weights, start = self.hypernetwork(as_tensor(E[i])), torch.tensor(x0[i])
            every = self.steps_per_sample
            n_steps = n_steps_of(n_timesteps, every)
            held = u[:, i].repeat_interleave(every, 0)[:n_steps]
            run = simulate(self.connectivity, weights, start, n_steps, self.alpha, held)
            yield i, run[::every].transpose(0, 1).numpy()

    @torch.no_grad()
    def rnns(self, E, initial_states=None, n_timesteps=None, inputs=None, lengths=None):
        """The RNNs of embeddings, whose states are scaled, with start and length of free runs."""
        w = {name: a.numpy() for name, a in self.hypernetwork(as_tensor(E)).items()}
        if n_timesteps is not None:
            n_timesteps = n_steps_of(n_timesteps, self.steps_per_sample)
        if lengths is not None:
            lengths = n_steps_of(lengths, self.steps_per_sample)
        if inputs is not None:
            inputs = np.repeat(inputs, self.steps_per_sample, axis=1)[:, :n_timesteps]
        rest = {"initial_states": initial_states, "n_timesteps": n_timesteps, "inputs": inputs}
        rest |= {"lengths": lengths, "dt": self.step, "tau": self.tau}
        if len(self.input_scale):  # an RNN without inputs takes none
            rest["input_weights"] = w["B"] / self.input_scale
        return self.connectivity.rnns(w, **rest)


def _learn_prior(c, each, q, seed):
    """Prior of p from embeddings, those of each trial, and initial-state coordinates."""
    n_centres = min(N_CENTRES, len(np.unique(c.numpy(), axis=0)))
    centres = KMeans(n_centres, n_init=1, random_state=seed).fit(c.numpy())
    return GaussianPrior(
        torch.cat([each.mean(0), q.mean(0)]),
        torch.block_diag(_precision(c), _precision(q)),
        torch.as_tensor(centres.cluster_centers_),
    )


def _precision(values):
    """Inverse covariance of (few) rows, regularised towards its mean variance."""
    d = values.shape[1]
    if not d:
        return values.new_zeros(0, 0)
    cov = torch.cov(values.t(), correction=0).reshape(d, d)
    size = cov.diagonal().mean().clamp_min(1e-12)
    return torch.linalg.inv(cov + 1e-3 * size * torch.eye(d, dtype=cov.dtype))
