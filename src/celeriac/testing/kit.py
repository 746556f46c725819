"""Runs an app's tasks inside a test: everything a worker does, in the test's own thread and by its clock."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from operator import methodcaller
from types import TracebackType
from typing import TYPE_CHECKING, Any

from celery import Task

from celeriac.core.attempt import Attempt, DeadLetter
from celeriac.execution import coroutines
from celeriac.testing.clock import Clock, Mover, seconds_of
from celeriac.testing.driving import Driver
from celeriac.testing.embedding import embedded
from celeriac.testing.problems import KitError, NothingRuns, NotQuiet, TaskFailed
from celeriac.testing.published import (
    Conditions,
    Matching,
    PublishedTask,
    Wanted,
    check_not_misspelt,
    found_one,
    not_found,
    wanted_of,
)
from celeriac.testing.runs import Run, run_of, run_unmanaged

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: Runs after which a test is told that it will not come to an end.
MOST = 10_000
#: Seconds by which the clock is put forward at least: two floats that are next to each other may be one to a sum.
LEAST = 1e-6
#: Seconds that pass while a test says until when.
LATE = 1.0
#: pytest shows where a test called the kit, and not where the kit found what it says.
_not_shown = methodcaller("errisinstance", (KitError, AssertionError))


class Kit:
    """``with Kit(app) as kit:`` has the app publish into, and run from, a store of the block's own.

    Nothing runs before the test says so. Any thread may publish; tasks run in the thread that calls.

    Args:
        app: of celeriac's; everything is put back at the end.
        move: moves Python's own clock forward by so many seconds, where tasks are to see the time pass as well.

    Raises:
        KitError: the app is no celeriac app, or under a kit already.
    """

    def __init__(self, app: Any, *, move: Mover | None = None) -> None:
        self.app = app
        #: Every run so far, in order.
        self.runs: list[Run] = []
        self._clock = Clock(move)
        self._driving = threading.RLock()
        self._driver_thread: int | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Kit:
        with ExitStack() as stack:
            within = embedded(self.app, self._clock, told=self._tell, on_wait=self._instead_of_waiting)
            self._store = stack.enter_context(within)
            self._driver = Driver(self.app, self._store, self._tell_unmanaged)
            stack.callback(self._driver.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def __repr__(self) -> str:
        return f"<Kit of {self.app.main}: {len(self.runs)} runs>"

    # -- time

    @property
    def now(self) -> datetime:
        """What time it is for celeriac, in UTC."""
        return self._clock.moment()

    def advance(self, length: float | timedelta) -> None:
        """Put the clock forward by so many seconds, or a timedelta; nothing runs.

        Raises:
            KitError: backwards.
        """
        self._clock.advance(seconds_of(length))

    # -- running

    def run_one(self, *, queues: str | Sequence[str] | None = None) -> Run | None:
        """Run the next task that is due, in these queues or any; None where none is.

        Raises:
            KitError: a task's body calls it.
        """
        __tracebackhide__ = _not_shown
        before = len(self.runs)
        while self._step(_listed(queues)):
            if len(self.runs) > before:
                return self.runs[-1]
        return None

    def drain(
        self,
        *,
        skip_time: bool = False,
        until: float | timedelta | datetime | None = None,
        raising: bool = False,
        queues: str | Sequence[str] | None = None,
        most: int = MOST,
    ) -> list[Run]:
        """Run all that is due now, and what that sends, until nothing is due; returns the runs.

        Args:
            skip_time: go on to what falls due later, each at its own time, until nothing waits for a time.
            until: the same up to this moment, which it then is: seconds or a timedelta from now, or a datetime,
                which without a zone is in the app's.
            raising: raise the first failure that is final, as soon as it happens.
            queues: only these, or this one.
            most: runs that the test can mean at most.

        Raises:
            TaskFailed: with ``raising``; its text has the task's traceback, and its cause is what the task raised.
            NotQuiet: more than ``most`` have run.
            KitError: a task's body calls it, or ``until`` is over.
        """
        __tracebackhide__ = _not_shown
        end = self._end(until)
        before = len(self.runs)
        while True:
            self._drain_due(before, _listed(queues), most, raising=raising)
            due = self._store.next_due_after(self._clock.now()) if skip_time or end is not None else None
            if due is None or (end is not None and due > end):
                break
            self._clock.advance(max(due - self._clock.now(), LEAST))
        if end is not None:
            self._clock.advance(max(0.0, end - self._clock.now()))
        return self.runs[before:]

    def _end(self, until: float | timedelta | datetime | None) -> float | None:
        if until is None:
            return None
        now = self._clock.now()
        if isinstance(until, datetime):
            end = (until if until.tzinfo else until.replace(tzinfo=self.app.timezone)).timestamp()
        else:
            end = now + seconds_of(until)
        if end < now - LATE:
            raise KitError(
                f"until={until!r} is {now - end:.0f} s ago: the kit's clock is at {self.now.isoformat(' ', 'seconds')}"
            )
        return end

    def _drain_due(self, before: int, queues: Sequence[str] | None, most: int, *, raising: bool) -> None:
        __tracebackhide__ = _not_shown
        while True:
            seen = len(self.runs)
            if not self._step(queues):
                return
            if raising:
                _raise_failed(self.runs[seen:])
            if len(self.runs) - before > most:
                raise NotQuiet(_not_quiet(self.runs[before:]))

    def _step(self, queues: Sequence[str] | None = None) -> bool:
        __tracebackhide__ = _not_shown
        if self._driver_thread == threading.get_ident() or coroutines.running() is not None:
            raise KitError(
                "a task's body cannot run other tasks, nor wait for their results; in a worker it would wait for a slot that "
                "it takes itself. Let it end, and drain in the test"
            )
        with self._driving:
            self._driver_thread = threading.get_ident()
            try:
                return self._driver.step(queues) or self._look_again(queues)
            finally:
                self._driver_thread = None

    def _look_again(self, queues: Sequence[str] | None) -> bool:
        """What falls due by Python's clock alone, and what a transaction has committed since."""
        self._clock.catch_up()
        self._driver.relay()
        return self._driver.step(queues)

    def _instead_of_waiting(self, seen: int) -> int:
        """Whoever waits for a result runs what would bring it."""
        __tracebackhide__ = _not_shown
        # Another thread may have run it meanwhile.
        if self._store.mark() == seen and not self._step() and self._store.mark() == seen:
            lines = "".join(f"\n  {line}" for line in self._store.held_up())
            waiting = f" What waits:{lines}" if lines else " Nothing waits."
            raise NothingRuns(f"a result is waited for, and no task is due that would bring it.{waiting}")
        return self._store.mark()

    def _tell(self, attempt: Attempt) -> None:
        self.runs.append(run_of(attempt, self._clock.now()))
        cause = attempt.raised.__cause__ if attempt.raised is not None else None
        if isinstance(cause, KeyboardInterrupt):  # of the person at the test, and not of the task
            raise cause

    def _tell_unmanaged(self, request: Any, error: BaseException | None) -> None:
        self.runs.append(run_unmanaged(request, error, self._clock.moment()))

    def attempts(self, task: Any) -> list[Run]:
        """The runs of one task so far, in order, by its id or its result; of a task itself, all that were sent of it.

        Raises:
            KitError: it is none of these.
        """
        __tracebackhide__ = _not_shown
        if isinstance(task, Task):
            return [run for run in self.runs if run.task == task.name]
        wanted = getattr(task, "id", task)
        if not isinstance(wanted, str):
            raise KitError(f"{task!r} is no result, no task's id and no task")
        return [run for run in self.runs if run.id == wanted]

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """The tasks that gave up, oldest first; ``kit.app.dead_letters`` redrives them."""
        return list(self.app.dead_letters)

    # -- what was published

    def published(self, task: Any = None, **conditions: Unpack[Conditions]) -> list[PublishedTask]:
        """What was published so far, in order, whether it has run or not; what retries is not published again.

        Args:
            task: the task, its name, or a signature of it, ``ship.s(7, "DE")``; any, where there is none.
            **conditions: see `Conditions`.

        Raises:
            KitError: it is no task.
        """
        __tracebackhide__ = _not_shown
        return self._find(wanted_of(task, conditions))

    def assert_published(
        self, task: Any = None, *, times: int | None = None, **conditions: Unpack[Conditions]
    ) -> PublishedTask | None:
        """That such a task was published, ``times`` times or at least once; returns the last one.

        Raises:
            AssertionError: it was not; with what was.
        """
        __tracebackhide__ = _not_shown
        wanted = wanted_of(task, conditions)
        if times == 0:
            check_not_misspelt(self.app, wanted)
        found = self._find(wanted)
        if len(found) != times if times is not None else not found:
            raise AssertionError(not_found(self.app, wanted, self._all_published(), len(found), times))
        return found[-1] if found else None

    def assert_not_published(self, task: Any = None, **conditions: Unpack[Conditions]) -> None:
        """That no such task was published; without arguments, that none was.

        Raises:
            AssertionError: it was.
            KitError: the app has no task of that name, and one of almost the same.
        """
        __tracebackhide__ = _not_shown
        wanted = wanted_of(task, conditions)
        check_not_misspelt(self.app, wanted)
        if found := self._find(wanted):
            raise AssertionError(found_one(wanted, found))

    def _find(self, wanted: Wanted) -> list[PublishedTask]:
        return list(filter(Matching(self.app, wanted), self._all_published()))

    def _all_published(self) -> list[PublishedTask]:
        with self._driving:
            self._driver.relay()
        return self._store.published()


def _listed(queues: str | Sequence[str] | None) -> Sequence[str] | None:
    return [queues] if isinstance(queues, str) else queues


def _raise_failed(runs: Sequence[Run]) -> None:
    __tracebackhide__ = _not_shown
    for run in runs:
        if run.failed:
            raise TaskFailed(run.told()) from run.error


def _not_quiet(runs: Sequence[Run]) -> str:
    often = ", ".join(f"{name} {count} times" for name, count in Counter(run.task for run in runs).most_common(3))
    return (
        f"{len(runs)} tasks have run and more are due: {often}. A task that sends itself again comes to no end: drain up to "
        "a time (until=), or say how many runs are meant (most=)"
    )
