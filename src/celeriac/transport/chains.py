"""Between the steps of a chain and what a store keeps of them."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Collection, Sequence
from typing import Any

from kombu.serialization import dumps, loads, prepare_accept_content

from celeriac.core.chains import Kept, Step, stands_for_rest, with_all, with_next
from celeriac.errors import ChainLost, StoreError
from celeriac.store.protocols import Store

_BASE64 = "base64"


def written(chain_id: str, steps: Sequence[Step], serializer: str | None) -> Kept:
    """Steps, the last one first, as a store keeps them."""
    found, how = [], ""
    for step in steps:
        content_type, encoding, data = dumps(step, serializer)
        how = f"{content_type} {encoding}"
        if not (isinstance(data, str) and data.isascii() and "\x00" not in data):
            data = b64encode(data.encode() if isinstance(data, str) else bytes(data)).decode()
            how += f" {_BASE64}"
        found.append((how, data))
    if any(how.endswith(_BASE64) for how, _ in found):
        found = [one if one[0].endswith(_BASE64) else _in_base64(*one) for one in found]
        how = found[0][0]
    return Kept(chain_id, how, tuple(data for _, data in found))


def _in_base64(how: str, data: str) -> tuple[str, str]:
    return f"{how} {_BASE64}", b64encode(data.encode()).decode()


def read(kept: Kept, accept: Collection[str] | None) -> list[Step]:
    """The steps as they were sent.

    Args:
        kept: what a store gave.
        accept: the content types that may be read, or kombu's names of serializers.

    Raises:
        Exception: whatever a decoder makes of what it cannot read; kombu's own for another type.
    """
    content_type, encoding, *how = kept.format.split(" ")
    accepted = prepare_accept_content(accept)
    steps = [b64decode(step) if how == [_BASE64] else step for step in kept.steps]
    return [loads(step, content_type, encoding, accept=accepted) for step in steps]


def goes_on_in_store(chain: Sequence[Any] | None) -> bool:
    """Whether a chain's next step, which stands at its end, is kept."""
    return bool(chain) and stands_for_rest(chain[-1])  # type: ignore[index]  # there is one


class Rests:
    """The rests of chains in one store.

    Args:
        store: where they are.
        accept: what may be read, as ``accept_content`` says it.
    """

    def __init__(self, store: Store, accept: Collection[str] | None) -> None:
        self._store = store
        self._accept = accept

    def with_next(self, chain: Sequence[Step]) -> list[Step]:
        """A chain that goes on in the store, with its next step.

        Raises:
            ChainLost: it is not there, or cannot be read.
            StoreUnavailable: worth another try.
        """
        try:
            return with_next(chain, lambda chain_id, at: self._found(chain_id, self._store.chain_step(chain_id, at))[0])
        except ValueError as error:
            raise self._lost(str(error)) from error

    def with_all(self, chain: Sequence[Step]) -> list[Step]:
        """A chain with all its steps.

        Raises:
            ChainLost: some are not there, or cannot be read.
            StoreUnavailable: worth another try.
        """
        try:
            return with_all(chain, lambda chain_id, at: self._found(chain_id, self._store.chain_rest(chain_id, at)))
        except ValueError as error:
            raise self._lost(str(error)) from error

    def _found(self, chain_id: str, kept: Kept | None) -> list[Step]:
        if kept is None:
            raise self._lost(f"chain {chain_id} is not known")
        try:
            return read(kept, self._accept)
        except StoreError:
            raise
        except Exception as error:
            raise self._lost(f"chain {chain_id}: {error!r}") from error

    def _lost(self, detail: str) -> ChainLost:
        return ChainLost(self._store.location, detail)
