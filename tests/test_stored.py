"""Trials that stay where they are stored: fitted as in memory, and never read all at once."""

import mmap
import sys
import weakref

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from jedi_sklearn import JEDIEstimator, _blockwise, _components, _stored, _trials, _warm_start
from jedi_sklearn._initial_state import INITIAL_STATES, Observed
from jedi_sklearn._missing import Imputer
from jedi_sklearn._observation import OBSERVATIONS
from jedi_sklearn._stored import StoredTrials, is_stored, part
from jedi_sklearn._trials import LazyTrials, trial_moments
from jedi_sklearn._validation import check_trials


class Chunked:
    """What HDF5, Zarr and Dask have in common, and a count of the trials asked for at a time."""

    def __init__(self, X):
        self.X, self.shape, self.dtype, self.asked = X, X.shape, X.dtype, []

    def __len__(self):
        return len(self.X)

    def __getitem__(self, index):
        values = self.X[index]
        self.asked.append(len(values) if values.ndim == 3 else 1)
        return values

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("all of it was read")


@pytest.fixture
def everything_is_large(monkeypatch):
    monkeypatch.setattr(_stored, "LARGE", 100)
    monkeypatch.setattr(_stored, "BLOCK", 10 * 50 * 30)


@pytest.fixture
def on_disk(multitask, tmp_path):
    """Open the data, or other data, as a memory map."""

    def save(X=multitask.X, mode="r"):
        np.save(tmp_path / "X.npy", X)
        return np.load(tmp_path / "X.npy", mmap_mode=mode)

    return save


# What is left where it is


def test_only_large_arrays_out_of_memory_are_stored(multitask, on_disk, monkeypatch):
    X, mapped = multitask.X, on_disk()
    assert not is_stored(mapped)  # small
    monkeypatch.setattr(_stored, "LARGE", X[1:].size - 1)
    assert is_stored(mapped)
    assert is_stored(np.asarray(mapped))  # and views of it
    assert is_stored(mapped[1:])
    assert is_stored(Chunked(X))
    assert not is_stored(X)
    assert not is_stored(X.tolist())
    assert not is_stored(np.ma.masked_array(mapped))
    assert not is_stored(mapped[np.arange(len(X))])  # a copy
    assert not is_stored(on_disk(mode="c"))  # its changes are in memory only
    assert not is_stored(Chunked(X.astype(complex)))
    monkeypatch.setattr(_stored, "LARGE", X.size)
    assert not is_stored(mapped)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16])
def test_stored_trials_index_like_an_array(kind):
    X = np.arange(7 * 4 * 3).reshape(7, 4, 3).astype(kind)
    stored = StoredTrials(Chunked(X))
    assert stored.shape == X.shape
    assert stored.dtype == (np.float32 if kind == np.float32 else np.float64)
    assert len(stored) == 7
    for index in (
        2,
        -1,
        slice(1, 5),
        slice(None, None, 2),
        np.array([4, 0, 4]),
        np.array([], dtype=int),
    ):
        got = stored[index]
        assert_array_equal(got, X[index])
        assert got.dtype == stored.dtype
    assert_array_equal(np.stack(list(stored)), X)
    some = part(stored, np.array([5, 1, 2]))
    assert isinstance(some, StoredTrials)
    assert_array_equal(some[1:], X[[1, 2]])
    assert_array_equal(part(some, slice(0, 1))[0], X[5])


def test_trials_that_follow_each_other_are_read_at_once():
    X = np.arange(9.0 * 2 * 3).reshape(9, 2, 3)
    source = Chunked(X)
    index = np.array([7, 1, 0, 8, 4])
    assert_array_equal(StoredTrials(source)[index], X[index])
    assert source.asked == [2, 1, 2]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_pages_that_were_read_are_given_back(tmp_path):
    def in_memory():
        with open("/proc/self/smaps") as lines:
            found = False
            for line in lines:
                if "pages.npy" in line:
                    found = True
                elif found and line.startswith("Rss:"):
                    return int(line.split()[1])
        raise AssertionError("not mapped")

    np.save(tmp_path / "pages.npy", np.ones((64, 128, 128)))
    X = np.load(tmp_path / "pages.npy", mmap_mode="r")
    stored = StoredTrials(X)
    for _ in stored:
        pass
    assert in_memory() < 1024
    X.sum()
    assert in_memory() > 4096


# Fits


@pytest.mark.parametrize("changes", [{}, {"initial_state": "inferred", "early_stopping": True}])
@pytest.mark.slow
def test_a_memory_map_is_fitted_as_the_array(
    multitask, on_disk, small, everything_is_large, changes
):
    X = multitask.X.astype(np.float32)
    X[3, 40:], X[7, :, 5] = np.nan, np.nan
    changes = {"batch_size": 12, "max_iter": 10} | changes
    est = small(**changes).fit(X[:30], multitask.task[:30])
    mapped = on_disk(X)
    other = small(**changes).fit(mapped[:30], multitask.task[:30])
    assert_array_equal(other.embedding_, est.embedding_)
    assert other.loss_curve_ == est.loss_curve_
    assert_array_equal(other.transform(mapped[30:]), est.transform(X[30:]))
    assert other.score(mapped[20:]) == est.score(X[20:])  # two blocks
    assert_array_equal(other.score_samples(mapped[20:]), est.score_samples(X[20:]))
    assert_array_equal(other.predict(mapped[30:]), est.predict(X[30:]))


@pytest.mark.slow
def test_memory_that_is_mapped_but_in_no_file_is_left_alone(multitask, small, everything_is_large):
    X = multitask.X
    for mode in ({"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}, {"access": mmap.ACCESS_WRITE}):
        mapped = np.ndarray(X.shape, X.dtype, buffer=mmap.mmap(-1, X.nbytes, **mode))
        mapped[:] = X
        assert not is_stored(mapped)
        est = small(max_iter=5).fit(mapped)
        assert_array_equal(mapped, X)
    assert_array_equal(est.embedding_, small(max_iter=5).fit(X).embedding_)


@pytest.mark.parametrize("large", [True, False])
def test_masked_values_are_refused_wherever_they_are(multitask, small, monkeypatch, large):
    monkeypatch.setattr(_stored, "LARGE", 100 if large else multitask.X.size)
    X = np.ma.masked_array(multitask.X, np.zeros(multitask.X.shape, bool))

    class Lazy(Chunked):
        def __array__(self, dtype=None, copy=None):
            return self.X

    assert_array_equal(check_trials(Lazy(X), missing=True, stored=True)[:], multitask.X)
    X[5, 3, 2] = np.ma.masked
    texts = []
    for masked in (X, Lazy(X)):
        with pytest.raises(ValueError, match=r"masked values.* pass X.filled\(np.nan\)") as caught:
            small().fit(masked)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


@pytest.mark.parametrize("large", [True, False])
def test_masks_of_dask_are_seen(multitask, monkeypatch, large):
    dask = pytest.importorskip("dask.array")
    monkeypatch.setattr(_stored, "LARGE", 100 if large else multitask.X.size)
    X = dask.ma.masked_greater(dask.from_array(multitask.X, chunks=(9, -1, -1)), 1.0)
    with pytest.raises(ValueError, match=r"dask.array.ma.filled\(X, np.nan\)"):
        check_trials(X, missing=True, stored=True)
    filled = check_trials(dask.ma.filled(X, np.nan), missing=True, stored=True)
    assert_array_equal(filled[:], np.where(multitask.X > 1, np.nan, multitask.X))


def test_a_length_that_dask_does_not_know_is_asked_for(multitask, small):
    dask = pytest.importorskip("dask.array")
    X = dask.from_array(multitask.X, chunks=(9, -1, -1))
    with pytest.raises(ValueError, match=r"Call X.compute_chunk_sizes\(\) first"):
        small().fit(X[X[:, 0, 0] > 0])


def test_the_imputer_is_learned_from_several_trials_at_a_time(multitask, everything_is_large):
    X = Chunked(multitask.X)
    Imputer.learn(StoredTrials(X), lambda trial: trial)
    assert X.asked == [10, 10, 10, 10]


@pytest.mark.slow
def test_a_fit_never_asks_for_everything(multitask, small, everything_is_large, monkeypatch):
    monkeypatch.setattr(_trials, "MAX_WORK", 8)
    monkeypatch.setattr(_blockwise, "MAX_BLOCK", 8)
    X = Chunked(multitask.X)
    est = small(batch_size=5, max_iter=10).fit(X, multitask.task)
    est.score(X)
    assert max(X.asked) <= 10
    assert est.embedding_.shape == (40, 4)


@pytest.mark.slow
def test_a_checkpoint_knows_a_stored_array(
    multitask, on_disk, small, everything_is_large, tmp_path
):
    checkpoint = tmp_path / "fit.npz"
    est = small(checkpoint=checkpoint).fit(on_disk(), multitask.task)
    assert_array_equal(est.embedding_, small().fit(multitask.X, multitask.task).embedding_)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda X: X.__setitem__((5, 3, 2), np.inf), ["infinity", "trial 5", "time step 3"]),
        (lambda X: X.__setitem__(6, np.nan), ["no value in trial 6"]),
    ],
)
def test_bad_values_of_a_stored_array_are_named(
    multitask, on_disk, small, everything_is_large, spoil, words
):
    X = multitask.X.copy()
    spoil(X)
    with pytest.raises(ValueError, match=words[0]) as caught:
        small().fit(on_disk(X))
    assert all(word in str(caught.value) for word in words)


def test_very_many_observed_values_are_counted_one_by_one():
    n = 2**24 + 1  # float32 rounds it
    ones = torch.ones(1, 1, 1).expand(n, 1, 1)
    assert _trials.Trials(ones, ones).n_observed == n


def test_stored_integers_and_wrong_shapes(everything_is_large):
    with pytest.raises(ValueError, match="3 neurons, but the model was fitted to 4"):
        check_trials(Chunked(np.ones((9, 9, 3))), n_neurons=4, stored=True)
    counts = np.arange(9 * 9 * 3, dtype=np.int16).reshape(9, 9, 3)
    stored = check_trials(Chunked(counts), missing=True, stored=True)
    for got, expected in zip(
        trial_moments(stored), trial_moments(counts.astype(float)), strict=True
    ):
        assert_array_equal(got, expected)


# Very many trials or neurons


@pytest.mark.parametrize("changes", [{}, {"embedding": "condition", "n_components": 3}])
@pytest.mark.slow
def test_a_start_from_a_sample_describes_all_trials(multitask, small, monkeypatch, changes):
    whole = small(**changes).fit(multitask.X, multitask.task)
    for name, value in {"SAMPLE_VALUES": 1, "MIN_SAMPLE": 20, "MAX_WORK": 8}.items():
        monkeypatch.setattr(_trials, name, value)
    est = small(**changes).fit(multitask.X, multitask.task)
    assert est.loss_curve_[0] < 0.5  # closed form, half of the trials not in the sample
    assert est.score(multitask.X) > whole.score(multitask.X) - 0.03


def test_subspace_iteration_finds_the_leading_directions(multitask, monkeypatch):
    X = np.ascontiguousarray(multitask.X.transpose(1, 0, 2))
    trials = _trials.Trials(torch.as_tensor(X))
    q, initial = trials.guide[0, :, :0], Observed(trials.shape[2])
    regression = _warm_start._Regression(trials, q, initial, 0.2, _warm_start.ALONE)
    sample = _trials.sample_of(trials)
    exact = _warm_start._bases(regression, sample, 5)
    monkeypatch.setattr(_warm_start, "MANY_NEURONS", 20)
    found = _warm_start._bases(regression, sample, 5)
    for basis, other in zip(exact[:2], found[:2], strict=True):
        assert_allclose(abs(basis.T @ other), np.eye(5), rtol=0, atol=1e-6)
    for sizes, others in zip(exact[2], found[2], strict=True):
        assert_allclose(sizes, others, rtol=1e-8)


def test_the_rank_of_many_neurons_is_read_from_some_samples(monkeypatch):
    g = torch.Generator().manual_seed(0)
    low_rank = torch.randn(30, 40, 6, generator=g) @ torch.randn(6, 100, generator=g)
    trials = _trials.Trials(low_rank + 0.3 * torch.randn(low_rank.shape, generator=g))
    assert _components.axes_of_samples(trials).best == 6
    monkeypatch.setattr(_components, "MAX_VALUES", 100 * 200)  # 200 of 1200 samples
    assert _components.axes_of_samples(trials).best == 6


@pytest.mark.slow
def test_noise_is_that_of_inferred_trials_where_training_saw_them_rarely(make_model, monkeypatch):
    model = make_model(120, noise=0.1)
    parameters = {"dt": model.dt, "max_iter": 30, "batch_size": 10, "tol": 1.0, "random_state": 0}
    parameters["initial_state"] = "observed"  # they start anywhere
    noise = {}
    for settled in (1000, 60):
        monkeypatch.setattr("jedi_sklearn._fit.SETTLED", settled)
        est = JEDIEstimator(2, model.rank, **parameters).fit(model.X)
        noise[settled] = est.noise_variance_ * est.scale_[0] ** 2
    assert 0.8 * 0.01 < noise[60] < noise[1000]


@pytest.mark.parametrize("option", ["generated", "inferred"])
def test_blocks_are_not_kept_for_their_first_samples(option, monkeypatch):
    alive, most = weakref.WeakSet(), 0

    class Blocks(LazyTrials):
        def __getitem__(self, index):
            nonlocal most
            some = super().__getitem__(index)
            alive.add(some.guide)
            most = max(most, len(alive))
            return some

    monkeypatch.setattr(_trials, "MAX_WORK", 2)
    X = np.random.default_rng(0).standard_normal((12, 5, 4))
    observation = OBSERVATIONS["gaussian"].learn(X, "global")
    imputer = Imputer.learn(X, observation.estimate)
    rest = (np.empty((12, 5, 0)), observation, imputer, torch.float32, torch.device("cpu"), 1, 240)
    INITIAL_STATES[option].learn(Blocks(StoredTrials(X), *rest))
    assert most <= 2  # the block before is freed once the next one is there
