"""The clock of one test: Python's, and what the test has put it forward by."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

from celeriac.testing.problems import KitError

#: Moves Python's own clock forward by so many seconds.
Mover = Callable[[float], object]


class Clock:
    """Goes as Python's does, is put forward by tests, and stands still while a task runs.

    It stands so that the moment for which a run puts itself off is exact: a delay of 2 seconds is 2 seconds.

    Args:
        move: where given, Python's own clock is moved, and this one goes along with it.
    """

    def __init__(self, move: Mover | None = None) -> None:
        self._move = move
        self._ahead = 0.0
        self._stands_at: float | None = None

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._stands_at if self._stands_at is not None else time.time() + self._ahead

    def moment(self) -> datetime:
        """The same as a datetime, in UTC."""
        return datetime.fromtimestamp(self.now(), timezone.utc)

    def advance(self, seconds: float) -> None:
        """Go forward, also where it stands.

        Raises:
            KitError: backwards; or what moves Python's clock does not.
        """
        if seconds < 0:
            raise KitError(f"the clock goes forward only, and not by {seconds} s: what has run has run")
        if self._move is None:
            self._ahead += seconds
        else:
            self._move_pythons(self._move, seconds)
        if self._stands_at is not None:
            self._stands_at += seconds

    @staticmethod
    def _move_pythons(move: Mover, seconds: float) -> None:
        before = time.time()
        move(seconds)
        moved = time.time() - before
        if moved < seconds - 0.001:
            raise KitError(
                f"what is to move Python's clock was told to by {seconds} s, and moved time.time() by {moved:.3f} s"
            )

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Have it stand still."""
        self._stands_at = self.now()
        try:
            yield
        finally:
            self._stands_at = None


def seconds_of(length: float | timedelta) -> float:
    """A length of time in seconds."""
    return length.total_seconds() if isinstance(length, timedelta) else float(length)
