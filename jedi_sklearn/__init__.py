"""JEDI for scikit-learn: fit dynamical systems to trials, and take them apart."""

from importlib.metadata import PackageNotFoundError, version

from ._estimator import JEDIEstimator
from .analyzers import (
    DynamicsAnalyzer,
    EigenspectrumAnalyzer,
    FixedPointAnalyzer,
    LyapunovAnalyzer,
)
from .fixed_points import find_fixed_points
from .flow import flow_field
from .lyapunov import lyapunov_exponents
from .rnn import RNNBatch
from .spectra import eigenspectrum

try:
    __version__ = version("jedi-sklearn")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"

__all__ = [
    "DynamicsAnalyzer",
    "EigenspectrumAnalyzer",
    "FixedPointAnalyzer",
    "JEDIEstimator",
    "LyapunovAnalyzer",
    "RNNBatch",
    "__version__",
    "eigenspectrum",
    "find_fixed_points",
    "flow_field",
    "lyapunov_exponents",
]
