"""Credentials that do and that do not, and what the contract says of each, by kind of call."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from footfall.accounts.keys import make_application_key, make_key, make_workspace_key
from footfall.accounts.model import KeyKind
from tests.faults.attack_tenants import (
    NO_ID,
    Attacked,
    Headers,
    api_key,
    application,
    bearer,
    cookie,
)
from tests.faults.verdicts import Case


@dataclass(frozen=True)
class Expected:
    """What the contract says of a call: the code, the reason, the HTTP status."""

    code: str
    reason: str
    http: int


def _unauthenticated(reason: str) -> Expected:
    return Expected("UNAUTHENTICATED", reason, 401)


def _denied(reason: str) -> Expected:
    return Expected("PERMISSION_DENIED", reason, 403)


def _not_found(reason: str) -> Expected:
    return Expected("NOT_FOUND", reason, 404)


OK = Expected("OK", "", 200)
NO_TOKEN = _unauthenticated("MISSING_TOKEN")
BAD_TOKEN = _unauthenticated("INVALID_TOKEN")
NO_API_KEY = _unauthenticated("MISSING_API_KEY")
BAD_API_KEY = _unauthenticated("INVALID_API_KEY")
NO_PAIR = _unauthenticated("MISSING_CREDENTIALS")
BAD_PAIR = _unauthenticated("INVALID_CREDENTIALS")
NO_SCOPE = _denied("SCOPE_REQUIRED")
NO_SITE = _denied("SITE_NOT_AUTHORIZED")
NO_ADMIN = _denied("ADMIN_REQUIRED")
NO_WEBSITE = _not_found("WEBSITE_NOT_FOUND")

#: What a caller with good credentials is told of a tenant that is another one's, or nobody's.
FOREIGN: Mapping[str, Expected] = {
    "site read": NO_SITE,
    "site write": NO_SITE,
    "site write or browser": NO_SITE,
    "website write or browser": NO_SITE,
    "website": NO_WEBSITE,
    "website or public": NO_WEBSITE,
    "admin": _not_found("NOT_FOUND"),
    "session": NO_SITE,
}


@dataclass(frozen=True)
class Spoiled:
    """Credentials of the own tenant that were good once, or look as if; by what is wrong."""

    keys: Mapping[str, str]
    sessions: Mapping[str, str]

    def some(self, case: Case) -> Spoiled:
        """Return all in the full form; else a few, others each time, so that all get a turn."""
        if case.full:
            return self
        keys = case.chance.sample(sorted(self.keys.items()), 2)
        sessions = case.chance.sample(sorted(self.sessions.items()), 1)
        return replace(self, keys=dict(keys), sessions=dict(sessions))


def spoil(attacked: Attacked) -> Spoiled:
    """Make credentials of the own tenant and end them, in every way there is."""
    own, manager = attacked.own, attacked.manager
    scopes = ("read", "write", "admin")
    revoked_id, revoked = own.key(*scopes)
    manager.revoke_key(revoked_id)
    rotated_id, rotated = own.key(*scopes)
    manager.rotate_key(rotated_id, overlap_s=0)
    overlapped_id, overlapped = own.key(*scopes)
    # The second one ends the oldest secret, overlap or not.
    for _ in range(2):
        manager.rotate_key(overlapped_id, overlap_s=86_400)
    good = own.keys["read"]
    ended = attacked.login(own.admin, own.password)
    assert attacked.service.post_json("/v1/auth/logout", {}, dict(ended)).status == 200
    leaver = own.user("admin")
    removed = attacked.login(leaver, own.password)
    manager.remove_user(own.account, leaver.id)
    return Spoiled(
        keys={
            "malformed": "nm_short",
            "without its kind": good.removeprefix("nm_"),
            "longer": good + "A",
            "cut": good[:-1],
            "of the other kind": f"dbdy_{good.removeprefix('nm_')}",
            "encoded": "nm_" + "%00" * 10,
            "huge": "nm_" + "A" * 5000,
            "unknown": make_key(KeyKind.NM),
            "revoked": revoked,
            "expired": own.key(*scopes, expires_at=time.time() - 1)[1],
            "rotated": rotated,
            "rotated twice": overlapped,
        },
        sessions={
            "malformed": "x",
            "unknown": secrets.token_urlsafe(32),
            "ended": ended[0][1].partition("=")[2],
            "of a removed user": removed[0][1].partition("=")[2],
            "a key": good,
        },
    )


def good_credentials(kind: str, attacked: Attacked) -> Headers:
    """Return the own tenant's credentials for calls of this kind."""
    own = attacked.own
    if kind in {"session", "refresh", "logout"}:
        return attacked.login(own.admin, own.password)
    reads, writes = bearer(own.keys["read"]), bearer(own.keys["write"])
    website, manager = api_key(own.keys["read"]), bearer(own.keys["admin"])
    return {
        "application write": application(own.app.application.id, own.app.write_key),
        "application read": application(own.app.application.id, own.app.read_key),
        "workspace": api_key(own.workspace.api_key),
        "site read": reads,
        "any key or session": reads,
        "site write": writes,
        "site write or browser": writes,
        "website write or browser": writes,
        "website": website,
        "website or public": website,
        "account": website,
        "admin": manager,
        "member": manager,
        "login": (),
        "anyone": (),
    }[kind]


#: What was tried, with which headers, and what should come of it.
Refusal = tuple[str, Headers, Expected]


class Refusals:
    """All that should be refused, by the kind of credentials that a call takes."""

    def __init__(self, attacked: Attacked, spoiled: Spoiled) -> None:
        self._own, self._other = attacked.own, attacked.other
        self._spoiled = spoiled
        self._member = attacked.login(self._own.member, self._own.password)
        self._admin = attacked.login(self._own.admin, self._own.password)
        self._foreign = attacked.login(self._other.admin, self._other.password)
        self._by_kind: dict[str, Callable[[], Iterable[Refusal]]] = {
            "application write": lambda: self._application(writes=True),
            "application read": lambda: self._application(writes=False),
            "workspace": self._workspace,
            "site read": lambda: self._site("write"),
            "site write": lambda: self._site("read"),
            "site write or browser": self._site_or_browser,
            "website write or browser": self._website_writer,
            "website": lambda: self._website(BAD_TOKEN),
            # Browsers send cookies unasked, so one that has ended makes a stranger of its sender.
            "website or public": lambda: self._website(NO_TOKEN),
            "account": self._account,
            "admin": lambda: self._manager(NO_ADMIN),
            "member": lambda: self._manager(OK),
            "any key or session": self._key_or_session,
            "session": self._session,
            "refresh": self._session,
            "logout": self._nothing,
            "anyone": self._nothing,
            # What is wrong with these is in their messages.
            "login": lambda: (),
        }

    def of(self, kind: str, spoiled: Spoiled | None = None) -> list[Refusal]:
        """Return what should be refused on calls of this kind."""
        whole = self._spoiled
        self._spoiled = spoiled or whole
        try:
            return list(self._by_kind[kind]())
        finally:
            self._spoiled = whole

    def _bearers(self) -> Iterator[Refusal]:
        yield "no Bearer", (("authorization", f"Basic {self._own.keys['read']}"),), BAD_TOKEN
        yield "only Bearer", (("authorization", "Bearer"),), BAD_TOKEN
        yield "an application's key", bearer(self._own.app.read_key), BAD_TOKEN
        yield from ((name, bearer(key), BAD_TOKEN) for name, key in self._spoiled.keys.items())

    def _api_keys(self) -> Iterator[Refusal]:
        yield from ((name, api_key(key), BAD_API_KEY) for name, key in self._spoiled.keys.items())

    def _sessions(self, expected: Expected = BAD_TOKEN) -> Iterator[Refusal]:
        for name, id_ in self._spoiled.sessions.items():
            yield f"session: {name}", cookie(id_), expected

    def _application(self, *, writes: bool) -> Iterator[Refusal]:
        own, other = self._own.app, self._other.app
        id_ = own.application.id
        good, wrong = own.write_key, own.read_key
        reason = "WRITE_KEY_REQUIRED"
        if not writes:
            good, wrong, reason = wrong, good, "READ_KEY_REQUIRED"
        yield "none", (), NO_PAIR
        yield "only the id", (("x-auth-user", id_),), NO_PAIR
        yield "only the key", (("x-auth-key", good),), NO_PAIR
        yield "the other key", application(id_, wrong), _denied(reason)
        yield "nobody's id", application(NO_ID, good), BAD_PAIR
        yield "another tenant's id", application(other.application.id, good), BAD_PAIR
        yield "malformed id", application("' OR 1=1 --", good), BAD_PAIR
        yield "another tenant's key", application(id_, other.write_key), BAD_PAIR
        yield "another tenant's key", application(id_, other.read_key), BAD_PAIR
        yield "unknown key", application(id_, make_application_key()), BAD_PAIR
        for name, key in self._spoiled.keys.items():
            yield name, application(id_, key), BAD_PAIR

    def _workspace(self) -> Iterator[Refusal]:
        yield "none", (), NO_API_KEY
        yield "blank", api_key("  "), NO_API_KEY
        yield "unknown", api_key(make_workspace_key()), BAD_API_KEY
        yield "a site's", api_key(self._own.keys["read,write"]), BAD_API_KEY
        yield from self._api_keys()

    def _site(self, wrong_scope: str) -> Iterator[Refusal]:
        yield "none", (), NO_TOKEN
        yield "a session", self._admin, NO_TOKEN
        yield from self._site_keys(wrong_scope)

    def _site_or_browser(self) -> Iterator[Refusal]:
        return self._site_keys("read")

    def _site_keys(self, wrong_scope: str) -> Iterator[Refusal]:
        yield from self._bearers()
        yield "wrong scope", bearer(self._own.keys[wrong_scope]), NO_SCOPE
        yield "admin scope", bearer(self._own.keys["admin"]), NO_SITE
        yield "another tenant's", bearer(self._other.keys["read,write"]), NO_SITE

    def _website_writer(self) -> Iterator[Refusal]:
        yield from self._bearers()
        yield from self._api_keys()
        yield "wrong scope", api_key(self._own.keys["read"]), NO_SCOPE
        yield "another tenant's", bearer(self._other.keys["read,write"]), NO_SITE

    def _website(self, bad_session: Expected) -> Iterator[Refusal]:
        yield "none", (), NO_TOKEN
        yield from self._bearers()
        yield from self._api_keys()
        yield from self._sessions(bad_session)
        yield "wrong scope", api_key(self._own.keys["write"]), NO_SCOPE
        yield "admin scope", bearer(self._own.keys["admin"]), NO_SITE
        yield "another tenant's", api_key(self._other.keys["read,write"]), NO_WEBSITE
        yield "another tenant's session", self._foreign, NO_WEBSITE

    def _account(self) -> Iterator[Refusal]:
        yield from self._api_keys()
        yield from self._key_or_session()

    def _key_or_session(self) -> Iterator[Refusal]:
        yield "none", (), NO_TOKEN
        yield from self._bearers()
        yield from self._sessions()

    def _manager(self, member: Expected) -> Iterator[Refusal]:
        yield from self._key_or_session()
        yield "wrong scope", bearer(self._own.keys["read,write"]), NO_SCOPE
        yield "a member", self._member, member

    def _session(self) -> Iterator[Refusal]:
        yield "none", (), NO_TOKEN
        yield "a key", bearer(self._own.keys["read"]), NO_TOKEN
        yield from self._sessions()

    def _nothing(self) -> Iterator[Refusal]:
        yield "none", (), OK
        for name, headers, _ in (*self._bearers(), *self._sessions()):
            yield name, headers, OK
