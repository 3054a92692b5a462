"""How trials lie in memory, all at once or in blocks, and their moments."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from ._distributed import ALONE
from ._missing import Filler
from ._stored import StoredTrials, part

__all__ = [
    "LazyTrials",
    "Trials",
    "as_trials",
    "block_size",
    "blocks",
    "one_less",
    "sample_of",
    "trial_moments",
]

WORK_VALUES, MAX_WORK = 2**23, 256  # trials that are worked on at a time: 32 MB of float32
# trials that a start is found on: this many values, within these numbers of trials
SAMPLE_VALUES, MIN_SAMPLE, MAX_SAMPLE = 2**29, 128, 2000
NOTHING = 1e-30  # SST less than this share of the SSE: no variance but rounding


@dataclass
class Trials:
    """Trials as tensors, time first.

    Attributes
    ----------
    data : Tensor (time, trials, neurons)
        Scaled activity, missing samples filled in.
    mask : Tensor (time, trials, neurons) or None
        1 where a sample was observed, 0 where it was filled in; None without missing samples.
    inputs : Tensor (time, trials, inputs) or None
    """

    data: torch.Tensor
    mask: torch.Tensor | None = None
    inputs: torch.Tensor | None = None

    def __len__(self):
        return self.data.shape[1]

    @property
    def shape(self):
        """(time, trials, neurons)."""
        return tuple(self.data.shape)

    @property
    def n_inputs(self):
        """Channels of known input."""
        return 0 if self.inputs is None else self.inputs.shape[2]

    @property
    def device(self):
        return self.data.device

    @property
    def dtype(self):
        return self.data.dtype

    def __getitem__(self, index):
        """Some of the trials, by a slice or a tensor of indices."""
        return Trials(*(None if a is None else a[:, index] for a in vars(self).values()))

    take = __getitem__

    @property
    def n_steps(self):
        """Samples per trial."""
        return len(self.data)

    @property
    def n_observed(self):
        """Number of values observed."""
        if self.mask is None:
            return self.data.numel()
        return float(self.mask.sum(dtype=torch.float64))  # float32 counts to 2^24

    def pulls(self, forcing):
        """Strength of the forcing at each sample: 0 where nobody was recorded."""
        if self.mask is None or not forcing:
            return [forcing] * len(self.data)
        return forcing * self.mask.amax(2, keepdim=True)

    def observed(self, error):
        """`error` where samples were observed, 0 elsewhere; in place."""
        return error if self.mask is None else error.mul_(self.mask)


@dataclass
class LazyTrials:
    """The same as `Trials` of the arguments of `as_trials`, made when some are asked for.

    `n_observed` is known from the start: nobody wants to read all trials for it.
    """

    X: StoredTrials
    inputs: np.ndarray | None
    mean: np.ndarray
    scale: np.ndarray
    filler: Filler
    dtype: torch.dtype
    device: torch.device
    n_observed: float

    def __len__(self):
        return len(self.X)

    @property
    def shape(self):
        n_trials, n_steps, n_neurons = self.X.shape
        return n_steps, n_trials, n_neurons

    @property
    def n_steps(self):
        return self.X.shape[1]

    @property
    def n_inputs(self):
        return 0 if self.inputs is None else self.inputs.shape[2]

    def __getitem__(self, index):
        index = index.cpu().numpy() if torch.is_tensor(index) else index
        inputs = None if self.inputs is None else self.inputs[index]
        rest = (self.mean, self.scale, self.filler, self.dtype, self.device)
        return as_trials(part(self.X, index), inputs, *rest)

    def take(self, index):
        """Some of the trials, not made yet."""
        index = index.cpu().numpy()
        inputs = None if self.inputs is None else self.inputs[index]
        return replace(self, X=part(self.X, index), inputs=inputs)


def block_size(n_steps, n_neurons):
    """How many trials are worked on at a time."""
    return min(max(WORK_VALUES // (n_steps * n_neurons), 1), MAX_WORK)


def blocks(trials, index=None):
    """Indices of trials, all or those of a tensor, in parts that are worked on at a time."""
    if index is None:
        index = torch.arange(len(trials), device=trials.device)
    n_steps, _, n_neurons = trials.shape
    return index.split(block_size(n_steps, n_neurons))


def sample_of(trials):
    """Indices of the trials that a start is found on: all, or a fixed choice of very many."""
    n_steps, n_trials, n_neurons = trials.shape
    most = min(max(SAMPLE_VALUES // (n_steps * n_neurons), MIN_SAMPLE), MAX_SAMPLE)
    if n_trials <= most:
        return torch.arange(n_trials, device=trials.device)
    order = torch.randperm(n_trials, generator=torch.Generator().manual_seed(0))
    return order[:most].sort().values.to(trials.device)


def as_trials(X, inputs, mean, scale, filler, dtype, device):
    """Trials of X (NaN where missing) and inputs as tensors, without a second copy of X.

    Parameters
    ----------
    X : ndarray or StoredTrials (trials, time, neurons)
    inputs : ndarray (trials, time, inputs) or None
    mean, scale : ndarray (neurons,)
    filler : callable
        Fills the gaps of a scaled trial (time, neurons).
    dtype : torch.dtype
    device : torch.device
    """
    n_trials, n_steps, n_neurons = X.shape
    kind = np.float32 if dtype == torch.float32 else np.float64
    out, mask = np.empty((n_steps, n_trials, n_neurons), dtype=kind), None
    for k, trial in enumerate(X):
        z = (trial - mean) / scale
        if np.isnan(z.sum()):
            if mask is None:
                mask = np.ones_like(out)
            mask[:, k] = np.isfinite(z)
            z = filler(z)
        out[:, k] = z
    tensors = [out, mask, None if inputs is None else inputs.transpose(1, 0, 2).astype(kind)]
    return Trials(
        *(
            None if a is None else torch.from_numpy(np.ascontiguousarray(a)).to(device)
            for a in tensors
        )
    )


def trial_moments(X, processes=ALONE):
    """Mean, variance and number of values of each neuron over trials and time.

    Without a copy of X. NaN counts as missing; a neuron never observed has NaN for both.
    """
    X = part(X, processes.slice(len(X)))
    count, total = np.zeros((2, X.shape[2]))
    for trial in X:
        count += np.isfinite(trial).sum(axis=0)
        total += np.nansum(trial, axis=0, dtype=np.float64)
    processes.sum_(count, total)
    count[count == 0] = np.nan
    mean = total / count
    squares = np.zeros_like(mean)
    for trial in X:
        squares += np.nansum(np.square(trial - mean), axis=0)
    processes.sum_(squares)
    return mean, squares / count, np.nan_to_num(count)


def one_less(sse, total):
    """1 - sse / total, an R2; where nothing varies 1 or 0, as r2_score has it."""
    if total <= NOTHING * sse:
        return float(sse == 0)
    return float(1 - sse / total)
