"""How fast fit and transform are beside another commit: the same work, in turn, on both.

Run as a program it is one such job of the package that Python finds, and prints what came out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
N_TRIALS, N_NEW = 120, 200
QUICK = {"max_iter": 3, "tol": 10.0, "n_components": 3, "rank": 4}


def multitask(seed, n_new):
    """Trials of known tasks, noisy rates."""
    from jedi_sklearn.datasets import make_multitask

    data = make_multitask(n_trials=N_TRIALS, teacher_seed=seed, random_state=100 + seed)
    new = make_multitask(n_trials=n_new, teacher_seed=seed, random_state=900 + seed)
    return data.X, data.task, new.X, new.task


def foreign(seed, n_new):
    """New trials are of a task that the fit has not seen."""
    X, task, X_new, new_task = multitask(seed, 4 * n_new)
    known, new = task != "reach", new_task == "reach"
    return X[known], task[known], X_new[new][:n_new], new_task[new][:n_new]


def counts(seed, n_new):
    """Spike counts of starts in 16 conditions, bins of 20 ms."""
    from jedi_sklearn.datasets import make_initial_states, make_spike_counts

    how = {"teacher_seed": seed, "random_state": seed, "observation_noise": 0.0}
    data = make_initial_states(N_TRIALS + n_new, n_conditions=16, n_neurons=100, **how)
    data = make_spike_counts(data, bin_steps=2, random_state=seed)
    X, label = data.X, data.condition
    return X[:N_TRIALS], label[:N_TRIALS], X[N_TRIALS:], label[N_TRIALS:]


WORK = {work.__name__: work for work in (multitask, foreign, counts)}


def job(name, seed, n_new, quick):
    """CPU seconds of fit and transform with defaults, and how good they are."""
    from sklearn.linear_model import LogisticRegression

    from jedi_sklearn import JEDIEstimator

    X, label, X_new, new_label = WORK[name](seed, n_new)
    if quick:
        X, label, X_new = X[::4, :30, :20], label[::4], X_new[:, :30, :20]
    how = {"dt": 0.02} if name == "counts" else {}
    est = JEDIEstimator(random_state=0, **how, **(QUICK if quick else {}))
    JEDIEstimator(2, 3, max_iter=2, tol=10.0).fit(X[:8, :10, :6])  # torch imports much once
    start = time.process_time()
    est.fit(X, label)
    fitted = time.process_time()
    E = est.transform(X_new)
    done = time.process_time()
    known = set(new_label) <= set(label)  # what was not learned cannot be decoded
    decoder = LogisticRegression(max_iter=5000).fit(est.embedding_, label) if known else None
    return {
        "fit": fitted - start,
        "transform": done - fitted,
        "r2": est.score(X_new),
        "accuracy": float(decoder.score(E, new_label)) if known else None,
    }


def commits(options):
    """Fit and transform against those of another commit."""
    from ._common import log
    from ._report import Result, Skipped, Table

    try:
        _git("cat-file", "-e", f"{options.old}^{{commit}}")
    except (OSError, subprocess.CalledProcessError):
        raise Skipped(f"this is no clone that has commit {options.old}") from None
    n_new = 8 if options.quick else N_NEW
    work = options.work[:1] if options.quick else options.work
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        old = str(Path(folder) / "old")
        _git("worktree", "add", "--detach", "--force", old, options.old)
        try:
            for name in work:
                for seed in options.seeds:
                    args = [name, str(seed), str(n_new), str(int(options.quick))]
                    before, after = (_run(tree, args) for tree in (old, str(ROOT)))
                    rows.append(_row(name, seed, before, after))
                    log(
                        f"{name}, seed {seed}: transform {rows[-1]['transform']:.1f} times as fast"
                    )
        finally:
            _git("worktree", "remove", "--force", old)
    columns = [
        ("seed", "seed", "d"),
        ("fit", "fit, times faster", ".2f"),
        ("transform", "transform, times faster", ".2f"),
        ("fit_seconds", "fit, CPU s", ".1f"),
        ("transform_ms", "transform, CPU ms a trial", ".1f"),
        ("r2", "R2 or D2", ".4f"),
        ("r2_before", "before", ".4f"),
        ("accuracy", "decoded", ".3f"),
        ("accuracy_before", "before", ".3f"),
    ]
    tables = [
        Table(
            columns, [row for row in rows if row["work"] == name], f"{name}: {WORK[name].__doc__}"
        )
        for name in work
    ]
    result = Result(
        "Fit and transform beside an earlier commit",
        tables,
        [
            f"Default parameters, {N_TRIALS} trials fitted (`foreign`: those of three tasks of "
            f"four), {n_new} new ones inferred. Each job has a process and a thread of its own, "
            f"commit {options.old[:7]} first, then this tree; times are CPU seconds, and ratios "
            "those of a seed's two jobs. *decoded*: logistic regression on the embeddings."
        ],
    )
    for name, goal in (("multitask", 8.0), ("foreign", 1.0)):
        ratios = [row["transform"] for row in rows if row["work"] == name]
        if ratios:
            median = float(np.median(ratios))
            text = f"transform of {name} trials {goal:g} times as fast (median)"
            result.target(text, median, median >= goal, ".2f")
    return result


def _row(name, seed, before, after):
    return {
        "work": name,
        "seed": seed,
        "fit": before["fit"] / after["fit"],
        "transform": before["transform"] / after["transform"],
        "fit_seconds": after["fit"],
        "transform_ms": 1e3 * after["transform"] / after["n_new"],
        "r2": after["r2"],
        "r2_before": before["r2"],
        "accuracy": after["accuracy"],
        "accuracy_before": before["accuracy"],
    }


def _git(*words):
    subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True)


def _run(tree, args):
    env = os.environ | {"PYTHONPATH": tree, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__, *args], env=env, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    name, seed, n_new, quick = sys.argv[1], *map(int, sys.argv[2:])
    warnings.simplefilter("ignore")
    print(json.dumps(job(name, seed, n_new, quick) | {"n_new": n_new}))
