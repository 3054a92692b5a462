"""Choose how many principal components of samples, trials and free runs are worth having.

The answer is: as many as help to predict held-out neurons. Components of the training trials
describe left-out trials from one half of their neurons and predict the other half. With too many
components they also describe noise, which belongs to single neurons and predicts no others; with
too few they miss what neurons have in common (docs/model.md, eq. 16). Only principal components
are fitted, so the answer takes seconds.
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

TOLERANCE = 0.001  # share by which the prediction may fall short of the best
SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40)
N_FOLDS, N_HALVES = 4, 4
MAX_TRIALS, MAX_SAMPLES = 400, 6000  # by which sizes are judged
MAX_VALUES = 2**25  # held in memory at a time: 256 MB
MAX_MAPS = 2**26  # values in the maps that denoise trials: 256 MB
ENOUGH_TRIALS = 16  # to tell how many components they need
ENOUGH_NEURONS = 4  # to predict one half from the other
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
    tolerance : float
        Share by which the prediction may fall short of the best.
    """

    sizes: tuple
    explained: np.ndarray
    tolerance: float = 0.0

    @property
    def best(self):
        """Smallest size whose prediction is the best to within the tolerance."""
        most = self.explained.max()
        return self.sizes[int(np.argmax(self.explained >= most - self.tolerance * abs(most)))]

    @property
    def still_rises(self):
        """Whether the largest size is the best, so that noise sets no limit."""
        return int(np.argmax(self.explained)) == len(self.sizes) - 1

    def __str__(self):
        pairs = zip(self.sizes, self.explained, strict=True)
        return ", ".join(f"{size}: {explained:.3f}" for size, explained in pairs)


def axes_of_samples(trials, tolerance=TOLERANCE):
    """Compute the `SizeCurve` of principal components of single samples."""
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
    """Compute the `SizeCurve` of principal components of whole trials.

    Returns None if there are too few trials, or too few neurons to share anything.
    """
    n_steps, _, n_neurons = trials.shape
    if len(trials) < ENOUGH_TRIALS or n_neurons < ENOUGH_NEURONS:
        return None
    rows = _profiles(trials, _some(trials, min(n_steps, MAX_BINS) * n_neurons))
    neuron = np.tile(np.arange(n_neurons), rows.imputed.shape[1] // n_neurons)
    return SizeCurve(*_curve(rows, np.arange(len(rows)), neuron), TOLERANCE)


def denoised(trials, curve, processes=ALONE):
    """Replace the guide of trials by its reconstruction from principal components.

    The number of components is the one that best predicts held-out neurons, by the curve of
    `components_of_trials`. If even more components would predict them better, the noise is small
    and the trials stay as they are; so do trials that are too few.
    """
    n_steps, _, n_neurons = trials.shape
    if curve is None or curve.still_rises:
        return trials
    if (curve.best + 1) * n_steps * n_neurons > MAX_MAPS:
        return trials
    return DenoisedTrials(trials, curve.best, processes)


class DenoisedTrials:
    """Trials whose guide comes from a few components of whole trials, computed when indexed.

    Parameters
    ----------
    trials : Trials or LazyTrials
        Trials to denoise.
    n_components : int
        Number of principal components.
    processes : Processes
        Each process goes through its share of the trials.
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
        # mean, and contribution of each component, (time, 1 + n_components, neurons)
        maps = scores.new_zeros(n_steps, n_components + 1, n_neurons)
        moments = scores.new_zeros(n_steps, n_components + 1, n_components + 1)
        share = blocks(trials, sample)
        parts = list(zip(share, scores.split([len(i) for i in share]), strict=True))
        for i, score in processes.share(parts):
            some = trials[i]
            recorded = some.recorded().to(maps.dtype)  # (time, trials)
            maps += torch.einsum("tk,kd,tkn->tdn", recorded, score, some.guide)
            moments += torch.einsum("tk,kd,ke->tde", recorded, score, score)
        processes.sum_(maps, moments)
        if (moments[:, 0, 0] < len(rows)).any():
            maps = self._regressed(maps, moments, rows.shape[1])
        else:  # scores are uncorrelated
            maps /= len(rows)
        maps = maps.transpose(0, 1).contiguous()
        shrink = self.gain / np.sqrt(np.maximum(power, np.finfo(float).tiny))
        maps[1:] *= torch.as_tensor(shrink, dtype=maps.dtype, device=maps.device)[:, None, None]
        self.maps = maps

    def _regressed(self, products, moments, n_columns):
        """Regress the guide on scores at each time, with ridge.

        Few trials may last to the end, and do not tell the maps there from noise. The ridge is
        the noise over the mean square of the entries of a map.
        """
        size = np.maximum(np.square(self.gain), 1e-9 * np.square(self.gain).max()) / n_columns
        ridge = torch.as_tensor(self.noise / np.maximum(size, np.finfo(float).tiny))
        system = moments.cpu().double()
        system.diagonal(dim1=1, dim2=2)[:, 1:] += ridge
        system[:, 0, 0] += system[:, 0, 0] == 0  # no trial was recorded
        return torch.linalg.solve(system, products.cpu().double()).to(products)

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
        _, power, axes = _decompose(rows - mean, most)
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


def _decompose(rows, n):
    """Compute left singular vectors, variances and axes (n, columns) of n leading components."""
    left, singular, axes = randomized_svd(rows, n, random_state=0)
    return left, np.square(singular) / len(rows), axes


def _some(trials, n_columns, most=MAX_TRIALS):
    """Choose a fixed subset of trials that fits into memory as rows of `n_columns` columns."""
    index = sample_of(trials)
    order = np.random.RandomState(0).permutation(len(index))
    most = min(most, max(MAX_VALUES // n_columns, ENOUGH_TRIALS))
    return index[np.sort(order[:most])]


def _profiles(trials, index, processes=ALONE):
    """Convert some whole trials to rows."""
    share = processes.share(blocks(trials, index))
    return _Rows.concatenate(processes.gather([_Rows.of_trials(trials[i]) for i in share]))


@dataclass
class _Rows:
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
        return _Rows(imputed, imputed if self.seen is self.imputed else self.seen[index])

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
    """Compute squared errors of hidden columns predicted from those seen, by size."""
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
    """Compute posterior means of components given some of the columns of rows.

    The model is probabilistic PCA (Tipping and Bishop 1999): components ~ N(0, 1), scaled by
    their SDs `gain` along the axes, and noise of equal variance in all columns. For the columns
    that are seen, `gram` has the products of the axes with each other, and `projected` their
    products with the rows.
    """
    system = gain[:, np.newaxis] * gram * gain + noise * np.eye(len(gain))
    return np.linalg.solve(system, gain[:, np.newaxis] * projected.T).T
