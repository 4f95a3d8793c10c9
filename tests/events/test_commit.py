"""What a commit stores, what it takes for stored before, and what a failed one leaves."""

from __future__ import annotations

import asyncio
import threading

import pytest

from footfall.errors import InvalidInputError, UnavailableError
from footfall.events import EventStore
from footfall.ingest.model import CommitOutcome
from tests.events.conftest import Engine
from tests.events.traffic import (
    APP,
    DAY,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    SITE,
    api_batch,
    everything,
    execute,
    page,
    query,
    rollup,
    web_batch,
)


def ids(*names: str, **more: object) -> list[dict[str, object]]:
    return [{"event_id": name} | more for name in names]


def duplicates(outcomes: list[CommitOutcome]) -> list[list[int]]:
    return [list(outcome.duplicate_rows) for outcome in outcomes]


async def test_nothing_is_a_commit_too(store: EventStore) -> None:
    assert store.commit([]) == []
    assert [list(o.duplicate_rows) for o in store.commit([api_batch([])])] == [[]]
    assert await store.last_seq(10) == 0


async def test_an_event_comes_back_as_it_went_in(store: EventStore) -> None:
    full = {
        "event_id": "e-1",
        "ts_us": NOW - 1,
        "consumer_id": "Käufer №1 🛒",
        "method": "POST",
        "url": "/söme/päth?q='\"\\%s%%\n\t\0",
        "function": "unknown",
        "status_code": None,
        "response_us": 2**53 + 1,
        "data": '{"k":"v"}',
    }
    store.commit([api_batch([full])])
    (row,) = await everything(store)
    assert {name: getattr(row, name) for name in full} == full
    assert row.seq == 1


async def test_sequence_numbers_grow_over_all_tables(store: EventStore) -> None:
    first = store.commit([api_batch([{}, {}]), web_batch([{}, {}, {}])])
    second = store.commit([web_batch([{}], tenant_id="other"), api_batch([{}])])
    assert [outcome.last_seq for outcome in first] == [5, 5]
    assert [outcome.last_seq for outcome in second] == [7, 7]
    rows = query(store, "SELECT seq FROM api_requests UNION ALL SELECT seq FROM web_events")
    assert sorted(seq for (seq,) in rows) == [1, 2, 3, 4, 5, 6, 7]
    assert await store.last_seq(10) == 7


async def test_an_id_counts_once(store: EventStore) -> None:
    outcomes = store.commit([api_batch(ids("a", "b", "a", "")), api_batch(ids("b", "c", "", ""))])
    assert duplicates(outcomes) == [[2], [0]]
    assert duplicates(store.commit([api_batch(ids("c", "d"))])) == [[0]]
    assert [row.event_id for row in await everything(store)] == ["a", "b", "", "c", "", "", "d"]


async def test_the_same_batch_twice_in_a_commit(store: EventStore) -> None:
    batch = api_batch(ids("a", "b"))
    assert duplicates(store.commit([batch, batch])) == [[], [0, 1]]


async def test_a_commit_of_duplicates_stores_nothing(store: EventStore) -> None:
    (before,) = store.commit([api_batch(ids("a"))])
    (after,) = store.commit([api_batch(ids("a"))])
    assert after == CommitOutcome([0], before.last_seq)
    assert len(await everything(store)) == 1


async def test_tenants_never_meet(store: EventStore) -> None:
    store.commit([api_batch(ids("a"), tenant_id="one")])
    assert duplicates(store.commit([api_batch(ids("a"), tenant_id="two")])) == [[]]
    assert len(await everything(store, "one")) == len(await everything(store, "two")) == 1


async def test_duplicates_are_known_after_a_restart(engine: Engine) -> None:
    store = engine.open()
    store.commit([api_batch(ids("a", "b")), web_batch(ids("w"))])
    store = engine.reopen()
    outcomes = store.commit([api_batch(ids("b", "c")), web_batch(ids("w", "x"))])
    assert duplicates(outcomes) == [[0], [0]]
    assert outcomes[0].last_seq == 5
    assert [row.event_id for row in await everything(store)] == ["a", "b", "c"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_id_is_free_again_after_a_day(engine: Engine, restarted: bool) -> None:
    store = engine.open()
    store.commit([api_batch(ids("a"))])
    for later_us, known in ((DAY, True), (DAY + 1, False), (DAY + 2, True)):
        engine.clock.now_us = NOW + later_us
        if restarted:
            store = engine.reopen()
        batch = api_batch(ids("a", ts_us=engine.clock.now_us), received_us=engine.clock.now_us)
        assert duplicates(store.commit([batch])) == [[0] if known else []], later_us
    assert len(await everything(store)) == 2


async def test_an_old_log_adds_nothing_the_second_time_whenever_it_comes(engine: Engine) -> None:
    store = engine.open()
    # Two lines have the same time, and one has another line's id at another time.
    log = [{"event_id": f"line-{n}", "ts_us": NOW - 9 * DAY + n // 2 * SECOND} for n in range(40)]
    other = {"event_id": "line-3", "ts_us": NOW - 8 * DAY}
    sessions = web_batch(log)
    assert duplicates(store.commit([api_batch(log), sessions])) == [[], []]
    for days in (0, 1, 2, 400):
        engine.clock.now_us = NOW + days * DAY + 5
        store = engine.reopen()
        again = [
            api_batch(log, received_us=engine.clock.now_us),
            web_batch(log, received_us=engine.clock.now_us),
        ]
        assert duplicates(store.commit(again)) == [list(range(40))] * 2, days
    assert duplicates(store.commit([api_batch([other], received_us=NOW + 500 * DAY)])) == [[]]
    assert len(await everything(store)) == 41
    assert duplicates(
        store.commit([api_batch(log, tenant_id="another", received_us=NOW + 500 * DAY)])
    ) == [[]]


async def test_events_without_an_id_are_never_duplicates(store: EventStore) -> None:
    old = {"ts_us": NOW - 30 * DAY}
    for _ in range(3):
        assert duplicates(store.commit([api_batch([old, old, {}])])) == [[]]
    assert len(await everything(store)) == 9


POISON = [
    {"response_us": "12"},
    {"response_us": 2**63},
    {"response_us": None},
    {"url": None},
    {"url": 7},
    {"url": "\ud800"},
    {"status_code": 2**31},
]


@pytest.mark.parametrize("poison", POISON, ids=str)
async def test_a_poisoned_batch_leaves_no_trace(
    store: EventStore, poison: dict[str, object]
) -> None:
    good = api_batch(ids("a", "b"))
    with pytest.raises(InvalidInputError):
        store.commit([good, api_batch([poison | {"event_id": "c"}])])
    assert await everything(store) == []
    # Its neighbours can be stored without it, and so can the repaired event.
    assert duplicates(store.commit([good, api_batch(ids("c"))])) == [[], []]
    assert [row.seq for row in await everything(store)] == [1, 2, 3]


async def test_a_batch_that_is_not_whole_is_refused(store: EventStore) -> None:
    batch = api_batch(ids("a", "b"))
    batch.columns["url"].pop()
    with pytest.raises(InvalidInputError):
        store.commit([batch])


async def test_a_commit_that_fails_half_way_leaves_no_trace(store: EventStore) -> None:
    views = [{"visitor_id": "v", "ts_us": NOW - HOUR + n * 20 * MINUTE} for n in range(3)]
    store.commit([web_batch([{"visitor_id": "v", "ts_us": NOW - 2 * HOUR}])])
    before = rollup(store, "slot15", ["slot_us"])
    both = [
        web_batch([view | {"event_id": f"w{n}"} for n, view in enumerate(views)]),
        api_batch(ids("a")),
    ]
    execute(store, "ALTER TABLE api_requests RENAME TO away" if _is_duckdb(store) else _AWAY)
    with pytest.raises(UnavailableError) as raised:
        store.commit(both)
    assert "api_requests" not in str(raised.value)
    execute(store, "ALTER TABLE away RENAME TO api_requests" if _is_duckdb(store) else _BACK)

    other = store.commit([web_batch([{"visitor_id": "w", "ts_us": NOW}])])
    assert other[0].last_seq == 2
    slots = rollup(store, "slot15", ["slot_us"])
    assert slots == before | {(NOW // (15 * MINUTE) * 15 * MINUTE,): (1, 1)}

    assert duplicates(store.commit(both)) == [[], []]
    assert await store.last_seq(10) == 6
    # One visit of `v` two hours ago, and one that the three views make.
    assert query(store, "SELECT sum(visits) FROM web_events WHERE visitor_id = 'v'") == [(2,)]
    assert sum(visits for _, visits in rollup(store, "slot15", ["slot_us"]).values()) == 3
    assert len(await everything(store)) == 1


_AWAY = "RENAME TABLE api_requests TO away"
_BACK = "RENAME TABLE away TO api_requests"


def _is_duckdb(store: EventStore) -> bool:
    return type(store).__name__ == "DuckDBStore"


async def test_texts_of_pages_are_never_forgotten(engine: Engine) -> None:
    store = engine.open()

    def known() -> list[tuple[object, ...]]:
        columns = "path, title, author, pubdate, og_image, search_text"
        return query(store, f"SELECT {columns} FROM pages ORDER BY path, site_id")

    store.commit([web_batch([{"path": "/A"}], pages=[page("/A", title="Ünten")])])
    store.commit([web_batch([{"path": "/A"}], pages=[page("/A", author="Zoë")])])
    assert known() == [("/A", "Ünten", "Zoë", "", "", "example.com/a\nünten\nzoë")]
    store = engine.reopen()
    store.commit(
        [
            web_batch([{"path": "/A"}], pages=[page("/A", title="", og_image="i.png")]),
            web_batch([{"path": "/A"}, {"path": "/b"}], pages=[page("/A", title="Oben")]),
        ]
    )
    assert known() == [
        ("/A", "Oben", "Zoë", "", "i.png", "example.com/a\noben\nzoë"),
        ("/b", "", "", "", "", "example.com/b\n\n"),
    ]
    store.commit([web_batch([{"path": "/A"}], tenant_id="other")])
    assert [row[1] for row in known()] == ["", "Oben", ""]


async def test_a_reader_sees_a_prefix_of_the_commits(store: EventStore) -> None:
    done = threading.Event()

    def write() -> None:
        for size in range(1, 30):
            store.commit([api_batch([{}] * size), web_batch([{}])])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    whole = {sum(range(1, n)) for n in range(1, 31)}
    seen = []
    while not done.is_set():
        rows = await everything(store)
        assert len(rows) in whole
        seen.append(len(rows))
        await asyncio.sleep(0)
    writer.join()
    assert seen == sorted(seen)
    assert len(await everything(store, APP)) == sum(range(1, 30))
    assert query(store, f"SELECT count(*) FROM web_events WHERE site_id = '{SITE}'") == [(29,)]
