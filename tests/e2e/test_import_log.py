"""An access log imported beside a running service, and again."""

from __future__ import annotations

import gzip
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.e2e.conftest import Application, Site
from tests.e2e.service import Service

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:126.0) Gecko/20100101 Firefox/126.0"
TARGETS = (
    ("/", "page"),
    ("/blog/a%20b?id=1", "page"),
    ("/docs/", "page"),
    ("/style.css", "asset"),
    ("/img/logo.png", "asset"),
)


def write_log(path: Path, lines: int) -> Counter[str]:
    """Write a combined log and return how many lines are of each kind."""
    dice = random.Random(5)
    time = datetime(2025, 3, 29, 22, tzinfo=UTC)
    kinds: Counter[str] = Counter()
    with gzip.open(path, "wt", encoding="utf-8") as log:
        for _ in range(lines):
            time += timedelta(seconds=dice.randrange(30))
            target, kind = dice.choice(TARGETS)
            method, status = dice.choice((("GET", 200),) * 6 + (("GET", 404), ("GET", 301)))
            if dice.random() < 0.05:
                method = "POST"
            kinds["lines"] += 1
            kinds["views"] += method == "GET" and status == 200 and kind == "page"
            kinds[f"status {status}"] += 1
            log.write(
                f"192.0.2.{dice.randrange(9)} - - [{time:%d/%b/%Y:%H:%M:%S +0000}] "
                f'"{method} {target} HTTP/1.1" {status} 99 "-" "{FIREFOX}"\n'
            )
        log.write("not a line of any log\n")
    return kinds


def test_page_views_are_counted_once(service: Service, site: Site, tmp_path: Path) -> None:
    log = tmp_path / "access.log.gz"
    kinds = write_log(log, 2_000)
    first = service.cli("import-log", str(log), "--site", site.id)
    assert (first["accepted"], first["duplicates"], first["rejected"]) == (kinds["views"], 0, 0)
    assert first["accepted"] + sum(first["skipped"].values()) == kinds["lines"] + 1
    assert first["skipped"]["malformed"] == 1
    again = service.cli("import-log", str(log), "--site", site.id)
    assert (again["accepted"], again["duplicates"]) == (0, kinds["views"])


def test_every_line_is_an_api_request(
    service: Service, application: Application, tmp_path: Path
) -> None:
    log = tmp_path / "access.log.gz"
    kinds = write_log(log, 1_000)
    arguments = ("import-log", str(log), "--as", "api-requests", "--app", application.id)
    first = service.cli(*arguments)
    assert (first["accepted"], first["skipped"]) == (kinds["lines"], {"malformed": 1})
    assert service.cli(*arguments)["accepted"] == 0
    day = int(datetime(2025, 3, 29, tzinfo=UTC).timestamp())
    answer = service.get(
        f"/1/timeseries/{day}/{day + 3 * 86_400}/",
        headers=application.reads,
        query={"group": "status_code"},
    )
    assert {key: points[0][1] for key, points in answer.json["groups"].items()} == {
        kind.removeprefix("status "): count
        for kind, count in kinds.items()
        if kind.startswith("status")
    }
