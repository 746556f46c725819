"""How long a task is put off: what may be said, and the moment that it means."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

#: Seconds, or a timedelta, from now on; or a moment, as a datetime with its zone.
Delay = float | timedelta | datetime
#: Seconds that a task can be put off for, at most: what is further away is a mistake, such as milliseconds.
LONGEST = 366 * 86_400.0


def checked(delay: object, now: float) -> Delay:
    """The delay, where it can be meant; ``now`` is in seconds since the epoch.

    Raises:
        ValueError: it is negative, no number, a moment without a zone, more than a year away, or no time at all.
    """
    if isinstance(delay, datetime):
        if delay.utcoffset() is None:
            raise ValueError(
                f"Snooze({delay!r}): a datetime without a zone could be anybody's; give it one, as in "
                "datetime.now(timezone.utc), or say how many seconds"
            )
        _check_length(delay, delay.timestamp() - now)
        return delay
    if isinstance(delay, timedelta):
        seconds = delay.total_seconds()
    elif isinstance(delay, (int, float)) and not isinstance(delay, bool):
        seconds = float(delay)
    else:
        raise ValueError(f"Snooze({delay!r}): seconds, a timedelta, or a datetime with its zone")  # noqa: TRY004  # one kind of error, as for other options
    if math.isnan(seconds) or seconds < 0:
        raise ValueError(f"Snooze({delay!r}): seconds from now on, 0 or more")
    _check_length(delay, seconds)
    return delay


def _check_length(delay: object, seconds: float) -> None:
    if seconds > LONGEST:
        raise ValueError(
            f"Snooze({delay!r}): more than a year away; a task that is to wait so long is better sent then"
        )


def moment(delay: Delay, now: float) -> float:
    """When it is over, in seconds since the epoch; a moment that has passed is now."""
    if isinstance(delay, datetime):
        return max(now, delay.timestamp())
    return now + (delay.total_seconds() if isinstance(delay, timedelta) else float(delay))


def shown(delay: Delay) -> str:
    """For people: ``for 30 s``, ``until 2026-03-01 09:00:00+01:00``."""
    if isinstance(delay, datetime):
        return f"until {delay.isoformat(sep=' ', timespec='seconds')}"
    return f"for {moment(delay, 0.0):g} s"
