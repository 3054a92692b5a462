"""Facts about the simulated recordings: shapes, seeds, and that they are the teacher's."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import r2_score

from jedi_sklearn.datasets import make_initial_states, make_multifrequency, make_multitask

SMALL = {"n_trials": 24, "n_neurons": 20, "n_timesteps": 60, "dt": 0.02}
TASKS = ["decision", "memory", "oscillation", "reach"]


@pytest.fixture(scope="module")
def data():
    return make_multitask(**SMALL)


@pytest.fixture(scope="module")
def sines():
    return make_multifrequency(3, frequencies=(1, 2, 5, 10), n_neurons=20)


def test_arrays_agree_in_shape(data):
    assert data.X.shape == data.free_run.shape == (24, 60, 20)
    assert data.inputs.shape == (24, 60, len(data.input_names)) == (24, 60, 6)
    assert data.task.shape == data.condition.shape == (24,)
    assert_allclose(data.time, 0.02 * np.arange(60))
    assert data.teacher.shape == (1, 20)
    assert (data.teacher.dt, data.teacher.tau) == (0.02, 0.1)


def test_the_defaults_are_those_of_the_paper():
    data = make_multitask(4)
    assert data.X.shape == (4, 150, 200)
    J, B = data.teacher.to_dense()[0], data.teacher.input_weights
    assert np.linalg.matrix_rank(J) == data.teacher.rank == 5
    # entries of g U V' / sqrt(N) have variance g^2 rank / N
    assert J.std() == pytest.approx(1.8 * np.sqrt(5 / 200), rel=0.1)
    assert B.std() == pytest.approx(1, rel=0.1)
    assert (data.teacher.dt, data.teacher.tau) == (0.01, 0.1)


def test_rank_and_gain_are_the_teachers():
    quiet = make_multitask(4, n_neurons=30, rank=3, gain=0.5).teacher
    loud = make_multitask(4, n_neurons=30, rank=3, gain=1.0).teacher
    assert quiet.eigenvalues().shape == (1, 3)
    assert_allclose(loud.eigenvalues(), 2 * quiet.eigenvalues())


def test_tasks_are_spread_evenly(data):
    names, counts = np.unique(data.task, return_counts=True)
    assert names.tolist() == TASKS
    assert counts.tolist() == [6] * 4
    assert_array_equal(data.condition, data.task)
    two = make_multitask(**SMALL | {"tasks": ("reach", "memory")})
    assert sorted(set(two.task)) == ["memory", "reach"]


def test_conditions_are_prototypes_within_tasks():
    data = make_multitask(**SMALL | {"n_trials": 48, "n_conditions_per_task": 4})
    names, counts = np.unique(data.condition, return_counts=True)
    assert len(names) == 16 and (counts == 3).all()
    assert all(c.startswith(t) for c, t in zip(data.condition, data.task, strict=True))

    def spread(labels):
        return sum(data.inputs[labels == v].var(axis=0).sum() for v in set(labels)) / len(
            set(labels)
        )

    assert spread(data.condition) < 0.3 * spread(data.task)


def test_trials_vary_within_a_task(data):
    for task in TASKS:
        inputs = data.inputs[data.task == task].reshape(6, -1)
        assert len(np.unique(inputs.round(6), axis=0)) > 2


def test_each_task_uses_its_own_channels(data):
    used = {
        task: {
            name
            for i, name in enumerate(data.input_names)
            if np.abs(data.inputs[data.task == task][:, :, i]).max() > 1e-6
        }
        for task in TASKS
    }
    assert used == {
        "oscillation": {"oscillation"},
        "decision": {"evidence"},
        "memory": {"cue", "go"},
        "reach": {"reach x", "reach y"},
    }


def test_a_memory_cue_ends_before_the_go_cue(data):
    cue, go = (data.input_names.index(name) for name in ("cue", "go"))
    for trial in data.inputs[data.task == "memory"]:
        last_cue = np.flatnonzero(trial[:, cue])[-1]
        assert last_cue + 5 < np.flatnonzero(trial[:, go])[0]


@pytest.mark.parametrize("make", [make_multitask, make_multifrequency])
def test_seeds_of_teacher_and_trials_are_separate(make):
    size = {"n_neurons": 20, "n_timesteps": 40}
    first, again = make(4, **size), make(4, **size)
    assert_array_equal(first.X, again.X)
    other_trials = make(4, **size, random_state=1)
    assert_array_equal(other_trials.teacher.to_dense(), first.teacher.to_dense())
    assert_array_equal(other_trials.teacher.input_weights, first.teacher.input_weights)
    assert np.abs(other_trials.inputs - first.inputs).max() > 0.1
    other_teacher = make(4, **size, teacher_seed=1)
    assert_array_equal(other_teacher.inputs, first.inputs)
    assert np.abs(other_teacher.teacher.to_dense() - first.teacher.to_dense()).max() > 0.1


def test_the_common_initial_state_belongs_to_the_teacher():
    quiet = SMALL | {"initial_jitter": 0.0, "observation_noise": 0.0}
    first, other = make_multitask(**quiet), make_multitask(**quiet, random_state=1)
    assert_array_equal(first.X[:, 0], np.repeat(first.X[:1, 0], 24, axis=0))
    assert_array_equal(other.X[:, 0], first.X[:, 0])
    jittered = make_multitask(**quiet | {"initial_jitter": 0.1, "n_trials": 200})
    assert jittered.free_run[:, 0].std(axis=0).mean() == pytest.approx(0.1, rel=0.1)


def test_the_free_run_is_the_teachers_without_noise(data):
    run = data.teacher.simulate(data.free_run[:, 0], 60, data.inputs)
    assert_allclose(data.free_run, run, rtol=1e-10)


def test_without_noise_the_recording_is_the_free_run():
    data = make_multitask(**SMALL, process_noise=0.0, observation_noise=0.0)
    assert_array_equal(data.X, data.free_run)
    data = make_multitask(**SMALL, process_noise=0.0, observation_noise=0.2)
    assert (data.X - data.free_run).std() == pytest.approx(0.2, rel=0.05)


def test_the_ceiling_is_high_and_falls_with_noise(data):
    def ceiling(d):
        flat = (a.reshape(-1, 20) for a in (d.X, d.free_run))
        return r2_score(*flat, multioutput="variance_weighted")

    noisy = make_multitask(**SMALL, process_noise=0.05, observation_noise=0.5)
    assert 1 > ceiling(data) > 0.98 > ceiling(noisy) > 0


def test_rates_are_the_squashed_states():
    quiet = SMALL | {"observation_noise": 0.0}
    states, rates = make_multitask(**quiet), make_multitask(**quiet, observe="rate")
    assert_allclose(rates.X, np.tanh(states.X))
    assert_allclose(rates.free_run, np.tanh(states.free_run))


def test_sinusoids_have_their_frequency_and_any_phase(sines):
    assert sines.X.shape == (12, 200, 20)
    assert sines.frequency.tolist() == [1] * 3 + [2] * 3 + [5] * 3 + [10] * 3
    assert sines.condition[0] == "1 Hz" and sines.condition[-1] == "10 Hz"
    power = np.abs(np.fft.rfft(sines.inputs[:, :, 0], axis=1)) ** 2
    hertz = np.fft.rfftfreq(200, d=0.01)
    assert_allclose(hertz[power.argmax(axis=1)], sines.frequency)
    assert_allclose(power.max(axis=1) / power.sum(axis=1), 1)  # whole periods: a single line
    assert len(np.unique(sines.inputs[:, 0, 0].round(6))) == 12


def test_activity_follows_the_frequency_of_its_input(sines):
    late = sines.free_run[:, 100:] - sines.free_run[:, 100:].mean(axis=1, keepdims=True)
    power = (np.abs(np.fft.rfft(late, axis=1)) ** 2).sum(axis=2)
    hertz = np.fft.rfftfreq(100, d=0.01)
    for f in (5, 10):
        mine = sines.frequency == f
        line = power[:, hertz == f][:, 0] / power.sum(axis=1)
        assert line[mine].min() > line[~mine].max()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"tasks": ("reach", "sleep")}, ["tasks", "oscillation", "sleep"]),
        ({"tasks": ()}, ["tasks", "oscillation", "()"]),
        ({"observe": "spikes"}, ["observe", "'state', 'rate'", "'spikes'"]),
        ({"dt": 0.2}, ["0 < dt < tau", "dt=0.2"]),
    ],
)
def test_refusals_list_the_options(arguments, words):
    with pytest.raises(ValueError) as refusal:
        make_multitask(**SMALL | arguments)
    for word in words:
        assert word in str(refusal.value)


# One RNN, several initial states


def test_conditions_differ_in_their_initial_state_alone():
    quiet = SMALL | {"initial_jitter": 0.0, "process_noise": 0.0, "observation_noise": 0.0}
    data = make_initial_states(**quiet, n_conditions=3)
    assert data.inputs is None and data.teacher.input_weights is None
    assert data.teacher.shape == (1, 20)
    assert np.bincount(data.condition).tolist() == [8, 8, 8]
    assert_array_equal(data.X[:, 0], data.initial_states[data.condition])
    assert_allclose(data.X, data.teacher.simulate(data.X[:, 0], 60), rtol=1e-10)
    other_trials = make_initial_states(**quiet, n_conditions=3, random_state=1)
    assert_array_equal(other_trials.X, data.X)


def test_trials_start_near_the_initial_state_of_their_condition():
    data = make_initial_states(400, n_neurons=20, n_timesteps=2, initial_jitter=0.2)
    assert data.initial_states.shape == (8, 20)
    jitter = data.free_run[:, 0] - data.initial_states[data.condition]
    assert jitter.std() == pytest.approx(0.2, rel=0.05)
    assert (data.X - data.free_run)[:, 0].std() == pytest.approx(0.3, rel=0.05)


@pytest.mark.slow
def test_single_samples_tell_less_of_the_initial_state_than_trials():
    data = make_initial_states(200)
    train, test = np.arange(160), np.arange(160, 200)

    def accuracy(X):
        features = PCA(16, whiten=True, random_state=0).fit(X[train])
        classifier = LogisticRegression().fit(features.transform(X[train]), data.condition[train])
        return classifier.score(features.transform(X[test]), data.condition[test])

    assert accuracy(data.X.reshape(200, -1)) > 0.95
    assert accuracy(data.X[:, 75]) < 0.7


def test_no_initial_states_are_an_error():
    with pytest.raises(ValueError, match="n_conditions must be"):
        make_initial_states(8, n_conditions=0)
