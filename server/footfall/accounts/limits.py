"""Rate limits, as values: the windows a request must fit into, and the decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from footfall.accounts.model import Site, Subscription


@dataclass(frozen=True, slots=True)
class Window:
    """An allowance of `limit` units in each window of `seconds`; a window begins with the first
    unit spent in it.
    """

    #: What is limited, as in "site:abc"; windows with the same subject and length share one
    #: counter.
    subject: str
    limit: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a request passes, and the window nearest to the end of its allowance."""

    allowed: bool
    limit: int
    remaining: int
    #: When that window ends, in seconds since the Unix epoch, by the limiter's clock.
    reset_at: float
    #: Milliseconds after which one request does pass; 0 if this one did.
    wait_ms: int
    #: Which of the request's windows that is, counted from 0.
    place: int = 0

    @property
    def retry_after_s(self) -> int:
        """The same in whole seconds."""
        return -(-self.wait_ms // 1000)


class RateLimiter(Protocol):
    """Decides all windows of a request at once, atomically over all servers."""

    async def decide(self, windows: Sequence[Window], cost: int = 1) -> Decision:
        """Spend `cost` units in every window, or in none if any has too few left.

        Raises UnavailableError (REDIS_UNAVAILABLE) if no decision can be had.
        """


def account_windows(tenant: Subscription | Site) -> tuple[Window, ...]:
    """Return the windows that every request for an account must fit into, all at once."""
    subject, plan = f"account:{tenant.account_id}", tenant.plan
    return (
        Window(subject, plan.account_requests_per_10s, 10),
        Window(subject, plan.account_requests_per_minute, 60),
    )


def sql_window(tenant: Subscription | Site) -> Window:
    """Return the window that custom SQL must fit into besides."""
    return Window(f"account-sql:{tenant.account_id}", tenant.plan.custom_sql_per_minute, 60)
