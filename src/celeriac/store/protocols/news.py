"""Waiting for what is committed."""

from __future__ import annotations

from enum import IntFlag
from typing import Protocol


class News(IntFlag):
    """What somebody may wait for. A store that cannot tell them apart wakes for all."""

    WORK = 1  #: a message to claim, or one that is due earlier than was known
    RESULTS = 2  #: the end of a task
    BROADCASTS = 4


ANY_NEWS = News.WORK | News.RESULTS | News.BROADCASTS


class Telling(Protocol):
    """Who waits is told after a commit."""

    def wait(self, timeout: float, seen: int, news: News = ANY_NEWS) -> int:
        """Sleep until such was committed after ``seen`` or ``timeout`` seconds passed; returns the new mark.

        It may wake for nothing, and a word may be lost: who waits looks now and then by himself.
        Of broadcasts none is lost.
        """

    def rouse(self) -> None:
        """End the waits for work in this process: it can take more than it could."""

    def mark(self, news: News = ANY_NEWS) -> int:
        """The present commit mark, for ``wait`` for the same news."""
