"""A message that went the short way is the one that Celery would have built."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from celery import signals
from celery.utils.saferepr import saferepr
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from kombu.serialization import register, unregister

from celeriac import Celery, Concurrency, FairShare, Queue, Rate
from celeriac.core.message import TaskMessage
from celeriac.publish.batch import Batch
from celeriac.publish.bulk import Sender
from celeriac.publish.mould import Moulds, shown

_words = st.text(max_size=8)
_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _words
_json = st.recursive(_scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3))
_taught = st.decimals(allow_nan=False) | st.uuids() | st.datetimes() | st.binary(max_size=8)
_values = _json | _taught | st.text(min_size=1000, max_size=1100)
_keywords = st.dictionaries(st.sampled_from(["a", "b", "ß", "it's", "%s"]), _values, max_size=3)
_seconds = st.floats(min_value=1, max_value=1e6)
_options = st.fixed_dictionaries(
    {},
    optional={
        "queue": st.sampled_from(["celery", "mails", "50%", "few"]),
        "priority": st.integers(-1, 12) | st.none(),
        "ignore_result": st.booleans(),
        "time_limit": st.just(900.0),
        "soft_time_limit": st.just(60.5),
        "shadow": st.sampled_from(["a name", "%(task_id)s", 'quo"ted']),
        "group_id": st.just("a group"),
        "group_index": st.integers(0, 10**6) | st.none(),
        "root_id": st.just("the root"),
        "parent_id": st.just("the parent"),
        "reply_to": st.just("somebody"),
    },
)
#: With these Celery has to build the message itself.
_unusual = st.fixed_dictionaries(
    {},
    optional={
        "headers": st.just({"tenant": "x"}),
        "countdown": _seconds,
        "expires": _seconds,
        "link": st.just([{"task": "callback", "args": [], "kwargs": {}, "options": {}}]),
        "serializer": st.sampled_from(["json", "other"]),
        "compression": st.just("zlib"),
        "routing_key": st.just("somewhere"),
    },
)
_MOMENT = datetime(2030, 1, 1, tzinfo=timezone.utc)


def _anything(*args: Any, **kwargs: Any) -> None:
    """Takes whatever it is given."""


def _tenant(args: Any, kwargs: Any) -> str:
    """A key of any text."""
    return f"{args!r} {kwargs!r}"


@pytest.fixture(scope="module", autouse=True)
def other() -> Iterator[None]:
    """A serializer that is not JSON, and needs nothing installed."""
    register("other", repr, str, content_type="application/x-other", content_encoding="utf-8")
    yield
    unregister("other")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Celery]:
    app = Celery("moulds", broker=f"sqlite:///{tmp_path_factory.mktemp('moulds')}/store.db", set_as_current=False)
    app.conf.task_routes = {"routed*": {"queue": "by a route", "priority": 3}}
    app.conf.result_extended = True
    app.task(name="anything", shared=False)(_anything)
    app.task(name="routed", shared=False)(_anything)
    app.task(name="limited", shared=False, time_limit=30, ignore_result=True)(_anything)
    app.task(name="held", shared=False, limits=[Concurrency(2), FairShare(_tenant, name="50% %(x)s")])(_anything)
    app.task(name="freed", shared=False, limits=[])(_anything)
    app.amqp.queues.add(Queue("few", concurrency=3, limits=[Rate("9/s", key="{task}")]))
    # What the message says of now is said of one moment.
    app.now = lambda: _MOMENT
    yield app
    app.close()
    app.store.close()


class _Kept(Batch):
    """Sends nothing."""

    messages: list[TaskMessage]

    def put(self, message: TaskMessage, afterwards: Any = None) -> None:
        self.messages.append(message)

    def __init__(self, app: Celery) -> None:
        super().__init__(app.store, app.new_batch()._make_moulds)
        self.messages = []


def _message(app: Celery, signature: Any, *, short: bool) -> TaskMessage:
    batch = _Kept(app)
    batch.moulds._usable = short
    Sender(app, batch).send([signature])
    (message,) = batch.messages
    return message


def _by_apply_async(app: Celery, signature: Any) -> TaskMessage:
    """The way of a group's members, through Celery's ``apply_async``."""
    batch = _Kept(app)
    task = app.tasks[signature.task]
    options = {"result_cls": task.AsyncResult, "task_type": task, "link": None, "link_error": None, "shadow": None}
    options |= task._get_exec_options() | {"ignore_result": task.ignore_result} | signature.options
    if batch.send_short(signature.task, task, signature.args, signature.kwargs, options) is None:
        return _message(app, signature, short=False)
    return batch.messages[0]


@settings(max_examples=400, deadline=None)
@given(
    name=st.sampled_from(["anything", "routed", "limited", "held", "freed"]),
    args=st.lists(_values, max_size=3),
    kwargs=_keywords,
    options=_options,
    unusual=st.just({}) | st.just({}) | _unusual,
)
def test_both_ways_build_the_same(
    app: Celery, name: str, args: list[Any], kwargs: dict[str, Any], options: dict[str, Any], unusual: dict[str, Any]
) -> None:
    options |= unusual
    assume(options.get("serializer") != "other" or not (args or kwargs))
    signature = app.tasks[name].signature(args, kwargs, task_id="an id", **options)
    longer = _message(app, signature.clone(), short=False)
    shorter = _message(app, signature.clone(), short=True)
    assert (json.loads(shorter.envelope), shorter) == (json.loads(longer.envelope), longer)
    assert _by_apply_async(app, signature.clone()) == longer


def test_the_short_way_is_taken_and_only_by_what_is_plain(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    create = app.amqp.create_task_message

    def counted(task_id: str, *args: Any, **kwargs: Any) -> Any:
        built.append(task_id)
        return create(task_id, *args, **kwargs)

    sent = app.send_tasks([app.tasks["anything"].s(number, x="y", list=[1]) for number in range(50)])
    assert len({result.id for result in sent}) == 50
    usable = app.new_batch().moulds._usable
    assert usable
    monkeypatch.setitem(app.amqp.__dict__, "create_task_message", counted)
    app.send_tasks([app.tasks["anything"].s(number) for number in range(50)])
    # Somebody else's builder is asked for each.
    assert len(built) == 50


@pytest.mark.parametrize("setting", [{"task_serializer": "other"}, {"task_compression": "zlib"}, {"task_protocol": 1}])
def test_settings_that_have_a_hand_in_messages(tmp_path: Path, setting: dict[str, Any]) -> None:
    app = Celery("set", broker=f"sqlite:///{tmp_path}/s.db", set_as_current=False, changes=setting)
    assert not app.new_batch().moulds._usable
    app.store.close()


def test_a_router_of_ones_own_and_receivers_see_every_message(app: Celery, tmp_path: Path) -> None:
    seen: list[Any] = []

    def route(_name: str, args: Any, *_: Any, **__: Any) -> dict[str, Any]:
        return {"queue": f"q{args[0]}"}

    def receive(body: Any, **_: Any) -> None:
        seen.append(body[0])

    routed = Celery("routed", broker=f"sqlite:///{tmp_path}/r.db", set_as_current=False)
    routed.conf.task_routes = (route,)
    routed.task(name="anything", shared=False)(_anything)
    routed.send_tasks([routed.tasks["anything"].s(number) for number in range(3)])
    assert {size.queue: size.ready for size in routed.store.sizes()} == {"q0": 1, "q1": 1, "q2": 1}
    routed.store.close()
    for signal in (signals.before_task_publish, signals.after_task_publish):
        signal.connect(receive)
        try:
            app.send_tasks([app.tasks["anything"].s(number) for number in range(3)])
        finally:
            signal.disconnect(receive)
        assert [list(args) for args in seen] == [[0], [1], [2]]
        seen.clear()


@settings(max_examples=500)
@given(st.lists(_values, max_size=4).map(tuple) | st.lists(_values, max_size=4) | _keywords)
def test_arguments_are_shown_as_celery_shows_them(value: Any) -> None:
    assert shown(value, 1024, 3) == saferepr(value, 1024, maxlevels=3)


@pytest.mark.parametrize("value", [(Decimal(1),), ("a\nb",), ("it's",), ("\\",), (True, None, 1.5), {"k": "\x7f"}])
def test_some_that_python_shows_otherwise(value: Any) -> None:
    assert shown(value, 1024, 3) == saferepr(value, 1024, maxlevels=3)


def test_limited_ones_take_the_short_way_too(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = _Kept(app)
    built: list[str] = []
    create = app.amqp.create_task_message

    def counted(task_id: str, *args: Any, **kwargs: Any) -> Any:
        built.append(task_id)
        return create(task_id, *args, **kwargs)

    monkeypatch.setitem(app.amqp.__dict__, "create_task_message", counted)
    Sender(app, batch).send([app.tasks["held"].s(number).set(queue="few") for number in range(5)])
    assert len(built) == 1, "the mould"
    assert len({message.limits for message in batch.messages}) == 5


def test_a_fresh_id_is_of_the_first_generation(app: Celery) -> None:
    batch = _Kept(app)
    Sender(app, batch).send([app.tasks["anything"].s(), app.tasks["anything"].s().set(task_id="given")])
    fresh, fixed = batch.messages
    assert (fresh.generation, fixed.generation) == (0, None)
    assert replace(fixed, task_id=None, envelope="", generation=0) == replace(fresh, task_id=None, envelope="")


def test_moulds_are_few(app: Celery) -> None:
    moulds = app.new_batch().moulds
    assert isinstance(moulds, Moulds)
    task = app.tasks["anything"]
    assert moulds.of("anything", task, {"queue": "a", "task_id": "1"}) is moulds.of(
        "anything", task, {"queue": "a", "task_id": "2"}
    )
    assert moulds.of("anything", task, {"queue": "b"}) is not moulds.of("anything", task, {"queue": "a"})
    assert moulds.of("anything", task, {"countdown": 1}) is None
