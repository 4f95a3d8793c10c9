"""A real Envoy in front of the canned server."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from footfall.supervisor.admin import EnvoyAdmin
from footfall.supervisor.gateway import GatewayOptions, envoy_binary, render
from tests.gateway.canned import CannedServer


@dataclass(frozen=True)
class Gateway:
    port: int
    admin: EnvoyAdmin
    access_log: Path
    server: CannedServer


def unchanged(configuration: str) -> str:
    return configuration


@contextmanager
def running_gateway(
    change: Callable[[str], str] = unchanged,
    tls: tuple[Path, Path] | None = None,
) -> Iterator[Gateway]:
    """Run Envoy on a free port for a block, with the configuration changed as wanted."""
    with tempfile.TemporaryDirectory(prefix="ff-gw-") as name:
        folder = Path(name)
        server = CannedServer(str(folder / "server.sock"))
        server.start()
        options = GatewayOptions(
            server=f"unix:{folder / 'server.sock'}",
            port=0,
            admin_socket=folder / "admin.sock",
            access_log=folder / "access.log",
            tls=tls,
        )
        (folder / "envoy.yaml").write_text(change(render(options)))
        arguments = ["-c", str(folder / "envoy.yaml"), "--concurrency", "1", "--log-level", "warn"]
        arguments += ["--disable-hot-restart", "--file-flush-interval-msec", "100"]
        with (folder / "envoy.log").open("wb") as log:
            process = subprocess.Popen([envoy_binary(), *arguments], stdout=log, stderr=log)
        admin = EnvoyAdmin(options.admin_socket)
        try:
            yield Gateway(wait_for_port(admin, folder), admin, options.access_log, server)
        finally:
            process.kill()
            process.wait()
            server.close()


def wait_for_port(admin: EnvoyAdmin, folder: Path, timeout_s: float = 20) -> int:
    """Return the public port once Envoy serves on it."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            if admin.serves():
                return admin.port()
        except OSError:
            pass
        assert time.monotonic() < deadline, (folder / "envoy.log").read_text()
        time.sleep(0.02)


@pytest.fixture(scope="session")
def gateway() -> Iterator[Gateway]:
    with running_gateway() as running:
        yield running
