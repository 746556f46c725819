"""What SQLite does with many messages at once: one statement, prepared once."""

from __future__ import annotations

from collections.abc import Sequence

from celeriac.core.message import Published, TaskMessage
from celeriac.store.relational.part import READY
from celeriac.store.relational.queue import QueuePart, row, told
from celeriac.store.sqlite.database import STATEMENTS, Database


class SQLiteQueue(QueuePart):
    """The queue's side of the store."""

    database: Database

    def publish(self, messages: Sequence[TaskMessage]) -> list[Published]:
        if len(messages) == 1 or any(message.key is not None or message.grows is not None for message in messages):
            return super().publish(messages)
        now = self.now()
        rows = [row(message, READY, now) for message in messages]
        with self.database.writing() as raw:
            last = raw.run("queue.last_message").fetchone()[0]
            for lane in {(message.queue, message.priority, message.limits) for message in messages if message.limits}:
                raw.run("limits.entered", lane)
            if raw.executemany(STATEMENTS["queue.publish"], rows).rowcount == len(rows):
                return [Published(message.task_id) for message in messages]
            sent = {task_id for (task_id,) in raw.run("queue.messages_after", (last,))}
        return told(messages, sent)
