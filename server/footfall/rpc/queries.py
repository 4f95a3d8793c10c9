"""QueryService."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from google.api.httpbody_pb2 import HttpBody

from footfall.accounts.model import ApiKey, Scope, Site
from footfall.analytics.queries.answers import (
    Cell,
    FaultyQuery,
    ParameterAnswer,
    QueryAnswer,
)
from footfall.analytics.queries.catalogue import TYPES, Column, QueryType
from footfall.analytics.queries.documents import answer_document, types_document
from footfall.analytics.queries.parsing import PRESETS, Defaults
from footfall.analytics.queries.service import QueryService
from footfall.analytics.queries.tables import answer_tables
from footfall.analytics.rows_format import (
    CONTENT_TYPES,
    parse_rows_format,
    rows_csv,
    rows_ndjson,
)
from footfall.rpc.call import Call
from footfall.rpc.convert import parse_documents, require_json, rfc3339
from footfall.v1 import queries_pb2 as pb

#: Returns the sites of an account, by their hosts; called from worker threads.
AccountSites = Callable[[str], Sequence[Site]]

_TYPES = {
    "string": pb.QUERY_COLUMN_TYPE_STRING,
    "integer": pb.QUERY_COLUMN_TYPE_INTEGER,
    "number": pb.QUERY_COLUMN_TYPE_NUMBER,
    "date": pb.QUERY_COLUMN_TYPE_DATE,
}


class QueryServicer:
    """Batch queries about websites, typed and as the published documents."""

    def __init__(self, queries: QueryService, account_sites: AccountSites) -> None:
        self._queries = queries
        self._account_sites = account_sites

    async def RunQueries(self, request: pb.RunQueriesRequest, call: Call) -> pb.RunQueriesResponse:
        answers = await self._queries.answer(
            call.tenant,
            [_document(query) for query in request.queries],
            Defaults(request.timezone or call.tenant.timezone),
            call.timeout_s(),
        )
        if len(answers) == 1 and isinstance(answers[0], FaultyQuery):
            raise answers[0].error
        # Of many rows this is work, too.
        results = await asyncio.to_thread(lambda: [_result(answer) for answer in answers])
        return pb.RunQueriesResponse(results=results)

    async def PostQuery(self, request: pb.PostQueryRequest, call: Call) -> HttpBody:
        require_json(request.body, call.metadata)
        wanted = parse_rows_format(request.format, call.metadata.get("accept", ""))
        documents = parse_documents(request.body, single=True)
        answers = await self._queries.answer(
            call.tenant,
            documents,
            Defaults(
                request.timezone or call.tenant.timezone,
                request.start_date,
                request.end_date,
                request.preset,
            ),
            call.timeout_s(),
        )
        if wanted != "json":
            encode = rows_csv if wanted == "csv" else rows_ndjson
            data = await asyncio.to_thread(lambda: encode(answer_tables(answers)))
            return HttpBody(content_type=CONTENT_TYPES[wanted], data=data)
        batch = request.body.data.lstrip()[:1] == b"["
        return await asyncio.to_thread(lambda: _json(answer_document(answers, batch=batch)))

    async def ListQueryTypes(
        self,
        request: pb.ListQueryTypesRequest,  # noqa: ARG002  # has nothing to say
        call: Call,  # noqa: ARG002  # the catalogue is the same for all
    ) -> pb.ListQueryTypesResponse:
        return pb.ListQueryTypesResponse(
            types=[_type(kind) for kind in TYPES.values()], presets=list(PRESETS)
        )

    async def GetQueryTypes(
        self,
        request: pb.GetQueryTypesRequest,
        call: Call,  # noqa: ARG002  # the catalogue is the same for all
    ) -> HttpBody:
        wanted = request.include_meta.strip().lower() in {"true", "1"}
        return _json(types_document(include_meta=wanted))

    async def ListWebsites(
        self,
        request: pb.ListWebsitesRequest,  # noqa: ARG002  # has nothing to say
        call: Call,
    ) -> pb.ListWebsitesResponse:
        return pb.ListWebsitesResponse(
            websites=[
                pb.Website(
                    id=site.id,
                    name=site.host,
                    domain=site.host,
                    is_public=site.public,
                    created_at=rfc3339(site.created_at),
                )
                for site in await self._readable_sites(call)
            ]
        )

    async def GetWebsites(
        self,
        request: pb.GetWebsitesRequest,  # noqa: ARG002  # has nothing to say
        call: Call,
    ) -> HttpBody:
        websites = [
            {
                "id": site.id,
                "name": site.host,
                "domain": site.host,
                "isPublic": site.public,
                "createdAt": rfc3339(site.created_at),
            }
            for site in await self._readable_sites(call)
        ]
        return _json({"success": True, "websites": websites, "total": len(websites)})

    async def _readable_sites(self, call: Call) -> list[Site]:
        """Return the sites of the caller's account; of those, the ones that a key may read."""
        sites = await asyncio.to_thread(self._account_sites, call.tenant.account_id)
        key = call.principal
        if not isinstance(key, ApiKey):
            return list(sites)
        return [site for site in sites if Scope.READ in key.scopes and site.id in key.site_ids]


def _json(document: dict[str, Any]) -> HttpBody:
    return HttpBody(content_type="application/json", data=orjson.dumps(document))


def _document(query: pb.Query) -> dict[str, Any]:
    """Return a query as it would be in a JSON body."""
    return {
        "id": query.id,
        "parameters": [
            {
                "name": parameter.name,
                "start_date": parameter.start_date,
                "end_date": parameter.end_date,
                "granularity": parameter.granularity,
                "id": parameter.id,
            }
            for parameter in query.parameters
        ],
        "start_date": query.start_date,
        "end_date": query.end_date,
        "preset": query.preset,
        "granularity": query.granularity,
        "limit": query.limit if query.HasField("limit") else None,
        "page": query.page if query.HasField("page") else None,
        "filters": [
            {"field": used.field, "op": used.op, "value": list(used.values)}
            for used in query.filters
        ],
        "sort_by": query.sort_by,
        "sort_order": query.sort_order,
    }


def _result(answer: QueryAnswer | FaultyQuery) -> pb.QueryResult:
    if isinstance(answer, FaultyQuery):
        return pb.QueryResult(
            error=answer.error.message,
            code=answer.error.reason,
            details=[
                pb.QueryFault(field=fault.field, message=fault.message, suggestion=fault.suggestion)
                for fault in answer.error.faults
            ],
        )
    query = answer.query
    return pb.QueryResult(
        query_id=query.id,
        success=True,
        data=[_parameter(each) for each in answer.data],
        meta=pb.QueryMeta(
            parameters=[parameter.name for parameter in query.parameters],
            total_parameters=len(query.parameters),
            page=query.page,
            limit=query.limit,
            filters_applied=len(query.filters),
        ),
    )


def _parameter(answer: ParameterAnswer) -> pb.ParameterResult:
    return pb.ParameterResult(
        parameter=answer.label,
        success=not answer.error,
        error=answer.error,
        columns=[_column(column) for column in answer.columns],
        rows=[pb.QueryRow(cells=[_cell(cell) for cell in row]) for row in answer.rows],
    )


def _cell(cell: Cell) -> pb.QueryCell:
    match cell:
        case str():
            return pb.QueryCell(text=cell)
        case int():
            return pb.QueryCell(integer=cell)
        case float():
            return pb.QueryCell(real=cell)


def _column(column: Column) -> pb.QueryColumn:
    return pb.QueryColumn(
        name=column.name,
        type=_TYPES[column.type],
        unit=column.unit,
        label=column.label,
        description=column.description,
    )


def _type(kind: QueryType) -> pb.QueryType:
    return pb.QueryType(
        name=kind.name,
        aliases=kind.aliases,
        title=kind.title,
        description=kind.description,
        category=kind.category,
        allowed_filters=kind.filters,
        default_limit=kind.default_limit,
        supports_granularity=kind.supports_granularity,
        columns=[_column(column) for column in kind.columns],
    )
