"""Facts about sessions with different neurons: stacked, aligned by conditions, fitted together."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.utils import Bunch

from jedi_sklearn import JEDIEstimator, _expectation, _fit, _frozen
from jedi_sklearn._expectation import learn_reliance
from jedi_sklearn._missing import groups_of_neurons, sessions_of
from jedi_sklearn._parameters import choose_drive
from jedi_sklearn._trials import as_trials
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_labels_that_say_nothing_align_nothing(days):
    """The alignment is what the conditions make it: shuffled labels lose the other session."""
    y = np.random.RandomState(0).permutation(np.concatenate([t[:N_TRAIN] for t in days.condition]))
    est = JEDIEstimator(**days.est.get_params()).fit(days.X, y)
    new = days.X.place(days.sessions[0][N_TRAIN:], 0)
    other = days.X.columns[1]
    runs = [model.predict(new)[:, :, other] for model in (days.est, est)]
    aligned, shuffled = (r2_by(days.whole[0][N_TRAIN:, :, other], run) for run in runs)
    assert shuffled < aligned - 0.2


@pytest.mark.slow
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


@pytest.fixture
def apart(monkeypatch):
    """As many neurons as one session has drive the others, however few these are."""
    monkeypatch.setattr("jedi_sklearn._parameters.ENOUGH_UNITS", 1)


def small(**parameters):
    common = {"dt": 0.02, "max_iter": 12, "tol": 1, "random_state": 0, "device": "cpu"}
    return JEDIEstimator(3, 6, **common | parameters)


@pytest.mark.slow
def test_sessions_of_counts_with_inputs(spikes, apart):
    """Known inputs of the trials explain more of them than those of others."""
    est = small(max_iter=60).fit(spikes.X, spikes.y, inputs=spikes.u)
    assert est.observation_ == "poisson"
    other = np.roll(spikes.u, 1, axis=0)
    assert est.score(spikes.X, inputs=spikes.u) > est.score(spikes.X, inputs=other) + 0.01


@pytest.mark.slow
def test_sessions_of_counts_with_missing_samples(spikes, apart):
    """What comes after the last bin of a trial, in any session, tells nothing of it."""
    X = np.array(spikes.X)
    X[30, 10:14] = np.nan  # nobody was recorded
    X[31, :, N + 3] = np.nan  # a neuron was lost
    est = small().fit(X, spikes.y)
    short = spikes.X.place([spikes.sessions[0][0]], 0)
    assert short.shape[1] < spikes.X.shape[1]
    assert_allclose(est.transform(short), est.embedding_[:1], atol=1e-6)
    assert np.isfinite(est.predict(X)).all()


@pytest.mark.slow
def test_sessions_of_counts_stop_early(spikes, apart):
    est = small(early_stopping=True, validation_fraction=0.25).fit(spikes.X, spikes.y)
    assert len(est.validation_curve_) and est.embedding_.shape == (48, 3)
    assert 0 < max(score for _, score in est.validation_curve_) < 1


@pytest.mark.slow
def test_sessions_of_counts_go_on_from_a_checkpoint(spikes, stopped_at, tmp_path, apart):
    expected = small().fit(spikes.X, spikes.y)
    est = small(checkpoint=tmp_path / "fit.npz")
    with stopped_at(8):
        est.fit(spikes.X, spikes.y)
    assert est.checkpoint.exists()
    est.fit(spikes.X, spikes.y)
    assert est.loss_curve_ == expected.loss_curve_
    assert_array_equal(est.embedding_, expected.embedding_)


@pytest.mark.slow
def test_a_saved_fit_of_sessions_knows_new_trials(spikes, tmp_path, apart):
    est = small().fit(spikes.X, spikes.y)
    est.save(tmp_path / "model.npz")
    new = spikes.X.place(spikes.sessions[1], 1)
    again = JEDIEstimator.load(tmp_path / "model.npz")
    assert_array_equal(again.predict(new), est.predict(new))


@pytest.mark.slow
def test_sessions_of_counts_stay_in_their_files(spikes, monkeypatch, tmp_path, apart):
    sessions = [np.stack([t[:30] for t in session]) for session in spikes.sessions]
    expected = small().fit(stack_sessions(sessions), spikes.y)
    monkeypatch.setattr("jedi_sklearn._stored.LARGE", 1000)
    mapped = []
    for i, session in enumerate(sessions):
        np.save(tmp_path / f"{i}.npy", session)
        mapped.append(np.load(tmp_path / f"{i}.npy", mmap_mode="r"))
    est = small().fit(stack_sessions(mapped), spikes.y)
    assert_array_equal(est.embedding_, expected.embedding_)


# Each trial with the neurons that its runs need


def test_sessions_are_trials_and_neurons_that_no_other_trial_links():
    X = np.full((5, 3, 6), np.nan)
    X[0, 1:, :2], X[1, :, 3:5], X[3, 0, 1:3], X[4, :, 4] = 0, 0, 0, 0
    found = [(trials.tolist(), neurons.tolist()) for trials, neurons in sessions_of(X)]
    assert found == [([0, 2, 3], [0, 1, 2]), ([1, 4], [3, 4])]  # nobody has neuron 5, nor trial 2


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("counts", {"batch_size": 13}),
        ("counts", {"inputs": True}),
        ("rates", {"initial_state": "inferred"}),
    ],
)
def test_trials_of_a_session_need_no_neurons_that_only_others_have(
    spikes, apart, monkeypatch, kind, how
):
    """A fit to trials with their own neurons and those that drive is that to the whole block."""
    X, how = np.array(spikes.X), dict(how)
    X = np.tanh(X) if kind == "rates" else X
    u = spikes.u if how.pop("inputs", False) else None
    # that of sessions is a mean over them, and not quite that of all trials together
    monkeypatch.setattr(_frozen, "residual_autocorrelation_time", lambda *residuals: 2.0)
    monkeypatch.setattr(_fit, "PRECISION", torch.float64)  # rounding must not grow with the steps
    est = small(**how).fit(X, spikes.y, inputs=u)
    monkeypatch.setattr(_fit, "apart", lambda sessions, drive, *rest: as_trials(*rest[:-1]))
    block = small(**how).fit(X, spikes.y, inputs=u)
    assert_allclose(est.loss_curve_, block.loss_curve_, rtol=1e-6)
    assert_allclose(est.mean_, block.mean_, atol=1e-6)
    assert_allclose(est.noise_variance_, block.noise_variance_, rtol=1e-6)
    runs = [model.inverse_transform(model.embedding_, inputs=u) for model in (est, block)]
    assert np.median(np.abs(runs[0] - runs[1])) < 1e-6 * block.predict(X, inputs=u).std()


@pytest.mark.parametrize("teacher_forcing", [0.0, 0.4])
@pytest.mark.parametrize("kind", ["counts", "rates", "long bins"])
def test_one_run_of_all_sessions_is_a_run_of_each(spikes, apart, kind, teacher_forcing):
    """Loss and gradients are those of separate runs, with all neurons that each session needs."""
    X = spikes.X if kind != "rates" else np.tanh(np.array(spikes.X))
    X = np.array(X)
    X[3, 5:9], X[30, :, N + 2] = np.nan, np.nan  # nothing recorded for a while; a neuron lost
    how = {"steps_per_sample": 2} if kind == "long bins" else {}
    est = small(**how).fit(X, spikes.y, inputs=spikes.u)
    model = copy.deepcopy(est._model).to_train(torch.device("cpu"), torch.float64)
    model.connectivity.keep_silent()
    drive, sessions = model.connectivity.drive_others.numpy(), sessions_of(X)
    how = (spikes.u, model.observation, model.imputer, torch.float64, torch.device("cpu"))
    trials = _fit.apart(sessions, drive, X, *how, model.steps_per_sample, None)
    trials = trials[torch.arange(0, 48, 3)]
    assert len(trials.parts) == 2
    c = torch.tensor(est.embedding_[::3], requires_grad=True)
    q = torch.full((len(c), model.initial_state.size), 0.1, dtype=c.dtype, requires_grad=True)
    leaves = [c, q, *(p for p in model.parameters() if p.requires_grad and p.numel())]
    together = model.loss(c, q, trials, teacher_forcing)
    each = sum(model.loss(c[i], q[i], some, teacher_forcing) for i, some in trials.parts)
    torch.testing.assert_close(together, each, rtol=1e-10, atol=0)
    pairs = zip(*(torch.autograd.grad(loss, leaves) for loss in (together, each)), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8 * float(theirs.abs().max()))
        assert theirs.abs().max() > 0


@pytest.mark.slow
@pytest.mark.parametrize("how", [{}, {"initial_state": "observed"}])
@pytest.mark.parametrize("kind", ["counts", "rates"])
def test_reliance_is_learned_from_the_neurons_that_trials_have(spikes, monkeypatch, kind, how):
    """It is that of the block, but values that were not recorded are not looked at."""
    X = np.array(spikes.X) if kind == "counts" else np.tanh(np.array(spikes.X))
    model = small(**how).fit(X, spikes.y)._model
    kind, n_values = type(model.observation), []

    def counted(name):
        method = getattr(kind, name)

        def counts(self, x, *rest):
            n_values.append(x.numel())
            return method(self, x, *rest)

        monkeypatch.setattr(kind, name, counts)

    def learned():
        n_values.clear()
        *temperatures, disturbances = learn_reliance(model, X, None)
        return temperatures, disturbances.axes, sum(n_values)

    counted("score")
    counted("expand")
    *found, n = learned()
    everyone = np.arange(X.shape[2])
    monkeypatch.setattr(
        _expectation, "sessions_of", lambda X: [(np.arange(len(list(X))), everyone)]
    )
    *expected, n_of_block = learned()
    assert_allclose(found[0], expected[0], rtol=1e-9)
    assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-9)
    assert n < 0.55 * n_of_block  # of two sessions


def test_as_many_neurons_drive_as_a_session_has(spikes, apart):
    est = small().fit(spikes.X, spikes.y)
    drive = (est.hypernetwork_.connectivity.V != 0).any(1).numpy()
    assert [drive[columns].sum() for columns in spikes.X.columns] == [N // 2, N // 2]
    again = est.set_params(warm_start=True, max_iter=3).fit(spikes.X, spikes.y)
    assert_array_equal((again.hypernetwork_.connectivity.V != 0).any(1).numpy(), drive)
    rnns = again.dynamics(spikes.X[:2])
    assert_allclose(again.to_activity(rnns.free_run()), again.predict(spikes.X[:2]), rtol=1e-6)


def test_how_many_neurons_drive():
    def n_driving(sizes, previous=None, **parameters):
        ends = np.cumsum(sizes)
        sessions = [(None, np.arange(end - n, end)) for end, n in zip(ends, sizes, strict=True)]
        drive = choose_drive(JEDIEstimator(**parameters), sessions, previous)
        return None if drive is None else [int(drive[own].sum()) for _, own in sessions]

    assert n_driving([200, 100, 50]) == [114, 57, 29]  # as many as the largest has
    assert n_driving([40, 40, 40]) == [33, 33, 33]  # but 100
    for other in (
        n_driving([50, 50]),
        n_driving([300]),
        n_driving([200, 100], connectivity="low_rank"),
        n_driving([200, 100], solver="paper"),
    ):
        assert other is None  # all


@pytest.mark.parametrize("how", [{}, {"initial_state": "observed"}])
def test_trials_of_sessions_in_any_order_are_what_each_is_alone(spikes, apart, how):
    est = small(**how).fit(spikes.X, spikes.y)
    order = np.random.default_rng(0).permutation(len(spikes.X))[:12]
    X = spikes.X[order]
    together = est.posterior(X)
    for k in range(0, 12, 4):
        alone = est.posterior(X[k : k + 1])
        for name in ("mean", "covariance", "initial_state"):
            assert_allclose(alone[name][0], together[name][k], rtol=1e-4, atol=1e-5)
    assert_allclose(together.mean, est.embedding_[order], rtol=1e-4, atol=1e-5)
    assert est.forecast(X, 3).shape == (12, 3, 2 * N)


def test_a_session_joins_sessions_apart(spikes, apart):
    est = small().fit(spikes.X, spikes.y)
    new = np.full((24, spikes.X.shape[1], 2 * N + 5), np.nan)
    new[:, :, 2 * N :] = np.random.default_rng(0).poisson(1.0, new[:, :, :5].shape)
    joined = est.adapt(new, spikes.y[:24])
    old = np.full((48, spikes.X.shape[1], 2 * N + 5), np.nan)
    old[:, :, : 2 * N] = spikes.X
    assert_array_equal(joined.transform(old), est.transform(np.array(spikes.X)))


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
