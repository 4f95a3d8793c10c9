"""Queries that callers put together themselves: structured ones, and SQL."""
