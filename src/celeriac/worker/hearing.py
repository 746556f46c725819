"""What a prefork pool hears of its processes to the end: answers of which a part is there, last words, deaths."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from typing import Any

from celery.concurrency.asynpool import AsynPool
from kombu.utils.compat import fileno

from celeriac.worker.begun import Worker
from celeriac.worker.draining import ResultHandler

#: Seconds until a process that is about to end is looked at again: at first, and at most.
EXIT_LOOK, LONGEST_EXIT_LOOK = 0.002, 5.0


class _Hub:
    """The event loop as the pool sees it: what is the case already costs no system call."""

    def __init__(self, hub: Any, half_heard: dict[int, Any]) -> None:
        self.__dict__.update(_hub=hub, _half_heard=half_heard)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hub, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._hub, name, value)

    def remove_writer(self, fd: Any) -> None:
        if fileno(fd) in self._hub.writers:
            self._hub.remove_writer(fd)

    def add_reader(self, fd: int, callback: Any, *args: Any) -> None:
        if isinstance(callback, Generator):
            self._half_heard[fd] = callback
        else:
            self._half_heard.pop(fd, None)
        if self._hub.readers.get(fd) != (callback, args):
            self._hub.add_reader(fd, callback, *args)


class Hearing(AsynPool):  # type: ignore[misc]  # Celery has no types
    """Celery's pool, which is told of a process's end at once, and takes no half message for a whole one."""

    Worker = Worker
    ResultHandler = ResultHandler

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: What reads a message of which a part was there, by the pipe it comes from.
        self._half_heard: dict[int, Any] = {}
        super().__init__(*args, **kwargs)

    def register_with_event_loop(self, hub: Any) -> None:
        self._hub, self._call_later = hub, hub.call_later
        half_heard, seen = dict(self._half_heard), _Hub(hub, self._half_heard)
        super().register_with_event_loop(seen)
        for fd in half_heard.keys() & self._fileno_to_outq.keys():  # the rest of a message is none of its own
            seen.add_reader(fd, half_heard[fd])

    # -- before the event loop's turn

    def _hear(self, process: Any) -> None:
        """Read what a process has said, without waiting for the loop's turn."""
        if process is None:
            return
        fd = process.outqR_fd
        reading = self._hub.readers.get(fd, (None,))[0]
        with suppress(StopIteration, OSError, EOFError):  # the loop sees to what is closed
            if isinstance(reading, Generator):  # a message of which a part was there
                next(reading)
            else:
                self._result_handler.handle_event(fd)

    def _on_soft_timeout(self, job: int, *args: Any) -> None:
        self._hear_of(job)
        super()._on_soft_timeout(job, *args)

    def _on_hard_timeout(self, job: int) -> None:
        self._hear_of(job)
        super()._on_hard_timeout(job)

    def _hear_of(self, job: int) -> None:
        """Before its process is signalled: it may have ended, and another run there."""
        item = self._cache.get(job)
        if item is not None:
            self._hear(item._write_to)  # noqa: SLF001

    # -- an end

    def _event_process_exit(self, hub: Any, process: Any) -> None:
        super()._event_process_exit(hub, process)
        self._await_exit(process, EXIT_LOOK)

    def _await_exit(self, process: Any, pause: float) -> None:
        """Celery looks once, and then every five seconds; what tells of an end closes before it can be waited for."""
        if process in self._pool:
            self._call_later(pause, self._look_for_exit, process, pause)

    def _look_for_exit(self, process: Any, pause: float) -> None:
        if process in self._pool:
            self.maintain_pool()
        # A task that closes files of others' lives on: it is not asked for ever so often.
        self._await_exit(process, min(2 * pause, LONGEST_EXIT_LOOK))

    def _track_child_process(self, process: Any, hub: Any) -> None:
        """One about to end is watched no longer; when the broker is lost just then, Celery would watch nothing."""
        if getattr(process, "_sentinel_poll", 0) is not None:
            super()._track_child_process(process, hub)

    def on_job_process_down(self, job: Any, pid_gone: int) -> None:
        """Celery comes here, too, when another process is gone: of this one nobody has read yet what it says last."""
        if (job._write_to or job._scheduled_for) not in self._pool:  # noqa: SLF001
            super().on_job_process_down(job, pid_gone)

    # -- a process that is gone

    def destroy_queues(self, queues: Any, process: Any) -> Any:
        """Celery keeps the pipe's number, and after a lost connection reads from whatever has it by then."""
        if self._fileno_to_outq.get(process.outqR_fd) is process:
            del self._fileno_to_outq[process.outqR_fd]
        return super().destroy_queues(queues, process)

    def process_flush_queues(self, process: Any) -> None:
        """Called when a process is gone: what it says last."""
        if not self._broke_off(process):
            super().process_flush_queues(process)

    def _broke_off(self, process: Any) -> bool:
        """Whether a process is gone in the middle of a message: the rest would be taken for another."""
        if self._fileno_to_outq.get(process.outqR_fd) is not process:
            return False
        reading = self._half_heard.pop(process.outqR_fd, None)
        if reading is None:
            return False
        try:
            next(reading)
        except StopIteration:  # it is whole now
            return False
        except (OSError, EOFError):
            pass
        return True

    def on_job_process_lost(self, job: Any, pid: int, exitcode: int) -> None:
        """Say so at once. Celery waits ten seconds for a result that was under way, but by now the pipe is read out."""
        super().on_job_process_lost(job, pid, exitcode)
        # Not in here: the pool is in the middle of replacing the process.
        self._call_later(0, self._lose, job, exitcode)

    def _lose(self, job: Any, exitcode: int) -> None:
        if not job.ready():
            self.mark_as_worker_lost(job, exitcode)
