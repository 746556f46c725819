"""The rests of long chains."""

from __future__ import annotations

from typing import Protocol

from celeriac.core.chains import Kept


class Chains(Protocol):
    """The rests of long chains, which messages only name; ``TaskMessage.chains`` brings them here.

    What is kept stays for as long as one who needs it is there: a task that waits, runs or is a dead letter, a chord of
    which anything is known. After that it is pruned as old as attempts are.
    """

    def chain_step(self, chain_id: str, at: int) -> Kept | None:
        """One step, by its place from the end; None where it is not kept."""

    def chain_rest(self, chain_id: str, at: int) -> Kept | None:
        """All steps from that place to the end, the last one first; None where one of them is not kept."""

    def chains_needed_by(self, holder: str) -> list[Kept]:
        """Whole what a task, or a chord, has needed so far, by the ids of chains."""
