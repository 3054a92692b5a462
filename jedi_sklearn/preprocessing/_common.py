"""The check of arrays that come before a fit."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from .._validation import check_trials

__all__ = ["check"]


def check(X: ArrayLike, name: str = "X", **limits: Any) -> NDArray:
    """`check_trials` for what comes before a fit: a single sample is enough, objects are read."""
    return check_trials(X, name=name, **({"min_timesteps": 1, "objects": True} | limits))
