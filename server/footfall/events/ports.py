"""What an event store is to the composition root, and what its parts share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from footfall.analytics.ports import (
    EventReader,
    LiveHistory,
    QueryReader,
    WebHistory,
    WorkspaceHistory,
)
from footfall.events.site_rows import SiteRows
from footfall.events.verify import AnyDifference
from footfall.ingest.ports import EventWriter

#: Returns the time now, in microseconds since the epoch.
Clock = Callable[[], int]


def time_us() -> int:
    """Return the system's time, in microseconds since the epoch."""
    return time.time_ns() // 1000


class EventStore(
    EventWriter,
    EventReader,
    WebHistory,
    QueryReader,
    WorkspaceHistory,
    LiveHistory,
    SiteRows,
    Protocol,
):
    """One engine, opened: the way in and all ways out.

    `commit` belongs to one thread; the readers may be awaited from an event loop meanwhile, and
    what each sees is a prefix of the commits.
    """

    async def differences(self, rows_max: int, timeout_s: float) -> Sequence[AnyDifference]:
        """Return where what history is read from is not what the events say, at most `rows_max`;
        reads all web events. Nothing, in a store that nobody has damaged.
        """

    def reads(self) -> int:
        """Return how many reads the engine is busy with."""

    def close(self) -> None:
        """Interrupt what runs and let the engine go; closing twice is harmless."""
