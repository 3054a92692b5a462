"""Facts about an RNN in the coordinates of the space its weights write to."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from jedi_sklearn import RNNBatch
from jedi_sklearn._reduced import (
    ReducedRNN,
    check_inputs,
    check_rnns,
    check_states,
    sort_by_size,
)

KINDS = ("shared", "low_rank", "low_rank with cores", "full_rank")
N_RNNS, N, N_INPUTS = 3, 12, 2
ONES = np.ones((N, 1))


@pytest.fixture(params=KINDS)
def rnns(request, networks):
    weights = np.random.RandomState(5).standard_normal((N_RNNS, N, N_INPUTS))
    return networks.random(request.param, n_rnns=N_RNNS, n_neurons=N, input_weights=weights)


@pytest.fixture
def reduced(rnns):
    return ReducedRNN(rnns, 1, np.array([0.5, -1.0]))


@pytest.fixture
def y(reduced):
    return np.random.RandomState(1).standard_normal((6, reduced.rank))


def step(rnns, x):
    """A step of RNN 1 under the input of `reduced`."""
    return rnns[1].step(x, [0.5, -1.0])


def test_a_lifted_state_projects_to_its_coordinates(reduced, y):
    assert_allclose(reduced.project(reduced.lift(y)), y, atol=1e-12)


def test_distances_of_coordinates_are_distances_of_states(reduced, y):
    x = reduced.lift(y)
    assert_allclose(
        np.linalg.norm(x[:, None] - x, axis=2), np.linalg.norm(y[:, None] - y, axis=2), atol=1e-12
    )


def test_a_step_of_the_coordinates_is_a_step_of_the_state(rnns, reduced, y):
    x = reduced.lift(y)
    moved = (1 - reduced.alpha) * y + reduced.alpha * reduced.target(x)
    assert_allclose(step(rnns, x), reduced.lift(moved), atol=1e-12)


def test_what_lies_outside_decays_at_the_rate_of_the_leak(rnns, reduced):
    x = np.random.RandomState(2).standard_normal((6, N))

    def outside(x):
        return x - reduced.lift(reduced.project(x))

    assert_allclose(outside(step(rnns, x)), (1 - reduced.alpha) * outside(x), atol=1e-12)


def test_projection_is_to_the_nearest_state(rnns, reduced):
    x = np.random.RandomState(2).standard_normal((1, N))
    y = reduced.project(x)
    for move in 0.1 * np.eye(reduced.rank):
        nearest = np.linalg.norm(x - reduced.lift(y))
        assert np.linalg.norm(x - reduced.lift(y + move)) > nearest


def test_weights_at_a_state_are_the_derivative_of_the_target(reduced, y):
    numeric = np.empty((len(y), reduced.rank, reduced.rank))
    for j, move in enumerate(1e-6 * np.eye(reduced.rank)):
        ahead, behind = (reduced.target(reduced.lift(y + s * move)) for s in (1, -1))
        numeric[:, :, j] = (ahead - behind) / 2e-6
    assert_allclose(reduced.weights_at(reduced.lift(y)), numeric, atol=1e-8)


def test_blocks_cover_all_states_once(reduced, monkeypatch):
    monkeypatch.setattr("jedi_sklearn._reduced.WORK", 5 * max(N, reduced.rank**2))
    parts = [np.arange(23)[block] for block in reduced.blocks(23)]
    assert [len(part) for part in parts] == [5, 5, 5, 5, 3]
    assert_array_equal(np.concatenate(parts), np.arange(23))
    assert reduced.blocks(0) == []


def test_linearly_dependent_factors_do_no_harm(networks, same_spectrum):
    U, V = np.random.RandomState(0).standard_normal((2, N, 2))
    twice = RNNBatch(np.hstack([U, U]), np.hstack([V, V]))
    x = np.random.RandomState(1).standard_normal((1, N))
    values = np.linalg.eigvals(ReducedRNN(twice, 0).weights_at(x))
    once = RNNBatch(2 * U, V).eigenvalues(x)
    same_spectrum(values, np.append(once, [0, 0]), atol=1e-10)


def test_sizes_fall_and_pairs_have_the_positive_frequency_first():
    values = np.array([0.2, 0.5 - 0.5j, -0.9, 0.5 + 0.5j, 0.9])
    assert_array_equal(sort_by_size(values), [0.9, -0.9, 0.5 + 0.5j, 0.5 - 0.5j, 0.2])
    many = np.stack([values, values[::-1]])
    assert_array_equal(sort_by_size(many)[0], sort_by_size(many)[1])


# What is accepted, and what is refused


@pytest.mark.parametrize("container", [list, tuple])
def test_a_sequence_of_batches_is_one_batch(networks, container):
    rnns = networks.random("shared")
    joined = check_rnns(container([rnns[:1], rnns[1:]]))
    assert_array_equal(joined.to_dense(), rnns.to_dense())


def test_inputs_are_given_to_all_rnns_or_to_each(rnns):
    common, each = np.array([1.0, 2.0]), np.arange(6.0).reshape(3, 2)
    assert_array_equal(check_inputs(common, rnns), np.tile(common, (3, 1)))
    assert_array_equal(check_inputs(each, rnns), each)
    assert check_inputs(None, rnns) is None


def test_integers_are_states(rnns):
    states = check_states(np.ones((N_RNNS, N), dtype=int), rnns)
    assert states.dtype == float


RNNS = RNNBatch(ONES, ONES, bias=np.zeros((3, N)), input_weights=np.ones((N, 2)))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: check_rnns(np.ones((3, 4))), TypeError, ["RNNBatch", "ndarray of shape (3, 4)"]),
        (
            lambda: check_rnns([np.ones(3)]),
            TypeError,
            ["RNNBatch", "list of ndarray", 'JEDIEstimator(output="dynamics")', "from_dense"],
        ),
        (lambda: check_rnns([]), TypeError, ["RNNBatch", "got list"]),
        (lambda: check_rnns(None), TypeError, ["RNNBatch", "NoneType"]),
        (lambda: check_rnns(RNNS[:0]), ValueError, ["at least one RNN", "empty"]),
        (
            lambda: check_rnns([RNNS, RNNBatch(ONES[:5], ONES[:5])]),
            ValueError,
            ["agree on n_neurons", "[5, 12]", "separate batches"],
        ),
        (
            lambda: check_inputs([1.0, 2.0], RNNBatch(ONES, ONES)),
            ValueError,
            ["inputs were given", "no input_weights", "Leave inputs out"],
        ),
        (
            lambda: check_inputs(np.ones((3, 50, 2)), RNNS),
            ValueError,
            ["inputs must be constant", "(n_inputs = 2,)", "(n_rnns = 3, 2)", "(3, 50, 2)"],
        ),
        (lambda: check_inputs([1.0, np.nan], RNNS), ValueError, ["inputs", "NaN"]),
        (lambda: check_inputs([[1.0], [1.0, 2.0]], RNNS), ValueError, ["inputs is ragged"]),
        (
            lambda: check_states(np.ones((3, 5)), RNNS),
            ValueError,
            ["states must have shape (n_rnns = 3, n_neurons = 12)", "n_states", "(3, 5)"],
        ),
        (
            lambda: check_states(np.ones((40, N)), RNNS),
            ValueError,
            ["got (40, 12)", "40 rows for 3 RNNs", "rnns[0] with states[np.newaxis]"],
        ),
        (lambda: check_states(np.ones((3, 0, N)), RNNS), ValueError, ["got (3, 0, 12)"]),
        (lambda: check_states(np.ones(N), RNNS), ValueError, ["got (12,)"]),
        (lambda: check_states(np.ones((3, N)), RNNS, (3,)), ValueError, ["n_states", "(3, 12)"]),
        (lambda: check_states(np.ones((3, N)) * np.inf, RNNS), ValueError, ["states", "infinite"]),
        (lambda: check_states(np.ones((3, N)) * 1j, RNNS), TypeError, ["states", "complex128"]),
        (lambda: check_states([[1.0], [1.0, 2.0]], RNNS), ValueError, ["states is ragged"]),
        (lambda: check_states(np.ones(2), RNNS, name="at"), ValueError, ["at must have shape"]),
    ],
)
def test_refusals_say_what_was_expected_and_what_came(call, error, words):
    with pytest.raises(error) as refusal:
        call()
    for word in words:
        assert word in str(refusal.value)
