"""Export of raw web events: as `export.py` does it for API requests, by site and local days."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from footfall.accounts.model import Site
from footfall.analytics.days import first_instant, to_day
from footfall.analytics.export import PAGE_ROWS, PAGE_TIMEOUT_S, parse_cursor
from footfall.analytics.model import WebEventRow
from footfall.analytics.parameters import echo, refusal
from footfall.analytics.ports import EventReader
from footfall.analytics.timeseries import TIME_MAX_S

_SECONDS = re.compile(r"\d{1,15}", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class WebExportRequest:
    """The parameters of an export as a caller sent them."""

    start: str = ""
    end: str = ""
    cursor: str = ""


def web_range(site: Site, start: str, end: str) -> tuple[int, int]:
    """Return the ends of a range in microseconds since the epoch: the start is in it, the end is
    not. Where one is not given, the range has no end on that side.
    """
    start_us = _instant(site, "start", start.strip(), 0) if start.strip() else 0
    end_us = _instant(site, "end", end.strip(), 1) if end.strip() else TIME_MAX_S * _MICROSECONDS
    if start_us >= end_us:
        raise refusal("start", f"start must be before end, but {start} is not before {end}.")
    return start_us, end_us


def _instant(site: Site, name: str, text: str, days_after: int) -> int:
    """Return the instant of a text; of a day its beginning, or that of the day after it."""
    try:
        if _SECONDS.fullmatch(text):
            instant = int(text) * _MICROSECONDS
        elif _DAY.fullmatch(text):
            day = to_day(date.fromisoformat(text)) + days_after
            instant = first_instant(site.timezone, day, time())
        elif _MOMENT.fullmatch(text):
            since = datetime.fromisoformat(text.upper()) - _EPOCH
            instant = (since.days * 86_400 + since.seconds) * _MICROSECONDS + since.microseconds
        else:
            raise ValueError(text)
    except (ValueError, OverflowError):
        raise refusal(
            name,
            f"{name} must be a day such as 2024-05-17, an RFC 3339 time with offset such as "
            f"2024-05-17T10:05:03Z, or whole seconds since the epoch, but is {echo(text)}.",
        ) from None
    # What is further away than any event can be is as good as the furthest.
    return min(max(instant, 0), TIME_MAX_S * _MICROSECONDS)


class WebExportService:
    """Exports a site's raw events."""

    def __init__(self, reader: EventReader) -> None:
        self._reader = reader

    async def pages(
        self, site: Site, request: WebExportRequest
    ) -> AsyncIterator[Sequence[WebEventRow]]:
        """Yield the rows of the range, page by page, by sequence number; no page is empty.

        Raises InvalidInputError for a range or cursor that cannot be read, DeadlineError if a
        page takes too long, and UnavailableError while the event store does not answer.
        """
        start_us, end_us = web_range(site, request.start, request.end)
        after_seq = parse_cursor(request.cursor)
        through_seq = await self._reader.last_seq(PAGE_TIMEOUT_S)
        # Reading a page costs by the numbers that it looks at, which are all sites' and as many as
        # it takes to find about a page of this one's.
        numbers = 2 * PAGE_ROWS
        while after_seq < through_seq:
            upto_seq = min(after_seq + numbers, through_seq)
            rows = await self._reader.web_events(
                site.id,
                start_us,
                end_us,
                after_seq=after_seq,
                through_seq=upto_seq,
                rows_max=PAGE_ROWS,
                timeout_s=PAGE_TIMEOUT_S,
            )
            if rows:
                yield rows
            if len(rows) < PAGE_ROWS:
                numbers *= 2
                after_seq = upto_seq
            else:
                numbers = 2 * (rows[-1].seq - after_seq)
                after_seq = rows[-1].seq
