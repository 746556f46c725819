"""What the groups of commands have in common."""

from __future__ import annotations

from typing import Any

import click

from celeriac.cli.text import one_line
from celeriac.errors import CeleriacError
from celeriac.store.tables import Outside, ddl


class Group(click.Group):
    """Shows celeriac's own errors as a command's, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CeleriacError as error:
            raise click.ClickException(one_line(str(error))) from error


def app_of(context: click.Context) -> Any:
    """The app, which must be one of celeriac's.

    Raises:
        click.UsageError: it is a plain Celery app.
    """
    app = context.obj.app
    if not hasattr(app, "has_store"):
        raise click.UsageError(
            f"{app.main or '?'} is a plain Celery app; name yours as in `celery -A shop …`, and make it one of celeriac's: "
            "from celeriac import Celery"
        )
    return app


def outsides(app: Any, urls: tuple[str, ...]) -> list[Outside]:
    """The databases that are named, or else those the app's workers know.

    Raises:
        click.UsageError: there is none.
    """
    own = app.own_settings
    if urls:
        return [Outside(url) for url in urls]
    kept = [Outside(own.local_outbox, made_later=True)] if own.local_outbox else []
    chosen = [*(Outside(url) for url in app.outboxes), *kept]
    if not chosen:
        raise click.UsageError("Say which database: postgresql://… or sqlite:///…, or name it in celeriac_outboxes")
    return chosen


def sql_command(table: str) -> click.Command:
    """A command that prints the statements which make a table."""

    @click.command("sql", help=f"Print the statements that make the table celeriac_{table}, for a migration.")
    @click.option("--dialect", type=click.Choice(["postgresql", "sqlite"]), default="postgresql", show_default=True)
    def sql(dialect: str) -> None:
        click.echo(ddl(table, dialect), nl=False)

    return sql
