"""The dashboard, used by hand in a real browser."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from footfall.supervisor.gateway import gateway_dir
from tests.e2e.chromium import Chromium, Tab, needs_chromium
from tests.e2e.conftest import Application, Site
from tests.e2e.service import Service, wait_until

pytestmark = needs_chromium


def show(tab: Tab, **values: str) -> str:
    """Fill in the form, send it, and return the sentence about what is shown."""
    for name, value in values.items():
        tab.run(f"input[{name!r}].value = {value!r}")
    tab.run("form.requestSubmit()")
    said: str = wait_until(lambda: (text := tab.run("note.textContent")) != "Asking …" and text)
    return said


def texts(tab: Tab, selector: str) -> list[str]:
    return list(tab.run(f"[...document.querySelectorAll({selector!r})].map(e => e.textContent)"))


@pytest.mark.parametrize("place", ["gateway", "file"])
def test_an_application(
    service: Service, application: Application, browser: Chromium, place: str
) -> None:
    requests = [
        {"timestamp": time.time() - 60, "method": method, "url": "/", "response_us": 2000,
         "status_code": 200}
        for method in ("GET", "GET", "POST")
    ]  # fmt: skip
    assert service.post_json("/1/event/", requests, application.writes).json["accepted"] == 3
    page: Path = gateway_dir() / "pages" / "dashboard.html"
    tab = browser.open(f"{service.rest}/dashboard" if place == "gateway" else page.as_uri())
    said = show(
        tab, base=service.rest, app=application.id, key=application.read_key, group="method"
    )
    assert said.startswith("3 requests since ")
    assert texts(tab, "td") == ["GET", "2", *["2"] * 4, "POST", "1", *["2"] * 4]
    assert texts(tab, "h2") == ["Requests", "Response time, milliseconds", "By method"]
    assert show(tab, key="wrong") == "The application id or its key is invalid."
    assert tab.run("note.className") == "fault"


def test_a_site(service: Service, site: Site, browser: Chromium) -> None:
    now = time.time()
    views = [
        {"url": f"https://{site.host}/{page}", "title": title, "visitor_id": "a", "timestamp": when}
        for page, title, when in (("", "Start", now), ("x", "", now), ("x", "", now - 86_400 * 2))
    ]
    path = f"/v1/collect?site={site.id}"
    assert service.post_json(path, views, site.bearer).json["accepted"] == 3
    tab = browser.open(f"{service.rest}/dashboard")
    assert texts(tab, "fieldset:not([hidden]) label")[0].startswith("Application id")
    tab.run("input.what.value = 'site'")
    tab.run("input.what.dispatchEvent(new Event('change', {bubbles: true}))")
    assert texts(tab, "fieldset:not([hidden]) label")[0].startswith("Site id")
    said = show(tab, id=site.id, bearer=site.key)
    assert said.startswith("3 page views and 2 visits, Last 30 Days; 2 page views today")
    assert texts(tab, "td") == ["/x", "2", "1", "/ (Start)", "1", "1"]
    assert texts(tab, "h2") == ["Days", "Page views today", "Pages"]
    show(tab, search="START")
    assert texts(tab, "td") == ["/ (Start)", "1", "1"]
