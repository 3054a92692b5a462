"""Choose how many principal components of samples, trials and free runs are worth having.

The answer is: as many as help to predict held-out neurons. Components of the training trials
describe left-out trials from most of their neurons and predict the others. With too many
components they also describe noise, which belongs to single neurons and predicts no others; with
too few they miss what neurons have in common (docs/model.md, eq. 16). Only principal components
are fitted, so the answer takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.utils.extmath import randomized_svd

from ._distributed import ALONE
from ._missing import patterns_of
from ._trials import blocks, sample_of

__all__ = [
    "ENOUGH_TRIALS",
    "Rows",
    "RunComponents",
    "SizeCurve",
    "axes_of_samples",
    "components_of_trials",
    "decompose",
    "posterior_scores",
    "profiles",
    "some_trials",
]

TOLERANCE = 0.001  # share by which the prediction may fall short of the best
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40)
N_FOLDS, N_PARTS = 8, 8  # of the trials and of the neurons
MAX_TRIALS, MAX_SAMPLES = 400, 6000  # by which sizes are judged
MAX_VALUES = 2**25  # held in memory at a time: 256 MB
ENOUGH_TRIALS = 16  # to tell how many components they need
ENOUGH_NEURONS = 4  # to predict some from the others
MAX_BINS = 24  # time bins in the description of whole trials
RUN_SHARE, MAX_RUN_COMPONENTS = 0.99, 64  # share of the variance of free runs to keep; maximum


@dataclass
class SizeCurve:
    """Predicted share of the variance of held-out neurons, by number of components.

    Parameters
    ----------
    sizes : tuple of int
        Numbers of components.
    explained : ndarray (sizes,)
        Share of the variance predicted with each.
    """

    sizes: tuple
    explained: np.ndarray

    @property
    def best(self):
        """Smallest size whose prediction is the best to within `TOLERANCE`."""
        most = self.explained.max()
        return self.sizes[int(np.argmax(self.explained >= most - TOLERANCE * abs(most)))]

    @property
    def still_rises(self):
        """Whether the largest size is the best, so that noise sets no limit."""
        return int(np.argmax(self.explained)) == len(self.sizes) - 1

    def __str__(self):
        pairs = zip(self.sizes, self.explained, strict=True)
        return ", ".join(f"{size}: {explained:.3f}" for size, explained in pairs)


def axes_of_samples(trials):
    """Compute the `SizeCurve` of principal components of single samples."""
    _, _, n_neurons = trials.shape
    index = some_trials(trials, n_neurons)
    n_samples = len(range(0, trials.n_steps, trials.every))
    every = -(-len(index) * n_samples // min(MAX_SAMPLES, max(1, MAX_VALUES // n_neurons)))
    kept = np.arange(len(index) * n_samples) % every == 0
    parts, first = [], 0
    for i in blocks(trials, index):
        some = Rows.of_samples(trials[i])
        parts.append(some[kept[first : first + len(some)]])
        first += len(some)
    rows, trial = Rows.concatenate(parts), np.repeat(np.arange(len(index)), n_samples)[kept]
    recorded = ~np.isnan(rows.imputed[:, 0])
    return SizeCurve(*_curve(rows[recorded], trial[recorded], np.arange(n_neurons)))


def components_of_trials(trials):
    """Compute the `SizeCurve` of principal components of whole trials.

    Returns None if there are too few trials, or too few neurons to share anything.
    """
    n_steps, _, n_neurons = trials.shape
    if len(trials) < ENOUGH_TRIALS or n_neurons < ENOUGH_NEURONS:
        return None
    rows = profiles(trials, some_trials(trials, min(n_steps, MAX_BINS) * n_neurons))
    neuron = np.tile(np.arange(n_neurons), rows.imputed.shape[1] // n_neurons)
    return SizeCurve(*_curve(rows, np.arange(len(rows)), neuron))


@dataclass
class RunComponents:
    """Principal components of free runs.

    Attributes
    ----------
    mean : ndarray (columns,)
    axes : ndarray (components, columns)
    unit : ndarray (components,), optional
        Factors of scores that stand beside embeddings. Older files have none.
    """

    mean: np.ndarray
    axes: np.ndarray
    unit: np.ndarray | None = None

    @classmethod
    def learn(cls, runs, embedding):
        """Keep components with most of the variance of runs, blocks (trials, time, neurons).

        Beside their embeddings, scores get the same total variance. As in the gauge
        (docs/model.md, eq. 10), SDs are then square roots of those of the activity.
        """
        rows = np.concatenate([_binned(block) for block in runs])
        mean, most = rows.mean(axis=0), min(MAX_RUN_COMPONENTS, *rows.shape)
        _, power, axes = decompose(rows - mean, most)
        whole = np.square(rows - mean).sum() / len(rows)
        n = 1 + int((power.cumsum() < RUN_SHARE * whole).sum())
        n = min(n, most)
        axes = axes[:n]
        largest = np.take_along_axis(axes, np.abs(axes).argmax(1)[:, np.newaxis], axis=1)
        sd = np.sqrt(np.where(power[:n] > 0, power[:n], 1.0))  # 0 if all runs are alike
        unit = np.sqrt(embedding.var(axis=0).sum() / sd.sum() / sd)
        return cls(mean, axes * np.sign(largest), unit)

    def __call__(self, runs):
        """Compute scores (trials, components) of free runs of the same length, in blocks.

        Neurons that joined the model after the components were learned do not count.
        """
        scores = []
        for block in runs:
            n_neurons = len(self.mean) // min(block.shape[1], MAX_BINS)
            scores.append((_binned(block[:, :, :n_neurons]) - self.mean) @ self.axes.T)
        return np.concatenate(scores)


def decompose(rows, n):
    """Compute left singular vectors, variances and axes (n, columns) of n leading components."""
    left, singular, axes = randomized_svd(rows, n, random_state=0)
    return left, np.square(singular) / len(rows), axes


def some_trials(trials, n_columns, most=MAX_TRIALS):
    """Choose a fixed subset of trials that fits into memory as rows of `n_columns` columns."""
    index = sample_of(trials)
    order = np.random.RandomState(0).permutation(len(index))
    most = min(most, max(MAX_VALUES // n_columns, ENOUGH_TRIALS))
    return index[np.sort(order[:most])]


def profiles(trials, index, processes=ALONE):
    """Convert some whole trials to rows."""
    share = processes.share(blocks(trials, index))
    return Rows.concatenate(processes.gather([Rows.of_trials(trials[i]) for i in share]))


@dataclass
class Rows:
    """Samples or trials as rows of columns that belong to neurons.

    Attributes
    ----------
    imputed : ndarray (rows, columns)
        The guide, to learn from; NaN where nothing was recorded.
    seen : ndarray (rows, columns)
        The observed values, to describe and predict; NaN elsewhere, where the guide was imputed
        from other neurons.
    """

    imputed: np.ndarray
    seen: np.ndarray

    @classmethod
    def of_samples(cls, trials):
        """Make a row of each sample of each trial."""
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
        """Make a row of each trial, from a few time bins times neurons."""
        trials = trials.samples()
        guide = _to_numpy(trials.guide)
        if trials.weight is None:
            rows = _binned(guide)
            return cls(rows, rows)
        observed = trials.weight.transpose(0, 1).cpu().numpy() > 0
        recorded = observed.any(2, keepdims=True)  # counted once for all neurons
        return cls(_binned(guide, recorded), _binned(guide, observed))

    @classmethod
    def concatenate(cls, parts):
        """Join the rows of all parts."""
        imputed = np.concatenate([part.imputed for part in parts])
        if all(part.seen is part.imputed for part in parts):
            return cls(imputed, imputed)
        return cls(imputed, np.concatenate([part.seen for part in parts]))

    def __len__(self):
        return len(self.imputed)

    def __getitem__(self, index):
        imputed = self.imputed[index]
        return Rows(imputed, imputed if self.seen is self.imputed else self.seen[index])

    def centred(self):
        """Compute column means and centred rows, 0 where nothing was recorded."""
        if self.seen is self.imputed:
            mean = self.imputed.mean(axis=0)
            return mean, self.imputed - mean
        known = ~np.isnan(self.imputed)
        mean = np.where(known, self.imputed, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        return mean, np.where(known, self.imputed - mean, 0.0)

    def patterns(self):
        """Yield indices of rows with the same observed columns, and these columns."""
        if self.seen is self.imputed:
            yield np.arange(len(self)), np.ones(self.seen.shape[1], dtype=bool)
            return
        patterns, which = patterns_of(~np.isnan(self.seen))
        for k, columns in enumerate(patterns):
            yield np.flatnonzero(which == k), columns


def _to_numpy(values):
    """Convert (time, trials, neurons) to (trials, time, neurons), float64."""
    return values.transpose(0, 1).cpu().numpy().astype(np.float64)


def _binned(Z, seen=None):
    """Convert trials (trials, time, neurons) to rows of a few time bins times neurons.

    Each bin is the mean over the samples that were `seen` (bool), NaN if there are none.
    """
    n_steps = Z.shape[1]
    edges = np.linspace(0, n_steps, min(n_steps, MAX_BINS) + 1).round().astype(int)
    add = np.repeat(np.eye(len(edges) - 1), np.diff(edges), axis=1)  # (bins, time)
    if seen is None:
        Z = add @ Z / np.diff(edges)[:, np.newaxis]
    else:
        count = add @ seen.astype(float)
        Z = np.where(count > 0, add @ np.where(seen, Z, 0.0) / np.maximum(count, 1), np.nan)
    return Z.reshape(len(Z), -1)


def _curve(rows, trial, neuron):
    """Find the share explained by each size, for rows whose columns belong to neurons."""
    rng, n_neurons = np.random.RandomState(0), int(neuron.max()) + 1
    fold = (rng.permutation(int(trial.max()) + 1) % N_FOLDS)[trial]
    n_train = len(rows) - np.bincount(fold, minlength=N_FOLDS).max()
    most = max(1, min(n_train - 1, len(neuron) // 2))
    sizes = tuple(size for size in SIZES if size <= most)
    error, total = np.zeros(len(sizes)), 0.0
    for k in np.unique(fold):
        mean, train = rows[fold != k].centred()
        _, power, axes = decompose(train, sizes[-1])
        whole, test = np.square(train).sum() / len(train), rows[fold == k]
        part = rng.permutation(n_neurons) % N_PARTS
        for which, columns in test.patterns():
            some, own, of = (test.seen[which] - mean)[:, columns], axes[:, columns], part[neuron]
            gram, projected = own @ own.T, some @ own.T
            for hidden in np.unique(part):
                left_out = of[columns] == hidden
                target = some[:, left_out], own[:, left_out]
                error += _errors(*target, gram, projected, power, whole, sizes, axes.shape[1])
                total += np.square(target[0]).sum()
    return sizes, 1 - error / max(total, np.finfo(float).tiny)


def _errors(hidden, axes, gram, projected, power, whole, sizes, n_columns):
    """Compute squared errors of hidden columns predicted from the others, by size.

    `axes` are those of the hidden columns; `gram` and `projected` are sums over all columns.
    """
    across, target = axes @ axes.T, hidden @ axes.T
    gram, projected, alone = gram - across, projected - target, np.square(hidden).sum()
    errors = []
    for n in sizes:
        rest = (whole - power[:n].sum()) / max(n_columns - n, 1)
        noise = max(rest, 1e-9 * whole, 1e-300)
        gain = np.sqrt(np.maximum(power[:n] - noise, 0.0))  # SD of each component
        scores = posterior_scores(gram[:n, :n], projected[:, :n], gain, noise) * gain
        fitted = np.einsum("ki,ij,kj->", scores, across[:n, :n], scores)
        errors.append(alone - 2 * (scores * target[:, :n]).sum() + fitted)
    return np.array(errors)


def posterior_scores(gram, projected, gain, noise):
    """Compute posterior means of components given some of the columns of rows.

    The model is probabilistic PCA (Tipping and Bishop 1999): components ~ N(0, 1), scaled by
    their SDs `gain` along the axes, and noise of equal variance in all columns. For the columns
    that are seen, `gram` has the products of the axes with each other, and `projected` their
    products with the rows.
    """
    system = gain[:, np.newaxis] * gram * gain + noise * np.eye(len(gain))
    return np.linalg.solve(system, gain[:, np.newaxis] * projected.T).T
