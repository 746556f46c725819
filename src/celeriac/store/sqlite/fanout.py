"""Broadcasts, and the bindings that other processes made."""

from __future__ import annotations

import json
from collections.abc import Sequence

from celeriac.core.message import Broadcast
from celeriac.store.sql import queries
from celeriac.store.sqlite.base import Part

SQL = queries("sqlite", "queue")


class FanoutPart(Part):
    """The fanout's side of the store."""

    def broadcast(self, exchange: str, routing_key: str, envelope: str, body: str | bytes) -> None:
        with self.database.writer.writing() as raw:
            raw.execute(SQL["broadcast"], (exchange, routing_key, self.now(), envelope, body))

    def last_broadcast(self) -> int:
        with self.database.reader.reading() as raw:
            last: int = raw.execute(SQL["last_broadcast"]).fetchone()[0]
            return last

    def listen(self, exchanges: Sequence[str], after: int) -> list[Broadcast]:
        with self.database.reader.reading() as raw:
            rows = raw.execute(SQL["listen"], (after, json.dumps(list(exchanges)))).fetchall()
        return [Broadcast(*row) for row in rows]

    def bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        with self.database.writer.writing() as raw:
            raw.execute(SQL["bind"], (exchange, routing_key, pattern, queue, self.now()))

    def unbind(self, queue: str) -> None:
        with self.database.writer.writing() as raw:
            raw.execute(SQL["unbind"], (queue,))

    def bindings(self, exchange: str) -> list[tuple[str, str, str]]:
        with self.database.reader.reading() as raw:
            return raw.execute(SQL["bindings"], (exchange,)).fetchall()
