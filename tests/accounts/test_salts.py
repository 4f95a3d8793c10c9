"""Visitor salts in two processes' caches over one store."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from footfall.accounts import salts as salts_module
from footfall.accounts.ports import AccountStore
from footfall.accounts.salts import SaltCache, utc_day
from footfall.accounts.sql import open_account_store
from footfall.errors import UnavailableError

DAY = 20_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AccountStore]:
    store = open_account_store(f"sqlite:///{tmp_path}/accounts.sqlite")
    yield store
    store.close()


@pytest.mark.parametrize("day", [DAY - 1, DAY, DAY + 1])
async def test_near_days_are_the_same_everywhere(store: AccountStore, day: int) -> None:
    first, second = (SaltCache(store, now_day=lambda: DAY) for _ in range(2))
    assert first.cached(day) is None
    salt = first.get(day)
    assert len(salt) == 32
    assert await second.fetch(day) == salt
    assert first.cached(day) == second.cached(day) == await first.fetch(day) == salt
    assert store.salt(day, DAY) == salt


@pytest.mark.parametrize("day", [DAY - 2, DAY + 2, 0, -5, DAY - 10_000])
async def test_far_days_are_this_process_alone(store: AccountStore, day: int) -> None:
    first, second = (SaltCache(store, now_day=lambda: DAY) for _ in range(2))
    salt = first.get(day)
    assert len(salt) == 32
    assert first.cached(day) == await first.fetch(day) == salt
    assert second.get(day) != salt


def test_each_far_day_has_its_own_salt_and_few_are_kept(store: AccountStore) -> None:
    cache = SaltCache(store, now_day=lambda: DAY)
    first = cache.get(0)
    salts = {cache.get(day) for day in range(365)}
    assert len(salts) == 365
    assert cache.get(0) == first
    for day in range(1000, 2000):
        cache.get(day)
    assert len(cache._private) == 400
    assert cache.get(0) != first


def test_salt_is_forgotten_when_its_day_is_over(store: AccountStore) -> None:
    today = [DAY]
    cache = SaltCache(store, now_day=lambda: today[0])
    salt, tomorrow = cache.get(DAY), cache.get(DAY + 1)
    today[0] = DAY + 1
    assert cache.get(DAY) == salt
    today[0] = DAY + 2
    assert cache.get(DAY) != salt
    assert cache.get(DAY + 1) == tomorrow
    cache.get(DAY + 2)
    assert set(cache._stored) == {DAY + 1, DAY + 2}


async def test_salts_go_by_the_clock_although_nobody_asks(
    store: AccountStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(salts_module, "FORGET_S", 0.01)
    today = [DAY]
    cache = SaltCache(store, now_day=lambda: today[0])
    salt, private = cache.get(DAY), cache.get(DAY - 9)
    running = asyncio.create_task(cache.run())

    async def still_there(day: int) -> tuple[bool, bool]:
        """Move the clock, let it go round, and say which salts are left in memory."""
        today[0] = day
        await asyncio.sleep(0.2)
        return DAY in cache._stored, DAY - 9 in cache._private

    assert await still_there(DAY) == (True, True)
    assert await still_there(DAY + 1) == (True, True)
    assert cache.get(DAY) == salt
    assert cache.get(DAY - 9) == private
    assert await still_there(DAY + 2) == (False, False)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    # Neither does the store have it: for whoever believes that it is yesterday it makes another.
    assert store.salt(DAY, DAY + 1) != salt


async def test_a_store_that_does_not_answer_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(salts_module, "FORGET_S", 0.01)
    asked: list[int] = []

    class Down:
        def forget_salts(self, now_day: int) -> None:
            asked.append(now_day)
            raise UnavailableError("No store.")

    running = asyncio.create_task(SaltCache(Down(), now_day=lambda: DAY).run())  # type: ignore[arg-type]  # it is asked for nothing else
    async with asyncio.timeout(10):
        while len(asked) < 3:  # noqa: ASYNC110 - it comes from another thread
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_many_threads_get_one_salt(store: AccountStore) -> None:
    cache = SaltCache(store, now_day=lambda: DAY)
    barrier = threading.Barrier(8)

    def work(_: int) -> tuple[bytes, bytes]:
        barrier.wait(30)
        return cache.get(DAY), cache.get(5)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(work, range(8)))) == 1


def test_today_is_utc() -> None:
    before = datetime.now(UTC).date().toordinal() - 719_163
    day = utc_day()
    assert before <= day <= datetime.now(UTC).date().toordinal() - 719_163
