"""Facts about eigenspectra: dense eigenvalues, known rotations, a fixed order."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from jedi_sklearn import RNNBatch, eigenspectrum

KINDS = ("shared", "low_rank", "low_rank with cores", "full_rank")
N_RNNS, N = 3, 12


@pytest.fixture(params=KINDS)
def rnns(request, networks):
    x0 = np.random.RandomState(3).standard_normal((N_RNNS, N))
    return networks.random(request.param, n_rnns=N_RNNS, initial_states=x0, n_timesteps=7)


def states_for(at, rnns):
    """Argument `at`, and the states (n_rnns, n_states, n_neurons) that it stands for."""
    if at == "states":
        x = np.random.RandomState(4).standard_normal((N_RNNS, N))
        return x, x[:, np.newaxis]
    if at == "many states":
        x = np.random.RandomState(4).standard_normal((N_RNNS, 5, N))
        return x, x
    return at, rnns.free_run() if at == "trajectory" else np.zeros((N_RNNS, 1, N))


def dense_multipliers(rnns, x, k):
    """Eigenvalues of the dense Jacobian of RNN k at x, those of the leak left out."""
    values = np.linalg.eigvals(rnns[k].jacobian(x)[0])
    order = np.argsort(np.abs(values - (1 - rnns.alpha)))
    return values[order][rnns.n_neurons - rnns.rank :]


def turning(growth, frequency, dt=0.01, tau=0.1, n_neurons=20):
    """A network whose step multiplies a plane by exp(dt (growth + 2 pi i frequency))."""
    multiplier = np.exp(dt * (growth + 2j * np.pi * frequency))
    value = 1 + (multiplier - 1) * tau / dt
    basis = np.linalg.qr(np.random.RandomState(0).standard_normal((n_neurons, 2)))[0]
    core = np.array([[value.real, -value.imag], [value.imag, value.real]])
    return RNNBatch(basis @ core, basis, dt=dt, tau=tau)


@pytest.mark.parametrize("at", ["origin", "weights", "states", "many states", "trajectory"])
def test_multipliers_are_those_of_the_dense_jacobian(rnns, at, same_spectrum):
    at, states = states_for(at, rnns)
    found = eigenspectrum(rnns, at).multipliers.reshape(N_RNNS, -1, rnns.rank)
    assert found.shape[1] == states.shape[1]
    for k in range(N_RNNS):
        for t, x in enumerate(states[k]):
            same_spectrum(found[k, t], dense_multipliers(rnns, x, k), atol=1e-7)


@pytest.mark.parametrize("at", ["origin", "states", "many states", "trajectory"])
def test_dense_weights_have_the_spectrum_of_their_factors(networks, same_spectrum, at):
    x0 = np.random.RandomState(3).standard_normal((N_RNNS, N))
    rest = {"initial_states": x0, "n_timesteps": 7}
    rnns = networks.random("shared", n_rnns=N_RNNS, **rest)
    dense = RNNBatch.from_dense(rnns.to_dense(), bias=rnns.bias, dt=rnns.dt, **rest)
    at, _ = states_for(at, rnns)
    short, full = eigenspectrum(rnns, at).multipliers, eigenspectrum(dense, at).multipliers
    leak = np.full((*short.shape[:-1], N - 3), 1 - rnns.alpha)
    for some, every in zip(
        np.concatenate([short, leak], axis=-1).reshape(-1, N), full.reshape(-1, N), strict=True
    ):
        same_spectrum(every, some, atol=1e-7)


@pytest.mark.parametrize(
    ("at", "n_states"),
    [("origin", ()), ("weights", ()), ("states", ()), ("many states", (5,)), ("trajectory", (7,))],
)
def test_the_shape_says_where(rnns, at, n_states):
    spectrum = eigenspectrum(rnns, states_for(at, rnns)[0])
    for name in ("multipliers", "eigenvalues", "growth_rates", "frequencies", "rates"):
        assert getattr(spectrum, name).shape == (N_RNNS, *n_states, rnns.rank)


def test_a_state_among_many_has_the_spectrum_of_the_state_alone(rnns):
    _, states = states_for("many states", rnns)
    many = eigenspectrum(rnns, states).multipliers
    for i in range(5):
        alone = eigenspectrum(rnns, states[:, i]).multipliers
        assert_allclose(many[:, i], alone, atol=1e-10)


def test_an_rnn_in_a_batch_has_the_spectrum_of_the_rnn_alone(rnns):
    together = eigenspectrum(rnns, "trajectory").multipliers
    for k in range(N_RNNS):
        assert_allclose(eigenspectrum(rnns[k], "trajectory").multipliers[0], together[k])


def test_a_gauge_change_changes_nothing(networks):
    rnns = networks.random("low_rank")
    A = np.random.RandomState(7).standard_normal((3, 3))
    other = RNNBatch(rnns.U @ A, rnns.V @ np.linalg.inv(A).T, bias=rnns.bias, dt=rnns.dt)
    at, _ = states_for("many states", rnns)
    for where in ("origin", at):
        assert_allclose(
            eigenspectrum(other, where).multipliers,
            eigenspectrum(rnns, where).multipliers,
            atol=1e-8,
        )


# Order


@pytest.mark.parametrize("at", ["origin", "many states"])
def test_moduli_fall_and_each_pair_has_its_positive_frequency_first(rnns, at):
    at, _ = states_for(at, rnns)
    for values in eigenspectrum(rnns, at).multipliers.reshape(-1, rnns.rank):
        assert (np.diff(np.abs(values)) < 1e-9).all()
        second = np.flatnonzero(values.imag < 0)
        assert_array_equal(values[second], values[second - 1].conj())


def test_the_order_does_not_depend_on_the_order_of_the_factors(networks):
    rnns = networks.random("low_rank")
    flipped = RNNBatch(rnns.U[..., ::-1], rnns.V[..., ::-1], bias=rnns.bias, dt=rnns.dt)
    expected = eigenspectrum(rnns).multipliers
    assert_allclose(eigenspectrum(flipped).multipliers, expected, atol=1e-10)


def test_the_order_does_not_depend_on_the_order_of_the_neurons(networks):
    rnns = networks.random("shared")
    p = np.random.RandomState(0).permutation(N)
    other = RNNBatch(rnns.U[p], rnns.V[p], rnns.core, bias=rnns.bias[:, p], dt=rnns.dt)
    expected = eigenspectrum(rnns).multipliers
    assert_allclose(eigenspectrum(other).multipliers, expected, atol=1e-10)


# Units


@pytest.mark.parametrize(("growth", "frequency"), [(0.0, 2.0), (-3.0, 10.0), (1.5, 0.1)])
def test_a_rotation_has_its_growth_rate_and_its_frequency(growth, frequency):
    spectrum = eigenspectrum(turning(growth, frequency))
    assert_allclose(spectrum.growth_rates, [[growth, growth]], atol=1e-9)
    assert_allclose(spectrum.frequencies, [[frequency, -frequency]], atol=1e-9)


def test_a_small_state_turns_as_the_spectrum_says():
    rnn = turning(-1.0, 4.0)
    spectrum = eigenspectrum(rnn)
    x = rnn.simulate(1e-9 * rnn.V.T[:1], 51)[0] @ rnn.V  # half a second
    path = x[:, 0] + 1j * x[:, 1]
    time = rnn.dt * np.arange(51)
    expected = spectrum.growth_rates[0, 0] + 2j * np.pi * spectrum.frequencies[0, 0]
    assert_allclose(path, 1e-9 * np.exp(expected * time), rtol=1e-8)


def test_rates_are_those_of_the_differential_equation(rnns):
    spectrum = eigenspectrum(rnns)
    assert_allclose(spectrum.rates, (spectrum.eigenvalues - 1) / rnns.tau, atol=1e-9)
    assert_allclose(
        np.sort_complex(spectrum.eigenvalues), np.sort_complex(rnns.eigenvalues()), atol=1e-10
    )


def test_growth_and_frequency_tend_to_the_rates_as_the_step_shrinks():
    J = np.array([[1.5, -4.0], [4.0, 1.5]])
    spectrum = eigenspectrum(RNNBatch.from_dense(J, dt=1e-6, tau=0.1))
    both = spectrum.growth_rates + 2j * np.pi * spectrum.frequencies
    assert_allclose(both, [[5 + 40j, 5 - 40j]], rtol=1e-4)
    assert_allclose(spectrum.rates, [[5 + 40j, 5 - 40j]], rtol=1e-8)


def test_the_leak_is_the_multiplier_of_all_other_directions(rnns):
    for jacobian in rnns.jacobian():
        dense = np.linalg.eigvals(jacobian)
        leak = np.abs(dense - eigenspectrum(rnns).leak) < 1e-6
        assert leak.sum() == N - rnns.rank


def test_a_sign_change_at_each_step_has_the_highest_frequency():
    rnn = RNNBatch.from_dense([[-14.0]], dt=0.01, tau=0.1)  # multiplier -0.5
    spectrum = eigenspectrum(rnn)
    assert_allclose(spectrum.frequencies, [[50.0]])
    assert_allclose(spectrum.growth_rates, [[np.log(0.5) / 0.01]])


def test_a_direction_gone_in_one_step_has_a_finite_growth_rate():
    rnn = RNNBatch.from_dense([[-9.0]], dt=0.01, tau=0.1)  # multiplier 0
    assert -np.inf < eigenspectrum(rnn).growth_rates[0, 0] < -1000


def test_a_bistable_network_has_its_known_spectra(networks):
    net = networks.bistable(gain=2.0)
    points = np.outer([-net.kappa, 0, net.kappa], net.m)[np.newaxis]
    found = eigenspectrum(net.rnn, points).eigenvalues
    assert_allclose(found, np.reshape([net.at_points, 2.0, net.at_points], (1, 3, 1)), atol=1e-12)


# Equivalent linearisation


def test_a_cycle_has_its_own_frequency_and_does_not_grow(networks):
    net = networks.ring(turn=0.9, gain=3.0)
    turn = round(2 * np.pi / net.angle)  # samples of one turn, nearly
    x0 = net.radius * net.plane[:, 0]
    rnn = networks.ring(turn=0.9, gain=3.0, initial_states=x0, n_timesteps=40 * turn).rnn
    spectrum = eigenspectrum(rnn, "equivalent")
    cycle = net.angle / (2 * np.pi * rnn.dt)
    assert_allclose(spectrum.frequencies, [[cycle, -cycle]], rtol=1e-3)
    assert_allclose(spectrum.growth_rates, 0, atol=1e-2)
    origin = eigenspectrum(rnn)  # where the same cycle grows and is much faster
    assert origin.frequencies[0, 0] > 1.5 * cycle
    assert origin.growth_rates[0, 0] > 5


def test_equivalent_gains_are_slopes_of_least_squares_lines(rnns, same_spectrum):
    run = rnns.free_run()
    found = eigenspectrum(rnns, "equivalent").multipliers
    assert found.shape == (N_RNNS, rnns.rank)
    for k, x in enumerate(run):
        gains = [np.polyfit(neuron, np.tanh(neuron), 1)[0] for neuron in x.T]
        J = rnns[k].to_dense()[0] * gains
        dense = np.linalg.eigvals((1 - rnns.alpha) * np.eye(N) + rnns.alpha * J)
        order = np.argsort(np.abs(dense - (1 - rnns.alpha)))
        same_spectrum(found[k], dense[order][N - rnns.rank :], atol=1e-7)


def test_equivalent_gains_of_small_swings_are_derivatives(networks):
    net = networks.bistable(gain=2.0)
    for swing in (0.0, 1e-9, 1e-5):  # about a fixed point: the limit, rounding, a true line
        x0 = (net.kappa + swing) * net.m
        rnn = networks.bistable(gain=2.0, initial_states=x0, n_timesteps=30).rnn
        found = eigenspectrum(rnn, "equivalent").eigenvalues
        assert_allclose(found, [[net.at_points]], atol=1e-4)


# Refusals


@pytest.mark.parametrize(
    ("at", "error", "words"),
    [
        ("fixed_points", ValueError, ["at", "'origin', 'weights', 'trajectory'", "fixed_points"]),
        ("trajectory", ValueError, ["no initial_states", "JEDIEstimator.dynamics"]),
        ("equivalent", ValueError, ["no initial_states", "JEDIEstimator.dynamics"]),
        (np.ones((3, 5)), ValueError, ["at must have shape", "n_neurons = 12", "(3, 5)"]),
        (np.ones((4, 12)), ValueError, ["4 rows for 3 RNNs"]),
        (np.full((3, 12), np.nan), ValueError, ["at", "NaN"]),
        (None, TypeError, ["at must be real numbers"]),
    ],
)
def test_refusals_say_what_was_expected_and_what_came(networks, at, error, words):
    with pytest.raises(error) as refusal:
        eigenspectrum(networks.random("shared"), at)
    for word in words:
        assert word in str(refusal.value)


def test_only_rnns_have_a_spectrum():
    with pytest.raises(TypeError, match=r"Expected a batch of RNNs .* got ndarray of shape"):
        eigenspectrum(np.eye(3))


def test_the_text_of_a_spectrum_is_one_short_line(rnns):
    assert repr(eigenspectrum(rnns)) == (
        f"Eigenspectrum(n_rnns=3, rank={rnns.rank}, dt=0.02, tau=0.1)"
    )
    assert "n_rnns=3, n_states=7, rank" in repr(eigenspectrum(rnns, "trajectory"))
