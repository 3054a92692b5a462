"""How a fitted model grows for a task that its shared bases do not reach.

The bases get more columns, and the embedding gets components that alone reach them. Everything
that was fitted is frozen: where the new components are 0, the RNNs are those of the earlier model.
Each trial is described by whichever of the two models makes it likelier (docs/model.md, eq. 22).
"""

from __future__ import annotations

import copy
import math

import torch

from ._components import components_of_trials
from ._denoised import denoised
from ._expectation import some_of
from ._frozen import N_CENTRES, N_KNOWN
from ._inference import GaussianPrior
from ._observation import CONSTANT
from ._parameters import MAX_COMPONENTS
from ._rollout import simulate
from ._training import train
from ._trials import as_trials
from ._warm_start import start_of_extension

__all__ = ["extend"]

# of the first new component, which is near 1 in all trials of the task. With 1, earlier trials
# that the fit had not seen went over to the new model
OFFSET_VARIANCE = 0.01


def extend(model, X, inputs, schedule_of, device):
    """Make a model with the old one as its `earlier`, from a few trials of a new task.

    Parameters
    ----------
    model : Model
        Frozen model with shared bases and generated initial states.
    X : ndarray (trials, time, neurons)
        Trials of the new task; NaN where missing.
    inputs : ndarray (trials, time, inputs) or None
        Known inputs.
    schedule_of : callable
        ``schedule_of(trials)`` makes the schedule of the optimiser.
    device : torch.device
        Device on which embeddings are inferred.

    Returns
    -------
    extended : Model
    found : Bunch
        What `Model.infer` returns for the trials.
    training : Trained
    """
    observation, hypernetwork = model.observation, model.hypernetwork
    u = model.scale_inputs(inputs, X.shape[:2])
    kind = (torch.float64, torch.device("cpu"), model.steps_per_sample)
    trials = as_trials(X, u, observation, model.imputer, *kind)
    null, count = observation.null_deviance(X)
    if not null > 0:
        raise ValueError(CONSTANT)
    c = torch.as_tensor(model.infer(X, device, inputs).p)  # q is empty
    curve = components_of_trials(trials)
    n_new = 1 + min(len(X) - 1, MAX_COMPONENTS if curve is None else curve.best)
    U, V, maps, e = start_of_extension(
        trials,
        denoised(trials, curve),
        hypernetwork,
        model.initial_state,
        c,
        model.alpha,
        observation.guide_variance,
        observation.guide_autocorrelation_time(model.autocorrelation_time),
        n_new,
    )
    n_new = len(maps)
    wide, free = hypernetwork.extended(U, V, maps)
    parts = (wide, model.initial_state, observation, model.imputer, model.disturbances)
    extended = copy.deepcopy(model.with_parts(*parts))
    extended.to_train(trials.device, trials.dtype)
    for part in (extended.initial_state, extended.observation, extended.hypernetwork.hidden):
        part.requires_grad_(False)
    extended.hypernetwork.B.requires_grad_(False)
    extended.connectivity.train_only(**free)
    prior = _prior_of(model, n_new)
    training = train(
        extended,
        torch.cat([c, e], 1),
        c.new_zeros(len(c), 0),
        trials,
        schedule_of(trials),
        variance=null / count,
        precision=torch.linalg.inv(prior),
        generator=torch.Generator().manual_seed(0),
    )
    extended = copy.deepcopy(extended).requires_grad_(False)  # without what freezes parts
    extended.earlier = model
    _learn_prior(extended, training.c, prior, trials)
    return extended, extended.infer(X, device, inputs), training


def _prior_of(model, n_new):
    """Compute the covariance that embeddings have before any trial of the new task is seen."""
    known = torch.linalg.inv(model.prior.precision)
    new = torch.eye(n_new, dtype=known.dtype)
    new[0, 0] = OFFSET_VARIANCE
    return torch.block_diag(known, new)


@torch.no_grad()
def _learn_prior(model, p, covariance, trials):
    """Learn the prior of embeddings from those of a few trials, p, and an earlier covariance."""
    own = (p - p.mean(0)).t() @ (p - p.mean(0))
    both = (own + len(covariance) * covariance) / (len(p) + len(covariance))
    precision, some = torch.linalg.inv(both), p[some_of(len(p), N_KNOWN)]
    model.prior = GaussianPrior(p.mean(0), precision, some[:N_CENTRES], some)
    weights, x0, _ = model.start(p, p.new_zeros(len(p), 0), trials)
    how = (trials.n_steps, model.alpha, trials.inputs)
    size = float(simulate(model.connectivity, weights, x0, *how).square().mean(2).amax())
    if not math.isfinite(size) or torch.linalg.cholesky_ex(precision).info:
        raise FloatingPointError(
            "Training diverged: the free runs of the new trials are not finite. Try a smaller "
            "learning_rate_init, or more steps (max_iter)."
        )
    model.largest = max(model.largest, size)
