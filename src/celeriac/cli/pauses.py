"""``celery -A app pause``, ``resume`` and ``pauses``: stop a queue or a task on all workers, and let it go on."""

from __future__ import annotations

import shlex
import time
from typing import Any, cast

import click

from celeriac.cli.ages import ago, iso
from celeriac.cli.group import Command, app_of
from celeriac.cli.screen import echo, to_json, width
from celeriac.cli.text import Column, one_line, table
from celeriac.core.pauses import Pause, PauseKind
from celeriac.core.text import app_option

_kind = click.argument("kind", type=click.Choice(["queue", "task"]))
_name = click.argument("name")


@click.command(cls=Command, short_help="Stop a queue, or a task, on all workers until it is resumed.")
@_kind
@_name
@click.option("--note", default="", help="Why, for those who find it paused.")
@click.option("--anyway", is_flag=True, help="Also where this app knows nothing of this name.")
@click.pass_context
def pause(context: click.Context, kind: str, name: str, note: str, anyway: bool) -> None:
    """Stop a QUEUE or a TASK on all workers, also those that start later. What runs goes on."""
    pauses, of = _pauses(context), cast("PauseKind", kind)
    if not anyway and (problem := pauses.problem(of, name)):
        raise click.UsageError(f"{problem}. Nothing was paused; --anyway pauses it all the same")
    if pauses.pause(**{kind: name}, note=note):
        echo(f"{kind.capitalize()} {one_line(name)} is paused. What runs goes on; what waits stays until")
        echo(f"  celery -A {app_option(context.obj.app.main)} resume {kind} {one_line(shlex.quote(name))}")
    else:
        echo(f"{kind.capitalize()} {one_line(name)} was paused already: {_told(_of(pauses, kind, name))}.")


@click.command(cls=Command, short_help="Let a paused queue, or task, go on.")
@_kind
@_name
@click.pass_context
def resume(context: click.Context, kind: str, name: str) -> None:
    """Let a paused QUEUE or TASK go on, in the order in which it waited."""
    pauses = _pauses(context)
    if not pauses.resume(**{kind: name}):
        raise click.UsageError(f"{kind.capitalize()} {one_line(name)} is not paused; `pauses` lists what is")
    echo(f"{kind.capitalize()} {one_line(name)} goes on.")


@click.command(cls=Command, short_help="List what is paused, by whom and why.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
@click.pass_context
def pauses(context: click.Context, as_json: bool) -> None:
    """What is paused: by whom, since when and why, and how many wait for it."""
    found = list(_pauses(context))
    if as_json:
        echo(to_json([{**each._asdict(), "at": iso(each.at)} for each in found]))
        return
    if not found:
        echo("Nothing is paused.")
        return
    heads = [
        Column("PAUSED"),
        Column("NAME", least=12),
        Column("SINCE"),
        Column("WAITING", right=True),
        Column("BY", least=8),
        Column("NOTE", least=8),
    ]
    echo("\n".join(table(heads, [_row(each) for each in found], width())))


def _pauses(context: click.Context) -> Any:
    app = app_of(context)
    app.loader.import_default_modules()  # otherwise tasks that workers know are unknown here
    return app.pauses


def _of(pauses: Any, kind: str, name: str) -> Pause | None:
    return next((each for each in pauses if (each.kind, each.name) == (kind, name)), None)


def _told(pause: Pause | None) -> str:
    if pause is None:  # resumed just now
        return "and is no longer"
    note = f", “{one_line(pause.note)}”" if pause.note else ""
    return f"by {one_line(pause.who)}, {ago(time.time() - pause.at)}{note}"


def _row(pause: Pause) -> list[str]:
    since = ago(time.time() - pause.at)
    return [pause.kind, one_line(pause.name), since, f"{pause.waiting:,}", one_line(pause.who), one_line(pause.note)]
