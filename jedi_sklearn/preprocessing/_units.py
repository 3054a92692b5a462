"""Replace neurons by hidden units, random mixtures of principal components."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.decomposition import PCA
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._components import ENOUGH_NEURONS, ENOUGH_TRIALS, axes_of_samples
from .._plausible import constant_neurons, warn_of_dominant, warn_of_zeros
from .._torch import isolated
from .._trials import Trials
from .._validation import as_numbers, check_number
from ._common import TrialTransformer, check

__all__ = ["HiddenUnits"]

MAX_COMPONENTS = 40
MAX_NEURONS = 500  # a random subset of at most this many chooses the number of components


class HiddenUnits(TrialTransformer):
    """Hidden units in place of neurons: random mixtures of principal components.

    An RNN has one unit for each column of `X`, and the tanh of each unit bends one direction of
    its state space. Hidden units let you choose how many there are. If thousands of neurons were
    recorded, a hundred units that hold their principal components make fits many times faster
    and leave out the noise of single neurons. If only a few neurons of a circuit were recorded,
    more units than neurons let the RNNs bend more directions, and on average they find more of
    the fixed points (docs/benchmarks/few_neurons.md). :meth:`inverse_transform` is the readout
    from units to neurons. It takes units as ``predict`` returns them, or fixed points in the units
    of `X`.

    Principal components need continuous activity: smooth spike counts first.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Number of principal components that the units hold. "auto": as many as improve the
        prediction of neurons that were held out, at most 40 and at most `n_units`. Fewer than 16
        trials or 4 neurons cannot decide this, nor can neurons that need at least half as many
        components as there are neurons: "auto" is then the largest number that these limits
        allow.
    n_units : int, default=100
        Number of units, at least `n_components`. The cost of a fit grows with it.
    random_state : int, RandomState instance or None, default=0
        Seed of the random mixture.

    Attributes
    ----------
    n_components_ : int
        Number of components.
    mixture_ : ndarray of shape (n_components, n_units)
        Weights of the components in each unit, columns of norm 1.
    components_ : ndarray of shape (n_components, n_neurons)
        Principal axes.
    mean_ : ndarray of shape (n_neurons,)
        Mean activity, in the unit of the data.
    explained_variance_ratio_ : ndarray of shape (n_components,)
        Share of the variance that each component explains, over all samples.
    n_features_in_ : int
        Number of neurons seen in :meth:`fit`.

    Raises
    ------
    ValueError, TypeError
        From :meth:`fit`: if a parameter is out of range or `X` is constant. From :meth:`fit` and
        :meth:`transform`: if `X` is not 3-D, holds infinity, has a different number of neurons
        than in :meth:`fit`, or has a sample in which only some neurons are missing. (Samples in
        which all neurons are missing may be NaN, and stay NaN.) From :meth:`inverse_transform`:
        if the last axis of `X` is not the units.

    See Also
    --------
    sklearn.decomposition.PCA : Finds the components.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from jedi_sklearn import JEDIEstimator
    >>> from jedi_sklearn.datasets import make_multitask
    >>> from jedi_sklearn.preprocessing import HiddenUnits
    >>> X = make_multitask(n_trials=40, n_neurons=300, n_timesteps=50, random_state=0).X
    >>> units = HiddenUnits(n_units=60).fit(X)
    >>> units.transform(X).shape
    (40, 50, 60)
    >>> error = X - units.inverse_transform(units.transform(X))
    >>> bool(error.var() < 0.05 * X.var())
    True
    >>> model = make_pipeline(units, JEDIEstimator(4, 8, max_iter=20, tol=1, random_state=0))
    >>> model.fit_transform(X).shape
    (40, 4)
    """

    def __init__(
        self,
        n_components: int | Literal["auto"] = "auto",
        n_units: int = 100,
        *,
        random_state: Any = 0,
    ):
        self.n_components = n_components
        self.n_units = n_units
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Find the principal components and draw the random mixture.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Activity; each sample is NaN in all neurons or in none.
        y : None
            Ignored.

        Returns
        -------
        self
            The fitted transformer.
        """
        X = _check_whole(check(X, missing=True))
        samples = X.reshape(-1, X.shape[-1])
        samples = samples[np.isfinite(samples[:, 0])]
        mean, variance = samples.mean(axis=0, dtype=float), samples.var(axis=0, dtype=float)
        constant = constant_neurons(mean, np.sqrt(variance), X.dtype)
        if constant.all():
            raise ValueError(
                "X is constant: no neuron changes over trials and time "
                f"(n_samples={len(samples)}), so there are no principal components."
            )
        warn_of_zeros(X)
        remedy = "Use TrialScaler first to give all neurons the same weight."
        warn_of_dominant(np.where(constant, 0.0, variance), remedy)
        check_number(self.n_units, "n_units", Integral, low=1)
        n = self.n_components
        if isinstance(n, str):
            if n != "auto":
                raise ValueError(f'n_components must be an integer or "auto", got {n!r}.')
            n = min(_enough(X), *samples.shape, self.n_units)
        else:
            check_number(n, "n_components", Integral, low=1, high=min(samples.shape))
        check_number(self.n_units, "n_units", Integral, low=n)
        pca = PCA(n, random_state=0).fit(samples)
        rng = check_random_state(self.random_state)
        mixture = rng.standard_normal((n, self.n_units))
        self.mixture_ = mixture / np.linalg.norm(mixture, axis=0)
        self.components_, self.mean_ = pca.components_, pca.mean_
        self.explained_variance_ratio_ = pca.explained_variance_ratio_
        self.n_components_, self.n_features_in_ = int(n), X.shape[-1]
        return self

    def transform(self, X: ArrayLike) -> NDArray:
        """Convert activity of neurons to units.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Activity of the neurons seen in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_trials, n_timesteps, n_units)
            Units, in the unit of the data, relative to their mean.
        """
        check_is_fitted(self)
        X = check(X, n_neurons=self.n_features_in_, fitted=type(self).__name__, missing=True)
        scores = (_check_whole(X) - self.mean_) @ self.components_.T
        return (scores @ self.mixture_).astype(X.dtype)

    def inverse_transform(self, X: ArrayLike) -> NDArray:
        """Convert units to activity of neurons, the readout.

        Parameters
        ----------
        X : array-like of shape (..., n_units)
            Units: trials, states or fixed points.

        Returns
        -------
        ndarray of shape (..., n_neurons)
            Activity, in the unit of the data seen in :meth:`fit`.
        """
        check_is_fitted(self)
        units, n_units = as_numbers(X, "X"), self.mixture_.shape[1]
        if units.ndim < 1 or units.shape[-1] != n_units:
            raise ValueError(
                f"X must have shape (..., n_units = {n_units}), got {units.shape}. Pass the "
                "output of transform, or that of a model fitted to it."
            )
        return units @ np.linalg.pinv(self.mixture_) @ self.components_ + self.mean_


def _check_whole(X: NDArray) -> NDArray:
    """Check that each sample holds all neurons or none."""
    missing = np.isnan(X)
    some = missing.any(axis=2) & ~missing.all(axis=2)
    if some.any():
        k, t = np.argwhere(some)[0]
        n = int(np.argmax(missing[k, t]))
        raise ValueError(
            f"Principal components need all neurons of a sample, but X[{k}, {t}, {n}] is NaN "
            "while other neurons have values. Leave out that neuron, or fit JEDIEstimator to the "
            "neurons themselves, which accepts gaps."
        )
    return X


@isolated
def _enough(X: NDArray) -> int:
    """Choose how many components predict held-out neurons; the limit if the data cannot tell."""
    n_trials, _, n_neurons = X.shape
    if n_trials < ENOUGH_TRIALS or n_neurons < ENOUGH_NEURONS:
        return MAX_COMPONENTS
    if n_neurons > MAX_NEURONS:
        X = X[:, :, np.random.RandomState(0).permutation(n_neurons)[:MAX_NEURONS]]
    y = torch.as_tensor(X - np.nanmean(X, axis=(0, 1)), dtype=torch.float64).transpose(0, 1)
    weight = torch.isfinite(y).to(y.dtype)
    curve = axes_of_samples(Trials(y.nan_to_num(), None if weight.all() else weight))
    return curve.best if curve.best < curve.sizes[-1] else MAX_COMPONENTS
