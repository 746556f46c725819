"""The limits of a queue, which hold for all of its tasks together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from inspect import Parameter, Signature
from string import Formatter
from typing import Any

from celeriac.core.limits import OPTION, Bound, Compiled, Concurrency, Limit, Named, as_limits, compiled
from celeriac.core.templates import Origin, bind

#: In the key of a queue's limit: the name of the task.
TASK = "task"


class QueueLimits:
    """What a queue declares, compiled for each of its tasks when that is met.

    A key may name `{task}`, the task's name, and arguments that every task of the queue has. Raises `QueueOptionError`.
    """

    def __init__(self, queue: str, declared: object) -> None:
        self._queue = queue
        origin = Origin("", OPTION, queue=queue)
        self._declared = as_limits(origin, declared)
        self._by_task: dict[str, list[Compiled]] = {}
        _check_alone(origin, self._declared)
        #: Their numbers, by name.
        self.rules = {limit.name: limit.rule for limit in (Named(origin, one) for one in self._declared)}
        #: Whether a key may name more than the task.
        self.by_arguments = any(limit.key not in (None, f"{{{TASK}}}") for limit in self._declared)

    def check(self, task: str, signature: Signature) -> None:
        """Raises `QueueOptionError` where a key names an argument that the task does not have."""
        self._of(task, signature)

    def bind(self, task: str, signature: Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Bound]:
        """What a call of the task carries of them. Raises `ArgumentError` and, as `check`, `QueueOptionError`."""
        limits = self._of(task, signature)
        arguments = bind(task, signature, args, kwargs).arguments if self.by_arguments else {}
        return [limit.bind({**arguments, TASK: task}) for limit in limits]

    def _of(self, task: str, signature: Signature) -> list[Compiled]:
        known = self._by_task.get(task)
        if known is None:
            origin = Origin(task, OPTION, queue=self._queue)
            known = self._by_task[task] = compiled(origin, self._declared, _with_task(signature))
        return known


def _check_alone(origin: Origin, limits: Sequence[Limit]) -> None:
    """What can be told before any task is known: the form of the templates, and the names."""
    fields = [Parameter(name, Parameter.KEYWORD_ONLY) for name in _fields(limits)]
    # Of a function, only a task's signature says whether it can work.
    readable = [Concurrency(1, name=Named(origin, one).name) if callable(one.key) else one for one in limits]
    compiled(origin, readable, Signature(fields))


def _fields(limits: Iterable[Limit]) -> list[str]:
    """The arguments that templates name."""
    found: dict[str, None] = {}
    for limit in limits:
        try:
            names = [name for _, name, *_ in Formatter().parse(limit.key)] if isinstance(limit.key, str) else []
        except ValueError:  # the template itself will say so
            continue
        found.update((name, None) for name in names if name and name.isidentifier())
    return list(found)


def _with_task(signature: Signature) -> Signature:
    """The task's own, in which `task` is its name, whatever it calls so itself."""
    own = [parameter for parameter in signature.parameters.values() if parameter.name != TASK]
    at = len(own) - (bool(own) and own[-1].kind is Parameter.VAR_KEYWORD)
    return Signature([*own[:at], Parameter(TASK, Parameter.KEYWORD_ONLY), *own[at:]])
