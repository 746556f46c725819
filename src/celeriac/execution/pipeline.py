"""What happens to a delivered task, on one page: admit, run, decide, settle."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from billiard.einfo import ExceptionInfo
from celery import states
from celery.app.task import Context
from celery.app.trace import TraceInfo, trace_ok_t
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from celeriac.core import current
from celeriac.core.attempt import Attempt, Failure, Outcome, Record
from celeriac.core.message import DELIVERY_HEADER, KEY_HEADER, WORKFLOW_HEADER, DeliveryFacts, IdempotencyKey
from celeriac.core.telling import tells_somebody
from celeriac.core.text import writable
from celeriac.errors import StoreError
from celeriac.execution.admission import admit, fail
from celeriac.execution.deadlines import Watched
from celeriac.execution.exhausted import tell
from celeriac.execution.limits import NO_LIMITS, Limits, left_to_celery, limit_text, of_request
from celeriac.execution.room import Room, room_of
from celeriac.execution.settler import STORE_WIDE
from celeriac.execution.snoozing import GiveWay, Snooze, put_off
from celeriac.execution.workflows import WHY_CANCELLED, conclude, is_cancelled_unmanaged
from celeriac.transport.chains import Rests, goes_on_in_store

logger = logging.getLogger(__name__)

Trace = Callable[..., Any]
#: Seconds a task may run and still wait for others to settle with.
QUICK = 0.005
#: Why a task is buried whose end the store refused.
UNRECORDABLE = "unrecordable"
#: Celery's state for each outcome that ends a generation without a stored result.
_STATES = {
    Outcome.COMPLETED: states.SUCCESS,
    Outcome.FAILED: states.FAILURE,
    Outcome.DEAD_LETTERED: states.FAILURE,
    Outcome.REVOKED: states.REVOKED,
    Outcome.IGNORED: states.IGNORED,
    Outcome.REPLACED: states.PENDING,
}


def traced(task: Any, tracer: Trace) -> Trace:
    """Celery's tracer inside our pipeline; composed once, when the worker binds its tasks."""

    def trace(uuid: str, args: Any, kwargs: Any, request: dict[str, Any] | None = None) -> Any:
        header = request.get(DELIVERY_HEADER) if request else None
        if header is None or not task.durable:
            return _leave(task, tracer, uuid, args, kwargs, request)
        return execute(task, tracer, begin(task, uuid, request or {}, header), args, kwargs, request or {})

    return trace


def _leave(task: Any, tracer: Trace, uuid: str, args: Any, kwargs: Any, request: dict[str, Any] | None) -> Any:
    """Have Celery run it, unless its workflow was cancelled."""
    if request and request.get(WORKFLOW_HEADER) and task.app.has_ledger:
        room = room_of(task.app)
        if room.settler.insist(lambda: is_cancelled_unmanaged(room.cancelled, room.store, request)):
            context = Context(request, args=args, kwargs=kwargs, called_directly=False)
            task.backend.mark_as_revoked(uuid, WHY_CANCELLED, request=context)
            return trace_ok_t(None, None, 0.0, Outcome.REVOKED.value)
    with left_to_celery:
        return tracer(uuid, args, kwargs, request)


def begin(task: Any, uuid: str, request: dict[str, Any], header: list[Any]) -> Attempt:
    """An attempt from what the message says."""
    facts = DeliveryFacts.from_header(header)
    room = room_of(task.app)
    # A process that has never asked for the server's time cannot tell it while the server is away.
    started_at, started_clock = room.settler.insist(lambda: (room.store.now(), room.store.lease_now()))
    return Attempt(
        task_id=uuid,
        name=task.name,
        delivery=facts,
        worker=request.get("hostname") or room.hostname,
        started_at=started_at,
        started_clock=started_clock,
        key=key_of(task.name, request),
        workflow=request.get(WORKFLOW_HEADER),
        task=task,
    )


def key_of(name: str, headers: dict[str, Any]) -> IdempotencyKey | None:
    """The idempotency key that a message carries."""
    key = headers.get(KEY_HEADER)
    return key and IdempotencyKey(name, key["key"], key["digest"], key["ttl"])


def execute(task: Any, tracer: Trace, attempt: Attempt, args: Any, kwargs: Any, request: dict[str, Any]) -> Any:
    """One attempt, from admission to settlement; returns what Celery's tracer returns."""
    room = room_of(task.app)
    # A store that cannot answer is not the task's failure, and nobody else could run it now.
    attempt.request = lambda: Context(request, args=args, kwargs=kwargs, called_directly=False)
    refusal = room.settler.insist(lambda: _admitted(room, attempt, request))
    if refusal is not None:
        attempt.outcome = refusal
        _settle(room, attempt, request)
        return trace_ok_t(None, None, 0.0, refusal.value)
    room.settler.begin(attempt)
    watched = _watched(room, task, attempt, request)
    current.push(attempt)
    try:
        returned = tracer(attempt.task_id, args, kwargs, request)
        decide(task, attempt, returned, request)
    except Exception as error:
        # Beside the body: a hook of the task's, a callback that cannot be sent.
        logger.exception("%s[%s]: what Celery does when the body has ended raised", attempt.name, attempt.task_id)
        returned = _ended_beside(task, attempt, error, request)
    finally:
        current.pop()
        if watched is not None and room.deadlines is not None:
            room.deadlines.end(watched)
        room.settler.end(attempt)
    _settle(room, attempt, request)
    return returned


def _limits(task: Any, attempt: Attempt, request: dict[str, Any]) -> Limits:
    """As the worker's parent reads them: the message's, the task's, its queue's, the worker's."""
    queues = task.app.amqp.queues
    of_queue: Limits = queues.time_limits(attempt.delivery.queue) if queues.own else NO_LIMITS
    return of_request(task, request.get("timelimit"), of_queue)


def _watched(room: Room, task: Any, attempt: Attempt, request: dict[str, Any]) -> Watched | None:
    """Its time limits are seen to from now on, where no pool does."""
    if room.deadlines is None:
        return None
    limits = _limits(task, attempt, request)
    if limits == NO_LIMITS:
        return None

    def settle(hard: float) -> None:
        other = begin(task, attempt.task_id, request, request[DELIVERY_HEADER])
        other.started_at, other.request = attempt.started_at, attempt.request
        if attempt.tracker is not None and attempt.tracker.goes_on():
            put_off(other, GiveWay(f"{limit_text('hard', hard)}, behind what it has done"))
            other.checkpoint = attempt.tracker.final(other.outcome)
            room.settler.settle(other, at_once=True)
            return
        other.outcome = fail(other, TimeLimitExceeded(hard), "time-limit")
        if other.failure is not None:
            other.failure.error = limit_text("hard", hard)
        complete(room, other, request, task.backend)
        room.settler.settle(other, at_once=True)

    return room.deadlines.watch(attempt, limits, settle)


def _admitted(room: Room, attempt: Attempt, request: dict[str, Any]) -> Outcome | None:
    try:
        refusal = admit(room, attempt)
        if refusal is None:
            _find_next_step(room, attempt, request)
    except STORE_WIDE:
        raise
    except StoreError as error:  # what it says of itself is unreadable to the store
        return fail(attempt, error, "inadmissible")
    return refusal


def _find_next_step(room: Room, attempt: Attempt, request: dict[str, Any]) -> None:
    """Have the request of a task whose chain is kept in the store say what comes next.

    What cannot go on is not begun; and when the body is over, a store in trouble would fail the task.
    """
    chain = request.get("chain")
    if chain and goes_on_in_store(chain):
        request["chain"] = Rests(room.store, attempt.task.app.conf.accept_content).with_next(chain)


def decide(task: Any, attempt: Attempt, returned: Any, request: dict[str, Any]) -> None:
    """Say what the tracer's return means for the ledger."""
    info = returned.info
    state = states.SUCCESS if info is None else info.state
    error = None if info is None else info.retval
    if state == states.SUCCESS:
        _completed(attempt)
    elif state == states.RETRY:
        _retried(attempt, error, getattr(returned.retval, "traceback", None))
    elif state == states.IGNORED:
        _ignored(attempt, error)
    elif state == states.REJECTED:
        _rejected(task, attempt, error)
    else:
        _failed(task, attempt, error, getattr(returned.retval, "traceback", None), request)


def _completed(attempt: Attempt) -> None:
    attempt.outcome = Outcome.COMPLETED
    if attempt.retry is not None:  # retry(throw=False), and then it returned
        attempt.follow_ups.append(attempt.retry)
        attempt.retry = None


def _ignored(attempt: Attempt, error: Any) -> None:
    if isinstance(error, Snooze):
        put_off(attempt, error)
    else:
        attempt.outcome = Outcome.REPLACED if attempt.replaced else Outcome.IGNORED


def _retried(attempt: Attempt, error: Any, traceback: Any) -> None:
    attempt.outcome = Outcome.RETRY
    cause = getattr(error, "exc", None) or error
    attempt.failure = _failure("retry", cause, traceback)
    attempt.follow_ups.clear()


def _rejected(task: Any, attempt: Attempt, error: Any) -> None:
    if error.requeue:
        attempt.outcome = Outcome.REQUEUED
        return
    attempt.outcome = Outcome.FAILED
    attempt.failure = _failure("rejected", error, None)
    request = attempt.request()
    task.backend.mark_as_failure(attempt.task_id, error, request=request, store_result=not request.ignore_result)


def _failed(task: Any, attempt: Attempt, error: Any, traceback: Any, request: dict[str, Any]) -> None:
    declared = bool(task.throws) and isinstance(error, tuple(task.throws))
    attempt.outcome = Outcome.FAILED if declared else Outcome.DEAD_LETTERED
    gave_up = attempt.gave_up
    if gave_up is not None and not declared:
        tell(task, attempt.request(), gave_up, error)
    if isinstance(error, SoftTimeLimitExceeded) and not declared:
        # Its own text is its name.
        soft = _limits(task, attempt, request)[1]
        attempt.failure = _failure("time-limit", error, traceback, limit_text("soft", soft))
        return
    reason = gave_up.reason if gave_up else "exhausted" if request.get("retries") else "permanent"
    attempt.failure = _failure("declared" if declared else reason, error, traceback)


def _ended_beside(task: Any, attempt: Attempt, error: Exception, request: dict[str, Any]) -> Any:
    """What left Celery's tracer undoes nothing: the body's end stands. Returns what the tracer would have."""
    state = attempt.record.state if attempt.record is not None else None
    traceback = attempt.record.traceback if attempt.record is not None else None
    if state == states.SUCCESS:
        _completed(attempt)
    elif attempt.retry is not None:
        _retried(attempt, attempt.raised or error, traceback)
    elif attempt.raised is not None:
        _failed(task, attempt, attempt.raised, traceback, request)
    else:
        attempt.follow_ups.clear()
        attempt.outcome = fail(attempt, error, "permanent")
    shown = task.backend.prepare_exception(attempt.raised or error, "pickle")
    info = ExceptionInfo((type(shown), shown, error.__traceback__), internal=True)
    return trace_ok_t(info, TraceInfo(states.FAILURE, shown), 0.0, None)


def _failure(reason: str, error: Any, traceback: Any, said: object = None) -> Failure:
    cls = type(error)
    name = f"{cls.__module__}.{cls.__qualname__}"
    return Failure(reason, name, writable(said or error), writable(traceback) if traceback else None)


def complete(room: Room, attempt: Attempt, request: Any, backend: Any) -> None:
    """Add to the settlement what its end means for its workflow and for the ledger, wherever it was seen to end."""
    if attempt.workflow is not None:
        conclude(attempt, request, backend)
    _complete_record(room, attempt, request)


def _complete_record(room: Room, attempt: Attempt, request: Any) -> None:
    """Fill in the ledger's row: also a task whose result is ignored ends in the ledger."""
    now = room.store.now()
    record = attempt.record
    if record is None and attempt.outcome in _STATES:
        record = attempt.record = Record(
            attempt.task_id, attempt.delivery.generation, _STATES[attempt.outcome], closed=True
        )
    if record is None:
        return
    record.generation = attempt.delivery.generation
    record.closed = True
    record.name = attempt.name
    record.queue = attempt.delivery.queue
    record.worker = attempt.worker
    record.retries = request.get("retries") or 0
    record.told = record.told or tells_somebody(request)
    record.started_at = attempt.started_at
    record.finished_at = now
    record.expires_at = room.expires_at(now)
    if attempt.key is not None and record.expires_at is not None:
        # Whoever publishes under its key is given this result, for as long as the key is taken.
        record.expires_at = max(record.expires_at, now + attempt.key.ttl)


def unrecordable(room: Room, attempt: Attempt, error: Exception) -> bool:
    """Make the attempt end as a dead letter, since what it ended with cannot be written; false if that was tried."""
    if attempt.request is None or (attempt.failure is not None and attempt.failure.reason == UNRECORDABLE):
        return False
    attempt.record = attempt.retry = attempt.checkpoint = None
    attempt.growing.clear()
    for consequences in (attempt.chord, attempt.follow_ups, attempt.others, attempt.after_settle):
        consequences.clear()
    attempt.outcome = fail(attempt, error, UNRECORDABLE)
    complete(room, attempt, attempt.request(), attempt.task.backend)
    return True


def _settle(room: Room, attempt: Attempt, request: dict[str, Any]) -> None:
    unwritten = attempt.outcome is Outcome.SNOOZED and attempt.snooze_until is None and not attempt.gives_way
    if attempt.outcome is Outcome.LEASE_LOST or unwritten:
        return  # nothing is ours to write
    if attempt.tracker is not None:
        attempt.checkpoint = attempt.tracker.final(attempt.outcome)
    complete(room, attempt, request, attempt.task.backend)
    elapsed = room.store.lease_now() - attempt.started_clock
    at_once = elapsed >= QUICK or attempt.delivery.batch == 1 or attempt.key is not None or bool(attempt.after_settle)
    room.settler.settle(attempt, at_once=at_once)
