"""Builds with one guard removed, as a careless change would: the matrix must turn red on each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from celeriac.core import circuits
from celeriac.core.attempt import Settled, Settlement
from celeriac.store.relational import keys, ledger
from celeriac.store.sql import statements
from celeriac.store.sqlite import SQLiteStore

#: Seconds between a settlement and what follows it, where that is no longer one transaction: long enough to die in.
LATER = 0.5


def _without_the_token() -> None:
    """A stale settlement counts."""
    leave = ledger._leave_queue

    def in_spite_of_the_lease(raw: Any, item: Settlement, now: float) -> bool:
        leave(raw, item, now)
        return True

    setattr(ledger, "_leave_queue", in_spite_of_the_lease)  # noqa: B010  # a build without a guard


def _without_generations() -> None:
    """A retry is told from its predecessor by nothing."""
    _change("queue.retry", "generation = generation + 1", "generation = generation")


def _without_the_mark() -> None:
    """Nobody knows what had begun when a worker vanished."""
    _change("queue.start", "SET started_at = ?", "SET started_at = nullif(?, started_at + 1) AND NULL")


def _without_follow_ups() -> None:
    """What follows a task is sent soon after its settlement, and not by it."""
    consequences = ledger._settle_consequences
    settle = SQLiteStore.settle

    def without(raw: Any, item: Settlement, now: float) -> None:
        consequences(raw, replace(item, follow_ups=[]), now)

    def settle_and_then(store: SQLiteStore, settlements: Sequence[Settlement]) -> list[Settled]:
        answers = settle(store, settlements)
        later = [message for item in settlements for message in item.follow_ups]
        if later:
            threading.Timer(LATER, store.publish, [later]).start()
        return answers

    setattr(ledger, "_settle_consequences", without)  # noqa: B010  # a build without a guard
    setattr(SQLiteStore, "settle", settle_and_then)  # noqa: B010  # a build without a guard


def _without_keys() -> None:
    """Nobody holds a key."""
    setattr(keys, "holder", lambda raw, key, now: None)  # noqa: B010  # a build without a guard


def _without_slots() -> None:
    """A claim counts only what it takes itself."""
    _change("limits.buckets", "freed = 0", "freed > 1")


def _without_giving_back() -> None:
    """A slot that was taken is never free again."""
    _change("limits.freed", "freed = 1", "freed = 2")
    _change("limits.buckets", "AND freed = 0", "AND freed < 2")


def _without_a_place_aside() -> None:
    """A claim puts what it meets of a paused task where nobody looks."""
    _change("pauses.set_aside", "status = 8", "status = 9")


def _without_free_snoozes() -> None:
    """Putting off counts, as a crash does."""
    _change("queue.release", "crashes = crashes + ?2", "crashes = crashes + (?2 OR ?1 IS NOT NULL)")


def _without_the_circuit() -> None:
    """Nothing opens it."""
    setattr(circuits, "is_failing", lambda circuit, slices: False)  # noqa: B010  # a build without a guard


def _change(name: str, guard: str, instead: str) -> None:
    known = statements("sqlite")
    assert guard in known[name], f"{name} has no {guard!r} any more; say what guards it now"
    known[name] = known[name].replace(guard, instead)


BUILDS: dict[str, Callable[[], None]] = {
    "no fencing token": _without_the_token,
    "no generations": _without_generations,
    "no started mark": _without_the_mark,
    "no follow-ups in the settle": _without_follow_ups,
    "no keys": _without_keys,
    "no slots": _without_slots,
    "slots never freed": _without_giving_back,
    "pauses that lose": _without_a_place_aside,
    "snoozes that count": _without_free_snoozes,
    "no circuit": _without_the_circuit,
}


def take_out(name: str) -> None:
    """Take the guard out of this process; none where there is no name."""
    if name:
        BUILDS[name]()
