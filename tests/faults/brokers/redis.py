"""A Redis of the matrix's own, which as a store writes every change down before it answers; each cell has a prefix."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import redis

from tests.faults.brokers.base import Broker, Missing, Place
from tests.support import Program, free_port
from tools.services.redis import REDIS

#: Milliseconds for which writing may be paused, should nobody end that.
PAUSED = 60_000


class Server(Program):
    """One that loses nothing that it has answered for; or, not `durable`, everything when it ends."""

    def __init__(self, *, durable: bool = True) -> None:
        binary = shutil.which(REDIS.program)
        if binary is None:
            raise Missing("Redis's server is not installed on this machine")
        folder = Path(tempfile.mkdtemp(prefix="celeriac-faults-redis-"))
        self.port = free_port()
        self.url = REDIS.url("127.0.0.1", self.port)
        kept = ["--appendonly", "yes", "--appendfsync", "always"] if durable else ["--appendonly", "no"]
        options = [*kept, "--save", "", "--maxmemory-policy", "noeviction"]
        listen = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(folder)]
        super().__init__([binary, *listen, *options], folder, name="redis")

    def ready(self) -> bool:
        """Whether it has read what it had written, and answers."""
        with suppress(redis.RedisError):
            return not self.say("INFO", "persistence")["loading"]
        return False

    def end(self, number: signal.Signals) -> None:
        """SIGTERM asks it to end; SIGKILL does not."""
        os.kill(self.pid, number)
        self.wait()

    def say(self, *words: str | int) -> Any:
        """Send one command."""
        with closing(redis.Redis.from_url(self.url, socket_timeout=10)) as client:
            return client.execute_command(*words)  # type: ignore[no-untyped-call]  # the client's

    def close(self) -> None:
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Keys(Place):
    """Keys under a prefix."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.prefix = f"faults-{uuid.uuid4().hex[:12]}"
        self.url = self.through(server.port)

    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._server.port

    def through(self, port: int) -> str:
        return f"redis+streams://127.0.0.1:{port}/0?prefix={self.prefix}"

    def cut(self) -> None:
        for kind in ("normal", "pubsub"):
            self._server.say("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Every write waits, as behind a script that takes its time."""
        self._server.say("CLIENT", "PAUSE", PAUSED, "WRITE")
        try:
            yield
        finally:
            self._server.say("CLIENT", "UNPAUSE")

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """It has become a replica, as after a failover."""
        self._server.say("REPLICAOF", "127.0.0.1", 1)
        try:
            yield
        finally:
            self._server.say("REPLICAOF", "NO", "ONE")

    @contextmanager
    def full(self) -> Iterator[None]:
        """Its memory is, which for it comes first."""
        self._server.say("CONFIG", "SET", "maxmemory", 1)
        try:
            yield
        finally:
            self._server.say("CONFIG", "SET", "maxmemory", 0)

    def close(self) -> None:
        self._server.say("FLUSHALL")  # the server is the matrix's own, and cells follow one another


class RedisStreams(Broker):
    name = scheme = "redis+streams"
    rests_on = (
        "`appendonly yes` and `appendfsync always`: what was answered is on the disk when the server is killed. With `everysec` "
        "its crash loses the last second. `maxmemory-policy noeviction`; no failover: a replica may lack what was answered"
    )

    def __init__(self) -> None:
        self._server = Server()
        self._server.start()

    def place(self, folder: Path, need: str) -> Keys:
        return Keys(self._server)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self._server.end(signal.SIGKILL)
        try:
            yield
        finally:
            self._server.start()

    def restart(self) -> None:
        self._server.end(signal.SIGTERM)
        self._server.start()

    def close(self) -> None:
        self._server.close()
