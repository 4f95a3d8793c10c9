"""Answers batch queries: which events are read, and what is made of them.

All parameters that are about the same days read the same events, once: each brings a fold, and
every portion of the events goes through all folds. The scans of a call see one moment. Folds are
kept: as long as a site has no new page view, what was asked for costs next to nothing.

A call may hold ten thousand parameters of ten thousand days each. So what is done for each of them
is done in threads, which look between two whether anybody still waits, and answers are bounded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Protocol

from footfall.accounts.model import Site
from footfall.analytics.days import local_day, system_us
from footfall.analytics.ports import LiveState, QueryReader
from footfall.analytics.queries.answers import (
    FaultyQuery,
    ParameterAnswer,
    QueryAnswer,
    Row,
    breakdown_rows,
    counts_row,
    page_of,
)
from footfall.analytics.queries.calendar import LocalDays
from footfall.analytics.queries.catalogue import QueryType, Shape
from footfall.analytics.queries.folds import (
    FOLLOWED_US,
    GAP_US,
    Breakdown,
    Number,
    Portion,
    Properties,
    Series,
    Totals,
)
from footfall.analytics.queries.kept import Fold as Kept
from footfall.analytics.queries.kept import KeptFolds
from footfall.analytics.queries.model import (
    Condition,
    EventField,
    EventKind,
    EventPart,
    EventScan,
    Take,
)
from footfall.analytics.queries.parsing import Defaults, Parameter, Query, parse_queries
from footfall.errors import (
    DeadlineError,
    InvalidInputError,
    InvalidQueryError,
    UnavailableError,
)

#: Most rows that the answer to a call may have, over all its queries.
ROWS_MAX: Final = 250_000
_THREADS: Final = 2

#: Custom events of this name are clicks on links to other sites.
OUTBOUND_NAME = "outbound_link"
_OUTBOUND_PROPERTIES = ("href", "url")

_CUSTOM = EventKind.CUSTOM
_PAGEVIEW = EventKind.PAGEVIEW


class Fold(Kept, Protocol):
    """Something that is counted, of a portion at a time."""

    def take(self, portion: Portion) -> None: ...
    def add(self, other: Any, sign: int = 1) -> None: ...


#: Makes a fold that has counted nothing yet.
_Make = Callable[[LocalDays], Fold]


#: Returns a text that changes whenever the page views of a site may have changed.
VersionOf = Callable[[str, float], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class _ScanKey:
    """What parameters have to have in common to share a scan."""

    kind: EventKind
    timezone: str
    first_day: int
    last_day: int
    conditions: tuple[Condition, ...]


class _Scan:
    """A scan and what is made of it."""

    def __init__(self, key: _ScanKey, kept: KeptFolds) -> None:
        self.days = LocalDays(key.timezone, key.first_day, key.last_day)
        self.fields: set[EventField] = set()
        #: Whether the events around the days matter, too.
        self.sessions = False
        #: Folds by what they count, so that the same is not counted twice.
        self.folds: dict[Any, Fold] = {}
        self._key = key
        self._kept = kept
        self._makes: dict[Any, _Make] = {}

    def fold(self, identity: Any, make: _Make) -> Fold:
        """Return the fold of this identity, made if it is new."""
        if identity not in self.folds:
            self.folds[identity] = make(self.days)
            self._makes[identity] = make
        return self.folds[identity]

    def take(self, part: EventPart) -> None:
        """Let a part of the events go through all folds, but for what is known of it."""
        portion: Portion | None = None
        for identity, fold in self.folds.items():
            key = (part.name, self._key, identity)
            counted = self._kept.get(key) if part.name is not None else None
            if counted is None:
                portion = portion or Portion(part.rows(), self.days)
                counted = self._makes[identity](self.days)
                counted.take(portion)
                if part.name is not None:
                    self._kept.put(key, counted)
            fold.add(counted, part.sign)


class _Scans:
    """The scans of a call."""

    def __init__(self, site_id: str, kept: KeptFolds, version: str) -> None:
        self._site_id = site_id
        self._kept = kept
        self._version = version
        self._scans: dict[_ScanKey, _Scan] = {}

    def fold(
        self,
        key: _ScanKey,
        identity: Any,
        make: _Make,
        *fields: EventField,
        sessions: bool = False,
    ) -> Any:
        """Return the fold of this identity in the scan of this key, made if it is new; one that is
        kept since it was counted at the same version needs no scan.
        """
        known = self._kept.get((self._site_id, self._version, key, identity))
        if known is not None:
            return known
        scan = self._scans.get(key)
        if scan is None:
            scan = self._scans[key] = _Scan(key, self._kept)
        scan.fields.update(fields)
        scan.sessions |= sessions
        return scan.fold(identity, make)

    def questions(self) -> list[tuple[EventScan, Take]]:
        """Return what the store is asked, and what takes each answer."""
        return [
            (
                EventScan(
                    self._site_id,
                    key.kind,
                    # A session that began before the days is known by a page view within the gap.
                    scan.days.start_us - (GAP_US if scan.sessions else 0),
                    scan.days.end_us + (FOLLOWED_US if scan.sessions else 0),
                    frozenset(scan.fields),
                    key.conditions,
                    ordered=scan.sessions,
                ),
                scan.take,
            )
            for key, scan in self._scans.items()
            if scan.days.start_us < scan.days.end_us
        ]

    def keep(self) -> None:
        """Keep what was counted, but for custom events: versions do not tell of them."""
        for key, scan in self._scans.items():
            if key.kind is _PAGEVIEW:
                for identity, fold in scan.folds.items():
                    self._kept.put((self._site_id, self._version, key, identity), fold)


#: Makes the rows of a parameter once all scans are through.
_Rows = Callable[[], list[Row]]


class QueryService:
    """Answers batch queries about sites."""

    def __init__(
        self,
        reader: QueryReader,
        version_of: VersionOf,
        live: LiveState,
        clock_us: Callable[[], int] = system_us,
    ) -> None:
        self._reader = reader
        self._version_of = version_of
        self._kept = KeptFolds()
        self._live = live
        self._clock_us = clock_us
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="queries")

    def forget(self) -> None:
        """Forget what was counted, after events have been removed."""
        self._kept.clear()

    async def answer(
        self, site: Site, documents: Sequence[Any], defaults: Defaults, timeout_s: float
    ) -> list[QueryAnswer | FaultyQuery]:
        """Return the answers to queries as callers send them, in their order.

        Raises InvalidQueryError for calls that hold no query that could be judged,
        InvalidInputError (QUERY_TOO_COMPLEX) for too large an answer, DeadlineError after
        `timeout_s`, and UnavailableError while the event store does not answer.
        """
        waiting = _Waiting()
        try:
            return await self._answer(site, documents, defaults, timeout_s, waiting)
        finally:
            waiting.over = True

    async def _answer(
        self,
        site: Site,
        documents: Sequence[Any],
        defaults: Defaults,
        timeout_s: float,
        waiting: _Waiting,
    ) -> list[QueryAnswer | FaultyQuery]:
        now_us = self._clock_us()
        end_s = time.monotonic() + timeout_s
        in_thread = asyncio.get_running_loop().run_in_executor
        queries = await in_thread(self._threads, parse_queries, documents, defaults, now_us)
        # Before anything is read, so that what is kept under it is at least as new.
        scans = _Scans(site.id, self._kept, await self._version_of(site.id, timeout_s))
        planned = await in_thread(self._threads, _plan_all, queries, scans, waiting)
        questions = scans.questions()
        if questions:
            await self._reader.scan_events(questions, end_s - time.monotonic())
            scans.keep()
        live = None
        if any(None in plans for plans in planned):
            live = await self._live_rows(site, now_us)
        return await in_thread(self._threads, _answer_all, queries, planned, live, waiting)

    async def _live_rows(self, site: Site, now_us: int) -> list[Row] | str:
        """Return the active users and their sessions, a visitor has one at a time; or why not."""
        today = local_day(site.timezone, now_us)
        try:
            counts = await self._live.snapshot(site.id, now_us // 1000, today)
        except UnavailableError as error:
            return error.message
        return [(counts.active, counts.active)]


@dataclass(slots=True)
class _Waiting:
    """Whether somebody waits for an answer."""

    over: bool = False

    def check(self) -> None:
        """Raise DeadlineError, which nobody sees, if there is nobody."""
        if self.over:
            raise DeadlineError("Nobody waits for the answer any more.")


def _plan_all(
    queries: Sequence[Query | InvalidQueryError], scans: _Scans, waiting: _Waiting
) -> list[list[_Rows | None]]:
    """Return what makes the rows of each parameter of each query; see `_plan`."""
    planned: list[list[_Rows | None]] = []
    for query in queries:
        plans: list[_Rows | None] = []
        if isinstance(query, Query):
            for parameter in query.parameters:
                waiting.check()
                plans.append(_plan(query, parameter, scans))
        planned.append(plans)
    return planned


def _answer_all(
    queries: Sequence[Query | InvalidQueryError],
    planned: Sequence[Sequence[_Rows | None]],
    live: list[Row] | str | None,
    waiting: _Waiting,
) -> list[QueryAnswer | FaultyQuery]:
    """Return the answers; raises InvalidInputError (QUERY_TOO_COMPLEX) for too many rows."""
    answers: list[QueryAnswer | FaultyQuery] = []
    rows = 0
    for query, plans in zip(queries, planned, strict=True):
        if isinstance(query, InvalidQueryError):
            answers.append(FaultyQuery(query))
            continue
        data: list[ParameterAnswer] = []
        for parameter, plan in zip(query.parameters, plans, strict=True):
            waiting.check()
            data.append(answer := _answer(query, parameter, plan, live))
            rows += len(answer.rows)
            if rows > ROWS_MAX:
                raise InvalidInputError(
                    f"The answer has more than {ROWS_MAX} rows; ask for fewer parameters or days, "
                    "or set limit.",
                    "QUERY_TOO_COMPLEX",
                )
        answers.append(QueryAnswer(query, data))
    return answers


def _answer(
    query: Query, parameter: Parameter, rows: _Rows | None, live: list[Row] | str | None
) -> ParameterAnswer:
    kind = parameter.type
    if parameter.error or kind is None:
        return ParameterAnswer(parameter.label, error=parameter.error)
    if query.sort_by and query.sort_by not in [column.name for column in kind.columns]:
        names = ", ".join(column.name for column in kind.columns)
        return ParameterAnswer(
            parameter.label, error=f"{kind.name} can be sorted by {names}, not {query.sort_by!r}."
        )
    if rows is not None:
        found = rows()
    elif isinstance(live, str):
        return ParameterAnswer(parameter.label, error=live)
    else:
        found = live or []
    return ParameterAnswer(parameter.label, kind.columns, page_of(query, kind, found))


def _plan(query: Query, parameter: Parameter, scans: _Scans) -> _Rows | None:
    """Add what a parameter needs to the scans, and return what makes its rows of it; None for one
    that no event is read for.
    """
    kind = parameter.type
    if parameter.error or kind is None or kind.shape is Shape.LIVE:
        return None
    first, last = parameter.first_day, parameter.last_day
    if kind.shape is Shape.TODAY:
        first = last = query.today

    def key(event: EventKind, *more: Condition) -> _ScanKey:
        conditions = (*(used.condition for used in query.filters), *more)
        return _ScanKey(event, query.timezone, first, last, conditions)

    match kind.shape:
        case Shape.TOTALS | Shape.TODAY:
            return _plan_totals(kind, key, scans)
        case Shape.SERIES:
            granularity = parameter.granularity
            series: Series = scans.fold(
                key(_PAGEVIEW),
                ("series", granularity),
                lambda days: Series(days, granularity),
                sessions=True,
            )
            return lambda: [
                counts_row(kind.columns, counts, date=label)
                for label, counts in series.counts().items()
            ]
        case Shape.PROPERTIES:
            properties: Properties = scans.fold(
                key(_CUSTOM),
                "properties",
                lambda _: Properties(),
                EventField.NAME,
                EventField.PROPERTIES,
            )
            return lambda: breakdown_rows(query, kind, properties.counts, properties.total)
        case Shape.LINKS:
            named = Condition(EventField.NAME, "in", (OUTBOUND_NAME,))
            links: Properties = scans.fold(
                key(_CUSTOM, named),
                "links",
                lambda _: Properties(first_of=_OUTBOUND_PROPERTIES),
                EventField.NAME,
                EventField.PROPERTIES,
            )
            return lambda: breakdown_rows(
                query,
                kind,
                {(value,): counts for (_, _, value), counts in links.counts.items()},
                links.total,
            )
    return _plan_breakdown(query, kind, key, scans)


def _plan_totals(kind: QueryType, key: Callable[..., _ScanKey], scans: _Scans) -> _Rows:
    totals: Totals = scans.fold(key(_PAGEVIEW), "totals", lambda _: Totals(), sessions=True)
    custom: Number | None = None
    if any(column.name == "total_events" for column in kind.columns):
        custom = scans.fold(key(_CUSTOM), "number", lambda _: Number())
    return lambda: [counts_row(kind.columns, totals.counts, custom.events if custom else 0)]


def _plan_breakdown(
    query: Query, kind: QueryType, key: Callable[..., _ScanKey], scans: _Scans
) -> _Rows:
    about = kind.field
    if about is None:
        raise ValueError(f"{kind.name} is about no field")
    of = {Shape.ENTRIES: "entries", Shape.EXITS: "exits"}.get(kind.shape, "events")
    fields = (about, EventField.MEDIUM) if kind.sourced else (about,)
    breakdown: Breakdown = scans.fold(
        key(_CUSTOM if kind.shape is Shape.EVENTS else _PAGEVIEW),
        (of, about, kind.sourced),
        lambda _: Breakdown(about, of, sourced=kind.sourced),
        *fields,
        sessions=of != "events",
    )
    return lambda: breakdown_rows(
        query, kind, {(name,): counts for name, counts in breakdown.counts.items()}, breakdown.total
    )
