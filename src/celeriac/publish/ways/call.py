"""One call on its way out, and what is done to it before it leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from celery.utils.time import make_aware, maybe_iso8601
from kombu.utils.functional import maybe_list

from celeriac.publish.arguments import check_arguments
from celeriac.publish.keys import with_key
from celeriac.publish.limits import with_limits
from celeriac.publish.rabbitmq import held_by_the_ledger

#: Options in which signatures travel.
_FOLLOWING = ("chain", "link", "link_error", "chord")


@dataclass(slots=True)
class Call:
    """A task's name and class (None where it is not known here), its arguments, and the options of ``send_task``."""

    name: str
    task: Any
    args: Any
    kwargs: Any
    options: dict[str, Any]

    @property
    def keyed(self) -> bool:
        """Whether the task declares an idempotency key."""
        return getattr(self.task, "key_template", None) is not None

    @property
    def limited(self) -> bool:
        """Whether the task declares limits."""
        return getattr(self.task, "declared_limits", None) is not None

    def copy(self) -> Call:
        """The same, to be sent a second time."""
        return replace(self, options=dict(self.options))


class WayOut(Protocol):
    """What takes a task out of the app."""

    def send(self, call: Call) -> Any:
        """Send it; returns its result."""


class Preparing:
    """What the ways have in common.

    Args:
        app: the app.
        celerys: Celery's ``send_task``, bound to it.
    """

    def __init__(self, app: Any, celerys: Callable[..., Any]) -> None:
        self.app = app
        self._celerys = celerys

    def build(self, call: Call, **options: Any) -> Any:
        """Have Celery build the message, and hand it to whoever stands in its producer's place."""
        return self._celerys(call.name, call.args, call.kwargs, **{**call.options, **options})

    def check(self, call: Call) -> None:
        """Refuse arguments that cannot travel, of the task and of what follows it, and say times with their zone.

        Raises:
            UnsendableArgument: naming it.
        """
        normalise(self.app, call.options)
        _check_arguments(self.app, call)

    def add_headers(self, call: Call) -> None:
        """Put the key and the limits of a task that declares them into the headers."""
        call.options = with_limits(call.task, call.args, call.kwargs, call.options)
        ttl = self.app.own_settings.idempotency_ttl
        call.options = with_key(call.task, call.args, call.kwargs, call.options, ttl)

    def hold(self, call: Call) -> None:
        """Keep from Celery until when the task waits, where it would have the broker delay what the ledger holds."""
        if self.app.delays_natively:
            call.options = held_by_the_ledger(self.app, call.options)


def normalise(app: Any, options: dict[str, Any]) -> None:
    """The store's columns know no local time, and ids that are text only."""
    if options.get("task_id") is not None:
        options["task_id"] = str(options["task_id"])
    for name in ("eta", "expires"):
        moment = options.get(name)
        if isinstance(moment, str):
            moment = maybe_iso8601(moment)
        if isinstance(moment, datetime) and moment.tzinfo is None:
            options[name] = make_aware(moment, app.timezone)


def _check_arguments(app: Any, call: Call) -> None:
    task, given = call.task, call.options.get("serializer")
    serializer = given or getattr(task, "serializer", None) or app.conf.task_serializer
    _check(app, (call.name, task, call.args, call.kwargs), serializer)
    for option in _FOLLOWING:
        for step in maybe_list(call.options.get(option)) or ():
            if isinstance(step, dict):  # a link may be an id, of what is sent by somebody else
                name = step["task"]
                _check(app, (name, app._tasks.get(name), step.get("args"), step.get("kwargs")), serializer)  # noqa: SLF001  # `tasks` would finalize the app


def _check(app: Any, call: tuple[str, Any, Any, Any], serializer: str) -> None:
    name, task, args, kwargs = call
    switch = app.own_settings.refuse_unsafe_pickle
    check_arguments(
        name,
        args,
        kwargs,
        parameters=getattr(task, "parameter_names", ()),
        serializer=serializer,
        refuse=app.defaults == "safe" if switch is None else switch,
    )
