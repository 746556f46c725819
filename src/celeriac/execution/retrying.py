"""What becomes of a run whose body raised: tried again, as its task's policy says, or given up."""

from __future__ import annotations

import inspect
import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from celery import Task as CeleryTask
from celery._state import get_current_task
from celery.exceptions import Ignore, Reject, Retry

from celeriac.core.attempt import Attempt
from celeriac.core.message import KEY_HEADER, SINCE_HEADER
from celeriac.core.retries import Decision, GiveUp, Policy, Retries, RetryAt, decide
from celeriac.core.retry_after import retry_after
from celeriac.core.retry_options import LIMITS, of_celery, policy_of
from celeriac.errors import StoreError
from celeriac.execution.exhausted import tell
from celeriac.execution.room import Room, room_of

logger = logging.getLogger(__name__)

#: Seconds by which the clocks of two hosts that are right may differ.
CLOCKS_AGREE = 1.0
_CELERYS_RETRY = inspect.signature(CeleryTask.retry)


def retry_or_give_up(task: Any, attempt: Attempt | None, error: Exception) -> GiveUp | None:
    """Raise Celery's ``Retry`` when the task's policy says so; otherwise return what it says, if there is one.

    Without an attempt there is no ledger, and the retry is published at once.
    """
    try:
        decision = _decision(task, attempt, error)
    except Exception:  # a function of the task's policy: the body's own error is what stands
        logger.exception(
            "%s[%s]: its policy of retries could not decide, so it is not tried again", task.name, task.request.id
        )
        return None
    if isinstance(decision, RetryAt):
        raise _again(task, decision, error) from error
    return decision


def _again(task: Any, decision: RetryAt, error: Exception) -> Any:
    policy = decision.policy
    options = {name: value for name, value in _retry_kwargs(task).items() if name not in LIMITS}
    options |= _where(policy)
    return task.retry(
        exc=error,
        eta=datetime.fromtimestamp(decision.at, timezone.utc),
        # It is decided; None would stand for the task's own limit here.
        max_retries=task.request.retries + 1 if policy.max_retries is None else policy.max_retries,
        **options,
    )


def clocks_apart(task: Any, attempt: Attempt | None) -> float:
    """Seconds to add to a moment of this host's clock, so that the store, which goes by its own, has it as far off.

    Nothing for what is less than a second, which is no wrong clock, and where no store or none that answers is asked.
    """
    if attempt is not None:
        with suppress(StoreError):
            apart: float = room_of(task.app).store.now() - time.time()
            return apart if abs(apart) >= CLOCKS_AGREE else 0.0
    return 0.0


def _decision(task: Any, attempt: Attempt | None, error: Exception) -> Decision | None:
    policy = _policy(task, attempt, error)
    if policy is None:
        return None
    of_celery_alone = _is_celerys(task)
    if attempt is not None and attempt.gave_up is not None and not of_celery_alone:
        return attempt.gave_up  # by the body's own self.retry()
    if of_celery_alone and hasattr(task, "override_max_retries"):
        return None  # the same, with a limit of the call's: Celery raises the error
    return decide(
        policy,
        retries=task.request.retries,
        error=error,
        keyed=attempt is not None and attempt.key is not None,
        now=_now(task, attempt),
        since=_since(task, attempt),
    )


def _policy(task: Any, attempt: Attempt | None, error: Exception) -> Policy | None:
    """What is followed after this error; None where that is Celery's business, or nobody's."""
    if _is_celerys(task):
        # As Celery, which asks neither `throws` nor anybody else. Without an attempt it is Celery that acts.
        return None if attempt is None or "eta" in _retry_kwargs(task) else of_celery(task)
    if _is_expected(task, error):
        return None
    if attempt is None:
        return _declared(task, task.app.own_settings)
    room = room_of(task.app)
    declared = _declared(task, room.own)
    return room.own.undeclared_retries() if declared is None and room.retries_undeclared else declared


def _declared(task: Any, own: Any) -> Policy | None:
    """The policy that the task declares, or its app for all that declare none."""
    if task.retries is None:
        return own.declared_retries()  # type: ignore[no-any-return]  # as of every app of ours
    return policy_of(task.name, task.retries, pace=own.undeclared_retries())


def _is_expected(task: Any, error: Exception) -> bool:
    """Whether Celery's own options say that this is no failure to be mended."""
    if task.throws and isinstance(error, tuple(task.throws)):
        return True
    return isinstance(error, tuple(getattr(task, "dont_autoretry_for", ())))


def _retry_kwargs(task: Any) -> dict[str, Any]:
    """Celery's option, where it is in force."""
    return (getattr(task, "retry_kwargs", None) or {}) if _is_celerys(task) else {}


def _is_celerys(task: Any) -> bool:
    """Whether the task declares ``autoretry_for``."""
    return task.retries is None and bool(getattr(task, "autoretry_for", None))


def _where(policy: Retries) -> dict[str, Any]:
    found = {"queue": policy.queue, "priority": policy.priority}
    return {name: value for name, value in found.items() if value is not None}


# -- since when, and until now


def _now(task: Any, attempt: Attempt | None) -> float:
    """By the clock that says when a retry is due: the store's, where one will keep it."""
    return time.time() if attempt is None else room_of(task.app).store.now()


def _since(task: Any, attempt: Attempt | None) -> float:
    """When the first run began, in seconds since the epoch."""
    request = task.request
    if request.retries:  # a redrive begins anew, though its message has the header still
        told = getattr(request, SINCE_HEADER, None) or (request.headers or {}).get(SINCE_HEADER)
        if isinstance(told, (int, float)):
            return float(told)
    if attempt is None:
        return float(getattr(request, "celeriac_began", time.time()))
    return _before_it_crashed(room_of(task.app), attempt) if attempt.delivery.crashes else attempt.started_at


def _before_it_crashed(room: Room, attempt: Attempt) -> float:
    moments = [attempt.started_at]
    with suppress(StoreError):  # it only ends a little later then
        runs = room.store.attempts(attempt.task_id)
        crashed = [run for run in runs if run.outcome == "crashed" and run.generation == attempt.delivery.generation]
        moments += [run.started_at or run.finished_at for run in crashed]
    return min(moments)


# -- the body's own self.retry()


def arguments(task: Any, attempt: Attempt | None, args: Any, kwargs: Any) -> dict[str, Any]:
    """Those of a call of ``self.retry()``, with what the task's ``retries=`` says where the call says nothing."""
    bound = _CELERYS_RETRY.bind(task, *args, **kwargs).arguments
    given = {**bound, **bound.get("options", {})}
    for name in ("self", "options"):
        given.pop(name, None)
    request = task.request
    if request.called_directly:
        return given
    since = _since(task, attempt)
    if task.retries is not None and task.retries is not False:
        _fill_in(task, attempt, given, since)
    headers = request.headers or {}
    # The call's own replace them, as in Celery; the idempotency key is no less the task's.
    kept = {name: headers[name] for name in (KEY_HEADER,) if name in headers}
    given["headers"] = {**(given.get("headers") or headers), **kept, SINCE_HEADER: since}
    return given


def _fill_in(task: Any, attempt: Attempt | None, given: dict[str, Any], since: float) -> None:
    error = given.get("exc") or sys.exc_info()[1]
    policy = _policy_for(task, error)
    if policy is None:
        return
    for name, value in _where(policy).items():
        given.setdefault(name, value)
    now, retries = _now(task, attempt), task.request.retries
    if not given.get("eta") and given.get("countdown") is None:
        asked = None if error is None else retry_after(error, now)
        given["countdown"] = policy.delay(retries, asked=asked)
    if given.get("max_retries") is None:
        given["max_retries"] = retries + 1 if policy.max_retries is None else policy.max_retries
    if _due(given, now) > policy.ends_at(since):
        given["max_retries"] = retries  # one less than this one would be: Celery raises the error


def _policy_for(task: Any, error: BaseException | None) -> Retries | None:
    """The policy of a task that asks for the retry itself: of one alone it need not be among the errors it is for."""
    policy = policy_of(task.name, task.retries, pace=task.app.own_settings.undeclared_retries())
    if isinstance(policy, Retries):
        return policy
    return None if error is None else policy.of(error)


def _due(given: dict[str, Any], now: float) -> float:
    eta = given.get("eta")
    if isinstance(eta, datetime):
        return (eta if eta.tzinfo else eta.replace(tzinfo=timezone.utc)).timestamp()
    return now + float(given.get("countdown") or 0.0)


def refused(task: Any, attempt: Attempt, given: dict[str, Any]) -> None:
    """Celery has raised instead of retrying: the task has given up by itself, whatever its body makes of it."""
    if attempt.gave_up is not None:
        return
    declares = task.retries is not None and task.retries is not False
    policy = _policy_for(task, given.get("exc") or sys.exc_info()[1]) if declares else None
    over = policy is not None and _due(given, _now(task, attempt)) > policy.ends_at(given["headers"][SINCE_HEADER])
    attempt.gave_up = GiveUp("budget" if over else "exhausted", policy)


# -- where no ledger is


def beside_no_ledger(run: Callable[..., Any]) -> Any:
    """The task whose body ``run`` is, if Celery's tracer runs it without an attempt and it is to be tried again."""
    task = get_current_task()
    if task is None or getattr(task.run, "__func__", task.run) is not run:
        return None
    request = task.request
    if request.called_directly or hasattr(request, "celeriac_began"):
        return None
    declared = task.durable and (task.retries is not None or task.app.own_settings.retries is not None)
    return task if declared else None


def run_beside_no_ledger(task: Any, call: Callable[[], Any]) -> Any:
    """Run the body; what its policy tries again is published at once, as Celery's own retries are."""
    task.request.celeriac_began = time.time()
    try:
        return call()
    except (Ignore, Retry, Reject):
        raise
    except Exception as error:
        gave_up = retry_or_give_up(task, None, error)
        if gave_up is not None:
            tell(task, task.request, gave_up, error)
        raise
