"""Whether and when a failed attempt is made again: a pure decision."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

from celeriac.core.backoff import (
    Backoff,
    Dice,
    Growth,
    Jitter,
    Seconds,
    as_jitter,
    as_waits,
    seconds,
    spread,
    unspread,
)
from celeriac.core.failures import ConnectionFailure, connection_failure
from celeriac.core.retry_after import retry_after
from celeriac.core.retry_checks import check

Predicate = Callable[[BaseException], bool]
#: Which errors: exception types, or a function of the error.
Errors = Predicate | type[BaseException] | tuple[type[BaseException], ...]


def any_exception(error: BaseException) -> bool:
    """True for every `Exception`; not for `SystemExit` and `KeyboardInterrupt`."""
    return isinstance(error, Exception)


def no_exception(_error: BaseException) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Retries:
    """When a failed task is tried again, and what follows when it is given up.

    Args:
        max_retries: counts as Celery does: 3 means up to 4 runs, and None means for ever.
        backoff: seconds before the first retry; or a sequence of the seconds before each, the last of which is repeated;
            or a function that is given how many retries came before and returns the seconds.
        cap: seconds that no wait exceeds, also where a server asks for more.
        jitter: "full" waits a random part of each wait, so that tasks that failed together do not come back together;
            "equal" at least half of it; "none" all of it. True is "full" and False "none". Where nothing is said, "full",
            and "none" for a sequence or a function, which say each wait themselves.
        on: which errors are worth it: exception types, or a function of the error; every `Exception` by default.
        growth: "exponential" doubles the wait each time, "linear" adds the first one, "fixed" leaves it.
        budget: seconds from the start of the first run after which no retry may begin; None for no such limit.
        queue: where the retries go, if not to the queue that the task came from.
        priority: theirs, from 0 to 9, the higher first; the task's own when None.
        on_exhausted: a task, a signature, a task's name or a function. When the last retry has failed it is sent, or called
            with, one dict: id, task, args, kwargs, retries, reason, error_type, error.

    Raises:
        ValueError, TypeError: for what cannot be meant, with what to write instead.
    """

    max_retries: int | None = 3
    backoff: Backoff = 5.0
    cap: Seconds = 600.0
    jitter: bool | Jitter | None = None
    on: Errors = any_exception
    _: KW_ONLY
    growth: Growth = "exponential"
    budget: Seconds | None = None
    queue: str | None = None
    priority: int | None = None
    on_exhausted: Any = field(default=None, hash=False)

    def __post_init__(self) -> None:
        try:
            self._normalise()
            check(self)
        except ValueError as error:
            raise ValueError(f"Retries: {error}") from None
        if not tells_errors(self.on):
            raise TypeError(f"Retries: on={self.on!r}: exception types, or a function of the error that returns a bool")

    def _normalise(self) -> None:
        backoff = as_waits(self.backoff)
        values: dict[str, object] = {
            "backoff": backoff,
            "cap": seconds(self.cap, "cap"),
            "jitter": as_jitter(self.jitter, backoff),
        }
        if self.budget is not None:
            values["budget"] = seconds(self.budget, "budget")
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def covers(self, error: BaseException) -> bool:
        """Whether `on` names this error."""
        return _names(self.on, error)

    def of(self, error: BaseException) -> Retries | None:
        """The policy for this error; None where `on` does not name it."""
        return self if self.covers(error) else None

    @property
    def queues(self) -> tuple[str, ...]:
        """Those that retries are sent to, beside the tasks' own."""
        return () if self.queue is None else (self.queue,)

    def delay(self, retries: int, rng: Dice = random.random, *, asked: float | None = None) -> float:
        """Seconds before the retry that follows `retries` earlier ones.

        `rng` returns a float in [0, 1). `asked` are the seconds of a server's Retry-After: the wait is no shorter, and
        jitter makes it longer by as much as it would have been, or twice at most.
        """
        longest = min(unspread(self.backoff, self.growth, retries), _float(self.cap))
        wait = spread(longest, _word(self.jitter), rng)
        if asked is not None:
            extra = 0.0 if self.jitter == "none" else min(wait, asked)
            wait = max(wait, asked + extra)
        return min(wait, _float(self.cap))

    def ends_at(self, since: float) -> float:
        """When the budget of a task whose first run began at `since` is used up, in seconds since the epoch."""
        return since + (float("inf") if self.budget is None else _float(self.budget))


@dataclass(frozen=True, slots=True)
class Undeclared(Retries):
    """The policy of a task that declares none: what was certainly not done, and a lost answer only under a key."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Policies for errors of different kinds: the first that names the error is followed, and without one nothing is retried."""

    rules: tuple[tuple[Errors, Retries], ...]

    def of(self, error: BaseException) -> Retries | None:
        """The policy for this error, if there is one."""
        for errors, policy in self.rules:
            if _names(errors, error):
                return policy.of(error)
        return None

    @property
    def queues(self) -> tuple[str, ...]:
        """Those that retries are sent to, beside the tasks' own."""
        return tuple(queue for _, policy in self.rules for queue in policy.queues)


Policy = Retries | Rules


def _names(errors: Errors, error: BaseException) -> bool:
    return isinstance(error, errors) if isinstance(errors, (type, tuple)) else bool(errors(error))


def tells_errors(on: object) -> bool:
    if isinstance(on, tuple):
        return all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in on)
    if isinstance(on, type):
        return issubclass(on, BaseException)
    return callable(on)


def _float(value: Any) -> float:
    """A field that was normalised."""
    return float(value)


def _word(jitter: Any) -> Jitter:
    """The same of `jitter`."""
    return jitter  # type: ignore[no-any-return]


#: Nothing declared, and `retries=False`.
UNDECLARED: Retries = Undeclared()
OFF = Retries(max_retries=0, on=no_exception)


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again at `at`, in seconds since the epoch; `reason` is for the history, `policy` is what says so."""

    at: float
    reason: str
    policy: Retries = field(default=UNDECLARED, compare=False)


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not try again: every retry or all the time was used, or the error is none that a retry could cure.

    `policy` is the one that was followed so far.
    """

    reason: Literal["exhausted", "budget", "permanent"]
    policy: Retries | None = field(default=None, compare=False)


Decision = RetryAt | GiveUp


def decide(
    policy: Policy,
    *,
    retries: int,
    error: BaseException,
    keyed: bool,
    now: float,
    since: float | None = None,
    rng: Dice = random.random,
) -> Decision:
    """What follows a failed attempt.

    `retries` is how many came before (0 after the first run), `keyed` whether the task runs under an idempotency key,
    `now` the time and `since` when the first run began, in seconds since the epoch.
    """
    chosen = policy.of(error)
    asked = retry_after(error, now)
    reason = None if chosen is None else _reason(chosen, error, keyed, asked)
    if chosen is None or reason is None:
        return GiveUp("permanent")
    if chosen.max_retries is not None and retries >= chosen.max_retries:
        return GiveUp("exhausted", chosen)
    at = now + chosen.delay(retries, rng, asked=asked)
    if at > chosen.ends_at(now if since is None else since):
        return GiveUp("budget", chosen)
    return RetryAt(at, reason, chosen)


#: Why what declares nothing is tried again after an answer.
ASKED = "the server asked to come back"


def _reason(policy: Retries, error: BaseException, keyed: bool, asked: float | None) -> str | None:
    if not isinstance(policy, Undeclared):
        return "declared"
    if asked is not None:  # it has done nothing, and says when it will
        return ASKED
    failure = connection_failure(error)
    worth_it = failure is ConnectionFailure.NEVER_ESTABLISHED or (failure is not None and keyed)
    return failure.value if failure and worth_it else None
