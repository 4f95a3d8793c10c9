"""Keys are long and random, nothing but hashes of them is at rest, and no log has one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import sqlite3
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import grpc
import pytest
import redis

from footfall.accounts import passwords
from footfall.accounts.keys import key_digest, make_application_key, make_key, make_workspace_key
from footfall.accounts.model import KeyKind, Role
from footfall.accounts.service import Authenticator
from footfall.accounts.sessions import _make_id
from tests.accounts.values import cheap_hash
from tests.faults.attack_tenants import (
    Attacked,
    api_key,
    application,
    attacked_service,
    bearer,
    cookie,
)
from tests.faults.calls import RECIPES, by_grpc, by_rest
from tests.faults.verdicts import Case

BITS_MIN = 128
#: These end a session.
ENDING = ("SessionService/Logout", "SessionService/Refresh")
#: These cost a process or a slow hash each time.
COSTLY = ("CustomQueryService/", "AccountsService/CreateMember", "SessionService/Login")


def _urlsafe(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.mark.parametrize(
    ("make", "decode"),
    [
        (lambda: make_key(KeyKind.NM), lambda text: _urlsafe(text.removeprefix("nm_"))),
        (lambda: make_key(KeyKind.DBDY), lambda text: _urlsafe(text.removeprefix("dbdy_"))),
        (make_application_key, base64.b64decode),
        (make_workspace_key, _urlsafe),
        (_make_id, _urlsafe),
    ],
    ids=["nm", "dbdy", "application", "workspace", "session"],
)
def test_at_least_128_random_bits(
    case: Case, make: Callable[[], str], decode: Callable[[str], bytes]
) -> None:
    count = 20_000 if case.full else 2_000
    drawn = [int.from_bytes(decode(make()), "big") for _ in range(count)]
    bits = len(decode(make())) * 8
    assert bits >= BITS_MIN
    assert len(set(drawn)) == count
    # Every bit is a coin: of so many throws, within six standard deviations of the half.
    for place in range(bits):
        ones = sum(number >> place & 1 for number in drawn)
        assert abs(ones - count / 2) < 6 * math.sqrt(count) / 2, place
    case.tell(f"{bits} bits, {count} drawn")


class Spy:
    """An accounts store that knows nothing, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        def look(*arguments: Any) -> None:
            self.asked.append((name, *arguments))

        return look


async def test_secrets_are_compared_as_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key is never compared at all: its digest is looked up, and how far two digests agree tells
    nothing of the key. A password's hash is compared in constant time.
    """
    spy, secret = Spy(), make_key(KeyKind.NM)
    authenticator = Authenticator(spy)  # type: ignore[arg-type]
    pair, workspace = make_application_key(), make_workspace_key()
    for attempt in (
        authenticator.authenticate_bearer(f"Bearer {secret}"),
        authenticator.authenticate_key(secret),
        authenticator.authenticate_application("aaaaaaaaaaaaaaaa", pair, "read"),  # type: ignore[arg-type]
        authenticator.authenticate_workspace(workspace),
    ):
        with pytest.raises(Exception, match="invalid"):
            await attempt
    authenticator.close()
    asked = repr(spy.asked)
    for text in (secret, pair, workspace):
        assert text not in asked
        assert repr(key_digest(text))[2:-1] in asked
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def compare(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return real(left, right)

    monkeypatch.setattr(passwords.hmac, "compare_digest", compare)
    stored = cheap_hash("right")
    assert passwords.verify_password("right", stored)
    assert not passwords.verify_password("wrong", stored)
    assert [len(side) for pair_ in compared for side in pair_] == [32] * 4


def spellings(secret: str) -> Iterator[bytes]:
    """Yield a secret as it may have been written down."""
    raw = secret.encode()
    # The part behind a kind or a hint as well, which is what has to be guessed.
    for part in (raw, raw[8:]):
        yield part
        yield part.hex().encode()
        yield part.hex().upper().encode()
        yield urllib.parse.quote(part, safe="").encode()
        yield part[::-1]
        for shift in range(3):
            # Base64 of something that has it inside, wherever it begins.
            inside = base64.b64encode(b"x" * shift + part)
            yield inside[4:-4]
            yield inside[4:-4].replace(b"+", b"-").replace(b"/", b"_")
    if secret.startswith(("nm_", "dbdy_")):
        yield _urlsafe(secret.partition("_")[2])


def use_everything(case: Case, attacked: Attacked) -> dict[str, str]:
    """Use secrets of all kinds, rightly and wrongly; return them by what they are."""
    own, port = attacked.own, attacked.port
    kept = {f"key {scopes}": key for scopes, key in own.keys.items()}
    kept |= {"write key": own.app.write_key, "read key": own.app.read_key}
    kept |= {"workspace key": own.workspace.api_key, "password": "a password, söme 東京"}
    user = attacked.manager.create_user(
        own.account, f"s@{own.word}.example", kept["password"], Role.ADMIN
    )
    session = attacked.login(user, kept["password"])
    kept["session"] = session[0][1].partition("=")[2]
    refreshed = by_rest(port, "POST", "/v1/auth/refresh", session, b"{}")
    kept["refreshed session"] = refreshed.headers["set-cookie"].partition(";")[0].partition("=")[2]
    # By REST and by gRPC, keys of every kind.
    made = json.loads(
        by_rest(
            port,
            "POST",
            "/v1/keys",
            bearer(own.keys["admin"]),
            json.dumps({"sites": [own.site.id], "scopes": ["read"], "kind": "dbdy"}).encode(),
        ).body
    )
    kept["dbdy key"] = made["key"]
    rotated = by_rest(
        port, "POST", f"/v1/keys/{made['id']}/rotate", bearer(own.keys["admin"]), b"{}"
    )
    kept["rotated key"] = json.loads(rotated.body)["key"]
    members = {"email": f"n@{own.word}.example", "password": "another password of a member"}
    kept["member's password"] = members["password"]
    by_rest(port, "POST", "/v1/members", bearer(own.keys["admin"]), json.dumps(members).encode())
    kept["wrong password"] = "a password that is not it"
    by_rest(
        port,
        "POST",
        "/v1/auth/login",
        (),
        json.dumps({"email": user.email, "password": kept["wrong password"]}).encode(),
    )
    kept["unknown key"] = make_key(KeyKind.NM)
    kept["unknown application key"] = make_application_key()
    kept["unknown session"] = _make_id()
    with grpc.insecure_channel(attacked.service.grpc_target) as channel:
        # Those that would end the session that has to be found.
        names = [name for name in RECIPES if not name.startswith((*COSTLY, *ENDING))]
        for name in names if case.full else case.chance.sample(names, 6):
            recipe = RECIPES[name]
            for headers in (
                bearer(kept["unknown key"]),
                api_key(kept["unknown key"]),
                cookie(kept["unknown session"]),
                application(own.app.application.id, kept["unknown application key"]),
                application(own.app.application.id, own.app.read_key),
                application(own.app.application.id, own.app.write_key),
                api_key(own.workspace.api_key),
                api_key(kept["dbdy key"]),
                bearer(own.keys["read,write"]),
                bearer(kept["rotated key"]),
                cookie(kept["refreshed session"]),
            ):
                by_grpc(channel, name, recipe.message(own), headers)
    # In the wrong place, where people put them.
    key = own.keys["read"]
    for path in (f"/v1/realtime?site={key}", f"/v1/realtime?key={key}", f"/v1/export?site={key}"):
        by_rest(port, "GET", path, bearer(key))
    return kept


def dump_valkey(attacked: Attacked) -> bytes:
    """Return all keys and values that Valkey holds."""
    sockets = Path(json.loads((attacked.run_files / "up.lock").read_text())["sockets"])
    (found,) = sockets.glob("v.sock")
    parts = []
    with redis.Redis(unix_socket_path=str(found)) as client:
        for name in client.scan_iter():
            parts += [name, client.dump(name) or b""]
            if client.type(name) == b"hash":
                parts += [part for pair in client.hgetall(name).items() for part in pair]
            elif client.type(name) == b"string":
                parts.append(client.get(name) or b"")
    return b"\0".join(parts)


def dump_tables(data: Path) -> bytes:
    """Return every value of both stores, as text; their files may have compressed them."""
    parts = []
    with duckdb.connect(str(data / "events.duckdb"), read_only=True) as events:
        names = events.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        for (name,) in names:
            parts.append(repr(events.execute(f'SELECT * FROM "{name}"').fetchall()))
    accounts = sqlite3.connect(data / "accounts.sqlite")
    tables = accounts.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (name,) in tables:
        for row in accounts.execute(f'SELECT * FROM "{name}"'):
            parts += [value.hex() if isinstance(value, bytes) else str(value) for value in row]
    accounts.close()
    return "\n".join(parts).encode()


def test_only_hashes_are_at_rest_and_none_is_in_a_log(case: Case, tmp_path: Path) -> None:
    with attacked_service(tmp_path, FOOTFALL_LOG_LEVEL="debug") as attacked:
        kept = use_everything(case, attacked)
        places = {"valkey": dump_valkey(attacked)}
        # While it runs: write-ahead logs have not been folded yet.
        data = attacked.service.data
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        places |= {f"running {path.name}": path.read_bytes() for path in files}
        word, account = attacked.own.word, attacked.own.account
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    places |= {f"stopped {path.name}": path.read_bytes() for path in files}
    places["tables"] = dump_tables(data)
    # The places have what they should, so that a secret would have been seen.
    assert {"running events.duckdb.wal", "running accounts.sqlite-wal"} <= places.keys()
    assert word.encode() in places["tables"]
    assert account.encode() in places["stopped accounts.sqlite"]
    assert b"GetRealtime" in places["stopped server.log"]
    assert b"/v1/realtime" in places["stopped access.log"]
    digest = key_digest(kept["key read"])
    assert digest.hex().encode() in places["tables"]
    live = hashlib.sha256(kept["refreshed session"].encode()).hexdigest().encode()
    assert live in places["valkey"]
    found = [
        (what, place)
        for what, secret in kept.items()
        for spelled in set(spellings(secret))
        for place, content in places.items()
        if len(spelled) >= 10 and spelled in content
    ]
    assert found == []
    size = sum(map(len, places.values()))
    case.tell(f"{len(kept)} secrets in {len(places)} places of {size / 2**20:.0f} MiB")
