"""Tells a pooler that lends its connections by the transaction from one that lends them for as long as the client stays."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg

#: Looks at a pooler; each can be spoilt by another client that takes the connection in between.
LOOKS = 5


def pooled_by_transaction(raw: psycopg.Connection[Any], another: Callable[[], psycopg.Connection[Any]]) -> bool:
    """Whether the server's process behind this connection may be another one after each transaction.

    A pooler is known by its greeting: the process it names, for cancelling, is none of the server's. By the session,
    ours keeps its own while a second connection has a transaction; by the transaction, that one is given it, or ours
    is given another.
    """
    ours = _process(raw)
    if raw.info.backend_pid == ours:
        return False
    for _ in range(LOOKS):
        with closing(another()) as second:
            second.execute("BEGIN")
            if _process(second) == ours or _process(raw) != ours:
                return True
            second.execute("ROLLBACK")
    return False


def _process(raw: psycopg.Connection[Any]) -> int:
    # Not prepared: a name would be left behind in somebody else's connection.
    row = raw.execute("SELECT pg_backend_pid()", prepare=False).fetchone()
    assert row is not None
    return int(row[0])
