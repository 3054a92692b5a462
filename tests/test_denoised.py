"""Facts about trials without most of their noise, and about training on them."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from test_components import as_trials, of_trials, with_ends, without_neurons

from jedi_sklearn import JEDIEstimator
from jedi_sklearn._components import components_of_trials
from jedi_sklearn._denoised import DenoisedTrials, denoised
from jedi_sklearn._missing import Imputer
from jedi_sklearn._observation import Gaussian, Poisson
from jedi_sklearn._training import _Run
from jedi_sklearn._trials import SessionTrials
from jedi_sklearn._trials import as_trials as as_tensors

# short fits leave a few trials of the inference, or the training, short of convergence
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 40  # neurons


def gaussian(n=N):
    return Gaussian(np.zeros(n), np.ones(n))


def everything(trials):
    return torch.arange(len(trials))


@pytest.mark.parametrize("k", [1, 3, 5])
def test_denoised_trials_are_nearer_to_the_truth(k):
    S, X = of_trials(k, 3)
    trials = as_trials(X)
    clean = denoised(trials, components_of_trials(trials))
    assert isinstance(clean, DenoisedTrials) and len(clean) == len(X)
    guide = clean[np.arange(len(X))].guide.numpy().swapaxes(0, 1)
    error, before = np.square(guide - S).mean(), np.square(X - S).mean()
    assert error < 0.3 * before  # about 2 k of 60 coordinates are left of the noise
    assert error < 0.9 * np.square(S).mean()  # and more than the mean


def test_neurons_missing_from_a_trial_are_predicted_where_it_is_denoised():
    S, X = of_trials(3, 2)
    trials = without_neurons(X, 30, 30)
    clean = DenoisedTrials(trials, 3)
    guide = clean[np.arange(len(X))].guide.numpy().swapaxes(0, 1)
    ridge = clean.noise * len(clean.mean) / np.square(clean.gain)
    shrunk = (len(X) / (len(X) + ridge)).mean()  # maps, by their own uncertainty
    size = [np.vdot(guide[i], S[i]) / np.vdot(S[i], S[i]) / shrunk for i in range(len(X))]
    assert 0.85 < np.mean(size[:30]) < 1.1 and 0.85 < np.mean(size[30:]) < 1.1


def test_what_few_long_trials_show_is_denoised_too():
    """The guide of the few trials that last to the end is not their own noise."""
    S, X = of_trials(3, 3)
    seen, late = np.ones(X.shape), np.s_[:4, X.shape[1] // 2 :]
    seen[4:, X.shape[1] // 2 :] = 0
    guide = DenoisedTrials(as_trials(X * seen, seen), 3)[np.arange(len(X))].guide
    guide = guide.numpy().swapaxes(0, 1)
    error, before = np.square(guide[late] - S[late]).mean(), np.square(X[late] - S[late]).mean()
    assert error < 0.5 * before  # 0.9 without ridge


def test_denoised_trials_can_be_copied():
    clean = copy.deepcopy(DenoisedTrials(as_trials(of_trials(2, 3)[1]), 2))
    assert len(clean) == 60 and not hasattr(clean, "guide")


def test_denoising_changes_the_guide_alone():
    trials = as_trials(of_trials(2, 3)[1])
    clean = denoised(trials, components_of_trials(trials))
    index = np.array([4, 0, 17])
    some, given = clean[index], trials[index]
    assert torch.equal(some.y, given.y) and some.weight is None
    assert not torch.allclose(some.guide, given.guide)
    assert clean.shape == trials.shape and clean.dtype == trials.dtype
    # whatever the company
    assert_allclose(some.guide[:, 1:2], clean[index[1:2]].guide, rtol=0, atol=1e-5)


def test_trials_without_noise_are_left_as_they_are():
    rng = np.random.RandomState(0)
    trials = as_trials(rng.standard_normal((60, 30, 60)) @ rng.standard_normal((60, 40)))
    curve = components_of_trials(as_trials(of_trials(50, n_trials=60)[0]))
    assert curve.still_rises
    assert denoised(trials, curve) is trials


def test_an_embedding_finds_as_many_components_as_it_has():
    trials = as_trials(of_trials(2, 3)[1])
    curve = components_of_trials(trials)
    assert curve.best == 2
    for asked, made in ((1, 2), (2, 2), (7, 7)):
        assert len(denoised(trials, curve, asked).axes) == made


def test_few_trials_are_left_as_they_are():
    trials = as_trials(of_trials(2, 3, n_trials=10)[1])
    assert denoised(trials, components_of_trials(trials)) is trials


# What training sees


def counts_of_trials(seed=0, n_trials=80, n_steps=20):
    """Expected counts (trials, time, neurons) of three components a trial, and counts."""
    S = of_trials(3, n_trials=n_trials, n_steps=n_steps, seed=seed)[0]
    rates = np.exp(0.25 * S - 0.5)
    return rates, np.random.RandomState(seed).poisson(rates).astype(float)


def tensors_of_counts(X):
    """Trials of counts as the fit has them, and their observation model."""
    observation = Poisson.learn(X, "global")
    imputer = Imputer.learn(X, observation.estimate)
    how = (observation, imputer, torch.float32, torch.device("cpu"))
    return as_tensors(X, np.zeros((*X.shape[:2], 0)), *how), observation


def error_of(values, truth):
    return np.square(values.numpy().swapaxes(0, 1) - truth).mean()


def test_values_to_fit_are_nearer_to_the_truth_than_the_trials():
    S, X = of_trials(3, 3)
    trials = as_trials(X)
    clean = DenoisedTrials(trials, 3, gaussian()).clean(trials, everything(trials))
    assert torch.equal(clean.y, clean.guide)
    assert error_of(clean.y, S) < 0.3 * error_of(trials.y, S)


def test_counts_to_fit_are_nearer_to_the_expected_ones_and_never_negative():
    rates, X = counts_of_trials()
    trials, observation = tensors_of_counts(X)
    clean = DenoisedTrials(trials, 3, observation).clean(trials, everything(trials))
    assert error_of(clean.y, rates) < 0.2 * error_of(trials.y, rates)
    assert (clean.y >= 0).all() and (clean.y == 0).any()
    assert_allclose(clean.y.mean((0, 1)), trials.y.mean((0, 1)), rtol=0.05)


def test_missing_counts_do_not_count_as_none():
    rates, X = counts_of_trials()
    X[:40, :, ::2] = np.nan
    trials, observation = tensors_of_counts(X)
    clean = DenoisedTrials(trials, 3, observation).clean(trials, everything(trials))
    y = clean.y.numpy().swapaxes(0, 1)
    assert (y[:40, :, ::2] == 0).all()  # as the likelihood of counts needs
    assert_allclose(y[40:, :, ::2].mean((0, 1)), np.nanmean(X[40:, :, ::2], (0, 1)), rtol=0.15)


@pytest.mark.parametrize("kind", ["states", "counts"])
def test_the_deviance_of_a_good_run_hardly_changes(kind):
    """So curves of the loss go on where training turns to the trials as they are."""
    if kind == "states":
        run, X = of_trials(3, 2)
        trials, observation = with_ends(X, 20), gaussian()
    else:
        rates, X = counts_of_trials()
        trials, observation = tensors_of_counts(X)
        run = (np.log(rates) - observation.mean.numpy()) / observation.scale.numpy()
    x = torch.as_tensor(run.swapaxes(0, 1).copy(), dtype=torch.float32)
    clean = DenoisedTrials(trials, 3, observation).clean(trials, everything(trials))

    def deviance(some):
        constant = 0.0 if some.constant is None else float(some.constant.sum())
        return float(observation.deviance(x, some.y, some.weight)) + constant

    assert deviance(clean) == pytest.approx(deviance(trials), rel=0.08)


def test_some_of_the_trials_are_cleaned_alike():
    trials = with_ends(of_trials(3, 3)[1], 20)
    clean, index = DenoisedTrials(trials, 3, gaussian()), torch.tensor([7, 0, 31])
    clean.release()
    every, some = clean.clean(trials, everything(trials)), clean.clean(trials[index], index)
    assert_allclose(some.y, every.y[:, index], rtol=0, atol=1e-6)
    assert_allclose(some.constant, every.constant[index])
    assert torch.equal(some.weight, trials.weight[:, index])


@pytest.mark.parametrize("index", [range(60), (4, 7, 30, 1)])
def test_sessions_are_cleaned_in_their_own_neurons(index):
    trials = without_neurons(of_trials(3, 2)[1], 60, 20)
    clean, index = DenoisedTrials(trials, 3, gaussian()), torch.tensor(index)
    every, parts = everything(trials), []
    for where, first in ((every[::2], 0), (every[1::2], 10)):
        own = trials[where].from_neuron(first)
        own.neurons = torch.arange(first, N)
        parts.append((where, own))
    found = clean.clean(SessionTrials(parts, 0)[index], index)
    whole = clean.clean(trials[index], index)
    for (where, own), first in zip(found.parts, (0, 10), strict=True):
        assert_allclose(own.guide, whole.guide[:, where, first:], rtol=0, atol=1e-6)


def test_components_are_shrunk_by_noise_and_by_what_maps_take_of_it():
    """Along a known axis: the share of signal in a score, times that in a map."""
    _, X = of_trials(1, 2)
    trials = as_trials(X)
    clean = DenoisedTrials(trials, 1, gaussian())
    signal, noise, columns = clean.gain[0] ** 2, clean.noise, X[0].size * 24 // 30
    expected = signal / (signal + noise) * len(X) / (len(X) + noise * columns / signal)
    guide = clean.clean(trials, everything(trials)).guide.numpy().swapaxes(0, 1)
    guide, centred = guide - guide.mean(0), X - X.mean(0)
    left, _, _ = np.linalg.svd(centred.reshape(len(X), -1), full_matrices=False)
    found = np.vdot(guide, centred) / np.square(left[:, 0] @ centred.reshape(len(X), -1)).sum()
    assert found == pytest.approx(expected, rel=0.05)


def noisy_fit(X, monkeypatch=None, inputs=None, **changes):
    """Fit, and the training trials of each step."""
    seen = []
    if monkeypatch is not None:
        loss = _Run.loss

        def watched(run, batch, teacher_forcing):
            seen.append((teacher_forcing, batch[1]))
            return loss(run, batch, teacher_forcing)

        monkeypatch.setattr(_Run, "loss", watched)
    est = JEDIEstimator(**{"max_iter": 10, "random_state": 0} | changes)
    return est.fit(X, inputs=inputs), seen


def test_training_sees_the_trials_themselves_once_runs_are_free(monkeypatch):
    X = of_trials(2, 2)[1]
    est, seen = noisy_fit(X, monkeypatch)
    states = torch.as_tensor(est._model.observation.states(X).swapaxes(0, 1), dtype=torch.float32)
    same = [torch.equal(trials.y, states) for _, trials in seen]
    assert same == [teacher_forcing == 0 for teacher_forcing, _ in seen] and sum(same) == 5
    assert np.abs(np.diff(est.loss_curve_)).max() < 0.3  # the loss is measured alike in both


def test_with_known_inputs_or_without_teacher_forcing_it_sees_the_trials_alone(monkeypatch):
    X = of_trials(2, 2)[1]
    inputs = np.random.RandomState(1).standard_normal((len(X), X.shape[1], 1))
    for how in ({"inputs": inputs}, {"teacher_forcing": 0.0}):
        _, seen = noisy_fit(X, monkeypatch, **how)
        assert len({id(trials) for _, trials in seen}) == 1


def test_mini_batches_are_cleaned_alike():
    """A batch of all trials, and batches of nearly all: the same fit but for the order."""
    X = of_trials(2, 2)[1]
    whole, _ = noisy_fit(X, max_iter=40)
    parts, _ = noisy_fit(X, max_iter=40, batch_size=50)
    assert parts.score(X) == pytest.approx(whole.score(X), abs=0.02)
