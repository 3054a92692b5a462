"""How missing samples (NaN) are imputed when a number is needed.

The squared error never counts imputed values. They are used only where a run needs a value: as
its initial state, and for teacher forcing. Gaps in a neuron's trial are interpolated in time. A
neuron missing from a whole trial, or before its first or after its last sample, is predicted from
the others by the principal axes of the training data. These are the axes of samples or, if no
trial links groups of neurons, as in sessions, of the means of conditions. Before any neuron was
recorded, or after the last one, values are held constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.utils.extmath import randomized_svd

from ._stored import StoredTrials, part

__all__ = ["Imputer", "groups_of_neurons", "needed", "patterns_of", "sessions_of"]

N_AXES, N_SAMPLES, N_ROUNDS = 40, 5000, 10
RCOND = 1e-3  # relative cutoff of scores that explain new neurons
MAX_GROUPS = 128  # of neurons recorded with the same others; each is regressed on the rest
LEAST_POWER = 0.001  # share of the largest variance of links between groups that may be noise


@dataclass
class Imputer:
    """Principal axes of scaled activity, (neurons, k), with the length of their SDs, and noise."""

    axes: np.ndarray
    noise: float

    apart = False  # whether it was learned from groups of neurons that no trial links

    @classmethod
    def learn(cls, X, states, codes=None):
        """Learn axes from trials X (trials, time, neurons), NaN where missing.

        `states` scales a trial. Groups of neurons that were never recorded in the same trial, as
        in sessions, are aligned by the means of conditions; `codes` holds the condition of each
        trial. Groups that are linked by other neurons, recorded with both, are aligned by these
        links or by the means, whichever explain more. The means are considered only if every two
        neurons have a condition in common.
        """
        # neurons missing from whole trials need expectation-maximisation, which starts at zeros
        chosen = np.arange(len(X))
        if len(X) > N_SAMPLES:
            chosen = np.sort(np.random.RandomState(0).permutation(len(X))[:N_SAMPLES])
        every = max(1, len(chosen) * X.shape[1] // N_SAMPLES)
        rows, patterns = [], set()
        some = part(X, chosen) if isinstance(X, StoredTrials) else (X[k] for k in chosen)
        for i, trial in enumerate(some):
            z = states(trial)
            known = np.isfinite(z)
            seen = known.any(axis=1)  # without samples in which no neuron was recorded
            patterns.add(known.any(axis=0).tobytes())
            rows.append(interpolate(z)[seen][i % every :: every].copy())
        together = np.stack([np.frombuffer(p, dtype=bool) for p in sorted(patterns)])
        group = groups_of_neurons(together)
        if group.max():
            _refuse_unaligned(X, group, codes)
            imputer = cls._of_conditions(X, states, codes)[0]
            imputer.apart = True
            return imputer
        Z = np.concatenate(rows)
        known = np.isfinite(Z)
        Z, start = np.where(known, Z, 0.0), None
        if not known.all() and (found := imputed_by_links(Z, known)) is not None:
            # expectation-maximisation from zeros would leave the groups unaligned
            start, share = found
            if codes is not None and _all_meet(X, codes):
                imputer, other_share = cls._of_conditions(X, states, codes)
                if other_share > share:
                    start = imputer.complete(np.where(known, Z, np.nan))
        return cls._of_samples(Z, known, start)[0]

    @classmethod
    def _of_samples(cls, Z, known, start=None):
        """Learn axes from samples (rows) by expectation-maximisation; also return imputed samples.

        Missing values are 0 in Z. `start`, if given, holds a first guess of them.
        """
        whole, imputed = known.all(axis=1), (Z if start is None else start).copy()
        n_axes = min(N_AXES, *Z.shape)
        for _ in range(1 if whole.all() else N_ROUNDS):
            _, size, axes = randomized_svd(imputed, n_axes, random_state=0)
            size = size / np.sqrt(len(Z))
            rest = max(np.square(imputed).mean() * Z.shape[1] - np.square(size).sum(), 0.0)
            noise = max(rest / Z.shape[1], 1e-6 * np.square(size).max(), 1e-30)
            imputer = cls(axes.T * size, noise)
            imputed[~whole] = imputer.complete(np.where(known, Z, np.nan)[~whole])
        return imputer, imputed

    @classmethod
    def _of_conditions(cls, X, states, codes):
        """Learn axes from the means of conditions over the trials that have each neuron.

        Also return the share of the variance of samples that these means explain beyond chance.
        """
        n_steps, n_neurons = X.shape[1:]
        every = max(1, (codes.max() + 1) * n_steps // N_SAMPLES)
        total, count = np.zeros((2, codes.max() + 1, -(-n_steps // every), n_neurons))
        (squares, n_seen), some = np.zeros((2, n_neurons)), 0.0
        for trial, code in zip(X, codes, strict=True):
            z = states(trial)
            known = np.isfinite(z)
            z = np.where(known, z, 0.0)
            squares += np.square(z).sum(axis=0)
            n_seen += known.sum(axis=0)
            total[code] += z[::every]
            count[code] += known[::every]
            some += np.square(z[::every]).sum()
        Z = np.where(count > 0, total / np.maximum(count, 1), np.nan).reshape(-1, n_neurons)
        known = np.isfinite(Z)
        Z, known = Z[known.any(axis=1)], known[known.any(axis=1)]
        given, Z = np.where(known, Z, np.nan), np.where(known, Z, 0.0)
        variance = squares / np.maximum(n_seen, 1)
        for _ in range(N_ROUNDS if not known.all() else 1):
            _, size, axes = randomized_svd(Z, min(N_AXES, *Z.shape), random_state=0)
            axes = axes.T * size / np.sqrt(len(Z))
            # the noise is the scatter of single samples about the axes, since these are imputed
            rest = (variance - np.square(axes).sum(axis=1)).mean()
            imputer = cls(axes, max(rest, 1e-6 * np.square(size).max() / len(Z), 1e-30))
            Z = imputer.complete(given)
        n, n_means = count.sum(), (count > 0).sum()
        within = some - (np.square(total) / np.maximum(count, 1)).sum()
        return imputer, 1 - within / max(n - n_means, 1) * n / max(some, 1e-300)

    def joined(self, known, new):
        """Append neurons, given samples (rows) without noise of known and new neurons."""
        gram = self.axes.T @ self.axes + self.noise * np.eye(self.axes.shape[1])
        scores = np.linalg.solve(gram, self.axes.T @ known.T).T
        axes = np.linalg.lstsq(scores, new, rcond=RCOND)[0]
        return Imputer(np.concatenate([self.axes, axes.T]), self.noise)

    def take(self, neurons):
        """Select some of the neurons."""
        return Imputer(self.axes[neurons], self.noise)

    def complete(self, z):
        """Replace NaN in rows (samples, neurons) with predictions from the rest of each row."""
        out = z.copy()
        patterns, which = patterns_of(np.isfinite(z))
        for k in range(len(patterns)):
            rows = which == k
            out[rows] = self.predict(z[rows])
        return out

    def __call__(self, z):
        """Impute the gaps of a trial (time, neurons)."""
        known = np.isfinite(z)
        if known.all():
            return z
        begun = np.logical_or.accumulate(known)
        inside = begun & np.logical_or.accumulate(known[::-1])[::-1]
        held = np.where(inside.any(axis=1, keepdims=True), inside, known.any(axis=0))
        return self.complete(np.where(held, interpolate(z), np.nan))

    def predict(self, z):
        """Predict neurons that are NaN throughout from the others, (time, neurons)."""
        missing = np.isnan(z[0])
        if not missing.any():
            return z
        A = self.axes[~missing]
        gram = A.T @ A + self.noise * np.eye(A.shape[1])
        z = z.copy()
        z[:, missing] = np.linalg.solve(gram, A.T @ z[:, ~missing].T).T @ self.axes[missing].T
        return z


def imputed_by_links(Z, known):
    """Impute, in rows Z (samples, neurons), neurons never recorded with some of the row's own.

    They are regressed on links: neurons of the row that were recorded with them elsewhere, or
    were imputed before. Other missing values stay 0. Also return the smallest share of variance
    that links explain. Return None if every two neurons were recorded together.
    """
    have = known.T.astype(float) @ known > 0
    if have.all():
        return None
    groups, which = np.unique(have, axis=0, return_inverse=True)
    if len(groups) > MAX_GROUPS:
        return Z, 0.0
    members = [np.flatnonzero(which.ravel() == k) for k in range(len(groups))]
    present = np.stack([known[:, m].any(axis=1) for m in members], axis=1)
    Z, share = Z.copy(), 1.0
    kinds, kind = np.unique(present, axis=0, return_inverse=True)
    for k, here in enumerate(kinds):  # first, gaps of neurons that were recorded together
        columns = np.concatenate([members[g] for g in np.flatnonzero(here)])
        part = np.ix_(kind.ravel() == k, columns)
        Z[part] = Imputer._of_samples(Z[part], known[part])[1]
    while True:
        kinds, kind = np.unique(present, axis=0, return_inverse=True)
        before, kind = present.copy(), kind.ravel()
        for here, new in product(range(len(kinds)), range(len(groups))):
            with_new = kinds[:, new]
            if kinds[here, new] or not with_new.any():
                continue
            common = kinds & kinds[here] & with_new[:, np.newaxis]
            links = common[common.sum(axis=1).argmax()]  # as many groups as possible
            if not links.any():
                continue
            rows, learn = kind == here, before[:, links].all(axis=1) & before[:, new]
            columns = np.concatenate([members[k] for k in np.flatnonzero(links)])
            maps, explained = _regression(Z[learn][:, columns], Z[learn][:, members[new]])
            Z[np.ix_(rows, members[new])] = Z[rows][:, columns] @ maps
            present[rows, new], share = True, min(share, explained)
        if (present == before).all():
            return Z, share


def _regression(x, y):
    """Regress columns of y on those of x; return the maps and the share that they explain.

    The share excludes what as many columns of noise would explain; it is 0 if there are no more
    rows than columns.
    """
    power, axes = np.linalg.eigh(x.T @ x)
    power = np.maximum(power, max(LEAST_POWER * power[-1], 1e-300))
    maps = axes / power @ (axes.T @ (x.T @ y))
    left, free = np.square(y - x @ maps).sum(), len(x) - x.shape[1]
    share = 1 - left * len(x) / free / max(np.square(y).sum(), 1e-300) if free > 0 else 0.0
    return maps, share


def _all_meet(X, codes):
    """Return whether every two neurons have a condition in common."""
    seen = np.zeros((codes.max() + 1, X.shape[2]))
    for trial, code in zip(X, codes, strict=True):
        seen[code] += np.isfinite(trial).any(axis=0)
    seen = seen > 0
    return (seen.T.astype(float) @ seen > 0).all()


def groups_of_neurons(together):
    """Find groups of neurons linked by trials in which both were recorded; number each neuron's.

    `together` (patterns, neurons) says which neurons were recorded together. A neuron that was
    never recorded belongs to the first group.
    """
    known, group = together.any(axis=0), np.zeros(together.shape[1], dtype=int)
    group[known] = _linked(together[:, known])
    return group


def patterns_of(known):
    """Find the distinct rows of a boolean array, in lexical order, and the index of each row."""
    bits = np.packbits(known, axis=1)  # np.unique is slow on many columns
    rows = np.ascontiguousarray(bits).view(np.dtype((np.void, bits.shape[1])))[:, 0]
    _, first, which = np.unique(rows, return_index=True, return_inverse=True)
    return known[first], which.ravel()


def sessions_of(X):
    """Find sessions, whose neurons no trial links; return indices of trials and neurons of each.

    A trial without any recorded value belongs to the first session.
    """
    numbers, pattern = {}, []
    for trial in X:
        key = np.isfinite(trial).any(axis=0).tobytes()
        pattern.append(numbers.setdefault(key, len(numbers)))
    together = np.stack([np.frombuffer(key, dtype=bool) for key in numbers])
    group, known = groups_of_neurons(together), together.any(axis=0)
    of_trial = np.where(together.any(axis=1), group[together.argmax(axis=1)], 0)[pattern]
    return [
        (np.flatnonzero(of_trial == k), np.flatnonzero((group == k) & known))
        for k in range(group.max() + 1)
    ]


def needed(drive, own):
    """Return the indices of neurons needed to run trials that have their `own` neurons.

    `drive` says which neurons drive others; these come first.
    """
    return np.concatenate([np.flatnonzero(drive), np.setdiff1d(own, np.flatnonzero(drive))])


def _refuse_unaligned(X, group, codes):
    """Raise an error if nothing relates the groups of neurons to each other."""
    n_groups = group.max() + 1
    first = [int(np.argmax(group == k)) for k in range(2)]
    text = (
        f"X holds {n_groups} groups of neurons that were never recorded in the same trial, as in "
        f"sessions with different neurons (e.g. neuron {first[0]} and neuron {first[1]}). Only "
        "trials of the same condition can relate them"
    )
    if codes is None:
        raise ValueError(
            f"{text}: pass conditions, fit(X, conditions), or fit each group separately."
        )
    shared = np.zeros((codes.max() + 1, n_groups), dtype=bool)
    for trial, code in zip(X, codes, strict=True):
        shared[code, group[np.isfinite(trial).any(axis=0)]] = True
    alone = _linked(shared)
    if alone.max():
        a, b = (int(np.argmax(group == np.argmax(alone == k))) for k in range(2))
        raise ValueError(
            f"{text}, but those of neuron {a} and of neuron {b} have no condition in common. Pass "
            "conditions that both have, or fit each group separately."
        )


def _linked(together):
    """Group the columns of a boolean array, numbering groups from the left.

    Two columns are linked if some row is True in both.
    """
    n_rows, n_columns = together.shape
    row, column = (index.astype(np.int32) for index in np.nonzero(together))  # for SciPy 1.11
    shape = (n_rows + n_columns,) * 2
    graph = coo_array((np.ones(len(row)), (row, np.int32(n_rows) + column)), shape=shape)
    found = connected_components(graph, directed=False)[1][n_rows:]
    _, first, number = np.unique(found, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number]


def interpolate(z):
    """Interpolate gaps of a trial (time, neurons) linearly in time, and hold its ends."""
    known = np.isfinite(z)
    if known.all():
        return z
    own = known.any(axis=0)
    if not own.all():  # neurons that were never recorded take no time
        out = np.full_like(z, np.nan)
        out[:, own] = interpolate(z[:, own])
        return out
    time = np.arange(len(z))[:, np.newaxis]
    before = np.maximum.accumulate(np.where(known, time, -1))
    after = np.minimum.accumulate(np.where(known, time, len(z))[::-1])[::-1]
    left = np.where(before < 0, after, before)  # before the first value: that value
    right = np.where(after == len(z), before, after)
    share = (time - left) / np.maximum(right - left, 1)
    start, end = np.take_along_axis(z, left, 0), np.take_along_axis(z, right, 0)
    return np.where(known, z, start + share * (end - start))
