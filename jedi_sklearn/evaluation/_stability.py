"""Find what of a fit survives other seeds, half of the trials, and half of the neurons.

A fit and its refits are taken apart (`_describe`), and each structure of the fit is looked for in
the refits (`structures_of`, which does not depend on how fits are made).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import islice
from numbers import Integral

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone

from .._estimator import JEDIEstimator
from .._parameters import check_sampling, choose_labels
from .._reduced import own_runs
from .._validation import (
    check_inputs_of_trials,
    check_number,
    check_seed,
    check_trials,
    warn_user,
)
from ._matching import (
    SAME,
    Dynamics,
    dynamics_of,
    embedding_agreement,
    lasting,
    match_modes,
    match_points,
    point_distances,
    tolerances,
)
from ._stability_report import (
    KINDS,
    MOST,
    SAMPLING,
    StabilityReport,
    Structure,
    interval,
    name_of_mode,
    name_of_point,
)

__all__ = ["stability_report"]

MAX_RUNS = 16  # trials of a condition in whose initial states its RNN starts
EVERYTHING = "all trials"  # the condition of trials without labels


def stability_report(
    estimator,
    X,
    y=None,
    *,
    conditions=None,
    inputs=None,
    n_seeds=10,
    n_resamples=10,
    n_halves=10,
    n_jobs=None,
    random_state=0,
):
    """Repeat a fit, and report which structures of the dynamics it finds every time.

    An estimator with the parameters of `estimator` is fitted to all of `X`, then with other seeds,
    to halves of the trials, and to halves of the neurons. Each of these refits is searched for
    the embeddings, and for the fixed points, slow eigenvalues and leading Lyapunov exponent of
    each condition's RNN. A structure found often enough in each kind of refit is called stable.

    Parameters
    ----------
    estimator : JEDIEstimator
        Estimator whose parameters are used; whether it is fitted does not matter. With an integer
        `random_state`, the first fit equals ``est.fit(X, y)`` on the same machine bit by bit.
    X : array-like of shape (n_trials, n_timesteps, n_neurons)
        Activity, as in ``JEDIEstimator.fit``.
    y : array-like of shape (n_trials,), optional
        Labels, taken as conditions as in ``JEDIEstimator.fit``. The RNN of a condition is that of
        the mean embedding of its trials. Without labels, all trials are one condition.
    conditions : array-like of shape (n_trials,), optional
        Labels that are always taken as conditions.
    inputs : array-like of shape (n_trials, n_timesteps, n_inputs), optional
        Known inputs, as in ``JEDIEstimator.fit``; see Notes.
    n_seeds : int, default=10
        Number of refits to all of `X` with other seeds.
    n_resamples : int, default=10
        Number of refits to half of the trials of each condition, drawn without replacement. The
        second refit of each pair uses the trials that the first did not; see Notes.
    n_halves : int, default=10
        Number of refits to half of the neurons and all trials. The second refit of each pair uses
        the other neurons.
    n_jobs : int, optional
        Number of joblib workers that share the refits. None means 1, or the setting of an
        enclosing ``joblib.parallel_config``. The result does not depend on it.
    random_state : int, RandomState or None, default=0
        Seed of the seeds and halves.

    Returns
    -------
    StabilityReport
        Result. ``print(report)`` is a page to read, ``report.structures`` the list behind it.

    Raises
    ------
    TypeError
        If `estimator` is not a JEDIEstimator.
    ValueError
        If there is nothing to refit; if there are fewer than four trials, two trials of a
        condition or four neurons to halve; if data cannot be fitted, as in ``fit``; or if no
        refit of some kind is possible.

    Warns
    -----
    ConvergenceWarning
        If the first fit does not converge. The report counts the refits that do not.
    UserWarning
        If the first fit warns of its data. Also if refits fail, with their number and the reason;
        with stacked sessions, for example, a trial may have no neuron in one half. Failed refits
        do not count.

    Notes
    -----
    A structure is *stable* if, for each kind of refit, the one-sided 95 % confidence bound
    (Clopper-Pearson) on the share of refits that have it lies above one half: 9 of 10, 15 of 20.
    A structure that half of the refits have then passes with a probability of at most 5 %. Fewer
    than five refits of a kind cannot show this. If all of them have a structure it is
    *undecided*, as it is if a kind was left out. A fixed point must also lie where trials were:
    its distance from the free run of some trial must be no larger than it may move between fits.

    Halves are drawn without replacement for three reasons. A bootstrap repeats trials, and trials
    whose copies are held out distort the choice of sizes. Two complementary halves share no noise
    [2]_. And the spread of an estimate over halves equals its standard error with all trials
    [1]_, so halves of the trials move a structure as far as its own noise does. Halves also use
    other seeds.

    Intervals of values therefore cover the refits to halves of the trials. With ``n_resamples=0``
    they cover all refits and do not show the sampling uncertainty, because other seeds hardly
    move anything. For fixed points, values exist only in refits that match them. "moved" can
    therefore not exceed the tolerance below, and the intervals are too narrow if few refits
    match.

    When structures count as *the same*: fixed points of one condition, if their distance is
    within a tenth of the SD of the activity (of all trials, RMS over neurons) or half the
    distance to the next point of the fit, whichever is less, and if they have the same number of
    unstable directions. They are matched one to one in the neurons that both fits have.
    Eigenvalues (equivalent linearisation, those that outlast two time constants), if growth rates
    differ by less than 1 / duration of a trial and frequencies by less than half of that.
    Exponents, if they have the same sign. Embeddings, if they share more than half of their
    variance after the best orthogonal map and a common scale, corrected for chance.

    With known `inputs`, the RNN of a condition runs with the inputs of each of its trials, like
    the RNNs of ``JEDIEstimator.dynamics(X, inputs=inputs)``. Eigenvalues and exponents are those
    of these driven runs. Fixed points are those under one constant input, the mean over time and
    over all trials of the condition, which is the same in each refit. If inputs change within a
    trial, states need not rest there.

    Stable is not the same as true: docs/how_to/stability.md describes what no refit can
    reveal.

    References
    ----------
    .. [1] Shao and Wu (1989). A general theory for jackknife variance estimation. Annals of
       Statistics 17:1176-1197.
    .. [2] Shah and Samworth (2013). Variable selection with error control: another look at
       stability selection. Journal of the Royal Statistical Society B 75:55-80.

    Examples
    --------
    >>> from jedi_sklearn import JEDIEstimator
    >>> from jedi_sklearn.datasets import make_bistable_decision
    >>> from jedi_sklearn.evaluation import stability_report
    >>> data = make_bistable_decision(16, n_neurons=8, n_timesteps=45)
    >>> est = JEDIEstimator(2, 4, max_iter=8, tol=1, random_state=0)
    >>> report = stability_report(
    ...     est, data.X[:, 30:], data.choice, n_seeds=2, n_resamples=2, n_halves=2
    ... )
    >>> report                                     # ten refits of each kind, the default, can tell
    StabilityReport(5 undecided; 6 refits)
    """
    if not isinstance(estimator, JEDIEstimator):
        advice = ""
        if hasattr(estimator, "named_steps"):
            advice = (
                " Pass the JEDIEstimator of the Pipeline, and X as the earlier steps transform it."
            )
        raise TypeError(
            f"estimator must be a JEDIEstimator, got {type(estimator).__name__}.{advice}"
        )
    numbers = {"n_seeds": n_seeds, "n_resamples": n_resamples, "n_halves": n_halves}
    for name, number in numbers.items():
        check_number(number, name, Integral, low=0)
    if not any(numbers.values()):
        raise ValueError(
            "There is nothing to refit: n_seeds, n_resamples and n_halves are all 0. At least 5 "
            "of each are needed to tell what is stable; the default is 10."
        )
    rng = check_seed(random_state)
    check_sampling(estimator, X)
    X = check_trials(X, min_trials=2, missing=True)
    labels, codes = choose_labels(estimator, y, conditions, len(X))
    inputs = check_inputs_of_trials(inputs, X)
    _check_halves(X, labels, codes, n_resamples, n_halves)

    estimator = clone(estimator).set_params(
        warm_start=False, checkpoint=None, output="dynamics", distributed=False, verbose=False
    )
    each = None if labels is None else labels[codes]
    groups = np.zeros(len(X), dtype=int) if codes is None else codes
    everything = (np.arange(len(X)), np.arange(X.shape[2]))
    jobs = _plan(rng, groups, X.shape[2], *numbers.values())
    reference = clone(estimator)
    trials = reference.fit_transform(X, conditions=each, inputs=inputs)
    constant = _constant_inputs(trials, groups)
    first = _describe(reference, trials, groups, _Job("", None, *everything), inputs, constant)
    data = (estimator, X, each, groups, inputs, constant)
    made = Parallel(n_jobs=n_jobs)(delayed(_refit)(*data, job) for job in jobs)
    refits = [fit for fit in made if isinstance(fit, _Fit)]
    _tell_failures([fit for fit in made if isinstance(fit, _Failure)], jobs)

    structures = [_compare_embeddings(first, refits, rng)]
    names = [EVERYTHING] if labels is None else labels.tolist()
    runs = own_runs(trials)
    variance = np.concatenate(runs).var(axis=0)
    for k, name in enumerate(names):
        own, *others = (_in_units_of(reference, fit, k) for fit in (first, *refits))
        some = [run for run, group in zip(runs, groups, strict=True) if group == k]
        structures += structures_of(own, others, some, variance, reference.tau, name)
    return StabilityReport(
        structures=structures,
        conditions=names,
        n_refits={kind: sum(fit.kind == kind for fit in refits) for kind in KINDS},
        n_unconverged=sum(not fit.converged for fit in refits),
        n_failed=len(made) - len(refits),
    )


@dataclass(frozen=True)
class _Job:
    """Specification of a refit: its kind, seed, and indices of trials and neurons."""

    kind: str
    seed: int | None
    trials: np.ndarray
    neurons: np.ndarray


@dataclass(frozen=True)
class _Fit:
    """Results kept from a fit."""

    kind: str
    trials: np.ndarray
    neurons: np.ndarray
    embedding: np.ndarray
    converged: bool
    dynamics: list[Dynamics]  # one per condition


@dataclass(frozen=True)
class _Failure:
    """A refit that failed, and the reason given by the fit."""

    kind: str
    reason: str


@dataclass(frozen=True)
class Found:
    """Dynamics of one condition in one fit, with its points in units common to all fits.

    `kind` is the kind of refit, `neurons` are the indices of its neurons.
    """

    kind: str
    neurons: np.ndarray
    dynamics: Dynamics
    positions: np.ndarray


def _check_halves(X, labels, codes, n_resamples, n_halves):
    """Raise an error if there are too few trials or neurons to halve."""
    if n_resamples and len(X) < 4:
        raise ValueError(
            f"Halves of the trials need at least four trials, got {len(X)}. Set n_resamples=0."
        )
    if n_resamples and labels is not None and np.bincount(codes).min() < 2:
        least = np.bincount(codes).argmin()
        raise ValueError(
            "Halves of the trials need at least two trials of each condition, got one of "
            f"{labels.tolist()[least]!r}. Leave such conditions out, or set n_resamples=0."
        )
    if n_halves and X.shape[2] < 4:
        raise ValueError(
            f"Halves of the neurons need at least four neurons, got {X.shape[2]}. Set n_halves=0."
        )


def _tell_failures(failures, jobs):
    """Warn of refits that failed; raise an error if all of one kind did."""
    for kind, option in zip(KINDS, ("n_seeds", "n_resamples", "n_halves"), strict=True):
        reasons = [failure.reason for failure in failures if failure.kind == kind]
        if not reasons:
            continue
        n = sum(job.kind == kind for job in jobs)
        text = f"{len(reasons)} of {n} refits {KINDS[kind]} could not be made"
        said = f"The reason given for the data of the first such refit: {reasons[0]}"
        if len(reasons) == n:
            raise ValueError(f"{text}. Set {option}=0 to leave them out. {said}")
        warn_user(f"{text} and do not count. {said}")


def _plan(rng, groups, n_neurons, n_seeds, n_resamples, n_halves):
    """Plan the refits."""
    trials, neurons = np.arange(len(groups)), np.arange(n_neurons)

    def halves(groups, n):
        """Yield halves of each group and their complements."""
        for _ in range(-(-n // 2)):
            order = rng.permutation(len(groups))
            order = order[np.argsort(groups[order], kind="stable")]
            # every other one: in a group of odd size, either half may be the larger one
            first = np.isin(np.arange(len(groups)), order[rng.randint(2) :: 2])
            yield from (np.flatnonzero(first), np.flatnonzero(~first))

    def seed():
        return int(rng.randint(2**31 - 1))

    jobs = [_Job("seeds", seed(), trials, neurons) for _ in range(n_seeds)]
    some = islice(halves(groups, n_resamples), n_resamples)
    jobs += [_Job("trials", seed(), half, neurons) for half in some]
    some = islice(halves(np.zeros(n_neurons), n_halves), n_halves)
    return jobs + [_Job("neurons", seed(), trials, half) for half in some]


def _constant_inputs(trials, groups):
    """Compute the mean input of each condition's trials up to their ends; None without inputs."""
    if trials.inputs is None:
        return [None] * (groups.max() + 1)
    during = np.arange(trials.n_timesteps) < trials.lengths[:, np.newaxis]
    return [
        trials.inputs[during & (groups == k)[:, np.newaxis]].mean(axis=0)
        for k in range(groups.max() + 1)
    ]


def _refit(estimator, X, each, groups, inputs, constant, job):
    """Fit a copy of `estimator` to the trials and neurons of a job, without warnings.

    Returns a _Failure if this is not possible, although all of X can be fitted.
    """
    X, groups = X[job.trials][:, :, job.neurons], groups[job.trials]
    each = None if each is None else each[job.trials]
    inputs = None if inputs is None else inputs[job.trials]
    n_embeddings = len(X) if estimator.embedding == "trial" else groups.max() + 1
    rank = estimator.rank if estimator.rank == "auto" else min(estimator.rank, X.shape[2])
    d = estimator.n_components
    if d != "auto":
        d = min(d, n_embeddings - 1)
        d = d if rank == "auto" else min(d, rank * (rank + 1))
    estimator = clone(estimator).set_params(rank=rank, n_components=d, random_state=job.seed)
    with warnings.catch_warnings():  # the first fit has given all warnings about the data
        warnings.simplefilter("ignore")
        try:
            trials = estimator.fit_transform(X, conditions=each, inputs=inputs)
            return _describe(estimator, trials, groups, job, inputs, constant)
        except (ValueError, FloatingPointError) as error:  # e.g. a trial without neurons
            return _Failure(job.kind, str(error))


def _describe(estimator, trials, groups, job, inputs, constant):
    """Extract what is kept of a fit; `trials` are the RNNs of its trials."""
    dynamics = []
    for k in range(groups.max() + 1):
        rows = np.flatnonzero(groups == k)
        embedding = estimator.embedding_[rows].mean(axis=0)
        rows = rows[np.linspace(0, len(rows) - 1, min(MAX_RUNS, len(rows))).astype(int)]
        starts = estimator.to_activity(trials[rows].initial_states)
        given = None if inputs is None else inputs[rows]
        rnns = estimator.generate_rnns(np.tile(embedding, (len(rows), 1)), starts, inputs=given)
        rnns._lengths = trials[rows].lengths  # for padded trials
        dynamics.append(dynamics_of(rnns, estimator.to_activity, constant[k]))
    return _Fit(
        job.kind, job.trials, job.neurons, estimator.embedding_, estimator.converged_, dynamics
    )


def _in_units_of(estimator, fit, k):
    """Get the dynamics of condition k, with points converted to states of `estimator`."""
    activity = np.full((len(fit.dynamics[k].positions), estimator.n_features_in_), np.nan)
    activity[:, fit.neurons] = fit.dynamics[k].positions
    if estimator.observation_ == "poisson":  # exp may have rounded a distant point to 0
        activity = np.maximum(activity, np.finfo(float).tiny)
    positions = estimator.to_states(activity)[:, fit.neurons]
    return Found(fit.kind, fit.neurons, fit.dynamics[k], positions)


def structures_of(own, others, runs, variance, tau, condition=EVERYTHING):
    """Find the structures of one condition in a fit, and their share of the other fits.

    Parameters
    ----------
    own : Found
        Dynamics in the fit, with all neurons.
    others : list of Found
        Dynamics in other fits, with positions in the same units.
    runs : list of ndarray of shape (n_timesteps, n_neurons)
        Free runs of the condition's trials in the fit, in those units.
    variance : ndarray of shape (n_neurons,)
        Variance of the states over trials of all conditions.
    tau : float
        Time constant, s.
    condition : label
        Label of the condition.

    Returns
    -------
    list of Structure
    """
    duration = np.mean([len(run) for run in runs]) * own.dynamics.points.dt
    parts = (
        _compare_points(own, others, np.concatenate(runs), variance),
        _compare_modes(own, others, tau, duration),
        [_compare_exponents(own, others)],
    )
    return [Structure(condition=condition, **found) for part in parts for found in part]


def _compare_points(own, others, states, variance):
    """Yield the results for each fixed point; `states` are those of the trials' free runs."""
    points, spread = own.dynamics.points, np.sqrt(variance.mean())
    tolerance = tolerances(own.positions, spread)
    visited = point_distances(own.positions, states, spread).min(axis=1, initial=np.inf)
    shape = (len(others), len(points))
    found, moved = np.zeros(shape, dtype=bool), np.full(shape, np.nan)
    growth, frequency = np.full((2, *shape), np.nan)
    sampled = _sampled(others)
    n_unstable = points.n_unstable
    for i, other in enumerate(others):
        here, unit = own.positions[:, other.neurons], np.sqrt(variance[other.neurons].mean())
        distance = point_distances(here, other.positions, unit)
        theirs = other.dynamics.points
        index = match_points(distance, n_unstable, theirs.n_unstable, tolerance)
        k = np.flatnonzero(index >= 0)
        j = index[k]
        moved[i, k] = distance[k, j]
        growth[i, k] = theirs.growth_rates[j, 0]
        frequency[i, k] = np.abs(theirs.frequencies[j, 0])
        found[i, k] = theirs.n_unstable[j] == n_unstable[k]
    for k in range(len(points)):
        there = ~np.isnan(moved[:, k])
        yield {
            "kind": "fixed point",
            "name": name_of_point(n_unstable[k]),
            "found": _count(found[:, k], others),
            "quantities": {
                "moved (SD)": interval(moved[sampled, k]),
                "growth rate (1/s)": interval(growth[sampled, k], points.growth_rates[k, 0]),
                "frequency (Hz)": interval(frequency[sampled, k], abs(points.frequencies[k, 0])),
            },
            "visited": bool(visited[k] <= SAME),
            "n_other_stability": int((there & ~found[:, k]).sum()),
            "from_trials": float(visited[k]),
            "n_unstable": int(n_unstable[k]),
            "position": own.dynamics.positions[k],
        }


def _compare_modes(own, others, tau, duration):
    """Yield the results for each eigenvalue that lasts."""
    modes = lasting(own.dynamics.modes, tau)
    pairs = [match_modes(modes, other.dynamics.modes, duration) for other in others]
    nearest, same = (
        np.array(a).reshape(len(others), len(modes)) for a in zip(*pairs, strict=True)
    )
    sampled = _sampled(others)
    for k, mode in enumerate(modes):
        growth, frequency = nearest[sampled, k].real, nearest[sampled, k].imag / (2 * np.pi)
        quantities = {
            "frequency (Hz)": interval(frequency, mode.imag / (2 * np.pi)),
            "growth rate (1/s)": interval(growth, mode.real),
        }
        name = name_of_mode(mode)
        found = _count(same[:, k], others)
        yield {"kind": "eigenvalue", "name": name, "found": found, "quantities": quantities}


def _compare_exponents(own, others):
    """Compare the leading Lyapunov exponent."""
    exponent = own.dynamics.exponent
    each = np.array([other.dynamics.exponent for other in others])
    return {
        "kind": "exponent",
        "name": f"leading Lyapunov exponent, {'positive' if exponent > 0 else 'negative'}",
        "found": _count(np.sign(each) == np.sign(exponent), others),
        "quantities": {"exponent (1/s)": interval(each[_sampled(others)], exponent)},
    }


def _compare_embeddings(first, refits, rng):
    """Compare embeddings of the trials that two fits share."""
    r2, agree = [], []
    for fit in refits:
        value, chance = embedding_agreement(first.embedding[fit.trials], fit.embedding, rng)
        r2.append(value)
        # more than half of what agreement by chance leaves open
        agree.append(value - chance > MOST * (1 - chance))
    found = _count(np.array(agree), refits)
    kinds, r2 = np.array([fit.kind for fit in refits]), np.array(r2)
    quantities = {f"R2 ({kind})": interval(r2[kinds == kind]) for kind in found}
    return Structure("embedding", "embeddings", None, found=found, quantities=quantities)


def _sampled(others):
    """Select the refits that show uncertainty: to halves of trials, or all if there are none."""
    kinds = np.array([other.kind for other in others])
    return kinds == SAMPLING if SAMPLING in kinds else np.ones(len(kinds), dtype=bool)


def _count(found, others):
    """Count (found, refits) for each kind of refit that was made."""
    kinds = np.array([other.kind for other in others])
    return {
        kind: (int(found[kinds == kind].sum()), int((kinds == kind).sum()))
        for kind in KINDS
        if (kinds == kind).any()
    }
