"""The table of what waits is changed with every task; what is gone from it must not pile up."""

from __future__ import annotations

import logging
import time

from psycopg import sql

from celeriac.store.postgres.database import Database

logger = logging.getLogger(__name__)

#: Dead rows that are worth a vacuum, about 20 MB. The server itself looks once a minute (``autovacuum_naptime``),
#: in which a busy queue leaves hundreds of thousands.
MANY = 20_000
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
        if time.monotonic() < self._not_before:
            return False
        before, busy = self._dead()
        if busy or before < MANY:
            return False
        table = sql.Identifier(self._database.schema, "message").as_string(None)
        with self._database.reading(PATIENCE) as session:
            # Cutting the file's end off would lock the table; autovacuum does that when nobody is about.
            session.raw.execute(f"VACUUM (SKIP_LOCKED, TRUNCATE false) {table}".encode(), prepare=False)
        left, _ = self._dead()
        if left < max(MANY, before / 2):
            return True
        self._not_before = time.monotonic() + IN_VAIN
        self._warn(left)
        return False

    def _dead(self) -> tuple[int, bool]:
        with self._database.reading() as session:
            row: tuple[int, bool] | None = session.run("vacuum.dead_rows").fetchone()
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
