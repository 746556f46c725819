"""Waiting for results: woken by the commit, not by a timer."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from celery import states
from celery.exceptions import TimeoutError  # noqa: A004  # Celery's own, which get() promises

from celeriac.core.transactions import fate_of, open_for
from celeriac.errors import TransactionError
from celeriac.results.reading import known_meta, never_sent, tell_read
from celeriac.store.protocols import News

#: Seconds a waiter looks again even when nothing was committed.
LOOK_AGAIN = 1.0


def for_one(backend: Any, task_id: str, timeout: float | None, on_interval: Any) -> dict[str, Any]:
    """Celery's dictionary of the result, as soon as the task has ended.

    Raises:
        TimeoutError: Celery's: it has not ended after ``timeout`` seconds.
        TransactionError: the task is sent in a transaction that is open here.
    """
    _check_outside(backend.store, [task_id])
    for _ in _commits(backend, timeout, on_interval):
        meta: dict[str, Any] = backend.get_task_meta(task_id)
        if meta["status"] in states.READY_STATES:
            return meta
    raise TimeoutError("The operation timed out.")


def for_many(
    backend: Any, task_ids: Iterable[str], timeout: float | None, on_message: Any, on_interval: Any
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each id with Celery's dictionary of its result, as the tasks end.

    Raises:
        TimeoutError: Celery's: some have not ended after ``timeout`` seconds.
        TransactionError: one of the tasks is sent in a transaction that is open here.
    """
    waiting = set(task_ids)
    _check_outside(backend.store, waiting)
    for _ in _commits(backend, timeout, on_interval):
        for task_id, meta in _ended(backend, waiting):
            waiting.discard(task_id)
            if on_message is not None:
                on_message(meta)
            yield task_id, meta
        if not waiting:
            return
    raise TimeoutError(f"Operation timed out ({timeout})")


def _ended(backend: Any, task_ids: set[str]) -> list[tuple[str, dict[str, Any]]]:
    records = backend.store.records(sorted(task_ids))
    tell_read(backend.store, records.values())
    ended = [
        (one, known_meta(backend, record)) for one, record in records.items() if record.state in states.READY_STATES
    ]
    never = ((task_id, never_sent(task_id)) for task_id in sorted(task_ids - records.keys()))
    return ended + [(task_id, meta) for task_id, meta in never if meta is not None]


def _check_outside(store: object, task_ids: Iterable[str]) -> None:
    fates = {fate for fate in map(fate_of, task_ids) if fate is not None}
    if open_for(store) is not None or any(fate.is_open_here() for fate in fates):
        raise TransactionError(
            "a result is waited for in the transaction that sends its task, which begins only when that commits. "
            "Call get() after the commit"
        )


def _commits(backend: Any, timeout: float | None, on_interval: Any) -> Iterator[None]:
    """Once now, then after every commit, until ``timeout`` seconds have passed."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        mark = backend.store.mark(News.RESULTS)
        yield
        if on_interval:
            on_interval()
        left = LOOK_AGAIN if deadline is None else min(LOOK_AGAIN, deadline - time.monotonic())
        if left <= 0:
            return
        backend.store.wait(left, mark, News.RESULTS)
