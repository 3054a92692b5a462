"""What a GPU gives: gradient, fit and transform on it, and on one core of the CPU beside it."""

from __future__ import annotations

import platform
import time
from unittest import mock

import numpy as np
import torch
from joblib import Parallel, delayed

from jedi_sklearn import JEDIEstimator, _fit
from jedi_sklearn._observation import Gaussian
from jedi_sklearn._replay import can_replay, replayed
from jedi_sklearn._rollout import split_loss
from jedi_sklearn._trials import Trials
from jedi_sklearn.datasets import make_multitask

from ._common import QUICK_STEPS, fit, log
from ._cost import GRADIENT, Recorder
from ._report import Result, Table

RANK, REPEATS = 20, 11
BATCHES = (160, 2000)  # trials of a gradient
SQUARE = 4096  # of the matrix product that gives the speed of a device
WORK = {  # trials fitted on the GPU, and on the CPU; as many new ones are inferred there
    "multitask": {"n_gpu": 10_000, "n_cpu": 200, "n_timesteps": 150, "n_neurons": 200},
    "4,000 neurons": {"n_gpu": 96, "n_cpu": 48, "n_timesteps": 100, "n_neurons": 4000},
}
PART = 500  # trials simulated at a time
QUICK = {"n_gpu": 24, "n_cpu": 16, "n_timesteps": 20, "n_neurons": 20}


def device(options):
    """Gradient, fit and transform on the GPU that there is, and on one core of the CPU."""
    torch.set_num_threads(1)
    names = ["cpu", *["cuda"] * torch.cuda.is_available()]
    gradients = [
        gradient(name, n_trials, options.quick)
        for n_trials in (BATCHES[:1] if options.quick else BATCHES)
        for name in names
    ]
    rows = []
    for work, size in WORK.items():
        for name in names:
            rows.append({"work": work, **measure(name, options.quick, **size)})
            log(f"device, {work}, {name}: {rows[-1]}")
    table = Table(
        [
            ("work", "work", "s"),
            ("device", "device", "s"),
            ("n_trials", "trials fitted", "d"),
            ("n_neurons", "neurons", "d"),
            ("training", "training s", ".1f"),
            ("fit", "fit s", ".1f"),
            ("ms", "transform ms a trial", ".3f"),
            ("r2", "R2 of new trials", ".4f"),
            ("like", "fit of as many trials as on the GPU, s", ".0f"),
        ],
        rows,
        summarise=False,
    )
    floors = Table(
        [
            ("device", "device", "s"),
            ("n_trials", "trials", "d"),
            ("gradient_ms", "gradient ms", ".2f"),
            ("floor_ms", "floor ms", ".2f"),
            ("ratio", "ratio", ".1f"),
        ],
        gradients,
        title=f"One gradient of the free run, rank {RANK}, float32:",
        summarise=False,
    )
    result = Result(
        "A GPU beside one core",
        [table, floors],
        [
            f"{_names(names)}. Default parameters, one thread, wall-clock seconds; data on the "
            "host before and after. On the GPU as many new trials are inferred as were fitted. "
            "One core is given fewer trials (the inference of each is independent of the others, "
            "and a step takes no more of them); the last column adds the inference of the rest.",
            f"The floor is the matrix products at the speed of one of {SQUARE} x {SQUARE}, and "
            "one tanh of each value.",
        ],
    )
    if len(names) > 1:
        for work in WORK:
            cpu, gpu = (row for row in rows if row["work"] == work)
            for what, goal in (("like", 30), ("ms", 50)):
                ratio = cpu[what] / gpu[what]
                text = f"{work}: {'fit' if what == 'like' else 'transform'} {goal} times as fast"
                result.target(text, ratio, ratio >= goal, ".0f")
    return result


def measure(name, quick, n_gpu, n_cpu, n_timesteps, n_neurons):
    """Seconds of a fit on a device, ms of a transform, and R2."""
    if quick:
        n_gpu, n_cpu, n_timesteps, n_neurons = QUICK.values()
    n_trials = n_gpu if name == "cuda" else n_cpu
    X, task = simulate(2 * n_trials, n_timesteps=n_timesteps, n_neurons=n_neurons)
    X_new = X[n_trials:]
    steps = {"max_iter": QUICK_STEPS, "n_components": 3, "rank": 4} if quick else {}
    est = JEDIEstimator(device=name, random_state=0, **steps)
    recorder = Recorder()
    with mock.patch.object(_fit, "Progress", lambda *_: recorder):
        whole = fit(est, X[:n_trials], task[:n_trials])
    start = time.perf_counter()
    _, _, found = est._infer(X_new)
    inferring = (time.perf_counter() - start) / n_trials
    null, _ = est._model.observation.null_deviance(X_new)
    return {
        "device": name,
        "n_trials": n_trials,
        "n_neurons": n_neurons,
        "training": recorder.steps[-1][0] - recorder.steps[0][0],
        "fit": whole,
        "ms": 1e3 * inferring,
        "r2": 1 - found.deviance.sum() / null,
        "like": whole + (n_gpu - n_trials) * inferring,
    }


def simulate(n_trials, **size):
    """Trials of one teacher and their tasks, made on all cores."""
    parts = Parallel(n_jobs=-1)(
        delayed(make_multitask)(min(PART, n_trials - first), random_state=first, **size)
        for first in range(0, n_trials, PART)
    )
    return (np.concatenate([part[name] for part in parts]) for name in ("X", "task"))


def gradient(name, n_trials, quick):
    """Time of one gradient and of the arithmetic that it cannot do without, ms."""
    generator = torch.Generator().manual_seed(0)
    _, n_steps, n_neurons = GRADIENT.values()
    n_steps = 5 if quick else n_steps

    def normal(*shape, scale=1.0):
        return (scale * torch.randn(*shape, generator=generator)).to(name)

    weights = {
        "U": normal(n_neurons, RANK, scale=n_neurons**-0.5),
        "V": normal(n_neurons, RANK, scale=n_neurons**-0.5),
        "core": normal(n_trials, RANK, RANK, scale=RANK**-0.5),
        "bias": normal(n_trials, RANK, scale=0.1),
        "B": normal(n_neurons, 0),
    }
    for w in weights.values():
        w.requires_grad_()
    data = normal(n_steps, n_trials, n_neurons)
    trials, workspace = Trials(data), {}
    observation = Gaussian(torch.zeros(n_neurons), torch.ones(n_neurons)).to(name)
    n_square = 64 if quick else SQUARE
    square = normal(n_square, n_square)

    def step():
        rest = (weights, data[0], trials, 0.1, 0.0, observation, workspace)
        loss = replayed(split_loss, *rest) if can_replay(data.device) else split_loss(*rest)
        loss.backward()

    gradient_ms, product_ms, tanh_ms = (
        1e3 * seconds(f) for f in (step, lambda: square @ square, data.tanh)
    )
    # six products with (neurons, rank) matrices and three with the cores, a sample
    flop = 2 * n_trials * n_steps * (6 * n_neurons * RANK + 3 * RANK**2)
    floor_ms = product_ms * flop / (2 * n_square**3) + tanh_ms
    return {
        "device": name,
        "n_trials": n_trials,
        "gradient_ms": gradient_ms,
        "floor_ms": floor_ms,
        "ratio": gradient_ms / floor_ms,
    }


def seconds(function):
    """Median seconds of a call, all that it queued on a GPU included."""
    each = []
    for _ in range(REPEATS):
        _wait()
        start = time.perf_counter()
        function()
        _wait()
        each.append(time.perf_counter() - start)
    return float(np.median(each[1:]))


def _wait():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _names(names):
    if "cuda" in names:
        return f"{torch.cuda.get_device_name()}, and one core ({_processor()}) beside it"
    return f"No GPU that torch sees; {_processor()}"


def _processor():
    try:
        with open("/proc/cpuinfo") as file:
            lines = [line for line in file if line.startswith("model name")]
        return lines[0].split(":")[1].strip()
    except (OSError, IndexError):
        return platform.processor() or platform.machine()
