"""Answers structured queries and custom SQL about a website."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import date
from typing import Final

from footfall.accounts.model import Site
from footfall.accounts.names import clean_timezone
from footfall.analytics.custom.model import Cell, Sandbox, SandboxAnswer, SandboxQuery
from footfall.analytics.custom.sql import parse_statement
from footfall.analytics.custom.structured import StructuredQuery, compile_query
from footfall.analytics.days import to_day
from footfall.analytics.parameters import echo
from footfall.analytics.queries.calendar import LocalDays
from footfall.errors import FootfallError, InvalidQueryError, QueryFault

_DATE: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})", re.ASCII)
#: Beyond these no event is stored, and times no longer fit.
_FIRST, _LAST = date(1970, 1, 2), date(2100, 12, 31)


class CustomQueryService:
    """Judges custom queries and runs them in a sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def structured(
        self,
        site: Site,
        query: StructuredQuery,
        *,
        start_date: str,
        end_date: str,
        timezone: str,
        timeout_s: float,
    ) -> SandboxAnswer:
        """Answer a structured query over local days, both included.

        Raises InvalidQueryError (VALIDATION_ERROR) with the faults of the query, and what
        Sandbox.run raises.
        """
        zone, start_us, end_us = _range(site, start_date, end_date, timezone, required=True)
        compiled = compile_query(query)
        return await self._sandbox.run(
            SandboxQuery(
                site.id, zone, compiled.statement, start_us, end_us, rows_max=compiled.rows_max
            ),
            timeout_s,
        )

    async def sql(
        self,
        site: Site,
        text: str,
        parameters: Mapping[str, Cell],
        *,
        start_date: str = "",
        end_date: str = "",
        timezone: str = "",
        timeout_s: float,
    ) -> SandboxAnswer:
        """Run one SELECT, over all events or those of a range of local days.

        Raises what parse_statement and Sandbox.run raise.
        """
        zone, start_us, end_us = _range(site, start_date, end_date, timezone, required=False)
        statement = await asyncio.to_thread(parse_statement, text, parameters)
        return await self._sandbox.run(
            SandboxQuery(site.id, zone, statement, start_us, end_us), timeout_s
        )


def _range(
    site: Site, start_date: str, end_date: str, timezone: str, *, required: bool
) -> tuple[str, int | None, int | None]:
    """Return a zone, and the start and end of local days in it; raises InvalidQueryError."""
    zone = site.timezone
    if timezone:
        try:
            zone = clean_timezone(timezone)
        except FootfallError as error:
            raise _faulty("timezone", error.message) from None
    if not start_date and not end_date and not required:
        return zone, None, None
    first, last = _day("startDate", start_date), _day("endDate", end_date)
    if first > last:
        raise _faulty(
            "startDate",
            f"startDate must not be after endDate, but {start_date} is after {end_date}.",
        )
    days = LocalDays(zone, first, last)
    return zone, days.start_us, days.end_us


def _day(name: str, text: str) -> int:
    found = _DATE.fullmatch(text)
    try:
        day = date(*map(int, found.groups())) if found is not None else None
    except ValueError:
        day = None
    if day is None or not _FIRST <= day <= _LAST:
        raise _faulty(name, f"{name} must be a day as YYYY-MM-DD, but is {echo(text)}.")
    return to_day(day)


def _faulty(field: str, message: str) -> InvalidQueryError:
    return InvalidQueryError(message, faults=(QueryFault(field, message),))
