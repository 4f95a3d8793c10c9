"""The server's memory while it takes five million events, half of them page views, all with ids."""

from __future__ import annotations

import asyncio
import time
from itertools import chain
from pathlib import Path

from rich.progress import track

from benchmarks.data import api_batch, web_batch
from benchmarks.rpc import Server, api_message, channel_to, serving, web_message

EVENTS = 5_000_000
EVENTS_A_CALL = 1_000
TARGET_MIB = 1024


def resident_mib(server: Server) -> int:
    """Return the most memory that the server has had at once."""
    status = Path(f"/proc/{server.process.pid}/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


async def measure(server: Server, events: int = EVENTS) -> int:
    """Return the server's highest resident memory, in MiB."""
    now_us = time.time_ns() // 1000
    pairs = events // (2 * EVENTS_A_CALL)
    # Made as they are sent: what waits is not the server's memory.
    calls = chain.from_iterable(
        (
            ("IngestApiRequests", server.writes, api_message(api)),
            ("IngestWebEvents", server.key, web_message(web, server.site, server.host, seed)),
        )
        for seed, api, web in (
            (
                seed,
                api_batch(EVENTS_A_CALL, seed=seed, now_us=now_us),
                web_batch(EVENTS_A_CALL, seed=seed, now_us=now_us - (pairs - seed) * 100_000),
            )
            for seed in range(pairs)
        )
    )
    async with channel_to(server.target) as channel:
        for method, metadata, message in track(
            calls, f"Sending {events:,} events", total=2 * pairs, transient=True
        ):
            call = channel.unary_unary(f"/footfall.v1.IngestService/{method}")
            await call(message, metadata=metadata)
    return resident_mib(server)


def main() -> None:
    with serving() as server:
        peak = asyncio.run(measure(server))
    print(f"server memory up to {EVENTS:,} events: at most {peak} MiB (target {TARGET_MIB})")


if __name__ == "__main__":
    main()
