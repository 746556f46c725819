"""What the pipeline needs of an app, found once per app and process."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from celeriac.core.message import Lease
from celeriac.core.queue_limits import QueueLimits
from celeriac.execution.deadlines import Deadlines
from celeriac.execution.ending import Ending
from celeriac.execution.pauses import KnownPauses
from celeriac.execution.settler import Settler
from celeriac.execution.workflows import KnownCancelled
from celeriac.settings import OwnSettings
from celeriac.store.protocols import Store

#: Seconds a settled task is remembered where the app says nothing.
REMEMBERED = 86_400.0


@dataclass(slots=True)
class Room:
    """The store, the group commit and the limits of one app."""

    store: Store
    settler: Settler
    own: OwnSettings = field(default_factory=OwnSettings)
    lease: float = 30.0
    #: Leases that this process has handed back; its pool may still have their tasks queued.
    given_up: set[Lease] = field(default_factory=set)
    #: The queues that declare limits, by name.
    queues: Mapping[str, QueueLimits] = field(default_factory=dict)
    retries_undeclared: bool = True
    remembered: float | None = REMEMBERED
    hostname: str = field(default_factory=socket.gethostname)
    #: The store's name in messages, once this process has asked for it.
    ledger: str | None = None
    #: Watches time limits where tasks run in the worker's own process.
    deadlines: Deadlines | None = None
    pauses: KnownPauses = field(default_factory=KnownPauses)
    cancelled: KnownCancelled = field(default_factory=KnownCancelled)
    ending: Ending = field(default_factory=Ending)

    def expires_at(self, now: float) -> float | None:
        """When a task that settles now may be forgotten; never, where the app keeps all."""
        return None if self.remembered is None else now + self.remembered


def room_of(app: Any) -> Room:
    """The app's room; made by the composition root."""
    room: Room = app.execution_room
    return room
