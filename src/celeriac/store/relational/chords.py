"""Chords: a join is the set of members that have settled."""

from __future__ import annotations

from collections.abc import Sequence

from celeriac.core.attempt import ChordPart, Record, Settled
from celeriac.core.message import TaskMessage
from celeriac.store.relational import joining, ledger, queue
from celeriac.store.relational.part import Part


class ChordsPart(Part):
    """The joins' side of the store."""

    def set_chord_size(self, group_id: str, size: int) -> bool:
        now = self.now()
        with self.database.writing() as raw:
            raw.run("ledger.chord_size", (group_id, size, now))
            return raw.run("ledger.chord_complete", (group_id, now, False)).rowcount == 1

    def grow_chord(self, group_id: str, by: int) -> None:
        with self.database.writing() as raw:
            joining.grow(raw, group_id, by, self.now())

    def add_chord_part(self, part: ChordPart) -> bool:
        with self.database.writing() as raw:
            joins = ledger.Joins(raw, self.now())
            joins.add([part])
            return bool(joins.complete())

    def knows_chord(self, group_id: str) -> bool:
        with self.database.reading() as raw:
            chord = raw.run("ledger.chord_get", (group_id,)).fetchone()
            return chord is not None and chord[0] is not None

    def chord_parts(self, group_id: str) -> tuple[str | None, list[ChordPart]]:
        with self.database.reading() as raw:
            chord = raw.run("ledger.chord_get", (group_id,)).fetchone()
            if chord is None or chord[1] != "open":
                return None, []
            body = chord[2]
            rows = raw.run("ledger.chord_parts", (group_id,)).fetchall()
        return body, [
            ChordPart(group_id, task_id, position, succeeded == 1, result, body, succeeded == -1)
            for task_id, position, succeeded, result in rows
        ]

    def close_chord(
        self,
        group_id: str,
        *,
        succeeded: bool,
        messages: Sequence[TaskMessage],
        records: Sequence[Record],
        parts: Sequence[ChordPart] = (),
    ) -> Settled:
        now = self.now()
        with self.database.writing() as raw:
            state = "sent" if succeeded else "failed"
            if raw.run("ledger.chord_close", (group_id, state, now)).rowcount != 1:
                return ledger.LOST
            for record in records:
                ledger.write_other(raw, record, now)
            for message in messages:
                queue.publish(raw, message, now)
            joins = ledger.Joins(raw, now)
            joins.add(parts)
            return Settled(True, tuple(joins.complete()))

    def hold_chords_with(self, group_id: str, others: Sequence[str]) -> None:
        now = self.now()
        with self.database.writing() as raw:
            for other in others:
                raw.run("dead_letters.hold_chord_with", (group_id, other, now))

    def chords_waiting(self, older_than: float) -> list[str]:
        with self.database.reading() as raw:
            return [row[0] for row in raw.run("ledger.chords_waiting", (self.now() - older_than,))]
