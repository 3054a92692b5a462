"""How far to believe a fit: comparisons, stability and tests on your own trials."""

from ._compare import compare
from ._comparison import Comparison
from ._permutation import permutation_test, permutation_test_features
from ._permutation_result import PermutationTest
from ._stability import stability_report
from ._stability_report import StabilityReport, Structure

__all__ = [
    "Comparison",
    "PermutationTest",
    "StabilityReport",
    "Structure",
    "compare",
    "permutation_test",
    "permutation_test_features",
    "stability_report",
]
