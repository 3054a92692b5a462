"""Free and teacher-forced simulation with gradients: the hot loop.

With shared connectivity the state splits into a part that only the initial state (and the data,
under teacher forcing) drives, and a part inside the span of U (docs/model.md, eq. 5):

    x[t] = y[t] + U h[t],      y[0] = x0, h[0] = 0
    x~[t] = (1-g) x[t] + g data[t]                                      (forcing strength g)
    y[t+1] = (1-a) ((1-g) y[t] + g data[t])
    h[t+1] = (1-a) (1-g) h[t] + a (G_k V' tanh(x~[t]) + b_k)

so a step costs two products with (neurons, rank) matrices. Time comes first in every array here,
so that each step touches one contiguous (trials, neurons) block.
"""

from __future__ import annotations

import torch

__all__ = ["drive", "matvec", "rollout_loss", "simulate", "tanh_"]


def tanh_(x):
    """In-place tanh as 2 sigmoid(2x) - 1, which torch vectorises about four times better."""
    return x.mul_(2).sigmoid_().mul_(2).sub_(1)


def matvec(matrices, transposed, vectors, out=None):
    """matrices[k] @ vectors[k]; `transposed` is the contiguous transpose of `matrices`.

    Batched products of MKL are several times slower on columns than on rows from rank 20 on, and
    the other way round below.
    """
    if vectors.shape[1] < 20:
        column = None if out is None else out.unsqueeze(-1)
        return torch.bmm(matrices, vectors.unsqueeze(-1), out=column).squeeze(-1)
    row = None if out is None else out.unsqueeze(1)
    return torch.bmm(vectors.unsqueeze(1), transposed, out=row).squeeze(1)


def rollout_loss(weights, x0, data, alpha, forcing=0.0, workspace=None):
    """Squared error of the (teacher-forced) run, summed over everything, with gradients.

    Parameters
    ----------
    weights : dict of Tensor
        ``U``, ``V``, ``core``, ``bias`` with shared ``U``, ``V`` (neurons, rank), or per-trial
        ``U``, ``V`` (trials, neurons, rank) and ``bias`` (trials, neurons), or ``J``
        (trials, neurons, neurons) and ``bias``: what the hypernetwork returns.
    x0 : Tensor (trials, neurons)
    data : Tensor (time, trials, neurons)
    alpha : float
        dt / tau.
    forcing : float
        Share g of the data mixed into the state before each step.
    workspace : dict, optional
        Keeps the two arrays of the size of `data` that the backward pass needs from one call to
        the next; only for calls whose backward pass ends before the next call begins.

    Returns
    -------
    Tensor, a scalar
    """
    if "core" in weights:
        w = weights
        return _SharedRollout.apply(
            w["U"], w["V"], w["core"], w["bias"], x0, data, alpha, forcing, workspace
        )
    return _plain_loss(weights, x0, data, alpha, forcing)


class _SharedRollout(torch.autograd.Function):
    """Loss of the shared-basis run; the backward pass is written by hand."""

    @staticmethod
    def forward(ctx, U, V, core, bias, x0, data, alpha, forcing, workspace):
        n_steps, n_trials, n_neurons = data.shape
        keep, g = (1 - alpha) * (1 - forcing), forcing
        Ut, coreT = U.t().contiguous(), core.transpose(1, 2).contiguous()
        error, rates = _like(data, workspace)
        latent = data.new_zeros(n_steps, n_trials, U.shape[1])  # h
        read = data.new_empty(n_steps, n_trials, U.shape[1])  # z = V' phi
        y, decay = x0.clone() if g else x0, 1.0
        squares = data.new_empty(n_steps)
        recurrent = torch.empty_like(latent[0])
        steps = zip(data, error, rates, latent, read, strict=True)  # views, made once
        for t, (target, e, phi, h, z) in enumerate(steps):
            torch.addmm(y, h, Ut, beta=decay, out=phi)  # x, (trials, neurons)
            torch.sub(phi, target, out=e)
            if t == n_steps - 1:
                break
            if g:
                phi.sub_(e, alpha=g)
                y.lerp_(target, g).mul_(1 - alpha)
            else:
                decay *= 1 - alpha  # of y, which is x0 itself in a free run
            tanh_(phi)
            torch.mm(phi, V, out=z)
            matvec(core, coreT, z, out=recurrent)
            following = torch.add(bias, recurrent, out=latent[t + 1])
            following.mul_(alpha).add_(h, alpha=keep)
        for t, e in enumerate(error.flatten(1)):
            torch.dot(e, e, out=squares[t])
        loss = squares.sum(dtype=torch.float64)
        ctx.alpha, ctx.forcing = alpha, forcing
        ctx.buffers = (U, V, core, coreT, error, rates, latent, read)
        ctx.need_x0 = x0.requires_grad
        return loss

    @staticmethod
    def backward(ctx, grad):
        U, V, core, coreT, error, rates, latent, read = ctx.buffers
        ctx.buffers = None
        alpha, g = ctx.alpha, ctx.forcing
        keep = (1 - alpha) * (1 - g)
        n_steps, n_trials, n_neurons = error.shape
        rank = U.shape[1]
        Vt = V.t().contiguous()
        scale = 2.0 * float(grad)
        grad_h = error.new_zeros(n_steps, n_trials, rank)
        # rank first: these products are faster that way round
        grad_Ut, grad_Vt = U.new_zeros(rank, n_neurons), U.new_zeros(rank, n_neurons)
        grad_x = torch.empty_like(error[0])
        grad_y = torch.zeros_like(error[0]) if ctx.need_x0 else None
        z_bar = torch.empty_like(latent[0])
        for t in range(n_steps - 1, -1, -1):
            e, phi = error[t], rates[t]
            if t < n_steps - 1:
                matvec(coreT, core, grad_h[t + 1], out=z_bar).mul_(alpha)
                grad_Vt.addmm_(z_bar.t(), phi)
                torch.mm(z_bar, Vt, out=grad_x)
                torch.ops.aten.tanh_backward.grad_input(grad_x, phi, grad_input=grad_x)
                e.add_(grad_x, alpha=1 - g)
                torch.addmm(grad_h[t + 1], e, U, beta=keep, out=grad_h[t])
            else:
                torch.mm(e, U, out=grad_h[t])
            grad_Ut.addmm_(latent[t].t(), e)
            if grad_y is not None:
                grad_y.mul_(keep).add_(e)
        # (trials, rank, time) @ (trials, time, rank)
        incoming = grad_h[1:].permute(1, 2, 0)
        grad_core = torch.bmm(incoming, read[:-1].transpose(0, 1)).mul_(alpha)
        grad_bias = incoming.sum(-1).mul_(alpha)
        # the pass is linear in the error: the factor 2 of the square comes last
        grads = (grad_Ut.t(), grad_Vt.t(), grad_core, grad_bias, grad_y)
        return *(g if g is None else g.mul_(scale) for g in grads), None, None, None, None


def _like(data, workspace):
    """Two uninitialised arrays like `data`, taken from the workspace if they fit."""
    if workspace is None:
        return torch.empty_like(data), torch.empty_like(data)
    if workspace.get("shape") != data.shape:
        workspace.update(
            shape=data.shape, error=torch.empty_like(data), rates=torch.empty_like(data)
        )
    return workspace["error"], workspace["rates"]


def _plain_loss(weights, x0, data, alpha, forcing=0.0):
    """The same loss for any connectivity, by autograd."""
    x, loss = x0, 0.0
    for t in range(len(data)):
        error = x - data[t]
        loss = loss + error.square().sum()
        if t < len(data) - 1:
            x = x - forcing * error
            x = (1 - alpha) * x + alpha * drive(weights, torch.tanh(x))
    return loss


def drive(weights, rates):
    """J_k rates + b_k of each trial."""
    if "J" in weights:
        return torch.baddbmm(weights["bias"].unsqueeze(-1), weights["J"], rates.unsqueeze(-1))[
            ..., 0
        ]
    U, V = weights["U"], weights["V"]
    if "core" in weights:
        latent = torch.baddbmm(
            weights["bias"].unsqueeze(-1), weights["core"], (rates @ V).unsqueeze(-1)
        )
        return latent[..., 0] @ U.t()
    latent = torch.bmm(rates.unsqueeze(1), V)  # (trials, 1, rank)
    return torch.baddbmm(weights["bias"].unsqueeze(1), latent, U.transpose(1, 2))[:, 0]


@torch.no_grad()
def simulate(weights, x0, n_steps, alpha):
    """The free run, (time, trials, neurons)."""
    states = x0.new_empty(n_steps, *x0.shape)
    x = x0
    for t in range(n_steps):
        states[t] = x
        x = (1 - alpha) * x + alpha * drive(weights, tanh_(x.clone()))
    return states
