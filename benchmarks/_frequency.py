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
# where to linearise, and how many time constants an eigenvalue has to last to count
MEASURES = {
    "origin": ("origin", 2),
    "trajectory": ("trajectory", 2),
    "equivalent": ("equivalent", 5),
    "equivalent, 2 tau": ("equivalent", 2),
}
STEPS = {3.0: 600, 1.0: 3000}  # by the amplitude of the input: the weaker, the longer
SIZES = {"n_components": 8, "rank": 8}  # the teacher's weights and input write to 6 directions


def frequency(options):
    """Largest frequency of the eigenvalues against the frequency of the input."""
    tables, notes = [], []
    result = Result(
        "Input frequency and eigenvalues",
        tables,
        notes,
        options.params,
    )
    parameters = SIZES | options.params
    for amplitude in options.amplitudes:
        steps = options.params.get("max_iter", STEPS[amplitude])
        name = f"gain {options.gain:g}, amplitude {amplitude:g}, {steps} steps"
        rows, lines = [], []
        for seed in options.seeds:
            row, line = frequency_row(options, seed, amplitude, steps)
            rows.append(row)
            lines.append(line)
            log(f"frequency, {name}, seed {seed}: {row}")
        columns = [
            (f"{measure} {what}", f"{measure} {what}", ".3f")
            for measure in MEASURES
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
        for measure in MEASURES:
            for row in means:
                row[measure] = float(np.mean([line[row["input"]][measure] for line in lines]))
        tables.append(
            Table(
                [("input", "input Hz", "g"), *((m, f"{m} Hz", ".2f") for m in MEASURES)],
                means,
                title="Mean over seeds of the medians over trials:",
                summarise=False,
            )
        )
        low = min(r["equivalent r"] for r in rows)
        result.target(f"{name}: r >= 0.99, each seed", low, low >= 0.99, ".3f")
        slopes = [r["equivalent slope"] for r in rows]
        met = min(slopes) >= 0.85 and max(slopes) <= 1.15
        reached = f"{min(slopes):.3f} to {max(slopes):.3f}"
        result.target(f"{name}: slope 0.85-1.15, each seed", reached, met)
    notes.append(
        "`make_multifrequency`, 80 trials to fit, 80 held out, without the first second (the "
        f"response to the onset of the input); n_components={parameters['n_components']!r}, "
        f"rank={parameters['rank']!r} (the teacher's weights and input write to six directions). "
        "The frequency of a held-out trial's RNN is the `max_frequency` of "
        "`EigenspectrumAnalyzer`: the largest among the eigenvalues that outlast two time "
        "constants (`min_growth_rate=-1 / (2 * tau)`), at the origin or as the mean along its "
        "free run (*trajectory*), or that outlast five (half a second) in the equivalent "
        "linearisation of its free run (*equivalent*; *2 tau*: two there as well). There, a "
        "sustained oscillation does not decay at all; most modes that its harmonics drive decay "
        "by 3 to 11/s. Pearson r and slope against the frequency of the input, over the medians "
        "of the eight held-out trials of each of the ten frequencies. The targets are those of "
        "*equivalent*, the same place and bound for all teachers and frequencies."
    )
    return result


def frequency_row(options, seed, amplitude, steps):
    """One teacher: correlation and slope, and the mean frequency at each input frequency."""
    data = make(
        options,
        make_multifrequency,
        seed,
        n_trials_per_frequency=16,
        gain=options.gain,
        amplitude=amplitude,
        n_timesteps=200 + ONSET,
    )
    if not options.quick:
        data.X, data.free_run = data.X[:, ONSET:], data.free_run[:, ONSET:]
    train, test = split(data.condition, 0.5, seed)
    est = estimator(options, max_iter=steps, **SIZES)
    seconds = fit(est, data.X[train], data.condition[train])
    found = infer(est, data.X[test])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        rnns = est.dynamics(data.X[test])
    inputs = data.frequency[test]

    def medians(place, lasting):
        bound = -1 / (lasting * est.tau)
        analyzer = EigenspectrumAnalyzer(place, n_eigenvalues=0, min_growth_rate=bound)
        analyzer.fit(rnns)
        column = list(analyzer.get_feature_names_out()).index("max_frequency")
        hertz = analyzer.transform(rnns)[:, column]
        return {float(f): float(np.median(hertz[inputs == f])) for f in np.unique(inputs)}

    measured = {name: medians(*measure) for name, measure in MEASURES.items()}
    row = {
        "seed": seed,
        "train_r2": training_r2(est, data.X[train]),
        "r2": found.r2,
        "teacher_r2": r2(scaled(est, data.X[test]), scaled(est, data.free_run[test])),
        "fit_seconds": seconds,
        "unconverged": found.unconverged,
    }
    for name, values in measured.items():
        line = linregress(list(values), list(values.values()))
        row |= {f"{name} r": float(line.rvalue), f"{name} slope": float(line.slope)}
    return row, {f: {name: measured[name][f] for name in MEASURES} for f in measured["origin"]}
