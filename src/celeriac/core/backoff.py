"""How long to wait before a retry: how waits grow, and how chance spreads them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Literal, get_args

#: Seconds, or the same said as a timedelta.
Seconds = float | timedelta
#: The first wait, every wait in turn, or a function of how many retries came before.
Backoff = Seconds | Sequence[Seconds] | Callable[[int], float]
Growth = Literal["exponential", "linear", "fixed"]
Jitter = Literal["full", "equal", "none"]
#: A float in [0, 1).
Dice = Callable[[], float]

#: Past this many doublings any base is beyond any cap, and a float would overflow.
_MOST_DOUBLINGS = 64
_GROWTHS: dict[Growth, Callable[[float, int], float]] = {
    "exponential": lambda first, retries: first * 2.0 ** min(retries, _MOST_DOUBLINGS),
    "linear": lambda first, retries: first * (retries + 1),
    "fixed": lambda first, _retries: first,
}


def seconds(value: object, what: str) -> float:
    """A number of seconds, or a timedelta, as a float. Raises ValueError naming `what`."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{what}={value!r}: a number of seconds, or a timedelta")
    return float(value)


def as_waits(backoff: object) -> float | tuple[float, ...] | Callable[[int], float]:
    """A policy's `backoff` in the one form that is kept. Raises ValueError."""
    if isinstance(backoff, (str, bytes)):
        raise ValueError(f"backoff={backoff!r}: seconds, a sequence of seconds, or a function that returns them")  # noqa: TRY004  # as of any other value
    if callable(backoff):
        return backoff
    if isinstance(backoff, Sequence):
        waits = tuple(seconds(wait, "backoff") for wait in backoff)
        if not waits or min(waits) < 0:
            raise ValueError(f"backoff={backoff!r}: one wait or more, each in seconds from 0")
        return waits
    return seconds(backoff, "backoff")


def as_jitter(jitter: object, backoff: object) -> Jitter:
    """True and False as the words they stand for; None is "full", and "none" where `backoff` says each wait itself.

    Raises ValueError for anything else.
    """
    if jitter is None:
        return "full" if isinstance(backoff, float) else "none"
    if isinstance(jitter, bool):
        return "full" if jitter else "none"
    if jitter not in get_args(Jitter):
        raise ValueError(f'jitter={jitter!r}: "full", "equal" or "none", or True or False for the first and the last')
    return jitter  # type: ignore[return-value]  # one of them


def is_growth(growth: object) -> bool:
    """Whether it is a way for waits to grow."""
    return isinstance(growth, str) and growth in _GROWTHS


def unspread(backoff: Any, growth: Growth, retries: int) -> float:
    """Seconds before the retry that follows `retries` earlier ones, before cap and jitter.

    Raises ValueError where a function of the user's returns no such number.
    """
    if isinstance(backoff, tuple):
        return float(backoff[min(retries, len(backoff) - 1)])
    if not callable(backoff):
        return _GROWTHS[growth](backoff, retries)
    wait = seconds(backoff(retries), f"the backoff function returned for {retries} retries, wait")
    if wait < 0:
        raise ValueError(f"the backoff function returned {wait:g} for {retries} retries: seconds from 0 are wanted")
    return wait


def spread(wait: float, jitter: Jitter, dice: Dice) -> float:
    """The wait with its chance in it: anything up to it, at least half of it, or itself."""
    if jitter == "none":
        return wait
    return wait * dice() if jitter == "full" else wait / 2 + wait / 2 * dice()


def least(wait: float, jitter: Jitter) -> float:
    """The shortest that `spread` can make of a wait."""
    return spread(wait, jitter, lambda: 0.0)
