"""Facts about the closed-form start: exact where the model is exact, canonical embeddings."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from jedi_sklearn import _warm_start
from jedi_sklearn._hypernetwork import Hypernetwork
from jedi_sklearn._initial_state import Observed
from jedi_sklearn._rollout import simulate
from jedi_sklearn._trials import Trials
from jedi_sklearn._warm_start import (
    _moments,
    _solve_embeddings,
    _solve_maps,
    _Steps,
    _whiten,
    warm_start,
)
from jedi_sklearn.datasets import make_multitask

CONDITIONS = np.arange(24) % 6


@pytest.fixture(params=["trial", "condition"])
def case(request, make_model, monkeypatch):
    """Noise-free data of a known model and their start, with next to no ridge."""
    monkeypatch.setattr(_warm_start, "RIDGE", 1e-10)
    codes = CONDITIONS if request.param == "condition" else None
    model = make_model(24, rank=3, turning=1.5, conditions=codes)
    data = torch.as_tensor(model.X).transpose(0, 1).contiguous()
    rows = None if codes is None else torch.as_tensor(codes)
    return model, data, rows, start(Trials(data), 3, 2, model.alpha, rows)


def start(trials, *rest):
    """The closed form with free runs from the first sample."""
    return warm_start(trials, trials.guide[0, :, :0], Observed(trials.shape[2]), *rest)


def random_moments(seed=0, n=7, z=4, r=3):
    g = torch.Generator().manual_seed(seed)
    Z = torch.randn(n, 12, z, generator=g, dtype=torch.float64)
    Y = torch.randn(n, 12, r, generator=g, dtype=torch.float64)
    return Z, Y, Z.transpose(1, 2) @ Z, Z.transpose(1, 2) @ Y


def test_noise_free_runs_are_linear_in_the_weights(known):
    x = torch.as_tensor(known.X).transpose(0, 1)
    J = torch.as_tensor(known.rnns.to_dense())
    bias = torch.as_tensor(known.rnns.bias)
    for r, s, evoked in _Steps(Trials(x), x[0], known.alpha):
        assert_close(evoked, (J @ r[..., None])[..., 0] + s[:, None] * bias, rtol=1e-9, atol=1e-11)


def test_bases_span_what_the_data_span(case):
    model, _, _, (U, V, *_) = case
    projector = torch.as_tensor(model.P @ model.P.T)
    for basis in (U, V):
        q = torch.linalg.qr(basis)[0]
        assert_close(q @ q.t(), projector, rtol=0, atol=1e-8)
        gram = basis.t() @ basis  # orthogonal columns
        assert_close(gram, torch.diag(gram.diagonal()), rtol=0, atol=1e-10)


def test_the_teacher_forced_residual_vanishes(case):
    model, data, rows, (U, V, maps, c, _) = case
    A, B = _moments(_Steps(Trials(data), data[0], model.alpha), U, V)
    each = c if rows is None else c[rows]
    theta = torch.einsum("kd,dij->kij", torch.cat([torch.ones_like(each[:, :1]), each], 1), maps)
    explained = 2 * (theta * B).sum() - (theta * (A @ theta)).sum()
    x = data - torch.stack([data[0] * (1 - model.alpha) ** t for t in range(len(data))])
    assert 1 - float(explained / x.square().sum()) < 1e-8


def test_generated_weights_are_the_true_ones(case):
    model, _, rows, (U, V, maps, c, _) = case
    each = c if rows is None else c[rows]
    weights = torch.einsum("kd,dij->kij", torch.cat([torch.ones_like(each[:, :1]), each], 1), maps)
    J = U @ weights[:, :-1].transpose(1, 2) @ V.t()
    assert_close(J, torch.as_tensor(model.rnns.to_dense()), rtol=0, atol=1e-4)
    assert_close(weights[:, -1] @ U.t(), torch.as_tensor(model.rnns.bias), rtol=0, atol=1e-4)


def test_embeddings_are_an_affine_image_of_the_true_ones(case):
    model, _, rows, (_, _, _, c, _) = case
    each = (c if rows is None else c[rows]).numpy()
    design = np.column_stack([np.ones(len(each)), each])
    fit = design @ np.linalg.lstsq(design, model.c, rcond=None)[0]
    np.testing.assert_allclose(fit, model.c, atol=1e-4)


def test_the_free_run_of_an_exact_start_is_the_data(case):
    model, data, rows, (U, V, maps, c, _) = case
    hyper = Hypernetwork(2, data.shape[2], 3).double()
    hyper.start_from(U, V, maps)
    weights = hyper(c if rows is None else c[rows])
    run = simulate(hyper.connectivity, weights, data[0], len(data), model.alpha)
    assert float((run - data).square().sum() / data.square().sum()) < 1e-7


@pytest.mark.parametrize("rows", [None, CONDITIONS])
def test_embeddings_of_any_data_are_white(multitask, rows):
    data = torch.as_tensor(multitask.X[:24], dtype=torch.float32).transpose(0, 1).contiguous()
    rows = None if rows is None else torch.as_tensor(rows)
    U, V, maps, c, B = start(Trials(data), 8, 4, 0.2, rows)
    assert B is None
    assert {a.dtype for a in (U, V, maps, c)} == {torch.float32}
    assert c.shape == (24 if rows is None else 6, 4)
    assert_close(c.mean(0), torch.zeros(4), rtol=0, atol=1e-5)
    assert_close(torch.cov(c.t(), correction=0), torch.eye(4), rtol=0, atol=1e-4)


def test_whitening_leaves_the_weights_as_they_are():
    g = torch.Generator().manual_seed(0)
    c = 1 + torch.randn(9, 2, generator=g, dtype=torch.float64) @ torch.tensor(
        [[2.0, 1.0], [0.0, 0.3]], dtype=torch.float64
    )
    maps = torch.randn(3, 4, 3, generator=g, dtype=torch.float64)
    white, new = _whiten(c, maps)
    for k in range(9):
        before = maps[0] + torch.tensordot(c[k], maps[1:], dims=1)
        assert_close(new[0] + torch.tensordot(white[k], new[1:], dims=1), before)
    assert_close(torch.cov(white.t(), correction=0), torch.eye(2, dtype=torch.float64))


def test_each_half_sweep_is_a_minimum():
    Z, Y, A, B = random_moments()
    g = torch.Generator().manual_seed(1)
    ridge = 0.3

    def cost(maps, c):
        theta = maps[0] + torch.einsum("kd,dij->kij", c, maps[1:])
        misfit = (Y - Z @ theta).square().sum()
        return misfit + ridge * (c.square().sum() + maps.square().sum())

    c = torch.randn(7, 2, generator=g, dtype=torch.float64)
    maps = _solve_maps(A, B, c, ridge).requires_grad_()
    (slope,) = torch.autograd.grad(cost(maps, c), maps)
    assert float(slope.abs().max()) < 1e-9
    maps = maps.detach()
    c = _solve_embeddings(A, B, maps, ridge).requires_grad_()
    (slope,) = torch.autograd.grad(cost(maps, c), c)
    assert float(slope.abs().max()) < 1e-9


# Missing samples and known inputs


@pytest.mark.parametrize("gap", ["all neurons", "filled in truly"])
def test_samples_that_nobody_recorded_count_for_nothing(known, gap):
    data = torch.as_tensor(known.X[:12]).transpose(0, 1).contiguous()
    mask = torch.ones_like(data)
    if gap == "all neurons":
        mask[-15:] = 0  # every trial is padded
        cut = Trials(data[:-15].contiguous())
        other = torch.where(mask > 0, data, data + 5)
    else:
        mask[3:6, :, 4] = 0  # a neuron: what was filled in counts
        cut, other = Trials(data), data
    expected = start(cut, 2, 2, known.alpha)
    got = start(Trials(other, mask), 2, 2, known.alpha)

    def weights(U, V, maps, c, _):
        theta = maps[0] + torch.einsum("kd,dij->kij", c, maps[1:])
        return U @ theta[:, :-1].transpose(1, 2) @ V.t(), theta[:, -1] @ U.t()

    for a, b in zip(weights(*got), weights(*expected), strict=True):
        assert_close(a, b, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("cut", [False, True])
def test_input_weights_of_one_network_are_found_in_closed_form(monkeypatch, known, cut):
    monkeypatch.setattr(_warm_start, "RIDGE", 1e-10)
    g = torch.Generator().manual_seed(0)
    n = known.X.shape[2]
    x0 = torch.as_tensor(known.X[:20, 0])
    inputs = torch.randn(40, 20, 2, generator=g, dtype=torch.float64)
    P = torch.as_tensor(known.P)
    B = P @ torch.randn(2, 2, generator=g, dtype=torch.float64)  # rates stay in the span of P
    one = {
        name: w[:1].expand(20, -1, -1) if w.ndim == 3 else w
        for name, w in known.hyper(torch.zeros(1, 2, dtype=torch.float64)).items()
    }
    one["bias"] = one["bias"].expand(20, -1)
    data = simulate(known.hyper.connectivity, one | {"B": B}, x0, 40, known.alpha, inputs)
    mask = None
    if cut:
        mask = torch.ones_like(data)
        mask[-10:, ::2] = 0
        data = torch.where(mask > 0, data, torch.full_like(data, 3.0))
    U, V, maps, c, found = start(Trials(data, mask, inputs=inputs), 2, 2, known.alpha)
    assert found.shape == (n, 2)
    assert_close(found, B, rtol=0, atol=1e-3)
    J = U @ maps[0, :-1].t() @ V.t()
    assert_close(J, (one["U"] @ one["core"] @ one["V"].t())[0], rtol=0, atol=1e-3)


def test_the_common_network_reads_from_weak_directions_too(monkeypatch):
    """Without noise the start is exact, and reads beside the leading directions of the rates."""
    monkeypatch.setattr(_warm_start, "RIDGE", 1e-10)
    monkeypatch.setattr(_warm_start, "COMMON_RIDGE", 1e-10)
    noise = {"process_noise": 0, "observation_noise": 0}
    made = make_multitask(40, n_neurons=20, n_timesteps=60, initial_jitter=1, **noise)
    data = torch.as_tensor(made.X).transpose(0, 1).contiguous()
    inputs = torch.as_tensor(made.inputs).transpose(0, 1).contiguous()
    U, V, maps, _, B = start(Trials(data, inputs=inputs), 5, 1, 0.1)
    J = U @ maps[0, :-1].t() @ V.t()
    assert_close(J, torch.as_tensor(made.teacher.to_dense()[0]), rtol=0, atol=1e-3)
    assert_close(B, torch.as_tensor(made.teacher.input_weights), rtol=0, atol=1e-3)
    rates = torch.tanh(data).flatten(0, 1)
    leading = torch.linalg.svd(rates, full_matrices=False)[2][:5]
    assert torch.linalg.svdvals(leading @ torch.linalg.qr(V)[0])[-1] < 0.9


@pytest.mark.parametrize("some", [False, True])
def test_second_moments_are_those_of_all_steps(known, some):
    """Also where neurons drive no others: their rates are left out, and are 0."""
    x = torch.as_tensor(known.X).transpose(0, 1)
    n = x.shape[2]
    drive = torch.arange(n) % 3 == 0 if some else None
    how = (x[0, :, :0], Observed(n), known.alpha, _warm_start.ALONE, drive)
    regression, sample = _warm_start._Regression(Trials(x), *how), torch.arange(x.shape[1])
    basis = torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    rates, _, side = zip(*(step for _, steps in regression(sample) for step in steps), strict=True)
    expected = [sum(rows.t() @ rows for rows in each) for each in (side, rates)]
    for bases, right in (((None, None), torch.eye(n, dtype=x.dtype)), ((basis, basis), basis)):
        for found, moment in zip(
            _warm_start._second_moments(regression, sample, bases), expected, strict=True
        ):
            assert_close(found, moment @ right, rtol=1e-9, atol=1e-12)
    assert (torch.diag(expected[1]) > 0).sum() == (n if drive is None else drive.sum())
