"""Facts about the hypernetwork: derivatives, changes of coordinates, equal starts."""

import pytest
import torch
from torch.testing import assert_close

from jedi_sklearn._hypernetwork import Hypernetwork

D, NEURONS, RANK, TRIALS = 3, 8, 2, 5
CONNECTIVITIES = ("shared", "low_rank", "full_rank")
KINDS = {"linear": {}, "mlp": {"hidden_layer_sizes": (6, 4)}}
PLAIN_MLP = {"hidden_layer_sizes": (6, 4), "skip": False}


def make(connectivity, seed=0, **kind):
    g = torch.Generator().manual_seed(seed)
    hyper = Hypernetwork(D, NEURONS, RANK, connectivity, generator=g, **kind).double()
    return hyper.requires_grad_(False)


def normal(*shape, seed=1):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def dense(weights):
    """J and b of each trial, whatever the connectivity."""
    if "J" in weights:
        return weights["J"], weights["bias"]
    if "core" in weights:
        U, V = weights["U"], weights["V"]
        return U @ weights["core"] @ V.t(), weights["bias"] @ U.t()
    return weights["U"] @ weights["V"].transpose(1, 2), weights["bias"]


@pytest.mark.parametrize("kind", [*KINDS.values(), PLAIN_MLP])
@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_tangents_are_derivatives_of_the_weights(connectivity, kind):
    hyper, c, eps = make(connectivity, **kind), normal(TRIALS, D), 1e-6
    f, slopes = hyper.linearise(c)
    weights, tangents = hyper.weights(f), hyper.connectivity.tangents(slopes)
    for name, values in hyper(c).items():
        assert_close(weights[name], values)
    varying = {"core", "bias"} if connectivity == "shared" else set(weights) - {"B"}
    for i in range(D):
        move = eps * torch.eye(D, dtype=torch.float64)[i]
        above, below = hyper(c + move), hyper(c - move)
        for name in varying:
            numeric = (above[name] - below[name]) / (2 * eps)
            assert_close(tangents[name][i], numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", [*KINDS.values(), PLAIN_MLP])
@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_a_change_of_coordinates_leaves_the_rnns_as_they_are(connectivity, kind):
    hyper, c = make(connectivity, **kind), normal(TRIALS, D)
    before = hyper(c)
    shift, matrix = normal(D, seed=2), normal(D, D, seed=3)
    hyper.change_coordinates(shift, matrix)
    new = torch.linalg.solve(matrix, (c - shift).t()).t()
    for name, values in hyper(new).items():
        assert_close(values, before[name], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_shared_solution_starts_every_connectivity_alike(kind):
    U, V = normal(NEURONS, RANK, seed=2), normal(NEURONS, RANK, seed=3)
    maps, c = normal(D + 1, RANK + 1, RANK, seed=4), normal(TRIALS, D)
    theta = maps[0] + torch.einsum("kd,dij->kij", c, maps[1:])
    J = U @ theta[:, :-1].transpose(1, 2) @ V.t()
    bias = theta[:, -1] @ U.t()
    for connectivity in CONNECTIVITIES:
        hyper = make(connectivity, **KINDS[kind])
        hyper.start_from(U, V, maps)
        got_J, got_bias = dense(hyper(c))
        assert_close(got_J, J, rtol=1e-10, atol=1e-10)
        assert_close(got_bias, bias, rtol=1e-10, atol=1e-10)


def test_hidden_layers_can_leave_a_silent_start():
    hyper = make("shared", **KINDS["mlp"])
    hyper.start_from(normal(NEURONS, RANK), normal(NEURONS, RANK), normal(D + 1, RANK + 1, RANK))
    hyper.requires_grad_(True)
    weights = hyper(normal(TRIALS, D))
    (weights["core"].square().sum() + weights["bias"].square().sum()).backward()
    assert float(hyper.connectivity.maps.grad[D + 1 :].abs().min()) > 0


def test_without_the_affine_path_there_is_no_warm_start():
    with pytest.raises(ValueError, match="without the affine path"):
        make("shared", **PLAIN_MLP).start_from(None, None, None)


def test_a_linear_hypernetwork_is_affine_in_the_embedding():
    c = normal(2, D)
    middle = c.mean(0, keepdim=True)
    shared, full = make("shared"), make("full_rank")
    assert_close(shared(middle)["core"], shared(c)["core"].mean(0, keepdim=True))
    assert_close(full(middle)["J"], full(c)["J"].mean(0, keepdim=True))
    curved = make("shared", **KINDS["mlp"])
    assert float((curved(middle)["core"] - curved(c)["core"].mean(0)).abs().max()) > 1e-3


@pytest.mark.parametrize("connectivity", CONNECTIVITIES)
def test_each_trial_gets_the_weights_of_its_own_embedding(connectivity):
    hyper, c = make(connectivity, **KINDS["mlp"]), normal(TRIALS, D)
    J, bias = dense(hyper(c))
    for k in range(TRIALS):
        J_k, bias_k = dense(hyper(c[k : k + 1]))
        assert_close(J_k[0], J[k])
        assert_close(bias_k[0], bias[k])
    rank = torch.linalg.matrix_rank(J)
    assert (rank == (NEURONS if connectivity == "full_rank" else RANK)).all()


def test_random_starts_come_from_the_generator_alone():
    state = torch.random.get_rng_state()
    first, again, other = (make("low_rank", seed=s, **KINDS["mlp"]) for s in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    for a, b, c in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not a.numel() or not torch.equal(a, c)
