"""Facts about known inputs: they drive the RNNs, and embeddings need not explain them."""

import numpy as np
import pytest
import sklearn
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.utils import Bunch

from jedi_sklearn import EigenspectrumAnalyzer, JEDIEstimator, RNNBatch
from jedi_sklearn._solvers import SOLVERS
from jedi_sklearn._trials import Trials
from jedi_sklearn.datasets import make_multitask

TRAIN, TEST = slice(48), slice(48, None)


def turning_teacher(n_trials=60, n_neurons=24, n_timesteps=60, noise=0.05, seed=0):
    """One rank-2 network under sinusoids of slow or fast frequency; J has 1.2 +- 2.4i."""
    rng = np.random.RandomState(seed)
    U = np.sqrt(n_neurons) * np.linalg.qr(rng.standard_normal((n_neurons, 2)))[0]
    core = np.array([[1.2, -2.4], [2.4, 1.2]]) / n_neurons
    B = rng.standard_normal((n_neurons, 2))
    teacher = RNNBatch(U @ core, U, input_weights=B, dt=0.02, tau=0.1)
    fast = np.arange(n_trials) % 2
    frequency = rng.uniform(0.5, 1.5, (n_trials, 2)) + 2 * fast[:, np.newaxis]
    phase = rng.uniform(0, 2 * np.pi, (n_trials, 2))
    time = 0.02 * np.arange(n_timesteps)[:, np.newaxis]
    inputs = 1.5 * np.sin(2 * np.pi * frequency[:, np.newaxis] * time + phase[:, np.newaxis])
    X = teacher.simulate(0.5 * rng.standard_normal((n_trials, n_neurons)), n_timesteps, inputs)
    X += noise * rng.standard_normal(X.shape)
    return Bunch(X=X, inputs=inputs, teacher=teacher, fast=fast)


@pytest.fixture(scope="module")
def driven():
    return turning_teacher()


@pytest.fixture(scope="module")
def est(driven):
    est = JEDIEstimator(2, 4, scale=None, dt=0.02, tol=1.0, max_iter=150, random_state=0)
    return est.fit(driven.X[TRAIN], inputs=driven.inputs[TRAIN])


def short(**changes):
    parameters = {"n_components": 2, "rank": 4, "scale": None, "dt": 0.02, "max_iter": 10}
    parameters |= {"tol": 1.0, "random_state": 0}
    return JEDIEstimator(**(parameters | changes))


def test_half_of_the_forcing_stays_where_inputs_are_known():
    teacher_forcing = SOLVERS["annealed"].teacher_forcing
    assert teacher_forcing(short(), 2) == (0.1, 0.05)
    assert teacher_forcing(short(), 0) == (0.1, 0.0)
    assert teacher_forcing(short(final_teacher_forcing=0.3), 0) == (0.1, 0.3)


def test_known_inputs_leave_more_to_the_data_than_to_the_start():
    y, inputs = torch.zeros(5, 4, 3), torch.zeros(5, 4, 2)
    trials = (Trials(y), Trials(y, inputs=inputs))
    alone, driven = (
        SOLVERS["annealed"].schedule(short(), some, False).departure for some in trials
    )
    assert driven > alone


@pytest.mark.parametrize("embedding", ["trial", "condition"])
@pytest.mark.slow
def test_the_noise_is_that_of_free_runs_though_forcing_stays(embedding):
    data = make_multitask(60, n_neurons=20, n_timesteps=60, random_state=0)  # it is chaotic
    est = short(embedding=embedding, rank=6, dt=0.01, max_iter=60, final_teacher_forcing=0.3)
    est.fit(data.X, data.task, inputs=data.inputs)
    error = data.X - est.predict(data.X, inputs=data.inputs)
    assert 0.7 < est.noise_variance_ / np.square(error).mean() < 1.4


# Recovery


def test_the_eigenvalues_of_the_teacher_are_found(driven, est):
    true = np.linalg.eigvals(driven.teacher.to_dense()[0])
    true = true[np.abs(true) > 1e-6]
    rnns = est.dynamics(driven.X[TEST], inputs=driven.inputs[TEST])
    for found in rnns.eigenvalues():
        distance = np.abs(true[:, np.newaxis] - found)
        rows, columns = linear_sum_assignment(distance)
        assert (distance[rows, columns] < 0.1 * np.abs(true)).all()


@pytest.mark.parametrize("seed", [1, 3])
@pytest.mark.long
def test_all_eigenvalues_of_the_multitask_teacher_are_found(seed):
    size = {"n_neurons": 50, "n_timesteps": 100, "initial_jitter": 1}
    data = make_multitask(280, **size, teacher_seed=seed, random_state=100 + seed)
    how = {"initial_state": "observed", "max_iter": 200, "tol": 1.0}  # they start anywhere
    est = JEDIEstimator(1, 5, scale=None, random_state=0, **how)
    est.fit(data.X[:240], inputs=data.inputs[:240])
    true = data.teacher.eigenvalues()[0]
    errors = []
    for found in est.dynamics(data.X[240:], inputs=data.inputs[240:]).eigenvalues():
        distance = np.abs(true[:, np.newaxis] - found)
        rows, columns = linear_sum_assignment(distance)
        errors.append((distance[rows, columns] / np.abs(true)).max())
    assert len(true) == 5
    assert np.median(errors) < 0.1  # of the worst of five
    assert np.quantile(errors, 0.9) < 0.15


def test_input_weights_are_found(driven, est):
    true = driven.teacher.input_weights
    found = est.dynamics(driven.X[:1], inputs=driven.inputs[:1]).input_weights
    assert found.shape == (24, 2)
    np.testing.assert_allclose(found, true, atol=0.1)
    for i in range(2):
        assert np.corrcoef(found[:, i], true[:, i])[0, 1] > 0.99


@pytest.mark.long
def test_with_inputs_one_network_does_for_all_trials(driven):
    u = driven.inputs
    est = short(initial_state="observed", max_iter=150)  # trials start anywhere
    est.fit(driven.X[TRAIN], inputs=u[TRAIN])
    assert est.score(driven.X[TEST], inputs=u[TEST]) > 0.99
    J = est.dynamics(driven.X[TEST], inputs=u[TEST]).to_dense()
    spread = np.sqrt(np.square(J - J.mean(axis=0)).mean() / np.square(J).mean())
    assert spread < 0.05
    alone = short(max_iter=150).fit(driven.X[TRAIN])  # the weights have to explain the inputs
    assert alone.score(driven.X[TEST]) < 0.8
    J = alone.dynamics(driven.X[TEST]).to_dense()
    assert np.sqrt(np.square(J - J.mean(axis=0)).mean() / np.square(J).mean()) > 0.2


@pytest.mark.long
def test_embeddings_no_longer_carry_the_task():
    data = make_multitask(60, n_neurons=40, n_timesteps=100)

    def decoded(**inputs):
        est = JEDIEstimator(1, 5, scale=None, dt=0.01, max_iter=150, tol=1.0, random_state=0)
        est.fit(data.X, **inputs)
        accuracy = cross_val_score(LogisticRegression(), est.embedding_, data.task, cv=4).mean()
        return accuracy, est.score(data.X, **inputs)

    (with_inputs, r2), (without, poorer) = decoded(inputs=data.inputs), decoded()
    assert r2 > 0.98 and r2 > poorer + 0.05
    assert with_inputs < 0.45  # chance is 0.25
    assert without > with_inputs + 0.15


@pytest.mark.parametrize("unit", [1e-3, 1e3])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.slow
def test_the_unit_of_the_inputs_does_not_matter(driven, unit):
    X, u = driven.X[:20], driven.inputs[:20]
    one, other = short().fit(X, inputs=u), short().fit(X, inputs=unit * u)
    np.testing.assert_allclose(
        one.predict(X, inputs=u), other.predict(X, inputs=unit * u), rtol=1e-3, atol=1e-3
    )
    B, C = (e.generate_rnns(np.zeros((1, 2))).input_weights for e in (one, other))
    np.testing.assert_allclose(unit * C, B, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_silent_channel_gets_no_scale_and_does_no_harm(driven):
    X, u = driven.X[:20], driven.inputs[:20].copy()
    u[..., 1] = 0
    est = short().fit(X, inputs=u)
    assert np.isfinite(est.predict(X, inputs=u)).all()


@pytest.mark.slow
def test_starts_of_noisy_trials_are_better_inferred_than_taken_from_first_samples():
    rng, n_trials, n_neurons = np.random.RandomState(4), 80, 24
    V = np.linalg.qr(rng.standard_normal((n_neurons, 2)))[0]
    B = 2 * rng.standard_normal((n_neurons, 1))
    teacher = RNNBatch(
        V @ np.array([[1.2, -2.4], [2.4, 1.2]]), V, input_weights=B, dt=0.02, tau=0.1
    )
    u = np.sin(rng.uniform(0, 6, (n_trials, 1, 1)) + 0.02 * 6 * np.arange(40)[:, np.newaxis])
    true = teacher.simulate(0.1 * rng.standard_normal((n_trials, n_neurons)), 40, u)
    X = true + 0.5 * rng.standard_normal(true.shape)
    error = {}
    for option in ("auto", "observed"):
        est = JEDIEstimator(2, 4, dt=0.02, initial_state=option, max_iter=100, random_state=0)
        est.fit(X[:60], inputs=u[:60])
        run = est.predict(X[60:], inputs=u[60:])
        error[option] = np.square(run - true[60:]).mean()
    assert error["auto"] < 0.5 * error["observed"]


# The same run everywhere


@pytest.mark.parametrize("connectivity", ["shared", "low_rank", "full_rank"])
@pytest.mark.parametrize("initial_state", ["observed", "inferred"])
@pytest.mark.slow
def test_free_runs_agree(driven, connectivity, initial_state):
    X, u = driven.X[:8, :30], driven.inputs[:8, :30]
    est = short(connectivity=connectivity, initial_state=initial_state, scale="neuron")
    E = est.fit_transform(X, inputs=u)
    run = est.predict(X, inputs=u)
    np.testing.assert_allclose(E, est.transform(X, inputs=u), atol=1e-9)
    found = est.posterior(X, inputs=u)
    np.testing.assert_allclose(
        est.inverse_transform(found.mean, found.initial_state, inputs=u), run, atol=1e-9
    )
    for rnns in (
        est.dynamics(X, inputs=u),
        est.generate_rnns(found.mean, found.initial_state, inputs=u),
    ):
        np.testing.assert_allclose(est.to_activity(rnns.free_run()), run, atol=1e-9)
    error = np.square((run - X) / est.scale_).sum(axis=(1, 2))
    total = np.square(est.to_states(X)).sum(axis=(1, 2))
    np.testing.assert_allclose(est.score_samples(X, inputs=u), 1 - error / total, atol=1e-9)
    np.testing.assert_allclose(found.r2, 1 - error / total, atol=1e-9)


def test_other_inputs_make_other_runs(driven, est):
    E, x0 = np.zeros((1, 2)), driven.X[0, 0]
    runs = [est.inverse_transform(E, x0, inputs=scale * driven.inputs[:1]) for scale in (0.0, 1.0)]
    assert np.abs(runs[0] - runs[1]).max() > 0.5
    longer = np.concatenate([driven.inputs[:1]] * 2, axis=1)
    np.testing.assert_allclose(est.inverse_transform(E, x0, inputs=longer)[:, :60], runs[1])


def test_trials_with_gaps_have_inputs_too(driven, est):
    X, u = driven.X[TEST].copy(), driven.inputs[TEST].copy()
    X[:, 45:] = np.nan
    padded = est.transform(X, inputs=u)
    np.testing.assert_allclose(
        padded, est.transform(X[:, :45], inputs=u[:, :45]), rtol=0, atol=1e-6
    )
    u[:, 45:] = 0
    np.testing.assert_allclose(est.transform(X, inputs=u), padded, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "changes", [{"early_stopping": True}, {"embedding": "condition", "n_components": 1}]
)
@pytest.mark.slow
def test_other_fits_take_inputs(driven, changes):
    est = short(**({"max_iter": 40} | changes))
    est.fit(driven.X[TRAIN], driven.fast[TRAIN], inputs=driven.inputs[TRAIN])
    assert est.score(driven.X[TEST], inputs=driven.inputs[TEST]) > 0.8
    assert est.n_inputs_ == 2


# Batches of RNNs


def test_batches_keep_their_inputs(driven, est):
    X, u = driven.X[:6], driven.inputs[:6]
    rnns = est.dynamics(X, inputs=u)
    run = rnns.free_run()
    np.testing.assert_array_equal(rnns.inputs, u)
    np.testing.assert_allclose(rnns[2:4].free_run(), run[2:4])
    np.testing.assert_allclose(rnns[-1].free_run(), run[-1:])
    np.testing.assert_allclose(rnns[[5, 0]].inputs, u[[5, 0]])
    joined = RNNBatch.concatenate([rnns[3:], rnns[:3]])
    np.testing.assert_allclose(joined.free_run(), run[[3, 4, 5, 0, 1, 2]])
    np.testing.assert_allclose(rnns.free_run(20), run[:, :20])
    np.testing.assert_allclose(rnns.free_run(inputs=np.zeros_like(u))[:, 0], run[:, 0])
    with pytest.raises(ValueError, match="end after 60 samples: pass inputs for 61"):
        rnns.free_run(61)


def test_inputs_of_batches_are_checked(driven):
    t = driven.teacher
    with pytest.raises(ValueError, match=r"inputs must have shape \(n_rnns, n_timesteps, n_input"):
        RNNBatch(t.U, t.V, input_weights=t.input_weights, n_timesteps=5, inputs=np.ones((1, 4, 2)))
    with pytest.raises(ValueError, match="go with input_weights"):
        RNNBatch(t.U, t.V, n_timesteps=4, inputs=np.ones((1, 4, 2)))


# Refusals


def test_inputs_of_a_wrong_sort_are_refused(driven, est):
    X, u = driven.X[:8], driven.inputs[:8]
    bad = u.copy()
    bad[3, 4, 1] = np.nan
    for call in (short().fit, est.transform, est.score, est.predict, est.posterior, est.dynamics):
        with pytest.raises(
            ValueError, match=r"inputs must have shape .*\(8, 60, .*got \(7, 60, 2"
        ):
            call(X, inputs=u[:7])
        with pytest.raises(ValueError, match=r"inputs must have shape .*got \(8, 59, 2\)"):
            call(X, inputs=u[:, 1:])
        with pytest.raises(ValueError, match=r"inputs must have shape .*got \(8, 60\)"):
            call(X, inputs=u[..., 0])
        with pytest.raises(ValueError, match=r"inputs hold NaN or infinite .*with 0"):
            call(X, inputs=bad)
        with pytest.raises(TypeError, match="inputs must be real numbers, got dtype complex128"):
            call(X, inputs=1j * u)
    with pytest.raises(ValueError, match=r"\(n_trials, n_timesteps, 2\) .*got \(8, 60, 1\)"):
        est.transform(X, inputs=u[..., :1])
    with pytest.raises(ValueError, match=r"inputs must have shape .*got \(8, 60, 0\)"):
        short().fit(X, inputs=u[..., :0])


def test_inputs_are_neither_forgotten_nor_unasked_for(driven, est, recovered, known):
    methods = ("transform", "score", "score_samples", "predict", "posterior", "dynamics")
    for method in methods:
        with pytest.raises(ValueError, match=r"fitted with inputs of 2 channels .*\(8, 60, 2\)"):
            getattr(est, method)(driven.X[:8])
        with pytest.raises(
            ValueError, match="inputs were given, but the model was fitted without"
        ):
            getattr(recovered, method)(known.X[:8], inputs=np.zeros((8, 50, 1)))
    with pytest.raises(ValueError, match="fitted with inputs of 2 channels"):
        est.inverse_transform(np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"inputs must have shape .*got \(2, 60, 2\)"):
        est.inverse_transform(np.zeros((3, 2)), inputs=driven.inputs[:2])
    with pytest.raises(ValueError, match="inputs is ragged"):
        est.inverse_transform(np.zeros((2, 2)), inputs=[[[1, 2]], [[1, 2], [3, 4]]])
    assert est.generate_rnns(np.zeros((3, 2))).inputs is None  # RNNs may wait for theirs
    assert recovered.n_inputs_ == 0


# Routing


@pytest.mark.parametrize("unit", [2.0**665, 2.0**-665])
@pytest.mark.slow
def test_the_unit_of_inputs_does_not_matter(driven, unit):
    X, u = driven.X[:20], driven.inputs[:20]
    est, other = short().fit(X, inputs=u), short().fit(X, inputs=u * unit)  # 1e200, 1e-200
    np.testing.assert_array_equal(other.embedding_, est.embedding_)


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.slow
def test_inputs_are_routed_through_pipelines(driven, routing):
    jedi = short()
    for request in (jedi.set_fit_request, jedi.set_transform_request, jedi.set_score_request):
        request(inputs=True)
    X, u, fast = driven.X, driven.inputs, driven.fast
    pipe = make_pipeline(jedi, LogisticRegression()).fit(X[TRAIN], fast[TRAIN], inputs=u[TRAIN])
    alone = short().fit(X[TRAIN], fast[TRAIN], inputs=u[TRAIN])
    E = alone.transform(X[TEST], inputs=u[TEST])
    expected = LogisticRegression().fit(alone.embedding_, fast[TRAIN]).predict(E)
    np.testing.assert_array_equal(pipe.predict(X[TEST], inputs=u[TEST]), expected)
    scores = cross_validate(jedi, X, params={"inputs": u}, cv=2)["test_score"]
    first = short().fit(X[30:], inputs=u[30:]).score(X[:30], inputs=u[:30])
    assert scores[0] == pytest.approx(first, abs=1e-9)


@pytest.mark.slow
def test_inputs_are_routed_to_dynamics(driven, routing):
    jedi = short(output="dynamics").set_fit_request(inputs=True).set_transform_request(inputs=True)
    X, u = driven.X[:20], driven.inputs[:20]
    pipe = make_pipeline(jedi, EigenspectrumAnalyzer(at="trajectory"))
    features = pipe.fit_transform(X, inputs=u)
    rnns = short().fit(X, inputs=u).dynamics(X, inputs=u)
    expected = EigenspectrumAnalyzer(at="trajectory").fit_transform(rnns)
    np.testing.assert_allclose(features, expected, rtol=1e-6, atol=1e-6)
