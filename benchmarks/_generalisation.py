"""Tasks and conditions left out of a fit: what it makes of them, and what its bases could."""

from __future__ import annotations

import time

import numpy as np

from jedi_sklearn.metrics import r2_by

from ._common import estimator, few, fit, log, quiet, scaled
from ._paper import MADE, METHOD, SAME_NUMBERS, SIZE, rivals, trials
from ._report import Figure, Result, Table
from ._simulated import TASKS, subspace_ceiling

N_TRAINING_TASKS = (1, 2, 3)
N_EXTENDING = (1, 2, 5, 10)  # trials of the task left out
N_OLD = 12  # trials of each task fitted that the fit has not seen
EXTENDED, TRAINED = "to extend the fit", "fitted with the others"
N_FITTED = 120  # trials, however many tasks or conditions they are of
N_CONDITIONS, N_NEW, N_TRAINING_CONDITIONS = 8, 2, (1, 2, 4, 6)  # of each task


def unseen_tasks(options):
    """A task left out of the fit, against the number of tasks in it."""
    rows, extensions = [], []
    for seed in options.seeds:
        data = trials(options, seed, 4 * N_FITTED)
        for i, task in enumerate(few(options, TASKS)):
            own = np.flatnonzero(data.task == task)
            new, own = own[: len(own) // 3], own[len(own) // 3 :]
            for n_tasks in few(options, N_TRAINING_TASKS):
                known = [TASKS[(i + k) % len(TASKS)] for k in range(1, n_tasks + 1)]
                n_each = len(own) // 2 if options.quick else N_FITTED // n_tasks
                each = [np.flatnonzero(data.task == k) for k in known]
                index = np.concatenate([some[:n_each] for some in each])
                row = {"seed": seed, "task": task, "n_tasks": n_tasks}
                found, est = compared(options, row, data, index, new)
                rows += found
            # the last fit is that to most tasks
            later = np.concatenate([some[n_each : n_each + N_OLD] for some in each])
            row = {"seed": seed, "task": task}
            parts = (data.X[k] for k in (index, later, own[:n_each], new))
            extensions += extended(options, row, est, *parts)
    result = generalisation(
        options,
        "A task left out of the fit",
        rows,
        ("n_tasks", "tasks fitted"),
        f"{MADE.format(**SIZE)}: each of the four tasks is left out in turn. {N_FITTED} trials "
        "are fitted, of one, two or three of the others; of the trials of the task left out only "
        "embeddings are inferred.",
    )
    columns = [
        ("seed", "seed", "d"),
        ("task", "task left out", "s"),
        ("n", "trials of it", "d"),
        ("how", "how they are used", "s"),
        ("r2", "R2 of new trials", ".4f"),
        ("columns", "columns of U", "d"),
        ("same", "trials of old tasks with the same answers", ".3f"),
        ("seconds", "s", ".1f"),
    ]
    table = Table(columns, extensions, "Extended by trials of the task", by=("how", "n"))
    result.tables.append(table)
    result.notes.append(
        "*Extended by trials of the task*: the fit to three tasks, `extend`ed by the first trials "
        "of the fourth, beside fits to the trials of three tasks and of the fourth together. R2 "
        f"is of the same new trials as above. *The same answers*: of {N_OLD} trials of each task "
        "of the fit that it has not seen, the share whose embedding, score and free run are "
        "identical before and after, bit for bit."
    )
    if not options.quick:
        most, trained = max(N_EXTENDING), max(row["n"] for row in extensions)
        reached, mark = (
            table.summary(how=how, n=n)["r2"]["mean"]
            for how, n in ((EXTENDED, most), (TRAINED, trained))
        )
        text = f"R2 with {most} trials to extend within .01 of that of training on {trained}"
        result.target(text, reached - mark, reached >= mark - 0.01, "+.4f")
    return result


def extended(options, row, est, X, X_old, own, X_new):
    """A row for each number of trials of a new task, which extend a fit to X or join it."""
    rows = [{**row, "n": 0, "how": EXTENDED, "r2": r2_by(X_new, quiet(est.predict, X_new))}]
    rows[0]["columns"] = est.rank_
    before = answers(est, X_old)
    for n in few(options, N_EXTENDING):
        start = time.perf_counter()
        more = quiet(est.extend, own[:n])
        seconds = time.perf_counter() - start
        same = np.ones(len(X_old), dtype=bool)
        for was, now in zip(before, answers(more, X_old), strict=True):
            same &= (was == now[..., : was.shape[-1]]).reshape(len(was), -1).all(axis=1)
        rest = {"same": float(same.mean()), "seconds": seconds}
        r2 = r2_by(X_new, quiet(more.predict, X_new))
        rows.append({**row, "n": n, "how": EXTENDED, "r2": r2, "columns": more.rank_, **rest})
        log(f"paper.unseen_tasks: {rows[-1]}")
    for n in () if options.quick else (max(N_EXTENDING), len(own)):
        fitted = estimator(options)
        seconds = fit(fitted, np.concatenate([X, own[:n]]))
        r2 = r2_by(X_new, quiet(fitted.predict, X_new))
        rest = {"columns": fitted.rank_, "seconds": seconds}
        rows.append({**row, "n": n, "how": TRAINED, "r2": r2, **rest})
        log(f"paper.unseen_tasks: {rows[-1]}")
    return rows


def answers(est, X):
    """Embeddings, scores and free runs of trials."""
    found = quiet(est.posterior, X)
    return found.mean, found.r2[:, np.newaxis], quiet(est.predict, X)


def new_conditions(options):
    """Conditions left out of the fit, against the number of conditions in it."""
    rows = []
    for seed in options.seeds:
        data = trials(options, seed, 4 * N_CONDITIONS * 24, N_CONDITIONS)
        each = [np.unique(data.condition[data.task == task]) for task in TASKS]
        rng = np.random.default_rng(seed)
        each = [rng.permutation(names) for names in each]
        new = [np.flatnonzero(np.isin(data.condition, names[:N_NEW]))[:12] for names in each]
        for n in [2] if options.quick else N_TRAINING_CONDITIONS:
            known = np.concatenate([names[N_NEW : N_NEW + n] for names in each])
            n_each = N_FITTED // len(known)
            index = [np.flatnonzero(data.condition == name)[:n_each] for name in known]
            fitted, left_out = np.concatenate(index), np.concatenate(new)
            row = {"seed": seed, "n_conditions": n}
            rows += compared(options, row, data, fitted, left_out)[0]
    return generalisation(
        options,
        "Conditions left out of the fit",
        rows,
        ("n_conditions", "conditions of a task fitted"),
        f"{MADE.format(**SIZE)}, {N_CONDITIONS} conditions (frequencies, strengths, delays, "
        f"directions) of each of the four tasks, of which {N_NEW} are left out. About {N_FITTED} "
        "trials are fitted, of one to six of the others.",
    )


def compared(options, row, data, index, new):
    """A row for each method: R2 of new trials after a fit to those of the index; and the fit."""
    X, X_new, rows = data.X[index], data.X[new], []
    est = estimator(options)
    fit(est, X)
    methods = {"JEDI": est} | rivals(options, est.n_components_, ["VAE"])
    for name, model in methods.items():
        if name != "JEDI":
            fit(model, X)
        r2 = r2_by(X_new, quiet(model.predict, X_new))
        rows.append({**row, "method": name, "r2": r2})
    ceiling = subspace_ceiling(est, scaled(est, X_new))
    rows.append({**row, "method": "ceiling of the bases", "r2": ceiling})
    log(f"paper: {row}, {[(r['method'], round(r['r2'], 4)) for r in rows]}")
    return rows, est


def generalisation(options, title, rows, varied, note):
    """Result of a section whose rows are of `compared`."""
    key, heading = varied
    number, ceiling = (key, heading, "d"), "ceiling of the bases"
    wide = []  # a column for each method; its rows follow each other
    for row in rows:
        if row["method"] == "JEDI":
            wide.append({k: row[k] for k in ("seed", key)})
        wide[-1][row["method"]] = row["r2"]
    columns = [(m, f"R2, {m}", ".3f") for m in wide[0] if m not in ("seed", key)]
    for row in wide:
        row["share"] = row["JEDI"] / row[ceiling]
    columns.append(("share", "JEDI / ceiling", ".3f"))
    table = Table(["seed", number, *columns], wide, by=(key,))
    long = Table(["seed", number, METHOD, "r2"], rows, by=(key, "method"), shown=False)
    figure = Figure("generalisation", key, [("r2", "R2 of new trials")], "method", 1, heading)
    figure.caption = f"R2 of new trials against the number of {heading}"
    result = Result(
        title,
        [table, long],
        [
            f"{note} {SAME_NUMBERS} *Ceiling of the bases*: the best that any RNN in the span of "
            "the fitted U can do."
        ],
        options.params,
        figures=[figure],
    )
    most = max(row[key] for row in table.rows)
    share = float(np.mean([row["share"] for row in table.rows if row[key] == most]))
    result.target(f"R2 / ceiling >= 0.96 with {most} {heading}", share, share >= 0.96, ".3f")
    return result
