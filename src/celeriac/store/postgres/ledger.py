"""Settlements in one round trip, where nothing follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from celeriac.core.attempt import Outcome, Record, Settled, Settlement
from celeriac.store.postgres.database import Database
from celeriac.store.postgres.pruning import Pruner
from celeriac.store.postgres.session import Session, pack
from celeriac.store.protocols import News
from celeriac.store.relational.ledger import HELD, LOST, Joins, LedgerPart, settle

_FIELDS = (
    "state", "name", "queue", "worker", "retries", "started_at", "finished_at", "result", "traceback", "meta", "expires_at"
)  # fmt: skip
_COLUMNS = [(name, attrgetter(name)) for name in _FIELDS]
_NOTHING = Record("", 0, "", False)


class PostgresLedger(LedgerPart):
    """The ledger's side of the store."""

    database: Database
    _pruner: Pruner

    def _prune(self, bounds: Sequence[tuple[str, float]]) -> int:
        return self._pruner.prune(bounds)

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        # Of several ends under one lease the first counts.
        first = {item.lease: item for item in reversed(settlements)}
        plain = [item for item in first.values() if _is_plain(item)]
        if len(plain) == len(settlements) and not any(item.chord for item in plain):
            with self.database.reading() as session:  # one statement is its own transaction
                held = self._settle_plain(session, plain)
                self.database.bell.ring(session, _news(plain))
            return [HELD if item.lease.message_id in held else LOST for item in settlements]
        now = self.now()
        with self.database.writing() as session:
            session.news |= _news(settlements)
            held = self._settle_plain(session, plain) if plain else set()
            mine = {id(item) for item in plain if item.lease.message_id in held}
            joins = Joins(session, now)
            for item in settlements:
                if id(item) in mine:
                    joins.add(item.chord, item)
            found = [
                (HELD if id(item) in mine else LOST) if _is_plain(item) else settle(session, item, now, joins)
                for item in settlements
            ]
            return joins.tell(settlements, found)

    def _settle_plain(self, session: Session, items: Sequence[Settlement]) -> set[int]:
        records = [item.record or _NOTHING for item in items]
        columns: list[object] = [
            [item.lease.message_id for item in items],
            [item.lease.token for item in items],
            [item.task_id for item in items],
            [record.generation for record in records],
            [int(record.closed) for record in records],
        ]
        for name, get in _COLUMNS:
            values = [get(record) for record in records]
            columns.append([pack(value) for value in values] if name == "result" else values)
        columns[5] = [item.record and item.record.state for item in items]
        row = session.run("ledger.settle_plain", columns).fetchone()
        assert row is not None
        return set(row[0])


def _news(items: Sequence[Settlement]) -> int:
    """A slot that is given back lets something go on."""
    return News.RESULTS | News.WORK if any(item.limited for item in items) else News.RESULTS


def _is_plain(item: Settlement) -> bool:
    return item.outcome is Outcome.COMPLETED and not (
        item.key is not None or item.generation or item.others or item.follow_ups or item.grown or item.checkpoint
    )
