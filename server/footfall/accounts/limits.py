"""Rate limits, as values: the windows a request must fit into, and the decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


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
    #: Whole seconds after which one request does pass; 0 if this one did.
    retry_after_s: int


class RateLimiter(Protocol):
    """Decides all windows of a request at once, atomically over all servers."""

    async def decide(self, windows: Sequence[Window], cost: int = 1) -> Decision:
        """Spend `cost` units in every window, or in none if any has too few left.

        Raises UnavailableError (REDIS_UNAVAILABLE) if no decision can be had.
        """
