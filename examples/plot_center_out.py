"""
Reaches to eight targets: embeddings of single trials of motor cortex
=====================================================================

A monkey reaches to one of eight targets; an array in primary motor cortex records 84 units. We
fit the spike counts of single trials around movement onset as they were recorded and ask, on
trials that the fit has never seen, how much of their activity the RNNs reproduce, and whether the
embedding of a trial tells the direction of its reach.

The recording (``center_out_m1_trials.npz``) does not come with the package. Say where it is with
``python examples/plot_center_out.py --data FOLDER`` or in the environment variable
``JEDI_DATA_DIR``; without it the example says so and ends. About three minutes on one core.
"""

# %%
# The recording
# -------------

import argparse
import os
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold, train_test_split

from jedi_sklearn import JEDIEstimator
from jedi_sklearn.metrics import bits_per_spike
from jedi_sklearn.preprocessing import cut_epochs, smooth_counts

BIN = 0.05  # s
SIGMA = 0.1  # s, of the Gaussian that smooths counts, for the eye
START, STOP = -0.8, 0.6  # s from movement onset
SETTINGS = dict(dt=BIN, random_state=0)
N_SPLITS = 5

parser = argparse.ArgumentParser(description="Fit single trials of centre-out reaches.")
parser.add_argument("--data", default=os.environ.get("JEDI_DATA_DIR"), help="folder")
parser.add_argument("--output", default="jedi_center_out.png", help="where the figure goes")
args = parser.parse_args()
path = Path(args.data or ".") / "center_out_m1_trials.npz"
if not path.exists():
    print(f"{path} not found: pass --data FOLDER or set JEDI_DATA_DIR. Nothing to do.")
    sys.exit(0)
if os.environ.get("JEDI_EXAMPLE_SMOKE") == "1":  # a small version for continuous integration
    SETTINGS |= dict(n_components=8, max_iter=60, tol=0.1)
    N_SPLITS = 2

# %%
# Counts in bins of 50 ms. They are smoothed only to be shown beside the free runs, and for the
# mean of the trials of a direction, of which a unit may have had no spike in some bin.

recording = np.load(path, allow_pickle=False)
ends = np.cumsum(recording["trial_length"])[:-1]
trials = np.split(recording["spike_counts"], ends)
rates = [smooth_counts(trial, bin_width=BIN, sigma=SIGMA) for trial in trials]  # spikes/s
window = dict(start=round(START / BIN), stop=round(STOP / BIN), drop=True)
X, kept = cut_epochs(trials, recording["idx_movement_on"], **window)
smooth, _ = cut_epochs(rates, recording["idx_movement_on"], **window)
direction = recording["direction_deg"][kept]
time = START + BIN * np.arange(X.shape[1])
print(f"{X.shape[0]} trials x {X.shape[1]} bins of {1e3 * BIN:.0f} ms x {X.shape[2]} units")

# %%
# Fit, and bits per spike against the condition mean
# --------------------------------------------------
# The mean of the training trials of the same direction knows the label of a test trial; the
# free run does not, but its embedding was inferred from the trial itself. The embedding holds the
# start of the free run too. Nothing is chosen: whole numbers are taken as spike counts, and sizes
# come from the data.


def condition_mean(Z, labels, new_labels):
    """Mean of the trials of each label, for every new label."""
    return np.stack([Z[labels == label].mean(axis=0) for label in new_labels])


train, test = train_test_split(
    np.arange(len(X)), test_size=0.2, stratify=direction, random_state=0
)
est = JEDIEstimator(**SETTINGS).fit(X[train], direction[train])
print(f"{est.observation_} counts; chosen: n_components={est.n_components_}, rank={est.rank_}")

E_test = est.transform(X[test])
free_run = est.inverse_transform(E_test)  # est.predict(X[test]) does the same
mean_run = BIN * condition_mean(smooth[train], direction[train], direction[test])
bits_free, bits_mean = (bits_per_spike(X[test], run) for run in (free_run, mean_run))
print(f"held-out bits per spike: free run {bits_free:.3f}, condition mean {bits_mean:.3f}")

# %%
# Reach direction from embeddings
# -------------------------------
# Cross-validated: fit and classifier see training trials only. Summed counts in the same
# window are what a decoder without dynamics would take.

hits = {"embedding": [], "summed counts": []}
for fold_train, fold_test in StratifiedKFold(N_SPLITS, shuffle=True, random_state=0).split(
    X, direction
):
    jedi = JEDIEstimator(**SETTINGS).fit(X[fold_train], direction[fold_train])
    features = {
        "embedding": (jedi.embedding_, jedi.transform(X[fold_test])),
        "summed counts": (X[fold_train].sum(axis=1), X[fold_test].sum(axis=1)),
    }
    for name, (A, B) in features.items():
        lda = LinearDiscriminantAnalysis().fit(A, direction[fold_train])
        hits[name].append(lda.score(B, direction[fold_test]))
for name, scores in hits.items():
    print(f"8-way direction from {name} (LDA): {np.mean(scores):.3f} (SD {np.std(scores):.3f})")

# %%
# The figure
# ----------
# The embeddings have more than two dimensions; the plane shown is that of a linear discriminant
# analysis of the training embeddings. Colour is the direction of the reach.

lda = LinearDiscriminantAnalysis(n_components=2).fit(est.embedding_, direction[train])
plane_train, plane_test = lda.transform(est.embedding_), lda.transform(E_test)

plt.rcParams.update({"font.size": 9, "axes.titlesize": 10, "legend.fontsize": 8.5})
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
cycle = ["#0072B2", "#009E73", "#E69F00", "#C0398C", "#0072B2"]  # 0, 90, 180, 270, 360 degrees
cmap = LinearSegmentedColormap.from_list("direction", cycle)


def color(degrees):
    return cmap((degrees % 360) / 360)


fig = plt.figure(figsize=(10, 6.4), layout="constrained")
top, bottom = fig.subfigures(2, 1, height_ratios=(1.2, 1), hspace=0.04)
ax_plane, ax_bits, ax_decode = top.subplots(1, 3, width_ratios=(1.2, 1, 0.6))
for degrees in np.unique(direction):
    style = dict(color=color(degrees), linestyle="none", marker="o")
    ax_plane.plot(*plane_train[direction[train] == degrees].T, **style, ms=3.5, mew=0, alpha=0.35)
    ax_plane.plot(*plane_test[direction[test] == degrees].T, **style, ms=6, mec="k", mew=0.5)
ax_plane.set(xlabel="discriminant 1 (LDA on training labels)", ylabel="discriminant 2")
ax_plane.set_title("Embeddings, held-out trials outlined")
compass = ax_plane.inset_axes((0.84, 0.8, 0.2, 0.2), projection="polar")
angles = np.unique(direction)
compass.bar(np.deg2rad(angles), 1, width=np.deg2rad(45), color=[color(a) for a in angles])
compass.set(xticks=[], yticks=[])
compass.set_title("reach", fontsize=8, pad=1)
compass.spines["polar"].set_visible(False)

each_free, each_mean = (bits_per_spike(X[test], run, "trial") for run in (free_run, mean_run))
ax_bits.scatter(each_mean, each_free, c=[color(a) for a in direction[test]], s=22, lw=0.5, ec="k")
limits = [
    min(each_mean.min(), each_free.min()) - 0.03,
    max(each_mean.max(), each_free.max()) + 0.03,
]
ax_bits.plot(limits, limits, color="0.6", lw=0.8, ls="--", zorder=0)
ax_bits.set(
    xlim=limits,
    ylim=limits,
    xlabel="bits per spike of the condition mean",
    ylabel="bits per spike of the free run",
)
ax_bits.set_title(f"Each held-out trial (all: {bits_free:.2f}, {bits_mean:.2f})")
ax_bits.set_aspect("equal")

for i, scores in enumerate(hits.values()):
    ax_decode.plot(i + np.linspace(-0.1, 0.1, len(scores)), scores, "o", color="0.6", ms=4, mew=0)
    ax_decode.plot([i - 0.2, i + 0.2], [np.mean(scores)] * 2, color="k", lw=2)
ax_decode.axhline(1 / 8, color="0.6", lw=0.8, ls="--")
ax_decode.text(1.5, 1 / 8, "chance ", color="0.4", ha="right", va="bottom")
ax_decode.set(xlim=(-0.5, 1.5), ylim=(0, 1.03), ylabel="correct, held out")
ax_decode.set_xticks([0, 1], ["embed-\nding", "summed\ncounts"])
ax_decode.set_title("Direction (LDA)")

units = np.argsort(mean_run.var(axis=(0, 1)))[::-1][:4]  # most modulated by the reach
shown = [np.flatnonzero(direction[test] == degrees)[0] for degrees in (0, 90, 180, 270)]
observed, generated = smooth[test], free_run / BIN  # spikes/s
step = 0.9 * np.ptp(observed[shown][:, :, units], axis=(0, 1)).max()
offsets = -step * np.arange(len(units))
axes = bottom.subplots(1, len(shown), sharey=True)
for ax, k in zip(axes, shown, strict=True):
    ax.plot(time, observed[k][:, units] + offsets, color="0.72", lw=2.8)
    ax.plot(time, generated[k][:, units] + offsets, color=color(direction[test][k]), lw=1.5)
    ax.axvline(0, color="0.6", lw=0.8, ls="--", zorder=0)
    ax.set(xlabel="time from movement onset (s)", yticks=[], xlim=(time[0], time[-1]))
    ax.set_title(f"{direction[test][k]} deg")
    ax.spines["left"].set_visible(False)
bar = 10 * round(0.6 * step / 10)  # spikes/s
low = offsets[-1] + observed[shown][:, :, units[-1]].min()
axes[0].plot([time[0]] * 2, [low, low + bar], color="k", lw=3, clip_on=False)
axes[0].set_ylabel(f"bar: {bar} spikes/s", loc="bottom")
bottom.suptitle(
    "Single held-out trials, four units: smoothed counts (grey) and free run (colour)",
    fontsize=10,
)
fig.savefig(args.output, dpi=160)
print(f"figure: {args.output}")
