"""Rate limits that hold over all servers: one script call decides all windows of a request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from footfall.accounts.limits import Decision, Window
from footfall.errors import UnavailableError
from footfall.live.connection import RedisConnection, Script, connect, unavailable

_SCRIPT = Script("limit")

#: Requests decided by one call of the script, which takes a few microseconds for each.
_DECISIONS_MAX = 200

_Request = tuple[Sequence[Window], int, asyncio.Future[Decision]]


class RedisRateLimiter:
    """Fixed windows that begin with the first unit spent, by Redis's own clock.

    A client's cost for a command is many times the script's work, so requests that come while a
    call is under way are decided together by the next one. Decisions are made in the order of the
    requests. A decision whose reply is lost may have spent its units.
    """

    def __init__(self, redis: RedisConnection | str) -> None:
        self._redis = connect(redis)
        self._waiting: list[_Request] = []
        self._worker: asyncio.Task[None] | None = None

    async def decide(self, windows: Sequence[Window], cost: int = 1) -> Decision:
        """Spend `cost` units in every window, or in none if any has too few left.

        A request without windows is allowed. A cost above a window's limit is always denied.
        Raises UnavailableError (REDIS_UNAVAILABLE) if no decision can be had.
        """
        if not windows:
            return Decision(allowed=True, limit=0, remaining=0, reset_at=0.0, retry_after_s=0)
        decision: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._waiting.append((windows, cost, decision))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(), name="rate-limiter")
        return await decision

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[:_DECISIONS_MAX]
                del self._waiting[:_DECISIONS_MAX]
                try:
                    await self._decide_together(batch)
                finally:
                    _refuse(batch)
        finally:
            self._worker = None
            _refuse(self._waiting)
            self._waiting.clear()

    async def _decide_together(self, batch: list[_Request]) -> None:
        keys: list[str] = []
        args: list[int] = []
        for windows, cost, _ in batch:
            args += (len(windows), cost)
            for window in windows:
                keys.append(f"ff:limit1:{window.subject}:{window.seconds}")
                args += (window.limit, window.seconds)
        try:
            replies = await self._redis.run(_SCRIPT, keys, args)
        except UnavailableError:
            return
        for (_, _, decision), reply in zip(batch, replies, strict=True):
            if not decision.done():
                decision.set_result(_decision(reply))


def _refuse(batch: list[_Request]) -> None:
    """Fail the requests of the batch that have no decision, so that none waits for ever."""
    for _, _, decision in batch:
        if not decision.done():
            decision.set_exception(unavailable())


def _decision(reply: list[Any]) -> Decision:
    allowed, limit, remaining, end_us, wait_us, place = reply
    return Decision(
        allowed=bool(allowed),
        limit=limit,
        remaining=remaining,
        reset_at=end_us / 1e6,
        retry_after_s=-(-wait_us // 1_000_000),
        place=place - 1,
    )
