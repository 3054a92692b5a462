"""Facts about fits that callbacks of scikit-learn listen to."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV

from jedi_sklearn import JEDIEstimator

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9 has callbacks")

N_STEPS = 20


class Listener:
    """Notes what it hears; stops at a step, or raises there."""

    max_propagation_depth = None

    def __init__(self, stop=None, error=None):
        self.stop, self.error = stop, error
        self.heard = []

    def setup(self, estimator, context):
        self.heard.append("setup")

    def teardown(self, estimator, context):
        self.heard.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.heard.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context):
        self.heard.append(("end", context.task_name, context.task_id))
        at = context.task_name == "gradient step" and context.task_id == self.stop
        if at and self.error:
            raise self.error
        return at


class Judge(Listener):
    """Scores the fit as it stands, wherever it may."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        if fitted_estimator is not None:
            score = fitted_estimator.score(X)
            self.seen.append((fitted_estimator.n_iter_, score, fitted_estimator.embedding_))
        return super().on_fit_task_end(estimator, context)


@pytest.fixture
def fit(multitask, small):
    """Fit to a few trials, with or without a callback."""

    def go(listener=None, **changes):
        est = small(n_components=3, rank=6, max_iter=N_STEPS, **changes)
        if listener is not None:
            est.set_callbacks(listener)
        return est.fit(multitask.X[:16, :, :10], multitask.task[:16])

    return go


def test_callbacks_hear_of_each_step_and_change_nothing(fit, multitask):
    listener = Judge()
    est, plain = fit(listener), fit()
    steps = [("gradient step", i) for i in range(N_STEPS)]
    inner = [(when, *step) for step in steps for when in ("begin", "end")]
    outer = ["setup", ("begin", "fit", 0), *inner, ("end", "fit", 0), "teardown"]
    assert listener.heard == outer
    np.testing.assert_array_equal(est.embedding_, plain.embedding_)
    assert est.loss_curve_ == plain.loss_curve_
    # the fit as it stands, each tenth of the way and at the end
    assert [n for n, *_ in listener.seen] == [*range(2, 21, 2), 20]
    for _, score, embedding in listener.seen[-2:]:
        assert score == plain.score(multitask.X[:16, :, :10])
        np.testing.assert_array_equal(embedding, plain.embedding_)
    assert listener.seen[0][1] != score


def test_a_callback_stops_a_fit(fit):
    est = fit(Listener(stop=14))
    assert est.n_iter_ == 15 and est.converged_
    assert est.loss_curve_ == fit().loss_curve_[:15]
    with pytest.warns(ConvergenceWarning, match="stopped training after 4 of 20 steps, before"):
        est = fit(Listener(stop=3))
    assert est.n_iter_ == 4 and not est.converged_


def test_what_a_callback_raises_leaves_the_estimator_unfitted(small, multitask):
    listener = Listener(stop=3, error=RuntimeError("enough"))
    est = small(max_iter=N_STEPS).set_callbacks(listener)
    with pytest.raises(RuntimeError, match="enough"):
        est.fit(multitask.X[:16])
    assert listener.heard[-1] == "teardown"
    with pytest.raises(NotFittedError):
        est.transform(multitask.X)


@pytest.mark.slow
def test_fits_of_a_search_are_tasks_within_it(small, multitask):
    listener = Listener()
    search = GridSearchCV(small(n_components=2, max_iter=40), {"rank": [4, 6]}, cv=2)
    search.set_callbacks(listener).fit(multitask.X[:16, :, :10], multitask.task[:16])
    ends = [heard[1] for heard in listener.heard if heard[0] == "end"]
    assert ends.count("gradient step") == 40 * (4 + 1)  # four fits, and the best one again
    assert ends[-1] == "fit" and ends.count("search") == 1
    assert listener.heard.count("setup") == 1 == listener.heard.count("teardown")


@pytest.mark.slow
def test_the_monitor_of_scikit_learn_scores_a_fit(small, multitask):
    X, u = multitask.X[:8, :, :10], multitask.inputs[:8]
    scoring = {"D": lambda est, X, y, inputs: est.score(X, inputs=inputs)}
    monitor = callback.ScoringMonitor(scoring=scoring)
    est = small(max_iter=10).set_callbacks(monitor).fit(X, multitask.task[:8], inputs=u)
    rows = monitor.get_logs().data
    assert len(rows) == 11
    assert rows[-1]["D"] == est.score(X, inputs=u)


def test_callbacks_are_cloned_and_not_saved(fit, tmp_path, multitask):
    listener = Listener()
    est = fit(listener)
    clone(est).fit(multitask.X[:16, :, :10])
    assert listener.heard.count("setup") == 2
    est.save(tmp_path / "est.npz")
    loaded = JEDIEstimator.load(tmp_path / "est.npz")
    np.testing.assert_array_equal(loaded.embedding_, est.embedding_)
    assert not hasattr(loaded, "_skl_callbacks")
