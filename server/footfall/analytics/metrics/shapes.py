"""From the store's rows to results: units, zero-filled buckets, sorted tables, pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from footfall.analytics.metrics.answers import (
    Bucket,
    Cell,
    Elapsed,
    Empty,
    Instant,
    Page,
    Scalar,
    Series,
    Table,
)
from footfall.analytics.metrics.costs import Ledger
from footfall.analytics.metrics.plans import Column, Kind
from footfall.analytics.metrics.pricing import PICODOLLARS
from footfall.analytics.metrics.questions import Calls, Tally
from footfall.analytics.metrics.validation import Asked
from footfall.durations import DAY_US

#: What rows are called whose events name no user, workflow, node, … of theirs.
UNKNOWN: Final = "(unknown)"
#: The most rows of a table; the rest is left out with a warning.
ROWS_MAX: Final = 10_000

#: From what the store returns to what is shown, by the kind of column.
_SHOWN: Final[Mapping[Kind, Callable[[Any], Any]]] = {
    Kind.COUNT: int,
    Kind.SECONDS: lambda us: round(us / 1_000_000, 3),
    Kind.RATIO: lambda ratio: round(ratio, 2),
    Kind.DOLLARS: float,
    Kind.TIME: lambda us: Instant(int(us)),
}

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # UTC, as all times here


def scalar(column: Column, value: float | None) -> Scalar | Empty:
    """Return a number as it is shown; there is none of nothing."""
    return Empty() if value is None else Scalar(column, _SHOWN[column.kind](value))


def dollars(picodollars: int, per: int = 1) -> float:
    """Return money, or its share of each of some, as the nearest double."""
    return picodollars / (PICODOLLARS * per)


def series(asked: Asked, tallies: Iterable[Tally]) -> Series | Empty:
    """Return a bucket for each hour or day that the range touches."""
    columns = asked.metric.columns
    found = {
        tally.bucket_us: tally.values
        for tally in tallies
        if any(value is not None for value in tally.values)
    }
    if not found:
        return Empty()
    step_us = asked.bucket_us
    nothing: tuple[None, ...] = (None,) * len(columns)
    shown = [_SHOWN[column.kind] for column in columns]
    buckets = [
        Bucket(
            at_us,
            _bucket_name(at_us, step_us),
            tuple(
                show(value or 0)
                for show, value in zip(shown, found.get(at_us, nothing), strict=True)
            ),
        )
        for at_us in range(asked.start_us // step_us * step_us, asked.end_us + 1, step_us)
    ]
    return Series(columns, step_us, buckets)


def _bucket_name(at_us: int, step_us: int) -> str:
    at = _EPOCH + timedelta(microseconds=at_us)
    return f"{at.date()}" if step_us == DAY_US else f"{at.date()}T{at:%H}:00:00Z"


def table(
    columns: tuple[Column, ...], rows: Iterable[tuple[Cell, ...]]
) -> tuple[Table | Empty, list[str]]:
    """Return rows by their last numeric column, descending, then by name, and warnings."""
    last = max(index for index, column in enumerate(columns) if column.kind.numeric)

    def rank(row: tuple[Cell, ...]) -> tuple[float, Cell]:
        value = row[last]
        # What is not known comes last.
        return (-value if isinstance(value, (int, float)) else float("inf")), row[0]

    ranked = sorted(rows, key=rank)
    if not ranked:
        return Empty(), []
    warnings = []
    if len(ranked) > ROWS_MAX:
        warnings.append(f"The first {ROWS_MAX} of {len(ranked)} rows are shown.")
    return Table(columns, ranked[:ROWS_MAX]), warnings


def tally_rows(columns: Sequence[Column], tallies: Iterable[Tally]) -> list[tuple[Cell, ...]]:
    """Return the rows of a table of measures."""
    shown = [_SHOWN[column.kind] for column in columns[1:]]
    return [
        (
            tally.key or UNKNOWN,
            *[
                None if value is None else show(value)
                for show, value in zip(shown, tally.values, strict=True)
            ],
        )
        for tally in tallies
    ]


def cost_rows(ledger: Ledger) -> list[tuple[Cell, ...]]:
    """Return the rows of a table of tokens and costs."""
    return [
        (
            key or UNKNOWN,
            account.tokens,
            None if account.shown_pd is None else dollars(account.shown_pd),
        )
        for key, account in ledger.accounts.items()
    ]


def page(asked: Asked, calls: Calls) -> Page | Empty:
    """Return a page of API calls."""
    if not calls.total:
        return Empty()
    items: list[tuple[Cell, ...]] = [
        (
            call.endpoint,
            call.method,
            call.status,
            None if call.duration_us is None else Elapsed(call.duration_us),
        )
        for call in calls.rows
    ]
    pages = -(-calls.total // asked.page_size)
    return Page(asked.metric.columns, items, calls.total, pages, asked.page_size, asked.page)
