"""The join of a chord: its body is published once, in the transaction that closes it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from celery.canvas import maybe_signature
from celery.exceptions import ChordError
from celery.result import GroupResult

from celeriac.core.attempt import Attempt, ChordPart
from celeriac.core.current import attempting
from celeriac.core.message import WORKFLOW_HEADER, DeliveryFacts, Lease
from celeriac.core.workflow import Membership
from celeriac.errors import StoreError
from celeriac.results.blocked import LeftBehind, left_behind

logger = logging.getLogger(__name__)


def dispatch(backend: Any, group_id: str) -> None:
    """Send the body of a complete chord, or fail it when a member failed.

    Whoever comes second finds the chord closed; whoever dies in between leaves
    it to the next worker's look at complete chords.

    Raises:
        StoreError: it could not be read or written; the chord is as it was.
    """
    body, parts = backend.store.chord_parts(group_id)
    if not body:
        return
    said = backend.decode(body)
    workflow = Membership.from_header(said.pop(WORKFLOW_HEADER, None))
    callback = maybe_signature(said, app=backend.app)
    gathered = _gatherer(group_id, workflow)
    failed = [part for part in parts if not part.succeeded]
    if workflow is not None and workflow.on_failure == "continue":
        parts, failed = [part for part in parts if part.succeeded], []
    with attempting(gathered):
        if failed:
            # What was cancelled for another one's failure says less than that.
            _fail(backend, callback, min(failed, key=lambda part: part.cancelled), workflow)
        else:
            _send(backend, callback, lambda: _results(backend, group_id, parts))
    if failed and gathered.chord:
        backend.store.hold_chords_with(group_id, [part.group_id for part in gathered.chord])
    closed = backend.store.close_chord(
        group_id,
        succeeded=not failed,
        messages=gathered.follow_ups,
        records=gathered.others,
        parts=gathered.chord,
    )
    if closed.held:
        for call in gathered.after_settle:
            call()
    for outer in closed.complete_chords:
        dispatch(backend, outer)


def _gatherer(group_id: str, workflow: Membership | None) -> Attempt:
    """Collects what Celery's canvas publishes and records."""
    return Attempt(
        task_id=f"chord-{group_id}",
        name="chord",
        delivery=DeliveryFacts(Lease(0, 0)),
        worker="",
        started_at=0.0,
        buffering=True,
        entered=True,
        workflow=None if workflow is None else _of_body(workflow, group_id).header(),
    )


def _of_body(member: Membership, group_id: str) -> Membership:
    """The body is none of the many that it joins; where the chord has taken the place of one of many, it is that."""
    return member._replace(folded=None, group=None) if group_id in (member.folded, member.group) else member


def _send(backend: Any, callback: Any, results: Callable[[], list[Any]]) -> None:
    try:
        callback.apply_async((results(),))
    except StoreError:
        raise  # the store's trouble is not the chord's: the body is sent when it is over
    except Exception as error:
        logger.exception("the body %s of a chord cannot be sent", callback.task)
        backend.chord_error_from_stack(callback, ChordError(f"Callback error: {error!r}"))


def _results(backend: Any, group_id: str, parts: list[ChordPart]) -> list[Any]:
    """What the members gave, in the order and the groups of the header."""
    # From the chord itself, which has them for as long as it waits: the members' own results may have expired.
    given = {part.task_id: backend.decode(part.result) for part in parts}
    saved = backend.restore_group(group_id)
    if not isinstance(saved, GroupResult):
        return list(given.values())
    # Who joined the chord while it ran is not in the tree that was saved before.
    return [*_taken(saved, given), *given.values()]


def _taken(group: GroupResult, given: dict[str, Any]) -> Iterator[Any]:
    """In the groups of the header, out of what was given; those that have failed are left out."""
    for result in group.results:
        if isinstance(result, GroupResult):
            yield list(_taken(result, given))
        elif result.id in given:
            yield given.pop(result.id)


def _fail(backend: Any, callback: Any, part: ChordPart, workflow: Membership | None) -> None:
    cause = backend.exception_to_python(backend.decode(part.result))
    error = _error_of(backend, part, cause, workflow)
    if isinstance(cause, Exception):
        error.__cause__ = cause
    try:
        raise error
    except ChordError as raised:
        backend.chord_error_from_stack(callback, raised)


def _error_of(backend: Any, part: ChordPart, cause: Any, workflow: Membership | None) -> ChordError:
    """As Celery's; of a member that is a dead letter, what says whether it can be redriven."""
    if isinstance(cause, LeftBehind):
        return type(cause)(cause.task, cause.task_id, cause.cause)
    if part.task_id not in backend.store.dead_letters_of([part.task_id]):
        return ChordError(f"Dependency {part.task_id} raised {cause!r}")
    known = backend.store.records([part.task_id], live=False).get(part.task_id)
    name = (known and known.name) or "a task"
    return left_behind(workflow.on_failure if workflow else "block", name, part.task_id, repr(cause))
