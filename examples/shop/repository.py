"""The shop's own database. Every change is one statement that can be repeated without harm; a journal shows repetitions."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from shop import orders
from shop.orders import InvalidOrder, Order

SCHEMA = """
CREATE TABLE IF NOT EXISTS shop_order (
    id INTEGER PRIMARY KEY,
    invoice TEXT NOT NULL UNIQUE,
    customer TEXT NOT NULL,
    country TEXT NOT NULL,
    pence INTEGER NOT NULL,
    status TEXT NOT NULL,
    charge TEXT,
    changed_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS shop_order_status ON shop_order (status);
CREATE TABLE IF NOT EXISTS report_step (id INTEGER PRIMARY KEY, day TEXT NOT NULL, step TEXT NOT NULL, at REAL NOT NULL);
"""
# The states from which an order may move, and the test for them, are one statement with the move: two processes
# that both found an order waiting cannot both move it.
ADVANCE = """
UPDATE shop_order SET status = ?, charge = coalesce(?, charge), changed_at = ?
WHERE id = ? AND status IN (SELECT value FROM json_each(?))
"""
EXPIRE = """
UPDATE shop_order SET status = ?, changed_at = ?
WHERE changed_at < ? AND status IN (SELECT value FROM json_each(?))
"""


class ConflictingOrder(InvalidOrder):
    """The invoice is known, with another customer, country or sum."""


class OrderRepository:
    """Orders in one SQLite file, used from many processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Make the tables, unless they are there."""
        with closing(sqlite3.connect(self.path)) as raw:
            raw.execute("PRAGMA journal_mode = WAL")
            raw.executescript(SCHEMA)

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=30)) as raw, raw:
            raw.row_factory = sqlite3.Row
            yield raw

    def place(self, order: Order) -> int:
        """Keep a new order; the same invoice again is the same order.

        Raises ConflictingOrder when it is not the same after all.
        """
        facts = (order.customer, order.country, order.pence)
        with self._connected() as raw:
            raw.execute(
                "INSERT INTO shop_order (invoice, customer, country, pence, status, changed_at)"
                " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (invoice) DO NOTHING",
                (order.invoice, *facts, orders.PLACED, time.time()),
            )
            row = raw.execute("SELECT * FROM shop_order WHERE invoice = ?", (order.invoice,)).fetchone()
        if (row["customer"], row["country"], row["pence"]) != facts:
            told = f"invoice {order.invoice} is order {row['id']} already, with another customer, country or sum"
            raise ConflictingOrder(told, "conflict")
        return int(row["id"])

    def get(self, order_id: int) -> sqlite3.Row | None:
        """The order's row; None when there is none."""
        with self._connected() as raw:
            row: sqlite3.Row | None = raw.execute("SELECT * FROM shop_order WHERE id = ?", (order_id,)).fetchone()
            return row

    def advance(self, order_id: int, status: str, *, charge: str | None = None) -> bool:
        """Move an order on, if its state lets it; return whether it moved."""
        before = json.dumps(orders.BEFORE[status])
        with self._connected() as raw:
            return raw.execute(ADVANCE, (status, charge, time.time(), order_id, before)).rowcount == 1

    def expire(self, older_than: float) -> int:
        """Give up orders that nobody has moved for so many seconds; one that is being charged is never among them."""
        before, now = json.dumps(orders.BEFORE[orders.EXPIRED]), time.time()
        with self._connected() as raw:
            return raw.execute(EXPIRE, (orders.EXPIRED, now, now - older_than, before)).rowcount

    def counts(self) -> dict[str, int]:
        """How many orders are in each state."""
        with self._connected() as raw:
            rows = raw.execute("SELECT status, count(*) AS n FROM shop_order GROUP BY status").fetchall()
        return {row["status"]: row["n"] for row in rows}

    def latest(self, limit: int = 20) -> list[dict[str, object]]:
        """The orders that moved last."""
        with self._connected() as raw:
            rows = raw.execute(
                "SELECT * FROM shop_order ORDER BY changed_at DESC, id DESC LIMIT ?", (limit,)
            ).fetchall()
        return [dict(row) for row in rows]

    def countries(self) -> list[str]:
        """Where confirmed orders went."""
        with self._connected() as raw:
            return [row[0] for row in raw.execute("SELECT DISTINCT country FROM shop_order WHERE status = 'confirmed'")]

    def figures(self, country: str) -> tuple[int, int]:
        """Confirmed orders of a country, and their pence."""
        with self._connected() as raw:
            row = raw.execute(
                "SELECT count(*), coalesce(sum(pence), 0) FROM shop_order WHERE country = ? AND status = 'confirmed'",
                (country,),
            ).fetchone()
            return int(row[0]), int(row[1])

    def note_step(self, day: str, step: str) -> None:
        """A step of a day's report was done; done again, it is noted again."""
        with self._connected() as raw:
            raw.execute("INSERT INTO report_step (day, step, at) VALUES (?, ?, ?)", (day, step, time.time()))

    def steps(self, day: str) -> dict[str, int]:
        """How often each step of a day's report was done."""
        with self._connected() as raw:
            rows = raw.execute("SELECT step, count(*) AS n FROM report_step WHERE day = ? GROUP BY step", (day,))
            return {row["step"]: row["n"] for row in rows}

    def ids(self) -> dict[int, str]:
        """Every order and its state."""
        with self._connected() as raw:
            return {row["id"]: row["status"] for row in raw.execute("SELECT id, status FROM shop_order")}
