"""What a policy of retries cannot mean, and what to write instead."""

from __future__ import annotations

from typing import Any, TypeGuard

from celeriac.core.backoff import is_growth, least, unspread
from celeriac.core.message import HIGHEST_PRIORITY, LOWEST_PRIORITY


def check(policy: Any) -> None:
    """Refuse a `Retries` whose options contradict each other. Raises ValueError naming them, with the remedy."""
    for one in (_count, _waits, _budget, _where, _end):
        one(policy)


def _waits(policy: Any) -> None:
    if not is_growth(policy.growth):
        raise ValueError(f'growth={policy.growth!r}: "exponential", "linear" or "fixed"')
    if not isinstance(policy.backoff, float) and policy.growth != "exponential":
        raise ValueError(f"growth={policy.growth!r}: this backoff says each wait itself; leave growth out")
    if not policy.cap > 0:
        raise ValueError(f"cap={policy.cap:g}: seconds, above 0")
    if isinstance(policy.backoff, float):
        _first(policy, policy.backoff)
    elif isinstance(policy.backoff, tuple):
        _each(policy, policy.backoff)


def _first(policy: Any, backoff: float) -> None:
    # What grows from nothing stays nothing; at once, and always so, can be meant.
    if backoff < 0 or (backoff == 0 and policy.growth != "fixed"):
        raise ValueError(f'backoff={backoff:g}: seconds, above 0; to retry at once say backoff=0, growth="fixed"')
    if backoff > policy.cap:
        raise ValueError(f"backoff={backoff:g} is over cap={policy.cap:g}, which no wait exceeds: raise the cap")


def _each(policy: Any, waits: tuple[float, ...]) -> None:
    if max(waits) > policy.cap:
        raise ValueError(
            f"backoff={waits}: {max(waits):g} is over cap={policy.cap:g}, which no wait exceeds: say cap={max(waits):g}"
        )
    if policy.max_retries is not None and len(waits) > policy.max_retries:
        raise ValueError(
            f"backoff={waits} says {len(waits)} waits and max_retries={policy.max_retries} uses fewer: "
            f"say max_retries={len(waits)}"
        )


def _count(policy: Any) -> None:
    if policy.max_retries is not None and not is_count(policy.max_retries):
        raise ValueError(f"max_retries={policy.max_retries!r}: a whole number from 0, or None for no limit")


def _where(policy: Any) -> None:
    if policy.queue is not None and not (isinstance(policy.queue, str) and policy.queue):
        raise ValueError(f"queue={policy.queue!r}: the name of a queue, or None for the task's own")
    if policy.priority is not None and not _is_priority(policy.priority):
        raise ValueError(
            f"priority={policy.priority!r}: a whole number from {LOWEST_PRIORITY} to {HIGHEST_PRIORITY}, the higher first"
        )


def _end(policy: Any) -> None:
    if policy.on_exhausted is None:
        return
    if not _can_be_told(policy.on_exhausted):
        raise ValueError(f"on_exhausted={policy.on_exhausted!r}: a task, a signature, a task's name or a function")
    if policy.max_retries is None and policy.budget is None:
        raise ValueError(
            "on_exhausted is never told, since max_retries=None and no budget never end: give it one of them, or leave "
            "on_exhausted out"
        )


def _budget(policy: Any) -> None:
    if policy.budget is None:
        return
    if not policy.budget > 0:
        raise ValueError(f"budget={policy.budget:g}: seconds from the start of the first run, above 0")
    first = 0.0 if callable(policy.backoff) else least(unspread(policy.backoff, policy.growth, 0), policy.jitter)
    if first > policy.budget:
        raise ValueError(
            f"budget={policy.budget:g} ends before the first wait of {first:g} s is over, so that nothing would be "
            "retried: raise the budget, or lower the backoff"
        )


def is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_priority(value: object) -> bool:
    return is_count(value) and LOWEST_PRIORITY <= value <= HIGHEST_PRIORITY


def _can_be_told(whom: object) -> bool:
    # By the type alone: isinstance() would look into one of Celery's proxies, and so make the task before its time.
    kind = type(whom)
    return issubclass(kind, dict) or callable(whom) or (issubclass(kind, str) and bool(whom))
