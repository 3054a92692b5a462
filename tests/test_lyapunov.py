"""Facts about Lyapunov exponents: linear maps, fixed points, cycles, determinants, chaos."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from jedi_sklearn import (
    LyapunovAnalyzer,
    RNNBatch,
    eigenspectrum,
    find_fixed_points,
    lyapunov_exponents,
)

KINDS = ("shared", "low_rank", "low_rank with cores", "full_rank")
N_RNNS, N = 3, 12
LEAK = np.log(0.9) / 0.01  # of the default dt and tau
SHORT = "ignore:The largest exponent of 1 of"  # runs of 60 samples need not have settled


@pytest.fixture(params=KINDS)
def rnns(request, networks):
    x0 = np.random.RandomState(3).standard_normal((N_RNNS, N))
    return networks.random(request.param, n_rnns=N_RNNS, initial_states=x0, n_timesteps=60)


@pytest.fixture(scope="module")
def chaotic():
    J = 3.0 / np.sqrt(60) * np.random.RandomState(1).standard_normal((60, 60))
    rnn = RNNBatch.from_dense(J, dt=0.02)
    x0 = rnn.simulate(np.random.RandomState(1).standard_normal((1, 60)), 300)[:, -1]
    return rnn, x0


def on_cycle(net, n_timesteps):
    """The circular cycle of a turning ring, from its own radius on."""
    return net.rnn.simulate(net.radius * np.cos(net.theta)[np.newaxis], n_timesteps)


# Closed forms


def test_without_weights_all_exponents_are_the_leak():
    rnn = RNNBatch.from_dense(np.zeros((5, 5)))
    exponents = lyapunov_exponents(rnn, np.ones((1, 5)), n_timesteps=30)
    assert_allclose(exponents, np.full((1, 5), LEAK), rtol=1e-12)


def test_a_linear_network_has_the_logarithms_of_its_multipliers():
    d = np.array([0.5, -2.0, 1.4, 0.0])
    rnn = RNNBatch.from_dense(np.diag(d))
    exponents = lyapunov_exponents(rnn, np.zeros((1, 4)), n_timesteps=30)
    expected = np.log(np.abs(1 + 0.1 * (d - 1))) / 0.01
    assert_allclose(exponents, -np.sort(-expected)[np.newaxis], rtol=1e-12)


def test_a_rotating_pair_has_two_equal_exponents():
    J = 1.5 * np.array([[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]])
    exponents = lyapunov_exponents(RNNBatch.from_dense(J), np.zeros((1, 2)), n_timesteps=40)
    expected = np.log(np.abs(0.9 + 0.15 * np.exp(1j))) / 0.01
    assert_allclose(exponents, [[expected, expected]], rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_at_a_fixed_point_they_are_the_growth_rates_there(networks, kind):
    rnns = networks.random(kind)
    points = np.concatenate([f.points[:1] for f in find_fixed_points(rnns)])
    growth = eigenspectrum(rnns, points).growth_rates
    leak = np.full((N_RNNS, N - rnns.rank), np.log(1 - rnns.alpha) / rnns.dt)
    expected = -np.sort(-np.concatenate([growth, leak], axis=1), axis=1)
    still = np.repeat(points[:, np.newaxis], 4001, axis=1)
    exponents = lyapunov_exponents(rnns, still, burn_in=400)
    assert_allclose(exponents, expected, atol=0.02)


def test_at_a_fixed_point_of_real_eigenvalues_they_are_exact(networks):
    net = networks.hadamard()
    still = np.repeat(net.points[:, np.newaxis], 300, axis=1)
    for k, values in enumerate(net.eigenvalues):
        exponents = lyapunov_exponents(net.rnn, still[k : k + 1], burn_in=200)[0]
        growth = np.append(np.log(1 + 0.1 * (values - 1)) / 0.01, np.full(14, LEAK))
        assert_allclose(exponents, -np.sort(-growth), atol=1e-6)


@pytest.mark.parametrize("turn", [0.3, 0.8])
@pytest.mark.slow
def test_a_cycle_has_a_zero_exponent_and_its_rate_of_return(networks, turn):
    net = networks.ring(turn=turn)
    # how lengths are measured matters as 1 / n_timesteps^2 here
    exponents = lyapunov_exponents(net.rnn, on_cycle(net, 60_000), burn_in=1000)[0]
    assert_allclose(exponents[0], 0, atol=1e-6)
    assert_allclose(exponents[1], np.log(net.across) / 0.01, atol=1e-6)
    assert exponents[1] < 0
    assert_allclose(exponents[2:], LEAK, rtol=1e-12)


def test_the_cycle_turns_at_its_known_angle(networks):
    net = networks.ring(turn=0.3)
    y = on_cycle(net, 50)[0] @ net.plane
    turn = np.unwrap(np.arctan2(y[:, 1], y[:, 0]))
    assert_allclose(np.diff(turn), net.angle, atol=1e-9)


def test_a_ring_of_fixed_points_has_a_zero_exponent(networks):
    net = networks.ring()
    exponents = lyapunov_exponents(net.rnn, on_cycle(net, 300), burn_in=200)[0]
    assert_allclose(exponents[:2], [0, np.log(net.across) / 0.01], atol=1e-6)


def test_a_strongly_coupled_random_network_is_chaotic(chaotic):
    rnn, x0 = chaotic
    exponents, error = lyapunov_exponents(
        rnn, x0, n_timesteps=800, burn_in=200, n_exponents=4, return_error=True
    )
    assert exponents[0, 0] - 3 * error[0, 0] > 0
    assert error[0, 0] > 0


def test_the_first_exponent_is_the_rate_at_which_two_runs_part(chaotic):
    rnn, x0 = chaotic
    x, first = x0, lyapunov_exponents(rnn, x0, n_timesteps=800, burn_in=300, n_exponents=1)
    eps, growth = 1e-7, []
    y = x + eps * np.ones((1, 60)) / np.sqrt(60)
    for _ in range(799):
        x, y = rnn.step(x), rnn.step(y)
        distance = np.linalg.norm(y - x)
        growth.append(np.log(distance / eps))
        y = x + (y - x) * eps / distance
    assert_allclose(np.mean(growth[300:]) / rnn.dt, first[0, 0], atol=0.05)


# Sums and leaks


@pytest.mark.slow
def test_the_sum_is_the_mean_logarithm_of_the_determinant(rnns):
    run = rnns.free_run()
    exponents = lyapunov_exponents(rnns)
    for k in range(N_RNNS):
        jacobians = np.concatenate([rnns[k].jacobian(x) for x in run[k, :-1]])
        _, logdet = np.linalg.slogdet(jacobians)
        assert_allclose(exponents[k].sum(), logdet.mean() / rnns.dt, rtol=1e-8)


@pytest.mark.parametrize("kind", KINDS[:3])
def test_the_leak_fills_what_the_weights_do_not_reach(networks, kind):
    rnns = networks.random(kind)
    exponents = lyapunov_exponents(rnns, np.ones((N_RNNS, N)), n_timesteps=40)
    leak = np.log(1 - rnns.alpha) / rnns.dt
    assert (np.abs(exponents - leak) < 1e-9).sum(axis=1).tolist() == [N - 3] * N_RNNS


def test_they_fall(rnns):
    assert (np.diff(lyapunov_exponents(rnns), axis=1) <= 1e-12).all()


# Invariances


@pytest.mark.parametrize("kind", KINDS[:3])
@pytest.mark.slow
def test_dense_weights_have_the_exponents_of_their_factors(networks, kind):
    rnns = networks.random(kind)
    dense = RNNBatch.from_dense(rnns.to_dense(), bias=rnns.bias, dt=rnns.dt)
    x0 = np.random.RandomState(0).standard_normal((N_RNNS, N))
    # both start from their own directions, which turn into the same ones
    short, full = (
        lyapunov_exponents(r, x0, n_timesteps=1500, burn_in=500, n_exponents=1)
        for r in (rnns, dense)
    )
    assert_allclose(full, short, atol=0.01)


def test_dense_weights_have_all_exponents_of_a_cycle(networks):
    net = networks.ring(turn=0.3, n_neurons=16)
    run = on_cycle(net, 900)
    dense = RNNBatch.from_dense(net.rnn.to_dense())
    short, full = (lyapunov_exponents(r, run, burn_in=800) for r in (net.rnn, dense))
    assert_allclose(full, short, atol=1e-6)


@pytest.mark.filterwarnings(SHORT)
def test_an_rnn_in_a_batch_is_the_rnn_alone(rnns):
    together, errors = lyapunov_exponents(rnns, return_error=True)
    for k in range(N_RNNS):
        alone, error = lyapunov_exponents(rnns[k], return_error=True)
        assert_allclose(alone[0], together[k], rtol=1e-10)
        assert_allclose(error[0], errors[k], rtol=1e-8, atol=1e-9)


@pytest.mark.slow
def test_long_trajectories_are_worked_on_in_parts_without_a_trace(networks):
    x0 = np.zeros((N_RNNS, 40))
    rnns = networks.random("full_rank", n_neurons=40, initial_states=x0, n_timesteps=1500)
    assert 1500 * 40**2 * N_RNNS > 4 * 10**6  # numbers in the tangent dynamics of all
    together = lyapunov_exponents(rnns)
    for k in range(N_RNNS):
        assert_allclose(together[k], lyapunov_exponents(rnns[k])[0], rtol=1e-10)


# Trajectories and their parts


def test_the_free_run_is_the_trajectory_where_the_batch_knows_it(rnns):
    expected = lyapunov_exponents(rnns, rnns.free_run())
    assert_array_equal(lyapunov_exponents(rnns), expected)
    assert_array_equal(lyapunov_exponents(rnns, rnns.initial_states), expected)
    longer = lyapunov_exponents(rnns, rnns.free_run(90))
    assert_array_equal(lyapunov_exponents(rnns, n_timesteps=90), longer)


@pytest.mark.filterwarnings(SHORT)
def test_each_rnn_is_measured_to_the_end_of_its_own_trial(networks):
    x0, lengths = np.random.RandomState(3).standard_normal((N_RNNS, N)), [60, 25, 25]
    start = {"initial_states": x0, "n_timesteps": 60, "lengths": lengths}
    rnns = networks.random("shared", **start)
    found, errors = lyapunov_exponents(rnns, return_error=True)
    assert_array_equal(lyapunov_exponents(rnns, x0), found)
    for k, n in enumerate(lengths):
        alone, error = lyapunov_exponents(rnns[k], n_timesteps=n, return_error=True)
        assert_allclose(found[k], alone[0], rtol=1e-10)
        assert_allclose(errors[k], error[0], rtol=1e-8, atol=1e-9)
    whole = lyapunov_exponents(rnns, rnns.free_run())  # given trajectories count whole
    assert np.abs(whole - found)[1:, 0].min() > 0.01
    with pytest.raises(ValueError, match=r"25 samples \(RNN 1\) leaves 0 steps after burn_in=24"):
        lyapunov_exponents(rnns, burn_in=24)


def test_inputs_act_on_the_free_run(networks):
    B = np.random.RandomState(0).standard_normal((N, 2))
    rnns = networks.random("shared", input_weights=B)
    x0, inputs = np.zeros((3, N)), np.random.RandomState(1).standard_normal((3, 40, 2))
    driven = lyapunov_exponents(rnns, x0, n_timesteps=40, inputs=inputs)
    assert_array_equal(driven, lyapunov_exponents(rnns, rnns.simulate(x0, 40, inputs)))
    assert np.abs(driven - lyapunov_exponents(rnns, x0, n_timesteps=40)).max() > 0.01


@pytest.mark.filterwarnings(SHORT)
def test_burn_in_leaves_out_the_start():
    J = 2.0 * np.ones((1, 1))  # one neuron: no direction to turn
    rnn = RNNBatch.from_dense(J)
    run = rnn.simulate([[0.1]], 41)
    whole = lyapunov_exponents(rnn, run)
    parts = [lyapunov_exponents(rnn, run, burn_in=30), lyapunov_exponents(rnn, run[:, :31])]
    assert_allclose(parts[0], lyapunov_exponents(rnn, run[:, 30:]), rtol=1e-12)
    assert_allclose((10 * parts[0] + 30 * parts[1]) / 40, whole, rtol=1e-12)
    assert parts[0] < parts[1]  # saturated at the end


def test_weights_far_from_normal_need_no_burn_in_at_a_fixed_point():
    J = np.array([[1.5, 8.0], [0.0, 0.2]])
    expected = [np.log(1 + 0.1 * (np.array([1.5, 0.2]) - 1)) / 0.01]
    for weights in (J, J.T):
        rnn = RNNBatch.from_dense(weights)
        assert_allclose(lyapunov_exponents(rnn, np.zeros((1, 3, 2))), expected, rtol=1e-9)


@pytest.mark.parametrize("n_timesteps", [2, 3, 6, 20])
def test_a_spiral_far_from_round_decays_at_its_rate_from_the_first_step_on(n_timesteps):
    rnn = RNNBatch.from_dense([[0.5, -8.0], [1.0, 0.5]])
    found = lyapunov_exponents(rnn, np.zeros((1, 2)), n_timesteps=n_timesteps)
    assert_allclose(found, eigenspectrum(rnn).growth_rates, rtol=1e-9)


def test_burn_in_leaves_the_approach_out(networks):
    net = networks.bistable()
    run = net.rnn.simulate(0.1 * net.m[np.newaxis], 400)
    expected = np.log(1 + net.rnn.alpha * (net.at_points - 1)) / net.rnn.dt
    early = lyapunov_exponents(net.rnn, run, n_exponents=1)[0, 0]
    late = lyapunov_exponents(net.rnn, run, burn_in=300, n_exponents=1)[0, 0]
    assert abs(late - expected) < 1e-6 < 0.1 < early - expected


@pytest.mark.filterwarnings(SHORT)
def test_the_largest_exponents_are_returned(rnns):
    every, errors = lyapunov_exponents(rnns, return_error=True)
    for n in (1, 5, N):
        some, error = lyapunov_exponents(rnns, n_exponents=n, return_error=True)
        assert_array_equal(some, every[:, :n])
        assert_array_equal(error, errors[:, :n])


# Errors of the mean


def test_a_fixed_point_has_no_error(networks):
    net = networks.hadamard()
    still = np.repeat(net.points[:1, np.newaxis], 60, axis=1)
    _, error = lyapunov_exponents(net.rnn, still, return_error=True)
    assert_allclose(error, 0, atol=1e-9)


def test_the_leak_has_no_error(chaotic):
    U, V = np.random.RandomState(0).standard_normal((2, N, 2))
    rnn = RNNBatch(U, V)
    exponents, error = lyapunov_exponents(rnn, np.ones((1, N)), n_timesteps=60, return_error=True)
    leak = np.abs(exponents - LEAK) < 1e-9
    assert_array_equal(error[leak], 0)
    assert (error[~leak] > 0).all()


def test_the_error_is_that_of_eight_parts():
    rnn = RNNBatch.from_dense([[2.0]])
    run = np.random.RandomState(0).standard_normal((1, 81, 1))
    _, error = lyapunov_exponents(rnn, run, return_error=True)
    parts = [lyapunov_exponents(rnn, run[:, i : i + 11])[0, 0] for i in range(0, 80, 10)]
    assert_allclose(error, np.std(parts, ddof=1) / np.sqrt(8))


def test_a_run_that_leaves_a_saddle_is_told_from_one_that_has_settled(networks):
    net = networks.bistable()
    starts = np.stack([1e-3 * net.m, net.m])  # beside the saddle, and near an attractor
    rnns = net.rnn[[0, 0]]
    with pytest.warns(UserWarning, match="of 1 of 2 RNNs still changes .*RNN 0: 9.40 1"):
        lyapunov_exponents(rnns, starts, n_timesteps=120, return_error=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lyapunov_exponents(rnns, starts, n_timesteps=2000, burn_in=1000, return_error=True)
        lyapunov_exponents(rnns, starts, n_timesteps=120)  # half of them, of the run as it is
        lyapunov_exponents(rnns[0], starts[:1], n_timesteps=8)  # too short to tell
    with pytest.warns(UserWarning, match="of 1 of 1 RNNs still changes .* that of a transient"):
        lyapunov_exponents(rnns[0], starts[:1], n_timesteps=120)
    alone = net.rnn[[0]]
    alone.initial_states, alone.n_timesteps = starts[0], 120
    LyapunovAnalyzer(1).fit_transform(alone)  # and no warning


@pytest.mark.slow
def test_chaos_is_no_change_along_the_run(chaotic):
    rnn, x0 = chaotic
    runs = rnn.simulate(x0, 16 * 200 + 1)[0]
    runs = np.stack([runs[k : k + 201] for k in range(0, 3200, 200)])
    _, error = lyapunov_exponents(rnn[[0] * 16], runs, return_error=True)
    assert error[:, 0].min() > 0.1  # and no warning


# Refusals

M = np.ones((N, 1))
TWO = RNNBatch(M, M, bias=np.zeros((2, N)), input_weights=np.ones((N, 2)))
X = np.ones((2, N))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: lyapunov_exponents(np.eye(3)), TypeError, ["RNNBatch", "of shape (3, 3)"]),
        (lambda: lyapunov_exponents(TWO), ValueError, ["no initial_states", "dynamics"]),
        (lambda: lyapunov_exponents(TWO, X), ValueError, ["initial states", "n_timesteps"]),
        (
            lambda: lyapunov_exponents(TWO, np.ones((2, 9, N)), n_timesteps=5),
            ValueError,
            ["n_timesteps is for free runs", "trajectories"],
        ),
        (
            lambda: lyapunov_exponents(TWO, np.ones((50, N)), n_timesteps=5),
            ValueError,
            ["states", "50 rows for 2 RNNs"],
        ),
        (
            lambda: lyapunov_exponents(TWO, np.ones((2, 9, N)), burn_in=8),
            ValueError,
            ["9 samples", "0 steps", "burn_in=8", "at least 1"],
        ),
        (
            lambda: lyapunov_exponents(TWO, np.ones((2, 8, N)), return_error=True),
            ValueError,
            ["8 samples", "7 steps", "at least 8", "longer"],
        ),
        (
            lambda: lyapunov_exponents(TWO, X, n_timesteps=1),
            ValueError,
            ["n_timesteps", ">= 2", "1"],
        ),
        (
            lambda: lyapunov_exponents(TWO, X, n_timesteps=9, n_exponents=13),
            ValueError,
            ["n_exponents", "<= 12", "13"],
        ),
        (
            lambda: lyapunov_exponents(TWO, X, n_timesteps=9, burn_in=-1),
            ValueError,
            ["burn_in", ">= 0", "-1"],
        ),
        (
            lambda: lyapunov_exponents(TWO, X, n_timesteps=9, inputs=np.ones((2, 8, 2))),
            ValueError,
            ["inputs must have shape (2, 9, n_inputs)", "(2, 8, 2)"],
        ),
        (
            lambda: lyapunov_exponents(
                RNNBatch(M, M), M.T, n_timesteps=9, inputs=np.ones((1, 9, 1))
            ),
            ValueError,
            ["inputs were given", "no input_weights"],
        ),
    ],
)
def test_refusals_say_what_was_expected_and_what_came(call, error, words):
    with pytest.raises(error) as refusal:
        call()
    for word in words:
        assert word in str(refusal.value)
