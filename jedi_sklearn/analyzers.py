"""Turn RNNs into features for a pipeline: eigenspectra, fixed points, Lyapunov exponents."""

from __future__ import annotations

import warnings
from abc import ABCMeta, abstractmethod
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ._reduced import check_rnns, own_runs
from ._validation import check_number, check_option, check_seed
from .fixed_points import MARGIN, check_search, find_fixed_points, frequencies, growth_rates
from .lyapunov import lyapunov_exponents
from .spectra import PLACES, eigenspectrum

__all__ = [
    "DynamicsAnalyzer",
    "EigenspectrumAnalyzer",
    "FixedPointAnalyzer",
    "LyapunovAnalyzer",
]


class DynamicsAnalyzer(TransformerMixin, BaseEstimator, metaclass=ABCMeta):
    """Base class of transformers that turn a batch of RNNs into real features, one row per RNN.

    A subclass checks its parameters (``_check_parameters``), names the columns (``_names``) and
    computes them (``_features``). Each row depends only on its own RNN, so ``fit`` learns nothing
    but the number of neurons. In a Pipeline, an analyzer follows
    ``JEDIEstimator(output="dynamics")``.

    Attributes
    ----------
    n_features_in_ : int
        Number of neurons of the RNNs.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn import DynamicsAnalyzer, RNNBatch
    >>> class SpectralRadius(DynamicsAnalyzer):
    ...     def _check_parameters(self, rnns):
    ...         pass
    ...     def _names(self):
    ...         return ["spectral_radius"]
    ...     def _features(self, rnns):
    ...         return np.abs(rnns.eigenvalues()).max(axis=1, keepdims=True)
    >>> rnn = RNNBatch.from_dense(1.5 * np.eye(2), dt=0.01, tau=0.1)
    >>> SpectralRadius().fit_transform(rnn)
    array([[1.5]])
    """

    def fit(self, X, y=None):
        """Check the parameters against the RNNs.

        Parameters
        ----------
        X : RNNBatch, or sequence of RNNBatch of one size
            RNNs to analyse.
        y : None
            Ignored.

        Returns
        -------
        self
            The fitted transformer.
        """
        X = check_rnns(X)
        self._check_parameters(X)
        self.n_features_in_ = X.n_neurons
        return self

    def transform(self, X):
        """Compute the features of RNNs.

        Parameters
        ----------
        X : RNNBatch, or sequence of RNNBatch of one size
            RNNs with as many neurons as in :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_rnns, n_features)
            Features, in the order of :meth:`get_feature_names_out`.
        """
        check_is_fitted(self)
        X = check_rnns(X)
        if X.n_neurons != self.n_features_in_:
            raise ValueError(
                f"{type(self).__name__} was fitted to RNNs of {self.n_features_in_} neurons, "
                f"got RNNs of {X.n_neurons} neurons. Fit it to RNNs of this size."
            )
        self._check_parameters(X)
        return self._features(X)

    def get_feature_names_out(self, input_features=None):
        """Get the feature names.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of str
            Names, in the order of the columns that :meth:`transform` returns.
        """
        check_is_fitted(self)
        return np.asarray(self._names(), dtype=object)

    def __sklearn_tags__(self):
        """Mark the input as a batch of RNNs rather than a 2-D array."""
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags

    @abstractmethod
    def _check_parameters(self, rnns):
        """Raise an error if the parameters cannot be used on these RNNs."""

    @abstractmethod
    def _names(self):
        """Names of the columns of ``_features``."""

    @abstractmethod
    def _features(self, rnns):
        """Compute real features, (n_rnns, n_features)."""


class EigenspectrumAnalyzer(DynamicsAnalyzer):
    """Features of the eigenspectra of RNNs.

    The features are the leading eigenvalues of one time step, as growth rates (1/s) and
    frequencies (Hz), and three summaries. Each complex-conjugate pair is listed once. If an RNN
    has fewer eigenvalues than requested, the remaining columns hold those of the leak,
    ``log(1 - alpha) / dt`` and 0 Hz.

    Parameters
    ----------
    at : {"origin", "weights", "trajectory", "equivalent"}, default="origin"
        Where to linearise, as in :func:`eigenspectrum`. With "trajectory", features are means
        over the samples of the RNN's free run. With "equivalent", they describe the free run as a
        whole, and an oscillation keeps its own frequency.
    n_eigenvalues : int, default=3
        Number of leading eigenvalues to list; 0 for the summaries only.
    min_growth_rate : float, optional
        Eigenvalues with a growth rate below this (1/s) do not count for ``max_frequency``: such
        modes decay before they can be seen, and are fitted to noise. Default: all count. Along a
        trajectory, ``max_frequency`` is the mean over the samples with an eigenvalue that counts.

    Notes
    -----
    The columns are ``growth_rate0``, ``frequency0``, ..., then ``max_frequency`` (the largest,
    Hz; 0 if no eigenvalue counts), ``spectral_radius`` (largest modulus of a multiplier) and
    ``n_unstable`` (number of multipliers outside the unit circle).

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn import EigenspectrumAnalyzer, RNNBatch
    >>> rnn = RNNBatch.from_dense([[1.0, -6.0], [6.0, 1.0]], dt=0.001)
    >>> EigenspectrumAnalyzer(n_eigenvalues=1).fit_transform(rnn).round(2)
    array([[1.8 , 9.54, 9.54, 1.  , 2.  ]])
    """

    def __init__(self, at="origin", n_eigenvalues=3, min_growth_rate=None):
        self.at = at
        self.n_eigenvalues = n_eigenvalues
        self.min_growth_rate = min_growth_rate

    def _check_parameters(self, rnns):
        check_number(self.n_eigenvalues, "n_eigenvalues", Integral, low=0)
        if self.min_growth_rate is not None:
            check_number(self.min_growth_rate, "min_growth_rate", unit="1/s")
        check_option(self.at, "at", PLACES)

    def _names(self):
        each = [f"{n}{i}" for i in range(self.n_eigenvalues) for n in ("growth_rate", "frequency")]
        return [*each, "max_frequency", "spectral_radius", "n_unstable"]

    def _features(self, rnns):
        values = eigenspectrum(rnns, self.at).multipliers
        if values.ndim == 2:
            values = values[:, np.newaxis]
        seen = ~np.isnan(values).any(axis=2)  # not after the end of a trial
        values = np.where(seen[..., np.newaxis], values, 1 - rnns.alpha)
        n, n_leaks = self.n_eigenvalues, min(self.n_eigenvalues, rnns.n_neurons - rnns.rank)
        rest = np.full((*values.shape[:2], n), 1 - rnns.alpha)  # true leaks, then padding
        single = np.concatenate([values, rest], axis=2)
        size = np.abs(single)
        size[single.imag < 0] = -1  # the second of each pair and the padding come last
        size[..., values.shape[2] + n_leaks :] = -1
        single[single.imag < 0] = 1 - rnns.alpha
        order = np.argsort(-size, axis=2, kind="stable")[..., :n]
        growth, frequency = _rates(np.take_along_axis(single, order, axis=2), rnns.dt)
        each = np.stack([growth, frequency], axis=-1).reshape(*values.shape[:2], -1)
        size = np.abs(values)
        summary = [
            _mean(np.maximum(size.max(axis=2), _leak(rnns)), seen),
            _mean((size > 1 + MARGIN).sum(axis=2), seen),
        ]
        columns = [self._max_frequency(values, seen, rnns.dt), *summary]
        return np.concatenate([_mean(each, seen[..., None]), np.stack(columns, axis=-1)], axis=-1)

    def _max_frequency(self, values, seen, dt):
        """Find the largest frequency of eigenvalues that count, mean over samples with any."""
        growth, frequency = _rates(values, dt)
        least = -np.inf if self.min_growth_rate is None else self.min_growth_rate
        counts = (growth >= least) & seen[..., np.newaxis]
        largest = np.where(counts, frequency, 0.0).max(axis=2)
        n = counts.any(axis=2).sum(axis=1)
        return largest.sum(axis=1) / np.maximum(n, 1)


class FixedPointAnalyzer(DynamicsAnalyzer):
    """Features of the fixed points of RNNs.

    The features count the fixed points and describe the one that matters most to the trial: the
    point nearest to the end of the RNN's free run, or nearest to the origin if the batch has no
    free runs. To get the fixed points themselves, whose number differs between RNNs, use
    :func:`find_fixed_points`.

    Parameters
    ----------
    n_random_starts : int, default=64
        Number of random starts of the search.
    slow_speed : float, optional
        Speed (1/s) below which a state counts as a slow point. Default: exact fixed points only.
    merge_distance : float, default=0.01
        RMS distance over neurons below which points count as one.
    max_iter : int, default=200
        Maximum number of Newton steps.
    random_state : int, RandomState or None, default=0
        Seed of the random starts.
    fill_value : float, default=0.0
        Value of the features of the nearest point if no point was found in an RNN.

    See Also
    --------
    find_fixed_points : Finds the points, and explains the parameters of the search.

    Notes
    -----
    The columns are the numbers of points ``n_stable``, ``n_unstable`` and ``n_slow``, and for the
    nearest point: ``distance`` (RMS over neurons from the end of the free run, where its trial
    ends, or from the origin), ``norm`` (RMS of its state), ``growth_rate`` (1/s) and
    ``frequency`` (Hz) of its leading eigenvalue, ``n_unstable_directions`` and ``speed`` (1/s).

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn import FixedPointAnalyzer, RNNBatch
    >>> m = np.ones((10, 1))
    >>> analyzer = FixedPointAnalyzer().fit(RNNBatch(m, 0.15 * m))
    >>> analyzer.transform(RNNBatch(m, 0.15 * m))[0, :3]
    array([2., 1., 0.])
    """

    def __init__(
        self,
        n_random_starts=64,
        slow_speed=None,
        merge_distance=0.01,
        max_iter=200,
        random_state=0,
        fill_value=0.0,
    ):
        self.n_random_starts = n_random_starts
        self.slow_speed = slow_speed
        self.merge_distance = merge_distance
        self.max_iter = max_iter
        self.random_state = random_state
        self.fill_value = fill_value

    def _check_parameters(self, rnns):
        check_search(self.n_random_starts, self.slow_speed, self.merge_distance, self.max_iter)
        check_seed(self.random_state)
        if not isinstance(self.fill_value, Real):  # NaN and infinity are allowed
            raise TypeError(f"fill_value must be a number, got {self.fill_value!r}.")

    def _names(self):
        return [
            "n_stable",
            "n_unstable",
            "n_slow",
            "distance",
            "norm",
            "growth_rate",
            "frequency",
            "n_unstable_directions",
            "speed",
        ]

    def _features(self, rnns):
        with warnings.catch_warnings():  # the counts show that an RNN has no fixed points
            warnings.filterwarnings("ignore", "No fixed point was found", UserWarning)
            found = find_fixed_points(
                rnns,
                n_random_starts=self.n_random_starts,
                slow_speed=self.slow_speed,
                merge_distance=self.merge_distance,
                max_iter=self.max_iter,
                random_state=self.random_state,
            )
        end = np.zeros(rnns.shape)
        if rnns.has_free_run:
            end = np.stack([run[-1] for run in own_runs(rnns)])
        leak = _leak(rnns)
        pairs = zip(found, end, strict=True)
        return np.stack([self._row(points, x, leak) for points, x in pairs])

    def _row(self, points, reference, leak):
        counts = [
            (points.exact & points.stable).sum(),
            (points.exact & ~points.stable).sum(),
            (~points.exact).sum(),
        ]
        if not len(points):
            return np.array([*counts, *[self.fill_value] * 6], dtype=float)
        distance = np.sqrt(np.square(points.points - reference).mean(axis=1))
        i = int(distance.argmin())
        leading = max(points.multipliers[i, 0], leak, key=abs)
        growth, frequency = _rates(leading, points.dt)
        norm = np.sqrt(np.square(points.points[i]).mean())
        rest = [distance[i], norm, growth, frequency, points.n_unstable[i], points.speeds[i]]
        return np.array([*counts, *rest], dtype=float)


class LyapunovAnalyzer(DynamicsAnalyzer):
    """Leading Lyapunov exponents of the free runs of RNNs.

    Parameters
    ----------
    n_exponents : int, default=3
        Number of exponents, largest first. If an RNN has fewer neurons, the remaining columns
        hold the exponent of the leak, ``log(1 - alpha) / dt``.
    n_timesteps : int, optional
        Number of samples of the free run. Default: as many as in the trial of the RNN.
    burn_in : int, default=0
        Number of steps at the start that do not count.

    Notes
    -----
    The columns are ``lyapunov0``, ``lyapunov1``, ... (1/s). The RNNs must have initial states, as
    those from ``JEDIEstimator(output="dynamics")`` do.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn import LyapunovAnalyzer, RNNBatch
    >>> rnn = RNNBatch.from_dense(np.zeros((3, 3)), initial_states=np.ones(3), n_timesteps=9)
    >>> LyapunovAnalyzer(n_exponents=1).fit_transform(rnn).round(2)
    array([[-10.54]])
    """

    def __init__(self, n_exponents=3, n_timesteps=None, burn_in=0):
        self.n_exponents = n_exponents
        self.n_timesteps = n_timesteps
        self.burn_in = burn_in

    def _check_parameters(self, rnns):
        check_number(self.n_exponents, "n_exponents", Integral, low=1)
        check_number(self.burn_in, "burn_in", Integral, low=0)
        if self.n_timesteps is not None:
            check_number(self.n_timesteps, "n_timesteps", Integral, low=2)

    def _names(self):
        return [f"lyapunov{i}" for i in range(self.n_exponents)]

    def _features(self, rnns):
        n = min(self.n_exponents, rnns.n_neurons)
        with warnings.catch_warnings():  # features describe the runs as they are
            warnings.filterwarnings("ignore", "The largest exponent", UserWarning)
            exponents = lyapunov_exponents(
                rnns, n_timesteps=self.n_timesteps, burn_in=self.burn_in, n_exponents=n
            )
        rest = np.full((len(rnns), self.n_exponents - n), growth_rates(1 - rnns.alpha, rnns.dt))
        return np.concatenate([exponents, rest], axis=1)


def _mean(values, seen):
    """Average over the samples of each RNN (n_rnns, n_samples, ...) within its trial."""
    return values.mean(axis=1, where=np.broadcast_to(seen, values.shape))


def _leak(rnns):
    """Multiplier of directions that the weights do not write to; 0 if there are none."""
    return 1 - rnns.alpha if rnns.rank < rnns.n_neurons else 0.0


def _rates(multipliers, dt):
    """Compute the growth rate (1/s) and absolute frequency (Hz) of multipliers."""
    return growth_rates(multipliers, dt), np.abs(frequencies(multipliers, dt))
