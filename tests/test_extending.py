"""Facts about the seams: one class and one row of a table make an option; imports go one way."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from jedi_sklearn import JEDIEstimator
from jedi_sklearn._connectivity import CONNECTIVITIES, FullRank, Shared
from jedi_sklearn._initial_state import Observed
from jedi_sklearn._linearised import DenseRuns, deviances
from jedi_sklearn._observation import Gaussian
from jedi_sklearn._rollout import plain_loss, split_loss
from jedi_sklearn._split_runs import SplitRuns
from jedi_sklearn._trials import Trials

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "jedi_sklearn"


def names_in_module_map():
    """Modules of the first table of the module map, in its order."""
    table = (ROOT / "docs" / "module_map.md").read_text(encoding="utf-8").split("Beside them")[0]
    return re.findall(r"^\| `(\w+)\.py` \|", table, flags=re.MULTILINE)


def imported(path):
    """Modules of the package that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            yield node.module


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="not in a checkout")
def test_nothing_imports_upwards():
    order = names_in_module_map()
    files = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "metrics"}
    assert sorted(order) == sorted(files)
    for i, name in enumerate(order):
        assert set(imported(PACKAGE / f"{name}.py")) <= set(order[:i]), name


class Skew(FullRank):
    """J = A - A'."""

    def weights(self, f):
        weights = super().weights(f)
        return weights | {"J": weights["J"] - weights["J"].transpose(1, 2)}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.slow
def test_a_connectivity_is_one_class_and_one_row(small, multitask, monkeypatch, tmp_path):
    monkeypatch.setitem(CONNECTIVITIES, "skew", Skew)
    X = multitask.X[:16, :20, :10]
    est = small(n_components=2, rank=4, connectivity="skew", max_iter=10).fit(X)
    rnns = est.dynamics(X)
    assert rnns.connectivity == "full_rank" and est.rank_ == 10
    np.testing.assert_allclose(rnns.eigenvalues().real, 0, atol=1e-10)
    est.save(tmp_path / "skew.npz")
    loaded = JEDIEstimator.load(tmp_path / "skew.npz")
    np.testing.assert_array_equal(loaded.transform(X), est.transform(X))
    with pytest.raises(ValueError, match='did you mean "skew"'):
        small(connectivity="skwe").fit(X)


class Counts(Gaussian):
    """Poisson counts of log rate gain * x, the gain of each neuron learned."""

    squared = False

    def __init__(self, n):
        super().__init__(torch.zeros(n), torch.ones(n))
        self.gain = nn.Parameter(torch.linspace(0.5, 1.5, n, dtype=torch.float64))

    def begin(self):
        self.own = torch.zeros_like(self.gain)

    def gradients(self):
        return (self.own,)

    def step(self, x, y, weight, out):
        eta = x * self.gain.detach()
        torch.sub(eta.exp(), y, out=out)
        out.mul_(1 if weight is None else weight)
        self.own += (out * x).sum(0)
        out.mul_(self.gain.detach())
        return self.deviance(x, y, weight).detach()

    def deviance(self, x, y, weight):
        eta = x * self.gain
        return (2 * (eta.exp() - y * eta) * (1 if weight is None else weight)).sum()

    def score(self, x, y, weight):
        mu = (x * self.gain).exp() * (1 if weight is None else weight)
        y = y * (1 if weight is None else weight)
        each = 2 * (mu - y * x * self.gain).sum(1)
        return self.gain * (mu - y), self.gain.square() * mu, each

    def expand(self, x):
        return 2 * (x * self.gain).exp(), 2 * x * self.gain

    def of_values(self, y):
        return torch.zeros_like(y)


@pytest.fixture
def counted():
    g = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    weights = {"U": normal(6, 3), "V": normal(6, 3), "core": normal(4, 3, 3)}
    weights |= {"bias": normal(4, 3), "B": normal(6, 2)}
    y = torch.poisson(torch.ones(9, 4, 6, dtype=torch.float64), generator=g)
    weight = (torch.rand(9, 4, 6, generator=g) < 0.7).double()
    return weights, normal(4, 6), Trials(y, weight, normal(9, 4, 6), normal(9, 4, 2))


@pytest.mark.parametrize("teacher_forcing", [0.0, 0.3])
def test_the_backward_pass_serves_any_observation(counted, teacher_forcing):
    """Values are not states here: other units, a guide of its own, parameters of its own."""
    weights, x0, trials = counted
    found = []
    for loss_of in (split_loss, lambda *a: plain_loss(Shared, *a)):
        observation = Counts(6)
        leaves = {k: w.clone().requires_grad_() for k, w in (weights | {"x0": x0}).items()}
        given = [leaves[k] for k in leaves] + [observation.gain]
        start = leaves.pop("x0")
        loss = loss_of(leaves, start, trials, 0.2, teacher_forcing, observation)
        found.append((loss.detach(), *torch.autograd.grad(loss, given)))
    for got, expected in zip(*found, strict=True):
        assert_close(got, expected, rtol=1e-9, atol=1e-10)
        assert got.abs().max() > 1e-3


def test_trials_are_compared_with_runs_under_any_observation(counted):
    _, _, trials = counted
    observation = Counts(6).requires_grad_(False)
    states = torch.randn(9, 5, 6, generator=torch.Generator().manual_seed(0)).double()
    found = deviances(states, trials, observation)
    for k, j in ((0, 0), (3, 4), (1, 2)):
        each = observation.score(states[:, j], trials.y[:, k], trials.weight[:, k])[2]
        assert_close(found[k, j], each.sum(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("teacher_forcing", [0.0, 0.3])
def test_inference_takes_scores_of_any_observation(make_model, teacher_forcing):
    """Both ways to linearise agree, and the gradient is that of the deviance."""
    model, g = make_model(5, 15, n_neurons=8, rank=4), torch.Generator().manual_seed(0)
    guide = torch.as_tensor(model.X).transpose(0, 1).contiguous()
    y = torch.poisson(torch.ones_like(guide), generator=g)
    trials = Trials(y, (torch.rand(y.shape, generator=g) < 0.8).double(), guide)
    parts = (model.hyper, Observed(8).double(), Counts(8).requires_grad_(False), model.alpha)
    p = torch.randn(5, 2, generator=g, dtype=torch.float64)
    found = []
    for Runs in (SplitRuns, DenseRuns):
        runs = Runs(*parts)
        target = runs.target(trials, teacher_forcing)
        deviance, kept = runs.run(p, target, keep=True)
        found.append((deviance, *runs.system(p, target, kept)[:2]))
    for got, expected in zip(*found, strict=True):
        assert_close(got, expected, rtol=1e-9, atol=1e-9)
    for i, move in enumerate(1e-6 * torch.eye(2, dtype=torch.float64)):
        above, below = (runs.run(p + sign * move, target)[0] for sign in (1, -1))
        assert_close(found[0][1][:, i], (above - below) / 4e-6, rtol=1e-5, atol=1e-5)
