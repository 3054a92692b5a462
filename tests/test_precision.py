"""The same recording in single and in double precision gives the same answers."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from jedi_sklearn import _fit
from jedi_sklearn.datasets import make_multitask


def recordings(kind):
    data = make_multitask(30, n_neurons=20, n_timesteps=40, dt=0.02, random_state=0)
    rng = np.random.RandomState(0)
    if kind == "clean":
        return data.X
    noisy = data.X + 0.2 * rng.standard_normal(data.X.shape)
    if kind == "noisy":
        return noisy
    # neurons of very different size on a baseline at least 1000 times their modulation
    size = rng.uniform(0.1, 10, 20)
    return 1000 * size.max() + size * noisy


# of R2. Training makes more of the digits lost with each step, in double precision too, so there
# are few steps
TOLERANCE = {"clean": 1e-5, "noisy": 1e-5, "large baseline": 5e-4}


@pytest.mark.parametrize("scale", ["global", "neuron"])
@pytest.mark.parametrize("kind", ["clean", "noisy", "large baseline"])
@pytest.mark.slow
def test_scores_agree(small, monkeypatch, kind, scale):
    monkeypatch.setattr(_fit, "PRECISION", torch.float64)
    X = recordings(kind)
    found, same = [], []
    for trials in (X, X.astype(np.float32), X.astype(np.float32).astype(np.float64)):
        est = small(scale=scale, max_iter=12).fit(trials[:22])
        found.append([est.score(trials[:22]), est.score(trials[22:])])
        same.append([est.embedding_, est.transform(trials[22:])])
    assert_allclose(found[1], found[0], rtol=0, atol=TOLERANCE[kind])
    # the only digits lost are those that the data lost: nothing is worked out in theirs
    assert_allclose(found[1], found[2], rtol=0, atol=1e-9)
    for single, double in zip(same[1], same[2], strict=True):
        assert_allclose(single, double, rtol=0, atol=1e-6)
