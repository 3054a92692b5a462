"""How a model is trained: gradient steps on the free run, approached through teacher forcing.

`train` takes an initialised model and embeddings, and trains both. It does not depend on
estimators, files or scikit-learn.
"""

from __future__ import annotations

import copy
import math

import torch

from ._distributed import ALONE
from ._observation import residual_autocorrelation_time
from ._optimiser import LONGEST, Optimiser
from ._schedule import Progress, Trained, describe_divergence, judge
from ._trials import Batches, block_size

__all__ = ["train"]

CLIP = 1.0  # norm at which the gradient is clipped
OWN_RATE = 4  # factor of the learning rate of mean log rates, whose SD is large for few spikes
SMALLEST = 1e-12  # least mean square of weights, which are 0 if there is nothing to explain


def train(
    model,
    c,
    q,
    trials,
    schedule,
    *,
    variance,
    denoised=None,
    embedding_index=None,
    condition_index=None,
    precision=None,
    generator=None,
    validate=None,
    progress=None,
    checkpoint=None,
    processes=ALONE,
    watch=None,
):
    """Minimise the deviance of the run plus the prior of the embeddings.

    Parameters
    ----------
    model : Model
        Model, trained in place.
    c : Tensor (embeddings, n_components)
        Initial embeddings.
    q : Tensor (trials, size)
        Free coordinates of the initial states.
    trials : Trials or LazyTrials
        Training trials.
    schedule : Schedule
        Settings of the optimiser.
    variance : float
        Deviance per value of a model that knows only the mean of each neuron.
    denoised : DenoisedTrials, optional
        The same trials, denoised: what is fitted while teacher forcing falls.
    embedding_index : Tensor (trials,), int, optional
        Embedding that each trial uses. Default: one of its own.
    condition_index : Tensor (embeddings,), int, optional
        Condition of each embedding, on which its prior is then centred.
    precision : Tensor (n_components, n_components), optional
        Precision of the prior of the embeddings. Default: estimated from them, diagonal.
    generator : torch.Generator
        Source of the order of the mini-batches.
    validate : callable, optional
        ``validate(model, c, q) -> R2`` on held-out trials. It is called only once teacher forcing
        no longer changes.
    progress : Progress, optional
        Progress report.
    checkpoint : object, optional
        Its ``state``, unless None, is what an earlier call with the same arguments passed to its
        ``write(state)``. Training continues from there as if never interrupted.
    processes : Processes
        Processes that share every mini-batch; each of them holds the whole state.
    watch : object, optional
        Its ``begin()`` is called before each step, and its ``end(model, trained)`` after it,
        which returns whether to stop.

    Returns
    -------
    Trained

    Raises
    ------
    FloatingPointError
        If the loss or its gradient is not finite.
    """
    progress = progress or Progress(schedule.max_iter, False)
    run = _Run(
        model,
        c,
        q,
        trials,
        schedule,
        variance,
        embedding_index,
        condition_index,
        precision,
        generator,
        processes,
    )
    best = _Best(schedule, validate)
    saved = _Saved(checkpoint, schedule, run, best)
    saved.resume()
    progress.skip(run.n_steps)
    try:
        for step in range(run.n_steps, schedule.max_iter):
            if watch is not None:
                watch.begin()
            if step % schedule.refresh == 0:
                run.agree()
                run.estimate_prior()
            teacher_forcing = schedule.teacher_forcing_at(step)
            batch = run.next_batch(None if schedule.settled(step) else denoised)
            loss = run.loss(batch, teacher_forcing)
            norm = run.find_gradient() if math.isfinite(loss) else math.nan
            if not math.isfinite(norm):
                raise FloatingPointError(describe_divergence(step, schedule, teacher_forcing))
            run.descend(schedule.learning_rate_at(step))
            run.result.loss_curve.append(loss)
            progress(step, loss, teacher_forcing)
            stop = watch is not None and processes.total(watch.end(model, run.snapshot()))
            if best.is_due(step) and best.look(run):
                run.result.converged = True
                break
            if stop:
                run.result.stopped = True
                break
            saved.write(step)
    except KeyboardInterrupt:
        if not run.n_steps or processes.size > 1:
            raise
        run.result.interrupted = True
    finally:
        progress.close()
    best.restore(run)
    return judge(run.finish(), schedule, checkpoint, model.observation.share)


class _Run:
    """State of training, and its elementary steps."""

    def __init__(
        self,
        model,
        c,
        q,
        trials,
        schedule,
        variance,
        embedding_index,
        condition_index,
        precision,
        generator,
        processes,
    ):
        self.model, self.trials, self.variance, self.embedding_index = (
            model,
            trials,
            variance,
            embedding_index,
        )
        self.processes, self.condition_index = processes, condition_index
        self.c = c.clone().requires_grad_()
        self.q = q.clone().requires_grad_(q.shape[1] > 0)
        every = (*model.parameters(), self.c, self.q)
        self.free = [p for p in every if p.requires_grad and p.numel()]
        own = {id(p) for p in model.observation.parameters()}
        factors = [OWN_RATE if id(p) in own else 1 for p in self.free]
        longest = LONGEST if schedule.learned_axes else 0
        individual = [p is self.c or p is self.q for p in self.free]
        self.optimiser = Optimiser(self.free, factors, individual, longest)
        self.prior = None
        if schedule.regularised:
            self.prior = _Prior(model, condition_index, schedule.departure, precision)
        self.batches = Batches(trials, schedule.batch_size, generator, processes)
        self.result = Trained(self.c, self.q)
        self.workspace, self.objective = {}, None
        self.cleaned = None  # all trials, denoised, if each batch has all of them

    @property
    def n_steps(self):
        """Number of steps made."""
        return len(self.result.loss_curve)

    def agree(self):
        """Take over the parameters of the first process: rounding may drive copies apart."""
        if self.processes.size > 1:
            # via the CPU, because a tensor sent from a GPU arrives on the GPU of the first process
            agreed = self.processes.agree([p.detach().cpu() for p in self.free])
            with torch.no_grad():
                for p, values in zip(self.free, agreed, strict=True):
                    p.copy_(values)

    def estimate_prior(self):
        """Estimate the prior, if there is one, from the current state."""
        if self.prior is not None:
            self.prior.estimate(
                *self._parameters(), self.trials, self.embedding_index, self.variance
            )

    def next_batch(self, denoised=None):
        """Return indices and trials of this process's share of the next mini-batch."""
        mine, some = self.batches.next()
        if denoised is None:
            self.cleaned = None
            return mine, some
        if self.batches.whole is None:
            return mine, denoised.clean(some, mine)
        if self.cleaned is None:
            self.cleaned = denoised.clean(some, mine)
        return mine, self.cleaned

    def loss(self, batch, teacher_forcing):
        """Compute the loss, 1 - R2 of the run, and set `objective`, which also has the prior."""
        mine, some = batch
        c = self.c[mine if self.embedding_index is None else self.embedding_index[mine]]
        deviance = self.model.loss(c, self.q[mine], some, teacher_forcing, self.workspace)
        if some.constant is not None:
            deviance = deviance + some.constant.sum()
        loss = deviance / (self.processes.total(some.n_observed) * self.variance)
        penalty = 0.0
        if self.prior is not None:
            penalty = self.prior.penalty(self.model, self.c) / self.processes.size
        self.objective = loss + penalty
        return self.processes.total(float(loss.detach()))

    def find_gradient(self):
        """Compute the gradient of `objective`, clipped; return its norm before."""
        for p in self.free:
            p.grad = None
        self.objective.backward()
        self.processes.sum_(*(p.grad for p in self.free if p.grad is not None))
        return float(torch.nn.utils.clip_grad_norm_(self.free, CLIP))

    def descend(self, learning_rate):
        """Make one step along the gradient."""
        self.optimiser.step(learning_rate)

    def validate(self, validate):
        """Compute the R2 of held-out trials, and append it to the curve."""
        score = validate(*self._parameters())
        self.result.validation_curve.append((self.n_steps, score))
        return score

    def snapshot(self):
        """Return the state so far, to be read only."""
        curves = (list(self.result.loss_curve), list(self.result.validation_curve))
        return Trained(self.c.detach(), self.q.detach(), *curves)

    def finish(self):
        """Return the result of training."""
        self.result.c, self.result.q = self.c.detach(), self.q.detach()
        return self.result

    def _parameters(self):
        return self.model, self.c.detach(), self.q.detach()

    def weights(self):
        """Copy all trained parameters."""
        model = copy.deepcopy(self.model.state_dict())
        return {"model": model, "c": self.c.detach().clone(), "q": self.q.detach().clone()}

    def load_weights(self, weights):
        """Return to a copy that `weights` made."""
        self.model.load_state_dict(weights["model"])
        with torch.no_grad():
            self.c.copy_(weights["c"])
            self.q.copy_(weights["q"])

    def state(self):
        """Collect what `load` needs to continue identically: numbers, tensors, lists, dicts."""
        prior = None if self.prior is None else self.prior.state()
        return {
            "weights": self.weights(),
            "optimiser": self.optimiser.state(),
            "prior": prior,
            "batches": self.batches.state(),
            "loss_curve": self.result.loss_curve,
            "validation_curve": self.result.validation_curve,
        }

    def load(self, state):
        """Continue from what `state` returned."""
        self.load_weights(state["weights"])
        self.optimiser.load(state["optimiser"])
        if self.prior is not None:
            self.prior.load(state["prior"], self.c.device)
        self.batches.load(state["batches"])
        self.result.loss_curve = state["loss_curve"]
        self.result.validation_curve = state["validation_curve"]


class _Best:
    """Best state so far, by validation; without validation, for an interruption only."""

    def __init__(self, schedule, validate):
        self.schedule, self.validate = schedule, validate
        self.weights, self.score, self.waited = None, -math.inf, 0

    def is_due(self, step):
        """Return whether to evaluate: a few times, once teacher forcing no longer changes."""
        refresh = self.schedule.refresh
        return self.schedule.settled(step) and step % refresh == refresh - 1

    def look(self, run):
        """Keep the state if it is the best; return True after too many without improvement."""
        if self.validate is None:
            score, least = 1 - _mean(run.result.loss_curve[-self.schedule.refresh :]), 0.0
        else:
            score, least = run.validate(self.validate), self.schedule.tol
        if score > self.score + least:
            self.weights, self.score, self.waited = run.weights(), score, 0
            return False
        self.waited += self.validate is not None
        return self.validate is not None and self.waited >= self.schedule.patience

    def restore(self, run):
        """Return to the best state, unless it is the last one."""
        result = run.result
        latest = 1 - _mean(result.loss_curve[-self.schedule.refresh :])
        if self.weights is None or (self.validate is None and latest >= self.score):
            return
        if self.validate is not None or result.interrupted:
            run.load_weights(self.weights)

    def state(self):
        """Return the state for a checkpoint."""
        return {"weights": self.weights, "score": self.score, "waited": self.waited}


class _Saved:
    """Checkpoint, if there is one, of the states of `run` and `best` in one dictionary."""

    def __init__(self, checkpoint, schedule, run, best):
        self.checkpoint, self.schedule = checkpoint, schedule
        self.run, self.best = run, best

    def resume(self):
        """Continue from what an earlier call wrote."""
        state = None if self.checkpoint is None else self.checkpoint.state
        if state is not None:
            self.run.load(state["run"])
            vars(self.best).update(state["best"])

    def write(self, step):
        """Write the state after a step, if that is due."""
        if self.checkpoint is None or (step + 1) % self.schedule.saving:
            return
        processes = self.run.processes
        with processes.together():
            if processes.rank == 0:
                self.checkpoint.write({"run": self.run.state(), "best": self.best.state()})


def _mean_square(p):
    return max(float(p.square().mean()), SMALLEST) if len(p) else SMALLEST


def _mean(values):
    return sum(values) / len(values)


class _Prior:
    """Gaussian priors of embeddings and weights, weighted by the residuals (eq. 8).

    Embeddings c ~ N(mean of the condition, diagonal), with mean and spread re-estimated from the
    current state. Without conditions, mean and spread are those of all embeddings. If the
    precision is given, the spread is not estimated. What weights change with the embedding
    ~ N(0, mean square at the start). These and the bases ~ N(those at the start, a share of their
    mean square), so that longer training fits little more of the noise. The noise level is
    estimated as well, so nothing needs tuning.
    """

    def __init__(self, model, condition_index, departure, precision=None):
        self.condition_index, self.given = condition_index, precision is not None
        self.departure = departure
        self.mean, self.precision = None, precision
        self.strength = 0.0
        self.start, self.size = [], []
        for p, first in self._weights(model):
            self.start.append(p[first:].detach().clone())
            # neurons may be silent, hidden features too, and changes may all be 0 at the start
            rows = p.detach().reshape(len(p), -1)
            self.size.append(_mean_square(rows[rows.ne(0).any(1)]))

    @staticmethod
    def _weights(model):
        """List weights that have a prior, and the first row that has one: not theta_0."""
        change = {id(p) for p in model.connectivity.outputs()}
        trained = [p for p in model.connectivity.parameters() if p.requires_grad and p.numel()]
        return [(p, int(id(p) in change)) for p in trained]

    def estimate(self, model, c, q, trials, embedding_index, variance, most=64):
        """Estimate noise level, means and spread from the current state."""
        # a fixed random choice; a regular one could pick a single task if tasks alternate
        order = torch.randperm(len(trials), generator=torch.Generator().manual_seed(0))
        n_steps, _, n_neurons = trials.shape
        some = order[: min(most, 2 * block_size(n_steps, n_neurons))].to(c.device)
        chosen = trials[some]
        error = model.residual(
            c[some if embedding_index is None else embedding_index[some]], q[some], chosen
        )
        n_observed, autocorrelation_time = (
            chosen.n_observed,
            residual_autocorrelation_time(error, chosen.every),
        )
        noise = model.observation.estimate_dispersion(error, n_observed, variance)
        # weight of a prior term in units of the loss
        self.strength = noise * autocorrelation_time / (variance * trials.n_observed)
        if self.condition_index is None:
            self.mean = c.mean(0).expand_as(c)
        else:
            n = int(self.condition_index.max()) + 1
            total = c.new_zeros(n, c.shape[1]).index_add_(0, self.condition_index, c)
            count = torch.bincount(self.condition_index, minlength=n).to(c.dtype)
            self.mean = (total / count[:, None])[self.condition_index]
        if self.given:
            return
        spread = (c - self.mean).square().mean(0)
        floor = 1e-2 * c.var(0, correction=0).clamp_min(1e-12)
        self.precision = 1 / torch.maximum(spread, floor)

    def penalty(self, model, c):
        """Compute minus twice the log prior, in units of the loss."""
        away = c - self.mean
        if self.given:
            total = (away @ self.precision * away).sum()
        else:
            total = (away.square() @ self.precision).sum()
        weights = zip(self._weights(model), self.start, self.size, strict=True)
        for (p, first), start, size in weights:
            total = total + (p[first:] - start).square().sum() / (self.departure * size)
            if first:
                total = total + p[first:].square().sum() / size
        return self.strength * total

    def state(self):
        """Return everything except the conditions, for a checkpoint."""
        return {name: value for name, value in vars(self).items() if name != "condition_index"}

    def load(self, state, device):
        """Continue from such a state."""
        for name, value in state.items():
            if name == "start":
                value = [p.to(device) for p in value]
            setattr(self, name, value.to(device) if torch.is_tensor(value) else value)
