"""``celery -A app dead``: the tasks that gave up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import click

from celeriac.cli import acting, moving
from celeriac.cli.choosing import choice, filters
from celeriac.cli.desk import action_data, group_data, groups_table, log_table
from celeriac.cli.group import Group, said_of, store_of
from celeriac.cli.letters import document, listing, page, progress_data
from celeriac.cli.screen import echo, plural, to_json, width
from celeriac.cli.text import one_line
from celeriac.core.attempt import DeadLetter, DeadLetterFilter
from celeriac.desk.choosing import find

#: Dead letters, and lines of the log, that a table shows unless told otherwise.
LIMIT = 50
#: The number of the log's lines that `dead show` has.
_LOGGED = 200

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")


@click.group(cls=Group, short_help="Look at, redrive, acknowledge, move and purge dead letters.")
def dead() -> None:
    """Dead letters: the tasks that gave up, with arguments, attempts and tracebacks."""


for _command in (*acting.COMMANDS, *moving.COMMANDS):
    dead.add_command(_command)


@dead.command("list")
@filters
@click.option("--limit", type=click.IntRange(min=1), help=f"At most so many; {LIMIT} in a table, all of them in JSON.")
@as_json
@click.pass_context
def list_(context: click.Context, /, limit: int | None, as_json: bool, **chosen: Any) -> None:
    """List dead letters: the newest, the last of them at the end.

    Those that somebody has acknowledged are left out unless asked for.
    """
    store = store_of(context)
    wanted = choice(**chosen).look_up(context.obj.app, store)
    total = store.count_dead_letters(wanted)
    if as_json:
        shown = _print_json(store.dead_letters(wanted, newest=limit))
        echo(said_of(store, wanted, total, shown), err=True)
        return
    letters = list(store.dead_letters(wanted, newest=limit or LIMIT))
    if letters:
        echo("\n".join(listing(letters, store.now(), width())) + "\n")
    echo(said_of(store, wanted, total, len(letters)))


def _print_json(letters: Iterator[DeadLetter]) -> int:
    """A list, one object a line, without holding all of it."""
    count = 0
    for letter in letters:
        echo(("," if count else "[") + to_json(document(letter)))
        count += 1
    echo("]" if count else "[]")
    return count


@dead.command(short_help="Show dead letters by the kind of their error.")
@filters
@click.option("--limit", type=click.IntRange(min=1), help="At most so many, the largest.")
@as_json
@click.pass_context
def groups(context: click.Context, /, limit: int | None, as_json: bool, **chosen: Any) -> None:
    """Show dead letters by the kind of their error, the largest group first.

    Of one kind are errors of one type whose texts differ in numbers, ids, times and quoted values alone. A group's
    fingerprint is what --group takes.
    """
    store = store_of(context)
    wanted = choice(**chosen).look_up(context.obj.app, store)
    found = store.error_groups(wanted)
    shown = found[:limit]
    if as_json:
        echo(to_json([group_data(group) for group in shown]))
        return
    if not found:
        echo(said_of(store, wanted, 0, 0))
        return
    echo("\n".join(groups_table(shown, store.now(), width())) + "\n")
    total = sum(group.count for group in found)
    echo(f"{plural(total)} in {plural(len(found), 'group')} in {one_line(store.location)}.")


@dead.command()
@click.argument("reference", metavar="ID|TASK_ID")
@as_json
@click.pass_context
def show(context: click.Context, /, reference: str, as_json: bool) -> None:
    """Show all that is known of one dead letter.

    Arguments that were pickled are never unpickled: their sender's repr is shown.
    """
    store = store_of(context)
    ids = find(store, [reference])[reference]
    if len(ids) > 1:
        numbers = ", ".join(map(str, ids))
        raise click.UsageError(
            f"Task id {reference} has {plural(len(ids))}: {numbers}; say which, as in `dead show {ids[-1]}`"
        )
    for letter in store.dead_letters(DeadLetterFilter(ids=tuple(ids))):
        actions = store.actions(letter.task_id, newest=_LOGGED)
        checkpoint = store.checkpoints([letter.task_id]).get(letter.task_id)
        if as_json:
            data = document(letter, whole=True)
            data["progress"] = progress_data(checkpoint)
            echo(to_json({**data, "actions": [action_data(action) for action in actions]}))
        else:
            echo(page(letter, store.now(), actions, checkpoint))


@dead.command(short_help="Show who did what with dead letters and failures.")
@click.argument("reference", metavar="[ID|TASK_ID]", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=LIMIT, show_default=True, help="The newest so many lines.")
@as_json
@click.pass_context
def log(context: click.Context, /, reference: str | None, limit: int, as_json: bool) -> None:
    """Show what was done with dead letters and failures, and what was revoked by filter: by whom, when and why.

    A task's lines are shown by its id also when its dead letters are gone. Lines are kept as long as attempts are,
    celeriac_history_expires.
    """
    store = store_of(context)
    actions = store.actions(None if reference is None else _task_of(store, reference), newest=limit)
    if as_json:
        echo(to_json([action_data(action) for action in actions]))
    elif actions:
        echo("\n".join(log_table(actions, store.now(), width())))
    else:
        echo(f"Nothing was done {'with it' if reference else 'yet'}, or not for as long as the log is kept.")


def _task_of(store: Any, reference: str) -> str:
    """A task id, of which nothing may be known but the log, or the task of a dead letter."""
    number = DeadLetterFilter(ids=(int(reference),)) if reference.isdecimal() else None
    letters = [] if number is None else list(store.dead_letters(replace(number), newest=1))
    return letters[0].task_id if letters else reference
