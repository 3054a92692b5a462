"""Facts about the units of states: activity in its own units is told from them."""

import warnings

import numpy as np
import pytest

from jedi_sklearn import (
    RNNBatch,
    eigenspectrum,
    find_fixed_points,
    flow_field,
    lyapunov_exponents,
)
from jedi_sklearn.datasets import make_spike_counts

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:No fixed point was found"),
]
FAR = "% of the values of these states are more than twice as large as any"


@pytest.fixture(scope="module")
def rates(multitask):
    """Activity as of neurons that fire some 20 spikes/s."""
    return 20 + 8 * multitask.X


@pytest.fixture(scope="module")
def est(small, rates):
    return small(max_iter=10).fit(rates[:30])


def displays():
    pytest.importorskip("matplotlib").use("agg")
    from jedi_sklearn import plotting

    return plotting


def fixed_points_given(rnns, states):
    points = find_fixed_points(rnns[0])[0]
    return displays().FixedPointDisplay.from_rnns(rnns[0], states[:1], fixed_points=points)


def plane_given(rnns, states):
    plane = {"axes": np.eye(2, 30), "extent": 1.0}
    return displays().FlowFieldDisplay.from_rnns(rnns[0], trajectories=states[:1], **plane)


TAKE_STATES = {
    "eigenspectrum": eigenspectrum,
    "eigenspectrum at one state": lambda rnns, x: eigenspectrum(rnns, x[:, 0]),
    "find_fixed_points": lambda rnns, x: find_fixed_points(rnns[0], x[0], n_random_starts=2),
    "lyapunov_exponents": lyapunov_exponents,
    "lyapunov_exponents from starts": lambda rnns, x: lyapunov_exponents(rnns, x[:, 0]),
    "flow_field": lambda rnns, x: flow_field(rnns[0], x[0]),
    "step": lambda rnns, x: rnns.step(x[:, 0]),
    "simulate": lambda rnns, x: rnns.simulate(x[:, 0], 5),
    "jacobian": lambda rnns, x: rnns.jacobian(x[:, 0]),
    "eigenvalues": lambda rnns, x: rnns.eigenvalues(x[:, 0]),
    "EigenspectrumDisplay": lambda rnns, x: displays().EigenspectrumDisplay.from_rnns(rnns, x),
    "FixedPointDisplay": lambda rnns, x: displays().FixedPointDisplay.from_rnns(rnns[0], x[:1]),
    "FixedPointDisplay, points given": fixed_points_given,
    "FlowFieldDisplay": lambda rnns, x: displays().FlowFieldDisplay.from_rnns(rnns[0], x[0]),
    "FlowFieldDisplay, plane given": plane_given,
}


@pytest.mark.parametrize("call", TAKE_STATES.values(), ids=TAKE_STATES)
@pytest.mark.slow
def test_activity_is_no_states(est, rates, call):
    X = rates[30:34]
    rnns = est.dynamics(X)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*" + FAR)
        call(rnns, est.to_states(X))
    with pytest.warns(UserWarning, match=FAR) as caught:
        call(rnns, X)
    assert "est.to_states(X)" in str(caught[0].message)


def test_activity_is_turned_into_activity_once(est, rates):
    with pytest.warns(UserWarning, match=r"states are 2\d SDs from the training data.*free_run"):
        est.to_activity(rates)
    gappy = est.to_states(rates[:2])
    gappy[:, 5:] = np.nan
    est.to_activity(gappy)  # and no warning


@pytest.mark.slow
def test_states_in_the_units_of_the_data_are_states(small, rates):
    est = small(max_iter=5, scale=None).fit(rates[:30])
    eigenspectrum(est.dynamics(rates[30:34]), rates[30:34])
    est.to_activity(rates)


@pytest.mark.slow
def test_states_of_spike_counts_are_told_from_rates(multitask, small):
    counts = make_spike_counts(multitask, rate=100.0, random_state=0).X
    est = small(max_iter=5, observation="poisson").fit(counts[:30])
    rnns, rates = est.dynamics(counts[30:34]), est.predict(counts[30:34], per_second=True)
    eigenspectrum(rnns, est.to_states(est.predict(counts[30:34])))
    with pytest.warns(UserWarning, match=FAR):
        eigenspectrum(rnns, rates)


def test_states_near_the_runs_or_of_rnns_without_runs_pass(networks):
    net = networks.bistable(gain=8.0, initial_states=np.zeros(20), n_timesteps=5)
    far = 8.0 * net.m
    for x in (2 * np.ones(20), np.where(np.arange(20) < 5, far, 0.1)):
        eigenspectrum(net.rnn, x[np.newaxis])
    with pytest.warns(UserWarning, match=FAR):
        eigenspectrum(net.rnn, far[np.newaxis])
    eigenspectrum(RNNBatch(net.rnn.U, net.rnn.V), far[np.newaxis])
    near = networks.bistable(gain=8.0, initial_states=0.9 * far, n_timesteps=50)
    eigenspectrum(near.rnn, 1.5 * near.rnn.free_run())
