"""Principal components of samples, trials and free runs, and how many of them are worth it.

As many as help to predict neurons that were not seen: components of training trials describe
trials left out from one half of their neurons, and the other half is predicted. Noise that a
component too many describes belongs to single neurons and predicts none of the others; a component
too few leaves out what neurons have in common (docs/model.md, eq. 16). Nothing is fitted but
principal components, so that the answer takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.utils.extmath import randomized_svd

from ._distributed import ALONE
from ._missing import patterns_of
from ._trials import blocks, sample_of

__all__ = [
    "ENOUGH_TRIALS",
    "TOLERANCE",
    "RunComponents",
    "SizeCurve",
    "axes_of_samples",
    "components_of_trials",
    "denoised",
    "posterior_scores",
]

TOLERANCE = 0.001  # how much less than the most is predicted by enough components
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40)
N_FOLDS, N_HALVES = 4, 4
MAX_TRIALS, MAX_SAMPLES = 400, 6000  # by which sizes are judged
MAX_VALUES = 2**25  # held of them at a time: 256 MB
MAX_MAPS = 2**26  # values by which trials are denoised: 256 MB
ENOUGH_TRIALS = 16  # to tell from them how many components they need
ENOUGH_NEURONS = 4  # of which one half tells of the other
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


def axes_of_samples(trials, tolerance=TOLERANCE):
    """`SizeCurve` of the principal components of single samples: the dimension of activity."""
    _, _, n_neurons = trials.shape
    index = _some(trials, n_neurons)
    n_samples = len(range(0, trials.n_steps, trials.every))
    every = -(-len(index) * n_samples // min(MAX_SAMPLES, max(1, MAX_VALUES // n_neurons)))
    kept = np.arange(len(index) * n_samples) % every == 0
    parts, first = [], 0
    for i in blocks(trials, index):
        some = _Rows.of_samples(trials[i])
        parts.append(some[kept[first : first + len(some)]])
        first += len(some)
    rows, trial = _Rows.concatenate(parts), np.repeat(np.arange(len(index)), n_samples)[kept]
    recorded = ~np.isnan(rows.imputed[:, 0])
    curve = _curve(rows[recorded], trial[recorded], np.arange(n_neurons))
    return SizeCurve(*curve, tolerance)


def components_of_trials(trials):
    """`SizeCurve` of the principal components of whole trials.

    None where trials, or neurons to tell apart what they have in common, are few.
    """
    n_steps, _, n_neurons = trials.shape
    if len(trials) < ENOUGH_TRIALS or n_neurons < ENOUGH_NEURONS:
        return None
    rows = _profiles(trials, _some(trials, min(n_steps, MAX_BINS) * n_neurons))
    neuron = np.tile(np.arange(n_neurons), rows.imputed.shape[1] // n_neurons)
    return SizeCurve(*_curve(rows, np.arange(len(rows)), neuron), TOLERANCE)


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
        n_steps, n_trials, n_neurons = self.shape = trials.shape
        self.trials, self.n_inputs = trials, trials.n_inputs
        self.dtype, self.device, self.every = trials.dtype, trials.device, trials.every
        sample = _some(trials, min(n_steps, MAX_BINS) * n_neurons, n_trials)
        profiles = _profiles(trials, sample, processes)
        self.mean, rows = profiles.centred()
        left, power, self.axes = _decompose(rows, n_components)
        self.noise = max(np.square(rows).sum() / len(rows) - power.sum(), 0.0)
        self.noise /= max(rows.shape[1] - n_components, 1)
        self.noise = max(self.noise, 1e-9 * power.sum(), 1e-300)
        self.gain = np.sqrt(np.maximum(power - self.noise, 0.0))
        scores = torch.as_tensor(left * len(rows) ** 0.5, dtype=trials.dtype, device=self.device)
        scores = torch.cat([torch.ones_like(scores[:, :1]), scores], 1)
        # the mean, and what each component adds, (1 + n_components, time, neurons)
        maps = scores.new_zeros(n_components + 1, n_steps, n_neurons)
        count = scores.new_zeros(n_steps)
        share = blocks(trials, sample)
        parts = list(zip(share, scores.split([len(i) for i in share]), strict=True))
        for i, score in processes.share(parts):
            some = trials[i]
            recorded = some.recorded().to(maps.dtype)  # (time, trials)
            maps += torch.einsum("tk,kd,tkn->dtn", recorded, score, some.guide)
            count += recorded.sum(1)
        processes.sum_(maps, count)
        maps /= count.clamp_min(1)[:, None]
        shrink = self.gain / np.sqrt(np.maximum(power, np.finfo(float).tiny))
        maps[1:] *= torch.as_tensor(shrink, dtype=maps.dtype, device=maps.device)[:, None, None]
        self.maps = maps

    def __len__(self):
        return len(self.trials)

    def __getitem__(self, index):
        some = self.trials[index]
        rows = _Rows.of_trials(some)
        scores = np.empty((len(rows), len(self.axes)))
        for which, seen in rows.patterns():
            axes = self.axes[:, seen]
            projected = (rows.seen[which] - self.mean)[:, seen] @ axes.T
            scores[which] = posterior_scores(axes @ axes.T, projected, self.gain, self.noise)
        scores = torch.as_tensor(scores, dtype=some.dtype, device=some.device)
        scores = torch.cat([torch.ones_like(scores[:, :1]), scores], 1)
        guide = torch.einsum("kd,dtn->tkn", scores, self.maps)
        return replace(some, guide=guide)


@dataclass
class RunComponents:
    """Principal components of free runs: mean (columns,) and axes (components, columns)."""

    mean: np.ndarray
    axes: np.ndarray

    @classmethod
    def learn(cls, runs):
        """As many as have most of the variance of runs, blocks of (trials, time, neurons)."""
        rows = np.concatenate([_binned(block) for block in runs])
        mean, most = rows.mean(axis=0), min(MAX_RUN_COMPONENTS, *rows.shape)
        _, power, axes = _decompose(rows - mean, most)
        whole = np.square(rows - mean).sum() / len(rows)
        n = 1 + int((power.cumsum() < RUN_SHARE * whole).sum())
        axes = axes[: min(n, most)]
        largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, np.newaxis], axis=1)
        return cls(mean, axes * np.sign(largest))

    def __call__(self, runs):
        """Scores (trials, components) of free runs of the same length, blocks as well.

        Neurons beyond those of the components, which joined later, do not count.
        """
        scores = []
        for block in runs:
            n_neurons = len(self.mean) // min(block.shape[1], MAX_BINS)
            scores.append((_binned(block[:, :, :n_neurons]) - self.mean) @ self.axes.T)
        return np.concatenate(scores)


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
    """Rows of some whole trials."""
    share = processes.share(blocks(trials, index))
    return _Rows.concatenate(processes.gather([_Rows.of_trials(trials[i]) for i in share]))


@dataclass
class _Rows:
    """Samples or trials as rows of columns that belong to neurons.

    Attributes
    ----------
    imputed : ndarray (rows, columns)
        The guide, to learn from; NaN where nobody was recorded.
    seen : ndarray (rows, columns)
        What was observed, to be described and predicted; NaN elsewhere. What the guide has there
        was made of other neurons.
    """

    imputed: np.ndarray
    seen: np.ndarray

    @classmethod
    def of_samples(cls, trials):
        """Each sample of each trial."""
        trials = trials.samples()
        guide = _to_numpy(trials.guide)
        imputed, seen = guide, guide
        if trials.weight is not None:
            observed = _to_numpy(trials.weight) > 0
            imputed = np.where(observed.any(2, keepdims=True), guide, np.nan)
            seen = np.where(observed, guide, np.nan)
        return cls(*(a.reshape(-1, a.shape[2]) for a in (imputed, seen)))

    @classmethod
    def of_trials(cls, trials):
        """Each trial, in a few bins of time times neurons."""
        trials = trials.samples()
        guide = _to_numpy(trials.guide)
        if trials.weight is None:
            rows = _binned(guide)
            return cls(rows, rows)
        observed = _to_numpy(trials.weight)
        recorded = np.broadcast_to(observed.max(2, keepdims=True), observed.shape)
        return cls(_binned(guide, recorded), _binned(guide, observed))

    @classmethod
    def concatenate(cls, parts):
        """Rows of all parts."""
        imputed = np.concatenate([part.imputed for part in parts])
        if all(part.seen is part.imputed for part in parts):
            return cls(imputed, imputed)
        return cls(imputed, np.concatenate([part.seen for part in parts]))

    def __len__(self):
        return len(self.imputed)

    def __getitem__(self, index):
        imputed = self.imputed[index]
        return _Rows(imputed, imputed if self.seen is self.imputed else self.seen[index])

    def centred(self):
        """Means of columns, and rows less them, 0 where nobody was recorded."""
        if self.seen is self.imputed:
            mean = self.imputed.mean(axis=0)
            return mean, self.imputed - mean
        known = ~np.isnan(self.imputed)
        mean = np.where(known, self.imputed, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        return mean, np.where(known, self.imputed - mean, 0.0)

    def patterns(self):
        """Yield indices of rows of which the same columns were observed, and these columns."""
        if self.seen is self.imputed:
            yield np.arange(len(self)), np.ones(self.seen.shape[1], dtype=bool)
            return
        patterns, which = patterns_of(~np.isnan(self.seen))
        for k, columns in enumerate(patterns):
            yield np.flatnonzero(which == k), columns


def _to_numpy(values):
    """(time, trials, neurons) as (trials, time, neurons), float64."""
    return values.transpose(0, 1).cpu().numpy().astype(np.float64)


def _binned(Z, weight=None):
    """Trials (trials, time, neurons) as rows of a few bins of time times neurons.

    Each bin is the mean over its samples of weight 1, NaN where there is none.
    """
    n_steps = Z.shape[1]
    edges = np.linspace(0, n_steps, min(n_steps, MAX_BINS) + 1).round().astype(int)
    if weight is None:
        Z = np.add.reduceat(Z, edges[:-1], axis=1) / np.diff(edges)[:, np.newaxis]
    else:
        count = np.add.reduceat(weight, edges[:-1], axis=1)
        total = np.add.reduceat(np.where(weight > 0, Z, 0.0), edges[:-1], axis=1)
        Z = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return Z.reshape(len(Z), -1)


def _curve(rows, trial, neuron):
    """Sizes, and what they explain of rows (samples or trials) whose columns belong to neurons."""
    rng, n_neurons = np.random.RandomState(0), int(neuron.max()) + 1
    fold = (rng.permutation(int(trial.max()) + 1) % N_FOLDS)[trial]
    n_train = len(rows) - np.bincount(fold, minlength=N_FOLDS).max()
    most = max(1, min(n_train - 1, len(neuron) // 2))
    sizes = tuple(size for size in SIZES if size <= most)
    error, total = np.zeros(len(sizes)), 0.0
    for k in np.unique(fold):
        mean, train = rows[fold != k].centred()
        _, power, axes = _decompose(train, sizes[-1])
        whole, test = np.square(train).sum() / len(train), rows[fold == k]
        halves = [rng.permutation(n_neurons)[: n_neurons // 2] for _ in range(N_HALVES)]
        for which, columns in test.patterns():
            some = test.seen[which] - mean
            for half in halves:
                hidden = np.isin(neuron, half)
                split = hidden & columns, ~hidden & columns
                error += _errors(some, *split, axes, power, whole, sizes)
                total += np.square(some[:, split[0]]).sum()
    return sizes, 1 - error / max(total, np.finfo(float).tiny)


def _errors(rows, hidden, seen, axes, power, whole, sizes):
    """Squared errors of the hidden columns predicted from those seen, by size."""
    seen_axes, hidden_axes = axes[:, seen], axes[:, hidden]
    gram, across = seen_axes @ seen_axes.T, hidden_axes @ hidden_axes.T
    projected, target = rows[:, seen] @ seen_axes.T, rows[:, hidden] @ hidden_axes.T
    alone = np.square(rows[:, hidden]).sum()
    errors = []
    for n in sizes:
        rest = (whole - power[:n].sum()) / max(axes.shape[1] - n, 1)
        noise = max(rest, 1e-9 * whole, 1e-300)
        gain = np.sqrt(np.maximum(power[:n] - noise, 0.0))  # SD of each component
        scores = posterior_scores(gram[:n, :n], projected[:, :n], gain, noise) * gain
        fitted = np.einsum("ki,ij,kj->", scores, across[:n, :n], scores)
        errors.append(alone - 2 * (scores * target[:, :n]).sum() + fitted)
    return np.array(errors)


def posterior_scores(gram, projected, gain, noise):
    """Posterior means of components given some of the columns of rows.

    Probabilistic principal components (Tipping and Bishop 1999): components ~ N(0, 1) times their
    SDs `gain` along the axes, and noise of one variance. Of the columns that are seen `gram` has
    the products of the axes, and `projected` those with the rows.
    """
    system = gain[:, np.newaxis] * gram * gain + noise * np.eye(len(gain))
    return np.linalg.solve(system, gain[:, np.newaxis] * projected.T).T
