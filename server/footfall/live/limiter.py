"""Rate limits that hold over all servers: one script call decides all windows of a request."""

from __future__ import annotations

from collections.abc import Sequence

from footfall.accounts.limits import Decision, Window
from footfall.live.connection import RedisConnection, Script, connect

_SCRIPT = Script("limit")


class RedisRateLimiter:
    """Fixed windows that begin with the first unit spent, by Redis's own clock in milliseconds.

    A decision whose reply is lost may have spent its units.
    """

    def __init__(self, redis: RedisConnection | str) -> None:
        self._redis = connect(redis)

    async def decide(self, windows: Sequence[Window], cost: int = 1) -> Decision:
        """Spend `cost` units in every window, or in none if any has too few left.

        A request without windows is allowed. A cost above a window's limit is always denied.
        Raises UnavailableError (REDIS_UNAVAILABLE) if no decision can be had.
        """
        if not windows:
            return Decision(allowed=True, limit=0, remaining=0, reset_at=0.0, wait_ms=0)
        keys = [f"ff:limit2:{window.subject}:{window.seconds}" for window in windows]
        args = [cost]
        for window in windows:
            args += (window.limit, window.seconds)
        allowed, place, left, end_ms, wait_ms = await self._redis.run(_SCRIPT, keys, args)
        return Decision(
            allowed=bool(allowed),
            limit=windows[place - 1].limit,
            remaining=left,
            reset_at=end_ms / 1000,
            wait_ms=wait_ms,
            place=place - 1,
        )
