"""A Redis of a test's own, to be killed and started again on its data."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from tests.support.ports import free_port
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from typing_extensions import Self

#: It has written what it has answered.
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


class RedisServer:
    """A server on loopback, with its data in a folder.

    Args:
        folder: made where it is missing.
        *options: as on the command line.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, on the same port each time; ready when the call returns."""
        for port in [self.port] if self.port else [free_port() for _ in range(3)]:
            if self._start(port):
                self.port = port
                return
        raise AssertionError(self.log())

    def _start(self, port: int) -> bool:
        program = shutil.which("redis-server")
        assert program, "there is no redis-server"
        listen = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(self._folder), "--save", ""]
        with (self._folder / "log").open("ab") as log:
            command = [program, *listen, *self._options]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: self._answers(port) or self._ended(), 30, self.log)
        return not self._ended()

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """End it."""
        if not self._ended():
            self._end(signal.SIGTERM)

    def log(self) -> str:
        """What it has said."""
        return (self._folder / "log").read_text(errors="replace")

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(30)

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    @staticmethod
    def _answers(port: int) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
                connection.sendall(b"PING\r\n")
                # It asks for a password, or it is ready; while it reads its data it says so.
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
