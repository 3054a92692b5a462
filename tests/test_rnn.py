"""Facts about a batch of RNNs: one step, runs, Jacobians and spectra with known answers."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import train_test_split

from jedi_sklearn import RNNBatch

N_RNNS, N, RANK, N_INPUTS = 4, 7, 3, 2
KINDS = ("shared", "low_rank", "low_rank with cores", "full_rank")


def make_batch(kind, *, common_bias=False, common_inputs=False, seed=0):
    rng = np.random.RandomState(seed)
    rest = {
        "bias": 0.3 * rng.standard_normal((N,) if common_bias else (N_RNNS, N)),
        "input_weights": rng.standard_normal(
            (N, N_INPUTS) if common_inputs else (N_RNNS, N, N_INPUTS)
        ),
        "dt": 0.02,
        "tau": 0.1,
    }
    if kind == "full_rank":
        return RNNBatch.from_dense(rng.standard_normal((N_RNNS, N, N)), **rest)
    if kind == "shared":
        U, V = rng.standard_normal((2, N, RANK))
        return RNNBatch(U, V, rng.standard_normal((N_RNNS, RANK, RANK)), **rest)
    U, V = rng.standard_normal((2, N_RNNS, N, RANK))
    core = rng.standard_normal((N_RNNS, RANK, RANK)) if "cores" in kind else None
    return RNNBatch(U, V, core, **rest)


def plain_run(rnns, x0, n_timesteps, inputs=None):
    """The equation of the docstring, one RNN, one neuron at a time."""
    J = rnns.to_dense()
    bias = np.broadcast_to(rnns.bias, (len(rnns), N))
    B = np.broadcast_to(rnns.input_weights, (len(rnns), N, N_INPUTS))
    X = np.empty((len(rnns), n_timesteps, N))
    X[:, 0] = x0
    for k in range(len(rnns)):
        for t in range(n_timesteps - 1):
            for i in range(N):
                drive = sum(J[k, i, j] * np.tanh(X[k, t, j]) for j in range(N)) + bias[k, i]
                if inputs is not None:
                    drive += B[k, i] @ inputs[k, t]
                X[k, t + 1, i] = (1 - rnns.alpha) * X[k, t, i] + rnns.alpha * drive
    return X


@pytest.fixture(params=KINDS)
def rnns(request):
    return make_batch(request.param)


@pytest.fixture
def x0():
    return np.random.RandomState(1).standard_normal((N_RNNS, N))


@pytest.fixture
def inputs():
    return np.random.RandomState(2).standard_normal((N_RNNS, 6, N_INPUTS))


# Steps and runs


def test_dense_weights_are_the_product_of_the_factors():
    shared, low, full = make_batch("shared"), make_batch("low_rank"), make_batch("full_rank")
    for k in range(N_RNNS):
        assert_allclose(shared.to_dense()[k], shared.U @ shared.core[k] @ shared.V.T)
        assert_allclose(low.to_dense()[k], low.U[k] @ low.V[k].T)
    assert_array_equal(full.to_dense(), full.J)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("common", [True, False])
def test_runs_obey_the_equation(kind, common, x0, inputs):
    rnns = make_batch(kind, common_bias=common, common_inputs=common)
    assert_allclose(rnns.simulate(x0, 6), plain_run(rnns, x0, 6), rtol=1e-10)
    assert_allclose(rnns.simulate(x0, 6, inputs), plain_run(rnns, x0, 6, inputs), rtol=1e-10)
    assert_allclose(rnns.step(x0, inputs[:, 0]), plain_run(rnns, x0, 2, inputs)[:, 1], rtol=1e-10)


def test_a_factored_batch_runs_as_its_dense_translation(rnns, x0, inputs):
    dense = RNNBatch.from_dense(
        rnns.to_dense(), bias=rnns.bias, input_weights=rnns.input_weights, dt=0.02, tau=0.1
    )
    assert_allclose(dense.simulate(x0, 6, inputs), rnns.simulate(x0, 6, inputs), rtol=1e-10)


def test_one_rnn_runs_from_any_number_of_states(rnns, inputs):
    states = np.random.RandomState(3).standard_normal((5, N))
    many = rnns[2].simulate(states, 6, np.repeat(inputs[:1], 5, axis=0))
    for i in range(5):
        assert_allclose(many[i], rnns[2].simulate(states[i], 6, inputs[:1])[0], rtol=1e-10)


def test_an_input_acts_on_the_step_after_its_sample(rnns, x0):
    impulse = np.zeros((N_RNNS, 6, N_INPUTS))
    impulse[:, 2, 1] = 1.0
    difference = rnns.simulate(x0, 6, impulse) - rnns.simulate(x0, 6)
    assert_allclose(difference[:, :3], 0, atol=1e-14)
    assert_allclose(difference[:, 3], rnns.alpha * rnns.input_weights[:, :, 1], atol=1e-12)
    last = np.zeros_like(impulse)
    last[:, -1] = 1.0  # nothing comes after the last sample
    assert_array_equal(rnns.simulate(x0, 6, last), rnns.simulate(x0, 6))


def test_without_weights_states_decay_to_the_bias_with_the_time_constant():
    rnn = RNNBatch.from_dense(np.zeros((2, 2)), bias=[1.0, -2.0], dt=0.001, tau=0.1)
    run = rnn.simulate([3.0, 0.0], 101)[0]  # one time constant
    assert_allclose(run[-1], [1 + 2 * 0.99**100, -2 * (1 - 0.99**100)])


def test_noise_has_its_sd_and_its_seed():
    rnn = RNNBatch(np.zeros((500, 1)), np.zeros((500, 1)), dt=0.01, tau=0.1)
    x0 = np.zeros((4, 500))
    run = rnn.simulate(x0, 30, noise=0.3, random_state=5)
    assert_array_equal(run, rnn.simulate(x0, 30, noise=0.3, random_state=5))
    assert np.abs(run - rnn.simulate(x0, 30, noise=0.3, random_state=6)).max() > 0.1
    innovation = run[:, 1:] - (1 - rnn.alpha) * run[:, :-1]
    assert_allclose(innovation.std(), 0.3, rtol=0.02)
    assert_array_equal(x0, 0)


# Linearisation


@pytest.mark.parametrize("where", ["origin", "elsewhere"])
def test_jacobian_is_the_derivative_of_a_step(rnns, x0, where):
    x = np.zeros_like(x0) if where == "origin" else x0
    numeric, eps = np.empty((N_RNNS, N, N)), 1e-6
    for j in range(N):
        move = eps * np.eye(N)[j]
        numeric[:, :, j] = (rnns.step(x + move) - rnns.step(x - move)) / (2 * eps)
    assert_allclose(rnns.jacobian(x), numeric, atol=1e-8)
    if where == "origin":
        assert_array_equal(rnns.jacobian(), rnns.jacobian(x))


@pytest.mark.parametrize("where", [None, "elsewhere"])
def test_eigenvalues_are_the_nonzero_ones_of_the_dense_matrix(rnns, x0, where):
    x = None if where is None else x0
    slope = np.ones((N_RNNS, N)) if x is None else 1 - np.tanh(x0) ** 2
    values = rnns.eigenvalues(x)
    assert values.shape == (N_RNNS, rnns.rank)
    for k, J in enumerate(rnns.to_dense()):
        dense = np.linalg.eigvals(J * slope[k])
        dense = dense[np.argsort(-np.abs(dense))]
        assert_allclose(np.abs(dense[rnns.rank :]), 0, atol=1e-6)
        assert_allclose(np.sort_complex(values[k]), np.sort_complex(dense[: rnns.rank]), atol=1e-8)


def test_multipliers_of_the_map_follow_from_the_eigenvalues(rnns, x0):
    multipliers = 1 + rnns.alpha * (rnns.eigenvalues(x0) - 1)
    for k, jacobian in enumerate(rnns.jacobian(x0)):
        dense = np.linalg.eigvals(jacobian)
        distance = np.abs(multipliers[k][:, None] - dense)
        assert_allclose(distance.min(axis=1), 0, atol=1e-7)
        leak = np.abs(dense - (1 - rnns.alpha)) < 1e-6
        assert leak.sum() >= N - rnns.rank


def test_rank_one_eigenvalue_is_the_overlap_of_its_vectors():
    rng = np.random.RandomState(0)
    u, v = rng.standard_normal((2, 20, 1))
    rnn = RNNBatch(u, v)
    assert_allclose(rnn.eigenvalues(), [[u[:, 0] @ v[:, 0]]])
    x = rng.standard_normal((3, 20))
    assert_allclose(rnn.eigenvalues(x)[:, 0].real, (1 - np.tanh(x) ** 2) @ (u * v)[:, 0])


def test_a_small_state_along_a_rank_one_mode_grows_by_its_multiplier():
    u = np.ones((10, 1)) / np.sqrt(10)
    rnn = RNNBatch(u, 2.5 * u, dt=0.01, tau=0.1)
    multiplier = 1 + 0.1 * (2.5 - 1)
    run = rnn.simulate(1e-9 * u.T, 30)[0]
    assert_allclose(run[:, 0], 1e-9 / np.sqrt(10) * multiplier ** np.arange(30), rtol=1e-9)


def test_a_rank_two_rotation_turns_at_the_angle_of_its_eigenvalues():
    basis = np.linalg.qr(np.random.RandomState(0).standard_normal((20, 2)))[0]
    size, angle = 1.7, 0.6
    turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    rnn = RNNBatch(basis, basis, turn[None], dt=0.01, tau=0.1)
    values = rnn.eigenvalues()[0]
    assert_allclose(values, [size * np.exp(1j * angle), size * np.exp(-1j * angle)])
    run = rnn.simulate(1e-9 * basis.T[:1], 25)[0] @ basis  # coordinates along the mode
    expected = 1e-9 * (1 + 0.1 * (values[0] - 1)) ** np.arange(25)
    assert_allclose(run[:, 0] + 1j * run[:, 1], expected, rtol=1e-9)


def test_order_falls_along_the_real_axis_with_positive_frequencies_first(rnns, x0):
    for values in rnns.eigenvalues(x0):
        assert np.all(np.diff(values.real) < 1e-9)
        for i in np.flatnonzero(values.imag < -1e-9):
            assert_allclose(values[i], values[i - 1].conj(), atol=1e-9)


def test_order_does_not_depend_on_the_order_of_the_factors():
    rnns = make_batch("low_rank")
    flipped = RNNBatch(rnns.U[..., ::-1], rnns.V[..., ::-1])
    assert_allclose(flipped.eigenvalues(), rnns.eigenvalues(), atol=1e-10)


# Free runs, and batches joined


def with_starts(kind, n_timesteps=6, lengths=None, **changes):
    """A batch that knows where its free runs start."""
    rnns = make_batch(kind, **changes)
    w = (rnns.J,) if kind == "full_rank" else (rnns.U, rnns.V, rnns.core)
    make = RNNBatch.from_dense if kind == "full_rank" else RNNBatch
    return make(
        *w,
        bias=rnns.bias,
        input_weights=rnns.input_weights,
        dt=rnns.dt,
        tau=rnns.tau,
        initial_states=np.random.RandomState(1).standard_normal((N_RNNS, N)),
        n_timesteps=n_timesteps,
        lengths=lengths,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_free_run_is_a_simulation_from_the_initial_states(kind, x0, inputs):
    rnns = with_starts(kind)
    assert_array_equal(rnns.free_run(), rnns.simulate(x0, 6))
    assert_array_equal(rnns.free_run(4), rnns.simulate(x0, 4))
    assert_array_equal(rnns.free_run(inputs=inputs), rnns.simulate(x0, 6, inputs))


def test_a_common_initial_state_starts_every_run():
    rnns = RNNBatch.from_dense(np.zeros((3, 2, 2)), initial_states=[1.0, 2.0], n_timesteps=2)
    assert_allclose(rnns.free_run(), np.tile([[1.0, 2.0], [0.9, 1.8]], (3, 1, 1)))
    assert_allclose(rnns[1:].free_run(), rnns.free_run()[1:])


def test_a_batch_says_whether_it_knows_its_free_runs():
    assert with_starts("shared").has_free_run
    assert with_starts("shared")[1].has_free_run
    assert not with_starts("shared", None).has_free_run
    assert not make_batch("shared").has_free_run


def test_initial_states_say_how_many_rnns_there_are():
    rnns = RNNBatch(np.ones((2, 1)), np.ones((2, 1)), initial_states=np.eye(2), n_timesteps=3)
    assert len(rnns) == 2
    assert_array_equal(rnns.free_run()[:, 0], np.eye(2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("index", [2, slice(1, 3), [3, 0]])
def test_selected_rnns_keep_their_free_runs(kind, index):
    rnns = with_starts(kind)
    expected = rnns.free_run()[np.atleast_1d(np.arange(N_RNNS)[index])]
    assert_allclose(rnns[index].free_run(), expected, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_a_batch_join_to_the_batch(kind, inputs):
    rnns = with_starts(kind)
    joined = RNNBatch.concatenate([rnns[:1], rnns[1:3], rnns[3:]])
    assert joined.connectivity == rnns.connectivity
    assert (len(joined), joined.rank, joined.n_timesteps) == (N_RNNS, rnns.rank, 6)
    assert_allclose(joined.to_dense(), rnns.to_dense(), rtol=1e-12)
    assert_allclose(joined.free_run(inputs=inputs), rnns.free_run(inputs=inputs), rtol=1e-10)


@pytest.mark.parametrize("kinds", [KINDS, KINDS[:3], KINDS[1:3]])
def test_batches_of_several_connectivities_join(kinds, inputs):
    parts = [with_starts(kind, seed=i) for i, kind in enumerate(kinds)]
    joined = RNNBatch.concatenate(parts)
    assert joined.connectivity == ("full_rank" if "full_rank" in kinds else "low_rank")
    for i, part in enumerate(parts):
        mine = joined[i * N_RNNS : (i + 1) * N_RNNS]
        assert_allclose(mine.free_run(inputs=inputs), part.free_run(inputs=inputs), rtol=1e-10)


def test_shared_bases_that_differ_do_not_stay_shared():
    parts = [make_batch("shared", seed=i) for i in (0, 1)]
    joined = RNNBatch.concatenate(parts)
    assert joined.connectivity == "low_rank"
    assert_allclose(joined.to_dense(), np.concatenate([b.to_dense() for b in parts]), atol=1e-12)


def test_ranks_that_differ_are_filled_with_zeros():
    rng = np.random.RandomState(0)
    parts = [RNNBatch(*rng.standard_normal((2, 2, N, r))) for r in (1, 3)]
    joined = RNNBatch.concatenate(parts)
    assert joined.rank == 3
    assert_allclose(joined.to_dense(), np.concatenate([b.to_dense() for b in parts]), atol=1e-12)
    assert_allclose(joined.eigenvalues()[0].prod(), 0, atol=1e-12)


def test_runs_of_other_lengths_join_and_keep_their_lengths():
    short, long = with_starts("shared", 6), with_starts("shared", 9)
    joined = RNNBatch.concatenate([short, long])
    assert joined.lengths.tolist() == [6] * N_RNNS + [9] * N_RNNS
    assert_allclose(joined.free_run()[:N_RNNS, :6], short.free_run(), rtol=1e-12)
    assert_allclose(joined.free_run()[N_RNNS:], long.free_run(), rtol=1e-12)


def test_inputs_of_runs_of_other_lengths_are_zero_after_their_ends():
    B, u = np.ones((2, 1)), np.ones((1, 5, 1))
    start = {"initial_states": np.zeros(2), "input_weights": B}
    short, long = (
        RNNBatch.from_dense(np.eye(2), inputs=u[:, :n], n_timesteps=n, **start) for n in (3, 5)
    )
    joined = RNNBatch.concatenate([short, long])
    assert joined.inputs[:, :, 0].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]


def test_lengths_follow_their_rnns():
    assert with_starts("shared").lengths.tolist() == [6] * N_RNNS
    assert make_batch("shared").lengths is None
    rnns = RNNBatch(ONES, ONES, initial_states=ONES[:, 0], n_timesteps=6, lengths=[6, 3, 1])
    assert len(rnns) == 3
    assert rnns[[2, 0]].lengths.tolist() == [1, 6]
    assert RNNBatch.concatenate(list(rnns)).lengths.tolist() == [6, 3, 1]
    assert rnns.free_run().shape == (3, 6, 7)  # also beyond the ends


def test_rnns_without_a_start_leave_the_join_without_starts():
    joined = RNNBatch.concatenate([with_starts("shared"), make_batch("shared")])
    assert joined.initial_states is None
    assert len(joined) == 2 * N_RNNS


# A sequence of RNNs


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (2, [2]),
        (-1, [3]),
        (slice(1, 3), [1, 2]),
        ([3, 0], [3, 0]),
        (np.array([True, False, False, True]), [0, 3]),
        ([], []),
    ],
)
def test_indexing_selects_rnns(rnns, x0, inputs, index, expected):
    chosen = rnns[index]
    assert len(chosen) == len(expected)
    assert chosen.shape == (len(expected), N)
    assert_array_equal(chosen.to_dense(), rnns.to_dense()[expected])
    if expected:
        assert_allclose(
            chosen.simulate(x0[expected], 6, inputs[expected]),
            rnns.simulate(x0, 6, inputs)[expected],
            rtol=1e-12,
        )


def test_iteration_ends_and_gives_each_rnn(rnns):
    parts = list(rnns)
    assert [len(part) for part in parts] == [1] * N_RNNS
    assert_array_equal(np.concatenate([p.to_dense() for p in parts]), rnns.to_dense())


def test_an_index_past_the_end_is_an_index_error(rnns):
    with pytest.raises(IndexError):
        rnns[N_RNNS]


@pytest.mark.parametrize("index", [[[0, 1], [2, 3]], np.newaxis], ids=str)
def test_an_index_of_two_axes_is_an_index_error(rnns, index):
    with pytest.raises(IndexError, match=r"1-D array of integers, got .* shape \("):
        rnns[index]


def test_scikit_learn_splits_a_batch_as_it_splits_samples(rnns):
    labels = np.arange(N_RNNS)
    train, test, y_train, y_test = train_test_split(rnns, labels, test_size=1, random_state=0)
    assert_array_equal(train.to_dense(), rnns.to_dense()[y_train])
    assert_array_equal(test.to_dense(), rnns.to_dense()[y_test])


def test_dense_weights_can_be_changed_without_changing_the_rnn(rnns, x0):
    before = rnns.step(x0)
    rnns.to_dense()[:] = 0
    assert_array_equal(rnns.step(x0), before)


def test_a_batch_is_no_array():
    with pytest.raises(TypeError, match=r"are not numbers.*EigenspectrumAnalyzer.*to_dense"):
        np.asarray(make_batch("low_rank"))


def test_what_a_batch_says_of_itself():
    sizes = {kind: make_batch(kind) for kind in KINDS}
    assert [b.connectivity for b in sizes.values()] == [
        "shared",
        "low_rank",
        "low_rank",
        "full_rank",
    ]
    assert [b.rank for b in sizes.values()] == [RANK, RANK, RANK, N]
    assert sizes["shared"].n_inputs == N_INPUTS
    assert sizes["shared"].alpha == pytest.approx(0.2)
    assert RNNBatch(np.ones((5, 1)), np.ones((5, 1))).n_inputs == 0
    assert "n_rnns=4, n_neurons=7, rank=3, connectivity='shared'" in repr(sizes["shared"])


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_given_can_be_changed_without_changing_the_rnn(kind):
    b = make_batch(kind)
    given = {name: getattr(b, name) for name in ("U", "V", "core", "J", "bias", "input_weights")}
    given |= {"initial_states": np.ones((N_RNNS, N)), "inputs": np.ones((N_RNNS, 6, 2))}
    given = {name: a.copy() for name, a in given.items() if a is not None}
    make = RNNBatch if "J" not in given else RNNBatch.from_dense
    rnns = make(**given, n_timesteps=6)
    before = rnns.free_run()
    for a in given.values():
        a[:] = 0
    assert_array_equal(rnns.free_run(), before)


# Refusals

ONES = np.ones((N, RANK))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RNNBatch(ONES, ONES[:, :2]), ["U and V", "same shape", "(7, 3)", "(7, 2)"]),
        (lambda: RNNBatch(ONES[0], ONES[0]), ["U must be 2-D or 3-D", "(3,)"]),
        (lambda: RNNBatch(ONES * np.nan, ONES), ["U", "NaN or infinite"]),
        (
            lambda: RNNBatch(ONES, ONES, np.ones((2, 2, 2))),
            ["core", "(n_rnns, 3, 3)", "(2, 2, 2)"],
        ),
        (lambda: RNNBatch(ONES, ONES, np.ones((3, 3))), ["core must be 3-D", "(3, 3)"]),
        (lambda: RNNBatch(ONES, ONES, bias=np.ones(3)), ["bias", "n_neurons = 7", "(3,)"]),
        (
            lambda: RNNBatch(ONES, ONES, input_weights=np.ones((3, 2))),
            ["input_weights", "n_neurons = 7", "(3, 2)"],
        ),
        (
            lambda: RNNBatch(ONES, ONES, np.ones((2, 3, 3)), bias=np.ones((4, N))),
            ["disagree on the number of RNNs", "'core': 2", "'bias': 4"],
        ),
        (lambda: RNNBatch(ONES, ONES, dt=0.1, tau=0.1), ["0 < dt < tau", "dt=0.1"]),
        (lambda: RNNBatch(ONES, ONES, dt=-1.0), ["0 < dt < tau", "dt=-1.0"]),
        (lambda: RNNBatch.from_dense(np.ones((3, 4))), ["J must be square", "(3, 4)"]),
        (lambda: RNNBatch.from_dense(np.ones(4)), ["J must be 2-D or 3-D", "(4,)"]),
        (lambda: RNNBatch(ONES.T, ONES.T), ["more columns", "from_dense"]),
        (lambda: RNNBatch.concatenate([]), ["at least one batch", "none"]),
        (lambda: make_batch("shared").step(np.ones((4, 6))), ["n_neurons = 7", "(4, 6)"]),
        (
            lambda: make_batch("shared").step(np.ones((3, 7))),
            ["3 states", "4 RNNs", "one per RNN", "rnns[0]"],
        ),
        (
            lambda: make_batch("shared").step(np.ones((4, 7)), np.ones((4, 3))),
            ["n_inputs = 2", "got 3"],
        ),
        (
            lambda: RNNBatch(ONES, ONES).step(np.ones(7), np.ones(2)),
            ["inputs were given", "no input_weights"],
        ),
        (
            lambda: make_batch("shared").simulate(np.ones((4, 7)), 5, np.ones((4, 6, 2))),
            ["inputs", "(4, 5, n_inputs)", "(4, 6, 2)"],
        ),
        (
            lambda: make_batch("shared").simulate(np.ones((4, 7)), 0),
            ["n_timesteps", "integer >= 1", "got 0"],
        ),
        (
            lambda: make_batch("shared").simulate(np.ones((4, 7)), 5, noise=-0.1),
            ["noise", ">= 0", "-0.1"],
        ),
        (
            lambda: make_batch("shared").step(np.ones((4, 7)), np.ones((3, 2))),
            ["inputs", "3 rows", "4 states"],
        ),
        (lambda: make_batch("shared").jacobian(np.ones((2, 7))), ["2 states", "4 RNNs"]),
        (lambda: make_batch("shared").eigenvalues(np.ones((4, 5))), ["n_neurons = 7", "(4, 5)"]),
        (
            lambda: make_batch("shared").free_run(5),
            ["no initial_states", "constructor", "JEDIEstimator.dynamics"],
        ),
        (lambda: with_starts("shared", None).free_run(), ["no n_timesteps", "constructor"]),
        (lambda: RNNBatch(ONES, ONES, lengths=[2]), ["lengths", "pass n_timesteps"]),
        (
            lambda: RNNBatch(ONES, ONES, n_timesteps=4, lengths=[5]),
            ["lengths", "1 to n_timesteps = 4", "[5]"],
        ),
        (lambda: RNNBatch(ONES, ONES, n_timesteps=4, lengths=2), ["lengths", "each RNN", "2"]),
        (
            lambda: with_starts("shared", lengths=[1, 2]),
            ["disagree on the number of RNNs", "'lengths': 2"],
        ),
        (lambda: with_starts("shared").free_run(0), ["n_timesteps", "integer >= 1", "got 0"]),
        (
            lambda: RNNBatch(ONES, ONES, initial_states=np.ones(3)),
            ["initial_states", "n_neurons = 7", "(3,)"],
        ),
        (
            lambda: RNNBatch(ONES, ONES, initial_states=np.full(7, np.inf)),
            ["initial_states", "NaN or infinite"],
        ),
        (
            lambda: RNNBatch(ONES, ONES, bias=np.ones((4, 7)), initial_states=np.ones((2, 7))),
            ["disagree on the number of RNNs", "'bias': 4", "'initial_states': 2"],
        ),
        (lambda: RNNBatch(ONES, ONES, n_timesteps=0), ["n_timesteps", "integer >= 1", "0"]),
        (
            lambda: RNNBatch.concatenate([make_batch("shared"), RNNBatch(ONES, ONES, dt=0.02)]),
            ["agree on n_inputs", "[0, 2]", "separate batches"],
        ),
        (
            lambda: RNNBatch.concatenate([RNNBatch(ONES, ONES), RNNBatch(ONES[:5], ONES[:5])]),
            ["agree on n_neurons", "[5, 7]"],
        ),
        (
            lambda: RNNBatch.concatenate([RNNBatch(ONES, ONES), RNNBatch(ONES, ONES, dt=0.02)]),
            ["agree on dt", "[0.01, 0.02]"],
        ),
        (
            lambda: RNNBatch.concatenate([RNNBatch(ONES, ONES), RNNBatch(ONES, ONES, tau=0.2)]),
            ["agree on tau", "[0.1, 0.2]"],
        ),
    ],
)
def test_refusals_say_what_was_expected_and_what_came(make, words):
    with pytest.raises(ValueError) as refusal:
        make()
    for word in words:
        assert word in str(refusal.value)


def test_half_a_sample_is_refused():
    with pytest.raises(TypeError, match=r"n_timesteps must be an integer >= 1, got 2\.5"):
        make_batch("shared").simulate(np.ones((4, 7)), 2.5)
