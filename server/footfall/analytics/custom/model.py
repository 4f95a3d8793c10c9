"""What custom queries are made of, and what they need of the stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

#: A value in an answer, or of a parameter.
Cell = str | int | float | bool | None

#: Rows that an answer may have.
ROWS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Statement:
    """A SELECT that was found harmless, as it is to be run.

    Column and table names in it are quoted; it names no table but `views` and those that it
    makes itself.
    """

    sql: str
    #: The views that it names.
    views: tuple[str, ...]
    #: The columns of those views that it names, all of them for a star.
    columns: frozenset[str]
    #: Values of its named parameters.
    parameters: Mapping[str, Cell] = field(default_factory=dict)
    #: The names that come from the caller's own text.
    identifiers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SandboxQuery:
    """A statement, and the events that it may see."""

    site_id: str
    #: The zone of local times.
    timezone: str
    statement: Statement
    #: Start and end of the time, in microseconds since the epoch; the end is left out. None: open.
    start_us: int | None = None
    end_us: int | None = None
    rows_max: int = ROWS_MAX


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """A column of an answer."""

    name: str
    #: `text`, `integer`, `number`, `boolean`, `timestamp` or `date`.
    type: str


@dataclass(frozen=True, slots=True)
class SandboxAnswer:
    """What a statement returned."""

    columns: Sequence[ResultColumn]
    rows: Sequence[Sequence[Cell]]
    #: Whether there are more rows than were asked for.
    truncated: bool
    #: Events that the statement could see.
    rows_read: int
    #: How long it took, reading included.
    execution_ms: float


class Sandbox(Protocol):
    """Runs statements where nothing but one website's events can be reached."""

    async def run(self, query: SandboxQuery, timeout_s: float) -> SandboxAnswer:
        """Return the rows of a statement, at most `rows_max`.

        Raises InvalidInputError (QUERY_TOO_COMPLEX) if it has to read too many events or takes
        too much memory, and InvalidInputError (VALIDATION_ERROR) if it does not fit its columns;
        otherwise as EventReader.
        """
