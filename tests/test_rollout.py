"""Facts about the hot loop: its loss is the definition's, its gradients are autograd's."""

import pytest
import torch
from torch.testing import assert_close

from jedi_sklearn import RNNBatch
from jedi_sklearn._rollout import _plain_loss, rollout_loss, simulate, tanh_

TIME, TRIALS, NEURONS, RANK, ALPHA = 9, 4, 6, 3, 0.2
NAMES = ("U", "V", "core", "bias", "x0")


def make_problem(seed=0, dtype=torch.float64, trials=TRIALS):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    weights = {
        "U": normal(NEURONS, RANK),
        "V": normal(NEURONS, RANK),
        "core": normal(trials, RANK, RANK),
        "bias": normal(trials, RANK),
    }
    return weights, normal(trials, NEURONS), normal(TIME, trials, NEURONS)


def gradients(loss_of, weights, x0, data, forcing, **rest):
    leaves = {k: w.clone().requires_grad_() for k, w in (weights | {"x0": x0}).items()}
    inputs = dict(leaves)
    start = inputs.pop("x0")
    loss = loss_of(inputs, start, data, ALPHA, forcing, **rest)
    return loss.detach(), dict(
        zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True)
    )


@pytest.mark.parametrize("forcing", [0.0, 0.3, 1.0])
def test_hand_written_gradients_are_those_of_autograd(forcing):
    problem = make_problem()
    loss, grads = gradients(rollout_loss, *problem, forcing)
    expected, expected_grads = gradients(_plain_loss, *problem, forcing)
    assert_close(loss, expected, rtol=1e-12, atol=0)
    for name in NAMES:
        assert_close(grads[name], expected_grads[name], rtol=1e-9, atol=1e-11)
        assert grads[name].abs().max() > 1e-3  # so that the comparison says something


@pytest.mark.parametrize("forcing", [0.0, 0.3])
def test_hand_written_gradients_are_derivatives(forcing):
    weights, x0, data = make_problem(seed=1)

    # gradcheck walks back through one graph twice, which the buffers used in place do not
    # allow; each walk gets its own run.
    def numeric(name, move, eps=1e-6):
        def loss(sign):
            moved = {k: w.clone() for k, w in (weights | {"x0": x0}).items()}
            moved[name] += sign * eps * move
            start = moved.pop("x0")
            return rollout_loss(moved, start, data, ALPHA, forcing)

        return (loss(1) - loss(-1)) / (2 * eps)

    _, grads = gradients(rollout_loss, weights, x0, data, forcing)
    g = torch.Generator().manual_seed(2)
    for name in NAMES:
        for _ in range(3):
            move = torch.randn(grads[name].shape, generator=g, dtype=torch.float64)
            assert_close(
                float((grads[name] * move).sum()), float(numeric(name, move)), rtol=1e-6, atol=1e-6
            )


def test_the_loss_scales_its_gradient():
    weights, x0, data = make_problem()
    _, once = gradients(rollout_loss, weights, x0, data, 0.1)
    _, thrice = gradients(lambda *a: 3 * rollout_loss(*a), weights, x0, data, 0.1)
    for name in NAMES:
        assert_close(thrice[name], 3 * once[name])


def test_an_initial_state_without_gradient_gets_none():
    weights, x0, data = make_problem()
    weights["core"].requires_grad_()
    rollout_loss(weights, x0, data, ALPHA).backward()
    assert x0.grad is None
    _, expected = gradients(_plain_loss, *make_problem(), 0.0)
    assert_close(weights["core"].grad, expected["core"], rtol=1e-9, atol=1e-11)


def test_a_workspace_changes_no_number():
    workspace = {}
    for seed, trials in ((0, TRIALS), (1, TRIALS), (2, TRIALS - 2), (3, TRIALS)):
        problem = make_problem(seed, trials=trials)
        loss, grads = gradients(rollout_loss, *problem, 0.2)
        reused, reused_grads = gradients(rollout_loss, *problem, 0.2, workspace=workspace)
        assert reused == loss
        for name in NAMES:
            assert torch.equal(reused_grads[name], grads[name])


def test_single_precision_is_single_precision():
    _, exact = gradients(rollout_loss, *make_problem(), 0.1)
    _, single = gradients(rollout_loss, *make_problem(dtype=torch.float32), 0.1)
    for name in NAMES:
        assert single[name].dtype == torch.float32
        assert_close(single[name].double(), exact[name], rtol=1e-4, atol=1e-3)


def test_the_loss_of_a_free_run_is_its_squared_error():
    weights, x0, data = make_problem()
    run = simulate(weights, x0, TIME, ALPHA)
    assert_close(rollout_loss(weights, x0, data, ALPHA), (run - data).square().sum())
    assert float(rollout_loss(weights, x0, run, ALPHA)) < 1e-20


def test_full_forcing_predicts_each_sample_from_the_one_before():
    weights, x0, data = make_problem()
    after = torch.stack([simulate(weights, x, 2, ALPHA)[1] for x in data[:-1]])
    expected = (x0 - data[0]).square().sum() + (after - data[1:]).square().sum()
    assert_close(rollout_loss(weights, x0, data, ALPHA, forcing=1.0), expected)


def test_data_made_by_the_model_cost_nothing_under_any_forcing():
    weights, x0, _ = make_problem()
    run = simulate(weights, x0, TIME, ALPHA)
    for forcing in (0.0, 0.1, 0.7, 1.0):
        loss, grads = gradients(rollout_loss, weights, x0, run, forcing)
        assert float(loss) < 1e-20
        assert all(float(g.abs().max()) < 1e-9 for g in grads.values())


@pytest.mark.parametrize("connectivity", ["shared", "low_rank", "full_rank"])
def test_the_torch_run_is_the_numpy_run(connectivity):
    weights, x0, _ = make_problem()
    U, V, core, bias = weights.values()
    left = U @ core  # (trials, neurons, rank)
    dense_bias = bias @ U.t()
    if connectivity == "shared":
        rnns = RNNBatch(U, V, core, bias=dense_bias, dt=0.02, tau=0.1)
    elif connectivity == "low_rank":
        weights = {"U": left, "V": V.expand_as(left).contiguous(), "bias": dense_bias}
        rnns = RNNBatch(left, weights["V"], bias=dense_bias, dt=0.02, tau=0.1)
    else:
        weights = {"J": left @ V.t(), "bias": dense_bias}
        rnns = RNNBatch.from_dense(weights["J"], bias=dense_bias, dt=0.02, tau=0.1)
    run = simulate(weights, x0, TIME, ALPHA)
    assert_close(run.transpose(0, 1), torch.as_tensor(rnns.simulate(x0, TIME)))
    data = torch.zeros_like(run)
    assert_close(rollout_loss(weights, x0, data, ALPHA), run.square().sum())


def test_fast_tanh_is_tanh_in_place():
    x = torch.linspace(-30, 30, 10_001, dtype=torch.float64)
    x = torch.cat([x, torch.tensor([-torch.inf, torch.inf, 1e300], dtype=torch.float64)])
    expected = torch.tanh(x)
    result = tanh_(x)
    assert result is x
    assert_close(x, expected, rtol=0, atol=1e-15)
