"""The prefork pool, handing over without a turn of the event loop."""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

from billiard.pool import ACK, CLOSE, READY, RUN
from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import TaskPool as CeleryTaskPool
from kombu.asynchronous import get_event_loop
from kombu.utils.compat import fileno

from celeriac.execution.request import Request
from celeriac.worker.ahead import Ahead, keep_apart
from celeriac.worker.begun import Worker
from celeriac.worker.draining import ResultHandler, timers_firing

#: Bytes that a pipe takes whole or not at all (POSIX), the length before them included.
_WHOLE = select.PIPE_BUF - 4
#: Seconds between looks at what has begun and not ended; seconds that a short job takes at most.
LOOK, BRISK = 0.05, 0.005
#: Seconds until a process that is about to end is looked at again: at first, and at most.
EXIT_LOOK, LONGEST_EXIT_LOOK = 0.002, 5.0
_NOTHING = memoryview(b"")


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


class _Outbound(deque[Any]):
    """Jobs that wait for a process. What was revoked or expired while it waited is not handed out."""

    refuse: Callable[[Any], bool]

    def popleft(self) -> Any:
        while True:
            job = super().popleft()
            if not self.refuse(job):
                return job


class _Slots:
    """The pool's slots as billiard frees them when a job has ended."""

    def __init__(self, release: Callable[[], None]) -> None:
        self.release = release


class Pool(AsynPool):  # type: ignore[misc]  # Celery has no types
    """Writes a job to a free process as soon as there are both, in one piece, and hears of it once, when it has ended.

    Celery's registers the pipes of all free processes with the event loop, is
    told at its next turn that they can be written, writes a job's length and its
    body apart, takes the pipes out again, and is sent a message when the process
    begins: for a short task that is longer than the task. While tasks are short,
    each process has its next job ready.
    """

    Worker = Worker
    ResultHandler = ResultHandler
    _quick_put: Callable[[Any], None]
    _put_back: Callable[[Any], None]
    on_poll_start: Callable[[], None]
    _putlock: Any
    #: Whether a look at what has begun is due.
    _looking = False
    #: Whether the last job to end was short, and how many jobs more than processes there are for it.
    _brisk, _extra = False, 0
    _keeps_apart = True
    #: The job whose end was told last; billiard knows it until all that follows is done.
    _ending = -1

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: Pipes into which something was written since the event loop's last turn.
        self._given: list[int] = []
        self._ahead = Ahead()
        #: What reads a message of which a part was there, by the pipe it comes from.
        self._half_heard: dict[int, Any] = {}
        super().__init__(*args, **kwargs)
        self.outbound_buffer = _Outbound()
        self.outbound_buffer.refuse = self._refuse

    def create_process_queues(self) -> Any:
        queues = super().create_process_queues()
        self._keeps_apart &= keep_apart(queues[0])
        return queues

    def create_result_handler(self) -> Any:
        slots, self._putlock = self._putlock, _Slots(self._release)
        try:
            return super().create_result_handler()
        finally:
            self._putlock = slots

    def register_with_event_loop(self, hub: Any) -> None:
        self._hub, self._call_later = hub, hub.call_later
        half_heard, seen = dict(self._half_heard), _Hub(hub, self._half_heard)
        super().register_with_event_loop(seen)
        for fd in half_heard.keys() & self._fileno_to_outq.keys():  # the rest of a message is none of its own
            seen.add_reader(fd, half_heard[fd])
        handlers = self._result_handler.state_handlers
        if handlers[READY] != self.on_ended:  # the loop of after a lost connection is another
            self._on_ack, self._on_ready = handlers[ACK], handlers[READY]
            handlers[READY] = self.on_ended

    # -- to a process

    def _create_write_handlers(self, hub: Any, **kwargs: Any) -> None:
        super()._create_write_handlers(hub, **kwargs)
        put, schedule, on_tick = self._quick_put, hub.consolidate_callback, self.on_poll_start
        outbound, put_back = self.outbound_buffer, self._put_back

        def put_back_unwritten(job: Any) -> None:
            job._write_to = job._scheduled_for = None  # noqa: SLF001  # or it would count as begun, or as a new process's
            put_back(job)

        def write(fds: list[int]) -> None:
            schedule(fds)
            self._given += fds
            self._look_later()

        def put_and_write(message: Any) -> None:
            put(message)
            _join_parts(outbound[-1])
            self._hand_out()

        def on_poll_start() -> None:
            # Most have begun by now, and nobody waits for this loop.
            given, self._given = self._given, []
            self._note_all(given)
            if outbound:
                self._hand_out()
            on_tick()

        hub.consolidate_callback = self._write = write
        self._quick_put, self.on_poll_start = put_and_write, on_poll_start
        self._put_back = put_back_unwritten

    def _hand_out(self) -> None:
        """The next job to a process that is free; if there is none, behind one that has just begun."""
        free = self._all_inqueues - self._busy_workers - self._active_writes
        if free:
            self._write([free.pop()])
        elif self._brisk and self._keeps_apart:
            self._write_ahead()

    def _write_ahead(self) -> None:
        """Into the pipe of a process that has taken out its present job: two in it could not be told apart."""
        earliest = time.monotonic() - BRISK
        for fd in self._busy_workers - self._ahead.jobs.keys() - self._active_writes:
            process = self._fileno_to_inq.get(fd)
            if process is not None and process.begun.moment > earliest and self._note_begun(process):
                self._lay_ahead(process)
                return

    def _lay_ahead(self, process: Any) -> None:
        with suppress(IndexError):  # all that waited was revoked
            job = self.outbound_buffer.popleft()
            if self._ahead.write(job, process):
                self._look_later()
            else:
                self.outbound_buffer.appendleft(job)

    def _share(self, fd: int) -> None:
        """A process has nothing to do: it gets what lies ready behind another's job."""
        for other in list(self._ahead.jobs):
            if self._take_back(other):
                self._write([fd])
                return

    def _take_back(self, fd: int) -> bool:
        process = self._fileno_to_inq.get(fd)
        job = None if process is None else self._ahead.take_back(process)
        if job is not None:
            self.outbound_buffer.appendleft(job)
        return job is not None

    def _refuse(self, job: Any) -> bool:
        """Whether a job must not run any more; Celery asked when it came, which may be a while ago."""
        request = getattr(job._accept_callback, "__self__", None)  # noqa: SLF001
        if not isinstance(request, Request) or not request.revoked():
            return False
        job.discard()
        self._call_later(0, self._release)
        return True

    def _release(self) -> None:
        """A slot is free. While jobs are short there is one more a process, so that its next one lies ready."""
        slots = self._putlock
        if self._extra and not (self._brisk and slots._waiting):  # noqa: SLF001  # nothing public tells
            self._extra -= 1
            return
        slots.release()
        if self._brisk and self._keeps_apart and slots._waiting and self._extra < len(self._pool):  # noqa: SLF001
            self._extra += 1
            slots.release()

    # -- what has begun, and ended

    def on_ended(self, job: int, part: Any, result: Any, fd: int) -> None:
        """A process says that a job has ended; that it began is told here first."""
        item = self._cache.get(job)
        if item is not None and item._write_to is not None:  # noqa: SLF001  # set by Celery's writer
            if item._time_accepted is None:  # noqa: SLF001  # set by billiard when it is told
                _let_be(item)
                self._tell_begun(item, item._write_to)  # noqa: SLF001
            self._brisk = time.monotonic() - item._time_accepted < BRISK  # noqa: SLF001
        self._ending = job
        self._on_ready(job, part, result, fd)
        if self._ahead.jobs and not self.outbound_buffer and fd not in self._busy_workers:
            self._share(fd)

    def on_job_ready(self, job: int, part: Any, result: Any, fd: int) -> None:
        if self._ahead.begins(fd):
            self._given.append(fd)
            self._look_later()
        else:
            super().on_job_ready(job, part, result, fd)

    def _tell_begun(self, item: Any, process: Any) -> None:
        self._on_ack(item._job, None, process.begun.moment, process.pid, None)  # noqa: SLF001

    def _look_later(self) -> None:
        if not self._looking:
            self._looking = True
            self._call_later(LOOK, self._look)

    def _look(self) -> None:
        """Tell of jobs that began and have not ended: their time limits run, and people may ask for them."""
        self._looking = False
        all_told = self._note_all(list(self._busy_workers))
        before = time.monotonic() - LOOK
        self._take_back_from(lambda process: process.begun.moment < before)
        if self._ahead.jobs or not all_told:
            self._look_later()

    def tell_what_began(self) -> None:
        """Have the worker know of every job whether it has begun; what lies ready waits here again."""
        self._note_all(list(self._busy_workers))
        self._take_back_from(lambda _process: True)
        for fd in list(self._ahead.jobs):  # its process has it already, so the end of the one before has been told
            self._hear(self._fileno_to_inq.get(fd))
        self._note_all(list(self._busy_workers))

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

    def terminate_job(self, pid: int, sig: Any = None) -> None:
        process, _ = self._process_by_pid(pid)
        fd = None if process is None else process.inqW_fd
        if fd in self._ahead.jobs and not self._take_back(fd):
            return  # what was to be ended has ended, and the process runs the one that lay behind it
        super().terminate_job(pid, sig)

    def shrink(self, n: int = 1) -> None:
        self.tell_what_began()
        super().shrink(n)

    def _take_back_from(self, chosen: Callable[[Any], bool]) -> None:
        for fd in list(self._ahead.jobs):
            if (process := self._fileno_to_inq.get(fd)) is not None and chosen(process):
                self._take_back(fd)

    def _note_all(self, fds: list[int]) -> bool:
        """Whether all that the processes behind these pipes were given is known to have begun."""
        processes = [self._fileno_to_inq.get(fd) for fd in fds]
        begun = [self._note_begun(process) for process in processes if process is not None]
        return all(begun)

    def _note_begun(self, process: Any) -> bool:
        job = process.begun.job
        item = self._cache.get(job)
        if item is None or item._write_to is not process or job == self._ending:  # noqa: SLF001
            return False  # it has not taken out the next one yet
        if item is self._ahead.jobs.get(process.inqW_fd):
            return False  # the end of the one before it comes first: billiard counts on that order
        if item._time_accepted is None:  # noqa: SLF001
            self._tell_begun(item, process)
        return True

    def _worker_active(self, worker: Any) -> bool:
        """Whether a process has something to do, and is not the one to end when the pool shrinks."""
        return worker.inqW_fd in self._busy_workers or bool(super()._worker_active(worker))

    # -- when a process, or the broker, is gone

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

    def destroy_queues(self, queues: Any, process: Any) -> Any:
        """Celery keeps the pipe's number, and after a lost connection reads from whatever has it by then."""
        if self._fileno_to_outq.get(process.outqR_fd) is process:
            del self._fileno_to_outq[process.outqR_fd]
        return super().destroy_queues(queues, process)

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

    def process_flush_queues(self, process: Any) -> None:
        """Called when a process is gone: what it says last, and what it had begun."""
        if not self._broke_off(process):
            super().process_flush_queues(process)
        self._note_begun(process)
        self._ahead.forget(process.inqW_fd)
        for item in self._cache.values():
            never_began = item._time_accepted is None and item._job != process.begun.job  # noqa: SLF001
            if item._write_to is process and never_began:  # noqa: SLF001  # counted as begun when the broker was lost
                item._accepted, item._worker_pid = False, None  # noqa: SLF001

    def keep_what_began(self) -> None:
        """Count what was written to a process as begun, even if it has not said so yet.

        The broker is gone: dropped, it would run beside its redelivery.
        """
        self._take_back_from(lambda _process: True)
        for job in self._cache.values():
            if job._write_to is not None and not job._accepted:  # noqa: SLF001
                _count_as_begun(job)

    def flush(self) -> None:
        """Called when the broker is gone, or the worker ends, to drop what has not begun.

        Celery drops what a process was given and has not confirmed as well, and
        then waits for nobody who reads its end; and it forgets who is busy, and
        writes the next job behind a running one.
        """
        self.keep_what_began()
        # Nobody redelivers what counted as begun, and had not when its process ended: before, or in here.
        kept = {job._job: job for job in self.outbound_buffer if _counted(job)}  # noqa: SLF001
        for number in kept:
            self._cache.pop(number, None)
        working = {fd: self._fileno_to_inq.get(fd) for fd in self._busy_workers}
        super().flush()
        self._cache.update(kept)
        self.outbound_buffer.extend(job for job in self._cache.values() if not job._accepted)  # noqa: SLF001
        self._extra = 0
        self._busy_workers.update(fd for fd, process in working.items() if self._is_still(fd, process))

    def _is_still(self, fd: int, process: Any) -> bool:
        return process is not None and self._fileno_to_inq.get(fd) is process and process.exitcode is None

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


def _counted(job: Any) -> bool:
    request = getattr(job._accept_callback, "__self__", None)  # noqa: SLF001
    return isinstance(request, Request) and request.handed_over


def _let_be(job: Any) -> None:
    """Whoever wanted it ended when it begins is late: it has ended, and its process may run another."""
    request = getattr(job._accept_callback, "__self__", None)  # noqa: SLF001
    if isinstance(request, Request):
        request._terminate_on_ack = None  # noqa: SLF001  # Celery's


def _join_parts(job: Any) -> None:
    """Have a short job written as one part, which cannot be interrupted half way."""
    length, body, size = job._payload  # noqa: SLF001  # Celery's writer takes it from there
    if size <= _WHOLE:
        job._payload = memoryview(bytes(length) + bytes(body)), _NOTHING, 0  # noqa: SLF001


class TaskPool(CeleryTaskPool):  # type: ignore[misc]  # Celery has no types
    """Celery's prefork pool on ours."""

    Pool = Pool
    _pool: Any

    def on_stop(self) -> None:
        """Let what runs end, and leave with the last process."""
        if self._pool is not None and self._pool._state in (RUN, CLOSE):  # noqa: SLF001  # as Celery's does
            self._pool.close()
            with timers_firing(get_event_loop()):
                self._pool.join()
            self._pool = None

    def keep_what_began(self) -> None:
        self._pool.keep_what_began()

    def tell_what_began(self) -> None:
        if self._pool is not None:  # it may have ended
            self._pool.tell_what_began()
