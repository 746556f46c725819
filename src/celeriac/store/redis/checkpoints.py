"""How far tasks have come: saved by who holds the lease."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from celeriac.core.checkpoint import Checkpoint
from celeriac.core.message import Lease
from celeriac.store.redis.packing import Argument, number, pack, plain, texts_arguments, to_number, unpack_text
from celeriac.store.redis.part import AT_ONCE, Part


def checkpoint_arguments(checkpoint: Checkpoint) -> Iterator[Argument]:
    """One checkpoint, in the order in which the scripts read it."""
    yield from (plain(checkpoint.task_id), pack(checkpoint.cursors), number(checkpoint.done))
    yield from (number(checkpoint.total), pack(checkpoint.note))


class CheckpointsPart(Part):
    """The checkpoints' side of the store."""

    def save_checkpoint(self, lease: Lease, checkpoint: Checkpoint, *, absolve: bool = False) -> bool:
        saved = [*lease, int(absolve), *checkpoint_arguments(checkpoint)]
        return bool(self.database.call("checkpoints.save", saved))

    def checkpoints(self, task_ids: Sequence[str]) -> dict[str, Checkpoint]:
        found: dict[str, Checkpoint] = {}
        for start in range(0, len(task_ids), AT_ONCE):
            wanted = task_ids[start : start + AT_ONCE]
            rows = self.database.call("checkpoints.get", list(texts_arguments(wanted)))
            found.update((one, _checkpoint(one, row)) for one, row in zip(wanted, rows, strict=True) if row[0])
        return found


def _checkpoint(task_id: str, row: Sequence[bytes]) -> Checkpoint:
    done, total, note, cursors, at, token = row
    return Checkpoint(
        task_id,
        float(done),
        to_number(total),
        unpack_text(note),
        unpack_text(cursors or b""),
        float(at),
        int(token or 0),
    )
