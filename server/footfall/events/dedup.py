"""Which events have been seen: an exact set of 128-bit keys with a time each.

The keys are digests, so their own bits are the hash. The set is an open-addressing table in numpy
arrays, asked a commit at a time: a Python set of the same keys takes four times the memory, an
index in the engine a hundred times the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

UInt64s = npt.NDArray[np.uint64]
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

#: How long a key is remembered after it was received, inclusive.
WINDOW_US: Final = 24 * 60 * 60 * 1_000_000

_CAPACITY_MIN: Final = 1 << 17
#: The share of slots that may be taken; probes get long beyond it.
_LOAD_MAX: Final = 0.7
#: Keys per step of a rebuild, which bounds the memory of its scratch arrays.
_CHUNK: Final = 1 << 18
#: So few rows are cheaper one by one than in step.
_SCALAR_MAX: Final = 24


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys in the order of their rows: 128 bits in two halves, both 0 for "no key"."""

    hi: UInt64s
    lo: UInt64s

    @classmethod
    def from_digests(cls, digests: Sequence[bytes]) -> Keys:
        """Read 16-byte digests."""
        halves = np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64).reshape(-1, 2)
        return cls(np.ascontiguousarray(halves[:, 0]), np.ascontiguousarray(halves[:, 1]))

    def take(self, rows: Int64s) -> Keys:
        return Keys(self.hi[rows], self.lo[rows])

    @property
    def present(self) -> Bools:
        present: Bools = (self.hi | self.lo) != 0
        return present

    def __len__(self) -> int:
        return len(self.hi)


@dataclass(frozen=True, slots=True)
class Claim:
    """What one call of `claim` did: the rows that were new, and what it takes to undo it."""

    fresh: Bools
    added: Int64s
    renewed: Int64s
    renewed_before: Int64s


class DedupIndex(Protocol):
    """The authority on what has been seen."""

    def claim(self, keys: Keys, received_us: Int64s) -> Claim:
        """Take the keys, first come first served in row order, and say which were free.

        A row without a key is always fresh; so is one whose key was last accepted more than 24
        hours before the row was received.
        """

    def undo(self, claim: Claim) -> None:
        """Forget the latest claim, as if it had never been made."""

    def load(self, keys: Keys, received_us: Int64s) -> None:
        """Add keys that the store holds, in commit order."""


class DedupTable:
    """The DedupIndex of a store with one writer."""

    def __init__(self) -> None:
        self._allocate(_CAPACITY_MIN)
        self._newest_us = np.iinfo(np.int64).min

    def __len__(self) -> int:
        """Return the number of keys that take a slot, expired ones that still do included."""
        return self._taken

    @property
    def capacity(self) -> int:
        return len(self._slots)

    def claim(self, keys: Keys, received_us: Int64s) -> Claim:
        fresh = np.ones(len(keys), dtype=np.bool_)
        rows = np.flatnonzero(keys.present)
        if not len(rows):
            return Claim(fresh, *(np.empty(0, dtype=np.int64),) * 3)
        if len(rows) < len(keys):
            keys, received_us = keys.take(rows), received_us[rows]
        self._newest_us = max(self._newest_us, int(received_us.max()))
        self._make_room(len(rows))
        done = self._insert(keys.hi.view(np.int64), keys.lo.view(np.int64), received_us)
        fresh[rows] = done.accepted
        return done.claim(fresh)

    def undo(self, claim: Claim) -> None:
        # A claim that added keys found these slots empty, and no key came after them: emptying
        # them again breaks no probe sequence.
        self._slots[claim.added, :2] = 0
        self._taken -= len(claim.added)
        # A key that was renewed twice goes back to its first time: the last assignment stands.
        self._slots[claim.renewed[::-1], 2] = claim.renewed_before[::-1]

    def load(self, keys: Keys, received_us: Int64s) -> None:
        for start in range(0, len(keys), _CHUNK):
            part = slice(start, start + _CHUNK)
            self.claim(Keys(keys.hi[part], keys.lo[part]), received_us[part])

    def _allocate(self, capacity: int) -> None:
        # A slot is a row (hi, lo, received), so that a probe costs one cache miss.
        self._slots = np.zeros((capacity, 3), dtype=np.int64)
        self._taken = 0

    def _make_room(self, more: int) -> None:
        if self._taken + more <= self.capacity * _LOAD_MAX:
            return
        slots = self._slots
        keep = (slots[:, 0] | slots[:, 1]) != 0
        keep &= slots[:, 2] >= self._newest_us - WINDOW_US
        slots = slots[keep]
        # Some room beyond what is needed, or the next rebuild would follow at once.
        capacity = _CAPACITY_MIN
        while len(slots) * 1.25 + more > capacity * _LOAD_MAX:
            capacity *= 2
        self._allocate(capacity)
        for start in range(0, len(slots), _CHUNK):
            part = slots[start : start + _CHUNK]
            self._insert(part[:, 0].copy(), part[:, 1].copy(), part[:, 2].copy())

    def _insert(self, hi: Int64s, lo: Int64s, received_us: Int64s) -> _Insertion:
        """Probe for all keys in step.

        Equal keys have equal probe sequences and so meet at every slot at the same time; there
        the first row of those that want the slot gets it. That makes the outcome the one of
        taking the rows one by one.
        """
        slots = self._slots
        mask = self.capacity - 1
        at = lo & mask
        # Odd steps reach every slot of a table whose size is a power of two.
        step = (hi & mask) | 1
        done = _Insertion(np.zeros(len(hi), dtype=np.bool_))
        pending = np.arange(len(hi), dtype=np.int64)
        while len(pending) > _SCALAR_MAX:
            here = at[pending]
            found = slots.take(here, axis=0)
            empty = (found[:, 0] | found[:, 1]) == 0
            same = (found[:, 0] == hi[pending]) & (found[:, 1] == lo[pending])
            again = np.zeros(len(pending), dtype=np.bool_)

            expired = same & (received_us[pending] - found[:, 2] > WINDOW_US)
            if expired.any():
                rows = pending[expired]
                where, first = np.unique(at[rows], return_index=True)
                done.renew(rows[first], where, slots[where, 2])
                slots[where, 2] = received_us[rows[first]]
                # The others are judged again, by the time that the first has just set.
                later = np.ones(len(rows), dtype=np.bool_)
                later[first] = False
                again[np.flatnonzero(expired)[later]] = True

            wanting = np.flatnonzero(empty)
            if len(wanting):
                rows, where = pending[wanting], here[wanting]
                # The last assignment to a slot stands, so the first row is assigned last.
                slots[where[::-1], 2] = rows[::-1]
                won = slots[where, 2] == rows
                again[wanting[~won]] = True
                rows, where = rows[won], where[won]
                slots[where, 0] = hi[rows]
                slots[where, 1] = lo[rows]
                slots[where, 2] = received_us[rows]
                done.add(rows, where)

            collided = ~(empty | same)
            moved = pending[collided]
            at[moved] = (at[moved] + step[moved]) & mask
            pending = pending[collided | again]
        for row in pending.tolist():
            self._insert_one(
                row, (int(hi[row]), int(lo[row]), int(received_us[row])), at, step, done
            )
        self._taken += done.added_count
        return done

    def _insert_one(
        self,
        row: int,
        entry: tuple[int, int, int],
        at: Int64s,
        step: Int64s,
        done: _Insertion,
    ) -> None:
        """Go on with one row: the last few are cheaper this way than in step."""
        slots, mask = self._slots, self.capacity - 1
        where, stride = int(at[row]), int(step[row])
        while True:
            hi, lo, seen_us = slots[where].tolist()
            if (hi, lo) == entry[:2]:
                if entry[2] - seen_us > WINDOW_US:
                    done.renew(_one(row), _one(where), _one(seen_us))
                    slots[where, 2] = entry[2]
                return
            if hi == lo == 0:
                slots[where] = entry
                done.add(_one(row), _one(where))
                return
            where = (where + stride) & mask


class _Insertion:
    """What has become of the rows of an insertion so far."""

    def __init__(self, accepted: Bools) -> None:
        self.accepted = accepted
        self.added_count = 0
        self._added: list[Int64s] = []
        self._renewed: list[Int64s] = []
        self._renewed_before: list[Int64s] = []

    def add(self, rows: Int64s, slots: Int64s) -> None:
        self.accepted[rows] = True
        self.added_count += len(rows)
        self._added.append(slots)

    def renew(self, rows: Int64s, slots: Int64s, before_us: Int64s) -> None:
        self.accepted[rows] = True
        self._renewed.append(slots)
        self._renewed_before.append(before_us)

    def claim(self, fresh: Bools) -> Claim:
        return Claim(
            fresh,
            _concatenate(self._added),
            _concatenate(self._renewed),
            _concatenate(self._renewed_before),
        )


def _one(value: int) -> Int64s:
    return np.array([value], dtype=np.int64)


def _concatenate(parts: list[Int64s]) -> Int64s:
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
