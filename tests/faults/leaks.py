"""What no answer may say: stacks, paths, SQL, names of classes and packages."""

from __future__ import annotations

import re
from collections import Counter

#: What nobody but a programmer of the service would write. SQL is no leak where it was sent.
_INSIDE = re.compile(
    r"""Traceback | \bFile\ " | line\ \d+,\ in\ | \bat\ 0x[0-9a-f]+
    | /(?:usr|home|root|tmp|work|etc|opt|var|proc)/\w | site-packages
    | \.(?:py|lua|sqlite|duckdb)\b
    | \b(?:duckdb|sqlalchemy|sqlite3|clickhouse|orjson|asyncio|redis\.|psycopg|pyarrow|sqlglot
      |uvloop|grpc\._|google\.protobuf|cygrpc|alembic|structlog)\b
    | \b[A-Z][A-Za-z]+(?:Error|Exception)\b
    | \b(?:Binder|Catalog|Parser|Conversion|Constraint)\ Error
    | \b(?:SELECT|INSERT\ INTO|UPDATE|DELETE\ FROM)\b.*\b(?:FROM|VALUES|SET|WHERE)\b
    | \b(?:web_events|api_requests|api_keys|flow_run_events|visit_corrections)\b
    | \bNoneType\b | \bobject\ has\ no\ attribute | unhashable | codec\ can't
    """,
    re.VERBOSE,
)
#: How many faults are worth a look.
_SHOWN = 20


def leaks_in(said: str, sent: bytes) -> list[str]:
    """Return what an answer tells of the inside, and did not get from its request."""
    words = sent.decode("utf-8", "replace")
    return [found for found in _INSIDE.findall(said) if found and found not in words]


class Answers:
    """Judges answers to malformed requests, and keeps the faults."""

    def __init__(self, allowed: frozenset[str]) -> None:
        self._allowed = allowed
        self.codes: Counter[str] = Counter()
        self.faults: list[str] = []

    @property
    def total(self) -> int:
        return self.codes.total()

    def judge(self, code: str, said: str, sent: bytes, about: str) -> None:
        """Hold one answer against the promise."""
        self.codes[code] += 1
        leaks = leaks_in(said, sent)
        if (code not in self._allowed or leaks) and len(self.faults) < _SHOWN:
            self.faults.append(f"{code} {leaks} {said[:400]} for {about}")
