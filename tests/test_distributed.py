"""One fit by several processes: the fit of one, and what they exchange."""

import json
import os
import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import distributed

from jedi_sklearn import JEDIEstimator, _blockwise, _fit, _parameters, _trials
from jedi_sklearn._distributed import ALONE, Processes, _exchangeable, join
from jedi_sklearn.datasets import make_multitask
from jedi_sklearn.preprocessing import stack_sessions

# every process runs this; the fits are those of `fits` below
SCRIPT = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np
import torch
from torch import distributed
from jedi_sklearn import _blockwise, _fit, _parameters, _persistence, _trials
from test_distributed import DATA, checkpointed, fits, small_fit

folder = sys.argv[2]
_trials.MAX_WORK = _blockwise.MAX_BLOCK = 8
_parameters.ENOUGH_UNITS = 1
_fit.PRECISION = torch.float64  # rounding must not grow with the steps
for name, est in fits(distributed=True).items():
    rank = distributed.get_rank()
    np.savez(f"{folder}/{name}{rank}.npz", embedding=est.embedding_,
             loss=est.loss_curve_, noise=est.noise_variance_, mean=est.mean_,
             maps=est.hypernetwork_.connectivity.maps.numpy(), validation=est.validation_curve_)

said = {}
def note(name, call, *arguments):
    try:
        call(*arguments)
    except Exception as error:
        said[name] = [type(error).__name__, str(error)]

for name, trial, value in [("infinite", -1, np.inf), ("unseen", 0, np.nan)]:
    X = DATA.X.copy()
    X[trial] = value
    note(name, small_fit, X)
if rank:
    Path(f"{folder}/refused1").write_text("something else")
note("refused", checkpointed, f"{folder}/refused{rank}")

said["left out"] = []
choose, write, written = _fit.choose_validation, _persistence._write, []
def remembering(*arguments):
    left_out = choose(*arguments)
    said["left out"].append(left_out.tolist())
    return left_out
def failing(*arguments):
    if written:
        raise OSError("no space left")
    written.append(write(*arguments))
_fit.choose_validation = remembering
_persistence._write = failing
note("full", checkpointed, f"{folder}/checkpoint")
said["kept"] = Path(f"{folder}/checkpoint").exists()
distributed.barrier()
_persistence._write = write
checkpointed(f"{folder}/checkpoint")
said["removed"] = not Path(f"{folder}/checkpoint").exists()

distributed.destroy_process_group()
said["threads"] = [p.read_text() for p in Path("/proc/self/task").glob("*/comm")]
Path(f"{folder}/said{rank}.json").write_text(json.dumps(said))
"""
DATA = make_multitask(40, n_neurons=20, n_timesteps=30, dt=0.02, random_state=0)
COUNTS = np.random.RandomState(0).poisson(np.exp(np.tanh(DATA.X)))


def fits(**parameters):
    """Estimators of several kinds, fitted to the same data."""
    gappy = DATA.X.copy()
    gappy[3, 20:], gappy[5, :, 3] = np.nan, np.nan
    common = {"dt": 0.02, "max_iter": 20, "tol": 1.0, "random_state": 0, "device": "cpu"}
    common |= parameters
    return {
        "whole": JEDIEstimator(4, 8, **common).fit(DATA.X, DATA.task, inputs=DATA.inputs),
        "batches": JEDIEstimator(4, 8, batch_size=11, early_stopping=True, **common).fit(
            gappy, DATA.task
        ),
        "conditions": JEDIEstimator(
            2, 8, embedding="condition", initial_state="inferred", **common
        ).fit(DATA.X, DATA.task),
        "counts": JEDIEstimator(2, 8, observation="poisson", **common).fit(COUNTS),
        "sessions": JEDIEstimator(2, 8, **common).fit(
            stack_sessions([COUNTS[:20, :, :10], COUNTS[20:, :25, 10:]]), DATA.task
        ),
    }


def small_fit(X=DATA.X, **parameters):
    common = {"dt": 0.02, "max_iter": 4, "tol": 1.0, "device": "cpu", "distributed": True}
    return JEDIEstimator(2, 4, **common, **parameters).fit(X)


def checkpointed(path):
    """A fit whose random numbers nobody fixed."""
    return small_fit(checkpoint=path, early_stopping=True, validation_fraction=0.3, batch_size=8)


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """Folder of what two processes have to say."""
    if not distributed.is_available():
        pytest.skip("torch without torch.distributed")
    folder = tmp_path_factory.mktemp("launched")
    script = folder / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", "0", "--standalone"]
    command += [str(script), str(Path(__file__).parent), str(folder)]
    package = str(Path(__file__).parents[1])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": package}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture
def said(launched):
    """Of both processes: errors, trials left out, threads that are left."""
    return [json.loads((launched / f"said{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.slow
def test_two_processes_fit_what_one_does(launched, monkeypatch):
    monkeypatch.setattr(_trials, "MAX_WORK", 8)  # a share for each of them
    monkeypatch.setattr(_blockwise, "MAX_BLOCK", 8)
    monkeypatch.setattr(_parameters, "ENOUGH_UNITS", 1)  # sessions leave out neurons
    monkeypatch.setattr(_fit, "PRECISION", torch.float64)
    for name, est in fits().items():
        first, second = (np.load(launched / f"{name}{rank}.npz") for rank in (0, 1))
        for key in first.files:  # all processes end with the same model
            assert_array_equal(first[key], second[key])
        assert_allclose(first["mean"], est.mean_, rtol=1e-6, atol=1e-6)
        assert_allclose(first["loss"], est.loss_curve_, rtol=1e-6)
        assert_allclose(first["noise"], est.noise_variance_, rtol=1e-6)
        assert_allclose(first["embedding"], est.embedding_, rtol=1e-4, atol=1e-4)


def test_what_fails_in_one_process_raises_in_all(said):
    for name, kind, words in [
        ("infinite", "ValueError", "infinity, first at trial 39"),
        ("unseen", "ValueError", "no value in trial 0"),
        ("refused", "ValueError", "was written neither by JEDIEstimator.save"),
        ("full", "OSError", "no space left"),
    ]:
        assert said[0][name] == said[1][name]
        assert said[0][name][0] == kind
        assert words in said[0][name][1]


def test_a_checkpoint_keeps_the_seed_of_all_processes(said):
    assert all(each["kept"] and each["removed"] for each in said)
    first, second = (each["left out"] for each in said)
    assert first == second
    assert first[0] == first[1]  # before and after the interruption


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_thread_outlives_the_group(said):
    for each in said:  # one that does aborts the process in the end
        assert each["threads"]
        assert not [name for name in each["threads"] if "gloo" in name]


def test_shares_cover_everything_once_and_in_order():
    for n in (0, 1, 5, 12):
        for size in (1, 2, 3, 7):
            shares = [Processes(rank, size).share(list(range(n))) for rank in range(size)]
            assert list(chain(*shares)) == list(range(n))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_alone_nothing_changes():
    values = np.arange(3.0)
    ALONE.sum_(values)
    assert_array_equal(values, np.arange(3.0))
    assert ALONE.total(2) == 2
    assert ALONE.gather([1, 2]) == [1, 2]
    assert ALONE.agree("x") == "x"
    assert join(False) is ALONE


def test_without_other_processes_the_error_says_how_to_start_them(monkeypatch, multitask, small):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    est = small(distributed=True)
    with pytest.raises(RuntimeError, match="torchrun --nproc-per-node 2"):
        est.fit(multitask.X)
    assert not hasattr(est, "embedding_")


class Deaf(Processes):
    """One of several processes, of which it never hears."""

    def sum_(self, *arrays):
        pass

    def gather(self, things):
        return things

    def agree(self, value):
        return value


@pytest.mark.parametrize(
    ("size", "changes", "words"),
    [
        (8, {"batch_size": 4}, r"mini-batch of 4 of 40 .*batch_size=4.* 8 processes"),
        (32, {"early_stopping": True, "validation_fraction": 0.3}, "of 28 of 28 .* 32 processes"),
    ],
)
def test_a_batch_needs_a_trial_for_each_process(
    multitask, small, monkeypatch, size, changes, words
):
    monkeypatch.setattr("jedi_sklearn._estimator.join", lambda wanted: Deaf(size - 1, size))
    with pytest.raises(ValueError, match=words):
        small(distributed=True, **changes).fit(multitask.X)


def test_an_error_that_needs_more_than_a_text_is_told_all_the_same(monkeypatch):
    told = [None, (UnicodeDecodeError, "bad byte")]
    monkeypatch.setattr(Processes, "gather", lambda self, things: told)
    with pytest.raises(RuntimeError, match="UnicodeDecodeError: bad byte"), Processes().together():
        pass


def test_with_nccl_alone_everything_is_exchanged_on_the_gpu(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor: tensor.to("meta"))
    for backend, device in [("cuda:nccl", "meta"), ("cpu:gloo,cuda:nccl", "cpu")]:
        monkeypatch.setattr(distributed, "get_backend_config", lambda backend=backend: backend)
        assert _exchangeable(torch.ones(1)).device.type == device


@pytest.mark.slow
def test_a_model_of_several_processes_needs_none_of_them_later(multitask, small, tmp_path):
    est = small().fit(multitask.X, multitask.task).set_params(distributed=True)
    est.save(tmp_path / "model.npz")
    loaded = JEDIEstimator.load(tmp_path / "model.npz")
    assert loaded.distributed
    assert_array_equal(loaded.transform(multitask.X), est.transform(multitask.X))
