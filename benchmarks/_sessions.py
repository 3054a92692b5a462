"""One fit to sessions with different neurons, and decoders that cross from one to the other."""

from __future__ import annotations

import itertools
import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from jedi_sklearn import _parameters
from jedi_sklearn.datasets import make_multitask
from jedi_sklearn.metrics import r2_by
from jedi_sklearn.preprocessing import pad_trials, place_neurons, stack_sessions

from ._common import estimator, few, fit, log, make
from ._embeddings import at_least, decode, folds, settings
from ._recordings import load
from ._report import Result, Table

N_SESSIONS, N_NEURONS, N_TRAIN, N_TEST = 3, 60, 48, 32  # of each simulated session
N_CONDITIONS = 16
N_JOIN, N_JOINED = 5, 9  # trials a condition that a new session joins by, and of it to test
N_SHARED = (20, 5)  # neurons that both sessions have
GROWING, N_EACH, N_GROWING = (1, 2, 5, 10), 100, 40  # sessions, neurons and trials of each
GROWING_STEPS = 200  # of each fit: time goes with their number
TAU_OF_DAYS = 0.2  # s: dt is 0.1
COLUMNS = [
    ("across_lda", "LDA from other sessions", ".3f"),
    ("within_lda", "LDA within", ".3f"),
    ("across_lr", "LR from other sessions", ".3f"),
    ("within_lr", "LR within", ".3f"),
    ("n_components", "components", "d"),
    ("rank", "rank", "d"),
    "fit_seconds",
]


def decoded(est, X, labels, session, E, truth):
    """Accuracy on embeddings E of a session, learned in it and in the others."""
    row = {}
    for name, known in (("across", X.session != session), ("within", X.session == session)):
        row |= decode(name, est.embedding_[known], labels[known], E, truth)
    return row


def simulated_sessions(options):
    """Sessions of one teacher, each with neurons of its own."""
    rows = []
    for seed in options.seeds:
        n_trials = N_SESSIONS * (N_TRAIN + N_TEST)
        n_conditions = 1 if options.quick else 4  # of which few trials have enough
        how = {"n_conditions_per_task": n_conditions, "observation_noise": 0.1}
        how["n_trials"] = n_trials
        data = make(options, make_multitask, seed, **how)
        each = data.X.shape[2] // N_SESSIONS if options.quick else N_NEURONS
        rng = np.random.default_rng(seed)
        neurons = rng.permutation(data.X.shape[2])[: N_SESSIONS * each].reshape(N_SESSIONS, -1)
        session, new = np.zeros((2, len(data.X)), dtype=int)
        for label in np.unique(data.condition):
            index = rng.permutation(np.flatnonzero(data.condition == label))
            session[index] = np.arange(len(index)) % N_SESSIONS
            new[index[: round(len(index) * N_TEST / (N_TRAIN + N_TEST))]] = 1

        def trials(i, which, data=data, session=session, new=new):
            return (session == i) & (new == which)

        parts = [data.X[trials(i, 0)][:, :, neurons[i]] for i in range(N_SESSIONS)]
        X = stack_sessions(parts)
        labels = np.concatenate([data.condition[trials(i, 0)] for i in range(N_SESSIONS)])
        est = estimator(options)
        seconds = fit(est, X, labels)
        for i in range(N_SESSIONS):
            test = trials(i, 1)
            Z = X.place(data.X[test][:, :, neurons[i]], i)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                E, run = est.transform(Z), est.predict(Z)
                alone = estimator(options)
                fit(alone, parts[i], labels[X.session == i])
                r2_alone = alone.score(data.X[test][:, :, neurons[i]])
            others = np.delete(np.arange(N_SESSIONS), i)
            columns = np.concatenate([np.arange(X.shape[2])[X.columns[k]] for k in others])
            unseen = data.X[test][:, :, neurons[others].ravel()]
            row = {
                "r2": r2_by(data.X[test][:, :, neurons[i]], run[:, :, X.columns[i]]),
                "r2_alone": r2_alone,
                "r2_unseen": r2_by(unseen, run[:, :, columns]),
                **decoded(est, X, labels, i, E, data.condition[test]),
                "n_components": est.n_components_,
                "rank": est.rank_,
                "fit_seconds": seconds,
            }
            rows.append({"seed": seed, "session": i, **row})
            log(f"simulated_sessions, seed {seed}, session {i}: {row}")
    extra = [
        "r2",
        ("r2_alone", "R2 alone", ".4f"),
        ("r2_unseen", "R2 of neurons of the others", ".4f"),
    ]
    columns = ["seed", ("session", "session", "d"), *extra, *COLUMNS]
    table = Table(columns, rows)
    result = Result(
        "Simulated sessions with different neurons",
        [table],
        [
            f"`make_multitask` with four conditions a task: {N_SESSIONS} sessions of {N_NEURONS} "
            f"different neurons, {N_TRAIN} trials to fit and {N_TEST} held out in each, one fit "
            "to all (`stack_sessions`), default parameters. *Alone*: a fit to one session. "
            "*Neurons of the others*: never recorded in these trials. Decoders of 16 conditions "
            "learn from the embeddings of the other sessions, or of the same one."
        ],
        settings(options),
    )
    s = table.summary()
    gain = s["across_lda"]["mean"] - s["within_lda"]["mean"]
    at_least(result, "LDA across at least within - 0.03", gain, -0.03, "+.3f")
    gain = s["r2"]["mean"] - s["r2_alone"]["mean"]
    at_least(result, "R2 at least that of a session alone - 0.003", gain, -0.003, "+.4f")
    at_least(result, "R2 of neurons of the others >= 0.96", s["r2_unseen"]["mean"], 0.96)
    return result


def joined_session(options):
    """A session with neurons of its own that joins a fit to three others."""
    rows = []
    for seed in options.seeds:
        each = N_TRAIN // N_CONDITIONS  # trials a condition in each session of the fit
        n_trials = N_CONDITIONS * (N_SESSIONS * each + N_JOIN + N_JOINED)
        how = {"n_conditions_per_task": 1 if options.quick else 4, "observation_noise": 0.1}
        how |= {"n_trials": n_trials, "n_neurons": (N_SESSIONS + 1) * N_NEURONS}
        data = make(options, make_multitask, seed, **how)
        rng = np.random.default_rng(seed)
        neurons = rng.permutation(data.X.shape[2]).reshape(N_SESSIONS + 1, -1)
        session, test = np.zeros((2, len(data.X)), dtype=int)
        for label in np.unique(data.condition):
            index = rng.permutation(np.flatnonzero(data.condition == label))
            session[index] = np.minimum(np.arange(len(index)) // each, N_SESSIONS)
            test[index[N_SESSIONS * each + N_JOIN :]] = 1
        parts = [data.X[session == i][:, :, neurons[i]] for i in range(N_SESSIONS)]
        X = stack_sessions(parts)
        y = np.concatenate([data.condition[session == i] for i in range(N_SESSIONS)])
        est = estimator(options)
        fit(est, X, y)

        n_known, n_all = X.shape[2], neurons.size
        new = place_neurons(
            data.X[session == N_SESSIONS][:, :, neurons[-1]], slice(n_known, n_all), n_all
        )
        label, later = data.condition[session == N_SESSIONS], test[session == N_SESSIONS] == 1
        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            joined = est.adapt(new[~later], label[~later])
            seconds = time.perf_counter() - begin
            known, E = joined.transform(new[~later]), joined.transform(new[later])
            run = joined.predict(new[later])
        truth = data.X[test == 1]
        row = {
            "seed": seed,
            "r2": r2_by(truth[:, :, neurons[-1]], run[:, :, n_known:]),
            "r2_unseen": r2_by(truth[:, :, neurons[:-1].ravel()], run[:, :, :n_known]),
            **decode("across", est.embedding_, y, E, label[later]),
            **decode("within", known, label[~later], E, label[later]),
            "adapt_seconds": seconds,
        }
        rows.append(row)
        log(f"joined_session, {row}")
    columns = [
        "seed",
        "r2",
        ("r2_unseen", "R2 of neurons of the others", ".4f"),
        *COLUMNS[:4],
        ("adapt_seconds", "adapt s", ".1f"),
    ]
    table = Table(columns, rows)
    result = Result(
        "A session that joins a fit",
        [table],
        [
            f"`make_multitask` with four conditions a task, a fit to {N_SESSIONS} sessions of 60 "
            f"neurons and {N_TRAIN} trials each with default parameters. A fourth with 60 other "
            f"neurons joins by {N_JOIN} trials a condition (`adapt`), and {N_JOINED} trials a "
            "condition are held out. Decoders of 16 conditions learn from the embeddings of the "
            "trials of the fit, or of the trials that the session joined by."
        ],
        settings(options),
    )
    s = table.summary()
    gain = s["across_lda"]["mean"] - s["within_lda"]["mean"]
    at_least(result, "LDA of the others at least within - 0.05", gain, -0.05, "+.3f")
    return result


def shared_neurons(options):
    """Two sessions of one teacher that have some neurons in common."""
    rows = []
    for seed in options.seeds:
        n_trials, n_neurons = (48, 30) if options.quick else (160, 120)
        how = {"n_conditions_per_task": 2, "observation_noise": 0.1, "n_neurons": n_neurons}
        data = make_multitask(n_trials, **how, random_state=seed)
        n_conditions = len(np.unique(data.condition))
        session = np.arange(n_trials) // n_conditions % 2
        train = np.arange(n_trials) < 0.7 * n_trials
        for n_shared in few(options, N_SHARED):
            middle = (n_neurons + n_shared) // 2
            never = [slice(middle, n_neurons), slice(n_shared, middle)]  # of each session
            X = data.X.copy()
            for k in range(2):
                X[session == k, :, never[k]] = np.nan
            for labels in few(options, ("none", "conditions", "shuffled")):
                y = None if labels == "none" else data.condition[train]
                if labels == "shuffled":
                    y = np.random.default_rng(seed).permutation(y)
                est = estimator(options)
                seconds = fit(est, X[train], y)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    run = est.predict(X[~train])
                truth = data.X[~train]
                of = [session[~train] == k for k in range(2)]
                unseen = [
                    r2_by(truth[of[k]][:, :, never[k]], run[of[k]][:, :, never[k]])
                    for k in range(2)
                ]
                row = {"shared": n_shared, "labels": labels, "r2_unseen": np.mean(unseen)}
                rows.append({"seed": seed, **row, "fit_seconds": seconds})
                log(f"shared_neurons: {rows[-1]}")
    columns = [
        ("shared", "neurons in common", "d"),
        ("labels", "labels", "s"),
        "seed",
        ("r2_unseen", "R2 of neurons never recorded", ".3f"),
        "fit_seconds",
    ]
    rows.sort(key=lambda row: (-row["shared"], row["labels"], row["seed"]))
    return Result(
        "Sessions that share neurons",
        [Table(columns, rows, by=("shared", "labels"))],
        [
            "`make_multitask` with two conditions a task and 120 neurons: two sessions of 80 "
            "trials, of which 70 % are fitted with default parameters. Some neurons are in both "
            "sessions, half of the rest in each. R2 in held-out trials, mean over the sessions; "
            "without labels, with conditions, and with conditions that were shuffled."
        ],
        settings(options),
    )


def growth(options):
    """Time of fits to more and more sessions, and where all neurons drive each other."""
    rows, enough = [], _parameters.ENOUGH_UNITS
    sizes = GROWING[:2] if options.quick else GROWING
    for seed, n_sessions in itertools.product(options.seeds, sizes):
        each, n_trials, n_timesteps = (60, 12, 20) if options.quick else (N_EACH, N_GROWING, 75)
        how = {"n_trials": n_trials * n_sessions, "n_neurons": each * n_sessions}
        how |= {"n_timesteps": n_timesteps, "dt": 0.02, "observation_noise": 0.1}
        data = make_multitask(**how, teacher_seed=seed, random_state=100 + seed)
        session = np.arange(len(data.X)) // 4 % n_sessions
        parts = [data.X[session == i, :, i * each : (i + 1) * each] for i in range(n_sessions)]
        X, order = stack_sessions(parts), np.argsort(session, kind="stable")
        row = {"seed": seed, "sessions": n_sessions}
        for name, units in (("", enough), ("all_", X.shape[2])):
            sizes_of_fit = {"n_components": 8, "rank": 16, "dt": 0.02, "max_iter": GROWING_STEPS}
            est = estimator(options, **sizes_of_fit)
            _parameters.ENOUGH_UNITS = units
            begin = time.process_time()
            try:
                fit(est, X, data.task[order])
            finally:
                _parameters.ENOUGH_UNITS = enough
            fitted = time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                run = est.predict(X.place(parts[0], 0))[:, :, :each]
            seconds = {"fit_seconds": fitted - begin}
            seconds["predict_seconds"] = time.process_time() - fitted
            row |= {name + key: value for key, value in seconds.items()}
            row[name + "r2"] = r2_by(parts[0], run)
        rows.append(row)
        log(f"growth: {row}")
    rows.sort(key=lambda row: (row["sessions"], row["seed"]))
    columns = ["seed", ("sessions", "sessions", "d"), "fit_seconds"]
    columns += [("predict_seconds", "predict s", ".1f"), "r2"]
    columns += [
        ("all_fit_seconds", "all drive: fit s", ".1f"),
        ("all_predict_seconds", "all drive: predict s", ".1f"),
        ("all_r2", "all drive: R2", ".4f"),
    ]
    return Result(
        "Costs of many sessions",
        [Table(columns, rows, "growth", summarise=False)],
        [
            f"`make_multitask`, {N_EACH} different neurons and {N_GROWING} trials of 75 samples a "
            f"session, {GROWING_STEPS} steps, 8 components and rank 16. *Predict* and R2: of the "
            "trials of the first session. Seconds are those of the processor. *All drive*: each "
            "neuron drives the others, so that each trial is run with the neurons of all sessions."
        ],
        settings(options, n_components=8, rank=16, dt=0.02, max_iter=GROWING_STEPS),
    )


def reach_sessions(options):
    """Two days of reaches with different neurons, raw counts."""
    recording = load(options, "reach_sessions_chewie.npz")
    days, labels, splits = [], [], []
    for day in (0, 1):
        ends = np.cumsum(recording[f"trial_length_{day}"])[:-1]
        X = pad_trials(np.split(recording[f"spike_counts_{day}"].astype(float), ends))
        days.append(X[:, :, :20] if options.quick else X)
        labels.append(recording[f"direction_deg_{day}"].astype(int))
        splits.append(folds(options, days[day], labels[day]))
    rows = []
    for (i, *first), (_, *second) in zip(*splits, strict=True):
        train, test = zip(first, second, strict=True)
        X = stack_sessions([days[k][train[k]] for k in (0, 1)])
        y = np.concatenate([labels[k][train[k]] for k in (0, 1)])
        est = estimator(options, dt=0.1, tau=TAU_OF_DAYS)
        seconds = fit(est, X, y)
        for k in (0, 1):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                E = est.transform(X.place(days[k][test[k]], k))
            row = decoded(est, X, y, k, E, labels[k][test[k]])
            row |= {"n_components": est.n_components_, "rank": est.rank_}
            rows.append({"split": i, "session": k, **row, "fit_seconds": seconds})
        log(f"reach_sessions, split {i}: {rows[-2:]}")
    columns = [("split", "split", "d"), ("session", "day", "d"), *COLUMNS]
    table = Table(columns, rows)
    result = Result(
        "Macaque M1, two days with different neurons",
        [table],
        [
            "Raw counts in 3 to 9 bins of 100 ms, padded with NaN, one fit to both days "
            "(`stack_sessions`), default parameters but for `dt` and `tau`. Eight directions, "
            "decoded from the embeddings of the other day, or of the same one."
        ],
        settings(options, dt=0.1, tau=TAU_OF_DAYS),
    )
    s = table.summary()
    at_least(result, "LDA from the other day >= 0.91", s["across_lda"]["mean"], 0.91)
    at_least(result, "LDA within a day >= 0.94", s["within_lda"]["mean"], 0.94)
    return result
