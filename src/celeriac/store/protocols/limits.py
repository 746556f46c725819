"""Limits, as ``claim`` keeps to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from celeriac.core.limits import Rule
from celeriac.core.message import LaneSize, Lease


class Limits(Protocol):
    """Messages that wait until their limits let them start; ``claim`` sees to that."""

    #: The limits that this process's tasks declare, by name: they outrank the numbers that messages carry.
    rules: Mapping[str, Rule]

    def hold(self, lease: Lease, limits: str) -> bool:
        """Have a message that came without limits wait for these (``core.limits.pack``); false when its lease is lost."""

    def lanes(self, most: int) -> list[LaneSize]:
        """What waits for its limits, in at most so many lanes."""

    def look_again(self) -> int:
        """Look soon at what waits for a rate longer than that rate has anything wait: a clock was set back; returns at how many."""

    def taken(self) -> dict[str, int]:
        """The slots that are taken now, by bucket: a limit's name and the value of its key."""
