"""What is paused, as far as a worker knows: what it holds of it and has not begun goes back."""

from __future__ import annotations

import logging
import mmap
import struct

from celeriac.core.attempt import Attempt
from celeriac.core.pauses import Paused
from celeriac.store.protocols import Pauses, Store

logger = logging.getLogger(__name__)

_CHANGES = struct.Struct("q")


class KnownPauses:
    """The worker's own process looks now and then; the pool's processes read the store when it has seen a change.

    They share the number of changes in memory, so that where nothing changes no task costs a look.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._seen = 0
        self.paused: Paused = frozenset()

    def look(self, store: Pauses) -> None:
        """See what is paused now; only in the process whose pool this is."""
        paused = store.paused()
        if paused != self.paused:
            self.paused = paused
            self._seen += 1
            _CHANGES.pack_into(self._memory, 0, self._seen)
            if paused:
                logger.info("paused now: %s", ", ".join(f"{kind} {name}" for kind, name in sorted(paused)))
            else:
                logger.info("nothing is paused any more")

    def known(self, store: Pauses) -> Paused:
        """What is paused, as of the last change that was seen."""
        said: int = _CHANGES.unpack_from(self._memory, 0)[0]
        if said != self._seen:
            self.paused, self._seen = store.paused(), said
        return self.paused


def put_aside(known: KnownPauses, store: Store, attempt: Attempt) -> bool:
    """Whether the attempt must not begin, since its task or queue is paused; its message waits then."""
    task, queue = ("task", attempt.name), ("queue", attempt.delivery.queue)
    paused = known.known(store)
    if not paused or not (task in paused or queue in paused):
        return False
    # It may have been resumed since.
    paused = store.paused()
    lease = attempt.delivery.lease
    if task in paused:
        store.set_aside(lease)
    elif queue in paused:
        store.release([lease])
    return task in paused or queue in paused
