"""``app.failures``: tasks that failed and of which nobody has heard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celeriac.core.attempt import DeadLetterFilter
from celeriac.core.desk import By, UnreadFailure
from celeriac.desk.choosing import as_of
from celeriac.desk.steps import Step, Steps, pages
from celeriac.desk.who import whoami
from celeriac.store.protocols import Store


class Failures:
    """Failures that nobody has read: no error callback was given, and no result was fetched.

    ``task`` and ``queue`` are names or globs, ``error`` is a part of the error's type or text, ages are in seconds.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    @property
    def _store(self) -> Store:
        store: Store = self._app.store
        return store

    def __iter__(self) -> Iterator[UnreadFailure]:
        return self.find()

    def find(
        self,
        *,
        task: str | None = None,
        queue: str | None = None,
        error: str | None = None,
        older_than: float | None = None,
        newer_than: float | None = None,
        newest: int | None = None,
    ) -> Iterator[UnreadFailure]:
        """Those that match, or the ``newest`` so many of them, oldest first."""
        chosen = DeadLetterFilter((), task, queue, error, older_than, newer_than)
        return self._store.unread_failures(chosen, newest=newest)

    def count(self, *, task: str | None = None, queue: str | None = None, error: str | None = None) -> int:
        """How many match."""
        return self._store.count_unread_failures(DeadLetterFilter((), task, queue, error))

    def acknowledge(self, *task_ids: str, note: str | None = None, who: str | None = None) -> int:
        """Take note of these; returns how many were unread."""
        return self._store.acknowledge_failures(task_ids, By(who or whoami(), note))


def acknowledge(store: Store, chosen: DeadLetterFilter, by: By, *, dry_run: bool = False) -> Steps:
    """Take note of all that match, a page a transaction and step; what fails in the meantime is left alone."""
    frozen = as_of(chosen, 0.0)
    if dry_run:
        yield Step(done=store.count_unread_failures(frozen))
        return
    for page in pages(store.unread_failures(frozen)):
        done = store.acknowledge_failures([failure.task_id for failure in page], by)
        yield Step(done=done, gone=len(page) - done)
