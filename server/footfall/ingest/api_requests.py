"""API requests: from raw columns to a batch of good events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from footfall.ingest.dedup import dedup_keys
from footfall.ingest.model import EventBatch, EventTable, RawColumns, RejectedEvent
from footfall.ingest.validate import integer_column, pairs_column, text_column, time_column
from footfall.ingest.verdicts import judge_sizes, open_verdicts

#: The fields of an event as it is sent; `columns_of_documents` takes them.
API_REQUEST_FIELDS: Sequence[str] = (
    "event_id",
    "timestamp",
    "consumer_id",
    "method",
    "url",
    "function",
    "response_us",
    "status_code",
    "data",
)

RESPONSE_US_MAX = 2**53 - 1
STATUS_CODE_MAX = 999


def api_request_batch(
    application_id: str, raw: RawColumns, idempotency_key: str | None, now_us: int
) -> tuple[EventBatch, Sequence[RejectedEvent]]:
    """Return the good events and the bad ones.

    Raises InvalidEventsError if no event is good, TooLargeError if there are too many.
    """
    verdicts = open_verdicts(raw)
    columns: dict[str, list[Any]] = {
        "event_id": text_column(raw, "event_id", 128, verdicts),
        "ts_us": time_column(raw, "timestamp", verdicts, now_us),
        "consumer_id": text_column(raw, "consumer_id", 256, verdicts),
        "method": text_column(raw, "method", 32, verdicts),
        "url": text_column(raw, "url", 8192, verdicts),
        "function": text_column(raw, "function", 256, verdicts),
        "status_code": integer_column(raw, "status_code", STATUS_CODE_MAX, verdicts),
        "response_us": integer_column(raw, "response_us", RESPONSE_US_MAX, verdicts, required=True),
        "data": pairs_column(raw, "data", verdicts),
    }
    judge_sizes(raw, API_REQUEST_FIELDS, verdicts)
    places: Sequence[int] = range(verdicts.count)
    if verdicts:
        places = verdicts.good_indices()
        columns = {name: [column[at] for at in places] for name, column in columns.items()}
    batch = EventBatch(
        table=EventTable.API_REQUESTS,
        tenant_id=application_id,
        received_us=now_us,
        columns=columns,
        dedup_keys=dedup_keys(application_id, columns["event_id"], places, idempotency_key),
        text_size=verdicts.text_size,
    )
    return batch, verdicts.rejected()
