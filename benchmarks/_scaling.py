"""Cost of a fit against the size of the recording, and of sharing the work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from unittest import mock

import joblib
import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from jedi_sklearn import JEDIEstimator, _fit, _solvers
from jedi_sklearn.datasets import make_multitask

from ._common import QUICK_SIZES, QUICK_STEPS, fit, log
from ._cost import ROOT, Recorder, peak_bytes
from ._report import Result, Table

BASE = {"n_trials": 96, "n_timesteps": 100, "n_neurons": 200, "rank": 20}
VARIED = {
    "n_trials": (48, 96, 192, 384),
    "n_timesteps": (50, 100, 200, 400),
    "n_neurons": (100, 200, 400, 800),
    "rank": (10, 20, 30, 40),
}
N_COMPONENTS = 16
LARGE = {"n_trials": 48, "n_timesteps": 100, "n_neurons": 10_000, "rank": 20}
HELD_OUT = 24  # trials whose inference is timed
SIZES = [
    ("n_trials", "trials", "d"),
    ("n_timesteps", "samples", "d"),
    ("n_neurons", "neurons", "d"),
    ("rank", "rank", "d"),
]
PARTS = [
    ("start", "closed form s", ".2f"),
    ("step_ms", "gradient step ms", ".0f"),
    ("infer_ms", "inference ms a trial", ".0f"),
]
FIT = {"max_iter": 200, "random_state": 0}
QUICK = FIT | {"max_iter": QUICK_STEPS, **QUICK_SIZES}
REPEATS = 3
MOST_STEPS = 100  # of a fit whose costs are read
FILE_SHAPE = (100, 1000)  # time steps, neurons
FILE_FIT = {"n_components": 8, "rank": 10, "max_iter": 100, "n_init": 1}


# ---------------------------------------------------------------------------- size of the data


def cost(options):
    """Seconds of each part of a fit against trials, samples, neurons and rank."""
    rows = []
    for varied, values in VARIED.items():
        for value in [v // 4 for v in values[:2]] if options.quick else values:
            base = {name: v // 4 for name, v in BASE.items()} if options.quick else BASE
            row = base | {varied: value}
            rows.append({"varied": varied, **row, **measure_parts(options, **row)})
            log(f"cost, {varied}={value}: {rows[-1]['step_ms']:.0f} ms a step")
    slopes = []
    for varied in VARIED:
        mine = [row for row in rows if row["varied"] == varied]
        slopes.append({"varied": varied})
        for part in ("start", "step_ms", "infer_ms"):
            x, y = (np.log([row[name] for row in mine]) for name in (varied, part))
            slopes[-1][part] = float(np.polyfit(x, y, 1)[0])
    exponents = [("varied", "exponent in", "s")]
    exponents += [(key, text.split(" ms")[0].removesuffix(" s"), ".2f") for key, text, _ in PARTS]
    notes = [
        f"Multi-task data, {N_COMPONENTS} components. Each gradient step takes all trials (the "
        "median of the free-running steps); the inference is that of "
        f"{HELD_OUT} held-out trials, the least of {REPEATS} repetitions. One thread."
    ]
    tables = [
        Table([("varied", "varied", "s"), *SIZES, *PARTS], rows, summarise=False),
        Table(exponents, slopes, title="Slope of log(time) against log(size); 1 is linear:"),
    ]
    tables[1].summarise = False
    return Result("Cost against size", tables, notes)


def large(options):
    """The same for trials of very many neurons, which the estimate in docs/scaling.md rests on."""
    row = LARGE | ({"n_neurons": 200, "n_trials": 24, "n_timesteps": 20} if options.quick else {})
    row |= measure_parts(options, **row)
    row["ns"] = 1e6 * row["step_ms"] / (row["n_trials"] * row["n_timesteps"] * row["n_neurons"])
    columns = [*SIZES, *PARTS, ("ns", "step ns a value", ".1f")]
    notes = [f"As above, {N_COMPONENTS} components, {HELD_OUT} held-out trials, one thread."]
    return Result("Very many neurons", [Table(columns, [row], summarise=False)], notes)


def measure_parts(options, n_trials, n_timesteps, n_neurons, rank):
    """Seconds of the closed form, ms of a step, ms of the inference of a trial."""
    data = make_multitask(
        n_trials + HELD_OUT,
        n_neurons=n_neurons,
        n_timesteps=n_timesteps,
        teacher_seed=0,
        random_state=0,
    )
    n, steps = (2, QUICK_STEPS) if options.quick else (N_COMPONENTS, MOST_STEPS)
    est = JEDIEstimator(n, rank, max_iter=steps, batch_size=n_trials, random_state=0)
    recorder, started = Recorder(), []
    closed_form = _solvers.warm_start

    def timed(*arguments):
        start = time.perf_counter()
        result = closed_form(*arguments)
        started.append(time.perf_counter() - start)
        return result

    with (
        mock.patch.object(_fit, "Progress", lambda *_: recorder),
        mock.patch.object(_solvers, "warm_start", timed),
    ):
        fit(est, data.X[HELD_OUT:], data.task[HELD_OUT:])
    seconds = np.diff([second for second, _, _ in recorder.steps])
    free = [s for s, step in zip(seconds, recorder.steps[1:], strict=True) if step[2] == 0]
    inference = min(infer_seconds(est, data.X[:HELD_OUT]) for _ in range(REPEATS))
    return {
        "start": started[0],
        "step_ms": 1e3 * float(np.median(free)),
        "infer_ms": 1e3 * inference / HELD_OUT,
    }


def infer_seconds(est, X, n_jobs=None):
    """Seconds of a transform."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.perf_counter()
        est.transform(X, n_jobs=n_jobs)
        return time.perf_counter() - start


# ------------------------------------------------------------------------------- several cores


def workers(options):
    """Inference with one and with two workers of joblib."""
    small = {"n_neurons": 40, "n_timesteps": 40} if options.quick else {}
    data = make_multitask(64 if options.quick else 512, random_state=0, **small)
    est = JEDIEstimator(**(QUICK if options.quick else FIT))
    fit(est, data.X[:128], data.task[:128])
    backends = ("loky", "threading")
    rows = []
    for backend in backends:
        with joblib.parallel_config(backend=backend, inner_max_num_threads=None):
            infer_seconds(est, data.X[:130], n_jobs=2)  # starts the workers
            for repeat in range(REPEATS):
                one = infer_seconds(est, data.X, n_jobs=1)
                two = infer_seconds(est, data.X, n_jobs=2)
                row = {"backend": backend, "repeat": repeat, "one": one, "two": two}
                rows.append(row | {"ratio": one / two})
                log(f"workers, {backend}: {one / two:.2f} times as fast")
    columns = [
        ("backend", "backend", "s"),
        ("repeat", "repetition", "d"),
        ("one", "n_jobs=1 s", ".1f"),
        ("two", "n_jobs=2 s", ".1f"),
        ("ratio", "times as fast", ".2f"),
    ]
    notes = [f"`transform` of {len(data.X)} multi-task trials; the workers had started before."]
    return Result("Two workers", [Table(columns, rows, by=("backend",))], notes)


def processes(options):
    """One fit in one and in two processes of torch.distributed."""
    n_trials = 64 if options.quick else 400
    rows = []
    for repeat in range(1 if options.quick else REPEATS):
        for n in (1, 2):
            job = {"n_trials": n_trials, "quick": options.quick, "distributed": n > 1}
            start = [sys.executable]
            if n > 1:
                start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}"]
            rows.append({"repeat": repeat, "n": n, **run_job("fit_shared", job, start)})
            log(f"processes, {n}: {rows[-1]['seconds']:.1f} s, R2 {rows[-1]['r2']:.6f}")
    for one, two in zip(rows[::2], rows[1::2], strict=True):
        two["ratio"] = one["seconds"] / two["seconds"]
        two["step_ratio"] = one["step_ms"] / two["step_ms"]
    columns = [
        ("repeat", "repetition", "d"),
        ("n", "processes", "d"),
        ("step_ms", "gradient step ms", ".0f"),
        ("step_ratio", "times as fast", ".2f"),
        ("seconds", "fit s", ".1f"),
        ("ratio", "times as fast", ".2f"),
        ("r2", "training R2", ".6f"),
    ]
    notes = [
        f"{n_trials} multi-task trials, mini-batches of 200, default sizes, one thread for each "
        "process. In float32 training, other orders of summation end at slightly other models."
    ]
    result = Result("Two processes", [Table(columns, rows, by=("n",))], notes)
    apart = max(abs(a["r2"] - b["r2"]) for a, b in zip(rows[::2], rows[1::2], strict=True))
    result.target("training R2 the same within 0.001", apart, apart < 1e-3, ".6f")
    return result


def run_job(name, job, start=None):
    """What a function of this module returns, run in a process of its own, or in several."""
    with tempfile.TemporaryDirectory() as folder:
        # by a file: lines that several processes print can run together
        path = Path(folder) / "result.json"
        command = [*(start or [sys.executable]), "-m", __spec__.name, name, json.dumps(job)]
        done = subprocess.run([*command, str(path)], capture_output=True, text=True, cwd=ROOT)
        if done.returncode:
            log(done.stderr)
            raise RuntimeError(f"The measuring process failed with {done.returncode}.")
        return json.loads(path.read_text(encoding="utf-8"))


def fit_shared(job):
    """Fit simulated data, alone or with other processes."""
    small = {"n_neurons": 40, "n_timesteps": 40} if job["quick"] else {}
    data = make_multitask(job["n_trials"], random_state=0, **small)
    fit(JEDIEstimator(max_iter=2), data.X[:8, :10])  # imports
    est = JEDIEstimator(**(QUICK if job["quick"] else FIT))
    est.set_params(distributed=job["distributed"])
    recorder = Recorder()
    with mock.patch.object(_fit, "Progress", lambda *_: recorder):
        seconds = fit(est, data.X, data.task)
    each = np.diff([second for second, _, _ in recorder.steps])
    return {
        "seconds": seconds,
        "step_ms": 1e3 * float(np.median(each)),
        "r2": float(est.score(data.X[:64])),
    }


# ----------------------------------------------------------------------------- files on disk


def file(options):
    """Peak memory of a process that fits a file much larger than that."""
    n_steps, n_neurons = (40, 100) if options.quick else FILE_SHAPE
    size = 0.005 if options.quick else options.file_gb
    n_trials = int(size * 1e9 / (4 * n_steps * n_neurons))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        job = {"path": str(Path(folder) / "activity.npy"), "shape": [n_trials, n_steps, n_neurons]}
        run_job("write_file", job)
        log(f"file: {size} GB written")
        job |= {"params": FILE_FIT | ({"max_iter": QUICK_STEPS} if options.quick else {})}
        row = run_job("fit_file", job)
    columns = [
        ("shape", "X", "s"),
        ("file_mb", "file MB", ".0f"),
        ("import_mb", "peak before fit MB", ".0f"),
        ("peak_mb", "peak MB", ".0f"),
        ("steps", "steps", "d"),
        ("batch", "trials a step", "d"),
        ("training_minutes", "until trained min", ".1f"),
        ("minutes", "fit min", ".1f"),
        ("r2", "R2 of 200 trials", ".4f"),
    ]
    notes = [
        "float32 activity of simulated multi-task trials in a .npy file, opened with "
        '`np.load(path, mmap_mode="r")` and fitted by a process of its own, whose peak '
        "resident memory is read. MB are 10^6 bytes."
    ]
    result = Result(
        "A file larger than memory should hold", [Table(columns, [row], summarise=False)], notes
    )
    result.settings = FILE_FIT
    peak = row["peak_mb"]
    result.target("peak below 1000 MB", peak, peak < 1000, ".0f")
    return result


def write_file(job):
    """Simulated trials, some at a time, into a .npy file."""
    n_trials, n_steps, n_neurons = job["shape"]
    X = np.lib.format.open_memmap(job["path"], "w+", np.float32, (n_trials, n_steps, n_neurons))
    for first in range(0, n_trials, 200):
        n = min(200, n_trials - first)
        some = make_multitask(n, n_neurons=n_neurons, n_timesteps=n_steps, random_state=first)
        X[first : first + n] = some.X
    X.flush()
    return {}


def fit_file(job):
    """Fit the file and report the peak."""
    X = np.load(job["path"], mmap_mode="r")
    fit(JEDIEstimator(max_iter=2), np.random.default_rng(0).standard_normal((8, 10, 5)))
    before = peak_bytes()
    est = JEDIEstimator(random_state=0, **job["params"])
    recorder, batches = Recorder(), []
    check = _fit.check_processes

    def noted(batch_size, *rest):
        batches.append(batch_size)
        check(batch_size, *rest)

    with (
        mock.patch.object(_fit, "Progress", lambda *_: recorder),
        mock.patch.object(_fit, "check_processes", noted),
    ):
        start = time.perf_counter()
        fit(est, X)
        seconds = time.perf_counter() - start
    peak = peak_bytes()
    return {
        "shape": " x ".join(map(str, X.shape)),
        "file_mb": X.nbytes / 1e6,
        "import_mb": before / 1e6,
        "peak_mb": peak / 1e6,
        "steps": est.n_iter_,
        "batch": batches[0],
        "training_minutes": (recorder.start + recorder.steps[-1][0] - start) / 60,
        "minutes": seconds / 60,
        "r2": est.score(X[:200]),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    threadpool_limits(1)
    jobs = {f.__name__: f for f in (fit_shared, write_file, fit_file)}
    result = jobs[sys.argv[1]](json.loads(sys.argv[2]))
    if os.environ.get("RANK", "0") == "0":  # all of them have the same model
        Path(sys.argv[3]).write_text(json.dumps(result), encoding="utf-8")
