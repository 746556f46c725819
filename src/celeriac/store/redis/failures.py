"""Failures of which nobody has heard."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from celeriac.core.attempt import DeadLetterFilter
from celeriac.core.desk import By, UnreadFailure
from celeriac.store.redis.filters import Matches, Summary, matcher
from celeriac.store.redis.packing import by_arguments, number, text, texts_arguments, unpack_text
from celeriac.store.redis.part import AT_ONCE, Part


def _failure(row: Sequence[bytes]) -> UnreadFailure:
    task_id, generation, name, queue, worker, error_type, error, failed_at = row
    return UnreadFailure(
        text(task_id),
        int(generation),
        unpack_text(name),
        unpack_text(queue),
        unpack_text(worker),
        unpack_text(error_type) or "",
        unpack_text(error) or "",
        float(failed_at),
    )


def _summary(failure: UnreadFailure) -> Summary:
    queue, name = failure.queue or "", failure.name or ""
    return Summary(0, name, queue, failure.error_type, failure.error, failure.failed_at)


class FailuresPart(Part):
    """The side of the store that knows what nobody has read; filters run here."""

    def unread_failures(
        self, chosen: DeadLetterFilter, *, batch: int = 200, newest: int | None = None
    ) -> Iterator[UnreadFailure]:
        found = self._unread(matcher(chosen, self.now()))
        yield from found if newest is None else deque(found, maxlen=newest)

    def _unread(self, matches: Matches) -> Iterator[UnreadFailure]:
        # Several may have failed in one instant, and what was read may be gone by the next page.
        since, seen = float("-inf"), set[str]()
        while True:
            wanted = AT_ONCE + len(seen)
            rows = self.database.call("failures.page", [number(since), wanted])
            page = [failure for failure in map(_failure, rows) if failure.task_id not in seen]
            yield from (failure for failure in page if matches(_summary(failure)))
            if len(rows) < wanted or not page:
                return
            last = page[-1].failed_at
            seen = {one.task_id for one in page if one.failed_at == last} | (seen if last == since else set())
            since = last

    def count_unread_failures(self, chosen: DeadLetterFilter) -> int:
        return sum(1 for _ in self._unread(matcher(chosen, self.now())))

    def failures_read(self, task_ids: Sequence[str]) -> None:
        if task_ids:
            self.database.call("failures.read", texts_arguments(task_ids))

    def acknowledge_failures(self, task_ids: Sequence[str], by: By) -> int:
        return sum(
            self.database.call("failures.acknowledge", [*by_arguments(by), *texts_arguments(some)])
            for some in (task_ids[start : start + AT_ONCE] for start in range(0, len(task_ids), AT_ONCE))
        )
