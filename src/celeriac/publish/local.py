"""While the broker is away: messages are kept in a file of this machine, and given to it when it is back."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from celeriac.core.message import Published, TaskMessage
from celeriac.errors import SettingsError, StoreUnavailable
from celeriac.publish.relay import Relay
from celeriac.settings import is_sqlite
from celeriac.store.guest import Guest
from celeriac.store.outbox import OutboxWriter
from celeriac.store.tables import PATIENCE, Outside, ddl
from celeriac.transport.unavailable import publishing

logger = logging.getLogger(__name__)

SETTING = "celeriac_local_outbox"
#: Seconds for which the broker is not asked again after it was away: every publish would wait for it in vain.
AWAY = 5.0


class LocalOutbox:
    """The file, and what this process knows of the broker.

    Args:
        app: the app.
        url: ``sqlite:///…``; the file is made where it is missing.

    Raises:
        SettingsError: it is no SQLite file.
    """

    def __init__(self, app: Any, url: str) -> None:
        if not is_sqlite(url):
            raise SettingsError(SETTING, f"{url.partition(':')[0]}:// is no file of this machine: sqlite:///… is")
        self._app = app
        self.outside = Outside(url, SETTING, made_later=True)
        path = self.outside.path
        assert path is not None
        self._path = path
        self._away_until = 0.0
        # Another process may have left something.
        self._waits = path.exists()
        self._draining = threading.Lock()

    @property
    def away(self) -> bool:
        """Whether the broker was away a moment ago."""
        return time.monotonic() < self._away_until

    def failed(self, error: Exception) -> None:
        """The broker did not take a message."""
        self._away_until = time.monotonic() + AWAY
        logger.warning("the broker is away, and what is published is kept in %s: %s", self._path, error)

    def succeeded(self) -> None:
        """The broker took a message, so it can be given those that wait."""
        self._away_until = 0.0
        if self._waits and self._draining.acquire(blocking=False):
            threading.Thread(target=self._drain, name="celeriac-local-outbox", daemon=True).start()

    def _drain(self) -> None:
        try:
            with closing(self.outside):
                relay = self.relay()
                while relay.once():
                    pass
                self._waits = False
        except Exception as error:  # noqa: BLE001  # what waits goes on waiting
            logger.warning("what waits in %s cannot be sent yet: %s", self._path, error)
        finally:
            self._draining.release()

    def relay(self) -> Relay:
        """Gives the broker what waits."""
        return Relay(self._app, self.outside)

    def publish(self, messages: Sequence[TaskMessage]) -> list[Published]:
        """Keep the messages, so that they survive a power cut.

        Raises:
            StoreUnavailable: they cannot be kept either; naming the file.
        """
        try:
            # Not kept open: this is rare, and processes fork.
            with closing(sqlite3.connect(self._path, timeout=PATIENCE, isolation_level=None)) as raw:
                raw.execute("PRAGMA synchronous = FULL")
                raw.executescript(f"BEGIN IMMEDIATE; {ddl('outbox', 'sqlite')}")
                published = OutboxWriter(Guest(raw), self._app.broker_name, "").publish(messages)
                raw.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreUnavailable(str(self._path), str(error)) from error
        self._waits = True
        return published

    def send(self, now: Callable[[], Any], later: Callable[[], Any], away: type[Exception]) -> Any:
        """What ``now`` gives, or ``later`` where it raised ``away``, or the broker was away a moment ago.

        Raises:
            BrokerUnavailable: it cannot be kept either.
        """
        if not self.away:
            try:
                result = now()
            except away as error:
                self.failed(error)
            else:
                self.succeeded()
                return result
        with publishing():  # who publishes expects a broker's errors
            return later()
