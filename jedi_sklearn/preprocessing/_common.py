"""What transformers and functions of this package share: their tags, and the check of arrays."""

from __future__ import annotations

from typing import Any, Self

from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from .._validation import check_trials

__all__ = ["TrialTransformer", "check"]


def check(X: ArrayLike, name: str = "X", **limits: Any) -> NDArray:
    """`check_trials` for what comes before a fit: a single sample is enough, objects are read."""
    return check_trials(X, name=name, **({"min_timesteps": 1, "objects": True} | limits))


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
