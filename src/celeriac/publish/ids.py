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
    return next(new_ids(1))


def new_ids(count: int) -> Iterator[str]:
    """So many of them, for the random bits of which the system is asked once."""
    stamp, noise = f"{time.time_ns() // 1_000_000 & 0xFFFFFFFFFFFF:012x}", os.urandom(10 * count).hex()
    # Cut from text: a number for each would cost three times as much.
    first = f"{stamp[:8]}-{stamp[8:]}-7"
    return (
        f"{first}{noise[at : at + 3]}-{_VARIANT[noise[at + 3]]}{noise[at + 4 : at + 7]}-{noise[at + 7 : at + 19]}"
        for at in range(0, 20 * count, 20)
    )


#: The digit that holds the variant, 10 in its two upper bits, for any random one.
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
