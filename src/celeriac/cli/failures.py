"""``celery -A app failures``: tasks that failed and of which nobody has heard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from celeriac.cli.ages import ago, iso
from celeriac.cli.bulk import Action, Tally, ask, carry_out, report
from celeriac.cli.choosing import as_, check, failure_filters, note
from celeriac.cli.group import Group, store_of
from celeriac.cli.screen import echo, plural, to_json, width
from celeriac.cli.text import Column, one_line, spread
from celeriac.core.attempt import DeadLetterFilter
from celeriac.core.desk import By, UnreadFailure
from celeriac.desk.choosing import as_of
from celeriac.desk.failures import acknowledge
from celeriac.desk.who import whoami
from celeriac.store.protocols import Store

#: Failures a table shows unless told otherwise.
LIMIT = 50
_THING = "unread failure"
_COLUMNS = (
    Column("FAILED"),
    Column("TASK", least=14, keep_end=True),
    Column("QUEUE", least=8),
    Column("TASK ID", style=lambda text: click.style(text, bold=True)),
)
_ERROR = Column("ERROR", least=30, style=lambda text: click.style(text, fg="red"))
as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")


@click.group(cls=Group, short_help="Look at failures that nobody has read, and acknowledge them.")
def failures() -> None:
    """Failures that nobody has read: no error callback was given, and no result was fetched."""


@failures.command("list", short_help="List failures that nobody has read.")
@failure_filters
@click.option("--limit", type=click.IntRange(min=1), help=f"At most so many; {LIMIT} in a table, all of them in JSON.")
@as_json
@click.pass_context
def list_(context: click.Context, /, limit: int | None, as_json: bool, **given: Any) -> None:
    """List failures that nobody has read: the newest, the last of them at the end."""
    store, wanted = store_of(context), _filter(given)
    total = store.count_unread_failures(wanted)
    shown = list(store.unread_failures(wanted, newest=limit or (None if as_json else LIMIT)))
    if as_json:
        echo(to_json([_data(failure) for failure in shown]))
    elif shown:
        echo("\n".join(_listing(shown, store.now(), width())) + "\n")
    echo(_said(store, wanted, total, len(shown)), err=as_json)
    _warn_of_another_backend(context)


def _filter(given: dict[str, Any]) -> DeadLetterFilter:
    check(given)
    return DeadLetterFilter(**given)


def _listing(shown: Sequence[UnreadFailure], now: float, width: int | None) -> list[str]:
    rows = [
        [
            ago(now - failure.failed_at),
            one_line(failure.name or "?"),
            one_line(failure.queue or "?"),
            one_line(failure.task_id),
        ]
        for failure in shown
    ]
    errors = [one_line(f"{failure.error_type.rpartition('.')[2]}: {failure.error}") for failure in shown]
    return spread(_COLUMNS, _ERROR, rows, errors, width, indented=4)


def _data(failure: UnreadFailure) -> dict[str, Any]:
    return {
        "task_id": failure.task_id,
        "generation": failure.generation,
        "task": failure.name,
        "queue": failure.queue,
        "worker": failure.worker,
        "error_type": failure.error_type,
        "error": failure.error,
        "failed_at": iso(failure.failed_at),
    }


def _said(store: Store, wanted: DeadLetterFilter, total: int, shown: int) -> str:
    where = one_line(store.location)
    if not total and wanted != DeadLetterFilter():
        everything = store.count_unread_failures(DeadLetterFilter())
        return f"None of {plural(everything, _THING)} in {where} matches."
    if total > shown:
        return f"{shown:,} of {plural(total, _THING)} in {where}, the newest; a filter or --limit shows others."
    return f"{plural(total, _THING) if total else 'No unread failures'} in {where}."


def _warn_of_another_backend(context: click.Context) -> None:
    app = context.obj.app
    if not hasattr(app.backend, "settled_result"):
        echo(
            "Results are kept by another backend than the ledger, so that they were fetched is not seen here: acknowledge by hand.",
            err=True,
        )


@failures.command()
@click.argument("task_ids", metavar="[TASK_ID]...", nargs=-1)
@failure_filters
@click.option("--all", "everything", is_flag=True, help="All there are; needed where no filter is given.")
@as_
@note
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@as_json
@click.pass_context
def ack(
    context: click.Context,
    /,
    task_ids: tuple[str, ...],
    everything: bool,
    who: str | None,
    note: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Acknowledge failures: they leave the list.

    Dead letters stay where they are; `dead ack` acknowledges both.
    """
    store, wanted, by = store_of(context), _filter(given), By(who or whoami(), note)
    action = Action("acknowledge", "acknowledged", "Acknowledging", dry_run, gone="read already", thing=_THING)
    if task_ids:
        _ack_named(store, action, task_ids, by, wanted, as_json=as_json)
        return
    if wanted == DeadLetterFilter() and not everything:
        raise click.UsageError(
            "Say which: task ids, a filter such as --task 'shop.*' or --older-than 3d, or --all to acknowledge every one"
        )
    counted_at = store.now()
    tally = Tally(action, store.count_unread_failures(wanted))
    if not tally.matched and not as_json:
        echo(_said(store, wanted, 0, 0))
        return
    if tally.matched > 1 and not (yes or dry_run):
        ask(f"Acknowledge {plural(tally.matched, _THING)} in {one_line(store.location)}?")
    carry_out(acknowledge(store, as_of(wanted, store.now() - counted_at), by, dry_run=dry_run), tally)
    report(tally, as_json=as_json)


def _ack_named(
    store: Store, action: Action, task_ids: Sequence[str], by: By, wanted: DeadLetterFilter, *, as_json: bool
) -> None:
    if wanted != DeadLetterFilter():
        raise click.UsageError("Give task ids or a filter, not both")
    tally = Tally(action, len(task_ids))
    if action.dry_run:
        unread = {failure.task_id for failure in store.unread_failures(wanted)}
        tally.so_far.done = len(unread.intersection(task_ids))
    else:
        tally.so_far.done = store.acknowledge_failures(task_ids, by)
    tally.so_far.gone = len(task_ids) - tally.so_far.done
    report(tally, as_json=as_json)
