"""Ten requests a minute to one site, whoever asks and whatever is asked."""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest

from footfall.v1 import pace_pb2, pace_pb2_grpc, realtime_pb2, realtime_pb2_grpc
from tests.e2e.conftest import Site, create_site
from tests.e2e.service import Answer, Service

LIMIT = 10
ENDPOINTS = ("realtime", "sources", "overview", "charts", "recap", "pace", "engagement")
Bearer = dict[str, str]


@pytest.fixture
def two_sites(service: Service) -> tuple[Site, Site]:
    return create_site(service), create_site(service)


@pytest.fixture
def keys(service: Service, two_sites: tuple[Site, Site]) -> tuple[Bearer, Bearer]:
    """A key of the first site, and one of both."""
    both = ",".join(site.id for site in two_sites)
    other = service.cli("key", "create", "--account", "e2e", "--site", both, "--scope", "read")
    return two_sites[0].bearer, {"authorization": f"Bearer {other['key']}"}


def allowance(answer: Answer) -> tuple[int, int, int]:
    """Return limit, remaining and reset of an answer that got as far as the limit."""
    names = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
    limit, remaining, reset = (int(answer.headers[name]) for name in names)
    return limit, remaining, reset


def error_of(answer: Answer) -> str:
    document = answer.json
    assert set(document) == {"error"}
    assert set(document["error"]) == {"code", "message"}
    code: str = document["error"]["code"]
    return code


def test_the_ninth_the_tenth_and_the_eleventh_request(
    service: Service, two_sites: tuple[Site, Site], keys: tuple[Bearer, Bearer]
) -> None:
    site, other = two_sites
    first, second = keys

    def ask(endpoint: str, key: Bearer, **query: Any) -> Answer:
        return service.get(f"/v1/{endpoint}", headers=key, query={"site": site.id} | query)

    def fails_before_the_limit() -> None:
        """Ask what costs nothing, and says what is wrong rather than that it is one too many."""
        strangers_key = {"authorization": "Bearer nm_" + "a" * 43}
        for endpoint in ("realtime", "charts", "pace"):
            path = f"/v1/{endpoint}"
            for expected, answer in (
                ((401, "missing_token"), ask(endpoint, {})),
                ((401, "invalid_token"), ask(endpoint, strangers_key)),
                ((400, "site_required"), service.get(path, headers=first)),
                ((403, "site_not_authorized"), ask(endpoint, first, site=other.id)),
                ((403, "site_not_authorized"), ask(endpoint, first, site="nobody's")),
                ((405, "method_not_allowed"), service.request("POST", path, headers=first)),
            ):
                assert (answer.status, error_of(answer)) == expected
                assert "x-ratelimit-limit" not in answer.headers
                assert "retry-after" not in answer.headers

    began = time.time()
    seen = [ask(endpoint, keys[place % 2]) for place, endpoint in enumerate(ENDPOINTS)]
    assert {answer.status for answer in seen} == {200}
    fails_before_the_limit()
    # A parameter is looked at after the limit; so are what a caller has already, and stubs.
    seen.append(ask("charts", second, preset="nonsense"))
    assert (seen[-1].status, error_of(seen[-1])) == (400, "invalid_parameter")
    with service.channel() as channel:
        _, call = pace_pb2_grpc.PaceServiceStub(channel).GetPace.with_call(
            pace_pb2.GetPaceRequest(site=site.id), metadata=tuple(first.items())
        )
    ninth = {name: value for name, value in call.trailing_metadata() if "ratelimit" in name}
    seen.append(ask("sources", second))
    assert seen[-1].status == 200

    limits, left, resets = zip(*map(allowance, seen), strict=True)
    assert set(limits) == {LIMIT}
    assert left == (9, 8, 7, 6, 5, 4, 3, 2, 0)
    assert len(set(resets)) == 1, "a window begins with the first request and stays"
    reset = resets[0]
    assert began + 59 <= reset <= time.time() + 61
    assert ninth == {
        "x-ratelimit-limit": "10",
        "x-ratelimit-remaining": "1",
        "x-ratelimit-reset": str(reset),
    }

    for place, endpoint in enumerate(ENDPOINTS):
        before = time.time()
        refused = ask(endpoint, keys[place % 2])
        after = time.time()
        assert (refused.status, error_of(refused)) == (429, "rate_limit_exceeded")
        assert allowance(refused) == (LIMIT, 0, reset)
        wait_s = int(refused.headers["retry-after"])
        assert 1 <= wait_s <= 60
        assert before + wait_s - 2 <= reset <= after + wait_s + 1, "both say the same moment"
        assert refused.headers["content-type"].startswith("application/json")
    fails_before_the_limit()
    with service.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        realtime_pb2_grpc.RealtimeServiceStub(channel).GetSources(
            realtime_pb2.GetSourcesRequest(site=site.id), metadata=tuple(second.items())
        )
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailing = dict(caught.value.trailing_metadata())
    assert trailing["x-ratelimit-remaining"] == "0"
    assert 1 <= int(trailing["retry-after"]) <= 60

    # Another site has an allowance of its own, by the same key too.
    answer = service.get("/v1/overview", headers=second, query={"site": other.id})
    assert (answer.status, allowance(answer)[1]) == (200, 9)


def test_what_a_caller_has_already_costs_a_request_too(service: Service, site: Site) -> None:
    def ask(**headers: str) -> Answer:
        return service.get(
            "/v1/overview", headers=site.bearer | headers, query={"site": site.id, "days": 7}
        )

    first = ask()
    again = ask(**{"if-none-match": first.headers["etag"]})
    assert (first.status, again.status) == (200, 304)
    assert again.body == b""
    assert allowance(first)[1] == 9
    assert allowance(again)[1] == 8


def test_many_at_once_get_ten_answers(service: Service, site: Site) -> None:
    with service.channel() as channel:
        stub = pace_pb2_grpc.PaceServiceStub(channel)
        calls = [
            stub.GetPace.future(
                pace_pb2.GetPaceRequest(site=site.id), metadata=tuple(site.bearer.items())
            )
            for _ in range(40)
        ]
        codes = [call.code() for call in calls]
    assert codes.count(grpc.StatusCode.OK) == LIMIT
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 30
