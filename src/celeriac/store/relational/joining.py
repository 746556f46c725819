"""What a chord is joined by: how many members it has, and the tree of its header."""

from __future__ import annotations

from celeriac.core.message import Join
from celeriac.store.relational.session import Session


def join(raw: Session, join: Join, now: float) -> None:
    """Write it, in the transaction that sends a member."""
    if join.size is not None:
        raw.run("ledger.chord_size", (join.group_id, join.size, now))
    if join.tree is not None:
        raw.run("ledger.save_group", (join.group_id, join.tree, join.expires_at))


def grow(raw: Session, group_id: str, by: int, now: float) -> None:
    """Expect more members."""
    raw.run("ledger.chord_grow", (group_id, by, now))
