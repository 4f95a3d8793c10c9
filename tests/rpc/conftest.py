"""A real server in this process, on real stores, and what tests create in it."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2

from footfall.accounts.management import AccountManager
from footfall.accounts.model import KeyKind, Scope, Site, User
from footfall.accounts.ports import AccountStore
from footfall.accounts.sql import open_account_store
from footfall.app import Running, running
from footfall.settings import Settings
from footfall.v1 import (
    accounts_pb2_grpc,
    charts_pb2_grpc,
    export_pb2_grpc,
    ingest_pb2_grpc,
    metrics_pb2_grpc,
    pace_pb2_grpc,
    realtime_pb2_grpc,
    sessions_pb2,
    sessions_pb2_grpc,
    timeseries_pb2_grpc,
)
from tests.live.conftest import Valkey

Metadata = tuple[tuple[str, str], ...]

_names = itertools.count(1)


async def eventually(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; for what a server does after it has answered."""
    async with asyncio.timeout(10):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


@dataclass(frozen=True)
class App:
    id: str
    write_key: str
    read_key: str

    @property
    def writes(self) -> Metadata:
        return (("x-auth-user", self.id), ("x-auth-key", self.write_key))

    @property
    def reads(self) -> Metadata:
        return (("x-auth-user", self.id), ("x-auth-key", self.read_key))


@dataclass(frozen=True)
class Refusal:
    """An error as a caller sees it."""

    code: grpc.StatusCode
    message: str
    trailing: Mapping[str, Any]
    initial: Mapping[str, Any]
    details: Mapping[str, Any]

    @property
    def reason(self) -> str:
        reason: str = self.trailing["footfall-reason"]
        return reason

    @property
    def http(self) -> int:
        return int(self.trailing["footfall-status"])

    @classmethod
    def of(cls, error: grpc.aio.AioRpcError) -> Refusal:
        trailing = dict(error.trailing_metadata())
        details: dict[str, Any] = {}
        if "grpc-status-details-bin" in trailing:
            status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
            assert status.code == error.code().value[0]
            for packed in status.details:
                name = packed.type_url.rpartition(".")[2]
                part = getattr(error_details_pb2, name)()
                packed.Unpack(part)
                details[name] = part
            info = details["ErrorInfo"]
            assert info.domain == "footfall"
            assert info.reason == trailing["footfall-reason"]
            assert status.message == unquote(trailing["footfall-message"])
        return cls(
            error.code(),
            error.details() or "",
            trailing,
            dict(error.initial_metadata()),
            details,
        )


async def refused(call: Any) -> Refusal:
    """The error of a unary call, or of a stream before its end."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _to_the_end(call)
    return Refusal.of(caught.value)


async def _to_the_end(call: Any) -> None:
    if hasattr(call, "__aiter__"):
        async for _ in call:
            pass
    else:
        await call


@dataclass
class Service:
    """A server, a channel to it, and the means to create accounts beside it."""

    settings: Settings
    server: Running
    channel: grpc.aio.Channel
    store: AccountStore
    account: str = field(default="")

    def __post_init__(self) -> None:
        self.manager = AccountManager(self.store)
        self.ingest: Any = ingest_pb2_grpc.IngestServiceStub(self.channel)
        self.timeseries: Any = timeseries_pb2_grpc.TimeseriesServiceStub(self.channel)
        self.export: Any = export_pb2_grpc.ExportServiceStub(self.channel)
        self.realtime: Any = realtime_pb2_grpc.RealtimeServiceStub(self.channel)
        self.metrics: Any = metrics_pb2_grpc.MetricsServiceStub(self.channel)
        self.charts: Any = charts_pb2_grpc.ChartsServiceStub(self.channel)
        self.pace: Any = pace_pb2_grpc.PaceServiceStub(self.channel)
        self.accounts: Any = accounts_pb2_grpc.AccountsServiceStub(self.channel)
        self.sessions: Any = sessions_pb2_grpc.SessionServiceStub(self.channel)
        self.account = self.manager.create_account(f"account-{next(_names)}", "free").id

    def app(self) -> App:
        made = self.manager.create_application(self.account, f"app-{next(_names)}")
        return App(made.application.id, made.write_key, made.read_key)

    def site(self, timezone: str = "Europe/Zurich") -> Site:
        return self.manager.create_site(
            self.account, f"s{next(_names)}.example.com", timezone, public=False
        )

    def key(self, sites: Sequence[Site], *scopes: Scope) -> Metadata:
        made = self.manager.create_key(
            self.account, kind=KeyKind.NM, site_ids=[site.id for site in sites], scopes=scopes
        )
        return (("authorization", f"Bearer {made.text}"),)

    async def session(self, user: User, password: str) -> Metadata:
        """Sign a user in."""
        call = self.sessions.Login(sessions_pb2.LoginRequest(email=user.email, password=password))
        await call
        cookie = dict(await call.trailing_metadata())["set-cookie"]
        return (("cookie", str(cookie).partition(";")[0]),)

    async def raw(self, method: str, body: bytes, metadata: Metadata = ()) -> bytes:
        """Call a unary method with bytes that need not be a message."""
        answer: bytes = await self.channel.unary_unary(f"/footfall.v1.{method}")(
            body, metadata=metadata
        )
        return answer


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Service]:
    """Run a server and give what talks to it."""
    async with running(settings) as server:
        store = await asyncio.to_thread(open_account_store, settings.effective_accounts_url)
        try:
            async with grpc.aio.insecure_channel(server.addresses[0]) as channel:
                yield Service(settings, server, channel, store)
        finally:
            store.close()


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """The server that most tests share."""
    yield from _valkey()


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """A server that the test may kill."""
    yield from _valkey()


def _valkey() -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory(prefix="ffv") as folder:
        server = Valkey(Path(folder))
        server.start()
        yield server
        server.kill()


@pytest.fixture
def own_settings(tmp_path: Path) -> Settings:
    """Settings of a server of the test's own, with nothing at its Redis's address."""
    return Settings(
        data_dir=tmp_path / "data",
        redis_url=f"unix://{tmp_path}/nobody.sock",
        grpc_listen="127.0.0.1:0",
        metrics_listen="127.0.0.1:0",
        drain_s=2.0,
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service(
    valkey: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """The server that most tests share."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("rpc"),
        redis_url=valkey.url,
        grpc_listen="127.0.0.1:0",
        metrics_listen="127.0.0.1:0",
        trusted_proxies="127.0.0.0/8",
        country_header="X-Country",
        message_bytes_max=1024 * 1024,
        drain_s=1.0,
    )
    async with serving(settings) as made:
        yield made


@pytest.fixture
def app(service: Service) -> App:
    return service.app()


@pytest.fixture
def site(service: Service) -> Site:
    return service.site()
