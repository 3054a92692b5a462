"""Fit a linear dynamical system, one noisy linear map for all trials, by EM."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_is_fitted

from .._components import axes_of_samples
from .._parameters import MAX_COMPONENTS
from .._torch import isolated
from .._validation import check_number, check_option
from ._common import EmbeddingBaseline, Readout, check_embeddings
from ._kalman import LEAST_NOISE, LinearGaussian

__all__ = ["LinearDynamicalSystem"]


class LinearDynamicalSystem(EmbeddingBaseline):
    r"""Linear dynamical system with Gaussian noise, one for all trials, fitted by EM.

    .. math::

        x_0 \sim N(m_0, P_0), \quad x_{t+1} = A x_t + N(0, Q), \quad y_t = C x_t + d + N(0, R)

    with a low-dimensional state and diagonal R. All trials share one A, so they differ only in
    where they start and in the noise that drives them. The model cannot distinguish tasks by
    their dynamics, and has one fixed point. ``transform`` returns the smoothed first state, as
    many numbers per trial as the state has dimensions; ``predict`` returns the smoothed activity,
    which uses that many numbers *per sample*. With ``reconstruction="free"``, ``predict`` returns
    the noise-free run from the smoothed first state instead, which is comparable with the free
    runs of JEDIEstimator.

    Spike counts are smoothed as JEDIEstimator smooths them for its start. The system then
    describes log rates, which are read out by a Poisson regression for each neuron.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Number of dimensions of the state. "auto" is the number of principal components of samples
        that help to predict held-out neurons, at most 24.
    reconstruction : {"smoothed", "free"}, default="smoothed"
        What ``predict`` and the scores use: states given the whole trial, or the noise-free run
        from the first of them. You may change it after a fit, but the readout of spike counts
        remains that of the fitted one.
    observation : {"auto", "gaussian", "poisson"}, default="auto"
        What `X` holds, as in :class:`~jedi_sklearn.JEDIEstimator`.
    max_iter : int, default=200
        Maximum number of EM steps.
    tol : float, default=1e-4
        EM has converged if the log-likelihood per observed value rises by less than this in one
        step. With a tenth of the default, scores of held-out trials did not rise (five
        recordings).

    Attributes
    ----------
    A_ : ndarray of shape (n_components, n_components)
        Dynamics of one step, that is, one sample. For a sampling interval dt its eigenvalues
        correspond to growth rates ``log(abs(eigenvalue)) / dt`` and frequencies
        ``angle(eigenvalue) / 2 pi dt``.
    C_ : ndarray of shape (n_neurons, n_components)
        Readout of the states with orthonormal columns, in training SDs (for spike counts, in
        JEDIEstimator's units of log rates). Over the training trials, the components of smoothed
        states are uncorrelated and have decreasing variances.
    d_ : ndarray of shape (n_neurons,)
        Activity at state 0, in the same units.
    Q_, P0_ : ndarray of shape (n_components, n_components)
        Covariances of the noise in one step, and of first states.
    R_ : ndarray of shape (n_neurons,)
        Variance of the observation noise.
    m0_ : ndarray of shape (n_components,)
        Mean first state.
    log_likelihood_ : list of float
        Log-likelihood of the training trials before each EM step; it never falls.
    n_iter_ : int
        Number of EM steps.
    converged_ : bool
        Whether EM converged.
    embedding_ : ndarray of shape (n_trials, n_components)
        Embeddings of the training trials, as from ``transform``.
    n_components_ : int
        Number of dimensions of the state.
    observation_ : {"gaussian", "poisson"}
        What `X` was taken as.
    n_features_in_ : int
        Number of neurons.
    n_timesteps_ : int
        Samples per training trial. Other trials may have any length.

    Raises
    ------
    ValueError, TypeError
        If data or parameters cannot be used. The text says what to try.

    Warns
    -----
    ConvergenceWarning
        If EM has not converged.

    References
    ----------
    Shumway and Stoffer (1982), "An approach to time series smoothing and forecasting using the EM
    algorithm", J. Time Ser. Anal. 3:253-264. Ghahramani and Hinton (1996), "Parameter estimation
    for linear dynamical systems", CRG-TR-96-2. Rauch, Tung and Striebel (1965), "Maximum
    likelihood estimates of linear dynamic systems", AIAA J. 3:1445-1450.

    Examples
    --------
    >>> from jedi_sklearn.baselines import LinearDynamicalSystem
    >>> from jedi_sklearn.datasets import make_multitask
    >>> X = make_multitask(n_trials=40, n_neurons=40, n_timesteps=60, random_state=0).X
    >>> lds = LinearDynamicalSystem(n_components=6, tol=0.01).fit(X[:30])
    >>> lds.transform(X[30:]).shape
    (10, 6)
    >>> lds.score(X[30:]) > 0.9
    True
    >>> lds.forecast(X[30:, :40], 20).shape
    (10, 20, 40)
    """

    _fixed_length, _least_timesteps = False, 2

    def __init__(
        self,
        n_components="auto",
        *,
        reconstruction="smoothed",
        observation="auto",
        max_iter=200,
        tol=1e-4,
    ):
        self.n_components = n_components
        self.reconstruction = reconstruction
        self.observation = observation
        self.max_iter = max_iter
        self.tol = tol

    def _check_parameters(self):
        if not isinstance(self.n_components, str):
            check_number(self.n_components, "n_components", Integral, low=1)
        else:
            check_option(self.n_components, "n_components", ("auto",), ", or an integer")
        check_option(self.reconstruction, "reconstruction", ("smoothed", "free"))
        check_number(self.max_iter, "max_iter", Integral, low=1)
        check_number(self.tol, "tol", low=0)

    def _learn(self, data, y):
        Y, seen, n = data.states, data.seen, self.n_components
        n_values = Y.size if seen is None else seen.sum()
        samples = Y.reshape(-1, Y.shape[2])
        most = min(len(samples) - 1, samples.shape[1])
        if n == "auto":
            n = min(axes_of_samples(data.trials).best, MAX_COMPONENTS, most)
        elif n > most:
            raise ValueError(
                f"n_components={n} is above {most}, the maximum for {samples.shape[1]} neurons "
                f"and {len(samples)} samples. Lower it."
            )
        pca = PCA(n, svd_solver="full").fit(samples)
        scores = (samples - pca.mean_) @ pca.components_.T
        floor = LEAST_NOISE * np.maximum(samples.var(axis=0), samples.var(axis=0).mean())
        noise = np.square(samples - pca.mean_ - scores @ pca.components_).mean(axis=0)
        scores = scores.reshape(*Y.shape[:2], n)
        model = LinearGaussian.start(pca.components_, pca.mean_, scores, np.maximum(noise, floor))
        curve, converged = [], False
        while len(curve) < self.max_iter and not converged:
            found = model.smooth(Y, seen)
            curve.append(float(found.log_likelihood.sum()))
            model = LinearGaussian.maximise(Y, seen, found, floor)
            converged = len(curve) > 1 and curve[-1] - curve[-2] < self.tol * n_values
        model = _in_principal_axes(model, found.mean)
        states, first = self._states(model, Y, seen)
        return {
            "_model": model,
            "_readout": Readout.learn(data, model.observe(states)),
            **{f"{name}_": value for name, value in vars(model).items()},
            "log_likelihood_": curve,
            "n_iter_": len(curve),
            "converged_": converged,
            "embedding_": first,
            "n_components_": int(n),
        }

    def _complaint(self):
        if not self.converged_:
            return (
                f"EM has not converged in max_iter={self.max_iter} steps: the log-likelihood per "
                f"observed value still rises by more than tol={self.tol:g} per step. Raise "
                "max_iter, or tol."
            )
        return None

    def _states(self, model, Y, seen):
        """Compute the states behind the reconstruction, and first states."""
        x = model.smooth(Y, seen).mean
        first = x[:, 0].copy()
        return model.run(first, Y.shape[1]) if self.reconstruction == "free" else x, first

    def _embed(self, data):
        return self._model.smooth(data.states, data.seen).mean[:, 0]

    def _describe(self, data):
        return self._model.observe(self._states(self._model, data.states, data.seen)[0])

    @isolated
    def inverse_transform(self, E, n_timesteps=None):
        """Generate noise-free activity from first states.

        Parameters
        ----------
        E : array-like of shape (n_trials, n_components)
            First states, as from ``transform``.
        n_timesteps : int, optional
            Number of samples, including the first. Default: that of the training trials.

        Returns
        -------
        ndarray of shape (n_trials, n_timesteps, n_neurons)
            Activity in the units of `X`.
        """
        check_is_fitted(self)
        E = check_embeddings(E, self.n_components_)
        n = self.n_timesteps_ if n_timesteps is None else n_timesteps
        check_number(n, "n_timesteps", Integral, low=1)
        return self._activity(self._model.observe(self._model.run(E, n)))

    @isolated
    def forecast(self, X, n_timesteps):
        """Forecast what follows trials, from the state at the last sample.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_seen, n_neurons)
            Samples that are seen, NaN where one is missing.
        n_timesteps : int
            Number of samples to forecast.

        Returns
        -------
        ndarray of shape (n_trials, n_timesteps, n_neurons)
            Forecast in the units of `X`.
        """
        check_number(n_timesteps, "n_timesteps", Integral, low=1)
        data = self._data(self._check_X(X))
        last = self._model.smooth(data.states, data.seen).mean[:, -1]
        run = self._model.run(last, n_timesteps + 1)[:, 1:]
        return self._activity(self._model.observe(run))


def _in_principal_axes(model, states):
    """Transform the model to orthonormal readout and uncorrelated states by falling variance."""
    states = states.reshape(-1, states.shape[2])
    _, triangle = np.linalg.qr(model.C)
    power, axes = np.linalg.eigh(np.cov((states @ triangle.T).T).reshape(triangle.shape))
    T = axes[:, np.argsort(-power)].T @ triangle
    readout = model.C @ np.linalg.inv(T)
    largest = np.take_along_axis(readout, np.abs(readout).argmax(axis=0)[np.newaxis], axis=0)
    return model.turned(T * np.sign(largest).T)
