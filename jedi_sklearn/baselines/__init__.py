"""Simple and established models with the interface of JEDIEstimator, for comparison."""

from ._condition_mean import ConditionMean
from ._condition_rnn import ConditionRNN
from ._lds import LinearDynamicalSystem
from ._pca import PCATrajectories
from ._vae import RNNVAEBaseline, VAEBaseline

__all__ = [
    "ConditionMean",
    "ConditionRNN",
    "LinearDynamicalSystem",
    "PCATrajectories",
    "RNNVAEBaseline",
    "VAEBaseline",
]
