"""Claims of the JEDI paper (arXiv:2603.10489), each beside what others make of the same trials."""

from __future__ import annotations

import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jedi_sklearn import eigenspectrum, lyapunov_exponents
from jedi_sklearn.baselines import ConditionMean, PCATrajectories, RNNVAEBaseline, VAEBaseline
from jedi_sklearn.datasets import make_multitask
from jedi_sklearn.evaluation import permutation_test
from jedi_sklearn.metrics import r2_by
from jedi_sklearn.preprocessing import cut_epochs

from ._common import estimator, few, fit, log, make, scaled, split
from ._frequency import largest_frequencies
from ._recordings import BIN_WIDTH, load
from ._report import Figure, Result, Table
from ._simulated import NOISE, TASKS, subspace_ceiling

LARGE = {"n_neurons": 100, "n_timesteps": 100}  # of simulated trials
SIZE = {"n_neurons": 60, "n_timesteps": 80}  # where many fits are made
SMALL = {"n_neurons": 40, "n_timesteps": 50}  # where derivatives of all weights make fits slow
MADE = "`make_multitask` with {n_neurons} neurons and {n_timesteps} samples of 10 ms"
N_TRAINING_TASKS = (1, 2, 3)
N_EXTENDING = (1, 2, 5, 10)  # trials of the task left out
N_OLD = 12  # trials of each task fitted that the fit has not seen
EXTENDED, TRAINED = "to extend the fit", "fitted with the others"
N_FITTED = 120  # trials, however many tasks or conditions they are of
N_CONDITIONS, N_NEW, N_TRAINING_CONDITIONS = 8, 2, (1, 2, 4, 6)  # of each task
CONNECTIVITIES = {"shared": "shared bases", "low_rank": "low rank", "full_rank": "full rank"}
CONNECTIVITY_SIZES = {"n_components": 8, "rank": 8}
N_SMALL = 96, 32  # trials to fit, and held out
NOISES = (0.0, 0.5, 1.0, 2.0)  # SD of what is added, in SDs of the data
LOST = (0.0, 0.5, 0.75, 0.9)  # share of the neurons
FEW = (32, 64, 96)  # trials fitted
EMBEDDING_SIZES = (1, 2, 4, 8, 16)
HIDDEN = ((), (8,), (32,), (128,))  # no hidden layer is the linear hypernetwork
EPOCH_BINS = 14  # 0.7 s before the go cue, and from the onset of the movement

METHOD = ("method", "method", "s")
NUMBERS = ("n_components", "numbers a trial", "d")
TASK = ("task_accuracy", "task decoded", ".3f")
CONDITION = ("condition_accuracy", "condition decoded", ".3f")
SAME_NUMBERS = (
    "PCA of whole trials and autoencoders have as many numbers a trial as JEDI chose; all learn "
    "from the same trials, without labels, with their default settings."
)


def trials(options, seed, n_trials, n_conditions=None, size=SIZE, **noise):
    """Simulated trials, with --quick fewer of fewer conditions."""
    if options.quick and n_conditions:
        n_conditions = min(n_conditions, 2) if size is SMALL or n_conditions < 8 else 4
    how = {"n_trials": n_trials, "n_conditions_per_task": n_conditions, **size, **noise}
    return make(options, make_multitask, seed, **how)


def rivals(options, n, autoencoders=("RNN-VAE", "VAE")):
    """Other models of n numbers a trial."""
    how = {"random_state": 0} | ({"max_iter": 3} if options.quick else {})
    found = {"RNN-VAE": RNNVAEBaseline(n, **how), "VAE": VAEBaseline(n, **how)}
    return {name: found[name] for name in autoencoders} | {"PCA": PCATrajectories(n)}


def parts(data, train, test):
    """Trials and conditions to fit, and those held out."""
    return data.X[train], data.condition[train], data.X[test], data.condition[test]


def quiet(function, *arguments):
    """What a function returns, convergence not reported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return function(*arguments)


def decoded(E, labels, E_new, new_labels):
    """Accuracy of logistic regression."""
    decoder = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    return float(decoder.fit(E, labels).score(E_new, new_labels))


def reconstruction(options):
    """R2 of held-out trials of several tasks, and what embeddings say of task and condition."""
    rows = []
    for seed in options.seeds:
        data = trials(options, seed, 200, 4, LARGE, observe="rate", **NOISE)
        train, test = split(data.condition, 0.2, seed)
        X, y, X_new, y_new = parts(data, train, test)
        est = estimator(options)
        seconds = fit(est, X)
        methods = {"JEDI": est} | rivals(options, est.n_components_)
        for name, model in methods.items():
            if name != "JEDI":
                seconds = fit(model, X)
            row = {"seed": seed, "method": name, "n_components": model.n_components_}
            row["r2"] = r2_by(X_new, quiet(model.predict, X_new))
            E, E_new = model.embedding_, quiet(model.transform, X_new)
            row["task_accuracy"] = decoded(E, data.task[train], E_new, data.task[test])
            row["condition_accuracy"] = decoded(E, y, E_new, y_new)
            rows.append(row | {"fit_seconds": seconds})
            log(f"paper.reconstruction: {rows[-1]}")
        for name, output in {"JEDI, free runs": "trajectory", "JEDI, both": "both"}.items():
            est.set_params(output=output)
            E, E_new = est.transform(X), quiet(est.transform, X_new)
            row = {"seed": seed, "method": name, "n_components": E.shape[1]}
            row["task_accuracy"] = decoded(E, data.task[train], E_new, data.task[test])
            rows.append(row | {"condition_accuracy": decoded(E, y, E_new, y_new)})
            log(f"paper.reconstruction: {rows[-1]}")
        mean = ConditionMean().fit(X, y)
        r2 = r2_by(X_new, mean.predict(X_new, y_new))
        rows.append({"seed": seed, "method": "condition mean", "r2": r2})
    columns = ["seed", METHOD, "r2", TASK, CONDITION, NUMBERS, "fit_seconds"]
    y = [("r2", "R2 of held-out trials"), *(c[:2] for c in (TASK, CONDITION))]
    result = Result(
        "Reconstruction and classification",
        [Table(columns, rows, by=("method",))],
        [
            f"{MADE.format(**LARGE)}, four tasks with four conditions each, noisy rates as data: "
            f"{len(train)} trials to fit, {len(test)} held out. Task (chance 0.25) and condition "
            f"(0.06) are decoded by logistic regression on embeddings. {SAME_NUMBERS} The "
            "condition mean is told the condition. *JEDI, free runs*: the principal components of "
            'the free runs, `output="trajectory"`; *both*: embeddings beside them, '
            '`output="both"`.'
        ],
        NOISE | options.params,
        figures=[
            Figure("methods", "method", y, caption="Held-out R2, task and condition decoded")
        ],
    )
    for name in ("RNN-VAE", "VAE", "PCA", "condition mean"):
        ours, others = (
            np.array([row["r2"] for row in rows if row["method"] == method])
            for method in ("JEDI", name)
        )
        gain = float((ours - others).mean())
        result.target(f"R2 at least that of {name}", gain, gain >= 0, "+.4f")
    return result


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


def low_rank(options):
    """How embeddings of low-rank and of full-rank RNNs stand noise, lost neurons, few trials."""
    noisy, lost, fewer = [], [], []
    for seed in options.seeds:
        data = trials(options, seed, sum(N_SMALL), 4, SMALL)
        train, test = split(data.condition, N_SMALL[1] / sum(N_SMALL), seed)
        X, y, X_new, y_new = parts(data, train, test)
        rng = np.random.default_rng(seed)
        noise = X.std() * rng.standard_normal(X_new.shape)
        order = rng.permutation(X.shape[2])
        # of each condition as many, so that any number of trials has all conditions
        turn = np.empty(len(y), dtype=int)
        for label in np.unique(y):
            turn[y == label] = np.arange((y == label).sum())
        how = dict.fromkeys(CONNECTIVITY_SIZES, 2) if options.quick else CONNECTIVITY_SIZES
        for connectivity, name in CONNECTIVITIES.items():
            est = estimator(options, connectivity=connectivity, **how)
            seconds = fit(est, X)
            clean = quiet(est.transform, X_new)
            row = {"seed": seed, "connectivity": name}
            for size in few(options, NOISES):
                found = stood(est, y, X_new + size * noise, X_new, y_new, clean)
                noisy.append({**row, "noise": size, **found, "fit_seconds": seconds})
            for share in few(options, LOST):
                seen = X_new.copy()
                seen[:, :, order[: round(share * len(order))]] = np.nan
                lost.append({**row, "lost": share, **stood(est, y, seen, X_new, y_new, clean)})
            for n in few(options, FEW):
                some = np.sort(np.argsort(turn, kind="stable")[:n])
                less = est
                if len(some) < len(X):
                    less = estimator(options, connectivity=connectivity, **how)
                    fit(less, X[some])
                found = stood(less, y[some], X_new, X_new, y_new, None)
                fewer.append({**row, "n_trials": len(some), **found})
            log(f"paper.low_rank: {noisy[-1]}, {lost[-1]}, {fewer[-1]}")
    which = ("connectivity", "weights", "s")
    columns = [CONDITION, ("moved", "embedding moved", ".3f"), ("r2", "R2 of clean trials", ".3f")]
    tables, figures = [], []
    for key, heading, rows in (
        ("noise", "noise added, SD of the data", noisy),
        ("lost", "share of neurons lost", lost),
        ("n_trials", "trials fitted", fewer),
    ):
        spec = "d" if key == "n_trials" else "g"
        measured = columns if key != "n_trials" else [columns[0], columns[2]]
        more = ["fit_seconds"] * (key == "noise")
        by = (key, "connectivity")
        tables.append(Table(["seed", (key, heading, spec), which, *measured, *more], rows, by=by))
        tables[-1].rows = sorted(rows, key=lambda row, key=key: row[key])
        y = [c[:2] for c in measured]
        figure = Figure(key, key, y, "connectivity", len(tables) - 1, heading)
        figure.caption = f"Low and full rank against {heading}"
        figures.append(figure)
    return Result(
        "Low rank against full rank",
        tables,
        [
            f"{MADE.format(**SMALL)}, four tasks with four conditions each, "
            f"{len(train)} trials to fit, {len(test)} held out. *Shared bases* is the default, "
            "`U G(c) V'`; *low rank* `U(c) V(c)'`, as in the paper; *full rank* `J(c)`. The "
            "same trials, steps, embedding (8) and rank (8) for all. The decoder of 16 conditions "
            "learns from embeddings of clean training trials. *Embedding moved*: RMS distance to "
            "the embedding of the clean trial, over the RMS of all embeddings. *R2 of clean "
            "trials*: of free runs from what was shown, against the same trials with all neurons "
            "and no noise added."
        ],
        CONNECTIVITY_SIZES | options.params,
        figures=figures,
    )


def stood(est, y, shown, X_new, y_new, clean):
    """Decoding, shift of the embedding, and R2 for trials of which less is seen."""
    found = quiet(est.posterior, shown)
    run = est.inverse_transform(found.mean, found.initial_state, X_new.shape[1])
    row = {
        "condition_accuracy": decoded(est.embedding_, y, found.mean, y_new),
        "r2": r2_by(X_new, run),
    }
    if clean is not None:
        moved = np.square(found.mean - clean).sum() / np.square(clean - clean.mean(axis=0)).sum()
        row["moved"] = float(np.sqrt(moved))
    return row


def sizes(options):
    """The size of the embedding, and that of the hypernetwork's hidden layer."""
    embedding, hidden = [], []
    for seed in options.seeds:
        data = trials(options, seed, 200, 4)
        train, test = split(data.condition, 0.2, seed)
        for n in few(options, EMBEDDING_SIZES):
            row = sized(options, data, train, test, n_components=n)
            embedding.append({"seed": seed, "n": n, **row})
        for layers in few(options, HIDDEN):
            how = {"hypernetwork": "mlp", "hidden_layer_sizes": layers} if layers else {}
            row = sized(options, data, train, test, **how)
            name = f"{layers[0]} units" if layers else "linear"
            hidden.append({"seed": seed, "layer": name, **row})
        log(f"paper.sizes: {embedding[-1]}, {hidden[-1]}")
    measured = ["r2", TASK, CONDITION, "fit_seconds"]
    y = [("r2", "R2 of held-out trials"), *(c[:2] for c in (TASK, CONDITION))]
    varied = ("n", "size of the embedding", "d"), ("layer", "hidden layer", "s")
    return Result(
        "Size of the embedding and of the hidden layer",
        [
            Table(["seed", varied[0], *measured], embedding, by=("n",)),
            Table(["seed", varied[1], *measured], hidden, by=("layer",)),
        ],
        [
            f"{MADE.format(**SIZE)}, four tasks with four conditions each, "
            f"{len(train)} trials to fit, {len(test)} held out; no labels, all else by "
            "default. The default hypernetwork is affine; with a hidden layer it is "
            '`hypernetwork="mlp"`, and the size of the embedding "auto".'
        ],
        options.params,
        figures=[
            Figure("embedding", "n", y, "", 0, varied[0][1], log=True, caption=varied[0][1]),
            Figure("hidden", "layer", y, "", 1, varied[1][1], caption=varied[1][1]),
        ],
    )


def sized(options, data, train, test, **how):
    """A fit with these sizes."""
    est = estimator(options, **how)
    seconds = fit(est, data.X[train])
    E, E_new = est.embedding_, quiet(est.transform, data.X[test])
    return {
        "r2": r2_by(data.X[test], est.inverse_transform(E_new, None, data.X.shape[1])),
        "task_accuracy": decoded(E, data.task[train], E_new, data.task[test]),
        "condition_accuracy": decoded(E, data.condition[train], E_new, data.condition[test]),
        "fit_seconds": seconds,
    }


def preparation(options):
    """Preparation and execution of reaches: spectra and exponents, over halves and shuffles."""
    recording = load(options, "center_out_m1_trials.npz")
    counts = np.split(recording["spike_counts"], np.cumsum(recording["trial_length"])[:-1])
    long = recording["idx_go_cue"] - recording["idx_target_on"] >= EPOCH_BINS
    counts = [trial for trial, k in zip(counts, long, strict=True) if k]
    go_cue, onset = (recording[f"idx_{event}"][long] for event in ("go_cue", "movement_on"))
    epochs = {
        "preparation": cut_epochs(counts, go_cue, start=-EPOCH_BINS, stop=0),
        "execution": cut_epochs(counts, onset, start=0, stop=EPOCH_BINS),
    }
    if options.quick:
        epochs = {name: X[:60, :, :20] for name, X in epochs.items()}
    n_trials = len(epochs["preparation"])
    levels, tests = [], []
    for seed in options.seeds:
        order = np.random.default_rng(seed).permutation(n_trials)
        fitted, new = order[: n_trials // 2], order[n_trials // 2 :]
        X, X_new = (np.concatenate([x[k] for x in epochs.values()]) for k in (fitted, new))
        est = estimator(options, dt=BIN_WIDTH, random_state=seed)
        seconds = fit(est, X)
        label, pair = np.repeat(list(epochs), len(new)), np.tile(new, 2)
        n = 99 if options.quick else 999
        how = {"features": [epoch_measures], "groups": pair, "n_permutations": n}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            test = permutation_test(est, X_new, label, **how, random_state=seed)
        for name in epochs:
            k = list(test.labels).index(name)
            values = dict(zip(test.names, test.means[:, k].tolist(), strict=True))
            levels.append({"seed": seed, "epoch": name, **values})
        for i, name in enumerate(test.names):
            p = float(test.corrected_p_values[i])
            a, b = (levels[-2][name], levels[-1][name])
            row = {"seed": seed, "quantity": name, "difference": b - a, "p": p}
            tests.append(row | {"differ": p <= 0.05})
        log(f"paper.preparation, seed {seed}: fitted in {seconds:.0f} s")
    names = list(test.names)
    columns = [("seed", "half", "d"), ("epoch", "epoch", "s"), *((n, n, ".3f") for n in names)]
    differences = [
        ("seed", "half", "d"),
        ("quantity", "execution less preparation", "s"),
        ("difference", "difference", "+.3f"),
        ("differ", "halves with corrected p <= 0.05", "s"),
    ]
    shown = [(n, n.replace(", ", ",\n")) for n in names]
    return Result(
        "Preparation against execution",
        [
            Table(columns, levels, by=("epoch",)),
            Table(differences, tests, by=("quantity",)),
        ],
        [
            f"{n_trials} single trials of macaque M1 reaches, raw counts: the last "
            f"{EPOCH_BINS * BIN_WIDTH:g} s before the go cue and the first from movement onset. "
            "Each seed fits a random half of the trials, both epochs, without labels, and reads "
            f"the RNNs of the other half. {n} shuffles exchange the two epochs of a trial; p is "
            f"corrected for {len(names)} quantities."
        ],
        {"dt": BIN_WIDTH, **options.params},
        figures=[
            Figure("epochs", "epoch", shown[:4], caption="Preparation and execution"),
            Figure("more", "epoch", shown[4:], caption="The other quantities"),
        ],
    )


def epoch_measures(rnns):
    """Spectra at the origin (the weights alone) and along free runs, and Lyapunov exponents."""
    out = {}
    for at in ("origin", "trajectory"):
        spectrum = eigenspectrum(rnns, at)
        values = spectrum.multipliers.reshape(len(rnns), -1, spectrum.multipliers.shape[-1])
        real = np.where(np.abs(values.imag) < 1e-9, values.real, spectrum.leak).max(axis=2)
        out[f"leading multiplier, {at}"] = np.abs(values[..., 0]).mean(axis=1)
        out[f"largest real multiplier, {at}"] = real.mean(axis=1)
        out[f"largest frequency (Hz), {at}"] = largest_frequencies(spectrum, 2)
    out["largest Lyapunov exponent (1/s)"] = lyapunov_exponents(rnns, n_exponents=1)[:, 0]
    return out
