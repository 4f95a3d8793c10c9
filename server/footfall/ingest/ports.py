"""What the way in needs of the stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from footfall.ingest.model import CommitOutcome, EventBatch, Removal


class EventWriter(Protocol):
    """Commits events durably; called from one thread at a time."""

    def commit(self, batches: Sequence[EventBatch]) -> list[CommitOutcome]:
        """Store all batches in one transaction, duplicates left out, and return an outcome for
        each.

        When it returns, the events survive `kill -9` of any process. When it raises, nothing of
        any batch is stored and nothing is remembered as seen: UnavailableError if the store does
        not answer (try again later), any other error if a batch cannot be stored (its neighbours
        can, in a commit without it), such as NotFoundError for a site that has been removed.
        """

    def remove(self, removal: Removal) -> int:
        """Remove events with all that was counted of them, and return how many there were.

        When it returns, it is durable, and every later read is as if they had never been stored;
        repeating it is harmless. Raises UnavailableError if the store does not answer: whether
        anything was removed is unknown then. See `scrub` for the bytes.
        """

    def scrub(self) -> None:
        """Leave nothing of removed events in the store's files, which otherwise happens some time
        after; returns when it is so. Blocks, and raises UnavailableError.
        """

    def rest(self) -> float | None:
        """Do what can wait until nothing waits for a commit; never fails.

        Called on the thread of the commits, when there has been none for a while. Returns after
        how many seconds it wants to be called again if there still is none; None: not before the
        next commit.
        """


class LiveSink(Protocol):
    """Takes committed web events on to live state; never fails and never blocks.

    Called on the event loop's thread, batch by batch in the order of their commits, after the
    callers have their answers.
    """

    def publish(self, batch: EventBatch, outcome: CommitOutcome) -> None: ...


class SaltSource(Protocol):
    """Knows the secret salts under which visitor ids are derived."""

    async def fetch(self, day: int) -> bytes:
        """Return the salt of a UTC day (days since the epoch): yesterday, today or tomorrow.

        Raises UnavailableError if the salt cannot be had.
        """


class PriceSource(Protocol):
    """Knows what AI operations cost."""

    @property
    def version(self) -> str:
        """The name and version of the list that the prices are from."""

    def price(
        self,
        provider: str,
        model: str,
        ts_us: int,
        input_tokens: int,
        output_tokens: int,
        cache_read: int,
        cache_write: int,
        reasoning: int,
    ) -> tuple[int | None, int]:
        """Return what an operation costs, and the part of it for caches, in picodollars.

        (None, 0) where no price is known. What was read from caches and written to them is part
        of the input, reasoning of the output.
        """


class GeoSource(Protocol):
    """Knows where addresses are."""

    def locate(self, ip: str) -> tuple[str, str]:
        """Return the ISO 3166 country code and the city of an address, "" where unknown."""
