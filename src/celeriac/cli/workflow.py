"""``celery -A app workflow``: the canvases that were sent, as things."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from celeriac.cli.ages import ago, iso, took
from celeriac.cli.bulk import refusal_data
from celeriac.cli.choosing import as_, note
from celeriac.cli.drawing import COLOURS, drawn
from celeriac.cli.group import Group, app_of
from celeriac.cli.letters import listing
from celeriac.cli.screen import echo, plural, to_json, width
from celeriac.cli.text import GAP, Column, natural_widths, one_line, table
from celeriac.core.text import app_option
from celeriac.core.workflow_state import Progress, State
from celeriac.desk.steps import Done
from celeriac.store.protocols import Store
from celeriac.workflow import Workflows, WorkflowStatus
from celeriac.workflow.labels import Label, labels
from celeriac.workflow.room import UnknownWorkflow, WorkflowCancelled
from celeriac.workflow.svg import svg

#: Workflows that an error names.
_NAMED = 3
#: Letters of an id: of which the time to a thousandth of a second consists, and of which something can be found.
_SHORT, _LEAST_START = 13, 4
#: Workflows that are read at once.
_PAGE = 200
_OVER = (State.SUCCEEDED, State.FAILED, State.CANCELLED)
#: Dead letters that are shown beside a workflow.
_SHOWN = 10
_COLUMNS = (
    Column("WORKFLOW"),
    Column("NAME", least=12),
    Column("STATE", style=lambda text: click.style(text, fg=COLOURS.get(State(text.strip())))),
    Column("DONE", right=True),
    Column("SENT"),
    Column("TOOK", right=True),
)

as_json_ = click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
id_argument = click.argument("workflow_id", metavar="WORKFLOW")


@click.group(cls=Group, short_help="Look at chains, groups and chords; resume and cancel them.")
def workflow() -> None:
    """Workflows: chains, groups and chords, from the moment they are sent.

    WORKFLOW is the id of one, or its beginning, or the id of any task of it.
    """


def _workflows(context: click.Context) -> Workflows:
    app = app_of(context)
    if not app.keeps_workflows:
        raise click.UsageError(
            f'The broker of {app.main or "?"} keeps no workflows; name a ledger beside it, ledger="postgresql://…"'
        )
    found: Workflows = app.workflows
    return found


def _get(context: click.Context, wanted: str) -> WorkflowStatus:
    workflows = _workflows(context)
    try:
        return workflows.get(wanted)
    except UnknownWorkflow as error:
        begins = _beginning_with(context, wanted.rstrip("…").lower())
        if len(begins) == 1:
            return workflows.get(begins[0])
        raise _unknown(context, wanted, begins) from error


def _beginning_with(context: click.Context, start: str) -> list[str]:
    """Ids of workflows that begin so, a few at most; none where nothing tells it from other text."""
    if len(start) < _LEAST_START or not set(start) <= set("0123456789abcdef-"):
        return []
    store: Store = app_of(context).store
    found: list[str] = []
    before = None
    while len(found) <= _NAMED and (page := store.workflows(_PAGE, before=before)):
        found += [one.id for one in page if one.id.startswith(start)]
        before = page[-1]
    return found


def _unknown(context: click.Context, wanted: str, begins: Sequence[str]) -> click.ClickException:
    if begins:
        some = f"{', '.join(begins[:_NAMED])}{' and others' if len(begins) > _NAMED else ''}"
        return click.ClickException(
            f"{one_line(wanted)} is the beginning of several workflows' ids: {some}. Give more of it"
        )
    return click.ClickException(
        f"{one_line(wanted)} is no workflow, and no task of one, that is known here: it was sent to another store, is forgotten "
        "(celeriac_history_expires), or is the id of a group's result, whose workflow_id is meant. "
        f"`celery -A {app_option(app_of(context).main)} workflow list` shows those that there are"
    )


@workflow.command("list", short_help="List workflows, the newest at the end.")
@click.option("--state", type=click.Choice([state.value for state in State]), help="Only those in this state.")
@click.option("--newest", "--limit", "newest", default=20, show_default=True, type=click.IntRange(1), help="How many.")
@as_json_
@click.pass_context
def list_(context: click.Context, state: str | None, newest: int, as_json: bool) -> None:
    """List workflows: the newest, the last of them at the end, in JSON too."""
    found = _workflows(context).list(newest=newest + 1, state=state)
    shown = found[:newest][::-1]
    if as_json:
        echo(to_json([_document(one) for one in shown]))
    elif found:
        echo("\n".join(_listing(shown, width())))
        if len(found) > newest:
            echo(f"\nThe newest {newest:,}; --newest shows more.")
    else:
        echo("There are none." if state is None else f"None is {state}.")


@workflow.command(short_help="Show its parts, and what has become of each.")
@id_argument
@click.option(
    "--svg",
    "picture",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Write a picture to this file; - is standard output.",
)
@as_json_
@click.pass_context
def show(context: click.Context, workflow_id: str, picture: Path | None, as_json: bool) -> None:
    """Show what a workflow consists of, and what has become of each part."""
    if picture is not None and as_json:
        raise click.UsageError("--svg and --json are two answers; ask for one of them.")
    found = _get(context, workflow_id)
    if picture is not None:
        _write(svg(found), picture)
    elif as_json:
        echo(to_json({**_document(found), "nodes": _node_documents(found)}))
    else:
        app = app_of(context)
        echo("\n".join([*drawn(found, width()), *_dead_letters(app, found)]))


def _write(document: str, picture: Path) -> None:
    if str(picture) == "-":
        click.echo(document, nl=False)
        return
    try:
        picture.write_text(document, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"The picture cannot be written to {picture}: {error.strerror}.") from error
    echo(f"The picture is in {picture}.")


def _dead_letters(app: Any, status: WorkflowStatus) -> list[str]:
    """Those of its tasks, which say why it is blocked, has failed or did without; and how to have it go on."""
    blocked = status.state is State.BLOCKED and status.workflow.cancelled_at is None
    if not blocked and (status.state is State.CANCELLED or not any(one.dead_letter for one in status.nodes)):
        return []
    found = app.workflows.dead_letters(status.id)
    more = [f"and {len(found) - _SHOWN:,} more"] if len(found) > _SHOWN else []
    lines = ["", *listing(found[:_SHOWN], app.store.now(), width()), *more] if found else []
    if blocked:
        lines += ["", f"`celery -A {app_option(app.main)} workflow resume {status.id}` redrives what gave up."]
    return lines


@workflow.command(short_help="Redrive its dead letters, so that the rest goes on.")
@id_argument
@as_
@note
@as_json_
@click.pass_context
def resume(context: click.Context, workflow_id: str, who: str | None, note: str | None, as_json: bool) -> None:
    """Redrive the dead letters of a workflow, so that what waits for them goes on.

    The exit status is 1 where a dead letter is not redriven.
    """
    found = _get(context, workflow_id)
    try:
        done = _workflows(context).resume(found.id, who=who, note=note)
    except WorkflowCancelled as error:
        raise click.ClickException(one_line(str(error))) from error
    if as_json:
        echo(to_json({**_document(_get(context, found.id)), **_redriven(done)}))
    elif found.state is State.SUCCEEDED:
        _tell_of_nothing_to_resume(context, found)
    else:
        _tell_of_redriven(found, done)
    if done.refused:
        context.exit(1)


def _tell_of_nothing_to_resume(context: click.Context, found: WorkflowStatus) -> None:
    echo(f"{one_line(found.name)} has succeeded: there is nothing to resume.")
    if left := _workflows(context).dead_letters(found.id):
        some = " ".join(str(letter.id) for letter in left[:_NAMED]) + (" …" if len(left) > _NAMED else "")
        option = app_option(app_of(context).main)
        echo(f"It went on without {plural(len(left))}; `celery -A {option} dead redrive {some}` runs such by itself.")


def _redriven(done: Done) -> dict[str, Any]:
    return {"redriven": done.done, "gone": done.gone, "refused": [refusal_data(one) for one in done.refused]}


def _tell_of_redriven(found: WorkflowStatus, done: Done) -> None:
    for refusal in done.refused:
        echo(f"Not redriven: {one_line(str(refusal.error))}", err=True)
    if not done.done and not done.refused:
        echo(f"{one_line(found.name)} has no dead letters; it is {found.state.value}.")
        return
    goes_on = "it goes on when it succeeds" if done.done == 1 else "them goes on when they succeed"
    echo(f"{plural(done.done)} of {one_line(found.name)} redriven; what waits for {goes_on}.")


@workflow.command()
@id_argument
@click.option("--let-run", is_flag=True, help="Leave what runs now to end by itself.")
@click.option("--as", "who", metavar="NAME", help="Who does it, for those who look at it; user@host unless given.")
@as_json_
@click.pass_context
def cancel(context: click.Context, workflow_id: str, let_run: bool, who: str | None, as_json: bool) -> None:
    """Have none of its tasks begin any more, and stop those that run."""
    before = _get(context, workflow_id)
    over = before.state in _OVER and before.ended
    after = before if over else _workflows(context).cancel(before.id, who=who, terminate=not let_run)
    if as_json:
        echo(to_json({**_document(after), "cancelled": not over}))
    elif over:
        echo(f"{one_line(before.name)} is over, and {before.state.value}: there is nothing to cancel.")
    else:
        _tell_of_cancelled(after)


def _tell_of_cancelled(after: WorkflowStatus) -> None:
    echo(f"{one_line(after.name)} is cancelled; {after.done:,} of {plural(after.size, 'task')} had been done.")


def _listing(found: Sequence[WorkflowStatus], room: int | None) -> list[str]:
    """A table; where it would be too wide, of each id what tells it from the others and can be typed."""
    rows = [_row(one) for one in found]
    if room is not None and sum(natural_widths(_COLUMNS, rows)) + GAP * (len(_COLUMNS) - 1) > room:
        length = next(size for size in range(_SHORT, 99) if len({row[0][:size] for row in rows}) == len(rows))
        rows = [[row[0][:length], *row[1:]] for row in rows]
    return table(_COLUMNS, rows, room)


def _row(one: WorkflowStatus) -> list[str]:
    end = one.finished_at
    return [
        one.id,
        one_line(one.name),
        one.state.value,
        f"{one.done:,} of {one.size:,}",
        ago(time.time() - one.workflow.sent_at),
        "" if end is None else took(end - one.workflow.sent_at),
    ]


def _document(one: WorkflowStatus) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "state": one.state.value,
        "on_failure": one.workflow.on_failure,
        "parent": one.workflow.parent,
        "done": one.done,
        "size": one.size,
        "sent_at": iso(one.workflow.sent_at),
        "finished_at": iso(one.finished_at),
        "cancelled_at": iso(one.workflow.cancelled_at),
        "cancelled_by": one.workflow.cancelled_by,
    }


def _node_documents(status: WorkflowStatus) -> list[dict[str, Any]]:
    named = labels([one.node for one in status.nodes])
    return [_node_document(one, label) for one, label in zip(status.nodes, named, strict=True)]


def _node_document(one: Progress, label: Label) -> dict[str, Any]:
    return {
        "id": one.node.id,
        "task": one.node.task,
        "index": label.index,
        "arguments": one.node.arguments,
        "size": one.node.size,
        "after": one.node.after,
        "state": one.state.value,
        "succeeded": one.succeeded,
        "failed": one.failed,
        "cancelled": one.cancelled,
        "running": one.running,
        "dead_letter": one.dead_letter,
        "progress": one.reported and {**one.reported._asdict(), "at": iso(one.reported.at)},
        "started_at": iso(one.started_at),
        "finished_at": iso(one.finished_at),
    }
