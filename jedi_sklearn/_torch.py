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
        if resolved.type == "cuda":
            if torch.cuda.is_available() and (resolved.index or 0) >= torch.cuda.device_count():
                raise ValueError(f"No CUDA device has the number {resolved.index}.")
        else:
            torch.zeros(1, dtype=torch.float64, device=resolved).item()
    except Exception as error:  # of any kind: the backends of torch differ
        likely = device.lower().replace("gpu", "cuda") if isinstance(device, str) else device
        raise ValueError(
            f'device must be "auto", "cpu", "cuda" or another torch device that works here in '
            f"double precision (this machine has {', '.join(_devices())}), got "
            f"{device!r}{did_you_mean(likely, ['auto', 'cpu', 'cuda'])}"
        ) from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r} was asked for, but torch sees no CUDA device here. "
            'Use device="auto" or device="cpu", e.g. est.set_params(device="cpu").'
        )
    return resolved


def _devices():
    """Names of the devices of this machine that have double precision."""
    names = ["cpu"]
    for kind, module in (("cuda", torch.cuda), ("xpu", torch.xpu)):
        if module.is_available():
            names += [f"{kind}:{i}" for i in range(module.device_count())]
    return names


def make_generator(random_state):
    """A torch.Generator (CPU) seeded from a scikit-learn random_state."""
    seed = check_seed(random_state).randint(np.iinfo(np.int32).max)
    return torch.Generator().manual_seed(int(seed))
