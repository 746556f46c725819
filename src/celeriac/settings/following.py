"""What follows from an app's settings follows from them as they are now, whenever they were set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from celeriac.errors import SettingsError
from celeriac.settings.brokers import PYAMQP, capabilities_of, check_result_backend
from celeriac.settings.ledger import ledger_beside
from celeriac.settings.names import check_environment, check_names
from celeriac.settings.policy import PolicyDefaults, declares_queues, defaults_for
from celeriac.settings.queues import all_quorum, leaves_their_kind
from celeriac.settings.sources import default_broker, names_a_broker
from celeriac.settings.tls import check_use_ssl
from celeriac.settings.watched import RefusedSettings, WatchedSettings

#: Rooms that Celery takes by name, where there is a ledger.
_ROOMS = {"worker_consumer": "celeriac.worker.consumer:Consumer"}
_ROOMS_ON_RABBITMQ = {"worker_consumer": "celeriac.worker.rabbitmq:Consumer"}
#: No broker was configured yet, not even none.
_NEVER = object()


class Following:
    """Watches the settings of one app.

    Args:
        app: the app.
        changed: called after every change, with whether it leads to another broker or ledger.
    """

    def __init__(self, app: Any, changed: Callable[[bool], None]) -> None:
        self._app = app
        self._changed = changed
        self._broker: Any = _NEVER
        self._declares_queues = self._delays_natively = False

    @property
    def declares_queues(self) -> bool:
        """Whether the queues on the broker, which is RabbitMQ, are of celeriac's kind."""
        _ = self._app.conf.broker_url  # it follows from the settings, and nobody may have read one yet
        return self._declares_queues

    @property
    def delays_natively(self) -> bool:
        """Whether Celery would have the broker hold what is not yet due."""
        _ = self._app.conf.broker_url
        return self._delays_natively

    def load(self, conf: Any) -> Any:
        """Put celeriac's defaults below what the user sets, and follow every change from now on.

        Raises:
            SettingsError: what is set cannot be meant; the settings refuse to be read until it is mended.
        """
        chosen = PolicyDefaults()
        # Just above Celery's own defaults: add_defaults() would outrank the user.
        conf.maps.insert(len(conf.maps) - 1, chosen)
        conf.defaults.insert(len(conf.defaults) - 1, chosen)
        self._take_over(conf, chosen)
        return conf

    def check(self, conf: Any) -> None:
        """Refuse names nobody knows.

        Raises:
            SettingsError: naming the nearest one that is known.
        """
        check_environment(self._app.defaults)
        given, *sources = conf.maps[:-1]
        check_names(list(given), self._app.defaults)
        for source in sources:
            check_names(list(source), self._app.defaults, namespace=self._app.namespace)

    def _take_over(self, conf: Any, chosen: PolicyDefaults) -> None:
        refused = isinstance(conf, RefusedSettings)
        first = not isinstance(conf, WatchedSettings)
        WatchedSettings.watch(conf, lambda: self._take_over(conf, chosen))
        try:
            if first or refused:
                self.check(conf)
            self._follow(conf, chosen)
        except SettingsError as error:
            RefusedSettings.refuse(conf, error)
            if click.get_current_context(silent=True) is not None:
                # On a command line the text says what to do, and a traceback nothing more.
                raise click.ClickException(str(error)) from error
            raise

    def _follow(self, conf: Any, chosen: PolicyDefaults) -> None:
        chosen.become(self._policy_defaults(conf))
        check_result_backend(conf.broker_url, conf.result_backend)
        check_use_ssl(conf.broker_url, conf.broker_use_ssl)
        followed = (conf.broker_url, ledger_beside(conf, conf.broker_url))
        before, self._broker = self._broker, followed
        self._changed(before not in (_NEVER, followed))

    def _policy_defaults(self, conf: Any) -> PolicyDefaults:
        app = self._app
        named = app.defaults != "safe" or names_a_broker(lambda name: user_sets(conf, name))
        url = conf.broker_url if named else default_broker(app.main)
        ledger = ledger_beside(conf, url) or ""
        self._declares_queues = declares_queues(app.defaults, url, lambda name: _says_of_which_kind(conf, name))
        broker = capabilities_of(url, quorum=self._declares_queues or _quorum(conf), ledger=ledger)
        self._delays_natively = broker.quorum and broker.scheme in PYAMQP
        chosen = defaults_for(
            app.defaults,
            broker,
            queues_declared=bool(conf.task_queues),
            broker_named=named,
            declares_queues=self._declares_queues,
        )
        if broker.recorded:
            chosen.update(_ROOMS)
        elif self._declares_queues:
            chosen.update(_ROOMS_ON_RABBITMQ)
        return chosen


def user_sets(conf: Any, setting: str) -> bool:
    """Whether somebody other than celeriac and Celery gave this setting."""
    names = conf._to_keys(setting)  # noqa: SLF001  # old names and namespaces are known there alone
    return any(name in mapping for mapping in conf.maps[:-2] for name in names)


def _says_of_which_kind(conf: Any, setting: str) -> bool:
    """Whether the user gave this setting and with it says of which kind queues are."""
    return user_sets(conf, setting) and not (setting == "task_queues" and leaves_their_kind(conf.task_queues))


def _quorum(conf: Any) -> bool:
    """Whether the user has quorum queues."""
    if conf.task_queues:
        return all_quorum(conf.task_queues)
    return user_sets(conf, "task_default_queue_type") and conf.task_default_queue_type == "quorum"
