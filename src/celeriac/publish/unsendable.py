"""What of a Python program cannot travel in a message, and what to send in its place.

Everything is told by the type of a value, and nothing is imported. No attribute of a model instance is read that could
load it from its database, and its `repr` is never called: both can run queries, or fail.
"""

from __future__ import annotations

import dataclasses
import io
import types
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, NamedTuple


class Remedy(NamedTuple):
    """`what` the value is, and what to `pass_` instead; `{0}` stands for the expression that names the argument."""

    what: str
    pass_: str


#: Tells whether a value is of this sort, and which remedy applies.
Detector = Callable[[Any], "Remedy | None"]


def beyond_any_serializer(value: Any) -> Remedy | None:
    """What no message should carry: stale where it can be pickled at all, and bound to this process otherwise."""
    return _first(_ANY_SERIALIZER, value)


def beyond_json(value: Any) -> Remedy:
    """What pickle could carry and JSON cannot."""
    return _first(_JSON, value) or _named(value, _BY_NAME) or _unknown(value)


def _first(detectors: tuple[Detector, ...], value: Any) -> Remedy | None:
    return next((remedy for detect in detectors if (remedy := detect(value)) is not None), None)


def _names(value: Any) -> Iterator[str]:
    return (f"{base.__module__}.{base.__qualname__}" for base in type(value).__mro__)


def _has(value: Any, *names: str) -> bool:
    """Whether the type has all these attributes, without running any descriptor."""
    bases = type(value).__mro__
    return all(any(name in vars(base) for base in bases) for name in names)


def _named(value: Any, table: dict[str, Remedy]) -> Remedy | None:
    return next((table[name] for name in _names(value) if name in table), None)


def type_name(value: Any) -> str:
    return type(value).__qualname__


# --- Beyond any serializer ---------------------------------------------------


def _model(value: Any) -> Remedy | None:
    """Django's models; Tortoise's and mongoengine's look the same."""
    if not _has(value, "_meta", "pk"):
        return None
    return _row_of_a_table(value, "model instance", "pk", _loaded(value, _django_key(value)))


def _mapped(value: Any) -> Remedy | None:
    """SQLAlchemy's mapped instances, SQLModel's too."""
    if not _has(value, "_sa_class_manager"):
        return None
    attribute = _sqlalchemy_key(value)
    # Without an identity it was never flushed; with one, its key may be expired and not in memory.
    unsaved = getattr(_loaded(value, "_sa_instance_state"), "key", ...) is None
    return _row_of_a_table(
        value, "SQLAlchemy mapped instance", attribute, None if unsaved else _loaded(value, attribute)
    )


def _peewee(value: Any) -> Remedy | None:
    if "peewee.Model" not in _names(value):
        return None
    return Remedy(f"a peewee model instance, <{type_name(value)}>", f"{{0}}.get_id(), and {_LOAD}")


_LOAD = "load it in the task: what is sent along would be stale by the time it runs"


def _row_of_a_table(value: Any, what: str, attribute: str, key: object) -> Remedy:
    shown = f" {attribute}={key}" if isinstance(key, int) else ""
    unsaved = f" (it has no {attribute} yet: save it first)" if key is None else ""
    return Remedy(
        f"a {what}, <{type_name(value)}{shown}>", f"{{0}}.{attribute}{unsaved}, not <{type_name(value)}>, and {_LOAD}"
    )


def _loaded(value: Any, attribute: str) -> object:
    """What is already in memory, else something that says nothing."""
    return getattr(value, "__dict__", {}).get(attribute, ...)


def _django_key(value: Any) -> str:
    meta = type(value)._meta  # noqa: SLF001  a public name, in Django
    return str(getattr(getattr(meta, "pk", None), "attname", ""))


def _sqlalchemy_key(value: Any) -> str:
    try:
        mapper = type(value).__mapper__
        return str(mapper.get_property_by_column(mapper.primary_key[0]).key)
    except Exception:  # noqa: BLE001  whatever a mapping raises, only the wording depends on it
        return "id"


def _lazy_rows(value: Any) -> Remedy | None:
    return _named(value, _LAZY_ROWS)


_LAZY_ROWS = {
    "django.db.models.query.QuerySet": Remedy("a Django QuerySet", 'list({0}.values_list("pk", flat=True))'),
    "django.db.models.manager.BaseManager": Remedy("a Django manager", "the primary keys of the rows the task is for"),
    "django.utils.functional.LazyObject": Remedy(
        "a lazy Django object, as request.user is", "{0}.pk, and load it in the task"
    ),
    "sqlalchemy.orm.query.Query": Remedy("a SQLAlchemy query", "the primary keys of its rows"),
    "sqlalchemy.engine.result.Result": Remedy("a SQLAlchemy result", "a list of plain values from its rows"),
}


def _file(value: Any) -> Remedy | None:
    if isinstance(value, io.StringIO):
        return Remedy("text held in memory as a file", "its text, {0}.getvalue(), or save it and pass the path")
    if isinstance(value, io.BytesIO):
        return Remedy("bytes held in memory as a file", "its bytes, {0}.getvalue(), or save them and pass the path")
    wrapped = any(name.startswith(("tempfile.", "django.core.files.")) for name in _names(value))
    if isinstance(value, io.IOBase) or wrapped:
        return Remedy("an open file", "its path, and open it in the task, or its contents")
    return None


def _connection(value: Any) -> Remedy | None:
    """By the DB-API's methods, and the clients' names: what their instances do is not needed."""
    is_dbapi = _has(value, "cursor", "commit") or _has(value, "execute", "fetchone")
    if is_dbapi or any(name.startswith(_CLIENTS) for name in _names(value)):
        return Remedy(
            f"an open connection or what belongs to one, {type_name(value)}", "nothing, and open one in the task"
        )
    return None


_CLIENTS = (
    "socket.socket",
    "ssl.SSLSocket",
    "sqlalchemy.engine.base.",
    "sqlalchemy.orm.session.",
    "sqlalchemy.ext.asyncio.",
    "sqlalchemy.orm.scoping.",
    "django.db.backends.",
    "django.utils.connection.",
    "redis.client.",
    "redis.asyncio.client.",
    "pymongo.synchronous.",
    "requests.sessions.Session",
    "httpx.Client",
    "httpx.AsyncClient",
    "aiohttp.client.ClientSession",
    "asyncpg.connection.",
    "asyncpg.pool.",
)


_PROCESS_BOUND = frozenset(
    {"_thread", "threading", "_asyncio", "asyncio", "multiprocessing", "_multiprocessing", "concurrent"}
)


def _of_this_process(value: Any) -> Remedy | None:
    """Locks, threads, queues, events, futures. Their exceptions are data."""
    if type(value).__module__.partition(".")[0] not in _PROCESS_BOUND or isinstance(value, BaseException):
        return None
    instead = "nothing, and make one in the task; to lock across workers use a row or a key that all of them can reach"
    return Remedy(f"a {type_name(value)}, which means something in this process only", instead)


def _running(value: Any) -> Remedy | None:
    if isinstance(value, (types.CoroutineType, types.AsyncGeneratorType)):
        return Remedy("a coroutine", "its result: await it first")
    if isinstance(value, types.GeneratorType):
        return Remedy("a generator", "list({0})")
    return None


def _nameless(value: Any) -> Remedy | None:
    """Pickle sends functions by their name."""
    if isinstance(value, types.FunctionType) and "<" in value.__qualname__:
        return Remedy(
            f"a function that only exists here, {value.__qualname__}", "data, and have the task call the function"
        )
    return None


_ANY_SERIALIZER: tuple[Detector, ...] = (
    _model,
    _mapped,
    _peewee,
    _lazy_rows,
    _file,
    _connection,
    _of_this_process,
    _running,
    _nameless,
)

# --- Beyond JSON -------------------------------------------------------------


def _code(value: Any) -> Remedy | None:
    if isinstance(value, type):
        return Remedy(f"a class, {value.__qualname__}", "its name")
    # A task that was just declared is still a proxy, which does not show what it stands for without evaluating it.
    if _has(value, "delay", "apply_async") or "celery.local.PromiseProxy" in _names(value):
        return Remedy("a task", "its signature, {0}.s(), or its name, {0}.name")
    if callable(value) and isinstance(value, (types.FunctionType, types.MethodType, types.BuiltinFunctionType)):
        return Remedy(f"a function, {value.__qualname__}", "its name, or make it a task and pass its signature")
    return Remedy("a module", "its name, {0}.__name__") if isinstance(value, types.ModuleType) else None


def _data(value: Any) -> Remedy | None:
    if isinstance(value, Enum):
        return Remedy(f"a member of {type_name(value)}", "{0}.value")
    if _has(value, "model_dump", "model_fields"):
        declare = f"declare the task with pydantic=True and its parameter as {type_name(value)}"
        return Remedy(f"a pydantic model, {type_name(value)}", f'{{0}}.model_dump(mode="json"), or {declare}')
    if dataclasses.is_dataclass(value):
        return Remedy(f"a dataclass, {type_name(value)}", "dataclasses.asdict({0})")
    if _has(value, "__fspath__"):
        return Remedy("a path", "str({0})")
    if _has(value, "__attrs_attrs__"):
        return Remedy(f"an attrs class, {type_name(value)}", "attrs.asdict({0})")
    return None


def _several(value: Any) -> Remedy | None:
    if isinstance(value, (set, frozenset)):
        return Remedy(f"a {type_name(value)}", "sorted({0}), or list({0})")
    if _has(value, "__next__") or isinstance(value, (range, types.MappingProxyType)):
        return Remedy(f"a {type_name(value)}", "list({0})")
    return Remedy("an exception", "str({0})") if isinstance(value, BaseException) else None


_JSON: tuple[Detector, ...] = (_code, _data, _several)

_BY_NAME = {
    "datetime.timedelta": Remedy("a timedelta", "its seconds, {0}.total_seconds()"),
    "datetime.tzinfo": Remedy("a time zone", "its name, str({0})"),
    "builtins.bytearray": Remedy("a bytearray", "bytes({0})"),
    "builtins.memoryview": Remedy("a memoryview", "bytes({0})"),
    "builtins.complex": Remedy("a complex number", "[{0}.real, {0}.imag]"),
    "builtins.dict_keys": Remedy("a view of a mapping", "list({0})"),
    "builtins.dict_values": Remedy("a view of a mapping", "list({0})"),
    "builtins.dict_items": Remedy("a view of a mapping", "list({0})"),
    "collections.deque": Remedy("a deque", "list({0})"),
    "collections.UserDict": Remedy("a UserDict", "dict({0})"),
    "fractions.Fraction": Remedy("a Fraction", "str({0})"),
    "re.Pattern": Remedy("a compiled pattern", "{0}.pattern"),
    "ipaddress._BaseAddress": Remedy("an IP address", "str({0})"),
    "celery.result.ResultBase": Remedy("the result of a task", "its id, {0}.id, or link the tasks in a chain"),
    "sqlalchemy.engine.row.Row": Remedy("a SQLAlchemy row", "list({0}), or dict({0}._mapping)"),
    "django.http.request.HttpRequest": Remedy("a request", "what the task needs of it, such as {0}.user.pk"),
    "werkzeug.wrappers.request.Request": Remedy("a request", "what the task needs of it, such as {0}.args"),
    "starlette.requests.HTTPConnection": Remedy("a request", "what the task needs of it, such as {0}.path_params"),
    "numpy.generic": Remedy("a NumPy scalar", "{0}.item()"),
    "numpy.ndarray": Remedy("a NumPy array", "{0}.tolist(), or store a large one and pass where"),
    "pandas.core.frame.DataFrame": Remedy(
        "a DataFrame", "where it is stored, or {0}.to_dict('records') for a small one"
    ),
    "pandas.core.series.Series": Remedy("a Series", "where it is stored, or {0}.tolist() for a small one"),
}


def _unknown(value: Any) -> Remedy:
    taught = "give its class a __json__ method, or register it with kombu.utils.json.register_type"
    return Remedy(
        f"an object of type {type(value).__module__}.{type_name(value)}", f"plain data made from it; or {taught}"
    )
