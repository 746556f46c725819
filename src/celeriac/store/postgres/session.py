"""One connection to PostgreSQL: named statements, and values that are text or bytes."""

from __future__ import annotations

import re
import select
import time
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import RawCursor
from psycopg.abc import RV, Buffer, PQGen
from psycopg.adapt import Loader
from psycopg.pq import Format, TransactionStatus
from psycopg.types.array import ListBinaryDumper

from celeriac.store.postgres.news import NEWS
from celeriac.store.postgres.plans import FOR_ALL_ROWS
from celeriac.store.sql import ROOMS, statements

#: A parameter of the domain ``packed``: text or bytes, whichever it was, with a letter in front that says so.
_PACKED = re.compile(r"\$(\d+)::packed")
_TEXT, _BYTES = b"t", b"b"
#: Seconds that a statement may take.
PATIENCE = 30.0
#: Reads of what came on an idle connection, at most.
_LAST_WORDS = 10
_NUL, _SHOWN_NUL = "\x00", "\\x00"

Statement = tuple[str, tuple[int, ...]]
#: The statements of the files, and which of their parameters are packed.
STATEMENTS: dict[str, Statement] = {
    name: (text, tuple(int(number) - 1 for number in _PACKED.findall(text)))
    for name, text in statements("postgres", (*ROOMS, "vacuum")).items()
}


def pack(value: str | bytes | None) -> bytes | None:
    """Text or bytes as the domain ``packed`` holds them.

    Raises:
        psycopg.DataError: it is neither.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return _TEXT + value.encode("utf-8", "surrogatepass")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _BYTES + bytes(value)
    raise psycopg.DataError(f"{type(value).__name__} is neither text nor bytes")


class _PackedLoader(Loader):
    """Every ``bytea`` in the schema is packed."""

    format = Format.BINARY

    def load(self, data: Buffer) -> str | bytes:
        value = bytes(data)
        return value[1:].decode("utf-8", "surrogatepass") if value[:1] == _TEXT else value[1:]


class Raw(psycopg.Connection[Any]):
    """The driver's connection, which gives a silent server up: its own waits for ever."""

    #: Seconds that one statement may take.
    patience = PATIENCE

    def wait(self, gen: PQGen[RV], *args: Any, **kwargs: Any) -> RV:
        """As the driver's.

        Raises:
            psycopg.OperationalError: no answer came in time; the connection is closed.
        """
        return super().wait(self._in_time(gen), *args, **kwargs)

    def _in_time(self, gen: PQGen[RV]) -> PQGen[RV]:
        until = time.monotonic() + self.patience
        try:
            state = next(gen)
            while True:
                ready = yield state
                if not ready and time.monotonic() > until:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"the server has not answered for {self.patience:g} seconds")
                state = gen.send(ready)
        except StopIteration as ended:
            value: RV = ended.value
            return value


class Session:
    """A connection of its own server process, with the dialect's statements."""

    lane_by_lane = False

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        #: What the transaction's statements are news of.
        self.news = 0
        raw.adapters.register_loader("bytea", _PackedLoader)
        # As text, an array has every quote escaped by Python: a message has dozens.
        raw.adapters.register_dumper(list, ListBinaryDumper)

    def run(self, name: str, parameters: Sequence[Any] = ()) -> RawCursor[Any]:
        """Run a statement of the files by its name; the server prepares it once."""
        text, packed = STATEMENTS[name]
        self.news |= NEWS.get(name, 0)
        if packed:
            parameters = list(parameters)
            for place in packed:
                parameters[place] = pack(parameters[place])
        cursor = RawCursor(self.raw)
        cursor.format = Format.BINARY
        try:
            cursor.execute(text, parameters, prepare=True)
        except psycopg.DataError:
            # Nothing was sent: the client itself refuses text that the server cannot hold.
            if not any(isinstance(value, str) and _NUL in value for value in parameters):
                raise
            cursor.execute(text, [_without_nul(value) for value in parameters], prepare=True)
        return cursor

    def lock(self, key: str) -> None:
        """Let nobody else use this idempotency key until the transaction ends."""
        self.run("keys.lock", (key,))

    def begin(self) -> None:
        """Begin a transaction."""
        self.news = 0
        self._simply(b"BEGIN")

    def expect_all_rows(self) -> None:
        """Have whole tables read as they lie, until the transaction ends."""
        self._simply(FOR_ALL_ROWS)

    def commit(self, word: bytes = b"") -> None:
        """Commit; with a word to those who listen that is part of it."""
        self._simply(word + b"; COMMIT" if word else b"COMMIT")

    def tell(self, word: bytes) -> None:
        """Say this to those who listen, in a transaction of its own."""
        self._simply(word)

    def rollback(self) -> None:
        """Undo, where the connection still can."""
        if not self.broken and self.raw.info.transaction_status is not TransactionStatus.IDLE:
            self._simply(b"ROLLBACK")

    def _simply(self, command: bytes) -> None:
        # The simple protocol takes several commands in one round trip.
        self.raw.execute(command, prepare=False)

    @property
    def broken(self) -> bool:
        """Whether the server can no longer be reached on it."""
        return self.raw.closed or self.raw.broken

    def still_there(self) -> bool:
        """Whether the server has not hung up while nobody used it, as at its restart; asked without a round trip."""
        waiting = select.poll()
        try:
            waiting.register(self.raw.fileno(), select.POLLIN)
            # A notice, or the end; or first the server's last words and then the end.
            for _ in range(_LAST_WORDS):
                if not waiting.poll(0):
                    break
                self.raw.pgconn.consume_input()
        except psycopg.Error:
            return False
        return not self.broken

    def close(self) -> None:
        """Tell the server, and forget it."""
        self.raw.close()


def _without_nul(value: Any) -> Any:
    return value.replace(_NUL, _SHOWN_NUL) if isinstance(value, str) else value
