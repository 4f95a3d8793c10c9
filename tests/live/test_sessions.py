"""Sessions in a real Valkey: their lives, and who wins when several ask for one at once."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator

import pytest

from footfall.accounts.sessions import StoredSession
from footfall.errors import UnavailableError
from footfall.live.connection import RedisConnection
from footfall.live.sessions import RedisSessionStore
from tests.live.conftest import Valkey

ADA = StoredSession("user-a", "mark-a")
DAY_S = 86_400
IDLE_MS = 7 * DAY_S * 1000


@pytest.fixture
def store(connection: RedisConnection) -> RedisSessionStore:
    return RedisSessionStore(connection)


@pytest.fixture
async def two_servers(valkey: Valkey) -> AsyncIterator[tuple[RedisSessionStore, RedisSessionStore]]:
    """Two stores without anything in common but the server, as in two processes."""
    connections = RedisConnection(valkey.url), RedisConnection(valkey.tcp_url)
    yield RedisSessionStore(connections[0]), RedisSessionStore(connections[1])
    for connection in connections:
        await connection.aclose()


def new() -> bytes:
    """A digest that nothing is stored under."""
    return secrets.token_bytes(32)


async def until_gone(store: RedisSessionStore, digest: bytes) -> None:
    async with asyncio.timeout(10):
        while True:
            if await store.find(digest) is None:
                return
            await asyncio.sleep(0.02)


async def test_what_is_created_is_found(store: RedisSessionStore, valkey: Valkey) -> None:
    digest = new()
    before = time.time()
    term = await store.create(digest, ADA)
    after = time.time()
    assert before - 0.002 <= term.expires_at - 7 * DAY_S <= after + 0.002
    assert term.left_max_s == 30 * DAY_S
    assert await store.find(digest) == ADA
    assert await store.find(new()) is None
    with valkey.client() as client:
        key = f"ff:session1:{digest.hex()}"
        assert set(client.hgetall(key)) == {b"user", b"password", b"site", b"created"}
        assert 0 < client.pttl(key) <= 7 * DAY_S * 1000


async def test_a_selection_stays_with_the_session(store: RedisSessionStore, valkey: Valkey) -> None:
    digest, successor = new(), new()
    await store.create(digest, ADA)
    assert await store.select(digest, "site-ü")
    assert await store.find(digest) == StoredSession("user-a", "mark-a", "site-ü")
    assert await store.replace(digest, successor) is not None
    assert await store.find(successor) == StoredSession("user-a", "mark-a", "site-ü")

    gone = new()
    assert not await store.select(gone, "site")
    with valkey.client() as client:
        # A session that has ended is not brought back by a late selection.
        assert not client.exists(f"ff:session1:{gone.hex()}")


async def test_deleting_ends_it_and_may_be_repeated(store: RedisSessionStore) -> None:
    digest = new()
    await store.create(digest, ADA)
    await store.delete(digest)
    assert await store.find(digest) is None
    assert await store.replace(digest, new()) is None
    await store.delete(digest)


async def test_of_those_who_replace_it_at_once_one_wins(
    two_servers: tuple[RedisSessionStore, RedisSessionStore],
) -> None:
    digest = new()
    await two_servers[0].create(digest, ADA)
    successors = [new() for _ in range(16)]
    terms = await asyncio.gather(
        *(
            two_servers[number % 2].replace(digest, successor)
            for number, successor in enumerate(successors)
        )
    )
    assert sum(term is not None for term in terms) == 1
    found = [await two_servers[0].find(successor) for successor in successors]
    assert [session is not None for session in found] == [term is not None for term in terms]
    assert await two_servers[1].find(digest) is None


async def test_it_ends_without_use(store: RedisSessionStore, connection: RedisConnection) -> None:
    hasty = RedisSessionStore(connection, idle_s=0.15)
    unused, replaced, successor = new(), new(), new()
    await hasty.create(unused, ADA)
    await store.create(replaced, ADA)
    assert await hasty.replace(replaced, successor) is not None
    # A use that moves the end by so little is not worth a write, so that these do not.
    await until_gone(hasty, unused)
    await until_gone(hasty, successor)
    assert await store.replace(unused, new()) is None
    assert not await store.select(unused, "site")


async def test_uses_keep_it_alive_and_are_seldom_written(
    valkey: Valkey, store: RedisSessionStore
) -> None:
    digest = new()
    await store.create(digest, ADA)
    key = f"ff:session1:{digest.hex()}"
    with valkey.client() as client:
        client.pexpire(key, IDLE_MS - 50_000)
        await store.find(digest)
        assert client.pttl(key) <= IDLE_MS - 50_000
        client.pexpire(key, IDLE_MS - 61_000)
        await store.find(digest)
        assert client.pttl(key) > IDLE_MS - 50_000


async def test_neither_uses_nor_replacing_lengthen_its_longest_life(
    valkey: Valkey, store: RedisSessionStore
) -> None:
    digest, successor = new(), new()
    await store.create(digest, ADA)
    key = f"ff:session1:{digest.hex()}"
    with valkey.client() as client:
        # It began so long ago that an hour is left of it.
        end = time.time() + 3600
        client.hset(key, "created", round((end - 30 * DAY_S) * 1000))
        client.pexpire(key, 60_000)
        assert await store.find(digest) == ADA
        assert 60_000 < client.pttl(key) <= 3_600_000
        term = await store.replace(digest, successor)
        assert term is not None
        assert abs(term.expires_at - end) < 0.01
        assert term.left_max_s <= 3600

        client.hset(f"ff:session1:{successor.hex()}", "created", 1)
        late = new()
        assert await store.replace(successor, late) is None
        assert await store.find(late) is None


async def test_without_redis_it_says_so(own_valkey: Valkey) -> None:
    connection = RedisConnection(own_valkey.url)
    store = RedisSessionStore(connection)
    digest = new()
    await store.create(digest, ADA)
    own_valkey.kill()
    for call in (
        store.create(new(), ADA),
        store.find(digest),
        store.replace(digest, new()),
        store.select(digest, "site"),
        store.delete(digest),
    ):
        with pytest.raises(UnavailableError) as caught:
            await call
        assert caught.value.reason == "REDIS_UNAVAILABLE"
    own_valkey.start()
    await store.create(digest, ADA)
    assert await store.find(digest) == ADA
    await connection.aclose()
