"""The outbox in an application's database: written in its transactions, emptied by whoever relays."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from celeriac.core.chains import Chains, Kept
from celeriac.core.message import IdempotencyKey, Join, Published, TaskMessage
from celeriac.core.workflow import Node, Workflow
from celeriac.store.guest import Guest
from celeriac.store.tables import Outside, check_table, run

#: Rows given to the broker at once, and seconds in which they are: after that another relay takes them.
BATCH, LEASE = 200, 15.0
#: Seconds until a message that the broker refused is tried again.
REFUSED_FOR = 60.0


class OutboxWriter:
    """Writes on somebody's connection, in his transaction.

    Args:
        guest: the connection.
        destination: names the broker, so that no other's relay takes what is for it.
        why: what the connection has to do with an outbox, for the error.

    Raises:
        TransactionError: there is no such table.
    """

    in_store = False

    def __init__(self, guest: Guest, destination: str, why: str) -> None:
        self._guest = guest
        self._destination = destination
        self._joins: list[Join] = []
        check_table(guest, "outbox", why)

    def publish(self, messages: Sequence[TaskMessage]) -> list[Published]:
        """Keep the messages; they are sent after the transaction has committed, and if it does.

        Keys are claimed when they are sent: a task whose key is taken by then ends with the result of its holder.
        """
        self._guest.check_transaction()
        for message in messages:
            message.joins, self._joins = tuple(self._joins), []
            row = (self._destination, message.queue, message.task_id, message.name, encoded(message))
            run(self._guest, "outbox.write", row)
        run(self._guest, "outbox.announce")
        return [Published(message.task_id) for message in messages]

    def join(self, join: Join) -> None:
        """Have the next message, which is a member, take along what its chord is joined by."""
        self._joins.append(join)


class Row(NamedTuple):
    """One message on its way, and how many seconds it has waited."""

    id: int
    message: TaskMessage
    waited: float = 0.0


class Waiting(NamedTuple):
    """What one queue's outbox holds: messages, those the broker refused, the age of the oldest in seconds, an error."""

    destination: str
    queue: str
    waiting: int
    refused: int
    oldest: float
    error: str | None


class OutboxReader:
    """Takes what was written, a batch at a time, for one broker, which has a name of its own and one in the settings."""

    def __init__(self, outside: Outside, names: tuple[str, str]) -> None:
        self.outside = outside
        self._names = names

    def take(self) -> list[Row]:
        """The oldest messages, which no other relay is given meanwhile; none while another has some."""
        # Only a look: who has nothing to relay takes no lock.
        if self.outside.absent or not self.outside.run("outbox.work", self._names)[0][0]:
            return []
        first, second = self._names
        found = self.outside.run("outbox.take", (first, LEASE, BATCH, second))
        return [Row(row_id, decoded(text), float(waited)) for row_id, text, waited in sorted(found)]

    def sent(self, rows: Sequence[Row]) -> None:
        """The broker has them."""
        self.outside.run_many("outbox.sent", [(row.id,) for row in rows])

    def put_back(self, rows: Sequence[Row]) -> None:
        """The broker does not answer: they wait as before."""
        self.outside.run_many("outbox.put_back", [(row.id,) for row in rows])

    def refused(self, row: Row, error: str) -> None:
        """The broker will not have it, for a reason of its own: the others go on."""
        self.outside.run("outbox.refused", (error, REFUSED_FOR, row.id))

    def status(self) -> list[Waiting]:
        """What waits, of whatever broker."""
        return [] if self.outside.absent else [Waiting(*row) for row in self.outside.run("outbox.status")]


def encoded(message: TaskMessage) -> str:
    """A message as text."""
    fields = asdict(message)
    fields["body"] = _packed(message.body)
    if message.joins:
        fields["joins"] = [join._replace(tree=_packed(join.tree)) for join in message.joins]
    else:
        del fields["joins"]  # relays of the version before know of none
    return json.dumps(fields)


def decoded(text: str) -> TaskMessage:
    """A message from its text; never the second of its id, whatever has become of the first."""
    fields: dict[str, Any] = json.loads(text)
    fields["body"] = _unpacked(fields["body"])
    if fields["key"] is not None:
        # Its id was given away when it was written.
        fields |= {"key": IdempotencyKey(**fields["key"]), "awaited": True}
    if fields["generation"] is None:
        fields["generation"] = 0
    if (opens := fields.get("opens")) is not None:
        fields["opens"] = Workflow(**{**opens, "nodes": [Node(**node) for node in opens["nodes"]]})
    if (chains := fields.get("chains")) is not None:
        kept = (Kept(chain_id, how, tuple(steps)) for chain_id, how, steps in chains["kept"])
        fields["chains"] = Chains(tuple(kept), tuple((chain_id, holder) for chain_id, holder in chains["needs"]))
    joins = (Join(*join) for join in fields.get("joins", ()))
    fields["joins"] = tuple(join._replace(tree=_unpacked(join.tree)) for join in joins)
    return TaskMessage(**fields)


def _packed(value: str | bytes | None) -> Any:
    """As JSON can have it."""
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _unpacked(value: Any) -> Any:
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else value
