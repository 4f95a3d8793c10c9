"""docs/queries.md, out of the catalogue."""

from __future__ import annotations

from footfall.analytics.queries.catalogue import DEFAULT_LIMIT, FILTERS, LIMIT_MAX, TYPES
from footfall.analytics.queries.parsing import (
    DAYS_MAX,
    FILTERS_MAX,
    HOURLY_DAYS_MAX,
    PARAMETERS_MAX,
    PRESETS,
    QUERIES_MAX,
    VALUES_MAX,
)
from footfall.analytics.queries.service import ROWS_MAX

_PRESETS = ", ".join(f"`{name}`" for name in PRESETS)

_INTRODUCTION = f"""\
# Batch queries about a website

`POST /v1/query?website_id=…&timezone=…` with a query, or an array of up to {QUERIES_MAX}, as its
JSON body; `footfall.v1.QueryService/RunQueries` for stubs. `GET
/v1/query/types?include_meta=true` lists what follows.

This page is made of the catalogue: `python -m footfall.analytics.queries > docs/queries.md`.

## A query

```json
{{
  "id": "dashboard",
  "parameters": [
    "summary",
    {{"name": "pages", "id": "p", "startDate": "2026-01-05", "endDate": "2026-01-11"}}
  ],
  "preset": "last_30d",
  "granularity": "daily",
  "filters": [{{"field": "country", "op": "in", "value": ["CH", "DE"]}}],
  "limit": 20, "page": 1, "sortBy": "visitors", "sortOrder": "desc"
}}
```

- **Names** may be in camel case or in snake case.
- **Days** are local days in the query's `timezone`, else the call's, else the website's; both
  ends are included, and a range has at most {DAYS_MAX:,} days. A parameter's own dates come
  first, then the query's, then its `preset`, then those of the query string.
- **Presets**: {_PRESETS}. Today is in all `last_*d`; weeks
  begin on Monday.
- **Granularity** is `daily` (`day`) or `hourly` (`hour`, for at most {HOURLY_DAYS_MAX} days).
- **Rows** come in pages of `limit`, {DEFAULT_LIMIT} by default and {LIMIT_MAX:,} at most. A
  series and a single row are not cut unless the query names a limit. `sortBy` takes a field of
  the rows; ties stay in the parameter's own order: by number, descending, then by name.
- An answer has at most {ROWS_MAX:,} rows over all its queries; beyond, the call is refused.
- A query has at most {PARAMETERS_MAX} parameters and {FILTERS_MAX} filters. All faults of a query
  are told at once, in `details`. Of a batch, a faulty query fails alone; of a query, a parameter
  that does not exist or cannot be filtered or sorted as asked fails alone.
- Each parameter has a grouping of its own, so that `groupBy` is refused; groups of your own are
  asked for with [custom queries](custom-sql.md).

## What is counted

- **Page views** of people: bots and referrer spam are left out, as everywhere.
- **Visitors** are the distinct visitor ids with a page view.
- **Sessions** are visits: a visitor's page views until 30 minutes pass without one. A session
  counts, whole, in the day, hour or range in which it begins; one that began before the range
  does not count, and one that goes on after its end is followed for 24 hours. Heartbeats and
  custom events neither begin nor prolong one.
- **bounce_rate** is the share of sessions with one page view, in percent to two decimals.
- **avg_session_duration** is the mean, in seconds to two decimals, of last minus first page view;
  bounces are 0.
- **pages_per_session** is page views divided by sessions, to two decimals; 0 without sessions.
- **total_events** of a summary are page views and custom events; heartbeats are not events of
  their own.
- **Percentages** have two decimals. Those of page views are shares of all page views of the range
  under the filters, so that they add up to 100 only where every page view has a row.
- **Series** have a row for each day, or for each hour that the clock shows: 23 on the day on
  which clocks are put forward, and on the day on which they are put back the hour that is shown
  twice is one row of two hours.
- **Active users** are those of the live window (5 minutes by default); each has one session.

## Filters

`{{field, op, value}}`; all must hold. A filter chooses page views (and custom events) by what
they have themselves, and the answer is what it would be if the website had no others: sessions
are made of the chosen page views alone.

Operators: `eq`, `ne`, `in`, `not_in` (`notIn`) with up to {VALUES_MAX:,} values; `contains`,
`not_contains`, `starts_with`; `like`, where % is any text and _ any character; `gt` and `lt`, by
the order of UTF-8. Letters are compared as they are.

| field | a missing value is |
|---|---|
"""


def reference() -> str:
    """Return the text of docs/queries.md."""
    fields = "".join(
        f"| `{used.name}` | {f'`{used.missing}`' if used.missing else 'the empty text'} |\n"
        for used in FILTERS.values()
    )
    return _INTRODUCTION + fields + "\n## What can be asked for\n" + "".join(_types())


def _types() -> list[str]:
    parts = []
    category = ""
    for kind in TYPES.values():
        if kind.category != category:
            category = kind.category
            parts.append(f"\n### {category}\n")
        aliases = "".join(f", `{alias}`" for alias in kind.aliases)
        notes = [] if kind.filters else ["It cannot be filtered."]
        if kind.field is not None and kind.missing is not None:
            notes.append(f"Where nothing is known, the name is `{kind.missing}`.")
        elif kind.field is not None:
            notes.append("Events without a value have no row.")
        parts.append(f"\n**`{kind.name}`**{aliases}: {' '.join([kind.description, *notes])}\n\n")
        parts.append("| field | type | unit | |\n|---|---|---|---|\n")
        parts += [
            f"| `{column.name}` | {column.type} | {column.unit} | {column.description} |\n"
            for column in kind.columns
        ]
    return parts
