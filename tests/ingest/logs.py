"""Access logs made for tests, with a recount of what they should become."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

from tests.ingest.values import FIREFOX, GOOGLEBOT

#: Target, and whether it is a page.
TARGETS = (
    ("/", True),
    ("/blog/2015/05/", True),
    ("/read.php?id=7&utm_source=x", True),
    ("/index.html", True),
    ("/v1.2/notes", True),
    ("/style.CSS?v=3", False),
    ("/img/logo.png", False),
    ("/robots.txt", False),
    ("/feed.xml", False),
    ("/paper.pdf", False),
)
STATUSES = (200, 200, 200, 200, 200, 204, 206, 301, 302, 304, 404, 500, 101)


@dataclass
class Log:
    """Lines, and what they should be counted as."""

    lines: list[bytes] = field(default_factory=list)
    pages: int = 0
    bots: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    #: Distinct (address, user agent, UTC day) of the page views that no bot made.
    visitors: set[tuple[str, str, str]] = field(default_factory=set)

    @property
    def content(self) -> bytes:
        return b"".join(line + b"\n" for line in self.lines)


def make_log(seed: int, lines: int, *, malformed: int = 0) -> Log:
    """Make a combined log, of a month of its own, in which some lines stand twice."""
    dice = random.Random(seed)
    log = Log()
    time = datetime(2015, 5, 17, 22, tzinfo=UTC) + timedelta(days=30 * seed)
    places = set(dice.sample(range(lines), malformed))
    for number in range(lines):
        if number in places:
            log.lines.append(dice.choice((b"", b"garbage", b'1.2.3.4 - - "GET / HTTP/1.1" 200 1')))
            log.skipped["malformed"] += 1
            continue
        time += timedelta(seconds=dice.choice((0, 0, 1, 60)))
        target, page = dice.choice(TARGETS)
        method = dice.choice(("GET",) * 9 + ("POST", "HEAD"))
        status = dice.choice(STATUSES)
        address = f"192.0.2.{dice.randrange(5)}"
        agent = dice.choice((FIREFOX, FIREFOX, GOOGLEBOT, "-"))
        local = time.astimezone(timezone(timedelta(hours=-7, minutes=-30)))
        line = (
            f"{address} - - [{local:%d/%b/%Y:%H:%M:%S} -0730] "
            f'"{method} {target} HTTP/1.1" {status} 99 "-" "{agent}"'
        )
        log.lines.append(line.encode())
        log.statuses[status] += 1
        if status >= 400:
            reason = "error"
        elif method != "GET":
            reason = "method"
        elif status == 304:
            reason = "not_modified"
        elif status >= 300:
            reason = "redirect"
        elif status < 200:
            reason = "informational"
        elif not page:
            reason = "asset"
        else:
            log.pages += 1
            log.bots += agent == GOOGLEBOT
            if agent != GOOGLEBOT:
                log.visitors.add((address, agent, f"{time:%Y-%m-%d}"))
            continue
        log.skipped[reason] += 1
    return log
