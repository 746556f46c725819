"""Ages and moments, as people write and read them."""

from __future__ import annotations

import re
from datetime import datetime, timezone

import click

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
#: In milliseconds.
_SECOND = 1000
_AGE = re.compile(r"([0-9]{1,9})([smhdw])")


def age(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """Convert an option such as ``90s`` or ``3d`` to seconds.

    Raises:
        click.BadParameter: it is no age.
    """
    found = _AGE.fullmatch(value.strip()) if value is not None else None
    if found is not None:
        return int(found[1]) * _SECONDS[found[2]]
    if value is None:
        return None
    raise click.BadParameter(f"{value!r} is no age; write a whole number and a unit: 90s, 15m, 2h, 3d or 1w")


def ago(seconds: float) -> str:
    """How long ago, in the largest unit that fits: ``3h ago``."""
    for unit in ("w", "d", "h", "m"):
        # Days up to two weeks: "9d ago" says more than "1w ago".
        if seconds >= _SECONDS[unit] * (2 if unit == "w" else 1):
            return f"{int(seconds // _SECONDS[unit])}{unit} ago"
    return f"{max(int(seconds), 0)}s ago"


def lasting(seconds: float) -> str:
    """A length of time, in its two largest units: ``1h 40m``."""
    left, parts = max(round(seconds), 1), []
    for unit in ("w", "d", "h", "m", "s"):
        count, left = divmod(left, int(_SECONDS[unit]))
        parts += [f"{count}{unit}"] if count else []
    return " ".join(parts[:2])


def took(seconds: float) -> str:
    """How long something took: ``56 ms``, ``1h 40m``."""
    thousandths = max(round(seconds * 1000), 0)
    return f"{thousandths} ms" if thousandths < _SECOND else lasting(seconds)


def iso(moment: float | None) -> str | None:
    """A moment in seconds since the epoch as ISO 8601 text, UTC."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="milliseconds")


def utc(moment: float) -> str:
    """A moment for people, to the second."""
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
