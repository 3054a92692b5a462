"""Training: Adam on the free run, reached through annealed teacher forcing.

`train` turns a started hypernetwork and embeddings into trained ones. It knows nothing of
estimators, scaling or scikit-learn.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field

import torch

from ._distributed import ALONE
from ._rollout import rollout_loss, simulate
from ._trials import Trials, block_size

__all__ = ["Progress", "Schedule", "Trained", "residual_inflation", "train"]

REFRESHES = 10  # how often the prior is re-estimated, and validation looked at
CLIP = 1.0  # norm at which the gradient is clipped
BETAS = (0.9, 0.99)
CHECKPOINTS = 20  # how often the state is kept, where it is


@dataclass
class Schedule:
    """What drives the optimiser.

    The teacher forcing falls linearly from `forcing` to `final_forcing` over the share `anneal` of
    the steps, the learning rate as a half cosine from `learning_rate` to 0.
    """

    max_iter: int
    learning_rate: float
    forcing: float
    anneal: float
    batch_size: int | None = None
    regularised: bool = True
    tol: float = 1e-3
    final_forcing: float = 0.0
    patience: int | None = None  # validations without improvement before the fit stops

    def forcing_at(self, step):
        """Forcing strength at a step."""
        left = max(0.0, 1 - step / (self.anneal * self.max_iter))
        return self.final_forcing + (self.forcing - self.final_forcing) * left

    def settled(self, step):
        """Whether the forcing is at its end: what is minimised no longer changes."""
        return self.forcing_at(step) == self.final_forcing

    def learning_rate_at(self, step):
        """Learning rate at a step."""
        return 0.5 * self.learning_rate * (1 + math.cos(math.pi * step / self.max_iter))


@dataclass
class Trained:
    """Result of `train`; parameters live in the hypernetwork that was given."""

    c: torch.Tensor
    q: torch.Tensor
    loss_curve: list = field(default_factory=list)
    validation_curve: list = field(default_factory=list)
    converged: bool = False
    interrupted: bool = False
    complaint: str = ""


class Progress:
    """A tqdm bar, or plain lines where tqdm is not installed; silent unless verbose."""

    def __init__(self, total, verbose):
        self.bar, self.every = None, max(1, total // 10)
        self.verbose, self.total = verbose, total
        if verbose:
            try:
                from tqdm.auto import tqdm
            except ImportError:
                return
            self.bar = tqdm(total=total, desc="JEDI", unit="step")

    def __call__(self, step, loss, forcing):
        """Report one step."""
        if not self.verbose:
            return
        if self.bar is not None:
            self.bar.update()
            self.bar.set_postfix(R2=f"{1 - loss:.3f}", forcing=f"{forcing:.3f}", refresh=False)
        elif (step + 1) % self.every == 0:
            print(
                f"[JEDI] step {step + 1}/{self.total}  R2 {1 - loss:.4f}  forcing {forcing:.3f}",
                flush=True,
            )

    def skip(self, n_steps):
        """Count steps that were made before."""
        if self.bar is not None:
            self.bar.update(n_steps)

    def close(self):
        """End the bar."""
        if self.bar is not None:
            self.bar.close()


def train(
    hyper,
    c,
    q,
    trials,
    initial,
    alpha,
    variance,
    schedule,
    *,
    rows=None,
    groups=None,
    generator=None,
    validate=None,
    progress=None,
    checkpoint=None,
    processes=ALONE,
):
    """Minimise the squared error of the run plus the prior of the embeddings.

    Parameters
    ----------
    hyper : Hypernetwork
        Trained in place.
    c : Tensor (embeddings, n_components)
    q : Tensor (trials, n_directions)
        Initial-state coordinates, without columns when the initial state is observed.
    trials : Trials or LazyTrials
    initial : InitialState
    alpha : float
        dt / tau.
    variance : float
        Mean square of the observed values about their neurons' means.
    schedule : Schedule
    rows : Tensor (trials,), int, optional
        Which embedding each trial uses; its own by default.
    groups : Tensor (embeddings,), int, optional
        Condition of each embedding: the prior is then centred on the condition.
    generator : torch.Generator
        Order of the mini-batches.
    validate : callable, optional
        ``validate(hyper, c, q) -> R2`` on trials left out, looked at once the forcing no longer
        changes.
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
    n_trials = len(trials)
    batch = min(schedule.batch_size or n_trials, n_trials)
    c = c.clone().requires_grad_()
    q = q.clone().requires_grad_(q.shape[1] > 0)
    free = [p for p in (*hyper.parameters(), c, q) if p.requires_grad]
    optimiser = torch.optim.Adam(free, betas=BETAS)
    prior = _Prior(hyper, groups) if schedule.regularised else None
    result = Trained(c, q)
    best, best_score, waited = None, -math.inf, 0
    workspace, order, position = {}, None, n_trials
    refresh = max(1, schedule.max_iter // REFRESHES)
    saving = max(1, schedule.max_iter // CHECKPOINTS)
    start, everyone = 0, torch.arange(n_trials, device=c.device)
    if batch == n_trials:
        mine = processes.share(everyone)
        whole = trials if isinstance(trials, Trials) and len(mine) == n_trials else trials[mine]
    if checkpoint is not None and checkpoint.state is not None:
        state = checkpoint.state
        _resume(state, hyper, c, q, optimiser, prior, generator, result)
        start = len(result.loss_curve)
        order, position = state["order"], state["position"]
        order = None if order is None else order.to(c.device)
        best, best_score, waited = state["best"], state["best_score"], state["waited"]
        if progress is not None:
            progress.skip(start)
    try:
        for step in range(start, schedule.max_iter):
            forcing = schedule.forcing_at(step)
            if prior is not None and step % refresh == 0:
                prior.estimate(hyper, c.detach(), q, trials, initial, alpha, rows, variance)
            if batch == n_trials:
                target = whole
            else:
                if position + batch > n_trials:
                    order = torch.randperm(n_trials, generator=generator).to(c.device)
                    position = 0
                mine = processes.share(order[position : position + batch])
                position += batch
                target = None  # not two at a time
                target = trials[mine]
            ci, qi = c[mine if rows is None else rows[mine]], q[mine]
            x0 = initial(qi, target.data[0])
            run = (hyper(ci), x0, target.data, alpha, forcing, workspace)
            sse = rollout_loss(*run, mask=target.mask, inputs=target.inputs)
            loss = sse / (processes.total(target.n_observed) * variance)
            penalty = 0.0 if prior is None else prior.penalty(hyper, c) / processes.size
            value = processes.total(float(loss.detach()))
            if not math.isfinite(value):
                raise FloatingPointError(_diverged(step, schedule, forcing))
            for group in optimiser.param_groups:
                group["lr"] = schedule.learning_rate_at(step)
            optimiser.zero_grad()
            (loss + penalty).backward()
            processes.sum_(*(p.grad for p in free if p.grad is not None))
            torch.nn.utils.clip_grad_norm_(free, CLIP)
            optimiser.step()
            result.loss_curve.append(value)
            if progress is not None:
                progress(step, value, forcing)
            if schedule.settled(step) and step % refresh == refresh - 1:
                if validate is None:  # kept in case of an interruption only
                    score = 1 - sum(result.loss_curve[-refresh:]) / refresh
                else:
                    score = validate(hyper, c.detach(), q.detach())
                    result.validation_curve.append((step + 1, score))
                if score > best_score + (validate is not None) * schedule.tol:
                    best, best_score, waited = _snapshot(hyper, c, q), score, 0
                elif validate is not None:
                    waited += 1
                    if waited >= schedule.patience:
                        result.converged = True
                        break
            if checkpoint is not None and (step + 1) % saving == 0:
                with processes.together():
                    if processes.rank == 0:
                        checkpoint.write(
                            _state(hyper, c, q, optimiser, prior, generator, result)
                            | {"order": order, "position": position}
                            | {"best": best, "best_score": best_score, "waited": waited}
                        )
    except KeyboardInterrupt:
        if not result.loss_curve or processes.size > 1:
            raise
        result.interrupted = True
    finally:
        if progress is not None:
            progress.close()
    latest = result.loss_curve[-refresh:]
    if validate is None and 1 - sum(latest) / len(latest) >= best_score:
        best = None  # the last state is the best one
    if best is not None and (validate is not None or result.interrupted):
        _restore(best, hyper, c, q)
    result.c, result.q = c.detach(), q.detach()
    _judge(result, schedule)
    if result.interrupted and checkpoint is not None and len(result.loss_curve) >= saving:
        result.complaint += " The checkpoint is kept: the same fit goes on from there."
    return result


class _Prior:
    """Gaussian priors of embeddings and maps; their weight follows the residuals (eq. 8).

    c ~ N(mean of its condition, diagonal), its mean and spread re-estimated from the state of the
    fit, and maps ~ N(0, their mean square at the start): with the noise level estimated too,
    nothing has to be tuned. Without conditions, mean and spread are those of all embeddings.
    """

    def __init__(self, hyper, groups):
        self.groups = groups
        self.mean = self.precision = None
        self.strength = 0.0
        self.size = [float(p.detach().square().mean()) for p in hyper.outputs()]

    def estimate(self, hyper, c, q, trials, initial, alpha, rows, variance, most=64):
        """Learn noise level, means and spread from the state of the fit."""
        n_trials = len(trials)
        # a fixed random choice: a regular one would meet trials of one task where tasks alternate
        order = torch.randperm(n_trials, generator=torch.Generator().manual_seed(0))
        n_steps, _, n_neurons = trials.shape
        some = order[: min(most, 2 * block_size(n_steps, n_neurons))].to(c.device)
        with torch.no_grad():
            ci = c[some if rows is None else rows[some]]
            target = trials[some]
            x0 = initial(q.detach()[some], target.data[0])
            error = simulate(hyper(ci), x0, trials.n_steps, alpha, target.inputs)
            error = target.observed(error.sub_(target.data))
            # NaN never compares as smaller
            noise = min(variance, float(error.square().sum()) / target.n_observed)
            inflation = residual_inflation(error)
        # of the loss, in units of which one prior term counts this much
        self.strength = noise * inflation / (variance * trials.n_observed)
        if self.groups is None:
            self.mean = c.mean(0).expand_as(c)
        else:
            n = int(self.groups.max()) + 1
            total = c.new_zeros(n, c.shape[1]).index_add_(0, self.groups, c)
            count = torch.bincount(self.groups, minlength=n).to(c.dtype)
            self.mean = (total / count[:, None])[self.groups]
        spread = (c - self.mean).square().mean(0)
        floor = 1e-2 * c.var(0, correction=0).clamp_min(1e-12)
        self.precision = 1 / torch.maximum(spread, floor)

    def penalty(self, hyper, c):
        """Minus twice the log prior, in units of the loss."""
        total = ((c - self.mean).square() @ self.precision).sum()
        for p, size in zip(hyper.outputs(), self.size, strict=True):
            total = total + p[1:].square().sum() / size
        return self.strength * total


def residual_inflation(error):
    """How many samples in time carry the information of one independent residual (>= 1).

    The integrated autocorrelation time of the residuals (time, trials, neurons), summed to the
    first lag below 0.05 (Sokal 1997, "Monte Carlo methods in statistical mechanics").
    """
    power = float(error.square().sum())
    if not math.isfinite(power) or power == 0:
        return 1.0
    total = 1.0
    for lag in range(1, len(error)):
        rho = float((error[lag:] * error[:-lag]).sum()) / power
        if rho < 0.05:
            break
        total += 2 * rho
    return total


def _snapshot(hyper, c, q):
    return copy.deepcopy(hyper.state_dict()), c.detach().clone(), q.detach().clone()


def _restore(state, hyper, c, q):
    hyper.load_state_dict(state[0])
    with torch.no_grad():
        c.copy_(state[1])
        q.copy_(state[2])


def _state(hyper, c, q, optimiser, prior, generator, result):
    """What `_resume` needs to go on bit by bit, as numbers, tensors, lists and dicts."""
    if prior is not None:
        prior = {name: value for name, value in vars(prior).items() if name != "groups"}
    return {
        "weights": _snapshot(hyper, c, q),
        "optimiser": optimiser.state_dict()["state"],
        "prior": prior,
        "generator": None if generator is None else generator.get_state(),
        "loss_curve": result.loss_curve,
        "validation_curve": result.validation_curve,
    }


def _resume(state, hyper, c, q, optimiser, prior, generator, result):
    _restore(state["weights"], hyper, c, q)
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state["optimiser"], "param_groups": groups})
    if prior is not None:
        for name, value in state["prior"].items():
            setattr(prior, name, value.to(c.device) if torch.is_tensor(value) else value)
    if generator is not None:
        generator.set_state(state["generator"])
    result.loss_curve = state["loss_curve"]
    result.validation_curve = state["validation_curve"]


def _diverged(step, schedule, forcing):
    if forcing:
        cause = f"the run left the data in spite of teacher forcing {forcing:.3f}"
    else:
        cause = "the free run or the weights grew without bound"
    return (
        f"Training diverged: the loss was not finite at step {step + 1} of {schedule.max_iter}; "
        f"{cause}. Try a smaller learning_rate_init (now {schedule.learning_rate:g}), a smaller "
        'rank, or scale="neuron" if a few neurons are much larger than the others. '
        "Nothing was changed in the estimator."
    )


def _judge(result, schedule):
    """Set `converged`, or the complaint of the ConvergenceWarning: a cause and a remedy."""
    n = len(result.loss_curve)
    if result.interrupted:
        result.complaint = (
            f"Training was interrupted after {n} of {schedule.max_iter} steps; the estimator "
            "keeps the state reached so far. Fit again to go through the whole schedule."
        )
        if not schedule.settled(n):
            result.complaint += (
                " The teacher forcing had not ended, so the free run may leave the data."
            )
        return
    if result.converged:
        return
    tail = max(1, schedule.max_iter // 10)
    last = sum(result.loss_curve[-tail:]) / tail
    before = result.loss_curve[-2 * tail : -tail]
    gain = sum(before) / len(before) - last if before else 1 - last  # a lone step
    if last >= 1:
        result.complaint = (
            f"The free run is no better than the mean of the data (R2 {1 - last:.2f}). The data "
            "may have no dynamics in common, or dt and tau do not suit them: check that dt is "
            "the sampling interval in seconds, smooth the data, or raise rank and n_components."
        )
    elif gain > schedule.tol:
        result.complaint = (
            f"R2 still rose by {gain:.4f} over the last tenth of the {schedule.max_iter} steps "
            f"(tol={schedule.tol:g}). Raise max_iter."
        )
    else:
        result.converged = True
