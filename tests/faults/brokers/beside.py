"""Brokers that are no stores, with a ledger beside them in a SQLite file: what locks, fills up or is read-only is the file."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol

import kombu

from celeriac.transport.rabbitmq.queues import DEAD_LETTERS
from tests.faults.brokers import redis as own_redis
from tests.faults.brokers.base import Broker, Missing, Place
from tests.faults.brokers.sqlite import file_for
from tests.support import Program, free_port, patient, wait_for
from tools.services import rabbitmq
from tools.services.rabbitmq import RABBITMQ

QUEUE = "faults"
#: Seconds after which Redis's transport delivers again what nobody acknowledged, and the ledger gives its broker again what
#: nobody took.
AGAIN = 6


class Server(Protocol):
    """What a broker's server can do, or have done to it."""

    port: int

    def start(self) -> None: ...

    def end(self, number: signal.Signals) -> None: ...

    def cut(self) -> None: ...

    def empty(self) -> None: ...

    def address(self, port: int) -> str: ...

    def close(self) -> None: ...


class BesideLedger(Place):
    """The messages on a server, the ledger in a file."""

    def __init__(self, server: Server, folder: Path, need: str, options: dict[str, Any]) -> None:
        self._server, self._options = server, options
        self._file = file_for(folder, need)
        self.url = self.through(server.port)

    @property
    def settings(self) -> dict[str, Any]:
        options = {"broker_transport_options": self._options} if self._options else {}
        own = {"celeriac_ledger": self._file.url, "celeriac_relay_again_seconds": AGAIN}
        return {**own, "task_default_queue": QUEUE, **options}

    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._server.port

    def through(self, port: int) -> str:
        return self._server.address(port)

    def cut(self) -> None:
        self._server.cut()

    def locked(self) -> AbstractContextManager[None]:
        return self._file.locked()

    def read_only(self) -> AbstractContextManager[None]:
        return self._file.read_only()

    def full(self) -> AbstractContextManager[None]:
        return self._file.full()

    def close(self) -> None:
        self._server.empty()
        self._file.close()


class Beside(Broker):
    """A broker of Celery's with a ledger."""

    ledger_beside = True
    claim = "adopt"
    server: Server
    options: ClassVar[dict[str, Any]] = {}

    def place(self, folder: Path, need: str) -> BesideLedger:
        return BesideLedger(self.server, folder, need, self.options)

    def pending(self, app: Any) -> int:
        """The server is asked when the ledger has nothing left, since RabbitMQ's answer takes seconds; and then the ledger again."""
        return super().pending(app) or self.in_broker(app) or super().pending(app)

    def in_broker(self, app: Any) -> int:
        """Messages that the server has, delivered or not."""
        raise NotImplementedError

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self.server.end(signal.SIGKILL)
        try:
            yield
        finally:
            self.server.start()

    def restart(self) -> None:
        self.server.end(signal.SIGTERM)
        self.server.start()

    def close(self) -> None:
        self.server.close()


class _Redis(own_redis.Server):
    """Writes nothing to its disk, as many that Celery is used with: the ledger has it all."""

    def __init__(self) -> None:
        super().__init__(durable=False)

    def cut(self) -> None:
        for kind in ("normal", "pubsub"):
            self.say("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    def empty(self) -> None:
        self.say("FLUSHALL")

    def address(self, port: int) -> str:
        return f"redis://127.0.0.1:{port}/0"


class RedisBesideLedger(Beside):
    name, scheme = "redis+ledger", "redis"
    rests_on = (
        "the ledger alone, whose SQLite file is as in the column *sqlite*: every task goes by it, and what Redis loses it is given "
        "again. This Redis writes nothing to its disk, so that it has lost everything when it was killed or restarted"
    )
    options: ClassVar[dict[str, Any]] = {
        "visibility_timeout": AGAIN,
        "socket_timeout": 4.0,
        "socket_connect_timeout": 4.0,
    }

    def __init__(self) -> None:
        self._redis = _Redis()
        self.server = self._redis
        self.server.start()

    def in_broker(self, app: Any) -> int:
        """kombu keeps what is delivered in a hash of all queues, until it is acknowledged."""
        say = self._redis.say
        return sum(int(say("LLEN", name)) for name in say("KEYS", f"{QUEUE}*")) + int(say("HLEN", "unacked"))


class _Rabbit(Program):
    """A node in a folder of its own."""

    def __init__(self) -> None:
        binary = shutil.which(RABBITMQ.program, path=RABBITMQ.path(os.environ.get("PATH")))
        if binary is None:
            raise Missing("RabbitMQ is not installed on this machine")
        folder = Path(tempfile.mkdtemp(prefix="celeriac-faults-rabbitmq-"))
        self.binary, self.port = binary, free_port()
        super().__init__(RABBITMQ.command(binary, self.port, folder), folder, name="rabbitmq")

    def address(self, port: int) -> str:
        return RABBITMQ.url("127.0.0.1", port)

    def ready(self) -> bool:
        return RABBITMQ.answers(self.address(self.port))

    def wait_ready(self, timeout: float = 240.0) -> None:
        """On a busy machine a node that was killed is a minute in coming back."""
        super().wait_ready(timeout)

    def end(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)
        self.wait()
        wait_for(lambda: not self.processes(), 30, "the node's processes do not end")

    def control(self, *arguments: str) -> str:
        return rabbitmq.control(self.binary, self.port, self.folder, *arguments, seconds=patient(120))

    def cut(self) -> None:
        self.control("close_all_connections", "cut off")

    def empty(self) -> None:
        """Without its command, which takes seconds; the queues for delays stay, since the ledger keeps what is to wait."""
        with kombu.Connection(self.address(self.port)) as connection:
            for name in (QUEUE, DEAD_LETTERS):
                connection.default_channel.queue_delete(name)

    def close(self) -> None:
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)


class RabbitBesideLedger(Beside):
    name, scheme = "amqp+ledger", "amqp"
    rests_on = (
        "publisher confirms of quorum queues, which a majority of their nodes, here the only one, has on its disk. What has a key, "
        "follows another task or waits goes by the ledger, whose SQLite file is as in the column *sqlite*"
    )

    def __init__(self) -> None:
        self._rabbit = _Rabbit()
        self.server = self._rabbit
        self.server.start()

    def in_broker(self, app: Any) -> int:
        """What waits is soon asked; what is delivered and not acknowledged, only the slow command knows."""
        with app.connection_for_read() as connection:
            waits = int(app.amqp.queues[QUEUE](connection.default_channel).queue_declare(passive=True).message_count)
        if waits:
            return waits
        rows = (row.split() for row in self._rabbit.control("list_queues", "name", "messages").splitlines())
        return sum(int(row[-1]) for row in rows if row and row[0].startswith(QUEUE))
