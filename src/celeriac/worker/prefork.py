"""The prefork pool, handing over without a turn of the event loop."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import TaskPool as CeleryTaskPool

from celeriac.execution.request import Request

#: Bytes that a pipe takes whole or not at all (POSIX), the length before them included.
_WHOLE = select.PIPE_BUF - 4
_NOTHING = memoryview(b"")


class _Hub:
    """The event loop as the writing side sees it: taking out what is not in it costs no system call."""

    def __init__(self, hub: Any) -> None:
        self.__dict__["_hub"] = hub

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hub, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._hub, name, value)

    def remove_writer(self, fd: int) -> None:
        if fd in self._hub.writers:
            self._hub.remove_writer(fd)


class Pool(AsynPool):  # type: ignore[misc]  # Celery has no types
    """Writes a job to a free process as soon as there are both, and in one piece.

    Celery's registers the pipes of all free processes with the event loop, is
    told at its next turn that they can be written, writes a job's length and its
    body apart, and takes the pipes out again: for a short task that is longer
    than the task.
    """

    _quick_put: Callable[[Any], None]

    def _create_write_handlers(self, hub: Any, **kwargs: Any) -> None:
        super()._create_write_handlers(_Hub(hub), **kwargs)
        put: Callable[[Any], None] = self._quick_put
        outbound, write = self.outbound_buffer, hub.consolidate_callback

        def put_and_write(message: Any) -> None:
            put(message)
            _join_parts(outbound[-1])
            free = self._all_inqueues - self._busy_workers - self._active_writes
            if free:
                write([free.pop()])

        self._quick_put = put_and_write

    def keep_what_began(self) -> None:
        """Count what was written to a process as begun, even if it has not said so yet.

        The broker is gone: dropped, it would run beside its redelivery.
        """
        for job in self._cache.values():
            if job._write_to is not None and not job._accepted:  # noqa: SLF001  # set by Celery's writer
                _count_as_begun(job)

    def flush(self) -> None:
        """Called when the broker is gone, to drop what has not begun.

        Celery forgets who is busy as well, and writes the next job behind a
        running one.
        """
        working = {fd: self._fileno_to_inq.get(fd) for fd in self._busy_workers}
        super().flush()
        self._busy_workers.update(fd for fd, process in working.items() if self._is_still(fd, process))

    def _is_still(self, fd: int, process: Any) -> bool:
        return process is not None and self._fileno_to_inq.get(fd) is process and process.exitcode is None

    def register_with_event_loop(self, hub: Any) -> None:
        super().register_with_event_loop(hub)
        self._call_later = hub.call_later

    def on_job_process_lost(self, job: Any, pid: int, exitcode: int) -> None:
        """Say so at once. Celery waits ten seconds for a result that was under way, but by now the pipe is read out."""
        super().on_job_process_lost(job, pid, exitcode)
        # Not in here: the pool is in the middle of replacing the process.
        self._call_later(0, self._lose, job, exitcode)

    def _lose(self, job: Any, exitcode: int) -> None:
        if not job.ready():
            self.mark_as_worker_lost(job, exitcode)


def _count_as_begun(job: Any) -> None:
    # Its limits are set when it says so itself.
    job._accepted, job._worker_pid = True, job._write_to.pid  # noqa: SLF001  # as its own word would
    request = getattr(job._accept_callback, "__self__", None)  # noqa: SLF001
    if isinstance(request, Request):
        request.on_handed_over()


def _join_parts(job: Any) -> None:
    """Have a short job written as one part, which cannot be interrupted half way."""
    length, body, size = job._payload  # noqa: SLF001  # Celery's writer takes it from there
    if size <= _WHOLE:
        job._payload = memoryview(bytes(length) + bytes(body)), _NOTHING, 0  # noqa: SLF001


class TaskPool(CeleryTaskPool):  # type: ignore[misc]  # Celery has no types
    """Celery's prefork pool on ours."""

    Pool = Pool

    def keep_what_began(self) -> None:
        self._pool.keep_what_began()
