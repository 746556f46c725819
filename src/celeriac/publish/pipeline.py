"""A task's way out: what is told apart about it, the choice of its way, and the way itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from celeriac.core.message import KEY_HEADER
from celeriac.core.transactions import any_open, open_for, publishing_within
from celeriac.core.workflow_nodes import Sent
from celeriac.errors import CeleriacWarning, OptionError
from celeriac.publish.amqp import Outgoing
from celeriac.publish.batch import batch_for
from celeriac.publish.outgoing import settling
from celeriac.publish.ways.broker import Elsewhere, Straight, ToBroker
from celeriac.publish.ways.call import Call, WayOut
from celeriac.publish.ways.choice import Configured, Publish, Way, choose
from celeriac.publish.ways.many import Many
from celeriac.publish.ways.outbox import Spared, ToOutbox, publisher_within
from celeriac.publish.ways.store import ToBatch, ToLedger, ToStore
from celeriac.publish.workflows import apart, comes_after, opening
from celeriac.settings import capabilities_of
from celeriac.store.guest import Guest
from celeriac.transport.base import StoreTransport
from celeriac.transport.unavailable import publishing

#: Options that say what a task is, and not how it is called.
_DECLARED_ONLY = frozenset({"idempotency_key", "idempotency_ttl", "limits", "circuits"})


class Publishing:
    """How an app publishes; ``many`` is its way for many tasks at once.

    Args:
        app: the app.
        celerys: Celery's ``send_task``, bound to it.
    """

    def __init__(self, app: Any, celerys: Callable[..., Any]) -> None:
        self._app = app
        self._celerys = celerys
        self.many = Many(app, celerys, lambda: self.configured)
        self._warned_of: set[str] = set()
        self._ways: dict[Way, WayOut] = {
            Way.ELSEWHERE: Elsewhere(app, celerys),
            Way.BATCH: ToBatch(app, celerys),
            Way.STORE: ToStore(app, celerys),
            Way.LEDGER: ToLedger(app, celerys),
            Way.STRAIGHT: Straight(app, celerys),
            Way.OUTBOX: ToOutbox(app, celerys),
            Way.BROKER: ToBroker(app, celerys),
        }

    def send(self, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """As ``app.send_task``."""
        _check_options(name, options)
        task = options.get("task_type") or self._app._tasks.get(name)  # noqa: SLF001  # `tasks` would finalize the app
        call = Call(name, task, args, kwargs, options)
        opened = opening()
        if not options.get("task_id") and (opened is not None or comes_after()):
            # All tasks of a canvas have a name before: this one is sent beside it, such as by a task class's `apply_async`.
            with apart():
                return self.send(name, args, kwargs, options)
        if opened is not None and opened.record is None:
            opened.begins_with([Sent(str(options["task_id"]), name, options, args, kwargs)])
        if (call.keyed or call.limited) and not self._app.has_ledger:
            self._warn_of_what_nobody_keeps(name, call)
        with publishing():
            chosen = choose(self.configured, self._facts(call))
            way = self._ways[chosen.way]
            return (Spared(self._app, self._celerys, way) if chosen.spared else way).send(call)

    @property
    def configured(self) -> Configured:
        """What the app has now."""
        app = self._app
        if app.has_store:
            return Configured(store=True, local_outbox=app.local_outbox is not None)
        beside = app.ledger_beside is not None
        return Configured(False, beside, beside and self._by_the_ledger, app.local_outbox is not None)

    @property
    def _by_the_ledger(self) -> bool:
        switch = self._app.own_settings.outbox
        unsafe = capabilities_of(self._app.conf.broker_url).hands_out_unsafely
        return bool(self._app.defaults == "safe" and unsafe if switch is None else switch)

    def _facts(self, call: Call) -> Publish:
        options = call.options
        return Publish(
            elsewhere=bool(options.get("connection")) or _leads_elsewhere(self._app, options.get("producer")),
            batched=batch_for(self._app) is not None,
            # Asked in this order, an app's store is opened for no transaction that is not there.
            transaction=any_open() and open_for(_transacted(self._app)) is not None,
            settling=settling() is not None,
            known=bool(
                call.keyed
                or call.limited
                or options.get("task_id")
                or KEY_HEADER in (options.get("headers") or ())
                # Which queue it goes to is not known yet.
                or (self._app.ledger_beside and self._app.amqp.queues.limited)
            ),
        )

    @contextmanager
    def within(self, connection: object) -> Iterator[None]:
        """As ``app.transaction``."""
        with publishing_within(_transacted(self._app), publisher_within(self._app, Guest(connection))):
            yield

    def _warn_of_what_nobody_keeps(self, name: str, call: Call) -> None:
        if name in self._warned_of:
            return
        self._warned_of.add(name)
        scheme = capabilities_of(self._app.conf.broker_url).scheme
        option, lost = ("idempotency_key", "keys, so what is published twice runs twice")
        if not call.keyed:
            option, lost = ("limits", "limits, so everything starts at once")
        warnings.warn(
            f"task {name}, option {option}: a {scheme} broker keeps no {lost}. "
            'Name a ledger that does (ledger="postgresql://…"), use a broker of celeriac\'s own (sqlite:///…), or leave '
            "the option out",
            CeleriacWarning,
            stacklevel=3,
        )


def _check_options(name: str, options: dict[str, Any]) -> None:
    for option in _DECLARED_ONLY & options.keys():
        problem = "it belongs to the task: declare it where the task is; a key may be a template over its arguments"
        raise OptionError(name, option, f"{options[option]!r} is given for one call, and {problem}")


def _transacted(app: Any) -> object:
    """What a transaction is open for: the store, or an app that has none."""
    return app.store if app.has_ledger else app


def _leads_elsewhere(app: Any, producer: Any) -> bool:
    """Whether a producer publishes to another broker; a group hands its members one of this app's own."""
    if producer is None or isinstance(producer, Outgoing):
        return False
    # Asked first, for a store is opened to say where it is, and may be away.
    if not _addresses(producer.connection).isdisjoint(_addresses(app.pool.connection)):
        return False
    transport = producer.connection.transport
    same = app.has_store and isinstance(transport, StoreTransport) and transport.store.location == app.store.location
    return not same


def _addresses(connection: Any) -> set[str]:
    """Of a broker with several hosts all of them: a connection may have gone over to the next."""
    return {connection.as_uri(include_password=True), *connection.alt}
