"""How a fit turns data into a fitted model, in five steps: prepare, start, train, settle, infer.

This module only reads the estimator (except that a RandomState given to it advances), so a failed
fit leaves the estimator as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.utils import Bunch, check_random_state

from ._advice import describe_starts
from ._components import components_of_trials
from ._denoised import DenoisedTrials, denoised
from ._distributed import ALONE, Processes
from ._frozen import fix_gauge, frozen_copy, thawed_copy
from ._initial_state import INITIAL_STATES
from ._missing import Imputer, needed, sessions_of
from ._model import Model
from ._observation import OBSERVATIONS
from ._parameters import (
    check_processes,
    choose_drive,
    choose_embedding_index,
    choose_initial_state,
    choose_input_scale,
    choose_labels,
    choose_observation,
    choose_sizes,
    choose_steps,
    choose_validation,
    option_of,
    warn_of_long_trials,
)
from ._persistence import Checkpoint
from ._schedule import Progress, Schedule, Trained, describe_failure
from ._solvers import SOLVERS
from ._stored import StoredTrials, is_large, part
from ._torch import make_generator, resolve_device
from ._training import train
from ._trials import LazyTrials, SessionTrials, Trials, as_trials, one_less
from ._validation import check_inputs_of_trials, check_seed, setting

__all__ = ["STRUCTURE", "Fit", "fit_model", "free_run_r2"]

# parameters, in addition to the sizes, that a warm start cannot change
STRUCTURE = ("connectivity", "hypernetwork", "dt", "tau", "scale")
PRECISION = torch.float32  # of training
FEW_VISITS, SETTLED = 15, 512  # steps per trial that are few; trials that then represent all


@dataclass
class Fit:
    """Result of a fit."""

    model: Model
    embedding: np.ndarray
    found: Bunch  # of `Model.infer`, in the coordinates before the gauge was fixed
    labels: np.ndarray | None
    codes: np.ndarray | None
    training: Trained
    training_r2: float | None  # of the free runs of all trials, if requested
    n_timesteps: int


@dataclass
class Data:
    """Trials of a fit, as given and as used in training."""

    X: np.ndarray | StoredTrials
    inputs: np.ndarray | None
    labels: np.ndarray | None
    codes: np.ndarray | None  # condition of each trial, if there are conditions
    left_out: np.ndarray  # indices of the trials held out for early stopping
    kept: np.ndarray
    used: np.ndarray | StoredTrials  # X of the trials that are kept
    whole: Trials | LazyTrials | None  # the same as tensors with all neurons, for the start
    trials: Trials | LazyTrials | SessionTrials  # with the neurons that their runs need
    variance: float  # deviance per value of each neuron's mean
    embedding_index: torch.Tensor | None  # embedding of each trial, if trials share them
    condition_index: torch.Tensor | None  # condition of each embedding, if trials do not share
    n_embeddings: int
    denoised: DenoisedTrials | None = None  # what training sees while teacher forcing falls

    def inputs_of(self, index):
        """Return the known inputs of some trials, or None."""
        return None if self.inputs is None else self.inputs[index]


@dataclass
class Plan:
    """Plan of a fit: parts of the model that come from the data, and settings of the fit."""

    est: Any
    observation: torch.nn.Module
    imputer: Imputer
    input_scale: np.ndarray
    schedule: Schedule
    device: torch.device
    random_state: np.random.RandomState
    generator: torch.Generator
    checkpoint: Checkpoint | None
    previous: Model | None
    processes: Processes
    drive: np.ndarray | None  # which neurons drive others, if some are only read out
    seed: int = 0  # of cluster centres, drawn after the start

    def say(self, line):
        """Print a line, if there is one and the estimator is verbose."""
        if line and self.est.verbose and self.processes.rank == 0:
            print(f"[JEDI] {line}", flush=True)


def fit_model(est, X, y, conditions, inputs, previous=None, processes=ALONE, watch=None):
    """Fit a model to trials that have been checked.

    Parameters
    ----------
    est : JEDIEstimator
        Estimator with checked parameters.
    X : ndarray or StoredTrials (trials, time, neurons)
        Checked trials.
    y, conditions, inputs :
        As given to ``fit``.
    previous : Model, optional
        Model to continue from.
    processes : Processes
        Processes that fit together; all get the same result.
    watch : Watch, optional
        Callbacks that follow the fit.

    Returns
    -------
    Fit
    """
    data, plan = prepare(est, X, y, conditions, inputs, previous, processes)
    model, c, q = start(data, plan)
    training = train(
        model,
        c,
        q,
        data.trials,
        plan.schedule,
        variance=data.variance,
        denoised=data.denoised,
        embedding_index=data.embedding_index,
        condition_index=data.condition_index,
        generator=plan.generator,
        validate=partial(validate, data, plan) if len(data.left_out) else None,
        progress=Progress(
            est.max_iter, est.verbose and processes.rank == 0, plan.observation.share
        ),
        checkpoint=plan.checkpoint,
        processes=processes,
        watch=None if watch is None else _Watched(watch, data, plan),
    )
    model = settle(model, training, data, plan)
    try:
        model, embedding, found = infer(model, data, plan)
    except ValueError as error:
        if training.failed:  # which explains why the embeddings are unusable
            raise ValueError(f"{training.complaint} ({error})") from error
        raise
    if training.failed:
        inferred = free_run_r2(data.X, found.deviance, model.observation)
        how = (plan.schedule, model.observation.share, inferred)
        training.complaint = describe_failure(training, *how)
    training_r2 = judge_inference(model, embedding, found, data, plan)
    if plan.checkpoint is not None and not training.interrupted:
        with processes.together():
            if processes.rank == 0:
                plan.checkpoint.remove()
    return Fit(model, embedding, found, data.labels, data.codes, training, training_r2, X.shape[1])


@dataclass
class _Watched:
    """Notifier of callbacks during training: of each step, and a few times of the current fit."""

    watch: Any
    data: Data
    plan: Plan

    def begin(self):
        """Announce the beginning of a step."""
        self.watch.begin()

    def end(self, model, training):
        """Announce the end of a step; return whether to stop."""
        due = len(training.loss_curve) % self.plan.schedule.refresh == 0
        return self.watch.end(partial(self._stand, model, training) if due else None)

    def _stand(self, model, training):
        data = self.data
        model = settle(model, training, data, self.plan)
        model, embedding, found = infer(model, data, self.plan)
        return Fit(
            model, embedding, found, data.labels, data.codes, training, None, data.X.shape[1]
        )


# The steps


def prepare(est, X, y, conditions, inputs, previous, processes):
    """Make the data and the plan of a fit: check, choose and read before fitting anything."""
    inputs = check_inputs_of_trials(inputs, X)
    labels, codes = choose_labels(est, y, conditions, len(X))
    if previous is None:
        warn_of_long_trials(est, X.shape[1], inputs)
        observation = OBSERVATIONS[choose_observation(est, X)].learn(X, est.scale, processes)
    else:
        check_continues(est, previous, X, inputs)
        observation = previous.observation
        observation.check(X)
    device = resolve_device(est.device)
    with processes.together():
        checkpoint = open_checkpoint(est, X, inputs, labels, codes, previous)
    random_state = choose_seed(est, checkpoint, processes)
    generator = make_generator(random_state)

    left_out = choose_validation(est, len(X), random_state)
    kept, used = np.setdiff1d(np.arange(len(X)), left_out), X
    if len(left_out):
        used = part(X, kept)
    input_scale = choose_input_scale(inputs) if previous is None else previous.input_scale
    u = np.empty((*X.shape[:2], 0)) if inputs is None else inputs / input_scale
    imputer = Imputer.learn(used, observation.estimate, None if codes is None else codes[kept])
    every = choose_steps(est) if previous is None else previous.steps_per_sample
    how = (used, u[kept], observation, imputer, PRECISION, device, every)
    null, count = observation.null_deviance(used, processes)
    whole = trials = LazyTrials(*how, count) if isinstance(X, StoredTrials) else as_trials(*how)
    sessions = sessions_of(used) if imputer.apart else []
    drive = choose_drive(est, sessions, previous)
    # the number of calls limits a GPU, not that of neurons, so it processes all at once
    if drive is not None and len(sessions) > 1 and device.type == "cpu":
        trials = apart(sessions, drive, *how, count)
    schedule = SOLVERS[est.solver].schedule(est, trials, previous is not None)
    check_processes(schedule.batch_size, len(trials), processes)
    embedding_index, condition_index, n_embeddings = choose_embedding_index(
        est, labels, codes, kept, device
    )
    data = Data(
        X=X,
        inputs=inputs,
        labels=labels,
        codes=codes,
        left_out=left_out,
        kept=kept,
        used=used,
        whole=whole,
        trials=trials,
        variance=null / count,
        embedding_index=embedding_index,
        condition_index=condition_index,
        n_embeddings=n_embeddings,
    )
    plan = Plan(
        est=est,
        observation=observation,
        imputer=imputer,
        input_scale=input_scale,
        schedule=schedule,
        device=device,
        random_state=random_state,
        generator=generator,
        checkpoint=checkpoint,
        previous=previous,
        processes=processes,
        drive=drive,
    )
    return data, plan


def start(data, plan):
    """Make a model to train, embeddings and free coordinates, from `previous` or from scratch."""
    est, trials, processes = plan.est, data.whole, plan.processes
    wanted, continued = sizes_wanted(est, plan.previous), plan.previous is not None
    say = plan.say if est.verbose and not continued else None
    sizes = (wanted.n_components, wanted.rank)
    asked = SOLVERS[est.solver].denoises or "auto" in sizes or est.verbose
    curve = components_of_trials(trials) if asked and not continued else None
    how = (wanted, data.n_embeddings, trials, plan.observation, curve, continued, say)
    curve, sizes = processes.agree((curve, choose_sizes(*how)))
    if continued:
        u = data.inputs_of(data.kept)
        how = (data.used, u, data.embedding_index, plan.device, trials.dtype, processes)
        model, c, q = thawed_copy(plan.previous, *how)
        model.imputer, model.n_init = plan.imputer, setting(est, "n_init")
    else:
        name = choose_initial_state(est, data.inputs)
        initial, q = INITIAL_STATES[name].learn(trials)
        solver, alpha = SOLVERS[est.solver], est.dt / trials.every / est.tau
        hypernetwork = solver.hypernetwork(est, trials, *sizes, initial.generated, plan.generator)
        how = [data.embedding_index, alpha, plan.generator, processes]
        if plan.drive is not None:
            how.append(torch.from_numpy(plan.drive).to(plan.device))
        if solver.denoises:
            trials = denoised(trials, curve, sizes[0], plan.observation, processes)
        c = solver.start(hypernetwork, trials, q, initial, *how)
        # via the CPU, because a tensor sent from a GPU arrives on the GPU of the first process
        agreed = processes.agree((hypernetwork.cpu(), initial.cpu(), q.cpu(), c.cpu()))
        hypernetwork, initial, q, c = (a.to(plan.device) for a in agreed)
        parts = (hypernetwork, initial, plan.observation, plan.imputer, plan.input_scale)
        times = (float(est.dt), float(est.tau), setting(est, "n_init"))
        model = Model(*parts, *times, steps_per_sample=trials.every)
        model.to_train(plan.device, trials.dtype)
    if plan.drive is not None:
        model.connectivity.keep_silent()
    # components leave out some of what known inputs drive, which says what the weights are
    if isinstance(trials, DenoisedTrials) and not trials.n_inputs:
        data.denoised = trials
        trials.release()
    data.whole = None  # frees memory
    plan.seed = plan.random_state.randint(np.iinfo(np.int32).max)
    return model, c, q


def validate(data, plan, model, c, q):
    """Compute the R2 of the free runs of held-out trials."""
    unseen, u = part(data.X, data.left_out), data.inputs_of(data.left_out)
    frozen = freeze(model, c, q, data, plan)
    found = frozen.infer(unseen, plan.device, u, processes=plan.processes)
    return free_run_r2(unseen, found.deviance, frozen.observation)


def settle(model, training, data, plan):
    """Freeze the trained model, with prior and noise for the inference."""
    d = model.hypernetwork.n_components
    frozen = freeze(model, training.c, training.q, data, plan)
    n_visits = len(training.loss_curve) * plan.schedule.batch_size / len(data.kept)
    behind = n_visits < FEW_VISITS and len(data.kept) > SETTLED
    if plan.schedule.final_teacher_forcing or (data.embedding_index is None and behind):
        # many embeddings lag behind the hypernetwork, or are not those of free runs, so noise and
        # prior come from trials whose embeddings are inferred anew
        order = torch.randperm(len(data.kept), generator=torch.Generator().manual_seed(0))
        index = order[:SETTLED].sort().values
        some, u = part(data.used, index.numpy()), data.inputs_of(data.kept[index.numpy()])
        for _ in range(2 if behind else 1):
            p = frozen.infer(some, plan.device, u, processes=plan.processes).p
            p = torch.as_tensor(p).to(plan.device, data.trials.dtype)
            frozen = freeze(model, p[:, :d], p[:, d:], data, plan, index.to(plan.device))
    return frozen


def infer(model, data, plan):
    """Infer the embeddings of all trials without labels; fix the coordinates of the model."""
    est, processes = plan.est, plan.processes
    starts = est.output != "embedding" or est.verbose
    how = {"starts": starts, "curvature": True, "processes": processes}
    found = model.infer(data.X, plan.device, data.inputs, **how)
    embedding = fix_gauge(model, found)
    model.learn_reliance(data.X, data.inputs)
    return *processes.agree((model, embedding)), found


# Their parts


def apart(sessions, drive, X, inputs, *how_and_count):
    """Make trials of sessions, each with the neurons that its runs need."""
    *how, count = how_and_count
    observation, imputer, dtype, device, every = how
    neurons = [needed(drive, own) for _, own in sessions]
    n_values = sum(len(i) * len(n) for (i, _), n in zip(sessions, neurons, strict=True))
    lazy = isinstance(X, StoredTrials) and is_large(n_values * X.shape[1])
    parts = []
    for (i, _), own in zip(sessions, neurons, strict=True):
        rest = (observation.take(own), imputer.take(own), dtype, device, every)
        given = (part(X, i), inputs[i], *rest)
        some = LazyTrials(*given, count, own) if lazy else as_trials(*given, own)
        parts.append((torch.from_numpy(i), some))
    return SessionTrials(parts, int(drive.sum()), count)


def judge_inference(model, embedding, found, data, plan):
    """Compute the R2 of free runs if verbose, and say if initial states decode better."""
    if not plan.est.verbose:
        return None
    if not model.initial_state.generated:
        plan.say(describe_starts(found.x0, embedding, data.codes))
    return free_run_r2(data.X, found.deviance, model.observation)


def freeze(model, c, q, data, plan, index=None):
    """Call `frozen_copy` for all training trials, or on some with their own embeddings."""
    trials, embedding_index = data.trials, data.embedding_index
    if index is not None:
        trials, embedding_index = trials.take(index), None
    how = {"variance": data.variance, "seed": plan.seed, "processes": plan.processes}
    return frozen_copy(model, c, q, trials, embedding_index, **how)


def free_run_r2(X, deviance, observation):
    """Compute the R2 of free runs: 1 - their deviance over that about each neuron's mean."""
    return one_less(deviance.sum(), observation.null_deviance(X)[0])


def open_checkpoint(est, X, inputs, labels, codes, previous):
    """Open the checkpoint from which this fit may continue, if the estimator has one."""
    if est.checkpoint is None:
        return None
    given = None if labels is None else {"labels": labels, "codes": codes}
    start = None if previous is None else previous.hypernetwork.state_dict()
    rest = {"X": X, "inputs": inputs, "conditions": given, "model to continue from": start}
    return Checkpoint(est.checkpoint, est.get_params(deep=False), **rest)


def choose_seed(est, checkpoint, processes):
    """Make the RandomState of a fit, the same in all of its processes."""
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
    """Raise an error if a warm start would have to change the structure of the model."""
    if previous.earlier is not None:
        raise ValueError(
            "warm_start cannot continue from a fit that was extended. Use warm_start=False to "
            "refit, with the trials that extended it among the others."
        )
    before = est._structure | previous.hypernetwork.config | {"n_neurons": est.n_features_in_}
    now = {name: getattr(est, name) for name in STRUCTURE} | {"n_neurons": X.shape[2]}
    now["n_inputs"] = 0 if inputs is None else inputs.shape[2]
    if est.hypernetwork == "mlp":
        now["hidden_layer_sizes"] = tuple(est.hidden_layer_sizes)
    before["initial_state"] = option_of(previous.initial_state, INITIAL_STATES)
    before["observation"] = option_of(previous.observation, OBSERVATIONS)
    before["steps_per_sample"] = previous.steps_per_sample
    for name in ("n_components", "rank", "steps_per_sample", "initial_state", "observation"):
        if getattr(est, name) != "auto":
            now[name] = getattr(est, name)
    for name, value in now.items():
        if value != before[name]:
            raise ValueError(
                f"warm_start continues from a model with {name}={before[name]!r}, got "
                f"{value!r}. Keep it, or use warm_start=False to refit."
            )


def sizes_wanted(est, previous):
    """Return what `choose_sizes` reads: the parameters, or the sizes of a previous model."""
    if previous is None:
        return est
    config = previous.hypernetwork.config
    return Bunch(n_components=config["n_components"], rank=config["rank"], embedding=est.embedding)
