"""The cache in front of look-ups."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from footfall.accounts.lookups import Lookups


class Source:
    """Answers look-ups, one at a time and only while the gate is open."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Semaphore(0)
        self.answers: dict[str, Any] = {}

    def __call__(self, key: str) -> Any:
        answer = self.answers.get(key, key.upper())
        self.asked.append(key)
        self.started.release()
        assert self.gate.wait(30)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def source() -> Iterator[Source]:
    source = Source()
    yield source
    source.gate.set()


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def lookups(source: Source, now: list[float]) -> Iterator[Callable[..., Lookups[str, Any]]]:
    with ThreadPoolExecutor(4) as executor:

        def make(**options: Any) -> Lookups[str, Any]:
            return Lookups(source, executor, ttl_s=0.5, clock=lambda: now[0], **options)

        yield make
        source.gate.set()


async def started(source: Source) -> None:
    assert await asyncio.to_thread(source.started.acquire, timeout=30)


async def test_values_are_remembered_until_their_time_is_over(
    lookups: Callable[..., Lookups[str, Any]], source: Source, now: list[float]
) -> None:
    cache = lookups()
    source.answers["none"] = None
    for key, expected in (("a", "A"), ("none", None)):
        assert [await cache.get(key) for _ in range(3)] == [expected] * 3
    assert source.asked == ["a", "none"]
    now[0] += 0.5
    assert await cache.get("a") == "A"
    assert source.asked == ["a", "none", "a"]


async def test_concurrent_misses_share_one_lookup(
    lookups: Callable[..., Lookups[str, Any]], source: Source
) -> None:
    cache = lookups()
    source.gate.clear()
    calls = [asyncio.create_task(cache.get(key)) for key in "aabbab"]
    await started(source)
    await started(source)
    source.gate.set()
    assert await asyncio.gather(*calls) == ["A", "A", "B", "B", "A", "B"]
    assert sorted(source.asked) == ["a", "b"]


async def test_error_reaches_all_who_wait_and_is_forgotten(
    lookups: Callable[..., Lookups[str, Any]], source: Source
) -> None:
    cache = lookups()
    source.answers["a"] = ValueError("down")
    source.gate.clear()
    calls = [asyncio.create_task(cache.get("a")) for _ in range(3)]
    await started(source)
    source.gate.set()
    assert [str(e) for e in await asyncio.gather(*calls, return_exceptions=True)] == ["down"] * 3
    source.answers["a"] = "fine"
    assert await cache.get("a") == "fine"
    assert source.asked == ["a", "a"]


async def test_cancelled_caller_does_not_fail_the_others(
    lookups: Callable[..., Lookups[str, Any]], source: Source
) -> None:
    cache = lookups()
    source.gate.clear()
    first, second = (asyncio.create_task(cache.get("a")) for _ in range(2))
    await started(source)
    first.cancel()
    source.gate.set()
    assert await second == "A"
    assert first.cancelled()
    assert source.asked == ["a"]


async def test_lookup_whose_callers_are_all_gone_ends_quietly(
    lookups: Callable[..., Lookups[str, Any]], source: Source
) -> None:
    cache = lookups()
    source.answers["a"] = ValueError("down")
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    source.gate.clear()
    call = asyncio.create_task(cache.get("a"))
    await started(source)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    flight = cache._flights["a"][1]
    source.gate.set()
    await asyncio.wait([flight])
    assert not cache._flights
    del flight
    gc.collect()
    assert complaints == []


async def test_answer_counts_from_before_a_slow_lookup(
    lookups: Callable[..., Lookups[str, Any]], source: Source, now: list[float]
) -> None:
    cache = lookups()
    source.answers["a"] = "old"
    source.gate.clear()
    slow = asyncio.create_task(cache.get("a"))
    await started(source)
    # The value changes, and the look-up under way is already too old to be shared.
    source.answers["a"] = "new"
    now[0] += 0.5
    later = asyncio.create_task(cache.get("a"))
    await started(source)
    source.gate.set()
    assert [await slow, await later] == ["old", "new"]
    assert await cache.get("a") == "new"
    assert source.asked == ["a", "a"]


async def test_least_recently_used_are_dropped(
    lookups: Callable[..., Lookups[str, Any]], source: Source
) -> None:
    cache = lookups(entries_max=3)
    for key in "abc":
        await cache.get(key)
    await cache.get("a")
    await cache.get("d")  # in place of b
    source.asked.clear()
    for key in "acdb":
        await cache.get(key)
    assert source.asked == ["b"]
    for number in range(100):
        await cache.get(str(number))
    assert len(cache._entries) == 3
    assert not cache._flights
