"""Simulation of free runs and of runs with teacher forcing, with gradients: the hot loop.

With shared connectivity, the state splits into a part that only the initial state (and, under
teacher forcing, the guide) drives, and a part in the span of U (docs/model.md, eq. 5):

    x[t] = y[t] + U h[t],      y[0] = x0, h[0] = 0
    x~[t] = (1-g) x[t] + g guide[t]      (teacher forcing g; 0 where a trial was not recorded)
    y[t+1] = (1-a) ((1-g) y[t] + g guide[t])
    h[t+1] = (1-a) (1-g) h[t] + a (G_k V' tanh(x~[t]) + b_k)

Known inputs u reach the state through a filter f: x[t] gains B f[t], with f[0] = 0 and
f[t+1] = (1-a) (1-g) f[t] + a u[t]. Arrays hold f beside h, and B beside U, so that a step costs
two products with (neurons, rank) matrices. Time is the first axis of every array, so that each
step uses one contiguous (trials, neurons) block.
"""

from __future__ import annotations

import torch

__all__ = [
    "add_matvec_",
    "drive",
    "filter_inputs",
    "follow",
    "matvec",
    "plain_loss",
    "read_out_loss",
    "simulate",
    "split_loss",
    "split_run",
    "tanh_",
]


# without AVX512 torch computes tanh almost number by number
VECTOR_TANH = torch.backends.cpu.get_cpu_capability() == "AVX512"


def tanh_(x):
    """Compute tanh in place, as 2 sigmoid(2x) - 1 where that is about four times faster."""
    if VECTOR_TANH or x.device.type != "cpu":
        return x.tanh_()
    return x.mul_(2).sigmoid_().mul_(2).sub_(1)


def matvec(matrices, transposed, vectors, out=None):
    """Compute matrices[k] @ vectors[k]; `transposed` is the contiguous transpose of `matrices`.

    From rank 20 on, batched products of MKL are several times slower with columns than with rows;
    below, the opposite holds.
    """
    if vectors.shape[1] < 20:
        column = None if out is None else out.unsqueeze(-1)
        return torch.bmm(matrices, vectors.unsqueeze(-1), out=column).squeeze(-1)
    row = None if out is None else out.unsqueeze(1)
    return torch.bmm(vectors.unsqueeze(1), transposed, out=row).squeeze(1)


def add_matvec_(out, matrices, transposed, vectors):
    """Add matrices[k] @ vectors[k] to out[k], like `matvec`."""
    if vectors.shape[1] < 20:
        out.unsqueeze(-1).baddbmm_(matrices, vectors.unsqueeze(-1))
    elif out.is_contiguous():
        out.unsqueeze(1).baddbmm_(vectors.unsqueeze(1), transposed)
    else:  # into which torch would add matrix by matrix
        out.add_(matvec(matrices, transposed, vectors))
    return out


def filter_inputs(inputs, alpha, pulls=None):
    """Filter inputs (time, trials, inputs) as the leak does: f in the module docstring.

    `pulls` are those of `Trials.pulls_of_training`. Default: no teacher forcing.
    """
    filtered = torch.zeros_like(inputs)
    for t in range(len(inputs) - 1 if inputs.shape[2] else 0):
        g = 0.0 if pulls is None else pulls[t]
        filtered[t + 1] = (1 - alpha) * (1 - g) * filtered[t] + alpha * inputs[t]
    return filtered


def split_loss(weights, x0, trials, alpha, teacher_forcing, observation, workspace=None):
    """Compute the deviance of the run with shared bases and teacher forcing; gradients by hand.

    Parameters
    ----------
    weights : dict of Tensor
        ``U``, ``V`` (neurons, rank), ``core`` (trials, rank, rank), ``bias`` (trials, rank) and
        ``B`` (neurons, inputs).
    x0 : Tensor (trials, neurons)
        First states.
    trials : Trials
        Trials to score.
    alpha : float
        Time step of the RNN over tau.
    teacher_forcing : float or Tensor (time, trials, 1)
        Share g of the guide mixed into the state before each step, for all steps or for each.
    observation : Observation
        Observation model.
    workspace : dict, optional
        Reuses the memory of two arrays of the size of the guide, which the backward pass needs,
        in later calls. The backward pass must end before the next call begins.

    Returns
    -------
    Tensor, a scalar
    """
    pulls = trials.pulls_of_training(teacher_forcing)
    return split_run(weights, x0, trials, alpha, pulls, observation, workspace)[0]


def split_run(weights, x0, trials, alpha, pulls, observation, workspace=None):
    """Compute the loss of `split_loss`, and h beside f, (time, trials, rank + inputs).

    `pulls` are those of `Trials.pulls_of_training`.
    """
    w = (weights[name] for name in ("U", "V", "core", "bias", "B"))
    rest = (trials, alpha, pulls, observation, workspace)
    return _SplitRollout.apply(*w, x0, *rest, *observation.trained)


def read_out_loss(weights, x0, latent, trials, alpha, pulls, observation):
    """Compute the deviance of neurons that drive no others, in a run of those that do.

    Parameters
    ----------
    weights : dict of Tensor
        ``U`` (neurons, rank) and ``B`` (neurons, inputs) of the neurons that are read out.
    x0 : Tensor (trials, neurons)
        Their first states.
    latent : Tensor (time, trials, rank + inputs)
        What `split_run` returned for these trials.
    trials, alpha, pulls, observation
        As for `split_run`, with the neurons that are read out.

    Returns
    -------
    Tensor, a scalar
    """
    decay, outside = _outside(trials.guide, alpha, pulls)
    every = trials.every
    x = latent[::every] @ torch.cat([weights["U"], weights["B"]], 1).t()
    x = x + decay[::every] * x0
    if outside is not None:
        x = x + outside[::every]
    seen = trials.samples()
    weight = None if seen.weight is None else seen.weight.flatten(0, 1)
    rest = (seen.y.flatten(0, 1), weight, observation)
    return _Deviance.apply(x.flatten(0, 1), *rest, *observation.trained)


def _outside(guide, alpha, pulls):
    """Compute what a unit of x0, and the guide, contribute to y at each step.

    The shapes are (time, trials or 1, 1) and those of the guide; without teacher forcing the
    guide contributes nothing, None.
    """
    decay = guide.new_ones(
        len(guide), *next((g.shape for g in pulls if torch.is_tensor(g)), (1, 1))
    )
    forced = any(torch.is_tensor(g) or g > 0 for g in pulls)
    outside = torch.zeros_like(guide) if forced else None
    for t, g in enumerate(pulls[:-1]):
        torch.mul(decay[t], (1 - alpha) * (1 - g), out=decay[t + 1])
        if forced:
            torch.mul(outside[t].lerp(guide[t], g), 1 - alpha, out=outside[t + 1])
    return decay, outside


class _Deviance(torch.autograd.Function):
    """Deviance of states (values, neurons), with the derivatives of the observation model."""

    @staticmethod
    def forward(ctx, x, y, weight, observation, *parameters):
        error = torch.empty_like(x)
        observation.begin()
        deviance = observation.step(x, y, weight, error).double()
        ctx.error, ctx.own = error, observation.gradients()
        return deviance

    @staticmethod
    def backward(ctx, grad):
        scale = 2.0 * grad
        return scale * ctx.error, None, None, None, *(scale * g for g in ctx.own)


class _SplitRollout(torch.autograd.Function):
    """Loss of the run with shared bases, with a backward pass written by hand.

    The second output is the latent part of the run, from which other neurons may be read out.
    """

    @staticmethod
    def forward(
        ctx,
        U,
        V,
        core,
        bias,
        B,
        x0,
        trials,
        alpha,
        pulls,
        observation,
        workspace,
        *parameters,
    ):
        guide = trials.guide
        n_steps, n_trials, n_neurons = guide.shape
        rank, drift, core = U.shape[1], alpha * bias, alpha * core
        coreT = core.transpose(1, 2).contiguous()
        Ut = torch.cat([U, B], 1).t().contiguous()  # rows of U, then of B
        error, rates = _like(guide, workspace)
        latent = guide.new_zeros(n_steps, n_trials, len(Ut))  # h, then f
        latent[..., rank:] = filter_inputs(trials.inputs, alpha, pulls)
        read = guide.new_empty(n_steps, n_trials, rank)  # z = V' phi
        forced = any(torch.is_tensor(g) or g > 0 for g in pulls)
        y, decay = x0.clone() if forced else x0, 1.0
        deviance = guide.new_empty(n_steps)
        observation.begin()
        steps = (trials.y, guide, error, rates, latent, read)
        steps = zip(*(a.unbind(0) for a in steps), strict=True)  # views, made only once
        for t, (seen, target, e, phi, h, z) in enumerate(steps):
            torch.addmm(y, h, Ut, beta=decay, out=phi)  # x, (trials, neurons)
            deviance[t] = observation.step(phi, seen, trials.weight_at(t), e)
            if t == n_steps - 1:
                break
            g = pulls[t]
            if forced:
                phi.lerp_(target, g)
                y.lerp_(target, g).mul_(1 - alpha)
            else:
                decay *= 1 - alpha  # of y, which is x0 itself in a free run
            tanh_(phi)
            torch.mm(phi, V, out=z)
            following = latent[t + 1, :, :rank].copy_(drift)
            _add_scaled_(following, h[:, :rank], (1 - alpha) * (1 - g))
            add_matvec_(following, core, coreT, z)
        loss = deviance.sum(dtype=torch.float64)
        ctx.alpha, ctx.pulls = alpha, pulls
        ctx.buffers = (U, V, core, coreT, error, rates, read)
        ctx.save_for_backward(latent)  # an output kept otherwise would never be freed
        ctx.set_materialize_grads(False)
        ctx.own = observation.gradients()
        ctx.need_x0 = x0.requires_grad
        return loss, latent

    @staticmethod
    def backward(ctx, grad, grad_latent):
        U, V, core, coreT, error, rates, read = ctx.buffers
        (latent,) = ctx.saved_tensors
        ctx.buffers = None
        alpha, pulls = ctx.alpha, ctx.pulls
        n_steps, n_trials, n_neurons = error.shape
        rank, n_latent = U.shape[1], latent.shape[2]
        Vt = V.t().contiguous()
        scale = 2.0 * grad
        if grad_latent is None:
            grad_h = error.new_zeros(n_steps, n_trials, rank)
        else:
            grad_h = grad_latent[..., :rank] / scale.to(error.dtype)
        # rank first, because these products are faster in this order
        grad_Ut, grad_Vt = U.new_zeros(n_latent, n_neurons), U.new_zeros(rank, n_neurons)
        grad_x = torch.empty_like(error[0])
        grad_y = torch.zeros_like(error[0]) if ctx.need_x0 else None
        z_bar, later = torch.empty_like(read[0]), None  # later: grad_h of the next step
        steps = zip(*(a.unbind(0)[::-1] for a in (error, rates, latent, grad_h)), strict=True)
        for t, (e, phi, h, h_bar) in zip(range(n_steps - 1, -1, -1), steps, strict=True):
            g = pulls[t]
            keep = (1 - alpha) * (1 - g)
            if later is not None:
                matvec(coreT, core, later, out=z_bar)
                grad_Vt.addmm_(z_bar.t(), phi)
                torch.mm(z_bar, Vt, out=grad_x)
                torch.ops.aten.tanh_backward.grad_input(grad_x, phi, grad_input=grad_x)
                _add_scaled_(e, grad_x, 1 - g)
                _add_scaled_(h_bar, later, keep)
            h_bar.addmm_(e, U)
            grad_Ut.addmm_(h.t(), e)
            if grad_y is not None:
                grad_y.mul_(keep).add_(e)
            later = h_bar
        # (trials, rank, time) @ (trials, time, rank)
        incoming = grad_h[1:].permute(1, 2, 0)
        grad_core = torch.bmm(incoming, read[:-1].transpose(0, 1)).mul_(alpha)
        grad_bias = incoming.sum(-1).mul_(alpha)
        # the pass uses half the derivative of the deviance and is linear, so 2 comes last
        grads = (grad_Ut[:rank].t(), grad_Vt.t(), grad_core, grad_bias, grad_Ut[rank:].t(), grad_y)
        grads = [g if g is None else g.mul_(scale) for g in grads]
        return *grads, *[None] * 5, *(scale * g for g in ctx.own)


def _add_scaled_(out, values, factor):
    """Add factor * values to out; the factor is a number, or one per trial (trials, 1)."""
    if torch.is_tensor(factor):
        return out.addcmul_(values, factor)
    return out.add_(values, alpha=factor)


def _like(guide, workspace):
    """Make two uninitialised arrays like `guide`, in the memory of the workspace if given."""
    if workspace is None:
        return torch.empty_like(guide), torch.empty_like(guide)
    n = guide.numel()
    if "memory" not in workspace or workspace["memory"].shape[1] < n:
        workspace["memory"] = guide.new_empty(2, n)
    return tuple(row[:n].view(guide.shape) for row in workspace["memory"])


def plain_loss(connectivity, weights, x0, trials, alpha, teacher_forcing, observation):
    """Compute the same loss for any connectivity, by automatic differentiation."""
    x, loss, pulls = x0, 0.0, trials.pulls_of_training(teacher_forcing)
    for t in range(trials.n_steps):
        loss = loss + observation.deviance(x, trials.y[t], trials.weight_at(t))
        if t < trials.n_steps - 1:
            x = x - pulls[t] * (x - trials.guide[t])
            rates = torch.tanh(x)
            x = (1 - alpha) * x + alpha * drive(connectivity, weights, rates, trials.inputs[t])
    return loss


def drive(connectivity, weights, rates, inputs):
    """Compute J_k rates + b_k + B u of each trial, (trials, neurons), for u (trials, inputs)."""
    recurrent = connectivity.drive(weights, rates)
    return recurrent + inputs @ weights["B"].t() if inputs.shape[1] else recurrent


@torch.no_grad()
def simulate(connectivity, weights, x0, n_steps, alpha, inputs=None):
    """Simulate free runs, (time, trials, neurons), with inputs (time, trials, inputs) if any."""
    if inputs is None:
        inputs = x0.new_zeros(n_steps, len(x0), 0)
    states = x0.new_empty(n_steps, *x0.shape)
    x = x0
    for t in range(n_steps):
        states[t] = x
        rates = tanh_(x.clone())
        x = (1 - alpha) * x + alpha * drive(connectivity, weights, rates, inputs[t])
    return states


def follow(connectivity, weights, x0, trials, alpha, teacher_forcing):
    """Compute states (trials, neurons) at the last sample of runs with teacher forcing.

    Samples in which no neuron was observed do not pull the state.
    """
    x, pulls = x0, trials.pulls(teacher_forcing)
    for t, target in enumerate(trials.guide):
        if t:
            rates = tanh_(x.clone())
            before = trials.inputs[t - 1]
            x = (1 - alpha) * x + alpha * drive(connectivity, weights, rates, before)
        x = x + pulls[t] * (target - x)
    return x
