"""Who may call what: every reason, on every method, in the contract's order."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody

from footfall.accounts.model import KeyKind, Scope
from footfall.rpc.policy import ApplicationKey, SiteKey
from footfall.rpc.services import methods
from footfall.v1 import accounts_pb2, ingest_pb2, realtime_pb2, timeseries_pb2
from tests.rpc.conftest import App, Metadata, Refusal, Service, refused

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALL = methods()
OF_APPLICATIONS = [m for m in ALL.values() if isinstance(m.policy.credentials, ApplicationKey)]
OF_SITES = [m for m in ALL.values() if isinstance(m.policy.credentials, SiteKey)]
OF_READERS = [m for m in OF_SITES if m.policy.allowance is not None]


def invoke(service: Service, method: Any, message: Any, metadata: Metadata) -> Any:
    """Call any method in its own shape with one message."""
    serialize = type(message).SerializeToString
    if method.request_streaming:
        make = service.channel.stream_unary(method.path, request_serializer=serialize)
        return make(iter([message]), metadata=metadata)
    if method.response_streaming:
        make = service.channel.unary_stream(method.path, request_serializer=serialize)
        return make(message, metadata=metadata)
    return service.channel.unary_unary(method.path, request_serializer=serialize)(
        message, metadata=metadata
    )


async def refusal(service: Service, method: Any, metadata: Metadata, **fields: Any) -> Refusal:
    return await refused(invoke(service, method, method.request_type(**fields), metadata))


@pytest.mark.parametrize("method", OF_APPLICATIONS, ids=lambda method: method.path)
async def test_application_credentials(service: Service, app: App, method: Any) -> None:
    stranger = service.app()
    needs_write = method.policy.credentials.access == "write"
    wrong = app.reads if needs_write else app.writes
    cases: list[tuple[Metadata, str, grpc.StatusCode, int]] = [
        ((), "MISSING_CREDENTIALS", grpc.StatusCode.UNAUTHENTICATED, 401),
        ((("x-auth-user", app.id),), "MISSING_CREDENTIALS", grpc.StatusCode.UNAUTHENTICATED, 401),
        (
            (("x-auth-user", app.id), ("x-auth-key", "")),
            "MISSING_CREDENTIALS",
            grpc.StatusCode.UNAUTHENTICATED,
            401,
        ),
        (
            (("x-auth-user", app.id), ("x-auth-key", stranger.read_key)),
            "INVALID_CREDENTIALS",
            grpc.StatusCode.UNAUTHENTICATED,
            401,
        ),
        (
            (("x-auth-user", "nobody"), ("x-auth-key", "x" * 5000)),
            "INVALID_CREDENTIALS",
            grpc.StatusCode.UNAUTHENTICATED,
            401,
        ),
        (
            wrong,
            "WRITE_KEY_REQUIRED" if needs_write else "READ_KEY_REQUIRED",
            grpc.StatusCode.PERMISSION_DENIED,
            403,
        ),
    ]
    for metadata, reason, code, http in cases:
        error = await refusal(service, method, metadata)
        assert (error.reason, error.code, error.http) == (reason, code, http)
        assert error.initial == {}
        assert "x-ratelimit-limit" not in error.trailing


@pytest.mark.parametrize("method", OF_SITES, ids=lambda method: method.path)
async def test_site_credentials(service: Service, method: Any) -> None:
    site, other = service.site(), service.site()
    scope = method.policy.credentials.scope
    other_scope = Scope.WRITE if scope is Scope.READ else Scope.READ
    good = service.key([site], scope)
    revoked = service.manager.create_key(
        service.account, kind=KeyKind.NM, site_ids=[site.id], scopes=[scope]
    )
    await asyncio.to_thread(service.store.revoke_key, revoked.key.id)
    unauthenticated, denied = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
    cases: list[tuple[Metadata, str, str, grpc.StatusCode, int]] = [
        ((("authorization", "Bearer nm_wrong"),), site.id, "INVALID_TOKEN", unauthenticated, 401),
        ((("authorization", "Basic abc"),), site.id, "INVALID_TOKEN", unauthenticated, 401),
        (
            (("authorization", f"Bearer {revoked.text}"),),
            site.id,
            "INVALID_TOKEN",
            unauthenticated,
            401,
        ),
        (good, "", "SITE_REQUIRED", grpc.StatusCode.INVALID_ARGUMENT, 400),
        (good, other.id, "SITE_NOT_AUTHORIZED", denied, 403),
        (good, "nowhere", "SITE_NOT_AUTHORIZED", denied, 403),
        (service.key([site], other_scope), site.id, "SCOPE_REQUIRED", denied, 403),
    ]
    if not method.policy.credentials.browsers:
        cases.append(((), site.id, "MISSING_TOKEN", unauthenticated, 401))
    for metadata, site_id, reason, code, http in cases:
        error = await refusal(service, method, metadata, site=site_id)
        assert (error.reason, error.code, error.http) == (reason, code, http)
        assert error.initial == {}
        assert "x-ratelimit-limit" not in error.trailing


async def test_a_browser_must_name_a_site_that_exists(service: Service) -> None:
    content = HttpBody(data=b'{"url": "https://a.example/"}')
    for site_id, reason, code in (
        ("", "SITE_REQUIRED", grpc.StatusCode.INVALID_ARGUMENT),
        ("aaaaaaaaaaaaaaaa", "NOT_FOUND", grpc.StatusCode.NOT_FOUND),
    ):
        error = await refused(
            service.ingest.CollectWebEvents(
                ingest_pb2.CollectWebEventsRequest(site=site_id, content=content)
            )
        )
        assert (error.reason, error.code) == (reason, code)


async def test_applications_are_created_by_admins(service: Service) -> None:
    site = service.site()
    request = accounts_pb2.CreateApplicationRequest(name="Überwachung")
    assert (await refused(service.accounts.CreateApplication(request))).reason == "MISSING_TOKEN"
    error = await refused(
        service.accounts.CreateApplication(request, metadata=service.key([site], Scope.WRITE))
    )
    assert (error.reason, error.http) == ("SCOPE_REQUIRED", 403)
    admin = service.key([], Scope.ADMIN)
    made = await service.accounts.CreateApplication(request, metadata=admin)
    assert made.name == "Überwachung"
    assert len(made.write_key) == len(made.read_key) == 32
    app = App(made.id, made.write_key, made.read_key)
    answer = await service.ingest.IngestApiRequests(
        ingest_pb2.IngestApiRequestsRequest(events=[ingest_pb2.ApiRequestEvent(response_us=1)]),
        metadata=app.writes,
    )
    assert answer.accepted == 1
    nameless = await refused(
        service.accounts.CreateApplication(
            accounts_pb2.CreateApplicationRequest(name=" "), metadata=admin
        )
    )
    assert (nameless.code, nameless.http) == (grpc.StatusCode.INVALID_ARGUMENT, 400)


async def test_the_sites_limit_is_shared_by_all_who_read_it(service: Service) -> None:
    site = service.site()
    keys = [service.key([site], Scope.READ) for _ in range(2)]
    begun = time.time()
    remaining = []
    for number in range(10):
        stub = service.realtime.GetSources if number % 2 else service.realtime.GetRealtime
        request = (
            realtime_pb2.GetSourcesRequest if number % 2 else realtime_pb2.GetRealtimeRequest
        )(site=site.id)
        call = stub(request, metadata=keys[number % 2])
        await call
        headers = dict(await call.trailing_metadata())
        assert headers["x-ratelimit-limit"] == "10"
        assert begun - 1 <= int(headers["x-ratelimit-reset"]) <= time.time() + 61
        remaining.append(int(headers["x-ratelimit-remaining"]))
    assert remaining == list(range(9, -1, -1))

    for method in OF_READERS:
        error = await refusal(service, method, keys[0], site=site.id)
        assert (error.reason, error.code, error.http) == (
            "RATE_LIMIT_EXCEEDED",
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            429,
        )
        assert error.initial == {}
        assert error.trailing["x-ratelimit-remaining"] == "0"
        retry = int(error.trailing["retry-after"])
        assert 1 <= retry <= 60
        assert error.details["RetryInfo"].retry_delay.seconds == retry
        assert error.details["QuotaFailure"].violations[0].subject == f"site:{site.id}"
        # Every such call about this site would be refused until the window's end.
        holds_ms, _, holds_for = error.trailing["footfall-holds"].partition(" ")
        assert holds_for == site.id
        assert -(-int(holds_ms) // 1000) == retry

    # Calls that fail before the limit do not count against it, nor does another site's.
    other = service.site()
    key = service.key([other], Scope.READ)
    for _ in range(15):
        await refusal(service, OF_READERS[0], (), site=other.id)
        await refusal(service, OF_READERS[0], keys[0], site=other.id)
    call = service.realtime.GetRealtime(
        realtime_pb2.GetRealtimeRequest(site=other.id), metadata=key
    )
    await call
    assert dict(await call.trailing_metadata())["x-ratelimit-remaining"] == "9"


async def test_an_applications_reads_tell_what_is_left(service: Service, app: App) -> None:
    request = timeseries_pb2.QueryTimeseriesRequest(start=0, end=1)
    call = service.timeseries.QueryTimeseries(request, metadata=app.reads)
    await call
    headers = dict(await call.trailing_metadata())
    assert (headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == ("1000", "999")
    # The gateway needs them first, to make HTTP headers of them.
    transcoded = (*app.reads, ("x-envoy-original-method", "GET"))
    call = service.timeseries.QueryTimeseries(request, metadata=transcoded)
    await call
    assert dict(await call.initial_metadata())["x-ratelimit-remaining"] == "998"
    # A call with wrong parameters has passed the limit, and says so.
    error = await refused(
        service.timeseries.QueryTimeseries(
            timeseries_pb2.QueryTimeseriesRequest(start=1, end=1), metadata=app.reads
        )
    )
    assert error.reason == "INVALID_PARAMETER"
    assert error.trailing["x-ratelimit-remaining"] == "997"
