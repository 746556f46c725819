"""The ids of tasks, in the order of their making."""

from __future__ import annotations

import os
import time


def new_id() -> str:
    """A UUID of version 7 (RFC 9562, section 5.7): milliseconds first, then 74 random bits.

    A store keeps an index on ids. What was published together then lies together
    in it: a queue is claimed and settled page by page, however long it is. With
    random ids each settle touches pages of its own (docs/decisions/0006).
    """
    stamp = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    digits = f"{stamp & 0xFFFFFFFFFFFF:012x}{0x7000 | random >> 62 & 0xFFF:04x}{1 << 63 | random & (1 << 62) - 1:016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
