"""Broadcasts, and the bindings that other processes made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from celeriac.core.message import Broadcast
from celeriac.store.redis.packing import Argument, pack, plain, text, texts_arguments, unpack
from celeriac.store.redis.part import Part

#: Broadcasts handed out at once.
PAGE = 500


class FanoutPart(Part):
    """The fanout's side of the store."""

    def broadcast(self, exchange: str, routing_key: str, envelope: str, body: str | bytes) -> None:
        self.database.call("fanout.broadcast", _broadcast(exchange, routing_key, envelope, body))

    def last_broadcast(self) -> int:
        return int(self.database.call("fanout.last"))

    def listen(self, exchanges: Sequence[str], after: int) -> list[Broadcast]:
        found = self.database.call("fanout.listen", [after, PAGE, *texts_arguments(exchanges)])
        return [
            Broadcast(number, text(exchange), text(routing_key), text(envelope), unpack(body))  # type: ignore[arg-type]
            for number, exchange, routing_key, envelope, body in found
        ]

    def bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        self.database.call("fanout.bind", [plain(part) for part in (exchange, routing_key, pattern, queue)])

    def unbind(self, queue: str) -> None:
        self.database.call("fanout.unbind", [plain(queue)])

    def bindings(self, exchange: str) -> list[tuple[str, str, str]]:
        found = self.database.call("fanout.bindings", [plain(exchange)])
        return [(text(key), text(pattern), text(queue)) for key, pattern, queue in found]


def _broadcast(exchange: str, routing_key: str, envelope: str, body: str | bytes) -> Iterator[Argument]:
    yield from (plain(exchange), plain(routing_key), plain(envelope), pack(body))
