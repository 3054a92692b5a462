"""How far to believe a fit, and what it gives beside simpler methods."""

from ._stability import stability_report
from ._stability_report import StabilityReport, Structure

__all__ = ["StabilityReport", "Structure", "stability_report"]
