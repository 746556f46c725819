"""A worker whose tasks share a process, and a task that may be the end of it."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Seconds between looks for a suspect, for which others pass it by, and for which they wait for it at most.
LOOK, PASS, WAIT = 1.0, 30.0, 30.0


class MakeWay:
    """A suspect's last chance before burial is a run beside nothing else, and a busy worker never comes to rest by itself.

    So it begins nothing new for a while, now and then: often enough that the suspect has its turn where tasks are
    short, and seldom enough that the others go on where one of them takes hours.
    """

    def __init__(self) -> None:
        self._looked_at = float("-inf")
        self._since: float | None = None

    def holds_back(self, waits: Callable[[], bool]) -> bool:
        """Whether a busy worker should begin nothing now; ``waits`` tells whether such a suspect is there."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK:
            self._looked_at = now
            if not waits():
                self._since = None
            elif self._since is None or now - self._since >= PASS + WAIT:
                self._since = now
        return self._since is not None and PASS <= now - self._since < PASS + WAIT
