"""The composition root: the only module that knows every layer.

`serve` runs the gRPC server until a signal; `open_ingest` is the way in without a server.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import structlog

from footfall.accounts.clients import ClientSubjects
from footfall.accounts.key_use import KeyUse
from footfall.accounts.management import AccountManager
from footfall.accounts.model import Site
from footfall.accounts.ports import AccountStore
from footfall.accounts.salts import SaltCache
from footfall.accounts.service import Authenticator
from footfall.accounts.sessions import Sessions
from footfall.accounts.sql import open_account_store
from footfall.accounts.usage import UsageService
from footfall.analytics.cached_history import CachedHistory
from footfall.analytics.charts import ChartsService
from footfall.analytics.custom.service import CustomQueryService
from footfall.analytics.engagement import EngagementService
from footfall.analytics.export import ExportService
from footfall.analytics.metrics.pricing import PriceList
from footfall.analytics.metrics.service import MetricsService
from footfall.analytics.overview import OverviewService
from footfall.analytics.pace import PaceService
from footfall.analytics.queries.service import QueryService
from footfall.analytics.realtime import RealtimeService
from footfall.analytics.shared_reads import SharedReads
from footfall.analytics.timeseries import TimeseriesService
from footfall.analytics.web_export import WebExportService
from footfall.errors import FootfallError, UnavailableError
from footfall.events import EventStore, load_event_engine, open_event_store
from footfall.events.sandbox import EventSandbox, SandboxLimits
from footfall.ingest.commit import GroupCommitter
from footfall.ingest.enrich.geo import MmdbGeo, NoGeo
from footfall.ingest.enrich.useragent import warm_up
from footfall.ingest.model import Removal
from footfall.ingest.ports import GeoSource, LiveSink
from footfall.ingest.recording import CallRecorder
from footfall.ingest.removals import Forget, Removals
from footfall.ingest.service import IngestService
from footfall.lifecycle import Background, Deferred, is_embedded
from footfall.live.cache import RedisCache
from footfall.live.connection import RedisConnection
from footfall.live.limiter import RedisRateLimiter
from footfall.live.pump import LivePump
from footfall.live.sessions import RedisSessionStore
from footfall.live.state import LiveStateStore
from footfall.monitoring import publish, publish_custom_queries
from footfall.rpc.access import Access
from footfall.rpc.accounts import AccountsServicer
from footfall.rpc.admission import Admission
from footfall.rpc.chain import build_chain
from footfall.rpc.charts import ChartsServicer
from footfall.rpc.custom_queries import CustomQueryServicer
from footfall.rpc.export import ExportServicer
from footfall.rpc.health import Health
from footfall.rpc.ingest import IngestServicer
from footfall.rpc.limits import RateLimit
from footfall.rpc.metrics import Metrics
from footfall.rpc.metrics_service import MetricsServicer
from footfall.rpc.pace import PaceServicer
from footfall.rpc.peers import Peers, parse_networks
from footfall.rpc.queries import QueryServicer
from footfall.rpc.realtime import RealtimeServicer
from footfall.rpc.recording import Record
from footfall.rpc.server import RpcServer
from footfall.rpc.service_status import StatusServicer
from footfall.rpc.services import PACKAGE
from footfall.rpc.sessions import SessionServicer
from footfall.rpc.timeseries import TimeseriesServicer
from footfall.rpc.usage import UsageServicer
from footfall.settings import Settings

log = structlog.get_logger("footfall.app")

_PROBE_S = 1.0
#: How long orders that are carried out are kept for other servers.
_KEEP_ORDERS_S = 60.0

#: What each service needs, by the names of the probes.
_NEEDS = {
    "IngestService": ("events",),
    "TimeseriesService": ("events",),
    "ExportService": ("events",),
    "RealtimeService": ("redis",),
    "ChartsService": ("events",),
    "PaceService": ("events",),
    "MetricsService": ("events",),
    "AccountsService": ("accounts",),
    "SessionService": ("accounts", "redis"),
    "QueryService": ("events",),
    "CustomQueryService": ("events",),
    "UsageService": ("accounts", "redis"),
    "StatusService": (),
}


@contextmanager
def data_lock(data_dir: Path) -> Iterator[Path]:
    """Hold the data directory, and give its `run` directory.

    Raises UnavailableError if another process serves from it or writes to it. The lock goes with
    the process that holds it, however that ends.
    """
    run = data_dir.absolute() / "run"
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = os.open(run / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UnavailableError(
            f"{data_dir} cannot be used as a data directory: {error.strerror}. "
            "Set FOOTFALL_DATA to one that can be written to."
        ) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
            raise UnavailableError(
                f"Another process ({holder}) uses the data directory {data_dir}. Stop it first, "
                "or set FOOTFALL_DATA to another directory."
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield run
    finally:
        os.close(lock)


@dataclass(frozen=True)
class Way:
    """The way in, opened in this process."""

    ingest: IngestService
    accounts: AccountStore


@asynccontextmanager
async def open_ingest(settings: Settings) -> AsyncIterator[Way]:
    """Open the stores and give the ingest service, for a process that is not a server.

    Live state is not moved: a server rebuilds it from the events when it starts. Raises
    UnavailableError if a server holds the data directory or a store does not answer.
    """
    with data_lock(settings.data_dir):
        accounts = await asyncio.to_thread(open_account_store, settings.effective_accounts_url)
        try:
            events = await asyncio.to_thread(_open_events, settings)
            try:
                committer = GroupCommitter(events, queue_events_max=settings.queue_events_max)
                committer.start()
                try:
                    yield Way(
                        IngestService(committer, SaltCache(accounts), _geo(settings), PriceList()),
                        accounts,
                    )
                finally:
                    await committer.drain()
            finally:
                await asyncio.to_thread(events.close)
        finally:
            await asyncio.to_thread(accounts.close)


async def carry_out_removals(settings: Settings) -> None:
    """Carry out all orders to remove events in this process, down to the bytes of the event
    store's file. Orders to remove sites stay, for live state: the next server forgets that.

    Raises UnavailableError if a server holds the data directory or a store does not answer.
    """
    with data_lock(settings.data_dir):
        accounts = await asyncio.to_thread(open_account_store, settings.effective_accounts_url)
        try:
            events = await asyncio.to_thread(_open_events, settings)
            try:
                for order in await asyncio.to_thread(accounts.removal_orders):
                    removal = Removal(order.site_id, order.visitor_id)
                    await asyncio.to_thread(events.remove, removal)
                    if not removal.of_site:
                        await asyncio.to_thread(accounts.finish_removal, order.id)
                await asyncio.to_thread(events.scrub)
            finally:
                await asyncio.to_thread(events.close)
        finally:
            await asyncio.to_thread(accounts.close)


def _open_events(settings: Settings) -> EventStore:
    return open_event_store(settings.effective_events_url, memory_mb=settings.duckdb_memory_mb)


def _geo(settings: Settings) -> GeoSource:
    return MmdbGeo(Path(settings.geo_database)) if settings.geo_database else NoGeo()


def preload(settings: Settings) -> None:
    """Load what a server loads when it first needs it, so that one that is forked starts at once.

    Opens no store: another process may be serving from them.
    """
    gc.freeze()  # what is imported stays, and takes long to look through
    load_event_engine(settings.effective_events_url)
    warm_up()
    PriceList().load()
    _keep_what_is()


def _keep_what_is() -> None:
    """Spare the garbage collector all that is there, which stays.

    To look through it is a pause of a tenth of a second, every few seconds.
    """
    gc.collect()
    gc.freeze()


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    A second signal ends the process at once. Raises InvalidInputError for settings that cannot be
    used, and UnavailableError if the data directory is in use.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    async with running(settings):
        _keep_what_is()
        await stop.wait()


@dataclass(frozen=True)
class Running:
    """A server that serves."""

    #: Where it listens, as bound: `HOST:PORT` or `unix:PATH`.
    addresses: list[str]
    #: Port of the metrics; 0 if they are off.
    metrics_port: int
    server: RpcServer
    metrics: Metrics


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """Run a server for as long as the block lasts; drain it at the end."""
    geo = _geo(settings)
    peers = Peers(parse_networks(settings.trusted_proxies), settings.country_header)
    async with contextlib.AsyncExitStack() as stack:
        run = stack.enter_context(data_lock(settings.data_dir))
        background = Background()
        stack.push_async_callback(background.stop)

        accounts, events = await _open_stores(settings, stack, background)
        redis = RedisConnection(settings.redis_url)
        stack.push_async_callback(redis.aclose)
        live = LiveStateStore(redis, settings.live_window_s)
        pump = LivePump(live, events, lambda: events.last_seq(_PROBE_S), _zones(accounts))
        stack.push_async_callback(pump.close)
        pump.start()

        committer = _committer(events, pump, settings, stack)
        recorder = _recorder(committer, stack, background)

        authenticator, sessions = _callers(accounts, redis, stack, background)

        metrics = Metrics()
        health = _health(events, accounts, redis, stack)
        publish(metrics, committer, recorder, admission := Admission(), events, health)
        draining = asyncio.Event()
        cache = _cache(redis, settings)
        history = CachedHistory(events, cache)
        salts = _salts(accounts, background)
        queries = QueryService(events, events.history_version, SharedReads(live))
        removals = _removals(accounts, committer, settings, [pump, cache], queries)
        background.start(removals.run())
        rate_limit, usage = _allowances(redis, peers, salts, settings)
        prices = _prices(background)
        ingest = IngestService(committer, salts, geo, prices)
        server = RpcServer(
            {
                "IngestService": IngestServicer(ingest, peers),
                "TimeseriesService": TimeseriesServicer(TimeseriesService(events)),
                "ExportService": ExportServicer(ExportService(events), WebExportService(events)),
                "RealtimeService": RealtimeServicer(
                    RealtimeService(SharedReads(live), settings.live_window_s), draining
                ),
                "ChartsService": ChartsServicer(
                    OverviewService(history), ChartsService(history), EngagementService(history)
                ),
                "PaceService": PaceServicer(PaceService(history)),
                "MetricsService": MetricsServicer(MetricsService(events, prices)),
                "AccountsService": _administration(accounts, removals, stack),
                "SessionService": SessionServicer(sessions),
                "QueryService": QueryServicer(queries, accounts.account_sites),
                "CustomQueryService": _custom_queries(events, settings, metrics, stack),
                "UsageService": UsageServicer(usage),
                "StatusService": StatusServicer(health),
            },
            build_chain(
                admission,
                Access(authenticator, sessions),
                rate_limit,
                metrics,
                Record(recorder),
                message_bytes_max=settings.message_bytes_max,
                debug=settings.log_level.lower() == "debug",
            ),
            health,
            metrics,
            message_bytes_max=settings.message_bytes_max,
        )
        metrics_port = 0
        if settings.metrics_listen:
            metrics_port = stack.enter_context(_metrics_listener(metrics, settings.metrics_listen))
        addresses = server.listen([part.strip() for part in settings.grpc_listen.split(",")])
        await health.probe()
        background.start(health.watch())
        await server.start()
        # Probes end before the stores that they ask.
        stack.push_async_callback(background.stop)
        stack.push_async_callback(server.drain, draining, settings.drain_s)
        stack.enter_context(_announced(run, addresses, metrics_port))
        log.info("serving", grpc=addresses, metrics_port=metrics_port, pid=os.getpid())
        try:
            yield Running(addresses, metrics_port, server, metrics)
        finally:
            log.info("draining")
    log.info("stopped")


def _committer(
    events: EventStore, pump: LivePump, settings: Settings, stack: contextlib.AsyncExitStack
) -> GroupCommitter:
    committer = GroupCommitter(
        events, cast("LiveSink", pump), queue_events_max=settings.queue_events_max
    )
    stack.push_async_callback(committer.drain)
    committer.start()
    return committer


def _prices(background: Background) -> PriceList:
    prices = PriceList()
    background.start(asyncio.to_thread(prices.load))
    return prices


def _administration(
    accounts: AccountStore, removals: Removals, stack: contextlib.AsyncExitStack
) -> AccountsServicer:
    administration = AccountsServicer(AccountManager(accounts), removals)
    stack.callback(administration.close)
    return administration


def _salts(accounts: AccountStore, background: Background) -> SaltCache:
    salts = SaltCache(accounts)
    background.start(salts.run())
    return salts


def _removals(
    accounts: AccountStore,
    committer: GroupCommitter,
    settings: Settings,
    remembering: Sequence[LivePump | RedisCache | None],
    queries: QueryService,
) -> Removals:
    """Make what removes events, and makes everything that remembers them forget them."""

    async def forget_counts(_: Removal) -> None:
        queries.forget()

    forget: list[Forget] = [memory.forget for memory in remembering if memory is not None]
    # Where several servers may be, all of them are to see an order.
    keep_s = 0.0 if is_embedded(settings.effective_events_url) else _KEEP_ORDERS_S
    return Removals(accounts, committer, [*forget, forget_counts], keep_s=keep_s)


def _recorder(
    committer: GroupCommitter, stack: contextlib.AsyncExitStack, background: Background
) -> CallRecorder:
    """Record workspaces' calls, to the last one before the committer drains."""
    recorder = CallRecorder(committer)
    stack.push_async_callback(recorder.flush)
    background.start(recorder.run())
    return recorder


async def _open_stores(
    settings: Settings, stack: contextlib.AsyncExitStack, background: Background
) -> tuple[AccountStore, EventStore]:
    """Open the stores until the end of the stack; those that are servers may come later."""
    accounts = Deferred(
        settings.effective_accounts_url,
        lambda: open_account_store(settings.effective_accounts_url),
    )
    events = Deferred(settings.effective_events_url, lambda: _open_events(settings))
    stack.push_async_callback(accounts.close)
    await accounts.start(background)
    stack.push_async_callback(events.close)
    await events.start(background)
    return accounts.store, events.store


def _callers(
    accounts: AccountStore,
    redis: RedisConnection,
    stack: contextlib.AsyncExitStack,
    background: Background,
) -> tuple[Authenticator, Sessions]:
    """Make what tells who calls, until the end of the stack."""
    key_use = KeyUse(accounts)
    stack.push_async_callback(key_use.flush)
    background.start(key_use.run())
    authenticator = Authenticator(accounts, key_use=key_use)
    stack.callback(authenticator.close)
    sessions = Sessions(accounts, RedisSessionStore(redis))
    stack.callback(sessions.close)
    return authenticator, sessions


def _allowances(
    redis: RedisConnection, peers: Peers, salts: SaltCache, settings: Settings
) -> tuple[RateLimit, UsageService]:
    """Make what spends allowances, and what tells of them."""
    limiter = RedisRateLimiter(redis)
    rate_limit = RateLimit(
        limiter,
        peers,
        ClientSubjects(salts),
        authentication_per_minute=settings.authentication_per_minute,
        public_per_minute=settings.public_per_minute,
    )
    return rate_limit, UsageService(limiter)


def _custom_queries(
    events: EventStore, settings: Settings, metrics: Metrics, stack: contextlib.AsyncExitStack
) -> CustomQueryServicer:
    """Make what runs custom queries, and publish what becomes of them."""
    limits = SandboxLimits(
        events_max=settings.custom_sql_events_max,
        bytes_max=settings.custom_sql_memory_mb * 1024 * 1024 * 3 // 4,
        seconds=settings.custom_sql_seconds,
        memory_mb=settings.custom_sql_memory_mb,
        processes=settings.custom_sql_processes,
    )
    sandbox = EventSandbox(events, limits)
    stack.callback(sandbox.close)
    publish_custom_queries(metrics, sandbox.stats)
    return CustomQueryServicer(CustomQueryService(sandbox))


def _cache(redis: RedisConnection, settings: Settings) -> RedisCache | None:
    return RedisCache(redis, settings.cache_s) if settings.cache_s > 0 else None


def _health(
    events: EventStore,
    accounts: AccountStore,
    redis: RedisConnection,
    stack: contextlib.AsyncExitStack,
) -> Health:
    # One of its own: a store that hangs would take all of those that are there for everybody.
    thread = ThreadPoolExecutor(1, thread_name_prefix="accounts-probe")
    stack.callback(thread.shutdown, wait=False, cancel_futures=True)

    async def probe_events() -> None:
        await events.ping(_PROBE_S)

    async def probe_accounts() -> None:
        await asyncio.get_running_loop().run_in_executor(thread, accounts.ping)

    return Health(
        {"events": probe_events, "accounts": probe_accounts, "redis": redis.ping},
        {f"{PACKAGE}.{service}": needs for service, needs in _NEEDS.items()},
    )


def _zones(accounts: AccountStore) -> Callable[[str], Any]:
    async def zone(site_id: str) -> str | None:
        site: Site | None = await asyncio.to_thread(accounts.get_site, site_id)
        return site.timezone if site is not None else None

    return zone


@contextmanager
def _metrics_listener(metrics: Metrics, listen: str) -> Iterator[int]:
    host, _, port = listen.rpartition(":")
    try:
        listener = metrics.serve(host.strip("[]"), int(port))
        bound = listener.__enter__()
    except (OSError, ValueError):
        raise FootfallError(
            f"Cannot serve the metrics on {listen}; set FOOTFALL_METRICS_LISTEN to another "
            "HOST:PORT, or to nothing.",
            "INVALID_SETTING",
        ) from None
    try:
        yield bound
    finally:
        listener.__exit__(None, None, None)


@contextmanager
def _announced(run: Path, addresses: list[str], metrics_port: int) -> Iterator[None]:
    """Say in `run/server.json` who serves where, for as long as it is so."""
    path = run / "server.json"
    document = {"pid": os.getpid(), "grpc": addresses[0], "metrics": metrics_port}
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(document), encoding="utf-8")
    temporary.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
