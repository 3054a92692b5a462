"""Preparation and execution of reaches: spectra and exponents of the RNNs of either epoch."""

from __future__ import annotations

import numpy as np

from jedi_sklearn import eigenspectrum, lyapunov_exponents
from jedi_sklearn.evaluation import permutation_test
from jedi_sklearn.preprocessing import cut_epochs

from ._common import estimator, fit, log, quiet
from ._frequency import largest_frequencies
from ._recordings import BIN_WIDTH, load
from ._report import Figure, Result, Table

EPOCH_BINS = 14  # 0.7 s before the go cue, and from the onset of the movement


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
        test = quiet(permutation_test, est, X_new, label, **how, random_state=seed)
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
