"""Events that are sent again and again count once, whatever happens in between."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.service import Service, wait_until
from tests.faults.tenants import Tenant, api_requests, create_tenant, encoded, page_view
from tests.faults.verdicts import Case

CALLERS = 8
#: An event is sent as often as this, at most.
TIMES_MAX = 5
EVENTS_A_CALL = 10

Event = dict[str, Any]


@dataclass(frozen=True)
class Family:
    """A way in, and how many events a tenant then has, as the family's own questions tell."""

    path: str
    headers: Mapping[str, str]
    events: list[Event]
    counted: Callable[[], int]


@dataclass
class Sender:
    """A caller who sends the batches of a list until each is acknowledged."""

    service: Service
    batches: list[tuple[Family, list[Event]]]
    acknowledged: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def run(self) -> None:
        where = urlsplit(self.service.rest)
        for family, events in self.batches:
            body = encoded(events)
            until = time.monotonic() + 60
            while time.monotonic() < until:
                connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=20)
                headers = {"content-type": "application/json", **family.headers}
                try:
                    connection.request("POST", family.path, body, headers)
                    answer = connection.getresponse()
                    said = answer.read()
                except (OSError, http.client.HTTPException):
                    self.answers["no answer"] += 1
                    time.sleep(0.05)
                    continue
                finally:
                    connection.close()
                self.answers[str(answer.status)] += 1
                if answer.status == 200:
                    break
                if answer.status != 503:
                    self.wrong.append(f"{answer.status} {said[:200]!r}")
                    break
                time.sleep(0.2)
            else:
                self.wrong.append(f"{family.path} was not acknowledged within a minute")


def families(service: Service, tenant: Tenant, number: int) -> list[Family]:
    """Return the ways in with so many events each."""
    now = time.time()

    def rows(path: str, headers: Mapping[str, str], **query: Any) -> int:
        answer = service.get(path, headers=headers, query=query)
        assert answer.status == 200, answer.body
        return len(answer.body.splitlines()) - 1

    def api() -> int:
        path = f"/1/timeseries/0/{int(time.time()) + 60}/"
        groups = service.get(path, headers=tenant.reads).json["groups"]
        counted = int(groups[tenant.application][0][1])
        export = f"/1/export/{int(now) - 86_400}/{int(time.time()) + 60}/"
        assert rows(export, tenant.reads, format="csv") == counted
        return counted

    def web() -> int:
        asked = {"site": tenant.site, "preset": "last7"}
        seen = service.get("/v1/charts", headers=tenant.bearer, query=asked).json
        views = int(seen["summary"]["total_pageviews"])
        export = rows("/v1/export", tenant.queries, website_id=tenant.site, format="csv")
        assert export == views + number, "page views, and the custom events of /track"
        return views

    def tracked() -> int:
        asked = {"parameters": ["custom_events"], "preset": "last_7d"}
        found = service.post_json(
            "/v1/query", asked, tenant.queries, query={"website_id": tenant.site}
        ).json
        return sum(row["total_events"] for row in found["data"][0]["data"])

    def runs() -> int:
        times = {"time_start": "2020-01-01T00:00:00Z", "time_end": "2040-01-01T00:00:00Z"}
        found = service.get("/v1/analytics/flow_runs", headers=tenant.workspace, query=times)
        return int(found.json["value"]["value"])

    return [
        Family("/1/event/", tenant.writes, api_requests(number, "api", at=now), api),
        Family(
            f"/v1/collect?site={tenant.site}",
            tenant.bearer,
            [page_view(tenant, f"view-{n}", f"v{n % 97}", f"/{n % 13}") for n in range(number)],
            web,
        ),
        Family(
            "/track",
            tenant.queries,
            [
                {
                    "name": "signup",
                    "eventId": f"track-{n}",
                    "anonymousId": f"a{n % 89}",
                    "websiteId": tenant.site,
                }
                for n in range(number)
            ],
            tracked,
        ),
        Family(
            "/v1/events",
            tenant.workspace,
            [
                {
                    "event_id": f"run-{n}",
                    "flow_run": {
                        "run_id": f"r{n}",
                        "workflow_id": "w",
                        "status": "completed",
                        "source": "manual",
                        "started_at": now - 1,
                        "finished_at": now,
                    },
                }
                for n in range(number)
            ],
            runs,
        ),
    ]


def test_each_event_counts_once(service: Service, case: Case) -> None:
    number = (10_000 if case.full else 400) // 4
    tenant = create_tenant(service.accounts_url)
    ways = families(service, tenant, number)
    callers = [Sender(service, batches) for batches in dealt(case.chance, ways, CALLERS)]
    sent = sum(len(events) for caller in callers for _, events in caller.batches)
    threads = [threading.Thread(target=caller.run) for caller in callers]
    for thread in threads:
        thread.start()
    killed = list(interrupted(service, case, threads))
    for thread in threads:
        thread.join()
    answers = sum((caller.answers for caller in callers), Counter())
    assert not [text for caller in callers for text in caller.wrong][:3]
    counted = {way.path.partition("?")[0]: way.counted() for way in ways}
    case.tell(
        f"{4 * number} events, {sent} sendings by {CALLERS} callers, {', '.join(killed)}; "
        f"answers {dict(answers)}"
    )
    assert counted == dict.fromkeys(counted, number)
    if case.full:
        # And again, from the files alone.
        end_server(service, signal.SIGKILL)
        wait_until(lambda: service.get("/health").status == 200, timeout=60)
        assert {way.path.partition("?")[0]: way.counted() for way in ways} == counted


def dealt(
    chance: random.Random, ways: list[Family], callers: int
) -> list[list[tuple[Family, list[Event]]]]:
    """Deal each family's events to callers in batches, each event one to five times."""
    hands: list[list[tuple[Family, list[Event]]]] = [[] for _ in range(callers)]
    for way in ways:
        sendings = [event for event in way.events for _ in range(chance.randint(1, TIMES_MAX))]
        chance.shuffle(sendings)
        for at in range(0, len(sendings), EVENTS_A_CALL):
            chance.choice(hands).append((way, sendings[at : at + EVENTS_A_CALL]))
    for hand in hands:
        chance.shuffle(hand)
    return hands


def interrupted(service: Service, case: Case, threads: list[threading.Thread]) -> Iterator[str]:
    """End and kill the server while the callers send; yield what was done."""
    ways = (signal.SIGTERM, signal.SIGKILL) * 2 if case.full else (signal.SIGKILL,)
    for number in ways:
        time.sleep(case.chance.uniform(0.1, 0.4) * (3 if case.full else 1))
        busy = any(thread.is_alive() for thread in threads)
        end_server(service, number)
        yield f"{number.name}{'' if busy else ' too late'}"


def end_server(service: Service, number: signal.Signals) -> None:
    """Send the server a signal that ends it; returns when another one serves."""
    pid = service.server_pid()
    os.kill(pid, number)
    wait_until(lambda: another(service, pid), timeout=60)


def another(service: Service, pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return service.server_pid() != pid
    return False
