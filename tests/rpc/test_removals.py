"""Sites, visitors and old days, removed over the wire while everything runs."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import grpc
import pytest

from footfall.accounts.model import KeyKind, Scope
from footfall.v1 import accounts_pb2 as pb
from footfall.v1 import charts_pb2, ingest_pb2, queries_pb2, queries_pb2_grpc, realtime_pb2
from tests.live.conftest import Valkey
from tests.rpc.conftest import Metadata, Service, refused

pytestmark = pytest.mark.asyncio(loop_scope="session")

DAY_S = 86_400


_numbers = itertools.count(1)


class Reader:
    """Whoever sends a site's page views and reads its figures, and the site's admin."""

    def __init__(self, service: Service) -> None:
        self.service = service
        account = service.manager.create_account(f"removals-{next(_numbers)}", "free").id
        self.site = service.manager.create_site(
            account, f"r{next(_numbers)}.example.com", "Europe/Zurich", public=False
        )
        self.metadata = self._key(account, [self.site.id], [Scope.READ, Scope.WRITE])
        self.admin = self._key(account, [], [Scope.ADMIN])

    def _key(self, account: str, sites: list[str], scopes: list[Scope]) -> Metadata:
        made = self.service.manager.create_key(
            account, kind=KeyKind.NM, site_ids=sites, scopes=scopes
        )
        return (("authorization", f"Bearer {made.text}"),)

    async def send(self, visitors: list[str], days_ago: float = 0.0, **fields: Any) -> None:
        at = time.time() - days_ago * DAY_S
        events = [
            ingest_pb2.WebEvent(
                url=f"https://{self.site.host}/{visitor}",
                visitor_id=visitor,
                timestamp=at,
                **fields,
            )
            for visitor in visitors
        ]
        answer = await self.service.ingest.IngestWebEvents(
            ingest_pb2.IngestWebEventsRequest(site=self.site.id, events=events),
            metadata=self.metadata,
        )
        assert answer.accepted == len(events)

    async def live(self) -> int:
        answer = await self.service.realtime.GetRealtime(
            realtime_pb2.GetRealtimeRequest(site=self.site.id), metadata=self.metadata
        )
        return int(answer.total_realtime)

    async def charts(self) -> Any:
        return await self.service.charts.GetCharts(
            charts_pb2.GetChartsRequest(site=self.site.id), metadata=self.metadata
        )

    async def pages(self) -> list[str]:
        return sorted(page.url for page in (await self.charts()).top_pages)


async def test_a_visitor_is_gone_from_every_answer(service: Service) -> None:
    reader = Reader(service)
    await reader.send(["ann", "bob", "ann"])
    assert await reader.live() == 2
    assert await reader.pages() == ["/ann", "/bob"]
    done = await service.accounts.DeleteVisitor(
        pb.DeleteVisitorRequest(site=reader.site.id, visitor_id="ann"), metadata=reader.admin
    )
    assert done.done
    assert await reader.live() == 1
    after = await reader.charts()
    assert [page.url for page in after.top_pages] == ["/bob"]
    assert (after.summary.total_pageviews, after.summary.total_visits) == (1, 1)
    assert service.store.removal_orders() == []
    # The visitor may come again.
    await reader.send(["ann"])
    assert await reader.live() == 2


async def test_a_site_is_gone_for_everybody(service: Service, valkey: Valkey) -> None:
    reader, other = Reader(service), Reader(service)
    await reader.send(["ann", "bob"])
    await other.send(["ann"])
    assert (await reader.live(), await other.live()) == (2, 1)
    with valkey.client() as client:
        assert list(client.scan_iter(f"*{reader.site.id}*"))
    done = await service.accounts.DeleteSite(
        pb.DeleteSiteRequest(id=reader.site.id), metadata=reader.admin
    )
    assert (done.id, done.done) == (reader.site.id, True)
    # What the server believes of a site holds for half a second.
    await asyncio.sleep(1)
    for call in (
        service.realtime.GetRealtime(
            realtime_pb2.GetRealtimeRequest(site=reader.site.id), metadata=reader.metadata
        ),
        service.ingest.IngestWebEvents(
            ingest_pb2.IngestWebEventsRequest(
                site=reader.site.id, events=[ingest_pb2.WebEvent(url="https://a.example/")]
            ),
            metadata=reader.metadata,
        ),
    ):
        error = await refused(call)
        assert (error.code, error.reason) == (
            grpc.StatusCode.PERMISSION_DENIED,
            "SITE_NOT_AUTHORIZED",
        )
    listed = await service.accounts.ListKeys(pb.ListKeysRequest(), metadata=reader.admin)
    assert all(reader.site.id not in key.sites for key in listed.keys)
    with valkey.client() as client:
        left = list(client.scan_iter(f"*live*{reader.site.id}*"))
        cached = list(client.scan_iter("ff:cache1:*"))
    assert (left, cached) == ([], [])
    assert service.store.removal_orders() == []
    assert await other.live() == 1


async def test_events_on_their_way_to_a_deleted_site_are_refused(service: Service) -> None:
    reader = Reader(service)
    await reader.send(["ann"])
    sent = 0

    async def go_on() -> None:
        nonlocal sent
        while True:
            await reader.send(["bob"])
            sent += 1

    senders = [asyncio.create_task(go_on()) for _ in range(4)]
    while sent < 10:  # noqa: ASYNC110 - it is this test's own
        await asyncio.sleep(0.01)
    await service.accounts.DeleteSite(
        pb.DeleteSiteRequest(id=reader.site.id), metadata=reader.admin
    )
    ends = await asyncio.gather(*senders, return_exceptions=True)
    for end in ends:
        assert isinstance(end, grpc.aio.AioRpcError)
        assert end.code() in {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED}


async def test_old_days_are_removed_when_the_retention_says_so(service: Service) -> None:
    reader = Reader(service)
    await reader.send(["old"], days_ago=5)
    await reader.send(["new"], days_ago=1)
    assert await reader.pages() == ["/new", "/old"]
    before = (await reader.charts()).limits.min_date
    changed = await service.accounts.UpdateSite(
        pb.UpdateSiteRequest(id=reader.site.id, retention_days=2), metadata=reader.admin
    )
    assert changed.retention_days == 2
    # As often as the plan allows.
    for _ in range(6):
        await asyncio.sleep(1.5)
        answer = await reader.charts()
        if len(answer.top_pages) == 1:
            break
    assert [page.url for page in answer.top_pages] == ["/new"]
    assert answer.limits.min_date > before
    forever = await service.accounts.UpdateSite(
        pb.UpdateSiteRequest(id=reader.site.id, retention_days=0), metadata=reader.admin
    )
    assert not forever.HasField("retention_days")
    error = await refused(
        service.accounts.UpdateSite(
            pb.UpdateSiteRequest(id=reader.site.id, retention_days=36_501), metadata=reader.admin
        )
    )
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_counts_of_batch_queries_are_made_anew(service: Service) -> None:
    reader = Reader(service)
    await reader.send(["ann", "bob"])
    stub: Any = queries_pb2_grpc.QueryServiceStub(service.channel)

    async def counts() -> str:
        answer = await stub.RunQueries(
            queries_pb2.RunQueriesRequest(
                website_id=reader.site.id,
                queries=[
                    queries_pb2.Query(
                        parameters=[queries_pb2.QueryParameter(name="summary_metrics")],
                        preset="last_7d",
                    )
                ],
            ),
            metadata=reader.metadata,
        )
        return str(answer)

    before = await counts()
    assert await counts() == before
    await service.accounts.DeleteVisitor(
        pb.DeleteVisitorRequest(site=reader.site.id, visitor_id="ann"), metadata=reader.admin
    )
    assert await counts() != before
