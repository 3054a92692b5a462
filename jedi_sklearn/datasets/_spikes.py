"""Draw spike counts from simulated recordings."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from sklearn.utils import Bunch

from .._validation import as_numbers, check_number, check_seed, check_trials


def make_spike_counts(data, *, rate=(5.0, 10.0), modulation=1.0, bin_steps=1, random_state=0):
    """Draw spike counts from a simulated recording, whose activity drives the firing rates.

    The rate of a neuron is proportional to exp(modulation * its activity in SDs), scaled to give
    the requested mean rate. Counts are independent Poisson draws.

    Parameters
    ----------
    data : Bunch
        Output of a ``make_...`` function of this module. Simulate it with
        ``observation_noise=0``, because all of its activity becomes rate.
    rate : float or tuple of two floats, default=(5.0, 10.0)
        Mean rate of all neurons, spikes/s; with a tuple, each neuron draws its own uniformly
        between the two.
    modulation : float, default=1.0
        SD of the log rates over time and trials.
    bin_steps : int, default=1
        Number of simulation steps per bin. Steps beyond the last whole bin are left out.
    random_state : int or RandomState, default=0
        Seed of the mean rates and spikes.

    Returns
    -------
    Bunch
        As `data`, but with

        - ``X`` (n_trials, n_bins, n_neurons): spikes per bin,
        - ``rates`` (n_trials, n_bins, n_neurons): expected spikes per bin,
        - ``time`` (n_bins,): start of each bin, s,
        - ``bin_width``: bin width, s, the `dt` of a fit,
        - ``inputs``, if there are any: their means over each bin,

        and without ``free_run``, the noise-free activity.

    Raises
    ------
    ValueError, TypeError
        If a rate is not positive, the modulation is negative, or a bin is longer than a trial.

    Examples
    --------
    >>> from jedi_sklearn.datasets import make_multitask, make_spike_counts
    >>> data = make_multitask(8, n_neurons=30, observation_noise=0, random_state=1)
    >>> counts = make_spike_counts(data, rate=8.0, bin_steps=2)
    >>> counts.X.shape, counts.bin_width
    ((8, 75, 30), 0.02)
    >>> float(round(counts.rates.mean() / counts.bin_width, 6))
    8.0
    """
    X = check_trials(data.X, name="data.X").astype(float)
    check_number(modulation, "modulation", low=0)
    check_number(bin_steps, "bin_steps", Integral, low=1, high=X.shape[1])
    low, high = np.broadcast_to(as_numbers(rate, "rate"), (2,))
    if not 0 < low <= high < np.inf:
        raise ValueError(f"rate must be positive, or (lowest, highest) in spikes/s, got {rate!r}.")
    rng = check_seed(random_state)
    mean_rate = rng.uniform(low, high, X.shape[2])
    sd = X.std(axis=(0, 1))
    log_rates = modulation * (X - X.mean(axis=(0, 1))) / np.where(sd > 0, sd, 1.0)
    rates = np.exp(log_rates)
    n_bins = X.shape[1] // bin_steps

    def binned(values):
        values = values[:, : n_bins * bin_steps]
        return values.reshape(len(values), n_bins, bin_steps, -1).mean(axis=2)

    step = float(data.teacher.dt)
    width = bin_steps * step
    rates = binned(rates / rates.mean(axis=(0, 1)) * mean_rate) * width
    kept = {name: value for name, value in data.items() if name not in ("X", "free_run")}
    if kept.get("inputs") is not None:
        kept["inputs"] = binned(kept["inputs"])
    time = data.time[: n_bins * bin_steps : bin_steps]
    counts = rng.poisson(rates)
    return Bunch(**kept | {"X": counts, "rates": rates, "time": time, "bin_width": width})
