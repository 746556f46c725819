"""Text that every store takes."""

from __future__ import annotations


def writable(value: object) -> str:
    """``str(value)`` as UTF-8 can hold it: a file name may carry half a character, and ``__str__`` may fail."""
    try:
        text = str(value)
    except Exception as error:  # noqa: BLE001  # somebody's own code, in the middle of reporting a failure
        text = f"<{type(value).__name__} without a text: {type(error).__name__}>"
    return text.encode("utf-8", "backslashreplace").decode()
