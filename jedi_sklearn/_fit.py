"""A fit from the data to the fitted model: the order of its steps.

The estimator is only read here (but a RandomState that it was given moves on): a fit that fails
leaves it as it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.utils import Bunch, check_random_state

from ._distributed import ALONE
from ._hypernetwork import Hypernetwork
from ._inference import InitialState
from ._missing import Filler
from ._model import FittedModel
from ._parameters import (
    check_processes,
    choose_forcing,
    choose_labels,
    choose_scaling,
    choose_sizes,
    choose_validation,
    warn_of_counts,
)
from ._persistence import Checkpoint
from ._stored import StoredTrials, part
from ._torch import make_generator, resolve_device
from ._training import Progress, Schedule, Trained, train
from ._trials import LazyTrials, as_trials, blocks, one_less, sample_of, trial_moments
from ._validation import check_inputs_of_trials, check_seed
from ._warm_start import warm_start

__all__ = ["STRUCTURE", "Fit", "fit_model", "free_run_r2"]

MAX_INITIAL_DIRECTIONS = 8
# trials of a mini-batch, "auto": this many values, within these numbers of trials
BATCH_VALUES, MIN_BATCH, MAX_BATCH = 2**24, 16, 200
# what a warm start cannot change beside the sizes
STRUCTURE = ("connectivity", "hypernetwork", "initial_state", "dt", "tau", "scale")
FEW_VISITS, SETTLED = 20, 512  # steps that saw a trial; trials that stand for all then
CONTINUED = 0.3  # share of the learning rate: the full one first loses what was fitted


@dataclass
class Fit:
    """What a fit gives."""

    model: FittedModel
    rank: int
    embedding: np.ndarray
    found: Bunch  # of `FittedModel.infer`, in the coordinates before the gauge was fixed
    labels: np.ndarray | None
    codes: np.ndarray | None
    n_inputs: int
    training: Trained


def fit_model(est, X, y, conditions, inputs, previous=None, processes=ALONE):
    """Fit a model to trials that were checked.

    Parameters
    ----------
    est : JEDIEstimator
        Its parameters were checked.
    X : ndarray or StoredTrials (trials, time, neurons)
    y, conditions, inputs :
        As given to ``fit``.
    previous : FittedModel, optional
        To go on from.
    processes : Processes
        That fit together; all get the same result.

    Returns
    -------
    Fit
    """
    inputs = check_inputs_of_trials(inputs, X)
    labels, codes = choose_labels(est, y, conditions, len(X))
    with np.errstate(over="ignore", invalid="ignore"):
        moments = trial_moments(X, processes)
    mean, scale = choose_scaling(est, X, moments)
    if not est._two_d:
        warn_of_counts(X)
    if previous is not None:
        check_continues(est, previous, X, inputs)
        mean, scale = previous.mean, previous.scale
    device = resolve_device(est.device)
    with processes.together():
        checkpoint = open_checkpoint(est, X, inputs, labels, codes, previous)
    random_state = choose_seed(est, checkpoint, processes)
    generator = make_generator(random_state)

    left_out = choose_validation(est, len(X), random_state)
    kept = np.setdiff1d(np.arange(len(X)), left_out)
    used, u, input_scale = X, None, None
    if len(left_out):
        used = part(X, kept)
        moments = trial_moments(used, processes)
    if inputs is not None:
        input_scale = root_mean_square(inputs)
        input_scale[input_scale == 0] = 1
        if previous is not None:
            input_scale = previous.input_scale
        u = inputs[kept] / input_scale
    filler = Filler.learn(used, mean, scale)
    how = (used, u, mean, scale, filler, torch.float32, device)
    _, variances, count = moments
    variance = float(np.nansum(variances / scale**2 * count) / count.sum())
    stored = isinstance(X, StoredTrials)
    trials = LazyTrials(*how, float(count.sum())) if stored else as_trials(*how)
    schedule = make_schedule(est, trials, previous is not None)
    check_processes(schedule.batch_size, len(trials), processes)
    if est.embedding == "trial":
        rows, n_embeddings = None, len(kept)
        groups = None if codes is None else torch.as_tensor(codes[kept], device=device)
    else:
        rows, groups = torch.as_tensor(codes[kept], device=device), None
        n_embeddings = len(labels)
        if len(np.unique(codes[kept])) < n_embeddings:
            raise ValueError(
                "early_stopping left no trial of some condition to train on. Lower "
                'validation_fraction, or use embedding="trial".'
            )
    wanted, continued = sizes_wanted(est, previous), previous is not None
    d, rank = choose_sizes(wanted, n_embeddings, trials, continued)
    if previous is None:
        initial, q = find_initial_states(est, trials)
        start = start_anew(est, trials, q, initial, d, rank, rows, generator, processes)
        # what leaves a GPU as it is arrives on the GPU of the first process
        hyper, c = (a.to(device) for a in processes.agree(tuple(a.cpu() for a in start)))
    else:
        u = None if inputs is None else inputs[kept]
        thawed = previous.thaw(used, u, rows, device, trials.dtype, processes)
        hyper, c, q, initial = thawed

    seed = random_state.randint(np.iinfo(np.int32).max)

    def freeze(hyper, c, q, index=None):
        return FittedModel.from_training(
            hyper,
            c,
            q,
            trials if index is None else trials.take(index),
            initial,
            rows if index is None else None,
            variance=variance,
            seed=seed,
            processes=processes,
            dt=float(est.dt),
            tau=float(est.tau),
            mean=mean,
            scale=scale,
            filler=filler,
            input_scale=input_scale,
            n_starts=est.n_starts,
        )

    def validate(hyper, c, q):
        unseen, u = part(X, left_out), None if inputs is None else inputs[left_out]
        found = freeze(hyper, c, q).infer(unseen, device, u, processes=processes)
        return free_run_r2(unseen, found.sse, scale)

    training = train(
        hyper,
        c,
        q,
        trials,
        initial,
        est.dt / est.tau,
        variance,
        schedule,
        rows=rows,
        groups=groups,
        generator=generator,
        validate=validate if len(left_out) else None,
        progress=Progress(est.max_iter, est.verbose and processes.rank == 0),
        checkpoint=checkpoint,
        processes=processes,
    )
    model = freeze(hyper, training.c, training.q)
    n_visits = len(training.loss_curve) * schedule.batch_size / len(kept)
    behind = n_visits < FEW_VISITS and len(kept) > SETTLED
    if schedule.final_forcing or (rows is None and behind):
        # Many embeddings are behind the hypernetwork, or not those of free runs: noise and prior
        # from some that are
        index = torch.randperm(len(kept), generator=torch.Generator().manual_seed(0))[:SETTLED]
        index = index.sort().values
        some, u = part(used, index.numpy()), None if inputs is None else inputs[kept][index]
        for _ in range(2 if behind else 1):
            p = torch.as_tensor(model.infer(some, device, u, processes=processes).p)
            p = p.to(device, trials.dtype)
            model = freeze(hyper, p[:, :d], p[:, d:], index.to(device))
    starts = est.output == "dynamics"
    found = model.infer(X, device, inputs, starts=starts, processes=processes)
    embedding = model.fix_gauge(found)
    model, embedding = processes.agree((model, embedding))
    if checkpoint is not None and not training.interrupted:
        with processes.together():
            if processes.rank == 0:
                checkpoint.remove()
    n_inputs = 0 if inputs is None else inputs.shape[2]
    return Fit(model, rank, embedding, found, labels, codes, n_inputs, training)


def free_run_r2(X, sse, scale):
    """Variance-weighted R2 of free runs in scaled units."""
    _, variance, count = trial_moments(X)
    total = np.nansum(variance / scale**2 * count)
    return one_less(sse.sum(), total)


def root_mean_square(inputs):
    """RMS of each channel; no square overflows or vanishes, and powers of 2 do not round."""
    _, power = np.frexp(np.abs(inputs).max(axis=(0, 1)))
    return np.ldexp(np.sqrt(np.square(np.ldexp(inputs, -power)).mean(axis=(0, 1))), power)


def open_checkpoint(est, X, inputs, labels, codes, previous):
    """The file from which this very fit may go on, if it is to have one."""
    if est.checkpoint is None:
        return None
    given = None if labels is None else {"labels": labels, "codes": codes}
    start = None if previous is None else previous.hyper.state_dict()
    rest = {"X": X, "inputs": inputs, "conditions": given, "model to go on from": start}
    return Checkpoint(est.checkpoint, est.get_params(deep=False), **rest)


def choose_seed(est, checkpoint, processes):
    """The RandomState of a fit, the same in all of its processes."""
    given = est.random_state
    if given is None:
        given = None if checkpoint is None else checkpoint.seed  # of the first attempt
        if given is None:
            given = int(check_random_state(None).randint(np.iinfo(np.int32).max))
        given = processes.agree(given)
        if checkpoint is not None:
            checkpoint.seed = given
    return check_seed(given)


def check_continues(est, previous, X, inputs):
    """Raise where a warm start would have to change what the fitted model is."""
    before = est._structure | previous.hyper.config | {"n_neurons": est.n_features_in_}
    now = {name: getattr(est, name) for name in STRUCTURE} | {"n_neurons": X.shape[2]}
    now["n_inputs"] = 0 if inputs is None else inputs.shape[2]
    if est.hypernetwork == "mlp":
        now["hidden_layer_sizes"] = tuple(est.hidden_layer_sizes)
    for name in ("n_components", "rank"):
        if getattr(est, name) != "auto":
            now[name] = getattr(est, name)
    for name, value in now.items():
        if value != before[name]:
            raise ValueError(
                f"warm_start goes on from a model with {name}={before[name]!r}, got "
                f"{value!r}. Keep it, or use warm_start=False to fit anew."
            )


def sizes_wanted(est, previous):
    """What `choose_sizes` reads: the parameters, or the sizes there are."""
    if previous is None:
        return est
    config = previous.hyper.config
    return Bunch(n_components=config["n_components"], rank=config["rank"], embedding=est.embedding)


def make_schedule(est, trials, continued):
    """What drives the optimiser."""
    paper = est.solver == "paper"
    forcing, final_forcing = (0.0, 0.0) if paper else choose_forcing(est, trials.n_inputs)
    batch = est.batch_size
    if batch == "auto":
        n_steps, _, n_neurons = trials.shape
        batch = min(max(BATCH_VALUES // (n_steps * n_neurons), MIN_BATCH), MAX_BATCH)
    return Schedule(
        max_iter=est.max_iter,
        learning_rate=est.learning_rate_init * (CONTINUED if continued else 1),
        forcing=forcing,
        final_forcing=final_forcing,
        anneal=0.5,
        batch_size=batch,
        regularised=not paper,
        tol=est.tol,
        patience=est.n_iter_no_change,
    )


def find_initial_states(est, trials):
    """Mean and directions of the initial states, and the coordinates of all trials there."""
    n_trials = len(trials)
    if est.initial_state == "observed":
        return InitialState(), torch.zeros(n_trials, 0, dtype=trials.dtype, device=trials.device)
    first = torch.cat([trials[i].data[0] for i in blocks(trials, sample_of(trials))]).double()
    mean = first.mean(0)
    n = min(MAX_INITIAL_DIRECTIONS, n_trials - 1, first.shape[1])
    _, _, vt = torch.linalg.svd(first - mean, full_matrices=False)
    initial = InitialState(mean.to(trials.dtype), vt[:n].t().to(trials.dtype).contiguous())
    q = [(trials[i].data[0] - initial.mean) @ initial.directions for i in blocks(trials)]
    return initial, torch.cat(q)


def start_anew(est, trials, q, initial, d, rank, rows, generator, processes):
    """A hypernetwork and embeddings to train: random with the "paper" solver, else closed form."""
    hidden = tuple(est.hidden_layer_sizes) if est.hypernetwork == "mlp" else ()
    paper = est.solver == "paper"
    n_neurons, n_inputs = trials.shape[2], trials.n_inputs
    hyper = Hypernetwork(
        d,
        n_neurons,
        rank,
        est.connectivity,
        hidden,
        skip=not paper,
        n_inputs=n_inputs,
        generator=generator,
    ).to(trials.device)
    if paper:
        n = len(trials) if rows is None else int(rows.max()) + 1
        return hyper, torch.randn(n, d, generator=generator).to(trials.device)
    how = (est.dt / est.tau, rows, processes)
    U, V, maps, c, B = warm_start(trials, q, initial, rank, d, *how)
    hyper.start_from(U, V, maps, B)
    return hyper, c
