"""The payment gateway: a stranger over HTTP that keeps its own books and misbehaves on purpose.

It honours the ``Idempotency-Key`` header. Which order meets which trouble is drawn
from the seed and the order, so every run of a seed is alike.

    python -m shop.gateway --port 8001 --books gateway.db --seed 7
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sqlite3
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

#: Of a thousand orders, how many meet which trouble.
DECLINED, UNKNOWN_ACCOUNT, BUSY, SLOW, ANSWER_LOST = 60, 5, 80, 15, 60
#: Seconds a slow answer takes; the shop waits less.
SLOWNESS = 3.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS charge (
    id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL, pence INTEGER NOT NULL, key TEXT UNIQUE, booked_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS call (
    id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL, key TEXT, outcome TEXT NOT NULL, at REAL NOT NULL
);
"""


class Books:
    """Charges and calls, as the gateway itself knows them."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._raw = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._raw.execute("PRAGMA journal_mode = WAL")
        self._raw.execute("PRAGMA synchronous = NORMAL")
        self._raw.executescript(SCHEMA)

    def note(self, order_id: int, key: str | None, outcome: str) -> None:
        """Write down a call."""
        with self._lock:
            self._raw.execute(
                "INSERT INTO call (order_id, key, outcome, at) VALUES (?, ?, ?, ?)",
                (order_id, key, outcome, time.time()),
            )

    def earlier_calls(self, order_id: int) -> int:
        """How often this order was tried before."""
        with self._lock:
            return int(self._raw.execute("SELECT count(*) FROM call WHERE order_id = ?", (order_id,)).fetchone()[0])

    def charge(self, order_id: int, pence: int, key: str | None) -> tuple[int, bool]:
        """Book a charge; a key seen before is answered with the first booking."""
        with self._lock:
            if key is not None:
                row = self._raw.execute("SELECT id FROM charge WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    return int(row[0]), True
            done = self._raw.execute(
                "INSERT INTO charge (order_id, pence, key, booked_at) VALUES (?, ?, ?, ?)",
                (order_id, pence, key, time.time()),
            )
            return int(done.lastrowid or 0), False


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
    """POST /charges with ``{"order_id": …, "pence": …}``."""

    protocol_version = "HTTP/1.1"
    books: Books
    seed: int

    def do_GET(self) -> None:
        """Say that it is there."""
        self._answer(200, {"ok": True})

    def do_POST(self) -> None:
        """Charge, or misbehave."""
        try:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            order_id, pence = int(body["order_id"]), int(body["pence"])
        except (ValueError, KeyError, TypeError) as error:
            self._answer(400, {"error": f"a charge needs order_id and pence: {error}"})
            return
        self._charge(order_id, pence, self.headers.get("Idempotency-Key"))

    def _charge(self, order_id: int, pence: int, key: str | None) -> None:
        first = self.books.earlier_calls(order_id) == 0
        kind = trouble(self.seed, order_id)
        if kind == "declined":
            self._refuse(order_id, key, 402, "declined")
        elif kind == "unknown-account":
            self._refuse(order_id, key, 422, "unknown-account")
        elif kind == "busy" and first:
            self.books.note(order_id, key, "busy")
            self._answer(503, {"error": "busy"}, {"Retry-After": "1"})
        elif kind == "slow" and first:
            self.books.note(order_id, key, "slow")
            time.sleep(SLOWNESS)
            self.close_connection = True
        else:
            self._book(order_id, pence, key, lose_answer=kind == "answer-lost" and first)

    def _refuse(self, order_id: int, key: str | None, code: int, outcome: str) -> None:
        self.books.note(order_id, key, outcome)
        self._answer(code, {"error": outcome})

    def _book(self, order_id: int, pence: int, key: str | None, *, lose_answer: bool) -> None:
        charge, absorbed = self.books.charge(order_id, pence, key)
        self.books.note(order_id, key, "absorbed" if absorbed else "answer-lost" if lose_answer else "charged")
        if lose_answer:
            # The money has moved, and the shop will never hear of it.
            self.close_connection = True
            self.connection.close()
            return
        self._answer(200, {"charge": f"ch_{charge}"})

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

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: the books say it all."""


class Server(ThreadingHTTPServer):
    """Many callers at once; a connection closed on purpose is no error."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that went away is part of the plan."""


def serve(port: int, books: Path, seed: int) -> None:
    """Serve until the process is ended."""
    handler = type("SeededGateway", (Gateway,), {"books": Books(books), "seed": seed})
    Server(("127.0.0.1", port), handler).serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--books", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    serve(given.port, given.books, given.seed)
