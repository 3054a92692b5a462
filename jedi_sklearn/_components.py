"""Principal components of samples, trials and free runs, and how many of them are worth it.

As many as help to predict neurons that were not seen: components of training trials describe
trials left out from one half of their neurons, and the other half is predicted. Noise that a
component too many describes belongs to single neurons and predicts none of the others; a component
too few leaves out what neurons have in common (docs/model.md, eq. 16). Nothing is fitted but
principal components, so that the answer takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.utils.extmath import randomized_svd

from ._distributed import ALONE
from ._trials import Trials, blocks, sample_of

__all__ = [
    "ENOUGH_TRIALS",
    "RunComponents",
    "SizeCurve",
    "axes_of_samples",
    "components_of_trials",
    "denoised",
]

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40)
N_FOLDS, N_HALVES = 4, 4
MAX_TRIALS, MAX_SAMPLES = 400, 6000  # by which sizes are judged
MAX_VALUES = 2**25  # held of them at a time: 256 MB
MAX_MAPS = 2**26  # values by which trials are denoised: 256 MB
ENOUGH_TRIALS = 16  # to tell from them how many components they need
MAX_BINS = 24  # of time, in the description of whole trials
RUN_SHARE, MAX_RUN_COMPONENTS = 0.99, 64  # of the variance of free runs that components keep


@dataclass
class SizeCurve:
    """Share of the variance of unseen neurons that is predicted, by number of components.

    Parameters
    ----------
    sizes : tuple of int
    explained : ndarray (sizes,)
    tolerance : float
        How much less than the most may be predicted, as a share of it.
    """

    sizes: tuple
    explained: np.ndarray
    tolerance: float = 0.0

    @property
    def best(self):
        """The smallest size that predicts the most, but for the tolerance."""
        most = self.explained.max()
        return self.sizes[int(np.argmax(self.explained >= most - self.tolerance * abs(most)))]

    @property
    def still_rises(self):
        """Whether the largest size is the best: the noise sets no limit."""
        return int(np.argmax(self.explained)) == len(self.sizes) - 1

    def __str__(self):
        pairs = zip(self.sizes, self.explained, strict=True)
        return ", ".join(f"{size}: {explained:.3f}" for size, explained in pairs)


def axes_of_samples(trials, clean=False):
    """`SizeCurve` of the principal components of single samples: the dimension of activity.

    Units with spikes in common predict each other a little better with each component, which is
    not worth a dimension. In `clean` trials, whose curve still rises, what is small is signal.
    """
    n_steps, _, n_neurons = trials.shape
    index = _some(trials, n_neurons)
    every = -(-len(index) * n_steps // min(MAX_SAMPLES, max(1, MAX_VALUES // n_neurons)))
    kept = np.arange(len(index) * n_steps) % every == 0
    parts, first = [], 0
    for i in blocks(trials, index):
        Z = _filled(trials[i]).reshape(-1, n_neurons)
        parts.append(Z[kept[first : first + len(Z)]])
        first += len(Z)
    rows, trial = np.concatenate(parts), np.repeat(np.arange(len(index)), n_steps)[kept]
    return SizeCurve(*_curve(rows, trial, np.arange(n_neurons)), 0.001 if clean else 0.02)


def components_of_trials(trials):
    """`SizeCurve` of the principal components of whole trials, None where these are few."""
    if len(trials) < ENOUGH_TRIALS:
        return None
    n_steps, _, n_neurons = trials.shape
    rows = _profiles(trials, _some(trials, min(n_steps, MAX_BINS) * n_neurons))
    neuron = np.tile(np.arange(n_neurons), rows.shape[1] // n_neurons)
    return SizeCurve(*_curve(rows, np.arange(len(rows)), neuron), tolerance=0.001)


def denoised(trials, curve, processes=ALONE):
    """Trials whose guide is what their principal components say of it.

    As many components as predict neurons not seen, by the curve of `components_of_trials`. Where
    more would predict them still better the noise is small, and the trials are left as they are;
    so are few trials.
    """
    n_steps, _, n_neurons = trials.shape
    if curve is None or curve.still_rises:
        return trials
    if (curve.best + 1) * n_steps * n_neurons > MAX_MAPS:
        return trials
    return DenoisedTrials(trials, curve.best, processes)


class DenoisedTrials:
    """Trials with the guide of a few principal components of whole trials, made when asked for.

    Parameters
    ----------
    trials : Trials or LazyTrials
    n_components : int
    processes : Processes
        Each goes through its share of the trials.
    """

    def __init__(self, trials, n_components, processes=ALONE):
        n_steps, _, n_neurons = trials.shape
        sample = _some(trials, min(n_steps, MAX_BINS) * n_neurons, len(trials))
        profiles = _profiles(trials, sample, processes)
        self.trials, mean, n = trials, profiles.mean(axis=0), len(profiles)
        left, power, self.axes = _decompose(profiles - mean, n_components)
        noise = max(np.square(profiles - mean).sum() / n - power.sum(), 0.0)
        noise /= max(profiles.shape[1] - n_components, 1)
        shrink = np.maximum(power - noise, 0.0) / np.maximum(power, np.finfo(float).tiny)
        self.mean, self.unit = mean, 1 / np.sqrt(np.maximum(power, np.finfo(float).tiny))
        scores = torch.as_tensor(left * n**0.5, dtype=trials.dtype, device=trials.device)
        rows = torch.cat([torch.ones_like(scores[:, :1]), scores], 1)
        # the mean, and what one SD of each component adds, (1 + n_components, time, neurons)
        maps = rows.new_zeros(n_components + 1, n_steps, n_neurons)
        share = blocks(trials, sample)
        parts = list(zip(share, rows.split([len(i) for i in share]), strict=True))
        for i, some in processes.share(parts):
            maps += torch.einsum("kd,tkn->dtn", some, trials[i].guide) / n
        processes.sum_(maps)
        maps[1:] *= torch.as_tensor(shrink, dtype=maps.dtype, device=maps.device)[:, None, None]
        self.maps = maps

    def __len__(self):
        return len(self.trials)

    def __getattr__(self, name):
        return getattr(self.trials, name)

    def __getitem__(self, index):
        some = self.trials[index]
        scores = (_binned(_filled(some)) - self.mean) @ self.axes.T * self.unit
        scores = torch.as_tensor(scores, dtype=some.dtype, device=some.device)
        rows = torch.cat([torch.ones_like(scores[:, :1]), scores], 1)
        guide = torch.einsum("kd,dtn->tkn", rows, self.maps)
        return Trials(some.y, some.weight, guide, some.inputs)


@dataclass
class RunComponents:
    """Principal components of free runs: mean (columns,) and axes (components, columns)."""

    mean: np.ndarray
    axes: np.ndarray

    @classmethod
    def learn(cls, runs):
        """As many as have most of the variance of runs (trials, time, neurons)."""
        rows = _binned(runs)
        mean, most = rows.mean(axis=0), min(MAX_RUN_COMPONENTS, *rows.shape)
        _, power, axes = _decompose(rows - mean, most)
        whole = np.square(rows - mean).sum() / len(rows)
        n = 1 + int((power.cumsum() < RUN_SHARE * whole).sum())
        axes = axes[: min(n, most)]
        largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, np.newaxis], axis=1)
        return cls(mean, axes * np.sign(largest))

    def __call__(self, runs):
        """Scores (trials, components) of free runs of the same length."""
        return (_binned(runs) - self.mean) @ self.axes.T


def _decompose(rows, n):
    """Left singular vectors, variances and axes (n, columns) of the n leading components."""
    left, singular, axes = randomized_svd(rows, n, random_state=0)
    return left, np.square(singular) / len(rows), axes


def _some(trials, n_columns, most=MAX_TRIALS):
    """Indices of a fixed choice of trials that fits into memory as rows of so many columns."""
    index = sample_of(trials)
    order = np.random.RandomState(0).permutation(len(index))
    most = min(most, max(MAX_VALUES // n_columns, ENOUGH_TRIALS))
    return index[np.sort(order[:most])]


def _profiles(trials, index, processes=ALONE):
    """Some trials as `_binned` has them."""
    share = processes.share(blocks(trials, index))
    return np.concatenate(processes.gather([_binned(_filled(trials[i])) for i in share]))


def _filled(trials):
    """Trials (trials, time, neurons), with the mean over them where a value is missing.

    The mean of the same neuron at the same time, or of all times where no trial has that one. What
    the guide has there was made of other neurons, which are to be predicted.
    """
    Z, w = trials.guide, trials.weight
    if w is not None:
        count, total = w.sum(1, keepdim=True), (w * Z).sum(1, keepdim=True)
        overall = total.sum(0) / count.sum(0).clamp_min(1)
        mean = torch.where(count > 0, total / count.clamp_min(1), overall)
        Z = torch.where(w > 0, Z, mean)
    return Z.transpose(0, 1).cpu().numpy().astype(np.float64)


def _binned(Z):
    """Trials (trials, time, neurons) as rows of a few bins of time times neurons."""
    n_steps = Z.shape[1]
    edges = np.linspace(0, n_steps, min(n_steps, MAX_BINS) + 1).round().astype(int)
    Z = np.add.reduceat(Z, edges[:-1], axis=1) / np.diff(edges)[:, np.newaxis]
    return Z.reshape(len(Z), -1)


def _curve(rows, trial, neuron):
    """Sizes, and what they explain of rows (samples or trials) whose columns belong to neurons."""
    rng, n_neurons = np.random.RandomState(0), int(neuron.max()) + 1
    fold = (rng.permutation(int(trial.max()) + 1) % N_FOLDS)[trial]
    n_train = len(rows) - np.bincount(fold, minlength=N_FOLDS).max()
    most = max(1, min(n_train - 1, rows.shape[1] // 2))
    sizes = tuple(size for size in SIZES if size <= most)
    error, total = np.zeros(len(sizes)), 0.0
    for k in np.unique(fold):
        train, test = rows[fold != k], rows[fold == k]
        mean = train.mean(axis=0)
        train, test = train - mean, test - mean
        _, power, axes = _decompose(train, sizes[-1])
        whole = np.square(train).sum() / len(train)
        for _ in range(N_HALVES):
            hidden = np.isin(neuron, rng.permutation(n_neurons)[: n_neurons // 2])
            error += _errors(test, hidden, axes, power, whole, sizes)
            total += np.square(test[:, hidden]).sum()
    return sizes, 1 - error / max(total, np.finfo(float).tiny)


def _errors(test, hidden, axes, power, whole, sizes):
    """Squared errors of the hidden columns, by size.

    Probabilistic principal components (Tipping and Bishop 1999): components ~ N(0, 1) along the
    axes, noise of one variance; the columns that are seen give their posterior mean.
    """
    seen_axes, hidden_axes = axes[:, ~hidden], axes[:, hidden]
    gram, across = seen_axes @ seen_axes.T, hidden_axes @ hidden_axes.T
    projected, target = test[:, ~hidden] @ seen_axes.T, test[:, hidden] @ hidden_axes.T
    alone = np.square(test[:, hidden]).sum()
    errors = []
    for n in sizes:
        rest = (whole - power[:n].sum()) / max(axes.shape[1] - n, 1)
        noise = max(rest, 1e-9 * whole, 1e-300)
        gain = np.sqrt(np.maximum(power[:n] - noise, 0.0))  # SD of each component
        system = gain[:, np.newaxis] * gram[:n, :n] * gain + noise * np.eye(n)
        scores = np.linalg.solve(system, gain[:, np.newaxis] * projected[:, :n].T).T * gain
        fitted = np.einsum("ki,ij,kj->", scores, across[:n, :n], scores)
        errors.append(alone - 2 * (scores * target[:, :n]).sum() + fitted)
    return np.array(errors)
