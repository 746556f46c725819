"""The write-ahead log, and how it stays small."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

#: Size (bytes) past which the log is folded back and truncated: with two busy
#: writers SQLite never finds the moment by itself.
WAL_BOUND = 32 * 1024 * 1024
#: Commits of a connection between its looks at the size.
COMMITS_A_LOOK = 512
#: Seconds that a writer, and the pruner, tries to fold.
WRITERS_TRY, PRUNERS_TRY = 0.05, 1.0


#: A file's device and number, whatever it is called.
FileId = tuple[int, int]


def file_id(path: str | Path) -> FileId | None:
    """Which file a path leads to; None when it leads to none."""
    try:
        found = os.stat(path)  # noqa: PTH116  # asked before every statement, and Path's takes twice as long
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Log:
    """The log of one file."""

    def __init__(self, path: Path) -> None:
        self.path = Path(f"{path}-wal")
        self._name = str(self.path)
        self._fold_past = WAL_BOUND

    def file(self) -> FileId | None:
        """Which file it is now."""
        return file_id(self._name)

    def size(self) -> int:
        """Bytes."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def bound(self, raw: sqlite3.Connection) -> None:
        """Fold it when it has grown too large; while a reader stands in the way, at every doubling."""
        size = self.size()
        if size <= WAL_BOUND:
            self._fold_past = WAL_BOUND
        elif size > self._fold_past:
            self._fold_past = 2 * size
            with suppress(sqlite3.Error):  # what was written is committed
                fold(raw, WRITERS_TRY)


def fold(raw: sqlite3.Connection, seconds: float) -> bool:
    """Write the log back into the file and empty it; false when somebody was always in the way."""
    give_up = time.monotonic() + seconds
    while raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if time.monotonic() > give_up:
            return False
        time.sleep(0.0003)
    return True
