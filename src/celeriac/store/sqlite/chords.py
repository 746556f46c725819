"""Chords: a join is the set of members that have settled."""

from __future__ import annotations

from collections.abc import Sequence

from celeriac.core.attempt import ChordPart, Record
from celeriac.core.message import TaskMessage
from celeriac.store.sql import queries
from celeriac.store.sqlite import ledger, queue
from celeriac.store.sqlite.base import Part

SQL = queries("sqlite", "ledger")


class ChordsPart(Part):
    """The joins' side of the store."""

    def set_chord_size(self, group_id: str, size: int) -> bool:
        now = self.now()
        with self.database.writer.writing() as raw:
            raw.execute(SQL["chord_size"], (group_id, size, now))
            return raw.execute(SQL["chord_complete"], (group_id, now)).rowcount == 1

    def grow_chord(self, group_id: str, by: int) -> None:
        with self.database.writer.writing() as raw:
            queue.grow(raw, group_id, by, self.now())

    def add_chord_part(self, part: ChordPart) -> bool:
        with self.database.writer.writing() as raw:
            return ledger.add_part(raw, part, self.now())

    def chord_parts(self, group_id: str) -> tuple[str | None, list[ChordPart]]:
        with self.database.reader.reading() as raw:
            chord = raw.execute(SQL["chord_get"], (group_id,)).fetchone()
            if chord is None or chord[1] != "open":
                return None, []
            body = chord[2]
            rows = raw.execute(SQL["chord_parts"], (group_id,)).fetchall()
        return body, [
            ChordPart(group_id, task_id, position, bool(succeeded), result, body)
            for task_id, position, succeeded, result in rows
        ]

    def close_chord(
        self, group_id: str, *, succeeded: bool, messages: Sequence[TaskMessage], records: Sequence[Record]
    ) -> bool:
        now = self.now()
        with self.database.writer.writing() as raw:
            state = "sent" if succeeded else "failed"
            if raw.execute(SQL["chord_close"], (group_id, state, now)).rowcount != 1:
                return False
            for record in records:
                ledger.write_other(raw, record, now)
            for message in messages:
                queue.publish(raw, message, now)
        return True

    def chords_waiting(self, older_than: float) -> list[str]:
        with self.database.reader.reading() as raw:
            return [row[0] for row in raw.execute(SQL["chords_waiting"], (self.now() - older_than,))]
