"""Facts about data that would fit and mean nothing: they are named, and ordinary data are not."""

import re
import warnings

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning

from jedi_sklearn import datasets
from jedi_sklearn._counts import check_counts, looks_like_counts, warn_of_disguised
from jedi_sklearn._parameters import choose_input_scale
from jedi_sklearn._plausible import (
    constant_neurons,
    warn_of_axes,
    warn_of_constant,
    warn_of_dominant,
    warn_of_zeros,
)
from jedi_sklearn.preprocessing import HiddenUnits, SoftNormalizer, TrialScaler, smooth_counts

# fits of a few steps leave trials of the inference, or the training, short of convergence
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def X():
    return datasets.make_multitask(
        n_trials=24, n_neurons=8, n_timesteps=20, dt=0.02, random_state=0
    ).X


@pytest.fixture(scope="module")
def spikes():
    data = datasets.make_multitask(32, n_neurons=20, n_timesteps=50, dt=0.02, random_state=0)
    return datasets.make_spike_counts(data, rate=20.0, random_state=0).X


def said(function, *args):
    """Texts of the warnings of a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*args)
    return [str(warning.message) for warning in caught if warning.category is UserWarning]


def everything(X):
    """All that a fit looks at before it begins."""
    X = np.asarray(X, dtype=float)
    mean, variance = X.mean(axis=(0, 1)), X.var(axis=(0, 1))
    sd = np.sqrt(variance)
    warn_of_axes(X)
    warn_of_zeros(X)
    warn_of_constant(constant_neurons(mean, sd, X.dtype), sd)
    warn_of_dominant(variance, "")
    if looks_like_counts(X):
        check_counts(X)
    else:
        warn_of_disguised(X)


MAKERS = (
    "make_multitask",
    "make_multifrequency",
    "make_initial_states",
    "make_flip_flop",
    "make_memory_pro",
    "make_ring_attractor",
    "make_bistable_decision",
)


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.slow
def test_nothing_is_said_of_simulations_nor_of_their_components(maker):
    X = getattr(datasets, maker)(random_state=0).X
    scores = PCA(10, random_state=0).fit_transform(X.reshape(-1, X.shape[2]))
    for data in (X, X[:3], scores.reshape(*X.shape[:2], 10)):
        assert not said(everything, data)


def test_nothing_is_said_of_counts_and_rates(spikes):
    for data in (spikes, spikes[:, :, :3], spikes[np.argsort(spikes.sum(axis=(1, 2)))]):
        assert not said(everything, data)
        for sigma in (0.02, 0.05):
            assert not said(everything, smooth_counts(data, bin_width=0.02, sigma=sigma))


@pytest.mark.parametrize("n_neurons", [2, 5, 20])
@pytest.mark.parametrize("name", ["visual_mouse_steinmetz2019_s1.npz"])
def test_nothing_is_said_of_silence_in_a_sparse_recording(recording, name, n_neurons):
    counts = recording(name)["spike_counts"]
    for seed in range(5):
        some = np.random.RandomState(seed).permutation(counts.shape[2])[:n_neurons]
        trials = counts[:, :, some].astype(float)
        assert not said(warn_of_zeros, trials)
        assert not said(warn_of_zeros, smooth_counts(trials, bin_width=0.01, sigma=0.02))


# Neurons that do not change


@pytest.mark.parametrize("size", [0.0, 1e-16, 1e-13])
@pytest.mark.parametrize("scale", ["global", "neuron", None])
@pytest.mark.slow
def test_a_dead_channel_is_named_and_has_no_weight(small, X, size, scale):
    dead = X.copy()
    dead[:, :, 3] = size * np.random.RandomState(0).standard_normal(X.shape[:2])
    with pytest.warns(UserWarning, match=r"1 of 8 neurons do not change in X \(neuron 3"):
        est = small(n_components=2, rank=3, max_iter=2, scale=scale).fit(dead)
    assert np.abs(est.to_states(dead)[:, :, 3]).max() < 1e-10


def test_what_filters_leave_of_a_constant_is_not_blown_up(X):
    dead = X.copy()
    dead[:, :, 3] = 1e-13 * np.random.RandomState(0).standard_normal(X.shape[:2])
    for scaler in (TrialScaler(), SoftNormalizer(soft_constant=0)):
        with pytest.warns(
            UserWarning, match=r"neuron 3, except by rounding: SD up to .*divided by 1"
        ):
            scaler.fit(dead)
        assert np.abs(scaler.transform(dead)[:, :, 3]).max() < 1e-10
        assert not said(scaler.fit, 1e-6 * X)  # all in small units is another matter
        np.testing.assert_allclose(
            scaler.transform(1e-6 * X), type(scaler)(**scaler.get_params()).fit_transform(X)
        )
    offset = (100 + dead[:, :, [3]] * 1e7).astype(np.float32)  # rounding of float32
    assert constant_neurons(
        np.array([100.0]), offset.std(axis=(0, 1), dtype=float), np.float32
    ).all()
    u = np.stack([np.ones((3, 5)), 1e-14 * np.ones((3, 5))], axis=2)
    np.testing.assert_array_equal(choose_input_scale(u), [1.0, 1.0])


def test_only_rounding_has_no_components():
    with pytest.raises(ValueError, match="X is constant"):
        HiddenUnits().fit(5 + 1e-14 * np.random.RandomState(0).standard_normal((20, 6, 4)))


# Other units


@pytest.mark.slow
def test_a_neuron_in_other_units_is_named_with_its_share(small, X):
    mixed = X.copy()
    mixed[:, :, 5] *= 1000
    words = r"Neuron 5 has 99\.999\d % of the variance .*other units.*{}"
    for scale in ("global", None):
        with pytest.warns(UserWarning, match=words.format('scale="neuron" gives')):
            small(n_components=2, rank=3, max_iter=2, scale=scale).fit(mixed)
    small(n_components=2, rank=3, max_iter=2, scale="neuron").fit(mixed)
    with pytest.warns(UserWarning, match=words.format("Use TrialScaler first")):
        HiddenUnits(2, 5).fit(mixed)
    mixed[:, :, 5] /= 100  # ten times as large as others is nothing strange
    assert not said(everything, mixed)


@pytest.mark.slow
def test_trials_of_another_size_are_noticed_in_both_directions(small, X):
    for offset in (0, 20):
        data = offset + 8 * X
        est = small(n_components=2, rank=3, max_iter=2).fit(data)
        for factor in (0.02, 50):
            with pytest.warns(UserWarning, match=rf"X is {factor} times as large .* same units"):
                small_or_large = est.transform(factor * data)
            assert small_or_large.shape == (24, 2)
        for some in (data, data[:1], data[:3, :10], 0.3 * data, 3 * data):
            assert not said(est.transform, some)
        assert not said(est.transform, 0.02 * X[:, :5] if not offset else data[:, :5])  # too short


@pytest.mark.slow
def test_counts_of_another_size_are_noticed(small, spikes):
    est = small(n_components=2, rank=3, max_iter=2).fit(spikes)
    with pytest.warns(UserWarning, match=r"X is \d+ times as large .* same units"):
        est.transform(20 * (spikes > 0) + spikes)
    few = spikes * (np.random.RandomState(0).random_sample(spikes.shape) < 0.03)
    with pytest.warns(UserWarning, match=r"X is 0\.0\d+ times as large"):
        est.transform(few)
    assert est._model.observation.relative_size(few[:1, :5]) == 1  # too few spikes for a word


@pytest.mark.parametrize(
    ("value", "words"), [(-1, "1 is not .*-1, at"), (101, "1 is not .*101, at")]
)
@pytest.mark.parametrize("dtype", [int, float])
def test_a_few_numbers_that_are_no_counts_are_named(spikes, value, words, dtype):
    X = spikes.astype(dtype)
    X[-1, 2, 3] = value  # the whole of X is looked at
    (text,) = said(warn_of_disguised, X)
    assert re.search(words + f" trial {len(X) - 1}, time step 2, neuron 3", text)
    X[::2, 2] = value  # too many for outliers
    assert "trial" not in "".join(said(warn_of_disguised, X))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_counts_in_other_units_are_noticed(spikes, dtype):
    z = ((spikes - spikes.mean(axis=(0, 1))) / spikes.std(axis=(0, 1))).astype(dtype)
    per_second = (spikes / 0.03).astype(dtype)
    for data in (z, per_second):
        (text,) = said(warn_of_disguised, data)
        assert "counts that were divided or z-scored" in text
    (text,) = said(warn_of_disguised, np.sqrt(spikes).astype(dtype))
    assert "square roots of whole numbers. Fit np.square(X)" in text
    (text,) = said(check_counts, np.minimum(spikes, 2) * dtype(50))
    assert "multiples of 50, as if whole spikes per bin" in text and "X / 50" in text


def test_a_constant_for_spikes_per_second_is_noticed_elsewhere(X):
    with pytest.warns(UserWarning, match=r"soft_constant=5 is larger than the range of every"):
        SoftNormalizer().fit(1e-5 * X)
    SoftNormalizer(1e-5).fit(1e-5 * X)


# Zeros and axes


def test_zeros_at_an_end_of_trials_are_padding(small, X):
    padded = X.copy()
    padded[::2, 12:] = 0
    words = r"12 of 24 trials of X end in samples .*\(trial 0: 8 of 20\).*X\[0, 12:\] = np\.nan"
    with pytest.warns(UserWarning, match=words):
        small(n_components=2, rank=3, max_iter=2).fit(padded)
    (text,) = said(TrialScaler().fit, padded[:, ::-1])
    assert "trials of X begin in" in text and "X[0, :8] = np.nan" in text
    one = X.copy()
    one[3, 10:] = 0
    assert "1 of 24 trials" in said(warn_of_zeros, one)[0]
    alike = X.copy()
    alike[:, 15:] = 0  # all trials end so: nothing tells them apart
    assert not said(warn_of_zeros, alike)


def test_zeros_after_counts_are_padding_unless_silence_is_common(spikes):
    padded = spikes.copy()
    padded[::2, 30:] = 0
    (text,) = said(lambda: smooth_counts(padded, bin_width=0.02, sigma=0.05))
    assert "16 of 32 trials of counts end in" in text
    assert not said(warn_of_zeros, padded[:, :, :1])  # of one neuron silence is no wonder
    rng = np.random.default_rng(0)
    for rate in (0.3, 0.05, 0.01):
        assert not said(warn_of_zeros, rng.poisson(rate, size=(100, 40, 4)).astype(float))
    evoked = np.where(np.arange(60) < 15, 0.6, 0.01)[:, np.newaxis] * np.ones(5)
    assert not said(warn_of_zeros, rng.poisson(evoked, size=(200, 60, 5)).astype(float))


@pytest.mark.parametrize(("turn", "axis"), [((0, 2, 1), 2), ((1, 0, 2), 0)])
@pytest.mark.slow
def test_axes_in_the_wrong_order_are_named(small, X, turn, axis):
    wrong = X.transpose(turn)
    advice = f"transpose({', '.join(map(str, np.argsort(turn)))})"
    with pytest.warns(UserWarning) as caught:
        small(n_components=2, rank=3, max_iter=20).fit(wrong)
    (text,) = (str(w.message) for w in caught if w.category is UserWarning)
    assert f"changes smoothly along axis {axis}" in text and advice in text
    gappy = wrong.copy()
    gappy[3, 2:5] = np.nan
    assert said(warn_of_axes, gappy)
    assert not said(warn_of_axes, np.random.RandomState(0).standard_normal(X.shape))


def test_ends_of_trials_tell_which_axis_is_time(X):
    alike = X.transpose(1, 0, 2).copy()  # neighbouring trials are alike, as if sorted
    assert said(warn_of_axes, alike)
    alike[:, -3:] = np.nan
    assert said(warn_of_axes, alike)  # all end together
    alike[::2, -6:] = np.nan
    assert not said(warn_of_axes, alike)


# What a fit that failed says


def failure(est, X):
    """What a fit says that fails: an error if its embeddings no longer tell trials apart."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            est.fit(X)
        except ValueError as error:
            return str(error)
    return str(next(w.message for w in caught if w.category is ConvergenceWarning))


@pytest.mark.slow
@pytest.mark.parametrize("rate", [10, 30, 100])
def test_a_fit_that_diverged_is_told_of_the_learning_rate(small, X, spikes, rate):
    est = small(n_components=2, rank=3, max_iter=10, learning_rate_init=rate)
    for trials, share in ((X, "R2"), (spikes, "D2")):
        text = failure(est, trials)
        assert text.startswith("Training diverged: ") and f"({share} -" in text
        assert f"learning_rate_init (now {rate})" in text


def test_embeddings_that_tell_nothing_apart_are_told_to_come_from_training(small, X, monkeypatch):
    """Which rate ends so depends on rounding, so the inference is made to fail."""

    def useless(*_):
        raise ValueError("Only 1 of the 2 dimensions of the embedding vary.")

    monkeypatch.setattr("jedi_sklearn._fit.infer", useless)
    est = small(n_components=2, rank=3, max_iter=10, learning_rate_init=100)
    with pytest.raises(ValueError, match=r"^Training diverged: .*\(now 100\).*\(Only 1 of the 2"):
        est.fit(X)


def test_a_fit_whose_inference_does_better_is_told_so(small, X):
    est = small(n_components=2, rank=3, max_iter=3, scale=None)
    dead = X.copy()
    dead[:, :, 3] = 0
    with pytest.warns(UserWarning) as caught:
        est.fit(dead)
    (text,) = (str(w.message) for w in caught if w.category is ConvergenceWarning)
    assert "no better than the mean" in text and "axes" not in text
    assert f"inferred after training do better (R2 {est.score(dead):.2f})" in text


def test_values_whose_squares_overflow_are_no_roots_of_counts():
    warn_of_disguised(np.full((2, 3, 4), 1e156))
