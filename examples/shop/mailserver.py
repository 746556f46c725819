"""The mail server: real SMTP, and books of every mail it took.

python -m shop.mailserver --port 8025 --books mail.db
"""

from __future__ import annotations

import argparse
import email
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller

SCHEMA = "CREATE TABLE IF NOT EXISTS mail (id INTEGER PRIMARY KEY, message_id TEXT NOT NULL, recipient TEXT, at REAL)"


class Books:
    """Keeps each mail as it came, repeated ones too."""

    def __init__(self, path: Path) -> None:
        self._raw = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._raw.execute("PRAGMA journal_mode = WAL")
        self._raw.execute(SCHEMA)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """Take a mail: aiosmtpd calls this with the whole of it."""
        message = email.message_from_bytes(envelope.content)
        self._raw.execute(
            "INSERT INTO mail (message_id, recipient, at) VALUES (?, ?, ?)",
            (message["Message-ID"], envelope.rcpt_tos[0], time.time()),
        )
        return "250 OK"


def serve(port: int, books: Path) -> None:
    """Serve until the process is ended."""
    Controller(Books(books), hostname="127.0.0.1", port=port).start()
    threading.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--books", type=Path, required=True)
    given = parser.parse_args()
    serve(given.port, given.books)
