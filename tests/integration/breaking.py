"""Points at which a worker is killed, or its store says no, each where that would do harm of its own."""

from __future__ import annotations

import functools
import importlib
import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from celeriac.errors import StoreUnavailable
from celeriac.store.redis.scripts import SCRIPTS
from celeriac.worker.begun import _Outbox


class Point(NamedTuple):
    """Before or after which call the whole worker, or the calling process alone, dies."""

    module: str
    name: str
    after: bool
    alone: bool = False
    #: The call has this among its arguments.
    of: object = None


def _keeper() -> str:
    """The URL of what keeps the ledger."""
    beside = json.loads(os.environ.get("SITE_SETTINGS", "{}")).get("celeriac_ledger")
    return str(beside or os.environ.get("SITE_BROKER", ""))


_STORES = {
    "postgres": "celeriac.store.postgres:PostgresStore",
    "postgresql": "celeriac.store.postgres:PostgresStore",
    "redis+streams": "celeriac.store.redis:RedisStore",
    "sqlite": "celeriac.store.sqlite:SQLiteStore",
}
#: The store of this worker.
STORE = _STORES.get(_keeper().partition(":")[0], _STORES["sqlite"])
#: Half of the transaction is written and not committed.
IN_TRANSACTION = Point("celeriac.store.relational.ledger", "write_record", after=True)
if "redis" in STORE:
    # The script is on its way, and nobody reads its answer.
    IN_TRANSACTION = Point(
        "celeriac.store.redis.session:Session", "send", after=True, of=SCRIPTS["settling.settle"].sha
    )
POINTS = {
    # Messages are leased, none was handed to the pool.
    "claimed": Point(STORE, "claim", after=True),
    # Bodies and their effects are over, nothing of them is written.
    "settling": Point(STORE, "settle", after=False),
    "in-transaction": IN_TRANSACTION,
    # It is committed, and the parent does not know.
    "settled": Point(STORE, "settle", after=True),
    # The parent knows, and has not freed the slot.
    "acking": Point("celeriac.transport.qos:QoS", "ack", after=False),
    # The last member has settled, the chord's body is not sent.
    "joining": Point(STORE, "close_chord", after=False),
    # The chord's body is sent, the sender does not know.
    "joined": Point(STORE, "close_chord", after=True),
    # Beside another broker: it is in the ledger, and the worker does not know.
    "adopted": Point(STORE, "adopt", after=True),
    # The broker has what the ledger sent, and the ledger does not know.
    "relayed": Point(STORE, "relayed", after=False),
    # The same, for one pool process.
    "child-settling": Point(STORE, "settle", after=False, alone=True),
    "child-settled": Point(STORE, "settle", after=True, alone=True),
}


#: What is asked of the store in each part of a worker; the store is not available for the first so many calls.
REFUSALS = ("claim", "take_key", "start", "settle", "chord_parts", "close_chord", "extend", "release", "listen")
REFUSED = 3


#: A pool's process stands still between its word that a job has ended and its next look for one, each time.
LINGERING = "lingering"
LINGERS = 0.0005


def install(point: str, broken: str) -> None:
    """Die at `point` once; the file `broken` says that it has happened."""
    if point == LINGERING:
        _linger()
        return
    if point in REFUSALS:
        _refuse(point, broken)
        return
    target = POINTS[point]
    module, _, cls = target.module.partition(":")
    owner: Any = importlib.import_module(module)
    owner = getattr(owner, cls) if cls else owner
    setattr(owner, target.name, _breaking(getattr(owner, target.name), target, broken))


def _breaking(function: Callable[..., Any], point: Point, broken: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if point.of is not None and point.of not in args:
            return function(*args, **kwargs)
        if not point.after:
            _die(point, broken)
        answer = function(*args, **kwargs)
        # An empty claim is none.
        if point.after and (point.name != "claim" or answer):
            _die(point, broken)
        return answer

    return call


def _die(point: Point, broken: str) -> None:
    if not _first(broken):
        return
    if point.alone:
        os.kill(os.getpid(), signal.SIGKILL)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _linger() -> None:
    put = _Outbox.put

    @functools.wraps(put)
    def call(outbox: _Outbox, message: Any) -> None:
        put(outbox, message)
        time.sleep(LINGERS)

    setattr(_Outbox, "put", call)  # noqa: B010  # a breakage


def _refuse(name: str, broken: str) -> None:
    module, _, cls = STORE.partition(":")
    kind: Any = getattr(importlib.import_module(module), cls)
    method = getattr(kind, name)

    @functools.wraps(method)
    def call(store: Any, *args: Any, **kwargs: Any) -> Any:
        for number in range(REFUSED):
            if _first(f"{broken}-{number}"):
                raise StoreUnavailable(store.location, f"{name} refused")
        return method(store, *args, **kwargs)

    setattr(kind, name, call)


def _first(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
