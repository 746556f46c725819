"""Long chains on their way out: their rest goes into the store once, and each message names it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from secrets import token_urlsafe
from typing import Any, NamedTuple

from celeriac.core.chains import Chains, Step, needs, shorten, shorten_body
from celeriac.transport.chains import written


class Keeping(NamedTuple):
    """What one message brings along, before it is known how that is serialised."""

    kept: tuple[tuple[str, Sequence[Step]], ...] = ()
    needs: tuple[tuple[str, str], ...] = ()

    def serialised(self, serializer: str | None) -> Chains | None:
        """As the store takes it; None where it is nothing."""
        if not (self.kept or self.needs):
            return None
        return Chains(tuple(written(chain_id, steps, serializer) for chain_id, steps in self.kept), self.needs)


#: Nothing.
NOTHING = Keeping()


class Bodies:
    """The bodies of chords whose members are sent together: what a body keeps is sent with the first of them."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def of(self, options: Mapping[str, Any]) -> tuple[Any, tuple[tuple[str, Sequence[Step]], ...], bool]:
        """The body for a message, what is to be kept of it, and whether it was given out before."""
        group_id = str(options["group_id"])
        if group_id in self._known:
            return self._known[group_id], (), True
        chain_id = _new_id()
        body, kept = shorten_body(options["chord"], chain_id)
        self._known[group_id] = body
        return body, () if kept is None else ((chain_id, kept),), False


def without_rest(
    options: dict[str, Any], task_id: str, *, keeps: bool, bodies: Bodies | None = None
) -> tuple[dict[str, Any], Keeping]:
    """The options of ``send_task`` without what the store is to keep, and that.

    Args:
        options: as Celery gives them; left as they are.
        task_id: who needs what is kept.
        keeps: whether it can be kept; what was kept before is needed all the same.
        bodies: of chords whose members are sent together.
    """
    chain, chord = options.get("chain"), options.get("chord")
    if not (chain or chord):
        return options, NOTHING
    kept: tuple[tuple[str, Sequence[Step]], ...] = ()
    again = False
    if chain and keeps:
        chain_id = _new_id()
        short, steps = shorten(chain, chain_id)
        if steps is not None:
            options, kept = {**options, "chain": short}, ((chain_id, steps),)
    if chord and keeps and bodies is not None and options.get("group_id"):
        body, of_body, again = bodies.of(options)
        options, kept = {**options, "chord": body}, (*kept, *of_body)
    looked_at = {"chain": options.get("chain")} if again else options
    return options, Keeping(kept, tuple(dict.fromkeys(needs(looked_at, task_id))))


def _new_id() -> str:
    # Short, since every message has it.
    return token_urlsafe(12)
