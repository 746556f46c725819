"""``celery -A app effects``: the record of steps that happen once."""

from __future__ import annotations

from contextlib import closing

import click

from celeriac.cli.ages import age
from celeriac.cli.group import Group, app_of, outsides, sql_command
from celeriac.cli.screen import echo, plural
from celeriac.cli.text import one_line
from celeriac.execution.effects import prune as prune_effects


@click.group(cls=Group, short_help="The table of effect_once(): make it, prune it.")
def effects() -> None:
    """Steps of tasks recorded by `effect_once()` in a database of the application's."""


effects.add_command(sql_command("effect"))


@effects.command()
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@click.option(
    "--older-than", callback=age, required=True, metavar="AGE", help="Longer ago than this: 90s, 15m, 2h, 3d, 1w."
)
@click.pass_context
def prune(context: click.Context, urls: tuple[str, ...], older_than: float) -> None:
    """Forget the steps that were done long ago.

    A task that is run again after that does them again: keep them longer than
    any task is retried or redriven, and than any idempotency key is taken.
    """
    for outside in outsides(app_of(context), urls):
        with closing(outside):
            echo(f"{plural(prune_effects(outside, older_than), 'step')} in {one_line(outside.location)} forgotten.")
