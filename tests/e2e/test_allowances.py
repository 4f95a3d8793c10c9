"""The allowances of batch queries, as callers of a whole service meet them."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from footfall.accounts.management import AccountManager
from footfall.accounts.model import KeyKind, Scope
from footfall.accounts.sql import open_account_store
from tests.e2e.service import Answer, Service, wait_until
from tests.faults.tenants import Tenant, create_tenant
from tests.gateway import http1

ASKED = {"parameters": ["summary"], "preset": "today"}
RETRY = Path(__file__).parent.parent / "clients" / "javascript" / "retry.mts"

_serial = count()


@dataclass(frozen=True)
class Customer:
    """An account on a plan of its own, with a site and a key."""

    account: str
    plan: str
    site: str
    key: str

    @property
    def reads(self) -> dict[str, str]:
        return {"x-api-key": self.key}


@pytest.fixture(scope="module")
def manager(service: Service) -> Iterator[AccountManager]:
    """Another process than the service changes accounts, as the command line is one."""
    store = open_account_store(f"sqlite:///{service.data / 'accounts.sqlite'}")
    yield AccountManager(store)
    store.close()


@pytest.fixture
def customer(manager: AccountManager) -> Callable[[int, int], Customer]:
    def make(per_10s: int, per_minute: int) -> Customer:
        name = f"allowances-{next(_serial)}"
        limits = {"account_requests_per_10s": per_10s, "account_requests_per_minute": per_minute}
        manager.update_plan(name, limits, like="free")
        account = manager.create_account(name, name)
        site = manager.create_site(account.id, f"{name}.example", "UTC", public=False)
        key = manager.create_key(
            account.id, kind=KeyKind.DBDY, site_ids=[site.id], scopes=[Scope.READ]
        )
        return Customer(account.id, name, site.id, key.text)

    return make


def ask(service: Service, site: str, headers: dict[str, str], document: Any = ASKED) -> Answer:
    return service.post_json("/v1/query", document, headers, query={"website_id": site})


def left(answer: Answer) -> tuple[int, int]:
    return int(answer.headers["x-ratelimit-limit"]), int(answer.headers["x-ratelimit-remaining"])


def usage(service: Service, who: Customer) -> dict[tuple[str, int], dict[str, Any]]:
    answer = service.get("/v1/usage", headers=who.reads)
    assert answer.status == 200
    assert answer.json["success"] is True
    assert answer.json["plan"] == who.plan
    return {(w["name"], w["window_seconds"]): w for w in answer.json["windows"]}


def test_an_account_to_its_last_request_and_a_plan_that_changes(
    service: Service, customer: Callable[[int, int], Customer]
) -> None:
    who = customer(4, 100)
    began = time.time()
    first = ask(service, who.site, who.reads)
    assert first.status == 200, first.body
    assert left(first) == (4, 3)
    reset = int(first.headers["x-ratelimit-reset"])
    assert began + 9 < reset <= time.time() + 11
    # What is wrong is told with what is left, and spends nothing; nor does looking.
    for answer, status, code in (
        (service.post_json("/v1/query", ASKED, who.reads), 400, "MISSING_WEBSITE_ID"),
        (ask(service, "aaaaaaaaaaaaaaaa", who.reads), 404, "WEBSITE_NOT_FOUND"),
        (ask(service, who.site, who.reads, [ASKED] * 5), 400, "VALIDATION_ERROR"),
    ):
        assert (answer.status, answer.json["code"], left(answer)) == (status, code, (4, 3))
    seen = usage(service, who)
    assert seen["requests", 10] == {
        "name": "requests",
        "window_seconds": 10,
        "limit": 4,
        "used": 1,
        "remaining": 3,
        "reset": reset,
    }
    assert (seen["requests", 60]["remaining"], seen["custom_sql", 60]["remaining"]) == (99, 30)

    batch = ask(service, who.site, who.reads, [ASKED] * 3)
    assert (batch.status, left(batch)) == (200, (4, 0))
    refused = ask(service, who.site, who.reads)
    assert (refused.status, left(refused)) == (429, (4, 0))
    wait_s = int(refused.headers["retry-after"])
    assert refused.json == {
        "success": False,
        "error": "Rate limit exceeded. Please try again later.",
        "code": "RATE_LIMIT_EXCEEDED",
        "limit": 4,
        "remaining": 0,
        "reset": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(reset)),
        "retryAfter": wait_s,
    }
    assert 1 <= wait_s <= 10

    # The operator changes the plan; what was spent stays spent.
    limits = ("--account-requests-per-10s", "1000", "--account-requests-per-minute", "6")
    service.cli("plan", "set", who.plan, *limits)
    time.sleep(1)
    raised = ask(service, who.site, who.reads)
    assert (raised.status, left(raised)) == (200, (6, 1))
    assert usage(service, who)["requests", 60]["limit"] == 6


def test_the_published_helper_gets_through(
    service: Service, customer: Callable[[int, int], Customer]
) -> None:
    who = customer(2, 1000)
    assert left(ask(service, who.site, who.reads, [ASKED, ASKED])) == (2, 0)
    headers = who.reads | {"content-type": "application/json"}
    request = {
        "url": f"{service.rest}/v1/query?website_id={who.site}",
        "options": {"method": "POST", "headers": headers, "body": json.dumps(ASKED)},
    }
    node = subprocess.run(
        ["node", "--no-warnings", str(RETRY), json.dumps(request)],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert node.returncode == 0, node.stderr.decode()
    got = json.loads(node.stdout)
    assert got["statuses"] == [429, 200]
    assert got["document"]["success"] is True


def test_a_public_site_is_read_without_credentials(
    service: Service, manager: AccountManager, customer: Callable[[int, int], Customer]
) -> None:
    who = customer(50, 300)
    before = ask(service, who.site, {})
    assert (before.status, before.json["code"]) == (401, "AUTH_REQUIRED")
    assert "x-ratelimit-limit" not in before.headers
    manager.update_site(who.account, who.site, public=True)
    time.sleep(1)
    public = ask(service, who.site, {})
    assert public.status == 200
    assert left(public)[0] == 100
    again = ask(service, who.site, {}, [ASKED] * 4)
    assert (again.status, left(again)) == (200, (100, left(public)[1] - 4))
    # The account has paid nothing.
    assert usage(service, who)["requests", 60]["used"] == 0
    types = service.get("/v1/query/types")
    assert (types.status, left(types)) == (200, (100, left(again)[1] - 1))
    manager.update_site(who.account, who.site, public=False)
    time.sleep(1)
    assert ask(service, who.site, {}).status == 401


def test_every_answer_names_its_request(
    service: Service, customer: Callable[[int, int], Customer]
) -> None:
    who = customer(50, 300)
    answers = [
        service.get("/health"),
        service.get("/v1/usage", headers=who.reads),
        service.get("/v1/usage"),
        service.get("/v1/query/websites", headers=who.reads),
        service.get("/v1/query/types"),
        ask(service, who.site, who.reads),
        ask(service, who.site, who.reads, {"parameters": "nonsense"}),
        ask(service, who.site, {"x-api-key": "dbdy_wrong"}),
        ask(service, "aaaaaaaaaaaaaaaa", who.reads),
        service.request("DELETE", "/v1/query", headers=who.reads),
        service.request("POST", "/health", body=b""),
        service.get("/v1/query/types?include_meta=%ff"),
        service.post_json("/v1/auth/login", {"email": "a", "password": "b"}),
    ]
    statuses = [answer.status for answer in answers]
    assert statuses == [200, 200, 401, 200, 200, 200, 400, 401, 404, 405, 405, 400, 401]
    for answer in answers:
        assert answer.json["success"] is (answer.status == 200)
        assert answer.headers["content-type"] == "application/json"
    named = {answer.headers["x-request-id"] for answer in answers}
    assert len(named) == len(answers)
    health = answers[0].json
    assert list(health) == ["success", "database", "redis", "version", "timestamp"]
    assert (health["success"], health["database"], health["redis"]) == (True, True, True)


#: Asks on a connection of its own, which one thread of the gateway serves.
Asker = Callable[..., http1.Answer]


@pytest.fixture
def on_one_connection(service: Service) -> Iterator[Asker]:
    with closing(http.client.HTTPConnection(urlsplit(service.rest).netloc)) as connection:

        def asker(path: str, headers: Mapping[str, str], document: Any = None) -> http1.Answer:
            body = None if document is None else json.dumps(document)
            connection.request("POST" if body else "GET", path, body, dict(headers))
            return http1.read(connection.getresponse())

        yield asker


def refused_by_gateway(service: Service, answers: list[http1.Answer]) -> list[bool]:
    """Return of each answer whether the gateway has refused it without asking the server."""

    def logged() -> list[bool]:
        text = (service.data / "logs" / "access.log").read_text()
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]
        details = {line["request_id"]: line["details"] for line in lines}
        ids = [answer.headers["x-request-id"] for answer in answers]
        return [details[i] == "lua_response" for i in ids] if details.keys() >= set(ids) else []

    return wait_until(logged, 15)


def question(tenant: Tenant, family: str) -> tuple[Any, ...]:
    """Return what reads something in each of the families."""
    now = int(time.time())
    times = "time_start=2026-01-01T00:00:00Z&time_end=2027-01-01T00:00:00Z"
    return {
        "A": (f"/v1/realtime?site={tenant.site}", tenant.bearer),
        "B": (f"/1/timeseries/{now - 86_400}/{now}/", tenant.reads),
        "C": (f"/v1/query?website_id={tenant.site}", tenant.queries, ASKED),
        "D": (f"/v1/analytics/flow_runs?{times}", tenant.workspace),
    }[family]


@pytest.mark.parametrize("family", "ABCD")
def test_a_refusal_is_the_same_whoever_makes_it(
    service: Service, on_one_connection: Asker, family: str
) -> None:
    tenant = create_tenant(
        service.accounts_url,
        site_requests_per_minute=1,
        application_reads_per_10s=1,
        account_requests_per_10s=1,
        workspace_requests_per_second=1,
    )
    asked = question(tenant, family)
    answers = [on_one_connection(*asked) for _ in range(20)]
    assert {answer.status for answer in answers} == {200, 429}
    documents: dict[bool, set[str]] = {True: set(), False: set()}
    for answer, by_gateway in zip(answers, refused_by_gateway(service, answers), strict=True):
        if answer.status == 429:
            documents[by_gateway].add(but_for_the_moment(answer))
        else:
            assert not by_gateway
    assert len(documents[False]) == 1
    # All calls of a workspace are in its record, which is the server's.
    assert documents[True] == (set() if family == "D" else documents[False])


def but_for_the_moment(answer: http1.Answer) -> str:
    """Return all that an answer says, but what names it and what counts seconds."""
    headers = dict(answer.headers)
    for name in ("x-request-id", "date"):
        del headers[name]
    seconds = [headers.pop("retry-after"), headers.pop("x-ratelimit-reset")]
    assert all(text.isdecimal() for text in seconds)
    document = answer.body.decode()
    if "retryAfter" in answer.json:
        document = json.dumps(answer.json | {"retryAfter": 0, "reset": ""})
    else:
        document = document.replace(f"in {seconds[0]} s", "in a moment")
    return json.dumps([sorted(headers.items()), document])


def test_a_batch_that_did_not_fit_keeps_no_single_query_out(
    service: Service, customer: Callable[[int, int], Customer], on_one_connection: Asker
) -> None:
    who = customer(5, 100)
    path = f"/v1/query?website_id={who.site}"
    batches = [on_one_connection(path, who.reads, [ASKED] * 3) for _ in range(4)]
    assert [answer.status for answer in batches] == [200, 429, 429, 429]
    singles = [on_one_connection(path, who.reads, ASKED) for _ in range(3)]
    assert [answer.status for answer in singles] == [200, 200, 429]
    # Another site is another question, and what costs nothing is told at any time.
    other = on_one_connection("/v1/query?website_id=aaaaaaaaaaaaaaaa", who.reads, ASKED)
    assert other.status == 404
    assert on_one_connection("/v1/usage", who.reads).status == 200


def test_all_of_an_allowance_is_given_however_many_are_refused(
    service: Service, on_one_connection: Asker
) -> None:
    tenant = create_tenant(
        service.accounts_url, account_requests_per_10s=20, account_requests_per_minute=1000
    )
    asked = question(tenant, "C")
    began, answers = time.monotonic(), []
    # The second window begins where the first ends, and is used up as soon.
    while time.monotonic() < began + 11:
        answers.append(on_one_connection(*asked))
        time.sleep(0.01)
    assert any(refused_by_gateway(service, answers))
    given: Counter[str] = Counter()
    used_up = set()
    for answer in answers:
        window = answer.headers["x-ratelimit-reset"]
        given[window] += answer.status == 200
        if answer.status == 429:
            used_up.add(window)
            assert 1 <= int(answer.headers["retry-after"]) <= 10
    assert len(used_up) == 2
    assert {given[window] for window in used_up} == {20}
