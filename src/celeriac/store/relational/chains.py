"""The rests of long chains: written with the message that first needs them, and read a step at a time."""

from __future__ import annotations

import json

from celeriac.core.chains import Chains, Kept
from celeriac.store.relational.part import Part
from celeriac.store.relational.session import Session


def write(raw: Session, chains: Chains, now: float) -> None:
    """Keep what is new, and note who needs what."""
    for kept in chains.kept:
        raw.run("chains.keep", (kept.id, kept.format, now))
        raw.run("chains.keep_steps", (kept.id, json.dumps(kept.steps)))
    for chain_id, holder in chains.needs:
        raw.run("chains.hold", (chain_id, holder, now))


class ChainsPart(Part):
    """The chains' side of the store."""

    def chain_step(self, chain_id: str, at: int) -> Kept | None:
        with self.database.reading() as raw:
            row: tuple[str, str] | None = raw.run("chains.step", (chain_id, at)).fetchone()
        return None if row is None else Kept(chain_id, row[0], (row[1],))

    def chain_rest(self, chain_id: str, at: int) -> Kept | None:
        with self.database.reading() as raw:
            rows = raw.run("chains.rest", (chain_id, at)).fetchall()
        return Kept(chain_id, rows[0][0], tuple(row[1] for row in rows)) if len(rows) == at + 1 else None

    def chains_needed_by(self, holder: str) -> list[Kept]:
        found: dict[str, tuple[str, list[str]]] = {}
        with self.database.reading() as raw:
            for chain_id, written, _, step in raw.run("chains.needed_by", (holder,)):
                found.setdefault(chain_id, (written, []))[1].append(step)
        return [Kept(chain_id, written, tuple(steps)) for chain_id, (written, steps) in found.items()]
