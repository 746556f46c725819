"""What was published: told apart, and shown where a test expected something else."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from difflib import get_close_matches
from typing import Any, TypedDict

from celery.canvas import Signature
from kombu.serialization import dumps, loads

from celeriac.desk.contents import READABLE, read_message
from celeriac.testing.problems import KitError

#: Seconds by which a countdown may differ from the one that is asked for.
NEAR = 1.0
#: How much of a name is that of a task's, where it is taken for a slip.
ALMOST = 0.85


@dataclass(frozen=True, slots=True, repr=False)
class PublishedTask:
    """A task as it was published, with its arguments as they travel.

    ``countdown`` is in seconds from then, 0 where it was due at once; ``at``, ``eta`` and ``expires`` are in UTC.
    ``key`` is its idempotency key, ``generation`` how often a task of this id was sent before.
    """

    task: str
    id: str
    args: list[Any]
    kwargs: dict[str, Any]
    queue: str
    at: datetime
    countdown: float = 0.0
    eta: datetime | None = None
    expires: datetime | None = None
    priority: int = 0
    key: str | None = None
    generation: int = 0
    headers: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        said = [repr(value) for value in self.args] + [f"{name}={value!r}" for name, value in self.kwargs.items()]
        later = f", due in {self.countdown:g} s" if self.countdown else ""
        return f"{self.task}({', '.join(said)}) to {self.queue}{later}"

    def __repr__(self) -> str:
        return f"<PublishedTask {self}>"


def published_task(
    task_id: str,
    name: str,
    queue: str,
    priority: int,
    generation: int,
    run_at: float | None,
    expires_at: float | None,
    sent_at: float,
    envelope: str,
    body: str | bytes,
) -> PublishedTask:
    """One row of what was published."""
    said = read_message(envelope, body)
    if said.unread is not None:
        said.headers["unread"] = said.unread
    return PublishedTask(
        name,
        task_id,
        said.args or [],
        said.kwargs or {},
        queue,
        _moment(sent_at),
        0.0 if run_at is None else round(max(0.0, run_at - sent_at), 3),
        None if run_at is None else _moment(run_at),
        None if expires_at is None else _moment(expires_at),
        priority,
        said.key,
        generation,
        said.headers,
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


class Conditions(TypedDict, total=False):
    """What is to hold of a published task; every given condition must.

    ``args`` and ``kwargs`` are together all of its arguments, by position or by name as one likes; ``queue`` is where it went;
    ``countdown`` after how many seconds it was to run, within one; ``where`` a condition of your own.
    """

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    queue: str
    countdown: float
    where: Callable[[PublishedTask], object]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a test asks for; whatever is None is not looked at."""

    task: str | None = None
    args: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None
    queue: str | None = None
    countdown: float | None = None
    where: Callable[[PublishedTask], object] | None = None

    def __str__(self) -> str:
        said = [repr(value) for value in self.args or ()]
        said += [f"{name}={value!r}" for name, value in (self.kwargs or {}).items()]
        call = f"({', '.join(said)})" if self.args is not None or self.kwargs is not None else ""
        queue = f" to {self.queue}" if self.queue is not None else ""
        later = f" due in {self.countdown:g} s" if self.countdown is not None else ""
        return (
            f"{self.task or 'a task'}{call}{queue}{later}{' for which where= holds' if self.where is not None else ''}"
        )


def wanted_of(task: Any, conditions: Conditions) -> Wanted:
    """What a test asks for, of a task, its name or a signature of it, which has arguments and may have a queue.

    Raises:
        KitError: it is none of these.
        TypeError: a condition that there is not.
    """
    if unknown := conditions.keys() - Conditions.__annotations__.keys():
        known = ", ".join(f"{name}=" for name in Conditions.__annotations__)
        raise TypeError(f"{min(unknown)}= is no condition on what is published; there are {known}")
    if not isinstance(task, Signature):
        return Wanted(name_of(task), **conditions)
    if task.get("subtask_type"):
        raise KitError(f"a {task['subtask_type']} is published task by task: ask for one of them")
    said: Conditions = {"args": task.args or (), "kwargs": task.kwargs or {}}
    if given := said.keys() & conditions.keys():
        raise KitError(f"{task!r} has its arguments, and {min(given)}= gives others; ask for {task.task} instead")
    if task.options.get("queue") is not None:
        said["queue"] = getattr(task.options["queue"], "name", task.options["queue"])
    if task.options.get("countdown") is not None:
        said["countdown"] = task.options["countdown"]
    said.update(conditions)
    return Wanted(task.task, **said)


def name_of(task: Any) -> str | None:
    """A task's name, of the task or of its name.

    Raises:
        KitError: it is neither.
    """
    name = getattr(task, "name", task)
    if name is None or isinstance(name, str):
        return name
    raise KitError(f"{task!r} is no task, and no task's name")


class Matching:
    """Finds what a test asks for among what was published."""

    def __init__(self, app: Any, wanted: Wanted) -> None:
        self._app = app
        self._wanted = wanted
        self._calls: list[Any] = []
        if wanted.args is not None or wanted.kwargs is not None:
            given = (list(wanted.args or ()), dict(wanted.kwargs or {}))
            # As it is, for what compares equal to anything; and as it travels, where a tuple is a list.
            self._calls = [self._call(wanted.task, *one) for one in (given, self._travelled(*given))]

    def __call__(self, item: PublishedTask) -> bool:
        wanted = self._wanted
        return (
            wanted.task in (None, item.task)
            and wanted.queue in (None, item.queue)
            and (wanted.countdown is None or abs(item.countdown - wanted.countdown) <= NEAR)
            and (not self._calls or self._call(item.task, item.args, item.kwargs) in self._calls)
            and (wanted.where is None or bool(wanted.where(item)))
        )

    def _travelled(self, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        task = self._app.tasks.get(self._wanted.task) if self._wanted.task else None
        serializer = getattr(task, "serializer", None) or self._app.conf.task_serializer
        try:
            content_type, encoding, data = dumps([args, kwargs], serializer)
            found: tuple[list[Any], dict[str, Any]] = loads(data, content_type, encoding, accept=READABLE)
        except Exception:  # noqa: BLE001  # it could not have been published, so it is compared as it is
            return args, kwargs
        return list(found[0]), dict(found[1])

    def _call(self, name: str | None, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """The arguments by name where the task is known: ``charge(7)`` and ``charge(order_id=7)`` are the same."""
        signature: inspect.Signature | None = getattr(self._app.tasks.get(name), "call_signature", None)
        if signature is None:
            return args, kwargs
        try:
            bound = signature.bind_partial(*args, **kwargs)
        except TypeError:
            return args, kwargs
        bound.apply_defaults()
        return dict(bound.arguments)


def not_found(app: Any, wanted: Wanted, published: Sequence[PublishedTask], found: int, times: int | None) -> str:
    """Why an assertion fails, and what was published instead."""
    how_often = "not published" if times is None else f"published {found} times, not {times}"
    said = f"{wanted} was {how_often}."
    return " ".join((said, *_meant(app, wanted, published))) + _shown(published)


def check_not_misspelt(app: Any, wanted: Wanted) -> None:
    """That nothing of a name was published is true of any slip of the pen.

    Raises:
        KitError: the app has no such task, and one that is called almost so.
    """
    if wanted.task is None or wanted.task in app.tasks:
        return
    if near := get_close_matches(wanted.task, app.tasks, 1, ALMOST):
        raise KitError(
            f"the app has no task {wanted.task}, so none was published; did you mean {near[0]}? A task of another "
            f"service's is asked for by where=lambda item: item.task == {wanted.task!r}"
        )


def found_one(wanted: Wanted, found: Sequence[PublishedTask]) -> str:
    """Why the opposite assertion fails."""
    return f"{wanted} was published:" + _lines(found)


def _meant(app: Any, wanted: Wanted, published: Sequence[PublishedTask]) -> list[str]:
    if wanted.task is None or wanted.task in app.tasks or any(item.task == wanted.task for item in published):
        return []
    near = get_close_matches(wanted.task, {*app.tasks, *(item.task for item in published)}, 1)
    return [f"The app has no task of that name{f'; did you mean {near[0]}?' if near else '.'}"]


def _shown(published: Sequence[PublishedTask]) -> str:
    return " What was published:" + _lines(published) if published else " Nothing was published."


def _lines(items: Sequence[PublishedTask]) -> str:
    return "".join(f"\n  {item}" for item in items)
