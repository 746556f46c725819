"""How long a task is put off."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone

import pytest

from celeriac.core import snooze

NOW = 1_700_000_000.0
THEN = datetime.fromtimestamp(NOW + 90, timezone.utc)


@pytest.mark.parametrize(
    ("delay", "moment"),
    [
        (30, NOW + 30),
        (0.25, NOW + 0.25),
        (0, NOW),
        (timedelta(minutes=2), NOW + 120),
        (THEN, NOW + 90),
        (THEN.astimezone(timezone(timedelta(hours=5, minutes=30))), NOW + 90),
        (datetime.fromtimestamp(NOW - 5, timezone.utc), NOW),
        (snooze.LONGEST, NOW + snooze.LONGEST),
    ],
)
def test_what_can_be_meant(delay: snooze.Delay, moment: float) -> None:
    assert snooze.moment(snooze.checked(delay, NOW), NOW) == pytest.approx(moment)


@pytest.mark.parametrize(
    ("delay", "said"),
    [
        (-1, "0 or more"),
        (timedelta(seconds=-1), "0 or more"),
        (math.nan, "0 or more"),
        (math.inf, "more than a year"),
        (snooze.LONGEST + 1, "more than a year"),
        (30_000_000_000, "more than a year"),
        (timedelta(days=400), "more than a year"),
        (datetime.fromtimestamp(NOW + 400 * 86_400, timezone.utc), "more than a year"),
        (datetime(2026, 3, 1, 9), "without a zone"),
        (True, "seconds, a timedelta"),
        ("30", "seconds, a timedelta"),
        (None, "seconds, a timedelta"),
    ],
)
def test_what_cannot(delay: object, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        snooze.checked(delay, NOW)
    assert repr(delay) in str(refused.value)


def test_the_wait_counts_from_the_clock_it_is_asked_by() -> None:
    delay = snooze.checked(30, NOW)
    assert snooze.moment(delay, NOW + 1000) == NOW + 1030


@pytest.mark.parametrize(
    ("delay", "text"),
    [(1.5, "for 1.5 s"), (timedelta(hours=1), "for 3600 s"), (THEN, "until 2023-11-14 22:14:50+00:00")],
)
def test_for_people(delay: snooze.Delay, text: str) -> None:
    assert snooze.shown(delay) == text
