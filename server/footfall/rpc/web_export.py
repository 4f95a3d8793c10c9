"""The documents of an export of web events: NDJSON, CSV and Parquet, made as the rows come."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Final, Literal, Protocol

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from footfall.analytics.export import cursor_of
from footfall.analytics.model import WebEventRow
from footfall.analytics.parameters import NDJSON_TYPES, document_format
from footfall.ingest.model import Exclusion, WebEventKind
from footfall.v1 import export_pb2 as pb

Format = Literal["ndjson", "csv", "parquet"]

CONTENT_TYPES: Final[dict[Format, str]] = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
#: What an Accept header may ask for.
_MEDIA_TYPES: Final[dict[Format, tuple[str, ...]]] = {
    "ndjson": NDJSON_TYPES,
    "csv": ("text/csv",),
    "parquet": ("application/vnd.apache.parquet", "application/x-parquet"),
}

#: Clients refuse messages over 4 MiB unless told otherwise; longer parts of a document are cut.
MESSAGE_BYTES_TARGET: Final = 1024 * 1024
#: A row group of a Parquet file ends at this many rows or characters, whichever comes first.
GROUP_ROWS: Final = 20_000
GROUP_CHARACTERS: Final = 16 * 1024 * 1024

_KINDS: Final = {kind.value: kind.name.lower() for kind in WebEventKind}
_EXCLUDED: Final = {
    kind.value: "" if kind is Exclusion.NONE else kind.name.lower() for kind in Exclusion
}

_FIELDS: Final = (
    "cursor", "event_id", "timestamp", "type", "visitor_id", "host", "path", "title", "author",
    "pubdate", "og_image", "referrer", "referrer_host", "medium", "source", "source_detail",
    "utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content", "browser", "os",
    "device", "country", "city", "language", "timezone", "screen", "name", "properties",
    "engaged_seconds", "excluded",
)  # fmt: skip
_SCHEMA: Final = pa.schema(
    [
        pa.field(
            name,
            {"timestamp": pa.timestamp("us", "UTC"), "engaged_seconds": pa.float64()}.get(
                name, pa.string()
            ),
            nullable=False,
        )
        for name in _FIELDS
    ]
)


def parse_web_format(text: str, accept: str = "") -> Format:
    """Return the format of a download, NDJSON unless it is asked otherwise; see document_format."""
    return document_format(text, accept, _MEDIA_TYPES)


def web_event_records(rows: Sequence[WebEventRow]) -> list[pb.WebEventRecord]:
    """Return rows as messages."""
    return [
        pb.WebEventRecord(**dict(zip(_FIELDS, _values(row, row.ts_us / 1_000_000), strict=True)))
        for row in rows
    ]


class Encoder(Protocol):
    """Makes a document of pages of rows."""

    def encode(self, rows: Sequence[WebEventRow]) -> bytes:
        """Return what comes next in the document; it may be nothing yet."""

    def end(self) -> bytes:
        """Return what is left."""


async def web_document(
    pages: AsyncIterator[Sequence[WebEventRow]], wanted: Format
) -> AsyncIterator[bytes]:
    """Yield a document in chunks; one at least, which says what type an empty document has.

    Rows are encoded in a thread, since a page takes longer than other calls should wait. What is
    held in memory is a page, or a row group.
    """
    encoder: Encoder = _ENCODERS[wanted]()
    empty = True
    async for rows in pages:
        for chunk in _cut(await asyncio.to_thread(encoder.encode, rows)):
            yield chunk
            empty = False
    rest = await asyncio.to_thread(encoder.end)
    for chunk in _cut(rest):
        yield chunk
        empty = False
    if empty:
        yield b""


def web_parts(rows: Sequence[WebEventRow]) -> Iterator[Sequence[WebEventRow]]:
    """Yield the rows in slices that make messages of about MESSAGE_BYTES_TARGET at most."""
    begin = size = 0
    for index, row in enumerate(rows):
        size += 256 + 4 * _characters(row)
        if size > MESSAGE_BYTES_TARGET:
            if index > begin:
                yield rows[begin:index]
            begin, size = index, 256 + 4 * _characters(row)
    yield rows[begin:]


class NdjsonEncoder:
    """One JSON object a line; properties are an object, or null."""

    def encode(self, rows: Sequence[WebEventRow]) -> bytes:
        """See Encoder.encode."""
        lines = []
        for row in rows:
            record = dict(zip(_FIELDS, _values(row, row.ts_us / 1_000_000), strict=True))
            record["properties"] = orjson.Fragment(row.properties) if row.properties else None
            lines.append(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        return b"".join(lines)

    def end(self) -> bytes:
        """See Encoder.end."""
        return b""


class CsvEncoder:
    """Rows as RFC 4180 has them, under a line of names. Fields are what was sent, to the letter."""

    def __init__(self) -> None:
        self._head = ",".join(_FIELDS) + "\r\n"

    def encode(self, rows: Sequence[WebEventRow]) -> bytes:
        """See Encoder.encode."""
        text = io.StringIO(newline="")
        text.write(self._head)
        self._head = ""
        csv.writer(text, lineterminator="\r\n").writerows(
            _values(row, f"{row.ts_us / 1_000_000:.6f}") for row in rows
        )
        return text.getvalue().encode()

    def end(self) -> bytes:
        """See Encoder.end."""
        head, self._head = self._head, ""
        return head.encode()


class ParquetEncoder:
    """A Parquet file whose row groups leave as they are written; only its footer waits."""

    def __init__(self) -> None:
        self._sink = _Sink()
        self._writer = pq.ParquetWriter(
            pa.PythonFile(self._sink, mode="w"),
            _SCHEMA,
            compression="zstd",
            # Statistics of texts would make the footer grow; times are what readers skip by.
            write_statistics=["timestamp"],
        )
        self._rows: list[WebEventRow] = []
        self._characters = 0

    def encode(self, rows: Sequence[WebEventRow]) -> bytes:
        """See Encoder.encode."""
        self._rows += rows
        self._characters += sum(map(_characters, rows))
        if len(self._rows) >= GROUP_ROWS or self._characters >= GROUP_CHARACTERS:
            self._write_group()
        return self._sink.take()

    def end(self) -> bytes:
        """See Encoder.end."""
        if self._rows:
            self._write_group()
        self._writer.close()
        return self._sink.take()

    def _write_group(self) -> None:
        columns = zip(*(_values(row, row.ts_us) for row in self._rows), strict=True)
        arrays = [
            pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)
        ]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA), len(self._rows))
        self._rows, self._characters = [], 0


class _Sink(io.RawIOBase):
    """Keeps what is written until it is taken; the file's own place goes on from there."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]  # what pyarrow gives
        self._parts.append(bytes(data))
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


_ENCODERS: Final[dict[Format, Callable[[], Encoder]]] = {
    "ndjson": NdjsonEncoder,
    "csv": CsvEncoder,
    "parquet": ParquetEncoder,
}


def _values(row: WebEventRow, timestamp: object) -> tuple[Any, ...]:
    """Return the values of _FIELDS."""
    return (
        cursor_of(row),
        row.event_id,
        timestamp,
        _KINDS[row.kind],
        *row[5:32],
        row.engaged_s,
        _EXCLUDED[row.excluded],
    )


def _characters(row: WebEventRow) -> int:
    # All texts, which are all fields but a few at its ends.
    return len(row.event_id) + sum(map(len, row[5:32]))


def _cut(document: bytes) -> Iterator[bytes]:
    for begin in range(0, len(document), MESSAGE_BYTES_TARGET):
        yield document[begin : begin + MESSAGE_BYTES_TARGET]
