"""Facts about leaving out whole conditions and whole sessions with scikit-learn's own tools."""

import numpy as np
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.utils import Bunch

from jedi_sklearn import JEDIEstimator
from jedi_sklearn.datasets import make_multitask

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def recording():
    """Trials of four tasks in three sessions, two of which lost some neurons."""
    data = make_multitask(36, n_neurons=24, n_timesteps=60, random_state=0)
    X, session = data.X[:, ::2], np.arange(36) // 12
    gappy = X.copy()
    gappy[session == 0, :, :3] = np.nan
    gappy[session == 1, :, 10] = np.nan
    return Bunch(X=X, gappy=gappy, session=session, task=data.task)


def jedi():
    return JEDIEstimator(3, 6, dt=0.02, max_iter=30, tol=1, random_state=0)


@pytest.mark.slow
def test_each_condition_is_left_out_of_its_fit(recording):
    X, task = recording.X, recording.task
    with sklearn.config_context(enable_metadata_routing=True):
        found = cross_validate(
            jedi().set_fit_request(conditions=True),
            X,
            cv=LeaveOneGroupOut(),
            params={"conditions": task, "groups": task},
            return_estimator=True,
        )
    tasks = np.unique(task)
    assert len(found["test_score"]) == len(tasks)
    for name, est, score in zip(tasks, found["estimator"], found["test_score"], strict=True):
        assert set(est.conditions_) == set(tasks) - {name}
        new = task == name
        alone = jedi().fit(X[~new], conditions=task[~new]).score(X[new])
        assert score == pytest.approx(alone, abs=1e-9)


@pytest.mark.slow
def test_labels_serve_as_conditions_and_groups_without_routing(recording):
    X, task = recording.X, recording.task
    scores = cross_val_score(jedi(), X, task, groups=task, cv=LeaveOneGroupOut())
    new = task == np.unique(task)[0]
    assert scores[0] == pytest.approx(jedi().fit(X[~new], task[~new]).score(X[new]), abs=1e-9)


@pytest.mark.slow
def test_sessions_may_lack_neurons(recording):
    X, session = recording.gappy, recording.session
    scores = cross_val_score(jedi(), X, groups=session, cv=LeaveOneGroupOut())
    assert (scores > 0.7).all()
    new = session == 0
    est = jedi().fit(X[~new])
    assert scores[0] == pytest.approx(est.score(X[new]), abs=1e-9)
    # the neurons that the session lost come out of the model, and R2 is that of the others
    run = est.predict(X[new])
    assert np.corrcoef(run[..., 0].ravel(), recording.X[new][..., 0].ravel())[0, 1] > 0.8


@pytest.mark.slow
def test_the_task_is_decoded_in_a_session_never_seen(recording):
    classifier = make_pipeline(jedi(), LogisticRegression())
    X, task, session = recording.gappy, recording.task, recording.session
    scores = cross_val_score(classifier, X, task, groups=session, cv=LeaveOneGroupOut())
    assert scores.mean() > 0.5  # chance is 0.25


@pytest.mark.slow
def test_a_neuron_of_one_session_cannot_be_left_out_with_it(recording):
    X, session = recording.gappy.copy(), recording.session
    X[session != 2, :, 20] = np.nan
    with pytest.raises(ValueError, match="Neuron 20 is NaN in all of X"):
        cross_val_score(jedi(), X, groups=session, cv=LeaveOneGroupOut(), error_score="raise")
