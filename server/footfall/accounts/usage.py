"""What an account has left of its allowances."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from footfall.accounts.limits import Decision, RateLimiter, Window, account_windows, sql_window
from footfall.accounts.model import Subscription


@dataclass(frozen=True, slots=True)
class WindowUse:
    """A window of an account as it stands."""

    #: What is counted in it: "requests" or "custom_sql".
    name: str
    window: Window
    remaining: int
    #: When it ends, in seconds since the Unix epoch, by the limiter's clock; for one that has not
    #: begun, when it would end if it began now.
    reset_at: float


class UsageService:
    """Looks at an account's windows without spending anything."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter

    async def windows(self, subscription: Subscription) -> list[WindowUse]:
        """Return every window that the account's requests must fit into; raises
        UnavailableError (REDIS_UNAVAILABLE).
        """
        named = [("requests", window) for window in account_windows(subscription)]
        named.append(("custom_sql", sql_window(subscription)))
        # A decision tells of one window only.
        decisions: list[Decision] = await asyncio.gather(
            *(self._limiter.decide((window,), 0) for _, window in named)
        )
        return [
            WindowUse(name, window, decision.remaining, decision.reset_at)
            for (name, window), decision in zip(named, decisions, strict=True)
        ]
