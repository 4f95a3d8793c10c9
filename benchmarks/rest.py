"""API requests by REST, 91 a call as the public client sends them, against gRPC at that batch size.

Everything runs as `footfall up` runs it: Envoy, the server and Valkey as processes of their own,
and this process as the client, all on the same cores. The gRPC side goes to the server directly, so
that the ratio charges all of the gateway to REST.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil

from footfall.v1 import ingest_pb2
from tests.e2e.conftest import Application, create_application
from tests.e2e.service import Service, running

EVENTS_A_CALL = 91
CALLERS = 64
CALLS = 2_000
RPC = "/footfall.v1.IngestService/IngestApiRequests"


@dataclass(frozen=True)
class RestRates:
    """Events a second by each face, and Envoy's share of all CPU time during the REST run."""

    grpc: float
    rest: float
    envoy_cpu_share: float
    envoy_cpu_us_per_call: float

    @property
    def ratio(self) -> float:
        return self.rest / self.grpc


def batch(run: str, call: int) -> list[dict[str, object]]:
    now = int(time.time())
    return [
        {
            "event_id": f"{run}-{call}-{index}",
            "timestamp": now,
            "consumer_id": f"consumer-{index % 10}",
            "method": "GET",
            "url": f"/items/{call}?page={index}",
            "function": "list_items",
            "response_us": 1_000 + index,
            "status_code": 200,
        }
        for index in range(EVENTS_A_CALL)
    ]


async def drive_grpc(service: Service, application: Application) -> float:
    """Return events a second, with requests serialised before the clock starts."""
    metadata = tuple(application.writes.items())
    messages = [
        ingest_pb2.IngestApiRequestsRequest(
            events=[ingest_pb2.ApiRequestEvent(**event) for event in batch("grpc", call)]
        ).SerializeToString()
        for call in range(CALLS)
    ]
    target = json.loads((service.data / "run" / "server.json").read_text())["grpc"]
    async with grpc.aio.insecure_channel(target) as channel:
        send = channel.unary_unary(RPC, response_deserializer=ingest_pb2.IngestResponse.FromString)
        queue = iter(messages)

        async def caller() -> int:
            return sum([(await send(message, metadata=metadata)).accepted for message in queue])

        return await timed(caller)


async def drive_rest(service: Service, application: Application) -> float:
    """Return events a second, with requests encoded before the clock starts."""
    address = urllib.parse.urlsplit(service.rest)
    credentials = "".join(f"{name}: {value}\r\n" for name, value in application.writes.items())
    messages = []
    for call in range(CALLS):
        body = json.dumps(batch("rest", call)).encode()
        head = (
            f"POST /1/event/ HTTP/1.1\r\nHost: {address.netloc}\r\n{credentials}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        messages.append(head.encode() + body)
    queue = iter(messages)

    async def caller() -> int:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        accepted = 0
        for message in queue:
            writer.write(message)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            accepted += json.loads(await reader.readexactly(size))["accepted"]
        writer.close()
        return accepted

    return await timed(caller)


async def timed(caller: object) -> float:
    started = time.perf_counter()
    accepted = sum(await asyncio.gather(*(caller() for _ in range(CALLERS))))  # type: ignore[operator]
    elapsed = time.perf_counter() - started
    assert accepted == CALLS * EVENTS_A_CALL
    return accepted / elapsed


def measure() -> RestRates:
    """Run both faces in turn on one service."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "data") as service:
        service.cli("account", "create", "e2e")
        application = create_application(service)
        by_grpc = asyncio.run(drive_grpc(service, application))
        before = cpu_seconds(service)
        by_rest = asyncio.run(drive_rest(service, application))
        after = cpu_seconds(service)
        used = {name: after[name] - before[name] for name in after}
        envoy = sum(seconds for name, seconds in used.items() if "envoy" in name)
        return RestRates(by_grpc, by_rest, envoy / sum(used.values()), envoy / CALLS * 1e6)


def cpu_seconds(service: Service) -> dict[str, float]:
    """Return the CPU seconds of the service's processes and of this client."""
    processes = [psutil.Process(service.process.pid), psutil.Process(os.getpid())]
    processes += processes[0].children(recursive=True)
    return {
        f"{process.name()}-{process.pid}": sum(process.cpu_times()[:2]) for process in processes
    }


def main() -> None:
    rates = measure()
    print(f"by gRPC {rates.grpc:10,.0f} events/s, {EVENTS_A_CALL} a call, {CALLERS} callers")
    print(f"by REST {rates.rest:10,.0f} events/s   ratio {rates.ratio:.2f} (wanted: 0.33)")
    print(
        f"Envoy   {rates.envoy_cpu_share:10.0%} of the CPU, "
        f"{rates.envoy_cpu_us_per_call:.0f} µs a call"
    )


if __name__ == "__main__":
    main()
