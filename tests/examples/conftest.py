"""The shop is no installed package: its modules are found as where it runs."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

sys.path[:0] = [path for path in (str(EXAMPLES), str(EXAMPLES / "shop_fastapi")) if path not in sys.path]

SEED = 7


@dataclass
class RunningGateway:
    """A real gateway in a thread, and its books."""

    url: str
    module: ModuleType
    books: Path

    def order(self, trouble: str, nth: int = 0) -> int:
        """The id of an order that meets this trouble."""
        ids = (order_id for order_id in range(1, 5000) if self.module.trouble(SEED, order_id) == trouble)
        return [next(ids) for _ in range(nth + 1)][-1]

    def asked(self, query: str) -> list[Any]:
        """Rows of the books."""
        import sqlite3

        with closing(sqlite3.connect(self.books)) as raw:
            return raw.execute(query).fetchall()


@contextmanager
def running(folder: Path) -> Iterator[RunningGateway]:
    module = import_module("shop.gateway")
    books = module.Books(folder / "gateway.db")
    with closing(books), module.server(0, books, SEED) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield RunningGateway(f"http://127.0.0.1:{server.server_address[1]}", module, folder / "gateway.db")
        server.shutdown()
        thread.join()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    with running(tmp_path) as found:
        yield found


@pytest.fixture
def clients() -> Iterator[ModuleType]:
    """The shop's clients; its connections do not outlive the test."""
    module = import_module("shop.clients")
    yield module
    for client in module._clients.values():
        client.close()
    module._clients.clear()


@pytest.fixture
def mail(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The port of a real mail server, and its books."""
    module = import_module("shop.mailserver")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    books = module.Books(tmp_path / "mail.db")
    server = module.server(port, books)
    server.start()
    yield port, tmp_path / "mail.db"
    server.stop()
    books.close()
