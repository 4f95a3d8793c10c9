"""Quotients of whole numbers, rounded without a detour through floating point.

Halves are rounded away from zero, as people do and as the service's percentages are.
"""

from __future__ import annotations


def tenths(numerator: int, denominator: int) -> float:
    """Return the quotient to one decimal; the denominator is positive."""
    return whole(10 * numerator, denominator) / 10


def whole(numerator: int, denominator: int) -> int:
    """Return the quotient to the nearest whole number; the denominator is positive."""
    size = (2 * abs(numerator) + denominator) // (2 * denominator)
    return -size if numerator < 0 else size
