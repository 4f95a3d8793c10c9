"""Batch queries answered again in plain Python, from a list of events, without columns, offsets
or hashes: what clocks show is asked event by event, and sessions are walked through.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fnmatch import fnmatchcase
from typing import Any
from zoneinfo import ZoneInfo

Event = Mapping[str, Any]
Row = dict[str, Any]

GAP_US = 30 * 60 * 1_000_000
PAGEVIEW, HEARTBEAT, CUSTOM = 1, 2, 3

#: What a field of filters is called in events, and what a missing value goes by.
FIELDS = {
    "path": ("path", ""),
    "country": ("country", "Unknown"),
    "device_type": ("device", "Unknown"),
    "browser_name": ("browser", "Unknown"),
    "os_name": ("os", "Unknown"),
    "referrer": ("referrer_host", "direct"),
    "utm_source": ("utm_source", ""),
    "utm_medium": ("utm_medium", ""),
    "utm_campaign": ("utm_campaign", ""),
    "utm_term": ("utm_term", ""),
    "utm_content": ("utm_content", ""),
}

#: Breakdowns of page views: the event's field, the name of a missing value (None: no row), and
#: whether only page views with a source of their own count.
BREAKDOWNS: dict[str, tuple[str, str | None, bool]] = {
    "top_pages": ("path", None, False),
    "traffic_sources": ("source", "(direct)", True),
    "top_referrers": ("referrer_host", None, True),
    "utm_sources": ("utm_source", None, False),
    "utm_mediums": ("utm_medium", None, False),
    "utm_campaigns": ("utm_campaign", None, False),
    "utm_terms": ("utm_term", None, False),
    "utm_content": ("utm_content", None, False),
    "browser_name": ("browser", "Unknown", False),
    "os_name": ("os", "Unknown", False),
    "device_types": ("device", "Unknown", False),
    "screen_resolutions": ("screen", "Unknown", False),
    "country": ("country", "Unknown", False),
    "city": ("city", "Unknown", False),
    "language": ("language", "Unknown", False),
    "timezone": ("timezone", "Unknown", False),
}


def shown(timezone: str, ts_us: int) -> datetime:
    """What a zone's clock shows."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ts_us)
    return moment.astimezone(ZoneInfo(timezone))


def holds(event: Event, condition: Mapping[str, Any]) -> bool:
    """Whether an event is under a filter."""
    name, missing = FIELDS[condition["field"]]
    text = str(event.get(name, ""))
    value = condition["value"]
    if condition["op"] in {"eq", "ne", "in", "not_in", "notIn"}:
        wanted = value if isinstance(value, list) else [value]
        found = text in {"" if each == missing else each for each in wanted}
        return found if condition["op"] in {"eq", "in"} else not found
    tests: dict[str, Callable[[], bool]] = {
        "contains": lambda: value in text,
        "not_contains": lambda: value not in text,
        "starts_with": lambda: text.startswith(value),
        "like": lambda: fnmatchcase(
            text,
            value.replace("[", "[[]")
            .replace("*", "[*]")
            .replace("?", "[?]")
            .replace("%", "*")
            .replace("_", "?"),
        ),
        "gt": lambda: text.encode() > value.encode(),
        "lt": lambda: text.encode() < value.encode(),
    }
    return tests[condition["op"]]()


def rounded(numerator: int, denominator: int) -> float:
    """A quotient to two decimals, halves up."""
    if not denominator:
        return 0.0
    return float((Decimal(numerator) / denominator).quantize(Decimal("0.01"), ROUND_HALF_UP))


class Recount:
    """The answers about a site's events in a range of local days."""

    def __init__(
        self,
        events: Iterable[Event],
        timezone: str,
        first: date,
        last: date,
        filters: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._timezone, self._first, self._last = timezone, first, last
        chosen = [
            event
            for event in events
            if not event["excluded"] and all(holds(event, each) for each in filters)
        ]
        self._views = [event for event in chosen if event["kind"] == PAGEVIEW]
        self._custom = [e for e in chosen if e["kind"] == CUSTOM and self._inside(e)]
        self._inner = [event for event in self._views if self._inside(event)]
        self._sessions = [s for s in self._walk() if self._inside(s[0])]

    def _inside(self, event: Event) -> bool:
        return self._first <= shown(self._timezone, event["ts_us"]).date() <= self._last

    def _walk(self) -> list[list[Event]]:
        by_visitor = defaultdict(list)
        for event in self._views:
            by_visitor[event["visitor_id"]].append(event)
        sessions: list[list[Event]] = []
        for events in by_visitor.values():
            before = None
            # A stable sort: what was stored first stays first at equal times.
            for event in sorted(events, key=lambda each: each["ts_us"]):
                if before is None or event["ts_us"] - before >= GAP_US:
                    sessions.append([])
                sessions[-1].append(event)
                before = event["ts_us"]
        return sessions

    def rows(self, name: str, granularity: str = "daily") -> list[Row]:
        """The rows of a query type, in their own order."""
        if name in BREAKDOWNS:
            return self._breakdown(*BREAKDOWNS[name])
        found: list[Row] = getattr(self, f"_{name}")(*([granularity] * (name == "events_by_date")))
        return found

    def _figures(self, views: Sequence[Event], sessions: Sequence[Sequence[Event]]) -> Row:
        duration = sum(session[-1]["ts_us"] - session[0]["ts_us"] for session in sessions)
        bounces = sum(len(session) == 1 for session in sessions)
        return {
            "pageviews": len(views),
            "visitors": len({view["visitor_id"] for view in views}),
            "sessions": len(sessions),
            "bounces": bounces,
            "bounce_rate": rounded(100 * bounces, len(sessions)),
            "avg_session_duration": rounded(duration, 1_000_000 * len(sessions)),
            "pages_per_session": rounded(len(views), len(sessions)),
        }

    def _summary_metrics(self) -> list[Row]:
        row = self._figures(self._inner, self._sessions)
        return [
            {
                "pageviews": row["pageviews"],
                "unique_visitors": row["visitors"],
                "sessions": row["sessions"],
                "bounce_rate": row["bounce_rate"],
                "avg_session_duration": row["avg_session_duration"],
                "total_events": len(self._inner) + len(self._custom),
            }
        ]

    def _today_metrics(self) -> list[Row]:
        row = self._figures(self._inner, self._sessions)
        return [{name: row[name] for name in ("pageviews", "visitors", "sessions")}]

    def _session_metrics(self) -> list[Row]:
        row = self._figures(self._inner, self._sessions)
        del row["pageviews"], row["visitors"]
        return [row]

    def _events_by_date(self, granularity: str) -> list[Row]:
        form = "%Y-%m-%d" if granularity == "daily" else "%Y-%m-%d %H:00:00"
        # Every bucket that a clock shows in some minute of the range.
        labels = {}
        minute = datetime.combine(self._first, datetime.min.time(), UTC) - timedelta(days=2)
        end = datetime.combine(self._last, datetime.min.time(), UTC) + timedelta(days=3)
        while minute < end:
            local = minute.astimezone(ZoneInfo(self._timezone))
            if self._first <= local.date() <= self._last:
                labels[local.strftime(form)] = None
            minute += timedelta(minutes=15)

        def label(event: Event) -> str:
            return shown(self._timezone, event["ts_us"]).strftime(form)

        views: dict[str, list[Event]] = defaultdict(list)
        for view in self._inner:
            views[label(view)].append(view)
        sessions: dict[str, list[list[Event]]] = defaultdict(list)
        for session in self._sessions:
            sessions[label(session[0])].append(session)
        rows = []
        for bucket in sorted(labels):
            row = self._figures(views[bucket], sessions[bucket])
            del row["bounces"]
            rows.append({"date": bucket} | row)
        return rows

    def _breakdown(self, field: str, missing: str | None, sourced: bool) -> list[Row]:
        views = [view for view in self._inner if not sourced or view["medium"]]
        return _broken(views, field, missing, len(self._inner), "pageviews")

    def _entry_pages(self) -> list[Row]:
        entries = [session[0] for session in self._sessions]
        return _broken(entries, "path", None, len(entries), "pageviews")

    def _exit_pages(self) -> list[Row]:
        exits = [session[-1] for session in self._sessions]
        return _broken(exits, "path", None, len(exits), "pageviews")

    def _custom_events(self) -> list[Row]:
        return _broken(self._custom, "name", None, len(self._custom), "total_events")

    def _outbound_links(self) -> list[Row]:
        clicks = [event for event in self._custom if event["name"] == "outbound_link"]
        links = []
        for event in clicks:
            properties = json.loads(event["properties"] or "{}")
            links.append({**event, "link": properties.get("href") or properties.get("url") or ""})
        return _broken(links, "link", None, len(clicks), "total_events")

    def _custom_event_properties(self) -> list[Row]:
        found = defaultdict(list)
        for event in self._custom:
            for key, value in json.loads(event["properties"] or "{}").items():
                text = (
                    value
                    if isinstance(value, str)
                    else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
                )
                found[event["name"], key, text].append(event["visitor_id"])
        rows = [
            {
                "name": name,
                "property": key,
                "value": value,
                "total_events": len(visitors),
                "visitors": len(set(visitors)),
                "percentage": rounded(100 * len(visitors), len(self._custom)),
            }
            for (name, key, value), visitors in found.items()
        ]
        return sorted(
            rows, key=lambda row: (-row["total_events"], row["name"], row["property"], row["value"])
        )


def _broken(
    events: Sequence[Event], field: str, missing: str | None, total: int, counted: str
) -> list[Row]:
    by_name: dict[str, list[str]] = defaultdict(list)
    for event in events:
        by_name[event.get(field, "")].append(event["visitor_id"])
    rows = [
        {
            "name": name or missing,
            counted: len(visitors),
            "visitors": len(set(visitors)),
            "percentage": rounded(100 * len(visitors), total),
        }
        for name, visitors in by_name.items()
        if name or missing is not None
    ]
    return sorted(rows, key=lambda row: (-row[counted], row["name"]))


PATHS = ["/", "/news", "/sport?id=1", "/größe", "/a%20b", "/news/100%_x", "/a\\b"]
_LINKS = ["https://a.example/", "https://b.example/ü"]


def history(pick: random.Random, count: int, start_us: int, days: int) -> list[dict[str, Any]]:
    """Events of some visitors, most of them within sessions, in no order of time."""
    events: list[dict[str, Any]] = []
    while len(events) < count:
        visitor = f"visitor-{pick.randrange(count // 12 + 1)}"
        at = start_us + pick.randrange(days * 86_400) * 1_000_000
        constant = {
            "country": pick.choice(["CH", "DE", "US", ""]),
            "city": pick.choice(["Zürich", "Berlin", ""]),
            "device": pick.choice(["mobile", "desktop", "tablet", ""]),
            "browser": pick.choice(["Chrome", "Firefox", ""]),
            "os": pick.choice(["iOS", "Windows", ""]),
            "language": pick.choice(["de-CH", "en", ""]),
            "timezone": pick.choice(["Europe/Zurich", ""]),
            "screen": pick.choice(["390x844", "1920x1080", ""]),
        }
        for index in range(pick.randint(1, 6)):
            kind = pick.choices([PAGEVIEW, HEARTBEAT, CUSTOM], [7, 1, 2])[0]
            event = {
                **constant,
                "ts_us": at,
                "kind": kind,
                "excluded": int(pick.random() < 0.05),
                "visitor_id": visitor,
                "path": pick.choice(PATHS),
                "medium": "" if index else pick.choice(["(none)", "search", "social"]),
                "source": "",
                "referrer_host": "",
                "name": "",
                "properties": "",
            }
            if event["medium"] not in {"", "(none)"}:
                event["source"] = pick.choice(["Google Search", "x.example", ""])
                event["referrer_host"] = pick.choice(["google.com", "x.example", ""])
            if pick.random() < 0.3:
                event |= {
                    "utm_source": pick.choice(["news", "Über", "a_b"]),
                    "utm_medium": pick.choice(["email", ""]),
                    "utm_campaign": pick.choice(["spring", "50%"]),
                    "utm_term": pick.choice(["", "shoe"]),
                    "utm_content": pick.choice(["", "top"]),
                }
            if kind == CUSTOM:
                event["name"] = pick.choice(["signup", "outbound_link", "größe"])
                event["properties"] = pick.choice(_PROPERTIES)
            events.append(event)
            # Now and then at the same moment, right at the gap, or just within it.
            at += pick.choice([0, 1, 40_000_000, 600_000_000, GAP_US - 1, GAP_US, 4 * GAP_US])
    return events


_PROPERTIES = [
    "",
    "{}",
    '{"plan":"pro","seats":3}',
    '{"plan":"frei","ok":true,"nested":{"a":[1,null]}}',
    f'{{"href":"{_LINKS[0]}"}}',
    f'{{"url":"{_LINKS[1]}","href":""}}',
]


def random_filters(pick: random.Random) -> list[dict[str, Any]]:
    """None, or some filters, of which each leaves something over most of the time."""
    filters: list[dict[str, Any]] = []
    for _ in range(pick.choice([0, 0, 1, 1, 2])):
        field, values = pick.choice(
            [
                ("path", PATHS),
                ("country", ["CH", "DE", "Unknown"]),
                ("device_type", ["mobile", "Unknown"]),
                ("browser_name", ["Chrome", "Unknown"]),
                ("os_name", ["iOS"]),
                ("referrer", ["google.com", "direct"]),
                ("utm_source", ["news", "a_b", "Über"]),
                ("utm_campaign", ["50%"]),
            ]
        )
        op = pick.choice(
            [
                "eq",
                "ne",
                "in",
                "not_in",
                "notIn",
                "contains",
                "not_contains",
                "starts_with",
                "like",
                "gt",
                "lt",
            ]
        )
        value: Any = pick.choice(values)
        if op in {"in", "not_in", "notIn"}:
            value = pick.sample(values, pick.randint(1, len(values)))
        elif op == "like":
            value = pick.choice(["%", "/%s", "%e%", "_ews", "a_b", "%\\b", "/news%", "50%"])
        elif op in {"contains", "starts_with", "not_contains"}:
            value = value[: pick.randint(1, 3)]
        filters.append({"field": field, "op": op, "value": value})
    return filters
