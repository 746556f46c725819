"""The prefork pool's jobs, which are billiard's: whose request one is, how it is written, and what counts as begun."""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable
from typing import Any

from celeriac.execution.request import Request

#: Bytes that a pipe takes whole or not at all (POSIX), the length before them included.
_WHOLE = select.PIPE_BUF - 4
_NOTHING = memoryview(b"")


class Outbound(deque[Any]):
    """Jobs that wait for a process. What was revoked or expired while it waited is not handed out."""

    refuse: Callable[[Any], bool]

    def popleft(self) -> Any:
        while True:
            job = super().popleft()
            if not self.refuse(job):
                return job


def request_of(job: Any) -> Request | None:
    """The request that the job runs; None where it is somebody else's job."""
    request = getattr(job._accept_callback, "__self__", None)  # noqa: SLF001  # the pool is given nothing else of it
    return request if isinstance(request, Request) else None


def join_parts(job: Any) -> None:
    """Have a short job written as one part, which cannot be interrupted half way."""
    length, body, size = job._payload  # noqa: SLF001  # Celery's writer takes it from there
    if size <= _WHOLE:
        job._payload = memoryview(bytes(length) + bytes(body)), _NOTHING, 0  # noqa: SLF001


def count_as_begun(job: Any) -> None:
    """Take what was written to a process for begun; its limits are set when it says so itself."""
    job._accepted, job._worker_pid = True, job._write_to.pid  # noqa: SLF001  # as its own word would
    request = request_of(job)
    if request is not None:
        request.on_handed_over()


def counts_as_begun(job: Any) -> bool:
    """Whether it was taken for begun."""
    request = request_of(job)
    return request is not None and request.handed_over


def let_be(job: Any) -> None:
    """Whoever wanted it ended when it begins is late: it has ended, and its process may run another."""
    request = request_of(job)
    if request is not None:
        request._terminate_on_ack = None  # noqa: SLF001  # Celery's
