"""Facts about preprocessing: counts are conserved, bins are the right ones, inverses exact."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.signal import windows
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jedi_sklearn import JEDIEstimator
from jedi_sklearn.datasets import make_multitask
from jedi_sklearn.metrics import r2_by
from jedi_sklearn.preprocessing import (
    HiddenUnits,
    SoftNormalizer,
    TrialScaler,
    cut_epochs,
    pad_trials,
    resample_time,
    smooth_counts,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def counts(rng):
    return rng.poisson(3.0, size=(4, 60, 5)).astype(np.uint8)


# Smoothing


def test_smoothing_keeps_the_number_of_spikes(rng):
    counts = np.zeros((2, 100, 3), dtype=np.uint8)
    counts[:, 30:70] = rng.poisson(2.0, size=(2, 40, 3))
    rates = smooth_counts(counts, bin_width=0.01, sigma=0.05)  # reaches 4 SD = 20 bins
    assert_allclose(0.01 * rates.sum(axis=1), counts.sum(axis=1), rtol=1e-12)


def test_smoothing_is_a_convolution_with_a_gaussian(counts):
    kernel = windows.gaussian(2 * 8 + 1, std=2.0)  # sigma = 2 bins, cut off at 4 SD
    kernel /= kernel.sum()
    rates = smooth_counts(counts, bin_width=0.02, sigma=0.04)
    expected = np.convolve(counts[1, :, 3] / 0.02, kernel, mode="valid")
    assert_allclose(rates[1, 8:-8, 3], expected, rtol=1e-10)


def test_smoothing_continues_the_ends_and_never_mixes_trials_or_neurons():
    counts = np.arange(6).reshape(3, 1, 2) * np.ones((3, 40, 1), dtype=int)
    rates = smooth_counts(counts, bin_width=0.05, sigma=0.1)
    assert_allclose(rates, counts / 0.05)


def test_smoothing_one_trial_alone_equals_smoothing_it_among_others(counts):
    rates = smooth_counts(counts, bin_width=0.01, sigma=0.03)
    assert_array_equal(smooth_counts(counts[2], bin_width=0.01, sigma=0.03), rates[2])


def test_square_roots_stabilise_the_variance(rng):
    counts = rng.poisson([16.0, 100.0], size=(1, 20_000, 2))
    roots = smooth_counts(counts, bin_width=0.01, sigma=0.0, sqrt=True)
    assert_array_equal(roots, np.sqrt(counts))  # per bin: bin_width does not enter
    assert_allclose(roots.var(axis=1), 0.25, rtol=0.1)


def test_square_roots_are_taken_before_smoothing():
    counts = np.tile([[0], [4]], (20, 1))  # 0, 4, 0, 4, ... spikes per bin
    roots = smooth_counts(counts, bin_width=0.01, sigma=0.05, sqrt=True)
    assert_allclose(roots[18:22], 1.0, atol=1e-3)  # mean of 0 and 2, not sqrt(2)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool, np.float64])
def test_counts_of_any_dtype_give_the_same_float64_rates(counts, dtype):
    counts = (counts > 2).astype(dtype)
    rates = smooth_counts(counts, bin_width=0.01, sigma=0.03)
    assert rates.dtype == np.float64
    assert_array_equal(rates, smooth_counts(counts.astype(float), bin_width=0.01, sigma=0.03))


def test_smoothing_leaves_its_input_alone_and_float32_as_it_is(counts):
    counts = counts.astype(np.float32)
    before = counts.copy()
    assert smooth_counts(counts, bin_width=0.01, sigma=0.0).dtype == np.float32
    assert smooth_counts(counts, bin_width=0.01, sigma=0.02, sqrt=True).dtype == np.float32
    assert_array_equal(counts, before)


def test_negative_counts_are_refused():
    counts = np.zeros((2, 5, 3))
    counts[1, 2, 0] = -1
    with pytest.raises(ValueError, match=r"must not be negative, got -1 .*trial 1, time step 2, "):
        smooth_counts(counts, bin_width=0.01, sigma=0.02)


@pytest.mark.parametrize("value", [0, -0.1, np.nan, np.inf])
def test_bin_width_must_be_positive(counts, value):
    with pytest.raises(ValueError, match=r"bin_width must be a finite number > 0 \(in s\), got"):
        smooth_counts(counts, bin_width=value, sigma=0.02)


@pytest.mark.parametrize("value", ["0.1", None, True])
def test_sigma_must_be_a_number(counts, value):
    with pytest.raises(TypeError, match=r"sigma must be a finite number >= 0 \(in s\), got"):
        smooth_counts(counts, bin_width=0.01, sigma=value)


def test_a_gaussian_in_ms_is_told_in_a_long_recording_too():
    with pytest.warns(UserWarning, match=r"sigma=50 s is 2500 bins of 0\.02 s.*sigma=0\.05"):
        smooth_counts(np.ones((9000, 2)), bin_width=0.02, sigma=50)


def test_a_grid_a_thousand_times_finer_mixes_units():
    X = np.ones((2, 5, 3))
    with pytest.warns(UserWarning, match="dt=20 and new_dt=0.01 make 2000 samples of each"):
        resample_time(X, dt=20, new_dt=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resample_time(X, dt=20, new_dt=10)  # only their ratio counts
        resample_time(X, dt=1.0, new_dt=0.01)


@pytest.mark.parametrize("drop", [False, True])
def test_windows_in_ms_are_told_that_bins_count(drop):
    with pytest.raises(ValueError, match="start, stop and event count bins, neither ms nor s"):
        cut_epochs(np.ones((3, 40, 2)), [800] * 3, start=-200, stop=500, drop=drop)


@pytest.mark.parametrize(
    ("bin_width", "sigma", "words"),
    [
        (20, 50, "bin_width=20 is in s.*bin_width=0.02"),
        (1, 0.5, "bin_width=1 is in s"),
        (0.02, 50, "sigma=50 s is longer than the trial, 0.8 s.*sigma=0.05"),
    ],
)
def test_milliseconds_are_told_from_seconds(bin_width, sigma, words):
    with pytest.warns(UserWarning, match=words):
        smooth_counts(np.ones((2, 40, 3)), bin_width=bin_width, sigma=sigma)


def test_wide_bins_and_wide_gaussians_of_seconds_do_not_warn():
    counts = np.ones((2, 40, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        smooth_counts(counts, bin_width=0.5, sigma=5)
        smooth_counts(counts, bin_width=0.02, sigma=0.8)


# Hidden units


@pytest.fixture(scope="module")
def noisy():
    return make_multitask(40, n_neurons=60, n_timesteps=40, observation_noise=0.3, random_state=0)


@pytest.mark.slow
def test_units_hold_the_components_and_give_the_activity_back(noisy):
    units = HiddenUnits(n_units=70).fit(noisy.X)
    assert 3 <= units.n_components_ < 30
    assert units.mixture_.shape == (units.n_components_, 70)
    Z = units.transform(noisy.X)
    pca = PCA(units.n_components_).fit(noisy.X.reshape(-1, 60))
    expected = pca.inverse_transform(pca.transform(noisy.X.reshape(-1, 60)))
    assert_allclose(units.inverse_transform(Z).reshape(-1, 60), expected, atol=1e-6)
    assert_allclose(units.inverse_transform(Z[0, 3]), units.inverse_transform(Z)[0, 3])
    assert_array_equal(clone(units).fit(noisy.X).transform(noisy.X), Z)
    other = clone(units).set_params(random_state=1).fit(noisy.X)
    assert not np.allclose(other.transform(noisy.X), Z)


def test_units_of_what_nobody_recorded_are_missing(noisy):
    X = noisy.X.copy()
    X[3, 30:] = np.nan
    Z = HiddenUnits(5, 20).fit_transform(X)
    assert np.isnan(Z[3, 30:]).all() and np.isfinite(np.delete(Z, 3, axis=0)).all()
    X[4, 7, 2] = np.nan
    with pytest.raises(ValueError, match=r"all neurons of a sample, but X\[4, 7, 2\] is NaN"):
        HiddenUnits(5, 20).fit(X)


def test_units_choose_their_components_by_some_of_many_neurons(noisy, monkeypatch):
    whole = HiddenUnits().fit(noisy.X).n_components_
    monkeypatch.setattr("jedi_sklearn.preprocessing._units.MAX_NEURONS", 40)
    assert abs(HiddenUnits().fit(noisy.X).n_components_ - whole) <= 4


def test_activity_is_read_from_units_alone(noisy):
    units = HiddenUnits(5, 20).fit(noisy.X)
    with pytest.raises(ValueError, match=r"shape \(\.\.\., n_units = 20\), got \(40, 40, 60\)"):
        units.inverse_transform(noisy.X)
    for wrong in (np.array("a"), [[1.0], [1.0, 2.0]]):
        with pytest.raises((TypeError, ValueError), match="X"):
            units.inverse_transform(wrong)
    with pytest.raises(ValueError, match="X is constant"):
        HiddenUnits().fit(np.ones((5, 6, 4)))
    with pytest.raises(ValueError, match=r"but HiddenUnits was fitted to 60"):
        units.transform(noisy.X[:, :, :50])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.slow
def test_a_model_of_units_predicts_neurons(noisy):
    """Fixed points, free runs and scores of units are those of the neurons by the readout."""
    units = HiddenUnits(n_units=30).fit(noisy.X[:30])
    est = JEDIEstimator(4, 8, max_iter=60, tol=1, random_state=0)
    model = make_pipeline(units, est).fit(noisy.X[:30])
    run = model.inverse_transform(model.transform(noisy.X[30:]))
    assert run.shape == (10, 40, 60)
    assert r2_by(noisy.X[30:], run) > 0.6


# Scalers


def test_trial_scaler_is_standard_scaler_on_all_samples(counts):
    X = counts.astype(float)
    expected = StandardScaler().fit_transform(X.reshape(-1, 5)).reshape(X.shape)
    assert_allclose(TrialScaler().fit_transform(X), expected, rtol=1e-12)


def test_constant_neurons_are_centred_and_not_blown_up(counts):
    X = counts.astype(float)
    X[:, :, 2] = 0.1
    scaler = TrialScaler().fit(X)
    assert scaler.scale_[2] == 1.0
    assert_allclose(scaler.transform(X)[:, :, 2], 0.0, atol=1e-15)


def test_soft_normaliser_divides_by_range_plus_constant(counts):
    X = counts.astype(float)
    spread = X.max(axis=(0, 1)) - X.min(axis=(0, 1))
    assert_allclose(SoftNormalizer(3.0, center=None).fit_transform(X), X / (spread + 3.0))
    centred = SoftNormalizer(3.0).fit_transform(X)
    assert_allclose(centred, (X - X.mean(axis=(0, 1))) / (spread + 3.0))


def test_soft_normaliser_without_constant_gives_range_one_and_keeps_constant_neurons(counts):
    X = counts.astype(float)
    X[:, :, 0] = 7.0
    Z = SoftNormalizer(0.0, center=None).fit_transform(X)
    assert_allclose(np.ptp(Z[:, :, 1:], axis=(0, 1)), 1.0)
    assert_array_equal(Z[:, :, 0], 7.0)


@pytest.mark.parametrize("scaler", [TrialScaler(), SoftNormalizer(), SoftNormalizer(center=None)])
def test_inverse_gives_the_data_back_and_new_trials_use_the_learned_scale(scaler, rng):
    X = rng.gamma(2.0, 10.0, size=(6, 30, 4))
    scaler = clone(scaler).fit(X[:4])
    assert_allclose(scaler.inverse_transform(scaler.transform(X)), X, rtol=1e-12)
    assert_array_equal(scaler.transform(X)[4:], scaler.transform(X[4:]))
    assert scaler.transform(X.astype(np.float32)).dtype == np.float32
    assert scaler.n_features_in_ == 4


def test_scalers_refuse_other_neurons(counts):
    with pytest.raises(ValueError, match=r"X has 4 neurons, but TrialScaler was fitted to 5\."):
        TrialScaler().fit(counts).transform(counts[:, :, :4])


def test_a_failing_refit_leaves_the_fitted_scaler_as_it_was(counts):
    scaler = SoftNormalizer().fit(counts)
    before = scaler.transform(counts)
    scaler.center = "median"
    with pytest.raises(ValueError, match=r"center must be one of 'mean', None, got 'median'"):
        scaler.fit(counts[:, :, :3])
    assert_array_equal(scaler.transform(counts), before)


def test_soft_constant_must_not_be_negative(counts):
    with pytest.raises(
        ValueError, match=r"soft_constant must be a finite number >= 0 \(in the unit"
    ):
        SoftNormalizer(-1.0).fit(counts)


# What all of them say about bad arrays


def test_single_trials_are_asked_to_be_reshaped():
    message = (
        r"X must have shape \(n_trials, n_timesteps, n_neurons\), got \(8, 4\)\. "
        r"Reshape your data, e\.g\. X\[np\.newaxis\] for a single trial\."
    )
    with pytest.raises(ValueError, match=message):
        TrialScaler().fit(np.zeros((8, 4)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_the_first_bad_value_is_named(rng, bad):
    X = rng.normal(size=(3, 6, 4))
    X[1, 5, 2] = X[2, 0, 0] = bad
    word = "NaN" if np.isnan(bad) else "infinity"
    message = rf"X contains {word}, first at trial 1, time step 5, neuron 2 \(2 of 72 values are "
    with pytest.raises(ValueError, match=message + r".*NaN may only follow the end"):
        resample_time(X, dt=0.1, new_dt=0.05)
    with pytest.raises(ValueError, match=r"first at time step 5, neuron 2 \(1 of 24 values"):
        resample_time(X[1], dt=0.1, new_dt=0.05)
    with pytest.raises(ValueError, match=r"counts contains .*NaN may only follow the end"):
        smooth_counts(np.abs(X), bin_width=0.05, sigma=0.05)


@pytest.mark.parametrize("scaler", [TrialScaler(), SoftNormalizer(), SoftNormalizer(center=None)])
def test_missing_samples_count_for_nothing_and_stay_missing(rng, scaler):
    trials = [rng.normal(3.0, 2.0, size=(n, 4)) for n in (6, 9, 7)]
    X = pad_trials(trials)
    Z = scaler.fit(X).transform(X)
    flat = clone(scaler).fit(np.concatenate(trials)[np.newaxis])
    np.testing.assert_allclose(scaler.center_, flat.center_)
    np.testing.assert_allclose(scaler.scale_, flat.scale_)
    assert np.array_equal(np.isnan(Z), np.isnan(X))
    np.testing.assert_allclose(Z[0, :6], flat.transform(trials[0][np.newaxis])[0])
    np.testing.assert_allclose(scaler.inverse_transform(Z), X, atol=1e-12)


@pytest.mark.parametrize("scaler", [TrialScaler(), SoftNormalizer()])
def test_scalers_refuse_neurons_and_trials_without_values_and_infinity(rng, scaler):
    X = rng.normal(0, 10, size=(3, 6, 4))
    for where, value, words in (
        ((..., 2), np.nan, "Neuron 2 is NaN in all of X"),
        (1, np.nan, "no value in trial 1"),
        ((1, 2, 3), np.inf, "infinity, first at trial 1, time step 2, neuron 3"),
    ):
        bad = X.copy()
        bad[where] = value
        with pytest.raises(ValueError, match=words):
            clone(scaler).fit(bad)
    gone = X.copy()
    gone[..., 2] = np.nan  # to transform is another matter
    assert np.isnan(clone(scaler).fit(X).transform(gone)[..., 2]).all()


def test_padded_trials_are_the_trials_and_then_nan(rng):
    trials = [rng.normal(size=(n, 2)) for n in (3, 5, 1)]
    X = pad_trials(trials)
    assert X.shape == (3, 5, 2) and X.dtype == np.float64
    for padded, trial in zip(X, trials, strict=True):
        np.testing.assert_array_equal(padded[: len(trial)], trial)
        assert np.isnan(padded[len(trial) :]).all()
    assert pad_trials(trials, length=8).shape == (3, 8, 2)
    assert pad_trials([t.astype(np.float32) for t in trials]).dtype == np.float32
    assert pad_trials([np.ones((2, 1), int), np.ones((1, 1), bool)]).dtype == np.float64
    np.testing.assert_array_equal(pad_trials(np.stack(trials[:1] * 2)), np.stack(trials[:1] * 2))


def test_trials_that_cannot_be_padded_are_named(rng):
    trials = [np.zeros((3, 2)), np.zeros((5, 2))]
    with pytest.raises(
        ValueError, match=r"length=4 is less than the 5 samples of trial 1\. Raise"
    ):
        pad_trials(trials, length=4)
    with pytest.raises(ValueError, match=r"Each trial of trials .*trial 1 has shape \(5, 3\)"):
        pad_trials([np.zeros((3, 2)), np.zeros((5, 3))])
    with pytest.raises(ValueError, match=r"trials of shape \(5, 2\) is one array: pass a list"):
        pad_trials(trials[1])
    cell = np.empty((2, 1), dtype=object)
    cell[:, 0] = trials
    np.testing.assert_array_equal(pad_trials(cell), pad_trials(trials))
    with pytest.raises(ValueError, match="trials must hold at least 1 trial, got 0"):
        pad_trials([])
    with pytest.raises(TypeError, match="real numbers, got dtype complex128 in trial 0"):
        pad_trials([1j * trials[0]])
    with pytest.raises(TypeError, match="length must be an integer"):
        pad_trials(trials, length=6.0)


def test_trials_of_unequal_length_are_pointed_to_cut_epochs_and_pad_trials():
    ragged = [np.zeros((5, 2)), np.zeros((7, 2))]
    as_objects = np.empty(2, dtype=object)
    as_objects[:] = ragged
    for trials in (ragged, as_objects):
        with pytest.raises(
            ValueError, match=r"cut the same window .*cut_epochs\), or pad .*pad_trials\)"
        ):
            TrialScaler().fit(trials)


def test_complex_and_text_and_empty_arrays_are_refused():
    for X in (np.zeros((2, 3, 4), dtype=complex), np.full((2, 3, 4), "a")):
        with pytest.raises(TypeError, match=r"X must hold real numbers, got dtype"):
            TrialScaler().fit(X)
    with pytest.raises(ValueError, match=r"X has 0 trial.* in its shape \(0, 3, 4\); at least 1"):
        TrialScaler().fit(np.zeros((0, 3, 4)))


def test_numbers_in_an_object_array_are_read(counts):
    as_objects = counts.astype(object)
    assert_array_equal(TrialScaler().fit(as_objects).center_, TrialScaler().fit(counts).center_)
    as_objects[1, 2, 3] = "many"
    with pytest.raises(ValueError, match=r"objects of shape \(4, 60, 5\)\..*'many'"):
        TrialScaler().fit(as_objects)


# Resampling


def test_a_slow_sine_is_reproduced_at_the_new_times():
    dt, new_dt = 0.05, 0.01
    time = np.arange(41) * dt
    new_time = np.arange(201) * new_dt

    def activity(t):  # two trials, two neurons, 1 and 2 Hz
        phase = 2 * np.pi * t[:, np.newaxis] * [1.0, 2.0]
        return np.stack([np.sin(phase), np.cos(phase)])

    X_new = resample_time(activity(time), dt=dt, new_dt=new_dt)
    assert X_new.shape == (2, 201, 2)
    assert_allclose(X_new, activity(new_time), atol=0.01)
    assert_allclose(X_new[:, 25:-25], activity(new_time)[:, 25:-25], atol=1e-3)


@pytest.mark.parametrize("kind", ["cubic", "linear", "pchip"])
@pytest.mark.parametrize("dt, new_dt, every", [(0.05, 0.01, 5), (0.7, 0.14, 5), (0.02, 0.02, 1)])
def test_old_samples_stay_and_rounding_does_not_lose_the_last_one(rng, kind, dt, new_dt, every):
    X = rng.normal(size=(2, 11, 3))
    X_new = resample_time(X, dt=dt, new_dt=new_dt, kind=kind)
    assert X_new.shape == (2, 10 * every + 1, 3)
    assert_allclose(X_new[:, ::every], X, atol=1e-12)


def test_nothing_lies_beyond_the_last_sample():
    line = np.arange(5.0).reshape(1, 5, 1)  # activity equals time in units of dt
    X_new = resample_time(line, dt=1.0, new_dt=0.7, kind="linear")
    assert_allclose(X_new.ravel(), [0.0, 0.7, 1.4, 2.1, 2.8, 3.5])


def test_cubic_is_exact_on_cubics_and_on_what_few_samples_determine():
    for n_timesteps in (2, 3, 4, 9):
        degree = min(3, n_timesteps - 1)
        old, new = np.arange(n_timesteps), np.arange(2 * n_timesteps - 1) / 2
        X = (old.astype(float) ** degree).reshape(1, -1, 1)
        assert_allclose(resample_time(X, dt=1.0, new_dt=0.5).ravel(), new**degree, atol=1e-10)


def test_pchip_keeps_rates_non_negative_where_the_cubic_spline_does_not():
    rates = np.array([0.0, 0.0, 0.0, 50.0, 0.0, 0.0]).reshape(1, 6, 1)
    assert resample_time(rates, dt=0.05, new_dt=0.01).min() < -1.0
    assert resample_time(rates, dt=0.05, new_dt=0.01, kind="pchip").min() == 0.0


def test_resampling_keeps_float32_and_one_trial_may_come_alone(rng):
    X = rng.normal(size=(2, 8, 3)).astype(np.float32)
    X_new = resample_time(X, dt=0.1, new_dt=0.03)
    assert X_new.dtype == np.float32
    assert_allclose(resample_time(X[1], dt=0.1, new_dt=0.03), X_new[1], rtol=1e-6)


def test_resampling_errors_say_what_to_do(rng):
    X = rng.normal(size=(2, 8, 3))
    with pytest.raises(ValueError, match=r"new_dt must be at most dt=0.01 s, got 0.05 s\. For a"):
        resample_time(X, dt=0.01, new_dt=0.05)
    with pytest.raises(
        ValueError, match=r"kind must be one of 'cubic', 'linear', 'pchip', got 'spline'"
    ):
        resample_time(X, dt=0.1, new_dt=0.05, kind="spline")
    with pytest.raises(ValueError, match=r"X has 1 time step.*at least 2 are needed"):
        resample_time(X[:, :1], dt=0.1, new_dt=0.05)


# Epochs

LENGTH = np.array([7, 4, 9])


@pytest.fixture
def signal():
    """One channel that says 100 * trial + bin, and a second one with its negative."""
    bins = np.concatenate([100 * k + np.arange(n) for k, n in enumerate(LENGTH)])
    return np.stack([bins, -bins], axis=1).astype(np.int16)


def test_epochs_hold_exactly_the_bins_of_the_window(signal):
    epochs = cut_epochs(signal, [3, 1, 7], start=-1, stop=2, trial_length=LENGTH)
    assert_array_equal(epochs[:, :, 0], [[2, 3, 4], [100, 101, 102], [206, 207, 208]])
    assert_array_equal(epochs[:, :, 1], -epochs[:, :, 0])
    assert epochs.dtype == np.int16


def test_a_list_of_trials_and_one_array_are_the_same(signal):
    trials = np.split(signal, np.cumsum(LENGTH)[:-1])
    assert_array_equal(
        cut_epochs(trials, [3, 1, 7], start=-1, stop=2),
        cut_epochs(signal, [3, 1, 7], start=-1, stop=2, trial_length=LENGTH),
    )


def test_the_window_may_touch_both_ends_but_not_leave(signal):
    whole = cut_epochs(signal, [0, 0, 0], start=0, stop=4, trial_length=LENGTH)
    assert_array_equal(whole[1, :, 0], [100, 101, 102, 103])
    for event, start, stop, bins in (([0, 0, 0], 0, 5, "0 to 4"), ([1, 1, 1], -2, 1, "-1 to 1")):
        first = 1 if stop == 5 else 0
        message = rf"trial {first} needs bins {bins}, but it has bins 0 to {LENGTH[first] - 1} "
        with pytest.raises(ValueError, match=message):
            cut_epochs(signal, event, start=start, stop=stop, trial_length=LENGTH)


def test_one_recording_is_cut_at_each_of_its_events(signal):
    epochs, kept = cut_epochs(signal, [2, np.nan, 3, 9, 19], start=-2, stop=3, drop=True)
    assert_array_equal(kept, [0, 2, 3])
    assert_array_equal(epochs, [signal[0:5], signal[1:6], signal[7:12]])
    with pytest.raises(ValueError, match=r"trial 1 needs bins 17 to 21, but it has bins 0 to 19"):
        cut_epochs(signal, [2, 19], start=-2, stop=3)


@pytest.mark.parametrize("absent", [np.nan, -1])
def test_trials_without_the_event_are_named_or_dropped(signal, absent):
    event = [3, absent, 7]
    with pytest.raises(ValueError, match=r"trial 1 has no event \(event is (nan|-1)\) .* 1 such"):
        cut_epochs(signal, event, start=0, stop=2, trial_length=LENGTH)
    epochs, kept = cut_epochs(signal, event, start=0, stop=2, trial_length=LENGTH, drop=True)
    assert_array_equal(kept, [0, 2])
    assert_array_equal(epochs[:, :, 0], [[3, 4], [207, 208]])


def test_a_negative_event_is_absent_even_if_the_window_lies_in_the_trial(signal):
    _, kept = cut_epochs(signal, [-1, 0, 0], start=2, stop=3, trial_length=LENGTH, drop=True)
    assert_array_equal(kept, [1, 2])


def test_drop_with_nothing_to_drop_still_returns_indices(signal):
    _, kept = cut_epochs(signal, [0, 0, 0], start=0, stop=1, trial_length=LENGTH, drop=True)
    assert_array_equal(kept, [0, 1, 2])


def test_epoch_errors_say_what_to_do(signal):
    with pytest.raises(ValueError, match=r"None of the 3 trials holds the window from 0 to 20"):
        cut_epochs(signal, [0, 0, 0], start=0, stop=20, trial_length=LENGTH, drop=True)
    with pytest.raises(ValueError, match=r"got 1\.5 for trial 2\. For seconds pass bin_w"):
        cut_epochs(signal, [0, np.nan, 1.5], start=0, stop=1, trial_length=LENGTH)
    with pytest.raises(
        TypeError, match=r"start must be an int.*got -0\.8\. For seconds pass bin_width"
    ):
        cut_epochs(signal, [0, 0, 0], start=-0.8, stop=1, trial_length=LENGTH)
    with pytest.raises(ValueError, match=r"stop must be greater than start, got start=2, stop=2"):
        cut_epochs(signal, [0, 0, 0], start=2, stop=2, trial_length=LENGTH)
    with pytest.raises(ValueError, match=r"each of the 3 trials, got shape \(2,\)"):
        cut_epochs(signal, [0, 0], start=0, stop=1, trial_length=LENGTH)
    with pytest.raises(ValueError, match=r"one recording.*event 1 is in bin 0.*pass trial_length"):
        cut_epochs(signal, [0, 0, 0], start=0, stop=1)
    with pytest.raises(ValueError, match=r"\(20,\) has one axis\. .*signal\[:, np\.newaxis\]"):
        cut_epochs(signal[:, 0], [0, 5], start=0, stop=1)
    with pytest.raises(ValueError, match=r"add up to the 20 bins of signal, got 19"):
        cut_epochs(signal, [0, 0, 0], start=0, stop=1, trial_length=[7, 4, 8])
    with pytest.raises(ValueError, match=r"Leave trial_length out for a list of trials"):
        cut_epochs([signal], [0], start=0, stop=1, trial_length=[20])
    with pytest.raises(ValueError, match=r"1-D array of positive integers, got \[7, 13, 0\]"):
        cut_epochs(signal, [0, 0, 0], start=0, stop=1, trial_length=[7, 13, 0])
    with pytest.raises(ValueError, match=r"trial 1 has shape \(20, 1\), trial 0 \(20, 2\)"):
        cut_epochs([signal, signal[:, :1]], [0, 0], start=0, stop=1)
    with pytest.raises(ValueError, match=r"signal must hold at least 1 trial, got 0"):
        cut_epochs([], [], start=0, stop=1)


# Seconds, and trials of unequal length


def test_seconds_are_bins_where_a_bin_has_a_width(signal):
    options = {"trial_length": LENGTH}
    bins = cut_epochs(signal, [3, 1, 7], start=-1, stop=2, **options)
    # 0.35 is in the middle of bin 3; 0.7 / 0.1 is 6.99... of bin 7
    seconds = cut_epochs(signal, [0.35, 0.1, 0.7], start=-0.1, stop=0.2, bin_width=0.1, **options)
    assert_array_equal(seconds, bins)
    for changes, message in (
        (
            {"start": -0.15},
            r"start must be a whole number of bins of 0\.1 s, got -0\.15 s.*-0\.2 or",
        ),
        ({"stop": 200}, r"from -0\.1 to 200 s around.*are in s, and a bin is 0\.1 s"),
        ({"bin_width": 0}, "bin_width must be a finite number > 0"),
    ):
        window = {"start": -0.1, "stop": 0.2, "bin_width": 0.1} | options | changes
        with pytest.raises(ValueError, match=message):
            cut_epochs(signal, [0.35, 0.1, 0.7], **window)


def test_epochs_between_two_events_end_in_nan(signal):
    events = [[1, 4], [0, 3], [2, 7]]
    epochs = cut_epochs(signal, events, trial_length=LENGTH)
    expected = [[1, 2, 3, np.nan, np.nan], [100, 101, 102, np.nan, np.nan], 202 + np.arange(5)]
    assert_array_equal(epochs[:, :, 0], np.stack(expected))
    wider = cut_epochs(signal, events, start=-1, stop=1, trial_length=LENGTH, drop=True)
    assert_array_equal(wider[1], [0, 2])  # trial 1 begins with its first event
    assert wider[0].shape == (2, 7, 2)
    seconds = np.array(events) * 0.1
    again = cut_epochs(signal, seconds, bin_width=0.1, trial_length=LENGTH)
    assert_array_equal(again, epochs)
    one = cut_epochs(signal, [[1, 3], [5, 6]])  # of one recording
    assert_array_equal(one[:, :, 0], [[1, 2], [5, np.nan]])
    with pytest.raises(ValueError, match=r"The window between the events .*bins 4 to 0, but"):
        cut_epochs(signal, [[4, 1], [0, 3], [2, 7]], trial_length=LENGTH)
    with pytest.raises(ValueError, match=r"trial 0 has no event \(event is nan and 3\)"):
        cut_epochs(signal, [[np.nan, 3], [0, 3], [2, 7]], trial_length=LENGTH)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_take_trials_of_unequal_length(rng, dtype):
    trials = [rng.poisson(2.0, size=(n, 3)).astype(dtype) for n in (9, 12, 7)]
    smooth, fine = {"bin_width": 0.1, "sigma": 0.1}, {"dt": 0.1, "new_dt": 0.05}
    for step, options in ((smooth_counts, smooth), (resample_time, fine)):
        each = [step(trial, **options) for trial in trials]
        for listed in (trials, tuple(trials), [t.tolist() for t in trials]):
            found = step(listed, **options)
            assert isinstance(found, list)
            for got, expected in zip(found, each, strict=True):
                assert_allclose(got, expected, rtol=1e-5)
        padded = step(pad_trials(trials), **options)
        assert padded.dtype == dtype
        assert_array_equal(padded, pad_trials(each))
        same = step([trials[0], trials[0]], **options)
        assert_array_equal(same, np.stack([each[0]] * 2))


def test_a_bad_trial_of_a_list_is_named(rng):
    trials = [np.ones((9, 3)), np.ones((12, 3))]
    trials[1][3, 0] = np.nan
    with pytest.raises(ValueError, match=r"counts\[1\] contains NaN, first at time step 3"):
        smooth_counts(trials, bin_width=0.1, sigma=0.1)
    with pytest.raises(ValueError, match=r"Each trial of counts .*trial 1 has shape \(12, 2\)"):
        smooth_counts([trials[0], trials[1][:, :2]], bin_width=0.1, sigma=0.1)
    padded = pad_trials(trials)
    with pytest.raises(ValueError, match=r"X\[1\] contains NaN, first at time step 3, neuron 0"):
        resample_time(padded, dt=0.1, new_dt=0.05)
    with pytest.warns(UserWarning, match=r"sigma=50 s is longer than the trial, 1\.2 s"):
        smooth_counts([np.ones((9, 3)), np.ones((12, 3))], bin_width=0.1, sigma=50)


# A real recording


@pytest.mark.skipif("JEDI_DATA_DIR" not in os.environ, reason="JEDI_DATA_DIR is not set")
def test_speed_peaks_where_a_real_recording_says_so():
    path = Path(os.environ["JEDI_DATA_DIR"]) / "center_out_m1_trials.npz"
    with np.load(path, allow_pickle=False) as data:
        length, onset, peak = (
            data[name] for name in ("trial_length", "idx_movement_on", "idx_peak_speed")
        )
        counts, velocity = data["spike_counts"], data["velocity"]
    window = {"start": -16, "stop": 12, "trial_length": length}  # -0.8 to 0.6 s in 50 ms bins
    epochs = cut_epochs(counts, onset, **window)
    assert epochs.shape == (286, 28, 84)
    assert epochs.dtype == np.uint8

    speed = np.linalg.norm(cut_epochs(velocity, onset, **window), axis=2)
    late = speed[:, 16:].argmax(axis=1) - (peak - onset)  # both from movement onset, bins
    assert np.abs(late).max() <= 1  # the recorded peaks come from a finer grid
    assert np.median(late) == 0
