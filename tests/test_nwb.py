"""Facts about NWB files: what is read is what was written, of chosen units and trials."""

import datetime
import shutil

import numpy as np
import pytest

from jedi_sklearn.datasets import load_nwb
from jedi_sklearn.preprocessing import bin_spikes

pynwb = pytest.importorskip("pynwb")

N_TRIALS = 10
QUALITY, SNR = ["good", "mua", "good", "good"], [3.0, 1.0, 0.5, 4.0]
PLACES = [[0], [0, 1], [2], [1]]  # electrodes of each unit
AREAS = ["M1", "M1/PMd", "M1", "PMd"]
CUE = 4.0 * np.arange(N_TRIALS) + 1.0
CUE[3] = np.nan
SPIKES = [np.sort(np.random.default_rng(k).uniform(0, 40, 800)) for k in range(4)]
WINDOW = {"bin_width": 0.1, "start": -0.5, "stop": 1.0}


def new_file():
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    return pynwb.NWBFile(session_description="a test", identifier="test", session_start_time=start)


def session(obs_intervals=True):
    nwb = new_file()
    array = nwb.create_electrode_group(
        name="array", description="-", location="M1", device=nwb.create_device(name="array")
    )
    for area in ("M1", "PMd", "M1"):
        nwb.add_electrode(location=area, group=array)
    for name in ("quality", "snr", "peak"):
        nwb.add_unit_column(name=name, description="-")
    for k, spikes in enumerate(SPIKES):
        observed = [[0.0, 20.0], [20.0, 39.5 if k == 2 else 40.0]]
        nwb.add_unit(
            spike_times=spikes,
            quality=QUALITY[k],
            snr=SNR[k],
            peak=[k, k],
            electrodes=PLACES[k],
            electrode_group=array,
            id=10 + k,
            **({"obs_intervals": observed} if obs_intervals else {}),
        )
    for name in ("go_cue_time", "reaction_time", "target", "contrast", "success"):
        nwb.add_trial_column(name=name, description="-")
    nwb.add_trial_column(name="lick_times", description="-", index=True)
    for k in range(N_TRIALS):
        nwb.add_trial(
            start_time=4.0 * k,
            stop_time=4.0 * k + 3,
            go_cue_time=CUE[k],
            reaction_time=0.3,
            target=["left", "right"][k % 2],
            contrast=0.5 * (k % 3),
            success=k not in (5, 6),
            lick_times=[4.0 * k + 2] * (k % 3),
            id=100 + k,
        )
    flash = pynwb.epoch.TimeIntervals(name="flashes", description="-")
    for k in range(5):
        flash.add_interval(start_time=3.0 * k + 1, stop_time=3.0 * k + 2)
    nwb.add_time_intervals(flash)
    return nwb


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("nwb") / "session.nwb"
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(session())
    return path


@pytest.fixture
def broken(path, tmp_path):
    return shutil.copy(path, tmp_path / "broken.nwb")


@pytest.mark.filterwarnings("ignore:1 of 10 trials are left out")
def test_a_file_is_what_bin_spikes_makes_of_its_arrays(path):
    rec = load_nwb(path, align="go_cue_time", conditions="target", **WINDOW)
    events = {"go_cue_time": CUE, "start_time": CUE - 1, "stop_time": CUE + 2}
    ref = bin_spikes(SPIKES, events, align="go_cue_time", recorded=(0, 40), **WINDOW)
    np.testing.assert_array_equal(rec.X, ref.X)
    np.testing.assert_array_equal(rec.time, ref.time)
    np.testing.assert_array_equal(rec.trials, 100 + ref.trials)
    assert rec.neurons.tolist() == [10, 11, 12, 13]
    assert rec.labels.tolist() == [["left", "right"][k % 2] for k in ref.trials]
    assert rec.align == "go_cue_time" and rec.dropped_trials == {103: 'no "go_cue_time"'}
    # a reaction time and a list of licks are no events of the session
    assert set(rec.events) == set(events)
    for name, times in ref.events.items():
        np.testing.assert_allclose(rec.events[name], times)


def test_trials_are_named_by_their_ids_in_messages(path):
    with pytest.warns(UserWarning, match=r"no \"go_cue_time\" \(trial 103\)"):
        load_nwb(path, align="go_cue_time", **WINDOW)
    with pytest.raises(ValueError, match=r"of trial 104 .* is before that of trial 106"):
        load_nwb(path, trials=[106, 104], stop=1, bin_width=0.1)


def test_trials_between_two_events(path):
    rec = load_nwb(path, align=("start_time", "stop_time"), bin_width=0.1)
    assert rec.X.shape == (N_TRIALS, 30, 4)
    inside = [(SPIKES[1] >= 4.0 * k) & (SPIKES[1] < 4.0 * k + 3) for k in range(N_TRIALS)]
    np.testing.assert_array_equal(rec.X[:, :, 1].sum(axis=1), np.sum(inside, axis=1))


@pytest.mark.parametrize(
    ("units", "ids"),
    [
        ({"quality": "good"}, [10, 12, 13]),
        ({"quality": ["good"], "snr": lambda snr: snr > 1}, [10, 13]),
        ({"location": "M1"}, [10, 12]),
        ({"location": ["M1", "M1/PMd"]}, [10, 11, 12]),
        ({"electrode_group": "array"}, [10, 11, 12, 13]),
        ({"id": [11, 12]}, [11, 12]),
        ([13, 10], [13, 10]),
        ([False, True, True, False], [11, 12]),
    ],
)
@pytest.mark.slow
def test_units_are_chosen(path, units, ids):
    rec = load_nwb(path, units=units, stop=1, bin_width=0.1)
    assert rec.neurons.tolist() == ids
    every = load_nwb(path, stop=1, bin_width=0.1).X
    np.testing.assert_array_equal(rec.X, every[:, :, [i - 10 for i in ids]])


def test_spike_times_of_other_units_are_not_read(path, monkeypatch):
    read = []
    get = pynwb.core.VectorIndex.__getitem__

    def spy(self, i):
        read.append((self.name, i))
        return get(self, i)

    monkeypatch.setattr(pynwb.core.VectorIndex, "__getitem__", spy)
    load_nwb(path, units={"quality": "mua"}, stop=1, bin_width=0.1)
    assert [i for name, i in read if name == "spike_times_index"] == [1]


def test_trials_are_chosen(path):
    rec = load_nwb(path, trials={"success": True, "target": "left"}, stop=1, bin_width=0.1)
    assert rec.trials.tolist() == [100, 102, 104, 108]
    mask = np.arange(N_TRIALS) > 7
    assert load_nwb(path, trials=mask, stop=1, bin_width=0.1).trials.tolist() == [108, 109]


def test_conditions_of_several_columns(path):
    rec = load_nwb(path, conditions=["target", "contrast"], stop=1, bin_width=0.1)
    assert rec.labels[:3].tolist() == ["left 0.0", "right 0.5", "left 1.0"]
    rec = load_nwb(path, conditions="contrast", stop=1, bin_width=0.1)
    np.testing.assert_array_equal(rec.labels, 0.5 * (np.arange(N_TRIALS) % 3))


def test_neurons_have_names(path):
    rec = load_nwb(path, neurons="location", stop=1, bin_width=0.1)
    assert rec.neurons.tolist() == ["M1 10", "M1/PMd 11", "M1 12", "PMd 13"]
    rec = load_nwb(path, neurons="location", units=[10, 13], stop=1, bin_width=0.1)
    assert rec.neurons.tolist() == ["M1", "PMd"]


def test_trials_when_a_unit_was_not_observed_are_left_out(path):
    window = {"start": -1, "stop": 3.6, "bin_width": 0.1}  # that of trial 105 goes over 20 s
    with pytest.warns(UserWarning, match=r"not recorded \(trial 100, 109\)"):
        assert load_nwb(path, **window).trials.tolist() == [*range(101, 109)]
    for more in ({"units": [10, 11, 13]}, {"recorded": (0, 40)}):
        with pytest.warns(UserWarning, match=r"not recorded \(trial 100\)"):
            assert load_nwb(path, **window, **more).trials.tolist() == [*range(101, 110)]


def test_files_in_memory_other_tables_and_no_observation_intervals():
    nwb = session(obs_intervals=False)
    rec = load_nwb(nwb, table="flashes", align="start_time", stop=1, bin_width=0.1)
    ref = bin_spikes(SPIKES, 3.0 * np.arange(5) + 1, stop=1, bin_width=0.1)
    np.testing.assert_array_equal(rec.X, ref.X)
    assert list(rec.events) == ["start_time", "stop_time"]
    rec = load_nwb(nwb, events="go_cue_time", stop=1, bin_width=0.1)
    assert list(rec.events) == ["start_time", "go_cue_time"]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"align": "go_cue"}, ValueError, ["'go_cue'", "'trials'", 'did you mean "go_cue_time"']),
        ({"align": "target"}, TypeError, ["'target' is not an event"]),
        ({"align": "lick_times"}, TypeError, ["'lick_times'", "list in each row"]),
        ({"conditions": "direction"}, ValueError, ["'direction'", "'target'"]),
        ({"table": "trial"}, ValueError, ["'trial'", "'flashes'", 'did you mean "trials"?']),
        ({"units": {"area": "M1"}}, ValueError, ["'area'", "table of units", "'location'"]),
        ({"units": {"quality": "best"}}, ValueError, ["quality 'best'", "good, mua"]),
        ({"units": {"snr": lambda snr: snr > 9}}, ValueError, ["none of the 4 rows"]),
        ({"units": {"snr": np.mean}}, TypeError, ["True or False", "4 rows", "float64"]),
        ({"units": {"peak": 1}}, TypeError, ["'peak'", "(2,) values in each row"]),
        ({"units": {"electrodes": 1}}, TypeError, ["'electrodes'", "list in each row"]),
        ({"units": [3]}, ValueError, ["3", "10, 11, 12, 13", "mapping"]),
        ({"units": [True]}, ValueError, ["mask", "4 rows", "got 1"]),
        ({"trials": []}, ValueError, ["trials selects none", "10 rows"]),
        ({"trials": [101, 101]}, ValueError, ["trials names 101 more than once"]),
        ({"units": [10, 11, 10]}, ValueError, ["units names 10 more than once"]),
        ({"align": None}, TypeError, ["align", "a column name", "None"]),
        ({"conditions": 3}, TypeError, ["conditions", "a column name", "3"]),
        ({"events": []}, TypeError, ["events", "a column name", "[]"]),
        ({"neurons": "label"}, ValueError, ["'label'", "'group_name'"]),
    ],
)
@pytest.mark.slow
def test_what_the_file_does_not_hold(path, arguments, error, words):
    with pytest.raises(error) as refusal:
        load_nwb(path, **({"stop": 1, "bin_width": 0.1} | arguments))
    for word in words:
        assert word in str(refusal.value)


def test_files_without_units_or_trials():
    nwb = new_file()
    with pytest.raises(ValueError, match="no table of intervals 'trials', but none"):
        load_nwb(nwb, stop=1, bin_width=0.1)
    nwb.add_trial(start_time=0.0, stop_time=1.0)
    with pytest.raises(ValueError, match="no spike times of units"):
        load_nwb(nwb, stop=1, bin_width=0.1)


def test_units_that_were_never_observed_together():
    nwb = new_file()
    nwb.add_unit(spike_times=[1.0], obs_intervals=[[0.0, 5.0]])
    nwb.add_unit(spike_times=[6.0], obs_intervals=[[5.0, 9.0]])
    nwb.add_trial(start_time=0.0, stop_time=1.0)
    with pytest.raises(ValueError, match="At no time were all 2 units observed"):
        load_nwb(nwb, stop=1, bin_width=0.1)
    # two intervals of one unit that overlap are not two units
    nwb = new_file()
    nwb.add_unit(spike_times=[1.0, 7.0], obs_intervals=[[0.0, 10.0], [5.0, 15.0]])
    nwb.add_unit(spike_times=[26.0], obs_intervals=[[20.0, 30.0]])
    nwb.add_trial(start_time=6.0, stop_time=8.0)
    with pytest.raises(ValueError, match="At no time were all 2 units observed"):
        load_nwb(nwb, stop=2, bin_width=0.1)


def test_ids_that_repeat_name_no_trials():
    nwb = new_file()
    nwb.add_unit(spike_times=[0.5, 1.5, 2.5])
    for k in range(3):
        nwb.add_trial(
            start_time=float(k), stop_time=k + 1.0, id=min(k, 1), enforce_unique_id=False
        )
    rec = load_nwb(nwb, stop=1, bin_width=0.5, recorded=(0, 3))
    assert rec.trials.tolist() == [0, 1, 2]


def refused(path):
    with pytest.raises(ValueError) as refusal:
        load_nwb(path, stop=1, bin_width=0.1)
    assert str(path) in str(refusal.value) and "checksum" in str(refusal.value)
    return str(refusal.value)


def test_damaged_files(broken, tmp_path):
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    assert "truncated" in refused(broken)
    broken.write_bytes(b"<html>")
    assert "not HDF5" in refused(broken)
    h5py = pytest.importorskip("h5py")
    with h5py.File(broken, "w") as file:
        file["counts"] = [1, 2]
    assert "not NWB" in refused(broken)
    with pytest.raises(FileNotFoundError, match=r"no file .*absent\.nwb"):
        load_nwb(tmp_path / "absent.nwb", stop=1, bin_width=0.1)


def test_a_damaged_block_of_spike_times(broken):
    h5py = pytest.importorskip("h5py")
    with h5py.File(broken, "r+") as file:
        times = file["units/spike_times"][:]
        del file["units/spike_times"]
        data = file.create_dataset("units/spike_times", data=times, chunks=(100,), fletcher32=True)
        data.attrs.update({"neurodata_type": "VectorData", "namespace": "hdmf-common"})
        data.attrs.update({"description": "-", "object_id": "0"})
        at = data.id.get_chunk_info(0).byte_offset
    damaged = bytearray(broken.read_bytes())
    damaged[at : at + 8] = b"\0" * 8
    broken.write_bytes(damaged)
    assert "damaged" in refused(broken)
    load_nwb(broken, units=[13], stop=1, bin_width=0.1)  # its blocks are whole


def test_one_electrode_for_each_unit_without_an_index(broken):
    h5py = pytest.importorskip("h5py")
    with h5py.File(broken, "r+") as file:
        units, attributes = file["units"], dict(file["units/electrodes"].attrs)
        del units["electrodes"], units["electrodes_index"]
        units["electrodes"] = np.array([0, 1, 2, 1])
        units["electrodes"].attrs.update(attributes)
    rec = load_nwb(broken, units={"location": "PMd"}, neurons="group_name", stop=1, bin_width=0.1)
    assert rec.neurons.tolist() == ["array 11", "array 13"]
    with pytest.raises(TypeError, match="'electrodes' points to rows of another table"):
        load_nwb(broken, neurons="electrodes", stop=1, bin_width=0.1)


def test_what_is_no_event_and_a_unit_that_does_not_say_when_it_was_observed():
    nwb = new_file()
    nwb.add_trial_column(name="stop_times", description="in words")
    nwb.add_trial_column(name="fixation_time", description="infinite where there was none")
    for k in range(3):
        nwb.add_trial(start_time=k + 0.0, stop_time=k + 1.0, stop_times="-", fixation_time=np.inf)
    nwb.add_unit(spike_times=[0.5, 2.9], obs_intervals=[[0.0, 0.7]])
    nwb.add_unit(spike_times=[1.5], obs_intervals=np.empty((0, 2)))
    rec = load_nwb(nwb, stop=0.9, bin_width=0.3)
    assert list(rec.events) == ["start_time", "stop_time"] and len(rec) == 3
