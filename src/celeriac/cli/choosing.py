"""Which dead letters a command is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from celeriac.cli.ages import age
from celeriac.core.attempt import DeadLetterFilter
from celeriac.publish.redrive import find
from celeriac.store.protocols import Store

Command = TypeVar("Command", bound=Callable[..., Any])

_FILTERS = (
    click.option("--task", metavar="GLOB", help="Only tasks of this name; * and ? stand for anything."),
    click.option("--queue", metavar="GLOB", help="Only from this queue; * and ? stand for anything."),
    click.option("--error", metavar="TEXT", help="Only errors whose type or text contains this, in any case."),
    click.option(
        "--older-than", callback=age, metavar="AGE", help="Only what failed longer ago: 90s, 15m, 2h, 3d, 1w."
    ),
    click.option("--newer-than", callback=age, metavar="AGE", help="Only what failed since: 90s, 15m, 2h, 3d, 1w."),
)


def filters(command: Command) -> Command:
    """The options by which dead letters are chosen."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


@dataclass(frozen=True)
class Choice:
    """What the user asked for, checked but not yet looked up."""

    references: tuple[str, ...] = ()
    task: str | None = None
    queue: str | None = None
    error: str | None = None
    older_than: float | None = None
    newer_than: float | None = None

    def __post_init__(self) -> None:
        for name in ("task", "queue", "error"):
            # An unset shell variable must not come to mean everything.
            if getattr(self, name) == "":
                raise click.UsageError(f"--{name} is empty; give a text to look for, or leave the option out")
        older, newer = self.older_than, self.newer_than
        if older is not None and newer is not None and older >= newer:
            raise click.UsageError(
                "Nothing can match: --older-than must be shorter than --newer-than, as in --older-than 2h --newer-than 3d"
            )

    @property
    def everything(self) -> bool:
        """Nothing was said that would leave any dead letter out."""
        return self == Choice()

    def look_up(self, store: Store) -> DeadLetterFilter:
        """The filter, references resolved to ids.

        Raises:
            UnknownDeadLetter: a reference means nothing.
        """
        found = find(store, self.references) if self.references else {}
        ids = tuple(sorted({number for numbers in found.values() for number in numbers}))
        return DeadLetterFilter(ids, self.task, self.queue, self.error, self.older_than, self.newer_than)
