"""What the groups of commands have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import click

from celeriac.cli.screen import plural
from celeriac.cli.text import one_line
from celeriac.core.attempt import DeadLetterFilter
from celeriac.errors import CeleriacError
from celeriac.settings import shown_url
from celeriac.store.protocols import Store
from celeriac.store.tables import Outside, ddl


class _Telling:
    """Shows celeriac's own errors as a command's, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        with told():
            return super().invoke(ctx)  # type: ignore[misc]  # click's class has it


@contextmanager
def told() -> Iterator[None]:
    """Show celeriac's own errors as a command's."""
    try:
        yield
    except CeleriacError as error:
        raise click.ClickException(one_line(str(error))) from error


class Group(_Telling, click.Group):
    """A group of commands."""


class Command(_Telling, click.Command):
    """One that stands alone."""


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


def store_of(context: click.Context) -> Store:
    """The app's store, which keeps its dead letters and failures.

    Raises:
        click.UsageError: the app has none.
    """
    app = context.obj.app
    if not hasattr(app, "has_ledger"):
        raise click.UsageError(
            f"{app.main or '?'} is a plain Celery app, which keeps no dead letters; name yours as in "
            "`celery -A shop dead list`, and make it one of celeriac's: from celeriac import Celery"
        )
    if not app.has_ledger:
        raise click.UsageError(
            f"The broker of {app.main or '?'} is {shown_url(app.conf.broker_url or '?')}, which keeps no dead "
            'letters; celeriac keeps them in a ledger beside it, ledger="postgresql://…", or with a broker such as '
            '"sqlite:///shop.db"'
        )
    store: Store = app.store
    return store


def said_of(store: Store, wanted: DeadLetterFilter, total: int, shown: int) -> str:
    """How many dead letters there are, and where; what was left out."""
    where = one_line(store.location)
    if not total:
        return _none(store, wanted, where)
    if total > shown:
        return f"{shown:,} of {plural(total)} in {where}, the newest; a filter or --limit shows others."
    return f"{plural(total)} in {where}."


def _none(store: Store, wanted: DeadLetterFilter, where: str) -> str:
    everything = store.count_dead_letters(DeadLetterFilter())
    if not everything:
        return f"No dead letters in {where}."
    known = store.count_dead_letters(replace(wanted, acknowledged=True)) if wanted.acknowledged is False else 0
    hint = (
        f" {plural(known)} that {'is' if known == 1 else 'are'} acknowledged would: --acknowledged too."
        if known
        else ""
    )
    return f"None of {plural(everything)} in {where} matches.{hint}"


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

    @click.command(
        "sql",
        help=f"Print the statements that make the table celeriac_{table}, for a migration.",
        short_help="Print the statements that make its table.",
    )
    @click.option("--dialect", type=click.Choice(["postgresql", "sqlite"]), default="postgresql", show_default=True)
    def sql(dialect: str) -> None:
        click.echo(ddl(table, dialect), nl=False)

    return sql
