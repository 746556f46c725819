"""A server's clock, measured now and then and counted on from there by this machine's."""

from __future__ import annotations

from collections.abc import Callable

from celeriac.errors import StoreUnavailable
from celeriac.store.clock import lease_now as machine_clock

#: Seconds until it is measured again.
KEPT = 10.0


class ServerClock:
    """Tells the server's time without asking it each time.

    Args:
        measure: asks the server, and answers by how many seconds its clock, since the epoch, is ahead of this machine's
            (``celeriac.store.clock``).
    """

    def __init__(self, measure: Callable[[], float]) -> None:
        self._measure = measure
        self._ahead: float | None = None
        self._asked_at = 0.0

    def now(self) -> float:
        """Seconds since the epoch.

        Raises:
            StoreUnavailable: it could never be asked.
        """
        here = machine_clock()
        if self._ahead is None or here - self._asked_at > KEPT:
            try:
                self._ahead = self._measure()
                self._asked_at = machine_clock()
            except StoreUnavailable:
                if self._ahead is None:
                    raise
                self._asked_at = here  # the old answer does for a while; what follows finds out for itself
        assert self._ahead is not None
        return machine_clock() + self._ahead
