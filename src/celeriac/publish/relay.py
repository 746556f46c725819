"""From an outbox to the broker: taken, given, crossed out; and again from the start where a relay died in between.

A message keeps its id and is the first of it, so a second copy finds the first waiting, running or settled, and is none.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from functools import cached_property
from typing import Any

from kombu.exceptions import OperationalError

from celeriac.core.message import TaskMessage
from celeriac.core.workflow_members import part_of
from celeriac.errors import CeleriacError, IdempotencyConflict, StoreUnavailable
from celeriac.publish.forwarding import Forwarder
from celeriac.store.outbox import OutboxReader, Row
from celeriac.store.tables import Outside

logger = logging.getLogger(__name__)

#: Seconds after which a message counts as late: less than after which a workflow is looked for.
LATE = 60.0


class Relay:
    """Empties one outbox into the app's broker.

    Args:
        app: the app, whose broker the messages were written for.
        outside: the database that has the outbox.
    """

    def __init__(self, app: Any, outside: Outside) -> None:
        self._app = app
        self.outside = outside

    @cached_property
    def reader(self) -> OutboxReader:
        """The outbox; what the broker is called in it is known when the broker is."""
        return OutboxReader(self.outside, (self._app.destination, self._app.broker_name))

    def once(self) -> int:
        """Give the broker one batch; returns how many there were.

        Raises:
            StoreUnavailable: the outbox's database, or a broker that is a store, does not answer; nothing is lost.
            kombu.exceptions.OperationalError: another broker does not answer; nothing is lost.
        """
        rows = self.reader.take()
        if not rows:
            return 0
        given: list[Row] = []
        try:
            self._give(rows, given)
        except (StoreUnavailable, OperationalError, OSError):
            self._cross_out(given)
            self.reader.put_back([row for row in rows if row not in given])
            raise
        self._cross_out(given)
        self._tell_of_late(rows)
        return len(rows)

    def _tell_of_late(self, rows: Sequence[Row]) -> None:
        """A workflow of which something was to come from here, or is still to come, is not lost."""
        if self._app.has_ledger:
            parts = [part_of(row.message.envelope) for row in rows if row.waited > LATE]
            if late := {part.workflow for part in parts if part is not None}:
                self._app.store.workflows_kept(late)

    def _cross_out(self, given: Sequence[Row]) -> None:
        if given:
            self.reader.sent(given)

    def _give(self, rows: Sequence[Row], given: list[Row]) -> None:
        if self._app.has_ledger:
            self._give_store(rows, given)
            return
        with closing(Forwarder(self._app, returned=True)) as broker:
            for row in rows:
                self._try(row, given, broker.publish)

    def _give_store(self, rows: Sequence[Row], given: list[Row]) -> None:
        try:
            self._app.store.publish([row.message for row in rows])
        except StoreUnavailable:
            raise
        except CeleriacError:  # of one of them
            for row in rows:
                self._try(row, given, self._give_one)
        else:
            given.extend(rows)

    def _try(self, row: Row, given: list[Row], give: Any) -> None:
        try:
            give(row.message)
        except (StoreUnavailable, OperationalError, OSError):
            raise
        except Exception as error:
            logger.exception(
                "task %s[%s] cannot be sent, and stays in the outbox", row.message.name, row.message.task_id
            )
            self.reader.refused(row, f"{type(error).__name__}: {error}")
        else:
            given.append(row)

    def _give_one(self, message: TaskMessage) -> None:
        try:
            self._app.store.publish([message])
        except IdempotencyConflict:
            # Nobody is there any more to be told of it: the task itself is, and ends as a dead letter.
            message.follow_up = True
            self._app.store.publish([message])
