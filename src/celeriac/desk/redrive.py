"""Dead letters sent again: as they were, with other arguments, to another queue, no faster than asked."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from difflib import get_close_matches
from typing import Any

from kombu.compression import compress
from kombu.serialization import dumps

from celeriac.core.attempt import DeadLetter, DeadLetterFilter, Record
from celeriac.core.desk import By
from celeriac.core.limits import unpack
from celeriac.core.message import DELIVERY_HEADER, LIMITS_HEADER, WORKFLOW_HEADER, TaskMessage
from celeriac.core.workflow_members import part_of
from celeriac.desk import steps
from celeriac.desk.choosing import as_of
from celeriac.desk.contents import contents, decoded
from celeriac.desk.editing import Edit, EditRefused, serializer_of
from celeriac.desk.steps import Pace, Refusal, Step, Steps, pages
from celeriac.errors import DeadLetterError, RedriveRefused, RedriveSuperseded
from celeriac.publish.limits import names_now
from celeriac.transport.envelope import epoch, pack, task_columns

#: Dead letters read at once where they go out slowly: what is known of them must not be old.
_SLOWLY = 10
_A_CHORD = re.compile(r'"chord": ?\{')


class RedriveExpired(DeadLetterError):
    """Its ``expires`` is over, so a worker would discard it; ``expired_at`` is in seconds since the epoch."""

    def __init__(self, task: str, letter_id: int, expired_at: float) -> None:
        super().__init__(task, letter_id, expired_at)
        self.task, self.letter_id, self.expired_at = task, letter_id, expired_at

    def __str__(self) -> str:
        moment = datetime.fromtimestamp(max(self.expired_at, 0.0), timezone.utc).isoformat(timespec="seconds")
        return (
            f"task {self.task}: dead letter {self.letter_id} is not redriven, since it was to run before {moment} (expires). "
            "If it is still wanted, redrive it with --ignore-expiry; otherwise purge it"
        )


class RedriveCancelled(DeadLetterError):
    """It belongs to a workflow that was cancelled, so a worker would revoke it."""

    def __init__(self, task: str, letter_id: int, workflow_id: str) -> None:
        super().__init__(task, letter_id, workflow_id)
        self.task, self.letter_id, self.workflow_id = task, letter_id, workflow_id

    def __str__(self) -> str:
        return (
            f"task {self.task}: dead letter {self.letter_id} is not redriven, since its workflow {self.workflow_id} was "
            "cancelled, and no worker would run it. If it is still wanted, send the task anew with the arguments that "
            "`dead show` prints; otherwise purge it"
        )


class RedriveUnreadable(DeadLetterError):
    """What its message says of itself cannot be read: no store would know when it is due, or what key it has."""

    def __init__(self, task: str, letter_id: int, problem: str) -> None:
        super().__init__(task, letter_id, problem)
        self.task, self.letter_id, self.problem = task, letter_id, problem

    def __str__(self) -> str:
        return (
            f"task {self.task}: dead letter {self.letter_id} is not redriven, since its headers cannot be read "
            f"({self.problem}). Send the task anew with the arguments that `dead show` prints, and purge this"
        )


class RedriveAlone(DeadLetterError):
    """The chord ``group_id`` whose body waits for it is not known any more, so the body would never run."""

    def __init__(self, task: str, letter_id: int, group_id: str) -> None:
        super().__init__(task, letter_id, group_id)
        self.task, self.letter_id, self.group_id = task, letter_id, group_id

    def __str__(self) -> str:
        return (
            f"task {self.task}: dead letter {self.letter_id} is not redriven, since its chord {self.group_id} is not known "
            "here any more (the letter is from another ledger, or was away for longer than celeriac_history_expires), so the "
            "chord's body would never run. Redrive it with --alone if the task is wanted without its chord; otherwise purge it"
        )


class UnknownQueue(DeadLetterError):
    """The app declares its queues, and ``queue`` is none of them, or it is no name: nobody would consume what is sent there."""

    def __init__(self, queue: str, known: Sequence[str]) -> None:
        super().__init__(queue, tuple(known))
        self.queue, self.known = queue, tuple(known)

    def __str__(self) -> str:
        if not _is_name(self.queue):
            return f"{self.queue!r} is no name of a queue. Nothing was redriven"
        near = get_close_matches(self.queue, self.known, 1)
        named = f"did you mean {near[0]}?" if near else f"there are {', '.join(self.known)}."
        return f"queue {self.queue} is not declared in task_queues; {named} Nothing was redriven"


@dataclass(frozen=True)
class How:
    """How dead letters are redriven.

    Args:
        edit: other arguments.
        to: another queue.
        rate: so many a second.
        ignore_expiry: also those past their ``expires``, which is dropped.
        alone: also those whose chord is not known any more, which they are no members of then.
        from_start: those that keep checkpoints begin anew, instead of behind the last row that was done.
    """

    edit: Edit = field(default_factory=Edit)
    to: str | None = None
    rate: float | None = None
    ignore_expiry: bool = False
    alone: bool = False
    from_start: bool = False


def redrive(app: Any, chosen: DeadLetterFilter, by: By, how: How | None = None, *, dry_run: bool = False) -> Steps:
    """Send what matches again, oldest first, one transaction and one step each.

    What fails anew in the meantime is left alone. A dry run sends nothing and
    so does not find out whether keys are free.

    Raises:
        UnknownQueue: before anything is sent.
    """
    how = how or How()
    if how.to is not None:
        check_queue(app, how.to)
    store, pace = app.store, Pace(None if dry_run else how.rate)
    size = steps.PAGE if how.rate is None or dry_run else _SLOWLY
    for page in pages(store.dead_letters(as_of(chosen, 0.0), batch=size), size):
        records = store.records([letter.task_id for letter in page])
        members = any(WORKFLOW_HEADER in letter.envelope for letter in page)
        cancelled = store.cancelled_workflows() if members else frozenset()
        for letter in page:
            yield from pace.wait()
            refused = _is_cancelled(letter, cancelled)
            yield refused or _redrive_one(app, letter, records.get(letter.task_id), by, how, dry_run)


def check_queue(app: Any, queue: str) -> None:
    """Refuse a queue that nobody declares, where queues are declared.

    Raises:
        UnknownQueue: naming the nearest.
    """
    known = app.amqp.queues
    if not _is_name(queue) or (queue not in known and not known.create_missing):
        raise UnknownQueue(queue, sorted(known))


def _is_name(queue: str) -> bool:
    return bool(queue.strip()) and queue.isprintable()


def _is_cancelled(letter: DeadLetter, cancelled: frozenset[str]) -> Step | None:
    """The refusal of a dead letter whose workflow is among the cancelled ones."""
    if not cancelled or WORKFLOW_HEADER not in letter.envelope:
        return None
    part = part_of(letter.envelope)  # what cannot be read is refused as that
    if part is None or part.workflow not in cancelled:
        return None
    return Step(refused=Refusal(letter, RedriveCancelled(letter.name or "?", letter.id, part.workflow)))


def _redrive_one(app: Any, letter: DeadLetter, record: Record | None, by: By, how: How, dry_run: bool) -> Step:
    try:
        message = _readable_again(letter, record, app.store.now(), how)
        message = _of_its_chord(app, letter, message, alone=how.alone)
        message, by = _as_asked(app, letter, message, by, how)
        message = _with_limits_of_now(app, message)
        if not dry_run:
            app.store.redrive(letter, message, by, from_start=how.from_start)
    except (RedriveRefused, RedriveExpired, RedriveSuperseded, RedriveAlone, RedriveUnreadable, EditRefused) as error:
        return Step(refused=Refusal(letter, error))
    except DeadLetterError:
        return Step(gone=1)
    return Step(done=1)


def _readable_again(letter: DeadLetter, record: Record | None, now: float, how: How) -> TaskMessage:
    """Its message, which a client of another make may have written. Raises as `message_again`, or `RedriveUnreadable`."""
    try:
        return message_again(letter, record, now=now, ignore_expiry=how.ignore_expiry)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise RedriveUnreadable(letter.name or "?", letter.id, f"{type(error).__name__}: {error}") from error


def _as_asked(app: Any, letter: DeadLetter, message: TaskMessage, by: By, how: How) -> tuple[TaskMessage, By]:
    told = []
    if not how.edit.nothing:
        message, difference = how.edit.applied(app, letter, message)
        told.append(difference or "arguments as they were")
    if how.to is not None and how.to != message.queue:
        told.append(f"to queue {how.to}")
        message = _to_queue(app, message, how.to)
    if how.from_start:
        told.append("from the start")
    if not told:
        return message, by
    return message, replace(by, note="; ".join([*told, *([by.note] if by.note else [])]))


def _to_queue(app: Any, message: TaskMessage, queue: str) -> TaskMessage:
    headers, properties, content_type, encoding = json.loads(message.envelope)
    properties["delivery_info"] = {"exchange": "", "routing_key": queue}
    moved = replace(message, queue=queue, envelope=pack(headers, properties, content_type, encoding))
    # The worker that gets it adds its task's, and those of the queue where it is now.
    return _without_limits(moved) if {message.queue, queue} & app.amqp.queues.limited.keys() else moved


def _with_limits_of_now(app: Any, message: TaskMessage) -> TaskMessage:
    """The message, without its limits where task and queue declare others than when it was sent: the worker adds them."""
    task = app.tasks.get(message.name)
    if message.limits is None or task is None:
        return message
    if {bound.name for bound in unpack(message.limits)} == names_now(app, task, message.queue):
        return message
    return _without_limits(message)


def _without_limits(message: TaskMessage) -> TaskMessage:
    headers, properties, content_type, encoding = json.loads(message.envelope)
    headers[LIMITS_HEADER] = None
    return replace(message, envelope=pack(headers, properties, content_type, encoding), limits=None)


def message_again(letter: DeadLetter, record: Record | None, *, now: float, ignore_expiry: bool = False) -> TaskMessage:
    """The message of a redrive: due now, its retries before it, one generation higher.

    ``record`` is what the ledger says of the task id, ``now`` is in seconds
    since the epoch.

    Raises:
        RedriveSuperseded: the task id was sent again since.
        RedriveExpired: it is past its ``expires``, and ``ignore_expiry`` is false.
    """
    if record is not None and record.generation > letter.generation:
        raise RedriveSuperseded(letter.name or "?", letter.id, letter.task_id, record.generation, record.state)
    headers, properties, content_type, encoding = json.loads(letter.envelope)
    headers.pop(DELIVERY_HEADER, None)  # a retry copies its predecessor's
    headers.update(retries=0, eta=None, expires=_expires(letter, headers, now, ignore_expiry))
    return TaskMessage(
        queue=letter.queue,
        envelope=pack(headers, properties, content_type, encoding),
        body=letter.body,
        priority=letter.priority,
        generation=letter.generation + 1,
        **task_columns(headers),
    )


def _expires(letter: DeadLetter, headers: dict[str, Any], now: float, ignore_expiry: bool) -> str | None:
    expires: str | None = headers.get("expires")
    moment = epoch(expires)
    if moment is None or moment > now:
        return expires
    if not ignore_expiry:
        raise RedriveExpired(letter.name or "?", letter.id, moment)
    return None


# -- chords


def _of_its_chord(app: Any, letter: DeadLetter, message: TaskMessage, *, alone: bool) -> TaskMessage:
    """The message, without the chord where that is not known and need not be."""
    if not _may_join(letter.body):
        return message
    group_id = contents(letter).joins
    if group_id is None or app.store.knows_chord(group_id):
        return message
    if not alone:
        raise RedriveAlone(letter.name or "?", letter.id, group_id)
    return _without_chord(letter, message)


def _may_join(body: str | bytes) -> bool:
    """Whether it is worth a closer look: members, and chains that lead to one, have the chord in the body."""
    return not isinstance(body, str) or _A_CHORD.search(body) is not None


def _without_chord(letter: DeadLetter, message: TaskMessage) -> TaskMessage:
    headers, properties, content_type, encoding = json.loads(message.envelope)
    compression = headers.get("compression")
    args, kwargs, embed = decoded(letter.body, compression, content_type, encoding)
    for step in embed.get("chain") or []:
        options = step.get("options") or {}
        for name in ("chord", "group_id", "group_index"):
            options.pop(name, None)
    headers.update(group=None, group_index=None)
    serializer = serializer_of(content_type)
    content_type, encoding, body = dumps([args, kwargs, {**embed, "chord": None}], serializer)
    if compression:
        body = compress(body, compression)[0]
    return replace(message, body=body, envelope=pack(headers, properties, content_type, encoding))
