"""Which device a fit runs on, and where its random numbers come from."""

from __future__ import annotations

import os

import numpy as np
import torch

from ._validation import check_seed, did_you_mean

__all__ = ["make_generator", "resolve_device"]


def resolve_device(device):
    """The torch.device behind the `device` parameter; "auto" takes CUDA where there is one.

    Of several, that of this process where ``torchrun`` has started one for each.
    """
    if device == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        local = int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count()
        return torch.device("cuda", local)
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
