"""``celery -A app revoke``: revoke what waits, by what it is."""

from __future__ import annotations

from typing import Any

import click

from celeriac.cli.ages import age, ago
from celeriac.cli.choosing import as_
from celeriac.cli.group import Command, app_of
from celeriac.cli.screen import echo, plural, to_json, width
from celeriac.cli.text import Column, one_line, table
from celeriac.core.pauses import WaitingMessage
from celeriac.core.text import app_option

#: Tasks that a dry run shows.
SHOWN = 20
_COLUMNS = (Column("TASK ID"), Column("SENT"), Column("QUEUE", least=8), Column("TASK", least=12, keep_end=True))


@click.command(cls=Command, short_help="Revoke all waiting tasks that match.")
@click.option("--task", metavar="GLOB", help="Only tasks of this name; * and ? stand for anything.")
@click.option("--queue", metavar="GLOB", help="Only from this queue; * and ? stand for anything.")
@click.option("--argument", metavar="TEXT", help="Only with this argument: name=value, or a part of all of them.")
@click.option("--older-than", callback=age, metavar="AGE", help="Only what was sent longer ago: 90s, 15m, 2h, 3d, 1w.")
@click.option("--dry-run", is_flag=True, help="Show what matches, and revoke nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@as_
@click.option("--note", metavar="TEXT", help="Why; shown by `dead log`.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text; does not ask.")
@click.argument("ids", nargs=-1, metavar="")
@click.pass_context
def revoke(
    context: click.Context,
    /,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    who: str | None,
    note: str | None,
    ids: tuple[str, ...],
    **conditions: Any,
) -> None:
    """Revoke the tasks that wait and match all that is given; what workers have already is not among them.

    Who did it, when and why is in `celery -A shop dead log`. One task, also one that runs, is revoked by its id with `celery -A shop control revoke ID`.
    """
    app = app_of(context)
    _check(ids, conditions)
    app.loader.import_default_modules()  # which of its positional arguments has a name, a task's signature says
    if dry_run or not (yes or as_json):
        found = list(app.waiting.find(**conditions))
        if dry_run or not found:
            _show(app, found, as_json=as_json)
            return
        _ask(app, found)
    done = sum(len(some) for some in app.waiting.revoke(who=who, note=note, **conditions))
    echo(to_json({"revoked": done}) if as_json else _said(app, done, "revoked"))


def _ask(app: Any, found: list[Any]) -> None:
    try:
        if click.confirm(f"Revoke {plural(len(found), 'task')} in {one_line(app.store.location)}?"):
            return
    except click.Abort:  # nobody is there to answer
        echo("", err=True)
    raise click.ClickException("Not confirmed, so nothing was revoked; --yes does it without a question")


def _check(ids: tuple[str, ...], conditions: dict[str, Any]) -> None:
    if ids:
        raise click.UsageError(
            f"{ids[0]!r} is no option; a task is revoked by its id with `celery -A {app_option(None)} control revoke ID`, "
            "and what waits by --task, --queue, --argument and --older-than"
        )
    for name, value in conditions.items():
        # An unset shell variable must not come to mean everything.
        if value == "":
            raise click.UsageError(f"--{name} is empty; give what to look for, or leave the option out")
    if all(value is None for value in conditions.values()):
        raise click.UsageError(
            "Say what to revoke: --task, --queue, --argument or --older-than; --queue '*' is everything"
        )


def _show(app: Any, found: list[Any], *, as_json: bool) -> None:
    if as_json:
        echo(to_json({"matched": len(found), "ids": [message.task_id for message in found]}))
        return
    if found:
        echo("\n".join(table(_COLUMNS, [_row(each, app.store.now()) for each in found[:SHOWN]], width())))
        echo(f"… and {len(found) - SHOWN:,} more\n" if len(found) > SHOWN else "")
    echo(_said(app, len(found), "would be revoked; nothing was done"))


def _said(app: Any, count: int, what: str) -> str:
    if not count:
        return f"Nothing that waits in {one_line(app.store.location)} matches."
    return f"{plural(count, 'task')} {what}"


def _row(message: WaitingMessage, now: float) -> list[str]:
    return [message.task_id, ago(now - message.sent_at), one_line(message.queue), one_line(message.name or "?")]
