"""``celery -A app revoke``: revoke what waits, by what it is."""

from __future__ import annotations

from typing import Any

import click

from celeriac.cli.ages import age
from celeriac.cli.group import app_of, told
from celeriac.cli.screen import echo, plural, to_json
from celeriac.cli.text import one_line

#: Tasks that a dry run shows.
SHOWN = 20


@click.command(short_help="Revoke all waiting tasks that match.")
@click.option("--task", metavar="GLOB", help="Only tasks of this name; * and ? stand for anything.")
@click.option("--queue", metavar="GLOB", help="Only from this queue; * and ? stand for anything.")
@click.option("--argument", metavar="TEXT", help="Only with this argument: name=value, or a part of all of them.")
@click.option("--older-than", callback=age, metavar="AGE", help="Only what was sent longer ago: 90s, 15m, 2h, 3d, 1w.")
@click.option("--dry-run", is_flag=True, help="Show what matches, and revoke nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text; does not ask.")
@click.pass_context
def revoke(context: click.Context, /, dry_run: bool, yes: bool, as_json: bool, **conditions: Any) -> None:
    """Revoke the tasks that wait and match all that is given; what workers have already is not among them."""
    app = app_of(context)
    _check(conditions)
    with told():
        found = list(app.waiting.find(**conditions)) if dry_run or not (yes or as_json) else None
        if dry_run and found is not None:
            _show(found, as_json=as_json)
            return
        if found is not None and (not found or not click.confirm(f"Revoke {plural(len(found), 'task')}?")):
            echo("Nothing matches." if not found else "Nothing was revoked.")
            return
        done = sum(len(some) for some in app.waiting.revoke(**conditions))
    echo(to_json({"revoked": done}) if as_json else f"{plural(done, 'task')} revoked")


def _check(conditions: dict[str, Any]) -> None:
    for name, value in conditions.items():
        # An unset shell variable must not come to mean everything.
        if value == "":
            raise click.UsageError(f"--{name} is empty; give what to look for, or leave the option out")
    if all(value is None for value in conditions.values()):
        raise click.UsageError(
            "Say what to revoke: --task, --queue, --argument or --older-than; --queue '*' is everything"
        )


def _show(found: list[Any], *, as_json: bool) -> None:
    if as_json:
        echo(to_json({"matched": len(found), "ids": [message.task_id for message in found]}))
        return
    for message in found[:SHOWN]:
        echo(f"{message.task_id}  {one_line(message.name or '?')}  {one_line(message.queue)}")
    if len(found) > SHOWN:
        echo(f"… and {len(found) - SHOWN:,} more")
    echo(f"{plural(len(found), 'task')} would be revoked; nothing was done")
