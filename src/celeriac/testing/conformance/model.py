"""The queue in plain Python: what a store must do, said a second time and simply."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from celeriac.core.attempt import Outcome
from celeriac.core.message import LAST_CHANCE, Delivery, IdempotencyKey, KeyHolder

READY, DELAYED, CLAIMED, PARKED, SUSPECT = "ready", "delayed", "claimed", "parked", "suspect"
#: The state of each outcome that ends a generation.
ENDS = {
    Outcome.COMPLETED: "SUCCESS",
    Outcome.FAILED: "FAILURE",
    Outcome.DEAD_LETTERED: "FAILURE",
    Outcome.IGNORED: "IGNORED",
    Outcome.REVOKED: "REVOKED",
}


@dataclass(slots=True)
class Live:
    """The one message of a task."""

    task_id: str
    queue: str
    priority: int
    arrival: int
    generation: int
    key: IdempotencyKey | None
    run_at: float | None = None
    status: str = READY
    crashes: int = 0
    started: bool = False
    held: Delivery | None = None
    lease_until: float = 0.0


@dataclass(slots=True)
class Holder:
    """Who has a key."""

    task_id: str
    done: bool = False
    until: float = 0.0


@dataclass(slots=True)
class Letter:
    """A dead letter."""

    task_id: str
    generation: int
    queue: str
    priority: int
    key: IdempotencyKey | None


@dataclass(slots=True)
class QueueModel:
    """All that a store knows. ``now`` is in seconds, and moves only when it is told to."""

    now: float = 0.0
    live: dict[str, Live] = field(default_factory=dict)
    #: The newest generation that has ended, and how.
    ended: dict[str, tuple[int, str]] = field(default_factory=dict)
    keys: dict[str, Holder] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    letters: list[Letter] = field(default_factory=list)
    arrivals: int = 0

    # -- publish

    def publish(self, message: Live, *, awaited: bool, follow_up: bool = False) -> str | None:
        """Accept a message; returns who holds its key, when nothing was sent for that."""
        holder = self.holder(message.key)
        own = holder is not None and holder.task_id == message.task_id
        if holder is None or (own and (follow_up or not holder.done)):
            if self._insert(message, READY) and message.key is not None:
                self.keys[message.key.value] = Holder(message.task_id)
        elif not awaited:
            return holder.task_id
        else:
            self._insert(message, READY if holder.done else PARKED)
        return None

    def _insert(self, message: Live, status: str) -> bool:
        if message.task_id in self.live:
            return False
        delayed = status == READY and message.run_at is not None and message.run_at > self.now
        self.arrivals += 1
        self.live[message.task_id] = replace(
            message,
            arrival=self.arrivals,
            status=DELAYED if delayed else status,
            generation=max(message.generation, self.next_generation(message.task_id)),
        )
        return True

    def next_generation(self, task_id: str) -> int:
        """One more than what has ended."""
        return self.ended[task_id][0] + 1 if task_id in self.ended else 0

    # -- claim

    def claim(self, queues: Sequence[str], limit: int, *, idle: bool) -> list[Live]:
        """What the next claim takes, in order."""
        for found in self.live.values():
            if found.status == DELAYED and self._due(found):
                found.status = SUSPECT if found.crashes else READY
        suspect = self._first_suspect(queues, idle=idle)
        if suspect is not None:
            return [suspect]
        ready = [found for queue in queues for found in self._ready(queue)]
        return ready[:limit]

    def _due(self, found: Live) -> bool:
        return found.run_at is None or found.run_at <= self.now

    def _first_suspect(self, queues: Sequence[str], *, idle: bool) -> Live | None:
        suspects = [
            found
            for found in self.live.values()
            if found.status == SUSPECT and found.queue in queues and (idle or found.crashes < LAST_CHANCE)
        ]
        return min(suspects, key=lambda found: (queues.index(found.queue), found.arrival), default=None)

    def _ready(self, queue: str) -> list[Live]:
        ready = [found for found in self.live.values() if found.status == READY and found.queue == queue]
        return sorted(ready, key=lambda found: (-found.priority, found.arrival))

    def hold(self, found: Live, delivery: Delivery, lease: float) -> None:
        """The message was handed out."""
        found.status, found.held, found.started, found.lease_until = CLAIMED, delivery, False, self.now + lease

    def holds(self, delivery: Delivery) -> Live | None:
        """The message, when this delivery is still its newest."""
        found = self.live.get(delivery.task_id or "")
        return found if found is not None and found.status == CLAIMED and found.held is delivery else None

    # -- leases

    def back(self, found: Live, *, crashed: bool = False, until: float | None = None) -> None:
        """Handed back, or taken back."""
        found.crashes += crashed
        found.held, found.started = None, False
        found.status = SUSPECT if found.crashes else READY
        if until is not None:
            found.status, found.run_at = DELAYED, until

    def reclaim(self) -> int:
        """Take back what nobody renewed."""
        lost = [found for found in self.live.values() if found.status == CLAIMED and found.lease_until <= self.now]
        for found in lost:
            self.back(found, crashed=found.started)
            found.status = SUSPECT
        return len(lost)

    # -- settle

    def end(self, found: Live, outcome: Outcome) -> None:
        """Its generation is over, and its message gone."""
        del self.live[found.task_id]
        self.ended[found.task_id] = (found.generation, ENDS[outcome])
        if outcome is Outcome.DEAD_LETTERED:
            self.letters.append(Letter(found.task_id, found.generation, found.queue, found.priority, found.key))
        self._settle_keys(found.task_id, keep=outcome is Outcome.COMPLETED)

    def _settle_keys(self, task_id: str, *, keep: bool) -> None:
        for value, holder in list(self.keys.items()):
            if holder.task_id == task_id and not holder.done:
                self.keys.pop(value)
                self._let_go(value)
                if keep:
                    self.keys[value] = Holder(task_id, done=True, until=self.now + self._ttl)

    _ttl: float = 25.0

    def _let_go(self, value: str) -> None:
        for found in self.live.values():
            if found.status == PARKED and found.key is not None and found.key.value == value:
                found.status = READY if self._due(found) else DELAYED
                if found.crashes and found.status == READY:
                    found.status = SUSPECT

    def retry(self, found: Live, run_at: float | None) -> None:
        """The next generation, in its place."""
        self.ended[found.task_id] = (found.generation, "RETRY")
        found.generation += 1
        found.crashes, found.held, found.started, found.run_at = 0, None, False, run_at
        found.status = READY if self._due(found) else DELAYED

    # -- keys

    def holder(self, key: IdempotencyKey | None) -> Holder | None:
        """Who has the key now."""
        found = self.keys.get(key.value) if key is not None else None
        if found is None or (found.done and found.until <= self.now):
            return None
        waiting = self.live.get(found.task_id)
        refused = waiting is not None and waiting.status != CLAIMED and waiting.task_id in self.revoked
        return None if refused and not found.done else found

    def take_key(self, key: IdempotencyKey, task_id: str) -> KeyHolder:
        """Take it if it is free."""
        found = self.holder(key)
        if found is None:
            found = self.keys[key.value] = Holder(task_id)
        return KeyHolder(found.task_id, key.digest, found.done)

    # -- from outside

    def revoke(self, task_ids: Iterable[str]) -> list[str]:
        """Refuse these; returns those that need not wait any longer for that."""
        self.revoked |= set(task_ids)
        hastened = [found for name in task_ids if (found := self.live.get(name)) and found.status in (DELAYED, PARKED)]
        for found in hastened:
            found.status = READY
        return [found.task_id for found in hastened]

    def purge(self, queue: str) -> int:
        """Drop what waits."""
        dropped = [found for found in self.live.values() if found.queue == queue and found.status != CLAIMED]
        for found in dropped:
            self.end(found, Outcome.REVOKED)
        return len(dropped)

    def redrive(self, letter: Letter) -> bool:
        """Send a dead letter again, if its key and its id are free."""
        holder = self.holder(letter.key)
        if letter.task_id in self.live or (holder is not None and (holder.done or holder.task_id != letter.task_id)):
            return False
        self.letters.remove(letter)
        message = Live(letter.task_id, letter.queue, letter.priority, 0, letter.generation + 1, letter.key)
        self.publish(message, awaited=True)
        return True

    # -- looked at

    def state(self, task_id: str) -> str | None:
        """What the ledger says of a task."""
        found = self.live.get(task_id)
        ended = self.ended[task_id][1] if task_id in self.ended else None
        if found is None:
            return ended
        if found.status == CLAIMED:
            now = "STARTED" if found.started else "PENDING"
        else:
            now = "REVOKED" if task_id in self.revoked else "PENDING"
        return "RETRY" if (ended, now) == ("RETRY", "PENDING") else now

    def waiting(self, queue: str) -> int:
        """The size of a queue."""
        return sum(found.queue == queue and found.status != CLAIMED for found in self.live.values())
