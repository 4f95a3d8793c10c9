"""What is read while others write is a prefix of the writes, and never less than before."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from footfall.v1 import realtime_pb2, realtime_pb2_grpc
from tests.e2e.service import Service
from tests.faults.tenants import Tenant, api_requests, create_tenant, page_view
from tests.faults.verdicts import Case

VISITORS = 7


@dataclass
class Writer:
    """Sends one event after the other, the n-th of which is known by n."""

    send: Callable[[int], None]
    #: How many events are acknowledged, and how many may be stored.
    acknowledged: int = 0
    begun: int = 0
    failure: BaseException | None = None

    def run(self, stop: threading.Event) -> None:
        try:
            while not stop.is_set():
                self.begun += 1
                self.send(self.begun - 1)
                self.acknowledged += 1
        except BaseException as error:  # noqa: BLE001 - for the test to see
            self.failure = error


@dataclass
class Reader:
    """Asks again and again, and compares each answer with the writes and with the one before."""

    name: str
    writer: Writer
    #: Returns the number of events, and what else a prefix of so many must make.
    ask: Callable[[], tuple[int, dict[str, tuple[int, int]]]]
    #: How much later than the acknowledgement an answer may know of an event, in seconds.
    lag_s: float = 0.0
    answers: int = 0
    #: Answers that there is none at the moment, which is not a wrong one.
    refused: int = 0
    wrong: list[str] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        seen = 0
        history: list[tuple[float, int]] = []
        while not stop.is_set() and not self.wrong:
            now = time.monotonic()
            history.append((now, self.writer.acknowledged))
            least = max((count for at, count in history if at <= now - self.lag_s), default=0)
            try:
                events, others = self.ask()
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:  # type: ignore[attr-defined]
                    self.wrong.append(f"{self.name}: {error!r}")
                self.refused += 1
                time.sleep(0.1)
                continue
            except BaseException as error:  # noqa: BLE001 - for the test to see
                self.wrong.append(f"{self.name}: {error!r}")
                return
            most = self.writer.begun
            if not least <= events <= most:
                self.wrong.append(f"{self.name}: {events} events, but {least} to {most} are there")
            if events < seen:
                self.wrong.append(f"{self.name}: {events} events after {seen}")
            for what, (found, of_prefix) in others.items():
                if found != of_prefix:
                    self.wrong.append(
                        f"{self.name}: {found} {what}, but a prefix of {events} has {of_prefix}"
                    )
            seen = max(seen, events)
            self.answers += 1


@pytest.fixture
def tenant(service: Service) -> Tenant:
    return create_tenant(service.accounts_url)


def test_reads_during_writes_are_prefixes(service: Service, tenant: Tenant, case: Case) -> None:
    seconds = 20 if case.full else 2
    stop = threading.Event()
    with ExitStack() as stack:
        channel = stack.enter_context(service.channel())
        writers = [Writer(send) for send in ways_in(service, tenant)]
        readers = ways_out(service, tenant, channel, *writers)
        threads = [threading.Thread(target=each.run, args=(stop,)) for each in (*writers, *readers)]
        case.chance.shuffle(threads)
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        stop.set()
        for thread in threads:
            thread.join()
        assert not [writer.failure for writer in writers if writer.failure]
        assert not [text for reader in readers for text in reader.wrong][:3]
        # Once nobody writes, all are told all of it.
        for reader in readers:
            time.sleep(reader.lag_s)
            assert reader.ask()[0] == reader.writer.acknowledged, reader.name
    assert all(reader.answers > 1 for reader in readers)
    case.tell(
        f"{[writer.acknowledged for writer in writers]} writes, answers: "
        + ", ".join(f"{reader.name} {reader.answers}" for reader in readers)
        + f"; {sum(reader.refused for reader in readers)} refused"
    )


def ways_in(service: Service, tenant: Tenant) -> tuple[Callable[[int], None], ...]:
    """Return what sends the n-th page view, API request and workflow run."""

    def posted(path: str, events: list[dict[str, Any]], headers: Any) -> None:
        answer = service.post_json(path, events, headers)
        assert answer.status == 200, answer.body
        assert answer.json["accepted"] == len(events), answer.body

    def view(number: int) -> None:
        event = page_view(tenant, f"v-{number}", f"visitor-{number % VISITORS}")
        posted(f"/v1/collect?site={tenant.site}", [event], tenant.bearer)

    def call(number: int) -> None:
        (event,) = api_requests(1, f"c-{number}")
        event["consumer_id"] = f"consumer-{number % VISITORS}"
        posted("/1/event/", [event], tenant.writes)

    def run(number: int) -> None:
        event = {
            "event_id": f"r-{number}",
            "flow_run": {
                "run_id": f"run-{number}",
                "workflow_id": "w",
                "user_id": f"user-{number % VISITORS}",
                "source": "manual",
                "status": "completed",
            },
        }
        posted("/v1/events", [event], tenant.workspace)

    return view, call, run


def ways_out(
    service: Service,
    tenant: Tenant,
    channel: grpc.Channel,
    views: Writer,
    calls: Writer,
    runs: Writer,
) -> list[Reader]:
    """Return a reader for each way out of the three families."""
    site = {"site": tenant.site}

    def charts() -> tuple[int, dict[str, tuple[int, int]]]:
        asked = site | {"preset": "last7"}
        found = service.get("/v1/charts", headers=tenant.bearer, query=asked).json
        events = int(found["summary"]["total_pageviews"])
        pages = sum(page["pageviews"] for page in found["top_pages"])
        days = sum(day["pageviews"] for day in found["daily"])
        return events, {"views of pages": (pages, events), "views of days": (days, events)}

    def queries() -> tuple[int, dict[str, tuple[int, int]]]:
        asked = {"parameters": ["summary", "pages", "events_by_date"], "preset": "last_7d"}
        found = service.post_json(
            "/v1/query", asked, tenant.queries, query={"website_id": tenant.site}
        ).json["data"]
        (summary,), pages, days = (part["data"] for part in found)
        events = int(summary["pageviews"])
        return events, {
            "visitors": (summary["unique_visitors"], min(events, VISITORS)),
            "views of pages": (sum(row["pageviews"] for row in pages), events),
            "views of days": (sum(row["pageviews"] for row in days), events),
        }

    def realtime() -> tuple[int, dict[str, tuple[int, int]]]:
        stub = realtime_pb2_grpc.RealtimeServiceStub(channel)
        found = stub.GetRealtime(
            realtime_pb2.GetRealtimeRequest(site=tenant.site),
            metadata=tuple(tenant.bearer.items()),
            timeout=30,
        )
        snapshot = getattr(found, "snapshot", found)
        events = int(snapshot.total_pageviews_today)
        return events, {"active": (snapshot.total_realtime, min(events, VISITORS))}

    def timeseries() -> tuple[int, dict[str, tuple[int, int]]]:
        path = f"/1/timeseries/0/{int(time.time()) + 60}/"
        asked = {"group": "consumer_id"}
        groups = service.get(path, headers=tenant.reads, query=asked).json["groups"]
        counts = Counter({name: int(points[0][1]) for name, points in groups.items() if points})
        events = counts.total()
        spread = max(counts.values(), default=0) - min(counts.values(), default=0)
        return events, {
            "consumers": (len(counts), min(events, VISITORS)),
            "more of one than of another": (
                min(spread, 1),
                int(events % VISITORS != 0 and events > VISITORS),
            ),
        }

    def metrics() -> tuple[int, dict[str, tuple[int, int]]]:
        times = {"time_start": "2020-01-01T00:00:00Z", "time_end": "2040-01-01T00:00:00Z"}
        path = "/v1/analytics/flow_runs"
        found = service.get(path, headers=tenant.workspace, query=times).json
        return int(found["value"]["value"]), {}

    return [
        Reader("charts", views, charts),
        Reader("queries", views, queries),
        # Live state follows the commits.
        Reader("realtime", views, realtime, lag_s=5.0),
        Reader("timeseries", calls, timeseries),
        Reader("metrics", runs, metrics),
    ]
