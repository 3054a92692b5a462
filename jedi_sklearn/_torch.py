"""Device, generator and array conversion: the border between numpy and torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ._trials import check_seed, did_you_mean

__all__ = ["Trials", "as_trials", "make_generator", "resolve_device"]


def resolve_device(device):
    """The torch.device behind the `device` parameter; "auto" takes CUDA where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        if resolved.type != "cuda":
            torch.zeros(1, dtype=torch.float64, device=resolved).item()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        likely = device.lower().replace("gpu", "cuda") if isinstance(device, str) else device
        raise ValueError(
            f'device must be "auto", "cpu", "cuda" or another torch device that works here in '
            f"double precision, got {device!r}{did_you_mean(likely, ['auto', 'cpu', 'cuda'])}"
        ) from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r} was asked for, but torch sees no CUDA device here. "
            'Use device="auto" or device="cpu", e.g. est.set_params(device="cpu").'
        )
    return resolved


def make_generator(random_state):
    """A torch.Generator (CPU) seeded from a scikit-learn random_state."""
    seed = check_seed(random_state).randint(np.iinfo(np.int32).max)
    return torch.Generator().manual_seed(int(seed))


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

    def __getitem__(self, index):
        """Some of the trials, by a slice or a tensor of indices."""
        return Trials(*(None if a is None else a[:, index] for a in vars(self).values()))

    @property
    def n_steps(self):
        """Samples per trial."""
        return len(self.data)

    @property
    def n_observed(self):
        """Number of values observed."""
        return self.data.numel() if self.mask is None else float(self.mask.sum())

    def observed(self, error):
        """`error` where samples were observed, 0 elsewhere; in place."""
        return error if self.mask is None else error.mul_(self.mask)

    def variance(self):
        """Mean square of what was observed about each neuron's mean."""
        if self.mask is None:
            return float((self.data - self.data.mean((0, 1))).square().mean())
        count = self.mask.sum((0, 1)).clamp_min(1)
        mean = (self.data * self.mask).sum((0, 1)) / count
        squares = ((self.data - mean) * self.mask).square().sum()
        return float(squares) / self.n_observed


def as_trials(X, inputs, mean, scale, filler, dtype, device):
    """Trials of X (NaN where missing) and inputs as tensors, without a second copy of X.

    Parameters
    ----------
    X : ndarray (trials, time, neurons)
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
    for k in range(n_trials):
        z = (X[k] - mean) / scale
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
