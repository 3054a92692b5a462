"""The model: it is trained, then frozen, and then infers embeddings and generates activity.

One object holds the hypernetwork (with its connectivity), the observation model, the initial
state and the prior of the parameters p = [c, q] of trials. During training it is float32 on the
device of the fit; once frozen it is float64 on the CPU. It does not know how it is trained and
frozen, nor how the embeddings of trials are inferred (`_blockwise.py`).
"""

from __future__ import annotations

from itertools import zip_longest

import numpy as np
import torch
from torch import nn

from ._blockwise import Wanted, infer_trials
from ._distributed import ALONE
from ._expectation import learn_reliance
from ._replay import can_replay, replayed
from ._rollout import read_out_loss, simulate, split_run
from ._torch import as_tensor
from ._trials import SessionTrials, n_steps_of

__all__ = ["Model"]

N_TOGETHER = 64  # free runs that are simulated together


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
        `autocorrelation_time` are known once it is frozen.
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

    def to_train(self, device, dtype):
        """Move to a device in the precision of training, with gradients."""
        self.hypernetwork.to(device, dtype).requires_grad_(True)
        self.initial_state.to(device, dtype).requires_grad_(True)
        self.observation.to(device).requires_grad_(True)  # its units stay float64
        self.prior = None  # it belongs to an earlier state of the weights
        return self

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

    def infer(self, X, device, inputs=None, *, n_jobs=None, processes=ALONE, **wanted):
        """Infer the posterior modes of trials X, and what else is `Wanted`, by name."""
        return infer_trials(self, X, device, inputs, Wanted(**wanted), n_jobs, processes)

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
