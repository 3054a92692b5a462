"""Facts about GPUs: losses that are replayed there, and answers like those of the CPU."""

import contextlib
import copy
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from jedi_sklearn import JEDIEstimator, _fit, _replay
from jedi_sklearn.datasets import make_initial_states, make_multitask, make_spike_counts
from jedi_sklearn.preprocessing import place_neurons, stack_sessions

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DATA = make_initial_states(24, n_conditions=3, n_neurons=12, n_timesteps=20, random_state=0)
COUNTS = make_spike_counts(DATA, random_state=0).X
GAPS = DATA.X.copy()
GAPS[::3, 15:] = np.nan
GAPS[1::3, 4:7, 2] = np.nan
INPUTS = np.random.default_rng(0).normal(size=(24, 20, 2))
KINDS = {
    "whole": {},
    "gaps": {"X": GAPS},
    "inputs": {"inputs": INPUTS, "n_components": 2},
    "counts": {"X": COUNTS},
    "counts, coarse bins": {"X": COUNTS, "steps_per_sample": 2},
    "mini-batches": {"batch_size": 8},
    "another connectivity": {"connectivity": "low_rank"},
    "a given start": {"initial_state": "inferred"},
    "the paper's solver": {"solver": "paper"},
}


def fitted(X=DATA.X, inputs=None, device="cpu", **params):
    params = {"n_components": 3, "rank": 3, "max_iter": 12, "random_state": 0} | params
    return JEDIEstimator(device=device, **params).fit(X, DATA.condition, inputs=inputs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_a_replayed_loss_gives_the_same_fit(kind, monkeypatch):
    def record(function, samples, allow_unused_input):
        assert allow_unused_input and all(t.is_leaf for t in samples)
        shapes = [t.shape for t in samples]

        def replay(*tensors):
            assert [t.shape for t in tensors] == shapes
            return function(*tensors)

        recorded.append(shapes)
        return replay

    monkeypatch.setattr(_fit, "PRECISION", torch.float64)  # rounding must not grow with the steps
    expected, recorded = fitted(**KINDS[kind]), []
    monkeypatch.setattr("jedi_sklearn._model.can_replay", lambda device: True)
    monkeypatch.setattr(torch.cuda, "device", contextlib.nullcontext)
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)
    got = fitted(**KINDS[kind])
    assert len(recorded) == 1 + (kind not in ("inputs", "the paper's solver"))  # forced, free
    assert_allclose(got.loss_curve_, expected.loss_curve_, rtol=1e-6)
    assert_allclose(
        got.score(KINDS[kind].get("X", DATA.X), **_inputs(kind)),
        expected.score(KINDS[kind].get("X", DATA.X), **_inputs(kind)),
        atol=1e-6,
    )


def _inputs(kind):
    return {"inputs": INPUTS} if kind == "inputs" else {}


def test_what_cannot_be_recorded_is_run_as_it_is(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no graphs here")

    monkeypatch.setattr(_fit, "PRECISION", torch.float64)
    expected = fitted()
    monkeypatch.setattr("jedi_sklearn._model.can_replay", lambda device: True)
    monkeypatch.setattr(torch.cuda, "device", contextlib.nullcontext)
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", refuse)
    assert_allclose(fitted().loss_curve_, expected.loss_curve_, rtol=1e-6)


def test_one_gpu_of_a_process_replays(monkeypatch):
    monkeypatch.setattr(_replay, "_FIRST", {})
    assert not _replay.can_replay(torch.device("cpu"))
    assert _replay.can_replay(torch.device("cuda", 1))
    assert not _replay.can_replay(torch.device("cuda", 0))


@needs_cuda
@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_on_cuda_is_the_fit_on_the_cpu_and_loads_without_cuda(kind):
    X, inputs = KINDS[kind].get("X", DATA.X), _inputs(kind)
    on_cpu, on_cuda = fitted(**KINDS[kind]), fitted(device="cuda", **KINDS[kind])
    assert_allclose(on_cuda.loss_curve_, on_cpu.loss_curve_, rtol=0.01)
    assert_allclose(on_cuda.score(X, **inputs), on_cpu.score(X, **inputs), atol=0.02)
    assert all(p.device.type == "cpu" for p in on_cuda.hypernetwork_.parameters())
    copy = pickle.loads(pickle.dumps(on_cuda)).set_params(device="cpu")
    assert_allclose(copy.transform(X, **inputs), on_cuda.transform(X, **inputs), atol=1e-5)


@needs_cuda
def test_the_loss_is_recorded_on_cuda(monkeypatch):
    recorded = []
    record = _replay._record

    def spy(function, tensors):
        recorded.append(record(function, tensors))
        return recorded[-1]

    monkeypatch.setattr(_replay, "_record", spy)
    fitted(device="cuda")
    assert len(recorded) == 2
    assert all("graphed" in each.forward.__qualname__ for each in recorded)


@pytest.fixture(scope="module")
def counted():
    return fitted(X=COUNTS, max_iter=40)


@needs_cuda
@pytest.mark.parametrize(
    "ask",
    [
        lambda est: est.posterior(COUNTS).covariance,
        lambda est: est.forecast(COUNTS[:, :12], 5),
        lambda est: est.impute(np.where(np.arange(12) % 4, COUNTS, np.nan)),
        lambda est: est.set_params(output="trajectory").transform(COUNTS),
    ],
)
def test_a_fit_answers_on_cuda_as_on_the_cpu(ask, counted):
    there = copy.deepcopy(counted).set_params(device="cuda")
    assert_allclose(ask(there), ask(copy.deepcopy(counted)), rtol=1e-3, atol=1e-4)


@needs_cuda
def test_neurons_and_tasks_join_on_cuda_as_on_the_cpu(counted):
    new = place_neurons(COUNTS[:, :, ::-1], slice(12, 24), 24)
    other = make_multitask(n_trials=8, n_neurons=12, n_timesteps=20, random_state=1)
    other = make_spike_counts(other, random_state=1).X
    here, there = copy.deepcopy(counted), copy.deepcopy(counted).set_params(device="cuda")
    for grow, X in (
        (lambda est: est.adapt(new, DATA.condition), new),
        (lambda est: est.set_params(max_iter=4).extend(other), other),
    ):
        assert_allclose(grow(there).score(X), grow(here).score(X), atol=0.02)


@needs_cuda
def test_sessions_are_fitted_on_cuda_as_on_the_cpu():
    X = stack_sessions([DATA.X[:12, :, :7], DATA.X[12:, :, 7:]])
    on_cpu, on_cuda = fitted(X=X), fitted(X=X, device="cuda")
    assert_allclose(on_cuda.loss_curve_, on_cpu.loss_curve_, rtol=0.01)
    assert_allclose(on_cuda.score(X), on_cpu.score(X), atol=0.02)
