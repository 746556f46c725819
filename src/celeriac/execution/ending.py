"""Whether this worker has been asked to end, as its pool's processes see it."""

from __future__ import annotations

import mmap


class Ending:
    """A byte that the worker's own process shares with those of its pool, which are forked after it was made."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    def begin(self) -> None:
        """From now on what can give way does so."""
        self._memory[0] = 1

    def take_back(self) -> None:
        """A worker begins."""
        self._memory[0] = 0

    def __bool__(self) -> bool:
        return self._memory[0] != 0
