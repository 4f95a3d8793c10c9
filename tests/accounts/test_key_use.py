"""When API keys were last used, on a real store that counts what it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from footfall.accounts.key_use import KeyUse
from footfall.accounts.management import AccountManager
from footfall.accounts.service import Authenticator
from footfall.accounts.sql import open_account_store
from footfall.errors import UnauthenticatedError
from tests.accounts.test_service import Counting

MINUTE = 600_000_000 * 60


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Counting]:
    store = open_account_store(f"sqlite:///{tmp_path}/accounts.sqlite")
    store.create_account("News", "free")
    yield Counting(store)
    store.close()


@pytest.fixture
def now() -> list[float]:
    return [MINUTE + 30.5]


@pytest.fixture
def new_use(store: Counting, now: list[float]) -> Callable[..., KeyUse]:
    return lambda **options: KeyUse(store, wall_clock=lambda: now[0], **options)  # type: ignore[arg-type]  # it forwards everything


def make_key(store: Counting) -> str:
    manager = AccountManager(store)  # type: ignore[arg-type]  # it forwards everything
    return manager.create_key("News", kind="nm", site_ids=[], scopes=["admin"]).key.id


def last_used(store: Counting, key: str) -> float | None:
    used: float | None = store._store.get_key(key).last_used_at
    return used


@asynccontextmanager
async def running(use: KeyUse) -> Any:
    task = asyncio.create_task(use.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a store has no event
            await asyncio.sleep(0.01)


async def test_uses_of_a_minute_are_one_write(
    store: Counting, new_use: Callable[..., KeyUse], now: list[float]
) -> None:
    keys = [make_key(store) for _ in range(3)]
    use = new_use()
    for _ in range(100):
        use.note(keys[0])
        use.note(keys[1])
    assert store.calls["note_key_use"] == 0
    await use.flush()
    await use.flush()
    assert [last_used(store, key) for key in keys] == [MINUTE, MINUTE, None]
    # What is stored of this minute is not stored again.
    use.note(keys[0])
    await use.flush()
    assert store.calls["note_key_use"] == 1
    now[0] += 30
    use.note(keys[0])
    use.note(keys[2])
    await use.flush()
    assert [last_used(store, key) for key in keys] == [MINUTE + 60, MINUTE, MINUTE + 60]
    assert store.calls["note_key_use"] == 2


async def test_first_use_is_written_at_once_and_the_next_ones_wait(
    store: Counting, new_use: Callable[..., KeyUse], now: list[float]
) -> None:
    first, second = make_key(store), make_key(store)
    use = new_use(flush_s=3600)
    async with running(use):
        use.note(first)
        await until(lambda: last_used(store, first) is not None)
        now[0] += 60
        use.note(first)
        use.note(second)
        await asyncio.sleep(0.1)
        assert store.calls["note_key_use"] == 1
    # At the end, what waits is written.
    await use.flush()
    assert last_used(store, first) == last_used(store, second) == MINUTE + 60


async def test_flushes_go_on(store: Counting, new_use: Callable[..., KeyUse]) -> None:
    use = new_use(flush_s=0.01)
    async with running(use):
        for _ in range(3):
            key = make_key(store)
            use.note(key)
            await until(lambda key=key: last_used(store, key) == MINUTE)  # type: ignore[misc]  # the loop's value, bound


async def test_uses_wait_for_a_store_that_is_down(
    store: Counting, new_use: Callable[..., KeyUse], now: list[float]
) -> None:
    first, second = make_key(store), make_key(store)
    use = new_use(flush_s=0.01)
    store.down = True
    async with running(use):
        use.note(first)
        await until(lambda: store.calls["note_key_use"] >= 3)
        now[0] += 60
        use.note(first)
        use.note(second)
        store.down = False
        await until(lambda: last_used(store, second) is not None)
    assert last_used(store, first) == last_used(store, second) == MINUTE + 60


async def test_use_during_a_flush_is_not_lost(
    store: Counting, new_use: Callable[..., KeyUse], now: list[float]
) -> None:
    key = make_key(store)
    use = new_use()
    use.note(key)
    flush = asyncio.create_task(use.flush())
    await asyncio.sleep(0)
    now[0] += 60
    use.note(key)
    await flush
    await use.flush()
    assert last_used(store, key) == MINUTE + 60


async def test_only_keys_in_force_are_used(
    store: Counting, new_use: Callable[..., KeyUse], now: list[float]
) -> None:
    manager = AccountManager(store)  # type: ignore[arg-type]  # it forwards everything
    good, revoked, expired = (
        manager.create_key(
            "News", kind="nm", site_ids=[], scopes=["admin"], expires_at=now[0] + seconds
        )
        for seconds in (1, 1, -1)
    )
    store.revoke_key(revoked.key.id)
    use = new_use()
    authenticator = Authenticator(store, key_use=use, wall_clock=lambda: now[0])  # type: ignore[arg-type]  # it forwards everything
    writes = store.calls["note_key_use"]
    await authenticator.authenticate_bearer(f"Bearer {good.text}")
    for key in (revoked, expired):
        with pytest.raises(UnauthenticatedError):
            await authenticator.authenticate_bearer(f"Bearer {key.text}")
    assert store.calls["note_key_use"] == writes
    await use.flush()
    found = {key.id: key.last_used_at for key in store.list_keys("News")}
    assert found == {good.key.id: MINUTE, revoked.key.id: None, expired.key.id: None}
    authenticator.close()
