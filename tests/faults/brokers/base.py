"""What a fault may ask of a broker."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

#: What a fault may need of a broker, and a broker may not have.
SERVER, CONNECTIONS, LOCK, READ_ONLY, DISK = "server", "connections", "lock", "read-only", "disk"


class Missing(Exception):
    """This broker cannot be had here; the text says why."""


class Place:
    """The broker of one cell."""

    url: str

    @property
    def settings(self) -> dict[str, Any]:
        """What the cell's app needs beside the URL."""
        return {}

    def address(self) -> tuple[str, int]:
        """Host and port of its server."""
        raise NotImplementedError

    def through(self, port: int) -> str:
        """The URL by way of a proxy on this machine."""
        raise NotImplementedError

    def cut(self) -> None:
        """End every connection to this store, from the server's side."""
        raise NotImplementedError

    def locked(self) -> AbstractContextManager[None]:
        """Nobody else can write for as long as the block lasts."""
        raise NotImplementedError

    def read_only(self) -> AbstractContextManager[None]:
        """Writing is refused for as long as the block lasts."""
        raise NotImplementedError

    def full(self) -> AbstractContextManager[None]:
        """There is no room left for as long as the block lasts."""
        raise NotImplementedError

    def close(self) -> None:
        """Leave nothing behind."""


class Broker:
    """A kind of broker, with a server of its own where it has one.

    ``senseless`` says, for each thing that a fault may need, why there is none here; ``rests_on`` what the zeros of its
    column rest on.
    """

    name: ClassVar[str]
    rests_on: ClassVar[str]
    senseless: ClassVar[dict[str, str]] = {}
    #: How its URLs begin, and whether it needs a ledger beside it.
    scheme: ClassVar[str]
    ledger_beside: ClassVar[bool] = False
    #: The store's method by which a worker comes to hold messages.
    claim: ClassVar[str] = "claim"

    def place(self, folder: Path, need: str) -> Place:
        """An empty store for one cell, whose fault needs ``need``.

        Raises:
            Missing: that cannot be had here.
        """
        raise NotImplementedError

    def pending(self, app: Any) -> int:
        """How much there is still to do."""
        waits = sum(
            size.ready + size.delayed + size.claimed + sum(size.extra.values())
            for size in app.store.sizes()
            if size.queue == app.conf.task_default_queue
        )
        return int(waits) + len(app.store.chords_waiting(-60.0))

    def stopped(self) -> AbstractContextManager[None]:
        """The server dies as from a fault, and is there again after the block."""
        raise NotImplementedError

    def restart(self) -> None:
        """The server is told to end, and started again."""
        raise NotImplementedError

    def close(self) -> None:
        """End what was started."""
