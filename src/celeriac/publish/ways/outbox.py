"""Into an outbox: of somebody's transaction, or of this machine while the broker is away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kombu.exceptions import OperationalError

from celeriac.core.transactions import open_for
from celeriac.errors import LeadsElsewhere
from celeriac.publish.ids import new_id
from celeriac.publish.local import LocalOutbox
from celeriac.publish.recording import Recorder
from celeriac.publish.ways.call import Call, Preparing, WayOut
from celeriac.publish.workflows import apart
from celeriac.settings import capabilities_of
from celeriac.store.guest import Guest
from celeriac.store.outbox import OutboxWriter
from celeriac.store.protocols import Publisher, Within
from celeriac.transport.unavailable import publishing


class ToOutbox(Preparing):
    """Into what is open on the transaction in which an app publishes whose broker is in no database."""

    def send(self, call: Call) -> Any:
        return self.record(call, open_for(self.app))

    def record(self, call: Call, publisher: Publisher) -> Any:
        """Keep with ``publisher`` what Celery would give the broker."""
        self.check(call)
        self.hold(call)
        if self.app.has_ledger:
            self.add_headers(call)
        recorder = Recorder(publisher)
        with apart():  # as what the signals' receivers send
            return self.build(call, producer=recorder)


class Spared(ToOutbox):
    """By another way; into the local outbox where the broker is away."""

    def __init__(self, app: Any, celerys: Callable[..., Any], way: WayOut) -> None:
        super().__init__(app, celerys)
        self._way = way

    def send(self, call: Call) -> Any:
        """As the other way.

        Raises:
            StoreUnavailable: it cannot be kept either; naming the file.
        """
        local: LocalOutbox = self.app.local_outbox
        if not call.keyed:
            # The same in both places, so that it is one task if the broker has it after all.
            call.options["task_id"] = call.options.get("task_id") or new_id()
        return local.send(lambda: self._now(call.copy()), lambda: self.record(call, local), OperationalError)

    def _now(self, call: Call) -> Any:
        with publishing():
            return self._way.send(call)


def publisher_within(app: Any, guest: Guest) -> Within:
    """What keeps the app's tasks in the transaction on a connection.

    Raises:
        TransactionError: no transaction is open on it, or there is nothing of celeriac's in its database.
    """
    if not app.has_ledger:
        why = f"a {capabilities_of(app.conf.broker_url).scheme} broker is in no database, and"
        return OutboxWriter(guest, app.destination, why)
    try:
        within: Within = app.store.within(guest)
    except LeadsElsewhere as error:
        return OutboxWriter(guest, app.destination, f"{error}, and")
    return within
