"""Fit linear Gaussian state-space models to trials: filter, smoother and EM with missing values.

    x[0] ~ N(m0, P0),  x[t+1] = A x[t] + N(0, Q),  y[t] = C x[t] + d + N(0, diag R)

Observed values enter through their information C' R^-1 C and C' R^-1 (y - d), sums over the
neurons that were observed. A step therefore costs matrices of the size of the state, however many
neurons there are. Covariances depend only on what was observed, so trials with the same gaps
share them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["LinearGaussian", "Smoothed"]

LEAST_NOISE = 1e-6  # share of a neuron's variance, so that no neuron counts as free of noise


@dataclass
class Smoothed:
    """States given the whole trial.

    Attributes
    ----------
    mean : ndarray (trials, time, states)
        Posterior means.
    covariance : ndarray (patterns, time, states, states)
        Posterior covariances, by pattern of observed values.
    lagged : ndarray (patterns, time - 1, states, states)
        Covariances of each state with the one before it.
    pattern : ndarray of int (trials,)
        Pattern of each trial.
    log_likelihood : ndarray (trials,)
        Log-likelihood of the observed values of each trial.
    """

    mean: np.ndarray
    covariance: np.ndarray
    lagged: np.ndarray
    pattern: np.ndarray
    log_likelihood: np.ndarray


@dataclass
class LinearGaussian:
    """Parameters, named as in the equations; R holds variances."""

    A: np.ndarray
    Q: np.ndarray
    C: np.ndarray
    d: np.ndarray
    R: np.ndarray
    m0: np.ndarray
    P0: np.ndarray

    @classmethod
    def start(cls, components, mean, scores, residual):
        """Start from principal components of samples: axes, and scores (trials, time, states)."""
        now, then = scores[:, :-1].reshape(-1, len(components)), scores[:, 1:]
        then = then.reshape(-1, len(components))
        A = np.linalg.lstsq(now, then, rcond=None)[0].T
        jitter = 1e-6 * np.eye(len(A)) * scores.var(axis=(0, 1)).mean()
        error = then - now @ A.T
        first = scores[:, 0]
        P0 = np.atleast_2d(np.cov(first.T, bias=True)) + jitter
        Q = error.T @ error / len(error) + jitter
        return cls(A, Q, components.T, mean, residual, first.mean(axis=0), P0)

    def smooth(self, Y, seen):
        """Smooth the states of trials (trials, time, neurons), observed where `seen` (None: all).

        Values that are not seen may be any finite numbers.
        """
        n_trials, n_steps, _ = Y.shape
        n = len(self.A)
        if seen is None:
            patterns, pattern = np.ones((1, *Y.shape[1:]), dtype=bool), np.zeros(n_trials, int)
        else:
            flat = seen.reshape(n_trials, -1)
            patterns, pattern = np.unique(flat, axis=0, return_inverse=True)
            patterns, pattern = patterns.reshape(-1, *Y.shape[1:]), pattern.ravel()
        weighted = self.C / self.R[:, np.newaxis]
        outer = (weighted[:, :, np.newaxis] * self.C[:, np.newaxis]).reshape(len(self.C), -1)
        J = (patterns @ outer).reshape(*patterns.shape[:2], n, n)
        off = Y - self.d if seen is None else np.where(seen, Y - self.d, 0.0)
        h = off @ weighted
        alone = np.square(off) @ (1 / self.R) + (patterns @ np.log(2 * np.pi * self.R))[pattern]

        # forward
        shape = (len(patterns), n_steps, n, n)
        before, after, gain = np.empty(shape), np.empty(shape), np.empty(shape)
        mean_before, mean = np.empty((2, n_trials, n_steps, n))
        log_likelihood = np.zeros(n_trials)
        P, x = np.broadcast_to(self.P0, (len(patterns), n, n)), np.tile(self.m0, (n_trials, 1))
        for t in range(n_steps):
            before[:, t], mean_before[:, t] = P, x
            system = np.eye(n) + P @ J[:, t]
            P = _symmetric(np.linalg.solve(system, P))
            Jx = np.matmul(J[pattern, t], x[..., np.newaxis])[..., 0]
            g = h[:, t] - Jx
            step = np.matmul(P[pattern], g[..., np.newaxis])[..., 0]
            squares = alone[:, t] - ((2 * h[:, t] - Jx) * x).sum(axis=1)
            log_likelihood -= 0.5 * (squares - (g * step).sum(axis=1))
            log_likelihood -= 0.5 * np.linalg.slogdet(system)[1][pattern]
            x = x + step
            after[:, t], mean[:, t] = P, x
            P, x = _symmetric(self.A @ P @ self.A.T) + self.Q, x @ self.A.T
        # backward (Rauch, Tung and Striebel)
        for t in range(n_steps - 2, -1, -1):
            ahead = np.linalg.solve(before[:, t + 1], self.A @ after[:, t])
            gain[:, t] = ahead.transpose(0, 2, 1)
            off_ahead = mean[:, t + 1] - mean_before[:, t + 1]
            mean[:, t] += np.matmul(gain[pattern, t], off_ahead[..., np.newaxis])[..., 0]
            change = after[:, t + 1] - before[:, t + 1]
            after[:, t] = _symmetric(after[:, t] + gain[:, t] @ change @ ahead)
        lagged = after[:, 1:] @ gain[:, :-1].transpose(0, 1, 3, 2)
        return Smoothed(mean, after, lagged, pattern, log_likelihood)

    @classmethod
    def maximise(cls, Y, seen, found, floor):
        """Find the parameters that maximise the likelihood of trials and smoothed states (M-step).

        `floor` is the minimum noise of each neuron.
        """
        n_trials, n_steps, n_neurons = Y.shape
        x, n = found.mean, found.mean.shape[2]
        each = np.bincount(found.pattern).astype(float)
        spread = np.einsum("p,ptij->tij", each, found.covariance)
        lagged = np.einsum("p,ptij->ij", each, found.lagged)
        now, then = x[:, :-1].reshape(-1, n), x[:, 1:].reshape(-1, n)
        S00 = now.T @ now + spread[:-1].sum(axis=0)
        S11 = then.T @ then + spread[1:].sum(axis=0)
        S10 = then.T @ now + lagged
        A = np.linalg.solve(S00, S10.T).T
        Q = _symmetric(S11 - A @ S10.T) / len(now)
        m0 = x[:, 0].mean(axis=0)
        P0 = _symmetric((x[:, 0] - m0).T @ (x[:, 0] - m0) + spread[0]) / n_trials

        z = np.concatenate([x, np.ones((n_trials, n_steps, 1))], axis=2).reshape(-1, n + 1)
        if seen is None:
            y, count = Y.reshape(-1, n_neurons), np.full(n_neurons, len(z), dtype=float)
            gram = z.T @ z
            gram[:n, :n] += spread.sum(axis=0)
            gram = np.broadcast_to(gram, (n_neurons, n + 1, n + 1))
        else:
            y = np.where(seen, Y, 0.0).reshape(-1, n_neurons)
            flat = seen.reshape(-1, n_neurons).astype(float)
            count = flat.sum(axis=0)
            gram = (flat.T @ (z[:, :, np.newaxis] * z[:, np.newaxis]).reshape(len(z), -1)).reshape(
                n_neurons, n + 1, n + 1
            )
            covariance = found.covariance[found.pattern].reshape(len(z), -1)
            gram[:, :n, :n] += (flat.T @ covariance).reshape(n_neurons, n, n)
        across = y.T @ z  # (neurons, states + 1)
        readout = np.linalg.solve(gram, across[..., np.newaxis])[..., 0]
        R = np.square(y).sum(axis=0) - (readout * across).sum(axis=1)
        R = np.maximum(R / count, floor)
        return cls(A, Q, readout[:, :n], readout[:, n], R, m0, P0)

    def turned(self, T):
        """Transform the model to states T x."""
        back = np.linalg.inv(T)
        return LinearGaussian(
            T @ self.A @ back,
            _symmetric(T @ self.Q @ T.T),
            self.C @ back,
            self.d,
            self.R,
            T @ self.m0,
            _symmetric(T @ self.P0 @ T.T),
        )

    def run(self, x, n_steps):
        """Run states (trials, time, states) without noise, beginning with x."""
        states = [x]
        for _ in range(n_steps - 1):
            states.append(states[-1] @ self.A.T)
        return np.stack(states, axis=1)

    def observe(self, x):
        """Compute expected values (..., neurons) of states (..., states)."""
        return x @ self.C.T + self.d


def _symmetric(P):
    return (P + np.swapaxes(P, -1, -2)) / 2
