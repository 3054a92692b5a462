"""What counts as trials: what is left alone, what is converted, and how refusals read."""

import numbers
import tracemalloc
import warnings
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from jedi_sklearn import RNNBatch
from jedi_sklearn._validation import check_number, check_trials
from jedi_sklearn.datasets import make_multitask

X = np.random.RandomState(0).standard_normal((40, 60, 50))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_floats_are_checked_without_a_copy(dtype, order):
    floats = X.astype(dtype, order=order)
    check_trials(floats[:2])  # imports and caches
    tracemalloc.start()
    try:
        checked = check_trials(floats)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert checked.dtype == dtype
    assert np.shares_memory(checked, floats)
    # at most one trial in double precision, or what numpy converts at a time
    assert peak < 2 * 8 * max(floats[0].size, np.getbufsize())


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, ">f8"])
def test_everything_else_becomes_double_precision(dtype):
    values = (np.abs(X) > 1).astype(dtype)
    checked = check_trials(values)
    assert checked.dtype == np.dtype(float)
    np.testing.assert_array_equal(checked, values)


def test_single_trials_only_where_they_are_expected():
    assert check_trials(X[0], ndim=(2, 3)).shape == (60, 50)
    with pytest.raises(
        ValueError, match=r"shape \(n_trials, n_timesteps, n_neurons\), got \(60, "
    ):
        check_trials(X[0])
    both = r"shape \(n_timesteps, n_neurons\) or \(n_trials, n_timesteps, n_neurons\), got \(50,\)"
    with pytest.raises(ValueError, match=both):
        check_trials(X[0, 0], ndim=(2, 3))
    with pytest.raises(
        ValueError, match=r"1 time step.*in the order \(n_timesteps, n_neurons\)\?"
    ):
        check_trials(X[0, :1], ndim=(2, 3))


def test_infinities_that_cancel_are_found():
    bad = X.copy()
    bad[3, 5, :2] = np.inf, -np.inf  # their sum is NaN, of which numpy would warn
    message = r"contains infinity, first at trial 3, time step 5, neuron 0 \(2 of 120000 values"
    with pytest.raises(ValueError, match=message):
        check_trials(bad)


def test_finite_values_whose_sum_overflows_pass():
    assert check_trials(np.full((1, 3, 2), 1e308)).shape == (1, 3, 2)


@pytest.mark.parametrize("shape", [(3,), (3, 1), (1, 3)])
def test_trials_in_an_array_of_objects_as_of_a_cell_are_stacked(shape):
    cell = np.empty(3, dtype=object)
    cell[:] = list(X[:3])
    for objects in (False, True):
        stacked = check_trials(cell.reshape(shape), objects=objects)
        np.testing.assert_array_equal(stacked, X[:3])
    cell[1] = cell[1][:10]
    with pytest.raises(ValueError, match=r"2 different lengths, from 10 to 60\. .*pad_trials"):
        check_trials(cell.reshape(shape))


def test_two_axes_are_a_recording_to_cut_or_trials_of_one_neuron():
    with pytest.raises(ValueError, match=r"X\[:, :, np\.newaxis\].*cut_epochs\(X, events, start"):
        check_trials(X[0], min_trials=2)
    with pytest.raises(ValueError, match=r"at least 2 are needed.*at its events use"):
        check_trials(X[:1], min_trials=2)
    with pytest.raises(ValueError, match=r"reshape\(-1, .*before time.*n_timesteps, -1\).* after"):
        check_trials(X[np.newaxis])


def test_axes_with_names_are_read():
    class Named(np.ndarray):
        """As of xarray."""

    named = X.transpose(0, 2, 1).view(Named)
    named.dims = ("trial", "unit", "time")
    with pytest.raises(ValueError, match=r"X\.transpose\('trial', 'time', 'unit'\)"):
        check_trials(named)
    named.dims = ("trial", "time", "unit")
    assert check_trials(named).shape == named.shape
    table = X[0].view(Named)  # as of pandas
    table.index = SimpleNamespace(nlevels=2)
    with pytest.raises(ValueError, match=r"index of 2 levels.*pad_trials\(\[trial\.to_numpy\(\)"):
        check_trials(table)


def test_numbers_of_any_sort_within_bounds_pass():
    for value in (1, 0.5, np.float32(0.1), np.int8(3), Fraction(1, 3), 10**400):
        check_number(value, "dt", low=0, closed=False)
    check_number(np.int64(1), "rank", numbers.Integral, low=1, high=1)


def test_a_refused_number_reads_with_its_bounds_and_unit():
    with pytest.raises(ValueError, match=r"^dt must be a finite number > 0 \(in s\), got 0\.$"):
        check_number(0, "dt", low=0, closed=False, unit="s")
    with pytest.raises(ValueError, match=r"^x must be a finite number >= 0 and <= 1, got nan\.$"):
        check_number(np.nan, "x", low=0, high=1)


# Milliseconds


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("dt", "tau", "words"),
    [
        (
            20,
            100,
            r"tau=100 and dt=20 are in s.*pass tau=0\.1 and dt=0\.02; otherwise frequencies",
        ),
        (1, 10, r"pass tau=0\.01 and dt=0\.001"),
        (1, 0.1, r"dt=1 s is 10 times tau=0\.1 s.*pass dt=0\.001; if samples.*raise tau"),
    ],
)
@pytest.mark.slow
def test_milliseconds_are_told_from_seconds_in_a_fit(small, dt, tau, words):
    with pytest.warns(UserWarning, match=words):
        small(dt=dt, tau=tau, max_iter=1).fit(X[:8, :4, :12])  # 20 steps to each sample


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("dt", "tau"), [(1, 5), (2, 6), (0.5, 0.1), (1, 0.5)])
@pytest.mark.slow
def test_slow_imaging_is_no_milliseconds(small, dt, tau):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning, message=".*(tau|dt)=")
        est = small(dt=dt, tau=tau, max_iter=1).fit(X[:8, :4, :12])
        assert est.dynamics(X[:2, :4, :12]).tau == tau


def test_known_rnns_and_simulations_in_milliseconds_are_told():
    with pytest.warns(UserWarning, match="tau=100 and dt=10 are in s"):
        RNNBatch.from_dense(np.eye(2), dt=10, tau=100)
    with pytest.warns(UserWarning, match="tau=100 and dt=10 are in s"):
        make_multitask(4, n_neurons=6, n_timesteps=9, dt=10, tau=100)
    RNNBatch.from_dense(np.eye(2), dt=0.1, tau=1)  # time in units of tau
