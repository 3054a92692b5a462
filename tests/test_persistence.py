"""Facts about files: what was saved answers alike, and a fit goes on as if never interrupted."""

import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pytest
import sklearn
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils import Bunch

import jedi_sklearn
from jedi_sklearn import JEDIEstimator, _blockwise, _persistence
from jedi_sklearn._schedule import Progress

# short fits leave a few trials of the inference, or the training, short of convergence
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
DATA = Path(__file__).parent / "data"
STORED = [*range(1, _persistence.FORMAT + 1), "2_generated", "3_generated"]
NUMPY2 = hasattr(np.dtypes, "StringDType")
FORMS = {
    "shared": {},
    "low rank": {"connectivity": "low_rank", "initial_state": "inferred", "scale": "neuron"},
    "full rank": {"connectivity": "full_rank", "embedding": "condition"},
    "mlp": {"hypernetwork": "mlp", "hidden_layer_sizes": [5, 3], "scale": None},
    "paper": {"hypernetwork": "mlp", "solver": "paper", "early_stopping": True},
}


@pytest.fixture(scope="module")
def tiny(make_model):
    """24 short trials of 12 neurons, in 6 conditions."""
    codes = np.arange(24) % 6
    model = make_model(24, 16, n_neurons=12, rank=3, conditions=codes, noise=0.05)
    return Bunch(X=model.X, labels=np.array(list("abcdef"))[codes])


@pytest.fixture(scope="module")
def models(small, tiny):
    """Short fits of every form, made when asked for."""
    made = {}

    def model(form):
        if form not in made:
            est = small(**({"n_components": 2, "rank": 3, "max_iter": 20} | FORMS[form]))
            made[form] = est.fit(tiny.X[:18], tiny.labels[:18])
        return made[form]

    return model


@pytest.fixture
def saved(fitted, tmp_path):
    """Path of the saved `fitted`."""
    path = tmp_path / "model.npz"
    fitted.save(path)
    return path


def run_python(code, *arguments):
    """Another process, with the package of this one and one thread."""
    code = "import torch; torch.set_num_threads(1)\n" + code
    paths = [str(Path(_persistence.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        check=False,
    )


def assert_same_estimator(a, b, X):
    """Parameters, attributes and answers are the same, bit by bit."""
    assert type(a) is type(b)
    assert repr(a.get_params()) == repr(b.get_params())
    assert vars(a).keys() == vars(b).keys()
    for name, value in vars(a).items():
        other = getattr(b, name)
        if isinstance(value, np.ndarray):
            assert value.dtype == other.dtype
            assert_array_equal(value, other)
        elif not isinstance(value, torch.nn.Module) and name != "_model":
            assert type(value) is type(other)
            assert repr(value) == repr(other)
    assert b.hypernetwork_ is b._model.hypernetwork
    for p, q in zip(a.hypernetwork_.parameters(), b.hypernetwork_.parameters(), strict=True):
        assert p.dtype == q.dtype and torch.equal(p, q) and p.requires_grad == q.requires_grad
    assert_array_equal(a.transform(X), b.transform(X))
    assert_array_equal(a.score_samples(X), b.score_samples(X))
    assert a.score(X) == b.score(X)
    first, second = a.posterior(X), b.posterior(X)
    assert_array_equal(first.covariance, second.covariance)
    assert_array_equal(first.initial_state, second.initial_state)
    assert_array_equal(a.predict(X), b.predict(X))
    assert_array_equal(a.inverse_transform(first.mean), b.inverse_transform(first.mean))
    assert_array_equal(a.dynamics(X).to_dense(), b.dynamics(X).to_dense())
    assert_array_equal(a.get_feature_names_out(), b.get_feature_names_out())


# Saved estimators answer alike


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.slow
def test_a_loaded_estimator_is_the_saved_one(models, tiny, tmp_path, form):
    est = models(form)
    assert est.save(tmp_path / "model") is None
    assert os.listdir(tmp_path) == ["model"]  # no extension is added, nothing left beside it
    assert_same_estimator(est, JEDIEstimator.load(tmp_path / "model"), tiny.X[18:])


@pytest.mark.slow
def test_another_process_gives_the_same_numbers(fitted, multitask, tmp_path):
    code = (
        "import pickle, sys, joblib, numpy as np\n"
        "from jedi_sklearn import JEDIEstimator\n"
        "folder = sys.argv[1]\n"
        "with open(folder + '/pickle', 'rb') as file: pickled = pickle.load(file)\n"
        "ests = [pickled, joblib.load(folder + '/joblib'), JEDIEstimator.load(folder + '/npz')]\n"
        "X = np.load(folder + '/X.npy')\n"
        "found = [[e.transform(X), e.embedding_, e.condition_embeddings_] for e in ests]\n"
        "np.savez(folder + '/found', **{f'{i}{j}': a for i, f in enumerate(found)"
        " for j, a in enumerate(f)}, conditions=[e.conditions_ for e in ests])\n"
    )
    X = multitask.X[30:]
    np.save(tmp_path / "X.npy", X)
    (tmp_path / "pickle").write_bytes(pickle.dumps(fitted))
    joblib.dump(fitted, tmp_path / "joblib")
    fitted.save(tmp_path / "npz")
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "found.npz")
    expected = [fitted.transform(X), fitted.embedding_, fitted.condition_embeddings_]
    for i in range(3):
        for j, values in enumerate(expected):
            assert_array_equal(found[f"{i}{j}"], values)
        assert_array_equal(found["conditions"][i], fitted.conditions_)


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["go", "nö", "stop", "wait"]),
        np.array(["go", "nö", "stop", "wait"], dtype=object),
        np.array([3, -1, 2**40, 7]),
        np.array([0.1, 0.7, 1e-300, 2.0]),
        np.array(["2020-01-01", "2021-02-03", "2022-01-01", "2023-01-01"], "M8[D]"),
        np.array([b"go", b"n\xf6", b"stop", b""], dtype=object),
        *([np.array(["go", "nö", "stop", ""], np.dtypes.StringDType())] if NUMPY2 else []),
    ],
    ids=lambda labels: str(labels.dtype),
)
@pytest.mark.slow
def test_labels_keep_their_kind(small, multitask, tmp_path, labels):
    est = small(max_iter=2).fit(multitask.X[:12], conditions=np.tile(labels, 3))
    est.save(tmp_path / "model.npz")
    again = JEDIEstimator.load(tmp_path / "model.npz").conditions_
    assert again.dtype == est.conditions_.dtype
    assert_array_equal(again, np.sort(labels))
    assert {type(v) for v in again.tolist()} == {type(v) for v in est.conditions_.tolist()}


def test_an_estimator_that_is_not_fitted_keeps_its_parameters(tmp_path):
    parameters = {
        "n_components": np.int64(3),
        "rank": "auto",
        "hidden_layer_sizes": [8, (4,)],
        "dt": np.float32(0.02),
        "tau": float("inf"),  # fit would refuse it; a file keeps what is there
        "scale": None,
        "device": torch.device("cpu"),
        "checkpoint": Path("folder") / "file",
        "random_state": np.random.RandomState(3),
    }
    est = JEDIEstimator(**parameters)
    est.random_state.standard_normal(5)
    est.save(tmp_path / "model.npz")
    again = JEDIEstimator.load(tmp_path / "model.npz")
    for name, value in est.get_params().items():
        assert type(getattr(again, name)) is type(value)
        if name != "random_state":
            assert getattr(again, name) == value
    assert again.random_state.standard_normal() == est.random_state.standard_normal()
    with pytest.raises(NotFittedError):
        again.transform(np.zeros((2, 5, 3)))


def test_requests_and_containers_are_kept(small, multitask, tmp_path):
    est = small(max_iter=2).fit(multitask.X[:12]).set_output(transform="pandas")
    with sklearn.config_context(enable_metadata_routing=True):
        est.set_fit_request(conditions="task")
    est.save(tmp_path / "model.npz")
    again = JEDIEstimator.load(tmp_path / "model.npz")
    assert again.get_metadata_routing().fit.requests["conditions"] == "task"
    pytest.importorskip("pandas")
    assert list(again.transform(multitask.X[:3]).columns) == list(est.get_feature_names_out())


@pytest.mark.slow
def test_loaded_estimators_are_fitted_and_cloned_as_others(fitted, saved, multitask):
    again = JEDIEstimator.load(saved)
    assert clone(again).get_params() == fitted.get_params()
    again.fit(multitask.X[:30], multitask.task[:30])
    assert_array_equal(again.embedding_, fitted.embedding_)


def test_loading_leaves_the_global_generators_alone(saved):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    JEDIEstimator.load(saved)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_a_subclass_is_loaded_as_one(saved):
    class Mine(JEDIEstimator):
        pass

    assert type(Mine.load(saved)) is Mine


class Gained(JEDIEstimator):
    """Has a parameter more."""

    def __init__(self, gain=1.0, dt=0.01):
        super().__init__(dt=dt)
        self.gain = gain


@pytest.mark.parametrize(("saver", "loader"), [(Gained, JEDIEstimator), (JEDIEstimator, Gained)])
def test_a_file_of_a_class_with_other_parameters_names_the_class(tmp_path, saver, loader):
    path, name = tmp_path / "model.npz", saver.__name__
    saver(dt=0.02).save(path)
    assert saver.load(path).dt == 0.02
    with pytest.raises(
        ValueError, match=rf"holds a {name} with .* Load it with {name}\.load\(path\)"
    ):
        loader.load(path)


def test_this_version_is_not_told_to_install_itself(saved):
    change = {"package_version": jedi_sklearn.__version__}
    rewrite(saved, lambda header: json.loads(json.dumps(header | change).replace("tau", "gain")))
    with pytest.raises(ValueError, match=r"does not know\. No newer version.*subclass") as it:
        JEDIEstimator.load(saved)
    assert "Install" not in str(it.value)


@pytest.mark.slow
def test_estimators_mapped_from_a_file_do_not_write_to_it(fitted, multitask, tmp_path):
    joblib.dump(fitted, tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    assert not mapped.embedding_.flags.writeable
    X, task = multitask.X[30:], multitask.task[30:]
    X.setflags(write=False)
    torch.set_warn_always(True)  # of arrays that cannot be written to it warns once
    try:
        found = mapped.posterior(X).mean
        trajectory = mapped.set_params(output="trajectory").transform(X)
        mapped.adapt(np.concatenate([X, X[..., :2]], axis=2), task)
    finally:
        torch.set_warn_always(False)
    assert_array_equal(found, fitted.transform(X))
    again = pickle.loads(pickle.dumps(fitted)).set_params(output="trajectory")
    assert_array_equal(trajectory, again.transform(X))


def test_an_attribute_that_is_no_data_is_refused(fitted, saved):
    before = saved.read_bytes()
    est = pickle.loads(pickle.dumps(fitted))
    est.note_ = {"hook": [np.sin]}
    with pytest.raises(TypeError, match=r"note_/hook/0 .*ufunc.*joblib\.dump"):
        est.save(saved)
    est = JEDIEstimator(random_state=np.random.default_rng(0))
    with pytest.raises(TypeError, match=r"parameters/random_state .*Generator"):
        est.save(saved)
    assert saved.read_bytes() == before


@pytest.mark.slow
def test_inputs_and_the_imputer_are_kept(small, tiny, tmp_path):
    X, u = tiny.X.copy(), np.random.RandomState(0).standard_normal((24, 16, 2))
    X[::2, 20:] = X[1, :, 3] = np.nan
    est = small(n_components=2, rank=3).fit(X[:18], inputs=u[:18])
    est.save(tmp_path / "model.npz")
    again = JEDIEstimator.load(tmp_path / "model.npz")
    new, drive = X[[1, 18, 19]], u[[1, 18, 19]]
    assert again.n_inputs_ == 2
    assert_array_equal(again.transform(new, inputs=drive), est.transform(new, inputs=drive))
    assert_array_equal(again.predict(new, inputs=drive), est.predict(new, inputs=drive))


# An earlier version's model


@pytest.mark.parametrize("name", STORED)
@pytest.mark.slow
def test_a_stored_model_still_gives_its_numbers(name):
    est = JEDIEstimator.load(DATA / f"model_format_{name}.npz")
    with np.load(DATA / f"answers_format_{name}.npz", allow_pickle=False) as answers:
        X, inputs = answers["X"], answers["inputs"]
        posterior = est.posterior(X, inputs=inputs)
        # other versions may find the same modes a little differently, by 0.01 posterior SDs each
        sd = np.sqrt(answers["covariance"].diagonal(axis1=1, axis2=2))
        assert_allclose(posterior.mean / sd, answers["transform"] / sd, atol=0.03, rtol=0)
        size = sd[:, :, np.newaxis] * sd[:, np.newaxis]
        assert_allclose(posterior.covariance / size, answers["covariance"] / size, atol=0.03)
        assert_allclose(est.predict(X, inputs=inputs), answers["predict"], atol=0.01)
        assert est.score(X, inputs=inputs) == pytest.approx(float(answers["score"]), abs=1e-4)
        assert_array_equal(est.embedding_, answers["embedding"])
        values = est.dynamics(X, inputs=inputs).eigenvalues()
        assert_allclose(values, answers["eigenvalues"], atol=0.01)
        assert_array_equal(est.conditions_, answers["conditions"])
        assert_array_equal(est.condition_embeddings_, answers["condition_embeddings"])
    assert est.observation_ == "gaussian"


@pytest.mark.parametrize("name", STORED)
@pytest.mark.slow
def test_answers_of_a_stored_model_lie_at_the_modes(name, monkeypatch):
    est = JEDIEstimator.load(DATA / f"model_format_{name}.npz")
    with np.load(DATA / f"answers_format_{name}.npz", allow_pickle=False) as answers:
        X, inputs = answers["X"], answers["inputs"]
    found = est.posterior(X, inputs=inputs)
    monkeypatch.setattr(_blockwise, "infer", partial(_blockwise.infer, tol=1e-14))
    exact = est.posterior(X, inputs=inputs)
    sd = np.sqrt(exact.covariance.diagonal(axis1=1, axis2=2))
    assert np.abs((found.mean - exact.mean) / sd).max() < 0.01


# Files that are refused


def rewrite(path, change):
    """Pass the header of a file through `change`."""
    with np.load(path) as file:
        arrays = dict(file)
    header = change(json.loads(arrays["header"].tobytes()))
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with open(path, "wb") as file:
        np.savez(file, **arrays)


def test_a_file_of_a_later_format_says_who_wrote_it(saved):
    rewrite(saved, lambda header: header | {"format_version": 99, "package_version": "7.5.0"})
    with pytest.raises(ValueError, match=r"7\.5\.0 in format 99.*up to 3\. Install jedi-sklearn"):
        JEDIEstimator.load(saved)


@pytest.mark.parametrize("place", ["parameter", "field", "hypernetwork", "kind"])
def test_what_only_a_later_version_knows_is_refused(saved, place):
    text = {
        "parameter": '"tau"',
        "field": '"autocorrelation_time"',
        "hypernetwork": '"skip"',
        "kind": '"GaussianPrior"',
    }[place]

    def change(header):
        header = json.loads(json.dumps(header).replace(text, '"novelty"'))
        return header | {"package_version": "7.5.0"}

    rewrite(saved, change)
    with pytest.raises(ValueError, match=r"by jedi-sklearn 7\.5\.0 and holds .*novelty.*Install"):
        JEDIEstimator.load(saved)


def test_a_file_cut_short_or_spoilt_is_damaged(saved, tmp_path):
    whole, bad = saved.read_bytes(), tmp_path / "bad.npz"
    for length in (2, 10, len(whole) // 2, len(whole) - 10, len(whole) - 1):
        bad.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"bad\.npz is damaged or truncated"):
            JEDIEstimator.load(bad)
    with zipfile.ZipFile(saved) as archive:  # in the middle of arrays: between them nothing counts
        members = archive.infolist()
    for member in members[:: len(members) // 4]:
        start = member.header_offset
        lengths = struct.unpack("<HH", whole[start + 26 : start + 30])  # of name and extra field
        place = start + 30 + sum(lengths) + member.file_size // 2
        bad.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with pytest.raises(
            ValueError, match=r"bad\.npz is damaged|written neither by JEDIEstimator"
        ):
            JEDIEstimator.load(bad)
    bad.write_bytes(b"")
    with pytest.raises(ValueError, match="it is empty"):
        JEDIEstimator.load(bad)


@pytest.mark.parametrize("lost", ["an array", "a field", "the content", "a shape"])
def test_a_file_with_parts_missing_is_damaged(saved, lost):
    if lost in ("an array", "a shape"):
        with np.load(saved) as file:
            arrays = dict(file)
        name = next(n for n in arrays if n.endswith("connectivity.maps"))
        if lost == "an array":
            del arrays[name]
        else:
            arrays[name] = arrays[name][1:]
        with open(saved, "wb") as file:
            np.savez(file, **arrays)
    elif lost == "the content":
        rewrite(saved, lambda header: header | {"content": {"dict": []}})
    else:

        def drop(header):
            fields = next(
                value["Model"]["dict"]
                for key, value in header["content"]["dict"][1][1]["dict"]
                if key == "_model"
            )
            fields[:] = [pair for pair in fields if pair[0] != "observation"]
            return header

        rewrite(saved, drop)
    with pytest.raises(ValueError, match="is damaged"):
        JEDIEstimator.load(saved)


def test_other_files_are_refused_by_what_they_are(fitted, tmp_path):
    path = tmp_path / "file"
    with pytest.raises(FileNotFoundError, match="does not add an extension"):
        JEDIEstimator.load(path)
    with pytest.raises(IsADirectoryError):
        JEDIEstimator.load(tmp_path)
    path.write_text("dear diary")
    with pytest.raises(ValueError, match=r"written neither by JEDIEstimator\.save"):
        JEDIEstimator.load(path)
    joblib.dump(fitted, path)
    with pytest.raises(
        ValueError, match=r"neither by .* pickle\. If you trust it, use joblib\.load"
    ):
        JEDIEstimator.load(path)
    with open(path, "wb") as file:
        np.savez(file, X=np.ones(3))
    with pytest.raises(ValueError, match="written neither by"):
        JEDIEstimator.load(path)
    with open(path, "wb") as file:
        np.savez(file, header=np.frombuffer(b'{"format": "a song"}', np.uint8))
    with pytest.raises(ValueError, match="written neither by"):
        JEDIEstimator.load(path)


class Trap:
    """Pickled: makes a folder when it is read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_pickled_objects_in_a_file_are_not_read(saved, tmp_path):
    with np.load(saved) as file:
        arrays = dict(file)
    name = next(n for n in arrays if n.endswith("embedding_"))
    arrays[name] = np.array([Trap(tmp_path / "sprung")], dtype=object)
    with open(saved, "wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(ValueError, match="pickled objects, which could run code"):
        JEDIEstimator.load(saved)
    assert not (tmp_path / "sprung").exists()


# Writing


@pytest.mark.parametrize("where", ["savez", "fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(fitted, saved, monkeypatch, where):
    def fail(*_, **__):
        raise OSError("no space left")

    before = saved.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(np if where == "savez" else os, where, fail)
        with pytest.raises(OSError, match="no space left"):
            fitted.save(saved)
    assert os.listdir(saved.parent) == ["model.npz"]
    assert saved.read_bytes() == before


def test_places_that_cannot_be_written_to(fitted, tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder"):
        fitted.save(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"the folder .* does not exist"):
        fitted.save(tmp_path / "nowhere" / "model.npz")
    with pytest.raises(TypeError, match=r"string or pathlib\.Path, got 3"):
        fitted.save(3)


@pytest.mark.skipif(os.name == "nt", reason="links and permissions of POSIX")
def test_links_are_followed_and_permissions_are_usual(fitted, saved):
    link = saved.parent / "link"
    link.symlink_to(saved)
    (saved.parent / "plain").touch()
    fitted.save(str(link))
    assert link.is_symlink()
    assert saved.stat().st_mode == (saved.parent / "plain").stat().st_mode


# Checkpoints


@pytest.fixture
def started(small, tiny, stopped_at, tmp_path):
    """Begin a fit of 20 steps that is stopped at the 14th; what continues it."""

    def begin(**changes):
        est = small(**({"n_components": 2, "rank": 3, "max_iter": 20} | changes))
        est.set_params(checkpoint=tmp_path / "fit.npz")
        with stopped_at(13):
            clone(est).fit(tiny.X[:16], tiny.labels[:16])
        return est

    return begin


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"batch_size": 5, "hypernetwork": "mlp"},
        {"early_stopping": True, "tol": 0.0, "connectivity": "low_rank"},
        {"initial_state": "inferred", "solver": "paper"},
        {"embedding": "condition", "random_state": np.random.RandomState(0)},
    ],
    ids=lambda changes: " ".join(changes),  # the same in every process that collects tests
)
@pytest.mark.long
def test_a_resumed_fit_is_the_uninterrupted_one(started, tiny, monkeypatch, changes):
    X, task = tiny.X[:16], tiny.labels[:16]
    est = started(**changes)
    expected = clone(est).set_params(checkpoint=None).fit(X, task)
    steps = []
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "__call__", lambda self, step, *_: steps.append(step))
        est.fit(X, task)
    assert steps[0] == 13  # 13 of the 14 steps were kept
    assert not est.checkpoint.exists()
    assert est.loss_curve_ == expected.loss_curve_
    assert est.validation_curve_ == expected.validation_curve_
    assert_array_equal(est.embedding_, expected.embedding_)
    assert_array_equal(est.transform(tiny.X[18:]), expected.transform(tiny.X[18:]))


@pytest.mark.slow
def test_a_resumed_fit_without_a_seed_uses_the_numbers_of_the_first(started, tiny):
    est = started(random_state=None, early_stopping=True, batch_size=5)
    kept = est.checkpoint.read_bytes()
    ends = []
    for _ in range(2):
        np.random.seed(len(ends))  # noqa: NPY002
        est.checkpoint.write_bytes(kept)
        ends.append(clone(est).fit(tiny.X[:16], tiny.labels[:16]))
    assert ends[0].loss_curve_ == ends[1].loss_curve_
    assert_array_equal(ends[0].embedding_, ends[1].embedding_)


@pytest.mark.slow
def test_a_checkpoint_knows_the_inputs(small, tiny, stopped_at, tmp_path):
    X, u = tiny.X[:16].copy(), np.random.RandomState(0).standard_normal((16, 16, 2))
    X[::2, 20:] = np.nan
    est = small(n_components=2, rank=3, max_iter=20)
    expected = clone(est).fit(X, inputs=u)
    est.set_params(checkpoint=tmp_path / "fit.npz")
    with stopped_at(13):
        est.fit(X, inputs=u)
    for other in (None, 2 * u, u[:, :, :1]):
        with pytest.raises(ValueError, match=r"\(inputs: float64 of shape \(16, 16, 2\)"):
            est.fit(X, inputs=other)
    est.fit(X, inputs=u)
    assert_array_equal(est.embedding_, expected.embedding_)


@pytest.mark.slow
def test_what_a_fit_does_not_depend_on_may_change(started, tiny, tmp_path):
    est = started()
    moved = est.checkpoint.rename(tmp_path / "moved.npz")
    est.set_params(checkpoint=moved, output="dynamics", device="cpu", rank=np.int64(est.rank))
    est.fit(tiny.X[:16].tolist(), tiny.labels[:16].tolist())
    assert est.n_iter_ == 20 and not moved.exists()


@pytest.mark.parametrize(
    ("changes", "data", "words"),
    [
        ({"rank": 2}, {}, ["(rank: 3 there, 2 here)"]),
        ({"max_iter": 50, "tol": 0.5}, {}, ["max_iter: 20 there, 50 here; tol: 1.0 there, 0.5"]),
        ({"random_state": None}, {}, ["random_state: 0 there, None here"]),
        ({}, {"trials": slice(0, 15)}, ["X: float64 of shape (16, 16, 12)", "(15, 16, 12)"]),
        ({}, {"factor": 1.5}, ["(X: float64 of shape (16, 16, 12), sha256"]),
        ({}, {"labels": np.arange(16) % 3}, ["(conditions: sha256"]),
        ({}, {"labels": None}, ["conditions: sha256", "None here"]),
    ],
    ids=str,
)
@pytest.mark.slow
def test_the_checkpoint_of_another_fit_is_refused(started, tiny, changes, data, words):
    est = started().set_params(**changes)
    kept = est.checkpoint.read_bytes()
    trials = data.get("trials", slice(0, 16))
    X, labels = tiny.X[trials] * data.get("factor", 1), tiny.labels[trials]
    with pytest.raises(ValueError, match="is the checkpoint of another fit") as refusal:
        est.fit(X, data.get("labels", labels))
    for word in [*words, "another path", "remove the file"]:
        assert word in str(refusal.value)
    assert est.checkpoint.read_bytes() == kept
    assert not hasattr(est, "embedding_")


def test_the_checkpoint_of_another_version_is_refused(started, tiny, monkeypatch):
    est = started()
    monkeypatch.setattr("jedi_sklearn.__version__", "7.5.0")
    with pytest.raises(ValueError, match=r"version of jedi-sklearn: .* there, 7\.5\.0 here"):
        est.fit(tiny.X[:16], tiny.labels[:16])


@pytest.mark.parametrize(
    "of, name, now", [("FORMAT", "format", 3), ("TRAINING", "format of the training", 3)]
)
def test_the_checkpoint_of_an_earlier_format_is_refused(started, tiny, monkeypatch, of, name, now):
    with monkeypatch.context() as patch:
        patch.setattr(_persistence, of, 1)
        est = started()
    with pytest.raises(ValueError, match=rf"another fit \({name}: 1 there, {now} here\)"):
        est.fit(tiny.X[:16], tiny.labels[:16])


def test_models_and_checkpoints_are_not_taken_for_each_other(started, saved, small, tiny):
    est = started()
    with pytest.raises(ValueError, match="is the checkpoint of an unfinished fit, not a saved"):
        JEDIEstimator.load(est.checkpoint)
    before = saved.read_bytes()
    with pytest.raises(ValueError, match="is a saved estimator, not the checkpoint"):
        small(checkpoint=saved).fit(tiny.X[:16])
    assert saved.read_bytes() == before
    est.checkpoint.write_bytes(est.checkpoint.read_bytes()[:-9])
    with pytest.raises(ValueError, match="is damaged or truncated"):
        est.fit(tiny.X[:16], tiny.labels[:16])


def test_places_for_a_checkpoint_are_looked_at_first(small, multitask, tmp_path):
    for place, error, words in (
        (tmp_path, IsADirectoryError, "checkpoint must name a file"),
        (tmp_path / "nowhere" / "fit", FileNotFoundError, r"the folder .* does not exist"),
        (7, TypeError, "checkpoint must be a string"),
    ):
        with pytest.raises(error, match=words):
            small(checkpoint=place, max_iter=10**9).fit(multitask.X[:16])


def test_two_fits_do_not_share_a_checkpoint(small, multitask, monkeypatch, tmp_path):
    path = tmp_path / "fit.npz"

    class Writing(Progress):
        def __call__(self, now, loss, teacher_forcing):
            if now == 5:
                path.write_text("another fit")

    monkeypatch.setattr("jedi_sklearn._fit.Progress", Writing)
    with pytest.raises(RuntimeError, match=r"Another process wrote .* separate checkpoints"):
        small(max_iter=20, checkpoint=path).fit(multitask.X[:16])
    assert path.read_text() == "another fit"


@pytest.mark.slow
def test_an_interrupted_fit_keeps_its_checkpoint(small, multitask, stopped_at, tmp_path):
    X, path = multitask.X[:16], tmp_path / "fit.npz"
    est = small(max_iter=20, checkpoint=path)
    with (
        pytest.warns(ConvergenceWarning, match="interrupted .* The checkpoint is kept"),
        stopped_at(15, KeyboardInterrupt),
    ):
        est.fit(X)
    assert est.n_iter_ == 16 and path.exists()
    est.fit(X)
    assert est.n_iter_ == 20 and not path.exists()
    assert_array_equal(est.embedding_, small(max_iter=20).fit(X).embedding_)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
@pytest.mark.long
def test_a_killed_fit_loses_one_interval_at_most(small, multitask, monkeypatch, tmp_path):
    code = (
        "import os, signal, sys, numpy as np\n"
        "from jedi_sklearn import JEDIEstimator\n"
        "from jedi_sklearn._schedule import Progress\n"
        "def kill(self, step, *_):\n"
        "    if step == 29: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Progress.__call__ = kill\n"
        "JEDIEstimator.load(sys.argv[1] + '/plan').fit(np.load(sys.argv[1] + '/X.npy'))\n"
    )
    X = multitask.X[:16, :20]
    np.save(tmp_path / "X.npy", X)
    est = small(max_iter=40, checkpoint=tmp_path / "fit.npz")
    est.save(tmp_path / "plan")
    done = run_python(code, tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    steps = []
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "__call__", lambda self, step, *_: steps.append(step))
        est.fit(X)
    assert 29 - steps[0] < 40 // 20
    expected = small(max_iter=40).fit(X)
    assert est.loss_curve_ == expected.loss_curve_
    assert_array_equal(est.embedding_, expected.embedding_)


@pytest.mark.slow
def test_the_bar_of_a_resumed_fit_counts_all_steps(started, tiny, capsys):
    pytest.importorskip("tqdm")
    started().set_params(verbose=True).fit(tiny.X[:16], tiny.labels[:16])
    assert "20/20" in capsys.readouterr().err


# Warm starts


@pytest.fixture
def warm(fitted):
    """A copy of `fitted`, 40 steps on 30 trials, that a second fit continues."""
    return pickle.loads(pickle.dumps(fitted)).set_params(warm_start=True)


@pytest.mark.long
def test_a_warm_start_needs_few_steps(warm, small, multitask):
    X, task = multitask.X[:30], multitask.task[:30]
    before, anew = warm.score(X), small(max_iter=20).fit(X, task)
    warm.set_params(max_iter=20).fit(X, task)
    assert warm.n_iter_ == len(warm.loss_curve_) == 20
    assert warm.score(X) > max(before, anew.score(X))
    assert warm.loss_curve_[-1] < anew.loss_curve_[-1]


@pytest.mark.long
def test_a_warm_start_takes_more_trials(warm, multitask):
    X, task = multitask.X, multitask.task
    mean, scale, before = warm.mean_, warm.scale_, warm.score(X)
    warm.set_params(max_iter=20).fit(X, task)
    assert warm.embedding_.shape == (40, 4)
    covariance = np.cov(warm.embedding_.T, bias=True)
    assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-8)
    assert covariance[3, 3] == pytest.approx(1)
    assert warm.score(X) > before
    assert_array_equal(warm.mean_, mean)  # the RNNs stay in their units
    assert_array_equal(warm.scale_, scale)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.long
def test_every_form_can_be_continued(models, tiny, form):
    est = pickle.loads(pickle.dumps(models(form)))
    config, before = est.hypernetwork_.config, est.score(tiny.X)
    kept, start = {"n_components": "auto", "rank": "auto"}, type(est._model.initial_state)
    est.set_params(warm_start=True, initial_state="auto", max_iter=60, **kept)
    est.fit(tiny.X, tiny.labels)
    assert est.hypernetwork_.config == config  # "auto" keeps what is there
    assert type(est._model.initial_state) is start
    assert est.score(tiny.X) > before


@pytest.mark.long
def test_a_loaded_model_is_continued_like_the_saved_one(warm, multitask, tmp_path):
    warm.set_params(max_iter=5).save(tmp_path / "model.npz")
    again = JEDIEstimator.load(tmp_path / "model.npz")
    for est in (warm, again):
        est.fit(multitask.X)
    assert_array_equal(again.embedding_, warm.embedding_)


@pytest.mark.long
def test_a_first_fit_is_not_warm_and_a_clone_forgets(small, multitask, warm):
    X = multitask.X[:12]
    cold = small(max_iter=3).fit(X)
    assert_array_equal(small(max_iter=3, warm_start=True).fit(X).embedding_, cold.embedding_)
    again = clone(warm).set_params(max_iter=3).fit(X)
    assert_array_equal(again.embedding_, cold.embedding_)
    warm.set_params(warm_start=False, max_iter=3).fit(X)
    assert_array_equal(warm.embedding_, cold.embedding_)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_components", 3),
        ("rank", 5),
        ("connectivity", "low_rank"),
        ("hypernetwork", "mlp"),
        ("initial_state", "inferred"),
        ("dt", 0.01),
        ("tau", 0.2),
        ("scale", None),
    ],
)
def test_a_warm_start_keeps_the_form_of_the_model(warm, multitask, name, value):
    before = getattr(warm, name)
    there = "generated" if name == "initial_state" else before  # "auto" stood for it
    warm.set_params(**{name: value})
    with pytest.raises(ValueError, match=f"{name}={there!r}, got {value!r}.*warm_start=False"):
        warm.fit(multitask.X[:30])
    warm.set_params(**{name: before})
    assert warm.n_iter_ == 40  # still the first fit


def test_a_warm_start_needs_the_same_neurons_and_enough_trials(warm, multitask):
    with pytest.raises(ValueError, match=r"n_neurons=30, got 20.*warm_start=False"):
        warm.fit(multitask.X[:30, :, :20])
    for n_components in (4, "auto"):
        warm.set_params(n_components=n_components)
        with pytest.raises(ValueError, match="n_components=4 is too many for 3 training") as info:
            warm.fit(multitask.X[:3])
        assert "Continue with at least 5 training trials, or use warm_start=False" in str(
            info.value
        )
        assert '"auto"' not in str(info.value)


@pytest.mark.slow
def test_a_warm_start_keeps_the_inputs(small, tiny):
    X, u = tiny.X, np.random.RandomState(0).standard_normal((24, 16, 2))
    est = small(n_components=2, rank=3, max_iter=20, warm_start=True).fit(X[:18], inputs=u[:18])
    before, scale = est.score(X, inputs=u), est._model.input_scale
    for other in (None, u[:, :, :1]):
        with pytest.raises(ValueError, match="warm_start continues from a model with n_inputs=2"):
            est.fit(X, inputs=other)
    est.fit(X, inputs=u)
    assert est.score(X, inputs=u) > before
    assert_array_equal(est._model.input_scale, scale)


@pytest.mark.long
def test_a_warm_start_resumes_from_its_checkpoint(warm, multitask, stopped_at, tmp_path):
    X, other = multitask.X[:16], multitask.X[16:32]
    expected = pickle.loads(pickle.dumps(warm)).set_params(max_iter=20).fit(X)
    warm.set_params(max_iter=20, checkpoint=tmp_path / "fit.npz")
    with stopped_at(13):
        warm.fit(X)
    another = clone(warm).set_params(checkpoint=None).fit(other).set_params(**warm.get_params())
    with pytest.raises(ValueError, match=r"\(model to continue from: sha256"):
        another.fit(X)
    warm.fit(X)
    assert warm.loss_curve_ == expected.loss_curve_
    assert_array_equal(warm.embedding_, expected.embedding_)


def test_warm_start_is_yes_or_no():
    with pytest.raises(TypeError, match="warm_start must be True or False"):
        JEDIEstimator(warm_start="yes").fit(np.random.RandomState(0).standard_normal((4, 9, 3)))
