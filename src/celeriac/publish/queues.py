"""The queues of an app: those that are declared, and those that Celery makes up from a name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import kombu
from celery.app import amqp

from celeriac.core.limits import Concurrency, Limit
from celeriac.core.message import HIGHEST_PRIORITY, LOWEST_PRIORITY
from celeriac.core.queue_limits import QueueLimits
from celeriac.core.routing import Share
from celeriac.errors import QueueOptionError
from celeriac.transport.rabbitmq.queues import TaskQueue, task_queue

#: What a queue of celeriac's declares beside what any of kombu's does.
OWN = ("concurrency", "limits", "weight", "order", "prefetch", "time_limit", "soft_time_limit", "priority")


class Queue(kombu.Queue):  # type: ignore[misc]  # kombu's class is untyped at runtime
    """A queue for `task_queues`, declared with what holds for every task in it.

    Args:
        name: of the queue.
        exchange, routing_key: as kombu's; left out, the app's own exchange and the queue's name.
        concurrency: at most so many of its tasks run at the same time, over all workers.
        limits: `Concurrency`, `Rate` and `FairShare`, one or a list, over all workers and all its tasks together. A key
            may name `{task}`, the task's name, and arguments that every task of the queue has.
        weight: its share against the other queues of the same worker, from 1; those that give none have 1.
        order: `"strict"` for a queue that a worker takes from before all others; of several the one that it is given first.
        prefetch: how many of its messages one worker holds at most, those that run included.
        time_limit, soft_time_limit: seconds, for its tasks that have none of their own.
        priority: 0 to 9, of messages that are given none.
        **options: as kombu's.

    Raises:
        QueueOptionError: an option that cannot work, or that nobody knows.
    """

    attrs = (*kombu.Queue.attrs, *((option, None) for option in OWN))

    concurrency: int | None
    limits: Limit | list[Limit] | tuple[Limit, ...] | None
    weight: int | None
    order: str | None
    prefetch: int | None
    time_limit: float | None
    soft_time_limit: float | None
    priority: int | None

    def __init__(
        self, name: str = "", exchange: Any = None, routing_key: str = "", *arguments: Any, **options: Any
    ) -> None:
        _check_names(name, options)
        #: The user leaves to the app of which kind it is.
        self.kind_is_open = not (exchange or routing_key or arguments) and options.keys() <= {*OWN, "alias"}
        super().__init__(name, exchange, routing_key or ("" if exchange else name), *arguments, **options)
        _check(self)
        declared = _all_limits(self)
        #: The compiled limits, where it declares some.
        self.declared_limits = QueueLimits(name, declared) if declared else None

    @property
    def share(self) -> Share | None:
        """Its place among a worker's queues; None where it declares nothing of it."""
        if self.weight is None and self.order is None and self.prefetch is None:
            return None
        return Share(self.weight or 1, self.order is not None, self.prefetch)

    def as_dict(self, recurse: bool = False) -> dict[str, Any]:
        """As kombu's, which copies by it; for people, and what speaks JSON, the limits are text."""
        found: dict[str, Any] = super().as_dict(recurse=recurse)
        if recurse and self.limits is not None:
            found["limits"] = [str(limit) for limit in as_list(self.limits)]
        return found


class _OnRabbitMQ(Queue, TaskQueue):
    """The same as a quorum queue of celeriac's kind."""


def on_rabbitmq(queue: Queue, exchange: kombu.Exchange) -> Queue:
    """The queue as celeriac declares RabbitMQ's, with what it says itself."""
    kind = task_queue(queue.name, exchange)
    own = {option: getattr(queue, option) for option in (*OWN, "alias")}
    return _OnRabbitMQ(kind.name, kind.exchange, kind.routing_key, queue_arguments=kind.queue_arguments, **own)


def as_list(limits: Any) -> list[Any]:
    """Limits, of which one may be given as such."""
    return list(limits) if isinstance(limits, (list, tuple)) else [limits]


def _all_limits(queue: Queue) -> list[Any]:
    own = [] if queue.concurrency is None else [Concurrency(queue.concurrency)]
    return own + ([] if queue.limits is None else as_list(queue.limits))


# -- checks


def _check_names(name: object, options: Mapping[str, Any]) -> None:
    if not isinstance(name, str) or not name.strip():
        raise QueueOptionError(str(name), "name", f"{name!r} is no name; routes and -Q lead to a queue by it")
    # kombu takes any keyword, and drops those it does not know.
    known = {attribute for attribute, _ in Queue.attrs} | {"channel", "bindings", "on_declared"}
    for option in options.keys() - known:
        close = get_close_matches(option, sorted(known), 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise QueueOptionError(name, option, f"there is no such option, and it would be ignored{hint}")


def _check(queue: Queue) -> None:
    most = HIGHEST_PRIORITY
    wanted: dict[str, tuple[Callable[[Any], bool], str]] = {
        "concurrency": (_is_whole, "a whole number from 1; to stop it for a while, pause it"),
        "weight": (_is_whole, 'a whole number from 1; to have it come after all others, give those order="strict"'),
        "prefetch": (_is_whole, "a whole number from 1; leave it out for no such limit"),
        "order": (lambda value: value == "strict", 'not "strict", and there is no other'),
        "time_limit": (_is_time, "a number of seconds over 0"),
        "soft_time_limit": (_is_time, "a number of seconds over 0"),
        "priority": (
            lambda value: value == LOWEST_PRIORITY or (_is_whole(value) and value <= most),
            f"a whole number from {LOWEST_PRIORITY} to {most}; the higher comes first",
        ),
    }
    for option, (fits, what) in wanted.items():
        value = getattr(queue, option)
        if value is not None and not fits(value):
            raise QueueOptionError(queue.name, option, f"{value!r} is {what if option == 'order' else f'not {what}'}")
    _check_together(queue)


def _check_together(queue: Queue) -> None:
    if queue.order is not None and queue.weight is not None:
        problem = (
            f'a queue with order="strict" goes before all others and has no share; leave out weight={queue.weight}'
        )
        raise QueueOptionError(queue.name, "weight", problem)
    hard, soft = queue.time_limit, queue.soft_time_limit
    if hard is not None and soft is not None and soft > hard:
        raise QueueOptionError(queue.name, "soft_time_limit", f"{soft:g} comes after time_limit, {hard:g}")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_time(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


# -- all of an app's


class Queues(amqp.Queues):  # type: ignore[misc]  # Celery has no types
    """Celery's, where RabbitMQ's are of celeriac's kind unless the user says of which."""

    #: Set by the app: whether they are.
    ours = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: Those that declare something of celeriac's, by name, and the limits of those that have some.
        self.own: dict[str, Queue] = {}
        self.limited: dict[str, QueueLimits] = {}
        super().__init__(*args, **kwargs)

    def __setitem__(self, name: str, queue: Any) -> None:
        super().__setitem__(name, queue)
        if isinstance(queue, Queue):
            self.own[name] = queue
            if queue.declared_limits is not None:
                self.limited[name] = queue.declared_limits

    @property
    def shares(self) -> dict[str, Share]:
        """What is declared of the queues' places in a worker."""
        return {name: share for name, queue in self.own.items() if (share := queue.share) is not None}

    def bound_to(self, options: Mapping[str, Any]) -> Queue | None:
        """Of those that declare something, the one that publish options lead to by its exchange: a retry names that."""
        exchange = str(getattr(options["exchange"], "name", options["exchange"]))
        for queue in self.own.values():
            if queue.routing_key == options["routing_key"] and getattr(queue.exchange, "name", None) == exchange:
                return queue
        return None

    def time_limits(self, name: str | None) -> tuple[float | None, float | None]:
        """Hard and soft, in seconds, of what comes from a queue."""
        queue = self.own.get(name or "")
        return (None, None) if queue is None else (queue.time_limit, queue.soft_time_limit)

    def new_missing(self, name: str) -> Any:
        if not self.ours or self.create_missing_queue_type != "quorum" or self.create_missing_queue_exchange_type:
            return super().new_missing(name)
        return task_queue(name, self.default_exchange)

    def add_compat(self, name: str, **options: Any) -> Any:
        """As Celery's. The remote control's `add_consumer` asks for a direct exchange of the queue's own.

        Raises:
            QueueOptionError: a mapping in `task_queues` gives an option that only a `Queue` has.
        """
        for option in options.keys() & set(OWN):
            problem = f"a mapping has no such option, and it would be ignored; declare Queue({name!r}, {option}=…)"
            raise QueueOptionError(name, option, problem)
        made_up = options.get("exchange") == name and options.get("routing_key") is None
        return self._add(self.new_missing(name)) if self.ours and made_up else super().add_compat(name, **options)


def of_our_kind(queues: Mapping[str, Any] | Iterable[Any], exchange: kombu.Exchange) -> list[Any]:
    """Declared queues whose kind is left to the app, as RabbitMQ is told of them."""
    declared: Iterable[Any] = queues.values() if isinstance(queues, Mapping) else queues
    return [on_rabbitmq(queue, exchange) for queue in declared]
