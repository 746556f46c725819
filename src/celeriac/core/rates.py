"""So many in a time: ``100/m``."""

from __future__ import annotations

import math
import re

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(?:/([smh]))?")


def per_second(rate: str | float | None) -> float | None:
    """How many a second, of ``100/m``, of a number that is that already, or of None for no limit.

    Raises:
        ValueError: it is no rate, or none at all would be done.
    """
    if rate is None:
        return None
    found = _RATE.fullmatch(rate.strip()) if isinstance(rate, str) else None
    if found is not None:
        rate = float(found[1]) / _SECONDS[found[2] or "s"]
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not (rate > 0 and math.isfinite(rate)):
        raise ValueError(f"{rate!r} is no rate; write a number and a time, above zero: 10/s, 100/m or 500/h")
    return float(rate)
