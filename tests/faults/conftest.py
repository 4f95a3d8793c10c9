"""The fixture that every case has."""

from tests.faults.verdicts import case

__all__ = ["case"]
