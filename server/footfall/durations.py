"""Durations in microseconds, the unit of all times in stores and questions."""

from __future__ import annotations

from typing import Final

HOUR_US: Final = 3_600_000_000
DAY_US: Final = 24 * HOUR_US
