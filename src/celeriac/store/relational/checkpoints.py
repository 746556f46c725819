"""How far tasks have come: saved by who holds the lease, and settled with the attempt."""

from __future__ import annotations

import json
from collections.abc import Sequence

from celeriac.core.attempt import Outcome, Settlement
from celeriac.core.checkpoint import Checkpoint
from celeriac.core.message import Lease
from celeriac.store.relational.part import REMEMBERED, Part
from celeriac.store.relational.session import Session

#: Ends after which nothing is gone on with; a dead letter may be redriven.
_OVER = frozenset({Outcome.COMPLETED, Outcome.FAILED, Outcome.REVOKED, Outcome.IGNORED, Outcome.REPLACED})


class CheckpointsPart(Part):
    """The checkpoints' side of the store."""

    def save_checkpoint(self, lease: Lease, checkpoint: Checkpoint, *, absolve: bool = False) -> bool:
        row = (checkpoint.task_id, checkpoint.cursors, checkpoint.done, checkpoint.total, checkpoint.note, self.now())
        with self.database.writing() as raw:
            saved = raw.run("checkpoints.save", (*row, *lease)).rowcount == 1
            if saved and absolve:
                raw.run("checkpoints.absolve", lease)
            return saved

    def checkpoints(self, task_ids: Sequence[str]) -> dict[str, Checkpoint]:
        with self.database.reading() as raw:
            rows = raw.run("checkpoints.get", (json.dumps(list(task_ids)),)).fetchall()
        return {row[0]: Checkpoint(*row) for row in rows}


def settle(raw: Session, item: Settlement, now: float) -> None:
    """Write how far an attempt came, and forget what no later one goes on with."""
    found = item.checkpoint
    if found is not None:
        token = 0 if found.cursors is None else item.lease.token
        row = (found.task_id, found.cursors, found.done, found.total, found.note, now, token)
        raw.run("checkpoints.settle", row)
    elif item.outcome is Outcome.COMPLETED:
        return
    if item.outcome in _OVER:
        expires = now + REMEMBERED if item.record is None else item.record.expires_at
        raw.run("checkpoints.over", (item.task_id, expires))
