"""Joins of chords."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from celeriac.core.attempt import ChordPart, Record, Settled
from celeriac.core.message import TaskMessage


class Chords(Protocol):
    """Joins: which members have settled, and whether the body was sent."""

    def set_chord_size(self, group_id: str, size: int) -> bool:
        """Declare the number of members; true when that completes the chord."""

    def grow_chord(self, group_id: str, by: int) -> None:
        """Expect ``by`` more members."""

    def add_chord_part(self, part: ChordPart) -> bool:
        """Count a member that no settlement reports; true when that completes the chord.

        One that was closed as failed is complete again when its last failure is put right, or a member fails anew.
        """

    def knows_chord(self, group_id: str) -> bool:
        """Whether its body can still be sent, when all members have succeeded."""

    def chord_parts(self, group_id: str) -> tuple[str | None, list[ChordPart]]:
        """The body, and the members' results in order; no members once the chord is closed."""

    def close_chord(
        self,
        group_id: str,
        *,
        succeeded: bool,
        messages: Sequence[TaskMessage],
        records: Sequence[Record],
        parts: Sequence[ChordPart] = (),
    ) -> Settled:
        """Send the body's messages once, and count ``parts`` of other chords; not held when somebody else did."""

    def hold_chords_with(self, group_id: str, others: Sequence[str]) -> None:
        """Keep other chords for as long as dead letters keep this one, which leads on to them once these are redriven."""

    def chords_waiting(self, older_than: float) -> list[str]:
        """Complete chords whose body nobody has sent for ``older_than`` seconds."""
