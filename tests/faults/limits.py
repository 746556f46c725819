"""Who was in the limited receiver at once, by its own book, and whether they were too many."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from tests.faults.tasks import AT_ONCE

#: Seconds in which the pool's processes of a worker that was killed may begin what they were already given.
ORPHANS = 0.5


class Visit(NamedTuple):
    """Who was there, and when, in seconds since boot."""

    lane: int
    unit: str
    task_id: str
    since: float
    until: float


def over_limit(inside: Sequence[dict[str, Any]], injected: Sequence[dict[str, Any]]) -> list[str]:
    """Every visit with which a key had more than its limit there at once."""
    lanes = defaultdict(list)
    for visit in _visits(inside, injected):
        lanes[visit.lane].append(visit)
    return [found for visits in lanes.values() for found in _too_many(visits)]


def _too_many(visits: Sequence[Visit]) -> Iterator[str]:
    for visit in visits:
        present = sum(one.since <= visit.since < one.until for one in visits)  # itself among them
        if present > AT_ONCE:
            yield f"{visit.unit}/limited {visit.task_id}: one of {present} at once of lane {visit.lane}"


def _visits(inside: Sequence[dict[str, Any]], injected: Sequence[dict[str, Any]]) -> Iterator[Visit]:
    """Each as long as it may keep others out.

    Of a task that came again as the same attempt, only the last visit had a slot to its end. The one before died, or was
    given up, in a fault that befell it: from the first that can have been that one it is counted no more, though the body
    of a worker that was given up may go on.
    """
    left = {line["visit"]: line["left"] for line in inside if "left" in line}
    came = sorted((line for line in inside if "t" in line), key=lambda line: line["t"])
    last = {(line["id"], line["retries"]): line["visit"] for line in came}
    faults = sorted((fault["end"] + ORPHANS, fault["start"]) for fault in injected)
    for line in came:
        since, until = line["t"], left.get(line["visit"], math.inf)
        if last[line["id"], line["retries"]] != line["visit"]:
            lost = next((start for end, start in faults if end >= since), until)
            until = min(until, max(since, lost))
        yield Visit(line["lane"], line["unit"], line["id"], since, until)
