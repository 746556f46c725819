"""Whether a delivered task may run here and now."""

from __future__ import annotations

import logging

from celery import states
from celery.app.trace import TraceInfo
from celery.exceptions import WorkerLostError

from celeriac.core import current
from celeriac.core.attempt import Attempt, Failure, Outcome
from celeriac.core.limits import joined
from celeriac.core.text import app_option, writable
from celeriac.errors import ArgumentError, IdempotencyConflict, PoisonTask
from celeriac.execution.circuits import kept_back
from celeriac.execution.pauses import put_aside
from celeriac.execution.room import Room
from celeriac.execution.workflows import WHY_CANCELLED, is_cancelled

logger = logging.getLogger(__name__)


def admit(room: Room, attempt: Attempt) -> Outcome | None:
    """None when the task may run, otherwise how this delivery ends instead."""
    if room.ledger is None:
        # What follows the task may bear it; asked for when the body is over, a store in trouble would fail the task.
        room.ledger = room.store.uuid
    delivery = attempt.delivery
    if delivery.settled:
        return Outcome.DUPLICATE
    if not delivery.revoked and (kept := _kept(room, attempt)):
        return kept
    if delivery.crashes >= (room.own.max_crashes if attempt.task.runs_again_after_a_crash() else 1):
        return _bury(room, attempt)
    refusal = _claim_key(room, attempt) if attempt.key is not None else None
    if refusal is not None:
        return refusal
    if attempt.task.declared_circuits and not attempt.copies:
        attempt.snooze_until = kept_back(attempt.task)
        if attempt.snooze_until is not None:
            return Outcome.SNOOZED
    # Last of all, since the store may have had the key wait for longer than the lease.
    return None if _still_ours(room, attempt) else Outcome.LEASE_LOST


def _kept(room: Room, attempt: Attempt) -> Outcome | None:
    """What people or limits say of it, who may have spoken since it was claimed."""
    if attempt.workflow is not None and is_cancelled(room.cancelled, room.store, attempt):
        return _revoke(attempt)
    if put_aside(room.pauses, room.store, attempt) or _sent_to_its_lane(room, attempt):
        return Outcome.SNOOZED
    return None


def _revoke(attempt: Attempt) -> Outcome:
    """End it without running it, its chord told as of any that was revoked."""
    attempt.failure = Failure("revoked", "TaskRevokedError", WHY_CANCELLED)
    attempt.buffering = True
    with current.attempting(attempt):
        attempt.task.backend.mark_as_revoked(attempt.task_id, WHY_CANCELLED, request=attempt.request())
    return Outcome.REVOKED


def _sent_to_its_lane(room: Room, attempt: Attempt) -> bool:
    """What came without limits, by its name or from another broker, waits with those of its task and its queue."""
    task, delivery = attempt.task, attempt.delivery
    declared = getattr(task, "declared_limits", None)
    queues = room.queues.get(delivery.queue)
    if (declared is None and queues is None) or delivery.limited:
        return False
    request = attempt.request()
    args, kwargs = request.args or (), request.kwargs or {}
    try:
        limits = None if declared is None else declared.bind(args, kwargs)
        if queues is not None:
            limits = joined(limits, queues.bind(task.name, task.call_signature, args, kwargs))
    except ArgumentError:  # the call itself will say so
        return False
    return limits is not None and room.store.hold(delivery.lease, limits)


def _still_ours(room: Room, attempt: Attempt) -> bool:
    """What must not begin unmarked is marked before it runs; what waited long may have been taken back."""
    delivery = attempt.delivery
    if delivery.lease in room.given_up:
        return False
    old = room.store.lease_now() - delivery.claimed_at > room.lease / 2
    if not (delivery.suspect or old) and attempt.task.runs_again_after_a_crash():
        return True
    attempt.marked = True
    return room.store.start(delivery.lease)


def _bury(room: Room, attempt: Attempt) -> Outcome:
    if not attempt.task.runs_again_after_a_crash():
        return fail(attempt, lost(attempt.name, attempt.task_id), "worker-lost")
    return fail(attempt, poison(room, attempt.name, attempt.task_id, attempt.delivery.generation), "poison")


def poison(room: Room, name: str, task_id: str, generation: int) -> PoisonTask:
    """The error of a task that has taken too many processes down since it was sent, or redriven."""
    attempts = room.settler.insist(lambda: room.store.attempts(task_id))
    crashes = [item for item in attempts if item.outcome == "crashed"]
    return PoisonTask(name, task_id, [item.finished_at for item in crashes if item.generation == generation])


def lost(name: str, task_id: str) -> WorkerLostError:
    """The error of a run that died and that its task's options forbid to repeat."""
    return WorkerLostError(
        f"the process running {name}[{task_id}] died, and its options acks_late and reject_on_worker_lost say that "
        f"it does not run again by itself; once you know how far it came, send it with "
        f"`celery -A {app_option(None)} dead redrive {task_id}`"
    )


def fail(attempt: Attempt, error: Exception, reason: str) -> Outcome:
    """End it as a failure without running it, its callbacks and chord told as after any failure."""
    cls = type(error)
    attempt.failure = Failure(reason, f"{cls.__module__}.{cls.__qualname__}", writable(error))
    attempt.buffering = True
    with current.attempting(attempt):
        try:
            _raise_through(error, attempt)
        except Exception as raised:
            if raised is not error:
                logger.exception("telling of %s[%s], which failed, raised", attempt.name, attempt.task_id)
    return Outcome.DEAD_LETTERED


def _raise_through(error: Exception, attempt: Attempt) -> None:
    """Celery reads the traceback of the exception being handled."""
    try:
        raise error
    finally:
        TraceInfo(states.FAILURE, error).handle_error_state(attempt.task, attempt.request(), eager=False)


def _claim_key(room: Room, attempt: Attempt) -> Outcome | None:
    assert attempt.key is not None
    while True:
        holder = room.store.take_key(attempt.key, attempt.task_id)
        if holder.task_id == attempt.task_id and not holder.done:
            return None
        if holder.digest != attempt.key.digest:
            error = IdempotencyConflict(attempt.name, attempt.key.value, holder.task_id)
            attempt.key = None  # it is not ours to free
            return fail(attempt, error, "key-conflict")
        if holder.done:
            _copy(attempt, holder.task_id)
            return None
        if room.store.park(attempt.delivery.lease):
            return Outcome.SNOOZED


def _copy(attempt: Attempt, holder_id: str) -> None:
    """Settle with the holder's result: callbacks and chord go on, the body does not run."""
    backend = attempt.task.backend
    # Celery's own backends know one result of an id, not one of each generation.
    attempt.copied = getattr(backend, "settled_result", backend.get_result)(holder_id)
    attempt.copies = True
    attempt.key = None
