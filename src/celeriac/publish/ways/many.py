"""Many tasks at once: together where a store of celeriac's takes them; otherwise one by one, and confirmed together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from celeriac.errors import StoreUnavailable
from celeriac.publish.batch import Batch, batch_for
from celeriac.publish.bulk import Sender, send_one_by_one
from celeriac.publish.confirms import together
from celeriac.publish.mould import Moulds
from celeriac.publish.stamp import stamp_of
from celeriac.publish.ways.choice import Configured
from celeriac.transport.unavailable import publishing


class Many:
    """An app's way for many.

    Args:
        app: the app.
        celerys: Celery's ``send_task``, bound to it.
        configured: gives what the app has now.
    """

    def __init__(self, app: Any, celerys: Callable[..., Any], configured: Callable[[], Configured]) -> None:
        self._app = app
        self._celerys = celerys
        self._configured = configured

    def send(self, signatures: Iterable[Any]) -> Sequence[Any]:
        """As ``app.send_tasks``."""
        has = self._configured()
        together = (has.store or (has.by_the_ledger and _keeps_many(has))) and not self._app.conf.task_always_eager
        with publishing():
            batch = self._batch_while_there_is_a_broker() if together else None
            return self._one_by_one(signatures) if batch is None else Sender(self._app, batch).send(signatures)

    def batch_of_group(self) -> Batch | None:
        """For the members of a group; None where they join another batch, or go one by one."""
        has = self._configured()
        with publishing():
            # They have been named before, so that a ledger beside the broker must know each of them.
            joins = not (has.store or _keeps_many(has)) or batch_for(self._app) is not None
            return None if joins else self._batch_while_there_is_a_broker()

    def new_batch(self) -> Batch:
        """Collects what is published to the store."""
        app = self._app
        stamp = None if app.has_store else stamp_of(app.store)
        return Batch(app.store, lambda: Moulds(app, self._celerys, stamp), app.local_outbox, stamp)

    def _batch_while_there_is_a_broker(self) -> Batch | None:
        local = self._app.local_outbox
        if local is None:
            return self.new_batch()
        if local.away:
            return None
        try:
            return self.new_batch()
        except StoreUnavailable as error:  # it could not be opened
            local.failed(error)
            return None

    def _one_by_one(self, signatures: Iterable[Any]) -> list[Any]:
        with self._app.producer_or_acquire() as producer, together(self._app, producer) as confirms:
            return send_one_by_one(self._app, signatures, producer, confirms)


def _keeps_many(has: Configured) -> bool:
    """Whether a ledger beside the broker takes many at once; a local outbox spares each by itself."""
    return has.ledger and not has.local_outbox
