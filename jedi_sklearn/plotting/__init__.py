"""Figures of what a fit and its RNNs hold: displays after the convention of scikit-learn.

A display stores what it draws. ``from_estimator`` and its other constructors compute that and
draw it at once; ``plot`` draws it again, on given axes or in another way, and returns the display
with what it drew on as ``ax_`` and ``figure_``. Legends stand beside the axes, off the data: make
figures of your own with ``layout="constrained"``, which leaves room for them. A :class:`Report`
has the most telling of them on one page, with tables. Needs matplotlib:
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
