"""The ledger beside a broker that is no store: messages adopted from there, and relayed to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from celeriac.core.limits import Rule
from celeriac.core.message import LAST_CHANCE, Adoption, Delivery, Lease, TaskMessage
from celeriac.store.redis.packing import leases_arguments, messages_arguments, number, pack, plain
from celeriac.store.redis.part import Part
from celeriac.store.redis.queue import MANY, declared, deliveries, delivery


class OutboxPart(Part):
    rules: Mapping[str, Rule]

    """The broker's side of the ledger."""

    def adopt(
        self,
        messages: Sequence[TaskMessage],
        *,
        owner: str,
        lease: float,
        idle: bool = True,
        last_chance: int = LAST_CHANCE,
    ) -> list[Delivery | Adoption]:
        if not messages:
            return []
        below = MANY if idle else last_chance
        wanted = (number(lease), pack(owner), below, *messages_arguments(messages))
        now, answers = self.database.call("outbox.adopt", wanted)
        return [
            delivery(answer, float(now)) if isinstance(answer, list) else Adoption(answer.decode())
            for answer in answers
        ]

    def take_for_relay(self, limit: int, lease: float) -> list[Delivery]:
        found = deliveries(self.database.call("outbox.take", [number(lease), limit, declared(self.rules)]))
        return sorted(found, key=lambda item: item.lease.message_id)

    def relayed(self, leases: Sequence[Lease], again: float) -> None:
        if leases:
            self.database.call("outbox.relayed", [number(again), *leases_arguments(leases)])

    def relay_again(self, queue: str, missing: float, again: float) -> int:
        return int(self.database.call("outbox.again", [plain(queue), number(missing), number(again)]))
