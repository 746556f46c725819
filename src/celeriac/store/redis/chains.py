"""The rests of long chains: written with the message that first needs them, and read a step at a time."""

from __future__ import annotations

from celeriac.core.chains import Kept
from celeriac.store.redis.packing import plain, text
from celeriac.store.redis.part import Part


class ChainsPart(Part):
    """The chains' side of the store."""

    def chain_step(self, chain_id: str, at: int) -> Kept | None:
        written, step = self.database.call("chains.step", [plain(chain_id), at])
        return None if written is None or step is None else Kept(chain_id, text(written), (text(step),))

    def chain_rest(self, chain_id: str, at: int) -> Kept | None:
        found = self.database.call("chains.rest", [plain(chain_id), at])
        return Kept(chain_id, text(found[0]), tuple(map(text, found[1:]))) if found else None

    def chains_needed_by(self, holder: str) -> list[Kept]:
        found = self.database.call("chains.needed_by", [plain(holder)])
        chains = (self.chain_rest(text(chain_id), last) for chain_id, last in found)
        return sorted(chain for chain in chains if chain is not None)
