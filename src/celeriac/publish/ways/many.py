"""Many tasks at once: together where a store of celeriac's takes them, otherwise one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from celery.canvas import maybe_signature

from celeriac.errors import PartlySent, StoreUnavailable
from celeriac.publish.amqp import publishing
from celeriac.publish.batch import Batch, batch_for
from celeriac.publish.bulk import Sender
from celeriac.publish.mould import Moulds


class Many:
    """An app's way for many.

    Args:
        app: the app.
        celerys: Celery's ``send_task``, bound to it.
    """

    def __init__(self, app: Any, celerys: Callable[..., Any]) -> None:
        self._app = app
        self._celerys = celerys

    def send(self, signatures: Iterable[Any]) -> Sequence[Any]:
        """As ``app.send_tasks``."""
        together = self._app.has_store and not self._app.conf.task_always_eager
        with publishing():
            batch = self._batch_while_there_is_a_broker() if together else None
            return self._one_by_one(signatures) if batch is None else Sender(self._app, batch).send(signatures)

    def batch_of_group(self) -> Batch | None:
        """For the members of a group; None where they join another batch, or go one by one."""
        with publishing():
            joins = not self._app.has_store or batch_for(self._app) is not None
            return None if joins else self._batch_while_there_is_a_broker()

    def new_batch(self) -> Batch:
        """Collects what is published to the store."""
        return Batch(self._app.store, lambda: Moulds(self._app, self._celerys), self._app.local_outbox)

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
        sent: list[Any] = []
        try:
            with self._app.producer_or_acquire() as producer:
                sent.extend(maybe_signature(one, app=self._app).apply_async(producer=producer) for one in signatures)
        except Exception as error:
            if not sent:
                raise
            raise PartlySent(len(sent), error) from error
        return sent
