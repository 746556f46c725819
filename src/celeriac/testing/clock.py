"""The clock of one test: Python's, and what the test has put it forward by."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from celeriac.testing.problems import KitError

#: Moves Python's own clock forward by so many seconds.
Mover = Callable[[float], object]
#: Seconds by which what moves Python's clock may fall short: some that let it go on lose what has passed.
NEAR = 1.0


class Clock:
    """Stands still until it is told to catch up with Python's, or is put forward.

    So what is counted from now is exact: a retry in 2 seconds is due 2 seconds from this run, and a countdown of 60 seconds
    60 from the moment that a test compares with. It knows whole microseconds, as a datetime does.

    Args:
        move: where given, Python's own clock is put forward, and this one goes along with it.
    """

    def __init__(self, move: Mover | None = None) -> None:
        self._move = move
        self._ahead = 0.0
        self.catch_up()

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def moment(self) -> datetime:
        """The same as a datetime, in UTC."""
        return datetime.fromtimestamp(self._now, timezone.utc)

    def catch_up(self) -> None:
        """Be where Python's clock is by now, and ahead of it by what this one was put forward by."""
        self._now = round(time.time() + self._ahead, 6)

    def advance(self, seconds: float) -> None:
        """Go forward.

        Raises:
            KitError: backwards; or what moves Python's clock does not.
        """
        if not seconds >= 0:
            raise KitError(f"the clock goes forward only, and not by {seconds} s: what has run has run")
        if self._move is None:
            self._ahead += seconds
        else:
            self._move_pythons(self._move, seconds)
        self._now = round(self._now + seconds, 6)

    @staticmethod
    def _move_pythons(move: Mover, seconds: float) -> None:
        before = time.time()
        move(seconds)
        moved = time.time() - before
        if moved < seconds - NEAR:
            raise KitError(
                f"what is to move Python's clock was told to by {seconds:g} s, and moved time.time() by {moved:.3f} s"
            )


def seconds_of(length: float | timedelta) -> float:
    """A length of time in seconds."""
    return length.total_seconds() if isinstance(length, timedelta) else float(length)
