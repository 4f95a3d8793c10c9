"""A demo account: made once for a data directory, and given some events to show."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shlex
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from footfall.accounts.management import AccountManager
from footfall.accounts.model import KeyKind, Scope
from footfall.accounts.ports import AccountStore
from footfall.errors import NotFoundError, UnavailableError
from footfall.settings import Settings

ACCOUNT = "demo"
HOST = "demo.example.com"
TIMEZONE = "Europe/Zurich"
SEND_TIMEOUT_S = 10.0
HEARTBEAT_S = 60.0


@dataclass(frozen=True)
class Demo:
    """What a newcomer needs to try everything."""

    account: str
    site: str
    #: Reads and writes the site.
    key: str
    application: str
    write_key: str
    read_key: str


def ensure_demo(settings: Settings) -> Demo:
    """Return the data directory's demo credentials, made and remembered the first time."""
    path = settings.data_dir / "demo.json"
    if path.exists():
        return Demo(**json.loads(path.read_text()))
    from footfall.accounts.sql import open_account_store  # noqa: PLC0415 - slow to load, needed once

    store = open_account_store(settings.effective_accounts_url)
    try:
        demo = _create(store)
    finally:
        store.close()
    _write_private(path, json.dumps(asdict(demo), indent=2))
    return demo


def write_demo_environment(settings: Settings, demo: Demo, rest: str, grpc: str) -> Path:
    """Write a file of shell variables for trying the running demo, and return its path."""
    variables = {
        "FOOTFALL_URL": rest,
        "FOOTFALL_GRPC": grpc,
        "FOOTFALL_SITE": demo.site,
        "FOOTFALL_KEY": demo.key,
        "FOOTFALL_APP": demo.application,
        "FOOTFALL_WRITE_KEY": demo.write_key,
        "FOOTFALL_READ_KEY": demo.read_key,
    }
    path = settings.data_dir / "demo.env"
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
    _write_private(path, "".join(lines))
    return path


def send_demo_events(rest: str, demo: Demo) -> None:
    """Send an hour of API requests and a few visits that are going on now."""
    dice = random.Random()  # noqa: S311 - sample data
    now = time.time()
    writes = {"x-auth-user": demo.application, "x-auth-key": demo.write_key}
    _post(f"{rest}/1/event/", _api_requests(dice, now), writes)
    _send_visits(rest, demo, "pageview")


async def keep_visitors(rest: str, demo: Demo) -> None:
    """Send heartbeats, so that the demo's visitors stay on the site for as long as it runs."""
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        with contextlib.suppress(UnavailableError):
            await asyncio.to_thread(_send_visits, rest, demo, "heartbeat")


def _create(store: AccountStore) -> Demo:
    manager = AccountManager(store)
    try:
        account = store.get_account(ACCOUNT)
    except NotFoundError:
        account = manager.create_account(ACCOUNT, "free")
    site = manager.create_site(account.id, HOST, TIMEZONE, public=False)
    key = manager.create_key(
        account.id, kind=KeyKind.NM, site_ids=[site.id], scopes=[Scope.READ, Scope.WRITE]
    )
    made = manager.create_application(account.id, "demo")
    return Demo(
        account=account.id,
        site=site.id,
        key=key.text,
        application=made.application.id,
        write_key=made.write_key,
        read_key=made.read_key,
    )


def _api_requests(dice: random.Random, now: float) -> list[dict[str, Any]]:
    calls = (
        ("GET", "/products", "list_products", 20_000),
        ("GET", "/products/42", "show_product", 9_000),
        ("POST", "/orders", "create_order", 80_000),
        ("DELETE", "/orders/7", "cancel_order", 30_000),
    )
    events = []
    for _ in range(60):
        method, url, function, typical_us = dice.choices(calls, weights=(6, 4, 2, 1))[0]
        events.append(
            {
                "timestamp": round(now - dice.uniform(0, 3600), 3),
                "consumer_id": f"customer-{dice.randint(1, 5)}",
                "method": method,
                "url": url,
                "function": function,
                "status_code": dice.choices((200, 404, 500), weights=(18, 2, 1))[0],
                "response_us": int(typical_us * dice.lognormvariate(0, 0.5)),
            }
        )
    return events


def _send_visits(rest: str, demo: Demo, kind: str) -> None:
    bearer = {"authorization": f"Bearer {demo.key}"}
    _post(f"{rest}/v1/collect?site={demo.site}", _visits(kind, time.time()), bearer)


def _visits(kind: str, now: float) -> list[dict[str, Any]]:
    """Return an event for each of twelve visitors, the same ones every time."""
    pages = (
        ("/", "Demo: front page"),
        ("/pricing", "Demo: pricing"),
        ("/blog/hello", "Demo: hello"),
    )
    origins: tuple[dict[str, str], ...] = (
        {},
        {"referrer": "https://www.google.com/"},
        {"referrer": "https://www.google.ch/"},
        {"query": "?utm_medium=newsletter&utm_source=morning-briefing&utm_campaign=daily"},
    )
    places = (("CH", "Zürich"), ("DE", "Berlin"), ("US", "New York"), ("JP", "東京"))
    agents = (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/140.0.0.0 Safari/537.36",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 "
        "(KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
    )
    events = []
    for number in range(12):
        path, title = pages[number % 3]
        country, city = places[number % 4]
        origin = origins[number % 4]
        events.append(
            {
                "type": kind,
                "timestamp": now,
                "url": f"https://{HOST}{path}{origin.get('query', '')}",
                "referrer": origin.get("referrer", ""),
                "title": title,
                "visitor_id": f"demo-visitor-{number}",
                "user_agent": agents[number % 2],
                "country": country,
                "city": city,
            }
        )
    return events


def _write_private(path: Path, text: str) -> None:
    """Write a file that nobody else may read, not even for a moment."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def _post(url: str, events: Sequence[Mapping[str, Any]], headers: Mapping[str, str]) -> None:
    """Send a batch; credentials that are new may take the server a moment to see."""
    request = urllib.request.Request(  # noqa: S310 - our own gateway
        url,
        json.dumps(events).encode(),
        {"content-type": "application/json", **headers},
        method="POST",
    )
    deadline = time.monotonic() + SEND_TIMEOUT_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=SEND_TIMEOUT_S):  # noqa: S310
                return
        except (urllib.error.URLError, TimeoutError) as error:
            if time.monotonic() > deadline:
                what = f"HTTP {error.code}" if isinstance(error, urllib.error.HTTPError) else error
                raise UnavailableError(
                    f"The demo events could not be sent: {what}. The logs say more."
                ) from None
            time.sleep(0.1)
