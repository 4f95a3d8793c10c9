"""A real Footfall in its own processes, used the way an outsider uses it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import grpc

FOOTFALL = (sys.executable, "-m", "footfall")


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Service:
    """`footfall up` on free ports over a data directory."""

    data: Path
    process: subprocess.Popen[bytes]
    rest: str
    grpc_target: str
    ready: Mapping[str, str] = field(default_factory=dict)

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        query: Any = None,
        timeout: float = 30,
    ) -> Answer:
        """Send one HTTP request; an error status is an answer like any other."""
        url = self.rest + path + (f"?{urllib.parse.urlencode(query, True)}" if query else "")
        message = urllib.request.Request(url, body, dict(headers or {}), method=method)
        try:
            with urllib.request.urlopen(message, timeout=timeout) as answer:
                return Answer(
                    answer.status,
                    {k.lower(): v for k, v in answer.headers.items()},
                    answer.read(),
                )
        except urllib.error.HTTPError as error:
            return Answer(
                error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()
            )

    def get(self, path: str, **options: Any) -> Answer:
        return self.request("GET", path, **options)

    def post_json(
        self, path: str, document: Any, headers: Mapping[str, str] | None = None, **options: Any
    ) -> Answer:
        return self.request(
            "POST",
            path,
            headers={"content-type": "application/json"} | dict(headers or {}),
            body=json.dumps(document).encode(),
            **options,
        )

    def cli(self, *arguments: str, stdin: str = "") -> Any:
        """Run a `footfall` command beside the service and return the object that it prints."""
        done = subprocess.run(
            [*FOOTFALL, *arguments, "--data", str(self.data), "--json"],
            input=stdin.encode(),
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    @cached_property
    def admin(self) -> Mapping[str, str]:
        """Credentials of an admin of the account `e2e`: by REST, things are made in no time."""
        key = self.cli("key", "create", "--account", "e2e", "--scope", "admin")["key"]
        return {"authorization": f"Bearer {key}"}

    @property
    def accounts_url(self) -> str:
        """The accounts store, for what makes many things beside the service."""
        return f"sqlite:///{self.data}/accounts.sqlite"

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.grpc_target)

    def server_pid(self) -> int:
        """Return the process id of the gRPC server that serves now."""
        return int(json.loads((self.data / "run" / "server.json").read_text())["pid"])

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """End the service and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise


def start(
    data: Path,
    *arguments: str,
    timeout: float = 30,
    environ: Mapping[str, str] | None = None,
) -> Service:
    """Start `footfall up` over the data directory and wait until it serves.

    `environ` is added to this process's environment, which others that are started from it keep.
    """
    ready_file = data.parent / f"{data.name}.ready.json"
    ready_file.unlink(missing_ok=True)
    log = (data.parent / f"{data.name}.log").open("ab")
    process = subprocess.Popen(
        [
            *FOOTFALL,
            "up",
            "--data",
            str(data),
            "--port",
            "0",
            "--ready-file",
            str(ready_file),
            *arguments,
        ],
        env=dict(os.environ) | dict(environ or {}),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    deadline = time.monotonic() + timeout
    while not ready_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(
                "footfall up did not get ready:\n"
                + (data.parent / f"{data.name}.log").read_text(errors="replace")
            )
        time.sleep(0.02)
    ready = json.loads(ready_file.read_text())
    return Service(data, process, ready["rest"], ready["grpc"], ready)


@contextmanager
def running(
    data: Path, *arguments: str, environ: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """Run `footfall up` for a block."""
    service = start(data, *arguments, environ=environ)
    try:
        yield service
    finally:
        service.stop()


def wait_until(condition: Any, timeout: float = 10, interval: float = 0.05) -> Any:
    """Return the first true value of the condition, or fail with its last one."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"still {value!r} after {timeout} s"
        time.sleep(interval)
