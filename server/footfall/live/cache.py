"""Values that are kept in Redis for a while, and are no loss."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from footfall.errors import UnavailableError
from footfall.ingest.model import Removal
from footfall.live.connection import RedisConnection, connect

_DIGEST_BYTES = 16


class RedisCache:
    """A Cache; see there for what it promises.

    Values are kept for `ttl_s` seconds, unless they have more than `value_bytes_max` bytes. Redis
    is waited for at most `wait_s`; once it has failed or was late, it is left alone for `rest_s`,
    so that its callers wait once and not each time.
    """

    def __init__(
        self,
        redis: RedisConnection | str,
        ttl_s: float,
        *,
        value_bytes_max: int = 512 * 1024,
        wait_s: float = 0.1,
        rest_s: float = 1.0,
    ) -> None:
        self._redis = connect(redis)
        self._ttl_ms = max(round(ttl_s * 1000), 1)
        self._value_bytes_max = value_bytes_max
        self._wait_s = wait_s
        self._rest_s = rest_s
        self._rests_until = 0.0

    async def get(self, key: bytes) -> bytes | None:
        name = _name(key)
        found = await self._ask("GET", name)
        if not isinstance(found, bytes):
            return None
        digest, value = found[:_DIGEST_BYTES], found[_DIGEST_BYTES:]
        # What was cut short, or written there by somebody else, is as good as nothing.
        return value if digest == _digest(key, value) else None

    async def put(self, key: bytes, value: bytes) -> None:
        if len(value) <= self._value_bytes_max:
            await self._ask("SET", _name(key), _digest(key, value) + value, "PX", self._ttl_ms)

    async def forget(self, removal: Removal) -> None:  # noqa: ARG002 - names do not tell whose a value is
        """Forget everything: what was read before a removal is not to be kept after it."""
        await self._redis.erase(_name_of("*"))

    async def _ask(self, *command: str | bytes | int) -> Any:
        """Return the reply; None if there is none in time."""
        now = asyncio.get_running_loop().time
        if now() < self._rests_until:
            return None
        try:
            async with asyncio.timeout(self._wait_s):
                return await self._redis.command(*command)
        except (UnavailableError, TimeoutError):
            self._rests_until = now() + self._rest_s
            return None


def _name(key: bytes) -> str:
    return _name_of(hashlib.blake2b(key, digest_size=20).hexdigest())


def _name_of(digest: str) -> str:
    return f"ff:cache1:{digest}"


def _digest(key: bytes, value: bytes) -> bytes:
    """Return what tells that a value is whole, and this key's."""
    return hashlib.blake2b(
        value, key=hashlib.blake2b(key).digest(), digest_size=_DIGEST_BYTES
    ).digest()
