"""What ``iterate`` goes through: rows, each with the cursor from which a later run goes on behind it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from celeriac.errors import CheckpointError

#: Rows that a query fetches at once.
PAGE = 1000
#: Keys of a row that an error names.
NAMED = 12

Pairs = Iterator[tuple[Any, Any]]


def opened(task: str, source: Any, cursor: Any, after: Any, session: Any) -> Pairs:
    """The rows of ``source`` after the cursor of the last that is done, None before the first.

    Raises:
        CheckpointError: it is nothing that can be gone on with, or does not fit its cursor.
    """
    if isinstance(source, Sequence) and not isinstance(source, (str, bytes, bytearray)):
        return _positions(task, source, cursor, after)
    if _is_queryset(source):
        return _of_queryset(task, source, cursor, after)
    if _is_select(source):
        return _of_select(task, source, cursor, after, session)
    if callable(source):
        return _of_callable(task, source, cursor, after)
    if isinstance(source, Iterator):
        raise CheckpointError(
            task, f"iterate() cannot begin a {type(source).__name__} in the middle. {_making(source)}"
        )
    raise CheckpointError(
        task,
        f"iterate() cannot go on in the middle of a {type(source).__name__}. Give it a function that takes the cursor of the "
        "last row that is done (None at first) and returns the rows after it; a list, tuple or range; a Django queryset; or a "
        "SQLAlchemy select()",
    )


def _making(rows: Iterator[Any]) -> str:
    """What to give instead of what can be gone through once."""
    name = getattr(rows, "__name__", "rows_after")
    name = name if name.isidentifier() else "rows_after"
    return (
        f'Give it the function that makes it, and not what that returns: iterate({name}, cursor="id"), where '
        f"{name}(after) takes the cursor of the last row that is done, None at first, and returns the rows after it"
    )


def size_of(source: Any) -> int | None:
    """How many rows there are, where that costs nothing."""
    known = isinstance(source, Sequence) and not isinstance(source, (str, bytes, bytearray))
    return len(source) if known else None


def _positions(task: str, rows: Sequence[Any], cursor: Any, after: Any) -> Pairs:
    if cursor is not None:
        raise CheckpointError(
            task,
            "a sequence is gone on with by position, so leave cursor= out; or give a function that finds the rows after it",
        )
    return ((rows[place], place) for place in range(0 if after is None else after + 1, len(rows)))


def _of_callable(task: str, source: Callable[[Any], Any], cursor: Any, after: Any) -> Pairs:
    if cursor is None:
        raise CheckpointError(
            task,
            'how is a row found again? Give iterate() cursor="id", the name of what is passed on, or a function of the row',
        )
    rows = source(after)
    if hasattr(rows, "__aiter__") and not hasattr(rows, "__iter__"):
        raise CheckpointError(
            task, "the source gives an asynchronous iterator, and iterate() a plain one: let it fetch rows by pages, each with a "
            "call that waits"
        )  # fmt: skip
    if not hasattr(rows, "__iter__"):
        raise CheckpointError(
            task, f"the source gives a {type(rows).__name__}, and iterate() needs something to go through"
        )
    value = cursor if callable(cursor) else _getter(task, cursor)
    return ((row, value(row)) for row in rows)


def _getter(task: str, name: Any) -> Callable[[Any], Any]:
    if isinstance(name, bool) or not isinstance(name, (str, int)):
        raise CheckpointError(
            task, f"cursor= is a name, a place in the row or a function of it, and no {type(name).__name__}"
        )

    def value(row: Any) -> Any:
        try:
            if isinstance(name, int) or isinstance(row, Mapping) or hasattr(row, "keys"):
                return row[name]
            return getattr(row, name)
        except (AttributeError, LookupError, TypeError) as error:
            raise CheckpointError(
                task,
                f"cursor={name!r}: a row ({type(row).__name__}) has {_had(row, name)}. It may be a function too: "
                "cursor=lambda row: …",
            ) from error

    return value


def _had(row: Any, name: str | int) -> str:
    """What there is of a row instead, as far as names or places tell."""
    if isinstance(row, Mapping) or hasattr(row, "keys"):
        return f"no such key, and has {', '.join(map(repr, islice(row.keys(), NAMED)))}"
    if isinstance(row, (tuple, list)):
        places = f"the places 0 to {len(row) - 1}" if row else "nothing in it"
        return f"{places}, such as cursor=0" if isinstance(name, str) else places
    return "nothing of that name" if isinstance(name, str) else "no places"


# -- Django


def _is_queryset(source: Any) -> bool:
    models = sys.modules.get("django.db.models")
    return models is not None and isinstance(source, (models.QuerySet, models.Manager))


def _of_queryset(task: str, source: Any, cursor: Any, after: Any) -> Pairs:
    queryset = source.all()
    name = "pk" if cursor is None else cursor
    if not isinstance(name, str):
        raise CheckpointError(
            task,
            'of a queryset cursor= is the name of a field whose values are unique, such as "id", by which it is ordered',
        )
    query = queryset.query
    if query.is_sliced:
        raise CheckpointError(task, "a sliced queryset cannot be gone on with: give iterate() the whole, or a function")
    if query.combinator:
        raise CheckpointError(
            task, f"a queryset made by {query.combinator}() cannot be gone on with: give iterate() a function that finds the rows "
            "after a cursor"
        )  # fmt: skip
    if not query.standard_ordering or query.extra_order_by:
        raise CheckpointError(
            task, f"the queryset is in an order that is not that of {name!r}: leave out reverse() and extra()"
        )
    if query.order_by and tuple(query.order_by) not in {(name,), ("pk",), ("id",)}:
        raise CheckpointError(
            task, f"the queryset is ordered by {', '.join(map(str, query.order_by))}, and is gone on with by {name!r}: order it "
            "by that field alone, or not at all"
        )  # fmt: skip
    return _pages_of_queryset(queryset.order_by(name), name, _getter(task, name), after)


def _pages_of_queryset(queryset: Any, name: str, value: Callable[[Any], Any], after: Any) -> Pairs:
    # By pages: a query that stays open for hours holds up the vacuum, and ends with the transaction.
    while True:
        rows = list((queryset if after is None else queryset.filter(**{f"{name}__gt": after}))[:PAGE])
        for row in rows:
            after = value(row)
            yield row, after
        if len(rows) < PAGE:
            return


# -- SQLAlchemy


def _is_select(source: Any) -> bool:
    sql = sys.modules.get("sqlalchemy.sql")
    return sql is not None and isinstance(source, sql.Select)


def _of_select(task: str, statement: Any, cursor: Any, after: Any, session: Any) -> Pairs:
    if not hasattr(session, "execute"):
        raise CheckpointError(task, "a select() needs somebody to run it: iterate(..., session=session)")
    if not hasattr(cursor, "desc"):
        raise CheckpointError(
            task, "of a select() cursor= is the column by which it is ordered, whose values are unique: cursor=Order.id"
        )
    own = (statement._limit_clause, statement._offset_clause, statement._fetch_clause)  # noqa: SLF001  # nothing public tells
    if statement._order_by_clauses or any(clause is not None for clause in own):  # noqa: SLF001
        raise CheckpointError(
            task,
            "the select() has an order, a limit or an offset of its own: it is ordered by cursor=, so leave that out",
        )
    return _pages_of_select(task, statement.order_by(cursor).limit(PAGE), cursor, after, session)


def _pages_of_select(task: str, statement: Any, column: Any, after: Any, session: Any) -> Pairs:
    (only, *more) = statement.column_descriptions
    entity = not more and only["entity"] is not None and only["expr"] is only["entity"]
    while True:
        page = session.execute(statement if after is None else statement.where(column > after))
        rows = page.scalars().all() if entity else page.all()
        for row in rows:
            after = getattr(row, column.key) if entity else _of_row(task, row, column)
            yield row, after
        if len(rows) < PAGE:
            return


def _of_row(task: str, row: Any, column: Any) -> Any:
    try:
        return row._mapping[column]  # noqa: SLF001  # SQLAlchemy's public name
    except KeyError as error:
        raise CheckpointError(
            task, f"the select() does not have {column} among its columns, by which it is gone on with"
        ) from error
