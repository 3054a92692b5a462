"""Facts about training: its schedule, how it ends, and what it leaves behind."""

import pickle
import sys

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.utils import Bunch

from jedi_sklearn._hypernetwork import Hypernetwork
from jedi_sklearn._initial_state import Observed
from jedi_sklearn._model import Model
from jedi_sklearn._observation import Gaussian, residual_autocorrelation_time
from jedi_sklearn._rollout import simulate
from jedi_sklearn._schedule import Progress, Schedule, Trained, judge
from jedi_sklearn._training import _Prior, train
from jedi_sklearn._trials import Trials


def model_of(hyper, alpha):
    """A model to train whose states are the data."""
    n = len(hyper.B)
    observation = Gaussian(torch.zeros(n), torch.ones(n))
    return Model(hyper, Observed(n), observation, None, np.ones(0), alpha, 1.0, 1)


@pytest.fixture
def problem(known):
    """Arguments of `train` for a short fit in float32."""
    g = torch.Generator().manual_seed(0)
    hyper = Hypernetwork(2, known.X.shape[2], 2, generator=g)
    data = torch.as_tensor(known.X[:12], dtype=torch.float32).transpose(0, 1).contiguous()
    c = torch.randn(12, 2, generator=g)
    variance = float((data - data.mean((0, 1))).square().mean())
    model = model_of(hyper, known.alpha)
    return Bunch(model=model, c=c, q=data[0, :, :0], trials=Trials(data), variance=variance)


def fit(problem, *schedule, **rest):
    """`train` with this schedule."""
    return train(**(dict(problem) | {"schedule": schedule[0]} | rest))


def schedule(max_iter=20, **changes):
    return Schedule(
        **(
            {"max_iter": max_iter, "learning_rate": 0.01, "teacher_forcing": 0.2, "anneal": 0.5}
            | changes
        )
    )


# Schedule


def test_forcing_may_stay_and_validation_waits_for_the_end_of_its_fall(problem):
    s = schedule(100, teacher_forcing=0.4, final_teacher_forcing=0.1, patience=99)
    assert s.teacher_forcing_at(0) == 0.4 and s.teacher_forcing_at(25) == pytest.approx(0.25)
    assert {s.teacher_forcing_at(i) for i in range(50, 100)} == {0.1}
    result = fit(problem, s, validate=lambda *_: 0.0)
    assert [step for step, _ in result.validation_curve] == [60, 70, 80, 90, 100]


def test_forcing_falls_in_a_line_and_ends_at_the_anneal():
    s = schedule(100, teacher_forcing=0.4)
    values = [s.teacher_forcing_at(i) for i in range(100)]
    assert values[0] == 0.4
    np.testing.assert_allclose(np.diff(values[:51]), -0.4 / 50)
    assert values[50:] == [0.0] * 50
    assert schedule(teacher_forcing=0.0).teacher_forcing_at(0) == 0.0


def test_learning_rate_falls_as_half_a_cosine():
    s = schedule(100, learning_rate=0.3)
    values = np.array([s.learning_rate_at(i) for i in range(101)])
    assert values[0] == 0.3
    assert values[50] == pytest.approx(0.15)
    assert values[100] == pytest.approx(0, abs=1e-15)
    assert (np.diff(values) < 0).all()


# The loop


def test_training_lowers_the_loss_and_records_each_step(problem):
    # without priors, because the data are noise
    s = schedule(60, teacher_forcing=0.0, learning_rate=0.05, regularised=False)
    result = fit(problem, s)
    assert len(result.loss_curve) == 60
    assert result.loss_curve[-1] < 0.7 * result.loss_curve[0]
    assert not result.c.requires_grad


def test_the_recorded_loss_is_one_minus_r2(problem):
    model, data = problem.model, problem.trials.y
    weights = model.hypernetwork(problem.c)
    run = simulate(model.connectivity, weights, data[0], len(data), model.alpha).detach()
    total = (data - data.mean((0, 1))).square().sum()
    expected = float((run - data).square().sum() / total)
    result = fit(problem, schedule(1, teacher_forcing=0.0))
    assert result.loss_curve[0] == pytest.approx(expected, rel=1e-4)


def test_training_does_not_write_to_the_embeddings_it_was_given(problem):
    before = problem.c.clone()
    fit(problem, schedule(3))
    assert torch.equal(problem.c, before)


def test_trials_of_a_row_share_its_embedding(problem):
    embedding_index = torch.arange(12) // 4
    result = fit(problem, schedule(5), c=problem.c[:3], embedding_index=embedding_index)
    assert result.c.shape == (3, 2)


def test_mini_batches_visit_every_trial_once_per_epoch(problem, monkeypatch):
    seen = []
    original = Model.loss

    def spy(model, c, q, trials, *rest):
        seen.append(trials.y[0].clone())
        return original(model, c, q, trials, *rest)

    monkeypatch.setattr(Model, "loss", spy)
    generator = torch.Generator().manual_seed(3)
    fit(problem, schedule(6, batch_size=4), generator=generator)
    data = problem.trials.y
    for epoch in (torch.cat(seen[:3]), torch.cat(seen[3:])):
        assert sorted(epoch[:, 0].tolist()) == sorted(data[0, :, 0].tolist())
    assert not torch.equal(torch.cat(seen[:3]), torch.cat(seen[3:]))


def test_the_prior_is_centred_on_each_condition():
    c = torch.tensor([[0.0, 1.0], [2.0, 1.0], [10.0, 0.0], [14.0, 0.0]])
    data = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0))
    hyper = Hypernetwork(2, 3, 2, generator=torch.Generator().manual_seed(0))
    model = model_of(hyper, 0.1)
    prior = _Prior(model, torch.tensor([0, 0, 1, 1]), 0.2)
    prior.estimate(model, c, data[0, :, :0], Trials(data), None, 1.0)
    expected = torch.tensor([[1.0, 1.0], [1.0, 1.0], [12.0, 0.0], [12.0, 0.0]])
    assert torch.equal(prior.mean, expected)
    assert prior.strength > 0
    centred, off = (float(prior.penalty(model, x).detach()) for x in (expected, c))
    assert 0 <= centred < off


def test_the_prior_survives_a_free_run_that_left_the_numbers():
    data = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0))
    hyper = Hypernetwork(2, 3, 2, generator=torch.Generator().manual_seed(0))
    model = model_of(hyper, 0.1)
    prior = _Prior(model, None, 0.2)
    hyper.connectivity.maps.data.fill_(torch.nan)
    c = torch.zeros(4, 2)
    prior.estimate(model, c, data[0, :, :0], Trials(data), None, 1.0)
    assert np.isfinite(prior.strength)


def test_the_prior_holds_weights_at_the_start_but_for_those_of_an_embedding_of_0():
    data = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(0))
    hyper = Hypernetwork(2, 3, 2, generator=torch.Generator().manual_seed(0))
    model, c = model_of(hyper, 0.1), torch.zeros(4, 2)
    prior = _Prior(model, None, 0.2)
    prior.estimate(model, c, data[0, :, :0], Trials(data), None, 1.0)

    def penalty(name, index):
        p = getattr(hyper.connectivity, name)
        changed = p.detach().clone()
        changed[index] += 1
        before, p.data = p.data, changed
        found = float(prior.penalty(model, c).detach())
        p.data = before
        return found

    least = float(prior.penalty(model, c).detach())
    assert penalty("maps", 0) == pytest.approx(least)
    size = {name: getattr(hyper.connectivity, name).detach().square().mean() for name in "UV"}
    for name in "UV":
        expected = float(prior.strength * hyper.connectivity.rank / (0.2 * size[name]))
        assert penalty(name, 0) - least == pytest.approx(expected, rel=1e-4)
    assert penalty("maps", 1) > least


def test_the_prior_does_not_count_weights_that_are_0_at_the_start():
    hyper = Hypernetwork(2, 6, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        hyper.connectivity.V[:3] = 0  # neurons that drive no others
    prior = _Prior(model_of(hyper, 0.1), None, 0.2)
    sizes = dict(zip(dict(hyper.connectivity.named_parameters()), prior.size, strict=True))
    assert sizes["V"] == pytest.approx(float(hyper.connectivity.V[3:].detach().square().mean()))


def test_the_prior_of_another_start_is_taken_over():
    generator = torch.Generator().manual_seed(0)
    first, second = (
        _Prior(model_of(Hypernetwork(2, 3, 2, generator=generator), 0.1), None, 0.2)
        for _ in range(2)
    )
    assert not torch.equal(first.start[0], second.start[0])
    second.load(first.state(), "cpu")
    for found, expected in zip(second.start, first.start, strict=True):
        assert torch.equal(found, expected)
    assert second.size == first.size


# Early stopping


def test_early_stopping_returns_to_the_best_state(problem):
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.2])
    states = []

    def validate(model, c, q):
        states.append((model.connectivity.maps.detach().clone(), c.clone()))
        return next(scores)

    s = schedule(50, teacher_forcing=0.0, patience=2)
    result = fit(problem, s, validate=validate)
    assert len(states) == 4  # best at the second look, then two without a rise
    assert [step for step, _ in result.validation_curve] == [5, 10, 15, 20]
    assert len(result.loss_curve) == 20
    assert result.converged and not result.complaint
    maps, c = states[1]
    assert torch.equal(problem.model.connectivity.maps.detach(), maps)
    assert torch.equal(result.c, c)
    assert not torch.equal(states[3][0], maps)


def test_a_rise_smaller_than_tol_does_not_count(problem):
    scores = iter([0.5, 0.504, 0.508, 0.6])
    s = schedule(50, teacher_forcing=0.0, patience=2, tol=0.01)
    result = fit(problem, s, validate=lambda *_: next(scores))
    assert [score for _, score in result.validation_curve] == [0.5, 0.504, 0.508]


def test_validation_waits_for_the_end_of_the_forcing(problem):
    looks = []
    s = schedule(40, patience=99)  # forced for the first 20 steps
    fit(problem, s, validate=lambda *_: looks.append(1) or 0.0)
    assert len(looks) == 5  # of ten
    result = fit(problem, s, validate=lambda *_: 0.0)
    assert min(step for step, _ in result.validation_curve) > 20


@pytest.mark.slow
def test_an_estimator_stops_early_on_trials_it_left_out(small, multitask):
    est = small(
        max_iter=100, tol=0.02, early_stopping=True, validation_fraction=0.2, n_iter_no_change=1
    )
    X = multitask.X
    est.fit(X, multitask.task)
    assert len(est.validation_curve_) >= 2
    assert est.n_iter_ == est.validation_curve_[-1][0] <= 100
    assert est.embedding_.shape == (40, 4)  # of all trials, those left out included
    np.testing.assert_allclose(est.embedding_.mean(axis=0), 0, atol=1e-8)
    best = max(score for _, score in est.validation_curve_)
    assert 0.5 < best <= 1


# Divergence and interruption


def test_divergence_says_when_and_what_to_try(problem):
    with pytest.raises(FloatingPointError) as failure:
        fit(problem, schedule(30, learning_rate=1e12))
    for word in ("diverged", "of 30", "teacher forcing", "learning_rate_init (now 1e+12)", "rank"):
        assert word in str(failure.value)
    with pytest.raises(FloatingPointError, match="free run or the weights grew"):
        fit(problem, schedule(30, learning_rate=1e12, teacher_forcing=0.0))


def test_divergence_leaves_no_half_fitted_estimator(small, known):
    est = small(n_components=2, rank=2, learning_rate_init=1e12)
    with pytest.raises(FloatingPointError, match="learning_rate_init"):
        est.fit(known.X[:10])
    assert not [name for name in vars(est) if name.endswith("_") or name.startswith("_")]
    with pytest.raises(NotFittedError):
        est.transform(known.X[:10])


@pytest.mark.slow
def test_divergence_of_a_refit_leaves_the_first_fit(small, known):
    est = small(n_components=2, rank=2).fit(known.X[:10], np.arange(10) % 2)
    before = {name: pickle.dumps(value) for name, value in vars(est).items()}
    answer = est.transform(known.X[10:12])
    first_rate = est.learning_rate_init
    est.set_params(learning_rate_init=1e12)
    with pytest.raises(FloatingPointError):
        est.fit(known.X[:10, :, :10])
    est.set_params(learning_rate_init=first_rate)
    assert {name: pickle.dumps(value) for name, value in vars(est).items()} == before
    np.testing.assert_array_equal(est.transform(known.X[10:12]), answer)


def interrupt_at(monkeypatch, step):
    class Interrupting(Progress):
        def __call__(self, now, loss, teacher_forcing):
            if now == step:
                raise KeyboardInterrupt

    monkeypatch.setattr("jedi_sklearn._fit.Progress", Interrupting)


@pytest.mark.slow
def test_an_interrupted_fit_is_usable(small, known, monkeypatch):
    est = small(n_components=2, rank=2, max_iter=100, dt=known.dt, initial_state="observed")
    interrupt_at(monkeypatch, 70)
    with (
        pytest.warns(ConvergenceWarning, match="interrupted after 71 of 100 steps") as caught,
        pytest.raises(KeyboardInterrupt),
    ):
        est.fit(known.X[:20])
    assert "teacher_forcing" not in str(caught[0].message)  # it had ended
    assert est.n_iter_ == 71
    assert est.converged_ is False
    assert est.score(known.X[30:]) > 0.9


def test_an_early_interruption_warns_of_the_forcing(small, known, monkeypatch):
    interrupt_at(monkeypatch, 10)
    with (
        pytest.warns(ConvergenceWarning, match="forcing had not ended"),
        pytest.raises(KeyboardInterrupt),
    ):
        small(n_components=2, rank=2, max_iter=100, dt=known.dt).fit(known.X[:20])


@pytest.mark.slow
def test_an_interruption_ends_a_cross_validation(small, known, monkeypatch):
    interrupt_at(monkeypatch, 70)
    est = small(n_components=2, rank=2, max_iter=100, dt=known.dt)
    with pytest.warns(ConvergenceWarning), pytest.raises(KeyboardInterrupt):
        cross_val_score(est, known.X[:20], cv=2)


@pytest.mark.filterwarnings("error")
@pytest.mark.slow
def test_an_interruption_is_not_lost_where_warnings_are_errors(small, known, monkeypatch):
    interrupt_at(monkeypatch, 70)
    with pytest.raises(KeyboardInterrupt):
        small(n_components=2, rank=2, max_iter=100, dt=known.dt).fit(known.X[:20])


def test_an_interruption_after_validation_keeps_the_best_state(problem):
    class Interrupting(Progress):
        def __call__(self, now, loss, teacher_forcing):
            if now == 33:
                raise KeyboardInterrupt

    scores, states = iter([0.5, 0.2, 0.1]), []

    def validate(model, c, q):
        states.append(model.connectivity.maps.detach().clone())
        return next(scores)

    s = schedule(100, teacher_forcing=0.0, patience=99)
    result = fit(problem, s, validate=validate, progress=Interrupting(100, False))
    assert result.interrupted
    assert torch.equal(problem.model.connectivity.maps.detach(), states[0])


def test_an_interruption_before_the_first_step_ends_the_fit(small, known, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("jedi_sklearn._model.Model.loss", stop)
    est = small(n_components=2, rank=2)
    with pytest.raises(KeyboardInterrupt):
        est.fit(known.X[:20])
    assert not hasattr(est, "embedding_")


# What is said at the end


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        (np.linspace(0.9, 0.1, 100), ["still rose by 0.0", "100 steps", "Raise max_iter"]),
        (np.full(100, 1.3), ["no better than the mean", "R2 -0.3", "axes", "dt", "rank"]),
        (np.linspace(0.5, 9, 100), ["diverged", "R2 -7.", "learning_rate_init (now"]),
        ([0.4], ["still rose", "1 steps", "Raise max_iter"]),
    ],
)
def test_complaints_name_a_cause_and_a_remedy(losses, words):
    result = Trained(None, None, loss_curve=list(losses))
    judge(result, schedule(len(losses), tol=1e-3))
    assert not result.converged
    for word in words:
        assert word in result.complaint
    assert "inf" not in result.complaint and "nan" not in result.complaint


def test_complaints_of_counts_speak_of_d2():
    for losses in (np.linspace(0.9, 0.1, 100), np.full(100, 1.3), np.linspace(0.5, 9, 100)):
        result = Trained(None, None, loss_curve=list(losses))
        judge(result, schedule(100, tol=1e-3), share="D2")
        assert "D2" in result.complaint and "R2" not in result.complaint
        assert "smooth" not in result.complaint  # counts need no smoothing


def test_a_flat_end_is_convergence():
    losses = [*np.linspace(0.9, 0.1, 50), *np.full(50, 0.1)]
    result = Trained(None, None, loss_curve=losses)
    judge(result, schedule(100, tol=1e-3))
    assert result.converged and not result.complaint


@pytest.mark.slow
def test_an_unfinished_fit_warns_and_tol_decides(small, multitask):
    est = small(max_iter=20, tol=1e-6)
    with pytest.warns(ConvergenceWarning, match="Raise max_iter"):
        est.fit(multitask.X)
    assert est.converged_ is False
    est = small(max_iter=20, tol=1.0).fit(multitask.X)  # any warning would be an error
    assert est.converged_ is True


# Residuals


@pytest.mark.parametrize("memory", [0.5, 0.8])
def test_residuals_have_the_autocorrelation_time_of_their_process(memory):
    rng = np.random.RandomState(0)
    error = np.empty((1500, 8, 5))
    error[0] = rng.standard_normal((8, 5))
    for t in range(1, len(error)):
        fresh = np.sqrt(1 - memory**2) * rng.standard_normal((8, 5))
        error[t] = memory * error[t - 1] + fresh
    expected = (1 + memory) / (1 - memory)
    assert residual_autocorrelation_time(torch.as_tensor(error)) == pytest.approx(
        expected, rel=0.15
    )


def test_independent_residuals_have_an_autocorrelation_time_of_one():
    white = torch.randn(500, 8, 5, generator=torch.Generator().manual_seed(0))
    assert residual_autocorrelation_time(white) == 1.0
    assert residual_autocorrelation_time(10 * white) == 1.0
    assert residual_autocorrelation_time(torch.zeros(5, 2, 2)) == 1.0
    assert residual_autocorrelation_time(torch.full((5, 2, 2), torch.nan)) == 1.0


def test_a_constant_offset_carries_one_residual():
    # rho(lag) = (T - lag) / T sums to T, up to the lag where it falls below 0.05
    assert residual_autocorrelation_time(torch.ones(100, 2, 2)) == pytest.approx(100, rel=0.02)


# Progress


def test_without_tqdm_progress_is_plain_lines(small, known, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    small(n_components=2, rank=2, max_iter=20, verbose=True).fit(known.X[:10])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("[JEDI] step 2/20  R2 0.")
    assert lines[-1].startswith("[JEDI] step 20/20") and lines[-1].endswith("forcing 0.000")


def test_with_tqdm_progress_is_a_bar_that_ends(small, known, capsys):
    pytest.importorskip("tqdm")
    small(n_components=2, rank=2, max_iter=20, verbose=True).fit(known.X[:10])
    out, err = capsys.readouterr()
    assert out == ""
    assert "JEDI" in err and "20/20" in err and err.endswith("\n")


def test_a_fit_is_silent_by_default(small, known, capsys):
    small(n_components=2, rank=2, max_iter=5).fit(known.X[:10])
    assert capsys.readouterr() == ("", "")
