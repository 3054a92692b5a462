"""Facts about recordings: what belongs to a trial stays with it, on the way to figures too."""

import sys
import types

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from jedi_sklearn import JEDIEstimator
from jedi_sklearn._validation import check_trials
from jedi_sklearn.preprocessing import (
    Recording,
    bin_spikes,
    cut_epochs,
    pad_trials,
    resample_time,
    smooth_counts,
)


@pytest.fixture
def X():
    return np.random.default_rng(0).poisson(1.0, size=(6, 20, 3)).astype(float)


@pytest.fixture
def rec(X):
    return Recording(
        X,
        time=0.02 * np.arange(20) - 0.19,  # bins from -0.2 to 0.2 s
        events={"cue": -0.1, "go": 0.0, "end": [0.1, 0.15, np.nan, 0.1, 0.1, 0.13]},
        labels=list("ababab"),
        neurons=["n1", "n2", "n3"],
        trials=[10, 11, 13, 14, 15, 19],
        align="go",
        unit="spikes per bin",
    )


# What is kept in step


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (slice(1, 4), [1, 2, 3]),
        ([4, 0], [4, 0]),
        (np.array([True, False, True, False, False, True]), [0, 2, 5]),
        (2, [2]),
        (-1, [5]),
    ],
)
def test_selected_trials_keep_what_belongs_to_them(X, rec, index, rows):
    some = rec[index]
    assert_array_equal(some.X, X[rows])
    assert_array_equal(np.asarray(some), X[rows])
    assert_array_equal(some.labels, rec.labels[rows])
    assert_array_equal(some.trials, rec.trials[rows])
    assert_array_equal(some.events["end"], rec.events["end"][rows])
    assert some.shape == (len(rows), 20, 3) == (len(some), *some.shape[1:])
    assert_array_equal(some.time, rec.time)
    assert (some.dt, some.align, some.unit) == (rec.dt, "go", "spikes per bin")


def test_time_and_neurons_are_not_selected_by_accident(rec):
    with pytest.raises(TypeError, match=r"indexed by trials alone.*rec\.X\["):
        rec[:, :5]
    assert_array_equal(rec[[1, 2], ...].X, rec.X[[1, 2]])


def test_splits_of_scikit_learn_are_recordings(rec):
    train, test = train_test_split(rec, stratify=rec.labels, test_size=2, random_state=0)
    assert isinstance(train, Recording) and sorted(test.labels) == ["a", "b"]
    assert_array_equal(np.sort(np.concatenate([train.trials, test.trials])), rec.trials)


@pytest.mark.slow
def test_a_recording_stands_where_X_is_asked_for(fitted, multitask):
    rec = Recording(multitask.X, dt=0.02, labels=multitask.task)
    assert_array_equal(fitted.transform(rec), fitted.transform(multitask.X))
    means = FunctionTransformer(lambda X: np.asarray(X).mean(axis=1))
    decoder = make_pipeline(means, NearestCentroid())
    a, b = (cross_val_score(decoder, X, rec.labels, cv=2) for X in (rec, multitask.X))
    assert_array_equal(a, b)


@pytest.mark.parametrize("turn", [(1, 0, 2), (0, 2, 1)])
def test_axes_in_another_order_are_pointed_out(turn):
    X = np.random.default_rng(0).normal(size=(20, 30, 9)).cumsum(axis=1)
    Recording(X, dt=0.02)
    with pytest.warns(UserWarning, match=r"changes smoothly along axis \d but not along axis 1"):
        Recording(X.transpose(turn), dt=0.02)


def test_a_recording_is_no_copy():
    X = np.ones((2, 5, 3), dtype=np.float32)
    rec = Recording(X, dt=0.1)
    assert rec.X is X and rec.dtype == np.float32
    assert np.asarray(rec) is X and np.shares_memory(rec[:1].X, X)
    assert np.array(rec) is not X and not np.shares_memory(np.array(rec, copy=True), X)
    assert np.asarray(rec, dtype=float).dtype == np.float64


# Time axes


def test_time_and_dt_follow_from_each_other(X):
    assert_allclose(Recording(X, dt=0.1).time, 0.1 * np.arange(20))
    assert Recording(X, time=np.linspace(-1, 0.9, 20)).dt == pytest.approx(0.1)
    durations = (np.arange(20) * 50).astype("m8[ms]")
    assert_allclose(Recording(X, time=durations).time, 0.05 * np.arange(20))
    assert Recording(X[:, :1], time=[0.3], dt=0.1).time == [0.3]


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"dt": None}, TypeError, ["Pass the time between samples"]),
        ({"dt": -1}, ValueError, ["dt", "> 0", "-1"]),
        ({"dt": 0.2, "time": np.arange(20) / 10}, ValueError, ["even steps", "dt=0.2", "0.1 s"]),
        ({"time": np.arange(20.0) ** 2}, ValueError, ["even steps", "from 1 to 37 s"]),
        ({"time": np.full(20, np.nan)}, ValueError, ["even steps"]),
        ({"time": np.arange(19)}, ValueError, ["20 samples", "(19,)"]),
        ({"events": [1, 2]}, TypeError, ["names", '{"go": times}', "list"]),
        ({"events": {"go": [1, 2]}}, ValueError, ["events['go']", "6 trials", "(2,)"]),
        ({"events": {"go": "x"}}, TypeError, ["real numbers"]),
        ({"labels": [1, 2]}, ValueError, ["labels", "6 trials", "(2,)"]),
        ({"neurons": "abc"}, ValueError, ["neurons", "3 neurons"]),
        ({"trials": [1]}, ValueError, ["trials", "6 trials"]),
        ({"align": "go"}, ValueError, ["align", "no events were given", "'go'"]),
        ({"X": np.ones((3, 4))}, ValueError, ["X must have shape", "(3, 4)"]),
    ],
)
def test_what_does_not_agree_is_refused(X, changes, error, words):
    with pytest.raises(error) as refusal:
        Recording(**({"X": X, "dt": None if "time" in changes else 0.1} | changes))
    for word in words:
        assert word in str(refusal.value)
    with pytest.raises(TypeError, match="from a single sample"):
        Recording(X[:, :1], time=[0.3])


# Steps that keep recordings


def test_smoothing_takes_bins_from_a_recording(X, rec):
    rates = smooth_counts(rec, sigma=0.04)
    assert_array_equal(rates.X, smooth_counts(X, bin_width=0.02, sigma=0.04))
    assert rates.unit == "spikes/s" and rec.unit == "spikes per bin"
    assert smooth_counts(rec, sigma=0.04, sqrt=True).unit == "sqrt(spikes per bin)"
    assert_array_equal(rates.events["end"], rec.events["end"])
    with pytest.raises(ValueError, match=r"bin_width=0\.05 s, but .* every 0\.02 s"):
        smooth_counts(rec, sigma=0.04, bin_width=0.05)


def test_resampling_takes_the_time_axis_along(X, rec):
    new = resample_time(rec, new_dt=0.01)
    assert_allclose(new.X, resample_time(X, dt=0.02, new_dt=0.01))
    assert new.dt == 0.01
    assert_allclose(new.time, np.arange(-0.19, 0.195, 0.01), atol=1e-12)
    assert_allclose(new.X[:, ::2], X, atol=1e-12)


def test_epochs_of_a_recording_are_a_recording(X, rec):
    cut = cut_epochs(rec, "cue", start=-0.04, stop=0.1)
    assert_array_equal(cut.X, X[:, 3:10])  # bin 5 begins at the cue
    assert_allclose(cut.time, 0.02 * np.arange(7) - 0.03)
    assert_allclose(cut.events["go"], 0.1)
    assert_allclose(cut.events["cue"], 0, atol=1e-12)
    assert cut.align == "cue"
    with pytest.raises(ValueError, match=r"trial 2 has no event"):
        cut_epochs(rec, "end", start=-0.1, stop=0.04)
    cut = cut_epochs(rec, "end", start=-0.1, stop=0.04, drop=True)
    assert_array_equal(cut.trials, [10, 11, 14, 15, 19])
    assert cut.dropped_trials == {13: "does not hold the window"}
    assert_array_equal(cut.X[1], X[1, 12:19])  # 0.15 is in bin 17
    samples = Recording(X, dt=0.02, events={"go": [0.1, 0.101, 0.109, 0.1, 0.1, 0.1]})
    assert_allclose(cut_epochs(samples, "go", start=0, stop=0.04).time, [-0.01 / 6, 0.11 / 6])
    again = cut_epochs(rec, rec.events["cue"], start=-0.04, stop=0.1)
    assert_array_equal(again.X, X[:, 3:10])
    assert again.align is None
    between = cut_epochs(rec, ["cue", "end"], drop=True)
    assert between.shape == (5, 12, 3)
    assert np.isnan(between.X[:, :, 0]).sum(axis=1).tolist() == [2, 0, 2, 2, 1]


def test_an_event_may_lie_before_the_first_bin(X):
    rec = Recording(X, time=0.02 * np.arange(20) + 0.11, events={"go": 0.0})
    cut = cut_epochs(rec, "go", start=0.2, stop=0.4)
    assert_array_equal(cut.X, X[:, 5:15])
    assert_allclose(cut.time, 0.02 * np.arange(10) + 0.21)
    with pytest.raises(ValueError, match=r"trial 0 needs bins -5 to 4, but it has bins 0 to 19"):
        cut_epochs(rec, "go", start=0, stop=0.2)
    with pytest.raises(ValueError, match=r"trial 1 has no event \(event is nan\)"):
        cut_epochs(rec, [0, np.nan, 0, 0, 0, 0], start=0.2, stop=0.4)


def test_padding_is_no_part_of_a_trial(rec):
    short = rec[:]
    short.X = rec.X.copy()
    short.X[1, 15:] = np.nan
    cut = cut_epochs(short, "go", start=0, stop=0.2, drop=True)
    assert 11 not in cut.trials and len(cut) == 5
    rates = smooth_counts(short, sigma=0.04).X
    assert np.isnan(rates[1, 15:]).all() and np.isfinite(rates[1, :15]).all()
    assert_allclose(rates[1, :15], smooth_counts(rec.X[1, :15], bin_width=0.02, sigma=0.04))


def test_recordings_know_their_bins(rec):
    for name in ("bin_width", "trial_length"):
        with pytest.raises(TypeError, match="knows its bins and trials"):
            cut_epochs(rec, "go", start=0, stop=0.1, **{name: 0.02})
    with pytest.raises(ValueError, match=r"event must be one of 'cue', 'go', 'end', got 'goo'"):
        cut_epochs(rec, "goo", start=0, stop=0.1)
    for step in (smooth_counts, resample_time):
        with pytest.raises(TypeError, match=r"Pass (bin_width|dt), .* only a Recording knows it"):
            step(rec.X, **{"sigma" if step is smooth_counts else "new_dt": 0.01})


def test_spikes_to_rates_between_events():
    """From spike times of trials of unequal length to rates without a step by hand."""
    rng = np.random.default_rng(0)
    spikes = [np.sort(rng.uniform(0, 40, 2000)) for _ in range(3)]
    begin = np.arange(1.0, 37, 2)
    end = begin + np.resize([0.8, 1.2], len(begin))
    rec = bin_spikes(spikes, np.stack([begin, end], axis=1), bin_width=0.02)
    fine = resample_time(smooth_counts(rec, sigma=0.05), new_dt=0.01)
    assert fine.shape == (18, 119, 3)
    assert np.isfinite(fine.X[::2]).all(axis=(0, 2)).sum() == 79
    assert np.isfinite(fine.X[1::2]).all()
    assert abs(np.nanmean(fine.X) - 50) < 2


# Other containers


def stand_in(X, dims, time=None, units=None, names=None):
    """What a DataArray of xarray has of what is used."""
    coords = {}
    if time is not None:
        dim = next(d for d in dims if d.startswith("time"))
        attrs = {} if units is None else {"units": units}
        coords[dim] = types.SimpleNamespace(values=np.asarray(time), attrs=attrs)
    if names is not None:
        coords["unit"] = types.SimpleNamespace(values=np.asarray(names), attrs={})

    class DataArray:
        def __init__(self, values, dims):
            self.values, self.dims, self.coords = values, dims, coords

        def transpose(self, *order):
            axes = [self.dims.index(dim) for dim in order]
            return type(self)(self.values.transpose(axes), order)

    DataArray.__module__ = "xarray.core.dataarray"
    return DataArray(X, tuple(dims))


def check_xarray(make, X):
    time = 0.05 * np.arange(20) - 0.5
    rec = Recording(make(X.transpose(2, 0, 1), ["unit", "trial", "time"], time, names=[7, 8, 9]))
    assert_array_equal(rec.X, X)
    assert_allclose(rec.time, time)
    assert_array_equal(rec.neurons, [7, 8, 9])
    for units, factor in (("ms", 1000), ("s", 1)):
        rec = Recording(make(X, ["trial_id", "times", "what"], factor * time, units))
        assert_array_equal(rec.X, X)
        assert_allclose(rec.time, time)
    with pytest.raises(ValueError, match="s or ms, got the unit 'frames'"):
        Recording(make(X, ["trial", "time", "unit"], time, "frames"))
    with pytest.raises(ValueError, match=r"dims \('a', 'time', 'b'\).*named trial, time and neur"):
        Recording(make(X, ["a", "time", "b"]), dt=0.1)
    for dims in (["unit", "time", "channel"], ["neuron", "rate", "time"], ["trial", "t", "time"]):
        with pytest.raises(ValueError, match=rf"dims \('{dims[0]}', '{dims[1]}', .*Rename yours"):
            Recording(make(X, dims), dt=0.1)
    ms = make(X, ["trial", "time", "unit"], 50 * np.arange(20))
    with pytest.warns(UserWarning, match=r"no unit and are taken as s: 50 s from .*ms or frames"):
        assert Recording(ms).dt == 50
    for known in ({"dt": 50.0}, {"time": 0.05 * np.arange(20)}):
        assert Recording(ms, **known).dt == known.get("dt", 0.05)
    assert Recording(make(X, ["trial", "time", "unit"], 2 * np.arange(20), "s")).dt == 2
    with pytest.raises(ValueError, match=r"dims \('trial', 'time'\); expected three"):
        Recording(make(X[:, :, 0], ["trial", "time"]), dt=0.1)


def test_xarray_is_read_by_its_names(X):
    check_xarray(stand_in, X)
    assert "xarray" not in sys.modules

    class Dataset:
        data_vars = ("counts", "speed")

    Dataset.__module__ = "xarray.core.dataset"
    with pytest.raises(TypeError, match="variables counts, speed: choose one"):
        Recording(Dataset(), dt=0.1)


def test_xarray_itself(X):
    xr = pytest.importorskip("xarray")

    def make(X, dims, time=None, units=None, names=None):
        array = xr.DataArray(X, dims=dims)
        if time is not None:
            dim = next(d for d in dims if d.startswith("time"))
            array = array.assign_coords({dim: time})
            if units is not None:
                array[dim].attrs["units"] = units
        return array if names is None else array.assign_coords(unit=names)

    check_xarray(make, X)


@pytest.mark.parametrize("levels", [("trial", "time"), ("time", "trial")])
def test_tables_of_pandas(X, levels):
    time = 0.05 * np.arange(20)
    index = pd.MultiIndex.from_product([[3, 4, 5, 6, 7, 9], time], names=["trial", "time"])
    table = pd.DataFrame(X.reshape(-1, 3), index=index, columns=["a", "b", "c"])
    table = table.reorder_levels(levels).sample(frac=1, random_state=0)
    rec = Recording(table)
    assert_array_equal(rec.X, X)
    assert_allclose(rec.time, time)
    assert rec.neurons.tolist() == ["a", "b", "c"] and rec.trials.tolist() == [3, 4, 5, 6, 7, 9]
    frames = table.rename(index={t: k for k, t in enumerate(time)}, level="time")
    with pytest.warns(UserWarning, match="Times of X have no unit"):
        assert Recording(frames).dt == 1
    short = table.drop([(3, time[-1])[:: 1 if levels[0] == "trial" else -1]])
    assert_array_equal(Recording(short).X, pad_trials([X[0, :-1], *X[1:]]))


def test_labels_do_not_go_to_other_trials_of_a_table(X):
    """Names of trials are sorted, t1, t10, t2, but labels come in the order of the rows."""
    names = ["t1", "t2", "t10", "t11", "t12", "t13"]
    index = pd.MultiIndex.from_product([names, 0.05 * np.arange(20)], names=["trial", "time"])
    table = pd.DataFrame(X.reshape(-1, 3), index=index)
    for given in ({"labels": list("abcdef")}, {"events": {"go": X[:, 0, 0]}}, {"trials": names}):
        name = "go" if "events" in given else next(iter(given))
        with pytest.raises(ValueError, match=rf"t1, t10, .* so that {name} .*sort_index"):
            Recording(table, **given)
    rec = Recording(table, events={"go": 0.1})  # one time for all
    assert rec.trials.tolist() == sorted(names)
    rec = Recording(table.sort_index(), labels=[f"label of {name}" for name in rec.trials])
    assert_array_equal(rec.X[1], X[2])
    assert rec.labels[1] == "label of t10"


@pytest.mark.parametrize("missing", [(np.nan, 0.05), (1.0, np.nan)])
def test_rows_of_a_table_without_trial_or_time_are_refused(X, missing):
    index = pd.MultiIndex.from_tuples([(0.0, 0.0), (0.0, 0.05), missing], names=["trial", "time"])
    with pytest.raises(ValueError, match=r"name trial and time of each row.* in row 2"):
        Recording(pd.DataFrame(X[0, :3], index=index))


def test_tables_without_trials_and_times_are_refused(X):
    with pytest.raises(ValueError, match=r"two levels \(trial, time\).*got 1 level"):
        Recording(pd.DataFrame(X[0]))
    index = pd.MultiIndex.from_arrays([[0, 0], [0.1, 0.1]], names=["trial", "time"])
    with pytest.raises(ValueError, match="one row per trial and time"):
        Recording(pd.DataFrame(X[0, :2], index=index))


def test_the_estimator_has_the_step_of_the_recording():
    rec = Recording(np.random.default_rng(0).normal(size=(8, 12, 4)), dt=0.02)
    est = JEDIEstimator(2, 2, max_iter=2, tol=10.0)
    with pytest.raises(ValueError, match=r"0.02 s apart, .* dt=0.01.*JEDIEstimator\(dt=0.02\)"):
        est.fit(rec)
    est.set_params(dt=rec.dt).fit(rec)
    with pytest.raises(ValueError, match="JEDIEstimator"):
        est.transform(Recording(rec.X, dt=0.01))


def test_labels_of_a_recording_are_used_only_if_passed(capsys):
    X = np.random.default_rng(0).normal(size=(8, 12, 4))
    rec = Recording(X, dt=0.02, labels=list("abababab"))
    est = JEDIEstimator(2, 2, dt=0.02, max_iter=2, tol=10.0, random_state=0)
    unlabelled = est.fit(X).embedding_
    assert_array_equal(est.fit(rec).embedding_, unlabelled)
    assert capsys.readouterr().out == ""
    est.set_params(verbose=True)
    said = "[JEDI] The labels of the recording are not used. To fit with them: fit(rec, rec.lab"
    est.fit(rec)
    assert said in capsys.readouterr().out
    for given in ({"y": rec.labels}, {"conditions": rec.labels}):
        assert list(est.fit(rec, **given).conditions_) == ["a", "b"]
    est.fit(Recording(X, dt=0.02))
    assert said not in capsys.readouterr().out


def test_a_recording_is_in_memory(monkeypatch):
    monkeypatch.setattr("jedi_sklearn._stored.LARGE", 10)
    rec = Recording(np.zeros((8, 12, 4)), dt=0.02)
    assert isinstance(check_trials(rec, stored=True), np.ndarray)
