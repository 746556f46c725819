"""The app: Celery's own, with celeriac's rooms put in their places."""

from __future__ import annotations

from typing import Any, Literal

import celery
from celery.app import backends
from kombu.utils.objects import cached_property

from celeriac.execution.room import Room
from celeriac.execution.settler import Settler
from celeriac.execution.task import mixed
from celeriac.publish import outgoing
from celeriac.publish.amqp import Outgoing
from celeriac.publish.keys import DEFAULT_TTL, with_key
from celeriac.results import chords
from celeriac.store.protocols import Store
from celeriac.store.registry import open_sqlite
from celeriac.transport import sqlite as sqlite_transport
from celeriac.transport.base import StoreTransport

sqlite_transport.register()
backends.BACKEND_ALIASES["sqlite"] = "celeriac.results.backend:LedgerBackend"
StoreTransport.send = staticmethod(outgoing.send)  # type: ignore[method-assign]  # the seam between the rooms


class Celery(celery.Celery):  # type: ignore[misc]  # Celery has no types
    """A Celery app that loses nothing and repeats nothing."""

    amqp_cls = "celeriac.publish.amqp:AMQP"
    control_cls = "celeriac.worker.control:Control"

    def __init__(self, main: str | None = None, *, defaults: Literal["safe", "celery"] = "safe", **kwargs: Any) -> None:
        self.defaults = defaults
        super().__init__(main, **kwargs)
        self.steps["worker"].add("celeriac.worker.maintenance:Maintenance")

    @property
    def retries_by_default(self) -> bool:
        return self.defaults == "safe"

    # -- configuration

    def _load_config(self) -> Any:
        conf = super()._load_config()
        url = conf.broker_url or ""
        if url.startswith("sqlite:"):
            safe = {
                "result_backend": url,
                "task_acks_late": True,
                "task_reject_on_worker_lost": True,
                "worker_consumer": "celeriac.worker.consumer:Consumer",
                "worker_prefetch_multiplier": 1,
                "broker_connection_retry_on_startup": True,
            }
            conf.maps.insert(len(conf.maps) - 1, safe)
            conf.defaults.insert(len(conf.defaults) - 1, safe)
        return conf

    # -- tasks

    def create_task_cls(self) -> Any:
        base = mixed(celery.app.base.symbol_by_name(self.task_cls))
        return self.subclass_with_self(base, name="Task", attribute="_app", keep_reduce=True, abstract=True)

    def _task_from_fun(self, fun: Any, name: str | None = None, base: Any = None, **options: Any) -> Any:
        return super()._task_from_fun(fun, name=name, base=mixed(base) if base else None, **options)

    # -- rooms

    @cached_property
    def has_store(self) -> bool:
        """Whether the broker is one of celeriac's own stores."""
        return str(self.conf.broker_url or "").startswith("sqlite:")

    @cached_property
    def store(self) -> Store:
        return open_sqlite(self.conf.broker_url)

    @cached_property
    def execution_room(self) -> Room:
        settler = Settler(self.store, lambda group_id: chords.dispatch(self.backend, group_id))
        StoreTransport.on_idle.append(settler.flush)
        return Room(self.store, settler)

    # -- publishing

    def send_task(self, name: str, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        if not self.has_store or options.get("producer") or options.get("connection"):
            return super().send_task(name, args, kwargs, **options)
        outgoing = Outgoing(self.store)
        task = options.get("task_type") or self._tasks.get(name)
        options = with_key(task, args, kwargs, options, DEFAULT_TTL)
        result = super().send_task(name, args, kwargs, **{**options, "producer": outgoing})
        published = outgoing.published
        if published is not None and published.duplicate_of:
            return self.AsyncResult(published.duplicate_of)
        return result
