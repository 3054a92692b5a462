"""Facts about neurons of a new session that join a fitted model."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils import Bunch

from jedi_sklearn import JEDIEstimator
from jedi_sklearn._model import Model
from jedi_sklearn.datasets import make_multitask, make_spike_counts
from jedi_sklearn.metrics import r2_by
from jedi_sklearn.preprocessing import place_neurons

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

OLD, ALL = 40, 60  # neurons of the fit, and with those that join
N_FIT, N_JOIN = 64, 40  # trials of either; what follows is kept for tests
SMALL = {"dt": 0.02, "max_iter": 100, "tol": 1, "random_state": 0}
TEACHER = {
    "n_trials": 144,
    "n_conditions_per_task": 2,
    "n_neurons": ALL,
    "n_timesteps": 60,
    "dt": 0.02,
    "random_state": 0,
}


def split(X, condition):
    """Trials of the fit, of the new session to adapt to, and of it to test."""
    train, join = X[:N_FIT, :, :OLD], X[N_FIT:, :, OLD:]
    new = place_neurons(join, slice(OLD, ALL), ALL)
    return Bunch(
        train=train,
        new=new[:N_JOIN],
        test=new[N_JOIN:],
        y=condition[:N_FIT],
        y_new=condition[N_FIT : N_FIT + N_JOIN],
        y_test=condition[N_FIT + N_JOIN :],
    )


@pytest.fixture(scope="module")
def session():
    data = make_multitask(observation_noise=0.1, **TEACHER)
    parts = split(data.X, data.condition)
    est = JEDIEstimator(6, 10, **SMALL).fit(parts.train, parts.y)
    joined = est.adapt(parts.new, parts.y_new)
    return Bunch(**parts, est=est, joined=joined, whole=data.X[N_FIT + N_JOIN :])


def padded(X, total=ALL):
    """Trials of the fit as the joined model takes them."""
    return place_neurons(X, slice(0, X.shape[2]), total)


# What joins


def test_a_decoder_of_the_fit_reads_the_new_session(session):
    E = session.joined.transform(session.test)
    decoder = LogisticRegression(max_iter=1000).fit(session.est.embedding_, session.y)
    assert decoder.score(E, session.y_test) >= 0.8  # chance is 1/8


def test_new_and_old_neurons_are_predicted(session):
    run = session.joined.predict(session.test)
    assert r2_by(session.whole[:, :, OLD:], run[:, :, OLD:]) > 0.9
    assert r2_by(session.whole[:, :, :OLD], run[:, :, :OLD]) > 0.8  # never recorded here


@pytest.mark.slow
def test_labels_are_what_aligns(session):
    wrong = np.random.RandomState(0).permutation(session.y_new)
    joined = session.est.adapt(session.new, wrong)
    old = [est.predict(session.test)[:, :, :OLD] for est in (session.joined, joined)]
    aligned, shuffled = (r2_by(session.whole[:, :, :OLD], run) for run in old)
    assert shuffled < aligned - 0.2


def test_trials_without_a_label_of_the_fit_take_part(session):
    """They are inferred once the others have told of the neurons."""
    label = np.array(session.y_new, dtype=object)
    label[::4] = "never seen"
    with pytest.warns(
        UserWarning, match=r"conditions that the fit did not have \(never seen; it had"
    ):
        joined = session.est.adapt(session.new, label)
    run = joined.predict(session.test)
    assert r2_by(session.whole[:, :, OLD:], run[:, :, OLD:]) > 0.9


def test_neurons_in_common_need_no_labels(session):
    X = session.new.copy()
    X[:, :, :15] = make_multitask(observation_noise=0.1, **TEACHER).X[
        N_FIT : N_FIT + N_JOIN, :, :15
    ]
    run = session.est.adapt(X).predict(session.test)
    assert r2_by(session.whole[:, :, OLD:], run[:, :, OLD:]) > 0.9


@pytest.mark.slow
def test_counts_join(session):
    data = make_multitask(observation_noise=0, **TEACHER)
    spikes = make_spike_counts(data, rate=25.0)
    parts = split(spikes.X, data.condition)
    est = JEDIEstimator(6, 10, **SMALL).fit(parts.train, parts.y)
    parts.new[:, :, 50] = 0
    with pytest.warns(UserWarning, match=r"1 of 20 neurons never fire in X \(neuron 50\)"):
        joined = est.adapt(parts.new, parts.y_new)
    assert joined.observation_ == "poisson"
    rates = spikes.rates[N_FIT + N_JOIN :]
    run = joined.predict(parts.test)
    for neurons, least in ((slice(OLD, ALL), 0.8), (slice(0, OLD), 0.7)):
        found = np.corrcoef(run[:, :, neurons].ravel(), rates[:, :, neurons].ravel())[0, 1]
        assert found > least


def test_missing_samples_and_unequal_lengths(session):
    X = session.new.copy()
    rng = np.random.default_rng(0)
    X[rng.random(X.shape) < 0.2] = np.nan
    X[::2, 45:] = np.nan
    joined = session.est.adapt(X, session.y_new)
    run = joined.predict(session.test)
    assert r2_by(session.whole[:, :, OLD:], run[:, :, OLD:]) > 0.85


@pytest.mark.slow
def test_known_inputs():
    data = make_multitask(observation_noise=0.05, **TEACHER)
    parts = split(data.X, data.condition)
    u = data.inputs
    est = JEDIEstimator(4, 10, initial_state="generated", **SMALL)
    est.fit(parts.train, parts.y, inputs=u[:N_FIT])
    new, later = u[N_FIT : N_FIT + N_JOIN], u[N_FIT + N_JOIN :]
    joined = est.adapt(parts.new, parts.y_new, inputs=new)
    run = joined.predict(parts.test, inputs=later)
    assert r2_by(data.X[N_FIT + N_JOIN :, :, OLD:], run[:, :, OLD:]) > 0.8


# What stays


def test_the_model_stays_what_it_was(session):
    before = copy.deepcopy(session.est._model.state_dict())
    session.est.adapt(session.new[:16], session.y_new[:16])
    for name, value in session.est._model.state_dict().items():
        assert_array_equal(value, before[name])
    assert session.est.n_features_in_ == OLD


def test_old_answers_stay_bit_for_bit(session):
    X, both = session.train[:10], padded(session.train[:10])
    assert_array_equal(session.joined.transform(both), session.est.transform(X))
    before, after = (e.posterior(x) for e, x in ((session.est, X), (session.joined, both)))
    assert_array_equal(after.covariance, before.covariance)
    assert_allclose(after.initial_state[:, :OLD], before.initial_state, rtol=1e-12)
    runs = session.joined.predict(both)[:, :, :OLD]
    assert_allclose(runs, session.est.predict(X), atol=1e-12)
    assert session.joined.score(both) == pytest.approx(session.est.score(X), rel=1e-12)
    ahead = session.joined.forecast(both, 5)[:, :, :OLD]
    assert_allclose(ahead, session.est.forecast(X, 5), atol=1e-10)


def test_free_runs_of_the_fit_have_the_same_components(session):
    est = copy.deepcopy(session.est).set_params(output="trajectory")
    joined = est.adapt(session.new[:16], session.y_new[:16])
    found = joined.transform(padded(session.train[:5]))
    assert_allclose(found, est.transform(session.train[:5]), atol=1e-8)
    assert joined.transform(session.test[:3]).shape == (3, found.shape[1])


def test_the_generators_of_the_user_stay_as_they_were(session):
    before = torch.random.get_rng_state()
    session.est.adapt(session.new[:16], session.y_new[:16])
    session.joined.transform(padded(session.train[:1]))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_parameters_changed_after_the_fit_have_no_effect(session):
    est = copy.deepcopy(session.est).set_params(scale="neuron")
    joined = est.adapt(session.new, session.y_new)
    assert_array_equal(joined.scale_, session.joined.scale_)


def test_units_are_copies(session):
    """Who writes to an attribute does not change the model."""
    joined = copy.deepcopy(session.joined)
    joined.scale_[:] = 0
    assert_array_equal(
        joined.transform(session.test[:1]), session.joined.transform(session.test[:1])
    )


def test_new_neurons_drive_nothing(session):
    rnns = session.joined.dynamics(session.test[:2])
    assert rnns.n_neurons == ALL
    weights = session.joined.hypernetwork_.connectivity.V
    assert not weights[OLD:].any() and weights[:OLD].all()


def test_sessions_join_one_after_the_other(session):
    again = np.full((16, 60, ALL + 5), np.nan)
    again[:, :, ALL:] = session.new[:16, :, OLD : OLD + 5]
    more = session.joined.adapt(again, session.y_new[:16])
    assert more.n_features_in_ == ALL + 5
    both = padded(session.test[:4], ALL + 5)
    assert_array_equal(more.transform(both), session.joined.transform(session.test[:4]))


def test_files_and_fits_go_on(session, tmp_path):
    session.joined.save(tmp_path / "joined.npz")
    loaded = JEDIEstimator.load(tmp_path / "joined.npz")
    assert_array_equal(
        loaded.transform(session.test[:4]), session.joined.transform(session.test[:4])
    )
    warm = copy.deepcopy(session.joined).set_params(warm_start=True, max_iter=3)
    X = np.concatenate([padded(session.train), session.new])
    warm.fit(X, np.concatenate([session.y, session.y_new]))
    assert warm.score(session.test) > 0.8


# What the user hears


def test_trials_that_did_not_converge_are_named(session, monkeypatch):
    infer = Model.infer

    def unconverged(*args, **how):
        found = infer(*args, **how)
        return Bunch(**(found | {"converged": np.arange(len(found.converged)) < 3}))

    monkeypatch.setattr(Model, "infer", unconverged)
    words = (
        r"embeddings of 10 trials, 7 of which did not converge, the first of them that of trial 3"
    )
    with pytest.warns(ConvergenceWarning, match=words) as warned:
        session.est.adapt(session.new[:10], session.y_new[:10])
    assert {w.filename for w in warned} == {__file__}


def test_a_warning_of_counts_points_at_the_line_of_the_user():
    counts = np.random.RandomState(0).poisson(2.0, (16, 10, 6)).astype(float)
    labels = np.arange(16) % 2
    est = JEDIEstimator(1, 2, **{**SMALL, "max_iter": 2}).fit(counts[:, :, :4], labels)
    counts[:, :, 5] = 0
    with pytest.warns(UserWarning, match=r"never fire in X \(neuron 5\)") as warned:
        est.adapt(counts, labels)
    assert {w.filename for w in warned} == {__file__}


# What is refused


def lacking(X, neuron):
    """Trials without a neuron."""
    X = X.copy()
    X[:, :, neuron] = np.nan
    return X


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda X, y: (X, np.full(len(X), "other")), "conditions that the fit also had"),
        (lambda X, y: (X, None), r"\(it had .*\), or trials in which neurons of the fit"),
        (lambda X, y: (X[:, :, OLD:], y), "the 40 neurons of the fit .* got 20 neurons"),
        (lambda X, y: (X, y[:-1]), "one label per trial"),
        (lambda X, y: (lacking(X, 45), y), "Neuron 45 is NaN in all of X"),
    ],
)
def test_what_tells_nothing_is_refused(session, change, words):
    with pytest.raises(ValueError, match=words):
        session.est.adapt(*change(session.new, session.y_new))


@pytest.mark.parametrize(
    ("name", "value"), [("connectivity", "low_rank"), ("initial_state", "inferred")]
)
def test_other_models_are_refused(session, name, value):
    est = JEDIEstimator(2, 4, **{**SMALL, "max_iter": 3}, **{name: value})
    est = est.fit(session.train[:12])
    with pytest.raises(ValueError, match=f"{name}=.*stack_sessions"):
        est.adapt(session.new, session.y_new)


@pytest.mark.parametrize(
    ("columns", "error", "words"),
    [
        (slice(0, 2), ValueError, "X has 3 neurons, but columns has 2 of the 5"),
        ([0, 1, 1], ValueError, "different numbers from 0 to n_neurons - 1 = 4"),
        ([0, 1, 5], ValueError, "different numbers"),
        ([0.0, 1.0, 2.0], TypeError, "columns must be a slice or one column number"),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns, error, words):
    with pytest.raises(error, match=words):
        place_neurons(np.zeros((2, 4, 3)), columns, 5)
