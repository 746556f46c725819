"""What travels: the task message, and every header celeriac adds, named once."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from celeriac.core.workflow import Workflow

from celeriac.core.chains import Chains

#: The delivery's own facts (message row, fencing token, generation, …), a list
#: written by the transport on delivery and read by the execution pipeline.
DELIVERY_HEADER = "celeriac"

#: ``{"key": …, "digest": …, "ttl": seconds}`` of a task published under an
#: idempotency key.
KEY_HEADER = "celeriac_key"

#: ``[uuid, location]`` of the ledger that a message published to another broker belongs to.
LEDGER_HEADER = "celeriac_ledger"

#: The limits of a task's message, as ``core.limits.pack`` writes them.
LIMITS_HEADER = "celeriac_limits"

#: When the first run of a task that is tried again began, in seconds since the epoch. Of a first run it says nothing.
SINCE_HEADER = "celeriac_since"

#: Whose part a message is, as ``core.workflow.Membership`` writes it.
WORKFLOW_HEADER = "celeriac_workflow"

#: Crashes after which the next run is the last before burial, and shared with nobody.
LAST_CHANCE = 2

#: AMQP's range: ten priorities, the higher number goes first.
LOWEST_PRIORITY, HIGHEST_PRIORITY = 0, 9


@dataclass(slots=True, frozen=True)
class IdempotencyKey:
    """A key as it is published: unique for one task name while it is held.

    ``digest`` identifies the arguments, ``ttl`` is how long (seconds) the key
    stays taken after its holder succeeded.
    """

    task: str
    value: str
    digest: str
    ttl: float


@dataclass(slots=True, frozen=True)
class KeyHolder:
    """Who has an idempotency key; ``done`` when that task has succeeded."""

    task_id: str
    digest: str
    done: bool


class Join(NamedTuple):
    """What a chord is joined by, written with one of its members: how many there are, or the tree of its header.

    ``expires_at`` is when the tree may be forgotten; None for never.
    """

    group_id: str
    size: int | None = None
    tree: str | bytes | None = None
    expires_at: float | None = None


@dataclass(slots=True)
class TaskMessage:
    """One message on its way into a queue.

    ``envelope`` is the JSON text of ``[headers, properties, content type,
    content encoding]``; ``body`` is what the serializer made and is never
    looked into. Times are seconds since the epoch. ``generation`` is normally
    left to the store, which numbers a task one higher than what has settled
    under its id.
    """

    queue: str
    envelope: str
    body: str | bytes
    task_id: str | None = None
    name: str | None = None
    priority: int = LOWEST_PRIORITY
    run_at: float | None = None
    expires_at: float | None = None
    generation: int | None = None
    key: IdempotencyKey | None = None
    #: Somebody already holds this id (a canvas member, a chain's tail, a
    #: linked callback), so a taken key must not make the publish vanish.
    awaited: bool = False
    #: Published by a settle: a conflict is this message's own, not its
    #: predecessor's.
    follow_up: bool = False
    #: A chord that has one more member with this message, counted when it is sent.
    grows: str | None = None
    #: What must let it start, as ``core.limits.pack`` writes it; None where nothing does.
    limits: str | None = None
    #: The workflow that is recorded with this message, its first.
    opens: Workflow | None = None
    #: Rests of chains that the store is to keep with it, or that it needs.
    chains: Chains | None = None
    #: What was to be written of chords before it, and waits for somebody's commit as it does.
    joins: tuple[Join, ...] = ()


@dataclass(slots=True, frozen=True)
class Published:
    """What became of one published message.

    ``duplicate_of`` is the id of the task that holds its idempotency key;
    nothing was sent then. Nor was it where the task of this very id is ``live``: waits or runs.
    """

    task_id: str | None
    duplicate_of: str | None = None
    live: bool = False


class Lease(NamedTuple):
    """The right to settle one delivery: message row and fencing token."""

    message_id: int
    token: int


class Reclaimed(NamedTuple):
    """A message that was taken back from a holder that vanished; ``begun``: that had marked it as started."""

    task_id: str | None
    name: str | None
    begun: bool


@dataclass(slots=True)
class Delivery:
    """One claimed message, as the store hands it out.

    ``claimed_at`` is on the store's lease clock (seconds). ``crashes`` counts
    the earlier runs that took their process down; a ``suspect`` was last held
    by a worker that vanished.
    """

    lease: Lease
    queue: str
    envelope: str
    body: str | bytes
    task_id: str | None
    generation: int
    crashes: int
    suspect: bool
    revoked: bool
    settled: bool
    claimed_at: float
    priority: int = LOWEST_PRIORITY
    #: How many were claimed together: a lone one settles at once.
    batch: int = 1
    #: It holds slots, or was let start by a rate.
    limited: bool = False

    def header(self) -> list[Any]:
        """The facts the pipeline needs, in the order ``from_header`` reads."""
        return [
            self.lease.message_id,
            self.lease.token,
            self.generation,
            self.crashes,
            int(self.suspect),
            int(self.revoked),
            int(self.settled),
            self.claimed_at,
            self.queue,
            self.batch,
            int(self.limited),
        ]


class Adoption(Enum):
    """Why a message that another broker delivered is not run by whoever got it."""

    SETTLED = "settled"  # it is over: a copy
    HELD = "held"  # the ledger has it already, and sees to it
    DELAYED = "delayed"  # the ledger keeps it until it is due
    ALONE = "alone"  # its last chance before burial, for a worker that holds nothing else; it stays as it was


class DeliveryFacts(NamedTuple):
    """The delivery header, read back in the process that runs the task."""

    lease: Lease
    generation: int = 0
    crashes: int = 0
    suspect: bool = False
    revoked: bool = False
    settled: bool = False
    claimed_at: float = 0.0
    queue: str = ""
    batch: int = 1
    limited: bool = False

    @classmethod
    def from_header(cls, header: list[Any]) -> DeliveryFacts:
        row, token, generation, crashes, suspect, revoked, settled, at, queue, batch, limited = header
        lease = Lease(row, token)
        return cls(lease, generation, crashes, suspect == 1, revoked == 1, settled == 1, at, queue, batch, limited == 1)


class LaneSize(NamedTuple):
    """What waits in one lane: a queue's messages of one priority with the same limits, and the bucket that had no room."""

    queue: str
    priority: int
    limits: str
    blocked_on: str | None
    waiting: int


@dataclass(slots=True)
class Broadcast:
    """A fanout message: every live listener of the exchange gets a copy."""

    id: int
    exchange: str
    routing_key: str
    envelope: str
    body: str | bytes


@dataclass(slots=True)
class QueueSize:
    """What one queue holds, in messages, and the age of its oldest ready one."""

    queue: str
    ready: int = 0
    delayed: int = 0
    claimed: int = 0
    oldest_ready_seconds: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)
