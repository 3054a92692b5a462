"""How new neurons join a fitted model without changing anything else.

The new neurons are read out from the dynamics and drive nothing: their rows of V are 0, so that
the runs of earlier trials do not change. Their other weights come from a regression on the free
runs of known embeddings, at first those of conditions. With these weights the embeddings of the
new trials are inferred, which improve the weights in turn (docs/model.md, eq. 19).
"""

from __future__ import annotations

import numpy as np
import torch

from ._connectivity import CONNECTIVITIES
from ._frozen import NOISE_FLOOR
from ._initial_state import INITIAL_STATES
from ._observation import residual_autocorrelation_time
from ._parameters import option_of
from ._rollout import simulate
from ._trials import as_trials
from ._validation import listed

__all__ = ["adapt", "check_adapts"]

N_ROUNDS, N_PASSES = 2, 3  # updates of embeddings, and of noise and weights
MAX_STEPS, MAX_HALVINGS, TOL = 30, 8, 1e-6  # of the regression
RIDGE = 1e-3  # share of the mean variance of the weights of the earlier neurons
FLAT = 1e-6  # precision of parameters without a prior
TOGETHER = "Fit all sessions together (preprocessing.stack_sessions)"


def check_adapts(model, what="New neurons can only join", instead=TOGETHER):
    """Raise an error if new neurons cannot join a model, or `what` else is in question."""
    for name, wanted, part, table in (
        ("connectivity", "shared", model.connectivity, CONNECTIVITIES),
        ("initial_state", "generated", model.initial_state, INITIAL_STATES),
    ):
        fitted = option_of(part, table)
        if fitted != wanted:
            raise ValueError(
                f"{what} a fit with {name}={wanted!r}, but this one has {fitted!r}. {instead}, "
                f"or fit with {name}={wanted!r}."
            )


@torch.no_grad()
def adapt(model, X, labels, fitted, inputs, scale, device):
    """Make a copy of a model with more neurons; also return which embeddings converged.

    Parameters
    ----------
    model : Model
        Frozen model that passes `check_adapts`.
    X : ndarray (trials, time, neurons)
        Activity of the neurons of the model, then of the new ones; NaN where missing.
    labels : list or None
        Condition of each trial.
    fitted : dict
        Embedding of each condition of the fit.
    inputs : ndarray (trials, time, inputs) or None
        Known inputs.
    scale : str or None
        Option of the estimator, for the units of the new neurons.
    device : torch.device
        Device on which embeddings are inferred.
    """
    new = X[:, :, len(model.observation.scale) :]
    observation = type(model.observation).learn(new, scale, like=model.observation)
    u = model.scale_inputs(inputs, X.shape[:2])
    kind = (torch.float64, torch.device("cpu"), model.steps_per_sample)
    trials = as_trials(new, u, observation, np.nan_to_num, *kind)
    c = torch.as_tensor(_begin(model, X, labels, fitted, inputs, device))
    known = c.isfinite().all(1)
    c, some = c[known], trials[known]
    for _ in range(N_ROUNDS):
        joined = _read_out(model, c, some, observation, own_noise=True)
        found = joined.infer(X, device, inputs, n_init=1)
        c, some = torch.as_tensor(found.p), trials
    return _read_out(model, c, trials, observation), found.converged


def _begin(model, X, labels, fitted, inputs, device):
    """Find embeddings (trials, n_components) without the new neurons; NaN if there are none.

    They are those of the conditions, or are inferred from recorded neurons of the model.
    """
    old = X[:, :, : len(model.observation.scale)]
    nothing = np.full(model.hypernetwork.n_components, np.nan)
    c = np.stack([fitted.get(label, nothing) for label in labels or [None] * len(X)])
    rest = np.flatnonzero(np.isnan(c[:, 0]) & np.isfinite(old).any(axis=(1, 2)))
    if len(rest):
        c[rest] = model.infer(old[rest], device, None if inputs is None else inputs[rest]).p
    if np.isnan(c).all():
        had = f"it had {listed(list(fitted))}" if fitted else "it had none"
        raise ValueError(
            "Nothing relates the new trials to those of the fit. Pass conditions that the fit "
            f"also had ({had}), or trials in which neurons of the fit were recorded."
        )
    return c


def _read_out(model, c, trials, observation, own_noise=False):
    """Make a model with new neurons, whose weights are fitted to trials with embeddings c.

    Its noise is that of the model or, with `own_noise`, what the new neurons leave unexplained.
    While weights are inaccurate, the data say less about an embedding than they will later.
    """
    size = model.connectivity.rank + 1 + trials.n_inputs
    # neurons with a single weight of 1 each, whose states are the regressors
    states = _free_run(model, torch.eye(size, dtype=c.dtype), c, trials)
    before, z = states[:, :, :-size], states[:, :, -size:]
    noise, autocorrelation_time = model.observation.dispersion, model.autocorrelation_time
    for _ in range(N_PASSES):
        rows, shift = _regress(z, trials, model, observation, noise * autocorrelation_time)
        shifted, run = observation.shifted(shift), z @ rows.t()
        residual = shifted.residual(run.clone(), trials.y, trials.weight)
        most = float(trials.y.square().sum()) / trials.n_observed
        noise = shifted.estimate_dispersion(residual, trials.n_observed, most)
        autocorrelation_time = residual_autocorrelation_time(residual, trials.every)
    count = torch.full_like(shift, z[..., 0].numel())
    if trials.weight is not None:
        count = trials.weight.sum((0, 1))
    floor = NOISE_FLOOR * model.observation.dispersion
    shifted.learn_noise(residual.square().sum((0, 1)), count, floor)
    imputer = model.imputer.joined(*(a.flatten(0, 1).numpy() for a in (before, run)))
    observation = model.observation.joined(shifted)
    if own_noise:
        observation.noise.fill_(max(noise, floor))
    else:
        autocorrelation_time = model.autocorrelation_time
    return _joined(model, rows, observation, imputer, autocorrelation_time)


def _joined(model, rows, observation, imputer, autocorrelation_time):
    """Make a model with more neurons; so does the earlier model that it may extend."""
    disturbances = model.disturbances
    if disturbances is not None:
        before = (model.connectivity.U, model.initial_state.mean[:, None], model.hypernetwork.B)
        disturbances = disturbances.joined(torch.cat(before, 1).numpy(), rows.numpy())
    parts = _with_rows(model, rows)
    made = model.with_parts(*parts, observation, imputer, disturbances)
    made.autocorrelation_time = autocorrelation_time
    if model.earlier is not None:
        n_columns = model.earlier.connectivity.rank
        known = torch.cat([rows[:, :n_columns], rows[:, model.connectivity.rank :]], 1)
        rest = (observation, imputer, autocorrelation_time)
        made.earlier = _joined(model.earlier, known, *rest)
    return made


def _with_rows(model, rows):
    """Add neurons, given as rows of [U, mean, B], to hypernetwork and initial state."""
    rank, base = model.connectivity.rank, model.hypernetwork
    U, mean, B = rows[:, :rank], rows[:, rank], rows[:, rank + 1 :]
    pairs = ((base.connectivity.U, U), (base.connectivity.V, torch.zeros_like(U)), (base.B, B))
    hypernetwork = base.of_neurons(*(torch.cat(pair) for pair in pairs))
    return hypernetwork, model.initial_state.joined(mean)


def _free_run(model, rows, c, trials):
    """Simulate free runs of embeddings with the neurons of the rows, (time, trials, neurons)."""
    hypernetwork, initial = _with_rows(model, rows)
    weights = hypernetwork(c)
    generated = hypernetwork.connectivity.generated(weights)
    x0 = initial(None, generated, generated)
    how = (trials.n_steps, model.alpha, trials.inputs)
    return simulate(hypernetwork.connectivity, weights, x0, *how)


def _regress(z, trials, model, observation, noise):
    """Fit weights of each neuron for regressors z (time, trials, weights), and shifts of states.

    `noise` divides the deviance. The prior of the weights comes from the earlier neurons; the
    shift has no prior.
    """
    known, mean, B = model.connectivity.U, model.initial_state.mean, model.hypernetwork.B
    drawn = torch.block_diag(
        known.t() @ known / len(known),
        mean.square().mean().reshape(1, 1),
        B.t() @ B / len(B),
    )
    drawn += RIDGE * drawn.diagonal().mean() * torch.eye(len(drawn), dtype=drawn.dtype)
    flat = torch.full((1, 1), FLAT, dtype=drawn.dtype)
    precision = torch.block_diag(torch.linalg.inv(drawn), flat)
    z, y = torch.cat([z, torch.ones_like(z[:, :, :1])], 2).flatten(0, 1), trials.y.flatten(0, 1)
    weight = None if trials.weight is None else trials.weight.flatten(0, 1)
    rows = []
    for n in range(y.shape[1]):
        seen = None if weight is None else weight[:, [n]]
        regression = _Regression(z, y[:, [n]], seen, observation.take([n]))
        rows.append(regression.fit(precision * noise))
    rows = torch.stack(rows)
    return rows[:, :-1], rows[:, -1]


class _Regression:
    """Regression of one neuron on z (values, weights), by Fisher scoring with step halving."""

    def __init__(self, z, y, weight, observation):
        self.z, self.y, self.weight, self.observation = z, y, weight, observation

    def look(self, row, precision):
        """Compute the deviance and penalty of weights."""
        x = (self.z @ row)[:, None]
        return float(self.observation.deviance(x, self.y, self.weight) + row @ precision @ row)

    def fit(self, precision):
        """Fit the weights."""
        row = self.z.new_zeros(self.z.shape[1])
        cost = self.look(row, precision)
        for _ in range(MAX_STEPS):
            x = (self.z @ row)[:, None]
            score, curvature, _ = self.observation.score(x, self.y, self.weight)
            seen = self.z if curvature is None else self.z * curvature
            gradient = self.z.t() @ score[:, 0] + precision @ row
            move = torch.linalg.solve(seen.t() @ self.z + precision, gradient)
            for _ in range(MAX_HALVINGS):
                new = self.look(row - move, precision)
                if new <= cost:
                    break
                move = move / 2
            else:
                break
            row, gain, cost = row - move, cost - new, new
            if gain < TOL * (1 + abs(cost)):
                break
        return row
