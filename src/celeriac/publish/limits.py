"""A message's limits, as its header carries them: its task's, and those of the queue it goes to."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Signature
from typing import Any

from celeriac.core.limits import OPTION, Limits, Rule, combined, joined
from celeriac.core.message import LIMITS_HEADER
from celeriac.core.queue_limits import QueueLimits
from celeriac.core.templates import Origin


def with_limits(task: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> dict[str, Any]:
    """The publish options with the call's limits in the headers, for a task that declares some.

    Raises:
        ArgumentError: an argument that a limit's key names is None, empty or no plain value.
    """
    declared: Limits | None = getattr(task, "declared_limits", None)
    if declared is None:
        # A retry has its predecessor's headers, and may go to another queue than that.
        return options if task is None else without_limits(options)
    headers = {**(options.get("headers") or {}), LIMITS_HEADER: declared.bind(args or (), kwargs or {})}
    return {**options, "headers": headers}


def add_queues(limits: QueueLimits, task: Any, body: Any, headers: dict[str, Any]) -> None:
    """Have a message's headers carry its queue's limits too.

    Of a task that is not known here, a worker that knows it adds its limits and the queue's.

    Raises:
        ArgumentError: as `with_limits`.
        QueueOptionError: the task does not have an argument that a key names.
    """
    signature: Signature | None = getattr(task, "call_signature", None)
    if signature is None or not isinstance(body, tuple):
        return
    args, kwargs, *_ = body
    bounds = limits.bind(task.name, signature, args or (), kwargs or {})
    headers[LIMITS_HEADER] = joined(headers.get(LIMITS_HEADER), bounds)


#: What a call with these arguments carries.
LimitsOf = Callable[[Any, Any], "str | None"]


def limits_of(task: Any, queues: QueueLimits | None) -> LimitsOf:
    """Gives the limits of each call of the task in a queue with these; raises as `add_queues`."""
    declared: Limits | None = getattr(task, "declared_limits", None)

    def of(args: Any, kwargs: Any) -> str | None:
        own = None if declared is None else declared.bind(args, kwargs)
        return own if queues is None else joined(own, queues.bind(task.name, task.call_signature, args, kwargs))

    return of


def limits_again(app: Any, task: Any, queue: str, args: Any, kwargs: Any) -> dict[str, Any]:
    """The header of a call whose arguments were changed, of the task's limits and the queue's; none where neither has some.

    Raises:
        ArgumentError, QueueOptionError: as `add_queues`.
    """
    headers = dict(with_limits(task, args, kwargs, {}).get("headers", {}))
    queues = app.amqp.queues.limited.get(queue)
    if queues is not None:
        add_queues(queues, task, (args, kwargs), headers)
    return headers


def without_limits(options: dict[str, Any]) -> dict[str, Any]:
    """The publish options of what has no limits, or is given all of them later."""
    headers = options.get("headers") or {}
    if LIMITS_HEADER not in headers:
        return options
    return {**options, "headers": {name: value for name, value in headers.items() if name != LIMITS_HEADER}}


def names_now(app: Any, task: Any, queue: str) -> set[str]:
    """The names of the limits that a task declares now, and a queue."""
    declared: Limits | None = getattr(task, "declared_limits", None)
    of_queue: QueueLimits | None = app.amqp.queues.limited.get(queue)
    return {name for limits in (declared, of_queue) if limits is not None for name in limits.rules}


def declared_rules(app: Any) -> dict[str, Rule]:
    """The numbers of all limits that the app's tasks and queues declare, by name.

    Raises:
        OptionError, QueueOptionError: two give other numbers under one name.
    """
    rules: dict[str, Rule] = {}
    for name, task in sorted(app.tasks.items()):
        declared: Limits | None = getattr(task, "declared_limits", None)
        if declared is not None:
            rules = combined(rules, declared.rules, Origin(name, OPTION))
    for name, limits in sorted(app.amqp.queues.limited.items()):
        rules = combined(rules, limits.rules, Origin("", OPTION, queue=name))
    return rules
