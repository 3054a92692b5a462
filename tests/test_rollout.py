"""Facts about the hot loop: its loss is the definition's, its gradients are autograd's."""

import pytest
import torch
from torch.testing import assert_close

from jedi_sklearn import RNNBatch
from jedi_sklearn._connectivity import FullRank, LowRank, Shared
from jedi_sklearn._observation import Gaussian
from jedi_sklearn._rollout import (
    add_matvec_,
    filter_inputs,
    plain_loss,
    simulate,
    split_loss,
    tanh_,
)
from jedi_sklearn._trials import Trials

TIME, TRIALS, NEURONS, RANK, ALPHA = 9, 4, 6, 3, 0.2
NAMES = ("U", "V", "core", "bias", "x0")
CLASSES = {"shared": Shared, "low_rank": LowRank, "full_rank": FullRank}
OBSERVATION = Gaussian(torch.zeros(NEURONS), torch.ones(NEURONS))


def by_hand(
    weights, x0, data, alpha, teacher_forcing=0.0, workspace=None, *, mask=None, inputs=None
):
    trials = Trials(data, mask, inputs=inputs)
    return split_loss(weights, x0, trials, alpha, teacher_forcing, OBSERVATION, workspace)


def by_autograd(weights, x0, data, alpha, teacher_forcing=0.0, *, mask=None, inputs=None):
    trials = Trials(data, mask, inputs=inputs)
    return plain_loss(Shared, weights, x0, trials, alpha, teacher_forcing, OBSERVATION)


def make_problem(seed=0, dtype=torch.float64, trials=TRIALS):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    weights = {
        "U": normal(NEURONS, RANK),
        "V": normal(NEURONS, RANK),
        "core": normal(trials, RANK, RANK),
        "bias": normal(trials, RANK),
        "B": normal(NEURONS, 0),
    }
    return weights, normal(trials, NEURONS), normal(TIME, trials, NEURONS)


def gradients(loss_of, weights, x0, data, teacher_forcing, **rest):
    given = {k: w.clone() for k, w in (weights | {"x0": x0}).items()}
    leaves = {k: w.requires_grad_() for k, w in given.items() if w.numel()}
    start = given.pop("x0")
    loss = loss_of(given, start, data, ALPHA, teacher_forcing, **rest)
    return loss.detach(), dict(
        zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True)
    )


@pytest.mark.parametrize("teacher_forcing", [0.0, 0.3, 1.0])
def test_hand_written_gradients_are_those_of_autograd(teacher_forcing):
    problem = make_problem()
    loss, grads = gradients(by_hand, *problem, teacher_forcing)
    expected, expected_grads = gradients(by_autograd, *problem, teacher_forcing)
    assert_close(loss, expected, rtol=1e-12, atol=0)
    for name in NAMES:
        assert_close(grads[name], expected_grads[name], rtol=1e-9, atol=1e-11)
        assert grads[name].abs().max() > 1e-3  # so that the comparison says something


@pytest.mark.parametrize("teacher_forcing", [0.0, 0.3])
def test_hand_written_gradients_are_derivatives(teacher_forcing):
    weights, x0, data = make_problem(seed=1)

    # gradcheck walks back through one graph twice, which the buffers used in place do not
    # allow; each walk gets its own run.
    def numeric(name, move, eps=1e-6):
        def loss(sign):
            moved = {k: w.clone() for k, w in (weights | {"x0": x0}).items()}
            moved[name] += sign * eps * move
            start = moved.pop("x0")
            return by_hand(moved, start, data, ALPHA, teacher_forcing)

        return (loss(1) - loss(-1)) / (2 * eps)

    _, grads = gradients(by_hand, weights, x0, data, teacher_forcing)
    g = torch.Generator().manual_seed(2)
    for name in NAMES:
        for _ in range(3):
            move = torch.randn(grads[name].shape, generator=g, dtype=torch.float64)
            assert_close(
                float((grads[name] * move).sum()), float(numeric(name, move)), rtol=1e-6, atol=1e-6
            )


def test_the_loss_scales_its_gradient():
    weights, x0, data = make_problem()
    _, once = gradients(by_hand, weights, x0, data, 0.1)
    _, thrice = gradients(lambda *a: 3 * by_hand(*a), weights, x0, data, 0.1)
    for name in NAMES:
        assert_close(thrice[name], 3 * once[name])


def test_an_initial_state_without_gradient_gets_none():
    weights, x0, data = make_problem()
    weights["core"].requires_grad_()
    by_hand(weights, x0, data, ALPHA).backward()
    assert x0.grad is None
    _, expected = gradients(by_autograd, *make_problem(), 0.0)
    assert_close(weights["core"].grad, expected["core"], rtol=1e-9, atol=1e-11)


def test_a_workspace_changes_no_number():
    workspace = {}
    for seed, trials in ((0, TRIALS), (1, TRIALS), (2, TRIALS - 2), (3, TRIALS)):
        problem = make_problem(seed, trials=trials)
        loss, grads = gradients(by_hand, *problem, 0.2)
        reused, reused_grads = gradients(by_hand, *problem, 0.2, workspace=workspace)
        assert reused == loss
        for name in NAMES:
            assert torch.equal(reused_grads[name], grads[name])


def test_single_precision_is_single_precision():
    _, exact = gradients(by_hand, *make_problem(), 0.1)
    _, single = gradients(by_hand, *make_problem(dtype=torch.float32), 0.1)
    for name in NAMES:
        assert single[name].dtype == torch.float32
        assert_close(single[name].double(), exact[name], rtol=1e-4, atol=1e-3)


def test_the_loss_of_a_free_run_is_its_squared_error():
    weights, x0, data = make_problem()
    run = simulate(Shared, weights, x0, TIME, ALPHA)
    assert_close(by_hand(weights, x0, data, ALPHA), (run - data).square().sum())
    assert float(by_hand(weights, x0, run, ALPHA)) < 1e-20


def test_full_forcing_predicts_each_sample_from_the_one_before():
    weights, x0, data = make_problem()
    after = torch.stack([simulate(Shared, weights, x, 2, ALPHA)[1] for x in data[:-1]])
    expected = (x0 - data[0]).square().sum() + (after - data[1:]).square().sum()
    assert_close(by_hand(weights, x0, data, ALPHA, teacher_forcing=1.0), expected)


def test_data_made_by_the_model_cost_nothing_under_any_forcing():
    weights, x0, _ = make_problem()
    run = simulate(Shared, weights, x0, TIME, ALPHA)
    for teacher_forcing in (0.0, 0.1, 0.7, 1.0):
        loss, grads = gradients(by_hand, weights, x0, run, teacher_forcing)
        assert float(loss) < 1e-20
        assert all(float(g.abs().max()) < 1e-9 for g in grads.values())


@pytest.mark.parametrize("connectivity", ["shared", "low_rank", "full_rank"])
def test_the_torch_run_is_the_numpy_run(connectivity):
    weights, x0, _ = make_problem()
    U, V, core, bias, B = weights.values()
    left = U @ core  # (trials, neurons, rank)
    dense_bias = bias @ U.t()
    if connectivity == "shared":
        rnns = RNNBatch(U, V, core, bias=dense_bias, dt=0.02, tau=0.1)
    elif connectivity == "low_rank":
        weights = {"U": left, "V": V.expand_as(left).contiguous(), "bias": dense_bias, "B": B}
        rnns = RNNBatch(left, weights["V"], bias=dense_bias, dt=0.02, tau=0.1)
    else:
        weights = {"J": left @ V.t(), "bias": dense_bias, "B": B}
        rnns = RNNBatch.from_dense(weights["J"], bias=dense_bias, dt=0.02, tau=0.1)
    form = CLASSES[connectivity]
    run = simulate(form, weights, x0, TIME, ALPHA)
    assert_close(run.transpose(0, 1), torch.as_tensor(rnns.simulate(x0, TIME)))
    trials = Trials(torch.zeros_like(run))
    loss = form.loss(weights, x0, trials, ALPHA, 0.0, OBSERVATION)
    assert_close(loss, run.square().sum(), check_dtype=False)


def test_fast_tanh_is_tanh_in_place():
    x = torch.linspace(-30, 30, 10_001, dtype=torch.float64)
    x = torch.cat([x, torch.tensor([-torch.inf, torch.inf, 1e300], dtype=torch.float64)])
    expected = torch.tanh(x)
    result = tanh_(x)
    assert result is x
    assert_close(x, expected, rtol=0, atol=1e-15)


# Missing samples and known inputs


def make_driven_problem(seed=0):
    """A problem with two input channels and about a third of the samples missing."""
    weights, x0, data = make_problem(seed)
    g = torch.Generator().manual_seed(seed + 10)
    weights["B"] = torch.randn(NEURONS, 2, generator=g, dtype=torch.float64)
    inputs = torch.randn(TIME, TRIALS, 2, generator=g, dtype=torch.float64)
    mask = (torch.rand(data.shape, generator=g) < 0.65).double()
    mask[-3:, 1] = 0  # a trial that ends early
    mask[:, 2, 4] = 0  # a neuron missing from a trial
    return (weights, x0, data), mask, inputs


@pytest.mark.parametrize("teacher_forcing", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("driven", [False, True])
def test_gradients_with_gaps_and_inputs_are_those_of_autograd(teacher_forcing, masked, driven):
    problem, mask, inputs = make_driven_problem()
    if not driven:
        problem[0]["B"] = problem[0]["B"][:, :0]
    rest = {"mask": mask if masked else None, "inputs": inputs if driven else None}
    loss, grads = gradients(by_hand, *problem, teacher_forcing, **rest)
    expected, expected_grads = gradients(by_autograd, *problem, teacher_forcing, **rest)
    assert_close(loss, expected, rtol=1e-12, atol=0)
    assert set(grads) == {*NAMES, "B"} if driven else set(NAMES)
    for name, grad in grads.items():
        assert_close(grad, expected_grads[name], rtol=1e-9, atol=1e-11)
        assert grad.abs().max() > 1e-3


def test_a_mask_of_ones_changes_nothing():
    problem, mask, inputs = make_driven_problem()
    loss, grads = gradients(by_hand, *problem, 0.2, inputs=inputs)
    ones = torch.ones_like(mask)
    masked, masked_grads = gradients(by_hand, *problem, 0.2, mask=ones, inputs=inputs)
    assert torch.equal(masked, loss)
    for name, grad in grads.items():
        assert torch.equal(masked_grads[name], grad)


@pytest.mark.parametrize("loss_of", [by_hand, by_autograd])
def test_nothing_pulls_where_nobody_was_recorded(loss_of):
    (weights, x0, data), mask, inputs = make_driven_problem()
    mask[3:5, 0] = mask[-2:, 1] = mask[0, 2] = 0
    recorded = mask.any(2, keepdim=True)
    other = torch.where(recorded, data, 7 - 3 * data)
    rest = {"mask": mask, "inputs": inputs}
    loss, grads = gradients(loss_of, weights, x0, data, 0.3, **rest)
    again, again_grads = gradients(loss_of, weights, x0, other, 0.3, **rest)
    assert_close(again, loss, rtol=1e-14, atol=0)
    expected, expected_grads = gradients(by_autograd, weights, x0, data, 0.3, **rest)
    assert_close(loss, expected, rtol=1e-12, atol=0)
    for name, grad in grads.items():
        assert_close(again_grads[name], grad, rtol=1e-12, atol=1e-13)
        assert_close(grad, expected_grads[name], rtol=1e-9, atol=1e-11)


def test_steps_between_samples_are_pulled_where_both_were_recorded():
    y = torch.zeros(4, 2, 3)
    weight = torch.ones_like(y)
    weight[1, 0] = 0
    pulls = Trials(y, weight).spread(2).pulls_of_training(0.5)
    assert pulls[4:] == [0.5] * 3 and pulls[0] == 0.5
    assert [pull.flatten().tolist() for pull in pulls[1:4]] == [[0.0, 0.5]] * 3


@pytest.mark.parametrize("loss_of", [by_hand, by_autograd])
def test_imputed_values_does_not_matter_to_free_runs_and_pulls_forced_ones(loss_of):
    (weights, x0, data), mask, inputs = make_driven_problem()
    other = torch.where(mask > 0, data, 7 - 3 * data)
    rest = {"mask": mask, "inputs": inputs}
    loss, grads = gradients(loss_of, weights, x0, data, 0.0, **rest)
    again, again_grads = gradients(loss_of, weights, x0, other, 0.0, **rest)
    assert_close(again, loss, rtol=1e-14, atol=0)
    for name, grad in grads.items():
        assert_close(again_grads[name], grad, rtol=1e-12, atol=1e-14)
    forced = [loss_of(weights, x0, d, ALPHA, 0.3, **rest) for d in (data, other)]
    assert abs(float(forced[0] - forced[1])) > 1e-3


def test_the_loss_with_gaps_is_the_squared_error_of_the_driven_run():
    (weights, x0, data), mask, inputs = make_driven_problem()
    run = simulate(Shared, weights, x0, TIME, ALPHA, inputs)
    expected = ((run - data) * mask).square().sum()
    assert_close(by_hand(weights, x0, data, ALPHA, mask=mask, inputs=inputs), expected)


@pytest.mark.parametrize("connectivity", ["shared", "low_rank", "full_rank"])
def test_the_driven_torch_run_is_the_numpy_run(connectivity):
    (weights, x0, _), _, inputs = make_driven_problem()
    J = weights["U"] @ weights["core"] @ weights["V"].t()
    bias, B = weights["bias"] @ weights["U"].t(), weights["B"]
    rnns = RNNBatch.from_dense(J, bias=bias, input_weights=B, dt=0.02, tau=0.1)
    if connectivity == "low_rank":
        left = weights["U"] @ weights["core"]
        weights = {"U": left, "V": weights["V"].expand_as(left), "bias": bias, "B": B}
    elif connectivity == "full_rank":
        weights = {"J": J, "bias": bias, "B": B}
    run = simulate(CLASSES[connectivity], weights, x0, TIME, ALPHA, inputs)
    expected = rnns.simulate(x0, TIME, inputs.transpose(0, 1))
    assert_close(run.transpose(0, 1), torch.as_tensor(expected))


def test_filtered_inputs_are_what_a_silent_network_remembers():
    (weights, x0, data), _, inputs = make_driven_problem()
    silent = {name: torch.zeros_like(w) for name, w in weights.items()} | {"B": weights["B"]}
    run = simulate(Shared, silent, torch.zeros_like(x0), TIME, ALPHA, inputs)
    assert_close(filter_inputs(inputs, ALPHA) @ weights["B"].t(), run)
    # sample t acts on the step to t + 1, the last one on nothing
    inputs[-1] += 1
    assert_close(simulate(Shared, silent, torch.zeros_like(x0), TIME, ALPHA, inputs), run)


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("rank", [5, 24])
def test_products_are_added_in_place(rank, strided):
    matrices, vectors = torch.randn(4, rank, rank).double(), torch.randn(4, rank).double()
    whole = torch.randn(4, 3, rank).double()
    out = whole[:, 1] if strided else whole[:, 1].clone()
    before = whole.clone()
    expected = out + torch.einsum("kij,kj->ki", matrices, vectors)
    assert_close(add_matvec_(out, matrices, matrices.mT.contiguous(), vectors), expected)
    assert_close(out, expected)
    assert_close(whole[:, ::2], before[:, ::2], rtol=0, atol=0)
