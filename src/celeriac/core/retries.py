"""Whether and when a failed attempt is made again: a pure decision."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeGuard

from celeriac.core.failures import ConnectionFailure, connection_failure
from celeriac.errors import OptionError

Predicate = Callable[[BaseException], bool]
#: Past this many doublings any base is beyond any cap, and a float would overflow.
_MOST_DOUBLINGS = 64


def any_exception(error: BaseException) -> bool:
    """True for every `Exception`; not for `SystemExit` and `KeyboardInterrupt`."""
    return isinstance(error, Exception)


def no_exception(_error: BaseException) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Retries:
    """When a failed task is tried again.

    `max_retries` counts as Celery does: 3 means up to 4 runs, and None means for ever. The n-th retry (from 0) waits up
    to `backoff * 2**n` seconds, never over `cap` seconds; with `jitter` it waits a random part of that, so that tasks
    that failed together do not come back together. `on` says which errors are worth it: exception types, or a function
    of the error; every `Exception` by default. Raises ValueError or TypeError for what cannot be meant.
    """

    max_retries: int | None = 3
    backoff: float = 5.0
    cap: float = 600.0
    jitter: bool = True
    on: Predicate | type[BaseException] | tuple[type[BaseException], ...] = any_exception

    def __post_init__(self) -> None:
        if self.max_retries is not None and not _is_count(self.max_retries):
            raise ValueError(f"Retries(max_retries={self.max_retries!r}): a whole number from 0, or None for no limit")
        if not 0 < self.backoff <= self.cap:
            raise ValueError(f"Retries(backoff={self.backoff!r}, cap={self.cap!r}): seconds, with 0 < backoff <= cap")
        if not _tells_errors(self.on):
            raise TypeError(f"Retries(on={self.on!r}): exception types, or a function of the error that returns a bool")

    def covers(self, error: BaseException) -> bool:
        """Whether `on` names this error."""
        on = self.on
        return isinstance(error, on) if isinstance(on, (type, tuple)) else bool(on(error))

    def delay(self, retries: int, rng: Callable[[], float] = random.random) -> float:
        """Seconds before the retry that follows `retries` earlier ones; `rng` returns a float in [0, 1)."""
        longest = min(self.cap, self.backoff * 2.0 ** min(retries, _MOST_DOUBLINGS))
        return longest * rng() if self.jitter else longest


@dataclass(frozen=True, slots=True)
class Undeclared(Retries):
    """The policy of a task that declares none: connection failures only, and a lost answer only under a key."""


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _tells_errors(on: object) -> bool:
    if isinstance(on, tuple):
        return all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in on)
    return callable(on)


#: Nothing declared, and `retries=False`.
UNDECLARED: Retries = Undeclared()
OFF = Retries(max_retries=0, on=no_exception)


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again at `at`, in seconds since the epoch; `reason` is for the history."""

    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not try again: every retry was used, or the error is none that a retry could cure."""

    reason: Literal["exhausted", "permanent"]


Decision = RetryAt | GiveUp


def decide(
    policy: Retries,
    *,
    retries: int,
    error: BaseException,
    keyed: bool,
    now: float,
    rng: Callable[[], float] = random.random,
) -> Decision:
    """What follows a failed attempt.

    `retries` is how many came before (0 after the first run), `keyed` whether the task runs under an idempotency key,
    and `now` the time in seconds since the epoch.
    """
    reason = _reason(policy, error, keyed)
    if reason is None:
        return GiveUp("permanent")
    if policy.max_retries is not None and retries >= policy.max_retries:
        return GiveUp("exhausted")
    return RetryAt(now + policy.delay(retries, rng), reason)


def _reason(policy: Retries, error: BaseException, keyed: bool) -> str | None:
    if not isinstance(policy, Undeclared):
        return "declared" if policy.covers(error) else None
    failure = connection_failure(error)
    worth_it = failure is ConnectionFailure.NEVER_ESTABLISHED or (failure is not None and keyed)
    return failure.value if failure and worth_it else None


def policy_of(task: str, option: object, *, undeclared: Retries = UNDECLARED) -> Retries:
    """The policy that a task's `retries=` stands for.

    None: nothing declared, so `undeclared`. False: off. A number: that many retries, for every `Exception`. A
    `Retries`: itself. Raises `OptionError` for anything else.
    """
    if option is None:
        return undeclared
    if isinstance(option, Retries):
        return option
    if option is False:
        return OFF
    if _is_count(option):
        return Retries(max_retries=option, backoff=undeclared.backoff, cap=undeclared.cap, jitter=undeclared.jitter)
    raise OptionError(task, "retries", f"{option!r} is neither a number from 0, False, nor a celeriac Retries(...)")
