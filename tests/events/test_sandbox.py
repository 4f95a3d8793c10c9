"""Custom queries over stores that hold a second website: answers against a recount, limits, and
not one byte of what is not the caller's.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from footfall.analytics.custom import views
from footfall.analytics.custom.model import Cell, SandboxAnswer, SandboxQuery, Statement
from footfall.analytics.custom.sql import parse_statement
from footfall.analytics.custom.structured import (
    Filter,
    Select,
    StructuredQuery,
    compile_query,
)
from footfall.errors import DeadlineError, InvalidInputError
from footfall.events import EventStore
from footfall.events.duckdb.store import DuckDBStore
from footfall.events.sandbox import EventSandbox, SandboxLimits
from footfall.ingest.model import Exclusion, WebEventKind
from tests.analytics.custom.hostile import SECRET
from tests.events.traffic import DAY, HOUR, SITE, page, web_batch

OTHER = "other-site"
ZONE = "Australia/Lord_Howe"

#: A day before the clocks there change by half an hour, 2026-04-04T15:00Z.
CHANGE = 1_775_314_800_000_000


def _events(count: int) -> list[dict[str, Any]]:
    rng = random.Random(5)
    kinds = [WebEventKind.PAGEVIEW] * 6 + [WebEventKind.HEARTBEAT, WebEventKind.CUSTOM]
    events = []
    for index in range(count):
        kind = rng.choice(kinds)
        events.append(
            {
                "ts_us": CHANGE - DAY + rng.randrange(2 * DAY),
                "kind": kind.value,
                "path": rng.choice(["/", "/ä", "/a'b", "/100%", "/c_d"]),
                "visitor_id": f"v{rng.randrange(20)}",
                "country": rng.choice(["CH", "DE", ""]),
                "browser": rng.choice(["Firefox", "Safari"]),
                "utm_source": rng.choice(["", "news"]),
                "name": "signup" if kind is WebEventKind.CUSTOM else "",
                "properties": f'{{"plan":"p{index % 3}"}}' if kind is WebEventKind.CUSTOM else "",
                "engaged_s": rng.randrange(40) / 4 if kind is WebEventKind.HEARTBEAT else 0.0,
                "excluded": Exclusion.BOT.value if rng.random() < 0.1 else 0,
            }
        )
    return events


EVENTS = _events(400)
COUNTED = [event for event in EVENTS if not event["excluded"]]
VIEWS = [event for event in COUNTED if event["kind"] == WebEventKind.PAGEVIEW]

#: The texts of an event, those of its page aside.
_TEXTS = set(views.VIEWS["events"].columns) - {
    "type", "time", "local_time", "local_date", "host", "path", "title", "engaged_seconds",
}  # fmt: skip


@pytest.fixture
def sandbox(store: EventStore) -> Iterator[EventSandbox]:
    secrets = [
        dict.fromkeys(_TEXTS, SECRET) | {"path": f"/{SECRET}", "ts_us": CHANGE + n}
        for n in range(9)
    ]
    store.commit(
        [
            web_batch(EVENTS),
            web_batch(secrets, OTHER, pages=[page(f"/{SECRET}", OTHER, title=SECRET)]),
        ]
    )
    made = EventSandbox(store)
    yield made
    made.close()


async def ask(
    sandbox: EventSandbox, text: str, parameters: Mapping[str, Cell] | None = None, **more: Any
) -> SandboxAnswer:
    statement = parse_statement(text, parameters or {})
    query = SandboxQuery(SITE, ZONE, statement, **more)
    return await sandbox.run(query, 60)


def local(ts_us: int) -> dt.datetime:
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=ts_us)
    return moment.astimezone(ZoneInfo(ZONE)).replace(tzinfo=None)


async def test_answers_equal_a_recount(sandbox: EventSandbox) -> None:
    answer = await ask(
        sandbox,
        "SELECT path, count(*) AS views, count(DISTINCT visitor_id) AS visitors "
        "FROM pageviews GROUP BY path ORDER BY views DESC, path",
    )
    counts = Counter(event["path"] for event in VIEWS)
    visitors = {
        path: len({event["visitor_id"] for event in VIEWS if event["path"] == path})
        for path in counts
    }
    assert [list(row) for row in answer.rows] == [
        [path, count, visitors[path]]
        for path, count in sorted(counts.items(), key=lambda item: (-item[1], item[0].encode()))
    ]
    assert [(column.name, column.type) for column in answer.columns] == [
        ("path", "text"),
        ("views", "integer"),
        ("visitors", "integer"),
    ]
    assert answer.rows_read == len(VIEWS)
    assert not answer.truncated

    hours = await ask(
        sandbox,
        "WITH h AS (SELECT date_trunc('hour', local_time) AS hour, type FROM events "
        "WHERE country = $country) SELECT hour, type, count(*) FROM h GROUP BY ALL ORDER BY 1, 2",
        {"country": "CH"},
    )
    expected = Counter(
        (
            local(event["ts_us"]).replace(minute=0, second=0, microsecond=0).isoformat(" "),
            WebEventKind(event["kind"]).name.lower(),
        )
        for event in COUNTED
        if event["country"] == "CH"
    )
    assert {(row[0], row[1]): row[2] for row in hours.rows} == expected

    plans = await ask(
        sandbox,
        "SELECT json_extract_string(properties, '$.plan') AS plan, count(*) FROM custom_events "
        "WHERE name = 'signup' AND properties->>'plan' <> 'p0' GROUP BY plan ORDER BY plan",
    )
    counted = Counter(
        event["properties"][9:11] for event in COUNTED if event["kind"] == WebEventKind.CUSTOM
    )
    assert [list(row) for row in plans.rows] == [[p, counted[p]] for p in ("p1", "p2")]

    engaged = await ask(sandbox, "SELECT sum(engaged_seconds), min(local_date) FROM events")
    assert engaged.rows[0][0] == sum(event["engaged_s"] for event in COUNTED)
    assert engaged.rows[0][1] == min(local(e["ts_us"]) for e in COUNTED).date().isoformat()


async def test_a_range_holds_to_the_microsecond(sandbox: EventSandbox) -> None:
    start_us, end_us = CHANGE - HOUR, CHANGE + 3 * HOUR
    answer = await ask(sandbox, "SELECT count(*) FROM events", start_us=start_us, end_us=end_us)
    expected = sum(start_us <= event["ts_us"] < end_us for event in COUNTED)
    assert answer.rows[0][0] == answer.rows_read == expected


#: Allowed, and written to reach the other website.
REACHING = [
    "SELECT * FROM events",
    "SELECT * FROM events WHERE true OR path = $other",
    "SELECT * FROM pageviews LIMIT 10000 OFFSET 0",
    "SELECT * FROM custom_events",
    "SELECT e.*, p.title FROM events e LEFT JOIN pageviews p ON e.path <> p.path OR true LIMIT 999",
    "SELECT path FROM pageviews UNION SELECT path FROM events UNION SELECT $other",
    "SELECT max(visitor_id), max(path), max(title), max(country) FROM events",
    "SELECT any_value(path) FROM events HAVING count(*) > 0",
    "SELECT path FROM events WHERE path LIKE '%s3cr3t%' OR title ILIKE '%S3CR3T%'",
    "SELECT (SELECT max(path) FROM events WHERE contains(path, 's3cr3t'))",
]


async def test_no_byte_of_another_website_comes_out(
    sandbox: EventSandbox, store: EventStore
) -> None:
    own = {event["path"] for event in COUNTED}
    for text in REACHING if isinstance(store, DuckDBStore) else REACHING[:3]:
        answer = await ask(sandbox, text, {"other": OTHER} if "$other" in text else None)
        assert SECRET not in repr(answer), text
        names = [column.name for column in answer.columns]
        if "path" in names:
            found = {row[names.index("path")] for row in answer.rows}
            assert found <= own | {OTHER}, text


@pytest.mark.parametrize("engine", ["duckdb"], indirect=True)
class TestLimits:
    """What is the same whatever the store is."""

    async def test_errors_say_what_is_wrong_and_nothing_of_the_engine(
        self, sandbox: EventSandbox
    ) -> None:
        for text, reason, word in (
            ("SELECT path FROM pageviews GROUP BY country", "VALIDATION_ERROR", "'path'"),
            ("SELECT CAST(path AS INT) FROM pageviews", "VALIDATION_ERROR", "TRY_CAST"),
            ("SELECT sum(path) FROM pageviews", "VALIDATION_ERROR", "fit together"),
            ("SELECT x.path FROM pageviews y", "VALIDATION_ERROR", "fit together"),
            ("SELECT regexp_matches(path, '(') FROM pageviews", "VALIDATION_ERROR", ""),
            ("SELECT max(9223372036854775807 * (length(path) + 1)) FROM events",
             "VALIDATION_ERROR", "range"),
        ):  # fmt: skip
            try:
                answer = await ask(sandbox, text)
            except InvalidInputError as error:
                refused = error
            else:
                pytest.fail(f"{text}: {answer}")
            assert refused.reason == reason, text
            assert word in refused.message, refused.message
            for inner in ("Binder", "Error:", "LINE", "stored", "duckdb", "candidate"):
                assert inner not in refused.message

    async def test_rows_size_memory_and_time_end(
        self, sandbox: EventSandbox, store: EventStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cross = "SELECT a.path FROM events a, events b"
        cut = await ask(sandbox, cross)
        assert (len(cut.rows), cut.truncated) == (10_000, True)

        few = EventSandbox(store, SandboxLimits(events_max=len(COUNTED) - 1))
        with pytest.raises(InvalidInputError, match=f"{len(COUNTED)} events") as caught:
            await ask(few, "SELECT count(*) FROM events")
        assert caught.value.reason == "QUERY_TOO_COMPLEX"
        few.close()
        size = sum(len(event["path"]) + 8 for event in VIEWS)
        for room, fits in ((size, True), (size - 1, False)):
            small = EventSandbox(store, SandboxLimits(bytes_max=room))
            if fits:
                await ask(small, "SELECT count(path) FROM pageviews")
            else:
                with pytest.raises(InvalidInputError, match="MiB"):
                    await ask(small, "SELECT count(path) FROM pageviews")
            small.close()

        wide = " || ".join(["a.title", "a.host"] * 150)
        with pytest.raises(InvalidInputError, match="MiB") as caught:
            await ask(sandbox, f"SELECT {wide} AS x FROM events a, events b")
        assert caught.value.reason == "QUERY_TOO_COMPLEX"

        narrow = EventSandbox(store, SandboxLimits(memory_mb=64))
        with pytest.raises(InvalidInputError, match="memory") as caught:
            await ask(
                narrow,
                "SELECT count(*) FROM (SELECT DISTINCT a.time AS x, b.time AS y, c.time AS z "
                "FROM events a, events b, events c)",
            )
        assert caught.value.reason == "QUERY_TOO_COMPLEX"

        endless = (
            "SELECT count(*) FROM events a, events b, events c, events d WHERE a.path < d.path"
        )
        short = EventSandbox(store, SandboxLimits(seconds=1))
        with pytest.raises(DeadlineError):
            await ask(short, endless)
        await _until(lambda: not _children())
        short.close()
        # What became of them is counted.
        assert (narrow.stats.refused, short.stats.failed) == (1, 1)
        assert (sandbox.stats.answered, sandbox.stats.refused) == (1, 1)
        assert short.stats.seconds >= 1
        assert short.stats.running == 0

    async def test_a_caller_who_goes_away_takes_the_process_along(
        self, sandbox: EventSandbox
    ) -> None:
        endless = (
            "SELECT count(*) FROM events a, events b, events c, events d WHERE a.path < d.path"
        )
        task = asyncio.create_task(ask(sandbox, endless))
        await _until(lambda: bool(_children()))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await _until(lambda: not _children())

    async def test_a_statement_past_the_checker_is_refused_by_the_process(
        self, sandbox: EventSandbox
    ) -> None:
        for sql in ("SELECT * FROM stored", "SELECT getenv('HOME')", "SELECT 1; SELECT 2"):
            statement = Statement(sql, ("events",), frozenset({"path"}))
            with pytest.raises(InvalidInputError):
                await sandbox.run(SandboxQuery(SITE, ZONE, statement), 60)


def _children() -> list[str]:
    """The sandboxes that this process has."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_text()
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
        except (OSError, IndexError):
            continue
        if "sandbox/child.py" in command and int(parent) == os.getpid():
            found.append(command)
    return found


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


def _passes(event: Mapping[str, Any], given: Filter) -> bool:  # noqa: PLR0911 - one an operator
    value, one = event[given.field], given.values[0]
    match given.op:
        case "eq" | "in":
            return value in given.values
        case "ne" | "not_in":
            return value not in given.values
        case "contains":
            return one in value
        case "not_contains":
            return one not in value
        case "starts_with":
            return bool(value.startswith(one))
        case "gt":
            return bool(value.encode() > one.encode())
        case "lt":
            return bool(value.encode() < one.encode())
        case "gte":
            return bool(value.encode() >= one.encode())
        case _:
            return bool(value.encode() <= one.encode())


@pytest.mark.parametrize(
    "filters",
    [
        [],
        [Filter("country", "eq", ["CH"]), Filter("path", "ne", ["/"])],
        [Filter("path", "contains", ["%"])],
        [Filter("path", "not_contains", ["_"]), Filter("path", "starts_with", ["/"])],
        [Filter("path", "in", ["/a'b", "' OR 1 = 1 --", "/ä"])],
        [Filter("country", "not_in", ["CH", ""]), Filter("browser", "gt", ["G"])],
        [Filter("path", "gte", ["/a"]), Filter("path", "lt", ["/ä"]), Filter("os", "lte", [""])],
    ],
    ids=lambda filters: "+".join(given.op for given in filters) or "none",
)
@pytest.mark.parametrize("engine", ["duckdb"], indirect=True)
async def test_structured_queries_equal_a_recount(
    sandbox: EventSandbox, filters: list[Filter]
) -> None:
    compiled = compile_query(
        StructuredQuery(
            "events",
            [
                Select("*", "count", "n"),
                Select("country", "count"),
                Select("visitor_id", "uniq"),
                Select("engaged_seconds", "sum"),
                Select("engaged_seconds", "avg"),
                Select("path", "max"),
                Select("time", "min"),
            ],
            filters,
            group_by=["browser"],
            granularity="hourly",
        )
    )
    answer = await sandbox.run(SandboxQuery(SITE, ZONE, compiled.statement), 60)
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for event in COUNTED:
        if all(_passes({"os": ""} | event, given) for given in filters):
            hour = local(event["ts_us"]).strftime("%Y-%m-%d %H:00:00")
            groups.setdefault((hour, event["browser"]), []).append(event)
    expected = []
    for key in sorted(groups):
        events = groups[key]
        engaged = [event["engaged_s"] for event in events]
        first = min(event["ts_us"] for event in events)
        at = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=first)
        expected.append(
            [
                *key,
                len(events),
                sum(event["country"] != "" for event in events),
                len({event["visitor_id"] for event in events}),
                sum(engaged),
                pytest.approx(sum(engaged) / len(engaged)),
                max((event["path"] for event in events), key=str.encode),
                at.replace(tzinfo=None).isoformat(" "),
            ]
        )
    assert [list(row) for row in answer.rows] == expected
    assert [column.name for column in answer.columns] == [
        "date", "browser", "n", "count_country", "uniq_visitor_id", "sum_engaged_seconds",
        "avg_engaged_seconds", "max_path", "min_time",
    ]  # fmt: skip


async def test_a_site_without_events_answers_with_nothing(store: EventStore) -> None:
    sandbox = EventSandbox(store)
    query = SandboxQuery(
        SITE, "UTC", parse_statement("SELECT count(*), min(local_time) FROM events", {})
    )
    answer = await sandbox.run(query, 60)
    assert [list(row) for row in answer.rows] == [[0, None]]
    sandbox.close()
