"""
Quickstart: from trials to embeddings and the RNNs behind them
==============================================================

A random low-rank network performs four tasks. From its activity alone, without its inputs, one
model is fitted to the trials of all tasks. On trials that the fit has never seen we look at three
things: how well their RNNs reproduce them, whether their embeddings tell the tasks apart, and how
the spectra of the RNNs differ between tasks.

Run it with ``python examples/plot_quickstart.py``; it takes about a minute on one core.
"""

# %%
# Four tasks, one network
# -----------------------
# ``X`` has the shape (trials, time, neurons). Every trial is different: frequencies, strengths,
# delays, directions and initial states vary, and there is noise.

import argparse
import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from jedi_sklearn import JEDIEstimator
from jedi_sklearn.datasets import make_multitask

parser = argparse.ArgumentParser(description="Fit simulated trials of four tasks.")
parser.add_argument("--output", default="jedi_quickstart.png", help="where the figure goes")
output = parser.parse_args().output

smoke = os.environ.get("JEDI_EXAMPLE_SMOKE") == "1"  # a small version for continuous integration
size = dict(n_trials=80, n_neurons=60) if smoke else {}
data = make_multitask(random_state=0, **size)
X_train, X_test, task_train, task_test = train_test_split(
    data.X, data.task, test_size=0.25, stratify=data.task, random_state=0
)
print(f"{len(X_train)} training trials, {len(X_test)} held out, {X_train.shape[2]} neurons")

# %%
# Fit, score, classify
# --------------------
# In a pipeline the labels reach the fit as conditions: they centre the prior of the training
# embeddings. ``transform`` and ``score`` infer embeddings from activity alone.

options = dict(max_iter=100, tol=5e-3) if smoke else {}
classifier = make_pipeline(JEDIEstimator(random_state=0, **options), LogisticRegression())
est, logistic = classifier.fit(X_train, task_train)

r2 = est.score(X_test)
E_test = est.transform(X_test)
accuracy = logistic.score(E_test, task_test)  # classifier.score(X_test, task_test) does the same
print(f"R2 of the free runs: training {1 - est.loss_curve_[-1]:.3f}, held out {r2:.3f}")
print(f"task from the embedding, held out: {accuracy:.3f} correct")

# %%
# The RNNs behind the trials
# --------------------------
# One RNN per trial. The eigenvalues of its weights, linearised at the mean activity, give growth
# rates and frequencies: in continuous time ``(eigenvalue - 1) / tau``.

rnns = est.generate_rnns(E_test)  # est.dynamics(X_test) infers the embeddings itself
rates = (rnns.eigenvalues() - 1) / rnns.tau  # (trials, rank), 1/s
growth, frequency = rates.real, np.abs(rates.imag) / (2 * np.pi)
tasks = np.unique(data.task)
for task in tasks:
    leading = growth[task_test == task].max(axis=1)
    print(f"fastest growth, {task}: {leading.mean():.1f} (SD {leading.std():.1f}) 1/s")

# %%
# The figure
# ----------
# Colours and markers stand for tasks. Filled: held-out trials; pale: training trials.

plt.rcParams.update({"font.size": 9, "axes.titlesize": 10, "legend.fontsize": 8.5})
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
colors = dict(zip(tasks, ("#0072B2", "#D55E00", "#009E73", "#AA4499"), strict=True))
markers = dict(zip(tasks, "os^D", strict=True))
free_run = est.inverse_transform(E_test)  # the embeddings say where they start

fig = plt.figure(figsize=(10, 6.2), layout="constrained")
top, bottom = fig.subfigures(2, 1, height_ratios=(1.2, 1), hspace=0.04)
ax_embedding, ax_spectrum, ax_loss = top.subplots(1, 3)
for task in tasks:
    style = dict(color=colors[task], marker=markers[task], linestyle="none", markeredgewidth=0)
    train, test = task_train == task, task_test == task
    ax_embedding.plot(*est.embedding_[train, :2].T, **style, ms=4, alpha=0.25)
    ax_embedding.plot(*E_test[test, :2].T, **style, ms=5.5, label=task)
    ax_spectrum.plot(growth[test].ravel(), frequency[test].ravel(), **style, ms=4, alpha=0.6)
ax_embedding.set(xlabel="embedding, component 1", ylabel="embedding, component 2")
ax_embedding.set_title(f"Embeddings ({est.n_components_} components)")
bottom_of_data, top_of_data = ax_embedding.get_ylim()
ax_embedding.set_ylim(top=1.25 * top_of_data - 0.25 * bottom_of_data)  # room for the legend
ax_embedding.legend(frameon=False, handletextpad=0.1, ncols=2, loc="upper center")

ax_spectrum.axvline(0, color="0.6", lw=0.8, ls="--", zorder=0)
left = max(-50, 1.1 * growth.min())
ax_spectrum.set(xlabel="growth rate (1/s)", ylabel="frequency (Hz)", xlim=(left, None))
ax_spectrum.set_title("Eigenvalues of the held-out trials' RNNs")
if (growth < left).any():
    note = f"{100 * (growth < left).mean():.1f} % further left"
    ax_spectrum.text(0.02, 0.97, note, transform=ax_spectrum.transAxes, color="0.4", va="top")

ax_loss.axvspan(0, 0.5 * est.max_iter, color="0.93", lw=0)  # the first half is forced
ax_loss.semilogy(np.arange(1, est.n_iter_ + 1), est.loss_curve_, color="k", lw=1.2)
ax_loss.axhline(1 - r2, color="#0072B2", lw=1.2, ls=":")
held_out = dict(color="#0072B2", ha="right", va="top")
ax_loss.text(est.max_iter, 0.97 * (1 - r2), f"held out ($R^2$ = {r2:.3f})", **held_out)
for x, text in ((0.25, "teacher forcing"), (0.75, "free run")):
    ax_loss.text(x, 0.97, text, transform=ax_loss.transAxes, color="0.4", ha="center", va="top")
ax_loss.set(xlabel="gradient step", ylabel="$1 - R^2$", xlim=(0, est.max_iter), title="Training")
ax_loss.set_ylim(bottom=0.6 * min(1 - r2, *est.loss_curve_))  # room for the text

neurons = np.argsort(X_train.var(axis=(0, 1)))[::-1][:12:3]  # four of the most active ones
shown = [np.flatnonzero(task_test == task)[0] for task in tasks]
offsets = -0.75 * np.ptp(X_test[shown][:, :, neurons], axis=(0, 1)).max() * np.arange(4)
for ax, task, k in zip(bottom.subplots(1, 4, sharey=True), tasks, shown, strict=True):
    ax.plot(data.time, X_test[k][:, neurons] + offsets, color="0.72", lw=2.8)
    ax.plot(data.time, free_run[k][:, neurons] + offsets, color=colors[task], lw=1.3)
    ax.set(xlabel="time (s)", yticks=[], xlim=(0, data.time[-1]))
    ax.set_title(task, color=colors[task])
    ax.spines["left"].set_visible(False)
bottom.supylabel("activity (arbitrary units)", fontsize=9)
title = "Four neurons in one held-out trial of each task: observed (grey) and free run (colour)"
bottom.suptitle(title, fontsize=10)
fig.savefig(output, dpi=160)
print(f"figure: {output}")
