"""What is inferred of trials, block by block: their embeddings, and what follows from these.

Blocks bound memory, and workers and processes share them. A model that extends an earlier one
asks both what each trial is, and keeps the answer of the likelier (docs/model.md, eq. 22).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from sklearn.utils import Bunch

from ._expectation import Alternatives
from ._inference import error_bars, infer
from ._missing import needed, sessions_of
from ._rollout import follow
from ._torch import in_parallel, isolated, temporary_bytes
from ._trials import as_trials, lengths_of, n_steps_of

__all__ = ["Wanted", "infer_trials"]

BLOCK_BYTES, MAX_BLOCK = 2**26, 64  # trials inferred together on the CPU: 64 MB of float64
MEANS = ("H", "first", "distance")  # results that are means over trials
EXPECTED = {"ahead", "expected"}  # of values not seen


@dataclass(frozen=True)
class Wanted:
    """What is wanted of trials besides their embeddings, and how these are inferred.

    Parameters
    ----------
    starts : bool
        ``x0`` (trials, neurons): initial states, scaled; and ``lengths`` (trials,): samples
        without padding.
    errors : bool
        ``covariance`` (trials, m, m) of p.
    curvature : bool
        ``H`` (m, m): mean curvature over trials.
    correction : float, optional
        The runs are corrected by this share of their errors along the way, and ``last`` (trials,
        neurons) holds their final states, scaled.
    ahead : int, optional
        Number of samples. ``ahead`` (trials, samples, neurons) replaces ``last``: the activity
        expected after the trials, averaged over what these may be. Inputs must then extend to its
        end.
    expected : bool
        ``expected`` (trials, time, neurons): the activity expected during the trials, of all
        neurons, averaged over what the trials may be.
    weigh : bool
        ``evidence`` (trials,): log probability of the trials, up to a constant that is common to
        a model and those that it extends.
    n_init : int, optional
        Number of starts in the inference of a trial. Default: that of the model.
    """

    starts: bool = False
    errors: bool = False
    curvature: bool = False
    correction: float | None = None
    ahead: int | None = None
    expected: bool = False
    weigh: bool = False
    n_init: int | None = None


def infer_trials(model, X, device, inputs, wanted, n_jobs, processes):
    """Infer the posterior modes of trials and what else is wanted, as arrays.

    Blocks, and therefore results, do not depend on the number of workers. If the model extends an
    earlier one, the likelier of the two describes a trial; what is expected is a mean over both.

    Parameters
    ----------
    model : Model
        Frozen model, on the CPU.
    X : ndarray or StoredTrials (trials, time, neurons)
        Trials; NaN where missing.
    device : torch.device
        Device that infers.
    inputs : ndarray (trials, time, inputs) or None
        Known inputs.
    wanted : Wanted
        What else is wanted.
    n_jobs : int or None
        Number of joblib workers.
    processes : Processes
        Processes that share the blocks.

    Returns
    -------
    Bunch
        - ``p`` (trials, m): posterior modes; ``deviance`` and ``converged`` (trials,).
        - ``first`` (neurons,): mean over trials of the first samples, scaled (of the initial
          states of the runs, if only some neurons are used), and ``distance``: the mean of their
          mean square.
        - What is `Wanted`.
    """
    earlier = model.earlier
    if earlier is not None:
        wanted = replace(wanted, weigh=True)
        rest = (replace(wanted, curvature=False), n_jobs, processes)
        before = infer_trials(earlier, X, device, inputs, *rest)
    parts, order = _blocks(model, X, device)
    block = partial(_infer_block, model, device=device, wanted=wanted)
    with processes.together():
        mine = processes.share(parts)
        calls = ((X[i], None if inputs is None else inputs[i], own) for i, own in mine)
        found = in_parallel(block, calls, len(mine), device, n_jobs)
    found = processes.gather(found)
    out = Bunch()
    for name in found[0]:
        each = [block[name] for block in found]
        if name in MEANS:
            out[name] = np.stack(each).sum(0) / len(X)
        else:
            out[name] = np.concatenate(each)[order]
    return out if earlier is None else _likelier(before, out)


def _blocks(model, X, device):
    """Divide trials into blocks, with the neurons each needs; also return how to reorder.

    Neurons that drive no others are only read out. If a session lacks such neurons, the results
    of its trials do not depend on them at all, down to the last bit.
    """
    drive, parts = model.connectivity.drive_others, []
    if drive is None or drive.all():
        sessions = [(np.arange(len(X)), None)]
    else:
        drive = drive.cpu().numpy()
        sessions = [(i, needed(drive, own)) for i, own in sessions_of(X)]
    for index, neurons in sessions:
        if neurons is not None and len(neurons) == X.shape[2]:
            neurons = None
        n_neurons = X.shape[2] if neurons is None else len(neurons)
        values = n_steps_of(X.shape[1], model.steps_per_sample) * n_neurons
        size = max(int(temporary_bytes(device, BLOCK_BYTES) / 8 / values), 1)
        size = min(size, MAX_BLOCK) if device.type == "cpu" else size
        parts += [(index[k : k + size], neurons) for k in range(0, len(index), size)]
    return parts, np.argsort(np.concatenate([i for i, _ in parts]))


@isolated  # each worker has its own torch state
@torch.no_grad()
def _infer_block(model, X, inputs, neurons, *, device, wanted):
    """Compute what `infer_trials` returns for a block of trials, with sums in place of means.

    `neurons` are those that the runs need.
    """
    if device.type != "cpu":  # there is no need for a copy there, because nothing is modified
        model = copy.deepcopy(model).to(device)
    correction, ahead, expected = wanted.correction, wanted.ahead, wanted.expected
    u = model.scale_inputs(None if inputs is None else inputs[:, : X.shape[1]], X.shape[:2])
    kind = (torch.float64, device, model.steps_per_sample)
    inner = model if neurons is None else model.of_neurons(neurons)
    some = trials = as_trials(X, u, inner.observation, inner.imputer, *kind, neurons)
    everyone = model.initial_state.measured or correction is not None or expected
    if neurons is not None and everyone:
        trials = as_trials(X, u, model.observation, model.imputer, *kind)

    runs, d = inner.runs(), model.hypernetwork.n_components
    plain = 1 / (model.observation.dispersion * model.autocorrelation_time)
    tempered = model.temperature if ahead else model.hidden_temperature if expected else 1.0
    weight = plain / tempered
    how = {"teacher_forcing": correction or 0.0, "n_init": wanted.n_init or model.n_init}
    how["curvature"] = wanted.curvature or wanted.errors or ahead or expected or wanted.weigh
    how["noise"] = model.observation.dispersion
    p, H, deviance, converged = infer(runs, some, model.prior, weight, **how)
    if some.constant is not None:
        deviance = deviance + some.constant
    weights, first = model.hypernetwork(p[:, :d]), trials.guide[0]
    generated = model.connectivity.generated(weights)
    like = generated if model.initial_state.generated else first  # of all neurons
    x0 = model.initial_state(p[:, d:], like, generated)

    found = {"p": p, "deviance": deviance, "converged": converged}
    if wanted.curvature:
        found["H"] = H.sum(0)
    if wanted.weigh:
        # tempered as in forecasts, because noise of single neurons is not all that differs
        precision = model.prior.precision
        likelihood = -weight / (2 * model.temperature) * deviance
        integral = model.prior.log_integral(p, precision + (H - precision) / model.temperature)
        found["evidence"] = likelihood + integral
    found["distance"] = first.square().mean(1).sum(0)
    found["first"] = (first if first.shape == x0.shape else x0).sum(0)
    if wanted.starts:
        found["x0"] = x0
    if ahead:
        likely = Alternatives(model, trials, p, H, weight, correction, runs, some)
        later = None if inputs is None else inputs[:, X.shape[1] - 1 :]
        later = model.scale_inputs(later, (len(X), ahead + 1))
        found["ahead"] = likely.forecast(ahead, later)
    elif expected:
        likely = Alternatives(model, trials, p, H, weight, 0.0, runs, some)
        found["expected"] = likely.expect(model.disturbances, plain)
    elif correction is not None:
        run = (model.connectivity, weights, x0, trials, model.alpha)
        found["last"] = follow(*run, correction)
    if wanted.weigh and (ahead or expected):
        found["evidence"] = likely.log_share.logsumexp(1)
    if wanted.errors:
        bars = (p, H, model.prior, weight, model.autocorrelation_time)
        found["covariance"] = error_bars(runs, some, *bars)
    found = {name: a.cpu().numpy() for name, a in found.items()}
    return found | ({"lengths": lengths_of(X)} if wanted.starts else {})


def _likelier(before, found):
    """Choose what was found for each trial by the likelier of an earlier model and one beyond it.

    What both expect of values not seen is averaged.
    """
    for each in (before, found):
        each.evidence = np.where(np.isnan(each.evidence), -np.inf, each.evidence)
    new = found.evidence > before.evidence
    chosen = Bunch(**found)
    for name, values in before.items():
        if name not in MEANS:
            later = found[name]
            sizes = zip(values.shape, later.shape, strict=True)
            padded = np.pad(values, [(0, n - own) for own, n in sizes])
            which = new.reshape(-1, *[1] * (later.ndim - 1))
            chosen[name] = np.where(which, later, padded)
    total = np.logaddexp(before.evidence, found.evidence)
    chosen.evidence = total
    # neither may be possible; then the earlier one counts
    share = np.exp(found.evidence - np.maximum(total, np.finfo(float).min))[:, None, None]
    for name in EXPECTED & found.keys():
        chosen[name] = (1 - share) * before[name] + share * found[name]
    return chosen
