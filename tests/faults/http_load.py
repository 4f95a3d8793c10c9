"""HTTP callers that cost little, in a process of their own beside the service.

Requests are bytes that stand ready; of an answer only the status, the length and a few headers are
read. An open loop sends at its rate whatever becomes of the answers, as the world does; a closed
one has callers who wait for theirs.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import uvloop

#: What a request may hold where each must differ: 12 digits take its place.
NUMBER: Final = b"@@@@@@@@@@@@"
_TICK_S: Final = 0.004
_TIMES_MAX: Final = 1_000
#: An answer that comes later than this is no use to its caller.
PATIENCE_S: Final = 5.0


@dataclass(frozen=True)
class Kind:
    """A kind of request: the whole of it, and how much of the load it is."""

    request: bytes
    weight: float = 1.0


@dataclass
class Tally:
    """What became of the requests of a run."""

    seconds: float = 0.0
    sent: int = 0
    #: By kind, requests that were answered with 200 in time.
    good: dict[str, int] = field(default_factory=dict)
    #: By status, answers; 0: the connection broke.
    statuses: dict[int, int] = field(default_factory=dict)
    #: Refusals (429, 503) without a Retry-After; answers that came too late; and what could not be
    #: sent since as many requests as there may be waited for their answers.
    hintless: int = 0
    late: int = 0
    unsent: int = 0
    #: Connections that the gateway closed after an answer, and the CPU time of the callers.
    closed: int = 0
    cpu_s: float = 0.0
    #: Latencies of good answers and of refusals, sorted, in seconds.
    good_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    #: An answer of each status that is neither 200 nor a refusal.
    odd: dict[int, str] = field(default_factory=dict)

    @property
    def goodput(self) -> float:
        """Good answers a second."""
        return sum(self.good.values()) / self.seconds

    @property
    def refused(self) -> int:
        """Answers that say to come again."""
        return self.statuses.get(429, 0) + self.statuses.get(503, 0)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which a share of the ordered ones lie; 0 of none."""
    return ordered[min(len(ordered) - 1, math.floor(share * len(ordered)))] if ordered else 0.0


class Load:
    """A load that runs beside the test that made it."""

    def __init__(
        self,
        address: str,
        kinds: Mapping[str, Kind],
        *,
        seconds: float,
        seed: int,
        rate: float | None = None,
        callers: int = 1_500,
    ) -> None:
        """`rate` requests a second, with at most `callers` under way; None: as many as they can."""
        order = {
            "address": urlsplit(address).netloc,
            "kinds": {name: [kind.request.decode(), kind.weight] for name, kind in kinds.items()},
            "seconds": seconds,
            "seed": seed,
            "rate": rate,
            "callers": callers,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.http_load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode())
        self._process.stdin.close()

    def tally(self) -> Tally:
        """Wait for the end and return what became of it."""
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.read())
        assert self._process.wait() == 0
        told["statuses"] = {int(status): count for status, count in told["statuses"].items()}
        return Tally(**told)

    def stop(self) -> None:
        """End it early."""
        self._process.kill()
        self._process.wait()


def request(
    method: str, path: str, headers: Mapping[str, str], body: bytes = b"", host: str = "footfall"
) -> bytes:
    """Return the bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if method == "POST":
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


class _Caller(asyncio.Protocol):
    """A connection with at most one request under way."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._transport: Any = None
        self._received = bytearray()
        self._kind = ""
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def ask(self, kind: str, message: bytes) -> None:
        self._kind, self._began = kind, time.perf_counter()
        self._transport.write(message)

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(received[:end]).lower()
        size = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
        if b"transfer-encoding: chunked" in head:
            if not received.endswith(b"0\r\n\r\n"):
                return
        elif len(received) < end + 4 + size:
            return
        answer = bytes(received)
        received.clear()
        kind, self._kind = self._kind, ""
        self._run.answered(self, kind, int(head[9:12]), head, answer, self._began)

    def connection_lost(self, exc: Exception | None) -> None:
        self._run.lost(self, under_way=bool(self._kind))


class _Run:
    """A run in this process."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        self._host, _, port = order["address"].rpartition(":")
        self._port = int(port)
        self._requests = {
            name: text.encode().split(NUMBER) for name, (text, _) in order["kinds"].items()
        }
        self._names = list(self._requests)
        self._weights = [weight for _, weight in order["kinds"].values()]
        self._chance = random.Random(order["seed"])
        self._rate: float | None = order["rate"]
        self._callers_max: int = order["callers"]
        self._number = order["seed"] * 10**6 % 10**9 * 10**3
        self._tally = Tally()
        self._good: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._idle: list[_Caller] = []
        self._callers = 0
        self._under_way = 0
        self._ends = time.perf_counter() + order["seconds"]
        self._seconds: float = order["seconds"]
        self._by_kind: dict[str, list[float]] = defaultdict(list)

    async def run(self) -> Tally:
        first = self._callers_max if self._rate is None else min(64, self._callers_max)
        await asyncio.gather(*(self._connect() for _ in range(first)))
        began = time.perf_counter()
        self._ends = began + self._seconds
        if self._rate is None:
            for caller in self._idle:
                self._ask(caller)
            self._idle.clear()
        due = 0.0
        while (now := time.perf_counter()) < self._ends:
            if self._rate is not None:
                due = (now - began) * self._rate
                self._send(int(due) - self._tally.sent - self._tally.unsent)
            await asyncio.sleep(_TICK_S)
        patience = time.perf_counter() + PATIENCE_S
        while self._under_way and time.perf_counter() < patience:  # noqa: ASYNC110 - a few times
            await asyncio.sleep(_TICK_S)
        tally = self._tally
        tally.late += self._under_way
        tally.seconds = self._seconds
        tally.cpu_s = time.process_time()
        tally.good, tally.statuses = dict(self._good), dict(self._statuses)
        tally.good_s = _thinned(tally.good_s)
        tally.refused_s = _thinned(tally.refused_s)
        return tally

    def _send(self, count: int) -> None:
        for _ in range(count):
            if self._idle:
                self._ask(self._idle.pop())
            elif self._callers < self._callers_max:
                self._tally.sent += 1
                asyncio.get_running_loop().create_task(self._connect_and_ask())
            else:
                self._tally.unsent += 1

    async def _connect(self) -> None:
        self._callers += 1
        loop = asyncio.get_running_loop()
        _, caller = await loop.create_connection(lambda: _Caller(self), self._host, self._port)
        self._idle.append(caller)

    async def _connect_and_ask(self) -> None:
        self._callers += 1
        try:
            loop = asyncio.get_running_loop()
            _, caller = await loop.create_connection(lambda: _Caller(self), self._host, self._port)
        except OSError:
            self._callers -= 1
            self._statuses[0] += 1
            return
        self._tally.sent -= 1
        self._ask(caller)

    def _ask(self, caller: _Caller) -> None:
        (name,) = self._chance.choices(self._names, self._weights)
        self._number += 1
        self._tally.sent += 1
        self._under_way += 1
        caller.ask(name, _filled(self._requests[name], self._number))

    def answered(
        self, caller: _Caller, kind: str, status: int, head: bytes, answer: bytes, began: float
    ) -> None:
        self._under_way -= 1
        now = time.perf_counter()
        tally, seconds = self._tally, now - began
        self._statuses[status] += 1
        if status == 200:
            if seconds > PATIENCE_S:
                tally.late += 1
            else:
                # What is answered after the end belongs to the time in which it was asked.
                self._good[kind] += 1
                tally.good_s.append(seconds)
        elif status in (429, 503):
            tally.refused_s.append(seconds)
            tally.hintless += b"\r\nretry-after: " not in head
        else:
            tally.odd.setdefault(status, answer[:500].decode(errors="replace"))
        if b"\r\nconnection: close" in head:
            tally.closed += 1
            caller.close()
        elif self._rate is None and now < self._ends:
            self._ask(caller)
        else:
            self._idle.append(caller)

    def lost(self, caller: _Caller, *, under_way: bool) -> None:
        self._callers -= 1
        if under_way:
            self._under_way -= 1
            self._statuses[0] += 1
        elif caller in self._idle:
            self._idle.remove(caller)


def _thinned(times: list[float]) -> list[float]:
    """Return a few of the times, in order; their quantiles are those of all."""
    times.sort()
    step = max(1, len(times) // _TIMES_MAX)
    return [round(time, 4) for time in times[::step]]


def _filled(parts: Sequence[bytes], number: int) -> bytes:
    return parts[0] if len(parts) == 1 else (b"%012d" % number).join(parts)


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(_Run(json.load(sys.stdin)).run()))))  # noqa: T201
