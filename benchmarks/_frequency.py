"""Whether the eigenvalues of fitted RNNs follow the frequency of the input."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.stats import linregress
from sklearn.exceptions import ConvergenceWarning

from jedi_sklearn import eigenspectrum
from jedi_sklearn.datasets import make_multifrequency

from ._common import estimator, fit, infer, log, make, r2, scaled, split
from ._report import Figure, Result, Table

ONSET = 100  # samples left out: the response to the onset of the input
# where to linearise, and how many time constants an eigenvalue has to last to count
MEASURES = {
    "origin": ("origin", 2),
    "mean activity": ("mean", 2),
    "trajectory": ("trajectory", 2),
    "equivalent": ("equivalent", 5),
}
# Gain of the teacher, amplitude of its input, steps and scale of the fit: where units saturate,
# and where the response is nearly linear, as it is for RNNs in the units of the teacher alone.
CASES = ((1.8, 3.0, 600, "global"), (0.4, 1.0, 400, None))
SIZES = {"n_components": 8, "rank": 8}  # the teacher's weights and input write to 6 directions


def frequency(options):
    """Largest frequency of the eigenvalues against the frequency of the input."""
    tables, notes, figures = [], [], []
    result = Result(
        "Input frequency and eigenvalues", tables, notes, options.params, figures=figures
    )
    parameters = SIZES | options.params
    for gain, amplitude, steps, scale in CASES:
        name = f"gain {gain:g}, amplitude {amplitude:g}"
        rows, lines = [], []
        for seed in options.seeds:
            row, line = frequency_row(options, seed, gain, amplitude, max_iter=steps, scale=scale)
            rows += [{"place": place} | row | line[place]["fit"] for place in MEASURES]
            lines += [
                {"seed": seed, "place": place, "input": hertz, "hertz": value}
                for place in MEASURES
                for hertz, value in line[place]["hertz"].items()
            ]
            log(f"frequency, {name}, seed {seed}: {line}")
        place = ("place", "linearised at", "s")
        columns = [("r", "r", ".3f"), ("slope", "slope", ".3f"), "r2", "teacher_r2", "fit_seconds"]
        title = f"Teachers of {name}, {steps} steps, `scale={scale!r}`"
        tables.append(Table(["seed", place, *columns], rows, f"{title}:", by=("place",)))
        columns = ["seed", ("input", "input Hz", "g"), place, ("hertz", "Hz", ".2f")]
        tables.append(Table(columns, lines, by=("input", "place"), shown=False))
        figures.append(
            Figure(
                f"gain_{gain:g}",
                "input",
                [("hertz", "Hz of eigenvalues")],
                "place",
                len(tables) - 1,
                "input, Hz",
                identity=True,
                caption=f"Frequency of eigenvalues against that of the input, {name}",
            )
        )
        found = [row for row in rows if row["place"] == "equivalent"]
        low = min(row["r"] for row in found)
        result.target(f"{name}, equivalent: r >= 0.99, each seed", low, low >= 0.99, ".3f")
        slopes = [row["slope"] for row in found]
        met = min(slopes) >= 0.85 and max(slopes) <= 1.15
        reached = f"{min(slopes):.3f} to {max(slopes):.3f}"
        result.target(f"{name}, equivalent: slope 0.85-1.15, each seed", reached, met)
    notes.append(
        "`make_multifrequency`, 1 to 10 Hz, 80 trials to fit, 80 held out, without the first "
        f"second; `n_components={parameters['n_components']!r}`, `rank={parameters['rank']!r}` "
        "(the teacher's weights and input write to six directions). Of each held-out trial's RNN "
        "the largest frequency among eigenvalues that outlast two time constants: at the origin, "
        "at the mean activity, as the mean along the free run (*trajectory*); of the *equivalent* "
        "linearisation, where a sustained oscillation does not decay at all, among those that "
        "outlast five. r and slope against the input, over the medians of the trials of each of "
        "the ten frequencies."
    )
    return result


def largest_frequencies(spectrum, lasting):
    """Hz of each RNN's fastest eigenvalue that outlasts so many time constants; 0 if none does.

    Of several states the mean over those that have one.
    """
    hertz = np.where(
        spectrum.growth_rates >= -1 / (lasting * spectrum.tau), spectrum.frequencies, np.nan
    )
    hertz = hertz.reshape(len(hertz), -1, hertz.shape[-1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing
        return np.nan_to_num(np.nanmean(np.nanmax(hertz, axis=2), axis=1))


def frequency_row(options, seed, gain, amplitude, **how):
    """One teacher: how good the fit is, and at each place frequencies and their line."""
    data = make(
        options,
        make_multifrequency,
        seed,
        n_trials_per_frequency=16,
        gain=gain,
        amplitude=amplitude,
        n_timesteps=200 + ONSET,
    )
    if not options.quick:
        data.X, data.free_run = data.X[:, ONSET:], data.free_run[:, ONSET:]
    train, test = split(data.condition, 0.5, seed)
    est = estimator(options, **SIZES, **how)
    seconds = fit(est, data.X[train], data.condition[train])
    found = infer(est, data.X[test])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        rnns = est.dynamics(data.X[test])
    inputs, places = data.frequency[test], {}
    for name, (at, lasting) in MEASURES.items():
        at = rnns.free_run().mean(axis=1) if at == "mean" else at
        hertz = largest_frequencies(eigenspectrum(rnns, at), lasting)
        medians = {float(f): float(np.median(hertz[inputs == f])) for f in np.unique(inputs)}
        line = linregress(list(medians), list(medians.values()))
        fitted = {"r": float(line.rvalue), "slope": float(line.slope)}
        places[name] = {"hertz": medians, "fit": fitted}
    row = {
        "seed": seed,
        "r2": found.r2,
        "teacher_r2": r2(scaled(est, data.X[test]), scaled(est, data.free_run[test])),
        "fit_seconds": seconds,
    }
    return row, places
