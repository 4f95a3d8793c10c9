"""The event store on ClickHouse: a server, or chDB (ClickHouse in process) for tests."""
