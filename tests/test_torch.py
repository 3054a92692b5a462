"""What of torch a fit goes by: devices and threads, and nothing that was set elsewhere."""

import copy
import io
import multiprocessing
import os
import subprocess
import sys
from contextlib import contextmanager

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_equal

from jedi_sklearn import JEDIEstimator
from jedi_sklearn.datasets import make_multitask
from jedi_sklearn.preprocessing import HiddenUnits

X = make_multitask(n_trials=12, n_neurons=6, n_timesteps=9, dt=0.02, random_state=0).X
U = np.random.RandomState(0).standard_normal((12, 9, 2))
Y = np.arange(12) % 3
COUNTS = np.random.RandomState(0).poisson(np.exp(np.clip(X, -2, 1)))
GAPS = np.where(np.random.RandomState(0).uniform(size=X.shape) < 0.1, np.nan, X)


def make(**parameters):
    fixed = {"dt": 0.02, "max_iter": 4, "tol": 100, "random_state": 0}
    return JEDIEstimator(2, 3, **{**fixed, **parameters})


def everything(X, inputs=None, **parameters):
    """What users get of an estimator, by name."""
    more = {} if inputs is None else {"inputs": inputs}
    est = make(**parameters).fit(X, Y, **more)
    found = {name: getattr(est, name) for name in ("embedding_", "loss_curve_", "mean_")}
    seen = est.transform(X, **more)
    found |= {"transform": seen, "posterior": dict(est.posterior(X, **more))}
    for name in ("predict", "score", "score_samples"):
        found[name] = getattr(est, name)(X, **more)
    found["dynamics"] = est.dynamics(X, **more).free_run()
    found["forecast"] = est.forecast(X[:, :6], 3, **more)
    found["inverse_transform"] = est.inverse_transform(seen, **more)
    found["generate_rnns"] = est.generate_rnns(seen, **more).free_run()
    pickled = io.BytesIO()
    joblib.dump(est, pickled)
    pickled.seek(0)
    later = joblib.load(pickled).set_params(warm_start=True)
    found["loaded"] = later.transform(X, **more)
    found["fit_transform"] = later.fit_transform(X, Y, **more)
    later.set_params(output="trajectory", warm_start=False)
    found["trajectory"] = later.fit(X, Y, **more).transform(X, **more)
    return found


def everything_else(path):
    """The same of what is for one kind of model alone."""
    est = make().fit(X[:, :, :4], Y)
    joined = est.adapt(X, Y)
    est.save(path)
    loaded = JEDIEstimator.load(path)
    return {
        "adapt": joined.transform(X),
        "load": loaded.transform(X[:, :, :4]),
        "warm start": loaded.set_params(warm_start=True).fit(X[:, :, :4]).embedding_,
        "trajectory, later": est.set_params(output="trajectory").transform(X[:, :, :4]),
        "units": HiddenUnits(n_units=6).fit_transform(X),
    }


KINDS = {
    "counts": {"X": COUNTS},
    "gaps, inferred starts": {"X": GAPS, "initial_state": "inferred", "batch_size": 8},
    "inputs, observed starts": {"X": X, "inputs": U},
    "low rank": {
        "X": X,
        "connectivity": "low_rank",
        "hypernetwork": "mlp",
        "hidden_layer_sizes": (4,),
    },
    "full rank": {"X": X, "connectivity": "full_rank", "solver": "paper"},
    "conditions": {"X": X, "embedding": "condition", "early_stopping": True},
}


def look():
    """What is set in torch."""
    modes = (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
    return (
        *modes,
        torch.is_autocast_enabled("cpu"),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.get_num_threads(),
        torch.get_rng_state().tolist(),
    )


@contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device():
    torch.set_default_device("meta")  # on which nothing is computed
    try:
        yield
    finally:
        torch.set_default_device(None)


SETTINGS = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "default device": default_device,
    "within a device": lambda: torch.device("meta"),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu"),
}


def assert_same(setting, function, expected=None):
    """A function gives the same to the last bit, and changes nothing that is set."""
    expected = function() if expected is None else expected
    with SETTINGS[setting]():
        before = look()
        found = function()
        assert look() == before
    assert_equal(found, expected)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "model.npz"
    return everything(X) | everything_else(path)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.slow
def test_nothing_depends_on_what_is_set_in_torch(setting, expected, tmp_path):
    path = tmp_path / "model.npz"
    assert_same(setting, lambda: everything(X) | everything_else(path), expected)


# the dtype is no mode: whatever makes a number has to name its own
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_no_kind_of_fit_depends_on_the_default_dtype(kind):
    assert_same("float64", lambda: everything(**KINDS[kind]))


def test_nor_does_the_start_with_very_many_neurons(monkeypatch):
    monkeypatch.setattr("jedi_sklearn._warm_start.MANY_NEURONS", 3)
    assert_same("float64", lambda: make().fit(X).embedding_)


def test_workers_that_are_threads_see_the_default_dtype(monkeypatch):
    monkeypatch.setattr("jedi_sklearn._blockwise.MAX_BLOCK", 4)
    est = make().fit(X)
    with joblib.parallel_config("threading", n_jobs=2):
        assert_same("float64", lambda: est.transform(X))


def test_a_model_that_was_read_in_inference_mode_can_go_on_outside(tmp_path):
    est = make().fit(X)
    est.save(tmp_path / "model.npz")
    joblib.dump(est, tmp_path / "model.joblib")
    expected = copy.deepcopy(est).set_params(warm_start=True).fit(X).embedding_
    with torch.inference_mode():
        both = (
            JEDIEstimator.load(tmp_path / "model.npz"),
            joblib.load(tmp_path / "model.joblib"),
        )
    for read in both:
        assert_equal(read.set_params(warm_start=True).fit(X).embedding_, expected)


FORK = """
import multiprocessing
import numpy as np
import torch
from jedi_sklearn import JEDIEstimator

def fit():
    return JEDIEstimator(2, 2, dt=0.02, max_iter=2, tol=100, random_state=0).fit(X)

def fit_again():
    assert np.allclose(fit().embedding_, expected)
    assert torch.get_num_threads() == 1

torch.set_num_threads(2)
X = np.random.RandomState(0).standard_normal((24, 40, 30)).cumsum(1)
expected = fit().embedding_
child = multiprocessing.get_context("fork").Process(target=fit_again)
child.start()
child.join({patience})
if child.exitcode is None:
    child.kill()
assert child.exitcode == 0, child.exitcode
assert torch.get_num_threads() == 2
fit()
"""


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="there are no forks here"
)
@pytest.mark.slow
def test_a_fit_in_a_fork_of_a_process_that_has_threads_does_not_wait_for_them():
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in threads}
    code = FORK.format(patience=100)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    run = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    # once, in the child, which goes on
    assert run.stderr.count("UserWarning: ") == 1
    for words in ("forked", "1 thread instead of 2", "spawn", "loky", "set_num_threads(1)"):
        assert words in run.stderr


@pytest.mark.parametrize("device", ["xpu", "xpu:1", "mps", "meta", "hpu", "mtia", "privateuseone"])
def test_a_device_that_does_not_work_here(device):
    kind = device.partition(":")[0]
    if getattr(getattr(torch, kind, None), "is_available", lambda: False)():
        pytest.skip("there is one")
    with pytest.raises(ValueError, match=rf"this machine has cpu.*got '{device}") as refusal:
        make(device=device).fit(X)
    assert '"auto", "cpu", "cuda"' in str(refusal.value)


def test_a_gpu_of_a_number_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"has cpu, cuda:0, cuda:1\), got 'cuda:2'"):
        make(device="cuda:2").fit(X)
