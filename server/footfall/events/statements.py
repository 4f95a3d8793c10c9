"""The statements that engines share, built from the tables, and the shapes of their rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Select,
    Table,
    and_,
    false,
    func,
    literal_column,
    or_,
    select,
)

from footfall.analytics.model import (
    Aggregation,
    ApiRequestField,
    ApiRequestRow,
    LiveEvent,
    Series,
    TimeseriesQuery,
)
from footfall.events.dialect import exact_mean, exact_quantile, exact_sum, int_divide
from footfall.events.tables import (
    TABLES,
    api_requests,
    batch_columns,
    pages,
    removals,
    web_events,
)
from footfall.events.visits import StoredView
from footfall.ingest.model import WebEventKind

_INT32_MAX: Final = 2**31 - 1

Row = tuple[Any, ...]


def timeseries(query: TimeseriesQuery) -> Select[Any]:
    """Return (group, bucket, value) rows by bucket; buckets count from the range's start.

    Fast because it reads the columns that it names only, and of those the row groups whose times
    are in the range.
    """
    table = api_requests.c
    group: ColumnElement[Any] = literal_column("0")
    bucket: ColumnElement[Any] = literal_column("0")
    grouping: list[ColumnElement[Any]] = []
    if query.group is not None:
        group = table[query.group.value]
        grouping.append(group)
    if query.granularity is not None:
        # The range starts on a bucket's edge, so the quotient is the bucket's index and never
        # negative, where engines round differently.
        bucket = int_divide(
            table.ts_us - query.start_s * 1_000_000, query.granularity.seconds * 1_000_000
        ).label("bucket")
        grouping.append(bucket)
    statement = select(
        group.label("grp"), bucket.label("bucket"), _aggregate(query.aggregation).label("val")
    ).where(
        table.application_id == query.application_id,
        table.ts_us >= query.start_s * 1_000_000,
        table.ts_us < query.end_s * 1_000_000,
        *(_matches(field, values) for field, values in query.include),
    )
    if query.granularity is not None:
        # The engine orders integers on all cores; only the few keys are left to be sorted here.
        statement = statement.order_by(bucket)
    if grouping:
        return statement.group_by(*(element.self_group() for element in grouping))
    # Without groups there is one row even over nothing, with a value that engines disagree about.
    return statement.having(func.count() > 0)


def series(query: TimeseriesQuery, rows: Iterable[Row]) -> list[Series]:
    """Return the rows of `timeseries` as series by key, points by time."""
    step_s = query.granularity.seconds if query.granularity else 0
    real = query.aggregation.function in {"mean", "percentile"}
    number = float if real else int
    points: defaultdict[Any, tuple[list[int], list[Any]]] = defaultdict(lambda: ([], []))
    for group, bucket, value in rows:
        times, values = points[group]
        times.append(query.start_s + bucket * step_s)
        values.append(value)
    found = [
        Series(
            query.application_id if query.group is None else _text(group),
            times,
            list(map(number, values)),
        )
        for group, (times, values) in points.items()
    ]
    return sorted(found, key=attrgetter("key"))


def _aggregate(aggregation: Aggregation) -> ColumnElement[Any]:
    value = api_requests.c.response_us
    match aggregation.function:
        case "count":
            return func.count()
        case "mean":
            return exact_mean(value)
        case "min":
            return func.min(value)
        case "max":
            return func.max(value)
        case "sum":
            return exact_sum(value)
        case "percentile":
            if aggregation.percentile is None:
                raise ValueError("a percentile aggregation names its percentile")
            return exact_quantile(value, aggregation.percentile)


def _matches(field: ApiRequestField, values: Sequence[str]) -> ColumnElement[bool]:
    column = api_requests.c[field.value]
    if field is not ApiRequestField.STATUS_CODE:
        return column.in_(values)
    # Compared as numbers, since that is how they are stored; a text that is not how a status code
    # is written matches none.
    codes = [int(value) for value in values if _is_status_code(value)]
    alternatives: list[ColumnElement[bool]] = []
    if codes:
        alternatives.append(column.in_(codes))
    if "" in values:
        alternatives.append(column.is_(None))
    return or_(*alternatives) if alternatives else false()


def _is_status_code(text: str) -> bool:
    digits = text.removeprefix("-")
    return (
        digits.isascii()
        and digits.isdigit()
        and len(digits) <= 10
        and str(int(text)) == text
        and abs(int(text)) <= _INT32_MAX
    )


def _text(value: str | int | None) -> str:
    return "" if value is None else str(value)


_API_REQUEST_COLUMNS: Final = (api_requests.c.seq, *batch_columns(api_requests))


def api_request_page(
    application_id: str, start_us: int, end_us: int, after_seq: int, through_seq: int, rows: int
) -> Select[Any]:
    """Return rows of an application by sequence number; see EventReader.api_requests.

    Fast on any page, because rows are stored in the order of `seq` and whole blocks before
    `after_seq` are skipped.
    """
    table = api_requests.c
    return (
        select(*_API_REQUEST_COLUMNS)
        .where(
            table.application_id == application_id,
            table.ts_us >= start_us,
            table.ts_us < end_us,
            table.seq > after_seq,
            table.seq <= through_seq,
        )
        .order_by(table.seq)
        .limit(rows)
    )


def api_request_row(row: Row) -> ApiRequestRow:
    """Return a row of `api_request_page` as a value."""
    return ApiRequestRow(**dict(zip((c.name for c in _API_REQUEST_COLUMNS), row, strict=True)))


_LIVE_KINDS: Final = (WebEventKind.PAGEVIEW.value, WebEventKind.HEARTBEAT.value)


def _counted(*kinds: int) -> ColumnElement[bool]:
    return and_(web_events.c.excluded == 0, web_events.c.kind.in_(kinds))


def active_sites(since_us: int, through_seq: int) -> Select[Any]:
    """Return the sites of LiveHistory.active_sites."""
    table = web_events.c
    return (
        select(table.site_id)
        .where(
            table.ts_us >= since_us,
            table.received_us >= since_us,
            table.seq <= through_seq,
            _counted(*_LIVE_KINDS),
        )
        .distinct()
        .order_by(table.site_id)
    )


def recent_events(site_id: str, since_us: int, through_seq: int) -> Select[Any]:
    """Return the events of LiveHistory.recent_events, with what is known of their pages.

    A time that was ahead of its arrival counts as its arrival, as it did when it arrived.
    """
    event, page = web_events.c, pages.c
    return (
        select(
            event.visitor_id,
            func.least(event.ts_us, event.received_us),
            event.local_day,
            event.kind,
            func.coalesce(page.host, ""),
            func.coalesce(page.path, ""),
            func.coalesce(page.title, ""),
            func.coalesce(page.og_image, ""),
            event.medium,
            event.source,
            event.source_detail,
            event.country,
            event.city,
            event.device,
        )
        .select_from(
            web_events.outerjoin(
                pages, and_(page.page_id == event.page_id, page.site_id == event.site_id)
            )
        )
        .where(
            event.site_id == site_id,
            event.ts_us >= since_us,
            event.received_us >= since_us,
            event.seq <= through_seq,
            _counted(*_LIVE_KINDS),
        )
        .order_by(event.seq)
    )


def live_event(row: Row) -> LiveEvent:
    """Return a row of `recent_events` as a value."""
    visitor_id, ts_us, local_day, kind, *texts = row
    return LiveEvent(
        visitor_id, ts_us // 1000, local_day, kind == WebEventKind.PAGEVIEW.value, *texts
    )


def day_pageviews(site_id: str, local_day: int, through_seq: int) -> Select[Any]:
    """Return (page_id, page views) of a site's local day, from the events themselves."""
    table = web_events.c
    return (
        select(table.page_id, func.count().label("pageviews"))
        .where(
            table.site_id == site_id,
            table.local_day == local_day,
            table.seq <= through_seq,
            _counted(WebEventKind.PAGEVIEW.value),
        )
        .group_by(table.page_id)
    )


def with_paths(site_id: str, counts: Select[Any]) -> Select[Any]:
    """Return (host, path, page views) for the (page_id, pageviews) rows of `counts`."""
    counted = counts.subquery("counted")
    return (
        select(pages.c.host, pages.c.path, counted.c.pageviews)
        .select_from(counted.join(pages, pages.c.page_id == counted.c.page_id))
        .where(pages.c.site_id == site_id)
        .order_by(pages.c.host, pages.c.path)
    )


def day_visitors(site_id: str, local_day: int, through_seq: int) -> Select[Any]:
    """Return the visitors of LiveHistory.day_visitors."""
    table = web_events.c
    return (
        select(table.visitor_id)
        .where(
            table.site_id == site_id,
            table.local_day == local_day,
            table.seq <= through_seq,
            _counted(WebEventKind.PAGEVIEW.value),
        )
        .distinct()
        .order_by(table.visitor_id)
    )


#: What a Page is made of, after its id.
PAGE_COLUMNS: Final = tuple(
    column for column in pages.columns if column.name not in {"page_id", "search_text"}
)


def last_seq() -> Select[Any]:
    """Return the highest sequence number that was ever used; 0 for an empty store."""
    columns = [*(table.c.seq for table in TABLES.values()), removals.c.last_seq]
    highest = [func.coalesce(select(func.max(column)).scalar_subquery(), 0) for column in columns]
    return select(func.greatest(*highest))


def keys_since(table: Table, since_us: int) -> Select[Any]:
    """Return the dedup keys of events received since then, in commit order."""
    rows = table.c
    return (
        select(rows.key_hi, rows.key_lo, rows.received_us)
        .where(rows.received_us >= since_us, or_(rows.key_hi != 0, rows.key_lo != 0))
        .order_by(rows.seq)
    )


def latest_views(since_us: int) -> Select[Any]:
    """Return (site, visitor, time) of the last counted page view of all who have any since."""
    view = web_events.c
    return (
        select(view.site_id, view.visitor_id, func.max(view.ts_us))
        .where(view.ts_us >= since_us, _counted(WebEventKind.PAGEVIEW.value))
        .group_by(view.site_id, view.visitor_id)
    )


def views_between(low_us: int, high_us: int) -> Select[Any]:
    """Return the counted page views of a time, both ends inclusive, as StoredView has them."""
    view = web_events.c
    return select(*(view[name] for name in StoredView._fields)).where(
        view.ts_us.between(low_us, high_us), _counted(WebEventKind.PAGEVIEW.value)
    )
