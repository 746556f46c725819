"""The app: Celery's own, with celeriac's rooms put in their places."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import celery
from celery._state import connect_on_app_finalize
from celery.app import backends
from kombu.utils.imports import symbol_by_name

from celeriac.core.circuit import Circuit
from celeriac.desk.deadletters import DeadLetters
from celeriac.desk.failures import Failures
from celeriac.desk.limits import Limits
from celeriac.desk.pauses import Pauses
from celeriac.desk.waiting import Waiting
from celeriac.errors import OptionError, SettingsError
from celeriac.execution.circuits import Circuits, Guard
from celeriac.execution.opening import open_room
from celeriac.execution.rest import add_rest_task
from celeriac.execution.room import Room
from celeriac.execution.task import awaited, mixed
from celeriac.publish import outgoing
from celeriac.publish.amqp import Outgoing
from celeriac.publish.batch import Batch
from celeriac.publish.canvas import take_canvases_over
from celeriac.publish.local import LocalOutbox
from celeriac.publish.mending import mend_canvases
from celeriac.publish.pipeline import Publishing
from celeriac.publish.routes import check_routes
from celeriac.results import chords
from celeriac.settings import (
    OwnSettings,
    Policy,
    absolute_url,
    capabilities_of,
    check_option_names,
    is_redis_store,
    is_sqlite,
    ledger_beside,
    read_own,
    shown_url,
    sqlite_url,
    undeclared_queue,
)
from celeriac.settings.following import Following, user_sets
from celeriac.settings.names import known_options
from celeriac.store.protocols import Store
from celeriac.store.registry import open_store
from celeriac.store.tables import Outside
from celeriac.store.whereabouts import warn_of_another
from celeriac.transport import postgres as postgres_transport
from celeriac.transport import redis as redis_transport
from celeriac.transport import sqlite as sqlite_transport
from celeriac.transport.base import StoreTransport
from celeriac.transport.leases import LeaseKeeper, keeper_of
from celeriac.transport.rabbitmq import client as amqp_client
from celeriac.transport.unavailable import publishing
from celeriac.workflow import Workflows

# kombu has no entry point for transports, and Celery's for backends is missing
# where celeriac is run from a checkout.
sqlite_transport.register()
postgres_transport.register()
amqp_client.register()
redis_transport.register()
for _scheme in ("sqlite", "postgresql", "postgres", *redis_transport.SCHEMES):
    backends.BACKEND_ALIASES[_scheme] = "celeriac.results.backend:LedgerBackend"
take_canvases_over()
mend_canvases()
StoreTransport.send = staticmethod(outgoing.send)  # type: ignore[method-assign]  # the seam between the rooms

#: What our workers do beside running tasks.
_STEPS = (
    "celeriac.worker.maintenance:Maintenance",
    "celeriac.worker.outboxes:Outboxes",
    "celeriac.worker.relay:Relay",
    "celeriac.worker.grace:Grace",
    "celeriac.worker.ending:Ending",
)
_CONSUMER_STEPS = ("celeriac.worker.given_up:GivenUp", "celeriac.worker.pausing:PausedQueues")
#: What follows from settings, and what belongs to the broker that is configured.
_DERIVED = ("own_settings", "local_outbox")
_BROKERS_ROOMS = ("has_store", "ledger_beside", "store", "keeper", "execution_room")


class Celery(celery.Celery):  # type: ignore[misc]  # Celery has no types
    """A Celery app that loses nothing and repeats nothing.

    Args:
        main: as Celery's.
        defaults: ``safe`` sets what production needs; ``celery`` observes and
            warns, for the first day of an existing project.
        ledger: the URL of a store that keeps keys, results, history and dead
            letters beside a broker that does not, such as Redis or RabbitMQ.
        retries: what a task's ``retries=`` may be, for all that declare none.
        **options: as Celery's; every keyword keeps its meaning.

    Raises:
        SettingsError: when the configuration is first read and cannot be meant.
    """

    amqp_cls = "celeriac.publish.amqp:AMQP"
    control_cls = "celeriac.worker.control:Control"

    def __init__(
        self,
        main: str | None = None,
        *,
        defaults: Policy = "safe",
        ledger: str | None = None,
        retries: Any = None,
        **options: Any,
    ) -> None:
        if defaults not in ("safe", "celery"):
            raise SettingsError("defaults", f'{defaults!r} is neither "safe" nor "celery"')
        self.defaults: Policy = defaults
        self._following = Following(self, self._settings_changed)
        self._publishing = Publishing(self, super().send_task)
        self._outboxes: list[str] = []
        self.circuits = Circuits(self)
        if ledger is not None:
            options["celeriac_ledger"] = ledger
        if retries is not None:
            options["celeriac_retries"] = retries
        super().__init__(main, **options)
        self.steps["worker"].update(_STEPS)
        self.steps["consumer"].update(_CONSUMER_STEPS)

    def __reduce_keys__(self) -> dict[str, Any]:
        return {**super().__reduce_keys__(), "defaults": self.defaults}

    # -- configuration

    def _load_config(self) -> Any:
        return self._following.load(super()._load_config())

    def _settings_changed(self, leads_elsewhere: bool) -> None:
        for derived in (*_DERIVED, *(_BROKERS_ROOMS if leads_elsewhere else ())):
            self.__dict__.pop(derived, None)
        if leads_elsewhere:
            self._forget_connections()

    def _forget_connections(self) -> None:
        """Those that Celery keeps lead to the broker of before."""
        self._pool = self._backend_cache = None
        self._local = threading.local()  # each thread's backend
        if "amqp" in self.__dict__:
            self.amqp._producer_pool = None  # noqa: SLF001  # as Celery does after a fork

    def check_settings(self) -> None:
        """Refuse names nobody knows.

        Raises:
            SettingsError: naming the nearest one that is known.
        """
        self._following.check(self.conf)

    def check_routes(self) -> None:
        """Refuse what leads to a queue that ``task_queues`` does not declare: routes, tasks' options, Beat's entries.

        Where no queues are declared, or ``task_create_missing_queues`` is set, any name will do. Workers and Beat ask
        this when they start.

        Raises:
            UndeclaredQueue: naming what leads there, and the nearest queue; under ``defaults="celery"`` it is a warning.
            QueueOptionError: the key of a queue's limit names an argument that one of its tasks does not have.
        """
        self.finalize()
        check_routes(self)

    def user_sets(self, setting: str) -> bool:
        """Whether somebody other than celeriac and Celery gave this setting."""
        return user_sets(self.conf, setting)

    @cached_property
    def own_settings(self) -> OwnSettings:
        """The settings of celeriac's own, read once."""
        own = read_own(self.conf)
        declared = own.declared_retries()
        for queue in declared.queues if declared is not None else ():
            if unknown := undeclared_queue(self.conf, queue):
                raise SettingsError("celeriac_retries", unknown)
        return own

    @property
    def declares_queues(self) -> bool:
        """Whether the queues on the broker, which is RabbitMQ, are of celeriac's kind."""
        return self._following.declares_queues

    @property
    def delays_natively(self) -> bool:
        """Whether Celery would have the broker hold what is not yet due."""
        return self._following.delays_natively

    # -- tasks

    def finalize(self, auto: bool = False) -> None:
        """As Celery's; settings that are refused leave the app as it was, with its tasks still to be bound."""
        if not self.finalized:
            _ = self.conf.broker_url
        super().finalize(auto=auto)

    def create_task_cls(self) -> Any:
        # Whatever class it is: Django's fix-up puts its own here.
        base = mixed(symbol_by_name(self.task_cls))
        return self.subclass_with_self(base, name="Task", attribute="_app", keep_reduce=True, abstract=True)

    def _task_from_fun(self, fun: Any, name: str | None = None, base: Any = None, **options: Any) -> Any:
        chosen = mixed(base) if base else self.Task
        full_name = name or self.gen_task_name(fun.__name__, fun.__module__)
        check_option_names(full_name, options, known_options(chosen), self.defaults)
        if options.get("pydantic") and inspect.iscoroutinefunction(fun):
            fun = awaited(fun)  # what Celery wraps it in to read and write models calls it like any other
        new = full_name not in self._tasks
        try:
            return super()._task_from_fun(fun, name=name, base=chosen, **options)
        except OptionError:
            # Celery has entered it before it binds it, and would take it for bound at the next call.
            if new:
                self._tasks.pop(full_name, None)
            raise

    def register_task(self, task: Any, **options: Any) -> Any:
        instance = task() if isinstance(task, type) else task
        instance.__class__ = mixed(type(instance))
        return super().register_task(instance, **options)

    # -- rooms

    @cached_property
    def Worker(self) -> Any:  # noqa: N802  # Celery's name for its worker class
        """The worker program's class."""
        return self.subclass_with_self("celeriac.worker.worker:Worker")

    @cached_property
    def AsyncResult(self) -> Any:  # noqa: N802  # Celery's name for what `delay()` returns
        """The class of results."""
        return self.subclass_with_self("celeriac.results.result:AsyncResult")

    @cached_property
    def Beat(self) -> Any:  # noqa: N802  # Celery's name for its class
        """The class of the program that sends what is due."""
        return self.subclass_with_self("celeriac.worker.beat:Beat")

    @cached_property
    def has_store(self) -> bool:
        """Whether the broker is one of celeriac's own stores."""
        return capabilities_of(self.conf.broker_url).ours

    @cached_property
    def ledger_beside(self) -> str | None:
        """The URL of the ledger beside a broker that is no store; None where the broker keeps it, or nobody does."""
        return ledger_beside(self.conf, self.conf.broker_url)

    @property
    def has_ledger(self) -> bool:
        """Whether a store knows what is delivered and what became of it: the broker itself, or one beside it."""
        return self.has_store or self.ledger_beside is not None

    @property
    def keeps_workflows(self) -> bool:
        """Whether what becomes of a canvas is kept."""
        return self.has_ledger and not self.conf.task_always_eager

    @property
    def workflows(self) -> Workflows:
        """The canvases that were sent: looked at, waited for, resumed, cancelled."""
        return Workflows(self)

    @cached_property
    def store(self) -> Store:
        """The open store that keeps the ledger, and the messages too where it is the broker.

        Raises:
            SettingsError: there is none: the broker is not one of ours, and no ledger is named beside it.
            StoreError: the file cannot be used; naming it.
        """
        if not self.has_ledger:
            broker = shown_url(self.conf.broker_url or "?")
            raise SettingsError(
                "celeriac_ledger",
                f"the broker is {broker}, which keeps no ledger, and none is named beside it: nothing can be looked at, limited or "
                'paused there. Name one (ledger="postgresql://…"), or use a broker of celeriac\'s own (sqlite:///…)',
            )
        url = str(self.ledger_beside or self.conf.broker_url)
        if is_sqlite(url):
            warn_of_another(self.main or "", url, sqlite_url(url).path)
        return open_store(url, timeout=self.own_settings.publish_timeout)

    @property
    def dead_letters(self) -> DeadLetters:
        """The tasks that gave up: looked at, redriven, acknowledged."""
        return DeadLetters(self)

    @property
    def failures(self) -> Failures:
        """The failures of which nobody has heard."""
        return Failures(self)

    def _get_backend(self) -> Any:
        named = self.backend_cls or self.conf.result_backend
        if not is_redis_store(named):
            return super()._get_backend()
        # Celery would take what is before the + for the backend.
        backend, _ = backends.by_url(redis_transport.hyphened(named), self.loader)
        return backend(app=self, url=named)

    @cached_property
    def keeper(self) -> LeaseKeeper:
        """Renews what this process holds."""
        options, own = self.conf.broker_transport_options or {}, self.own_settings
        keeper = keeper_of(self.store)
        # The transport may have made it before the settings were known.
        keeper.lease = float(options.get("lease", own.lease_seconds))
        keeper.renew = float(options.get("renew", own.renew_seconds))
        return keeper

    @cached_property
    def execution_room(self) -> Room:
        """What the pipeline needs of this app."""
        return open_room(self, lambda group_id: chords.dispatch(self.backend, group_id))

    @property
    def limits(self) -> Limits:
        """What runs and waits under the limits of tasks, over all workers."""
        return Limits(self)

    @property
    def pauses(self) -> Pauses:
        """What is paused, for all workers."""
        return Pauses(self)

    @property
    def waiting(self) -> Waiting:
        """What waits, to be found and revoked by what it is."""
        return Waiting(self)

    # -- publishing

    def send_task(self, name: str, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """As Celery's.

        Raises:
            OptionError: one that only a declaration may give.
            UnsendableArgument: an argument cannot, or should not, travel; with the remedy.
            IdempotencyConflict: the key is held with other arguments.
            BrokerUnavailable: the store cannot be written now, or another broker has not confirmed the publish. Where an
                answer was lost, the task may have been sent.
            StoreError: it cannot be written at all.
        """
        return self._publishing.send(name, args, kwargs, options)

    def send_tasks(self, signatures: Iterable[Any]) -> Sequence[Any]:
        """Send any number of tasks, as ``apply_async()`` of each would, a few hundred in one round trip.

        On a store of celeriac's a few hundred are sent together, or none of them. A generator is read as its tasks are
        sent, and of each only the id is kept.

        Args:
            signatures: of tasks, chains, groups or chords.

        Returns:
            Their results in the same order, each made when it is asked for.

        Raises:
            PartlySent: some were sent before the error that is its cause.
            UnsendableArgument, IdempotencyConflict, BrokerUnavailable: as of ``send_task``, and none was sent.
        """
        return self._publishing.many.send(signatures)

    def new_batch(self) -> Batch:
        """Collects what is published to the store."""
        return self._publishing.many.new_batch()

    def batch_of_group(self) -> Batch | None:
        """The same for the members of a group; None where they join another, or go one by one."""
        return self._publishing.many.batch_of_group()

    @contextmanager
    def transaction(self, connection: object) -> Iterator[None]:
        """Send what is published in the block if, and only if, the transaction on ``connection`` commits.

        The block neither begins nor commits it. In the database of the broker, or of the ledger beside it, the messages are
        written there; in another one into the table ``celeriac_outbox``, from which a worker sends them after the commit
        (``celeriac_outboxes``).

        Args:
            connection: of sqlite3 or psycopg (3 or 2), a SQLAlchemy session or connection, or the alias of a Django database.

        Raises:
            TransactionError: no transaction is open on it, or it leads to a database without that table.
        """
        with self._publishing.within(connection):
            yield

    def circuit(self, circuit: Circuit | str) -> Guard:
        """``with app.circuit("gateway"):`` makes the calls in the block calls of the circuit.

        How the block ends is counted, as how a task ends that declares the circuit. In ``async def`` it is ``async with``.

        Args:
            circuit: one that a task declares, by its name, or the ``Circuit`` itself.

        Raises:
            CircuitOpen: it is open; nothing of the block has run.
            CircuitError: nobody declares such a circuit, or somebody another one of this name.
        """
        return self.circuits.guard(circuit)

    @property
    def destination(self) -> str:
        """Names the broker in an outbox: several may be written for in one database."""
        return self.store.uuid if self.has_ledger else str(self.connection_for_write().as_uri())

    @property
    def broker_name(self) -> str:
        """The broker's URL without its password: what is known of it while it is away."""
        url = self.conf.broker_url
        return shown_url(absolute_url(url) if self.has_store else url)

    @cached_property
    def local_outbox(self) -> LocalOutbox | None:
        """Keeps what is published while the broker is away, where ``celeriac_local_outbox`` names a file."""
        url = self.own_settings.local_outbox
        return LocalOutbox(self, url) if url else None

    @property
    def outboxes(self) -> list[str]:
        """The databases whose outboxes this app's workers empty."""
        return [*self.own_settings.outboxes, *self._outboxes]

    def add_outbox(self, url: str) -> None:
        """Have this app's workers empty the outbox in a database, ``postgresql://…`` or ``sqlite:///…``.

        Raises:
            SettingsError: the URL is of neither kind.
        """
        Outside(url)
        self._outboxes.append(url)

    def _connection(self, url: Any, transport_options: Any = None, **options: Any) -> Any:
        """As Celery's; of the transport's options, those the user sets join celeriac's and do not replace them."""
        theirs = {**self.conf.broker_transport_options, **(transport_options or {})}
        ours = self.conf.maps[-2].get("broker_transport_options") or {}  # there once a setting was read
        return super()._connection(url, transport_options={**ours, **theirs}, **options)

    def producer_or_acquire(self, producer: Any = None) -> Any:
        """As Celery's, for groups and events."""
        if isinstance(producer, Outgoing):
            return producer
        if producer is None and self.has_store and self.local_outbox is None:
            with publishing():
                _ = self.store  # opened here, where what it says can be told as a broker's error
        return super().producer_or_acquire(producer)


@connect_on_app_finalize  # type: ignore[untyped-decorator]  # Celery has no types
def _add_own_tasks(app: Any) -> None:
    if isinstance(app, Celery):
        add_rest_task(app)
