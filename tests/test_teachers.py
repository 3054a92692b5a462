"""Facts about the simulated recordings whose fixed points or computations are known."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from jedi_sklearn.datasets import (
    make_bistable_decision,
    make_flip_flop,
    make_memory_pro,
    make_ring_attractor,
)

TRAINED = (make_flip_flop, make_memory_pro)
ANALYTIC = (make_ring_attractor, make_bistable_decision)
QUIET = {"process_noise": 0.0, "observation_noise": 0.0}
SMALL = {"n_trials": 6, "n_timesteps": 40}


def outputs(data, states):
    return np.tanh(states) @ data.output_weights.T


def residual(teacher, points, inputs=None):
    return np.abs(teacher.step(points, inputs) - points).max()


def largest_multiplier(teacher, points):
    return np.abs(np.linalg.eigvals(teacher.jacobian(points))).max(axis=1)


def angle_between(a, b):
    return np.angle(np.exp(1j * (a - b)))


@pytest.fixture(scope="module")
def bits():
    return make_flip_flop(30)


@pytest.fixture(scope="module")
def angles():
    return make_memory_pro(64, **QUIET)


@pytest.fixture(scope="module")
def ring():
    return make_ring_attractor(40)


@pytest.fixture(scope="module")
def decision():
    return make_bistable_decision(60)


# ------------------------------------------------------------------ flip-flop


def test_three_bits_are_eight_stable_fixed_points(bits):
    assert bits.fixed_points.shape == (8, 64)
    assert residual(bits.teacher, bits.fixed_points) < 1e-12
    assert (largest_multiplier(bits.teacher, bits.fixed_points) < 1).all()
    said = outputs(bits, bits.fixed_points)
    assert_array_equal(np.sign(said), bits.fixed_point_memory)
    assert_array_equal(np.unique(bits.fixed_point_memory, axis=0), bits.fixed_point_memory)
    assert np.abs(said).min() > 0.8


@pytest.mark.slow
def test_nothing_else_attracts(bits):
    rng = np.random.RandomState(0)
    x = rng.uniform(0, 3, (1000, 1)) * rng.standard_normal((1000, 64))
    for _ in range(4000):
        x = bits.teacher.step(x)
    distance = np.abs(x[:, None] - bits.fixed_points).max(axis=2)
    assert distance.min(axis=1).max() < 1e-6
    assert_array_equal(np.unique(distance.argmin(axis=1)), np.arange(8))


def test_segments_follow_the_pulses(bits):
    assert bits.X.shape == bits.free_run.shape == (30 * 7, 40, 64)
    assert_array_equal(bits.trial, np.repeat(np.arange(30), 7))
    assert_array_equal(bits.inputs, np.repeat(bits.inputs[:, :1], 40, axis=1))
    pulse = bits.inputs[:, 0].reshape(30, 7, 3)
    assert not pulse[:, ::2].any()
    assert_array_equal(np.abs(pulse[:, 1::2]).sum(axis=2), np.ones((30, 3)))
    for condition, u in zip(bits.condition, bits.inputs[:, 0], strict=True):
        channel = np.abs(u).argmax()
        word = "up" if u[channel] > 0 else "down"
        assert condition == (f"bit {channel + 1} {word}" if u.any() else "hold")
    assert len(set(bits.condition)) == 7
    memory = bits.memory.reshape(30, 7, 3)
    for i in range(1, 7):
        expected = np.where(pulse[:, i] == 0, memory[:, i - 1], pulse[:, i])
        assert_array_equal(memory[:, i], expected)


def test_the_network_holds_the_bits(bits):
    for states in (bits.X, bits.free_run):
        said = outputs(bits, states[:, -1])
        assert_array_equal(np.sign(said), bits.memory)
        assert np.abs(said).min() > 0.5


def test_bits_are_held_for_a_long_time():
    data = make_flip_flop(10, **QUIET)
    last = data.X.reshape(10, 7, 40, 64)[:, -1, -1]
    end = data.teacher.simulate(last, 3000)[:, -1]
    which = np.abs(end[:, None] - data.fixed_points).max(axis=2).argmin(axis=1)
    assert_array_equal(data.fixed_point_memory[which], data.memory[6::7])


def test_pulses_can_be_left_out(bits):
    hold = make_flip_flop(30, include_pulses=False)
    assert set(hold.condition) == {"hold"} and not hold.inputs.any()
    for name in ("X", "free_run", "memory", "trial"):
        assert_array_equal(hold[name], bits[name][bits.condition == "hold"])


# ------------------------------------------------------------------ MemoryPro


def test_phases_are_segments_with_their_inputs(angles):
    assert angles.X.shape == (256, 50, 128)
    assert angles.phase[:4].tolist() == ["context", "stimulus", "memory", "response"]
    assert_array_equal(angles.inputs, np.repeat(angles.inputs[:, :1], 50, axis=1))
    for phase, u in angles.phase_inputs.items():
        assert_array_equal(angles.inputs[angles.phase == phase][:, 0], np.tile(u, (64, 1)))
    shown = angles.phase == "stimulus"
    turn = np.stack([np.ones(64), np.cos(angles.angle[shown]), np.sin(angles.angle[shown])], 1)
    assert_allclose(angles.inputs[shown][:, 0], turn)
    names, counts = np.unique(angles.condition, return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == {
        **dict.fromkeys(("context", "memory", "response"), 64),
        **{f"stimulus {45 * i} deg": 8 for i in range(8)},
    }


def test_the_angle_is_reported_in_the_response_and_not_before(angles):
    said = outputs(angles, angles.X[:, -1])
    respond = angles.phase == "response"
    assert_allclose(said[~respond], np.tile([1, 0, 0], (192, 1)), atol=0.1)
    assert_allclose(said[respond, 0], 0, atol=0.1)
    error = angle_between(np.arctan2(said[respond, 2], said[respond, 1]), angles.angle[respond])
    assert np.sqrt(np.mean(error**2)) < 0.1
    assert_allclose(np.hypot(*said[respond, 1:].T), 1, atol=0.1)


@pytest.mark.slow
def test_a_random_angle_outlasts_a_noisy_delay_of_three_seconds():
    data = make_memory_pro(200, n_angles=None, **QUIET)
    assert len(set(data.condition)) == 4
    x = data.X[data.phase == "stimulus"][:, -1]
    for phase, duration in (("memory", 151), ("response", 51)):
        inputs = np.tile(data.phase_inputs[phase], (200, duration, 1))
        x = data.teacher.simulate(x, duration, inputs, noise=0.03, random_state=0)[:, -1]
    said = outputs(data, x)
    error = angle_between(np.arctan2(said[:, 2], said[:, 1]), data.angle[::4])
    assert np.sqrt(np.mean(error**2)) < 0.15


def test_the_memory_is_a_ring_of_slow_points():
    data = make_memory_pro(72, n_angles=72, n_timesteps=100, initial_jitter=0.0, **QUIET)
    x = data.X[data.phase == "memory"][:, -1]
    centred = x - x.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    assert (s[:2] ** 2).sum() > 0.97 * (s**2).sum()
    plane = u[:, :2] * s[:2]
    turn = np.unwrap(np.arctan2(plane[:, 1], plane[:, 0]))
    steps = np.diff(turn) * np.sign(turn[-1] - turn[0])
    assert steps.min() > 0 and steps.sum() == pytest.approx(2 * np.pi * 71 / 72, abs=0.1)
    inputs = np.tile(data.phase_inputs["memory"], (72, 1))
    speed = np.linalg.norm(data.teacher.step(x, inputs) - x, axis=1) / data.teacher.dt
    radius = np.linalg.norm(centred, axis=1)
    assert (speed < 0.1 * radius).all()  # 1/s: a radius takes more than 10 s, that is 100 tau


# ------------------------------------------------------------------ ring


@pytest.mark.parametrize("arguments", [{}, {"n_neurons": 9, "gain": 1.2}, {"gain": 5.0}])
def test_the_ring_is_made_of_fixed_points(arguments):
    data = make_ring_attractor(2, **arguments)
    assert data.radius > 0.5
    assert data.fixed_points.shape == (data.teacher.n_neurons,) * 2
    assert residual(data.teacher, data.fixed_points) < 1e-12
    values = data.teacher.eigenvalues(data.fixed_points)
    assert_allclose(values, np.tile(data.leading_eigenvalues, (len(values), 1)), atol=1e-12)
    assert data.leading_eigenvalues[1] < 1
    assert_allclose(data.teacher.eigenvalues(), [[arguments.get("gain", 2.0)] * 2])


def test_the_ring_is_neutral_along_itself_and_has_no_gaps(ring):
    assert ring.leading_eigenvalues[0] == pytest.approx(1, abs=1e-12)
    between = ring.radius * np.cos(ring.preferred_angles - 0.3 * ring.preferred_angles[1])
    assert residual(ring.teacher, between[None]) < 1e-12
    tangent = np.sin(ring.preferred_angles)
    slope = 1 - np.tanh(ring.fixed_points[0]) ** 2
    assert_allclose(ring.teacher.to_dense()[0] @ (slope * tangent), tangent, atol=1e-12)


def test_trials_relax_to_the_ring_at_their_angle(ring):
    end = ring.teacher.simulate(ring.free_run[:, -1], 1000)[:, -1]
    on_ring = ring.radius * np.cos(ring.preferred_angles - ring.angle[:, None])
    assert_allclose(end, on_ring, atol=0.01)
    start = np.linalg.norm(ring.free_run[:, 0], axis=1) / np.linalg.norm(on_ring, axis=1)
    assert start.min() < 0.6 and start.max() > 1.4
    centre = np.radians([float(c.split()[0]) for c in ring.condition])
    assert np.abs(angle_between(centre, ring.angle)).max() <= np.pi / 8 + 1e-12


# ------------------------------------------------------------------ decision


def test_the_decision_has_three_fixed_points_with_known_eigenvalues(decision):
    assert decision.fixed_points.shape == (3, 100)
    assert residual(decision.teacher, decision.fixed_points) < 1e-12
    kappa = np.abs(decision.fixed_points[2])
    assert_allclose(kappa, 2 * np.tanh(kappa), atol=1e-12)
    values = decision.teacher.eigenvalues(decision.fixed_points)
    assert_allclose(values[:, 0], decision.leading_eigenvalues, atol=1e-12)
    assert_allclose(decision.leading_eigenvalues[1], 2)
    multipliers = largest_multiplier(decision.teacher, decision.fixed_points)
    assert_allclose(multipliers > 1, [False, True, False])


def test_a_pulse_decides_and_the_choice_is_held(decision):
    assert_array_equal(decision.choice, np.sign(decision.evidence))
    end = decision.teacher.simulate(decision.free_run[:, -1], 500)[:, -1]
    assert_allclose(end, decision.fixed_points[1 + decision.choice], atol=1e-6)
    early = decision.time < 0.3
    expected = np.where(early, decision.evidence[:, None], 0)
    assert_array_equal(decision.inputs[:, :, 0], expected)
    values, counts = np.unique(decision.evidence, return_counts=True)
    assert values.tolist() == [-1, -0.5, -0.25, 0.25, 0.5, 1] and (counts == 10).all()
    assert decision.condition[:2].tolist() == ["evidence -0.25", "evidence +0.25"]


def test_stronger_evidence_is_faster(decision):
    away = np.abs(decision.free_run @ np.sign(decision.fixed_points[2])) / 100
    early = [away[np.abs(decision.evidence) == s, 20].mean() for s in (0.25, 0.5, 1.0)]
    assert early[0] < early[1] < early[2]


# ------------------------------------------------------------------ all of them


@pytest.mark.parametrize("make", TRAINED + ANALYTIC)
def test_random_state_decides_the_trials_and_not_the_network(make):
    first, again, other = make(**SMALL), make(**SMALL), make(**SMALL, random_state=1)
    assert_array_equal(first.X, again.X)
    assert np.abs(first.X - other.X).max() > 0.1
    assert_array_equal(first.teacher.to_dense(), other.teacher.to_dense())


def test_the_teacher_seed_decides_the_network_and_not_the_trials():
    first, other = make_bistable_decision(**SMALL), make_bistable_decision(**SMALL, teacher_seed=1)
    assert (first.fixed_points != other.fixed_points).any()
    assert_allclose(first.free_run[:, 0], other.free_run[:, 0])


@pytest.mark.parametrize("make", TRAINED + ANALYTIC)
def test_without_noise_the_recording_is_the_free_run(make):
    quiet = make(**SMALL, **QUIET)
    assert_allclose(quiet.X, quiet.free_run, atol=1e-12)
    noisy = make(**SMALL, process_noise=0.0, observation_noise=0.2)
    assert (noisy.X - noisy.free_run).std() == pytest.approx(0.2, rel=0.05)
    run = noisy.teacher.simulate(noisy.free_run[:, 0], 40, noisy.get("inputs"))
    assert_allclose(noisy.free_run, run, atol=1e-12)
    assert_allclose(noisy.time, noisy.teacher.dt * np.arange(40))


@pytest.mark.parametrize("make", TRAINED)
def test_a_trial_runs_on_through_its_segments(make):
    data = make(3, n_timesteps=10, **QUIET)
    before, after = data.X[:-1, -1], data.X[1:, 0]
    same = data.trial[:-1] == data.trial[1:]
    step = data.teacher.step(before, data.inputs[:-1, -1])
    assert_allclose(step[same], after[same], atol=1e-12)


@pytest.mark.parametrize("make", TRAINED)
def test_a_subset_of_the_neurons_is_observed(make):
    everything, some = make(**SMALL), make(**SMALL, n_neurons=10)
    n = everything.teacher.n_neurons
    assert_array_equal(everything.observed, np.arange(n))
    assert some.observed.shape == (10,) and (np.diff(some.observed) > 0).all()
    assert_array_equal(some.X, everything.X[:, :, some.observed])
    assert_array_equal(some.free_run, everything.free_run[:, :, some.observed])
    assert some.teacher.n_neurons == n
    other = make(**SMALL, n_neurons=10, random_state=1)
    assert (other.observed != some.observed).any()


@pytest.mark.parametrize(
    ("make", "arguments", "error", "words"),
    [
        (make_flip_flop, {"n_trials": 0}, ValueError, ["n_trials", ">= 1", "0"]),
        (make_flip_flop, {"n_pulses": 1.5}, TypeError, ["n_pulses", "an integer", "1.5"]),
        (make_flip_flop, {"n_neurons": 65}, ValueError, ["n_neurons", "<= 64", "65"]),
        (make_flip_flop, {"process_noise": -1}, ValueError, ["process_noise", ">= 0", "-1"]),
        (make_memory_pro, {"n_angles": 0}, ValueError, ["n_angles", ">= 1", "0"]),
        (make_memory_pro, {"n_neurons": 129}, ValueError, ["n_neurons", "<= 128", "129"]),
        (make_memory_pro, {"n_timesteps": 1}, ValueError, ["n_timesteps", ">= 2", "1"]),
        (make_ring_attractor, {"gain": 1.0}, ValueError, ["gain", "> 1", "1.0"]),
        (make_ring_attractor, {"n_neurons": 3}, ValueError, ["n_neurons", ">= 8", "3"]),
        (make_ring_attractor, {"dt": 0.2}, ValueError, ["0 < dt < tau", "dt=0.2"]),
        (make_bistable_decision, {"dt": -1}, ValueError, ["0 < dt < tau", "dt=-1"]),
        (make_bistable_decision, {"gain": 0.9}, ValueError, ["gain", "> 1", "0.9"]),
        (make_bistable_decision, {"strengths": ()}, ValueError, ["strengths", "at least one"]),
        (make_bistable_decision, {"strengths": (-1,)}, ValueError, ["strengths", "> 0", "-1"]),
        (make_bistable_decision, {"pulse_duration": 2.0}, ValueError, ["pulse_duration", "in s"]),
    ],
)
def test_refusals_say_what_was_expected_and_what_came(make, arguments, error, words):
    with pytest.raises(error) as refusal:
        make(**arguments)
    for word in words:
        assert word in str(refusal.value)
