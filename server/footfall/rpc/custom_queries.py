"""CustomQueryService."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from google.api.httpbody_pb2 import HttpBody

from footfall.analytics.custom.bodies import (
    Range,
    answer_document,
    function_names,
    read_sql,
    read_structured,
    schema_document,
)
from footfall.analytics.custom.model import Cell, ResultColumn, SandboxAnswer
from footfall.analytics.custom.service import CustomQueryService
from footfall.analytics.custom.structured import Filter, Select, StructuredQuery
from footfall.analytics.custom.views import VIEWS
from footfall.errors import InvalidQueryError, QueryFault
from footfall.rpc.call import Call
from footfall.rpc.convert import require_json
from footfall.v1 import custom_queries_pb2 as pb
from footfall.v1 import queries_pb2

_TYPES = {
    "text": queries_pb2.QUERY_COLUMN_TYPE_STRING,
    "integer": queries_pb2.QUERY_COLUMN_TYPE_INTEGER,
    "number": queries_pb2.QUERY_COLUMN_TYPE_NUMBER,
    "boolean": queries_pb2.QUERY_COLUMN_TYPE_BOOLEAN,
    "date": queries_pb2.QUERY_COLUMN_TYPE_DATE,
    "timestamp": queries_pb2.QUERY_COLUMN_TYPE_TIMESTAMP,
}


class CustomQueryServicer:
    """Structured queries and custom SQL, typed and as the published documents."""

    def __init__(self, queries: CustomQueryService) -> None:
        self._queries = queries

    async def RunCustomQuery(
        self, request: pb.RunCustomQueryRequest, call: Call
    ) -> pb.RunCustomQueryResponse:
        query = StructuredQuery(
            table=request.table,
            selects=[Select(s.field, s.aggregate, s.alias) for s in request.selects],
            filters=[Filter(f.field, f.op, list(f.values)) for f in request.filters],
            group_by=list(request.group_by),
            granularity=request.granularity,
            limit=request.limit if request.HasField("limit") else None,
        )
        days = Range(request.start_date, request.end_date, request.timezone)
        answer = await self._structured(query, days, call)
        return pb.RunCustomQueryResponse(
            columns=_columns(answer.columns),
            rows=_rows(answer),
            truncated=answer.truncated,
            execution_ms=answer.execution_ms,
            rows_read=answer.rows_read,
        )

    async def PostCustomQuery(self, request: pb.PostCustomQueryRequest, call: Call) -> HttpBody:
        defaults = Range(request.start_date, request.end_date, request.timezone)
        query, days = read_structured(_document(request.body, call.metadata), defaults)
        return _json(answer_document(await self._structured(query, days, call), call.tenant.id))

    async def ExecuteSql(self, request: pb.ExecuteSqlRequest, call: Call) -> pb.ExecuteSqlResponse:
        parameters = {name: _value(cell) for name, cell in request.parameters.items()}
        days = Range(request.start_date, request.end_date, request.timezone)
        answer = await self._sql(request.query, parameters, days, call)
        return pb.ExecuteSqlResponse(
            columns=_columns(answer.columns),
            rows=_rows(answer),
            truncated=answer.truncated,
            execution_ms=answer.execution_ms,
            rows_read=answer.rows_read,
        )

    async def PostSql(self, request: pb.PostSqlRequest, call: Call) -> HttpBody:
        text, parameters, days = read_sql(_document(request.body, call.metadata))
        answer = await self._sql(text, parameters, days, call)
        return _json(answer_document(answer, call.tenant.id))

    async def ListViews(
        self,
        request: pb.ListViewsRequest,  # noqa: ARG002  # has nothing to say
        call: Call,  # noqa: ARG002  # the views are the same for all
    ) -> pb.ListViewsResponse:
        return pb.ListViewsResponse(
            views=[
                pb.View(
                    name=view.name,
                    description=view.description,
                    columns=[
                        queries_pb2.QueryColumn(
                            name=column.name,
                            type=_TYPES[column.type],
                            description=column.description,
                        )
                        for column in view.columns.values()
                    ],
                )
                for view in VIEWS.values()
            ],
            functions=function_names(),
        )

    async def GetSqlSchema(
        self,
        request: pb.GetSqlSchemaRequest,  # noqa: ARG002  # has nothing to say
        call: Call,  # noqa: ARG002  # the views are the same for all
    ) -> HttpBody:
        return _json(schema_document())

    async def _structured(self, query: StructuredQuery, days: Range, call: Call) -> SandboxAnswer:
        return await self._queries.structured(
            call.tenant,
            query,
            start_date=days.start_date,
            end_date=days.end_date,
            timezone=days.timezone,
            timeout_s=call.timeout_s(),
        )

    async def _sql(
        self, text: str, parameters: Mapping[str, Cell], days: Range, call: Call
    ) -> SandboxAnswer:
        return await self._queries.sql(
            call.tenant,
            text,
            parameters,
            start_date=days.start_date,
            end_date=days.end_date,
            timezone=days.timezone,
            timeout_s=call.timeout_s(),
        )


def _document(body: HttpBody, metadata: Mapping[str, str]) -> Any:
    require_json(body, metadata)
    try:
        return orjson.loads(body.data)
    except orjson.JSONDecodeError as error:
        message = (
            f"The body is not valid JSON, at line {error.lineno}, column {error.colno}; "
            "it must be a JSON object."
        )
        raise InvalidQueryError(message, faults=(QueryFault("body", message),)) from None


def _json(document: dict[str, Any]) -> HttpBody:
    return HttpBody(content_type="application/json", data=orjson.dumps(document))


def _columns(columns: Iterable[ResultColumn]) -> list[queries_pb2.QueryColumn]:
    return [
        queries_pb2.QueryColumn(name=column.name, type=_TYPES[column.type]) for column in columns
    ]


def _rows(answer: SandboxAnswer) -> list[queries_pb2.QueryRow]:
    return [queries_pb2.QueryRow(cells=[_cell(value) for value in row]) for row in answer.rows]


def _cell(value: Cell) -> queries_pb2.QueryCell:
    match value:
        case None:
            return queries_pb2.QueryCell()
        case bool():
            return queries_pb2.QueryCell(boolean=value)
        case int():
            return queries_pb2.QueryCell(integer=value)
        case float():
            return queries_pb2.QueryCell(real=value)
        case str():
            return queries_pb2.QueryCell(text=value)


def _value(cell: queries_pb2.QueryCell) -> Cell:
    kind = cell.WhichOneof("value")
    value: Cell = getattr(cell, kind) if kind is not None else None
    return value
