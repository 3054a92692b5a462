"""Whether shuffled labels come out as different: with labels in the fit, and without."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from jedi_sklearn.datasets import make_multitask
from jedi_sklearn.evaluation import permutation_test, permutation_test_features
from jedi_sklearn.evaluation._quantities import quantities_of

from ._common import estimator, fit, log, make
from ._report import Result, Table

N_SHUFFLES = 10  # for each teacher
N_REFITS = 19  # the fewest with which p can be 0.05
SIZES = {"rank": 6, "dt": 0.04, "max_iter": 20, "tol": 1}


def shuffled_labels(options):
    """Tests of labels that mean nothing, under fits that were given them or not."""
    rows = {}
    for seed in options.seeds:
        how = {"n_neurons": 12, "n_timesteps": 20, "dt": 0.04, "observation_noise": 0.3}
        X = make(options, make_multitask, seed, n_trials=24, tasks=("reach",), **how).X
        rng = np.random.default_rng(seed)
        for _ in range(1 if options.quick else N_SHUFFLES):
            y = rng.permutation(np.arange(len(X)) % 2)
            for name, test in tests_of(options, X, y):
                rows.setdefault(name, []).append((test.statistics[0], test.p_values[0] <= 0.05))
        log(f"shuffled_labels, seed {seed}: { {k: np.mean(v, axis=0) for k, v in rows.items()} }")
    table = [
        {
            "fit": name,
            "n": len(found),
            "statistic": float(np.mean([F for F, _ in found])),
            "rejected": float(np.mean([reject for _, reject in found])),
        }
        for name, found in rows.items()
    ]
    columns = [
        ("fit", "fit", "s"),
        ("n", "tests", "d"),
        ("statistic", "mean F", ".3f"),
        ("rejected", "share with p <= 0.05", ".2f"),
    ]
    return Result(
        "Shuffled labels",
        [Table(columns, table, summarise=False)],
        [
            "Embeddings of 24 trials of one task of `make_multitask`, compared between two labels "
            f"that were drawn at random, {N_SHUFFLES} times for each teacher. 0.05 of the tests "
            "should reject. The labels were or were not given to the fit, whose trials are "
            "compared (`permutation_test` refuses that, so that the test is made by hand), or "
            f"the fit was repeated for each of {N_REFITS} permutations (`refit=True`)."
        ],
        SIZES | options.params,
    )


def tests_of(options, X, y):
    """Name and result of a test under each kind of fit."""
    by_condition = {"embedding": "condition", "n_components": 1}
    kinds = {
        "without labels": ({"n_components": 4}, None),
        'labels, embedding="trial"': ({"n_components": 4}, y),
        'labels, embedding="condition"': (by_condition, y),
    }
    for name, (parameters, labels) in kinds.items():
        est = estimator(options, **SIZES, **parameters)
        fit(est, X, labels)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            found = quantities_of(est, X, "embedding", check=False)
        yield name, permutation_test_features(found, y, n_permutations=999)
    est = estimator(options, **SIZES, **by_condition)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        how = {
            "features": "embedding",
            "refit": True,
            "n_permutations": 4 if options.quick else N_REFITS,
        }
        yield "the same, refit=True", permutation_test(est, X, y, **how)
