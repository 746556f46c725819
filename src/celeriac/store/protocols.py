"""What the rooms above ask of a store. Small protocols, one conformance suite.

Times are seconds since the epoch unless a name says *lease clock*.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntFlag
from typing import Protocol

from celeriac.core.attempt import (
    AttemptRecord,
    ChordPart,
    DeadLetter,
    DeadLetterFilter,
    Record,
    Settled,
    Settlement,
)
from celeriac.core.chains import Kept
from celeriac.core.checkpoint import Checkpoint
from celeriac.core.desk import Action, By, ErrorGroup, UnreadFailure, Verb
from celeriac.core.limits import Rule
from celeriac.core.message import (
    LAST_CHANCE,
    Adoption,
    Broadcast,
    Delivery,
    IdempotencyKey,
    KeyHolder,
    LaneSize,
    Lease,
    Published,
    QueueSize,
    TaskMessage,
)
from celeriac.core.pauses import Pause, Paused, PauseKind, WaitingFilter, WaitingMessage
from celeriac.core.workflow import Counted, Workflow
from celeriac.core.workflow_members import Claimed
from celeriac.store.guest import Guest


class News(IntFlag):
    """What somebody may wait for. A store that cannot tell them apart wakes for all."""

    WORK = 1  #: a message to claim, or one that is due earlier than was known
    RESULTS = 2  #: the end of a task
    BROADCASTS = 4


ANY_NEWS = News.WORK | News.RESULTS | News.BROADCASTS


class Publisher(Protocol):
    """Where messages go."""

    def publish(self, messages: Sequence[TaskMessage]) -> list[Published]:
        """Accept the messages, all or none."""


class Sending(Protocol):
    """Messages under way: sent, and the store's answer still to be read. For one thread."""

    def published(self) -> list[Published]:
        """Wait for the answer, which says what ``publish`` does, and raises it; those of before are read before."""

    def abandon(self) -> None:
        """Nobody will ask: what became of them stays unknown."""


class MessageQueue(Protocol):
    """Messages that wait, and leases on those being worked on."""

    def publish(self, messages: Sequence[TaskMessage]) -> list[Published]:
        """Accept the messages, all or none.

        A task that waits or runs is not sent again. A key that is held sends
        nothing and names its holder, which may be the task itself when it has
        succeeded; an ``awaited`` message waits for the holder instead.

        Raises:
            IdempotencyConflict: a key is held with other arguments.
            StoreUnavailable: the store could not be written; nothing was sent.
        """

    def publish_ahead(self, messages: Sequence[TaskMessage], behind: Sending | None) -> Sending | None:
        """``publish`` without waiting, behind one whose answer may still be to come; None where nothing would be won.

        Raises:
            StoreUnavailable: the store is away; what became of these, and of those before, is unknown.
        """

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
        """Take up to ``limit`` messages for ``lease`` seconds, highest priority first, queues in the order given.

        No other message is claimed with a suspect. One with ``last_chance`` crashes or more is passed over unless
        ``idle`` says that the caller holds nothing.
        """

    def last_chances(self, queues: Sequence[str], last_chance: int = LAST_CHANCE) -> bool:
        """Whether a suspect waits in these queues that only an idle worker may claim."""

    def extend(self, leases: Sequence[Lease], lease: float) -> list[Lease]:
        """Renew for ``lease`` seconds; returns the ones that are lost."""

    def reject(self, lease: Lease, reason: str, error_type: str, error: str) -> None:
        """Turn a message that no worker can take into a dead letter."""

    def start(self, lease: Lease) -> bool:
        """Mark the delivery as started, durably; false when the lease is lost."""

    def release(self, leases: Sequence[Lease], *, crashed: bool = False, error: str = "") -> list[Lease]:
        """Hand back unfinished messages, and return them; with ``crashed`` the run is counted against them."""

    def hand_back(self, leases: Sequence[Lease]) -> list[Lease]:
        """Hand back what has not been marked as started; returns the others that are still held."""

    def park(self, lease: Lease) -> bool:
        """Put the message aside until its idempotency key is free; false when it already is."""

    def ack(self, leases: Sequence[Lease]) -> None:
        """Delete messages that no settlement accounts for (replies, unmanaged tasks)."""

    def reclaim(self) -> int:
        """Make the messages of vanished holders ready again; returns how many."""

    def next_due(self) -> float | None:
        """When the next delayed message is due."""

    def size(self, queue: str) -> int:
        """Messages waiting in ``queue``, delayed ones included; not those that another broker was given."""

    def sizes(self) -> list[QueueSize]:
        """All queues that hold anything; ``extra["relayed"]`` counts what another broker was given and nobody adopted.

        ``extra["limited"]`` counts what waits in lanes, ``extra["paused"]`` what is set aside of paused tasks.
        """

    def purge(self, queue: str) -> int:
        """Drop what waits in ``queue``; keys are freed; returns how many."""


class Limits(Protocol):
    """Messages that wait until their limits let them start; ``claim`` sees to that."""

    #: The limits that this process's tasks declare, by name: they outrank the numbers that messages carry.
    rules: Mapping[str, Rule]

    def hold(self, lease: Lease, limits: str) -> bool:
        """Have a message that came without limits wait for these (``core.limits.pack``); false when its lease is lost."""

    def lanes(self, most: int) -> list[LaneSize]:
        """What waits for its limits, in at most so many lanes."""

    def look_again(self) -> int:
        """Look soon at what waits for a rate longer than that rate has anything wait: a clock was set back; returns at how many."""

    def taken(self) -> dict[str, int]:
        """The slots that are taken now, by bucket: a limit's name and the value of its key."""


class Pauses(Protocol):
    """What people have stopped, for everybody who claims. What runs goes on."""

    def pause(self, kind: PauseKind, name: str, who: str, note: str) -> bool:
        """Stop a queue, or a task whatever queue it is in; false where it is paused already, which then stays as it was."""

    def resume(self, kind: PauseKind, name: str) -> bool:
        """Let it go on, and what was set aside wait again; false where it was not paused."""

    def paused(self) -> Paused:
        """What is paused now, as pairs of kind and name."""

    def pauses(self) -> list[Pause]:
        """The pauses, with how many wait for each."""

    def set_aside(self, lease: Lease) -> bool:
        """Hold a claimed message whose task has been paused since; false when its lease is lost."""

    def let_go(self) -> int:
        """Have wait again what is set aside and no pause holds; returns how many.

        It ends what a resume that died has left; a worker calls it now and then.
        """

    def waiting(self, chosen: WaitingFilter) -> Iterator[WaitingMessage]:
        """Messages of tasks that wait for whatever it is, were not revoked, and match; read in slices."""


class Outbox(Protocol):
    """The ledger beside a broker that is no store: what comes from there, and what goes there."""

    def adopt(
        self,
        messages: Sequence[TaskMessage],
        *,
        owner: str,
        lease: float,
        idle: bool = True,
        last_chance: int = LAST_CHANCE,
    ) -> list[Delivery | Adoption]:
        """Hold tasks that the broker delivered, for ``lease`` seconds, as if they had been claimed; all or none.

        A task that the ledger has to send, or has sent, is taken over as the ledger knows it. One with ``last_chance``
        crashes or more is only where ``idle`` says that the caller holds nothing.
        """

    def take_for_relay(self, limit: int, lease: float) -> list[Delivery]:
        """Up to ``limit`` messages that the broker is to be given now, of any queue, and nobody else for ``lease`` seconds.

        They can be adopted from now on. Their leases are only good for ``relayed``.
        """

    def relayed(self, leases: Sequence[Lease], again: float) -> None:
        """The broker has them; what nobody has adopted by then is to be given to it again after ``again`` seconds."""

    def relay_again(self, queue: str, missing: float, again: float) -> int:
        """Have what the broker was given ``missing`` seconds ago or longer given to it now: it has lost ``queue``.

        ``again`` is what ``relayed`` was told. What is not as long with the broker as it took to give it there waits on:
        each time takes twice as long, in case others read the queue. Returns how many.
        """


class Fanout(Protocol):
    """Broadcast messages, and the bindings other processes made."""

    def broadcast(self, exchange: str, routing_key: str, envelope: str, body: str | bytes) -> None:
        """Send to every live listener of ``exchange``."""

    def last_broadcast(self) -> int:
        """Where a new listener starts."""

    def listen(self, exchanges: Sequence[str], after: int) -> list[Broadcast]:
        """What was broadcast on ``exchanges`` since ``after``, oldest first."""

    def bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Remember a binding for every process."""

    def unbind(self, queue: str) -> None:
        """Forget a queue's bindings."""

    def bindings(self, exchange: str) -> list[tuple[str, str, str]]:
        """``(routing key, pattern, queue)`` of every binding of ``exchange``."""


class Ledger(Protocol):
    """What became of every task."""

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """Write the ends of attempts, each whole or (its lease lost) not at all, in one transaction.

        Raises:
            StoreUnavailable: nothing was written; worth another try.
            StoreError: one of them cannot be written, and so none was.
            ValueError: an outcome that settles nothing.
        """

    def store(self, record: Record) -> None:
        """Write a state that belongs to no settlement (custom states, results set by hand).

        What has ended stays as it is, except that a failure may be put right.
        """

    def records(self, task_ids: Sequence[str], *, live: bool = True) -> dict[str, Record]:
        """The newest record of each known task; a waiting or running one has a record too, unless not ``live``."""

    def forget(self, task_id: str, *, result_only: bool = False) -> None:
        """Drop a settled task's record; or its result only, so that a copy of its message is known as one."""

    def attempts(self, task_id: str) -> list[AttemptRecord]:
        """The attempts that did not simply succeed, oldest first."""

    def revoke(self, task_ids: Iterable[str], keep: float, by: By | None = None) -> list[str]:
        """Refuse these tasks for at least ``keep`` seconds, with a line in the log where it is said who does it.

        Whatever of them is claimed from now on is marked. Those that waited for
        a time or a key are ready at once, so that a worker ends them, and returned.
        """

    def save_group(self, group_id: str, result: str | bytes, expires_at: float | None) -> None:
        """Keep a group's result tree."""

    def get_group(self, group_id: str) -> str | bytes | None:
        """A kept group's result tree."""

    def delete_group(self, group_id: str) -> None:
        """Drop a group's result tree."""

    def prune(self, now: float, *, attempts_before: float, dead_letters_before: float | None) -> int:
        """Delete what has expired; returns how many rows."""


class Chords(Protocol):
    """Joins: which members have settled, and whether the body was sent."""

    def set_chord_size(self, group_id: str, size: int) -> bool:
        """Declare the number of members; true when that completes the chord."""

    def grow_chord(self, group_id: str, by: int) -> None:
        """Expect ``by`` more members."""

    def add_chord_part(self, part: ChordPart) -> bool:
        """Count a member that no settlement reports; true when that completes the chord.

        One that was closed as failed is complete again when its last failure is put right, or a member fails anew.
        """

    def knows_chord(self, group_id: str) -> bool:
        """Whether its body can still be sent, when all members have succeeded."""

    def chord_parts(self, group_id: str) -> tuple[str | None, list[ChordPart]]:
        """The body, and the members' results in order; no members once the chord is closed."""

    def close_chord(
        self,
        group_id: str,
        *,
        succeeded: bool,
        messages: Sequence[TaskMessage],
        records: Sequence[Record],
        parts: Sequence[ChordPart] = (),
    ) -> Settled:
        """Send the body's messages once, and count ``parts`` of other chords; not held when somebody else did."""

    def hold_chords_with(self, group_id: str, others: Sequence[str]) -> None:
        """Keep other chords for as long as dead letters keep this one, which leads on to them once these are redriven."""

    def chords_waiting(self, older_than: float) -> list[str]:
        """Complete chords whose body nobody has sent for ``older_than`` seconds."""


class Keys(Protocol):
    """Idempotency keys at execution."""

    def take_key(self, key: IdempotencyKey, task_id: str) -> KeyHolder:
        """Take the key for ``task_id``, a task not yet settled, if it is free; returns who has it now."""


class DeadLetters(Protocol):
    """Tasks that gave up, and the log of what people did with them."""

    def dead_letters(
        self, chosen: DeadLetterFilter, *, batch: int = 200, newest: int | None = None
    ) -> Iterator[DeadLetter]:
        """Those that match, or the ``newest`` so many of them, oldest first, with their attempts."""

    def count_dead_letters(self, chosen: DeadLetterFilter) -> int:
        """How many match."""

    def dead_letters_of(self, task_ids: Sequence[str]) -> dict[str, list[int]]:
        """The ids of the dead letters of each task that has any, oldest first."""

    def error_groups(self, chosen: DeadLetterFilter) -> list[ErrorGroup]:
        """Those that match by their error's fingerprint, the largest group first."""

    def redrive(self, letter: DeadLetter, message: TaskMessage, by: By, *, from_start: bool = False) -> None:
        """Send it again, one generation higher; it goes on from its checkpoint, unless ``from_start``.

        Raises:
            RedriveRefused: its idempotency key is held by another task.
            DeadLetterError: it is gone.
        """

    def purge_dead_letters(self, ids: Sequence[int], by: By) -> int:
        """Delete them; returns how many."""

    def acknowledge_dead_letters(self, ids: Sequence[int], by: By) -> int:
        """Mark them as known, with the note; returns how many there are. What was said of one before stays without a new note."""

    def reopen_dead_letters(self, ids: Sequence[int], by: By) -> int:
        """Take the mark away; returns how many had it."""

    def import_dead_letters(self, letters: Sequence[DeadLetter], by: By) -> int:
        """Add those that are not known, all or none, under ids of this store; returns how many.

        Known is the letter of a task's generation, and whatever the task has come to after that.
        """

    def record_action(self, verb: Verb, by: By) -> None:
        """Write into the log what was done with many at once."""

    def actions(self, task_id: str | None = None, *, newest: int = 200) -> list[Action]:
        """The newest lines of the log, or those of one task, oldest first."""


class Failures(Protocol):
    """Tasks that failed and of which nobody has heard: no error callback, and no result that was read."""

    def unread_failures(
        self, chosen: DeadLetterFilter, *, batch: int = 200, newest: int | None = None
    ) -> Iterator[UnreadFailure]:
        """Those that match by task, queue, error and age, or the ``newest`` so many of them, oldest first."""

    def count_unread_failures(self, chosen: DeadLetterFilter) -> int:
        """How many match."""

    def failures_read(self, task_ids: Sequence[str]) -> None:
        """Somebody has read how these ended."""

    def acknowledge_failures(self, task_ids: Sequence[str], by: By) -> int:
        """The same, said by a person, and so with a line in the log; returns how many were unread."""


class Circuits(Protocol):
    """Circuit breakers, whose state is a text (``core.circuits.dump``) that all processes change."""

    def read_circuit(self, name: str) -> tuple[int, str | None]:
        """Its version and state: 0 and None where nobody has written one."""

    def write_circuit(self, name: str, version: int, state: str) -> bool:
        """Replace the state that was read with ``version``; false where somebody else has written since."""

    def forget_circuit(self, name: str) -> bool:
        """Drop its state; false where there was none."""

    def all_circuits(self) -> dict[str, str]:
        """The state of every one, by name."""


class Workflows(Protocol):
    """Workflows, each recorded with the first of its messages (``TaskMessage.opens``)."""

    def workflow(self, workflow_id: str) -> Workflow | None:
        """One, by its id."""

    def workflows(self, most: int, *, before: Workflow | None = None) -> list[Workflow]:
        """The newest first, ``most`` of them, those that come after ``before`` then."""

    def unfinished_workflows(self, most: int) -> list[Workflow]:
        """Those that run or are blocked, as far as was noted, the one first that nobody has looked at for longest."""

    def workflow_of(self, task_id: str) -> str | None:
        """The id of the workflow of which the task, or the folded group, is a node; the newest if of several."""

    def cancel_workflow(self, workflow_id: str, by: str) -> bool:
        """Say that its members are not to run any more; false where somebody has said so before, or nobody knows it."""

    def cancelled_workflows(self, since: float = 0.0) -> frozenset[str]:
        """The ids of all of which somebody said so, ``since`` then, until they are forgotten."""

    def note_workflow(self, workflow_id: str, state: str, outcome: str, *, over: Sequence[str] = ()) -> None:
        """Keep what has become of it, longer than its members' results; nobody counts in the groups ``over`` any more."""

    def counted(self, group_ids: Sequence[str]) -> dict[str, Counted]:
        """How many members of each group have ended, as far as they are joined or counted."""

    def claimed_of_workflow(self, workflow_id: str) -> list[Claimed]:
        """Those of its tasks that a worker has now."""

    def workflows_under_way(self) -> frozenset[str]:
        """The ids of all of which a message waits, for whatever it is, or runs. It looks at every message."""

    def letters_of_workflow(self, workflow_id: str, since: float) -> list[int]:
        """The ids of the dead letters of its tasks that failed at ``since`` or later, the oldest first."""


class Checkpoints(Protocol):
    """How far tasks have come, one row a task; it ends with the task's record, and what can go on keeps it."""

    def save_checkpoint(self, lease: Lease, checkpoint: Checkpoint, *, absolve: bool = False) -> bool:
        """Write how far a run is; false, and nothing written, when its lease is lost.

        Cursors that are None leave those that are there. With ``absolve`` the crashes of the runs before count no more.
        """

    def checkpoints(self, task_ids: Sequence[str]) -> dict[str, Checkpoint]:
        """How far each has come that has ever said so."""


class Chains(Protocol):
    """The rests of long chains, which messages only name; ``TaskMessage.chains`` brings them here.

    What is kept stays for as long as one who needs it is there: a task that waits, runs or is a dead letter, a chord of
    which anything is known. After that it is pruned as old as attempts are.
    """

    def chain_step(self, chain_id: str, at: int) -> Kept | None:
        """One step, by its place from the end; None where it is not kept."""

    def chain_rest(self, chain_id: str, at: int) -> Kept | None:
        """All steps from that place to the end, the last one first; None where one of them is not kept."""

    def chains_needed_by(self, holder: str) -> list[Kept]:
        """Whole what a task, or a chord, has needed so far, by the ids of chains."""


class Store(
    MessageQueue,
    Limits,
    Pauses,
    Outbox,
    Fanout,
    Ledger,
    Chords,
    Keys,
    DeadLetters,
    Failures,
    Circuits,
    Workflows,
    Checkpoints,
    Chains,
    Protocol,
):
    """Everything, in one place: broker, ledger, keys and dead letters."""

    @property
    def location(self) -> str:
        """Where it is, for people: an absolute path, or a URL without its password."""

    @property
    def uuid(self) -> str:
        """Names this ledger in messages."""

    def now(self) -> float:
        """The store's wall clock."""

    def lease_now(self) -> float:
        """The store's lease clock."""

    def within(self, guest: Guest) -> Publisher:
        """Publishes on somebody else's connection, in his transaction.

        Raises:
            LeadsElsewhere: it does not lead here.
            TransactionError: it cannot be written on.
        """

    def keeper(self) -> Store:
        """A second store on the same data with connections of its own."""

    def wait(self, timeout: float, seen: int, news: News = ANY_NEWS) -> int:
        """Sleep until such was committed after ``seen`` or ``timeout`` seconds passed; returns the new mark.

        It may wake for nothing, and a word may be lost: who waits looks now and then by himself.
        Of broadcasts none is lost.
        """

    def rouse(self) -> None:
        """End the waits for work in this process: it can take more than it could."""

    def mark(self, news: News = ANY_NEWS) -> int:
        """The present commit mark, for ``wait`` for the same news."""

    def tidy(self) -> bool:
        """Bound what takes room on disk and holds nothing any more; true when something was done.

        A worker calls it every few seconds; where it is of no use it warns of what is in the way.
        """

    def close(self) -> None:
        """Close every connection of this process."""
