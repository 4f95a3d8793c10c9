"""Whatever is wrong with a request, and whoever finds out, the answer is the family's document."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from footfall.v1 import (
    accounts_pb2,
    accounts_pb2_grpc,
    ingest_pb2,
    ingest_pb2_grpc,
    timeseries_pb2,
    timeseries_pb2_grpc,
)
from tests.e2e.conftest import Application, Site, create_site
from tests.e2e.service import Answer, Service, wait_until

JSON = {"content-type": "application/json"}


def assert_family_a(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.headers["content-type"].split(";")[0]) == (
        status,
        "application/json",
    ), answer.body
    assert answer.json["error"]["code"] == code
    assert answer.json["error"]["message"]
    assert answer.json.keys() == {"error"}
    assert not [name for name in answer.headers if name.startswith(("grpc-", "footfall-"))]


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/1/timeseries/9/5/", "end"),
        ("/1/timeseries/5/5/", "end"),
        ("/1/timeseries/monday/5/", "start"),
        ("/1/timeseries/0/99999999999999999999/", "end"),
        ("/1/timeseries/1/500?granularity=fortnight", "granularity"),
        ("/1/timeseries/1/500?granularity=0", "granularity"),
        ("/1/timeseries/1/500?granularity=-60", "granularity"),
        ("/1/timeseries/1/500?aggregation=median", "aggregation"),
        ("/1/timeseries/1/500?aggregation=percentile_100", "aggregation"),
        ("/1/timeseries/1/500?aggregation=percentile_0", "aggregation"),
        ("/1/timeseries/1/500?group=path", "group"),
        ("/1/timeseries/1/500?include=GET", "include"),
        ("/1/timeseries/1/500?include=path:GET", "include"),
        ("/1/timeseries/1/500?value=bytes", "value"),
        ("/1/timeseries/%ff/500", "UTF-8"),
        ("/1/export/1/500?format=xml", "format"),
        ("/1/export/1/500?cursor=nonsense", "cursor"),
    ],
)
def test_bad_parameters_are_named(
    service: Service, application: Application, path: str, parameter: str
) -> None:
    answer = service.get(path, headers=application.reads)
    assert_family_a(answer, 400, "invalid_parameter")
    assert parameter in answer.json["error"]["message"]


def test_too_many_points_are_refused_with_both_numbers(
    service: Service, application: Application
) -> None:
    answer = service.get("/1/timeseries/0/100001?granularity=1", headers=application.reads)
    assert_family_a(answer, 400, "invalid_parameter")
    assert "100001" in answer.json["error"]["message"]
    assert "100000" in answer.json["error"]["message"]
    fits = service.get("/1/timeseries/0/100000?granularity=1", headers=application.reads)
    assert fits.json["groups"] == {application.id: [[0, 0]]}


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"{", b'[{"timestamp": }]', b'"text"', b"[1,]", b"{}", b"\xff\xfe", b"[]", b"7"],
)
def test_malformed_bodies(service: Service, application: Application, body: bytes) -> None:
    answer = service.request("POST", "/1/event/", headers=JSON | application.writes, body=body)
    assert answer.status == 400, answer.body
    assert answer.json["error"]["message"]


def test_wrong_media_types(service: Service, application: Application) -> None:
    for headers in ({"content-type": "application/xml"}, JSON | {"content-encoding": "gzip"}):
        answer = service.request(
            "POST", "/1/event/", headers=headers | application.writes, body=b"[{}]"
        )
        assert_family_a(answer, 415, "unsupported_media_type")


def test_oversize_bodies(service: Service, application: Application) -> None:
    blank = b" " * (8 * 1024 * 1024 + 1)
    answer = service.request("POST", "/1/event/", headers=JSON | application.writes, body=blank)
    assert_family_a(answer, 413, "payload_too_large")
    many = b"[" + b",".join([b"{}"] * 10_001) + b"]"
    answer = service.request("POST", "/1/event/", headers=JSON | application.writes, body=many)
    assert_family_a(answer, 413, "payload_too_large")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 200, ""),
        ("GET", "/nothing/here", 404, "not_found"),
        ("GET", "/1", 404, "not_found"),
        ("GET", "/1/timeseries/5", 404, "not_found"),
        ("POST", "/footfall.v1.TimeseriesService/QueryTimeseries", 404, "not_found"),
        ("DELETE", "/1/event/", 405, "method_not_allowed"),
        ("GET", "/1/event/", 405, "method_not_allowed"),
        ("POST", "/1/timeseries/1/2/", 405, "method_not_allowed"),
        ("PUT", "/v1/collect", 405, "method_not_allowed"),
        ("POST", "/v1/realtime", 405, "method_not_allowed"),
        ("PATCH", "/v1/applications", 405, "method_not_allowed"),
    ],
)
def test_unknown_paths_and_wrong_methods(
    service: Service, method: str, path: str, status: int, code: str
) -> None:
    answer = service.request(method, path, body=None if method == "GET" else b"{}")
    assert answer.status == status, answer.body
    if code:
        assert_family_a(answer, status, code)
    if status == 405:
        assert answer.headers["allow"]


def test_application_credentials(service: Service, application: Application, site: Site) -> None:
    path = "/1/timeseries/1/2/"
    wrong: list[tuple[dict[str, str], int, str]] = [
        ({}, 401, "missing_credentials"),
        ({"x-auth-user": application.id}, 401, "missing_credentials"),
        ({"x-auth-key": application.read_key}, 401, "missing_credentials"),
        (application.reads | {"x-auth-key": "AAAA"}, 401, "invalid_credentials"),
        (application.reads | {"x-auth-user": "nobody"}, 401, "invalid_credentials"),
        (application.writes, 403, "read_key_required"),
    ]
    for headers, status, code in wrong:
        assert_family_a(service.get(path, headers=headers), status, code)
    answer = service.post_json("/1/event/", [{}], application.reads)
    assert_family_a(answer, 403, "write_key_required")
    # Credentials come before parameters.
    assert_family_a(service.get("/1/timeseries/9/5/"), 401, "missing_credentials")


def test_site_credentials(service: Service, site: Site) -> None:
    other = create_site(service, scope="read")
    good, at = site.bearer, {"site": site.id}
    cases: list[tuple[dict[str, str], dict[str, str], int, str]] = [
        ({}, at, 401, "missing_token"),
        ({"authorization": "Bearer nm_wrong"}, at, 401, "invalid_token"),
        ({"authorization": "Basic abc"}, at, 401, "invalid_token"),
        (good, {}, 400, "site_required"),
        (good, {"site": ""}, 400, "site_required"),
        (good, {"site": other.id}, 403, "site_not_authorized"),
        (good, {"site": "no-such-site"}, 403, "site_not_authorized"),
    ]
    for headers, query, status, code in cases:
        for path in ("/v1/realtime", "/v1/sources", "/v1/realtime/stream"):
            assert_family_a(service.get(path, headers=headers, query=query), status, code)
    known = service.get("/v1/realtime", headers=good, query={"site": other.id})
    unknown = service.get("/v1/realtime", headers=good, query={"site": "no-such-site"})
    assert known.body == unknown.body
    page = {"url": f"https://{other.host}/"}
    answer = service.post_json(f"/v1/collect?site={other.id}", page, other.bearer)
    assert answer.status == 403
    assert_family_a(service.post_json("/v1/collect", page), 400, "site_required")


def test_a_revoked_key_is_refused_within_a_second(service: Service) -> None:
    site = create_site(service)
    assert service.get("/v1/sources", headers=site.bearer, query={"site": site.id}).status == 200
    (key,) = [
        key
        for key in service.cli("key", "list", "--account", "e2e")["keys"]
        if key["sites"] == [site.id]
    ]
    service.cli("key", "revoke", key["id"])
    answer = wait_until(
        lambda: (
            (
                found := service.get("/v1/sources", headers=site.bearer, query={"site": site.id})
            ).status
            == 401
            and found
        ),
        timeout=1,
    )
    assert_family_a(answer, 401, "invalid_token")


def test_creating_applications(service: Service) -> None:
    key = service.cli("key", "create", "--account", "e2e", "--scope", "admin")["key"]
    admin = {"authorization": f"Bearer {key}"}
    made = service.post_json("/v1/applications", {"name": "made by REST"}, admin)
    assert made.status == 200
    application = Application(made.json["id"], made.json["write_key"], made.json["read_key"])
    assert all(len(key) % 4 == 0 for key in (application.write_key, application.read_key))
    assert service.get("/1/timeseries/1/2", headers=application.reads).json["groups"] == {
        application.id: [[1, 0]]
    }
    assert_family_a(
        service.post_json("/v1/applications", {"name": ""}, admin), 400, "invalid_parameter"
    )
    assert_family_a(service.post_json("/v1/applications", {"name": "x"}), 401, "missing_token")
    reader = create_site(service, scope="read")
    refused = service.post_json("/v1/applications", {"name": "x"}, reader.bearer)
    assert refused.status == 403
    with service.channel() as channel:
        typed = accounts_pb2_grpc.AccountsServiceStub(channel).CreateApplication(
            accounts_pb2.CreateApplicationRequest(name="made by gRPC"),
            metadata=(("authorization", f"Bearer {key}"),),
        )
    assert (typed.name, bool(typed.write_key)) == ("made by gRPC", True)


def test_grpc_errors_carry_reasons(service: Service, application: Application) -> None:
    def fault(call: Any) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as caught:
            call()
        status = rpc_status.from_call(caught.value)
        info = error_details_pb2.ErrorInfo()
        assert status.details[0].Unpack(info)
        assert info.domain == "footfall"
        return caught.value.code(), info.reason

    reads = tuple(application.reads.items())
    with service.channel() as channel:
        series = timeseries_pb2_grpc.TimeseriesServiceStub(channel).QueryTimeseries
        ingest = ingest_pb2_grpc.IngestServiceStub(channel).IngestApiRequests
        query = timeseries_pb2.QueryTimeseriesRequest(start=5, end=5)
        one = ingest_pb2.IngestApiRequestsRequest(events=[ingest_pb2.ApiRequestEvent()])
        assert fault(lambda: series(query)) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "MISSING_CREDENTIALS",
        )
        assert fault(lambda: series(query, metadata=reads)) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_PARAMETER",
        )
        assert fault(lambda: ingest(one, metadata=reads)) == (
            grpc.StatusCode.PERMISSION_DENIED,
            "WRITE_KEY_REQUIRED",
        )
        assert fault(lambda: ingest(one, metadata=tuple(application.writes.items())))[0] is (
            grpc.StatusCode.INVALID_ARGUMENT
        )
