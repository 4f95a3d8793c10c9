"""What is acknowledged is kept, and kept once, whatever is killed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from pathlib import Path

from tests.e2e.conftest import Application, create_application
from tests.e2e.service import Service, running, wait_until

KILLS = 20
CALLERS = 4


def load(
    service: Service, application: Application, caller: int, stop: threading.Event
) -> tuple[set[str], set[str]]:
    """Send batches until told to stop, each until it is acknowledged.

    Returns the ids that were sent, and those that were acknowledged.
    """
    sent: set[str] = set()
    acknowledged: set[str] = set()
    number = 0
    while not stop.is_set():
        batch = [
            {
                "event_id": f"{caller}-{number}-{index}",
                "timestamp": time.time(),
                "consumer_id": str(caller),
                "method": "GET",
                "url": "/",
                "response_us": 1,
                "status_code": 200,
            }
            for index in range(10)
        ]
        ids = {event["event_id"] for event in batch}
        sent |= ids
        number += 1
        while not stop.is_set():
            with contextlib.suppress(OSError):
                answer = service.post_json("/1/event/", batch, application.writes, timeout=5)
                if answer.status == 200:
                    assert answer.json["accepted"] + answer.json["duplicates"] == len(batch)
                    acknowledged |= ids
                    break
            time.sleep(0.02)
    return sent, acknowledged


def test_nothing_acknowledged_is_missing_or_double(tmp_path: Path) -> None:
    with running(tmp_path / "data") as service:
        service.cli("account", "create", "e2e")
        application = create_application(service)
        stop = threading.Event()
        results: list[tuple[set[str], set[str]]] = []
        callers = [
            threading.Thread(
                target=lambda caller=caller: results.append(
                    load(service, application, caller, stop)
                )
            )
            for caller in range(CALLERS)
        ]
        for thread in callers:
            thread.start()
        dice = random.Random(20)
        answers_again = {"headers": application.reads}
        for _ in range(KILLS):
            time.sleep(dice.uniform(0.05, 0.4))
            killed = service.server_pid()
            os.kill(killed, signal.SIGKILL)
            wait_until(
                lambda killed=killed: (
                    (
                        service.server_pid() != killed
                        and service.get("/1/timeseries/1/2", **answers_again).status == 200
                    )
                    if (service.data / "run" / "server.json").exists()
                    else False
                ),
                timeout=20,
            )
        stop.set()
        for thread in callers:
            thread.join()
        assert len(results) == CALLERS
        sent = set().union(*(sent for sent, _ in results))
        acknowledged = set().union(*(kept for _, kept in results))
        assert len(acknowledged) > KILLS * CALLERS

        now = int(time.time())
        lines = service.get(
            f"/1/export/{now - 86_400}/{now + 60}",
            headers=application.reads,
            query={"format": "csv"},
        ).body.decode()
        header, *rows = lines.splitlines()
        place = header.split(",").index("event_id")
        stored = [row.split(",")[place] for row in rows]
        assert len(stored) == len(set(stored))
        assert acknowledged <= set(stored) <= sent
        total = service.get(
            f"/1/timeseries/{now - 86_400}/{now + 60}", headers=application.reads
        ).json
        assert total["groups"][application.id][0][1] == len(stored)
