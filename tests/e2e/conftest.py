"""One running service for the tests that only use it, and what they create in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from footfall.v1 import realtime_pb2, realtime_pb2_grpc
from tests.e2e.chromium import HOSTS, Chromium, running_chromium
from tests.e2e.service import Service, running

_serial = count()


@dataclass(frozen=True)
class Application:
    id: str
    write_key: str
    read_key: str

    @property
    def writes(self) -> dict[str, str]:
        return {"x-auth-user": self.id, "x-auth-key": self.write_key}

    @property
    def reads(self) -> dict[str, str]:
        return {"x-auth-user": self.id, "x-auth-key": self.read_key}


@dataclass(frozen=True)
class Site:
    id: str
    host: str
    key: str

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    data: Path = tmp_path_factory.mktemp("service") / "data"
    with running(data) as service:
        service.cli("account", "create", "e2e", "--plan", "scale")
        yield service


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with running_chromium(tmp_path_factory.mktemp("chromium") / "profile", HOSTS) as browser:
        yield browser


def create_application(service: Service) -> Application:
    named = {"name": f"app-{next(_serial)}"}
    made = service.post_json("/v1/applications", named, service.admin).json
    return Application(made["id"], made["write_key"], made["read_key"])


def create_site(
    service: Service, timezone: str = "Europe/Zurich", scope: str = "read,write"
) -> Site:
    host = f"site-{next(_serial)}.example"
    made = service.post_json("/v1/sites", {"host": host, "timezone": timezone}, service.admin).json
    wanted = {"sites": [made["id"]], "scopes": scope.split(",")}
    key = service.post_json("/v1/keys", wanted, service.admin).json
    return Site(made["id"], host, key["key"])


def live(
    service: Service, site: Site, wanted: Callable[[Any], bool]
) -> realtime_pb2.RealtimeSnapshot:
    """Return the first live snapshot of the site that is as wanted."""
    with service.channel() as channel:
        request = realtime_pb2.WatchRealtimeRequest(site=site.id)
        metadata = tuple(site.bearer.items())
        stub = realtime_pb2_grpc.RealtimeServiceStub(channel)
        seen = None
        for answer in stub.WatchRealtime(request, metadata=metadata, timeout=30):
            seen = answer.snapshot
            if wanted(seen):
                return seen
    raise AssertionError(seen)


@pytest.fixture
def application(service: Service) -> Application:
    return create_application(service)


@pytest.fixture
def new_application(service: Service) -> Callable[[], Application]:
    return lambda: create_application(service)


@pytest.fixture
def site(service: Service) -> Site:
    return create_site(service)
