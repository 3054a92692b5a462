"""Device, generator and array conversion: the border between numpy and torch."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.utils import check_random_state

__all__ = ["make_generator", "resolve_device", "time_first"]


def resolve_device(device):
    """The torch.device behind the `device` parameter; "auto" takes CUDA where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        if resolved.type != "cuda":
            torch.zeros(1, dtype=torch.float64, device=resolved).item()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise ValueError(
            f'device must be "auto", "cpu", "cuda" or another torch device that works here in '
            f"double precision, got {device!r}."
        ) from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r} was asked for, but torch sees no CUDA device here. "
            'Use device="auto" or device="cpu", e.g. est.set_params(device="cpu").'
        )
    return resolved


def make_generator(random_state):
    """A torch.Generator (CPU) seeded from a scikit-learn random_state."""
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    return torch.Generator().manual_seed(int(seed))


def time_first(X, mean, scale, dtype, device):
    """(X - mean) / scale as a tensor (time, trials, neurons), without a second copy of X."""
    n_trials, n_steps, n_neurons = X.shape
    kind = np.float32 if dtype == torch.float32 else np.float64
    out = np.empty((n_steps, n_trials, n_neurons), dtype=kind)
    for k in range(n_trials):
        out[:, k] = (X[k] - mean) / scale
    return torch.from_numpy(out).to(device)
