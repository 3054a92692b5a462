"""Where free runs start: each option of `initial_state` is a class of `INITIAL_STATES`.

A first state has free coordinates q of its trial along the columns of `directions`, comes from the
hypernetwork, or is a sample; docs/model.md says which is good for what.
"""

from __future__ import annotations

import torch
from torch import nn

from ._trials import blocks, sample_of

__all__ = ["INITIAL_STATES", "Generated", "Inferred", "InitialState", "Observed"]

MAX_DIRECTIONS = 8


class InitialState(nn.Module):
    """Base of the options; a subclass has `learn` and `forward`, and what differs of the rest.

    Attributes
    ----------
    directions : Tensor (neurons, size)
        Of the free coordinates q, of which a trial has `size`.
    generated : bool
        Whether the hypernetwork generates first states.
    measured : bool
        Whether x0 is a sample, with the noise of one.
    """

    generated = False
    measured = False

    def __init__(self, directions):
        super().__init__()
        self.register_buffer("directions", directions)

    @property
    def size(self):
        """Number of free coordinates of a trial."""
        return self.directions.shape[1]

    @classmethod
    def learn(cls, trials):
        """The initial state of a fit, and free coordinates (trials, size) of its trials."""
        raise NotImplementedError

    def forward(self, q, first, generated=0.0):
        """x0 (trials, neurons).

        `q` are free coordinates, `first` the first samples of the guide, and `generated` what the
        hypernetwork adds.
        """
        raise NotImplementedError

    def take(self, neurons):
        """The same for some of the neurons."""
        raise NotImplementedError

    def guess(self, first):
        """Free coordinates (trials, size) to begin the inference with."""
        return first.new_zeros(len(first), 0)


class Generated(InitialState):
    """x0 = mean + what the hypernetwork makes of the embedding.

    Parameters
    ----------
    mean : Tensor (neurons,)
    """

    generated = True

    def __init__(self, mean):
        super().__init__(mean.new_zeros(len(mean), 0))
        self.register_buffer("mean", mean)

    @classmethod
    def learn(cls, trials):
        """Mean of the first samples; the rest is the start of the hypernetwork."""
        return cls(_first_samples(trials).mean(0).to(trials.dtype)), trials.new_zeros(
            len(trials), 0
        )

    def forward(self, q, first, generated=0.0):
        """The mean and what is generated; the first samples do not matter."""
        return self.mean.expand_as(first) + generated

    def take(self, neurons):
        """The same for some of the neurons."""
        return Generated(self.mean[neurons])

    def joined(self, mean):
        """The same for these neurons and others of such a mean."""
        return Generated(torch.cat([self.mean, mean]))


class Inferred(InitialState):
    """x0 = mean + directions @ q, with q of each trial.

    Parameters
    ----------
    mean : Tensor (neurons,)
    directions : Tensor (neurons, n_directions)
    """

    def __init__(self, mean, directions):
        super().__init__(directions)
        self.register_buffer("mean", mean)

    @classmethod
    def learn(cls, trials):
        """Mean and leading principal directions of the first samples."""
        first = _first_samples(trials)
        mean = first.mean(0)
        n = min(MAX_DIRECTIONS, len(trials) - 1, first.shape[1])
        _, _, vt = torch.linalg.svd(first - mean, full_matrices=False)
        found = cls(mean.to(trials.dtype), vt[:n].t().to(trials.dtype).contiguous())
        # the directions are orthonormal
        q = [(trials[i].guide[0] - found.mean) @ found.directions for i in blocks(trials)]
        return found, torch.cat(q)

    def forward(self, q, first, generated=0.0):
        """Mean and directions; the first samples do not matter."""
        return self.mean + q @ self.directions.t()

    def take(self, neurons):
        """The same for some of the neurons."""
        return Inferred(self.mean[neurons], self.directions[neurons])

    def guess(self, first):
        """The coordinates nearest to the first samples."""
        return (first - self.mean) @ torch.linalg.pinv(self.directions).t()


class Observed(InitialState):
    """x0 is the first sample of the guide.

    Parameters
    ----------
    n_neurons : int
    """

    measured = True

    def __init__(self, n_neurons):
        super().__init__(torch.zeros(n_neurons, 0, dtype=torch.float32))
        self.n_neurons = n_neurons

    @classmethod
    def learn(cls, trials):
        """Nothing but the number of neurons."""
        return cls(trials.shape[2]), trials.new_zeros(len(trials), 0)

    def forward(self, q, first, generated=0.0):
        """The first samples themselves."""
        return first

    def take(self, neurons):
        """The same for some of the neurons."""
        return Observed(len(self.directions[neurons])).to(self.directions)


INITIAL_STATES = {"generated": Generated, "inferred": Inferred, "observed": Observed}


def _first_samples(trials):
    """First samples of the guide of (a fixed choice of very many) trials, float64."""
    return torch.cat([trials[i].guide[0] for i in blocks(trials, sample_of(trials))]).double()
