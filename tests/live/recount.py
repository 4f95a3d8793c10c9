"""What live state should say, recounted from all events each time, and random events."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from footfall.analytics.model import LiveCounts, LiveEvent, LivePage, SourceCount

WINDOW_MS = 300_000
#: A Wednesday noon; `DAY` is its day in UTC.
NOON_MS = 1_751_457_600_000
DAY = NOON_MS // 86_400_000

DIRECT = ("(none)", "(direct)", "")


@dataclass
class Visitor:
    seen: int
    event: LiveEvent
    source: tuple[str, str, str]


@dataclass
class Recount:
    """Events as they arrive, and the counts that follow from them, the slow way."""

    today: int = DAY
    arrived: list[LiveEvent] = field(default_factory=list)
    visitors: dict[str, Visitor] = field(default_factory=dict)
    texts: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)

    def add(self, events: Sequence[LiveEvent], now_ms: int) -> None:
        for event in events:
            self.arrived.append(event)
            page = (event.host, event.path)
            title, image = self.texts.get(page, ("", ""))
            self.texts[page] = (event.title or title, event.og_image or image)

            seen = min(event.ts_ms, now_ms)
            known = self.visitors.get(event.visitor_id)
            if known is not None and known.seen <= now_ms - WINDOW_MS:
                known = None
            if seen <= now_ms - WINDOW_MS or (known is not None and seen < known.seen):
                continue
            source = known.source if known is not None else DIRECT
            if event.pageview and event.medium != "":
                source = (event.medium, event.source, event.detail)
            self.visitors[event.visitor_id] = Visitor(seen, event, source)

    def counts(self, now_ms: int) -> LiveCounts:
        active = [v for v in self.visitors.values() if v.seen > now_ms - WINDOW_MS]
        today = [e for e in self.arrived if e.pageview and e.local_day == self.today]
        views = Counter((event.host, event.path) for event in today)
        on_page: dict[tuple[str, str], list[Visitor]] = {}
        for visitor in active:
            on_page.setdefault((visitor.event.host, visitor.event.path), []).append(visitor)
        ranked = sorted(on_page, key=lambda page: (-len(on_page[page]), page[1], page[0]))
        return LiveCounts(
            active=len(active),
            pageviews_today=len(today),
            visitors_today=len({event.visitor_id for event in today}),
            devices=Counter(v.event.device or "other" for v in active),
            countries=Counter(v.event.country for v in active),
            cities=Counter(v.event.city for v in active),
            sources=sources(active),
            pages=tuple(
                LivePage(
                    host=page[0],
                    path=page[1],
                    title=self.texts[page][0],
                    og_image=self.texts[page][1],
                    active=len(on_page[page]),
                    pageviews_today=views[page],
                    sources=sources(on_page[page]),
                )
                for page in ranked[:50]
            ),
        )


def sources(visitors: Sequence[Visitor]) -> tuple[SourceCount, ...]:
    counts = Counter(visitor.source for visitor in visitors)
    return tuple(SourceCount(*source, count=counts[source]) for source in sorted(counts))


def in_order(counts: LiveCounts) -> dict[str, Any]:
    """Return live counts with the lists that have no order sorted, for comparison."""

    def source(item: SourceCount) -> tuple[Any, ...]:
        return (item.medium, item.source, item.detail, item.count)

    return {
        "active": counts.active,
        "pageviews": counts.pageviews_today,
        "visitors": counts.visitors_today,
        "devices": dict(counts.devices),
        "countries": dict(counts.countries),
        "cities": dict(counts.cities),
        "sources": sorted(map(source, counts.sources)),
        "pages": [
            (
                *(page.path, page.host, page.title, page.og_image),
                *(page.active, page.pageviews_today, sorted(map(source, page.sources))),
            )
            for page in counts.pages
        ],
    }


def view(visitor: str, ts_ms: int, **changes: Any) -> LiveEvent:
    """Return a page view, direct and without any text unless `changes` say otherwise."""
    values: dict[str, Any] = {
        "visitor_id": visitor,
        "ts_ms": ts_ms,
        "local_day": ts_ms // 86_400_000,
        "pageview": True,
        "host": "news.example",
        "path": "/",
        "title": "",
        "og_image": "",
        "medium": "(none)",
        "source": "(direct)",
        "detail": "",
        "country": "",
        "city": "",
        "device": "desktop",
    }
    return LiveEvent(**(values | changes))


SOURCES = (
    DIRECT,
    ("", "", ""),
    ("search", "Google Search", "google.ch"),
    ("search", "Google Search", "google.com"),
    ("newsletter", 'Brief "nü", [1]', "🗞 daily\\edition"),
    ("referral", "a\0b", ""),
)


def random_event(dice: random.Random, now_ms: int, visitors: int) -> LiveEvent:
    """Return an event that arrives at `now_ms`: most in time, some late, some ahead of time."""
    lag = dice.choice((0, 0, 0, dice.randrange(5000), dice.randrange(2 * WINDOW_MS), -60_000))
    medium, source, detail = dice.choice(SOURCES)
    return view(
        f"bésucher-{dice.randrange(visitors)}",
        now_ms - lag,
        local_day=dice.choice((DAY, DAY, DAY, DAY, DAY + 1, DAY - 1, DAY - 400)),
        pageview=dice.random() < 0.7,
        path=dice.choice(("/", "/ä", "/ab", "/a", "/a?q=1", "/日本")),
        host=dice.choice(("news.example", "news.example", "m.news.example")),
        title=dice.choice(("", "", "Títle 1", "Title 2 🎈")),
        og_image=dice.choice(("", "https://img.example/1.jpg")),
        medium=medium,
        source=source,
        detail=detail,
        country=dice.choice(("CH", "DE", "")),
        city=dice.choice(("Zürich", "", "São Paulo", "\x00\x1f")),
        device=dice.choice(("mobile", "desktop", "")),
    )
