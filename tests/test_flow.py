"""Facts about the flow of an RNN on a plane."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from jedi_sklearn import RNNBatch, find_fixed_points, flow_field
from jedi_sklearn.flow import principal_axes

N = 12
KINDS = ("shared", "low_rank", "full_rank")


def grid_states(field):
    """The states (n_grid, n_grid, n_neurons) of a field's grid."""
    x, y = field.x[None, :, None], field.y[:, None, None]
    return field.origin + x * field.axes[0] + y * field.axes[1]


def rms(x):
    return np.sqrt(np.square(x).mean(axis=-1))


@pytest.fixture(params=KINDS)
def rnn(request, networks):
    return networks.random(request.param)[0]


@pytest.fixture
def states():
    return np.random.RandomState(0).standard_normal((4, 9, N)).cumsum(axis=1)


def test_velocity_is_the_projected_change_per_second(rnn, states):
    field = flow_field(rnn, states, n_grid=5)
    for i in range(5):
        for j in range(5):
            x = field.origin + field.x[j] * field.axes[0] + field.y[i] * field.axes[1]
            change = (rnn.step(x)[0] - x) / rnn.dt
            assert_allclose(field.velocity[i, j], field.axes @ change, atol=1e-10)
            assert_allclose(field.speed[i, j], rms(change), atol=1e-10)


def test_speed_counts_what_leaves_the_plane(rnn, states):
    field = flow_field(rnn, states)
    assert (field.speed * np.sqrt(N) > np.linalg.norm(field.velocity, axis=-1)).all()


def test_speed_is_that_of_fixed_and_slow_points(networks):
    net = networks.ring()
    rnn = RNNBatch(net.rnn.U, net.rnn.V + 0.01 * np.eye(60)[:, :2])
    found = find_fixed_points(rnn, slow_speed=0.5)[0]
    for point in list(found)[::10]:
        axes = np.concatenate([point.points, net.plane[:, :1].T])
        field = flow_field(rnn, axes=axes, origin=point.points[0], extent=1.0, n_grid=3)
        assert_allclose(field.speed[1, 1], point.speeds[0], atol=1e-9)


def test_on_the_plane_of_the_weights_nothing_leaves(networks):
    net = networks.ring(turn=0.3)
    field = flow_field(net.rnn, axes=net.plane.T, extent=3.0)
    on_plane = np.linalg.norm(field.velocity, axis=-1)
    assert_allclose(field.speed * np.sqrt(60), on_plane, atol=1e-9)


def test_nothing_flows_at_fixed_points(networks):
    net = networks.hadamard()
    reach = np.abs(net.points @ net.m[:, 0]).max() / 4  # norm of m is 4
    field = flow_field(net.rnn, axes=net.m.T, extent=reach, n_grid=5)
    for x in net.points:
        j, i = (
            np.abs(axis - v).argmin()
            for axis, v in zip((field.x, field.y), field.project(x), strict=True)
        )
        assert_allclose(grid_states(field)[i, j], x, atol=1e-9)
        assert_allclose(field.velocity[i, j], 0, atol=1e-9)
        assert_allclose(field.speed[i, j], 0, atol=1e-9)
    assert (field.speed < 1e-9).sum() == 9


def test_a_linear_flow_is_its_matrix():
    J = np.array([[0.5, -2.0], [3.0, 0.2]])
    field = flow_field(RNNBatch.from_dense(J), axes=np.eye(2), extent=1e-5, n_grid=3)
    assert_allclose(field.velocity, grid_states(field) @ (J - np.eye(2)).T / 0.1, rtol=1e-8)


def test_a_ring_flows_outwards_inside_and_inwards_outside(networks):
    net = networks.ring()
    field = flow_field(net.rnn, axes=net.plane.T, extent=20.0, n_grid=20)
    at = np.stack(np.meshgrid(field.x, field.y), axis=-1)
    outwards = (field.velocity * at).sum(axis=-1)
    radius = np.linalg.norm(at, axis=-1)
    assert_array_equal(outwards > 0, radius < net.radius * np.sqrt(30))


def test_an_input_is_a_constant_drive(networks):
    B = np.random.RandomState(0).standard_normal((N, 2))
    rnn = networks.random("shared", input_weights=B)[0]
    plain = flow_field(rnn, axes=np.eye(N)[:2], extent=1.0)
    for inputs in ([0.5, -1.0], [[0.5, -1.0]]):
        driven = flow_field(rnn, axes=np.eye(N)[:2], extent=1.0, inputs=inputs)
        push = (B @ np.ravel(inputs))[:2] / rnn.tau
        assert_allclose(driven.velocity - plain.velocity, np.tile(push, (21, 21, 1)), atol=1e-9)


def test_dense_weights_flow_as_their_factors(networks):
    rnn = networks.random("low_rank")[1]
    dense = RNNBatch.from_dense(rnn.to_dense(), bias=rnn.bias, dt=rnn.dt)
    axes = np.random.RandomState(0).standard_normal((2, N))
    fields = [flow_field(r, axes=axes, extent=2.0) for r in (rnn, dense)]
    assert_allclose(fields[1].velocity, fields[0].velocity, atol=1e-9)


# The plane


def test_axes_are_made_orthonormal_and_the_first_kept(rnn):
    given = np.random.RandomState(1).standard_normal((2, N))
    field = flow_field(rnn, axes=given, extent=1.0)
    assert_allclose(field.axes @ field.axes.T, np.eye(2), atol=1e-12)
    assert_allclose(field.axes[0], given[0] / np.linalg.norm(given[0]), atol=1e-12)
    assert field.axes[1] @ given[1] > 0
    assert_allclose(given - given @ field.axes.T @ field.axes, 0, atol=1e-12)  # the same plane


def test_states_span_the_plane_with_their_principal_components(rnn, states):
    field = flow_field(rnn, states)
    rows = states.reshape(-1, N)
    assert_allclose(field.origin, rows.mean(axis=0))
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    assert_allclose(np.abs(np.diag(field.axes @ vectors[:, ::-1][:, :2])), 1, atol=1e-9)


def test_signs_of_the_principal_axes_do_not_depend_on_the_signs_of_the_states():
    rows = np.random.RandomState(0).standard_normal((30, N))
    mean, axes = principal_axes(rows)
    other, flipped = principal_axes(-rows)
    assert_allclose(flipped, axes, atol=1e-12)
    assert_allclose(other, -mean)
    assert (axes[[0, 1], np.abs(axes).argmax(axis=1)] > 0).all()


def test_the_grid_holds_all_states_with_a_margin(rnn, states):
    field = flow_field(rnn, states, n_grid=7)
    at = field.project(states)
    assert at.shape == (4, 9, 2)
    for axis, values in ((field.x, at[..., 0]), (field.y, at[..., 1])):
        assert axis.shape == (7,)
        assert axis[0] < values.min() and values.max() < axis[-1]


def test_the_free_run_spans_the_plane_where_the_rnn_knows_it(networks):
    x0 = np.ones(N)
    rnn = networks.random("shared", initial_states=x0, n_timesteps=30)[0]
    field, expected = flow_field(rnn), flow_field(rnn, rnn.free_run())
    for name in ("x", "y", "velocity", "axes", "origin"):
        assert_array_equal(getattr(field, name), getattr(expected, name))


def test_an_origin_given_is_at_zero(rnn, states):
    origin = np.arange(float(N))
    for rest in ({"states": states}, {"axes": np.eye(N)[:2], "extent": 1.0}):
        field = flow_field(rnn, origin=origin, **rest)
        assert_array_equal(field.origin, origin)
        assert_allclose(field.project(origin), 0)


@pytest.mark.parametrize(
    ("extent", "expected"),
    [(2, (-2, 2, -2, 2)), ((-1, 2, 0, 5), (-1, 2, 0, 5)), ([0.0, 1.0, 2.0, 3.0], (0, 1, 2, 3))],
)
def test_the_extent_bounds_the_grid(rnn, extent, expected):
    field = flow_field(rnn, axes=np.eye(N)[:2], extent=extent, n_grid=4)
    assert (field.x[0], field.x[-1], field.y[0], field.y[-1]) == expected
    assert field.velocity.shape == (4, 4, 2) and field.speed.shape == (4, 4)


def test_projection_undoes_the_grid(rnn, states):
    field = flow_field(rnn, states, n_grid=5)
    x, y = np.meshgrid(field.x, field.y)
    assert_allclose(field.project(grid_states(field)), np.stack([x, y], axis=-1), atol=1e-9)


# Refusals

M = np.ones((N, 1))
ONE = RNNBatch(M, M, input_weights=np.ones((N, 2)))
PLANE = {"axes": np.eye(N)[:2], "extent": 1.0}


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: flow_field(np.eye(3)), TypeError, ["RNNBatch", "ndarray of shape (3, 3)"]),
        (
            lambda: flow_field(RNNBatch(M, M, bias=np.zeros((3, N))), **PLANE),
            ValueError,
            ["one RNN", "got 3", "rnns[0]"],
        ),
        (lambda: flow_field(ONE), ValueError, ["plane", "pass states or axes"]),
        (lambda: flow_field(ONE, axes=np.eye(N)[:2]), ValueError, ["pass states or extent"]),
        (
            lambda: flow_field(ONE, axes=np.eye(N)[:3], extent=1.0),
            ValueError,
            ["axes must have shape (2, n_neurons = 12)", "(3, 12)"],
        ),
        (
            lambda: flow_field(ONE, axes=np.ones((2, N)), extent=1.0),
            ValueError,
            ["axes", "linearly independent"],
        ),
        (lambda: flow_field(ONE, np.ones((4, 5))), ValueError, ["states", "12", "(4, 5)"]),
        (
            lambda: flow_field(ONE, np.ones((1, N))),
            ValueError,
            ["2 principal axes", "at least 2 states", "got 1 states of 12"],
        ),
        (lambda: flow_field(ONE, np.full((4, N), np.nan)), ValueError, ["states", "NaN"]),
        (
            lambda: flow_field(ONE, origin=np.ones(5), **PLANE),
            ValueError,
            ["origin must have shape (1, n_neurons = 12)", "(5,)"],
        ),
        (
            lambda: flow_field(ONE, axes=PLANE["axes"], extent=-1.0),
            ValueError,
            ["extent", "positive number", "(x_low, x_high, y_low, y_high)", "-1.0"],
        ),
        (
            lambda: flow_field(ONE, axes=PLANE["axes"], extent=(0, 1)),
            ValueError,
            ["extent", "(0, 1)"],
        ),
        (
            lambda: flow_field(ONE, axes=PLANE["axes"], extent=(1, 0, 0, 1)),
            ValueError,
            ["extent", "(1, 0, 0, 1)"],
        ),
        (lambda: flow_field(ONE, n_grid=1, **PLANE), ValueError, ["n_grid", ">= 2", "1"]),
        (
            lambda: flow_field(ONE, inputs=np.ones((30, 2)), **PLANE),
            ValueError,
            ["inputs must be constant", "(30, 2)"],
        ),
        (
            lambda: flow_field(RNNBatch(M, M), inputs=[1.0], **PLANE),
            ValueError,
            ["inputs", "no input_weights"],
        ),
    ],
)
def test_refusals_say_what_was_expected_and_what_came(call, error, words):
    with pytest.raises(error) as refusal:
        call()
    for word in words:
        assert word in str(refusal.value)
