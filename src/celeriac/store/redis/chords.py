"""Chords: a join is the set of members that have settled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from celeriac.core.attempt import ChordPart, Record, Settled
from celeriac.core.message import TaskMessage
from celeriac.store.redis.ledger import LOST
from celeriac.store.redis.packing import (
    Argument,
    messages_arguments,
    named_record,
    number,
    part_arguments,
    plain,
    text,
    texts_arguments,
    unpack,
)
from celeriac.store.redis.part import Part
from celeriac.store.redis.queue import refuse_conflict


class ChordsPart(Part):
    """The joins' side of the store."""

    def set_chord_size(self, group_id: str, size: int) -> bool:
        return bool(self.database.call("chords.size", [plain(group_id), size]))

    def grow_chord(self, group_id: str, by: int) -> None:
        self.database.call("chords.grow", [plain(group_id), by])

    def add_chord_part(self, part: ChordPart) -> bool:
        return bool(self.database.call("chords.part", part_arguments(part)))

    def knows_chord(self, group_id: str) -> bool:
        return bool(self.database.call("chords.known", [plain(group_id)]))

    def chord_parts(self, group_id: str) -> tuple[str | None, list[ChordPart]]:
        found = self.database.call("chords.parts", [plain(group_id)])
        if not found:
            return None, []
        body = text(found[0])
        parts = [
            ChordPart(
                group_id, text(task_id), int(position), succeeded == b"1", unpack(result), body, succeeded == b"-1"
            )
            for task_id, position, succeeded, result in found[1]
        ]
        return body or None, sorted(parts, key=lambda part: (part.position, part.task_id))

    def close_chord(
        self,
        group_id: str,
        *,
        succeeded: bool,
        messages: Sequence[TaskMessage],
        records: Sequence[Record],
        parts: Sequence[ChordPart] = (),
    ) -> Settled:
        state = "sent" if succeeded else "failed"
        answer = self.database.call("chords.close", _closing(group_id, state, messages, records, parts))
        refuse_conflict(messages, answer)
        return LOST if answer == 0 else Settled(True, tuple(map(text, answer)))

    def hold_chords_with(self, group_id: str, others: Sequence[str]) -> None:
        self.database.call("chords.hold_with", [plain(group_id), *texts_arguments(others)])

    def chords_waiting(self, older_than: float) -> list[str]:
        return [text(group_id) for group_id in self.database.call("chords.waiting", [number(older_than)])]


def _closing(
    group_id: str,
    state: str,
    messages: Sequence[TaskMessage],
    records: Sequence[Record],
    parts: Sequence[ChordPart],
) -> Iterator[Argument]:
    yield from (plain(group_id), state, len(records))
    for record in records:
        yield from named_record(record)
    yield from messages_arguments(messages)
    yield len(parts)
    for part in parts:
        yield from part_arguments(part)
