"""Names of parametrised tests that are the same in every process."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def without_addresses(value: object) -> str:
    """The value's ``repr``, less what is of one process only; workers of one run must collect the same tests."""
    return _ADDRESS.sub("", repr(value))
