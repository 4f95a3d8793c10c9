"""The statements of WebHistory, built once each, and the shapes of their rows.

They read rollups and, where an engine folds events into them later, the tail of events that are
not in them yet: a row of a rollup and an event are both things to be summed. So they cost by
days, slots and pages, and by at most one fold's worth of events.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    String,
    Subquery,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    union_all,
)

from footfall.analytics.model import (
    DayCount,
    HistoryQuery,
    PaceCounts,
    PaceQuery,
    PageCount,
    Ranking,
    SlotCount,
)
from footfall.events.dialect import contains
from footfall.events.rollups import PAGEDAY, SLOT15, SUMS, Rollup
from footfall.events.search import search_key
from footfall.events.tables import SLOT_US, pageday, pages, slot15, web_events
from footfall.ingest.model import Exclusion, WebEventKind

Row = Sequence[Any]

#: What the statements are asked with.
_SITE: Final = bindparam("site_id", None, String)
_FIRST: Final = bindparam("first", None, BigInteger)
_LAST: Final = bindparam("last", None, BigInteger)
_FROM: Final = bindparam("from_day", None, BigInteger)
_PAGE_IDS: Final = bindparam("page_ids", None, ARRAY(BigInteger))
_SINCE: Final = bindparam("since_us", None, BigInteger)
_BEFORE: Final = bindparam("before_us", None, BigInteger)
#: Events up to this one are in the rollups.
_FOLDED: Final = bindparam("folded_seq", None, BigInteger)
_SEARCH: Final = bindparam("search", None, String)
_ROWS: Final = bindparam("rows_max", None, Integer)

_WITHIN: Final = (
    web_events.c.local_day == _FIRST,
    web_events.c.ts_us >= _SINCE,
    web_events.c.ts_us < _BEFORE,
)
_NONE: Final[ColumnElement[Any]] = literal_column(str(Exclusion.NONE.value))
_CUSTOM: Final[ColumnElement[Any]] = literal_column(str(WebEventKind.CUSTOM.value))
_ONE: Final = literal_column("1", Integer)

_PAGE_TEXTS: Final = ("host", "path", "title", "author", "pubdate", "og_image")


def parameters(query: HistoryQuery, folded_seq: int = 0) -> dict[str, Any]:
    """Return what the statements of a query take."""
    return {
        "site_id": query.site_id,
        "first": query.first_day,
        "last": query.last_day,
        "folded_seq": folded_seq,
        "search": search_key(query.search),
        "rows_max": query.pages_max,
    }


def pace_parameters(query: PaceQuery) -> dict[str, Any]:
    """Return what `slots` and `within_slot` take."""
    return {
        "site_id": query.site_id,
        "first": query.local_day - 1,
        "last": query.local_day,
        "since_us": query.before_us - query.before_us % SLOT_US,
        "before_us": query.before_us,
    }


@cache
def first_day(*, tail: bool) -> Select[Any]:
    """Return the local day of a site's first counted page view; no row without one."""
    counted = _counted(SLOT15, tail=tail)
    return (
        select(counted.c.local_day)
        .where(counted.c.pageviews > 0)
        .order_by(counted.c.local_day)
        .limit(1)
    )


@cache
def days(*, tail: bool) -> Select[Any]:
    """Return (local_day, sums) of the days from `first` to `last`, ascending."""
    counted = _counted(SLOT15, "local_day", tail=tail)
    sums = _sums(counted)
    return (
        select(counted.c.local_day, *sums)
        .group_by(counted.c.local_day)
        .having(or_(*(value != 0 for value in sums)))
        .order_by(counted.c.local_day)
    )


@cache
def slots() -> Select[Any]:
    """Return (local_day, slot_us, page views, visits) of the days from `first` to `last`,
    ascending; from the rollup alone.
    """
    counted = _counted(SLOT15, "local_day", tail=False)
    keys = (counted.c.local_day, counted.c.slot_us)
    pageviews, visits, _ = _sums(counted)
    return (
        select(*keys, pageviews, visits)
        .group_by(*keys)
        .having(or_(pageviews != 0, visits != 0))
        .order_by(*keys)
    )


@cache
def within_slot() -> Select[Any]:
    """Return (page views, visits) of the day `first` from `since_us` on and before `before_us`,
    which are in one slot; the events themselves are read.

    Fast because events are stored about in the order of their times, and whole blocks outside
    these minutes are skipped.
    """
    event = SLOT15.rows(web_events.c.site_id == _SITE, *_WITHIN).subquery("event")
    return select(
        func.coalesce(func.sum(event.c.pageviews), 0), func.coalesce(func.sum(event.c.visits), 0)
    )


@cache
def top_pages(rank_by: Ranking, *, search: bool, tail: bool) -> Select[Any]:
    """Return (texts, sums) of the first `rows_max` pages of the days from `first` to `last`."""
    counted = _counted(PAGEDAY, "local_day", tail=tail)
    sums = _sums(counted)
    summed = (
        select(counted.c.page_id, *(value.label(name) for name, value in _named(sums)))
        .group_by(counted.c.page_id)
        .having(dict(_named(sums))[ranked_by(rank_by)] > 0)
        .subquery("summed")
    )
    return (
        select(*(pages.c[name] for name in _PAGE_TEXTS), *(summed.c[name] for name in SUMS))
        .select_from(summed.join(pages, pages.c.page_id == summed.c.page_id))
        .where(*_of_the_site(search=search))
        .order_by(summed.c[ranked_by(rank_by)].desc(), pages.c.path, pages.c.host)
        .limit(_ROWS)
    )


@cache
def found_pages() -> Select[Any]:
    """Return the ids of a site's pages with the text that is looked for."""
    return select(pages.c.page_id).where(*_of_the_site(search=True))


@cache
def page_texts() -> Select[Any]:
    """Return (page_id, texts) of the pages of a site among `page_ids`, for DuckDB."""
    ids = select(func.unnest(_PAGE_IDS))
    return select(pages.c.page_id, *(pages.c[name] for name in _PAGE_TEXTS)).where(
        pages.c.site_id == _SITE, pages.c.page_id.in_(ids)
    )


@cache
def page_days() -> Select[Any]:
    """Return the site's rows of the rollup from the day `from_day` on."""
    table = pageday.c
    columns = (table.local_day, table.page_id, *(table[name] for name in SUMS))
    return select(*columns).where(table.site_id == _SITE, table.local_day >= _FROM)


@cache
def page_day_rows() -> Select[Any]:
    """Return the number of rows of `page_days`."""
    table = pageday.c
    return (
        select(func.count())
        .select_from(pageday)
        .where(table.site_id == _SITE, table.local_day >= _FROM)
    )


@cache
def slot_days() -> Select[Any]:
    """Return the site's rows of the other rollup from the day `from_day` on."""
    table = slot15.c
    columns = (table.local_day, table.slot_us, *(table[name] for name in SUMS))
    return select(*columns).where(table.site_id == _SITE, table.local_day >= _FROM)


@cache
def events_since() -> Select[Any]:
    """Return a site's events after `folded_seq` with what rollups are made of, and `seq`.

    Plain columns and conditions: an engine that is asked for few rows takes longer to plan than
    to find them, and what they count for is soon told elsewhere.
    """
    return _events(web_events.c.seq, web_events.c.page_id).where(web_events.c.seq > _FOLDED)


@cache
def events_within_slot() -> Select[Any]:
    """Return the events of `within_slot` one by one, as `events_since` does."""
    return _events().where(*_WITHIN)


def _events(*more: ColumnElement[Any]) -> Select[Any]:
    event = web_events.c
    columns = (event.local_day, event.ts_us, event.kind, event.visits, event.engaged_s)
    return select(*columns, *more).where(
        event.site_id == _SITE, event.excluded == _NONE, event.kind != _CUSTOM
    )


@cache
def days_and_pages(rank_by: Ranking, *, search: bool) -> Select[Any]:
    """Return (is_page, local_day, texts, sums): the days of `days`, then the pages of
    `top_pages`, from one scan of one rollup.

    For engines without transactions: one scan is the one thing there that is of one moment.
    """
    counted = _counted(PAGEDAY, "local_day", tail=False)
    sums = _sums(counted)
    is_page = func.grouping(counted.c.local_day)
    summed = (
        select(
            is_page.label("is_page"),
            counted.c.local_day,
            counted.c.page_id,
            *(value.label(name) for name, value in _named(sums)),
        )
        .group_by(func.grouping_sets(counted.c.local_day, counted.c.page_id))
        .having(or_(*(value != 0 for value in sums)))
        .subquery("summed")
    )
    known = (
        select(pages.c.page_id, *(pages.c[name] for name in _PAGE_TEXTS), _ONE.label("known"))
        .where(*_of_the_site(search=search))
        .subquery("known")
    )
    rank = summed.c[ranked_by(rank_by)]
    place = func.row_number().over(
        partition_by=summed.c.is_page, order_by=(rank.desc(), known.c.path, known.c.host)
    )
    placed = (
        select(summed, *(known.c[name] for name in _PAGE_TEXTS), place.label("place"))
        .select_from(summed.outerjoin(known, known.c.page_id == summed.c.page_id))
        .where(or_(summed.c.is_page == 0, and_(known.c.known == 1, rank > 0)))
        .subquery("placed")
    )
    names = ("is_page", "local_day", *_PAGE_TEXTS, *SUMS)
    return (
        select(*(placed.c[name] for name in names))
        .where(or_(placed.c.is_page == 0, placed.c.place <= _ROWS))
        .order_by(placed.c.is_page, placed.c.local_day, placed.c.place)
    )


def day_count(row: Row) -> DayCount:
    """Return a row of `days` as a value."""
    local_day, pageviews, visits, engaged_us = row
    return DayCount(local_day, int(pageviews), int(visits), int(engaged_us) / 1_000_000)


def page_count(row: Row) -> PageCount:
    """Return a row of `top_pages` as a value."""
    host, path, title, author, pubdate, og_image, pageviews, visits, engaged_us = row
    return PageCount(
        host,
        path,
        title,
        author,
        pubdate,
        og_image,
        int(pageviews),
        int(visits),
        int(engaged_us) / 1_000_000,
    )


def pace_counts(query: PaceQuery, within: Row, rows: Iterable[Row]) -> PaceCounts:
    """Return the row of `within_slot` and the rows of `slots` as a value."""
    counted = [
        SlotCount(day, slot_us, int(views), int(visits)) for day, slot_us, views, visits in rows
    ]
    before = [
        slot
        for slot in counted
        if slot.local_day < query.local_day and slot.slot_us + SLOT_US <= query.before_us
    ]
    return PaceCounts(
        counted,
        int(within[0]) + sum(slot.pageviews for slot in before),
        int(within[1]) + sum(slot.visits for slot in before),
    )


def _counted(rollup: Rollup, ranged: str = "", *, tail: bool) -> Subquery:
    """Return keys and sums of a site, many rows a key: from the rollup, and with a tail from the
    events that are not in it yet; the key `ranged` lies between `first` and `last`.
    """
    names = [*rollup.keys, *SUMS]
    conditions = [rollup.table.c.site_id == _SITE]
    tail_conditions = [web_events.c.seq > _FOLDED, web_events.c.site_id == _SITE]
    if ranged:
        conditions.append(rollup.table.c[ranged].between(_FIRST, _LAST))
        tail_conditions.append(rollup.keys[ranged].between(_FIRST, _LAST))
    folded = select(*(rollup.table.c[name] for name in names)).where(*conditions)
    if not tail:
        return folded.subquery("counted")
    return union_all(folded, rollup.rows(*tail_conditions)).subquery("counted")


def _of_the_site(*, search: bool) -> list[ColumnElement[bool]]:
    """Return what pages are asked for by."""
    mine = pages.c.site_id == _SITE
    return [mine, contains(pages.c.search_text, _SEARCH)] if search else [mine]


def _sums(counted: Subquery) -> list[ColumnElement[Any]]:
    return [func.sum(counted.c[name]) for name in SUMS]


def _named(sums: Iterable[ColumnElement[Any]]) -> list[tuple[str, ColumnElement[Any]]]:
    return list(zip(SUMS, sums, strict=True))


def ranked_by(rank_by: Ranking) -> str:
    """Return the name of the sum that pages are ranked by."""
    return "engaged_us" if rank_by == "engaged_s" else rank_by
