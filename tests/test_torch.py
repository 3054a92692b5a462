"""What of torch a fit goes by."""

import pytest
import torch

from jedi_sklearn import JEDIEstimator
from jedi_sklearn.datasets import make_multitask

X = make_multitask(n_trials=12, n_neurons=6, n_timesteps=9, dt=0.02, random_state=0).X


def make(**parameters):
    fixed = {"dt": 0.02, "max_iter": 4, "tol": 100, "random_state": 0}
    return JEDIEstimator(2, 3, **{**fixed, **parameters})


@pytest.mark.parametrize("device", ["xpu", "xpu:1", "mps", "meta", "hpu", "mtia", "privateuseone"])
def test_a_device_that_does_not_work_here(device):
    kind = device.partition(":")[0]
    if getattr(getattr(torch, kind, None), "is_available", lambda: False)():
        pytest.skip("there is one")
    with pytest.raises(ValueError, match=rf"this machine has cpu.*got '{device}") as refusal:
        make(device=device).fit(X)
    assert '"auto", "cpu", "cuda"' in str(refusal.value)


def test_a_gpu_of_a_number_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"has cpu, cuda:0, cuda:1\), got 'cuda:2'"):
        make(device="cuda:2").fit(X)
