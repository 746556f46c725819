"""The tables of what waits are changed with every task; what is gone from them must not pile up."""

from __future__ import annotations

import logging
import time

from psycopg import sql

from celeriac.store.postgres.database import Database

logger = logging.getLogger(__name__)

#: Dead rows that are worth a vacuum, about 20 MB. The server itself looks once a minute (``autovacuum_naptime``),
#: in which a busy queue leaves hundreds of thousands.
MANY = 20_000
#: The same of the small tables of limits, of which every claim reads.
SMALL, FEW = ("lane_entered", "lane", "slot"), 2_000
#: Seconds one may take, until it is tried again where it was of no use, and between warnings of the same culprit.
PATIENCE, IN_VAIN, WARN_AGAIN = 600.0, 60.0, 600.0


class Vacuum:
    """Vacuums the hot table when it is worth it, and says who is in the way where that is of no use."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._not_before = float("-inf")
        self._warned: tuple[object, float] = (None, float("-inf"))

    def tidy(self) -> bool:
        """Vacuum where there is much to remove; true when something was removed."""
        tidied = [self._tidy_small(table) for table in SMALL]
        if time.monotonic() < self._not_before:
            return any(tidied)
        before, busy = self._dead("message")
        if busy or before < MANY:
            return any(tidied)
        # Cutting the file's end off would lock the table; autovacuum does that when nobody is about.
        self._vacuum("message", "TRUNCATE false")
        left, _ = self._dead("message")
        if left < max(MANY, before / 2):
            return True
        self._not_before = time.monotonic() + IN_VAIN
        self._warn(left)
        return any(tidied)

    def _tidy_small(self, table: str) -> bool:
        before, busy = self._dead(table)
        if busy or before < FEW:
            return False
        self._vacuum(table, "TRUNCATE true")
        return self._dead(table)[0] < before

    def _vacuum(self, table: str, option: str) -> None:
        named = sql.Identifier(self._database.schema, table).as_string(None)
        with self._database.reading(PATIENCE) as session:
            session.raw.execute(f"VACUUM (SKIP_LOCKED, {option}) {named}".encode(), prepare=False)

    def _dead(self, table: str) -> tuple[int, bool]:
        with self._database.reading() as session:
            row: tuple[int, bool] | None = session.run("vacuum.dead_rows", (table,)).fetchone()
        assert row is not None
        return row

    def _warn(self, left: int) -> None:
        with self._database.reading() as session:
            found = session.run("vacuum.oldest_view").fetchone()
        if found is None:
            return
        kind, who, name, state, seconds = found
        culprit, at = self._warned
        if culprit == (kind, who) and time.monotonic() - at < WARN_AGAIN:
            return
        self._warned = ((kind, who), time.monotonic())
        logger.warning(
            "%d deleted rows pile up in the table of what waits (%s, schema %s), which makes every claim slower: %s %s"
            " (%s, %s%s) keeps PostgreSQL from removing them. %s",
            left,
            self._database.location,
            self._database.schema,
            kind,
            who,
            f"application {name!r}" if name else "it gave no application_name",
            state or "state not shown to this role",
            "" if seconds is None else f", open for {seconds:.0f} s",
            _remedy(kind, who),
        )


def _remedy(kind: str, who: str) -> str:
    if kind == "process":
        return (
            f"End its transaction, if need be with SELECT pg_terminate_backend({who}); "
            "idle_in_transaction_session_timeout ends those that were forgotten"
        )
    if kind == "prepared transaction":
        return f"End it with COMMIT PREPARED or ROLLBACK PREPARED '{who}'"
    return "See what holds it, or drop it with pg_drop_replication_slot()"
