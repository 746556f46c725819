"""What follows a failure fails too: all that somebody may wait for reads so, and every chord that waits for it is told."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from celery import states
from celery.app.task import Context
from celery.backends.base import _create_fake_task_request, _result_errbacks
from celery.canvas import _chain, chord, group, maybe_signature

from celeriac.core.attempt import Attempt, ChordPart
from celeriac.core.chains import stands_for_rest
from celeriac.core.current import current
from celeriac.core.workflow import Membership
from celeriac.core.workflow_members import is_counted
from celeriac.errors import ChainLost
from celeriac.results.blocked import left_behind
from celeriac.transport.chains import Rests

logger = logging.getLogger(__name__)


def fail_body(backend: Any, body: Any, error: Exception) -> None:
    """Fail the body of a chord, with what follows it, and call its error callbacks.

    Celery leaves a body that is a chord waiting for ever, and the chords round it; a body that is a group it revokes,
    so that no redrive could run it.
    """
    for task_id, errbacks in _errbacks(backend.app, body):
        request = _create_fake_task_request(task_id=task_id, errbacks=errbacks, task_name=body.task)
        backend._call_task_errbacks(request, error, None)  # noqa: SLF001  # Celery's place for it
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    fail_all(backend, [body, *(body.options.get("chain") or ())], error, text)


def fail_all(
    backend: Any,
    steps: Iterable[Any],
    error: Exception,
    traceback: str | None,
    *,
    store_result: bool = True,
    state: str = states.FAILURE,
) -> None:
    """Fail the steps of a chain, or whatever else would have been sent."""
    for step in _whole(backend, list(steps)):
        for end in _ends(maybe_signature(step, app=backend.app)):
            request = Context(end)
            request.update(end.options)
            request.id, request.group = end.options.get("task_id"), end.options.get("group_id")
            if request.id is None:
                continue
            if store_result and state in states.PROPAGATE_STATES:
                backend.store_result(request.id, error, state, traceback=traceback, request=request)
            if end.options.get("chord"):
                backend.on_chord_part_return(request, state, error)
            _count(end, state)


def _count(end: Any, state: str) -> None:
    """One of many that are one node has come to its end."""
    attempt = current()
    part = Membership.from_header(attempt.workflow) if attempt is not None else None
    if attempt is None or part is None or part.folded is None or is_counted(attempt, part):
        return
    if not part.ends_one_of_many(end.options.get("group_id")):
        return
    task_id, place, cancelled = end.options["task_id"], end.options.get("group_index") or 0, state == states.REVOKED
    attempt.chord.append(
        ChordPart(part.folded, task_id, place, succeeded=False, result=None, body="", cancelled=cancelled)
    )


def block(backend: Any, attempt: Attempt) -> None:
    """Have what comes after a dead letter in its workflow read that it waits for that, or that the workflow has failed."""
    part = Membership.from_header(attempt.workflow)
    cause = attempt.failure.error if attempt.failure is not None else ""
    error = left_behind(part.on_failure if part else "block", attempt.name, attempt.task_id, cause)
    result = backend.encode(backend.encode_result(error, states.FAILURE))
    for record in attempt.others:
        if record.state == states.FAILURE:
            record.result = result
    for member in attempt.chord:  # a chain's, whose end stands in its chord
        if not member.succeeded and member.task_id != attempt.task_id:
            member.result = result


def _whole(backend: Any, chain: Sequence[Any]) -> Sequence[Any]:
    """The steps with those that are kept in the store in the place of what stands for them."""
    if not any(map(stands_for_rest, chain)):
        return chain
    rests = Rests(backend.store, backend.app.conf.accept_content)
    try:
        # Within a run, what is not told here is told by nobody.
        insist = backend.app.execution_room.settler.insist if current() is not None else _once
        steps: Sequence[Any] = insist(lambda: rests.with_all(chain))
    except ChainLost:
        logger.exception("of a chain that has failed, only the last step is marked so")
        return chain  # what stands for the rest has the last one's id
    return steps


def _once(read: Callable[[], Any]) -> Any:
    return read()


def _ends(signature: Any) -> Iterator[Any]:
    """The tasks whose results stand for the canvas's, or for a step of it."""
    if isinstance(signature, chord):
        yield from _ends(maybe_signature(signature.body))
    elif isinstance(signature, (group, _chain)):
        for task in signature.tasks:
            yield from _ends(maybe_signature(task))
    else:
        yield signature


def _errbacks(app: Any, body: Any) -> list[tuple[str | None, list[Any]]]:
    """The ids and error callbacks of what would have begun."""
    own = _result_errbacks(body, app)
    if not isinstance(body, group):
        return [own]
    of_all = list(body.options.get("link_error") or ())
    found = []
    for task in body.tasks:
        task_id, errbacks = _result_errbacks(task, app)
        found.append((task_id, errbacks + [one for one in of_all if one not in errbacks]))
    return found
