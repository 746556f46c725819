"""Tests wait for what they expect, never for a fixed time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
#: A factor on every wait, for slow machines.
PATIENCE = "CELERIAC_TEST_PATIENCE"


class TimedOut(AssertionError):
    """What a test waited for did not come."""


def patient(seconds: float) -> float:
    """`seconds`, times the factor in the environment."""
    return seconds * float(os.environ.get(PATIENCE, "1"))


def wait_for(
    condition: Callable[[], T],
    timeout: float = 30.0,
    message: str | Callable[[], str] = "the condition did not come true",
    *,
    interval: float = 0.02,
) -> T:
    """Ask until the answer is true, and return it.

    Args:
        condition: asked at once, then every `interval` seconds. What it raises ends the wait.
        timeout: seconds, times the patience in the environment.
        message: what to say when time is up; a function is called only then.

    Raises:
        TimedOut: the answer was false until the end.
    """
    seconds = patient(timeout)
    end = time.monotonic() + seconds
    while True:
        late = time.monotonic() > end
        answer = condition()
        if answer:
            return answer
        if late:
            text = message() if callable(message) else message
            raise TimedOut(f"{text} (waited {seconds:g} s; last answer: {answer!r})")
        time.sleep(interval)
