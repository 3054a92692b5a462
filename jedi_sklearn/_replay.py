"""How a GPU records losses once and then replays them (CUDA graphs).

A time step of the RNN is so little work that a GPU would mostly wait for the calls that launch
it: thousands of them for one gradient.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn

from ._trials import Trials

__all__ = ["can_replay", "replayed"]

_FIRST: dict = {}  # the GPU whose stream torch uses for all recordings of the process


def can_replay(device):
    """Return whether losses on this device are replayed: torch records on one GPU per process."""
    if device.type != "cuda":
        return False
    _FIRST.setdefault("device", device)
    return _FIRST["device"] == device


def replayed(loss, weights, x0, trials, alpha, teacher_forcing, observation, recordings):
    """Compute the loss of a connectivity, like `split_loss`, by a recording for these shapes.

    The dictionary `recordings` holds all recordings. Each call overwrites the gradients of the
    previous one.
    """
    named = {f"weight {name}": w for name, w in weights.items()}
    named |= {"x0": x0, "y": trials.y, "inputs": trials.inputs}
    if trials.guide is not trials.y:
        named["guide"] = trials.guide
    if trials.weight is not None:
        named["observed"] = trials.weight
    if teacher_forcing:
        named["pulls"] = teacher_forcing * trials.recorded().to(x0.dtype).unsqueeze(2)
    key = tuple((name, t.shape, t.requires_grad) for name, t in named.items())
    if key not in recordings:
        recordings[key] = _record(_Loss(loss, list(named), alpha, observation), named.values())
    return recordings[key](*named.values())


class _Loss(nn.Module):
    """Loss as a function of tensors alone, with the parameters of the observation as its own."""

    def __init__(self, loss, names, alpha, observation):
        super().__init__()
        self.loss, self.names, self.alpha, self.observation = loss, names, alpha, observation

    def forward(self, *tensors):
        named = dict(zip(self.names, tensors, strict=True))
        parts = (named.get(name) for name in ("y", "observed", "guide", "inputs"))
        weights = {n.split()[1]: t for n, t in named.items() if n.startswith("weight ")}
        rest = (self.alpha, named.get("pulls", 0.0), self.observation)
        return self.loss(weights, named["x0"], Trials(*parts), *rest)


def _record(function, tensors):
    """Record a function with tensors like these; return it unchanged if that is impossible."""
    samples = tuple(t.detach().clone().requires_grad_(t.requires_grad) for t in tensors)
    with warnings.catch_warnings():
        # warming up uses a separate stream, about which newer versions of torch warn
        warnings.filterwarnings("ignore", "The AccumulateGrad node's stream", UserWarning)
        try:
            with torch.cuda.device(samples[0].device):
                how = {"allow_unused_input": True}
                return torch.cuda.make_graphed_callables(function, samples, **how)
        except RuntimeError:  # the driver lacks graphs, or there is too little memory for them
            return function
