"""Simulated recordings with known answers."""

from ._multitask import make_multifrequency, make_multitask

__all__ = ["make_multifrequency", "make_multitask"]
