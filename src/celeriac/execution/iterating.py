"""``for row in self.iterate(source, cursor="id")``: a long task in checkpoints, which goes on where another run stopped."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from celery import uuid
from celery.exceptions import SoftTimeLimitExceeded
from kombu.utils.json import dumps

from celeriac.core.attempt import Attempt
from celeriac.core.checkpoint import Pace, Turn, number_of, pace_within, turn_of
from celeriac.errors import CheckpointError
from celeriac.execution.eagerly import in_place, tell_in_place, with_progress
from celeriac.execution.keeping import Kept
from celeriac.execution.limits import NO_LIMITS, Limits, of_request
from celeriac.execution.room import Room, room_of
from celeriac.execution.snoozing import GiveWay
from celeriac.execution.sources import Pairs, opened, size_of
from celeriac.execution.tracking import Mark, Tracker

_UNSET: Any = object()


class CheckpointMixin:
    """The part of a task class that says how far a run is, and goes on from there."""

    #: Celery's own.
    if TYPE_CHECKING:
        name: str
        request: Any

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """Say how far this run is, for ``result.progress`` and ``celery -A app progress``.

        It costs next to nothing: the newest is written once a second, and the last with the task's end.

        Args:
            done: how much, in whatever unit.
            total: of how much, where that is known.
            note: a few words for people.

        Raises:
            CheckpointError: the task has no ``bind=True``, or no store of celeriac's knows of it.
            ValueError: not numbers.
        """
        counted, of = number_of(done), None if total is None else number_of(total)
        if counted is None or (of is None and total is not None):
            wrong = done if counted is None else total
            raise ValueError(f"progress({wrong!r}): how much is done, and of how much, are numbers")
        tracker = _tracker(self, "progress()")
        if tracker is not None:
            tracker.tell(counted, of, note)
        elif self.request.is_eager:
            tell_in_place(self.request.id, counted, of, note)

    def apply(
        self,
        args: Any = None,
        kwargs: Any = None,
        link: Any = None,
        link_error: Any = None,
        task_id: str | None = None,
        *more: Any,
        **options: Any,
    ) -> Any:
        """As Celery's; its result has the ``progress`` that was said last."""
        task_id = task_id or uuid()
        with in_place(task_id) as said:
            result = super().apply(args, kwargs, link, link_error, task_id, *more, **options)  # type: ignore[misc]
        return with_progress(result, said)

    def iterate(
        self,
        source: Any,
        cursor: Any = None,
        *,
        step: str = "rows",
        total: float | None = None,
        every: float | timedelta | None = None,
        give_way: float | timedelta | None = _UNSET,
        connection: object = None,
        session: Any = None,
    ) -> Iteration:
        """``for row in self.iterate(source, cursor="id"):`` goes through rows, and on from there in the next run.

        Where it has come to is saved every few seconds, after a whole row. A run that is interrupted, by a deploy, a time
        limit or a crash, is followed by one that begins behind the last row that was saved; no attempt or retry is counted
        for that, and crashes only while it comes no further. After ``give_way`` seconds the task goes back to the end of its
        queue, its slot free.

        Args:
            source: a function that takes the cursor of the last row that is done, None at first, and returns the rows after
                it; a list, tuple or range; a Django queryset; a SQLAlchemy ``select()``. It must have the same order each time.
            cursor: where a row is, as JSON can hold it: a name (``row.id``, ``row["id"]``), a place (0 for ``row[0]``) or a
                function of the row; of a queryset the name of a unique field, ``pk`` unless given; of a ``select()`` a unique column; of a sequence
                nothing, since its position is it.
            step: names it, where a task has more than one; with another name it begins anew.
            total: how many rows there are, for the progress; known of a sequence.
            every: seconds (or a timedelta) between checkpoints; the setting ``celeriac_checkpoint_seconds`` unless given.
            give_way: seconds (or a timedelta), None for never; the setting ``celeriac_give_way_seconds`` unless given.
            connection: as of ``effect_once``. The cursor is in that database then, in the same table, and
                ``rows.save()`` writes it in your transaction, so that each row's effect happens once.
            session: what runs a ``select()``; ``connection`` unless given.

        Raises:
            CheckpointError: the task has no ``bind=True``, no store of celeriac's knows of it, or the source or the cursor
                cannot be what was meant.
        """
        often = _seconds(self.name, "every", every)
        turn = _seconds(self.name, "give_way", give_way)
        if not isinstance(step, str):
            raise CheckpointError(self.name, f"iterate(step={step!r}): a name, as a text")
        if total is not None and number_of(total) is None:
            raise CheckpointError(self.name, f"iterate(total={total!r}): how many rows there are, a number")
        tracker = _tracker(self, "iterate()")
        session = connection if session is None else session
        if tracker is None:
            pairs = opened(self.name, source, cursor, None, session)
            return InPlace(self, pairs, number_of(size_of(source) if total is None else total))
        return _begun(self, tracker, source, cursor, step, total, often, turn, connection, session)


def _seconds(task: str, name: str, given: Any) -> Any:
    if given is _UNSET or given is None:
        return given
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
        raise CheckpointError(task, f"iterate({name}={given!r}): seconds, or a timedelta, over 0")
    return seconds


def _begun(
    task: Any,
    tracker: Tracker,
    source: Any,
    cursor: Any,
    step: str,
    total: float | None,
    every: float | None,
    give_way: float | None,
    connection: object,
    session: Any,
) -> Iteration:
    attempt: Attempt = task._own_attempt()  # noqa: SLF001  # the class is this mixin's
    room = room_of(task.app)
    mark = tracker.open(step)
    kept = None if connection is None else Kept(task, step, connection, attempt.delivery.lease)
    if kept is not None:
        mark.over = False  # the database has the last word
        tracker.came_further(mark, kept.done)
        mark.cursor = kept.cursor
    pairs = iter(()) if mark.over else opened(task.name, source, cursor, mark.cursor, session)
    hard, soft = _limits(task, attempt)
    seconds = pace_within(room.own.checkpoint_seconds if every is None else every, hard, soft)
    tracker.began(mark, size_of(source) if total is None else number_of(total), seconds)
    turn = turn_of(room.own.give_way_seconds if give_way is _UNSET else give_way, hard, soft)
    now = time.monotonic()
    began = now - (room.store.lease_now() - attempt.started_clock)
    pace = Pace(seconds, now, careful=attempt.delivery.crashes > 0)
    until = None if turn is None else Turn(began + turn.seconds, turn.reason)
    return Tracked(task.name, pairs, room, tracker, mark, pace, until, kept)


def _limits(task: Any, attempt: Attempt) -> Limits:
    queues = task.app.amqp.queues
    of_queue: Limits = queues.time_limits(attempt.delivery.queue) if queues.own else NO_LIMITS
    return of_request(task, task.request.timelimit, of_queue)


def _tracker(task: Any, what: str) -> Tracker | None:
    """The running attempt's; None where the body is called as a function, or eagerly, and nothing is to be kept."""
    if isinstance(inspect.getattr_static(type(task), "run"), staticmethod):
        raise CheckpointError(
            task.name,
            f"{what} is a method of the running task: declare it with bind=True, and its first parameter is self",
        )
    attempt = task._own_attempt()  # noqa: SLF001  # the class is the mixin's
    if attempt is not None:
        if attempt.tracker is None:
            attempt.tracker = Tracker(room_of(task.app), attempt)
        tracker: Tracker = attempt.tracker
        return tracker
    request = task.request
    if request.called_directly or request.is_eager:
        return None
    if not task.app.has_ledger:
        raise CheckpointError(
            task.name,
            f"{what} has nowhere to write: the broker {task.app.broker_name} is no store of celeriac's. Put a ledger beside it, "
            'as in Celery(..., ledger="sqlite:///ledger.db") or celeriac_ledger = "postgresql://…"',
        )
    raise CheckpointError(task.name, f"{what} has nowhere to write: durable=False leaves the task to Celery")


class Iteration:
    """The rows that are still to be done, to be gone through once."""

    def __init__(self, task: str, pairs: Pairs) -> None:
        self._task, self._pairs = task, pairs
        self._begun = False

    def __iter__(self) -> Iterator[Any]:
        if self._begun:
            raise CheckpointError(
                self._task,
                "what iterate() has returned is for one loop, and this is the second: the rows of the first are done. Where "
                'they are to be gone through again, call it again, with a step of its own: iterate(..., step="refunds")',
            )
        self._begun = True
        return self._rows()

    def __aiter__(self) -> Any:
        raise CheckpointError(
            self._task, "iterate() is gone through by a plain `for`, in a coroutine too, which waits in the loop's body"
        )

    def _rows(self) -> Iterator[Any]:
        return (row for row, _ in self._pairs)

    def save(self) -> None:
        """Where ``iterate`` was given a connection: write there, in the open transaction, that the row in hand is done.

        All rows up to it are, so that it may be called once for many, before they are committed together.

        Raises:
            GiveWay: another run of the task has come further; it is to be rolled back, and the task goes on from there.
            TransactionError: no transaction is open.
            CheckpointError: no connection was given.
        """


class InPlace(Iteration):
    """The same where the body is called as a function, or run in place: nothing goes on from there."""

    def __init__(self, task: Any, pairs: Pairs, total: float | None) -> None:
        super().__init__(task.name, pairs)
        self._request, self._total = task.request, total

    def _rows(self) -> Iterator[Any]:
        for done, (row, _) in enumerate(self._pairs, 1):
            yield row
            if self._request.is_eager:
                tell_in_place(self._request.id, done, self._total, None)


class Tracked(Iteration):
    """The same in an attempt."""

    def __init__(
        self,
        task: str,
        pairs: Pairs,
        room: Room,
        tracker: Tracker,
        mark: Mark,
        pace: Pace,
        until: Turn | None,
        kept: Kept | None,
    ) -> None:
        super().__init__(task, pairs)
        self._room, self._tracker, self._mark, self._pace, self._kept = room, tracker, mark, pace, kept
        self._until = until
        self._cursor: Any = mark.cursor
        self._in_hand = self._saved = False

    def _rows(self) -> Iterator[Any]:
        first = True
        for row, cursor in self._pairs:
            # Of each row, None would have the next run begin anew; what else is none is found at the next checkpoint.
            if first or cursor is None:
                first = False
                self._check(cursor)
            self._cursor, self._in_hand, self._saved = cursor, True, False
            yield row
            self._in_hand = False
            self._done(cursor)
        self._tracker.over(self._mark)

    def save(self) -> None:
        if self._kept is None:
            raise CheckpointError(
                self._task, "save() is for iterate(..., connection=...), which keeps the cursor in a database of yours; without "
                "that it is saved by itself"
            )  # fmt: skip
        try:
            self._kept.save(self._cursor, self._mark.done + self._in_hand)
        except GiveWay as error:
            self._tracker.gave_way = error
            raise
        self._saved = True

    def _done(self, cursor: Any) -> None:
        # In a database of the application's only what was saved is done for the next run.
        left = self._kept is None or self._saved
        self._tracker.moved(self._mark, cursor, counts=left, here=self._kept is None)
        now = time.monotonic()
        if self._pace.due(now):
            self._tracker.save()
            self._pace.saved(now, time.monotonic())
        if left and self._room.ending:
            self._give_way("its worker ends")
        if left and self._until is not None and now >= self._until.seconds:
            self._give_way(self._until.reason, behind=True)

    def _give_way(self, reason: str, *, behind: bool = False) -> None:
        self._tracker.gave_way = GiveWay(f"{reason}; {self._mark.done:,} rows are done", behind=behind)
        raise self._tracker.gave_way

    def _check(self, cursor: Any) -> None:
        """Say at the first row, and not at the first checkpoint, that a cursor is none."""
        try:
            dumps(cursor)
        except Exception as error:
            raise CheckpointError(
                self._task,
                f"the cursor of a row is a {type(cursor).__name__}, which JSON cannot hold: a number, a text, a list of these, a "
                "date or a UUID can be one",
            ) from error
        if cursor is None:
            raise CheckpointError(self._task, "the cursor of a row is None, which stands for the beginning")


def ended(attempt: Attempt, error: BaseException | None) -> None:
    """A body that has reported checkpoints is over; what it makes of giving way changes nothing.

    Raises:
        GiveWay: it has given way, or a soft time limit has interrupted it behind a row that it has done.
    """
    tracker: Tracker = attempt.tracker
    gave_way = tracker.gave_way
    if gave_way is None and isinstance(error, SoftTimeLimitExceeded) and tracker.goes_on():
        gave_way = tracker.gave_way = GiveWay(f"the soft time limit interrupted it; {tracker.done:,} are done")
    if gave_way is not None and error is not gave_way:
        raise gave_way from error
