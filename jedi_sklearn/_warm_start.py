"""Closed-form start of a fit, or of what extends one: bases, maps and embeddings.

They follow by alternating least squares, or in one pass if the rest of a model is given.

The data pass through the nonlinearity and a filter once, which makes each trial a small ridge
regression (docs/model.md, eq. 6): with r[t+1] = (1-a) r[t] + a tanh(x[t]), r[0] = 0, and s the
same filter of ones, x[t] - (1-a)^t x[0] = J r[t] + b s[t] is linear in J and b.
"""

from __future__ import annotations

import torch

from ._distributed import ALONE
from ._rollout import filter_inputs
from ._trials import MAX_WORK, blocks, sample_of

__all__ = ["start_of_extension", "warm_start"]

RIDGE = 1e-2  # relative to the mean diagonal of the Gram matrices
COMMON_RIDGE = 1e-5  # the same, for the RNN common to all trials with known inputs
COMMON_SHARE = 0.999  # share of what this RNN explains that its columns must explain
N_SWEEPS = 4
MANY_NEURONS = 1500  # beyond this, second moments of (neurons, neurons) are avoided
N_PASSES, OVERSAMPLING = 6, 10  # of the subspace iteration
TRACY_WIDOM_99 = 2.02  # 99 % quantile for real matrices


def warm_start(
    trials,
    q,
    initial,
    rank,
    n_components,
    alpha,
    embedding_index=None,
    processes=ALONE,
    drive=None,
):
    """Solve the problem with full teacher forcing in closed form, in the shared-basis model.

    Bases and maps come from all trials, or from a sample if there are very many. With
    `embedding_index`, maps always come from all trials.

    Parameters
    ----------
    trials : Trials, LazyTrials or DenoisedTrials
        Training trials.
    q : Tensor (trials, size)
        Free coordinates of the first states.
    initial : InitialState
        Initial state of the runs.
    rank, n_components : int
        Sizes of the model.
    alpha : float
        Time step of the RNN over tau.
    embedding_index : Tensor (trials,), int, optional
        Embedding that each trial uses. Default: one of its own.
    processes : Processes
        Processes that share the trials.
    drive : Tensor (neurons,), bool, optional
        Which neurons drive others; the rows of V of the rest are 0. Default: all.

    Returns
    -------
    U, V : Tensor (neurons, rank)
        Bases, orthogonal without inputs. Their columns are scaled to make the sizes of what they
        carry more equal.
    maps : Tensor (n_components + 1, rank + 1, rank)
        Weights and bias (last row) as an affine function of the embedding. If first states are
        generated, one more row holds their coordinates along U.
    c : Tensor (embeddings, n_components)
        Embeddings with zero mean and identity covariance, over the sample if there is one.
    B : Tensor (neurons, inputs) or None
        Input weights, if there are inputs.
    """
    sample = sample_of(trials)
    regression = _Regression(trials, q, initial, alpha, processes, drive)
    if trials.n_inputs:
        U, V, balance = _common_network(regression, sample, rank, n_components)
    else:
        U, V, balance = _bases(regression, sample, rank)
    if drive is not None:
        V = V * drive[:, None]  # removes rounding errors
    if embedding_index is None:
        A, B = _moments_of_trials(regression, sample, U, V)
    else:
        A, B = _moments_of_conditions(regression, embedding_index, U, V)
    ridge = RIDGE * float(A.diagonal(dim1=1, dim2=2).mean())
    ridge = max(ridge, torch.finfo(A.dtype).eps)

    eye = torch.eye(A.shape[1], dtype=A.dtype, device=A.device)
    each = torch.linalg.solve(A + ridge * eye, B).flatten(1)
    u, _, _ = torch.linalg.svd(each - each.mean(0), full_matrices=False)
    c = u[:, :n_components] * len(u) ** 0.5
    for _ in range(N_SWEEPS):
        maps = _solve_maps(A, B, c, ridge)
        c = _solve_embeddings(A, B, maps, ridge)
        c, maps = _whiten(c, maps)
    if embedding_index is None and len(sample) < len(trials):
        c = _embeddings_of_trials(regression, U, V, maps, ridge)
    # training moves weights alike, so those of small and large directions should be alike
    left, right = balance
    maps = maps / left
    maps[:, :rank] *= right[:, None]
    return (
        (U * left).to(trials.dtype).contiguous(),
        (V / right).to(trials.dtype).contiguous(),
        maps.to(trials.dtype),
        c.to(trials.dtype),
        regression.input_weights,
    )


@torch.no_grad()
def start_of_extension(trials, clean, hypernetwork, initial, c, alpha, noise, correlated, n_new):
    """Solve the same problem for what a few trials add to a model, with its embeddings given.

    The new columns are directions in which the explained side of eq. 6 leaves the span of U by
    more than noise does, and as many directions of filtered rates outside the span of V. Maps of
    the new components explain what the model leaves (docs/model.md, eq. 22).

    Parameters
    ----------
    trials : Trials
        Trials, float64.
    clean : Trials or DenoisedTrials
        These trials, denoised.
    hypernetwork : Hypernetwork
        Frozen hypernetwork with shared bases.
    initial : InitialState
        Initial state of the runs, generated.
    c : Tensor (trials, n_components)
        Embeddings of the trials under the model.
    alpha : float
        Time step of the RNN over tau.
    noise : Tensor (neurons,)
        Variance of the guide about the state.
    correlated : float
        Number of consecutive samples per independent error of the guide.
    n_new : int
        Largest number of new components, at most that of trials.

    Returns
    -------
    U, V : Tensor (neurons, n_columns)
        New columns; there may be none.
    maps : Tensor (new components, rank + 2, rank)
        Maps of the new components, with the new rank.
    e : Tensor (trials, new components)
        New components: the first is 1, the others have the mean square 1.
    """
    known = hypernetwork.connectivity
    drive = None if known.drive_others.all() else known.drive_others
    q = c.new_zeros(len(c), 0)
    regression = _Regression(clean, q, initial, alpha, ALONE, drive)
    if trials.n_inputs:
        regression.input_weights = hypernetwork.B
    rates, side = (torch.cat(rows) for rows in zip(*_rows(regression), strict=True))
    # no neuron counts as less noisy than all are on average
    sd = noise.clamp_min(float(noise.mean())).sqrt()
    rest = _outside(side, known.U) / sd
    _, size, axes = torch.linalg.svd(rest, full_matrices=False)
    n_seen = int((side != 0).any(1).sum())
    largest = correlated * largest_of_noise(n_seen / correlated, len(sd))
    n = min(int((size.square() > largest).sum()), len(sd) - known.rank)
    n_new = min(n_new, 1 + _n_varied(trials, sd, correlated))
    U = torch.linalg.qr(_outside((axes[:n] * sd), known.U).t())[0]
    V = torch.linalg.svd(_outside(rates, known.V), full_matrices=False)[2][:n].t()
    U, V = (a * b.norm(dim=0).log().mean().exp() for a, b in ((U, known.U), (V, known.V)))
    nothing = c.new_zeros(0, known.rank + n + 2, known.rank + n)
    wide = hypernetwork.extended(U, V, nothing)[0].connectivity
    project, own = torch.linalg.pinv(wide.U).t().contiguous(), wide.V
    A, B = _gathered(regression, [_moments(steps, project, own) for _, steps in regression()])
    ridge = RIDGE * A.diagonal(dim1=1, dim2=2).mean() * torch.eye(A.shape[1], dtype=A.dtype)
    maps = torch.cat([wide.maps, wide.start.unsqueeze(1)], 1)
    B = B - A @ torch.einsum("kf,fij->kij", hypernetwork.features(c), maps)
    common = torch.linalg.solve(A.sum(0) + ridge, B.sum(0))
    each = torch.linalg.solve(A + ridge, B - A @ common)
    left, spread, right = torch.linalg.svd(each.flatten(1), full_matrices=False)
    unit = len(c) ** 0.5
    e = torch.cat([torch.ones_like(left[:, :1]), left[:, : n_new - 1] * unit], 1)
    others = (spread[:, None] / unit * right)[: n_new - 1].unflatten(1, common.shape)
    return U, V, torch.cat([common[None], others]), e


def _n_varied(trials, sd, correlated):
    """Count the principal components of whole trials that noise does not explain."""
    rows = (trials.samples().guide / sd).transpose(0, 1).flatten(1)
    if len(rows) < 2:
        return 0
    size = torch.linalg.svdvals(rows - rows.mean(0)).square()
    n, p = len(rows) - 1, rows.shape[1] / correlated
    return int((size > correlated * largest_of_noise(n, p)).sum())


def largest_of_noise(n_rows, n_columns):
    """Compute the largest squared singular value that noise of variance 1 has in 99 % of cases.

    This is the law of Tracy and Widom (Johnstone 2001, Ann. Stat. 29:295-327).
    """
    n, p = n_rows**0.5, n_columns**0.5
    return (n + p) ** 2 + TRACY_WIDOM_99 * (n + p) * (1 / n + 1 / p) ** (1 / 3)


def _rows(regression):
    """Yield filtered rates and explained side of each sample, (trials, neurons)."""
    for _, steps in regression():
        for r, _, y in steps:
            yield r, y


def _outside(rows, basis):
    """Compute what of rows (rows, neurons) lies outside the span of a basis."""
    Q = torch.linalg.qr(basis)[0]
    return rows - rows @ Q @ Q.t()


class _Regression:
    """Regression of eq. 6 over many trials, a few at a time."""

    def __init__(self, trials, q, initial, alpha, processes, drive=None):
        self.trials, self.q, self.initial, self.alpha = trials, q, initial, alpha
        self.processes = processes
        self.input_weights, self.drive = None, drive

    def __call__(self, index=None):
        """Yield indices and `_Steps` of this process's share of the trials."""
        for i in self.processes.share(blocks(self.trials, index)):
            some = self.trials[i]
            x0 = self.initial(self.q[i], some.guide[0])
            how = (self.input_weights, self.initial.generated, self.drive)
            yield i, _Steps(some, x0, self.alpha, *how)

    def zeros(self, *shape):
        return torch.zeros(*shape, dtype=torch.float64, device=self.trials.device)


class _Steps:
    """Regression of eq. 6 step by step: r[t], s[t] and the explained side, (trials, ...).

    With `generated` first states, their decay is explained as well, except that of x0, their
    mean. If `drive` says which neurons drive others, r of the rest is 0.
    """

    def __init__(self, trials, x0, alpha, input_weights=None, generated=False, drive=None):
        self.generated, self.drive = generated, drive
        self.trials, self.x0, self.alpha = trials, x0, alpha
        self.input_weights = input_weights
        self.filtered = filter_inputs(trials.inputs, alpha)

    def __iter__(self):
        """Yield r[t], s[t] and x[t] - (1-a)^t x0, without what the inputs explain.

        All are 0 for a sample in which no neuron was observed, so that it does not count.
        """
        alpha, weight = self.alpha, self.trials.weight
        r, s, rest = torch.zeros_like(self.x0), 0.0, self.x0.clone()
        for t, x in enumerate(self.trials.guide):
            y = x - rest
            if self.input_weights is not None:
                y = torch.addmm(y, self.filtered[t], self.input_weights.t(), alpha=-1)
            seen = None if weight is None else weight[t].amax(1, keepdim=True)
            if seen is None:
                yield r, s * torch.ones_like(y[:, 0]), y
            else:
                yield r * seen, s * seen[:, 0], y * seen
            r = torch.lerp(r, self._rates(x), alpha)
            s += alpha * (1 - s)
            rest = rest * (1 - alpha)

    def _rates(self, x):
        rates = torch.tanh(x)
        return rates if self.drive is None else rates * self.drive


def _common_network(regression, sample, rank, n_components):
    """Compute bases and balance like `_bases` from an RNN common to all trials; set input weights.

    This is reduced-rank regression of the explained side on [r, s, f], with f the filtered
    inputs. To distinguish inputs, J must read from directions of r with little variance, which
    the leading principal directions leave out. Columns that the common RNN does not need, up to
    the number of components, are those of `_bases`, for use by the embeddings.
    """
    n, n_inputs = regression.trials.shape[2], regression.trials.n_inputs
    gram = regression.zeros(n + 1 + n_inputs, n + 1 + n_inputs)
    side = regression.zeros(n + 1 + n_inputs, n)
    for _, steps in regression(sample):
        for t, (r, s, y) in enumerate(steps):
            seen = (s[:, None] > 0).to(y.dtype) if t else torch.zeros_like(s[:, None])
            z = torch.cat([r, s[:, None], steps.filtered[t] * seen], 1).double()
            gram += z.t() @ z
            side += z.t() @ y.double()
    regression.processes.sum_(gram, side)
    ridge = 1e-9 * gram.diagonal()
    ridge[:n] = COMMON_RIDGE * gram.diagonal()[:n].mean()
    gram += torch.diag(ridge.clamp_min(torch.finfo(torch.float32).tiny))
    weights = torch.linalg.solve(gram, side)
    # the metric of r given what s and f explain
    given = gram[:n, :n] - gram[:n, n:] @ torch.linalg.solve(gram[n:, n:], gram[n:, :n])
    chol = torch.linalg.cholesky(given)
    U, size, read = torch.linalg.svd(weights[:n].t() @ chol, full_matrices=False)
    explained = size.square().cumsum(0)
    needed = 1 + int((explained < COMMON_SHARE * explained[-1]).sum())
    common = min(rank, max(needed, rank - n_components))
    U, size = U[:, :common], size[:common].clamp_min(1e-30)
    V = torch.linalg.solve(chol.t(), read[:common].t())
    rest = side[n:] - gram[n:, :n] @ (V * size) @ U.t()
    B = torch.linalg.solve(gram[n:, n:], rest)[1:].t()
    strength = size * V.norm(dim=0)
    strength = torch.cat([strength, strength[-1:].expand(rank - common)])
    dtype = regression.trials.dtype
    regression.input_weights = B.to(dtype).contiguous()
    U, V = map(_fill, (U, V), _bases(regression, sample, rank)[:2])
    # make V' r as large as s, so that the ridge treats all of them alike
    V = V * (gram[n, n] / ((gram[:n, :n] @ V) * V).sum(0)).sqrt()
    left = (strength / strength.log().mean().exp()).sqrt()
    balance = left, V.norm(dim=0) / left
    return U.to(dtype).contiguous(), V.to(dtype).contiguous(), balance


def _fill(some, basis):
    """Complete columns with orthonormal ones, made from the leading columns of a basis."""
    both = torch.linalg.qr(torch.cat([some, basis.to(some.dtype)], 1))[0]
    return torch.cat([some, both[:, some.shape[1] : basis.shape[1]]], 1)


def _bases(regression, sample, rank):
    """Compute leading principal directions of the explained side (U) and filtered rates (V).

    Also return the square roots of the relative sizes of what each column carries.
    """
    n, dtype = regression.trials.shape[2], regression.trials.dtype
    if n <= MANY_NEURONS:
        found = [torch.linalg.eigh(gram) for gram in _second_moments(regression, sample)]
    else:
        found = _subspaces(regression, sample, rank)
    directions, balances = [], []
    for values, vectors in found:
        size = values[-rank:].flip(-1).clamp_min(1e-8 * values[-1].clamp_min(1e-30)).sqrt()
        balances.append((size / size.log().mean().exp()).sqrt())
        directions.append(vectors[:, -rank:].flip(-1).to(dtype).contiguous())
    return *directions, balances


def _second_moments(regression, sample, bases=(None, None)):
    """Compute second moments of the explained side and filtered rates, or each times a basis.

    Rates of neurons that drive no others are 0, and are left out of the products.
    """
    n, drive = regression.trials.shape[2], regression.drive
    driving = slice(None) if drive is None else drive.nonzero()[:, 0]
    bases = bases[0], None if bases[1] is None else bases[1][driving]
    sizes = n, n if drive is None else len(driving)
    totals = [
        regression.zeros(size, size if basis is None else basis.shape[1])
        for size, basis in zip(sizes, bases, strict=True)
    ]
    for _, steps in regression(sample):
        for r, _, y in steps:
            for total, rows, basis in zip(totals, (y, r[:, driving]), bases, strict=True):
                total += rows.t() @ (rows if basis is None else rows @ basis)
    regression.processes.sum_(*totals)
    if drive is not None:
        whole = regression.zeros(n, totals[1].shape[1]).index_copy_(0, driving, totals[1])
        if bases[1] is None:
            whole = regression.zeros(n, n).index_copy_(1, driving, whole)
        totals[1] = whole
    return totals


def _subspaces(regression, sample, rank):
    """Compute leading eigenvalues and eigenvectors of both second moments without the matrices.

    This uses subspace iteration from random directions (Halko, Martinsson and Tropp 2011).
    """
    n, dtype = regression.trials.shape[2], regression.trials.dtype
    generator, size = torch.Generator().manual_seed(0), (n, rank + OVERSAMPLING)
    start = torch.randn(*size, generator=generator, dtype=torch.float32)
    bases = [torch.linalg.qr(start.to(regression.trials.device, torch.float64))[0]] * 2
    for _ in range(N_PASSES):
        bases = [torch.linalg.qr(b)[0].to(dtype) for b in bases]
        previous, bases = bases, _second_moments(regression, sample, bases)
    found = []
    for basis, product in zip(previous, bases, strict=True):
        small = basis.double().t() @ product
        values, vectors = torch.linalg.eigh((small + small.t()) / 2)
        found.append((values, basis.double() @ vectors))
    return found


def _moments(steps, U, V):
    """Compute Gram matrices A_k = Z'Z and B_k = Z'Y of each trial.

    Z = [V'r, s] and Y = U'(explained side). If first states are explained, Z has one more column,
    (1-a)^t.
    """
    n_steps, n_trials, _ = steps.trials.shape
    rank, weight = U.shape[1], steps.trials.weight
    n = rank + 1 + steps.generated
    Z = torch.zeros(n_trials, n_steps, n, dtype=torch.float64, device=U.device)
    Y = torch.zeros(n_trials, n_steps, rank, dtype=torch.float64, device=U.device)
    for t, (r, s, y) in enumerate(steps):
        Z[:, t, :rank], Z[:, t, rank] = r @ V, s
        if steps.generated:
            seen = 1.0 if weight is None else weight[t].amax(1)
            Z[:, t, -1] = (1 - steps.alpha) ** t * seen
        Y[:, t] = y @ U
    return Z.transpose(1, 2) @ Z, Z.transpose(1, 2) @ Y


def _moments_of_trials(regression, sample, U, V):
    """Compute A and B of the trials of the sample, in its order."""
    moments = [_moments(steps, U, V) for _, steps in regression(sample)]
    return _gathered(regression, moments)


def _moments_of_conditions(regression, embedding_index, U, V):
    """Compute A and B of each embedding: sums over the trials that share it."""
    n, rank = int(embedding_index.max()) + 1, U.shape[1]
    z = rank + 1 + regression.initial.generated
    A, B = regression.zeros(n, z, z), regression.zeros(n, z, rank)
    for i, steps in regression():
        for total, part in zip((A, B), _moments(steps, U, V), strict=True):
            total.index_add_(0, embedding_index[i], part)
    regression.processes.sum_(A, B)
    return A, B


def _embeddings_of_trials(regression, U, V, maps, ridge):
    """Compute the embeddings of all trials given the maps."""
    found = [[_solve_embeddings(*_moments(steps, U, V), maps, ridge)] for _, steps in regression()]
    return _gathered(regression, found)[0]


def _gathered(regression, parts):
    """Concatenate tensors over parts of trials and processes."""
    parts = regression.processes.gather([[a.cpu() for a in each] for each in parts])
    return [torch.cat(each).to(regression.trials.device) for each in zip(*parts, strict=True)]


def _solve_embeddings(A, B, maps, ridge):
    """Solve for c_k given the maps: argmin |Y - Z maps(c)|^2 + ridge |c|^2 for each trial."""
    c, eye = [], ridge * torch.eye(len(maps) - 1, dtype=A.dtype, device=A.device)
    for some, side in zip(A.split(MAX_WORK), B.split(MAX_WORK), strict=True):
        moved = torch.einsum("kij,djl->kdil", some, maps[1:])
        M = torch.einsum("eil,kdil->ked", maps[1:], moved) + eye
        right = torch.einsum("dil,kil->kd", maps[1:], side - some @ maps[0])
        c.append(torch.linalg.solve(M, right))
    return torch.cat(c)


def _solve_maps(A, B, c, ridge):
    """Solve for maps given the embeddings: a system of size (n_components + 1)(rank + 1)."""
    c1 = torch.cat([torch.ones_like(c[:, :1]), c], 1)
    d1, z = c1.shape[1], A.shape[1]
    outer = (c1[:, :, None] * c1[:, None, :]).flatten(1)  # (k, d1 * d1)
    H = (outer.t() @ A.flatten(1)).reshape(d1, d1, z, z)
    H = H.permute(0, 2, 1, 3).reshape(d1 * z, d1 * z)
    H = H + ridge * torch.eye(d1 * z, dtype=H.dtype, device=H.device)
    rhs = torch.einsum("kd,kil->dil", c1, B).reshape(d1 * z, -1)
    return torch.linalg.solve(H, rhs).reshape(d1, z, -1)


def _whiten(c, maps):
    """Move mean and covariance of the embeddings to the maps: the same RNNs, and c ~ (0, I)."""
    mean = c.mean(0)
    u, sv, vt = torch.linalg.svd((c - mean) / len(c) ** 0.5, full_matrices=False)
    sv = sv.clamp_min(1e-12)
    shifted = maps[0] + torch.einsum("d,dil->il", mean, maps[1:])
    rotated = torch.einsum("ed,dil->eil", sv[:, None] * vt, maps[1:])
    return u * len(c) ** 0.5, torch.cat([shifted[None], rotated])
