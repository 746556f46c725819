"""What is done to many is done in steps, so that whoever does it can show how far it is, and stop."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from celeriac.core.attempt import DeadLetter
from celeriac.errors import DeadLetterError

#: Seconds that a step waits at most, when the next may not be done yet.
PATIENCE = 0.2
#: Dead letters read, or changed in one transaction.
PAGE = 200

Item = TypeVar("Item")


@dataclass(slots=True, frozen=True)
class Refusal:
    """A dead letter that stays, and why."""

    letter: DeadLetter
    error: DeadLetterError


@dataclass(slots=True, frozen=True)
class Step:
    """What became of the next ones; ``gone`` ones were dealt with by somebody else. A step of nothing is a wait.

    ``before`` are those to which the same was done before, as they were then.
    """

    done: int = 0
    gone: int = 0
    refused: Refusal | None = None
    before: Sequence[DeadLetter] = ()


Steps = Generator[Step, None, None]


@dataclass(slots=True)
class Done:
    """What became of all of them."""

    done: int = 0
    gone: int = 0
    refused: list[Refusal] = field(default_factory=list)
    before: list[DeadLetter] = field(default_factory=list)

    def add(self, step: Step) -> int:
        """Count a step; returns how many it was about."""
        self.done += step.done
        self.gone += step.gone
        if step.refused is not None:
            self.refused.append(step.refused)
        self.before += step.before
        return step.done + step.gone + (step.refused is not None)

    @classmethod
    def of(cls, steps: Iterable[Step]) -> Done:
        """Take all steps."""
        done = cls()
        for step in steps:
            done.add(step)
        return done


def pages(items: Iterable[Item], size: int | None = None) -> Iterator[list[Item]]:
    """The items in lists of so many, or of a page."""
    remaining = iter(items)
    while page := list(islice(remaining, size or PAGE)):
        yield page


class Pace:
    """So many a second, evenly; None for no limit."""

    def __init__(self, rate: float | None) -> None:
        self._interval = 1.0 / rate if rate else 0.0
        self._next = time.monotonic()

    def wait(self) -> Iterator[Step]:
        """Steps of nothing until the next may be done."""
        if not self._interval:
            return
        while (left := self._next - time.monotonic()) > 0:
            time.sleep(min(left, PATIENCE))
            yield Step()
        # What was late is not made up for: the rate is for somebody who has been down.
        self._next = max(self._next, time.monotonic() - self._interval) + self._interval
