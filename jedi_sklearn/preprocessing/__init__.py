"""Prepare recordings for a fit: bin, smooth, scale, resample, cut, pad and stack sessions."""

from ._recording import Recording
from ._scalers import SoftNormalizer, TrialScaler
from ._sessions import StackedSessions, place_neurons, stack_sessions
from ._spikes import bin_spikes
from ._time import cut_epochs, pad_trials, resample_time, smooth_counts
from ._units import HiddenUnits

__all__ = [
    "HiddenUnits",
    "Recording",
    "SoftNormalizer",
    "StackedSessions",
    "TrialScaler",
    "bin_spikes",
    "cut_epochs",
    "pad_trials",
    "place_neurons",
    "resample_time",
    "smooth_counts",
    "stack_sessions",
]
