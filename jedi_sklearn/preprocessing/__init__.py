"""What a recording needs before it is fitted: rates, scales, a time grid, epochs, sessions."""

from ._scalers import SoftNormalizer, TrialScaler
from ._sessions import StackedSessions, place_neurons, stack_sessions
from ._time import cut_epochs, pad_trials, resample_time, smooth_counts
from ._units import HiddenUnits

__all__ = [
    "HiddenUnits",
    "SoftNormalizer",
    "StackedSessions",
    "TrialScaler",
    "cut_epochs",
    "pad_trials",
    "place_neurons",
    "resample_time",
    "smooth_counts",
    "stack_sessions",
]
