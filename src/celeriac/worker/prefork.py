"""The prefork pool, handing over without a turn of the event loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from billiard.pool import ACK, CLOSE, READY, RUN
from celery.concurrency.prefork import TaskPool as CeleryTaskPool
from kombu.asynchronous import get_event_loop

from celeriac.worker.ahead import Ahead, keep_apart
from celeriac.worker.draining import timers_firing
from celeriac.worker.hearing import Hearing
from celeriac.worker.jobs import Outbound, count_as_begun, counts_as_begun, join_parts, let_be, request_of

#: Seconds between looks at what has begun and not ended; seconds that a short job takes at most.
LOOK, BRISK = 0.05, 0.005


class _Slots:
    """The pool's slots as billiard frees them when a job has ended."""

    def __init__(self, release: Callable[[], None]) -> None:
        self.release = release


class Pool(Hearing):
    """Writes a job to a free process as soon as there are both, in one piece, and hears of it once, when it has ended.

    Celery's registers the pipes of all free processes with the event loop, is
    told at its next turn that they can be written, writes a job's length and its
    body apart, takes the pipes out again, and is sent a message when the process
    begins: for a short task that is longer than the task. While tasks are short,
    each process has its next job ready.
    """

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
        super().__init__(*args, **kwargs)
        self.outbound_buffer = Outbound()
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
        super().register_with_event_loop(hub)
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
            join_parts(outbound[-1])
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
        request = request_of(job)
        if request is None or not request.revoked():
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
                let_be(item)
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

    def process_flush_queues(self, process: Any) -> None:
        """Called when a process is gone: what it says last, and what it had begun."""
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
                count_as_begun(job)

    def flush(self) -> None:
        """Called when the broker is gone, or the worker ends, to drop what has not begun.

        Celery drops what a process was given and has not confirmed as well, and
        then waits for nobody who reads its end; and it forgets who is busy, and
        writes the next job behind a running one.
        """
        self.keep_what_began()
        # Nobody redelivers what counted as begun, and had not when its process ended: before, or in here.
        kept = {job._job: job for job in self.outbound_buffer if counts_as_begun(job)}  # noqa: SLF001
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
