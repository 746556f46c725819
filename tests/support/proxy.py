"""A way to a server that a test can cut, close or make silent."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


class Proxy:
    """Passes bytes on between its own port and a server's, until it is told otherwise."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._lost: list[socket.socket] = []
        self._lock = threading.Lock()
        self._servers: set[socket.socket] = set()
        self._silent = self._mute = self._closed = self._ended = False
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def swallow(self) -> None:
        """From now on nothing comes through, and nobody is told."""
        self._silent = True

    def lose(self) -> None:
        """Nothing comes through the connections there are, and nobody is told; a new one is a good one."""
        with self._lock:
            self._lost += self._pairs
            self._pairs = {}

    def swallow_answers(self) -> None:
        """From now on the server hears everything, and nothing of what it says comes through."""
        self._mute = True

    def refuse(self) -> None:
        """Cut every connection, and accept none."""
        self._closed = True
        self.cut()

    def cut(self) -> None:
        """Cut every connection there is."""
        with self._lock:
            ends = [*self._pairs, *self._lost]
            self._pairs, self._lost, self._servers = {}, [], set()
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def heal(self) -> None:
        """All is well again; what was swallowed is lost with its connections."""
        self.cut()
        self._silent = self._mute = self._closed = False

    def _run(self) -> None:
        while not self._ended:
            for end in self._readable():
                if end is self._listener:
                    self._accept()
                elif not self._silent:
                    self._pass_on(end)

    def _readable(self) -> list[socket.socket]:
        with self._lock:
            ends = [self._listener, *self._pairs]
        try:
            return select.select(ends, [], [], 0.02)[0]
        except (OSError, ValueError):  # one was cut meanwhile
            return []

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        if self._closed:
            client.close()
            return
        with self._lock:
            if self._silent:
                self._pairs[client] = client
                return
        try:
            server = self._connect()
        except OSError:
            client.close()
            return
        with self._lock:
            self._pairs[client], self._pairs[server] = server, client
            self._servers.add(server)

    def _connect(self) -> socket.socket:
        return socket.create_connection(self._target)

    def _pass_on(self, end: socket.socket) -> None:
        with self._lock:
            other = self._pairs.get(end)
        try:
            data = end.recv(65536)
            if data and self._mute and end in self._servers:
                return
            if data and other is not None:
                other.sendall(data)
                return
        except OSError:
            pass
        with self._lock:
            self._servers -= {end, other}
            self._pairs.pop(end, None)
            if other is not None:
                self._pairs.pop(other, None)
        for each in (end, other):
            if each is not None:
                each.close()

    def close(self) -> None:
        """End it, and every connection through it."""
        self._ended = True
        self._thread.join()
        self.cut()
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
