"""How much to claim at once: about 50 ms of work, never less than the pool can run."""

from __future__ import annotations

import time

#: Seconds of work to hold, and the most messages that may be.
HORIZON, MOST = 0.05, 512
#: Weight of the newest measurement of the rate.
SMOOTHING = 0.4


class Prefetch:
    """Follows the rate at which messages are finished.

    ``least`` is what the consumer asked for (concurrency times multiplier), 0 for as much as there is.
    With ``adaptive`` off it is also the most.
    """

    def __init__(self, least: int = 1, *, adaptive: bool = True) -> None:
        self.least = least or MOST
        self.adaptive = adaptive
        self._rate = 0.0
        self._finished = 0
        self._since = time.monotonic()

    def finished(self) -> None:
        """Count one message that was settled or acknowledged."""
        self._finished += 1

    def target(self) -> int:
        """How many messages to hold now."""
        if not self.adaptive:
            return self.least
        self._measure()
        return max(self.least, min(MOST, int(self._rate * HORIZON)))

    def rest(self) -> None:
        """Nothing was there to do: the time until the next message is no measure of the work."""
        self._finished = 0
        self._since = time.monotonic()

    def _measure(self) -> None:
        now = time.monotonic()
        elapsed = now - self._since
        if elapsed < HORIZON:
            return  # long tasks that end side by side are not short ones
        if not self._finished:
            # A long task is running: what was true of the short ones is not.
            self._rate = min(self._rate, self.least / elapsed)
            return
        rate = self._finished / elapsed
        self._rate += SMOOTHING * (rate - self._rate)
        self._finished, self._since = 0, now
