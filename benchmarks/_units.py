"""Hidden units with a readout beside one unit per neuron."""

from __future__ import annotations

import time

from jedi_sklearn.datasets import make_flip_flop, make_multitask
from jedi_sklearn.preprocessing import HiddenUnits

from ._common import estimator, few, fit, log, quiet, r2
from ._report import Result, Table
from ._structures import MEMORY_COLUMNS, SEED, flip_flop_row

N_TRIALS, N_TRAIN = 90, 60  # of many neurons


def hidden_units(options):
    """Memories of a flip-flop few neurons of which are seen, and a recording of many neurons."""
    memories, many = [], []
    for seed in options.seeds:
        for n in few(options, (16, 8)):
            n_trials = 8 if options.quick else 40
            data = make_flip_flop(n_trials, n_neurons=n, random_state=seed)
            for name, units in (("neurons", None), ("units", HiddenUnits().fit(data.X))):
                row = flip_flop_row(options, data, units)
                memories.append({"observed": n, "seed": seed, "states": name, **row})
                log(f"hidden_units: {memories[-1]}")
    for seed in options.seeds[:2]:
        many += large_rows(options, seed)
    which = ("states", "states", "s")
    columns = [("observed", "observed neurons", "d"), SEED, which]
    columns += [c for c in MEMORY_COLUMNS if c[0] != "lyapunov_error"]
    tables = [
        Table(
            columns,
            sorted(memories, key=lambda r: -r["observed"]),
            "Flip-flop:",
            by=("observed", "states"),
        ),
        Table(
            [SEED, which, ("r2", "R2", ".4f"), "fit_seconds", ("seconds", "predict s", ".1f")],
            many,
            "Many neurons:",
            by=("states",),
        ),
    ]
    return Result(
        "Hidden units",
        tables,
        [
            "`HiddenUnits()` before the estimator, default parameters: principal components mixed "
            "at random into 100 units, beside one unit per neuron. *Flip-flop*: the noisy data "
            "and fits of the subsampling section; points are compared in the observed neurons. "
            "*Many neurons*: `make_multitask` with 4,000 neurons and noise of 0.1, "
            f"{N_TRAIN} trials to fit, R2 of the neurons in {N_TRIALS - N_TRAIN} held out. Fit "
            "seconds of units are with those of `HiddenUnits`.",
        ],
        options.params,
    )


def large_rows(options, seed):
    """One recording of many neurons, fitted as it is and by units."""
    size = {"n_neurons": 200, "n_timesteps": 60} if options.quick else {"n_neurons": 4000}
    data = make_multitask(N_TRIALS, **size, observation_noise=0.1, random_state=seed)
    train, test = data.X[:N_TRAIN], data.X[N_TRAIN:]
    rows = []
    for name, units in (("neurons", None), ("units", HiddenUnits())):
        est, begin = estimator(options), time.perf_counter()
        fit(est, train if units is None else units.fit_transform(train))
        seconds = time.perf_counter() - begin
        begin = time.perf_counter()
        if units is None:
            run = quiet(est.predict, test)
        else:
            run = units.inverse_transform(quiet(est.predict, units.transform(test)))
        row = {"seed": seed, "states": name, "r2": r2(test, run), "fit_seconds": seconds}
        rows.append(row | {"seconds": time.perf_counter() - begin})
        log(f"hidden_units, many neurons: {rows[-1]}")
    return rows
