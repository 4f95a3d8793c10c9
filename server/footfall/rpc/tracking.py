"""IngestService.TrackEvents: the answers that the public SDK of Databuddy reads."""

from __future__ import annotations

from typing import Any

import orjson
from google.api.httpbody_pb2 import HttpBody

from footfall.errors import InvalidQueryError, QueryFault
from footfall.ingest.model import BrowserContext, IngestResult, InvalidEventsError
from footfall.ingest.service import IngestService
from footfall.ingest.track import event_id_of, is_page_view, unwrapped, website_of
from footfall.rpc.call import Call
from footfall.rpc.convert import parse_documents
from footfall.v1 import ingest_pb2 as pb


async def track_events(
    ingest: IngestService,
    request: pb.TrackEventsRequest,
    call: Call,
    browser: BrowserContext | None,
    idempotency_key: str | None,
) -> HttpBody:
    """Store a batch and answer with their document; the call's tenant are its sites by name.

    Raises InvalidQueryError (VALIDATION_ERROR) if no event is good.
    """
    body = parse_documents(request.content, single=True)
    single = request.content.data.lstrip().startswith(b"{")
    documents = [unwrapped(document) for document in body]
    if not documents:
        raise InvalidQueryError("The body holds no event; an array has at least one.")
    default = request.website_id or request.client_id
    sites = [call.tenant[website_of(document, default)] for document in documents]
    origin = None
    if browser is not None:
        # The page's own address, or else where its script was; a browser that says neither is none.
        origin = call.metadata.get("origin", "").removesuffix("null")
    try:
        result = await ingest.ingest_tracked(sites, documents, idempotency_key, browser, origin)
    except InvalidEventsError as error:
        raise InvalidQueryError(
            error.message,
            faults=[
                # Of a single event nobody asks which.
                QueryFault(
                    violation.field.removeprefix("[0].") if single else violation.field,
                    violation.message,
                )
                for violation in error.violations
            ],
            violations=error.violations,
        ) from None
    answer = _single(documents[0]) if single else _batch(documents, result)
    return HttpBody(content_type="application/json", data=orjson.dumps(answer))


def _single(document: Any) -> dict[str, Any]:
    return {"status": "success", "type": _type(document), "count": 1} | _event_id(document)


def _batch(documents: list[Any], result: IngestResult) -> dict[str, Any]:
    rejected = {row.index: row for row in result.rejected}
    processed = result.accepted + result.duplicates
    verdicts: list[dict[str, Any]] = []
    for index, document in enumerate(documents):
        verdict: dict[str, Any] = {"status": "success", "type": _type(document)}
        if index in rejected:
            row = rejected[index]
            verdict = {"status": "error", "message": row.message, "error": row.code}
        verdicts.append(verdict | _event_id(document))
    return {
        "status": "success",
        "type": "custom_event",
        "count": processed,
        "processed": processed,
        "results": verdicts,
    }


def _type(document: Any) -> str:
    return "track" if is_page_view(document) else "custom_event"


def _event_id(document: Any) -> dict[str, str]:
    event_id = event_id_of(document)
    return {"eventId": event_id} if event_id else {}
