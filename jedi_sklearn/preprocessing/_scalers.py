"""Scale neurons: learned from training trials, undone on predictions."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from .._plausible import constant_neurons, warn_of_constant, warn_of_zeros
from .._validation import check_number, check_option, warn_user
from ._common import TrialTransformer, check

__all__ = ["SoftNormalizer", "TrialScaler"]


class _NeuronScaler(TrialTransformer):
    """Base of the scalers: subtraction of `center_`, division by `scale_`, learned by `_learn`."""

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Learn the centre and scale of each neuron over all trials and time steps.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Activity. NaN marks a missing sample and is ignored.
        y : None
            Ignored.

        Returns
        -------
        self
            The fitted transformer.
        """
        X = check(X, missing=True)
        samples = X.reshape(-1, X.shape[-1])
        unseen = np.isnan(samples).all(axis=0)
        if unseen.any():
            raise ValueError(
                f"Neuron {int(np.argmax(unseen))} is NaN in all of X. Leave out neurons that were "
                "never observed."
            )
        warn_of_zeros(X)
        self.center_, self.scale_ = self._learn(samples)
        self.n_features_in_ = X.shape[-1]
        return self

    def transform(self, X: ArrayLike) -> NDArray:
        """Scale activity.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Activity of the neurons seen in :meth:`fit`; NaN stays NaN.

        Returns
        -------
        ndarray of shape (n_trials, n_timesteps, n_neurons)
            Scaled activity, unitless.
        """
        X, center, scale = self._prepare(X)
        return (X - center) / scale

    def inverse_transform(self, X: ArrayLike) -> NDArray:
        """Undo :meth:`transform`.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_timesteps, n_neurons)
            Scaled activity.

        Returns
        -------
        ndarray of shape (n_trials, n_timesteps, n_neurons)
            Activity in the unit of the data seen in :meth:`fit`.
        """
        X, center, scale = self._prepare(X)
        return X * scale + center

    def _learn(self, samples: NDArray) -> tuple[NDArray, NDArray]:
        raise NotImplementedError

    def _prepare(self, X: ArrayLike) -> tuple[NDArray, NDArray, NDArray]:
        """Return X, centre and scale in the dtype of X."""
        check_is_fitted(self)
        X = check(X, n_neurons=self.n_features_in_, fitted=type(self).__name__, missing=True)
        return X, self.center_.astype(X.dtype), self.scale_.astype(X.dtype)


def _constant(mean: NDArray, size: NDArray, dtype: Any) -> NDArray:
    """Find neurons to divide by 1; warn of those that vary by no more than rounding."""
    constant = constant_neurons(mean, size, dtype)
    warn_of_constant(constant & (size > 0), size, instead="They are divided by 1; leave them out")
    return constant


class TrialScaler(_NeuronScaler):
    """Z-scoring of each neuron over all trials and time steps.

    Each neuron is z-scored, as :class:`~sklearn.preprocessing.StandardScaler` does for single
    samples: its mean is subtracted and it is divided by its standard deviation. A neuron that is
    constant up to rounding is divided by 1, with a warning.

    Attributes
    ----------
    center_ : ndarray of shape (n_neurons,)
        Mean of each neuron, in the unit of the data.
    scale_ : ndarray of shape (n_neurons,)
        Standard deviation of each neuron, 1 for constant neurons.
    n_features_in_ : int
        Number of neurons seen in :meth:`fit`.

    Raises
    ------
    ValueError
        If `X` is not 3-D, holds infinity, has a trial of only NaN, or has a different number of
        neurons than in :meth:`fit` (raised by all methods); if a neuron has no value (raised by
        :meth:`fit`).

    See Also
    --------
    SoftNormalizer : Keeps weakly active neurons small.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn.preprocessing import TrialScaler
    >>> X = np.random.default_rng(0).normal(3.0, 2.0, size=(5, 20, 4))
    >>> Z = TrialScaler().fit_transform(X)
    >>> bool(np.allclose(Z.mean(axis=(0, 1)), 0)), bool(np.allclose(Z.std(axis=(0, 1)), 1))
    (True, True)
    """

    def _learn(self, samples: NDArray) -> tuple[NDArray, NDArray]:
        scaler = StandardScaler().fit(samples)
        sd = np.sqrt(scaler.var_)
        return scaler.mean_, np.where(_constant(scaler.mean_, sd, samples.dtype), 1.0, sd)


class SoftNormalizer(_NeuronScaler):
    """Soft normalisation: division of each neuron by its range plus a constant.

    Strongly active neurons get a range near 1. Neurons whose range is small compared with the
    constant stay small, so that their noise is not amplified [1]_.

    Parameters
    ----------
    soft_constant : float, default=5.0
        Added to the range of each neuron, in the unit of the data. The default suits rates in
        spikes/s, as in [1]_, and is far too large for volts, dF/F or z-scores. With 0, each
        neuron gets a range of exactly 1; a neuron that is constant up to rounding is divided
        by 1.
    center : {"mean", None}, default="mean"
        Subtract the mean of each neuron over trials and time steps before dividing, or nothing.

    Attributes
    ----------
    center_ : ndarray of shape (n_neurons,)
        Value subtracted from each neuron, in the unit of the data.
    scale_ : ndarray of shape (n_neurons,)
        Divisor of each neuron: its range over trials and time steps plus `soft_constant`.
    n_features_in_ : int
        Number of neurons seen in :meth:`fit`.

    Raises
    ------
    ValueError
        If a parameter is out of range or a neuron has no value (raised by :meth:`fit`); if `X` is
        not 3-D, holds infinity, has a trial of only NaN, or has a different number of neurons
        than in :meth:`fit` (raised by all methods).

    See Also
    --------
    TrialScaler : Gives all neurons the same variance.

    References
    ----------
    .. [1] Churchland et al. (2012). Neural population dynamics during reaching. Nature
       487:51-56.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn.preprocessing import SoftNormalizer
    >>> rates = np.array([[[0.0, 0.0], [95.0, 5.0]]])  # one trial, two steps, two neurons
    >>> SoftNormalizer(center=None).fit_transform(rates)
    array([[[0.  , 0.  ],
            [0.95, 0.5 ]]])
    """

    def __init__(self, soft_constant: float = 5.0, *, center: Literal["mean"] | None = "mean"):
        self.soft_constant = soft_constant
        self.center = center

    def _learn(self, samples: NDArray) -> tuple[NDArray, NDArray]:
        check_number(self.soft_constant, "soft_constant", low=0, unit="the unit of the data")
        check_option(self.center, "center", ("mean", None))
        span = np.nanmax(samples, axis=0) - np.nanmin(samples, axis=0)
        span, mean = span.astype(float), np.nanmean(samples, axis=0, dtype=float)
        scale = span + self.soft_constant
        if 0 < span.max() < self.soft_constant:
            warn_user(
                f"soft_constant={self.soft_constant:g} is larger than the range of every neuron "
                f"(at most {span.max():.2g}), so all are divided by nearly the same value. It is "
                "in the unit of X, and its default is meant for rates in spikes/s. Choose a value "
                "below the ranges, or use TrialScaler."
            )
        if self.soft_constant == 0:
            scale[_constant(mean, span, samples.dtype)] = 1.0
        return (mean if self.center == "mean" else np.zeros_like(mean)), scale
