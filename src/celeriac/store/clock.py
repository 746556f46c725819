"""The lease clock: seconds since this machine booted, which no one can step."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path

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
        # To the minute: the wall clock may be corrected by seconds after a start.
        return f"booted-{round((time.time() - lease_now()) / 60)}"
