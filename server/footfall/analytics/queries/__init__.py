"""Batch queries: questions by name about the web events of a site, many of them at once."""
