"""The payment gateway: a stranger over HTTP that keeps its own books and misbehaves on purpose.

It honours the ``Idempotency-Key`` header. Which order meets which trouble is drawn
from the seed and the order, so every run of a seed is alike.

    python -m shop.gateway --port 8001 --books gateway.db --seed 7
"""

from __future__ import annotations

import argparse
import hashlib
import json
import socket
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

#: Of a thousand orders, how many meet which trouble.
DECLINED, UNKNOWN_ACCOUNT, BUSY, SLOW, ANSWER_LOST = 60, 5, 80, 15, 60
#: Seconds after which a busy gateway wants to be asked again.
BUSY_FOR = 1
#: Seconds a slow answer takes; the shop waits less.
SLOWNESS = 3.0
#: Seconds that a booking takes.
BOOKING = 0.01
#: No order's number, and no sum in pence, is so large.
MOST = 10**15

SCHEMA = """
CREATE TABLE IF NOT EXISTS charge (
    id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL, pence INTEGER NOT NULL, key TEXT UNIQUE, booked_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS call (
    id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL, key TEXT, outcome TEXT NOT NULL, at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS crowd (customer TEXT PRIMARY KEY, most INTEGER NOT NULL);
"""


class KeyReused(Exception):
    """A key of one charge came with another."""


class Books:
    """Charges and calls, as the gateway itself knows them."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._raw = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._raw.execute("PRAGMA journal_mode = WAL")
        self._raw.execute("PRAGMA synchronous = NORMAL")
        self._raw.executescript(SCHEMA)
        self._calling: Counter[str] = Counter()

    def note(self, order_id: int, key: str | None, outcome: str) -> None:
        """Write down a call."""
        with self._lock:
            self._raw.execute(
                "INSERT INTO call (order_id, key, outcome, at) VALUES (?, ?, ?, ?)",
                (order_id, key, outcome, time.time()),
            )

    @contextmanager
    def calling(self, customer: str) -> Iterator[None]:
        """For the time of a customer's booking: how many of his there were at once is written down."""
        with self._lock:
            self._calling[customer] += 1
            self._raw.execute(
                "INSERT INTO crowd VALUES (?1, ?2) ON CONFLICT DO UPDATE SET most = max(most, ?2)",
                (customer, self._calling[customer]),
            )
        try:
            yield
        finally:
            with self._lock:
                self._calling[customer] -= 1

    def earlier_calls(self, order_id: int) -> int:
        """How often this order was tried before."""
        with self._lock:
            return int(self._raw.execute("SELECT count(*) FROM call WHERE order_id = ?", (order_id,)).fetchone()[0])

    def charge(self, order_id: int, pence: int, key: str | None) -> tuple[int, bool]:
        """Book a charge; a key seen before is answered with the first booking.

        Raises KeyReused when the first booking was for something else.
        """
        with self._lock:
            row = self._raw.execute("SELECT id, order_id, pence FROM charge WHERE key = ?", (key,)).fetchone()
            if row is not None and row[1:] != (order_id, pence):
                raise KeyReused
            if row is not None:
                return int(row[0]), True
            done = self._raw.execute(
                "INSERT INTO charge (order_id, pence, key, booked_at) VALUES (?, ?, ?, ?)",
                (order_id, pence, key, time.time()),
            )
            return int(done.lastrowid or 0), False

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


def trouble(seed: int, order_id: int) -> str:
    """What this order meets: the same for the same seed."""
    digest = hashlib.blake2b(f"{seed}:{order_id}".encode(), digest_size=4).digest()
    drawn = int.from_bytes(digest, "big") % 1000
    for name, share in (
        ("declined", DECLINED),
        ("unknown-account", UNKNOWN_ACCOUNT),
        ("busy", BUSY),
        ("slow", SLOW),
        ("answer-lost", ANSWER_LOST),
    ):
        if drawn < share:
            return name
        drawn -= share
    return "none"


class Gateway(BaseHTTPRequestHandler):
    """POST /charges with ``{"order_id": …, "pence": …, "customer": …}``; the last may be missing."""

    protocol_version = "HTTP/1.1"
    books: Books
    seed: int

    def do_GET(self) -> None:
        """Say that it is there."""
        self._answer(200, {"ok": True})

    def do_POST(self) -> None:
        """Charge, or misbehave."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/charges":
            self._answer(404, {"error": f"there is no {self.path}"})
            return
        try:
            order_id, pence, customer = _asked(body)
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            self._answer(400, {"error": f"a charge needs order_id and pence, above 0: {error!r}"})
            return
        self._charge(order_id, pence, customer, self.headers.get("Idempotency-Key"))

    def _charge(self, order_id: int, pence: int, customer: str, key: str | None) -> None:
        first = self.books.earlier_calls(order_id) == 0
        kind = trouble(self.seed, order_id)
        if kind == "declined":
            self._refuse(order_id, key, 402, "declined")
        elif kind == "unknown-account":
            self._refuse(order_id, key, 422, "unknown-account")
        elif kind == "busy" and first:
            self.books.note(order_id, key, "busy")
            self._answer(503, {"error": "busy"}, {"Retry-After": str(BUSY_FOR)})
        elif kind == "slow" and first:
            self.books.note(order_id, key, "slow")
            time.sleep(SLOWNESS)
            self.close_connection = True
        else:
            self._book(order_id, pence, customer, key, lose_answer=kind == "answer-lost" and first)

    def _refuse(self, order_id: int, key: str | None, code: int, outcome: str) -> None:
        self.books.note(order_id, key, outcome)
        self._answer(code, {"error": outcome})

    def _book(self, order_id: int, pence: int, customer: str, key: str | None, *, lose_answer: bool) -> None:
        try:
            with nullcontext() if self._caller_is_gone() else self.books.calling(customer):
                time.sleep(BOOKING)
                charge, absorbed = self.books.charge(order_id, pence, key)
        except KeyReused:
            self._refuse(order_id, key, 422, "key-reused")
            return
        self.books.note(order_id, key, "absorbed" if absorbed else "answer-lost" if lose_answer else "charged")
        if lose_answer:
            # The money has moved, and the shop will never hear of it.
            self.close_connection = True
            self.connection.close()
            return
        self._answer(200, {"charge": f"ch_{charge}"})

    def _caller_is_gone(self) -> bool:
        """Whether he gave up, or was killed, while this waited: his booking is no call of the shop's any more."""
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _answer(self, code: int, body: dict[str, object], headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Keep quiet: the books say it all."""


def _asked(body: bytes) -> tuple[int, int, str]:
    asked = json.loads(body)
    order_id, pence = int(asked["order_id"]), int(asked["pence"])
    if not (0 < order_id < MOST and 0 < pence < MOST):
        raise ValueError(asked)
    return order_id, pence, str(asked.get("customer") or order_id)


class Server(ThreadingHTTPServer):
    """Many callers at once; a connection closed on purpose is no error."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that went away is part of the plan."""


def server(port: int, books: Books, seed: int) -> Server:
    """A gateway that listens; 0 is any free port."""
    return Server(("127.0.0.1", port), type("SeededGateway", (Gateway,), {"books": books, "seed": seed}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--books", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    server(given.port, Books(given.books), given.seed).serve_forever()
