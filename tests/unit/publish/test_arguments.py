from __future__ import annotations

import ast
import asyncio
import collections
import concurrent.futures
import dataclasses
import decimal
import enum
import fractions
import functools
import io
import ipaddress
import multiprocessing
import operator
import pathlib
import queue
import re
import socket
import sqlite3
import sys
import tempfile
import threading
import time
import types
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, datetime, timedelta, timezone
from typing import Any

import celery
import pytest
from celery.result import AsyncResult
from hypothesis import given
from hypothesis import strategies as st
from kombu.exceptions import EncodeError
from kombu.serialization import dumps
from kombu.utils import json as kombu_json

from celeriac.errors import ArgumentError, CeleriacError
from celeriac.publish.arguments import UnsendableArgument, UnsendableArgumentWarning, check_arguments

TASK = "shop.charge"


def problem(value: Any, **options: Any) -> str:
    """What `delay(order=value)` is told; fails when it is not refused."""
    with pytest.raises(UnsendableArgument) as caught:
        check_arguments(TASK, (), {"order": value}, **options)
    text = str(caught.value)
    assert text.startswith(f"task {TASK}, argument order")
    return text


def accepted(value: Any, **options: Any) -> bool:
    check_arguments(TASK, (value,), {}, **options)
    return True


class Status(enum.Enum):
    PAID = "paid"


class Country(str, enum.Enum):
    DE = "de"


class Taught:
    def __json__(self) -> dict[str, int]:
        return {"a": 1}


class Broken:
    def __json__(self) -> dict[str, int]:
        raise RuntimeError("no figures")


class Registered: ...


class Hostile:
    """Looking at it in any way fails."""

    def __repr__(self) -> str:
        raise AssertionError("repr was called")

    __str__ = __repr__

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was read")


@dataclasses.dataclass
class Parcel:
    weight: int


Point = collections.namedtuple("Point", "x y")
app = celery.Celery("shop", set_as_current=False, broker="memory://")


@app.task(name="shop.add")
def add(x: int, y: int) -> int:
    return x + y


@pytest.mark.parametrize(
    "value",
    [
        "text",
        7,
        1.5,
        True,
        None,
        b"bytes",
        b"\xff\xfe",
        datetime.now(timezone.utc),
        date(2026, 1, 2),
        datetime(2026, 1, 2).time(),
        decimal.Decimal("9.90"),
        uuid.uuid4(),
        [1, [2, [3]]],
        (1, (2,)),
        Point(1, 2),
        {"a": {"b": [1]}},
        {1: "x", None: "y", 1.5: "z", False: "w"},
        collections.OrderedDict(a=1),
        collections.defaultdict(list, a=[1]),
        Country.DE,
        {Country.DE: 1},
        Taught(),
        add.s(1, 2),
        celery.chain(add.s(1, 2), add.s(3), app=app),
        celery.group([add.s(1, 2), add.s(3, 4)], app=app),
        celery.chord([add.s(1, 2)], add.s(3), app=app),
        [],
        {},
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_celery_can_send_is_sent(value: object) -> None:
    assert accepted(value)
    dumps([[value], {}, {}], "json")


def test_a_registered_type_is_sent() -> None:
    kombu_json.register_type(Registered, "registered", lambda _: "x", lambda _: Registered())
    assert accepted(Registered())


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes() | st.uuids(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
)


@given(st.lists(plain), st.dictionaries(st.text(), plain))
def test_plain_data_is_sent(args: list[Any], kwargs: dict[str, Any]) -> None:
    check_arguments(TASK, args, kwargs)
    dumps([args, kwargs, {}], "json")


def numbers() -> Iterator[int]:
    yield 1


async def coroutine() -> int:
    return 1


def _future() -> object:
    return concurrent.futures.Future()


#: value, what it is said to be, what to pass instead
REFUSED_AS_JSON = [
    (Status.PAID, "a member of Status", r"order\.value"),
    ({1, 2}, "a set", r"sorted\(order\)"),
    (frozenset({1}), "a frozenset", r"list\(order\)"),
    (range(3), "a range", r"list\(order\)"),
    (map(str, [1]), "a map", r"list\(order\)"),
    (iter([1]), "a list_iterator", r"list\(order\)"),
    ({"a": 1}.keys(), "a view", r"list\(order\)"),
    ({"a": 1}.values(), "a view", r"list\(order\)"),
    ({"a": 1}.items(), "a view", r"list\(order\)"),
    (types.MappingProxyType({}), "a mappingproxy", r"list\(order\)"),
    (collections.deque(), "a deque", r"list\(order\)"),
    (collections.UserDict(), "a UserDict", r"dict\(order\)"),
    (timedelta(1), "a timedelta", r"order\.total_seconds\(\)"),
    (timezone.utc, "a time zone", r"str\(order\)"),
    (bytearray(b"x"), "a bytearray", r"bytes\(order\)"),
    (memoryview(b"x"), "a memoryview", r"bytes\(order\)"),
    (1j, "a complex number", r"order\.real"),
    (pathlib.Path("/x"), "a path", r"str\(order\)"),
    (fractions.Fraction(1, 2), "a Fraction", r"str\(order\)"),
    (re.compile("x"), "a compiled pattern", r"order\.pattern"),
    (ipaddress.ip_address("::1"), "an IP address", r"str\(order\)"),
    (Parcel(1), "a dataclass, Parcel", r"dataclasses\.asdict\(order\)"),
    (ValueError("x"), "an exception", r"str\(order\)"),
    (Parcel, "a class, Parcel", "its name"),
    (numbers, "a function, numbers", "make it a task"),
    (Parcel(1).__init__, "a function", "make it a task"),  # type: ignore[misc]
    (len, "a function, len", "make it a task"),
    (re, "a module", "its name"),
    (add, "a task", r"its signature, order\.s\(\)"),
    (AsyncResult("x", app=app), "the result of a task", r"its id, order\.id"),
    (Hostile(), r"an object of type .*Hostile", "plain data made from it; or give its class a __json__ method"),
    (functools.partial(print), r"an object of type functools\.partial", "register_type"),
    (Broken(), r"an object of type Broken whose __json__ failed \(no figures\)", "plain data"),
    ({(1, 2): "x"}, "a mapping with a key of type tuple", "text or numbers as its keys"),
    ({b"x": "x"}, "a mapping with a key of type bytes", "text or numbers"),
    ({date(2026, 1, 1): "x"}, "a mapping with a key of type date", "text or numbers"),
]


@pytest.mark.parametrize(
    ("value", "what", "instead"), REFUSED_AS_JSON, ids=lambda value: str(value)[:20] if isinstance(value, str) else ""
)
def test_what_json_cannot_carry_is_refused_with_the_remedy(value: object, what: str, instead: str) -> None:
    assert re.search(rf"it is {what}.*\. Pass .*{instead}", problem(value))
    with pytest.raises(EncodeError):
        dumps([[value], {}, {}], "json")


@pytest.mark.parametrize(
    "value", [Status.PAID, {1}, range(3), timedelta(1), Parcel(1), ValueError("x"), Parcel, numbers, {(1,): 2}]
)
@pytest.mark.parametrize("serializer", ["pickle", "yaml", "msgpack", "own"])
def test_other_serializers_know_themselves_what_they_carry(value: object, serializer: str) -> None:
    assert accepted(value, serializer=serializer)


#: make, what it is, what to pass instead
REFUSED_EVERYWHERE: list[tuple[Callable[[], Any], str, str]] = [
    (tempfile.TemporaryFile, "an open file", "its path"),
    (tempfile.NamedTemporaryFile, "an open file", "its path"),
    (lambda: sys.__stdout__, "an open file", "its path"),
    (io.BytesIO, "bytes held in memory", r"order\.getvalue\(\)"),
    (io.StringIO, "text held in memory", r"order\.getvalue\(\)"),
    (socket.socket, "an open connection", "open one in the task"),
    (
        lambda: sqlite3.connect(":memory:"),
        "an open connection or what belongs to one, Connection",
        "open one in the task",
    ),
    (lambda: sqlite3.connect(":memory:").cursor(), "an open connection or what belongs to one, Cursor", "open one"),
    (threading.Lock, "a lock", "a row or a key"),
    (threading.RLock, "a RLock", "a row or a key"),
    (threading.Condition, "a Condition", "make one in the task"),
    (threading.Event, "a Event", "make one in the task"),
    (threading.Semaphore, "a Semaphore", "make one in the task"),
    (threading.local, "a _local", "make one in the task"),
    (threading.current_thread, "a _MainThread", "make one in the task"),
    (asyncio.Lock, "a Lock", "make one in the task"),
    (multiprocessing.Lock, "a Lock", "make one in the task"),
    (_future, "a Future", "make one in the task"),
    (numbers, "a generator", r"list\(order\)"),
    (coroutine, "a coroutine", "await it first"),
    (lambda: lambda: 1, "a function that only exists here", "data"),
]


@pytest.mark.parametrize("serializer", ["json", "pickle"])
@pytest.mark.parametrize(
    ("make", "what", "instead"), REFUSED_EVERYWHERE, ids=[what for _, what, _ in REFUSED_EVERYWHERE]
)
def test_what_belongs_to_this_process_is_refused_under_any_serializer(
    make: Callable[[], Any], what: str, instead: str, serializer: str
) -> None:
    value = make()
    assert re.search(rf"it is {what}.*\. Pass .*{instead}", problem(value, serializer=serializer))
    if value is not sys.__stdout__ and hasattr(value, "close") and not hasattr(value, "connection"):
        value.close()
    if hasattr(value, "connection"):
        value.connection.close()


@pytest.mark.parametrize("error", [asyncio.QueueFull(), threading.BrokenBarrierError(), queue.Empty()])
def test_errors_of_such_modules_are_data_to_pickle(error: Exception) -> None:
    assert accepted(error, serializer="pickle")


# --- where -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "kwargs", "where"),
    [
        (({1},), {}, "order"),
        ((1, {1}), {}, r"args\[1\]"),
        ((), {"note": {1}}, "note"),
        (([0, [1, {2}]],), {}, r"order\[1\]\[1\]"),
        (({"items": [{"tags": {1}}]},), {}, r"order\['items'\]\[0\]\['tags'\]"),
        (({"x" * 99: {1}},), {}, r"order\['x{39}…\]"),
        (((1, {2}),), {}, r"order\[1\]"),
        ((add.s({1}),), {}, r"order\['args'\]\[0\]"),
    ],
)
def test_the_way_to_the_argument_is_named(args: tuple[Any, ...], kwargs: dict[str, Any], where: str) -> None:
    with pytest.raises(UnsendableArgument, match=rf"argument {where}: it is a set\. Pass sorted\({where}\)"):
        check_arguments(TASK, args, kwargs, parameters=("order",))


def test_the_first_of_several_is_named() -> None:
    with pytest.raises(UnsendableArgument, match=r"argument a\["):
        check_arguments(TASK, (), {"a": [1, {2}, {3}], "b": {4}})


def test_nothing_is_refused_where_there_is_nothing() -> None:
    check_arguments(TASK, None, None)
    check_arguments(TASK, (), {})


def test_circles_and_depths_are_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(UnsendableArgument, match="nested too deeply, or contains itself"):
        check_arguments(TASK, (circle,), {})
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UnsendableArgument, match="nested too deeply"):
        check_arguments(TASK, (deep,), {})


def test_it_is_celerys_error_and_ours() -> None:
    with pytest.raises(UnsendableArgument) as caught:
        check_arguments(TASK, ({1},), {})
    for kind in (EncodeError, TypeError, ArgumentError, CeleriacError):
        assert isinstance(caught.value, kind)


def test_under_pickle_it_can_be_a_warning() -> None:
    with pytest.warns(UnsendableArgumentWarning, match="it is a lock"):
        check_arguments(TASK, (threading.Lock(),), {}, serializer="pickle", refuse=False)
    with pytest.raises(UnsendableArgument):
        check_arguments(TASK, (threading.Lock(),), {}, serializer="json", refuse=False)


def test_plain_data_costs_no_more_than_a_few_times_its_serialisation() -> None:
    """Which is C, and some 30 ns a value; a look that was not cheap would take a hundred times that."""
    values = [1, "x", None, 2.0] * 250
    looking = min(_seconds(lambda: check_arguments(TASK, values, {})) for _ in range(50))
    writing = min(_seconds(lambda: dumps(values, "json")) for _ in range(50))
    assert looking < 8 * writing


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


# --- libraries ---------------------------------------------------------------


def test_pydantic_models_need_a_declaration() -> None:
    pydantic = pytest.importorskip("pydantic")
    order = pydantic.create_model("Order", pk=(int, ...))(pk=1)
    assert re.search(
        r"a pydantic model, Order.*order\.model_dump\(mode=\"json\"\), or declare .*pydantic=True", problem(order)
    )
    assert accepted(order, serializer="pickle")


def test_pydantic_tasks_of_celery_send_their_models() -> None:
    """Celery has turned a declared model into plain data before the arguments are looked at."""
    pydantic = pytest.importorskip("pydantic")
    order = pydantic.create_model("Order", pk=(int, ...))
    seen: list[Any] = []

    class Looking(celery.Celery):  # type: ignore[misc]
        def send_task(self, name: str, args: Any = None, kwargs: Any = None, **options: Any) -> None:
            check_arguments(name, args, kwargs)
            seen.append(args)

    def pay(order: Any) -> None: ...

    pay.__annotations__["order"] = order
    Looking("shop", set_as_current=False).task(pydantic=True)(pay).delay(order(pk=1))
    assert list(seen[0]) == [{"pk": 1}]


def test_attrs_classes() -> None:
    attrs = pytest.importorskip("attrs")
    assert re.search(r"an attrs class, Box.*attrs\.asdict\(order\)", problem(attrs.make_class("Box", ["size"])(1)))


@pytest.fixture(scope="module")
def mapped() -> Any:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    orm = pytest.importorskip("sqlalchemy.orm")
    base = orm.declarative_base()

    class Customer(base):  # type: ignore[misc,valid-type]
        __tablename__ = "customer"
        number = sqlalchemy.Column("nr", sqlalchemy.Integer, primary_key=True)
        name = sqlalchemy.Column(sqlalchemy.String)

        def __repr__(self) -> str:
            raise AssertionError("repr was called")

    engine = sqlalchemy.create_engine("sqlite://")
    base.metadata.create_all(engine)
    yield types.SimpleNamespace(
        Customer=Customer, engine=engine, sqlalchemy=sqlalchemy, session=lambda: orm.Session(engine)
    )
    engine.dispose()


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_sqlalchemy_mapped_instances(mapped: Any, serializer: str) -> None:
    with mapped.session() as session:
        customer = mapped.Customer(name="Ada")
        assert "Pass order.number (it has no number yet: save it first)" in problem(customer, serializer=serializer)
        session.add(customer)
        session.flush()
        saved = problem(customer, serializer=serializer)
        assert re.search(
            r"a SQLAlchemy mapped instance, <\S*Customer number=\d+>\. Pass order\.number, not <\S*Customer>", saved
        )
        session.commit()
        expired = problem([customer], serializer=serializer)
        assert re.search(r"argument order\[0\]: .*<\S*Customer>\. Pass order\[0\]\.number, not <", expired)
    assert "Pass order.number" in problem(customer, serializer=serializer)  # detached: reading it would raise


def test_sqlalchemy_rows_queries_and_sessions(mapped: Any) -> None:
    with mapped.session() as session:
        session.add(mapped.Customer(name="Grace"))
        row = session.execute(mapped.sqlalchemy.select(mapped.Customer.name)).first()
        assert "a SQLAlchemy row. Pass list(order)" in problem(row)
        assert "a SQLAlchemy query" in problem(session.query(mapped.Customer))
        assert "an open connection or what belongs to one, Session" in problem(session)
        assert "a SQLAlchemy result" in problem(session.execute(mapped.sqlalchemy.text("select 1")))
        assert "an open connection or what belongs to one, Engine" in problem(mapped.engine)
        assert "an open connection or what belongs to one, Connection" in problem(session.connection())


@pytest.fixture(scope="module")
def django_models() -> Any:
    django = pytest.importorskip("django")
    from django.conf import settings

    if not settings.configured:
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
        settings.configure(
            DATABASES={"default": database}, INSTALLED_APPS=[], DEFAULT_AUTO_FIELD="django.db.models.AutoField"
        )
        django.setup()
    from django.db import models

    class Order(models.Model):  # type: ignore[misc]
        class Meta:
            app_label = "shop"

        def __str__(self) -> str:
            raise AssertionError("str was called")

    class Gift(Order):
        class Meta:
            app_label = "shop"

    class Article(models.Model):  # type: ignore[misc]
        code = models.CharField(primary_key=True, max_length=9)

        class Meta:
            app_label = "shop"

    return types.SimpleNamespace(Order=Order, Gift=Gift, Article=Article)


@pytest.fixture
def no_queries(django_models: Any) -> Iterator[None]:
    from django.db import connection

    def refuse(execute: Any, sql: str, *args: Any) -> None:
        raise AssertionError(f"a query was sent: {sql}")

    with connection.execute_wrapper(refuse):
        yield
    connection.close()


@pytest.mark.usefixtures("no_queries")
@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_django_models_and_querysets(django_models: Any, serializer: str) -> None:
    look = functools.partial(problem, serializer=serializer)
    saved = look(django_models.Order(pk=7))
    assert re.search(
        r"a model instance, <\S*Order pk=7>\. Pass order\.pk, not <\S*Order>, and load it in the task", saved
    )
    assert "Pass order.pk (it has no pk yet: save it first)" in look(django_models.Order())
    assert re.search(r"<\S*Gift pk=8>\. Pass order\.pk", look(django_models.Gift(order_ptr_id=8)))
    assert re.search(r"<\S*Article>\. Pass order\.pk, not", look(django_models.Article(code="A-1")))
    queryset = django_models.Order.objects.filter(pk__gt=1)
    assert 'a Django QuerySet. Pass list(order.values_list("pk", flat=True))' in look(queryset)
    assert "a Django manager" in look(django_models.Order.objects)
    assert re.search(
        r"argument order\['lines'\]\[0\]: .*Pass order\['lines'\]\[0\]\.pk",
        look({"lines": [django_models.Order(pk=1)]}),
    )


@pytest.mark.usefixtures("django_models")
def test_other_objects_of_django() -> None:
    from django.core.files.base import ContentFile
    from django.db import connection
    from django.http import HttpRequest
    from django.utils.functional import SimpleLazyObject, lazystr

    assert "an open file" in problem(ContentFile(b"x"))
    assert "a request. Pass what the task needs of it" in problem(HttpRequest())
    assert "an open connection" in problem(connection)
    assert "a lazy Django object, as request.user is. Pass order.pk" in problem(
        SimpleLazyObject(Hostile), serializer="pickle"
    )
    if any(getattr(kind, "__name__", "") == "Promise" for kind in kombu_json.textual_types):
        assert accepted(lazystr("Rechnung"))


def test_peewee_models() -> None:
    base = type("Model", (), {"__module__": "peewee", "_meta": None})
    said = problem(type("Order", (base,), {})(), serializer="pickle")
    assert "a peewee model instance, <Order>. Pass order.get_id(), and load it in the task" in said


def test_requests_sessions_and_redis_clients() -> None:
    requests = pytest.importorskip("requests")
    redis = pytest.importorskip("redis")
    with requests.Session() as session, closing(redis.Redis()) as client:
        assert "belongs to one, Session" in problem(session, serializer="pickle")
        assert "belongs to one, Redis" in problem(client, serializer="pickle")


def test_what_is_advised_works() -> None:
    """The expression in the advice, evaluated, is one that can be sent."""
    for value, _, _ in REFUSED_AS_JSON:
        expression = problem(value).partition(". Pass ")[2].split(", or ")[0].rpartition("its seconds, ")[2]
        try:
            tree = ast.parse(expression, mode="eval")
        except SyntaxError:
            continue
        result = eval(compile(tree, "advice", "eval"), {"order": value, "dataclasses": dataclasses})
        assert accepted(result)
    assert operator.index(len(REFUSED_AS_JSON)) > 30
