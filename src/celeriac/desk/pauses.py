"""Pauses, for people: ``app.pauses``."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from celeriac.core.pauses import Pause, PauseKind
from celeriac.publish.routes import goes, tasks_of


class Pauses:
    """What is paused of an app, for all its workers and until it is resumed."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __iter__(self) -> Iterator[Pause]:
        """Every pause, with how many wait for it."""
        return iter(self._app.store.pauses())

    def pause(
        self, *, queue: str | None = None, task: str | None = None, note: str = "", who: str | None = None
    ) -> bool:
        """Stop a queue, or a task in whatever queue it is; what runs goes on.

        Args:
            queue: the queue's name.
            task: the task's name.
            note: why, for those who find it.
            who: shown with it; the user and host of this process, unless given.

        Returns:
            False where it is paused already: who did it first stays noted.

        Raises:
            ValueError: not exactly one of `queue` and `task` is given.
            StoreError: it could not be written.
        """
        kind, name = _one(queue, task)
        return bool(self._app.store.pause(kind, name, myself() if who is None else who, note))

    def resume(self, *, queue: str | None = None, task: str | None = None) -> bool:
        """Let it go on; what was set aside waits again, in its order.

        Returns:
            False where it was not paused.

        Raises:
            ValueError: not exactly one of `queue` and `task` is given.
            StoreError: it could not be written. What is not made waiting yet, workers see to.
        """
        return bool(self._app.store.resume(*_one(queue, task)))

    def problem(self, kind: PauseKind, name: str) -> str | None:
        """Why a name may be wrong: nothing that this app knows is called so."""
        known = self._known(kind)
        if name in known:
            return None
        near = get_close_matches(name, sorted(known), n=1)
        hint = f"; the nearest is {near[0]!r}" if near else ""
        return f"This app knows no {kind} named {name!r}{hint}"

    def _known(self, kind: PauseKind) -> set[str]:
        app = self._app
        if kind == "task":
            return {name for name in app.tasks if not name.startswith("celery.")}
        routed = {goes(app, each).queue for each in tasks_of(app)}
        return {*app.amqp.queues, *(name for name in routed if name), *(size.queue for size in app.store.sizes())}


def _one(queue: str | None, task: str | None) -> tuple[PauseKind, str]:
    if bool(queue) == bool(task):
        raise ValueError("name either a queue, as in queue='mails', or a task, as in task='shop.charge'")
    return ("queue", queue) if queue else ("task", task or "")


def myself() -> str:
    """Who does this, for the record: the user and host of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user has no name
        user = "?"
    return f"{user}@{socket.gethostname()}"
