"""Writes the ends of attempts, several in one transaction."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from celeriac.core.attempt import Attempt, Outcome, Settled
from celeriac.core.message import Lease
from celeriac.core.text import app_option
from celeriac.errors import StoreCorrupt, StoreReadOnly, StoreTooNew, StoreUnavailable
from celeriac.store.protocols import Store

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Settlements a transaction, and seconds one waits for company.
GROUP, WAIT = 16, 0.005
#: Seconds a task runs before it is marked as started, durably and visibly.
MARK_AFTER = 0.05
#: Seconds between tries while the store cannot be written: first, longest.
PAUSE, LONGEST_PAUSE = 0.02, 1.0
#: What concerns the whole store, and may pass or be put right by people; anything else is about what was written.
STORE_WIDE = (StoreUnavailable, StoreReadOnly, StoreCorrupt, StoreTooNew)
#: Seconds between complaints about that.
COMPLAIN_EVERY = 10.0


class Settler:
    """The process's group commit for one store.

    ``settle`` returns when the settlement is durable or joins a group that will
    be within ``WAIT`` seconds; until then its message stays leased.
    """

    def __init__(
        self,
        store: Store,
        on_chord_complete: Callable[[str], None],
        on_unrecordable: Callable[[Attempt, Exception], bool],
    ) -> None:
        self._store = store
        self._on_chord_complete = on_chord_complete
        #: Turns an end that cannot be written into one that says so; false when it did that before.
        self._on_unrecordable = on_unrecordable
        self.reset()
        _ALL.add(self)

    def reset(self) -> None:
        """Begin empty: a child has none of its parent's threads, tasks or locks."""
        self._waiting: list[Attempt] = []
        self._oldest = 0.0
        self._running: dict[Lease, Attempt] = {}
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._wake = threading.Event()
        self._backstop: threading.Thread | None = None

    def begin(self, attempt: Attempt) -> None:
        """Watch a running attempt, so that its start is marked when it takes long."""
        self._running[attempt.delivery.lease] = attempt
        self._rouse()

    def end(self, attempt: Attempt) -> None:
        """The body and everything Celery does after it are over."""
        self._running.pop(attempt.delivery.lease, None)

    def settle(self, attempt: Attempt, *, at_once: bool) -> None:
        """Write the attempt's end, at once or with the next group."""
        with self._lock:
            if not self._waiting:
                self._oldest = time.monotonic()
            self._waiting.append(attempt)
            full = at_once or len(self._waiting) >= GROUP
        if full:
            self.flush()
        else:
            self._rouse()

    def flush(self) -> None:
        """Commit everything that waits. Does not return before it is durable or fenced off."""
        if not self._waiting:
            return
        with self._flushing:
            with self._lock:
                attempts, self._waiting = self._waiting, []
            if attempts:
                self._commit(attempts)

    def finish(self) -> None:
        """Commit everything, also what another thread has in hand: it would end with this process."""
        self.flush()
        with self._flushing:
            pass

    def _commit(self, attempts: list[Attempt]) -> None:
        settlements = [attempt.settlement() for attempt in attempts]
        try:
            answers = self.insist(lambda: self._store.settle(settlements))
        except Exception as error:  # noqa: BLE001  # whatever it is, it is told and settled one by one
            self._commit_apart(attempts, error)
            return
        for attempt, answer in zip(attempts, answers, strict=True):
            self._conclude(attempt, answer)

    def _commit_apart(self, attempts: list[Attempt], error: Exception) -> None:
        """One of them cannot be written; that is its own failure, and not its company's."""
        if len(attempts) > 1:
            for attempt in attempts:
                self._commit([attempt])
            return
        (attempt,) = attempts
        logger.error("the end of task %s[%s] cannot be written", attempt.name, attempt.task_id, exc_info=error)
        # Where even that cannot be, its lease runs out and counts as a crash.
        if self._on_unrecordable(attempt, error):
            self._commit(attempts)

    def _conclude(self, attempt: Attempt, answer: Settled) -> None:
        if not answer.held:
            attempt.outcome = Outcome.LEASE_LOST
            _tell_of_the_loss(attempt)
            return
        if attempt.outcome is Outcome.DEAD_LETTERED and attempt.failure is not None:
            logger.warning(
                "task %s[%s] is kept as a dead letter (%s): celery -A %s dead show %s",
                attempt.name,
                attempt.task_id,
                attempt.failure.reason,
                app_option(getattr(getattr(attempt.task, "app", None), "main", None)),
                attempt.task_id,
            )
        for group_id in answer.complete_chords:
            _run_quietly(partial(self.insist, partial(self._on_chord_complete, group_id)), attempt)
        for callback in attempt.after_settle:
            _run_quietly(callback, attempt)

    def insist(self, write: Callable[[], T]) -> T:
        """Try until the store answers: what is not settled is not acknowledged either.

        Raises:
            Exception: the store answers, and refuses what is written.
        """
        pause, complained = PAUSE, 0.0
        while True:
            try:
                return write()
            except STORE_WIDE as error:
                if time.monotonic() - complained > COMPLAIN_EVERY:
                    complained = time.monotonic()
                    logger.error(  # noqa: TRY400  # the store's message says it all; a traceback every time does not
                        "the store cannot be written, trying on: %s", error
                    )
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    # -- the backstop: for when no further task comes along to fill the group

    def _rouse(self) -> None:
        if not self._wake.is_set():
            self._wake.set()
        if self._backstop is None or not self._backstop.is_alive():
            self._start_backstop()

    def _start_backstop(self) -> None:
        with self._lock:
            if self._backstop is None or not self._backstop.is_alive():
                self._backstop = threading.Thread(target=self._watch, name="celeriac-settler", daemon=True)
                self._backstop.start()

    def _watch(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(WAIT)
            try:
                self._mark_started()
                if self._waiting and time.monotonic() - self._oldest >= WAIT:
                    self.flush()
            except Exception:
                logger.exception("settling in the background failed, trying again")
            if not self._waiting and all(attempt.marked for attempt in list(self._running.values())):
                self._wake.clear()
                # Something may have come between the look and the clearing.
                if self._waiting or any(not a.marked for a in list(self._running.values())):
                    self._wake.set()

    def _mark_started(self) -> None:
        before = self._store.lease_now() - MARK_AFTER
        for attempt in list(self._running.values()):
            if not attempt.marked and attempt.started_clock < before:
                self._store.start(attempt.delivery.lease)
                attempt.marked = True


_ALL: weakref.WeakSet[Settler] = weakref.WeakSet()


def _after_fork() -> None:
    for settler in list(_ALL):
        settler.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _tell_of_the_loss(attempt: Attempt) -> None:
    late = attempt.deadline is not None and attempt.deadline.hardly
    said = (
        "task %s[%s] has ended, after its time limit had settled it: nothing more of this run was recorded"
        if late
        else "task %s[%s] ran, but its lease was lost meanwhile: nothing of this run was recorded"
    )
    logger.warning(said, attempt.name, attempt.task_id)


def _run_quietly(callback: Callable[[], None], attempt: Attempt) -> None:
    try:
        callback()
    except Exception:
        logger.exception("what follows task %s[%s] failed", attempt.name, attempt.task_id)
