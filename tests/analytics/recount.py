"""A site's history held as plain events, and counted one by one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from footfall.accounts.model import Plan, Site
from footfall.analytics.model import (
    DayCount,
    History,
    HistoryQuery,
    PaceCounts,
    PaceQuery,
    PageCount,
    SlotCount,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = 60_000_000
SLOT = 15 * MINUTE

#: Zones whose days are odd: by half an hour, three quarters, or a change at midnight.
ZONES = [
    "Europe/Zurich",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "America/Santiago",
    "Africa/Cairo",
    "America/Scoresbysund",
]


def site(timezone: str = "Europe/Zurich", site_id: str = "site-1") -> Site:
    plan = Plan("free", 10, 60, 50, 100)
    return Site(site_id, "account", "example.com", timezone, public=False, plan=plan)


def us(moment: datetime) -> int:
    """Microseconds since the epoch."""
    return (moment.astimezone(UTC) - EPOCH) // timedelta(microseconds=1)


def at(timezone: str, text: str, fold: int = 0) -> int:
    """The instant at which the zone's clock shows a time."""
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(timezone), fold=fold)
    return us(moment)


def shown(timezone: str, time_us: int) -> datetime:
    """What the zone's clock shows at an instant, without its offset."""
    moment = EPOCH + timedelta(microseconds=time_us)
    return moment.astimezone(ZoneInfo(timezone)).replace(tzinfo=None)


def day_of(timezone: str, time_us: int) -> int:
    return (shown(timezone, time_us).date() - date(1970, 1, 1)).days


def number(text: str) -> int:
    """A date as days since the epoch."""
    return (date.fromisoformat(text) - date(1970, 1, 1)).days


def text(day: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()


@dataclass(frozen=True)
class Event:
    """A page view, or a heartbeat if it has engaged time."""

    ts_us: int
    path: str = "/"
    visits: int = 0
    engaged_s: float = 0.0

    @property
    def pageviews(self) -> int:
        return 0 if self.engaged_s else 1


class PlainHistory:
    """A WebHistory of one site in plain Python; it notes what it was asked."""

    def __init__(self, timezone: str, events: Sequence[Event]) -> None:
        self.timezone = timezone
        self.events = list(events)
        self.asked: list[HistoryQuery] = []

    def day(self, event: Event) -> int:
        return day_of(self.timezone, event.ts_us)

    async def history(self, query: HistoryQuery, timeout_s: float) -> History:
        self.asked.append(query)
        views = [self.day(event) for event in self.events if event.pageviews]
        days: dict[int, DayCount] = {}
        pages: dict[str, PageCount] = {}
        for event in self.events:
            day = self.day(event)
            if not query.first_day <= day <= query.last_day:
                continue
            old = days.get(day, DayCount(day, 0, 0, 0.0))
            days[day] = DayCount(
                day,
                old.pageviews + event.pageviews,
                old.visits + event.visits,
                old.engaged_s + event.engaged_s,
            )
            if query.search.lower() in event.path.lower():
                page = pages.get(event.path) or PageCount(
                    "example.com", event.path, "", "", "", "", 0, 0, 0.0
                )
                pages[event.path] = replace(
                    page,
                    pageviews=page.pageviews + event.pageviews,
                    visits=page.visits + event.visits,
                    engaged_s=page.engaged_s + event.engaged_s,
                )
        ranked = [page for page in pages.values() if getattr(page, query.rank_by) > 0]
        ranked.sort(key=lambda page: (-getattr(page, query.rank_by), page.path))
        return History(
            min(views, default=None),
            [days[day] for day in sorted(days)],
            ranked[: query.pages_max],
        )

    async def pace(self, query: PaceQuery, timeout_s: float) -> PaceCounts:
        sums: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
        before = [0, 0]
        for event in self.events:
            day = self.day(event)
            if day in {query.local_day - 1, query.local_day}:
                counted = sums[day, event.ts_us // SLOT * SLOT]
                counted[0] += event.pageviews
                counted[1] += event.visits
            if day == query.local_day - 1 and event.ts_us < query.before_us:
                before[0] += event.pageviews
                before[1] += event.visits
        slots = [SlotCount(*key, *counted) for key, counted in sorted(sums.items()) if any(counted)]
        return PaceCounts(slots, *before)

    async def history_version(self, site_id: str, timeout_s: float) -> str:
        return str(len(self.events))
