"""Whether the eigenvalues of fitted RNNs follow the frequency of the input."""

from __future__ import annotations

import warnings

import numpy as np
from _common import estimator, fit, infer, log, make, r2, scaled, split, training_r2
from _report import Result, Table
from scipy.stats import linregress
from sklearn.exceptions import ConvergenceWarning

from jedi_sklearn import EigenspectrumAnalyzer
from jedi_sklearn.datasets import make_multifrequency

ONSET = 100  # samples left out: the response to the onset of the input
PLACES = ("origin", "trajectory")
STEPS = {3.0: 1200, 1.0: 3000}  # by the amplitude of the input: the weaker, the longer


def frequency(options):
    """Largest frequency of the eigenvalues against the frequency of the input."""
    tables, notes = [], []
    result = Result(
        "Input frequency and eigenvalues",
        tables,
        notes,
        options.params,
    )
    for amplitude in options.amplitudes:
        steps = STEPS[amplitude]
        name = f"amplitude {amplitude:g}, {steps} steps"
        rows, lines = [], []
        for seed in options.seeds:
            row, line = frequency_row(options, seed, amplitude, steps)
            rows.append(row)
            lines.append(line)
            log(f"frequency, {name}, seed {seed}: {row}")
        columns = [
            (f"{place} {what}", f"{place} {what}", ".3f")
            for place in ("origin", "trajectory", "all")
            for what in ("r", "slope")
        ]
        tables.append(
            Table(
                ["seed", "train_r2", "r2", "teacher_r2", *columns, "fit_seconds", "unconverged"],
                rows,
                title=f"{name[0].upper()}{name[1:]}:",
            )
        )
        frequencies = np.unique([f for line in lines for f in line])
        means = [{"input": float(f)} for f in frequencies]
        for place in PLACES:
            for row in means:
                row[place] = float(np.mean([line[row["input"]][place] for line in lines]))
        tables.append(
            Table(
                [("input", "input Hz", "g"), *((p, f"{p} Hz", ".2f") for p in PLACES)],
                means,
                title="Mean over seeds of the medians over trials:",
                summarise=False,
            )
        )
        low = min(r["trajectory r"] for r in rows)
        result.target(f"{name}: r >= 0.99, each seed", low, low >= 0.99, ".3f")
        slopes = [r["trajectory slope"] for r in rows]
        met = min(slopes) >= 0.85 and max(slopes) <= 1.15
        reached = f"{min(slopes):.3f} to {max(slopes):.3f}"
        result.target(f"{name}: slope 0.85-1.15, each seed", reached, met)
    notes.append(
        "`make_multifrequency`, 80 trials to fit, 80 held out, without the first second (the "
        "response to the onset of the input). The frequency of a held-out trial's RNN is the "
        "`max_frequency` of `EigenspectrumAnalyzer`: the largest among the eigenvalues that "
        "outlast two time constants (`min_growth_rate=-1 / (2 * tau)`), at the origin, or the "
        "mean along its free run (*trajectory*); *all*: the same without a bound on the growth "
        "rate. Pearson r and slope against the frequency of the input, over the medians of the "
        "eight held-out trials of each of the ten frequencies. At an amplitude of 1, an input of "
        "10 Hz makes less than half a per cent of the variance (these teachers have strong "
        "activity of their own), and the fit has to go on "
        "until it sees that. With the default 400 steps it warns that R2 is still rising."
    )
    return result


def frequency_row(options, seed, amplitude, steps):
    """One teacher: correlation and slope, and the mean frequency at each input frequency."""
    data = make(
        options,
        make_multifrequency,
        seed,
        n_trials_per_frequency=16,
        amplitude=amplitude,
        n_timesteps=200 + ONSET,
    )
    if not options.quick:
        data.X, data.free_run = data.X[:, ONSET:], data.free_run[:, ONSET:]
    train, test = split(data.condition, 0.5, seed)
    est = estimator(options, max_iter=steps)
    seconds = fit(est, data.X[train], data.condition[train])
    found = infer(est, data.X[test])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        rnns = est.dynamics(data.X[test])
    inputs = data.frequency[test]

    def means(**parameters):
        analyzer = EigenspectrumAnalyzer(n_eigenvalues=0, **parameters).fit(rnns)
        column = list(analyzer.get_feature_names_out()).index("max_frequency")
        hertz = analyzer.transform(rnns)[:, column]
        return {float(f): float(np.median(hertz[inputs == f])) for f in np.unique(inputs)}

    slow = -1 / (2 * est.tau)
    measured = {place: means(at=place, min_growth_rate=slow) for place in PLACES}
    measured["all"] = means(at="trajectory")
    row = {
        "seed": seed,
        "train_r2": training_r2(est, data.X[train]),
        "r2": found.r2,
        "teacher_r2": r2(scaled(est, data.X[test]), scaled(est, data.free_run[test])),
        "fit_seconds": seconds,
        "unconverged": found.unconverged,
    }
    for place, values in measured.items():
        line = linregress(list(values), list(values.values()))
        row |= {f"{place} r": float(line.rvalue), f"{place} slope": float(line.slope)}
    return row, {f: {p: measured[p][f] for p in PLACES} for f in measured["origin"]}
