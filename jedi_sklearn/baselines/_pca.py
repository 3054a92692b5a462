"""Describe whole trials by principal components: a few numbers per trial, without dynamics."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_is_fitted

from .._components import components_of_trials, posterior_scores
from .._torch import isolated
from .._validation import check_seed
from ._common import EmbeddingBaseline, Readout, check_embeddings, choose_components

__all__ = ["PCATrajectories", "RowComponents"]


class PCATrajectories(EmbeddingBaseline):
    """Principal components of whole trials, with as many numbers per trial as JEDIEstimator.

    Each trial is one row of samples times neurons, passed to :class:`sklearn.decomposition.PCA`.
    This is the linear map that best reconstructs the training trials from so many numbers, so it
    shows how much of a reconstruction the numbers alone achieve. It has no dynamics: trials must
    be as long as those of the fit, and components may be any trajectories.

    Spike counts are smoothed as JEDIEstimator smooths them for its start, and the components are
    those of log rates. A Poisson regression for each neuron converts reconstructed log rates to
    expected counts. All neurons are divided by one common SD; to give them equal weight, put a
    :class:`~jedi_sklearn.preprocessing.TrialScaler` before this model.

    Parameters
    ----------
    n_components : int or "auto", default="auto"
        Number of components, that is, of numbers per trial. "auto" is the choice of
        ``JEDIEstimator(n_components="auto")``: as many components as help to predict held-out
        neurons, at most 24.
    observation : {"auto", "gaussian", "poisson"}, default="auto"
        What `X` holds, as in :class:`~jedi_sklearn.JEDIEstimator`.
    random_state : int, RandomState or None, default=None
        Seed of the randomised solver, which PCA uses for large data.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_timesteps, n_neurons)
        Principal axes, of norm 1.
    mean_ : ndarray of shape (n_timesteps, n_neurons)
        Mean trial, in training SDs relative to each neuron's mean (for spike counts, in
        JEDIEstimator's units of log rates).
    explained_variance_ratio_ : ndarray of shape (n_components,)
        Share of the variance of the (smoothed) training trials.
    embedding_ : ndarray of shape (n_trials, n_components)
        Embeddings of the training trials, as from ``transform``.
    n_components_ : int
        Number of components.
    observation_ : {"gaussian", "poisson"}
        What `X` was taken as.
    n_features_in_ : int
        Number of neurons.
    n_timesteps_ : int
        Samples per trial.

    Raises
    ------
    ValueError, TypeError
        If data or parameters cannot be used. The text says what to try.

    Notes
    -----
    Missing values of a neuron at times when others were recorded are imputed as JEDIEstimator
    imputes them for its start: over time, and from the other neurons by the principal axes of
    samples. Samples in which nothing was recorded, such as the ends of shorter trials, are
    predicted by probabilistic principal components from the rest of the trial; in the fit, the
    last values are held. ``predict`` therefore predicts hidden neurons and samples.

    References
    ----------
    Tipping and Bishop (1999), "Probabilistic principal component analysis", J. R. Stat. Soc. B
    61:611-622.

    Examples
    --------
    >>> from jedi_sklearn.baselines import PCATrajectories
    >>> from jedi_sklearn.datasets import make_multitask
    >>> X = make_multitask(n_trials=60, n_neurons=40, n_timesteps=60, random_state=0).X
    >>> pca = PCATrajectories(n_components=6, random_state=0).fit(X[:45])
    >>> pca.transform(X[45:]).shape
    (15, 6)
    >>> pca.predict(X[45:]).shape
    (15, 60, 40)
    >>> pca.score(X[45:]) > 0.9
    True
    """

    def __init__(self, n_components="auto", *, observation="auto", random_state=None):
        self.n_components = n_components
        self.observation = observation
        self.random_state = random_state

    def _check_parameters(self):
        check_seed(self.random_state)

    def _learn(self, data, y):
        n_trials, rng = len(data.X), check_seed(self.random_state)
        n = choose_components(
            self.n_components, n_trials, lambda: components_of_trials(data.trials)
        )
        rows = data.states.reshape(n_trials, -1)
        if n > rows.shape[1]:
            raise ValueError(
                f"n_components={n} is more than the {rows.shape[1]} values of a trial. Lower it."
            )
        components = RowComponents.learn(rows, n, rng)
        scores = components.scores(rows, _by_value(data))
        states = components.runs(scores).reshape(data.X.shape)
        shape = (-1, *data.X.shape[1:])
        return {
            "_components": components,
            "_readout": Readout.learn(data, states),
            "components_": components.axes.reshape(shape),
            "mean_": components.mean.reshape(shape[1:]),
            "explained_variance_ratio_": components.share,
            "embedding_": scores,
            "n_components_": n,
        }

    def _embed(self, data):
        return self._components.scores(data.states.reshape(len(data.X), -1), _by_value(data))

    def _describe(self, data):
        return self._components.runs(self._embed(data)).reshape(data.X.shape)

    @isolated
    def inverse_transform(self, E):
        """Generate trials from embeddings.

        Parameters
        ----------
        E : array-like of shape (n_trials, n_components)
            Embeddings, as from ``transform``.

        Returns
        -------
        ndarray of shape (n_trials, n_timesteps, n_neurons)
            Activity in the units of `X`.
        """
        check_is_fitted(self)
        E = check_embeddings(E, self.n_components_)
        return self._activity(self._components.runs(E).reshape(-1, *self.mean_.shape))


def _by_value(data):
    """Tell for each value of a row if anything was recorded at that sample; None for always."""
    return None if data.recorded is None else np.repeat(data.recorded, data.X.shape[2], axis=1)


class RowComponents:
    """Principal components of rows, probabilistic ones where values are missing."""

    def __init__(self, mean, axes, share, gain, noise):
        self.mean, self.axes, self.share, self.gain, self.noise = mean, axes, share, gain, noise

    @classmethod
    def learn(cls, rows, n, rng):
        """Learn the n leading components of rows without gaps."""
        pca = PCA(n, random_state=rng).fit(rows)
        power, whole = pca.explained_variance_, rows.var(axis=0, ddof=1).sum()
        noise = max(whole - power.sum(), 0.0) / max(rows.shape[1] - n, 1)
        noise = max(noise, 1e-9 * whole)  # so that what is seen determines the scores
        gain = np.sqrt(np.maximum(power - noise, 0.0))
        return cls(pca.mean_, pca.components_, pca.explained_variance_ratio_, gain, noise)

    def scores(self, rows, seen):
        """Compute scores of rows, expected ones if not everything was seen."""
        return (self.complete(rows, seen) - self.mean) @ self.axes.T

    def runs(self, scores):
        """Compute rows from scores."""
        return self.mean + scores @ self.axes

    def complete(self, rows, seen):
        """Replace values that were not seen by those expected, given the rest of the row."""
        if seen is None:
            return rows
        rows = rows.copy()
        patterns, which = np.unique(seen, axis=0, return_inverse=True)
        for k, columns in enumerate(patterns):
            index = np.flatnonzero(which.ravel() == k)
            axes = self.axes[:, columns]
            projected = (rows[index] - self.mean)[:, columns] @ axes.T
            scores = posterior_scores(axes @ axes.T, projected, self.gain, self.noise)
            expected = self.runs(scores * self.gain)
            rows[index] = np.where(columns, rows[index], expected)
        return rows
