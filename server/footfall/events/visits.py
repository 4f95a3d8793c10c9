"""Which page views start visits.

A counted page view starts a visit iff its visitor has none in the 30 minutes before it. Events
mostly arrive nearly in the order of their times, and for those a mirror of every recent visitor's
last visit decides. An event that is older than what the mirror can vouch for is put between its
stored neighbours; the neighbour after it may then stop being a start, which becomes a correction
(visits -1), so that counts stay plain sums over rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from footfall.ingest.model import Midnight, Removal

GAP_US: Final = 30 * 60 * 1_000_000

_VISITORS_MAX: Final = 250_000

#: A visitor of a site.
Visitor = tuple[str, str]


class StoredView(NamedTuple):
    """A counted page view that the store holds."""

    site_id: str
    visitor_id: str
    ts_us: int
    seq: int
    local_day: int
    page_id: int


@dataclass(frozen=True, slots=True)
class Span:
    """The times in which a visitor's stored page views matter, both inclusive."""

    visitor: Visitor
    low_us: int
    high_us: int


#: The times of the first and the last page view of a run of them without a gap.
LastVisit = tuple[int, int]

#: Returns the stored counted page views of visitors in their spans, in any order.
Neighbours = Callable[[Sequence[Span]], list[StoredView]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which of the page views start a visit, and which stored ones no longer do."""

    starts: npt.NDArray[np.int8]
    corrections: list[StoredView]
    #: Last visits by visitor, for the mirror to take over once the events are committed.
    latest: dict[Visitor, LastVisit] = field(repr=False)


class VisitMirror:
    """Every visitor's last visit, complete from some moment on."""

    def __init__(self, visitors_max: int = _VISITORS_MAX) -> None:
        self._visitors_max = visitors_max
        self._latest: dict[Visitor, LastVisit] = {}
        self._complete_from_us = 0

    def load(self, complete_from_us: int, latest_us: dict[Visitor, int]) -> None:
        """Start over with the last page views of all visitors that have any since a moment."""
        self._complete_from_us = complete_from_us
        self._latest = {visitor: (at_us, at_us) for visitor, at_us in latest_us.items()}
        self._trim()

    def judge(
        self, visitors: Sequence[Visitor], ts_us: npt.NDArray[np.int64], neighbours: Neighbours
    ) -> Verdict:
        """Judge page views in the order of their rows; changes nothing."""
        starts = bytearray(len(ts_us))
        latest: dict[Visitor, LastVisit] = {}
        late: set[Visitor] = set()
        known = self._latest.get
        vouched_us = self._complete_from_us + GAP_US
        # By time, since what arrives together arrives in any order; at equal times the first row
        # comes first, as everywhere.
        order = np.argsort(ts_us, kind="stable")
        for row, at_us in zip(order.tolist(), ts_us[order].tolist(), strict=True):
            visitor = visitors[row]
            last = latest.get(visitor) or known(visitor)
            if last is None:
                if at_us < vouched_us:
                    late.add(visitor)
                    continue
                starts[row] = 1
                latest[visitor] = (at_us, at_us)
            elif at_us - last[1] >= GAP_US:
                starts[row] = 1
                latest[visitor] = (at_us, at_us)
            elif at_us > last[1]:
                latest[visitor] = (last[0], at_us)
            elif at_us < last[0]:
                late.add(visitor)
            # Otherwise it lies within the visit, where it neither starts nor ends anything.
        verdict = Verdict(np.frombuffer(starts, dtype=np.int8), [], latest)
        if late:
            self._judge_late(late, visitors, ts_us.tolist(), neighbours, verdict)
        return verdict

    def committed(self, verdict: Verdict) -> None:
        """Take over what a verdict says, now that its events are stored."""
        self._latest.update(verdict.latest)
        self._trim()

    def forget(self, removal: Removal) -> None:
        """Take note that events have been removed."""
        if removal.visitor_id is not None:
            self._latest.pop((removal.site_id, removal.visitor_id), None)
            return
        for visitor in [visitor for visitor in self._latest if visitor[0] == removal.site_id]:
            _, last_us = self._latest.pop(visitor)
            if removal.before is not None and last_us >= removal.before.ts_us:
                # Where the visit began may be gone; at its last view is right, too.
                self._latest[visitor] = (last_us, last_us)

    def _judge_late(
        self,
        late: set[Visitor],
        visitors: Sequence[Visitor],
        ts_us: Sequence[int],
        neighbours: Neighbours,
        verdict: Verdict,
    ) -> None:
        """Judge all page views of visitors with a late one among the stored ones around them."""
        arriving: dict[Visitor, list[tuple[int, int]]] = defaultdict(list)
        for row, visitor in enumerate(visitors):
            if visitor in late:
                arriving[visitor].append((ts_us[row], row))
        stored: dict[Visitor, list[StoredView]] = defaultdict(list)
        spans = [
            Span(visitor, min(views)[0] - GAP_US, max(views)[0] + GAP_US)
            for visitor, views in arriving.items()
        ]
        for view in neighbours(spans):
            stored[view.site_id, view.visitor_id].append(view)
        for visitor, views in arriving.items():
            self._merge(sorted(stored[visitor], key=_time), sorted(views), verdict)
            known = self._latest.get(visitor)
            last_us = max(max(views)[0], known[1] if known else self._complete_from_us - 1)
            if last_us >= self._complete_from_us:
                # Where the visit began is not worth finding out: at its last view is right, too.
                verdict.latest[visitor] = (last_us, last_us)

    @staticmethod
    def _merge(stored: list[StoredView], arriving: list[tuple[int, int]], verdict: Verdict) -> None:
        # What is stored came first, so it stays first at equal times. Nothing matters before the
        # first of either: the span reaches 30 minutes beyond the first arrival.
        order = sorted(
            [(view.ts_us, 0, index) for index, view in enumerate(stored)]
            + [(at_us, 1, row) for at_us, row in arriving]
        )
        before_us = stored_before_us = -(2**62)
        for at_us, is_arriving, index in order:
            starts = at_us - before_us >= GAP_US
            if is_arriving:
                verdict.starts[index] = starts
            else:
                if not starts and at_us - stored_before_us >= GAP_US:
                    verdict.corrections.append(stored[index])
                stored_before_us = at_us
            before_us = at_us

    def _trim(self) -> None:
        """Forget the visitors who were seen longest ago once there are too many."""
        if len(self._latest) <= self._visitors_max:
            return
        times = sorted(last_us for _, last_us in self._latest.values())
        self._complete_from_us = max(self._complete_from_us, times[len(times) // 2] + 1)
        self._latest = {
            visitor: last
            for visitor, last in self._latest.items()
            if last[1] >= self._complete_from_us
        }


def beginnings_without(before: Midnight, views: Iterable[StoredView]) -> list[StoredView]:
    """Return which of a site's page views around a midnight begin visits if those before it have
    never been, and do not so far.
    """
    last_us: dict[str, int] = {}
    first: dict[str, StoredView] = {}
    for view in sorted(views, key=_time):
        if view.local_day < before.local_day:
            last_us[view.visitor_id] = view.ts_us
        else:
            first.setdefault(view.visitor_id, view)
    return [
        view
        for visitor_id, view in first.items()
        if visitor_id in last_us and view.ts_us - last_us[visitor_id] < GAP_US
    ]


def _time(view: StoredView) -> tuple[int, int]:
    return view.ts_us, view.seq
