"""The steps of a chain, as every serializer writes them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from kombu.exceptions import ContentDisallowed

from celeriac.core.chains import Kept, standing_for
from celeriac.errors import ChainLost
from celeriac.transport.chains import Rests, read, written

STEPS: list[dict[str, Any]] = [
    {"task": "last", "args": [1]},
    {"task": "größe 🥬", "args": [datetime(2026, 1, 1, tzinfo=timezone.utc)]},
    {"task": "first", "args": ["\x00"]},
]


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_what_is_written_is_read(serializer: str) -> None:
    kept = written("c", STEPS, serializer)
    assert all(step.isascii() and "\x00" not in step for step in kept.steps), "any store takes it"
    assert read(kept, [serializer]) == STEPS


def test_only_what_may_be_read_is() -> None:
    with pytest.raises(ContentDisallowed):
        read(written("c", STEPS, "pickle"), ["json"])


class _Store:
    location = "here"

    def __init__(self, kept: Kept | None) -> None:
        self.kept = kept

    def chain_step(self, chain_id: str, at: int) -> Kept | None:
        return self.kept

    chain_rest = chain_step


@pytest.mark.parametrize("kept", [None, Kept("c", "application/json utf-8", ("{",)), written("c", STEPS, "pickle")])
def test_what_is_not_there_or_cannot_be_read_is_lost(kept: Kept | None) -> None:
    rests = Rests(_Store(kept), ["json"])  # type: ignore[arg-type]  # as much of a store as is asked
    for find in (rests.with_next, rests.with_all):
        with pytest.raises(ChainLost, match="chain c"):
            find([standing_for("c", 0, {})])
