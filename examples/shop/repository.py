"""The shop's own database. Every change is one statement that can be repeated without harm."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from shop import orders
from shop.orders import Order

SCHEMA = """
CREATE TABLE IF NOT EXISTS shop_order (
    id INTEGER PRIMARY KEY,
    invoice TEXT NOT NULL UNIQUE,
    customer TEXT NOT NULL,
    country TEXT NOT NULL,
    pence INTEGER NOT NULL,
    status TEXT NOT NULL,
    charge TEXT,
    changed_at REAL NOT NULL DEFAULT (unixepoch('subsec'))
);
CREATE INDEX IF NOT EXISTS shop_order_status ON shop_order (status);
"""
# unixepoch('subsec') is young; julianday() is everywhere.
NOW = "((julianday('now') - 2440587.5) * 86400.0)"


class OrderRepository:
    """Orders in one SQLite file, used from many processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Make the tables, unless they are there."""
        with closing(sqlite3.connect(self.path)) as raw:
            raw.execute("PRAGMA journal_mode = WAL")
            raw.executescript(SCHEMA.replace("unixepoch('subsec')", NOW))

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=30)) as raw, raw:
            raw.row_factory = sqlite3.Row
            yield raw

    def place(self, order: Order) -> int:
        """Keep a new order; the same invoice again is the same order."""
        with self._connected() as raw:
            raw.execute(
                "INSERT INTO shop_order (invoice, customer, country, pence, status) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (invoice) DO NOTHING",
                (order.invoice, order.customer, order.country, order.pence, orders.PLACED),
            )
            row = raw.execute("SELECT id FROM shop_order WHERE invoice = ?", (order.invoice,)).fetchone()
            return int(row["id"])

    def get(self, order_id: int) -> sqlite3.Row | None:
        """The order's row; None when there is none."""
        with self._connected() as raw:
            row: sqlite3.Row | None = raw.execute("SELECT * FROM shop_order WHERE id = ?", (order_id,)).fetchone()
            return row

    def advance(self, order_id: int, status: str, *, charge: str | None = None) -> None:
        """Move an order on; a final one stays as it is."""
        with self._connected() as raw:
            raw.execute(
                f"UPDATE shop_order SET status = ?, charge = coalesce(?, charge), changed_at = {NOW}"
                " WHERE id = ? AND status NOT IN ('confirmed', 'declined', 'refused', 'expired')",
                (status, charge, order_id),
            )

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

    def expire(self, older_than: float) -> int:
        """Give up orders that nobody has moved for so many seconds before they were charged."""
        with self._connected() as raw:
            done = raw.execute(
                f"UPDATE shop_order SET status = 'expired', changed_at = {NOW}"
                f" WHERE status IN ('placed', 'validated') AND changed_at < {NOW} - ?",
                (older_than,),
            )
            return done.rowcount

    def ids(self) -> dict[int, str]:
        """Every order and its state."""
        with self._connected() as raw:
            return {row["id"]: row["status"] for row in raw.execute("SELECT id, status FROM shop_order")}
