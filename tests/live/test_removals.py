"""What was removed from the event store goes from live state, whatever is going on there."""

from __future__ import annotations

import asyncio
import random

import pytest

from footfall.errors import UnavailableError
from footfall.ingest.model import Midnight, Removal
from tests.live.conftest import Valkey
from tests.live.recount import DAY, Recount
from tests.live.test_pump import World, burst


@pytest.fixture
def world(valkey: Valkey) -> World:
    return World(valkey.url)


def keys(valkey: Valkey, site_id: str) -> list[bytes]:
    with valkey.client() as client:
        return list(client.scan_iter(f"*{site_id}*"))  # type: ignore[arg-type]  # a synchronous client


def delete(world: World, site_id: str) -> None:
    """Delete a site from the accounts and the event store."""
    world.events.rows = [row for row in world.events.rows if row[1] != site_id]
    del world.recounts[site_id]


async def test_a_visitor_is_gone_from_the_next_read(world: World, site_id: str) -> None:
    dice = random.Random(1)
    async with world.server() as server:
        server.ingest(site_id, burst(world, dice, 100))
        await server.check(site_id)
        gone = world.events.rows[-1][2].visitor_id
        left = [row for row in world.events.rows if row[2].visitor_id != gone]
        world.events.rows = left
        recount = world.recounts[site_id] = Recount()
        recount.add([event for _, _, event in left], world.now_ms)
        await server.pump.forget(Removal(site_id, visitor_id=gone))
        await server.check(site_id)
        server.ingest(site_id, burst(world, dice, 30))
        await server.check(site_id)


async def test_nothing_is_left_of_a_site(world: World, site_id: str, valkey: Valkey) -> None:
    async with world.server() as server, world.server() as other:
        server.ingest(site_id, burst(world, random.Random(2), 300))
        await server.check(site_id)
        await other.check(site_id)
        assert keys(valkey, site_id)
        delete(world, site_id)
        await server.pump.forget(Removal(site_id))
        assert keys(valkey, site_id) == []
        # Neither a read nor what the other server still has of it brings anything back.
        for reader in (server, other):
            with pytest.raises(UnavailableError):
                await reader.snapshot(site_id)
        await other.pump.forget(Removal(site_id))
        assert keys(valkey, site_id) == []


async def test_a_rebuild_under_way_leaves_nothing(
    world: World, site_id: str, valkey: Valkey
) -> None:
    async with world.server() as server:
        await server.pump.settle()
        world.events.gate = asyncio.Event()
        world.commit(site_id, burst(world, random.Random(3), 300))
        server.pump._want(site_id, adopt=False)
        async with asyncio.timeout(10):
            while server.pump._building != site_id:  # noqa: ASYNC110 - another task's variable
                await asyncio.sleep(0.01)
        forgetting = asyncio.create_task(server.pump.forget(Removal(site_id)))
        await asyncio.sleep(0.05)
        assert not forgetting.done()
        delete(world, site_id)
        world.events.gate.set()
        await forgetting
        await server.pump.settle()
        assert keys(valkey, site_id) == []


async def test_old_days_are_in_no_live_state(world: World, site_id: str) -> None:
    async with world.server() as server:
        server.ingest(site_id, burst(world, random.Random(4), 30))
        await server.check(site_id)
        reads = world.events.reads
        await server.pump.forget(Removal(site_id, before=Midnight(DAY - 1, 0)))
        await server.check(site_id)
        assert world.events.reads == reads
