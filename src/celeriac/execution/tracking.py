"""How far the running attempt has come: kept in memory, saved now and then, and settled with it."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from kombu.utils.json import dumps, loads

from celeriac.core.attempt import Attempt, Outcome
from celeriac.core.checkpoint import Checkpoint
from celeriac.core.text import writable
from celeriac.errors import CheckpointError
from celeriac.execution.room import Room
from celeriac.execution.settler import STORE_WIDE
from celeriac.execution.snoozing import GiveWay

logger = logging.getLogger(__name__)

#: Seconds between saves of a task that only tells its progress, and between looks at what has not been saved.
PROGRESS_EVERY, LOOK = 1.0, 0.25
#: Characters of all of a task's cursors as JSON.
MOST = 65_536


@dataclass(slots=True)
class Mark:
    """Where one ``iterate`` of a task is.

    ``over`` says that its source has no more rows. Where the cursor is in a database of the application's, ``seen`` is how
    many rows that knew of as done when a run began.
    """

    cursor: Any = None
    done: int = 0
    over: bool = False
    seen: int = 0


class Tracker:
    """What one attempt has said of itself. Its body and the thread that saves behind it take turns."""

    def __init__(self, room: Room, attempt: Attempt) -> None:
        self._room, self._attempt = room, attempt
        self.done: float = 0
        self.total: float | None = None
        self.note: str | None = None
        #: Numbers of the body's own outrank those that are counted.
        self.told = False
        #: Rows that this run has done, and may leave to the next one.
        self.rows = 0
        #: The run before came no further, as a database of the application's says.
        self.stalled = False
        self.every = PROGRESS_EVERY
        self.gave_way: GiveWay | None = None
        self._marks: dict[str, Mark] | None = None
        self._opened: set[str] = set()
        self._changed = self._moved = self._closed = self._complained = False
        #: It has come further than the runs before, whose crashes count until that is saved.
        self._absolves, self._crashed = False, attempt.delivery.crashes > 0
        self._saved = time.monotonic()
        self._lock = threading.Lock()

    # -- what the body says

    def tell(self, done: float, total: float | None, note: str | None) -> None:
        """The body's own numbers; saved soon."""
        with self._lock:
            self.done, self.total, self.told = done, total, True
            self.note = None if note is None else writable(note)
            self._changed = True
        if time.monotonic() - self._saved >= self.every:
            self._save()
        else:
            _behind.watch(self)

    def open(self, step: str) -> Mark:
        """Where this step of the task is to go on.

        Raises:
            CheckpointError: the run has begun it before.
        """
        if step in self._opened:
            raise CheckpointError(
                self._attempt.name,
                f"iterate() was called twice for the step {step!r} in one run, and both would go on from one cursor. Give "
                'each a name of its own: iterate(..., step="refunds"). Within the row of another iterate() a plain for will do: that '
                "row is done when it is through",
            )
        self._opened.add(step)
        if self._marks is None:
            self._marks = _marks(self._room.settler.insist(self._known))
        return self._marks.setdefault(step, Mark())

    def _known(self) -> Checkpoint | None:
        store, task_id = self._room.store, self._attempt.task_id
        known = store.checkpoints([task_id]).get(task_id)
        if known is None or known.cursors is None or not self._attempt.delivery.generation:
            return known
        # A run that has succeeded without going through anything has left it; the id was published once more since.
        record = store.records([task_id], live=False).get(task_id)
        over = record is not None and record.state == "SUCCESS" and (record.finished_at or 0.0) >= known.at
        return None if over else known

    def began(self, mark: Mark, total: float | None, every: float) -> None:
        """An iteration begins, which counts its rows."""
        with self._lock:
            self.every = every
            if not self.told:
                self.done, self.total = mark.done, total
            self._changed = True
        _behind.watch(self)

    def moved(self, mark: Mark, cursor: Any, *, counts: bool, here: bool) -> None:
        """A row is done; ``counts`` where the next run will not do it again, ``here`` where that is known from here alone."""
        with self._lock:
            mark.cursor = cursor
            mark.done += 1
            if counts:
                self.rows += 1
                self._moved = True
                self._absolves |= here
            if not self.told:
                self.done = mark.done
            self._changed = True

    def over(self, mark: Mark) -> None:
        """The source has no more rows."""
        with self._lock:
            mark.over = self._moved = self._changed = True

    def came_further(self, mark: Mark, seen: int) -> None:
        """A database of the application's says how many rows the runs before have done."""
        first = not mark.seen and not mark.done
        with self._lock:
            further = seen > mark.seen
            self.stalled = not (further or first)
            mark.seen = mark.done = seen
            if further:
                self._moved = self._changed = self._absolves = True
        if further:
            self.save()

    # -- what is saved

    def save(self) -> None:
        """Write it. A store that is away is tried again the next time.

        Raises:
            GiveWay: another run of the task has its lease.
        """
        if not self._save():
            self.gave_way = GiveWay("its lease was lost: another run goes on with it")
            raise self.gave_way

    def save_behind(self, now: float) -> bool:
        """The same from the thread that saves behind bodies; false when there is nothing more to come."""
        if self._closed:
            return False
        if self._changed and now - self._saved >= self.every:
            with suppress(CheckpointError):  # the body is told at its next save
                self._save()
        return True

    def _save(self) -> bool:
        with self._lock:
            if self._closed or not self._changed:
                return True
            moved, checkpoint = self._moved, self._checkpoint(self._moved)
            absolves = moved and self._absolves and self._crashed
            try:
                held = self._room.store.save_checkpoint(self._attempt.delivery.lease, checkpoint, absolve=absolves)
            except STORE_WIDE as error:
                self._complain(error)
                held = True
            else:
                self._changed = self._moved = False
                self._crashed &= not absolves
            self._saved = time.monotonic()
            return held

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            logger.warning(
                "how far task %s[%s] is cannot be saved, trying on: %s",
                self._attempt.name,
                self._attempt.task_id,
                error,
            )

    def _checkpoint(self, with_cursors: bool) -> Checkpoint:
        cursors = self._written(self._marks) if with_cursors and self._marks else None
        return Checkpoint(self._attempt.task_id, self.done, self.total, self.note, cursors)

    def _written(self, marks: dict[str, Mark]) -> str:
        try:
            cursors = str(dumps({step: asdict(mark) for step, mark in marks.items()}))
        except Exception as error:
            raise CheckpointError(self._attempt.name, f"a cursor of its cannot be written as JSON: {error}") from error
        if len(cursors) > MOST:
            raise CheckpointError(
                self._attempt.name,
                f"its cursors are {len(cursors):,} characters of JSON, of {MOST:,} at most. A cursor is to say where a row "
                "is, such as its key, and not to be the row",
            )
        return cursors

    def goes_on(self) -> bool:
        """Whether a run that a limit interrupts now is gone on with by another, since it has come further."""
        return self.rows > 0 and not self.stalled

    def final(self, outcome: Outcome) -> Checkpoint:
        """What is settled; nothing is saved any more."""
        with self._lock:
            self._closed = True
            try:
                return self._checkpoint(outcome is not Outcome.COMPLETED)
            except CheckpointError:  # the body has been told, and what was saved before stays
                return self._checkpoint(False)


def _marks(known: Checkpoint | None) -> dict[str, Mark]:
    if known is None or known.cursors is None:
        return {}
    return {step: Mark(**mark) for step, mark in loads(known.cursors).items()}


class _Behind:
    """One thread a process that saves what bodies have said and then worked on in silence."""

    def __init__(self) -> None:
        self._trackers: weakref.WeakSet[Tracker] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def watch(self, tracker: Tracker) -> None:
        """Save it in time, until it is closed."""
        with self._lock:
            self._trackers.add(tracker)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="celeriac-progress", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while self._watched():
            time.sleep(LOOK)
            for tracker in self._watched():
                if not self._saved(tracker):
                    with self._lock:
                        self._trackers.discard(tracker)

    def _watched(self) -> list[Tracker]:
        with self._lock:
            found = list(self._trackers)
            if not found:
                self._thread = None
            return found

    @staticmethod
    def _saved(tracker: Tracker) -> bool:
        try:
            return tracker.save_behind(time.monotonic())
        except Exception:
            logger.exception("how far a task is could not be saved")
            return True


_behind = _Behind()


def _after_fork() -> None:
    global _behind  # noqa: PLW0603  # a child has neither the thread nor its tasks
    _behind = _Behind()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
