"""What an account owns, managed on a real channel."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from footfall.accounts.keys import key_digest
from footfall.accounts.model import KeyKind, Role, Scope, Site
from footfall.accounts.passwords import verify_password
from footfall.accounts.sql import open_account_store
from footfall.settings import Settings
from footfall.v1 import accounts_pb2 as pb
from footfall.v1 import realtime_pb2
from tests.accounts.values import cheap_hash
from tests.rpc.conftest import Metadata, Service, refused, serving

pytestmark = pytest.mark.asyncio(loop_scope="session")

PASSWORD = "correct horse"
_numbers = itertools.count(1)


def bearer(text: str) -> Metadata:
    return (("authorization", f"Bearer {text}"),)


@dataclass
class Admin:
    """An account of the test's own, and a key that manages it."""

    service: Service
    account: str
    metadata: Metadata

    async def call(self, method: str, request: Any, metadata: Metadata | None = None) -> Any:
        return await getattr(self.service.accounts, method)(
            request, metadata=self.metadata if metadata is None else metadata
        )

    async def refused(self, method: str, request: Any) -> Any:
        return await refused(
            getattr(self.service.accounts, method)(request, metadata=self.metadata)
        )

    def site(self) -> Site:
        return self.service.manager.create_site(
            self.account, f"m{next(_numbers)}.example.com", "UTC", public=False
        )


def new_admin(service: Service) -> Admin:
    account = service.manager.create_account(f"managed-{next(_numbers)}", "free").id
    made = service.manager.create_key(account, kind=KeyKind.NM, site_ids=[], scopes=[Scope.ADMIN])
    return Admin(service, account, bearer(made.text))


@pytest.fixture
def admin(service: Service) -> Admin:
    return new_admin(service)


def moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    assert found.utcoffset() == timedelta(0)
    return found


async def stops(admin: Admin, text: str) -> None:
    """Wait until an admin key is refused."""
    async with asyncio.timeout(20):
        while (code := await outcome(admin, text)) is grpc.StatusCode.OK:  # noqa: ASYNC110 - a server has no event
            await asyncio.sleep(0.05)
    assert code is grpc.StatusCode.UNAUTHENTICATED


async def outcome(admin: Admin, text: str) -> grpc.StatusCode:
    call = admin.service.accounts.ListSites(pb.ListSitesRequest(), metadata=bearer(text))
    code: grpc.StatusCode = await call.code()
    return code


async def works(admin: Admin, text: str) -> None:
    assert await outcome(admin, text) is grpc.StatusCode.OK


async def test_a_keys_life(admin: Admin) -> None:
    sites = [admin.site() for _ in range(3)]
    wanted = [sites[1].id, sites[0].id]
    made = await admin.call("CreateKey", pb.CreateKeyRequest(sites=wanted))
    assert made.key.startswith("nm_")
    assert made.details == pb.ApiKey(
        id=made.id,
        hint=made.key[:7],
        kind="nm",
        sites=sorted(wanted),
        scopes=["read"],
        created_at=made.details.created_at,
    )
    assert abs(moment(made.details.created_at) - datetime.now(UTC)) < timedelta(seconds=60)
    reads = admin.service.realtime.GetRealtime
    for site in sites[:2]:
        await reads(realtime_pb2.GetRealtimeRequest(site=site.id), metadata=bearer(made.key))
    denied = await refused(
        reads(realtime_pb2.GetRealtimeRequest(site=sites[2].id), metadata=bearer(made.key))
    )
    assert denied.reason == "SITE_NOT_AUTHORIZED"

    revoked = await admin.call("RevokeKey", pb.RevokeKeyRequest(id=made.id))
    assert abs(moment(revoked.revoked_at) - datetime.now(UTC)) < timedelta(seconds=60)
    # What a server has remembered of the key is forgotten within a second.
    await asyncio.sleep(1)
    gone = await refused(
        reads(realtime_pb2.GetRealtimeRequest(site=sites[0].id), metadata=bearer(made.key))
    )
    assert gone.reason == "INVALID_TOKEN"
    again = await admin.call("RevokeKey", pb.RevokeKeyRequest(id=made.id))
    assert again.revoked_at == revoked.revoked_at
    assert (await keys_of(admin))[made.id].revoked_at == revoked.revoked_at


async def test_a_key_with_all_that_can_be_asked(admin: Admin) -> None:
    site = admin.site()
    made = await admin.call(
        "CreateKey",
        pb.CreateKeyRequest(
            sites=[site.id, site.id],
            scopes=["WRITE", "read", " admin ", "read"],
            kind="DBDY",
            expires_in_days=3650,
        ),
    )
    assert made.key.startswith("dbdy_")
    assert (made.details.kind, made.details.sites) == ("dbdy", [site.id])
    assert made.details.scopes == ["read", "write", "admin"]
    life = moment(made.details.expires_at) - moment(made.details.created_at)
    assert abs(life - timedelta(days=3650)) < timedelta(seconds=2)
    await works(admin, made.key)


@pytest.mark.parametrize(
    ("fields", "field", "fault"),
    [
        ({}, "sites", "name at least one site"),
        ({"scopes": ["admin", "read"]}, "sites", "name at least one site"),
        ({"sites": ["{site}"], "scopes": ["read", "wrte"]}, "scopes", "read, write, admin"),
        ({"sites": ["{site}"], "scopes": [""]}, "scopes", "read, write, admin"),
        ({"sites": ["{site}"], "kind": "apinalytics"}, "kind", "nm, dbdy"),
        ({"sites": ["{site}"], "expires_in_days": 0}, "expires_in_days", "from 1 to 3650"),
        ({"sites": ["{site}"], "expires_in_days": -1}, "expires_in_days", "from 1 to 3650"),
        ({"sites": ["{site}"], "expires_in_days": 3651}, "expires_in_days", "from 1 to 3650"),
        ({"sites": ["{site}"] * 1001}, "sites", "1000 are allowed"),
    ],
)
async def test_a_key_that_is_refused(
    admin: Admin, fields: dict[str, Any], field: str, fault: str
) -> None:
    site = admin.site()
    if "sites" in fields:
        fields = fields | {"sites": [site.id for _ in fields["sites"]]}
    error = await admin.refused("CreateKey", pb.CreateKeyRequest(**fields))
    assert (error.code, error.http) == (grpc.StatusCode.INVALID_ARGUMENT, 400)
    assert error.reason == "INVALID_PARAMETER"
    assert [item.field for item in error.details["BadRequest"].field_violations] == [field]
    assert field in error.message
    assert fault in error.message
    assert len(await keys_of(admin)) == 1


async def test_rotation_overlaps(admin: Admin) -> None:
    first = await admin.call("CreateKey", pb.CreateKeyRequest(scopes=["admin"]))
    second = await admin.call("RotateKey", pb.RotateKeyRequest(id=first.id))
    assert (second.id, second.details.sites) == (first.id, first.details.sites)
    assert second.details.hint == second.key[:7] != first.details.hint
    assert second.details.created_at == first.details.created_at
    await works(admin, first.key)
    await works(admin, second.key)
    # Rotated again, the oldest stops; the present one and the one before go on.
    third = await admin.call("RotateKey", pb.RotateKeyRequest(id=first.id, overlap_seconds=604_800))
    await stops(admin, first.key)
    await works(admin, second.key)
    await works(admin, third.key)
    # Without an overlap both stop, and the overlap of before with them.
    fourth = await admin.call("RotateKey", pb.RotateKeyRequest(id=first.id, overlap_seconds=0))
    await stops(admin, third.key)
    await stops(admin, second.key)
    await works(admin, fourth.key)
    await admin.call("RevokeKey", pb.RevokeKeyRequest(id=first.id))
    error = await admin.refused("RotateKey", pb.RotateKeyRequest(id=first.id))
    assert (error.code, error.reason, error.http) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "KEY_REVOKED",
        409,
    )


async def test_the_secret_before_stops_when_the_overlap_ends(admin: Admin) -> None:
    first = await admin.call("CreateKey", pb.CreateKeyRequest(scopes=["admin"]))
    began = time.monotonic()
    second = await admin.call("RotateKey", pb.RotateKeyRequest(id=first.id, overlap_seconds=1))
    await works(admin, first.key)
    await stops(admin, first.key)
    assert time.monotonic() - began > 0.99
    await works(admin, second.key)


@pytest.mark.parametrize("overlap", [-1, 604_801, 2**31 - 1])
async def test_an_overlap_that_is_refused(admin: Admin, overlap: int) -> None:
    made = await admin.call("CreateKey", pb.CreateKeyRequest(scopes=["admin"]))
    error = await admin.refused(
        "RotateKey", pb.RotateKeyRequest(id=made.id, overlap_seconds=overlap)
    )
    fields = [item.field for item in error.details["BadRequest"].field_violations]
    assert fields == ["overlap_seconds"]
    await works(admin, made.key)


async def test_last_use_is_seen_at_once_and_kept_at_the_end(own_settings: Settings) -> None:
    began = datetime.now(UTC).replace(second=0, microsecond=0)
    async with serving(own_settings) as service:
        admin = new_admin(service)
        used, late, unused = [
            service.manager.create_key(
                admin.account, kind=KeyKind.NM, site_ids=[], scopes=[Scope.ADMIN]
            )
            for _ in range(3)
        ]
        await works(admin, used.text)
        async with asyncio.timeout(20):
            while not (at := (await keys_of(admin))[used.key.id].last_used_at):  # noqa: ASYNC110 - a server has no event
                await asyncio.sleep(0.05)
        assert moment(at) >= began
        assert moment(at).second == 0
        # The store is written to once a minute: this use waits for that, or for the end.
        await works(admin, late.text)
    store = open_account_store(own_settings.effective_accounts_url)
    assert [store.get_key(key.key.id).last_used_at is None for key in (used, late, unused)] == [
        False,
        False,
        True,
    ]
    store.close()


async def keys_of(admin: Admin) -> dict[str, pb.ApiKey]:
    return {key.id: key for key in (await admin.call("ListKeys", pb.ListKeysRequest())).keys}


async def test_pages_of_keys_are_newest_first(admin: Admin) -> None:
    made = [
        (await admin.call("CreateKey", pb.CreateKeyRequest(scopes=["admin"]))).id for _ in range(6)
    ]
    listed, token = [], ""
    for expected in (3, 3, 1):
        page = await admin.call("ListKeys", pb.ListKeysRequest(page_size=3, page_token=token))
        assert len(page.keys) == expected
        listed += [(key.id, key.created_at) for key in page.keys]
        token = page.next_page_token
    assert token == ""
    assert {id_ for id_, _ in listed} > set(made)
    assert [at for _, at in listed] == sorted((at for _, at in listed), reverse=True)


async def test_sites(admin: Admin) -> None:
    made = await admin.call(
        "CreateSite",
        pb.CreateSiteRequest(
            host="https://News.Example.com/", timezone="europe/zurich", public=True
        ),
    )
    assert made == pb.Site(
        id=made.id, host="news.example.com", timezone="Europe/Zurich", public=True
    )
    plain = await admin.call("CreateSite", pb.CreateSiteRequest(host="a.example.com"))
    assert (plain.timezone, plain.public) == ("UTC", False)
    assert (await admin.call("ListSites", pb.ListSitesRequest())).sites == [plain, made]
    same = await admin.call("UpdateSite", pb.UpdateSiteRequest(id=made.id))
    assert same == made
    private = await admin.call("UpdateSite", pb.UpdateSiteRequest(id=made.id, public=False))
    assert private == pb.Site(id=made.id, host=made.host, timezone=made.timezone)
    assert admin.service.store.get_site(made.id).public is False  # type: ignore[union-attr]  # it is there
    # A key that is made for the new site reads it at once.
    key = await admin.call("CreateKey", pb.CreateKeyRequest(sites=[made.id]))
    await admin.service.realtime.GetRealtime(
        realtime_pb2.GetRealtimeRequest(site=made.id), metadata=bearer(key.key)
    )
    for fields, field in (
        ({"host": "no host"}, "host"),
        ({"host": ""}, "host"),
        ({"host": "a.example.com"}, "host"),
        ({"host": "b.example.com", "timezone": "Zurich"}, "timezone"),
    ):
        error = await admin.refused("CreateSite", pb.CreateSiteRequest(**fields))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert [item.field for item in error.details["BadRequest"].field_violations] == [field]


async def test_pages_of_sites(admin: Admin) -> None:
    hosts = sorted(admin.site().host for _ in range(5))
    listed, token = [], ""
    for _ in range(3):
        page = await admin.call("ListSites", pb.ListSitesRequest(page_size=2, page_token=token))
        listed += [site.host for site in page.sites]
        token = page.next_page_token
    assert (listed, token) == (hosts, "")


@pytest.mark.parametrize("what", ["Keys", "Sites", "Members"])
async def test_page_that_is_refused(admin: Admin, what: str) -> None:
    admin.site()
    admin.site()
    other = "Sites" if what == "Keys" else "Keys"
    await admin.call("CreateKey", pb.CreateKeyRequest(scopes=["admin"]))
    token = (
        await admin.call(f"List{other}", getattr(pb, f"List{other}Request")(page_size=1))
    ).next_page_token
    assert token
    for fields, field in (
        ({"page_size": -1}, "page_size"),
        ({"page_token": "nonsense"}, "page_token"),
        ({"page_token": token}, "page_token"),
    ):
        error = await admin.refused(f"List{what}", getattr(pb, f"List{what}Request")(**fields))
        assert (error.reason, error.http) == ("INVALID_PARAMETER", 400)
        assert [item.field for item in error.details["BadRequest"].field_violations] == [field]


async def test_members(admin: Admin) -> None:
    number = next(_numbers)
    create = pb.CreateMemberRequest(email=f"Ada{number}@Example.com", password=PASSWORD)
    ada = await admin.call("CreateMember", create)
    assert ada == pb.Member(id=ada.id, email=f"ada{number}@example.com", role="member")
    store = admin.service.store
    zoe = store.create_user(
        admin.account, f"zoe{number}@example.com", cheap_hash(PASSWORD), Role.ADMIN
    )
    listed = (await admin.call("ListMembers", pb.ListMembersRequest())).members
    assert listed == [ada, pb.Member(id=zoe.id, email=zoe.email, role="admin")]
    first = (await admin.call("ListMembers", pb.ListMembersRequest(page_size=1))).next_page_token
    second = await admin.call("ListMembers", pb.ListMembersRequest(page_token=first))
    assert (second.members, second.next_page_token) == (listed[1:], "")

    for method, request in (
        ("UpdateMember", pb.UpdateMemberRequest(id=zoe.id, role="member")),
        ("RemoveMember", pb.RemoveMemberRequest(id=zoe.id)),
    ):
        error = await admin.refused(method, request)
        assert (error.code, error.reason, error.http) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "LAST_ADMIN",
            409,
        )
    assert await admin.call("UpdateMember", pb.UpdateMemberRequest(id=ada.id)) == ada
    changed = await admin.call(
        "UpdateMember", pb.UpdateMemberRequest(id=ada.id, role="admin", password="new password")
    )
    assert changed == pb.Member(id=ada.id, email=ada.email, role="admin")
    login = store.get_login(ada.id)
    assert login is not None
    assert verify_password("new password", login.password_hash)
    assert (await admin.call("RemoveMember", pb.RemoveMemberRequest(id=zoe.id))).id == zoe.id
    assert (await admin.call("ListMembers", pb.ListMembersRequest())).members == [changed]


@pytest.mark.parametrize(
    ("method", "fields", "field"),
    [
        ("CreateMember", {"email": "ada", "password": PASSWORD}, "email"),
        ("CreateMember", {"email": "x@example.com", "password": PASSWORD, "role": "boss"}, "role"),
        ("CreateMember", {"email": "x@example.com"}, "password"),
        ("CreateMember", {"email": "x@example.com", "password": "x" * 1025}, "password"),
        ("CreateMember", {"email": "{email}", "password": PASSWORD}, "email"),
        ("UpdateMember", {"id": "{id}", "role": ""}, "role"),
        ("UpdateMember", {"id": "{id}", "role": "owner"}, "role"),
        ("UpdateMember", {"id": "{id}", "password": "1234567"}, "password"),
        ("UpdateMember", {"id": "{id}", "password": ""}, "password"),
    ],
)
async def test_member_that_is_refused(
    admin: Admin, method: str, fields: dict[str, str], field: str
) -> None:
    email = f"mia{next(_numbers)}@example.com"
    user = admin.service.store.create_user(admin.account, email, cheap_hash(PASSWORD), Role.MEMBER)
    fields = {name: text.format(email=email, id=user.id) for name, text in fields.items()}
    error = await admin.refused(method, getattr(pb, f"{method}Request")(**fields))
    assert (error.code, error.http) == (grpc.StatusCode.INVALID_ARGUMENT, 400)
    assert [item.field for item in error.details["BadRequest"].field_violations] == [field]
    assert field in error.message or fields.get(field, "-") in error.message
    login = admin.service.store.get_login(user.id)
    assert login is not None
    assert (login.user, login.password_hash) == (user, cheap_hash(PASSWORD))


async def test_what_is_another_accounts_is_like_what_does_not_exist(
    service: Service, admin: Admin
) -> None:
    other = new_admin(service)
    site = other.site()
    key = (await other.call("CreateKey", pb.CreateKeyRequest(sites=[site.id]))).id
    user = service.store.create_user(
        other.account, f"bob{next(_numbers)}@example.com", cheap_hash(PASSWORD), Role.MEMBER
    )
    before = {
        what: await other.call(f"List{what}", getattr(pb, f"List{what}Request")())
        for what in ("Keys", "Sites", "Members")
    }
    nobody = "aaaaaaaaaaaaaaaa"
    requests = [
        (key, lambda id_: ("RotateKey", pb.RotateKeyRequest(id=id_))),
        (key, lambda id_: ("RevokeKey", pb.RevokeKeyRequest(id=id_))),
        (site.id, lambda id_: ("CreateKey", pb.CreateKeyRequest(sites=[id_]))),
        (site.id, lambda id_: ("UpdateSite", pb.UpdateSiteRequest(id=id_, public=True))),
        (site.id, lambda id_: ("UpdateSite", pb.UpdateSiteRequest(id=id_))),
        (user.id, lambda id_: ("UpdateMember", pb.UpdateMemberRequest(id=id_, role="admin"))),
        (user.id, lambda id_: ("UpdateMember", pb.UpdateMemberRequest(id=id_))),
        (user.id, lambda id_: ("RemoveMember", pb.RemoveMemberRequest(id=id_))),
    ]
    for id_, request in requests:
        foreign = await admin.refused(*request(id_))
        unknown = await admin.refused(*request(nobody))
        for error in (foreign, unknown):
            assert (error.code, error.reason, error.http) == (
                grpc.StatusCode.NOT_FOUND,
                "NOT_FOUND",
                404,
            )
        assert foreign.message.replace(id_, nobody) == unknown.message
    for what, listed in before.items():
        assert await other.call(f"List{what}", getattr(pb, f"List{what}Request")()) == listed
    # Addresses alone are unique over all accounts.
    taken = await admin.refused(
        "CreateMember", pb.CreateMemberRequest(email=user.email, password=PASSWORD)
    )
    assert taken.code is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("id_", ["", "a\0b", "x" * 10_000, "日本", "' OR 1=1 --", "../sites"])
async def test_ids_of_any_kind(admin: Admin, id_: str) -> None:
    for method in ("RotateKey", "RevokeKey", "UpdateSite", "UpdateMember", "RemoveMember"):
        error = await admin.refused(method, getattr(pb, f"{method}Request")(id=id_))
        assert (error.code, error.http) == (grpc.StatusCode.NOT_FOUND, 404)
        assert len(error.message) < 1000


async def test_secrets_are_shown_once_and_stored_as_hashes(admin: Admin) -> None:
    site = admin.site()
    made = await admin.call("CreateKey", pb.CreateKeyRequest(sites=[site.id]))
    rotated = await admin.call("RotateKey", pb.RotateKeyRequest(id=made.id))
    application = await admin.call("CreateApplication", pb.CreateApplicationRequest(name="api"))
    member = pb.CreateMemberRequest(
        email=f"eve{next(_numbers)}@example.com", password="a password that is in no other place"
    )
    await admin.call("CreateMember", member)
    secrets = [made.key, rotated.key, application.write_key, application.read_key, member.password]
    answers = b"".join(
        [
            (
                await admin.call(f"List{what}", getattr(pb, f"List{what}Request")())
            ).SerializeToString()
            for what in ("Keys", "Sites", "Members")
        ]
        + [
            (await admin.call("RevokeKey", pb.RevokeKeyRequest(id=made.id))).SerializeToString(),
            (await admin.call("UpdateSite", pb.UpdateSiteRequest(id=site.id))).SerializeToString(),
        ]
    )
    folder = admin.service.settings.data_dir
    stored = b"".join(path.read_bytes() for path in folder.glob("accounts.sqlite*"))
    assert key_digest(rotated.key) in stored
    assert key_digest(made.key) in stored
    for secret in secrets:
        # Not even the part that follows the hint.
        for part in (secret, secret[8:]):
            assert part.encode() not in answers
            assert part.encode() not in stored


async def test_a_changed_plan_is_in_force_within_a_second(admin: Admin) -> None:
    site = admin.site()
    key = await admin.call("CreateKey", pb.CreateKeyRequest(sites=[site.id]))
    manager, store = admin.service.manager, admin.service.store

    async def limit() -> str:
        call = admin.service.realtime.GetRealtime(
            realtime_pb2.GetRealtimeRequest(site=site.id), metadata=bearer(key.key)
        )
        await call
        return str(dict(await call.trailing_metadata())["x-ratelimit-limit"])

    assert await limit() == "10"
    manager.update_plan(f"plan of {admin.account}", {"site_requests_per_minute": 77}, like="free")
    store.set_account_plan(admin.account, f"plan of {admin.account}")
    await asyncio.sleep(1)
    assert await limit() == "77"
    manager.update_plan(f"plan of {admin.account}", {"site_requests_per_minute": 600})
    await asyncio.sleep(1)
    assert await limit() == "600"
