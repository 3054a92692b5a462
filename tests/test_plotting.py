import builtins
import contextlib
import itertools
import subprocess
import sys

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from jedi_sklearn import RNNBatch, eigenspectrum, find_fixed_points, flow_field
from jedi_sklearn.evaluation import Comparison, permutation_test_features
from jedi_sklearn.plotting import (
    ComparisonDisplay,
    EigenspectrumDisplay,
    EmbeddingDisplay,
    FixedPointDisplay,
    FlowFieldDisplay,
    FreeRunDisplay,
    PermutationDisplay,
)
from jedi_sklearn.plotting._common import robust_range
from jedi_sklearn.preprocessing import Recording
from jedi_sklearn.spectra import Eigenspectrum

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.colors import to_hex  # noqa: E402


def offsets(ax):
    """Points of all scatter plots of the axes, in the order drawn."""
    return np.concatenate([np.asarray(c.get_offsets()) for c in ax.collections])


def lines(ax, gid):
    return [line for line in ax.lines if line.get_gid() == gid]


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def sort_rows(points):
    return points[np.lexsort(np.round(points, 9).T)]


@pytest.fixture(scope="module")
def rnns():
    """Three random RNNs of rank 4."""
    rng = np.random.default_rng(0)
    U, V = rng.standard_normal((2, 3, 40, 4))
    return RNNBatch(U, 0.06 * V, dt=0.02, initial_states=U[:, :, 0], n_timesteps=30)


@pytest.fixture(scope="module")
def bistable():
    """Two stable fixed points, the origin unstable in one direction, and its two trajectories."""
    u = np.ones(20) / np.sqrt(20)
    v = np.tile([1.0, -1.0], 10) / np.sqrt(20)
    rnn = RNNBatch.from_dense(2 * np.outer(u, u) + 0.5 * np.outer(v, v), dt=0.02)
    starts = np.stack([0.3 * u + v, -0.3 * u + 2 * v])
    return rnn, rnn.simulate(starts, 80)


# ---------------------------------------------------------------------- eigenspectrum


def test_multipliers_are_drawn_with_unit_circle_and_leak(rnns):
    ax = EigenspectrumDisplay.from_rnns(rnns).ax_
    expected = eigenspectrum(rnns).multipliers.ravel()
    np.testing.assert_allclose(offsets(ax) @ [1, 1j], expected)
    (circle,) = lines(ax, "unit circle")
    np.testing.assert_allclose(np.hypot(*circle.get_data()), 1)
    (leak,) = lines(ax, "leak")
    np.testing.assert_allclose(leak.get_data(), [[0.8], [0]])
    assert ax.get_aspect() == 1
    assert "per step" in ax.get_xlabel()


def test_view_of_multipliers_holds_all_of_them_and_the_circle_if_asked(rnns):
    for whole in (False, True):
        ax = EigenspectrumDisplay.from_rnns(rnns, whole_circle=whole).ax_
        points = [*offsets(ax), (1, 0), *([(-1, 0), (0, 1), (0, -1)] if whole else [])]
        low, high = np.transpose([ax.get_xlim(), ax.get_ylim()])
        assert ((points > low) & (points < high)).all()


def test_rates_show_each_pair_once(rnns):
    display = EigenspectrumDisplay.from_rnns(rnns, kind="rates")
    spectrum = eigenspectrum(rnns)
    upper = spectrum.multipliers.imag >= 0
    expected = [spectrum.growth_rates[upper], np.abs(spectrum.frequencies[upper])]
    np.testing.assert_allclose(offsets(display.ax_).T, expected)
    assert display.ax_.get_xlabel() == "growth rate (1/s)"
    assert display.ax_.get_ylabel() == "frequency (Hz)"
    assert set(lines(display.ax_, "no growth")[0].get_xdata()) == {0}
    np.testing.assert_allclose(lines(display.ax_, "leak")[0].get_xdata(), np.log(0.8) / 0.02)


def test_eigenvalues_that_decay_at_once_are_noted_and_left_of_the_view():
    rnn = RNNBatch.from_dense(np.diag([0.5, -9.0]), dt=0.01, tau=0.1)  # multipliers 0.95, 0
    ax = EigenspectrumDisplay.from_rnns(rnn, kind="rates").ax_
    assert ax.get_xlim()[0] > -60
    assert legend_texts(ax)[-1] == "50 % of the eigenvalues\ndecay faster than 53/s"


def test_at_a_trajectory_each_state_has_its_points(rnns):
    ax = EigenspectrumDisplay.from_rnns(rnns, at="trajectory", conditions=["a", "b", "a"]).ax_
    expected = eigenspectrum(rnns, "trajectory").multipliers
    np.testing.assert_allclose(offsets(ax) @ [1, 1j], expected.ravel())
    colours = ax.collections[0].get_facecolors()[:, :3].reshape(3, -1, 3)
    assert len(np.unique(colours[1], axis=0)) == 1
    np.testing.assert_array_equal(colours[0], colours[2])
    assert (colours[0] != colours[1]).any()


def test_spectrum_from_estimator_is_that_of_its_rnns(fitted, multitask):
    X, task = multitask.X[:5], multitask.task[:5]
    display = EigenspectrumDisplay.from_estimator(fitted, X, task)
    expected = eigenspectrum(fitted.dynamics(X)).multipliers
    np.testing.assert_allclose(display.spectrum.multipliers, expected)


# -------------------------------------------------------------------------- embedding


def test_embedding_is_drawn_in_the_chosen_components():
    E = np.random.default_rng(0).standard_normal((12, 4))
    ax = EmbeddingDisplay.from_embedding(E, components=(3, 1)).ax_
    np.testing.assert_allclose(offsets(ax), E[:, [3, 1]])
    share = 100 * E[:, 3].var() / E.var(axis=0).sum()
    assert ax.get_xlabel() == f"embedding, component 4 (SD), {share:.0f} %"
    ax = EmbeddingDisplay.from_embedding(E, components=(0, 1, 2)).ax_
    assert ax.get_zlabel().startswith("component 3 (SD), ")
    np.testing.assert_allclose(np.transpose(ax.collections[0]._offsets3d), E[:, :3])


def test_one_component_is_drawn_over_the_trials():
    E = np.random.default_rng(0).standard_normal((12, 1))
    for display in (
        EmbeddingDisplay.from_embedding(E),
        EmbeddingDisplay.from_embedding(np.hstack([0 * E, E]), components=(1,)),
    ):
        np.testing.assert_allclose(offsets(display.ax_), np.column_stack([np.arange(12), E]))
        assert display.ax_.get_xlabel() == "trial"
    assert display.ax_.get_ylabel() == "embedding, component 2 (SD), 100 %"


def test_intervals_hold_the_posterior(fitted, multitask):
    X, share = multitask.X[30:34], 0.6826894921  # of a normal distribution, within one SD
    display = EmbeddingDisplay.from_estimator(
        fitted, X, uncertainty=True, components=(2,), confidence=share
    )
    (bars,) = (c for c in display.ax_.collections if c.get_gid() == "interval")
    found = fitted.posterior(X)
    for i, bar in enumerate(bars.get_segments()):
        np.testing.assert_allclose(bar[:, 0], i)
        sd = np.sqrt(found.covariance[i, 2, 2])
        np.testing.assert_allclose(bar[:, 1], found.mean[i, 2] + [-sd, sd])
    assert display.ellipses_ == []


def test_ellipses_hold_the_posterior(fitted, multitask):
    X = multitask.X[30:34]
    display = EmbeddingDisplay.from_estimator(
        fitted, X, uncertainty=True, components=(0, 2), confidence=1 - np.exp(-2)
    )
    found = fitted.posterior(X)
    np.testing.assert_allclose(offsets(display.ax_), found.mean[:, [0, 2]])
    for ellipse, mean, covariance in zip(
        display.ellipses_, found.mean, found.covariance, strict=True
    ):
        np.testing.assert_allclose(ellipse.center, mean[[0, 2]])
        covariance = covariance[np.ix_([0, 2], [0, 2])]
        variance = np.linalg.eigvalsh(covariance)
        # 1 - exp(-k^2 / 2) of a normal distribution lie within k SDs: k = 2
        np.testing.assert_allclose([ellipse.height, ellipse.width], 4 * np.sqrt(variance))
        circle = np.stack([np.cos(angle := np.linspace(0, 6, 30)), np.sin(angle)], axis=1)
        edge = ellipse.get_patch_transform().transform(circle) - mean[[0, 2]]
        distance = np.einsum("ij,jk,ik->i", edge, np.linalg.inv(covariance), edge)
        np.testing.assert_allclose(distance, 4)


# --------------------------------------------------------------------------- free run


def test_free_runs_are_drawn_beside_the_trials(fitted, multitask):
    display = FreeRunDisplay.from_estimator(
        fitted, multitask.X, trials=[31, 3], neurons=[7, 2], conditions=multitask.task
    )
    X, run = multitask.X[[31, 3]], fitted.predict(multitask.X[[31, 3]])
    r2 = fitted.score_samples(X)
    assert display.ax_.shape == (2,)
    assert [t.get_text() for t in display.ax_[0].get_yticklabels()] == ["7", "2"]
    for k, ax in enumerate(display.ax_):
        assert ax.get_xlabel() == "time (s)"
        for line, values in zip(
            [*lines(ax, "observed"), *lines(ax, "free run")],
            [*X[k, :, [7, 2]], *run[k, :, [7, 2]]],
            strict=True,
        ):
            time, drawn = line.get_data()
            np.testing.assert_allclose(time, 0.02 * np.arange(50))
            np.testing.assert_allclose(np.diff(drawn), np.diff(values), atol=1e-9)
        # observed and free run of a neuron are shifted alike
        pairs = zip(lines(ax, "observed"), lines(ax, "free run"), (7, 2), strict=True)
        for seen, free, i in pairs:
            gap = free.get_ydata() - seen.get_ydata()
            np.testing.assert_allclose(gap, run[k, :, i] - X[k, :, i], atol=1e-9)
        trial = [31, 3][k]
        assert ax.get_title() == (f"trial {trial}, {multitask.task[trial]}\n$R^2$ = {r2[k]:.2f}")


def test_scale_bar_has_the_length_it_says():
    wave = 30 * np.sin(np.linspace(0, 6, 40))[np.newaxis, :, np.newaxis]
    ax = FreeRunDisplay.from_activity(wave, wave, dt=0.01).plot(unit="spikes/s").ax_[0]
    (bar,) = lines(ax, "scale bar")
    assert [t.get_text() for t in ax.texts] == ["20 spikes/s"]
    np.testing.assert_allclose(np.ptp(bar.get_ydata()), 20)


def test_gaps_are_drawn_as_gaps(fitted, multitask):
    X = multitask.X[30:32].copy()
    X[0, 40:] = np.nan
    X[:, :, 5] = np.nan
    display = FreeRunDisplay.from_estimator(fitted, X, neurons=[0, 5])
    panel = display.ax_[0]
    observed, free = lines(panel, "observed"), lines(panel, "free run")
    assert [np.isnan(ln.get_ydata()).sum() for ln in observed] == [10, 50]
    assert not any(np.isnan(ln.get_ydata()).any() for ln in free)
    assert np.isfinite(panel.get_ylim()).all()


def test_default_trials_are_the_first_of_each_condition(fitted, multitask):
    display = FreeRunDisplay.from_estimator(fitted, multitask.X, conditions=multitask.task)
    drawn = {ax.get_title().split("\n")[0].split(", ")[1] for ax in display.ax_}
    assert drawn == set(multitask.task)


@pytest.fixture(scope="module")
def recording(multitask):
    """Trials with an event at 0 and one that differs between them."""
    end = np.linspace(0.2, 0.6, 40)
    end[3] = np.nan
    return Recording(
        multitask.X,
        time=0.02 * np.arange(50) - 0.3,
        events={"go": 0.0, "end": end},
        labels=multitask.task,
        neurons=[f"unit {i}" for i in range(30)],
        trials=100 + np.arange(40),
        align="go",
        unit="spikes/s",
    )


def test_recordings_bring_their_axes_into_figures(fitted, recording):
    display = FreeRunDisplay.from_estimator(fitted, recording, trials=[3, 31], neurons=[7, 2])
    for k, ax in zip((3, 31), display.ax_, strict=True):
        assert ax.get_xlabel() == "time from go (s)"
        np.testing.assert_allclose(lines(ax, "observed")[0].get_xdata(), recording.time)
        np.testing.assert_allclose(ax.get_xlim(), [-0.3, 0.68])
        drawn = [line.get_xdata()[0] for line in lines(ax, "event")]
        end = recording.events["end"][k]
        assert drawn == [0.0] if k == 3 else drawn == [0.0, end]
        assert ax.get_title().startswith(f"trial {100 + k}, {recording.labels[k]}")
    neurons = [t.get_text() for t in display.ax_[0].get_yticklabels()]
    assert neurons == ["unit 7", "unit 2"]
    assert "spikes/s" in display.ax_[-1].texts[-1].get_text()
    legend = [t.get_text() for t in display.figure_.legends[0].get_texts()]
    assert legend == ["observed", "free run", "go", "end"]
    other = FreeRunDisplay.from_estimator(
        fitted, recording, [5], conditions=range(40), time=0.02 * np.arange(50), events={"a": 0.5}
    )
    assert other.ax_[0].get_title().startswith("trial 105, 5")
    assert [line.get_xdata()[0] for line in lines(other.ax_[0], "event")] == [0.5]


def test_times_and_events_of_plain_arrays(fitted, multitask):
    time = 0.02 * np.arange(50) - 0.5
    display = FreeRunDisplay.from_estimator(fitted, multitask.X, [0], time=time)
    assert display.ax_[0].get_xlabel() == "time (s)"
    np.testing.assert_allclose(lines(display.ax_[0], "free run")[0].get_xdata(), time)
    wave = np.sin(np.linspace(0, 6, 50))[np.newaxis, :, np.newaxis] * np.arange(1, 4)
    display = FreeRunDisplay.from_activity(
        wave, wave, 0.02, time=time, events={"cue": -0.2, "far": 9.0}, neuron_names="xyz"
    )
    (panel,) = display.ax_
    assert [line.get_xdata()[0] for line in lines(panel, "event")] == [-0.2]
    assert [t.get_text() for t in panel.get_yticklabels()] == ["z", "y", "x"]
    legend = [t.get_text() for t in display.figure_.legends[0].get_texts()]
    assert legend == ["observed", "free run", "cue"]
    for changes, words in (
        ({"time": time[1:]}, "time must hold one time for each of the 50 samples"),
        ({"time": 2 * time}, r"even steps \(of dt=0\.02 s\)"),
        ({"events": {"go": [1, 2]}}, r"events\['go'\] must be one time"),
        ({"neuron_names": "xy"}, "must name all 3 neurons, got 2"),
    ):
        with pytest.raises(ValueError, match=words):
            FreeRunDisplay.from_activity(wave, wave, 0.02, **changes)


@pytest.mark.slow
def test_labels_of_recordings_are_the_conditions(fitted, recording):
    some = recording[::4]
    for display in (EmbeddingDisplay, EigenspectrumDisplay, FixedPointDisplay):
        drawn = display.from_estimator(fitted, some)
        assert list(drawn.conditions) == list(some.labels)
        given = display.from_estimator(fitted, some, conditions=np.arange(10))
        assert list(given.conditions) == list(range(10))


# ----------------------------------------------------------------------- fixed points


def test_fixed_points_are_projected_on_the_components_of_the_trajectories(bistable):
    rnn, runs = bistable
    display = FixedPointDisplay.from_rnns(rnn, runs)
    points = find_fixed_points(rnn, runs.reshape(1, -1, 20))[0]
    assert (points.stable.sum(), len(points)) == (2, 3)
    # principal components: uncorrelated, of falling variance
    scores = (runs.reshape(-1, 20) - display.mean_) @ display.components_.T
    covariance = np.cov(scores.T)
    assert covariance[0, 0] > covariance[1, 1]
    np.testing.assert_allclose(covariance[0, 1], 0, atol=1e-9)
    (stable,), (unstable,) = lines(display.ax_, "stable"), lines(display.ax_, "unstable")
    where = (points.points - display.mean_) @ display.components_.T
    np.testing.assert_allclose(
        sort_rows(stable.get_xydata()), sort_rows(where[points.stable]), atol=1e-6
    )
    np.testing.assert_allclose(unstable.get_xydata(), where[~points.stable], atol=1e-6)
    assert to_hex(stable.get_markerfacecolor()) != to_hex(unstable.get_markerfacecolor())
    assert to_hex(unstable.get_markerfacecolor()) == "#ffffff"
    assert stable.get_zorder() > unstable.get_zorder()
    assert not display.ax_.texts  # a saddle needs no number
    share = 100 * covariance[0, 0] / np.trace(np.cov(runs.reshape(-1, 20).T))
    assert display.ax_.get_xlabel() == f"PC 1 (state units), {share:.0f} % of variance"
    assert display.ax_.get_aspect() == 1


def test_more_than_one_unstable_direction_is_a_number(networks):
    net = networks.hadamard()  # nine points: four stable, four saddles, and the origin
    display = FixedPointDisplay.from_rnns(net.rnn)
    assert len(lines(display.ax_, "unstable")) == 5
    assert [t.get_text() for t in display.ax_.texts] == ["2"]
    assert any("if more than one" in text for text in legend_texts(display.ax_))


def test_slow_points_are_dots(bistable):
    rnn, runs = bistable
    slow = find_fixed_points(rnn, n_random_starts=16, slow_speed=1.0)[0]
    slow = type(slow)(**{**vars(slow), "exact": np.zeros(len(slow), dtype=bool)})
    ax = FixedPointDisplay(slow, runs).plot().ax_
    (dots,) = lines(ax, "slow")
    assert len(dots.get_xdata()) == len(slow)
    assert not lines(ax, "stable") and not lines(ax, "unstable")
    assert "slow point" in legend_texts(ax)


def test_trajectories_take_the_colours_of_their_conditions(bistable):
    rnn, runs = bistable
    points = find_fixed_points(rnn)[0]
    ax = FixedPointDisplay.from_rnns(
        rnn, runs, fixed_points=points, conditions=["left", "right"], conditions_label="side"
    ).ax_
    drawn = [line for line in ax.lines if len(line.get_xdata()) == runs.shape[1]]
    assert [to_hex(line.get_color()) for line in drawn] == ["#0072b2", "#d55e00"]
    assert ax.get_legend().get_title().get_text() == "side"
    assert legend_texts(ax)[:2] == ["left", "right"]


def test_three_dimensions(rnns):
    display = FixedPointDisplay.from_rnns(rnns[0], n_dims=3)
    assert display.components_.shape == (3, 40)
    assert display.ax_.get_zlabel() == "PC 3 (state units), <1 %"


def test_margin_leaves_out_far_points(bistable):
    rnn, runs = bistable
    points = find_fixed_points(rnn)[0]
    right = runs[:1]  # ends in one of the stable points
    ax = FixedPointDisplay(points, right).plot(margin=0.1).ax_
    assert len(lines(ax, "stable")[0].get_xdata()) == 1


def test_fixed_points_of_one_trial_and_of_the_mean_embedding(fitted, multitask):
    X = multitask.X[30:34]
    one = FixedPointDisplay.from_estimator(fitted, X, trial=2)
    np.testing.assert_allclose(
        fitted.to_activity(one.trajectories), fitted.predict(X[[2]]), atol=1e-6
    )
    assert one.ax_.get_xlabel().startswith("PC 1 (SD), ")
    mean = FixedPointDisplay.from_estimator(fitted, X)
    E = np.repeat(fitted.transform(X).mean(axis=0, keepdims=True), 4, axis=0)
    runs = fitted.inverse_transform(E, fitted.posterior(X).initial_state)
    np.testing.assert_allclose(fitted.to_activity(mean.trajectories), runs, atol=1e-6)


@pytest.mark.slow
def test_states_after_the_end_of_a_trial_are_not_drawn(fitted, multitask):
    X = multitask.X[:2].copy()
    X[0, 20:] = np.nan
    rnns = fitted.dynamics(X)
    for kind, n in (("multipliers", 70 * 8), ("rates", None)):
        display = EigenspectrumDisplay.from_rnns(rnns, "trajectory", ["a", "b"], kind=kind)
        assert n is None or len(offsets(display.ax_)) == n
        assert np.isfinite(offsets(display.ax_)).all()
        assert np.isfinite(display.ax_.get_xlim()).all()
    points = FixedPointDisplay.from_estimator(fitted, X, margin=1)
    run = points.trajectories
    assert np.isnan(run[0, 20:]).all() and np.isfinite(run[0, :20]).all()
    assert np.isfinite(run[1]).all() and np.isfinite(points.components_).all()
    one, short = (FixedPointDisplay.from_rnns(r[0]) for r in (rnns, fitted.dynamics(X[:, :20])))
    np.testing.assert_allclose(one.mean_, short.mean_, atol=1e-6)
    field = FlowFieldDisplay.from_rnns(rnns[0], fixed_points=True, n_grid=5)
    assert field.trajectories.shape == (1, 20, 30)


@pytest.mark.slow
def test_trajectories_of_fixed_points_go_in_steps_of_the_dynamics(multitask, small):
    est = small(max_iter=5, steps_per_sample=2).fit(multitask.X[:12], inputs=multitask.inputs[:12])
    few = {"inputs": multitask.inputs[:3]}
    one = FixedPointDisplay.from_estimator(est, multitask.X[:3], trial=2, **few)
    expected = est.dynamics(multitask.X[:3], **few)[2].free_run()
    np.testing.assert_allclose(one.trajectories, expected, atol=1e-6)


@pytest.mark.slow
def test_displays_of_a_driven_model_take_its_inputs(small, multitask):
    X, u = multitask.X[:12], multitask.inputs[:12]
    est = small(max_iter=5).fit(X, inputs=u)
    display = EmbeddingDisplay.from_estimator(est, X, inputs=u, uncertainty=True)
    np.testing.assert_allclose(display.embedding, est.transform(X, inputs=u))
    spectrum = EigenspectrumDisplay.from_estimator(est, X, inputs=u).spectrum
    rnns = est.dynamics(X, inputs=u)
    np.testing.assert_allclose(spectrum.multipliers, eigenspectrum(rnns).multipliers)
    one = FixedPointDisplay.from_estimator(est, X, trial=2, inputs=u)
    np.testing.assert_allclose(one.trajectories, rnns[2].free_run(), atol=1e-9)
    points = one.fixed_points.points
    np.testing.assert_allclose(rnns[2].step(points), points, atol=1e-6)  # without input
    mean = FixedPointDisplay.from_estimator(est, X, inputs=u)
    E = np.repeat(est.transform(X, inputs=u).mean(axis=0, keepdims=True), 12, axis=0)
    starts = est.posterior(X, inputs=u).initial_state
    runs = est.inverse_transform(E, starts, inputs=u)
    np.testing.assert_allclose(est.to_activity(mean.trajectories), runs, atol=1e-6)
    for display in (EmbeddingDisplay, EigenspectrumDisplay, FixedPointDisplay):
        with pytest.raises(ValueError, match="fitted with inputs of"):
            display.from_estimator(est, X)
    for display in (EmbeddingDisplay, EigenspectrumDisplay, FixedPointDisplay, FreeRunDisplay):
        with pytest.raises(NotFittedError):
            display.from_estimator(small(), X, inputs=u)


# ------------------------------------------------------------------------- flow field


@pytest.mark.parametrize("kind", ["stream", "quiver"])
@pytest.mark.slow
def test_flow_field_shows_speed_and_direction(bistable, kind):
    rnn, runs = bistable
    display = FlowFieldDisplay.from_rnns(rnn, runs, n_grid=15, fixed_points=True, kind=kind)
    field = flow_field(rnn, runs, n_grid=15)
    mesh = display.ax_.collections[0]
    np.testing.assert_allclose(np.ravel(mesh.get_array()), field.speed.ravel())
    assert isinstance(mesh.norm, matplotlib.colors.LogNorm)
    assert mesh.colorbar.ax.get_ylabel() == "speed (1/s)"
    stable = lines(display.ax_, "stable")[0].get_xydata()
    points = display.fixed_points
    np.testing.assert_allclose(stable, field.project(points.points[points.stable]))
    np.testing.assert_allclose(display.ax_.get_xlim(), field.x[[0, -1]])
    if kind == "quiver":
        (quiver,) = (c for c in display.ax_.collections if hasattr(c, "U"))
        np.testing.assert_allclose(np.hypot(quiver.U, quiver.V), 1)
        i = np.argmin(np.abs(field.y[:, None] - quiver.Y), axis=0)
        j = np.argmin(np.abs(field.x[:, None] - quiver.X), axis=0)
        velocity = field.velocity[i, j]
        velocity /= np.linalg.norm(velocity, axis=1, keepdims=True)
        np.testing.assert_allclose(np.stack([quiver.U, quiver.V], axis=1), velocity)


def test_axes_of_a_given_plane_are_not_called_principal(bistable):
    display = FlowFieldDisplay.from_rnns(
        bistable[0], axes=np.eye(20)[:2], extent=1.0, unit="SD", n_grid=5
    )
    assert display.ax_.get_ylabel() == "axis 2 (SD)"
    assert display.ax_.collections[0].colorbar.ax.get_ylabel() == "speed (SD/s)"


# ----------------------------------------------------------------------- shared parts


@pytest.mark.parametrize("draw", range(2))
def test_colour_and_marker_of_points_are_the_users(rnns, draw):
    def plot(conditions=None, **options):
        if draw:
            return EmbeddingDisplay(np.eye(3), conditions).plot(scatter_kwargs=options).ax_
        spectrum = eigenspectrum(rnns)
        return EigenspectrumDisplay(spectrum, conditions).plot(scatter_kwargs=options).ax_

    def colours(ax):
        return [to_hex(c) for c in ax.collections[0].get_facecolors()]

    for option in ("c", "color", "facecolors"):
        assert set(colours(plot(**{option: "red"}))) == {"#ff0000"}
        each = colours(plot(**{option: ["red", "lime", "blue"]}))
        assert each == np.repeat(["#ff0000", "#00ff00", "#0000ff"], len(each) // 3).tolist()
        with pytest.raises(
            ValueError, match=f'sets "{option}", but conditions already set the colours'
        ):
            plot(["a", "b", "a"], **{option: "red"})
    ax = plot(["a", "b", "a"], marker="x")
    assert [h.get_marker() for h in ax.get_legend().legend_handles[:2]] == ["x", "x"]
    assert ax.collections[0].get_linewidths()[0] > 0  # there is nothing else of a cross
    assert len(set(colours(ax))) == 2
    hollow = plot(facecolors="none", edgecolors="k").collections[0]
    assert hollow.get_facecolors()[0, 3] == 0 and hollow.get_linewidths()[0] > 0
    assert set(colours(plot(c=None))) == {"#0072b2"}
    with pytest.raises(
        ValueError,
        match=r"shape \(3,\)\. To colour points by value, pass the values as conditions",
    ):
        plot(c=np.array([10.0, 20.0, 30.0]))
    with pytest.raises(ValueError, match="one for each of the 3 rows, got 'rde'"):
        plot(color="rde")


def test_lines_of_free_runs_take_every_name_of_an_option():
    wave = np.sin(np.linspace(0, 6, 50))[np.newaxis, :, np.newaxis]
    display = FreeRunDisplay(wave, wave, 0.01)
    ax = display.plot(line_kwargs={"c": "red", "linewidth": 3, "ls": ":", "label": "model"}).ax_[0]
    (line,) = (line for line in ax.lines if line.get_color() == "red")
    assert (line.get_linewidth(), line.get_linestyle()) == (3, ":")
    assert [t.get_text() for t in display.figure_.legends[0].get_texts()] == ["observed", "model"]


def test_what_are_no_axes_is_refused(multitask, rnns, bistable):
    X, points = multitask.X[:1], find_fixed_points(bistable[0])[0]
    field = flow_field(bistable[0], bistable[1], n_grid=5)
    figure, axes = plt.subplots(2, 2)
    for display in (
        EigenspectrumDisplay(eigenspectrum(rnns)),
        EmbeddingDisplay(np.eye(3)),
        FixedPointDisplay(points, bistable[1]),
        FlowFieldDisplay(field),
        FreeRunDisplay(X, X, 0.02),
    ):
        for wrong, advice in (
            (plt, r"got module\. Pass its current axes, ax\.gca\(\)"),
            (figure, r"got Figure\. Pass its current axes"),
            ("left", r"got str\. Create one with figure, ax = plt\.subplots\(\)"),
        ):
            with pytest.raises(TypeError, match=rf"^ax must be a matplotlib Axes, {advice}"):
                display.plot(ax=wrong)
    with pytest.raises(
        TypeError, match=r"got ndarray\. Pass one of its elements, e\.g\. ax\.flat\[0\]"
    ):
        EmbeddingDisplay(np.eye(3)).plot(ax=axes)


@pytest.mark.slow
def test_given_axes_are_used(fitted, multitask, rnns, bistable):
    X, E = multitask.X[:2], np.eye(3)
    points = find_fixed_points(bistable[0])[0]
    field = flow_field(bistable[0], bistable[1], n_grid=5)
    for display in (
        EigenspectrumDisplay(eigenspectrum(rnns)),
        EmbeddingDisplay(E),
        FixedPointDisplay(points, bistable[1]),
        FlowFieldDisplay(field),
    ):
        figure, ax = plt.subplots()
        assert display.plot(ax=ax) is display
        assert display.ax_ is ax
        assert display.figure_ is figure
        assert len(plt.get_fignums()) == 1
        plt.close(figure)
    figure, axes = plt.subplots(1, 2)
    display = FreeRunDisplay.from_activity(X, X, 0.02, ax=axes)
    assert list(display.ax_) == list(axes)
    assert display.figure_ is figure
    ax = plt.figure().add_subplot()
    assert list(FreeRunDisplay.from_activity(X[:1], X[:1], 0.02, ax=ax).ax_) == [ax]


@pytest.mark.slow
def test_legends_are_beside_the_axes(rnns):
    for options in ({}, {"conditions": [0.1, 0.2, 0.3]}):
        display = EigenspectrumDisplay.from_rnns(rnns, **options)
        display.figure_.canvas.draw()
        legend = display.ax_.get_legend().get_window_extent()
        assert not legend.overlaps(display.ax_.get_window_extent())


@pytest.mark.parametrize(
    ("conditions", "discrete"),
    [
        (["a", "b", "a"], True),
        ([True, False, True], True),
        ([1, 2, 3], True),
        (range(8), True),  # as many as targets of a reach
        (range(9), False),
        ([1.0, 2.0, 1.0], True),  # whole numbers, as from MATLAB
        ([0.5, 1.5, 2.5], False),
        (np.array([1, 2, 1.0], dtype=object), True),
        ((np.arange(24) / 3).astype(object), False),
        (np.arange(24).astype(object), False),
    ],
)
def test_labels_have_a_legend_and_quantities_a_colour_bar(conditions, discrete):
    E = np.eye(len(conditions))
    display = EmbeddingDisplay.from_embedding(E, conditions, conditions_label="name")
    if discrete:
        texts = [str(c).removesuffix(".0") for c in np.unique(conditions)]
        assert legend_texts(display.ax_) == texts
        assert display.ax_.get_legend().get_title().get_text() == "name"
    else:
        assert display.ax_.get_legend() is None
        assert display.ax_.child_axes[0].get_ylabel() == "name"


def test_many_labels_differ_in_colour_or_marker():
    names = [f"condition {i:02d}" for i in range(12)]
    ax = EmbeddingDisplay.from_embedding(np.arange(24.0).reshape(12, 2), names).ax_
    shown = {(to_hex(h.get_color()), h.get_marker()) for h in ax.get_legend().legend_handles}
    assert len(shown) == 12
    np.testing.assert_allclose(sort_rows(offsets(ax)), np.arange(24.0).reshape(12, 2))


def names(n):
    return [f"condition {i:02d}" for i in range(n)]


def many(n):
    """Whether colours, with markers or line styles, are too few for n labels."""
    text = rf"(markers|line styles) can distinguish 35 conditions, but there are {n}"
    return pytest.warns(UserWarning, match=text) if n > 35 else contextlib.nullcontext()


@pytest.mark.parametrize("n", [12, 35, 40, 300])
@pytest.mark.slow
def test_no_two_labels_look_alike(n):
    with many(n):
        ax = EmbeddingDisplay.from_embedding(np.arange(2.0 * n).reshape(n, 2), names(n)).ax_
    looks = {
        (collection.get_paths()[0].vertices.tobytes(), colour.tobytes())
        for collection in ax.collections
        for colour in collection.get_facecolors()
    }
    assert len(looks) == n


@pytest.mark.parametrize("n", [8, 28, 40])
@pytest.mark.slow
def test_no_two_labels_of_trajectories_look_alike(bistable, n):
    rnn, runs = bistable
    points = find_fixed_points(rnn)[0]
    runs = np.arange(1, n + 1)[:, np.newaxis, np.newaxis] * runs[:1]
    with many(n):
        display = FixedPointDisplay(points, runs, names(n)).plot()
    drawn = [line for line in display.ax_.lines if len(line.get_xdata()) == runs.shape[1]]
    looks = [(tuple(line.get_color()), line.get_linestyle()) for line in drawn]
    assert len(set(looks)) == n
    shown = display.ax_.get_legend().legend_handles[:n]
    assert [(tuple(h.get_color()), h.get_linestyle()) for h in shown] == looks


@pytest.mark.parametrize("n", [8, 40, 70])
@pytest.mark.slow
def test_a_legend_is_not_larger_than_the_figure(bistable, n):
    rnn, runs = bistable
    points = find_fixed_points(rnn)[0]
    runs = np.arange(1, n + 1)[:, np.newaxis, np.newaxis] * (runs[:1] + runs[1:, ::-1])
    rng = np.random.default_rng(0)
    E = rng.standard_normal((n, 3))
    rates = RNNBatch.from_dense(rng.standard_normal((n, 4, 4)))
    calls = [
        lambda: EmbeddingDisplay(E, names(n)).plot(conditions_label="task"),
        lambda: EmbeddingDisplay(E, names(n)).plot((0, 1, 2)),
        lambda: EmbeddingDisplay(E, [f"{name} with many words" for name in names(n)]).plot(),
        lambda: EigenspectrumDisplay(eigenspectrum(rates), names(n)).plot(),
        lambda: EigenspectrumDisplay(eigenspectrum(rates), names(n)).plot("rates"),
        lambda: FixedPointDisplay(points, runs, names(n)).plot(),
        lambda: FixedPointDisplay(points, runs, names(n)).plot(3),
    ]
    for call in calls:
        with many(n):
            display = call()
        display.figure_.draw_without_rendering()
        legend, figure = display.ax_.get_legend().get_window_extent(), display.figure_.bbox
        assert legend.y0 >= figure.y0 and legend.y1 <= figure.y1
        assert legend.x1 <= figure.x1
        texts = legend_texts(display.ax_)
        if n <= 40:
            assert sum("condition " in text for text in texts) == n
        else:
            shown = sum("condition " in text for text in texts)
            assert f"and {n - shown} more" in texts
        if isinstance(display, FixedPointDisplay):
            assert "stable fixed point" in texts
        assert display.ax_.get_window_extent().width > 250  # pixels
        plt.close(display.figure_)


@pytest.mark.slow
def test_a_dollar_is_a_dollar(fitted, multitask):
    labels = ["$5", r"$\nonsense$", "5$", "$x$"]
    ax = EmbeddingDisplay.from_embedding(np.eye(4), labels).ax_
    ax.figure.canvas.draw()
    wanted = sorted(labels, key=lambda label: not label[0].isdigit())  # as people sort them
    wanted[1:] = sorted(wanted[1:])
    for text, label in zip(ax.get_legend().get_texts(), wanted, strict=True):
        shown, mathematics = text._preprocess_math(text.get_text())
        assert (shown, mathematics) == (label, False)
    X = multitask.X[:4]
    display = FreeRunDisplay.from_estimator(fitted, X, conditions=labels)
    assert display.ax_[1].get_title().startswith("trial 1, \\$\\nonsense\\$\n$R^2$")
    display.figure_.canvas.draw()


def test_angles_a_period_apart_have_one_colour():
    for period, cyclic in ((2 * np.pi, True), (360.0, 360)):
        angles = np.array([0.1, 0.1 + period, 0.1 + period / 2, 0.1 - period])
        ax = EmbeddingDisplay.from_embedding(np.eye(4), angles, cyclic=cyclic).ax_
        colours = ax.collections[0].get_facecolors()
        np.testing.assert_array_equal(colours[[1, 3]], colours[[0, 0]])
        assert (colours[2] != colours[0]).any()


def test_errors_list_what_there_is(fitted, multitask, rnns, bistable):
    E = np.eye(4)
    X = multitask.X[:2]
    with pytest.raises(ValueError, match="kind must be one of 'multipliers', 'rates', got 'x'"):
        EigenspectrumDisplay.from_rnns(rnns, kind="x")
    with pytest.raises(ValueError, match="kind must be one of 'stream', 'quiver'"):
        FlowFieldDisplay.from_rnns(rnns[0], kind="x")
    with pytest.raises(ValueError, match=r"one label per trial, shape \(3,\), got \(2,\)"):
        EigenspectrumDisplay.from_rnns(rnns, conditions=["a", "b"])
    with pytest.raises(ValueError, match=r"one label per trial, shape \(4,\), got \(3,\)"):
        EmbeddingDisplay.from_embedding(E, [1, 2, 3])
    with pytest.raises(ValueError, match="components must lie in 0 to 3"):
        EmbeddingDisplay.from_embedding(E, components=(0, 4))
    for components in ((), (1, 1), (0.0, 1.0), (0, 1, 2, 3)):
        with pytest.raises(ValueError, match="one to three distinct integers"):
            EmbeddingDisplay.from_embedding(E, components=components)
    with pytest.raises(ValueError, match="use from_estimator"):
        EmbeddingDisplay.from_embedding(E, uncertainty=True)
    with pytest.raises(ValueError, match="needs one or two components, got three"):
        EmbeddingDisplay.from_estimator(fitted, X, uncertainty=True, components=(0, 1, 2))
    with pytest.raises(ValueError, match="cyclic conditions must be numbers, got labels such as"):
        EmbeddingDisplay.from_embedding(E, list("abcd"), cyclic=True)
    with pytest.raises(ValueError, match="trials must lie in 0 to 1"):
        FreeRunDisplay.from_estimator(fitted, X, trials=[2])
    with pytest.raises(ValueError, match="neurons must lie in 0 to 29"):
        FreeRunDisplay.from_activity(X, X, 0.02, neurons=[30])
    with pytest.raises(ValueError, match=r"one Axes per trial \(2\), got 1"):
        FreeRunDisplay.from_activity(X, X, 0.02, ax=plt.figure().add_subplot())
    with pytest.raises(ValueError, match="must have the same shape"):
        FreeRunDisplay.from_activity(X, X[:1], 0.02)
    with pytest.raises(ValueError, match=r"draws one RNN, got 3\. Select one"):
        FixedPointDisplay.from_rnns(rnns)
    with pytest.raises(ValueError, match="n_dims must be 2 or 3, got 4"):
        FixedPointDisplay.from_rnns(*bistable, n_dims=4)
    with pytest.raises(ValueError, match="conditions need trajectories"):
        FixedPointDisplay(find_fixed_points(bistable[0])[0], None, ["a"]).plot()
    with pytest.raises(ValueError, match=r"n_neurons = 20\) or"):
        FixedPointDisplay.from_rnns(bistable[0], bistable[1][:, :, :4])
    with pytest.raises(ValueError, match='made with projection="3d"'):
        EmbeddingDisplay.from_embedding(E, components=(0, 1, 2), ax=plt.figure().add_subplot())
    with pytest.raises(TypeError, match="ax must be a matplotlib Axes, got str"):
        EmbeddingDisplay.from_embedding(E, ax="left")
    with pytest.raises(TypeError, match=r"FixedPoints of one RNN .*got list"):
        FlowFieldDisplay.from_rnns(*bistable, fixed_points=find_fixed_points(bistable[0]))
    with pytest.raises(TypeError, match="Expected a fitted JEDIEstimator, got ndarray"):
        EigenspectrumDisplay.from_estimator(E, X)


def test_a_permutation_test_is_drawn_over_its_null():
    y, rng = np.repeat(["$a$", "b"], 20), np.random.default_rng(0)
    values = {"far": rng.normal(size=40) + 2 * (y == "b"), "near": rng.normal(size=40)}
    values["constant"] = np.ones(40)
    test = permutation_test_features(values, y, n_permutations=199)
    ax = PermutationDisplay.from_test(test, level=0.1).ax_
    assert [text.get_text() for text in ax.get_yticklabels()] == ["far", "near", "constant"]
    dots = [line.get_xydata()[0] for line in lines(ax, "observed")]
    scale = np.quantile(np.sqrt(test.null[:, :2]), 0.9, axis=0)
    np.testing.assert_allclose(np.array(dots)[:2, 0], np.sqrt(test.statistics[:2]) / scale)
    np.testing.assert_array_equal(np.array(dots)[:, 1], [2, 1, 0])
    filled = [line.get_markerfacecolor() != "white" for line in lines(ax, "observed")]
    assert filled == (test.corrected_p_values <= 0.1).tolist() == [True, False, False]
    shown = [patch for patch in ax.patches if patch.get_gid() == "null"]
    assert len(shown) == 3 and ax.get_title() == r"\$a\$, b: 40 trials"
    figure, own = plt.subplots()
    assert PermutationDisplay(test).plot(ax=own, legend=False).figure_ is figure
    assert own.get_legend() is None
    with pytest.raises(ValueError, match="level must be a finite number > 0"):
        PermutationDisplay(test).plot(level=0)


def test_a_failed_call_opens_no_figure():
    with pytest.raises(ValueError, match="components must lie"):
        EmbeddingDisplay.from_embedding(np.eye(2), components=(0, 2))
    with pytest.raises(ValueError, match="one label per trial"):
        EmbeddingDisplay.from_embedding(np.eye(2), ["a"])
    assert not plt.get_fignums()


@pytest.mark.slow
def test_import_of_the_package_leaves_matplotlib_alone():
    code = "import sys, jedi_sklearn.plotting; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError("no matplotlib")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r'pip install "jedi-sklearn\[plot\]"'):
        EmbeddingDisplay.from_embedding(np.eye(2))


# Colours, ranges, summaries


def test_a_few_far_values_do_not_set_a_range():
    rng = np.random.default_rng(0)
    normal, counts = rng.normal(size=300), rng.poisson(0.1, size=300).astype(float)
    for values in (normal, counts):
        far = np.append(values, 100 * np.abs(values).max())
        assert robust_range(far) == (values.min(), values.max()) == robust_range(values)
    # a rare condition, more than a few trials of it, stays in view; so does one of few trials
    for values in (np.append(normal, np.full(12, 50.0)), np.array([1.0, 2, 3, 300, np.nan])):
        assert robust_range(values) == (np.nanmin(values), np.nanmax(values))


def test_one_far_trial_sets_neither_axes_nor_colours():
    E = np.random.default_rng(0).normal(size=(60, 3))
    values = E[:, 2].copy()
    E[7] *= 100
    display = EmbeddingDisplay.from_embedding(E, ["a", "b"] * 30)
    assert np.abs([display.ax_.get_xlim(), display.ax_.get_ylim()]).max() < 5
    assert legend_texts(display.ax_)[-1] == "1 of 60 points\nfar out of view"
    values[3] = 1e3
    bar = EmbeddingDisplay.from_embedding(E[8:], values[8:]).ax_.child_axes[0]
    assert bar.get_ylim() == (values[8:].min(), values[8:].max())
    display = EmbeddingDisplay.from_embedding(E, values)
    assert display.ax_.child_axes[0].get_ylim() == (np.delete(values, 3).min(), values[8:].max())


def colours_of(conditions, **options):
    ax = EmbeddingDisplay.from_embedding(np.eye(len(conditions)), conditions, **options).ax_
    shown = ax.get_legend().legend_handles if ax.get_legend() else []
    return {h.get_label(): to_hex(h.get_color()) for h in shown}


def test_angles_are_told_from_labels():
    degrees = [0, 45, 90, 135, 180, 225, 270, 315]
    circle = colours_of(degrees)
    assert list(circle) == [str(d) for d in degrees] and len(set(circle.values())) == 8
    # opposite directions differ, a full turn does not; codes are no angles
    assert circle["0"] == colours_of([0, 120, 240])["0"]
    assert colours_of([-180, -90, 0, 90])["-180"] == circle["180"]
    codes = colours_of(range(1, 9))
    assert codes["1"] == "#0072b2" == codes["8"]
    assert colours_of(degrees, cyclic=False)["45"] == "#d55e00"
    radians = np.deg2rad(degrees)
    bar = EmbeddingDisplay.from_embedding(np.eye(8), radians).ax_.child_axes[0]
    assert [t.get_text() for t in bar.get_yticklabels()][2] == r"$\pi$"


def test_labels_stand_in_the_order_in_which_people_count():
    labels = ["s10", "s2", "s1", "go"]
    assert list(colours_of(labels)) == ["go", "s1", "s2", "s10"]
    chosen = colours_of(labels, order=["s2", "s10", "go", "s1"])
    assert next(iter(chosen.items())) == ("s2", "#0072b2") and list(chosen)[-1] == "s1"
    more = colours_of(labels, order=["s2", "never", "s10", "go", "s1"])
    assert chosen == more
    given = colours_of(labels, palette={"s1": "red", "s2": "#00ff00", "s10": "k", "go": "0.5"})
    assert given["s2"] == "#00ff00"
    assert list(colours_of(labels, palette=["r", "g", "b", "k"]).values())[1] == "#008000"
    assert len(set(colours_of(range(20), palette="qualitative").values())) == 7
    ranked = colours_of(["low", "mid", "top"], palette="sequential")
    assert len({*ranked.values()}) == 3 and ranked["low"] == "#440154"
    assert colours_of(list("NESW"), palette="cyclic", order="NESW")["N"] == "#0072b2"
    for options, words in (
        ({"order": ["s1", "s2"]}, "leaves out s10, go|leaves out go, s10"),
        (
            {"palette": {"s1": "red"}},
            "palette must have a colour for every label, but has none for",
        ),
        ({"palette": ["red"]}, "a colour for each of the 4 labels, got 1"),
        ({"palette": "virids"}, 'did you mean "viridis"'),
        ({"cyclic": "yes"}, 'True, False, a period or "auto"'),
    ):
        with pytest.raises(ValueError, match=words):
            colours_of(labels, **options)
    given = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    assert colours_of(range(4), palette=given)["1"] == "#00ff00"
    with pytest.raises(ValueError, match="needs the period of the conditions: pass cyclic=360"):
        colours_of(np.arange(4) / 3, palette="cyclic")
    with pytest.raises(ValueError, match="order and palette need conditions"):
        EmbeddingDisplay.from_embedding(np.eye(2), order=[1])


def spectrum_of(modes, n, rng):
    """Spectra of n RNNs around these multipliers, in any order of columns, with a little noise."""
    noise = 0.005 * (rng.normal(size=(n, len(modes))) + 1j * rng.normal(size=(n, len(modes))))
    return np.stack([rng.permutation(row) for row in np.array(modes) + noise])


def test_medians_of_eigenvalues_are_those_of_the_condition():
    rng = np.random.default_rng(0)
    modes = {"a": [0.9 + 0.3j, 0.9 - 0.3j, 0.95, 0.5, 0.55], "b": [0.7, 0.8, 1.02, 0.6, 0.4]}
    spectra = np.concatenate([spectrum_of(m, 120, rng) for m in modes.values()])
    y = np.repeat(list(modes), 120)
    spectrum = Eigenspectrum(spectra, 0.02, 0.1)
    ax = EigenspectrumDisplay(spectrum, y).plot().ax_
    drawn = [c for c in ax.collections if len(c.get_offsets()) == 5]
    for part, expected in zip(drawn, modes.values(), strict=True):
        points = np.asarray(part.get_offsets()) @ [1, 1j]
        np.testing.assert_allclose(
            np.sort_complex(points), np.sort_complex(np.array(expected)), atol=0.005
        )
    (first, *_) = [c for c in ax.collections if c.get_gid() == "quartiles"]
    widths = [np.ptp(segment[:, 0]) for segment in first.get_segments()]
    np.testing.assert_allclose(widths, 2 * 0.6745 * 0.005, rtol=0.4)
    assert "median, quartiles" in legend_texts(ax)
    few = EigenspectrumDisplay(Eigenspectrum(spectra[::12], 0.02, 0.1), y[::12]).plot().ax_
    assert "median, quartiles" not in legend_texts(few)
    with pytest.raises(ValueError, match="medians need conditions that are labels"):
        EigenspectrumDisplay(spectrum, rng.normal(size=240)).plot(medians=True)
    with pytest.raises(ValueError, match="medians must be one of"):
        EigenspectrumDisplay(spectrum, y).plot(medians="yes")


def test_the_whole_circle_is_shown_unless_the_spectrum_were_a_dot_on_it():
    wide, narrow = (RNNBatch.from_dense(np.diag([0.9, -3.0]), dt=dt) for dt in (0.05, 0.002))
    assert EigenspectrumDisplay.from_rnns(wide).ax_.get_xlim()[0] < -1
    assert EigenspectrumDisplay.from_rnns(narrow).ax_.get_xlim()[0] > 0.5
    one = np.array([[0.9, 0.95]] * 30 + [[0.9, 40.0]], dtype=complex)
    for kind in ("multipliers", "rates"):
        ax = EigenspectrumDisplay(Eigenspectrum(one, 0.02, 0.1)).plot(kind).ax_
        assert ax.get_xlim()[1] < 3
        assert legend_texts(ax)[-1] == "1 of 62 eigenvalues\nfar out of view"


# Trajectories


def turns(n, rng):
    """Half circles, in three neurons: which way they go can be told."""
    angle = np.linspace(0, np.pi, 21)
    runs = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    return runs + 0.02 * rng.normal(size=(n, 1, 3))


def arrows(ax):
    return [p for p in ax.patches if p.get_gid() == "arrow"]


@pytest.fixture
def still():
    """Fixed points of an RNN of three neurons that decays."""
    return find_fixed_points(RNNBatch.from_dense(np.zeros((3, 3)), dt=0.02))[0]


def test_arrows_point_the_way_that_time_goes(still):
    rng = np.random.default_rng(0)
    for backwards in (False, True):
        runs = turns(3, rng)[:, :: -1 if backwards else 1]
        display = FixedPointDisplay(still, runs).plot()
        for arrow, run in zip(arrows(display.ax_), runs, strict=True):
            tail, head = np.array(arrow._posA_posB)
            here = (run - display.mean_) @ display.components_.T
            assert np.linalg.norm(here[10] - head) < 0.2
            assert (head - tail) @ (here[12] - here[8]) > 0
    resting = np.ones((2, 9, 3)) * [[[1.0]], [[2.0]]]
    assert not arrows(FixedPointDisplay(still, resting).plot().ax_)


def test_of_many_trajectories_the_means_of_conditions_are_marked(still):
    rng = np.random.default_rng(0)
    runs = turns(60, rng)
    runs[30:, :, 1] *= -1
    runs[:20, 15:] = np.nan  # most of the first condition ends early
    y = np.repeat(["up", "down"], 30)
    display = FixedPointDisplay(still, runs, y).plot()
    means = lines(display.ax_, "mean")
    expected = runs[30:].mean(axis=0) - display.mean_
    np.testing.assert_allclose(means[0].get_xydata(), expected @ display.components_.T)
    assert np.isnan(means[1].get_xydata()[15:]).all()
    assert np.isfinite(means[1].get_xydata()[:15]).all()
    assert len(arrows(display.ax_)) == 2 == len(lines(display.ax_, "start"))
    assert "start of a mean" in legend_texts(display.ax_)
    ax = FixedPointDisplay(still, runs[30:]).plot().ax_
    assert len(arrows(ax)) == 12 and not lines(ax, "mean")


def test_events_are_marked_on_trajectories(still):
    runs = turns(2, np.random.default_rng(0))
    time = 0.1 * np.arange(21) - 1
    events = {"go": 0.0, "end": [0.55, np.nan], "before": -3.0}
    display = FixedPointDisplay(still, runs, time=time, events=events).plot()
    drawn = [line.get_xydata()[0] for line in lines(display.ax_, "event")]
    here = (runs - display.mean_) @ display.components_.T
    expected = [here[0, 10], here[1, 10], here[0, 15:17].mean(axis=0)]
    np.testing.assert_allclose(drawn, expected)
    assert legend_texts(display.ax_)[1:3] == ["go", "end"]
    with pytest.raises(ValueError, match="events need trajectories, and time"):
        FixedPointDisplay(still, runs, events=events).plot()
    with pytest.raises(ValueError, match="time must hold one time for each of the 21 samples"):
        FixedPointDisplay(still, runs, time=time[1:], events=events).plot()


def test_recordings_bring_their_events_into_state_space(fitted, recording):
    for display in (
        FixedPointDisplay.from_estimator(fitted, recording, trial=5),
        FlowFieldDisplay.from_estimator(fitted, recording, trial=5),
    ):
        drawn = [line.get_xydata()[0] for line in lines(display.ax_, "event")]
        if isinstance(display, FlowFieldDisplay):
            line = display.field.project(display.trajectories[0])
        else:
            line = (display.trajectories[0] - display.mean_) @ display.components_.T
        at = [15, (recording.events["end"][5] + 0.3) / 0.02]
        expected = [[np.interp(t, np.arange(50), x) for x in line.T] for t in at]
        np.testing.assert_allclose(drawn, expected, atol=1e-9)
        run = fitted.to_activity(display.trajectories)
        np.testing.assert_allclose(run, fitted.predict(recording.X[[5]]), atol=1e-6)


# Neurons of free runs


def test_neurons_that_differ_between_conditions_are_shown(fitted, multitask):
    rng = np.random.default_rng(0)
    X = np.repeat(multitask.X[:1], 40, axis=0) + 0.1 * rng.normal(size=(40, 50, 30))
    y = np.repeat(["a", "b"], 20)
    X[y == "b", 20:, 11] += 1.5
    X[:, :, 3] += 3 * rng.normal(size=(40, 50))  # noise alone
    display = FreeRunDisplay.from_estimator(fitted, X, conditions=y)
    assert display.ax_[0].get_yticklabels()[0].get_text() == "11"
    assert display.neurons[0] == 11 and 3 not in display.neurons
    run = X.copy()
    run[:, :, 3] = 0  # not modelled
    display = FreeRunDisplay.from_activity(X[:2], run[:2], 0.02)
    assert "3" not in [t.get_text() for t in display.ax_[0].get_yticklabels()]


def test_neurons_do_not_cross_and_far_values_are_cut():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3, 40, 4)) * [1, 5, 1, 3]
    X[1, 7, 2] = 1e4
    X[:, 10:12, 0] += 15  # a brief response, which stays
    run = np.where(X > 1e3, 0, X)
    display = FreeRunDisplay.from_activity(X, run, 0.02, neurons=range(4))
    for ax in display.ax_:
        rows = [line.get_ydata() for line in lines(ax, "observed")]
        for above, below in itertools.pairwise(rows):
            assert above.min() > below.max()
        assert np.ptp(ax.get_ylim()) < 100
    texts = [t.get_text() for t in display.figure_.legends[0].get_texts()]
    assert texts[-1] == "1 far value cut off"
    top = lines(display.ax_[0], "observed")[0].get_ydata()
    np.testing.assert_allclose(np.ptp(top), np.ptp(X[0, :, 0]))


def test_long_names_stay_over_their_panel(fitted, multitask):
    names = [f"a condition with a very long name indeed {i % 4}" for i in range(40)]
    display = FreeRunDisplay.from_estimator(fitted, multitask.X, conditions=names)
    display.figure_.canvas.draw()
    boxes = [ax.title.get_window_extent() for ax in display.ax_]
    for left, right in itertools.pairwise(boxes):
        assert left.x1 < right.x0
    assert display.ax_[1].get_title().split("\n")[1].endswith("1")


# Comparisons


@pytest.fixture
def comparison():
    """Two questions with made-up intervals: one method below ours, one not to be told from it."""
    rows, folds = [], {}
    for question, metric in (("reconstruction", "R2"), ("decoding", "accuracy")):
        folds[question] = {}
        for method, value, gain in (("JEDI", 0.8, None), ("low", 0.5, 0.3), ("same", 0.79, 0.01)):
            row = {"question": question, "method": method, "metric": metric, "value": value}
            row |= {"low": value - 0.05, "high": value + 0.05, "difference": gain}
            row["difference_low"] = np.nan if gain is None else gain - 0.05
            row["difference_high"] = np.nan if gain is None else gain + 0.05
            rows.append(row)
            folds[question][method] = np.full(3, value)
    folds["embedding"] = {}
    return Comparison(rows, folds)


def dots(ax):
    return {line.get_gid(): line for line in ax.lines if line.get_gid()}


def test_a_comparison_has_a_panel_for_each_question(comparison):
    display = ComparisonDisplay.from_comparison(comparison)
    assert [ax.get_title() for ax in display.ax_] == ["reconstruction", "decoding"]
    assert [ax.get_xlabel() for ax in display.ax_] == ["R2", "accuracy"]
    for ax in display.ax_:
        found = dots(ax)
        assert [line.get_xdata()[0] for line in found.values()] == [0.8, 0.5, 0.79]
        filled = [line.get_markerfacecolor() != "white" for line in found.values()]
        assert filled == [True, True, False]  # open where no difference is shown
        assert found["JEDI"].get_color() != found["low"].get_color()
        assert [t.get_text() for t in ax.get_yticklabels()] == ["JEDI", "low", "same"]
        low, high = ax.get_xlim()
        assert low < 0.45 and high > 0.85


def test_wide_intervals_do_not_hide_differences(comparison):
    comparison.rows[1]["low"] = -90.0
    ax = ComparisonDisplay(comparison).plot("reconstruction").ax_[0]
    assert -0.5 < ax.get_xlim()[0] < 0.5


def test_a_method_that_is_far_worse_does_not_set_the_axis(comparison):
    bad = comparison.rows[1] | {"method": "bad", "value": -50.0, "low": -51.0, "high": -49.0}
    comparison.rows.insert(3, bad)
    ax = ComparisonDisplay(comparison).plot("reconstruction").ax_[0]
    assert 0 < ax.get_xlim()[0] < 0.5
    assert [text.get_text() for text in ax.texts] == ["-50"]
    assert lines(ax, "far")[0].get_ydata() == [3]


def test_long_names_fit_into_figures_of_tests():
    y = np.repeat(["a condition with a very long name", "another one, in the dark"], 20)
    values = {
        f"a quantity with a long name {i}": np.random.default_rng(i).normal(size=40)
        for i in range(3)
    }
    display = PermutationDisplay.from_test(permutation_test_features(values, y, n_permutations=99))
    display.figure_.draw_without_rendering()
    for artist in (display.ax_.title, display.ax_.get_legend()):
        box = artist.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= display.figure_.bbox.x1


def test_a_comparison_on_given_axes(comparison):
    figure, axes = plt.subplots(1, 2)
    display = ComparisonDisplay.from_comparison(comparison, ax=axes)
    assert display.figure_ is figure and list(display.ax_) == list(axes)
    assert axes[0].get_legend() is None and axes[1].get_legend() is not None
    with pytest.raises(ValueError, match=r"one Axes per question \(1\), got 2"):
        ComparisonDisplay(comparison).plot("decoding", ax=axes)
    with pytest.raises(ValueError, match="questions must be one of 'reconstruction', 'decoding'"):
        ComparisonDisplay(comparison).plot(["forecast"])
    with pytest.raises(ValueError, match="nothing to draw"):
        ComparisonDisplay(Comparison([], {"embedding": {}})).plot()
