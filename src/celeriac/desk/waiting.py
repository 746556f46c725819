"""What waits, found and revoked by what it is: ``app.waiting``."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import signature
from itertools import islice
from typing import Any

from celeriac.core.desk import By
from celeriac.core.pauses import WaitingFilter, WaitingMessage
from celeriac.desk.contents import Contents, read_message
from celeriac.desk.who import whoami

#: Tasks that are revoked in one transaction.
SLICE = 500


class Waiting:
    """The messages of an app's tasks that wait: for a worker, their time, a key, a limit or a resume.

    What a worker holds already is none of them.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    def find(
        self,
        *,
        task: str | None = None,
        queue: str | None = None,
        argument: str | None = None,
        older_than: float | None = None,
    ) -> Iterator[WaitingMessage]:
        """Those that match every condition that is given; such as were revoked already are left out.

        Args:
            task: a task's name, or a glob.
            queue: a queue's name, or a glob.
            argument: ``name=value`` for one argument's value as text, or a text that is a part of the arguments.
            older_than: seconds since it was sent.

        Raises:
            StoreError: they could not be read.
        """
        chosen = WaitingFilter(task, queue, older_than, bodies=argument is not None)
        for message in self._app.store.waiting(chosen):
            if argument is None or self._has(message, argument):
                yield message

    def revoke(self, *, who: str | None = None, note: str | None = None, **conditions: Any) -> Iterator[list[str]]:
        """Revoke what matches, in slices, each durable, and in the log, when it is given out: the ids of its tasks.

        Args:
            who: ``user@host`` of this process unless given.
            note: goes into the log, with what was asked for.
            **conditions: as of `find`; at least one.

        Raises:
            ValueError: there is no condition, which would revoke all that waits.
            StoreError: the slice was not revoked, and those before were.
        """
        if all(value is None for value in conditions.values()):
            raise ValueError("say what to revoke: task=, queue=, argument= or older_than=; queue='*' is everything")
        found = self.find(**conditions)
        while some := [message.task_id for message in islice(found, SLICE)]:
            by = By(who or whoami(), _told(len(some), conditions, note))
            self._app.store.revoke(some, self._app.own_settings.revoke_expires, by)
            yield some

    def _has(self, message: WaitingMessage, wanted: str) -> bool:
        said = read_message(message.envelope, message.body or "")
        name, equals, value = wanted.partition("=")
        if equals and name.isidentifier():
            return any(_text(given) == value for given in self._named(message.name, said, name))
        shown = (said.args, said.kwargs) if said.args is not None else _as_sent(said)
        return wanted in repr(shown)

    def _named(self, task: str | None, said: Contents, name: str) -> list[Any]:
        """The values of the argument of this name: one or none."""
        kwargs, args = said.kwargs or {}, said.args or []
        if name in kwargs:
            return [kwargs[name]]
        known = self._app.tasks.get(task)
        if known is None:
            return []
        places = [parameter for parameter in signature(known.run).parameters if parameter != "self"]
        return [args[places.index(name)]] if name in places and places.index(name) < len(args) else []


def _told(count: int, conditions: dict[str, Any], note: str | None) -> str:
    """What the log says of a slice: how many, of what, and why."""
    given = [f"{name.replace('_', ' ')} {_shown(value)}" for name, value in conditions.items() if value is not None]
    told = f"{count} task{'' if count == 1 else 's'} that waited: {', '.join(given)}"
    return f"{told}; {note}" if note else told


def _shown(value: Any) -> str:
    return f"{value:g} s" if isinstance(value, (int, float)) else str(value)


def _as_sent(said: Contents) -> tuple[Any, Any]:
    """Of a body that is not decoded, what the sender showed."""
    return said.headers.get("argsrepr"), said.headers.get("kwargsrepr")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)
