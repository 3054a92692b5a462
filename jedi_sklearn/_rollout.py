"""Free and teacher-forced simulation with gradients: the hot loop.

With shared connectivity the state splits into a part that only the initial state (and the data,
under teacher forcing) drives, and a part inside the span of U (docs/model.md, eq. 5):

    x[t] = y[t] + U h[t],      y[0] = x0, h[0] = 0
    x~[t] = (1-g) x[t] + g data[t]                                      (forcing strength g)
    y[t+1] = (1-a) ((1-g) y[t] + g data[t])
    h[t+1] = (1-a) (1-g) h[t] + a (G_k V' tanh(x~[t]) + b_k)

Known inputs u reach the state through a filter f that nothing else enters, x[t] gains B f[t] with
f[0] = 0 and f[t+1] = (1-a) (1-g) f[t] + a u[t]: f stands beside h, and B beside U,
so a step costs two products with (neurons, rank) matrices. Time comes first in every array here,
so that each step touches one contiguous (trials, neurons) block.
"""

from __future__ import annotations

import torch

__all__ = ["drive", "filter_inputs", "follow", "matvec", "rollout_loss", "simulate", "tanh_"]


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


def rollout_loss(weights, x0, data, alpha, forcing=0.0, workspace=None, *, mask=None, inputs=None):
    """Squared error of the (teacher-forced) run, summed over everything, with gradients.

    Parameters
    ----------
    weights : dict of Tensor
        ``U``, ``V``, ``core``, ``bias`` with shared ``U``, ``V`` (neurons, rank), or per-trial
        ``U``, ``V`` (trials, neurons, rank) and ``bias`` (trials, neurons), or ``J``
        (trials, neurons, neurons) and ``bias``: what the hypernetwork returns. With inputs also
        ``B`` (neurons, inputs).
    x0 : Tensor (trials, neurons)
    data : Tensor (time, trials, neurons)
    alpha : float
        dt / tau.
    forcing : float
        Share g of the data mixed into the state before each step.
    workspace : dict, optional
        Keeps the two arrays of the size of `data` that the backward pass needs from one call to
        the next; only for calls whose backward pass ends before the next call begins.
    mask : Tensor (time, trials, neurons), optional
        1 where the error counts, 0 where `data` was filled in.
    inputs : Tensor (time, trials, inputs), optional

    Returns
    -------
    Tensor, a scalar
    """
    if "core" in weights:
        w, B = weights, weights.get("B")
        filtered = None if inputs is None else filter_inputs(inputs, alpha, forcing)
        return _SharedRollout.apply(
            *(w["U"], w["V"], w["core"], w["bias"], B, x0),
            *(data, alpha, forcing, workspace, mask, filtered),
        )
    return _plain_loss(weights, x0, data, alpha, forcing, mask, inputs)


def filter_inputs(inputs, alpha, forcing=0.0):
    """What inputs (time, trials, inputs) have left in the state at each step, f above."""
    filtered = torch.zeros_like(inputs)
    for t in range(len(inputs) - 1):
        filtered[t + 1] = (1 - alpha) * (1 - forcing) * filtered[t] + alpha * inputs[t]
    return filtered


class _SharedRollout(torch.autograd.Function):
    """Loss of the shared-basis run; the backward pass is written by hand."""

    @staticmethod
    def forward(ctx, U, V, core, bias, B, x0, data, alpha, forcing, workspace, mask, filtered):
        n_steps, n_trials, n_neurons = data.shape
        keep, g = (1 - alpha) * (1 - forcing), forcing
        rank, coreT = U.shape[1], core.transpose(1, 2).contiguous()
        Ut = (U if B is None else torch.cat([U, B], 1)).t().contiguous()  # U and B below
        error, rates = _like(data, workspace)
        latent = data.new_zeros(n_steps, n_trials, len(Ut))  # h, then f
        if B is not None:
            latent[..., rank:] = filtered
        read = data.new_empty(n_steps, n_trials, rank)  # z = V' phi
        y, decay = x0.clone() if g else x0, 1.0
        squares = data.new_empty(n_steps)
        recurrent = torch.empty_like(read[0])
        steps = zip(data, error, rates, latent, read, strict=True)  # views, made once
        for t, (target, e, phi, h, z) in enumerate(steps):
            torch.addmm(y, h, Ut, beta=decay, out=phi)  # x, (trials, neurons)
            torch.sub(phi, target, out=e)
            if g and t < n_steps - 1:
                phi.sub_(e, alpha=g)
                y.lerp_(target, g).mul_(1 - alpha)
            if mask is not None:  # the forcing above also pulls to what was filled in
                e.mul_(mask[t])
            if t == n_steps - 1:
                break
            if not g:
                decay *= 1 - alpha  # of y, which is x0 itself in a free run
            tanh_(phi)
            torch.mm(phi, V, out=z)
            matvec(core, coreT, z, out=recurrent)
            following = latent[t + 1, :, :rank]
            torch.add(bias, recurrent, out=recurrent).mul_(alpha).add_(h[:, :rank], alpha=keep)
            following.copy_(recurrent)
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
        rank, n_latent = U.shape[1], latent.shape[2]
        Vt = V.t().contiguous()
        scale = 2.0 * float(grad)
        grad_h = error.new_zeros(n_steps, n_trials, rank)
        # rank first: these products are faster that way round
        grad_Ut, grad_Vt = U.new_zeros(n_latent, n_neurons), U.new_zeros(rank, n_neurons)
        grad_x = torch.empty_like(error[0])
        grad_y = torch.zeros_like(error[0]) if ctx.need_x0 else None
        z_bar = torch.empty_like(read[0])
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
        grad_B = grad_Ut[rank:].t() if n_latent > rank else None
        grads = (grad_Ut[:rank].t(), grad_Vt.t(), grad_core, grad_bias, grad_B, grad_y)
        return *(g if g is None else g.mul_(scale) for g in grads), *[None] * 6


def _like(data, workspace):
    """Two uninitialised arrays like `data`, taken from the workspace if they fit."""
    if workspace is None:
        return torch.empty_like(data), torch.empty_like(data)
    if workspace.get("shape") != data.shape:
        workspace.update(
            shape=data.shape, error=torch.empty_like(data), rates=torch.empty_like(data)
        )
    return workspace["error"], workspace["rates"]


def _plain_loss(weights, x0, data, alpha, forcing=0.0, mask=None, inputs=None):
    """The same loss for any connectivity, by autograd."""
    x, loss = x0, 0.0
    for t in range(len(data)):
        error = x - data[t]
        loss = loss + (error if mask is None else error * mask[t]).square().sum()
        if t < len(data) - 1:
            x = x - forcing * error
            u = None if inputs is None else inputs[t]
            x = (1 - alpha) * x + alpha * drive(weights, torch.tanh(x), u)
    return loss


def drive(weights, rates, inputs=None):
    """J_k rates + b_k of each trial, and B u with inputs u (trials, inputs)."""
    if inputs is not None:
        return drive(weights, rates) + inputs @ weights["B"].t()
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
def simulate(weights, x0, n_steps, alpha, inputs=None):
    """The free run, (time, trials, neurons)."""
    states = x0.new_empty(n_steps, *x0.shape)
    x = x0
    for t in range(n_steps):
        states[t] = x
        u = None if inputs is None else inputs[t]
        x = (1 - alpha) * x + alpha * drive(weights, tanh_(x.clone()), u)
    return states


def follow(weights, x0, trials, alpha, forcing):
    """State (trials, neurons) at the last sample of runs that are pulled to the data on the way.

    Samples of which no neuron was observed pull nothing.
    """
    x, pulls = x0, trials.pulls(forcing)
    for t, target in enumerate(trials.data):
        if t:
            u = None if trials.inputs is None else trials.inputs[t - 1]
            x = (1 - alpha) * x + alpha * drive(weights, tanh_(x.clone()), u)
        x = x + pulls[t] * (target - x)
    return x
