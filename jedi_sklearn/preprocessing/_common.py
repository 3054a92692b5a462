"""Share code among the preprocessing functions: checks, intervals, a base class."""

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

SLIVER = 1e-6  # of a bin: above the rounding error of times, below the resolution of any clock


def check(X: ArrayLike, name: str = "X", **limits: Any) -> NDArray:
    """Check trials before a fit: a single time step is enough, object arrays are converted."""
    return check_trials(X, name=name, **({"min_timesteps": 1, "objects": True} | limits))


def whole_bins(seconds: float, bin_width: float, name: str) -> int:
    """Convert a duration to bins; it must be a whole number of bins up to rounding."""
    n = round(seconds / bin_width)
    if abs(seconds / bin_width - n) > SLIVER * max(1, abs(n)):
        low = math.floor(seconds / bin_width)
        unit = f" Times are in s: {bin_width:g} ms are {bin_width / 1000:g}."
        raise ValueError(
            f"{name} must be a whole number of bins of {bin_width:g} s, got {seconds:g} s, which "
            f"is {seconds / bin_width:.4g} bins. Try {low * bin_width:g} or "
            f"{(low + 1) * bin_width:g} s.{unit if bin_width >= 1 else ''}"
        )
    return n


def merge_intervals(intervals: NDArray, sliver: float = 0.0) -> NDArray:
    """Sort intervals (n, 2) and merge those that overlap or lie within `sliver` of each other."""
    start, stop = intervals[np.argsort(intervals[:, 0])].T
    reach = np.maximum.accumulate(stop)
    first = np.r_[True, start[1:] > reach[:-1] + sliver]
    return np.stack([start[first], reach[np.r_[first[1:], True]]], axis=1)


def repeated(names: list[Any]) -> list[Any]:
    """List the entries that occur more than once."""
    return [name for name, n in Counter(names).items() if n > 1]


class TrialTransformer(TransformerMixin, BaseEstimator):
    """Base class of transformers that take trials (3-D arrays, NaN where a sample is missing)."""

    def set_output(self, *, transform: str | None = None) -> Self:
        """Accept the request for a data frame and ignore it.

        Trials stay arrays: they have three axes, and a data frame has two. The method exists
        because a Pipeline passes ``set_output`` on to each of its steps; later steps, whose
        output has two axes, return the data frame.

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
