"""What a trained model is frozen with: noise, prior and coordinates of embeddings; and back.

The noise and the prior come from the runs of training trials, the coordinates from the embeddings
that inference then finds for them (docs/model.md, eq. 10). A model is thawed for a warm start.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from sklearn.cluster import KMeans

from ._distributed import ALONE
from ._expectation import some_of
from ._inference import GaussianPrior
from ._observation import residual_autocorrelation_time
from ._trials import block_size, blocks, by_session

__all__ = ["fix_gauge", "frozen_copy", "thawed_copy"]

N_KNOWN = 256  # training trials that represent all in predictions
N_CENTRES = 32  # cluster centres of the training embeddings, which are candidate starts
LEAST_EFFECT = 1e-8  # least effect of a component, as a share of the largest
NOISE_FLOOR = 1e-8  # share of the data's variance; noise-free data would give a singular system


def frozen_copy(model, c, q, trials, embedding_index, *, variance, seed, processes=ALONE):
    """Make a frozen copy, float64 on the CPU, with the prior and noise of training trials.

    Parameters
    ----------
    model : Model
        Trained model.
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
    squares = c.new_zeros(len(model.observation.scale), dtype=torch.float64)
    count, autocorrelation_time = torch.zeros_like(squares), torch.zeros_like(squares[:1])
    for i in processes.share(blocks(trials)):
        some = trials[i]
        error = model.residual(each[i], q[i], some)
        neurons = slice(None) if some.neurons is None else some.neurons
        squares[neurons] += error.square().sum((0, 1), dtype=torch.float64)
        seen = some.n_steps * len(i) if some.weight is None else some.weight.sum((0, 1))
        count[neurons] += seen
        time = residual_autocorrelation_time(error, some.every)
        autocorrelation_time += time * len(i) / len(trials)
    processes.sum_(squares, count, autocorrelation_time)
    if not torch.isfinite(squares).all():
        raise FloatingPointError(
            "Training diverged: the free run of the trained model is not finite. Try a smaller "
            "learning_rate_init, a smaller rank, or more steps (max_iter)."
        )
    frozen = copy.deepcopy(model).double().cpu().requires_grad_(False)
    frozen.observation.learn_noise(squares.cpu(), count.cpu(), NOISE_FLOOR * variance)
    frozen.autocorrelation_time = float(autocorrelation_time)
    c, each, q = (a.detach().double().cpu() for a in (c, each, q))
    frozen.prior = _learn_prior(c, each, q, seed)
    if embedding_index is None:
        frozen.prior = _widened_prior(frozen, torch.cat([c, q], 1), trials)
    return frozen


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


@torch.no_grad()
def _widened_prior(model, p, trials):
    """Add the posterior covariances of parameters p to the prior's covariance, as EM does.

    The covariances of at most `block_size` trials represent all.
    """
    order = torch.randperm(len(p), generator=torch.Generator().manual_seed(0))
    n_steps, _, n_neurons = trials.shape
    index = order[: block_size(n_steps, n_neurons)].sort().values
    weight = 1 / (model.observation.dispersion * model.autocorrelation_time)
    covariance, prior = torch.zeros_like(model.prior.precision), model.prior
    for where, some in by_session(trials[index.to(trials.device)]):
        some, own = some.to(torch.float64, torch.device("cpu")), p[index[where]]
        runs = (model if some.neurons is None else model.of_neurons(some.neurons)).runs()
        for i in torch.arange(len(some)).split(runs.chunk(some)):
            target = runs.target(some[i])
            _, kept = runs.run(own[i], target, keep=True)
            _, curvature, _ = runs.system(own[i], target, kept)
            covariance += torch.linalg.inv(weight * curvature + prior.precision).sum(0)
    covariance = torch.linalg.inv(prior.precision) + covariance / len(index)
    return GaussianPrior(prior.mean, torch.linalg.inv(covariance), prior.centres)


def thawed_copy(model, X, inputs, embedding_index, device, dtype, processes=ALONE):
    """Make a copy to train on X, with embeddings and initial-state coordinates.

    `infer` finds the embeddings: one for each trial or, with `embedding_index`, the mean over the
    trials that share one.
    """
    d = model.hypernetwork.n_components
    found = model.infer(X, device, inputs, processes=processes)
    p = torch.as_tensor(found.p, device=device)
    c, q = p[:, :d], p[:, d:].to(dtype)
    if embedding_index is not None:
        total = c.new_zeros(int(embedding_index.max()) + 1, d).index_add_(0, embedding_index, c)
        c = total / torch.bincount(embedding_index)[:, None]
    return copy.deepcopy(model).to_train(device, dtype), c.to(dtype), q


def fix_gauge(model, found):
    """Change coordinates so that the embeddings found are canonical; return them.

    The components then have zero mean and are uncorrelated, in decreasing order of their effect on
    the generated activity (the mean Gauss-Newton matrix). Their variances are the square roots of
    the effects, relative to the last. The largest entry of each component is positive. RNNs, prior
    and posterior do not change.
    """
    d, prior = model.hypernetwork.n_components, model.prior
    c = torch.as_tensor(found.p[:, :d])
    shift = c.mean(0)
    spread, axes = torch.linalg.eigh(torch.cov(c.t(), correction=0).reshape(d, d))
    varied = int((spread > 1e-8 * spread.max().clamp_min(1e-12)).sum())
    if varied < d:
        advice = f"leave out repeated trials, or set n_components={varied} or less"
        if not varied:
            advice = "all trials are alike, so there is nothing to embed"
        raise ValueError(
            f"Only {varied} of the {d} dimensions of the embedding vary between trials: {advice}."
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
    model.hypernetwork.change_coordinates(shift, matrix)
    everything = torch.block_diag(matrix, torch.eye(model.initial_state.size, dtype=c.dtype))
    mean = prior.mean.clone()
    mean[:d] = torch.linalg.solve(matrix, mean[:d] - shift)
    precision = everything.t() @ prior.precision @ everything
    centres = torch.linalg.solve(matrix, (prior.centres - shift).t()).t()
    known = torch.cat([new, torch.as_tensor(found.p[:, d:])], 1)
    known = known[some_of(len(known), N_KNOWN)]
    model.prior = GaussianPrior(mean, precision, centres, known)
    return new.numpy()
