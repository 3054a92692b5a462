"""Losses on a GPU that are recorded once and replayed from then on (CUDA graphs).

A step of the dynamics is so little work for a GPU that it would wait for the calls that launch
it: thousands for one gradient.
"""

from __future__ import annotations

import warnings

import torch
from torch import nn

from ._trials import Trials

__all__ = ["can_replay", "replayed"]

_FIRST: dict = {}  # the GPU whose stream torch keeps for all recordings of the process


def can_replay(device):
    """Whether losses on this device are replayed: torch records on one GPU of a process, alone."""
    if device.type != "cuda":
        return False
    _FIRST.setdefault("device", device)
    return _FIRST["device"] == device


def replayed(loss, weights, x0, trials, alpha, teacher_forcing, observation, recordings):
    """The loss of a connectivity, as `split_loss` has it, for calls of the same shapes.

    `recordings` (dict) keeps what was recorded. Each call overwrites the gradients of the last.
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
    """The loss as a function of tensors alone; parameters of the observation are its own."""

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
    """The same function, recorded with tensors like these, or itself where that cannot be."""
    samples = tuple(t.detach().clone().requires_grad_(t.requires_grad) for t in tensors)
    with warnings.catch_warnings():
        # it warms up on a stream of its own, which newer versions of torch point out
        warnings.filterwarnings("ignore", "The AccumulateGrad node's stream", UserWarning)
        try:
            with torch.cuda.device(samples[0].device):
                how = {"allow_unused_input": True}
                return torch.cuda.make_graphed_callables(function, samples, **how)
        except RuntimeError:  # a driver without graphs, or too little memory for them
            return function
