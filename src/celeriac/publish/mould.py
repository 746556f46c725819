"""The short way of building many messages: Celery builds one with marks in it, and the others are cast from that.

Whatever Celery does to a message of this task and these options is in the mould: routing, limits, the parent, the
origin. What differs from message to message is where the marks were: the id, the arguments, the place in a group.
Whoever asks for more than that goes Celery's way, message by message.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any
from uuid import uuid4

from celery import Task, signals
from celery.app.routes import MapRoute
from celery.app.routes import Router as CeleryRouter
from celery.backends.base import Backend
from celery.utils.saferepr import saferepr
from kombu.serialization import registry
from kombu.utils.json import dumps as kombu_dumps

from celeriac.core.message import LIMITS_HEADER, TaskMessage
from celeriac.core.queue_limits import QueueLimits
from celeriac.core.text import writable
from celeriac.publish.amqp import AMQP, Outgoing
from celeriac.publish.ids import new_ids
from celeriac.publish.limits import LimitsOf, limits_of
from celeriac.publish.routes import Router
from celeriac.publish.workflows import membership

#: Options that are the same for all messages of a mould; with any other one, the message goes Celery's way.
_COMMON = frozenset(
    {
        *("queue", "priority", "time_limit", "soft_time_limit", "shadow", "serializer", "delivery_mode", "retry"),
        *("ignore_result", "result_cls", "task_type", "reply_to", "retries", "replaced_task_nesting"),
        *("group_id", "root_id", "parent_id", "chord"),
    }
)
#: Options that a mould has a hole for, or that are not the message's.
_OWN = frozenset({"task_id", "group_index", "producer", "add_to_parent"})
#: Ids made at once.
_IDS = 100
_NUMBERS = frozenset({int, float, bool, type(None)})


def _encoder() -> Callable[[Any], str]:
    """As ``JSONEncoder().encode``, which makes itself an encoder for each value: a third of what a small one takes."""
    plain = json.JSONEncoder()
    make = getattr(json.encoder, "c_make_encoder", None)  # CPython's
    if make is None:
        return plain.encode
    separators = (plain.key_separator, plain.item_separator)
    # What contains itself recurses too deep, as without it.
    encode = make(None, plain.default, encode_basestring_ascii, None, *separators, False, False, True)  # C's
    return lambda value: "".join(encode(value, 0))


_encode = _encoder()


class _Marks:
    """Stand where messages differ; no message has them by chance."""

    task_id, args, kwargs, limits = (f"celeriac{uuid4().hex}" for _ in range(4))
    group_index = uuid4().int


class _UnmouldableError(Exception):
    """The message is for an exchange."""


class _Caster(Outgoing):
    """Takes the message that Celery has built."""

    message: TaskMessage | None = None
    #: Those of the queue that it goes to, which are of each call.
    queues: QueueLimits | None = None

    def put(self, message: TaskMessage, afterwards: Callable[[], None]) -> None:
        self.message = message

    def limit(self, queues: QueueLimits, task: Any, body: Any, headers: dict[str, Any]) -> None:
        if getattr(task, "call_signature", None) is not None:  # else a worker that knows it adds them
            self.queues = queues
            headers[LIMITS_HEADER] = _Marks.limits

    def send_elsewhere(self, sender: Callable[[], Any]) -> Any:
        raise _UnmouldableError


class Mould:
    """A message of one task under one set of options, to be filled in.

    Args:
        cast: the message with marks in it.
        shown: gives the arguments as people are shown them.
        result: gives the result of a task id.
        limits: gives the limits of a call; None where it has none.
    """

    def __init__(
        self,
        cast: TaskMessage,
        shown: Callable[[Any], str],
        result: Callable[[str], Any],
        limits: LimitsOf | None = None,
    ) -> None:
        assert isinstance(cast.body, str)
        self._queue, self._name, self._priority = cast.queue, cast.name, cast.priority
        self._envelope = cast.envelope.replace("%", "%%")
        if limits is not None:  # a call may have none
            self._envelope = self._envelope.replace(f'"{_Marks.limits}"', "%(limits)s")
        for hole in ("task_id", "args", "kwargs", "group_index"):
            self._envelope = self._envelope.replace(str(getattr(_Marks, hole)), f"%({hole})s")
        self._tail = cast.body.removeprefix("[[], {}")
        self._shown = shown
        self._limits = limits
        self.result = result

    def fill(self, task_id: str, args: Any, kwargs: Any, group_index: int | None, *, fresh: bool) -> TaskMessage | None:
        """The message; None where Celery's serializer has to see to the arguments. A ``fresh`` id is nobody's yet.

        Raises:
            ArgumentError: no key of a limit can be made of the arguments.
        """
        try:
            arguments = _encode((args, kwargs))
        except (TypeError, ValueError, RecursionError):
            return None
        limits = None if self._limits is None else self._limits(args, kwargs)
        values = {
            "task_id": _inside(task_id),
            "args": _inside(self._shown(args)),
            "kwargs": _inside(self._shown(kwargs)) if kwargs else "{}",
            "group_index": group_index,
            "limits": "null" if limits is None else f'"{_inside(limits)}"',
        }
        envelope = self._envelope % values
        if not envelope.isascii():
            envelope = writable(envelope)
        generation = 0 if fresh else None
        body = arguments[:-1] + self._tail
        message = TaskMessage(self._queue, envelope, body, task_id, self._name, self._priority, None, None, generation)
        message.limits = limits
        return message


def _inside(text: str) -> str:
    """Text as it stands between JSON's quotes."""
    return encode_basestring(text)[1:-1]


def shown(value: Any, maxlen: int, maxlevels: int) -> str:
    """Celery's ``saferepr``; of numbers and simple words, Python's own, which is the same."""
    parts = value.values() if type(value) is dict else value
    for part in parts:
        if type(part) not in _NUMBERS and not (type(part) is str and _simple(part)):
            return str(saferepr(value, maxlen, maxlevels=maxlevels))
    if type(value) is dict and not all(type(key) is str and _simple(key) for key in value):
        return str(saferepr(value, maxlen, maxlevels=maxlevels))
    text = repr(value)
    return text if len(text) < maxlen else str(saferepr(value, maxlen, maxlevels=maxlevels))


def _simple(text: str) -> bool:
    return text.isprintable() and "'" not in text and "\\" not in text


class Moulds:
    """Those of one app, for as long as nothing about it changes.

    Args:
        app: the app.
        build: Celery's ``send_task``.
        stamp: names the ledger in messages that another broker will be given.
    """

    def __init__(self, app: Any, build: Callable[..., Any], stamp: list[str] | None = None) -> None:
        self._app, self._stamp = app, stamp
        self._build = build
        self._known: dict[object, Mould | None] = {}
        self._chords: dict[object, Any] = {}
        self._ids: Iterator[str] = iter(())
        self._usable = _usable(app)

    def new_id(self) -> str:
        """An id that nobody has."""
        found = next(self._ids, None)
        if found is None:
            self._ids = new_ids(_IDS)
            found = next(self._ids)
        return found

    def of(self, name: str, task: Any, options: Mapping[str, Any]) -> Mould | None:
        """The mould for a task under these options of ``send_task``; None where there can be none."""
        if not self._usable or getattr(task, "key_template", None) is not None:
            return None
        common = {option: value for option, value in options.items() if option not in _OWN}
        chord = common.pop("chord", None)
        try:
            part = membership()
            key = (name, options.get("group_index") is None, part and tuple(part), frozenset(common.items()))
            # A group has one chord, of which Celery gives each member a copy that shares what is in it.
            if key not in self._known or self._chords.get(key) != chord:
                self._known[key] = self._cast(name, task, {**common, "chord": chord}, options.get("group_index"))
                self._chords[key] = chord
        except TypeError:  # a list or a mapping among them
            return None
        return self._known[key]

    def _cast(self, name: str, task: Any, common: dict[str, Any], group_index: int | None) -> Mould | None:
        if any(value is not None and option not in _COMMON for option, value in common.items()):
            return None
        app, caster = self._app, _Caster(self._app.store, self._stamp)
        if common.get("serializer") not in (None, "json") or not isinstance(common.get("queue") or "", str):
            return None
        declared = getattr(task, "declared_limits", None)
        marks: dict[str, Any] = {"task_id": _Marks.task_id, "argsrepr": _Marks.args, "kwargsrepr": _Marks.kwargs}
        if declared is not None:
            marks["headers"] = {LIMITS_HEADER: _Marks.limits}
        index = None if group_index is None else _Marks.group_index
        with suppress(_UnmouldableError):
            self._build(
                name, (), {}, **{**common, **marks, "group_index": index, "producer": caster, "add_to_parent": False}
            )
        if caster.message is None:
            return None
        maxlen, maxlevels = app.amqp.argsrepr_maxsize, app.conf.task_repr_maxlevels
        limits = None if declared is None and caster.queues is None else limits_of(task, caster.queues)
        return Mould(caster.message, lambda value: shown(value, maxlen, maxlevels), _result_of(app, common), limits)


def _result_of(app: Any, common: dict[str, Any]) -> Callable[[str], Any]:
    make, ignored = common.get("result_cls") or app.AsyncResult, common.get("ignore_result")

    def result(task_id: str) -> Any:
        made = make(task_id)
        made.ignored = ignored
        return made

    return result


def _usable(app: Any) -> bool:
    """Whether nobody looks at, or has a hand in, single messages."""
    conf, amqp = app.conf, app.amqp
    watched = signals.before_task_publish.receivers or signals.after_task_publish.receivers or conf.task_send_sent_event
    json_is_kombus = registry._encoders["json"].encoder is kombu_dumps  # noqa: SLF001  # the registry tells it nowhere else
    return bool(
        not watched
        and conf.task_serializer == "json"
        and json_is_kombus
        and not conf.task_compression
        and not conf.task_always_eager
        and getattr(amqp.create_task_message, "__func__", None) is AMQP.as_task_v2
        and type(amqp.router) in (Router, CeleryRouter)
        and all(isinstance(route, MapRoute) for route in amqp.routes)
        and getattr(type(app.backend), "on_task_call", None) is Backend.on_task_call
    )


def plainly_applied(task: Any) -> bool:
    """Whether ``apply_async`` of the task is Celery's, and does no more than to check the call and send it."""
    cls = type(task)
    return bool(
        inspect.getattr_static(cls, "apply_async") is inspect.getattr_static(Task, "apply_async")
        and inspect.getattr_static(cls, "shadow_name") is inspect.getattr_static(Task, "shadow_name")
        and not getattr(task, "__v2_compat__", False)
        and task._dump_pydantic_arguments is None  # noqa: SLF001  # what Celery itself looks at
        and not (task.soft_time_limit and task.time_limit)
    )
