"""The documentation of all metrics, out of the catalogue."""

from __future__ import annotations

from footfall.analytics.metrics.catalogue import METRICS
from footfall.analytics.metrics.costs import NAMED_MAX
from footfall.analytics.metrics.plans import Column, Form, Kind, Metric, Section
from footfall.analytics.metrics.shapes import ROWS_MAX, UNKNOWN
from footfall.analytics.metrics.validation import (
    PAGE_SIZE_DEFAULT,
    PAGE_SIZE_MAX,
    SERIES_DAYS_MAX,
)

_HEAD = f"""\
# Metrics of a workspace

`GET /v1/analytics/{{metric}}` (or `/analytics/{{metric}}`) with `time_start`, `time_end` and a
workspace's key in `X-API-Key`; `footfall.v1.MetricsService/GetMetric` for stubs.
`GET /v1/analytics` lists what follows.

This page is made of the catalogue: `python -m footfall.analytics.metrics > docs/metrics.md`.

## How they count

- **Range.** Both ends are included, to the microsecond; a time needs an offset. A series may span
  {SERIES_DAYS_MAX:,} days.
- **Buckets** are those of UTC: hours (`2026-01-15T09:00:00Z`) for ranges of up to 72 hours, days
  (`2026-01-15`) for longer ones. Every bucket that the range touches is there, with 0 where nothing
  happened.
- **No data.** A table, a series, a page or a mean of nothing is
  `{{"type":"empty","value":{{}}}}`; any other number is 0.
- **Updates.** A later event on the same run, document or trigger updates it. A run counts once, at
  its start; a document once, at its upload; both in their latest state.
- **Names.** Rows are named by the ids and names that events bring. Events that name no user,
  workflow, node, … share the row `{UNKNOWN}`, so that the rows of a table add up to the whole.
  Distinct users leave them out.
- **Order.** Tables are sorted by their last numeric column, descending, then by name. They end
  after {ROWS_MAX:,} rows, and say so in `warnings`.
- **Pages** begin with 1; `page_size` is {PAGE_SIZE_DEFAULT} by default and {PAGE_SIZE_MAX} at most.
  `total` and the items are of one moment.

## What costs are

- **Price list.** Costs are estimates from the public list of the package `genai-prices`, by
  provider, model and the operation's own time, with the tiers that some prices have by the size of
  the input. The answer names the version of the list that is in use: the field
  `price_list_version`, over REST the header `X-Price-List-Version`.
- **When.** An operation is priced when it comes in, to the picodollar, and keeps that price. One
  that the list had no price for then is priced when it is asked about: a newer list fills the gap.
- **Provider.** An operation without one is looked up by its model. One whose provider is not in the
  list has no price: what another provider charges is not what this one does.
- **Tokens.** `input_tokens` is all of the input, what was read from a cache or written to it
  included; `output_tokens` is all of the output, reasoning included. Cache reads, cache writes and
  reasoning have prices of their own where the list has them, and otherwise that of the input or
  output. Where more is reported for caches than for the input, nothing of the input is left.
- **Given costs.** A cost that the client gave wins over the list.
- **Cached responses** count as operations and tokens, and cost nothing.
- **No price.** A model that the list does not have is never 0: its row has the cost `null`, totals
  leave it out, and `warnings` names it (the first {NAMED_MAX} of them). Where the cost of some of a
  row's operations is known, the row shows that.
- **Exactness.** Nothing is rounded on the way from the operations' prices to the sum; an answer
  shows the nearest double.
"""


def reference() -> str:
    """Return the text of docs/metrics.md."""
    parts = [_HEAD]
    for section in Section:
        parts += [
            f"## {section.value} metrics\n",
            "| metric | answer | what it is |",
            "|---|---|---|",
        ]
        parts += [_row(metric) for metric in METRICS.values() if metric.section is section]
        parts.append("")
    return "\n".join(parts)


def _row(metric: Metric) -> str:
    meaning = f" {metric.meaning}" if metric.meaning else ""
    return f"| `{metric.name}` | {_answer(metric)} | {metric.description}.{meaning} |"


def _answer(metric: Metric) -> str:
    kind = metric.form.value
    if metric.form is Form.SCALAR:
        return f"{kind}{_units(metric.columns[0])}"
    shown = ", ".join(f"{column.heading}{_units(column)}" for column in metric.columns)
    return f"{kind} {{{shown}}}" if metric.form is Form.SERIES else f"{kind}: {shown}"


def _units(column: Column) -> str:
    affixes = [f"`{text}`" for text in (column.prefix, column.suffix) if text]
    if not affixes and column.kind is Kind.SECONDS:
        affixes = ["seconds"]
    return f" ({', '.join(affixes)})" if affixes else ""
