"""Trials without most of their noise: what principal components of whole trials say of each.

The closed form explains these, and so does training while teacher forcing falls, unless inputs are
known. After that it explains the trials as they are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ._components import MAX_BINS, Rows, decompose, posterior_scores, profiles, some_trials
from ._distributed import ALONE
from ._trials import SessionTrials, blocks

__all__ = ["DenoisedTrials", "denoised"]

MAX_MAPS = 2**26  # values in the maps that denoise trials: 256 MB


def denoised(trials, curve, n_components=1, observation=None, processes=ALONE):
    """Replace trials by their reconstruction from principal components.

    The number of components is the one that best predicts held-out neurons, by the curve of
    `components_of_trials`, but at least `n_components`, those of an embedding that is to describe
    the trials. If even more components would predict neurons better, the noise is small and the
    trials stay as they are; so do trials that are too few.
    """
    n_steps, _, n_neurons = trials.shape
    if curve is None or curve.still_rises:
        return trials
    n_components = max(curve.best, n_components)
    if (n_components + 1) * n_steps * n_neurons > MAX_MAPS:
        return trials
    return DenoisedTrials(trials, n_components, observation, processes)


class DenoisedTrials:
    """Trials whose guide, and values, come from a few components of whole trials.

    The scores of all trials are computed at once, what follows from them when it is asked for.

    Parameters
    ----------
    trials : Trials or LazyTrials
        Trials to denoise.
    n_components : int
        Number of principal components.
    observation : Observation, optional
        Observation model of the trials, which `clean` needs.
    processes : Processes
        Each process goes through its share of the trials.
    """

    def __init__(self, trials, n_components, observation=None, processes=ALONE):
        n_steps, n_trials, n_neurons = self.shape = trials.shape
        self.trials, self.n_inputs, self.observation = trials, trials.n_inputs, observation
        self.dtype, self.device, self.every = trials.dtype, trials.device, trials.every
        sample = some_trials(trials, min(n_steps, MAX_BINS) * n_neurons, n_trials)
        rows = profiles(trials, sample, processes)
        self.mean, centred = rows.centred()
        left, power, self.axes = decompose(centred, n_components)
        self.noise = max(np.square(centred).sum() / len(rows) - power.sum(), 0.0)
        self.noise /= max(centred.shape[1] - n_components, 1)
        self.noise = max(self.noise, 1e-9 * power.sum(), 1e-300)
        self.gain = np.sqrt(np.maximum(power - self.noise, 0.0))
        scores = torch.as_tensor(left * len(rows) ** 0.5, dtype=trials.dtype, device=self.device)
        scores = torch.cat([torch.ones_like(scores[:, :1]), scores], 1)
        share = blocks(trials, sample)
        parts = list(zip(share, scores.split([len(i) for i in share]), strict=True))
        self.maps, self.value_maps = self._regress(parts, processes)
        self.scores = torch.zeros(n_trials, n_components + 1, dtype=self.dtype, device=self.device)
        for i in processes.share(blocks(trials)):
            self.scores[i] = self._scores_of(trials[i])
        processes.sum_(self.scores)

    def _regress(self, parts, processes):
        """Regress guide and values on scores at each time: maps (time, 1 + n_components, neurons).

        The ridge is the noise over the mean square of the entries of a map: not all of what a
        component says of its training trials is signal. Few trials may last to the end, and do
        not tell the maps there from noise at all.
        """
        n_steps, _, n_neurons = self.shape
        n, own = len(self.gain) + 1, bool(self.observation and self.observation.complete)
        products = torch.zeros(1 + own, n_steps, n, n_neurons, dtype=self.dtype)
        moments = torch.zeros(n_steps, n, n, dtype=self.dtype)
        products, moments = products.to(self.device), moments.to(self.device)
        for i, score in processes.share(parts):
            some = self.trials[i]
            recorded = some.recorded().to(self.dtype)  # (time, trials)
            explained = [some.guide, self.observation.complete(some)] if own else [some.guide]
            for sums, values in zip(products, explained, strict=True):
                sums += torch.einsum("tk,kd,tkn->tdn", recorded, score, values)
            moments += torch.einsum("tk,kd,ke->tde", recorded, score, score)
        processes.sum_(products, moments)
        # entries of a map: their mean square, about, in units of which scores have variance 1
        size = np.square(self.gain) / len(self.mean)
        size = np.maximum(size, 1e-9 * size.max())
        ridge = torch.as_tensor(self.noise / np.maximum(size, np.finfo(float).tiny))
        system = moments.cpu().double()
        system.diagonal(dim1=1, dim2=2)[:, 1:] += ridge
        system[:, 0, 0] += system[:, 0, 0] == 0  # no trial was recorded
        shrink = self.gain / np.sqrt(np.square(self.gain) + self.noise)  # as posterior scores are
        shrink = torch.as_tensor(np.concatenate([[1.0], shrink]))[:, None]
        maps = list(products)  # where they replace the products
        for each in maps:
            for t, sums in enumerate(each):  # one time at a time: float64 takes twice the memory
                each[t] = torch.linalg.solve(system[t], sums.cpu().double()) * shrink
        return maps[0], maps[-1]

    def _scores_of(self, some):
        """Compute 1 and the posterior means of the components of trials."""
        rows = Rows.of_trials(some)
        scores = np.ones((len(rows), len(self.axes) + 1))
        for which, seen in rows.patterns():
            axes = self.axes[:, seen]
            projected = (rows.seen[which] - self.mean)[:, seen] @ axes.T
            scores[which, 1:] = posterior_scores(axes @ axes.T, projected, self.gain, self.noise)
        return torch.as_tensor(scores, dtype=self.dtype, device=self.device)

    def _of_scores(self, index, maps, neurons):
        maps = maps if neurons is None else maps[:, :, neurons]
        return self.scores[index] @ maps

    def __len__(self):
        return self.shape[1]

    def __getitem__(self, index):
        """Select some of the trials; only their guide is denoised."""
        some = self.trials[index]
        return replace(some, guide=self._of_scores(index, self.maps, None))

    def release(self):
        """Forget the trials themselves, which `clean` does not need."""
        self.trials = None

    def clean(self, some, index):
        """Denoise values and guide of trials that have these indices among all."""
        if isinstance(some, SessionTrials):
            return some.mapped(lambda where, trials: self.clean(trials, index[where]))
        guide = self._of_scores(index, self.maps, some.neurons)
        values = guide
        if self.value_maps is not self.maps:
            values = self._of_scores(index, self.value_maps, some.neurons)
        return self.observation.denoised(some, guide, values)
