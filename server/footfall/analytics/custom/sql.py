"""Custom SQL: one SELECT over the views, parsed, held against the grammar, and written anew.

What is run is never the caller's text but what was made of its tree. The written text is parsed
and held against the grammar once more, so that it means what was checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError, TokenError
from sqlglot.tokens import (  # type: ignore[attr-defined]  # exported, but not marked so
    Token,
    TokenType,
)

from footfall.analytics.custom import grammar
from footfall.analytics.custom.model import Cell, Statement
from footfall.analytics.custom.views import VIEWS
from footfall.analytics.parameters import echo, suggest
from footfall.errors import InvalidInputError, InvalidQueryError, QueryFault

CHARACTERS_MAX: Final = 5000
SELECTS_MAX: Final = 5
UNIONS_MAX: Final = 2
JOINS_MAX: Final = 4
COLUMNS_MAX: Final = 100
PARAMETERS_MAX: Final = 50
#: Brackets and cases within each other.
DEPTH_MAX: Final = 24
#: Words, values and signs.
TOKENS_MAX: Final = 2000
_NAME_MAX: Final = 64

_DIALECT: Final = "duckdb"
_STARTS: Final = (TokenType.SELECT, TokenType.WITH, TokenType.L_PAREN)
_OPENING: Final = frozenset(
    {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE}
)
_CLOSING: Final = frozenset(
    {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END}
)
_PREFIXES: Final = frozenset({TokenType.NOT, TokenType.DASH, TokenType.PLUS, TokenType.TILDE})
_WHITE: Final = frozenset("\t\n\r")
_PARAMETER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_SET_OPERATIONS: Final = (exp.Union, exp.Except, exp.Intersect)


def parse_statement(text: str, parameters: Mapping[str, Cell]) -> Statement:
    """Return the statement that a text is.

    Raises InvalidInputError: VALIDATION_ERROR for a text that is no SELECT over the views (as
    InvalidQueryError, with the place), FORBIDDEN_OPERATION for one that asks for what is not
    allowed, QUERY_TOO_COMPLEX for one beyond the limits.
    """
    if len(text) > CHARACTERS_MAX:
        raise too_complex(
            f"The query must have at most {CHARACTERS_MAX} characters, but has {len(text)}."
        )
    _check_parameters(parameters)
    checked = _Checker(parameters)
    checked.check(_parse(text))
    sql = checked.tree.sql(dialect=_DIALECT, comments=False, identify=True)
    again = _Checker(parameters)
    again.check(_parse(sql))
    if (again.views, again.columns) != (checked.views, checked.columns):
        raise forbidden("The query", "it can be read in two ways")
    return Statement(
        sql=sql,
        views=tuple(sorted(checked.views)),
        columns=frozenset(checked.columns),
        parameters={name: parameters[name] for name in sorted(checked.parameters_used)},
        identifiers=frozenset(checked.identifiers),
    )


def too_complex(message: str) -> InvalidInputError:
    """Return the error (QUERY_TOO_COMPLEX) of a query beyond the limits."""
    return InvalidInputError(message, "QUERY_TOO_COMPLEX")


def forbidden(what: str, why: str = "it is not among what custom SQL may use") -> InvalidInputError:
    """Return the error (FORBIDDEN_OPERATION) of a query that asks for what is not allowed."""
    return InvalidInputError(
        f"{what} is not allowed: {why}. See GET /v1/custom-sql/schema.", "FORBIDDEN_OPERATION"
    )


def faulty(message: str, field_name: str = "query", suggestion: str = "") -> InvalidQueryError:
    """Return the error (VALIDATION_ERROR) of a query that means nothing."""
    return InvalidQueryError(
        f"{message}{suggestion and ' ' + suggestion}",
        faults=(QueryFault(field_name, message, suggestion),),
    )


def _check_parameters(parameters: Mapping[str, Cell]) -> None:
    if len(parameters) > PARAMETERS_MAX:
        raise too_complex(f"A query has at most {PARAMETERS_MAX} parameters.")
    for name in parameters:
        if not _PARAMETER.fullmatch(name):
            raise faulty(
                f"{echo(name)} is no name of a parameter: letters, digits and _.", "parameters"
            )


def _parse(text: str) -> exp.Expr:
    """Return the tree of a text that is one statement and looks like a SELECT."""
    if not text.strip():
        raise faulty("query is required: one SELECT.")
    for character in text:
        if ord(character) < 0x20 and character not in _WHITE:
            raise faulty("The query must not have control characters.")
    try:
        tokens = sqlglot.tokenize(text, read=_DIALECT)
    except RecursionError:
        raise too_complex("The query is nested too deeply.") from None
    except TokenError:
        raise faulty("The query has a text, a name or a comment that does not end.") from None
    _check_tokens(tokens)
    try:
        trees = sqlglot.parse(text, read=_DIALECT)
    except RecursionError:
        raise too_complex("The query is nested too deeply.") from None
    except ParseError as error:
        raise _syntax_error(text, error) from None
    # The parser is another project's, and the text a stranger's: whatever it trips over is a
    # text that it cannot read.
    except (SqlglotError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError):
        raise faulty("The query cannot be read as SQL.") from None
    found = [tree for tree in trees if tree is not None]
    if len(found) != 1:
        raise forbidden("More than one statement", "a query is one SELECT")
    return found[0]


def _check_tokens(tokens: list[Token]) -> None:
    if len(tokens) > TOKENS_MAX:
        raise too_complex(f"The query must have at most {TOKENS_MAX} words and signs.")
    depth = prefixes = 0
    for index, token in enumerate(tokens):
        if token.comments:
            raise forbidden("A comment", "a query has none")
        if token.token_type is TokenType.SEMICOLON and index != len(tokens) - 1:
            raise forbidden("More than one statement", "a query is one SELECT")
        if token.token_type in _OPENING:
            depth += 1
        elif token.token_type in _CLOSING:
            depth -= 1
        prefixes = prefixes + 1 if token.token_type in _PREFIXES else 0
        if max(depth, prefixes) > DEPTH_MAX:
            raise too_complex(f"The query must be nested at most {DEPTH_MAX} deep.")
    if not tokens or tokens[0].token_type not in _STARTS:
        first = tokens[0].text if tokens else ""
        raise forbidden(f"A statement that begins with {echo(first)}", "a query is one SELECT")


def _syntax_error(text: str, error: ParseError) -> InvalidQueryError:
    # The parser's own words name its classes; where it stopped is what helps.
    place = error.errors[0] if error.errors else {}
    line, column = place.get("line"), place.get("col")
    near = place.get("highlight") or ""
    if line is None or column is None or near not in text:
        return faulty("The query is no valid SQL.")
    return faulty(f"The query is no valid SQL at line {line}, column {column}, near {echo(near)}.")


@dataclass
class _Checker:
    """Holds one tree against the grammar, and notes what it names."""

    parameters: Mapping[str, Cell]
    tree: exp.Expr = field(init=False)
    views: set[str] = field(default_factory=set)
    columns: set[str] = field(default_factory=set)
    identifiers: set[str] = field(default_factory=set)
    parameters_used: set[str] = field(default_factory=set)
    #: Names that the statement gives: tables in WITH, and columns.
    _tables: set[str] = field(default_factory=set)
    _named: set[str] = field(default_factory=set)

    def check(self, tree: exp.Expr) -> None:
        """Raise what `parse_statement` raises; note what the tree names."""
        self.tree = tree
        while isinstance(tree, exp.Subquery) and not tree.alias:
            tree = tree.this
        if not isinstance(tree, (exp.Select, *_SET_OPERATIONS)):
            raise forbidden("A statement other than SELECT", "a query is one SELECT")
        nodes = list(self._walk(self.tree))
        _count("SELECTs", SELECTS_MAX, nodes, (exp.Select,))
        _count("set operations", UNIONS_MAX, nodes, _SET_OPERATIONS)
        _count("joins", JOINS_MAX, nodes, (exp.Join,))
        for node in nodes:
            self._note_given(node)
        for node in nodes:
            if isinstance(node, exp.Table):
                self._check_table(node)
        for node in nodes:
            if isinstance(node, exp.Column):
                self._check_column(node)
            elif isinstance(node, exp.Star):
                self._check_star(node)
            elif isinstance(node, exp.Join):
                for name in node.args.get("using") or ():
                    self._use_column(name.name)
        if any(len(node.expressions) > COLUMNS_MAX for node in nodes if type(node) is exp.Select):
            raise too_complex(f"A SELECT has at most {COLUMNS_MAX} columns.")

    def _walk(self, tree: exp.Expr) -> Iterator[exp.Expr]:
        for node in tree.walk():
            kind = type(node)
            parts = grammar.STRUCTURE.get(kind)
            if parts is None and kind not in grammar.FUNCTIONS:
                raise forbidden(_called(node))
            if parts is not None:
                for name, value in node.args.items():
                    if value and name not in parts:
                        raise forbidden(grammar.PARTS.get(name) or _part(name))
            self._check_node(node)
            yield node

    def _check_node(self, node: exp.Expr) -> None:  # noqa: C901, PLR0912 - one row a kind of node
        match node:
            case exp.Identifier():
                _check_name(node.name)
                self.identifiers.add(node.name)
            case exp.Anonymous():
                if str(node.this).lower() not in grammar.NAMED_FUNCTIONS:
                    raise forbidden(_called(node))
            case exp.DataType():
                if node.this not in grammar.TYPES:
                    raise forbidden("A type of this name")
            case exp.Var():
                if node.name.upper() not in grammar.WORDS:
                    raise forbidden(f"The word {echo(node.name)}")
            case exp.Placeholder():
                self._check_parameter(node)
            case exp.Limit() | exp.Offset():
                number = node.expression
                if not (isinstance(number, exp.Literal) and number.this.isascii()
                        and number.this.isdigit() and not number.is_string):  # fmt: skip
                    raise faulty("LIMIT and OFFSET take a whole number.")
            case exp.Join():
                sides, kinds = node.side.upper(), node.kind.upper()
                if sides not in grammar.JOIN_SIDES or kinds not in grammar.JOIN_KINDS:
                    raise forbidden(f"{sides} {kinds} JOIN".replace("  ", " ").strip())
            case exp.WindowSpec():
                _check_frame(node)
            case exp.Window():
                if node.args.get("over") not in (None, "OVER"):
                    raise forbidden("A window of this form")
            case exp.With():
                if node.args.get("recursive"):
                    raise forbidden("WITH RECURSIVE")
            case _:
                pass

    def _check_parameter(self, node: exp.Placeholder) -> None:
        name = node.name
        if name not in self.parameters:
            raise faulty(
                f"The query names a parameter {echo(name)} that has no value."
                if name
                else "Parameters are written as $name.",
                "parameters",
            )
        self.parameters_used.add(name)

    def _note_given(self, node: exp.Expr) -> None:
        if isinstance(node, exp.Alias):
            self._named.add(node.alias.lower())
        elif isinstance(node, exp.TableAlias):
            self._named |= {column.name.lower() for column in node.columns}
            name = node.name.lower()
            if isinstance(node.parent, exp.CTE):
                if name in VIEWS:
                    raise forbidden(f"A table in WITH that is called {name}", "a view is called so")
                if name in self._tables:
                    raise faulty(f"WITH names {echo(name)} twice.")
                self._tables.add(name)
            elif name in VIEWS and not (
                isinstance(node.parent, exp.Table) and node.parent.name.lower() == name
            ):
                raise forbidden(f"The alias {name} of something else", "a view is called so")

    def _check_table(self, node: exp.Table) -> None:
        if not isinstance(node.this, exp.Identifier):
            raise forbidden(f"{_called(node.this)} as a table")
        name = node.name.lower()
        if name in VIEWS:
            self.views.add(name)
        elif not _is_given(node, name):
            raise forbidden(f"The table {echo(node.name)}", f"the views are {', '.join(VIEWS)}")

    def _check_column(self, node: exp.Column) -> None:
        if not isinstance(node.this, exp.Star):
            self._use_column(node.name)
        elif not isinstance(node.parent, exp.Select):
            raise forbidden("A table's star inside of an expression")

    def _check_star(self, node: exp.Star) -> None:
        if isinstance(node.parent, exp.Count):
            return
        if not isinstance(node.parent, (exp.Select, exp.Column)):
            raise forbidden("A star outside of count(*)")
        for view in self.views:
            self.columns |= VIEWS[view].columns.keys()

    def _use_column(self, name: str) -> None:
        lowered = name.lower()
        known = {column for view in self.views for column in VIEWS[view].columns}
        if lowered in known:
            self.columns.add(lowered)
        elif lowered not in self._named:
            tables = ", ".join(sorted(self.views)) or "no table"
            raise faulty(
                f"There is no column {echo(name)} in {tables}.",
                suggestion=suggest(lowered, known).strip(),
            )


def _is_given(table: exp.Table, name: str) -> bool:
    """Return whether a table's name is one that a WITH around it gives, before it."""
    below: exp.Expr = table
    above = table.parent
    while above is not None:
        tables = above.args.get("with_")
        if tables is not None and tables is not below:
            if any(given.alias.lower() == name for given in tables.expressions):
                return True
        elif isinstance(above, exp.With):
            before = above.expressions[: above.expressions.index(below)]
            if any(given.alias.lower() == name for given in before):
                return True
        below, above = above, above.parent
    return False


def _check_name(name: str) -> None:
    if not name or len(name) > _NAME_MAX or not name.isprintable() or '"' in name:
        raise faulty(
            f"{echo(name)} is no name: at most {_NAME_MAX} printable characters without quotes."
        )


def _check_frame(node: exp.WindowSpec) -> None:
    args = node.args
    if str(args.get("kind") or "ROWS").upper() not in grammar.FRAME_KINDS:
        raise forbidden("A window's frame of this form")
    for name in ("start", "end"):
        value, side = args.get(name), args.get(f"{name}_side")
        if isinstance(value, str) and value.upper() not in grammar.FRAME_ENDS:
            raise forbidden("A window's frame of this form")
        if side and str(side).upper() not in grammar.FRAME_SIDES:
            raise forbidden("A window's frame of this form")


def _count(what: str, most: int, nodes: list[exp.Expr], kinds: tuple[grammar.Node, ...]) -> None:
    number = sum(isinstance(node, kinds) for node in nodes)
    if number > most:
        raise too_complex(f"A query has at most {most} {what}, this one has {number}.")


def _called(node: exp.Expr) -> str:
    """Return what a caller calls a node."""
    if isinstance(node, exp.Anonymous):
        return f"The function {echo(str(node.this))}"
    kind = type(node)
    if kind in grammar.NAMES:
        return grammar.NAMES[kind]
    if isinstance(node, exp.Func):
        return f"The function {node.sql_names()[0].lower()}"
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__)
    return f"The construct {words.upper()}"


def _part(name: str) -> str:
    return name.strip("_").replace("_", " ").upper()
