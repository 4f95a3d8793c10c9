"""Sessions in Redis, by its own clock: what ends there ends on all servers at once."""

from __future__ import annotations

from typing import Any

from footfall.accounts.sessions import IDLE_S, LIFE_MAX_S, StoredSession, Term
from footfall.live.connection import RedisConnection, Script, connect

_CREATE = Script("session", "session_create")
_FIND = Script("session", "session_find")
_REPLACE = Script("session", "session_replace")
_SELECT = Script("session_select")

#: A use that gives a session less time than this is not worth a write, in seconds.
SLIDE_S = 60


class RedisSessionStore:
    """A SessionStore; see there for what the methods promise.

    A session ends after `idle_s` seconds without use, and `life_max_s` seconds after its login
    whatever happens.
    """

    def __init__(
        self,
        redis: RedisConnection | str,
        *,
        idle_s: float = IDLE_S,
        life_max_s: float = LIFE_MAX_S,
        slide_s: float = SLIDE_S,
    ) -> None:
        self._redis = connect(redis)
        self._lives = (round(idle_s * 1000), round(life_max_s * 1000))
        self._slide_ms = round(slide_s * 1000)

    async def create(self, digest: bytes, session: StoredSession) -> Term:
        fields = (session.user_id, session.password_mark, session.site_id)
        return _term(await self._redis.run(_CREATE, (_key(digest),), (*self._lives, *fields)))

    async def find(self, digest: bytes) -> StoredSession | None:
        reply = await self._redis.run(_FIND, (_key(digest),), (*self._lives, self._slide_ms))
        return StoredSession(*(text.decode() for text in reply)) if reply is not None else None

    async def replace(self, digest: bytes, successor: bytes) -> Term | None:
        reply = await self._redis.run(_REPLACE, (_key(digest), _key(successor)), self._lives)
        return _term(reply) if reply is not None else None

    async def select(self, digest: bytes, site_id: str) -> bool:
        return bool(await self._redis.run(_SELECT, (_key(digest),), (site_id,)))

    async def delete(self, digest: bytes) -> None:
        await self._redis.command("DEL", _key(digest))


def _key(digest: bytes) -> str:
    return f"ff:session1:{digest.hex()}"


def _term(reply: list[Any]) -> Term:
    end_ms, left_max_ms = reply
    return Term(end_ms / 1000, left_max_ms // 1000)
