"""A row of the matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from tests.faults.load import MIX
from tests.support.worker import Pool

if TYPE_CHECKING:
    from tests.faults.cell import Cell
    from tests.faults.plan import Wrap


class Post(NamedTuple):
    """A worker of a cell."""

    pool: Pool
    concurrency: int = 1
    arguments: tuple[str, ...] = ()


MIXED = (Post("prefork", 2), Post("threads", 2), Post("solo"))


class Fault:
    """What is done to a cell again and again.

    ``need`` is what it needs of the broker. ``excuses`` says whether it may make a task run twice: a process died or stood
    still, a lease ran out, an answer was ambiguous. ``fewer`` times as many rounds are enough where one takes long.
    """

    name: ClassVar[str]
    need: ClassVar[str] = ""
    excuses: ClassVar[bool] = True
    kinds: ClassVar[dict[str, int]] = MIX
    posts: ClassVar[tuple[Post, ...]] = MIXED
    fewer: ClassVar[float] = 1.0
    #: One body in so many takes long enough to be marked as started.
    long_one_in: ClassVar[float] = 8.0
    #: Whether the first worker and the client reach the broker by way of a proxy.
    proxied: ClassVar[bool] = False
    clock_is_right: ClassVar[bool] = True
    #: How often a worker that died of itself is started again.
    restarts: ClassVar[int] = 50

    #: What the cell's app is set to beside the usual.
    settings: ClassVar[dict[str, Any]] = {}
    #: Whether people pause and resume meanwhile, and the gateway stands still.
    disturbed: ClassVar[bool] = True

    def wraps(self, rounds: int) -> list[Wrap]:
        """What happens inside the processes."""
        return []

    def prepare(self, cell: Cell) -> None:
        """Before anything is started."""

    def inject(self, cell: Cell, number: int) -> None:
        """One round."""

    def rounds(self, most: int) -> int:
        return max(1, round(most * self.fewer))
