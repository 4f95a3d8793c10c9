"""The tracker, in a real browser, on pages of real origins, against a real service."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.chromium import HOSTS, Chromium, Tab, needs_chromium, running_chromium
from tests.e2e.conftest import Site, live
from tests.e2e.service import Service, wait_until

COLLECT = "/v1/collect"
#: Makes time pass twenty times as fast for the tracker.
HURRY = """for (const name of ["setInterval", "setTimeout"]) {
  const real = window[name];
  window[name] = (what, ms) => real(what, ms / 20);
}"""


@dataclass
class Pages:
    """A web server whose pages have the tracker of a service."""

    service: Service
    port: int
    heads: dict[str, str] = field(default_factory=dict)
    #: The purposes that pages were asked for with, by host and path.
    asked: dict[str, list[str | None]] = field(default_factory=dict)

    def put(self, site: Site, path: str, head: str = "", host: str = "") -> str:
        """Publish a page with the tracker of a site and return its address."""
        script = f"{self.service.rest}/js/footfall.js"
        self.heads[path] = f"<script defer src='{script}' data-site='{site.id}'></script>{head}"
        return f"http://{host or site.host}:{self.port}{path}"


@pytest.fixture(scope="module")
def pages(service: Service) -> Iterator[Pages]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            head = published.heads.get(self.path.partition("?")[0])
            name = str(self.headers["host"]).partition(":")[0] + self.path
            published.asked.setdefault(name, []).append(self.headers["sec-purpose"])
            self.send_response(404 if head is None else 200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(f"<!doctype html>{head}<p style='height: 9999px'>Text".encode())

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    published = Pages(service, server.server_port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield published
    server.shutdown()
    server.server_close()


def sent(tab: Tab, count: int, *, beats: bool = False) -> list[dict[str, Any]]:
    """Return the events that the tab has sent, once there are so many and all are stored;
    heartbeats only if they are asked for: on a slow machine one may come at any time.
    """

    def answered() -> list[tuple[Any, int | None]]:
        events = [
            event for event in tab.sent(COLLECT) if beats or event[0].get("type") != "heartbeat"
        ]
        return events if len(events) >= count and all(status for _, status in events) else []

    events = wait_until(answered, timeout=30)
    assert [status for _, status in events] == [200] * count
    return [event for event, _ in events]


def hide(browser: Chromium, tab: Tab) -> None:
    """Put the tab behind a new one."""
    tab.call("Emulation.setFocusEmulationEnabled", enabled=False)
    browser.open()
    wait_until(lambda: tab.run("document.hidden"), timeout=30)


def test_what_is_served_is_small(service: Service) -> None:
    answer = service.get("/js/footfall.js")
    assert answer.status == 200
    assert len(gzip.compress(answer.body)) < 1000
    assert b"//" not in answer.body


@needs_chromium
def test_a_page_view(service: Service, site: Site, browser: Chromium, pages: Pages) -> None:
    url = pages.put(
        site,
        "/article",
        """<title>Ein Tïtel</title><meta name=author content="A. Writer">
        <meta property="article:published_time" content="2026-05-01T08:00:00Z">
        <meta property="og:image" content="https://img.example/1.jpg">""",
    )
    referring = pages.put(
        site, "/referring", f'<a href="{url}?utm_source=x">', "www.google.example"
    )
    pages.heads["/referring"] = f'<meta name=referrer content=unsafe-url><a href="{url}?id=7#top">'
    tab = browser.open(referring)
    tab.run("document.links[0].click()")
    (view,) = sent(tab, 1)
    assert view == {
        "type": "pageview",
        "url": f"{url}?id=7",
        "title": "Ein Tïtel",
        "author": "A. Writer",
        "pubdate": "2026-05-01T08:00:00Z",
        "og_image": "https://img.example/1.jpg",
        "referrer": referring,
        "language": "en-US",
        "timezone": tab.run("Intl.DateTimeFormat().resolvedOptions().timeZone"),
        "screen": tab.run("`${screen.width}x${screen.height}`"),
    }
    seen = live(service, site, lambda seen: seen.total_realtime)
    assert (seen.total_realtime, seen.total_pageviews_today) == (1, 1)
    (page,) = seen.top_pages
    assert (page.url, page.title, page.og_image) == (
        "/article?id=7",
        "Ein Tïtel",
        "https://img.example/1.jpg",
    )
    assert tab.run("document.cookie + localStorage.length + sessionStorage.length") == "00"


@needs_chromium
def test_navigation_in_a_single_page(
    service: Service, site: Site, browser: Chromium, pages: Pages
) -> None:
    url = pages.put(site, "/", "<title>Start</title>")
    tab = browser.open(url)
    sent(tab, 1)
    tab.run("history.pushState({}, '', '/second?x=1'); document.title = 'Second'")
    sent(tab, 2)
    # The same page, and places on it.
    tab.run("history.replaceState({}, '', location.href)")
    tab.run("history.pushState({}, '', '#part'); location.hash = 'other'")
    # Passed through in a moment, and seen all the same.
    tab.run("history.replaceState({}, '', '/third'); history.pushState({}, '', '/fourth')")
    sent(tab, 4)
    tab.run("history.back()")
    views = sent(tab, 5)
    there = url.removesuffix("/")
    assert [(view["url"], view["referrer"], view["title"]) for view in views] == [
        (f"{there}/", "", "Start"),
        (f"{there}/second?x=1", f"{there}/", "Second"),
        (f"{there}/third", f"{there}/second?x=1", "Second"),
        (f"{there}/fourth", f"{there}/third", "Second"),
        (f"{there}/third", f"{there}/fourth", "Second"),
    ]
    seen = live(service, site, lambda seen: seen.total_pageviews_today == 5)
    # One visitor, who is on the page seen last.
    assert seen.total_realtime == 1
    assert (seen.top_pages[0].url, seen.top_pages[0].realtime_users) == ("/third", 1)
    assert {page.url: page.pageviews_today for page in seen.top_pages}["/third"] == 2


@needs_chromium
def test_engaged_time(service: Service, site: Site, browser: Chromium, pages: Pages) -> None:
    tab = browser.open(pages.put(site, "/long", "<title>Long</title>"), HURRY)
    # Nobody touches the page: after a minute it counts as left alone.
    _, *beats = sent(tab, 5, beats=True)
    assert [(beat["type"], beat["engaged_seconds"]) for beat in beats] == [("heartbeat", 15)] * 4
    time.sleep(0.5)
    hide(browser, tab)
    assert len(tab.sent(COLLECT)) == 5
    # Looked at again.
    tab.call("Page.bringToFront")
    tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
    wait_until(lambda: len(tab.sent(COLLECT)) > 5, timeout=30)
    tab.run("dispatchEvent(new Event('scroll'))")
    time.sleep(0.2)
    # What has been counted is told when the page goes out of sight, and there nothing is.
    hide(browser, tab)
    time.sleep(0.2)
    told = len(tab.sent(COLLECT))
    time.sleep(0.5)
    tab.go("about:blank")
    events = sent(tab, told, beats=True)
    engaged = sum(event.get("engaged_seconds", 0) for event in events)
    assert engaged >= 75
    query = {"site": site.id, "preset": "today"}
    answer = service.get("/v1/engagement", query=query, headers=site.bearer).json
    assert answer["summary"]["engaged_seconds"] == engaged
    (page,) = answer["top_pages"]
    assert (page["url"], page["engaged_seconds"], page["pageviews"]) == ("/long", engaged, 1)


@needs_chromium
def test_back_to_a_page_that_was_kept(site: Site, browser: Chromium, pages: Pages) -> None:
    tab = browser.open(pages.put(site, "/kept"))
    sent(tab, 1)
    tab.run("window.mark = 1")
    tab.go(pages.put(site, "/next"))
    sent(tab, 2)
    tab.run("history.back()")
    views = sent(tab, 3)
    assert tab.run("window.mark") == 1
    assert [view["url"].rpartition("/")[2] for view in views] == ["kept", "next", "kept"]


@needs_chromium
def test_events_of_the_page(site: Site, browser: Chromium, pages: Pages) -> None:
    url = pages.put(site, "/shop")
    tab = browser.open(url)
    sent(tab, 1)
    tab.run("footfall('signup', {plan: 'pro', seats: 3})")
    assert sent(tab, 2)[1] == {
        "type": "custom",
        "url": url,
        "name": "signup",
        "properties": {"plan": "pro", "seats": 3},
    }
    # What cannot be sent is not the page's business.
    tab.run("const loop = {}; loop.loop = loop; footfall('broken', loop)")
    tab.run("footfall('after')")
    assert sent(tab, 3)[2]["name"] == "after"


@needs_chromium
@pytest.mark.parametrize("beacon", ["undefined", "() => false"])
def test_without_beacons(site: Site, browser: Chromium, pages: Pages, beacon: str) -> None:
    tab = browser.open(pages.put(site, "/"), f"Navigator.prototype.sendBeacon = {beacon}")
    assert sent(tab, 1)[0]["type"] == "pageview"


@needs_chromium
def test_a_service_that_is_away_is_no_fault_of_the_page(
    site: Site, browser: Chromium, pages: Pages
) -> None:
    listen = """Navigator.prototype.sendBeacon = () => false;
      window.faults = [];
      addEventListener("error", event => faults.push(event.message));
      addEventListener("unhandledrejection", event => faults.push(String(event.reason)));"""
    tab = browser.open("about:blank", listen)
    tab.call("Network.setBlockedURLs", urls=["*/v1/collect*"])
    tab.go(pages.put(site, "/"))
    wait_until(lambda: tab.sent(COLLECT))
    tab.run("footfall('again'); history.pushState({}, '', '/elsewhere')")
    wait_until(lambda: len(tab.sent(COLLECT)) == 3)
    assert tab.run("faults") == []


@needs_chromium
def test_pages_of_other_hosts_are_refused(
    service: Service, site: Site, browser: Chromium, pages: Pages
) -> None:
    stranger = browser.open(pages.put(site, "/", host="stranger.example"))
    wait_until(lambda: [status for _, status in stranger.sent(COLLECT)] == [400])
    sent(browser.open(pages.put(site, "/")), 1)
    assert live(service, site, lambda seen: seen.total_realtime).total_pageviews_today == 1


@needs_chromium
def test_who_does_not_want_to_be_counted_is_not(
    service: Service, site: Site, browser: Chromium, pages: Pages, tmp_path: Path
) -> None:
    def use(tab: Tab) -> None:
        tab.run("footfall('name'); history.pushState({}, '', '/more'); footfall('name', {a: 1})")
        time.sleep(0.5)
        tab.go("about:blank")
        assert tab.sent(COLLECT) == []

    url = pages.put(site, "/")
    gpc = "Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', {get: () => true})"
    use(browser.open(url, HURRY + gpc))
    preferences = {"enable_do_not_track": True}
    with running_chromium(tmp_path / "profile", HOSTS, preferences=preferences) as reserved:
        tab = reserved.open(url, HURRY)
        assert tab.run("navigator.doNotTrack") == "1"
        use(tab)
    sent(browser.open(url), 1)
    assert live(service, site, lambda seen: seen.total_realtime).total_pageviews_today == 1


@needs_chromium
def test_a_page_that_is_loaded_ahead_waits(
    service: Service, site: Site, browser: Chromium, pages: Pages
) -> None:
    pages.put(site, "/ahead")
    rules = '{"prerender": [{"source": "list", "urls": ["/ahead"], "eagerness": "immediate"}]}'
    go = "setInterval(async () => (await fetch('/go')).ok && (location.href = '/ahead'), 100)"
    head = f"<script type=speculationrules>{rules}</script><script>{go}</script>"
    # Looked at from outside: Chromium loads nothing ahead for a page that is being debugged.
    browser.call("Target.createTarget", url=pages.put(site, "/", head))
    wait_until(lambda: pages.asked.get(f"{site.host}/ahead"))
    live(service, site, lambda seen: seen.total_realtime)
    time.sleep(0.5)
    assert live(service, site, lambda seen: True).total_pageviews_today == 1
    pages.heads["/go"] = ""
    live(service, site, lambda seen: seen.total_pageviews_today == 2)
    # Shown as it had been loaded, and not asked for again.
    assert pages.asked[f"{site.host}/ahead"] == ["prefetch;prerender"]
