"""Where free runs start: each option of `initial_state` is a class of `INITIAL_STATES`.

A first state is set by free coordinates q of its trial along the columns of `directions`, comes
from the hypernetwork, or is a sample. docs/model.md says which option suits which data.
"""

from __future__ import annotations

import torch
from torch import nn

from ._trials import blocks, sample_of

__all__ = ["INITIAL_STATES", "Generated", "Inferred", "InitialState", "Observed"]

MAX_DIRECTIONS = 8


class InitialState(nn.Module):
    """Base class of the options; a subclass has `learn`, `forward` and whatever else differs.

    Attributes
    ----------
    directions : Tensor (neurons, size)
        Directions of the free coordinates q; each trial has `size` of these.
    generated : bool
        Whether the hypernetwork generates first states.
    measured : bool
        Whether x0 is a sample, including its noise.
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
        """Make the initial state of a fit, and free coordinates (trials, size) of its trials."""
        raise NotImplementedError

    def forward(self, q, first, generated=0.0):
        """Compute x0 (trials, neurons).

        `q` are free coordinates, `first` the first samples of the guide, and `generated` the
        first states that the hypernetwork generates, relative to the mean.
        """
        raise NotImplementedError

    def take(self, neurons):
        """Select some of the neurons."""
        raise NotImplementedError

    def guess(self, first):
        """Make initial free coordinates (trials, size) for the inference."""
        return first.new_zeros(len(first), 0)


class Generated(InitialState):
    """Initial state generated from the embedding: x0 = mean + output of the hypernetwork.

    Parameters
    ----------
    mean : Tensor (neurons,)
        Mean of the first samples.
    """

    generated = True

    def __init__(self, mean):
        super().__init__(mean.new_zeros(len(mean), 0))
        self.register_buffer("mean", mean)

    @classmethod
    def learn(cls, trials):
        """Compute the mean of the first samples; the hypernetwork does the rest."""
        return cls(_first_samples(trials).mean(0).to(trials.dtype)), trials.new_zeros(
            len(trials), 0
        )

    def forward(self, q, first, generated=0.0):
        """Add the mean to the generated states; the first samples do not matter."""
        return self.mean.expand_as(first) + generated

    def take(self, neurons):
        """Select some of the neurons."""
        return Generated(self.mean[neurons])

    def joined(self, mean):
        """Append neurons with this mean."""
        return Generated(torch.cat([self.mean, mean]))


class Inferred(InitialState):
    """Initial state inferred for each trial: x0 = mean + directions @ q.

    Parameters
    ----------
    mean : Tensor (neurons,)
        Mean of the first samples.
    directions : Tensor (neurons, n_directions)
        Directions of the free coordinates q.
    """

    def __init__(self, mean, directions):
        super().__init__(directions)
        self.register_buffer("mean", mean)

    @classmethod
    def learn(cls, trials):
        """Compute mean and leading principal directions of the first samples."""
        first = _first_samples(trials)
        mean = first.mean(0)
        n = min(MAX_DIRECTIONS, len(trials) - 1, first.shape[1])
        _, _, vt = torch.linalg.svd(first - mean, full_matrices=False)
        found = cls(mean.to(trials.dtype), vt[:n].t().to(trials.dtype).contiguous())
        # the directions are orthonormal
        q = [(trials[i].guide[0] - found.mean) @ found.directions for i in blocks(trials)]
        return found, torch.cat(q)

    def forward(self, q, first, generated=0.0):
        """Compute x0 from the free coordinates; the first samples do not matter."""
        return self.mean + q @ self.directions.t()

    def take(self, neurons):
        """Select some of the neurons."""
        return Inferred(self.mean[neurons], self.directions[neurons])

    def guess(self, first):
        """Compute the coordinates nearest to the first samples."""
        return (first - self.mean) @ torch.linalg.pinv(self.directions).t()


class Observed(InitialState):
    """Initial state observed in each trial: x0 is the first sample of the guide.

    Parameters
    ----------
    n_neurons : int
        Number of neurons.
    """

    measured = True

    def __init__(self, n_neurons):
        super().__init__(torch.zeros(n_neurons, 0, dtype=torch.float32))
        self.n_neurons = n_neurons

    @classmethod
    def learn(cls, trials):
        """Note the number of neurons; there is nothing else to learn."""
        return cls(trials.shape[2]), trials.new_zeros(len(trials), 0)

    def forward(self, q, first, generated=0.0):
        """Return the first samples."""
        return first

    def take(self, neurons):
        """Select some of the neurons."""
        return Observed(len(self.directions[neurons])).to(self.directions)


INITIAL_STATES = {"generated": Generated, "inferred": Inferred, "observed": Observed}


def _first_samples(trials):
    """Collect the first samples of the guide, float64, of a fixed choice of very many trials."""
    # copies: views would keep the rest of the trials
    return torch.cat([trials[i].guide[0].double() for i in blocks(trials, sample_of(trials))])
