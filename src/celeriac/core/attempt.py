"""One attempt at a task, and everything its end means: the settlement."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from celeriac.core.chains import Chains
from celeriac.core.checkpoint import Checkpoint
from celeriac.core.message import DeliveryFacts, IdempotencyKey, Lease, TaskMessage
from celeriac.core.retries import GiveUp


class Outcome(Enum):
    """How an attempt ended."""

    COMPLETED = "completed"
    FAILED = "failed"  # the task's own word: throws, reject; no dead letter
    DEAD_LETTERED = "dead-lettered"
    RETRY = "retry"
    REPLACED = "replaced"  # Task.replace: the id lives on in another message
    IGNORED = "ignored"
    REVOKED = "revoked"
    SNOOZED = "snoozed"  # put off, no attempt counted
    REQUEUED = "requeued"  # Reject(requeue=True): back as it was
    DUPLICATE = "duplicate"
    UNSETTLED = "unsettled"
    LEASE_LOST = "lease-lost"


#: Outcomes after which the task's generation is over for good.
TERMINAL = frozenset(
    {
        Outcome.COMPLETED,
        Outcome.FAILED,
        Outcome.DEAD_LETTERED,
        Outcome.IGNORED,
        Outcome.REVOKED,
    }
)
#: Outcomes that put the message back for the same generation.
HANDED_BACK = frozenset({Outcome.SNOOZED, Outcome.REQUEUED})


@dataclass(slots=True)
class Record:
    """What the ledger keeps of a task: one row, one generation.

    ``result`` and ``meta`` are text the result backend encoded; times are
    seconds since the epoch.
    """

    task_id: str
    generation: int
    state: str
    closed: bool
    name: str | None = None
    queue: str | None = None
    worker: str | None = None
    retries: int = 0
    started_at: float | None = None
    finished_at: float | None = None
    result: str | bytes | None = None
    traceback: str | None = None
    meta: str | None = None
    expires_at: float | None = None
    #: A failure's, for the list of those that nobody has read; not kept in the row.
    error_type: str | None = None
    error: str | None = None
    #: Somebody hears of its failure in another way than by its result.
    told: bool = False
    #: Of one that waits or runs: how often it was put off, and until when it waits now; never written.
    snoozes: int = 0
    due_at: float | None = None


@dataclass(slots=True)
class ChordPart:
    """A header member's contribution to its chord."""

    group_id: str
    task_id: str
    position: int
    succeeded: bool
    result: str | bytes | None
    body: str
    #: It has not failed: it was revoked, has expired, or said that it is to be ignored.
    cancelled: bool = False


@dataclass(slots=True)
class Failure:
    """Why an attempt did not succeed, as it is kept in the history."""

    reason: str
    error_type: str
    error: str
    traceback: str | None = None


@dataclass(slots=True)
class Settlement:
    """All that one settle writes, in one transaction, or not at all."""

    lease: Lease
    task_id: str
    generation: int
    outcome: Outcome
    record: Record | None = None
    failure: Failure | None = None
    retry: TaskMessage | None = None
    snooze_until: float | None = None
    chord: list[ChordPart] = field(default_factory=list)
    follow_ups: list[TaskMessage] = field(default_factory=list)
    others: list[Record] = field(default_factory=list)
    #: Chords that each get one more member than they had.
    grown: list[str] = field(default_factory=list)
    key: IdempotencyKey | None = None
    started_at: float | None = None
    worker: str | None = None
    #: Its end lets something go on that waits for the same limits.
    limited: bool = False
    #: How far it came, where it has said so.
    checkpoint: Checkpoint | None = None
    #: What is handed back waits behind all that waits now, instead of in its place.
    behind: bool = False
    #: The workflow whose rest its end cancels, and who says so.
    cancels: tuple[str, str] | None = None


@dataclass(slots=True)
class Attempt:
    """One run of a task: what is known of it, and what has come of it so far.

    The pipeline makes it, the wrapped ``run``, the result backend and the
    publish pipeline add to it, and ``settle`` writes it.
    """

    task_id: str
    name: str
    delivery: DeliveryFacts
    worker: str
    started_at: float
    key: IdempotencyKey | None = None
    started_clock: float = 0.0
    #: What is published from now on waits for the settle.
    buffering: bool = False
    outcome: Outcome = Outcome.UNSETTLED
    record: Record | None = None
    failure: Failure | None = None
    retry: TaskMessage | None = None
    snooze_until: float | None = None
    chord: list[ChordPart] = field(default_factory=list)
    follow_ups: list[TaskMessage] = field(default_factory=list)
    others: list[Record] = field(default_factory=list)
    after_settle: list[Any] = field(default_factory=list)
    #: The holder's result, when this one settles with it instead of running.
    copied: Any = None
    copies: bool = False
    #: The Celery task, for the wrapped ``run``; whether that has been entered.
    task: Any = None
    entered: bool = False
    #: The body has ended: what comes now is bookkeeping, and no time limit of the task's.
    over: bool = False
    #: Who watches its time limits in this process, and the future of its coroutine.
    deadline: Any = None
    waits_for: Any = None
    #: Members of chords that this run has announced and not sent yet, with the chord each belongs to.
    growing: dict[str, str] = field(default_factory=dict)
    #: One of them is being sent, and all of it is a part of the workflow.
    adding: bool = False
    #: What the body raised.
    raised: Exception | None = None
    #: It raised a ``Snooze``.
    put_off: bool = False
    #: Why that is not tried again, where a policy was asked.
    gave_up: GiveUp | None = None
    #: The backend knows how it ended; what Celery reports after that comes of a hook that raised.
    told: bool = False
    #: ``Task.retry`` is publishing: the message replaces this one's row.
    retrying: bool = False
    replaced: bool = False
    #: Makes Celery's request; None where no task can be run.
    request: Any = None
    #: Of which workflow it is a part, as its message says.
    workflow: list[Any] | None = None
    #: What is published now tells of a failure, and is no part of the workflow, whose rest may be cancelled for it.
    telling: bool = False
    marked: bool = False
    #: How far it says that it is, where it does; ``execution.tracking``.
    tracker: Any = None
    #: It goes back into its queue, though it waits for nothing.
    gives_way: bool = False
    checkpoint: Checkpoint | None = None
    behind: bool = False
    cancels: tuple[str, str] | None = None

    def settlement(self) -> Settlement:
        """The attempt as the store takes it."""
        return Settlement(
            lease=self.delivery.lease,
            task_id=self.task_id,
            generation=self.delivery.generation,
            outcome=self.outcome,
            record=self.record,
            failure=self.failure,
            retry=self.retry,
            snooze_until=self.snooze_until,
            chord=self.chord,
            follow_ups=self.follow_ups,
            others=self.others,
            grown=list(self.growing.values()),
            key=self.key,
            started_at=self.started_at,
            worker=self.worker,
            limited=self.delivery.limited,
            checkpoint=self.checkpoint,
            behind=self.behind,
            cancels=self.cancels,
        )


@dataclass(slots=True, frozen=True)
class Settled:
    """The store's answer to one settlement.

    ``held`` is false when the lease was lost: nothing was written then.
    ``complete_chords`` are groups whose last member this was.
    """

    held: bool
    complete_chords: tuple[str, ...] = ()


@dataclass(slots=True)
class AttemptRecord:
    """One line of a task's history."""

    task_id: str
    generation: int
    started_at: float | None
    finished_at: float
    worker: str | None
    outcome: str
    error_type: str | None
    error: str | None
    traceback: str | None


@dataclass(slots=True, repr=False)
class DeadLetter:
    """A task that gave up, with all that is needed to look at it and send it again."""

    id: int
    task_id: str
    generation: int
    name: str | None
    queue: str
    reason: str
    error_type: str
    error: str
    traceback: str | None
    worker: str | None
    failed_at: float
    envelope: str
    body: str | bytes
    priority: int = 0
    #: What errors of its kind have in common; None in what an older version wrote.
    fingerprint: str | None = None
    #: Since when somebody has taken note of it, and what they said.
    acked_at: float | None = None
    acked_by: str | None = None
    note: str | None = None
    #: How often it was put off; no attempt was counted then.
    snoozes: int = 0
    attempts: list[AttemptRecord] = field(default_factory=list)
    #: Of one that is imported: the rests of chains that it needs.
    chains: Chains | None = None

    def __repr__(self) -> str:
        error = f"{self.error_type.rpartition('.')[2]}: {self.error}"
        return f"<DeadLetter {self.id}: {self.name}[{self.task_id}] {self.reason}, {error}>"


@dataclass(slots=True, frozen=True)
class DeadLetterFilter:
    """Which dead letters: every given condition must hold.

    ``task`` and ``queue`` are names or globs, ``error`` is a part of the error
    type or text; ages are seconds; ``acknowledged`` is None for either.
    """

    ids: tuple[int, ...] = ()
    task: str | None = None
    queue: str | None = None
    error: str | None = None
    older_than: float | None = None
    newer_than: float | None = None
    fingerprint: str | None = None
    acknowledged: bool | None = None
