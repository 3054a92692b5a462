"""Facts about fixed points and slow points: closed forms, invariances, simulation."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from jedi_sklearn import RNNBatch, find_fixed_points

KINDS = ("shared", "low_rank", "low_rank with cores", "full_rank")
N = 12


def rms(x):
    return np.sqrt(np.square(x).mean(axis=-1))


def find_one(rnn, *args, **kwargs):
    (found,) = find_fixed_points(rnn, *args, **kwargs)
    return found


def as_dense(rnn):
    return RNNBatch.from_dense(
        rnn.to_dense(),
        bias=rnn.bias,
        input_weights=rnn.input_weights,
        dt=rnn.dt,
        tau=rnn.tau,
    )


def perturbed_ring(networks, size=0.01):
    """A ring whose symmetry is broken: a few exact points, the rest of the ring slow."""
    net = networks.ring()
    noise = np.random.RandomState(0).standard_normal(net.rnn.V.shape)
    return net, RNNBatch(net.rnn.U, net.rnn.V + size * noise)


def largest_gap(net, points):
    """Largest angle (rad) of the ring without a point."""
    y = points @ net.plane
    turn = np.sort(np.arctan2(y[:, 1], y[:, 0]))
    return np.diff(turn, append=turn[0] + 2 * np.pi).max()


@pytest.fixture(params=KINDS)
def rnns(request, networks):
    return networks.random(request.param)


# Closed forms


@pytest.mark.parametrize("gain", [1.2, 2.0, 6.0])
def test_a_bistable_network_has_three_points(networks, same_points, gain):
    net = networks.bistable(gain)
    found = find_one(net.rnn)
    assert found.exact.all()
    same_points(found.points, np.outer([0, net.kappa, -net.kappa], net.m), atol=1e-6)
    assert_array_equal(found.stable, [True, True, False])
    assert_array_equal(found.n_unstable, [0, 0, 1])
    values = np.array([net.at_points, net.at_points, gain])
    assert_allclose(found.multipliers[:, 0], 1 + 0.1 * (values - 1), atol=1e-6)
    assert_allclose(found.eigenvalues[:, 0], values, atol=1e-6)
    assert_allclose(found.growth_rates[:, 0], np.log(1 + 0.1 * (values - 1)) / 0.01, atol=1e-4)
    assert_array_equal(found.frequencies, np.zeros((3, 1)))


def test_weak_weights_leave_the_origin_alone(networks, same_points):
    rng = np.random.RandomState(0)
    rnn = RNNBatch.from_dense(0.9 * np.linalg.qr(rng.standard_normal((N, N)))[0])
    found = find_one(rnn)
    same_points(found.points, np.zeros((1, N)), atol=1e-8)
    assert found.stable.all()


def test_two_orthogonal_patterns_have_nine_points(networks, same_points):
    net = networks.hadamard()
    found = find_one(net.rnn)
    same_points(found.points, net.points, atol=1e-6)
    assert_array_equal(found.n_unstable, [0] * 4 + [1] * 4 + [2])


def test_each_of_nine_points_has_its_spectrum(networks):
    net = networks.hadamard()
    found = find_one(net.rnn)
    for x, values in zip(net.points, net.eigenvalues, strict=True):
        i = rms(found.points - x).argmin()
        assert_allclose(found.eigenvalues[i], values, atol=1e-6)


@pytest.mark.parametrize("n_neurons", [40, 60])
def test_exact_points_of_a_ring_lie_on_the_ring_or_at_its_centre(networks, n_neurons):
    net = networks.ring(n_neurons=n_neurons)
    found = find_one(net.rnn)
    y = found.points @ net.plane * 2 / n_neurons
    assert_allclose(found.points, y @ net.plane.T, atol=1e-6)
    radius = np.linalg.norm(y, axis=1)
    assert_allclose(radius[radius > 1e-6], net.radius, atol=1e-6)
    assert (radius < 1e-6).sum() == 1
    assert len(found) > 20


def test_a_ring_is_marginal_along_itself_and_counts_as_stable(networks):
    net = networks.ring()
    found = find_one(net.rnn)
    on_ring = found[rms(found.points) > 0.1]
    assert_allclose(on_ring.multipliers[:, 0], 1, atol=1e-7)
    assert_allclose(on_ring.multipliers[:, 1], net.across, atol=1e-6)
    assert on_ring.stable.all()
    assert_array_equal(found.n_unstable[rms(found.points) < 1e-6], [2])


def test_a_cycle_has_one_point_inside_that_spirals_out(networks, same_points):
    net = networks.ring(turn=0.4)
    found = find_one(net.rnn)
    same_points(found.points, np.zeros((1, 60)), atol=1e-8)
    assert_array_equal(found.n_unstable, [2])
    multiplier = 0.9 + 0.1 * 2.0 * np.exp(0.4j)
    assert_allclose(found.multipliers, [[multiplier, multiplier.conj()]], atol=1e-6)
    frequency = np.angle(multiplier) / (2 * np.pi * 0.01)
    assert_allclose(found.frequencies, [[frequency, -frequency]], atol=1e-4)


@pytest.mark.parametrize("way", ["bias", "input", "input of each"])
def test_a_constant_drive_shifts_the_points(networks, same_points, way):
    gain, drive = 2.0, 0.2
    m = networks.bistable(gain).m
    if way == "bias":
        rnn, inputs = networks.bistable(gain, bias=drive * m).rnn, None
    else:
        rnn, inputs = networks.bistable(gain, input_weights=2 * m[:, None]).rnn, [drive / 2]
        inputs = [inputs] if way == "input of each" else inputs
    found = find_one(rnn, inputs=inputs)
    # x = kappa m with kappa = gain tanh(kappa) + drive
    kappa = found.points @ m / len(m)
    assert_allclose(found.points, np.outer(kappa, m), atol=1e-6)
    assert_allclose(kappa, gain * np.tanh(kappa) + drive, atol=1e-6)
    assert len(found) == 3 and kappa.sum() > 0.01
    assert_array_equal(found.n_unstable, [0, 0, 1])


def test_a_strong_drive_leaves_one_point(networks):
    net = networks.bistable(2.0, input_weights=np.ones((20, 1)) * networks.bistable().m[:, None])
    found = find_one(net.rnn, inputs=[2.0])
    assert len(found) == 1 and found.stable.all()


def test_a_drive_outside_the_space_of_the_weights_is_part_of_the_points():
    u = np.repeat([1.0, 0.0], 5)[:, None]  # five coupled neurons, five without weights
    rnn = RNNBatch(0.4 * u, u, bias=np.repeat([0.0, 0.7], 5))
    found = find_one(rnn)
    assert len(found) == 3
    assert_allclose(found.points[:, 5:], 0.7, atol=1e-9)


def test_each_rnn_of_a_batch_has_its_own_input(networks):
    m = networks.bistable().m[:, None]
    rnn = networks.bistable(input_weights=m).rnn
    three = RNNBatch(rnn.U, rnn.V, bias=np.zeros((3, 20)), input_weights=m)
    found = find_fixed_points(three, inputs=[[-2.0], [0.0], [2.0]])
    assert [len(points) for points in found] == [1, 3, 1]
    assert_allclose(found[0].points, -found[2].points, atol=1e-8)


# What a fixed point is


def test_a_step_leaves_every_exact_point_where_it_is(rnns):
    for k, found in enumerate(find_fixed_points(rnns)):
        assert len(found) and found.exact.all()
        assert rms(rnns[k].step(found.points) - found.points).max() < rnns.alpha * 1e-9


@pytest.mark.parametrize("tol", [1e-3, 1e-12])
def test_the_tolerance_bounds_what_is_exact(networks, tol):
    rnn = networks.random("low_rank")[0]
    found = find_one(rnn, tol=tol)
    assert found.exact.any()
    residual = rms(rnn.step(found.points) - found.points) / rnn.alpha
    assert residual[found.exact].max() < tol * (1 + 1e-6) + 1e-15


def test_speeds_are_the_change_of_the_state_per_second(networks):
    net, rnn = perturbed_ring(networks)
    found = find_one(rnn, slow_speed=0.25)
    assert (~found.exact).any()
    moved = rms(rnn.step(found.points) - found.points) / rnn.dt
    assert_allclose(found.speeds, moved, atol=1e-10)


def test_multipliers_are_those_of_the_dense_jacobian(rnns, same_spectrum):
    for k, found in enumerate(find_fixed_points(rnns)):
        for x, multipliers in zip(found.points, found.multipliers, strict=True):
            dense = np.linalg.eigvals(rnns[k].jacobian(x)[0])
            leak = np.full(N - rnns.rank, 1 - rnns.alpha)
            same_spectrum(np.append(multipliers, leak), dense, atol=1e-6)


def test_unstable_directions_are_those_of_the_dense_jacobian(rnns):
    for k, found in enumerate(find_fixed_points(rnns)):
        dense = [np.linalg.eigvals(rnns[k].jacobian(x)[0]) for x in found.points]
        assert_array_equal(found.n_unstable, (np.abs(dense) > 1).sum(axis=1))
        assert_array_equal(found.stable, found.n_unstable == 0)


def test_points_come_in_order(networks):
    net, rnn = perturbed_ring(networks)
    found = find_one(rnn, slow_speed=0.25)
    key = [
        (not exact, n, size)
        for exact, n, size in zip(
            found.exact, found.n_unstable, rms(found.points).round(6), strict=True
        )
    ]
    assert key == sorted(key)


def test_every_start_is_counted_once(rnns):
    for found in find_fixed_points(rnns, n_random_starts=50, max_iter=20):
        assert found.n_starts == 50
        assert found.n_starts_each.sum() + found.n_failed == 50


def test_states_given_are_starts_too(networks):
    rnns = networks.random("shared")
    states = np.random.RandomState(0).standard_normal((3, 9, N))
    assert [f.n_starts for f in find_fixed_points(rnns, states, n_random_starts=0)] == [9] * 3
    assert [f.n_starts for f in find_fixed_points(rnns, states[:, 0])] == [129] * 3
    assert [f.n_starts for f in find_fixed_points(rnns)] == [128] * 3


@pytest.mark.parametrize("shape", [(6, N), (1, 6, N), (2, 3, N)])
def test_states_of_one_rnn_have_any_shape(networks, shape):
    rnn = networks.random("shared")[0]
    states = np.random.RandomState(0).standard_normal((1, 6, N))
    found = find_one(rnn, states.reshape(shape), n_random_starts=0)
    assert found.n_starts == 6
    assert_array_equal(found.points, find_one(rnn, states, n_random_starts=0).points)


def test_a_start_near_a_point_finds_that_point(networks):
    net = networks.hadamard()
    near = net.points + 0.01 * np.random.RandomState(0).standard_normal(net.points.shape)
    for x, start in zip(net.points, near, strict=True):
        found = find_one(net.rnn, start[np.newaxis], n_random_starts=0)
        assert_allclose(found.points, x[np.newaxis], atol=1e-6)


def test_half_of_the_random_starts_run_to_the_attractors_first(networks):
    net = networks.bistable(6.0)  # attracts so strongly that one step of Newton's remains
    found = find_one(net.rnn, n_random_starts=40, max_iter=1)
    assert found.stable.sum() == 2
    assert found.n_starts_each[found.stable].sum() == 19  # the first start is the origin


def test_the_state_of_zero_rates_is_a_start(networks):
    found = find_one(networks.ring().rnn, n_random_starts=1)
    assert_allclose(found.points, np.zeros((1, found.points.shape[1])), atol=1e-9)


@pytest.mark.parametrize(("n_timesteps", "expected"), [(10, 10), (64, 64), (500, 64)])
def test_free_runs_are_starts_where_the_batch_knows_them(networks, n_timesteps, expected):
    net = networks.bistable(initial_states=0.1 * np.ones(20), n_timesteps=n_timesteps)
    found = find_one(net.rnn, n_random_starts=3)
    assert found.n_starts == expected + 3


def test_the_end_of_the_free_run_is_among_the_points(networks):
    m = networks.bistable().m
    net = networks.bistable(initial_states=0.1 * m, n_timesteps=500)
    found = find_one(net.rnn, n_random_starts=0)
    assert rms(found.points - net.rnn.free_run()[:, -1]).min() < 1e-6


# Points nearby count as one


def test_points_nearer_than_the_merge_distance_are_one(networks):
    net = networks.hadamard(gain=1.6)
    between = rms(net.points[:, None] - net.points)
    nearest = between[between > 0].min()
    assert len(find_one(net.rnn, merge_distance=0.9 * nearest)) == 9
    assert len(find_one(net.rnn, merge_distance=1.1 * nearest)) < 9
    assert len(find_one(net.rnn, merge_distance=10.0)) == 1


def test_points_are_at_least_the_merge_distance_apart(networks):
    net, rnn = perturbed_ring(networks)
    for rest in ({}, {"slow_speed": 0.5}):
        found = find_one(rnn, merge_distance=0.2, **rest)
        between = rms(found.points[:, None] - found.points)
        assert between[~np.eye(len(found), dtype=bool)].min() > 0.2 * (1 - 1e-9)
        assert found.merge_distance == 0.2


def test_without_merging_each_start_is_a_point(networks):
    net = networks.ring()
    found = find_one(net.rnn, merge_distance=0)
    assert len(found) > 50
    assert found.n_starts_each.sum() + found.n_failed == found.n_starts


# Slow points


def test_slow_points_cover_a_ring_that_has_few_exact_points(networks):
    net, rnn = perturbed_ring(networks)
    exact = find_one(rnn)
    assert exact.exact.all() and len(exact) < 15
    assert largest_gap(net, exact.points[rms(exact.points) > 0.5]) > 0.5
    slow = find_one(rnn, slow_speed=0.25)
    assert largest_gap(net, slow.points[rms(slow.points) > 0.5]) < 0.4


def test_slow_points_leave_out_the_fast_part_of_a_ring(networks):
    net, rnn = perturbed_ring(networks, size=0.05)
    psi = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    x = rnn.simulate(net.radius * np.cos(net.theta - psi[:, None]), 50)[:, -1]  # onto the ring
    speed = rms(rnn.step(x) - x) / rnn.dt
    fast = x[speed > 0.3]  # a half of the ring
    assert 0.3 < len(fast) / len(x) < 0.7
    found = find_one(rnn, slow_speed=0.25)
    assert rms(found.points[:, None] - fast).min() > found.merge_distance


def test_slow_points_lie_near_the_ring(networks):
    net, rnn = perturbed_ring(networks)
    slow = find_one(rnn, slow_speed=0.25)
    y = slow.points[~slow.exact] @ net.plane * 2 / 60
    assert_allclose(np.linalg.norm(y, axis=1), net.radius, rtol=0.05)


def test_slow_points_are_slower_than_asked(networks):
    net, rnn = perturbed_ring(networks)
    for speed in (0.25, 0.05):
        found = find_one(rnn, slow_speed=speed)
        assert found.speeds.max() <= speed * (1 + 1e-9)


def test_slow_points_leave_the_exact_ones_as_they_are(networks, same_points):
    net, rnn = perturbed_ring(networks)
    slow = find_one(rnn, slow_speed=0.25)
    same_points(slow.points[slow.exact], find_one(rnn).points, atol=1e-9)
    away = rms(slow.points[~slow.exact][:, None] - slow.points[slow.exact])
    assert away.min() > slow.merge_distance


def test_a_network_of_separate_points_has_no_slow_ones(networks):
    found = find_one(networks.hadamard().rnn, slow_speed=0.05)
    assert found.exact.all() and len(found) == 9


def test_a_start_that_is_slow_has_not_failed_and_a_fast_one_has(networks):
    net, rnn = perturbed_ring(networks)
    on_ring = net.radius * np.cos(net.theta - np.array([[0.3], [1.0]]))
    starts = np.concatenate([on_ring, 3 * on_ring])[np.newaxis]
    found = find_one(rnn, starts, slow_speed=0.25, n_random_starts=0, max_iter=1)
    assert (found.n_starts, found.n_failed) == (4, 2)
    assert len(found) == 2 and not found.exact.any()


# Nothing found


def test_an_rnn_without_a_point_has_an_empty_result_and_a_warning(networks):
    rnn = networks.random("low_rank")[0]
    starts = 3 * np.random.RandomState(0).standard_normal((1, 4, N))
    with pytest.warns(UserWarning, match=r"No fixed point .* 1 of 1 RNNs, first for RNN 0"):
        found = find_one(rnn, starts, n_random_starts=0, max_iter=1)
    assert len(found) == 0
    assert found.points.shape == (0, N)
    assert found.multipliers.shape == (0, 3)
    for name in ("exact", "speeds", "n_unstable", "stable", "n_starts_each"):
        assert getattr(found, name).shape == (0,)
    for name in ("eigenvalues", "growth_rates", "frequencies"):
        assert getattr(found, name).shape == (0, 3)
    assert (found.n_starts, found.n_failed) == (4, 4)
    assert repr(found) == "FixedPoints(0 stable, 0 unstable, 0 slow; 4 of 4 starts failed)"


def test_the_warning_says_which_rnn_has_no_point(networks):
    rnn = networks.bistable().rnn
    two = RNNBatch(np.stack([rnn.U, rnn.U]), np.stack([rnn.V, rnn.V]))
    m = networks.bistable().m
    states = np.stack([0 * m, 3.0 * np.arange(20.0)])  # the origin is a fixed point at once
    with pytest.warns(UserWarning, match=r"1 of 2 RNNs, first for RNN 1"):
        found = find_fixed_points(two, states, n_random_starts=0, max_iter=1)
    assert [len(points) for points in found] == [1, 0]


# Invariances


def find_quietly(rnns, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return find_fixed_points(rnns, n_random_starts=200, **kwargs)


@pytest.mark.parametrize("change", ["dense", "gauge", "cores"])
def test_how_the_weights_are_written_does_not_matter(networks, same_points, same_spectrum, change):
    rnns = networks.random("low_rank")
    rest = {"bias": rnns.bias, "dt": rnns.dt}
    A = np.random.RandomState(7).standard_normal((3, 3, 3))
    other = {
        "dense": lambda: as_dense(rnns),
        "gauge": lambda: RNNBatch(rnns.U @ A, rnns.V @ np.linalg.inv(A).swapaxes(1, 2), **rest),
        "cores": lambda: RNNBatch(rnns.U @ np.linalg.inv(A), rnns.V, A, **rest),
    }[change]()
    pairs = zip(find_quietly(rnns), find_quietly(other), strict=True)
    for found, again in pairs:
        same_points(again.points, found.points, atol=1e-6)
        assert_array_equal(again.n_unstable, found.n_unstable)
        leak = np.full((len(found), again.multipliers.shape[1] - 3), 1 - rnns.alpha)
        same_spectrum(again.multipliers, np.hstack([found.multipliers, leak]), atol=1e-6)


def test_permuted_neurons_have_permuted_points(networks, same_points):
    rnns = networks.random("shared")
    p = np.random.RandomState(0).permutation(N)
    other = RNNBatch(rnns.U[p], rnns.V[p], rnns.core, bias=rnns.bias[:, p], dt=rnns.dt)
    for found, again in zip(find_quietly(rnns), find_quietly(other), strict=True):
        same_points(again.points, found.points[:, p], atol=1e-6)


def test_the_time_step_moves_no_point(networks, same_points):
    fine, coarse = (networks.random("low_rank", dt=dt) for dt in (0.001, 0.02))
    for found, again in zip(find_quietly(fine), find_quietly(coarse), strict=True):
        same_points(again.points, found.points, atol=1e-6)
        assert_allclose(again.eigenvalues, found.eigenvalues, atol=1e-5)


def test_an_rnn_in_a_batch_is_the_rnn_alone(rnns):
    together = find_fixed_points(rnns)
    for k, found in enumerate(together):
        alone = find_one(rnns[k])
        assert_allclose(alone.points, found.points, atol=1e-9)
        assert_array_equal(alone.n_starts_each, found.n_starts_each)


def test_the_order_of_the_rnns_does_not_matter(rnns):
    for found, again in zip(
        find_fixed_points(rnns)[::-1], find_fixed_points(rnns[::-1]), strict=True
    ):
        assert_allclose(again.points, found.points, atol=1e-9)


def test_one_seed_gives_one_answer(networks):
    rnn = networks.ring().rnn  # a continuum, of which each seed finds other points
    assert_array_equal(find_one(rnn).points, find_one(rnn).points)
    other = find_one(rnn, random_state=1).points
    assert find_one(rnn).points.shape != other.shape or np.abs(find_one(rnn).points - other).max()
    generator = find_one(rnn, random_state=np.random.RandomState(0))
    assert_array_equal(generator.points, find_one(rnn).points)


def test_small_blocks_give_the_same_points(networks, same_points, monkeypatch):
    rnn = networks.random("shared")[0]
    expected = find_one(rnn)
    monkeypatch.setattr("jedi_sklearn._reduced.WORK", 10 * N)
    again = find_one(rnn)
    assert_allclose(again.points, expected.points, atol=1e-9)
    assert_array_equal(again.n_starts_each, expected.n_starts_each)


def test_the_starts_are_left_as_they_are(rnns):
    states = np.random.RandomState(0).standard_normal((3, 9, N))
    before = states.copy()
    find_fixed_points(rnns, states)
    assert_array_equal(states, before)


# Simulation


@pytest.mark.parametrize("name", ["hadamard", "bistable"])
def test_simulations_end_in_the_stable_points(networks, same_points, name):
    rnn = networks[name]().rnn
    x = 2 * np.random.RandomState(0).standard_normal((200, rnn.n_neurons))
    for _ in range(1500):
        x = rnn.step(x)
    found = find_one(rnn)
    stable = found.points[found.stable]
    nearest = np.abs(x[:, None] - stable).max(axis=2)
    assert nearest.min(axis=1).max() < 1e-6
    assert_array_equal(np.unique(nearest.argmin(axis=1)), np.arange(len(stable)))


def test_simulations_leave_the_unstable_points(networks):
    net = networks.hadamard()
    found = find_one(net.rnn)
    x = found.points[~found.stable]
    x = x + 1e-6 * np.random.RandomState(0).standard_normal(x.shape)
    end = net.rnn.simulate(x, 1000)[:, -1]
    assert rms(end - x).min() > 0.1


# A result is a sequence


def test_points_are_selected_as_an_array_is(networks):
    found = find_one(networks.hadamard().rnn)
    for index in (2, -1, slice(1, 4), found.stable, [3, 0]):
        chosen = found[index]
        assert_array_equal(chosen.points, np.atleast_2d(found.points[index]))
        assert_array_equal(chosen.n_unstable, np.atleast_1d(found.n_unstable[index]))
        assert chosen.n_starts == found.n_starts
    with pytest.raises(IndexError):
        found[len(found)]


def test_iteration_gives_each_point(networks):
    found = find_one(networks.hadamard().rnn)
    assert_array_equal(np.concatenate([point.points for point in found]), found.points)


# Refusals

M = np.ones((N, 1))
RNN = RNNBatch(M, M, bias=np.zeros((2, N)), input_weights=np.ones((N, 2)))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: find_fixed_points(np.eye(3)), TypeError, ["RNNBatch", "ndarray of shape (3, 3)"]),
        (lambda: find_fixed_points(RNN, np.ones((2, 4))), ValueError, ["states", "(2, 4)"]),
        (
            lambda: find_fixed_points(RNN, np.ones((40, N))),
            ValueError,
            ["40 rows for 2 RNNs", "states[np.newaxis]"],
        ),
        (
            lambda: find_fixed_points(RNN, inputs=np.ones((2, 9, 2))),
            ValueError,
            ["inputs must be constant", "(2, 9, 2)"],
        ),
        (
            lambda: find_fixed_points(RNNBatch(M, M), inputs=[1.0]),
            ValueError,
            ["inputs", "no input_weights"],
        ),
        (
            lambda: find_fixed_points(RNN, n_random_starts=0),
            ValueError,
            ["no start", "pass states", "n_random_starts"],
        ),
        (
            lambda: find_fixed_points(RNN, n_random_starts=-1),
            ValueError,
            ["n_random_starts", "integer >= 0", "-1"],
        ),
        (lambda: find_fixed_points(RNN, tol=0), ValueError, ["tol", "> 0", "0"]),
        (
            lambda: find_fixed_points(RNN, merge_distance=-0.1),
            ValueError,
            ["merge_distance", ">= 0", "-0.1"],
        ),
        (lambda: find_fixed_points(RNN, max_iter=0), ValueError, ["max_iter", ">= 1", "0"]),
        (lambda: find_fixed_points(RNN, slow_speed=0.0), ValueError, ["slow_speed", "> 0"]),
        (lambda: find_fixed_points(RNN, slow_speed="slow"), TypeError, ["slow_speed", "'slow'"]),
        (lambda: find_fixed_points(RNN, random_state="seed"), ValueError, ["'seed'"]),
    ],
)
def test_refusals_say_what_was_expected_and_what_came(call, error, words):
    with pytest.raises(error) as refusal:
        call()
    for word in words:
        assert word in str(refusal.value)
