"""The ids of tasks, in the order of their making."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator


def new_id() -> str:
    """A UUID of version 7 (RFC 9562, section 5.7): milliseconds first, then 74 random bits.

    A store keeps an index on ids. What was published together then lies together
    in it: a queue is claimed and settled page by page, however long it is. With
    random ids each settle touches pages of its own (docs/decisions/0006).
    """
    return _id(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10), "big"))


def new_ids(count: int) -> Iterator[str]:
    """So many of them, for the random bits of which the system is asked once."""
    stamp, noise = time.time_ns() // 1_000_000, os.urandom(10 * count)
    return (_id(stamp, int.from_bytes(noise[place : place + 10], "big")) for place in range(0, 10 * count, 10))


def _id(stamp: int, random: int) -> str:
    digits = f"{stamp & 0xFFFFFFFFFFFF:012x}{0x7000 | random >> 62 & 0xFFF:04x}{1 << 63 | random & (1 << 62) - 1:016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
