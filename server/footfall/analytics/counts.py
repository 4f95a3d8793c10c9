"""Page views and visits, added up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from footfall.analytics.model import DayCount, SlotCount


@dataclass(frozen=True, slots=True)
class Counts:
    pageviews: int
    visits: int


def total(rows: Iterable[DayCount | SlotCount]) -> Counts:
    """Return the sum of what was counted."""
    pageviews = visits = 0
    for row in rows:
        pageviews += row.pageviews
        visits += row.visits
    return Counts(pageviews, visits)
