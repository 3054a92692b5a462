"""
Choosing rank and n_components
==============================

``rank`` bounds what the RNNs can do, ``n_components`` is how many numbers describe a trial. Both
are chosen by cross-validation, as any size in scikit-learn. But by which score? ``score`` infers
the embedding of a test trial from that trial and then draws it, so it hardly punishes an embedding
that is too large. Predictions of what the inference has not seen do: most of the neurons from the
others (co-smoothing), or the end of a trial from its beginning (forecast). The default, "auto",
predicts a few neurons from all others, with principal components instead of fits, in seconds: what
it chooses is printed beside the scores.

Run it with ``python examples/plot_choosing_sizes.py``; about a minute on one core.
"""

# %%
# Noisy rates
# -----------
# Four tasks with two conditions each. The noise of a sample has the size of the signal's, so that
# too large a model has something to fit that is not there. The network's rank is 5.

import argparse
import os
import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from jedi_sklearn import JEDIEstimator
from jedi_sklearn.datasets import make_multitask
from jedi_sklearn.metrics import CoSmoothingScorer, ForecastScorer

parser = argparse.ArgumentParser(description="Cross-validate rank and n_components.")
parser.add_argument("--seed", type=int, default=0, help="of the network and the trials")
parser.add_argument("--output", default="jedi_choosing_sizes.png", help="where the figure goes")
args = parser.parse_args()
smoke = os.environ.get("JEDI_EXAMPLE_SMOKE") == "1"  # a small version for continuous integration
data = make_multitask(
    48,
    n_conditions_per_task=2,
    n_neurons=40,
    n_timesteps=120,
    observe="rate",
    initial_jitter=0.3,
    observation_noise=0.3,
    teacher_seed=args.seed,
    random_state=args.seed,
)
X = data.X[:, ::2]  # 60 samples of 20 ms
folds = StratifiedKFold(3, shuffle=True, random_state=0)  # each fold has trials of all conditions

# %%
# One fit, three scores
# ---------------------
# ``GridSearchCV`` takes several scorers at once; each fit is scored by all of them. The sizes are
# varied one after the other: a grid of both costs much more and says little else. Fits are short:
# what is compared needs to be good enough to compare, not finished.

jedi = JEDIEstimator(n_components=4, dt=0.02, max_iter=100, random_state=0)
scorers = {
    "free run": lambda est, X, y=None: est.score(X),
    "forecast": ForecastScorer(fraction=0.5),
    "co-smoothing": CoSmoothingScorer(fraction=0.75, n_repeats=2, average=False),
}


def one_standard_error(mean, sd, n_folds):
    """Index of the smallest size whose mean score is within one standard error of the best."""
    best = np.argmax(mean)
    return np.flatnonzero(mean >= mean[best] - sd[best] / np.sqrt(n_folds))[0]


def curve(jedi, name, values):
    """Means and SDs over folds of each score for values of one parameter, in rising order."""
    search = GridSearchCV(jedi, {name: values}, scoring=scorers, refit=False, cv=folds)
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # they are short on purpose
        found = search.fit(X, data.condition).cv_results_
    print(f"{name}: {len(values)} values, {time.process_time() - start:.0f} s of one core")
    out = {s: (found[f"mean_test_{s}"], found[f"std_test_{s}"]) for s in scorers}
    for score, (mean, sd) in out.items():
        chosen = values[one_standard_error(mean, sd, folds.get_n_splits())]
        line = "  ".join(f"{v}: {m:.3f}" for v, m in zip(values, mean, strict=True))
        print(f"  {score:12s}  {line}   best {values[np.argmax(mean)]}, one-SE rule {chosen}")
    return out


ranks = [2, 4, 8, 16, 32]
sizes = [1, 2, 4, 8, 16, 24]
if smoke:
    jedi.set_params(max_iter=10)
    ranks, sizes = [4, 8], [1, 4]
auto = JEDIEstimator(dt=0.02, max_iter=10, tol=1, random_state=0)  # sizes do not need the fit
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)
    auto.fit(X)
print(f'"auto": rank {auto.rank_}, n_components {auto.n_components_}')
by_rank = curve(jedi, "rank", ranks)
rank = ranks[np.argmax(by_rank["co-smoothing"][0])]
by_size = curve(jedi.set_params(rank=rank), "n_components", sizes)

# %%
# The figure
# ----------
# Bars are standard errors over folds. Filled: the best value; ring: the smallest one within a
# standard error of it. R2 below -0.1 is not shown.

colors = {"free run": "0.45", "forecast": "#D55E00", "co-smoothing": "#0072B2"}
plt.rcParams.update({"font.size": 9, "axes.titlesize": 10, "legend.fontsize": 8.5})
fig, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
titles = ("n_components = 4", f"rank = {rank}")
panels = (("rank", ranks, by_rank), ("n_components", sizes, by_size))
for ax, title, (name, values, curves) in zip(axes, titles, panels, strict=True):
    for score, (mean, sd) in curves.items():
        error = sd / np.sqrt(folds.get_n_splits())
        style = dict(color=colors[score], lw=1.5, elinewidth=1, marker="o", ms=4)
        ax.errorbar(values, mean, error, **style, mfc="white", label=score)
        best = np.argmax(mean)
        chosen = one_standard_error(mean, sd, folds.get_n_splits())
        ax.plot(values[best], mean[best], "o", color=colors[score], ms=5, zorder=3)
        ring = dict(mfc="none", mec=colors[score], mew=1.3, ms=11)
        ax.plot(values[chosen], mean[chosen], "o", **ring)
    ax.set_xscale("log", base=2)
    ax.set_xticks(values, map(str, values))
    ax.set(xlabel=name, title=title)
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set(ylabel="$R^2$ of held-out trials", ylim=(-0.1, None))
axes[0].legend(frameon=False, loc="lower right")
marks = [
    Line2D([], [], ls="", marker="o", color="0.3", ms=5, label="best"),
    Line2D([], [], ls="", marker="o", mfc="none", mec="0.3", mew=1.3, ms=11, label="one-SE rule"),
]
axes[1].legend(handles=marks, frameon=False, loc="lower center")
fig.savefig(args.output, dpi=160)
print(f"figure: {args.output}")
