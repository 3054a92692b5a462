"""How far to believe a fit: beside what simple methods make of the same trials."""

from ._compare import compare
from ._comparison import Comparison

__all__ = ["Comparison", "compare"]
