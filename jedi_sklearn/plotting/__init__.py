"""Figures of fitted models and their RNNs: displays that follow scikit-learn's convention.

A display stores the data that it draws. ``from_estimator`` and the other constructors compute
these data and draw them at once. ``plot`` draws them again, on given axes or with other options,
and returns the display with the axes as ``ax_`` and the figure as ``figure_``. Legends stand
beside the axes, so that they never cover data: make your own figures with
``layout="constrained"``, which leaves room for them. A :class:`Report` collects the most
informative figures and tables on one page. All of this needs matplotlib:
``pip install "jedi-sklearn[plot]"``.
"""

from ._comparison import ComparisonDisplay
from ._embedding import EmbeddingDisplay
from ._fixed_points import FixedPointDisplay
from ._flow import FlowFieldDisplay
from ._free_run import FreeRunDisplay
from ._permutation import PermutationDisplay
from ._report import Report
from ._spectrum import EigenspectrumDisplay
from ._stability import StabilityDisplay

__all__ = [
    "ComparisonDisplay",
    "EigenspectrumDisplay",
    "EmbeddingDisplay",
    "FixedPointDisplay",
    "FlowFieldDisplay",
    "FreeRunDisplay",
    "PermutationDisplay",
    "Report",
    "StabilityDisplay",
]
