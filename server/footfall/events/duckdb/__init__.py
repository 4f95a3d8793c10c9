"""The event store on DuckDB, embedded in the server's process."""
