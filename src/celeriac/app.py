"""The app: Celery's own, with celeriac's rooms put in their places."""

from __future__ import annotations

import inspect
import logging
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import celery
import click
from celery import signals
from celery.app import backends
from celery.canvas import maybe_signature
from celery.utils.time import make_aware, maybe_iso8601
from kombu.exceptions import OperationalError
from kombu.utils.functional import maybe_list
from kombu.utils.imports import symbol_by_name
from kombu.utils.url import maybe_sanitize_url

from celeriac.core.transactions import open_for, publishing_within
from celeriac.errors import CeleriacWarning, LeadsElsewhere, OptionError, PartlySent, SettingsError, StoreUnavailable
from celeriac.execution.pipeline import unrecordable
from celeriac.execution.room import Room
from celeriac.execution.settler import Settler
from celeriac.execution.task import awaited, mixed
from celeriac.publish import outgoing
from celeriac.publish.amqp import Outgoing, publishing
from celeriac.publish.arguments import check_arguments
from celeriac.publish.batch import Batch, batch_for
from celeriac.publish.beside import confirmed_by, given_up_after, goes_straight, stamp_of, stamped
from celeriac.publish.bounded import bounded
from celeriac.publish.bulk import Sender
from celeriac.publish.canvas import send_groups_together
from celeriac.publish.ids import new_id
from celeriac.publish.keys import with_key
from celeriac.publish.local import LocalOutbox
from celeriac.publish.mould import Moulds
from celeriac.publish.rabbitmq import delayed_by_the_broker, held_by_the_ledger
from celeriac.publish.recording import Recorder
from celeriac.results import chords
from celeriac.settings import (
    PYAMQP,
    OwnSettings,
    Policy,
    PolicyDefaults,
    absolute_url,
    all_quorum,
    capabilities_of,
    check_option_names,
    check_result_backend,
    declares_queues,
    default_broker,
    defaults_for,
    is_redis_store,
    is_sqlite,
    ledger_beside,
    names_a_broker,
    read_own,
    sqlite_url,
)
from celeriac.settings.names import check_environment, check_names, known_options
from celeriac.settings.watched import RefusedSettings, WatchedSettings
from celeriac.store.guest import Guest
from celeriac.store.outbox import OutboxWriter
from celeriac.store.protocols import Publisher, Store
from celeriac.store.registry import open_store
from celeriac.store.tables import Outside
from celeriac.store.whereabouts import elsewhere
from celeriac.transport import postgres as postgres_transport
from celeriac.transport import redis as redis_transport
from celeriac.transport import sqlite as sqlite_transport
from celeriac.transport.base import StoreTransport
from celeriac.transport.leases import LeaseKeeper, keeper_of
from celeriac.transport.rabbitmq import client as amqp_client

logger = logging.getLogger(__name__)

# kombu has no entry point for transports, and Celery's for backends is missing
# where celeriac is run from a checkout.
sqlite_transport.register()
postgres_transport.register()
amqp_client.register()
redis_transport.register()
for _scheme in ("sqlite", "postgresql", "postgres", *redis_transport.SCHEMES):
    backends.BACKEND_ALIASES[_scheme] = "celeriac.results.backend:LedgerBackend"
send_groups_together()
StoreTransport.send = staticmethod(outgoing.send)  # type: ignore[method-assign]  # the seam between the rooms

#: Rooms that Celery takes by name, where there is a ledger.
_ROOMS = {"worker_consumer": "celeriac.worker.consumer:Consumer"}
_ROOMS_ON_RABBITMQ = {"worker_consumer": "celeriac.worker.rabbitmq:Consumer"}
#: What our workers do beside running tasks.
_STEPS = ("celeriac.worker.maintenance:Maintenance", "celeriac.worker.outboxes:Outboxes", "celeriac.worker.relay:Relay")
#: Options in which signatures travel.
_FOLLOWING = ("chain", "link", "link_error", "chord")
#: Options that say what a task is, and not how it is called.
_DECLARED_ONLY = frozenset({"idempotency_key", "idempotency_ttl"})
#: No broker was configured yet, not even none.
_NEVER = object()
#: Seconds after which kombu's Redis transport takes a message for lost, and delivers it again, where nobody says otherwise.
VISIBILITY_TIMEOUT = 3600.0
#: What belongs to the broker that is configured.
_BROKERS_ROOMS = ("has_store", "ledger_beside", "store", "keeper", "execution_room", "_brokers_uri")


class Celery(celery.Celery):  # type: ignore[misc]  # Celery has no types
    """A Celery app that loses nothing and repeats nothing.

    Args:
        main: as Celery's.
        defaults: ``safe`` sets what production needs; ``celery`` observes and
            warns, for the first day of an existing project.
        ledger: the URL of a store that keeps keys, results, history and dead
            letters beside a broker that does not, such as Redis or RabbitMQ.
        **options: as Celery's; every keyword keeps its meaning.

    Raises:
        SettingsError: when the configuration is first read and cannot be meant.
    """

    amqp_cls = "celeriac.publish.amqp:AMQP"
    control_cls = "celeriac.worker.control:Control"
    _followed_broker: Any = _NEVER
    #: Whether the queues on the broker, which is RabbitMQ, are of celeriac's kind.
    declares_queues = False
    #: Whether Celery would have the broker hold what is not yet due.
    _delays_natively = False

    def __init__(
        self, main: str | None = None, *, defaults: Policy = "safe", ledger: str | None = None, **options: Any
    ) -> None:
        if defaults not in ("safe", "celery"):
            raise SettingsError("defaults", f'{defaults!r} is neither "safe" nor "celery"')
        self.defaults: Policy = defaults
        self._warned_of: set[str] = set()
        self._outboxes: list[str] = []
        if ledger is not None:
            options["celeriac_ledger"] = ledger
        super().__init__(main, **options)
        self.steps["worker"].update(_STEPS)
        self.steps["consumer"].add("celeriac.worker.given_up:GivenUp")

    def __reduce_keys__(self) -> dict[str, Any]:
        return {**super().__reduce_keys__(), "defaults": self.defaults}

    # -- configuration

    def _load_config(self) -> Any:
        conf = super()._load_config()
        chosen = PolicyDefaults()
        # Just above Celery's own defaults: add_defaults() would outrank the user.
        conf.maps.insert(len(conf.maps) - 1, chosen)
        conf.defaults.insert(len(conf.defaults) - 1, chosen)
        self._take_over(conf, chosen)
        return conf

    def _take_over(self, conf: Any, chosen: PolicyDefaults) -> None:
        refused = isinstance(conf, RefusedSettings)
        first = not isinstance(conf, WatchedSettings)
        WatchedSettings.watch(conf, lambda: self._take_over(conf, chosen))
        try:
            if first or refused:
                self._check_names(conf)
            self._follow(conf, chosen)
        except SettingsError as error:
            RefusedSettings.refuse(conf, error)
            if click.get_current_context(silent=True) is not None:
                # On a command line the text says what to do, and a traceback nothing more.
                raise click.ClickException(str(error)) from error
            raise

    def _follow(self, conf: Any, chosen: PolicyDefaults) -> None:
        """What follows from settings follows from them as they are now, whenever they were set."""
        chosen.become(self._policy_defaults(conf))
        check_result_backend(conf.broker_url, conf.result_backend)
        for derived in ("own_settings", "local_outbox"):
            self.__dict__.pop(derived, None)
        followed = (conf.broker_url, ledger_beside(conf, conf.broker_url))
        before, self._followed_broker = self._followed_broker, followed
        if before not in (_NEVER, followed):
            self._forget_rooms()

    def _forget_rooms(self) -> None:
        """Those, and the connections Celery keeps, lead to the broker of before."""
        for name in _BROKERS_ROOMS:
            self.__dict__.pop(name, None)
        self._pool = self._backend_cache = None
        self._local = threading.local()  # each thread's backend
        if "amqp" in self.__dict__:
            self.amqp._producer_pool = None  # noqa: SLF001  # as Celery does after a fork

    def check_settings(self) -> None:
        """Refuse names nobody knows.

        Raises:
            SettingsError: naming the nearest one that is known.
        """
        self._check_names(self.conf)

    def _check_names(self, conf: Any) -> None:
        check_environment(self.defaults)
        given, *sources = conf.maps[:-1]
        check_names(list(given), self.defaults)
        for source in sources:
            check_names(list(source), self.defaults, namespace=self.namespace)

    def _policy_defaults(self, conf: Any) -> PolicyDefaults:
        named = self.defaults != "safe" or names_a_broker(lambda name: _sets(conf, name))
        url = conf.broker_url if named else default_broker(self.main)
        ledger = ledger_beside(conf, url) or ""
        self.declares_queues = declares_queues(self.defaults, url, lambda name: _sets(conf, name))
        broker = capabilities_of(url, quorum=self.declares_queues or _quorum(conf), ledger=ledger)
        self._delays_natively = broker.quorum and broker.scheme in PYAMQP
        chosen = defaults_for(
            self.defaults,
            broker,
            queues_declared=bool(conf.task_queues),
            broker_named=named,
            declares_queues=self.declares_queues,
        )
        if broker.ours or ledger:
            chosen.update(_ROOMS)
        elif self.declares_queues:
            chosen.update(_ROOMS_ON_RABBITMQ)
        return chosen

    def user_sets(self, setting: str) -> bool:
        """Whether somebody other than celeriac and Celery gave this setting."""
        return _sets(self.conf, setting)

    @cached_property
    def own_settings(self) -> OwnSettings:
        """The settings of celeriac's own, read once."""
        return read_own(self.conf)

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

    @cached_property
    def store(self) -> Store:
        """The open store that keeps the ledger, and the messages too where it is the broker.

        Raises:
            SettingsError: the URL is not one of ours.
            StoreError: the file cannot be used; naming it.
        """
        url = str(self.ledger_beside or self.conf.broker_url)
        if is_sqlite(url):
            self._warn_of_another_file(url, sqlite_url(url).path)
        return open_store(url, timeout=self.own_settings.publish_timeout)

    def _warn_of_another_file(self, url: str, path: Any) -> None:
        if url.startswith("sqlite:////"):
            return
        other = elsewhere(self.main or "", url, path)
        if other:
            logger.warning(
                "%s means %s here, but %s elsewhere: what is published in one is never seen in the other. "
                "Write an absolute path in the URL: sqlite:///%s",
                url,
                path,
                other,
                path,
            )

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
        settler = Settler(
            self.store,
            lambda group_id: chords.dispatch(self.backend, group_id),
            lambda attempt, error: unrecordable(self.execution_room, attempt, error),
        )
        StoreTransport.on_idle.append(settler.flush)
        # A pool's process that is replaced leaves without the threads that would do it.
        signals.worker_process_shutdown.connect(lambda **_: settler.finish(), weak=False)
        return Room(
            self.store,
            settler,
            own=self.own_settings,
            lease=self.keeper.lease,
            given_up=self.keeper.given_up,
            retries_undeclared=self.defaults == "safe",
            remembered=self._remembered(),
        )

    def _remembered(self) -> float | None:
        """Seconds for which an end is known; a broker beside the ledger may deliver a copy of what is long over."""
        expires = _seconds(self.backend.expires)
        if expires is None or self.ledger_beside is None:
            return expires
        return max(expires, self.copies_come_for)

    @property
    def copies_come_for(self) -> float:
        """Seconds after which a broker that is no store delivers no second copy of a message any more."""
        options = self.conf.broker_transport_options or {}
        return 2 * float(options.get("visibility_timeout") or VISIBILITY_TIMEOUT)

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
        for option in _DECLARED_ONLY & options.keys():
            problem = "it belongs to the task: declare it where the task is, as a template over its arguments"
            raise OptionError(name, option, f"{options[option]!r} is given for one call, and {problem}")
        local = self.local_outbox
        if local is None or options.get("connection") or outgoing.is_somebodys():
            return self._send_now(name, args, kwargs, options)
        if getattr(self._type_of(name, options), "key_template", None) is None:
            # The same in both places, so that it is one task if the broker has it after all.
            options["task_id"] = options.get("task_id") or new_id()
        return local.send(
            lambda: self._send_now(name, args, kwargs, dict(options)),
            lambda: self._record(local, name, args, kwargs, dict(options)),
            OperationalError,
        )

    def _type_of(self, name: str, options: dict[str, Any]) -> Any:
        return options.get("task_type") or self._tasks.get(name)

    def _send_now(self, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        with publishing():
            recorder = None if self.has_ledger else open_for(self)
            if recorder is not None and not options.get("connection"):
                return self._record(recorder, name, args, kwargs, options)
            if not self.has_ledger or options.get("connection") or self._leads_elsewhere(options.get("producer")):
                self._warn_of_a_key_nobody_keeps(name, options)
                return self._send_without(name, args, kwargs, options)
            return self._send(name, args, kwargs, options)

    def _send_without(self, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """To a broker that is no store, and at once."""
        if self.has_store:  # somebody else's connection
            return super().send_task(name, args, kwargs, **options)
        if capabilities_of(self.conf.broker_write_url).scheme in PYAMQP:
            return self._send_to_rabbitmq(name, args, kwargs, options)
        with confirmed_by(self.conf.broker_url):
            options = given_up_after(options, self.own_settings.publish_timeout)
            return super().send_task(name, args, kwargs, **options)

    def _send_to_rabbitmq(self, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        if self._delays_natively and self.defaults == "safe":
            self._normalise(options)
            options = delayed_by_the_broker(self, name, options)
        location = maybe_sanitize_url(str(self.conf.broker_write_url))
        with bounded(location, self.own_settings.publish_timeout):
            return super().send_task(name, args, kwargs, **options)

    def _connection(self, url: Any, transport_options: Any = None, **options: Any) -> Any:
        """As Celery's; of the transport's options, those the user sets join celeriac's and do not replace them."""
        ours = self.conf.maps[-2].get("broker_transport_options") or {}
        theirs = {**self.conf.broker_transport_options, **(transport_options or {})}
        return super()._connection(url, transport_options={**ours, **theirs}, **options)

    def _warn_of_a_key_nobody_keeps(self, name: str, options: dict[str, Any]) -> None:
        task = self._type_of(name, options)
        if self.has_ledger or name in self._warned_of or getattr(task, "key_template", None) is None:
            return
        self._warned_of.add(name)
        scheme = capabilities_of(self.conf.broker_url).scheme
        warnings.warn(
            f"task {name}, option idempotency_key: a {scheme} broker keeps no keys, so what is published twice runs twice. "
            'Name a ledger that does (ledger="postgresql://…"), use a broker of celeriac\'s own (sqlite:///…), or leave '
            "the option out",
            CeleriacWarning,
            stacklevel=3,
        )

    def _record(self, publisher: Publisher, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """For a broker that is no store, in a transaction of somebody's; or for one that is away."""
        self._warn_of_a_key_nobody_keeps(name, options)
        self._normalise(options)
        if self._delays_natively:
            options = held_by_the_ledger(self, options)
        task = self._type_of(name, options)
        self._check_arguments(name, task, args, kwargs, options)
        if self.has_ledger:
            options = with_key(task, args, kwargs, options, self.own_settings.idempotency_ttl)
        return super().send_task(name, args, kwargs, **{**options, "producer": Recorder(publisher)})

    def _send(self, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        self._normalise(options)
        task = self._type_of(name, options)
        self._check_arguments(name, task, args, kwargs, options)
        batch = batch_for(self.store)
        result = None if batch is None else batch.send_short(name, task, args, kwargs, options)
        if result is not None:
            return self._trailed(result, options)
        if self._delays_natively:
            options = held_by_the_ledger(self, options)
        options = with_key(task, args, kwargs, options, self.own_settings.idempotency_ttl)
        straight = batch is None and not (self.has_store or self._by_the_ledger) and goes_straight(self.store, options)
        if straight:
            return self._send_without(name, args, kwargs, {**stamped(self.store, options), "task_id": new_id()})
        sent = batch or Outgoing(self.store, self._stamp)
        options["task_id"] = options.get("task_id") or new_id()
        result = super().send_task(name, args, kwargs, **{**options, "producer": sent})
        published = sent.published
        if published is not None and published.duplicate_of:
            return self.AsyncResult(published.duplicate_of)
        if published is not None and published.live:
            outgoing.tell_of_live(name, published)
        return result

    @property
    def _stamp(self) -> list[str] | None:
        """Names the ledger in what another broker will deliver."""
        return None if self.has_store else stamp_of(self.store)

    def _trailed(self, result: Any, options: dict[str, Any]) -> Any:
        parent = self.current_worker_task
        if parent and options.get("add_to_parent", True):
            parent.add_trail(result)
        return result

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
        with publishing():
            if self.conf.task_always_eager or not self.has_store:
                return self._send_one_by_one(signatures)
            batch = self._batch_where_there_is_a_broker()
            return self._send_one_by_one(signatures) if batch is None else Sender(self, batch).send(signatures)

    def _send_one_by_one(self, signatures: Iterable[Any]) -> list[Any]:
        sent: list[Any] = []
        try:
            with self.producer_or_acquire() as producer:
                sent.extend(maybe_signature(one, app=self).apply_async(producer=producer) for one in signatures)
        except Exception as error:
            if not sent:
                raise
            raise PartlySent(len(sent), error) from error
        return sent

    def new_batch(self) -> Batch:
        """Collects what is published to the store."""
        return Batch(self.store, lambda: Moulds(self, super(Celery, self).send_task), self.local_outbox)

    def batch_of_group(self) -> Batch | None:
        """The same for the members of a group; None where they join another, or go one by one."""
        if not self.has_store:
            return None
        with publishing():
            batch = self._batch_where_there_is_a_broker()
        return None if batch is None or batch_for(batch.store) is not None else batch

    def _batch_where_there_is_a_broker(self) -> Batch | None:
        local = self.local_outbox
        if local is None:
            return self.new_batch()
        if local.away:
            return None
        try:
            return self.new_batch()
        except StoreUnavailable as error:  # it could not be opened
            local.failed(error)
            return None

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
        guest = Guest(connection)
        with publishing_within(self.store if self.has_ledger else self, self._publisher_within(guest)):
            yield

    def _publisher_within(self, guest: Guest) -> Publisher:
        if not self.has_ledger:
            why = f"a {capabilities_of(self.conf.broker_url).scheme} broker is in no database, and"
            return OutboxWriter(guest, self.destination, why)
        try:
            return self.store.within(guest)
        except LeadsElsewhere as error:
            return OutboxWriter(guest, self.destination, f"{error}, and")

    @property
    def destination(self) -> str:
        """Names the broker in an outbox: several may be written for in one database."""
        return self.store.uuid if self.has_ledger else str(self.connection_for_write().as_uri())

    @property
    def broker_name(self) -> str:
        """The broker's URL without its password: what is known of it while it is away."""
        url = self.conf.broker_url
        return str(maybe_sanitize_url(absolute_url(url) if self.has_store else url))

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

    def producer_or_acquire(self, producer: Any = None) -> Any:
        """As Celery's, for groups and events."""
        if isinstance(producer, Outgoing):
            return producer
        if producer is None and self.has_store and self.local_outbox is None:
            with publishing():
                _ = self.store  # opened here, where what it says can be told as a broker's error
        return super().producer_or_acquire(producer)

    def _normalise(self, options: dict[str, Any]) -> None:
        """The store's columns know no local time, and ids that are text only."""
        if options.get("task_id") is not None:
            options["task_id"] = str(options["task_id"])
        for name in ("eta", "expires"):
            moment = options.get(name)
            if isinstance(moment, str):
                moment = maybe_iso8601(moment)
            if isinstance(moment, datetime) and moment.tzinfo is None:
                options[name] = make_aware(moment, self.timezone)

    def _leads_elsewhere(self, producer: Any) -> bool:
        """Whether a producer publishes to another broker; a group hands its members one of this app's own."""
        if producer is None:
            return False
        if not self.has_store:
            return bool(producer.connection.as_uri(include_password=True) != self._brokers_uri)
        transport = producer.connection.transport
        return not (isinstance(transport, StoreTransport) and transport.store.location == self.store.location)

    @property
    def _by_the_ledger(self) -> bool:
        """Whether the broker beside it is given nothing that the ledger does not know."""
        switch = self.own_settings.outbox
        unsafe = capabilities_of(self.conf.broker_url).hands_out_unsafely
        return self.defaults == "safe" and unsafe if switch is None else switch

    @cached_property
    def _brokers_uri(self) -> str:
        return str(self.connection_for_write().as_uri(include_password=True))

    def _check_arguments(self, name: str, task: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> None:
        """Those of the task, and those of what follows it, which travel in its message."""
        serializer = options.get("serializer") or getattr(task, "serializer", None) or self.conf.task_serializer
        self._check_call(name, task, args, kwargs, serializer)
        for option in _FOLLOWING:
            for step in maybe_list(options.get(option)) or ():
                if isinstance(step, dict):  # a link may be an id, of what is sent by somebody else
                    following = step["task"]
                    self._check_call(
                        following, self._tasks.get(following), step.get("args"), step.get("kwargs"), serializer
                    )

    def _check_call(self, name: str, task: Any, args: Any, kwargs: Any, serializer: str) -> None:
        switch = self.own_settings.refuse_unsafe_pickle
        check_arguments(
            name,
            args,
            kwargs,
            parameters=getattr(task, "parameter_names", ()),
            serializer=serializer,
            refuse=self.defaults == "safe" if switch is None else switch,
        )


def _sets(conf: Any, setting: str) -> bool:
    """Whether one of the mappings above celeriac's and Celery's defaults has the setting."""
    names = conf._to_keys(setting)  # noqa: SLF001  # old names and namespaces are known there alone
    return any(name in mapping for mapping in conf.maps[:-2] for name in names)


def _quorum(conf: Any) -> bool:
    """Whether the user has quorum queues."""
    if conf.task_queues:
        return all_quorum(conf.task_queues)
    return _sets(conf, "task_default_queue_type") and conf.task_default_queue_type == "quorum"


def _seconds(expires: Any) -> float | None:
    """How long results are kept; some of Celery's backends say it as a timedelta."""
    if isinstance(expires, timedelta):
        expires = expires.total_seconds()
    return float(expires) if expires else None
