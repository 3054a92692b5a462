"""Compute eigenspectra of RNNs: how small perturbations grow and turn, linearised somewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._reduced import ReducedRNN, check_rnns, check_states, own_runs, sort_by_size
from ._validation import check_option
from .fixed_points import frequencies, growth_rates
from .rnn import warn_if_far

__all__ = ["Eigenspectrum", "eigenspectrum"]

PLACES = ("origin", "weights", "trajectory", "equivalent")
STILL = 1e-6  # SD relative to the state, at least 1; below it the gain is tanh' at the mean


@dataclass(frozen=True)
class Eigenspectrum:
    """Eigenvalues of one time step of each RNN, linearised somewhere.

    Attributes
    ----------
    multipliers : ndarray of shape (n_rnns, rank) or (n_rnns, n_states, rank), complex
        Eigenvalues of the Jacobian of one step, ``1 + alpha (eigenvalue - 1)``, sorted by
        decreasing modulus; of a conjugate pair, the one with positive imaginary part comes first.
        The other ``n_neurons - rank`` multipliers all equal ``1 - alpha``. Along free runs,
        entries after the end of a shorter trial are NaN.
    dt, tau : float
        Time step and time constant of the RNNs, s.
    """

    multipliers: np.ndarray
    dt: float
    tau: float

    def __repr__(self):
        *n_states, rank = self.multipliers.shape[1:]
        states = f"n_states={n_states[0]}, " if n_states else ""
        return (
            f"Eigenspectrum(n_rnns={len(self.multipliers)}, {states}rank={rank}, "
            f"dt={self.dt:g}, tau={self.tau:g})"
        )

    @property
    def leak(self):
        """Multiplier of the ``n_neurons - rank`` directions that the weights do not write to."""
        return 1 - self.dt / self.tau

    @property
    def eigenvalues(self):
        """Eigenvalues of the effective weights ``J diag(tanh'(x))``, as from RNNBatch."""
        return 1 + (self.multipliers - 1) * self.tau / self.dt

    @property
    def growth_rates(self):
        """Growth rates log|multiplier| / dt, 1/s; negative if perturbations decay."""
        return growth_rates(self.multipliers, self.dt)

    @property
    def frequencies(self):
        """Frequencies, Hz: angle of the multiplier over 2 pi dt.

        The maximum, 1 / (2 dt), is that of a negative real multiplier: the perturbation changes
        sign at every step.
        """
        return frequencies(self.multipliers, self.dt)

    @property
    def rates(self):
        """Eigenvalues (1/s) of the differential equation whose Euler step the RNN is.

        They are ``(eigenvalue - 1) / tau``, and close to ``growth_rates + 2 pi i frequencies`` as
        long as both are small compared with 1 / dt.
        """
        return (self.multipliers - 1) / self.dt


def eigenspectrum(rnns, at="origin"):
    """Compute the eigenvalues of the RNNs' time step, linearised at given states.

    The `rank` nonzero eigenvalues of ``J diag(tanh'(x))`` are those of a rank x rank matrix, so
    no n_neurons x n_neurons matrix is formed.

    Parameters
    ----------
    rnns : RNNBatch
        RNNs from ``JEDIEstimator.dynamics``, or with known weights.
    at : {"origin", "weights", "trajectory", "equivalent"} or array-like, default="origin"
        Where to linearise.

        - "origin": at the origin, where the effective weights are J itself; "weights" means the
          same.
        - "trajectory": at each sample of the RNNs' free runs, up to the ends of their trials
          (``rnns.lengths``). A batch from ``JEDIEstimator.dynamics`` has these.
        - "equivalent": once for the free run as a whole, see Notes.
        - An array: at states of shape (n_rnns, n_neurons) or (n_rnns, n_states, n_neurons), such
          as fixed points or ``est.to_states(X)``; for a batch of one RNN also
          (n_states, n_neurons).

    Returns
    -------
    Eigenspectrum
        Spectra, with arrays of shape (n_rnns, rank) or (n_rnns, n_states, rank).

    Raises
    ------
    ValueError, TypeError
        If `at` is unknown, if states have the wrong shape, or if the batch has no free runs.

    Warns
    -----
    UserWarning
        If states lie far outside the RNNs' free runs, which suggests activity in the units of the
        data rather than states.

    See Also
    --------
    EigenspectrumAnalyzer : Turns spectra into features for a pipeline.

    Notes
    -----
    Where to linearise depends on the question (docs/dynamics/spectra.md has an example of each):

    - "origin": do the weights differ? The activity may never come near the origin.
    - "trajectory": how do small perturbations of a trial grow and turn?
    - a fixed point: is it stable, and how is it approached or left?
    - "equivalent": which rhythms does the activity have?

    For small oscillations all agree. If neurons saturate, only "equivalent" gives the frequency
    of an oscillation. It replaces the tanh of each neuron by the straight line that fits it best
    over the neuron's free run, and tanh'(x) by the slope of that line (docs/model.md, eq. 15). A
    sustained oscillation is then a pair of multipliers on the unit circle, at its own frequency.
    Derivatives at the origin turn too fast, those along the trajectory too slowly, and those at
    the mean activity either, depending on where the neurons rest: these frequencies correlate
    with that of an input but have the wrong slope.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn import RNNBatch, eigenspectrum
    >>> rnn = RNNBatch.from_dense([[1.0, -6.0], [6.0, 1.0]], dt=0.001, tau=0.1)
    >>> spectrum = eigenspectrum(rnn)
    >>> spectrum.frequencies.round(2)                 # 6 / (2 pi tau), nearly
    array([[ 9.54, -9.54]])
    """
    rnns = check_rnns(rnns)
    if isinstance(at, str):
        check_option(at, "at", PLACES, ", or an array of states")
        states = own_runs(rnns) if at in ("trajectory", "equivalent") else None
    else:
        states = check_states(at, rnns, name="at")
    if isinstance(at, str) and at == "equivalent":
        gains = (equivalent_gains(x)[np.newaxis] for x in states)
        weights = [ReducedRNN(rnns, k).effective_weights(g) for k, g in enumerate(gains)]
        values = np.linalg.eigvals(np.concatenate(weights)).astype(complex)
    elif states is None or np.ndim(states[0]) == 1:
        values = rnns.eigenvalues(states)
    else:
        n_states = rnns.n_timesteps
        if not isinstance(at, str):
            n_states = states.shape[1]
            warn_if_far(rnns, states)
        values = np.full((len(rnns), n_states, rnns.rank), np.nan, dtype=complex)
        for k, x in enumerate(states):
            rnn = ReducedRNN(rnns, k)
            for block in rnn.blocks(len(x)):
                values[k, : len(x)][block] = np.linalg.eigvals(rnn.weights_at(x[block]))
    return Eigenspectrum(sort_by_size(1 + rnns.alpha * (values - 1)), rnns.dt, rnns.tau)


def equivalent_gains(x):
    """Fit a least-squares line to tanh(x) of each neuron, x (time, neurons); return its slope."""
    mean = x.mean(axis=0)
    swing = x - mean
    variance = np.square(swing).mean(axis=0)
    covariance = (swing * np.tanh(x)).mean(axis=0)
    still = variance < np.square(STILL * np.maximum(1, np.abs(mean)))
    return np.where(still, 1 - np.tanh(mean) ** 2, covariance / np.where(still, 1, variance))
