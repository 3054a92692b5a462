"""Closed-form start of the fit: bases, maps and embeddings by alternating least squares.

The data are put into the nonlinearity and filtered once, so that each trial becomes a small ridge
regression (docs/model.md, eq. 6): with r[t+1] = (1-a) r[t] + a tanh(x[t]), r[0] = 0, and s the
same filter of ones, x[t] - (1-a)^t x[0] = J r[t] + b s[t] is linear in J and b.
"""

from __future__ import annotations

import torch

from ._rollout import filter_inputs

__all__ = ["signal_rank", "warm_start"]

RIDGE = 1e-2  # relative to the mean diagonal of the Gram matrices
N_SWEEPS = 4


def warm_start(trials, x0, rank, n_components, alpha, rows=None):
    """Closed-form solution of the teacher-forced problem in the shared-basis model.

    Parameters
    ----------
    trials : Trials
    x0 : Tensor (trials, neurons)
    rank, n_components : int
    alpha : float
        dt / tau.
    rows : Tensor (trials,), int, optional
        Which embedding each trial uses; by default its own.

    Returns
    -------
    U, V : Tensor (neurons, rank)
        Orthogonal bases; their columns are scaled to bring what they carry closer together.
    maps : Tensor (n_components + 1, rank + 1, rank)
        Weights and bias (last row) as an affine function of the embedding.
    c : Tensor (embeddings, n_components)
        Zero mean, identity covariance.
    inputs : Tensor (neurons, inputs) or None
        Input weights.
    """
    data = trials.data
    steps = _Steps(trials, x0, alpha)
    inputs = None if trials.inputs is None else _input_weights(steps, rank)
    steps.input_weights = inputs
    U, V, balance = _bases(steps, rank)
    A, B = _moments(steps, U, V)
    if rows is not None:
        n = int(rows.max()) + 1
        A = A.new_zeros(n, *A.shape[1:]).index_add_(0, rows, A)
        B = B.new_zeros(n, *B.shape[1:]).index_add_(0, rows, B)
    ridge = RIDGE * float(A.diagonal(dim1=1, dim2=2).mean())
    ridge = max(ridge, torch.finfo(A.dtype).eps)

    eye = torch.eye(rank + 1, dtype=A.dtype, device=A.device)
    each = torch.linalg.solve(A + ridge * eye, B).flatten(1)
    u, _, _ = torch.linalg.svd(each - each.mean(0), full_matrices=False)
    c = u[:, :n_components] * len(u) ** 0.5
    for _ in range(N_SWEEPS):
        maps = _solve_maps(A, B, c, ridge)
        c = _solve_embeddings(A, B, maps, ridge)
        c, maps = _whiten(c, maps)
    # Adam moves every weight alike: let the weights of small and large directions be alike too
    left, right = balance
    maps = maps / left
    maps[:, :-1] *= right[:, None]
    return (
        (U * left).to(data.dtype).contiguous(),
        (V / right).to(data.dtype).contiguous(),
        maps.to(data.dtype),
        c.to(data.dtype),
        inputs,
    )


def signal_rank(data):
    """Number of principal components that stand out of the noise.

    The optimal hard threshold of Gavish & Donoho 2014 (IEEE Trans. Inf. Theory 60:5040) for an
    unknown noise level: singular values above omega(beta) times their median.
    """
    rows = (data - data.mean((0, 1))).flatten(0, 1)
    values = torch.linalg.eigvalsh((rows.t() @ rows).double()).clamp_min(0).sqrt()
    beta = min(rows.shape) / max(rows.shape)
    omega = 0.56 * beta**3 - 0.95 * beta**2 + 1.82 * beta + 1.43
    return int((values > omega * values.median()).sum())


class _Steps:
    """The regression of eq. 6 step by step: r[t], s[t] and the explained side, (trials, ...)."""

    def __init__(self, trials, x0, alpha):
        self.trials, self.x0, self.alpha = trials, x0, alpha
        self.input_weights = None
        if trials.inputs is not None:
            self.filtered = filter_inputs(trials.inputs, alpha)

    def __iter__(self):
        """Yield r[t], s[t] and x[t] - (1-a)^t x0 less what the inputs explain; 0 where unseen.

        A sample of which no neuron was observed counts for nothing.
        """
        alpha, mask = self.alpha, self.trials.mask
        r, s, rest = torch.zeros_like(self.x0), 0.0, self.x0.clone()
        for t, x in enumerate(self.trials.data):
            y = x - rest
            if self.input_weights is not None:
                y = torch.addmm(y, self.filtered[t], self.input_weights.t(), alpha=-1)
            seen = None if mask is None else mask[t].amax(1, keepdim=True)
            if seen is None:
                yield r, s * torch.ones_like(y[:, 0]), y
            else:
                yield r * seen, s * seen[:, 0], y * seen
            r = torch.lerp(r, torch.tanh(x), alpha)
            s += alpha * (1 - s)
            rest = rest * (1 - alpha)


def _input_weights(steps, rank):
    """Input weights of the best RNN common to all trials, (neurons, inputs).

    Regression of the explained side on [V'r, s, f] with f the filtered inputs.
    """
    _, V, _ = _bases(steps, rank)
    n_inputs, n = steps.filtered.shape[2], rank + 1 + steps.filtered.shape[2]
    gram = torch.zeros(n, n, dtype=torch.float64, device=V.device)
    side = torch.zeros(n, len(V), dtype=torch.float64, device=V.device)
    for t, (r, s, y) in enumerate(steps):
        seen = (s[:, None] > 0).to(y.dtype) if t else torch.zeros_like(s[:, None])
        z = torch.cat([r @ V, s[:, None], steps.filtered[t] * seen], 1).double()
        gram += z.t() @ z
        side += z.t() @ y.double()
    ridge = 1e-6 * gram.diagonal().mean() * torch.eye(n, dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve(gram + ridge, side)[-n_inputs:].t().to(V.dtype).contiguous()


def _bases(steps, rank):
    """Leading principal directions of the explained side (U) and of the filtered rates (V).

    Beside them the square roots of the relative sizes of what each column carries.
    """
    n, dtype = steps.x0.shape[1], steps.x0.dtype
    evoked = torch.zeros(n, n, dtype=torch.float64, device=steps.x0.device)
    filtered = torch.zeros_like(evoked)
    for r, _, y in steps:
        evoked += y.t() @ y
        filtered += r.t() @ r

    def leading(gram):
        values, vectors = torch.linalg.eigh(gram)
        size = values[-rank:].flip(-1).clamp_min(1e-8 * values[-1].clamp_min(1e-30)).sqrt()
        balance = (size / size.log().mean().exp()).sqrt()
        return vectors[:, -rank:].flip(-1).to(dtype).contiguous(), balance

    (U, left), (V, right) = leading(evoked), leading(filtered)
    return U, V, (left, right)


def _moments(steps, U, V):
    """Per-trial Gram matrices A_k = Z'Z and B_k = Z'Y, Z = [V'r, s], Y = U'(explained side)."""
    n_steps, n_trials, _ = steps.trials.data.shape
    rank = U.shape[1]
    Z = torch.zeros(n_trials, n_steps, rank + 1, dtype=torch.float64, device=U.device)
    Y = torch.zeros(n_trials, n_steps, rank, dtype=torch.float64, device=U.device)
    for t, (r, s, y) in enumerate(steps):
        Z[:, t, :-1], Z[:, t, -1] = r @ V, s
        Y[:, t] = y @ U
    return Z.transpose(1, 2) @ Z, Z.transpose(1, 2) @ Y


def _solve_embeddings(A, B, maps, ridge):
    """c_k given the maps: argmin |Y - Z maps(c)|^2 + ridge |c|^2, one small system a trial."""
    moved = torch.einsum("kij,djl->kdil", A, maps[1:])
    M = torch.einsum("eil,kdil->ked", maps[1:], moved)
    M += ridge * torch.eye(M.shape[-1], dtype=M.dtype, device=M.device)
    return torch.linalg.solve(M, torch.einsum("dil,kil->kd", maps[1:], B - A @ maps[0]))


def _solve_maps(A, B, c, ridge):
    """Maps given the embeddings: one system of size (n_components + 1)(rank + 1)."""
    c1 = torch.cat([torch.ones_like(c[:, :1]), c], 1)
    d1, z = c1.shape[1], A.shape[1]
    outer = (c1[:, :, None] * c1[:, None, :]).flatten(1)  # (k, d1 * d1)
    H = (outer.t() @ A.flatten(1)).reshape(d1, d1, z, z)
    H = H.permute(0, 2, 1, 3).reshape(d1 * z, d1 * z)
    H = H + ridge * torch.eye(d1 * z, dtype=H.dtype, device=H.device)
    rhs = torch.einsum("kd,kil->dil", c1, B).reshape(d1 * z, -1)
    return torch.linalg.solve(H, rhs).reshape(d1, z, -1)


def _whiten(c, maps):
    """Move mean and covariance of the embeddings into the maps: same RNNs, c ~ (0, I)."""
    mean = c.mean(0)
    u, sv, vt = torch.linalg.svd((c - mean) / len(c) ** 0.5, full_matrices=False)
    sv = sv.clamp_min(1e-12)
    shifted = maps[0] + torch.einsum("d,dil->il", mean, maps[1:])
    rotated = torch.einsum("ed,dil->eil", sv[:, None] * vt, maps[1:])
    return u * len(c) ** 0.5, torch.cat([shifted[None], rotated])
