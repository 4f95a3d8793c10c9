"""The mirror of visitors, where the store's suites do not reach: its limits."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from footfall.events.visits import GAP_US, Span, StoredView, VisitMirror


class History:
    """Page views that are stored, and the number of times that they were looked into."""

    def __init__(self) -> None:
        self.views: list[StoredView] = []
        self.asked = 0

    def around(self, spans: Sequence[Span]) -> list[StoredView]:
        self.asked += 1
        by_visitor = {span.visitor: span for span in spans}
        return [
            view
            for view in self.views
            if (span := by_visitor.get((view.site_id, view.visitor_id)))
            and span.low_us <= view.ts_us <= span.high_us
        ]


def judge(mirror: VisitMirror, history: History, views: list[tuple[str, int]]) -> int:
    """Store page views, and return by how many visits that changes the count."""
    visitors = [("site", visitor) for visitor, _ in views]
    times = np.array([ts_us for _, ts_us in views], dtype=np.int64)
    verdict = mirror.judge(visitors, times, history.around)
    mirror.committed(verdict)
    for visitor, ts_us in views:
        seq = len(history.views)
        history.views.append(StoredView("site", visitor, ts_us, seq, 0, 0))
    return int(verdict.starts.sum()) - len(verdict.corrections)


def visits(history: History) -> int:
    total = 0
    for visitor in {view.visitor_id for view in history.views}:
        times = sorted(view.ts_us for view in history.views if view.visitor_id == visitor)
        total += 1 + sum(b - a >= GAP_US for a, b in pairwise(times))
    return total


def test_a_mirror_that_forgets_is_still_right() -> None:
    pick = random.Random(3)
    mirror, history = VisitMirror(visitors_max=8), History()
    total, now_us = 0, 10**12
    for _ in range(300):
        now_us += pick.randrange(GAP_US // 2)
        views = [
            (
                f"visitor-{pick.randrange(30)}",
                now_us - pick.choice([0, 0, 0, 5, GAP_US, 9 * GAP_US]),
            )
            for _ in range(pick.randrange(6))
        ]
        total += judge(mirror, history, views)
        assert total == visits(history)


def test_views_within_a_visit_need_no_history_in_any_order() -> None:
    mirror, history = VisitMirror(), History()
    start = 10**12
    mirror.load(start - 10 * GAP_US, {})
    assert judge(mirror, history, [("v", start), ("v", start + GAP_US - 1)]) == 1
    assert judge(mirror, history, [("v", start + 7), ("v", start), ("v", start + 3)]) == 0
    assert history.asked == 0
    assert judge(mirror, history, [("v", start - 1)]) == 0
    assert history.asked == 1
