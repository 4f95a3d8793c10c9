"""Page views in, live answers out: limits, streams and restarts included."""

from __future__ import annotations

import json
import random
import socket
import time
import urllib.parse
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from footfall.v1 import realtime_pb2, realtime_pb2_grpc
from tests.e2e.conftest import Site, create_site
from tests.e2e.service import Service, running, wait_until

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Safari/537.36"
)
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
)
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


def page_views(site: Site, count: int) -> list[dict[str, Any]]:
    """Make page views of the last two minutes: each visitor's last one is where it is active."""
    dice = random.Random(3)
    now = time.time()
    return [
        {
            "event_id": f"pv-{number}",
            "timestamp": now - 120 + number * 100 / count,
            "url": f"https://{site.host}/{dice.choice('abcdef')}?utm_source=x&id={number % 2}#top",
            "title": "Tïtle",
            "visitor_id": f"visitor-{dice.randrange(count // 3)}",
            "user_agent": dice.choice((CHROME, IPHONE)),
            "country": dice.choice(("CH", "DE", "")),
            "city": dice.choice(("Zürich", "")),
        }
        for number in range(count)
    ]


def expected(views: list[dict[str, Any]], site: Site) -> dict[str, Any]:
    last = {view["visitor_id"]: view for view in views}

    def path(view: dict[str, Any]) -> str:
        address = urllib.parse.urlsplit(view["url"])
        return f"{address.path}?{address.query.split('&')[-1]}"

    users = Counter(map(path, last.values()))
    views_of = Counter(map(path, views))
    devices = Counter(
        "mobile" if view["user_agent"] == IPHONE else "desktop" for view in last.values()
    )
    cities = Counter(view["city"] for view in last.values() if view["city"])
    return {
        "total_realtime": len(last),
        "total_pageviews_today": len(views),
        "total_unique_visitors_today": len(last),
        "devices": dict(devices),
        "pages": [
            (page, users[page], views_of[page])
            for page in sorted(users, key=lambda page: (-users[page], page))
        ],
        "countries": sorted(
            ((view, count) for view, count in Counter(v["country"] for v in last.values()).items()),
        ),
        "cities": sorted(cities.items()),
    }


def brief(snapshot: dict[str, Any]) -> dict[str, Any]:
    return {
        "total_realtime": snapshot["total_realtime"],
        "total_pageviews_today": snapshot["total_pageviews_today"],
        "total_unique_visitors_today": snapshot["total_unique_visitors_today"],
        "devices": {name: count for name, count in snapshot["devices"].items() if count},
        "pages": [
            (page["url"], page["realtime_users"], page["pageviews_today"])
            for page in snapshot["top_pages"]
        ],
        "countries": sorted((row["code"], row["count"]) for row in snapshot["countries"]),
        "cities": sorted((row["name"], row["count"]) for row in snapshot["cities"]),
    }


def zone_where_it_is_noon() -> str:
    """Keep "today" away from midnight, whenever the suite runs; these zones' signs are inverted."""
    offset = 12 - datetime.now(UTC).hour
    return f"Etc/GMT{-offset:+d}" if offset else "Etc/GMT"


def test_snapshot_equals_the_recount_and_survives_a_restart(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data) as service:
        service.cli("account", "create", "e2e")
        site = create_site(service, zone_where_it_is_noon())
        views = page_views(site, 300)
        bots = [
            view | {"event_id": f"bot-{view['event_id']}", "user_agent": GOOGLEBOT}
            for view in views[:20]
        ]
        path = f"/v1/collect?site={site.id}"
        assert service.post_json(path, views + bots, site.bearer).json["accepted"] == 320
        assert service.post_json(path, views[:10], site.bearer).json["duplicates"] == 10
        wanted = expected(views, site)

        def live(service: Service) -> dict[str, Any]:
            answer = service.get("/v1/realtime", headers=site.bearer, query={"site": site.id})
            return brief(answer.json) if answer.status == 200 else {"status": answer.status}

        wait_until(lambda: live(service) == wanted, timeout=3, interval=0.5)
    with running(data) as service:
        wait_until(lambda: live(service) == wanted, timeout=3, interval=0.5)


def test_published_document(service: Service, site: Site) -> None:
    view = {
        "url": f"https://{site.host}/news/",
        "title": "News",
        "og_image": "https://img.example/1.jpg",
        "visitor_id": "a",
        "user_agent": CHROME,
        "country": "CH",
        "city": "Zurich",
        "referrer": "https://www.google.ch/search?q=x",
    }
    tagged = view | {
        "visitor_id": "b",
        "url": view["url"] + "?utm_medium=newsletter&utm_source=brief&utm_campaign=daily",
    }
    path = f"/v1/collect?site={site.id}"
    assert service.post_json(path, [view, tagged], site.bearer).json["accepted"] == 2

    answer = service.get("/v1/realtime", headers=site.bearer, query={"site": site.id})
    assert answer.status == 200
    document = answer.json
    updated = datetime.fromisoformat(document.pop("updated_at"))
    assert abs(datetime.now(UTC) - updated) < timedelta(minutes=1)
    search = {
        "medium": "search",
        "source": "Google Search",
        "count": 1,
        "percent": 50,
        "children": [{"label": "google.ch", "count": 1}],
    }
    letter = {
        "medium": "newsletter",
        "source": "brief",
        "count": 1,
        "percent": 50,
        "children": [{"label": "daily", "count": 1}],
    }
    assert {k: v for k, v in document.pop("devices").items() if v} == {"desktop": 2}
    assert document == {
        "site": site.id,
        "window_seconds": 300,
        "total_realtime": 2,
        "total_pageviews_today": 2,
        "total_unique_visitors_today": 2,
        "top_pages": [
            {
                "url": "/news",
                "host": site.host,
                "title": "News",
                "og_image": "https://img.example/1.jpg",
                "realtime_users": 2,
                "pageviews_today": 2,
                "sources": [search, letter],
            }
        ],
        "countries": [{"code": "CH", "name": "Switzerland", "count": 2}],
        "cities": [{"name": "Zurich", "count": 2}],
        "sources_top5": [search, letter],
    }
    sources = service.get("/v1/sources", headers=site.bearer, query={"site": site.id}).json
    sources.pop("updated_at")
    assert sources == {"site": site.id, "total_visitors": 2, "sources": [search, letter]}


def test_stream_sends_a_snapshot_and_then_each_change(service: Service, site: Site) -> None:
    address = urllib.parse.urlsplit(service.rest)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(
            f"GET /v1/realtime/stream?site={site.id} HTTP/1.1\r\nHost: {address.netloc}\r\n"
            f"Authorization: {site.bearer['authorization']}\r\n\r\n".encode()
        )
        received = connection.makefile("rb")

        def next_snapshot() -> dict[str, Any]:
            for line in received:
                if line.startswith(b"data:"):
                    return json.loads(line[5:])
            raise AssertionError("the stream ended")

        head = b"".join(iter(received.readline, b"\r\n"))
        assert head.startswith(b"HTTP/1.1 200")
        assert b"content-type: text/event-stream" in head.lower()
        assert next_snapshot()["total_realtime"] == 0
        service.post_json(
            f"/v1/collect?site={site.id}",
            {"url": f"https://{site.host}/", "visitor_id": "v", "user_agent": CHROME},
            site.bearer,
        )
        assert next_snapshot()["total_realtime"] == 1

    with service.channel() as channel:
        events = realtime_pb2_grpc.RealtimeServiceStub(channel).WatchRealtime(
            realtime_pb2.WatchRealtimeRequest(site=site.id), metadata=tuple(site.bearer.items())
        )
        assert next(iter(events)).snapshot.total_realtime == 1
        events.cancel()


def test_a_browser_reports_without_a_key(service: Service, site: Site) -> None:
    page = {"url": f"https://{site.host}/start", "title": "Start"}
    browser = {"user-agent": CHROME, "origin": f"https://{site.host}"}
    beacon = service.request(
        "POST",
        f"/v1/collect?site={site.id}",
        headers=browser | {"content-type": "text/plain;charset=UTF-8"},
        body=json.dumps(page).encode(),
    )
    assert beacon.status == 200
    assert beacon.json == {"accepted": 1, "duplicates": 0, "rejected": []}
    assert beacon.headers["access-control-allow-origin"] in ("*", browser["origin"])
    foreign = service.post_json(
        f"/v1/collect?site={site.id}", {"url": "https://elsewhere.example/"}, browser
    )
    assert foreign.status == 400
    snapshot = wait_until(
        lambda: service.get("/v1/realtime", headers=site.bearer, query={"site": site.id}).json
    )
    assert snapshot["total_realtime"] == 1
    assert {k: v for k, v in snapshot["devices"].items() if v} == {"desktop": 1}
