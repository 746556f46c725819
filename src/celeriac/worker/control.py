"""Remote control whose revokes are kept, and that knows what runs."""

from __future__ import annotations

from typing import Any

from celery.app.control import Control as CeleryControl
from kombu.pidbox import Mailbox as KombuMailbox
from kombu.pidbox import Node as KombuNode
from kombu.utils.functional import maybe_list


class Node(KombuNode):  # type: ignore[misc]  # kombu's class is untyped at runtime
    """A worker that is asked, or told, something about its tasks."""

    def handle(self, method: str, arguments: dict[str, Any] | None = None) -> Any:
        pool = getattr(getattr(self.state, "consumer", None), "pool", None)
        tell = getattr(pool, "tell_what_began", None)  # ours; its module is no client's to load
        if tell is not None:
            tell()
        return super().handle(method, arguments)


class Mailbox(KombuMailbox):  # type: ignore[misc]  # kombu's class is untyped at runtime
    """kombu's mailbox with nodes of ours."""

    node_cls = Node


class Control(CeleryControl):  # type: ignore[misc]  # Celery has no types
    """Celery's control; a revoke holds also when no worker hears it."""

    Mailbox = Mailbox

    def purge(self, connection: Any = None) -> int:
        """As Celery's; beside a broker that is no store, also what the ledger has for the queues, or will give them again."""
        count = int(super().purge(connection))
        if self.app.ledger_beside is not None:
            count += sum(self.app.store.purge(queue) for queue in self.app.amqp.queues.consume_from)
        return count

    discard_all = purge

    def broadcast(self, command: str, arguments: dict[str, Any] | None = None, **options: Any) -> Any:
        if self.app.has_ledger and command in ("revoke", "terminate") and arguments:
            ids = maybe_list(arguments.get("task_id") or arguments.get("ids")) or []
            self.app.store.revoke(ids, self.app.own_settings.revoke_expires)
        return super().broadcast(command, arguments=arguments, **options)
