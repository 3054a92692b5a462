"""
Input frequency in the eigenspectra
===================================

A network with activity of its own is driven by sinusoids of 1 to 10 Hz. JEDI sees the activity and
not the input: its autonomous RNNs have to make the oscillation themselves, by a pair of
eigenvalues that turn at the frequency of the input. So eigenvalues move out along the imaginary
axis with input frequency. We check it on trials that the fit has never seen.

Run it with ``python examples/plot_frequency_eigenspectra.py``; about a minute on one core.
"""

# %%
# The recording
# -------------
# Trials start one second after the onset of the input, so that the first sample holds its phase.

import argparse
import os

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import linregress
from sklearn.model_selection import train_test_split

from jedi_sklearn import EigenspectrumAnalyzer, JEDIEstimator
from jedi_sklearn.datasets import make_multifrequency
from jedi_sklearn.plotting import EigenspectrumDisplay

parser = argparse.ArgumentParser(description="Eigenspectra of trials with input of 1 to 10 Hz.")
parser.add_argument("--seed", type=int, default=0, help="of the network and the trials")
parser.add_argument("--output", default="jedi_frequency.png", help="where the figure goes")
args = parser.parse_args()
smoke = os.environ.get("JEDI_EXAMPLE_SMOKE") == "1"  # a small version for continuous integration
size = dict(n_neurons=40, n_timesteps=160) if smoke else dict(n_timesteps=300)
data = make_multifrequency(8, amplitude=3, teacher_seed=args.seed, random_state=args.seed, **size)
X = data.X[:, 100:]
train, test = train_test_split(
    np.arange(len(X)), test_size=0.25, stratify=data.frequency, random_state=0
)

# %%
# Fit, and the spectra of the RNNs of held-out trials
# ---------------------------------------------------
# With ``output="dynamics"`` the estimator returns RNNs. The network's weights (of rank five) and
# input write to six directions: with rank eight few eigenvalues are left that carry nothing.
#
# The swings saturate neurons, so derivatives do not show the oscillation. ``at="equivalent"``
# replaces tanh by the line that fits it best over the free run of the trial. An oscillation that
# goes on has a growth rate of 0 there and its own frequency, while harmonics have damped modes.
# The analyzer takes the largest frequency among the eigenvalues that outlast five time constants.

options = dict(max_iter=60, tol=0.1) if smoke else dict(max_iter=600, tol=2e-3)
est = JEDIEstimator(8, 8, output="dynamics", random_state=0, **options)
est.fit(X[train], data.condition[train])
print(f"R2 of the free runs: held out {est.score(X[test]):.3f}")

rnns = est.transform(X[test])
analyzer = EigenspectrumAnalyzer(
    at="equivalent", n_eigenvalues=0, min_growth_rate=-1 / (5 * est.tau)
)
found = analyzer.set_output(transform="pandas").fit_transform(rnns)["max_frequency"].to_numpy()
frequency = data.frequency[test]
inputs = np.unique(frequency)
median = np.array([np.median(found[frequency == f]) for f in inputs])
line = linregress(inputs, median)
each = linregress(frequency, found)
print(f"RNN against input frequency: medians r = {line.rvalue:.4f}, slope {line.slope:.3f}")
print(f"                             single trials r = {each.rvalue:.4f}, slope {each.slope:.3f}")
for f, m in zip(inputs, median, strict=True):
    print(f"  input {f:4.1f} Hz   RNN {m:5.2f} Hz")

# %%
# The figure
# ----------

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4.3), layout="constrained")
display = EigenspectrumDisplay.from_rnns(
    rnns,
    at="equivalent",
    conditions=frequency,
    ax=left,
    kind="rates",
    conditions_label="input (Hz)",
    scatter_kwargs=dict(s=14, alpha=0.6),
)
left.set(xlim=(-14, 8), ylim=(-0.5, 14), title="Equivalent eigenvalues of held-out trials")

right.plot([0, 11], [0, 11], color="0.7", lw=1, ls="--", label="identity")
right.scatter(frequency, found, s=18, color="#0072B2", alpha=0.5, label="held-out trial", lw=0)
right.plot(inputs, median, "o-", color="k", ms=4, lw=1.2, label="median")
right.set(xlabel="frequency of the input (Hz)", ylabel="largest frequency of the RNN (Hz)")
right.set(xlim=(0, 11), ylim=(0, None))
right.set_title(f"medians: r = {line.rvalue:.3f}, slope {line.slope:.2f}")
right.legend(frameon=False)
right.spines[["top", "right"]].set_visible(False)
fig.savefig(args.output, dpi=160)
print(f"figure: {args.output}")
