"""Every exception celeriac raises, in one tree under `CeleriacError`.

The fields of an error are its `args`, and its text is composed from them. So an error survives pickling (a prefork
pipe) and Celery's JSON results (which call the class again with the stored `args`) with its fields whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone


class CeleriacError(Exception):
    """The root of the tree: `except CeleriacError` catches whatever celeriac itself raises."""


class CeleriacWarning(UserWarning):
    """The root of celeriac's warnings: what `defaults="celery"` tells of and `defaults="safe"` would refuse."""


class SettingsError(CeleriacError, ValueError):
    """A setting, or a broker URL, that cannot be what was meant. Raised while the app is configured."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(setting, problem)
        self.setting = setting
        self.problem = problem

    def __str__(self) -> str:
        return f"setting {self.setting}: {self.problem}"


class QueueOptionError(SettingsError):
    """An option of a `celeriac.Queue` that cannot work. Raised where the queue is declared, or at a worker's start."""

    def __init__(self, queue: str, option: str, problem: str) -> None:
        super().__init__("task_queues", problem)
        self.args = (queue, option, problem)
        self.queue = queue
        self.option = option

    def __str__(self) -> str:
        return f"queue {self.queue}, option {self.option}: {self.problem}"


class OptionError(CeleriacError, TypeError):
    """An option of a task that cannot work. Raised when the app is first used: there its tasks are bound to it.

    A `TypeError`, since a wrong keyword of a decorator is one everywhere else in Python.
    """

    def __init__(self, task: str, option: str, problem: str) -> None:
        super().__init__(task, option, problem)
        self.task = task
        self.option = option
        self.problem = problem

    def __str__(self) -> str:
        return f"task {self.task}, option {self.option}: {self.problem}"


class ArgumentError(CeleriacError, TypeError):
    """An argument that a task message cannot carry, or of which no key can be made. Raised in `delay()`.

    A `TypeError`, as Celery raises for a call that does not fit the signature. What cannot be serialised is raised as
    `celeriac.publish.arguments.UnsendableArgument`, which is kombu's `EncodeError` as well; that class lives there
    because nothing down here may import kombu.
    """

    def __init__(self, task: str, argument: str, problem: str) -> None:
        super().__init__(task, argument, problem)
        self.task = task
        self.argument = argument
        self.problem = problem

    def __str__(self) -> str:
        return f"task {self.task}, argument {self.argument}: {self.problem}"


class IdempotencyConflict(CeleriacError):
    """The key is held by a task of the same name that was published with other arguments."""

    def __init__(self, task: str, key: str, holder_id: str) -> None:
        super().__init__(task, key, holder_id)
        self.task = task
        self.key = key
        self.holder_id = holder_id

    def __str__(self) -> str:
        return (
            f"task {self.task}: idempotency key {self.key!r} is held by task id {self.holder_id} with other arguments. "
            "Nothing was sent. Use a key that contains every argument that matters, or wait until the key is free"
        )


class Unroutable(CeleriacError):
    """A task was published to an exchange from which no queue gets it; nothing was sent."""

    def __init__(self, task: str, exchange: str, routing_key: str) -> None:
        super().__init__(task, exchange, routing_key)
        self.task = task
        self.exchange = exchange
        self.routing_key = routing_key

    def __str__(self) -> str:
        return (
            f"task {self.task}: no queue is bound to exchange {self.exchange!r} with routing key {self.routing_key!r}. "
            f"Nothing was sent. Declare such a queue in task_queues, or name one with queue="
        )


class PartlySent(CeleriacError):
    """`app.send_tasks()`, or a group, could not go on; `sent` is how many of the signatures, from the first on, were sent before.

    Of the next one, if it is a group or a chord, some members may have been.

    When the cause is `BrokerUnavailable`, it is unknown what became of the next thousand: five hundred, and as many that were
    sent behind them. When it is another, none of them was sent.
    """

    def __init__(self, sent: int, problem: object) -> None:
        super().__init__(sent, str(problem))
        self.sent = sent
        self.problem = str(problem)

    def __str__(self) -> str:
        first = (
            f"the first {self.sent:,} signatures were sent" if self.sent else "members of the first signature were sent"
        )
        return (
            f"{first}, and then: {self.problem}. Send the others again; with a "
            "task_id in each, or an idempotency key, none that was sent runs twice"
        )


class QueueConflict(SettingsError):
    """A queue or exchange of RabbitMQ's exists and is not what this app declares; nothing was changed or sent.

    `argument` is what differs, `wanted` what this app says of it and `there` what the broker has.
    """

    def __init__(self, kind: str, name: str, argument: str, wanted: str, there: str) -> None:
        super().__init__("task_default_queue_type", "")
        self.args = (kind, name, argument, wanted, there)
        self.kind, self.name, self.argument = kind, name, argument
        self.wanted, self.there = wanted, there

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.name!r} exists on the broker with {self.argument} {self.there}, and this app declares "
            f"{self.wanted}: the one is never changed into the other. To keep what is there, {self._keeping}. To have "
            f"celeriac's, delete it once it is empty (rabbitmqctl delete_queue {self.name}), or name another in "
            "task_default_queue, and restart every process"
        )

    @property
    def _keeping(self) -> str:
        if self.there == "classic":
            return 'set task_default_queue_type = "classic"'
        return 'set task_default_queue_type = "quorum" for quorum queues as Celery declares them, or task_queues'


class StoreError(CeleriacError):
    """The store could not do what was asked.

    `location` is the absolute path of the file, or the URL without its password; `detail` is what the driver said.
    """

    remedy = "See the detail"

    def __init__(self, location: str, detail: str = "") -> None:
        super().__init__(location, detail)
        self.location = location
        self.detail = detail

    def __str__(self) -> str:
        said = f" ({self.detail})" if self.detail else ""
        return f"store {self.location}: {self.problem}{said}. {self.remedy}"

    @property
    def problem(self) -> str:
        return "the operation failed"


class ChainLost(StoreError):
    """The rest of a task's chain cannot be read from the store that was to keep it."""

    remedy = (
        "Nothing of it has run. If its ledger is another one, run its workers there; a dead letter of another ledger comes "
        "with its chain by `celery dead export` and `dead import`. To run this task without what was to follow, send it anew"
    )

    @property
    def problem(self) -> str:
        return "the steps that follow a task in its chain are not here"


class StoreUnavailable(StoreError):
    """The store cannot answer now and may later: locked, disk full, connection lost. The only one worth a retry."""

    remedy = "If this stays, look for a full disk, a missing folder, or another process holding the store"

    @property
    def problem(self) -> str:
        return "not available for now"


class StoreReplaced(StoreError):
    """The file was deleted, moved or replaced while this process had it open. Nothing more is written to it."""

    remedy = (
        "What this process would write now, nobody else would ever see. Put the file back, if that was not meant, and "
        "restart every process that uses it"
    )

    @property
    def problem(self) -> str:
        return "no longer the file that was opened"


class StoreReadOnly(StoreError):
    """The file, or the folder that must hold its write-ahead log, may not be written by this process."""

    remedy = "Give this user write permission on the file and on its folder, or name another path in the broker URL"

    @property
    def problem(self) -> str:
        return "read-only"


class ServerUnavailable(StoreUnavailable):
    """The database server does not answer now, or takes no more connections, and may later."""

    remedy = "If this stays, look whether the server runs and is reached from here"


class ServerReadOnly(StoreReadOnly, StoreUnavailable):
    """The server takes no writes now: a standby before its promotion, or one that was told so."""

    remedy = (
        "This ends when it is promoted, or when the URL leads to the primary: with several hosts in it, "
        "target_session_attrs=read-write finds that one"
    )


class StoreCorrupt(StoreError):
    """The file is damaged, or is no celeriac store at all."""

    remedy = (
        "Restore a backup: stop every process that uses the file, remove it with its -wal and -shm, and copy the backup "
        "there. Or name another file in the broker URL"
    )

    @property
    def problem(self) -> str:
        return "corrupt, or not a celeriac store"


class StoreTooNew(StoreError):
    """The schema was written by a newer celeriac; `found` and `supported` are schema versions."""

    remedy = "Upgrade celeriac in this process; an older version never writes to a newer schema"

    def __init__(self, location: str, found: int, supported: int) -> None:
        super().__init__(location)
        self.args = (location, found, supported)
        self.found = found
        self.supported = supported

    @property
    def problem(self) -> str:
        return f"its schema version is {self.found}, and this celeriac knows up to {self.supported}"


class TransactionError(CeleriacError):
    """What was to be done in somebody's transaction cannot be; the text says why, and what to do instead."""


class LeadsElsewhere(TransactionError):
    """The connection is another database's than the broker's."""


class PublishRolledBack(CeleriacError):
    """The transaction in which the task was published was rolled back, so it was never sent. Raised by `get()`."""

    def __init__(self, task_id: str) -> None:
        super().__init__(task_id)
        self.task_id = task_id

    def __str__(self) -> str:
        return f"task id {self.task_id} was never sent: the transaction in which it was published was rolled back"


class LeaseLost(CeleriacError):
    """The lease ran out and the message belongs to someone else: a stale fencing token settles nothing."""

    def __init__(self, task_id: str, token: int) -> None:
        super().__init__(task_id, token)
        self.task_id = task_id
        self.token = token

    def __str__(self) -> str:
        return (
            f"the lease on task id {self.task_id} (fencing token {self.token}) was lost, so nothing was recorded: "
            "another worker runs it. If this repeats, look for code that holds the GIL beyond celeriac_lease_seconds"
        )


class ForeignLedger(CeleriacError):
    """A worker was given a task whose end another ledger keeps; `theirs` and `ours` name the two."""

    def __init__(self, task: str, task_id: str, theirs: str, ours: str) -> None:
        super().__init__(task, task_id, theirs, ours)
        self.task, self.task_id, self.theirs, self.ours = task, task_id, theirs, ours

    def __str__(self) -> str:
        return (
            f"task {self.task}[{self.task_id}] belongs to the ledger {self.theirs}, and this worker has the ledger {self.ours}: "
            "run here, it could run there too. It is back in its queue, and this worker ends. Give everything that shares "
            "the broker's queues the same ledger="
        )


class CheckpointError(CeleriacError, TypeError):
    """A task that cannot say how far it is, or go on from there, as it was asked to. Raised in its body."""

    def __init__(self, task: str, problem: str) -> None:
        super().__init__(task, problem)
        self.task = task
        self.problem = problem

    def __str__(self) -> str:
        return f"task {self.task}: {self.problem}"


class CircuitError(CeleriacError, ValueError):
    """A circuit that nobody declares, or that cannot be switched in that way."""

    def __init__(self, circuit: str, problem: str) -> None:
        super().__init__(circuit, problem)
        self.circuit = circuit
        self.problem = problem

    def __str__(self) -> str:
        return f"circuit {self.circuit!r}: {self.problem}"


class DeadLetterError(CeleriacError):
    """A dead letter could not be found or handled."""


class RedriveRefused(DeadLetterError):
    """The dead letter's idempotency key is held by another task, so running it again would repeat that one's work."""

    def __init__(self, task: str, task_id: str, key: str, holder_id: str) -> None:
        super().__init__(task, task_id, key, holder_id)
        self.task = task
        self.task_id = task_id
        self.key = key
        self.holder_id = holder_id

    def __str__(self) -> str:
        return (
            f"task {self.task}: dead letter {self.task_id} is not redriven, since its key {self.key!r} is held "
            f"by task id {self.holder_id}. If that one did the work, purge this; otherwise wait until the key is free"
        )


class RedriveSuperseded(DeadLetterError):
    """Its task id was sent again after it failed, so that run is the one that counts."""

    def __init__(self, task: str, letter_id: int, task_id: str, generation: int, state: str) -> None:
        super().__init__(task, letter_id, task_id, generation, state)
        self.task, self.letter_id, self.task_id = task, letter_id, task_id
        self.generation, self.state = generation, state

    def __str__(self) -> str:
        return (
            f"task {self.task}: dead letter {self.letter_id} is not redriven, since task id {self.task_id} was sent again "
            f"after it (generation {self.generation}, {self.state}). Purge this dead letter, or send the task under a new id"
        )


class TaskExited(CeleriacError):
    """A task wanted to end its process, which is the worker's own in the threads, gevent and solo pools."""

    def __init__(self, task: str, error: str) -> None:
        super().__init__(task, error)
        self.task = task
        self.error = error

    def __str__(self) -> str:
        return (
            f"task {self.task} raised {self.error}, which would have ended the worker with all that runs in it; it counts "
            "as a failure. Raise an error that says what went wrong, or return"
        )


class PoisonTask(CeleriacError):
    """A task that was buried because its worker process died under it again and again.

    `crashed_at` holds the time of each crash, in seconds since the epoch, oldest first.
    """

    def __init__(self, task: str, task_id: str, crashed_at: Sequence[float]) -> None:
        super().__init__(task, task_id, tuple(crashed_at))
        self.task = task
        self.task_id = task_id
        self.crashed_at = tuple(crashed_at)

    def __str__(self) -> str:
        times = "once" if len(self.crashed_at) == 1 else f"{len(self.crashed_at)} times"
        first_and_last = dict.fromkeys((*self.crashed_at[:1], *self.crashed_at[-1:]))
        when = " to ".join(_utc(moment) for moment in first_and_last)
        return (
            f"its worker process died under it {times} ({when}): task {self.task}, id {self.task_id}. "
            "Look for memory exhaustion, a crash in native code or a call of sys.exit() or os._exit(), then redrive it"
        )


def _utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="seconds")
