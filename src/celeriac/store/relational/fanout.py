"""Broadcasts, and the bindings that other processes made."""

from __future__ import annotations

import json
from collections.abc import Sequence

from celeriac.core.message import Broadcast
from celeriac.store.relational.part import Part


class FanoutPart(Part):
    """The fanout's side of the store."""

    def broadcast(self, exchange: str, routing_key: str, envelope: str, body: str | bytes) -> None:
        with self.database.writing() as raw:
            raw.run("queue.broadcast", (exchange, routing_key, self.now(), envelope, body))

    def last_broadcast(self) -> int:
        with self.database.reading() as raw:
            last: int = raw.run("queue.last_broadcast").fetchone()[0]
            return last

    def listen(self, exchanges: Sequence[str], after: int) -> list[Broadcast]:
        with self.database.reading() as raw:
            rows = raw.run("queue.listen", (after, json.dumps(list(exchanges)))).fetchall()
        return [Broadcast(*row) for row in rows]

    def bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        with self.database.writing() as raw:
            raw.run("queue.bind", (exchange, routing_key, pattern, queue, self.now()))

    def unbind(self, queue: str) -> None:
        with self.database.writing() as raw:
            raw.run("queue.unbind", (queue,))

    def bindings(self, exchange: str) -> list[tuple[str, str, str]]:
        with self.database.reading() as raw:
            return raw.run("queue.bindings", (exchange,)).fetchall()
