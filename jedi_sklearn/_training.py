"""Training: Adam on the free run, reached through annealed teacher forcing.

`train` turns a started model and embeddings into trained ones. It knows nothing of estimators,
files or scikit-learn.
"""

from __future__ import annotations

import copy
import math

import torch

from ._distributed import ALONE
from ._observation import residual_autocorrelation_time
from ._schedule import Progress, Trained, describe_divergence, judge
from ._trials import Batches, block_size

__all__ = ["train"]

CLIP = 1.0  # norm at which the gradient is clipped
BETAS = (0.9, 0.99)
OWN_RATE = 4  # learning rate of log rates' means, of which one SD is far for few spikes
SMALLEST = 1e-12  # mean square of maps, which are 0 where there is nothing to explain


def train(
    model,
    c,
    q,
    trials,
    schedule,
    *,
    variance,
    embedding_index=None,
    condition_index=None,
    generator=None,
    validate=None,
    progress=None,
    checkpoint=None,
    processes=ALONE,
):
    """Minimise the deviance of the run plus the prior of the embeddings.

    Parameters
    ----------
    model : Model
        Trained in place.
    c : Tensor (embeddings, n_components)
    q : Tensor (trials, size)
        Free coordinates of the initial states.
    trials : Trials or LazyTrials
    schedule : Schedule
    variance : float
        Deviance per value of a model that knows each neuron's mean alone.
    embedding_index : Tensor (trials,), int, optional
        Which embedding each trial uses; its own by default.
    condition_index : Tensor (embeddings,), int, optional
        Condition of each embedding: the prior is then centred on the condition.
    generator : torch.Generator
        Order of the mini-batches.
    validate : callable, optional
        ``validate(model, c, q) -> R2`` on trials left out, looked at once teacher forcing no
        longer changes.
    progress : Progress, optional
    checkpoint : object, optional
        Its ``state``, unless None, is what an earlier call with the same arguments had passed to
        its ``write(state)``: training goes on from there, as if never interrupted.
    processes : Processes
        Each works on its share of every mini-batch; all keep the whole state.

    Returns
    -------
    Trained

    Raises
    ------
    FloatingPointError
        When the loss is no longer finite.
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
        generator,
        processes,
    )
    best = _Best(schedule, validate)
    saved = _Saved(checkpoint, schedule, run, best)
    saved.resume()
    progress.skip(run.n_steps)
    try:
        for step in range(run.n_steps, schedule.max_iter):
            if step % schedule.refresh == 0:
                run.estimate_prior()
            teacher_forcing = schedule.teacher_forcing_at(step)
            loss = run.loss(run.next_batch(), teacher_forcing)
            if not math.isfinite(loss):
                raise FloatingPointError(describe_divergence(step, schedule, teacher_forcing))
            run.descend(schedule.learning_rate_at(step))
            run.result.loss_curve.append(loss)
            progress(step, loss, teacher_forcing)
            if best.is_due(step) and best.look(run):
                run.result.converged = True
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
    """The state of a training, and its single steps."""

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
        slow = {"params": [p for p in self.free if id(p) not in own], "factor": 1}
        fast = {"params": [p for p in self.free if id(p) in own], "factor": OWN_RATE}
        self.optimiser = torch.optim.Adam([g for g in (slow, fast) if g["params"]], betas=BETAS)
        self.prior = _Prior(model, condition_index) if schedule.regularised else None
        self.batches = Batches(trials, schedule.batch_size, generator, processes)
        self.result = Trained(self.c, self.q)
        self.workspace, self.objective = {}, None

    @property
    def n_steps(self):
        """Steps made."""
        return len(self.result.loss_curve)

    def estimate_prior(self):
        """Learn the prior anew from the state of the fit, if there is one."""
        if self.prior is not None:
            self.prior.estimate(
                *self._parameters(), self.trials, self.embedding_index, self.variance
            )

    def next_batch(self):
        """Indices and trials of this process's share of the next mini-batch."""
        return self.batches.next()

    def loss(self, batch, teacher_forcing):
        """The loss, 1 - R2 of the (forced) run, and in `objective` what is descended."""
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

    def descend(self, learning_rate):
        """One step of Adam."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate * group["factor"]
        self.optimiser.zero_grad()
        self.objective.backward()
        self.processes.sum_(*(p.grad for p in self.free if p.grad is not None))
        torch.nn.utils.clip_grad_norm_(self.free, CLIP)
        self.optimiser.step()

    def validate(self, validate):
        """R2 on trials left out, noted in the curve."""
        score = validate(*self._parameters())
        self.result.validation_curve.append((self.n_steps, score))
        return score

    def finish(self):
        """What was trained."""
        self.result.c, self.result.q = self.c.detach(), self.q.detach()
        return self.result

    def _parameters(self):
        return self.model, self.c.detach(), self.q.detach()

    def weights(self):
        """A copy of all that is trained."""
        model = copy.deepcopy(self.model.state_dict())
        return {"model": model, "c": self.c.detach().clone(), "q": self.q.detach().clone()}

    def load_weights(self, weights):
        """Go back to such a copy."""
        self.model.load_state_dict(weights["model"])
        with torch.no_grad():
            self.c.copy_(weights["c"])
            self.q.copy_(weights["q"])

    def state(self):
        """What `load` needs to go on bit by bit, as numbers, tensors, lists and dicts."""
        prior = None if self.prior is None else self.prior.state()
        return {
            "weights": self.weights(),
            "optimiser": self.optimiser.state_dict()["state"],
            "prior": prior,
            "batches": self.batches.state(),
            "loss_curve": self.result.loss_curve,
            "validation_curve": self.result.validation_curve,
        }

    def load(self, state):
        """Go on from what `state` gave."""
        self.load_weights(state["weights"])
        condition_index = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict(
            {"state": state["optimiser"], "param_groups": condition_index}
        )
        if self.prior is not None:
            self.prior.load(state["prior"], self.c.device)
        self.batches.load(state["batches"])
        self.result.loss_curve = state["loss_curve"]
        self.result.validation_curve = state["validation_curve"]


class _Best:
    """The best state so far: by validation, or in case of an interruption only."""

    def __init__(self, schedule, validate):
        self.schedule, self.validate = schedule, validate
        self.weights, self.score, self.waited = None, -math.inf, 0

    def is_due(self, step):
        """Whether to look: once teacher forcing no longer changes, a few times."""
        refresh = self.schedule.refresh
        return self.schedule.settled(step) and step % refresh == refresh - 1

    def look(self, run):
        """Keep the state if it is the best one; True when none came for too long."""
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
        """Go back to the best state where that is not the last one."""
        result = run.result
        latest = 1 - _mean(result.loss_curve[-self.schedule.refresh :])
        if self.weights is None or (self.validate is None and latest >= self.score):
            return
        if self.validate is not None or result.interrupted:
            run.load_weights(self.weights)

    def state(self):
        """All of it, for a checkpoint."""
        return {"weights": self.weights, "score": self.score, "waited": self.waited}


class _Saved:
    """The checkpoint, if there is one: the state of run and best in one dict."""

    def __init__(self, checkpoint, schedule, run, best):
        self.checkpoint, self.schedule = checkpoint, schedule
        self.run, self.best = run, best

    def resume(self):
        """Go on from what an earlier call wrote."""
        state = None if self.checkpoint is None else self.checkpoint.state
        if state is not None:
            self.run.load(state["run"])
            vars(self.best).update(state["best"])

    def write(self, step):
        """Write the state after a step, where one is due."""
        if self.checkpoint is None or (step + 1) % self.schedule.saving:
            return
        processes = self.run.processes
        with processes.together():
            if processes.rank == 0:
                self.checkpoint.write({"run": self.run.state(), "best": self.best.state()})


def _mean_square(p):
    return max(float(p.detach().square().mean()), SMALLEST)


def _mean(values):
    return sum(values) / len(values)


class _Prior:
    """Gaussian priors of embeddings and maps; their weight follows the residuals (eq. 8).

    c ~ N(mean of its condition, diagonal), its mean and spread re-estimated from the state of the
    fit, and maps (of spike counts the basis U, too) ~ N(0, their mean square at the start): with
    the noise level estimated too, nothing has to be tuned. Without conditions, mean and spread are
    those of all embeddings.
    """

    def __init__(self, model, condition_index):
        self.condition_index = condition_index
        self.mean = self.precision = None
        self.strength = 0.0
        self.size = [_mean_square(p) for p in model.connectivity.outputs()]
        basis = model.connectivity.basis if model.observation.basis_has_prior else None
        self.size_of_basis = None if basis is None else _mean_square(basis)

    def estimate(self, model, c, q, trials, embedding_index, variance, most=64):
        """Learn noise level, means and spread from the state of the fit."""
        # a fixed random choice: a regular one would meet trials of one task where tasks alternate
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
        # of the loss, in units of which one prior term counts this much
        self.strength = noise * autocorrelation_time / (variance * trials.n_observed)
        if self.condition_index is None:
            self.mean = c.mean(0).expand_as(c)
        else:
            n = int(self.condition_index.max()) + 1
            total = c.new_zeros(n, c.shape[1]).index_add_(0, self.condition_index, c)
            count = torch.bincount(self.condition_index, minlength=n).to(c.dtype)
            self.mean = (total / count[:, None])[self.condition_index]
        spread = (c - self.mean).square().mean(0)
        floor = 1e-2 * c.var(0, correction=0).clamp_min(1e-12)
        self.precision = 1 / torch.maximum(spread, floor)

    def penalty(self, model, c):
        """Minus twice the log prior, in units of the loss."""
        total = ((c - self.mean).square() @ self.precision).sum()
        for p, size in zip(model.connectivity.outputs(), self.size, strict=True):
            total = total + p[1:].square().sum() / size
        if self.size_of_basis is not None:
            total = total + model.connectivity.basis.square().sum() / self.size_of_basis
        return self.strength * total

    def state(self):
        """All but the groups, for a checkpoint."""
        return {name: value for name, value in vars(self).items() if name != "condition_index"}

    def load(self, state, device):
        """Go on from such a state."""
        for name, value in state.items():
            setattr(self, name, value.to(device) if torch.is_tensor(value) else value)
