"""Tasks that gave up: looked at, acknowledged, sent again, dropped; and the log of who did that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from celeriac.core.attempt import AttemptRecord, DeadLetter, DeadLetterFilter
from celeriac.core.desk import Action, By, ErrorGroup, Redrive, Verb
from celeriac.core.fingerprints import fingerprint
from celeriac.core.message import TaskMessage
from celeriac.errors import DeadLetterError, RedriveRefused, RedriveSuperseded
from celeriac.store.redis.filters import Matches, Summary, matcher
from celeriac.store.redis.packing import (
    Argument,
    by_arguments,
    chains_argument,
    message_arguments,
    number,
    pack,
    plain,
    text,
    texts_arguments,
    to_attempt,
    to_number,
    unpack,
    unpack_text,
)
from celeriac.store.redis.part import AT_ONCE, Part

#: How an answer names the holder of a key.
_HOLDER = b"h"


def _summary(row: Sequence[Any]) -> Summary:
    letter_id, (task, name, queue, error_type, error, failed_at, print_, acked) = row
    kind, said = unpack_text(error_type) or "", unpack_text(error) or ""
    return Summary(
        int(letter_id),
        unpack_text(name) or "",
        text(queue),
        kind,
        said,
        float(failed_at),
        text(task),
        # An older version wrote none.
        text(print_) if print_ else fingerprint(kind, said),
        bool(acked),
    )


def _letter(row: Sequence[Any]) -> DeadLetter:
    letter_id, fields, attempts = row
    task, generation, name, queue, reason, error_type, error, traceback, worker, failed, envelope, body = fields[:12]
    priority, print_, acked, acked_by, note, snoozes = fields[12:]
    task_id = text(task)
    return DeadLetter(
        int(letter_id),
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
        text(print_) if print_ else None,
        to_number(acked),
        unpack_text(acked_by),
        unpack_text(note),
        int(snoozes or 0),
        [to_attempt(task_id, attempt) for attempt in attempts],
    )


def _slices(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE))


class DeadLettersPart(Part):
    """The dead letters' side of the store; filters run here, over pages of what they look at."""

    def dead_letters(
        self, chosen: DeadLetterFilter, *, batch: int = 200, newest: int | None = None
    ) -> Iterator[DeadLetter]:
        matches = matcher(chosen, self.now())
        wanted = self._matching(matches, chosen.ids) if newest is None else iter(self._newest(matches, newest))
        page: list[int] = []
        for found in wanted:
            page.append(found.id)
            if len(page) >= batch:
                yield from self._read(page)
                page = []
        yield from self._read(page)

    def _matching(self, matches: Matches, ids: Sequence[int] = ()) -> Iterator[Summary]:
        """The oldest first; where they are of ``ids``, no others are looked at than between those."""
        after, last = (min(ids) - 1, max(ids)) if ids else (0, None)
        while (last is None or after < last) and (rows := self.database.call("letters.page", [after, AT_ONCE])):
            page = [_summary(row) for row in rows]
            yield from filter(matches, page)
            after = page[-1].id

    def _newest(self, matches: Matches, count: int) -> list[Summary]:
        """The newest so many, the oldest first."""
        newest: list[Summary] = []
        before: int | str = "+inf"
        while len(newest) < count and (rows := self.database.call("letters.before", [before, AT_ONCE])):
            page = [_summary(row) for row in rows]
            newest += filter(matches, page)
            before = page[-1].id
        return newest[:count][::-1]

    def _read(self, numbers: Sequence[int]) -> list[DeadLetter]:
        if not numbers:
            return []
        return [_letter(row) for row in self.database.call("letters.read", [len(numbers), *numbers])]

    def count_dead_letters(self, chosen: DeadLetterFilter) -> int:
        return sum(1 for _ in self._matching(matcher(chosen, self.now()), chosen.ids))

    def dead_letters_of(self, task_ids: Sequence[str]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for start in range(0, len(task_ids), AT_ONCE):
            asked = texts_arguments(task_ids[start : start + AT_ONCE])
            for task_id, count, numbers in self.database.call("letters.of", asked):
                if int(count) > len(numbers):
                    return self._looked_through_for(frozenset(task_ids))
                found[text(task_id)] = sorted(map(int, numbers))
        return found

    def _looked_through_for(self, wanted: frozenset[str]) -> dict[str, list[int]]:
        """Some are of an older version, which does not say which letters a task has."""
        found: dict[str, list[int]] = {}
        for letter in self._matching(lambda summary: summary.task_id in wanted):
            found.setdefault(letter.task_id, []).append(letter.id)
        return found

    def error_groups(self, chosen: DeadLetterFilter) -> list[ErrorGroup]:
        groups: dict[str, list[Summary]] = {}
        for letter in self._matching(matcher(chosen, self.now())):
            groups.setdefault(letter.fingerprint, []).append(letter)
        return sorted(map(_group, groups.values()), key=lambda group: (-group.count, -group.newest_id))

    # -- acted on

    def redrive(self, letter: DeadLetter, message: TaskMessage, by: By, *, from_start: bool = False) -> None:
        for error in self.redrive_all([Redrive(letter, message, by, from_start)]):
            if error is not None:
                raise error

    def redrive_all(self, redrives: Sequence[Redrive]) -> list[DeadLetterError | None]:
        arguments: list[Argument] = [len(redrives)]
        for item in redrives:
            letter = item.letter
            arguments += (letter.id, plain(letter.task_id), letter.generation, letter.snoozes, *by_arguments(item.by))
            arguments += (int(item.from_start), *message_arguments(item.message))
        answers = self.database.call("letters.redrive", arguments)
        return [_refusal(item, answer) for item, answer in zip(redrives, answers, strict=True)]

    def purge_dead_letters(self, ids: Sequence[int], by: By) -> int:
        return sum(self.database.call("letters.purge", _named(some, by)) for some in _slices(ids))

    def acknowledge_dead_letters(self, ids: Sequence[int], by: By) -> int:
        return sum(self.database.call("letters.acknowledge", _named(some, by)) for some in _slices(ids))

    def reopen_dead_letters(self, ids: Sequence[int], by: By) -> int:
        return sum(self.database.call("letters.reopen", _named(some, by)) for some in _slices(ids))

    def import_dead_letters(self, letters: Sequence[DeadLetter], by: By) -> int:
        arguments = [*by_arguments(by), len(letters)]
        for letter in letters:
            arguments += _imported(letter)
        done: int = self.database.call("letters.import", arguments)
        return done

    # -- the log

    def record_action(self, verb: Verb, by: By) -> None:
        self.database.call("letters.log", [*by_arguments(by), verb.value])

    def actions(self, task_id: str | None = None, *, newest: int = 200) -> list[Action]:
        return [_action(row) for row in reversed(self.database.call("letters.acts", [plain(task_id), newest]))]


def _refusal(item: Redrive, answer: bytes) -> DeadLetterError | None:
    letter, name, key = item.letter, item.letter.name or "?", item.message.key
    if answer == b"gone":
        return DeadLetterError(f"dead letter {letter.id} is gone; somebody redrove or purged it")
    if answer == b"live":
        return RedriveSuperseded(name, letter.id, letter.task_id, letter.generation + 1, "waiting or running")
    if answer[:1] == _HOLDER and key is not None:
        return RedriveRefused(name, letter.task_id, key.value, text(answer[1:]))
    return None


def _named(ids: Sequence[int], by: By) -> list[Argument]:
    return [*by_arguments(by), len(ids), *ids]


def _group(letters: Sequence[Summary]) -> ErrorGroup:
    newest, names = letters[-1], {letter.name for letter in letters if letter.name}
    moments = [letter.failed_at for letter in letters]
    return ErrorGroup(
        newest.fingerprint,
        len(letters),
        len(names),
        min(names, default=None),
        min(moments),
        max(moments),
        newest.id,
        newest.error_type,
        newest.error,
    )


def _action(row: Sequence[bytes]) -> Action:
    at, who, verb, letter, task, note = row
    return Action(
        float(at),
        unpack_text(who) or "",
        Verb(text(verb)),
        int(letter) if letter else None,
        text(task) or None,
        unpack_text(note),
    )


def _imported(letter: DeadLetter) -> Iterator[Argument]:
    yield from (plain(letter.task_id), letter.generation, pack(letter.name), plain(letter.queue), plain(letter.reason))
    yield from (pack(letter.error_type), pack(letter.error), pack(letter.traceback), pack(letter.worker))
    yield from (number(letter.failed_at), plain(letter.envelope), pack(letter.body), letter.priority)
    yield from (fingerprint(letter.error_type, letter.error), number(letter.acked_at), pack(letter.acked_by))
    yield from (pack(letter.note), letter.snoozes, chains_argument(letter.chains), len(letter.attempts))
    for attempt in letter.attempts:
        yield from _attempt(attempt)


def _attempt(attempt: AttemptRecord) -> Iterator[Argument]:
    yield from (attempt.generation, number(attempt.started_at), number(attempt.finished_at), pack(attempt.worker))
    yield from (attempt.outcome, pack(attempt.error_type), pack(attempt.error), pack(attempt.traceback))
