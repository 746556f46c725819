"""``raise Snooze(30)``: a task is put off, and no attempt is counted."""

from __future__ import annotations

import logging
import sys
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from celery.exceptions import Ignore

from celeriac.core import snooze
from celeriac.core.attempt import Attempt, Outcome, Settlement
from celeriac.core.current import current
from celeriac.core.message import DELIVERY_HEADER, DeliveryFacts
from celeriac.execution.room import room_of

if TYPE_CHECKING:
    from celeriac.core.snooze import Delay

logger = logging.getLogger(__name__)


class Snooze(Ignore):  # type: ignore[misc]  # Celery has no types
    """Raised in a task: it is not to be done now, and nothing went wrong.

    The task waits in the store and runs again with the same arguments: no attempt, retry or crash is counted, its
    idempotency key stays taken, its limits' slots are free meanwhile, and a chain or chord waits for it.

    Args:
        delay: seconds from now on, a timedelta, or a datetime with its zone; 0 and what has passed: as soon as possible.
        reason: for the log.

    Raises:
        ValueError: a delay that is negative, no number, without a zone, or more than a year.
    """

    #: Whether it is for the log's details only.
    quiet = False

    def __init__(self, delay: Delay, reason: str = "") -> None:
        super().__init__(delay, reason)
        self.delay = snooze.checked(delay, time.time())
        self.reason = reason
        #: Somebody has seen to it that the task runs again.
        self.seen_to = False

    def until(self, now: float) -> float:
        """When the task is to run, in seconds since the epoch."""
        return snooze.moment(self.delay, now)

    def __str__(self) -> str:
        said = f": {self.reason}" if self.reason else ""
        return f"put off {snooze.shown(self.delay)}{said}"


class GiveWay(Snooze):
    """Raised by ``iterate`` between two rows: the task goes on in another run.

    Args:
        reason: for the log.
        behind: it waits behind all that waits in its queue now; otherwise it goes on as soon as possible.
    """

    def __init__(self, reason: str, behind: bool = False) -> None:  # pickle gives it by position
        super().__init__(0, reason)
        self.args = (reason, behind)
        self.behind = behind

    def __str__(self) -> str:
        return f"giving way: {self.reason}"


def put_off(attempt: Attempt, error: Snooze) -> None:
    """Have the settlement put the message off; what this run has prepared, the run that counts prepares itself."""
    attempt.outcome = Outcome.SNOOZED
    if isinstance(error, GiveWay):
        attempt.gives_way, attempt.behind = True, error.behind
    else:
        attempt.snooze_until = error.until(room_of(attempt.task.app).store.now())
    attempt.record = attempt.failure = attempt.retry = None
    attempt.growing.clear()
    for prepared in (attempt.chord, attempt.follow_ups, attempt.others, attempt.after_settle):
        prepared.clear()
    tell(attempt.name, attempt.task_id, error)


class _SaidBetter(logging.Filter):
    """Celery says of what is put off that it is ignored; here it is said what is done with it."""

    def filter(self, record: logging.LogRecord) -> bool:
        attempt = current()
        return attempt is None or not attempt.put_off


logging.getLogger("celery.app.trace").addFilter(_SaidBetter())


def tell(name: str, task_id: str, error: Snooze) -> None:
    """Say it in the worker's log."""
    logger.log(logging.DEBUG if error.quiet else logging.INFO, "task %s[%s] is %s", name, task_id, error)


def put_off_unmanaged(task: Any, error: Snooze) -> None:
    """Of a task that celeriac does not settle: in the store, where one delivered it; or sent again, under its own id.

    Raises:
        Exception: it cannot be sent now, and fails with that: nobody would know of it any more.
    """
    request = task.request
    if error.seen_to or request.is_eager:
        return
    error.seen_to = True
    header = getattr(request, DELIVERY_HEADER, None)
    if header is None:
        _send_again(task, error)
    else:
        _set_aside(task, DeliveryFacts.from_header(header), error)
    tell(task.name, request.id, error)


def _set_aside(task: Any, facts: DeliveryFacts, error: Snooze) -> None:
    store = room_of(task.app).store
    until = error.until(store.now())
    store.settle([Settlement(facts.lease, task.request.id, facts.generation, Outcome.SNOOZED, snooze_until=until)])


def _send_again(task: Any, error: Snooze) -> None:
    eta = datetime.fromtimestamp(error.until(time.time()), timezone.utc)
    # As Celery's retry() does, with the count as it is.
    task.signature_from_request(task.request, eta=eta, retries=task.request.retries).apply_async()


def _is_no_snooze(_record: logging.LogRecord) -> bool:
    """Celery says of each `Ignore` that the task is ignored; of one that only waits, `tell` says what is true."""
    return not isinstance(sys.exc_info()[1], Snooze)


logging.getLogger("celery.app.trace").addFilter(_is_no_snooze)
