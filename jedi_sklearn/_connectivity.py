"""The forms of the recurrent weights, as functions of features (docs/model.md, eq. 4).

Each form is a class of `CONNECTIVITIES` and owns the parameters that are linear in the features.
Weights are dictionaries of tensors whose content only their own class knows. Functions of weights
are static, so that they need no parameters.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from ._linearised import DenseRuns
from ._rollout import plain_loss, split_loss
from ._split_runs import SplitRuns
from .rnn import RNNBatch

__all__ = ["CONNECTIVITIES", "FullRank", "LowRank", "Shared"]


class Connectivity(nn.Module):
    """Base class of the forms, with everything that follows from `drive`.

    Parameters
    ----------
    n_features, n_neurons, rank : int
        Number of features, and sizes of the RNNs.
    starts : bool
        Whether to generate first states as well; their parameters are initially zero.
    generator : torch.Generator
        Source of the random initial parameters.
    """

    Runs = DenseRuns  # how inference runs and linearises them

    def __init__(self, n_features, n_neurons, rank, starts=False, generator=None):
        super().__init__()
        self.rank = self.rank_of(n_neurons, rank)
        size = self.size_of_start(n_neurons, rank)
        start = None
        if starts:
            start = nn.Parameter(torch.zeros(n_features, size, dtype=torch.float32))
        self.register_parameter("start", start)
        spread = n_features**-0.5

        def normal(*shape, scale):
            drawn = torch.randn(*shape, generator=generator, dtype=torch.float32)
            return nn.Parameter(scale * drawn)

        self.make(normal, n_features, n_neurons, rank, spread)

    @staticmethod
    def rank_of(n_neurons, rank):
        """Return the rank of J when `rank` is requested."""
        return rank

    @staticmethod
    def size_of_start(n_neurons, rank):
        """Return the number of coordinates of a generated first state: one per neuron."""
        return n_neurons

    @staticmethod
    def first_state(weights, start):
        """Convert coordinates to first states (trials, neurons)."""
        return start

    @classmethod
    def generated(cls, weights):
        """Compute generated first states relative to the mean, or 0 if none are generated."""
        return cls.first_state(weights, weights["start"]) if "start" in weights else 0.0

    def outputs(self):
        """List the parameters that are linear in the features, whose first axis is features."""
        own = tuple(getattr(self, name) for name in self.linear)
        return own if self.start is None else (*own, self.start)

    @property
    def drive_others(self):
        """Whether each neuron drives others, or None if all do."""
        return None

    @staticmethod
    def of_neurons(weights, neurons):
        """Select weights of some of the neurons, none of which the others may drive."""
        raise NotImplementedError

    def train_only(self, **free):
        """Keep all entries of parameters but those that are free from changing in training.

        The entries are given as boolean tensors, by the name of the parameter.
        """
        for name, entries in free.items():
            getattr(self, name).register_hook(entries.mul)

    def _start_of(self, f):
        """Compute coordinates of the first states as a weight, if they are generated."""
        return {} if self.start is None else {"start": f @ self.start}

    def start_from(self, U, V, maps):
        """Set bases, and maps (some features, rank + 1, rank) of the first features.

        If first states are generated, the maps have one more row: their coordinates along U.
        """
        rank, n = U.shape[1], len(maps)
        core, bias = maps[:, :rank].transpose(1, 2), maps[:, rank]
        self.take_over(U, V, core, bias)
        if self.start is not None:
            self.start[:n] = self.coordinates_of(U, maps[:, rank + 1])

    @staticmethod
    def coordinates_of(U, coordinates):
        """Convert coordinates along the columns of U to coordinates of first states."""
        return coordinates @ U.t()

    @property
    def n_values(self):
        """Number of values in the weights of one trial, which sets the memory of tangents."""
        return sum(p[0].numel() for p in self.outputs())

    def tangents(self, slopes):
        """Compute derivatives of the weights from those of the features, components first."""
        return _stacked(self.weights, slopes)

    @classmethod
    def loss(cls, weights, x0, trials, alpha, teacher_forcing, observation, workspace=None):
        """Compute the deviance of the run with teacher forcing, like `split_loss`."""
        return plain_loss(cls, weights, x0, trials, alpha, teacher_forcing, observation)


class Shared(Connectivity):
    """Shared bases: J = U G(c) V' and b = U beta(c), with U and V common to all trials."""

    Runs = SplitRuns
    loss = staticmethod(split_loss)
    linear = ("maps",)

    def make(self, normal, n_features, n, r, spread):
        """Make the parameters."""
        self.U = normal(n, r, scale=n**-0.5)
        self.V = normal(n, r, scale=n**-0.5)
        self.maps = normal(n_features, r + 1, r, scale=spread)

    @property
    def drive_others(self):
        """Whether each neuron drives others; neurons that joined a fitted model do not."""
        return (self.V != 0).any(1)

    def keep_silent(self):
        """Keep neurons that drive no others from driving any after training."""
        self.train_only(V=self.drive_others[:, None])

    def extended(self, U, V, at, maps):
        """Make a copy with more columns of the bases, reached by additional features alone.

        Parameters
        ----------
        U, V : Tensor (neurons, n_columns)
            Columns that follow those there are.
        at : int
            Position of the first additional feature.
        maps : Tensor (n_features, rank + 1, rank)
            Maps of the additional features, with the new rank; as in `start_from`, there is one
            more row if first states are generated.

        Returns
        -------
        made : Shared
            For other features, its RNNs are those of this object.
        free : dict of Tensor
            By name, which entries of its parameters this object lacks.
        """
        made, rank, new = copy.deepcopy(self), self.rank, self.rank + U.shape[1]
        made.rank = new
        wide = self.maps.new_zeros(len(self.maps), new + 1, new)
        wide[:, :rank, :rank], wide[:, new, :rank] = self.maps[:, :rank], self.maps[:, rank]
        parts = {
            "U": torch.cat([self.U, U], 1),
            "V": torch.cat([self.V, V], 1),
            "maps": torch.cat([wide[:at], maps[:, : new + 1], wide[at:]]),
        }
        later = torch.arange(new, device=U.device) >= rank
        added = torch.zeros(len(parts["maps"]), dtype=torch.bool, device=U.device)
        added[at : at + len(maps)] = True
        free = {"U": later, "V": later & self.drive_others[:, None], "maps": added[:, None, None]}
        if self.start is not None:
            start = torch.cat([self.start, self.start.new_zeros(len(self.start), len(U.t()))], 1)
            parts["start"] = torch.cat([start[:at], maps[:, new + 1], start[at:]])
            free["start"] = added[:, None]
        for name, values in parts.items():
            setattr(made, name, nn.Parameter(values))
        return made, free

    @staticmethod
    def of_neurons(weights, neurons):
        """Select weights of some of the neurons, none of which the others may drive."""
        rows = {name: weights[name].index_select(0, neurons) for name in ("U", "V", "B")}
        return weights | rows

    @staticmethod
    def size_of_start(n_neurons, rank):
        """Return the number of coordinates of a generated first state: one per column of U."""
        return rank

    @staticmethod
    def first_state(weights, start):
        """Convert coordinates to first states (..., neurons)."""
        return start @ weights["U"].t()

    @staticmethod
    def coordinates_of(U, coordinates):
        """Convert coordinates along the columns of U to coordinates of first states."""
        return coordinates

    def take_over(self, U, V, core, bias):
        """Set bases, and core (some features, rank, rank) and bias of the first features."""
        self.U.copy_(U)
        self.V.copy_(V)
        self.maps[: len(core), :-1] = core.transpose(1, 2)
        self.maps[: len(core), -1] = bias

    def weights(self, f):
        """Compute the weights for features (trials, n_features)."""
        return {"U": self.U, "V": self.V} | self._of(f)

    def tangents(self, slopes):
        """Compute derivatives of the weights from those of the features, components first."""
        return _stacked(self._of, slopes)

    def _of(self, f):
        theta = _combine(f, self.maps)  # (trials, rank + 1, rank)
        return {
            "core": theta[:, :-1].transpose(1, 2).contiguous(),
            "bias": theta[:, -1].contiguous(),
        } | self._start_of(f)

    @staticmethod
    def drive(weights, rates):
        """Compute J_k rates + b_k of each trial, (trials, neurons)."""
        z = (rates @ weights["V"]).unsqueeze(-1)  # (trials, rank, 1)
        latent = torch.baddbmm(weights["bias"].unsqueeze(-1), weights["core"], z)
        return latent[..., 0] @ weights["U"].t()

    @staticmethod
    def drive_tangent(weights, tangents, rates, drates):
        """Compute tangents of `drive` from those of the rates, (trials, m, neurons), c first."""
        z, dz = rates @ weights["V"], drates @ weights["V"]
        dlatent = torch.bmm(dz, weights["core"].transpose(1, 2))
        direct = torch.einsum("dkrs,ks->kdr", tangents["core"], z)
        dlatent[:, : direct.shape[1]] += direct + tangents["bias"].transpose(0, 1)
        return dlatent @ weights["U"].t()

    @staticmethod
    def pullback(weights, back):
        """Multiply rows (trials, m, neurons) by J_k."""
        return torch.bmm(back @ weights["U"], weights["core"]) @ weights["V"].t()

    @staticmethod
    def rnns(w, **rest):
        """Make an RNNBatch from weights in numpy."""
        return RNNBatch(w["U"], w["V"], w["core"], bias=w["bias"] @ w["U"].T, **rest)


class LowRank(Connectivity):
    """Low-rank weights of each trial: J = U(c) V(c)' and b(c)."""

    linear = ("left", "right", "offset")

    def make(self, normal, n_features, n, r, spread):
        """Make the parameters."""
        self.left = normal(n_features, n, r, scale=spread * n**-0.5)
        self.right = normal(n_features, n, r, scale=spread * n**-0.5)
        self.offset = normal(n_features, n, scale=0.1 * spread)

    def take_over(self, U, V, core, bias):
        """Set bases, and core (some features, rank, rank) and bias of the first features."""
        self.left[: len(core)] = U @ core
        self.right[0] = V
        self.offset[: len(core)] = bias @ U.t()

    def weights(self, f):
        """Compute the weights for features (trials, n_features)."""
        U, V = _combine(f, self.left), _combine(f, self.right)
        return {"U": U, "V": V, "bias": _combine(f, self.offset)} | self._start_of(f)

    @staticmethod
    def drive(weights, rates):
        """Compute J_k rates + b_k of each trial, (trials, neurons)."""
        latent = torch.bmm(rates.unsqueeze(1), weights["V"])  # (trials, 1, rank)
        bias = weights["bias"].unsqueeze(1)
        return torch.baddbmm(bias, latent, weights["U"].transpose(1, 2))[:, 0]

    @staticmethod
    def drive_tangent(weights, tangents, rates, drates):
        """Compute tangents of `drive` from those of the rates, (trials, m, neurons), c first."""
        U, V, d = weights["U"], weights["V"], len(tangents["bias"])
        z, dz = torch.bmm(rates.unsqueeze(1), V)[:, 0], torch.bmm(drates, V)
        dz[:, :d] += torch.einsum("dkir,ki->kdr", tangents["V"], rates)
        out = torch.bmm(dz, U.transpose(1, 2))
        direct = torch.einsum("dkir,kr->kdi", tangents["U"], z)
        out[:, :d] += direct + tangents["bias"].transpose(0, 1)
        return out

    @staticmethod
    def pullback(weights, back):
        """Multiply rows (trials, m, neurons) by J_k."""
        return torch.bmm(back @ weights["U"], weights["V"].transpose(1, 2))

    @staticmethod
    def rnns(w, **rest):
        """Make an RNNBatch from weights in numpy."""
        return RNNBatch(w["U"], w["V"], bias=w["bias"], **rest)


class FullRank(Connectivity):
    """Dense weights of each trial: J(c) and b(c)."""

    linear = ("dense", "offset")

    @staticmethod
    def rank_of(n_neurons, rank):
        """Return full rank; the requested rank is only that of the start."""
        return n_neurons

    def make(self, normal, n_features, n, r, spread):
        """Make the parameters."""
        self.dense = normal(n_features, n, n, scale=spread * n**-0.5)
        self.offset = normal(n_features, n, scale=0.1 * spread)

    def take_over(self, U, V, core, bias):
        """Set bases, and core (some features, rank, rank) and bias of the first features."""
        self.dense[: len(core)] = U @ core @ V.t()
        self.offset[: len(core)] = bias @ U.t()

    def weights(self, f):
        """Compute the weights for features (trials, n_features)."""
        weights = {"J": _combine(f, self.dense), "bias": _combine(f, self.offset)}
        return weights | self._start_of(f)

    @staticmethod
    def drive(weights, rates):
        """Compute J_k rates + b_k of each trial, (trials, neurons)."""
        bias = weights["bias"].unsqueeze(-1)
        return torch.baddbmm(bias, weights["J"], rates.unsqueeze(-1))[..., 0]

    @staticmethod
    def drive_tangent(weights, tangents, rates, drates):
        """Compute tangents of `drive` from those of the rates, (trials, m, neurons), c first."""
        out = torch.bmm(drates, weights["J"].transpose(1, 2))
        direct = torch.einsum("dkij,kj->kdi", tangents["J"], rates)
        out[:, : direct.shape[1]] += direct + tangents["bias"].transpose(0, 1)
        return out

    @staticmethod
    def pullback(weights, back):
        """Multiply rows (trials, m, neurons) by J_k."""
        return torch.bmm(back, weights["J"])

    @staticmethod
    def rnns(w, **rest):
        """Make an RNNBatch from weights in numpy."""
        return RNNBatch.from_dense(w["J"], bias=w["bias"], **rest)


CONNECTIVITIES = {"shared": Shared, "low_rank": LowRank, "full_rank": FullRank}


def _combine(f, maps):
    """Apply maps (n_features, ...) to features (trials, n_features): (trials, ...)."""
    return (f @ maps.flatten(1)).reshape(len(f), *maps.shape[1:])


def _stacked(weights, slopes):
    """Compute `weights` for features with a first axis of components: (n_components, ...)."""
    d, n, _ = slopes.shape
    return {name: w.unflatten(0, (d, n)) for name, w in weights(slopes.flatten(0, 1)).items()}
