"""Fit one data-constrained RNN to the mean of each condition, independently of the others."""

from __future__ import annotations

from numbers import Integral

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from .._connectivity import LowRank
from .._observation import Gaussian
from .._rollout import plain_loss
from .._torch import isolated, resolve_device
from .._trials import Trials
from .._validation import check_number, check_option, check_seed, warn_of_milliseconds
from ..rnn import RNNBatch
from ._common import ConditionBaseline
from ._condition_mean import means_of_conditions

__all__ = ["ConditionRNN"]

GAIN = 1.5  # of random weights at the start of FORCE: SD of J times the root of n_neurons
CERTAINTY = 1.0  # of these weights: 1 / P0 of recursive least squares
RIDGE = 1e-3  # of the start of gradient descent, as a share of the mean square of rates
FLAT = 1e-9  # share of the mean square of conditions; one that varies less in time has no R2
LAST = 0.1  # share of the steps by which convergence is judged


class ConditionRNN(ConditionBaseline):
    """One data-constrained RNN per condition, each fitted independently of the others.

    The RNN of a condition is fitted to the mean of its trials (as in :class:`ConditionMean`) and
    runs freely from the first sample of that mean. Each condition has its own weights, n_neurons
    squared or 2 rank n_neurons of them. Nothing makes the weights of conditions with similar
    dynamics similar, because different weights can produce the same trajectory. The model sees
    only the label of each trial. It cannot describe trials without a label or of a condition it
    has not seen, and its prediction for a single trial is that for its condition.

    The RNNs form an :class:`~jedi_sklearn.RNNBatch`, so all analyses of JEDIEstimator's RNNs work
    on ``dynamics()``.

    Parameters
    ----------
    method : {"force", "gradient"}, default="force"
        "force": full-rank RNNs, fitted by recursive least squares while the RNN runs, as in CURBD
        (Perich et al.), from random weights. The weights of the best free run are kept.
        "gradient": low-rank RNNs, fitted by gradient descent (Adam) on the squared error of the
        free run, as in low-rank inference (Valente et al.). It starts from the regression of each
        step on the one before.
    rank : int, default=8
        Rank of the RNNs of "gradient"; "force" ignores it.
    dt : float, default=0.01
        Sampling interval of the data, s.
    tau : float, default=0.1
        Time constant of the RNN's neurons, s.
    observation : {"auto", "gaussian", "poisson"}, default="auto"
        What `X` holds, as in :class:`~jedi_sklearn.JEDIEstimator`. For spike counts the RNNs
        generate log rates.
    max_iter : int, default=300
        Maximum number of gradient steps, or of passes of recursive least squares through the
        trial.
    learning_rate_init : float, default=0.005
        Initial learning rate of Adam in "gradient"; it falls to 0 as a half cosine.
    tol : float, default=1e-3
        The fit has converged if the R2 of the free runs rose by less than this over the last
        tenth of the steps. "force" then stops.
    device : str, default="auto"
        Torch device of "gradient"; "auto" uses CUDA if available.
    random_state : int, RandomState or None, default=None
        Seed of the random start of "force".

    Attributes
    ----------
    conditions_ : ndarray of shape (n_conditions,)
        Sorted labels.
    condition_means_ : ndarray of shape (n_conditions, n_timesteps, n_neurons)
        Means to which the RNNs were fitted, in the units of `X`.
    condition_r2_ : ndarray of shape (n_conditions,)
        R2 of the free run of each RNN, in its own units, relative to the mean over time; NaN if
        the mean of the condition does not change.
    loss_curve_ : list of float
        1 - R2 of the free runs of all conditions at each step or pass.
    n_iter_ : int
        Number of steps or passes.
    converged_ : bool
        Whether the fit converged.
    mean_, scale_ : ndarray of shape (n_neurons,)
        The RNNs generate ``(X - mean_) / scale_``, which is ``to_states(X)``. For spike counts,
        expected counts are ``exp(mean_ + scale_ * states)``, which is ``to_activity(states)``.
    observation_ : {"gaussian", "poisson"}
        What `X` was taken as.
    n_features_in_ : int
        Number of neurons.
    n_timesteps_ : int
        Samples per training trial.

    Raises
    ------
    ValueError, TypeError
        If data, labels or parameters cannot be used. The text says what to try.

    Warns
    -----
    ConvergenceWarning
        If the fit has not converged.

    References
    ----------
    Perich et al. (2021), "Inferring brain-wide interactions using data-constrained recurrent
    neural network models", bioRxiv 2020.12.18.423348. Sussillo and Abbott (2009), "Generating
    coherent patterns of activity from chaotic neural networks", Neuron 63:544-557. Valente,
    Pillow and Ostojic (2022), "Extracting computational mechanisms from neural data using low-rank
    RNNs", NeurIPS 35.

    Examples
    --------
    >>> from jedi_sklearn import eigenspectrum
    >>> from jedi_sklearn.baselines import ConditionRNN
    >>> from jedi_sklearn.datasets import make_multitask
    >>> data = make_multitask(n_trials=40, n_neurons=30, n_timesteps=50, random_state=0)
    >>> model = ConditionRNN(max_iter=100, random_state=0).fit(data.X, data.task)
    >>> rnns = model.dynamics()
    >>> rnns
    RNNBatch(n_rnns=4, n_neurons=30, rank=30, connectivity='full_rank', dt=0.01, tau=0.1)
    >>> eigenspectrum(rnns, at="origin").frequencies.shape            # Hz
    (4, 30)
    """

    _fixed_length, _least_timesteps = False, 2

    def __init__(
        self,
        method="force",
        *,
        rank=8,
        dt=0.01,
        tau=0.1,
        observation="auto",
        max_iter=300,
        learning_rate_init=0.005,
        tol=1e-3,
        device="auto",
        random_state=None,
    ):
        self.method = method
        self.rank = rank
        self.dt = dt
        self.tau = tau
        self.observation = observation
        self.max_iter = max_iter
        self.learning_rate_init = learning_rate_init
        self.tol = tol
        self.device = device
        self.random_state = random_state

    def _check_parameters(self):
        check_option(self.method, "method", METHODS)
        for name in ("rank", "max_iter"):
            check_number(getattr(self, name), name, Integral, low=1)
        for name in ("dt", "tau", "learning_rate_init"):
            check_number(getattr(self, name), name, low=0, closed=False)
        check_number(self.tol, "tol", low=0)
        check_seed(self.random_state)
        if self.dt >= self.tau:
            raise ValueError(
                f"dt={self.dt} is too long for tau={self.tau}, both in s (10 ms is 0.01): a step "
                "of the dynamics must be shorter than tau. Raise tau, or resample X "
                "(preprocessing.resample_time)."
            )
        warn_of_milliseconds(self.dt, self.tau)

    def _learn(self, data, y):
        labels, codes = self._labels(y, len(data.X))
        if self.method == "gradient" and self.rank > data.X.shape[2]:
            raise ValueError(
                f"rank={self.rank} is larger than the number of neurons, {data.X.shape[2]}. "
                "Lower it."
            )
        means = means_of_conditions(data.X, codes, data.mean, data.counts)
        states = data.observation.states(means)  # (conditions, time, neurons)
        run = {"initial_states": states[:, 0], "n_timesteps": states.shape[1]}
        run |= {"dt": self.dt, "tau": self.tau}
        rnns, curve, converged = METHODS[self.method](self, states, run)
        error = np.square(rnns.free_run() - states).sum(axis=(1, 2))
        size = np.square(states - states.mean(axis=1, keepdims=True)).sum(axis=(1, 2))
        return {
            "_rnns": rnns,
            "conditions_": labels,
            "condition_means_": means,
            "condition_r2_": 1 - error / np.where(size > FLAT * size.mean(), size, np.nan),
            "loss_curve_": curve,
            "n_iter_": len(curve),
            "converged_": converged,
            "mean_": data.observation.mean.detach().numpy().copy(),
            "scale_": data.observation.scale.numpy().copy(),
        }

    def _complaint(self):
        if not self.converged_:
            worst = int(np.nanargmin(self.condition_r2_))
            return (
                f"The RNNs have not converged in max_iter={self.max_iter} steps: the R2 of their "
                f"free runs still changed by more than tol={self.tol:g} in the last tenth, and is "
                f"{self.condition_r2_[worst]:.3f} in condition "
                f"{self.conditions_.tolist()[worst]!r}. Raise max_iter, or tol."
            )
        return None

    def _of_conditions(self, n_timesteps):
        return self._observation.activity(self._rnns.free_run(n_timesteps))

    @isolated
    def forecast(self, X, n_timesteps, y=None):
        """Forecast what follows trials: the runs of their conditions beyond the samples of X.

        Parameters
        ----------
        X : array-like of shape (n_trials, n_seen, n_neurons)
            Trials, of which only the shape is used.
        n_timesteps : int
            Number of samples to forecast.
        y : array-like of shape (n_trials,)
            Condition of each trial, one of `conditions_`.

        Returns
        -------
        ndarray of shape (n_trials, n_timesteps, n_neurons)
            Forecast in the units of `X`.
        """
        check_number(n_timesteps, "n_timesteps", Integral, low=1)
        X = self._check_X(X)
        which = self._which(y, len(X))
        return self._of_conditions(X.shape[1] + n_timesteps)[which, X.shape[1] :]

    def dynamics(self, y=None):
        """Get the RNNs as a batch.

        Parameters
        ----------
        y : array-like of shape (n_trials,), optional
            Conditions. Default: `conditions_`, each once.

        Returns
        -------
        RNNBatch
            One RNN per label, with initial state and length of its free run. Its states are
            ``to_states(activity)``.
        """
        check_is_fitted(self)
        return self._rnns if y is None else self._rnns[self._which(y, len(y))]

    def to_states(self, X):
        """Convert activity to states of the RNNs.

        Parameters
        ----------
        X : array-like of shape (..., n_neurons)
            Activity; for spike counts, expected counts.

        Returns
        -------
        ndarray of the shape of `X`
            States of the RNNs.
        """
        return self._observation.states(self._check_units(X, "X"))

    def to_activity(self, states):
        """Convert states of the RNNs to activity, the inverse of ``to_states``.

        Parameters
        ----------
        states : array-like of shape (..., n_neurons)
            States of the RNNs.

        Returns
        -------
        ndarray of the shape of `states`
            Activity in the units of `X`; for spike counts, expected counts.
        """
        return self._observation.activity(self._check_units(states, "states"))


def _descend(est, states, run):
    """Fit low-rank RNNs by gradient descent; return RNNs, loss curve, and if it converged."""
    device, alpha = resolve_device(est.device), est.dt / est.tau
    U, V, bias = _regress(states, alpha, est.rank)
    weights = {"U": U, "V": V, "bias": bias}
    weights = {
        name: torch.tensor(a, dtype=torch.float64, device=device, requires_grad=True)
        for name, a in weights.items()
    }
    y = torch.tensor(states, dtype=torch.float64, device=device).transpose(0, 1).contiguous()
    n_neurons = states.shape[2]
    units = Gaussian(np.zeros(n_neurons), np.ones(n_neurons)).to(device)
    trials, total = Trials(y), float((y - y.mean(0)).square().sum())
    optimiser = torch.optim.Adam(weights.values(), lr=est.learning_rate_init)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, est.max_iter)
    curve = []
    for _ in range(est.max_iter):
        optimiser.zero_grad()
        loss = plain_loss(LowRank, weights, y[0], trials, alpha, 0.0, units) / total
        loss.backward()
        optimiser.step()
        schedule.step()
        curve.append(loss.item())
    weights = {name: a.detach().cpu().numpy() for name, a in weights.items()}
    return LowRank.rnns(weights, **run), curve, _settled(curve, est.max_iter, est.tol)


def _regress(states, alpha, rank):
    """Regress each step on the rates before it, at low rank; return factors and bias.

    This is a ridge regression, of which the leading singular vectors of the prediction are kept
    (reduced-rank regression).
    """
    rates, drive = np.tanh(states[:, :-1]), (states[:, 1:] - (1 - alpha) * states[:, :-1]) / alpha
    mean_rate, mean_drive = rates.mean(axis=1), drive.mean(axis=1)
    rates, drive = rates - mean_rate[:, np.newaxis], drive - mean_drive[:, np.newaxis]
    ratesT = rates.transpose(0, 2, 1)
    ridge = RIDGE * np.square(rates).sum(axis=(1, 2))[:, np.newaxis, np.newaxis]
    maps = np.linalg.solve(ratesT @ rates + ridge * np.eye(rates.shape[2]), ratesT @ drive)
    left = np.linalg.svd(rates @ maps, full_matrices=False)[2].transpose(0, 2, 1)[:, :, :rank]
    if left.shape[2] < rank:  # short trials: the remaining columns start without effect
        left = np.pad(left, ((0, 0), (0, 0), (0, rank - left.shape[2])))
    V = maps @ left
    balance = np.sqrt(np.linalg.norm(V, axis=1, keepdims=True) + 1e-6)  # of columns of norm 1
    left, V = left * balance, V / balance
    bias = mean_drive - np.einsum("kir,kjr,kj->ki", left, V, mean_rate)
    return left, V, bias


def _force(est, states, run):
    """Fit full-rank RNNs by recursive least squares; return RNNs, loss curve, if it converged."""
    alpha, (n, n_steps, n_neurons) = est.dt / est.tau, states.shape
    rng = check_seed(est.random_state)
    W = np.zeros((n, n_neurons, n_neurons + 1))  # J, and b as the weight of a rate of 1
    W[:, :, :-1] = GAIN / n_neurons**0.5 * rng.standard_normal((n, n_neurons, n_neurons))
    P = np.tile(np.eye(n_neurons + 1) / CERTAINTY, (n, 1, 1))
    best, least, curve = W.copy(), np.full(n, np.inf), []
    total = np.square(states - states.mean(axis=1, keepdims=True)).sum()
    while len(curve) < est.max_iter and not _settled(curve, est.max_iter, est.tol):
        x = states[:, 0]
        for t in range(1, n_steps):
            rates = np.concatenate([np.tanh(x), np.ones((n, 1))], axis=1)
            x = (1 - alpha) * x + alpha * np.matmul(W, rates[..., np.newaxis])[..., 0]
            Pr = np.matmul(P, rates[..., np.newaxis])[..., 0]
            Pr_scaled = Pr / (1 + (rates * Pr).sum(axis=1, keepdims=True))
            P -= Pr_scaled[:, :, np.newaxis] * Pr[:, np.newaxis]
            W -= ((x - states[:, t]) / alpha)[:, :, np.newaxis] * Pr_scaled[:, np.newaxis]
        error = np.square(_dense(W, run).free_run() - states).sum(axis=(1, 2))
        better = error < least
        best[better], least = W[better], np.minimum(error, least)
        curve.append(float(least.sum() / total))
    return _dense(best, run), curve, _settled(curve, est.max_iter, est.tol)


def _dense(W, run):
    """Make RNNs from weights (conditions, neurons, neurons + 1), the last of which are biases."""
    return RNNBatch.from_dense(W[:, :, :-1], bias=W[:, :, -1], **run)


def _settled(curve, max_iter, tol):
    """Tell whether the loss changed by less than tol over the last tenth of the maximum steps."""
    n = max(1, round(LAST * max_iter))
    return len(curve) > n and abs(curve[-1 - n] - curve[-1]) < tol


METHODS = {"gradient": _descend, "force": _force}
