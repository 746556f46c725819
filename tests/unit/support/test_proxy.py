"""The way that a test can cut, close or make silent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.support import wait_for
from tests.support.proxy import Proxy


class Echo:
    """Answers what it hears, and keeps it."""

    def __init__(self) -> None:
        self.heard = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(100):
                    self.heard += data
                    connection.sendall(data)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    served = Echo()
    yield served
    served.close()


@pytest.fixture
def way(echo: Echo) -> Iterator[Proxy]:
    with Proxy("127.0.0.1", echo.port) as proxy:
        yield proxy


@pytest.fixture
def client(way: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", way.port), timeout=10) as connection:
        connection.sendall(b"one")
        assert connection.recv(10) == b"one"
        connection.settimeout(0.5)
        yield connection


def test_what_is_asked_arrives_while_answers_are_swallowed(client: socket.socket, way: Proxy, echo: Echo) -> None:
    way.swallow_answers()
    client.sendall(b"two")
    wait_for(lambda: echo.heard == b"onetwo")
    with pytest.raises(TimeoutError):
        client.recv(10)


def test_nothing_arrives_where_everything_is_swallowed(client: socket.socket, way: Proxy, echo: Echo) -> None:
    way.swallow()
    client.sendall(b"two")
    with pytest.raises(TimeoutError):
        client.recv(10)
    assert echo.heard == b"one"


@pytest.mark.parametrize("trouble", ["swallow", "swallow_answers", "refuse"])
def test_it_heals_with_new_connections(client: socket.socket, way: Proxy, trouble: str) -> None:
    getattr(way, trouble)()
    way.heal()
    assert client.recv(10) == b""
    with socket.create_connection(("127.0.0.1", way.port), timeout=10) as another:
        another.sendall(b"three")
        assert another.recv(10) == b"three"
