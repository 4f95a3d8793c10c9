"""What is answered from sums by hours and days is what all the events say."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from footfall.analytics.metrics.questions import (
    CallsQuery,
    Field,
    Measure,
    Source,
    TallyQuery,
    UsageQuery,
)
from footfall.durations import DAY_US, HOUR_US
from footfall.events.duckdb.store import DuckDBStore
from footfall.events.migrations import known_migrations
from footfall.events.tables import TABLES, batch_columns
from footfall.events.verify import StateDifference
from footfall.events.workspace_rollups import ROLLUPS, for_tallies, values
from footfall.ingest.model import NO_KEY, EventBatch, EventTable

FIRST = 20_000 * DAY_US
GROUPS = (None, Field.TOOL, Field.MODEL, Field.WORKFLOW, Field.NODE, Field.USER_ID)
TOKENS = (Measure(), Measure("sum", Field.TOKENS))
Row = dict[str, Any]


def a_time(pick: random.Random) -> int:
    """Return a time, often at the very edge of an hour or a day."""
    step = pick.choice((HOUR_US, DAY_US, 1))
    at_us = FIRST + pick.randrange(4 * DAY_US)
    return at_us // step * step + pick.choice((-1, 0, 0, 1))


def operation(pick: random.Random) -> Row:
    cost = pick.choice((None, 0, pick.randrange(10**9), 10**18))
    return {
        "ts_us": a_time(pick),
        "tool": pick.choice(("flow", "kb", "")),
        "model": pick.choice(("a", "b", "")),
        "provider": pick.choice(("", "p")),
        "workflow_name": pick.choice("wx"),
        "node": pick.choice("nm"),
        "user_id": pick.choice(("ü", "u", "")),
        "run_id": pick.choice(("", "r")),
        "conversation_id": pick.choice(("", "c")),
        "input_tokens": pick.choice((0, 7, 2**53)),
        "output_tokens": pick.choice((0, 5, 2**53)),
        "cached": int(cost == 0 and pick.random() < 0.5),
        "cost_pd": cost,
        "cache_cost_pd": 0 if not cost else pick.choice((0, cost, cost // 3)),
    }


def message(pick: random.Random) -> Row:
    return {"ts_us": a_time(pick), "role": pick.choice(("user", "agent", ""))}


def api_call(pick: random.Random) -> Row:
    return {"ts_us": a_time(pick), "endpoint": pick.choice(("/a", "/b")), "method": "GET"}


KINDS = {
    EventTable.AI_OPERATIONS: operation,
    EventTable.MESSAGES: message,
    EventTable.API_CALLS: api_call,
}
Stored = dict[EventTable, list[Row]]


def batch(table: EventTable, rows: Iterable[Row], workspace: str) -> EventBatch:
    rows = list(rows)
    numbers = {"status", "duration_us"}
    columns = {
        column.name: [
            row.get(column.name, None if column.name in numbers else _absent(column.type))
            for row in rows
        ]
        for column in batch_columns(TABLES[table])
    }
    return EventBatch(table, workspace, FIRST, columns, [NO_KEY] * len(rows))


def _absent(kind: Any) -> Any:
    return "" if kind.python_type is str else 0


def fill(store: DuckDBStore, pick: random.Random) -> Stored:
    """Store events of two workspaces in some commits, with folds at random; return one's."""
    stored: Stored = defaultdict(list)
    for _ in range(pick.randrange(1, 8)):
        group = []
        for table, make in KINDS.items():
            for workspace in ("mine", "other"):
                rows = [make(pick) for _ in range(pick.randrange(12))]
                if rows:
                    group.append(batch(table, rows, workspace))
                if workspace == "mine":
                    stored[table] += rows
        if group:
            store.commit(group)
        if pick.random() < 0.4:
            store.fold_states()
    return stored


def a_range(pick: random.Random) -> tuple[int, int]:
    start, end = sorted((a_time(pick), a_time(pick)))
    return start, end


def within(rows: Iterable[Row], ends: tuple[int, int]) -> list[Row]:
    return [row for row in rows if ends[0] <= row["ts_us"] <= ends[1]]


def test_any_range_of_any_history(tmp_path: Path) -> None:
    for seed in range(6):
        pick = random.Random(seed)
        store = DuckDBStore(str(tmp_path / f"{seed}.duckdb"))
        stored = fill(store, pick)
        for _ in range(12):
            ends = a_range(pick)
            check_usage(store, within(stored[EventTable.AI_OPERATIONS], ends), ends, pick)
            check_tallies(store, stored, ends, pick)
        check_pages(store, stored[EventTable.API_CALLS], a_range(pick))
        store.close()


def check_usage(
    store: DuckDBStore, operations: list[Row], ends: tuple[int, int], pick: random.Random
) -> None:
    group = pick.choice(GROUPS)
    naming = pick.choice((None, Field.RUN_ID, Field.CONVERSATION_ID))
    query = UsageQuery("mine", ends, group, naming, caches=True, unpriced="models")
    with store._engine.cursor() as connection:
        found = store._usage(connection, query)
    sums: defaultdict[str, Counter[str]] = defaultdict(Counter)
    models: Counter[tuple[str, str]] = Counter()
    for row in operations:
        if naming is not None and not row[naming.value]:
            continue
        key = row[group.value] if group is not None else ""
        of = sums[key]
        of["tokens"] += row["input_tokens"] + row["output_tokens"]
        of["priced"] += row["cost_pd"] is not None and not row["cached"]
        of["cost_pd"] += row["cost_pd"] or 0
        of["cache_cost_pd"] += row["cache_cost_pd"]
        if row["cost_pd"] is None:
            of["unpriced"] += 1
            models[row["provider"], row["model"]] += 1
    names = ("tokens", "priced", "cost_pd", "cache_cost_pd", "unpriced")
    told = {u.key: {name: getattr(u, name) for name in names} for u in found if u.key is not None}
    assert told == {key: {name: of[name] for name in names} for key, of in sums.items()}
    assert {(u.provider, u.model): u.unpriced for u in found if u.key is None} == models


def check_tallies(
    store: DuckDBStore, stored: Stored, ends: tuple[int, int], pick: random.Random
) -> None:
    step = pick.choice((None, HOUR_US, DAY_US))
    roles = tuple(Measure(only=(Field.ROLE, role)) for role in ("user", "agent"))
    asked: list[tuple[EventTable, TallyQuery]] = [
        (
            EventTable.AI_OPERATIONS,
            TallyQuery("mine", Source.OPERATIONS, TOKENS, (), ends, pick.choice(GROUPS)),
        ),
        (
            EventTable.MESSAGES,
            TallyQuery("mine", Source.MESSAGES, (Measure(), *roles), (), ends, None, step),
        ),
        (
            EventTable.API_CALLS,
            TallyQuery(
                "mine",
                Source.API_CALLS,
                (Measure(),),
                ((Field.ENDPOINT, "/a"),),
                ends,
                pick.choice((None, Field.ENDPOINT)),
                step,
            ),
        ),
    ]
    for table, query in asked:
        assert for_tallies(query) is not None
        with store._engine.cursor() as connection:
            found = store._tallies(connection, query)
        expected: defaultdict[tuple[str, int], list[int]] = defaultdict(
            lambda: [0] * len(query.measures)  # noqa: B023 - used within the loop's round
        )
        for row in within(stored[table], ends):
            if any(row[field.value] != value for field, value in query.where):
                continue
            key = row[query.group.value] if query.group is not None else ""
            bucket = row["ts_us"] // query.bucket_us * query.bucket_us if query.bucket_us else 0
            for index, measure in enumerate(query.measures):
                if measure.function == "sum":
                    expected[key, bucket][index] += row["input_tokens"] + row["output_tokens"]
                elif measure.only is None or row[measure.only[0].value] == measure.only[1]:
                    expected[key, bucket][index] += 1
        if query.group is None and query.bucket_us is None and not expected:
            expected["", 0] = [0] * len(query.measures)
        assert {(t.key, t.bucket_us): list(t.values) for t in found} == expected, query


def check_pages(store: DuckDBStore, calls: list[Row], ends: tuple[int, int]) -> None:
    newest = sorted(enumerate(within(calls, ends)), key=lambda at: (-at[1]["ts_us"], -at[0]))
    for offset in (0, 1, 5, 40, 10_000):
        with store._engine.cursor() as connection:
            page = store._api_calls(connection, CallsQuery("mine", ends, offset, 3))
        assert page.total == len(newest)
        expected = [row["endpoint"] for _, row in newest[offset : offset + 3]]
        assert [call.endpoint for call in page.rows] == expected


@pytest.mark.parametrize(
    ("ends", "whole"),
    [
        ((0, DAY_US - 1), (0, DAY_US - 1)),
        ((1, DAY_US - 1), None),
        ((0, DAY_US - 2), None),
        ((1, 3 * DAY_US), (DAY_US, 3 * DAY_US - 1)),
        ((5, 5), None),
    ],
)
def test_a_range_is_its_whole_days_and_two_ends(
    ends: tuple[int, int], whole: tuple[int, int] | None
) -> None:
    rollup = next(rollup for rollup in ROLLUPS if rollup.step_us == DAY_US)
    found = values(rollup, ends)
    parts = [
        range(found["start_us"], found["before_us"] + 1),
        range(found["whole_us"], found["whole_end_us"] + 1),
        range(found["after_us"], found["end_us"] + 1),
    ]
    assert sum(map(len, parts)) == ends[1] - ends[0] + 1
    assert (parts[1][0], parts[1][-1]) == whole if whole else not parts[1]


async def test_wrong_sums_are_found(tmp_path: Path) -> None:
    store = DuckDBStore(str(tmp_path / "events.duckdb"))
    rows = [{"ts_us": FIRST, "role": "user"}, {"ts_us": FIRST + HOUR_US, "role": "agent"}]
    store.commit([batch(EventTable.MESSAGES, rows, "w")])
    store.rest()
    assert await store.differences(10, 60) == []
    with store._engine.cursor() as connection:
        connection.execute("UPDATE message_hours SET events = 2 WHERE role = 'agent'")
    wrong = StateDifference("message_hours", "w", "the sum from 2024-10-04T01:00Z for agent")
    assert await store.differences(10, 60) == [wrong]
    store.close()


def test_a_file_of_a_version_without_sums_gets_them(tmp_path: Path) -> None:
    """Its migration starts them at nothing, and the next fold adds up all there is."""
    store = DuckDBStore(str(tmp_path / "events.duckdb"))
    pick = random.Random(1)
    stored = fill(store, pick)
    store.rest()
    with store._engine.cursor() as connection:
        for rollup in ROLLUPS:
            connection.execute(f"DELETE FROM {rollup.table.name}")
        connection.execute("UPDATE workspace_rolled_up SET through_seq = 0")
    store.close()
    for folds in (False, True):
        store = DuckDBStore(str(tmp_path / "events.duckdb"))
        if folds:
            store.rest()
        for _ in range(10):
            ends = a_range(pick)
            check_usage(store, within(stored[EventTable.AI_OPERATIONS], ends), ends, pick)
            check_tallies(store, stored, ends, pick)
        store.close()


#: The sums as they were before version 5 of the schema: in one table, and operations without a cost
#: were told apart by provider and model by all fields.
OLD_SUMS = """
    INSERT INTO operation_days
    SELECT workspace_id, ts_us // {day} * {day}, '{field}', {field}, (run_id != '')::TINYINT,
        (conversation_id != '')::TINYINT, if(cost_pd IS NULL, provider, ''),
        if(cost_pd IS NULL, model, ''), count(*), sum((input_tokens + output_tokens) >> 30),
        sum((input_tokens + output_tokens) & {low}), count(cost_pd) - sum(cached),
        sum(ifnull(cost_pd, 0) >> 30), sum(ifnull(cost_pd, 0) & {low}), sum(cache_cost_pd >> 30),
        sum(cache_cost_pd & {low}), count(*) - count(cost_pd)
    FROM ai_operations GROUP BY ALL
"""
FIELDS = {
    "tool": "tool",
    "model": "model",
    "workflow": "workflow_name",
    "node": "node",
    "user": "user_id",
}


async def test_a_file_with_sums_in_one_table_keeps_them(tmp_path: Path) -> None:
    store = DuckDBStore(str(tmp_path / "events.duckdb"))
    fill(store, random.Random(2))
    store.rest()
    (third,) = (known for known in known_migrations("duckdb") if known.version == 3)
    with store._engine.cursor() as connection:
        rows = "SELECT sum(events) FROM operation_days_by_user"
        before = connection.execute(rows).fetchall()
        (create,) = (sql for sql in third.statements if "operation_days " in sql)
        connection.execute(create)
        for by, field in FIELDS.items():
            connection.execute(f"DROP TABLE operation_days_by_{by}")
            connection.execute(OLD_SUMS.format(field=field, day=DAY_US, low=2**30 - 1))
        connection.execute("DELETE FROM schema_migrations WHERE version >= 5")
    store.close()
    store = DuckDBStore(str(tmp_path / "events.duckdb"))
    with store._engine.cursor() as connection:
        assert connection.execute(rows).fetchall() == before != [(None,)]
    assert await store.differences(10, 60) == []
    store.close()


@pytest.mark.parametrize("meanwhile", ["nothing", "commit", "commit and fold"])
def test_a_read_sees_one_moment(tmp_path: Path, meanwhile: str) -> None:
    """What it has read before a commit and what it reads after it do not come together."""
    store = DuckDBStore(str(tmp_path / "events.duckdb"))
    hours = TallyQuery(
        "w", Source.MESSAGES, (Measure(),), range_us=(FIRST, FIRST + DAY_US - 1), bucket_us=HOUR_US
    )
    rollup = for_tallies(hours)
    assert rollup is not None
    later = [{"ts_us": FIRST + hour * HOUR_US, "role": "user"} for hour in range(1, 4)]
    store.commit([batch(EventTable.MESSAGES, [{"ts_us": FIRST, "role": "user"}], "w")])
    store.fold_states()

    def counted(moment: Any) -> int:
        return sum(events for _, _, events in moment.tallies(hours, rollup))

    def twice(moment: Any) -> tuple[int, int]:
        before = counted(moment)
        if meanwhile != "nothing":
            store.commit([batch(EventTable.MESSAGES, [later.pop()], "w")])
        if meanwhile == "commit and fold":
            store.fold_states()
        return before, counted(moment)

    with store._engine.cursor() as connection:
        before, after = store._at_one_moment(connection, rollup, "w", twice)
        assert before == after == (1 if meanwhile == "nothing" else 2)
        # All that is stored now, folded or not.
        (found,) = store._tallies(connection, replace(hours, bucket_us=None))
        assert found.values == (1 if meanwhile == "nothing" else 3,)
    store.close()
