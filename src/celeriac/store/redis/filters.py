"""Which dead letters and failures are meant, decided here over what the scripts give of each."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from typing import NamedTuple

from celeriac.core.attempt import DeadLetterFilter


class Summary(NamedTuple):
    """What filters look at."""

    id: int
    name: str
    queue: str
    error_type: str
    error: str
    failed_at: float
    task_id: str = ""
    fingerprint: str = ""
    acknowledged: bool = False


Matches = Callable[[Summary], bool]


def _glob(pattern: str | None) -> Callable[[str], object]:
    if pattern is None:
        return lambda _: True
    # Python's translation knows [!…] alone.
    return re.compile(fnmatch.translate(pattern.replace("[^", "[!"))).match


def matcher(chosen: DeadLetterFilter, now: float) -> Matches:
    """Says of each whether every condition holds; ages are counted from ``now``."""
    task, queue, error = _glob(chosen.task), _glob(chosen.queue), (chosen.error or "").lower()
    youngest = float("inf") if chosen.older_than is None else now - chosen.older_than
    oldest = float("-inf") if chosen.newer_than is None else now - chosen.newer_than
    ids = frozenset(chosen.ids)

    def matches(found: Summary) -> bool:
        named = not ids or found.id in ids
        dated = oldest <= found.failed_at <= youngest
        known = chosen.acknowledged in (None, found.acknowledged)
        alike = chosen.fingerprint in (None, found.fingerprint)
        said = error in f"{found.error_type}: {found.error}".lower()
        return bool(named and dated and known and alike and said and task(found.name) and queue(found.queue))

    return matches
