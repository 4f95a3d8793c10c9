"""Values that the tests of the way in share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence

from footfall.accounts.model import Plan, Site
from footfall.errors import UnavailableError
from footfall.ingest.enrich.visitors import DaySalts
from footfall.ingest.model import CommitOutcome, EventBatch, EventTable, Removal

NOW_S = 1_700_000_000
NOW_US = NOW_S * 1_000_000
DAY_US = 86_400_000_000
TODAY = NOW_US // DAY_US

SITE = Site(
    id="sitesitesite",
    account_id="accountaccount",
    host="example.com",
    timezone="Europe/Zurich",
    public=False,
    plan=Plan("free", 10, 1000, 50, 300),
)

SALTS = DaySalts(TODAY, {TODAY + day: bytes([day + 1]) * 32 for day in (-1, 0, 1)})

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:126.0) Gecko/20100101 Firefox/126.0"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


class FixedSalts:
    """A source of salts that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.down = False

    async def fetch(self, day: int) -> bytes:
        self.asked.append(day)
        await asyncio.sleep(0)
        if self.down:
            raise UnavailableError("no salt")
        return day.to_bytes(32, "big")


class FixedPlaces:
    """Knows where a few addresses are."""

    def __init__(self, places: Mapping[str, tuple[str, str]] | None = None) -> None:
        self._places = places or {}

    def locate(self, ip: str) -> tuple[str, str]:
        return self._places.get(ip, ("", ""))


class FixedPrices:
    """Knows the price of one model, which is the same for all kinds of tokens."""

    version = "list 1"

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
        """Return 7 picodollars a token of `model-7`, whoever serves it."""
        if model != "model-7":
            return None, 0
        return (input_tokens + output_tokens) * 7, (cache_read + cache_write) * 7


class MemoryWriter:
    """An EventWriter in memory, in which faults can be put.

    It holds what is committed by (table, tenant), knows duplicates by key, and can be stopped
    before a commit. `fail` sees the batches of a commit and may raise.
    """

    def __init__(self) -> None:
        self.commits: list[list[EventBatch]] = []
        self.stored: list[EventBatch] = []
        self.seen: set[bytes] = set()
        self.fail: Callable[[Sequence[EventBatch]], None] = lambda batches: None
        self.threads: set[int] = set()
        self.entered = threading.Event()
        self.may_commit = threading.Event()
        self.may_commit.set()
        #: How many commits there had been each time that there was rest.
        self.rests: list[int] = []
        #: What the next rests ask for, the last one first.
        self.rest_again_s: list[float] = []

    def rest(self) -> float | None:
        self.threads.add(threading.get_ident())
        self.rests.append(len(self.commits))
        return self.rest_again_s.pop() if self.rest_again_s else None

    def remove(self, removal: Removal) -> int:
        """Take the tenant's rows out; a visitor whose name is `fail` makes it fail."""
        self.threads.add(threading.get_ident())
        if removal.visitor_id == "fail":
            raise UnavailableError("No store.")
        gone = [batch for batch in self.stored if batch.tenant_id == removal.site_id]
        self.stored = [batch for batch in self.stored if batch not in gone]
        return sum(map(len, gone))

    def scrub(self) -> None:
        """Do nothing: memory has no files."""

    def commit(self, batches: Sequence[EventBatch]) -> list[CommitOutcome]:
        self.threads.add(threading.get_ident())
        self.entered.set()
        self.may_commit.wait(timeout=30)
        self.fail(batches)
        self.commits.append(list(batches))
        outcomes = []
        for batch in batches:
            duplicates = []
            for row, key in enumerate(batch.dedup_keys):
                if any(key) and key in self.seen:
                    duplicates.append(row)
                self.seen.add(key)
            self.stored.append(batch)
            outcomes.append(CommitOutcome(duplicates, len(self.stored)))
        return outcomes


def small_batch(
    name: str, rows: int = 1, table: EventTable = EventTable.API_REQUESTS
) -> EventBatch:
    """Return a batch whose rows carry its name."""
    return EventBatch(
        table=table,
        tenant_id="tenant",
        received_us=NOW_US,
        columns={"url": [f"{name}-{row}" for row in range(rows)]},
        dedup_keys=[bytes(16)] * rows,
    )
