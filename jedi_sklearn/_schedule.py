"""The schedule of training, its progress reports, and the verdict at its end."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

__all__ = [
    "Progress",
    "Schedule",
    "Trained",
    "describe_divergence",
    "describe_failure",
    "judge",
]

REFRESHES = 10  # number of times that the prior is re-estimated and the validation R2 evaluated
CHECKPOINTS = 20  # number of times that the state is saved, if there is a checkpoint
DIVERGED = 2  # times the loss of the data's mean or of the first step; tanh units stay near that


@dataclass
class Schedule:
    """Settings of the optimiser at each step.

    Teacher forcing changes linearly from `teacher_forcing` to `final_teacher_forcing` over the
    share `anneal` of the steps. The learning rate falls from `learning_rate` to 0 along half a
    cosine. The optimiser is SOAP, or Adam without `learned_axes`. If it is `regularised`, weights
    have a prior about the start, whose variance is the share `departure` of their mean square.
    """

    max_iter: int
    learning_rate: float
    teacher_forcing: float
    anneal: float
    batch_size: int | None = None
    regularised: bool = True
    departure: float = 0.2
    tol: float = 1e-3
    final_teacher_forcing: float = 0.0
    learned_axes: bool = True
    patience: int | None = None  # validations without improvement after which training stops

    def teacher_forcing_at(self, step):
        """Compute the strength of teacher forcing at a step."""
        left = max(0.0, 1 - step / (self.anneal * self.max_iter))
        return (
            self.final_teacher_forcing + (self.teacher_forcing - self.final_teacher_forcing) * left
        )

    @property
    def refresh(self):
        """Steps between two updates of the prior and evaluations of the validation R2."""
        return max(1, self.max_iter // REFRESHES)

    @property
    def saving(self):
        """Steps between two checkpoints."""
        return max(1, self.max_iter // CHECKPOINTS)

    def settled(self, step):
        """Return whether teacher forcing is final, so that the objective no longer changes."""
        return self.teacher_forcing_at(step) == self.final_teacher_forcing

    def learning_rate_at(self, step):
        """Compute the learning rate at a step."""
        return 0.5 * self.learning_rate * (1 + math.cos(math.pi * step / self.max_iter))


@dataclass
class Trained:
    """Result of `train`; the trained parameters are in the model that it was given."""

    c: torch.Tensor
    q: torch.Tensor
    loss_curve: list = field(default_factory=list)
    validation_curve: list = field(default_factory=list)
    converged: bool = False
    interrupted: bool = False
    stopped: bool = False  # by a callback
    complaint: str = ""
    failed: bool = False  # no better than the mean of the data

    @property
    def loss(self):
        """Mean loss over the last tenth of the steps."""
        tail = max(1, len(self.loss_curve) // 10)
        return sum(self.loss_curve[-tail:]) / tail


class Progress:
    """Progress bar (tqdm), or plain lines if tqdm is not installed; silent unless verbose."""

    def __init__(self, total, verbose, share="R2"):
        self.bar, self.every = None, max(1, total // 10)
        self.verbose, self.total, self.share = verbose, total, share
        if verbose:
            try:
                from tqdm.auto import tqdm
            except ImportError:
                return
            self.bar = tqdm(total=total, desc="JEDI", unit="step")

    def __call__(self, step, loss, teacher_forcing):
        """Report one step."""
        if not self.verbose:
            return
        if self.bar is not None:
            self.bar.update()
            shown = {self.share: f"{1 - loss:.3f}", "teacher forcing": f"{teacher_forcing:.3f}"}
            self.bar.set_postfix(shown, refresh=False)
        elif (step + 1) % self.every == 0:
            print(
                f"[JEDI] step {step + 1}/{self.total}  {self.share} {1 - loss:.4f}  "
                f"teacher forcing {teacher_forcing:.3f}",
                flush=True,
            )

    def skip(self, n_steps):
        """Count steps that an earlier run made."""
        if self.bar is not None:
            self.bar.update(n_steps)

    def close(self):
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()


def describe_divergence(step, schedule, teacher_forcing):
    """Write the error message for a loss that is not finite: a cause and a remedy."""
    if teacher_forcing:
        cause = f"the run left the data in spite of teacher forcing {teacher_forcing:.3f}"
    else:
        cause = "the free run or the weights grew without bound"
    return (
        "Training diverged: the loss or its gradient was not finite at step "
        f"{step + 1} of {schedule.max_iter}; {cause}. Try a smaller "
        f"learning_rate_init (now {schedule.learning_rate:g}), a smaller "
        'rank, or scale="neuron" if a few neurons are much more active than the others. '
        "The estimator stays as it was."
    )


def describe_failure(result, schedule, share="R2", inferred=-math.inf):
    """Write the warning for a fit that is no better than the mean of the data.

    `share` is the name of the score, `inferred` the score of embeddings inferred after the fit.
    """
    got = f"{share} {1 - result.loss:.3g}"
    if inferred > 0:
        return (
            f"Training ended no better than the mean of the data ({got}). Embeddings inferred "
            f"after training do better ({share} {inferred:.2f}), so the model is usable, but the "
            "embeddings of training did not settle. Try more steps (max_iter), or a smaller "
            f"learning_rate_init (now {schedule.learning_rate:g})."
        )
    if result.loss > DIVERGED * max(1.0, result.loss_curve[0]):
        return (
            f"Training diverged: its runs ended far from the data ({got}, after "
            f"{1 - result.loss_curve[0]:.2f} at the first step). Try a smaller learning_rate_init "
            f"(now {schedule.learning_rate:g}), or a smaller rank."
        )
    noisy = " (smooth them in time)" if share == "R2" else ""
    return (
        f"The free run is no better than the mean of the data ({got}). Check that the axes of X "
        "are (n_trials, n_timesteps, n_neurons), that dt is the sampling interval in seconds, and "
        "that tau is comparable to the time scale of the fastest changes. If so, the data may be "
        f"too noisy{noisy}, need more dimensions (raise rank and n_components), or lack common "
        "dynamics."
    )


def judge(result, schedule, checkpoint=None, share="R2"):
    """Set `converged` of a result, or its complaint for a warning: a cause and a remedy."""
    n = len(result.loss_curve)
    if result.interrupted:
        result.complaint = (
            f"Training was interrupted after {n} of {schedule.max_iter} steps. The estimator "
            "keeps the state reached so far. Fit again to complete the schedule."
        )
        if not schedule.settled(n):
            result.complaint += (
                " Teacher forcing had not ended, so the free run may leave the data."
            )
        if checkpoint is not None and n >= schedule.saving:
            result.complaint += " The checkpoint is kept: the same fit continues from it."
        return result
    if result.converged:
        return result
    if result.stopped and result.loss < 1:
        result.converged = schedule.settled(n)
        if not result.converged:
            result.complaint = (
                f"A callback stopped training after {n} of {schedule.max_iter} steps, before "
                "teacher forcing had ended, so the free run may leave the data. Let training run "
                "for longer, or lower teacher_forcing."
            )
        return result
    tail, last = max(1, n // 10), result.loss
    before = result.loss_curve[-2 * tail : -tail]
    gain = sum(before) / len(before) - last if before else 1 - last  # if there is a single step
    if last >= 1:
        result.failed = True
        result.complaint = describe_failure(result, schedule, share)
    elif gain > schedule.tol:
        result.complaint = (
            f"{share} still rose by {gain:.4f} over the last tenth of the {schedule.max_iter} "
            f"steps (tol={schedule.tol:g}). Raise max_iter."
        )
    else:
        result.converged = True
    return result
