"""Whether the clock of the store was set back, as a server's may be."""

from __future__ import annotations

import time

from celeriac.store.clock import lease_now
from celeriac.store.protocols import Clocks

#: Seconds that a clock is set back at least; less is how exactly it was measured.
STEP = 1.0
#: Seconds until every process has measured it anew, and nobody goes by what it was.
SETTLED = 30.0


class Steps:
    """Compares the store's lease clock with this machine's, which nobody sets."""

    def __init__(self) -> None:
        self._ahead: float | None = None
        self._until = float("-inf")

    def look(self, store: Clocks) -> bool:
        """Whether what waits for a time of that clock may wait too long; at the first look nobody knows."""
        ahead, before = store.lease_now() - lease_now(), self._ahead
        self._ahead = ahead
        if before is None:
            return True
        if ahead < before - STEP:
            self._until = time.monotonic() + SETTLED
        return time.monotonic() < self._until
