"""Tasks that gave up: looked at, sent again, dropped."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from celeriac.core.attempt import DeadLetter, DeadLetterFilter
from celeriac.core.message import TaskMessage
from celeriac.errors import DeadLetterError, IdempotencyConflict, RedriveRefused, RedriveSuperseded
from celeriac.store.redis.packing import message_arguments, plain, text, to_attempt, unpack, unpack_text
from celeriac.store.redis.part import AT_ONCE, Part


class _Summary(NamedTuple):
    """Of a dead letter what filters look at."""

    id: int
    name: str
    queue: str
    error: str
    failed_at: float


Matches = Callable[[_Summary], bool]


def _summary(row: Sequence[bytes]) -> _Summary:
    number, name, queue, error_type, error, failed_at = row
    said = f"{unpack_text(error_type)}: {unpack_text(error)}"
    return _Summary(int(number), unpack_text(name) or "", text(queue), said.lower(), float(failed_at))


def _glob(pattern: str | None) -> Callable[[str], object]:
    if pattern is None:
        return lambda _: True
    # Python's translation knows [!…] alone.
    return re.compile(fnmatch.translate(pattern.replace("[^", "[!"))).match


def _matcher(chosen: DeadLetterFilter, now: float) -> Matches:
    task, queue, error = _glob(chosen.task), _glob(chosen.queue), (chosen.error or "").lower()
    youngest = float("inf") if chosen.older_than is None else now - chosen.older_than
    oldest = float("-inf") if chosen.newer_than is None else now - chosen.newer_than

    def matches(found: _Summary) -> bool:
        named = not chosen.ids or found.id in chosen.ids
        dated = oldest <= found.failed_at <= youngest
        return bool(named and dated and error in found.error and task(found.name) and queue(found.queue))

    return matches


def _letter(row: Sequence[Any]) -> DeadLetter:
    number, fields, attempts = row
    (task, generation, name, queue, reason, error_type, error, traceback, worker, failed, envelope, body, priority) = (
        fields
    )
    task_id = text(task)
    return DeadLetter(
        int(number),
        task_id,
        int(generation),
        unpack_text(name),
        text(queue),
        text(reason),
        unpack_text(error_type) or "",
        unpack_text(error) or "",
        unpack_text(traceback),
        unpack_text(worker),
        float(failed),
        text(envelope),
        unpack(body),  # type: ignore[arg-type]  # a body is never missing
        int(priority),
        [to_attempt(task_id, attempt) for attempt in attempts],
    )


class DeadLettersPart(Part):
    """The dead letters' side of the store; filters run here, over pages of what they look at."""

    def dead_letters(
        self, chosen: DeadLetterFilter, *, batch: int = 200, newest: int | None = None
    ) -> Iterator[DeadLetter]:
        matches = _matcher(chosen, self.now())
        wanted = self._matching(matches) if newest is None else self._newest(matches, newest)
        page: list[int] = []
        for number in wanted:
            page.append(number)
            if len(page) >= batch:
                yield from self._read(page)
                page = []
        yield from self._read(page)

    def _matching(self, matches: Matches) -> Iterator[int]:
        """Their numbers, the oldest first."""
        after = 0
        while rows := self.database.call("letters.page", [after, AT_ONCE]):
            page = [_summary(row) for row in rows]
            yield from (found.id for found in page if matches(found))
            after = page[-1].id

    def _newest(self, matches: Matches, count: int) -> list[int]:
        """The numbers of the newest so many, the oldest first."""
        newest: list[int] = []
        before: int | str = "+inf"
        while len(newest) < count and (rows := self.database.call("letters.before", [before, AT_ONCE])):
            page = [_summary(row) for row in rows]
            newest += [found.id for found in page if matches(found)]
            before = page[-1].id
        return newest[:count][::-1]

    def _read(self, numbers: Sequence[int]) -> list[DeadLetter]:
        if not numbers:
            return []
        return [_letter(row) for row in self.database.call("letters.read", [len(numbers), *numbers])]

    def count_dead_letters(self, chosen: DeadLetterFilter) -> int:
        return sum(1 for _ in self._matching(_matcher(chosen, self.now())))

    def redrive(self, letter: DeadLetter, message: TaskMessage) -> None:
        identity = (letter.id, plain(letter.task_id), letter.generation)
        answer = self.database.call("letters.redrive", [*identity, *message_arguments(message)])
        name, key = letter.name or "?", message.key
        if answer == b"gone":
            raise DeadLetterError(f"dead letter {letter.id} is gone; somebody redrove or purged it")
        if answer == b"live":
            raise RedriveSuperseded(name, letter.id, letter.task_id, letter.generation + 1, "waiting or running")
        if isinstance(answer, list) and key is not None:
            if answer[0] == b"conflict":
                raise IdempotencyConflict(key.task, key.value, text(answer[2]))
            raise RedriveRefused(name, letter.task_id, key.value, text(answer[1]))

    def purge_dead_letters(self, ids: Sequence[int]) -> int:
        return sum(
            self.database.call("letters.purge", [len(some), *some])
            for some in (ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE))
        )
