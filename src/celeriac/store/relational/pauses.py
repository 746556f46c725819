"""What is paused: left out by claims, set aside by them, and made waiting again.

Nothing here says how far a resume has come: whatever is set aside and held by no pause is let go, by who resumes and by
every worker now and then. So one that died in the middle of it, and a claim that came too late, leave nothing behind.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from celeriac.core.message import Lease
from celeriac.core.pauses import Pause, Paused, PauseKind, WaitingFilter, WaitingMessage
from celeriac.store.relational.part import Part
from celeriac.store.relational.session import Session

#: Waiting messages that are read at once, and those that the statements set aside at once.
PAGE, SLICE = 500, 2000


class PausesPart(Part):
    """The pauses' side of the store."""

    def pause(self, kind: PauseKind, name: str, who: str, note: str) -> bool:
        with self.database.writing() as raw:
            return raw.run("pauses.pause", (kind, name, self.now(), who, note)).rowcount == 1

    def resume(self, kind: PauseKind, name: str) -> bool:
        with self.database.writing() as raw:
            found = raw.run("pauses.resume", (kind, name)).rowcount == 1
        self.let_go()
        return found

    def paused(self) -> Paused:
        with self.database.reading() as raw:
            return read(raw)

    def pauses(self) -> list[Pause]:
        with self.database.scanning() as raw:
            return [Pause(*row) for row in raw.run("pauses.list").fetchall()]

    def set_aside(self, lease: Lease) -> bool:
        with self.database.writing() as raw:
            return raw.run("pauses.hold", (lease.message_id, lease.token)).rowcount == 1

    def let_go(self) -> int:
        with self.database.reading() as raw:
            names = [name for (name,) in raw.run("pauses.held_names").fetchall()]
        return sum(self._let_go_of(name) for name in names)

    def _let_go_of(self, name: str) -> int:
        total = 0
        while count := self._let_some_go(name):
            total += count
        return total

    def _let_some_go(self, name: str) -> int:
        with self.database.writing() as raw:
            return raw.run("pauses.let_go", (name,)).rowcount

    def waiting(self, chosen: WaitingFilter) -> Iterator[WaitingMessage]:
        before = None if chosen.older_than is None else self.now() - chosen.older_than
        conditions = (self._pattern(chosen.task), self._pattern(chosen.queue), before, chosen.bodies)
        after = 0
        # By pages, so that no reader holds a snapshot while something is done about them.
        while page := self._waiting_page((after, *conditions, PAGE)):
            yield from (WaitingMessage(*row[1:]) for row in page)
            after = page[-1][0]

    def _waiting_page(self, parameters: Sequence[object]) -> list[Any]:
        with self.database.reading() as raw:
            return raw.run("pauses.waiting", parameters).fetchall()

    @staticmethod
    def _pattern(glob: str | None) -> str | None:
        """A shell pattern in the form that the dialect's statements take."""
        return glob


def read(raw: Session) -> Paused:
    """What is paused now."""
    return {(kind, name) for kind, name in raw.run("pauses.paused").fetchall()}


def set_aside(raw: Session, ids: Iterable[int], counted: int) -> set[int]:
    """Hold those of the rows, taken in this transaction, whose task is paused; `counted` is what that has counted.

    Nobody has been given their tokens.
    """
    return {row[0] for row in raw.run("pauses.set_aside", (counted, json.dumps(list(ids)))).fetchall()}


def sweep(raw: Session, queues: Iterable[str]) -> int:
    """Hold what waits at the head of these queues of tasks that are paused, some thousands; returns how many."""
    return sum(
        raw.run(statement, (queue,)).rowcount
        for queue in queues
        for statement in ("pauses.sweep_ready", "pauses.sweep_suspects")
    )


def sweep_lanes(raw: Session) -> int:
    """Hold what waits in lanes of tasks that are paused, some thousands; returns how many."""
    return raw.run("pauses.sweep_lanes").rowcount
