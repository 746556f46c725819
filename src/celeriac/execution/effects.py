"""Steps of a task that happen once: recorded in the very transaction that does them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kombu.utils.json import dumps, loads

from celeriac.core.message import KEY_HEADER
from celeriac.errors import TransactionError
from celeriac.store.guest import Guest
from celeriac.store.tables import Outside, check_table, run

#: Rows deleted in one transaction.
PRUNED_AT_ONCE = 1000


class Effect:
    """One step: true for the run that is to do it, false where it was done before.

    ``value`` is what the run that did it has saved.
    """

    def __init__(self, guest: Guest, scope: str, step: str, *, first: bool) -> None:
        self._guest, self._row = guest, (scope, step)
        self.first = first
        self.value: Any = None if first else self._saved()

    def __bool__(self) -> bool:
        return self.first

    def _saved(self) -> Any:
        found = run(self._guest, "effect.value", self._row).fetchone()
        return None if found is None or found[0] is None else loads(found[0])

    def save(self, value: Any) -> Any:
        """Keep a value, which JSON can hold, for the runs after this one; returns it.

        Raises:
            TransactionError: the step was done before.
            kombu.exceptions.EncodeError, TypeError: JSON cannot hold it.
        """
        if not self.first:
            raise TransactionError(
                f"step {self._row[1]!r} was done before, and its value is kept: only who does it may save"
            )
        run(self._guest, "effect.save", (dumps(value), *self._row))
        self.value = value
        return value


@contextmanager
def effect_once(task: Any, step: str, connection: object) -> Iterator[Effect]:
    """The block of ``Task.effect_once``."""
    guest = Guest(connection)
    scope = scope_of(task)
    check_table(guest, "effect", f"effect_once({step!r}) has nowhere to write:")
    # Another run that is at it now is waited for here.
    first = run(guest, "effect.claim", (scope, step)).rowcount == 1
    try:
        yield Effect(guest, scope, step, first=first)
    except BaseException:
        if first and not guest.failed:
            with suppress(Exception):  # what the block raised is what matters
                run(guest, "effect.undo", (scope, step))
        raise


def scope_of(task: Any) -> str:
    """What all runs of one piece of work have in common, whichever attempt, message or worker it is.

    Raises:
        TransactionError: it is no run of a task.
    """
    request = task.request
    if request.id is None:
        raise TransactionError(
            f"task {task.name}: effect_once() is for a run of the task, and here its body was called as a function"
        )
    header = getattr(request, KEY_HEADER, None)
    if header is not None:
        return f"{task.name} key {header['key']}"
    if task.key_template is not None:  # on a broker that keeps no keys, and where it is called eagerly
        return f"{task.name} key {task.key_template.render(request.args or (), request.kwargs or {})}"
    return f"{task.name} id {request.id}"


def prune(outside: Outside, older_than: float) -> int:
    """Forget the steps of longer ago than so many seconds; returns how many.

    Whoever runs such a task again does them again, so this must be longer than any task is retried or redriven, and
    than any key is taken.
    """
    total = 0
    while True:
        deleted = int(outside.run("effect.prune", (older_than, PRUNED_AT_ONCE))[0][0])
        total += deleted
        if deleted < PRUNED_AT_ONCE:
            return total
