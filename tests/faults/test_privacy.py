"""What is kept of people, looked for in all files and stores of a service in its own processes."""

from __future__ import annotations

import base64
import hashlib
import http.client
import ipaddress
import json
import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.e2e.conftest import Application, Site, create_application, create_site
from tests.e2e.service import Service, wait_until
from tests.faults.at_rest import everything, files, places
from tests.faults.verdicts import Case

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:126.0) Gecko/20100101 Firefox/126.0"
#: How long the bytes of what was removed may be in files: 5 s to gather removals, the copy of a
#: small store, and room for a slow machine.
SCRUB_S = 60.0


# -- Addresses ------------------------------------------------------------------------------------


class Sender:
    """Sends requests from an address of this machine's own, naming others."""

    def __init__(self, service: Service, source: str) -> None:
        host, _, port = service.rest.removeprefix("http://").partition(":")
        self._place = (host, int(port))
        self._source = source

    def send(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> int:
        connection = http.client.HTTPConnection(
            *self._place, timeout=30, source_address=(self._source, 0)
        )
        try:
            content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path, content, dict(headers or {}))
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()


def forms(address: str) -> dict[str, bytes]:
    """Return what an address may be kept as: texts, bytes, and what anybody can compute of it."""
    ip = ipaddress.ip_address(address)
    texts = {address, ip.exploded, ip.compressed, str(int(ip)), ip.reverse_pointer}
    if isinstance(ip, ipaddress.IPv4Address):
        texts |= {f"::ffff:{address}", ip.packed.hex()}
    else:
        texts |= {ip.exploded.replace(":", ""), str(ipaddress.ip_network((ip, 64), strict=False))}
    found = {f"text {text}": text.encode() for text in texts}
    if len(ip.packed) > 4:
        found["packed"] = ip.packed
        found["packed, reversed"] = ip.packed[::-1]
    for text in (address, ip.exploded):
        hashes = {
            name: hashlib.new(name, text.encode()).digest()
            for name in ("md5", "sha1", "sha256", "sha512", "blake2s")
        }
        for size in (16, 20, 32, 64):
            hashes[f"blake2b {size}"] = hashlib.blake2b(text.encode(), digest_size=size).digest()
        for name, digest in hashes.items():
            # The first half, since a digest may have been cut.
            half = digest[: len(digest) // 2]
            found[f"{name} of {text}"] = half
            found[f"{name} of {text}, hexadecimal"] = half.hex().encode()
            found[f"{name} of {text}, base64"] = base64.b64encode(digest)[: len(half)]
    return found


def test_no_address_is_at_rest(case: Case, service: Service, tmp_path: Path) -> None:
    chance = case.chance

    def v4(network: str) -> str:
        return f"{network}.{chance.randrange(1, 255)}.{chance.randrange(1, 255)}"

    def v6() -> str:
        return str(ipaddress.IPv6Address((0x2001_0DB8 << 96) | chance.getrandbits(96)))

    site, application = create_site(service), create_application(service)
    named = [address for _ in range(8 if case.full else 1) for address in (v4("198.18"), v6())]
    peers = [f"127.{chance.randrange(20, 250)}.{chance.randrange(256)}.7" for _ in "ab"]
    logged = [v4("198.18"), v6()]
    for number, address in enumerate(named):
        sender = Sender(service, peers[number % 2])
        told = {"x-forwarded-for": f"{address}, {named[0]}", "user-agent": FIREFOX}
        _send_everything(sender, site, application, address, told, f"n{number}")
    log = tmp_path / "access.log"
    log.write_text(
        "".join(
            f'{address} - - [20/May/2026:10:05:0{n} +0000] "GET /news HTTP/1.1" 200 5 "-" '
            f'"{FIREFOX}" "{other}"\n'
            for n, (address, other) in enumerate(zip(logged, reversed(logged), strict=True))
        )
    )
    imports = [("--site", site.id), ("--as", "api-requests", "--app", application.id)]
    for arguments in imports if case.full else imports[:1]:
        assert service.cli("import-log", str(log), *arguments)["accepted"] == 2

    kept = everything(service)
    # What is looked for is found where it is.
    assert "rows of DuckDB" in places(kept, [b"a page that was seen"])
    assert {"rows of SQLite", "keys of Valkey"} <= places(kept, [site.id.encode()])
    for address in (*named, *peers, *logged):
        for form, content in forms(address).items():
            assert places(kept, [content]) == set(), (address, form)
    # Four bytes are somewhere by chance, but not those of many addresses.
    fours = [ipaddress.ip_address(a).packed for a in (*named, *peers, *logged) if "." in a]
    for packed in (fours, [four[::-1] for four in fours]):
        assert sum(bool(places(kept, [four])) for four in packed) <= 1
    size = sum(map(len, kept.values())) / 1e6
    case.tell(f"{len(named) + len(peers) + len(logged)} addresses in {size:.1f} MB")


def _send_everything(
    sender: Sender,
    site: Site,
    application: Application,
    address: str,
    told: Mapping[str, str],
    name: str,
) -> None:
    """Send whatever may come with an address, on every way in, good and bad."""
    view = {"url": f"https://{site.host}/{name}", "title": "a page that was seen"}
    good = [
        # From a server, which knows the visitor's address, with and without an id of its own.
        (
            "/v1/collect?site=" + site.id,
            {**view, "ip": address, "user_agent": FIREFOX},
            site.bearer,
        ),
        ("/v1/collect?site=" + site.id, [{**view, "ip": address, "visitor_id": name}], site.bearer),
        # From a browser, whose address is the request's.
        ("/v1/collect?site=" + site.id, view, {"origin": f"https://{site.host}"}),
        (f"/track?client_id={site.id}", {"name": "screen_view", "path": view["url"]}, {}),
        (
            "/1/event/",
            [{"consumer_id": "c", "method": "GET", "url": f"/{name}", "response_us": 1}],
            application.writes,
        ),
    ]
    for path, body, headers in good:
        assert sender.send("POST", path, body, {**told, **headers}) == 200, path
    bad = [
        ("POST", "/v1/collect?site=" + site.id, b"{", site.bearer),
        ("POST", "/v1/collect?site=nobody", view, {}),
        ("POST", "/v1/collect?site=" + site.id, {**view, "ip": address, "url": 7}, site.bearer),
        ("POST", "/v1/auth/login", {"email": f"{name}@example.com", "password": "wrong pass"}, {}),
        ("GET", f"/v1/realtime?site={site.id}", None, {"authorization": "Bearer nm_wrong"}),
        ("GET", "/nowhere", None, {}),
        ("POST", "/v1/query?website_id=" + site.id, {"parameters": ["summary"]}, {}),
    ]
    for method, path, body, headers in bad:
        assert sender.send(method, path, body, {**told, **headers}) >= 400, path
    assert sender.send("GET", f"/v1/realtime?site={site.id}", None, {**told, **site.bearer}) == 200


# -- What is deleted ------------------------------------------------------------------------------


class Canary:
    """Texts that are a site's or a visitor's alone, wherever they are."""

    def __init__(self, case: Case, what: str) -> None:
        self.name = f"kanarienvogel-{what}-{case.chance.getrandbits(48):012x}"

    def __str__(self) -> str:
        return self.name

    def is_in(self, kept: dict[str, bytes]) -> set[str]:
        return places(kept, [self.name.encode()])


def wait_until_scrubbed(service: Service, *canaries: Canary) -> None:
    """Wait until canaries are in no file any more, or fail with the files where they are."""
    deadline = time.monotonic() + SCRUB_S
    while found := places(files(service), [canary.name.encode() for canary in canaries]):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def send_views(
    service: Service, site: Site, visitors: list[str], text: str = "", days_ago: float = 0
) -> None:
    """Send a page view of each visitor, with a text in all fields that hold any."""
    at = time.time() - days_ago * 86_400
    texts = dict.fromkeys(("title", "author", "city", "name"), text or "dull")
    events = [
        {
            **texts,
            "url": f"https://{site.host}/{text or 'dull'}",
            "referrer": f"https://a.example/{text}",
            "visitor_id": visitor,
            "timestamp": at + number / 1000,
            "properties": {"text": text},
        }
        for number, visitor in enumerate(visitors)
    ]
    answer = service.post_json(f"/v1/collect?site={site.id}", events, site.bearer)
    assert answer.json == {"accepted": len(events), "duplicates": 0, "rejected": []}


def counts(service: Service, site: Site) -> dict[str, Any]:
    """Return what is counted of a site in history, in live state, and of visitors."""
    asked = {"site": site.id, "preset": "last90"}
    charts = service.get("/v1/charts", headers=site.bearer, query=asked).json
    live = service.get("/v1/realtime", headers=site.bearer, query={"site": site.id}).json
    parameters = {"parameters": ["summary_metrics"], "preset": "last_90d"}
    summary = service.post_json(f"/v1/query?website_id={site.id}", parameters, site.bearer).json
    return {
        "pageviews": charts["summary"]["total_pageviews"],
        "visits": charts["summary"]["total_visits"],
        "pages": {page["url"]: page["pageviews"] for page in charts["top_pages"]},
        "live": live["total_realtime"],
        "visitors": summary["data"][0]["data"][0]["unique_visitors"],
    }


def expected(visitors: dict[str, int], text: str = "dull") -> dict[str, Any]:
    """Return the counts of visitors with so many page views each, all of them a moment ago."""
    views = sum(visitors.values())
    return {
        "pageviews": views,
        "visits": len(visitors),
        "pages": {f"/{text}": views} if views else {},
        "live": len(visitors),
        "visitors": len(visitors),
    }


def verify(service: Service) -> None:
    """Have the service's own check compare what it has counted with its events."""
    found = service.cli("doctor", "--verify")
    assert all(check["ok"] for check in found["checks"] if check["check"] == "counts"), found


def test_what_is_deleted_is_gone_from_everywhere(case: Case, service: Service) -> None:
    site_text, visitor = Canary(case, "site"), Canary(case, "visitor")
    other = create_site(service)
    host = f"{site_text}.example"
    made = service.post_json("/v1/sites", {"host": host}, service.admin).json
    key = service.post_json(
        "/v1/keys", {"sites": [made["id"]], "scopes": ["read", "write"]}, service.admin
    ).json
    gone = Site(made["id"], host, key["key"])
    send_views(service, gone, ["a", "b", f"{site_text} v"], str(site_text))
    send_views(service, other, ["x", "y", "x", str(visitor), str(visitor)])
    # Asked for, so that whatever is remembered is.
    assert counts(service, other) == expected({"x": 2, "y": 1, str(visitor): 2})
    assert counts(service, gone)["visitors"] == 3
    before = everything(service)
    for canary in (site_text, visitor):
        assert canary.is_in(before) >= {"rows of DuckDB", "keys of Valkey"}, canary
        assert canary.is_in(files(service)) & {"data/events.duckdb", "data/events.duckdb.wal"}

    path, named = f"/v1/sites/{other.id}/visitors", {"visitor_id": str(visitor)}
    answer = service.request("DELETE", path, headers=service.admin, query=named)
    assert (answer.status, answer.json) == (200, {"done": True})
    assert counts(service, other) == expected({"x": 2, "y": 1})
    began = time.monotonic()
    assert service.cli("site", "delete", gone.id, "--yes") == {"id": gone.id, "done": True}
    asked = {"headers": gone.bearer, "query": {"site": gone.id}}
    wait_until(lambda: service.get("/v1/realtime", **asked).status == 403)
    assert counts(service, other) == expected({"x": 2, "y": 1})
    wait_until_scrubbed(service, site_text, visitor)
    case.tell(f"out of the files {time.monotonic() - began:.1f} s after the deletion")
    after = everything(service)
    assert site_text.is_in(after) | visitor.is_in(after) == set()
    # Its id alone, which tells nothing, is in logs, and for a minute in the counter of its calls.
    left = places(after, [gone.id.encode()])
    assert {place for place in left if "log" not in place} <= {"keys of Valkey"}
    assert counts(service, other) == expected({"x": 2, "y": 1})
    if case.full:
        verify(service)
    # Whoever comes again is counted again.
    send_views(service, other, [str(visitor)])
    assert counts(service, other)["visitors"] == 3


def test_kills_in_the_midst_of_removals(case: Case, service: Service) -> None:
    """The server is killed when it removes visitors and when it writes its file anew; what was
    ordered is done all the same, and nothing else is lost.
    """
    site = create_site(service)
    left: dict[str, int] = {}
    canaries = []
    kills = 0
    deadline = time.monotonic() + (40 if case.full else 0)
    while not kills or time.monotonic() < deadline:
        canary = Canary(case, "killed")
        canaries.append(canary)
        for number in range(case.chance.randrange(1, 4)):
            visitor = f"v{case.chance.randrange(9)}"
            left[visitor] = left.get(visitor, 0) + 1
            send_views(service, site, [visitor, *[str(canary)] * (number % 2 + 1)])
        victim = service.server_pid()
        killing = threading.Timer(case.chance.random(), os.kill, (victim, signal.SIGKILL))
        killing.start()
        # The order is there when the command ends, whatever has become of the server.
        service.cli("visitor", "delete", site.id, str(canary), "--yes")
        killing.join()
        kills += 1
        # At start the file is written anew at once: the next kill may fall into that.
        wait_until(lambda pid=victim: _serves_anew(service, pid), timeout=30)
        time.sleep(case.chance.random() * 0.6)
        if case.full and case.chance.random() < 0.5:
            victim = service.server_pid()
            os.kill(victim, signal.SIGKILL)
            kills += 1
            wait_until(lambda pid=victim: _serves_anew(service, pid), timeout=30)
    wanted = expected(left)
    wait_until(lambda: _same(lambda: counts(service, site), wanted), timeout=60)
    wait_until_scrubbed(service, *canaries)
    assert not any(canary.is_in(everything(service)) for canary in canaries)
    verify(service)
    case.tell(f"{kills} kills, {len(canaries)} visitors removed, {sum(left.values())} views left")


def _serves_anew(service: Service, pid: int) -> bool:
    try:
        return service.server_pid() != pid and service.get("/health").status == 200
    except (OSError, ValueError):
        return False


def _same(count: Any, wanted: Any) -> bool:
    try:
        return bool(count() == wanted)
    except (KeyError, TypeError, OSError):
        # Not everything is back yet.
        return False
