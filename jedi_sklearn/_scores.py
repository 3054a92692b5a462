"""Score predictions of observed activity: R2, and bits per spike of counts."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import xlogy

from ._validation import as_plain_array, check_option, check_trials, describe_index

__all__ = ["OVER", "as_mask", "bits_of", "bits_per_spike", "parts", "r2_by", "r2_of"]

OVER = ("all", "neuron", "trial")
PART = 2**23  # values copied at a time: 64 MB of float64
NO_VARIATION = 1e-24  # sum of squares about the mean relative to that about 0: rounding
NO_RATE = 1e-9  # expected count that replaces 0, as in the Neural Latents Benchmark


def r2_by(X, prediction, over="all", counted=None):
    """Compute R2 of predicted activity, overall or for each neuron or trial.

    Parameters
    ----------
    X, prediction : array-like of shape (n_trials, n_timesteps, n_neurons)
        Observed activity (NaN where missing) and predicted activity.
    over : {"all", "neuron", "trial"}, default="all"
        Whether to return one number (scikit-learn's variance-weighted R2), or one per neuron or
        trial.
    counted : array-like of bool of the shape of `X`, optional
        Which values count. Default: all observed ones.

    Returns
    -------
    float, or ndarray of shape (n_neurons,) or (n_trials,)
        ``1 - SSE / SST``, where SST is relative to each neuron's mean over the values that count.
        NaN for a neuron or trial without such values, or without variation.

    Raises
    ------
    ValueError, TypeError
        If shapes do not match, or no observed value counts.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn.metrics import r2_by
    >>> X = np.random.default_rng(0).normal(size=(4, 20, 3))
    >>> r2_by(X, X, over="neuron")
    array([1., 1., 1.])
    """
    X = check_trials(X, missing=True, min_timesteps=1, stored=True)
    prediction = check_trials(prediction, name="prediction", min_timesteps=1, stored=True)
    _refuse_other_shape(prediction, "prediction", X, "X")
    check_option(over, "over", OVER)
    counted = None if counted is None else as_mask(counted, X, "counted")
    return r2_of(X, lambda i: prediction[i], counted, over)


def r2_of(X, predict, counted=None, over="all"):
    """Compute `r2_by` of predictions that ``predict(slice)`` makes for some trials."""
    mean = _means(X, counted)
    terms = _sums(X, lambda i, x: (x - predict(i), x - mean, x), counted, over, squared=True)
    error, variation, size = terms  # one per trial or neuron
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(variation > NO_VARIATION * size, 1 - error / variation, np.nan)
    return float(r2) if over == "all" else r2


def bits_per_spike(counts, rates, over="all", counted=None):
    """Compute the information of expected counts about spikes, beyond each neuron's mean.

    This is the log-likelihood of Poisson counts minus that under each neuron's mean count, in
    bits, divided by the number of spikes. It follows the conventions of the Neural Latents
    Benchmark (co-bps, fp-bps): the means are those of the scored values themselves, and an
    expected count of 0 is replaced by 1e-9.

    Parameters
    ----------
    counts : array-like of shape (n_trials, n_timesteps, n_neurons)
        Spikes in each bin, NaN where missing.
    rates : array-like of shape (n_trials, n_timesteps, n_neurons)
        Expected counts in each bin, as from ``JEDIEstimator.predict``; not spikes/s.
    over : {"all", "neuron", "trial"}, default="all"
        Whether to return one number, or one per neuron or trial, relative to the same means.
    counted : array-like of bool of the shape of `counts`, optional
        Which values count. Default: all observed ones.

    Returns
    -------
    float, or ndarray of shape (n_neurons,) or (n_trials,)
        Bits per spike: 0 for mean counts, negative if `rates` are worse than these. NaN for a
        neuron or trial without spikes.

    Raises
    ------
    ValueError
        If counts are negative or not whole numbers, if expected counts are negative or NaN, or if
        no value that counts holds a spike.

    References
    ----------
    Pei et al. (2021), "Neural Latents Benchmark '21", NeurIPS Datasets and Benchmarks,
    arXiv:2109.04463.

    Examples
    --------
    >>> import numpy as np
    >>> from jedi_sklearn.metrics import bits_per_spike
    >>> rng = np.random.default_rng(0)
    >>> rates = np.exp(rng.normal(size=(20, 50, 3)))
    >>> counts = rng.poisson(rates)
    >>> mean = np.broadcast_to(counts.mean(axis=(0, 1)), counts.shape)
    >>> bits_per_spike(counts, mean)
    0.0
    >>> bits_per_spike(counts, rates, over="neuron").round(1)
    array([0.8, 0.6, 0.7])
    """
    counts = check_trials(counts, name="counts", missing=True, min_timesteps=1, stored=True)
    advice = "A model predicts a number in each bin; only counts may be NaN, where not observed."
    how = {"name": "rates", "min_timesteps": 1, "stored": True, "advice": advice}
    rates = check_trials(rates, **how)
    _refuse_other_shape(rates, "rates", counts, "counts")
    check_option(over, "over", OVER)
    counted = None if counted is None else as_mask(counted, counts, "counted")
    _refuse_any(
        counts,
        lambda y: (y < 0) | (y != np.round(y)) & ~np.isnan(y),
        "counts must be whole numbers from 0, NaN where missing",
        "Pass spikes per bin, neither smoothed nor divided by the bin width.",
    )
    _refuse_any(
        rates,
        lambda y: y < 0,
        "rates must be expected counts per bin, from 0",
        "Are these their logarithms, or activity minus its mean?",
    )
    return bits_of(counts, lambda i: rates[i], counted, over)


def bits_of(counts, predict, counted=None, over="all"):
    """Compute `bits_per_spike` of expected counts that ``predict(slice)`` makes for trials."""
    mean = _no_zeros(_means(counts, counted))

    def terms(i, y):
        rate = _no_zeros(np.asarray(predict(i), dtype=np.float64))
        return xlogy(y, rate) - xlogy(y, mean) - rate + mean, y

    gain, spikes = _sums(counts, terms, counted, over)
    if not np.any(spikes):
        raise ValueError("No value that counts holds a spike, so bits per spike are undefined.")
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = np.where(spikes > 0, gain / spikes / math.log(2), np.nan)
    return float(bits) if over == "all" else bits


def _no_zeros(rate):
    return np.where(rate == 0, NO_RATE, rate)


def _means(X, counted):
    """Compute the mean of each neuron over the values that count, 0 if there are none."""
    n, total = _sums(X, lambda i, x: (np.ones_like(x), x), counted, "neuron")
    if not n.any():
        raise ValueError("No observed value counts: there is nothing to score.")
    return total / np.maximum(n, 1)


def _sums(X, terms, counted, over, squared=False):
    """Sum ``terms(slice, x)`` of trials x over the values that count, by neuron or trial."""
    counted = np.broadcast_to(True if counted is None else counted, X.shape)
    sums = []
    for i in parts(X):
        x = np.asarray(X[i], dtype=np.float64)
        counts = ~np.isnan(x) & counted[i]
        seen = (np.where(counts, a, 0.0) for a in terms(i, x))
        each = np.stack([(np.square(a) if squared else a).sum(axis=1) for a in seen])
        sums.append(each.sum(axis=2) if over == "trial" else each.sum(axis=1))
    if over == "trial":
        return np.concatenate(sums, axis=1)
    by_neuron = np.sum(sums, axis=0)
    return by_neuron if over == "neuron" else by_neuron.sum(axis=1)


def parts(X):
    """Divide the trials into slices small enough to copy."""
    each = max(1, PART // (X.shape[1] * X.shape[2]))
    return [slice(first, first + each) for first in range(0, len(X), each)]


def as_mask(mask, X, name):
    """Check a boolean mask and broadcast it to the shape of X."""
    mask = as_plain_array(mask, name)
    if mask.dtype != bool:
        raise TypeError(f"{name} must be boolean, got dtype {mask.dtype}.")
    try:
        return np.broadcast_to(mask, X.shape)
    except ValueError:
        raise ValueError(
            f"{name} must have a shape that broadcasts to that of X, {X.shape}, got {mask.shape}."
        ) from None


def _refuse_other_shape(prediction, name, X, of):
    if prediction.shape != X.shape:
        got = prediction.shape
        raise ValueError(f"{name} must have the shape of {of}, {X.shape}, got {got}.")


def _refuse_any(X, is_bad, expected, advice):
    """Raise an error if ``is_bad(x)`` holds for any value of trials X."""
    for i in parts(X):
        x = X[i]
        with np.errstate(invalid="ignore"):  # NaN
            bad = is_bad(x)
        if bad.any():
            k, t, n = np.argwhere(bad)[0]
            where = describe_index((i.start + k, t, n))
            raise ValueError(f"{expected}, got {x[k, t, n]:g}, first at {where}. {advice}")
