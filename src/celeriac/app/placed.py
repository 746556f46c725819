"""An app as far as its settings lead: to its broker, to its ledger, and to what is opened there."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import Any

import celery
from celery.app import backends

from celeriac.errors import SettingsError
from celeriac.execution.opening import open_room
from celeriac.execution.room import Room
from celeriac.publish.local import LocalOutbox
from celeriac.publish.routes import check_routes
from celeriac.results import chords
from celeriac.settings import (
    OwnSettings,
    Policy,
    absolute_url,
    capabilities_of,
    is_redis_store,
    is_sqlite,
    ledger_beside,
    read_own,
    shown_url,
    sqlite_url,
    undeclared_queue,
)
from celeriac.settings.following import Following, user_sets
from celeriac.store.protocols import Store
from celeriac.store.registry import open_store
from celeriac.store.tables import Outside
from celeriac.store.whereabouts import warn_of_another
from celeriac.transport import redis as redis_transport
from celeriac.transport.leases import LeaseKeeper, keeper_of

#: What follows from settings, and what belongs to the broker that is configured.
_DERIVED = ("own_settings", "local_outbox")
_BROKERS_ROOMS = ("has_store", "ledger_beside", "store", "keeper", "execution_room")


class Placed(celery.Celery):  # type: ignore[misc]  # Celery has no types
    """Celery's app with celeriac's settings, and what follows from them as they are now.

    What a setting leads to is opened when it is first asked for, and forgotten when the setting changes.
    """

    def __init__(self, main: str | None, *, defaults: Policy, ledger: str | None, retries: Any, **options: Any) -> None:
        if defaults not in ("safe", "celery"):
            raise SettingsError("defaults", f'{defaults!r} is neither "safe" nor "celery"')
        self.defaults: Policy = defaults
        self._following = Following(self, self._settings_changed)
        self._outboxes: list[str] = []
        if ledger is not None:
            options["celeriac_ledger"] = ledger
        if retries is not None:
            options["celeriac_retries"] = retries
        super().__init__(main, **options)

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

    # -- the broker, and the store

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

    # -- outboxes

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
