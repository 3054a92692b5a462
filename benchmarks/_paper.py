"""Claims of the JEDI paper (arXiv:2603.10489): reconstruction, classification, and which sizes.

What others make of the same trials stands beside it. Further claims have modules of their own:
`_generalisation.py`, `_low_rank.py` and `_preparation.py`.
"""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jedi_sklearn.baselines import ConditionMean, PCATrajectories, RNNVAEBaseline, VAEBaseline
from jedi_sklearn.datasets import make_multitask
from jedi_sklearn.metrics import r2_by

from ._common import estimator, few, fit, log, make, quiet, split
from ._report import Figure, Result, Table
from ._simulated import NOISE

LARGE = {"n_neurons": 100, "n_timesteps": 100}  # of simulated trials
SIZE = {"n_neurons": 60, "n_timesteps": 80}  # where many fits are made
SMALL = {"n_neurons": 40, "n_timesteps": 50}  # where derivatives of all weights make fits slow
MADE = "`make_multitask` with {n_neurons} neurons and {n_timesteps} samples of 10 ms"
EMBEDDING_SIZES = (1, 2, 4, 8, 16)
HIDDEN = ((), (8,), (32,), (128,))  # no hidden layer is the linear hypernetwork

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
