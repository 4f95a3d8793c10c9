"""The SQL that each engine gets; all of it is run, too."""

from __future__ import annotations

import pytest
from sqlalchemy import column, literal_column, select

from footfall.analytics.model import (
    Aggregation,
    ApiRequestField,
    Granularity,
    TimeseriesQuery,
)
from footfall.events import EventStore, statements
from footfall.events.clickhouse.driver import compile_sql as for_clickhouse
from footfall.events.dialect import exact_mean, exact_quantile, exact_sum, int_divide, shift_right
from footfall.events.duckdb.sql import compile_sql as for_duckdb
from tests.events.traffic import query

X = column("x")

GOLDEN = [
    (int_divide(X, 60), "((x) // 60)", "intDiv(`x`, 60)", [0, 0, 1, 2]),
    (shift_right(X, 4), "((x) >> 4)", "bitShiftRight(`x`, 4)", [0, 3, 3, 7]),
    (exact_sum(X), "sum(x)", "sum(toInt128(`x`))", [240]),
    (exact_mean(X), "avg(x)", "(toFloat64(sum(toInt128(`x`))) / count())", [60.0]),
    (
        exact_quantile(X, 29),
        "quantile_cont(x, 0.29)",
        "quantileExactInclusive(0.29)(`x`)",
        [51.33],
    ),
    (
        exact_quantile(X, 5),
        "quantile_cont(x, 0.05)",
        "quantileExactInclusive(0.05)(`x`)",
        [8.85],
    ),
]
#: The values of x in what follows.
VALUES = (0, 59, 61, 120)


@pytest.mark.parametrize(("construct", "duckdb", "clickhouse", "expected"), GOLDEN)
def test_constructs(
    store: EventStore, construct: object, duckdb: str, clickhouse: str, expected: list[float]
) -> None:
    statement = select(construct.label("y"))  # type: ignore[attr-defined]
    text, values = for_duckdb(statement)
    for number, value in enumerate(values, start=1):
        text = text.replace(f"${number}", str(value))
    assert text == f"SELECT {duckdb} AS y"
    assert for_clickhouse(statement) == f"SELECT {clickhouse} AS `y`"

    sql = text if type(store).__name__ == "DuckDBStore" else for_clickhouse(statement)
    numbers = " UNION ALL ".join(f"SELECT {value} AS x" for value in VALUES)
    rows = query(store, f"SELECT y FROM ({sql} FROM ({numbers}) AS n) AS m ORDER BY y")
    assert [row[0] for row in rows] == pytest.approx(expected, rel=1e-12)


def test_a_time_series() -> None:
    asked = TimeseriesQuery(
        "it's",
        600,
        1200,
        Granularity(60),
        Aggregation("percentile", 95),
        ApiRequestField.STATUS_CODE,
        ((ApiRequestField.URL, ("/a%",)), (ApiRequestField.STATUS_CODE, ("", "404"))),
    )
    text, values = for_duckdb(statements.timeseries(asked))
    assert " ".join(text.split()) == (
        "SELECT api_requests.status_code AS grp, "
        "((api_requests.ts_us - $1) // $2) AS bucket, "
        "quantile_cont(api_requests.response_us, 0.95) AS val FROM api_requests "
        "WHERE api_requests.application_id = $3 AND api_requests.ts_us >= $4 "
        "AND api_requests.ts_us < $5 AND api_requests.url IN ($6) "
        "AND (api_requests.status_code IN ($7) OR api_requests.status_code IS NULL) "
        "GROUP BY api_requests.status_code, ((api_requests.ts_us - $1) // $2) "
        "ORDER BY bucket"
    )
    assert values == [600_000_000, 60_000_000, "it's", 600_000_000, 1_200_000_000, "/a%", 404]
    assert " ".join(for_clickhouse(statements.timeseries(asked)).split()) == (
        "SELECT `api_requests`.`status_code` AS `grp`, "
        "intDiv(`api_requests`.`ts_us` - 600000000, 60000000) AS `bucket`, "
        "quantileExactInclusive(0.95)(`api_requests`.`response_us`) AS `val` FROM `api_requests` "
        "WHERE `api_requests`.`application_id` = 'it\\'s' "
        "AND `api_requests`.`ts_us` >= 600000000 AND `api_requests`.`ts_us` < 1200000000 "
        "AND `api_requests`.`url` IN ('/a%') "
        "AND (`api_requests`.`status_code` IN (404) OR `api_requests`.`status_code` IS NULL) "
        "GROUP BY `api_requests`.`status_code`, `bucket` ORDER BY `bucket`"
    )


def test_values_are_never_text_of_a_statement() -> None:
    hostile = "'; DROP TABLE x; -- \\' %(a)s :b $1 {c:String}"
    text, values = for_duckdb(select(literal_column("1")).where(X.in_([hostile])))
    assert hostile in values
    assert "DROP" not in text
    sql = for_clickhouse(select(literal_column("1")).where(X.in_([hostile])))
    assert "'\\'; DROP TABLE x; -- \\\\\\' %(a)s :b $1 {c:String}'" in sql
