"""The values that travel from a request to the event store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, ClassVar

from footfall.errors import InvalidInputError

#: The dedup key of an event that has no id: never a duplicate.
NO_KEY = bytes(16)

#: Events as they arrive: a list a field, `None` where a field is absent. All lists have the same
#: length; a field that no event has may be left out. Values have whatever type the sender gave
#: them; validation judges that. `columns.py` makes them from JSON documents.
RawColumns = Mapping[str, Sequence[Any]]

#: The medium of a page view that was reached from another page of the same site: it brings no
#: source of its own, and its source and detail are "" too.
INTERNAL_MEDIUM = ""


class EventTable(StrEnum):
    """The tables of the event store that take events."""

    API_REQUESTS = "api_requests"
    WEB_EVENTS = "web_events"
    #: What a workspace reports; states of runs, documents and triggers are made of their events.
    FLOW_RUN_EVENTS = "flow_run_events"
    AI_OPERATIONS = "ai_operations"
    CONVERSATIONS = "conversations"
    MESSAGES = "messages"
    DOCUMENT_EVENTS = "document_events"
    TRIGGER_EVENTS = "trigger_events"
    API_CALLS = "api_calls"


class WebEventKind(IntEnum):
    """The stored kinds of web events."""

    PAGEVIEW = 1
    HEARTBEAT = 2
    CUSTOM = 3


class Exclusion(IntEnum):
    """Why an event is kept out of every count; 0 is a counted event."""

    NONE = 0
    BOT = 1
    REFERRER_SPAM = 2


@dataclass(frozen=True, slots=True)
class EventBatch:
    """The valid events of one request: one tenant, one table, column by column.

    `columns` holds the table's own columns (see `events/tables.py`) except `seq`, the tenant's id,
    `received_us`, and the dedup columns, which the store fills in. `dedup_keys` has a 16-byte
    digest an event, NO_KEY for none; digests cover the tenant, so that tenants never meet.
    """

    table: EventTable
    tenant_id: str
    received_us: int
    columns: Mapping[str, list[Any]]
    dedup_keys: list[bytes]
    #: Pages seen by this batch, by page id (web events only).
    pages: Mapping[int, Page] = field(default_factory=dict)
    #: About how many characters its texts have, for bounding what waits for a commit.
    text_size: int = 0

    def __len__(self) -> int:
        return len(self.dedup_keys)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a site as last described by a page view; unknown texts are ""."""

    site_id: str
    host: str
    path: str
    title: str
    author: str
    pubdate: str
    og_image: str


@dataclass(frozen=True, slots=True)
class CommitOutcome:
    """What became of one batch: which of its events had been stored before, and where the others
    went.
    """

    duplicate_rows: Sequence[int]
    #: Sequence number of the last row stored by this commit; grows with every commit.
    last_seq: int


@dataclass(frozen=True, slots=True)
class Midnight:
    """The beginning of a local day of a site."""

    #: Days since the epoch.
    local_day: int
    ts_us: int


@dataclass(frozen=True, slots=True)
class Removal:
    """Web events of a site that are to be gone, with all that was counted of them: those of one
    visitor, or those before a local day. With neither it is all of them and the site itself, of
    which nothing is stored any more from then on.
    """

    site_id: str
    visitor_id: str | None = None
    before: Midnight | None = None

    @property
    def of_site(self) -> bool:
        """Whether the site itself is gone."""
        return self.visitor_id is None and self.before is None


@dataclass(frozen=True, slots=True)
class BrowserContext:
    """What the request itself says of a browser's events; believed instead of their own fields."""

    ip: str
    user_agent: str
    #: Value of the country header that the operator trusts; "" without one.
    country: str
    #: When the request arrived.
    received_us: int


@dataclass(frozen=True, slots=True)
class RejectedEvent:
    """An event that was not stored: its place in the batch, an UPPER_SNAKE reason, and a sentence
    for people.
    """

    index: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class IngestResult:
    """The answer to a batch."""

    accepted: int
    duplicates: int
    rejected: Sequence[RejectedEvent]


@dataclass(eq=False)
class InvalidEventsError(InvalidInputError):
    """A batch has no good event; `rejected` says of each what is wrong. Nothing was stored."""

    rejected: Sequence[RejectedEvent] = ()

    default_reason: ClassVar[str] = "INVALID_EVENTS"
