"""A short job is written to a busy process ahead of time, and taken back when another process is free first.

Between two short jobs a process would wait longer for its parent than the next job takes. So the next one lies in its
pipe already; one, and never behind a process that could be had: whoever becomes free with nothing to do takes it from
there. That needs pipes that keep messages apart (packet mode, Linux), from which parent and process may both read, and
each message goes to one of them.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import Any

#: Linux's packet mode, as an open file's flag; 0 where there is none.
_PACKETS: int = getattr(os, "O_DIRECT", 0)
#: The system's other name for an open file: opening it gives flags of one's own.
_OPEN_FILES = "/proc/self/fd/"
#: More than one packet, which is a page at most.
LARGEST_READ = 65_536


def keep_apart(queue: Any) -> bool:
    """Put a new pipe into packet mode; false where that cannot be."""
    if not _PACKETS or not os.path.isdir(_OPEN_FILES):  # noqa: PTH112  # no path of anybody's
        return False
    with suppress(OSError):
        fd = queue._writer.fileno()  # noqa: SLF001  # billiard's queue has no other way to it
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | _PACKETS)
        return keeps_apart(queue)
    return False


def keeps_apart(queue: Any) -> bool:
    """Whether a pipe whose writing end is open here is in packet mode."""
    return bool(_PACKETS and fcntl.fcntl(queue._writer.fileno(), fcntl.F_GETFL) & _PACKETS)  # noqa: SLF001


class Ahead:
    """The jobs that lie in pipes behind running ones: one a process, the oldest first."""

    def __init__(self) -> None:
        #: By the writing end of the process's pipe, which is how Celery names a process.
        self.jobs: dict[int, Any] = {}

    def write(self, job: Any, process: Any) -> bool:
        """Lay a job into a process's pipe; false when it does not fit in one piece."""
        packet, rest, _ = job._payload  # noqa: SLF001  # joined by the pool where it is short
        if rest:
            return False
        try:
            os.write(process.inqW_fd, packet)
        except OSError:  # full, or closed with its process, of which the pool is told elsewhere
            return False
        job._write_to = job._scheduled_for = process  # noqa: SLF001  # where Celery looks when the process ends
        self.jobs[process.inqW_fd] = job
        return True

    def begins(self, fd: int) -> bool:
        """A process has ended a job; whether it goes on with one that lay ready."""
        return self.jobs.pop(fd, None) is not None

    def take_back(self, process: Any) -> Any:
        """The job that lies in this process's pipe, out of it again; None when there is none, or the process has it."""
        job = self.jobs.get(process.inqW_fd)
        if job is None or (packet := _taken(process.inq._reader)) is None:  # noqa: SLF001
            return None
        if packet != job._payload[0]:  # noqa: SLF001  # another's, which only a mistake in here could put there
            os.write(process.inqW_fd, packet)
            return None
        del self.jobs[process.inqW_fd]
        job._write_to = job._scheduled_for = None  # noqa: SLF001
        return job

    def forget(self, fd: int) -> None:
        """The process is gone; Celery finds its jobs by what is noted on them."""
        self.jobs.pop(fd, None)


def _taken(reader: Any) -> bytes | None:
    """What is in a pipe; None when somebody was faster.

    Through a way in of our own, which never waits: the process shares the flags of the pipe's own reading end.
    """
    try:
        fd = os.open(f"{_OPEN_FILES}{reader.fileno()}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # no more files may be opened
        return None
    try:
        return os.read(fd, LARGEST_READ) or None
    except OSError:
        return None
    finally:
        os.close(fd)
