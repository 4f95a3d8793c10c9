"""What is kept, what is shared, and that nobody is told anything old or another site's."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

from footfall.analytics.cached_history import CachedHistory, cache_key, decode, encode
from footfall.analytics.model import (
    DayCount,
    History,
    HistoryQuery,
    PaceCounts,
    PaceQuery,
    PageCount,
)
from footfall.errors import DeadlineError, UnavailableError

QUERY = HistoryQuery("site-1", 20_000, 20_029, 100, "größe", "pageviews")


class Store:
    """A WebHistory whose reads end when the test says so; an answer tells what it was read of."""

    def __init__(self, *, held: bool = False) -> None:
        self.events = 0
        self.version = 0
        self.reads: list[HistoryQuery] = []
        self.stopped = 0
        self.failing = False
        self._gate = asyncio.Event()
        if not held:
            self._gate.set()

    def commit(self) -> None:
        """Add an event; it can be read before the version tells so."""
        self.events += 1
        self.version += 1

    def finish(self) -> None:
        self._gate.set()

    async def history(self, query: HistoryQuery, timeout_s: float) -> History:
        self.reads.append(query)
        events = self.events
        try:
            await self._gate.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        if self.failing:
            raise UnavailableError("away")
        return History(query.first_day, [DayCount(query.first_day, events, 0, 0.0)], [])

    async def pace(self, query: PaceQuery, timeout_s: float) -> PaceCounts:
        return PaceCounts([], query.local_day, 0)

    async def history_version(self, site_id: str, timeout_s: float) -> str:
        return f"v{self.version}"


class Kept:
    """A Cache in a dict."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}

    async def get(self, key: bytes) -> bytes | None:
        await asyncio.sleep(0)
        return self.values.get(key)

    async def put(self, key: bytes, value: bytes) -> None:
        await asyncio.sleep(0)
        self.values[key] = value


def events(history: History) -> int:
    return history.days[0].pageviews


async def asked(work: Coroutine[Any, Any, History]) -> asyncio.Task[History]:
    task = asyncio.create_task(work)
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def test_the_same_question_is_read_once() -> None:
    store, kept = Store(), Kept()
    history = CachedHistory(store, kept)
    first = await history.history(QUERY, 1)
    assert await history.history(QUERY, 1) == first
    # Another server has the cache in common, and nothing else.
    assert await CachedHistory(store, kept).history(QUERY, 1) == first
    assert len(store.reads) == 1


async def test_an_event_makes_an_answer_old() -> None:
    store = Store()
    history = CachedHistory(store, Kept())
    for number in range(3):
        assert events(await history.history(QUERY, 1)) == number
        store.commit()
    assert len(store.reads) == 3


async def test_what_is_committed_during_a_read_is_not_hidden() -> None:
    """The version is taken before the read, so that an answer is kept as older than it is."""
    store = Store(held=True)
    history = CachedHistory(store, Kept())
    old = await asked(history.history(QUERY, 1))
    store.commit()
    new = await asked(history.history(QUERY, 1))
    store.finish()
    assert (events(await old), events(await new)) == (0, 1)
    assert events(await history.history(QUERY, 1)) == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(QUERY, site_id="site-2"),
        replace(QUERY, first_day=19_999),
        replace(QUERY, last_day=20_030),
        replace(QUERY, pages_max=99),
        replace(QUERY, search="größ"),
        replace(QUERY, search='größe","pageviews'),
        replace(QUERY, rank_by="engaged_s"),
    ],
)
async def test_another_question_has_another_answer(other: HistoryQuery) -> None:
    store = Store()
    history = CachedHistory(store, Kept())
    await history.history(QUERY, 1)
    await history.history(other, 1)
    assert store.reads == [QUERY, other]
    assert cache_key(QUERY, "v1") != cache_key(other, "v1")
    assert cache_key(QUERY, "v1") != cache_key(QUERY, "v2")


async def test_callers_at_once_share_a_read() -> None:
    store = Store(held=True)
    history = CachedHistory(store, None)
    callers = [await asked(history.history(QUERY, 1)) for _ in range(5)]
    other = await asked(history.history(replace(QUERY, site_id="site-2"), 1))
    assert len(store.reads) == 2
    # One who goes away, and one who runs out of time, take nothing from the others.
    callers.pop(0).cancel()
    with pytest.raises(DeadlineError):
        await history.history(QUERY, 0.001)
    store.finish()
    assert [events(await caller) for caller in callers] == [0] * 4
    assert events(await other) == 0
    assert (len(store.reads), store.stopped) == (2, 0)
    # Nothing is kept without a cache.
    await history.history(QUERY, 1)
    assert len(store.reads) == 3


async def test_a_read_that_nobody_waits_for_is_stopped() -> None:
    store = Store(held=True)
    history = CachedHistory(store, Kept())
    callers = [await asked(history.history(QUERY, 1)) for _ in range(2)]
    for caller in callers:
        caller.cancel()
        assert isinstance(
            (await asyncio.gather(caller, return_exceptions=True))[0], asyncio.CancelledError
        )
    with pytest.raises(DeadlineError):
        await history.history(replace(QUERY, site_id="site-2"), 0.001)
    await asyncio.sleep(0)
    assert store.stopped == 2
    store.finish()
    assert events(await history.history(QUERY, 1)) == 0


async def test_a_failure_is_everybodys_and_is_not_kept() -> None:
    store = Store(held=True)
    store.failing = True
    history = CachedHistory(store, Kept())
    callers = [await asked(history.history(QUERY, 1)) for _ in range(2)]
    store.finish()
    for caller in callers:
        with pytest.raises(UnavailableError):
            await caller
    store.failing = False
    assert events(await history.history(QUERY, 1)) == 0


async def test_pace_and_versions_are_the_stores() -> None:
    store = Store()
    history = CachedHistory(store, Kept())
    assert (await history.pace(PaceQuery("site-1", 7, 0), 1)).pageviews_before == 7
    assert await history.history_version("site-1", 1) == "v0"


def test_what_is_kept_is_given_back() -> None:
    page = PageCount("exämple.com", "/a\0b", "T", "A", "2026", "i", 2**32, 1, 0.1 + 0.2)
    history = History(-5, [DayCount(-5, 2**32, 0, 12.000001)], [page, page])
    assert decode(encode(history)) == history
    nothing = History(None, [], [])
    assert decode(encode(nothing)) == nothing


def test_the_form_of_what_is_kept() -> None:
    """A change of this form needs another FORM: servers of two versions share a Redis."""
    page = PageCount("host", "/path", "title", "author", "pubdate", "image", 3, 2, 1.5)
    history = History(1, [DayCount(1, 3, 2, 1.5)], [page])
    assert encode(history) == (
        b'[1,[[1,3,2,1.5]],[["host","/path","title","author","pubdate","image",3,2,1.5]]]'
    )
    assert cache_key(QUERY, "v1") == (
        '["history",1,"v1","site-1",20000,20029,100,"größe","pageviews"]'.encode()
    )
