"""The hypernetwork: from embeddings to the weights of a batch of RNNs.

Every hypernetwork here is affine in features of the embedding. These are the embedding itself
(linear), or the embedding and the last hidden layer of a perceptron (mlp). See docs/model.md,
eq. 2-4.
"""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import nn

from ._connectivity import CONNECTIVITIES

__all__ = ["Hypernetwork"]


class Hypernetwork(nn.Module):
    """Map from embeddings (trials, n_components) to RNN weights.

    Parameters
    ----------
    n_components, n_neurons, rank : int
        Sizes of the embedding and of the RNNs.
    connectivity : str
        Form of the weights, a key of `CONNECTIVITIES`.
    hidden_layer_sizes : tuple of int
        Sizes of the hidden layers; empty for the linear hypernetwork.
    skip : bool
        Whether the perceptron has an affine path beside its hidden layers.
    n_inputs : int
        Number of channels of known input; their weights B are common to all embeddings.
    starts : bool
        Whether to generate the first states of the free runs as well.
    generator : torch.Generator
        Source of the random initial parameters.
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
        starts=False,
        generator=None,
    ):
        super().__init__()
        self.config = {  # arguments that make another one of the same shape
            "n_components": n_components,
            "n_neurons": n_neurons,
            "rank": rank,
            "connectivity": connectivity,
            "hidden_layer_sizes": tuple(hidden_layer_sizes),
            "skip": skip,
            "n_inputs": n_inputs,
            "starts": starts,
        }
        self.n_components = n_components
        self.skip = skip or not hidden_layer_sizes

        def normal(*shape, scale):
            drawn = torch.randn(*shape, generator=generator, dtype=torch.float32)
            return nn.Parameter(scale * drawn)

        sizes = (n_components, *hidden_layer_sizes)
        hidden = [normal(n_in + 1, n_out, scale=n_in**-0.5) for n_in, n_out in pairwise(sizes)]
        n_features = 1 + self.skip * n_components + (sizes[-1] if hidden_layer_sizes else 0)
        self.B = normal(n_neurons, n_inputs, scale=n_neurons**-0.5)
        make = CONNECTIVITIES[connectivity]
        self.connectivity = make(n_features, n_neurons, rank, starts, generator)
        self.hidden = nn.ParameterList(hidden)

    def features(self, c):
        """Compute features [1, c, hidden(c)], in which the weights are linear."""
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
        """Compute the weights of each trial's RNN: those of the connectivity, and B."""
        return self.weights(self.features(c))

    def weights(self, f):
        """Compute the same from features (trials, n_features)."""
        return self.connectivity.weights(f) | {"B": self.B}

    @torch.no_grad()
    def linearise(self, c):
        """Compute features at c, and their derivatives (n_components, trials, n_features)."""
        # by hand, because torch.func.jvp loads torch.jit, which warns of its own deprecation
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
        return self.features(c), torch.cat(parts, -1)

    def of_neurons(self, U, V, B):
        """Make a frozen copy for neurons with these rows of shared bases and input weights."""
        # a copy, because a new one would draw from the user's random generator
        made = copy.deepcopy(self)
        made.config["n_neurons"] = len(U)
        for module, name, rows in (
            (made.connectivity, "U", U),
            (made.connectivity, "V", V),
            (made, "B", B),
        ):
            setattr(module, name, nn.Parameter(rows))
        return made.requires_grad_(False)

    @torch.no_grad()
    def extended(self, U, V, maps):
        """Make a copy with more components, and columns of shared bases that these alone reach.

        The arguments are those of `Shared.extended`, with a map for each new component. Where
        the new components are 0, the RNNs do not change. Also returns which parameters of the
        connectivity are new.
        """
        if not self.skip:
            raise ValueError("A hypernetwork without the affine path cannot be extended.")
        made, d, n = copy.deepcopy(self), self.n_components, len(maps)
        made.connectivity, free = self.connectivity.extended(U, V, 1 + d, maps)
        made.n_components = d + n
        made.config |= {"n_components": d + n, "rank": made.connectivity.rank}
        if len(self.hidden):
            first = self.hidden[0]
            none = first.new_zeros(n, first.shape[1])
            made.hidden[0] = nn.Parameter(torch.cat([first[:d], none, first[d:]]))
        return made, free

    def take(self, neurons):
        """Make a frozen copy for some of the neurons, with shared bases."""
        own = self.connectivity
        return self.of_neurons(own.U[neurons], own.V[neurons], self.B[neurons])

    @torch.no_grad()
    def start_from(self, U, V, maps, B=None):
        """Start from a shared-basis solution, as `warm_start` returns it.

        This is exact in every connectivity with the affine path. The hidden layers start without
        effect.
        """
        if not self.skip:
            raise ValueError("A hypernetwork without the affine path cannot take a warm start.")
        for p in self.connectivity.outputs():
            p.zero_()
        self.connectivity.start_from(U, V, maps)
        if B is not None:
            self.B.copy_(B)

    @torch.no_grad()
    def change_coordinates(self, shift, matrix):
        """Rewrite the parameters for embeddings c' with c = shift + matrix @ c'."""
        d = self.n_components
        if self.skip:
            for p in self.connectivity.outputs():
                flat = p.flatten(1)
                flat[0] += shift @ flat[1 : d + 1]
                flat[1 : d + 1] = matrix.t() @ flat[1 : d + 1]
                p.copy_(flat.reshape(p.shape))
        if len(self.hidden):
            first = self.hidden[0]
            first[-1] += shift @ first[:-1]
            first[:-1] = matrix.t() @ first[:-1]
