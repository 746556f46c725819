"""Pauses of queues and tasks, and what waits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from celeriac.core.message import Lease
from celeriac.core.pauses import Pause, Paused, PauseKind, WaitingFilter, WaitingMessage


class Pauses(Protocol):
    """What people have stopped, for everybody who claims. What runs goes on."""

    def pause(self, kind: PauseKind, name: str, who: str, note: str) -> bool:
        """Stop a queue, or a task whatever queue it is in; false where it is paused already, which then stays as it was."""

    def resume(self, kind: PauseKind, name: str) -> bool:
        """Let it go on, and what was set aside wait again; false where it was not paused."""

    def paused(self) -> Paused:
        """What is paused now, as pairs of kind and name."""

    def pauses(self) -> list[Pause]:
        """The pauses, with how many wait for each."""

    def set_aside(self, lease: Lease) -> bool:
        """Hold a claimed message whose task has been paused since; false when its lease is lost."""

    def let_go(self) -> int:
        """Have wait again what is set aside and no pause holds; returns how many.

        It ends what a resume that died has left; a worker calls it now and then.
        """

    def waiting(self, chosen: WaitingFilter) -> Iterator[WaitingMessage]:
        """Messages of tasks that wait for whatever it is, were not revoked, and match; read in slices."""
