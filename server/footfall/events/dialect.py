"""The constructs that engines write differently, each with one rendering an engine.

Everything else in a statement is plain SQLAlchemy Core. DuckDB is the reference: a rendering for
ClickHouse returns the same values, in the same types.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Double, literal_column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import FunctionElement

#: The names under which the engines' SQLAlchemy dialects go.
DUCKDB: Final = "duckdb"
CLICKHOUSE: Final = "clickhousedb"


class int_divide(FunctionElement[int]):  # noqa: N801 - functions have lower-case names in SQL
    """`int_divide(a, b)`: the quotient of two integers without its fraction; a >= 0, b > 0."""

    type = BigInteger()
    inherit_cache = True
    name = "int_divide"


class shift_right(FunctionElement[int]):  # noqa: N801
    """`shift_right(a, bits)`: a without its last bits, for integers a >= 0; a fast division."""

    type = BigInteger()
    inherit_cache = True
    name = "shift_right"


class exact_sum(FunctionElement[int]):  # noqa: N801
    """`exact_sum(x)`: the sum of integers in 128 bits, so that it cannot overflow."""

    type = BigInteger()
    inherit_cache = True
    name = "exact_sum"


class exact_mean(FunctionElement[float]):  # noqa: N801
    """`exact_mean(x)`: the sum of integers, exact, divided by their number."""

    type = Double()
    inherit_cache = True
    name = "exact_mean"


class quantile(FunctionElement[float]):  # noqa: N801
    """`quantile(x, literal)`: the exact quantile, linearly interpolated between neighbours.

    Build it with `exact_quantile`: engines want the level as a literal.
    """

    type = Double()
    inherit_cache = True
    name = "quantile"


class newest(FunctionElement[Any]):  # noqa: N801
    """`newest(x, at, seq, known)`: x of the last row by (at, seq) of those that are `known`; NULL
    where there is none.
    """

    inherit_cache = True
    name = "newest"


class contains(FunctionElement[bool]):  # noqa: N801
    """`contains(text, part)`: whether the text has the part in it, byte by byte."""

    type = Boolean()
    inherit_cache = True
    name = "contains"


class starts_with(FunctionElement[bool]):  # noqa: N801
    """`starts_with(text, part)`: whether the text begins with the part, byte by byte."""

    type = Boolean()
    inherit_cache = True
    name = "starts_with"


class is_like(FunctionElement[bool]):  # noqa: N801
    """`is_like(text, pattern)`: SQL's LIKE, where % is any text and _ any character, and nothing
    else is special.
    """

    type = Boolean()
    inherit_cache = True
    name = "is_like"


class text_hash(FunctionElement[int]):  # noqa: N801
    """`text_hash(text)`: 63 bits that tell texts apart, the same for a text in all statements of an
    engine; other engines have others.
    """

    type = BigInteger()
    inherit_cache = True
    name = "text_hash"


def exact_quantile(column: ColumnElement[Any], percent: int) -> quantile:
    """Return the quantile of a column at a whole percentage from 1 to 99."""
    return quantile(column, literal_column(f"{percent / 100:.2f}"))


def _arguments(element: FunctionElement[Any], compiler: SQLCompiler, **kw: Any) -> list[str]:
    return [compiler.process(clause, **kw) for clause in element.clauses]


@compiles(int_divide, DUCKDB)
def _int_divide_duckdb(element: int_divide, compiler: SQLCompiler, **kw: Any) -> str:
    a, b = _arguments(element, compiler, **kw)
    return f"(({a}) // {b})"


@compiles(int_divide, CLICKHOUSE)
def _int_divide_clickhouse(element: int_divide, compiler: SQLCompiler, **kw: Any) -> str:
    a, b = _arguments(element, compiler, **kw)
    return f"intDiv({a}, {b})"


@compiles(shift_right, DUCKDB)
def _shift_right_duckdb(element: shift_right, compiler: SQLCompiler, **kw: Any) -> str:
    a, bits = _arguments(element, compiler, **kw)
    return f"(({a}) >> {bits})"


@compiles(shift_right, CLICKHOUSE)
def _shift_right_clickhouse(element: shift_right, compiler: SQLCompiler, **kw: Any) -> str:
    a, bits = _arguments(element, compiler, **kw)
    return f"bitShiftRight({a}, {bits})"


@compiles(exact_sum, DUCKDB)
def _exact_sum_duckdb(element: exact_sum, compiler: SQLCompiler, **kw: Any) -> str:
    (x,) = _arguments(element, compiler, **kw)
    return f"sum({x})"


@compiles(exact_sum, CLICKHOUSE)
def _exact_sum_clickhouse(element: exact_sum, compiler: SQLCompiler, **kw: Any) -> str:
    (x,) = _arguments(element, compiler, **kw)
    return f"sum(toInt128({x}))"


@compiles(exact_mean, DUCKDB)
def _exact_mean_duckdb(element: exact_mean, compiler: SQLCompiler, **kw: Any) -> str:
    (x,) = _arguments(element, compiler, **kw)
    return f"avg({x})"


@compiles(exact_mean, CLICKHOUSE)
def _exact_mean_clickhouse(element: exact_mean, compiler: SQLCompiler, **kw: Any) -> str:
    # avg() sums 64-bit integers in 64 bits and wraps around.
    (x,) = _arguments(element, compiler, **kw)
    return f"(toFloat64(sum(toInt128({x}))) / count())"


@compiles(quantile, DUCKDB)
def _quantile_duckdb(element: quantile, compiler: SQLCompiler, **kw: Any) -> str:
    x, level = _arguments(element, compiler, **kw)
    return f"quantile_cont({x}, {level})"


@compiles(quantile, CLICKHOUSE)
def _quantile_clickhouse(element: quantile, compiler: SQLCompiler, **kw: Any) -> str:
    x, level = _arguments(element, compiler, **kw)
    return f"quantileExactInclusive({level})({x})"


@compiles(newest, DUCKDB)
def _newest_duckdb(element: newest, compiler: SQLCompiler, **kw: Any) -> str:
    # By one number of 128 bits, which takes two thirds of the time that a pair takes.
    x, at, seq, known = _arguments(element, compiler, **kw)
    return f"arg_max({x}, ({at})::HUGEINT * 18446744073709551616 + {seq}) FILTER ({known})"


@compiles(newest, CLICKHOUSE)
def _newest_clickhouse(element: newest, compiler: SQLCompiler, **kw: Any) -> str:
    x, at, seq, known = _arguments(element, compiler, **kw)
    return f"argMaxOrNullIf({x}, ({at}, {seq}), {known})"


@compiles(contains, DUCKDB)
def _contains_duckdb(element: contains, compiler: SQLCompiler, **kw: Any) -> str:
    text, part = _arguments(element, compiler, **kw)
    return f"contains({text}, {part})"


@compiles(contains, CLICKHOUSE)
def _contains_clickhouse(element: contains, compiler: SQLCompiler, **kw: Any) -> str:
    text, part = _arguments(element, compiler, **kw)
    return f"(position({text}, {part}) > 0)"


@compiles(starts_with, DUCKDB)
def _starts_with_duckdb(element: starts_with, compiler: SQLCompiler, **kw: Any) -> str:
    text, part = _arguments(element, compiler, **kw)
    return f"starts_with({text}, {part})"


@compiles(starts_with, CLICKHOUSE)
def _starts_with_clickhouse(element: starts_with, compiler: SQLCompiler, **kw: Any) -> str:
    text, part = _arguments(element, compiler, **kw)
    return f"startsWith({text}, {part})"


@compiles(is_like, DUCKDB)
def _is_like_duckdb(element: is_like, compiler: SQLCompiler, **kw: Any) -> str:
    text, pattern = _arguments(element, compiler, **kw)
    return f"({text} LIKE {pattern})"


@compiles(is_like, CLICKHOUSE)
def _is_like_clickhouse(element: is_like, compiler: SQLCompiler, **kw: Any) -> str:
    # A backslash takes the meaning from what comes after it here.
    text, pattern = _arguments(element, compiler, **kw)
    return f"like({text}, replaceAll({pattern}, '\\\\', '\\\\\\\\'))"


@compiles(text_hash, DUCKDB)
def _text_hash_duckdb(element: text_hash, compiler: SQLCompiler, **kw: Any) -> str:
    (text,) = _arguments(element, compiler, **kw)
    return f"(hash({text}) >> 1)::BIGINT"


@compiles(text_hash, CLICKHOUSE)
def _text_hash_clickhouse(element: text_hash, compiler: SQLCompiler, **kw: Any) -> str:
    (text,) = _arguments(element, compiler, **kw)
    return f"toInt64(bitShiftRight(sipHash64({text}), 1))"
