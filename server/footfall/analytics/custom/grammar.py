"""What SQL may be made of: everything that is not listed here is refused.

Nodes are listed with the parts that they may have, since a part can hide what is no node of its
own: a sample, a lock, a hint, the method of a join.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlglot import exp

Node = type[exp.Expr]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: The nodes that make up a statement, and which of their parts may be filled.
STRUCTURE: Final[Mapping[Node, frozenset[str]]] = {
    node: _words(parts)
    for node, parts in (
        (exp.Select, "expressions from_ where group having order limit offset distinct joins "
                     "with_ qualify"),
        (exp.Union, "this expression distinct with_ order limit offset"),
        (exp.Except, "this expression distinct with_ order limit offset"),
        (exp.Intersect, "this expression distinct with_ order limit offset"),
        (exp.From, "this"),
        (exp.Join, "this on using side kind"),
        (exp.Where, "this"),
        (exp.Group, "expressions all"),
        (exp.Having, "this"),
        (exp.Qualify, "this"),
        (exp.Order, "expressions"),
        (exp.Ordered, "this desc nulls_first"),
        (exp.Limit, "expression"),
        (exp.Offset, "expression"),
        (exp.Distinct, "expressions on"),
        (exp.With, "expressions"),
        (exp.CTE, "this alias"),
        (exp.Subquery, "this alias"),
        (exp.Table, "this alias"),
        (exp.TableAlias, "this columns"),
        (exp.Column, "this table"),
        (exp.Identifier, "this quoted"),
        (exp.Alias, "this alias"),
        (exp.Star, ""),
        (exp.Paren, "this"),
        (exp.Tuple, "expressions"),
        (exp.Literal, "this is_string"),
        (exp.Boolean, "this"),
        (exp.Null, ""),
        (exp.Placeholder, "this"),
        (exp.Var, "this"),
        (exp.Interval, "this unit"),
        (exp.In, "this expressions query"),
        (exp.Between, "this low high"),
        (exp.Exists, "this"),
        (exp.Escape, "this expression"),
        (exp.Cast, "this to"),
        (exp.TryCast, "this to safe"),
        (exp.DataType, "this expressions nested"),
        (exp.DataTypeParam, "this"),
        (exp.Case, "this ifs default"),
        (exp.If, "this true false"),
        (exp.Window, "this partition_by order spec over"),
        (exp.WindowSpec, "kind start start_side end end_side"),
        (exp.IgnoreNulls, "this"),
        (exp.Filter, "this expression"),
        (exp.Anonymous, "this expressions"),
        (exp.JSONPath, "expressions"),
        (exp.JSONPathRoot, ""),
        (exp.JSONPathKey, "this"),
        (exp.JSONPathSubscript, "this"),
    )
}  # fmt: skip

#: Operators and functions, with whatever parts: those are nodes again, flags, or left out.
FUNCTIONS: Final[frozenset[Node]] = frozenset(
    {
        # Operators.
        exp.And, exp.Or, exp.Not, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is,
        exp.NullSafeEQ, exp.NullSafeNEQ, exp.Like, exp.ILike, exp.Add, exp.Sub, exp.Mul, exp.Div,
        exp.IntDiv, exp.Mod, exp.Neg, exp.DPipe,
        # Aggregates.
        exp.Count, exp.CountIf, exp.Sum, exp.Avg, exp.Min, exp.Max, exp.Median, exp.Stddev,
        exp.StddevPop, exp.StddevSamp, exp.Variance, exp.VariancePop, exp.PercentileCont,
        exp.PercentileDisc, exp.ApproxDistinct, exp.AnyValue, exp.ArgMax, exp.ArgMin, exp.Mode,
        # Window functions.
        exp.RowNumber, exp.Rank, exp.DenseRank, exp.PercentRank, exp.CumeDist, exp.Ntile, exp.Lag,
        exp.Lead, exp.FirstValue, exp.LastValue,
        # Values.
        exp.Coalesce, exp.Nullif, exp.Greatest, exp.Least,
        # Numbers.
        exp.Abs, exp.Round, exp.Floor, exp.Ceil, exp.Sqrt, exp.Ln, exp.Log, exp.Exp, exp.Pow,
        exp.Sign,
        # Texts.
        exp.Lower, exp.Upper, exp.Length, exp.Trim, exp.Substring, exp.Left, exp.Right,
        exp.Replace, exp.SplitPart, exp.StrPosition, exp.Concat, exp.StartsWith, exp.EndsWith,
        exp.Contains, exp.RegexpLike,
        # Times.
        exp.TimestampTrunc, exp.DateTrunc, exp.Extract, exp.DateDiff, exp.Year, exp.Quarter,
        exp.Month, exp.Week, exp.Day, exp.DayOfWeek, exp.DayOfWeekIso, exp.Hour, exp.Minute,
        exp.Second, exp.Dayname, exp.Monthname, exp.TimeToStr, exp.TimeToUnix, exp.CurrentDate,
        exp.CurrentTimestamp, exp.DateBin,
        # JSON.
        exp.JSONExtract, exp.JSONExtractScalar,
    }
)  # fmt: skip

#: Functions that the parser has no node of its own for.
NAMED_FUNCTIONS: Final = frozenset({"now", "today", "isodow"})

#: The functions and operators by the engine's names, which it checks itself before it runs a
#: statement: what the parser here takes for something else is refused there.
ENGINE_FUNCTIONS: Final = _words(
    "+ - * / // % || ~~ !~~ ~~* !~~* like_escape ilike_escape not_like_escape not_ilike_escape "
    "->> -> ** pow power count count_star count_if sum avg min max median stddev stddev_pop "
    "stddev_samp variance var_pop var_samp quantile_cont quantile_disc approx_count_distinct "
    "any_value arg_max arg_min mode row_number rank dense_rank percent_rank cume_dist ntile lag "
    "lead first_value last_value coalesce nullif greatest least abs round floor ceil ceiling sqrt "
    "ln log log10 log2 exp sign lower upper length trim ltrim rtrim substring substr left right "
    "replace split_part strpos instr position concat starts_with ends_with suffix prefix contains "
    "regexp_matches "
    "date_trunc date_part date_diff datediff year quarter month week day dayofweek isodow hour "
    "minute second dayname monthname strftime epoch current_date current_timestamp now today "
    "get_current_timestamp time_bucket json_extract json_extract_string "
    # How the engine writes `INTERVAL '7' DAY`, `GROUP BY` on expressions and the like.
    "to_years to_quarters to_months to_weeks to_days to_hours to_minutes to_seconds "
    "to_milliseconds to_microseconds trunc row"
)

_T = exp.DataType.Type
#: The types that values can be cast to.
TYPES: Final = frozenset(
    {
        _T.BOOLEAN, _T.SMALLINT, _T.INT, _T.BIGINT, _T.FLOAT, _T.DOUBLE, _T.DECIMAL, _T.TEXT,
        _T.VARCHAR, _T.DATE, _T.TIMESTAMP,
    }
)  # fmt: skip

#: Words that stand bare in a statement: units of time.
WORDS: Final = _words(
    "YEAR YEARS QUARTER QUARTERS MONTH MONTHS WEEK WEEKS DAY DAYS HOUR HOURS MINUTE MINUTES "
    "SECOND SECONDS MILLISECOND MILLISECONDS DOW ISODOW DOY EPOCH DAYOFWEEK DAYOFYEAR"
)

#: How a join may be asked for.
JOIN_SIDES: Final = frozenset({"", "LEFT", "RIGHT", "FULL"})
JOIN_KINDS: Final = frozenset({"", "INNER", "OUTER", "CROSS", "SEMI", "ANTI"})
#: Where a window's frame may begin and end, besides a number of rows.
FRAME_ENDS: Final = frozenset({"UNBOUNDED", "CURRENT ROW"})
FRAME_SIDES: Final = frozenset({"PRECEDING", "FOLLOWING"})
FRAME_KINDS: Final = frozenset({"ROWS", "RANGE"})

#: What callers call a construct that is refused.
NAMES: Final[Mapping[Node, str]] = {
    exp.Lateral: "LATERAL",
    exp.Unnest: "UNNEST",
    exp.Values: "VALUES",
    exp.Into: "INTO",
    exp.Lambda: "A lambda",
    exp.Pivot: "PIVOT",
    exp.TableSample: "TABLESAMPLE",
    exp.Bracket: "A subscript",
    exp.Slice: "A slice",
    exp.Array: "A list",
    exp.Struct: "A struct",
    exp.Dot: "A qualified name",
    exp.RawString: "A dollar-quoted text",
    exp.Heredoc: "A dollar-quoted text",
    exp.ByteString: "A text with escapes",
    exp.National: "A national text",
    exp.HexString: "A hexadecimal value",
    exp.BitString: "A bit value",
    exp.Parameter: "A parameter of this form",
    exp.SessionParameter: "A session parameter",
    exp.Cube: "CUBE",
    exp.Rollup: "ROLLUP",
    exp.GroupingSets: "GROUPING SETS",
    exp.Fetch: "FETCH",
    exp.Hint: "A hint",
    exp.Lock: "A lock",
    exp.RegexpILike: "This regular expression",
}

#: What callers call a part that is refused.
PARTS: Final[Mapping[str, str]] = {
    "db": "A qualified name",
    "catalog": "A qualified name",
    "method": "This kind of JOIN",
    "options": "This form of LIMIT",
    "when": "AT",
    "windows": "WINDOW",
    "locks": "A lock",
    "sample": "A sample",
    "laterals": "LATERAL",
    "except_": "EXCLUDE",
    "replace": "REPLACE",
    "rename": "RENAME",
    "kind": "This type",
}
