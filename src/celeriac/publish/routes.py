"""Where tasks go, as far as declarations say: and whether anybody declares the queues that they name."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from fnmatch import translate
from typing import Any, NamedTuple

from celery.app import routes as celerys
from celery.exceptions import QueueNotFound

from celeriac.errors import CeleriacWarning, SettingsError

#: What says where a task goes that nothing else says it of, and what a task says itself.
BY_DEFAULT, _OWN = "task_default_queue", "option queue of task"


class UndeclaredQueue(SettingsError, QueueNotFound):  # type: ignore[misc]  # Celery has no types
    """Something leads to a queue that `task_queues` does not declare. Also Celery's `QueueNotFound`.

    `said` is what leads there, each with the queue's name.
    """

    def __init__(self, said: Iterable[tuple[str, str]], declared: Iterable[str]) -> None:
        self.said, self.declared = [tuple(one) for one in said], sorted(declared)
        super().__init__("task_queues", "")
        self.args = (self.said, self.declared)

    def __str__(self) -> str:
        return f"{self._said}. Declare it in task_queues, or set task_create_missing_queues = True"

    @property
    def _said(self) -> str:
        found = [
            f"{where} leads to the queue {queue!r}, which is not declared{self._meant(queue)}"
            for where, queue in self.said
        ]
        return "; ".join(found)

    def _meant(self, queue: str) -> str:
        close = get_close_matches(queue, self.declared, 1)
        return f" (did you mean {close[0]!r}?)" if close else f" (declared: {', '.join(self.declared) or 'none'})"


class Router(celerys.Router):  # type: ignore[misc]  # Celery has no types
    """Celery's, whose error says what is declared."""

    def expand_destination(self, route: Any) -> Any:
        """As Celery's.

        Raises:
            UndeclaredQueue: of a route, or of the call.
        """
        queue = route if isinstance(route, str) else route.get("queue")
        try:
            return super().expand_destination(route)
        except QueueNotFound:
            raise UndeclaredQueue([("the call, or its route,", str(queue))], self.queues) from None


class Route(NamedTuple):
    """One entry of `task_routes`: by a task's name, to a queue; or a function, which only a call can ask."""

    where: str
    matches: Callable[[str], bool]
    #: None where it names none, but an exchange.
    queue: str | None
    function: bool = False


class Goes(NamedTuple):
    """Where a task goes unless its call says otherwise: to which queue, and who says so."""

    queue: str | None
    where: str
    #: Functions that are asked before.
    functions: tuple[str, ...] = ()


def routes_of(conf: Any) -> list[Route]:
    """The entries of `task_routes`, in the order in which Celery asks them."""
    given = conf.task_routes
    if given is None:
        return []
    found: list[Route] = []
    for router in given if isinstance(given, (list, tuple)) else (given,):
        found += [_function(router)] if not isinstance(router, (Mapping, list, tuple)) else _entries(router)
    return found


def _function(router: Any) -> Route:
    name = router if isinstance(router, str) else f"{router.__module__}.{getattr(router, '__qualname__', '?')}"
    return Route(f"the function {name} of task_routes", lambda _: True, None, function=True)


def _entries(router: Any) -> list[Route]:
    """Of one mapping: names go before patterns."""
    names, patterns = [], []
    for key, value in router.items() if isinstance(router, Mapping) else router:
        queue = _queue_of(value)
        if isinstance(key, re.Pattern):
            patterns.append(Route(f"task_routes[re.compile(r'{key.pattern}')]", _matching(key), queue))
        elif "*" in key:
            patterns.append(Route(f"task_routes[{key!r}]", _matching(re.compile(translate(key))), queue))
        else:
            names.append(Route(f"task_routes[{key!r}]", _being(key), queue))
    return [*names, *patterns]


def _matching(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda name: pattern.match(name) is not None


def _being(key: str) -> Callable[[str], bool]:
    return lambda name: name == key


def _queue_of(value: Any) -> str | None:
    """A route is a queue's name, or options that may name one, or a queue."""
    queue = value if isinstance(value, str) else dict(value).get("queue")
    name = getattr(queue, "name", queue)
    return None if name is None else str(name)


def goes(app: Any, task: Any) -> Goes:
    """Where a task goes that is sent without a queue."""
    own = getattr(task, "queue", None)
    if own is not None:
        return Goes(str(getattr(own, "name", own)), f"{_OWN} {task.name}")
    functions = []
    for route in routes_of(app.conf):
        if route.function:
            functions.append(route.where)
        elif route.matches(task.name):
            return Goes(route.queue, route.where, tuple(functions))
    return Goes(app.conf.task_default_queue, BY_DEFAULT, tuple(functions))


def tasks_of(app: Any) -> list[Any]:
    """The project's own tasks, by name."""
    return [task for name, task in sorted(app.tasks.items()) if not name.startswith("celery.")]


def named(app: Any) -> Iterator[tuple[str, str]]:
    """Every queue that a declaration leads to, after what leads there."""
    for route in routes_of(app.conf):
        if route.queue is not None:
            yield route.where, route.queue
    unrouted = []
    for task in tasks_of(app):
        found = goes(app, task)
        if found.where.startswith(_OWN):
            yield found.where, str(found.queue)
        elif found.where == BY_DEFAULT and not found.functions:  # which may know where it goes
            unrouted.append(task.name)
    if unrouted and app.conf.task_default_queue:
        others = f" and {len(unrouted) - 1} more" if len(unrouted) > 1 else ""
        yield f"{BY_DEFAULT}, for want of a route of {unrouted[0]}{others},", app.conf.task_default_queue
    for name, entry in (app.conf.beat_schedule or {}).items():
        queue = (dict(entry).get("options") or {}).get("queue")
        if queue is not None:
            yield f"beat_schedule[{name!r}]", str(getattr(queue, "name", queue))


def undeclared(app: Any) -> list[tuple[str, str]]:
    """What leads to a queue that nobody declares, where queues are declared and others are not to be made."""
    conf = app.conf
    if not conf.task_queues or (app.user_sets("task_create_missing_queues") and conf.task_create_missing_queues):
        return []
    queues = app.amqp.queues
    return list(dict.fromkeys(one for one in named(app) if not _known(queues, one[1])))


def _known(queues: Any, name: str) -> bool:
    return name in queues or name in queues.aliases


def check_routes(app: Any) -> None:
    """Refuse, or under `defaults="celery"` tell of, what leads to a queue that nobody declares.

    Raises:
        UndeclaredQueue: naming what does, and the nearest queue.
        QueueOptionError: a limit's key names an argument that a task of its queue does not have.
    """
    found = undeclared(app)
    if found:
        error = UndeclaredQueue(found, _declared(app))
        if app.defaults == "safe":
            raise error
        warnings.warn(str(error), CeleriacWarning, stacklevel=3)
    _check_limits(app)


def _declared(app: Any) -> list[str]:
    declared = app.conf.task_queues
    return [str(name) for name in declared] if isinstance(declared, Mapping) else [queue.name for queue in declared]


def _check_limits(app: Any) -> None:
    for task in tasks_of(app):
        limits = app.amqp.queues.limited.get(goes(app, task).queue)
        if limits is not None and getattr(task, "call_signature", None) is not None:
            limits.check(task.name, task.call_signature)


def check_selected(app: Any, names: Iterable[str]) -> None:
    """Refuse queues that a worker is to consume and nobody declares, where others are not to be made.

    Raises:
        UndeclaredQueue: naming the nearest.
    """
    queues = app.amqp.queues
    if queues.create_missing:
        return
    unknown = [("-Q", name) for name in names if not _known(queues, name)]
    if unknown:
        raise UndeclaredQueue(unknown, queues)
