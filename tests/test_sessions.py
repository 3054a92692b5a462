"""Facts about sessions with different neurons: stacked, aligned by conditions, fitted together."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.utils import Bunch

from jedi_sklearn import JEDIEstimator
from jedi_sklearn._missing import groups_of_neurons
from jedi_sklearn.datasets import make_multitask, make_spike_counts
from jedi_sklearn.metrics import r2_by
from jedi_sklearn.preprocessing import StackedSessions, stack_sessions

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

TEACHER = {
    "n_conditions_per_task": 2,
    "n_neurons": 60,
    "n_timesteps": 60,
    "dt": 0.02,
    "random_state": 0,
}
N, N_TRAIN = 30, 40  # neurons of each session, and trials of it that are fitted


@pytest.fixture(scope="module")
def days():
    """Trials of 60 neurons, of which each of two days has one half, and what a fit says."""
    data = make_multitask(120, observation_noise=0.1, **TEACHER)
    day = np.arange(120) // 8 % 2
    sessions = [data.X[day == i][:, :, N * i : N * (i + 1)] for i in range(2)]
    condition = [data.condition[day == i] for i in range(2)]
    X = stack_sessions([x[:N_TRAIN] for x in sessions])
    est = JEDIEstimator(6, 10, dt=0.02, max_iter=100, tol=1, random_state=0)
    est.fit(X, np.concatenate([y[:N_TRAIN] for y in condition]))
    whole = [data.X[day == i] for i in range(2)]
    return Bunch(X=X, sessions=sessions, condition=condition, est=est, whole=whole)


# Stacked


def test_a_stack_is_the_block_array():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 6, 2)), rng.normal(size=(2, 5, 4)).astype(np.float32)
    X = stack_sessions([a, b])
    block = np.full((5, 6, 6), np.nan)
    block[:3, :, :2], block[3:, :5, 2:] = a, b
    assert X.shape == block.shape and X.dtype == np.float64 and len(X) == 5
    assert_array_equal(np.asarray(X), block)
    for index in (0, -1, slice(1, 4), slice(None, None, -2), np.array([4, 0, 4]), [True] * 5):
        assert_array_equal(X[index], block[index])
    assert_array_equal(X[1:4, :, 3], block[1:4, :, 3])
    assert_array_equal(X[4, 2], block[4, 2])
    assert X.session.tolist() == [0, 0, 0, 1, 1]
    assert X.columns == [slice(0, 2), slice(2, 6)]
    assert stack_sessions([b, b]).dtype == np.float32
    assert repr(X) == "StackedSessions((5, 6, 6): 3 trials x 2 neurons, 2 trials x 4 neurons)"


def test_sessions_may_be_lists_of_trials_of_unequal_length():
    rng = np.random.default_rng(0)
    trials = [rng.poisson(1.0, size=(n, 3)) for n in (5, 7, 4)]
    X = stack_sessions([trials, rng.poisson(1.0, size=(2, 6, 2))])
    assert X.shape == (5, 7, 5)
    for k, trial in enumerate(trials):
        assert_array_equal(X[k][: len(trial), :3], trial)
        assert np.isnan(X[k][len(trial) :]).all()


def test_new_trials_are_placed_in_the_columns_of_their_session():
    X = stack_sessions([np.zeros((3, 6, 2)), np.zeros((2, 5, 4))])
    new = np.random.default_rng(0).normal(size=(4, 9, 4))
    placed = X.place(new, 1)
    assert placed.shape == (4, 9, 6)
    assert_array_equal(placed[:, :, 2:], new)
    assert np.isnan(placed[:, :, :2]).all()


def test_a_stack_is_never_held(monkeypatch):
    """A fit reads some trials at a time, as of a memory map."""
    monkeypatch.setattr("jedi_sklearn._stored.LARGE", 100)
    monkeypatch.setattr(StackedSessions, "__array__", None)
    rng = np.random.default_rng(0)
    X = stack_sessions([rng.normal(size=(12, 8, 3)), rng.normal(size=(12, 8, 4))])
    y = np.tile(["a", "b"], 12)
    est = JEDIEstimator(2, 3, max_iter=2, tol=10, random_state=0).fit(X, y)
    assert est.embedding_.shape == (24, 2)


# Which neurons belong together


def test_groups_are_neurons_linked_by_trials():
    X = np.full((3, 2, 6), np.nan)
    X[0, :, :2], X[1, 0, 1:3], X[2, :, 3:5] = 0, 0, 0
    known = np.isfinite(X).any(axis=1)
    assert groups_of_neurons(known).tolist() == [0, 0, 0, 1, 1, 0]  # nobody knows the last
    X[1, 1, 4] = 0
    assert groups_of_neurons(np.isfinite(X).any(axis=1)).max() == 0


# Fitted together


def test_sessions_are_told_by_each_other(days):
    """A decoder of one day reads the other day."""
    for i in range(2):
        here = days.X.session == i
        train = np.concatenate([y[:N_TRAIN] for y in days.condition])
        new = days.est.transform(days.X.place(days.sessions[i][N_TRAIN:], i))
        scores = [
            LogisticRegression(max_iter=1000)
            .fit(days.est.embedding_[known], train[known])
            .score(new, days.condition[i][N_TRAIN:])
            for known in (~here, here)
        ]
        assert scores[0] >= max(scores[1] - 0.1, 0.8)  # chance is 1/8


def test_neurons_of_the_other_session_are_predicted(days):
    for i in range(2):
        new = days.X.place(days.sessions[i][N_TRAIN:], i)
        run, truth = days.est.predict(new), days.whole[i][N_TRAIN:]
        own, other = days.X.columns[i], days.X.columns[1 - i]
        assert r2_by(truth[:, :, own], run[:, :, own]) > 0.9
        assert r2_by(truth[:, :, other], run[:, :, other]) > 0.8


def test_neurons_that_days_share_align_them(days):
    """Without labels: 16 neurons recorded on both days, and 22 on one each."""
    X = np.concatenate([whole[:N_TRAIN] for whole in days.whole])
    day = np.repeat([0, 1], N_TRAIN)
    X[day == 0, :, 38:], X[day == 1, :, 16:38] = np.nan, np.nan
    est = JEDIEstimator(**days.est.get_params()).fit(X)
    for i, other in enumerate((slice(38, 60), slice(16, 38))):
        new = days.whole[i][N_TRAIN:].copy()
        truth, new[:, :, other] = new[:, :, other].copy(), np.nan
        assert r2_by(truth, est.predict(new)[:, :, other]) > 0.85


def test_labels_that_say_nothing_align_nothing(days):
    """The alignment is what the conditions make it: shuffled labels lose the other session."""
    y = np.random.RandomState(0).permutation(np.concatenate([t[:N_TRAIN] for t in days.condition]))
    est = JEDIEstimator(**days.est.get_params()).fit(days.X, y)
    new = days.X.place(days.sessions[0][N_TRAIN:], 0)
    other = days.X.columns[1]
    runs = [model.predict(new)[:, :, other] for model in (days.est, est)]
    aligned, shuffled = (r2_by(days.whole[0][N_TRAIN:, :, other], run) for run in runs)
    assert shuffled < aligned - 0.2


def test_counts_of_two_sessions():
    data = make_multitask(80, observation_noise=0, **TEACHER)
    spikes = make_spike_counts(data, rate=25.0)
    day = np.arange(80) // 8 % 2
    X = stack_sessions([spikes.X[day == i][:, :, N * i : N * (i + 1)] for i in range(2)])
    y = np.concatenate([data.condition[day == i] for i in range(2)])
    est = JEDIEstimator(6, 10, dt=0.02, max_iter=60, tol=1, random_state=0).fit(X, y)
    assert est.observation_ == "poisson"
    rates = np.concatenate([spikes.rates[day == i] for i in range(2)])
    other = np.isnan(np.asarray(X))
    assert np.corrcoef(est.predict(X)[other], rates[other])[0, 1] > 0.7


# Counts of sessions with everything else


@pytest.fixture(scope="module")
def spikes():
    """Counts of two days with different neurons and trials of unequal length, and inputs."""
    data = make_multitask(48, observation_noise=0, **TEACHER | {"n_timesteps": 40})
    counts = make_spike_counts(data, rate=25.0, random_state=0).X
    day = np.arange(48) // 8 % 2
    order = np.argsort(day, kind="stable")
    sessions = [list(counts[day == i][:, :, N * i : N * (i + 1)]) for i in range(2)]
    for k in range(0, 24, 3):
        sessions[0][k] = sessions[0][k][: 30 + k % 4]
    X = stack_sessions(sessions)
    return Bunch(X=X, sessions=sessions, y=data.condition[order], u=data.inputs[order])


def small(**parameters):
    common = {"dt": 0.02, "max_iter": 12, "tol": 1, "random_state": 0, "device": "cpu"}
    return JEDIEstimator(3, 6, **common | parameters)


def test_sessions_of_counts_with_inputs(spikes):
    """Known inputs of the trials explain more of them than those of others."""
    est = small(max_iter=60).fit(spikes.X, spikes.y, inputs=spikes.u)
    assert est.observation_ == "poisson"
    other = np.roll(spikes.u, 1, axis=0)
    assert est.score(spikes.X, inputs=spikes.u) > est.score(spikes.X, inputs=other) + 0.01


def test_sessions_of_counts_with_missing_samples(spikes):
    """What comes after the last bin of a trial, in any session, tells nothing of it."""
    X = np.array(spikes.X)
    X[30, 10:14] = np.nan  # nobody was recorded
    X[31, :, N + 3] = np.nan  # a neuron was lost
    est = small().fit(X, spikes.y)
    short = spikes.X.place([spikes.sessions[0][0]], 0)
    assert short.shape[1] < spikes.X.shape[1]
    assert_allclose(est.transform(short), est.embedding_[:1], atol=1e-6)
    assert np.isfinite(est.predict(X)).all()


def test_sessions_of_counts_stop_early(spikes):
    est = small(early_stopping=True, validation_fraction=0.25).fit(spikes.X, spikes.y)
    assert len(est.validation_curve_) and est.embedding_.shape == (48, 3)
    assert 0 < max(score for _, score in est.validation_curve_) < 1


def test_sessions_of_counts_go_on_from_a_checkpoint(spikes, stopped_at, tmp_path):
    expected = small().fit(spikes.X, spikes.y)
    est = small(checkpoint=tmp_path / "fit.npz")
    with stopped_at(8):
        est.fit(spikes.X, spikes.y)
    assert est.checkpoint.exists()
    est.fit(spikes.X, spikes.y)
    assert est.loss_curve_ == expected.loss_curve_
    assert_array_equal(est.embedding_, expected.embedding_)


def test_a_saved_fit_of_sessions_knows_new_trials(spikes, tmp_path):
    est = small().fit(spikes.X, spikes.y)
    est.save(tmp_path / "model.npz")
    new = spikes.X.place(spikes.sessions[1], 1)
    again = JEDIEstimator.load(tmp_path / "model.npz")
    assert_array_equal(again.predict(new), est.predict(new))


def test_sessions_of_counts_stay_in_their_files(spikes, monkeypatch, tmp_path):
    sessions = [np.stack([t[:30] for t in session]) for session in spikes.sessions]
    expected = small().fit(stack_sessions(sessions), spikes.y)
    monkeypatch.setattr("jedi_sklearn._stored.LARGE", 1000)
    mapped = []
    for i, session in enumerate(sessions):
        np.save(tmp_path / f"{i}.npy", session)
        mapped.append(np.load(tmp_path / f"{i}.npy", mmap_mode="r"))
    est = small().fit(stack_sessions(mapped), spikes.y)
    assert_array_equal(est.embedding_, expected.embedding_)


# What cannot be aligned


def test_sessions_without_labels_are_refused(days):
    words = r"2 groups of neurons.*neuron 0 and neuron 30.*fit\(X, conditions\)"
    with pytest.raises(ValueError, match=words):
        JEDIEstimator(2, 3).fit(days.X)


def test_sessions_without_a_common_condition_are_refused(days):
    with pytest.raises(ValueError, match="neuron 0 and of neuron 30 have no condition in common"):
        JEDIEstimator(2, 3).fit(days.X, days.X.session)


def test_one_session_needs_no_labels():
    rng = np.random.default_rng(0)
    X = stack_sessions([rng.normal(size=(20, 8, 5))])
    assert JEDIEstimator(2, 3, max_iter=2, tol=10).fit(X).embedding_.shape == (20, 2)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: stack_sessions(np.zeros((2, 3, 4, 5))), TypeError, "list of arrays of trials"),
        (lambda: stack_sessions([]), TypeError, "list of arrays of trials"),
        (lambda: stack_sessions([np.zeros((3, 4))]), ValueError, "session 0 must have shape"),
        (
            lambda: stack_sessions([np.zeros((3, 4, 2))]).place(np.zeros((3, 4, 3)), 0),
            ValueError,
            "Session 0 has 2 neurons, but X has 3",
        ),
        (
            lambda: stack_sessions([np.zeros((3, 4, 2))]).place(np.zeros((3, 4, 2)), 1),
            ValueError,
            "session must be an integer >= 0 and <= 0",
        ),
    ],
)
def test_what_is_no_session_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
