"""Facts about inference: true embeddings found, one trial at a time, with honest error bars."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from sklearn.metrics import r2_score
from torch.testing import assert_close

from jedi_sklearn import JEDIEstimator, RNNBatch, _blockwise, _inference
from jedi_sklearn._hypernetwork import Hypernetwork
from jedi_sklearn._inference import GaussianPrior, _updated, error_bars, infer
from jedi_sklearn._initial_state import Generated, Inferred, Observed
from jedi_sklearn._observation import Gaussian
from jedi_sklearn._rollout import simulate
from jedi_sklearn._split_runs import SplitRuns
from jedi_sklearn._trials import Trials

D, ALPHA, TIME = 2, 0.2, 40
CONNECTIVITIES = ("shared", "low_rank", "full_rank")
KINDS = {"linear": (), "mlp": (5,)}


def normal(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def make_hyper(model, connectivity, kind="linear", starts=False):
    """The known model in any connectivity; the hidden layer of the mlp adds a little.

    With `starts` it generates first states as well, in the span of P but for that layer.
    """
    g = torch.Generator().manual_seed(0)
    hyper = Hypernetwork(
        D, len(model.P), model.rank, connectivity, KINDS[kind], starts=starts, generator=g
    ).double()
    hyper.requires_grad_(False)
    P, maps = torch.as_tensor(model.P), torch.as_tensor(model.maps)
    if starts:
        maps = torch.cat([maps, normal(len(maps), 1, model.rank, seed=13)], 1)
    hyper.start_from(P, P, maps)
    if kind == "mlp":
        for p in hyper.connectivity.outputs():
            p[D + 1 :] = 0.1 * torch.randn(p[D + 1 :].shape, generator=g, dtype=p.dtype) / len(P)
    return hyper


def runs_of(hyper, initial=None, noise=1.0):
    """Runs whose states are the data, with the noise of each neuron."""
    n = len(hyper.B)
    noise_of_neuron = torch.ones(n) * noise
    observation = Gaussian(torch.zeros(n), torch.ones(n), noise_of_neuron=noise_of_neuron)
    initial = (Observed(n) if initial is None else initial).double()
    return hyper.connectivity.Runs(hyper, initial, observation, ALPHA)


def driven(hyper, n_inputs=2, seed=30):
    """The same hypernetwork with input weights."""
    hyper.B = torch.nn.Parameter(normal(8, n_inputs, seed=seed))
    return hyper.requires_grad_(False)


@pytest.fixture(scope="module")
def model(make_model):
    return make_model(12, TIME, n_neurons=8, rank=4, alpha=ALPHA)


@pytest.fixture(scope="module")
def prior():
    eye = torch.eye(D, dtype=torch.float64)
    return GaussianPrior(torch.zeros(D, dtype=torch.float64), eye, normal(12, D, seed=9))


def run_of(hyper, c, x0):
    return simulate(hyper.connectivity, hyper(c), x0, TIME, ALPHA)


MEAN = 0.3 * normal(8, seed=14)  # of generated first states


def generated_run_of(hyper, c, inputs=None):
    """Free runs that start where the hypernetwork says."""
    weights = hyper(c)
    x0 = MEAN + start_of(weights)
    return simulate(hyper.connectivity, weights, x0, TIME, ALPHA, inputs)


def start_of(weights):
    """What a hypernetwork adds to the mean of first states, from its weights."""
    start = weights["start"]
    return start @ weights["U"].t() if "core" in weights else start


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
@pytest.mark.slow
def test_true_embeddings_are_found(model, prior, connectivity, kind):
    hyper = make_hyper(model, connectivity, kind)
    c, x0 = normal(10, D, seed=3), torch.as_tensor(model.X[:10, 0])
    data = run_of(hyper, c, x0)
    p, H, sse, converged = infer(runs_of(hyper), Trials(data), prior, 1e8)
    assert converged.all()
    assert_close(p, c, rtol=0, atol=1e-4)
    assert_close(sse, (run_of(hyper, p, x0) - data).square().sum((0, 2)), rtol=1e-6, atol=1e-12)
    assert (torch.linalg.eigvalsh(H) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
@pytest.mark.slow
def test_true_embeddings_are_found_where_they_say_where_runs_start(
    model, prior, connectivity, kind
):
    hyper, c = make_hyper(model, connectivity, kind, starts=True), normal(10, D, seed=3)
    data = generated_run_of(hyper, c)
    p, _, sse, converged = infer(runs_of(hyper, Generated(MEAN)), Trials(data), prior, 1e8)
    assert converged.all()
    assert_close(p, c, rtol=0, atol=1e-4)
    assert float(sse.max()) < 1e-6


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
@pytest.mark.slow
def test_a_trial_has_one_answer_whatever_its_company(model, prior, connectivity):
    hyper = make_hyper(model, connectivity)
    c, x0 = normal(9, D, seed=3), torch.as_tensor(model.X[:9, 0])
    data = run_of(hyper, c, x0) + 0.1 * normal(TIME, 9, x0.shape[1], seed=4)

    def answers(order):
        p, H, sse, _ = infer(runs_of(hyper), Trials(data)[order], prior, 100.0)
        return p, H, sse

    together = answers(list(range(9)))
    order = [4, 0, 8, 2, 6, 1, 7, 5, 3]
    for got, expected in zip(answers(order), together, strict=True):
        assert_close(got, expected[order], rtol=1e-9, atol=1e-9)
    for k in (0, 5):
        for got, expected in zip(answers([k]), together, strict=True):
            assert_close(got[0], expected[k], rtol=1e-9, atol=1e-9)


def test_small_chunks_change_nothing(model, prior, monkeypatch):
    hyper = make_hyper(model, "shared")
    data = run_of(hyper, normal(9, D, seed=3), torch.as_tensor(model.X[:9, 0]))
    data += 0.1 * normal(*data.shape, seed=4)
    whole = infer(runs_of(hyper), Trials(data), prior, 100.0)
    monkeypatch.setattr("jedi_sklearn._linearised.CHUNK_BYTES", 2e4)
    assert runs_of(hyper).chunk(Trials(data)) < 9
    parts = infer(runs_of(hyper), Trials(data), prior, 100.0)
    assert_close(parts[0], whole[0], rtol=1e-9, atol=1e-9)


# The Gauss-Newton system

INITIAL = Inferred(normal(8, seed=5), torch.linalg.qr(normal(8, 3, seed=6))[0])
INITIALS = {"observed": Observed(8).double(), "inferred": INITIAL, "generated": Generated(MEAN)}


def forced_run(hyper, initial, p, data, g, inputs=None):
    """The forced run of the equation, from dense weights in numpy; g may be one of each sample."""
    strengths = np.broadcast_to(g, (*data.shape[:2], 1))
    weights = hyper(p[:, :D])
    generated = start_of(weights) if initial.generated else 0.0
    weights = {k: w.numpy() for k, w in weights.items()}
    if "J" in weights:
        rnns = RNNBatch.from_dense(weights["J"], bias=weights["bias"], dt=ALPHA, tau=1.0)
    elif "core" in weights:
        bias = weights["bias"] @ weights["U"].T
        rnns = RNNBatch(weights["U"], weights["V"], weights["core"], bias=bias, dt=ALPHA, tau=1.0)
    else:
        rnns = RNNBatch(weights["U"], weights["V"], bias=weights["bias"], dt=ALPHA, tau=1.0)
    x = initial(p[:, D:], data[0], generated).numpy()
    states = []
    for target, g in zip(data.numpy(), strengths, strict=True):
        states.append(x)
        x = rnns.step((1 - g) * x + g * target)
        if inputs is not None:
            x = x + ALPHA * inputs[len(states) - 1].numpy() @ weights["B"].T
    return np.stack(states)


@pytest.mark.parametrize("initial", INITIALS.values(), ids=INITIALS)
@pytest.mark.parametrize("teacher_forcing", [0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
@pytest.mark.slow
def test_the_system_is_that_of_finite_differences(
    model, connectivity, kind, teacher_forcing, initial
):
    hyper = make_hyper(model, connectivity, kind, starts=initial.generated)
    data = torch.as_tensor(model.X[:3, :15]).transpose(0, 1) + 0.2 * normal(15, 3, 8, seed=7)
    p = normal(3, D + initial.size, seed=8)
    error = forced_run(hyper, initial, p, data, teacher_forcing) - data.numpy()
    eps = 1e-6
    slopes = []
    for i in range(p.shape[1]):
        move = eps * torch.eye(p.shape[1], dtype=torch.float64)[i]
        above = forced_run(hyper, initial, p + move, data, teacher_forcing)
        slopes.append(
            (above - forced_run(hyper, initial, p - move, data, teacher_forcing)) / (2 * eps)
        )
    jacobian = np.stack(slopes)  # (m, time, trials, neurons)

    runs = runs_of(hyper, initial)
    target = runs.target(Trials(data), teacher_forcing)
    sse, kept = runs.run(p, target, keep=True)
    Jte, JtJ, _ = runs.system(p, target, kept)
    np.testing.assert_allclose(sse, np.square(error).sum((0, 2)), rtol=1e-10)
    np.testing.assert_allclose(
        JtJ, np.einsum("itkn,jtkn->kij", jacobian, jacobian), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        Jte, np.einsum("itkn,tkn->ki", jacobian, error), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("initial", INITIALS.values(), ids=INITIALS)
@pytest.mark.parametrize("teacher_forcing", [0.0, 0.3])
def test_the_fast_path_agrees_with_the_generic_one(model, teacher_forcing, initial):
    data = torch.as_tensor(model.X[:6]).transpose(0, 1)
    p = normal(6, D + initial.size, seed=8)
    systems = []
    for connectivity in CONNECTIVITIES:
        hyper = make_hyper(model, connectivity, starts=initial.generated)
        runs = runs_of(hyper, initial)
        target = runs.target(Trials(data), teacher_forcing)
        sse, kept = runs.run(p, target, keep=True)
        systems.append((sse, *runs.system(p, target, kept)[:2]))
    for other in systems[1:]:
        for got, expected in zip(other, systems[0], strict=True):
            assert_close(got, expected, rtol=1e-9, atol=1e-9)


# Missing samples and known inputs


def gaps(shape, seed=40):
    """About a third missing; trial 0 ends early, trial 1 lacks a neuron, trial 2 some samples."""
    mask = (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.65).double()
    mask[-4:, 0] = 0
    mask[:, 1, 3] = 0
    mask[5:8, 2:3] = 0
    return mask


def same_neurons(shape, kept=slice(0, 8)):
    """The same neurons at all recorded times; trial 0 ends early."""
    mask = torch.zeros(shape, dtype=torch.float64)
    mask[:, :, kept] = 1
    mask[-4:, 0] = 0
    return mask


def own_neurons(shape):
    """Other neurons in each trial, in one fewer than the coordinates of the run."""
    mask = same_neurons(shape)
    mask[:, 0, :3] = 0
    mask[:, 1, 2:] = 0
    return mask


MASKS = {
    "scattered": gaps,
    "ends": same_neurons,
    "neurons": partial(same_neurons, kept=[0, 2, 3, 5, 7]),
    "own": own_neurons,
}


@pytest.mark.parametrize("initial", INITIALS.values(), ids=INITIALS)
@pytest.mark.parametrize("teacher_forcing", [0.0, 0.3])
@pytest.mark.parametrize(
    ("connectivity", "mask"),
    [*(("shared", mask) for mask in MASKS), ("low_rank", "scattered"), ("full_rank", "scattered")],
)
def test_the_system_with_gaps_and_inputs_is_that_of_finite_differences(
    model, connectivity, mask, teacher_forcing, initial
):
    hyper = driven(make_hyper(model, connectivity, starts=initial.generated))
    data = torch.as_tensor(model.X[:3, :15]).transpose(0, 1) + 0.2 * normal(15, 3, 8, seed=7)
    trials = Trials(data, MASKS[mask](data.shape), inputs=normal(15, 3, 2, seed=31))
    mask = trials.weight.numpy()
    p = normal(3, D + initial.size, seed=8)
    pulls = teacher_forcing * mask.any(2, keepdims=True)  # nothing pulls where nobody was recorded

    def run(p):
        return forced_run(hyper, initial, p, data, pulls, trials.inputs)

    error = mask * (run(p) - data.numpy())
    eps = 1e-6
    moves = eps * torch.eye(p.shape[1], dtype=torch.float64)
    jacobian = np.stack([mask * (run(p + m) - run(p - m)) / (2 * eps) for m in moves])
    runs = runs_of(hyper, initial)
    target = runs.target(trials, teacher_forcing)
    sse, kept = runs.run(p, target, keep=True)
    Jte, JtJ, _ = runs.system(p, target, kept)
    np.testing.assert_allclose(sse, np.square(error).sum((0, 2)), rtol=1e-10)
    np.testing.assert_allclose(
        JtJ, np.einsum("itkn,jtkn->kij", jacobian, jacobian), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        Jte, np.einsum("itkn,tkn->ki", jacobian, error), rtol=1e-5, atol=1e-5
    )


@pytest.fixture(params=[*((name, "scattered") for name in INITIALS), ("generated", "own")])
def driven_runs(request, model):
    """Runs of a shared model with inputs, and trials with gaps."""
    name, mask = request.param
    initial = INITIALS[name]
    hyper = driven(make_hyper(model, "shared", starts=initial.generated))
    data = torch.as_tensor(model.X[:3, :15]).transpose(0, 1) + 0.2 * normal(15, 3, 8, seed=7)
    trials = Trials(data, MASKS[mask](data.shape), inputs=normal(15, 3, 2, seed=31))
    return runs_of(hyper, initial), trials, normal(3, D + initial.size, seed=8)


@pytest.mark.parametrize("teacher_forcing", [0.0, 0.3])
def test_going_back_once_gives_the_gradient(driven_runs, teacher_forcing):
    runs, trials, p = driven_runs
    target = runs.target(trials, teacher_forcing)
    _, kept = runs.run(p, target, keep=True)
    assert_close(
        runs.gradient(p, target, kept), runs.system(p, target, kept)[0], rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("teacher_forcing", [0.0, 0.3])
def test_the_exact_curvature_is_that_of_finite_differences_of_the_gradient(
    driven_runs, teacher_forcing
):
    runs, trials, p = driven_runs
    target = runs.target(trials, teacher_forcing)

    def gradient(p):
        return runs.system(p, target, runs.run(p, target, keep=True)[1])[0]

    _, G, more = runs.system(p, target, runs.run(p, target, keep=True)[1], exact=True)
    assert more.abs().max() > 0.1 * G.abs().max()
    for i, move in enumerate(1e-5 * torch.eye(p.shape[1], dtype=torch.float64)):
        slope = (gradient(p + move) - gradient(p - move)) / 2e-5
        assert_close((G + more)[:, i], slope, rtol=1e-5, atol=1e-5)


def test_lifted_steps_about_a_run_are_gauss_newton_steps(driven_runs):
    runs, trials, p = driven_runs
    target = runs.target(trials)
    eye = torch.eye(p.shape[1], dtype=torch.float64)
    prior = GaussianPrior(torch.zeros_like(p[0]), eye, p[:, :D])
    _, kept = runs.run(p, target, keep=True)
    gradient, G, _ = runs.system(p, target, kept)
    lifted, z, H = runs.lift(p, kept[0], target, prior, 2.0)
    # up to the single precision of neurons
    assert_close(H, 2 * G + eye, rtol=1e-5, atol=1e-5)
    assert_close(lifted, p - torch.linalg.solve(H, 2 * gradient + p), rtol=1e-5, atol=1e-5)
    # and the coordinates follow the run to first order
    nearby = p + 1e-5 * (lifted - p)
    change = runs.run(nearby, target, keep=True)[1][0] - kept[0]
    assert_close(change / 1e-5, z - kept[0], rtol=1e-3, atol=1e-3)


def test_coordinates_that_are_no_run_end_as_one(model, prior):
    hyper = make_hyper(model, "shared")
    runs, c = runs_of(hyper), normal(5, D, seed=3)
    target = runs.target(Trials(run_of(hyper, c, torch.as_tensor(model.X[:5, 0]))))
    p, z = torch.zeros_like(c), target.guide + 0.1 * normal(*target.guide.shape, seed=4)
    for _ in range(12):
        p, z, _ = runs.lift(p, z, target, prior, 1e8)
    assert_close(p, c, rtol=0, atol=1e-6)
    assert_close(z, runs.run(p, target, keep=True)[1][0], rtol=0, atol=1e-6)


def test_trials_that_lifted_steps_do_not_serve_start_again(model, prior, monkeypatch):
    """Were the ends of lifted steps anywhere, the answers would still be those of good starts."""
    hyper, c = make_hyper(model, "shared"), normal(10, D, seed=3)
    data = run_of(hyper, c, torch.as_tensor(model.X[:10, 0]))
    lifted = SplitRuns.lift

    def astray(self, *args, **how):
        p, z, H = lifted(self, *args, **how)
        p[2], z[5, 3], p[7] = torch.nan, torch.inf, 40.0
        return p, z, H

    monkeypatch.setattr(SplitRuns, "lift", astray)
    p, _, sse, converged = infer(runs_of(hyper), Trials(data), prior, 1e8)
    assert converged.all()
    assert_close(p, c, rtol=0, atol=1e-4)
    assert float(sse.max()) < 1e-6


def test_steps_that_gain_little_are_the_last(model, prior, monkeypatch):
    runs = runs_of(make_hyper(model, "shared"))
    data = Trials(normal(30, 3, runs.V.shape[0], seed=5))  # that no run is near
    monkeypatch.setattr(_inference, "PATIENCE", 3)
    costs = []
    for share in (0.0, 1.0):
        monkeypatch.setattr(_inference, "LEAST_GAIN", share)
        steps, step = [], _inference._Fit._step

        def count(fit, i, *rest, step=step, steps=steps):
            steps.append(len(i))
            return step(fit, i, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(_inference._Fit, "_step", count)
            search = _inference._Search(runs, data, prior, 1e4, 0.0)
            p, deviance, converged = search.from_starts(search.starts(1), 30, 0.0)
        costs.append(search.cost(p, deviance))
        if share:  # nothing gains all of the cost
            assert len(steps) == 3 and not converged.any()
    assert (costs[0] <= costs[1]).all()


def test_a_trial_whose_derivatives_overflow_costs_no_others(model, prior, monkeypatch):
    hyper, c, q = make_hyper(model, "shared"), normal(10, D, seed=3), normal(10, 3, seed=5)
    data = run_of(hyper, c, INITIAL(q, None))
    eye = torch.eye(D + 3, dtype=torch.float64)
    wide = GaussianPrior(torch.zeros_like(eye[0]), eye, prior.centres)

    def overflowing(name):
        whole = getattr(SplitRuns, name)

        def derivatives(self, p, some, kept, *args):
            found = whole(self, p, some, kept, *args)
            odd = (some.guide[:, 1] - here).abs().amax(1) < 1e-9
            for a in found if isinstance(found, tuple) else (found,):
                if a is not None:
                    a[odd] = torch.inf
            return found

        return derivatives

    runs = runs_of(hyper, INITIAL)
    here = runs.target(Trials(data[:, [4]])).guide[:, 1]
    for name in ("gradient", "system"):
        monkeypatch.setattr(SplitRuns, name, overflowing(name))
    p, _, _, converged = infer(runs, Trials(data), wide, 1e8, curvature=False)
    others = torch.arange(10) != 4
    assert converged.tolist() == others.tolist()
    assert_close(p[others, :D], c[others], rtol=0, atol=1e-4)
    assert p[4].isfinite().all()


def test_moves_that_round_to_none_leave_the_curvature():
    H, none = torch.eye(3, dtype=torch.float64)[None], torch.zeros(1, 3, dtype=torch.float64)
    assert_close(_updated(H, none, none), H)


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_true_embeddings_are_found_in_spite_of_gaps_and_inputs(model, prior, connectivity):
    hyper, c = driven(make_hyper(model, connectivity)), normal(10, D, seed=3)
    x0, inputs = torch.as_tensor(model.X[:10, 0]), normal(TIME, 10, 2, seed=31)
    run = simulate(hyper.connectivity, hyper(c), x0, TIME, ALPHA, inputs)
    mask = gaps(run.shape)
    mask[0] = 1
    trials = Trials(torch.where(mask > 0, run, run + 0.3), mask, inputs=inputs)
    p, H, sse, converged = infer(runs_of(hyper), trials, prior, 1e8)
    assert converged.all()
    assert_close(p, c, rtol=0, atol=1e-4)
    assert float(sse.max()) < 1e-6


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
@pytest.mark.slow
def test_a_generated_start_that_was_not_seen_is_found_from_what_follows(
    model, prior, connectivity
):
    hyper, c = driven(make_hyper(model, connectivity, starts=True)), normal(10, D, seed=3)
    inputs = normal(TIME, 10, 2, seed=31)
    run = generated_run_of(hyper, c, inputs)
    mask = gaps(run.shape)
    mask[:3] = 0
    trials = Trials(torch.where(mask > 0, run, run + 0.3), mask, inputs=inputs)
    p, _, sse, converged = infer(runs_of(hyper, Generated(MEAN)), trials, prior, 1e8)
    assert converged.all()
    assert_close(p, c, rtol=0, atol=1e-4)
    assert float(sse.max()) < 1e-6


@pytest.mark.parametrize("connectivity", ["shared", "low_rank"])
@pytest.mark.slow
def test_imputed_values_matters_to_no_embedding_and_no_error_bar(model, prior, connectivity):
    hyper, weight = make_hyper(model, connectivity), 100.0
    run = run_of(hyper, normal(9, D, seed=3), torch.as_tensor(model.X[:9, 0]))
    data = run + 0.1 * normal(*run.shape, seed=4)
    mask = gaps(data.shape)
    mask[0] = 1

    def answers(data):
        trials = Trials(data, mask)
        p, H, sse, _ = infer(runs_of(hyper), trials, prior, weight, tol=1e-12)
        return p, sse, error_bars(runs_of(hyper, noise=0.01), trials, p, H, prior, weight, 1.0)

    # starts differ a little, because they are found by forced runs
    filled = torch.where(mask > 0, data, run)
    garbage = torch.where(mask > 0, data, run + 0.5 * normal(*run.shape, seed=5))
    for got, expected in zip(answers(garbage), answers(filled), strict=True):
        assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_error_bars_of_trials_with_gaps_are_calibrated(model, prior):
    hyper, sd, n = make_hyper(model, "shared"), 0.5, 150
    c = normal(n, D, seed=20)
    x0 = torch.as_tensor(model.X[:, 0])[torch.arange(n) % len(model.X)]
    run = run_of(hyper, c, x0)
    data = run + sd * normal(*run.shape, seed=21)
    data[0] = run[0]
    mask = gaps(data.shape)
    mask[0] = 1
    weight = sd**-2
    p, H, _, _ = infer(runs_of(hyper), Trials(data, mask), prior, weight)
    z = torch.linalg.cholesky(H).transpose(1, 2) @ (p - c)[..., None]
    assert 0.85 < float(z.square().mean().sqrt()) < 1.15
    whole = infer(runs_of(hyper), Trials(data), prior, weight)[1]
    wider = torch.linalg.inv(H).diagonal(dim1=1, dim2=2).mean()
    assert 1.2 < float(wider / torch.linalg.inv(whole).diagonal(dim1=1, dim2=2).mean()) < 2.5


# Uncertainty


def started(known, seed=1):
    """Runs of a known model from starts that are an affine image of its embeddings."""
    W = np.random.RandomState(seed).standard_normal((known.c.shape[1], known.rank))
    size = len(known.P) ** 0.5 / known.rank**0.5
    x0 = torch.as_tensor(size * known.c @ W @ known.P.T)
    weights = known.hyper(torch.as_tensor(known.c))
    run = simulate(known.hyper.connectivity, weights, x0, known.X.shape[1], known.alpha)
    return run.transpose(0, 1).numpy()


def test_error_bars_of_the_posterior_are_calibrated(model, prior):
    hyper, sd, n = make_hyper(model, "shared"), 0.5, 150
    c = normal(n, D, seed=20)
    x0 = torch.as_tensor(model.X[:, 0])[torch.arange(n) % len(model.X)]
    run = run_of(hyper, c, x0)
    data = run + sd * normal(*run.shape, seed=21)
    data[0] = run[0]  # the start is known
    p, H, _, converged = infer(runs_of(hyper), Trials(data), prior, sd**-2)
    assert converged.all()
    z = torch.linalg.cholesky(H).transpose(1, 2) @ (p - c)[..., None]
    assert 0.85 < float(z.square().mean().sqrt()) < 1.15
    assert abs(float(z.mean())) < 0.2
    # and tight: the data say much more than the prior
    assert float(torch.linalg.inv(H).diagonal(dim1=1, dim2=2).mean()) < 0.1


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
@pytest.mark.slow
def test_error_bars_of_a_generated_start_are_those_of_the_curvature(model, prior, connectivity):
    hyper, sd, n = make_hyper(model, connectivity, starts=True), 0.5, 150
    c = normal(n, D, seed=20)
    run = generated_run_of(hyper, c)
    trials = Trials(run + sd * normal(*run.shape, seed=21))  # the first sample too
    runs = runs_of(hyper, Generated(MEAN), noise=sd**2)
    p, H, _, converged = infer(runs, trials, prior, sd**-2)
    assert converged.all()
    z = torch.linalg.cholesky(H).transpose(1, 2) @ (p - c)[..., None]
    assert 0.85 < float(z.square().mean().sqrt()) < 1.15
    assert abs(float(z.mean())) < 0.2
    # no noise of a measured start comes on top
    covariance = error_bars(runs, trials, p, H, prior, sd**-2, 1.0)
    assert_close(covariance, torch.linalg.inv(H), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("connectivity", ["shared", "low_rank", "full_rank"])
@pytest.mark.slow
def test_error_bars_count_a_noisy_start_and_unequal_noise(model, prior, connectivity):
    hyper, n = make_hyper(model, connectivity), 120
    c = normal(n, D, seed=20)
    x0 = torch.as_tensor(model.X[:, 0])[torch.arange(n) % len(model.X)]
    run = run_of(hyper, c, x0)
    sd = 0.15 * torch.exp(0.5 * normal(run.shape[2], seed=22))
    data = run + sd * normal(*run.shape, seed=21)  # the first sample too
    weight = 1 / float(sd.square().mean())
    p, H, _, _ = infer(runs_of(hyper), Trials(data), prior, weight)
    runs = runs_of(hyper, noise=sd.square())
    covariance = error_bars(runs, Trials(data), p, H, prior, weight, 1.0)

    def spread(covariance):
        z = torch.linalg.solve_triangular(
            torch.linalg.cholesky(covariance), (p - c)[..., None], upper=False
        )
        return float(z.square().mean().sqrt())

    assert 0.8 < spread(covariance) < 1.25
    assert spread(torch.linalg.inv(H)) > 1.4 * spread(covariance)  # what the curvature alone says


def test_without_evidence_the_prior_is_the_answer(model):
    hyper = make_hyper(model, "shared")
    mean = torch.tensor([0.3, -0.2], dtype=torch.float64)
    precision = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    prior = GaussianPrior(mean, precision, normal(4, D))
    data = torch.as_tensor(model.X).transpose(0, 1)
    p, H, _, _ = infer(runs_of(hyper), Trials(data), prior, 1e-12)
    assert_close(p, mean.expand_as(p), rtol=0, atol=1e-6)
    assert_close(H, precision.expand_as(H), rtol=0, atol=1e-6)


@pytest.mark.parametrize("initial_state", ["generated", "observed"])
@pytest.mark.slow
def test_more_noise_means_wider_error_bars(known, initial_state):
    X = known.X
    if initial_state == "generated":  # by embeddings
        X = started(known)
    est = JEDIEstimator(2, 2, initial_state=initial_state, scale=None, dt=known.dt, max_iter=60)
    est.set_params(tol=1.0, random_state=0)
    calm = est.fit(X[:30]).posterior(X[30:]).covariance
    assert (np.linalg.eigvalsh(calm) > 0).all()
    np.testing.assert_allclose(calm, calm.transpose(0, 2, 1), atol=1e-12)
    est.fit(X[:30] + 0.3 * np.random.RandomState(0).standard_normal(X[:30].shape))
    wide = est.posterior(X[30:]).covariance
    assert np.trace(wide, axis1=1, axis2=2).min() > np.trace(calm, axis1=1, axis2=2).max()


@pytest.mark.long
@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_error_bars_of_a_fit_cover_the_difference_of_two_repeats(known, connectivity):
    rng, X = np.random.RandomState(0), started(known)
    noisy = X[:30] + 0.3 * rng.standard_normal(X[:30].shape)
    est = JEDIEstimator(2, 2, connectivity=connectivity, dt=known.dt, max_iter=40, tol=1.0)
    est.set_params(random_state=0).fit(noisy)
    E = est.embedding_[rng.randint(30, size=150)]
    run, sd = est.inverse_transform(E), np.sqrt(est.noise_variance_) * est.scale_
    a, b = (est.posterior(run + sd * rng.standard_normal(run.shape)) for _ in range(2))
    away, both = a.mean - b.mean, a.covariance + b.covariance
    z2 = np.einsum("ki,kij,kj->k", away, np.linalg.inv(both), away)
    assert 0.7 < np.median(z2) / chi2(2).median() < 1.4


# Initial states


def test_an_inferred_start_is_found_with_the_embedding(model):
    hyper, n = make_hyper(model, "shared"), 8
    initial = Inferred(torch.zeros(8, dtype=torch.float64), torch.as_tensor(model.P))
    size = D + initial.size
    eye = torch.eye(size, dtype=torch.float64)
    prior = GaussianPrior(torch.zeros(size, dtype=torch.float64), eye, normal(8, D))
    p = normal(n, size, seed=11)
    data = run_of(hyper, p[:, :D], initial(p[:, D:], None))
    found, _, _, converged = infer(runs_of(hyper, initial), Trials(data), prior, 1e8)
    assert converged.all()
    assert_close(found, p, rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.slow
def test_an_inferred_start_beats_a_noisy_first_sample(make_model):
    model = make_model(40, rank=2, turning=1.5, noise=0.6, seed=1)
    score = {}
    for start in ("observed", "inferred"):
        est = JEDIEstimator(
            2, 2, initial_state=start, scale=None, dt=model.dt, max_iter=80, random_state=0
        ).fit(model.X[:30])
        truth = model.free_run[30:].reshape(-1, model.X.shape[2])
        run = est.predict(model.X[30:]).reshape(truth.shape)
        score[start] = r2_score(truth, run, multioutput="variance_weighted")
        starts = est.posterior(model.X[30:]).initial_state
        if start == "observed":
            np.testing.assert_allclose(starts, model.X[30:, 0])
        else:
            error = np.square(starts - model.free_run[30:, 0]).mean()
            assert error < 0.5 * np.square(model.X[30:, 0] - model.free_run[30:, 0]).mean()
    assert score["inferred"] > score["observed"] + 0.02


def test_starts_may_be_changed_after_the_fit(small, multitask, monkeypatch):
    est, starts = small(max_iter=5).fit(multitask.X[:16]), []
    infer = _blockwise.infer
    monkeypatch.setattr(
        _blockwise, "infer", lambda *a, n_init, **k: starts.append(n_init) or infer(*a, **k)
    )
    est.set_params(n_init=5).transform(multitask.X[:2])
    assert starts == [5]


@pytest.mark.parametrize("misled", [False, True])
def test_no_cluster_centre_is_likelier_than_what_is_found(small, multitask, monkeypatch, misled):
    est = small(max_iter=60).fit(multitask.X[:24])
    model, X = est._model, multitask.X[24:]
    if misled:  # to a mode of another trial, and content there

        def elsewhere(search, ways, tol, from_lifted=_inference._Search.from_lifted):
            p = from_lifted(search, ways, tol)[0].roll(1, 0)
            deviance = search.runs.run(p, search.target)[0]
            return p, deviance, torch.ones(len(p), dtype=torch.bool)

        monkeypatch.setattr(_inference._Search, "from_lifted", elsewhere)
        monkeypatch.setattr(_inference, "SUSPECT", np.inf)
    found = model.infer(X, torch.device("cpu"))
    centres = model.prior.centres
    runs = est.to_states(est.inverse_transform(centres.numpy()))
    deviance = np.square(est.to_states(X)[:, np.newaxis] - runs).sum((2, 3))
    weight = 1 / (model.observation.dispersion * model.autocorrelation_time)
    cost = weight * found.deviance + model.prior.cost(torch.from_numpy(found.p)).numpy()
    lowest = (weight * deviance + model.prior.cost(centres).numpy()).min(1)
    assert (cost <= lowest + 1e-3).all()
    assert found.converged.all()
