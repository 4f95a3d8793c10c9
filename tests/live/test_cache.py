"""A cache in a real Valkey: what it keeps, and that it never gets in the way."""

from __future__ import annotations

import asyncio
import secrets

import pytest
import redis

from footfall.live.cache import RedisCache
from footfall.live.connection import RedisConnection
from tests.live.conftest import Valkey


@pytest.fixture
def cache(connection: RedisConnection) -> RedisCache:
    return RedisCache(connection, 60, wait_s=5)


@pytest.fixture
def key() -> bytes:
    """A key that nothing is stored under."""
    return secrets.token_bytes(100)


def stored(client: redis.Redis) -> set[bytes]:
    return set(client.scan_iter("ff:cache1:*"))  # type: ignore[arg-type]  # a synchronous client


def stored_with(valkey: Valkey, before: set[bytes]) -> bytes:
    """The one name that has come since."""
    with valkey.client() as client:
        (name,) = stored(client) - before
    return name


async def test_what_is_put_is_got(cache: RedisCache, valkey: Valkey, key: bytes) -> None:
    assert await cache.get(key) is None
    with valkey.client() as client:
        before = stored(client)
    value = bytes(range(256)) * 100
    await cache.put(key, value)
    assert await cache.get(key) == value
    assert await cache.get(key + b"x") is None
    name = stored_with(valkey, before)
    with valkey.client() as client:
        assert 0 < client.pttl(name) <= 60_000  # type: ignore[operator]  # a synchronous client
    await cache.put(key, b"")
    assert await cache.get(key) == b""


async def test_what_is_put_is_forgotten(connection: RedisConnection, key: bytes) -> None:
    cache = RedisCache(connection, 0.02, wait_s=5)
    await cache.put(key, b"value")
    await asyncio.sleep(0.05)
    assert await cache.get(key) is None


async def test_a_large_value_is_not_kept(connection: RedisConnection, key: bytes) -> None:
    cache = RedisCache(connection, 60, value_bytes_max=1000, wait_s=5)
    await cache.put(key, b"x" * 1001)
    assert await cache.get(key) is None
    await cache.put(key, b"x" * 1000)
    assert await cache.get(key) == b"x" * 1000


async def test_a_damaged_value_is_none(cache: RedisCache, valkey: Valkey, key: bytes) -> None:
    with valkey.client() as client:
        before = stored(client)
        await cache.put(key, b"the value")
        name = stored_with(valkey, before)
        whole: bytes = client.get(name)  # type: ignore[assignment]  # a synchronous client
        for damaged in (b"", whole[:10], whole[:-1], whole + b"x", b"\0" + whole[1:], b"x" * 99):
            client.set(name, damaged)
            assert await cache.get(key) is None, damaged
        client.set(name, whole)
        assert await cache.get(key) == b"the value"


async def test_another_keys_value_is_none(cache: RedisCache, valkey: Valkey, key: bytes) -> None:
    with valkey.client() as client:
        before = stored(client)
        await cache.put(key, b"mine")
        mine = stored_with(valkey, before)
        before.add(mine)
        await cache.put(key + b"2", b"somebody else's")
        client.copy(stored_with(valkey, before), mine, replace=True)
    assert await cache.get(key) is None


async def test_a_key_of_another_kind_is_none(
    connection: RedisConnection, valkey: Valkey, key: bytes
) -> None:
    cache = RedisCache(connection, 60, wait_s=5, rest_s=0)
    with valkey.client() as client:
        before = stored(client)
        await cache.put(key, b"value")
        name = stored_with(valkey, before)
        client.delete(name)
        client.rpush(name, "a list")
        assert await cache.get(key) is None
    await cache.put(key, b"value")
    assert await cache.get(key) == b"value"


async def test_nobody_waits_for_a_server_that_hangs(own_valkey: Valkey, key: bytes) -> None:
    # Only the cache's own bound can end the wait in time.
    connection = RedisConnection(own_valkey.url, timeout_s=3600)
    cache = RedisCache(connection, 3600, wait_s=0.05, rest_s=3600)
    ready = RedisCache(connection, 3600, wait_s=30)
    await ready.put(key, b"value")
    own_valkey.stop()
    async with asyncio.timeout(30):
        assert await cache.get(key) is None
    own_valkey.resume()
    # It rests now: whoever asks does not even try.
    assert await cache.get(key) is None
    await cache.put(key, b"another")
    assert await ready.get(key) == b"value"
    await connection.aclose()


async def test_a_server_that_is_down_is_no_error(own_valkey: Valkey, key: bytes) -> None:
    connection = RedisConnection(own_valkey.url)
    cache = RedisCache(connection, 60, wait_s=5, rest_s=0)
    await cache.put(key, b"value")
    own_valkey.kill()
    assert await cache.get(key) is None
    await cache.put(key, b"value")
    own_valkey.start()
    assert await cache.get(key) is None
    await cache.put(key, b"value")
    assert await cache.get(key) == b"value"
    await connection.aclose()


async def test_a_server_without_room_is_no_error(own_valkey: Valkey, key: bytes) -> None:
    connection = RedisConnection(own_valkey.url)
    cache = RedisCache(connection, 60, wait_s=5, rest_s=0)
    with own_valkey.client() as client:
        client.config_set("maxmemory", "1")
        client.config_set("maxmemory-policy", "noeviction")
    await cache.put(key, b"value")
    assert await cache.get(key) is None
    await connection.aclose()
