"""Sums by local day and a key, in arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from footfall.events.rollups import SUMS
from footfall.ingest.model import WebEventKind

Ints = npt.NDArray[Any]
#: Values by column, all of the same length.
Columns = Mapping[str, Ints]

_TYPES: Final = {
    "local_day": np.int32,
    "key": np.int32,
    "pageviews": np.int32,
    "visits": np.int32,
    "engaged_us": np.int64,
}
#: Rows that may wait to be put in order: a look at them takes less time.
_RECENT_MAX: Final = 4_096


class DayCounts:
    """Rows of a day, a key from 0 to 2^31 - 1, and sums; a day and key may have several."""

    def __init__(self, rows: Columns) -> None:
        """Take over rows in any order."""
        #: By day; and what came since, in any order.
        self._settled, self._recent = _typed(rows), _no_rows()
        self._settle()

    @classmethod
    def none(cls) -> DayCounts:
        """Return no rows."""
        return cls(_no_rows())

    def __len__(self) -> int:
        return len(self._settled["key"]) + len(self._recent["key"])

    def add(self, rows: Columns) -> None:
        """Take over more rows."""
        self._recent = _joined(self._recent, _typed(rows))
        if len(self._recent["key"]) > _RECENT_MAX + len(self._settled["key"]) // 8:
            self._settle()

    def between(self, first_day: int, last_day: int) -> Columns:
        """Return the rows of the days, both included, in any order."""
        low = int(np.searchsorted(self._settled["local_day"], first_day, "left"))
        high = int(np.searchsorted(self._settled["local_day"], last_day, "right"))
        settled = {name: values[low:high] for name, values in self._settled.items()}
        days = self._recent["local_day"]
        return _joined(settled, where(self._recent, (days >= first_day) & (days <= last_day)))

    def _settle(self) -> None:
        """Sum up the rows of each day and key, and put them in order."""
        rows = _joined(self._settled, self._recent)
        self._settled, self._recent = _typed(summed_up(rows)), _no_rows()


def counted(events: Columns) -> Columns:
    """Return what each event counts for, as `rollups.py` has it, beside its own columns; the
    events are not excluded ones.
    """
    kind = events["kind"]
    engaged_us = np.floor(events["engaged_s"] * 1_000_000 + 0.5).astype(np.int64)
    return {
        **events,
        "pageviews": kind == WebEventKind.PAGEVIEW.value,
        "engaged_us": np.where(kind == WebEventKind.HEARTBEAT.value, engaged_us, 0),
    }


def summed_up(rows: Columns) -> Columns:
    """Return a row for each day and key, in their order."""
    places = rows["local_day"].astype(np.int64) << 32 | rows["key"]
    kept, of = np.unique(places, return_inverse=True)
    sums = {name: sums_by(of, rows[name], len(kept)) for name in SUMS}
    return {"local_day": kept >> 32, "key": kept & 0xFFFFFFFF, **sums}


def sums_by(group: Ints, values: Ints, size: int) -> Ints:
    """Return the sums of values by group, of groups that are numbered from 0."""
    # In floating-point numbers, which are exact for integers up to 2^53.
    return np.bincount(group, values, size)


def where(rows: Columns, condition: Ints) -> Columns:
    """Return the rows for which the condition is true."""
    return {name: values[condition] for name, values in rows.items()}


def _typed(rows: Columns) -> Columns:
    return {name: rows[name].astype(kind, copy=False) for name, kind in _TYPES.items()}


def _joined(rows: Columns, more: Columns) -> Columns:
    if not len(more["key"]):
        return rows
    return {name: np.concatenate([rows[name], more[name]]) for name in _TYPES}


def _no_rows() -> Columns:
    return {name: np.zeros(0, kind) for name, kind in _TYPES.items()}
