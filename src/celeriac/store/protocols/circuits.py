"""The state of circuit breakers."""

from __future__ import annotations

from typing import Protocol


class Circuits(Protocol):
    """Circuit breakers, whose state is a text (``core.circuits.dump``) that all processes change."""

    def read_circuit(self, name: str) -> tuple[int, str | None]:
        """Its version and state: 0 and None where nobody has written one."""

    def write_circuit(self, name: str, version: int, state: str) -> bool:
        """Replace the state that was read with ``version``; false where somebody else has written since."""

    def forget_circuit(self, name: str) -> bool:
        """Drop its state; false where there was none."""

    def all_circuits(self) -> dict[str, str]:
        """The state of every one, by name."""
