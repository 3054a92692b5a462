"""What stands in for samples that are missing (NaN), where a number is needed.

The squared error never counts what was filled in. It is used where a run needs a value: as its
initial state, and where teacher forcing pulls it. Gaps in a neuron's trial are interpolated in
time; a neuron missing from a whole trial, or before its first or after its last sample, is
predicted from the others by the principal axes of the training data. Where nobody was recorded
any more, or yet, values are held.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.utils.extmath import randomized_svd

from ._stored import StoredTrials, part

__all__ = ["Filler"]

N_AXES, N_SAMPLES, N_ROUNDS = 40, 5000, 10


@dataclass
class Filler:
    """Principal axes of scaled activity, (neurons, k), each as long as its SD, and the noise."""

    axes: np.ndarray
    noise: float

    @classmethod
    def learn(cls, X, states):
        """Axes of trials X (trials, time, neurons), NaN where missing; `states` scales each."""
        # Neurons missing from whole trials: expectation-maximisation from zeros
        chosen = np.arange(len(X))
        if len(X) > N_SAMPLES:
            chosen = np.sort(np.random.RandomState(0).permutation(len(X))[:N_SAMPLES])
        every = max(1, len(chosen) * X.shape[1] // N_SAMPLES)
        rows = []
        some = part(X, chosen) if isinstance(X, StoredTrials) else (X[k] for k in chosen)
        for i, trial in enumerate(some):
            z = states(trial)
            seen = np.isfinite(z).any(axis=1)  # not the samples that nobody recorded
            rows.append(interpolate(z)[seen][i % every :: every].copy())
        ends = np.cumsum([len(z) for z in rows])
        Z = np.concatenate(rows)
        known = np.isfinite(Z)
        guess = [
            slice(end - len(z), end)
            for z, end in zip(rows, ends, strict=True)
            if np.isnan(z).any()
        ]
        Z = np.where(known, Z, 0.0)
        n_axes = min(N_AXES, *Z.shape)
        for _ in range(N_ROUNDS if guess else 1):
            _, size, axes = randomized_svd(Z, n_axes, random_state=0)
            size = size / np.sqrt(len(Z))
            rest = max(np.square(Z).mean() * Z.shape[1] - np.square(size).sum(), 0.0)
            noise = max(rest / Z.shape[1], 1e-6 * np.square(size).max(), 1e-30)
            filler = cls(axes.T * size, noise)
            for i in guess:
                Z[i] = filler.predict(np.where(known[i], Z[i], np.nan))
        return filler

    def __call__(self, z):
        """A trial (time, neurons) without gaps."""
        known = np.isfinite(z)
        if known.all():
            return z
        begun = np.logical_or.accumulate(known)
        inside = begun & np.logical_or.accumulate(known[::-1])[::-1]
        out = interpolate(z)
        patterns, which = np.unique(inside, axis=0, return_inverse=True)
        for k, has in enumerate(patterns):
            has = has if has.any() else known.any(axis=0)
            rows = which.ravel() == k
            out[rows] = self.predict(np.where(has, out[rows], np.nan))
        return out

    def predict(self, z):
        """Neurons that are NaN throughout, from the others (time, neurons)."""
        missing = np.isnan(z[0])
        if not missing.any():
            return z
        A = self.axes[~missing]
        gram = A.T @ A + self.noise * np.eye(A.shape[1])
        z = z.copy()
        z[:, missing] = np.linalg.solve(gram, A.T @ z[:, ~missing].T).T @ self.axes[missing].T
        return z


def interpolate(z):
    """Gaps of a trial (time, neurons) filled linearly in time, ends held."""
    known = np.isfinite(z)
    if known.all():
        return z
    time = np.arange(len(z))[:, np.newaxis]
    before = np.maximum.accumulate(np.where(known, time, -1))
    after = np.minimum.accumulate(np.where(known, time, len(z))[::-1])[::-1]
    left = np.where(before < 0, after, before)  # before the first value: that value
    right = np.where(after == len(z), before, after)
    never = ~known.any(axis=0)
    left, right = (np.where(never, 0, index) for index in (left, right))
    share = (time - left) / np.maximum(right - left, 1)
    start, end = np.take_along_axis(z, left, 0), np.take_along_axis(z, right, 0)
    return np.where(known, z, start + share * (end - start))
