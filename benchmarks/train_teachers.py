"""Train the teacher networks of make_flip_flop and make_memory_pro, check and save them.

    python benchmarks/train_teachers.py flip_flop memory_pro

The package must be installed, or the repository root be on PYTHONPATH. One thread and fixed
seeds: on the same machine a rerun makes the same files. Each takes some minutes.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import jedi_sklearn
from jedi_sklearn import RNNBatch

FOLDER = Path(jedi_sklearn.__file__).parent / "datasets"


@dataclass(frozen=True)
class Recipe:
    """Size of a teacher, and how it is trained."""

    n_neurons: int
    rank: int
    dt: float
    n_iter: int
    noise: float  # SD of the noise added to each state at each step
    rate_decay: float  # penalty of mean squared rates,
    weight_decay: float  # and of squared weights: together they keep the solution plain
    tau: float = 0.1
    learning_rate: float = 3e-3
    n_trials: int = 64


# ------------------------------------------------------------------ tasks
# A task draws one batch: inputs (trials, time, 3), targets of the 3 outputs, and the weight of
# each target in the loss. `progress` is the fraction of the training that is over.


def flip_flop(rng, n_trials, progress, n_timesteps=300, grace=20):
    """Pulses of +-1 on three channels, of varied length, with pauses; outputs hold the signs."""
    inputs, targets, weight = np.zeros((3, n_trials, n_timesteps, 3), dtype=np.float32)
    for k in range(n_trials):
        t = rng.randint(5, 30)
        while t < n_timesteps:
            channel, sign = rng.randint(3), rng.choice([-1, 1])
            end = t + rng.randint(15, 50)
            inputs[k, t:end, channel] = sign
            targets[k, t:, channel] = sign
            weight[k, t:, channel] = 1  # before its first pulse a channel may say anything
            weight[k, t : t + grace, channel] = 0
            t = end + rng.randint(10, 80)
    return inputs, targets, weight


def memory_pro(rng, n_trials, progress, grace=10, durations=None):
    """See an angle, remember it, and say it once the fixation input is off."""
    if durations is None:  # of context, stimulus, memory, response
        longest = 5 + int(145 * min(2 * progress, 1))  # delays grow in the first half of training
        low, high = np.array([(10, 50), (20, 60), (1, longest), (20, 80)]).T
        durations = rng.randint(low, high + 1)
    _, on, off, go, end = np.cumsum([0, *durations])
    angle = rng.uniform(0, 2 * np.pi, n_trials)
    direction = np.stack([np.cos(angle), np.sin(angle)], axis=1)[:, None]
    inputs, targets, weight = np.zeros((3, n_trials, end, 3), dtype=np.float32)
    inputs[:, :go, 0] = targets[:, :go, 0] = 1
    inputs[:, on:off, 1:] = direction
    targets[:, go:, 1:] = direction
    weight[:] = 1
    weight[:, go : go + grace] = 0
    weight[:, :grace] = 0
    return inputs, targets, weight


# ------------------------------------------------------------------ training


def train(task, recipe, seed):
    """Weights of a teacher of this task, as arrays."""
    rng = np.random.RandomState(seed)
    torch.manual_seed(seed)
    n, r, a = recipe.n_neurons, recipe.rank, recipe.dt / recipe.tau
    weights = {
        "U": torch.randn(n, r) / r**0.5,
        "V": torch.randn(n, r) / n**0.5,
        "bias": torch.zeros(n),
        "input_weights": torch.randn(n, 3) / 3**0.5,
        "output_weights": torch.randn(3, n) / n,
    }
    for w in weights.values():
        w.requires_grad_()
    U, V, bias, B, W = weights.values()
    optimizer = torch.optim.Adam(weights.values(), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.n_iter)
    start = time.perf_counter()
    for i in range(recipe.n_iter):
        inputs, targets, weight = map(
            torch.from_numpy, task(rng, recipe.n_trials, i / recipe.n_iter)
        )
        noise = recipe.noise * torch.randn(*inputs.shape[:2], n)
        drive = (a * (inputs @ B.T + bias) + noise).unbind(1)
        x = 0.1 * torch.randn(recipe.n_trials, n)
        rates = []
        for d in drive:
            rate = torch.tanh(x)
            rates.append(rate)
            x = (1 - a) * x + a * (rate @ V) @ U.T + d
        rates = torch.stack(rates, dim=1)
        error = (weight * (rates @ W.T - targets) ** 2).sum() / weight.sum()
        decay = recipe.rate_decay * (rates**2).mean()
        decay = decay + recipe.weight_decay * sum((w**2).sum() for w in weights.values())
        optimizer.zero_grad()
        (error + decay).backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 1.0)
        optimizer.step()
        schedule.step()
        if i % 200 == 0 or i == recipe.n_iter - 1:
            seconds = time.perf_counter() - start
            print(f"{i:5d}  error {error:.4f}  decay {decay:.4f}  {seconds:.0f} s", flush=True)
    return {name: w.detach().numpy() for name, w in weights.items()}


def as_teacher(weights, recipe):
    """The network of these weights, in float64."""
    names = ("U", "V", "bias", "input_weights")
    return RNNBatch(**{k: weights[k] for k in names}, dt=recipe.dt, tau=recipe.tau)


# ------------------------------------------------------------------ checks
# A check prints what the trained teacher does, stops if that is not good enough, and returns what
# is to be stored beside the weights.


def check_flip_flop(teacher, output_weights, recipe):
    """Eight stable points and nothing else that attracts; each says its three bits."""
    rng = np.random.RandomState(1)
    ends = rng.uniform(0, 3, (4000, 1)) * rng.standard_normal((4000, teacher.n_neurons))
    for _ in range(5000):
        ends = teacher.step(ends)
    speed = np.abs(teacher.step(ends) - ends).max() / recipe.dt
    points = ends[:1]
    for x in ends:
        if np.abs(points - x).max(axis=1).min() > 1e-3:
            points = np.vstack([points, x])
    outputs = np.tanh(points) @ output_weights.T
    order = np.lexsort(outputs.T[::-1] > 0)
    points, outputs = points[order], outputs[order]
    patterns = len(np.unique(outputs > 0, axis=0))
    multiplier = np.abs(np.linalg.eigvals(teacher.jacobian(points))).max()
    print(
        f"4000 runs end at {len(points)} points, {patterns} sign patterns, outputs of at least "
        f"{np.abs(outputs).min():.3f}, largest multiplier {multiplier:.4f}, speed {speed:.0e}/s"
    )
    good = len(points) == patterns == 8 and np.abs(outputs).min() > 0.8 and speed < 1e-9
    if not (good and multiplier < 1):
        sys.exit("flip_flop: this teacher is not good enough.")
    return {"fixed_points": points}


def check_memory_pro(teacher, output_weights, recipe):
    """The angle is right after a delay of 3 s under the noise of the training."""
    rng = np.random.RandomState(1)
    inputs, targets, _ = memory_pro(rng, 500, 1.0, durations=(50, 50, 150, 50))
    start = 0.1 * rng.standard_normal((500, teacher.n_neurons))
    for noise in (0.0, 0.01, recipe.noise):
        states = teacher.simulate(start, 300, inputs, noise, rng)
        outputs = np.tanh(states) @ output_weights.T
        said, asked = (np.arctan2(z[:, -1, 2], z[:, -1, 1]) for z in (outputs, targets))
        error = np.sqrt(np.mean(np.angle(np.exp(1j * (said - asked))) ** 2))
        print(f"noise {noise:.2f}: error of the angle {error:.3f} rad RMS")
    late = teacher.simulate(start, 300, inputs)[:, 250]  # the end of the memory phase
    speed = np.linalg.norm(teacher.step(late, inputs[:, 200]) - late, axis=1) / recipe.dt
    radius = np.linalg.norm(late - late.mean(axis=0), axis=1)
    print(
        f"ring of the memory phase: distance from its mean {radius.min():.2f} to "
        f"{radius.max():.2f}, speed {np.median(speed):.2f} (median), {speed.max():.2f} (largest)/s"
    )
    if error > 0.15:
        sys.exit("memory_pro: this teacher is not good enough.")
    return {}


TEACHERS = {
    "flip_flop": (
        flip_flop,
        check_flip_flop,
        Recipe(64, 6, 0.01, n_iter=2000, noise=0.05, rate_decay=0.02, weight_decay=1e-4),
    ),
    "memory_pro": (
        memory_pro,
        check_memory_pro,
        Recipe(128, 12, 0.02, n_iter=5000, noise=0.03, rate_decay=0.002, weight_decay=3e-6),
    ),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("teachers", nargs="+", choices=TEACHERS, metavar="teacher")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="write here, instead of into the package")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.teachers:
        task, check, recipe = TEACHERS[name]
        weights = train(task, recipe, options.seed)
        teacher = as_teacher(weights, recipe)
        arrays = weights | check(teacher, weights["output_weights"].astype(float), recipe)
        path = (options.folder or FOLDER) / f"{name}.npz"
        np.savez_compressed(
            path,
            **{key: array.astype(np.float32) for key, array in arrays.items()},
            dt=recipe.dt,
            tau=recipe.tau,
            made_by=f"python benchmarks/train_teachers.py {name} --seed {options.seed}, "
            f"with torch {torch.__version__}, numpy {np.__version__}",
        )
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
