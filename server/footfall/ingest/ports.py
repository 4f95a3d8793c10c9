"""What the way in needs of the stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from footfall.ingest.model import CommitOutcome, EventBatch


class EventWriter(Protocol):
    """Commits events durably; called from one thread at a time."""

    def commit(self, batches: Sequence[EventBatch]) -> list[CommitOutcome]:
        """Store all batches in one transaction, duplicates left out, and return an outcome for
        each.

        When it returns, the events survive `kill -9` of any process. When it raises, nothing of
        any batch is stored and nothing is remembered as seen: UnavailableError if the store does
        not answer (try again later), any other error if a batch cannot be stored (its neighbours
        can, in a commit without it).
        """

    def rest(self) -> None:
        """Do what can wait until nothing waits for a commit; never fails.

        Called on the thread of the commits, when there has been none for a while.
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


class GeoSource(Protocol):
    """Knows where addresses are."""

    def locate(self, ip: str) -> tuple[str, str]:
        """Return the ISO 3166 country code and the city of an address, "" where unknown."""
