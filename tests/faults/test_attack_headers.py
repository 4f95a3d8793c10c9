"""Nobody outside speaks for the gateway or the server, and a client's address is its own."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

import footfall.rpc
from footfall.supervisor.gateway import gateway_dir
from footfall.v1 import realtime_pb2
from tests.faults.attack_tenants import Attacked, attacked_service, bearer
from tests.faults.calls import by_rest
from tests.faults.verdicts import Case
from tests.gateway.conftest import Gateway, running_gateway
from tests.gateway.http1 import Answer, raw

FORGED = "zqforged"

#: What callers say themselves; everybody may say what they like, and each is judged where it is
#: read: credentials are checked, a page's headers no page can write, and the rest is of no weight.
CALLERS_OWN = frozenset(
    {
        *("authorization", "x-auth-user", "x-auth-key", "x-api-key", "cookie"),
        *("user-agent", "accept", "if-none-match", "idempotency-key", "content-encoding"),
        *("content-type", "content-length", "origin", "sec-fetch-site"),
        # A proxy in front says by what name it was called; it decides no more than a page's
        # origin does, and a page cannot write it.
        "x-forwarded-host",
    }
)
#: What the gateway adds to, and never takes over.
APPENDED = frozenset({"x-forwarded-for"})
#: Headers that Envoy itself believes, of those that its own calls would have.
OF_ENVOY = (
    "x-envoy-original-path",
    "x-envoy-original-method",
    "x-envoy-external-address",
    "x-envoy-internal",
    "x-envoy-retry-on",
    "x-envoy-max-retries",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-decorator-operation",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-force-trace",
    "x-envoy-ip-tags",
    "x-envoy-is-timeout-retry",
    "x-envoy-attempt-count",
)
OTHERS = (
    "footfall-tenant",
    "footfall-account",
    "footfall-anything",
    "x-forwarded-proto",
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
)


def internal_headers() -> list[str]:
    """Return all that the gateway or the server reads and callers do not own.

    What they read is found in their sources, so that a new one is tried, too.
    """
    source = "".join(
        path.read_text()
        for path in (
            *Path(str(footfall.rpc.__file__)).parent.glob("*.py"),
            *gateway_dir().glob("*.lua"),
        )
    )
    read = re.findall(r"""(?:(?<!error\.)metadata|headers)[:.]get\(\s*["']([a-z-]+)["']""", source)
    # Of those that are read by a constant's name, the constants.
    read += re.findall(r"""^_?[A-Z]+ = "(x-[a-z-]+)"$""", source, re.MULTILINE)
    # The answer's, which the gateway reads on its way back.
    read = [name for name in read if not name.startswith("x-ratelimit") and name != "retry-after"]
    found = {*read, *OF_ENVOY, *OTHERS} - CALLERS_OWN - APPENDED
    assert {"x-envoy-original-method", "footfall-reason", "x-request-id"} <= found
    return sorted(found)


def spellings(name: str) -> Iterator[tuple[str, ...]]:
    """Yield the ways in which a header may be smuggled in, as the lines to send."""
    for text in (name, name.upper(), name.title()):
        yield (text,)
    yield name, name
    yield name, name.upper()
    yield (name.replace("-", "_"),)
    yield (name.replace("-", "_", 1),)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with running_gateway() as running:
        yield running


def told(gateway: Gateway) -> dict[str, list[str]]:
    """Return the metadata of the last call that reached the server."""
    found: dict[str, list[str]] = {}
    for key, value in gateway.server.told:
        found.setdefault(key.replace("_", "-"), []).append(str(value))
    return found


def send(gateway: Gateway, lines: tuple[str, ...], way: str) -> Answer | None:
    """Send a call with these headers forged; return an answer of HTTP."""
    gateway.server.told.clear()
    message = realtime_pb2.GetSourcesRequest(site="a").SerializeToString()
    if way == "gRPC":
        # The library writes lower case only, as HTTP/2 has it.
        metadata = tuple((line.lower(), FORGED) for line in lines)
        with grpc.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
            call = channel.unary_unary("/footfall.v1.RealtimeService/GetSources")
            # Envoy resets the stream of a header with an underscore, which has no other answer.
            call.future(message, metadata=metadata, timeout=10).code()
        return None
    forged = "".join(f"{line}: {FORGED}\r\n" for line in lines)
    if way == "REST":
        head = f"GET /v1/sources?site=a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{forged}\r\n"
        return raw(gateway.port, head.encode())
    body = b"\0" + len(message).to_bytes(4, "big") + message
    head = (
        "POST /footfall.v1.RealtimeService/GetSources HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"
        f"content-type: application/grpc-web+proto\r\ncontent-length: {len(body)}\r\n{forged}\r\n"
    )
    return raw(gateway.port, head.encode() + body)


@pytest.mark.parametrize("way", ["REST", "gRPC", "grpc-web"])
def test_internal_headers_cannot_be_forged(case: Case, gateway: Gateway, way: str) -> None:
    names = internal_headers()
    tried = reached = 0
    for name in names:
        for lines in spellings(name):
            if way == "gRPC" and name.startswith("grpc-"):
                continue  # the library's own
            if way == "gRPC" and name.endswith("-bin"):
                continue
            answer = send(gateway, lines, way)
            tried += 1
            seen = told(gateway)
            reached += bool(seen)
            if answer is not None and answer.status != 200:
                # Refused, and without a word of what was forged.
                assert 400 <= answer.status < 500, (lines, answer)
                assert not seen, lines
                assert FORGED.encode() not in answer.body
            assert FORGED not in seen.get(name, []), (way, lines, seen)
            assert not any(FORGED in value for values in seen.values() for value in values), seen
    assert reached > len(names), "nothing reached the server, so nothing was shown"
    case.tell(f"{len(names)} headers, {tried} forgeries, {reached} calls that reached the server")


@pytest.mark.parametrize("way", ["REST", "gRPC", "grpc-web"])
def test_the_peer_is_the_last_that_is_told(case: Case, gateway: Gateway, way: str) -> None:
    """What a caller writes into X-Forwarded-For, however often, stays in front of its address."""
    for lines in (("x-forwarded-for",), ("x-forwarded-for", "x-forwarded-for"), ()):
        send(gateway, lines, way)
        *said, peer = [
            hop.strip() for value in told(gateway)["x-forwarded-for"] for hop in value.split(",")
        ]
        assert set(said) == {FORGED}.intersection(FORGED for _ in lines)
        assert FORGED not in peer
        assert len(told(gateway)["x-forwarded-for"]) == 1
    case.tell("three spellings")


# The service itself, with a proxy that its operator has named. All of 127.0.0.0/8 is this machine,
# so that a caller from the other address is a stranger.
PROXY, STRANGER = "127.0.0.3", "127.0.0.2"
LIMIT = 3


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with attacked_service(
        tmp_path_factory.mktemp("proxied"),
        FOOTFALL_PUBLIC_PER_MINUTE=str(LIMIT),
        FOOTFALL_TRUSTED_PROXIES=f"{PROXY}/32, 10.0.0.0/8",
        FOOTFALL_COUNTRY_HEADER="X-Country",
    ) as made:
        yield made


def ask_from(source: str, port: int, head: str, body: bytes = b"") -> Answer:
    """Send a request from an address of this machine."""
    with socket.create_connection(
        ("127.0.0.1", port), timeout=30, source_address=(source, 0)
    ) as sock:
        head = f"{head}host: a\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        sock.sendall(head.encode() + body)
        answer = sock.makefile("rb").read()
    status, _, rest = answer.partition(b"\r\n")
    return Answer(int(status.split()[1]), {}, rest.partition(b"\r\n\r\n")[2])


def ask_types(proxied: Attacked, source: str, *forwarded: str) -> int:
    lines = "".join(f"x-forwarded-for: {each}\r\n" for each in forwarded)
    head = f"GET /v1/query/types HTTP/1.1\r\n{lines}"
    return ask_from(source, proxied.port, head).status


def test_an_address_is_ones_own(case: Case, proxied: Attacked) -> None:
    """The public allowance, which is counted for an address, tells whom the server sees."""
    refused = 429
    # A stranger is the same one, whatever it writes.
    lies = [(), ("198.51.100.1",), ("10.0.0.1",), ("203.0.113.9, 10.0.0.1",), (PROXY,), ("x",)]
    statuses = [ask_types(proxied, STRANGER, *lie) for lie in lies]
    assert statuses == [200] * LIMIT + [refused] * (len(lies) - LIMIT)
    # Behind the named proxy clients are told apart.
    for number in range(2, 6):
        assert ask_types(proxied, PROXY, f"198.51.100.{number}") == 200
    # One of them forges what stands in front of it; the proxies append its address.
    client = "198.51.100.99"
    chains = [
        (client,),
        (f"203.0.113.1, {client}",),
        ("203.0.113.2", client),
        (f"10.0.0.7, {client}, 10.0.0.2",),
        (f"203.0.113.3, {client}:4711, ::ffff:10.0.0.2",),
        (f"garbage, {client}, 10.0.0.2, {PROXY}",),
    ]
    statuses = [ask_types(proxied, PROXY, *chain) for chain in chains]
    assert statuses == [200] * LIMIT + [refused] * (len(chains) - LIMIT)
    case.tell(f"{len(lies)} lies of a stranger, {len(chains)} chains of proxies")


def test_a_country_is_the_proxys_word(case: Case, proxied: Attacked) -> None:
    own = proxied.own
    path = f"/v1/collect?site={own.site.id}"
    for number, (source, country) in enumerate([(PROXY, "CH"), (STRANGER, "DE")]):
        page = {"url": f"https://{own.site.host}/{number}"}
        forwarded = "x-forwarded-for: 198.51.100.7\r\n" if source == PROXY else ""
        head = f"POST {path} HTTP/1.1\r\n{forwarded}X-Country: {country}\r\n"
        answer = ask_from(source, proxied.port, head, json.dumps(page).encode())
        assert answer.status == 200, answer
    exported = by_rest(
        proxied.port, "GET", f"/v1/export?site={own.site.id}", bearer(own.keys["read"])
    )
    rows = [json.loads(line) for line in exported.body.splitlines()]
    assert {row["path"]: row["country"] for row in rows} == {"/0": "CH", "/1": ""}
    case.tell("believed of the proxy alone")
