"""Answers of batch queries as tables."""

from __future__ import annotations

from collections.abc import Sequence

from footfall.analytics.queries.answers import FaultyQuery, QueryAnswer
from footfall.analytics.rows_format import RowTable
from footfall.errors import InvalidQueryError, QueryFault


def answer_tables(answers: Sequence[QueryAnswer | FaultyQuery]) -> list[RowTable]:
    """Return a table for each parameter: labelled `parameter` if there are several, and `query` if
    there are several queries.

    Raises InvalidQueryError if a query is faulty or a parameter failed: a table has no place to
    say so, and must not look like an answer without rows.
    """
    several = sum(len(answer.data) for answer in answers) > 1
    faults: list[QueryFault] = []
    tables: list[RowTable] = []
    for place, answer in enumerate(answers):
        where = f"[{place}]." if len(answers) > 1 else ""
        if isinstance(answer, FaultyQuery):
            faults += [
                QueryFault(where + fault.field, fault.message, fault.suggestion)
                for fault in answer.error.faults
            ]
            continue
        for number, each in enumerate(answer.data):
            if each.error:
                faults.append(QueryFault(f"{where}parameters[{number}]", each.error))
                continue
            labels: tuple[tuple[str, str], ...] = ()
            if len(answers) > 1:
                labels += (("query", answer.query.id),)
            if several:
                labels += (("parameter", each.label),)
            tables.append(RowTable(labels, [column.name for column in each.columns], each.rows))
    if faults:
        raise InvalidQueryError(faults[0].message, faults=faults)
    return tables
