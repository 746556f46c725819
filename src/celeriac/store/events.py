"""The kernel's word that a file was written, where there is one: inotify, on Linux."""

from __future__ import annotations

import ctypes
import os
import select
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

#: From <sys/inotify.h>: written to.
_IN_MODIFY = 0x00000002
#: More than one event's 16 bytes: equal ones that were not taken yet are one to the kernel.
_TAKEN_AT_ONCE = 4096


class FileEvents:
    """Says whether one file was written since it was last asked; for one waiting thread at a time.

    It belongs to the process that opened it: a child that reads from it takes its parent's events.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        #: Whoever waits holds it; another finds it taken, and has to look for itself.
        self.listener = threading.Lock()

    @classmethod
    def of(cls, path: Path) -> FileEvents | None:
        """Events of this file; None where the system has none, or has given out all it allows this user."""
        libc = _libc()
        if libc is None:
            return None
        fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if fd < 0:
            return None
        if libc.inotify_add_watch(fd, os.fsencode(path), _IN_MODIFY) < 0:
            os.close(fd)
            return None
        return cls(fd)

    def wait(self, seconds: float) -> None:
        """Return when there is an event, or after so long. Nothing is taken."""
        fd = self._fd
        if fd >= 0:
            poll = select.poll()  # looked up now: gevent's, where it has patched this one
            poll.register(fd, select.POLLIN)
            poll.poll(seconds * 1000)

    def take(self) -> bool:
        """Whether there was an event; the caller sees to it that nobody closes this meanwhile."""
        with suppress(OSError):
            return bool(os.read(self._fd, _TAKEN_AT_ONCE))
        return False

    def close(self) -> None:
        """Hear no more. A thread that waits is not woken."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _libc() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "inotify_init1") else None
