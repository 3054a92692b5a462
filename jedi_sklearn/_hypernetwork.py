"""The hypernetwork: from embeddings to the weights of a batch of RNNs.

Every hypernetwork here is affine in features of the embedding: the embedding itself (linear), or
the embedding and the last hidden layer of a perceptron (mlp). See docs/model.md, eq. 2-4.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

__all__ = ["Hypernetwork"]


class Hypernetwork(nn.Module):
    """Map embeddings (trials, n_components) to RNN weights.

    Parameters
    ----------
    n_components, n_neurons, rank : int
    connectivity : {"shared", "low_rank", "full_rank"}
    hidden_layer_sizes : tuple of int
        Empty for the linear hypernetwork.
    skip : bool
        Give the perceptron an affine path beside its hidden layers.
    n_inputs : int
        Channels of known input; their weights B are common to all embeddings.
    generator : torch.Generator
        Source of the random start.
    """

    def __init__(
        self,
        n_components,
        n_neurons,
        rank,
        connectivity="shared",
        hidden_layer_sizes=(),
        skip=True,
        n_inputs=0,
        generator=None,
    ):
        super().__init__()
        self.config = {  # what makes another one of the same shape
            "n_components": n_components,
            "n_neurons": n_neurons,
            "rank": rank,
            "connectivity": connectivity,
            "hidden_layer_sizes": tuple(hidden_layer_sizes),
            "skip": skip,
            "n_inputs": n_inputs,
        }
        self.n_components = n_components
        self.connectivity = connectivity
        self.skip = skip or not hidden_layer_sizes

        def normal(*shape, scale):
            return nn.Parameter(scale * torch.randn(*shape, generator=generator))

        sizes = (n_components, *hidden_layer_sizes)
        self.hidden = nn.ParameterList(
            normal(n_in + 1, n_out, scale=n_in**-0.5) for n_in, n_out in pairwise(sizes)
        )
        n_features = 1 + self.skip * n_components + (sizes[-1] if hidden_layer_sizes else 0)
        n, r, spread = n_neurons, rank, n_features**-0.5
        self.B = normal(n, n_inputs, scale=n**-0.5) if n_inputs else None
        if connectivity == "shared":
            self.U = normal(n, r, scale=n**-0.5)
            self.V = normal(n, r, scale=n**-0.5)
            self.maps = normal(n_features, r + 1, r, scale=spread)
        elif connectivity == "low_rank":
            self.left = normal(n_features, n, r, scale=spread * n**-0.5)
            self.right = normal(n_features, n, r, scale=spread * n**-0.5)
            self.offset = normal(n_features, n, scale=0.1 * spread)
        else:
            self.dense = normal(n_features, n, n, scale=spread * n**-0.5)
            self.offset = normal(n_features, n, scale=0.1 * spread)

    def features(self, c):
        """[1, c, hidden(c)]: what the weights are linear in, (trials, n_features)."""
        parts = [torch.ones_like(c[:, :1])]
        if self.skip:
            parts.append(c)
        if len(self.hidden):
            h = c
            for layer in self.hidden:
                h = torch.tanh(torch.addmm(layer[-1], h, layer[:-1]))
            parts.append(h)
        return torch.cat(parts, 1)

    def forward(self, c):
        """Weights of each trial's RNN, a dict as `_rollout` takes it."""
        weights = self._weights(self.features(c))
        return weights if self.B is None else weights | {"B": self.B}

    def _weights(self, f):
        """The weights as a linear function of features (trials, n_features)."""

        def combine(maps):  # (n_features, ...) -> (trials, ...)
            return (f @ maps.flatten(1)).reshape(len(f), *maps.shape[1:])

        if self.connectivity == "shared":
            theta = combine(self.maps)  # (trials, rank + 1, rank)
            return {
                "U": self.U,
                "V": self.V,
                "core": theta[:, :-1].transpose(1, 2).contiguous(),
                "bias": theta[:, -1].contiguous(),
            }
        if self.connectivity == "low_rank":
            weights = {"U": combine(self.left), "V": combine(self.right)}
        else:
            weights = {"J": combine(self.dense)}
        return weights | {"bias": combine(self.offset)}

    @torch.no_grad()
    def start_from(self, U, V, maps, B=None):
        """Take over a shared-basis solution: maps (n_components + 1, rank + 1, rank).

        Exact in every connectivity that has the affine path; the hidden layers begin silent.
        """
        if not self.skip:
            raise ValueError("A hypernetwork without the affine path cannot take a warm start.")
        d1 = self.n_components + 1
        for p in self.outputs():
            p.zero_()
        if B is not None:
            self.B.copy_(B)
        if self.connectivity == "shared":
            self.U.copy_(U)
            self.V.copy_(V)
            self.maps[:d1] = maps
            return
        core, bias = maps[:, :-1].transpose(1, 2), maps[:, -1]  # (d1, r, r), (d1, r)
        self.offset[:d1] = bias @ U.t()
        if self.connectivity == "low_rank":
            self.left[:d1] = U @ core
            self.right[0] = V
        else:
            self.dense[:d1] = U @ core @ V.t()

    def outputs(self):
        """Parameters that are linear in the features, features first."""
        if self.connectivity == "shared":
            return (self.maps,)
        if self.connectivity == "low_rank":
            return (self.left, self.right, self.offset)
        return (self.dense, self.offset)

    @torch.no_grad()
    def change_coordinates(self, shift, matrix):
        """Rewrite the parameters for embeddings c' with c = shift + matrix @ c'."""
        d = self.n_components
        if self.skip:
            for p in self.outputs():
                flat = p.flatten(1)
                flat[0] += shift @ flat[1 : d + 1]
                flat[1 : d + 1] = matrix.t() @ flat[1 : d + 1]
                p.copy_(flat.reshape(p.shape))
        if len(self.hidden):
            first = self.hidden[0]
            first[-1] += shift @ first[:-1]
            first[:-1] = matrix.t() @ first[:-1]

    @torch.no_grad()
    def tangents(self, c):
        """Weights at c and their derivatives along each component, (n_components, trials, ...)."""
        # by hand: torch.func.jvp loads torch.jit, which warns of its own deprecation
        n, d = c.shape
        slope = torch.eye(d, dtype=c.dtype, device=c.device)[:, None].expand(d, n, d)
        parts = [torch.zeros_like(slope[..., :1])]
        if self.skip:
            parts.append(slope)
        if len(self.hidden):
            h = c
            for layer in self.hidden:
                h = torch.tanh(torch.addmm(layer[-1], h, layer[:-1]))
                slope = (slope @ layer[:-1]) * (1 - h.square())
            parts.append(slope)
        slopes = self._weights(torch.cat(parts, -1).flatten(0, 1))
        constant = ("U", "V") if self.connectivity == "shared" else ()
        return self(c), {
            name: w.unflatten(0, (d, n)) for name, w in slopes.items() if name not in constant
        }
