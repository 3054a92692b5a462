"""Steps of training: SOAP, and Adam without axes of its own."""

import numpy as np
import torch
from numpy.testing import assert_allclose

from jedi_sklearn._optimiser import Optimiser


def descend(start, targets, n_steps=30, learning_rate=0.05, **how):
    """Minimise sums of squares weighted by an uneven matrix; return all states."""
    p = torch.tensor(start, requires_grad=True)
    optimiser, path = Optimiser([p], [1.0], **how), []
    for _ in range(n_steps):
        p.grad = None
        loss_of(p, *targets).backward()
        optimiser.step(learning_rate)
        path.append(p.detach().clone().numpy())
    return np.array(path)


def loss_of(p, left, right, target):
    return (torch.tensor(left) @ p @ torch.tensor(right) - torch.tensor(target)).square().sum()


def problem(seed=0, shape=(6, 4)):
    rng = np.random.RandomState(seed)
    left = rng.standard_normal((shape[0], shape[0])) * np.logspace(0, 1, shape[0])
    right = rng.standard_normal((shape[1], shape[1])) * np.logspace(0, 0.7, shape[1])
    return rng.standard_normal(shape), (left, right, rng.standard_normal(shape))


def test_without_axes_it_is_adam():
    start, targets = problem()
    p = torch.tensor(start, requires_grad=True)
    adam = torch.optim.Adam([p], lr=0.05, betas=(0.9, 0.99))
    for expected in descend(start, targets, longest=0):
        adam.zero_grad()
        loss_of(p, *targets).backward()
        adam.step()
        assert_allclose(p.detach().numpy(), expected, rtol=1e-9, atol=1e-12)


def test_axes_are_those_along_which_gradients_are_uncorrelated():
    rng = np.random.RandomState(0)
    (left, right), p = (rng.standard_normal((n, n)) for n in (6, 4)), torch.zeros(6, 4)
    optimiser = Optimiser([p], [1.0])
    turned = []
    for _ in range(2000):
        p.grad = torch.tensor(left @ rng.standard_normal((6, 4)) @ right, dtype=p.dtype)
        optimiser.step(0.0)
        axes = optimiser.moments[0].axes
        turned.append(axes[0].T @ p.grad @ axes[1])
    for dim in (0, 1):
        rows = torch.stack(turned[1000:]).movedim(1 + dim, 0).flatten(1)
        correlation = np.corrcoef(rows.numpy()) - np.eye(len(rows))
        assert abs(correlation).max() < 0.2
        assert_allclose(axes[dim].T @ axes[dim], np.eye(len(rows)), atol=1e-5)


def test_rounding_errors_decide_nothing():
    start, (left, right, target) = problem(1)
    left[:, 2:] = 0.0  # gradients along other axes are rounding errors
    P = np.linalg.qr(np.random.RandomState(0).standard_normal((6, 6)))[0]
    whole = descend(P @ start, (left @ P.T, right, target))
    rounded = descend(
        (P @ start).astype("f4"), [a.astype("f4") for a in (left @ P.T, right, target)]
    )
    assert_allclose(rounded, whole, atol=0.02)


def test_what_never_had_a_gradient_stays_bit_for_bit():
    start, targets = problem(2)
    p, free = torch.tensor(start, requires_grad=True), torch.ones(start.shape)
    free[2] = free[:, 1] = 0.0
    p.register_hook(free.mul)
    optimiser = Optimiser([p], [1.0])
    for _ in range(12):
        p.grad = None
        loss_of(p, *targets).backward()
        optimiser.step(0.05)
    assert ((p.detach().numpy() == start) == (free == 0).numpy()).all()


def test_long_dimensions_vectors_and_absent_gradients():
    parameters = [torch.zeros(n, requires_grad=True) for n in ((9, 3), (4,), (2, 2))]
    optimiser = Optimiser(parameters, [1.0, 4.0, 1.0], longest=8)
    parameters[0].grad, parameters[1].grad = torch.ones(9, 3), torch.ones(4)
    optimiser.step(0.1)
    assert [sorted(moments.axes) for moments in optimiser.moments] == [[1], [], []]
    assert_allclose(parameters[1].detach(), -0.4)  # its factor; the first step of Adam is its rate
    assert_allclose(parameters[0].detach(), parameters[0].detach()[:1].expand(9, 3))
    assert_allclose(parameters[2].detach(), 0.0)


def test_what_is_stored_continues_alike():
    start, targets = problem(3)

    def run(n_steps, state=None, p=start):
        p = torch.tensor(p, requires_grad=True)
        optimiser = Optimiser([p], [1.0])
        if state is not None:
            optimiser.load(state)
        for _ in range(n_steps):
            p.grad = None
            loss_of(p, *targets).backward()
            optimiser.step(0.05)
        return p.detach().numpy(), optimiser.state()

    whole, _ = run(17)
    for n_steps in (0, 1, 8, 10):
        half, state = run(n_steps)
        rest, _ = run(17 - n_steps, state, half)
        assert_allclose(rest, whole, rtol=0, atol=0)


def test_squares_follow_their_axes():
    moments = Optimiser([torch.zeros(3, 2)], [1.0]).moments[0]
    sizes = torch.tensor([1.0, 2.0, 3.0])
    moments.axes[0], moments.products[0] = torch.eye(3), torch.diag(sizes)
    moments.square = sizes[:, None].expand(3, 2)
    moments._follow(0)
    assert_allclose(moments.square, sizes.flip(0)[:, None].expand(3, 2))
    assert_allclose(moments.axes[0].abs(), torch.eye(3).flip(0), atol=1e-6)


def test_axes_without_gradients_do_not_jump():
    p = torch.zeros(6, 4)
    optimiser, rng = Optimiser([p], [1.0]), np.random.RandomState(0)
    left = torch.tensor(np.linalg.qr(rng.standard_normal((6, 6)))[0][:, :2], dtype=p.dtype)
    before, jumps = None, []
    for _ in range(60):
        p.grad = left @ torch.tensor(rng.standard_normal((2, 4)), dtype=p.dtype)
        optimiser.step(0.0)
        axes = optimiser.moments[0].axes[0]
        now = axes[:, (axes.T @ left).norm(dim=1) < 0.1]
        if before is not None and before.shape == now.shape:
            jumps.append(1 - (before.T @ now).abs().amax(0).min())
        before = now.clone()
    assert max(jumps[10:]) < 0.01


def test_the_first_axes_are_those_of_the_first_gradient():
    gradient = torch.tensor(problem(4)[0] * np.logspace(0, 1, 4), dtype=torch.float32)
    moments = Optimiser([torch.zeros(6, 4)], [1.0]).moments[0]
    moments.step(gradient)
    for dim, rows in enumerate((gradient, gradient.T)):
        products = moments.axes[dim].T @ rows @ rows.T @ moments.axes[dim]
        rest = products - torch.diag(products.diagonal())
        assert abs(rest).max() < 0.05 * products.max()


def test_individuals_are_not_mixed():
    optimiser = Optimiser([torch.zeros(5, 3), torch.zeros(5, 3)], [1.0, 1.0], [True, False])
    assert [sorted(m.products) for m in optimiser.moments] == [[1], [0, 1]]
