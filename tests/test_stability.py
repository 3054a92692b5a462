"""Facts about stability reports: what counts as the same, which verdict follows, what is said."""

import sys
import warnings

import joblib
import numpy as np
import pytest
from scipy.stats import binom, ortho_group
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline

from jedi_sklearn import JEDIEstimator, RNNBatch
from jedi_sklearn.datasets import make_bistable_decision
from jedi_sklearn.evaluation import StabilityReport, Structure, _stability, stability_report
from jedi_sklearn.evaluation._matching import (
    SAME,
    dynamics_of,
    embedding_agreement,
    match_modes,
    match_points,
    tolerances,
)
from jedi_sklearn.evaluation._stability import Found, _plan, structures_of
from jedi_sklearn.evaluation._stability_report import enough, interval
from jedi_sklearn.plotting import StabilityDisplay
from jedi_sklearn.preprocessing import Recording

N = 12
KINDS = ("seeds", "trials", "neurons")
M = np.where(np.arange(N) % 2, 1.0, -1.0)[:, np.newaxis]
X_STAR = 1.2878  # 1.5 tanh(x) = x
BIAS = 0.21  # 1.5 tanh(x) - x is at most 0.208 beyond the saddle: one stable point is left


def bistable(bias=0.0, starts=(-0.5, 0.5)):
    """dx/dt = -x + 1.5 m tanh(x) m' / N + bias m: two stable points, +-X_STAR m without bias."""
    x0 = np.array(starts)[:, np.newaxis] * M[:, 0]
    bias = bias * M[:, 0]
    return RNNBatch(1.5 / N * M, M, bias=bias, initial_states=x0, n_timesteps=200)[[0, 1]]


def found_in(rnns, kind="", neurons=slice(None)):
    """What a report keeps of a fit with these RNNs, to some of the neurons."""
    dynamics = dynamics_of(rnns, lambda states: states)
    return Found(kind, np.arange(N)[neurons], dynamics, dynamics.positions[:, neurons])


def compared(own, others, starts=(-0.5, 0.5), n_timesteps=200):
    runs = list(bistable(starts=starts).free_run(n_timesteps))
    variance = np.concatenate(runs).var(axis=0)
    return structures_of(own, others, runs, variance, tau=0.1, condition="go")


def named(structures, name):
    return [s for s in structures if s.name == name]


@pytest.fixture(scope="module")
def whole():
    return found_in(bistable())


@pytest.fixture(scope="module")
def agreeing():
    """Five refits of each kind that agree, those of the neurons in halves."""
    halves = [slice(0, 6), slice(6, None)]
    return [
        found_in(bistable(), kind, halves[i % 2] if kind == "neurons" else slice(None))
        for kind in KINDS
        for i in range(5)
    ]


def test_what_all_refits_have_is_stable(whole, agreeing):
    structures = compared(whole, agreeing)
    points = named(structures, "stable fixed point")
    assert len(points) == 2 and len(named(structures, "saddle")) == 1
    for s in points:
        assert s.verdict == "stable" and s.found == dict.fromkeys(KINDS, (5, 5))
        assert s.quantities["moved (SD)"] == pytest.approx((0, 0, 0), abs=1e-9)
        own, low, high = s.quantities["growth rate (1/s)"]
        assert own < 0 and own == pytest.approx(low) == pytest.approx(high)
        np.testing.assert_allclose(np.abs(s.position), X_STAR, atol=1e-4)
    (exponent,) = named(structures, "leading Lyapunov exponent, negative")
    assert exponent.verdict == "stable" and exponent.quantities["exponent (1/s)"][0] < 0


def test_a_point_that_some_refits_lack_is_unstable(whole, agreeing):
    """A bias takes the point on its other side away, and moves that on its own side."""
    lacking = found_in(bistable(bias=BIAS), "trials")
    others = [*agreeing[:5], *[lacking] * 3, *agreeing[5:]]
    points = named(compared(whole, others, starts=(-20, 20), n_timesteps=40), "stable fixed point")
    below = next(s for s in points if s.position @ M[:, 0] < 0)
    above = next(s for s in points if s is not below)
    assert below.fails == ["trials"] and below.found["trials"] == (5, 8)
    assert above.verdict == "stable" and above.found["trials"] == (8, 8)
    moved = lacking.positions[0, 1] - X_STAR
    spread = np.concatenate(bistable(starts=(-20, 20)).free_run(40)).std(axis=0).mean()
    assert above.quantities["moved (SD)"][2] == pytest.approx(moved / spread, rel=1e-3)
    assert moved / spread < SAME


@pytest.mark.slow
def test_another_stability_is_another_point(whole, agreeing):
    """At a gain below 1 the saddle of the origin is a stable point, where a run may start."""
    weak = RNNBatch(0.5 / N * M, M, initial_states=0.1 * M.T, n_timesteps=200)
    others = [found_in(weak, kind) for kind in KINDS for _ in range(5)]
    (saddle,) = named(compared(whole, [*agreeing, *others]), "saddle")
    assert saddle.n_other_stability == 15
    assert saddle.found == dict.fromkeys(KINDS, (5, 10)) and saddle.fails[:3] == list(KINDS)


def test_points_that_no_trial_came_near_are_unstable(whole, agreeing):
    points = named(compared(whole, agreeing, starts=(0.5, 2.5)), "stable fixed point")
    verdicts = {np.sign(s.position @ M[:, 0]): s for s in points}
    assert verdicts[1.0].verdict == "stable" and verdicts[1.0].from_trials < 0.01
    assert verdicts[-1.0].fails == ["visited"] and verdicts[-1.0].from_trials > 1


def rotations(*hertz, kind=""):
    """A linear network that turns at these frequencies."""
    turn = 2 * np.pi * 0.1 * np.array(hertz)  # imaginary part of an eigenvalue, times tau
    J = np.zeros((N, N))
    for i, w in enumerate(turn):
        J[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[1, -w], [w, 1]]
    x0 = 1e-3 * np.ones(N)
    return found_in(RNNBatch.from_dense(J, dt=1e-3, initial_states=x0, n_timesteps=50), kind)


def test_modes_are_matched_with_their_intervals():
    """Two rhythms of a linear network: the one is always at 2 Hz, the other wanders."""
    own, wander = rotations(2.0, 5.0), [4.0, 6.0, 5.3, 4.7, 5.0, 5.1]
    others = [rotations(f, 2.0, kind="seeds") for f in wander]
    runs = [1e-3 * np.ones((1000, N))]  # one second
    structures = structures_of(own, others, runs, np.ones(N), tau=0.1)
    (steady,) = named(structures, "oscillation of 2 Hz")
    assert not steady.fails and steady.found == {"seeds": (6, 6)}
    assert steady.quantities["frequency (Hz)"] == pytest.approx((2, 2, 2), rel=0.01)
    (other,) = named(structures, "oscillation of 5 Hz")
    assert other.found == {"seeds": (4, 6)} and other.verdict == "unstable"
    # of six values 90 % are all
    assert other.quantities["frequency (Hz)"] == pytest.approx((5, 4, 6), rel=0.01)


def test_intervals_are_those_of_halves_of_the_trials():
    """What only halves of the trials move is as uncertain as these say, whatever else agrees."""
    own, runs = rotations(2.0), [1e-3 * np.ones((1000, N))]
    halves = [rotations(f, kind="trials") for f in (1.9, 2.1)]
    others = [rotations(2.0, kind=kind) for kind in ("seeds", "neurons")] * 5

    def frequency(refits):
        structures = structures_of(own, refits, runs, np.ones(N), tau=0.1)
        return named(structures, "oscillation of 2 Hz")[0].quantities["frequency (Hz)"]

    assert frequency([*others, *halves]) == pytest.approx((2, 1.9, 2.1), rel=0.01)
    assert frequency(others) == pytest.approx((2, 2, 2), rel=0.01)


def test_points_have_intervals_of_halves_of_the_trials(whole, agreeing):
    """A bias moves the point on its side; of refits that agree only seeds and neurons are left."""
    halves = [found_in(bistable(bias=b), "trials") for b in (-0.1, 0.1)]
    others = [*halves, *(fit for fit in agreeing if fit.kind != "trials")]
    structures = compared(whole, others, starts=(-20, 20), n_timesteps=40)
    above = next(s for s in named(structures, "stable fixed point") if s.position @ M[:, 0] > 0)
    ends = above.quantities["growth rate (1/s)"][1:]
    rates = [np.sort(fit.dynamics.points.growth_rates[:, 0])[:2] for fit in halves]
    assert ends == pytest.approx((min(map(min, rates)), max(map(max, rates))))
    assert above.quantities["moved (SD)"][0] > 0.01
    (exponent,) = (s for s in structures if s.kind == "exponent")
    each = sorted(fit.dynamics.exponent for fit in halves)
    assert exponent.quantities["exponent (1/s)"][1:] == pytest.approx(each)


def test_intervals_cover_the_standard_error():
    """90 % of halves, in complementary pairs, span 1.64 standard errors to either side."""
    rng, widths = np.random.RandomState(0), []
    for _ in range(300):
        values = rng.standard_normal(100)
        halves = [half.mean() for _ in range(5) for half in rng.permutation(values).reshape(2, 50)]
        _, low, high = interval(np.array(halves))
        widths.append((high - low) / 2 * np.sqrt(len(values)))
    assert np.mean(widths) == pytest.approx(1.64, abs=0.15)  # default quantiles: 1.33


def test_matching_is_one_to_one_and_prefers_the_same_stability():
    distance = np.array([[0.10, 0.12], [0.11, 0.90]])
    unstable = np.array([0, 1])
    tolerance = np.array([0.2, 0.2])
    index = match_points(distance, unstable, np.array([0, 1]), tolerance)
    np.testing.assert_array_equal(index, [1, 0])  # two matches before one of the same kind
    index = match_points(distance[:1], unstable[:1], np.array([1, 0]), tolerance[:1])
    np.testing.assert_array_equal(index, [1])
    index = match_points(distance, unstable, unstable, tolerance / 10)
    np.testing.assert_array_equal(index, [-1, -1])
    assert match_points(np.empty((2, 0)), unstable, unstable[:0], tolerance).tolist() == [-1, -1]


def test_points_side_by_side_must_not_move_so_far():
    positions = np.array([[0.0, 0.0], [0.2, 0.2], [3.0, 3.0]])
    np.testing.assert_allclose(tolerances(positions, 2.5), [0.04, 0.04, SAME])
    np.testing.assert_allclose(tolerances(positions, 0.1), SAME)


def test_modes_are_the_same_within_the_resolution_of_a_trial():
    modes = np.array([-1 + 2j * np.pi])
    for duration, other, same in (
        (1.0, -1.9 + 2j * np.pi, True),
        (1.0, -2.1 + 2j * np.pi, False),
        (1.0, -1 + 2j * np.pi * 1.49, True),
        (1.0, -1 + 2j * np.pi * 1.51, False),
        (2.0, -1.9 + 2j * np.pi, False),
    ):
        nearest, found = match_modes(modes, np.array([other, -40 + 0j]), duration)
        assert nearest == other and found == [same]
    nearest, found = match_modes(modes, np.empty(0, dtype=complex), 1.0)
    assert np.isnan(nearest) and not found


def test_embeddings_agree_whatever_their_coordinates():
    rng = np.random.RandomState(0)
    a = rng.standard_normal((60, 3)) * [3, 2, 1]
    b = 7 * np.pad(a, ((0, 0), (0, 2))) @ ortho_group.rvs(5, random_state=0) + 1
    r2, chance = embedding_agreement(a, b, rng)
    assert r2 == pytest.approx(1) and chance < 0.2
    r2, chance = embedding_agreement(a, rng.standard_normal((60, 3)), rng)
    assert abs(r2 - chance) < 0.1
    few = embedding_agreement(a[:6], rng.standard_normal((6, 3)), rng)
    assert few[1] > 0.3  # six trials agree by chance: it is taken off


def test_a_verdict_needs_most_refits():
    """What half of the refits have is called stable in at most 5 % of cases."""
    for n in range(1, 40):
        assert binom.sf(enough(n) - 1, n, 0.5) <= 0.05
        assert enough(n) == n + 1 or binom.sf(enough(n) - 2, n, 0.5) > 0.05
    assert [enough(n) for n in (4, 5, 10, 20)] == [5, 5, 9, 15]

    def verdict(neurons=(5, 5), **found):
        found["neurons"] = neurons
        return Structure("fixed point", "saddle", "go", found, {}).verdict

    assert verdict(seeds=(9, 10), trials=(5, 5)) == "stable"
    assert verdict(seeds=(9, 10), trials=(4, 5)) == "unstable"
    assert verdict(seeds=(9, 10), trials=(4, 4)) == "undecided"
    assert verdict(seeds=(8, 10), trials=(4, 4)) == "unstable"
    assert verdict(seeds=(5, 5)) == "undecided"  # half of the trials were not tried
    assert verdict(seeds=(3, 4)) == "unstable"


def test_halves_are_stratified_and_complementary():
    groups = np.repeat([0, 1, 2], [10, 7, 2])
    jobs = _plan(np.random.RandomState(0), groups, 9, 2, 5, 3)
    assert [job.kind for job in jobs] == ["seeds"] * 2 + ["trials"] * 5 + ["neurons"] * 3
    assert len({job.seed for job in jobs}) == 10
    trials = [job.trials for job in jobs if job.kind == "trials"]
    for half in trials:
        counts = np.bincount(groups[half], minlength=3)
        assert (np.abs(counts - [5, 3.5, 1]) <= 1).all() and 9 <= len(half) <= 10
    for a, b in (trials[:2], trials[2:4]):
        assert sorted([*a, *b]) == list(range(19))
    assert not np.array_equal(trials[0], trials[2])
    a, b, _ = (job.neurons for job in jobs if job.kind == "neurons")
    assert sorted([*a, *b]) == list(range(9)) and abs(len(a) - len(b)) == 1


# --------------------------------------------------------------------------------- texts


@pytest.fixture(scope="module")
def report(whole, agreeing):
    lacking = found_in(bistable(bias=BIAS), "trials")
    structures = compared(whole, [*agreeing, *[lacking] * 5], starts=(0.5, 20), n_timesteps=40)
    counts = {"seeds": 5, "trials": 10, "neurons": 5}
    return StabilityReport(structures, ["go"], counts, n_unconverged=3)


def test_the_page_says_what_to_report(report):
    text = report.summary()
    assert (
        "Condition go: 1 stable fixed point in 5 of 5 fits with other seeds, 10 of 10 to halves "
        "of the trials, 5 of 5 to halves of the neurons: report it." in text
    )
    assert (
        "Condition go: 1 stable fixed point in 5 of 10 fits to halves of the trials; no " in text
    )
    assert "SD: do not report it." in text
    page = str(report)
    assert "20 refits: 5 with other seeds, 10 to halves of the trials" in page
    assert "3 of those made did not converge" in page and "not the same as true" in page
    flat = " ".join(page.split())
    assert "In brackets: 90 % of the refits to halves of the trials, the sampling un" in flat
    assert "they cannot have moved farther" in flat
    without = StabilityReport(report.structures, ["go"], {"seeds": 5})
    assert "90 % of the refits; this is not the sampling uncertainty" in " ".join(
        str(without).split()
    )
    assert max(map(len, page.split("\n\n")[1].splitlines())) <= 99
    assert repr(report) == "StabilityReport(3 stable, 2 unstable; 20 refits)"


def test_like_structures_share_a_sentence():
    found = dict.fromkeys(KINDS, (10, 10))
    few = found | {"neurons": (4, 10)}
    name = "fixed point with 2 unstable directions"
    structures = [
        Structure("embedding", "embeddings", None, found, {}),
        *[Structure("fixed point", "stable fixed point", 3, found, {}) for _ in range(8)],
        Structure("fixed point", name, 3, few, {}),
        Structure("fixed point", name, 3, found, {}, visited=False, from_trials=0.41),
        Structure("eigenvalue", "oscillation of 1.2 Hz", 3, few, {}),
    ]
    lines = StabilityReport(structures, [3], dict.fromkeys(KINDS, 10)).summary().splitlines()
    ten = "10 of 10 fits with other seeds, 10 of 10 to halves of the trials, 10 of 10 to halves of"
    assert lines == [
        f"Embeddings alike in {ten} the neurons: report them.",
        f"Condition 3: 8 stable fixed points in {ten} the neurons: report them.",
        f"Condition 3: 2 {name.replace('point', 'points')} in 4 to 10 of 10 fits to halves of the "
        "neurons; no trial comes nearer than 0.41 SD to 1 of them: do not report them.",
        "Condition 3: oscillation of 1.2 Hz in 4 of 10 fits to halves of the neurons: do not "
        "report it.",
    ]


def test_the_table_has_shares_and_intervals(report):
    frame = report.to_frame()
    assert len(frame) == len(report.structures)
    assert frame["trials"].tolist() == [s.found["trials"][0] / 10 for s in report.structures]
    assert frame.loc[0, "growth rate (1/s), low"] <= frame.loc[0, "growth rate (1/s), high"]


def test_the_page_says_what_stable_takes():
    def page(**numbers):
        structure = Structure("fixed point", "saddle", "go", dict.fromkeys(numbers, (1, 1)), {})
        return " ".join(str(StabilityReport([structure], ["go"], numbers)).split())

    few = "Nothing can be called stable: it takes at least 5 refits of each kind."
    assert few in page(seeds=1, trials=2, neurons=2)
    assert few in page(seeds=10, trials=10, neurons=4)
    assert few in page(seeds=10, trials=10)  # halves of the neurons were left out
    text = "Stable: in at least 9 of 10 or 15 of 20 refits of each kind"
    assert text in page(seeds=10, trials=20, neurons=10)


def test_the_page_is_silent_of_what_no_refit_has(whole):
    elsewhere = Found("seeds", np.arange(N), whole.dynamics, 50 + whole.positions)
    page = str(StabilityReport(compared(whole, [elsewhere]), ["go"], {"seeds": 1}))
    (line,) = (line for line in page.splitlines() if "saddle    " in line)
    rate = whole.dynamics.points.growth_rates[whole.dynamics.points.n_unstable == 1, 0][0]
    assert "nan" not in page and line.endswith(f"0/1    growth rate {rate:.3g} 1/s")


def test_reports_and_structures_are_compared_by_identity(report):
    twin = StabilityReport(list(report.structures), ["go"], report.n_refits)
    assert report == report and report != twin and len({report, twin, *report.structures}) == 7
    first, second = (Structure("fixed point", "saddle", "go", {}, {}, position=M) for _ in "ab")
    assert first != second and first in [second, first]


def test_a_table_needs_pandas(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install pandas, or use report\.structures"):
        report.to_frame()


# --------------------------------------------------------------------------------- figure


@pytest.fixture
def plt():
    return pytest.importorskip("matplotlib.pyplot")


def test_the_figure_has_shares_and_verdicts(report, plt):
    ax = StabilityDisplay.from_report(report).ax_
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert len(labels) == len(report.structures) and labels[-1] == "go: exponent negative"
    away = [s for s in report.structures if not s.visited]
    assert away and all(any(f"{s.from_trials:.2f} SD" in text for text in labels) for s in away)
    for row, s in enumerate(report.structures):
        drawn = [line for line in ax.lines if line.get_gid() == s.verdict]
        here = [line for line in drawn if abs(line.get_ydata()[0] - row) < 0.5]
        shares = sorted(line.get_xdata()[0] for line in here)
        assert shares == sorted(k / n for k, n in s.found.values())
        hollow = [line for line in here if line.get_markerfacecolor() == "white"]
        assert len(hollow) == sum(kind in KINDS for kind in s.fails)


def test_the_figure_takes_one_condition_and_axes(report, plt):
    _, ax = plt.subplots()
    many = StabilityReport(report.structures * 20, ["go"], report.n_refits)
    with pytest.raises(ValueError, match=r"at most 60 structures.*condition='go'"):
        StabilityDisplay.from_report(many)
    with pytest.raises(ValueError, match=r"condition must be one of \['go'\], got 'stop'"):
        StabilityDisplay(report).plot(condition="stop")
    display = StabilityDisplay(report).plot(ax, condition="go", legend=False)
    assert display.ax_ is ax and ax.get_legend() is None


# ---------------------------------------------------------------------------------- fits

SIZES = {"n_seeds": 3, "n_resamples": 2, "n_halves": 2}
FEW = {"n_seeds": 1, "n_resamples": 1, "n_halves": 1}


@pytest.fixture(scope="module")
def decision():
    data = make_bistable_decision(16, n_neurons=8, n_timesteps=45)
    return data.X[:, 30:], data.choice


@pytest.fixture(scope="module")
def est():
    # a rank that half of the neurons cannot have
    return JEDIEstimator(2, 5, max_iter=8, tol=1, random_state=0)


@pytest.fixture(scope="module")
def fitted_report(decision, est):
    return stability_report(est, *decision, **SIZES)


def test_the_choices_of_a_decision_are_found_in_all_fits(fitted_report):
    assert fitted_report.conditions == [-1, 1] and len(fitted_report.structures) >= 5
    embeddings = fitted_report.structures[0]
    assert embeddings.kind == "embedding" and embeddings.verdict == "undecided"
    assert embeddings.quantities["R2 (neurons)"][0] > 0.9
    for choice in (-1, 1):
        points = [s for s in fitted_report.structures if s.condition == choice]
        (point,) = named(points, "stable fixed point")
        assert point.found == {"seeds": (3, 3), "trials": (2, 2), "neurons": (2, 2)}
        assert point.verdict == "undecided" and point.from_trials < SAME
    assert "at least 5 of each kind are needed" in fitted_report.summary()


@pytest.mark.slow
def test_workers_do_not_change_the_report(decision, est):
    alone = stability_report(est, *decision, **FEW)
    with joblib.parallel_config(backend="threading"):
        shared = stability_report(est, *decision, **FEW, n_jobs=2)
    assert str(shared) == str(alone)
    other = stability_report(est, *decision, **FEW, random_state=1)
    assert str(other) != str(alone)


def test_without_labels_all_trials_are_one_condition(decision, est):
    X = decision[0].copy()
    X[0, -3:] = np.nan  # a trial that ends early
    report = stability_report(est, X, n_seeds=1, n_resamples=0, n_halves=0)
    assert report.conditions == ["all trials"]
    assert {s.condition for s in report.structures} == {None, "all trials"}
    assert all(s.found["seeds"][1] == 1 for s in report.structures)


@pytest.mark.slow
def test_points_of_counts_are_expected_counts(decision):
    X = np.random.RandomState(0).poisson(np.exp(decision[0]))
    est = JEDIEstimator(2, 4, max_iter=8, tol=1, random_state=0)
    report = stability_report(est, X, decision[1], n_seeds=0, n_resamples=0, n_halves=2)
    points = [s for s in report.structures if s.kind == "fixed point"]
    assert points and all((s.position > 0).all() for s in points)
    assert all(0 < np.median(s.position) < X.max() for s in points)
    assert any(s.quantities["moved (SD)"][1] < SAME for s in points)


def test_fixed_points_are_those_under_a_constant_input():
    """The input stands for the bias that takes a stable point away."""
    rnns = bistable()
    x0, weights = rnns.initial_states, {"input_weights": M, "n_timesteps": 9}
    driven = RNNBatch(1.5 / N * M, M, **weights, initial_states=x0, inputs=np.zeros((2, 9, 1)))
    to_activity = np.asarray
    assert len(dynamics_of(driven, to_activity).points) == 3
    (there,) = dynamics_of(driven, to_activity, np.array([BIAS])).positions
    (same,) = dynamics_of(bistable(bias=BIAS), to_activity).positions
    np.testing.assert_allclose(there, same, atol=1e-6)


@pytest.mark.slow
def test_inputs_keep_step_with_their_trials(decision, est, monkeypatch):
    X, inputs = decision[0][:8].copy(), 1 + np.random.RandomState(0).standard_normal((8, 15, 2))
    X[0, 10:] = np.nan  # the input after that is none of its trial
    seen = []

    def look(rnns, to_activity, constant):
        seen.append((rnns.inputs, constant))
        return dynamics_of(rnns, to_activity, constant)

    monkeypatch.setattr(_stability, "dynamics_of", look)
    report = stability_report(est, X, inputs=inputs, n_seeds=0, n_resamples=2, n_halves=1)
    assert report.n_refits == {"seeds": 0, "trials": 2, "neurons": 1}
    mean = np.concatenate([inputs[0, :10], *inputs[1:]]).mean(axis=0)
    for _, constant in seen:
        np.testing.assert_allclose(constant, mean)
    first, *halves, neurons = (of_runs for of_runs, _ in seen)
    for of_runs in (first, neurons):
        np.testing.assert_array_equal(of_runs, inputs)
    both = np.concatenate(halves)
    np.testing.assert_array_equal(
        both[np.argsort(both[:, 0, 0])], inputs[inputs[:, 0, 0].argsort()]
    )


def test_halves_that_cannot_be_fitted_do_not_count(decision, est):
    """A trial has one neuron alone, and the halves without it nothing of that trial."""
    X = decision[0].copy()
    X[0, :, 1:] = np.nan
    words = (
        r"1 of 2 refits to halves of the neurons could not be made and do not count\..*no value"
    )
    with pytest.warns(UserWarning, match=words):
        report = stability_report(est, X, decision[1], n_seeds=0, n_resamples=0, n_halves=2)
    assert report.n_refits == {"seeds": 0, "trials": 0, "neurons": 1} and report.n_failed == 1
    assert all(s.found["neurons"][1] == 1 for s in report.structures)
    assert "1 more could not be made, and do not count." in str(report)


def test_a_kind_of_which_no_refit_can_be_made_is_refused(decision, est):
    X = np.full_like(decision[0], np.nan)
    for k in range(16):
        X[k, :, k // 2] = decision[0][k, :, k // 2]  # no half has a neuron of every trial
    words = r"2 of 2 refits to halves of the neurons could not be made\. Set n_halves=0.*no value"
    with pytest.raises(ValueError, match=words):
        stability_report(est, X, decision[1], n_seeds=0, n_resamples=0, n_halves=2)


@pytest.mark.slow
def test_only_the_first_fit_warns(decision, est):
    slow = JEDIEstimator(2, 4, max_iter=8, tol=1e-9, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = stability_report(slow, *decision, n_seeds=2, n_resamples=0, n_halves=0)
    assert [w.category for w in caught] == [ConvergenceWarning]
    assert report.n_unconverged == 2


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"n_seeds": 0, "n_resamples": 0, "n_halves": 0}, ValueError, "nothing to refit"),
        ({"n_seeds": -1}, ValueError, "n_seeds must be an integer >= 0"),
        ({"y": [0] * 15 + [1]}, ValueError, "two trials of each condition, got one of 1"),
        ({"X": np.ones((3, 9, 5)), "y": None}, ValueError, "at least four trials, got 3"),
        ({"X": np.ones((16, 9, 3))}, ValueError, "at least four neurons, got 3"),
    ],
)
def test_what_cannot_be_refitted_is_refused(decision, est, change, error, words):
    arguments = dict(zip(("X", "y"), decision, strict=True)) | change
    with pytest.raises(error, match=words):
        stability_report(est, arguments.pop("X"), **arguments)


def test_a_recording_sampled_otherwise_is_refused(decision, est):
    rec = Recording(decision[0], dt=2 * est.dt)
    with pytest.raises(ValueError, match=r"X is a recording .* apart.*Set dt=rec\.dt"):
        stability_report(est, rec, decision[1])


def test_a_pipeline_is_refused_with_advice(decision, est):
    with pytest.raises(TypeError, match="Pass the JEDIEstimator of the Pipeline"):
        stability_report(make_pipeline(est), *decision)
