"""The event store: append, scan, aggregate, on DuckDB or ClickHouse."""

from footfall.events.open import open_event_store, verify_event_store
from footfall.events.ports import EventStore, time_us

__all__ = ["EventStore", "open_event_store", "time_us", "verify_event_store"]
