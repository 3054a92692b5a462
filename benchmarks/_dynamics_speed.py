"""What the analyses cost: fixed points beside gradient descent, spectra beside a dense solver."""

from __future__ import annotations

import time

import numpy as np
import scipy.sparse.linalg
import torch
from scipy.optimize import linear_sum_assignment

from jedi_sklearn import RNNBatch, eigenspectrum, find_fixed_points

from ._common import log
from ._report import Result, Table

N_STARTS = 1024
LEARNING_RATES = {"neurons": (0.01, 0.03, 0.1), "rank": (0.1, 0.3, 1.0)}  # by the space
MAX_STEPS = 5000
GOAL = 1e-6  # RMS over neurons of -x + J tanh(x) at which gradient descent may stop
MERGE = 0.01  # RMS distance of points that count as one, for both
STALLED = 1e-4  # gradient descent ended elsewhere than in a fixed point above this RMS


def fixed_points_speed(options):
    """Newton in the space of the weights against Adam on q in all neurons, the same starts."""
    n_starts = 64 if options.quick else N_STARTS
    max_steps = 200 if options.quick else MAX_STEPS
    tables = []
    for name, maker in (("memory", memory_rnn), ("random", random_rnn)):
        rows = []
        for seed in options.seeds:
            rnn = maker(seed, 200, 5)
            starts = random_starts(rnn, n_starts, seed)
            seconds, found = timed(
                lambda rnn=rnn, starts=starts: find_fixed_points(
                    rnn, starts[np.newaxis], n_random_starts=0, merge_distance=MERGE
                )[0]
            )
            row = {"seed": seed, "seconds": seconds, "points": len(found)}
            row["failed"] = found.n_failed
            best = opponent(rnn, starts, "neurons", max_steps, found)
            row |= best | {"ratio": best["adam_seconds"] / seconds}
            best = opponent(rnn, starts, "rank", max_steps, found)
            row |= {"rank_points": best["adam_points"], "rank_missed": best["missed"]}
            rows.append(row | {"rank_ratio": best["adam_seconds"] / seconds})
            log(f"fixed points, {name} network, seed {seed}: {rows[-1]['ratio']:.0f} times")
        columns = [
            "seed",
            ("seconds", "Newton s", ".3f"),
            ("points", "points", "d"),
            ("failed", "starts failed", "d"),
            ("adam_seconds", "Adam s", ".1f"),
            ("adam_points", "Adam points", "d"),
            ("adam_failed", "Adam starts failed", "d"),
            ("rate", "Adam rate", "g"),
            ("missed", "points of Adam only", "d"),
            ("ratio", "times as long", ".0f"),
            ("rank_points", "Adam in rank dim.: points", "d"),
            ("rank_missed", "of it only", "d"),
            ("rank_ratio", "times as long", ".0f"),
        ]
        tables.append(Table(columns, rows, title=f"{name.capitalize()} networks:"))
    result = Result(
        "Fixed points: time",
        tables,
        [
            f"RNNs of 200 neurons and rank 5, {n_starts} starts in the space of the weights at an "
            "RMS of 0.1 to 3. *Memory networks* hold five random patterns of +-1 (J = 2 M M^T / "
            "N), which is kind to gradient descent; *random networks* are the non-normal J = 1.8 "
            "U V^T / sqrt(N) of `make_multitask`. The opponent minimises q = |x[t+1] - x[t]|^2 / "
            "2 by Adam in 200 dimensions: float64, all starts in one batch, the analytic gradient "
            "through the factors of J (no dense product, no autograd), each start stopped at an "
            f"RMS residual of {GOAL:g} and given up after {max_steps} steps, the learning rate "
            "falling as a half cosine. Of several rates and of a fifth of the steps the one that "
            "found most points, then the fastest, is shown, and the time of the others is not "
            "counted. *Adam in rank dimensions* is the same in the coordinates that Newton "
            "uses: it tells the share of the coordinates from that of the method. A "
            f"point counts as found below {STALLED:g}. Newton goes to 1e-9. Both take the same "
            "starts, merge points at the same distance, and run on one thread."
        ],
    )
    for table, name in zip(tables, ("memory", "random"), strict=True):
        low = table.summary()["ratio"]["min"]
        result.target(f"{name}: at least 50 times faster", low, low >= 50, ".0f")
        missed = table.summary()["missed"]["max"]
        result.target(f"{name}: no point that only Adam finds", missed, missed == 0, ".0f")
    return result


def opponent(rnn, starts, space, max_steps, found):
    """What Adam finds at its best (most points, then least time), beside what Newton found."""
    best = None
    for rate in LEARNING_RATES[space]:
        for n_steps in (max_steps // 5, max_steps):
            x, residual, seconds = adam(rnn, starts, space, rate, n_steps)
            points = merged(x[residual < STALLED], MERGE)
            if best is None or (-len(points), seconds) < (
                -best["adam_points"],
                best["adam_seconds"],
            ):
                best = {
                    "adam_seconds": seconds,
                    "rate": rate,
                    "adam_points": len(points),
                    "adam_failed": int((residual >= STALLED).sum()),
                    "missed": n_missing(points, found.points),
                }
    return best


def memory_rnn(seed, n_neurons, rank):
    """An RNN that holds `rank` random patterns."""
    patterns = np.random.default_rng(seed).choice([-1.0, 1.0], (1, n_neurons, rank))
    return RNNBatch(2 / n_neurons * patterns, patterns)


def random_rnn(seed, n_neurons, rank, n_rnns=1):
    """RNNs with random factors, the teacher of ``make_multitask`` without inputs."""
    rng = np.random.default_rng(seed)
    U, V = rng.standard_normal((2, n_rnns, n_neurons, rank))
    return RNNBatch(1.8 / np.sqrt(n_neurons) * U, V)


def random_starts(rnn, n, seed):
    """States in the space of the weights, RMS 0.1 to 3."""
    rng = np.random.default_rng(1000 + seed)
    Q, _ = np.linalg.qr(rnn.U[0])
    y = rng.standard_normal((n, Q.shape[1]))
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    size = 10 ** rng.uniform(-1, np.log10(3), (n, 1))
    return size * np.sqrt(len(Q)) * y @ Q.T


def timed(function, repeats=3):
    """Least seconds of a few calls, and what the last one returned."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def adam(rnn, starts, space, rate, max_steps):
    """Minimise q from all starts at once; states, RMS residuals, seconds.

    In all neurons, J = U V', or in coordinates y of the span of U, x = Q y, J = Q P'.
    """
    begin = time.perf_counter()
    U, V = rnn.U[0], rnn.V[0]
    Q, T = np.linalg.qr(U)
    if space == "rank":
        starts = starts @ Q
        U, V, Q = np.eye(Q.shape[1]), V @ T.T, torch.as_tensor(Q)
    else:
        Q = None
    U, V, n = torch.as_tensor(U), torch.as_tensor(V), len(V)

    def system(part):
        """Residual J tanh(x) - x, and the gradient of q."""
        phi = torch.tanh(part if Q is None else part @ Q.T)
        error = (phi @ V) @ U.T - part
        pulled = (1 - phi.square()) * ((error @ U) @ V.T)
        return error, (pulled if Q is None else pulled @ Q) - error

    x = torch.tensor(starts)
    mean, square = torch.zeros_like(x), torch.zeros_like(x)
    active = torch.arange(len(x))
    residual = torch.full((len(x),), torch.inf, dtype=x.dtype)
    for step in range(1, max_steps + 1):
        error, gradient = system(x[active])
        rms = error.square().sum(1).div(n).sqrt()
        residual[active] = rms
        keep = rms > GOAL
        if not keep.all():
            active, gradient = active[keep], gradient[keep]
            if not len(active):
                break
        mean[active] = 0.9 * mean[active] + 0.1 * gradient
        square[active] = 0.999 * square[active] + 0.001 * gradient.square()
        moment, scale = mean[active] / (1 - 0.9**step), square[active] / (1 - 0.999**step)
        now = rate * 0.5 * (1 + np.cos(np.pi * (step - 1) / max_steps))
        x[active] -= now * moment / (scale.sqrt() + 1e-12)
    seconds = time.perf_counter() - begin
    return (x if Q is None else x @ Q.T).numpy(), residual.numpy(), seconds


def merged(points, distance):
    """One of each group of points within an RMS distance."""
    kept = []
    for point in points:
        if all(np.sqrt(np.square(point - other).mean()) > distance for other in kept):
            kept.append(point)
    return np.array(kept).reshape(-1, points.shape[1])


def n_missing(points, reference):
    """How many of the points have no counterpart in the reference."""
    return sum(
        not len(reference)
        or bool(np.sqrt(np.square(reference - p).mean(axis=1)).min() > 5 * MERGE)
        for p in points
    )


def spectra_speed(options):
    """Spectrum through the rank x rank product against eigvals of the dense Jacobian."""
    n = 200 if options.quick else 2000
    rows = []
    for seed in options.seeds:
        rnn = random_rnn(seed, n, 5)
        state = np.random.default_rng(seed).standard_normal((1, n))
        seconds, ours = timed(lambda rnn=rnn, x=state: eigenspectrum(rnn, x).multipliers[0], 5)
        dense = rnn.jacobian(state)[0]
        dense_seconds, theirs = timed(lambda dense=dense: np.linalg.eigvals(dense), 1)
        slope = 1 - np.tanh(state) ** 2
        weights = rnn.to_dense()[0] * slope  # J diag(tanh'), of rank 5
        eigs_seconds, _ = timed(lambda w=weights: scipy.sparse.linalg.eigs(w, 5), 3)
        # the remaining n - 5 are 1 - alpha; ours must all be there, one for one
        difference = np.abs(ours[:, np.newaxis] - theirs)
        error = difference[linear_sum_assignment(difference)].max()
        rows.append(
            {
                "seed": seed,
                "seconds": seconds,
                "dense_seconds": dense_seconds,
                "eigs_ratio": eigs_seconds / seconds,
                "ratio": dense_seconds / seconds,
                "error": float(error),
            }
        )
        log(f"spectra, seed {seed}: {rows[-1]}")
    table = Table(
        [
            "seed",
            ("seconds", "eigenspectrum s", ".5f"),
            ("dense_seconds", "eigvals s", ".3f"),
            ("ratio", "times as long", ".0f"),
            ("eigs_ratio", "Arnoldi, times as long", ".0f"),
            ("error", "largest difference", ".1e"),
        ],
        rows,
    )
    result = Result(
        "Spectra: time",
        [table],
        [
            f"Random RNNs of {n} neurons and rank 5, linearised at a random state. "
            "`numpy.linalg.eigvals` is given the dense Jacobian: the time to make it does not "
            "count. *Arnoldi*: `scipy.sparse.linalg.eigs` for the 5 largest eigenvalues of the "
            "dense effective weights, which is all one needs. The difference is that of the 5 "
            "multipliers to dense ones, matched one to one."
        ],
    )
    s = table.summary()
    result.target("at least 200 times faster", s["ratio"]["min"], s["ratio"]["min"] >= 200, ".0f")
    error = s["error"]["max"]
    result.target("equal to 1e-6", error, error <= 1e-6, ".1e")
    return result


def scaling(options):
    """Cost against the number of neurons, of RNNs, and the rank."""
    neurons = (50, 100) if options.quick else (250, 500, 1000, 2000, 4000)
    counts = (1, 2) if options.quick else (10, 20, 40, 80, 160)
    ranks = (2, 5) if options.quick else (5, 10, 20, 40)
    rows = []
    for what, settings in (
        ("neurons", [(n, 20, 8) for n in neurons]),
        ("RNNs", [(200, 20, k) for k in counts]),
        ("rank", [(500, r, 8) for r in ranks]),
    ):
        for n, rank, n_rnns in settings:
            rnns = random_rnn(0, n, rank, n_rnns)
            states = np.random.default_rng(0).standard_normal((n_rnns, 50, n))
            spectrum, _ = timed(lambda rnns=rnns, x=states: eigenspectrum(rnns, x))
            # a fixed number of Newton steps: how many are needed depends on the RNN
            points, _ = timed(
                lambda rnns=rnns, x=states: find_fixed_points(
                    rnns, x, n_random_starts=0, tol=1e-300, max_iter=10, slow_speed=1e9
                )
            )
            rows.append(
                {
                    "varied": what,
                    "n_neurons": n,
                    "rank": rank,
                    "n_rnns": n_rnns,
                    "spectrum": spectrum,
                    "points": points,
                }
            )
        log(f"scaling in {what} done")
    slopes = []
    for what, key in (("neurons", "n_neurons"), ("RNNs", "n_rnns"), ("rank", "rank")):
        mine = [r for r in rows if r["varied"] == what]
        slopes.append({"varied": what})
        for name in ("spectrum", "points"):
            x = np.log([r[key] for r in mine])
            slopes[-1][name] = float(np.polyfit(x, np.log([r[name] for r in mine]), 1)[0])
    tables = [
        Table(
            [
                ("varied", "varied", "s"),
                ("n_neurons", "neurons", "d"),
                ("rank", "rank", "d"),
                ("n_rnns", "RNNs", "d"),
                ("spectrum", "50 spectra each, s", ".4f"),
                ("points", "10 Newton steps from 50 starts each, s", ".4f"),
            ],
            rows,
            summarise=False,
        ),
        Table(
            [
                ("varied", "exponent of", "s"),
                ("spectrum", "spectra", ".2f"),
                ("points", "fixed points", ".2f"),
            ],
            slopes,
            title="Slope of log(time) against log(size); 1 is linear:",
            summarise=False,
        ),
    ]
    result = Result("Cost of the analyses", tables, ["Random RNNs as above, one thread."])
    for row in slopes[:2]:
        top = max(row["spectrum"], row["points"])
        result.target(f"linear in the number of {row['varied']}", top, top <= 1.2, ".2f")
    return result
