"""How a site's day is going, against the day before at the same time of day.

Today is everything counted of the local day, as it is in charts and live snapshots. An event that
a client's clock put later today than it is counts in the running quarter of an hour, so that the
curve ends with today's total.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate

from footfall.accounts.model import Site
from footfall.analytics.counts import Counts, total
from footfall.analytics.days import (
    SLOT_MINUTES,
    day_slots,
    day_text,
    first_instant,
    local_day,
    local_time,
    slot_texts,
    system_us,
    utc_text,
)
from footfall.analytics.model import PaceCounts, PaceQuery, SlotCount
from footfall.analytics.ports import WebHistory
from footfall.analytics.rounding import tenths, whole


@dataclass(frozen=True, slots=True)
class PacePoint:
    """A quarter of an hour; `time` is its start in RFC 3339, with the offset of the zone then."""

    time: str
    counts: Counts
    #: Since the day began, this quarter included.
    cumulative: Counts


@dataclass(frozen=True, slots=True)
class PaceAnswer:
    """Today and yesterday, and what today's figures are against yesterday's."""

    site: str
    updated_at: str
    timezone: str
    #: YYYY-MM-DD.
    date: str
    yesterday_date: str
    slot_minutes: int
    today: Counts
    yesterday: Counts
    #: Yesterday up to the same time of day as now.
    same_time: Counts
    curve_today: tuple[PacePoint, ...]
    curve_yesterday: tuple[PacePoint, ...]

    # What is counted against nothing is no number.

    @property
    def pageviews_percent(self) -> float | None:
        """Change against the same time yesterday, in percent to one decimal."""
        return _change_percent(self.today.pageviews, self.same_time.pageviews)

    @property
    def visits_percent(self) -> float | None:
        """As `pageviews_percent`."""
        return _change_percent(self.today.visits, self.same_time.visits)

    @property
    def projected_pageviews(self) -> int | None:
        """What today ends with if it keeps its ratio to yesterday."""
        return _projection(self.today.pageviews, self.same_time.pageviews, self.yesterday.pageviews)

    @property
    def projected_visits(self) -> int | None:
        """As `projected_pageviews`."""
        return _projection(self.today.visits, self.same_time.visits, self.yesterday.visits)


class PaceService:
    """Answers how a site's day is going."""

    def __init__(self, history: WebHistory, clock_us: Callable[[], int] = system_us) -> None:
        self._history = history
        self._clock_us = clock_us

    async def answer(self, site: Site, timeout_s: float) -> PaceAnswer:
        """Return the site's pace now.

        Raises DeadlineError after `timeout_s`, and UnavailableError while the event store does not
        answer.
        """
        now_us = self._clock_us()
        query = plan(site, now_us)
        return build(site, query, now_us, await self._history.pace(query, timeout_s))


def plan(site: Site, now_us: int) -> PaceQuery:
    """Return the question about the site's day at `now_us`.

    What yesterday had "by the same time" is what it had when its clock first showed now's time of
    day, to the microsecond, or a later one: where yesterday's clock skipped that time, what it had
    at the skip; where it showed it twice, what it had the first time.
    """
    now = local_time(site.timezone, now_us)
    today = local_day(site.timezone, now_us)
    return PaceQuery(site.id, today, first_instant(site.timezone, today - 1, now.time()))


def build(site: Site, query: PaceQuery, now_us: int, counts: PaceCounts) -> PaceAnswer:
    """Return the answer made of the counts of both days."""
    today, yesterday = query.local_day, query.local_day - 1
    of_today = [slot for slot in counts.slots if slot.local_day == today]
    of_yesterday = [slot for slot in counts.slots if slot.local_day == yesterday]
    return PaceAnswer(
        site=site.id,
        updated_at=utc_text(now_us),
        timezone=site.timezone,
        date=day_text(today),
        yesterday_date=day_text(yesterday),
        slot_minutes=SLOT_MINUTES,
        today=total(of_today),
        yesterday=total(of_yesterday),
        same_time=Counts(counts.pageviews_before, counts.visits_before),
        curve_today=_curve(site.timezone, today, of_today, now_us),
        curve_yesterday=_curve(site.timezone, yesterday, of_yesterday, now_us),
    )


def _change_percent(now: int, before: int) -> float | None:
    return tenths(100 * (now - before), before) if before else None


def _projection(now: int, before: int, whole_day: int) -> int | None:
    return whole(now * whole_day, before) if before else None


def _curve(
    timezone: str, day: int, slots: Iterable[SlotCount], now_us: int
) -> tuple[PacePoint, ...]:
    """Return a point for each quarter of the day that has begun. Counts of other quarters belong
    to the nearest before: those ahead of the clock, and those of days that were another zone's
    when they were counted.
    """
    starts = day_slots(timezone, day)
    begun = bisect_right(starts, now_us)
    pageviews, visits = [0] * begun, [0] * begun
    for slot in slots if begun else ():
        place = max(bisect_right(starts, slot.slot_us, hi=begun) - 1, 0)
        pageviews[place] += slot.pageviews
        visits[place] += slot.visits
    each = map(Counts, pageviews, visits)
    summed = map(Counts, accumulate(pageviews), accumulate(visits))
    return tuple(map(PacePoint, slot_texts(timezone, day), each, summed))
