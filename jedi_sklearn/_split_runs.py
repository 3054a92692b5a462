"""Runs with shared bases, in coordinates of the space in which the weights move the state.

Let Q be an orthonormal basis of the span of U and of the directions of the initial state. Then

    x[t] = outside[t] + Q z[t],
    x~[t] = driven[t] + Q z~[t],      z~[t] = left[t] z[t]
    z[t+1] = (1-a) z~[t] + a (G_k V' tanh(x~[t]) + b_k)          (G_k, b_k in coordinates)

where outside and driven depend on the trial alone (mean of the first states, inputs, guide under
teacher forcing), and only the coordinates z (problems, time, b) depend on the parameters. Arrays
over neurons are needed only for tanh, two products per step, and the terms of the observation.

`lift` treats z as unknown as well. It linearises all steps at once about any coordinates, which
need not be those of a run (docs/model.md, Embeddings of given trials). It starts at the data, and
states that are pulled towards the data cannot explode.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

from ._linearised import DenseRuns
from ._rollout import add_matvec_, matvec, tanh_

__all__ = ["SplitRuns"]


class SplitRuns(DenseRuns):
    """Runs in the span of U and of the directions of the initial state."""

    lifts = True

    def __init__(self, hypernetwork, initial_state, observation, alpha):
        super().__init__(hypernetwork, initial_state, observation, alpha)
        U, self.V = self.connectivity.U.detach(), self.connectivity.V.detach()
        self.Q, mix = torch.linalg.qr(torch.cat([U, initial_state.directions], 1))
        # of neurons that drive others; the rest is only compared with observed values
        self.drive, self.driving_Q = self.connectivity.drive_others, self.Q
        if self.drive is not None and self.drive.all():
            self.drive = None
        if self.drive is not None:
            self.V, self.driving_Q = self.V[self.drive], self.Q[self.drive]
        self.Qt, self.Vt = self.Q.t().contiguous(), self.V.t().contiguous()
        self.driving_Qt = self.driving_Q.t().contiguous()
        self.of_U, self.of_q = mix[:, : U.shape[1]], mix[:, U.shape[1] :]
        self._space = {}  # arrays to reuse, because allocating memory is slow
        self._casts = {}
        # products of entries of each neuron; Jacobians are their sums weighted by slopes
        self.read_pairs = (self.driving_Q[:, :, None] * self.V[:, None, :]).flatten(1)
        self.pairs = (self.Q[:, :, None] * self.Q[:, None, :]).flatten(1)
        self.driving_pairs = self.pairs if self.drive is None else self.pairs[self.drive]

    def chunk(self, target):
        """Compute how many problems to process together."""
        n_steps, _, n_neurons = target.shape
        b, rank = self.Q.shape[1], self.V.shape[1]
        each = n_steps * max(n_neurons, b * rank, b * (self.size + 1))
        return max(1, int(self.chunk_bytes / 8 / each))

    @torch.no_grad()
    def target(self, trials, teacher_forcing=0.0):
        """Prepare trials for runs with this teacher forcing."""
        return SplitTarget.of(self, trials, teacher_forcing)

    @torch.no_grad()
    def run(self, p, target, keep=False):
        """Compute the deviance of each problem's run and, with `keep`, what `system` needs."""
        weights, a = self._coordinates(self.hypernetwork(p[:, : self.d])), self.alpha
        core, drift = a * weights["core"], a * weights["bias"]
        coreT = core.transpose(1, 2).contiguous()
        n_steps, b = target.shape[0], self.Q.shape[1]
        z = p.new_empty(len(p), n_steps, b)
        z[:, 0] = self._first(weights, p)
        x, read = p.new_empty(len(p), len(self.V)), p.new_empty(len(p), self.V.shape[1])
        steps = (z[:, :-1], z[:, 1:], target.driven[:, :-1], target.left[:, :-1])
        for now, then, driven, left in zip(*(each.unbind(1) for each in steps), strict=True):
            if target.forced:
                now = left * now
            torch.addmm(driven, now, self.driving_Qt, out=x)
            torch.mm(tanh_(x), self.V, out=read)
            torch.add(drift, now, alpha=1 - a, out=then)
            add_matvec_(then, core, coreT, read)
        scored = self._score(z, target)
        return scored[0], (z, scored) if keep else None

    @torch.no_grad()
    def system(self, p, target, kept, exact=False):
        """Compute gradient and Gauss-Newton curvature of half the deviance, and the remainder.

        The shapes are (problems, m), (problems, m, m) and (problems, m, m). The last is what the
        exact curvature adds, without the contribution of hidden layers of the hypernetwork; it is
        None unless `exact`.
        """
        z, (_, score, curvature) = kept
        step = self._linearise(p, z, target)
        tangents = self._flat(step.tangents)
        gradient, G = self._normal_equations(tangents, target, score, curvature)
        return gradient, G, self._second_order(step, tangents, score) if exact else None

    @torch.no_grad()
    def gradient(self, p, target, kept):
        """Compute only the gradient of half the deviance, by one backward pass."""
        z, (_, score, _) = kept
        f, slopes = self.hypernetwork.linearise(p[:, : self.d])
        weights = self._coordinates(self.connectivity.weights(f))
        by = self._coordinates(self.connectivity.tangents(slopes))
        a, rates = self.alpha, self._rates(target.left[:, :-1] * z[:, :-1], target)
        core = a * weights["core"]
        coreT = core.transpose(1, 2).contiguous()
        back = score.clone()  # derivatives by the coordinates, through all later steps
        by_read, by_x = p.new_empty(len(p), core.shape[2]), torch.empty_like(rates[:, 0])
        steps = (back[:, :-1], back[:, 1:], rates, target.left[:, :-1])
        for now, later, rate, left in zip(*(each.unbind(1)[::-1] for each in steps), strict=True):
            torch.mm(matvec(coreT, core, later, out=by_read), self.Vt, out=by_x)
            torch.ops.aten.tanh_backward.grad_input(by_x, rate, grad_input=by_x)
            if target.forced:
                now += left * torch.addmm(later, by_x, self.driving_Q, beta=1 - a)
            else:
                now.add_(later, alpha=1 - a).addmm_(by_x, self.driving_Q)
        now, later = back[:, 0], back[:, 1:]
        by_core = a * torch.bmm(later.transpose(1, 2), rates @ self.V)
        gradient = torch.einsum("dkbr,kbr->kd", by["core"], by_core)
        gradient += torch.einsum("dkb,kb->kd", by["bias"], a * later.sum(1))
        if "start" in by:
            gradient += torch.einsum("dkb,kb->kd", by["start"], now)
        return torch.cat([gradient, now @ self.of_q], 1)

    @torch.no_grad()
    def lift(self, p, z, target, prior, weight, pull=0.0):
        """Make a joint Gauss-Newton step of parameters and coordinates.

        `pull` is the strength of teacher forcing, which pulls the coordinates towards those of
        the guide. Returns parameters, coordinates and the curvature of the cost, which are not
        finite for problems whose step failed.
        """
        step, m = self._linearise(p, z, target, pull, defects=True), p.shape[1]
        z = z + step.tangents[:, :, m].transpose(0, 1)  # trajectory of the linearised RNN at p
        tangents = self._flat(step.tangents[:, :, :m])
        _, score, curvature = self._score(z, target)
        gradient, G = self._normal_equations(tangents, target, score, curvature)
        H = weight * G + prior.precision
        gradient = weight * gradient + (p - prior.mean) @ prior.precision
        move, _ = torch.linalg.solve_ex(H, -gradient)
        return p + move, z + torch.bmm(move.unsqueeze(1), tangents).view(z.shape), H

    def _coordinates(self, weights):
        """Convert weights to coordinates: core (problems, b, rank), bias and start (problems, b).

        Tangents of weights have an additional first axis, that of the components.
        """
        mixed = {"core": self.of_U @ weights["core"], "bias": weights["bias"] @ self.of_U.t()}
        if "start" in weights:
            mixed["start"] = weights["start"] @ self.of_U.t()
        return mixed

    def _first(self, weights, p):
        """Compute the coordinates of the first states."""
        return weights.get("start", 0.0) + p[:, self.d :] @ self.of_q.t()

    def _score(self, z, target):
        """Compute deviances, scores (problems, time, b), and curvatures (problems, time, neurons).

        Scores are in coordinates. Curvatures are None if the target has them.
        """
        if target.seen is not None:
            error = _product(z, target.root) - target.seen
            if target.partial:
                error *= target.recorded
            score = error if target.root is None else _product(error, target.root.mT)
            return error.square().sum((1, 2)) + target.rest, score, None
        x = target.outside + z @ self.Qt
        weight = None if target.weight is None else target.weight.flatten(0, 1)
        values = self.observation.score(x.flatten(0, 1), target.y.flatten(0, 1), weight)
        score, curvature, each = (a if a is None else a.unflatten(0, z.shape[:2]) for a in values)
        return each.sum(1), score @ self.Q, curvature

    def _linearise(self, p, z, target, pull=0.0, defects=False):
        """Compute tangents of the coordinates by p and, with `defects`, a row for those of z.

        Defects are the differences between steps of the RNN and z. The row holds the change of
        the coordinates that corrects them.
        """
        n, n_steps, b = z.shape
        m, d, a = p.shape[1], self.d, self.alpha
        f, slopes = self.hypernetwork.linearise(p[:, :d])
        weights = self._coordinates(self.connectivity.weights(f))
        by = self._coordinates(self.connectivity.tangents(slopes))  # n_components first
        coreT = weights["core"].transpose(1, 2).contiguous()
        left, pulled = target.left[:, :-1], z[:, :-1]
        if pull:
            share = pull * target.recorded[:, :-1]
            pulled, left = torch.lerp(pulled, target.guide[:, :-1], share), left * (1 - share)
        pulled = target.left[:, :-1] * pulled
        before, rank = n_steps - 1, self.V.shape[1]
        # only a start is wanted of defects, for which neurons need no double precision
        rates, slope, reading = self._neurons(
            pulled, target, torch.float32 if defects else z.dtype
        )
        read = (rates @ self._as("V", rates.dtype)).to(z.dtype)
        jacobian = self._array("jacobian", n, before * b, b)  # first axis: before the step
        torch.bmm(reading.view(n, before * b, rank), coreT, out=jacobian)
        jacobian = jacobian.view(n, before, b, b).mul_(a)
        jacobian.diagonal(dim1=2, dim2=3).add_(1 - a)
        jacobian *= left.unsqueeze(-1)
        S = self._array("tangents", n_steps, n, m + defects, b)
        S[0, :, :d] = by["start"].transpose(0, 1) if "start" in by else 0.0
        S[0, :, d:m] = self.of_q.t()
        by_core = by["core"].permute(1, 3, 0, 2).reshape(n, rank, d * b)
        direct = torch.bmm(read, by_core, out=self._array("direct", n, before, d * b))
        direct = direct.view(n, before, d, b)
        torch.add(direct.transpose(0, 1), by["bias"].transpose(0, 1), out=S[1:, :, :d])
        S[1:, :, :d] *= a
        S[1:, :, d:m] = 0.0
        if defects:
            S[0, :, m] = self._first(weights, p) - z[:, 0]
            following = torch.baddbmm(weights["bias"].unsqueeze(1), read, coreT)
            following = (1 - a) * pulled + a * following - z[:, 1:]
            S[1:, :, m] = following.transpose(0, 1)
        steps = S.unbind(0)
        for now, then, matrix in zip(steps[:-1], steps[1:], jacobian.unbind(1), strict=True):
            then.baddbmm_(now, matrix)
        reading = reading.view(n, before, b, rank)
        return _Linearised(S, by, weights, rates, slope, reading, jacobian, left)

    def _neurons(self, z, target, dtype):
        """Compute rates and slopes at coordinates, and Q' diag(slope) V, (values, b * rank)."""
        rates = self._rates(z, target, dtype)
        slope = self._array("slope", *rates.shape, dtype=dtype)
        torch.mul(rates, rates, out=slope).neg_().add_(1)
        size = (len(z) * z.shape[1], self.read_pairs.shape[1])
        reading = self._array("reading", *size, dtype=dtype)
        torch.mm(slope.flatten(0, 1), self._as("read_pairs", dtype), out=reading)
        if dtype != z.dtype:
            reading = self._array("reading", *size).copy_(reading)
        return rates, slope, reading

    def _rates(self, z, target, dtype=None):
        """Compute rates at coordinates, without the last step, (problems, time - 1, driving)."""
        dtype = dtype or z.dtype
        rates = self._array("rates", *z.shape[:2], len(self.V), dtype=dtype)
        driving = z.to(dtype) @ self._as("driving_Qt", dtype)
        return tanh_(torch.add(target.driven_as(dtype)[:, :-1], driving, out=rates))

    def _as(self, name, dtype):
        """Return an attribute in a precision, which is kept for the next call."""
        if (name, dtype) not in self._casts:
            self._casts[name, dtype] = getattr(self, name).to(dtype)
        return self._casts[name, dtype]

    def _array(self, name, *shape, dtype=None):
        """Return the array of this name, reusing its memory if the shape is the same."""
        key = name, dtype or self.Q.dtype
        if key not in self._space or self._space[key].shape != shape:
            self._space[key] = self.Q.new_empty(shape, dtype=dtype)
        return self._space[key]

    def _flat(self, tangents):
        """Reshape tangents (time, problems, m, b) to (problems, m, time * b)."""
        n_steps, n, m, b = tangents.shape
        flat = self._array("flat", n, m, n_steps * b)
        flat.view(n, m, n_steps, b).copy_(tangents.permute(1, 2, 0, 3))
        return flat

    def _normal_equations(self, tangents, target, score, curvature):
        """Sum S' score and S' curvature S over time, for tangents of `_flat`."""
        n, n_steps, b = score.shape
        gradient = torch.bmm(tangents, score.reshape(n, n_steps * b, 1))[..., 0]
        if curvature is not None:
            along = (curvature.flatten(0, 1) @ self.pairs).view(n, n_steps, b, b)
            return gradient, self._weighted(tangents, along)
        if target.partial:
            tangents = tangents * target.recorded.expand(-1, -1, b).flatten(1).unsqueeze(1)
        if target.root is not None:
            tangents = _product(tangents.view(n, -1, b), target.root).view(tangents.shape)
        return gradient, torch.bmm(tangents, tangents.transpose(1, 2))

    def _weighted(self, tangents, along):
        """Sum S' along S over time, for `_flat` tangents and matrices (problems, time, b, b)."""
        n, n_steps, b, _ = along.shape
        weighted = tangents.view(n, -1, n_steps, b).transpose(1, 2) @ along
        weighted = weighted.transpose(1, 2).reshape(tangents.shape)
        return torch.bmm(weighted, tangents.transpose(1, 2))

    def _second_order(self, step, tangents, score):
        """Compute what the curvature of the dynamics adds to that of half the deviance."""
        a, d = self.alpha, self.d
        n_steps, n, m, b = step.tangents.shape
        back = [score[:, -1]]  # derivatives by the coordinates, through all later steps
        for now, matrix in zip(
            score[:, 1:-1].unbind(1)[::-1], step.jacobian[:, 1:].unbind(1)[::-1], strict=True
        ):
            back.append(torch.baddbmm(now.unsqueeze(-1), matrix, back[-1].unsqueeze(-1))[..., 0])
        back = a * torch.stack(back[::-1], 1)  # after each step
        bend = (back @ step.weights["core"]) @ self.Vt
        bend.mul_(step.slope).mul_(step.rates).mul_(-2 * step.left.square())
        bend = (bend.flatten(0, 1) @ self.driving_pairs).view(n, n_steps - 1, b, b)
        tangents = tangents[:, :, :-b]  # before each step
        total = self._weighted(tangents, bend)
        # change of the weights with the embedding, times the change of the rates that they read
        by_core = step.by["core"].permute(1, 2, 0, 3).reshape(n, b, -1)
        by_core = torch.bmm(back, by_core).view(n, n_steps - 1, d, -1) * step.left.unsqueeze(-1)
        changed = (by_core @ step.reading.transpose(2, 3)).transpose(1, 2).reshape(n, d, -1)
        cross = torch.bmm(changed, tangents.transpose(1, 2))
        total[:, :d] += cross
        total[:, :, :d] += cross.transpose(1, 2)
        return total


def _fewer_neurons(values, observed, Q):
    """Compute coordinates of values of some neurons, what these leave, and the root.

    `observed` (trials, 1, neurons) is 1 for these neurons. The root turns coordinates z of states
    into coordinates whose squared distance from those of the values is that of these neurons.
    """
    if torch.equal(observed, observed[:1].expand_as(observed)):
        observed = observed[:1]
    axes, values = Q * observed.transpose(1, 2), values * observed
    size, turn = torch.linalg.eigh(axes.transpose(1, 2) @ axes)
    size = size.clamp_min(0).unsqueeze(1)
    # with fewer neurons than coordinates some of these do not matter
    least = size.amax(2, keepdim=True) * len(Q) * torch.finfo(size.dtype).eps
    root = turn * torch.where(size > least, size.sqrt(), 0.0)
    inverse = turn * torch.where(size > least, size.rsqrt(), 0.0)
    seen = values @ axes @ inverse
    return seen, values - seen @ inverse.transpose(1, 2) @ axes.transpose(1, 2), root


def _product(rows, matrix):
    """Multiply rows (problems, ..., b) by a matrix of each problem, one of all, or none."""
    if matrix is None:
        return rows
    return rows @ (matrix[0] if len(matrix) == 1 else matrix)


@dataclass
class _Linearised:
    """Linearisation of all steps about coordinates: tangents, and the parts that make them."""

    tangents: torch.Tensor  # (time, problems, m or m + 1, b)
    by: dict  # tangents of the weights, (n_components, problems, ...)
    weights: dict
    rates: torch.Tensor  # (problems, time - 1, driving neurons), as slope
    slope: torch.Tensor
    reading: torch.Tensor  # (problems, time - 1, b, rank)
    jacobian: torch.Tensor  # (problems, time - 1, b, b), coordinates before a step first
    left: torch.Tensor  # share of the coordinates that teacher forcing leaves


@dataclass
class SplitTarget:
    """Trials as runs need them, including the part of the state that no parameter moves.

    Trials are the first axis, which has length 1 in arrays that are the same for all trials.

    Attributes
    ----------
    outside, driven : Tensor (trials, time, neurons)
        States without the part in the coordinates, and the same after teacher forcing for neurons
        that drive others.
    left : Tensor (trials, time, 1)
        Share of the coordinates that teacher forcing leaves.
    guide : Tensor (trials, time, b)
        Coordinates of the guide.
    recorded : Tensor (trials, time, 1)
        1 where some neuron was recorded.
    seen, rest : Tensor (trials, time, b), (trials,) or None
        Coordinates of the values, and the squared error that these leave, if the deviance is a
        squared error over the same neurons at all recorded times.
    root : Tensor (trials, b, b) or None
        Factor of the products of the axes over these neurons, which turns coordinates into those
        of `seen`. None if it is the identity.
    partial : bool
        Whether some times of some trials were not recorded.
    y, weight : Tensor (trials, time, neurons) or None
        Values and weights, if it is not.
    forced : bool
        Whether there is teacher forcing.
    """

    outside: torch.Tensor
    driven: torch.Tensor
    left: torch.Tensor
    guide: torch.Tensor
    recorded: torch.Tensor
    seen: torch.Tensor | None = None
    rest: torch.Tensor | None = None
    root: torch.Tensor | None = None
    y: torch.Tensor | None = None
    weight: torch.Tensor | None = None
    forced: bool = False
    partial: bool = False

    def __post_init__(self):
        self._driven = {}

    @classmethod
    def of(cls, runs, trials, teacher_forcing):
        """Make the target of trials under teacher forcing."""
        guide = trials.guide.transpose(0, 1)
        n_steps = trials.n_steps
        recorded = trials.new_zeros(1, n_steps, 1) + 1
        if trials.weight is not None:
            recorded = trials.weight.amax(2, keepdim=True).transpose(0, 1)
        free = trials.new_zeros(len(trials), runs.initial_state.size)
        x0 = runs.initial_state(free, trials.guide[0], 0.0)
        alike = not (teacher_forcing or trials.n_inputs) and bool((x0 == x0[:1]).all())
        now = x0[:1] if alike else x0
        outside = now.new_empty(len(now), n_steps, now.shape[1])
        driven = torch.empty_like(outside) if teacher_forcing else outside
        pulls = (teacher_forcing * recorded).expand(-1, n_steps, 1)
        for t in range(n_steps):
            outside[:, t] = now
            if teacher_forcing:
                now = driven[:, t] = torch.lerp(now, guide[:, t], pulls[:, t])
            now = (1 - runs.alpha) * now
            if trials.n_inputs:
                now = now + runs.alpha * trials.inputs[t] @ runs.hypernetwork.B.t()
        if runs.drive is not None:
            driven = driven[:, :, runs.drive]
        about = (guide - outside) @ runs.Q
        parts, forced = (outside, driven, 1 - pulls, about, recorded), bool(teacher_forcing)
        y, weight, same_neurons = trials.y.transpose(0, 1), None, True
        if trials.weight is not None:
            weight = trials.weight.transpose(0, 1)
            of_neuron = weight.amax(1, keepdim=True)
            same_neurons = torch.equal(weight, recorded * of_neuron)
        if not (same_neurons and runs.observation.squared):
            weight = None if weight is None else weight.contiguous()
            return cls(*parts, y=y.contiguous(), weight=weight, forced=forced)
        if weight is None or bool(of_neuron.all()):
            seen = about if trials.guide is trials.y else (y - outside) @ runs.Q
            rest, root = y - outside - seen @ runs.Qt, None
        else:
            seen, rest, root = _fewer_neurons(y - outside, of_neuron, runs.Q)
        rest = (rest * recorded).square().sum((1, 2))
        how = {"seen": seen, "rest": rest, "root": root, "partial": not bool(recorded.all())}
        return cls(*parts, **how, forced=forced)

    def driven_as(self, dtype):
        """Return `driven` in a precision, which is kept for the next call."""
        if dtype not in self._driven:
            self._driven[dtype] = self.driven.to(dtype)
        return self._driven[dtype]

    @property
    def shape(self):
        """Shape of the trials, (time, trials, neurons)."""
        return self.outside.shape[1], len(self.guide), self.outside.shape[2]

    def __len__(self):
        return len(self.guide)

    def __getitem__(self, index):
        """Select some of the trials by a slice or a tensor of indices."""
        n, parts = len(self), (getattr(self, field.name) for field in fields(self))
        return SplitTarget(*(a[index] if torch.is_tensor(a) and len(a) == n else a for a in parts))
