"""Live state against a recount of all events."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

import pytest

from footfall.analytics.model import LiveEvent
from footfall.errors import UnavailableError
from footfall.live.batch import LiveBatch
from footfall.live.connection import RedisConnection
from footfall.live.state import Generation, LiveStateStore, MovedOnError
from tests.live.conftest import Valkey, free_port
from tests.live.recount import DAY, NOON_MS, WINDOW_MS, Recount, in_order, random_event, view


@pytest.fixture
def store(connection: RedisConnection) -> LiveStateStore:
    return LiveStateStore(connection, WINDOW_MS // 1000)


async def open_site(store: LiveStateStore, site_id: str) -> Generation:
    building = await store.begin(site_id, "token", (DAY, DAY + 1))
    assert building is not None
    generation = await store.finish(site_id, building, 0)
    assert generation is not None
    return generation


class LiveSite:
    """One site in the store and in the recount."""

    def __init__(self, store: LiveStateStore, site_id: str, generation: Generation) -> None:
        self.store, self.site_id, self.generation = store, site_id, generation
        self.recount = Recount()

    async def apply(self, events: Sequence[LiveEvent], now_ms: int) -> None:
        batch = LiveBatch(DAY)
        for event in events:
            batch.add(event)
        await self.store.apply(self.site_id, self.generation, batch, now_ms)
        self.recount.add(events, now_ms)

    async def check(self, now_ms: int) -> None:
        found = await self.store.snapshot(self.site_id, now_ms, DAY)
        assert in_order(found) == in_order(self.recount.counts(now_ms))
        assert sum(found.devices.values()) == found.active


@pytest.fixture
async def live(store: LiveStateStore, site_id: str) -> LiveSite:
    return LiveSite(store, site_id, await open_site(store, site_id))


@pytest.mark.parametrize("seed", range(12))
async def test_random_histories_equal_the_recount(live: LiveSite, seed: int) -> None:
    dice = random.Random(seed)
    now_ms = NOON_MS
    for _ in range(60):
        now_ms += dice.choice((0, 1, 1000, 20_000, 20_000, WINDOW_MS - 1, WINDOW_MS))
        events = [random_event(dice, now_ms, 40) for _ in range(dice.choice((1, 2, 30, 120)))]
        await live.apply(events, now_ms)
        if dice.random() < 0.5:
            now_ms += dice.choice((0, 1, 100_000, WINDOW_MS))
            await live.check(now_ms)
    await live.check(now_ms)


async def test_an_empty_site_has_nothing(live: LiveSite) -> None:
    await live.check(NOON_MS)
    assert (await live.store.snapshot(live.site_id, NOON_MS, DAY)).pages == ()


async def test_a_visitor_is_active_until_a_whole_window_has_passed(live: LiveSite) -> None:
    await live.apply([view("a", NOON_MS)], NOON_MS)
    last_moment = NOON_MS + WINDOW_MS - 1
    assert (await live.store.snapshot(live.site_id, last_moment, DAY)).active == 1
    gone = await live.store.snapshot(live.site_id, last_moment + 1, DAY)
    assert (gone.active, gone.pageviews_today, gone.visitors_today) == (0, 1, 1)


async def test_an_older_event_moves_nobody_but_counts_today(live: LiveSite) -> None:
    await live.apply([view("a", NOON_MS, path="/new")], NOON_MS)
    await live.apply([view("a", NOON_MS - 1, path="/old", medium="social", source="x")], NOON_MS)
    found = await live.store.snapshot(live.site_id, NOON_MS, DAY)
    assert [(page.path, page.active) for page in found.pages] == [("/new", 1)]
    assert found.pageviews_today == 2
    assert [source.source for source in found.sources] == ["(direct)"]


async def test_of_events_at_the_same_time_the_later_stored_one_stands(live: LiveSite) -> None:
    await live.apply([view("a", NOON_MS, path="/1"), view("a", NOON_MS, path="/2")], NOON_MS)
    await live.apply([view("a", NOON_MS, path="/3")], NOON_MS)
    found = await live.store.snapshot(live.site_id, NOON_MS, DAY)
    assert [page.path for page in found.pages] == ["/3"]


async def test_an_event_ahead_of_time_counts_as_seen_now(live: LiveSite) -> None:
    await live.apply([view("a", NOON_MS + 3_600_000)], NOON_MS)
    assert (await live.store.snapshot(live.site_id, NOON_MS, DAY)).active == 1
    assert (await live.store.snapshot(live.site_id, NOON_MS + WINDOW_MS, DAY)).active == 0


async def test_internal_links_and_heartbeats_keep_the_source_while_active(live: LiveSite) -> None:
    steps = [
        view("a", NOON_MS, medium="search", source="Google Search", detail="google.ch"),
        view("a", NOON_MS + 200_000, medium="", source=""),
        view("a", NOON_MS + 400_000, pageview=False, medium="(none)"),
    ]
    for event in steps:
        await live.apply([event], event.ts_ms)
    kept = await live.store.snapshot(live.site_id, NOON_MS + 400_000, DAY)
    assert [(s.source, s.detail) for s in kept.sources] == [("Google Search", "google.ch")]
    back = NOON_MS + 400_000 + WINDOW_MS
    await live.apply([view("a", back, medium="", source="")], back)
    anew = await live.store.snapshot(live.site_id, back, DAY)
    assert [s.source for s in anew.sources] == ["(direct)"]


@pytest.mark.parametrize("stay", [0, 1, 249, 250, 251, 1700])
async def test_many_visitors_who_leave_at_once(live: LiveSite, stay: int) -> None:
    def visits(names: range, at_ms: int) -> list[LiveEvent]:
        return [
            view(f"v{n}", at_ms, path=f"/{n % 70}", country="CHDEFR"[n % 3 * 2 :][:2], city=f"{n}")
            for n in names
        ]

    for first in range(0, 2000, 400):
        await live.apply(visits(range(first, first + 400), NOON_MS), NOON_MS)
    for first in range(0, stay, 400):
        names = range(first, min(first + 400, stay))
        await live.apply(visits(names, NOON_MS + 1000), NOON_MS + 1000)
    await live.check(NOON_MS + 1000)
    later = NOON_MS + WINDOW_MS
    await live.check(later)
    await live.apply([view("last", later, path="/1")], later)
    await live.check(later)
    await live.check(later + 1000)


async def test_a_site_that_everybody_left_keeps_no_visitors(live: LiveSite, valkey: Valkey) -> None:
    for first in range(0, 1200, 400):
        await live.apply([view(f"v{first + n}", NOON_MS) for n in range(400)], NOON_MS)
    await live.store.snapshot(live.site_id, NOON_MS + WINDOW_MS, DAY)
    with valkey.client() as client:
        names = [key.decode().rpartition("}")[2] for key in client.keys(f"*{live.site_id}}}*")]
        left = {name for name in names if not name.startswith(":epoch:")}
        assert left == {":gen", ":version", f":{DAY}:total", f":{DAY}:views", f":{DAY}:visitors"}
    # What was left behind of the page is not taken up again.
    await live.apply([view("new", NOON_MS + WINDOW_MS)], NOON_MS + WINDOW_MS)
    await live.check(NOON_MS + WINDOW_MS)


async def test_writes_alone_keep_an_unread_site_small(live: LiveSite, valkey: Valkey) -> None:
    for step in range(40):
        now_ms = NOON_MS + step * 60_000
        await live.apply([view(f"{step}-{n}", now_ms) for n in range(100)], now_ms)
    with valkey.client() as client:
        assert client.zcard(f"ff:live1:{{{live.site_id}}}:seen") == 500
    await live.check(now_ms)


async def test_every_key_has_a_time_to_live_and_the_site_in_braces(
    live: LiveSite, valkey: Valkey
) -> None:
    def check_keys() -> int:
        with valkey.client() as client:
            keys = client.keys(f"*{live.site_id}*")
            assert all(0 < client.pttl(key) <= 50 * 3600 * 1000 for key in keys)
        assert all(key.startswith(f"ff:live1:{{{live.site_id}}}:".encode()) for key in keys)
        return len(keys)

    await live.check(NOON_MS)
    assert check_keys() == 1
    await live.apply([view("a", NOON_MS, title="T"), view("b", NOON_MS, path="/b")], NOON_MS)
    assert check_keys() == 16
    for first in range(0, 2000, 400):
        await live.apply([view(f"v{first + n}", NOON_MS) for n in range(400)], NOON_MS)
    await live.apply([view("a", NOON_MS + 1), view("c", NOON_MS + 1, path="/c")], NOON_MS + 1)
    # Two are put back, the others dropped.
    await live.check(NOON_MS + WINDOW_MS)
    check_keys()


async def test_a_read_of_what_has_not_changed_is_the_one_before(live: LiveSite) -> None:
    await live.apply([view("a", NOON_MS), view("b", NOON_MS + 1000)], NOON_MS + 1000)
    read = partial(live.store.snapshot, live.site_id)
    first = await read(NOON_MS + 2000, DAY)
    assert await read(NOON_MS + 3000, DAY) is first
    # Another day's counters, and whoever else has read in between, are told apart.
    tomorrow = await read(NOON_MS + 3000, DAY + 1)
    assert (tomorrow.active, tomorrow.pageviews_today) == (2, 0)
    assert await LiveStateStore(live.store.redis).snapshot(live.site_id, NOON_MS, DAY) == first
    # A view that moves nobody changes today's counters; time alone takes the first visitor away.
    await live.apply([view("a", NOON_MS - 5000)], NOON_MS + 3000)
    assert (await read(NOON_MS + 3000, DAY)).pageviews_today == 3
    assert (await read(NOON_MS + WINDOW_MS, DAY)).active == 1
    # An emptied site is not what it was, though nothing has been counted since.
    assert await live.store.begin(live.site_id, "other", (DAY, DAY + 1))
    assert await live.store.finish(live.site_id, Generation("other", None), 0)
    assert (await read(NOON_MS + WINDOW_MS, DAY)).active == 0


async def test_the_top_pages_by_users_then_by_path(live: LiveSite) -> None:
    events = [view(f"{n}-{k}", NOON_MS, path=f"/{n:03}") for n in range(120) for k in range(n % 3)]
    events += [view("x", NOON_MS, path="/001/x"), view("y", NOON_MS, path="/001", host="a.example")]
    await live.apply(events, NOON_MS)
    await live.check(NOON_MS)
    found = await live.store.snapshot(live.site_id, NOON_MS, DAY)
    assert [page.path for page in found.pages[:2]] == ["/002", "/005"]
    assert len(found.pages) == 50


async def test_more_sources_on_one_page_than_lua_can_unpack(live: LiveSite) -> None:
    events = [view(f"v{n}", NOON_MS, medium="referral", source=f"{n}.test") for n in range(9000)]
    await live.apply(events, NOON_MS)
    await live.check(NOON_MS)


async def test_unknown_texts_never_overwrite_known_ones(live: LiveSite) -> None:
    for title, image in (("Old", ""), ("", "i.jpg"), ("New", ""), ("", "")):
        await live.apply([view("a", NOON_MS, title=title, og_image=image)], NOON_MS)
    page = (await live.store.snapshot(live.site_id, NOON_MS, DAY)).pages[0]
    assert (page.title, page.og_image) == ("New", "i.jpg")
    tomorrow = [view("b", NOON_MS, local_day=DAY + 1, og_image="j.jpg")]
    await live.apply(tomorrow, NOON_MS)
    after = await live.store.snapshot(live.site_id, NOON_MS, DAY + 1)
    assert (after.pages[0].title, after.pages[0].og_image) == ("New", "j.jpg")
    assert (after.pageviews_today, after.visitors_today) == (1, 1)


async def test_a_batch_of_another_generation_changes_nothing(live: LiveSite) -> None:
    await live.apply([view("a", NOON_MS)], NOON_MS)
    batch = LiveBatch(DAY)
    batch.add(view("b", NOON_MS))
    with pytest.raises(MovedOnError) as moved:
        await live.store.apply(live.site_id, Generation("other", 0), batch, NOON_MS)
    assert moved.value.found == live.generation
    await live.check(NOON_MS)


async def test_a_site_in_building_is_nobody_elses(live: LiveSite) -> None:
    await live.apply([view("a", NOON_MS)], NOON_MS)
    building = await live.store.begin(live.site_id, "second", (DAY,))
    assert building is not None
    assert await live.store.begin(live.site_id, "third", (DAY,)) is None
    with pytest.raises(UnavailableError) as refused:
        await live.store.snapshot(live.site_id, NOON_MS, DAY)
    assert refused.value.reason == "REDIS_UNAVAILABLE"
    assert await live.store.finish(live.site_id, Generation("third", None), 9) is None
    assert await live.store.finish(live.site_id, building, 9) == Generation("second", 9)
    assert (await live.store.snapshot(live.site_id, NOON_MS, DAY)).pageviews_today == 0


async def test_a_site_without_state_cannot_be_read(store: LiveStateStore, site_id: str) -> None:
    with pytest.raises(UnavailableError):
        await store.snapshot(site_id, NOON_MS, DAY)


async def test_scripts_that_the_server_forgot_are_sent_again(
    live: LiveSite, valkey: Valkey
) -> None:
    with valkey.client() as client:
        client.script_flush()
    await live.apply([view("a", NOON_MS)], NOON_MS)
    await live.check(NOON_MS)


async def test_no_server_is_unavailable() -> None:
    store = LiveStateStore(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(UnavailableError) as refused:
        await store.ping()
    assert refused.value.reason == "REDIS_UNAVAILABLE"
    assert "127.0.0.1" not in refused.value.message
    await store.redis.aclose()
