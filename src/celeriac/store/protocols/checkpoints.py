"""How far long tasks have come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from celeriac.core.checkpoint import Checkpoint
from celeriac.core.message import Lease


class Checkpoints(Protocol):
    """How far tasks have come, one row a task; it ends with the task's record, and what can go on keeps it."""

    def save_checkpoint(self, lease: Lease, checkpoint: Checkpoint, *, absolve: bool = False) -> bool:
        """Write how far a run is; false, and nothing written, when its lease is lost.

        Cursors that are None leave those that are there. With ``absolve`` the crashes of the runs before count no more.
        """

    def checkpoints(self, task_ids: Sequence[str]) -> dict[str, Checkpoint]:
        """How far each has come that has ever said so."""
