"""Export of raw API requests: pages in the order of storage, each record with a cursor.

The sequence number that the store gives an event is the order and the cursor. An export ends at
the number that was the highest when it began, so that it ends at all while events keep coming.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal

from footfall.analytics.model import ApiRequestRow, WebEventRow
from footfall.analytics.parameters import echo, refusal, suggest
from footfall.analytics.ports import EventReader
from footfall.analytics.timeseries import parse_range

#: Rows that are read, and held in memory, at a time; a row is at most 64 KiB.
PAGE_ROWS = 1_000
#: Longest time that reading one page may take, in seconds.
PAGE_TIMEOUT_S = 30.0

_CURSOR = re.compile(r"[0-9a-f]{1,15}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """The parameters of an export as a caller sent them."""

    start: int | str
    end: int | str
    cursor: str = ""


def cursor_of(row: ApiRequestRow | WebEventRow) -> str:
    """Return the text that continues an export right after `row`."""
    return f"{row.seq:x}"


def parse_format(text: str) -> Literal["ndjson", "csv"]:
    """Return the format that a download asks for; "" is NDJSON."""
    match text or "ndjson":
        case "ndjson" | "csv" as known:
            return known
    raise refusal(
        "format",
        f"format must be ndjson or csv, but is {echo(text)}.{suggest(text, ('ndjson', 'csv'))}",
    )


def parse_cursor(text: str) -> int:
    """Return the sequence number of a cursor; 0 for ""."""
    if not text:
        return 0
    if not _CURSOR.fullmatch(text):
        raise refusal("cursor", "cursor must be the cursor of a record of an export, unchanged.")
    return int(text, 16)


class ExportService:
    """Exports an application's raw events."""

    def __init__(self, reader: EventReader) -> None:
        self._reader = reader

    async def pages(
        self, application_id: str, request: ExportRequest
    ) -> AsyncIterator[Sequence[ApiRequestRow]]:
        """Yield the rows of the range, page by page, by sequence number; no page is empty.

        Raises InvalidInputError for a range or cursor that cannot be read, DeadlineError if a
        page takes too long, and UnavailableError while the event store does not answer.
        """
        start_s, end_s = parse_range(request.start, request.end)
        after_seq = parse_cursor(request.cursor)
        through_seq = await self._reader.last_seq(PAGE_TIMEOUT_S)
        while after_seq < through_seq:
            rows = await self._reader.api_requests(
                application_id,
                start_s * 1_000_000,
                end_s * 1_000_000,
                after_seq=after_seq,
                through_seq=through_seq,
                rows_max=PAGE_ROWS,
                timeout_s=PAGE_TIMEOUT_S,
            )
            if rows:
                yield rows
            if len(rows) < PAGE_ROWS:
                return
            after_seq = rows[-1].seq
