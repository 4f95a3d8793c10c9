"""All settings, and the only reader of the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from footfall.errors import InvalidInputError


def setting(name: str, default: Any, doc: str, *, empty_is_off: bool = False) -> Any:
    """Declare a setting: its environment variable, its default, and its meaning for the
    documentation. An empty variable is the default, but for those that it turns off.
    """
    metadata = {"env": name, "doc": doc, "empty_is_off": empty_is_off}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """What a deployment may set; each field is one environment variable."""

    data_dir: Path = setting(
        "FOOTFALL_DATA", Path("footfall-data"), "Directory of the embedded stores and of run files."
    )
    events_url: str = setting(
        "FOOTFALL_EVENTS_URL",
        "",
        "Event store: `duckdb:///PATH` or `clickhouse://USER:PASSWORD@HOST:PORT/DATABASE`. "
        "Empty: DuckDB in the data directory.",
    )
    accounts_url: str = setting(
        "FOOTFALL_ACCOUNTS_URL",
        "",
        "Accounts store: `sqlite:///PATH` or `postgresql+psycopg://…`. "
        "Empty: SQLite in the data directory.",
    )
    redis_url: str = setting(
        "FOOTFALL_REDIS_URL",
        "redis://127.0.0.1:6379/0",
        "Live state, rate limits, sessions and caches: `redis://`, `rediss://` or `unix://`, of "
        "Valkey or of Redis from version 7 on.",
    )
    grpc_listen: str = setting(
        "FOOTFALL_GRPC_LISTEN",
        "127.0.0.1:50051",
        "Addresses to serve gRPC on, separated by commas: `HOST:PORT` or `unix:PATH`.",
    )
    metrics_listen: str = setting(
        "FOOTFALL_METRICS_LISTEN",
        "127.0.0.1:9464",
        "Address of the Prometheus metrics; empty turns them off.",
        empty_is_off=True,
    )
    live_window_s: int = setting(
        "FOOTFALL_LIVE_WINDOW_SECONDS", 300, "Length of the live window, in seconds."
    )
    cache_s: int = setting(
        "FOOTFALL_CACHE_S",
        60,
        "How long what was read of a site's history is kept in Redis for the same question, in "
        "seconds; 0: not at all. It is never older than the last event.",
    )
    trusted_proxies: str = setting(
        "FOOTFALL_TRUSTED_PROXIES",
        "",
        "Networks (CIDR, separated by commas) whose forwarded client addresses are believed, "
        "besides unix sockets.",
    )
    authentication_per_minute: int = setting(
        "FOOTFALL_AUTHENTICATION_PER_MINUTE",
        30,
        "Calls a minute that one client address may make to sign in and out.",
    )
    public_per_minute: int = setting(
        "FOOTFALL_PUBLIC_PER_MINUTE",
        100,
        "Calls a minute that one client address may make without credentials, to public sites.",
    )
    custom_sql_events_max: int = setting(
        "FOOTFALL_CUSTOM_SQL_EVENTS_MAX",
        2_000_000,
        "Events that a custom query, structured or in SQL, may read.",
    )
    custom_sql_seconds: int = setting(
        "FOOTFALL_CUSTOM_SQL_SECONDS", 10, "How long a custom query may take, in seconds."
    )
    custom_sql_memory_mb: int = setting(
        "FOOTFALL_CUSTOM_SQL_MEMORY_MB",
        512,
        "Memory that a custom query may use, in MiB; what it reads may be three quarters of it.",
    )
    custom_sql_processes: int = setting(
        "FOOTFALL_CUSTOM_SQL_PROCESSES", 2, "Custom queries that run at the same time."
    )
    geo_database: str = setting(
        "FOOTFALL_GEO_DATABASE", "", "Path of an mmdb file for country and city; empty: none."
    )
    country_header: str = setting(
        "FOOTFALL_COUNTRY_HEADER",
        "",
        "Request header that a trusted proxy in front of the gateway sets to the visitor's country "
        "code; empty: none.",
    )
    queue_events_max: int = setting(
        "FOOTFALL_QUEUE_EVENTS_MAX",
        200_000,
        "Events that may wait for a commit before calls are refused.",
    )
    message_bytes_max: int = setting(
        "FOOTFALL_MESSAGE_BYTES_MAX", 8 * 1024 * 1024, "Largest request message, in bytes."
    )
    drain_s: float = setting(
        "FOOTFALL_DRAIN_SECONDS",
        10.0,
        "How long calls in flight may go on after SIGTERM, in seconds.",
    )
    log_level: str = setting("FOOTFALL_LOG_LEVEL", "info", "`debug`, `info`, `warning` or `error`.")
    duckdb_memory_mb: int = setting(
        "FOOTFALL_DUCKDB_MEMORY_MB", 384, "Memory that DuckDB may use, in MiB."
    )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Read the settings of `environ` (default: the process's), typed like their defaults.

        Raises InvalidInputError that names the variable if a value cannot be read.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for item in fields(cls):
            text = environ.get(item.metadata["env"])
            if text or (text is not None and item.metadata["empty_is_off"]):
                kind: type = type(item.default)
                try:
                    values[item.name] = kind(text)
                except ValueError:
                    raise InvalidInputError(
                        f"{item.metadata['env']} must be a {kind.__name__}, but is {text!r}."
                    ) from None
        return cls(**(values | overrides))

    @property
    def effective_events_url(self) -> str:
        """The event store's URL with the default filled in."""
        return self.events_url or f"duckdb:///{self.data_dir.absolute() / 'events.duckdb'}"

    @property
    def effective_accounts_url(self) -> str:
        """The accounts store's URL with the default filled in."""
        path = quote(str(self.data_dir.absolute() / "accounts.sqlite"))
        return self.accounts_url or f"sqlite:///{path}"


def reference() -> str:
    """Return the documentation of all settings, as docs/settings.md has it."""
    rows = []
    for item in fields(Settings):
        default = f"`{item.default}`" if str(item.default) else "empty"
        rows.append(f"| `{item.metadata['env']}` | {default} | {item.metadata['doc']} |")
    return "\n".join((*_REFERENCE_HEAD, *rows, ""))


_REFERENCE_HEAD = (
    "# Settings",
    "",
    "Environment variables; one that is empty has its default. Command-line options win over them.",
    "",
    "| variable | default | meaning |",
    "|---|---|---|",
)

if __name__ == "__main__":
    # `python -m footfall.settings > docs/settings.md` writes the reference anew.
    print(reference(), end="")  # noqa: T201  # this is its output
