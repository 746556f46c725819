"""Messages: accepted, claimed under a lease, handed back, reclaimed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from celeriac.core.fingerprints import fingerprint
from celeriac.core.limits import Rule
from celeriac.core.message import LAST_CHANCE, Delivery, LaneSize, Lease, Published, QueueSize, Reclaimed, TaskMessage
from celeriac.errors import IdempotencyConflict
from celeriac.store.protocols import Sending
from celeriac.store.redis.ahead import Asked
from celeriac.store.redis.packing import (
    Argument,
    leases_arguments,
    messages_arguments,
    number,
    pack,
    plain,
    text,
    texts_arguments,
    to_leases,
    to_number,
    unpack,
    unpack_text,
)
from celeriac.store.redis.part import AT_ONCE, REMEMBERED, Part

#: More crashes than any task has.
MANY = 1 << 30
#: In an answer of claims: a suspect, beside which nothing is claimed; and that a script has only set aside what it may.
_ALONE, _MORE = 1, 2
#: What ``sizes`` tells besides, where there is any.
EXTRA = ("relayed", "limited", "paused")
#: How an answer names the holder of a key.
_HOLDER = b"h"


def published(message: TaskMessage, answer: bytes) -> Published:
    """What became of one message."""
    if answer[:1] == _HOLDER:
        return Published(message.task_id, duplicate_of=text(answer[1:]))
    return Published(message.task_id, live=answer == b"live" and message.key is None)


def refuse_conflict(messages: Sequence[TaskMessage], answer: Any) -> None:
    """Raise the conflict that was found before anything was written."""
    if isinstance(answer, list) and answer[:1] == [b"conflict"]:
        key = messages[answer[1] - 1].key
        assert key is not None  # only keys are held
        raise IdempotencyConflict(key.task, key.value, text(answer[2]))


def deliveries(answer: list[Any]) -> list[Delivery]:
    now, _, rows = answer
    claimed_at = float(now)
    return [delivery(row, claimed_at) for row in rows]


def delivery(row: list[Any], claimed_at: float) -> Delivery:
    (
        message_id,
        token,
        queue,
        envelope,
        body,
        task_id,
        generation,
        crashes,
        suspect,
        revoked,
        settled,
        priority,
        limited,
    ) = row
    return Delivery(
        Lease(int(message_id), token),
        text(queue),
        text(envelope),
        unpack(body),  # type: ignore[arg-type]  # a body is never missing
        text(task_id) or None,
        int(generation),
        crashes,
        suspect == 1,
        revoked == 1,
        settled == 1,
        claimed_at,
        int(priority),
        limited=limited == 1,
    )


def _told(messages: Sequence[TaskMessage], answers: Any) -> list[Published]:
    refuse_conflict(messages, answers)
    return [published(message, answer) for message, answer in zip(messages, answers, strict=True)]


class Publishing:
    """Messages under way, and the operation that takes them there."""

    def __init__(self, messages: Sequence[TaskMessage], asked: Asked) -> None:
        self._messages = messages
        self.asked = asked

    def published(self) -> list[Published]:
        """What became of each."""
        return _told(self._messages, self.asked.answer())

    def abandon(self) -> None:
        """Hang up on the server."""
        self.asked.abandon()


class QueuePart(Part):
    """The queue's side of the store."""

    #: The limits that this process's tasks declare: they outrank the numbers that messages carry.
    rules: Mapping[str, Rule] = {}

    def hold(self, lease: Lease, limits: str) -> bool:
        return bool(self.database.call("leases.hold", [plain(limits), *lease]))

    def lanes(self, most: int) -> list[LaneSize]:
        return [
            LaneSize(text(queue), priority, text(limits), text(blocked_on) or None, waiting)
            for queue, priority, limits, blocked_on, waiting in self.database.call("queue.lanes", [most])
        ]

    def look_again(self) -> int:
        count = at = 0
        while True:
            seen, late = self.database.call("queue.look_again", [at, AT_ONCE, declared(self.rules)])
            count, at = count + late, at + seen - late  # those are among them no more
            if seen < AT_ONCE:
                return int(count)

    def taken(self) -> dict[str, int]:
        flat = self.database.call("queue.taken")
        return {text(bucket): int(count) for bucket, count in zip(flat[::2], flat[1::2], strict=True)}

    def publish(self, messages: Sequence[TaskMessage]) -> list[Published]:
        if not messages:
            return []
        patience = self.database.timeout
        answers = self.database.call("queue.publish", messages_arguments(messages), patience=patience)
        return _told(messages, answers)

    def publish_ahead(self, messages: Sequence[TaskMessage], behind: Sending | None) -> Sending | None:
        before = behind.asked if isinstance(behind, Publishing) else None
        arguments = messages_arguments(messages)
        return Publishing(messages, Asked(self.database, "queue.publish", arguments, self.database.timeout, before))

    def claim(
        self,
        queues: Sequence[str],
        limit: int,
        *,
        owner: str,
        lease: float,
        idle: bool = True,
        last_chance: int = LAST_CHANCE,
    ) -> list[Delivery]:
        below = MANY if idle else last_chance
        found: list[Delivery] = []
        while len(found) < limit:
            some = min(limit - len(found), AT_ONCE)
            answer = self.database.call(
                "queue.claim", _claim(queues, some, owner, lease, below, self.rules, first=not found)
            )
            claimed = deliveries(answer)
            found += claimed
            if answer[1] == _MORE and not claimed:
                continue
            if answer[1] == _ALONE or len(claimed) < some:
                break
        for item in found:
            item.batch = len(found)
        return found

    def last_chances(self, queues: Sequence[str], last_chance: int = LAST_CHANCE) -> bool:
        return bool(self.database.call("queue.last_chances", [last_chance, *texts_arguments(queues)]))

    def extend(self, leases: Sequence[Lease], lease: float) -> list[Lease]:
        if not leases:
            return []
        wanted = [number(lease), *leases_arguments(leases)]
        # A lease has room for two more tries on other connections.
        return to_leases(self.database.call("leases.extend", wanted, patience=self.database.timeout))

    def reject(self, lease: Lease, reason: str, error_type: str, error: str) -> None:
        why = (plain(reason), pack(error_type), pack(error), fingerprint(error_type, error))
        self.database.call("leases.reject", [*lease, REMEMBERED, *why])

    def start(self, lease: Lease) -> bool:
        return bool(self.database.call("leases.start", lease))

    def release(self, leases: Sequence[Lease], *, crashed: bool = False, error: str = "") -> list[Lease]:
        if not leases:
            return []
        return to_leases(self.database.call("leases.release", [int(crashed), pack(error), *leases_arguments(leases)]))

    def hand_back(self, leases: Sequence[Lease]) -> list[Lease]:
        if not leases:
            return []
        return to_leases(self.database.call("leases.hand_back", leases_arguments(leases)))

    def park(self, lease: Lease) -> bool:
        return bool(self.database.call("leases.park", lease))

    def ack(self, leases: Sequence[Lease]) -> None:
        if leases:
            self.database.call("leases.ack", leases_arguments(leases))

    def reclaim(self) -> list[Reclaimed]:
        found: list[Reclaimed] = []
        while taken := self.database.call("leases.reclaim", [AT_ONCE]):
            found += [
                Reclaimed(text(task_id) or None, unpack_text(name), bool(begun)) for task_id, name, begun in taken
            ]
        return found

    def next_due(self) -> float | None:
        return to_number(self.database.call("queue.next_due"))

    def size(self, queue: str) -> int:
        return int(self.database.call("queue.size", [plain(queue)]))

    def sizes(self) -> list[QueueSize]:
        sizes = [
            QueueSize(
                text(queue),
                ready,
                delayed,
                claimed,
                to_number(oldest),
                {name: count for name, count in zip(EXTRA, (relayed, limited, held), strict=True) if count},
            )
            for queue, ready, delayed, claimed, relayed, limited, held, oldest in self.database.call("queue.sizes")
        ]
        return sorted(sizes, key=lambda size: size.queue)

    def purge(self, queue: str) -> int:
        total = 0
        while dropped := self.database.call("queue.purge", [plain(queue), AT_ONCE, REMEMBERED]):
            total += dropped
        return total


def _claim(
    queues: Sequence[str],
    limit: int,
    owner: str,
    lease: float,
    below: int,
    rules: Mapping[str, Rule],
    *,
    first: bool,
) -> Iterator[Argument]:
    yield from (number(lease), pack(owner), limit, below, "1" if first else "0")
    yield from texts_arguments(queues)
    yield declared(rules)


def declared(rules: Mapping[str, Rule]) -> str:
    """The limits that the process declares, as the scripts read them."""
    return json.dumps(rules) if rules else ""
