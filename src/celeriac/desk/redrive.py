"""Dead letters sent again: as they were, with other arguments, to another queue, no faster than asked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from kombu.compression import compress
from kombu.serialization import dumps

from celeriac.core.attempt import DeadLetter, DeadLetterFilter, Record
from celeriac.core.desk import By, Redrive
from celeriac.core.limits import unpack
from celeriac.core.message import DELIVERY_HEADER, LIMITS_HEADER, WORKFLOW_HEADER, TaskMessage
from celeriac.core.workflow_members import part_of
from celeriac.desk import steps
from celeriac.desk.choosing import as_of
from celeriac.desk.contents import contents, decoded
from celeriac.desk.editing import Edit, serializer_of
from celeriac.desk.refusals import (
    RedriveAlone,
    RedriveCancelled,
    RedriveExpired,
    RedriveUnreadable,
    UnknownQueue,
    is_name,
)
from celeriac.desk.steps import Pace, Refusal, Step, Steps, pages
from celeriac.errors import DeadLetterError, RedriveRefused, RedriveSuperseded
from celeriac.publish.limits import names_now
from celeriac.store.protocols import Store
from celeriac.transport.envelope import epoch, pack, task_columns

#: Dead letters that go out in one transaction: for so long SQLite's one writer, and Redis, attend to nobody else.
AT_ONCE = 100
#: Dead letters read at once where they go out slowly: what is known of them must not be old.
_SLOWLY = 10
_A_CHORD = re.compile(r'"chord": ?\{')


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
    """Send what matches again, oldest first, a hundred a transaction; one by one where they go out slowly.

    What fails anew in the meantime is left alone. A dry run sends nothing and
    so does not find out whether keys are free.

    Raises:
        UnknownQueue: before anything is sent.
    """
    how = how or How()
    if how.to is not None:
        check_queue(app, how.to)
    store, pace = app.store, Pace(None if dry_run else how.rate)
    size, at_once = (steps.PAGE, AT_ONCE) if how.rate is None or dry_run else (_SLOWLY, 1)
    for page in pages(store.dead_letters(as_of(chosen, 0.0), batch=size), size):
        planner = _Planner(app, page, by, how)
        for some in pages(page, at_once):
            yield from pace.wait()
            yield from _redrive_some(store, [planner.plan(letter) for letter in some], dry_run=dry_run)


def _redrive_some(store: Store, planned: Sequence[Redrive | Refusal], *, dry_run: bool) -> Iterator[Step]:
    """In one transaction. What was done is told before what was refused: whoever takes the steps may stop between them."""
    refused = [item for item in planned if isinstance(item, Refusal)]
    going = [item for item in planned if isinstance(item, Redrive)]
    errors = [None] * len(going) if dry_run else store.redrive_all(going)
    for item, error in zip(going, errors, strict=True):
        if isinstance(error, (RedriveRefused, RedriveSuperseded)):
            refused.append(Refusal(item.letter, error))
    done = errors.count(None)
    if going:
        yield Step(done=done, gone=len(planned) - done - len(refused))
    yield from (Step(refused=one) for one in sorted(refused, key=lambda one: one.letter.id))


def check_queue(app: Any, queue: str) -> None:
    """Refuse a queue that nobody declares, where queues are declared.

    Raises:
        UnknownQueue: naming the nearest.
    """
    known = app.amqp.queues
    if not is_name(queue) or (queue not in known and not known.create_missing):
        raise UnknownQueue(queue, sorted(known))


class _Planner:
    """What each letter of a page is sent again as. The store is asked for what they share once."""

    def __init__(self, app: Any, page: Sequence[DeadLetter], by: By, how: How) -> None:
        self._app, self._by, self._how = app, by, how
        self._records = app.store.records([letter.task_id for letter in page])
        members = any(WORKFLOW_HEADER in letter.envelope for letter in page)
        self._cancelled = app.store.cancelled_workflows() if members else frozenset()
        self._knows_chord = cache(app.store.knows_chord)

    def plan(self, letter: DeadLetter) -> Redrive | Refusal:
        """Its redrive, or why there is none."""
        try:
            return self._planned(letter)
        except DeadLetterError as error:
            return Refusal(letter, error)

    def _planned(self, letter: DeadLetter) -> Redrive:
        self._check_cancelled(letter)
        message = _readable_again(letter, self._records.get(letter.task_id), self._app.store.now(), self._how)
        message = _of_its_chord(letter, message, self._knows_chord, alone=self._how.alone)
        message, by = _as_asked(self._app, letter, message, self._by, self._how)
        return Redrive(letter, _with_limits_of_now(self._app, message), by, self._how.from_start)

    def _check_cancelled(self, letter: DeadLetter) -> None:
        if not self._cancelled or WORKFLOW_HEADER not in letter.envelope:
            return
        part = part_of(letter.envelope)  # what cannot be read is refused as that
        if part is not None and part.workflow in self._cancelled:
            raise RedriveCancelled(letter.name or "?", letter.id, part.workflow)


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


def _of_its_chord(
    letter: DeadLetter, message: TaskMessage, is_known: Callable[[str], bool], *, alone: bool
) -> TaskMessage:
    """The message, without the chord where that is not known and need not be."""
    if not _may_join(letter.body):
        return message
    group_id = contents(letter).joins
    if group_id is None or is_known(group_id):
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
