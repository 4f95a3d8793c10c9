"""What the parts of a server know about themselves, as Prometheus's metrics."""

from __future__ import annotations

from footfall.events import EventStore
from footfall.events.sandbox import SandboxStats
from footfall.ingest.commit import GroupCommitter
from footfall.ingest.recording import CallRecorder
from footfall.rpc.admission import Admission
from footfall.rpc.health import Health
from footfall.rpc.metrics import Metrics


def publish(
    metrics: Metrics,
    committer: GroupCommitter,
    recorder: CallRecorder,
    admission: Admission,
    events: EventStore,
    health: Health,
) -> None:
    """Publish what the parts of the server know about themselves."""
    stats, calls = committer.stats, recorder.stats
    metrics.gauge(
        "footfall_queued_events",
        "Events that wait for a commit or are in one.",
        lambda: stats.queued_events,
    )

    def reads() -> int:
        # A store that is not there yet is busy with nothing.
        return events.reads() if health.up("events") else 0

    metrics.gauge("footfall_reads", "Reads that the event store is busy with.", reads)
    metrics.gauge(
        "footfall_queued_requests",
        "Requests that wait for a commit or are in one.",
        lambda: stats.queued_requests,
    )
    for name, help_text, read in (
        ("commits", "Commits to the event store that succeeded.", lambda: stats.commits),
        ("commit_seconds", "Time spent in commits.", lambda: stats.commit_seconds),
        ("events", "Events that were stored.", lambda: stats.events),
        ("duplicate_events", "Events that had been stored before.", lambda: stats.duplicates),
        (
            "failed_ingest_requests",
            "Ingest requests that the event store failed.",
            lambda: stats.failed_requests,
        ),
        (
            "refused_ingest_requests",
            "Ingest requests that were refused since too much waited.",
            lambda: stats.refused_requests,
        ),
        (
            "refused_calls",
            "Calls that were refused since too many were under way.",
            lambda: admission.refused,
        ),
        ("recorded_calls", "Calls of workspaces that were recorded.", lambda: calls.recorded),
        (
            "unrecorded_calls",
            "Calls of workspaces that were not recorded, since too many waited or the event store "
            "refused them.",
            lambda: calls.dropped,
        ),
    ):
        metrics.counter(f"footfall_{name}", help_text, read)
    for store in ("events", "accounts", "redis"):
        metrics.gauge(
            f"footfall_{store}_up",
            "Whether the store answered the last health check.",
            lambda store=store: float(health.up(store)),  # type: ignore[misc]  # the loop's value, bound
        )


def publish_custom_queries(metrics: Metrics, stats: SandboxStats) -> None:
    """Publish what becomes of custom queries."""
    for name, help_text, read in (
        ("answered", "Custom queries that were answered.", lambda: stats.answered),
        (
            "refused",
            "Custom queries that asked for too much, or came when too many waited.",
            lambda: stats.refused,
        ),
        (
            "failed",
            "Custom queries that ran out of time, whose caller left, or that the store failed.",
            lambda: stats.failed,
        ),
        ("seconds", "Time that custom queries took, in seconds.", lambda: stats.seconds),
    ):
        metrics.counter(f"footfall_custom_queries_{name}", help_text, read)
    metrics.gauge(
        "footfall_custom_queries_running", "Custom queries under way.", lambda: stats.running
    )
