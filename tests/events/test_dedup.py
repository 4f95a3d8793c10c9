"""The dedup table against a plain dict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from footfall.events.dedup import WINDOW_US, DedupTable, Keys

#: Halves that collide: equal low bits, equal steps, and 0, which both halves must be to mean "no
#: key".
HALVES = st.sampled_from(
    [0, 1, 2, 3, 1 << 17, 2 << 17, (1 << 17) + 1, 1 << 63, (1 << 64) - 1, (1 << 63) + 5]
)
TIMES = st.sampled_from([0, 1, -1, WINDOW_US // 2, WINDOW_US, WINDOW_US + 1, 2 * WINDOW_US])


@dataclass
class Row:
    key: tuple[int, int]
    received_us: int


ROWS = st.builds(Row, st.tuples(HALVES, HALVES), TIMES)


def arrays(rows: list[Row]) -> tuple[Keys, np.ndarray]:
    hi = np.array([row.key[0] for row in rows], dtype=np.uint64)
    lo = np.array([row.key[1] for row in rows], dtype=np.uint64)
    return Keys(hi, lo), np.array([row.received_us for row in rows], dtype=np.int64)


def claim_one_by_one(seen: dict[tuple[int, int], int], rows: list[Row]) -> list[bool]:
    fresh = []
    for row in rows:
        known = row.key in seen and row.received_us - seen[row.key] <= WINDOW_US
        fresh.append(not known)
        if not known and row.key != (0, 0):
            seen[row.key] = row.received_us
    return fresh


@settings(max_examples=400)
@given(
    st.lists(st.tuples(st.lists(ROWS, max_size=80), TIMES, st.booleans()), min_size=1, max_size=8)
)
def test_claims_are_those_of_a_dict(
    commits: list[tuple[list[Row], int, bool]],
) -> None:
    table = DedupTable()
    seen: dict[tuple[int, int], int] = {}
    now_us = 0
    for rows, later_us, undone in commits:
        now_us += max(0, later_us)
        placed = [Row(row.key, now_us + row.received_us) for row in rows]
        before = dict(seen)
        claim = table.claim(*arrays(placed))
        assert claim.fresh.tolist() == claim_one_by_one(seen, placed)
        if undone:
            table.undo(claim)
            seen = before


def random_keys(count: int, seed: int) -> Keys:
    rng = np.random.default_rng(seed)
    return Keys(*rng.integers(1, 2**63, size=(2, count), dtype=np.uint64))


def at(count: int, received_us: int) -> np.ndarray:
    return np.full(count, received_us, dtype=np.int64)


def test_keys_outlive_growth() -> None:
    table = DedupTable()
    small = table.capacity
    keys = random_keys(300_000, seed=1)
    for start in range(0, len(keys), 1000):
        part = Keys(keys.hi[start : start + 1000], keys.lo[start : start + 1000])
        assert table.claim(part, at(1000, start)).fresh.all()
    assert table.capacity > small
    assert not table.claim(keys, at(len(keys), 300_000)).fresh.any()
    assert len(table) == len(keys)


def test_what_has_expired_makes_room_instead_of_growth() -> None:
    table = DedupTable()
    capacities = []
    for day in range(12):
        keys = random_keys(50_000, seed=day)
        received_us = day * (WINDOW_US + 1)
        assert table.claim(keys, at(len(keys), received_us)).fresh.all()
        assert not table.claim(keys, at(len(keys), received_us)).fresh.any()
        capacities.append(table.capacity)
    assert max(capacities) == capacities[0]


def test_undo_after_growth() -> None:
    table = DedupTable()
    kept, undone = random_keys(80_000, seed=3), random_keys(80_000, seed=4)
    table.claim(kept, at(len(kept), 0))
    table.undo(table.claim(undone, at(len(undone), 0)))
    assert len(table) == len(kept)
    assert not table.claim(kept, at(len(kept), 0)).fresh.any()
    assert table.claim(undone, at(len(undone), 0)).fresh.all()


def test_loading_is_remembering() -> None:
    table = DedupTable()
    keys = random_keys(600_000, seed=5)
    table.load(keys, at(len(keys), 7))
    assert not table.claim(keys, at(len(keys), 7 + WINDOW_US)).fresh.any()
    assert table.claim(keys, at(len(keys), 8 + WINDOW_US)).fresh.all()


def test_digests_are_read_whole() -> None:
    keys = Keys.from_digests([bytes(15) + b"\1", b"\1" + bytes(15), bytes(16)])
    assert keys.hi.tolist() == [0, 1 << 56, 0]
    assert keys.lo.tolist() == [1, 0, 0]
    assert keys.present.tolist() == [True, True, False]
