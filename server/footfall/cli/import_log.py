"""`footfall import-log`: access logs of web servers as page views or API requests."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from footfall.accounts.model import Site
from footfall.accounts.names import clean_host
from footfall.accounts.ports import AccountStore
from footfall.cli.accounts import account_store
from footfall.cli.log_targets import (
    ApplicationTarget,
    Delivered,
    Events,
    SiteTarget,
    Target,
    deliver,
)
from footfall.cli.options import data_option, emit, json_option
from footfall.errors import InvalidInputError, NotFoundError
from footfall.ingest.enrich.useragent import user_agent
from footfall.ingest.weblog import (
    EventIds,
    LogLine,
    Skip,
    api_request,
    lines_of,
    page_view,
    parse_line,
    why_no_page_view,
)
from footfall.settings import Settings

#: A batch is full at this many events or characters, well below a message's limits.
_BATCH_EVENTS = 2_000
_BATCH_CHARACTERS = 1_000_000
_BLOCK_BYTES = 256 * 1024
#: Rejected lines that are shown to a person.
_REJECTED_SHOWN = 5
_GZIP_MAGIC = b"\x1f\x8b"


@click.command(
    "import-log", epilog="Example: footfall import-log access.log access.log.1.gz --site SITE"
)
@click.argument("files", metavar="FILE…", nargs=-1, required=True)
@click.option(
    "--site", "site_id", metavar="ID", help="The site that the log is of.  [default: the only one]"
)
@click.option("--host", metavar="HOST", help="Host of the pages.  [default: the site's]")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["page-views", "api-requests"]),
    default="page-views",
    show_default=True,
    help="What the lines become.",
)
@click.option("--app", "application_id", metavar="ID", help="The application of API requests.")
@data_option
@json_option
def command(
    files: Sequence[str],
    site_id: str | None,
    host: str | None,
    kind: str,
    application_id: str | None,
    settings: Settings,
    *,
    as_json: bool,
) -> None:
    """Import access logs in common or combined format, as Apache and nginx write them.

    A FILE may be gzipped; - is standard input. Successful GETs of pages become page views, and the
    other lines are skipped and counted by reason. With --as api-requests, every line becomes an
    API request. To import a log again, or when it has grown, counts nothing twice.

    A server that runs on the data directory takes the events; without one, they are stored by this
    command itself.
    """
    if kind == "page-views" and application_id is not None:
        raise click.UsageError("--app goes with --as api-requests.")
    if kind == "api-requests" and (application_id is None or site_id or host):
        raise click.UsageError("API requests are an application's: --app ID, no --site or --host.")
    with account_store(settings) as accounts:
        reading = _Reading()
        target: Target
        if application_id is not None:
            application = accounts.get_application(application_id)
            if application is None:
                raise NotFoundError(f"There is no application {application_id!r}.")
            target = ApplicationTarget(application)
            event_of: _EventOf = api_request
        else:
            site = _site(accounts, site_id)
            target = SiteTarget(site)
            page_host = clean_host(host) if host else site.host
            event_of = _page_views(page_host, reading, count_bots=not as_json)
        with _progress(files, quiet=as_json) as moved:
            deliver(
                settings, accounts, target, reading.batches(files, event_of, moved), reading.note
            )
    if as_json:
        emit(reading.document(), as_json=True)
    else:
        _print(reading, kind)


#: Returns the event of a line with this id, or why there is none.
_EventOf = Callable[[LogLine, str], dict[str, Any] | Skip]


@dataclass
class _Reading:
    """Reads logs batch by batch, and keeps count of what becomes of their lines."""

    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    skipped: Counter[Skip] = field(default_factory=Counter)
    #: Events of bots among those that were read.
    bots: int = 0
    #: Where the first rejected lines are, and why they were.
    rejections: list[str] = field(default_factory=list)
    #: Where the events come from that were read but not yet noted.
    _places: deque[tuple[str, int]] = field(default_factory=deque)

    def batches(
        self, files: Sequence[str], event_of: _EventOf, moved: Callable[[int], None]
    ) -> Iterator[Events]:
        """Return the logs' events; `moved` is told of bytes that were read."""
        batch: list[dict[str, Any]] = []
        characters = 0
        for name in files:
            ids = EventIds()
            for number, text in enumerate(lines_of(_blocks(name, moved)), 1):
                line = parse_line(text)
                event = Skip.MALFORMED if line is None else event_of(line, ids.next(line, text))
                if isinstance(event, Skip):
                    self.skipped[event] += 1
                    continue
                self._places.append((name, number))
                batch.append(event)
                characters += len(text)
                if len(batch) >= _BATCH_EVENTS or characters >= _BATCH_CHARACTERS:
                    yield batch
                    batch, characters = [], 0
        if batch:
            yield batch

    def note(self, delivered: Delivered) -> None:
        """Note what became of the next events."""
        self.accepted += delivered.accepted
        self.duplicates += delivered.duplicates
        self.rejected += delivered.rejected
        places = [self._places.popleft() for _ in range(delivered.events)]
        for row in delivered.first_rejected[: _REJECTED_SHOWN - len(self.rejections)]:
            name, number = places[row.index]
            self.rejections.append(f"{name}, line {number}: {row.message}")

    def document(self) -> dict[str, Any]:
        """Return the result for programs."""
        return {
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "skipped": {
                reason.value: self.skipped[reason] for reason in Skip if self.skipped[reason]
            },
            "rejected": self.rejected,
        }


def _page_views(host: str, reading: _Reading, *, count_bots: bool) -> _EventOf:
    def event_of(line: LogLine, event_id: str) -> dict[str, Any] | Skip:
        reason = why_no_page_view(line)
        if reason is not None:
            return reason
        event = page_view(line, event_id, host)
        if count_bots:
            reading.bots += user_agent(event["user_agent"]).bot
        return event

    return event_of


def _site(accounts: AccountStore, site_id: str | None) -> Site:
    """Return the site that is named, or else the only one there is."""
    if site_id is not None:
        site = accounts.get_site(site_id)
        if site is None:
            raise NotFoundError(f"There is no site {site_id!r}.")
        return site
    sites = accounts.list_sites()
    if len(sites) == 1:
        return sites[0]
    if not sites:
        raise NotFoundError("There is no site yet; create one with `footfall site create`.")
    known = ", ".join(f"{site.id} ({site.host})" for site in sites[:10])
    raise click.UsageError(f"Say which site the log is of, with --site: {known}.")


class _Counted(io.RawIOBase):
    """A file that tells how many bytes are read of it."""

    def __init__(self, file: BinaryIO, moved: Callable[[int], None]) -> None:
        self._file = file
        self._moved = moved

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._moved(len(data))
        return len(data)


def _opened(name: str) -> BinaryIO:
    return sys.stdin.buffer if name == "-" else Path(name).open("rb")


def _blocks(name: str, moved: Callable[[int], None]) -> Iterator[bytes]:
    """Return a log's content, unpacked if it is gzipped, whatever its name; "-" is standard input.

    Raises InvalidInputError if it cannot be read.
    """
    shown = "Standard input" if name == "-" else name
    try:
        with (
            _opened(name) as source,
            io.BufferedReader(_Counted(source, moved)) as raw,
        ):
            packed = raw.peek(2)[:2] == _GZIP_MAGIC
            with gzip.open(raw) if packed else raw as file:
                while block := file.read(_BLOCK_BYTES):
                    yield block
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise InvalidInputError(f"{shown} is damaged: it cannot be unpacked to its end.") from None
    except OSError as error:
        raise InvalidInputError(f"{shown} cannot be read: {error.strerror}.") from None


@contextmanager
def _progress(files: Sequence[str], *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how many of the files' bytes have been read; gives what to tell it."""
    console = Console(stderr=True)
    total = None
    if "-" not in files:
        total = sum(Path(name).stat().st_size for name in files if Path(name).is_file())
    columns = (
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=quiet or not console.is_terminal
    ) as progress:
        task = progress.add_task("Importing", total=total)
        yield lambda count: progress.advance(task, count)


_SKIPPED = {
    Skip.MALFORMED: "not a log line",
    Skip.METHOD: "not a GET",
    Skip.ERROR: "errors",
    Skip.REDIRECT: "redirects",
    Skip.NOT_MODIFIED: "not modified",
    Skip.INFORMATIONAL: "informational",
    Skip.ASSET: "assets and files",
}


def _print(reading: _Reading, kind: str) -> None:
    """Print the result for people."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(justify="right")
    table.add_column()
    what = "page views" if kind == "page-views" else "API requests"
    table.add_row(f"{reading.accepted:,}", f"{what} accepted", style="green")
    table.add_row(f"{reading.duplicates:,}", "known already")
    for reason in Skip:
        if count := reading.skipped[reason]:
            table.add_row(f"{count:,}", f"skipped: {_SKIPPED[reason]}", style="dim")
    if reading.rejected:
        table.add_row(f"{reading.rejected:,}", "rejected", style="red")
    console = Console()
    console.print(table)
    if reading.bots:
        console.print(f"{reading.bots:,} of the page views are bots': marked, and never counted.")
    for line in reading.rejections:
        console.print(escape(line), soft_wrap=True, highlight=False)
