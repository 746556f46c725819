"""``celery -A app dead``: the tasks that gave up."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import islice
from typing import Any

import click

from celeriac.cli.bulk import SHOWN, Action, Tally, ask, carry_out, report
from celeriac.cli.choosing import Choice, filters
from celeriac.cli.group import Group
from celeriac.cli.letters import document, listing, page
from celeriac.cli.screen import echo, plural, to_json, width
from celeriac.cli.text import one_line
from celeriac.core.attempt import DeadLetter, DeadLetterFilter
from celeriac.publish import redrive as actions
from celeriac.settings import shown_url
from celeriac.store.protocols import Store

Steps = Generator[actions.Step, None, None]

#: Dead letters a table shows unless told otherwise.
LIMIT = 50

references = click.argument("references", metavar="[ID|TASK_ID]...", nargs=-1)
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")


@click.group(cls=Group, short_help="Look at, redrive and purge dead letters.")
def dead() -> None:
    """Dead letters: the tasks that gave up, with arguments, attempts and tracebacks."""


def store_of(context: click.Context) -> Store:
    """The app's store.

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


# -- looking


@dead.command("list")
@filters
@click.option("--limit", type=click.IntRange(min=1), help=f"At most so many; {LIMIT} in a table, all of them in JSON.")
@as_json
@click.pass_context
def list_(context: click.Context, /, limit: int | None, as_json: bool, **chosen: Any) -> None:
    """List dead letters: the newest, the last of them at the end."""
    store = store_of(context)
    choice = Choice(**chosen).look_up(store)
    total = store.count_dead_letters(choice)
    if as_json:
        shown = _print_json(store.dead_letters(choice, newest=limit))
        echo(_said(store, choice, total, shown), err=True)
        return
    letters = list(store.dead_letters(choice, newest=limit or LIMIT))
    if letters:
        echo("\n".join(listing(letters, store.now(), width())) + "\n")
    echo(_said(store, choice, total, len(letters)))


def _print_json(letters: Iterator[DeadLetter]) -> int:
    """A list, one object a line, without holding all of it."""
    count = 0
    for letter in letters:
        echo(("," if count else "[") + to_json(document(letter)))
        count += 1
    echo("]" if count else "[]")
    return count


def _said(store: Store, choice: DeadLetterFilter, total: int, shown: int) -> str:
    where = one_line(store.location)
    if not total and choice != DeadLetterFilter():
        return f"None of {plural(store.count_dead_letters(DeadLetterFilter()))} in {where} matches."
    if total > shown:
        return f"{shown:,} of {plural(total)} in {where}, the newest; a filter or --limit shows others."
    return f"{plural(total) if total else 'No dead letters'} in {where}."


@dead.command()
@click.argument("reference", metavar="ID|TASK_ID")
@as_json
@click.pass_context
def show(context: click.Context, /, reference: str, as_json: bool) -> None:
    """Show all that is known of one dead letter.

    Arguments that were pickled are never unpickled: their sender's repr is shown.
    """
    store = store_of(context)
    ids = actions.find(store, [reference])[reference]
    if len(ids) > 1:
        numbers = ", ".join(map(str, ids))
        raise click.UsageError(
            f"Task id {reference} has {plural(len(ids))}: {numbers}; say which, as in `dead show {ids[-1]}`"
        )
    for letter in store.dead_letters(DeadLetterFilter(ids=tuple(ids))):
        echo(to_json(document(letter, whole=True)) if as_json else page(letter, store.now()))


# -- acting


def acting(command: Callable[..., None]) -> Callable[..., None]:
    """The arguments and options of what is done to many."""
    for option in (
        as_json,
        click.option("--yes", "-y", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
        click.option("--all", "everything", is_flag=True, help="All there are; needed where no filter is given."),
        filters,
        references,
    ):
        command = option(command)
    return command


def chosen_by(store: Store, action: Action, everything: bool, chosen: dict[str, Any]) -> DeadLetterFilter:
    """The filter of an action, which never means everything by accident."""
    choice = Choice(**chosen)
    if choice.everything and not everything:
        raise click.UsageError(
            f"Say which: ids or task ids, a filter such as --task 'shop.*' or --older-than 3d, or --all to {action.verb} every one"
        )
    return choice.look_up(store)


@dead.command()
@acting
@click.option("--ignore-expiry", is_flag=True, help="Also those past their `expires`, which is dropped.")
@click.pass_context
def redrive(
    context: click.Context,
    /,
    everything: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    ignore_expiry: bool,
    **chosen: Any,
) -> None:
    """Send dead letters again.

    Each goes to its queue one generation higher, its retries before it. One whose idempotency key another task holds, whose `expires` is over, or
    whose task id was sent again since, is refused and stays; the exit status
    is 1 then. A dry run cannot tell whether keys are free.
    """
    store = store_of(context)
    action = Action("redrive", "redriven", "Checking" if dry_run else "Redriving", dry_run)

    def steps(frozen: DeadLetterFilter) -> Steps:
        return actions.redrive(store, frozen, ignore_expiry=ignore_expiry, dry_run=dry_run)

    _act(store, action, steps, chosen_by(store, action, everything, chosen), yes=yes, as_json=as_json)


@dead.command()
@acting
@click.pass_context
def purge(context: click.Context, /, everything: bool, dry_run: bool, yes: bool, as_json: bool, **chosen: Any) -> None:
    """Drop dead letters for good."""
    store = store_of(context)
    action = Action("purge", "purged", "Checking" if dry_run else "Purging", dry_run)

    def steps(frozen: DeadLetterFilter) -> Steps:
        return actions.purge(store, frozen, dry_run=dry_run)

    _act(store, action, steps, chosen_by(store, action, everything, chosen), yes=yes, as_json=as_json)


def _act(
    store: Store,
    action: Action,
    steps: Callable[[DeadLetterFilter], Steps],
    choice: DeadLetterFilter,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    counted_at = store.now()
    tally = Tally(action, store.count_dead_letters(choice))
    if not tally.matched and not as_json:
        echo(_said(store, choice, 0, 0))
        return
    if action.dry_run and not as_json:
        _preview(store, choice, tally.matched)
    elif tally.matched > 1 and not (yes or action.dry_run):
        ask(f"{action.verb.capitalize()} {plural(tally.matched)} in {one_line(store.location)}?")
    # Only what was counted: the question may have stood there for an hour.
    carry_out(steps(actions.as_of(choice, store.now() - counted_at)), tally)
    report(tally, as_json=as_json)


def _preview(store: Store, choice: DeadLetterFilter, matched: int) -> None:
    letters = list(islice(store.dead_letters(choice, batch=SHOWN), SHOWN))
    lines = listing(letters, store.now(), width())
    lines += [f"and {matched - len(letters):,} more"] if matched > len(letters) else []
    echo("\n".join(lines) + "\n")
