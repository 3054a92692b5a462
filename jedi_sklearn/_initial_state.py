"""Where free runs start: each option of `initial_state` is a class of `INITIAL_STATES`.

A first state has `coordinates` along the columns of `directions`; what they are may depend on the
features f of the embedding (docs/model.md, eq. 2) and on coordinates q of the trial's own. Where
the start is a sample there are no directions.
"""

from __future__ import annotations

import torch
from torch import nn

from ._trials import blocks, sample_of

__all__ = ["INITIAL_STATES", "Inferred", "InitialState", "Observed"]

MAX_DIRECTIONS = 8


class InitialState(nn.Module):
    """Base of the options; a subclass has `size`, `learn`, `place` and `guess`.

    Attributes
    ----------
    directions : Tensor (neurons, n_directions)
    size : int
        Number of free coordinates q of a trial.
    measured : bool
        Whether x0 is a sample, with the noise of one.
    """

    measured = False
    size: int

    @classmethod
    def learn(cls, trials):
        """The initial state of a fit, and coordinates (trials, n_directions) of its trials."""
        raise NotImplementedError

    def place(self, coordinates, first):
        """x0 (trials, neurons) with these coordinates; `first` are the guide's first samples."""
        raise NotImplementedError

    def guess(self, first, features=None):
        """Free coordinates (trials, size) to begin the inference with."""
        raise NotImplementedError

    def start_from(self, features, coordinates):
        """Take over coordinates of trials with these features; return the free ones, q."""
        return coordinates

    def forward(self, features, q, first):
        """x0 (trials, neurons) of trials with these features and free coordinates."""
        return self.place(q, first)

    def tangent(self, slopes):
        """Derivatives of the coordinates by p = [c, q], (trials, n_directions, d + size).

        `slopes` (d, trials, n_features) are those of the features by c.
        """
        d, n, size = len(slopes), slopes.shape[1], self.size
        out = slopes.new_zeros(n, size, d + size)
        out[:, :, d:] = torch.eye(size, dtype=out.dtype, device=out.device)
        return out

    def outputs(self):
        """Parameters that are linear in the features, features first."""
        return ()


class Observed(InitialState):
    """x0 is the first sample of the guide.

    Parameters
    ----------
    n_neurons : int
    """

    measured = True
    size = 0

    def __init__(self, n_neurons):
        super().__init__()
        self.n_neurons = n_neurons
        self.register_buffer("directions", torch.zeros(n_neurons, 0))

    @classmethod
    def learn(cls, trials):
        """Nothing but the number of neurons."""
        return cls(trials.shape[2]), trials.new_zeros(len(trials), 0)

    def place(self, coordinates, first):
        """The first samples themselves."""
        return first

    def guess(self, first, features=None):
        """No coordinates."""
        return first.new_zeros(len(first), 0)


class Inferred(InitialState):
    """x0 = mean + directions @ q, with q of each trial.

    Parameters
    ----------
    mean : Tensor (neurons,)
    directions : Tensor (neurons, n_directions)
    """

    def __init__(self, mean, directions):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("directions", directions)

    @classmethod
    def learn(cls, trials):
        """Mean and leading principal directions of the first samples."""
        some = [trials[i].guide[0] for i in blocks(trials, sample_of(trials))]
        first = torch.cat(some).double()
        mean = first.mean(0)
        n = min(MAX_DIRECTIONS, len(trials) - 1, first.shape[1])
        _, _, vt = torch.linalg.svd(first - mean, full_matrices=False)
        found = cls(mean.to(trials.dtype), vt[:n].t().to(trials.dtype).contiguous())
        # the directions are orthonormal
        q = [(trials[i].guide[0] - found.mean) @ found.directions for i in blocks(trials)]
        return found, torch.cat(q)

    @property
    def size(self):
        """Number of directions."""
        return self.directions.shape[1]

    def place(self, coordinates, first):
        """Mean and directions; the first samples do not matter."""
        return self.mean + coordinates @ self.directions.t()

    def guess(self, first, features=None):
        """The coordinates nearest to the first samples."""
        return (first - self.mean) @ torch.linalg.pinv(self.directions).t()


INITIAL_STATES = {"observed": Observed, "inferred": Inferred}
