"""What keeps pages of other origins from using a person's session."""

from __future__ import annotations

import pytest

from tests.gateway.conftest import Gateway
from tests.gateway.http1 import ask


@pytest.mark.parametrize(
    ("headers", "host"),
    [
        ({}, "127.0.0.1"),
        # A proxy in front that calls the gateway by another name says what the caller said.
        ({"x-forwarded-host": "stats.example"}, "stats.example"),
    ],
)
def test_the_server_learns_by_what_name_it_was_called(
    gateway: Gateway, headers: dict[str, str], host: str
) -> None:
    page = {"origin": "https://stats.example", "sec-fetch-site": "same-origin", "cookie": "a=b; c"}
    assert ask(gateway.port, "GET", "/v1/sites", headers | page).status == 200
    told = gateway.server.told
    assert [value for key, value in told if key == "x-forwarded-host"] == [host]
    for pair in page.items():
        assert pair in told


def test_no_page_of_another_origin_may_read_with_cookies(gateway: Gateway) -> None:
    origin = {"origin": "https://evil.example", "access-control-request-method": "GET"}
    for answer in (
        ask(gateway.port, "OPTIONS", "/v1/sources", origin),
        ask(gateway.port, "GET", "/v1/sources?site=a", origin),
    ):
        assert answer.status == 200
        assert "access-control-allow-origin" in answer.headers
        assert "access-control-allow-credentials" not in answer.headers
