"""
Preparation and execution of reaches in motor cortex
====================================================

A monkey prepares a reach while it waits for the go cue, then executes it. JEDI is fitted to the
spike counts of both epochs of single trials at once, without being told which is which: every
segment gets an RNN. Do the RNNs of preparation and of execution differ in their spectra and
Lyapunov exponents?

The JEDI paper reports eigenvalues near the unit circle in execution, and inside it with excursions
along the real axis in preparation. Here, along the activity, the leading multipliers of execution
are nearer to the circle, too, but those of both lie outside it, and the largest real ones are
larger in preparation. Execution turns faster, and its Lyapunov exponent is lower. At the origin
the leading ones of both lie outside, and in half of the fits by as much. Where the levels lie
depends on the model and on its training: trust the differences along the activity, not the levels.

The fit is repeated on ten random halves of the trials and read out on the other half. A
permutation test, in which the two epochs of a trial change places, says which mean differences
chance would make. It does not say why epochs differ (activity is also faster in execution, the
last row of the table), and ten halves of one session show that the fit is stable, not that other
animals agree.

The recording (``center_out_m1_trials.npz``) does not come with the package. Say where it is with
``python examples/plot_preparation_execution.py --data FOLDER`` or in the environment variable
``JEDI_DATA_DIR``; without it the example says so and ends. About two minutes on one core.
"""

# %%
# The recording
# -------------
# The last 0.7 s before the go cue and the first 0.7 s from movement onset, of trials whose delay
# was at least that long.

import argparse
import os
import sys
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from jedi_sklearn import EigenspectrumAnalyzer, JEDIEstimator, eigenspectrum, lyapunov_exponents
from jedi_sklearn.evaluation import permutation_test
from jedi_sklearn.plotting import EigenspectrumDisplay
from jedi_sklearn.preprocessing import TrialScaler, cut_epochs, smooth_counts

BIN, SIGMA, TAU = 0.05, 0.1, 0.1  # s; SIGMA for the last row of the table alone
N_BINS = 14
SETTINGS = dict(dt=BIN, tau=TAU, max_iter=200, tol=0.01)
EPOCHS = ("preparation", "execution")
N_SEEDS = 10

parser = argparse.ArgumentParser(description="RNNs of preparation and execution of reaches.")
parser.add_argument("--data", default=os.environ.get("JEDI_DATA_DIR"), help="folder")
parser.add_argument(
    "--output", default="jedi_preparation_execution.png", help="where the figure goes"
)
args = parser.parse_args()
path = Path(args.data or ".") / "center_out_m1_trials.npz"
if not path.exists():
    print(f"{path} not found: pass --data FOLDER or set JEDI_DATA_DIR. Nothing to do.")
    sys.exit(0)
if os.environ.get("JEDI_EXAMPLE_SMOKE") == "1":  # a small version for continuous integration
    SETTINGS |= dict(n_components=8, max_iter=40, tol=1)
    N_SEEDS = 2

recording = np.load(path, allow_pickle=False)
counts = np.split(recording["spike_counts"], np.cumsum(recording["trial_length"])[:-1])
long = recording["idx_go_cue"] - recording["idx_target_on"] >= N_BINS
counts = [trial for trial, k in zip(counts, long, strict=True) if k]
go_cue, movement_on = (recording[f"idx_{event}"][long] for event in ("go_cue", "movement_on"))
preparation = cut_epochs(counts, go_cue, start=-N_BINS, stop=0)
execution = cut_epochs(counts, movement_on, start=0, stop=N_BINS)
n_trials = len(preparation)
print(f"{n_trials} trials, {N_BINS} bins of {1e3 * BIN:.0f} ms each, {preparation.shape[2]} units")

# %%
# What is measured of every RNN
# -----------------------------
# Eigenvalues of a time step at the origin (the weights alone) and along the free run (what the
# activity met). The leading multiplier is the one of largest modulus.


def measures(rnns):
    """One row of numbers for each RNN."""
    out = {}
    for at in ("origin", "trajectory"):
        values = eigenspectrum(rnns, at).multipliers
        values = values.reshape(len(rnns), -1, values.shape[-1])  # (rnns, samples, rank)
        leading = np.abs(values[..., 0])
        real = np.where(np.abs(values.imag) < 1e-9, values.real, 1 - rnns.alpha).max(axis=2)
        analyzer = EigenspectrumAnalyzer(at, n_eigenvalues=0, min_growth_rate=-1 / (2 * TAU))
        out[f"leading |multiplier|, {at}"] = leading.mean(axis=1)
        if at == "trajectory":  # at the origin all leading ones are outside
            out[f"distance to the unit circle, {at}"] = np.abs(leading - 1).mean(axis=1)
        out[f"largest real multiplier, {at}"] = real.mean(axis=1)
        out[f"largest frequency (Hz), {at}"] = analyzer.fit_transform(rnns)[:, 0]
    out["largest Lyapunov exponent (1/s)"] = lyapunov_exponents(rnns, n_exponents=1)[:, 0]
    return out


# %%
# Ten fits on random halves, read out on the other halves
# -------------------------------------------------------
# The fit takes the spike counts as they are; sizes are left to the default, which is made for
# noisy trials. It sees no labels, so that one fit serves all permutations. The two epochs of a
# trial are a pair: ``groups`` are the trials. Epochs are counted as different where the p of a
# quantity, corrected for the number of quantities, is at most 5 %. The last row needs no model:
# how fast the rates change, smoothed and z-scored.

warnings.simplefilter("ignore", ConvergenceWarning)  # some noisy trials do not converge: kept
rates = [smooth_counts(trial, bin_width=BIN, sigma=SIGMA) for trial in counts]
smooth = [
    cut_epochs(rates, event, start=first, stop=first + N_BINS)
    for event, first in ((go_cue, -N_BINS), (movement_on, 0))
]
rates = TrialScaler().fit_transform(np.concatenate(smooth))
speed = np.sqrt(np.square(np.diff(rates, axis=1) / BIN).mean(axis=(1, 2)))
tests, scores = [], []
for seed in range(N_SEEDS):
    order = np.random.default_rng(seed).permutation(n_trials)
    fitted, new = order[: n_trials // 2], order[n_trials // 2 :]
    X, X_new = (np.concatenate([preparation[k], execution[k]]) for k in (fitted, new))
    epoch, trial = np.repeat(EPOCHS, len(new)), np.tile(new, 2)
    known = {"speed of the rates (SD/s)": np.concatenate([speed[new], speed[n_trials + new]])}
    est = JEDIEstimator(random_state=seed, **SETTINGS).fit(X)
    test = permutation_test(est, X_new, epoch, features=[measures, known], groups=trial)
    tests.append(test)
    scores.append(est.score(X_new))

names = test.names
levels = np.stack([test.means[:, ::-1] for test in tests])  # (fits, quantities, epochs)
differences = levels[..., 1] - levels[..., 0]  # execution minus preparation
n_beyond = np.sum([test.corrected_p_values <= 0.05 for test in tests], axis=0)
print(f"D2 of held-out segments: {np.mean(scores):.3f} (SD {np.std(scores, ddof=1):.3f})")
heads = "".join(f"{head:>9}" for head in ("prep.", "exec.", "diff.", "SD"))
print(f"\n{'':<42}{heads}   epochs differ in")
for k, name in enumerate(names):
    prep, execute = levels[:, k].mean(axis=0)
    diff = differences[:, k]
    print(
        f"{name:<42}{prep:9.3f}{execute:9.3f}{diff.mean():+9.3f}{diff.std(ddof=1):9.3f}"
        f"   {n_beyond[k]} of {N_SEEDS} fits"
    )
print(f"\nThe last fit, in words:\n{test.summary()}")

# %%
# The figure
# ----------
# Above: a fifth of the segments of the last fit. Below: each dot is one of the ten fits.

fig = plt.figure(figsize=(11, 7.4), layout="constrained")
top, bottom = fig.subfigures(2, 1, height_ratios=(1.15, 1))
few = np.random.default_rng(0).permutation(len(epoch))[::5]
rnns = est.dynamics(X_new)
for ax, at in zip(top.subplots(1, 2), ("origin", "trajectory"), strict=True):
    where = at if at == "origin" else rnns[few].free_run()[:, ::4]
    EigenspectrumDisplay.from_rnns(
        rnns[few], at=where, conditions=epoch[few], ax=ax, scatter_kwargs=dict(s=4, alpha=0.25)
    )
    ax.set_title(f"multipliers of held-out segments, {at}")
shown = (
    "distance to the unit circle, trajectory",
    "largest real multiplier, origin",
    "largest frequency (Hz), trajectory",
    "largest Lyapunov exponent (1/s)",
)
for ax, name in zip(bottom.subplots(1, 4), shown, strict=True):
    k = names.index(name)
    pairs = levels[:, k]
    ax.plot([0, 1], pairs.T, color="0.8", lw=0.8, zorder=0)
    for x, colour in enumerate(("#D55E00", "#0072B2")):
        ax.scatter(np.full(len(pairs), x), pairs[:, x], s=22, color=colour, lw=0)
    ax.set(xlim=(-0.5, 1.5), xticks=[0, 1], xticklabels=["prep.", "exec."])
    ax.set_ylabel(name.replace(", ", ",\n"))
    ax.set_title(f"epochs differ in {n_beyond[k]} of {N_SEEDS}", fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
fig.savefig(args.output, dpi=160)
print(f"figure: {args.output}")
