"""From JSON documents to raw columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from footfall.ingest.model import RawColumns

#: The raw column of elements that are no object at all, `None` for those that are one. No field of
#: an event has an empty name.
NOT_AN_OBJECT = ""


def columns_of_documents(
    documents: Sequence[Any], fields: Collection[str], prefix: str = ""
) -> RawColumns:
    """Return the columns of parsed JSON documents; members that are no field are left out.

    Documents that are not objects come out as events that validation rejects. Columns are named
    like the fields, with the prefix.
    """
    columns: dict[str, Sequence[Any]] = {}
    if set(map(type, documents)) - {dict}:
        columns[NOT_AN_OBJECT] = [
            None if isinstance(document, dict) else _described(document) for document in documents
        ]
        documents = [document if isinstance(document, dict) else {} for document in documents]
    present: set[str] = set().union(*documents)
    for name in fields:
        if name in present:
            columns[prefix + name] = [document.get(name) for document in documents]
    if not columns:
        # Events without any known field still have to be counted, and judged.
        columns[prefix + next(iter(fields))] = [None] * len(documents)
    return columns


def _described(value: Any) -> str:
    """Return what a document is, as JSON calls it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "a text"
    return "an array" if isinstance(value, list) else "a number"
