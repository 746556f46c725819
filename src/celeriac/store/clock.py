"""The lease clock: seconds since this machine booted, which no one can step."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path

#: Where boots have no names, the moment (seconds since the epoch) names one, as
#: exactly as the wall clock: it may be corrected (by seconds) after a start.
_BOOTED, CORRECTED = "booted-", 300.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
#: BOOTTIME also runs while the machine sleeps; where it is missing, MONOTONIC
#: is next best and still shared by every process of the machine.
_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def lease_now() -> float:
    """Seconds on the lease clock, the same in every process of this machine."""
    return time.clock_gettime(_CLOCK)


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Names this boot: a lease given before it began is dead."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return f"{_BOOTED}{time.time() - lease_now():.0f}"


def same_boot(known: str) -> bool:
    """Whether a boot id of some time ago names this boot."""
    mine = boot_id()
    if not (known.startswith(_BOOTED) and mine.startswith(_BOOTED)):
        return known == mine
    return abs(float(known[len(_BOOTED) :]) - float(mine[len(_BOOTED) :])) < CORRECTED
