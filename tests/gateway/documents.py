"""The families' error documents, and paths whose calls fail on demand."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

from tests.gateway.http1 import Answer


def at(path: str, **scenario: Any) -> str:
    """Return a path whose call plays a scenario."""
    return path + quote(json.dumps(scenario), safe="")


def failing(
    grpc_code: str, status: int, reason: str, *more: tuple[str, str], message: str = "what"
) -> dict[str, Any]:
    """Return the scenario of a call that the server fails in its own way."""
    trailing = [
        ("footfall-reason", reason),
        ("footfall-message", quote(message)),
        ("footfall-status", str(status)),
        *more,
    ]
    return {"abort": grpc_code, "details": "for gRPC", "trailing": trailing}


def family_of(path: str) -> str:
    """Return the family that a path belongs to."""
    if re.match(r"/v1/(auth|query|custom-sql|usage|export)\b|/(health|track)\b", path):
        return "C"
    return "D" if re.match(r"/v1/events|(/v1)?/analytics", path) else "A"


def assert_document(answer: Answer, status: int, code: str, family: str = "A") -> str:
    """Check an error's form and return its message.

    `code` is in family A's writing. Family D has none.
    """
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json"
    assert not internal_headers(answer)
    document = answer.json
    if family == "A":
        assert document.keys() == {"error"}
        assert document["error"]["code"] == code
        message = document["error"]["message"]
    elif family == "C":
        assert document["success"] is False
        assert document["code"] == code.upper()
        message = document["error"]
    else:
        message = document["detail"]
    assert isinstance(message, str)
    assert message
    assert "Traceback" not in message
    return message


def internal_headers(answer: Answer) -> list[str]:
    """Return the headers that are nobody's business but the gateway's."""
    return [name for name in answer.headers if name.startswith(("grpc-", "footfall-", "x-envoy-"))]
