"""A whole service with two tenants who must see nothing of each other."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from footfall.accounts.management import (
    AccountManager,
    NewApplication,
    NewWorkspace,
)
from footfall.accounts.model import KeyKind, Role, Scope, Site, User
from tests.accounts.values import cheap_hash
from tests.e2e.service import Service, running
from tests.faults.tenants import managing

#: Headers, and metadata as well.
Headers = tuple[tuple[str, str], ...]

#: A plan whose limits no case reaches.
PLAN = "attacked"
#: What nobody has: of the form of an id, and of keys.
NO_ID = "aaaaaaaaaaaaaaaa"
COOKIE = "footfall_session"

_serial = count(1)


def bearer(key: str) -> Headers:
    return (("authorization", f"Bearer {key}"),)


def api_key(key: str) -> Headers:
    return (("x-api-key", key),)


def cookie(session: str) -> Headers:
    return (("cookie", f"{COOKIE}={session}"),)


def application(app_id: str, key: str) -> Headers:
    return (("x-auth-user", app_id), ("x-auth-key", key))


@dataclass
class Tenant:
    """An account with one of everything; its word is in all of its names and texts."""

    word: str
    manager: AccountManager
    account: str
    site: Site
    app: NewApplication
    workspace: NewWorkspace
    admin: User
    member: User
    password: str
    #: Keys by their scopes ("read", "write", "admin", "read,write").
    keys: dict[str, str] = field(default_factory=dict)

    def key(
        self,
        *scopes: str,
        kind: str = KeyKind.NM,
        sites: Sequence[str] | None = None,
        expires_at: float | None = None,
    ) -> tuple[str, str]:
        """Make a key for the site; return its id and its text."""
        made = self.manager.create_key(
            self.account,
            kind=kind,
            site_ids=[self.site.id] if sites is None else sites,
            scopes=scopes,
            expires_at=expires_at,
        )
        return made.key.id, made.text

    def spare_site(self) -> str:
        """Make a site that nothing else needs; return its id."""
        host = f"spare-{next(_serial)}.{self.word}.example"
        return self.manager.create_site(self.account, host, "UTC", public=False).id

    def user(self, role: str = Role.MEMBER) -> User:
        """Make a user with the tenant's password, whose hash costs nothing."""
        store = self.manager._store
        email = f"{self.word}-{next(_serial)}@example.com"
        return store.create_user(self.account, email, cheap_hash(self.password), Role(role))

    def ids(self) -> dict[str, str]:
        """Return what nobody else may be told, by what it is."""
        return {
            "account": self.account,
            "site": self.site.id,
            "host": self.site.host,
            "application": self.app.application.id,
            "workspace": self.workspace.workspace.id,
            "admin": self.admin.id,
            "member": self.member.id,
            "email": self.admin.email,
        }


def make_tenant(manager: AccountManager, word: str = "") -> Tenant:
    """Make a tenant with a word of its own, which no other text has in it."""
    # No digits and no vowels: nothing that is random, encoded or English spells it.
    word = word or "zq" + "".join(secrets.choice("bdfghkmprtvwx") for _ in range(12))
    password = f"password of {word}"
    account = manager.create_account(word, PLAN).id
    store = manager._store
    made = Tenant(
        word=word,
        manager=manager,
        account=account,
        site=manager.create_site(account, f"{word}.example", "Europe/Zurich", public=False),
        app=manager.create_application(account, f"{word} app"),
        workspace=manager.create_workspace(account, f"{word} workspace"),
        admin=store.create_user(account, f"admin@{word}.example", cheap_hash(password), Role.ADMIN),
        member=store.create_user(
            account, f"member@{word}.example", cheap_hash(password), Role.MEMBER
        ),
        password=password,
    )
    for scopes in ((Scope.READ,), (Scope.WRITE,), (Scope.READ, Scope.WRITE)):
        made.keys[",".join(scopes)] = made.key(*scopes)[1]
    made.keys["admin"] = made.key(Scope.ADMIN, sites=())[1]
    return made


def tenants_manager(service: Service) -> AbstractContextManager[AccountManager]:
    """Open the accounts beside a service; it knows the plan that nobody uses up."""
    return managing(service.accounts_url, PLAN)


@dataclass
class Attacked:
    """A service, and its two tenants."""

    service: Service
    manager: AccountManager
    own: Tenant
    other: Tenant

    @property
    def port(self) -> int:
        return int(self.service.grpc_target.rpartition(":")[2])

    @property
    def run_files(self) -> Path:
        return self.service.data / "run"

    def login(self, user: User, password: str) -> Headers:
        """Sign a user in; return the cookie."""
        answer = self.service.post_json(
            "/v1/auth/login", {"email": user.email, "password": password}
        )
        assert answer.status == 200, answer
        return (("cookie", answer.headers["set-cookie"].partition(";")[0]),)


@contextmanager
def attacked_service(folder: Path, **environ: str) -> Iterator[Attacked]:
    """Run a service with two tenants for a block."""
    given = {
        "FOOTFALL_AUTHENTICATION_PER_MINUTE": "1000000",
        "FOOTFALL_PUBLIC_PER_MINUTE": "1000000",
        **environ,
    }
    with (
        running(folder / "data", environ=given) as service,
        tenants_manager(service) as manager,
    ):
        yield Attacked(service, manager, make_tenant(manager), make_tenant(manager))


@pytest.fixture(scope="session")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """The service that most cases of attack share."""
    with attacked_service(tmp_path_factory.mktemp("attacked")) as made:
        yield made
