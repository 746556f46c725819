"""The worker parent's view of a task: revoked, timed out, or its process lost."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from billiard.einfo import ExceptionWithTraceback
from celery.exceptions import InvalidTaskError, Reject, Terminated, TimeLimitExceeded, WorkerLostError
from celery.worker import state
from celery.worker.request import Request as CeleryRequest
from celery.worker.state import task_ready
from kombu.utils.encoding import safe_repr

from celeriac.core.attempt import Attempt, Failure, Outcome, Settlement
from celeriac.core.current import attempting
from celeriac.core.message import DELIVERY_HEADER, DeliveryFacts
from celeriac.core.text import writable
from celeriac.execution.admission import fail, lost, poison
from celeriac.execution.limits import Limits, limit_text, of_request
from celeriac.execution.pipeline import begin, complete
from celeriac.execution.room import room_of
from celeriac.execution.unrunnable import well_formed
from celeriac.transport.consumer import QUEUE
from celeriac.transport.leases import Held, keeper_of

logger = logging.getLogger(__name__)


def _ended_from_outside(error: BaseException) -> bool:
    """Whether whoever stops this worker sends SIGTERM to its whole process group, as systemd does by default."""
    stopping = state.should_stop is not None or state.should_terminate is not None
    return stopping and "(SIGTERM)" in str(error)


class Request(CeleryRequest):  # type: ignore[misc]  # Celery has no types
    """Settles what never reaches, or never returns from, the task's own process."""

    time_limits: Limits
    #: The worker ends what still runs in it: processes that die from now on are no crashes.
    ended_by_us = False

    def __init__(self, message: Any, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        header = self._request_dict.get(DELIVERY_HEADER)
        self.time_limits = of_request(self.task, self.time_limits, self._limits_of_its_queue(header, message))
        if header is not None and not well_formed(message.payload):
            raise InvalidTaskError("the body is not (args, kwargs, options)")
        managed = header is not None and getattr(self.task, "durable", False)
        self._facts = DeliveryFacts.from_header(header) if managed else None
        self._held = self._find_held()
        if self._held is not None:
            self._held.managed, self._held.name = True, self.name
            self._held.once = not self._runs_again()
        if managed:
            self._hand_over_decoded(message.payload)

    def _hand_over_decoded(self, payload: Any) -> None:
        """Celery has decoded the body here already; the pool's process need not do it again."""
        self._body, self._decoded = payload, True
        self._content_type = self._content_encoding = None

    def _limits_of_its_queue(self, header: list[Any] | None, message: Any) -> Limits:
        queues = self.app.amqp.queues
        if not queues.own:
            return (None, None)
        queue = DeliveryFacts.from_header(header).queue if header else (message.delivery_info or {}).get(QUEUE)
        limits: Limits = queues.time_limits(queue)
        return limits

    def _find_held(self) -> Held | None:
        if self._facts is None:
            return None
        return keeper_of(room_of(self.app).store).find(self._facts.lease)

    @property
    def handed_over(self) -> bool:
        """Whether it counted as begun, and so is handed back by no connection."""
        return self._held is not None and self._held.started

    def on_handed_over(self) -> None:
        """A process has it, and cannot be asked to give it back."""
        if self._held is not None:
            self._held.started = True

    def on_limited(self) -> None:
        """A rate limit has it wait in this worker."""
        if self._held is not None:
            self._held.limited = True

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        self.on_handed_over()
        super().on_accepted(pid, time_accepted)

    # -- revoked or expired before it ran, or terminated

    def revoked(self) -> bool:
        if self._facts is not None and self._facts.revoked and not self._already_revoked:
            logger.info("discarding revoked task: %s[%s]", self.name, self.id)
            self._announce_revoked("revoked", False, None, False)
            return True
        if self._facts is not None and self.expires and not self._already_revoked and self.maybe_expire():
            # Celery would say that it was revoked.
            logger.info("discarding expired task: %s[%s], which was to run before %s", self.name, self.id, self.expires)
            self._announce_revoked("expired", False, None, True)
            return True
        return bool(super().revoked())

    def maybe_expire(self) -> bool:
        """As Celery's, by the clock of the store that has kept the message until it was due."""
        if self._facts is None or not self.expires or self.expires.tzinfo is None:
            return bool(super().maybe_expire())
        if room_of(self.app).store.now() <= self.expires.timestamp():
            return False
        state.revoked.add(self.id)
        return True

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        with self._settling(Outcome.REVOKED, Failure(reason, "TaskRevokedError", reason)):
            super()._announce_revoked(reason, terminated, signum, expired)

    # -- time limits, enforced from here

    def on_timeout(self, soft: bool, timeout: float) -> None:
        if soft or self._facts is None:
            super().on_timeout(soft, timeout)
            return
        error = limit_text("hard", timeout)
        if self._goes_on():
            self._give_way(error)
            return
        with self._settling(Outcome.DEAD_LETTERED, Failure("time-limit", "celery.TimeLimitExceeded", error)):
            super().on_timeout(soft, timeout)

    def _goes_on(self) -> bool:
        """Whether the run that is interrupted has saved a checkpoint, from which another goes on."""
        assert self._facts is not None
        room, token = room_of(self.app), self._facts.lease.token
        known = room.settler.insist(lambda: room.store.checkpoints([self.id])).get(self.id)
        return known is not None and known.cursors is not None and known.token == token

    def _give_way(self, reason: str) -> None:
        task_ready(self)
        room, facts = room_of(self.app), self._facts
        assert facts is not None
        if room.deadlines is None and self.worker_pid:  # a pool of processes, which would only then be ended
            with suppress(OSError):
                os.kill(self.worker_pid, signal.SIGKILL)
        back = Settlement(facts.lease, self.id, facts.generation, Outcome.SNOOZED)
        room.settler.insist(lambda: room.store.settle([back]))
        logger.info("task %s[%s] goes on from its last checkpoint: %s", self.name, self.id, reason)
        self.acknowledge()

    # -- how the run in the pool ended

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        if self._facts is None or self._already_cancelled or self._already_revoked:
            return super().on_failure(exc_info, send_failed_event, return_ok)
        try:
            return self._on_failure(exc_info, send_failed_event, return_ok)
        except Exception:
            logger.exception(
                "how %s[%s] ended cannot be settled here: its lease runs out, and it counts as crashed",
                self.name,
                self.id,
            )
            self.acknowledge()  # or the lease would be renewed for ever
            return None

    def _on_failure(self, exc_info: Any, send_failed_event: bool, return_ok: bool) -> Any:
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        if self._is_crash(error, return_ok):
            return self._on_crash(error)
        if isinstance(error, Reject):
            task_ready(self)
            return self.reject(requeue=error.requeue)  # the pipeline has settled it
        if isinstance(error, TimeLimitExceeded):
            return self.acknowledge()  # on_timeout has settled it
        if isinstance(error, MemoryError):
            return self._failed(exc_info)
        return super().on_failure(exc_info, send_failed_event, return_ok)

    @staticmethod
    def _is_crash(error: BaseException, from_the_pipeline: bool) -> bool:
        if isinstance(error, (WorkerLostError, SystemExit, KeyboardInterrupt)):
            return True
        # The pipeline would have settled it; these are settled, or dealt with, here.
        return not from_the_pipeline and not isinstance(error, (Reject, TimeLimitExceeded, Terminated))

    def _failed(self, exc_info: Any) -> None:
        """Settled as any other failure; Celery would end the worker with all that runs in it."""
        task_ready(self)
        self.acknowledge()
        self.send_event("task-failed", exception=safe_repr(exc_info.exception), traceback=exc_info.traceback)

    def _on_crash(self, error: BaseException) -> None:
        """Its process died under it: counted against this task alone, which runs again by itself."""
        assert self._facts is not None
        task_ready(self)
        room, lease = room_of(self.app), self._facts.lease
        if not self._runs_again():
            self._end(lost(self.name, self.id), "worker-lost", error)
            return
        if self._facts.crashes >= room.own.max_crashes:  # its process fails before it could bury it
            self._end(poison(room, self.name, self.id, self._facts.generation), "poison", error)
            return
        ended = self.ended_by_us or _ended_from_outside(error)
        room.settler.insist(lambda: room.store.release([lease], crashed=not ended, error=writable(error)))
        count = "no crash" if ended else f"crash {self._crashes() + 1} of {room.own.max_crashes}"
        logger.error("the process running %s[%s] died (%s): %s", self.name, self.id, count, error)
        self.acknowledge()
        self.send_event("task-rejected", requeue=True)

    def _crashes(self) -> int:
        """Those that count before this one: a checkpoint has made an end of the earlier."""
        assert self._facts is not None
        return 0 if self._facts.crashes and self._goes_on() else self._facts.crashes

    def _runs_again(self) -> bool:
        task = self.task
        again = bool(task.reject_on_worker_lost or task.retry_on_worker_lost)
        return again and bool(task.runs_again_after_a_crash())

    def _end(self, error: Exception, reason: str, cause: BaseException) -> None:
        """Not to be repeated: a dead letter, for people to decide on."""
        error.__cause__ = cause
        room, attempt = room_of(self.app), self._attempt()
        attempt.request = lambda: self._context
        attempt.outcome = fail(attempt, error, reason)
        complete(room, attempt, self._whole(), self.task.backend)
        room.settler.settle(attempt, at_once=True)
        logger.error("%s: %s", error, writable(cause))
        self.acknowledge()
        self.send_event("task-failed", exception=safe_repr(error), traceback=None)

    @contextmanager
    def _settling(self, outcome: Outcome, failure: Failure) -> Iterator[None]:
        """Catch what Celery records and publishes inside, and write it as one settlement."""
        if self._facts is None:
            yield
            return
        room = room_of(self.app)
        attempt = self._attempt()
        attempt.outcome, attempt.failure, attempt.buffering = outcome, failure, True
        with attempting(attempt):
            try:
                yield
            except Exception:  # a hook of the task's; it is settled all the same
                logger.exception("telling of %s[%s], which was ended, raised", self.name, self.id)
        complete(room, attempt, self._whole(), self.task.backend)
        room.settler.settle(attempt, at_once=True)

    def _whole(self) -> dict[str, Any]:
        """As the task's own process has it: with what the body says of what follows."""
        return {**self._request_dict, **(self._payload[2] or {})}

    def _attempt(self) -> Attempt:
        attempt = begin(self.task, self.id, self._request_dict, self._request_dict[DELIVERY_HEADER])
        if self.time_start:
            attempt.started_at = self.time_start
        return attempt
