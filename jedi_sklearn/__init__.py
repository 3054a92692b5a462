"""JEDI for scikit-learn: fit dynamical systems to trials, and take them apart."""

from importlib.metadata import PackageNotFoundError, version

from ._estimator import JEDIEstimator
from .rnn import RNNBatch

try:
    __version__ = version("jedi-sklearn")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"

__all__ = ["JEDIEstimator", "RNNBatch", "__version__"]
