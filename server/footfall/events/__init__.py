"""The event store: append, scan, aggregate, on DuckDB or ClickHouse."""

from footfall.events.open import load_event_engine, open_event_store, verify_event_store
from footfall.events.ports import EventStore, time_us

__all__ = ["EventStore", "load_event_engine", "open_event_store", "time_us", "verify_event_store"]
