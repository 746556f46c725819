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

SCHEMA = "CREATE TABLE IF NOT EXISTS mail (id INTEGER PRIMARY KEY, message_id TEXT NOT NULL, recipient TEXT, subject TEXT, at REAL)"


class Books:
    """Keeps each mail as it came, repeated ones too."""

    def __init__(self, path: Path) -> None:
        self._raw = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._raw.execute("PRAGMA journal_mode = WAL")
        self._raw.execute(SCHEMA)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
        """Take a mail: aiosmtpd calls this with the whole of it."""
        message = email.message_from_bytes(envelope.content)
        if not message["Message-ID"]:
            return "554 a mail needs a Message-ID"
        self._raw.execute(
            "INSERT INTO mail (message_id, recipient, subject, at) VALUES (?, ?, ?, ?)",
            (message["Message-ID"], envelope.rcpt_tos[0], message["Subject"], time.time()),
        )
        return "250 OK"

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


def server(port: int, books: Books) -> Controller:
    """A mail server that does not listen yet: start() and stop() it."""
    return Controller(books, hostname="127.0.0.1", port=port, server_hostname="mail.shop.example")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--books", type=Path, required=True)
    given = parser.parse_args()
    server(given.port, Books(given.books)).start()
    threading.Event().wait()
