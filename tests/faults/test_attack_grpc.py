"""Malformed gRPC: each message is answered, as the caller's fault or as what it still means."""

from __future__ import annotations

import asyncio
import http.client
import random
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tests.faults.attack_tenants import Attacked, Headers
from tests.faults.calls import METHODS, RECIPES
from tests.faults.credentials import good_credentials
from tests.faults.leaks import Answers, leaks_in
from tests.faults.verdicts import Case

#: What a caller may be told about a message that it has sent. Not among them: UNKNOWN, INTERNAL,
#: UNAVAILABLE and DEADLINE_EXCEEDED, which would be the service's fault.
CALLERS_FAULTS = frozenset(
    {
        "OK",
        "INVALID_ARGUMENT",
        "UNAUTHENTICATED",
        "PERMISSION_DENIED",
        "NOT_FOUND",
        "FAILED_PRECONDITION",
        "RESOURCE_EXHAUSTED",
        "UNIMPLEMENTED",
    }
)
AT_ONCE = 16
#: Each takes a process or a slow hash, so few messages are for them.
COSTLY = ("CustomQueryService/", "AccountsService/CreateMember", "SessionService/Login")

NUMBERS = (
    0, 1, -1, 2**31 - 1, 2**31, -(2**31), 2**32, 2**53, 2**63 - 1, -(2**63), 2**64 - 1, 10**18,
    253402300800, -62135596801,
)  # fmt: skip
REALS = (0.0, -0.0, 1e308, -1e308, 5e-324, float("inf"), float("-inf"), float("nan"), 1e18, -1.5)
TEXTS = (
    "", " ", "\0", "a\0b", "x" * 70_000, "ü" * 300, "\u202e", "\U0010ffff", "' OR 1=1 --", "../..",
    "%ff", "%00", "NaN", "Infinity", "-1", "9" * 400, "1e999", "2026-02-30", "9999-12-31T23:59:60Z",
    "0001-01-01T00:00:00+23:59", "{}", "[]", "null", "${x}", "{{7*7}}", "<script>", "\r\nx: y",
    "\ud7ff", "P1Y", "aaaaaaaaaaaaaaaa", "Europe/../Zurich", "/dev/null", "[" * 5000,
)  # fmt: skip
BODIES = (
    b"", b" ", b"null", b"[", b"{", b"[]", b"{}", b"[null]", b"[[[]]]", b"\xff\xfe", b"NaN", b"1",
    b'{"a":' * 3000, b"[" * 100_000, b'[{"timestamp":1e400}]', b'{"a":1,"a":2}', b'"\\ud800"',
    b"[" + b"{}," * 20_000 + b"{}]", b"\x00" * 64, b'{"parameters":{"a":[]}}', b"[1,2,3]", b"true",
)  # fmt: skip


def strange(chance: random.Random, kind: Descriptor, depth: int = 0) -> Iterator[bytes]:
    """Yield encoded fields of a message, each of its own type and with a strange value."""
    for field in chance.sample(list(kind.fields), k=min(len(kind.fields), chance.randint(1, 4))):
        number = field.number
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            inner = b"" if depth > 3 else b"".join(strange(chance, field.message_type, depth + 1))
            yield _bytes(number, inner)
        elif field.type == FieldDescriptor.TYPE_STRING:
            yield _bytes(number, chance.choice(TEXTS).encode())
        elif field.type == FieldDescriptor.TYPE_BYTES:
            yield _bytes(number, chance.choice(BODIES))
        elif field.type == FieldDescriptor.TYPE_DOUBLE:
            yield _varint(number << 3 | 1) + struct.pack("<d", chance.choice(REALS))
        else:
            yield _varint(number << 3) + _varint(chance.choice(NUMBERS) & (2**64 - 1))


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def _bytes(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def malformed(chance: random.Random, message: Message) -> bytes:  # noqa: PLR0911  # a way each
    """Return a message that was valid once, or is made of strange values, or is none."""
    raw = message.SerializeToString()
    kind = message.DESCRIPTOR
    match chance.randrange(10):
        case 0:
            return raw[: chance.randrange(len(raw) + 1)]
        case 1:
            return chance.randbytes(chance.choice((0, 1, 7, 64, 4096)))
        case 2:  # a few bits
            flipped = bytearray(raw or b"\0")
            for _ in range(chance.randint(1, 8)):
                flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
            return bytes(flipped)
        case 3:  # a field of another type
            field = chance.choice(list(kind.fields) or [None])
            number = field.number if field is not None else 1
            wire = chance.randrange(8)
            return raw + _varint(number << 3 | wire) + chance.randbytes(chance.randint(0, 12))
        case 4:  # text that is not UTF-8
            texts = [f for f in kind.fields if f.type == FieldDescriptor.TYPE_STRING]
            number = chance.choice(texts).number if texts else 1
            return raw + _bytes(number, chance.choice((b"\xff", b"\xc0\x80", b"\xed\xa0\x80")))
        case 5:  # groups and messages in each other
            number = chance.randint(1, 16)
            nested = b""
            for _ in range(chance.choice((5, 90, 101, 500))):
                nested = _bytes(number, nested)
            return raw + nested + _varint(number << 3 | 3) * chance.choice((0, 1, 200))
        case 6:  # unknown and repeated fields, and a length that lies
            return raw + _varint((2**29 - 1) << 3 | 2) + _varint(chance.choice((3, 2**31, 2**40)))
        case 7:
            return raw + raw + b"".join(strange(chance, kind))
        case _:  # valid, but strange in every field
            return b"".join(strange(chance, kind))


async def _answer(
    channel: grpc.aio.Channel, name: str, raw: bytes, headers: Headers
) -> tuple[str, str]:
    """Return the code of a call and all that it says beside the answer."""
    method = METHODS[name]
    if method.request_streaming:
        call = channel.stream_unary(method.path)(iter([raw]), metadata=headers, timeout=60)
    elif method.response_streaming:
        call = channel.unary_stream(method.path)(raw, metadata=headers, timeout=60)
    else:
        call = channel.unary_unary(method.path)(raw, metadata=headers, timeout=60)
    try:
        if method.response_streaming:
            await call.read()
            if not call.done():
                call.cancel()
                return "OK", ""
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error.code().name, f"{error.details()} {error.trailing_metadata()!r}"
    code = await call.code()
    return code.name, f"{await call.details()}"


async def test_malformed_messages(case: Case, attacked: Attacked) -> None:
    answers = Answers(CALLERS_FAULTS)
    names = [name for name in RECIPES if not name.startswith(COSTLY)]
    costly = [name for name in RECIPES if name.startswith(COSTLY)]
    given = {name: good_credentials(RECIPES[name].kind, attacked) for name in RECIPES}
    valid = {name: RECIPES[name].message(attacked.own) for name in RECIPES}
    count = 10_000 if case.full else 300
    todo = []
    for number in range(count):
        name = case.chance.choice(costly if number % 40 == 0 else names)
        todo.append((name, malformed(case.chance, valid[name])))
    waiting = iter(todo)

    async with grpc.aio.insecure_channel(attacked.service.grpc_target) as channel:

        async def worker() -> None:
            for name, raw in waiting:
                code, said = await _answer(channel, name, raw, given[name])
                if code == "UNAVAILABLE":
                    # A machine that does a hundred other things may be too busy, once.
                    code, said = await _answer(channel, name, raw, given[name])
                answers.judge(code, said, raw, f"{name} {raw[:200]!r}")

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    assert answers.total == count
    assert not answers.faults, "\n".join(answers.faults)
    codes = answers.codes
    # They were read, each at its place: not all refused at the door, nor all let through.
    assert codes["OK"] > count / 20
    assert codes["INVALID_ARGUMENT"] > count / 5
    case.tell(f"{count} messages: {dict(codes.most_common())}")


@pytest.mark.parametrize(
    ("path", "raw", "code"),
    [
        ("grpc.health.v1.Health/Check", b"\xff\xff", "INVALID_ARGUMENT"),
        ("grpc.health.v1.Health/Check", b"\n\x02zq", "NOT_FOUND"),
        ("grpc.health.v1.Health/Watch", b"\xff", "INVALID_ARGUMENT"),
        ("grpc.health.v1.Health/List", b"", "UNIMPLEMENTED"),
        (
            "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            b"\xff\xff",
            "INVALID_ARGUMENT",
        ),
    ],
)
async def test_methods_of_the_library(attacked: Attacked, path: str, raw: bytes, code: str) -> None:
    async with grpc.aio.insecure_channel(attacked.service.grpc_target) as channel:
        call = channel.stream_stream(f"/{path}")(iter([raw]), timeout=20)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call:
                pass
    assert caught.value.code().name == code
    assert leaks_in(f"{caught.value.details()}", b"") == []


def test_calls_that_end_without_a_message_are_answered(attacked: Attacked) -> None:
    paths = ["footfall.v1." + name for name in RECIPES]
    paths += ["grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch"]
    for path in paths:
        status, said = _post(attacked.port, path, "application/grpc-web+proto", [], b"")
        assert _grpc_code(status, said) in CALLERS_FAULTS, (path, said)


def _frame(flag: int, length: int, data: bytes) -> bytes:
    return bytes([flag]) + (length & 0xFFFFFFFF).to_bytes(4, "big") + data


def malformed_body(chance: random.Random, raw: bytes) -> bytes:  # noqa: PLR0911  # a way each
    """Return the bytes of a call whose frames are not as they should be."""
    whole = _frame(0, len(raw), raw)
    match chance.randrange(8):
        case 0:
            return b""
        case 1:
            return whole[: chance.randrange(len(whole))]
        case 2:
            return _frame(0, chance.choice((len(raw) + 1, 2**31, 2**32 - 1)), raw)
        case 3:
            return _frame(0, max(0, len(raw) - chance.randint(1, 3)), raw)
        case 4:
            return _frame(chance.choice((2, 5, 0x80, 0xFF & ~1)), len(raw), raw)
        case 5:
            return whole * chance.randint(2, 20)
        case 6:
            return whole + chance.randbytes(chance.randint(1, 40))
        case _:
            return chance.randbytes(chance.randint(1, 400))


#: Metadata that the library reads itself, and values that are none.
HEADERS = ("grpc-timeout", "grpc-encoding", "grpc-status", "grpc-message", "x-a-bin", "te",
           "grpc-trace-bin", "grpc-previous-rpc-attempts", "grpc-retry-pushback-ms",
           "grpc-tags-bin", "lb-cost-bin", "grpc-internal-encoding-request", "content-encoding",
           "user-agent", "grpc-accept-encoding", "x-forwarded-for", "cookie")  # fmt: skip
VALUES = ("", "zq!", "-1", "9" * 20, "1x", "=?", "a,b", "\x80\xff", "%ff", "x" * 9000)
TYPES = ("application/grpc-web+proto", "application/grpc-web", "application/grpc-web-text",
         "application/grpc", "application/grpc+json", "application/grpcx")  # fmt: skip


@pytest.fixture(scope="module")
def streams_end() -> list[str]:
    """Return the methods whose answers end by themselves."""
    return [name for name in RECIPES if not METHODS[name].response_streaming]


def test_malformed_frames_and_metadata(
    case: Case, attacked: Attacked, streams_end: list[str]
) -> None:
    """On the wire, by HTTP/1.1, where everything can be written: length prefixes, flags, bodies
    that end too early, and metadata that gRPC reads itself.

    Not tried are messages that are marked as compressed and are not: the gRPC library answers
    them with INTERNAL and a sentence of its own, as its specification says.
    """
    answers = Answers(CALLERS_FAULTS | {"none"})
    count = 1_000 if case.full else 60
    names = [name for name in streams_end if not name.startswith(COSTLY)]
    given = {name: good_credentials(RECIPES[name].kind, attacked) for name in names}
    valid = {name: RECIPES[name].message(attacked.own).SerializeToString() for name in names}
    for _ in range(count):
        name, kind = case.chance.choice(names), case.chance.choice(TYPES)
        body = malformed_body(case.chance, valid[name])
        lines = [f"{key}: {value}" for key, value in given[name]]
        if case.chance.random() < 0.5:
            lines.append(f"{case.chance.choice(HEADERS)}: {case.chance.choice(VALUES)}")
        status, said = _post(attacked.port, f"footfall.v1.{name}", kind, lines, body)
        code = _grpc_code(status, said)
        answers.judge(code, said, body, f"{name} {kind} {lines} {body[:100]!r}")
    assert answers.total == count
    assert not answers.faults, "\n".join(answers.faults)
    case.tell(f"{count} bodies: {dict(answers.codes.most_common())}")


def _post(port: int, path: str, kind: str, lines: list[str], body: bytes) -> tuple[int, str]:
    head = [
        f"POST /{path} HTTP/1.1",
        "host: a",
        "connection: close",
        f"content-type: {kind}",
        f"content-length: {len(body)}",
        *lines,
    ]
    with closing(socket.create_connection(("127.0.0.1", port), timeout=20)) as sock:
        sock.sendall("\r\n".join([*head, "", ""]).encode("latin-1") + body)
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        lines = [f"{name.lower()}: {value}" for name, value in answer.getheaders()]
        said = answer.read().decode("latin-1")
    return answer.status, "\r\n".join([*lines, "", said])


def _grpc_code(status: int, said: str) -> str:
    """Return gRPC's code, or for what HTTP itself has refused none, or the fault."""
    head, _, body = said.partition("\r\n\r\n")
    told = [line for line in (head + "\r\n" + body).split("\r\n") if "grpc-status:" in line]
    if told:
        number = int(told[0].partition("grpc-status:")[2])
        return next(code.name for code in grpc.StatusCode if code.value[0] == number)
    if "grpc-web-text" in head and status == 200:
        return "OK"  # its trailer is base64, and an error would be in the head
    return "none" if 400 <= status < 500 or status == 200 else f"HTTP {status}"


def test_the_judge_sees_what_it_should() -> None:
    """What would be a leak is one, and what the service says of a caller's fault is none."""
    bad = (
        'Traceback (most recent call last):\n  File "/x/y.py", line 3',
        "ValueError: invalid literal",
        "/usr/lib/python3.11/site-packages/duckdb",
        "Binder Error: SELECT count(*) FROM web_events",
        "<object at 0x7f1103604d0>",
        "sqlalchemy.exc",
    )
    assert all(leaks_in(text, b"") for text in bad)
    good = (
        "The request is not a valid footfall.v1.GetSourcesRequest message.",
        "format must be ndjson, csv or parquet, but is 'x'.",
        "`title` has 1500 characters; at most 1024 are taken.",
    )
    assert not any(leaks_in(text, b"") for text in good)
    answers = Answers(CALLERS_FAULTS)
    answers.judge("INTERNAL", "", b"", "x")
    answers.judge("OK", bad[1], b"", "x")
    assert (len(answers.faults), answers.codes) == (2, Counter({"INTERNAL": 1, "OK": 1}))
