"""What the answers about a site's web events should be, by plain Python over what was sent."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from fractions import Fraction
from hashlib import blake2b
from itertools import accumulate
from math import floor
from typing import Any
from zoneinfo import ZoneInfo

from tests.e2e.history import DIRECT, MINUTE_US, SECOND_US, Fact, Page, midnight_us, utc

DAY = timedelta(days=1)
VISIT_US = 30 * MINUTE_US
SLOT_US = 15 * MINUTE_US
WINDOW_US = 5 * MINUTE_US
COUNTRIES = {"CH": "Switzerland", "DE": "Germany", "JP": "Japan", "": "Unknown"}
LABELS = {
    "today": "Today",
    "yesterday": "Yesterday",
    "last7": "Last 7 Days",
    "last14": "Last 14 Days",
    "last30": "Last 30 Days",
    "last90": "Last 90 Days",
    "this_month": "This Month",
    "last_month": "Last Month",
    "custom": "Custom",
}

Span = tuple[date, date]


def rounded(value: Fraction, decimals: int = 0) -> float:
    """Round halves away from zero."""
    scaled = abs(value) * 10**decimals
    size = floor(scaled + Fraction(1, 2))
    return (size if value >= 0 else -size) / 10**decimals if decimals else float(size)


def ratio(value: int, of: int) -> float:
    """Return a quotient to one decimal, 0 of nothing."""
    return rounded(Fraction(value, of), 1) if of else 0


class Truth:
    """What is so of a site with these facts, which are in the order in which they were sent."""

    def __init__(self, site_id: str, timezone: str, facts: Iterable[Fact]) -> None:
        self.site_id, self.timezone, self.zone = site_id, timezone, ZoneInfo(timezone)
        self.facts = list(facts)
        self.views = [fact for fact in self.facts if fact.view]
        self.starts = self._starts()
        self.described = {fact.page for fact in self.views if fact.described}
        self.day_views: Counter[date] = Counter()
        self.day_visits: Counter[date] = Counter()
        self.day_engaged: Counter[date] = Counter()
        self.page_views: Counter[tuple[date, Page]] = Counter()
        self.page_visits: Counter[tuple[date, Page]] = Counter()
        self.page_engaged: Counter[tuple[date, Page]] = Counter()
        for fact in self.facts:
            day, starts = self.day(fact.at_us), id(fact) in self.starts
            self.day_views[day] += fact.view
            self.day_visits[day] += starts
            self.day_engaged[day] += fact.engaged_us
            self.page_views[day, fact.page] += fact.view
            self.page_visits[day, fact.page] += starts
            self.page_engaged[day, fact.page] += fact.engaged_us
        self.first = min((self.day(fact.at_us) for fact in self.views), default=None)

    def _starts(self) -> set[int]:
        """Return the page views that begin visits: those without another one of the visitor's in
        the 30 minutes before.
        """
        of: dict[str, list[Fact]] = defaultdict(list)
        for fact in self.views:
            of[fact.visitor].append(fact)
        starts = set()
        for views in of.values():
            views.sort(key=lambda fact: fact.at_us)
            for before, fact in zip([None, *views], views, strict=False):
                if before is None or fact.at_us - before.at_us >= VISIT_US:
                    starts.add(id(fact))
        return starts

    def local(self, at_us: int) -> datetime:
        return utc(at_us).astimezone(self.zone)

    def day(self, at_us: int) -> date:
        return self.local(at_us).date()

    # History

    def overview(self, days: int, today: date) -> dict[str, Any]:
        span: Span | None = None
        if self.first is not None and self.first < today:
            span = max(self.first, today - days * DAY), today - DAY
        rows = self._daily(span)
        return {
            "site": self.site_id,
            "timezone": self.timezone,
            "range": {
                "from": span[0].isoformat() if span else "",
                "to": span[1].isoformat() if span else "",
                "days": len(rows),
            },
            "daily": rows,
            "totals": {name: sum(row[name] for row in rows) for name in ("pageviews", "visits")},
        }

    def span(self, preset: str, start: str, end: str, today: date) -> Span:
        """Return the first and last day that are meant."""
        month = today.replace(day=1)
        if preset == "custom":
            wanted = date.fromisoformat(start), date.fromisoformat(end)
        elif preset.startswith("last") and preset != "last_month":
            wanted = today - (int(preset[4:]) - 1) * DAY, today
        else:
            wanted = {
                "today": (today, today),
                "yesterday": (today - DAY, today - DAY),
                "this_month": (month, today),
                "last_month": ((month - DAY).replace(day=1), month - DAY),
            }[preset]
        lowest, highest = self._limits(today)
        if wanted[0] <= highest and wanted[1] >= lowest:
            return max(wanted[0], lowest), min(wanted[1], highest)
        if preset != "custom":
            return wanted
        nearest = lowest if wanted[1] < lowest else highest
        return nearest, nearest

    def charts(
        self, today: date, preset: str = "last30", start: str = "", end: str = "", **pages: Any
    ) -> dict[str, Any]:
        span = self.span(preset, start, end, today)
        rows = self._daily(span)
        views, visits = (sum(row[name] for row in rows) for name in ("pageviews", "visits"))
        lowest, highest = self._limits(today)
        found = self._top(self.page_views, span, **pages)
        counted = self._by_page(self.page_visits, span)
        return {
            "site": self.site_id,
            "preset": preset,
            "timezone": self.timezone,
            "range": self._range(preset, span),
            "limits": {
                "min_date": lowest.isoformat(),
                "max_date": highest.isoformat(),
                "max_days": None,
            },
            "search": {"query": pages.get("q", "")},
            "daily": rows,
            "summary": {
                "total_pageviews": views,
                "total_visits": visits,
                "pages_per_visitor": ratio(views, visits),
            },
            "top_pages": [
                {
                    "rank": rank,
                    "title": page.title if page in self.described else "",
                    "author": page.author if page in self.described else "",
                    "pubdate": page.pubdate if page in self.described else "",
                    "url": page.path,
                    "url_full": f"https://{page.host}{page.path}",
                    "url_id": self._url_id(page),
                    "thumbnail": page.image if page in self.described else "",
                    "pageviews": count,
                    "visits": counted[page],
                }
                for rank, (page, count) in enumerate(found, 1)
            ],
        }

    def engagement(
        self, today: date, preset: str = "last30", start: str = "", end: str = "", **pages: Any
    ) -> dict[str, Any]:
        span = self.span(preset, start, end, today)
        days = self._days(span)
        engaged = sum(self.day_engaged[day] for day in days)
        views = self._by_page(self.page_views, span)
        return {
            "site": self.site_id,
            "preset": preset,
            "timezone": self.timezone,
            "range": self._range(preset, span),
            "daily": [
                {
                    "date": day.isoformat(),
                    "engaged_seconds": self.day_engaged[day] / SECOND_US,
                }
                for day in days
            ],
            "summary": {
                "engaged_seconds": engaged / SECOND_US,
                "seconds_per_visit": ratio(
                    engaged, sum(self.day_visits[day] for day in days) * SECOND_US
                ),
            },
            "top_pages": [
                {
                    "rank": rank,
                    "title": page.title if page in self.described else "",
                    "url": page.path,
                    "url_id": self._url_id(page),
                    "engaged_seconds": engaged_us / SECOND_US,
                    "pageviews": views[page],
                    "seconds_per_pageview": ratio(engaged_us, views[page] * SECOND_US),
                }
                for rank, (page, engaged_us) in enumerate(
                    self._top(self.page_engaged, span, **pages), 1
                )
            ],
        }

    def _limits(self, today: date) -> Span:
        return min(self.first or today, today), today

    def _range(self, preset: str, span: Span) -> dict[str, Any]:
        return {
            "from": span[0].isoformat(),
            "to": span[1].isoformat(),
            "label": LABELS[preset],
            "days": len(self._days(span)),
        }

    @staticmethod
    def _days(span: Span) -> list[date]:
        return [span[0] + number * DAY for number in range((span[1] - span[0]).days + 1)]

    def _daily(self, span: Span | None) -> list[dict[str, Any]]:
        return [
            {
                "date": day.isoformat(),
                "pageviews": self.day_views[day],
                "visits": self.day_visits[day],
            }
            for day in (self._days(span) if span else ())
        ]

    @staticmethod
    def _by_page(counts: Mapping[tuple[date, Page], int], span: Span) -> Counter[Page]:
        sums: Counter[Page] = Counter()
        for (day, page), count in counts.items():
            if span[0] <= day <= span[1]:
                sums[page] += count
        return sums

    def _top(
        self, counts: Mapping[tuple[date, Page], int], span: Span, limit: int = 100, q: str = ""
    ) -> list[tuple[Page, int]]:
        wanted = q.casefold()
        found = [
            (page, count)
            for page, count in self._by_page(counts, span).items()
            if count and any(wanted in text.casefold() for text in self._texts(page))
        ]
        return sorted(found, key=lambda row: (-row[1], row[0]))[:limit]

    def _texts(self, page: Page) -> Sequence[str]:
        told = (page.title, page.author) if page in self.described else ()
        return (f"https://{page.host}{page.path}", *told)

    def _url_id(self, page: Page) -> str:
        text = f"{self.site_id}\0{page.host}\0{page.path}"
        return blake2b(text.encode(), digest_size=16).hexdigest()

    # The day

    def slots(self, day: date) -> list[int]:
        """Return the starts of a local day's quarters of an hour."""
        return list(range(midnight_us(self.zone, day), midnight_us(self.zone, day + DAY), SLOT_US))

    def pace(self, now_us: int) -> dict[str, Any]:
        today = self.day(now_us)
        yesterday = today - DAY
        earlier = self._earlier(yesterday, self.local(now_us).time())
        before = [
            fact for fact in self.views if self.day(fact.at_us) == yesterday and earlier(fact.at_us)
        ]
        views, visits = self.day_views[today], self.day_visits[today]
        same_views = len(before)
        same_visits = sum(id(fact) in self.starts for fact in before)
        return {
            "site": self.site_id,
            "timezone": self.timezone,
            "date": today.isoformat(),
            "slot_minutes": 15,
            "today": {"pageviews": views, "visits": visits},
            "yesterday": {
                "date": yesterday.isoformat(),
                "pageviews": self.day_views[yesterday],
                "visits": self.day_visits[yesterday],
                "pageviews_same_time": same_views,
                "visits_same_time": same_visits,
            },
            "pace": {
                "pageviews_percent": _change(views, same_views),
                "visits_percent": _change(visits, same_visits),
            },
            "projected": {
                "pageviews": _projected(views, self.day_views[yesterday], same_views),
                "visits": _projected(visits, self.day_visits[yesterday], same_visits),
            },
            "curves": {
                "today": self._curve(today, [at for at in self.slots(today) if at <= now_us]),
                "yesterday": self._curve(yesterday, self.slots(yesterday)),
            },
        }

    def _earlier(self, day: date, now: time) -> Callable[[int], bool]:
        """Return whether, by an instant of a day, the clock had shown nothing as late as now."""
        slots = self.slots(day)
        ends = (self.local(slot - 1).time() for slot in slots[1:])
        # The latest that was shown before each slot; clocks change between slots.
        latest = [time(), *accumulate(ends, max)]
        return lambda at_us: (
            max(latest[(at_us - slots[0]) // SLOT_US], self.local(at_us).time()) < now
        )

    def _curve(self, day: date, starts: Sequence[int]) -> list[dict[str, Any]]:
        views, visits = Counter[int](), Counter[int]()
        for fact in self.views:
            if self.day(fact.at_us) == day:
                # What is ahead of its time counts in the running quarter.
                slot = min(fact.at_us - fact.at_us % SLOT_US, starts[-1])
                views[slot] += 1
                visits[slot] += id(fact) in self.starts
        summed_views = accumulate(views[slot] for slot in starts)
        summed_visits = accumulate(visits[slot] for slot in starts)
        return [
            {
                "time": self.local(slot).isoformat(),
                "pageviews": views[slot],
                "visits": visits[slot],
                "cumulative_pageviews": all_views,
                "cumulative_visits": all_visits,
            }
            for slot, all_views, all_visits in zip(starts, summed_views, summed_visits, strict=True)
        ]

    # The moment

    def active(self, now_us: int) -> list[tuple[Fact, tuple[str, str, str]]]:
        """Return the last fact of each visitor who is active, and the visitor's source."""
        of: dict[str, list[Fact]] = defaultdict(list)
        for fact in self.facts:
            if min(fact.at_us, fact.arrived_us) > now_us - WINDOW_US:
                of[fact.visitor].append(fact)
        found = []
        for facts in of.values():
            facts.sort(key=lambda fact: fact.at_us)
            brought = [fact.origin for fact in facts if fact.view and fact.origin is not None]
            found.append((facts[-1], (brought or [DIRECT])[-1]))
        return found

    def realtime(self, now_us: int) -> dict[str, Any]:
        active, today = self.active(now_us), self.day(now_us)
        on = Counter(fact.page for fact, _ in active)
        pages = sorted(on, key=lambda page: (-on[page], page))[:50]
        countries = Counter(fact.place[0] for fact, _ in active)
        cities = Counter(fact.place[1] for fact, _ in active if fact.place[1])
        return {
            "site": self.site_id,
            "window_seconds": WINDOW_US // SECOND_US,
            "total_realtime": len(active),
            "total_pageviews_today": self.day_views[today],
            "total_unique_visitors_today": len(
                {fact.visitor for fact in self.views if self.day(fact.at_us) == today}
            ),
            "devices": dict(Counter(fact.device for fact, _ in active)),
            "top_pages": [
                {
                    "url": page.path,
                    "host": page.host,
                    "title": page.title,
                    "og_image": page.image,
                    "realtime_users": on[page],
                    "pageviews_today": self.page_views[today, page],
                    "sources": source_rows(
                        [source for fact, source in active if fact.page == page]
                    ),
                }
                for page in pages
            ],
            "countries": [
                {"code": code, "name": COUNTRIES[code], "count": count}
                for code, count in sorted(
                    countries.items(), key=lambda row: (-row[1], COUNTRIES[row[0]])
                )
            ],
            "cities": [
                {"name": name, "count": count}
                for name, count in sorted(cities.items(), key=lambda row: (-row[1], row[0]))
            ],
            "sources_top5": source_rows([source for _, source in active])[:5],
        }

    def sources(self, now_us: int) -> dict[str, Any]:
        active = self.active(now_us)
        return {
            "site": self.site_id,
            "total_visitors": len(active),
            "sources": source_rows([source for _, source in active]),
        }


def source_rows(sources: Sequence[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """Return a row a medium and source, what is said of them beneath, largest first."""
    rows = Counter(source[:2] for source in sources)
    return [
        {
            "medium": medium,
            "source": name,
            "count": count,
            "percent": rounded(Fraction(100 * count, len(sources))),
            "children": [
                {"label": label, "count": part}
                for label, part in sorted(
                    Counter(s[2] for s in sources if s[:2] == (medium, name) and s[2]).items(),
                    key=lambda row: (-row[1], row[0]),
                )
            ],
        }
        for (medium, name), count in sorted(
            rows.items(), key=lambda row: (-row[1], row[0][1], row[0][0])
        )
    ]


def _change(now: int, before: int) -> float | None:
    return rounded(Fraction(100 * (now - before), before), 1) if before else None


def _projected(now: int, whole: int, before: int) -> float | None:
    return rounded(Fraction(now * whole, before)) if before else None
