"""Fits in threads, in processes and on a cluster: bit by bit what they are one after another.

Sums depend on how many threads share them, so each fit gets one thread, on purpose: conftest sets
that of torch, `one_thread` that of BLAS in this process, `inner_max_num_threads` those of joblib's
processes, and dask gives one to a worker that runs one task at a time.
"""

import os
import threading
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed, parallel_config
from numpy.testing import assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_info, threadpool_limits

from jedi_sklearn import JEDIEstimator, _blockwise
from jedi_sklearn.datasets import make_multitask

DATA = make_multitask(16, n_neurons=8, n_timesteps=16, dt=0.05, random_state=0)
X, TASK = DATA.X, DATA.task

BACKENDS = ["threading", "loky", "dask"]


@pytest.fixture(scope="module")
def cluster():
    """Two workers of dask, each a process with one thread, and no dashboard."""
    distributed = pytest.importorskip(
        "distributed", reason='dask is missing: pip install "jedi-sklearn[dask]"'
    )
    workers = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    )
    with workers, distributed.Client(workers):
        yield


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module", params=BACKENDS)  # tests of a backend follow each other
def in_parallel(request):
    """A context in which joblib's Parallel, and so scikit-learn, works on two fits at a time."""
    settings = {"backend": request.param, "n_jobs": 2}
    if request.param == "dask":
        request.getfixturevalue("cluster")
    if request.param == "loky":
        settings["inner_max_num_threads"] = 1

    @contextmanager
    def context():
        with parallel_config(**settings):
            yield request.param

    return context


def make_jedi():
    return JEDIEstimator(2, 4, dt=0.05, max_iter=10, tol=1.0, device="cpu", random_state=0)


def make_pipe():
    return make_pipeline(make_jedi(), LogisticRegression())


def fit_condition(trials):
    """An estimator of these trials, and where it was fitted: process, thread, thread counts."""
    est = make_jedi().fit(trials)
    counts = {torch.get_num_threads(), *(pool["num_threads"] for pool in threadpool_info())}
    return est, (os.getpid(), threading.get_ident()), counts


def assert_same_fit(one, other):
    assert one.loss_curve_ == other.loss_curve_
    assert_array_equal(one.embedding_, other.embedding_)
    assert_array_equal(one.predict(X), other.predict(X))


OPTIONS = {"cv": 2, "return_estimator": True, "error_score": "raise"}
GRID = {"jediestimator__n_components": [1, 2]}


@pytest.fixture(scope="module")
def validated():
    with threadpool_limits(1):
        return cross_validate(make_pipe(), X, TASK, **OPTIONS)


@pytest.fixture(scope="module")
def searched():
    with threadpool_limits(1):
        return GridSearchCV(make_pipe(), GRID, cv=2, error_score="raise").fit(X, TASK)


@pytest.mark.slow
def test_cross_validation_is_the_same_everywhere(in_parallel, validated):
    with in_parallel():
        found = cross_validate(make_pipe(), X, TASK, **OPTIONS)
    assert_array_equal(found["test_score"], validated["test_score"])
    for one, other in zip(found["estimator"], validated["estimator"], strict=True):
        assert_same_fit(one[0], other[0])
        assert_array_equal(one[1].coef_, other[1].coef_)


@pytest.mark.slow
def test_a_grid_search_is_the_same_everywhere(in_parallel, searched):
    with in_parallel():
        found = GridSearchCV(make_pipe(), GRID, cv=2, error_score="raise").fit(X, TASK)
    for name, values in searched.cv_results_.items():
        if "_test_score" in name:
            assert_array_equal(found.cv_results_[name], values)
    assert found.best_params_ == searched.best_params_
    assert_same_fit(found.best_estimator_[0], searched.best_estimator_[0])


@pytest.mark.slow
def test_one_estimator_for_each_condition_is_the_same_everywhere(in_parallel):
    parts = [X[TASK == condition] for condition in np.unique(TASK)]
    expected = [fit_condition(part) for part in parts]
    with in_parallel() as backend:
        found = Parallel()(delayed(fit_condition)(part) for part in parts)
    for (one, _, _), (other, _, _) in zip(found, expected, strict=True):
        assert_same_fit(one, other)
    # and it was elsewhere, with one thread each
    for _, (process, thread), counts in found:
        assert counts == {1}
        assert (process == os.getpid()) == (backend == "threading")
        assert (process, thread) != (os.getpid(), threading.get_ident())


@pytest.mark.slow
def test_by_default_each_thread_of_torch_infers_blocks_of_its_own(monkeypatch):
    est, threads = make_jedi().fit(X), []
    infer = _blockwise._infer_block

    def noted(*args, **kwargs):
        threads.append((threading.get_ident(), torch.get_num_threads()))
        return infer(*args, **kwargs)

    expected = est.transform(X)
    monkeypatch.setattr("jedi_sklearn._blockwise.MAX_BLOCK", 2)
    monkeypatch.setattr(_blockwise, "_infer_block", noted)
    torch.set_num_threads(2)
    try:
        found = est.transform(X)
        assert torch.get_num_threads() == 2
        assert {n for _, n in threads} == {1}
        assert len(threads) == 8 and threading.get_ident() not in dict(threads)
        threads.clear()  # too few blocks for all threads
        est.transform(X[:2])
        assert threads == [(threading.get_ident(), 2)]
        threads.clear()  # not in joblib's workers, and not where n_jobs says how many
        for n_jobs in (None, 1):
            with parallel_config("threading", n_jobs=2):
                Parallel()(delayed(est.transform)(X, n_jobs=n_jobs) for _ in range(2))
        assert len(dict(threads)) <= 4
        assert {n for _, n in threads} == {2}
    finally:
        torch.set_num_threads(1)
    np.testing.assert_allclose(found, expected, atol=1e-8)
