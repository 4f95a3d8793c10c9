"""Importing access logs, straight into the stores and through a running server."""

from __future__ import annotations

import gzip
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner, Result

from footfall.cli import main
from tests.ingest.logs import Log, make_log

REJECTED = b'1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET /%s HTTP/1.1" 200 1' % (b"x" * 9000)


class Data:
    """A data directory with an account."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run("account", "create", "News")

    def invoke(self, *arguments: str, stdin: bytes = b"") -> Result:
        return CliRunner().invoke(main, [*arguments, "--data", str(self.path)], input=stdin)

    def run(self, *arguments: str, stdin: bytes = b"") -> Any:
        """Run a command that succeeds and return what it prints as JSON."""
        result = self.invoke(*arguments, "--json", stdin=stdin)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def site(self, host: str) -> str:
        return str(self.run("site", "create", host, "--account", "News")["id"])

    def application(self) -> str:
        return str(self.run("app", "create", "api", "--account", "News")["id"])

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Read the event store's file, which nobody has open."""
        with duckdb.connect(str(self.path / "events.duckdb"), read_only=True) as connection:
            return connection.execute(statement).fetchall()

    @contextmanager
    def server(self) -> Iterator[None]:
        """Serve from the directory, without Redis: ingest does not need it."""
        process = subprocess.Popen(
            [sys.executable, "-m", "footfall", "serve"],
            env=os.environ
            | {
                "FOOTFALL_DATA": str(self.path),
                "FOOTFALL_GRPC_LISTEN": "127.0.0.1:0",
                "FOOTFALL_METRICS_LISTEN": "",
                "FOOTFALL_REDIS_URL": "redis://127.0.0.1:1/0",
            },
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            announced = self.path / "run" / "server.json"
            deadline = time.monotonic() + 30
            while not announced.exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return Data(tmp_path / "data")


def written(path: Path, log: Log) -> str:
    path.write_bytes(log.content)
    return str(path)


def test_page_views_equal_a_recount(data: Data, tmp_path: Path) -> None:
    log = make_log(1, 5000, malformed=20)
    file, site = written(tmp_path / "access.log", log), data.site("example.com")
    expected = {"duplicates": 0, "skipped": dict(log.skipped), "rejected": 0}
    assert data.run("import-log", file, "--site", site) == {"accepted": log.pages, **expected}
    again = {"accepted": 0, **expected, "duplicates": log.pages}
    assert data.run("import-log", file, "--site", site) == again
    assert data.rows("SELECT excluded, count(*) FROM web_events GROUP BY 1 ORDER BY 1") == [
        (0, log.pages - log.bots),
        (1, log.bots),
    ]
    counted = "SELECT count(DISTINCT visitor_id) FROM web_events WHERE excluded = 0"
    assert data.rows(counted) == [(len(log.visitors),)]
    hosts = {host for (host,) in data.rows("SELECT DISTINCT host FROM pages")}
    assert hosts == {"example.com"}


def test_every_well_formed_line_is_an_api_request(data: Data, tmp_path: Path) -> None:
    log = make_log(2, 4000, malformed=7)
    file = written(tmp_path / "access.log", log)
    arguments = ("import-log", file, "--as", "api-requests", "--app", data.application())
    lines = sum(log.statuses.values())
    skipped = {"malformed": 7}
    assert data.run(*arguments) == {
        "accepted": lines,
        "duplicates": 0,
        "skipped": skipped,
        "rejected": 0,
    }
    assert data.run(*arguments)["duplicates"] == lines
    stored = data.rows("SELECT status_code, count(*) FROM api_requests GROUP BY 1")
    assert Counter(dict(stored)) == log.statuses


def test_packed_files_several_files_and_standard_input(data: Data, tmp_path: Path) -> None:
    data.site("example.com")
    logs = [make_log(seed, 300) for seed in (3, 4, 5)]
    plain = written(tmp_path / "a.log", logs[0])
    packed = tmp_path / "named-like-nothing"
    packed.write_bytes(gzip.compress(logs[1].content))
    result = data.run("import-log", plain, str(packed), "-", stdin=gzip.compress(logs[2].content))
    # The only site is the one that is meant.
    assert result["accepted"] == sum(log.pages for log in logs)
    assert data.run("import-log", "-", stdin=logs[0].content)["accepted"] == 0
    # The same log under another name is the same log, and one that has grown adds what is new:
    # a line that stood there before happened once more.
    page = b'192.0.2.1 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 1'
    grown = Log([page, *logs[0].lines, page])
    result = data.run("import-log", written(tmp_path / "b.log", grown))
    assert (result["accepted"], result["duplicates"]) == (2, logs[0].pages)


def test_the_summary_for_people(data: Data, tmp_path: Path) -> None:
    log = make_log(6, 1000, malformed=3)
    log.lines.append(REJECTED)
    data.site("example.com")
    result = data.invoke("import-log", written(tmp_path / "access.log", log))
    assert result.exit_code == 0, result.output
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert f"{log.pages} page views accepted" in " ".join(lines[0].replace(",", "").split())
    assert "3 skipped: not a log line" in [" ".join(line.split()) for line in lines]
    assert f"{log.bots} of the page views are bots'" in result.stdout
    assert "access.log, line 1001: `url` has 9020 characters" in result.stdout


@pytest.mark.parametrize("served", [False, True], ids=["alone", "served"])
def test_rejected_lines_are_counted(data: Data, tmp_path: Path, served: bool) -> None:
    data.site("example.com")
    log = Log([REJECTED] * 3)
    file = written(tmp_path / "access.log", log)
    if served:
        with data.server():
            result = data.run("import-log", file)
    else:
        result = data.run("import-log", file)
    assert result == {"accepted": 0, "duplicates": 0, "skipped": {}, "rejected": 3}


def test_a_running_server_takes_the_events(data: Data, tmp_path: Path) -> None:
    log = make_log(7, 6000, malformed=5)
    file = written(tmp_path / "access.log", log)
    site, application = data.site("example.com"), data.application()
    requests = ("import-log", file, "--as", "api-requests", "--app", application)
    with data.server():
        views = data.run("import-log", file, "--site", site)
        assert (views["accepted"], views["skipped"]) == (log.pages, dict(log.skipped))
        assert data.run("import-log", file, "--site", site)["duplicates"] == log.pages
        assert data.run(*requests)["accepted"] == sum(log.statuses.values())
        assert data.run(*requests)["accepted"] == 0
        shown = data.invoke("import-log", file, "--site", site)
        assert shown.exit_code == 0
        broken = tmp_path / "broken.gz"
        broken.write_bytes(gzip.compress(log.content)[:-100])
        failed = data.invoke("import-log", str(broken), "--site", site)
        assert (failed.exit_code, "damaged" in failed.output) == (1, True)
    # Whichever way they came, they are the same events.
    assert data.run("import-log", file, "--site", site)["accepted"] == 0
    assert data.rows("SELECT count(*) FROM web_events") == [(log.pages,)]
    keys = data.run("key", "list", "--account", "News")["keys"]
    assert len(keys) == 4
    assert all(key["revoked_at"] and key["scopes"] == ["write"] for key in keys)
    with sqlite3.connect(data.path / "accounts.sqlite") as accounts:
        assert accounts.execute("SELECT count(*) FROM application_keys").fetchone() == (0,)


def test_what_a_killed_server_left_is_not_believed(data: Data, tmp_path: Path) -> None:
    data.site("example.com")
    log = make_log(8, 100)
    file = written(tmp_path / "access.log", log)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    run = data.path / "run"
    run.mkdir(exist_ok=True)
    for content in (
        json.dumps({"pid": gone.pid, "grpc": "127.0.0.1:1"}),
        "{",
        "[]",
        '{"pid": "x"}',
    ):
        (run / "server.json").write_text(content)
        result = data.run("import-log", file)
        assert result["accepted"] + result["duplicates"] == log.pages


def test_pages_of_another_host(data: Data, tmp_path: Path) -> None:
    site = data.site("example.com")
    file = written(tmp_path / "access.log", make_log(9, 100))
    data.run("import-log", file, "--site", site, "--host", "Blog.Example.com")
    assert data.rows("SELECT DISTINCT host FROM pages") == [("blog.example.com",)]


def test_wrong_usage(data: Data, tmp_path: Path) -> None:
    file = written(tmp_path / "access.log", make_log(10, 5))
    for arguments, status, said in (
        ((), 2, "FILE"),
        ((file,), 1, "no site yet"),
        ((file, "--site", "nosuchsitenosuch"), 1, "There is no site"),
        ((file, "--as", "api-requests"), 2, "--app ID"),
        ((file, "--as", "api-requests", "--app", "nosuchapp"), 1, "There is no application"),
        ((file, "--app", "x"), 2, "--as api-requests"),
        ((file, "--as", "nonsense"), 2, "page-views"),
    ):
        result = data.invoke("import-log", *arguments)
        assert (result.exit_code, said in result.output) == (status, True), result.output
    first, second = data.site("one.example"), data.site("two.example")
    result = data.invoke("import-log", file)
    assert result.exit_code == 2
    assert first in result.output
    assert second in result.output
    missing = data.invoke("import-log", str(tmp_path / "missing.log"), "--site", first)
    assert (missing.exit_code, "No such file" in missing.output) == (1, True)
    directory = data.invoke("import-log", str(tmp_path), "--site", first)
    assert (directory.exit_code, "directory" in directory.output) == (1, True)
    elsewhere = CliRunner().invoke(main, ["import-log", file, "--data", str(tmp_path / "other")])
    assert elsewhere.exit_code == 1
    assert not (tmp_path / "other").exists()
