"""Where the events of an access log go: to a running server, or into the stores by this process."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Protocol

import grpc

from footfall.accounts.keys import key_digest, make_application_key
from footfall.accounts.management import AccountManager
from footfall.accounts.model import Application, ApplicationAccess, KeyKind, Scope, Site
from footfall.accounts.ports import AccountStore
from footfall.app import open_ingest
from footfall.errors import FootfallError, UnavailableError
from footfall.ingest.api_requests import API_REQUEST_FIELDS
from footfall.ingest.columns import columns_of_documents
from footfall.ingest.model import IngestResult, InvalidEventsError, RejectedEvent
from footfall.ingest.service import IngestService
from footfall.ingest.web_events import WEB_EVENT_FIELDS
from footfall.settings import Settings
from footfall.v1 import ingest_pb2 as pb
from footfall.v1 import ingest_pb2_grpc as rpc

#: Events as documents, with the fields that `footfall.ingest` reads.
Events = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Delivered:
    """What became of events that were sent: their number, and how many were stored, known already,
    and rejected.
    """

    events: int
    accepted: int
    duplicates: int
    rejected: int
    #: The first rejected ones, by their places among these events.
    first_rejected: Sequence[RejectedEvent]


Note = Callable[[Delivered], None]

#: Batches of one stream: enough to keep the server busy, and a stream ends within seconds, so that
#: a server that drains can wait for it.
_STREAM_BATCHES = 32
_CONNECT_S = 10.0
#: A temporary credential outlives a killed import by so much; a stream needs it when it begins.
_CREDENTIAL_S = 24 * 3600
#: Nothing that this process sends is larger.
_CHANNEL_OPTIONS = (("grpc.max_send_message_length", 8 * 1024 * 1024),)


class Target(Protocol):
    """What the log's events become, and whose they are."""

    async def ingest(self, service: IngestService, events: Events) -> IngestResult: ...

    def stream(
        self,
        stub: rpc.IngestServiceStub,
        batches: Iterator[Events],
        metadata: Sequence[tuple[str, str]],
    ) -> pb.StreamIngestResponse: ...

    @contextmanager
    def credentials(self, accounts: AccountStore) -> Iterator[Sequence[tuple[str, str]]]:
        """Make a credential for the time of the block, and give it as call metadata."""
        ...


@dataclass(frozen=True)
class SiteTarget:
    """Page views of a site."""

    site: Site

    async def ingest(self, service: IngestService, events: Events) -> IngestResult:
        return await service.ingest_web(self.site, columns_of_documents(events, WEB_EVENT_FIELDS))

    def stream(
        self,
        stub: rpc.IngestServiceStub,
        batches: Iterator[Events],
        metadata: Sequence[tuple[str, str]],
    ) -> pb.StreamIngestResponse:
        requests = (
            pb.IngestWebEventsRequest(
                site=self.site.id, events=[pb.WebEvent(**event) for event in events]
            )
            for events in batches
        )
        return stub.StreamWebEvents(requests, metadata=tuple(metadata))

    @contextmanager
    def credentials(self, accounts: AccountStore) -> Iterator[Sequence[tuple[str, str]]]:
        made = AccountManager(accounts).create_key(
            self.site.account_id,
            kind=KeyKind.NM,
            site_ids=[self.site.id],
            scopes=[Scope.WRITE],
            expires_at=time.time() + _CREDENTIAL_S,
        )
        try:
            yield [("authorization", f"Bearer {made.text}")]
        finally:
            accounts.revoke_key(made.key.id)


@dataclass(frozen=True)
class ApplicationTarget:
    """API requests of an application."""

    application: Application

    async def ingest(self, service: IngestService, events: Events) -> IngestResult:
        return await service.ingest_api_requests(
            self.application.id, columns_of_documents(events, API_REQUEST_FIELDS)
        )

    def stream(
        self,
        stub: rpc.IngestServiceStub,
        batches: Iterator[Events],
        metadata: Sequence[tuple[str, str]],
    ) -> pb.StreamIngestResponse:
        requests = (
            pb.IngestApiRequestsRequest(events=[pb.ApiRequestEvent(**event) for event in events])
            for events in batches
        )
        return stub.StreamApiRequests(requests, metadata=tuple(metadata))

    @contextmanager
    def credentials(self, accounts: AccountStore) -> Iterator[Sequence[tuple[str, str]]]:
        key = make_application_key()
        digest = key_digest(key)
        accounts.create_application_key(
            self.application.id, digest, ApplicationAccess.WRITE, time.time() + _CREDENTIAL_S
        )
        try:
            yield [("x-auth-user", self.application.id), ("x-auth-key", key)]
        finally:
            accounts.delete_application_key(digest)


def deliver(
    settings: Settings,
    accounts: AccountStore,
    target: Target,
    batches: Iterable[Events],
    note: Note,
) -> None:
    """Send all batches on, and note what became of them, in their order.

    Raises UnavailableError if the server or a store does not answer. What was noted until then is
    stored, and so may be a little more.
    """
    with _server(settings) as channel:
        if channel is None:
            asyncio.run(_store(settings, target, batches, note))
            return
        stub = rpc.IngestServiceStub(channel)
        with target.credentials(accounts) as metadata:
            rest = iter(batches)
            for first in rest:
                part = chain([first], islice(rest, _STREAM_BATCHES - 1))
                note(_stream(stub, target, part, metadata))


async def _store(settings: Settings, target: Target, batches: Iterable[Events], note: Note) -> None:
    async with open_ingest(settings) as way:
        for events in batches:
            try:
                result = await target.ingest(way.ingest, events)
            except InvalidEventsError as error:
                result = IngestResult(0, 0, error.rejected)
            rejected = result.rejected
            note(
                Delivered(len(events), result.accepted, result.duplicates, len(rejected), rejected)
            )


def _stream(
    stub: rpc.IngestServiceStub,
    target: Target,
    batches: Iterator[Events],
    metadata: Sequence[tuple[str, str]],
) -> Delivered:
    """Send batches in one call, and return what became of their events."""
    sent = 0
    failure: list[Exception] = []

    def guarded() -> Iterator[Events]:
        # gRPC reads this in a thread of its own, which would swallow the error.
        nonlocal sent
        try:
            for events in batches:
                sent += len(events)
                yield events
        except Exception as error:  # noqa: BLE001 - raised again below
            failure.append(error)

    try:
        response = target.stream(stub, guarded(), metadata)
    except grpc.RpcError as error:
        raise _domain_error(error) from None
    if failure:
        raise failure[0]
    return Delivered(
        sent,
        response.accepted,
        response.duplicates,
        response.rejected_total,
        [RejectedEvent(row.index, row.code, row.message) for row in response.rejected],
    )


def _domain_error(error: grpc.RpcError) -> FootfallError:
    """Return what a failed call says, for the command line."""
    code = error.code()
    message = error.details() or "The server failed."
    kind = UnavailableError if code is grpc.StatusCode.UNAVAILABLE else FootfallError
    return kind(f"{message} Import the log again to go on: what is stored is not counted twice.")


@contextmanager
def _server(settings: Settings) -> Iterator[grpc.Channel | None]:
    """Give a channel to the server that runs on the data directory; None if none does."""
    address = _announced(settings)
    if address is None:
        yield None
        return
    with grpc.insecure_channel(address, options=_CHANNEL_OPTIONS) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_CONNECT_S)
        except grpc.FutureTimeoutError:
            # Its process id is another process's by now. If not, the data directory is locked.
            yield None
            return
        yield channel


def _announced(settings: Settings) -> str | None:
    """Return where a live server of the data directory says that it serves."""
    try:
        text = (settings.data_dir / "run" / "server.json").read_text("utf-8")
        document = json.loads(text)
        os.kill(int(document["pid"]), 0)
        return str(document["grpc"])
    except PermissionError:
        return str(document["grpc"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
