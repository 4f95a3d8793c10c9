"""The states of runs, documents and triggers against a recount in plain Python, whatever the order
in which their events arrive, and whatever is folded.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Select, select

from footfall.errors import UnavailableError
from footfall.events import EventStore, open_event_store
from footfall.events.clickhouse.driver import compile_sql
from footfall.events.clickhouse.store import ClickHouseStore
from footfall.events.duckdb.store import DuckDBStore
from footfall.events.duckdb.workspace import fetch_current
from footfall.events.tables import TABLES, batch_columns
from footfall.events.verify import StateDifference
from footfall.events.workspace_state import (
    DOCUMENT,
    RUN,
    TRIGGER,
    Entity,
    Standing,
    documents,
    runs,
    triggers,
)
from footfall.ingest.model import NO_KEY, EventBatch, EventTable
from footfall.ingest.workspace_events import entity_key
from tests.events.conftest import FOLD_ROWS, Engine
from tests.events.test_duckdb import Faulty
from tests.events.traffic import MINUTE, NOW, FakeClock, execute, key, query

Fields = Mapping[str, Any]

ROWS = {RUN.id: runs, DOCUMENT.id: documents, TRIGGER.id: triggers}
TABLE = {
    RUN.id: EventTable.FLOW_RUN_EVENTS,
    DOCUMENT.id: EventTable.DOCUMENT_EVENTS,
    TRIGGER.id: EventTable.TRIGGER_EVENTS,
}
ABSENT: Fields = {
    "event_id": "",
    "ts_us": NOW,
    "workflow_id": "",
    "workflow_name": "",
    "user_id": "",
    "source": "",
    "status": "",
    "started_us": None,
    "finished_us": None,
    "knowledge_base": "",
    "name": "",
    "file_type": "",
    "enabled": 0,
}


def batch(entity: Entity, events: Iterable[Fields], workspace: str = "w") -> EventBatch:
    """Return a batch of events of one kind; what an event leaves out is absent."""
    rows = [
        {**ABSENT, **event, entity.key: entity_key(workspace, event[entity.id])} for event in events
    ]
    table = TABLE[entity.id]
    return EventBatch(
        table,
        workspace,
        NOW,
        {c.name: [row[c.name] for row in rows] for c in batch_columns(TABLES[table])},
        [key(workspace, row["event_id"]) or NO_KEY for row in rows],
    )


def current(store: EventStore, entity: Entity, workspace: str = "w") -> dict[str, Fields]:
    """Return what the store says of a workspace's entities, by id."""

    def statement(standing: Standing) -> Select[Any]:
        rows = ROWS[entity.id](standing)
        return select(*(rows.c[name] for name in _shown(entity)))

    values = {"workspace_id": workspace}
    if isinstance(store, DuckDBStore):
        with store._engine.cursor() as connection:
            rows = fetch_current(connection, entity, statement, values)
    else:
        assert isinstance(store, ClickHouseStore)
        rows = store._driver.rows(compile_sql(statement(Standing.EVENTS).params(values)))
    found = {row[0]: dict(zip(_shown(entity), row, strict=True)) for row in rows}
    assert len(found) == len(rows), "one row an entity"
    return found


def _shown(entity: Entity) -> list[str]:
    more = {"run_id": ["run_time_us"], "document_id": [], "trigger_id": []}[entity.id]
    return [entity.id, *entity.fields, "ts_us", *more]


def recount(entity: Entity, events: Sequence[Fields]) -> dict[str, Fields]:
    """Return the states that events add up to; events in the order of their storing."""
    by_id = defaultdict(list)
    for order, event in enumerate(events):
        by_id[event[entity.id]].append({**ABSENT, **event, "order": order})
    found = {}
    for name, mine in by_id.items():
        mine.sort(key=lambda event: (event["ts_us"], event["order"]))
        state: dict[str, Any] = {entity.id: name}
        for field in entity.fields:
            known = [event[field] for event in mine if event[field] not in ("", None)]
            state[field] = known[-1] if known else ABSENT[field]
        state["ts_us"] = mine[0]["ts_us"]
        if entity is RUN:
            started, finished = state["started_us"], state["finished_us"]
            if started is not None:
                state["ts_us"] = started
            both = started is not None and finished is not None
            state["run_time_us"] = finished - started if both and finished >= started else None
        if entity is DOCUMENT:
            uploads = [event["ts_us"] for event in mine if event["status"] == "uploaded"]
            state["ts_us"] = uploads[0] if uploads else state["ts_us"]
        found[name] = state
    return found


#: Few, so that they meet.
TIMES = st.integers(NOW, NOW + 4)
IDS = st.sampled_from(["a", "é"])
RUN_EVENTS = st.fixed_dictionaries(
    {"run_id": IDS, "ts_us": TIMES},
    optional={
        "workflow_id": st.sampled_from(["w1", "w2"]),
        "workflow_name": st.sampled_from(["W", "“W”"]),
        "user_id": st.sampled_from(["ana", "bo"]),
        "source": st.sampled_from(["manual", "trigger", "agent"]),
        "status": st.sampled_from(["queued", "running", "completed", "failed", "stopped"]),
        "started_us": TIMES,
        "finished_us": TIMES,
    },
)
DOCUMENT_EVENTS = st.fixed_dictionaries(
    {"document_id": IDS, "ts_us": TIMES},
    optional={
        "knowledge_base": st.sampled_from(["kb1", "kb2"]),
        "name": st.sampled_from(["n1", "n2"]),
        "file_type": st.sampled_from(["pdf", "docx"]),
        "user_id": st.sampled_from(["ana", "bo"]),
        "status": st.sampled_from(["uploaded", "processed", "failed"]),
    },
)
TRIGGER_EVENTS = st.fixed_dictionaries(
    {"trigger_id": IDS, "ts_us": TIMES, "enabled": st.sampled_from([0, 1])}
)
#: Commits, and what happens after each.
HISTORIES = st.lists(
    st.tuples(
        st.lists(RUN_EVENTS, max_size=8),
        st.lists(DOCUMENT_EVENTS, max_size=6),
        st.lists(TRIGGER_EVENTS, max_size=4),
        st.sampled_from(["", "", "rest", "restart", "look"]),
    ),
    min_size=1,
    max_size=6,
)

_workspaces = itertools.count()


def check(store: EventStore, stored: Mapping[str, Sequence[Fields]], workspace: str) -> None:
    for entity in (RUN, DOCUMENT, TRIGGER):
        assert current(store, entity, workspace) == recount(entity, stored[entity.id])


def test_any_history(engine: Engine) -> None:
    @settings(
        max_examples=10 if engine.name == "duckdb" else 6,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(HISTORIES)
    def run(history: list[tuple[list[Fields], list[Fields], list[Fields], str]]) -> None:
        nonlocal store
        workspace = f"workspace-{next(_workspaces)}"
        stored: dict[str, list[Fields]] = {entity.id: [] for entity in (RUN, DOCUMENT, TRIGGER)}
        for *kinds, then in history:
            commit = [
                batch(entity, events, workspace)
                for entity, events in zip((RUN, DOCUMENT, TRIGGER), kinds, strict=True)
            ]
            store.commit(commit)
            for entity, events in zip((RUN, DOCUMENT, TRIGGER), kinds, strict=True):
                stored[entity.id] += events
            if then == "rest":
                store.rest()
            elif then == "restart":
                store = engine.reopen()
            elif then == "look":
                check(store, stored, workspace)
        check(store, stored, workspace)

    store = engine.open()
    run()
    assert asyncio.run(store.differences(10, 60)) == []


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_order_and_folds_do_not_matter(orders: Any, data: st.DataObject) -> None:
    """The same events in any order, cut into commits and folds anywhere, end in the same state,
    as long as no two events have the same time.
    """
    events = data.draw(
        st.lists(RUN_EVENTS, min_size=2, max_size=5, unique_by=lambda event: event["ts_us"])
    )
    shuffled = data.draw(st.permutations(events))
    first, second = (f"workspace-{next(_workspaces)}" for _ in range(2))
    store: EventStore = orders
    store.commit([batch(RUN, events, first)])
    store.rest()
    for event in shuffled:
        store.commit([batch(RUN, [event], second)])
        if data.draw(st.booleans()):
            store.rest()
    assert current(store, RUN, first) == current(store, RUN, second)


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Iterable[EventStore]:
    path = tmp_path_factory.mktemp("orders") / "events.duckdb"
    store = DuckDBStore(str(path), memory_mb=100)
    yield store
    store.close()


def test_a_run_counts_once_whatever_its_updates(store: EventStore) -> None:
    def run(at: int, **fields: Any) -> Fields:
        return {"run_id": "r", "ts_us": NOW + at, **fields}

    store.commit([batch(RUN, [run(10 * MINUTE, status="completed", finished_us=NOW + 9)])])
    store.rest()
    store.commit([batch(RUN, [run(0, status="running", started_us=NOW + 2, user_id="ana")])])
    expected = {
        "run_id": "r",
        "workflow_id": "",
        "workflow_name": "",
        "user_id": "ana",
        "source": "",
        "status": "completed",
        "started_us": NOW + 2,
        "finished_us": NOW + 9,
        "ts_us": NOW + 2,
        "run_time_us": 7,
    }
    assert current(store, RUN) == {"r": expected}
    store.rest()
    assert current(store, RUN) == {"r": expected}
    # At the same time, what is stored later stands, folded or not.
    for status in ("failed", "stopped"):
        store.commit([batch(RUN, [run(10 * MINUTE, status=status)])])
        assert current(store, RUN)["r"]["status"] == status
        store.rest()
    store.commit([batch(RUN, [run(5 * MINUTE, status="queued")])])
    assert current(store, RUN)["r"]["status"] == "stopped"


@pytest.mark.parametrize("rests", [True, False])
def test_a_late_event_is_newer_than_some_fields_only(store: EventStore, rests: bool) -> None:
    events = [
        {"ts_us": NOW, "user_id": "ana", "status": "running", "source": "agent"},
        {"ts_us": NOW + 2, "status": "completed"},
        {"ts_us": NOW + 1, "user_id": "bo", "status": "queued"},
    ]
    for event in events:
        store.commit([batch(RUN, [{"run_id": "r", **event}])])
        if rests:
            store.rest()
    found = current(store, RUN)["r"]
    assert (found["user_id"], found["status"], found["source"]) == ("bo", "completed", "agent")
    assert found["ts_us"] == NOW


def test_workspaces_do_not_mix(store: EventStore) -> None:
    store.commit([batch(TRIGGER, [{"trigger_id": "t", "enabled": 1}], name) for name in "ab"])
    store.rest()
    store.commit([batch(TRIGGER, [{"trigger_id": "t", "enabled": 0, "ts_us": NOW + 1}], "b")])
    assert [current(store, TRIGGER, name)["t"]["enabled"] for name in "ab"] == [1, 0]
    assert current(store, TRIGGER, "c") == {}


def test_an_event_that_is_sent_again_is_one_event(engine: Engine) -> None:
    store = engine.open()
    events: list[Fields] = [
        {"run_id": "r", "event_id": "1", "status": "running"},
        {"run_id": "r", "event_id": "2", "status": "failed", "ts_us": NOW + 1},
    ]
    (outcome,) = store.commit([batch(RUN, events)])
    assert outcome.duplicate_rows == ()
    # With another status, to see that it is not taken.
    again = batch(RUN, [{**events[1], "status": "queued"}, events[0]])
    for _ in range(2):
        (outcome,) = store.commit([again])
        assert list(outcome.duplicate_rows) == [0, 1]
        store = engine.reopen()
    assert current(store, RUN)["r"]["status"] == "failed"


def test_batches_of_all_kinds_share_a_commit(store: EventStore) -> None:
    outcomes = store.commit(
        [
            batch(RUN, [{"run_id": "r"}]),
            batch(TRIGGER, [{"trigger_id": "t", "enabled": 1}]),
            batch(RUN, [{"run_id": "s"}]),
        ]
    )
    assert [outcome.last_seq for outcome in outcomes] == [3, 3, 3]
    assert set(current(store, RUN)) == {"r", "s"}


async def test_folds_come_by_number_and_at_rest(engine: Engine) -> None:
    if engine.name != "duckdb":
        pytest.skip("ClickHouse makes states when they are read")
    store = engine.open()

    def folded() -> int:
        ((rows,),) = query(store, "SELECT count(*) FROM runs")
        return int(rows)

    store.commit([batch(RUN, [{"run_id": "first"}])])
    assert folded() == 0
    store.rest()
    assert folded() == 1
    store.commit([batch(RUN, [{"run_id": str(n)} for n in range(FOLD_ROWS)])])
    assert folded() == 1 + FOLD_ROWS
    # What a restart finds is not forgotten.
    store.commit([batch(RUN, [{"run_id": "last"}])])
    store = engine.reopen()
    assert folded() == 1 + FOLD_ROWS
    store.rest()
    assert folded() == 2 + FOLD_ROWS


def test_a_fold_that_fails_is_tried_again_and_no_event_is_refused(engine: Engine) -> None:
    if engine.name != "duckdb":
        pytest.skip("ClickHouse makes states when they are read")
    store = engine.open()
    # Folded after the runs, which are taken back with it.
    execute(store, "ALTER TABLE documents RENAME TO away")
    events = [{"run_id": str(n), "status": "running"} for n in range(FOLD_ROWS)]
    outcome, _ = store.commit([batch(RUN, events), batch(DOCUMENT, [{"document_id": "d"}])])
    assert outcome.last_seq == FOLD_ROWS + 1
    store.rest()
    assert query(store, "SELECT count(*) FROM runs") == [(0,)]
    assert current(store, RUN) == recount(RUN, events)
    execute(store, "ALTER TABLE away RENAME TO documents")
    store.commit([batch(TRIGGER, [{"trigger_id": "t", "enabled": 1}])])
    assert query(store, "SELECT count(*) FROM runs") == [(FOLD_ROWS,)]
    assert current(store, RUN) == recount(RUN, events)


def test_what_is_in_doubt_is_not_folded(tmp_path: Path) -> None:
    store = Faulty(f"{tmp_path}/events.duckdb", memory_mb=100, clock=FakeClock())
    store.commit([batch(TRIGGER, [{"trigger_id": "t", "enabled": 1}])])
    store.losing = True
    with pytest.raises(UnavailableError):
        store.commit([batch(TRIGGER, [{"trigger_id": "t", "enabled": 0}])])
    store.losing = False
    store.rest()
    assert query(store, "SELECT count(*) FROM triggers") == [(0,)]
    # Its caller was told that it failed, so it has.
    store.commit([batch(RUN, [{"run_id": "r"}])])
    store.rest()
    assert query(store, "SELECT enabled FROM triggers") == [(1,)]
    store.close()


def test_a_lost_commit_is_taken_out(chdb_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of one request are several inserts on ClickHouse."""
    store = open_event_store(f"chdb:///{chdb_directory}?database=taken_out", clock=FakeClock())
    assert isinstance(store, ClickHouseStore)
    kept = store._driver.insert

    def insert(table: str, rows: Any, token: str) -> None:
        if table == "trigger_events":
            raise UnavailableError("lost")
        kept(table, rows, token)

    both = [
        batch(RUN, [{"run_id": "r", "event_id": "1"}]),
        batch(TRIGGER, [{"trigger_id": "t", "event_id": "2", "enabled": 1}]),
    ]
    with monkeypatch.context() as patched:
        patched.setattr(store._driver, "insert", insert)
        with pytest.raises(UnavailableError):
            store.commit(both)
    store.commit([batch(DOCUMENT, [{"document_id": "d"}])])
    assert (current(store, RUN), current(store, TRIGGER)) == ({}, {})
    outcomes = store.commit(both)
    assert [list(outcome.duplicate_rows) for outcome in outcomes] == [[], []]
    assert set(current(store, RUN)) == {"r"}
    store.close()


async def test_wrong_states_are_found(engine: Engine) -> None:
    if engine.name != "duckdb":
        pytest.skip("ClickHouse has no states to be wrong")
    store = engine.open()
    assert isinstance(store, DuckDBStore)
    store.commit([batch(RUN, [{"run_id": str(n)} for n in range(5)])])
    store.commit([batch(DOCUMENT, [{"document_id": "d"}])])
    store.rest()
    execute(store, "UPDATE runs SET status = 'failed' WHERE run_id = '3'")
    execute(store, "DELETE FROM runs WHERE run_id = '4'")
    execute(store, "INSERT INTO documents SELECT * REPLACE (7 AS document_key) FROM documents")
    wrong = [
        StateDifference("runs", "w", "3"),
        StateDifference("runs", "w", "4"),
        StateDifference("documents", "w", "d"),
    ]
    assert await store.differences(10, 60) == wrong
    assert await store.differences(2, 60) == wrong[:2]
