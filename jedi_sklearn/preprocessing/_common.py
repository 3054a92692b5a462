"""What transformers and functions of this package share: their tags, and the check of arrays."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from .._validation import check_trials

__all__ = [
    "SLIVER",
    "TrialTransformer",
    "check",
    "merge_intervals",
    "repeated",
    "whole_bins",
]

SLIVER = 1e-6  # of a bin: more than rounding of times, less than any clock resolves


def check(X: ArrayLike, name: str = "X", **limits: Any) -> NDArray:
    """`check_trials` for what comes before a fit: a single sample is enough, objects are read."""
    return check_trials(X, name=name, **({"min_timesteps": 1, "objects": True} | limits))


def whole_bins(seconds: float, bin_width: float, name: str) -> int:
    """Bins in a time, where they are whole but for rounding."""
    n = round(seconds / bin_width)
    if abs(seconds / bin_width - n) > SLIVER * max(1, abs(n)):
        low = math.floor(seconds / bin_width)
        raise ValueError(
            f"{name} must be a whole number of bins of {bin_width:g} s, got {seconds:g} s, "
            f"{seconds / bin_width:.4g} bins. {low * bin_width:g} or "
            f"{(low + 1) * bin_width:g} s are."
        )
    return n


def merge_intervals(intervals: NDArray, sliver: float = 0.0) -> NDArray:
    """Intervals (n, 2) in order, and one of those that overlap or touch to within `sliver`."""
    start, stop = intervals[np.argsort(intervals[:, 0])].T
    reach = np.maximum.accumulate(stop)
    first = np.r_[True, start[1:] > reach[:-1] + sliver]
    return np.stack([start[first], reach[np.r_[first[1:], True]]], axis=1)


def repeated(names: list[Any]) -> list[Any]:
    """What stands more than once in a list."""
    return [name for name, n in Counter(names).items() if n > 1]


class TrialTransformer(TransformerMixin, BaseEstimator):
    """Base of transformers of trials, whose input has three axes, and NaN where it is missing."""

    def set_output(self, *, transform: str | None = None) -> Self:
        """Leave trials arrays: they have three axes, and a data frame has two.

        It is there for a Pipeline, which asks each of its steps for one container: the steps
        behind give it.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None
            Ignored.

        Returns
        -------
        self
            Unchanged.
        """
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags
