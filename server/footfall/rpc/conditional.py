"""Answers that callers may keep: their entity tags, and calls that show one."""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum
from typing import TypeVar

from google.protobuf.message import Message

from footfall.errors import NotModifiedError
from footfall.rpc.call import Call

M = TypeVar("M", bound=Message)

#: Tags in a list of them; whether one is weak makes no difference to who asks for changes.
_TAGS = re.compile(r'(?:W/)?("[^"]*")')


class Keep(StrEnum):
    """What callers may do with an answer, in the words of HTTP."""

    #: Show it again for a minute without asking.
    A_MINUTE = "private, max-age=60"
    #: Show it again after asking whether it still holds.
    IF_UNCHANGED = "private, no-cache"
    NEVER = "no-store"


def keepable(call: Call, message: M, keep: Keep) -> M:
    """Return the answer, tagged by its content, with the leave to keep it in the call's headers.

    Raises NotModifiedError for a call whose `if-none-match` names the tag: its caller has the
    answer.
    """
    tag = entity_tag(message)
    call.headers += [
        ("etag", tag),
        ("cache-control", keep),
        # Another key may have no right to the answer that a browser has kept.
        ("vary", "authorization"),
    ]
    if names(call.metadata.get("if-none-match", ""), tag):
        raise NotModifiedError("The answer is the one that the caller has.")
    return message


def entity_tag(message: Message) -> str:
    """Return a text that is another one for every other answer."""
    content = message.SerializeToString(deterministic=True)
    name = message.DESCRIPTOR.full_name.encode()
    return f'"{hashlib.blake2b(content, person=name[-16:], digest_size=16).hexdigest()}"'


def names(header: str, tag: str) -> bool:
    """Return whether an `if-none-match` header names the tag, or any tag at all."""
    return header.strip() == "*" or tag in _TAGS.findall(header)
