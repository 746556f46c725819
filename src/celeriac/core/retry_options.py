"""The policies that options stand for: celeriac's `retries=`, and Celery's `autoretry_for` with what belongs to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celeriac.core.retries import (
    OFF,
    UNDECLARED,
    Errors,
    Policy,
    Retries,
    Rules,
    any_exception,
    tells_errors,
)
from celeriac.core.retry_checks import is_count
from celeriac.errors import OptionError

#: What Celery's `retry_kwargs` may say beside options of the publish; with an `eta` Celery itself decides.
LIMITS = ("countdown", "max_retries")
#: A cap that is none: Celery knows one of zero, and a policy does not.
_NO_WAIT = 1e-6


def policy_of(task: str, option: object, *, undeclared: Policy = UNDECLARED, pace: Retries = UNDECLARED) -> Policy:
    """The policy that a task's `retries=` stands for.

    None: nothing declared, so `undeclared`. False: off. A number: that many retries, for every `Exception`, at `pace`. A
    `Retries`: itself. A mapping of errors to any of these, or a sequence of such pairs: the first that matches.

    Raises:
        OptionError: for anything else.
    """
    if option is None:
        return undeclared
    rules = _pairs(option)
    if rules is not None:
        return Rules(tuple(_rule(task, errors, one, pace) for errors, one in rules))
    found = _single(option, pace)
    if found is None:
        raise OptionError(
            task,
            "retries",
            f"{option!r} is neither a number from 0, False, a celeriac Retries(...), nor a mapping, or a sequence of pairs, of "
            "exceptions and one of these",
        )
    return found


def _single(option: object, pace: Retries) -> Retries | None:
    if isinstance(option, Retries):
        return option
    if option is False:
        return OFF
    if is_count(option):
        return Retries(max_retries=option, backoff=pace.backoff, cap=pace.cap, jitter=pace.jitter)
    return None


def _pairs(option: object) -> list[tuple[Any, Any]] | None:
    if isinstance(option, Mapping):
        return list(option.items()) or None
    if isinstance(option, Sequence) and not isinstance(option, str) and option:
        pairs = [item for item in option if isinstance(item, (tuple, list)) and len(item) == 2]  # noqa: PLR2004
        return [(errors, one) for errors, one in pairs] if len(pairs) == len(option) else None
    return None


def _rule(task: str, errors: Any, option: object, pace: Retries) -> tuple[Errors, Retries]:
    kinds = tuple(errors) if isinstance(errors, list) else errors
    if not tells_errors(kinds):
        raise OptionError(task, "retries", f"{errors!r} is neither exception types nor a function of the error")
    policy = _single(option, pace)
    if policy is None:
        raise OptionError(
            task, "retries", f"{option!r}, for {errors!r}, is neither a number from 0, False nor a Retries(...)"
        )
    if policy is not OFF and policy.on is not any_exception:
        raise OptionError(
            task,
            "retries",
            f"the rule for {errors!r} has a Retries(on=...) too: say which errors in one place, and leave on out",
        )
    return kinds, policy


def of_celery(task: Any) -> Retries:
    """The policy of a task that declares `autoretry_for`: when, and how often, Celery itself would try it again.

    `task` has Celery's attributes. As there the numbers of its exponential backoff are whole, and `retry_kwargs` comes
    before `max_retries` and `default_retry_delay`.
    """
    given = getattr(task, "retry_kwargs", None) or {}
    limit = given.get("max_retries")
    limit = task.max_retries if limit is None else limit
    return Retries(None if limit is None else max(0, int(limit)), on=_autoretried(task), **_waits(task, given))


def _autoretried(task: Any) -> Any:
    kinds, others = tuple(task.autoretry_for), tuple(getattr(task, "dont_autoretry_for", ()))
    return lambda error: isinstance(error, kinds) and not isinstance(error, others)


def _waits(task: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    factor, most = float(getattr(task, "retry_backoff", False)), float(int(getattr(task, "retry_backoff_max", 600)))
    if not factor:
        countdown = given.get("countdown")
        wait = max(0.0, float((task.default_retry_delay if countdown is None else countdown) or 0))
        return {"backoff": wait, "growth": "fixed", "jitter": False, "cap": max(wait, most, _NO_WAIT)}
    if most <= 0:
        return {"backoff": 0, "growth": "fixed", "jitter": False, "cap": _NO_WAIT}
    jitter = bool(getattr(task, "retry_jitter", True))
    return {"backoff": min(float(int(max(1.0, factor))), most), "jitter": jitter, "cap": most}
