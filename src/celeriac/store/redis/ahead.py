"""Operations that are sent before the answers to those before are read: client and server work at the same time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from redis import exceptions

from celeriac.store.redis.database import Database
from celeriac.store.redis.packing import Argument
from celeriac.store.redis.session import Session


class Asked:
    """An operation under way, on a connection that its followers share: so the server does them in their order.

    Args:
        database: where to.
        name: of the operation.
        arguments: its own.
        patience: seconds that its answer may take, counted from when it is waited for.
        behind: the one before, whose answer may be to come.

    Raises:
        StoreUnavailable: it could not be sent; what became of it, and of those before, is unknown.
    """

    def __init__(
        self, database: Database, name: str, arguments: Iterable[Argument], patience: float, behind: Asked | None
    ) -> None:
        self._database, self._patience = database, patience
        self._script = database.script(name)
        self._words: tuple[Argument, ...] = (b"1", database.base, *arguments)
        self._followed = self._heard = False
        self._answer: Any = None
        with database.translated():
            self._session = _follow(behind) or database.take()
            try:
                self._session.send(b"EVALSHA", self._script.sha, *self._words)
            except BaseException:
                self.abandon()
                raise

    def answer(self) -> Any:
        """As of ``Database.call``."""
        with self._database.translated():
            self._hear()
            if isinstance(self._answer, exceptions.NoScriptError):
                # Nothing has run. On another connection: what this one says next is the answer to a follower.
                with self._database.lent() as session:
                    return session.ask(b"EVAL", self._script.text, *self._words, patience=self._patience)
            if isinstance(self._answer, exceptions.ResponseError):
                raise self._answer
            return self._answer

    def _hear(self) -> None:
        """Read the answer, an error too, and give the connection back where no follower waits on it."""
        if self._heard:
            return
        if not self._session.open:
            raise exceptions.ConnectionError("the connection was given up before the answer came")
        try:
            self._answer = self._session.hear(self._patience)
        except exceptions.ResponseError as error:
            self._answer = error
            if isinstance(error, exceptions.ReadOnlyError):
                self._session.close()  # it was the primary once
        except BaseException:
            self.abandon()
            raise
        self._heard = True
        if not self._followed:
            self._database.give_back(self._session)

    def followed(self) -> Session | None:
        """The connection, for one that is sent behind this; None where it is no more this one's."""
        if not self._heard and self._session.open and self._session.answers():
            # The server waits for us: by now it may have hung up behind its answer, which a vain try to send would lose.
            self._hear()
        if self._heard or not self._session.open:
            return None
        self._followed = True
        return self._session

    def abandon(self) -> None:
        """Hang up: half a question, or an answer that nobody waits for any more."""
        if not self._heard:
            self._session.close()
            self._database.give_back(self._session)


def _follow(behind: Asked | None) -> Session | None:
    return None if behind is None else behind.followed()
