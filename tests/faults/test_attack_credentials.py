"""Every RPC with every kind of wrong credentials: the documented refusal, and nothing of others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from tests.faults.attack_tenants import NO_ID, Attacked, Tenant
from tests.faults.calls import BINDINGS, METHODS, RECIPES, Outcome, by_grpc, by_rest
from tests.faults.credentials import (
    FOREIGN,
    OK,
    Refusals,
    Spoiled,
    good_credentials,
    spoil,
)
from tests.faults.verdicts import Case
from tests.gateway.documents import assert_document, family_of

#: Family C has a code a status, but for the last one.
CODES_C: Mapping[int | str, str] = {
    400: "validation_error",
    401: "auth_required",
    403: "forbidden",
    404: "not_found",
    "WEBSITE_NOT_FOUND": "website_not_found",
}

#: Headers by which somebody may claim to be another tenant.
CLAIMS = (
    "x-website-id",
    "x-site",
    "x-account-id",
    "x-workspace-id",
    "x-tenant-id",
    "x-forwarded-user",
    "databuddy-client-id",
    "footfall-tenant",
    "footfall-account",
)

#: Calls that take a process or a password hash: in the quick form one of them is let through.
COSTLY = {
    "AccountsService/CreateMember",
    "CustomQueryService/ExecuteSql",
    "CustomQueryService/PostCustomQuery",
    "CustomQueryService/PostSql",
    "CustomQueryService/RunCustomQuery",
}


def swapped(message: Message, ids: Mapping[str, str]) -> Message:
    """Return a copy with other ids wherever a text or a body of bytes has them."""

    def text(value: str) -> str:
        for before, after in ids.items():
            value = value.replace(before, after)
        return value

    copy = type(message)()
    copy.CopyFrom(message)
    for field, value in message.ListFields():
        if isinstance(value, str):
            setattr(copy, field.name, text(value))
        elif isinstance(value, bytes):
            setattr(copy, field.name, text(value.decode()).encode())
        elif isinstance(value, Message):
            getattr(copy, field.name).CopyFrom(swapped(value, ids))
        elif field.type == field.TYPE_STRING:
            getattr(copy, field.name)[:] = [text(each) for each in value]
    return copy


def shown(tenant: Tenant, answer: bytes, said: bytes = b"") -> list[str]:
    """Return what an answer shows of a tenant that the request did not say itself."""
    known = {"word": tenant.word, **tenant.ids()}
    return [
        what
        for what, text in known.items()
        if text.encode() in answer and text.encode() not in said
    ]


def neutral(outcome: Outcome, id_: str) -> tuple[Any, ...]:
    """Return what must be the same for ids that exist elsewhere and ids that do not."""
    headers = {
        name: re.sub(re.escape(id_), NO_ID, value) if isinstance(value, str) else len(value)
        for name, value in outcome.headers.items()
        if name not in {"x-request-id", "x-envoy-upstream-service-time", "date"}
        and not name.startswith("x-ratelimit")
    }
    # The details repeat the request's id, whose length is not always the same.
    headers.pop("grpc-status-details-bin", None)
    return outcome.code, outcome.reason, outcome.message.replace(id_, NO_ID), headers


@pytest.fixture(scope="module")
def spoiled(attacked: Attacked) -> Spoiled:
    return spoil(attacked)


@pytest.fixture(scope="module")
def refusals(attacked: Attacked, spoiled: Spoiled) -> Refusals:
    return Refusals(attacked, spoiled)


@pytest.fixture(scope="module")
def channel(attacked: Attacked) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(attacked.service.grpc_target) as channel:
        yield channel


def test_every_rpc_of_the_protos_is_attacked(case: Case) -> None:
    assert RECIPES.keys() == METHODS.keys()
    over_rest = {binding.name for binding in BINDINGS}
    case.tell(f"{len(RECIPES)} RPCs, {len(BINDINGS)} REST bindings of {len(over_rest)} of them")


def test_credentials_by_grpc(
    case: Case, attacked: Attacked, channel: grpc.Channel, refusals: Refusals, spoiled: Spoiled
) -> None:
    own, other, tried = attacked.own, attacked.other, 0
    costly = case.chance.choice(sorted(COSTLY))
    for name, recipe in RECIPES.items():
        message = recipe.message(own)
        said = message.SerializeToString()
        for what, headers, expected in refusals.of(recipe.kind, spoiled.some(case)):
            outcome = by_grpc(channel, name, message, headers)
            assert (outcome.code, outcome.reason) == (expected.code, expected.reason), (name, what)
            if expected is not OK:
                assert outcome.headers["footfall-status"] == str(expected.http), (name, what)
                assert shown(own, outcome.everything, said) == [], (name, what)
            assert shown(other, outcome.everything) == [], (name, what)
            tried += 1
        # The same message with what it takes: the refusals were for the credentials alone.
        if case.full or name not in COSTLY or name == costly:
            good = by_grpc(channel, name, message, good_credentials(recipe.kind, attacked))
            assert good.code == "OK", (name, good)
            assert shown(other, good.everything) == [], name
    case.tell(f"{tried} refusals")


def test_credentials_over_rest(
    case: Case, attacked: Attacked, refusals: Refusals, spoiled: Spoiled
) -> None:
    own, other, tried = attacked.own, attacked.other, 0
    for binding in BINDINGS:
        recipe, streams = RECIPES[binding.name], METHODS[binding.name].response_streaming
        path, body, typed = binding.target(recipe.message(own))
        said, family = path.encode() + (body or b""), family_of(path)
        for what, headers, expected in refusals.of(recipe.kind, spoiled.some(case)):
            given = (*typed.items(), *headers)
            answer = by_rest(attacked.port, binding.verb, path, given, body, stream=streams)
            everything = answer.body + repr(answer.headers).encode()
            if expected is OK:
                assert answer.status == 200, (path, what, answer)
            else:
                code = expected.reason.lower()
                if family == "C":
                    code = CODES_C.get(expected.reason, CODES_C[expected.http])
                assert_document(answer, expected.http, code, family)
                assert shown(own, everything, said) == [], (path, what)
            assert shown(other, everything) == [], (path, what)
            tried += 1
        if case.full or binding.name not in COSTLY:
            given = (*typed.items(), *good_credentials(recipe.kind, attacked))
            answer = by_rest(attacked.port, binding.verb, path, given, body, stream=streams)
            assert answer.status == 200, (path, answer)
            assert shown(other, answer.body) == [], path
    case.tell(f"{tried} refusals")


def test_what_is_anothers_is_told_like_what_is_nobodys(
    case: Case, attacked: Attacked, channel: grpc.Channel
) -> None:
    """Ids in body, path and query: a foreign one and one that does not exist look the same."""
    own, other, compared = attacked.own, attacked.other, 0
    for name, recipe in RECIPES.items():
        if recipe.kind not in FOREIGN:
            continue
        expected, headers = FOREIGN[recipe.kind], good_credentials(recipe.kind, attacked)
        # All names are the own ones, but for the id of what the call is about.
        anothers = swapped(recipe.message(other), {other.word: own.word})
        id_ = next(iter(_ids_of(anothers, other)), None)
        if id_ is None:
            continue
        messages = anothers, swapped(anothers, {id_: NO_ID})
        outcomes = [by_grpc(channel, name, each, headers) for each in messages]
        for outcome in outcomes:
            assert (outcome.code, outcome.reason) == (expected.code, expected.reason), name
            assert shown(other, outcome.everything, id_.encode()) == [], name
        assert neutral(outcomes[0], id_) == neutral(outcomes[1], NO_ID), name
        for binding in (each for each in BINDINGS if each.name == name):
            answers = []
            for each in messages:
                path, body, typed = binding.target(each)
                given = (*typed.items(), *headers)
                answers.append(by_rest(attacked.port, binding.verb, path, given, body))
            assert {answer.status for answer in answers} == {expected.http}
            assert answers[0].body.replace(id_.encode(), NO_ID.encode()) == answers[1].body
        compared += 1
    assert compared > 25
    case.tell(f"{compared} pairs of ids")


def _ids_of(message: Message, tenant: Tenant) -> Iterator[str]:
    """Yield the id that a message is about: of the site, or of what its recipe has made."""
    if tenant.site.id.encode() in message.SerializeToString():
        yield tenant.site.id
    elif "id" in message.DESCRIPTOR.fields_by_name:
        yield message.id  # type: ignore[attr-defined]


def test_nobody_becomes_another_by_saying_so(
    case: Case, attacked: Attacked, channel: grpc.Channel
) -> None:
    """Ids in metadata beside good credentials change nothing."""
    own, other, tried = attacked.own, attacked.other, 0
    ids = [other.site.id, other.account, other.workspace.workspace.id, other.admin.id]
    for name, recipe in RECIPES.items():
        if name in COSTLY and not case.full:
            continue
        for id_ in ids if case.full else [case.chance.choice(ids)]:
            claims = tuple((claim, id_) for claim in CLAIMS)
            if not recipe.kind.startswith("application"):
                claims += (("x-auth-user", other.app.application.id),)
            headers = (*claims, *good_credentials(recipe.kind, attacked))
            outcome = by_grpc(channel, name, recipe.message(own), headers)
            assert outcome.code == "OK", (name, outcome)
            assert shown(other, outcome.everything) == [], name
            tried += 1
    case.tell(f"{tried} calls with {len(CLAIMS)} claims each")


def test_signing_in_tells_nobody_who_has_an_account(
    case: Case, attacked: Attacked, channel: grpc.Channel
) -> None:
    own, other = attacked.own, attacked.other
    wrong = [
        (own.admin.email, "a wrong password"),
        (own.admin.email.upper(), "a wrong password"),
        (own.admin.email, other.password),
        (other.admin.email, own.password),
        (own.admin.email, "x" * 5000),
        ("no address", own.password),
        (f"nobody@{own.word}.example", own.password),
    ]
    told = set()
    for email, password in wrong:
        message = METHODS["SessionService/Login"].request_type(email=email, password=password)
        outcome = by_grpc(channel, "SessionService/Login", message, ())
        told.add((outcome.code, outcome.reason, outcome.message))
        path, body, typed = next(b for b in BINDINGS if b.name == "SessionService/Login").target(
            message
        )
        answer = by_rest(attacked.port, "POST", path, tuple(typed.items()), body)
        assert assert_document(answer, 401, "auth_required", "C") == outcome.message
        assert "set-cookie" not in answer.headers
    assert [each[:2] for each in told] == [("UNAUTHENTICATED", "INVALID_LOGIN")]
    case.tell(f"{len(wrong)} ways to fail, one answer")
