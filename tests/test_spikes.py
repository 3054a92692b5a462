"""Facts about spike counts: they are those of np.histogram, whatever form the spikes come in."""

import re
import sys
import time
import tracemalloc
import types
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from jedi_sklearn.preprocessing import _spike_times, _spikes, bin_spikes

EVENTS = np.arange(1.0, 99.0, 2.0)
WINDOW = {"start": -0.5, "stop": 1.0, "bin_width": 0.1}


@pytest.fixture(scope="module")
def spikes():
    rng = np.random.default_rng(0)
    return [np.sort(rng.uniform(0, 100, n)) for n in (500, 300, 800)]


def histograms(spikes, begin, n_bins, width):
    """Counts by np.histogram, trial by trial and neuron by neuron."""
    edges = [b + width * np.arange(n_bins + 1) for b in begin]
    return np.stack([np.stack([np.histogram(s, e)[0] for s in spikes], axis=1) for e in edges])


def pairs(spikes, names=None):
    names = range(len(spikes)) if names is None else names
    ids = np.repeat(names, [len(s) for s in spikes])
    return np.concatenate(spikes), ids


# Counts


def test_counts_are_those_of_np_histogram(spikes):
    rec = bin_spikes(spikes, EVENTS, **WINDOW)
    assert_array_equal(rec.X, histograms(spikes, EVENTS - 0.5, 15, 0.1))
    assert rec.X.dtype == np.float32
    assert_allclose(rec.time, np.arange(15) * 0.1 - 0.45)
    assert (rec.dt, rec.align, rec.unit) == (0.1, "event", "spikes per bin")
    assert_array_equal(rec.events["event"], np.zeros(49))


@settings(max_examples=60, deadline=None)
@given(
    # hundredths of a second: many spikes lie on borders, on which rounding decides for histograms
    # and no neuron fires twice at once, which would look like ids
    trains=st.lists(
        st.lists(st.integers(0, 3000), max_size=40, unique=True), min_size=1, max_size=3
    ),
    events=st.lists(st.integers(0, 3000), min_size=1, max_size=8),
    start=st.integers(-30, 30),
    n_bins=st.integers(1, 12),
    width=st.integers(1, 30),
)
def test_counts_are_exact_on_borders_too(trains, events, start, n_bins, width):
    """Against integers, which do not round: 0.1 + 0.2 loses no spike, and moves none."""
    events = sorted(events)
    expected = np.zeros((len(events), n_bins, len(trains)))
    for n, train in enumerate(trains):
        for k, event in enumerate(events):
            bins = (np.array(train, dtype=int) - event - start) // width
            expected[k, :, n] = np.bincount(bins[(bins >= 0) & (bins < n_bins)], minlength=n_bins)
    window = {
        "start": start / 100,
        "stop": (start + n_bins * width) / 100,
        "bin_width": width / 100,
    }
    seconds = [np.array(train) / 100 for train in trains]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of silent neurons
        if not expected.any():
            with pytest.raises(ValueError, match=r"No spike lies in any|no spike at all"):
                bin_spikes(seconds, np.array(events) / 100, recorded=(-99, 99), **window)
            return
        rec = bin_spikes(seconds, np.array(events) / 100, recorded=(-99, 99), **window)
        assert_array_equal(rec.X, expected)
        again = bin_spikes(
            pairs(seconds),
            np.array(events) / 100,
            recorded=(-99, 99),
            neurons=range(len(trains)),
            **window,
        )
    assert_array_equal(again.X, expected)


def test_a_spike_on_a_border_belongs_to_the_later_bin():
    rec = bin_spikes([[0.3, 0.7]], [0.1], stop=0.6, bin_width=0.1, recorded=(0, 1))
    assert_array_equal(rec.X.ravel(), [0, 0, 1, 0, 0, 0])  # 0.1 + 0.2 > 0.3; 0.7 is the end


@pytest.mark.parametrize("clock", [0.0, 1.7e9])  # that of Unix has steps of 2.4e-7 s
def test_borders_are_those_of_the_clock(clock):
    hundredths = np.arange(0, 2000, 2)  # each spike on a border
    events = clock + np.arange(37, 1800, 100) / 100
    window = {"start": -0.05, "stop": 0.15, "bin_width": 0.01, "recorded": (clock, clock + 20)}
    X = bin_spikes([clock + hundredths / 100], events, **window).X
    assert_array_equal(X[:, :, 0], np.tile([1, 0], (18, 10)))
    ends = np.stack([events, events + 0.07], axis=1)
    assert bin_spikes([clock + hundredths / 100], ends, bin_width=0.01).shape[1] == 7


@pytest.mark.parametrize("block", [7, 64])
def test_blocks_and_order_do_not_matter(spikes, monkeypatch, block):
    expected = bin_spikes(spikes, EVENTS, **WINDOW).X
    monkeypatch.setattr(_spikes, "BLOCK", block)
    monkeypatch.setattr(_spike_times, "BLOCK", block)
    times, ids = pairs(spikes)
    order = np.random.default_rng(1).permutation(len(times))
    for form in (spikes, (times, ids), (times[order], ids[order]), [s[::-1] for s in spikes]):
        assert_array_equal(bin_spikes(form, EVENTS, **WINDOW).X, expected)


def test_epochs_may_overlap(spikes):
    events = np.arange(1.0, 98.0, 0.25)
    rec = bin_spikes(spikes, events, **WINDOW)
    assert_array_equal(rec.X, histograms(spikes, events - 0.5, 15, 0.1))


def test_a_million_spikes_take_little_time_and_memory():
    rng = np.random.default_rng(0)
    times, ids = np.sort(rng.uniform(0, 1000, 10**6)), rng.integers(0, 50, 10**6)
    events = np.arange(5.0, 990, 2.0)
    began = time.perf_counter()
    rec = bin_spikes((times, ids), events, start=-0.5, stop=1.0, bin_width=0.02)
    assert time.perf_counter() - began < 5  # 0.2 s on a machine of its own
    inside = [((times >= e - 0.5) & (times < e + 1)).sum() for e in events[:20]]
    assert_array_equal(rec.X[:20].sum(axis=(1, 2)), inside)


def test_memory_is_that_of_a_block(monkeypatch):
    rng = np.random.default_rng(0)
    spikes = [np.sort(rng.uniform(0, 1000, 10**5)) for _ in range(4)]
    monkeypatch.setattr(_spikes, "BLOCK", 2**12)
    monkeypatch.setattr(_spike_times, "BLOCK", 2**12)
    events = np.repeat(np.arange(5.0, 990, 5.0), 4)  # each spike in eight epochs
    tracemalloc.start()
    rec = bin_spikes(spikes, events, stop=10, bin_width=0.5, recorded=(0, 2000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rec.X.sum() > 8 * 3.9e5
    # of 3.2 MB of spikes, and eight times as many in epochs; a third is the check of the axes
    assert peak < 3e6


# Epochs between two events


def test_between_two_events_trials_end_in_nan(spikes):
    ends = EVENTS + np.tile([0.5, 1.25, 0.99999999], 17)[:49]
    rec = bin_spikes(spikes, np.stack([EVENTS, ends], axis=1), bin_width=0.1)
    n_bins = np.tile([5, 12, 10], 17)[:49]  # whole bins
    assert rec.X.shape == (49, 12, 3)
    assert_array_equal(np.isnan(rec.X).all(axis=2).sum(axis=1), 12 - n_bins)
    for k in range(3):
        part = histograms(spikes, EVENTS[k : k + 1], n_bins[k], 0.1)[0]
        assert_array_equal(rec.X[k, : n_bins[k]], part)
    assert list(rec.events) == ["start", "end"] and rec.align == "start"
    assert_allclose(rec.events["end"], ends - EVENTS)
    wider = bin_spikes(
        spikes, {"a": EVENTS, "b": ends}, align=["a", "b"], start=-0.2, stop=0.3, bin_width=0.1
    )
    assert wider.X.shape == (49, 17, 3) and wider.time[0] == pytest.approx(-0.15)


def test_events_that_are_kept_are_relative_to_the_one_at_time_0(spikes):
    table = pd.DataFrame({"cue": EVENTS - 0.3, "go": EVENTS})
    rec = bin_spikes(spikes, table, align="go", **WINDOW)
    assert_array_equal(rec.X, bin_spikes(spikes, EVENTS, **WINDOW).X)
    assert_allclose(rec.events["cue"], -0.3)
    assert repr(rec) == (
        'Recording(49 trials x 15 samples x 3 neurons, -0.45 to 0.95 s from "go", dt=0.1 s)'
    )


# Trials that are left out


def test_trials_without_event_are_left_out_and_named(spikes):
    events = EVENTS.copy()
    events[[3, 7]] = np.nan
    with pytest.warns(UserWarning, match=r'2 of 49 trials are left out: no "event" \(trial 3, 7'):
        rec = bin_spikes(spikes, events, labels=np.arange(49) % 2, **WINDOW)
    kept = np.delete(np.arange(49), [3, 7])
    assert_array_equal(rec.trials, kept)
    assert_array_equal(rec.labels, kept % 2)
    assert_array_equal(rec.X, bin_spikes(spikes, EVENTS, **WINDOW).X[kept])
    assert rec.dropped_trials == {3: 'no "event"', 7: 'no "event"'}
    assert "trials left out: 2" in repr(rec)


def test_intervals_that_touch_are_one(spikes):
    rec = bin_spikes(spikes, EVENTS, recorded=[(0, 41.3), (41.3, 60), (60, 100)], **WINDOW)
    assert len(rec) == 49
    again = bin_spikes(spikes, EVENTS, recorded=[(0, 0.1 + 41.2), (41.3, 100)], **WINDOW)
    assert_array_equal(again.X, rec.X)


def test_trials_may_have_names(spikes):
    events = np.where(np.arange(49) == 3, np.nan, EVENTS)
    names = [f"t{k}" for k in range(49)]
    with pytest.warns(UserWarning, match=r'no "event" \(trial t3\)'):
        rec = bin_spikes(spikes, events, trials=names, **WINDOW)
    assert rec.trials[:4].tolist() == ["t0", "t1", "t2", "t4"]
    assert rec.dropped_trials == {"t3": 'no "event"'}
    with pytest.raises(ValueError, match=r"of trial t1 .* is before that of trial t0"):
        bin_spikes(spikes, EVENTS[::-1], trials=names, **WINDOW)
    with pytest.raises(ValueError, match="trials must hold one entry for each of the 49 trials"):
        bin_spikes(spikes, EVENTS, trials=names[:3], **WINDOW)


def test_trials_that_were_not_recorded_are_left_out_or_nan(spikes):
    events = np.append(EVENTS, [99.45, 120.0])
    with pytest.warns(UserWarning, match=r"2 of 51 .* not recorded \(trial 49, 50\)"):
        rec = bin_spikes(spikes, events, recorded=(0, 100), **WINDOW)
    assert_array_equal(rec.trials, np.arange(49))
    with pytest.warns(UserWarning, match=r"1 of 51 .* not recorded \(trial 50\)"):
        rec = bin_spikes(spikes, events, recorded=(0, 100), incomplete="nan", **WINDOW)
    assert np.isnan(rec.X[49]).all(axis=1).sum() == 5  # from 99.95 on; not 100.05 s of 100
    assert_array_equal(rec.X[49, :10], histograms(spikes, [98.95], 10, 0.1)[0])
    # gaps
    with pytest.warns(UserWarning, match=r"not recorded \(trial 2, 3\)"):
        rec = bin_spikes(spikes, EVENTS, recorded=[(0, 5.2), (7.2, 100)], **WINDOW)
    with pytest.warns(UserWarning, match=r"not recorded \(trial 49, 50\)"):
        bin_spikes(
            spikes,
            events,
            recorded=[[0, 5], [5, 100]],
            incomplete="drop",
            start=0.2,
            stop=0.7,
            bin_width=0.1,
        )


def test_without_recorded_a_long_silence_is_no_recording(spikes):
    """1600 spikes in 100 s: beyond 0.86 s of silence (1 in a million) nobody recorded."""
    late = np.append(EVENTS, 99.7)
    assert len(bin_spikes(spikes, late, **WINDOW)) == 50
    with pytest.warns(UserWarning, match=r"beyond the spikes \(trial 49\).*recorded="):
        rec = bin_spikes(spikes, np.append(EVENTS, 100.0), **WINDOW)
    assert len(rec) == 49
    rec = bin_spikes(spikes, np.append(EVENTS, 100.0), recorded=(0, 102), **WINDOW)
    assert len(rec) == 50


def test_pauses_that_nobody_told_are_pointed_out(spikes):
    """22 spikes are expected in a trial: chance leaves one in 3e9 empty."""
    paused = [s[(s < 40) | (s > 50)] for s in spikes]
    text = r"No neuron fires in 5 of 49 trials \(trial 20, .* 24; .* at 40.5 s\).*recorded="
    with pytest.warns(UserWarning, match=text):
        rec = bin_spikes(paused, EVENTS, **WINDOW)
    assert len(rec) == 49
    assert len(bin_spikes(paused, EVENTS, recorded=(0, 100), **WINDOW)) == 49
    with pytest.warns(UserWarning, match=r"not recorded \(trial 20, 21, 22, 23, 24\)"):
        bin_spikes(paused, EVENTS, recorded=[(0, 40), (50, 100)], **WINDOW)
    sparse = [s[::10] for s in paused]  # 2 of them may well be absent
    assert len(bin_spikes(sparse, EVENTS, **WINDOW)) == 49


def test_trials_that_end_before_they_begin_are_left_out(spikes):
    ends = EVENTS + 1
    ends[4] = EVENTS[4] - 1
    with pytest.warns(UserWarning, match=r'"end" is not a bin after "start" \(trial 4\)'):
        rec = bin_spikes(spikes, np.stack([EVENTS, ends], axis=1), bin_width=0.1)
    assert len(rec) == 48


# Neurons


def test_silent_neurons_are_named_and_left_out_by_their_rate(spikes):
    with pytest.warns(UserWarning, match=r"No spike in any epoch of 1 of 4 neurons \(neuron 3\)"):
        rec = bin_spikes([*spikes, []], EVENTS, **WINDOW)
    assert rec.X.shape[2] == 4 and not rec.X[:, :, 3].any()
    rec = bin_spikes([*spikes, []], EVENTS, min_rate=4.0, **WINDOW)
    assert_array_equal(rec.neurons, [0, 2])
    assert list(rec.dropped_neurons) == [1, 3] and rec.dropped_neurons[3] == "0 spikes/s"
    rate = bin_spikes(spikes, EVENTS, **WINDOW).X.mean(axis=(0, 1)) / 0.1
    assert (rate >= 4).tolist() == [True, False, True]


@pytest.mark.parametrize("names", [[4, 10, 7], ["a", "c", "b"], [10**9, 5, -3]])
def test_ids_are_names_of_neurons(spikes, names):
    expected = bin_spikes(spikes, EVENTS, **WINDOW).X
    order = np.argsort(names)
    rec = bin_spikes(pairs(spikes, names), EVENTS, **WINDOW)
    assert_array_equal(rec.neurons, np.sort(names))
    assert_array_equal(rec.X, expected[:, :, order])
    some = bin_spikes(pairs(spikes, names), EVENTS, neurons=names[:0:-1], **WINDOW)
    assert_array_equal(some.X, expected[:, :, :0:-1])
    assert some.neurons.tolist() == names[:0:-1]
    absent = 8 if names[0] != "a" else "zz"
    with pytest.warns(UserWarning, match=rf"1 of 2 neurons \(neuron {absent}\)"):
        some = bin_spikes(pairs(spikes, names), EVENTS, neurons=[absent, names[0]], **WINDOW)
    assert_array_equal(some.X[:, :, 1], expected[:, :, 0])


def test_ids_of_matlab_are_floats(spikes):
    times, ids = pairs(spikes)
    rec = bin_spikes((times[:, np.newaxis], ids.astype(float)[np.newaxis]), EVENTS, **WINDOW)
    assert_array_equal(rec.X, bin_spikes(spikes, EVENTS, **WINDOW).X)
    assert rec.neurons.tolist() == [0, 1, 2]


# Containers of others


@pytest.fixture
def pynapple(monkeypatch):
    """Classes with the names and the methods of pynapple's."""
    module = types.ModuleType("pynapple")

    class Ts:
        def __init__(self, t):
            self.t = np.asarray(t)

        def times(self):
            return self.t

    class IntervalSet:
        def __init__(self, start, end):
            self.start, self.end = np.asarray(start), np.asarray(end)

    class TsGroup(dict):
        def __init__(self, data, time_support):
            super().__init__(data)
            self.time_support = time_support

    for kind in (Ts, IntervalSet, TsGroup):
        kind.__module__ = "pynapple.core"
        setattr(module, kind.__name__, kind)
    return module


def check_pynapple(nap, spikes):
    support = nap.IntervalSet([0.0], [97.6])
    trains = {name: nap.Ts(t=s) for name, s in zip((5, 2, 9), spikes, strict=True)}
    group = nap.TsGroup(trains, time_support=support)
    trials = nap.IntervalSet(EVENTS, EVENTS + 1.0)
    order = [list(group.keys()).index(name) for name in (5, 2, 9)]
    with pytest.warns(UserWarning, match=r"not recorded \(trial 48\)"):
        rec = bin_spikes(group, trials, bin_width=0.1)
    kept = histograms(spikes, EVENTS[:-1], 10, 0.1)
    kept[-1:] = histograms([s[s < 97.6] for s in spikes], EVENTS[-2:-1], 10, 0.1)
    assert_array_equal(rec.X[:, :, order], kept)
    assert_array_equal(rec.neurons[order], [5, 2, 9])
    around = bin_spikes(group, trials, align="start", start=-0.5, stop=0.5, bin_width=0.1)
    assert_allclose(around.events["end"], 1.0)
    inside = nap.IntervalSet([0.0, 50.0], [40.0, 97.6])
    with pytest.warns(UserWarning, match="not recorded"):
        rec = bin_spikes(group, nap.Ts(t=EVENTS), recorded=inside, stop=0.5, bin_width=0.1)
    assert_array_equal(rec.trials, [k for k, e in enumerate(EVENTS) if e < 40 or e > 50])
    assert_array_equal(
        bin_spikes([nap.Ts(t=s) for s in spikes], EVENTS, **WINDOW).X,
        bin_spikes(spikes, EVENTS, **WINDOW).X,
    )


def test_pynapple_is_read_by_its_names(pynapple, spikes):
    check_pynapple(pynapple, spikes)
    assert "pynapple" not in sys.modules


def test_pynapple_itself(spikes):
    check_pynapple(pytest.importorskip("pynapple"), spikes)


def test_two_neurons_with_as_many_spikes_are_no_ids():
    events = {"go": np.array([[0.0], [2.0]])}  # one column is one event
    for pair in ([[0.1, 2.5], [0.2, 2.5]], [[0.1, 2.5], [1.0, 2.0]], {"a": [0.1], "b": [2]}):
        rec = bin_spikes(pair, events, stop=1, bin_width=0.5, recorded=(0, 3))
        assert rec.shape == (2, 2, 2)


def test_neurons_of_a_file_are_selected_by_name(spikes, tmp_path):
    trains = {f"n{k}": s for k, s in enumerate(spikes)}
    np.savez(tmp_path / "session.npz", cond=np.array(["a", "b"]), go=EVENTS, **trains)
    with np.load(tmp_path / "session.npz") as file:
        rec = bin_spikes(file, file["go"], neurons=list(trains), **WINDOW)
        with pytest.raises(TypeError, match=r"'cond' is not a neuron, select the neurons"):
            bin_spikes(file, file["go"], **WINDOW)
    assert rec.neurons.tolist() == ["n0", "n1", "n2"]
    assert_array_equal(rec.X, bin_spikes(spikes, EVENTS, **WINDOW).X)


def test_tables_and_mappings(spikes):
    expected = bin_spikes(spikes, EVENTS, **WINDOW).X
    named = dict(zip("xyz", spikes, strict=True))
    series = pd.Series(named)
    units = pd.DataFrame({"spike_times": series, "quality": ["good"] * 3})
    cell = np.empty((3, 1), dtype=object)
    cell[:, 0] = [s[np.newaxis] for s in spikes]
    for form in (named, series, units, cell, spikes):
        rec = bin_spikes(form, pd.Series(EVENTS, index=EVENTS), **WINDOW)
        assert_array_equal(rec.X, expected)
    assert rec.neurons.tolist() == [0, 1, 2]
    rec = bin_spikes(units, EVENTS, neurons=["z", "x"], **WINDOW)
    assert_array_equal(rec.X, expected[:, :, [2, 0]])
    times, ids = pairs(spikes)
    table = pd.DataFrame({"time": times, "unit": ids}).sample(frac=1, random_state=0)
    rec = bin_spikes((table["time"], table["unit"]), EVENTS, **WINDOW)
    assert_array_equal(rec.X, expected)
    renamed = bin_spikes(spikes, EVENTS, neurons=["u1", "u2", "u3"], **WINDOW)
    assert renamed.neurons.tolist() == ["u1", "u2", "u3"]


# What is refused, and what is pointed out

BAD = {
    "events in ms": (
        {"events": 1000 * EVENTS},
        ValueError,
        ["49 of 49 trials", "beyond the spikes", "Are the events in ms or samples?", "recorded="],
    ),
    "events in samples": (
        {"events": 30000 * EVENTS, "recorded": (0, 100)},
        ValueError,
        ["not recorded", "events in ms or samples?"],
    ),
    "nothing in the epochs": (
        {"spikes": [[0.1, 99.0]], "stop": 0.1, "start": 0},
        ValueError,
        ["No spike lies in any of the 49 epochs", "on one clock"],
    ),
    "events within trials": (
        {"events": [0.5, 0.4, 0.6]},
        ValueError,
        ['"event" of trial 1 (0.4 s) is before that of trial 0', "the start time of each trial"],
    ),
    "infinite event": ({"events": [0.5, np.inf]}, ValueError, ["trial 1 is infinite"]),
    "no events": ({"events": []}, ValueError, ["at least one"]),
    "only NaN": ({"events": [np.nan]}, ValueError, ["1 of 1 trials", 'no "event"']),
    "three columns": ({"events": np.ones((4, 3))}, ValueError, ["(n_trials, 2)", "(4, 3)"]),
    "a column of words": (
        {"events": {"go": EVENTS, "side": ["left"] * 49}},
        TypeError,
        ["'side' is not an event", 'table[["go", "end"]]'],
    ),
    "a column of booleans": (
        {"events": {"go": EVENTS, "hit": EVENTS > 5}},
        TypeError,
        ["'hit' is not an event", "bool"],
    ),
    "unequal columns": (
        {"events": {"go": EVENTS, "end": EVENTS[:5]}, "align": "go"},
        ValueError,
        ["one time per trial", "5 of 'end'", "49 of 'go'"],
    ),
    "which event": (
        {"events": {"go": EVENTS, "end": EVENTS}},
        ValueError,
        ["align must be", "'go', 'end'", "None"],
    ),
    "no such event": ({"align": "go"}, ValueError, ["align must be", "'event'", "'go'"]),
    "negative width": ({"bin_width": -0.1}, ValueError, ["bin_width", "> 0", "-0.1"]),
    "half a bin": ({"stop": 0.55}, ValueError, ["whole number of bins of 0.1 s", "1 or 1.1 s"]),
    "bins in ms": (
        {"bin_width": 20},
        ValueError,
        ["bins of 20 s, got 1.5 s", "Times are in s: 20 ms are 0.02"],
    ),
    "window in ms": (
        {"start": -200, "stop": 800, "bin_width": 20},
        ValueError,
        ["49 of 49", "epochs from -200 to 800 s", "bin_width are in s: 800 ms are 0.8."],
    ),
    "window in ms between events": (
        {"events": np.stack([EVENTS, EVENTS + 1], axis=1), "start": -200, "stop": None},
        ValueError,
        ["epochs from -200 to 0 s around them", "200 ms are 0.2."],
    ),
    "no window": ({"stop": -0.5}, ValueError, ["stop must be greater than start"]),
    "no end": ({"stop": None}, TypeError, ["Pass stop"]),
    "labels of others": ({"labels": [1, 2]}, ValueError, ["labels", "49 trials", "(2,)"]),
    "trials of one name": (
        {"trials": [0, *range(48)]},
        ValueError,
        ["trials must be different names", "got 0 more than once"],
    ),
    "intervals that overlap": ({"recorded": [(0, 9), (5, 20)]}, ValueError, ["in order"]),
    "recorded backwards": ({"recorded": (9, 1)}, ValueError, ["recorded must be", "(9, 1)"]),
    "incomplete": ({"incomplete": "pad"}, ValueError, ["incomplete", "'nan'", "'pad'"]),
    "too high a rate": (
        {"min_rate": 1e3},
        ValueError,
        ["min_rate=1000 spikes/s", "Lower min_rate"],
    ),
    "one flat array": ({"spikes": np.arange(5.0)}, TypeError, ["single neuron pass [times]"]),
    "one flat list": ({"spikes": [0.1, 0.2]}, TypeError, ["list of shape (2,)", "[times]"]),
    "counts": ({"spikes": np.ones((4, 5, 6))}, TypeError, ["(4, 5, 6)", "make a Recording"]),
    "a tuple of neurons": (
        {"spikes": ([1.0], [2.0], [3.0])},
        TypeError,
        ["must be (times, ids)", "3 entries", "list"],
    ),
    "ids without spikes": ({"spikes": ([0.1, 0.2], [1])}, ValueError, ["2 times and 1 ids"]),
    "two neurons in a tuple": (
        {"spikes": ([0.1, 0.2], [0.3, 0.4])},
        ValueError,
        ["ids must be whole numbers", "got 0.3"],
    ),
    "times and ids in a list": (
        {"spikes": [[0.1, 0.2, 0.5], [3, 7, 5]]},
        ValueError,
        ["3 times", "pass a tuple (times, ids)", "second neuron"],
    ),
    "float ids in a list": (
        {"spikes": [[0.1, 0.2, 0.5, 0.6], [1.0, 2.0, 2.0, 1.0]]},
        ValueError,
        ["pass a tuple (times, ids)"],
    ),
    "two columns of one event": (
        {"events": {"go": np.stack([EVENTS, EVENTS + 1], axis=1)}, "align": "go"},
        ValueError,
        ["'go' must hold one time per trial", "(49, 2)", "give each its own name"],
    ),
    "ids of another kind": (
        {"spikes": ([0.1, 0.2], ["a", "b"]), "neurons": [1]},
        ValueError,
        ["neurons must be ids as in spikes", "'a'"],
    ),
    "labels among the neurons": (
        {"spikes": {"n0": [1.0], "cond": np.array(["a", "b"])}},
        TypeError,
        ["spikes['cond'] must hold times in s", "'cond' is not a neuron", "neurons=[...]"],
    ),
    "events among the neurons": (
        {"spikes": {"n0": [1.0], "events": np.ones((5, 2))}},
        ValueError,
        ["spikes['events'] must hold the times of one neuron", "neurons=[...]"],
    ),
    "unknown names": ({"spikes": {"a": [1.0]}, "neurons": ["b"]}, ValueError, ["names b", "a."]),
    "too few names": ({"neurons": ["a"]}, ValueError, ["each of the 3 neurons", "1 names"]),
    "the same name": ({"neurons": ["a", "a", "b"]}, ValueError, ["different names"]),
    "no neurons": ({"spikes": []}, ValueError, ["at least 1 neuron"]),
    "no neurons by name": ({"spikes": {}}, ValueError, ["at least 1 neuron"]),
    "no spikes": ({"spikes": [[], []]}, ValueError, ["no spike at all"]),
    "no pairs": ({"spikes": ([], [])}, ValueError, ["no spike at all"]),
    "NaN spikes": ({"spikes": [[0.1], [0.2, np.nan]]}, ValueError, ["neuron 1", "NaN"]),
    "words": ({"spikes": [["a"]]}, TypeError, ["spikes[0]", "real numbers"]),
    "a matrix": ({"spikes": [np.ones((2, 3))]}, ValueError, ["1-D array", "(2, 3)"]),
    "trials of neurons": (
        {"spikes": [[[0.1], [0.2, 0.3]]]},
        ValueError,
        ["spikes[0]", "ragged", "whole recording"],
    ),
    "a table of rates": (
        {"spikes": pd.DataFrame({"rate": [1.0]})},
        TypeError,
        ["spike_times", '(table["time"], table["unit"])'],
    ),
    "a series of numbers": ({"spikes": pd.Series([1.0])}, TypeError, ["one array", "float64"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_says_what_to_do(spikes, name):
    changes, error, words = BAD[name]
    call = {"spikes": spikes, "events": EVENTS} | WINDOW | changes
    with pytest.raises(error) as refusal:
        bin_spikes(call.pop("spikes"), call.pop("events"), **call)
    for word in words:
        assert word in str(refusal.value)


@pytest.mark.parametrize(
    ("factor", "dtype", "words"),
    [
        (1000.0, float, "Are the spikes in ms or samples"),
        (3e4, float, r"span 2.999e\+06 s.*divide them by 1000"),
        (3e4, np.uint64, "all whole numbers.*sampling rate in Hz"),
    ],
)
def test_spikes_in_other_units_are_pointed_out(spikes, factor, dtype, words):
    trains = [(factor * s).astype(dtype) for s in spikes]
    trains[0] = np.append(trains[0], np.array([1], dtype))  # some spike in the epochs
    with pytest.warns(UserWarning, match=words) as told:
        bin_spikes(trains, EVENTS, **WINDOW)
    # of what follows from it, nothing
    assert not [w for w in told if re.match("No (spike|neuron)", str(w.message))]


def test_windows_in_ms_are_pointed_out(spikes):
    window = {"start": -500, "stop": 500, "bin_width": 20, "recorded": (-1e4, 1e4)}
    with pytest.warns(UserWarning) as told:
        bin_spikes(spikes, EVENTS, **window)
    texts = [str(w.message) for w in told]
    assert len(texts) == 2 and texts[0].startswith("bin_width=20 is in s")
    assert texts[1].startswith("Epochs of 1000 s overlap with 24 others")
    events = np.linspace(1, 99, 300)
    with pytest.warns(UserWarning, match=r"1000 s overlap with \d+ others.*500 ms are 0.5"):
        bin_spikes(spikes, events, **(window | {"bin_width": 0.5}))
    with pytest.warns(UserWarning, match=r"1000 s overlap with 24 others.*500 ms are 0.5"):
        bin_spikes(spikes, EVENTS, **(window | {"bin_width": 0.5}))


def test_single_precision_far_from_zero_is_pointed_out(spikes):
    late = [(s + 1e5).astype(np.float32) for s in spikes]
    with pytest.warns(UserWarning, match=r"float32 near 1.001e\+05 s are .* 0.008 s.*as float64"):
        bin_spikes(late, EVENTS + 1e5, start=0, stop=0.5, bin_width=0.02)
    with pytest.warns(UserWarning, match=r"float64 near 1e\+14 s are .* 0.02 s.*of the session"):
        bin_spikes([s + 1e14 for s in spikes], EVENTS + 1e14, stop=0.5, bin_width=0.1)
