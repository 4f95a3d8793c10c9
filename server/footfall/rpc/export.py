"""ExportService."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import orjson
from google.api.httpbody_pb2 import HttpBody

from footfall.analytics.export import ExportRequest, ExportService, cursor_of, parse_format
from footfall.analytics.model import ApiRequestRow
from footfall.analytics.web_export import WebExportRequest, WebExportService
from footfall.rpc.call import Call
from footfall.rpc.web_export import (
    CONTENT_TYPES,
    MESSAGE_BYTES_TARGET,
    parse_web_format,
    web_document,
    web_event_records,
    web_parts,
)
from footfall.v1 import export_pb2 as pb

_COLUMNS = (
    "cursor", "event_id", "timestamp", "consumer_id", "method", "url", "function", "response_us",
    "status_code", "data",
)  # fmt: skip


class ExportServicer:
    """Raw events, typed and as documents."""

    def __init__(self, export: ExportService, web: WebExportService) -> None:
        self._export = export
        self._web = web

    async def ExportApiRequests(
        self, request: pb.ExportApiRequestsRequest, call: Call
    ) -> AsyncIterator[pb.ExportApiRequestsResponse]:
        wanted = ExportRequest(request.start, request.end, request.cursor)
        async for rows in self._export.pages(call.tenant.id, wanted):
            for part in _parts(rows):
                yield pb.ExportApiRequestsResponse(records=[_record(row) for row in part])

    async def DownloadApiRequests(
        self, request: pb.DownloadApiRequestsRequest, call: Call
    ) -> AsyncIterator[HttpBody]:
        wanted = ExportRequest(request.range_start, request.range_end, request.cursor)
        if parse_format(request.format) == "csv":
            content_type, head, encode = "text/csv; charset=utf-8", _csv_head(), _csv
        else:
            content_type, head, encode = "application/x-ndjson", b"", _ndjson
        async for chunk in _chunks(self._export.pages(call.tenant.id, wanted), head, encode):
            yield HttpBody(content_type=content_type, data=chunk)

    async def ExportWebEvents(
        self, request: pb.ExportWebEventsRequest, call: Call
    ) -> AsyncIterator[pb.ExportWebEventsResponse]:
        wanted = WebExportRequest(request.start, request.end, request.cursor)
        async for rows in self._web.pages(call.tenant, wanted):
            for part in web_parts(rows):
                yield pb.ExportWebEventsResponse(records=web_event_records(part))

    async def DownloadWebEvents(
        self, request: pb.DownloadWebEventsRequest, call: Call
    ) -> AsyncIterator[HttpBody]:
        wanted = WebExportRequest(request.start, request.end, request.cursor)
        document = parse_web_format(request.format, call.metadata.get("accept", ""))
        content_type = CONTENT_TYPES[document]
        named = ("content-disposition", f'attachment; filename="events.{document}"')
        async for chunk in web_document(self._web.pages(call.tenant, wanted), document):
            # Not before there is a document: a failure is no file.
            if named not in call.headers:
                call.headers.append(named)
            yield HttpBody(content_type=content_type, data=chunk)


async def _chunks(
    pages: AsyncIterator[Sequence[ApiRequestRow]],
    head: bytes,
    encode: Callable[[Sequence[ApiRequestRow]], bytes],
) -> AsyncIterator[bytes]:
    """Yield the document in chunks; one at least, which says what type an empty document has."""
    empty = True
    async for rows in pages:
        for part in _parts(rows):
            yield head + encode(part)
            head, empty = b"", False
    if empty:
        yield head


def _parts(rows: Sequence[ApiRequestRow]) -> Iterator[Sequence[ApiRequestRow]]:
    """Yield the rows in slices that make messages of about MESSAGE_BYTES_TARGET at most."""
    begin = size = 0
    for index, row in enumerate(rows):
        size += 128 + 4 * (len(row.url) + len(row.data) + len(row.consumer_id) + len(row.function))
        if size > MESSAGE_BYTES_TARGET:
            if index > begin:
                yield rows[begin:index]
            begin, size = index, 0
    yield rows[begin:]


def _record(row: ApiRequestRow) -> pb.ApiRequestRecord:
    return pb.ApiRequestRecord(
        cursor=cursor_of(row),
        event_id=row.event_id,
        timestamp=row.ts_us / 1_000_000,
        consumer_id=row.consumer_id,
        method=row.method,
        url=row.url,
        function=row.function,
        response_us=row.response_us,
        status_code=row.status_code,
        data=orjson.loads(row.data) if row.data else None,
    )


def _ndjson(rows: Sequence[ApiRequestRow]) -> bytes:
    """Return one JSON object a line, for each row; a missing status or data is null."""
    lines = [
        orjson.dumps(
            {
                "cursor": cursor_of(row),
                "event_id": row.event_id,
                "timestamp": row.ts_us / 1_000_000,
                "consumer_id": row.consumer_id,
                "method": row.method,
                "url": row.url,
                "function": row.function,
                "response_us": row.response_us,
                "status_code": row.status_code,
                "data": orjson.Fragment(row.data) if row.data else None,
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        for row in rows
    ]
    return b"".join(lines)


def _csv_head() -> bytes:
    return (",".join(_COLUMNS) + "\r\n").encode()


def _csv(rows: Sequence[ApiRequestRow]) -> bytes:
    """Return the rows as RFC 4180 has them: CRLF, and quotes where a field needs them. Fields are
    what was sent, to the letter.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(
        (
            cursor_of(row),
            row.event_id,
            f"{row.ts_us / 1_000_000:.6f}",
            row.consumer_id,
            row.method,
            row.url,
            row.function,
            row.response_us,
            row.status_code,
            row.data,
        )
        for row in rows
    )
    return text.getvalue().encode()
