"""Simulated recordings with known answers, and loaders of real recordings."""

from ._analytic import make_bistable_decision, make_ring_attractor
from ._fetch import fetch_center_out, fetch_mc_maze
from ._flip_flop import make_flip_flop
from ._initial_states import make_initial_states
from ._memory_pro import make_memory_pro
from ._multitask import make_multifrequency, make_multitask
from ._nwb import load_nwb
from ._spikes import make_spike_counts

__all__ = [
    "fetch_center_out",
    "fetch_mc_maze",
    "load_nwb",
    "make_bistable_decision",
    "make_flip_flop",
    "make_initial_states",
    "make_memory_pro",
    "make_multifrequency",
    "make_multitask",
    "make_ring_attractor",
    "make_spike_counts",
]
