"""What an app declares of its queues, read as a plan: what goes where, and which processes that asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

from celeriac.publish.queues import Queue, as_list
from celeriac.publish.routes import Goes, goes, routes_of, tasks_of
from celeriac.settings import capabilities_of

#: Celery's own commands' names under which dashboards install themselves, the first that is there is suggested.
_DASHBOARDS = ("dashboard", "flower")
#: The process that consumes what declares nothing of its own.
_USUAL = "worker"


@dataclass(slots=True)
class PlannedTask:
    """A task, what says that it goes where it goes, and the limits that it has by itself, as text."""

    name: str
    where: str
    limits: list[str] = field(default_factory=list)


@dataclass(slots=True)
class PlannedQueue:
    """A queue with what it declares; None where it says nothing. Limits are text, times are seconds."""

    name: str
    declared: bool
    tasks: list[PlannedTask] = field(default_factory=list)
    concurrency: int | None = None
    limits: list[str] = field(default_factory=list)
    weight: int | None = None
    order: str | None = None
    prefetch: int | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    priority: int | None = None

    @property
    def shares(self) -> bool:
        """Whether it asks for a worker that it shares with others."""
        return self.weight is not None or self.order is not None


@dataclass(slots=True)
class Process:
    """One that is to be started: its name, and the words of its command after ``celery -A app``."""

    name: str
    command: list[str]


@dataclass(slots=True)
class Plan:
    """All of it; `notes` are what the declarations leave open, or ask for in vain."""

    queues: list[PlannedQueue]
    processes: list[Process]
    notes: list[str]


def plan_of(app: Any) -> Plan:
    """The plan of a finalized app whose task modules are imported; its broker is asked nothing."""
    destinations = {task.name: goes(app, task) for task in tasks_of(app)}
    queues = _queues(app, destinations)
    alone = not capabilities_of(app.conf.broker_url).ours
    processes = [*_workers(app, queues, alone=alone), *_beat(app), *_dashboard()]
    return Plan(queues, processes, [*_open(app, destinations), *beyond_the_broker(app)])


# -- queues


def _queues(app: Any, destinations: dict[str, Goes]) -> list[PlannedQueue]:
    known = app.amqp.queues
    planned = {name: _planned(name, queue) for name, queue in known.items()}
    for task, found in destinations.items():
        if found.queue is None:
            continue
        name = getattr(known.aliases.get(found.queue), "name", found.queue)
        own = [_shown(limit) for limit in as_list(getattr(app.tasks[task], "limits", None) or [])]
        planned.setdefault(name, PlannedQueue(name, declared=False)).tasks.append(PlannedTask(task, found.where, own))
    return list(planned.values())


def _planned(name: str, queue: Any) -> PlannedQueue:
    if not isinstance(queue, Queue):
        return PlannedQueue(name, declared=True)
    return PlannedQueue(
        name,
        declared=True,
        concurrency=queue.concurrency,
        limits=[_shown(limit) for limit in as_list(queue.limits or [])],
        weight=queue.weight,
        order=queue.order,
        prefetch=queue.prefetch,
        time_limit=queue.time_limit,
        soft_time_limit=queue.soft_time_limit,
        priority=queue.priority,
    )


def _shown(limit: Any) -> str:
    """As it was declared, without what was left out."""
    values = [json.dumps(getattr(limit, name)) for name in ("slots", "rate") if hasattr(limit, name)]
    options = [("key", limit.key), ("burst", getattr(limit, "burst", None)), ("name", limit.name)]
    given = [f"{name}={_written(value)}" for name, value in options if value is not None]
    return f"{type(limit).__name__}({', '.join([*values, *given])})"


def _written(value: Any) -> str:
    return str(getattr(value, "__qualname__", None) or json.dumps(value, ensure_ascii=False))


# -- processes


def _workers(app: Any, queues: Sequence[PlannedQueue], *, alone: bool) -> list[Process]:
    """Those that share a worker in one, those of a concurrency in one each, and the rest in one.

    `alone`: the broker deals out by itself, so that what would share a worker has one each.
    """
    usual = str(app.conf.worker_concurrency or "auto")
    sharing = [queue for queue in queues if queue.shares and not alone]
    counted = [queue for queue in queues if queue not in sharing and (queue.concurrency or (alone and queue.shares))]
    rest = [queue for queue in queues if queue not in sharing and queue not in counted]
    groups = [(sharing, usual), *(([queue], str(queue.concurrency or usual)) for queue in counted), (rest, usual)]
    names: set[str] = set()
    return [_worker(_process_name(group, names), group, size) for group, size in groups if group]


def _worker(name: str, queues: Sequence[PlannedQueue], concurrency: str) -> Process:
    chosen = ",".join(queue.name for queue in queues)
    return Process(name, ["worker", "-n", f"{name}@%h", "-Q", chosen, "-c", concurrency])


def _process_name(queues: Sequence[PlannedQueue], taken: set[str]) -> str:
    """One that a Procfile and a host name take, and that no other has."""
    stem = _USUAL if len(queues) > 1 else re.sub(r"[^A-Za-z0-9-]+", "-", queues[0].name).strip("-") or _USUAL
    name, number = stem, 1
    while name in taken | {"beat", "dashboard"}:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name)
    return name


def _beat(app: Any) -> list[Process]:
    return [Process("beat", ["beat"])] if app.conf.beat_schedule else []


def _dashboard() -> list[Process]:
    installed = {point.name for point in entry_points(group="celery.commands")}
    return [Process("dashboard", [name]) for name in _DASHBOARDS if name in installed][:1]


# -- what is open, or in vain


def _open(app: Any, destinations: dict[str, Goes]) -> list[str]:
    routes, found = routes_of(app.conf), []
    for route in routes:
        if route.function:
            found.append(f"{route.where} is asked at each call, and may send a task elsewhere than is said here")
        elif not any(route.matches(name) for name in destinations):
            found.append(f"{route.where} matches no task of this app")
    elsewhere = [name for name, goes_to in destinations.items() if goes_to.queue is None]
    if elsewhere:
        found.append(f"{_listed(elsewhere)}: an exchange decides where they go")
    return found


def beyond_the_broker(app: Any) -> list[str]:
    """What queues declare that the broker of this app cannot do, each in a sentence that says what to do instead."""
    queues, broker = app.amqp.queues, capabilities_of(app.conf.broker_url)
    found = []
    if queues.shares and not broker.ours:
        found.append(
            f"weight, order and prefetch of {_listed(queues.shares)} have no effect: the {broker.scheme} broker deals out "
            "the messages of all queues by itself. Give each of them a worker of its own, as celery plan suggests"
        )
    if queues.limited and not app.has_ledger:
        found.append(
            f"concurrency and limits of {_listed(queues.limited)} have no effect: the {broker.scheme} broker keeps none. "
            'Name a ledger that does (ledger="postgresql://…"), or use a broker of celeriac\'s own (sqlite:///…)'
        )
    return found


def _listed(names: Iterable[str]) -> str:
    first, *more = names
    return f"{first} and {len(more)} more" if len(more) > 1 else " and ".join([first, *more])
