"""Text that every store takes, and that a person can paste."""

from __future__ import annotations

import os
import sys


def writable(value: object) -> str:
    """``str(value)`` as UTF-8 can hold it: a file name may carry half a character, and ``__str__`` may fail."""
    try:
        text = str(value)
    except Exception as error:  # noqa: BLE001  # somebody's own code, in the middle of reporting a failure
        text = f"<{type(value).__name__} without a text: {type(error).__name__}>"
    return text.encode("utf-8", "backslashreplace").decode()


def app_option(name: str | None) -> str:
    """What follows `celery -A` to reach the app: what this process was started with, else the app's name."""
    words = sys.argv[1:]
    for word, following in zip(words, [*words, ""][1:], strict=True):
        if word in ("-A", "--app"):
            return following
        if word.startswith("--app="):
            return word.removeprefix("--app=")
        if word.startswith("-A"):
            return word[2:]
    return os.environ.get("CELERY_APP") or name or "<app>"
