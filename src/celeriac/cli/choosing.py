"""Which dead letters a command is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from celeriac.cli.ages import age
from celeriac.desk.choosing import ArgumentFilter, Choice

Command = TypeVar("Command", bound=Callable[..., Any])

_TASK = click.option("--task", metavar="GLOB", help="Only tasks of this name; * and ? stand for anything.")
_QUEUE = click.option("--queue", metavar="GLOB", help="Only from this queue; * and ? stand for anything.")
_ERROR = click.option("--error", metavar="TEXT", help="Only errors whose type or text contains this, in any case.")
_OLDER = click.option(
    "--older-than", callback=age, metavar="AGE", help="Only what failed longer ago: 90s, 15m, 2h, 3d, 1w."
)
_NEWER = click.option("--newer-than", callback=age, metavar="AGE", help="Only what failed since: 90s, 15m, 2h, 3d, 1w.")
_ARGUMENT = click.option(
    "--argument", metavar="NAME=VALUE", help="Only where this argument has this value; or any text in the arguments."
)
_GROUP = click.option("--group", "fingerprint", metavar="FINGERPRINT", help="Only this group of `dead groups`.")
_KINDS: dict[str, bool | None] = {"no": False, "only": True, "too": None}
_ACKNOWLEDGED = click.option(
    "--acknowledged",
    type=click.Choice(list(_KINDS)),
    default="no",
    show_default=True,
    help="Those that somebody has acknowledged: none of them, only them, them too. Ids mean either.",
)
as_ = click.option("--as", "who", metavar="NAME", help="Who does it, in the log; user@host unless given.")
note = click.option("--note", metavar="TEXT", help="What there is to say of it; shown by `dead show` and `dead log`.")


def filters(command: Command) -> Command:
    """The options by which dead letters are chosen."""
    for option in reversed((_TASK, _QUEUE, _ERROR, _ARGUMENT, _GROUP, _OLDER, _NEWER, _ACKNOWLEDGED)):
        command = option(command)
    return command


def failure_filters(command: Command) -> Command:
    """The options by which unread failures are chosen."""
    for option in reversed((_TASK, _QUEUE, _ERROR, _OLDER, _NEWER)):
        command = option(command)
    return command


def choice(
    *, references: tuple[str, ...] = (), argument: str | None = None, acknowledged: str = "no", **given: Any
) -> Choice:
    """What was asked for.

    Raises:
        click.UsageError: it cannot be meant.
    """
    check({"argument": argument, **given})
    wanted = None if argument is None else ArgumentFilter.parse(argument)
    return Choice(references, argument=wanted, acknowledged=_KINDS[acknowledged], **given)


def check(given: dict[str, Any]) -> None:
    """Refuse conditions that mean everything by accident, or nothing.

    Raises:
        click.UsageError: naming the option.
    """
    for name in ("task", "queue", "error", "argument", "fingerprint"):
        # An unset shell variable must not come to mean everything.
        if given.get(name) == "":
            option = "group" if name == "fingerprint" else name
            raise click.UsageError(f"--{option} is empty; give a text to look for, or leave the option out")
    older, newer = given.get("older_than"), given.get("newer_than")
    if older is not None and newer is not None and older >= newer:
        raise click.UsageError(
            "Nothing can match: --older-than must be shorter than --newer-than, as in --older-than 2h --newer-than 3d"
        )
