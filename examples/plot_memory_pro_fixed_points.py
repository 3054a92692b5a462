"""
The ring of a working-memory network, from its activity
=======================================================

A network was trained on MemoryPro: remember the angle of a stimulus over a delay, then report it.
It holds the angle on a ring of slow points. We fit JEDI to the activity of the network, cut into
phases of constant input, and ask whether the RNN of the memory phase has the same ring.

Run it with ``python examples/plot_memory_pro_fixed_points.py``; about a minute on one core.
"""

# %%
# The recording
# -------------
# Each trial gives four segments. Segments with the same input share a condition, and with it one
# embedding and one RNN: the stimulus phases of the eight angles, whose inputs differ, have eight.

import argparse
import os
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

from jedi_sklearn import JEDIEstimator, find_fixed_points
from jedi_sklearn.datasets import make_memory_pro
from jedi_sklearn.plotting import FixedPointDisplay

parser = argparse.ArgumentParser(description="Slow points of the memory phase of MemoryPro.")
parser.add_argument("--seed", type=int, default=0, help="of the trials")
parser.add_argument("--output", default="jedi_memory_pro.png", help="where the figure goes")
args = parser.parse_args()
smoke = os.environ.get("JEDI_EXAMPLE_SMOKE") == "1"  # a small version for continuous integration

data = make_memory_pro(16 if smoke else 64, random_state=args.seed)
options = dict(max_iter=100, tol=0.1) if smoke else {}
est = JEDIEstimator(embedding="condition", dt=0.02, tau=0.1, random_state=0, **options)
est.fit(data.X, data.condition)
print(f"R2 of the free runs: {est.score(data.X):.4f}")

# %%
# Slow points of the network and of the fitted RNN
# ------------------------------------------------
# A ring attractor of a trained network is not exact: it is a ring of slow points, with a few fixed
# points on it whose places are accidents. Slow is here what moves by less than a tenth of an SD of
# the data within the time of a segment. Both searches start from activity of the memory phase.

memory = data.phase == "memory"
states = data.X[memory][:, ::2]  # (trials, samples, neurons)
slow_speed = 0.1 / (data.X.shape[1] * est.dt)  # SD/s
sd = est.scale_[0]  # one SD for all neurons

network = find_fixed_points(
    data.teacher, states, inputs=data.phase_inputs["memory"], slow_speed=slow_speed * sd
)[0]
i = list(est.conditions_).index("memory")
rnn = est.generate_rnns(est.condition_embeddings_[[i]])
fitted = find_fixed_points(rnn, est.to_states(states), slow_speed=slow_speed)[0]
fitted = replace(fitted, points=est.to_activity(fitted.points))  # in the data's units
print(f"network: {network}\nfitted:  {fitted}")

# %%
# How far apart are the rings?
# ----------------------------
# The mean distance of each point to the nearest of the other set, both ways, over the radius. The
# angle that a point stands for is what the network answers when it goes on to the response.


def ring(found):
    """Points with at most one unstable direction."""
    return found.points[found.n_unstable <= 1]


def answer(points):
    """Angle that the network reports from these states, rad."""
    go = np.tile(data.phase_inputs["response"], (len(points), 50, 1))
    output = np.tanh(data.teacher.simulate(points, 50, go)[:, -1]) @ data.output_weights.T
    return np.arctan2(output[:, 2], output[:, 1])


true, model = ring(network), ring(fitted)
radius = np.median(np.linalg.norm(true - true.mean(axis=0), axis=1))
distance = np.linalg.norm(true[:, None] - model[None], axis=2) / radius
chamfer = (distance.min(axis=0).mean() + distance.min(axis=1).mean()) / 2
print(f"symmetric Chamfer distance: {chamfer:.3f} of the radius")
ends = np.linalg.norm(true[:, None] - data.X[memory][:, -1], axis=2) / radius
baseline = (ends.min(axis=0).mean() + ends.min(axis=1).mean()) / 2
print(f"of the last samples of the segments, without a model: {baseline:.3f}")
angle, nearest = answer(model), answer(true)[distance.argmin(axis=0)]
error = np.degrees(np.abs(np.angle(np.exp(1j * (angle - nearest)))))
print(f"angle against that of the nearest point: median difference {np.median(error):.1f} deg")

# %%
# The figure
# ----------

fig, axes = plt.subplots(
    1, 3, figsize=(12.5, 4.6), layout="constrained", width_ratios=(1, 1, 0.85)
)
colour = dict(conditions=data.angle[memory], unit="activity units")
for ax, found, name in zip(
    axes, (network, fitted), ("The network", "The fitted RNN"), strict=False
):
    display = FixedPointDisplay(found, data.free_run[memory], **colour)
    display.plot(ax=ax, cyclic=True, conditions_label="angle (rad)", legend=ax is axes[0])
    ax.set_title(name)
away = np.degrees(np.angle(np.exp(1j * (angle - nearest))))
axes[2].scatter(np.degrees(nearest) % 360, away, s=14, color="#0072B2", lw=0)
axes[2].axhline(0, color="0.7", lw=1, ls="--", zorder=0)
axes[2].set(xlabel="angle of the network's point (deg)", ylabel="difference of the RNN's (deg)")
axes[2].set(xticks=[0, 90, 180, 270, 360], ylim=(-30, 30))
axes[2].set_title("The angle a point stands for")
fig.suptitle(f"Slow points of the memory phase: Chamfer distance {chamfer:.2f} of the radius")
axes[2].spines[["top", "right"]].set_visible(False)
fig.savefig(args.output, dpi=160)
print(f"figure: {args.output}")
