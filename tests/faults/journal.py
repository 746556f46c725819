"""Journals: what processes under test write while they live, one whole line at a time, and what is read afterwards.

A line is written by one call, so a process that is killed leaves it whole or not at all; the kernel has it then, and no
process's death takes it back. Times are seconds since this machine booted: nobody steps that clock.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: What the client tried to publish and what became of that; what ran; what was claimed; what was done to whom.
PUBLISHED, RAN, CLAIMED, INJECTED, PLAIN = "published", "ran", "claimed", "injected", "plain"
#: Who came to the limited receiver and left it; who put himself off; what went on beside the fault, which excuses nothing.
INSIDE, PUT_OFF, MEANWHILE = "inside", "put-off", "meanwhile"


def now() -> float:
    """Seconds since boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def note(folder: str | Path, journal: str, **line: Any) -> None:
    """Append a line, whole, whoever else writes."""
    descriptor = os.open(Path(folder, journal), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


def lines(folder: str | Path, journal: str) -> list[dict[str, Any]]:
    """What was noted, in order."""
    path = Path(folder, journal)
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


@contextmanager
def injecting(folder: str | Path, what: str) -> Iterator[None]:
    """Note an injected fault, with the time it lasts."""
    began = now()
    try:
        yield
    finally:
        note(folder, INJECTED, what=what, start=began, end=now(), pid=os.getpid())


class Counted:
    """How many lines of a journal hold a text by now; what was counted is not read again."""

    def __init__(self, folder: str | Path, journal: str, text: str = "") -> None:
        self._path = Path(folder, journal)
        self._text = text.encode()
        self._offset = self._lines = 0

    def count(self) -> int:
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._offset)
                read = file.read()
            self._offset += len(read)
            self._lines += sum(self._text in line for line in read.splitlines())
        return self._lines
