"""
Trial-averaged rates: one RNN for each of eight reach directions
================================================================

Averaged rates of 141 units in motor cortex during reaches to eight targets (Suresh et al. 2020,
eLife 9:e58848). Eight "trials", one of each direction: the embedding of a direction makes the RNN
that generates its rates. How well can it, and what do its trajectories look like?

The recording (``reach_m1_suresh2020.npz``) does not come with the package. Say where it is with
``python examples/plot_reach_rates.py --data FOLDER`` or in the environment variable
``JEDI_DATA_DIR``; without it the example says so and ends. Less than a minute on one core.
"""

# %%
# The rank of the connectivity
# ----------------------------
# The free run lives in as many dimensions as the connectivity has ranks (beside the decay of the
# mean start), so PCA of the rates tells how large a rank can pay.

import argparse
import os
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from sklearn.decomposition import PCA

from jedi_sklearn import JEDIEstimator

SETTINGS = dict(rank=40, dt=0.01, tau=0.1, random_state=0)

parser = argparse.ArgumentParser(description="Fit trial-averaged rates of reaches.")
parser.add_argument("--data", default=os.environ.get("JEDI_DATA_DIR"), help="folder")
parser.add_argument("--output", default="jedi_reach_rates.png", help="where the figure goes")
args = parser.parse_args()
path = Path(args.data or ".") / "reach_m1_suresh2020.npz"
if not path.exists():
    print(f"{path} not found: pass --data FOLDER or set JEDI_DATA_DIR. Nothing to do.")
    sys.exit(0)
if os.environ.get("JEDI_EXAMPLE_SMOKE") == "1":  # a small version for continuous integration
    SETTINGS |= dict(max_iter=100, tol=0.1)

recording = np.load(path, allow_pickle=False)
rates = recording["firing_rate"].astype(float)  # (directions, time, units), spikes/s
time, direction = recording["time_ms"], recording["direction_deg"]
pca = PCA(n_components=40).fit(rates.reshape(-1, rates.shape[2]))
explained = pca.explained_variance_ratio_.cumsum()
for n in (5, 10, 20, 40):
    print(f"variance in {n} principal components: {explained[n - 1]:.3f}")

# %%
# Fit
# ---

est = JEDIEstimator(**SETTINGS).fit(rates)
free_run = est.inverse_transform(est.embedding_)  # starts and all
r2 = 1 - np.square(rates - free_run).sum() / np.square(rates - rates.mean((0, 1))).sum()
print(f"R2 of the free runs: {r2:.3f}")
for degrees, value in zip(direction, est.score_samples(rates), strict=True):
    print(f"  {degrees:3d} deg: {value:.3f}")

# %%
# The figure
# ----------
# Rates of three units, and trajectories in the plane of the first two principal components of the
# observed rates.

plt.rcParams.update({"font.size": 9, "axes.titlesize": 10})
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
cycle = ["#0072B2", "#009E73", "#E69F00", "#C0398C", "#0072B2"]  # 0, 90, 180, 270, 360 degrees
cmap = LinearSegmentedColormap.from_list("direction", cycle)
colors = [cmap((d % 360) / 360) for d in direction]

fig = plt.figure(figsize=(11, 4.8), layout="constrained")
left, right = fig.subfigures(1, 2, width_ratios=(1, 1.1), wspace=0.03)
units = np.argsort(rates.var(axis=(0, 1)))[::-1][:9:4]
axes = left.subplots(len(units), 2, sharex=True, sharey="row")
for row, unit in zip(axes, units, strict=True):
    for ax, activity in zip(row, (rates, free_run), strict=True):
        for k, color in enumerate(colors):
            ax.plot(time, activity[k, :, unit], color=color, lw=1.2)
        ax.axvline(0, color="0.6", lw=0.8, ls="--", zorder=0)
    row[0].set_ylabel(f"unit {unit}\n(spikes/s)")
axes[0, 0].set_title("Observed")
axes[0, 1].set_title(f"Free run ($R^2$ = {r2:.3f}, all units)")
left.supxlabel("time from movement onset (ms)", fontsize=9)

ax = right.subplots()
observed, generated = (pca.transform(a.reshape(-1, a.shape[2])) for a in (rates, free_run))
shape = (*rates.shape[:2], -1)
for seen, made, color in zip(
    observed.reshape(shape), generated.reshape(shape), colors, strict=True
):
    ax.plot(*seen[:, :2].T, color="0.75", lw=3)
    ax.plot(*made[:, :2].T, color=color, lw=1.5)
    ax.plot(*made[0, :2], "o", color=color, ms=5)
    ax.plot(*made[time == 0, :2].T, "D", color=color, ms=5, mec="k", mew=0.5, zorder=3)
ax.plot([], [], "o", color="0.4", ms=5, label="start")
ax.plot([], [], "D", color="0.4", ms=5, mec="k", mew=0.5, label="movement onset")
ax.legend(frameon=False, loc="upper left", handletextpad=0.1)
ax.set(xlabel="principal component 1 (spikes/s)", ylabel="principal component 2 (spikes/s)")
ax.set_aspect("equal")
ax.set_title("Trajectories: observed (grey) and free run (colour)")
compass = ax.inset_axes((0.86, 0.84, 0.15, 0.15), projection="polar")
compass.bar(np.deg2rad(direction), 1, width=np.deg2rad(45), color=colors)
compass.set(xticks=[], yticks=[])
compass.set_title("reach", fontsize=8, pad=1)
compass.spines["polar"].set_visible(False)
fig.savefig(args.output, dpi=160)
print(f"figure: {args.output}")
