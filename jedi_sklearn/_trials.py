"""How trials are held in memory: all at once, in blocks, or by session; lengths and moments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from ._distributed import ALONE
from ._missing import Imputer
from ._stored import StoredTrials, part

__all__ = [
    "Batches",
    "LazyTrials",
    "SessionTrials",
    "Trials",
    "as_trials",
    "block_size",
    "blocks",
    "by_session",
    "lengths_of",
    "n_steps_of",
    "one_less",
    "sample_of",
    "trial_moments",
]

WORK_VALUES, MAX_WORK = 2**23, 256  # values (32 MB of float32) and trials processed together
# trials from which a start is computed: values, and limits of the number of trials
SAMPLE_VALUES, MIN_SAMPLE, MAX_SAMPLE = 2**29, 128, 2000
NOTHING = 1e-30  # an SST below this share of the SSE is rounding, not variance


@dataclass
class Trials:
    """Trials as tensors, time first.

    Attributes
    ----------
    y : Tensor (time, trials, neurons)
        Observed values, which alone are scored. Missing values may be any finite number.
    weight : Tensor (time, trials, neurons) or None
        1 for observed values, 0 for missing ones; None if no value is missing.
    guide : Tensor (time, trials, neurons)
        Estimate of the state without gaps: teacher forcing pulls towards it, observed runs start
        at it, and the closed form explains it. If values are states it is `y` itself, which is
        the default.
    inputs : Tensor (time, trials, inputs)
        Known inputs; no channels if there are none.
    constant : Tensor (trials,) or None
        Part of the deviance of each trial that depends on `y` alone, if there is one.
    every : int
        Steps from one sample to the next. Steps between samples have weight 0.
    neurons : Tensor or None
        Indices of the neurons among those of the model; None if they are all of them.
    """

    held = True  # whether all trials are in memory

    y: torch.Tensor
    weight: torch.Tensor | None = None
    guide: torch.Tensor = None  # type: ignore[assignment]
    inputs: torch.Tensor = None  # type: ignore[assignment]
    constant: torch.Tensor | None = None
    every: int = 1
    neurons: torch.Tensor | None = None

    def __post_init__(self):
        if self.guide is None:
            self.guide = self.y
        if self.inputs is None:
            self.inputs = self.y.new_zeros(*self.y.shape[:2], 0)

    def __len__(self):
        return self.y.shape[1]

    @property
    def shape(self):
        """Shape of the trials, (time, trials, neurons)."""
        return tuple(self.y.shape)

    @property
    def n_inputs(self):
        """Number of channels of known input."""
        return self.inputs.shape[2]

    @property
    def device(self):
        return self.y.device

    @property
    def dtype(self):
        return self.y.dtype

    def __getitem__(self, index):
        """Select some of the trials by a slice or a tensor of indices."""
        y = self.y[:, index]
        guide = y if self.guide is self.y else self.guide[:, index]
        weight = None if self.weight is None else self.weight[:, index]
        constant = None if self.constant is None else self.constant[index]
        rest = (constant, self.every, self.neurons)
        return Trials(y, weight, guide, self.inputs[:, index], *rest)

    take = __getitem__

    def from_neuron(self, first):
        """Select the neurons from this one on, without a copy."""
        y = self.y[:, :, first:]
        guide = y if self.guide is self.y else self.guide[:, :, first:]
        weight = None if self.weight is None else self.weight[:, :, first:]
        neurons = None if self.neurons is None else self.neurons[first:]
        return Trials(y, weight, guide, self.inputs, None, self.every, neurons)

    @property
    def n_steps(self):
        """Number of steps of a trial, including its first sample."""
        return len(self.y)

    @property
    def n_observed(self):
        """Number of observed values."""
        if self.weight is None:
            return self.y.numel()
        return float(self.weight.sum(dtype=torch.float64))  # float32 only counts to 2^24

    def to(self, dtype, device):
        """Convert to this precision and device."""
        y = self.y.to(device, dtype)
        guide = y if self.guide is self.y else self.guide.to(device, dtype)
        weight = None if self.weight is None else self.weight.to(device, dtype)
        constant = None if self.constant is None else self.constant.to(device)
        rest = (constant, self.every, self.neurons)
        return Trials(y, weight, guide, self.inputs.to(device, dtype), *rest)

    def spread(self, every):
        """Insert steps between the samples, interpolating the guide and holding the inputs."""
        if every == 1:
            return self
        shape = (n_steps_of(len(self.y), every), *self.y.shape[1:])
        y, weight = self.y.new_zeros(shape), self.y.new_zeros(shape)
        y[::every], weight[::every] = self.y, 1 if self.weight is None else self.weight
        guide = self.guide.new_empty(*shape[:2], self.guide.shape[2])
        for step in range(every):
            between = torch.lerp(self.guide[:-1], self.guide[1:], step / every)
            guide[step:-1:every] = between
        guide[-1] = self.guide[-1]
        inputs = self.inputs.repeat_interleave(every, 0)[: len(y)]
        return Trials(y, weight, guide, inputs, self.constant, every, self.neurons)

    def samples(self):
        """Remove the steps between the samples."""
        if self.every == 1:
            return self
        parts = (self.y, self.weight, self.guide, self.inputs)
        return Trials(*(a[:: self.every] for a in parts), self.constant, neurons=self.neurons)

    def weight_at(self, t):
        """Return the weights of a sample, (trials, neurons), or None."""
        return None if self.weight is None else self.weight[t]

    def recorded(self):
        """Return whether any neuron was observed, (time, trials).

        Between samples this means that some were observed both before and after.
        """
        if self.weight is None:
            return torch.ones(self.y.shape[:2], dtype=torch.bool, device=self.device)
        seen = self.weight[:: self.every].amax(2) > 0
        between = (seen[:-1] & seen[1:]).repeat_interleave(self.every, 0)
        recorded = torch.cat([between, seen[-1:]])
        recorded[:: self.every] = seen
        return recorded

    def pulls(self, teacher_forcing):
        """Return the strength of teacher forcing at each step: 0 where no value was observed."""
        if self.weight is None or not teacher_forcing:
            return [teacher_forcing] * len(self.y)
        return teacher_forcing * self.weight.amax(2, keepdim=True)

    def pulls_of_training(self, teacher_forcing):
        """Return the same with teacher forcing also at steps between recorded samples.

        Each strength is a number, or (trials, 1) if some trial was not recorded. A
        `teacher_forcing` that is given for each step and trial, (time, trials, 1), is used as is.
        """
        if torch.is_tensor(teacher_forcing):
            return teacher_forcing.unbind(0)
        if self.weight is None or not teacher_forcing:
            return [teacher_forcing] * len(self.y)
        return _pulls_where(self.recorded(), teacher_forcing, self.dtype)

    def new_zeros(self, *shape):
        """Make zeros with the dtype and device of the trials."""
        return torch.zeros(*shape, dtype=self.dtype, device=self.device)


@dataclass
class LazyTrials:
    """Trials made from the arguments of `as_trials` only when some of them are needed.

    `n_observed` is given, because computing it would read all trials.
    """

    X: StoredTrials
    inputs: np.ndarray
    observation: torch.nn.Module
    imputer: Imputer
    dtype: torch.dtype
    device: torch.device
    every: int
    n_observed: float
    neurons: np.ndarray | None = None

    held = False

    def __len__(self):
        return len(self.X)

    @property
    def shape(self):
        n_trials, n_samples, n_neurons = self.X.shape
        if self.neurons is not None:
            n_neurons = len(self.neurons)
        return n_steps_of(n_samples, self.every), n_trials, n_neurons

    @property
    def n_steps(self):
        return self.shape[0]

    @property
    def n_inputs(self):
        return self.inputs.shape[2]

    def __getitem__(self, index):
        index = index.cpu().numpy() if torch.is_tensor(index) else index
        rest = (self.observation, self.imputer, self.dtype, self.device, self.every, self.neurons)
        return as_trials(part(self.X, index), self.inputs[index], *rest)

    def take(self, index):
        """Select some of the trials without making them."""
        index = index.cpu().numpy()
        return replace(self, X=part(self.X, index), inputs=self.inputs[index])

    new_zeros = Trials.new_zeros


class SessionTrials:
    """Trials of sessions with different neurons; each session has only those its runs need.

    Parameters
    ----------
    parts : list of (Tensor, Trials or LazyTrials)
        Indices of the trials of each session among all trials, and the trials, with `neurons`.
    n_driving : int
        Number of neurons that drive others. They are the first of each session.
    n_observed : float, optional
        Number of observed values, if the parts do not know it.
    """

    def __init__(self, parts, n_driving, n_observed=None):
        self.parts, self.n_driving, self._n_observed = parts, n_driving, n_observed
        first = parts[0][1]
        self.dtype, self.device, self.every = first.dtype, first.device, first.every
        self.n_steps, self.n_inputs = first.n_steps, first.n_inputs
        self.held = all(trials.held for _, trials in parts)
        n = sum(len(trials) for _, trials in parts)
        self._part, self._row = torch.empty(2, n, dtype=torch.long, device=self.device)
        for k, (where, trials) in enumerate(parts):
            self._part[where] = k
            self._row[where] = torch.arange(len(trials), device=self.device)

    def __len__(self):
        return len(self._row)

    @property
    def shape(self):
        """Shape (time, trials, neurons), with the neurons of the session that has most."""
        return self.n_steps, len(self), max(trials.shape[2] for _, trials in self.parts)

    @property
    def n_observed(self):
        """Number of observed values."""
        if self._n_observed is not None:
            return self._n_observed
        return sum(trials.n_observed for _, trials in self.parts)

    @property
    def constant(self):
        """Part of the deviance of each trial that depends on the values alone, or None."""
        if self.parts[0][1].constant is None:
            return None
        constant = torch.empty(len(self), dtype=torch.float64, device=self.device)
        for where, trials in self.parts:
            constant[where] = trials.constant
        return constant

    def __getitem__(self, index):
        """Select some of the trials; those of a single session as `Trials` of that session."""
        return self._some(index, lambda trials, i: trials[i])

    def take(self, index):
        """Select some of the trials without making those that are not in memory."""
        return self._some(index, lambda trials, i: trials.take(i), self._n_observed)

    def mapped(self, of):
        """Replace the trials of each session by ``of(indices, trials)``."""
        parts = [(where, of(where, trials)) for where, trials in self.parts]
        return SessionTrials(parts, self.n_driving, self._n_observed)

    def _some(self, index, get, n_observed=None):
        of, row, parts = self._part[index], self._row[index], []
        for k in of.unique().tolist():
            where = (of == k).nonzero()[:, 0]
            parts.append((where, get(self.parts[k][1], row[where])))
        if len(parts) == 1:
            return parts[0][1]
        return SessionTrials(parts, self.n_driving, n_observed)

    @cached_property
    def driving(self):
        """All trials with the neurons that drive others, in one `Trials`."""
        rows = {}
        for name in ("y", "weight", "guide", "inputs"):
            for where, trials in self.parts:
                values = getattr(trials, name)
                values = torch.ones_like(trials.y) if values is None else values
                width = self.n_inputs if name == "inputs" else self.n_driving
                if name not in rows:
                    rows[name] = self.new_zeros(self.n_steps, len(self), width)
                rows[name][:, where] = values[:, :, :width]
        neurons = self.parts[0][1].neurons[: self.n_driving]
        return Trials(**rows, every=self.every, neurons=neurons)

    @cached_property
    def read_out(self):
        """Indices of the trials of each session, and the trials with its other neurons."""
        return [
            (where, trials.from_neuron(self.n_driving))
            for where, trials in self.parts
            if trials.shape[2] > self.n_driving
        ]

    def pulls_of_training(self, teacher_forcing):
        """Return the strength of teacher forcing at each step, like those of `Trials`."""
        if not teacher_forcing:
            return [0.0] * self.n_steps
        recorded = torch.empty(self.n_steps, len(self), dtype=torch.bool, device=self.device)
        for where, trials in self.parts:
            recorded[:, where] = trials.recorded()
        return _pulls_where(recorded, teacher_forcing, self.dtype)

    new_zeros = Trials.new_zeros


def _pulls_where(recorded, teacher_forcing, dtype):
    """Return the strength at each step, where some trials were not recorded (time, trials)."""
    each = teacher_forcing * recorded.to(dtype).unsqueeze(2)
    whole = recorded.all(1).tolist()
    return [teacher_forcing if all_ else pull for all_, pull in zip(whole, each, strict=True)]


def by_session(trials):
    """Return indices and trials of each session, or all trials if there are no sessions."""
    if isinstance(trials, SessionTrials):
        return trials.parts
    return [(slice(None), trials)]


def n_steps_of(n_samples, every):
    """Compute the steps of a trial with `every` steps from one sample to the next."""
    return (n_samples - 1) * every + 1


def lengths_of(X):
    """Count the samples of each trial (trials, time, neurons) without padding at its end."""
    return np.array([len(x) - np.isfinite(x).any(axis=1)[::-1].argmax() for x in X])


def block_size(n_steps, n_neurons):
    """Compute how many trials to process together."""
    return min(max(WORK_VALUES // (n_steps * n_neurons), 1), MAX_WORK)


def blocks(trials, index=None):
    """Divide the indices of trials, all or those given, into parts to process together.

    Without given indices, each part of `SessionTrials` belongs to one session.
    """
    if isinstance(trials, SessionTrials):
        return [where[i] for where, some in trials.parts for i in blocks(some)]
    if index is None:
        index = torch.arange(len(trials), device=trials.device)
    n_steps, _, n_neurons = trials.shape
    return index.split(block_size(n_steps, n_neurons))


def sample_of(trials):
    """Return the indices of trials for computing a start: all, or a fixed choice of very many."""
    n_steps, n_trials, n_neurons = trials.shape
    most = min(max(SAMPLE_VALUES // (n_steps * n_neurons), MIN_SAMPLE), MAX_SAMPLE)
    if n_trials <= most:
        return torch.arange(n_trials, device=trials.device)
    order = torch.randperm(n_trials, generator=torch.Generator().manual_seed(0))
    return order[:most].sort().values.to(trials.device)


def as_trials(X, inputs, observation, imputer, dtype, device, every=1, neurons=None):
    """Convert trials X (NaN where missing) and inputs to tensors, without a second copy of X.

    Parameters
    ----------
    X : ndarray or StoredTrials (trials, time, neurons)
        Activity.
    inputs : ndarray (trials, time, inputs)
        Known inputs.
    observation : Observation
        Observation model of the selected neurons, which provides the values to score and the
        guide of each trial.
    imputer : callable
        Imputes the gaps of a trial (time, neurons) of states of the selected neurons.
    dtype : torch.dtype
        Precision of the tensors.
    device : torch.device
        Device of the tensors.
    every : int
        Steps from one sample to the next.
    neurons : ndarray of int, optional
        Indices of the neurons to select from X. Default: all.
    """
    n_trials, n_samples, n_neurons = X.shape
    if neurons is not None:
        n_neurons = len(neurons)
    kind = np.float32 if dtype == torch.float32 else np.float64
    y, weight, guide = np.empty((n_samples, n_trials, n_neurons), dtype=kind), None, None
    for k, trial in enumerate(X):
        trial = trial if neurons is None else trial[:, neurons]
        values, observed, estimate = observation.observe(trial, imputer)
        y[:, k] = values
        if observed is not None:
            weight = np.ones_like(y) if weight is None else weight
            weight[:, k] = observed
        if estimate is not values:
            if guide is None:
                guide = np.empty((n_samples, n_trials, estimate.shape[1]), dtype=kind)
            guide[:, k] = estimate
    inputs = np.ascontiguousarray(inputs.transpose(1, 0, 2), dtype=kind)
    parts = (y, weight, guide, inputs, observation.constant(y))
    parts = (None if a is None else torch.from_numpy(a).to(device) for a in parts)
    if neurons is not None:
        neurons = torch.from_numpy(neurons).to(device)
    return Trials(*parts, neurons=neurons).spread(every)


class Batches:
    """Mini-batches in random order, shared among processes."""

    def __init__(self, trials, size, generator, processes):
        self.trials, self.generator, self.processes = trials, generator, processes
        self.n, self.size = len(trials), min(size or len(trials), len(trials))
        self.order, self.position, self.whole = None, self.n, None
        if self.size == self.n:
            mine = processes.share(torch.arange(self.n, device=trials.device))
            all_here = trials.held and len(mine) == self.n
            self.whole = mine, trials if all_here else trials[mine]

    def next(self):
        """Return indices and trials of this process's share of the next mini-batch."""
        if self.whole is not None:
            return self.whole
        if self.position + self.size > self.n:
            order = torch.randperm(self.n, generator=self.generator)
            self.order, self.position = order.to(self.trials.device), 0
        mine = self.processes.share(self.order[self.position : self.position + self.size])
        self.position += self.size
        return mine, self.trials[mine]

    def state(self):
        """Return the current order, the position in it, and the state of the generator."""
        generator = None if self.generator is None else self.generator.get_state()
        return {"order": self.order, "position": self.position, "generator": generator}

    def load(self, state):
        """Continue from such a state."""
        order, self.position = state["order"], state["position"]
        self.order = None if order is None else order.to(self.trials.device)
        if self.generator is not None:
            self.generator.set_state(state["generator"])


def trial_moments(X, processes=ALONE, of=None):
    """Compute mean, variance and number of values of each neuron over trials and time.

    X is not copied. NaN counts as missing; mean and variance of a neuron that was never observed
    are NaN. With `of`, the moments are those of this function of each trial (time, neurons).
    """
    X = part(X, processes.slice(len(X)))
    X = X if of is None else _Mapped(X, of)
    count, total = np.zeros((2, X.shape[2]))
    for trial in X:
        here = np.sum(trial, axis=0, dtype=np.float64)
        if np.isfinite(here).all():  # nothing is missing, so one pass is enough
            count += len(trial)
            total += here
        else:
            count += np.isfinite(trial).sum(axis=0)
            total += np.nansum(trial, axis=0, dtype=np.float64)
    processes.sum_(count, total)
    count[count == 0] = np.nan
    mean = total / count
    squares = np.zeros_like(mean)
    for trial in X:
        square = np.square(trial - mean)
        here = square.sum(axis=0)
        squares += here if np.isfinite(here).all() else np.nansum(square, axis=0)
    processes.sum_(squares)
    return mean, squares / count, np.nan_to_num(count)


class _Mapped:
    """Function of each trial of an array, evaluated anew in each iteration."""

    def __init__(self, X, of):
        self.X, self.of, self.shape = X, of, X.shape

    def __iter__(self):
        return map(self.of, self.X)


def one_less(sse, total):
    """Compute 1 - sse / total, an R2; if nothing varies it is 1 or 0, as in r2_score."""
    if total <= NOTHING * sse:
        return float(sse == 0)
    return float(1 - sse / total)
